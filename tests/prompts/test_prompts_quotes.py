"""Quotes, escapes and values that are none in separated text, whoever wrote it: read as meant, or refused."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tables import pairs, read, refused
from moodlens.core import BadInput
from moodlens.prompts.delimited import read_delimited

QUOTES = {
    "inch mark": ('a 12" single,happy', 'a 12" single'),
    "inch mark within quotes": ('"a 12" single",happy', 'a 12" single'),
    "quote at the start": ('"Happy" by Pharrell,happy', '"Happy" by Pharrell'),
    "quote at the end": ('they sing "la la",happy', 'they sing "la la"'),
    "doubled": ('"a 12"" single",happy', 'a 12" single'),
    "with a backslash": ('"a \\"big\\" band",happy', 'a "big" band'),
    "over two lines": ('"first\nsecond, third",happy', "first\nsecond, third"),
    "comma and quotes": ('"a big, ""loud"" band",happy', 'a big, "loud" band'),
    "apostrophe": ("rock 'n' roll,happy", "rock 'n' roll"),
    "hash": ("#happy #song,happy", "#happy #song"),
}


@pytest.mark.parametrize(("line", "text"), QUOTES.values(), ids=QUOTES)
def test_quotes(tmp_path, line, text):
    path = tmp_path / "mine.csv"
    path.write_text(f"caption,mood\n{line}\na lonely cello,sad\n", encoding="utf-8")
    assert pairs(path) == [(text, "happy"), ("a lonely cello", "sad")]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('"a 12\\"\nsingle, merry"', 'a 12"\nsingle, merry'),
        ('"he said \\"\nb,sad"', 'he said "\nb,sad'),
        ('"one \\", two"', 'one ", two'),
        ('"C:\\music\\"', "C:\\music\\"),
        ('"a \\\\"', "a \\\\"),
    ],
)
def test_a_quote_after_a_backslash_at_an_end_is_read_as_the_rest_of_the_file_allows(tmp_path, line, text):
    """By the RFC an escaped quote at the end of a line ends its cell, and the next line of the text is a row with a label."""
    path = tmp_path / "mine.csv"
    path.write_text(f"mood,caption\nhappy,{line}\nsad,a lonely cello\n", encoding="utf-8")
    assert pairs(path) == [(text, "happy"), ("a lonely cello", "sad")]


def tokens(*more: str) -> st.SearchStrategy[str]:
    """Texts out of what has a meaning in some dialect or other."""
    usual = [
        "a tune",
        '"',
        '""',
        ",",
        ";",
        "|",
        "\\",
        '\\"',
        "'",
        "#",
        " ",
        '12"',
        "sad",
        '"Wow',
        "\\N",
        "mood",
    ]
    return st.lists(st.sampled_from([*usual, *more]), min_size=1, max_size=6).map("".join)


LABELS = st.sampled_from(["happy", "sad"])
BROKEN = tokens(
    "\n", "\t", ",happy", "\thappy", "\nsad,b", "\nsad\t", "\nsad|x", "\nb;sad", "\nhappy\tx\t1", '"\n'
)
MARKS = st.sampled_from(",;|\t")
WRITERS = ("minimal", "all", "non-numeric", "polars")


def cells(text: str) -> dict[str, list[str | None]]:
    return read_delimited(Path("mine.csv"), text, {"text": "caption", "emotion": "mood"}, list.index)[0]


def by_rfc(rows: list[list[str]], mark: str, by: str, end: str) -> str:
    """A table as a program writes it: Python's csv (and so pandas), or polars."""
    if by == "polars":
        return pl.DataFrame(rows[1:], schema=rows[0], orient="row").write_csv(
            separator=mark, line_terminator=end
        )
    quoting = {"minimal": csv.QUOTE_MINIMAL, "all": csv.QUOTE_ALL, "non-numeric": csv.QUOTE_NONNUMERIC}[by]
    written = io.StringIO()
    csv.writer(written, delimiter=mark, quoting=quoting, lineterminator=end).writerows(rows)
    return written.getvalue()


