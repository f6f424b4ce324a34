"""What `moodlens score` prints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moodlens.core.lines import table
from moodlens.pipeline.score import Scored, auroc_lines, records

SHOWN = 10
WIDTH = 60
"""Letters of a text that are shown."""


def score_value(scored: Scored, emotions: tuple[str, ...], out: Path | None) -> Mapping[str, object]:
    """``n``, the AUROCs (with labels), and one entry per text with its family scores (unless they went to a file)."""
    result = scored.result
    value: dict[str, Any] = result.model_dump(exclude={"auroc"}) | {"auroc": None}
    if result.auroc:
        value["auroc"] = {
            m: {name: e.value for name, e in parts.items()} for m, parts in result.auroc.items()
        }
        value["ci"] = {m: {name: e.ci for name, e in parts.items()} for m, parts in result.auroc.items()}
    if out is not None:
        return value | {"read": scored.result.table, "scores_file": str(out)}
    columns = ["id", "emotion", *(f"family_{e}" for e in emotions)]
    found = [name for name in scored.table.columns if name.startswith("feature_")]
    rows = []
    for record, words in zip(records(scored.table), scored.words, strict=True):
        active = {name.removeprefix("feature_"): record[name] for name in found if record[name]}
        rows.append({**{c: record[c] for c in columns}, "words": words, "features": active})
    return value | {"read": scored.result.table, "scores": rows}


def _start(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def score_lines(scored: Scored, emotions: tuple[str, ...], out: Path | None) -> list[str]:
    """The AUROC table and the first texts."""
    result = scored.result
    lines = [*auroc_lines(result.name, result, emotions), ""] if result.auroc else []
    lines += [scored.result.table, ""]
    head = ["text", *emotions]
    rows = [
        [_start(record["text"]), *(round(float(record[f"family_{e}"]), 3) for e in emotions)]
        for record in scored.table.head(SHOWN).to_dicts()
    ]
    lines += [f"family scores of the first {len(rows)} of {scored.table.height} texts:", *table(head, rows)]
    return lines + (
        [f"all of them: {out}"] if out is not None else ["all of them, with every feature: --out FILE.csv"]
    )
