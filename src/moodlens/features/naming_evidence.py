"""What is written down about names: the table, the evidence of each, the summary."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from moodlens.core import plain
from moodlens.features.detection import Detection, Scores, decile_coverage
from moodlens.features.phrases import Name
from moodlens.settings.names import NameSettings

if TYPE_CHECKING:
    import polars as pl

RULE = (
    "A text is predicted to fire the feature if it holds one of the name's words (any inflection) or belongs to one of "
    "its classes. The emotion in a name is read with the text's own label."
)


class Made(Protocol):
    """A named feature; see :class:`moodlens.features.names.Made`."""

    @property
    def feature(self) -> int: ...
    @property
    def name(self) -> Name: ...
    @property
    def learned(self) -> dict[str, Any]: ...


def evidence(
    made: Sequence[Made],
    groups: np.ndarray,
    predicted: np.ndarray,
    active: np.ndarray,
    scores: Scores,
    found: Detection,
    within: np.ndarray,
    emotion: np.ndarray,
    alone: np.ndarray,
) -> list[dict[str, Any]]:
    """One dict per name: what it was made from (train + val) and what became of it (test)."""
    out = []
    for i, one in enumerate(made):
        fires = active[:, i] > 0
        cover = decile_coverage(predicted, active[:, i])
        others = np.arange(len(made)) != i
        same = others & (emotion == emotion[i])
        hit = fires & predicted[i]
        out.append(
            {
                "words": list(one.name.words),
                "classes": [str(kind) for kind in one.name.kinds],
                "claims_emotion": bool(one.name.emotions),
                "learned": one.learned,
                "tested": {
                    "n": len(fires),
                    "n_firing": int(fires.sum()),
                    "n_predicted": int(predicted[i].sum()),
                    "n_hit": int(hit.sum()),
                    "groups_firing": len(np.unique(groups[fires])),
                    "groups_hit": len(np.unique(groups[hit])),
                    "p_any": found.p_any[i],
                    "p_same": found.p_same[i],
                    "q_same": found.q_same[i],
                    "specific": bool(found.specific[i]),
                    "within_emotion": within[i],
                    "within_emotion_control": found.control_same[i],
                    "emotion_alone": alone[i],
                },
                "coverage": cover[i].tolist(),
                "coverage_control": _mean(cover[others]),
                "coverage_control_same_emotion": _mean(cover[same]),
            }
        )
    return out


def _mean(cover: np.ndarray) -> list[float]:
    return cover.mean(axis=0).tolist() if len(cover) else []


def names_table(
    n_features: int,
    made: Sequence[Made],
    scores: Scores,
    found: Detection,
    judged: np.ndarray,
    notes: list[dict[str, Any]],
) -> "pl.DataFrame":
    """One row per feature of the SAE; null where a feature has no name, or its name no test."""
    import polars as pl

    own = np.arange(len(made))
    features = [one.feature for one in made]
    columns = {
        "name_score": scores.balanced[own, own],
        "name_precision": scores.precision[own, own],
        "name_recall": scores.recall[own, own],
        "name_control": found.control_any,
        "name_q": found.q,
        "monosemanticity": [_average(note["coverage"]) for note in notes],
        "monosemanticity_control": [_average(note["coverage_control"]) for note in notes],
    }
    rows = pl.DataFrame(
        {
            "feature": pl.Series(features, dtype=pl.Int64),
            "name": pl.Series([str(one.name) or None for one in made], dtype=pl.String),
            **{
                key: pl.Series(list(value), dtype=pl.Float64).fill_nan(None) for key, value in columns.items()
            },
            "interpretable": pl.Series(
                [
                    bool(good) if asked else None
                    for good, asked in zip(found.interpretable, judged, strict=True)
                ],
                dtype=pl.Boolean,
            ),
            "name_evidence": pl.Series(
                [json.dumps(plain(note), ensure_ascii=False) for note in notes], dtype=pl.String
            ),
        }
    )
    every = pl.DataFrame({"feature": np.arange(n_features, dtype=np.int64)})
    return every.join(rows, on="feature", how="left", maintain_order="left").select(
        "feature",
        "name",
        *(key for key in columns if key.startswith("name")),
        "interpretable",
        "monosemanticity",
        "monosemanticity_control",
        "name_evidence",
    )


def _average(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def summarise(
    made: Sequence[Made],
    scores: Scores,
    found: Detection,
    judged: np.ndarray,
    within: np.ndarray,
    emotion: np.ndarray,
    emotions: tuple[str, ...],
    alone: np.ndarray,
    notes: list[dict[str, Any]],
    settings: NameSettings,
    prompts: "pl.DataFrame",
) -> dict[str, Any]:
    """Counts beside their controls."""
    own = np.arange(len(made))
    balanced, precision, recall = (m[own, own] for m in (scores.balanced, scores.precision, scores.recall))
    claims = np.array([bool(one.name.emotions) for one in made], dtype=bool)

    def per(mask: np.ndarray) -> dict[str, int]:
        return {name: int((mask & (emotion == c)).sum()) for c, name in enumerate(emotions)}

    def dealt(counts: np.ndarray) -> dict[str, Any]:
        full = np.zeros((len(counts), len(emotions)), dtype=int)
        full[:, : counts.shape[1]] = counts
        total = full.sum(axis=1)
        return {
            "mean": float(total.mean()),
            "p95": float(np.percentile(total, 95)),
            "per_emotion_p95": {e: float(np.percentile(full[:, c], 95)) for c, e in enumerate(emotions)},
        }

    return {
        "rule": RULE,
        "splits": list(settings.splits),
        "n_texts": len(prompts),
        "n_named": len(made),
        "n_judged": int(judged.sum()),
        "n_interpretable": int(found.interpretable.sum()),
        "per_emotion": per(found.interpretable),
        "judged_per_emotion": per(judged),
        "n_specific": int(found.specific.sum()),
        "specific_per_emotion": per(found.specific),
        "claim_emotion": int((judged & claims).sum()),
        "q": settings.q,
        "balanced_accuracy": _median(balanced[judged]),
        "precision": _median(precision[judged]),
        "recall": _median(recall[judged]),
        "control_any": _median(found.control_any[judged]),
        "within_emotion": _median(within[judged]),
        "within_emotion_control": _median(found.control_same[judged]),
        "emotion_alone": _median(alone[judged]),
        "monosemanticity": _median(np.array([_average(n["coverage"]) for n in notes])[judged]),
        "monosemanticity_control": _median(
            np.array([_average(n["coverage_control"]) for n in notes])[judged]
        ),
        "shuffled": dealt(found.shuffled_any),
        "shuffled_same_emotion": dealt(found.shuffled_same),
    }


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if len(values) else float("nan")
