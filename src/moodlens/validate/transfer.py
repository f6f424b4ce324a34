"""Does it hold on other text: captions of other people, held-out words and scenes, negations and mixtures?

Nothing here is fitted on the texts it is judged on. Long texts are read segment by segment, and a text's score is
the largest of its segments: a caption of 49 words mentions its mood once.

Families and single features are read from *pre-activations*. An SAE's threshold is set so that a given number of
features is active on its training rows; a sentence of another writer points the same way less strongly, falls below it
and then says nothing. The same scores from activations are given beside them (``family_active``,
``top_feature_active``).
"""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.features.families import merits, weigh
from moodlens.settings.features import FeatureSettings
from moodlens.settings.validation import TransferSettings
from moodlens.stats.ranks import activity, auroc
from moodlens.stats.resample import GroupResamples, Resampled, mean_of
from moodlens.study.coded import Coded
from moodlens.study.families import Families
from moodlens.study.records.estimates import Aurocs, Estimate
from moodlens.study.records.transfer import HeldOut, SpecialRows, TransferSet
from moodlens.study.rows import DEV, Rows
from moodlens.validate.readouts import DenseBaselines

MEAN = "mean"
"""Key of the mean beside the emotions' names."""
DRAWS = 200
"""Sets of random families the families are compared with."""


@dataclass(frozen=True)
class Readings:
    """Texts, or their segments, as an encoder and an SAE see them; s rows each."""

    pre: np.ndarray
    """(s, d_sae) pre-activations."""
    codes: np.ndarray
    """(s, d_sae) activations."""
    x: np.ndarray
    """(s, d_in) raw embeddings."""

    def __post_init__(self) -> None:
        if len(self.codes) != len(self.x) or self.pre.shape != self.codes.shape:
            raise BadInput(
                f"activations {self.codes.shape}, pre-activations {self.pre.shape}, {len(self.x)} embeddings"
            )

    def scores(self, families: Families, baselines: DenseBaselines) -> dict[str, np.ndarray]:
        """Scores of every method for every emotion, ``(s, C)`` each; NaN where an emotion has no family.

        ``family``: weighted sum of the family's scaled pre-activations. ``top_feature``: pre-activation of its first
        member, the best on train + val. ``family_active`` and ``top_feature_active``: the same of activations, which
        are 0 below the SAE's threshold. ``difference_in_means`` and ``linear_probe``: :class:`DenseBaselines`.

        Raises:
            BadInput: the families and the baselines are of other emotions.
        """
        if families.emotions != baselines.emotions:
            raise BadInput(
                f"families are of {families.emotions}, the dense baselines of {baselines.emotions}"
            )
        out = {}
        for ending, values in (("", self.pre), ("_active", self.codes)):
            scores = families.scores(values).astype(np.float64)
            top = np.full(scores.shape, np.nan)
            for c, family in enumerate(families.families):
                if family.features:
                    top[:, c] = values[:, family.features[0]]
                else:
                    scores[:, c] = np.nan
            out |= {f"family{ending}": scores, f"top_feature{ending}": top}
        return out | baselines.scores(self.x)


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
    segments: Readings,
    owner: np.ndarray,
    rows: Rows,
    families: Families,
    baselines: DenseBaselines,
    settings: TransferSettings,
    *,
    seed: int,
) -> TransferSet:
    """Judge every method on labelled texts that took no part in anything.

    Args:
        name: of the set of texts.
        segments: all segments of all texts.
        owner: ``(s,)`` int, text of every segment, 0..n-1.
        rows: the n texts; those without a label are left out, groups are e.g. annotators.
        families: of the study. Its first members are the single features.
        baselines: fitted on the study's train + val prompts.
        settings: ``n_bootstrap``.
        seed: of the resamples.

    Returns:
        An emotion with no labelled text, or without a family, has no AUROC and stays out of the mean.

    Raises:
        BadInput: shapes disagree, a text has no segment, or fewer than two labels occur.
    """
    if len(owner) != len(segments.x):
        raise BadInput(f"{name}: {len(owner)} owners for {len(segments.x)} segments")
    known = np.flatnonzero(rows.label >= 0)
    labelled = rows[known]
    if len(np.unique(labelled.label)) < 2:
        raise BadInput(f"{name}: texts of at least two emotions must be labelled to measure AUROC")
    scores = {
        method: max_over_segments(values, owner, len(rows))[known]
        for method, values in segments.scores(families, baselines).items()
    }
    counts = np.bincount(labelled.label, minlength=rows.n_emotions)
    return TransferSet(
        name=name,
        n=len(known),
        n_texts=len(rows),
        n_groups=len(np.unique(labelled.group)),
        n_per_emotion=dict(zip(rows.emotions, counts.tolist(), strict=True)),
        reading="as one" if len(owner) == len(rows) else "per segment, max",
        auroc=_aurocs(scores, labelled, settings, seed),
    )


