"""What steering MusicGen with the study's directions did: the result table, doses, and clips to listen to."""

from typing import Any

from moodlens.report.document import (
    Absent,
    Block,
    Paragraph,
    Picture,
    Player,
    Players,
    Section,
    Table,
    cut,
    plain_text,
)
from moodlens.report.evidence import Evidence
from moodlens.report.numbers import NONE, interval, number

MAX_ROWS = 60
FIRST_METHODS = ("none", "prompt_editing", "difference_in_means", "sae_family", "sae_feature")
"""Methods whose clips are offered for listening, in this order."""


def steering(e: Evidence) -> Section | None:
    """The steering study in ``steer/``; None for an encoder that cannot steer and has none."""
    title = "Steering MusicGen"
    if e.steering is None:
        if str(e.encoder.get("encoder", "")).split(":")[0] not in ("t5", "musicgen"):
            return None
        return Section("steering", title, (Absent("steering", "moodlens steer DIR"),))
    blocks: list[Block] = [
        Paragraph(
            "A direction is added to the text encoder's output at every token of the prompt. Coefficients are in units of "
            "the difference-in-means norm; every method is compared at the same place and norm, beside no steering, prompt "
            "editing and random directions."
        )
    ]
    results = e.steering.get("results")
    if results is None:
        blocks.append(Absent("what the clips' scores say", "moodlens steer DIR"))
    else:
        blocks += [Paragraph(plain_text(text)) for text in results.get("statements", ())]
        blocks += _tables(results)
        blocks.append(
            Picture(
                "steering-dose",
                "Effect of each method over its coefficient. A direction that steers rises with its coefficient, from "
                "below zero to above; random directions stay flat.",
                "Dose-response curves of the steering methods.",
            )
        )
    blocks += _players(e.steering.get("clips") or [])
    return Section("steering", title, tuple(blocks))


def result_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of results.json that are flat."""
    return [row for row in results.get("rows") or results.get("table") or () if isinstance(row, dict)]


def _tables(results: dict[str, Any]) -> list[Block]:
    rows = result_rows(results)
    if not rows:
        return [Paragraph("results.json holds no rows.")]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {
        i
        for i, key in enumerate(columns)
        if all(not isinstance(row.get(key), str) for row in rows)
        and any(row.get(key) is not None for row in rows)
    }
    shown = rows[:MAX_ROWS]
    return [
        Table(
            "Results of the steering study",
            tuple(plain_text(key).replace("_", " ") for key in columns),
            tuple(tuple(_written(row.get(key)) for key in columns) for row in shown),
            numeric=frozenset(numeric - {0}),
            note=f"{len(shown)} of {len(rows)} rows; all are in steer/results.json."
            if len(shown) < len(rows)
            else "",
        )
    ]


def _written(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value):
        return interval(value)
    if isinstance(value, (int, float)):
        return number(value)
    return cut(value, 120)


def _players(clips: list[dict[str, Any]]) -> list[Block]:
    """One prompt and seed, every main method, at its strongest coefficient towards each emotion."""
    plain = next((clip for clip in clips if clip["method"] == "none"), None)
    if plain is None:
        return []
    same = [clip for clip in clips if clip["prompt"] == plain["prompt"] and clip["seed"] == plain["seed"]]
    players: list[Player] = []
    for method in FIRST_METHODS:
        mine = [clip for clip in same if clip["method"] == method]
        for emotion in dict.fromkeys(clip["emotion"] for clip in mine):
            best = max((c for c in mine if c["emotion"] == emotion), key=lambda c: c["coefficient"] or 0.0)
            words = ["no steering" if method == "none" else method.replace("_", " ")]
            words += [f"towards {plain_text(emotion)}"] if emotion else []
            words += [f"coefficient {number(best['coefficient'])}"] if best["coefficient"] else []
            players.append(Player(", ".join(words), f"steer/clips/{best['file']}"))
    return [
        Players(
            f"Clips of one prompt ({cut(plain['prompt'], 120)}) and one seed ({number(plain['seed'])}). The sound lies beside "
            "this page in steer/clips and is not part of it.",
            tuple(players),
        )
    ]
