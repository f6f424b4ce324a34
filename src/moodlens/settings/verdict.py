"""Thresholds of the go / no-go criteria: settings, frozen before anything is measured."""

from pydantic import Field

from moodlens.settings.base import Frozen


class VerdictSettings(Frozen):
    """Thresholds of the criteria."""

    min_explained_variance: float = Field(
        default=0.8, description="on held-out rows, about the train mean (share)"
    )
    min_active_share: float = Field(
        default=0.01, ge=0, description="features active per text, share of d_sae"
    )
    max_active_share: float = Field(
        default=0.03, le=1, description="features active per text, share of d_sae"
    )
    min_emotion_features: int = Field(
        default=50, ge=1, description="claimed features: of the core, and an emotion holds on test (count)"
    )
    min_rated_features: int = Field(
        default=5,
        ge=1,
        description="claimed features of each end of each rated scale, where texts carry ratings (count)",
    )
    min_concept_features: int = Field(
        default=6, ge=1, description="claimed features of each emotion that hold a concept inside it (count)"
    )
    min_concepts: int = Field(
        default=3,
        ge=1,
        description="concepts of each emotion that have such a feature, or all if it has fewer (count)",
    )
    min_interpretable: int = Field(
        default=10, ge=1, description="features of each emotion whose name holds (count)"
    )
    min_causal: int = Field(default=10, ge=1, description="causal features of each emotion (count)")
    min_monosemanticity: float = Field(
        default=0.5, description="median share of firings that the name covers"
    )
    min_stable_share: float = Field(
        default=0.8,
        description="claimed features that come back in another pipeline, mean over these (share)",
    )
    min_bootstrap_share: float = Field(
        default=0.5,
        description="claimed features that come back on a bootstrap of the training groups (share)",
    )
    max_behind_dense: float = Field(
        default=0.01,
        ge=0,
        description="how far the families may lie behind difference-in-means on other people's texts (AUROC)",
    )
    max_denied_percentile: float = Field(
        default=55.0,
        ge=0,
        le=100,
        description="mean percentile of texts that deny an emotion among texts of other emotions",
    )
    min_held_out_auroc: float = Field(
        default=0.8, description="mean AUROC of the families on held-out lexemes and scenes"
    )
    min_compositional_share: float = Field(
        default=0.8, description="pairs of emotions whose families both act (share)"
    )
    min_independent_share: float = Field(
        default=0.9, description="pairs of emotion features that are independent (share)"
    )
    max_dead_share: float = Field(
        default=0.05, ge=0, le=1, description="features that never fire (share of d_sae)"
    )
