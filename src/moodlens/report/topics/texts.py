"""The texts: how many of what kind, in which split, and how many independent groups stand behind them."""

from typing import TYPE_CHECKING

from moodlens.report.document import Paragraph, Table, emotion_label, plain_text
from moodlens.report.evidence import Evidence
from moodlens.report.topic import Blocks, Topic

if TYPE_CHECKING:
    import polars as pl

SPLITS = ("train", "val", "test", "held_out", "none")


def counts(study: Evidence, prompts: "pl.DataFrame") -> Blocks:
    """Texts and groups by emotion and split."""
    import polars as pl

    frame = prompts.with_columns(
        pl.col("emotion").fill_null("no emotion"), pl.col("split").replace("", "none")
    )
    kinds = frame.group_by("kind").len().sort("kind")
    listed = ", ".join(f"{plain_text(kind)} {n:,}" for kind, n in kinds.iter_rows())
    yield Paragraph(
        f"{frame.height:,} texts in {frame['group'].n_unique():,} groups ({listed}). A group (an emotion word, a "
        "scene, an annotator) never straddles a split, and every p-value and interval counts groups, not texts."
    )
    splits = [split for split in SPLITS if (frame["split"] == split).any()]
    rows = []
    for emotion in (*study.emotions, "no emotion"):
        of_emotion = frame.filter(pl.col("emotion") == emotion)
        if of_emotion.height:
            parts = [of_emotion.filter(pl.col("split") == split) for split in splits]
            cells = (f"{part.height:,} ({part['group'].n_unique():,})" for part in (*parts, of_emotion))
            rows.append((emotion_label(emotion), *cells))
    yield Table(
        "Texts (and groups) by emotion and split",
        ("Emotion", *(split.replace("_", "-") for split in splits), "all"),
        tuple(rows),
        numeric=frozenset(range(1, len(splits) + 2)),
    )


TEXTS = Topic("texts", "Texts", (counts,), needs=("prompts",), absent="the texts")
