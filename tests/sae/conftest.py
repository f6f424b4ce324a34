"""Small data whose sparse structure is known."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # small_loop.py


def planted_data(
    n: int, *, d_in: int = 32, n_features: int = 48, active: int = 3, seed: int = 0, noise: float = 0.01
):
    """Rows that are sums of ``active`` of ``n_features`` unit vectors, about a mean far from 0: ``(x, dictionary)``."""
    rng = np.random.default_rng(seed)
    dictionary = rng.standard_normal((n_features, d_in))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    codes = np.zeros((n, n_features))
    for row in codes:
        row[rng.choice(n_features, active, replace=False)] = rng.uniform(0.5, 1.5, active)
    offset = 3 * np.random.default_rng(1000).standard_normal(d_in)
    x = 2 * codes @ dictionary + offset + noise * rng.standard_normal((n, d_in))
    return x.astype(np.float32), dictionary


@pytest.fixture(scope="session")
def planted():
    """``(x_train, x_val, dictionary)``."""
    x, dictionary = planted_data(2500)
    return x[:2000], x[2000:], dictionary


@pytest.fixture(scope="session")
def small():
    """``(x_train, x_val)``, few and narrow, for tests of the loop itself."""
    x, _ = planted_data(150, d_in=12, n_features=16)
    return x[:110], x[110:]
