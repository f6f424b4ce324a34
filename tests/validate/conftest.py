import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # planted_study.py

from planted_study import make_planted

from moodlens.settings.validation import ValidateSettings


@pytest.fixture(scope="session")
def planted():
    return make_planted()


@pytest.fixture(scope="session")
def quick() -> ValidateSettings:
    return ValidateSettings(n_controls=150, n_random_directions=100, n_bootstrap=200)
