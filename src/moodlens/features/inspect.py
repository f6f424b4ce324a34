"""One feature, laid out for a person to read: what fires it, what should and does not, its name, its neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput
from moodlens.features.top_prompts import top_prompts
from moodlens.study.notes import Reading

if TYPE_CHECKING:
    import polars as pl

_SHOWN = ("auroc", "selectivity", "q", "density", "n_groups", "emotion_feature", "family_rank")
_NAME = (
    "name",
    "name_score",
    "name_control",
    "name_precision",
    "name_recall",
    "interpretable",
    "monosemanticity",
)
_SEEDS = ("stability", "stability_cosine", "stability_correlation")


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
    found = table.filter(pl.col("emotion_feature"))
    keys = [pl.col(key) for key in ("family_rank",) if key in table.columns] + [
        -pl.col("auroc_dev"),
        pl.col("feature"),
    ]
    ranked = found.sort(keys, nulls_last=True)
    out: list[int] = []
    for name in [emotion] if emotion is not None else known:
        out += ranked.filter(pl.col("emotion") == name)["feature"].head(n).to_list()
    return out


def inspect_feature(
    feature: int,
    table: "pl.DataFrame",
    codes: np.ndarray,
    texts: Sequence[str],
    labels: np.ndarray,
    emotions: Sequence[str],
    *,
    seed: int,
    n: int = 5,
    decoder: np.ndarray | None = None,
    strength: np.ndarray | None = None,
    reading: Reading | None = None,
) -> dict[str, Any]:
    """Gather what there is to know about one feature.

    Args:
        feature: its number.
        table: features.parquet; columns of stages that have not run may be absent.
        codes: (rows, d_sae) activations of the texts to show, best those of test.
        texts: the texts of those rows.
        labels: (rows,) int, -1 for neutral.
        emotions: names of the labels.
        seed: of the random prompts shown.
        n: texts and neighbours per list.
        decoder: (d_sae, d_in) unit rows, for the neighbours in direction.
        strength: (rows,) the family's score of the feature's emotion; the strongest misses are shown first.
        reading: what a person said of it.

    Returns:
        JSON-able; see :func:`render_inspect` for what is in it.

    Raises:
        BadInput: there is no such feature, or shapes disagree.
    """
    if not 0 <= feature < len(table) or table["feature"][feature] != feature:
        raise BadInput(f"feature {feature} does not exist; features are 0 to {len(table) - 1}")
    if codes.shape != (len(texts), len(table)):
        raise BadInput(
            f"codes of shape {codes.shape} do not fit {len(texts)} texts and {len(table)} features"
        )
    row = table.row(feature, named=True)
    emotion = row["emotion"]
    index = emotions.index(emotion) if emotion is not None else None
    column = codes[:, feature]
    shown = top_prompts(column, texts, labels, index, seed=seed, n=n, strength=strength)
    for prompts in (shown["top"], shown["deciles"], shown["misses"]):
        for prompt in prompts:
            prompt["label"] = emotions[prompt["label"]] if prompt["label"] >= 0 else None
    return {
        "feature": feature,
        "emotion": emotion,
        **{key: row[key] for key in (*_SHOWN, *_NAME, *_SEEDS) if key in row},
        **shown,
        "low": _lowest(column, texts, labels, emotions, index, n, seed),
        "neighbours": _neighbours(feature, table, codes, decoder, n),
        "reading": asdict(reading) if reading is not None else None,
    }


def _lowest(
    column: np.ndarray,
    texts: Sequence[str],
    labels: np.ndarray,
    emotions: Sequence[str],
    index: int | None,
    n: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The least activating texts of other emotions: one of each emotion in turn, drawn where several are silent."""
    rng = np.random.default_rng([seed, 1])
    labels = np.asarray(labels)
    queues: list[list[int]] = []
    for c in range(len(emotions)):
        if c != index:
            mine = rng.permutation(np.flatnonzero(labels == c))
            queues.append(mine[np.argsort(column[mine], kind="stable")].tolist())
    rows = [queue[turn] for turn in range(n) for queue in queues if turn < len(queue)][:n]
    return [
        {"row": row, "text": texts[row], "activation": float(column[row]), "label": emotions[labels[row]]}
        for row in rows
    ]


