"""Thresholds of the go / no-go criteria: settings, frozen before anything is measured."""

from pydantic import Field

from moodlens.settings.base import Frozen


class VerdictSettings(Frozen):
    """Thresholds of the criteria (the roadmap's, or stricter where the design is)."""

    max_mse: float = Field(
        default=0.01, gt=0, description="test mean squared error per element, raw embedding units"
    )
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
        default=50, ge=1, description="features that hold an emotion on test (count)"
    )
    min_interpretable: int = Field(
        default=10, ge=1, description="features of each emotion whose name holds (count)"
    )
    min_causal: int = Field(default=10, ge=1, description="causal features of each emotion (count)")
    min_monosemanticity: float = Field(
        default=0.5, description="median share of firings that the name covers"
    )
    min_stable_share: float = Field(
        default=0.8, description="emotion features that reappear in enough other seeds (share)"
    )
    min_reappearance: float = Field(
        default=0.8, description="share of other seeds a stable feature reappears in"
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
