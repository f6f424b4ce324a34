"""The condition of a clip: from what a run asks for to the model's job, and to the name that stands for all of it."""

from typing import TYPE_CHECKING

from moodlens.core import BadInput
from moodlens.settings.steer import LAYER_METHODS, SteerSettings
from moodlens.steer.clips import ClipSpec, clip_key
from moodlens.steer.directions import Directions
from moodlens.steer.generator import Job
from moodlens.study.records.steer import ClipFacts, How, LayerSite

if TYPE_CHECKING:
    from moodlens.steer.conditioning import Sampling
    from moodlens.steer.generator import Generator
    from moodlens.steer.residual import LayerSteering


def run_how(settings: SteerSettings, model: "Generator", directions: Directions | None = None) -> How:
    """How every clip of a run is made, besides what it is.

    Args:
        directions: whose layers, if they were measured, some clips are steered in.
    """
    names = ("seconds", "temperature", "top_k", "negative", "renorm", "null", "schedule")
    measured = None if directions is None else directions.layers
    chosen = settings.layers
    site = None
    if measured is not None:
        site = LayerSite(layers=chosen.layers, decay=chosen.decay, halves=chosen.halves, recipe=measured.key)
    return How(
        **{name: getattr(settings, name) for name in names},
        guidance=model.guidance if settings.guidance is None else settings.guidance,
        steps=None if model.steps is None else settings.steps or model.steps,
        melody=model.melody,
        continued=getattr(model, "continued", None),  # generators of other packages may know nothing of it
        layers=site,
        **model.info().model_dump(),
    )


def run_sampling(how: How) -> "Sampling":
    """How its clips are drawn."""
    from moodlens.steer.conditioning import Sampling

    return Sampling(how.guidance, how.temperature, how.top_k, how.steps, how.negative)


def clip_how(spec: ClipSpec | ClipFacts, how: How) -> How:
    """How one clip of a run is made: what it is not steered by is nothing to it."""
    return how if spec.method in LAYER_METHODS else how.model_copy(update={"layers": None})


def condition_key(spec: ClipSpec, directions: Directions, how: How) -> str:
    """Name of a clip: a hash of all that decides it."""
    how = clip_how(spec, how)
    if spec.direction is None:  # a plain clip is the same under every way of steering
        how = how.model_copy(update={"renorm": False, "null": "zeros", "schedule": None})
    if spec.direction is None or spec.method in LAYER_METHODS:  # whose vectors the recipe stands for
        return clip_key(spec, None, amount_of(spec, directions), how)
    return clip_key(spec, directions[spec.direction].vector, amount_of(spec, directions), how)


def amount_of(spec: ClipSpec | ClipFacts, directions: Directions) -> float:
    """Length that is added: in the embedding's units, or, in the decoder's layers, in differences in means."""
    if spec.direction is None:
        return 0.0
    return float(spec.coefficient or 0.0) * (1.0 if spec.method in LAYER_METHODS else directions.unit)


def condition_job(clip: ClipSpec | ClipFacts, directions: Directions, how: How) -> Job:
    """What the model is asked for.

    Args:
        how: of the run, or of this clip.
    """
    from moodlens.steer.conditioning import Steering

    if clip.direction is None:
        return Job(clip.text, clip.seed)
    amount = amount_of(clip, directions)
    if clip.method in LAYER_METHODS:
        return Job(clip.text, clip.seed, _in_layers(clip, directions, amount, how))
    steering = Steering(
        directions[clip.direction].vector,
        amount,
        renorm=how.renorm,
        null=how.null,
        schedule=how.schedule,
    )
    return Job(clip.text, clip.seed, steering)


def _in_layers(
    clip: ClipSpec | ClipFacts, directions: Directions, amount: float, how: How
) -> "LayerSteering":
    layers, site = directions.layers, how.layers
    if layers is None or site is None or site.recipe != layers.key:
        raise BadInput(
            f"{clip.direction}: its decoder layers are not those that were measured (layers.json); steer again"
        )
    if clip.emotion is not None:
        return layers.at(layers.differences(clip.emotion), amount, site)
    number = int(str(clip.direction).rpartition("/")[2])
    return layers.at(layers.random(number), amount, site)
