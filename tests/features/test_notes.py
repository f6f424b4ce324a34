"""Readings survive two writers at once and a writer killed in the middle."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from moodlens.core import BadInput
from moodlens.study.notes import Notes

_WRITER = """
import sys
from moodlens.study.notes import Notes
notes, author = Notes(sys.argv[1]), sys.argv[2]
for i in range(int(sys.argv[3])):
    notes.add(i, sae="main", name=f"name {i}", clarity="clear", note="x" * 500, author=author)
    print(i, flush=True)
"""


def _writer(path, author, n):
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), author, str(n)], stdout=subprocess.PIPE, text=True
    )


def test_readings_come_back_newest_last_and_the_newest_counts(tmp_path):
    notes = Notes(tmp_path / "notes.db")
    assert notes.all() == []
    assert notes.readings().height == 0
    assert not notes.path.exists()
    moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    notes.add(42, sae="main", name=" joyful \n celebration ", clarity="clear", author="Ada", time=moment)
    notes.add(7, sae="main", name="", clarity="unclear", note="fires for bells too")
    notes.add(42, sae="main", name="party", clarity="clear")
    notes.add(42, sae="other", name="rain", clarity="clear")
    first = notes.all()[0]
    assert (first.name, first.author, first.time) == (
        "joyful celebration",
        "Ada",
        "2030-01-02T03:04:05+00:00",
    )
    assert notes.latest("main")[42].name == "party"
    assert notes.latest()[42].name == "rain"
    table = Notes(notes.path).readings("main")
    assert table["feature"].to_list() == [7, 42]
    assert table["reading"].to_list() == [None, "party"]
    assert table["reading_clarity"].to_list() == ["unclear", "clear"]


def test_what_is_not_a_reading_is_refused_in_one_line(tmp_path):
    notes = Notes(tmp_path / "notes.db")
    with pytest.raises(BadInput, match="clear or unclear"):
        notes.add(1, sae="main", name="x", clarity="maybe")
    with pytest.raises(BadInput, match="needs a name"):
        notes.add(1, sae="main", name="  ", clarity="clear")
    with pytest.raises(BadInput, match="counted from 0"):
        notes.add(-1, sae="main", name="x", clarity="clear")
    assert notes.all() == []
    notes.path.write_text("this is no database, whatever its name says " * 50)
    for use in (notes.all, lambda: notes.add(1, sae="main", name="x", clarity="clear")):
        with pytest.raises(BadInput, match=r"notes\.db: cannot use as notes") as error:
            use()
        assert "\n" not in str(error.value)


def test_two_writers_at_once_lose_nothing(tmp_path):
    path = tmp_path / "notes.db"
    writers = [_writer(path, author, 40) for author in ("ada", "bob")]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    by_author = {"ada": [], "bob": []}
    for reading in Notes(path).all():
        by_author[reading.author].append(reading.feature)
    assert by_author == {"ada": list(range(40)), "bob": list(range(40))}


def test_a_killed_writer_leaves_whole_readings_and_a_file_that_takes_more(tmp_path):
    path = tmp_path / "notes.db"
    writer = _writer(path, "ada", 100_000)
    assert writer.stdout is not None
    confirmed = [int(writer.stdout.readline()) for _ in range(15)]
    os.kill(writer.pid, signal.SIGKILL)
    # Through the same buffer as before: what was read ahead is in it.
    rest = [int(line) for line in writer.stdout.read().splitlines() if line]
    writer.wait(timeout=60)
    assert writer.returncode == -signal.SIGKILL
    kept = Notes(path).all()
    # Everything that was confirmed is there, in order; at most one more was written and not yet confirmed.
    assert [r.feature for r in kept][: len(confirmed + rest)] == confirmed + rest
    assert len(kept) <= len(confirmed + rest) + 1
    assert {(r.name, r.note) for r in kept} == {(f"name {r.feature}", "x" * 500) for r in kept}
    Notes(path).add(3, sae="main", name="after", clarity="clear")
    assert Notes(path).latest()[3].name == "after"


def test_a_file_that_a_killed_writer_left_empty_holds_no_reading(tmp_path):
    path = tmp_path / "notes.db"
    path.write_bytes(b"")
    assert Notes(path).all() == []
    Notes(path).add(3, sae="main", name="bells", clarity="clear")
    assert [reading.name for reading in Notes(path).all()] == ["bells"]


def test_one_of_two_writers_is_killed_and_nothing_that_was_confirmed_is_lost(tmp_path):
    path = tmp_path / "notes.db"
    killed, other = _writer(path, "ada", 100_000), _writer(path, "bob", 60)
    assert killed.stdout is not None
    confirmed = [int(killed.stdout.readline()) for _ in range(15)]
    os.kill(killed.pid, signal.SIGKILL)
    confirmed += [int(line) for line in killed.stdout.read().splitlines() if line]
    killed.wait(timeout=60)
    said = [int(line) for line in other.communicate(timeout=120)[0].splitlines()]
    assert other.returncode == 0
    assert said == list(range(60))
    kept = {author: [r.feature for r in Notes(path).all() if r.author == author] for author in ("ada", "bob")}
    assert kept["bob"] == said
    assert kept["ada"][: len(confirmed)] == confirmed
    assert len(kept["ada"]) <= len(confirmed) + 1
