"""Of the stage ``causal``: what moves when features are added or taken away."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Column, Record, TableSchema


class Causal(Record):
    """How many emotion features move their emotion, beside controls that pass the same rule."""

    file: ClassVar[str] = "causal.json"
    stage: ClassVar[str] = "causal"

    per_emotion: dict[str, int] = Field(description="causal features of every emotion (count)")
    control_per_emotion: dict[str, int] = Field(
        description="matched features of the SAE, as many as were tested, that pass the same rule (count)"
    )
    untrained_per_emotion: dict[str, int] | None = Field(
        description="the same of features of a dictionary that learned nothing; null where none stands beside"
    )
    control_name: str = Field(description="what the controls are")
    rule: str = Field(description="what makes a feature causal, in words")
    n_tested: dict[str, int] = Field(description="emotion features of every emotion that were tested (count)")
    n_controls: int = Field(description="matched features beside each, fewest over the emotions (count)")
    n_untrained: int = Field(description="matched features of the untrained dictionary beside each (count)")
    n_random_directions: int = Field(description="random directions beside each (count)")
    n_rows: int = Field(description="test texts that were changed (count)")
    n_groups: int = Field(description="their groups (count)")
    readouts: str = Field(description="which texts the readouts were fitted on")


_EFFECT = "mean change of the readout of `target` over the changed rows"
INTERVENTIONS = TableSchema(
    "interventions.parquet",
    "causal",
    {
        "kind": Column("String", "", "`clamp` (set to zero where it fires), `transplant` (added to rows of other emotions), `keep_family`, `zero_rest`"),
        "subject": Column("String", "", "`feature`, `family`, `all_features`, `difference_in_means`, `random_feature`, `random_direction`"),
        "feature": Column("Int64", "", "number; null for anything but one feature"),
        "emotion": Column("String", "", "whose feature or family"),
        "target": Column("String", "", "which emotion is read"),
        "dose": Column("Float64", "typical sizes", "transplant: how much is added; else 0 (clamp) or 1"),
        "readout": Column("String", "", "`probe`: log-odds of the target; `centroid`: cosine with its centroid minus the mean of the others"),
        "effect": Column("Float64", "log-odds or cosine", _EFFECT),
        "ci_low": Column("Float64", "as effect", "interval over groups (for `random_*`: the middle 95 % of the draws)"),
        "ci_high": Column("Float64", "as effect", "the other end"),
        "control_mean": Column("Float64", "as effect", "matched controls of the same intervention, mean"),
        "control_edge": Column("Float64", "as effect", "matched controls: what all but 1 - `control_quantile` of them stay within"),
        "p": Column("Float64", "", "null where there is nothing to test"),
        "q": Column("Float64", "", "Benjamini-Hochberg over the rows that ask the same question"),
        "n_groups": Column("Int64", "count", "groups of the changed rows; null where none was changed"),
    },
)  # fmt: skip
CAUSAL_COLUMNS = {
    "causal_effect": Column(
        "Float64", "log-odds", "change of its emotion when it is added at its typical activation"
    ),
    "causal_p": Column(
        "Float64", "", "against matched features of either dictionary and random directions, the largest"
    ),
    "causal_q": Column("Float64", "", "Benjamini-Hochberg over all emotion features"),
    "causal": Column("Boolean", "", "passes the rule in causal.json"),
}
CAUSAL = TableSchema("causal.parquet", "causal", {"feature": Column("Int64", "", "number"), **CAUSAL_COLUMNS})
"""One row for each feature; null where it is no emotion feature."""
