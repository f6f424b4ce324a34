"""A small made-up study: each text's embedding says what it is about, and features fire for a concept or for nothing."""

import numpy as np
import polars as pl

from moodlens.study.coded import Coded
from moodlens.study.rows import Rows

EMOTIONS = ("happy", "sad")
_SOUNDS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r")
CONCEPTS = {
    "happy": (
        "play",
        "feast",
        "sun",
        "hope",
        "leisure",
        "pride",
        *(f"{a}o" for a in _SOUNDS),
        *(f"{a}u" for a in _SOUNDS),
    ),
    "sad": (
        "grief",
        "rain",
        "parting",
        "despair",
        "tears",
        "regret",
        *(f"{a}a" for a in _SOUNDS),
        *(f"{a}i" for a in _SOUNDS),
    ),
}
"""Many, as features have many meanings: a name that half of all features could have says nothing."""
GENRES = ("jazz", "folk", "techno", "samba")
FEATURES = (*CONCEPTS["happy"][:6], *CONCEPTS["sad"][:6], "happy", "samba", "chance", "silent")
"""What the first features fire for."""
PLANTED = range(12)
"""Those that fire for a concept."""
D_IN = 96


def rows_of(frame):
    """The rows of a prompt table."""
    return Rows.from_frame(frame, EMOTIONS)


def word_of(concept: str, g: int) -> str:
    """The word of a group, such as bagrief: no two groups share one, and their letters say nothing to the code."""
    return f"{'bcdfghjklmnpqrstvwxz'[g % 20]}{'aeiou'[g // 20]}{concept}k"


def study(seed: int = 0, n_groups: int = 8, copies: int = 200):
    """Prompts, what was coded, and a table. Features fire for :data:`FEATURES`, and ``copies`` others for groups at
    random; the former are the emotion features, but for the silent one."""
    rng = np.random.default_rng(seed)
    meaning = {
        name: rng.standard_normal(D_IN)
        for name in (*EMOTIONS, *GENRES, *CONCEPTS["happy"], *CONCEPTS["sad"], "chance", "silent")
    }
    records, x = [], []
    for emotion, concepts in CONCEPTS.items():
        for concept in concepts:
            for g in range(n_groups):
                own = 0.4 * rng.standard_normal(D_IN)
                split = ("train", "train", "val", "test")[g % 4]
                for i in range(8):
                    genre = GENRES[int(rng.integers(4))]
                    text = f"a {genre} piece about the {word_of(concept, g)}, number {i}"
                    group = f"{emotion}/{concept}/{g}"
                    records.append((text, emotion, concept, split, group, genre))
                    x.append(
                        meaning[emotion]
                        + meaning[concept]
                        + own
                        + meaning[genre]
                        + 0.3 * rng.standard_normal(D_IN)
                    )
    for i in range(80):
        genre = GENRES[i % 4]
        split = ("train", "train", "val", "test")[i // 4 % 4]
        records.append((f"a plain {genre} piece number {i}", None, None, split, f"neutral/{i // 4}", genre))
        x.append(meaning[genre] + 0.3 * rng.standard_normal(D_IN))
    frame = pl.DataFrame(
        records,
        schema=dict.fromkeys(("text", "emotion", "concept", "split", "group", "genre"), pl.String),
        orient="row",
    ).with_columns(
        kind=pl.when(pl.col("emotion").is_null()).then(pl.lit("neutral")).otherwise(pl.lit("plain")),
        instrument=pl.lit(None, pl.String),
    )
    embeddings = np.array(x, dtype=np.float32)
    names, group = np.unique(frame["group"].to_numpy().astype(str), return_inverse=True)
    columns, leans = [], []
    for name in FEATURES:
        along = embeddings @ (meaning[name] / np.linalg.norm(meaning[name]))
        fires = np.zeros(len(frame), dtype=bool)
        for column in ("concept", "emotion", "genre"):
            fires |= np.array([value == name for value in frame[column]])
        fires &= rng.random(len(frame)) < 0.9
        fires = rng.random(len(frame)) < 0.15 if name == "chance" else fires
        columns.append(np.where(fires, np.maximum(along, 0.1), 0))
        lean = next((e for e in EMOTIONS if name == e or name in CONCEPTS[e]), "sad")
        leans.append(None if name == "silent" else lean)
    for i in range(copies):
        fires = (rng.random(len(names)) < 0.15)[group] & (rng.random(len(frame)) < 0.9)
        columns.append(np.where(fires, 0.1 + rng.random(len(frame)), 0))
        leans.append(EMOTIONS[i % 2])
    codes = np.stack(columns, axis=1).astype(np.float32)
    d = codes.shape[1]
    table = pl.DataFrame(
        {
            "feature": np.arange(d),
            "emotion": leans,
            "emotion_feature": [f < len(FEATURES) - 1 for f in range(d)],
            "selectivity": [5.0] * d,
            "auroc_dev": np.linspace(0.9, 0.5, d),
        }
    )
    coded = Coded(rows_of(frame), embeddings, codes, np.zeros((d, D_IN), dtype=np.float32))
    return frame, coded, table
