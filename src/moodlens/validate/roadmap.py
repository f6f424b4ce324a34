"""The roadmap's own must-criteria in its own words: what they say of this study, and which controls meet them too.

They decide nothing. Dictionaries that learned nothing and shuffled labels meet some of them, which is why the verdict
asks for more; they stay visible so that a reader of the roadmap finds its numbers.
"""

from moodlens.study.records.verdict import RoadmapCriterion
from moodlens.validate.criterion import Measured

MAX_MSE = 0.01
ACTIVE = (50, 200)
MIN_SELECTIVE = 50
MIN_PER_EMOTION = 10


def roadmap(m: Measured) -> tuple[RoadmapCriterion, ...]:
    """Reconstruction, sparsity, selectivity, interpretability and causality as the roadmap states them."""
    return (_reconstruction(m), _sparsity(m), _selectivity(m), _interpretability(m), _causality(m))


def _reconstruction(m: Measured) -> RoadmapCriterion:
    threshold = f"MSE < {MAX_MSE:g} on test rows"
    if m.reconstruction is None:
        return _unmeasured("Reconstruction quality", threshold)
    mse, mean = m.reconstruction.held_out.mse, m.reconstruction.baselines.mean.mse
    fooled = {f"predicting the train mean (MSE {mean:.3g})": mean < MAX_MSE}
    return _said("Reconstruction quality", threshold, mse, mse < MAX_MSE, fooled)


def _sparsity(m: Measured) -> RoadmapCriterion:
    threshold = f"L0 of {ACTIVE[0]} to {ACTIVE[1]}"
    if m.reconstruction is None:
        return _unmeasured("Sparsity", threshold)
    l0 = m.reconstruction.held_out.l0
    return _said("Sparsity", threshold, l0, ACTIVE[0] <= l0 <= ACTIVE[1], {"any code with k set so": True})


def _selectivity(m: Measured) -> RoadmapCriterion:
    if m.selection is None:
        return _unmeasured("Selectivity", f">= {MIN_SELECTIVE} features with selectivity > 2")
    alone = m.selection.threshold_only
    threshold = f">= {MIN_SELECTIVE} features with selectivity > {alone.min_selectivity:g}, on all rows, without a test"
    fooled = {f"shuffled labels ({alone.shuffled_mean:.0f})": alone.shuffled_mean >= MIN_SELECTIVE}
    if m.untrained is not None:
        fooled |= {
            f"one {kind.replace('-', ' ')} dictionary ({claims.n_claimed}, tested)": claims.n_claimed
            >= MIN_SELECTIVE
            for kind, claims in m.untrained.alone.items()
        }
    return _said("Selectivity", threshold, alone.count, alone.count >= MIN_SELECTIVE, fooled)


def _interpretability(m: Measured) -> RoadmapCriterion:
    threshold = f">= {MIN_PER_EMOTION} interpretable features of each emotion"
    if m.names is None:
        return _unmeasured("Interpretability", threshold)
    return _counted("Interpretability", threshold, m, m.names.per_emotion)


def _causality(m: Measured) -> RoadmapCriterion:
    threshold = f">= {MIN_PER_EMOTION} features of each emotion whose intervention changes the reconstruction as expected"
    if m.causal is None:
        return _unmeasured("Causality", threshold)
    return _counted("Causality", threshold, m, m.causal.per_emotion)


def _counted(label: str, threshold: str, m: Measured, per: dict[str, int]) -> RoadmapCriterion:
    least = min(per.get(emotion, 0) for emotion in m.emotions)
    return _said(label, threshold, least, least >= MIN_PER_EMOTION, {})


def _said(label: str, threshold: str, value: float, met: bool, fooled: dict[str, bool]) -> RoadmapCriterion:
    names = tuple(name for name, also in fooled.items() if also)
    return RoadmapCriterion(label=label, threshold=threshold, value=value, met=met, fooled_by=names)


def _unmeasured(label: str, threshold: str) -> RoadmapCriterion:
    return RoadmapCriterion(label=label, threshold=threshold, value=None, met=None, fooled_by=())
