"""What a dictionary that learned nothing claims when it goes through everything that the study's own went through.

Sanity checks of this kind are what arXiv:2602.14111 asks of SAEs. A difference of two training rows is a direction that
often separates emotions by construction, so counts of selective, nameable and causal features are met by untrained
dictionaries too; what they cannot do is agree with each other. So the control of record is the whole pipeline, consensus
included, on untrained members; what a single untrained dictionary would claim stands beside it as a warning.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core.maps import beside, taken
from moodlens.features.concepts import concept_features
from moodlens.features.families import gather_families
from moodlens.features.names.judge import name_features
from moodlens.features.select import select_features
from moodlens.sae.model import SAE, encode_rows
from moodlens.sae.untrained import Untrained, untrained
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NameSettings
from moodlens.settings.validation import CausalSettings, StabilitySettings
from moodlens.stats.moments import products
from moodlens.stats.ranks import auroc, firings
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.records.untrained import Claims
from moodlens.study.rows import Rows
from moodlens.validate.causal import causality
from moodlens.validate.readouts import Panel
from moodlens.validate.stability import Dictionary, StableFeatures, stability

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Rules:
    """The study's own rules, and what stands beside its own claims."""

    features: FeatureSettings
    names: NameSettings
    causal: CausalSettings
    stability: StabilitySettings
    prompts: "pl.DataFrame"
    """the study's prompt table, for the factors that a name may not claim"""
    panel: Panel
    """what judges interventions"""
    rest: Coded
    """the study's features that are not claimed: rivals of names, matched controls of causes"""
    rest_table: "pl.DataFrame"
    """their rows of the study's selection"""
    other: Coded
    """another untrained dictionary: the other matched controls of causes"""
    memory: float = math.inf
    """GiB that the activations of a dictionary may take; more of them lie on disk"""


def untrained_coded(coded: Coded, kind: Untrained, *, seed: int, memory: float = math.inf) -> Coded:
    """One dictionary that learned nothing, of the size and sparsity of the one in ``coded``, on the same rows.

    ``memory``: GiB that its activations may take; more of them lie on disk.
    """
    train = coded.rows.where("train", kinds=None)
    active = float(firings(coded.codes, train).sum() / len(train))
    sae = untrained(kind, taken(coded.x, train, memory), d_sae=coded.codes.shape[1], active=active, seed=seed)
    codes = encode_rows(sae, coded.x, memory=memory)
    return Coded(coded.rows, coded.x, codes, sae.W_dec.detach().numpy())


def untrained_families(
    coded: Coded, settings: FeatureSettings, *, seed: int, memory: float = math.inf
) -> Families:
    """The families that the study's own rule finds in one untrained dictionary, where no agreement is asked for.

    Args:
        coded: the dictionary on the study's rows, of :func:`untrained_coded`.
        settings: the study's own.
        seed: of the permutations.
        memory: GiB that choosing may take, about.
    """
    return gather_families(_selected(coded, settings, seed, memory)[1], coded, settings)


def claims_of_core(
    sae: SAE, others: Callable[[], Sequence[SAE]], x: np.ndarray, rules: Rules, *, seed: int
) -> Claims:
    """Everything the study claims of its core, of a core of untrained dictionaries.

    Args:
        sae: the core; may be without a feature.
        others: makes cores of other untrained dictionaries, in which its features are looked for if it claims any.
        x: ``(n, d_in)`` raw embeddings.
        rules: the study's own.
        seed: of permutations, names and controls.
    """
    rows = rules.rest.rows
    claimable = slice(sae.core_size)
    codes = encode_rows(sae, x, memory=rules.memory)[:, claimable]
    coded = Coded(rows, x, codes, sae.W_dec.detach().numpy()[claimable])
    claims, table = _selected(coded, rules.features, seed, rules.memory)
    stable = (
        _stable(coded.W_dec, others(), x, coded.codes, rows, table, rules, seed) if claims.n_claimed else 0.0
    )
    return claims.model_copy(update={**_judged(coded, table, rules, seed), "stable_share": stable})


def claims_alone(coded: Coded, per_emotion: Mapping[str, int], rules: Rules, *, seed: int) -> Claims:
    """What a single untrained dictionary claims where no agreement is asked for.

    Args:
        coded: the dictionary on the study's rows.
        per_emotion: how many features the study claims of each emotion. Concepts, names and causes are those of as many
            of the dictionary's claims, the best by AUROC on train + val: what they are worth one by one.
        rules: the study's own.
        seed: of permutations, names and controls.
    """
    import polars as pl

    claims, table = _selected(coded, rules.features, seed, rules.memory)
    best = table.filter("emotion_feature").sort("auroc_dev", "feature", descending=[True, False])
    few = pl.concat([best.filter(pl.col("emotion") == e).head(n) for e, n in per_emotion.items()])
    picks = few["feature"].to_numpy()
    chosen = replace(coded, codes=coded.codes[:, picks], W_dec=coded.W_dec[picks])
    return claims.model_copy(update=_judged(chosen, few, rules, seed))


