"""Clips that are made while somebody waits: a queue with one clip at a time in work, that can be left at every step.

A set is three clips of one prompt and seed: the original, the steered one, and one moved as far along a random direction.
A clip that was made already, such as the original of another coefficient, is not made again.
"""

import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from moodlens.core import BadInput
from moodlens.explore.explored import Explored
from moodlens.explore.generate import Planned, how_made, in_words, planned
from moodlens.explore.generate_records import (
    PROMPT,
    SECONDS,
    ClipSet,
    ClipSets,
    ClipSettings,
    GenerateQuestion,
    GeneratorFacts,
    MadeClip,
    Which,
)
from moodlens.explore.generator import WatchedGenerator
from moodlens.explore.steer import steer_unit
from moodlens.settings.steer import NEUTRAL_PROMPTS
from moodlens.steer.clips import write_clip
from moodlens.study.records.steer import ClipFacts, How

WAITING = 4
KEPT = 8
LONGEST = 1800.0
"""Seconds of work on one set, then it is left."""


class Busy(Exception):
    """More is waiting than may wait."""


class _Left(Exception):
    """Nobody wants this set any more."""


@dataclass
class _Set:
    """A set on its way."""

    id: int
    question: GenerateQuestion
    how: How
    words: str
    clips: tuple[Planned, ...]
    state: str = "waiting"
    error: str | None = None
    left: bool = False
    share: float = 0.0
    began: float | None = None
    spent: float = 0.0
    made: list[Which] = field(default_factory=list)


