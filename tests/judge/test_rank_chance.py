"""What random directions do beside ranked features: as many, as long, and asked in the same way."""

import numpy as np
import pytest

from helpers.clips import put_clip
from moodlens.core.sound import sound_files
from moodlens.judge.offline import Offline, read_references
from moodlens.judge.ranking import rank_features
from moodlens.pipeline.opened import OpenStudy
from moodlens.pipeline.rank import PROMPTS, rank_study_features
from moodlens.settings.steer import DirectionSettings
from moodlens.steer.build import study_directions
from moodlens.steer.generators import load_generator


def test_random_directions_are_ranked_as_features_are(study_folder, checkpoint, tmp_path):
    rng = np.random.default_rng(0)
    clips = {emotion: tmp_path / emotion for emotion in ("happy", "sad")}
    for folder in clips.values():
        put_clip(folder, "x", 0.1 * rng.standard_normal((1, 16000)).astype(np.float32), 16000)
    study = OpenStudy.open(study_folder)
    table = rank_study_features(study, clips, str(checkpoint), top=3, every=False, seconds=0.3)

    directions = study_directions(study, DirectionSettings(n_random=20, untrained=False))
    drawn = np.stack([direction.vector for direction in directions.select(method="random")])
    model = load_generator(str(checkpoint), d_in=directions.d_in)
    files = {emotion: sound_files(folder) for emotion, folder in clips.items()}
    asked = Offline(model, read_references(model, files, PROMPTS, seconds=0.3))
    chance = rank_features(asked, drawn, directions.unit)
    assert chance.height == 20
    for column, prefix in (("kl", ""), ("gain_happy", "gain_happy_"), ("gain_sad", "gain_sad_")):
        beside = chance[column].to_numpy()
        assert table[f"{prefix}random_p95"].to_list() == pytest.approx(
            [np.quantile(beside, 0.95)] * table.height, rel=1e-4
        )
        for value, p in table.select(column, f"{prefix}random_p").iter_rows():
            assert p == pytest.approx((1 + np.sum(beside >= value)) / 21)
