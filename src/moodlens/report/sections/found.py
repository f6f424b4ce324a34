"""Evidence about the features: how many, which, what they fire on, and what chance would have found."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report.document import (
    Absent,
    Block,
    Bullets,
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

if TYPE_CHECKING:
    import polars as pl

PROMPTS_SHOWN = 5


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
    per = 10 if len(e.emotions) <= 6 else 5
    sections = []
    for i, emotion in enumerate(e.emotions):
        top = top_features(e.features, (emotion,), per)
        parts: tuple[Block, ...]
        if top.height == 0:
            parts = (Paragraph("No emotion feature was found."),)
        else:
            parts = (
                _feature_table(emotion, top, s["per_emotion"].get(emotion, top.height)),
                *_examples(e, i, top.head(5)),
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
    ("auroc", "AUROC", number),
    ("held_out_auroc", "AUROC held-out", number),
    ("selectivity", "Selectivity", times),
    ("q", "q", p_value),
    ("n_groups", "Groups", number),
    ("density", "Density", lambda v: percent(v, 1)),
    ("stability", "Stability", percent),
    ("causal_effect", "Causal effect", number),
    ("causal_q", "Causal q", p_value),
    ("name_score", "Name score", number),
    ("name_control", "Shuffled name", number),
)


def _feature_table(emotion: str, top: "pl.DataFrame", total: int) -> Table:
    present = [c for c in _COLUMNS if c[0] in top.columns and top[c[0]].null_count() < top.height]
    rows = []
    for row in top.iter_rows(named=True):
        name = row.get("reading") or row.get("name")
        rows.append(
            (
                f"F{row['feature']}",
                plain_text(name) if name else NONE,
                *(form(row[column]) for column, _, form in present),
            )
        )
    return Table(
        f"Best {top.height} of {total} features for {plain_text(emotion)}, by AUROC on train and validation texts",
        ("Feature", "Name", *(label for _, label, _ in present)),
        tuple(rows),
        numeric=frozenset(range(2, len(present) + 2)),
    )


def _examples(e: Evidence, emotion: int, top: "pl.DataFrame") -> tuple[Block, ...]:
    if e.codes is None or e.prompts is None or e.labels is None:
        return (Absent("what the features fire on (needs texts, embeddings and the SAE)"),)
    if e.prompts["text"].str.len_chars().max() in (None, 0):
        return (
            Paragraph("The study has embeddings without texts, so what a feature fires on cannot be shown."),
        )
    from moodlens.features.top_prompts import top_prompts

    # Texts the feature was not chosen on: what it does there is evidence.
    unseen = np.flatnonzero(e.prompts["split"].is_in(["test", "held_out"]).to_numpy())
    texts = [e.prompts["text"][int(i)] for i in unseen]
    folds = []
    for row in top.iter_rows(named=True):
        shown = top_prompts(
            e.codes[unseen, row["feature"]],
            texts,
            e.labels[unseen],
            emotion,
            seed=row["feature"],
            n=PROMPTS_SHOWN,
        )
        name = row.get("reading") or row.get("name")
        summary = f"F{row['feature']}" + (f": {plain_text(name)}" if name else "")
        folds.append(
            Fold(
                f"{summary} (fires in {shown['n_active']:,} of {shown['n_rows']:,})",
                _prompt_blocks(e, shown, row),
            )
        )
    return (
        Paragraph("What they fire on, among test and held-out texts that had no part in choosing them:"),
        *folds,
    )


def _prompt_blocks(e: Evidence, shown: dict[str, Any], row: dict[str, Any]) -> tuple[Block, ...]:
    def label(prompt: dict[str, Any]) -> str:
        return plain_text(e.emotions[prompt["label"]]) if prompt["label"] >= 0 else "none"

    rows = [
        (f"top {i + 1}", number(p["activation"]), label(p), plain_text(p["text"]))
        for i, p in enumerate(shown["top"])
    ]
    rows += [
        (f"decile {p['decile']}", number(p["activation"]), label(p), plain_text(p["text"]))
        for p in shown["deciles"]
    ]
    rows += [("miss", "0", label(p), plain_text(p["text"])) for p in shown["misses"]]
    blocks: list[Block] = []
    evidence = _name_evidence(row)
    if evidence:
        blocks.append(Bullets(evidence))
    blocks.append(
        Table(
            f"Strongest texts, a random one from each tenth of its firings, and misses ({shown['n_missed']:,} of "
            f"{shown['n_emotion']:,} texts of its emotion)",
            ("Which", "Activation", "Emotion", "Text"),
            tuple(rows),
            numeric=frozenset({1}),
        )
    )
    return tuple(blocks)


def _name_evidence(row: dict[str, Any]) -> tuple[str, ...]:
    said = []
    if row.get("name") and row.get("name_score") is not None:
        said.append(
            f"Name from contrastive n-grams: {plain_text(row['name'])}. It predicts where the feature fires on held-out "
            f"texts with balanced accuracy {number(row['name_score'])}; shuffled names reach {number(row.get('name_control'))}."
        )
    if row.get("reading"):
        by = f" by {plain_text(row['reading_by'])}" if row.get("reading_by") else ""
        said.append(f"Read{by}: {plain_text(row['reading'])}.")
    return tuple(said)


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
