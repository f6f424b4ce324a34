"""What single features are called and fire on: names, readings, and texts that had no part in choosing them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report.document import Absent, Block, Bullets, Fold, Paragraph, Table, cut, plain_text
from moodlens.report.evidence import Evidence
from moodlens.report.numbers import NONE, number

if TYPE_CHECKING:
    import polars as pl

PROMPTS_SHOWN = 5


def feature_name(e: Evidence, row: dict[str, Any]) -> str:
    """What a person read in the feature, else the name the machine gave it; empty where there is neither."""
    reading = e.readings.get(row["feature"])
    if reading is not None and reading["name"]:
        doubt = "" if reading["state"] == "clear" else f", {plain_text(reading['state'])}"
        return f"{cut(reading['name'], 80)} (read by a person{doubt})"
    return cut(row["name"], 80) if row.get("name") else ""


def examples(e: Evidence, emotion: int, top: "pl.DataFrame") -> tuple[Block, ...]:
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
        name = feature_name(e, row)
        summary = f"F{row['feature']}" + (f": {name}" if name else "")
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
        (f"top {i + 1}", number(p["activation"]), label(p), cut(p["text"]))
        for i, p in enumerate(shown["top"])
    ]
    rows += [
        (f"decile {p['decile']}", number(p["activation"]), label(p), cut(p["text"])) for p in shown["deciles"]
    ]
    rows += [("miss", "0", label(p), cut(p["text"])) for p in shown["misses"]]
    blocks: list[Block] = []
    evidence = _name_evidence(e, row)
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


def _name_evidence(e: Evidence, row: dict[str, Any]) -> tuple[str, ...]:
    said = []
    if row.get("name") and row.get("name_score") is not None:
        said.append(
            f"The machine's name: {cut(row['name'], 80)}. It predicts where the feature fires on held-out texts with "
            f"balanced accuracy {number(row['name_score'])}; shuffled names reach {number(row.get('name_control'))}."
        )
    reading = e.readings.get(row["feature"])
    if reading is not None:
        by = f" by {cut(reading['by'], 60)}" if reading["by"] else ""
        note = f" Note: {cut(reading['note'])}" if reading["note"] else ""
        said.append(f"Read{by}: {cut(reading['name'] or NONE, 80)} ({plain_text(reading['state'])}).{note}")
    return tuple(said)
