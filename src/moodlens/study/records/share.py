"""Of `moodlens push` and `moodlens pull`: what a repository of the model hub holds, and where a pulled folder came from."""

from typing import ClassVar, Literal

from pydantic import Field

from moodlens.study.record import Part, Record


class SharedFile(Part):
    """One file of a repository."""

    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of its bytes")


class Shared(Record):
    """What a pushed repository holds. A pulled file that is not in here, or is not as it is said here, is refused."""

    file: ClassVar[str] = "moodlens.json"
    stage: ClassVar[str] = "push"

    format: Literal["moodlens-shared"] = Field(description="what this file is")
    made_by: str = Field(description="version of moodlens")
    name: str = Field(description="of the study")
    holds: tuple[Literal["sae", "directions"], ...] = Field(description="what can be used from it")
    encoder: str = Field(description="id of the encoder whose embeddings it is for")
    encoder_revision: str | None = Field(description="of the encoder, if known")
    d_in: int = Field(description="width of the embeddings")
    control: str = Field(
        description="none, or which control the study is: of a control nothing is to be believed"
    )
    go: bool | None = Field(description="the verdict; null: not judged")
    files: dict[str, SharedFile] = Field(description="path in the repository -> every file but this one")


class Pulled(Record):
    """Where a pulled folder came from."""

    file: ClassVar[str] = "pulled.json"
    stage: ClassVar[str] = "pull"

    repository: str = Field(description="USER/REPO on the hub")
    revision: str = Field(description="the commit, which never changes")
    asked: str | None = Field(description="tag, branch or commit that was asked for; null: the newest")
    left_out: tuple[str, ...] = Field(description="files of the repository that were not fetched")
