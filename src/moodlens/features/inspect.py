"""One feature, laid out for a person to read: what fires it, what should and does not, its name, its neighbours.

Only the top texts would flatter a feature; one text of every tenth of its firings shows its weak ones, and misses what
it should have caught. Every list says what it was drawn from.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, JsonValue

from moodlens.core import BadInput, plain
from moodlens.stats.contrast import unit_rows
from moodlens.stats.correlation import UnitColumns
from moodlens.study.notes import Reading
from moodlens.study.record import Part
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    import polars as pl


class ShownText(Part):
    """A text and what the feature does in it."""

    row: int = Field(description="its number among the given rows")
    text: str
    activation: float = Field(description="embedding units")
    label: str | None = Field(description="its emotion; null where it has none")
    kind: str = Field(description="plain, neutral, unlabelled, negation or mixed")


class Decile(ShownText):
    """A tenth of the firings, and one text of it."""

    decile: int = Field(description="10 is the strongest tenth")
    low: float = Field(description="least activation of the tenth (embedding units)")
    high: float = Field(description="largest activation of the tenth (embedding units)")
    n_active: int = Field(description="firings in it (count)")


class TopTexts(Part):
    """The texts that show what a feature does."""

    n_rows: int = Field(description="texts looked at (count)")
    n_active: int = Field(description="texts in which it fires (count)")
    top: tuple[ShownText, ...] = Field(description="strongest first")
    deciles: tuple[Decile, ...] = Field(description="strongest first")
    n_emotion: int = Field(description="texts of its emotion (count)")
    n_missed: int = Field(description="of them, those in which it is silent (count)")
    misses: tuple[ShownText, ...]


class Neighbour(Part):
    """Another feature, near in direction or in use."""

    feature: int
    value: float = Field(description="cosine or correlation")
    emotion: str | None
    name: str | None
    core: bool | None = Field(
        default=None, description="may be claimed; a name outside the core is not judged"
    )


class Neighbours(Part):
    """Nearest first."""

    correlation: tuple[Neighbour, ...] = Field(description="of activations")
    cosine: tuple[Neighbour, ...] = Field(description="of decoder rows")


class Inspection(TopTexts):
    """What there is to know about one feature; columns of stages that have not run are null."""

    feature: int
    emotion: str | None = Field(description="that it leans to; null if it is silent")
    auroc: float | None = None
    selectivity: float | None = None
    q: float | None = None
    density: float | None = None
    n_groups: int | None = None
    core: bool | None = Field(
        default=None, description="may be claimed; what is outside the core is never tested"
    )
    emotion_feature: bool | None = None
    family_rank: int | None = None
    name: str | None = None
    name_score: float | None = None
    name_score_all: float | None = None
    name_control: float | None = None
    name_precision: float | None = None
    name_recall: float | None = None
    fired_by: str | None = Field(default=None, description="words that carry most of its score")
    interpretable: bool | None = None
    monosemanticity: float | None = None
    stability: float | None = None
    stability_cosine: float | None = None
    stability_correlation: float | None = None
    low: tuple[ShownText, ...] = Field(description="least activating texts of other emotions")
    neighbours: Neighbours
    reading: dict[str, JsonValue] | None = Field(description="what a person said of it")


def top_features(table: "pl.DataFrame", emotion: str | None, n: int) -> list[int]:
    """The features worth inspecting first: emotion features, best family rank, then AUROC on train + val.

    Args:
        table: features.parquet.
        emotion: of one emotion alone; None takes ``n`` of each.

    Raises:
        BadInput: no feature leans to ``emotion``.
    """
    import polars as pl

    known = table["emotion"].drop_nulls().unique().sort().to_list()
    if emotion is not None and emotion not in known:
        raise BadInput(f"no feature leans to {emotion!r}; known: {', '.join(known)}")
    keys = [pl.col(key) for key in ("family_rank",) if key in table.columns] + [
        -pl.col("auroc_dev"),
        pl.col("feature"),
    ]
    ranked = table.filter(pl.col("emotion_feature")).sort(keys, nulls_last=True)
    out: list[int] = []
    for name in [emotion] if emotion is not None else known:
        out += ranked.filter(pl.col("emotion") == name)["feature"].head(n).to_list()
    return out


def inspect_feature(
    feature: int,
    table: "pl.DataFrame",
    codes: np.ndarray,
    rows: Rows,
    *,
    seed: int,
    n: int = 5,
    decoder: np.ndarray | None = None,
    strength: np.ndarray | None = None,
    reading: Reading | None = None,
) -> Inspection:
    """Gather what there is to know about one feature.

    Args:
        feature: its number.
        table: features.parquet; columns of stages that have not run may be absent.
        codes: ``(r, d_sae)`` activations of the texts to show, best those of test.
        rows: these texts.
        seed: of the random prompts shown.
        n: texts and neighbours per list.
        decoder: ``(d_sae, d_in)`` unit rows, for the neighbours in direction.
        strength: ``(r,)`` the family's score of the feature's emotion; the strongest misses are shown first.
        reading: what a person said of it.

    Raises:
        BadInput: there is no such feature, or shapes disagree.
    """
    if not 0 <= feature < len(table) or table["feature"][feature] != feature:
        raise BadInput(f"feature {feature} does not exist; features are 0 to {len(table) - 1}")
    if codes.shape != (len(rows), len(table)):
        raise BadInput(f"codes of shape {codes.shape} do not fit {len(rows)} texts and {len(table)} features")
    facts = {
        key: value for key, value in table.row(feature, named=True).items() if key in Inspection.model_fields
    }
    column, index = codes[:, feature], None
    if facts["emotion"] is not None:
        index = rows.emotions.index(facts["emotion"])
    shown = top_texts(column, rows, index, seed=seed, n=n, strength=strength)
    return Inspection(
        **plain(facts),
        **dict(shown),
        low=lowest_texts(column, rows, index, n, seed),
        neighbours=_neighbours(feature, table, codes, decoder, n),
        reading=_facts(reading) if reading is not None else None,
    )


def _facts(reading: Reading) -> dict[str, JsonValue]:
    return asdict(replace(reading, blind=None)) | {
        "blind": None if reading.blind is None else reading.blind.model_dump()
    }


def top_texts(
    activation: np.ndarray,
    rows: Rows,
    emotion: int | None,
    *,
    seed: int,
    n: int = 10,
    strength: np.ndarray | None = None,
) -> TopTexts:
    """Collect the texts that describe one feature.

    Args:
        activation: ``(r,)`` of the feature.
        rows: the texts.
        emotion: label of the feature's emotion; None leaves the misses empty.
        seed: of the random text per tenth (and of the misses, without ``strength``).
        n: length of ``top`` and ``misses``.
        strength: ``(r,)`` how strongly a row shows the emotion by other evidence, such as the family's score;
            misses are sorted by it. Without it they are a random sample.

    Raises:
        BadInput: lengths disagree.
    """
    if len(activation) != len(rows):
        raise BadInput(f"{len(activation)} activations for {len(rows)} texts")
    rng = np.random.default_rng(seed)
    # Stable sort on the negated value: strongest first, ties in row order.
    order = np.argsort(-activation, kind="stable")
    active = order[activation[order] > 0]
    deciles = []
    for place, members in enumerate(np.array_split(active[::-1], 10)):
        if len(members):
            deciles.append(
                Decile(
                    decile=place + 1,
                    low=float(activation[members].min()),
                    high=float(activation[members].max()),
                    n_active=len(members),
                    **dict(_text(rng.choice(members), activation, rows)),
                )
            )
    own = np.zeros(len(rows), dtype=bool) if emotion is None else rows.label == emotion
    missed = np.flatnonzero(own & (activation <= 0))
    if strength is None:
        misses = rng.permutation(missed)[:n]
    else:
        misses = missed[np.argsort(-np.asarray(strength)[missed], kind="stable")][:n]
    return TopTexts(
        n_rows=len(activation),
        n_active=len(active),
        top=tuple(_text(row, activation, rows) for row in active[:n]),
        deciles=tuple(deciles[::-1]),
        n_emotion=int(own.sum()),
        n_missed=len(missed),
        misses=tuple(_text(row, activation, rows) for row in misses),
    )


def _text(row: int, activation: np.ndarray, rows: Rows) -> ShownText:
    label = int(rows.label[row])
    return ShownText(
        row=int(row),
        text=rows.texts[row],
        activation=float(activation[row]),
        label=rows.emotions[label] if label >= 0 else None,
        kind=str(rows.kind[row]),
    )


def lowest_texts(
    activation: np.ndarray, rows: Rows, emotion: int | None, n: int, seed: int
) -> tuple[ShownText, ...]:
    """The least activating texts of other emotions: one of each emotion in turn, drawn where several are silent."""
    rng = np.random.default_rng([seed, 1])
    queues: list[list[int]] = []
    for c in range(rows.n_emotions):
        if c != emotion:
            drawn = rng.permutation(np.flatnonzero(rows.label == c))
            queues.append(drawn[np.argsort(activation[drawn], kind="stable")].tolist())
    lowest = [queue[turn] for turn in range(n) for queue in queues if turn < len(queue)][:n]
    return tuple(_text(row, activation, rows) for row in lowest)


def _neighbours(
    feature: int, table: "pl.DataFrame", codes: np.ndarray, decoder: np.ndarray | None, n: int
) -> Neighbours:
    names, core = (
        table[column].to_list() if column in table.columns else [None] * len(table)
        for column in ("name", "core")
    )

    def best(value: np.ndarray) -> tuple[Neighbour, ...]:
        value = np.where(np.arange(len(value)) == feature, -np.inf, value)
        order = [int(f) for f in np.argsort(-value, kind="stable")[:n] if np.isfinite(value[f])]
        return tuple(
            Neighbour(
                feature=f, value=float(value[f]), emotion=table["emotion"][f], name=names[f], core=core[f]
            )
            for f in order
        )

    columns = UnitColumns.of(codes)
    together = np.full(len(table), -np.inf)
    if columns.varies[feature]:
        with_it = columns.take(np.array([feature])).correlations(columns)[0]
        together[columns.varies] = with_it[columns.varies]
    cosine = ()
    if decoder is not None:
        directions = unit_rows(decoder)
        cosine = best(directions @ directions[feature])
    return Neighbours(correlation=best(together), cosine=cosine)


def render_inspect(feature: Inspection) -> list[str]:
    """Lines for a terminal from :func:`inspect_feature`, in the roadmap's form."""
    lean = f"{feature.emotion}-selective" if feature.emotion is not None else "silent"
    strength = ""
    if feature.emotion is not None and feature.selectivity is not None:
        strength = f", selectivity: {feature.selectivity:.1f}x"
    lines = [f"Feature {feature.feature} ({lean}{strength}):"]
    lines += _texts(f"Top activating prompts (fires in {feature.n_active} of {feature.n_rows}):", feature.top)
    lines += _texts("One random prompt of every tenth of its firings:", feature.deciles)
    lines += _texts("Low activating prompts:", feature.low)
    if feature.emotion is not None:
        lines += _texts(
            f"Misses ({feature.n_missed} of {feature.n_emotion} {feature.emotion} prompts do not fire it):",
            feature.misses,
        )
    lines.append(f"  Interpretation: {_interpretation(feature)}")
    if feature.fired_by:
        lines.append(
            f"  Words that carry most of its score in its strongest unseen texts: {feature.fired_by}"
        )
    lines += _seeds(feature)
    for near, title in (
        (feature.neighbours.cosine, "Nearest by decoder direction"),
        (feature.neighbours.correlation, "Fires together with"),
    ):
        if near:
            lines.append(f"  {title}: " + "; ".join(f"{x.feature}{_called(x)} {x.value:.2f}" for x in near))
    return lines


