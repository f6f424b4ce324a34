"""The first things a reader sees: the encoder, the verdict, its table, and what to do next."""

from typing import Any

from moodlens.core.lines import explained
from moodlens.report.document import Bullets, Cell, Paragraph, Table, Tone, cut, plain_text
from moodlens.report.numbers import NONE, interval, number, percent
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Part, Topic, needs
from moodlens.study.records.selection import Selection
from moodlens.study.records.verdict import JudgedCriterion, Verdict

CONTROLS = {
    "shuffle-labels": "The emotion labels were shuffled before anything was fitted",
    "untrained-rows": "The dictionaries are differences of training rows and learned nothing",
    "untrained-random": "The dictionaries are random directions and learned nothing",
}
"""Control -> why there is nothing to find."""
TONES: dict[str, Tone] = {"passed": "good", "failed": "bad", "uninformative": "warn"}


def steers(subject: Subject) -> bool:
    """Whether the study's encoder is one that a MusicGen model conditions on."""
    return subject.encoder.encoder.split(":")[0] in ("t5", "musicgen")


def first_line(subject: Subject) -> str:
    """Which encoder was used, and whether its features can steer MusicGen."""
    made = subject.encoder
    encoder = made.encoder
    facts = (f"{made.d_in}-d" if made.d_in else None, made.pooling, made.dtype)
    details = ", ".join(cut(fact, 40) for fact in facts if fact)
    if steers(subject):
        can = "these can, in a MusicGen model that conditions on this same encoder."
    elif encoder.split(":")[0] == "precomputed":
        can = "these can if the precomputed embeddings came from the model's own T5."
    else:
        can = "the features of this study cannot."
    return (
        f"Text encoder: {cut(encoder)}{f' ({details})' if details else ''}. Only features of a T5 encoder can steer MusicGen: "
        f"{can}"
    )


def verdict_sentence(subject: Subject) -> tuple[str, Tone]:
    """Go or no-go, and why, in one sentence."""
    verdict: Verdict | None = subject.get(Verdict)
    if verdict is None:
        return "No verdict: the study as it is now has not been judged.", "warn"
    must = [criterion for criterion in verdict.criteria if criterion.must and criterion.state != "not asked"]
    prefix = f"Control run ({subject.settings.control}). " if subject.is_control else ""
    left_out = (
        f" Left out, because this study cannot be asked: {'; '.join(verdict.left_out)}."
        if verdict.left_out
        else ""
    )
    if verdict.go:
        text = f"{prefix}Go: all {len(must)} must-criteria that were asked pass, each beyond all its controls.{left_out}"
        return text, "bad" if subject.is_control else "good"
    states = dict.fromkeys(criterion.state for criterion in must if not criterion.passed)
    why = "; ".join(
        f"{', '.join(c.label.lower() for c in must if c.state == state)} {state}" for state in states
    )
    passed = sum(criterion.passed for criterion in must)
    return f"{prefix}No-go: {passed} of {len(must)} must-criteria pass; {why}.{left_out}", "bad"


def warning(subject: Subject) -> str:
    """What must be read before anything else: that this is the control, and what it claimed all the same."""
    if not subject.is_control:
        return ""
    text = (
        f"CONTROL STUDY. {CONTROLS[subject.settings.control]}, so there is nothing to find and whatever is claimed below "
        "is a false claim."
    )
    selection = subject.get(Selection)
    if selection is not None:
        text += f" Emotion features claimed: {number(selection.n_emotion_features)}."
    return text


def criteria(_: Subject, verdict: Verdict) -> Blocks:
    """The table of criteria: value, interval, threshold and control in every row."""
    yield Paragraph(
        "A criterion passes only if it meets its threshold and beats all its controls: chance, a trivial method, and "
        "dictionaries that learned nothing and went through the whole pipeline. Where a control meets the threshold too, "
        "the threshold cannot tell anything apart here and is marked uninformative. Go needs all must-criteria; what "
        "cannot be asked of a study is left out of the decision and said."
    )
    for must, title in ((True, "Must: decide go or no-go"), (False, "Nice to have: strengthen the findings")):
        yield criteria_table(title, [criterion for criterion in verdict.criteria if criterion.must is must])
    yield _roadmap(verdict)


