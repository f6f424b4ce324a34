"""The stages that find features: which come back in other pipelines, which hold an emotion, what they are called."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from moodlens.core.errors import BadInput
from moodlens.core.lines import describe, number, table
from moodlens.core.maps import columns_of
from moodlens.core.progress import Progress
from moodlens.pipeline.schedule import pool
from moodlens.pipeline.score import study_encoder
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.embedding import one_name
from moodlens.settings.base import Frozen
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NamerSettings, NameSettings
from moodlens.settings.study import EncoderSettings
from moodlens.settings.validation import StabilitySettings
from moodlens.stats.moments import mean_row
from moodlens.stats.pvalues import fewest_below
from moodlens.study.coded import Coded
from moodlens.study.records.names import NAMES, WORDS, Names
from moodlens.study.records.ratings import RATINGS
from moodlens.study.records.sae import Core
from moodlens.study.records.selection import SELECTION, Selection
from moodlens.study.records.stability import STABILITY, Agreement, FamilyAgreement, Stability
from moodlens.study.rows import DEV
from moodlens.study.study import MAIN, Study

JUDGES = 2500
"""Test rows on which pipelines are compared; each more costs a product for every pair of their features."""

SHOWN = 30
"""Names that the verb shows."""


class FeaturesSection(Frozen):
    """What decides which features hold an emotion."""

    features: FeatureSettings


class NamesSection(Frozen):
    """What decides the names."""

    names: NameSettings
    namer: NamerSettings | None
    encoder: EncoderSettings
    precomputed: bool
    """The embeddings were made elsewhere: no text can be read word by word."""


def judging_rows(study: Study) -> np.ndarray:
    """Test rows of every kind, thinned to about :data:`JUDGES`."""
    rows = study.rows.where("test", kinds=None)
    return rows[:: max(1, len(rows) // JUDGES)]


def claimed_by_rating(study: Study) -> np.ndarray:
    """(d_sae,) bool, features that go with a rating on any scale."""
    rated = np.zeros(study.sae().d_sae, dtype=bool)
    rated[study.table(RATINGS).filter("rated_feature")["feature"].to_numpy()] = True
    return rated


def stability_summary(study: Study) -> Summary:
    """How many features come back: the claimed ones, once they are chosen, and all that may be claimed."""
    from moodlens.validate.stability import StableFeatures

    frame, stability = study.table(STABILITY), study.read(Stability)
    alive = frame.filter(pl.col("alive"))
    claimed = None
    if not stability.n_seeds:
        note = "an SAE that was imported alone: there are no others of its recipe in which its features could come back"
        return {"n_features": frame.height, "n_alive": alive.height, "n_seeds": 0}, [note]
    try:
        if study.emotions:
            strong = study.require("features").table(SELECTION)["emotion_feature"].to_numpy()
        else:
            strong = claimed_by_rating(study.require("ratings"))
        claimed = StableFeatures.of(frame, stability, strong)
    except BadInput:  # not chosen yet, or from other pipelines
        pass
    value = {
        "n_claimed": None if claimed is None else claimed.n_emotion_features,
        "claimed_share": None if claimed is None else claimed.stable_share,
        "claimed_bootstrap_share": None if claimed is None else claimed.bootstrap_share,
        "n_features": frame.height,
        "n_alive": alive.height,
        "n_seeds": stability.n_seeds,
        "reappear_share": float(alive["reappears"].mean() or 0),  # type: ignore[arg-type]
        "null_share": stability.null_mean,
        "random_subsets_share": stability.subset_share,
        "narrow_share": stability.narrow_share,
        "narrow_mcc": stability.narrow_mcc,
        "n_bootstraps": stability.n_bootstraps,
        "bootstrap_share": alive["reappears_bootstrap"].mean(),
        "mean_decoder_cosine": float(alive["decoder_cosine"].mean() or 0),  # type: ignore[arg-type]
        "null_cosine_p95": stability.null_cosine_p95,
        "mean_correlation": float(alive["correlation"].mean() or 0),  # type: ignore[arg-type]
    }
    head = (
        [f"claimed features are not chosen yet: moodlens {'features' if study.emotions else 'ratings'} DIR"]
        if claimed is None
        else []
    )
    return value, [*head, *describe(value)]


@stage(
    "stability",
    needs=("train", "embed", "prompts"),
    section=lambda s: s.validation.stability,
    wide=True,
    summary=stability_summary,
)
def stability(study: Study, settings: StabilitySettings, progress: Progress) -> Iterable[str]:
    """Look for every feature that may be claimed in other pipelines -> stability.parquet, stability.json.

    Comes before the features are chosen and knows no labels, so that stability may decide who joins a family.
    """
    from moodlens.sae.model import encode_rows
    from moodlens.validate.stability import Beside, Dictionary, alone
    from moodlens.validate.stability import stability as compare

    seeds, bootstraps, narrow = study.seed_names, study.bootstrap_names, study.narrow_names
    names, judges = [*seeds, *bootstraps, *narrow], judging_rows(study)
    progress("stability", 0, len(names) + 1)
    # Only these rows: the codes of every pipeline on all of them would fill the memory.
    core, x = slice(study.core_size), study.x_of(judges)
    own = Dictionary(study.W_dec()[core], columns_of(study.codes(MAIN), judges, core))
    train = study.x_of(study.rows.where("train", kinds=None))
    if not seeds:  # an SAE that was imported alone
        result = alone(own, train, settings, seed=study.seed)
        return [study.write_table(STABILITY, result.table), study.write(result.summary)]
    saes = [study.sae(name) for name in names]
    with pool() as each:
        share = study.memory / 4 / len(saes)
        dictionaries = each(
            lambda sae: Dictionary(sae.W_dec.detach().numpy(), encode_rows(sae, x, memory=share)), saes
        )
        others = dict(zip(names, dictionaries, strict=True))
        pair = tuple(others[name] for name in narrow)
        result = compare(
            own,
            [others[name] for name in seeds],
            train,
            settings,
            seed=study.seed,
            beside=Beside([others[name] for name in bootstraps], pair if len(pair) == 2 else None),
            each=each,
            progress=progress,
        )
    return [study.write_table(STABILITY, result.table), study.write(result.summary)]


def cut(shown: int, n: int, where: str) -> list[str]:
    """A line that says how much of a table is not shown, and where all of it is."""
    return [f"{shown} of {n} are shown; all: {where}"] if shown < n else []


def features_summary(study: Study) -> Summary:
    """The count beside its control, and the best features of every emotion."""
    counts = study.read(Selection)
    frame = study.features.filter(pl.col("emotion_feature"))
    shown = ["feature", "emotion", "auroc", "selectivity", "q", "density", "stability", "n_groups"]
    best = frame.sort("auroc", descending=True).group_by("emotion", maintain_order=True).head(5)
    best = best.sort(pl.col("emotion").cast(pl.Enum(study.emotions)), maintain_order=True)
    alone, shuffled = counts.threshold_only, counts.shuffled
    lines = [
        f"{counts.n_emotion_features} emotion features of {counts.core_size} that may be claimed "
        f"(of {counts.n_features}); under shuffled labels "
        f"{number(shuffled.mean)} on average, 95th percentile {number(shuffled.p95)}",
        f"the threshold alone (selectivity > {alone.min_selectivity:g}) passes {alone.count}; "
        f"shuffled {alone.shuffled_mean:.0f}",
        *why_none(counts, study.read(Core)),
        "",
        *table(shown, [[record[c] for c in shown] for record in best.to_dicts()]),
        *cut(best.height, frame.height, "selection.parquet, column emotion_feature"),
    ]
    return counts.model_dump() | {"features": frame.to_dicts()}, lines


def why_none(counts: Selection, core: Core) -> list[str]:
    """Where no feature was found: what kept any from being found, whatever the texts hold."""
    if counts.n_emotion_features:
        return []
    if not counts.core_size and core.remark:
        return [core.remark]
    n, tested = counts.n_permutations, counts.n_tested
    fewest = fewest_below(counts.q, 1 / (1 + n), tested)
    if not tested or fewest < 2:
        return []
    none = f"no fewer than {fewest}" if fewest <= tested else "none"
    return [
        f"{n} permutations give no p below {1 / (1 + n):.2g}: {none} of the {tested} features that were tested could hold at "
        f"q < {counts.q:g}; raise features.n_permutations"
    ]


@stage(
    "features",
    needs=("stability", "train", "embed", "prompts"),
    section=lambda s: FeaturesSection(features=s.features),
    summary=features_summary,
    labels=True,
)
def features(study: Study, settings: FeaturesSection, progress: Progress) -> Iterable[str]:
    """Choose on train + val, judge on test, gather families -> selection.parquet, selection.json, families.json."""
    from moodlens.features.families import gather_families
    from moodlens.features.select import select_features

    codes, rows = study.codes(), study.rows
    chosen = select_features(
        codes,
        rows,
        settings.features,
        seed=study.seed,
        core_size=study.core_size,
        n_edge=study.read(Core).n_edge,
        memory=study.memory / 4,
        progress=progress,
    )
    again = study.table(STABILITY).select(
        "feature",
        pl.col("reappears").alias("stability"),
        pl.col("decoder_cosine").alias("stability_cosine"),
        pl.col("correlation").alias("stability_correlation"),
    )
    frame = chosen.table.join(again, on="feature", how="left", maintain_order="left")
    families = gather_families(frame, Coded(rows, study.x, codes, study.W_dec()), settings.features)
    return [
        study.write_table(SELECTION, families.annotate(frame)),
        study.write(chosen.summary),
        study.write(families),
    ]


def agreement_summary(study: Study) -> Summary:
    """The families beside those of other pipelines."""
    agreement = study.read(Agreement)
    columns = list(FamilyAgreement.model_fields)
    rows = [[name, *dict(family).values()] for name, family in agreement.emotions.items()]
    if agreement.mean is not None:
        rows.append(["mean", *dict(agreement.mean).values()])
    lines = [
        f"families beside those of {agreement.n_seeds} other pipelines",
        *table(["emotion", *columns], rows),
    ]
    return agreement.model_dump(), lines


@stage(
    "agreement",
    needs=("features", "train", "embed", "prompts"),
    section=lambda s: FeaturesSection(features=s.features),
    summary=agreement_summary,
    labels=True,
)
def agreement(study: Study, settings: FeaturesSection, progress: Progress) -> Iterable[str]:
    """Find the families of the other pipelines by the same rule, and compare -> agreement.json.

    Theirs are chosen on train + val alone; the study's had to hold on test rows as well.
    """
    from moodlens.features.families import gather_families
    from moodlens.features.select import choose_features
    from moodlens.sae.model import encode_rows
    from moodlens.stats.ranks import activity
    from moodlens.validate.agreement import SeedFamilies, family_agreement

    dev = study.rows.where(*DEV)
    rows, x = study.rows[dev], study.x_of(dev)

    def of_seed(name: str) -> SeedFamilies:
        claimable = slice(study.sae(name).core_size)
        codes = encode_rows(study.sae(name), x, memory=study.memory / 4)[:, claimable]
        W_dec = study.W_dec(name)[claimable]
        frame = choose_features(codes, rows, settings.features)
        frame = frame.rename({"tested": "emotion_feature"})
        families = gather_families(frame, Coded(rows, x, codes, W_dec), settings.features)
        return SeedFamilies(families, W_dec, activity(codes)[1])

    if not study.seed_names:
        return [study.write(Agreement(n_seeds=0, emotions={}, mean=None))]
    others = []
    for done, name in enumerate(study.seed_names):
        progress("families of other pipelines", done, len(study.seed_names))
        others.append(of_seed(name))
    own = SeedFamilies(study.families, study.W_dec(), activity(study.codes(), dev)[1])
    result = family_agreement(own, others, study.x_of(judging_rows(study)), seed=study.seed)
    progress("families of other pipelines", len(others), len(others))
    return [study.write(result)]


def names_summary(study: Study) -> Summary:
    """Names and how well they tell where their features fire."""
    frame = study.features.filter(pl.col("name_score").is_not_null())
    frame = frame.sort("name_score", descending=True)
    record = study.read(Names)
    value = record.model_dump()
    shown = ["feature", "emotion", "name", "name_score", "name_control", "name_q", "interpretable"]
    rows = [[row[c] for c in shown] for row in frame.head(SHOWN).to_dicts()]
    counts = {
        name: item for name, item in value.items() if name != "version" and not isinstance(item, (list, dict))
    }
    names = frame.select(
        "feature", "emotion", "auroc", pl.col("^name.*$"), "interpretable", pl.col("^mono.*$")
    )
    return value | {"names": names.drop("name_evidence").to_dicts()}, [
        *describe(counts),
        f"with names dealt among the judged features of each emotion {record.dealt_judged.p95:g} of "
        f"{record.n_judged} would hold (95th percentile of {record.dealt_judged.n_deals} deals)",
        "",
        *table(shown, rows),
        *cut(len(rows), frame.height, "names.parquet"),
    ]


@stage(
    "names",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: NamesSection(
        names=s.names,
        namer=s.namer,
        encoder=one_name(s.encoder),
        precomputed=s.prompts.precomputed is not None,
    ),
    summary=names_summary,
    labels=True,
)
def names(study: Study, settings: NamesSection, progress: Progress) -> Iterable[str]:
    """Name the emotion features and test the names on unseen text -> names.parquet, names.json, words.parquet."""
    from moodlens.features.names.attribute import Attribution, speaker
    from moodlens.features.names.judge import name_features
    from moodlens.features.names.llm import ModelNamer, judge_with_model

    frame, namer, seed = study.features, settings.namer, study.seed
    coded = Coded(study.rows, study.x, study.codes(), study.W_dec())
    attribution, rename = None, None
    if not settings.precomputed and study.encoder_info.by_token:
        mean = mean_row(study.x, study.rows.where("train", kinds=None)).astype(np.float32)
        speak = speaker(study_encoder(study, settings.encoder), mean)
        attribution = Attribution(speak, study.rows.texts, study.x, mean, study.W_enc())
    if namer is not None:
        rename = ModelNamer.of(frame, coded.codes, namer, seed=seed, progress=progress)
    named = name_features(
        frame,
        coded,
        study.prompts,
        settings.names,
        seed=seed,
        attribution=attribution,
        rename=rename,
        progress=progress,
    )
    if namer is not None and namer.judge:
        named = judge_with_model(named, frame, coded, settings.names, namer, seed=seed, progress=progress)
    return [
        study.write_table(NAMES, named.table),
        study.write(named.summary),
        study.write_table(WORDS, named.words),
    ]
