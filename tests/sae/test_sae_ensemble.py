"""Training many equals training each alone."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.sae import encode_rows, train, train_many
from moodlens.settings.sae import SAESettings

JOBS = [
    *((SAESettings(d_sae=24, k=3, epochs=8, batch_size=32, patience=2), seed) for seed in range(4)),
    (SAESettings(architecture="l1", d_sae=24, epochs=5, batch_size=32), 0),
    (
        SAESettings(
            architecture="topk", d_sae=16, k=2, epochs=12, batch_size=16, learning_rate=3e-2, patience=2
        ),
        1,
    ),
]


def test_train_many_equals_training_each_alone(small):
    seen = []
    together = train_many(*small, JOBS, progress=lambda *args: seen.append(args))
    for (settings, seed), found in zip(JOBS, together, strict=True):
        alone = train(*small, settings, seed=seed)
        assert found.seed == seed
        assert found.best_epoch == alone.best_epoch
        assert found.stopped == alone.stopped
        assert len(found.history) == len(alone.history)
        np.testing.assert_allclose(
            encode_rows(found.sae, small[1]), encode_rows(alone.sae, small[1]), atol=1e-5
        )
        np.testing.assert_allclose(found.sae.W_dec.detach(), alone.sae.W_dec.detach(), atol=1e-5)
    assert seen[-1] == ("saes", len(JOBS), len(JOBS))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_no_jobs_is_an_error(small):
    with pytest.raises(BadInput, match="no jobs"):
        train_many(*small, [])
