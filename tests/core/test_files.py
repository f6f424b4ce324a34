import errno
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import (
    BadInput,
    atomic_write,
    digest,
    plain,
    read_json,
    read_table,
    write_json,
    write_table,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError), atomic_write(path) as tmp:
        tmp.write_text("half")
        raise ZeroDivisionError
    assert read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_bad_input_that_names_the_file(tmp_path):
    with (
        pytest.raises(BadInput, match=r"a\.json: cannot write: No space left"),
        atomic_write(tmp_path / "a.json") as tmp,
    ):
        tmp.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    code = f"""
        import os, signal
        from moodlens.core import atomic_write
        with atomic_write({str(path)!r}) as tmp:
            tmp.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_json(path) == {"old": 1}


@given(JSON)
def test_json_comes_back(value):
    assert json.loads(json.dumps(plain(value))) == value


def test_plain_turns_numpy_and_nan_into_strict_json():
    value = {
        "a": np.float32(1.5),
        "b": np.arange(3),
        "c": math.nan,
        4: (np.int64(1), math.inf),
        "d": np.bool_(True),
    }
    assert plain(value) == {"a": 1.5, "b": [0, 1, 2], "c": None, "4": [1, None], "d": True}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "line 1, column 2"),
        (b"{\xff", "not UTF-8"),
        (b"[NaN]", "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "line 1, column 1"),
    ],
)
def test_broken_json_names_file_and_place(tmp_path, content, message):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        read_json(tmp_path / "x.json")
    assert "x.json" in str(caught.value)


def test_truncated_parquet_is_bad_input(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, pl.DataFrame({"a": list(range(1000))}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"t\.parquet"):
        read_table(path)
    with pytest.raises(BadInput, match="No such file"):
        read_table(Path("nowhere.parquet"))


def test_digest_sees_values_shapes_and_types_but_not_key_order():
    a = np.arange(6, dtype=np.float32)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    others = [
        digest(a),
        digest(a.reshape(2, 3)),
        digest(a.astype(np.float64)),
        digest(a + 1),
        digest(a, a),
        digest([1]),
    ]
    assert len(set(others)) == len(others)
    assert digest(a) == digest(np.ascontiguousarray(a[::1]))
    assert digest(a.reshape(2, 3).T) == digest(np.ascontiguousarray(a.reshape(2, 3).T))
