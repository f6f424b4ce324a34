"""Of the stage ``embed``: what of the texts is in their embeddings."""

from typing import ClassVar

from pydantic import Field

from moodlens.embed.corpus import EmbedReport
from moodlens.study.record import Record


class Embeddings(Record):
    """embed.json: what to know of the rows in embeddings/ before anything is read from them."""

    file: ClassVar[str] = "embed.json"
    stage: ClassVar[str] = "embed"

    n: int = Field(description="rows (count)")
    n_equal: int = Field(
        description="rows equal to an earlier one to rounding, copies of a text included (count)"
    )
    texts: EmbedReport | None = Field(
        description="what the encoder read of the texts; null for embeddings made elsewhere"
    )