def _aurocs(scores: dict[str, np.ndarray], rows: Rows, settings: TransferSettings, seed: int) -> Aurocs:
    """AUROC of every method for every emotion, and their mean."""
    if MEAN in rows.emotions:
        raise BadInput(
            f"labels: an emotion cannot be called {MEAN!r}, as the mean over emotions is; rename it"
        )
    resamples = GroupResamples(rows.group, settings.n_bootstrap, seed)
    out: Aurocs = {}
    for method, values in scores.items():
        areas = {}
        for c, emotion in enumerate(rows.emotions):
            known = np.isfinite(values[:, c]).all()
            areas[emotion] = resamples.auroc(values[:, c], rows.label == c) if known else Resampled.nothing()
        areas[MEAN] = mean_of(list(areas.values()))
        out[method] = {name: Estimate(value=area.estimate, ci=area.ci) for name, area in areas.items()}
    return out


def generalization(
    coded: Coded,
    pre: np.ndarray,
    families: Families,
    baselines: DenseBaselines,
    rule: FeatureSettings,
    settings: TransferSettings,
    *,
    seed: int,
) -> HeldOut:
    """Families on the held-out split: other emotion words, scenes and templates.

    The control: families of as many random live features for each emotion, scaled and weighted on train + val by the
    rule of the real ones. Its 95th percentile over 200 draws is what must be beaten. The weights see the labels, so
    the control is above 0.5 where any ten features say something; choosing them must give more.

    Args:
        coded: rows, embeddings and codes of the study.
        pre: ``(h, d_sae)`` pre-activations of the labelled plain held-out rows (``rows.labelled("held_out")``).
        families: of the study.
        baselines: fitted on train + val.
        rule: ``family_weights``, by which the families were weighted.
        settings: ``n_bootstrap``.
        seed: of the draws and resamples.
    """
    held_out = coded.rows.labelled("held_out")
    rows = coded.rows[held_out]
    if pre.shape != (len(held_out), coded.codes.shape[1]):
        raise BadInput(f"pre-activations {pre.shape} are not those of the held-out rows")
    n, n_groups = len(rows), len(np.unique(rows.group))
    if len(np.unique(rows.label)) < 2:
        return HeldOut(n=n, n_groups=n_groups, auroc={}, note="no held-out texts of two emotions")
    scores = Readings(pre, coded.codes[held_out], coded.x[held_out]).scores(families, baselines)
    aurocs = _aurocs(scores, rows, settings, seed)
    mean = aurocs["family"][MEAN]
    if mean.value is None:
        return HeldOut(n=n, n_groups=n_groups, auroc=aurocs, note="no emotion has a family")
    drawn = _random_families(pre, coded, families, rule, seed)
    missing = [family.emotion for family in families.families if not family.features]
    note = (
        f"control: 95th percentile of {DRAWS} draws, mean {drawn.mean():.2f}; difference-in-means "
        f"{aurocs['difference_in_means'][MEAN].value:.2f}"
    )
    return HeldOut(
        n=n,
        n_groups=n_groups,
        family_auroc=mean.value,
        ci=mean.ci,
        control_auroc=float(np.quantile(drawn, 0.95)),
        control_mean=float(drawn.mean()),
        note=note + (f"; without a family: {', '.join(missing)}" if missing else ""),
        auroc=aurocs,
    )