def _roadmap(verdict: Verdict) -> Table:
    """What the roadmap's own criteria would have said; they decide nothing."""
    rows = tuple(
        (
            plain_text(criterion.label),
            signs(criterion.threshold),
            number(criterion.value, 4),
            Cell("not measured" if criterion.met is None else "met" if criterion.met else "not met", "none"),
            plain_text("; ".join(criterion.fooled_by)) or NONE,
        )
        for criterion in verdict.roadmap
    )
    head = ("Criterion", "Threshold", "Value", "Says", "Met too, where there is nothing to find, by")
    return Table("The roadmap's own criteria, for comparison", head, rows, numeric=frozenset({2}))


def verdict_says(*names: str) -> Part:
    """A part of other topics: the criteria that speak of them, repeated where they are proved."""

    @needs(Verdict)
    def part(_: Subject, *given: Any) -> Blocks:
        judged = {c.id: c for c in given[-1].criteria if c.state != "not measured"}
        rows = [judged[name] for name in names if name in judged]
        if rows:
            yield criteria_table("What the verdict says", rows)

    return part


def criteria_table(caption: str, criteria: list[JudgedCriterion]) -> Table:
    """One row a criterion: the word for it, its value with interval, and its controls, side by side."""
    rows = []
    for criterion in criteria:
        form = FORMS.get(criterion.unit, number)
        rows.append(
            (
                plain_text(criterion.label),
                Cell(criterion.state, TONES.get(criterion.state, "none")),
                form(criterion.value),
                interval(criterion.ci, form),
                "; ".join(
                    f"{plain_text(control.name)}: {form(control.value)}" for control in criterion.controls
                )
                or NONE,
                signs(criterion.threshold),
                cut(signs(criterion.note), 600),
            )
        )
    head = "Criterion|Result|Value|95 % interval|Controls|Threshold|Note"
    return Table(caption, tuple(head.split("|")), tuple(rows), numeric=frozenset({2, 3}))


def signs(text: object) -> str:
    """Text of the verdict with the signs that print uses."""
    return plain_text(text).replace(">=", "≥").replace("<=", "≤")


def percent_1(share: float | None) -> str:
    """A share as a percentage with one decimal."""
    return percent(share, 1)


def _explained(variance: float | None) -> str:
    return number(explained(variance))


FORMS = {"share": percent_1, "explained variance": _explained}
"""How a criterion's unit is written, where not as any number."""


def next_steps(subject: Subject) -> Blocks:
    """What to do about each criterion that does not pass."""
    verdict: Verdict | None = subject.get(Verdict)
    if verdict is None:
        yield Bullets(("Judge the study: `moodlens report DIR`.",))
        return
    items = []
    for criterion in verdict.criteria:
        if criterion.passed or criterion.state == "not asked":
            continue
        advice = plain_text(criterion.advice.removeprefix(f"{criterion.label}: "))
        if criterion.state == "not measured":
            advice = f"not measured; run `moodlens {criterion.stage} DIR`."
        weight = "must" if criterion.must else "nice to have"
        items.append(f"{criterion.label} ({weight}, {criterion.state}): {advice}")
    yield Bullets(
        tuple(items)
        or (
            "Every criterion passes. Steer music with the families (`moodlens steer DIR`, needs a T5 encoder), read the "
            "features one by one (`moodlens inspect DIR`), and repeat the study with another seed before relying on it.",
        )
    )


VERDICT = Topic("verdict", "Verdict", (criteria,), needs=(Verdict,), absent="the verdict", labels=False)
NEXT_STEPS = Topic("next", "What to do next", (next_steps,), labels=False)
