"""The stages that put features to the proof, and the verdict over everything."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from moodlens.core import Progress, read_json, read_table, write_json, write_table
from moodlens.pipeline import discovery
from moodlens.pipeline.sae import MAIN, reconstruction
from moodlens.study.families import Families
from moodlens.study.study import Study


def intervene(folder: Study, progress: Progress) -> Iterable[str]:
    """Clamp, transplant and keep features -> interventions.parquet, causal.parquet, causal.json."""
    from moodlens.validate.causal import causality

    study = folder.study
    result = causality(
        folder.decoder(MAIN),
        folder.codes(MAIN),
        folder.x,
        folder.labels,
        folder.groups,
        folder.splits,
        folder.kinds,
        discovery.features(folder),
        load_families(folder),
        study.emotions,
        study.validation.causal,
        seed=study.seed,
        progress=progress,
        panel=folder.panel,
    )
    write_table(folder.path / "interventions.parquet", result.interventions)
    write_table(folder.path / "causal.parquet", result.features)
    write_json(folder.path / "causal.json", result.summary)
    return ["interventions.parquet", "causal.parquet", "causal.json"]


def pair(folder: Study, progress: Progress) -> Iterable[str]:
    """Families added in pairs, and correlations of pairs of features -> pairs.json, which the verdict reads."""
    from moodlens.validate.compositionality import compositionality
    from moodlens.validate.orthogonality import orthogonality

    study = folder.study
    table = discovery.features(folder)
    decoder, codes = folder.decoder(MAIN), folder.codes(MAIN)
    progress("pairs", 0, 2)
    together = compositionality(
        decoder,
        codes,
        folder.x,
        folder.labels,
        folder.groups,
        folder.splits,
        load_families(folder),
        table,
        study.emotions,
        study.validation.pairs,
        seed=study.seed,
        kinds=folder.kinds,
        panel=folder.panel,
    )
    progress("pairs", 1, 2)
    apart = orthogonality(decoder, codes[folder.rows("test")], table, study.validation.pairs, seed=study.seed)
    progress("pairs", 2, 2)
    write_json(folder.path / "pairs.json", {"compositionality": together, "orthogonality": apart})
    return ["pairs.json"]


def load_families(folder: Study) -> Families:
    """The families of the study."""
    return Families.from_json(read_json(folder.path / "families.json"))


def transfer(folder: Study, progress: Progress) -> Iterable[str]:
    """Held-out words and templates, negations and mixtures, the user's labelled texts -> transfer.json."""
    from moodlens.pipeline.score import score_table
    from moodlens.sae import pre_activation_rows
    from moodlens.validate.transfer import generalization, special_rows

    study = folder.study
    families = load_families(folder)
    table = discovery.features(folder)
    codes, sae = folder.codes(MAIN), folder.sae(MAIN)
    members, few = families.apart()
    scores = few.scores(pre_activation_rows(sae, folder.x, features=members))
    result = {
        "held_out": generalization(
            pre_activation_rows(sae, folder.x[folder.rows("held_out")]),
            codes,
            folder.x,
            folder.labels,
            folder.groups,
            folder.splits,
            families,
            table,
            study.emotions,
            baselines(folder),
            study.features,
            study.validation.transfer,
            seed=study.seed,
        ),
        "special": special_rows(scores, folder.prompts, folder.labels, families, study.emotions),
        "sets": [],
    }
    for done, one in enumerate(study.transfer):
        progress("transfer", done, len(study.transfer))
        result["sets"].append(score_table(folder, one).result)
    progress("transfer", len(study.transfer), len(study.transfer))
    write_json(folder.path / "transfer.json", result)
    return ["transfer.json"]


def baselines(folder: Study):
    """Difference-in-means and a linear probe on the dense embedding, fitted on train + val prompts alone."""
    from moodlens.validate.baselines import DenseBaselines

    rows = folder.rows("train", "val")
    rows = rows[np.isin(folder.kinds[rows], ("plain", "neutral"))]
    return DenseBaselines.fit(folder.x[rows], folder.labels[rows], folder.study.emotions, folder.study.seed)


def judge_study(folder: Study) -> list[str]:
    """Bring everything that was measured together -> features.parquet (whole), verdict.json."""
    from moodlens.validate.stability import stability_summary
    from moodlens.validate.verdict import judge

    study, path = folder.study, folder.path
    table = discovery.features(folder)
    for name in ("names.parquet", "causal.parquet"):
        table = table.join(read_table(path / name), on="feature", how="left", maintain_order="left")
    write_table(path / "features.parquet", table)
    found = table["emotion_feature"].to_numpy()
    measured, pairs = reconstruction(folder), read_json(path / "pairs.json")
    summary = stability_summary(read_table(path / "stability.parquet"), found, study.verdict.min_reappearance)
    summary |= {"families": read_json(path / "agreement.json")["mean"]}
    verdict = judge(
        MAIN,
        study.emotions,
        reconstruction=measured["held_out"],
        baselines=measured["baselines"],
        selection=discovery.selection(folder),
        features=table,
        causality=read_json(path / "causal.json"),
        stability=summary,
        generalization=read_json(path / "transfer.json")["held_out"],
        compositionality=pairs["compositionality"],
        orthogonality=pairs["orthogonality"],
        settings=study.verdict,
    )
    write_json(path / "verdict.json", verdict)
    return ["verdict.json"]


def whole_table(folder: Study) -> pl.DataFrame:
    """features.parquet with everything that was measured."""
    return read_table(folder.path / "features.parquet")
