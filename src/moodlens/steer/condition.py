"""The condition of a clip: from what a run asks for to the model's job, and to the name that stands for all of it."""

from typing import TYPE_CHECKING

from moodlens.settings.steer import SteerSettings
from moodlens.steer.clips import ClipSpec, clip_key
from moodlens.steer.directions import Directions
from moodlens.steer.generator import Job
from moodlens.study.records.steer import ClipFacts, How

if TYPE_CHECKING:
    from moodlens.steer.conditioning import Sampling
    from moodlens.steer.generator import Generator


def run_how(settings: SteerSettings, model: "Generator") -> How:
    """How every clip of a run is made, besides what it is."""
    names = ("seconds", "temperature", "top_k", "negative", "renorm", "null", "schedule")
    return How(
        **{name: getattr(settings, name) for name in names},
        guidance=model.guidance if settings.guidance is None else settings.guidance,
        steps=None if model.steps is None else settings.steps or model.steps,
        melody=model.melody,
        continued=getattr(model, "continued", None),  # generators of other packages may know nothing of it
        **model.info().model_dump(),
    )


def run_sampling(how: How) -> "Sampling":
    """How its clips are drawn."""
    from moodlens.steer.conditioning import Sampling

    return Sampling(how.guidance, how.temperature, how.top_k, how.steps, how.negative)


def condition_key(spec: ClipSpec, directions: Directions, how: How) -> str:
    """Name of a clip: a hash of all that decides it."""
    if spec.direction is None:  # a plain clip is the same under every way of steering
        how = how.model_copy(update={"renorm": False, "null": "zeros", "schedule": None})
        return clip_key(spec, None, 0.0, how)
    return clip_key(spec, directions[spec.direction].vector, (spec.coefficient or 0.0) * directions.unit, how)


def condition_job(clip: ClipSpec | ClipFacts, directions: Directions, how: How) -> Job:
    """What the model is asked for."""
    from moodlens.steer.conditioning import Steering

    if clip.direction is None:
        return Job(clip.text, clip.seed)
    vector, amount = directions[clip.direction].vector, float(clip.coefficient or 0.0) * directions.unit
    steering = Steering(vector, amount, renorm=how.renorm, null=how.null, schedule=how.schedule)
    return Job(clip.text, clip.seed, steering)
