"""What listeners send back, as files: of the page, of jsPsych (JSON or CSV) and of webMUSHRA (CSV)."""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from moodlens.core import BadInput
from moodlens.core.text import read_text
from moodlens.judge.webmushra import ID, LISTENER, QUALITY

T = TypeVar("T")
ASK = "ask for the file again"


class Item(BaseModel):
    """One trial as a listener answered it.

    Attributes:
        first: clip on the first side, by its name on the page.
        second: the other one.
        chose: which is more of the emotion; None where both are the same to the listener.
        better: which sounds better; None where both do, or it was not asked.
    """

    trial: str
    first: str
    second: str
    chose: str | None
    better: str | None = None


class Sent(BaseModel):
    """What a listener sends."""

    format: Literal["moodlens-listen"] = "moodlens-listen"
    test: str
    listener: str
    answers: tuple[Item, ...]

    @property
    def choices(self) -> set[tuple[str, str | None, str | None]]:
        """Trial and clips chosen, of every answer."""
        return {(item.trial, item.chose, item.better) for item in self.answers}


def read_sent(files: Iterable[Path | str]) -> list[tuple[Path, Sent]]:
    """What every listener sent; what was sent twice, or once more when it was finished, counts once.

    Raises:
        BadInput: a file is none of answers, or a listener sent two that differ.
    """
    by_listener: dict[str, tuple[Path, Sent]] = {}
    for file in map(Path, files):
        for sent in _read(file):
            name = " ".join(unicodedata.normalize("NFC", sent.listener).split())
            before = by_listener.get(name.casefold())
            if before is not None and not (
                sent.choices <= before[1].choices or before[1].choices <= sent.choices
            ):
                raise BadInput(
                    f"{file}: listener {name!r} also sent {before[0]}, with other answers; keep one"
                )
            if before is None or len(sent.answers) > len(before[1].answers):
                by_listener[name.casefold()] = file, sent.model_copy(update={"listener": name})
    if not by_listener:
        raise BadInput("answers: no files given")
    return list(by_listener.values())


def _read(file: Path) -> list[Sent]:
    text = read_text(file)
    if file.suffix.lower() == ".csv":
        return _read_csv(file, text)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _none(file, f"not valid JSON); {ASK}") from error
    if isinstance(value, list):
        return _of_jspsych(file, _checked(file, TypeAdapter(list[dict[str, Any]]), value))
    return [_checked(file, TypeAdapter(Sent), value)]


def _read_csv(file: Path, text: str) -> list[Sent]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        rows = [{name: value or "" for name, value in row.items() if name is not None} for row in reader]
    except csv.Error as error:
        raise _none(file, f"not valid CSV: {error}); {ASK}") from error
    names = reader.fieldnames or ()
    if "session_test_id" in names:
        return _of_webmushra(file, rows)
    if "trial_type" in names:
        return _of_jspsych(file, rows)
    raise _none(
        file, "neither a column trial_type, as jsPsych has, nor session_test_id, as webMUSHRA's lms.csv)"
    )


# -- jsPsych -------------------------------------------------------------------------------------------------------------


class _Screen(BaseModel):
    """A row of jsPsych's data that answers a question: a button was pressed."""

    moodlens: str
    listener: str
    trial: str
    asked: Literal["chose", "better"]
    first: str
    second: str
    response: Literal[0, 1]


def _of_jspsych(file: Path, rows: Sequence[Mapping[str, object]]) -> list[Sent]:
    answered = [row for row in rows if row.get("asked") and str(row.get("response")) in ("0", "1")]
    whole = [{**row, "response": int(str(row["response"]))} for row in answered]
    screens = _checked(file, TypeAdapter(list[_Screen]), whole)
    answers: dict[tuple[str, str], dict[str, Item]] = {}
    for screen in screens:
        taken = screen.first if screen.response == 0 else screen.second
        items = answers.setdefault((screen.moodlens, screen.listener), {})
        item = items.get(screen.trial)
        if screen.asked == "chose":
            if item is not None:
                raise BadInput(f"{file}: trial {screen.trial} is answered twice by {screen.listener!r}")
            items[screen.trial] = Item(
                trial=screen.trial, first=screen.first, second=screen.second, chose=taken
            )
        elif item is not None:
            items[screen.trial] = item.model_copy(update={"better": taken})
    if not answers:
        raise _none(file, "no row of jsPsych's data that answers a trial)")
    return [
        Sent(test=test, listener=listener, answers=tuple(items.values()))
        for (test, listener), items in answers.items()
    ]


# -- webMUSHRA -----------------------------------------------------------------------------------------------------------


class _Rating(BaseModel):
    """A row of ``lms.csv``: what one clip of a page was rated."""

    session_test_id: str
    listener: str
    trial_id: str
    stimuli_rating: str
    stimuli: str

    @property
    def rating(self) -> int | None:
        """None where the clip was not rated (NA)."""
        text = self.stimuli_rating.strip()
        return int(text) if text.isdecimal() else None


def _of_webmushra(file: Path, rows: Sequence[Mapping[str, object]]) -> list[Sent]:
    needed = set(_Rating.model_fields)
    missing = needed - set(rows[0]) if rows else needed
    if missing:
        what = ", ".join(sorted(missing))
        raise _none(file, f"no column {what}; webMUSHRA's file of these answers is lms.csv)")
    pages: dict[tuple[str, str], dict[str, list[_Rating]]] = {}
    for rating in _checked(file, TypeAdapter(list[_Rating]), rows):
        test = rating.session_test_id.removeprefix(ID)
        pages.setdefault((test, rating.listener), {}).setdefault(rating.trial_id, []).append(rating)
    sent = []
    for (test, listener), by_page in pages.items():
        items = []
        for name, ratings in by_page.items():
            if name.endswith(QUALITY):
                continue
            if len(ratings) != 2:
                raise BadInput(
                    f"{file}: listener {listener!r} has {len(ratings)} ratings on page {name}, not 2; let every listener "
                    f"give a {LISTENER} of their own"
                )
            chose, better = _higher(ratings), _higher(by_page.get(name + QUALITY, []))
            first, second = (rating.stimuli for rating in ratings)
            if all(rating.rating is not None for rating in ratings):
                items.append(Item(trial=name, first=first, second=second, chose=chose, better=better))
        sent.append(Sent(test=test, listener=listener, answers=tuple(items)))
    return sent


def _higher(ratings: list[_Rating]) -> str | None:
    """The clip that was rated higher; None where none was."""
    known: Mapping[str, int] = {r.stimuli: r.rating for r in ratings if r.rating is not None}
    if len(known) != 2 or len(set(known.values())) == 1:
        return None
    return max(known, key=lambda clip: known[clip])


# -- what is wrong ---------------------------------------------------------------------------------------------------------


def _checked(file: Path, kind: TypeAdapter[T], value: Any) -> T:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _none(file, f"{place or 'all of it'}: {first['msg']})") from error


def _none(file: Path, cause: str) -> BadInput:
    return BadInput(f"{file}: not answers of a listening test ({cause}")
