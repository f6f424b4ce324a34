"""Evidence that features are more than correlations: names, causes, seeds, new words, texts of others, independence."""

from typing import Any

import numpy as np

from moodlens.report.document import Absent, Block, Cell, Picture, Section, Table, plain_text
from moodlens.report.evidence import Evidence
from moodlens.report.figures.causes import moves_matrix
from moodlens.report.numbers import NONE, interval, number, p_value, percent
from moodlens.report.sections.opening import criteria_table, status

READOUTS = (
    ("probe", "linear probe fitted on other groups"),
    ("centroid", "distance to the emotions' centroids"),
)
METHOD_NAMES = {
    "family": "SAE family (up to 10 features)",
    "top_feature": "Best single SAE feature",
    "difference_in_means": "Dense: difference-in-means",
    "linear_probe": "Dense: linear probe",
}


def _lead(e: Evidence, *names: str) -> list[Block]:
    """The criteria a section speaks to, repeated where they are proved."""
    found = [c for name in names if (c := e.criterion(name)) is not None and status(c)[0] != "not measured"]
    if not found:
        return []
    return [criteria_table("What the verdict says", found)]


def names(e: Evidence) -> Section:
    """Does a feature's name say where it fires?"""
    title = "Names and what they cover"
    table = e.features
    if table is None or "name_score" not in table.columns or table["name_score"].null_count() == table.height:
        return Section("names", title, (Absent("names", "moodlens names DIR"),))
    import polars as pl

    found = table.filter(pl.col("emotion_feature"))
    rows = []
    for emotion in e.emotions:
        mine = found.filter(pl.col("emotion") == emotion)
        score, control = mine["name_score"].drop_nulls(), mine["name_control"].drop_nulls()
        holds = int((mine["interpretable"].cast(pl.Int64, strict=False).fill_null(0) > 0).sum())
        rows.append(
            (
                plain_text(emotion),
                f"{holds} of {mine.height}",
                number(score.median()),
                number(control.median()),
            )
        )
    return Section(
        "names",
        title,
        (
            *_lead(e, "interpretability", "monosemanticity"),
            Table(
                "Names that predict firing on held-out texts",
                ("Emotion", "Names that hold", "Balanced accuracy, median", "Shuffled names, median"),
                tuple(rows),
                numeric=frozenset({1, 2, 3}),
            ),
        ),
    )


def causality(e: Evidence) -> Section:
    """Do interventions move what they should, and more than random ones do?"""
    title = "Causality: what interventions change"
    if e.interventions is None:
        return Section("causality", title, (Absent("causality", "moodlens causal DIR"),))
    blocks = _lead(e, "causality", "compositionality")
    table = _interventions_table(e)
    blocks += [table] if table else []
    for readout, meaning in READOUTS:
        rows = e.interventions.filter(e.interventions["readout"] == readout)
        if rows.height == 0:
            continue
        if (rows["kind"] == "transplant").any():
            blocks.append(
                Picture(
                    f"dose-response-{readout}",
                    f"Adding an emotion's family to texts of other emotions, read by the {meaning}. The grey band is what "
                    "matched controls reach (mean to 99th percentile); shaded lines are 95 % intervals over groups.",
                    f"Dose-response curves of the {readout} readout for each emotion, with controls.",
                )
            )
        matrix, _ = moves_matrix(e.interventions, e.emotions, readout=readout)
        if np.isfinite(matrix).any():
            blocks.append(
                Picture(
                    f"moves-{readout}",
                    "Which emotion's family moves which emotion's readout. The diagonal should rise and the rest should not.",
                    f"Heatmap of the effect of each family on each emotion's {readout} readout.",
                )
            )
    return Section("causality", title, tuple(blocks))


_KINDS = {
    "clamp": "Clamp to zero",
    "transplant": "Transplant, dose 1",
    "keep_family": "Keep only the family",
}


def _interventions_table(e: Evidence) -> Table | None:
    import polars as pl

    assert e.interventions is not None
    rows = e.interventions.filter(
        (pl.col("subject") == "family")
        & (pl.col("target").is_null() | (pl.col("target") == pl.col("emotion")))
    )
    rows = rows.filter((pl.col("kind") != "transplant") | (pl.col("dose") == 1.0))
    if rows.height == 0:
        return None
    order = {emotion: i for i, emotion in enumerate(e.emotions)}
    kinds = list(_KINDS)
    out = []
    found = [row for row in rows.iter_rows(named=True) if row["emotion"] in order and row["kind"] in kinds]
    for row in sorted(found, key=lambda r: (kinds.index(r["kind"]), str(r["readout"]), order[r["emotion"]])):
        out.append(
            (
                f"{_KINDS[row['kind']]}: {plain_text(row['emotion'])}",
                str(row["readout"]),
                number(row["effect"]),
                interval((row["ci_low"], row["ci_high"])),
                number(row["control_mean"]),
                number(row["control_p99"]),
                p_value(row["q"] if row["q"] is not None else row["p"]),
                number(row["n_groups"]),
            )
        )
    head = (
        "Family intervention",
        "Readout",
        "Effect",
        "95 % interval",
        "Control mean",
        "Control, 99th pct.",
        "q",
        "Groups",
    )
    return Table("Interventions on families", head, tuple(out), numeric=frozenset(range(2, 8)))


