"""Every number in the prose is that of this study's settings: change them all, and no default is left in the text."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from helpers.report_study import composed, make_study
from moodlens.report.document import Absent, Bullets, Method, Paragraph, Picture, Table
from moodlens.report.numbers import quantile
from moodlens.settings.study import Settings

CHANGED = {
    "seeds": 3,
    "core": {"least": 0.47, "claim": 0.63},
    "features": {
        "n_permutations": 331, "q": 0.043, "min_selectivity": 1.37, "min_firings": 7, "min_groups": 3,
        "n_shuffles": 23, "family_size": 9, "min_stability": 0.13, "min_correlation": 0.067,
    },
    "validation": {
        "phase0": {"n_permutations": 137, "n_shuffles": 13},
        "stability": {"reappearance": 0.671},
        "causal": {
            "n_controls": 431, "n_random_directions": 173, "n_bootstrap": 937, "control_quantile": 0.973, "q": 0.047,
            "doses": (0.0, 1.0, 3.5),
        },
        "pairs": {"n_controls": 389, "n_bootstrap": 911, "control_quantile": 0.967, "max_correlation": 0.271},
        "transfer": {"n_bootstrap": 887},
    },
    "verdict": {
        "min_explained_variance": 0.737, "min_active_share": 0.013, "max_active_share": 0.037,
        "min_emotion_features": 43, "min_interpretable": 11, "min_causal": 13, "min_monosemanticity": 0.531,
        "min_stable_share": 0.713, "min_bootstrap_share": 0.577, "max_behind_dense": 0.0153, "max_denied_percentile": 57.3,
        "min_concept_features": 17, "min_concepts": 19, "min_held_out_auroc": 0.743,
        "min_compositional_share": 0.727, "min_independent_share": 0.871, "max_dead_share": 0.073,
    },
}  # fmt: skip
QUOTED = {
    "core.least", "core.claim",
    "features.q", "features.min_selectivity", "features.n_shuffles", "features.family_size",
    "validation.stability.reappearance", "validation.causal.n_controls", "validation.causal.n_random_directions",
    "validation.causal.control_quantile", "validation.pairs.control_quantile", "validation.pairs.max_correlation",
    *(f"verdict.{name}" for name in CHANGED["verdict"]),
}  # fmt: skip
"""Settings that the report says in words."""
RULES = (
    "Must",
    "Nice",
    "What the verdict",
    "How many features pass",
    "Interventions",
    "Among",
    "Phase 0",
    "AUROC on",
)
"""Tables whose rows are named by rules rather than by data."""
FIXED = (
    "5 % to 95 %", "95 %", "5th to 95th percentile", "95th percentile", "50th percentile", "5-fold", "its first 5", "(fires + 0.5)",
    "near 0.5", "0.5 is chance",  "selectivity > 2, 5 firings, no test", "500 and more", "over 2 seeds",
)  # fmt: skip
"""What is said with a number that no setting decides."""
DATA = (
    "SAEs trained", "claimed features, mean over", "Advice: ", "Best ", "emotion features among", "Strongest texts", "The machine's name", "Families beside",
    "texts in", "fewest over the emotions", "independent groups judge", "One line for each of", "95th percentile of",
)  # fmt: skip
"""How sentences begin, or go on, that give counts and choices of this study."""


def prose(blocks: Any) -> Iterator[str]:
    """Every sentence that the program wrote: no cells of tables but names of rows, thresholds and notes."""
    for block in blocks:
        if isinstance(block, Paragraph):
            yield block.text
        elif isinstance(block, Bullets):
            yield from block.items
        elif isinstance(block, Picture):
            yield from (block.caption, block.alt)
        elif isinstance(block, Method):
            yield block.meaning
        elif isinstance(block, Absent):
            yield block.what
        elif isinstance(block, Table):
            yield from (block.caption, block.note, *block.head)
            if block.caption.startswith(RULES):
                for row in block.rows:
                    yield from (str(cell) for i, cell in enumerate(row) if i not in block.numeric)


def leaves(model: BaseModel, start: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{start}{name}.")
        else:
            yield start + name, value


def written(value: float) -> list[str]:
    """How prose may write a number, with all its digits."""
    if isinstance(value, int):
        return [f"{value:,}"]
    return [f"{value:g}", f"{100 * value:g}%", f"{100 * value:g} %", quantile(value)]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> list[str]:
    folder = make_study(tmp_path_factory.mktemp("settings") / "s", **CHANGED)
    report = composed(folder)
    return [text for text in prose(report.every_block()) if text and not any(word in text for word in DATA)]


def says(text: str, number: str) -> bool:
    return re.search(rf"(?<![\w.,-]){re.escape(number)}(?![\d%]|[.,]\d)", text) is not None


def numeric_settings(settings: Settings) -> dict[str, float]:
    return {
        name: value
        for name, value in leaves(settings)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def test_what_is_said_is_what_was_set(sentences):
    values = numeric_settings(Settings.model_validate(CHANGED))
    missing = {
        name
        for name in QUOTED
        if not any(says(text, way) for text in sentences for way in written(values[name]))
    }
    assert not missing


def test_no_default_is_said(sentences):
    defaults, values = numeric_settings(Settings()), numeric_settings(Settings.model_validate(CHANGED))
    left = []
    for text in sentences:
        bare = text
        for phrase in FIXED:
            bare = bare.replace(phrase, "")
        for name in QUOTED:
            assert defaults[name] != values[name], name
            left += [(name, way, text) for way in written(defaults[name]) if says(bare, way)]
    assert not left, "\n".join(f"{name}: {way!r} in {text!r}" for name, way, text in left)
