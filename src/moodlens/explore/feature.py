"""The page of one feature: what fires it, what should and does not, its words, neighbours, twins, causes and clips."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from moodlens.core.labels import NEUTRAL
from moodlens.explore.clips import clips_of
from moodlens.explore.explored import Explored, short, shorts
from moodlens.explore.feature_records import (
    AtConcept,
    AtEmotion,
    CausalPanel,
    Effect,
    FeaturePage,
    Histogram,
    Near,
    Shown,
    Tenth,
    TextFacts,
    Together,
    Twin,
    WordPart,
)
from moodlens.explore.spans import attributed
from moodlens.features.inspect import ShownText, TopTexts, lowest_texts, top_texts
from moodlens.stats.contrast import unit_rows
from moodlens.stats.correlation import UnitColumns
from moodlens.stats.ranks import auroc
from moodlens.study.records.causal import INTERVENTIONS, Causal
from moodlens.study.records.names import WORDS, NameEvidence

TEXTS = 10
"""In a list."""
NEAR = 8
BINS = 24


def feature_page(explored: Explored, feature: int, *, exported: bool = False) -> FeaturePage:
    """Everything on a feature.

    Args:
        explored: the study.
        feature: its number.
        exported: for a file, which holds the texts once.

    Raises:
        BadInput: there is no such feature.
    """
    activation, texts_shown = _shown(explored, explored.check(feature))
    rows = explored.study.rows[explored.test]
    lean = _lean(explored, feature)
    low = lowest_texts(activation, rows, lean, TEXTS, explored.study.seed)
    claimed = feature in explored.claimed
    top, deciles = _with_words(explored, feature, texts_shown, words=explored.has("encoder"))
    misses, low_shown = (
        tuple(_plain(explored, text) for text in texts) for texts in (texts_shown.misses, low)
    )
    page = FeaturePage(
        feature=feature,
        emotions=_emotions(explored, activation),
        concepts=_concepts(explored, activation),
        n_rows=texts_shown.n_rows,
        n_active=texts_shown.n_active,
        n_emotion=texts_shown.n_emotion,
        n_missed=texts_shown.n_missed,
        histogram=_histogram(explored, activation),
        top=top,
        deciles=deciles,
        misses=misses,
        low=low_shown,
        words=_words(explored, feature),
        neighbours=_neighbours(explored, feature),
        together=_together(explored, feature),
        twins=_twins(explored, feature),
        causal=_causal(explored, feature) if claimed else None,
        name_evidence=_evidence(explored, feature),
        clips=clips_of(explored, feature, exported=exported),
    )
    if exported:
        return page
    return page.model_copy(update={"texts": text_facts(explored, shown_rows(page))})


def page_texts(explored: Explored, feature: int) -> list[str]:
    """The texts of a page whose words are told."""
    texts_shown = _shown(explored, feature)[1]
    return [text.text for text in (*texts_shown.top, *texts_shown.deciles)]


def shown_rows(page: FeaturePage) -> list[int]:
    """Rows of the texts on a page, rising."""
    return sorted({text.row for text in (*page.top, *page.deciles, *page.misses, *page.low)})


def text_facts(explored: Explored, numbers: Iterable[int]) -> dict[int, TextFacts]:
    """Row -> the text and what is known of it."""
    rows = explored.study.rows
    return {
        row: TextFacts(
            text=rows.texts[row],
            emotion=rows.emotions[rows.label[row]] if rows.label[row] >= 0 else None,
            concept=rows.concept[row] or None,
            kind=str(rows.kind[row]),
            split=str(rows.split[row]),
        )
        for row in numbers
    }


def _lean(explored: Explored, feature: int) -> int | None:
    emotion = explored.table["emotion"][feature]
    return None if emotion is None else explored.study.emotions.index(emotion)


def _shown(explored: Explored, feature: int) -> tuple[np.ndarray, TopTexts]:
    """Activations in the test texts, and the texts that show them: the same as `moodlens inspect`."""
    study, test = explored.study, explored.test
    activation, lean = explored.activation(feature)[test], _lean(explored, feature)
    strength = None
    if lean is not None:
        members = list(study.families.families[lean].features)
        weights = np.array(study.families.families[lean].weights, dtype=np.float32)
        strength = explored.once(
            f"family {lean}",
            lambda: explored.dense(members)[test] @ weights if members else np.zeros(len(test)),
        )
    return activation, top_texts(
        activation, study.rows[test], lean, seed=study.seed, n=TEXTS, strength=strength
    )


def _plain(explored: Explored, one: ShownText) -> Shown:
    return Shown(row=int(explored.test[one.row]), activation=short(one.activation) or 0.0)


def _with_words(
    explored: Explored, feature: int, found: TopTexts, *, words: bool
) -> tuple[tuple[Shown, ...], tuple[Tenth, ...]]:
    texts = [text.text for text in (*found.top, *found.deciles)]
    told = attributed(explored, texts, feature) if words and texts else [None] * len(texts)
    facts = [
        _plain(explored, text).model_copy(update={} if each is None else {"rise": each[0], "words": each[1]})
        for text, each in zip((*found.top, *found.deciles), told, strict=True)
    ]
    n = len(found.top)
    tenths = [
        Tenth(
            **dict(fact),
            decile=text.decile,
            low=short(text.low) or 0.0,
            high=short(text.high) or 0.0,
            n_active=text.n_active,
        )
        for fact, text in zip(facts[n:], found.deciles, strict=True)
    ]
    return tuple(facts[:n]), tuple(tenths)


def _emotions(explored: Explored, activation: np.ndarray) -> tuple[AtEmotion, ...]:
    rows = explored.study.rows[explored.test]
    kept = rows.plain & (rows.label >= NEUTRAL)
    label, value = rows.label[kept], activation[kept]
    area = auroc(value[:, None], label, rows.n_emotions)[:, 0]
    out = []
    for c, name in [*enumerate(rows.emotions), (NEUTRAL, None)]:
        own = value[label == c]
        if len(own):
            out.append(
                AtEmotion(
                    emotion=name,
                    n=len(own),
                    firing=int((own > 0).sum()),
                    rate=short(float((own > 0).mean())) or 0.0,
                    mean=short(float(own.mean())) or 0.0,
                    auroc=short(float(area[c])) if c >= 0 else None,
                )
            )
    return tuple(out)


def _concepts(explored: Explored, activation: np.ndarray) -> tuple[AtConcept, ...]:
    rows = explored.study.rows[explored.test]
    out = []
    for emotion, concept, own in concept_cells(explored):
        if concept is None:
            continue
        firing = int((activation[own] > 0).sum())
        out.append(
            AtConcept(
                emotion=rows.emotions[emotion],
                concept=concept,
                n=len(own),
                firing=firing,
                rate=short(firing / len(own)) or 0.0,
            )
        )
    return tuple(out)


def concept_cells(explored: Explored) -> list[tuple[int, str | None, np.ndarray]]:
    """Emotion, concept (None: of none) and places among the test texts, for every pair that has plain test texts."""

    def make() -> list[tuple[int, str | None, np.ndarray]]:
        rows = explored.study.rows[explored.test]
        out: list[tuple[int, str | None, np.ndarray]] = []
        for c in range(rows.n_emotions):
            own = np.flatnonzero(rows.plain & (rows.label == c))
            for concept in sorted(set(rows.concept[own])):
                out.append((c, concept or None, own[rows.concept[own] == concept]))
        return out

    return explored.once("cells", make)


def _histogram(explored: Explored, activation: np.ndarray) -> Histogram:
    rows = explored.study.rows[explored.test]
    fires = activation > 0
    if not fires.any():
        return Histogram(edges=[], counts={}, silent=len(activation))
    edges = np.linspace(0, float(activation.max()) * (1 + 1e-6), BINS + 1)
    counts = {}
    for c, name in [*enumerate(rows.emotions), (None, "")]:
        own = fires & ((rows.label < 0) if c is None else (rows.label == c))
        if own.any():
            counts[name] = np.histogram(activation[own], edges)[0].tolist()
    return Histogram(edges=shorts(edges), counts=counts, silent=int((~fires).sum()))


def _words(explored: Explored, feature: int) -> tuple[WordPart, ...] | None:
    if not explored.has("names"):
        return None
    frame = explored.study.table(WORDS).filter(pl.col("feature") == feature).sort("rank")
    return tuple(
        WordPart.model_validate({key: short(v) if isinstance(v, float) else v for key, v in row.items()})
        for row in frame.drop("feature", "rank").to_dicts()
    )


def _neighbours(explored: Explored, feature: int) -> tuple[Near, ...]:
    cosine = explored.directions @ explored.directions[feature]
    cosine[feature] = -np.inf
    best = np.argsort(-cosine, kind="stable")[:NEAR]
    return tuple(Near(feature=int(f), cosine=short(cosine[f]) or 0.0) for f in best if np.isfinite(cosine[f]))


def _together(explored: Explored, feature: int) -> tuple[Together, ...]:
    columns = explored.once("columns", lambda: UnitColumns.of(explored.codes.tocsr()[explored.test]))
    if not columns.varies[feature]:
        return ()
    value = columns.take(np.array([feature])).correlations(columns)[0]
    value[~columns.varies] = -np.inf
    value[feature] = -np.inf
    best = np.argsort(-value, kind="stable")[:NEAR]
    return tuple(
        Together(feature=int(f), correlation=short(value[f]) or 0.0) for f in best if np.isfinite(value[f])
    )


def _twins(explored: Explored, feature: int) -> tuple[Twin, ...]:
    study, out = explored.study, []
    for kind, names in (("seed", study.seed_names), ("bootstrap", study.bootstrap_names)):
        for name in names:
            other = explored.once(f"directions {name}", lambda name=name: unit_rows(study.W_dec(name)))
            if not len(other):
                continue
            cosine = other @ explored.directions[feature]
            best = int(cosine.argmax())
            out.append(Twin(pipeline=name, kind=kind, feature=best, cosine=short(cosine[best]) or 0.0))
    return tuple(out)


def _causal(explored: Explored, feature: int) -> CausalPanel | None:
    if not explored.has("causal"):
        return None
    record, frame = explored.study.read(Causal), explored.study.table(INTERVENTIONS)
    emotion = explored.table["emotion"][feature]
    own = frame.filter((pl.col("subject") == "feature") & (pl.col("feature") == feature))
    if not own.height:
        return None

    def beside(subject: str) -> tuple[Effect, ...]:
        return _effects(
            frame.filter(
                (pl.col("subject") == subject)
                & (pl.col("kind") == "transplant")
                & (pl.col("emotion") == emotion)
                & (pl.col("target") == emotion)
            )
        )

    return CausalPanel(
        rule=record.rule,
        readouts=record.readouts,
        unit="typical sizes",
        doses=_effects(own.filter(pl.col("kind") == "transplant")),
        clamp=_effects(own.filter(pl.col("kind") == "clamp")),
        random_feature=beside("random_feature"),
        random_direction=beside("random_direction"),
        difference_in_means=beside("difference_in_means"),
    )


def _effects(frame: pl.DataFrame) -> tuple[Effect, ...]:
    return tuple(
        Effect(
            readout=row["readout"],
            dose=row["dose"],
            effect=short(row["effect"]),
            ci=None if row["ci_low"] is None else (short(row["ci_low"]) or 0.0, short(row["ci_high"]) or 0.0),
            **{key: short(row[key]) for key in ("control_mean", "control_edge", "p", "q")},
        )
        for row in frame.sort("readout", "dose").to_dicts()
    )


def _evidence(explored: Explored, feature: int) -> NameEvidence | None:
    told = explored.column("name_evidence")[feature]
    return None if told is None else NameEvidence.model_validate_json(told)
