"""Every feature on trial: clamped where it fires and added where it does not belong, beside its controls."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from moodlens.core import Progress
from moodlens.settings.validation import CausalSettings
from moodlens.stats.controls import matched_features
from moodlens.stats.pvalues import FLOAT32_TIES, upper_p
from moodlens.stats.resample import GroupMeans
from moodlens.validate.interventions import (
    Bank,
    blocks,
    centroid_means,
    constant_effects,
    member_effects,
    probe_means,
)
from moodlens.validate.readouts import READOUTS, Panel

KINDS = ("transplant", "clamp")


@dataclass(frozen=True)
class Setup:
    """What every trial reads."""

    W_dec: np.ndarray
    """(d_sae, d_in) float32."""
    codes: np.ndarray
    """(n, d_sae) activations of the study's rows."""
    labels: np.ndarray
    """(n,) int, -1 for neutral."""
    panel: Panel
    """the judged rows."""
    means: GroupMeans
    density: np.ndarray
    """(d_sae,) share of train + val rows in which a feature fires."""
    size: np.ndarray
    """(d_sae,) mean activation where it fires, train + val."""
    directions: np.ndarray
    """(r, d_in) random unit directions."""
    settings: CausalSettings

    @cached_property
    def bank(self) -> Bank:
        """All features, then the random directions, as the panel sees them."""
        return Bank.of(self.panel, np.concatenate([self.W_dec, self.directions]))

    @property
    def drawn(self) -> np.ndarray:
        """Places of the random directions in the bank."""
        return np.arange(len(self.W_dec), len(self.W_dec) + len(self.directions))

    def seen_by(self, wanted: np.ndarray) -> tuple[Panel, Bank]:
        """The rows for which ``wanted`` (n,) is true, and the bank for them."""
        keep = tuple(wanted[fold.rows] for fold in self.panel.folds)
        return self.panel.take(wanted), self.bank.part(np.arange(len(self.bank.square)), keep)


@dataclass
class Measured:
    """One kind of intervention, one readout, for m features; NaN where there was nothing to measure."""

    effect: np.ndarray
    low: np.ndarray
    high: np.ndarray
    control_mean: np.ndarray
    control_edge: np.ndarray
    """What all but ``1 - control_quantile`` of the matched controls stay below (clamp: above)."""
    p: np.ndarray
    """Larger of the shares of matched features, and of random directions, that do as much."""

    @classmethod
    def empty(cls, m: int) -> "Measured":
        """m features, nothing measured yet."""
        return cls(*(np.full(m, np.nan) for _ in range(6)))


