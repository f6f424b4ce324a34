"""Does a core depend on what the rows of an encoder are like? A study's rows, given the shape of another encoder's.

The rows of a study are moved to the width and mean of other embeddings (``rotated``), to their spectrum as well
(``recoloured``), and get one dimension that varies more than all others together, as T5's last states have (``rogue``).
What the texts say stays the same, so the same features should be found by the same settings.

    moodlens run --out runs/quickstart
    python benchmarks/other_rows.py runs/quickstart PATH/embeddings.npy --json

Of the embeddings, at least a hundred rows, only mean and spectrum are read; of the spectrum, what so few rows cannot
show is a power law fitted to what they do.
"""

import argparse
import json
import time

import numpy as np

import moodlens
from moodlens.features.concepts import concept_features
from moodlens.features.select import select_features
from moodlens.sae import cores, encode_rows
from moodlens.settings.features import FeatureSettings
from moodlens.settings.sae import CoreSettings
from moodlens.stats.contrast import unit_rows
from moodlens.study.rows import Rows

KINDS = ("own", "rotated", "recoloured", "rogue")
SAME = 0.7
"""Decoder cosine and correlation of activations from which on two features are one, as in the stage ``stability``."""


def spectrum(x: np.ndarray, n: int) -> np.ndarray:
    """``n`` variances along principal axes of the population that ``x`` (m, d_in) are a sample of."""
    seen = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[: len(x) - 1] ** 2 / (len(x) - 1)
    rank = np.arange(1, len(seen) + 1)
    # The last of a sample's are too small, the first few are not yet a power of their rank.
    part = slice(len(seen) // 20, 4 * len(seen) // 5)
    slope, level = np.polyfit(np.log(rank[part]), np.log(seen[part]), 1)
    long = np.exp(level + slope * np.log(np.arange(1, n + 1)))
    sure = min(3 * len(seen) // 5, n)
    long[:sure] = seen[:sure]
    return long


def like(x: np.ndarray, other: np.ndarray, kind: str, seed: int = 0) -> np.ndarray:
    """Rows ``x`` (n, d) in the space of ``other`` (m, d_in), d_in >= d."""
    if kind == "own":
        return x
    mean = x.mean(axis=0)
    _, scale, axes = np.linalg.svd(x - mean, full_matrices=False)
    along, own = (x - mean) @ axes.T, scale**2 / len(x)
    wanted = spectrum(other, len(own))
    along *= np.sqrt(wanted.sum() / own.sum()) if kind == "rotated" else np.sqrt(wanted / own)
    basis = np.linalg.svd(other - other.mean(axis=0), full_matrices=True)[2][: len(own)]
    moved = other.mean(axis=0) + along @ basis
    if kind == "rogue":
        spread = np.sqrt(wanted.sum())
        moved[:, 0] += np.random.default_rng(seed).normal(2 * spread, spread, len(moved))
    return moved


def measure(x: np.ndarray, rows: Rows, settings: CoreSettings, features: FeatureSettings) -> dict:
    """Two pipelines on the same rows: the core of the first, what it claims, and how much the second has of that."""
    train, val = (np.flatnonzero(rows.split == name) for name in ("train", "val"))
    began, x = time.perf_counter(), x.astype(np.float32)
    size = cores.plan_core(settings, len(train), x.shape[1]).d_sae
    seeds = {
        name: tuple(range(100 * i, 100 * i + settings.members)) for i, name in enumerate(("one", "other"))
    }
    one, other = cores.find_cores(x[train], x[val], seeds, settings, size).values()
    claimable = slice(one.sae.core_size)
    codes = encode_rows(one.sae, x)[:, claimable]
    found = {
        "d_in": x.shape[1],
        "d_sae": size,
        "core": codes.shape[1],
        "active": float((codes[train] > 0).sum(1).mean()),
    }
    if not codes.shape[1] or not other.sae.d_sae:
        return found | {"claimed": 0, "seconds": time.perf_counter() - began}
    selected = select_features(codes, rows, features, seed=0)
    claimed = selected.table["emotion_feature"].to_numpy().astype(bool)
    inside = concept_features(selected.table, codes, x, rows, features, seed=0).table
    W, W_other = (unit_rows(sae.W_dec.detach().numpy()) for sae in (one.sae, other.sae))
    cosine = W[claimable][claimed] @ W_other.T
    twin, again = cosine.argmax(axis=1), encode_rows(other.sae, x[train])
    mine = codes[train][:, claimed]
    alike = [np.corrcoef(mine[:, i], again[:, j])[0, 1] for i, j in enumerate(twin)]
    back = (cosine.max(axis=1) >= SAME) & (np.array(alike) >= SAME)
    return found | {
        "claimed": int(claimed.sum()),
        "per_emotion": selected.summary.per_emotion,
        "shuffled_p95": selected.summary.shuffled.p95,
        "concept_features": int(inside["concept_feature"].fill_null(False).sum()),
        "come_back": float(back.mean()) if len(back) else None,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Print one line for each kind of rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("study", help="folder of a study with a core")
    parser.add_argument(
        "embeddings", help="an .npy of other embeddings (m, d_in), m >= 100, d_in >= the study's"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--l1-coefficient", type=float, default=CoreSettings().l1_coefficient)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    given = parser.parse_args()
    study, other = moodlens.open(given.study), np.load(given.embeddings).astype(np.float64)
    x = np.asarray(study.x, dtype=np.float64)
    if other.ndim != 2 or len(other) < 100 or other.shape[1] < x.shape[1]:
        parser.error(
            f"{given.embeddings}: shape {other.shape}; give 100 rows or more of {x.shape[1]} numbers or more"
        )
    settings = CoreSettings(l1_coefficient=given.l1_coefficient)
    result = {}
    for kind in given.kinds:
        result[kind] = measure(like(x, other, kind), study.rows, settings, FeatureSettings())
        if not given.json:
            print(kind, result[kind], flush=True)
    if given.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
