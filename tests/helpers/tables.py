"""Small tables of labelled texts."""

import re

import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.prompts import read_prompts
from moodlens.settings.study import Table

MOODS = ("happy", "sad", "calm")
WORDS = ("merry", "lonely", "serene")


def write(path, rows, columns=("caption", "mood")):
    pl.DataFrame([list(map(str, row)) for row in rows], schema=columns, orient="row").write_csv(path)
    return path


def labelled(labels, texts=None):
    return [
        (text, label)
        for text, label in zip(texts or [f"tune {i}" for i in range(len(labels))], labels, strict=True)
    ]


def table(path, **columns) -> Table:
    return Table(path=str(path), **{"text_column": "caption", "emotion_column": "mood"} | columns)


def read(path, emotions=(), **columns):
    return read_prompts(table(path, **columns), emotions=emotions)


def refused(path, says, emotions=(), **columns):
    with pytest.raises(BadInput, match=re.escape(says)) as caught:
        read(path, emotions, **columns)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))


def pairs(path, **columns):
    """(text, emotion) of each prompt of a table."""
    frame, _ = read(path, **columns)
    return list(frame.select("text", "emotion").iter_rows())
