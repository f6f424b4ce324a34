"""Of the stage ``untrained``: what dictionaries that learned nothing claim under the study's own rules."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Part, Record


class Claims(Part):
    """What one kind of untrained dictionary claims. Null: not asked of it."""

    n_features: int = Field(description="features that may be claimed (count)")
    active_share: float = Field(description="of them that are active in a test text, mean (share)")
    n_claimed: int = Field(description="emotion features (count)")
    per_emotion: dict[str, int] = Field(description="emotion features of every emotion (count)")
    held_out_auroc: float | None = Field(
        description="mean AUROC of its families on held-out words and scenes, over emotions with a family; null without families or such texts"
    )
    concepts_per_emotion: dict[str, int] | None = Field(
        default=None, description="concept features of every emotion with concepts (count)"
    )
    interpretable_per_emotion: dict[str, int] | None = Field(
        default=None, description="features of every emotion whose name holds (count)"
    )
    causal_per_emotion: dict[str, int] | None = Field(
        default=None, description="causal features of every emotion (count)"
    )
    stable_share: float | None = Field(
        default=None,
        description="of its emotion features, those that come back in the consensus of other untrained dictionaries; 0 without any",
    )


class Untrained(Record):
    """The whole pipeline on dictionaries that learned nothing, and what one of them would claim without a consensus."""

    file: ClassVar[str] = "untrained.json"
    stage: ClassVar[str] = "untrained"

    consensus: dict[str, Claims] = Field(
        description="kind (`untrained-rows`: differences of two training rows; `untrained-random`: random directions) -> "
        "claims of what several dictionaries agree on, as in the study: the controls of the verdict"
    )
    alone: dict[str, Claims] = Field(
        description="kind -> claims of a single dictionary of the SAE's size, if nobody asked for agreement: a warning, and "
        "the control where the study has no core. Concepts, names and causes are of as many of its claims as the study "
        "has, of each emotion the best by AUROC on train + val"
    )
