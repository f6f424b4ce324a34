"""Users' tables: what is read, and the one line that says what is wrong and where."""

import json
import re

import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.prompts import COLUMNS, assign_splits, generate, read_prompts

ROWS = [
    {"caption": "a merry tune", "mood": "happy", "who": "ann", "part": "train", "key": "1"},
    {"caption": ' slow and sad, "really" ', "mood": "sad", "who": "bob", "part": "", "key": "2"},
    {"caption": "drums — naïve", "mood": None, "who": None, "part": "held_out", "key": "3"},
]
NAMED = {
    "text_column": "caption",
    "emotion_column": "mood",
    "group_column": "who",
    "split_column": "part",
    "id_column": "key",
}


def write(path, rows=ROWS):
    if path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    elif path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".ndjson", ".parquet", ".CSV"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    path = tmp_path / f"mine{suffix.lower()}"
    frame = read_prompts(write(path).rename(tmp_path / f"mine{suffix}"), **NAMED)
    assert tuple(frame.columns) == COLUMNS
    assert set(frame.dtypes) == {pl.String}
    assert frame["text"].to_list() == ["a merry tune", 'slow and sad, "really"', "drums — naïve"]
    assert frame["emotion"].to_list() == ["happy", "sad", None]
    assert frame["kind"].to_list() == ["plain", "plain", "unlabelled"]
    assert frame["group"].to_list() == ["ann", "bob", "mine-3"]
    assert frame["split"].to_list() == ["train", "", "held_out"]
    assert frame["id"].to_list() == ["1", "2", "3"]
    assert set(frame["source"]) == {path.with_suffix(suffix).name}


def test_texts_alone_are_enough(tmp_path):
    frame = read_prompts(write(tmp_path / "mine.csv"), text_column="caption")
    assert set(frame["kind"]) == {"unlabelled"}
    assert frame["id"].to_list() == frame["group"].to_list() == ["mine-1", "mine-2", "mine-3"]


def test_csv_values_stay_text(tmp_path):
    (tmp_path / "n.csv").write_text("t,id\n007,01\n1e3,02\n")
    frame = read_prompts(tmp_path / "n.csv", text_column="t", id_column="id")
    assert frame["text"].to_list() == ["007", "1e3"]
    assert frame["id"].to_list() == ["01", "02"]


def test_a_byte_order_mark_and_quoted_newlines_are_no_trouble(tmp_path):
    (tmp_path / "bom.csv").write_bytes(b'\xef\xbb\xbft,m\r\n"two\r\nlines",a\r\nb,b\r\n')
    frame = read_prompts(tmp_path / "bom.csv", text_column="t", emotion_column="m")
    assert frame["text"][0].split() == ["two", "lines"]
    (tmp_path / "bom.jsonl").write_bytes(b'\xef\xbb\xbf{"t": "x"}\n')
    assert read_prompts(tmp_path / "bom.jsonl", text_column="t")["text"].to_list() == ["x"]


def test_tables_mix_with_generated_prompts(tmp_path):
    rows = [{"caption": f"text {n}", "mood": ("happy", "sad")[n % 2]} for n in range(12)]
    mine = read_prompts(write(tmp_path / "mine.csv", rows), text_column="caption", emotion_column="mood")
    both = assign_splits(pl.concat([generate(300, seed=0), mine]), seed=0)
    assert both.height == 312
    assert both["id"].n_unique() == 312
    assert set(both.filter(pl.col("source") == "mine.csv")["split"]) <= {"train", "val", "test"}


def check(path, says, **named):
    with pytest.raises(BadInput, match=re.escape(says)) as caught:
        read_prompts(path, **({"text_column": "caption"} | named))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))


def test_missing_columns_are_named_with_those_there_are(tmp_path):
    path = write(tmp_path / "mine.csv")
    check(path, "has no column 'text'; it has caption, mood, who, part, key", text_column="text")
    check(path, "has no column 'label'", emotion_column="label")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("blank", ["", "   ", None])
def test_empty_texts_are_named_by_row(tmp_path, suffix, blank):
    rows = [ROWS[0], ROWS[1] | {"caption": blank}]
    check(write(tmp_path / f"mine{suffix}", rows), "row 2: column 'caption' is empty")


