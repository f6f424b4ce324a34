"""An SAE that others trained, in place of the study's own: read, checked against the rows, written in SAELens' layout."""

import os
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from moodlens.core.errors import BadInput
from moodlens.sae.foreign import Foreign, read_foreign
from moodlens.sae.foreign_layouts import LAYOUTS
from moodlens.settings.imported import ImportSettings
from moodlens.settings.study import expand_path
from moodlens.study.study import MAIN, Study

_OFF = 1e-3
"""From norm 1: rows that are farther are not of norm 1."""


def imported_files(settings: ImportSettings | None) -> list[Path]:
    """The files that may hold the SAEs, whether or not they are there."""
    if settings is None:
        return []
    names = {name for _, names in LAYOUTS.values() for name in names}
    places = [expand_path(text) for text in (settings.path, *settings.others)]
    return [
        file
        for place in places
        for file in ([place] if place.is_file() else [place / name for name in sorted(names)] + [place])
    ]


def refuse_inside(settings: ImportSettings | None, out: Path) -> None:
    """Refuse SAEs that lie in the study's own folder, where the study writes its SAE and removes what it replaces.

    Raises:
        BadInput: naming the first.
    """
    home = os.path.realpath(out)
    for text in () if settings is None else (settings.path, *settings.others):
        place = os.path.realpath(expand_path(text))
        if os.path.commonpath([home, place]) == home:
            raise BadInput(
                f"{text}: lies in the study's folder {out}, where it would be written over; name another folder with --out"
            )


def read_imported(study: Study, settings: ImportSettings) -> dict[str, Foreign]:
    """``main`` and, of other seeds, ``seed-1``, ``seed-2`` ...

    Raises:
        BadInput: one cannot be read, or takes other rows than the study has.
    """
    foreign_saes = {}
    for i, text in enumerate((settings.path, *settings.others)):
        place = expand_path(text)
        foreign = read_foreign(place, settings.library, settings.input)
        _check(study, place, foreign)
        foreign_saes[f"seed-{i}" if i else MAIN] = foreign
    return foreign_saes


def facts_of(one: Foreign) -> dict[str, JsonValue]:
    """What the metadata of the study's SAE says of where it is from."""
    return {
        "imported_from": one.library,
        "imported_sha256": one.sha256,
        "input_scaling": one.scale,
        "notes": [*one.notes],
    }


def told(one: Foreign) -> str:
    """One line for people."""
    rows = "rows of norm 1" if one.scale == "unit" else "rows as the encoder gives them"
    return "; ".join([f"imported from {one.library}, which takes {rows}", *one.notes])


def _check(study: Study, place: Path, one: Foreign) -> None:
    x, encoder = study.x, study.encoder_info.encoder
    if one.sae.d_in != x.shape[1]:
        raise BadInput(
            f"{place}: takes rows of {one.sae.d_in} numbers, and encoder {encoder} gives {x.shape[1]}: set encoder.id to the "
            "encoder on whose embeddings it was trained"
        )
    if one.scale == "unit" and float(np.abs(np.linalg.norm(x, axis=1) - 1).max()) > _OFF:
        raise BadInput(
            f"{place}: takes rows of norm 1, and those of encoder {encoder} are of others: set encoder.unit to true, or "
            "imported.input to raw if it was trained on raw rows"
        )
