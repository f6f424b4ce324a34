"""Families on trial: added over doses, clamped, kept alone.

Beside them stand random families, random directions and difference-in-means, the ceiling.
"""

from typing import Any

import numpy as np

from moodlens.stats.contrast import difference_in_means, unit_rows
from moodlens.stats.controls import matched_features, random_families
from moodlens.stats.pvalues import FLOAT32_TIES, upper_p
from moodlens.study.families import Family
from moodlens.validate.interventions import Bank, blocks, constant_effects, member_effects
from moodlens.validate.readouts import READOUTS, Fold
from moodlens.validate.trials import Setup

KEPT = 5
"""Features of a family that are kept when all the rest of the code is zeroed (the roadmap's top five)."""
_BLOCK = 64  # random families held at once


def row(
    kind: str, subject: str, emotion: str, target: str, dose: float, readout: str, **values: Any
) -> dict[str, Any]:
    """One row of interventions.parquet; what is not given is null."""
    blank = dict.fromkeys(("feature", "effect", "ci_low", "ci_high", "control_mean", "control_p99", "p", "q"))
    head = {"kind": kind, "subject": subject, "emotion": emotion, "target": target, "dose": float(dose)}
    return head | {"readout": readout} | blank | {"n_groups": None} | values


def typical_members(codes: np.ndarray, family: Family, rows: np.ndarray) -> np.ndarray:
    """Mean activation of every member over the ``rows`` (m,) int in which any of them fires, ``(j,)`` float64.

    Members rarely fire together, so this is what the family adds to a text, not the sum of all their peaks.
    """
    mine = codes[np.ix_(rows, np.array(family.features))]
    firing = mine[(mine > 0).any(axis=1)]
    return firing.mean(axis=0, dtype=np.float64) if len(firing) else np.zeros(mine.shape[1])


def family_direction(W_dec: np.ndarray, codes: np.ndarray, family: Family, rows: np.ndarray) -> np.ndarray:
    """What dose 1 of a family adds to an embedding, ``(d_in,)`` float64."""
    return typical_members(codes, family, rows) @ W_dec[list(family.features)].astype(np.float64)


def scaled_families(W_dec: np.ndarray, picks: np.ndarray, members: np.ndarray, norm: float) -> np.ndarray:
    """Random families ``picks (m, j)`` added in the members' amounts ``(j,)`` and scaled to ``norm``: ``(m, d_in)``."""
    return norm * unit_rows(np.einsum("j,mjd->md", members, W_dec[picks], optimize=True))


