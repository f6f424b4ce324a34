"""notes.db: what people say features mean. SQLite, safe under several writers and under a kill.

Readings are only ever added; the newest reading of a feature counts. Each one is a transaction of its own, so a
killed writer leaves a reading whole or absent, and two writers wait for each other.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from moodlens.core import BadInput

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
_COLUMNS = "feature, sae, name, clarity, note, author, time"


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
    ) -> Reading:
        """Record a reading; on return it is on disk.

        Args:
            feature: number of the feature.
            sae: which SAE it belongs to.
            name: what the person calls it.
            clarity: clear or unclear.
            time: when it was read; None is now.

        Raises:
            BadInput: the reading is not complete, or the file cannot be written.
        """
        if clarity not in CLARITIES:
            raise BadInput(f"reading of feature {feature}: say clear or unclear, not {clarity!r}")
        name = " ".join(name.split())
        if clarity == "clear" and not name:
            raise BadInput(f"reading of feature {feature}: a clear feature needs a name")
        if feature < 0:
            raise BadInput(f"reading of feature {feature}: features are counted from 0")
        moment = (time or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        reading = Reading(int(feature), sae, name, clarity, note.strip(), author.strip(), moment)  # type: ignore[arg-type]
        values = (reading.feature, sae, name, clarity, reading.note, reading.author, moment)
        with self._open(write=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"INSERT INTO readings ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            connection.execute("COMMIT")
        return reading

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
            rows = connection.execute(f"SELECT {_COLUMNS} FROM readings ORDER BY id").fetchall()
        return [Reading(*row) for row in rows]

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

    @contextmanager
    def _open(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = None
        try:
            # Transactions are begun and committed by hand: isolation_level None switches Python's own off.
            connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            connection.execute(f"PRAGMA busy_timeout = {int(WAIT * 1000)}")
            if write:
                # A write-ahead log lets readers read while one writes; FULL syncs every commit to the disk.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
            yield connection
        except sqlite3.Error as error:
            raise BadInput(f"{self.path}: cannot use as notes: {error}") from error
        finally:
            if connection is not None:
                connection.close()
