"""The texts: how many of what kind, in which split, and how many independent groups stand behind them."""

import numpy as np

from moodlens.report.document import Bullets, Paragraph, Table, cut, emotion_label, plain_text
from moodlens.report.subject import ROWS, Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.study.records.embed import Embeddings
from moodlens.study.records.prompts import Prompts
from moodlens.study.rows import Rows

SPLITS = ("train", "val", "test", "held_out")


def counts(subject: Subject, rows: Rows) -> Blocks:
    """Texts and groups by emotion and split."""
    kinds = zip(*np.unique(rows.kind, return_counts=True), strict=True)
    listed = ", ".join(f"{plain_text(kind)} {n:,}" for kind, n in kinds)
    yield Paragraph(
        f"{len(rows):,} texts in {len(np.unique(rows.group)):,} groups ({listed}). A group (an emotion word, a "
        "scene, an annotator) never straddles a split, and every p-value and interval counts groups, not texts."
    )
    splits = [split for split in SPLITS if (rows.split == split).any()]
    named = [(emotion, rows.label == place) for place, emotion in enumerate(subject.emotions)]
    table = []
    for name, of_emotion in (*named, ("no emotion", rows.label < 0)):
        if of_emotion.any():
            parts = (*(of_emotion & (rows.split == split) for split in splits), of_emotion)
            cells = (f"{part.sum():,} ({len(np.unique(rows.group[part])):,})" for part in parts)
            table.append((emotion_label(name), *cells))
    yield Table(
        "Texts (and groups) by emotion and split",
        ("Emotion", *(split.replace("_", "-") for split in splits), "all"),
        tuple(table),
        numeric=frozenset(range(1, len(splits) + 2)),
    )


@needs(Prompts)
def reading(_: Subject, _rows: Rows, prompts: Prompts) -> Blocks:
    """What reading the user's tables found, and what is amiss with the splits."""
    yield from _remarks(*(table.line for table in prompts.tables), *prompts.remarks)


@needs(Embeddings)
def embedding(_: Subject, _rows: Rows, embeddings: Embeddings) -> Blocks:
    """What of the texts is not in their embeddings."""
    yield from _remarks(*embeddings.remarks)


def _remarks(*lines: str) -> Blocks:
    if lines:
        yield Bullets(tuple(f"{cut(line, 1000)}." for line in lines))


TEXTS = Topic("texts", "Texts", (counts, reading, embedding), needs=(ROWS,), absent="the texts", labels=False)
