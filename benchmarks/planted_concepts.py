"""Concepts planted inside planted emotions, through the whole pipeline: does it find both, and nothing where nothing is?

Every emotion has one direction that all its words share, and one for each of its concepts; a group (a word) is about one
concept. The core is what eight narrow SAEs agree on, as in a study. Three kinds of nothing stand beside: labels shuffled
over groups, concepts shuffled over the groups of their emotion, and dictionaries that learned nothing.

    python benchmarks/planted_concepts.py --json
"""

import argparse
import json
import time
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.stats import binomtest

from moodlens.features.concepts import concept_features
from moodlens.features.select import select_features
from moodlens.sae import SAE, cores, encode_rows
from moodlens.sae.untrained import KINDS
from moodlens.settings.features import FeatureSettings
from moodlens.settings.sae import CoreSettings
from moodlens.stats.contrast import unit_rows
from moodlens.stats.units import permuted_labels
from moodlens.study.rows import Rows

EMOTIONS = ("happy", "sad", "calm", "energetic")
CONCEPTS = 5
"""Of each emotion."""
D_IN, INSTRUMENTS, PLAYING = 96, 48, 3
"""Instruments in all, and in each text."""
WORDS, TEXTS = 24, 8
"""Groups of each concept; texts of each group."""
NOISE = 0.05
ALONG = 0.8
"""Cosine from which on a feature points along a planted direction."""
CORE = CoreSettings(members=8, d_sae=96, epochs=30)


@dataclass(frozen=True)
class Planted:
    """One made-up set and the truth about it."""

    x: np.ndarray
    rows: Rows
    shared: np.ndarray
    """(C, d_in) what all words of an emotion share."""
    own: np.ndarray
    """(C, CONCEPTS, d_in) what the words of a concept add."""


