"""Tables as the programs of this world write them: each is read right, or one line names the place and the cure."""

import bz2
import gzip
import io
import json
import lzma
import re

import polars as pl
import pytest

from helpers.tables import pairs, read
from moodlens.cli.target import study_for, text_table
from moodlens.core import BadInput

TEXTS = ["a merry tune", "a lonely cello", "a serene harp"]
LABELS = ["happy", "sad", "calm"]
ROWS = list(zip(TEXTS, LABELS, strict=True))
PLAIN = "caption,mood\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
QUOTED = 'caption,mood\n"a 12"" single, merry",happy\n"two\nlines",sad\nthird,calm\n'


def separated(mark: str) -> str:
    return PLAIN.replace(",", mark)


def objects(**more) -> list[dict]:
    return [{"caption": text, "mood": label, **more} for text, label in ROWS]


def lines(rows) -> str:
    return "\n".join(json.dumps(row) for row in rows)


BY_ROW = [{str(i): value for i, value in enumerate(values)} for values in (TEXTS, LABELS)]
READ = {
    "plain.csv": PLAIN,
    "no newline at the end.csv": PLAIN.rstrip("\n"),
    "windows.csv": PLAIN.replace("\n", "\r\n"),
    "mac.csv": PLAIN.replace("\n", "\r"),
    "doubled returns.csv": PLAIN.replace("\n", "\r\r\n"),
    "mixed ends.csv": PLAIN.replace("\n", "\r\n", 2),
    "bom.csv": "\ufeff" + PLAIN,
    "bom twice.csv": "\ufeff\ufeff" + PLAIN,
    "bom quoted.csv": "\ufeff" + PLAIN.replace("caption", '"caption"'),
    "utf-16, Excel's Unicode text.txt": separated("\t").encode("utf-16"),
    "utf-16 big.csv": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "utf-16 without a mark.csv": PLAIN.encode("utf-16-le"),
    "utf-16 big without a mark.csv": PLAIN.encode("utf-16-be"),
    "utf-32.csv": PLAIN.encode("utf-32"),
    "semicolons, Excel in German.csv": separated(";"),
    "tabs.csv": separated("\t"),
    "tabs.tsv": separated("\t"),
    "commas after all.tsv": PLAIN,
    "bars.txt": separated("|"),
    "sep line.csv": "sep=;\n" + separated(";"),
    "sep line of commas.csv": "sep=,\n" + PLAIN,
    "comment.csv": "# my captions, 2024\n" + PLAIN,
    "comments within.csv": "# begin\n" + PLAIN + "# end\n",
    "title.csv": "Captions of 2024\n\n" + PLAIN,
    "title of a sheet.csv": "Captions of 2024,\n,\n" + PLAIN,
    "blank lines at the end.csv": PLAIN + "\n\n",
    "blank line within.csv": PLAIN.replace("a lonely", "\na lonely"),
    "empty rows of a sheet.csv": PLAIN + ",\n,\n",
    "blanks.csv": "caption,mood\n  a merry tune ,happy \na lonely cello, sad\na serene harp,\tcalm\n",
    "space after the comma.csv": PLAIN.replace(",", ", "),
    "space before a quote.csv": PLAIN.replace(",", ', "').replace("\n", '"\n'),
    "space after a quote.csv": "caption,mood\n" + "".join(f'"{t}" ,{m}\n' for t, m in ROWS),
    "comma at the end of rows.csv": PLAIN.replace("\n", ",\n").replace("mood,", "mood", 1),
    "comma at the end of all.csv": PLAIN.replace("\n", ",\n"),
    "quoted all.csv": PLAIN.replace(",", '","').replace("\n", '"\n"')[:-1].join(['"', ""]),
    "pandas index.csv": ",caption,mood\n" + "".join(f"{i},{t},{m}\n" for i, (t, m) in enumerate(ROWS)),
    "row names of R.csv": '"caption","mood"\n' + "".join(f'"{i}","{t}","{m}"\n' for i, (t, m) in enumerate(ROWS, 1)),
    "names in capitals.csv": PLAIN.replace("caption,mood", "CAPTION,Mood"),
    "names with blanks.csv": PLAIN.replace("caption,mood", " caption , mood"),
    "names on two lines.csv": PLAIN.replace("caption,mood", '"caption\n",mood'),
    "other columns.csv": "id,bpm,caption,x,mood\n" + "".join(f'{i},"1,5",{t},,{m}\n' for i, (t, m) in enumerate(ROWS)),
    "other columns in latin-1.csv": ("caption,mood,caf\u00e9\n" + "".join(f"{t},{m},caf\u00e9\n" for t, m in ROWS)).encode("latin-1"),
    "other columns twice.csv": "x,x,caption,mood\n" + "".join(f"1,2,{t},{m}\n" for t, m in ROWS),
    "short rows that hold all.csv": "caption,mood,note\n" + "".join(f"{t},{m}\n" for t, m in ROWS),
    "end of file mark of DOS.csv": PLAIN + "\x1a",
    "many columns.csv": ",".join(["caption", "mood", *map(str, range(500))]) + "\n"
    + "".join(",".join([t, m, *["0"] * 500]) + "\n" for t, m in ROWS),
    "packed.csv.gz": gzip.compress(PLAIN.encode()),
    "packed.tsv.bz2": bz2.compress(separated("\t").encode()),
    "packed.jsonl.xz": lzma.compress(lines(objects()).encode()),
    "packed without saying so.csv": gzip.compress(PLAIN.encode()),
    "put end to end.csv": PLAIN[: PLAIN.index("a lonely")] + PLAIN.replace("a merry tune,happy\n", ""),
    "marked and put end to end.csv": "\ufeff" + PLAIN[: PLAIN.index("a lonely")] + "\ufeff" + PLAIN.replace("a merry tune,happy\n", ""),
    "lines.jsonl": lines(objects()),
    "twice elsewhere.jsonl": lines(objects(x=1)).replace('"x": 1', '"x": 1, "x": 2'),
    "lines.ndjson": lines(objects()) + "\n\n",
    "lines in windows.jsonl": "\ufeff" + lines(objects()).replace("\n", "\r\n"),
    "lines.json": lines(objects()),
    "list.json": json.dumps(objects()),
    "list.jsonl": json.dumps(objects(), indent=1),
    "mixed kinds elsewhere.jsonl": lines([row | {"meta": meta} for row, meta in zip(objects(), ({"a": 1}, ["x"], 3), strict=True)]),
    "nan elsewhere.jsonl": lines(objects(bpm=float("nan"))),
    "endless elsewhere.jsonl": lines(objects(bpm=float("inf"))),
    "keys here and there.jsonl": lines([row | {f"x{i}": i} for i, row in enumerate(objects())]),
    "columns.json": json.dumps({"caption": TEXTS, "mood": LABELS}),
    "pandas.json": json.dumps(dict(zip(("caption", "mood"), BY_ROW, strict=True))),
    "list over lines.json": json.dumps(objects(), indent=2),
    "pandas table.json": json.dumps({"schema": {"fields": [{"name": "caption"}]}, "data": objects()}),
    "under data.json": json.dumps({"version": 1, "data": objects()}, indent=2),
    "names in capitals.jsonl": lines([{name.upper(): value for name, value in row.items()} for row in objects()]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_dialects_are_read(tmp_path, name):
    content = READ[name]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert pairs(path) == ROWS


def test_a_text_that_is_the_name_of_its_column_stays(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("word\nword\nother\n")
    assert read(path, text_column="word", emotion_column=None)[0]["text"].to_list() == ["word", "other"]
    path.write_text("caption,mood\ncaption,happy\nother,mood\n")
    assert pairs(path) == [("caption", "happy"), ("other", "mood")]


def test_one_column_is_lines_whatever_they_hold(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(
        'caption\na merry, happy tune\n"quoted, too"\n"Happy" by Pharrell; live\n', encoding="utf-8"
    )
    frame, report = read(path, emotion_column=None)
    assert frame["text"].to_list() == ["a merry, happy tune", "quoted, too", '"Happy" by Pharrell; live']
    assert report.dialect == "lines"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_the_dialect_and_the_encoding_are_told(tmp_path, name):
    path = tmp_path / name
    text = {"a.csv": separated(";"), "a.tsv": separated("\t"), "a.jsonl": lines(objects())}[name]
    path.write_bytes(text.encode("utf-8-sig"))
    _, report = read(path)
    assert report.encoding == "utf-8-sig"
    assert (
        report.dialect
        == {
            "a.csv": "text separated by semicolons",
            "a.tsv": "text separated by tabs",
            "a.jsonl": "JSON lines",
        }[name]
    )


PARQUET = {
    "plain": pl.Series(LABELS),
    "categorical": pl.Series(LABELS, dtype=pl.Categorical),
    "enum": pl.Series(LABELS, dtype=pl.Enum(LABELS)),
    "binary": pl.Series([label.encode() for label in LABELS]),
}


@pytest.mark.parametrize("kind", PARQUET)
def test_parquet_as_polars_writes_it(tmp_path, kind):
    values = PARQUET[kind]
    text = pl.Series(TEXTS).cast(values.dtype) if kind == "categorical" else pl.Series(TEXTS)
    frame = pl.DataFrame({"caption": text, "mood": values, "audio": [{"bytes": b"x", "rate": [1]}] * 3})
    frame.write_parquet(tmp_path / "mine.parquet")
    assert pairs(tmp_path / "mine.parquet") == ROWS


def test_parquet_as_arrow_writes_it(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    labels = arrow.array(LABELS).dictionary_encode()
    table = arrow.table({"caption": arrow.array(TEXTS, arrow.large_string()), "mood": labels})
    parquet.write_table(table, tmp_path / "large.parquet")
    assert pairs(tmp_path / "large.parquet") == ROWS


@pytest.mark.parametrize(
    "name",
    [
        "a[1].csv",
        "a*.csv",
        "a?.parquet",
        "{a}.parquet",
        "é ü.csv",
        "~$a.csv",
        "a b.parquet",
        "-.csv",
        "a#%20.csv",
    ],
)
def test_names_are_names(tmp_path, name, monkeypatch):
    for other in ("a1.csv", "ab.csv", "a.csv", "aa.parquet", "a.parquet"):
        write(tmp_path / other, ROWS[::-1])
    write(tmp_path / name, ROWS)
    assert pairs(tmp_path / name) == ROWS
    monkeypatch.chdir(tmp_path)
    assert pairs(name) == ROWS


def test_the_home_folder_is_meant_by_a_tilde_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a b.csv", ROWS)
    assert pairs("~/a b.csv") == ROWS
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "~nobody.csv", ROWS[::-1])
    assert pairs("~nobody.csv") == ROWS[::-1]


def write(path, rows):
    frame = pl.DataFrame(rows, schema=["caption", "mood"], orient="row")
    path.write_bytes(frame.write_csv().encode()) if path.suffix == ".csv" else frame.write_parquet(path)


def test_values_of_json_that_are_no_text_stay_what_they_say(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(lines([{"caption": t, "mood": i} for i, t in enumerate(TEXTS)]))
    assert pairs(path) == list(zip(TEXTS, "012", strict=True))
    path.write_text(lines([{"caption": t, "mood": i > 0} for i, t in enumerate(TEXTS)]))
    assert pairs(path) == list(zip(TEXTS, ["false", "true", "true"], strict=True))


ZSTD = bytes.fromhex("28b52ffd0418b90000") + b"caption,mood\na,happy\nb,sad\n"
"""How a file that zstd packed begins."""
REFUSED = {
    "empty.csv": ("", "is empty"),
    "blank.csv": ("\ufeff \n\r\n", "is empty"),
    "header alone.csv": ("caption,mood\n", "has no rows"),
    "header alone.jsonl": (" \n", "is empty"),
    "nothing in a list.json": ("[]", "has no column 'caption'; it has none"),
    "no header.csv": ("a merry tune,happy\na lonely cello,sad\n", "has no column 'caption'; it has a merry tune, happy"),
    "near name.csv": (PLAIN.replace("caption", "captions"), "has no column 'caption'; it has captions, mood; did you mean 'captions'?"),
    "twice.csv": (PLAIN.replace("mood", "mood,mood"), "column 'mood' is there 2 times; rename all but one"),
    "twice but for case.csv": (PLAIN.replace("mood", "Mood,MOOD"), "column 'mood' is there 2 times"),
    "latin-1.csv": (PLAIN.replace("cello", "café").encode("latin-1"), "row 2: column 'caption' is not UTF-8 text; mend it, or save it as UTF-8"),
    "latin-1 name.csv": (PLAIN.replace("caption", "légende").encode("latin-1"), "not UTF-8 text (line 1, byte 1); save it as UTF-8 (in Excel: CSV UTF-8)"),
    "latin-1 elsewhere.csv": (("Mood" + PLAIN.replace(",happy", ",café")).encode("latin-1"), "has no column 'caption'; it has Moodcaption, mood"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n\xff\xfe", "not UTF-8 text (line 1, byte 0)"),
    "latin-1.jsonl": (lines([{"caption": "x", "mood": "caf\u00e9"}]).replace("\\u00e9", "é").encode("latin-1"), "row 1: column 'mood' is not UTF-8 text"),
    "half of utf-16.csv": (PLAIN.encode("utf-16")[:-1], "not UTF-16 text"),
    "nul.csv": (PLAIN.replace("cello", "cel\0lo"), "line 3 holds a NUL byte"),
    "workbook.csv": (b"PK\x03\x04" + bytes(30), "is a workbook or an archive; save the sheet as CSV UTF-8"),
    "packed.csv.zst": (ZSTD, "is packed by zstd; unpack it (zstd -d)"),
    "packed without saying so.csv": (ZSTD, "is packed by zstd; unpack it (zstd -d)"),
    "packed.parquet.zst": (ZSTD, "is packed by zstd; unpack it (zstd -d)"),
    "half packed.csv.gz": (gzip.compress(PLAIN.encode())[:40], "cannot be unpacked: "),
    "half packed.csv.bz2": (bz2.compress(PLAIN.encode())[:40], "cannot be unpacked: "),
    "half packed.csv.xz": (lzma.compress(PLAIN.encode())[:40], "cannot be unpacked: "),
    "comma in a text.csv": (PLAIN.replace("lonely", "lonely, sad"), "row 2 (line 3): 3 cells for the 2 columns caption, mood; write quotes around a text that holds ','"),
    "cell missing.csv": (PLAIN.replace(",sad", ""), "row 2 (line 3): 1 cell for the 2 columns caption, mood; column 'mood' is missing"),
    "quote left open.csv": (PLAIN.replace("a lonely", '"a lonely'), "row 2 (line 3): column 'caption': a quote opens and does not close"),
    "quote open in the last row.csv": (PLAIN.replace("a serene", '"a serene'), "row 3 (line 4): column 'caption': a quote opens"),
    "quote and comma.csv": ('caption,mood\n"a, 12" single",happy\nb,sad\n', "row 1 (line 2): column 'caption': a quote opens and does not close, or text follows it; write a quote within a text as \"\""),
    "broken line.jsonl": ('{"caption": "a"}\n{"caption": "b"\n', "line 2 is not valid JSON (column 16)"),
    "broken list.json": ('[{"caption": "a"},\n{"caption" "b"}]', "line 2 is not valid JSON (column 12)"),
    "python's own.jsonl": ("{'caption': 'a'}\n", "line 1 is not valid JSON (column 2)"),
    "lists.jsonl": ('{"caption": "a", "mood": "b"}\n["b"]\n', "row 2 is not a JSON object"),
    "list of lists.json": ('[["caption", "mood"], ["a", "b"]]', "row 1 is not a JSON object"),
    "words.json": ('"caption"', "row 1 is not a JSON object"),
    "deep.json": ("[" * 100_000, "line 1 holds a value too large to read"),
    "long number.jsonl": (f'{{"caption": "a", "mood": {"1" * 5000}}}\n', "line 1 holds a value too large to read"),
    "half a letter.jsonl": ('{"caption": "a", "mood": "x"}\n{"caption": "\\ud83d", "mood": "y"}\n', "row 2: column 'caption' holds half a character"),
    "list as text.jsonl": ('{"caption": ["a"], "mood": "x"}\n{"caption": "b", "mood": "y"}\n', "row 1: column 'caption' holds a list, not text"),
    "object as label.jsonl": ('{"caption": "a", "mood": {"x": 1}}\n{"caption": "b", "mood": "y"}\n', "row 1: column 'mood' holds an object, not one value"),
    "twice in an object.jsonl": ('{"caption": "a", "mood": "x", "mood": "y"}\n{"caption": "b", "mood": "y"}\n', "row 1: column 'mood' holds two values, not one value"),
    "number as text.jsonl": ('{"caption": "a", "mood": "x"}\n{"caption": 5, "mood": "y"}\n', "row 2: column 'caption' holds a number, not text"),
    "columns of two lengths.json": ('{"caption": ["a", "b"], "mood": ["x"]}', "its columns differ in length"),
    "not parquet.parquet": (PLAIN, "not a readable Parquet file"),
    "mine.xlsx": (PLAIN, "cannot tell its format; name it .csv, .tsv, .txt, .json, .jsonl, .ndjson or .parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_in_doubt_is_one_line_with_the_place(tmp_path, name):
    content, says = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(BadInput, match=re.escape(says)) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_folders_and_files_that_are_not_there(tmp_path):
    for path, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "no.csv", "no such file"),
        ("a\0b.csv", "no such file"),
    ):
        with pytest.raises(BadInput, match=says):
            read(path)


def test_a_folder_of_parquet_files_is_no_table(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(3):
        pl.DataFrame({"caption": TEXTS[i : i + 1], "mood": LABELS[i : i + 1]}).write_parquet(
            folder / f"{i}.parquet"
        )
    columns = ("caption", "mood", None)
    for ask in (
        lambda: read(folder),
        lambda: study_for(folder, tmp_path / "out", [], *columns),
        lambda: text_table(folder, *columns),
    ):
        with pytest.raises(
            BadInput, match=r"is a folder of Parquet files \(3\); a table is one file"
        ) as caught:
            ask()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.95])
def test_truncated_parquet(tmp_path, keep):
    path = tmp_path / "mine.parquet"
    pl.DataFrame({"caption": TEXTS * 100, "mood": LABELS * 100}).write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(BadInput, match="not a readable Parquet file"):
        read(path)


def test_a_long_text_and_many_rows(tmp_path):
    path = tmp_path / "long.csv"
    long = "la " * 400_000 + '"'
    path.write_text(f'caption,mood\n"{long.replace(chr(34), chr(34) * 2)}",happy\nx,sad\n', encoding="utf-8")
    assert pairs(path)[0][0] == long
    rows = pl.DataFrame(
        {"caption": [f"text {i}" for i in range(100_000)], "mood": LABELS[:2] * 50_000, "n": range(100_000)}
    )
    buffer = io.BytesIO()
    rows.write_csv(buffer)
    (tmp_path / "many.csv").write_bytes(buffer.getvalue())
    frame, report = read(tmp_path / "many.csv", id_column="n")
    assert frame.height == report.n_read == 100_000
