"""A listening test as a jsPsych experiment: a folder with a page, jsPsych's own scripts and the clips.

jsPsych (de Leeuw, 2015) runs on any web server, on Pavlovia, JATOS or cognition.run, and from a file. Its players have no
volume, so that of a trial is in the clips.
"""

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from moodlens.core import atomic_write
from moodlens.judge.render import render
from moodlens.judge.sheet import Sheet

FOLDER, PAGE, CLIPS, SCRIPTS = "jspsych", "index.html", "clips", "scripts"


def write_jspsych(sheet: Sheet, out: Path) -> Path:
    """Write ``out/jspsych/`` and say where its page is.

    The order of trials is shuffled for each listener, and the sides are flipped for half of them. What is saved is
    jsPsych's own data (JSON): one row a screen, of which those with ``asked`` hold an answer.
    """
    folder = out / FOLDER
    names = sheet.write_sides(folder / CLIPS)
    trials = []
    for question in sheet.questions:
        pair = [
            asdict(side) | {"file": f"{CLIPS}/{names[question.trial, side.clip]}"} for side in question.pair
        ]
        trials.append({"trial": question.trial, "asks": question.asks, "pair": pair})
    for script in files("moodlens.judge").joinpath("data", "jspsych").iterdir():
        with atomic_write(folder / SCRIPTS / script.name) as tmp:
            tmp.write_bytes(script.read_bytes())
    with atomic_write(folder / SCRIPTS / "LICENSE") as tmp:
        tmp.write_bytes(files("moodlens.judge").joinpath("data", "LICENSE.jspsych").read_bytes())
    test = {"test": sheet.test, "quality": sheet.quality, "trials": trials}
    with atomic_write(folder / PAGE) as tmp:
        tmp.write_text(render("jspsych.html.j2", test=test), encoding="utf-8")
    return folder / PAGE
