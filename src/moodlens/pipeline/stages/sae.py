"""The stages that train: a sweep that chooses settings; the study's core and rest, and the cores of other pipelines."""

import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, JsonValue

from moodlens.core.errors import BadInput
from moodlens.core.files import digest
from moodlens.core.lines import explained, table
from moodlens.core.maps import taken
from moodlens.core.progress import Progress
from moodlens.engine import executor_of
from moodlens.pipeline.schedule import shared_map
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.imported import facts_of, imported_files, read_imported, told
from moodlens.sae import cores
from moodlens.sae.metrics import baseline_metrics, reconstruction_metrics
from moodlens.sae.model import SAE
from moodlens.sae.training import Trained
from moodlens.sae.units import Source, Units, train_units
from moodlens.sae.untrained import Untrained
from moodlens.settings.base import Frozen
from moodlens.settings.engine import EngineSettings
from moodlens.settings.imported import ImportSettings
from moodlens.settings.sae import CoreSettings, SAESettings
from moodlens.stats.moments import mean_row, wide_blocks
from moodlens.study.records.sae import SWEEP, Core, Reconstruction, Sweep
from moodlens.study.state import WORK
from moodlens.study.study import MAIN, Study

SWEPT = ("architecture", "d_sae", "k", "l1_coefficient", "expansion_factor", "learning_rate", "batch_size")
"""Settings that sweep.parquet shows for each SAE."""
SHOWN = SWEPT[:4]
"""Settings that the verb shows."""
BOOTSTRAPS = 1000
"""Number of the pipeline of the first bootstrap: the study's own is 0, those on the same rows are 1, 2 ..."""
Splits = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows of train, val and test."""


class SweepSection(Frozen):
    """What decides the sweep."""

    sae: SAESettings
    sweep: dict[str, list[Any]]
    min_firings: int
    min_selectivity: float
    engine: EngineSettings = Field(default=EngineSettings(), json_schema_extra={"in_key": False})


class TrainSection(Frozen):
    """What decides the SAEs, beside the settings that the sweep chose."""

    seeds: int
    core: CoreSettings
    control: str
    imported: ImportSettings | None
    engine: EngineSettings = Field(default=EngineSettings(), json_schema_extra={"in_key": False})

    @property
    def untrained(self) -> Untrained | None:
        """What dictionaries that learned nothing are made of, if this study is about them."""
        return {"untrained-rows": "rows", "untrained-random": "random"}.get(self.control)  # type: ignore[return-value]


def sweep_summary(study: Study) -> Summary:
    """One line per SAE, and the choice."""
    chosen, frame = study.read(Sweep), study.table(SWEEP)
    columns = [*SHOWN, "explained_variance", "mse", "l0", "active_share", "dead_share"]
    records = frame.to_dicts()
    rows = [
        [*(record[c] for c in columns), "*" if record["pareto"] else "", "chosen" if record["chosen"] else ""]
        for record in records
    ]
    value = {"saes": records, "chosen": chosen.settings.model_dump(), "reason": chosen.reason}
    lines = [*table([*columns, "pareto", ""], rows), ""] if rows else []
    return value, [*lines, f"chosen: {chosen.reason}"]


def train_summary(study: Study) -> Summary:
    """Reconstruction beside its baselines, and what to change."""
    from moodlens.validate.tuning import advice

    measured = study.read(Reconstruction)
    pca, mean = measured.baselines.pca, measured.baselines.mean
    rows = [
        [name, part.mse, explained(part.explained_variance), part.l0, part.active_share, part.dead_share]
        for name, part in (("SAE, test rows", measured.held_out), ("SAE, training rows", measured.train))
    ]
    rows.append(["train mean", mean.mse, mean.explained_variance, None, None, None])
    if pca is not None:
        name = f"PCA, {pca.n_components} components"
        rows.append([name, pca.mse, pca.explained_variance, None, None, None])
    names = [MAIN, *study.seed_names, *study.bootstrap_names, *study.narrow_names]
    hints = advice(measured, study.sae().settings)
    lines = table(["", "mse", "explained variance", "l0", "active share", "dead share"], rows)
    core = study.read(Core)
    lines += ["", *core.lines, f"SAEs: {', '.join(names)} in {study.path / 'sae'}"]
    lines += [f"advice: {line}" for line in hints]
    return measured.model_dump() | {"core": core.model_dump(), "saes": names, "advice": hints}, lines


@stage(
    "sweep",
    needs=("embed",),
    section=lambda s: SweepSection(
        sae=s.sae,
        sweep=s.sweep,
        min_firings=s.features.min_firings,
        min_selectivity=s.features.min_selectivity,
        engine=s.engine,
    ),
    wide=True,
    summary=sweep_summary,
)
def sweep(study: Study, settings: SweepSection, progress: Progress) -> Iterable[str]:
    """Train every combination of the sweep, mark the Pareto front, choose -> sweep.parquet, sweep.json.

    Without a sweep the study's own settings are chosen, and nothing is trained.
    """
    from moodlens.sae.sweep import choose, grid, pareto

    if not settings.sweep:
        chosen = Sweep(settings=settings.sae, reason="no sweep: the study's own settings", n_tried=0)
        return [study.write(chosen), study.write_table(SWEEP, SWEEP.empty())]
    tried = grid(settings.sae, settings.sweep)
    rows = study.rows
    train, val = (study.x_of(rows.where(split, kinds=None)) for split in ("train", "val"))
    units = _units(study, "sweep", settings.engine)
    trained = units.train(train, val, [(item, study.seed) for item in tried], progress=progress)
    frame = pl.DataFrame(
        [_sweep_row(study, f"sweep-{i:02d}", item, settings, train, val) for i, item in enumerate(trained)],
        schema_overrides=SWEEP.dtypes(),
        infer_schema_length=None,
    )
    best, reason = choose(frame)
    frame = frame.with_columns(
        pl.Series("pareto", pareto(frame)), pl.Series("chosen", np.arange(frame.height) == best)
    )
    chosen = Sweep(settings=tried[best], reason=reason, n_tried=len(tried))
    return [study.write(chosen), study.write_table(SWEEP, frame)]


def _units(study: Study, stage: str, engine: EngineSettings, drawn: np.ndarray | None = None) -> Units:
    """SAEs on the study's train rows, or on those of them that were ``drawn`` (n,), as units of work."""
    train, val = (study.rows.where(split, kinds=None) for split in ("train", "val"))
    numbers = train if drawn is None else train[drawn]
    source = Source((study.path / "embeddings").absolute(), numbers, val, engine.memory)
    return Units(executor_of(engine), study.home / WORK / stage, source)


