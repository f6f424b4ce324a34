"""People's readings of features: kept in notes.db, as `moodlens inspect --record` does."""

from datetime import UTC, datetime

from moodlens.core import BadInput
from moodlens.explore.answers import Imported, NotePart, NoteQuestion, NotesFile
from moodlens.explore.explored import Explored
from moodlens.study.notes import BlindScore, Reading


def notes_file(explored: Explored) -> NotesFile:
    """All readings of the study's SAE, oldest first."""
    key = explored.study.sae_key
    return NotesFile(
        sae=key,
        readings=tuple(note_part(reading) for reading in explored.study.notes.all() if reading.sae == key),
    )


def note_part(reading: Reading) -> NotePart:
    """A reading as the page gets it."""
    return NotePart.model_construct(**vars(reading))


def add_note(explored: Explored, question: NoteQuestion, blind: BlindScore | None = None) -> NotePart:
    """Keep a reading; on return it is on disk.

    Raises:
        BadInput: it is not complete, or there is no such feature.
    """
    explored.check(question.feature)
    return note_part(
        explored.study.notes.add(
            question.feature,
            sae=explored.study.sae_key,
            name=question.name,
            clarity=question.clarity,
            note=question.note,
            author=question.author,
            blind=blind,
        )
    )


def import_notes(explored: Explored, file: NotesFile) -> Imported:
    """Keep the readings of a file that are not there yet, all or none; scores of blind names are not taken from it.

    Raises:
        BadInput: they are of another SAE, or one is not complete.
    """
    key = explored.study.sae_key
    others = {reading.sae for reading in file.readings} | {file.sae}
    if others != {key}:
        raise BadInput(f"these notes are of another SAE than {key}; its features are others")
    readings = []
    for reading in file.readings:
        explored.check(reading.feature)
        try:
            moment = datetime.fromisoformat(reading.time)
        except ValueError as error:
            raise BadInput(
                f"reading of feature {reading.feature}: {reading.time!r} is no time in ISO 8601"
            ) from error
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        values = reading.model_dump(exclude={"blind", "time"})
        readings.append(Reading(**values, time=moment.astimezone(UTC).isoformat(timespec="seconds")))
    added = explored.study.notes.add_all(readings)
    return Imported(added=added, known=len(readings) - added)
