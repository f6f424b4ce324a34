"""Steering a generator with the study's directions: what the clips' scores say, doses, and clips to listen to."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from moodlens.core.errors import BadInput
from moodlens.core.files import read_json
from moodlens.judge.words import CHANGE_OF, not_matched
from moodlens.report import style
from moodlens.report.document import (
    Absent,
    Paragraph,
    Picture,
    Player,
    Players,
    Table,
    cut,
    emotion_label,
)
from moodlens.report.numbers import interval, number, p_value, percent
from moodlens.report.subject import Need, Subject, command
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.report.topics.opening import steers
from moodlens.settings.steer import LAYER_METHOD, LAYER_METHODS, LAYER_RANDOM
from moodlens.study.records.judge import EffectRow, MixtureRow, Results
from moodlens.study.records.steer import CLIPS, ClipFacts, LayerSite, SteerRun
from moodlens.study.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS = 60


def small(value: float | None) -> str:
    """A change to three figures: it is quadratic in a small step, and soon below a thousandth."""
    return number(value) if value is None else f"{value:.3g}"


FIRST_METHODS = (
    "none",
    "prompt_editing",
    "difference_in_means",
    "sae_family",
    "sae_feature",
    LAYER_METHOD,
    "random",
    LAYER_RANDOM,
)
"""Methods whose clips are offered for listening, in this order: those of a random direction are what the rest must beat."""
LOOKS = (
    (style.ACCENT, "-", "o"),
    (style.INK, style.DASHED, "s"),
    (style.MUTED, style.DOTTED, "^"),
    (style.WARN, (0, (6, 1.5, 1.2, 1.5)), "D"),
    ("#1fa187", (0, (3, 1, 1, 1)), "v"),
    ("#dfa000", (0, (9, 2)), "P"),
    ("#8a3f8f", (0, (3, 1, 1, 1, 1, 1)), "X"),
    ("#86c5ea", "-", "<"),
)
"""Colour, line and marker of each method's curve, a look for every method that a run can sweep: what colours look alike to
someone, or in a grey print, differ in line and marker."""
COLUMNS = (
    ("coefficient", "Coefficient", number),
    ("effect", "Effect", number),
    ("ci", "95 % interval", interval),
    ("q", "q", p_value),
    ("prompt_p", "p over prompts", p_value),
    ("random_p", "p beside random directions", p_value),
    ("random_p95", "Random directions, 95th percentile", number),
    ("matched_p95", "Matched random features, 95th percentile", number),
    ("change", "Change", small),
    ("change_floor", "Two unsteered seeds", small),
    ("kept", "Kept", percent),
    ("adherence", "Adherence", number),
    ("n_prompts", "Prompts", number),
    ("moved", "Moved", number),
)


def read_clips(study: Study) -> list[ClipFacts]:
    """Facts of the clips of the steering run that are there."""
    folder, clips = study.home / "steer", []
    for key in SteerRun.read(folder).clips:
        # The file's name follows from the key, so that a run cannot point outside its folder.
        path = folder / CLIPS / f"{Path(key).name}.json"
        try:
            clip = ClipFacts.model_validate(read_json(path))
        except (BadInput, ValidationError):
            continue
        if path.with_suffix(".wav").is_file():
            clips.append(clip.model_copy(update={"file": f"{path.stem}.wav"}))
    return clips


RUN = Need("steer/run.json", "steer", read_clips, living=True)
JUDGED = Need("steer/results.json", "judge", lambda study: Results.read(study.home / "steer"), living=True)


def heading(subject: Subject) -> str:
    """Names the kind of generator, as its clips tell it: one that takes away noise has steps."""
    clips = subject.get(RUN)
    if not clips:
        return "Steering"
    return "Steering MusicGen" if clips[0].how.steps is None else "Steering Stable Audio"


def introduction(subject: Subject) -> Blocks:
    """What was added where; or that nobody steered yet, where the encoder can."""
    clips, judged = subject.get(RUN), subject.get(JUDGED)
    if clips is None and judged is None:
        if steers(subject):
            yield Absent("steering", command(RUN))
        return
    clips = clips or []
    swept = {clip.method for clip in clips if clip.coefficient}
    swept |= {row.method for row in judged.rows if row.coefficient} if judged else set()
    if swept - set(LAYER_METHODS):
        yield Paragraph(
            "A direction is added to the text encoder's output at every token of the prompt. Coefficients are in units of "
            "the difference-in-means norm; every method there is compared at the same place and norm, beside no steering, "
            "prompt editing and random directions."
        )
    if swept & set(LAYER_METHODS):
        site = next((clip.how.layers for clip in clips if clip.how.layers is not None), None)
        yield Paragraph(_in_layers(site, beside_text=bool(swept - set(LAYER_METHODS))))
    if judged is None:
        yield Absent("what the clips' scores say", "moodlens judge DIR/steer")


def _in_layers(site: LayerSite | None, *, beside_text: bool) -> str:
    """Where the layer methods add, and what their coefficient means: neither place nor norm is that of the text's methods."""
    which = "decoder layers" if site is None or site.layers is None else f"layers {_listed(site.layers)}"
    which = f"all {which}" if site is not None and site.layers is None else which
    text = (
        f"Layer difference in means is added to the decoder's residual stream behind {which} at every step, not to the text: "
        "a coefficient of 1 is the difference in means of the decoder's own states, at each layer its own. It is compared "
        "with random directions at the same layers, as long as the differences there (layer random)."
    )
    if not beside_text:
        return text
    return f"{text} Its coefficients have no common unit with those of the text's methods; equal change has."


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(str(layer) for layer in layers[:20]) + (" …" if len(layers) > 20 else "")


