"""Does it hold on other text: captions of other people, held-out words and scenes, negations and mixtures?

Nothing here is fitted on the texts it is judged on. How each method reads a long text is in
:mod:`moodlens.validate.methods`.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.features.families import Target
from moodlens.settings.features import FeatureSettings
from moodlens.settings.validation import TransferSettings
from moodlens.stats.moments import products
from moodlens.stats.ranks import auroc, firings
from moodlens.stats.resample import GroupResamples, Resampled, mean_of
from moodlens.study.coded import Coded
from moodlens.study.families import Families
from moodlens.study.records.estimates import Aurocs, Estimate
from moodlens.study.records.transfer import HeldOut, SpecialRows, TransferSet
from moodlens.study.rows import DEV, Rows
from moodlens.validate.methods import Method

MEAN = "mean"
"""Key of the mean beside the emotions' names."""
DRAWS = 200
"""Sets of random families the families are compared with."""


def transfer_set(
    name: str,
    scores: dict[str, np.ndarray],
    readings: dict[str, str],
    rows: Rows,
    settings: TransferSettings,
    *,
    seed: int,
) -> TransferSet:
    """Judge every method on labelled texts that took no part in anything.

    Args:
        name: of the set of texts.
        scores: of every method, ``(n, C)`` for the n texts; NaN where an emotion has no family.
        readings: how each method read them, in words.
        rows: the n texts; those without a label are left out, groups are e.g. annotators.
        settings: ``n_bootstrap``.
        seed: of the resamples.

    Returns:
        An emotion with no labelled text, or without a family, has no AUROC, and stays out of the mean of every method.

    Raises:
        BadInput: fewer than two labels occur.
    """
    known = np.flatnonzero(rows.label >= 0)
    labelled = rows[known]
    if len(np.unique(labelled.label)) < 2:
        raise BadInput(f"{name}: texts of at least two emotions must be labelled to measure AUROC")
    judged = _aurocs({m: values[known] for m, values in scores.items()}, labelled, settings, seed)
    return counted_set(name, readings, rows).model_copy(update={"auroc": judged})


def counted_set(name: str, readings: dict[str, str], rows: Rows) -> TransferSet:
    """How many labelled texts there are, without an AUROC; arguments as for :func:`transfer_set`."""
    labelled = rows[np.flatnonzero(rows.label >= 0)]
    counts = np.bincount(labelled.label, minlength=rows.n_emotions)
    return TransferSet(
        name=name,
        n=len(labelled),
        n_texts=len(rows),
        n_groups=len(np.unique(labelled.group)),
        n_per_emotion=dict(zip(rows.emotions, counts.tolist(), strict=True)),
        readings=readings,
        auroc={},
    )


def _aurocs(scores: dict[str, np.ndarray], rows: Rows, settings: TransferSettings, seed: int) -> Aurocs:
    """AUROC of every method for every emotion, and their mean over the emotions that all methods read, lest one method be
    spared the emotion that another finds hard."""
    if MEAN in rows.emotions:
        raise BadInput(
            f"labels: an emotion cannot be called {MEAN!r}, as the mean over emotions is; rename it"
        )
    resamples = GroupResamples(rows.group, settings.n_bootstrap, seed)
    measured: dict[str, dict[str, Resampled]] = {}
    for method, values in scores.items():
        areas = measured[method] = {}
        for c, emotion in enumerate(rows.emotions):
            known = np.isfinite(values[:, c]).all()
            areas[emotion] = resamples.auroc(values[:, c], rows.label == c) if known else Resampled.nothing()
    valued = [{e for e, area in areas.items() if area.estimate is not None} for areas in measured.values()]
    shared = set(rows.emotions).intersection(*filter(None, valued))
    return {
        method: {
            name: Estimate(value=area.estimate, ci=area.ci)
            for name, area in (
                areas | {MEAN: mean_of([areas[e] for e in rows.emotions if e in shared])}
            ).items()
        }
        for method, areas in measured.items()
    }


