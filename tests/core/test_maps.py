"""Arrays on disk: the same as in memory, and a disk that is full is said."""

import subprocess
import sys

import numpy as np
import pytest

from moodlens.core import maps
from moodlens.core.maps import blocks, columns_of, room

FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
from moodlens.core import BadInput
from moodlens.core.maps import room
try:
    room(10_000, 100, held=1)
except BadInput as error:
    print(error)
"""


def test_room_on_disk_and_in_memory_take_the_same_rows():
    rows = np.random.default_rng(0).standard_normal((300, 7)).astype(np.float32)
    for held in (1, 2**20):
        out = room(300, 7, held)
        out[:] = rows
        assert (held == 1) == isinstance(out, np.memmap)
        np.testing.assert_array_equal(np.concatenate(list(blocks(out, size=11))), rows)
        chosen = np.array([0, 5, 6, 299])
        np.testing.assert_array_equal(columns_of(out, chosen, slice(2, 5)), rows[chosen, 2:5])


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_disk_without_room_is_one_line_that_says_what_to_do():
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    assert "10,000 rows of 100 numbers" in done.stdout
    assert "TMPDIR" in done.stdout
    assert not done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="counts mapped pages as Linux does")
def test_pages_of_all_arrays_on_disk_are_given_back_by_whoever_reads(monkeypatch):
    large = room(2**20, 16, held=1)  # 64 MiB
    large[:] = 1
    before = maps._mapped()
    monkeypatch.setattr(maps, "HELD", 0)
    monkeypatch.setattr(maps, "_LOOK", 1)
    assert sum(1 for _ in blocks(np.zeros((10, 3)), size=4)) == 3
    assert before - maps._mapped() > 2**25
    assert large[::1000].min() == large.max() == 1
    n = len(maps._rooms)
    del large
    assert len(maps._rooms) == n - 1


@pytest.mark.skipif(sys.platform != "linux", reason="knows the folders of Linux")
def test_large_files_do_not_lie_where_the_folder_may_be_memory(monkeypatch, tmp_path):
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert maps._large_files() == "/var/tmp"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # it is asked for once
    assert maps._large_files() == str(tmp_path)
