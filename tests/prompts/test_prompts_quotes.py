"""Quotes, escapes and values that are none in separated text, whoever wrote it: read as meant, or refused."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.tables import pairs, read
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


ROUND_TRIPS = st.lists(
    st.sampled_from(["a tune", '"', '""', ",", ";", "\n", "|", "\\", '\\"', "'", "#", " ", '12"', "sad", ",happy", "\nb,sad", "\\N", "mood"]),
    min_size=1,
    max_size=6,
).map("".join)  # fmt: skip


@given(
    st.lists(st.tuples(ROUND_TRIPS, st.sampled_from(["happy", "sad"])), min_size=1, max_size=5),
    st.sampled_from(",;|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_program_wrote_by_the_rfc_is_read_as_it_was_or_refused(rows, mark, quoting, end):
    written = io.StringIO()
    writer = csv.writer(written, delimiter=mark, quoting=quoting, lineterminator=end)
    writer.writerows([("mood", "caption"), *((label, text) for text, label in rows)])
    find = lambda names, column: names.index(column)  # noqa: E731
    try:
        columns, _ = read_delimited(
            Path("mine.csv"), written.getvalue(), {"text": "caption", "emotion": "mood"}, find
        )
    except BadInput:
        return
    assert columns["emotion"] == [label for _, label in rows]
    assert columns["text"] == [text.strip() for text, _ in rows]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("last", ['old 7"', 'he said "yes"', "plain"])
def test_a_quote_that_does_not_close_is_a_character_where_each_line_is_a_row(tmp_path, mark, last):
    rows = [("one", "happy"), ("two", "sad"), ('"Wow', "happy"), ("three", "happy"), (last, "sad")]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(mark.join(row) for row in [("caption", "mood"), *rows]))
    assert pairs(path) == rows


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