def stability(e: Evidence) -> Section:
    """Which features come back when the SAE is trained again?"""
    title = "Stability over seeds"
    if e.stability is None:
        return Section("stability", title, (Absent("stability over seeds", "moodlens stability DIR"),))
    return Section(
        "stability",
        title,
        (
            *_lead(e, "stability"),
            Picture(
                "stability",
                "Emotion features matched one to one with those of SAEs that differ in initialisation and data order. A "
                "feature reappears where both its decoder direction and its activations agree at 0.7 or more; the null is "
                "what random differences of data rows reach.",
                "Histograms of decoder cosine and of the number of seeds in which features reappear.",
            ),
        ),
    )


def generalization(e: Evidence) -> Section:
    """New words, new scenes, and texts written by others."""
    title = "Generalization and transfer"
    blocks = _lead(e, "generalization")
    if e.features is not None and e.features["held_out_auroc"].null_count() < e.features.height:
        blocks.append(
            Picture(
                "held-out",
                "Each emotion feature on test texts and on held-out emotion words, scenes and templates. On the diagonal "
                "nothing is lost.",
                "Scatter plot of held-out AUROC against test AUROC of the emotion features.",
            )
        )
    else:
        blocks.append(Absent("generalization to held-out words and scenes", "moodlens transfer DIR"))
    sets = (e.transfer or {}).get("sets") or []
    if not sets:
        blocks.append(
            Absent(
                "transfer to texts of other people", "moodlens transfer DIR TEXTS.csv --text-column caption"
            )
        )
    for number_, texts in enumerate(sets):
        blocks += _transfer_blocks(e, number_ + 1, texts)
    return Section("generalization", title, tuple(blocks))


def _transfer_blocks(e: Evidence, place: int, texts: dict[str, Any]) -> list[Block]:
    auroc = texts["auroc"]
    columns = [*[x for x in e.emotions if any(x in of for of in auroc.values())], "mean"]
    rows = []
    for method, label in METHOD_NAMES.items():
        if method not in auroc:
            continue
        cells = [auroc[method].get(column) or {} for column in columns]
        rows.append((label, *(f"{number(c.get('value'))} {_ci(c.get('ci'))}".strip() for c in cells)))
    name = plain_text(texts["name"])
    return [
        Table(
            f"AUROC on {name}: {texts['n']:,} texts in {texts['n_groups']:,} groups, read {plain_text(texts['reading'])}",
            ("Method", *(plain_text(c) if c != "mean" else "mean of emotions" for c in columns)),
            tuple(rows),
            numeric=frozenset(range(1, len(columns) + 1)),
            note="0.5 is chance. Everything was fitted on the study's own texts; nothing on these. In brackets: 95 % "
            "interval, bootstrap over groups.",
        ),
        Picture(
            f"transfer-{place}",
            "SAE families and single features beside two dense baselines that see the whole embedding.",
            f"AUROC with intervals on {name} for each method and emotion.",
        ),
    ]


def _ci(ci: Any) -> str:
    text = interval(ci, lambda value: number(value, 2))
    return "" if text == NONE else text


def orthogonality(e: Evidence) -> Section:
    """Are the emotion features independent, and do two families compose?"""
    title = "Orthogonality and compositionality"
    blocks: list[Block] = _lead(e, "orthogonality", "compositionality")
    if not blocks:
        blocks += [
            Absent("orthogonality", "moodlens report DIR"),
            Absent("compositionality", "moodlens report DIR"),
        ]
    details = (e.criterion("orthogonality") or {}).get("details") or {}
    rows = _orthogonality_rows(details)
    if rows:
        blocks.append(
            Table("Among emotion features", ("Measure", "Value", "Control"), rows, numeric=frozenset({1, 2}))
        )
    return Section("orthogonality", title, tuple(blocks))


def _orthogonality_rows(details: dict[str, Any]) -> tuple[tuple[str | Cell, ...], ...]:
    labels = (
        ("n_features", None, "Emotion features", number),
        ("n_pairs", None, "Pairs", number),
        ("median", "control_median", "Median |correlation| of activations", number),
        ("mean_abs_correlation", "control_mean_abs_correlation", "Mean |correlation| of activations", number),
        ("mean_abs_cosine", "control_mean_abs_cosine", "Mean |cosine| of decoder rows", number),
        ("cosine_share", "control_cosine_share", "Pairs with |decoder cosine| below the bar", percent),
    )
    return tuple(
        (label, form(details[key]), form(details.get(control)) if control else NONE)
        for key, control, label, form in labels
        if isinstance(details.get(key), (int, float))
    )
