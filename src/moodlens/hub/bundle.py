"""A repository of the hub as a folder: what of a study is shared, with its card and the hash of every file."""

import shutil
from pathlib import Path

from moodlens.core import Progress, file_sha256, silent
from moodlens.core.files import atomic_write
from moodlens.core.version import __version__
from moodlens.hub.card import card
from moodlens.hub.names import check_names
from moodlens.pipeline.opened import OpenStudy
from moodlens.steer.build import study_directions
from moodlens.steer.directions import save_directions
from moodlens.study.families import Families
from moodlens.study.record import Record
from moodlens.study.records.sae import Core, Reconstruction
from moodlens.study.records.selection import Selection
from moodlens.study.records.share import Shared, SharedFile
from moodlens.study.records.stability import Stability
from moodlens.study.records.verdict import FEATURES, Verdict
from moodlens.study.state import read_states

SAE, DIRECTIONS, CARD, REPORT, PAGE = "sae", "directions", "README.md", "report.html", "explorer.html"
RECORDS: tuple[type[Record], ...] = (Verdict, Families, Selection, Core, Reconstruction, Stability)


def bundle(
    study: OpenStudy,
    folder: Path,
    *,
    repo: str,
    sae: bool = True,
    license_id: str | None = None,
    progress: Progress = silent,
) -> Shared:
    """Write what is shared of a study into ``folder``, which is empty.

    ``sae/`` is in SAELens' layout; ``directions/`` is what ``moodlens steer`` reads. Of the texts, the report, the
    explorer's page and the anchors show some.

    Args:
        repo: USER/REPO, for the card.
        sae: with the SAE, its features, the report and the explorer's page; else the directions alone.
        license_id: of what is shared, in the hub's spelling; None: the card names none.

    Raises:
        BadInput: the study is not finished, or has no text, so that nothing could tell its encoder from another.
    """
    study.require("verdict" if sae else "features")
    judged = "verdict" in read_states(study.path)
    verdict = study.require("verdict").read(Verdict) if judged else None
    directions = study_directions(study)
    save_directions(directions, folder / DIRECTIONS)
    if sae:
        for name in ("cfg.json", "sae_weights.safetensors"):
            _copy(study.path / "sae" / "main" / name, folder / SAE / name)
        names = [*(record.file for record in RECORDS), FEATURES.file, REPORT]
        for name in names:
            if (study.path / name).is_file():
                _copy(study.path / name, folder / name)
        _explorer(study, folder / PAGE, progress)
    families = study.families if "features" in read_states(study.path) else None
    shared = Shared(
        format="moodlens-shared",
        made_by=__version__,
        name=study.settings.name,
        holds=("sae", "directions") if sae else ("directions",),
        encoder=directions.provenance.encoder,
        encoder_revision=directions.provenance.revision,
        d_in=directions.d_in,
        control=study.control,
        go=None if verdict is None else verdict.go,
        files={},
    )
    text = card(shared, directions, verdict=verdict, families=families, repo=repo, license_id=license_id)
    with atomic_write(folder / CARD) as tmp:
        tmp.write_text(text, encoding="utf-8")
    shared = shared.model_copy(update={"files": files_of(folder)})
    check_names(shared.files, str(folder))
    shared.write(folder)
    return shared


def files_of(folder: Path) -> dict[str, SharedFile]:
    """Path in ``folder`` -> size and hash, of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): SharedFile(size=path.stat().st_size, sha256=file_sha256(path))
        for path in files
    }


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _explorer(study: OpenStudy, path: Path, progress: Progress) -> None:
    from moodlens.explore.explored import Explored
    from moodlens.explore.export import write_page
    from moodlens.explore.page import built_page

    write_page(Explored(study.path), path, built_page(), limit=16.0, progress=progress)
