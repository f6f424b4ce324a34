"""The stage of people's ratings: which features go with how pleasant or exciting texts were found."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from moodlens.core.lines import number, table
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.proof import untrained_coded
from moodlens.pipeline.stages.untrained import untrained_consensus
from moodlens.settings.base import Frozen
from moodlens.settings.features import FeatureSettings
from moodlens.settings.sae import CoreSettings
from moodlens.study.records.ratings import RATINGS, RatedClaims, Ratings
from moodlens.study.study import Study

BEST = 5
"""Features of each end of a scale that the verb shows."""


class RatingsSection(Frozen):
    """What decides which features go with a rating."""

    core: CoreSettings
    features: FeatureSettings


def ratings_line(ratings: Ratings) -> str:
    """Counts of every end of every scale beside their controls, in one line."""
    counts = ", ".join(f"{pole} {count}" for pole, count in ratings.claims.per_pole.items())
    untrained = ratings.consensus or ratings.alone
    nothing = ", ".join(f"{kind.replace('-', ' ')} {claims.n_rated}" for kind, claims in untrained.items())
    chance = "" if ratings.shuffled is None else f"; ratings dealt anew {number(ratings.shuffled.p95)} in all"
    return f"features that go with ratings: {counts}{chance} (95th percentile); dictionaries that learned nothing: {nothing}"


def ratings_summary(study: Study) -> Summary:
    """Rated features of every end of every scale, and the best of them."""
    ratings = study.read(Ratings)
    value = ratings.model_dump()
    if not ratings.asked:
        return value, ["no text carries a rating (valence_column, arousal_column)"]
    frame = study.table(RATINGS).filter("rated_feature")
    frame = frame.sort(pl.col("correlation_dev").abs(), "feature", descending=[True, False])
    shown = ["feature", "scale", "pole", "correlation", "q", "rating", "rating_silent", "density", "n_groups"]
    best = (
        frame.group_by("scale", "pole", maintain_order=True)
        .head(BEST)
        .sort("scale", "pole", maintain_order=True)
    )
    scales = [
        [name, of.n_test, of.n_groups_test, of.n_tested, of.best, of.dense]
        for name, of in ratings.scales.items()
    ]
    return value | {"features": frame.to_dicts()}, [
        ratings_line(ratings),
        "",
        *table(["scale", "test texts", "groups", "tested", "best feature", "dense reading"], scales),
        "",
        *table(shown, [[row[c] for c in shown] for row in best.to_dicts()]),
        ratings.rule,
    ]


@stage(
    "ratings",
    needs=("stability", "train", "embed", "prompts"),
    section=lambda s: RatingsSection(core=s.core, features=s.features),
    summary=ratings_summary,
)
def ratings(study: Study, settings: RatingsSection, progress: Progress) -> Iterable[str]:
    """Choose and judge features by their rank correlation with ratings -> ratings.parquet, ratings.json."""
    from moodlens.features.ratings import not_rated, rated_features, rated_scales, rule
    from moodlens.sae.model import encode_rows
    from moodlens.sae.untrained import KINDS

    rows, rules = study.rows, settings.features
    if not rated_scales(rows):
        return [study.write_table(RATINGS, RATINGS.empty()), study.write(not_rated(rules))]
    judged = rated_features(
        study.codes()[:, : study.core_size], rows, rules, seed=study.seed, x=study.x, progress=progress
    )
    # Dealt ratings stand beside the study's own features; one repeat is the least.
    once = rules.model_copy(update={"n_shuffles": 1})

    def claims(codes: np.ndarray) -> RatedClaims:
        return rated_features(codes, rows, once, seed=study.seed).claims

    consensus, alone = {}, {}
    for done, kind in enumerate(KINDS):
        progress("untrained dictionaries", done, len(KINDS))
        name = f"untrained-{kind}"
        coded_by_name = untrained_consensus(study, kind, settings.core)
        if coded_by_name is not None:
            consensus[name] = claims(
                encode_rows(coded_by_name, study.x, memory=study.memory / 4)[:, : coded_by_name.core_size]
            )
        alone[name] = claims(untrained_coded(study, kind).codes)
    progress("untrained dictionaries", len(KINDS), len(KINDS))
    record = Ratings(
        asked=True,
        scales=judged.scales,
        claims=judged.claims,
        shuffled=judged.shuffled,
        shuffled_pole_p95=float(np.percentile(judged.shuffled_poles, 95)),
        consensus=consensus,
        alone=alone,
        n_permutations=rules.n_permutations,
        rule=rule(rules),
    )
    return [study.write_table(RATINGS, judged.table), study.write(record)]
