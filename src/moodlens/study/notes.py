"""notes.db: what people say features mean. SQLite, safe under several writers and under a kill.

Readings are only ever added; the newest reading of a feature counts. Each one is a transaction of its own, so a
killed writer leaves a reading whole or absent, and two writers wait for each other.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field

from moodlens.core import BadInput
from moodlens.study.record import Part

if TYPE_CHECKING:
    import polars as pl

Clarity = Literal["clear", "unclear"]
CLARITIES: tuple[str, ...] = get_args(Clarity)
WAIT = 30.0
"""Seconds a writer waits for another."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS readings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    feature INTEGER NOT NULL CHECK (feature >= 0),
    sae TEXT NOT NULL,
    name TEXT NOT NULL,
    clarity TEXT NOT NULL CHECK (clarity IN ('clear', 'unclear')),
    note TEXT NOT NULL,
    author TEXT NOT NULL,
    time TEXT NOT NULL
)
"""
_BLIND = """
CREATE TABLE IF NOT EXISTS blind (
    reading INTEGER PRIMARY KEY REFERENCES readings (id),
    score REAL, score_all REAL, control REAL, program_score REAL, n INTEGER NOT NULL
)
"""
_COLUMNS = "feature, sae, name, clarity, note, author, time"


class BlindScore(Part):
    """How a name that was given without sight of the program's does in the test that judges names."""

    score: float | None = Field(description="AUROC among unseen texts of the feature's emotion")
    score_all: float | None = Field(description="AUROC over all unseen texts")
    control: float | None = Field(
        description="score of the program's names of other features of the emotion, mean"
    )
    program_score: float | None = Field(description="score of the program's own name")
    n: int = Field(description="unseen texts of the emotion (count)")


@dataclass(frozen=True)
class Reading:
    """One person's reading of one feature."""

    feature: int
    sae: str
    """Which SAE the feature belongs to, such as ``sae/main`` with its hash: features of another are others."""
    name: str
    """What the person calls the feature; may be empty if it is unclear."""
    clarity: Clarity
    note: str
    author: str
    time: str
    """UTC, ISO 8601, to the second."""
    blind: BlindScore | None = None
    """What became of the name, where it was given blind."""


def checked(reading: Reading) -> Reading:
    """The reading without blanks that say nothing.

    Raises:
        BadInput: it is not complete.
    """
    who = f"reading of feature {reading.feature}"
    if reading.clarity not in CLARITIES:
        raise BadInput(f"{who}: say clear or unclear, not {reading.clarity!r}")
    name = " ".join(reading.name.split())
    if reading.clarity == "clear" and not name:
        raise BadInput(f"{who}: a clear feature needs a name")
    if reading.feature < 0:
        raise BadInput(f"{who}: features are counted from 0")
    return replace(
        reading,
        feature=int(reading.feature),
        name=name,
        note=reading.note.strip(),
        author=reading.author.strip(),
    )


def _typed(values: Sequence[object], blind: BlindScore | None) -> Reading:
    """A row of the file as a reading.

    Raises:
        TypeError: it holds other types than a reading does.
    """
    feature, *texts = values
    if type(feature) is not int or feature < 0 or not all(isinstance(text, str) for text in texts):
        raise TypeError("its feature is no number, or its name, note, author or time is no text")
    return Reading(*values, blind=blind)  # type: ignore[arg-type]


