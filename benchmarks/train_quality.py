"""Wall time until the held-out explained variance reaches what HypotheSAEs converges to."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from train_rows import caption_sentences, rows_like_embeddings

CLOSE = 0.002  # explained variances this near count as equal


def quality(d_sae: int, k: int, *, captions: Path | None, peer_epochs: int) -> dict[str, Any]:
    """HypotheSAEs as its ``train_sae`` calls it (patience 3), and moodlens with its defaults, both at this size.

    The peer's time ends with the first epoch whose validation loss is within :data:`CLOSE` of its best one; that of
    moodlens with the first whose held-out explained variance is within :data:`CLOSE` of the peer's final one.
    """
    from moodlens.sae import train
    from moodlens.settings.sae import SAESettings

    x = caption_sentences(captions) if captions is not None else rows_like_embeddings(20_000, 384)
    x = x[np.random.default_rng(0).permutation(len(x))]
    train_rows, val_rows = x[: int(0.9 * len(x))], x[int(0.9 * len(x)) :]
    peer_ev, peer_seconds, peer_epochs_used = _peer(train_rows, val_rows, d_sae, k, peer_epochs)
    target = peer_ev - CLOSE
    # The compiled loops are cached on disk; the first call of a process only loads them.
    train(train_rows[:200], val_rows[:50], SAESettings(d_sae=d_sae, k=k, epochs=1, batch_size=64), seed=0)
    reached: list[float] = []
    began = time.perf_counter()

    def watch(entry: dict[str, Any]) -> None:
        if not reached and entry.val_explained_variance >= target:
            reached.append(time.perf_counter() - began)

    found = train(train_rows, val_rows, SAESettings(d_sae=d_sae, k=k), seed=0, on_epoch=watch)
    seconds = reached[0] if reached else None
    return {
        "part": "quality", "rows": len(train_rows), "d_in": x.shape[1], "d_sae": d_sae, "k": k,
        "target_explained_variance": round(target, 4),
        "hypothesaes_s": round(peer_seconds, 2), "hypothesaes_epochs": peer_epochs_used,
        "moodlens_s": None if seconds is None else round(seconds, 2),
        "moodlens_whole_s": round(time.perf_counter() - began, 2),
        "moodlens_explained_variance": round(max(e.val_explained_variance for e in found.history), 4),
        "ratio": None if seconds is None else round(peer_seconds / seconds, 2),
    }  # fmt: skip


def _peer(
    train_rows: np.ndarray, val_rows: np.ndarray, d_sae: int, k: int, epochs: int
) -> tuple[float, float, int]:
    """``(held-out explained variance, seconds until converged, epochs until converged)`` of HypotheSAEs."""
    import torch
    from hypothesaes.sae import SparseAutoencoder

    torch.manual_seed(0)
    sae = SparseAutoencoder(train_rows.shape[1], d_sae, k, device="cpu")
    x, val = torch.from_numpy(train_rows), torch.from_numpy(val_rows)
    began = time.perf_counter()
    history = sae.fit(x, val, batch_size=512, n_epochs=epochs, patience=3, show_progress=False)
    seconds = time.perf_counter() - began
    losses = np.array(history["val_loss"])
    converged = int(np.argmax(losses <= losses.min() + CLOSE)) + 1
    sae.eval()
    with torch.no_grad():
        reconstruction, _ = sae(val)
    left = (val - reconstruction).double().square().sum() / (val - x.mean(0)).double().square().sum()
    return float(1 - left), seconds * converged / len(losses), converged
