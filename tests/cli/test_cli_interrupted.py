"""Ctrl-C while two stages run: status 130 at once, and the stage that is still at work is not taken down by halves."""

import os
import signal
import subprocess
import sys

STUDY = """
import atexit, sys, threading
import typer
import moodlens.cli.app
from moodlens.cli import main
from moodlens.pipeline.schedule import run_all

class Task:
    needs, wide = (), False
    def __init__(self, name): self.name = name

at_work = threading.Barrier(2)

def do(name, progress):
    at_work.wait()
    if threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt
    threading.Event().wait()

def command(**_):
    try:
        run_all([Task("a"), Task("b")], do, lambda *_: None)
    except KeyboardInterrupt as error:
        raise typer.Abort() from error

sys.modules['moodlens.cli.app'].app = command
atexit.register(lambda: print("taken down"))
print("said before")
main()
"""


def test_an_interrupted_run_ends_without_taking_the_interpreter_down():
    done = subprocess.run(
        [sys.executable, "-c", STUDY],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert done.stdout == "said before\n"
