"""Every feature on trial: clamped where it fires and added where it does not belong, beside its controls."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from moodlens.core import Progress
from moodlens.settings.validation import CausalSettings
from moodlens.stats.controls import matched_features
from moodlens.stats.pvalues import FLOAT32_TIES, upper_p
from moodlens.validate.interventions import (
    Bank,
    Beside,
    Experiment,
    InterventionRow,
    blocks,
    centroid_means,
    constant_effects,
    member_effects,
    probe_means,
)
from moodlens.validate.readouts import READOUTS, Panel

KINDS = ("transplant", "clamp")


@dataclass
class Measured:
    """One kind of intervention, one readout, for m features; NaN where there was nothing to measure."""

    effect: np.ndarray
    low: np.ndarray
    high: np.ndarray
    control_mean: np.ndarray
    control_edge: np.ndarray
    """What all but ``1 - control_quantile`` of the matched controls of either dictionary stay below (clamp: above)."""
    p: np.ndarray
    """Largest of the shares of matched features, of either dictionary, and of random directions that do as much."""

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
    """(m, c) int, matched features of the SAE."""
    untrained: np.ndarray
    """(m, u) int, matched features of the untrained dictionary."""
    measured: dict[tuple[str, str], Measured]
    """by kind and readout; transplants at dose 1."""
    doses: dict[tuple[float, str], tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    """by dose and readout: effect, low, high, (m,) each."""
    n_groups: dict[str, np.ndarray] = field(default_factory=dict)
    """by kind, (m,) groups of the rows that were changed."""

    def rows(self, name: str, doses: tuple[float, ...]) -> Iterator[InterventionRow]:
        """Rows of interventions.parquet: the clamp of every feature, and every dose. ``name``: of the emotion."""
        for i, feature in enumerate(self.features.tolist()):
            for readout in READOUTS:
                for kind, dose in (("clamp", 0.0), *(("transplant", dose) for dose in doses)):
                    beside = Beside()
                    if kind == "clamp" or dose == 1.0:
                        m = self.measured[kind, readout]
                        effect = (m.effect[i], m.low[i], m.high[i])
                        beside = Beside(m.control_mean[i], m.control_edge[i], m.p[i])
                    else:
                        effect = tuple(part[i] for part in self.doses[dose, readout])
                    n_groups = int(self.n_groups[kind][i])
                    yield InterventionRow(
                        kind, "feature", feature, name, name, dose, readout, effect, n_groups, beside
                    )


def try_features(
    experiment: Experiment,
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
        experiment: arrays, readouts, random directions.
        features: ``(m,)`` int.
        amounts: ``(m,)``.
        target: emotion that is read.
        allowed: ``(d_sae,)`` bool, features of the SAE that may serve as controls.
        intervals: whether to resample groups, to measure every dose, and to measure controls of everything. Without,
            only the probe's transplant has controls; of the rest the effect is known.
        progress: called once per feature.
    """
    settings, m = experiment.settings, len(features)
    pools = (
        np.append(allowed, np.zeros(len(experiment.density) - len(allowed), dtype=bool)),
        experiment.of_untrained,
    )
    controls, untrained = (
        matched_features(experiment.density, experiment.size, features, pool, settings.n_controls)
        for pool in pools
    )
    measured = {(kind, readout): Measured.empty(m) for kind in KINDS for readout in READOUTS}
    trials = Trials(features, target, amounts, controls, untrained, measured)
    if not m:
        return trials
    sizes = (controls.shape[1], untrained.shape[1])
    others, bank = experiment.seen_by(experiment.coded.rows.label != target)
    n_all_groups = experiment.means.n_groups
    clamped = [np.zeros((m, n_all_groups), dtype=np.float32) for _ in (*READOUTS, "counts")]
    for i, feature in enumerate(features):
        which = np.concatenate([[feature], controls[i], untrained[i], experiment.drawn])
        amount = np.full(len(which), amounts[i])
        by_probe = probe_means(others, bank, which, amount, target)
        _judge(measured["transplant", "probe"], i, by_probe, sizes, settings, rises=True)
        beside = len(which) if intervals else 1
        by_centroid = centroid_means(others, bank, which[:beside], amount[:beside], target)
        _judge(measured["transplant", "centroid"], i, by_centroid, sizes, settings, rises=True)
        _clamp(experiment, which if intervals else which[:1], trials, i, clamped)
        if progress is not None:
            progress("causality", i + 1, m)
    if intervals:
        for readout, sums in zip(READOUTS, clamped, strict=False):
            out = measured["clamp", readout]
            _, out.low, out.high = experiment.means.interval(sums, clamped[-1])
        _doses(experiment, others, bank, trials)
    return trials


