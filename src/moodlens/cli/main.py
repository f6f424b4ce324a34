"""Entry point: every failure that is the input's fault is one line on standard error and exit status 2."""

import errno
import gc
import os
import sys
import threading
from contextlib import suppress

import typer

from moodlens.core.errors import BadInput

# Newer versions of typer bring a click of their own, so its errors are found through what typer exports.
UsageError: type[typer.BadParameter] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def main() -> None:
    """Run the command line and exit."""
    # The libraries make a million objects that stay. Looking through them again and again is a quarter of their loading.
    gc.set_threshold(50_000, 20, 50)
    status = _run(sys.argv[1:])
    if status == INTERRUPTED and any(one.name.startswith("stages-") for one in threading.enumerate()):
        # A stage is still at work on its thread (moodlens.pipeline.schedule). Taken down under it, torch or polars would abort.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)
    # Before it ends, the interpreter would look through them once more: most of a second.
    gc.freeze()
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    from moodlens.cli.app import app

    try:
        result = app(args=arguments, prog_name="moodlens", standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "moodlens"
        return _fail(f"{error.format_message()} (see {command} --help)")
    except typer.Abort:
        return INTERRUPTED
    except BadInput as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader (head, less) has gone: not an error of ours, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EADDRINUSE):
            raise
        return _fail(f"{error.filename or 'file system'}: {error.strerror}")
    return result if isinstance(result, int) else 0


def _fail(message: str) -> int:
    print("moodlens: " + " ".join(message.split()), file=sys.stderr)
    return 2
