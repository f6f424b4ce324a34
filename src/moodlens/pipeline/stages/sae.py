"""The stages that train: a sweep that chooses settings; the study's SAE and its twins of other seeds."""

import shutil
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from moodlens.core.files import digest
from moodlens.core.lines import table
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.sae.metrics import baseline_metrics, reconstruction_metrics
from moodlens.sae.training import Trained
from moodlens.settings.base import Frozen
from moodlens.settings.sae import SAESettings
from moodlens.study.records.sae import SWEEP, Reconstruction, Sweep
from moodlens.study.study import MAIN, Study

SWEPT = ("architecture", "d_sae", "k", "l1_coefficient", "expansion_factor", "learning_rate", "batch_size")
"""Settings that sweep.parquet shows for each SAE."""
SHOWN = SWEPT[:4]
"""Settings that the verb shows."""


class SweepSection(Frozen):
    """What decides the sweep."""

    sae: SAESettings
    sweep: dict[str, list[Any]]
    min_firings: int
    min_selectivity: float


class TrainSection(Frozen):
    """What decides the SAEs, beside the settings that the sweep chose."""

    seeds: int


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
    from moodlens.sae.sweep import advice

    measured = study.read(Reconstruction)
    pca, mean = measured.baselines.pca, measured.baselines.mean
    rows = [
        [name, part.mse, part.explained_variance, part.l0, part.active_share, part.dead_share]
        for name, part in (("SAE, test rows", measured.held_out), ("SAE, training rows", measured.train))
    ]
    rows.append(["train mean", mean.mse, mean.explained_variance, None, None, None])
    if pca is not None:
        name = f"PCA, {pca.n_components} components"
        rows.append([name, pca.mse, pca.explained_variance, None, None, None])
    names = [MAIN, *study.seed_names]
    resolved = study.sae().settings
    facts = measured.held_out.model_dump() | ({} if resolved is None else resolved.model_dump())
    said = advice(facts | {"explained_variance_train": measured.train.explained_variance})
    lines = table(["", "mse", "explained variance", "l0", "active share", "dead share"], rows)
    lines += ["", f"SAEs: {', '.join(names)} in {study.path / 'sae'}", *(f"advice: {line}" for line in said)]
    return measured.model_dump() | {"saes": names, "advice": said}, lines


@stage(
    "sweep",
    needs=("embed",),
    section=lambda s: SweepSection(
        sae=s.sae,
        sweep=s.sweep,
        min_firings=s.features.min_firings,
        min_selectivity=s.features.min_selectivity,
    ),
    wide=True,
    summary=sweep_summary,
)
def sweep(study: Study, settings: SweepSection, progress: Progress) -> Iterable[str]:
    """Train every combination of the sweep, mark the Pareto front, choose -> sweep.parquet, sweep.json.

    Without a sweep the study's own settings are chosen, and nothing is trained.
    """
    from moodlens.sae.sweep import choose, grid, pareto
    from moodlens.sae.training import train_many

    if not settings.sweep:
        chosen = Sweep(settings=settings.sae, reason="no sweep: the study's own settings", n_tried=0)
        return [study.write(chosen), study.write_table(SWEEP, SWEEP.empty())]
    tried = grid(settings.sae, settings.sweep)
    rows = study.rows
    train, val = study.x[rows.where("train", kinds=None)], study.x[rows.where("val", kinds=None)]
    trained = train_many(train, val, [(one, study.seed) for one in tried], progress=progress)
    frame = pl.DataFrame(
        [_sweep_row(study, f"sweep-{i:02d}", one, settings) for i, one in enumerate(trained)],
        schema_overrides=SWEEP.dtypes(),
        infer_schema_length=None,
    )
    best, reason = choose(frame)
    frame = frame.with_columns(
        pl.Series("pareto", pareto(frame)), pl.Series("chosen", np.arange(frame.height) == best)
    )
    chosen = Sweep(settings=tried[best], reason=reason, n_tried=len(tried))
    return [study.write(chosen), study.write_table(SWEEP, frame)]


def _sweep_row(study: Study, name: str, trained: Trained, settings: SweepSection) -> dict[str, Any]:
    from moodlens.sae.model import encode_rows
    from moodlens.stats.ranks import firing_rates, selectivity

    sae, rows = trained.sae, study.rows
    train, val = rows.where("train", kinds=None), rows.where("val", kinds=None)
    mean = study.x[train].mean(0, dtype=np.float64)
    held_out = reconstruction_metrics(sae, study.x[val], mean)
    seen = reconstruction_metrics(sae, study.x[train], mean)
    dev = rows.labelled("train", "val")
    codes = encode_rows(sae, study.x[dev])
    ratio = selectivity(firing_rates(codes, rows.label[dev], rows.n_emotions))
    enough = (codes > 0).sum(0) >= settings.min_firings
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
    needs=("sweep", "embed"),
    section=lambda s: TrainSection(seeds=s.seeds),
    wide=True,
    summary=train_summary,
)
def train(study: Study, settings: TrainSection, progress: Progress) -> Iterable[str]:
    """Train the chosen settings with the study's seed and with others -> sae/main, sae/seed-N, reconstruction.json."""
    from moodlens.sae.training import train_many

    rows = study.rows
    train, val, test = (study.x[rows.where(split, kinds=None)] for split in ("train", "val", "test"))
    chosen = study.read(Sweep).settings
    seeds = {MAIN: study.seed} | other_seeds(study.seed, settings.seeds)
    trained = train_many(train, val, [(chosen, seed) for seed in seeds.values()], progress=progress)
    shutil.rmtree(study.path / "sae", ignore_errors=True)
    data = digest(train)
    files = [file for name, one in zip(seeds, trained, strict=True) for file in _save(study, name, one, data)]
    main = study.sae(MAIN)
    mean = train.mean(0, dtype=np.float64)
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


def _save(study: Study, name: str, trained: Trained, data: str) -> list[str]:
    """Write one SAE and its history to sae/NAME; returns the files."""
    from moodlens.sae.files import save_sae, write_history

    info = study.encoder_info
    target = study.path / "sae" / name
    metadata = {
        "encoder_id": info["encoder"],
        "model_name": info["encoder"],
        "hook_name": "last_hidden_state, mean over tokens",
        "pooling": info.get("pooling"),
        "data_sha256": data,
        "seed": trained.seed,
    }
    write_history(target / "history.jsonl", trained.history)
    save_sae(trained.sae, target, metadata)
    return [f"sae/{name}/{file}" for file in ("cfg.json", "sae_weights.safetensors", "history.jsonl")]


def other_seeds(seed: int, n: int) -> dict[str, int]:
    """Name -> seed of the SAEs that stand beside the study's own; no two studies of nearby seeds share one."""
    return {f"seed-{i}": seed + 1000 * i for i in range(1, n + 1)}