class Notes:
    """The notes of a study, kept in one file that is made when the first reading is added."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def add(
        self,
        feature: int,
        *,
        sae: str,
        name: str,
        clarity: str,
        note: str = "",
        author: str = "",
        time: datetime | None = None,
        blind: BlindScore | None = None,
    ) -> Reading:
        """Record a reading; on return it is on disk.

        Args:
            feature: number of the feature.
            sae: which SAE it belongs to.
            name: what the person calls it.
            clarity: clear or unclear.
            time: when it was read; None is now.
            blind: what became of a name that was given blind.

        Raises:
            BadInput: the reading is not complete, or the file cannot be written.
        """
        moment = (time or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        reading = checked(Reading(feature, sae, name, clarity, note, author, moment, blind))  # type: ignore[arg-type]
        self.add_all([reading])
        return reading

    def add_all(self, readings: Sequence[Reading]) -> int:
        """Record readings that are not there yet, all or none; on return they are on disk. Returns how many were new.

        Raises:
            BadInput: one is not complete, or the file cannot be written.
        """
        readings = [checked(reading) for reading in readings]
        with self._open(write=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            known = set(connection.execute(f"SELECT {_COLUMNS} FROM readings"))
            new = 0
            for note in readings:
                values = (note.feature, note.sae, note.name, note.clarity, note.note, note.author, note.time)
                if values in known:
                    continue
                known.add(values)
                cursor = connection.execute(
                    f"INSERT INTO readings ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values
                )
                if note.blind is not None:
                    score = (cursor.lastrowid, *note.blind.model_dump().values())
                    connection.execute("INSERT INTO blind VALUES (?, ?, ?, ?, ?, ?)", score)
                new += 1
            connection.execute("COMMIT")
        return new

    def all(self) -> list[Reading]:
        """Every reading ever added, oldest first; none if there is no file yet.

        Raises:
            BadInput: the file is not a database of notes.
        """
        if not self.path.exists():
            return []
        with self._open(write=False) as connection:
            # A writer that was killed in between leaves a file without a table.
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'readings'").fetchone():
                return []
            rows = connection.execute(f"SELECT id, {_COLUMNS} FROM readings ORDER BY id").fetchall()
            scores = []
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'blind'").fetchone():
                scores = connection.execute("SELECT * FROM blind").fetchall()
        try:
            blind = {
                number: BlindScore(**dict(zip(BlindScore.model_fields, score, strict=True)))
                for number, *score in scores
            }
            return [_typed(values, blind.get(number)) for number, *values in rows]
        except (ValueError, TypeError) as error:  # SQLite keeps any value in any column
            why = str(error).partition("\n")[0]
            raise BadInput(f"{self.path}: cannot use as notes: a reading is not one: {why}") from error

    def latest(self, sae: str | None = None) -> dict[int, Reading]:
        """Feature -> its newest reading; with ``sae``, of that SAE alone."""
        return {reading.feature: reading for reading in self.all() if sae is None or reading.sae == sae}

    def readings(self, sae: str | None = None) -> "pl.DataFrame":
        """The newest reading of every feature that has one: feature, reading, reading_clarity, reading_note,
        reading_by, reading_time. Joins the table of features on ``feature``."""
        import polars as pl

        kept = sorted(self.latest(sae).values(), key=lambda reading: reading.feature)
        return pl.DataFrame(
            {
                "feature": [r.feature for r in kept],
                "reading": [r.name or None for r in kept],
                "reading_clarity": [r.clarity for r in kept],
                "reading_note": [r.note or None for r in kept],
                "reading_by": [r.author or None for r in kept],
                "reading_time": [r.time for r in kept],
            },
            schema={
                "feature": pl.Int64,
                **dict.fromkeys(
                    ("reading", "reading_clarity", "reading_note", "reading_by", "reading_time"), pl.String
                ),
            },
        )

    def _check(self, connection: sqlite3.Connection) -> None:
        """Refuse a database that holds more than the two tables of notes, or reads as them what are none."""
        objects = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        for kind, name, table, sql in objects:
            ours = table in ("readings", "blind", "sqlite_sequence") and (
                kind == "table" or (kind == "index" and sql is None)
            )
            if not ours or "VIRTUAL" in str(sql).upper().partition("(")[0]:
                raise BadInput(
                    f"{self.path}: cannot use as notes: it holds a {kind} {name!r}, which notes have not"
                )

    @contextmanager
    def _open(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = None
        try:
            # Transactions are begun and committed by hand: isolation_level None switches Python's own off.
            connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            connection.execute(f"PRAGMA busy_timeout = {int(WAIT * 1000)}")
            # The file may be another person's: nothing in it is run, be it called from a column, an index or a trigger.
            connection.execute("PRAGMA trusted_schema = OFF")
            self._check(connection)
            if write:
                # A write-ahead log lets readers read while one writes; FULL syncs every commit to the disk.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                connection.execute(_BLIND)
            yield connection
        except sqlite3.Error as error:
            raise BadInput(f"{self.path}: cannot use as notes: {error}") from error
        finally:
            if connection is not None:
                connection.close()
