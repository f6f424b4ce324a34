"""The first things a reader sees: the encoder, the verdict, its table, and what to do next."""

from typing import Any

from moodlens.report.document import Absent, Block, Bullets, Cell, Paragraph, Section, Table, Tone, plain_text
from moodlens.report.evidence import Evidence
from moodlens.report.numbers import NONE, interval, number

COMMANDS = {
    "reconstruction": "moodlens train DIR",
    "sparsity": "moodlens train DIR",
    "dead_features": "moodlens train DIR",
    "selectivity": "moodlens features DIR",
    "interpretability": "moodlens features DIR",
    "monosemanticity": "moodlens features DIR",
    "causality": "moodlens causal DIR",
    "compositionality": "moodlens causal DIR",
    "stability": "moodlens stability DIR",
    "generalization": "moodlens features DIR",
    "orthogonality": "moodlens features DIR",
}
SHARES = frozenset(
    {"sparsity", "stability", "compositionality", "orthogonality", "dead_features", "monosemanticity"}
)


def first_line(e: Evidence) -> str:
    """Which encoder was used, and whether its features can steer MusicGen."""
    encoder = str(e.encoder.get("encoder", "unknown"))
    width = e.encoder.get("d_in")
    facts = ", ".join(
        str(fact)
        for fact in (f"{width}-d" if width else None, e.encoder.get("pooling"), e.encoder.get("dtype"))
        if fact
    )
    steers = "Only features of a T5 encoder can steer MusicGen"
    kind = encoder.split(":")[0]
    if kind in ("t5", "musicgen"):
        end = f"{steers}: these can, in a MusicGen model that conditions on this same encoder."
    elif kind == "precomputed":
        end = f"{steers}: these can if the precomputed embeddings came from the model's own T5."
    else:
        end = f"{steers}: the features of this study cannot."
    return f"Text encoder: {plain_text(encoder)}{f' ({plain_text(facts)})' if facts else ''}. {end}"


def status(criterion: dict[str, Any]) -> tuple[str, Tone]:
    """passed, failed, uninformative or not measured."""
    if criterion["value"] is None and not criterion["passed"]:
        return "not measured", "none"
    if criterion.get("uninformative"):
        return "uninformative", "warn"
    return ("passed", "good") if criterion["passed"] else ("failed", "bad")


def verdict_sentence(e: Evidence) -> tuple[str, Tone]:
    """Go or no-go, and why, in one sentence."""
    if e.verdict is None:
        return "No verdict yet: the study has not been judged.", "warn"
    must = [c for c in e.verdict["criteria"] if c["must"]]
    prefix = "Control run with shuffled labels. " if e.is_control else ""
    if e.verdict["go"]:
        return (
            f"{prefix}Go: all {len(must)} must-criteria pass, each beyond its control.",
            "bad" if e.is_control else "good",
        )
    parts = []
    for word in ("failed", "uninformative", "not measured"):
        names = [c["label"].lower() for c in must if status(c)[0] == word]
        if names:
            parts.append(f"{', '.join(names)} {word}")
    passed = sum(bool(c["passed"]) for c in must)
    return f"{prefix}No-go: {passed} of {len(must)} must-criteria pass; {'; '.join(parts)}.", "bad"


def verdict(e: Evidence) -> Section:
    """The table of criteria: value, interval, threshold and control in every row."""
    if e.verdict is None:
        return Section("verdict", "Verdict", (Absent("the verdict", "moodlens report DIR"),))
    blocks: list[Block] = []
    if e.is_control:
        blocks.append(
            Paragraph(
                "This study ran with its labels shuffled before anything was fitted: whatever it claims is a false claim.",
                "warn",
            )
        )
    blocks.append(
        Paragraph(
            "A criterion passes only if it meets its threshold and beats its control. Where the control meets the "
            "threshold too, the threshold cannot tell anything apart from chance here and is marked uninformative. "
            "Go needs all must-criteria."
        )
    )
    for must, title in ((True, "Must: decide go or no-go"), (False, "Nice to have: strengthen the findings")):
        rows = tuple(_row(c) for c in e.verdict["criteria"] if bool(c["must"]) is must)
        if rows:
            blocks.append(
                Table(
                    title,
                    (
                        "Criterion",
                        "Result",
                        "Value",
                        "95 % interval",
                        "Threshold",
                        "Control",
                        "Control value",
                        "Note",
                    ),
                    rows,
                    numeric=frozenset({2, 3, 6}),
                )
            )
    return Section("verdict", "Verdict", tuple(blocks))


def _row(c: dict[str, Any]) -> tuple[str | Cell, ...]:
    word, tone = status(c)
    control = c.get("control") or {}
    return (
        c["label"],
        Cell(word, tone),
        criterion_number(c["id"], c["value"]),
        interval(c.get("ci")),
        c["threshold"],
        plain_text(control.get("name") or NONE),
        criterion_number(c["id"], control.get("value")),
        plain_text(c.get("note") or ""),
    )


def criterion_number(name: str, value: Any) -> str:
    """A criterion's value or its control's: shares as percentages, counts and scores as numbers."""
    if name in SHARES and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.1%}"
    return number(value)


def next_steps(e: Evidence) -> Section:
    """What to do about each criterion that does not pass."""
    if e.verdict is None:
        return Section("next", "What to do next", (Bullets(("Judge the study: `moodlens report DIR`.",)),))
    from moodlens.validate.verdict import next_steps as advise

    items = []
    for c in e.verdict["criteria"]:
        word, _ = status(c)
        if word == "passed":
            continue
        if word == "not measured":
            command = COMMANDS.get(c["id"])
            text = "not measured" + (f"; run `{command}`." if command else ".")
        else:
            steps = advise({"criteria": [c]})
            text = " ".join(plain_text(step.removeprefix(f"{c['label']}: ")) for step in steps) or word
        items.append(f"{c['label']} ({'must' if c['must'] else 'nice to have'}, {word}): {text}")
    if not items:
        items = [
            "Every criterion passes. Steer music with the families (`moodlens steer DIR`, needs a T5 encoder), read the "
            "features one by one (`moodlens explore DIR`), and repeat the study with another seed before relying on it."
        ]
    return Section("next", "What to do next", (Bullets(tuple(items)),))