@needs(JUDGED)
def results(subject: Subject, judged: Results) -> Blocks:
    """What the scores say: in words, in tables, and over the coefficients."""
    for statement in judged.statements:
        yield Paragraph(cut(statement, 600))
    rows = judged.rows
    if not rows:
        return
    claimed = tuple(row for row in rows if row.confirmatory)
    yield from effects(
        f"Confirmatory: read by {cut(judged.readout, 40)}, q over these {judged.n_confirmatory} rows",
        claimed,
        note="These rows were named before the clips were made. p is the larger of two: over prompts, and beside random "
        "directions at the same strength.",
    )
    yield from effects(
        "Exploratory: nothing is claimed of these",
        tuple(row for row in rows if not row.confirmatory),
        note="They were not named beforehand, and their p-values are not corrected: hypotheses for another run.",
    )
    yield from mixed(judged.mixtures)
    for readout in dict.fromkeys(row.readout for row in rows):
        doses = [row for row in rows if row.readout == readout and row.coefficient is not None]
        if doses:
            name = cut(readout, 40)
            yield Picture(
                f"steering-dose-{re.sub(r'[^a-z0-9]+', '-', readout.lower())}",
                f"Effect of each method on {name} over its coefficient. A direction that steers rises with its "
                "coefficient, from below zero to above; random directions stay flat.",
                f"Dose-response curves of the steering methods, read by {name}.",
                lambda doses=doses: steering_dose(doses, subject.emotions),
            )


@needs(JUDGED)
def at_equal_change(_: Subject, judged: Results) -> Blocks:
    """Methods where they move the generator equally far, read by the primary readout."""
    rows = [row for row in judged.equal_change if row.readout == judged.readout]
    if not rows:
        return
    matched = [(row, each) for row in rows for each in row.methods if each.effect is not None]
    words = CHANGE_OF[rows[0].of]
    under = "; ".join(
        f"towards {emotion_label(row.emotion)}: {cut(not_matched(row), 300).replace('_', ' ')}"
        for row in rows
        if not_matched(row)
    )
    missed = f" Not above that floor, and so not matched: {under}." if under else ""
    note = (
        f"Matched on {words}, measured on the unsteered clips, which is the same for all methods and has no draw in it; not on "
        "coefficients, which have no common unit. The floor is what two unsteered seeds show along a method in the same unit. "
        "Between measured coefficients effects are read off along the root of the change, and below the first (*) on a line from "
        "no steering, which nothing supports but that; nothing is claimed." + missed
    )
    if not matched:
        yield Paragraph(
            f"At equal change ({words}) nothing is compared: fewer than two methods can be matched.{missed}"
        )
        return
    yield Table(
        f"At equal change: read by {cut(judged.readout, 40)}",
        (
            "Emotion",
            "Method",
            "Change",
            "Floor",
            "Coefficient",
            "Effect",
            "Random directions, 95th percentile",
        ),
        tuple(
            (
                emotion_label(row.emotion),
                cut(each.method, 40).replace("_", " "),
                small(row.change),
                small(each.floor),
                number(each.coefficient) + ("" if each.between or each.coefficient is None else "*"),
                number(each.effect),
                number(row.random_p95),
            )
            for row, each in matched[:MAX_ROWS]
        ),
        numeric=frozenset(range(2, 7)),
        note=note,
    )