def _texts(title: str, texts: Sequence[ShownText]) -> list[str]:
    lines = [f"  {title}"]
    for shown in texts:
        where = f"{shown.decile * 10} %, " if isinstance(shown, Decile) else ""
        text = " ".join(shown.text.split())
        lines.append(
            f'    - "{text}" ({where}activation: {shown.activation:.2f}, {shown.label or shown.kind})'
        )
    return [*lines, *([] if texts else ["    (none)"])]


def _interpretation(feature: Inspection) -> str:
    reading, own = feature.reading, ""
    if reading is not None:
        by = f" by {reading['author']}" if reading["author"] else ""
        own = f'"{reading["name"] or "no name"}" (read{by}: {reading["clarity"]}). '
    if not feature.name:
        return own or "no name yet"
    out = f'{own}Called "{feature.name}" from its texts'
    if feature.core is False:
        return f"{out}; it is outside the core, so it is not claimed and its name is not judged"
    if feature.name_score is not None:
        out += (
            "; of two unseen texts of its emotion, the one that fires it reads more like the name in "
            f"{100 * feature.name_score:.0f} % of pairs"
        )
        if feature.name_control is not None:
            out += f" (by names of other features: {100 * feature.name_control:.0f} %)"
        if feature.interpretable is not None:
            out += ", which holds" if feature.interpretable else ", which does not hold beyond other names"
    return out


def _seeds(feature: Inspection) -> list[str]:
    if feature.stability is None:
        return []
    parts = [f"reappears in {100 * feature.stability:.0f} % of them"]
    if feature.stability_cosine is not None:
        parts.append(f"decoder cosine {feature.stability_cosine:.2f}")
    if feature.stability_correlation is not None:
        parts.append(f"correlation {feature.stability_correlation:.2f}")
    return ["  Other pipelines, which share only the rows: " + ", ".join(parts)]


def _called(neighbour: Neighbour) -> str:
    name = neighbour.name or neighbour.emotion
    if neighbour.core is False:
        name = f"outside the core: {name}" if name else "outside the core"
    return f" ({name})" if name else ""
