"""Every direction a sceptic asks for, from the train and val rows of one study."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, digest
from moodlens.settings.steer import OF_PROMPTS, DirectionSettings, Mixture
from moodlens.stats.contrast import difference_in_means, principal_components
from moodlens.stats.controls import allowed_controls, draw_matched, random_directions
from moodlens.stats.ranks import activity
from moodlens.stats.units import permuted_labels
from moodlens.steer.directions import Direction, Directions, Provenance, mix, unit_vector
from moodlens.study.rows import DEV, Rows
from moodlens.study.state import read_states
from moodlens.study.study import Study
from moodlens.validate.readouts import DenseBaselines

if TYPE_CHECKING:
    from moodlens.sae.model import SAE
    from moodlens.steer.generator import Generator
    from moodlens.study.families import Families

N_ANCHORS = 8
UNTRAINED = "untrained_family"


@dataclass(frozen=True)
class Dictionary:
    """What a study found in its SAE.

    Attributes:
        sae: its decoder rows are directions.
        families: the features of each emotion; None where none were looked for yet.
        emotion_features: every feature that was found to mean an emotion, in a family or not.
        controls: ``(d_sae,)`` bool, features that may stand in as controls of every emotion, by the rule of all
            controls (:func:`moodlens.stats.controls.allowed_controls`); None: all but the emotion features.
        untrained: families that the study's rule finds in an untrained dictionary, and its decoder ``(d_sae, d_in)``.
    """

    sae: "SAE"
    families: "Families | None" = None
    emotion_features: tuple[int, ...] = ()
    controls: np.ndarray | None = None
    untrained: "tuple[Families, np.ndarray] | None" = None


def study_directions(study: Study | Path | str, settings: DirectionSettings | None = None) -> Directions:
    """All directions of a study: :func:`build_directions` of what its folder holds.

    Raises:
        BadInput: it is no study, has no embeddings yet, or what it holds is outdated or damaged.
    """
    study = study if isinstance(study, Study) else study_of(study)
    finished = read_states(study.path)
    study.require("embed")
    if study.rows.n_emotions < 2:
        raise BadInput(
            f"{study.path}: no text of this study has a label, so there is no emotion to steer towards; steering needs two"
        )
    dictionary = None
    if "features" in finished:
        study.require("features")
        wanted = settings is None or settings.untrained
        dictionary = _found(study, _untrained(study) if wanted else None)
    elif "train" in finished:
        dictionary = Dictionary(study.require("train").sae())
    info = study.encoder_info
    return build_directions(
        study.rows,
        study.x,
        encoder=info.encoder,
        revision=info.revision,
        dictionary=dictionary,
        settings=settings,
    )


def study_of(folder: Path | str) -> Study:
    """The study in ``folder``; raises BadInput where there is none."""
    if not (Path(folder) / "study.yaml").is_file():
        within = Path(folder) / "directions"  # as a pull of the hub leaves them
        cure = f"; name {within}" if (within / "directions.json").is_file() else ""
        raise BadInput(
            f"{folder}: neither a study folder (study.yaml) nor saved directions (directions.json){cure}"
        )
    return Study(folder)


def labelled_texts(rows: Rows, n: int, apart: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Plain texts of each emotion from the train and val rows, distinct and spread over the study.

    Args:
        n: for each emotion, or as many as there are.
        apart: texts that clips are judged on, which are left out.

    Raises:
        BadInput: an emotion has none.
    """
    out, dev = {}, rows[rows.where(*DEV)]
    for c, emotion in enumerate(rows.emotions):
        own = dev.texts[dev.label == c]
        known = list(dict.fromkeys(str(t) for t in own if t and t.strip() and t not in apart))
        if not known:
            raise BadInput(f"{emotion}: the study has no text of it to measure the decoder's layers on")
        chosen = np.unique(np.linspace(0, len(known) - 1, min(n, len(known))).round().astype(int))
        out[emotion] = tuple(known[i] for i in chosen)
    return out