def _sweep_row(
    study: Study, name: str, trained: Trained, settings: SweepSection, train: np.ndarray, val: np.ndarray
) -> dict[str, object]:
    from moodlens.sae.model import encode_rows
    from moodlens.stats.ranks import selectivity, smoothed_rates

    sae, rows = trained.sae, study.rows
    mean = mean_row(train)
    held_out, seen = (reconstruction_metrics(sae, part, mean) for part in (val, train))
    dev = rows.labelled("train", "val")
    label, fires = rows.label[dev], np.zeros((rows.n_emotions, sae.d_sae))
    for part, block in wide_blocks(study.x, dev):
        own = label[part] == np.arange(rows.n_emotions)[:, None]
        fires += own.astype(np.float64) @ (encode_rows(sae, block) > 0)
    ratio = selectivity(smoothed_rates(fires, np.bincount(label, minlength=rows.n_emotions)))
    enough = fires.sum(0) >= settings.min_firings
    assert sae.settings is not None
    return {
        "name": name,
        **{field: getattr(sae.settings, field) for field in SWEPT},
        "seed": study.seed,
        "mse": held_out["mse"],
        "explained_variance": held_out["explained_variance"],
        "explained_variance_train": seen["explained_variance"],
        "l0": held_out["l0"],
        "active_share": held_out["active_share"],
        "dead_share": seen["dead_share"],
        "dev_selective": int((enough & (ratio.max(0) > settings.min_selectivity)).sum()),
        "epochs": len(trained.history),
        "seconds": trained.seconds,
    }


