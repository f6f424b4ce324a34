"""One study through the packed encoder and through the general one, on the same weights: the same verdict."""

import numpy as np
import pytest

from moodlens.embed import encoder_files
from moodlens.pipeline.run import run
from moodlens.settings.base import validate
from moodlens.settings.study import Settings

QUICK = {
    "core": {"members": 0},
    "seeds": 1,
    "prompts": {"generate": 700},
    "sae": {"d_sae": 64, "k": 4, "epochs": 10, "batch_size": 64, "learning_rate": 3e-3},
    "features": {"n_permutations": 200, "n_shuffles": 2, "q": 0.3, "min_selectivity": 1.3},
    "validation": {
        "phase0": {"n_permutations": 20, "n_shuffles": 2},
        "causal": {"n_bootstrap": 100},
        "pairs": {"n_bootstrap": 100},
        "transfer": {"n_bootstrap": 100},
    },
}


@pytest.mark.slow
def test_minilm_and_st_say_the_same(tmp_path):
    specs = {
        "packed": {"id": "minilm"},
        "general": {"id": f"st:{encoder_files('minilm')[0].parent}", "unit": False},
    }
    studies = {
        name: run(
            validate(Settings, QUICK | {"encoder": spec | {"dtype": "float32"}}, "study"),
            tmp_path / name,
            until="verdict",
        )
        for name, spec in specs.items()
    }
    packed, general = studies["packed"], studies["general"]
    np.testing.assert_allclose(packed.x, general.x, atol=1e-5)
    assert packed.verdict.go == general.verdict.go
    states = [[(one.id, one.state) for one in study.verdict.criteria] for study in (packed, general)]
    assert states[0] == states[1]
    for one, other in zip(packed.verdict.criteria, general.verdict.criteria, strict=True):
        assert one.value == pytest.approx(other.value, abs=0.02), one.id
