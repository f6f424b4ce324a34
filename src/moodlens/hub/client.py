"""Pushing to and pulling from the model hub, through its own client; nothing that comes from there is run.

What is pulled is pinned: a tag or branch is resolved to its commit first, and every file is fetched of that commit and
compared with the size and hash that the repository's ``moodlens.json`` gives.
"""

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from moodlens.core import BadInput, Progress, file_sha256, silent
from moodlens.hub.bundle import DIRECTIONS, SAE, bundle
from moodlens.hub.names import Place, check_names
from moodlens.pipeline.opened import OpenStudy
from moodlens.steer.directions import VECTORS
from moodlens.study.records.share import Pulled, Shared
from moodlens.study.records.steer import DirectionsFile

GB = 1_000_000_000
MANIFEST_SIZE = 1_000_000
"""Bytes that moodlens.json may have."""
HELD = {
    "sae": (f"{SAE}/cfg.json", f"{SAE}/sae_weights.safetensors"),
    "directions": (f"{DIRECTIONS}/{DirectionsFile.file}", f"{DIRECTIONS}/{VECTORS}"),
}
"""What a repository may say that it holds -> the files without which it does not."""


@dataclass(frozen=True)
class Pushed:
    """What was pushed."""

    repo: str
    revision: str
    """The commit."""
    url: str
    shared: Shared


