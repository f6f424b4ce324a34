"""A small study folder with every file, made from random numbers with a known amount of signal."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from helpers.report_records import (
    concepts_record,
    interventions,
    names_record,
    stability_table,
    sweep_table,
    transfer,
    untrained_record,
)
from moodlens.embed import EmbeddingStore, EncoderInfo
from moodlens.features import select_features
from moodlens.features.families import gather_families
from moodlens.features.ratings import rated_features, rule
from moodlens.report.document import Report
from moodlens.report.subject import Subject
from moodlens.report.write import compose
from moodlens.sae.history import Epoch
from moodlens.settings.study import Settings
from moodlens.settings.validation import Phase0Settings
from moodlens.study.coded import Coded
from moodlens.study.records.causal import INTERVENTIONS
from moodlens.study.records.pairs import Compositionality, FamilyPair, Orthogonality, Pairs
from moodlens.study.records.prompts import PROMPTS, Prompts
from moodlens.study.records.ratings import RATINGS, RatedClaims, Ratings
from moodlens.study.records.sae import SWEEP, Core, Reconstruction, Sweep
from moodlens.study.records.stability import STABILITY, Agreement, FamilyAgreement, Stability
from moodlens.study.records.verdict import FEATURES
from moodlens.study.rows import SCALES, Rows
from moodlens.study.study import Study
from moodlens.validate.criterion import Measured
from moodlens.validate.phase0 import phase0
from moodlens.validate.stability import Reappearance
from moodlens.validate.verdict import judge

FOUR = ("happy", "sad", "calm", "energetic")
SPLITS = ("train", "train", "train", "val", "test", "test", "held_out")


def prompt_table(emotions: tuple[str, ...], groups_each: int, rows_each: int) -> pl.DataFrame:
    """Groups of one word each, an emotion (or none) to a group, splits by group."""
    rows = []
    for e, emotion in enumerate((*emotions, None)):
        for g in range(groups_each):
            group = f"{emotion or 'none'}-{g}"
            for r in range(rows_each):
                rows.append(
                    {
                        "id": f"{e}-{g}-{r}",
                        "text": f"{emotion or 'plain'} piano piece number {g}.{r}",
                        "emotion": emotion,
                        "kind": "plain" if emotion else "neutral",
                        "concept": None,
                        "about": None,
                        "split": SPLITS[g % len(SPLITS)],
                        "group": group,
                        "instrument": ("piano", "guitar")[r % 2],
                        "genre": "jazz",
                        "intensity": "subtle",
                        "style": "adjective",
                        "twin": None,
                        "source": "test",
                    }
                )
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(("concept", "about", "twin"), pl.String))


def write_sae(folder: Path, d_in: int, d_sae: int, W: np.ndarray, mean: np.ndarray) -> None:
    import torch

    from moodlens.sae import SAE, save_sae

    dec = torch.tensor(W, dtype=torch.float32)
    enc = dec.T.contiguous()
    bias = torch.full((d_sae,), -0.35)
    sae = SAE(enc, dec, bias, torch.tensor(mean, dtype=torch.float32), activation="relu")
    save_sae(sae, folder, {"encoder_id": "minilm"})


def history(rng: np.random.Generator, epochs: int = 12) -> list[Epoch]:
    out = []
    for i in range(epochs):
        loss = 0.8 * np.exp(-i / 4) + 0.1 + 0.01 * rng.random()
        out.append(
            Epoch(
                epoch=i, step=10 * i, loss=loss, explained_variance=1 - loss, l0=8.0 + rng.random(),
                val_loss=loss + 0.03, val_explained_variance=1 - loss - 0.03, val_l0=8.2,
                dead=max(0, 12 - i), reborn=0, learning_rate=1e-3, sparsity=8,
            )
        )  # fmt: skip
    return out


def write_ratings(folder: Path, codes: np.ndarray, rows: Rows, settings: Settings) -> None:
    """What goes with the ratings of the rows, and nothing of what untrained dictionaries would claim."""
    judged = rated_features(codes, rows, settings.features, seed=0, x=codes)
    none = RatedClaims(n_features=0, n_rated=0, per_pole=dict.fromkeys(judged.claims.per_pole, 0))
    kinds = dict.fromkeys(("untrained-rows", "untrained-random"), none)
    RATINGS.write(folder, judged.table)
    Ratings(
        asked=True, scales=judged.scales, claims=judged.claims, shuffled=judged.shuffled, shuffled_pole_p95=1.0,
        consensus=kinds, alone=kinds, n_permutations=200, rule=rule(settings.features),
    ).write(folder)  # fmt: skip


def make_study(
    folder: Path, emotions: tuple[str, ...] = FOUR, *, d_in: int = 16, groups: int = 14, **changes: Any
) -> Path:
    """Write a whole study folder; every statistic in it is computed, not made up, except the causal ones.

    ``changes`` are sections of the settings.
    """
    rng = np.random.default_rng(0)
    c = len(emotions)
    d_in = max(d_in, c + 4)
    d_sae = 4 * d_in
    prompts = prompt_table(emotions, groups, 4)
    index = {e: i for i, e in enumerate(emotions)}
    labels = np.array([index.get(e, -1) for e in prompts["emotion"]])
    group = np.unique(prompts["group"].to_numpy(), return_inverse=True)[1]
    splits = prompts["split"].to_numpy().astype(str)
    W = rng.normal(size=(d_sae, d_in))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    x = 0.25 * rng.normal(size=(prompts.height, d_in))
    for i in range(c):
        x[labels == i] += 0.7 * W[i]
    x = (x + 0.1).astype(np.float32)

    folder.mkdir(parents=True, exist_ok=True)
    few = {"n_permutations": 200, "n_shuffles": 20}
    settings = Settings.model_validate(
        {
            "name": "tiny study",
            "emotions": emotions,
            "sae": {"architecture": "l1"},
            "seeds": 2,
            "features": few,
        }
        | changes
    )
    provenance = {"python": "3.11", "moodlens": "0.1.0", "torch": "2.13.0"}
    values = settings.model_dump(mode="json") | {"provenance": provenance}
    (folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    rated = {scale: 5 + 2 * (labels == i) + rng.normal(size=len(labels)) for i, scale in enumerate(SCALES)}
    prompts = prompts.with_columns(pl.Series(scale, values) for scale, values in rated.items())
    PROMPTS.write(folder, prompts)
    Prompts(
        emotions=emotions, seed=0, control="none", n=prompts.height, n_groups=int(group.max()) + 1, tables=(),
        remarks=("val has no text of <one> emotion",),
    ).write(folder)  # fmt: skip
    info = EncoderInfo(
        encoder="minilm", revision="x", pooling="mean", max_length=256, dtype="float32", d_in=d_in
    )
    store = EmbeddingStore.create(folder / "embeddings", info, "float32")
    store.append(x)
    rows_of = Rows.from_frame(prompts, emotions)
    phase0(x, rows_of, Phase0Settings(n_permutations=100, n_shuffles=3), seed=0).write(folder)

    write_sae(folder / "sae" / "main", d_in, d_sae, W, x[splits == "train"].mean(0))
    from moodlens.sae import baseline_metrics, encode_rows, load_sae, reconstruction_metrics, write_history

    for name in ("main", "seed-1", "seed-2"):
        write_history(folder / "sae" / name / "history.jsonl", history(rng))
    sae = load_sae(folder / "sae" / "main")
    codes = encode_rows(sae, x)
    mean = x[splits == "train"].mean(0)
    metrics = reconstruction_metrics(sae, x[splits == "test"], mean)
    base = baseline_metrics(x[splits == "train"], x[splits == "test"], 4)
    seen = reconstruction_metrics(sae, x[splits == "train"], mean)
    rows = {name: int((splits == name).sum()) for name in ("train", "val", "test")}
    fits = {"held_out": metrics | {"d_sae": d_sae}, "train": seen, "baselines": base, "rows": rows}
    rebuilt = Reconstruction.model_validate(fits)
    rebuilt.write(folder)
    Core(
        members=4, atoms=40, claimable=40, member_size=64, found=(0, 0, 10, 0, 30), explained_variance=0.5, pipelines={"main": 40, "seed-1": 38}
    ).write(folder)  # fmt: skip
    tried, reason = sweep_table(rng)
    SWEEP.write(folder, tried)
    Sweep(settings=settings.sae, reason=reason, n_tried=tried.height).write(folder)

    chosen = select_features(codes, rows_of, settings.features, seed=0)
    table = chosen.table
    d = table.height
    found = table["emotion_feature"].to_numpy()
    table = table.with_columns(
        pl.Series("name", [f"word {i}" if found[i] else None for i in range(d)]),
        pl.Series("name_score", [float(rng.uniform(0.6, 0.95)) if found[i] else None for i in range(d)]),
        pl.Series("name_control", [0.5 if found[i] else None for i in range(d)]),
        pl.Series("interpretable", [bool(found[i]) for i in range(d)]),
        pl.Series("stability", rng.integers(0, 3, d) / 2),
        pl.Series("causal_effect", rng.normal(0.3, 0.1, d)),
        pl.Series("causal_p", rng.random(d) * 0.01),
        pl.Series("causal_q", rng.random(d) * 0.02),
    )
    fam = gather_families(table, Coded(rows_of, x, codes, sae.W_dec.detach().numpy()), settings.features)
    table = fam.annotate(table)
    fam.write(folder)
    names_record(emotions).write(folder)
    absent = [
        pl.lit(None, dtype).alias(name) for name, dtype in FEATURES.dtypes().items() if name not in table
    ]
    FEATURES.write(folder, table.with_columns(absent))
    chosen.summary.write(folder)
    write_ratings(folder, codes, rows_of, settings)
    INTERVENTIONS.write(folder, interventions(rng, emotions))
    stable = Reappearance(
        stability_table(rng, d),
        Stability(
            n_seeds=2,
            reappearance=settings.validation.stability.reappearance,
            null_cosine_p95=0.45,
            null_seeds=(980, 16, 4),
        ),
    )
    STABILITY.write(folder, stable.table)
    stable.summary.write(folder)
    transfer(rng, emotions).write(folder)
    cell = FamilyAgreement(
        direction=0.83, direction_min=0.71, direction_control=0.13, reading=0.79, reading_min=0.64,
        reading_control=0.24,
    )  # fmt: skip
    agreement = Agreement(n_seeds=2, emotions=dict.fromkeys(emotions, cell), mean=cell)
    agreement.write(folder)
    pair = FamilyPair(
        emotions=emotions[:2], effects=dict.fromkeys(emotions[:2], 0.4), moved=True,
        ci=dict.fromkeys(emotions[:2], (0.3, 0.5)), alone=dict.fromkeys(emotions[:2], 0.6),
    )  # fmt: skip
    pairs = Pairs(
        compositionality=Compositionality(
            share=1.0, control_share=0.1, control_rise_share=0.2, n_moved=1, n_pairs=1, pairs=(pair,)
        ),
        orthogonality=Orthogonality(
            max_correlation=settings.validation.pairs.max_correlation, share=0.95, control_share=0.99, n_features=5, n_pairs=10, median=0.1,
            control_median=0.05, within_share=0.8, between_share=1.0,
        ),
    )  # fmt: skip
    pairs.write(folder)
    inside, nothing = concepts_record(emotions), untrained_record(emotions)
    inside.write(folder)
    nothing.write(folder)
    measured = Measured(
        emotions,
        reconstruction=rebuilt,
        selection=chosen.summary,
        features=table,
        concepts=inside,
        names=names_record(emotions),
        stability=stable,
        agreement=agreement,
        transfer=transfer(rng, emotions),
        pairs=pairs,
        untrained=nothing,
    )
    judge("main", measured, settings.verdict).write(folder)
    return folder


def copy_study(source: Path, target: Path, *leave_out: str) -> Path:
    """A copy without some of the files."""
    shutil.copytree(source, target)
    for name in leave_out:
        path = target / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return target


def subject(folder: Path) -> Subject:
    """The study in ``folder`` as its report reads it."""
    study = Study(folder)
    return Subject(study, study.settings)


def composed(folder: Path) -> Report:
    """The report before it is written."""
    return compose(subject(folder))
