"""How well an SAE reconstructs, and what trivial methods reach."""

import numpy as np

from moodlens.core import BadInput
from moodlens.sae.model import SAE, decode_rows, encode_rows
from moodlens.stats.moments import mean_row, scatter, wide_blocks


def explained_variance(x: np.ndarray, x_hat: np.ndarray, train_mean: np.ndarray) -> float:
    """``1 - sum |x - x_hat|^2 / sum |x - train_mean|^2`` over all rows and columns.

    About the *train* mean, so that predicting it scores exactly 0; sums before the ratio, so that no row or column
    weighs more than its variance.
    """
    x = np.asarray(x, dtype=np.float64)
    return float(
        1 - np.square(x - x_hat).sum() / np.square(x - np.asarray(train_mean, dtype=np.float64)).sum()
    )


def reconstruction_metrics(
    sae: SAE, x: np.ndarray, train_mean: np.ndarray, *, chunk: int = 2048
) -> dict[str, float]:
    """Metrics of ``sae`` on raw embeddings ``x`` ``(n, d_in)``, in raw units.

    Returns:
        ``mse`` per element; ``explained_variance`` about ``train_mean`` ``(d_in,)``; ``l0``, active features a row;
        ``active_share``, l0 / d_sae; ``dead_share``, features that fire on none of these rows; ``dense_share``,
        features that fire on more than half of them; ``mean_norm_ratio``, mean |x_hat - mean| / |x - mean|, below 1
        where codes are shrunk.

    Raises:
        BadInput: wrong width, no rows, or rows that are not finite.
    """
    if x.ndim != 2 or len(x) == 0:
        raise BadInput(f"no rows to measure: embeddings have shape {x.shape}")
    mean = np.asarray(train_mean, dtype=np.float64)
    error = variance = ratio = 0.0
    fires = np.zeros(sae.d_sae, dtype=np.int64)
    for start in range(0, len(x), chunk):
        block = np.asarray(x[start : start + chunk], dtype=np.float64)
        codes = encode_rows(sae, x[start : start + chunk])
        x_hat = decode_rows(sae, codes).astype(np.float64)
        error += float(np.square(block - x_hat).sum())
        centred = np.linalg.norm(block - mean, axis=1)
        variance += float(np.square(centred).sum())
        ratio += float((np.linalg.norm(x_hat - mean, axis=1) / np.maximum(centred, 1e-12)).sum())
        fires += (codes > 0).sum(0)
    n = len(x)
    return {
        "mse": error / x.size,
        "explained_variance": 1 - error / variance if variance > 0 else float("nan"),
        "l0": float(fires.sum() / n),
        "active_share": float(fires.sum() / n / max(sae.d_sae, 1)),  # a core may be without features
        "dead_share": float((fires == 0).sum() / max(sae.d_sae, 1)),
        "dense_share": float((fires > n / 2).sum() / max(sae.d_sae, 1)),
        "mean_norm_ratio": ratio / n,
    }


def baseline_metrics(
    x_train: np.ndarray, x_eval: np.ndarray, n_components: int
) -> dict[str, dict[str, float]]:
    """What needs no SAE: predicting the train mean, and PCA of the training rows with as many components as L0.

    Returns:
        ``{"mean": {mse, explained_variance}, "pca": {mse, explained_variance, n_components}}``; fewer components
        are used where the training rows span fewer.
    """
    if x_train.ndim != 2 or x_eval.ndim != 2 or x_train.shape[1] != x_eval.shape[1]:
        raise BadInput(
            f"x_train {x_train.shape} and x_eval {x_eval.shape} must be matrices of the same width"
        )
    mean, (n_rows, d_in) = mean_row(x_train), x_train.shape
    n = min(n_components, d_in, n_rows - 1)
    # Eigenvectors of the smaller of the two Gram matrices give the same components.
    if n_rows <= d_in:
        centred = x_train - mean
        _, vectors = np.linalg.eigh(centred @ centred.T)
        basis = centred.T @ vectors[:, ::-1][:, :n]
        basis /= np.maximum(np.linalg.norm(basis, axis=0), 1e-300)
    else:
        _, vectors = np.linalg.eigh(scatter(x_train, mean))
        basis = vectors[:, ::-1][:, :n]
    variance, left = 0.0, 0.0
    for _, block in wide_blocks(x_eval):
        centred = block - mean
        variance += float(np.square(centred).sum())
        left += float(np.square(centred - centred @ basis @ basis.T).sum())

    def measured(error: float) -> dict[str, float]:
        # Of rows that lie at the mean there is no variance to explain.
        explained = 1 - error / variance if variance > 0 else float("nan")
        return {"mse": error / x_eval.size, "explained_variance": explained}

    return {"mean": measured(variance), "pca": measured(left) | {"n_components": n}}
