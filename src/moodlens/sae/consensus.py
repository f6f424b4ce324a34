"""What several dictionaries agree on: a core of features that do not hang on a seed. Knows no labels.

Features of several SAEs are compared by the smaller of decoder cosine and correlation of activations, on rows that they
all saw. Two are partners where each is the other's best match and the score reaches the bar. A star cluster is a
feature and its partners, one of each SAE at most; those with the most partners are gathered first. A cluster that
enough of the SAEs take part in becomes an atom: the mean of its decoder rows at norm 1, of its encoder columns, biases and
thresholds. Agreement over seeds selects what the data hold (Paulo & Belrose 2025, arXiv:2501.16615; Fel et al. 2025,
arXiv:2502.12892 show what instability costs): dictionaries that learned nothing agree on next to nothing.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moodlens.core import BadInput
from moodlens.sae.model import SAE, encode_rows
from moodlens.stats.contrast import unit_rows
from moodlens.stats.correlation import UnitColumns
from moodlens.stats.ranks import firings

HELD = 2**30
"""Bytes that the activations of all members may take in memory; more of them lie on disk."""
FIRES = 3
"""Rows in which a feature must fire to be compared: fewer say nothing of when it does."""


@dataclass(frozen=True)
class Consensus:
    """A core and what it came of."""

    sae: SAE
    """The atoms as an SAE of their own, ``jumprelu``; those of the most members first, ``core_size`` may be claimed."""
    found: np.ndarray
    """(atoms,) int: members that each atom was found in."""
    live: tuple[int, ...]
    """of each member: features that fire often enough to be compared."""


@dataclass(frozen=True)
class _Member:
    """The features of one SAE that can be compared, float64 but for directions."""

    directions: np.ndarray  # (m, d_in) unit decoder rows, float32
    activations: UnitColumns
    W_enc: np.ndarray  # (m, d_in)
    b_enc: np.ndarray  # (m,) about the common b_dec
    threshold: np.ndarray  # (m,)


def consensus(
    members: Sequence[SAE],
    x: np.ndarray,
    *,
    similarity: float,
    least: float,
    claim: float = 0.0,
    each: Callable[..., Iterable[Any]] = map,
) -> Consensus:
    """The features that at least ``least`` of the members share. The order of the members does not matter.

    Args:
        members: of one width ``d_in``, ``relu`` or ``jumprelu``.
        x: ``(n, d_in)`` raw embeddings on which activations are compared.
        similarity: decoder cosine and correlation that two partners reach.
        least: share of the members; never fewer than two.
        claim: share of the members that an atom must be found in to count in ``core_size``.
        each: ``map``, or one that calls the function on several threads.

    Raises:
        BadInput: fewer than two members, or a member whose codes depend on each other (``topk``).
    """
    if len(members) < 2:
        raise BadInput(f"a consensus needs at least two SAEs, not {len(members)}")
    if any(member.activation == "topk" for member in members):
        raise BadInput("a consensus of topk SAEs has no threshold: train l1 or batchtopk")
    b_dec = np.mean([_numpy(member.b_dec) for member in members], axis=0)
    held = HELD / len(members)
    parts: list[_Member] = list(each(lambda sae: _comparable(sae, x, b_dec, held), members))
    pairs = [(i, j) for i in range(len(parts)) for j in range(i + 1, len(parts))]
    partner: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    for (i, j), partners in zip(
        pairs, each(lambda pair: _partners(parts[pair[0]], parts[pair[1]], similarity), pairs), strict=True
    ):
        partner[i, j], partner[j, i] = partners
    needed, claimed = (max(2, math.ceil(share * len(members) - 1e-9)) for share in (least, claim))
    clusters = _stars([len(part.b_enc) for part in parts], partner, needed)
    sae = _atoms(parts, clusters, b_dec)
    found_in = np.array([len(cluster) for cluster in clusters], dtype=np.int64)
    sae.core_size = int((found_in >= claimed).sum())
    return Consensus(sae, found_in, tuple(len(part.b_enc) for part in parts))


def empty_core(b_dec: np.ndarray) -> SAE:
    """A core without features: it rebuilds every row as ``b_dec`` ``(d_in,)``."""
    nothing = np.zeros((0, len(b_dec)))
    return _sae(nothing, nothing, np.zeros(0), np.zeros(0), b_dec)


def join(core: SAE, rest: SAE) -> SAE:
    """One ``jumprelu`` SAE of a fixed core and of the rest that was trained on what the core leaves, core first.

    The decoder bias is the rest's. The core's codes stay what they were (to rounding): its biases take up the change.

    Raises:
        BadInput: the rest's codes depend on each other (``topk``).
    """
    if rest.activation == "topk":
        raise BadInput(
            "a core can be joined with a rest of architecture batchtopk, matryoshka or l1, not topk, whose active "
            "features depend on all others; set sae.architecture, or core.members to 0"
        )
    b_dec = _numpy(rest.b_dec)
    shifted = _numpy(core.b_enc) + (b_dec - _numpy(core.b_dec)) @ _numpy(core.W_enc)
    parts = [
        np.concatenate(pair)
        for pair in (
            (_numpy(core.W_enc).T, _numpy(rest.W_enc).T),
            (_numpy(core.W_dec), _numpy(rest.W_dec)),
            (shifted, _numpy(rest.b_enc)),
            (_threshold(core), _threshold(rest)),
        )
    ]
    W_enc, W_dec, b_enc, threshold = parts
    joined = _sae(W_enc, W_dec, b_enc, threshold, b_dec)
    joined.settings, joined.core_size = rest.settings, core.core_size
    return joined


def _comparable(sae: SAE, x: np.ndarray, b_dec: np.ndarray, held: float = HELD) -> _Member:
    codes = encode_rows(sae, x, memory=held / 2**30)
    live = np.flatnonzero(firings(codes) >= FIRES)
    W_enc = _numpy(sae.W_enc).T[live]
    return _Member(
        directions=unit_rows(_numpy(sae.W_dec)[live]).astype(np.float32),
        activations=UnitColumns.of(codes, columns=live, held=held),
        W_enc=W_enc,
        b_enc=_numpy(sae.b_enc)[live] + W_enc @ (b_dec - _numpy(sae.b_dec)),
        threshold=_threshold(sae)[live],
    )


def _partners(
    first: _Member, second: _Member, similarity: float
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """For each feature of either: its partner in the other, or -1, and their score."""
    here, there = (np.full(len(part.b_enc), -1) for part in (first, second))
    of_here, of_there = np.zeros(len(here)), np.zeros(len(there))
    if len(here) and len(there):
        score = first.directions @ second.directions.T
        np.minimum(score, first.activations.correlations(second.activations), out=score)
        best, back = score.argmax(axis=1), score.argmax(axis=0)
        rows = np.flatnonzero(back[best] == np.arange(len(best)))
        rows = rows[score[rows, best[rows]] >= similarity]
        here[rows], there[best[rows]] = best[rows], rows
        of_here[rows] = of_there[best[rows]] = score[rows, best[rows]]
    return (here, of_here), (there, of_there)


def _stars(
    sizes: list[int], partner: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]], needed: int
) -> list[dict[int, int]]:
    """Clusters, member -> feature, of at least ``needed`` features; those of the most partners are gathered first."""
    centres: list[tuple[int, float, int, int]] = []
    for i, size in enumerate(sizes):
        others = [partner[i, j] for j in range(len(sizes)) if j != i]
        count = np.sum([theirs >= 0 for theirs, _ in others], axis=0)
        total = np.sum(
            np.sort([score for _, score in others], axis=0), axis=0
        )  # in one order for any order of members
        centres += [
            (int(count[f]), float(total[f]), i, int(f)) for f in range(size) if count[f] + 1 >= needed
        ]
    centres.sort(key=lambda one: (-one[0], -one[1], one[2], one[3]))
    used: list[set[int]] = [set() for _ in sizes]
    clusters = []
    for *_, i, f in centres:
        if f in used[i]:
            continue
        cluster = {i: f}
        for j in range(len(sizes)):
            other = int(partner[i, j][0][f]) if j != i else -1
            if other >= 0 and other not in used[j]:
                cluster[j] = other
        if len(cluster) >= needed:
            clusters.append(cluster)
            for j, other in cluster.items():
                used[j].add(other)
    return clusters


def _atoms(parts: list[_Member], clusters: list[dict[int, int]], b_dec: np.ndarray) -> SAE:
    if not clusters:
        return empty_core(b_dec)

    def mean(of: Callable[[_Member], np.ndarray]) -> np.ndarray:
        arrays = [of(part).astype(np.float64) for part in parts]
        return np.array([np.mean([arrays[j][f] for j, f in cluster.items()], axis=0) for cluster in clusters])

    return _sae(
        mean(lambda part: part.W_enc),
        unit_rows(mean(lambda part: part.directions)),
        mean(lambda part: part.b_enc),
        mean(lambda part: part.threshold),
        b_dec,
    )


def _sae(
    W_enc: np.ndarray, W_dec: np.ndarray, b_enc: np.ndarray, threshold: np.ndarray, b_dec: np.ndarray
) -> SAE:
    """A ``jumprelu`` SAE; ``W_enc`` one row a feature."""

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

    return SAE(
        tensor(W_enc.T),
        tensor(W_dec),
        tensor(b_enc),
        tensor(b_dec),
        activation="jumprelu",
        threshold=tensor(threshold),
    )


def _threshold(sae: SAE) -> np.ndarray:
    return np.zeros(sae.d_sae) if sae.threshold is None else _numpy(sae.threshold)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)
