"""Go or no-go: every criterion of :mod:`moodlens.validate.criteria` beside what chance, a trivial method
and dictionaries that learned nothing give.

A criterion passes only if it meets its threshold *and* beats all its controls. A threshold that a control meets too
is *uninformative*: it does not pass, whatever the value. What was not measured does not pass either; what cannot be
asked of a study (a table without concepts) is left out of the decision, and the verdict says so.
Thresholds are settings, frozen before anything is measured.
"""

from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.verdict import JudgedCriterion, Verdict
from moodlens.validate.criteria import CRITERIA
from moodlens.validate.criterion import NO_LABELS, Criterion, Measured
from moodlens.validate.roadmap import roadmap


def judge(sae: str, measured: Measured, settings: VerdictSettings | None = None) -> Verdict:
    """Judge every criterion from what was measured.

    Args:
        sae: name of the chosen SAE.
        measured: records and tables of the stages; what is None was not measured.
        settings: thresholds.
    """
    settings = settings or VerdictSettings()
    criteria = tuple(_judged(criterion, measured, settings) for criterion in CRITERIA)
    unmeasured = [c.label.lower() for c in criteria if c.state == "not measured"]
    steps = [c.advice for c in criteria if c.state in ("failed", "uninformative")]
    steps += [f"Not measured yet: {', '.join(unmeasured)}."] if unmeasured else []
    must = [c for c in criteria if c.must]
    asked = [c for c in must if c.state != "not asked"]
    return Verdict(
        # Without features that hold an emotion or a rating there is nothing to go on with, whatever else passes.
        go=all(c.passed for c in asked) and any(c.id in ("selectivity", "ratings") for c in asked),
        left_out=tuple(f"{c.label.lower()}: {c.note}" for c in must if c.state == "not asked"),
        sae=sae,
        criteria=criteria,
        roadmap=roadmap(measured),
        next_steps=tuple(steps),
    )


def _judged(criterion: Criterion, measured: Measured, settings: VerdictSettings) -> JudgedCriterion:
    head = {name: getattr(criterion, name) for name in ("id", "label", "must", "unit", "stage")}
    head["threshold"] = criterion.threshold(settings, measured)
    # Ratings are what a study without labels is about; beside labels they are one more finding.
    head["must"] = criterion.must or (criterion.id == "ratings" and not measured.emotions)
    asked = bool(measured.emotions) or not criterion.labels
    reading = criterion.read(measured, settings) if asked else NO_LABELS
    if reading is None or isinstance(reading, str):
        missing = {"value": None, "ci": None, "controls": (), "passed": False, "uninformative": False}
        return JudgedCriterion(
            **head,
            **missing,
            state="not asked" if reading else "not measured",
            note=reading or "not measured",
            advice="" if reading else f"Run: moodlens {criterion.stage} DIR",
        )
    passed = reading.met and reading.beaten and not reading.control_met
    imported = measured.core is not None and measured.core.imported is not None
    advice = (criterion.imported if imported else "") or reading.advice or criterion.advice
    if reading.control_met and not reading.advice:
        advice = f"{criterion.label}: a control meets the threshold too, so it says nothing here."
    return JudgedCriterion(
        **head,
        state="passed" if passed else "uninformative" if reading.control_met else "failed",
        value=reading.value,
        ci=reading.ci,
        controls=reading.controls,
        passed=passed,
        uninformative=reading.control_met,
        note=reading.note,
        advice="" if passed else advice,
    )