def _judge(
    out: Measured,
    i: int,
    effects: np.ndarray,
    sizes: tuple[int, int],
    settings: CausalSettings,
    *,
    rises: bool,
) -> None:
    """Write feature i's effect and how it stands among its controls.

    effects: of itself, of ``sizes`` matched features of the SAE and of the untrained dictionary, of random directions.
    """
    sign = 1 if rises else -1
    own, rest = effects[0], effects[1:]
    matched, untrained, drawn = np.split(sign * rest, np.cumsum(sizes)) if len(rest) else (rest, rest, rest)
    out.effect[i] = own
    controls = [control for control in (matched, untrained) if len(control)]
    if not controls or not np.isfinite(own):
        return
    out.control_mean[i] = sign * np.concatenate(controls).mean()
    out.control_edge[i] = sign * max(np.quantile(control, settings.control_quantile) for control in controls)
    out.p[i] = max(upper_p(sign * own, control, ties=FLOAT32_TIES) for control in (*controls, drawn))


def _clamp(
    experiment: Experiment, which: np.ndarray, trials: Trials, i: int, clamped: list[np.ndarray]
) -> None:
    """Zero feature i where it fires, and take as much away along every control's direction.

    Row i of ``clamped``, ``(m, g)`` each, gets the sums over groups of both readouts' changes and the counts of rows.
    """
    active, folds = experiment.activation(int(trials.features[i])), experiment.panel.folds
    fires = tuple(active[fold.rows] > 0 for fold in folds)
    trials.n_groups.setdefault("clamp", np.zeros(len(trials.features), dtype=np.int64))
    rows = np.concatenate([fold.rows[mask] for fold, mask in zip(folds, fires, strict=True)])
    if not len(rows):
        return
    trials.n_groups["clamp"][i] = experiment.n_groups(rows)
    few = experiment.bank.part(which, fires)
    picks = np.arange(len(which))[:, None]
    changes = []
    for place, (fold, mask) in enumerate(zip(folds, fires, strict=True)):
        firing = fold.take(mask)
        height = -active[firing.rows]
        changes.append(member_effects(firing, few, place, picks, height[None, :, None], trials.target))
    group, n_all_groups = experiment.means.group[rows], experiment.means.n_groups
    for place, parts in enumerate(zip(*changes, strict=True)):
        values = np.concatenate(parts, axis=1)
        out, sizes = (
            trials.measured["clamp", READOUTS[place]],
            (trials.controls.shape[1], trials.untrained.shape[1]),
        )
        _judge(out, i, values.mean(axis=1), sizes, experiment.settings, rises=False)
        clamped[place][i] = np.bincount(group, values[0], n_all_groups)
    clamped[-1][i] = np.bincount(group, minlength=n_all_groups)


def _doses(experiment: Experiment, others: Panel, bank: Bank, trials: Trials) -> None:
    """Every dose of every feature, with intervals over groups."""
    rows, features = others.rows, trials.features
    trials.n_groups["transplant"] = np.full(len(features), experiment.n_groups(rows))
    for dose in experiment.settings.doses:
        sums: dict[str, list[np.ndarray]] = {readout: [] for readout in READOUTS}
        counts = np.zeros(0, dtype=np.float32)
        for part in blocks(len(features), 256):
            changed = constant_effects(
                others, bank, features[part], dose * trials.amounts[part], trials.target
            )
            for readout, values in zip(READOUTS, changed, strict=True):
                total, counts = experiment.means.sums(rows, values)
                sums[readout].append(total)
        for readout in READOUTS:
            interval = experiment.means.interval(np.concatenate(sums[readout]), counts)
            trials.doses[dose, readout] = interval
            if dose == 1.0:
                measured = trials.measured["transplant", readout]
                _, measured.low, measured.high = interval