@contextlib.contextmanager
def hub_errors(place: Place, what: str) -> Iterator[None]:
    """What the hub's client raises becomes one line that says what to do; it draws no progress bars of its own."""
    from huggingface_hub import errors
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except BadInput:
        raise
    except errors.LocalTokenNotFoundError as error:
        raise BadInput(f"{place}: not logged in to the hub; run: hf auth login (or set HF_TOKEN)") from error
    except errors.GatedRepoError as error:
        raise BadInput(f"{place}: access must be asked for on the hub's page of this repository") from error
    except errors.RepositoryNotFoundError as error:
        raise BadInput(
            f"{place}: no such repository on the hub, or it is private and this is no login for it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise BadInput(f"{place}: the repository has no such revision") from error
    except errors.EntryNotFoundError as error:
        hint = "; moodlens push did not make it" if what == Shared.file else ""
        raise BadInput(f"{place}: the repository has no file {what}{hint}") from error
    except errors.OfflineModeIsEnabled as error:
        raise BadInput(f"{place}: HF_HUB_OFFLINE is set, and {what} is not in the cache") from error
    except Exception as error:  # its client raises of every kind: connections, HTTP, files, values
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise
        first = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{place}: the hub did not do it ({what}): {first}") from error
    finally:
        if shown:
            enable_progress_bars()


def push(
    study: OpenStudy,
    place: Place,
    *,
    sae: bool = True,
    private: bool = False,
    license_id: str | None = None,
    progress: Progress = silent,
) -> Pushed:
    """Push a study's SAE and directions to the hub, in one commit; the repository is made if need be.

    Files of an earlier push that are no longer among them are removed; other files of the repository stay.

    Raises:
        BadInput: the study is not finished, the place is not one's own, or the hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if place.revision is not None:
        raise BadInput(f"{place}: a push makes its own commit; leave out @{place.revision}")
    api = HfApi()
    with hub_errors(place, "login"):
        api.whoami()  # said before the work, not after it
    with tempfile.TemporaryDirectory(prefix="moodlens-push-") as folder:
        shared = bundle(
            study, Path(folder), repo=place.repo, sae=sae, license_id=license_id, progress=progress
        )
        with hub_errors(place, "push"):
            api.create_repo(place.repo, private=private, exist_ok=True)
            there = {item.rfilename for item in api.model_info(place.repo).siblings or ()}
        names = [*shared.files, Shared.file]
        before = set(_shared(place, "main").files) if Shared.file in there else set()
        operations: list = [CommitOperationAdd(name, str(Path(folder) / name)) for name in names]
        operations += [CommitOperationDelete(name) for name in sorted((before & there) - set(names))]
        with hub_errors(place, "push"), _no_warnings():
            commit = api.create_commit(
                place.repo, operations, commit_message=f"moodlens {shared.made_by}: {shared.name}"
            )
    return Pushed(place.repo, str(commit.oid), str(commit.commit_url), shared)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about Parquet in a repository of a model
        yield


def pinned(place: Place) -> Place:
    """The same place at the commit that its revision is now; a commit stays as it is, without a network."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import REGEX_COMMIT_OID

    if place.revision is not None and REGEX_COMMIT_OID.fullmatch(place.revision):
        return place
    with hub_errors(place, "revision"):
        sha = HfApi().model_info(place.repo, revision=place.revision).sha
    if not sha or not REGEX_COMMIT_OID.fullmatch(sha):
        raise BadInput(f"{place}: the hub names no commit; name one after an @")
    return Place(place.repo, sha)


def pull(
    place: Place, out: Path, *, pages: bool = False, limit: float = 4.0, progress: Progress = silent
) -> Pulled:
    """Fetch a pushed repository into the new folder ``out``, whole or not at all.

    Args:
        pages: also the HTML pages. A page is a program: it runs in the browser of whoever opens it.
        limit: GB that the files together may have.

    Raises:
        BadInput: ``out`` exists, the repository is not one that ``moodlens push`` made, or a file is not as its
            ``moodlens.json`` says, or it lacks what that says it holds.
    """
    if os.path.lexists(out):
        raise BadInput(f"{out}: exists already; choose a new folder")
    at = pinned(place)
    shared = _shared(at, at.revision)
    _check_held(at, shared)
    chosen = {name: f for name, f in shared.files.items() if pages or not name.endswith(".html")}
    size = sum(file.size for file in chosen.values())
    if size > limit * GB:
        needed = math.ceil(1000 * size / GB) / 1000
        raise BadInput(f"{place}: its files have {needed:g} GB; allow more with --limit {needed:g}")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name[:50]}.", suffix=".tmp", dir=out.parent))
    try:
        for n, (name, path) in enumerate(_fetched(at, shared, chosen)):
            progress("files", n, len(chosen))
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _check_width(at, shared, folder / DIRECTIONS)
        shared.write(folder)
        pulled = Pulled(
            repository=place.repo,
            revision=str(at.revision),
            asked=place.revision,
            left_out=tuple(sorted(shared.files.keys() - chosen.keys())),
        )
        pulled.write(folder)
        folder.chmod(0o777 & ~_umask())
        os.rename(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return pulled


def pulled_directions(place: Place) -> tuple[Path, Place]:
    """The folder, in the hub client's cache, of a repository's directions, and the commit it is of.

    Raises:
        BadInput: it holds none, or they are not as its ``moodlens.json`` says.
    """
    at = pinned(place)
    shared = _shared(at, at.revision)
    if "directions" not in shared.holds:
        raise BadInput(f"{place}: holds no directions")
    _check_held(at, shared)
    paths = [path for _, path in _fetched(at, shared, HELD["directions"])]
    if len({path.parent for path in paths}) != 1:
        raise BadInput(f"{place}: its directions do not lie in one folder of the cache; pull it instead")
    _check_width(at, shared, paths[0].parent)
    return paths[0].parent, at


def _check_held(at: Place, shared: Shared) -> None:
    for kind in shared.holds:
        for name in HELD[kind]:
            if name not in shared.files:
                raise BadInput(f"{at}: {Shared.file} says that it holds {kind} and lists no file {name}")


def _check_width(at: Place, shared: Shared, folder: Path) -> None:
    """Compare the width that ``moodlens.json`` says with that of the vectors in ``folder``."""
    from safetensors import SafetensorError, safe_open

    if "directions" not in shared.holds:
        return
    try:
        with safe_open(folder / VECTORS, "np") as file:
            shape = file.get_slice("vectors").get_shape()
    except SafetensorError as error:
        raise BadInput(f"{at}: {DIRECTIONS}/{VECTORS}: not a readable safetensors file: {error}") from error
    if len(shape) != 2 or shape[1] != shared.d_in:
        raise BadInput(
            f"{at}: {Shared.file} says that d_in is {shared.d_in}, and the vectors of {DIRECTIONS}/{VECTORS} "
            f"have shape {tuple(shape)}"
        )


def _fetched(at: Place, shared: Shared, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for name in names:
        path, listed = _download(at, name, at.revision), shared.files[name]
        if path.stat().st_size != listed.size or file_sha256(path) != listed.sha256:
            raise BadInput(f"{at}: {name}: not the file that its {Shared.file} describes; nothing was kept")
        yield name, path


def _download(place: Place, name: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    with hub_errors(place, name):
        return Path(hf_hub_download(place.repo, name, revision=revision))


def _shared(place: Place, revision: str | None) -> Shared:
    """What a repository says that it holds."""
    path = _download(place, Shared.file, revision)
    where = f"{place}: {Shared.file}"
    if path.stat().st_size > MANIFEST_SIZE:
        raise BadInput(f"{where}: larger than {MANIFEST_SIZE:,} bytes: not a file of this kind")
    from moodlens.core import read_json

    try:
        shared = Shared.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])[:80]
        raise BadInput(f"{where}: {at}: {first['msg']}; it was not made by moodlens push") from error
    check_names(shared.files, where)
    return shared


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
