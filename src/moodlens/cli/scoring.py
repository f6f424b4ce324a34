"""What `moodlens score` prints."""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import polars as pl

from moodlens.core.lines import table
from moodlens.pipeline.score import Part
from moodlens.pipeline.score_lines import auroc_lines
from moodlens.pipeline.target import records
from moodlens.study.records.transfer import TransferSet

SHOWN = 10
WIDTH = 60
"""Letters of a text that are shown."""


class Shown:
    """The first texts of those that were scored, ``most`` of them; None: all."""

    def __init__(self, most: int | None) -> None:
        self._most, self._parts = most, list[Part]()
        self._n = 0

    def add(self, part: Part) -> None:
        """Keep what is shown of a further part."""
        room = part.table.height if self._most is None else self._most - self._n
        if room > 0:
            self._parts.append(Part(part.table.head(room), part.words[:room]))
            self._n += self._parts[-1].table.height

    @property
    def table(self) -> pl.DataFrame:
        """One row per text."""
        return pl.concat([part.table for part in self._parts])

    @property
    def words(self) -> list[dict[str, dict[str, float]]]:
        """Of every text, what its scores stand on."""
        return [own for part in self._parts for own in part.words]


def score_value(
    result: TransferSet, shown: Shown, emotions: tuple[str, ...], out: Path | None
) -> Mapping[str, object]:
    """``n``, the AUROCs (with labels), and one entry per text with its family scores (unless they went to a file)."""
    value: dict[str, Any] = result.model_dump(exclude={"auroc"}) | {"auroc": None}
    if result.auroc:
        value["auroc"] = {
            m: {name: e.value for name, e in parts.items()} for m, parts in result.auroc.items()
        }
        value["ci"] = {m: {name: e.ci for name, e in parts.items()} for m, parts in result.auroc.items()}
    if out is not None:
        return value | {"read": result.table, "scores_file": str(out)}
    columns = ["id", "emotion", *(f"family_{e}" for e in emotions)]
    scores = shown.table
    feature_columns = [name for name in scores.columns if name.startswith("feature_")]
    rows = []
    for record, words in zip(records(scores), shown.words, strict=True):
        active = {name.removeprefix("feature_"): record[name] for name in feature_columns if record[name]}
        rows.append({**{c: record[c] for c in columns}, "words": words, "features": active})
    return value | {"read": result.table, "scores": rows}


def _start(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def score_lines(
    result: TransferSet,
    shown: Shown,
    emotions: tuple[str, ...],
    out: Path | None,
    why_none: Sequence[str] = (),
) -> list[str]:
    """The AUROC table and the first texts; ``why_none``: why the study has no emotion feature, where that is known."""
    lines = [*auroc_lines(result.name, result, emotions), ""] if result.auroc else []
    lines += [result.table, ""]
    rows = []
    for record in shown.table.head(SHOWN).to_dicts():
        scores = (float(record[f"family_{emotion}"]) for emotion in emotions)
        rows.append(
            [_start(record["text"]), *(None if isnan(score) else round(score, 3) for score in scores)]
        )
    if any(score is not None for row in rows for score in row[1:]):
        heading = f"family scores of the first {len(rows)} of {result.n_texts} texts:"
        lines += [heading, *table(["text", *emotions], rows)]
    elif emotions:
        lines.append(
            "no family scores, since no emotion feature was found" + "".join(f": {why}" for why in why_none)
        )
    return lines + (
        [f"all of them: {out}"] if out is not None else ["all of them, with every feature: --out FILE.csv"]
    )
