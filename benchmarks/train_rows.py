"""Rows for timing and for time to quality."""

from pathlib import Path

import numpy as np


def rows_like_embeddings(n: int, d_in: int, *, seed: int = 0) -> np.ndarray:
    """``(n, d_in)`` float32 with a mean far from 0 and a spectrum that falls like that of sentence embeddings."""
    rng = np.random.default_rng(seed)
    scale = (1 / np.sqrt(1 + np.arange(d_in))).astype(np.float32)
    basis, _ = np.linalg.qr(rng.standard_normal((d_in, d_in), dtype=np.float32))
    mean = rng.standard_normal(d_in, dtype=np.float32)
    x = np.empty((n, d_in), dtype=np.float32)
    for start in range(0, n, 8192):
        rows = rng.standard_normal((min(8192, n - start), d_in), dtype=np.float32)
        x[start : start + len(rows)] = mean + (rows * scale) @ basis
    return x


def caption_sentences(path: Path) -> np.ndarray:
    """MiniLM embeddings of the sentences of a CSV's column ``caption``, ``(n, 384)``."""
    import polars as pl

    from moodlens.embed import get_encoder
    from moodlens.embed.segments import segments

    captions = pl.read_csv(path)["caption"].to_list()
    sentences = list(dict.fromkeys(s for caption in captions for s in segments(caption)))
    return get_encoder("minilm").encode(sentences)
