"""Small data whose sparse structure is known."""

import pytest

from helpers.sae_loop import planted_data


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
