import pytest

from helpers.planted_study import make_planted
from moodlens.settings.validation import CausalSettings, PairSettings, TransferSettings


@pytest.fixture(scope="session")
def planted():
    return make_planted()


@pytest.fixture(scope="session")
def quick() -> CausalSettings:
    return CausalSettings(n_controls=150, n_random_directions=100, n_bootstrap=200)


@pytest.fixture
def pair_settings() -> PairSettings:
    """Few draws."""
    return PairSettings(n_controls=150, n_bootstrap=200)


@pytest.fixture
def transfer_settings() -> TransferSettings:
    """Few draws."""
    return TransferSettings(n_bootstrap=200)
