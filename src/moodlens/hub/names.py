"""Names from the hub: of repositories, of revisions, and of the files in a repository that another person wrote."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from moodlens.core.errors import BadInput

PREFIX = "hub:"
KINDS = (".json", ".safetensors", ".parquet", ".md", ".html")
"""Files that are ever fetched. Nothing that a reader would run: no pickle, no Python."""
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Place:
    """A repository, and which state of it."""

    repo: str
    revision: str | None
    """Commit, tag or branch; None: the newest."""

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{'' if self.revision is None else f'@{self.revision}'}"


def place(text: str) -> Place:
    """``USER/REPO``, ``USER/REPO@REVISION``, with ``hub:`` before it or without.

    Raises:
        BadInput: it is written otherwise.
    """
    repo, at, revision = text.removeprefix(PREFIX).partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise BadInput(f"{text}: not a repository of the hub; write it as USER/REPO or USER/REPO@REVISION")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise BadInput(f"{text}: not a revision; write the commit, tag or branch after the @")
    return Place(repo, revision if at else None)


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names of files that could be written elsewhere, over each other, or that hold something to be run.

    Raises:
        BadInput: naming the file.
    """
    seen: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        if len(parts) > 4 or not all(_PART.fullmatch(part) and ".." not in part for part in parts):
            raise BadInput(f"{where}: file name {name!r} is refused: it could lead out of its folder")
        if PurePosixPath(name).suffix not in KINDS:
            raise BadInput(f"{where}: file {name!r} is refused: only {', '.join(KINDS)} are fetched")
        if name.lower() in seen:  # some disks know no capital letters
            raise BadInput(
                f"{where}: files {seen[name.lower()]!r} and {name!r} are one on some disks: refused"
            )
        seen[name.lower()] = name
    folders = {str(above).lower() for name in seen for above in PurePosixPath(name).parents}
    both = folders & seen.keys()
    if both:
        raise BadInput(f"{where}: {min(both)!r} is both a file and a folder: refused")
