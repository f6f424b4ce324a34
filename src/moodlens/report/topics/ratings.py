"""Ratings: which features go with how pleasant or exciting people found the texts."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.report import style
from moodlens.report.document import Paragraph, Picture, Table, cut, plain_text
from moodlens.report.numbers import NONE, number, p_value, percent
from moodlens.report.subject import CODES, ROWS, Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.ratings import RATINGS, RatedClaims, Ratings
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

MOST = 8
"""Rated features of each end of a scale that the table shows."""
TEXTS_SHOWN = 3


def says(subject: Subject, ratings: Ratings, table: "pl.DataFrame") -> Blocks:
    """The criterion, where texts carry ratings."""
    if ratings.asked:
        yield from verdict_says("ratings")(subject, ratings, table)


def counts(subject: Subject, ratings: Ratings, table: "pl.DataFrame") -> Blocks:
    """Rated features of every end of every scale beside their controls."""
    if not ratings.asked or ratings.shuffled is None:
        return
    yield Paragraph(
        f"{ratings.claims.n_rated} pairs of a feature and a scale hold. {ratings.rule[0].upper()}{ratings.rule[1:]}. With "
        f"ratings dealt anew among groups the same procedure finds {number(ratings.shuffled.mean)} on average "
        f"(95th percentile {number(ratings.shuffled.p95)}; of one end of a scale {number(ratings.shuffled_pole_p95)})."
    )
    poles = tuple(ratings.claims.per_pole)
    claimed = {"this study": ratings.claims}
    for agreed, by_kind in (("consensus", ratings.consensus), ("one alone", ratings.alone)):
        claimed |= {f"{kind.replace('-', ' ')}, {agreed}": claims for kind, claims in by_kind.items()}
    yield Table(
        "Rated features of each end of each scale, beside dictionaries that learned nothing",
        ("Dictionaries", "Features", *(f"{pole[0].upper()}{pole[1:]}" for pole in poles)),
        tuple(_row(name, claims, poles) for name, claims in claimed.items()),
        numeric=frozenset(range(1, len(poles) + 2)),
        note="A dictionary of row differences can go with a rating by construction; what several untrained ones agree on cannot. "
        "One alone is a warning, and the control where there is no core.",
    )
    yield Table(
        "The scales",
        ("Scale", "Test texts (groups)", "Ratings, 5 % to 95 %", "Tested", "Best feature", "Dense reading"),
        tuple(
            (
                name,
                f"{of.n_test:,} ({of.n_groups_test:,})",
                f"{number(of.low)} to {number(of.high)}",
                number(of.n_tested),
                number(of.best),
                number(of.dense),
            )
            for name, of in ratings.scales.items()
        ),
        numeric=frozenset({3, 4, 5}),
        note="Rank correlations on test texts. Best feature: of the rated ones the strongest on train and validation texts. "
        "A sparse feature fires in few texts, so that its correlation is small whatever it says: one that fires in 2 % of "
        "them, exactly those of the highest ratings, reaches 0.24. Dense reading: ridge regression on the embeddings, fitted "
        "on train and validation texts.",
    )
    yield Picture(
        "ratings",
        "Rank correlation of every tested feature with the rating, where it was chosen and where it was judged.",
        "Scatter plots of the correlation on test texts against that on train and validation texts, one for each scale.",
        lambda: chosen_and_judged(table, subject.settings.features.min_correlation),
    )


def _row(name: str, claims: RatedClaims, poles: tuple[str, ...]) -> tuple[str, ...]:
    return (name, number(claims.n_features), *(number(claims.per_pole[pole]) for pole in poles))


@needs(ROWS, CODES)
def listed(_: Subject, ratings: Ratings, table: "pl.DataFrame", rows: Rows, codes: np.ndarray) -> Blocks:
    """The rated features themselves, with the unseen texts that fire them most."""
    import polars as pl

    unseen = rows.where("test", "held_out", kinds=None)
    for scale in ratings.scales:
        lines = []
        for pole in ("high", "low"):
            held = table.filter(
                pl.col("rated_feature") & (pl.col("scale") == scale) & (pl.col("pole") == pole)
            )
            best = held.sort(pl.col("correlation_dev").abs(), "feature", descending=[True, False])
            for record in best.head(MOST).iter_rows(named=True):
                activation = codes[unseen, record["feature"]]
                top = np.argsort(-activation, kind="stable")[:TEXTS_SHOWN]
                texts = [cut(rows.texts[unseen[i]], 60) for i in top if activation[i] > 0]
                lines.append(
                    (
                        f"F{record['feature']}",
                        pole,
                        number(record["correlation"]),
                        p_value(record["q"]),
                        number(record["rating"]),
                        number(record["rating_silent"]),
                        percent(record["density"], 1),
                        number(record["n_groups"]),
                        plain_text(" · ".join(texts)) or NONE,
                    )
                )
        if lines:
            yield Table(
                f"Features that go with {scale}, the best {MOST} of each end",
                ("Feature", "End", "Correlation", "q", "Mean rating", "Elsewhere", "Density", "Groups", "Strongest unseen texts"),
                tuple(lines),
                numeric=frozenset(range(2, 8)),
                note="In the order of their correlation on train and validation texts. Mean rating: of the test texts in which "
                "it fires; elsewhere: of the other rated ones.",
            )  # fmt: skip


@style.look()
def chosen_and_judged(table: "pl.DataFrame", least: float) -> "Figure":
    """Correlation on test against that on train + val, a panel for each scale.

    Args:
        table: ratings.parquet.
        least: size of the correlation that is asked for.
    """
    scales = table["scale"].unique(maintain_order=True).to_list()
    tested = table.filter("tested")
    if not tested.height:
        return style.nothing("no feature was tested")
    figure, panels = style.canvas(
        style.WIDTH * (0.5 + 0.5 * (len(scales) > 1)), 3.2, 1, len(scales), squeeze=False
    )
    high, low = style.marks(2)
    reach = 1.08 * max(float(np.abs(tested.select("correlation_dev", "correlation").to_numpy()).max()), least)
    for axes, scale in zip(panels[0], scales, strict=True):
        part = tested.filter(tested["scale"] == scale)
        rest = part.filter(~part["rated_feature"])
        axes.scatter(
            rest["correlation_dev"], rest["correlation"], s=8, color=style.BAND, linewidths=0, label="tested"
        )
        for pole, mark in (("high", high), ("low", low)):
            held = part.filter(part["rated_feature"] & (part["pole"] == pole))
            axes.scatter(
                held["correlation_dev"], held["correlation"], s=12, color=mark.color, marker=mark.marker, linewidths=0,
                label=f"goes with the {pole} end",
            )  # fmt: skip
        for value in (-least, least):
            axes.axhline(value, color=style.WARN, lw=0.8, ls=(0, (5, 2)))
        axes.axhline(0, color=style.GRID, lw=0.7, zorder=0)
        axes.set(
            title=f"{scale}: {int(part['rated_feature'].sum())} of {part.height}",
            xlabel="rank correlation, train + val",
            ylabel="rank correlation, test",
            xlim=(-reach, reach),
            ylim=(-reach, reach),
        )
    style.legend_below(figure, *panels[0][0].get_legend_handles_labels())
    return figure


RATINGS_TOPIC = Topic(
    "ratings",
    "Valence and arousal as people rate them",
    (says, counts, listed),
    needs=(Ratings, RATINGS),
    absent="ratings",
    labels=False,
)
