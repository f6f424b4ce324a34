"""Of the verb ``norms``: how the study's emotions lie in valence and arousal as people rate words."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Part, Record
from moodlens.study.records.estimates import Ci


class Correlation(Part):
    """Of a reading with people's ratings, over all words."""

    spearman: float | None = Field(description="rank correlation; null where one of the two does not vary")
    pearson: float | None = Field(description="product-moment correlation")
    ci: Ci | None = Field(description="of the rank correlation, middle 95 % of resamples of whole groups")
    control: float | None = Field(
        description="95th percentile of its size with the ratings dealt anew among groups; fitted readings are fitted anew"
    )


class Place(Part):
    """Where an emotion or a concept lies in the plane of ratings."""

    emotion: str
    concept: str = Field(description="empty for the emotion as a whole")
    valence: float | None = Field(
        description="as the `concepts` reading of its prompts says (or `plane` where none is known), in standard "
        "deviations of the words' ratings; null where people rated none"
    )
    arousal: float | None = Field(description="likewise")


class Norms(Record):
    """norms.json: correlations of the study's readings with valence and arousal as people rate words."""

    file: ClassVar[str] = "norms.json"
    stage: ClassVar[str] = "norms"

    table: str = Field(description="name of the file of ratings")
    columns: dict[str, str] = Field(description="role (text, valence, arousal, group) -> its column")
    sae: str = Field(description="SAE whose families were read, and the beginning of its weights' hash")
    n: int = Field(description="rated texts (count)")
    n_left_out: int = Field(description="rows without a text or without a rating (count)")
    n_groups: int = Field(
        description="groups that are resampled and dealt: the column's, else words of one root (count)"
    )
    forms: tuple[str, ...] = Field(description="what a word is put into; its readings are averaged")
    positions: dict[str, tuple[float, float]] = Field(
        description="emotion -> its share of the `axis` of valence and of that of arousal; empty where not known"
    )
    correlations: dict[str, dict[str, dict[str, Correlation]]] = Field(
        description="method (`family`, `difference_in_means`) -> reading -> `valence`, `arousal`. Readings: each emotion; "
        "`axis`, emotions at fixed weights, nothing fitted; `plane`, the emotions' directions at weights fitted on other "
        "groups of words; likewise `members`, the families' features one by one, and `concepts`, the directions of all concepts"
    )
    places: tuple[Place, ...]
