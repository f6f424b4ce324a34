"""Does it carry over: new words and scenes, negations and mixtures, texts written by others."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.report import style
from moodlens.report.document import Absent, Paragraph, Picture, Table, cut, emotion_label, plain_text
from moodlens.report.numbers import NONE, interval, number
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.estimates import Aurocs, Estimate
from moodlens.study.records.transfer import HeldOut, Transfer, TransferSet
from moodlens.study.records.verdict import FEATURES

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

SPECIAL = {"negation": "Negations", "mixed": "Mixed emotions", "neutral": "No emotion"}
WORDINGS = {"test": ", known wordings", "held_out": ", new wordings"}
DRAWN = {
    "family": ("SAE family", style.ACCENT, "o"),
    "top_feature": ("best single feature", "#6aaed6", "^"),
    "difference_in_means": ("difference-in-means", style.INK, "s"),
    "linear_probe": ("linear probe", style.MUTED, "D"),
}


@needs(FEATURES, absent="generalization to held-out words and scenes")
def features_held_out(subject: Subject, features: "pl.DataFrame") -> Blocks:
    """Each emotion feature on held-out texts."""
    if not features["held_out_auroc"].count():
        yield Paragraph("The study has no held-out emotion words, scenes and templates.")
        return
    judged = features.filter(features["emotion_feature"] & features["held_out_auroc"].is_not_null())
    yield Picture(
        "held-out",
        "Each emotion feature on test texts and on held-out emotion words, scenes and templates. On the diagonal "
        "nothing is lost.",
        "Scatter plot of held-out AUROC against test AUROC of the emotion features.",
        lambda: held_out_drop(judged, subject.emotions),
    )


@needs(Transfer, absent="negations, mixed emotions and texts of other people")
def families_held_out(subject: Subject, transfer: Transfer) -> Blocks:
    """Families on held-out texts, and on negations, mixtures and neutral ones."""
    if transfer.held_out.auroc:
        yield _areas(subject, "AUROC on held-out emotion words, scenes and templates", transfer.held_out)
    rows = tuple(
        (
            SPECIAL[row.kind] + WORDINGS.get(row.split or "", ""),
            emotion_label(row.emotion),
            f"{row.n:,} ({row.n_groups:,})",
            number(row.score),
            number(row.plain_own),
            number(row.plain_others),
            number(row.percentile_own, 1),
            number(row.percentile_others, 1),
            number(row.gated_others, 1),
            number(row.below_twin),
            number(row.gated_below_twin),
        )
        for row in transfer.special
    )
    if rows:
        yield Table(
            "Negations, mixed emotions and neutral texts on the family's score",
            (
                "Texts", "Family", "n (groups)", "Mean score", "Plain texts of it", "Plain texts of others",
                "Percentile among its own", "Percentile among others", "Among others, gated",
                "Below its twin", "Below its twin, gated",
            ),
            rows,
            numeric=frozenset(range(2, 11)),
            note="A family that reads meaning puts a negation of its emotion among the texts of others (at most around the "
            "50th percentile there); one that reads words puts it among its own. Gated: where a text denies, along a "
            "direction learnt from denied train and validation texts, what speaks for an emotion speaks against it. Known "
            "wordings deny other words than those the gate learnt from, new wordings are other ones on other words. "
            "Its twin is the same text without the denial: the share of pairs in which the denied one scores lower.",
        )  # fmt: skip


@needs(Transfer)
def texts_of_others(subject: Subject, transfer: Transfer) -> Blocks:
    """Labelled texts that had no part in the study."""
    if not transfer.sets:
        yield Absent(
            "transfer to texts of other people", "moodlens transfer DIR TEXTS.csv --text-column caption"
        )
    for place, texts in enumerate(transfer.sets):
        name = cut(texts.name, 120)
        yield _areas(subject, f"AUROC on {name}", texts)
        yield Picture(
            f"transfer-{place + 1}",
            "SAE families and single features beside two dense baselines that see the whole embedding.",
            f"AUROC with intervals on {name} for each method and emotion.",
            lambda texts=texts: transfer_bars(texts.auroc, subject.emotions, n=texts.n),
        )


def _areas(subject: Subject, caption: str, texts: HeldOut | TransferSet) -> Table:
    """AUROC of every method and emotion with its interval."""
    methods = {
        "family": f"SAE family (up to {subject.settings.features.family_size} features)",
        "family_gated": "SAE family, heeding denials",
        "top_feature": "Best single SAE feature",
        "family_active": "SAE family, active features only",
        "top_feature_active": "Best single SAE feature, active only",
        "difference_in_means": "Dense: difference-in-means",
        "linear_probe": "Dense: linear probe",
    }
    auroc = texts.auroc
    emotions = [emotion for emotion in subject.emotions if any(emotion in areas for areas in auroc.values())]
    nothing = Estimate(value=None, ci=None)
    readings = texts.readings if isinstance(texts, TransferSet) else {}
    rows = []
    for method, name in methods.items():
        if method not in auroc:
            continue
        cells = (_cell(auroc[method].get(column, nothing)) for column in (*emotions, "mean"))
        rows.append((name, *cells, *([plain_text(readings[method])] if readings else [])))
    judged, table = "nothing on these", ""
    if isinstance(texts, TransferSet):
        table = f" {plain_text(texts.table)}."
        if texts.n_seen:
            judged = f"and {texts.n_seen:,} of these texts, or sentences of them, were among those: not new to the SAE"
    return Table(
        f"{caption}: {texts.n:,} texts in {texts.n_groups:,} groups",
        (
            "Method",
            *(emotion_label(emotion) for emotion in emotions),
            "mean of emotions",
            *(["Read by"] if readings else []),
        ),
        tuple(rows),
        numeric=frozenset(range(1, len(emotions) + 2)),
        note="0.5 is chance, and the mean is over emotions that have a family. Families and single features are read along the directions that steer, the decoder's; the "
        "rows named active count what passes the SAE's threshold. Every method is read in the way that was best for it "
        "on development texts. Everything was fitted on the study's train and validation "
        f"texts, {judged}. In brackets: 95 % interval, bootstrap over groups." + table,
    )


def _cell(area: Estimate) -> str:
    spread = interval(area.ci, lambda value: number(value, 2))
    return number(area.value) if spread == NONE else f"{number(area.value)} {spread}"


@style.look()
def transfer_bars(auroc: Aurocs, emotions: tuple[str, ...], *, n: int) -> "Figure":
    """AUROC on texts of others, each method and emotion with its interval (bootstrap over groups).

    Args:
        auroc: of every method and emotion.
        emotions: names, in order.
        n: number of texts.
    """
    rows = [*(emotion for emotion in emotions if any(emotion in areas for areas in auroc.values())), "mean"]
    methods = [method for method in DRAWN if method in auroc]
    height = 1.0 + 0.14 * len(methods) * len(rows) + 0.1 * len(rows)
    figure, axes = style.canvas(style.WIDTH * 0.9, min(height, style.PAGE))
    places = np.arange(len(rows)) + np.where(np.array(rows) == "mean", 0.25, 0.0)
    low, handles = 0.5, []
    for turn, method in enumerate(methods):
        name, color, marker = DRAWN[method]
        offset = (turn - (len(methods) - 1) / 2) * 0.8 / len(methods)
        for y, row in zip(places + offset, rows, strict=True):
            area = auroc[method].get(row)
            if area is None or area.value is None:
                continue
            low = min(low, area.value)
            if area.ci is not None:
                axes.plot(area.ci, [y, y], color=color, lw=1.4, solid_capstyle="butt", zorder=2)
                low = min(low, area.ci[0])
            axes.plot([area.value], [y], color=color, marker=marker, ms=5, mec=style.PAPER, mew=0.5, zorder=3)
        handles += axes.plot(
            [], [], color=color, marker=marker, ms=5, lw=1.4, mec=style.PAPER, mew=0.5, label=name
        )
    axes.axvline(0.5, color=style.WARN, lw=1, ls=(0, (5, 2)))
    axes.axhline(len(rows) - 1.35, color=style.GRID, lw=0.8)
    axes.set_yticks(places, [*(style.short(emotion) for emotion in rows[:-1]), "mean of emotions"])
    axes.set(
        xlabel=f"AUROC (0.5: chance), n = {n:,} texts; bars: 95 % interval",
        xlim=(max(low - 0.03, 0), 1.0),
        ylim=(len(rows) - 0.1, -0.6),
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    style.legend_below(figure, handles, [DRAWN[method][0] for method in methods])
    return figure


@style.look()
def held_out_drop(features: "pl.DataFrame", emotions: tuple[str, ...]) -> "Figure":
    """AUROC of each emotion feature on test and on held-out words and scenes; on the line nothing is lost."""
    if not features.height:
        return style.nothing("no emotion feature to follow")
    figure, axes = style.canvas(style.WIDTH * 0.62, 3.6)
    areas = np.concatenate([features["auroc"].to_numpy(), features["held_out_auroc"].to_numpy(), [0.5]])
    low, high = float(np.nanmin(areas)) - 0.01, min(1.01, float(np.nanmax(areas)) + 0.01)
    axes.plot([low, high], [low, high], color=style.BAND, lw=1, zorder=0)
    handles, names = [], []
    for emotion, mark in zip(emotions, style.marks(len(emotions)), strict=True):
        of_emotion = features.filter(features["emotion"] == emotion)
        points = axes.scatter(
            of_emotion["auroc"], of_emotion["held_out_auroc"], s=22, color=mark.color, marker=mark.marker,
            edgecolors=style.PAPER, linewidths=0.4,
        )  # fmt: skip
        handles.append(points)
        names.append(f"{style.short(emotion)} ({of_emotion.height})")
    axes.axhline(0.5, color=style.WARN, lw=1, ls=(0, (5, 2)))
    axes.set(
        xlabel="AUROC on test texts",
        ylabel="AUROC on held-out words and scenes",
        xlim=(low, high),
        ylim=(low, high),
    )
    axes.set_aspect("equal")
    axes.grid()
    style.legend_below(figure, handles, names)
    return figure


GENERALIZATION = Topic(
    "generalization",
    "Generalization and transfer",
    (
        verdict_says("transfer", "generalization", "negation"),
        features_held_out,
        families_held_out,
        texts_of_others,
    ),
)
