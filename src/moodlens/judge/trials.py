"""Which clips a listening test plays together, chosen so that no clip is known from before.

Whoever has heard one clip of a pair in an earlier trial knows it again, and may take it for the plain one. So a partner is
the least heard of all that fit: unsteered clips of any seed, clips of random directions, or those of another method.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from moodlens.core import BadInput
from moodlens.judge.chance import control_of
from moodlens.judge.clips import Facts
from moodlens.settings.judge import RANDOM, UNSTEERED, ListenSettings
from moodlens.settings.steer import EDITING, LAYER_METHOD, LAYER_RANDOM, NEUTRAL_EDITING, UNSCALED
from moodlens.study.records.judge import Trial


def choose_trials(clips: Sequence[Facts], settings: ListenSettings, where: str) -> list[Trial]:
    """The trials of a test, in order of method and emotion; the page shuffles them.

    For each method and emotion ``pairs`` clips at the coefficient, over as many prompts and seeds as there are, each with
    a partner of the same prompt. A control has no emotion of its own and is asked about every one. ``swap`` puts the
    partner first; it is true in half of each method's trials (to within one). Where the settings name no partner, it is
    the unsteered clip, or that of a random direction where clips are then heard less often.

    Args:
        clips: what is known of each clip.
        where: named in errors.

    Raises:
        BadInput: nothing fits the settings, or a partner is missing.
    """
    if not all(clip.method for clip in clips):
        raise BadInput(f"{where}: needs a JSON file for each clip, which says how it was made (method)")
    if settings.against is not None:
        return _Chooser(clips, settings, where, settings.against).trials()
    trials = _Chooser(clips, settings, where, UNSTEERED).trials()
    if most_heard(trials) > 1:
        with suppress(BadInput):  # there are not such clips for every trial: the unsteered ones then
            others = _Chooser(clips, settings, where, RANDOM).trials()
            trials = min(trials, others, key=most_heard)
    return trials


def most_heard(trials: Sequence[Trial]) -> int:
    """In how many trials the most-heard clip is; trials that are shown again on purpose count once."""
    once = (trial for trial in trials if trial.repeat is None)
    heard = Counter(file for trial in once for file in {trial.steered, trial.partner})
    return max(heard.values(), default=0)


@dataclass
class _Chooser:
    """Chooses all trials of a test against one kind of partner.

    Attributes:
        against: of :class:`ListenSettings`, settled.
        heard: file -> trials so far that play it.
    """

    clips: Sequence[Facts]
    settings: ListenSettings
    where: str
    against: str
    heard: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.settings.seed, 6])
        c = self.settings.coefficient
        at = [clip for clip in self.clips if clip.coefficient == c or clip.method in UNSCALED]
        # In an order of their own, so that the first of equals is drawn.
        at = [at[i] for i in self.rng.permutation(len(at))]
        plain = [clip for clip in self.clips if clip.method == "none"]
        self.partners: dict[str | None, list[Facts]] = defaultdict(list)
        for clip in [*(plain[i] for i in self.rng.permutation(len(plain))), *at]:
            self.partners[clip.prompt].append(clip)
        made = {clip.method for clip in at}
        self.chance = {str(method): self._chance(str(method), made) for method in made}
        self.controls = (
            {RANDOM, LAYER_RANDOM, *self.chance.values()} if self.against == RANDOM else {self.against}
        )
        left = {"none", NEUTRAL_EDITING} | self.controls
        self.steered = [clip for clip in at if clip.method not in left]
        if self.against == UNSTEERED and not plain:
            raise BadInput(f"{self.where}: needs unsteered clips (method none) to compare with")
        if self.against != UNSTEERED and not made & self.controls:
            known = ", ".join(sorted({str(clip.method) for clip in at} - {NEUTRAL_EDITING}))
            raise BadInput(
                f"{self.where}: against {self.against}: no such clip at coefficient {c:g} {self._there}; there is {known}"
            )

    @property
    def _there(self) -> str:
        known = sorted({clip.coefficient for clip in self.clips if clip.coefficient is not None})
        return f"(the run has {', '.join(f'{c:g}' for c in known)})"

    @property
    def _head_to_head(self) -> bool:
        return self.against not in (UNSTEERED, RANDOM)

    def trials(self) -> list[Trial]:
        """Every method's, then those that are shown again."""
        self._check_names()
        trials: list[Trial] = []
        emotions = self._emotions()
        for method in self._methods():
            pairs = self._pairs(method, emotions)
            sides = self.rng.permutation(np.arange(len(pairs)) % 2 == 0)
            for (clip, partner, emotion), swap in zip(pairs, sides, strict=True):
                trials.append(_trial(len(trials), clip, partner, emotion, swap=bool(swap)))
        again = self.rng.permutation(len(trials))[: self.settings.repeats]
        for n, i in enumerate(again, len(trials)):
            first = trials[int(i)]
            changes = {"trial": f"t{n:03d}", "repeat": first.trial, "swap": not first.swap}
            trials.append(first.model_copy(update=changes))
        return trials

    def _check_names(self) -> None:
        """Raise BadInput where a method or an emotion is asked for of which the run has no clip at all."""
        asked = {"method": self.settings.methods, "emotion": self.settings.emotions}
        for name, values in asked.items():
            known = {getattr(clip, name) for clip in self.clips} - {None, "none", NEUTRAL_EDITING}
            for value in values:
                if value not in known:
                    raise BadInput(
                        f"{self.where}: no clip of the {name} {value}; there is {', '.join(sorted(known))}"
                    )

    def _methods(self) -> tuple[str, ...]:
        settings = self.settings
        if itself := sorted(self.controls & set(settings.methods)):
            raise BadInput(f"{self.where}: {itself[0]} cannot be compared with itself; leave it out")
        if settings.methods:
            return settings.methods
        own = [clip for clip in self.steered if clip.emotion is not None or not self._head_to_head]
        methods = tuple(sorted({str(clip.method) for clip in own}))
        if not methods:
            raise BadInput(
                f"{self.where}: no other method than {self.against} to compare at this coefficient"
            )
        swept = {clip.coefficient for clip in self.clips if clip.coefficient is not None}
        if len(swept) > 1 and set(methods) <= {EDITING} and self.against not in UNSCALED:
            raise BadInput(
                f"{self.where}: no clip at coefficient {settings.coefficient:g} {self._there}; choose another coefficient"
            )
        return methods

    def _emotions(self) -> tuple[str, ...]:
        if self.settings.emotions:
            return self.settings.emotions
        emotions = {clip.emotion for clip in self.steered if clip.emotion is not None}
        if self._head_to_head:
            others = (clip for fits in self.partners.values() for clip in fits if clip.method == self.against)
            emotions &= {clip.emotion for clip in others}
        return tuple(sorted(emotion for emotion in emotions if emotion is not None))

    def _pairs(self, method: str, emotions: Sequence[str]) -> list[tuple[Facts, Facts, str]]:
        """Clips of a method, their partners, and what is asked of them."""
        own = [clip for clip in self.steered if clip.method == method]
        pairs: list[tuple[Facts, Facts, str]] = []
        taken: set[str] = set()
        asked: Counter[str | None] = Counter()  # of a control's prompts, over all emotions
        for emotion in emotions:
            towards = [clip for clip in own if clip.emotion == emotion]
            if towards:
                taken, asked = set(), Counter()
            else:
                towards = [clip for clip in own if clip.emotion is None]
            if not towards:
                raise BadInput(
                    f"{self.where}: no {method} clip for {emotion} at coefficient {self.settings.coefficient:g} "
                    f"{self._there}; choose another coefficient, methods or emotions"
                )
            for _ in range(self.settings.pairs):
                left = [clip for clip in towards if clip.file not in taken]
                if not left:
                    break
                clip, partner = min(
                    ((clip, self._partner(clip, emotion)) for clip in left),
                    key=lambda two: (asked[two[0].prompt], *(self.heard[each.file] for each in two[::-1])),
                )
                pairs.append((clip, partner, emotion))
                taken.add(clip.file)
                asked[clip.prompt] += 1
                self.heard.update({clip.file, partner.file})
        return pairs

    def _chance(self, method: str, made: Collection[str | None]) -> str:
        """The control that the results compare a method with; random directions where it was not made.

        In the decoder's layers those would mean nothing.
        """
        control = control_of(method, paired="neutral_difference" in made)
        return control if control in made or method == LAYER_METHOD else RANDOM

    def _partner(self, clip: Facts, emotion: str) -> Facts:
        """The least heard clip that ``clip`` can be compared with: of its own seed, if that is as fresh as others."""
        fits = [other for other in self.partners[clip.prompt] if other.file != clip.file]
        if self.against == UNSTEERED:
            fits = [other for other in fits if other.method == "none"]
        elif self.against == RANDOM:
            control = self.chance.get(str(clip.method), RANDOM)
            like = [other for other in fits if other.method == control]
            drawn = [] if clip.method == LAYER_METHOD else [other for other in fits if other.method == RANDOM]
            fits = like or drawn
        else:
            fits = [
                other for other in fits if other.method == self.against and other.emotion in (emotion, None)
            ]
        if not fits:
            wanted = self.chance.get(str(clip.method), RANDOM) if self.against == RANDOM else self.against
            raise BadInput(
                f"{self.where}: {clip.file} has no {wanted} clip of {clip.prompt!r} to be compared with; finish the "
                "run, or choose what to compare with (against)"
            )
        return min(fits, key=lambda other: (self.heard[other.file], other.seed != clip.seed))


def _trial(number: int, clip: Facts, partner: Facts, emotion: str, *, swap: bool) -> Trial:
    return Trial(
        trial=f"t{number:03d}",
        repeat=None,
        swap=swap,
        method=str(clip.method),
        direction=clip.direction,
        emotion=emotion,
        prompt=clip.prompt,
        coefficient=clip.coefficient,
        seed=clip.seed,
        steered=clip.file,
        against=str(partner.method),
        partner_seed=partner.seed,
        partner=partner.file,
    )
