"""Words that people rated for valence and arousal, under a study's emotions: norms.json and circumplex.png, .svg in the study folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from moodlens.core.errors import BadInput
from moodlens.core.lines import table as lines_table
from moodlens.core.progress import Progress, silent
from moodlens.pipeline.score import study_encoder
from moodlens.pipeline.transaction import locked
from moodlens.prompts.cells import read_cells
from moodlens.prompts.ratings import LEAST, SCALES, known_columns, read_number, the_column
from moodlens.stats.moments import mean_row
from moodlens.stats.ridge import Ridge
from moodlens.study.records.norms import Correlation, Norms, Place
from moodlens.study.rows import DEV, NEUTRAL
from moodlens.study.study import Study
from moodlens.validate.norms import POSITIONS, Ratings, forms_of, word_group


@dataclass(frozen=True)
class Rated:
    """A table of ratings."""

    file: str
    columns: dict[str, str]
    texts: list[str]
    group: np.ndarray
    """(n,) str"""
    ratings: dict[str, np.ndarray]
    """scale -> (n,), NaN where a row has none"""
    n_left_out: int


def read_rated(path: Path, asked: dict[str, str | None]) -> Rated:
    """Read texts with ratings; columns that are not asked for are found by the names that published norms use.

    Args:
        path: a table, of any kind that prompts may have.
        asked: role (text, valence, arousal, group) -> its column, or None.

    Raises:
        BadInput: no text or no rating is there, several columns may be one role, a cell is no number, or too few rows are
            left.
    """
    columns = {
        role: name for role in ("text", *SCALES, "group") if (name := _column(path, role, asked.get(role)))
    }
    if not set(SCALES) & set(columns):
        raise BadInput(
            f"{path}: no column of valence or arousal; name one by --valence-column or --arousal-column"
        )
    if "text" not in columns:
        raise BadInput(f"{path}: no column of words or texts; name it by --text-column")
    cells = read_cells(path, columns).frame
    values: dict[str, np.ndarray] = {}
    for scale in SCALES:
        if scale in columns:
            values[scale] = np.array(
                [read_number(path, columns[scale], i, cell) for i, cell in enumerate(cells[scale], 1)]
            )
    texts = [(text or "").strip() for text in cells["text"]]
    rated = np.any([np.isfinite(of) for of in values.values()], axis=0)
    keep = np.flatnonzero(rated & np.array([bool(text) for text in texts], dtype=bool))
    if len(keep) < LEAST:
        raise BadInput(f"{path}: {len(keep)} texts have a rating; {LEAST} or more are needed")
    kept = [texts[i] for i in keep]
    given = cells["group"].to_list() if "group" in columns else [None] * len(texts)
    group = np.array([given[i] or word_group(texts[i]) for i in keep])
    return Rated(
        path.name, columns, kept, group, {s: of[keep] for s, of in values.items()}, len(texts) - len(keep)
    )


def _column(path: Path, role: str, asked: str | None) -> str | None:
    if asked is not None:
        read_cells(path, {role: asked})
        return asked
    return the_column(path, role, known_columns(path, role), f"--{role}-column")


def study_norms(
    study: Study, rated: Rated, *, progress: Progress = silent
) -> tuple[Norms, dict[str, np.ndarray]]:
    """Correlations of a study's readings with the ratings, and what each word is read as on each scale.

    Families are read along their decoder directions; difference-in-means of an emotion or concept is the mean of its
    plain train + val rows less that of the neutral ones (of all, where the study has none).

    Raises:
        BadInput: the embeddings were made elsewhere, or by another version of the encoder.
    """
    encoder = study_encoder(study, study.settings.encoder)
    parts = [forms_of(text) for text in rated.texts]
    flat = encoder.encode([form for forms in parts for form in forms], progress=progress).astype(np.float64)
    starts = np.cumsum([0, *(len(forms) for forms in parts)])[:-1]
    x = np.add.reduceat(flat, starts, axis=0) / np.array([len(forms) for forms in parts])[:, None]

    names, directions = _concepts(study)
    emotions = study.emotions
    means = np.array([directions[names.index((emotion, ""))] for emotion in emotions])
    own = np.array([bool(concept) for _, concept in names])
    plane = directions[own] if own.any() else means
    centred = x - x.mean(axis=0)
    readings = {
        "family": centred @ study.families.directions(study.W_dec()).T,
        "difference_in_means": centred @ means.T,
    }
    members = study.families.on_members()[0]
    fitted = (
        {"family": ("members", centred @ study.W_dec()[members].astype(np.float64).T)} if len(members) else {}
    )
    if own.any():
        fitted["difference_in_means"] = "concepts", centred @ plane.T
    positions = {e: POSITIONS[e] for e in emotions} if set(emotions) == set(POSITIONS) else {}
    correlations: dict[str, dict[str, dict[str, Correlation]]] = {m: {} for m in readings}
    places: dict[str, np.ndarray] = {}
    told: dict[str, np.ndarray] = {}
    for at, scale in enumerate(SCALES):
        if scale not in rated.ratings:
            continue
        has = np.isfinite(rated.ratings[scale])
        ratings = Ratings.of(rated.ratings[scale][has], rated.group[has], study.seed)
        for method, values in readings.items():
            put = correlations[method]
            for c, emotion in enumerate(emotions):
                put.setdefault(emotion, {})[scale] = ratings.correlation(values[has, c])
            if positions:
                weights = np.array([positions[emotion][at] for emotion in emotions])
                put.setdefault("axis", {})[scale] = ratings.correlation(values[has] @ weights)
            put.setdefault("plane", {})[scale] = ratings.fitted(values[has], study.seed)
        for method, (reading, values) in fitted.items():
            correlations[method].setdefault(reading, {})[scale] = ratings.fitted(values[has], study.seed)
        fit = Ridge.of(centred[has] @ plane.T, ratings.values[:, None])
        spread = float(ratings.values.std()) or 1.0
        told[scale] = (fit.predict(centred @ plane.T)[:, 0] - ratings.values.mean()) / spread
        places[scale] = (directions @ plane.T / fit.scale @ fit.weights)[:, 0] / spread
    record = Norms(
        table=rated.file,
        columns=rated.columns,
        sae=study.sae_key,
        n=len(rated.texts),
        n_left_out=rated.n_left_out,
        n_groups=len(np.unique(rated.group)),
        forms=forms_of("WORD"),
        positions=positions,
        correlations=correlations,
        places=tuple(
            Place(
                emotion=emotion,
                concept=concept,
                valence=float(places["valence"][i]) if "valence" in places else None,
                arousal=float(places["arousal"][i]) if "arousal" in places else None,
            )
            for i, (emotion, concept) in enumerate(names)
        ),
    )
    return record, told


def _concepts(study: Study) -> tuple[list[tuple[str, str]], np.ndarray]:
    """(emotion, concept) of every emotion (concept empty) and of its concepts, and their directions (m, d_in)."""
    rows = study.rows
    dev = rows.where(*DEV)
    x, rows = study.x, rows[dev]
    neutral = rows.label == NEUTRAL
    base = mean_row(x, dev[neutral] if neutral.any() else dev)
    names, columns = [], []
    for c, emotion in enumerate(rows.emotions):
        own = rows.label == c
        for concept in ("", *sorted(set(rows.concept[own]) - {""})):
            names.append((emotion, concept))
            columns.append(mean_row(x, dev[own & (rows.concept == concept) if concept else own]) - base)
    return names, np.array(columns)


def write_norms(study: Study, record: Norms, told: dict[str, np.ndarray]) -> list[str]:
    """Write norms.json and, where both scales were rated, DIR/circumplex.png and .svg; returns their paths in DIR."""
    from moodlens.report.circumplex import draw_circumplex

    with locked(study.path):
        written = [record.write(study.path)]
        if len(told) == len(SCALES):
            written += draw_circumplex(study.path, record, told["valence"], told["arousal"])
    return written


def written_lines(study: Study, written: list[str]) -> list[str]:
    """Where the record and the figure are, and what the figure shows."""
    lines = [f"written: {', '.join(str(study.path / file) for file in written)}"]
    if len(written) > 1:
        lines.append(
            "the figure: grey dots are the rated words, large marks the emotions, small ones their concepts, each where the "
            "study reads it, in standard deviations of people's ratings"
        )
    return lines


def norms_lines(record: Norms) -> list[str]:
    """A table of rank correlations: readings by scales, with intervals and controls."""

    def cell(value: Correlation | None) -> str:
        if value is None or value.spearman is None or value.ci is None:
            return "-"
        return f"{value.spearman:+.2f} [{value.ci[0]:+.2f}, {value.ci[1]:+.2f}] (chance {value.control:.2f})"

    rows = [
        [method, reading, *(cell(of.get(scale)) for scale in SCALES)]
        for method, readings in record.correlations.items()
        for reading, of in readings.items()
    ]
    columns = ", ".join(f"{role} {column!r}" for role, column in record.columns.items())
    head = (
        f"{record.table}: {record.n} rated texts in {record.n_groups} groups ({columns}); rank correlation with people's "
        "ratings"
    )
    return [head, *lines_table(["method", "reading", *SCALES], rows)]


def norms_frame(rated: Rated, told: dict[str, np.ndarray]) -> pl.DataFrame:
    """One row a word: text, group, its ratings, and what it is read as (standard deviations of the ratings)."""
    return pl.DataFrame({"text": rated.texts, "group": rated.group.tolist()}).with_columns(
        *(pl.Series(scale, values) for scale, values in rated.ratings.items()),
        *(pl.Series(f"read_{scale}", values) for scale, values in told.items()),
    )
