"""The features one by one: tables of the best, what a person or the machine calls them, and what they fire on."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.features.inspect import TopTexts, top_texts
from moodlens.report.document import (
    Block,
    Bullets,
    Fold,
    Paragraph,
    Section,
    Table,
    cut,
    emotion_label,
)
from moodlens.report.numbers import NONE, number, p_value, percent, times
from moodlens.report.subject import CODES, ROWS, Subject
from moodlens.report.topic import Blocks, needs
from moodlens.study.records.selection import Selection
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    import polars as pl

ALL_SHOWN = 300
PROMPTS_SHOWN = 5
FEATURES_WITH_TEXTS = 5


def all_features(subject: Subject, features: "pl.DataFrame", _: Selection) -> Blocks:
    """Every emotion feature in one folded table."""
    every = top_features(subject, features, features.height)
    if every.height:
        shown = every.head(ALL_SHOWN)
        rest = f"; the first {ALL_SHOWN}, all are in features.parquet" if shown.height < every.height else ""
        caption = f"Emotion features by emotion, stable ones first, then by AUROC on train and validation texts{rest}"
        table = _feature_table(subject, caption, shown, emotion=True)
        yield Fold(f"All {every.height:,} emotion features", (table,))
        first = every["feature"][0]
        yield Paragraph(
            "Each with what fires it weakly, what it misses and what it does to a text of yours: `moodlens explore DIR`. As one file "
            f"beside this one, `moodlens explore DIR --export DIR/page.html`, F{first} is `page.html#feature/{first}`."
        )


def emotion_by_emotion(subject: Subject, features: "pl.DataFrame", selection: Selection) -> Blocks:
    """The best features of each emotion, and what they fire on."""
    per_emotion = 10 if len(subject.emotions) <= 6 else 5
    best = top_features(subject, features, per_emotion)
    for place, emotion in enumerate(subject.emotions):
        top = best.filter(best["emotion"] == emotion)
        blocks: list[Any] = [Paragraph("No emotion feature was found.")]
        if top.height:
            caption = (
                f"Best {top.height} of {selection.per_emotion[emotion]} features for {emotion_label(emotion)}: those "
                "that come back in every other pipeline first, then by AUROC on train and validation texts"
            )
            blocks = [
                _feature_table(subject, caption, top),
                *fires_on(subject, place, top.head(FEATURES_WITH_TEXTS)),
            ]
        yield Section(f"features-{place + 1}", emotion_label(emotion), tuple(blocks))


_COLUMNS = (
    ("name_score", "Name score", number),
    ("name_control", "Other names", number),
    ("selectivity", "Selectivity", times),
    ("auroc", "AUROC", number),
    ("held_out_auroc", "AUROC held-out", number),
    ("q", "q", p_value),
    ("n_groups", "Groups", number),
    ("density", "Density", lambda share: percent(share, 1)),
    ("stability", "Stability", percent),
    ("causal_effect", "Causal effect", number),
    ("causal_q", "Causal q", p_value),
)


def _feature_table(subject: Subject, caption: str, top: "pl.DataFrame", *, emotion: bool = False) -> Table:
    """Features in the order of ``top``; columns nobody has measured yet are left out."""
    present = [c for c in _COLUMNS if c[0] in top.columns and top[c[0]].null_count() < top.height]
    names = [feature_name(subject, row) for row in FeatureRow.each(top)]
    head = ["Feature", *(["Emotion"] if emotion else []), *(["Name"] if any(names) else [])]
    rows = []
    for row, name in zip(top.iter_rows(named=True), names, strict=True):
        first = [f"F{row['feature']}"]
        first += [emotion_label(row["emotion"])] if emotion else []
        first += [name or NONE] if any(names) else []
        rows.append((*first, *(form(row[column]) for column, _, form in present)))
    return Table(
        caption,
        (*head, *(title for _, title, _ in present)),
        tuple(rows),
        numeric=frozenset(range(len(head), len(head) + len(present))),
    )


def top_features(subject: Subject, table: "pl.DataFrame", per_emotion: int) -> "pl.DataFrame":
    """The best emotion features of each emotion, in the order of the study's emotions.

    Best is: those that come back in every other pipeline before the others, then the highest AUROC on
    train + val. Neither looks at test rows, so the numbers shown beside them are not flattered by the order.
    """
    import polars as pl

    stable = pl.col("stability").fill_null(0) >= 1 - 1e-9
    order = [stable, pl.col("auroc_dev"), pl.col("feature")]
    ranked = table.filter(pl.col("emotion_feature")).sort(order, descending=[True, True, False])
    return pl.concat([ranked.filter(pl.col("emotion") == e).head(per_emotion) for e in subject.emotions])


@dataclass(frozen=True)
class FeatureRow:
    """What a table of features says of one in words."""

    feature: int
    name: str | None = None
    name_score: float | None = None
    name_control: float | None = None
    fired_by: str | None = None

    @classmethod
    def each(cls, table: "pl.DataFrame") -> "Iterator[FeatureRow]":
        """Of every row; columns that were not measured are None."""
        known = [column.name for column in fields(cls) if column.name in table.columns]
        yield from (cls(**row) for row in table.select(known).iter_rows(named=True))


def feature_name(subject: Subject, row: FeatureRow) -> str:
    """What a person read in the feature, else the name the machine gave it; empty where there is neither."""
    reading = subject.readings.get(row.feature)
    if reading is not None and reading.name:
        doubt = "" if reading.clarity == "clear" else f", {reading.clarity}"
        return f"{cut(reading.name, 80)} (read by a person{doubt})"
    return cut(row.name or "", 80)


@needs(ROWS, CODES, absent="what the features fire on")
def fires_on(subject: Subject, emotion: int, top: "pl.DataFrame", rows: Rows, codes: np.ndarray) -> Blocks:
    """Texts of each feature in ``top``: the strongest, a random one from each tenth of its firings, and misses."""
    if not any(rows.texts):
        yield Paragraph("The study has embeddings without texts, so what a feature fires on cannot be shown.")
        return
    yield Paragraph("What they fire on, among test and held-out texts that had no part in choosing them:")
    # Texts the feature was not chosen on: what it does there is evidence.
    unseen = rows.where("test", "held_out", kinds=None)
    for row in FeatureRow.each(top):
        feature = row.feature
        shown = top_texts(codes[unseen, feature], rows[unseen], emotion, seed=feature, n=PROMPTS_SHOWN)
        name = feature_name(subject, row)
        yield Fold(
            f"F{feature}{f': {name}' if name else ''} (fires in {shown.n_active:,} of {shown.n_rows:,})",
            tuple(_prompt_blocks(subject, shown, row)),
        )


def _prompt_blocks(subject: Subject, shown: TopTexts, row: FeatureRow) -> Iterator[Block]:
    notes = tuple(_name_evidence(subject, row))
    if notes:
        yield Bullets(notes)
    kinds = [(f"top {place + 1}", text) for place, text in enumerate(shown.top)]
    kinds += [(f"decile {text.decile}", text) for text in shown.deciles]
    kinds += [("miss", text) for text in shown.misses]
    rows = []
    for kind, text in kinds:
        label = "none" if text.label is None else emotion_label(text.label)
        rows.append((kind, number(text.activation), label, cut(text.text)))
    yield Table(
        f"Strongest texts, a random one from each tenth of its firings, and misses ({shown.n_missed:,} of "
        f"{shown.n_emotion:,} texts of its emotion)",
        ("Which", "Activation", "Emotion", "Text"),
        tuple(rows),
        numeric=frozenset({1}),
    )


def _name_evidence(subject: Subject, row: FeatureRow) -> Iterator[str]:
    if row.name and row.name_score is not None:
        yield (
            f"The machine's name: {cut(row.name, 80)}. Of two unseen texts of its emotion, the one that fires the feature "
            f"reads more like it in {percent(row.name_score)} of pairs; names of other features reach "
            f"{percent(row.name_control)}."
        )
    if row.fired_by:
        yield f"Words that carry most of its score there: {cut(row.fired_by, 120)}."
    reading = subject.readings.get(row.feature)
    if reading is not None:
        by = f" by {cut(reading.author, 60)}" if reading.author else ""
        note = f" Note: {cut(reading.note)}" if reading.note else ""
        yield f"Read{by}: {cut(reading.name or NONE, 80)} ({reading.clarity}).{note}"