def make(seed: int) -> Planted:
    """A text is its emotion's direction or its concept's (or both), a few instruments and noise."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((D_IN, D_IN)))[0]
    shared, rest = basis[: len(EMOTIONS)], basis[len(EMOTIONS) :]
    own = rest[: len(EMOTIONS) * CONCEPTS].reshape(len(EMOTIONS), CONCEPTS, D_IN)
    instruments = rest[len(EMOTIONS) * CONCEPTS :][:INSTRUMENTS]
    x, label, concept, group, split = [], [], [], [], []
    for c, emotion in enumerate(EMOTIONS):
        for k in range(CONCEPTS):
            for word in range(WORDS):
                for _ in range(TEXTS):
                    row = NOISE * rng.standard_normal(D_IN)
                    says = rng.integers(3)  # the mood, what it is about, or both
                    row += (says != 1) * rng.uniform(0.7, 1.3) * shared[c]
                    row += (says != 0) * rng.uniform(0.7, 1.3) * own[c, k]
                    played = rng.choice(INSTRUMENTS, PLAYING, replace=False)
                    row += rng.uniform(0.4, 1.0, PLAYING) @ instruments[played]
                    x.append(row)
                    label.append(c)
                    concept.append(f"{emotion} {k}")
                    group.append(f"{emotion} {k} {word}")
                    split.append(("train", "train", "train", "val", "test", "test")[word % 6])
    rows = Rows.of(label, emotions=EMOTIONS, group=group, split=split, concept=concept)
    return Planted(np.array(x, dtype=np.float32), rows, shared, own)


def find_core(planted: Planted, seed: int) -> SAE:
    """What narrow SAEs of other seeds agree on; knows no labels."""
    train, val = (planted.x[planted.rows.split == name] for name in ("train", "val"))
    seeds = {"main": tuple(range(100 * seed, 100 * seed + CORE.members))}
    return cores.find_cores(train, val, seeds, CORE, CORE.d_sae or 0)["main"].sae


def coded(sae: SAE, x: np.ndarray) -> np.ndarray:
    """``(n, core_size)`` activations of the features that may be claimed."""
    return encode_rows(sae, x)[:, : sae.core_size]


def untrained_core(planted: Planted, kind: str, seed: int, active: float) -> SAE:
    """What dictionaries that learned nothing agree on."""
    train = planted.x[planted.rows.split == "train"]
    seeds = list(range(100 * seed, 100 * seed + CORE.members))
    return cores.untrained_core(kind, train, seeds, CORE, d_sae=CORE.d_sae or 0, active=active)  # type: ignore[arg-type]


def claims(planted: Planted, codes: np.ndarray, settings: FeatureSettings, seed: int) -> pl.DataFrame:
    """Claimed features, with their emotion, and the concept of those that hold one."""
    table = select_features(codes, planted.rows, settings, seed=seed).table
    inside = concept_features(table, codes, planted.x, planted.rows, settings, seed=seed).table
    return table.filter("emotion_feature").select("feature", "emotion").join(inside, on="feature", how="left")


def judge(planted: Planted, sae: SAE, settings: FeatureSettings, seed: int) -> dict[str, int]:
    """Claims of a trained core, compared with the truth.

    A claim is false if less than ``ALONG`` of the feature lies in what its emotion's words add; a concept is false if the
    feature has more of another one.
    """
    found = claims(planted, coded(sae, planted.x), settings, seed)
    W = unit_rows(sae.W_dec.detach().numpy()[: sae.core_size])
    n_false, n_mistaken, hits = 0, 0, set()
    for record in found.iter_rows(named=True):
        c, direction = EMOTIONS.index(record["emotion"]), W[record["feature"]]
        mine = np.concatenate([planted.shared[c][None], planted.own[c]]) @ direction
        n_false += bool(np.linalg.norm(mine) < ALONG)
        if record["concept_feature"]:
            k = int(record["concept"].split()[1])
            c_most, k_most = np.unravel_index((planted.own @ direction).argmax(), planted.own.shape[:2])
            n_mistaken += (c, k) != (int(c_most), int(k_most))
            if planted.own[c, k] @ direction >= ALONG:
                hits.add((c, k))
    return {
        "atoms": sae.d_sae,
        "claimable": sae.core_size,
        "planted_concepts": len(EMOTIONS) * CONCEPTS,
        "concepts_found": len(hits),
        "claimed": found.height,
        "false_claims": n_false,
        "concept_features": int(found["concept_feature"].fill_null(False).sum()),
        "mistaken_concepts": n_mistaken,
    }


def shuffled_labels(planted: Planted, codes: np.ndarray, settings: FeatureSettings, seed: int) -> int:
    """Claims when labels are shuffled over groups, train + val and test each among themselves."""
    rows = planted.rows
    label = rows.label.copy()
    for part in (rows.split != "test", rows.split == "test"):
        label[part] = permuted_labels(label[part], rows.group[part], 1, 2 * seed + int(part[0]))[0]
    table = select_features(codes, replace(rows, label=label), settings, seed=seed).table
    return int(table["emotion_feature"].sum())


def shuffled_concepts(planted: Planted, codes: np.ndarray, settings: FeatureSettings, seed: int) -> int:
    """Concept features when concepts are dealt to the groups of their emotion at random."""
    rows, rng = planted.rows, np.random.default_rng(seed)
    concept = rows.concept.copy()
    for c in range(len(EMOTIONS)):
        for part in (rows.split != "test", rows.split == "test"):
            own = np.flatnonzero((rows.label == c) & part)
            _, first, place = np.unique(rows.group[own], return_index=True, return_inverse=True)
            concept[own] = rng.permutation(rows.concept[own][first])[place]
    dealt = replace(planted, rows=replace(rows, concept=concept))
    found = claims(dealt, codes, settings, seed)
    return int(found["concept_feature"].fill_null(False).sum())


def run(sets: int, repeats: int, settings: FeatureSettings) -> dict:
    """``sets`` planted sets; ``repeats`` shuffles of each kind dealt over them."""
    began = time.perf_counter()
    truth, sets_of, nothing = [], [], {kind: [] for kind in KINDS}
    for seed in range(sets):
        planted = make(seed)
        sae = find_core(planted, seed)
        truth.append(judge(planted, sae, settings, seed))
        codes = coded(sae, planted.x)
        sets_of.append((planted, codes))
        active = float((encode_rows(sae, planted.x)[planted.rows.split == "train"] > 0).sum(axis=1).mean())
        for kind, counts in nothing.items():
            dull = untrained_core(planted, kind, seed, active)
            counts.append(
                claims(planted, coded(dull, planted.x), settings, seed).height if dull.core_size else 0
            )
    labels = [shuffled_labels(*sets_of[i % sets], settings, 1000 + i) for i in range(repeats)]
    dealt = [shuffled_concepts(*sets_of[i % sets], settings, 1000 + i) for i in range(repeats)]

    def rate(counts: list[int]) -> dict:
        wrong = sum(count > 0 for count in counts)
        bounds = binomtest(wrong, len(counts)).proportion_ci(0.95)
        return {"repeats": len(counts), "with_a_claim": wrong, "ci": [bounds.low, bounds.high]}

    return {
        "q": settings.q,
        "sets": sets,
        **{key: sum(one[key] for one in truth) for key in truth[0]},
        "shuffled_labels": rate(labels),
        "shuffled_concepts": rate(dealt),
        "untrained_claims": nothing,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Print what was found, and what nothing gave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", type=int, default=5, help="planted sets, each with a core of its own")
    parser.add_argument("--repeats", type=int, default=50, help="shuffles of each kind")
    parser.add_argument("--permutations", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    given = parser.parse_args()
    settings = FeatureSettings(n_permutations=given.permutations, n_shuffles=1)
    result = run(given.sets, given.repeats, settings)
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
