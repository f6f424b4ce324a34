"""Streams that are closed, full, of another encoding or left by their reader, and signals."""

import json
import os
import subprocess
import sys

import pytest

from moodlens.cli.program import call

MAIN = "from moodlens.cli import main; main()"


def moodlens(*arguments, env=None, script=MAIN, **options) -> subprocess.CompletedProcess:
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    command = [sys.executable, "-c", script, *(str(argument) for argument in arguments)]
    return subprocess.run(command, env=os.environ | (env or {}), timeout=120, check=False, **options)


def arguments_of(words: str, study) -> list[str]:
    return [str(study) if word == "STUDY" else word for word in words.split()]


COMMANDS = ["--version", "--help", "steer --help", "features STUDY", "features STUDY --json", "inspect STUDY"]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_reader_that_has_gone_is_no_error(small_study, words):
    reading, writing = os.pipe()
    os.close(reading)
    done = moodlens(*arguments_of(words, small_study), stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_behind_standard_output_is_one_line(small_study, words):
    with open("/dev/full", "wb") as full:
        done = moodlens(*arguments_of(words, small_study), stdout=full)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize(
    ("words", "status"), [("--version", 0), ("features STUDY", 0), ("features nowhere", 2)]
)
def test_closed_streams(small_study, closed, words, status):
    done = moodlens(
        *arguments_of(words, small_study), preexec_fn=lambda: [os.close(number) for number in closed]
    )
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


def test_a_file_does_not_become_standard_output(tmp_path):
    script = f"""
import os, sys
from moodlens.cli.streams import prepare
prepare()
with open({str(tmp_path / "data")!r}, "w") as file:
    os.write(1, b"what a library prints")
    file.write("data")
print("more")
"""
    assert moodlens(script=script, preexec_fn=lambda: os.close(1)).returncode == 0
    assert (tmp_path / "data").read_text() == "data"


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "utf-16", "ascii:strict"])
def test_streams_of_any_encoding(small_study, tmp_path, encoding):
    env = {"PYTHONIOENCODING": encoding}
    done = moodlens("names", small_study, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    done = moodlens("features", tmp_path / "señorita ♫", env=env)
    assert done.returncode == 2
    assert "orita" in done.stderr.decode(encoding.partition(":")[0])


def test_json_says_the_same_in_any_encoding():
    script = """
import sys
from moodlens.cli.streams import prepare, say_json
prepare()
say_json({"text": "señorita ♫ \\x1b[31m \\x9b31m \\x7f"})
"""
    values = []
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = moodlens(env={"PYTHONIOENCODING": encoding}, script=script)
        assert done.returncode == 0, done.stderr
        assert not any(byte < 32 and byte != 10 for byte in done.stdout)
        text = done.stdout.decode(encoding)
        assert "\x9b" not in text
        assert "\x7f" not in text
        values.append(json.loads(text))
    assert values == [{"text": "señorita ♫ \x1b[31m \x9b31m \x7f"}] * 3


def test_control_characters_are_shown_and_not_sent(capfd):
    from moodlens.cli.output import emit

    emit({}, False, ["a \x1b[31mred\x07 word\r\x9b2J\nand a line"])
    assert capfd.readouterr().out == "a \\x1b[31mred\\x07 word\\r\\x9b2J\\nand a line\n"
    assert call(["features", "\x1b]0;title\x07"]) == 2
    assert capfd.readouterr().err == "moodlens: \\x1b]0;title\\x07: no such file or folder\n"


@pytest.mark.parametrize("env", [{"COLUMNS": "1"}, {"COLUMNS": "x", "TERM": "dumb", "NO_COLOR": "1"}])
def test_terminals_of_any_kind(env):
    done = moodlens("steer", "--help", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--json" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["features", ""], ["run", "--out", ""], ["features", "a", "--out", ""]]
)
def test_an_empty_name_is_not_the_folder_one_is_in(tmp_path, monkeypatch, capfd, arguments):
    monkeypatch.chdir(tmp_path)
    assert call(arguments) == 2
    assert "is a variable not set?" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_are_no_text(capfd):
    assert call(["features", os.fsdecode(b"caf\xe9")]) == 2
    assert r"b'caf\xe9': not UTF-8" in capfd.readouterr().err


# -- signals -------------------------------------------------------------------------------------------------------

ENDED = """
import os, signal, sys
import moodlens.cli.app
from moodlens.cli import main
from moodlens.core import atomic_write

def command(**_):
    with atomic_write(sys.argv[1]) as tmp:
        tmp.write_text("half")
        for number in {signals}:
            os.kill(os.getpid(), number)
        signal.pause()

# Whoever runs the tests under nohup has handed down that a hang-up is ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.modules["moodlens.cli.app"].app = command
main()
"""


@pytest.mark.parametrize(
    ("signals", "status"),
    [
        (["signal.SIGTERM"], 143),
        (["signal.SIGHUP"], 129),
        (["signal.SIGINT"], 130),
        (["signal.SIGTERM", "signal.SIGTERM"], 143),
    ],
)
def test_a_signal_leaves_no_half_file_and_no_word(tmp_path, signals, status):
    done = moodlens(tmp_path / "file", script=ENDED.format(signals=f"[{', '.join(signals)}]"))
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_while_modules_are_loaded():
    script = """
import sys
from moodlens.cli import main

class Interrupt:
    def find_spec(self, name, *_):
        if name == "moodlens.cli.program":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
main()
"""
    done = moodlens(script=script)
    assert (done.returncode, done.stderr) == (130, b"")


def test_progress_off_a_terminal_is_a_line_a_minute():
    from moodlens.core.progress import progress_lines

    now, said = [0.0], []
    progress = progress_lines(said.append, 60, clock=lambda: now[0])
    for done in range(401):
        now[0] = 30.0 * done
        progress("clips", done, 400)
    assert len(said) == 200
    assert said[0] == "clips: 2 of 400, 0%, 3 h 19 min left"
    assert said[-1] == "clips: 400 of 400, 100%, less than a minute left"
    quick = []
    short = progress_lines(quick.append, 60, clock=lambda: 5.0)
    short("clips scored", 1, 2)
    assert quick == []  # short work says nothing
