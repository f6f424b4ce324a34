"""Standard streams as users have them: closed, full, of another encoding, or a pipe whose reader has gone."""

import io
import json
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from moodlens.core.errors import BadInput
from moodlens.core.files import plain
from moodlens.core.text import printable, reason


def prepare() -> None:
    """Open what is closed, and let no character that a stream cannot hold end the program: it becomes ``?``."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened gets the number, and what a library prints goes into it.
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(lines: Iterable[str]) -> None:
    """Print lines for people; what would move a terminal's cursor or change its colours is shown, not sent.

    Raises:
        BadInput: standard output cannot be written. A reader that has gone (``head``) is no error.
    """
    write("".join(printable(line) + "\n" for line in lines))


def say_json(value: Any) -> None:
    """Print ``value`` as one JSON object on a line, in escapes where the stream cannot hold it or a terminal would obey."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeError:
        text = json.dumps(plain(value), allow_nan=False)
    # JSON escapes the older control characters itself.
    write(re.sub(r"[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")


def write(text: str = "") -> None:
    """Write to standard output at once.

    Raises:
        BadInput: it cannot be written. A reader that has gone is no error.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise BadInput(f"standard output: cannot write: {reason(error)}") from error


def complain(message: str) -> None:
    """One line on standard error, if there is anyone to read it."""
    try:
        sys.stderr.write(f"moodlens: {printable(' '.join(message.split()))}\n")
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Send what the stream still holds, and all that follows, nowhere; else it would be tried again at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
