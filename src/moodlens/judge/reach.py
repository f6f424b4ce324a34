"""What a grid of clips could claim at best, told before its first clip is made."""

from dataclasses import asdict, dataclass

import numpy as np

from moodlens.judge.chance import FEWEST, KINDS, MORE, control_of
from moodlens.settings.steer import (
    EDITING,
    LAYER_METHOD,
    LAYER_RANDOM,
    NEUTRAL_EDITING,
    OF_PROMPTS,
    SteerSettings,
)
from moodlens.stats.pvalues import least_sign_flip_p
from moodlens.steer.directions import Directions


@dataclass(frozen=True)
class Reach:
    """The confirmatory table that a grid leads to, and the least q it can have.

    Attributes:
        methods: of the table, that the grid makes.
        coefficient: matched strength; None where nothing but prompts is edited.
        n_rows: methods towards emotions.
        n_prompts: one observation each.
        beside: control -> directions (or words) of it at that strength, for the controls that the methods are compared with.
        untested: methods of which there are too few to test anything.
        n_tested: rows of the other methods.
        q_alone: least q of a row that moves while no other does.
        q_all: least q if every row moves.
        effect: standard deviations above its control that a row needs to be claimed alone, where the control is the
            smallest; None: none can be.
    """

    methods: tuple[str, ...]
    coefficient: float | None
    n_rows: int
    n_prompts: int
    beside: dict[str, int]
    untested: tuple[str, ...]
    n_tested: int
    q_alone: float
    q_all: float
    effect: float | None

    @classmethod
    def of(cls, settings: SteerSettings, directions: Directions) -> "Reach":
        """Of the clips that ``settings`` would make with ``directions``."""
        from scipy.stats import t

        judged = settings.judge
        made = (*settings.methods, *([EDITING] if settings.prompt_editing else []))
        methods = tuple(m for m in made if not judged.methods or m in judged.methods)
        emotions = settings.emotions or directions.emotions
        rows = {m: sum(_has(directions, m, e) for e in emotions) for m in methods}
        at = _matched(settings)
        paired = _made(settings, "neutral_difference", at)
        control = {m: control_of(m, paired=paired) for m in methods}
        beside = {c: _count(c, settings, directions, at) for c in control.values()}
        untested = tuple(m for m in methods if beside[control[m]] < FEWEST)
        tested = sum(n for m, n in rows.items() if m not in untested)
        p = least_sign_flip_p(len(settings.prompts))
        alone = min(1.0, p * tested) if tested else 1.0
        effect = None
        if tested and alone <= judged.alpha:
            n = min(beside[control[m]] for m in methods if rows[m] and m not in untested)
            effect = float(t.isf(judged.alpha / tested, n - 1) * np.sqrt(1 + 1 / n))
        return cls(
            methods=methods,
            coefficient=at,
            n_rows=sum(rows.values()),
            n_prompts=len(settings.prompts),
            beside=beside,
            untested=untested,
            n_tested=tested,
            q_alone=alone,
            q_all=p if tested else 1.0,
            effect=effect,
        )

    def summary(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        at = "" if self.coefficient is None else f" at coefficient {self.coefficient:g}"
        beside = "".join(f", {n} {KINDS[control]}" for control, n in self.beside.items())
        lines = [
            f"confirmatory table: {self.n_rows} rows ({', '.join(self.methods) or 'no method of it is made'}){at}, "
            f"{self.n_prompts} prompts{beside}"
        ]
        few = {control: n for control, n in self.beside.items() if n < FEWEST}
        make = ", ".join(MORE[control] for control in few)
        if self.n_tested and few:
            lines.append(
                f"not tested: {', '.join(self.untested)}, with nothing to compare with; make some ({make})"
            )
        if self.effect is not None:
            kinds = " or ".join(KINDS[control] for control in self.beside if control not in few)
            return [
                *lines,
                f"least q: {self.q_alone:.2g} for a row that moves alone, {self.q_all:.2g} if every row moves; alone it must "
                f"be {self.effect:.1f} standard deviations above the {kinds}",
            ]
        if self.n_tested:
            cause = "a row alone can reach no q that counts: use more prompts"
        elif self.n_rows:
            cause = f"there is nothing to compare with: make some ({make})"
        else:
            cause = "no row is made: name methods that are (judge.methods)"
        return [
            *lines,
            f"least q: {self.q_alone:.2g}, {self.q_all:.2g} if every row moves; {cause}, or take the clips as exploratory",
        ]


def _matched(settings: SteerSettings) -> float | None:
    """What :class:`moodlens.judge.tables.Judge` will compare at."""
    if settings.judge.coefficient is not None and (settings.methods or settings.controls):
        return settings.judge.coefficient
    return max(settings.shared_coefficients, default=None)


def _made(settings: SteerSettings, control: str, at: float | None) -> bool:
    return control in settings.controls and at in settings.at_controls


def _count(control: str, settings: SteerSettings, directions: Directions, at: float | None) -> int:
    """How many directions, or words, of a control clips are made of at the matched strength."""
    if control == NEUTRAL_EDITING:
        return len(settings.neutral_words)  # wherever prompts are edited
    if not _made(settings, control, at):
        return 0
    if control == LAYER_RANDOM:
        return settings.layers.n_random
    return len(settings.neutral_words if control in OF_PROMPTS else directions.select(method=control))


def _has(directions: Directions, method: str, emotion: str) -> bool:
    # Differences of texts and of the decoder's layers are made when the model is there, for every emotion.
    return method in (EDITING, "prompt_difference", LAYER_METHOD) or bool(
        directions.select(method=method, emotion=emotion)
    )
