"""What people read in the features of one SAE, from notes.db."""

import re
from pathlib import Path
from typing import Any

_SAE = re.compile(r"(?:sae/)?(?P<name>[\w.-]+)(?:[\s@#:]+(?P<hash>[0-9a-f]{6,64}))?")


def read_readings(path: Path, sae: str, weights_sha256: str | None) -> dict[int, dict[str, Any]]:
    """Feature -> its newest reading: ``name``, ``state`` (clear or unclear), ``note``, ``by``.

    Readings of another SAE, or of the same name trained anew (another hash), are of other features and stay out.

    Args:
        path: notes.db; none there is no reading.
        sae: the SAE's name, such as ``main``.
        weights_sha256: hash of its weights, if known.

    Raises:
        BadInput: the file is not a database of notes.
    """
    if not path.is_file():
        return {}
    from moodlens.study.notes import Notes

    return {
        reading.feature: {
            "name": reading.name,
            "state": reading.clarity,
            "note": reading.note,
            "by": reading.author,
        }
        for reading in Notes(path).all()  # oldest first, so that the newest stays
        if _is_of(reading.sae, sae, weights_sha256)
    }


def _is_of(said: str, sae: str, weights_sha256: str | None) -> bool:
    found = _SAE.fullmatch(said.strip())
    if found is None or found["name"] != sae:
        return False
    return found["hash"] is None or weights_sha256 is None or weights_sha256.startswith(found["hash"])