@settings(max_examples=1500)
@given(
    st.lists(st.tuples(LABELS, BROKEN), min_size=1, max_size=5),
    st.permutations(["mood", "caption", "n"]),
    st.booleans(),
    MARKS,
    st.sampled_from(WRITERS),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_program_wrote_by_the_rfc_is_read_as_it_was_or_refused(rows, names, counted, mark, by, end):
    names = [name for name in names if counted or name != "n"]
    table = [{"mood": label, "caption": text, "n": str(n)} for n, (label, text) in enumerate(rows)]
    written = by_rfc([names, *([row[name] for name in names] for row in table)], mark, by, end)
    try:
        read = cells(written)
    except BadInput as error:
        assert "can be read in two ways" in str(error)  # noqa: PT017
        assert by != "all" or '\\"' in written
        return
    assert read["emotion"] == [label for label, _ in rows]
    assert read["text"] == [text.strip() for _, text in rows]


@settings(max_examples=500)
@given(st.lists(st.tuples(LABELS, tokens("7", "he said")), min_size=1, max_size=8), st.booleans())
def test_lines_without_a_dialect_of_quotes_are_read_as_they_are_or_refused(rows, last):
    lines = [("mood", "caption"), *rows] if last else [("caption", "mood"), *(row[::-1] for row in rows)]
    try:
        read = cells("\n".join(map("\t".join, lines)))
    except BadInput:
        return
    assert read["emotion"] == [label for label, _ in rows]
    for cell, (_, text) in zip(read["text"], rows, strict=True):
        inner = text.strip()[1:-1]  # quotes around a whole cell are not part of it
        assert cell in (text.strip(), *(inner.replace(two, '"').strip() for two in ('"', '""', '\\"')))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("last", ['a 7" disc', 'he said "yes"', "plain"])
def test_a_quote_that_does_not_close_is_a_character_where_each_line_is_a_row(tmp_path, mark, last):
    rows = [("one", "happy"), ("two", "sad"), ('"Wow', "happy"), ("three", "happy"), (last, "sad")]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(mark.join(row) for row in [("caption", "mood"), *rows]))
    assert pairs(path) == rows


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_quotes_that_close_after_lines_that_could_be_rows_are_in_doubt_unless_all_cells_have_them(
    tmp_path, mark
):
    path = tmp_path / "mine.csv"
    text = mark.join(['Wow{0}happy\nthree{0}happy\nold 7"', "sad"]).format(mark)
    head = (
        mark.join(["caption", "mood"]) + "\n" + mark.join(["one", "happy"]) + "\n" + mark.join(["two", "sad"])
    )
    path.write_text(f'{head}\n"{text}\n')
    refused(
        path,
        "row 3 (line 4): column 'caption': its quotes or backslashes can be read in two ways; write quotes around",
    )
    rows = [
        ["caption", "mood"],
        ["one", "happy"],
        ["two", "sad"],
        [f"Wow{mark}happy\nthree{mark}happy\nold 7", "sad"],
    ]
    path.write_text(by_rfc(rows, mark, "all", "\n"))
    assert pairs(path) == [tuple(row) for row in rows[1:]]
    stray = f'{head}\na 5" disc{mark}sad\n"{text}\n'  # no program leaves a cell with a quote without quotes
    path.write_text(stray)
    assert [text for text, _ in pairs(path)] == ["one", "two", 'a 5" disc', '"Wow', "three", 'old 7"']


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('"Happy" and "Sad"', '"Happy" and "Sad"'),
        ('"a ""big"" band" ', 'a "big" band'),
        ('"two\nlines" ', "two\nlines"),
        ('"\\"\nsad\tM\\N', "\\"),
    ],
)
def test_quotes_in_lines_separated_by_tabs(tmp_path, line, text):
    path = tmp_path / "mine.csv"
    path.write_text(f"mood\tcaption\nhappy\t{line}\nsad\ta lonely cello\n")
    assert pairs(path)[0] == (text, "happy")


def test_a_backslash_before_a_quote_without_quotes_around_is_in_doubt(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text('mood\tcaption\nhappy\ta tune\nsad\tM\\"uller sings\n')
    refused(path, "row 2 (line 3): column 'caption': its quotes or backslashes can be read in two ways")


def test_numbers_without_a_name_and_empty_cells_at_the_end_are_in_doubt(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('"caption","mood","sad"\n"1","a tune","happy",""\n"2","a cello","sad",""\n')
    refused(
        path,
        "row 1 (line 2): 4 cells, from a number to an empty one, for the 3 columns caption, mood, sad; name",
    )


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_no_value_of_a_database_that_escapes_quotes_is_none(tmp_path, mark):
    rows = [
        ('"a \\"big\\" band"', "happy", "\\N"),
        ('"b"', "\\N", "\\N"),
        ("\\N", "sad", "1"),
        ("d", '"sad"', " \\N "),
    ]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(mark.join(row) for row in [("caption", "mood", "who"), *rows]))
    frame, report = read(path, group_column="who")
    assert list(frame.select("text", "emotion").iter_rows()) == [
        ('a "big" band', "happy"),
        ("b", None),
        ("d", "sad"),
    ]
    assert frame["group"].n_unique() == 3
    assert report.n_without_text == 1
