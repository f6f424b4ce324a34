"""Does it hold on other text: captions of other people, held-out words and scenes, negations and mixtures?

Nothing here is fitted on the texts it is judged on. Long texts are read segment by segment, and a text's score is
the largest of its segments: a caption of 49 words mentions its mood once.

Families and single features are read from *pre-activations*. An SAE's threshold is set so that a given number of
features is active on its training rows; a sentence of another writer points the same way less strongly, falls below it
and then says nothing. The same scores from activations are given beside them (``family_active``,
``top_feature_active``).
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput
from moodlens.features.families import merits, weigh
from moodlens.settings.features import FeatureSettings
from moodlens.settings.validation import TransferSettings
from moodlens.stats.ranks import activity, auroc
from moodlens.stats.resample import GroupResamples, Resampled, areas_json, mean_of
from moodlens.stats.units import check_rows, dense_codes
from moodlens.study.families import Families
from moodlens.validate.baselines import DenseBaselines

if TYPE_CHECKING:
    import polars as pl

METHODS = (
    "family",
    "top_feature",
    "family_active",
    "top_feature_active",
    "difference_in_means",
    "linear_probe",
)
DRAWS = 200
"""Sets of random families the families are compared with."""


def method_scores(
    pre: np.ndarray, codes: np.ndarray, x: np.ndarray, families: Families, baselines: DenseBaselines
) -> dict[str, np.ndarray]:
    """Scores of every method for every emotion, ``(n, C)`` each; NaN where an emotion has no family.

    ``family``: weighted sum of the family's scaled pre-activations. ``top_feature``: pre-activation of its first
    member, the best on train + val. ``family_active`` and ``top_feature_active``: the same of activations, which are 0
    below the SAE's threshold. ``difference_in_means`` and ``linear_probe``: :class:`DenseBaselines`.

    Args:
        pre: ``(n, d_sae)`` pre-activations.
        codes: ``(n, d_sae)`` activations of the same rows.
        x: ``(n, d_in)`` their raw embeddings.

    Raises:
        BadInput: the families and the baselines are of other emotions, or the arrays do not match.
    """
    if families.emotions != baselines.emotions:
        raise BadInput(f"families are of {families.emotions}, the dense baselines of {baselines.emotions}")
    if len(codes) != len(x) or pre.shape != codes.shape:
        raise BadInput(f"activations {codes.shape}, pre-activations {pre.shape}, {len(x)} embeddings")
    out = {}
    for ending, values in (("", pre), ("_active", codes)):
        family = families.scores(values).astype(np.float64)
        top = np.full(family.shape, np.nan)
        for c, one in enumerate(families.families):
            if one.features:
                top[:, c] = values[:, one.features[0]]
            else:
                family[:, c] = np.nan
        out |= {f"family{ending}": family, f"top_feature{ending}": top}
    return out | baselines.scores(x)


def max_over_segments(scores: np.ndarray, owner: np.ndarray, n_texts: int) -> np.ndarray:
    """Largest score of every text's segments. scores (s, C), owner (s,) in 0..n_texts-1 -> (n_texts, C).

    Raises:
        BadInput: a text has no segment.
    """
    counts = np.bincount(owner, minlength=n_texts)
    if len(counts) > n_texts or (counts == 0).any():
        bad = int(np.flatnonzero(counts == 0)[0]) if (counts == 0).any() else n_texts
        raise BadInput(f"text {bad} has no segment to read; drop empty texts")
    order = np.argsort(owner, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.maximum.reduceat(scores[order], starts, axis=0)


def transfer_set(
    name: str,
    segment_pre: np.ndarray,
    segment_codes: np.ndarray,
    segment_x: np.ndarray,
    owner: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None,
    families: Families,
    baselines: DenseBaselines,
    settings: TransferSettings,
    *,
    seed: int,
) -> dict[str, Any]:
    """Judge every method on labelled texts that took no part in anything.

    Args:
        name: of the set of texts.
        segment_pre: ``(s, d_sae)`` pre-activations of all segments.
        segment_codes: ``(s, d_sae)`` their activations.
        segment_x: ``(s, d_in)`` their raw embeddings.
        owner: ``(s,)`` int, text of every segment, 0..n-1.
        labels: ``(n,)`` int, -1 where a text has no label; such texts are left out.
        groups: ``(n,)``, e.g. the annotator; None: every text is its own.
        families: of the study. Its first members are the single features.
        baselines: fitted on the study's train + val prompts.
        settings: ``n_bootstrap``.
        seed: of the resamples.

    Returns:
        ``{"name", "n", "n_texts", "n_groups", "n_per_emotion", "reading", "auroc": {method: {emotion: {"value", "ci"},
        "mean": {...}}}}``. An emotion with no labelled text, or without a family, has value None and stays out of the
        mean. ``n`` counts labelled texts.

    Raises:
        BadInput: shapes disagree, a text has no segment, or fewer than two labels occur.
    """
    labels = np.asarray(labels)
    n = len(labels)
    check_rows(len(segment_codes), owner=np.asarray(owner))
    if groups is not None:
        check_rows(n, groups=np.asarray(groups))
    emotions = families.emotions
    known = np.flatnonzero(labels >= 0)
    if len(np.unique(labels[known])) < 2:
        raise BadInput(f"{name}: texts of at least two emotions must be labelled to measure AUROC")
    if labels.max() >= len(emotions):
        raise BadInput(f"{name}: label {labels.max()} but only {len(emotions)} emotions are named")
    scores = {
        method: max_over_segments(values, np.asarray(owner), n)[known]
        for method, values in method_scores(
            segment_pre, segment_codes, segment_x, families, baselines
        ).items()
    }
    own_groups = known if groups is None else np.asarray(groups)[known]
    per_text = len(segment_codes) == n
    return {
        "name": name,
        "n": len(known),
        "n_texts": n,
        "n_groups": dense_codes(own_groups)[1],
        "n_per_emotion": {e: int((labels == c).sum()) for c, e in enumerate(emotions)},
        "reading": "as one" if per_text else "per segment, max",
        "auroc": _judge(scores, labels[known], own_groups, emotions, settings, seed)[0],
    }


def _judge(
    scores: dict[str, np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray,
    emotions: tuple[str, ...],
    settings: TransferSettings,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Resampled]]:
    """AUROCs as JSON, and the mean over emotions of every method."""
    resamples = GroupResamples(groups, settings.n_bootstrap, seed)
    out, means = {}, {}
    for method in METHODS:
        parts = {}
        for c, emotion in enumerate(emotions):
            values = scores[method][:, c]
            known = np.isfinite(values).all()
            parts[emotion] = resamples.auroc(values, labels == c) if known else Resampled(np.nan, np.zeros(0))
        out[method], means[method] = areas_json(parts), mean_of(list(parts.values()))
    return out, means


def generalization(
    pre: np.ndarray,
    codes: np.ndarray,
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    splits: np.ndarray,
    families: Families,
    table: "pl.DataFrame",
    emotions: tuple[str, ...],
    baselines: DenseBaselines,
    rule: FeatureSettings,
    settings: TransferSettings,
    *,
    seed: int,
) -> dict[str, Any]:
    """Families on the held-out split: other emotion words, scenes and templates.

    The control: families of as many random live features for each emotion, scaled and weighted on train + val by the
    rule of the real ones. Its 95th percentile over 200 draws is what must be beaten. The weights see the labels, so
    the control is above 0.5 where any ten features say something; choosing them must give more.

    Args:
        pre: ``(h, d_sae)`` pre-activations of the h rows of the held-out split, in their order.
        codes, x, labels, groups, splits: of all the study's rows; labels -1 for none.
        families: of the study.
        table: features.parquet (its length is checked against the codes).
        emotions: names in label order.
        baselines: fitted on train + val.
        rule: ``family_weights``, by which the families were weighted.
        settings: ``n_bootstrap``.
        seed: of the draws and resamples.

    Returns:
        ``family_auroc`` (mean over emotions with a family; None if there is none or nothing is held out) with
        ``ci``, ``control_auroc`` (95th percentile), ``control_mean``, ``note``, ``n``, ``n_groups``, ``auroc`` in the
        form of :func:`transfer_set`.
    """
    labels, groups, splits = np.asarray(labels), np.asarray(groups), np.asarray(splits).astype(str)
    check_rows(len(codes), labels=labels, groups=groups, splits=splits)
    if table.height != codes.shape[1]:
        raise BadInput(f"features.parquet has {table.height} features, the codes have {codes.shape[1]}")
    held_out = (labels >= 0) & (splits == "held_out")
    if pre.shape != (int((splits == "held_out").sum()), codes.shape[1]):
        raise BadInput(f"pre-activations {pre.shape} are not those of the held-out rows")
    pre = pre[labels[splits == "held_out"] >= 0]
    out: dict[str, Any] = {
        "family_auroc": None,
        "ci": None,
        "control_auroc": None,
        "control_mean": None,
        "n": int(held_out.sum()),
        "n_groups": len(np.unique(groups[held_out])),
        "auroc": {},
    }
    if len(np.unique(labels[held_out])) < 2:
        return out | {"note": "no held-out texts of two emotions"}
    scores = method_scores(pre, codes[held_out], x[held_out], families, baselines)
    judged, means = _judge(scores, labels[held_out], groups[held_out], emotions, settings, seed)
    out |= {"auroc": judged}
    if not np.isfinite(means["family"].value):
        return out | {"note": "no emotion has a family"}
    drawn = _random_families(pre, codes, labels, splits, held_out, families, rule, seed)
    cell = means["family"].to_json()
    missing = [family.emotion for family in families.families if not family.features]
    note = f"control: 95th percentile of {DRAWS} draws, mean {drawn.mean():.2f}; difference-in-means " + (
        f"{means['difference_in_means'].value:.2f}"
    )
    if missing:
        note += f"; without a family: {', '.join(missing)}"
    return out | {
        "family_auroc": cell["value"],
        "ci": cell["ci"],
        "control_auroc": float(np.quantile(drawn, 0.95)),
        "control_mean": float(drawn.mean()),
        "note": note,
    }


def _random_families(
    pre: np.ndarray,
    codes: np.ndarray,
    labels: np.ndarray,
    splits: np.ndarray,
    held_out: np.ndarray,
    families: Families,
    rule: FeatureSettings,
    seed: int,
) -> np.ndarray:
    """Mean held-out AUROC of random families, ``(DRAWS,)``."""
    rng = np.random.default_rng([seed, 0x6E0])
    dev = np.isin(splits, ("train", "val"))
    mine, own_labels = codes[dev], labels[dev]
    density, sizes = activity(mine)
    live = np.flatnonzero(density)
    merit = merits(mine, own_labels, len(families.families), rule)[1]
    total, n_emotions = np.zeros(DRAWS), 0
    for c, family in enumerate(families.families):
        if not family.features or not (labels[held_out] == c).any():
            continue
        n_emotions += 1
        weights = np.zeros((mine.shape[1], DRAWS), dtype=np.float32)
        for draw in range(DRAWS):
            picks = rng.choice(live, min(len(family.features), len(live)), replace=False)

            def scaled(picks: np.ndarray = picks) -> np.ndarray:
                return mine[:, picks] / sizes[picks]

            weights[picks, draw] = weigh(merit[c, picks], own_labels == c, scaled, rule) / sizes[picks]
        scores = pre @ weights
        total += auroc(scores, np.where(labels[held_out] == c, 0, -1), 1, neutral_as_negative=True)[0]
    return total / max(n_emotions, 1)


def special_rows(
    scores: np.ndarray,
    prompts: "pl.DataFrame",
    labels: np.ndarray,
    families: Families,
    emotions: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Where negations ("not sad"), mixed emotions and neutral texts lie among plain texts, on the family's score.

    Percentiles are taken among plain test and held-out rows of the emotion, and among those of other emotions: a
    family that reads meaning puts "not sad" among the others, one that reads words puts it among the sad.

    Args:
        scores: ``(n, C)`` of the families.
        prompts: the prompt table; reads ``kind, about, split, group``.
        labels: ``(n,)`` int, -1 for none.
        families: of the study.
        emotions: names in label order.

    Returns:
        For every kind (negation, mixed, neutral) and emotion with a family: ``{kind, emotion, n, n_groups, score,
        percentile_own, percentile_others, plain_own, plain_others}``; scores are means, percentiles in 0..100 count
        ties one half. Neutral rows are test rows.
    """
    kinds = prompts["kind"].to_numpy().astype(str)
    splits = prompts["split"].to_numpy().astype(str)
    groups = prompts["group"].to_numpy()
    about = [set((text or "").split("|")) for text in prompts["about"].to_list()]
    unseen = np.isin(splits, ("test", "held_out"))
    plain = (kinds == "plain") & unseen
    out = []
    for kind in ("negation", "mixed", "neutral"):
        for c, family in enumerate(families.families):
            if kind == "neutral":
                mine = (kinds == kind) & unseen
            else:
                mine = (kinds == kind) & np.array([family.emotion in named for named in about], dtype=bool)
            own, others = plain & (labels == c), plain & (labels != c)
            if not family.features or not (mine.any() and own.any() and others.any()):
                continue
            value = scores[:, c]
            out.append(
                {
                    "kind": kind,
                    "emotion": family.emotion,
                    "n": int(mine.sum()),
                    "n_groups": len(np.unique(groups[mine])),
                    "score": float(value[mine].mean()),
                    "percentile_own": _percentile(value[mine], value[own]),
                    "percentile_others": _percentile(value[mine], value[others]),
                    "plain_own": float(value[own].mean()),
                    "plain_others": float(value[others].mean()),
                }
            )
    return out


def _percentile(values: np.ndarray, among: np.ndarray) -> float:
    """Mean percentile (0..100) of ``values`` among ``among``, ties counting one half."""
    among = np.sort(among)
    low, high = np.searchsorted(among, values, "left"), np.searchsorted(among, values, "right")
    return float(np.mean((low + high) / 2) / len(among) * 100)
