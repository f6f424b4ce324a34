"""What a stage reads of the settings is part of its key, so that a change makes it run again."""

import pytest

from moodlens.pipeline.run import keys
from moodlens.pipeline.stages_table import STAGES
from moodlens.settings.study import read_study


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ("validation.stability.reappearance=0.6", "stability"),
        ("verdict.min_reappearance=0.6", "stability"),  # decides the share of the null
        ("features.family_weights=equal", "transfer"),  # by which the control is weighted too
        ("validation.pairs.max_correlation=0.2", "pairs"),
    ],
)
def test_a_setting_changes_the_key_of_what_reads_it(change, stage, small_settings):
    before, after = (keys(read_study(small_settings, changes), STAGES) for changes in ([], [change]))
    assert before[stage] != after[stage]
    assert before["sweep"] == after["sweep"]
