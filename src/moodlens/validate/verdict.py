"""Go or no-go: every criterion of :mod:`moodlens.validate.criteria` beside what chance or a trivial method gives.

A criterion passes only if it meets its threshold *and* beats its control. A threshold that the control meets
too is *uninformative*: it does not pass, whatever the value. What was not measured does not pass either.
Thresholds are settings, frozen before anything is measured.
"""

from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.verdict import Control, JudgedCriterion, Verdict
from moodlens.validate.criteria import CRITERIA
from moodlens.validate.criterion import Criterion, Measured


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
    # Running a stage again does not help where there is nothing to judge.
    steps += [c.advice for c in criteria if c.state == "nothing to judge"]
    return Verdict(
        go=all(c.passed for c in criteria if c.must), sae=sae, criteria=criteria, next_steps=tuple(steps)
    )


def _judged(criterion: Criterion, measured: Measured, settings: VerdictSettings) -> JudgedCriterion:
    head = {name: getattr(criterion, name) for name in ("id", "label", "must", "unit", "stage")}
    head["threshold"] = criterion.threshold(settings, measured)
    reading = criterion.read(measured, settings)
    if reading is None or isinstance(reading, str):
        note = reading or "not measured"
        advice = f"{criterion.label}: {reading}." if reading else f"Run: moodlens {criterion.stage} DIR"
        state = "nothing to judge" if reading else "not measured"
        missing = {"value": None, "ci": None, "control": None, "passed": False, "uninformative": False}
        return JudgedCriterion(**head, **missing, state=state, note=note, advice=advice)
    passed = bool(reading.met and reading.beaten and not reading.control_met)
    advice = reading.advice or criterion.advice
    if reading.control_met and not reading.advice:
        advice = f"{criterion.label}: the control meets the threshold too, so it says nothing here."
    return JudgedCriterion(
        **head,
        state="passed" if passed else "uninformative" if reading.control_met else "failed",
        value=reading.value,
        ci=reading.ci,
        control=Control(name=criterion.control, value=reading.control),
        passed=passed,
        uninformative=bool(reading.control_met),
        note=reading.note,
        advice="" if passed else advice,
    )