def generalization(
    coded: Coded,
    methods: dict[str, Method],
    families: Families,
    rule: FeatureSettings,
    settings: TransferSettings,
    *,
    n_claimable: int,
    seed: int,
) -> HeldOut:
    """Families on the held-out split: other emotion words, scenes and templates. A prompt is read as the one row it is.

    The control: families of as many random live features for each emotion, weighted on train + val by the rule of the
    real ones and read like them. Its 95th percentile over 200 draws is what must be beaten. The weights see the labels,
    so the control is above 0.5 where any ten features say something; choosing them must give more.

    Args:
        coded: rows, embeddings and codes of the study.
        methods: of :func:`moodlens.validate.methods.all_methods`.
        families: of the study.
        rule: ``family_size``, by which the families were gathered.
        settings: ``n_bootstrap``.
        n_claimable: features ``[0, n_claimable)`` may be claimed; random families are drawn from them too.
        seed: of the draws and resamples.
    """
    held_out = coded.rows.labelled("held_out")
    rows = coded.rows[held_out]
    n, n_groups = len(rows), len(np.unique(rows.group))
    if len(np.unique(rows.label)) < 2:
        return HeldOut(n=n, n_groups=n_groups, auroc={}, note="no held-out texts of two emotions")
    scores = {name: method.rows(coded.x, held_out) for name, method in methods.items()}
    aurocs = _aurocs(scores, rows, settings, seed)
    mean = aurocs["family"][MEAN]
    if mean.value is None:
        return HeldOut(n=n, n_groups=n_groups, auroc=aurocs, note="no emotion has a family")
    drawn = _random_families(coded, methods["family"], families, rule, n_claimable, seed)
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
    coded: Coded, method: Method, families: Families, rule: FeatureSettings, n_claimable: int, seed: int
) -> np.ndarray:
    """Mean held-out AUROC of random families, ``(DRAWS,)``."""
    rng = np.random.default_rng([seed, 0x6E0])
    rows = coded.rows
    dev, judged = rows.where(*DEV), rows.labelled("held_out")
    live = np.flatnonzero(firings(coded.codes, dev)[:n_claimable])
    target = Target.of(coded.x, rows)
    drawn = {}
    for family in families.families:
        if family.features:
            c = families.emotions.index(family.emotion)
            size = min(len(family.features), len(live))
            drawn[c] = [_drawn(coded.W_dec, live, size, target, c, rule, rng) for _ in range(DRAWS)]
    total, n_emotions = np.zeros(DRAWS), 0
    centred = {c: products(coded.x, np.array(d), method.centre, judged) for c, d in drawn.items()}
    spread = {
        c: np.sqrt(np.einsum("kd,de,ke->k", np.array(directions), target.covariance, np.array(directions)))
        for c, directions in drawn.items()
    }
    scores = np.full((len(judged), DRAWS, rows.n_emotions), np.nan)
    for c, values in centred.items():
        scores[..., c] = values / np.where(spread[c] > 0, spread[c], 1.0)
    read = method.against(scores.reshape(-1, rows.n_emotions)).reshape(scores.shape)
    label = rows.label[judged]
    for c in drawn:
        if (label == c).any():
            n_emotions += 1
            # The other emotions of the held-out rows stand together against this one.
            total += auroc(read[..., c], np.where(label == c, 0, 1), 2)[0]
    return total / max(n_emotions, 1)


