"""Names: does what a feature is called say where it fires?"""

from typing import TYPE_CHECKING

from moodlens.report.document import Table, emotion_label
from moodlens.report.numbers import number
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.names import Names
from moodlens.study.records.verdict import FEATURES

if TYPE_CHECKING:
    import polars as pl


def by_emotion(subject: Subject, _: Names, table: "pl.DataFrame") -> Blocks:
    """Names that hold, beside shuffled ones."""
    import polars as pl

    features = table.filter(pl.col("emotion_feature"))
    rows = []
    for emotion in subject.emotions:
        of_emotion = features.filter(pl.col("emotion") == emotion)
        holds = int(of_emotion["interpretable"].cast(pl.Boolean).sum())
        score, control = of_emotion["name_score"].median(), of_emotion["name_control"].median()
        rows.append(
            (emotion_label(emotion), f"{holds} of {of_emotion.height}", number(score), number(control))
        )
    yield Table(
        "Names that predict firing on held-out texts",
        ("Emotion", "Names that hold", "Balanced accuracy, median", "Shuffled names, median"),
        tuple(rows),
        numeric=frozenset({1, 2, 3}),
    )


NAMES = Topic(
    "names",
    "Names and what they cover",
    (verdict_says("interpretability", "monosemanticity"), by_emotion),
    needs=(Names, FEATURES),
    absent="names",
)