def try_family(
    setup: Setup,
    family: Family,
    target: int,
    emotions: tuple[str, ...],
    x: np.ndarray,
    dev: np.ndarray,
    allowed: np.ndarray,
    rng: np.random.Generator,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Every intervention on the family of emotion ``target``.

    Args:
        setup: arrays, readouts, random directions.
        family: not empty.
        target: its emotion.
        emotions: names in label order.
        x: ``(n, d_in)`` raw embeddings.
        dev: ``(m,)`` int, plain and neutral train + val rows, which set the doses.
        allowed: ``(d_sae,)`` bool, features that may stand in for members.
        rng: of the random families.

    Returns:
        Rows for interventions.parquet, and the effect of dose 1 on the probe of every emotion ``(C,)``.
    """
    members = np.array(family.features)
    controls = matched_features(setup.density, setup.size, members, allowed, setup.settings.n_controls)
    picks = (
        random_families(controls, setup.settings.n_controls, rng)
        if controls.shape[1]
        else np.zeros((0, len(members)), dtype=np.int64)
    )
    ceiling = unit_rows(difference_in_means(x[dev], setup.labels[dev], len(emotions))[target])
    rows, moves = _add(setup, family, target, emotions, dev, picks, ceiling)
    rows += _clamp(setup, members, target, emotions, picks)
    rows += _keep(setup, members[:KEPT], target, emotions, picks[:, :KEPT])
    return rows, moves


def _add(
    setup: Setup,
    family: Family,
    target: int,
    emotions: tuple[str, ...],
    dev: np.ndarray,
    picks: np.ndarray,
    ceiling: np.ndarray,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Transplants into the rows of other emotions, read by every emotion's readout."""
    name, own = emotions[target], dev[setup.labels[dev] == target]
    members = typical_members(setup.codes, family, own)
    added = members @ setup.W_dec[list(family.features)].astype(np.float64)
    norm = float(np.linalg.norm(added))
    random = scaled_families(setup.W_dec, picks, members, norm)
    others = setup.panel.take(setup.labels != target)
    bank = Bank.of(others, np.concatenate([[added, ceiling * norm], random, setup.directions * norm]))
    matched, drawn = slice(2, 2 + len(random)), slice(2 + len(random), None)
    n_groups = len(np.unique(setup.means.group[others.rows]))
    out: list[dict[str, Any]] = []
    moves = np.full(len(emotions), np.nan)
    for dose in setup.settings.doses:
        for t, read in enumerate(emotions):
            if t != target and dose != 1.0:  # which emotion moves which is asked at dose 1
                continue
            means = {readout: [] for readout in READOUTS}
            first: dict[str, np.ndarray] = {}
            for part in blocks(len(bank.square), 256):
                which = np.arange(part.start, part.stop)
                changed = constant_effects(others, bank, which, np.full(len(which), dose), t)
                for readout, values in zip(READOUTS, changed, strict=True):
                    means[readout].append(values.mean(axis=1, dtype=np.float64))
                    first.setdefault(readout, values[:2])
            for readout in READOUTS:
                effect, low, high = setup.means.interval(*setup.means.sums(others.rows, first[readout]))
                all_means = np.concatenate(means[readout])
                random_mean, direction_mean = all_means[matched], all_means[drawn]
                for place, subject in enumerate(("family", "difference_in_means")):
                    beside = _beside(effect[place], random_mean, direction_mean, setup, rises=True)
                    if t != target:  # what another emotion should do is not a claim, so it has no p
                        beside["p"] = None
                    out.append(
                        row(
                            "transplant", subject, name, read, dose, readout, effect=effect[place],
                            ci_low=low[place], ci_high=high[place], n_groups=n_groups, **beside,
                        )
                    )  # fmt: skip
                if t == target:
                    for subject, values in (
                        ("random_feature", random_mean),
                        ("random_direction", direction_mean),
                    ):
                        out.append(
                            row(
                                "transplant", subject, name, read, dose, readout,
                                n_groups=n_groups, **_spread(values),
                            )
                        )  # fmt: skip
                if dose == 1.0 and readout == "probe":
                    moves[t] = effect[0]
    return out, moves


def _clamp(
    setup: Setup, members: np.ndarray, target: int, emotions: tuple[str, ...], picks: np.ndarray
) -> list[dict[str, Any]]:
    """All members set to zero in the emotion's own rows in which any of them fires."""
    panel, bank = setup.seen_by((setup.labels == target) & (setup.codes[:, members] > 0).any(axis=1))
    own, random, directions = [], [], []
    for place, fold in enumerate(panel.folds):
        height = -setup.codes[np.ix_(fold.rows, members)]
        norm = np.linalg.norm(height @ setup.W_dec[members], axis=1).astype(np.float32)
        own.append(member_effects(fold, bank, place, members[None], height[None], target))
        random.append(_in_blocks(fold, bank, place, picks, lambda _, h=height: h[None], target, norm=norm))
        away = -norm[None, :, None]
        directions.append(_in_blocks(fold, bank, place, setup.drawn[:, None], lambda _, a=away: a, target))
    return _fixed(setup, "clamp", target, emotions, panel.rows, own, random, directions, rises=False)


def _keep(
    setup: Setup, members: np.ndarray, target: int, emotions: tuple[str, ...], picks: np.ndarray
) -> list[dict[str, Any]]:
    """Everything the SAE adds is taken away but these members, in the emotion's own rows.

    Beside it: random families kept in the same way, and nothing kept at all (``zero_rest``).
    """
    panel, bank = setup.seen_by(setup.labels == target)
    own, random, nothing = [], [], []
    for place, fold in enumerate(panel.folds):
        mine = setup.codes[fold.rows]
        removed = mine @ setup.W_dec

        def kept(part: np.ndarray, mine: np.ndarray = mine) -> np.ndarray:
            return mine[:, part].transpose(1, 0, 2)

        own.append(_in_blocks(fold, bank, place, members[None], kept, target, removed=removed))
        random.append(_in_blocks(fold, bank, place, picks, kept, target, removed=removed))
        none = np.zeros((1, len(mine), 1), dtype=np.float32)
        nothing.append(member_effects(fold, bank, place, members[None, :1], none, target, removed=removed))
    rows = _fixed(setup, "keep_family", target, emotions, panel.rows, own, random, None, rises=True)
    floor = _fixed(setup, "zero_rest", target, emotions, panel.rows, nothing, None, None, rises=True)
    return rows + [one | {"subject": "all_features"} for one in floor]


def _in_blocks(
    fold: Fold, bank: Bank, place: int, picks: np.ndarray, amounts: Any, target: int, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`member_effects` a few moves at a time; ``amounts`` gives those of a block of ``picks``."""
    parts = [
        member_effects(fold, bank, place, picks[part], amounts(picks[part]), target, **options)
        for part in blocks(len(picks), _BLOCK)
    ]
    if not parts:
        none = np.zeros((0, len(fold.rows)), dtype=np.float32)
        return none, none
    probe, centroid = (np.concatenate(one) for one in zip(*parts, strict=True))
    return probe, centroid


def _fixed(
    setup: Setup,
    kind: str,
    target: int,
    emotions: tuple[str, ...],
    rows: np.ndarray,
    own: list[tuple[np.ndarray, np.ndarray]],
    random: list[tuple[np.ndarray, np.ndarray]] | None,
    directions: list[tuple[np.ndarray, np.ndarray]] | None,
    *,
    rises: bool,
) -> list[dict[str, Any]]:
    """Rows of an intervention without doses, from effects per fold."""
    if not len(rows):
        return []
    out = []
    for place, readout in enumerate(READOUTS):
        values = np.concatenate([one[place] for one in own], axis=1)
        effect, low, high = setup.means.interval(*setup.means.sums(rows, values))
        means = [
            None if parts is None else np.concatenate([one[place] for one in parts], axis=1).mean(axis=1)
            for parts in (random, directions)
        ]
        beside = {} if means[0] is None else _beside(effect[0], means[0], means[1], setup, rises=rises)
        out.append(
            row(
                kind, "family", emotions[target], emotions[target], 1.0 if rises else 0.0, readout,
                effect=effect[0], ci_low=low[0], ci_high=high[0],
                n_groups=len(np.unique(setup.means.group[rows])), **beside,
            )
        )  # fmt: skip
    return out


def _beside(
    effect: float, matched: np.ndarray, drawn: np.ndarray | None, setup: Setup, *, rises: bool
) -> dict[str, Any]:
    """Controls of one effect: their mean, the value all but 1 % stay below, and p."""
    if not len(matched):
        return {}
    sign = 1 if rises else -1
    p = [
        float(upper_p(sign * effect, sign * control, ties=FLOAT32_TIES))
        for control in (matched, drawn)
        if control is not None
    ]
    edge = sign * np.quantile(sign * matched, setup.settings.control_quantile)
    return {"control_mean": float(matched.mean()), "control_p99": float(edge), "p": max(p)}


def _spread(values: np.ndarray) -> dict[str, Any]:
    """Mean over controls and the middle 95 % of them."""
    if not len(values):
        return {}
    low, high = np.quantile(values, (0.025, 0.975))
    return {"effect": float(values.mean()), "ci_low": float(low), "ci_high": float(high)}
