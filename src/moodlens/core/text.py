"""Text from files, whoever wrote them, and text for a terminal, whatever it holds."""

import codecs
import os
from pathlib import Path

from moodlens.core.errors import BadInput

_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029)}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path | str, largest: int | None = None) -> str:
    """The text of a file: UTF-8, or UTF-16 where a mark says so. The mark at its start is not part of the text.

    Args:
        path: a file, or a pipe.
        largest: most bytes the file may hold; None: any number.

    Raises:
        BadInput: it cannot be read, is too large, or is text of another encoding.
    """
    try:
        with open(path, "rb") as file:
            content = file.read() if largest is None else file.read(largest + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot read: {reason(error)}") from error
    except ValueError as error:  # a name that holds a zero byte
        raise BadInput(f"{str(path)!r}: cannot read: {error}") from error
    if largest is not None and len(content) > largest:
        raise BadInput(f"{path}: larger than {largest:,} bytes: not a file of this kind")
    try:
        return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path}: not UTF-8 text (byte {error.start}, line {line}); save it as UTF-8"
        ) from error


def is_text(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8; a name made of other bytes cannot."""
    return text.isascii() or text.encode(errors="replace").decode() == text


def reason(error: OSError) -> str:
    """What the operating system says is wrong, without the path."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))


def printable(text: str) -> str:
    """``text`` on one line, with escapes in place of control characters, which a terminal would obey."""
    return text.translate(_ESCAPES)
