"""The stage of the controls that learned nothing: untrained dictionaries through the whole pipeline."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from moodlens.core.lines import table
from moodlens.core.maps import beside
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.proof import panel, untrained_coded
from moodlens.settings.base import Frozen
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NameSettings
from moodlens.settings.sae import CoreSettings
from moodlens.settings.validation import CausalSettings, StabilitySettings
from moodlens.study.coded import Coded
from moodlens.study.records.sae import Core
from moodlens.study.records.selection import SELECTION, Selection
from moodlens.study.records.untrained import Claims, Untrained
from moodlens.study.study import Study

if TYPE_CHECKING:
    from moodlens.sae.model import SAE
    from moodlens.sae.untrained import Untrained as Kind

ALONE = 2
"""Number, among the untrained pipelines, of the dictionary that controls the causes of the others."""


class UntrainedSection(Frozen):
    """What decides what untrained dictionaries claim: the study's own rules."""

    core: CoreSettings
    features: FeatureSettings
    names: NameSettings
    causal: CausalSettings
    stability: StabilitySettings


def untrained_summary(study: Study) -> Summary:
    """What dictionaries that learned nothing claim, with a consensus and alone."""
    untrained = study.read(Untrained)

    def row(name: str, claims: Claims) -> list[object]:
        counts = (claims.concepts_per_emotion, claims.interpretable_per_emotion, claims.causal_per_emotion)
        more = [None if count is None else sum(count.values()) for count in counts]
        return [name, claims.n_features, claims.n_claimed, *more, claims.stable_share, claims.held_out_auroc]

    rows = [row(f"{kind}, consensus", claims) for kind, claims in untrained.consensus.items()]
    rows += [row(f"{kind}, one alone", claims) for kind, claims in untrained.alone.items()]
    head = [
        "dictionaries",
        "features",
        "claimed",
        "concepts",
        "names",
        "causes",
        "come back",
        "held-out words",
    ]
    note = (
        "one alone: a single dictionary, if nobody asked for agreement; its concepts, names and causes are of as many of its "
        "claims as the study has, of each emotion the best on train + val"
    )
    return untrained.model_dump(), [*table(head, rows), "", note]


def untrained_consensus(
    study: Study, kind: "Kind", settings: CoreSettings, pipeline: int = 0
) -> "SAE | None":
    """What dictionaries that learned nothing agree on, as many and as large as the study's members; None: no core."""
    from moodlens.sae.cores import UNTRAINED, derived, untrained_core

    core = study.read(Core)
    if not (core.members and core.member_size and core.member_active):
        return None
    size, active = core.member_size, core.member_active
    seeds = [derived(study.seed, UNTRAINED, pipeline, i) for i in range(core.members)]

    def make() -> "SAE":
        train = study.x_of(study.rows.where("train", kinds=None))
        return untrained_core(kind, train, seeds, settings=settings, d_sae=size, active=active)

    return study.cached(f"untrained consensus {kind} {pipeline}", "train", make)


@stage(
    "untrained",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: UntrainedSection(
        core=s.core,
        features=s.features,
        names=s.names,
        causal=s.validation.causal,
        stability=s.validation.stability,
    ),
    summary=untrained_summary,
    labels=True,
)
def untrained(study: Study, settings: UntrainedSection, progress: Progress) -> Iterable[str]:
    """Untrained dictionaries through consensus, choosing, names, causes and stability -> untrained.json."""
    from moodlens.sae.cores import UNTRAINED, derived
    from moodlens.sae.untrained import KINDS
    from moodlens.validate.untrained import Rules, claims_alone, claims_of_core

    rows, x, core, codes = study.rows, study.x, study.read(Core), study.codes()
    selection, counts = study.table(SELECTION), study.read(Selection)
    rest = ~pl.col("core") & ~pl.col("edge")
    free = selection.filter(rest if core.members else ~pl.col("emotion_feature"))
    numbers = free["feature"].to_numpy()
    rules = Rules(
        settings.features,
        settings.names,
        settings.causal,
        settings.stability,
        study.prompts,
        panel(study),
        Coded(rows, x, beside([(codes, numbers)], study.memory / 4), study.W_dec()[numbers]),
        free,
        untrained_coded(study, "rows", derived(study.seed, UNTRAINED, ALONE)),
        study.memory / 4,
    )
    consensus, alone = {}, {}
    for done, kind in enumerate(KINDS):
        progress("untrained dictionaries", 2 * done, 2 * len(KINDS))
        name = f"untrained-{kind}"
        coded_consensus = untrained_consensus(study, kind, settings.core)
        if coded_consensus is not None:
            consensus[name] = claims_of_core(
                coded_consensus,
                lambda kind=kind: (
                    [other] if (other := untrained_consensus(study, kind, settings.core, 1)) else []
                ),
                x,
                rules,
                seed=study.seed,
            )
        progress("untrained dictionaries", 2 * done + 1, 2 * len(KINDS))
        alone[name] = claims_alone(untrained_coded(study, kind), counts.per_emotion, rules, seed=study.seed)
    progress("untrained dictionaries", 2 * len(KINDS), 2 * len(KINDS))
    return [study.write(Untrained(consensus=consensus, alone=alone))]
