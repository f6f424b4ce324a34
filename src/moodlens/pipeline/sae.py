"""The SAE stages: a sweep that chooses settings, and the chosen SAE with its twins of other seeds."""

import shutil
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from moodlens.core import Progress, digest, read_json, write_json, write_table
from moodlens.sae.training import Trained
from moodlens.settings.sae import SAESettings
from moodlens.study.study import Study

MAIN = "main"
SWEEP_SETTINGS = (
    "architecture",
    "d_sae",
    "k",
    "l1_coefficient",
    "expansion_factor",
    "learning_rate",
    "batch_size",
)


def run_sweep(folder: Study, progress: Progress) -> Iterable[str]:
    """Train every combination of the sweep, mark the Pareto front, keep the chosen SAE -> sweep.parquet, sae/main.

    Without a sweep the one row is the study's own settings.
    """
    from moodlens.sae import choose, grid, pareto, train_many

    study = folder.study
    settings = grid(study.sae, study.sweep) if study.sweep else [study.sae]
    train, val = folder.x[folder.rows("train")], folder.x[folder.rows("val")]
    trained = train_many(train, val, [(one, study.seed) for one in settings], progress=progress)
    rows = [_sweep_row(folder, f"sweep-{i:02d}", one, study.seed) for i, one in enumerate(trained)]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    chosen, reason = choose(frame)
    frame = frame.with_columns(
        pl.Series("pareto", pareto(frame)),
        pl.Series("chosen", np.arange(frame.height) == chosen),
        pl.lit(reason).alias("reason"),
        # The settings as they were given, so that the chosen ones can be trained again with other seeds.
        pl.Series("settings", [one.model_dump_json() for one in settings]),
    )
    shutil.rmtree(folder.path / "sae", ignore_errors=True)
    files = _save(folder, MAIN, trained[chosen], digest(train))
    write_table(folder.path / "sweep.parquet", frame)
    return ["sweep.parquet", *files]


def _save(folder: Study, name: str, trained: Trained, data: str) -> list[str]:
    """Write one SAE and its history to sae/NAME; returns the files."""
    from moodlens.sae import save_sae, write_history

    info = folder.encoder_info
    target = folder.path / "sae" / name
    metadata = {
        "encoder_id": info["encoder"],
        "model_name": info["encoder"],
        "hook_name": "last_hidden_state, mean over tokens",
        "pooling": info.get("pooling"),
        "data_sha256": data,
        "seed": trained.seed,
        "study": folder.study.name,
    }
    write_history(target / "history.jsonl", trained.history)
    save_sae(trained.sae, target, metadata)
    return [f"sae/{name}/{file}" for file in ("cfg.json", "sae_weights.safetensors", "history.jsonl")]


def _sweep_row(folder: Study, name: str, trained: Trained, seed: int) -> dict[str, Any]:
    from moodlens.sae import encode_rows, reconstruction_metrics
    from moodlens.stats.ranks import firing_rates, selectivity

    sae = trained.sae
    train, val = folder.rows("train"), folder.rows("val")
    mean = folder.x[train].mean(0, dtype=np.float64)
    held_out = reconstruction_metrics(sae, folder.x[val], mean)
    seen = reconstruction_metrics(sae, folder.x[train], mean)
    dev = folder.rows("train", "val")
    dev = dev[folder.labels[dev] >= 0]
    codes = encode_rows(sae, folder.x[dev])
    ratio = selectivity(firing_rates(codes, folder.labels[dev], len(folder.study.emotions)))
    enough = (codes > 0).sum(0) >= folder.study.features.min_firings
    settings = sae.settings
    assert settings is not None
    return {
        "name": name,
        **{field: getattr(settings, field) for field in SWEEP_SETTINGS},
        "seed": seed,
        "mse": held_out["mse"],
        "explained_variance": held_out["explained_variance"],
        "explained_variance_train": seen["explained_variance"],
        "l0": held_out["l0"],
        "active_share": held_out["active_share"],
        "dead_share": seen["dead_share"],
        "dev_selective": int((enough & (ratio.max(0) > folder.study.features.min_selectivity)).sum()),
        "epochs": len(trained.history),
        "seconds": trained.seconds,
    }


def chosen_settings(folder: Study) -> SAESettings:
    """The settings that the sweep chose."""
    from moodlens.core import read_table

    frame = read_table(folder.path / "sweep.parquet").filter(pl.col("chosen"))
    return SAESettings.model_validate_json(frame["settings"][0])


def train_saes(folder: Study, progress: Progress) -> Iterable[str]:
    """Train the chosen settings with other seeds, measure the study's SAE -> sae/seed-N, reconstruction.json."""
    from moodlens.sae import baseline_metrics, reconstruction_metrics, train_many

    study = folder.study
    settings = chosen_settings(folder)
    seeds = other_seeds(study.seed, study.seeds)
    train, val, test = (folder.x[folder.rows(split)] for split in ("train", "val", "test"))
    trained = train_many(train, val, [(settings, seed) for seed in seeds.values()], progress=progress)
    for old in (folder.path / "sae").glob("seed-*"):
        shutil.rmtree(old)
    data = digest(train)
    files = [
        file for name, one in zip(seeds, trained, strict=True) for file in _save(folder, name, one, data)
    ]
    main = folder.sae(MAIN)
    mean = train.mean(0, dtype=np.float64)
    held_out = reconstruction_metrics(main, test, mean)
    seen = reconstruction_metrics(main, train, mean)
    result = {
        # Few test rows may wake a feature; it is dead only if it fires on no training row either.
        "held_out": held_out | {"d_sae": main.d_sae, "dead_share": seen["dead_share"]},
        "train": seen,
        "baselines": baseline_metrics(train, test, max(1, round(held_out["l0"]))),
        "rows": {"train": len(train), "val": len(val), "test": len(test)},
    }
    write_json(folder.path / "reconstruction.json", result)
    return [*files, "reconstruction.json"]


def other_seeds(seed: int, n: int) -> dict[str, int]:
    """Name -> seed of the SAEs that stand beside the study's own; no two studies of nearby seeds share one."""
    return {f"seed-{i}": seed + 1000 * i for i in range(1, n + 1)}


def reconstruction(folder: Study) -> dict[str, Any]:
    """What :func:`train_saes` measured."""
    return read_json(folder.path / "reconstruction.json")
