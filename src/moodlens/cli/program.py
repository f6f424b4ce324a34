"""Entry point: every failure that is the input's fault is one line on standard error and exit status 2."""

import gc
import logging
import os
import re
import signal
import sys
import threading
import warnings
from contextlib import suppress
from types import FrameType

import typer

from moodlens.cli.streams import complain, prepare, write
from moodlens.core.errors import BadInput
from moodlens.core.files import remove_unfinished
from moodlens.core.text import is_text, reason

# Newer versions of typer bring a click of their own, so its errors are found through what typer exports.
UsageError: type[typer.BadParameter] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)

WRONG = 2
"""Exit status for what is wrong with the input."""


QUIET = {"RUST_BACKTRACE": "0", "HF_HUB_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}
"""Environment that keeps libraries from telling users what they tell programmers."""


class Ended(BaseException):
    """A signal asked the program to end. Raised where it is at work, so that half-written files are removed."""


def run() -> None:
    """Run the command line and exit."""
    prepare()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries say to programmers
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where it finds no home
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # The libraries make a million objects that stay. Looking through them again and again is a quarter of their loading.
    gc.set_threshold(50_000, 20, 50)
    try:
        status = call(sys.argv[1:])
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except Ended as stop:
        status = 128 + stop.args[0]
    if status > 128:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # people press Ctrl-C twice
        if any(thread.name.startswith("stages-") for thread in threading.enumerate()):
            # A stage is still at work on its thread (moodlens.pipeline.schedule). Taken down under it, torch or polars
            # would abort.
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            remove_unfinished()
            os._exit(status)
    # Before it ends, the interpreter would look through them once more: most of a second.
    gc.freeze()
    sys.exit(status)


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise Ended(number)


def call(arguments: list[str]) -> int:
    """Run one command in this process; what is wrong is a line on standard error. Returns the exit status."""
    try:
        from moodlens.cli.app import app

        _check(arguments)
        result = app(args=arguments, prog_name="moodlens", standalone_mode=False)
        write()
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return 128 + signal.SIGINT
    except SystemExit:
        return 0  # how typer ends when the reader of its help (head, less) has gone
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "moodlens"
        return _fail(f"{error.format_message()} (see {command} --help)")
    except BadInput as error:
        return _fail(str(error))
    except BrokenPipeError:
        return 0
    except OSError as error:
        # What has a number comes from the operating system: a file, a disk, a socket.
        if error.errno is None:
            raise
        return _fail(f"{error.filename or 'operating system'}: {reason(error)}")
    except UnicodeError as error:
        if not isinstance(error, (UnicodeEncodeError, UnicodeDecodeError)):
            raise
        return _fail(f"{error.object!r:.80}: cannot be read or written as {error.encoding} text")
    except RecursionError:
        return _fail("something in the input is nested too deeply")
    except OverflowError as error:
        return _fail(f"a number is too large ({error})")
    except MemoryError:
        return _fail("not enough memory")
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # how torch says the same
            raise
        return _fail("not enough memory")
    return result if isinstance(result, int) else 0


def _check(arguments: list[str]) -> None:
    for argument in arguments:
        if not argument:
            raise BadInput("an argument is empty; is a variable not set?")
        if not is_text(argument):
            raise BadInput(f"{os.fsencode(argument)!r}: not UTF-8; files of such names must be renamed first")


def _fail(message: str) -> int:
    # A line quotes what is wrong, and that may be a word without end.
    complain(re.sub(r"\S{1000,}", lambda word: f"{word[0][:900]}…", message))
    return WRONG
