"""The first things a reader sees: the encoder, the verdict, its table, and what to do next."""

from collections.abc import Callable
from typing import Any

from moodlens.report.document import Absent, Block, Bullets, Cell, Paragraph, Section, Table, Tone, plain_text
from moodlens.report.evidence import Evidence
from moodlens.report.numbers import NONE, interval, number, percent

COMMANDS = {
    "reconstruction": "moodlens train DIR",
    "sparsity": "moodlens train DIR",
    "dead_features": "moodlens train DIR",
    "selectivity": "moodlens features DIR",
    "interpretability": "moodlens names DIR",
    "monosemanticity": "moodlens names DIR",
    "causality": "moodlens causal DIR",
    "compositionality": "moodlens report DIR",
    "stability": "moodlens stability DIR",
    "generalization": "moodlens transfer DIR",
    "orthogonality": "moodlens report DIR",
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


def warning(e: Evidence) -> str:
    """What must be read before anything else: that this is the control, and what it claimed all the same."""
    if not e.is_control:
        return ""
    said = (
        "CONTROL STUDY. The emotion labels were shuffled before anything was fitted, so there is nothing to find and "
        "whatever is claimed below is a false claim."
    )
    if e.selection is not None:
        said += f" Emotion features claimed: {number(e.selection['n_emotion_features'])}."
    return said


def verdict(e: Evidence) -> Section:
    """The table of criteria: value, interval, threshold and control in every row."""
    if e.verdict is None:
        return Section("verdict", "Verdict", (Absent("the verdict", "moodlens report DIR"),))
    blocks: list[Block] = [
        Paragraph(
            "A criterion passes only if it meets its threshold and beats its control. Where the control meets the "
            "threshold too, the threshold cannot tell anything apart from chance here and is marked uninformative. "
            "Go needs all must-criteria."
        )
    ]
    for must, title in ((True, "Must: decide go or no-go"), (False, "Nice to have: strengthen the findings")):
        found = [c for c in e.verdict["criteria"] if bool(c["must"]) is must]
        if found:
            blocks.append(criteria_table(title, found))
    return Section("verdict", "Verdict", tuple(blocks))


def criteria_table(caption: str, criteria: list[dict[str, Any]]) -> Table:
    """One row a criterion: the word for it, its value with interval, and its control, side by side."""
    rows = []
    for c in criteria:
        word, tone = status(c)
        control, form = c.get("control") or {}, criterion_number(c["id"])
        rows.append(
            (
                plain_text(c["label"]),
                Cell(word, tone),
                form(c["value"]),
                interval(c.get("ci"), form),
                form(control.get("value")),
                plain_text(control.get("name") or NONE),
                signs(c["threshold"]),
                signs(c.get("note") or ""),
            )
        )
    head = (
        "Criterion",
        "Result",
        "Value",
        "95 % interval",
        "Control",
        "What the control is",
        "Threshold",
        "Note",
    )
    return Table(caption, head, tuple(rows), numeric=frozenset({2, 3, 4}))


def signs(text: object) -> str:
    """Text of the verdict with the signs that print uses."""
    return plain_text(text).replace(">=", "≥").replace("<=", "≤")


def criterion_number(name: str) -> Callable[[Any], str]:
    """How a criterion's value and its control's are written: shares as percentages, counts and scores as numbers."""
    return percent_1 if name in SHARES else number


def percent_1(share: Any) -> str:
    """A share as a percentage with one decimal."""
    return percent(share, 1)


def next_steps(e: Evidence) -> Section:
    """What to do about each criterion that does not pass."""
    if e.verdict is None:
        return Section("next", "What to do next", (Bullets(("Judge the study: `moodlens report DIR`.",)),))
    from moodlens.settings.verdict import NOT_MEASURED
    from moodlens.validate.verdict import next_steps as advise

    items = []
    for c in e.verdict["criteria"]:
        word, _ = status(c)
        if word == "passed":
            continue
        if word == "not measured" and c["note"] != NOT_MEASURED:
            text = f"{plain_text(c['note'])}."
        elif word == "not measured":
            command = COMMANDS.get(c["id"])
            text = "not measured" + (f"; run `{command}`." if command else ".")
        else:
            steps = advise({"criteria": [c]})
            text = " ".join(plain_text(step.removeprefix(f"{c['label']}: ")) for step in steps) or word
        items.append(f"{c['label']} ({'must' if c['must'] else 'nice to have'}, {word}): {text}")
    if not items:
        items = [
            "Every criterion passes. Steer music with the families (`moodlens steer DIR`, needs a T5 encoder), read the "
            "features one by one (`moodlens inspect DIR`), and repeat the study with another seed before relying on it."
        ]
    return Section("next", "What to do next", (Bullets(tuple(items)),))
