"""How far a condition moves its generator, measured without a draw: what methods are compared at.

The unsteered model's own clip of a prompt and seed is held fixed, and the model is asked about it with the condition and without.
Of a model that says tokens ``change`` is KL(steered, unsteered), nats per token; of one that takes away noise, the mean squared change
of the predicted velocity at fixed noise. Both are 0 without steering, and quadratic in a small step.

``seed_shift`` is what chance alone shows in the same unit. The expected log-likelihood ratio of steered to unsteered model is plus
a KL on steered clips and minus a KL on unsteered ones, so it is along it that clips of a condition differ from unsteered ones; and
from one unsteered clip to another it differs as well. Where the change is no larger than that, two unsteered seeds are as far
apart along the condition as steering moves a clip, and nothing heard can be put down to its strength. (For velocities the squared
error stands for the log-likelihood; where the unsteered model is right, its expected rise is the squared change.)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moodlens.core import BadInput, Progress, silent
from moodlens.judge.clips import run_clips
from moodlens.steer.clips import read_clip
from moodlens.steer.condition import condition_job, run_sampling
from moodlens.steer.generator import Job
from moodlens.steer.run import prepare, run_directions
from moodlens.study.records.judge import CHANGE, Change
from moodlens.study.records.steer import ClipFacts, How, SteerRun

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from moodlens.steer.conditioning import Sampling
    from moodlens.steer.diffusion import Diffusion
    from moodlens.steer.generator import Generator
    from moodlens.steer.musicgen import MusicGen


class Reference(Protocol):
    """An unsteered clip that a model is asked about."""

    def ask(self, job: Job) -> tuple[float, float]:
        """Change under the condition of ``job``, and how much likelier the clip becomes, in the same unit."""
        ...


class SpokenReference:
    """Tokens of an unsteered clip, and what a MusicGen predicts of them.

    Args:
        codes: ``(n_codebooks, frames)``, as they were drawn for ``plain``.
        plain: the unsteered job.
    """

    def __init__(self, model: "MusicGen", codes: "np.ndarray", plain: Job, sampling: "Sampling") -> None:
        import torch

        from moodlens.steer.forcing import answer

        self.model, self.codes, self.sampling = model, codes, sampling
        self.base = answer(model, plain, codes, sampling)
        self.index = torch.as_tensor(codes, dtype=torch.long, device=self.base.device)[..., None]

    def ask(self, job: Job) -> tuple[float, float]:
        """KL(steered, unsteered) and the codes' log-likelihood ratio, nats per token."""
        from moodlens.steer.forcing import answer

        steered = answer(self.model, job, self.codes, self.sampling)
        apart = steered - self.base
        kl = (steered.exp() * apart).sum(dim=-1).mean()
        return max(float(kl), 0.0), float(apart.gather(-1, self.index).mean())


class DenoisedReference:
    """An unsteered clip, and the noise that a diffusion model takes from it; its conditional half alone.

    Args:
        audio: ``(channels, samples)``, as it was made for ``plain``.
        plain: the unsteered job.
    """

    def __init__(self, model: "Diffusion", audio: "np.ndarray", plain: Job, seconds: float) -> None:
        from moodlens.judge.denoising import Denoising, Sound

        self.model, self.plain = model, plain
        self.denoising = Denoising(model, [Sound(audio, plain.text)], seconds=seconds)

    def ask(self, job: Job) -> tuple[float, float]:
        """Mean squared change of the velocity, and how much its mean squared error falls."""
        import torch

        rows = [self.model.conditioned(each) for each in (self.plain, job)]
        states, mask = (torch.cat(parts) for parts in zip(*rows, strict=True))
        moved, error = self.denoising.compare(states, mask)
        return float(moved[0]), -float(error[0])


def measured_by(model: "Generator", how: How) -> Change | None:
    """What tells how far ``model`` is moved; None where nothing does."""
    from moodlens.steer.diffusion import Diffusion
    from moodlens.steer.musicgen import MusicGen

    if unmeasurable(how) is not None:
        return None
    if isinstance(model, MusicGen):
        return "kl"
    return "velocity" if isinstance(model, Diffusion) else None


def unmeasurable(how: How) -> str | None:
    """Why a way of steering cannot be measured, in words; None where it can be. A clip's file is enough to tell."""
    if how.steps is not None:  # of denoising: the model's conditional half alone is asked
        return None if how.null == "zeros" else "the null half of guidance is steered the other way"
    # One pass asks about all places of a clip at once, under one strength, from the first place on.
    if how.continued is not None:
        return "its clips go on from a sound (continue_from), and only clips from their first step on can be asked about"
    if how.schedule is not None:
        return "its strength changes over time (schedule), and all of a clip is asked about at one strength"
    return None


