"""A small made-up study: texts of two emotions, features that fire for a word, an emotion, a genre or nothing."""

import numpy as np
import polars as pl

from moodlens.study.rows import Rows

EMOTIONS = ("happy", "sad")
GENRES = ("jazz", "folk", "techno", "samba")


def rows_of(frame):
    """The rows of a prompt table."""
    return Rows.from_frame(frame, EMOTIONS)


def study(seed: int = 0):
    """Prompts, codes (n, 6) and a table. Features: 0 clouds, 1 all happy, 2 samba, 3 chance, 4 one word
    of one group, 5 never."""
    rng = np.random.default_rng(seed)
    rows = []
    for c, emotion in enumerate(EMOTIONS):
        for g in range(40):
            split = ("train", "train", "val", "test")[g % 4]
            # Every third group of an emotion speaks of clouds.
            scene = "a chair" if g % 3 else ("a cloud" if g % 2 else "the clouds")
            for i in range(6):
                genre = GENRES[int(rng.integers(4))]
                text = f"{genre} piece, word{emotion}{g} over {scene} number {i}"
                rows.append(
                    (text, emotion, split, f"{emotion}/{g}", genre, "words" if g % 3 else "scene", c, g)
                )
    frame = pl.DataFrame(
        rows, schema=["text", "emotion", "split", "group", "genre", "style", "c", "g"], orient="row"
    ).with_columns(
        kind=pl.lit("plain"), instrument=pl.lit(None, pl.String), intensity=pl.lit(None, pl.String)
    )
    cloud = frame["text"].str.contains("cloud").to_numpy()
    happy = frame["c"].to_numpy() == 0
    fires = [
        cloud,
        happy,
        (frame["genre"] == "samba").to_numpy(),
        rng.random(len(rows)) < 0.15,
        (frame["group"] == "sad/1").to_numpy(),
        np.zeros(len(rows), bool),
    ]
    codes = np.stack([np.where(f, rng.random(len(rows)) + 0.1, 0) for f in fires], axis=1).astype(np.float32)
    # A little noise in every real feature, so that nothing is perfect.
    noise = rng.random(codes.shape) < 0.02
    noise[:, 5] = False
    codes = np.where(noise, 0.05, codes).astype(np.float32)
    table = pl.DataFrame(
        {
            "feature": np.arange(6),
            "emotion": ["sad", "happy", "happy", "sad", "sad", None],
            "emotion_feature": [True, True, True, True, True, False],
            "selectivity": [5.0, 9.0, 1.0, 1.0, 3.0, 1.0],
            "auroc_dev": [0.9, 0.95, 0.5, 0.5, 0.6, 0.5],
        }
    )
    return frame, codes, table


def wide(frame, codes, table, copies: int = 12, seed: int = 1):
    """The same study with features that fire for random texts or genres: names to compare with."""
    rng = np.random.default_rng(seed)
    n, d = codes.shape
    more = np.where(rng.random((n, copies)) < 0.2, rng.random((n, copies)) + 0.1, 0).astype(np.float32)
    extra = pl.DataFrame(
        {
            "feature": np.arange(d, d + copies),
            "emotion": [EMOTIONS[i % 2] for i in range(copies)],
            "emotion_feature": [False] * copies,
            "selectivity": [1.0] * copies,
            "auroc_dev": [0.5] * copies,
        }
    )
    return frame, np.hstack([codes, more]), pl.concat([table, extra], how="vertical")
