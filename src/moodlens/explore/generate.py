"""What three clips of one prompt and seed are made of, and one of them made again from what the page handed out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from moodlens.core import BadInput, read_json
from moodlens.explore.answers import FeatureDirection, SteerQuestion
from moodlens.explore.explored import Explored
from moodlens.explore.generate_records import WHICH, ClipSettings, GenerateQuestion, Which
from moodlens.explore.generator import WatchedGenerator, open_generator
from moodlens.explore.steer import direction_of, random_control, steer_unit
from moodlens.steer.clips import ClipSpec, clip_key
from moodlens.study.records.steer import How

_TEMPERATURE, _TOP_K = 1.0, 250
_KINDS = {"family": "family of", "difference_in_means": "difference in means,"}


@dataclass(frozen=True)
class Planned:
    """One of three: what it is, the direction that is added, and a hash of all that decides its bytes."""

    which: Which
    spec: ClipSpec
    vector: np.ndarray | None
    amount: float
    key: str


def how_made(question: GenerateQuestion, generator: WatchedGenerator) -> How:
    """Length and sampling of all three."""
    return How(
        **generator.info().model_dump(),
        seconds=question.seconds,
        guidance=generator.guidance if question.guidance is None else question.guidance,
        temperature=_TEMPERATURE,
        top_k=_TOP_K,
        renorm=False,
        null="zeros",
        schedule=None,
        steps=generator.steps,
    )


def planned(explored: Explored, question: GenerateQuestion, how: How) -> tuple[Planned, ...]:
    """The original, the steered clip, and one as far along a random direction, which the seed chooses.

    Raises:
        BadInput: the coefficient is 0, or the direction points nowhere.
    """
    if question.coefficient == 0:
        raise BadInput("coefficient: 0 adds nothing, so all three would be the same; choose another")
    number, drawn = random_control(explored, question.seed)
    amount = question.coefficient * steer_unit(explored)
    emotions = {part.emotion for part in question.parts if not isinstance(part, FeatureDirection)}
    emotion = emotions.pop() if len(emotions) == len(question.parts) == 1 else None
    directions = {
        "original": ("none", None, None, None, 0.0),
        "steered": ("explored", in_words(question), emotion, direction_of(explored, question), amount),
        "random": ("random", f"random/{number:03d}", None, drawn, amount),
    }
    clips = []
    for which in WHICH:
        method, name, towards, vector, length = directions[which]
        coefficient = question.coefficient if vector is not None else 0.0
        text = question.prompt
        spec = ClipSpec(text, text, method, name, towards, coefficient, question.seed)
        clips.append(Planned(which, spec, vector, length, clip_key(spec, vector, length, how)))
    return tuple(clips)


def in_words(question: SteerQuestion) -> str:
    """A direction as a person would say it: ``family of sad + 0.5 F13``."""
    words = []
    for part in question.parts:
        if isinstance(part, FeatureDirection):
            name = f"F{part.feature}"
        else:
            name = f"{_KINDS[part.kind]} {part.emotion}"
        words.append(name if part.weight == 1 else f"{part.weight:g} {name}")
    return " + ".join(words)


def make_again(path: Path | str, *, device: str | None = None) -> tuple[np.ndarray, int]:
    """The sound of a clip from the settings that the page handed out.

    Args:
        path: of the JSON.
        device: another one than it was made on; the sound then differs in its rounding, and soon in its notes.

    Returns:
        (channels, samples) float32 and the sampling rate in Hz.

    Raises:
        BadInput: it is no such file, or the checkpoint is not there or another one.
    """
    try:
        told = ClipSettings.model_validate(read_json(Path(path)))
    except ValidationError as error:
        raise BadInput(f"{path}: holds no settings of a clip ({error.error_count()} faults)") from error
    clip, how = told.clip, told.clip.how
    generator = open_generator(how.model, device=device or how.device, dtype=how.dtype)  # type: ignore[arg-type]
    revision = generator.info().revision
    if revision != how.revision:
        raise BadInput(f"{path}: made by {how.model} at {how.revision}, this one is at {revision}")
    vector = None if told.vector is None else np.array(told.vector, dtype=np.float32)
    audio = generator.make(clip.text, clip.seed, how, vector, clip.amount, lambda _: None)
    return audio, generator.rate
