"""Families on trial: added over doses, clamped, kept alone.

What is added is the direction that steers (:meth:`moodlens.study.families.Family.direction`), at the size at which its
members usually go along it. Beside it stand random families, random directions and difference-in-means, the ceiling.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from moodlens.core.labels import UNKNOWN
from moodlens.stats.contrast import difference_in_means, unit_rows
from moodlens.stats.controls import matched_features, random_families
from moodlens.stats.pvalues import FLOAT32_TIES, upper_p
from moodlens.study.families import Family
from moodlens.study.rows import DEV
from moodlens.validate.interventions import (
    Bank,
    Beside,
    Experiment,
    InterventionRow,
    blocks,
    constant_effects,
    member_effects,
)
from moodlens.validate.readouts import READOUTS, Fold

KEPT = 5
"""Features of a family that are kept when all the rest of the code is zeroed (the roadmap's top five)."""
NO_CONTROLS = Beside()
_BLOCK = 64  # random families held at once

Changes = list[tuple[np.ndarray, np.ndarray]]
"""Per fold, the changes of both readouts, (moves, rows) each."""


def added_by(family: Family, W_dec: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """What dose 1 of a family adds to an embedding, ``(d_in,)`` float64: its direction, as far as it usually goes.

    Args:
        family: not empty.
        W_dec: ``(d_sae, d_in)``.
        codes: ``(n, d_sae)`` of the rows that say what is usual: the emotion's own train + val rows.
    """
    return family.typical_size(W_dec, codes) * unit_rows(family.direction(W_dec))


def random_additions(family: Family, W_dec: np.ndarray, picks: np.ndarray, norm: float) -> np.ndarray:
    """What random families ``picks (m, j)`` add at the weights of the family's members, scaled to ``norm``: ``(m, d_in)``."""
    return norm * unit_rows(np.einsum("j,mjd->md", family.weights, W_dec[picks], optimize=True))


class FamilyTrial:
    """Every intervention on the family of one emotion.

    Args:
        experiment: arrays, readouts, random directions.
        family: not empty.
        target: its emotion.
        allowed: ``(d_sae,)`` bool, features that may stand in for members.
        rng: of the random families.
    """

    def __init__(
        self,
        experiment: Experiment,
        family: Family,
        target: int,
        allowed: np.ndarray,
        rng: np.random.Generator,
    ):
        self.experiment, self.family, self.target = experiment, family, target
        self.emotions = experiment.coded.rows.emotions
        self.name = self.emotions[target]
        self.members = np.array(family.features)
        n = experiment.settings.n_controls
        d_sae = len(allowed)
        density, size = experiment.density[:d_sae], experiment.size[:d_sae]
        controls = matched_features(density, size, self.members, allowed, n)
        none = np.zeros((0, len(self.members)), dtype=np.int64)
        self.picks = random_families(controls, n, rng) if controls.shape[1] else none
        self.moves = np.full(len(self.emotions), np.nan)
        """(C,) change of the log-odds of every emotion at dose 1, known once :meth:`rows` is through."""

    def rows(self) -> Iterator[InterventionRow]:
        """Rows of interventions.parquet."""
        yield from self._add()
        yield from self._clamp()
        yield from self._keep()

    def _add(self) -> Iterator[InterventionRow]:
        """Transplants into the rows of other emotions, read by every emotion's readout."""
        experiment, coded = self.experiment, self.experiment.coded
        added = added_by(self.family, coded.W_dec, coded.codes[experiment.of_emotion(self.target)])
        norm = float(np.linalg.norm(added))
        dev, label = coded.rows.where(*DEV), np.full(len(coded.rows), UNKNOWN)
        label[dev] = coded.rows.label[dev]
        means = difference_in_means(coded.x, label, len(self.emotions))
        ceiling = norm * unit_rows(means[self.target])
        random = random_additions(self.family, coded.W_dec, self.picks, norm)
        others = experiment.panel.take(coded.rows.label != self.target)
        bank = Bank.of(others, np.concatenate([[added, ceiling], random, norm * experiment.directions]))
        matched, drawn = slice(2, 2 + len(random)), slice(2 + len(random), None)
        n_groups = experiment.n_groups(others.rows)
        for dose in experiment.settings.doses:
            for read, name in enumerate(self.emotions):
                if read != self.target and dose != 1.0:  # which emotion moves which is asked at dose 1
                    continue
                all_means: dict[str, list[np.ndarray]] = {readout: [] for readout in READOUTS}
                first: dict[str, np.ndarray] = {}
                for part in blocks(len(bank.square), 256):
                    which = np.arange(part.start, part.stop)
                    changed = constant_effects(others, bank, which, np.full(len(which), dose), read)
                    for readout, values in zip(READOUTS, changed, strict=True):
                        all_means[readout].append(values.mean(axis=1, dtype=np.float64))
                        first.setdefault(readout, values[:2])
                for readout in READOUTS:
                    sums = experiment.means.sums(others.rows, first[readout])
                    effect, low, high = experiment.means.interval(*sums)
                    of_all = np.concatenate(all_means[readout])
                    head = (name, dose, readout)
                    for place, subject in enumerate(("family", "difference_in_means")):
                        beside = self._beside(effect[place], of_all[matched], of_all[drawn], rises=True)
                        if read != self.target:  # what another emotion should do is not a claim: it has no p
                            beside = replace(beside, p=None)
                        interval = (effect[place], low[place], high[place])
                        yield self._row("transplant", subject, *head, interval, n_groups, beside)
                    if read == self.target:
                        for subject, part in (("random_feature", matched), ("random_direction", drawn)):
                            yield self._row(
                                "transplant", subject, *head, _spread(of_all[part]), n_groups, NO_CONTROLS
                            )
                    if dose == 1.0 and readout == "probe":
                        self.moves[read] = effect[0]

    def _clamp(self) -> Iterator[InterventionRow]:
        """All members set to zero in the emotion's own rows in which any of them fires."""
        experiment, target = self.experiment, self.target
        codes, W_dec = experiment.coded.codes, experiment.coded.W_dec
        fires = (codes[:, self.members] > 0).any(axis=1)
        panel, bank = experiment.seen_by((experiment.coded.rows.label == target) & fires)
        own: Changes = []
        random: Changes = []
        directions: Changes = []
        for place, fold in enumerate(panel.folds):
            height = -codes[np.ix_(fold.rows, self.members)]
            norm = np.linalg.norm(height @ W_dec[self.members], axis=1).astype(np.float32)
            own.append(member_effects(fold, bank, place, self.members[None], height[None], target))
            random.append(
                _in_blocks(fold, bank, place, self.picks, lambda _, h=height: h[None], target, norm=norm)
            )
            away = -norm[None, :, None]
            drawn = experiment.drawn[:, None]
            directions.append(_in_blocks(fold, bank, place, drawn, lambda _, a=away: a, target))
        yield from self._fixed("clamp", "family", panel.rows, own, (random, directions), rises=False)

    def _keep(self) -> Iterator[InterventionRow]:
        """Everything the SAE adds is taken away but the first members, in the emotion's own rows.

        Beside it: random families kept in the same way, and nothing kept at all (``zero_rest``).
        """
        experiment, target = self.experiment, self.target
        members, picks = self.members[:KEPT], self.picks[:, :KEPT]
        panel, bank = experiment.seen_by(experiment.coded.rows.label == target)
        own: Changes = []
        random: Changes = []
        nothing: Changes = []
        for place, fold in enumerate(panel.folds):
            codes = experiment.coded.codes[fold.rows]
            removed = codes @ experiment.coded.W_dec

            def kept(part: np.ndarray, codes: np.ndarray = codes) -> np.ndarray:
                return codes[:, part].transpose(1, 0, 2)

            own.append(_in_blocks(fold, bank, place, members[None], kept, target, removed=removed))
            random.append(_in_blocks(fold, bank, place, picks, kept, target, removed=removed))
            none = np.zeros((1, len(codes), 1), dtype=np.float32)
            nothing.append(
                member_effects(fold, bank, place, members[None, :1], none, target, removed=removed)
            )
        yield from self._fixed("keep_family", "family", panel.rows, own, (random, None), rises=True)
        yield from self._fixed("zero_rest", "all_features", panel.rows, nothing, (None, None), rises=True)

    def _fixed(
        self,
        kind: str,
        subject: str,
        rows: np.ndarray,
        own: Changes,
        controls: tuple[Changes | None, Changes | None],
        *,
        rises: bool,
    ) -> Iterator[InterventionRow]:
        """Rows of an intervention without doses. controls: random families, random directions."""
        if not len(rows):
            return
        means = self.experiment.means
        for place, readout in enumerate(READOUTS):
            values = np.concatenate([changes[place] for changes in own], axis=1)
            effect, low, high = means.interval(*means.sums(rows, values))
            random, directions = (
                None
                if parts is None
                else np.concatenate([changes[place] for changes in parts], axis=1).mean(axis=1)
                for parts in controls
            )
            beside = (
                NO_CONTROLS if random is None else self._beside(effect[0], random, directions, rises=rises)
            )
            interval = (effect[0], low[0], high[0])
            n_groups, dose = self.experiment.n_groups(rows), 1.0 if rises else 0.0
            yield self._row(kind, subject, self.name, dose, readout, interval, n_groups, beside)

    def _row(
        self,
        kind: str,
        subject: str,
        target: str,
        dose: float,
        readout: str,
        effect: tuple[float, float, float] | None,
        n_groups: int,
        beside: Beside,
    ) -> InterventionRow:
        return InterventionRow(
            kind, subject, None, self.name, target, dose, readout, effect, n_groups, beside
        )

    def _beside(self, effect: float, matched: np.ndarray, drawn: np.ndarray | None, *, rises: bool) -> Beside:
        """Controls of one effect: their mean, the edge that all but a few stay below, and p."""
        if not len(matched):
            return NO_CONTROLS
        sign = 1 if rises else -1
        controls = [control for control in (matched, drawn) if control is not None]
        p = max(float(upper_p(sign * effect, sign * control, ties=FLOAT32_TIES)) for control in controls)
        edge = sign * np.quantile(sign * matched, self.experiment.settings.control_quantile)
        return Beside(float(matched.mean()), float(edge), p)


def _in_blocks(
    fold: Fold,
    bank: Bank,
    place: int,
    picks: np.ndarray,
    amounts: Callable[[np.ndarray], np.ndarray],
    target: int,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`member_effects` a few moves at a time; ``amounts`` gives those of a block of ``picks``."""
    parts = [
        member_effects(fold, bank, place, picks[part], amounts(picks[part]), target, **options)
        for part in blocks(len(picks), _BLOCK)
    ]
    if not parts:
        none = np.zeros((0, len(fold.rows)), dtype=np.float32)
        return none, none
    probe, centroid = (np.concatenate(changes) for changes in zip(*parts, strict=True))
    return probe, centroid


def _spread(values: np.ndarray) -> tuple[float, float, float] | None:
    """Mean over controls and the middle 95 % of them; None without any."""
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)
