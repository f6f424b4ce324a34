"""Evidence up to the dictionary: the texts, phase 0, the SAE and the sweep."""

from typing import Any

from moodlens.report.document import (
    Absent,
    Block,
    Bullets,
    Cell,
    Paragraph,
    Picture,
    Section,
    Table,
    plain_text,
)
from moodlens.report.evidence import Evidence
from moodlens.report.numbers import NONE, interval, number, p_value, percent
from moodlens.report.sections.opening import signs

SPLITS = ("train", "val", "test", "held_out")


def texts(e: Evidence) -> Section:
    """How many texts of what kind, in which split, and how many independent groups stand behind them."""
    if e.prompts is None:
        return Section("texts", "Texts", (Absent("the texts", "moodlens prompts DIR"),))
    import polars as pl

    frame = e.prompts.with_columns(
        pl.col("emotion").fill_null("no emotion"), pl.col("split").replace("", "none")
    )
    splits = [s for s in (*SPLITS, "none") if (frame["split"] == s).any()]
    rows = []
    for emotion in (*e.emotions, "no emotion"):
        mine = frame.filter(pl.col("emotion") == emotion)
        if not mine.height:
            continue
        counts = [mine.filter(pl.col("split") == s) for s in splits]
        rows.append(
            (
                plain_text(emotion),
                *(f"{part.height:,} ({part['group'].n_unique():,})" for part in counts),
                f"{mine.height:,} ({mine['group'].n_unique():,})",
            )
        )
    kinds = frame.group_by("kind").len().sort("kind")
    said = ", ".join(f"{plain_text(kind)} {n:,}" for kind, n in kinds.iter_rows())
    return Section(
        "texts",
        "Texts",
        (
            Paragraph(
                f"{frame.height:,} texts in {frame['group'].n_unique():,} groups ({said}). A group (an emotion word, a "
                "scene, an annotator) never straddles a split, and every p-value and interval counts groups, not texts."
            ),
            Table(
                "Texts (and groups) by emotion and split",
                ("Emotion", *(s.replace("_", "-") for s in splits), "all"),
                tuple(rows),
                numeric=frozenset(range(1, len(splits) + 2)),
            ),
        ),
    )


def phase0(e: Evidence) -> Section:
    """Is emotion in the embeddings at all?"""
    title = "Phase 0: is emotion in the embeddings?"
    p = e.phase0
    if p is None:
        return Section("phase0", title, (Absent("phase 0", "moodlens probe DIR"),))
    similarity, probe, noise = p["similarity"], p["linear_probe"], p["signal_to_noise"]
    permuted = similarity["permutation"]
    rows: list[tuple[str | Cell, ...]] = [
        (
            "Cosine within emotions",
            number(similarity["within"]["mean"]),
            "between emotions",
            number(similarity["between"]["mean"]),
            f"{similarity['within']['n_pairs']:,} and {similarity['between']['n_pairs']:,} pairs of texts",
        ),
        (
            "Difference",
            number(similarity["difference"]),
            "labels permuted over groups, 95th percentile",
            number(permuted["null_p95"]),
            f"p {p_value(permuted['p'])} over {permuted['n_units']:,} units; "
            f"t-test p {p_value(similarity['t_p'])} (treats pairs as independent, which they are not)",
        ),
    ]
    shuffled, grouped = probe.get("shuffled"), probe.get("group_folds")
    rows.append(
        (
            "Linear probe, folds of texts",
            percent(probe["mean"], 1),
            "largest class",
            percent(probe["chance"], 1),
            "5-fold accuracy; texts of one group sit on both sides, so it rewards remembering words"
            + (
                f"; on {probe['n']:,} texts, whole groups drawn at random"
                if probe.get("n", p["n"]) < p["n"]
                else ""
            ),
        )
    )
    if grouped:
        rows.append(
            (
                "Linear probe, folds of groups",
                percent(grouped["mean"], 1),
                f"shuffled labels, 95th percentile of {shuffled['n']}" if shuffled else "largest class",
                percent(shuffled["p95"] if shuffled else probe["chance"], 1),
                "the figure to believe: new words and scenes",
            )
        )
    rows.append(
        (
            "Signal-to-noise, mean over dimensions",
            number(noise["mean"], 4),
            "expected without signal",
            number(noise["chance"], 4),
            f"strongest dimension: {noise['dimensions'][0]} with {number(noise['values'][0])}",
        )
    )
    return Section(
        "phase0",
        title,
        (
            Table(
                f"Phase 0 on {p['n']:,} labelled texts in {p['n_groups']:,} groups, {p['d_in']} dimensions",
                ("Measure", "Value", "Control", "Control value", "Note"),
                tuple(rows),
                numeric=frozenset({1, 3}),
            ),
            Picture(
                "similarity",
                "Mean cosine between the texts of every two emotions. The diagonal (without each text's cosine with "
                "itself) should be the darkest cell of its row.",
                f"Heatmap of mean cosines; within emotions {number(similarity['within']['mean'])}, between "
                f"{number(similarity['between']['mean'])}.",
            ),
            Picture(
                "pca",
                "Left: texts in the plane of most variance; clouds that overlap here may still be separable in other "
                "dimensions. Right: how much variance the leading components hold.",
                "Scatter plot of the first two principal components coloured by emotion, and cumulative variance.",
            ),
        ),
    )


