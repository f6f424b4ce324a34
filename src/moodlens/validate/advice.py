"""What to do about a criterion that failed (the roadmap's troubleshooting, in words)."""

from collections.abc import Mapping
from typing import Any

from moodlens.settings.verdict import NOT_MEASURED

_ADVICE = {
    "reconstruction": (
        "Reconstruction is poor on text the SAE has not seen: add more and more diverse prompts first; then lower "
        "l1_coefficient or raise k, raise expansion_factor, or train longer. A gap between train and test means "
        "memorising: a smaller dictionary or more text."
    ),
    "sparsity_high": "Too many features are active per text: raise l1_coefficient (1e-3 to 3e-3 or 1e-2) or lower k.",
    "sparsity_low": "Too few features are active per text: lower l1_coefficient or raise k.",
    "selectivity": (
        "Too few features hold an emotion on test groups: more prompts, and more emotion words and scenes (the "
        "test counts groups, not rows); a wider dictionary if few features are alive."
    ),
    "selectivity_uninformative": (
        "The selectivity threshold is met under shuffled labels too, so it says nothing here: too few independent "
        "groups or firings. Do not read the count; add prompts from more emotion words and scenes."
    ),
    "interpretability": (
        "Names do not predict where the features fire: raise sparsity or the dictionary size, train to convergence, "
        "or use more diverse prompts (500 and more)."
    ),
    "causality": (
        "Features follow emotion but do not move it more than matched random features do: choose features by their "
        "effect, look at correlated words that stand in for the emotion, or use the difference-in-means direction."
    ),
    "monosemanticity": "Features fire for more than their name: raise sparsity, or use a wider dictionary.",
    "stability": (
        "Few features come back under other seeds: use a narrower dictionary or architecture l1, and trust only the "
        "features whose stability is high (it is a column and a filter), or the families if they agree over seeds."
    ),
    "generalization": (
        "Families do not carry over to held-out words and scenes: vary style as well as emotion in the prompts, add "
        "words per emotion, and use larger validation and test splits."
    ),
    "compositionality": "Families of two emotions cancel each other: compose at lower doses, or orthogonalise them.",
    "orthogonality": "Emotion features fire together: raise sparsity, or merge them into their family.",
    "dead_features": (
        "Many features never fire: lower l1_coefficient, lower dead_feature_threshold so that they are revived more "
        "often, use a smaller dictionary, or add text."
    ),
}


def next_steps(verdict: Mapping[str, Any]) -> list[str]:
    """What to do about each criterion that was measured and failed, must-criteria first; [] when all is well."""
    steps = []
    for criterion in verdict["criteria"]:
        name = criterion["id"]
        if criterion["passed"] or criterion["value"] is None:
            continue
        if name == "sparsity":
            name = "sparsity_low" if criterion["details"]["too_few"] else "sparsity_high"
        elif criterion["uninformative"] and name == "selectivity":
            name = "selectivity_uninformative"
        elif criterion["uninformative"]:
            steps.append(
                f"{criterion['label']}: the control meets the threshold too, so it says nothing here."
            )
            continue
        steps.append(_ADVICE[name])
    absent = [c for c in verdict["criteria"] if c["value"] is None]
    unmeasured = [c["label"].lower() for c in absent if c["note"] == NOT_MEASURED]
    if unmeasured:
        steps.append(f"Not measured yet: {', '.join(unmeasured)}.")
    # Running a stage again does not help where there is nothing to measure.
    steps += [f"{c['label']}: {c['note']}." for c in absent if c["note"] != NOT_MEASURED]
    return steps