def effects(title: str, rows: tuple[EffectRow, ...], note: str) -> Blocks:
    """A table of effects, its first rows; nothing where there are none."""
    if not rows:
        return
    shown = rows[:MAX_ROWS]
    columns = [c for c in COLUMNS if any(getattr(row, c[0]) is not None for row in rows)]
    more = f" {len(shown)} of {len(rows)} rows; all are in steer/results.json." if shown != rows else ""
    yield Table(
        title,
        ("Readout", "Method", "Emotion", *(name for _, name, _ in columns)),
        tuple(
            (
                cut(row.readout, 40),
                cut(row.method, 40).replace("_", " "),
                emotion_label(row.emotion),
                *(form(getattr(row, key)) for key, _, form in columns),
            )
            for row in shown
        ),
        numeric=frozenset(range(3, 3 + len(columns))),
        note=note + more,
    )


def mixed(rows: tuple[MixtureRow, ...]) -> Blocks:
    """A table of mixed emotions, each on its own readout; nothing where there are none."""
    if not rows:
        return
    shown = rows[:MAX_ROWS]
    more = f" {len(shown)} of {len(rows)} rows; all are in steer/results.json." if shown != rows else ""
    weights = (
        ", ".join(f"{number(weight)} {cut(e, 40)}" for e, weight in row.weights.items()) for row in shown
    )
    yield Table(
        "Mixed emotions: nothing is claimed of these",
        (
            "Readout",
            "Mixture",
            "Read for",
            "Coefficient",
            "Effect",
            "95 % interval",
            "p",
            "Random, 5th",
            "Random, 95th",
        ),
        tuple(
            (
                cut(row.readout, 40),
                mixture,
                emotion_label(row.emotion),
                number(row.coefficient),
                number(row.effect),
                interval(row.ci),
                p_value(row.p),
                number(row.random_p5),
                number(row.random_p95),
            )
            for row, mixture in zip(shown, weights, strict=True)
        ),
        numeric=frozenset(range(3, 9)),
        note="Several emotions steered together, each on its own readout; p is towards the sign of its weight."
        + more,
    )


@needs(RUN)
def players(_: Subject, clips: list[ClipFacts]) -> Blocks:
    """One prompt and seed, every main method, at its strongest coefficient towards each emotion."""
    plain = next((clip for clip in clips if clip.method == "none"), None)
    if plain is None:
        return
    same = [clip for clip in clips if clip.prompt == plain.prompt and clip.seed == plain.seed]
    chosen: list[Player] = []
    for method in FIRST_METHODS:
        of_method = [clip for clip in same if clip.method == method]
        for emotion in dict.fromkeys(clip.emotion for clip in of_method):
            strongest = max(
                (clip for clip in of_method if clip.emotion == emotion),
                key=lambda clip: clip.coefficient or 0.0,
            )
            words = ["no steering" if method == "none" else method.replace("_", " ")]
            words += [f"towards {emotion_label(emotion)}"] if emotion else []
            words += [f"coefficient {number(strongest.coefficient)}"] if strongest.coefficient else []
            chosen.append(Player(", ".join(words), f"steer/clips/{strongest.file}"))
    yield Players(
        f"Clips of one prompt ({cut(plain.prompt, 120)}) and one seed ({number(plain.seed)}). The sound lies beside "
        "this page in steer/clips and is not part of it.",
        tuple(chosen),
    )


@style.look()
def steering_dose(rows: Sequence[EffectRow], emotions: tuple[str, ...]) -> "Figure":
    """Effect over the coefficient, a panel for each emotion and a line for each method.

    Args:
        rows: of results.json, of one readout, all with a coefficient.
        emotions: of the study, in order.
    """
    present = [emotion for emotion in emotions if any(row.emotion == emotion for row in rows)]
    figure, panels = style.emotion_panels(present, "coefficient")
    methods = list(dict.fromkeys(row.method for row in rows))
    seen: dict[str, Any] = {}
    for axes, emotion in zip(panels, present, strict=True):
        for place, method in enumerate(methods):
            points = sorted(
                (row.coefficient, row.effect, *(row.ci or (np.nan, np.nan)))
                for row in rows
                if (row.emotion, row.method) == (emotion, method)
            )
            if not points:
                continue
            x, y, low, high = np.array(points, dtype=float).T
            color, line, marker = LOOKS[place % len(LOOKS)]
            axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
            (seen[style.short(method.replace("_", " "))],) = axes.plot(
                x, y, color=color, ls=line, marker=marker, ms=3, lw=1.3
            )
    figure.supylabel("effect", fontsize=8)
    style.legend_below(figure, list(seen.values()), list(seen))
    return figure


STEERING = Topic("steering", heading, (introduction, results, at_equal_change, players))
