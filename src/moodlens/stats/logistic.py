"""Multinomial logistic regression for many labellings of the same rows at once.

The shuffled-label control fits one probe per shuffle. scikit-learn fits them one after the other; here all
share one factorised curvature bound (Bohning 1992), so that a step of every fit is two matrix products.
The minimum is scikit-learn's: sum of log losses + |W|^2 / (2 C), intercept unpenalised.
"""

import numpy as np


def fit_many(
    x: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    c: float = 1.0,
    weights: np.ndarray | None = None,
    max_iter: int = 200,
    tol: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit one probe per row of ``labels``.

    Args:
        x: ``(n, d)``.
        labels: ``(m, n)`` int in 0..n_classes - 1.
        n_classes: K.
        c: inverse L2 strength, as in scikit-learn.
        weights: ``(n,)`` of the rows' log losses; None: 1 each.
        max_iter: steps at most.
        tol: stop when no logit of a row moves by more than this in a step.

    Returns:
        weights ``(m, K, d)`` and bias ``(m, K)``, float32.
    """
    n, d = x.shape
    m = len(labels)
    centre = x.mean(axis=0)
    rows = np.concatenate([x - centre, np.ones((n, 1))], axis=1).astype(np.float32)
    weighed = rows if weights is None else rows * np.asarray(weights, dtype=np.float32)[:, None]
    # The log loss curves by at most (I - 11'/K) / 2 <= I / 2 whatever the weights.
    curvature = (rows.T @ weighed).astype(np.float64) / 2
    penalty = np.full(d + 1, 1.0 / c)
    penalty[-1] = 0.0
    curvature[np.diag_indices(d + 1)] += penalty
    inverse = np.linalg.inv(curvature).astype(np.float32)
    penalty = penalty.astype(np.float32)[:, None]
    target = np.zeros((n, m, n_classes), dtype=np.float32)
    np.put_along_axis(target, np.asarray(labels).T[:, :, None], 1.0, axis=2)
    w = np.zeros((d + 1, m * n_classes), dtype=np.float32)
    ahead, momentum = w, 1.0
    logits_before = np.full((n, m * n_classes), np.inf, dtype=np.float32)
    for _ in range(max_iter):
        logits = rows @ ahead
        p = logits.reshape(n, m, n_classes)
        p = np.exp(p - p.max(axis=2, keepdims=True))
        p /= p.sum(axis=2, keepdims=True)
        gradient = weighed.T @ (p - target).reshape(n, -1) + penalty * ahead
        step = ahead - inverse @ gradient
        # Nesterov's momentum, dropped whenever it points uphill (O'Donoghue & Candes 2015).
        if float(np.sum(gradient * (step - w))) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = step + ((momentum - 1) / following) * (step - w)
        w, momentum = step, following
        moved = float(np.abs(logits - logits_before).max())
        logits_before = logits
        if moved < tol:
            break
    fitted = w[:-1].T.reshape(m, n_classes, d)
    return fitted, w[-1].reshape(m, n_classes) - fitted @ centre.astype(np.float32)


def log_odds(logits: np.ndarray, target: int) -> np.ndarray:
    """Log-odds of class ``target`` against all others together, from multinomial logits ``(..., K)`` -> ``(...)``."""
    # Class by class: numpy is slow at reducing over a last axis of a handful.
    rest = [logits[..., c] for c in range(logits.shape[-1]) if c != target]
    top = rest[0]
    for other in rest[1:]:
        top = np.maximum(top, other)
    total = np.exp(rest[0] - top)
    for other in rest[1:]:
        total += np.exp(other - top)
    return logits[..., target] - top - np.log(total)


def live_scale(std: np.ndarray) -> np.ndarray:
    """Standard deviations ``(d_in,)`` to divide by, 1 where a dimension holds nothing but rounding (1e-33 in MiniLM)."""
    return np.where(std > 1e-6 * std.max(), std, 1.0)


def group_weights(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Weights ``(n,)`` under which every group counts alike, and every label; they add up to n.

    A word that stands in twenty texts is one observation, as it is in every p-value.
    """
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1.0 / size[group]
    _, label = np.unique(labels, return_inverse=True)
    totals = np.bincount(label, weights)
    return weights * len(labels) / (len(totals) * totals[label])


STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0)


def choose_strength(
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    strengths: tuple[float, ...] = STRENGTHS,
    default: float = 10.0,
) -> float:
    """The L2 strength with the least log loss on groups that were left out, three folds; every group counts alike.

    With hundreds of dimensions and few groups, a weakly regularised probe fits the words of its groups, and its
    weights are mostly noise.

    Args:
        x: ``(n, d)`` standardised rows.
        labels: ``(n,)`` int, any values.
        groups: ``(n,)``; a group is never in two folds.
        seed: of the folds.
        strengths: to choose from.
        default: where the groups allow no folds that hold every class.

    Returns:
        The penalty ``|W|^2 * strength / 2`` (scikit-learn's 1 / C).
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _, labels = np.unique(labels, return_inverse=True)
    n_classes = int(labels.max()) + 1
    if len(np.unique(groups)) < 3 or np.bincount(labels).min() < 3:
        return default
    folds = list(StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(x, labels, groups))
    if any(len(np.unique(labels[fit])) < n_classes for fit, _ in folds):
        return default
    losses = []
    for strength in strengths:
        loss = 0.0
        for fit, left_out in folds:
            fitted, bias = fit_many(
                x[fit],
                labels[None, fit],
                n_classes,
                c=1 / strength,
                weights=group_weights(labels[fit], groups[fit]),
                max_iter=60,
                tol=0.02,
            )
            logits = x[left_out] @ fitted[0].T + bias[0]
            top = logits.max(axis=1)
            total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
            lost = total - logits[np.arange(len(logits)), labels[left_out]]
            loss += float(lost @ group_weights(labels[left_out], groups[left_out]))
        losses.append(loss)
    return strengths[int(np.argmin(losses))]
