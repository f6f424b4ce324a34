"""A planted study: does the pipeline find what is there, refuse what is not, and keep its promise under the null?

Embeddings are sums of known sparse directions. Each emotion has its own; every group (a word, a scene) uses
some of its emotion's. Decoys tempt the choice on train + val: an instrument that goes with one emotion there
but not on test, and a direction of one single group. A real SAE is trained on each set and its features go
through ``select_features`` as in a study. Under the null the labels are shuffled over groups.

    python benchmarks/planted.py --json
"""

import argparse
import json
import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from moodlens.features import select_features
from moodlens.sae import SAE, encode_rows, train
from moodlens.settings.features import FeatureSettings
from moodlens.settings.sae import SAESettings
from moodlens.stats.ranks import auroc, firing_rates, selectivity
from moodlens.stats.units import permuted_labels
from moodlens.study.rows import Rows

EMOTIONS = ("happy", "sad", "calm", "energetic")
D_IN, D_SAE, K = 64, 40, 2
PER_EMOTION = 5
"""Planted directions of each emotion."""
N_INSTRUMENTS = 8
N_GROUPS, ROWS = 60, 10
"""Groups of each emotion; rows of each group."""
CONFOUND = 0.3
"""Share of happy train + val rows that have instrument 0, and of sad ones that have instrument 1."""
SINGLE_GROUPS = 4
"""Groups that have a direction of their own: strong, selective, and worth one group of evidence."""
NOISE = 0.03
FOUND_COSINE, DECOY_COSINE = 0.8, 0.7
NULL_AUROC, NULL_SELECTIVITY = 0.501, 1.2
"""On fresh groups, a feature with no more than one of these says nothing about its emotion."""
SETTINGS = SAESettings(
    d_sae=D_SAE, k=K, architecture="batchtopk", epochs=40, batch_size=64, learning_rate=3e-3
)


@dataclass(frozen=True)
class Planted:
    """One made-up set and the truth about it."""

    x: np.ndarray  # (n, D_IN)
    labels: np.ndarray  # (n,)
    groups: np.ndarray  # (n,)
    splits: np.ndarray  # (n,)
    emotion_directions: np.ndarray  # (C, PER_EMOTION, D_IN)
    decoys: (
        np.ndarray
    )  # (2 + SINGLE_GROUPS, D_IN): two confounded instruments, then directions of single groups

    def rows(self) -> Rows:
        """As a study has them."""
        return Rows.of(self.labels, emotions=EMOTIONS, group=self.groups, split=self.splits)


def make(seed: int, *, fresh: bool = False) -> Planted:
    """Draw a set, or with ``fresh`` other rows of the same truth: new groups, nothing confounded, all of it test.

    A row is the sum of one of its group's two emotion directions, an instrument and noise."""
    rng = np.random.default_rng(seed)
    n_own = len(EMOTIONS) * PER_EMOTION
    # Orthogonal where there is room, so that the truth is one thing and not a mixture.
    basis = np.linalg.qr(rng.standard_normal((D_IN, D_IN)))[0]
    if fresh:
        rng = np.random.default_rng([seed, 1])
    own = basis[:n_own].reshape(len(EMOTIONS), PER_EMOTION, D_IN)
    instruments = basis[n_own : n_own + N_INSTRUMENTS]
    single = basis[n_own + N_INSTRUMENTS : n_own + N_INSTRUMENTS + SINGLE_GROUPS]
    x, labels, groups, splits = [], [], [], []
    for c in range(len(EMOTIONS)):
        for g in range(5 * N_GROUPS if fresh else N_GROUPS):
            group = 5 * c * N_GROUPS + g
            split = "test" if fresh else ("train", "train", "train", "val", "test", "test")[g % 6]
            used = rng.choice(PER_EMOTION, 2, replace=False)
            for _ in range(ROWS):
                row = NOISE * rng.standard_normal(D_IN)
                row += rng.uniform(0.7, 1.3) * own[c, rng.choice(used)]
                instrument = int(rng.integers(N_INSTRUMENTS))
                if c < 2 and split != "test" and rng.random() < CONFOUND:
                    instrument = c
                row += rng.uniform(0.8, 1.2) * instruments[instrument]
                if g == 0 and c < SINGLE_GROUPS and not fresh:
                    row += rng.uniform(0.8, 1.2) * single[c]
                x.append(row)
                labels.append(c)
                groups.append(group)
                splits.append(split)
    return Planted(
        np.array(x, dtype=np.float32),
        np.array(labels),
        np.array(groups),
        np.array(splits),
        own,
        np.concatenate([instruments[:2], single]),
    )


def fit(planted: Planted, seed: int) -> SAE:
    """Train an SAE on the train rows; it knows no labels."""
    rows = planted.splits == "train"
    return train(planted.x[rows], planted.x[planted.splits == "val"], SETTINGS, seed=seed).sae