@dataclass
class Trials:
    """The features of one emotion on trial."""

    features: np.ndarray
    target: int
    amounts: np.ndarray
    """(m,) what is added at dose 1, in units of the activation."""
    controls: np.ndarray
    """(m, c) int, matched features."""
    measured: dict[tuple[str, str], Measured]
    """by kind and readout; transplants at dose 1."""
    doses: dict[tuple[float, str], tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    """by dose and readout: effect, low, high, (m,) each."""
    n_groups: dict[str, np.ndarray] = field(default_factory=dict)
    """by kind, (m,) groups of the rows that were changed."""


def try_features(
    setup: Setup,
    features: np.ndarray,
    amounts: np.ndarray,
    target: int,
    allowed: np.ndarray,
    *,
    intervals: bool = True,
    progress: Progress | None = None,
) -> Trials:
    """Put ``features`` on trial as features of emotion ``target``.

    *transplant*: ``dose * amount`` is added in the rows of other emotions and neutral rows. *clamp*: the activation
    is set to zero in the rows in which the feature fires. A control is moved by the same amounts in the same rows.

    Args:
        setup: arrays, readouts, random directions.
        features: ``(m,)`` int.
        amounts: ``(m,)``.
        target: emotion that is read.
        allowed: ``(d_sae,)`` bool, features that may serve as controls.
        intervals: whether to resample groups, to measure every dose, and to measure controls of everything. Without,
            only the probe's transplant has controls; of the rest the effect is known.
        progress: called once per feature.
    """
    s = setup.settings
    m = len(features)
    controls = matched_features(setup.density, setup.size, features, allowed, s.n_controls)
    trials = Trials(
        features,
        target,
        amounts,
        controls,
        {(kind, readout): Measured.empty(m) for kind in KINDS for readout in READOUTS},
    )
    if not m:
        return trials
    n_controls = controls.shape[1]
    others, other_bank = setup.seen_by(setup.labels != target)
    clamped = [np.zeros((m, setup.means.weights.shape[1]), dtype=np.float32) for _ in (*READOUTS, "counts")]
    for i, feature in enumerate(features):
        which = np.concatenate([[feature], controls[i], setup.drawn])
        amount = np.full(len(which), amounts[i])
        by_probe = probe_means(others, other_bank, which, amount, target)
        _judge(trials.measured["transplant", "probe"], i, by_probe, n_controls, s, rises=True)
        beside = len(which) if intervals else 1
        by_centroid = centroid_means(others, other_bank, which[:beside], amount[:beside], target)
        _judge(trials.measured["transplant", "centroid"], i, by_centroid, n_controls, s, rises=True)
        _clamp(setup, which if intervals else which[:1], trials, i, clamped)
        if progress is not None:
            progress("causality", i + 1, m)
    if intervals:
        for readout, sums in zip(READOUTS, clamped, strict=False):
            out = trials.measured["clamp", readout]
            _, out.low, out.high = setup.means.interval(sums, clamped[-1])
        _doses(setup, others, other_bank, trials)
    return trials


def _judge(
    out: Measured, i: int, effects: np.ndarray, n_controls: int, s: CausalSettings, *, rises: bool
) -> None:
    """Write feature i's effect and how it stands among its controls. effects: itself, matched, random."""
    sign = 1 if rises else -1
    own, matched, drawn = effects[0], effects[1 : 1 + n_controls], effects[1 + n_controls :]
    out.effect[i] = own
    if n_controls == 0 or len(effects) == 1 or not np.isfinite(own):
        return
    out.control_mean[i] = matched.mean()
    out.control_edge[i] = sign * np.quantile(sign * matched, s.control_quantile)
    out.p[i] = max(upper_p(sign * own, sign * control, ties=FLOAT32_TIES) for control in (matched, drawn))


def _clamp(setup: Setup, which: np.ndarray, trials: Trials, i: int, clamped: list[np.ndarray]) -> None:
    """Zero feature i where it fires, and take as much away along every control's direction.

    Row i of ``clamped``, ``(m, g)`` each, gets the sums over groups of both readouts' changes and the counts of rows.
    """
    feature, n_controls = trials.features[i], trials.controls.shape[1]
    fires = tuple(setup.codes[fold.rows, feature] > 0 for fold in setup.panel.folds)
    trials.n_groups.setdefault("clamp", np.zeros(len(trials.features), dtype=np.int64))
    rows = np.concatenate([f.rows[mask] for f, mask in zip(setup.panel.folds, fires, strict=True)])
    if not len(rows):
        return
    trials.n_groups["clamp"][i] = len(np.unique(setup.means.group[rows]))
    few = setup.bank.part(which, fires)
    picks = np.arange(len(which))[:, None]
    changes = []
    for place, (fold, mask) in enumerate(zip(setup.panel.folds, fires, strict=True)):
        mine = fold.take(mask)
        height = -setup.codes[mine.rows, feature]
        changes.append(member_effects(mine, few, place, picks, height[None, :, None], trials.target))
    group, n_groups = setup.means.group[rows], setup.means.weights.shape[1]
    for place, parts in enumerate(zip(*changes, strict=True)):
        values = np.concatenate(parts, axis=1)
        out = trials.measured["clamp", READOUTS[place]]
        _judge(out, i, values.mean(axis=1), n_controls, setup.settings, rises=False)
        clamped[place][i] = np.bincount(group, values[0], n_groups)
    clamped[-1][i] = np.bincount(group, minlength=n_groups)


def _doses(setup: Setup, others: Panel, bank: Bank, trials: Trials) -> None:
    """Every dose of every feature, with intervals over groups."""
    rows, features = others.rows, trials.features
    trials.n_groups["transplant"] = np.full(len(features), len(np.unique(setup.means.group[rows])))
    for dose in setup.settings.doses:
        sums: dict[str, list[np.ndarray]] = {readout: [] for readout in READOUTS}
        counts = np.zeros(0, dtype=np.float32)
        for part in blocks(len(features), 256):
            changed = constant_effects(
                others, bank, features[part], dose * trials.amounts[part], trials.target
            )
            for readout, values in zip(READOUTS, changed, strict=True):
                total, counts = setup.means.sums(rows, values)
                sums[readout].append(total)
        for readout in READOUTS:
            found = setup.means.interval(np.concatenate(sums[readout]), counts)
            trials.doses[dose, readout] = found
            if dose == 1.0:
                measured = trials.measured["transplant", readout]
                _, measured.low, measured.high = found
