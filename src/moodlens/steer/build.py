"""Every direction a sceptic asks for, from the train and val rows of one study."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, digest
from moodlens.settings.steer import DirectionSettings, Mixture
from moodlens.stats.contrast import difference_in_means, principal_components
from moodlens.stats.controls import draw_matched, random_directions
from moodlens.stats.ranks import activity
from moodlens.stats.units import permuted_labels
from moodlens.steer.directions import Direction, Directions, Provenance, mix, unit_vector
from moodlens.steer.inputs import StudyInputs
from moodlens.validate.baselines import DenseBaselines

if TYPE_CHECKING:
    from moodlens.steer.musicgen import MusicGen

N_ANCHORS = 8


def build_directions(inputs: StudyInputs, settings: DirectionSettings | None = None) -> Directions:
    """All directions of a study, made from its train and val rows alone.

    SAE directions are left out, with a note, where the study has no SAE or an emotion has no family.

    Raises:
        BadInput: an emotion has no rows, or a setting names an unknown emotion or feature.
    """
    settings = settings or DirectionSettings()
    rows = inputs.development
    x, labels, groups = inputs.x[rows], inputs.labels[rows], inputs.groups[rows]
    emotions = inputs.emotions
    means = difference_in_means(x, labels, len(emotions))
    norms = {emotion: float(np.linalg.norm(means[c])) for c, emotion in enumerate(emotions)}
    probe = DenseBaselines.fit(x, labels, emotions, settings.seed).probe_weights
    items: list[Direction] = []
    for c, emotion in enumerate(emotions):
        items.append(_direction("difference_in_means", emotion, means[c], {"norm": norms[emotion]}))
        # Against the mean of the other classes: what a multinomial probe's log-odds rise along.
        items.append(_direction("linear_probe", emotion, probe[c] - np.delete(probe, c, axis=0).mean(axis=0)))
    for i, vector in enumerate(principal_components(x)[0][: settings.n_components]):
        items.append(_control("pca", i, vector))
    drawn = random_directions(settings.n_random, x.shape[1], np.random.default_rng([settings.seed, 1]))
    for i, vector in enumerate(drawn):
        items.append(_control("random", i, vector, {"seed": settings.seed}))
    if settings.n_shuffled:
        shuffles = permuted_labels(labels, groups, settings.n_shuffled, settings.seed)
        for i, dealt in enumerate(shuffles):
            vector = difference_in_means(x, dealt, len(emotions))[i % len(emotions)]
            items.append(_control("shuffled_difference_in_means", i, vector, {"seed": settings.seed}))
    notes: list[str] = []
    items += _sae_directions(inputs, rows, settings, notes)
    anchors = _anchors(inputs)
    prov = Provenance(
        inputs.encoder,
        inputs.revision,
        digest(x, labels, list(emotions)),
        tuple(inputs.texts[i] for i in anchors),
        inputs.x[anchors].astype(np.float32),
    )
    directions = Directions(
        tuple(items), emotions, float(np.mean(list(norms.values()))), norms, prov, tuple(notes)
    )
    return directions.with_items(*_mixtures(directions, settings.mixtures))


def _direction(method: str, emotion: str, vector: np.ndarray, detail: dict | None = None) -> Direction:
    name = f"{method}/{emotion}"
    return Direction(name, method, emotion, unit_vector(vector, name), detail or {})


def _control(method: str, i: int, vector: np.ndarray, detail: dict | None = None) -> Direction:
    name = f"{method}/{i:02d}"
    return Direction(name, method, None, unit_vector(vector, name), detail or {})


def _sae_directions(
    inputs: StudyInputs, rows: np.ndarray, settings: DirectionSettings, notes: list[str]
) -> list[Direction]:
    sae, families = inputs.sae, inputs.families
    unknown = set(settings.features) - set(inputs.emotions)
    if unknown:
        raise BadInput(f"features: unknown emotions {sorted(unknown)}; known: {', '.join(inputs.emotions)}")
    if sae is None:
        notes.append("no SAE in this study: no SAE directions")
        return []
    from moodlens.sae import encode_rows

    W_dec = sae.W_dec.detach().float().cpu().numpy()
    items, chosen, members = [], [], []
    for c, emotion in enumerate(inputs.emotions):
        family = families.families[c] if families is not None else None
        if family is not None and family.features:
            members += list(family.features)
            detail = {"features": family.features, "weights": family.weights, "scales": family.scales}
            items.append(_direction("sae_family", emotion, family.direction(W_dec), detail))
        feature = settings.features.get(emotion, family.features[0] if family and family.features else None)
        if feature is None:
            notes.append(f"{emotion}: no emotion feature, so no SAE feature and no family to steer with")
            continue
        if not 0 <= feature < sae.d_sae:
            raise BadInput(f"features: {emotion}: {feature} is not a feature of an SAE with {sae.d_sae}")
        chosen.append(feature)
        items.append(_direction("sae_feature", emotion, W_dec[feature], {"feature": feature}))
    if chosen and settings.n_matched:
        density, size = activity(encode_rows(sae, inputs.x[rows]))
        allowed = np.ones(sae.d_sae, dtype=bool)
        allowed[[*members, *inputs.emotion_features]] = False
        rng = np.random.default_rng([settings.seed, 2])
        drawn = draw_matched(density, size, np.array(chosen), allowed, settings.n_matched, rng).tolist()
        for i, feature in enumerate(drawn):
            detail = {"feature": feature, "density": float(density[feature]), "seed": settings.seed}
            items.append(_control("matched_random_feature", i, W_dec[feature], detail))
    return items


def _anchors(inputs: StudyInputs) -> np.ndarray:
    """Rows spread over the study, distinct in text.

    Raises:
        BadInput: there is no text, so nothing could show that another encoder is the same.
    """
    rows = np.array([i for i, text in enumerate(inputs.texts) if text and text.strip()], dtype=int)
    if not len(rows):
        raise BadInput(
            "directions: this study has embeddings without texts, so MusicGen's text encoder cannot be checked against "
            "it; add the prompts"
        )
    first = rows[np.sort(np.unique([inputs.texts[i] for i in rows], return_index=True)[1])]
    return first[np.linspace(0, len(first) - 1, min(N_ANCHORS, len(first))).round().astype(int)]


def _mixtures(directions: Directions, mixtures: Sequence[Mixture]) -> list[Direction]:
    out = []
    for mixture in mixtures:
        parts = []
        for emotion, weight in mixture.weights.items():
            towards = directions.select(method=mixture.method, emotion=emotion)
            if not towards:
                raise BadInput(f"mixtures: there is no {mixture.method} direction for {emotion!r}")
            parts.append((towards[0], weight))
        out.append(mix(parts, orthogonal=mixture.orthogonal))
    return out


def prompt_differences(
    directions: Directions, model: "MusicGen", prompts: Sequence[str], emotions: Sequence[str], edit: str
) -> Directions:
    """The set with one direction more for each prompt and emotion: from the prompt to the prompt with the emotion in it.

    The text-embedding baseline (TADA's TextEmb, arXiv:2602.11910; MusicMagus, arXiv:2402.06178): no study is needed
    for it, but it is another direction for every prompt. Added to every token at the common norm, like all others.

    Raises:
        BadInput: writing the emotion into a prompt does not change its embedding.
    """
    kept = tuple(item for item in directions if item.method != "prompt_difference")
    made = []
    for prompt in prompts:
        texts = [edit.format(emotion=emotion, prompt=prompt) for emotion in emotions]
        base, *edited = model.pooled([prompt, *texts]).astype(np.float64)
        for emotion, text, vector in zip(emotions, texts, edited, strict=True):
            name = f"prompt_difference/{emotion}/{digest(prompt)[:8]}"
            detail = {"prompt": prompt, "edited": text, "norm": float(np.linalg.norm(vector - base))}
            made.append(
                Direction(name, "prompt_difference", emotion, unit_vector(vector - base, name), detail)
            )
    return replace(directions, items=(*kept, *made))
