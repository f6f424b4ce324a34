"""Judging names: does a name say where its feature fires, on texts that did not make it, and better than other names?

The rule is :func:`moodlens.features.names.words.predictions`: a text is predicted if it holds one of the name's
words (any inflection) or belongs to one of its classes. The emotion in a name is read with the text's own
label, as a reader who knows the emotions would. (Scoring by detection: Paulo et al. 2024, arXiv 2410.13928.)

The control is the names of other features, judged on the same feature. Under "the name says nothing", the
own name is one of them, whatever the texts and their groups are, so its rank is an exact p-value. Two
questions are asked:

- *any*: does the name beat the names of all other features, on all texts? "Calm" can pass by naming the
  right emotion.
- *same*: among the texts of its own emotion alone, where the emotion's word says nothing, do the rest of its
  words and classes beat those of other features of that emotion? A name that passes is *specific*.

A name that claims an emotion is held to *any*; one that does not, to both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import Progress, plain
from moodlens.features.names.detect import Detection, Scores, decile_coverage, detect, score_all
from moodlens.features.names.make import Named, check_shapes, make_names
from moodlens.features.names.words import EMOTION, Kind, Name, StemIndex, Texts, predictions
from moodlens.settings.names import NameSettings
from moodlens.study.records.names import NAME_COLUMNS, DealtNames, NameEvidence, Names, TestedName
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    import polars as pl

RULE = (
    "A text is predicted to fire the feature if it holds one of the name's words (any inflection) or belongs to one of "
    "its classes. The emotion in a name is read with the text's own label."
)


@dataclass(frozen=True)
class JudgedNames:
    """Names of features and what became of them on texts they had not seen."""

    table: "pl.DataFrame"
    """One row per feature of the SAE: :data:`moodlens.study.records.names.NAMES`."""
    summary: Names


def name_features(
    table: "pl.DataFrame",
    codes: np.ndarray,
    rows: Rows,
    prompts: "pl.DataFrame | None",
    settings: NameSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> JudgedNames:
    """Name the emotion features, and others to compare with, and judge the names of the emotion features.

    Arguments and errors are those of :func:`moodlens.features.names.make.make_names` and :func:`judge_names`.
    """
    named = make_names(table, codes, rows, prompts, settings, seed=seed, progress=progress)
    return judge_names(named, table, codes, rows, prompts, settings, seed=seed)


def judge_names(
    named: Sequence[Named],
    table: "pl.DataFrame",
    codes: np.ndarray,
    rows: Rows,
    prompts: "pl.DataFrame | None",
    settings: NameSettings,
    *,
    seed: int,
) -> JudgedNames:
    """Detection on texts that made no name, beside shuffled names.

    Args:
        named: from anywhere: :func:`moodlens.features.names.make.make_names`, a language model, people.
        table: one row per feature with ``feature``, ``emotion`` and ``emotion_feature``.
        codes: ``(n, d_sae)`` activations of ``rows``.
        rows: of the study; plain and neutral ones of ``settings.splits`` judge.
        prompts: its prompt table, for the factors that a name may claim.
        settings: ``q``, ``n_shuffles``, ``specific_only``, ``splits``.
        seed: of the shuffled names.

    Raises:
        BadInput: shapes disagree, or there are no texts to judge names on.
    """
    check_shapes(table, codes, rows)
    texts, numbers = Texts.of(rows, prompts, settings.splits)
    features = np.array([item.feature for item in named], dtype=int)
    active = codes[numbers][:, features]
    index = StemIndex(texts.rows.texts.tolist())
    names = [item.name for item in named]
    predicted = predictions(names, texts, index)
    scores = score_all(predicted, active > 0)
    emotion_of = dict(table.select("feature", "emotion").iter_rows())
    emotion = np.array([rows.emotions.index(emotion_of[f]) for f in features], dtype=int)
    inner = predictions([name.without_emotion() for name in names], texts, index)
    within = np.full(scores.balanced.shape, np.nan)
    for c in range(rows.n_emotions):
        own, of_emotion = emotion == c, texts.rows.label == c
        within[:, own] = score_all(inner[:, of_emotion], active[of_emotion][:, own] > 0).balanced
    strong = table["emotion_feature"].to_numpy().astype(bool)[features]
    judged = strong & ~np.isnan(np.diagonal(scores.balanced))
    detection = detect(
        scores.balanced,
        within,
        emotion,
        np.array([bool(name.emotions) for name in names], dtype=bool),
        judged,
        q=settings.q,
        n_shuffles=settings.n_shuffles,
        specific_only=settings.specific_only,
        rng=np.random.default_rng(seed),
    )
    bare = predictions([Name(kinds=(Kind(((EMOTION, e),)),)) for e in rows.emotions], texts, index)
    alone = score_all(bare, active > 0).balanced[emotion, np.arange(len(features))]
    trial = _Trial(texts, predicted, active, emotion, judged, scores, detection, np.diagonal(within), alone)
    evidence = [trial.evidence(i, item) for i, item in enumerate(named)]
    return JudgedNames(
        trial.table(len(table), named, evidence), trial.summary(evidence, settings, rows.emotions)
    )


@dataclass(frozen=True)
class _Trial:
    """d names on n texts, with all that was measured."""

    texts: Texts
    predicted: np.ndarray
    """(d, n) bool"""
    active: np.ndarray
    """(n, d) activations of the named features"""
    emotion: np.ndarray
    """(d,) int"""
    judged: np.ndarray
    """(d,) bool"""
    scores: Scores
    detection: Detection
    within: np.ndarray
    """(d,) balanced accuracy of the own name among the texts of its emotion"""
    alone: np.ndarray
    """(d,) balanced accuracy of the emotion as the whole name"""

    def evidence(self, i: int, named: Named) -> NameEvidence:
        """What name i was made from (train + val) and what became of it."""
        groups, detection = self.texts.rows.group, self.detection
        fires = self.active[:, i] > 0
        hit = fires & self.predicted[i]
        cover = decile_coverage(self.predicted, self.active[:, i])
        others = np.arange(len(self.emotion)) != i
        tested = {
            "n": len(fires),
            "n_firing": fires.sum(),
            "n_predicted": self.predicted[i].sum(),
            "n_hit": hit.sum(),
            "groups_firing": len(np.unique(groups[fires])),
            "groups_hit": len(np.unique(groups[hit])),
            "p_any": detection.p_any[i],
            "p_same": detection.p_same[i],
            "q_same": detection.q_same[i],
            "specific": detection.specific[i],
            "within_emotion": self.within[i],
            "within_emotion_control": detection.control_same[i],
            "emotion_alone": self.alone[i],
        }
        return NameEvidence(
            words=named.name.words,
            classes=tuple(str(kind) for kind in named.name.kinds),
            claims_emotion=bool(named.name.emotions),
            learned=named.learned,
            tested=TestedName.model_validate(plain(tested)),
            coverage=tuple(cover[i].tolist()),
            coverage_control=_mean_rows(cover[others]),
            coverage_control_same_emotion=_mean_rows(cover[others & (self.emotion == self.emotion[i])]),
        )

    def table(self, n_features: int, named: Sequence[Named], evidence: list[NameEvidence]) -> "pl.DataFrame":
        """One row per feature of the SAE; null where a feature has no name, or its name no test."""
        import polars as pl

        own = np.arange(len(named))
        verdict = [
            bool(good) if asked else None
            for good, asked in zip(self.detection.interpretable, self.judged, strict=True)
        ]
        columns = {
            "name": [str(item.name) or None for item in named],
            "name_score": self.scores.balanced[own, own],
            "name_precision": self.scores.precision[own, own],
            "name_recall": self.scores.recall[own, own],
            "name_control": self.detection.control_any,
            "name_q": self.detection.q,
            "interpretable": verdict,
            "monosemanticity": [_mean(item.coverage) for item in evidence],
            "monosemanticity_control": [_mean(item.coverage_control) for item in evidence],
            "name_evidence": [item.model_dump_json() for item in evidence],
        }
        made = pl.DataFrame(
            {
                "feature": pl.Series([item.feature for item in named], dtype=pl.Int64),
                **{
                    name: pl.Series(list(columns[name]), dtype=getattr(pl, column.dtype))
                    for name, column in NAME_COLUMNS.items()
                },
            }
        ).with_columns(pl.col(pl.Float64).fill_nan(None))
        every = pl.DataFrame({"feature": np.arange(n_features, dtype=np.int64)})
        return every.join(made, on="feature", how="left", maintain_order="left")

    def summary(
        self, evidence: list[NameEvidence], settings: NameSettings, emotions: tuple[str, ...]
    ) -> Names:
        """Counts beside their controls."""
        own, judged, detection = np.arange(len(evidence)), self.judged, self.detection
        claims = np.array([item.claims_emotion for item in evidence], dtype=bool)

        def per(mask: np.ndarray) -> dict[str, int]:
            return {name: int((mask & (self.emotion == c)).sum()) for c, name in enumerate(emotions)}

        def dealt(counts: np.ndarray) -> DealtNames:
            full = np.zeros((len(counts), len(emotions)), dtype=int)
            full[:, : counts.shape[1]] = counts
            edges = np.percentile(full, 95, axis=0).tolist()
            return DealtNames(
                mean=float(full.sum(axis=1).mean()),
                p95=float(np.percentile(full.sum(axis=1), 95)),
                per_emotion_p95=dict(zip(emotions, edges, strict=True)),
            )

        medians = {
            "balanced_accuracy": self.scores.balanced[own, own],
            "precision": self.scores.precision[own, own],
            "recall": self.scores.recall[own, own],
            "control_any": detection.control_any,
            "within_emotion": self.within,
            "within_emotion_control": detection.control_same,
            "emotion_alone": self.alone,
            "monosemanticity": np.array([_mean(item.coverage) for item in evidence]),
            "monosemanticity_control": np.array([_mean(item.coverage_control) for item in evidence]),
        }
        summary = {
            "rule": RULE,
            "splits": settings.splits,
            "n_texts": len(self.texts.rows),
            "n_named": len(evidence),
            "n_judged": judged.sum(),
            "n_interpretable": detection.interpretable.sum(),
            "per_emotion": per(detection.interpretable),
            "judged_per_emotion": per(judged),
            "n_specific": detection.specific.sum(),
            "specific_per_emotion": per(detection.specific),
            "claim_emotion": (judged & claims).sum(),
            "q": settings.q,
            **{name: _median(values[judged]) for name, values in medians.items()},
            "shuffled": dealt(detection.shuffled_any),
            "shuffled_same_emotion": dealt(detection.shuffled_same),
        }
        return Names.model_validate(plain(summary))


def _mean_rows(cover: np.ndarray) -> tuple[float, ...]:
    return tuple(cover.mean(axis=0).tolist()) if len(cover) else ()


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