def sae(e: Evidence) -> Section:
    """The dictionary: its shape, how well it reconstructs beside trivial methods, and how it trained."""
    if e.sae_config is None:
        return Section(
            "sae", "The sparse autoencoder", (Absent("the sparse autoencoder", "moodlens train DIR"),)
        )
    facts = (e.sae_config.get("metadata") or {}).get("moodlens_settings") or {}
    shape = [f"{e.sae_config['d_in']} → {e.sae_config['d_sae']:,} features"]
    shape += [f"{facts['architecture']}"] if facts.get("architecture") else []
    if facts.get("architecture") == "l1":
        shape.append(f"l1_coefficient {facts['l1_coefficient']:g}")
    elif facts.get("k"):
        shape.append(f"k {facts['k']}")
    blocks: list[Block] = [Paragraph(f"SAE {plain_text(e.sae_name)}: {', '.join(shape)}.")]
    blocks += _reconstruction_table(e)
    if e.histories:
        n = len(e.histories)
        blocks.append(
            Picture(
                "training",
                f"One line for each of {n} seeds; the study's own is thick. Early stopping kept the epoch with the lowest "
                "validation loss. A growing gap between train and validation is memorising.",
                "Training curves: loss, explained variance, L0 and share of dead features over epochs.",
            )
        )
    return Section("sae", "The sparse autoencoder", tuple(blocks))


def _reconstruction_table(e: Evidence) -> list[Block]:
    measured = e.reconstruction
    if measured is None:
        return [Absent("reconstruction on held-out texts", "moodlens train DIR")]
    held_out, seen, base = measured["held_out"], measured["train"], measured["baselines"]
    ci = (e.criterion("reconstruction") or {}).get("ci")
    n = measured.get("rows") or {}
    rows: list[tuple[str | Cell, ...]] = [
        _fit("SAE, test texts", held_out, interval(ci)),
        _fit("SAE, the texts it was trained on", seen, NONE),
        _fit("Control: predict the train mean", base["mean"], NONE),
    ]
    pca = base.get("pca")
    if pca is not None:
        count = pca.get("n_components", pca.get("components"))
        rows.append(_fit("Control: PCA with as many components as L0", {**pca, "l0": count}, NONE))
    counted = (
        f" ({n['test']:,} test texts, {n['train']:,} training texts)" if {"test", "train"} <= n.keys() else ""
    )
    return [
        Table(
            f"Reconstruction of texts the SAE was not trained on{counted}",
            ("Method", "MSE per element", "Explained variance", "95 % interval", "L0", "Active", "Dead"),
            tuple(rows),
            numeric=frozenset(range(1, 7)),
            note="The controls are judged on the test texts. Dead: fires on no training text.",
        )
    ]


def _fit(label: str, m: dict[str, Any], ci: str) -> tuple[str, ...]:
    return (
        label,
        number(m.get("mse"), 4),
        number(m.get("explained_variance")),
        ci,
        number(m.get("l0")),
        percent(m.get("active_share"), 1),
        percent(m.get("dead_share"), 1),
    )


def sweep(e: Evidence) -> Section:
    """What was tried, what was chosen and why, and the roadmap's tuning hints."""
    title = "Sweep over settings"
    if e.sweep is None:
        return Section("sweep", title, (Absent("a sweep over settings", "moodlens sweep DIR"),))
    from moodlens.sae import advice, choose

    frame = e.sweep.sort(
        ["chosen", "pareto", "explained_variance", "name"], descending=[True, True, True, False]
    )
    varied = [
        name
        for name in ("architecture", "d_sae", "k", "l1_coefficient", "learning_rate", "batch_size", "seed")
        if name in frame.columns and frame[name].n_unique() > 1
    ]
    shown = frame.head(24)
    rows = tuple(
        (
            plain_text(row["name"]) + (" (chosen)" if row["chosen"] else ""),
            *(number(row[name], 4) for name in varied),
            number(row["explained_variance"]),
            number(row["explained_variance_train"]),
            number(row["mse"], 4),
            number(row["l0"]),
            percent(row["dead_share"], 1),
            number(row["dev_selective"]),
            "yes" if row["pareto"] else "no",
        )
        for row in shown.iter_rows(named=True)
    )
    chosen = next((row for row in frame.iter_rows(named=True) if row["chosen"]), None)
    blocks: list[Block] = []
    if chosen is not None:
        _, why = choose(e.sweep)
        blocks.append(
            Paragraph(
                f"{frame.height} SAE{'s' if frame.height > 1 else ''} trained. Chosen: {plain_text(chosen['name'])}. Rule, in order: {signs(why)}."
            )
        )
        hints = advice(chosen)
        blocks.append(
            Bullets(tuple(f"Advice: {plain_text(hint)}." for hint in hints) or ("Advice: none needed.",))
        )
    blocks.append(
        Picture(
            "sweep",
            "Up and to the left is better. A dictionary below the PCA control at its L0 reconstructs worse than the same "
            "number of dense components would.",
            "Held-out explained variance against L0 of every SAE trained, with the Pareto front and the chosen one.",
        )
    )
    head = ("SAE", *varied, "Held-out EV", "Train EV", "MSE", "L0", "Dead", "Selective (dev)", "Pareto")
    note = (
        f"{shown.height} of {frame.height} rows; all are in sweep.parquet."
        if shown.height < frame.height
        else ""
    )
    blocks.append(Table("SAEs of the sweep", head, rows, frozenset(range(1, len(head))), note))
    return Section("sweep", title, tuple(blocks))
