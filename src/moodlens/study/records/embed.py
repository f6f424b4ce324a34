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

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on rows that are not what they seem."""
        texts, lines = self.texts, []
        if texts is not None and texts.n_cut:
            lines.append(
                f"{texts.n_cut} texts were cut at {texts.max_length} {texts.counts}: {texts.tokens_cut} were not read, and "
                f"{texts.n_same_after_cutting} texts differ from another only in these"
            )
        elif texts is not None and texts.n_long:
            lines.append(
                f"{texts.n_long} texts of more than {texts.max_length} {texts.counts} were read in parts"
            )
        if texts is not None and texts.n_without_known_token:
            row = next(example for example in texts.examples if example.what == "no known token")
            lines.append(
                f"{texts.n_without_known_token} texts have no token that the encoder knows, the first in row {row.row}: "
                f"{row.text!r}"
            )
        if self.n_equal:
            lines.append(f"{self.n_equal} rows are equal to an earlier one to rounding")
        if texts is not None and texts.dtype_note:
            lines.append(texts.dtype_note)
        if texts is not None and texts.told:
            lines.append(texts.told)
        return tuple(lines)
