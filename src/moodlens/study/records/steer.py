"""What a steering run leaves: the run, its progress, and what each clip is."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from moodlens.settings.steer import SteerSettings
from moodlens.study.record import Part, Record

CLIPS = "clips"
"""Folder of a run's clips."""


class Loudness(Part):
    """Measured on the samples as the codec gave them, before anything scales them."""

    rms_dbfs: float | None = Field(default=None, description="root mean square, dBFS; null: silence, unknown")
    lufs: float | None = Field(
        default=None, description="integrated loudness by ITU-R BS.1770-4, LUFS; null also under 0.4 s"
    )
    peak: float | None = Field(default=None, description="largest magnitude; 1 is full scale")


class Checkpoint(Part):
    """The generator."""

    model: str = Field(description="hub name or folder, as it was asked for")
    revision: str = Field(description="the hub's commit, or a digest of the weights")
    dtype: str = Field(description="what text encoder and decoder compute in; the codec is always float32")
    device: str = Field(description="cpu, cuda ...")


class LayerSite(Part):
    """Where in the decoder a clip was steered."""

    layers: tuple[int, ...] | None = Field(description="decoder layers, from 0 on; null: all")
    decay: float = Field(description="factor of the strength from one step to the next")
    halves: Literal["conditional", "both"] = Field(description="halves of guidance that were steered")
    recipe: str = Field(description="hash of the recipe in layers.json, which decides the vectors")


class How(Checkpoint):
    """How a clip was generated, besides what it is."""

    seconds: float = Field(description="length, s")
    guidance: float = Field(description="classifier-free guidance scale")
    temperature: float = Field(description="of the sampling softmax")
    top_k: int = Field(description="tokens kept at each draw; 0: all")
    renorm: bool = Field(description="whether steered tokens were scaled back to the norm they had")
    null: Literal["zeros", "opposite"] = Field(description="null half of guidance: zeros or opposite")
    schedule: tuple[tuple[float, float], ...] | None = Field(
        description="(seconds, factor) points of the coefficient; null: constant"
    )
    steps: int | None = Field(
        default=None, description="of denoising; null: a model that makes music token by token"
    )
    negative: str | None = Field(default=None, description="text that guidance leads away from; null: none")
    melody: str | None = Field(
        default=None, description="SHA-256 of the sound whose melody the clip follows; null: none"
    )
    continued: str | None = Field(
        default=None, description="SHA-256 of the sound that the clip goes on from; null: none"
    )
    layers: LayerSite | None = Field(
        default=None, description="place in the decoder; null: the clip is not steered there"
    )


class ClipFacts(Part):
    """KEY.json beside KEY.wav. The key is a hash of all that decides the clip."""

    key: str = Field(description="name of the clip")
    file: str = Field(description="the WAV file beside this one")
    prompt: str = Field(description="the neutral text it starts from")
    text: str = Field(description="what the model read")
    method: str = Field(description="none, prompt_editing or a direction's method")
    direction: str | None = Field(description="name of the direction; null without one")
    emotion: str | None = Field(description="steered towards; null for plain clips and controls")
    coefficient: float | None = Field(
        description="in units of the directions; 0 for plain clips, null under prompt editing"
    )
    seed: int = Field(description="of the draws")
    amount: float = Field(
        description="length added along the direction, in the embedding's units; in the decoder: differences in means"
    )
    how: How = Field(description="checkpoint and sampling")
    encoder: str = Field(description="encoder that the directions were made with")
    batch: int = Field(
        default=1, description="clips made in the same call; it decides none of this one's tokens"
    )
    loudness: Loudness = Field(description="of the raw samples")
    sampling_rate: int = Field(description="Hz")
    samples: int = Field(description="samples a channel")
    sha256: str = Field(description="of the WAV file")


class SteerRun(Record):
    """What a steering run is made of."""

    file: ClassVar[str] = "run.json"
    stage: ClassVar[str] = "steer DIR --out"

    settings: SteerSettings = Field(description="what was asked for")
    model: Checkpoint = Field(description="the generator")
    notes: tuple[str, ...] = Field(description="what could not be made, and why")
    clips: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")], ...] = Field(
        description="keys of the clips, in the order they were planned"
    )