def judge(planted: Planted, fresh: Planted, sae: SAE, seed: int, settings: FeatureSettings) -> dict:
    """One set through the pipeline, compared with the truth.

    A direction is recovered if an emotion feature of its emotion points along it. A claim is false if the
    feature does not favour its emotion among many fresh groups; a feature's decoder alone cannot say so, since an
    encoder may read an emotion into an instrument that went with it in training.
    """
    table = select_features(encode_rows(sae, planted.x), planted.rows(), settings, seed=seed).table
    decoder = sae.W_dec.detach().numpy()
    decoder = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    claimed, tested = table["emotion_feature"].to_numpy(), table["tested"].to_numpy()
    emotion = np.array([EMOTIONS.index(e) if e is not None else 0 for e in table["emotion"]])
    along = np.einsum("cpd,fd->cpf", planted.emotion_directions, decoder) >= FOUND_COSINE
    found = [bool(along[c, p, claimed & (emotion == c)].any()) for c, p in np.ndindex(along.shape[:2])]

    codes, own = encode_rows(sae, fresh.x), (emotion, np.arange(len(emotion)))
    area = auroc(codes, fresh.labels, len(EMOTIONS))[own]
    lean = selectivity(firing_rates(codes, fresh.labels, len(EMOTIONS)))[own]
    empty = (area <= NULL_AUROC) | (lean <= NULL_SELECTIVITY)
    decoy = (planted.decoys @ decoder.T >= DECOY_COSINE).any(axis=0)
    return {
        "planted": len(found),
        "recovered": sum(found),
        "claimed": int(claimed.sum()),
        "false_claims": int((claimed & empty).sum()),
        "decoys": int((decoy & empty).sum()),
        "decoys_tested": int((decoy & empty & tested).sum()),
        "decoys_claimed": int((decoy & empty & claimed).sum()),
        # What looking at train + val alone would have claimed.
        "tested": int(tested.sum()),
        "tested_false": int((tested & empty).sum()),
    }


def null_claims(planted: Planted, codes: np.ndarray, seed: int, settings: FeatureSettings) -> tuple[int, int]:
    """(emotion features claimed, features tested) when labels are shuffled over groups, train + val and test each among themselves."""
    labels = planted.labels.copy()
    for part in (planted.splits != "test", planted.splits == "test"):
        labels[part] = permuted_labels(labels[part], planted.groups[part], 1, 2 * seed + int(part[0]))[0]
    chosen = select_features(codes, replace(planted.rows(), label=labels), settings, seed=seed)
    return int(chosen.table["emotion_feature"].sum()), int(chosen.table["tested"].sum())


def run(repeats: int, sets: int, settings: FeatureSettings) -> dict:
    """``sets`` planted sets with an SAE each; ``repeats`` shuffled repeats dealt over them."""
    began = time.perf_counter()
    truth, coded = [], []
    for seed in range(sets):
        planted = make(seed)
        sae = fit(planted, seed)
        truth.append(judge(planted, make(seed, fresh=True), sae, seed, settings))
        coded.append((planted, encode_rows(sae, planted.x)))
    total = {key: sum(t[key] for t in truth) for key in truth[0]}
    null = [null_claims(*coded[i % sets], seed=1000 + i, settings=settings) for i in range(repeats)]
    claims, tests = [list(column) for column in zip(*null, strict=True)]
    wrong = sum(count > 0 for count in claims)
    bounds = binomtest(wrong, repeats).proportion_ci(0.95)
    return {
        "q": settings.q,
        "sets": sets,
        "recovered_share": total["recovered"] / total["planted"],
        "false_share_of_claims": total["false_claims"] / max(total["claimed"], 1),
        **total,
        "null_repeats": repeats,
        "null_claims": claims,
        # Under the null every claim is false, so the false discovery rate is the share of repeats with a claim.
        "null_false_discovery_rate": wrong / repeats,
        "null_false_discovery_rate_ci": [bounds.low, bounds.high],
        "null_claims_per_test": sum(claims) / max(sum(tests), 1),
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=50, help="repeats under shuffled labels")
    parser.add_argument("--sets", type=int, default=5, help="planted sets, each with an SAE of its own")
    parser.add_argument("--permutations", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    given = parser.parse_args()
    settings = FeatureSettings(n_permutations=given.permutations, n_shuffles=1)
    result = run(given.repeats, given.sets, settings)
    if given.json:
        print(json.dumps(result))
        return
    print(
        f"recovered {result['recovered']} of {result['planted']} planted directions (cosine >= {FOUND_COSINE})"
    )
    print(f"{result['false_claims']} of {result['claimed']} claims are false (q = {result['q']})")
    print(f"on train + val alone {result['tested_false']} of {result['tested']} would have been false")
    print(
        f"decoys: {result['decoys']} learned, {result['decoys_tested']} tested, {result['decoys_claimed']} claimed"
    )
    print(
        f"shuffled labels: {sum(c > 0 for c in result['null_claims'])} of {result['null_repeats']} repeats claim anything"
    )


if __name__ == "__main__":
    main()
