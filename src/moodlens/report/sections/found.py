"""Evidence about the features: how many, which, what they fire on, and what chance would have found."""

from typing import TYPE_CHECKING

from moodlens.report.document import (
    Absent,
    Block,
    Cell,
    Fold,
    Paragraph,
    Picture,
    Section,
    Table,
    plain_text,
)
from moodlens.report.evidence import Evidence
from moodlens.report.figures.selection import top_features
from moodlens.report.numbers import NONE, number, p_value, percent, times
from moodlens.report.sections.examples import examples, feature_name

if TYPE_CHECKING:
    import polars as pl

ALL_SHOWN = 300
ORDER = "those that reappear in 4 of 5 other seeds first, then by AUROC on train and validation texts"


def features(e: Evidence) -> Section:
    """The emotion features, emotion by emotion."""
    title = "Emotion features"
    if e.features is None or e.selection is None:
        return Section("features", title, (Absent("emotion features", "moodlens features DIR"),))
    s = e.selection
    blocks: list[Block] = [
        Paragraph(
            f"{s['n_emotion_features']:,} emotion features among {s['n_alive']:,} alive; under shuffled labels the same "
            f"procedure finds {number(s['shuffled']['mean'], 1)} on average (95th percentile "
            f"{number(s['shuffled']['p95'], 1)}, {len(s['shuffled']['counts'])} full repeats). "
            f"{s.get('n_groups_test', 0):,} independent groups judged them. Each feature's emotion was fixed on train and "
            "validation texts; every number below is from test texts, which had no part in that."
        ),
        _counts(e),
        Picture(
            "heatmap",
            "Share of test texts in which each of the best features fires, by the emotion of the text. Rows are grouped by "
            "the emotion a feature was chosen for; lines separate the groups.",
            "Heatmap of firing rates, best features by emotions.",
        ),
        Picture(
            "distributions",
            "Activations of the best features where they fire (box: quartiles, whiskers: 5th to 95th percentile), by the "
            "emotion of the test text. The percentage is how often it fires at all.",
            "Box plots of activations of top features for each emotion.",
        ),
        Picture(
            "selectivity-auroc",
            "All alive features on test texts. Selectivity compares firing rates, AUROC the whole ranking: a feature can "
            "have a high ratio from a handful of firings, and then its AUROC stays near 0.5.",
            "Scatter plot of selectivity against AUROC, emotion features coloured by emotion.",
        ),
    ]
    blocks += [*_families(e), *_all_features(e)]
    per = 10 if len(e.emotions) <= 6 else 5
    sections = []
    for i, emotion in enumerate(e.emotions):
        top = top_features(e.features, (emotion,), per)
        parts: tuple[Block, ...]
        if top.height == 0:
            parts = (Paragraph("No emotion feature was found."),)
        else:
            parts = (
                _feature_table(
                    e,
                    f"Best {top.height} of {s['per_emotion'].get(emotion, top.height)} features for "
                    f"{plain_text(emotion)}: {ORDER}",
                    top,
                ),
                *examples(e, i, top.head(5)),
            )
        sections.append(Section(f"features-{i + 1}", plain_text(emotion), parts))
    return Section("features", title, tuple(blocks), tuple(sections))


def _counts(e: Evidence) -> Table:
    assert e.selection is not None
    s = e.selection
    alone = s.get("threshold_only") or {}
    rows: list[tuple[str | Cell, ...]] = [
        (
            f"Emotion features: q < {s.get('q', 0.05):g} and selectivity > {s.get('min_selectivity', 2):g} on test",
            number(s["n_emotion_features"]),
            number(s["shuffled"]["mean"], 1),
            number(s["shuffled"]["p95"], 1),
        )
    ]
    if alone:
        rows.append(
            (
                "Threshold alone: selectivity > 2, 5 firings, no test",
                number(alone.get("count")),
                number(alone.get("shuffled_mean"), 1),
                number(alone.get("shuffled_p95"), 1),
            )
        )
    if "n_family_wise" in s:
        rows.append(("of the emotion features, family-wise (max-T)", number(s["n_family_wise"]), NONE, NONE))
    for emotion, n in s["per_emotion"].items():
        rows.append((f"of the emotion features, {plain_text(emotion)}", number(n), NONE, NONE))
    return Table(
        "How many features pass, and how many would by chance",
        ("Rule", "This study", "Shuffled labels, mean", "Shuffled labels, 95th percentile"),
        tuple(rows),
        numeric=frozenset({1, 2, 3}),
    )


