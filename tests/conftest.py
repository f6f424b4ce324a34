"""What all tests share: one thread, no network, and the way to the real data where it lies."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import pytest
import yaml
from hypothesis import settings

settings.register_profile("moodlens", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("moodlens")

ROOT = Path(__file__).resolve().parent.parent


LIMITS = {"plain": 180, "shares": 900, "slow": 1800}
"""Seconds a test may take, fixtures and all, by kind: ten times what it takes here, for a machine with company."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = "slow" if item.get_closest_marker("slow") else "shares" if _shares(item) else "plain"
        item.add_marker(pytest.mark.timeout(LIMITS[kind]))


def _shares(item: pytest.Item) -> bool:
    """Whether the test may be the one that pays for a study or a model which others use, too."""
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009
    wide = (each for definitions in fixtures for each in definitions if each.scope != "function")
    return any(
        each.baseid.startswith("tests") and each.argname not in ("shared", "one_thread") for each in wide
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data (``MOODLENS_SHARED``, default ``../shared``); tests skip where it is absent."""
    folder = Path(os.environ.get("MOODLENS_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found in {folder}; set MOODLENS_SHARED")
    return folder / "data"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)


SMALL = {
    "name": "small",
    "seeds": 2,
    "core": {"members": 4, "d_sae": 64, "bootstraps": 1},
    "prompts": {"generate": 1200, "held_out_share": 0.15},
    "sae": {"d_sae": 128, "k": 6, "epochs": 30, "batch_size": 64, "learning_rate": 3e-3},
    "features": {"n_permutations": 1000, "n_shuffles": 20},
    "validation": {
        "phase0": {"n_permutations": 50, "n_shuffles": 2},
        "causal": {"n_bootstrap": 100},
        "pairs": {"n_bootstrap": 100},
        "transfer": {"n_bootstrap": 100},
    },
}
"""Settings of a whole study of some seconds that finds emotion features, if too few for a go."""


@pytest.fixture(scope="session")
def small_settings(tmp_path_factory) -> Path:
    """A study file with :data:`SMALL`."""
    path = tmp_path_factory.mktemp("settings") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="session")
def small_study(small_settings, tmp_path_factory) -> Path:
    """The folder of that study, run to the end with the bundled encoder. Copy it before changing anything."""
    from moodlens.pipeline.run import run
    from moodlens.settings.study import read_study

    return run(read_study(small_settings), tmp_path_factory.mktemp("study") / "small").path
