"""Judging names: does a name say where its feature fires, on texts that did not make it, and better than other names?

A name is read without any label (:mod:`moodlens.features.names.reading`), and asked twice, of unseen texts:

- among the texts of the feature's own emotion: does a text that fires the feature read more like the name than one that
  does not? The emotion itself says nothing here, so only the rest of the name can tell.
- over all texts.

Both AUROCs must reach ``min_score``, and both must beat the names of other features, made by the same rule from their own
firings: those of its emotion in the first question, all of them in the second. (Scoring by detection: Paulo et al. 2024,
arXiv 2410.13928; there a language model reads the name.) Beside the count stands what it would be if names were dealt at
random among the named, or among the judged, features of each emotion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import Progress, plain
from moodlens.core.maps import spans
from moodlens.features.names.attribute import Attribution, activating_words
from moodlens.features.names.detect import (
    Detection,
    Trial,
    auroc_of_readings,
    decile_coverage,
    detect,
    others_mean,
    predicted_texts,
    reading_order,
)
from moodlens.features.names.make import Material, Named, check_shapes, make_names
from moodlens.features.names.words import Texts
from moodlens.settings.names import NameSettings
from moodlens.stats.ranks import firing
from moodlens.study.coded import Coded
from moodlens.study.records.names import NAME_COLUMNS, WORDS, DealtNames, NameEvidence, Names, TestedName

if TYPE_CHECKING:
    import polars as pl

FIRED_BY = 5
"""Words shown beside a name."""
RULE = (
    "A text is read without its label: a word of a name, or its concept, stands for what the train + val texts with it "
    "look like to the encoder, and an unseen text reads like the name as far as its embedding lies in that direction."
)


@dataclass(frozen=True)
class JudgedNames:
    """Names of features and what became of them on texts they had not seen."""

    table: "pl.DataFrame"
    """One row per feature of the SAE: :data:`moodlens.study.records.names.NAMES`."""
    words: "pl.DataFrame"
    """:data:`moodlens.study.records.names.WORDS`."""
    summary: Names


def name_features(
    table: "pl.DataFrame",
    coded: Coded,
    prompts: "pl.DataFrame | None",
    settings: NameSettings,
    *,
    seed: int,
    attribution: Attribution | None = None,
    rename: Callable[[Sequence[Named], Material], list[Named]] | None = None,
    progress: Progress | None = None,
) -> JudgedNames:
    """Name the emotion features, and others to compare with, and judge the names of the emotion features.

    Args:
        table: one row per feature with ``feature``, ``emotion`` and ``emotion_feature``.
        coded: the study's rows with embeddings and codes.
        prompts: its prompt table, for factors; None: none is known.
        settings: of making and judging.
        seed: of the other features, and of the names that are dealt.
        attribution: of scores to words; None: the study has no encoder.
        rename: gives some of the features other names, from the same material.

    Raises:
        BadInput: shapes disagree, or there are no texts to make names from or to judge them on.
    """
    import polars as pl

    check_shapes(table, coded)
    material = Material.of(coded, prompts, settings)
    named = make_names(
        table, coded.codes, material, settings, seed=seed, attribution=attribution, progress=progress
    )
    if rename is not None:
        named = rename(named, material)
    judged = judge_names(named, table, coded, material, settings, seed=seed)
    if attribution is None:
        return judged
    unseen = coded.rows.where(*settings.splits, kinds=None)
    strong = table.filter(table["emotion_feature"])["feature"].to_list()
    words = activating_words(
        attribution, material.silent(settings.min_lift), coded, unseen, strong, n_texts=settings.n_shown
    )
    most = words.filter(pl.col("rank") <= FIRED_BY).sort("feature", "rank").group_by("feature")
    fired_by = most.agg(pl.col("word").str.join(", ").alias("fired_by"))
    frame = judged.table.drop("fired_by").join(fired_by, on="feature", how="left", maintain_order="left")
    summary = judged.summary.model_copy(update={"attributed": True})
    return JudgedNames(frame.select(judged.table.columns), words, summary)


def judge_names(
    named: Sequence[Named],
    table: "pl.DataFrame",
    coded: Coded,
    material: Material,
    settings: NameSettings,
    *,
    seed: int,
) -> JudgedNames:
    """Judge names on texts that made none of them, beside dealt names.

    Args:
        named: from anywhere: :func:`moodlens.features.names.make.make_names`, a language model, people.
        table: one row per feature with ``feature``, ``emotion`` and ``emotion_feature``.
        coded: the study's rows; plain and neutral ones of ``settings.splits`` judge. Their labels only say which of them
            are of a feature's emotion; no name is read with them, nor with their concepts.
        material: the train + val texts, from which names are read.
        settings: ``q``, ``min_score``, ``n_shuffles``, ``splits``.
        seed: of the names that are dealt.

    Raises:
        BadInput: there are no texts to judge names on.
    """
    texts, numbers = Texts.of(coded.rows, None, settings.splits)
    label, n_emotions = texts.rows.label, texts.rows.n_emotions
    name_emotion = np.array([item.emotion for item in named], dtype=int)
    strong = table["emotion_feature"].to_numpy().astype(bool)
    judged = np.array([i for i, item in enumerate(named) if strong[item.feature]], dtype=int)
    features = np.array([named[i].feature for i in judged], dtype=int)
    active = coded.codes[np.ix_(numbers, features)]
    everywhere, within, own = _readings(named, judged, active > 0, (coded.x, numbers), label, material)
    # Where a feature fires in all texts of its emotion, or in none, nothing can be asked.
    asked = ~np.isnan(within[judged, np.arange(len(judged))])
    trial = Trial(everywhere[:, asked], within[:, asked], name_emotion, judged[asked])
    detected = detect(
        trial,
        n_emotions,
        q=settings.q,
        min_score=settings.min_score,
        n_shuffles=settings.n_shuffles,
        rng=np.random.default_rng(seed),
    )
    share = firing(coded.codes, material.numbers, features[asked]).mean(axis=0)
    place = reading_order(own[:, asked])
    outcome = _Outcome(texts, active[:, asked], place, share, trial, detected)
    return JudgedNames(outcome.table(len(table), named), WORDS.empty(), outcome.summary(named, settings))


def _readings(
    named: Sequence[Named],
    judged: np.ndarray,
    fires: np.ndarray,
    read: tuple[np.ndarray, np.ndarray],
    label: np.ndarray,
    material: Material,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What n texts (``read``: embeddings and the rows of them) say of m names and j judged features, some names at a time.

    Returns:
        AUROC of each name for each feature's firing, over all texts and among those of the feature's emotion (NaN for
        another emotion's names), ``(m, j)`` both; and how much each text reads like each judged feature's own name, ``(n, j)``.
    """
    emotion = np.array([item.emotion for item in named], dtype=int)
    everywhere, within = (np.full((len(named), len(judged)), np.nan) for _ in range(2))
    own = np.empty(fires.shape)
    for part in spans(len(label), len(named)):
        reading = material.reader.read([item.name for item in named[part]], emotion[part].tolist(), *read)
        everywhere[part] = auroc_of_readings(reading, fires)
        for c in np.unique(emotion[part]):
            rivals, names, texts = emotion[judged] == c, np.flatnonzero(emotion[part] == c), label == c
            if rivals.any():
                inner = auroc_of_readings(reading[np.ix_(texts, names)], fires[texts][:, rivals])
                within[np.ix_(part.start + names, rivals)] = inner
        here = (part.start <= judged) & (judged < part.stop)
        own[:, here] = reading[:, judged[here] - part.start]
    return everywhere, within, own


