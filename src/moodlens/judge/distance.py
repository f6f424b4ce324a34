"""How far steering goes from where it began: what it leaves of a prompt, and the distance between two sets of clips.

Not the Fréchet distance: with 50 samples of one and the same 512-d Gaussian it says 780. The unbiased maximum mean
discrepancy is 0 on average at any sample size (Gretton et al. 2012, JMLR 13, lemma 6; used for audio as KAD,
arXiv:2502.15602).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.judge.clap import Clap
from moodlens.judge.clips import Clip, Values
from moodlens.stats.pvalues import upper_p


class PreservationScore:
    """How much of the prompt and of the unsteered clip is left, by CLAP.

    Columns: ``adherence``, cosine of the clip with the text of its neutral prompt; ``kept``, cosine with the unsteered
    clip of the same prompt and seed (1 for that clip itself); ``clap_embedding``, for distances between sets of
    clips. Null where prompt or clip is unknown. Two seeds of one prompt, unsteered, say how much ``kept`` falls by
    chance alone: streams that share a seed diverge at their first differing token.

    Args:
        clap: a checkpoint that passed its check.
    """

    def __init__(self, clap: Clap) -> None:
        self.clap = clap
        self.cache_key = clap.fingerprint

    def __call__(self, clip: Clip) -> Values:
        """Score one clip."""
        heard = self.clap.clip(clip)
        adherence = kept = None
        if clip.prompt is not None:
            adherence = float(self.clap.texts([clip.prompt])[0] @ heard)
        if clip.reference is not None:
            kept = float(self.clap.clip(clip.reference) @ heard)
        return {"adherence": adherence, "kept": kept, "clap_embedding": heard.tolist()}


def embedding_preservation(
    x: np.ndarray,
    vector: np.ndarray,
    amount: float,
    factors: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """What a step leaves of pooled prompt embeddings, before any sound is made.

    Args:
        x: ``(n, d_in)`` raw embeddings of prompts, two or more.
        vector: ``(d_in,)`` unit direction.
        amount: length of the step.
        factors: name -> ``(n,)`` classes of the prompts that steering should not touch (instrument, genre); rows
            that are null or empty take no part.

    Returns:
        ``cosine``: mean cosine of a steered with its own unsteered embedding; ``retrieved``: share whose nearest
        unsteered embedding is still its own; ``factor_<name>``: share whose nearest class mean of the factor stays
        the class it was before (NaN with fewer than two classes).

    Raises:
        BadInput: shapes do not fit.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or np.shape(vector) != x.shape[1:]:
        raise BadInput(f"embedding_preservation: embeddings {x.shape} and a direction {np.shape(vector)}")
    moved = x + amount * np.asarray(vector, dtype=np.float64)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(moved, axis=1)
    out = {
        "cosine": float(np.mean((x * moved).sum(axis=1) / norms.clip(1e-12))),
        "retrieved": float(np.mean(_nearest(moved, x) == np.arange(len(x)))),
    }
    for name, classes in (factors or {}).items():
        classes = np.array(["" if value is None else str(value) for value in classes])
        if classes.shape != (len(x),):
            raise BadInput(
                f"embedding_preservation: factor {name}: {classes.shape} classes for {len(x)} rows"
            )
        known = classes != ""
        unique = np.unique(classes[known])
        if len(unique) < 2:
            out[f"factor_{name}"] = float("nan")
            continue
        means = np.stack([x[classes == value].mean(axis=0) for value in unique])
        same = _nearest(x[known], means) == _nearest(moved[known], means)
        out[f"factor_{name}"] = float(same.mean())
    return out


def _nearest(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    distance = np.square(targets).sum(axis=1)[None] - 2 * rows @ targets.T
    return distance.argmin(axis=1)


# -- two sets of embeddings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distance:
    """Result of :func:`mmd_test`.

    Attributes:
        mmd2: unbiased squared MMD; below 0 is as good as 0.
        p: share of permutations with a distance at least as large, ``(b + 1) / (n + 1)``.
        null_p95: 95th percentile under permutation.
        n_x: rows of x.
        n_y: rows of y.
        paired: whether rows were exchanged within pairs.
    """

    mmd2: float
    p: float
    null_p95: float
    n_x: int
    n_y: int
    paired: bool


def median_bandwidth(rows: np.ndarray) -> float:
    """Median distance between different rows, the usual width of the Gaussian kernel; 1 if all are equal."""
    upper = np.sqrt(_squares(rows)[np.triu_indices(len(rows), 1)])
    median = float(np.median(upper)) if len(upper) else 0.0
    return median if median > 0 else 1.0


def mmd_test(
    x: np.ndarray,
    y: np.ndarray,
    *,
    paired: bool = False,
    bandwidth: float | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> Distance:
    """Unbiased squared MMD with a Gaussian kernel, and its permutation p.

    Args:
        x: ``(n, d)``.
        y: ``(m, d)``.
        paired: row i of both belongs to one prompt and seed. Then m = n, rows are exchanged within pairs alone (two
            clips of one prompt are alike whatever was done to them), and a pair's own two rows are not compared
            (the U-statistic of Gretton et al., eq. 5).
        bandwidth: of the kernel; None: median distance over x and y together, which exchanges do not change.
        n_permutations: n; the least p is ``1 / (n + 1)``, or ``2 / 2**n_pairs`` with few pairs.
        seed: of the permutations.

    Raises:
        BadInput: fewer than two rows, widths that differ, or pairs of unequal number.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise BadInput(f"mmd: need two sets of two rows or more, equally wide; got {x.shape} and {y.shape}")
    if paired and len(x) != len(y):
        raise BadInput(f"mmd: {len(x)} and {len(y)} rows are no pairs")
    both = np.concatenate([x, y])
    width = median_bandwidth(both) if bandwidth is None else bandwidth
    kernel = np.exp(-_squares(both) / (2 * width**2))
    np.fill_diagonal(kernel, 0)  # no row is compared with itself
    n, m = len(x), len(y)
    if paired:
        i = np.arange(n)
        kernel[i, i + n] = kernel[i + n, i] = 0
    rng = np.random.default_rng(seed)
    side = np.concatenate([np.ones(n), -np.ones(m)])
    null = np.empty(n_permutations)
    observed = _mmd2(kernel, side, paired)
    for k in range(n_permutations):
        if paired:
            flip = rng.choice((-1.0, 1.0), size=n)
            null[k] = _mmd2(kernel, side * np.concatenate([flip, flip]), paired)
        else:
            null[k] = _mmd2(kernel, rng.permutation(side), paired)
    # The kernel's values are at most 1, and those are what rounding is a share of.
    p = float(upper_p(observed, null, scale=1.0))
    return Distance(observed, p, float(np.quantile(null, 0.95)), n, m, paired)


def _mmd2(kernel: np.ndarray, side: np.ndarray, paired: bool) -> float:
    is_x, is_y = (side > 0).astype(float), (side < 0).astype(float)
    n, m = is_x.sum(), is_y.sum()
    across = n * (n - 1) if paired else n * m
    return float(
        is_x @ kernel @ is_x / (n * (n - 1))
        + is_y @ kernel @ is_y / (m * (m - 1))
        - 2 * (is_x @ kernel @ is_y) / across
    )


def _squares(rows: np.ndarray) -> np.ndarray:
    size = np.square(rows).sum(axis=1)
    return np.clip(size[:, None] + size[None] - 2 * rows @ rows.T, 0, None)
