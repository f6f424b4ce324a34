"""Concepts: what the claimed features tell inside their emotions."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.report import style
from moodlens.report.document import Paragraph, Picture, Table, cut, emotion_label, plain_text
from moodlens.report.numbers import NONE, number
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.concepts import Concepts
from moodlens.study.records.verdict import FEATURES

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

MOST = 12
"""Concept features of an emotion that the table shows."""


def by_concept(subject: Subject, concepts: Concepts, _: "pl.DataFrame") -> Blocks:
    """Every concept: how many features hold it, beside a dense reading and shuffled concepts."""
    if not concepts.asked:
        yield Paragraph(
            "The texts name no concepts inside their emotions, so this was not asked. A column `concept` in a table "
            "(`concept_column`) names them."
        )
        return
    chance = ", ".join(
        f"{plain_text(emotion)} {number(part.shuffled_p95, 1)}" for emotion, part in concepts.emotions.items()
    )
    yield Paragraph(
        f"{concepts.n_concept_features} concept features. {concepts.rule[0].upper()}{concepts.rule[1:]}. With concepts "
        f"dealt to groups at random the same procedure finds at most (95th percentile): {chance}; over all emotions "
        f"{number(concepts.shuffled_p95, 1)}."
    )
    yield Picture(
        "concepts",
        "Concept features of every concept. Words and scenes that judge them chose nothing.",
        "Bars: number of concept features for each concept, grouped by emotion.",
        lambda: concept_bars(concepts, subject.emotions),
    )
    rows = []
    for emotion, part in concepts.emotions.items():
        for name, count in part.concepts.items():
            rows.append(
                (
                    emotion_label(emotion),
                    cut(name, 60),
                    number(count.n_features),
                    number(count.best_auroc),
                    number(count.difference_in_means),
                    number(count.n_groups_test),
                )
            )
    yield Table(
        "Concepts among the texts of their own emotion",
        (
            "Emotion",
            "Concept",
            "Features",
            "Best feature, AUROC",
            "Difference-in-means, AUROC",
            "Test groups",
        ),
        tuple(rows),
        numeric=frozenset({2, 3, 4, 5}),
        note="0.5 is chance. Difference-in-means is a dense direction fitted on train and validation texts: what a "
        "reading could reach without any dictionary.",
    )


def listed(_: Subject, concepts: Concepts, table: "pl.DataFrame") -> Blocks:
    """The concept features themselves."""
    import polars as pl

    rows = []
    for emotion in concepts.emotions:
        held = table.filter(pl.col("concept_feature").fill_null(False) & (pl.col("emotion") == emotion))
        for record in held.sort("concept_auroc", descending=True).head(MOST).iter_rows(named=True):
            rows.append(
                (
                    f"F{record['feature']}",
                    emotion_label(emotion),
                    cut(record["concept"], 60),
                    plain_text(record["name"]) if record.get("name") else NONE,
                    number(record["concept_auroc"]),
                    number(record["concept_selectivity"]),
                    number(record["concept_q"]),
                    number(record["concept_groups"]),
                )
            )
    if rows:
        yield Table(
            f"Concept features, the best {MOST} of each emotion",
            ("Feature", "Emotion", "Concept", "Name", "AUROC", "Selectivity", "q", "Test groups"),
            tuple(rows),
            numeric=frozenset({4, 5, 6, 7}),
            note="All numbers are among test texts of the feature's own emotion.",
        )


@style.look()
def concept_bars(concepts: Concepts, emotions: tuple[str, ...]) -> "Figure":
    """How many features hold each concept, grouped by emotion."""
    marks = dict(zip(emotions, style.marks(len(emotions)), strict=True))
    entries = [
        (emotion, name, count.n_features)
        for emotion, part in concepts.emotions.items()
        for name, count in part.concepts.items()
    ]
    figure, axes = style.canvas(style.WIDTH * 0.8, min(style.PAGE, 0.6 + 0.19 * len(entries)))
    place = np.arange(len(entries))[::-1]
    for emotion in concepts.emotions:
        at = [i for i, entry in enumerate(entries) if entry[0] == emotion]
        axes.barh(
            place[at],
            [entries[i][2] for i in at],
            color=marks[emotion].color,
            hatch=marks[emotion].hatch,
            edgecolor=style.PAPER,
            label=style.short(emotion),
        )
    axes.set_yticks(place, [style.short(entry[1]) for entry in entries])
    axes.set(xlabel="concept features", ylim=(-0.6, len(entries) - 0.4))
    axes.xaxis.get_major_locator().set_params(integer=True)
    style.legend_below(figure, *axes.get_legend_handles_labels())
    return figure


CONCEPTS = Topic(
    "concepts",
    "Concepts inside the emotions",
    (verdict_says("concepts"), by_concept, listed),
    needs=(Concepts, FEATURES),
    absent="concepts",
)
