"""A unit is done when its record and its file say so, whoever did it; anything else is done again."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from helpers.work_units import die, die_once, refuse, squares
from moodlens.core import BadInput
from moodlens.engine import Here, Pool, Unit, done, work
from moodlens.engine.units import result_path, seconds_in
from moodlens.settings.engine import EngineSettings


def units_of(count: Path, n: int = 4) -> list[Unit]:
    return [
        Unit(f"unit {i}", f"{i:064x}", squares, {"n": 10 + i, "count": count}) for i in range(n)
    ]  # fmt: skip


def times(count: Path) -> int:
    return len(count.read_text()) if count.exists() else 0


@pytest.mark.parametrize("executor", [Here(), Pool(EngineSettings(kind="pool", workers=2))], ids=["here", "pool"])  # fmt: skip
def test_what_is_done_is_not_done_again_and_what_is_damaged_is(executor, tmp_path):
    folder, count = tmp_path / "units", tmp_path / "count"
    units = units_of(count)
    assert sorted(i for i, _ in executor.each(units, folder)) == [0, 1, 2, 3]
    assert times(count) == 4
    for i, unit in enumerate(units):
        np.testing.assert_array_equal(load_file(result_path(unit, folder))["x"], np.arange(10 + i) ** 2)
    assert {i: record.facts for i, record in executor.each(units, folder)} == {i: {"n": 10 + i} for i in range(4)}  # fmt: skip
    assert times(count) == 4
    whole = result_path(units[1], folder).read_bytes()
    result_path(units[0], folder).write_bytes(b"")
    result_path(units[1], folder).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # a flipped bit
    result_path(units[2], folder).with_suffix(".json").write_text("{}")
    list(executor.each(units, folder))
    assert times(count) == 7
    assert result_path(units[1], folder).read_bytes() == whole
    assert not list(folder.glob(".*"))


def test_what_is_wrong_with_a_unit_is_said_as_it_is(tmp_path):
    for executor in (Here(), Pool(EngineSettings(kind="pool", workers=1))):
        with pytest.raises(BadInput, match=r"^no luck$"):
            list(executor.each([Unit("unit", "a" * 64, refuse, {"what": "luck"})], tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_work_of_a_worker_that_dies_is_done_by_another(tmp_path):
    pool = Pool(EngineSettings(kind="pool", workers=2, retries=1))
    units = [*units_of(tmp_path / "count", 2), Unit("unlucky", "f" * 64, die_once, {"mark": tmp_path / "mark"})]  # fmt: skip
    assert sorted(i for i, _ in pool.each(units, tmp_path / "units")) == [0, 1, 2]
    with pytest.raises(BadInput, match=r"workers died 2 times, last at doomed"):
        list(pool.each([Unit("doomed", "e" * 64, die)], tmp_path / "units"))
    assert done(units[0], tmp_path / "units") is not None


def test_a_folder_that_is_not_seen_and_another_version_are_refused(tmp_path):
    unit = units_of(tmp_path / "count", 1)[0]
    with pytest.raises(BadInput, match="all machines must see the study folder"):
        work(unit, tmp_path / "elsewhere")
    other = Unit(unit.name, unit.key, unit.function, unit.arguments, version="0.0.0")
    with pytest.raises(BadInput, match=r"not 0\.0\.0; install one version everywhere"):
        work(other, tmp_path)


def test_seconds_of_units_add_up(tmp_path):
    list(Here().each(units_of(tmp_path / "count", 2), tmp_path / "units"))
    (tmp_path / "units" / "broken.json").write_text("[]")
    assert 0 < seconds_in(tmp_path / "units") < 60
