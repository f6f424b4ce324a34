"""What a grid of clips could claim at best, told before its first clip is made."""

from dataclasses import asdict, dataclass

import numpy as np

from moodlens.judge.chance import FEWEST
from moodlens.judge.tables import EDITING
from moodlens.settings.steer import LAYER_METHOD, SteerSettings
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
        n_random: random directions at that strength.
        q_alone: least q of a row that moves while no other does.
        q_all: least q if every row moves.
        effect: standard deviations above random directions that a row needs to be claimed alone; None: it cannot be.
    """

    methods: tuple[str, ...]
    coefficient: float | None
    n_rows: int
    n_prompts: int
    n_random: int
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
        rows = sum(_has(directions, m, e) for m in methods for e in emotions)
        at = _matched(settings)
        random = "random" in settings.controls and at in settings.at_controls
        n_random = len(directions.select(method="random")) if random else 0
        n = n_random if set(methods) - {EDITING} or not methods else len(settings.neutral_words)
        p, enough = least_sign_flip_p(len(settings.prompts)), n >= FEWEST and rows > 0
        alone = min(1.0, p * rows) if enough else 1.0
        claimable = enough and alone <= judged.alpha
        effect = float(t.isf(judged.alpha / rows, n - 1) * np.sqrt(1 + 1 / n)) if claimable else None
        return cls(methods, at, rows, len(settings.prompts), n_random, alone, p if enough else 1.0, effect)

    def summary(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        at = "" if self.coefficient is None else f" at coefficient {self.coefficient:g}"
        head = (
            f"confirmatory table: {self.n_rows} rows ({', '.join(self.methods) or 'no method of it is made'}){at}, "
            f"{self.n_prompts} prompts, {self.n_random} random directions"
        )
        if self.effect is None:
            cause = (
                "a row alone can reach no q that counts"
                if self.q_alone < 1
                else "there is nothing to compare with"
            )
            return [
                head,
                f"least q: {self.q_alone:.2g}, {self.q_all:.2g} if every row moves; {cause}: use more prompts and random "
                "directions, or take the clips as exploratory",
            ]
        return [
            head,
            f"least q: {self.q_alone:.2g} for a row that moves alone, {self.q_all:.2g} if every row moves; alone it must "
            f"be {self.effect:.1f} standard deviations above the random directions",
        ]


def _matched(settings: SteerSettings) -> float | None:
    """What :class:`moodlens.judge.tables.Judge` will compare at."""
    if settings.judge.coefficient is not None and (settings.methods or settings.controls):
        return settings.judge.coefficient
    return max(settings.shared_coefficients, default=None)


def _has(directions: Directions, method: str, emotion: str) -> bool:
    # Differences of texts and of the decoder's layers are made when the model is there, for every emotion.
    return method in (EDITING, "prompt_difference", LAYER_METHOD) or bool(
        directions.select(method=method, emotion=emotion)
    )
