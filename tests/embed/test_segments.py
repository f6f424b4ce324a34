"""Segments: nothing is lost, music's abbreviations do not end sentences, long sentences are cut at clauses."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.embed import segments


@given(st.text(alphabet=st.sampled_from("aB9 .,;:!?-\n\"'()…。é\t"), max_size=300))
def test_nothing_but_white_space_is_dropped(text):
    assert "".join("".join(segments(text)).split()) == "".join(text.split())
    assert all(piece == piece.strip() and piece for piece in segments(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("Sad. Slow. Soft.", ["Sad. Slow. Soft."]),  # short texts stay whole
        (
            "The piano is slow and sad tonight. The drums are fast and loud.",
            ["The piano is slow and sad tonight.", "The drums are fast and loud."],
        ),
        (
            "A remix feat. a singer from the U.S. charts at 120.5 BPM. It is loud.",
            ["A remix feat. a singer from the U.S. charts at 120.5 BPM.", "It is loud."],
        ),
        (
            "Someone plays the Symphony No. 5 by J. S. Bach on a toy piano. Wow!",
            [
                "Someone plays the Symphony No. 5 by J. S. Bach on a toy piano. Wow!"
            ],  # "Wow!" is too short alone
        ),
        (
            "There is a bass under the drums.The singer sounds very tired and sad.",
            ["There is a bass under the drums.", "The singer sounds very tired and sad."],  # forgotten space
        ),
    ],
)
def test_examples(text, expected):
    assert segments(text) == expected


def test_a_long_sentence_is_cut_at_a_clause():
    left = "the low quality recording features a ballad song that contains sustained strings and a mellow piano melody"
    right = "while a soft female voice sings over it in a sad and soulful manner for the whole song"
    assert segments(f"{left}, {right}") == [f"{left},", right]


MANY = {
    "commas": "," * 200_000,
    "commas and spaces": ", " * 100_000,
    "clauses": "a slow song, and " * 12_000,
    "stops": "." * 200_000,
    "stops before a letter": "a " * 10 + "." * 200_000 + "x",
    "abbreviations": "Dr. " * 50_000,
    "initials": "J. " * 66_000,
    "countries": "U.S. " * 40_000,
    "numbers": "no. 5 " * 33_000,
    "spaces": "a" + " " * 200_000 + "b c d e f g h i",
    "short lines": "a\n" * 100_000,
    "short sentences": "Wow! " * 40_000,
    "quotes": "a b c d e f g h i." + '"' * 200_000,
    "stops and quotes": '."' * 100_000,
    "no spaces": "Ab." * 66_000,
    "words": "word " * 40_000,
    "conjunctions": "x while " * 25_000,
    "dashes": "a - " * 50_000,
    "ideographic stops": "\u3002" * 200_000,
    "new lines": "\n" * 100_000 + "a b c d e f g h i j",
    "one word": "a" * 200_000 + " b c d e f g h i.",
    "brackets": "(" * 200_000,
}


@pytest.mark.parametrize("text", MANY.values(), ids=MANY)
def test_the_time_grows_with_the_text_and_not_with_its_square(text):
    begin = time.process_time()
    parts = segments(text)
    assert time.process_time() - begin < 2
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_real_captions_lose_nothing_and_are_cut(shared):
    import polars as pl

    captions = pl.read_csv(shared / "captions" / "musiccaps_captions_dev.csv")["caption"].to_list()
    pieces = [segments(caption) for caption in captions]
    for caption, parts in zip(captions, pieces, strict=True):
        assert "".join("".join(parts).split()) == "".join(caption.split())
    lengths = [len(piece.split()) for parts in pieces for piece in parts]
    assert sum(lengths) / len(lengths) < 20
    assert 2 < sum(map(len, pieces)) / len(pieces) < 6