def _random_families(
    pre: np.ndarray, coded: Coded, families: Families, rule: FeatureSettings, seed: int
) -> np.ndarray:
    """Mean held-out AUROC of random families, ``(DRAWS,)``; ``pre`` of the labelled held-out rows."""
    rng = np.random.default_rng([seed, 0x6E0])
    rows = coded.rows
    dev, judged = rows.where(*DEV), rows.label[rows.labelled("held_out")]
    codes, label = coded.codes[dev], rows.label[dev]
    density, sizes = activity(codes)
    live = np.flatnonzero(density)
    merit = merits(codes, label, rows.n_emotions, rule)[1]
    total, n_emotions = np.zeros(DRAWS), 0
    for c, family in enumerate(families.families):
        if not family.features or not (judged == c).any():
            continue
        n_emotions += 1
        weights = np.zeros((codes.shape[1], DRAWS), dtype=np.float32)
        for draw in range(DRAWS):
            picks = rng.choice(live, min(len(family.features), len(live)), replace=False)

            def scaled(picks: np.ndarray = picks) -> np.ndarray:
                return codes[:, picks] / sizes[picks]

            weights[picks, draw] = weigh(merit[c, picks], label == c, scaled, rule) / sizes[picks]
        # The other emotions of the held-out rows stand together against this one.
        total += auroc(pre @ weights, np.where(judged == c, 0, 1), 2)[0]
    return total / max(n_emotions, 1)


def special_rows(
    scores: np.ndarray, rows: Rows, about: list[str | None], families: Families
) -> tuple[SpecialRows, ...]:
    """Where negations ("not sad"), mixed emotions and neutral texts lie among plain texts, on the family's score.

    Percentiles are taken among plain test and held-out rows of the emotion, and among those of other emotions: a
    family that reads meaning puts "not sad" among the others, one that reads words puts it among the sad.

    Args:
        scores: ``(n, C)`` of the families.
        rows: of the study.
        about: the emotions that each text denies or mixes, joined by ``|``; None elsewhere.
        families: of the study.

    Returns:
        For every kind (negation, mixed, neutral) and emotion with a family; percentiles count ties one half. Neutral
        rows are test and held-out rows.
    """
    named = [set((text or "").split("|")) for text in about]
    unseen = np.isin(rows.split, ("test", "held_out"))
    plain = (rows.kind == "plain") & unseen
    out = []
    for kind in ("negation", "mixed", "neutral"):
        for c, family in enumerate(families.families):
            special = rows.kind == kind
            if kind == "neutral":
                special &= unseen
            else:
                special &= np.array([family.emotion in emotions for emotions in named], dtype=bool)
            own, others = plain & (rows.label == c), plain & (rows.label != c)
            if not family.features or not (special.any() and own.any() and others.any()):
                continue
            value = scores[:, c]
            out.append(
                SpecialRows(
                    kind=kind,
                    emotion=family.emotion,
                    n=int(special.sum()),
                    n_groups=len(np.unique(rows.group[special])),
                    score=float(value[special].mean()),
                    percentile_own=_percentile(value[special], value[own]),
                    percentile_others=_percentile(value[special], value[others]),
                    plain_own=float(value[own].mean()),
                    plain_others=float(value[others].mean()),
                )
            )
    return tuple(out)


def _percentile(values: np.ndarray, among: np.ndarray) -> float:
    """Mean percentile (0..100) of ``values`` among ``among``, ties counting one half."""
    among = np.sort(among)
    low, high = np.searchsorted(among, values, "left"), np.searchsorted(among, values, "right")
    return float(np.mean((low + high) / 2) / len(among) * 100)
