"""The stages of a study in order: what each reads, which settings decide it, and the function that does it."""

from collections.abc import Iterable
from typing import Any

from moodlens.core import Progress
from moodlens.pipeline import discovery, texts
from moodlens.pipeline import proof as evidence
from moodlens.pipeline import sae as training
from moodlens.pipeline.run import Stage
from moodlens.pipeline.sae import MAIN
from moodlens.settings.study import Settings
from moodlens.study.study import Study


def _dump(model: Any) -> Any:
    return model.model_dump(mode="json")


def _transfer(study: Settings) -> list[Any]:
    from moodlens.pipeline.score import table_hashes

    return [[_dump(table) for table in study.transfer], table_hashes(study.transfer)]


def _report(folder: Study, progress: Progress) -> Iterable[str]:
    from moodlens.report import render

    files = evidence.judge_study(folder)
    progress("report", 0, 1)
    written = render(folder.path, codes=folder.codes(MAIN))
    progress("report", 1, 1)
    return [*files, *(path.relative_to(folder.path).as_posix() for path in written)]


STAGES: tuple[Stage, ...] = (
    Stage(
        "prompts",
        (),
        lambda s: [s.seed, s.emotions, s.control, _dump(s.prompts), texts.input_hashes(s)],
        texts.make_prompts,
        wide=True,  # nothing can run beside it
    ),
    Stage("embed", ("prompts",), lambda s: _dump(s.encoder), texts.embed_prompts, wide=True),
    Stage(
        "probe",
        ("embed",),
        lambda s: _dump(s.validation.phase0),
        texts.probe_embeddings,
    ),
    Stage(
        "sweep",
        ("embed",),
        lambda s: [_dump(s.sae), s.sweep, s.features.min_firings, s.features.min_selectivity],
        training.run_sweep,
        wide=True,
    ),
    Stage("train", ("sweep",), lambda s: s.seeds, training.train_saes, wide=True),
    Stage(
        "stability",
        ("train",),
        lambda s: [_dump(s.validation.stability), s.verdict.min_reappearance],
        discovery.measure_stability,
        wide=True,
    ),
    Stage("features", ("stability",), lambda s: _dump(s.features), discovery.find_features),
    Stage("agreement", ("features",), lambda s: [], discovery.compare_families),
    Stage(
        "names", ("features",), lambda s: [_dump(s.names), s.namer and _dump(s.namer)], discovery.give_names
    ),
    Stage("causal", ("features",), lambda s: _dump(s.validation.causal), evidence.intervene),
    Stage(
        "transfer",
        ("features",),
        lambda s: [s.validation.transfer.n_bootstrap, *_transfer(s)],
        evidence.transfer,
    ),
    Stage("pairs", ("features",), lambda s: _dump(s.validation.pairs), evidence.pair),
    Stage(
        "report",
        ("probe", "names", "causal", "transfer", "agreement", "pairs"),
        lambda s: [s.name, _dump(s.verdict)],
        _report,
    ),
)
