"""The stages that find features: which come back under other seeds, which hold an emotion, what they are called."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from moodlens.core import Progress, read_json, read_table, write_json, write_table
from moodlens.pipeline.sae import MAIN
from moodlens.pipeline.schedule import pool
from moodlens.study.study import Study

JUDGES = 2500
"""Test rows on which seeds are compared; each more costs d_sae^2 products for every seed."""


def measure_stability(folder: Study, progress: Progress) -> Iterable[str]:
    """Look for every feature in the SAEs of other seeds -> stability.parquet.

    Comes before the features are chosen and knows no labels, so that stability may decide who joins a family.
    """
    from moodlens.sae import encode_rows
    from moodlens.validate.stability import stability

    names = folder.seed_names()
    judges = folder.rows("test")
    judges = judges[:: max(1, len(judges) // JUDGES)]
    progress("stability", 0, len(names) + 1)
    # Only these rows: the codes of every seed on all of them would fill the memory.
    codes, x = folder.codes(MAIN)[judges], folder.x[judges]
    saes = [folder.sae(name) for name in names]
    with pool() as each:
        table = stability(
            folder.decoder(MAIN),
            [folder.decoder(name) for name in names],
            codes,
            list(each(lambda sae: encode_rows(sae, x), saes)),
            folder.x[folder.rows("train")],
            folder.study.validation.stability,
            folder.study.verdict.min_reappearance,
            seed=folder.study.seed,
            each=each,
            progress=progress,
        )
    write_table(folder.path / "stability.parquet", table)
    return ["stability.parquet"]


def find_features(folder: Study, progress: Progress) -> Iterable[str]:
    """Choose on train + val, judge on test, gather families -> features.parquet, selection.json, families.json."""
    from moodlens.features import select_features
    from moodlens.study.families import families

    study = folder.study
    codes = folder.codes(MAIN)
    plain = folder.kinds != "negation"
    plain &= folder.kinds != "mixed"
    chosen = select_features(
        codes[plain],
        folder.labels[plain],
        folder.groups[plain],
        folder.splits[plain],
        study.emotions,
        study.features,
        seed=study.seed,
        progress=progress,
    )
    again = read_table(folder.path / "stability.parquet").select(
        "feature",
        pl.col("reappears").alias("stability"),
        pl.col("decoder_cosine").alias("stability_cosine"),
        pl.col("correlation").alias("stability_correlation"),
    )
    table = chosen.table.join(again, on="feature", how="left", maintain_order="left")
    found = families(table, codes, folder.labels, study.emotions, folder.rows("train", "val"), study.features)
    write_json(folder.path / "selection.json", chosen.summary)
    write_json(folder.path / "families.json", found.to_json())
    write_table(folder.path / "features.parquet", found.annotate(table))
    return ["features.parquet", "selection.json", "families.json"]


def compare_families(folder: Study, progress: Progress) -> Iterable[str]:
    """Find the families of the other seeds by the same rule, and compare -> agreement.json.

    Theirs are chosen on train + val alone; the study's had to hold on test rows as well.
    """
    from moodlens.features import choose_features
    from moodlens.sae import encode_rows
    from moodlens.stats.ranks import activity
    from moodlens.study.families import Families, families
    from moodlens.validate.agreement import SeedFamilies, family_agreement

    study = folder.study
    rows = folder.rows("train", "val")
    rows = rows[~np.isin(folder.kinds[rows], ("negation", "mixed"))]
    labels, groups = folder.labels[rows], folder.groups[rows]

    def of_seed(name: str, found: Families | None = None) -> SeedFamilies:
        sae = folder.sae(name)
        codes = folder.codes(name)[rows] if name == MAIN else encode_rows(sae, folder.x[rows])
        if found is None:
            table = choose_features(codes, labels, groups, study.emotions, study.features)
            table = table.rename({"tested": "emotion_feature"})
            found = families(table, codes, labels, study.emotions, slice(None), study.features)
        W_enc, W_dec = sae.W_enc.detach().numpy(), sae.W_dec.detach().numpy()
        return SeedFamilies(found, W_enc, W_dec, activity(codes)[1])

    names = folder.seed_names()
    others = []
    for done, name in enumerate(names):
        progress("families of other seeds", done, len(names))
        others.append(of_seed(name))
    judges = folder.rows("test")
    judges = judges[:: max(1, len(judges) // JUDGES)]
    own = of_seed(MAIN, Families.from_json(read_json(folder.path / "families.json")))
    result = family_agreement(own, others, folder.x[judges], seed=study.seed)
    progress("families of other seeds", len(names), len(names))
    write_json(folder.path / "agreement.json", result)
    return ["agreement.json"]


def give_names(folder: Study, progress: Progress) -> Iterable[str]:
    """Name the emotion features and test the names on text that did not make them -> names.parquet, names.json."""
    from moodlens.features.namer_llm import name_with_model
    from moodlens.features.names import name_features

    study = folder.study
    inputs = (features(folder), folder.codes(MAIN), folder.prompts, study.emotions, study.names)
    if study.namer is None:
        named = name_features(*inputs, seed=study.seed, progress=progress)
    else:
        named = name_with_model(*inputs, study.namer, seed=study.seed, progress=progress)
    write_table(folder.path / "names.parquet", named.table)
    write_json(folder.path / "names.json", named.summary)
    return ["names.parquet", "names.json"]


def features(folder: Study) -> pl.DataFrame:
    """The table of features as the features stage left it, without what later stages add."""
    return read_table(folder.path / "features.parquet").select(pl.exclude(LATER))


LATER = (
    "^name.*$",
    "^interpretable$",
    "^monosemanticity.*$",
    "^causal.*$",
)
"""Columns that the names and causal stages add when the report is made."""


def selection(folder: Study) -> dict:
    """Counts of the selection beside their controls."""
    return read_json(folder.path / "selection.json")
