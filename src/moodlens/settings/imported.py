"""What can be set about an SAE that others trained."""

from typing import Literal

from pydantic import Field

from moodlens.settings.base import Frozen


class ImportSettings(Frozen):
    """An SAE of another library, judged in place of one that the study trains."""

    path: str = Field(
        description="its folder, or HypotheSAEs' one file; `${NAME:-default}` is read from the environment",
        json_schema_extra={"in_key": False},  # what it holds decides, not where it lies
    )
    library: Literal["saelens", "hypothesaes", "dictionary_learning", "sparsify", "latentsae"] | None = Field(
        default=None, description="whose files they are; none: told by the files"
    )
    input: Literal["raw", "unit"] | None = Field(
        default=None,
        description="rows that it takes: as the encoder gives them, or of norm 1; none: as its files say (unit for latentsae)",
    )
    others: tuple[str, ...] = Field(
        default=(),
        description="SAEs of the same recipe under other seeds, in which its features may come back; none: stability is not asked",
        json_schema_extra={"in_key": False},
    )
