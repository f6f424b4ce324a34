"""A run made in parts on several machines is the run that one machine makes."""

import shutil

import pytest

from moodlens.core import BadInput, file_sha256
from moodlens.settings.steer import DirectionSettings, SteerSettings
from moodlens.steer.run import Shard, run_steer
from moodlens.steer.shards import merge_shards, read_shard
from moodlens.study.records.steer import SteerRun

GRID = SteerSettings(
    prompts=("instrumental music",),
    emotions=("happy",),
    methods=("sae_family",),
    controls=("random",),
    coefficients=(1.0,),
    neutral_words=(),
    seconds=0.15,
    directions=DirectionSettings(n_random=2),
)


@pytest.fixture(scope="module")
def parts(tiny, musicgen, tmp_path_factory):
    """The whole run, its directions, and its two halves."""
    home, directions = tmp_path_factory.mktemp("shards"), tiny.directions(GRID.directions)
    whole = run_steer(directions, home / "whole", GRID, model=musicgen)
    halves = [
        run_steer(directions, home / f"half {i}", GRID, model=musicgen, shard=Shard(i, 2)) for i in (1, 2)
    ]
    return whole, directions, halves


def hashes(folder):
    """Of sounds, directions and run.json; a clip's own JSON also names the batch that it was made in."""
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file()
        and p.name not in ("progress.json", "shard.json")
        and (p.parent.name, p.suffix) != ("clips", ".json")
    )
    return {str(p.relative_to(folder)): file_sha256(p) for p in files}


def test_halves_are_half_each_and_make_the_whole(parts, tmp_path):
    whole, _, halves = parts
    assert [half.made for half in halves] == [3, 2]
    assert sorted(key for half in halves for key in half.keys) == sorted(whole.keys)
    assert not (halves[0].folder / "run.json").exists()
    run = merge_shards(tmp_path / "merged", [half.folder for half in halves])
    assert run == SteerRun.read(whole.folder)
    assert hashes(tmp_path / "merged") == hashes(whole.folder)
    merge_shards(tmp_path / "merged", [halves[0].folder])  # what is there stays


def test_a_shard_goes_on_where_it_stopped(parts, musicgen, tmp_path):
    _, directions, halves = parts
    shutil.copytree(halves[0].folder, tmp_path / "half")
    (tmp_path / "half" / "clips" / f"{halves[0].keys[1]}.wav").unlink()
    again = run_steer(directions, tmp_path / "half", GRID, model=musicgen, shard=Shard(1, 2))
    assert again.made == 1


def test_what_cannot_be_merged(parts, tiny, musicgen, tmp_path):
    whole, directions, halves = parts
    with pytest.raises(BadInput, match=r"2 of 5 clips are in no shard that was given \(1/2\)"):
        merge_shards(tmp_path / "out", [halves[0].folder])
    assert not (tmp_path / "out" / "run.json").exists()
    other = GRID.model_copy(update={"seconds": 0.2})
    run_steer(directions, tmp_path / "other", other, model=musicgen, shard=Shard(2, 2))
    with pytest.raises(BadInput, match="is a shard of another run than"):
        merge_shards(tmp_path / "out", [halves[0].folder, tmp_path / "other"])
    with pytest.raises(BadInput, match=r"shard\.json"):
        merge_shards(tmp_path / "out", [whole.folder])
    with pytest.raises(BadInput, match="is what is read"):
        merge_shards(halves[0].folder, [halves[0].folder])
    shutil.copytree(halves[1].folder, tmp_path / "spoiled")
    next((tmp_path / "spoiled" / "clips").glob("*.wav")).write_bytes(b"")
    with pytest.raises(BadInput, match="1 of 5 clips"):
        merge_shards(tmp_path / "out", [halves[0].folder, tmp_path / "spoiled"])


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", ""])
def test_a_shard_is_a_number_of_many(text):
    assert read_shard("2/4") == Shard(2, 4)
    with pytest.raises(BadInput, match="give number/of"):
        read_shard(text)