def _neighbours(
    feature: int, table: "pl.DataFrame", codes: np.ndarray, decoder: np.ndarray | None, n: int
) -> dict[str, list[dict[str, Any]]]:
    names = table["name"].to_list() if "name" in table.columns else [None] * len(table)

    def best(value: np.ndarray) -> list[dict[str, Any]]:
        value = np.where(np.arange(len(value)) == feature, -np.inf, value)
        order = [int(f) for f in np.argsort(-value, kind="stable")[:n] if np.isfinite(value[f])]
        return [
            {"feature": f, "value": float(value[f]), "emotion": table["emotion"][f], "name": names[f]}
            for f in order
        ]

    centred = codes - codes.mean(axis=0)
    size = np.sqrt(np.square(centred).sum(axis=0))
    alive = size > 1e-9 * max(1.0, float(size.max(initial=0)))
    together = np.full(len(size), -np.inf)
    if alive[feature]:
        together[alive] = (centred[:, feature] @ centred[:, alive]) / (size[feature] * size[alive])
    out = {"correlation": best(together), "cosine": []}
    if decoder is not None:
        norm = np.linalg.norm(decoder, axis=1)
        out["cosine"] = best(decoder @ decoder[feature] / np.maximum(norm * norm[feature], 1e-12))
    return out


def render_inspect(found: Mapping[str, Any]) -> list[str]:
    """Lines for a terminal from :func:`inspect_feature`, in the roadmap's form."""
    lean = f"{found['emotion']}-selective" if found["emotion"] is not None else "silent"
    ratio = found.get("selectivity")
    strength = f", selectivity: {ratio:.1f}x" if found["emotion"] is not None and ratio is not None else ""
    lines = [f"Feature {found['feature']} ({lean}{strength}):"]
    lines += _prompts(
        f"Top activating prompts (fires in {found['n_active']} of {found['n_rows']}):", found["top"]
    )
    lines += _prompts("One random prompt of every tenth of its firings:", found["deciles"], decile=True)
    lines += _prompts("Low activating prompts:", found["low"])
    if found["emotion"] is not None:
        lines += _prompts(
            f"Misses ({found['n_missed']} of {found['n_emotion']} {found['emotion']} prompts do not fire it):",
            found["misses"],
        )
    lines.append(f"  Interpretation: {_interpretation(found)}")
    lines += _seeds(found)
    for key, title in (("cosine", "Nearest by decoder direction"), ("correlation", "Fires together with")):
        near = found["neighbours"][key]
        if near:
            said = (f"{x['feature']}{_called(x)} {x['value']:.2f}" for x in near)
            lines.append(f"  {title}: " + "; ".join(said))
    return lines


def _prompts(title: str, prompts: Sequence[Mapping[str, Any]], *, decile: bool = False) -> list[str]:
    lines = [f"  {title}"]
    for prompt in prompts:
        where = f"{prompt['decile'] * 10} %, " if decile else ""
        text = " ".join(prompt["text"].split())
        lines.append(
            f'    - "{text}" ({where}activation: {prompt["activation"]:.2f}, {prompt["label"] or "neutral"})'
        )
    return [*lines, *([] if prompts else ["    (none)"])]


def _interpretation(found: Mapping[str, Any]) -> str:
    reading = found.get("reading")
    own = ""
    if reading is not None:
        by = f" by {reading['author']}" if reading["author"] else ""
        own = f'"{reading["name"] or "no name"}" (read{by}: {reading["clarity"]}). '
    if not found.get("name"):
        return own or "no name yet"
    said = f'{own}Called "{found["name"]}" from its texts'
    if found.get("name_score") is not None:
        said += (
            f"; on unseen texts the name predicts its firing with balanced accuracy {found['name_score']:.2f}"
        )
        if found.get("name_control") is not None:
            said += f" (names of other features: {found['name_control']:.2f})"
        if found.get("interpretable") is not None:
            said += ", which holds" if found["interpretable"] else ", which does not hold beyond other names"
    return said


def _seeds(found: Mapping[str, Any]) -> list[str]:
    if found.get("stability") is None:
        return []
    parts = [f"reappears in {100 * found['stability']:.0f} % of them"]
    for key, title in (("stability_cosine", "decoder cosine"), ("stability_correlation", "correlation")):
        if found.get(key) is not None:
            parts.append(f"{title} {found[key]:.2f}")
    return ["  Other seeds: " + ", ".join(parts)]


def _called(neighbour: Mapping[str, Any]) -> str:
    name = neighbour["name"] or neighbour["emotion"]
    return f" ({name})" if name else ""