def test_nan_is_not_a_text(tmp_path):
    path = tmp_path / "mine.parquet"
    pl.DataFrame({"caption": [float("nan"), 1.0]}).write_parquet(path)
    check(path, "column 'caption' holds Float64, not text")
    (tmp_path / "mine.jsonl").write_text('{"caption": "a"}\n{"caption": NaN}\n')
    check(tmp_path / "mine.jsonl", "line 2 holds NaN, which is no value in JSON; use null")
    (tmp_path / "mine.csv").write_text("caption\na\nNaN\n")
    check(tmp_path / "mine.csv", "row 2: column 'caption' is NaN")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_nan_is_not_a_label(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    frame = pl.DataFrame({"caption": ["a", "b", "c"], "mood": [0.0, 1.0, float("nan")]})
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_csv(path)
    check(path, "row 3: column 'mood' is NaN", emotion_column="mood")


def test_values_of_several_kinds_in_one_column(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"caption": "a"}\n{"caption": {"text": "b"}}\n')
    check(tmp_path / "mine.jsonl", "mixes kinds of values")


def test_unknown_splits_are_named(tmp_path):
    path = write(tmp_path / "mine.csv", [ROWS[0], ROWS[1] | {"part": "trian"}])
    check(
        path,
        "row 2: column 'part': unknown split 'trian'; use train, val, test, held_out",
        split_column="part",
    )


def test_repeated_and_empty_ids_are_named(tmp_path):
    path = write(tmp_path / "mine.csv", [ROWS[0], ROWS[1], ROWS[2] | {"key": "1"}])
    check(path, "row 3: column 'key' repeats '1' of row 1", id_column="key")
    path = write(tmp_path / "other.csv", [ROWS[0] | {"key": ""}, ROWS[1]])
    check(path, "row 1: column 'key' is empty", id_column="key")


def test_too_few_and_too_many_labels(tmp_path):
    path = write(tmp_path / "one.csv", [ROWS[0], ROWS[0]])
    check(path, "column 'mood' holds 1 different label (happy); 2 to 50 are needed", emotion_column="mood")
    rows = [{"caption": "x", "mood": f"mood {n}"} for n in range(51)]
    path = write(tmp_path / "many.csv", rows)
    check(path, "holds 51 different labels", emotion_column="mood")
    check(write(tmp_path / "none.csv", [ROWS[0] | {"mood": ""}]), "0 different labels", emotion_column="mood")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_empty_files(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    path.touch()
    check(path, "is empty")


def test_a_header_alone_has_no_rows(tmp_path):
    (tmp_path / "mine.csv").write_text("caption,mood\n")
    check(tmp_path / "mine.csv", "has no rows")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    check(tmp_path / "blank.jsonl", "is empty")
    pl.DataFrame({"caption": []}, schema={"caption": pl.String}).write_parquet(tmp_path / "mine.parquet")
    check(tmp_path / "mine.parquet", "has no rows")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_other_encodings_are_named_by_line(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    text = "caption\nfine\ncafé\n" if suffix == ".csv" else '{"caption": "fine"}\n\n{"caption": "café"}\n'
    path.write_bytes(text.encode("latin-1"))
    check(path, "not UTF-8 text (line 3, byte")


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated_parquet(tmp_path, keep):
    path = write(tmp_path / "mine.parquet", ROWS * 50)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    check(path, "not a readable PARQUET file")


def test_broken_json_is_named_by_line(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"caption": "a"}\n{"caption": "b"\n')
    check(path, "line 2 is not valid JSON")
    path.write_text('{"caption": "a"}\n["b"]\n')
    check(path, "line 2 is not a JSON object")


def test_ragged_csv(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("caption,mood\na,happy\nb,sad,extra\n")
    check(path, "not a readable CSV file")


def test_lists_are_not_texts(tmp_path):
    path = write(
        tmp_path / "mine.jsonl", [{"caption": ["a"], "mood": ["x"]}, {"caption": ["b"], "mood": ["y"]}]
    )
    check(path, "column 'caption' holds List(String), not text")
    path = write(tmp_path / "nested.jsonl", [{"caption": "a", "mood": ["x"]}])
    check(path, "column 'mood' holds List(String), not one value a row", emotion_column="mood")


def test_missing_files_folders_and_unknown_formats(tmp_path):
    check(tmp_path / "nowhere.csv", "no such file")
    check(tmp_path, "is a folder")
    (tmp_path / "mine.xlsx").write_text("x")
    check(tmp_path / "mine.xlsx", "cannot tell its format; name it .csv, .jsonl, .ndjson or .parquet")
