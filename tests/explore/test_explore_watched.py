"""Every generator tells its steps, makes the same clip whether it is watched or not, and can be left."""

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("torchsde")

from helpers.steered import PROMPT, unit
from helpers.tiny_generators import MAKERS, SECONDS, WIDTH
from moodlens.core import BadInput
from moodlens.explore.generator import WatchedGenerator
from moodlens.steer import Sampling, Steering
from moodlens.study.records.steer import How


class Enough(Exception):
    """It is left."""


@pytest.mark.parametrize("name", ["musicgen", "musicgen-melody", "stable-audio", "stable-audio-3"])
def test_a_watched_clip_is_the_same_and_can_be_left(name):
    model = MAKERS[name]()
    watched, seconds = WatchedGenerator(model), SECONDS.get(name, 0.3)
    assert watched.seconds[0] <= seconds <= watched.seconds[1]
    how = How(
        **watched.info().model_dump(),
        seconds=seconds,
        guidance=watched.guidance,
        temperature=1.0,
        top_k=250,
        renorm=False,
        null="zeros",
        schedule=None,
        steps=None if watched.steps is None else 4,
    )
    shares, vector = [], unit(WIDTH)
    clip = watched.make(PROMPT, 1, how, vector, 2.0, shares.append)
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert 0.7 < shares[-1] <= 1
    sampling = Sampling(guidance=watched.guidance, steps=how.steps)
    alone = model.generate(PROMPT, seconds=seconds, seed=1, steering=Steering(vector, 2.0), sampling=sampling)
    assert np.array_equal(clip, alone)

    def leave(share: float) -> None:
        if share > 0.3:
            raise Enough

    with pytest.raises(Enough):
        watched.make(PROMPT, 1, how, None, 0.0, leave)
    assert np.array_equal(watched.make(PROMPT, 1, how, vector, 2.0, lambda _: None), clip)
    for prompt, length in (("  ", seconds), (PROMPT, 1e-5), (PROMPT, 1e6)):
        with pytest.raises(BadInput):
            watched.check(prompt, length)
