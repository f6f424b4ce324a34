"""Stability: which features come back in other pipelines, and whether the families agree."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.report import style
from moodlens.report.document import Paragraph, Picture, Table, emotion_label
from moodlens.report.numbers import number
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.stability import STABILITY, Agreement, Stability
from moodlens.study.records.verdict import FEATURES

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


@needs(FEATURES)
def reappearance(_: Subject, seeds: Stability, table: "pl.DataFrame", features: "pl.DataFrame") -> Blocks:
    """Claimed features beside their matches in other pipelines."""
    if not seeds.n_seeds:
        yield Paragraph(
            "The SAE was imported alone. Nothing says whether its features come back under another seed: that needs others of its "
            "recipe."
        )
        return
    rows = table.join(features.filter("emotion_feature").select("feature"), on="feature", how="inner")
    yield Picture(
        "stability",
        "Claimed features matched one to one with those of pipelines that share only the rows. A "
        f"feature reappears where both its decoder direction and its activations agree at {seeds.reappearance:g} or "
        "more; the null is what random differences of data rows reach.",
        "Histograms of decoder cosine and of the number of other pipelines in which features reappear.",
        lambda: stability_histogram(rows, seeds),
    )


@needs(Agreement)
def agreement(_: Subject, _seeds: Stability, _table: "pl.DataFrame", families: Agreement) -> Blocks:
    """Families beside those of the other pipelines."""
    rows = tuple(
        (
            emotion_label(emotion),
            f"{number(family.direction)} ({number(family.direction_min)})",
            number(family.direction_control),
            f"{number(family.reading)} ({number(family.reading_min)})",
            number(family.reading_control),
        )
        for emotion, family in families.emotions.items()
    )
    if rows:
        yield Table(
            f"Families beside those of {families.n_seeds} other pipelines",
            (
                "Family", "Direction, cosine: mean (least)", "Random families", "Reading, correlation: mean (least)",
                "Random families",
            ),
            rows,
            numeric=frozenset(range(1, 5)),
            note="Every pipeline's families are found by the same rule on the same texts. Direction: what a family adds when it "
            "steers. Reading: its score of test texts. Random families: 95th percentile of as many live features of the "
            "other pipeline with the same weights. All choose for the same labels: agreement says that the rule finds "
            "the same thing in every core. Features may differ while families agree.",
        )  # fmt: skip


@style.look()
def stability_histogram(rows: "pl.DataFrame", seeds: Stability) -> "Figure":
    """Left: decoder cosine of each emotion feature with its partner in other pipelines. Right: how often it reappears.

    Args:
        rows: of stability.parquet, those of emotion features.
        seeds: what they are compared with.
    """
    if not rows.height:
        return style.nothing("no emotion feature to follow")
    n_seeds, bar, null_p95 = seeds.n_seeds, seeds.reappearance, seeds.null_cosine_p95
    figure, (left, right) = style.canvas(style.WIDTH, 2.7, 1, 2)
    left.hist(
        rows["decoder_cosine"].drop_nulls().to_numpy(), bins=list(np.linspace(0, 1, 26)), color=style.ACCENT, edgecolor=style.PAPER, linewidth=0.4
    )  # fmt: skip
    left.axvline(bar, color=style.WARN, lw=1, ls=(0, (5, 2)), label=f"counts as the same: {bar:g}")
    left.axvline(
        null_p95, color=style.INK, lw=1, ls=style.DOTTED, label=f"null, 95th percentile: {null_p95:.2f}"
    )
    left.set(
        title=f"n = {rows.height} emotion features",
        xlabel="decoder cosine with its match, mean over pipelines",
        ylabel="emotion features",
        xlim=(0, 1),
    )
    places = np.arange(n_seeds + 1)
    found_again = np.rint(rows["reappears"].drop_nulls().to_numpy() * n_seeds).astype(int)
    counts = np.bincount(found_again, minlength=len(places))
    right.bar(places, counts, color=style.ACCENT, width=0.75)
    for place, count in zip(places, counts, strict=True):
        right.text(place, count, f"{count}", ha="center", va="bottom")
    right.set(xlabel=f"other pipelines it reappears in (of {n_seeds})", ylabel="emotion features")
    right.set_xticks(places)
    right.margins(y=0.15)
    style.legend_below(figure, *left.get_legend_handles_labels())
    return figure


STABILITY = Topic(
    "stability",
    "Stability over pipelines",
    (verdict_says("stability", "bootstrap"), reappearance, agreement),
    needs=(Stability, STABILITY),
    absent="stability over pipelines",
    labels=False,
)
