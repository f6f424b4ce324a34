"""Evidence that features are more than correlations: names, causes, seeds, independence."""

from typing import Any

import numpy as np

from moodlens.report.document import Absent, Block, Cell, Picture, Section, Table, plain_text
from moodlens.report.evidence import Evidence
from moodlens.report.figures.causes import moves_matrix
from moodlens.report.numbers import NONE, interval, number, p_value, percent
from moodlens.report.sections.opening import criteria_table, status

READOUTS = (
    ("probe", "log-odds of a linear probe fitted on other groups"),
    ("centroid", "cosine with the emotion's centroid minus that with the others', of other groups"),
)


def lead(e: Evidence, *names: str) -> list[Block]:
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
            *lead(e, "interpretability", "monosemanticity"),
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
    blocks = lead(e, "causality", "compositionality")
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
    "keep_family": "Keep only the family (its first five)",
    "zero_rest": "Keep nothing",
}


def _interventions_table(e: Evidence) -> Table | None:
    import polars as pl

    assert e.interventions is not None
    rows = e.interventions.filter(
        pl.col("subject").is_in(["family", "all_features"])
        & (pl.col("target").is_null() | (pl.col("target") == pl.col("emotion")))
    )
    rows = rows.filter((pl.col("kind") != "transplant") | (pl.col("dose") == 1.0))
    if rows.height == 0:
        return None
    order = {emotion: i for i, emotion in enumerate(e.emotions)}
    kinds = list(_KINDS)
    out = []
    found = [row for row in rows.iter_rows(named=True) if row["emotion"] in order and row["kind"] in kinds]
    for row in sorted(
        found, key=lambda r: (kinds.index(r["kind"]), r["readout"] != "probe", order[r["emotion"]])
    ):
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
    note = (
        "Effect: change of the emotion's log-odds (probe) or cosine (centroid). A transplant should raise it, a clamp "
        "lower it; keeping only the family should lose less than keeping as many random features (the control)."
    )
    return Table("Interventions on families", head, tuple(out), frozenset(range(2, 8)), note)


def stability(e: Evidence) -> Section:
    """Which features come back when the SAE is trained again?"""
    title = "Stability over seeds"
    if e.stability is None:
        return Section("stability", title, (Absent("stability over seeds", "moodlens stability DIR"),))
    blocks: list[Block] = [
        *lead(e, "stability"),
        Picture(
            "stability",
            "Emotion features matched one to one with those of SAEs that differ in initialisation and data order. A "
            "feature reappears where both its decoder direction and its activations agree at 0.7 or more; the null is "
            "what random differences of data rows reach.",
            "Histograms of decoder cosine and of the number of seeds in which features reappear.",
        ),
    ]
    families = _agreement(e)
    return Section("stability", title, (*blocks, families) if families else tuple(blocks))


def _agreement(e: Evidence) -> Table | None:
    found = (e.agreement or {}).get("emotions") or {}
    rows = [
        (
            plain_text(emotion),
            f"{number(one['direction'])} ({number(one['direction_min'])})",
            number(one["direction_control"]),
            f"{number(one['reading'])} ({number(one['reading_min'])})",
            number(one["reading_control"]),
        )
        for emotion, one in found.items()
    ]
    if not rows:
        return None
    return Table(
        f"Families beside those of {(e.agreement or {})['n_seeds']} other seeds",
        ("Family", "Direction, cosine: mean (least)", "Random families", "Reading, correlation: mean (least)", "Random families"),
        tuple(rows),
        numeric=frozenset(range(1, 5)),
        note="Every seed's families are found by the same rule on the same texts. Direction: what a family adds when it "
        "steers. Reading: its score of test texts. Random families: 95th percentile of as many live features of the "
        "other seed with the same weights. All seeds choose for the same "
        "labels: agreement says that the rule finds the same thing in every SAE. Features may differ while families agree.",
    )  # fmt: skip


def orthogonality(e: Evidence) -> Section:
    """Are the emotion features independent, and do two families compose?"""
    title = "Orthogonality and compositionality"
    blocks: list[Block] = lead(e, "orthogonality", "compositionality")
    if not blocks:
        blocks += [
            Absent("orthogonality", "moodlens report DIR"),
            Absent("compositionality", "moodlens report DIR"),
        ]
    pairs = _pairs(((e.criterion("compositionality") or {}).get("details") or {}).get("pairs") or [])
    blocks += [pairs] if pairs else []
    details = (e.criterion("orthogonality") or {}).get("details") or {}
    rows = _orthogonality_rows(details)
    if rows:
        blocks.append(
            Table("Among emotion features", ("Measure", "Value", "Control"), rows, numeric=frozenset({1, 2}))
        )
    return Section("orthogonality", title, tuple(blocks))


def _pairs(pairs: list[dict[str, Any]]) -> Table | None:
    rows: list[tuple[str | Cell, ...]] = []
    for one in pairs:
        effects = [
            f"{number(one['effects'][x])} {interval(one['ci'][x])}; alone {number(one['alone'][x])}"
            for x in one["emotions"]
        ]
        moved = Cell("both", "good") if one["moved"] else Cell("not both", "bad")
        rows.append((" + ".join(plain_text(x) for x in one["emotions"]), moved, *effects))
    if not rows:
        return None
    return Table(
        "Two families added at once: change of the log-odds of each",
        ("Pair", "Moved", "First emotion", "Second emotion"),
        tuple(rows),
        note="Moved: both intervals lie above zero and both means above 99 % of what pairs of random families do. "
        "Alone: the same family without the other.",
    )


def _orthogonality_rows(details: dict[str, Any]) -> tuple[tuple[str | Cell, ...], ...]:
    labels = (
        ("n_features", None, "Emotion features", number),
        ("n_pairs", None, "Pairs", number),
        ("median", "control_median", "Median |correlation| of activations", number),
        ("mean_abs_correlation", "control_mean_abs_correlation", "Mean |correlation| of activations", number),
        ("mean_abs_cosine", "control_mean_abs_cosine", "Mean |cosine| of decoder rows", number),
        ("share", "control_share", "Pairs with |correlation| below the bar", percent),
        ("within_share", None, "the same, pairs of one emotion", percent),
        ("between_share", None, "the same, pairs of two emotions", percent),
        ("cosine_share", "control_cosine_share", "Pairs with |decoder cosine| below the bar", percent),
    )
    return tuple(
        (label, form(details[key]), form(details.get(control)) if control else NONE)
        for key, control, label, form in labels
        if isinstance(details.get(key), (int, float))
    )