_COLUMNS = (
    ("name_score", "Name score", number),
    ("name_control", "Shuffled name", number),
    ("selectivity", "Selectivity", times),
    ("auroc", "AUROC", number),
    ("held_out_auroc", "AUROC held-out", number),
    ("q", "q", p_value),
    ("n_groups", "Groups", number),
    ("density", "Density", lambda v: percent(v, 1)),
    ("stability", "Stability", percent),
    ("causal_effect", "Causal effect", number),
    ("causal_q", "Causal q", p_value),
)


def _feature_table(e: Evidence, caption: str, top: "pl.DataFrame", *, emotion: bool = False) -> Table:
    """Features in the order of ``top``; columns nobody has measured yet are left out."""
    present = [c for c in _COLUMNS if c[0] in top.columns and top[c[0]].null_count() < top.height]
    named = any(feature_name(e, row) for row in top.iter_rows(named=True))
    rows = []
    for row in top.iter_rows(named=True):
        first = [f"F{row['feature']}"]
        first += [plain_text(row["emotion"])] if emotion else []
        first += [feature_name(e, row) or NONE] if named else []
        rows.append((*first, *(form(row[column]) for column, _, form in present)))
    head = ["Feature", *(["Emotion"] if emotion else []), *(["Name"] if named else [])]
    start = len(head)
    return Table(
        caption,
        (*head, *(label for _, label, _ in present)),
        tuple(rows),
        numeric=frozenset(range(start, start + len(present))),
    )


def _all_features(e: Evidence) -> tuple[Block, ...]:
    assert e.features is not None
    every = top_features(e.features, e.emotions, e.features.height)
    if every.height == 0:
        return ()
    shown = every.head(ALL_SHOWN)
    rest = f"; the first {ALL_SHOWN}, all are in features.parquet" if shown.height < every.height else ""
    caption = (
        f"Emotion features by emotion, stable ones first, then by AUROC on train and validation texts{rest}"
    )
    return (
        Fold(f"All {every.height:,} emotion features", (_feature_table(e, caption, shown, emotion=True),)),
    )


def _families(e: Evidence) -> tuple[Block, ...]:
    families = [f for f in (e.families or {}).get("families", ()) if f["features"]]
    if not families:
        return ()
    rows = tuple(
        (
            plain_text(family["emotion"]),
            number(len(family["features"])),
            ", ".join(f"F{f} ({w:.2f})" for f, w in zip(family["features"], family["weights"], strict=True)),
        )
        for family in families
    )
    return (
        Table(
            "Families: the features of one emotion that are read together, with their weights",
            ("Emotion", "Features", "Members (weight)"),
            rows,
            numeric=frozenset({1}),
            note="Chosen and weighted on train and validation texts; how well they read an emotion is under "
            "Generalization and transfer.",
        ),
    )


def controls(e: Evidence) -> Section:
    """Chance, made visible."""
    title = "Controls: what chance finds"
    if e.selection is None:
        return Section("controls", title, (Absent("controls", "moodlens features DIR"),))
    s = e.selection
    return Section(
        "controls",
        title,
        (
            Picture(
                "shuffled",
                "The whole procedure, choosing and judging, repeated with labels shuffled over groups, beside what it found "
                "with the true labels.",
                f"Histogram of the counts under shuffled labels (mean {number(s['shuffled']['mean'], 1)}) and the real count "
                f"{s['n_emotion_features']}.",
            ),
            Picture(
                "p-values",
                "If no feature carried emotion, the bars would follow the dashed line. The peak at zero is what is left "
                "after that.",
                "Histogram of permutation p-values of all tested features.",
            ),
        ),
    )
