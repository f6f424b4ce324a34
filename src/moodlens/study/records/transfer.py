"""Of the stage ``transfer``: do the features hold on text that nobody chose them on?"""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Part, Record
from moodlens.study.records.estimates import Aurocs, Ci

_AUROC = (
    "method -> emotion, or `mean` over those that every method with families reads -> `{value, ci}`; methods: `family` and `top_feature` "
    "(read along decoder directions), `family_active` and `top_feature_active` (from activations), "
    "`difference_in_means`, `linear_probe`; `family_gated` where the study has denied prompts to learn from"
)


def without_family(auroc: Aurocs) -> list[str]:
    """Emotions that difference-in-means reads in these texts and no family does: no mean has them."""
    families = {name for name, area in auroc.get("family", {}).items() if area.value is not None}
    dense = auroc.get("difference_in_means", {})
    return [
        name for name, area in dense.items() if families and area.value is not None and name not in families
    ]


class HeldOut(Part):
    """Families on held-out words, scenes and templates."""

    family_auroc: float | None = Field(
        default=None, description="mean over emotions with a family; null without one, or without such rows"
    )
    ci: Ci | None = Field(default=None, description="its interval over groups")
    control_auroc: float | None = Field(
        default=None, description="families of random live features, 95th percentile of the draws"
    )
    control_mean: float | None = Field(default=None, description="the same, mean of the draws")
    n: int = Field(description="labelled held-out texts (count)")
    n_groups: int = Field(description="their groups (count)")
    note: str = Field(description="what was compared, or why nothing was")
    auroc: Aurocs = Field(description=_AUROC)


class SpecialRows(Part):
    """Where negations, mixtures or neutral texts lie among unseen plain texts, on a family's score."""

    kind: str = Field(description="negation, mixed or neutral")
    split: str | None = Field(
        default=None,
        description="of negations: `test` (other words, wordings of denial that the gate learnt from), `held_out` (other "
        "words, other wordings); null for other kinds: both",
    )
    emotion: str = Field(description="whose family; the emotion that is denied or mixed")
    n: int = Field(description="texts (count)")
    n_groups: int = Field(description="their groups (count)")
    score: float = Field(description="mean score of the texts")
    percentile_own: float = Field(description="mean percentile among plain texts of the emotion (0 to 100)")
    percentile_others: float = Field(
        description="mean percentile among plain texts of other emotions (0 to 100)"
    )
    plain_own: float = Field(description="mean score of plain texts of the emotion")
    plain_others: float = Field(description="mean score of plain texts of other emotions")
    below_twin: float | None = Field(
        default=None, description="share of texts that score lower than the same text without its denial"
    )
    gated_own: float | None = Field(
        default=None, description="percentile among plain texts of the emotion on `family_gated` (0 to 100)"
    )
    gated_others: float | None = Field(
        default=None, description="percentile among plain texts of others on `family_gated` (0 to 100)"
    )
    gated_below_twin: float | None = Field(default=None, description="`below_twin` on `family_gated`")


class TransferSet(Part):
    """Texts of other people."""

    name: str
    n: int = Field(description="labelled texts (count)")
    n_texts: int = Field(description="all texts (count)")
    n_groups: int = Field(description="groups of the labelled texts (count)")
    n_per_emotion: dict[str, int] = Field(description="texts of every emotion (count)")
    n_seen: int | None = Field(
        default=None, description="labelled texts that the study trained on, whole or by a sentence (count)"
    )
    readings: dict[str, str] = Field(description="method -> how it reads a text, in words")
    table: str = Field(
        default="", description="what was left out, joined or renamed in reading the table, in words"
    )
    auroc: Aurocs = Field(description=f"{_AUROC}; empty where fewer than two emotions are labelled")


class Transfer(Record):
    """Features on other words, on negations and mixtures, and on the texts of other people."""

    file: ClassVar[str] = "transfer.json"
    stage: ClassVar[str] = "transfer"

    held_out: HeldOut
    special: tuple[SpecialRows, ...]
    sets: tuple[TransferSet, ...]
