"""Whether the loop that moves the weights gives the same bytes wherever its arrays lie in memory.

The same numbers are given to ``moodlens.sae.kernels_pairs.update`` again and again, each time with other arrays of other
sizes on the heap. To measure another version of the package, put its ``src`` on ``PYTHONPATH``.

    python benchmarks/addresses.py --calls 12000
"""

import argparse
from collections import Counter

import numpy as np

from moodlens.sae.kernels_pairs import ByFeature, Clock, Moments, Rule, Weights, update

N_ROWS, D_IN, D_SAE = 59, 384, 128
PAIRS = (2, 20)
"""Active rows of a feature, from and up to."""
NOISE, LARGEST, HELD = 60, 6000, 300
"""Arrays that come between two calls at most, bytes of the largest, and how many stay."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=12_000)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the arrays between the calls; the numbers are always the same"
    )
    given = parser.parse_args()
    draw, results, held = np.random.default_rng(given.seed), Counter[bytes](), list[np.ndarray]()
    arguments = numbers()
    for _ in range(given.calls):
        held += [
            np.empty(size, np.uint8) for size in draw.integers(1, LARGEST, draw.integers(1, NOISE)).tolist()
        ]
        held = [held[i] for i in draw.permutation(len(held))[:HELD]]
        made, _kept = step(*arguments)  # what the call before used is freed after this one found its place
        results[made] += 1
    usual = results.most_common(1)[0][1]
    print(
        f"{given.calls - usual} of {given.calls} calls differ from the usual result; {len(results)} results"
    )


def numbers() -> tuple[ByFeature, np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Pairs by feature, rows, residuals, weights and moments."""
    draw = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape).astype(np.float32)

    offsets = np.concatenate([[0], np.cumsum(draw.integers(*PAIRS, D_SAE))])
    row = draw.integers(0, N_ROWS, offsets[-1]).astype(np.int32)
    pairs = ByFeature(offsets, row, row, normal(offsets[-1]), normal(offsets[-1]))
    wide, narrow = (D_SAE, D_IN), (D_SAE,)
    # As at the first step: a last bit of a gradient shows in moments that were 0.
    weights = [normal(*wide), normal(*wide), np.zeros(narrow, np.float32), np.zeros(wide, np.uint16)]
    moments = [np.zeros(shape, np.float32) for shape in [wide] * 4 + [narrow] * 2]
    return pairs, normal(N_ROWS, D_IN), normal(N_ROWS, D_IN), weights, moments


def step(
    pairs: ByFeature, z: np.ndarray, E: np.ndarray, weights: list[np.ndarray], moments: list[np.ndarray]
) -> tuple[bytes, object]:
    """Weights and moments after one step, from copies of all that it reads and changes, and the copies."""
    fresh, own = ByFeature(*(array.copy() for array in pairs)), Weights(*(array.copy() for array in weights))
    changed, clock = Moments(*(array.copy() for array in moments)), Clock(*np.zeros((2, D_SAE), np.int64))
    rule = Rule(0.9, 0.999, 1e-8, True, np.ones(3), np.ones(3))
    update(0, D_SAE, True, fresh, z, E, own, changed, clock, 1, 1e-3, rule)
    return b"".join(array.tobytes() for array in (*own, *changed)), (fresh, own, changed)


if __name__ == "__main__":
    main()
