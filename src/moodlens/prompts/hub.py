"""Tables that lie on the model hub: ``hf://datasets/USER/NAME[@REVISION]/FILE``, as polars writes such addresses.

A file is fetched once, into the hub's own cache, and read from there like any other table, in whatever dialect it is. What the
cache holds is not asked for again, so that a study does not change under its reader: name a revision to have another.
"""

import re
from pathlib import Path

from moodlens.core import BadInput
from moodlens.settings.study import expand_path, is_hub_table

_ADDRESS = re.compile(
    r"hf:/{1,2}datasets/(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/]+))?/(?P<file>[^*?]+)", re.ASCII
)
_CONVERTED = {"~parquet": "refs/convert/parquet"}
"""How polars calls the branch of a data set that the hub made of it."""


def table_file(text: str) -> Path:
    """Where a table lies on this machine; one of the hub is fetched, if its cache does not hold it.

    Raises:
        BadInput: an address of the hub is none, or the file cannot be fetched.
    """
    if not is_hub_table(text):
        return expand_path(text)
    repo, revision, file = hub_address(text)
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repo, file, revision=revision, repo_type="dataset")
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision, repo_type="dataset"))
    except Exception as error:  # the hub's client raises of every kind
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BadInput(
            f"{text}: cannot be fetched ({why}); check the address and the network, or name a file on this machine"
        ) from error


def table_files(texts: list[str]) -> list[Path]:
    """The same of several, without those that cannot be had: that is said when they are read."""
    files = []
    for text in texts:
        try:
            files.append(table_file(text))
        except BadInput:
            if not is_hub_table(text):
                raise
    return files


def hub_address(text: str) -> tuple[str, str | None, str]:
    """Repository, revision and file of an address.

    Raises:
        BadInput: it is none.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise BadInput(
            f"{text}: not an address of a table on the hub: expected hf://datasets/USER/NAME/FILE or "
            "hf://datasets/USER/NAME@REVISION/FILE, one file without * or ?"
        )
    revision = match["revision"]
    return match["repo"], _CONVERTED.get(revision or "", revision), match["file"]
