"""The emotion features: how many, which, where they fire, and what families they make."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report import style
from moodlens.report.document import (
    Paragraph,
    Picture,
    Table,
    emotion_label,
)
from moodlens.report.numbers import NONE, number
from moodlens.report.subject import CODES, ROWS, Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.report.topics.feature_tables import all_features, emotion_by_emotion, top_features
from moodlens.study.families import Families
from moodlens.study.records.selection import Selection
from moodlens.study.records.verdict import FEATURES
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


def counts(_: Subject, _features: "pl.DataFrame", selection: Selection) -> Blocks:
    """How many pass, and how many would by chance."""
    shuffled, alone = selection.shuffled, selection.threshold_only
    mean, p95 = number(shuffled.mean, 1), number(shuffled.p95, 1)
    yield Paragraph(
        f"{selection.n_emotion_features:,} emotion features among the {selection.core_size:,} that may be claimed (of "
        f"{selection.n_features:,}, {selection.n_alive:,} of them alive); under shuffled labels the "
        f"same procedure finds {mean} on average (95th percentile {p95}, {len(shuffled.counts)} full repeats). "
        f"{selection.n_groups_test:,} independent groups judged them. Each feature's emotion was fixed on train and "
        "validation texts; every number below is from test texts, which had no part in that."
    )
    rows = [
        (
            f"Emotion features: q < {selection.q:g} and selectivity > {selection.min_selectivity:g} on test",
            number(selection.n_emotion_features),
            mean,
            p95,
        ),
        (
            f"Threshold alone: selectivity > {alone.min_selectivity:g}, {alone.min_firings} firings, no test",
            number(alone.count),
            number(alone.shuffled_mean, 1),
            number(alone.shuffled_p95, 1),
        ),
        ("of the emotion features, family-wise (max-T)", number(selection.n_family_wise), NONE, NONE),
    ]
    for emotion, n in selection.per_emotion.items():
        rows.append((f"of the emotion features, {emotion_label(emotion)}", number(n), NONE, NONE))
    yield Table(
        "How many features pass, and how many would by chance",
        ("Rule", "This study", "Shuffled labels, mean", "Shuffled labels, 95th percentile"),
        tuple(rows),
        numeric=frozenset({1, 2, 3}),
    )


def pictures(subject: Subject, features: "pl.DataFrame", selection: Selection) -> Blocks:
    """Where the best features fire, how strongly, and all of them by selectivity and AUROC."""
    emotions = subject.emotions
    top = top_features(subject, features, max(1, min(8, 48 // len(emotions))))
    yield Picture(
        "heatmap",
        "Share of test texts in which each of the best features fires, by the emotion of the text. Rows are grouped by "
        "the emotion a feature was chosen for; lines separate the groups.",
        "Heatmap of firing rates, best features by emotions.",
        lambda: feature_heatmap(top, emotions, {f: reading.name for f, reading in subject.readings.items()}),
    )
    yield from distributions(subject, features, selection)
    yield Picture(
        "selectivity-auroc",
        "All alive features on test texts. Selectivity compares firing rates, AUROC the whole ranking: a feature can "
        "have a high ratio from a handful of firings, and then its AUROC stays near 0.5.",
        "Scatter plot of selectivity against AUROC, emotion features coloured by emotion.",
        lambda: selectivity_auroc(features, emotions, min_selectivity=selection.min_selectivity),
    )


@needs(ROWS, CODES)
def distributions(
    subject: Subject, features: "pl.DataFrame", _: Any, rows: Rows, codes: np.ndarray
) -> Blocks:
    """How strongly the best features fire."""
    emotions = subject.emotions
    top = top_features(subject, features, 2 if len(emotions) <= 6 else 1)
    fit = distribution_panels(len(emotions))
    if top.height > fit:
        best = top.sort(["auroc_dev", "feature"], descending=[True, False]).head(fit)["feature"]
        top = top.filter(top["feature"].is_in(best.implode()))
    if not top.height:
        return
    test = rows.labelled("test")
    yield Picture(
        "distributions",
        "Activations of the best features where they fire (box: quartiles, whiskers: 5th to 95th percentile), by the "
        "emotion of the test text. The percentage is how often it fires at all.",
        "Box plots of activations of top features for each emotion.",
        lambda: activation_distributions(
            codes[np.ix_(test, top["feature"].to_numpy())],
            dict(zip(top["feature"], top["emotion"], strict=True)),
            rows.label[test],
            emotions,
        ),
    )


@needs(Families)
def families(_: Subject, _features: "pl.DataFrame", _selection: Any, found: Families) -> Blocks:
    """The members of every family with their weights."""
    rows = tuple(
        (
            emotion_label(family.emotion),
            number(len(family.features)),
            ", ".join(f"F{f} ({w:.2f})" for f, w in zip(family.features, family.weights, strict=True)),
        )
        for family in found.families
        if family.features
    )
    if rows:
        yield Table(
            "Families: the features of one emotion that are read together, with their weights",
            ("Emotion", "Features", "Members (weight)"),
            rows,
            numeric=frozenset({1}),
            note="Chosen and weighted on train and validation texts; how well they read an emotion is under "
            "Generalization and transfer.",
        )


@style.look()
def feature_heatmap(top: "pl.DataFrame", emotions: tuple[str, ...], readings: Mapping[int, str]) -> "Figure":
    """Firing rates on test of the best emotion features of each emotion, in every emotion.

    Rows are grouped by the emotion each feature was chosen for (on train + val), so a block diagonal is what a
    study that found something looks like. ``readings``, what people call a feature, come before the machine's name.
    """
    if not top.height:
        return style.nothing("no emotion features to show")
    rates = top.select(f"rate_{emotion}" for emotion in emotions).to_numpy().astype(float) * 100
    rows = [
        f"F{row['feature']} {style.short(readings.get(row['feature']) or row.get('name') or '', 26)}".strip()
        for row in top.iter_rows(named=True)
    ]
    columns = [style.short(emotion) for emotion in emotions]
    width = float(np.clip(3.4 + 0.55 * len(emotions), 4.5, style.WIDTH))
    figure, axes = style.canvas(
        width, min(0.9 + 0.185 * len(rows) + style.heading(rows, columns, width), style.PAGE)
    )
    limits = (0.0, max(float(np.nanmax(rates)), 1.0))
    style.heat(
        axes, rates, (rows, columns), "firing rate on test texts (%, smoothed)", "{:.0f}", limits=limits
    )
    for edge in np.cumsum([top.filter(top["emotion"] == emotion).height for emotion in emotions[:-1]]):
        axes.axhline(edge, color=style.INK, lw=0.9)
    axes.xaxis.tick_top()
    return figure


def _panel_columns(n_emotions: int) -> int:
    return 4 if n_emotions <= 6 else 2


def _panel_height(n_emotions: int) -> float:
    return 0.7 + 0.2 * n_emotions


def distribution_panels(n_emotions: int) -> int:
    """How many features :func:`activation_distributions` can show on one page, at most 12."""
    rows = max(1, int((style.PAGE - 0.75) / _panel_height(n_emotions)))
    return min(12, _panel_columns(n_emotions) * rows)


@style.look()
def activation_distributions(
    codes: np.ndarray, chosen_for: Mapping[int, str], labels: np.ndarray, emotions: Sequence[str]
) -> "Figure":
    """How strongly the best feature of each emotion fires, emotion by emotion: a box of the activations above zero.

    Args:
        codes: ``(n, m)`` activations of the features on labelled test texts.
        chosen_for: feature -> the emotion it was chosen for, in the order of the columns.
        labels: ``(n,)`` index into ``emotions``.
        emotions: their names.
    """
    columns = min(len(chosen_for), _panel_columns(len(emotions)))
    rows = -(-len(chosen_for) // columns)
    height = min(0.75 + rows * _panel_height(len(emotions)), style.PAGE)
    figure, grid = style.canvas(style.WIDTH, height, rows, columns, squeeze=False)
    for axes in list(grid.flat)[len(chosen_for) :]:
        axes.set_axis_off()
    names = [style.short(emotion, 14) for emotion in emotions]
    heights = range(len(emotions) - 1, -1, -1)
    for place, (axes, (feature, emotion)) in enumerate(zip(grid.flat, chosen_for.items(), strict=False)):
        for c, (y, mark) in enumerate(zip(heights, style.marks(len(emotions)), strict=True)):
            values = codes[labels == c, place]
            fires = values[values > 0]
            if len(fires):
                _box(axes, fires, y, mark.color)
            share = len(fires) / max(len(values), 1)
            axes.text(
                1.02, y, f"{share:.0%}", transform=axes.get_yaxis_transform(), va="center", color=style.MUTED
            )
        axes.set(
            xlim=(0, (float(codes[:, place].max()) or 1.0) * 1.03),
            ylim=(-0.6, len(emotions) - 0.4),
            title=f"F{feature} ({style.short(emotion, 10 if columns > 2 else 22)})",
        )
        axes.set_yticks(heights, [""] * len(names) if place % columns else names)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    figure.supxlabel(
        "activation where it fires (embedding units); right: share of texts in which it fires", fontsize=8
    )
    return figure


def _box(axes: Any, values: np.ndarray, y: int, color: str) -> None:
    box = axes.boxplot(
        [values], positions=[y], orientation="horizontal", widths=0.62, whis=(5, 95), showfliers=False,
        patch_artist=True, manage_ticks=False,
    )  # fmt: skip
    box["boxes"][0].set(facecolor=color, edgecolor=style.INK, linewidth=0.6)
    for part in (*box["whiskers"], *box["caps"]):
        part.set(color=style.INK, linewidth=0.6)
    box["medians"][0].set(color=style.INK, linewidth=1.4)


@style.look()
def selectivity_auroc(
    table: "pl.DataFrame", emotions: tuple[str, ...], *, min_selectivity: float
) -> "Figure":
    """Selectivity against AUROC on test for every alive feature; emotion features in their emotion's colour."""
    import polars as pl

    alive = table.filter(pl.col("density") > 0)
    others = alive.filter(~pl.col("emotion_feature"))
    figure, axes = style.canvas(style.WIDTH * 0.85, 3.7)
    handles = [
        axes.scatter(
            others["auroc"], others["selectivity"], s=6, color=style.BAND, linewidths=0, rasterized=others.height > 1500
        )
    ]  # fmt: skip
    outside = (~others["core"]).sum()
    names = [f"not claimed: core ({others['core'].sum():,}) and its edge and rest ({outside:,})"]
    for emotion, mark in zip(emotions, style.marks(len(emotions)), strict=True):
        claimed = alive.filter(pl.col("emotion_feature") & (pl.col("emotion") == emotion))
        points = axes.scatter(
            claimed["auroc"], claimed["selectivity"], s=22, color=mark.color, marker=mark.marker, edgecolors=style.PAPER,
            linewidths=0.4,
        )  # fmt: skip
        handles.append(points)
        names.append(f"{style.short(emotion)} ({claimed.height})")
    axes.axhline(min_selectivity, color=style.WARN, lw=1, ls=(0, (5, 2)))
    axes.axvline(0.5, color=style.GRID, lw=1, zorder=0)
    axes.annotate(
        f"selectivity {min_selectivity:g}", (1, min_selectivity), xycoords=("axes fraction", "data"),
        xytext=(0, 3), textcoords="offset points", ha="right", color=style.WARN,
    )  # fmt: skip
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="AUROC on test texts (0.5: chance)", ylabel="selectivity on test texts (log scale)")
    axes.grid(axis="y")
    style.legend_below(figure, handles, names)
    return figure


FEATURES = Topic(
    "features",
    "Emotion features",
    (counts, pictures, families, all_features, emotion_by_emotion),
    needs=(FEATURES, Selection),
    absent="emotion features",
)