def _found(study: Study, untrained: "tuple[Families, np.ndarray] | None") -> Dictionary:
    table = study.features
    mean_emotions = table.filter(table["emotion_feature"])["feature"].to_list()
    allowed = np.logical_and.reduce([allowed_controls(table, emotion) for emotion in study.emotions])
    return Dictionary(study.sae(), study.families, tuple(mean_emotions), allowed, untrained)


def _untrained(study: Study) -> "tuple[Families, np.ndarray]":
    from moodlens.study.coded import Coded
    from moodlens.validate.untrained import untrained_coded, untrained_families

    def make() -> "tuple[Families, np.ndarray]":
        own = Coded(study.rows, study.x, study.codes(), study.W_dec())
        coded = untrained_coded(own, "rows", seed=study.seed, memory=study.memory / 4)
        families = untrained_families(
            coded, study.settings.features, seed=study.seed, memory=study.memory / 4
        )
        return families, coded.W_dec

    return study.cached("untrained families", "features", make)


def build_directions(
    rows: Rows,
    x: np.ndarray,
    *,
    encoder: str,
    revision: str | None = None,
    dictionary: Dictionary | None = None,
    settings: DirectionSettings | None = None,
) -> Directions:
    """All directions of a study, made from its plain train and val rows alone.

    SAE directions are left out, with a note, where there is no SAE or an emotion has no family.

    Args:
        rows: texts, labels, groups and splits.
        x: ``(n, d_in)`` raw embeddings of the rows.
        encoder: what made them, such as ``"t5:google-t5/t5-base"``.
        revision: of the encoder, if known.
        dictionary: what was found in the SAE.

    Raises:
        BadInput: an emotion has no rows, or a setting names an unknown emotion or feature.
    """
    settings = settings or DirectionSettings()
    emotions, dev = rows.emotions, rows.where(*DEV)
    fit, x_fit = rows[dev], x[dev]
    means = difference_in_means(x_fit, fit.label, len(emotions))
    norms = {emotion: float(np.linalg.norm(means[c])) for c, emotion in enumerate(emotions)}
    probe = DenseBaselines.fit(x_fit, fit, settings.seed).probe_weights
    items: list[Direction] = []
    for c, emotion in enumerate(emotions):
        items.append(_direction("difference_in_means", emotion, means[c], {"norm": norms[emotion]}))
        # Against the mean of the other classes: what a multinomial probe's log-odds rise along.
        items.append(_direction("linear_probe", emotion, probe[c] - np.delete(probe, c, axis=0).mean(axis=0)))
    for i, vector in enumerate(principal_components(x_fit)[0][: settings.n_components]):
        items.append(_control("pca", i, vector))
    drawn = random_directions(settings.n_random, x.shape[1], np.random.default_rng([settings.seed, 1]))
    for i, vector in enumerate(drawn):
        items.append(_control("random", i, vector, {"seed": settings.seed}))
    if settings.n_shuffled:
        shuffles = permuted_labels(fit.label, fit.group, settings.n_shuffled, settings.seed, fit.copy)
        for i, dealt in enumerate(shuffles):
            vector = difference_in_means(x_fit, dealt, len(emotions))[i % len(emotions)]
            items.append(_control("shuffled_difference_in_means", i, vector, {"seed": settings.seed}))
    unknown = set(settings.features) - set(emotions)
    if unknown:
        raise BadInput(f"features: unknown emotions {sorted(unknown)}; known: {', '.join(emotions)}")
    notes: list[str] = []
    if dictionary is None:
        notes.append("no SAE in this study: no SAE directions")
    else:
        items += _sae_directions(dictionary, emotions, x_fit, settings, notes)
    anchors = anchor_rows(rows)
    prov = Provenance(
        encoder,
        revision,
        digest(x_fit, fit.label, list(emotions)),
        tuple(rows.texts[anchors].tolist()),
        x[anchors].astype(np.float32),
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
    found: Dictionary, emotions: Sequence[str], x: np.ndarray, settings: DirectionSettings, notes: list[str]
) -> list[Direction]:
    from moodlens.sae.model import encode_rows

    sae = found.sae
    W_dec = sae.W_dec.detach().float().cpu().numpy()
    items, chosen = [], []
    allowed = np.ones(sae.d_sae, dtype=bool) if found.controls is None else found.controls.copy()
    allowed[list(found.emotion_features)] = False
    for emotion in emotions:
        family = found.families[emotion] if found.families is not None else None
        if family is not None and family.features:
            allowed[list(family.features)] = False
            detail = {"features": family.features, "weights": family.weights}
            items.append(_direction("sae_family", emotion, family.direction(W_dec), detail))
        feature = settings.features.get(emotion, family.features[0] if family and family.features else None)
        if feature is None:
            notes.append(f"{emotion}: no emotion feature, so no SAE feature and no family to steer with")
            continue
        if not 0 <= feature < sae.d_sae:
            raise BadInput(f"features: {emotion}: {feature} is not a feature of an SAE with {sae.d_sae}")
        chosen.append(feature)
        items.append(_direction("sae_feature", emotion, W_dec[feature], {"feature": feature}))
    if found.untrained is not None and settings.untrained:
        items += _untrained_directions(*found.untrained, notes)
    if chosen and settings.n_matched:
        density, size = activity(encode_rows(sae, x))
        rng = np.random.default_rng([settings.seed, 2])
        drawn = draw_matched(density, size, np.array(chosen), allowed, settings.n_matched, rng).tolist()
        for i, feature in enumerate(drawn):
            detail = {"feature": feature, "density": float(density[feature]), "seed": settings.seed}
            items.append(_control("matched_random_feature", i, W_dec[feature], detail))
    return items


