"""Go or no-go: every criterion beside what chance or a trivial method gives.

A criterion passes only if it meets its threshold *and* beats its control. A threshold that the control meets
too is *uninformative*: it does not pass, whatever the value. What was not measured does not pass either.
Thresholds are settings, frozen before anything is measured.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moodlens.core import plain
from moodlens.settings.verdict import LABELS as LABELS
from moodlens.settings.verdict import MUST as MUST
from moodlens.settings.verdict import NICE as NICE
from moodlens.settings.verdict import VerdictSettings as VerdictSettings
from moodlens.validate import criteria
from moodlens.validate.advice import next_steps as next_steps

if TYPE_CHECKING:
    import polars as pl


def judge(
    sae: str,
    emotions: tuple[str, ...],
    *,
    reconstruction: Mapping[str, Any] | None,
    baselines: Mapping[str, Any] | None,
    selection: Mapping[str, Any] | None,
    features: "pl.DataFrame | None",
    causality: Mapping[str, Any] | None = None,
    stability: Mapping[str, Any] | None = None,
    generalization: Mapping[str, Any] | None = None,
    compositionality: Mapping[str, Any] | None = None,
    orthogonality: Mapping[str, Any] | None = None,
    settings: VerdictSettings | None = None,
) -> dict[str, Any]:
    """Judge every criterion from saved results; what is None was not measured.

    Args:
        sae: name of the chosen SAE.
        emotions: names, in order.
        reconstruction: ``mse, explained_variance, l0, active_share, dead_share`` (and ``d_sae``) on held-out rows; ``dead_share``
            counts features that fire on no training row.
        baselines: ``{"mean": {mse, explained_variance}, "pca": {..., n_components}}`` on the same rows.
        selection: selection.json.
        features: features.parquet; columns that are absent or all null count as not measured.
        causality, stability, generalization, compositionality, orthogonality: the ``summary`` of each stage.
        settings: thresholds.

    Returns:
        ``{"go", "sae", "criteria": [{id, label, must, threshold, value, ci, control: {name, value} | None,
        passed, uninformative, note, details}], "next_steps"}``; ``threshold`` is text, ``value`` a number.
        ``go`` is true when every must-criterion passed.
    """
    s = settings or VerdictSettings()
    judged = [
        criteria.reconstruction(reconstruction, baselines, s),
        criteria.sparsity(reconstruction, s),
        criteria.selectivity(selection, s),
        criteria.interpretability(features, emotions, s),
        criteria.causality(causality, emotions, s),
        criteria.monosemanticity(features, s),
        criteria.stability(stability, s),
        criteria.generalization(generalization, s),
        criteria.compositionality(compositionality, s),
        criteria.orthogonality(orthogonality, s),
        criteria.dead_features(reconstruction, s),
    ]
    verdict = {
        "go": all(c["passed"] for c in judged if c["must"]),
        "sae": sae,
        "criteria": judged,
    }
    return plain({**verdict, "next_steps": next_steps(verdict)})