@stage(
    "train",
    needs=("sweep", "embed", "prompts"),
    section=lambda s: TrainSection(
        seeds=s.seeds, core=s.core, control=s.control, imported=s.imported, engine=s.engine
    ),
    inputs=lambda section, home: imported_files(section.imported),
    wide=True,
    summary=train_summary,
)
def train(study: Study, settings: TrainSection, progress: Progress) -> Iterable[str]:
    """Find the core and train the rest, find the cores of other pipelines -> sae/, core.json, reconstruction.json.

    sae/main: core and rest joined; sae/seed-N and sae/bootstrap-N: cores alone, of other pipelines on the same rows and on
    resampled groups; sae/narrow-1 and -2: one member of two pipelines. With core.members 0, sae/main and sae/seed-N are
    SAEs of the chosen settings, and there is no more. With imported, they are others'.
    """
    rows = study.rows
    train, val, test = (study.x_of(rows.where(split, kinds=None)) for split in ("train", "val", "test"))
    chosen = study.read(Sweep).settings
    if settings.imported is not None:
        files = _imported(study, settings.imported)
    elif settings.core.members:
        files = _with_core(study, chosen, settings, (train, val, test), progress)
    else:
        files = _alone(study, chosen, settings, (train, val, test), progress)
    main = study.sae(MAIN)
    mean = mean_row(train)
    held_out = reconstruction_metrics(main, test, mean)
    seen = reconstruction_metrics(main, train, mean)
    record = Reconstruction.model_validate(
        {
            # Few test rows may wake a feature; it is dead only if it fires on no training row either.
            "held_out": held_out | {"d_sae": main.d_sae, "dead_share": seen["dead_share"]},
            "train": seen,
            "baselines": baseline_metrics(train, test, max(1, round(held_out["l0"]))),
            "rows": {"train": len(train), "val": len(val), "test": len(test)},
        }
    )
    return [*files, study.write(record)]


def _alone(
    study: Study, chosen: SAESettings, settings: TrainSection, splits: Splits, progress: Progress
) -> list[str]:
    """One SAE, of which every feature may be claimed, and as many of other seeds."""
    train, val, _ = splits
    if settings.untrained is None:
        seeds = {MAIN: study.seed} | other_seeds(study.seed, settings.seeds)
        jobs = [(chosen, seed) for seed in seeds.values()]
        trained = _units(study, "train", settings.engine).train(train, val, jobs, progress=progress)
        made = {name: (result.sae, result) for name, result in zip(seeds, trained, strict=True)}
    else:
        names = (MAIN, *other_seeds(0, settings.seeds))
        seeds = {name: cores.derived(study.seed, cores.REST, i) for i, name in enumerate(names)}
        made = {
            name: (cores.untrained_rest(settings.untrained, train, chosen, seed), None)
            for name, seed in seeds.items()
        }
    shutil.rmtree(study.path / "sae", ignore_errors=True)
    files = [file for name, result in made.items() for file in _save(study, name, *result, seeds[name])]
    return [*files, study.write(Core(members=0, atoms=made[MAIN][0].d_sae, claimable=made[MAIN][0].d_sae))]


def _imported(study: Study, settings: ImportSettings) -> list[str]:
    """The SAE that others trained, and as many of other seeds as are given."""
    foreign_saes = read_imported(study, settings)
    shutil.rmtree(study.path / "sae", ignore_errors=True)
    files = [
        file
        for name, foreign in foreign_saes.items()
        for file in _save(study, name, foreign.sae, None, None, facts_of(foreign))
    ]
    main = foreign_saes[MAIN]
    record = Core(members=0, atoms=main.sae.d_sae, claimable=main.sae.d_sae, imported=told(main))
    return [*files, study.write(record)]


