"""Ways of reading long texts, measured for every method: what the defaults of `validation.transfer.reading` stand on.

Every combination of units (tokens, sentences, whole), pooling, raw or unit rows, and standing against the other emotions
or not; the mean AUROC over emotions on the labelled texts, on those of the largest group (annotator) and on those of all
others. What is best on one side is confirmed on the other, both ways.

    python benchmarks/readings.py DIR CAPTIONS.csv --text-column caption --label-column emotion --group-column author_id
"""

import argparse
import itertools
from collections.abc import Callable, Sequence

import numpy as np

import moodlens
from moodlens.core.lines import table
from moodlens.embed import Encoder, segments
from moodlens.embed.pooling import pooled
from moodlens.embed.tokens import each_tokens
from moodlens.pipeline.score import study_encoder, study_methods
from moodlens.prompts import read_prompts
from moodlens.settings.study import Table
from moodlens.settings.validation import ReadingSettings, TextReading
from moodlens.stats.ranks import auroc
from moodlens.study.rows import Rows
from moodlens.validate.methods import Method

UNITS, POOLS = ("tokens", "sentences", "whole"), ("log-mean-exp", "max", "mean")


def units_of(encoder: Encoder, texts: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows of every kind of unit and the text each is of; all in memory: this is for a thousand captions."""
    parts = [segments(text) for text in texts]
    owner = np.repeat(np.arange(len(texts)), [len(part) for part in parts])
    blocks = list(each_tokens(encoder, [sentence for part in parts for sentence in part]))
    tokens = np.concatenate([block.values for block in blocks])
    of_sentence = np.concatenate([block.begin + block.owner for block in blocks])
    starts = np.searchsorted(of_sentence, np.arange(len(owner)))
    sentences = np.add.reduceat(tokens, starts, axis=0) / np.bincount(of_sentence)[:, None]
    return {
        "tokens": (tokens, owner[of_sentence]),
        "sentences": (sentences, owner),
        "whole": (encoder.encode(texts), np.arange(len(texts))),
    }


def mean_auroc(scores: np.ndarray, label: np.ndarray, keep: np.ndarray) -> float:
    """Mean over emotions of the AUROC against the other labelled texts, on the texts to ``keep``."""
    areas = [
        auroc(scores[keep, c : c + 1], np.where(label[keep] == c, 0, 1), 2)[0, 0]
        for c in range(scores.shape[1])
        if np.isfinite(scores[:, c]).all() and (label[keep] == c).any()
    ]
    return float(np.mean(areas))


def candidates(
    methods_of: Callable[[ReadingSettings], dict[str, Method]],
    units: dict[str, tuple[np.ndarray, np.ndarray]],
    rows: Rows,
) -> list[tuple[str, TextReading, float, float, float]]:
    """Method, reading, and its mean AUROC on all texts, on those of the largest group, on those of the others."""
    n, largest = len(rows), rows.group == np.bincount(rows.group).argmax()
    sides = (np.ones(n, dtype=bool), largest, ~largest)
    found = []
    for how in ("raw", "unit"):
        settings = ReadingSettings(**dict.fromkeys(ReadingSettings.model_fields, TextReading(rows=how)))
        for name, method in methods_of(settings).items():
            for unit, (x, owner) in units.items():
                values = method.read(x)
                for pool in POOLS if unit != "whole" else POOLS[:1]:
                    text = pooled(values, owner, n, pool)
                    for against, scores in (("others", method.against(text)), ("nothing", text)):
                        reading = TextReading(units=unit, pool=pool, rows=how, against=against)
                        areas = (mean_auroc(scores, rows.label, side) for side in sides)
                        found.append((name, reading, *areas))
    return found


def report(found: list[tuple[str, TextReading, float, float, float]], settings: ReadingSettings) -> list[str]:
    """Every candidate, best of the smaller side first in each; then what choosing on one side gives on the other."""
    lines = []
    for name, group in itertools.groupby(sorted(found, key=lambda row: row[0]), key=lambda row: row[0]):
        rows = sorted(group, key=lambda row: -row[2])
        default = getattr(settings, "active" if name.endswith("_active") else name)
        shown = [
            [reading.words + (" (default)" if reading == default else ""), *(f"{area:.4f}" for area in areas)]
            for _, reading, *areas in rows
        ]
        lines += [name, *table(["reading", "all", "largest group", "the others"], shown)]
        for here, there, what in ((3, 4, "the largest group"), (4, 3, "the others")):
            best = max(rows, key=lambda row: row[here])
            lines.append(
                f"best on {what}: {best[1].words} {best[here]:.4f}, on the other side {best[there]:.4f} "
                f"(best there {max(row[there] for row in rows):.4f})"
            )
        lines.append("")
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("table")
    for column, default in (("text", "caption"), ("label", "emotion"), ("group", "author_id")):
        parser.add_argument(f"--{column}-column", default=default)
    args = parser.parse_args()
    study = moodlens.open(args.study).require("features")
    where = Table(
        path=args.table, text_column=args.text_column, label_column=args.label_column,
        group_column=args.group_column,
    )  # fmt: skip
    frame, _ = read_prompts(where, emotions=study.emotions)
    frame = frame.filter(frame["emotion"].is_not_null())
    label = [study.emotions.index(emotion) for emotion in frame["emotion"]]
    rows = Rows.of(label, emotions=study.emotions, group=frame["group"].to_numpy())
    units = units_of(study_encoder(study, study.settings.encoder), frame["text"].to_list())
    found = candidates(lambda settings: study_methods(study, settings), units, rows)
    print(*report(found, study.settings.validation.transfer.reading), sep="\n")


if __name__ == "__main__":
    main()
