"""A small study whose causes are known: planted emotion directions, and decoys that fire with them."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.rows import Rows

THREE = ("joy", "fear", "calm")
SPLITS = ("train", "train", "val", "test", "test", "held_out", "held_out")


@dataclass(frozen=True)
class Planted:
    """Everything a proof stage takes, and the truth."""

    coded: Coded
    table: pl.DataFrame
    families: Families
    causal: np.ndarray
    """features whose decoder row holds their emotion"""
    decoys: np.ndarray
    """features that fire for their emotion and whose decoder row is orthogonal to every emotion"""

    @property
    def rows(self) -> Rows:
        return self.coded.rows

    @property
    def codes(self) -> np.ndarray:
        return self.coded.codes

    @property
    def x(self) -> np.ndarray:
        return self.coded.x

    def split_as(self, split: np.ndarray | str) -> "Planted":
        """The same study with other splits."""
        rows = replace(self.rows, split=np.broadcast_to(split, self.rows.split.shape))
        return replace(self, coded=replace(self.coded, rows=rows))


def make_planted(
    seed: int = 0, *, d_in: int = 48, d_sae: int = 260, each: int = 6, null: bool = False
) -> Planted:
    """``each`` causal features and ``each`` decoys per emotion; all of them are taken for emotion features.

    With ``null`` no feature knows the emotion and no embedding holds it, though the table says otherwise.
    """
    rng = np.random.default_rng(seed)
    c = len(THREE)
    emotion_directions = np.linalg.qr(rng.normal(size=(d_in, c)))[0].T
    W = rng.normal(size=(d_sae, d_in))
    labels, groups, splits = [], [], []
    for g in range(21 * (c + 1)):
        emotion = g % (c + 1) - 1
        n = int(rng.integers(4, 9))
        labels += [emotion] * n
        groups += [g] * n
        splits += [SPLITS[(g // (c + 1)) % len(SPLITS)]] * n
    labels, groups, splits = np.array(labels), np.array(groups), np.array(splits)
    codes = np.where(rng.random((len(labels), d_sae)) < 0.08, rng.uniform(0.3, 1, (len(labels), d_sae)), 0)
    causal, decoys, chosen = [], [], np.full(d_sae, -1)
    for e in range(c):
        holding = np.arange(e * 2 * each, e * 2 * each + each)
        decoy = holding + each
        chosen[holding], chosen[decoy] = e, e
        rate = 0.1 if null else np.where(labels == e, 0.3, 0.02)
        for f in np.concatenate([holding, decoy]):
            codes[:, f] = np.where(rng.random(len(labels)) < rate, 0.8, 0)
        if not null:
            W[holding] = emotion_directions[e] + 0.15 * rng.normal(size=(each, d_in)) / np.sqrt(d_in)
        W[decoy] -= W[decoy] @ emotion_directions.T @ emotion_directions
        causal += holding.tolist()
        decoys += decoy.tolist()
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    codes = (codes * rng.uniform(0.8, 1.2, codes.shape)).astype(np.float32)
    held = codes.copy()
    held[:, decoys] = 0  # a decoy fires with the emotion, but nothing of it is in the embedding
    x = held @ W + 0.1 * rng.normal(size=(len(labels), d_in)) + 2 * rng.normal(size=d_in)
    if not null:
        x[labels >= 0] += 0.5 * emotion_directions[labels[labels >= 0]]
    names = [THREE[e] if e >= 0 else THREE[f % c] for f, e in enumerate(chosen)]
    table = pl.DataFrame(
        {
            "feature": np.arange(d_sae),
            "emotion": names,
            "core": np.ones(d_sae, dtype=bool),
            "tested": chosen >= 0,
            "emotion_feature": chosen >= 0,
        }
    )
    families = Families(
        families=tuple(
            Family(
                emotion=name,
                features=tuple(np.flatnonzero(chosen == e)[:each].tolist()),
                weights=(1 / each,) * each,
            )
            for e, name in enumerate(THREE)
        )
    )
    rows = Rows.of(labels, emotions=THREE, group=groups, split=splits)
    coded = Coded(rows, x.astype(np.float32), codes, W.astype(np.float32))
    return Planted(coded, table, families, np.array(causal), np.array(decoys))