def _with_core(
    study: Study, chosen: SAESettings, settings: TrainSection, splits: Splits, progress: Progress
) -> list[str]:
    """The core and its rest; the cores of other pipelines and of bootstraps; members of two; what they are."""
    from moodlens.sae.consensus import join
    from moodlens.sae.training import train_rest

    train, val, test = splits
    core, control = settings.core, settings.untrained
    plan = cores.plan_core(core, *train.shape)
    if plan.d_sae and chosen.architecture == "topk":
        raise BadInput(
            "sae.architecture: topk cannot be joined with a core, its active features depend on each other; "
            "set batchtopk, matryoshka or l1, or core.members to 0"
        )

    def seeds_of(numbers: dict[str, int]) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(cores.derived(study.seed, cores.MEMBER, n, m) for m in range(core.members))
            for name, n in numbers.items()
        }

    groups = study.rows.group[study.rows.where("train", kinds=None)]
    same = {MAIN: 0} | {f"seed-{i + 1}": i + 1 for i in range(settings.seeds)}
    pipelines: list[tuple[np.ndarray | None, dict[str, tuple[int, ...]]]] = [(None, seeds_of(same))]
    for i in range(core.bootstraps):
        drawn = cores.bootstrap(groups, cores.derived(study.seed, cores.DRAW, i))
        pipelines.append((drawn, seeds_of({f"bootstrap-{i + 1}": BOOTSTRAPS + i})))
    units = [_units(study, "train", settings.engine, drawn) for drawn, _ in pipelines]
    if settings.engine.kind != "local":  # all at once: more than one pipeline's may be at work
        jobs = [cores.member_jobs(seeds, core, plan.d_sae, control) for _, seeds in pipelines]
        train_units(list(zip(units, jobs, strict=True)), progress)
    cores_found: dict[str, cores.Core] = {}
    for (drawn, seeds), work_units in zip(pipelines, units, strict=True):
        x = train if drawn is None else taken(train, drawn, study.memory / 8)
        given = {"control": control, "train": work_units.train, "each": shared_map, "progress": progress}
        cores_found |= cores.find_cores(x, val, seeds, core, plan.d_sae, **given)
    own, trained = cores_found[MAIN].sae, None
    seed = cores.derived(study.seed, cores.REST, 0)
    wide = cores.rest_settings(chosen, train.shape[1]) if own.d_sae else chosen
    if control is None:
        trained = train_rest(train, val, wide, own, seed=seed, progress=progress)
        rest = trained.sae
    else:
        rest = cores.untrained_rest(control, train, wide, seed)
    main = join(own, rest) if own.d_sae else rest
    main.core_size = own.core_size
    shutil.rmtree(study.path / "sae", ignore_errors=True)
    files = _save(study, MAIN, main, trained, seed)
    for name, pipeline_core in cores_found.items():
        files += _save(study, name, pipeline_core.sae, None, None) if name != MAIN else []
    with_members = [pipeline_core for pipeline_core in cores_found.values() if pipeline_core.members]
    for i, pipeline_core in enumerate(with_members[:2]):
        files += _save(
            study, f"narrow-{i + 1}", pipeline_core.members[0], pipeline_core.first, pipeline_core.seeds[0]
        )
    facts = cores.describe(cores_found, plan, core, train, test)
    return [*files, study.write(Core(**vars(facts)))]


def _save(
    study: Study,
    name: str,
    sae: SAE,
    trained: Trained | None,
    seed: int | None,
    more: Mapping[str, JsonValue] | None = None,
) -> list[str]:
    """Write one SAE to sae/NAME, and its history if it was trained; returns the files."""
    from moodlens.sae.files import save_sae
    from moodlens.sae.history import write_history

    info = study.encoder_info
    target = study.path / "sae" / name

    def of_rows() -> str:
        return digest(study.x_of(study.rows.where("train", kinds=None)))

    metadata = {
        "encoder_id": info.encoder,
        "model_name": info.encoder,
        "hook_name": "last_hidden_state, mean over tokens",
        "pooling": info.pooling,
        "data_sha256": study.cached("data_sha256", "embed", of_rows),
        "seed": seed,
        **(more or {}),
    }
    save_sae(sae, target, metadata)
    files = [f"sae/{name}/{file}" for file in ("cfg.json", "sae_weights.safetensors")]
    if trained is not None:
        write_history(target / "history.jsonl", trained.history)
        files.append(f"sae/{name}/history.jsonl")
    return files


def other_seeds(seed: int, n: int) -> dict[str, int]:
    """Name -> seed of the SAEs that stand beside the study's own; no two studies of nearby seeds share one."""
    return {f"seed-{i}": seed + 1000 * i for i in range(1, n + 1)}