class SteerShard(Record):
    """One machine's part of a steering run: every n-th clip."""

    file: ClassVar[str] = "shard.json"
    stage: ClassVar[str] = "steer DIR --shard i/n --out"

    shard: int = Field(description="number of this part, from 1")
    of: int = Field(description="parts")
    settings: SteerSettings = Field(description="what was asked for")
    model: Checkpoint = Field(description="the generator")
    notes: tuple[str, ...] = Field(description="what could not be made, and why")
    clips: tuple[str, ...] = Field(description="keys of all clips of the run, in the order they were planned")


class SteerProgress(Record):
    """How far a run is; the only file of a run that depends on the clock."""

    file: ClassVar[str] = "progress.json"
    stage: ClassVar[str] = "steer DIR --out"

    done: int = Field(description="clips that are there")
    total: int = Field(description="clips of the run")
    seconds_per_clip: float = Field(description="mean over the clips made by this call, s")
    seconds_left: float = Field(description="estimate, s")


class DirectionFacts(Part):
    """One direction; its vector is the row of that number in directions.safetensors."""

    name: str = Field(description="unique in the file, such as sae_family/happy or random/07")
    method: str = Field(description="how it was made")
    emotion: str | None = Field(description="what it should bring; null for controls")
    detail: dict[str, JsonValue] = Field(description="features, weights, seeds, norms")


class DirectionsFile(Record):
    """What the vectors of directions.safetensors are, and whose embedding space they live in."""

    file: ClassVar[str] = "directions.json"
    stage: ClassVar[str] = "steer DIR --out"

    format: Literal["moodlens-directions"] = Field(description="what this file is")
    site: str = Field(description="tensor of MusicGen that is moved")
    encoder: str = Field(description="id of the encoder")
    revision: str | None = Field(description="of the encoder, if known")
    d_in: int = Field(description="width of the vectors")
    data: str = Field(description="hash of the rows and labels that they were made from")
    anchor_texts: tuple[str, ...] = Field(description="some of the study's prompts")
    emotions: tuple[str, ...] = Field(description="the study's labels")
    unit: float = Field(description="length that coefficient 1 adds, in the embedding's units")
    norms: dict[str, float] = Field(description="difference-in-means norm of each emotion")
    notes: tuple[str, ...] = Field(description="what could not be built, and why")
    texts: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="emotion -> labelled texts of the study that the decoder's layers are measured on; empty: none are",
    )
    vectors_sha256: str = Field(description="of directions.safetensors")
    directions: tuple[DirectionFacts, ...] = Field(description="in the order of the vectors")


class LayerRecipe(Part):
    """All that decides the means of a decoder's residual stream."""

    texts: dict[str, tuple[str, ...]] = Field(description="emotion -> what its clips were made of")
    seconds: float = Field(description="length of each clip, s")
    seed: int = Field(description="of the clips")
    guidance: float = Field(description="classifier-free guidance scale; the conditional half is measured")
    temperature: float = Field(description="of the sampling softmax")
    top_k: int = Field(description="tokens kept at each draw; 0: all")
    revision: str = Field(description="of the generator")
    dtype: str = Field(description="what it computes in")
    melody: str | None = Field(description="SHA-256 of the sound whose melody the clips follow; null: none")


class LayersFile(Record):
    """What the means of layers.safetensors are: ``(emotions, layers, width)`` float32, over clips and steps."""

    file: ClassVar[str] = "layers.json"
    stage: ClassVar[str] = "steer DIR --out"

    emotions: tuple[str, ...] = Field(description="names of the rows")
    n_layers: int = Field(description="decoder layers (count)")
    d_decoder: int = Field(description="width of the residual stream")
    recipe: LayerRecipe = Field(description="what decides them")
    means_sha256: str = Field(description="of layers.safetensors")