class Studio:
    """Makes clips in a thread of its own; sounds lie in a temporary folder that goes with it.

    Args:
        explored: the study whose directions steer.
        generator: what makes the sound.
        waiting: sets that may wait besides the one in work.
        kept: sets whose sounds are kept; the oldest go first.
        longest: seconds that one set may take.
    """

    def __init__(
        self,
        explored: Explored,
        generator: WatchedGenerator,
        *,
        waiting: int = WAITING,
        kept: int = KEPT,
        longest: float = LONGEST,
    ):
        self._explored, self._generator = explored, generator
        self._most, self._kept, self._longest = waiting, kept, longest
        self._home = tempfile.TemporaryDirectory(prefix="moodlens-clips-")
        self._folder = Path(self._home.name)
        self._changed = threading.Condition()
        self._sets: dict[int, _Set] = {}
        self._waiting: deque[_Set] = deque()
        self._facts: dict[str, ClipFacts] = {}
        self._last, self._closed = 0, False
        self._thread = threading.Thread(target=self._work, name="explorer-clips", daemon=True)
        self._thread.start()

    @property
    def facts(self) -> GeneratorFacts:
        """What may be asked."""
        info, (low, high) = self._generator.info(), self._generator.seconds
        # Where a folder lies is nobody's business; what makes a clip again names it whole.
        name = Path(info.model).name if Path(info.model).is_dir() else info.model
        return GeneratorFacts(
            model=name,
            device=info.device,
            dtype=info.dtype,
            shortest=low,
            longest=min(high, SECONDS),
            guidance=self._generator.guidance,
            prompt=PROMPT,
            waiting=self._most,
            kept=self._kept,
            prompts=NEUTRAL_PROMPTS,
        )

    def ask(self, question: GenerateQuestion) -> ClipSet:
        """Put a set into the queue.

        Raises:
            BadInput: a direction points nowhere, the coefficient is 0, or the prompt or length cannot be made.
            Busy: as many wait as may wait.
        """
        self._generator.check(question.prompt, question.seconds)
        how = how_made(question, self._generator)
        clips = planned(self._explored, question, how)
        with self._changed:
            if self._closed:
                raise Busy("the server is being stopped")
            if len(self._waiting) >= self._most:
                raise Busy(
                    f"{self._most} sets are waiting already; cancel one, or ask again when one is done"
                )
            self._last += 1
            made = _Set(self._last, question, how, in_words(question), clips)
            self._sets[made.id] = made
            self._waiting.append(made)
            self._changed.notify_all()
            return self._told(made)

    def sets(self) -> ClipSets:
        """All that is there, newest first."""
        with self._changed:
            return ClipSets(sets=tuple(self._told(clip_set) for clip_set in reversed(self._sets.values())))

    def look(self, number: int) -> ClipSet:
        """How far a set is.

        Raises:
            BadInput: it is not there any more, or never was.
        """
        with self._changed:
            return self._told(self._of(number))

    def cancel(self, number: int) -> ClipSet:
        """Leave a set: at once if it waits, at the next step of the decoder if it is in work. Clips that are made stay.

        Raises:
            BadInput: it is not there any more, or never was.
        """
        with self._changed:
            clip_set = self._of(number)
            if clip_set.state == "waiting":
                self._waiting.remove(clip_set)
                self._end(clip_set, "cancelled")
            clip_set.left = True
            return self._told(clip_set)

    def sound(self, number: int, which: str) -> Path:
        """The WAV of a clip.

        Raises:
            BadInput: it is not made.
        """
        with self._changed:
            return self._folder / f"{self._made(number, which)[1].key}.wav"

    def settings(self, number: int, which: str) -> ClipSettings:
        """What makes a clip again.

        Raises:
            BadInput: it is not made.
        """
        with self._changed:
            clip_set, clip = self._made(number, which)
            facts = self._facts[clip.key]
        study = self._explored.study
        return ClipSettings(
            study=study.settings.name,
            sae=study.sae_key,
            parts=clip_set.question.parts if which == "steered" else (),
            unit=steer_unit(self._explored),
            clip=facts,
            vector=None if clip.vector is None else tuple(clip.vector.astype(float).tolist()),
        )

    def close(self) -> None:
        """Leave what is in work and take the sounds away."""
        with self._changed:
            self._closed = True
            for clip_set in self._sets.values():
                clip_set.left = True
            self._changed.notify_all()
        self._thread.join(30)
        self._home.cleanup()

    # -- the work ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                now = self._waiting.popleft()
                now.state, now.began = "working", time.monotonic()
            state, error = "done", None
            try:
                self._make(now)
            except _Left:
                state = "cancelled"
            except BadInput as bad:
                state, error = "failed", str(bad)
            except Exception as fault:  # noqa: BLE001 - the next in the queue shall still be made
                state, error = "failed", f"{type(fault).__name__}: {fault}".splitlines()[0]
            with self._changed:
                self._end(now, state, error)

    def _make(self, now: _Set) -> None:
        began = time.monotonic()
        for i, clip in enumerate(now.clips):

            def step(share: float, before: int = i) -> None:
                if now.left:
                    raise _Left
                if time.monotonic() - began > self._longest:
                    raise BadInput(
                        f"took longer than {self._longest:g} s and was left; ask for fewer seconds of music"
                    )
                now.share = (before + share) / len(now.clips)

            step(0.0)
            if clip.key not in self._facts:
                audio = self._generator.make(
                    clip.spec.text, clip.spec.seed, now.how, clip.vector, clip.amount, step
                )
                facts = write_clip(
                    self._folder,
                    clip.key,
                    audio,
                    self._generator.rate,
                    clip.spec,
                    amount=clip.amount,
                    how=now.how,
                    encoder=self._explored.study.encoder_info.encoder,
                )
                with self._changed:
                    self._facts[clip.key] = facts
            with self._changed:
                now.made.append(clip.which)
                now.share = (i + 1) / len(now.clips)

    def _end(self, now: _Set, state: str, error: str | None = None) -> None:
        """Called with the lock held."""
        now.state, now.error = state, error
        now.spent = 0.0 if now.began is None else time.monotonic() - now.began
        ended = [
            clip_set for clip_set in self._sets.values() if clip_set.state in ("done", "cancelled", "failed")
        ]
        for clip_set in ended[: max(len(ended) - self._kept, 0)]:
            del self._sets[clip_set.id]
        wanted = {clip.key for clip_set in self._sets.values() for clip in clip_set.clips}
        for key in [key for key in self._facts if key not in wanted]:
            del self._facts[key]
            for ending in ("wav", "json"):
                (self._folder / f"{key}.{ending}").unlink(missing_ok=True)

    # -- what is told ------------------------------------------------------------------------------------------------

    def _of(self, number: int) -> _Set:
        if number not in self._sets:
            raise BadInput(f"set {number}: is not there; the newest {self._kept} are kept")
        return self._sets[number]

    def _made(self, number: int, which: str) -> tuple[_Set, Planned]:
        clip_set = self._of(number)
        for clip in clip_set.clips:
            if clip.which == which and which in clip_set.made:
                return clip_set, clip
        raise BadInput("no such clip")

    def _told(self, one: _Set) -> ClipSet:
        spent = one.spent
        if one.state == "working" and one.began is not None:
            spent = time.monotonic() - one.began
        left = spent / one.share * (1 - one.share) if one.state == "working" and one.share > 0.02 else None
        ahead = 0
        if one.state == "waiting":
            working = any(other.state == "working" for other in self._sets.values())
            ahead = self._waiting.index(one) + working if one in self._waiting else 0
        return ClipSet(
            id=one.id,
            state=one.state,  # type: ignore[arg-type]
            ahead=ahead,
            share=round(one.share, 4),
            seconds_spent=round(spent, 2),
            seconds_left=None if left is None else round(left, 1),
            error=one.error,
            direction=one.words,
            question=one.question,
            clips=tuple(self._shown(one, clip) for clip in one.clips if clip.which in one.made),
        )

    def _shown(self, one: _Set, clip: Planned) -> MadeClip:
        loudness = self._facts[clip.key].loudness
        return MadeClip(
            which=clip.which,
            audio=f"api/generate/{one.id}/{clip.which}.wav",
            settings=f"api/generate/{one.id}/{clip.which}.json",
            direction=clip.spec.direction,
            coefficient=clip.spec.coefficient or 0.0,
            peak=loudness.peak,
            lufs=loudness.lufs,
        )
