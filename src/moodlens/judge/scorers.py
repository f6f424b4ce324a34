"""Scores asked for by name: musicnn, and those of other packages.

Others are found as entry points of the group ``moodlens.scorers``: something that is called with the emotions and the device
and returns a :class:`~moodlens.judge.score.Score`. Columns ``NAME_<emotion>``, one for every emotion, are judged like CLAP's.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from moodlens.core import BadInput
from moodlens.judge.score import Score

GROUP = "moodlens.scorers"


def _musicnn(emotions: Sequence[str], device: str) -> Score:
    from moodlens.judge.musicnn import MusicnnScore

    return MusicnnScore(emotions)


OWN: dict[str, Callable[[Sequence[str], str], Score]] = {"musicnn": _musicnn}


def named_scorers(names: Sequence[str], emotions: Sequence[str], *, device: str = "auto") -> list[Score]:
    """The scores of these names, ready to use.

    Args:
        emotions: that they tell apart.
        device: that they may compute on.

    Raises:
        BadInput: there is no such scorer, or it cannot be used here.
    """
    others = {point.name: point for point in entry_points(group=GROUP) if point.name not in OWN}
    scores = []
    for name in dict.fromkeys(names):
        if name in OWN:
            scores.append(OWN[name](emotions, device))
        elif name in others:
            try:
                scores.append(others[name].load()(emotions, device))
            except BadInput:
                raise
            except Exception as error:  # somebody else's package
                raise BadInput(f"scorer {name}: cannot be used: {error}") from error
        else:
            raise BadInput(f"scorer {name}: there is none; known: {', '.join([*OWN, *others])}")
    return scores