@dataclass(frozen=True)
class _Outcome:
    """j judged names on n texts, with all that was measured."""

    texts: Texts
    active: np.ndarray
    """(n, j) activations of the judged features"""
    place: np.ndarray
    """(n, j) places of the texts among those that read like the own names"""
    share: np.ndarray
    """(j,) of the train + val texts in which the feature fires"""
    trial: Trial
    found: Detection

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n, j) bool, by the own name."""
        return predicted_texts(self.place, self.share)

    @cached_property
    def covers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per tenth of each feature's firings: what the own name predicts, and the mean of the emotion's other names."""
        out = []
        for j, emotion in enumerate(self.trial.emotion):
            rivals = np.flatnonzero(self.trial.emotion == emotion)
            # Every name predicts as many texts as the feature asks for: one of a feature that fires often gains nothing.
            predicted = predicted_texts(self.place[:, rivals], np.full(len(rivals), self.share[j]))
            cover = decile_coverage(predicted.T, self.active[:, j])
            others = cover[rivals != j]
            mean = others.mean(axis=0) if len(others) else np.full(cover.shape[1], np.nan)
            out.append((cover[rivals == j][0], mean))
        return out

    def tested(self, j: int) -> TestedName:
        """What became of a name."""
        groups, label, trial = self.texts.rows.group, self.texts.rows.label, self.trial
        fires, own = self.active[:, j] > 0, label == trial.emotion[j]
        hit = fires & self.predicted[:, j]
        rivals = np.flatnonzero((trial.emotion == trial.emotion[j]) & (np.arange(len(trial.own)) != j))
        score = trial.within[trial.own, j]
        values = {
            "n": len(fires),
            "n_emotion": own.sum(),
            "n_firing": fires.sum(),
            "n_firing_emotion": (fires & own).sum(),
            "n_predicted": self.predicted[:, j].sum(),
            "n_hit": hit.sum(),
            "groups_firing": len(np.unique(groups[fires])),
            "groups_hit": len(np.unique(groups[hit])),
            "p_emotion": self.found.p_emotion[j],
            "p_all": self.found.p_all[j],
            "better_judged": (score[rivals] >= score[j]).mean() if len(rivals) else None,
        }
        return TestedName.model_validate(plain(values))

    def table(self, n_features: int, named: Sequence[Named]) -> "pl.DataFrame":
        """One row per feature of the SAE; null where a feature has no name, or its name no test."""
        import polars as pl

        trial, detected = self.trial, self.found
        hits = (self.predicted & (self.active > 0)).sum(axis=0)
        place = {int(i): j for j, i in enumerate(trial.own)}
        control = others_mean(trial.within[trial.own], trial)
        values: dict[str, list[object]] = {name: [] for name in NAME_COLUMNS}
        for i, item in enumerate(named):
            j = place.get(i)
            cover = self.covers[j] if j is not None else (np.empty(0), np.empty(0))
            evidence = NameEvidence(
                words=item.name.words,
                concept=item.name.concept,
                learned=item.learned,
                tested=self.tested(j) if j is not None else None,
                coverage=tuple(cover[0].tolist()),
                coverage_control=tuple(cover[1].tolist()),
            )
            row: dict[str, object] = {"name": str(item.name), "name_evidence": evidence.model_dump_json()}
            if j is not None:
                row |= {
                    "name_score": trial.within[i, j],
                    "name_score_all": trial.everywhere[i, j],
                    "name_control": control[j],
                    "name_precision": hits[j] / self.predicted[:, j].sum(),
                    "name_recall": hits[j] / (self.active[:, j] > 0).sum(),
                    "name_q": detected.q[j],
                    "interpretable": bool(detected.holds[j]),
                    "monosemanticity": cover[0].mean(),
                    "monosemanticity_control": cover[1].mean(),
                }
            for name, cells in values.items():
                cells.append(row.get(name))
        schema = {name: getattr(pl, declared.dtype) for name, declared in NAME_COLUMNS.items()}
        result = pl.DataFrame(
            {"feature": [item.feature for item in named], **values},
            schema={"feature": pl.Int64, **schema},
            strict=False,
        )
        floats = [name for name, declared in NAME_COLUMNS.items() if declared.dtype == "Float64"]
        result = result.with_columns(pl.col(name).fill_nan(None) for name in floats)
        every = pl.DataFrame({"feature": np.arange(n_features, dtype=np.int64)})
        return every.join(result, on="feature", how="left", maintain_order="left")

    def summary(self, named: Sequence[Named], settings: NameSettings) -> Names:
        """Counts of names that hold, beside their controls; medians are over the judged features."""
        trial, detected, emotions = self.trial, self.found, self.texts.rows.emotions
        column = np.arange(len(trial.own))
        hits = (self.predicted & (self.active > 0)).sum(axis=0)

        def per_emotion(emotion: np.ndarray) -> dict[str, int]:
            return {name: int((emotion == c).sum()) for c, name in enumerate(emotions)}

        def dealt(counts: np.ndarray) -> DealtNames:
            total = counts.sum(axis=1)
            return DealtNames(
                n_deals=len(counts),
                mean=float(total.mean()),
                p95=float(np.percentile(total, 95)),
                per_emotion_p95={
                    name: float(np.percentile(counts[:, c], 95)) for c, name in enumerate(emotions)
                },
            )

        return Names(
            rule=RULE,
            splits=settings.splits,
            n_texts=len(self.texts.rows),
            n_named=len(named),
            n_judged=len(trial.own),
            n_interpretable=int(detected.holds.sum()),
            per_emotion=per_emotion(trial.emotion[detected.holds]),
            judged_per_emotion=per_emotion(trial.emotion),
            named_per_emotion=per_emotion(trial.name_emotion),
            with_concept=sum(bool(named[i].name.concept) for i in trial.own),
            attributed=False,
            q=settings.q,
            min_score=settings.min_score,
            score=_median(trial.within[trial.own, column]),
            control=_median(others_mean(trial.within[trial.own], trial)),
            score_all=_median(trial.everywhere[trial.own, column]),
            precision=_median(hits / np.maximum(self.predicted.sum(axis=0), 1)),
            recall=_median(hits / np.maximum((self.active > 0).sum(axis=0), 1)),
            monosemanticity=_median(np.array([own.mean() for own, _ in self.covers])),
            monosemanticity_control=_median(np.array([other.mean() for _, other in self.covers])),
            dealt=dealt(detected.dealt),
            dealt_judged=dealt(detected.dealt_judged),
        )


def _median(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None
