"""Names: does what a feature is called say where it fires?"""

from typing import TYPE_CHECKING

from moodlens.report.document import Paragraph, Table, emotion_label
from moodlens.report.numbers import number, percent
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.names import Names
from moodlens.study.records.verdict import FEATURES

if TYPE_CHECKING:
    import polars as pl


def by_emotion(subject: Subject, record: Names, table: "pl.DataFrame") -> Blocks:
    """Names that hold, beside dealt ones."""
    import polars as pl

    features = table.filter(pl.col("emotion_feature"))
    rows = []
    for emotion in subject.emotions:
        of_emotion = features.filter(pl.col("emotion") == emotion)
        score, control = of_emotion["name_score"].median(), of_emotion["name_control"].median()
        rows.append(
            (
                emotion_label(emotion),
                f"{record.per_emotion.get(emotion, 0)} of {record.judged_per_emotion.get(emotion, 0)}",
                number(record.dealt_judged.per_emotion_p95.get(emotion), 1),
                number(score),
                number(control),
            )
        )
    yield Paragraph(
        f"{record.rule} A name holds if, among unseen texts of its feature's own emotion and over all, texts that fire the "
        f"feature read more like it than others in at least {percent(record.min_score)} of pairs, and more clearly so than "
        f"by the names of other features (q < {record.q:g}; {record.n_named:,} names by the same rule). "
        + (
            "Its words were chosen by the share of the score that they carry."
            if record.attributed
            else "The study has no encoder, so what each word carries of a score is not known."
        )
    )
    yield Table(
        "Names that tell, among unseen texts of the same emotion, which ones fire the feature",
        (
            "Emotion",
            "Names that hold",
            "Dealt names that would, 95th percentile",
            "AUROC, median",
            "Other names, median",
        ),
        tuple(rows),
        numeric=frozenset({1, 2, 3, 4}),
        note="Dealt: every judged feature gets the name of another judged feature of its emotion.",
    )
    if record.judge is not None:
        yield Paragraph(
            f"{record.judge.model} was shown {record.judge.n_asked:,} names, each with unseen texts of the emotion, half of "
            f"which fire the feature: it put {number(record.judge.accuracy)} of them right (median), and "
            f"{number(record.judge.control)} by the name of another feature of the emotion."
        )


NAMES = Topic(
    "names",
    "Names and what they cover",
    (verdict_says("interpretability", "monosemanticity"), by_emotion),
    needs=(Names, FEATURES),
    absent="names",
)
