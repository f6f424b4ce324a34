"""What a dictionary that learned nothing claims when it goes through everything that the study's own went through.

Sanity checks of this kind are what arXiv:2602.14111 asks of SAEs. A difference of two training rows is a direction that
often separates emotions by construction, so counts of selective, nameable and causal features are met by untrained
dictionaries too; what they cannot do is agree with each other. So the control of record is the whole pipeline, consensus
included, on untrained members; what a single untrained dictionary would claim stands beside it as a warning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.features.concepts import concept_features
from moodlens.features.families import gather_families
from moodlens.features.names.judge import name_features
from moodlens.features.select import select_features
from moodlens.sae.model import SAE, encode_rows
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NameSettings
from moodlens.settings.validation import CausalSettings, StabilitySettings
from moodlens.stats.ranks import auroc
from moodlens.study.coded import Coded
from moodlens.study.families import Families
from moodlens.study.records.untrained import Claims
from moodlens.study.rows import Rows
from moodlens.validate.causal import causality
from moodlens.validate.readouts import Panel
from moodlens.validate.stability import Dictionary, StableFeatures, stability

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Rules:
    """The study's own rules."""

    features: FeatureSettings
    names: NameSettings
    causal: CausalSettings
    stability: StabilitySettings


def claims_of_core(
    sae: SAE,
    others: Callable[[], Sequence[SAE]],
    x: np.ndarray,
    rows: Rows,
    prompts: "pl.DataFrame",
    rules: Rules,
    *,
    panel: Panel,
    seed: int,
) -> Claims:
    """Everything the study claims of its core, of a core of untrained dictionaries.

    Args:
        sae: the core; may be without a feature.
        others: makes cores of other untrained dictionaries, in which its features are looked for if it claims any.
        x: ``(n, d_in)`` raw embeddings.
        rows: of the study.
        prompts: the study's prompt table.
        rules: the study's own.
        panel: what judges interventions.
        seed: of permutations, names and controls.
    """
    codes = encode_rows(sae, x)
    coded = Coded(rows, x, codes, sae.W_dec.detach().numpy())
    claims, table, families = _selected(coded, rules.features, seed)
    none = dict.fromkeys(rows.emotions, 0)
    concepts = concept_features(table, codes, x, rows, rules.features, seed=seed).summary
    found: dict[str, Any] = {
        "concepts_per_emotion": concepts.per_emotion if concepts.asked else None,
        "interpretable_per_emotion": none,
        "causal_per_emotion": none,
        "stable_share": 0.0,
    }
    if claims.n_claimed:
        named = name_features(table, coded, prompts, rules.names, seed=seed)
        causes = causality(coded, table, families, rules.causal, seed=seed, panel=panel)
        found["interpretable_per_emotion"] = named.summary.per_emotion
        found["causal_per_emotion"] = causes.summary.per_emotion
        found["stable_share"] = _stable(sae, others(), x, codes, rows, table, rules, seed)
    return claims.model_copy(update=found)


def claims_alone(coded: Coded, features: FeatureSettings, *, seed: int) -> Claims:
    """What a single untrained dictionary claims where no agreement is asked for."""
    return _selected(coded, features, seed)[0]


def _selected(coded: Coded, features: FeatureSettings, seed: int) -> "tuple[Claims, pl.DataFrame, Families]":
    # Shuffled labels stand beside the study's own features; one repeat is the least.
    features = features.model_copy(update={"n_shuffles": 1})
    codes, rows = coded.codes, coded.rows
    selected = select_features(codes, rows, features, seed=seed)
    families = gather_families(selected.table, coded, features)
    claims = Claims(
        n_features=codes.shape[1],
        active_share=float((codes[rows.where("test", kinds=None)] > 0).mean()) if codes.size else 0.0,
        n_claimed=selected.summary.n_emotion_features,
        per_emotion=selected.summary.per_emotion,
        held_out_auroc=_held_out(coded, families),
    )
    return claims, selected.table, families


def _held_out(coded: Coded, families: Families) -> float | None:
    """Mean AUROC of the families on held-out words and scenes; an emotion without a family reads nothing, 0.5."""
    rows = coded.rows
    held_out = rows.labelled("held_out")
    label = rows.label[held_out]
    if len(np.unique(label)) < rows.n_emotions or not any(family.features for family in families.families):
        return None
    scores = coded.x[held_out] @ families.directions(coded.W_dec).T
    area = [auroc(scores[:, [c]], np.where(label == c, 0, 1), 2)[0, 0] for c in range(rows.n_emotions)]
    return float(np.mean(area))


def _stable(
    sae: SAE,
    others: Sequence[SAE],
    x: np.ndarray,
    codes: np.ndarray,
    rows: Rows,
    table: "pl.DataFrame",
    rules: Rules,
    seed: int,
) -> float:
    test = rows.where("test", kinds=None)
    result = stability(
        Dictionary(sae.W_dec.detach().numpy(), codes[test]),
        [Dictionary(other.W_dec.detach().numpy(), encode_rows(other, x[test])) for other in others],
        x[rows.where("train", kinds=None)],
        rules.stability,
        seed=seed,
    )
    strong = table["emotion_feature"].to_numpy().astype(bool)
    return StableFeatures.of(result.table, result.summary, strong).stable_share or 0.0
