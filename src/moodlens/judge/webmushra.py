"""A listening test for webMUSHRA (Schoeffler et al., 2018): a configuration, and the clips that it names.

Both clips of a trial are rated on one page (``likert_multi_stimulus``); the one that is rated higher is the one that was
chosen. Its ``paired_comparison`` page asks which of two clips equals a reference, which is another question. webMUSHRA
shuffles pages and sides itself, and writes ``lms.csv``. Its players have no volume, so that of a trial is in the clips.
"""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from moodlens.core import atomic_write
from moodlens.judge.sheet import Sheet

FOLDER, CONFIGS = "webmushra", "configs"
ID = "moodlens-"
"""Before the test's hash: ``testId``, which every row of the results names."""
QUALITY = "-quality"
"""After the trial's name, where the page asks about quality."""
LISTENER = "listener"
"""Of the questionnaire, and so a column of the results."""
SCALE = range(1, 8)


def write_webmushra(sheet: Sheet, out: Path) -> Path:
    """Write ``out/webmushra/configs/``, which goes into webMUSHRA's own folder, and say where the configuration is."""
    name = ID + sheet.test
    folder = out / FOLDER / CONFIGS
    files = sheet.write_sides(folder / name)
    trials: list[Any] = ["random"]
    for question in sheet.questions:
        stimuli = {
            side.clip: f"{CONFIGS}/{name}/{files[question.trial, side.clip]}" for side in question.pair
        }
        pages = [_page(question.trial, question.asks, question.emotion.upper(), stimuli)]
        if sheet.quality is not None:
            pages.append(_page(question.trial + QUALITY, sheet.quality, "good as music", stimuli))
        trials.append(pages)
    config = {
        "testname": "Listening test",
        "testId": name,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": False,
        "remoteService": "service/write.php",
        "pages": [
            {
                "type": "generic",
                "id": "welcome",
                "name": "Listening test",
                "content": "<p>You will hear pairs of short clips. Rate both clips of each pair. Use headphones if you "
                "can.</p>",
            },
            trials,
            {
                "type": "finish",
                "name": "Thank you",
                "content": "<p>Please send your answers.</p>",
                "popupContent": "Your answers were sent.",
                "showResults": False,
                "writeResults": True,
                "questionnaire": [
                    {"type": "text", "label": "Your name or code", "name": LISTENER, "optional": False}
                ],
            },
        ],
    }
    path = folder / f"{name}.yaml"
    with atomic_write(path) as tmp:
        tmp.write_text("\n".join(_lines(config)) + "\n", encoding="utf-8")
    return path


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """YAML as webMUSHRA's reader (yaml.js) has it: it takes ``- - x`` for a text, so a list in a list starts a line."""
    for key, item in value.items() if isinstance(value, dict) else (("-", item) for item in value):
        head = indent + (key if key == "-" else f"{key}:")
        if isinstance(item, dict | list):
            yield head
            yield from _lines(item, indent + "  ")
        else:
            yield f"{head} {json.dumps(item, ensure_ascii=False)}"


def _page(name: str, asks: str, what: str, stimuli: dict[str, str]) -> dict[str, object]:
    low, high = f"not at all {escape(what)}", f"very {escape(what)}"
    ends = {SCALE[0]: f"{SCALE[0]} {low}", SCALE[-1]: f"{SCALE[-1]} {high}"}
    return {
        "type": "likert_multi_stimulus",
        "id": name,
        "name": "Two clips",
        "content": f"<p>{escape(asks)} Rate both: the one that you rate higher is your answer.</p>",
        "mustRate": True,
        "mustPlayback": "ended",
        "stimuli": stimuli,
        "response": [{"value": value, "label": ends.get(value, str(value))} for value in SCALE],
    }