def _drawn(
    W_dec: np.ndarray,
    live: np.ndarray,
    size: int,
    target: Target,
    emotion: int,
    rule: FeatureSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """Direction of a family of random features, ``(d_in,)``."""
    picks = rng.choice(live, size, replace=False)
    return target.weights(W_dec[picks], emotion, rule.family_size) @ W_dec[picks].astype(np.float64)


def special_rows(
    methods: dict[str, Method], x: np.ndarray, rows: Rows, about: "Prompted"
) -> tuple[SpecialRows, ...]:
    """Where negations ("not sad"), mixed emotions and neutral texts lie among plain texts, on the family's score.

    Percentiles are taken among plain test and held-out rows of the emotion, and among those of other emotions: a
    family that reads meaning puts "not sad" among the others, one that reads words puts it among the sad. The gate is
    learnt from denied train + val rows: denials on test use its wordings on other words, held-out ones other wordings
    on other words.

    Args:
        methods: ``family``, and ``family_gated`` where there is one.
        x: ``(n, d_in)`` raw embeddings.
        rows: of the study.
        about: what each text denies or mixes, and its twin.

    Returns:
        For every kind (negation, by split; mixed; neutral) and emotion with a family, of test and held-out rows;
        percentiles count ties one half.
    """
    unseen = np.isin(rows.split, ("test", "held_out"))
    plain = (rows.kind == "plain") & unseen
    plain_score = methods["family"].rows(x)
    gated_score = methods["family_gated"].rows(x) if "family_gated" in methods else None
    out = []
    for kind, splits in (
        ("negation", ("test",)), ("negation", ("held_out",)), ("mixed", ()), ("neutral", ())
    ):  # fmt: skip
        for c, emotion in enumerate(rows.emotions):
            special = (rows.kind == kind) & (np.isin(rows.split, splits) if splits else unseen)
            if kind != "neutral":
                special &= about.holds(emotion)
            own, others = plain & (rows.label == c), plain & (rows.label != c)
            value = plain_score[:, c]
            if not np.isfinite(value).all() or not (special.any() and own.any() and others.any()):
                continue
            gated = None if gated_score is None else gated_score[:, c]
            place = np.flatnonzero(special)
            out.append(
                SpecialRows(
                    kind=kind,
                    split=splits[0] if splits else None,
                    emotion=emotion,
                    n=len(place),
                    n_groups=len(np.unique(rows.group[special])),
                    score=float(value[special].mean()),
                    percentile_own=_percentile(value[special], value[own]),
                    percentile_others=_percentile(value[special], value[others]),
                    plain_own=float(value[own].mean()),
                    plain_others=float(value[others].mean()),
                    below_twin=about.below_twin(value, place),
                    gated_own=None if gated is None else _percentile(gated[special], gated[own]),
                    gated_others=None if gated is None else _percentile(gated[special], gated[others]),
                    gated_below_twin=None if gated is None else about.below_twin(gated, place),
                )
            )
    return tuple(out)


@dataclass(frozen=True)
class Prompted:
    """What the grammar knows of denied and mixed texts.

    Attributes:
        about: emotions that each text denies or mixes.
        twin: ``(n,)`` int, row of the text that says what it denies; -1 where there is none.
    """

    about: list[frozenset[str]]
    twin: np.ndarray

    @classmethod
    def of(cls, ids: list[str], about: list[str | None], twin: list[str | None]) -> "Prompted":
        """From columns of the prompts: emotions are joined by ``|``, a twin is an id."""
        place = {name: row for row, name in enumerate(ids)}
        return cls(
            [frozenset((text or "").split("|")) for text in about],
            np.array([place.get(name, -1) if name else -1 for name in twin], dtype=np.int64),
        )

    def holds(self, emotion: str) -> np.ndarray:
        """``(n,)`` bool, texts about the emotion."""
        return np.array([emotion in emotions for emotions in self.about], dtype=bool)

    def below_twin(self, value: np.ndarray, rows: np.ndarray) -> float | None:
        """Share of ``rows`` that score lower than their twin, ties counting one half; None without twins."""
        rows = rows[self.twin[rows] >= 0]
        if not len(rows):
            return None
        own, twin = value[rows], value[self.twin[rows]]
        return float(np.mean((own < twin) + 0.5 * (own == twin)))


def _percentile(values: np.ndarray, among: np.ndarray) -> float:
    """Mean percentile (0..100) of ``values`` among ``among``, ties counting one half."""
    among = np.sort(among)
    low, high = np.searchsorted(among, values, "left"), np.searchsorted(among, values, "right")
    return float(np.mean((low + high) / 2) / len(among) * 100)
