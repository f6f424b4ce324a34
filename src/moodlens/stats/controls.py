"""What an emotion feature must beat: features that fire as often and as strongly, random families and directions."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.contrast import unit_rows

if TYPE_CHECKING:
    import polars as pl


def allowed_controls(table: "pl.DataFrame", emotion: str) -> np.ndarray:
    """Features that may stand in as controls of ``emotion``.

    Of an SAE with a core these are the rest, which no label had a part in choosing; what stands at the core's edge is as
    real as the core, and no control. Where every feature may be claimed,
    they are all but those that train + val chose for the emotion: one that was tested for it and missed the bar on test
    is no random feature. That choice knows nothing of the rows and readouts that judge.

    Args:
        table: features.parquet; reads ``emotion``, ``core``, ``edge``, ``tested``, ``emotion_feature``.
        emotion: its name.

    Returns:
        ``(d_sae,)`` bool.
    """
    core = table["core"].to_numpy().astype(bool)
    if not core.all():
        return ~core & ~table["edge"].to_numpy().astype(bool)
    chosen = table["tested"].to_numpy().astype(bool) | table["emotion_feature"].to_numpy().astype(bool)
    return ~(chosen & (table["emotion"].to_numpy() == emotion))


def like_sizes(size: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Sizes of another dictionary's features with the spread and centre that ``like`` has, both in logarithms.

    What a feature's activation is worth differs between dictionaries; its place among the others does not.

    Args:
        size: ``(u,)`` mean activations; 0 for features that never fire, and left so.
        like: ``(d,)`` those to be matched with.
    """
    out, live, known = np.zeros(len(size)), size > 0, np.log(like[like > 0])
    logs = np.log(size[live])
    if len(known) and len(logs):
        spread = logs.std()
        out[live] = np.exp(
            known.mean() + (logs - logs.mean()) * (known.std() / spread if spread > 0 else 1.0)
        )
    return out


def matched_features(
    density: np.ndarray, size: np.ndarray, wanted: np.ndarray, allowed: np.ndarray, n: int
) -> np.ndarray:
    """The ``n`` allowed features nearest to each wanted one in log density and log mean activation.

    Both logs are divided by their standard deviation over the allowed features. A feature is never its own control.

    Args:
        density: ``(d_sae,)`` share of rows; features that never fire are not used.
        size: ``(d_sae,)`` mean activation where it fires.
        wanted: ``(m,)`` int.
        allowed: ``(d_sae,)`` bool.
        n: controls for each; all that there are if fewer.

    Returns:
        ``(m, min(n, available))`` int, nearest first.
    """
    pool, place = _places(density, size, allowed)
    available = len(pool) - int(np.isin(wanted, pool).any())
    n = max(min(n, available), 0)
    out = np.zeros((len(wanted), n), dtype=np.int64)
    for i, feature in enumerate(wanted):
        out[i] = _nearest(place, pool[pool != feature], feature, n)
    return out


def draw_matched(
    density: np.ndarray,
    size: np.ndarray,
    wanted: np.ndarray,
    allowed: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    nearest: int = 5,
) -> np.ndarray:
    """Draw ``n`` different allowed features that fire about as often and as strongly as the wanted ones.

    The wanted are taken in turn, and for each draw one of the ``nearest`` controls (of :func:`matched_features`)
    that have not been drawn yet.

    Args:
        density, size, wanted, allowed: as of :func:`matched_features`; none of the wanted is drawn.
        n: features.
        rng: of the draws.
        nearest: controls that each is drawn from.

    Returns:
        ``(n,)`` int.

    Raises:
        BadInput: fewer than ``n`` features are left.
    """
    pool, place = _places(density, size, allowed)
    pool = np.setdiff1d(pool, wanted)
    if len(pool) < n:
        raise BadInput(
            f"matched random features: {len(pool)} live features are no emotion's, {n} are asked for; ask for fewer"
        )
    drawn: list[int] = []
    for i in range(n):
        near = _nearest(place, np.setdiff1d(pool, drawn), wanted[i % len(wanted)], nearest)
        drawn.append(int(rng.choice(near)))
    return np.array(drawn, dtype=np.int64)


def _places(density: np.ndarray, size: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Live allowed features, and every feature's log density and log size in units of their spread: (2, d_sae)."""
    pool = np.flatnonzero(allowed & (density > 0) & (size > 0))
    tiny = np.finfo(np.float64).tiny
    place = np.log(np.maximum(np.stack([density, size]).astype(np.float64), tiny))
    spread = place[:, pool].std(axis=1) if len(pool) else np.ones(2)
    return pool, place / np.where(spread > 0, spread, 1.0)[:, None]


def _nearest(place: np.ndarray, pool: np.ndarray, feature: int, n: int) -> np.ndarray:
    """The ``n`` features of ``pool`` that are nearest to ``feature``, nearest first."""
    far = np.abs(place[:, pool] - place[:, feature, None]).max(axis=0)
    return pool[np.argsort(far, kind="stable")[:n]]


def random_families(controls: np.ndarray, n: int, rng: np.random.Generator, nearest: int = 50) -> np.ndarray:
    """``n`` families in which every member is replaced by one of its ``nearest`` controls.

    No feature stands in twice in a family, unless there are too few live features to avoid it.

    Args:
        controls: ``(j, c)`` int, the controls of each of j members, nearest first.
        n: families.
        rng: of the draws.
        nearest: controls of a member that are drawn from; more where members share too few.

    Returns:
        ``(n, j)`` int.
    """
    j, c = controls.shape
    pool = controls[:, : min(max(nearest, 5 * j), c)]
    member = np.arange(j)
    out = pool[member, rng.integers(pool.shape[1], size=(n, j))]
    for _ in range(50):
        ordered = np.sort(out, axis=1)
        twice = np.flatnonzero((np.diff(ordered, axis=1) == 0).any(axis=1))
        if not len(twice):
            break
        out[twice] = pool[member, rng.integers(pool.shape[1], size=(len(twice), j))]
    return out


def random_directions(n: int, d_in: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` directions drawn uniformly from the unit sphere, ``(n, d_in)`` float32."""
    return unit_rows(rng.standard_normal((n, d_in))).astype(np.float32)
