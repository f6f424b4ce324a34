"""The last stages: the verdict over everything, and the report."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from moodlens.core.lines import explained, number, table
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.discovery import claimed_by_rating
from moodlens.pipeline.stages.ratings import ratings_line
from moodlens.settings.study import Settings
from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.causal import Causal
from moodlens.study.records.concepts import Concepts
from moodlens.study.records.names import Names
from moodlens.study.records.pairs import Pairs
from moodlens.study.records.ratings import Ratings
from moodlens.study.records.sae import Core, Reconstruction
from moodlens.study.records.selection import Selection
from moodlens.study.records.stability import STABILITY, Agreement, Stability
from moodlens.study.records.transfer import Transfer
from moodlens.study.records.untrained import Untrained
from moodlens.study.records.verdict import FEATURES, Verdict
from moodlens.study.study import MAIN, Study

MEASURED = (
    "probe", "names", "causal", "transfer", "agreement", "pairs", "concepts", "untrained", "ratings", "features", "stability", "train",
)  # fmt: skip
"""What the verdict reads."""


def verdict_summary(study: Study) -> Summary:
    """Go or no-go, and every criterion beside its control."""
    verdict = study.read(Verdict)
    return verdict.model_dump(), verdict_lines(study, verdict)


def verdict_lines(study: Study, verdict: Verdict) -> list[str]:
    """The verdict as a table; of the controls, the hardest to beat."""
    words = {"passed": "pass", "failed": "FAIL"}
    rows = [
        [
            "must" if criterion.must else "nice",
            criterion.id,
            _number(criterion.value, criterion.unit),
            _number(None if criterion.strongest is None else criterion.strongest.value),
            "-" if criterion.strongest is None else criterion.strongest.name,
            words.get(criterion.state, criterion.state),
            criterion.threshold,
        ]
        for criterion in verdict.criteria
    ]
    head = "GO" if verdict.go else "NO-GO"
    note = "" if study.control == "none" else f" (control study: {study.control})"
    lines = [f"{head}: {study.settings.name}, encoder {study.encoder_info.encoder}{note}", ""]
    if verdict.left_out:
        lines += ["left out of the decision, because this study cannot be asked:"]
        lines += [*(f"- {what}" for what in verdict.left_out), ""]
    lines += table(["", "criterion", "value", "control", "which", "", "threshold"], rows)
    if verdict.next_steps:
        lines += ["", "what to do next:", *(f"- {step}" for step in verdict.next_steps)]
    return lines


def _number(value: float | None, unit: str = "") -> str:
    return number(explained(value) if unit == "explained variance" else value)


@stage(
    "verdict",
    needs=(*MEASURED, "embed", "prompts"),
    section=lambda s: s.verdict,
    summary=verdict_summary,
)
def verdict(study: Study, settings: VerdictSettings, progress: Progress) -> Iterable[str]:
    """Bring everything that was measured together -> features.parquet (whole), verdict.json."""
    from moodlens.validate.criterion import Measured
    from moodlens.validate.stability import Reappearance
    from moodlens.validate.verdict import judge

    emotions = study.emotions
    measured = Measured(
        emotions,
        reconstruction=study.read(Reconstruction),
        core=study.read(Core),
        stability=Reappearance(study.table(STABILITY), study.read(Stability)),
        ratings=study.read(Ratings),
        rated=claimed_by_rating(study),
    )
    if not emotions:
        return [study.write(judge(MAIN, measured, settings))]
    features = study.features
    measured = replace(
        measured,
        selection=study.read(Selection),
        features=features,
        concepts=study.read(Concepts),
        names=study.read(Names),
        causal=study.read(Causal),
        agreement=study.read(Agreement),
        transfer=study.read(Transfer),
        pairs=study.read(Pairs),
        untrained=study.read(Untrained),
    )
    return [study.write_table(FEATURES, features), study.write(judge(MAIN, measured, settings))]


def run_summary(study: Study) -> Summary:
    """The verdict, where the report is and how long everything took."""
    verdict = study.read(Verdict)
    seconds = study.seconds
    value = {
        "study": str(study.path),
        "go": verdict.go,
        "verdict": verdict.model_dump(),
        "report": str(study.path / "report.html"),
        "seconds": seconds | {"total": study.elapsed},
    }
    times = ", ".join(f"{name} {took:.0f}" for name, took in seconds.items() if took >= 0.5)
    ratings = study.read(Ratings)
    lines = [
        *verdict_lines(study, verdict),
        "",
        *([ratings_line(ratings)] if ratings.asked else []),
        f"report:  {study.path / 'report.html'}",
        f"seconds: {study.elapsed:.0f} ({times})",
    ]
    return value, lines


def _living_files(section: Settings, home: Path) -> list[Path]:
    """What people and steering runs add beside the stages: a new reading or new clips make the report anew."""
    steer = home / "steer"
    return [home / "notes.db", home / "notes.db-wal", steer / "run.json", steer / "results.json"]


@stage(
    "report",
    needs=("verdict", *MEASURED, "metrics", "sweep", "embed", "prompts"),
    section=lambda s: s.model_copy(update={"steer": None}),  # it lists all that decided the study
    inputs=_living_files,
    summary=run_summary,
)
def report(study: Study, settings: Settings, progress: Progress) -> Iterable[str]:
    """Everything in one file that a colleague can read -> report.html, report.md, figures/."""
    from moodlens.report.write import render

    progress("report", 0, 1)
    files = render(study, settings)
    progress("report", 1, 1)
    return [file.relative_to(study.path).as_posix() for file in files]
