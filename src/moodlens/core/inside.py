"""What stays inside a folder: names in files that someone else wrote, and links in folders that someone else made."""

import os
from pathlib import Path

from moodlens.core.errors import BadInput


def is_inside(name: object) -> bool:
    """Whether a name, joined to a folder, stays in it on every system: relative, no ``..``, no drive, no odd bytes."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name or ":" in name:
        return False
    return not name.startswith("/") and not any(part in ("", ".", "..") for part in name.split("/"))


def refuse_links(folder: Path | str) -> None:
    """Refuse a folder in which a link leads out of it: what is written to the link would be written there.

    The folder itself may be a link. A link that stays inside harms nothing.

    Raises:
        BadInput: naming the first link that leads out.
    """
    home = os.path.realpath(folder)
    if not os.path.isdir(home):
        return
    # Links are not followed: what a link to a folder holds is seen where it lies, or lies outside.
    for where, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            if not os.path.islink(path):
                continue
            target = os.path.realpath(path)
            if os.path.commonpath([home, target]) != home:
                shown = os.path.relpath(path, home)
                raise BadInput(
                    f"{Path(folder) / shown}: is a link that leads out of its folder; put in its place what it points to"
                )
