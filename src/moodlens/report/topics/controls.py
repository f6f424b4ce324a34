"""Controls: what chance finds, made visible."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from moodlens.report import style
from moodlens.report.document import Picture, Table
from moodlens.report.numbers import NONE, number, percent
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.study.records.causal import Causal
from moodlens.study.records.concepts import Concepts
from moodlens.study.records.names import Names
from moodlens.study.records.selection import Selection
from moodlens.study.records.transfer import Transfer
from moodlens.study.records.untrained import Claims, Untrained
from moodlens.study.records.verdict import FEATURES, Verdict

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


def shuffled(subject: Subject, selection: Selection) -> Blocks:
    """The count of emotion features beside what shuffled labels give."""
    counts, count = selection.shuffled.counts, selection.n_emotion_features
    yield Picture(
        "shuffled",
        "The whole procedure, choosing and judging, repeated with labels shuffled over groups, beside what it found "
        "with the true labels.",
        f"Histogram of the counts under shuffled labels (mean {number(selection.shuffled.mean)}) and the real "
        f"count {count}.",
        lambda: shuffled_counts(counts, count, threshold=subject.settings.verdict.min_emotion_features),
    )


@needs(FEATURES)
def tested(_: Subject, selection: Selection, features: "pl.DataFrame") -> Blocks:
    """The p-values of all features that were tested."""
    rows = features.filter(features["tested"] & features["p"].is_not_null())
    yield Picture(
        "p-values",
        "If no feature carried emotion, the bars would follow the dashed line. The peak at zero is what is left "
        "after that.",
        "Histogram of permutation p-values of all tested features.",
        lambda: p_values(rows["p"].to_numpy(), rows["q"].to_numpy(), selection.q),
    )


@needs(Untrained)
def learned_nothing(subject: Subject, selection: Selection, untrained: Untrained) -> Blocks:
    """What dictionaries that learned nothing claim by the same rules, and what one would without a consensus."""
    rows = [_row("this study", _own(subject, selection))]
    for agreed, by_kind in (("consensus", untrained.consensus), ("one alone", untrained.alone)):
        rows += [_row(f"{kind.replace('-', ' ')}, {agreed}", claims) for kind, claims in by_kind.items()]
    yield Table(
        "Dictionaries that learned nothing, by the same rules",
        (
            "Dictionaries",
            "Features",
            "Claimed",
            "Concepts",
            "Names",
            "Causes",
            "Come back",
            "Held-out words, AUROC",
        ),
        tuple(rows),
        numeric=frozenset(range(1, 8)),
        note="Untrained rows: every feature is the difference of two training rows. Untrained random: random directions. "
        "Consensus: what several of them agree on, as the study's core is what several trained SAEs agree on. One alone "
        "is a warning: what would be claimed if nobody asked for agreement; shuffled labels cannot see it. Its concepts, names "
        "and causes are of as many of its claims as this study has, of each emotion the best on training and validation texts: "
        "what a feature must be worth beyond them.",
    )


def _own(subject: Subject, selection: Selection) -> Claims:
    """The study's claims, as those of the untrained dictionaries are counted."""
    concepts, names, causal = (subject.get(record) for record in (Concepts, Names, Causal))
    verdict, transfer = subject.get(Verdict), subject.get(Transfer)
    judged = {} if verdict is None else {criterion.id: criterion.value for criterion in verdict.criteria}
    return Claims(
        n_features=selection.core_size,
        active_share=0.0,
        n_claimed=selection.n_emotion_features,
        per_emotion=selection.per_emotion,
        held_out_auroc=None if transfer is None else transfer.held_out.family_auroc,
        concepts_per_emotion=concepts.per_emotion if concepts is not None and concepts.asked else None,
        interpretable_per_emotion=None if names is None else names.per_emotion,
        causal_per_emotion=None if causal is None else causal.per_emotion,
        stable_share=judged.get("stability"),
    )


def _row(name: str, claims: Claims) -> tuple[str, ...]:
    def total(counts: dict[str, int] | None) -> str:
        return NONE if counts is None else number(sum(counts.values()))

    return (
        name,
        number(claims.n_features),
        number(claims.n_claimed),
        total(claims.concepts_per_emotion),
        total(claims.interpretable_per_emotion),
        total(claims.causal_per_emotion),
        NONE if claims.stable_share is None else percent(claims.stable_share),
        number(claims.held_out_auroc),
    )


@style.look()
def shuffled_counts(counts: Sequence[int], real: int, *, threshold: int) -> "Figure":
    """How many emotion features the same procedure finds under shuffled labels, beside the real count."""
    values = np.asarray(counts, dtype=float)
    figure, axes = style.canvas(style.WIDTH * 0.8, 2.4)
    top = max(values.max(initial=0), real, threshold, 1.0)
    width = max(1, round(top / 60))
    edges = np.arange(0, top + 2 * width, width) - width / 2
    axes.hist(
        values, bins=edges, color=style.BAND, edgecolor=style.PAPER, linewidth=0.4,
        label=f"shuffled labels, n = {len(values)} repeats",
    )  # fmt: skip
    axes.axvline(real, color=style.ACCENT, lw=2, label=f"this study: {real}")
    p95 = float(np.percentile(values, 95)) if values.size else 0.0
    axes.axvline(
        p95, color=style.INK, lw=1, ls=style.DOTTED, label=f"shuffled, 95th percentile: {number(p95)}"
    )
    axes.axvline(threshold, color=style.WARN, lw=1, ls=(0, (5, 2)), label=f"criterion: {threshold}")
    axes.set(
        xlabel="emotion features found",
        ylabel="repeats",
        xlim=(-top * 0.03 - 0.5, top * 1.06),
        ylim=(0, axes.get_ylim()[1]),
    )
    style.legend_below(figure, *axes.get_legend_handles_labels(), columns=2)
    return figure


@style.look()
def p_values(p: np.ndarray, q: np.ndarray, level: float) -> "Figure":
    """Histogram of the p-values of all features tested; under no effect it is flat at the dashed line."""
    if not p.size:
        return style.nothing("no feature was tested")
    figure, axes = style.canvas(style.WIDTH * 0.8, 2.4)
    n_bins, called = 20, q < level
    axes.hist(
        [p[called], p[~called]], bins=list(np.linspace(0, 1, n_bins + 1)), stacked=True, color=[style.ACCENT, style.BAND],
        edgecolor=style.PAPER, linewidth=0.4,
        label=[f"q < {level:g} ({int(called.sum()):,})", f"q ≥ {level:g} ({int((~called).sum()):,})"],
    )  # fmt: skip
    axes.axhline(len(p) / n_bins, color=style.INK, lw=1, ls=(0, (4, 2)), label="expected if nothing is there")
    axes.set(
        xlabel=f"group permutation p, test texts (n = {len(p):,} features tested)",
        ylabel="features",
        xlim=(0, 1),
    )
    style.legend_below(figure, *axes.get_legend_handles_labels())
    return figure


CONTROLS = Topic(
    "controls",
    "Controls: what chance finds",
    (learned_nothing, shuffled, tested),
    needs=(Selection,),
    absent="controls",
)