def references(
    model: "Generator", jobs: Sequence[Job], how: How, sampling: "Sampling", seconds: float
) -> list[Reference]:
    """The model's own clips of unsteered ``jobs``, to be asked about.

    Args:
        seconds: of each clip's start; a diffusion model makes and is asked about the whole clip.

    Raises:
        BadInput: no such reference can be had of the model.
    """
    from moodlens.steer.diffusion import Diffusion
    from moodlens.steer.forcing import own_tokens
    from moodlens.steer.musicgen import MusicGen

    if isinstance(model, MusicGen):
        # The last frames of a shorter clip are not those of a longer one: a few more are drawn, and cut.
        whole = min(how.seconds, model.window / model.frame_rate)  # all of it is asked about in one window
        n_frames = model.frames(min(seconds, whole))
        drawn = min(whole, (n_frames + model.n_codebooks) / model.frame_rate)
        told = own_tokens(model, jobs, seconds=drawn, sampling=sampling)
        return [
            SpokenReference(model, codes[:, :n_frames], job, sampling)
            for codes, job in zip(told, jobs, strict=True)
        ]
    if isinstance(model, Diffusion):
        made = model.batch(jobs, seconds=how.seconds, sampling=sampling)
        return [
            DenoisedReference(model, audio, job, how.seconds) for audio, job in zip(made, jobs, strict=True)
        ]
    raise BadInput(f"{model.title} {model.name}: there is no way to ask how far it is moved")


def measure_changes(
    out: Path | str, model: "Generator", seconds: float, progress: Progress = silent
) -> "pl.DataFrame | None":
    """Measure how far every clip's condition moves the generator, and write ``out/change.parquet``.

    What is there already is kept: a clip's name stands for all that decides it. Clips of one prompt and seed are asked about
    together, one after the other, so that no value depends on its neighbours.

    Args:
        out: folder of a finished run.
        model: the run's generator.
        seconds: of the unsteered clips' start.

    Returns:
        The table of all clips of the run; None where the run's way of steering cannot be measured.

    Raises:
        BadInput: no run, a damaged clip, or another checkpoint than the run's.
    """
    import polars as pl

    folder, keys = run_clips(out)
    run, directions = SteerRun.read(out), run_directions(out)
    if model.info().revision != run.model.revision:
        raise BadInput(
            f"{out}: was made with {run.model.model}, of which {model.name} is not the same weights"
        )
    prepare(model, run.settings, directions)
    known = read_changes(out, seconds)
    have = set() if known is None else set(known["key"])
    clips = [_clip(folder, key) for key in keys if key not in have]
    if not clips:
        return known
    how = {measured_by(model, clip.how) for clip in clips}
    if None in how:
        return None
    (of,) = how
    groups: dict[tuple[str, int], list[ClipFacts]] = {}
    for clip in clips:
        groups.setdefault((clip.prompt, clip.seed), []).append(clip)
    done = len(keys) - len(clips)
    for (prompt, seed), todo in groups.items():
        other = other_seed(run.settings.seeds, seed)
        sampling = run_sampling(todo[0].how)
        plain = [Job(prompt, each) for each in (seed, other)]
        first, second = references(model, plain, todo[0].how, sampling, seconds)
        rows = []
        for clip in todo:
            change, shift = _asked(first, second, clip, condition_job(clip, directions, clip.how))
            rows.append(
                {"key": clip.key, "of": of, "change": change, "seed_shift": shift, "seconds": seconds}
                | {"other_seed": other}
            )
            progress("changes", done := done + 1, len(keys))
        new = pl.DataFrame(rows, schema=CHANGE.dtypes())
        known = new if known is None else pl.concat([known, new])
        CHANGE.write(Path(out), known)
    return known


def _asked(first: Reference, second: Reference, clip: ClipFacts, job: Job) -> tuple[float, float | None]:
    if clip.method == "none":
        return 0.0, 0.0
    change, ratio = first.ask(job)
    if clip.emotion is None:  # a control is not matched, it stands beside
        return change, None
    return change, abs(ratio - second.ask(job)[1])


def other_seed(seeds: Sequence[int], seed: int) -> int:
    """A second seed of the unsteered model: the run's next one, or one more where it has none."""
    if len(seeds) < 2:
        return (seed + 1) % 2**63
    return seeds[(seeds.index(seed) + 1) % len(seeds)]


def read_changes(out: Path | str, seconds: float) -> "pl.DataFrame | None":
    """What was measured of the clips in ``out`` over ``seconds``; None: nothing."""
    import polars as pl

    if not (Path(out) / CHANGE.file).is_file():
        return None
    return CHANGE.read(out).filter(pl.col("seconds") == seconds)


def _clip(folder: Path, key: str) -> ClipFacts:
    clip = read_clip(folder, key)
    if clip is None:
        raise BadInput(
            f"{folder / key}.wav: missing, or not as the run wrote it; run the same steering again to make it"
        )
    return clip
