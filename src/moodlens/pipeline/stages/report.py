"""The last stages: the verdict over everything, and the report."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moodlens.core.files import read_json, read_table, write_json, write_table
from moodlens.core.lines import table
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.settings.study import Settings
from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.sae import Reconstruction
from moodlens.study.study import MAIN, Study

MEASURED = ("probe", "names", "causal", "transfer", "agreement", "pairs", "features", "stability", "train")
"""What the verdict reads."""


def verdict_summary(study: Study) -> Summary:
    """Go or no-go, and every criterion beside its control."""
    verdict = read_json(study.path / "verdict.json")
    return verdict, verdict_lines(study, verdict)


def verdict_lines(study: Study, verdict: dict[str, Any]) -> list[str]:
    """The verdict as a table."""
    rows = []
    for criterion in verdict["criteria"]:
        control = criterion["control"] or {"name": "", "value": None}
        state = "pass" if criterion["passed"] else "uninformative" if criterion["uninformative"] else "FAIL"
        state = "not measured" if criterion["value"] is None else state
        rows.append(
            [
                "must" if criterion["must"] else "nice",
                criterion["id"],
                "-" if criterion["value"] is None else f"{criterion['value']:.4g}",
                "-" if control["value"] is None else f"{control['value']:.4g}",
                state,
                criterion["threshold"],
            ]
        )
    head = "GO" if verdict["go"] else "NO-GO"
    note = "" if study.control == "none" else f" (control study: {study.control})"
    lines = [f"{head}: {study.settings.name}, encoder {study.encoder_info['encoder']}{note}", ""]
    lines += table(["", "criterion", "value", "control", "", "threshold"], rows)
    if verdict["next_steps"]:
        lines += ["", "what to do next:", *(f"- {step}" for step in verdict["next_steps"])]
    return lines


@stage(
    "verdict",
    needs=(*MEASURED, "embed", "prompts"),
    section=lambda s: s.verdict,
    summary=verdict_summary,
)
def verdict(study: Study, settings: VerdictSettings, progress: Progress) -> Iterable[str]:
    """Bring everything that was measured together -> features.parquet (whole), verdict.json."""
    from moodlens.validate.stability import stability_summary
    from moodlens.validate.verdict import judge

    path, frame = study.path, study.features
    write_table(path / "features.parquet", frame)
    chosen = frame["emotion_feature"].to_numpy()
    measured, pairs = study.read(Reconstruction), read_json(path / "pairs.json")
    summary = stability_summary(read_table(path / "stability.parquet"), chosen, settings.min_reappearance)
    summary |= {"families": read_json(path / "agreement.json")["mean"]}
    value = judge(
        MAIN,
        study.emotions,
        reconstruction=measured.held_out.model_dump(),
        baselines=measured.baselines.model_dump(),
        selection=read_json(path / "selection.json"),
        features=frame,
        causality=read_json(path / "causal.json"),
        stability=summary,
        generalization=read_json(path / "transfer.json")["held_out"],
        compositionality=pairs["compositionality"],
        orthogonality=pairs["orthogonality"],
        settings=settings,
    )
    write_json(path / "verdict.json", value)
    return ["features.parquet", "verdict.json"]


def run_summary(study: Study) -> Summary:
    """The verdict, where the report is and how long everything took."""
    verdict = read_json(study.path / "verdict.json")
    seconds = study.seconds
    value = {
        "study": str(study.path),
        "go": verdict["go"],
        "verdict": verdict,
        "report": str(study.path / "report.html"),
        "seconds": seconds | {"total": study.elapsed},
    }
    times = ", ".join(f"{name} {took:.0f}" for name, took in seconds.items() if took >= 0.5)
    lines = [
        *verdict_lines(study, verdict),
        "",
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
    needs=("verdict", *MEASURED, "sweep", "embed", "prompts"),
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