def _untrained_directions(families: "Families", W_dec: np.ndarray, notes: list[str]) -> list[Direction]:
    items = []
    for family in families.families:
        if not family.features:
            notes.append(
                f"{family.emotion}: no emotion feature in an untrained dictionary, so none of its families"
            )
            continue
        # Not "features": they are of another dictionary than the study's.
        detail = {"untrained_features": family.features, "weights": family.weights}
        items.append(_direction(UNTRAINED, family.emotion, family.direction(W_dec), detail))
    return items


def anchor_rows(rows: Rows) -> np.ndarray:
    """Rows spread over the study, distinct in text.

    Raises:
        BadInput: there is no text, so nothing could show that another encoder is the same.
    """
    written = np.array([i for i, text in enumerate(rows.texts) if text and text.strip()], dtype=int)
    if not len(written):
        raise BadInput(
            "directions: this study has embeddings without texts, so MusicGen's text encoder cannot be checked against "
            "it; add the prompts"
        )
    firsts: dict[str, int] = {}
    for i in written.tolist():
        firsts.setdefault(str(rows.texts[i]), i)
    first = np.array(list(firsts.values()))
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
    directions: Directions,
    model: "Generator",
    prompts: Sequence[str],
    emotions: Sequence[str],
    edit: str,
    words: Sequence[str] = (),
) -> Directions:
    """The set with one direction more for each prompt and emotion: from the prompt to the prompt with the emotion in it.

    The text-embedding baseline (TADA's TextEmb, arXiv:2602.11910; MusicMagus, arXiv:2402.06178): no study is needed
    for it, but it is another direction for every prompt. Added to every token at the common norm, like all others.
    ``words`` without an emotion give its control, ``neutral_difference``, in the same way.

    Raises:
        BadInput: writing the emotion into a prompt does not change its embedding.
    """
    kept = tuple(item for item in directions if item.method not in OF_PROMPTS)
    of_emotion, neutral = OF_PROMPTS
    written = [(of_emotion, e, e) for e in emotions] + [(neutral, w, None) for w in words]
    made = []
    for prompt in prompts:
        texts = [edit.format(emotion=word, prompt=prompt) for _, word, _ in written]
        base, *edited = model.pooled([prompt, *texts]).astype(np.float64)
        for (method, word, emotion), text, vector in zip(written, texts, edited, strict=True):
            name = f"{method}/{word}/{digest(prompt)[:8]}"
            detail = {"prompt": prompt, "edited": text, "norm": float(np.linalg.norm(vector - base))}
            made.append(Direction(name, method, emotion, unit_vector(vector - base, name), detail))
    return replace(directions, items=(*kept, *made))