def _judged(coded: Coded, table: "pl.DataFrame", rules: Rules, seed: int) -> dict[str, dict[str, int] | None]:
    """Concepts, names and causes of ``coded``, whose features are the rows of ``table``, beside the study's rest."""
    import polars as pl

    rows = coded.rows
    none = dict.fromkeys(rows.emotions, 0)
    table = table.with_columns(feature=pl.int_range(pl.len(), dtype=pl.Int64))
    concepts = concept_features(table, coded.codes, coded.x, rows, rules.features, seed=seed).summary
    judged = {
        "concepts_per_emotion": concepts.per_emotion if concepts.asked else None,
        "interpretable_per_emotion": none,
        "causal_per_emotion": none,
    }
    if not table["emotion_feature"].any():
        return judged
    rest = rules.rest_table.select(table.columns).with_columns(
        core=pl.lit(False), tested=pl.lit(False), emotion_feature=pl.lit(False)
    )
    joined = pl.concat([table, rest]).with_columns(feature=pl.int_range(pl.len(), dtype=pl.Int64))
    both = replace(
        coded,
        codes=beside(
            [(part.codes, np.arange(part.codes.shape[1])) for part in (coded, rules.rest)], rules.memory
        ),
        W_dec=np.concatenate([coded.W_dec, rules.rest.W_dec]),
    )
    named = name_features(joined, both, rules.prompts, rules.names, seed=seed)
    nobody = Families(families=tuple(Family(emotion=name) for name in rows.emotions))
    causes = causality(
        both, joined, nobody, rules.causal, seed=seed, untrained=rules.other, panel=rules.panel
    )
    return judged | {
        "interpretable_per_emotion": named.summary.per_emotion,
        "causal_per_emotion": causes.summary.per_emotion,
    }


def _selected(
    coded: Coded, features: FeatureSettings, seed: int, memory: float
) -> "tuple[Claims, pl.DataFrame]":
    # Shuffled labels stand beside the study's own features; one repeat is the least.
    features = features.model_copy(update={"n_shuffles": 1})
    codes, rows = coded.codes, coded.rows
    test = rows.where("test", kinds=None)
    selected = select_features(codes, rows, features, seed=seed, memory=memory)
    families = gather_families(selected.table, coded, features)
    claims = Claims(
        n_features=codes.shape[1],
        active_share=float(firings(codes, test).sum() / (len(test) * codes.shape[1])) if codes.size else 0.0,
        n_claimed=selected.summary.n_emotion_features,
        per_emotion=selected.summary.per_emotion,
        held_out_auroc=_held_out(coded, families),
    )
    return claims, selected.table


def _held_out(coded: Coded, families: Families) -> float | None:
    """Mean AUROC of the families on held-out words and scenes; an emotion without a family is left out, as of the study's."""
    rows = coded.rows
    held_out = rows.labelled("held_out")
    label = rows.label[held_out]
    if len(np.unique(label)) < rows.n_emotions or not any(family.features for family in families.families):
        return None
    scores = products(coded.x, families.directions(coded.W_dec), rows=held_out)
    known = [c for c, family in enumerate(families.families) if family.features]
    return float(np.mean([auroc(scores[:, [c]], np.where(label == c, 0, 1), 2)[0, 0] for c in known]))


def _stable(
    W_dec: np.ndarray,
    others: Sequence[SAE],
    x: np.ndarray,
    codes: np.ndarray,
    rows: Rows,
    table: "pl.DataFrame",
    rules: Rules,
    seed: int,
) -> float:
    memory = rules.memory / (len(others) + 2)
    seen = taken(x, rows.where("test", kinds=None), memory)
    result = stability(
        Dictionary(W_dec, taken(codes, rows.where("test", kinds=None), memory)),
        [
            Dictionary(other.W_dec.detach().numpy(), encode_rows(other, seen, memory=memory))
            for other in others
        ],
        taken(x, rows.where("train", kinds=None), memory),
        rules.stability,
        seed=seed,
    )
    strong = table["emotion_feature"].to_numpy().astype(bool)
    return StableFeatures.of(result.table, result.summary, strong).stable_share or 0.0
