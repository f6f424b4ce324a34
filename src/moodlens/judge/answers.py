"""What listeners heard: the answers people send back, read against the key of their test."""

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from moodlens.core import BadInput
from moodlens.core.text import read_text
from moodlens.settings.steer import CONTROLS
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.study.records.judge import (
    Agreement,
    Cell,
    Consistency,
    ListenerShare,
    ListeningKey,
    ListeningResults,
    MethodShare,
    Share,
    Trial,
)


@dataclass(frozen=True)
class Answer:
    """One choice of one listener.

    Attributes:
        steered: whether the steered clip was chosen.
        first: whether the clip played on the first side was chosen.
    """

    listener: str
    trial: str
    steered: bool
    first: bool


def analyse_answers(files: Iterable[Path | str], key: Path | str) -> ListeningResults:
    """How often listeners took the steered clip for the more emotional one, and how far they agree.

    The choice is between two, so chance is 0.5 for every method. Binomial tests are two-sided and exact, intervals
    Wilson's at 95 %, ``q`` is Benjamini-Hochberg's over the method and emotion pairs. Answers of one listener, and
    answers to one trial, are not independent: ``trials`` counts each trial once by its majority, which is the careful
    reading. Repeats of a trial measure consistency only.

    Args:
        files: the JSON files that listeners saved.
        key: ``key.json`` of their test, or the folder that holds it.

    Raises:
        BadInput: a file is not answers to this test, names unknown trials or clips, or a listener answered twice.
    """
    test, trials = _read_key(key)
    answers = [answer for file in _distinct(files) for answer in _read_answers(file, test, trials)]
    once = [answer for answer in answers if trials[answer.trial].repeat is None]
    if not once:
        raise BadInput("answers: no answer at all in these files")
    cells: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    methods: dict[str, list[Answer]] = defaultdict(list)
    for answer in once:
        trial = trials[answer.trial]
        cells[trial.method, trial.emotion].append(answer)
        methods[trial.method].append(answer)
    pooled = [answer for method in CONTROLS for answer in methods.get(method, [])]
    listeners = sorted({answer.listener for answer in answers})
    choices = {(answer.trial, answer.listener): int(answer.steered) for answer in once}
    return ListeningResults(
        n_listeners=len(listeners),
        n_answers=len(once),
        n_trials=len({answer.trial for answer in once}),
        cells=_cells(cells),
        methods=tuple(_method(name, methods[name], pooled) for name in sorted(methods)),
        listeners=tuple(
            ListenerShare(listener=name, **_share([a.steered for a in once if a.listener == name]))
            for name in listeners
        ),
        agreement=Agreement(
            fleiss_kappa=fleiss_kappa(_counts(choices, len(listeners))),
            krippendorff_alpha=krippendorff_alpha(_by_trial(choices)),
        ),
        first_side=Share(**_share([answer.first for answer in answers])),
        consistency=_consistency(answers, trials),
    )


def _cells(cells: Mapping[tuple[str, str], list[Answer]]) -> tuple[Cell, ...]:
    rows = [
        Cell(method=method, emotion=emotion, **_tally(cells[method, emotion]))
        for method, emotion in sorted(cells)
    ]
    q = benjamini_hochberg(np.array([row.p for row in rows])).tolist()
    return tuple(row.model_copy(update={"q": value}) for row, value in zip(rows, q, strict=True))


def _method(name: str, answers: list[Answer], pooled: list[Answer]) -> MethodShare:
    control = name in CONTROLS
    beyond = _fisher(answers, pooled) if pooled and not control else None
    return MethodShare(method=name, control=control, beyond_controls=beyond, **_tally(answers))


# -- statistics ----------------------------------------------------------------------------------------------------------


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of ``k`` in ``n`` trials; (0, 1) without trials."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Agreement beyond chance of the same number of raters on every subject (Fleiss 1971).

    Args:
        counts: for each subject, how many raters chose each category.

    Returns:
        1 is full agreement, 0 chance; None where it is undefined: fewer than two raters, or one category only.
    """
    n = len(counts)
    raters = sum(counts[0]) if n else 0
    if raters < 2:
        return None
    seen = sum(sum(c * (c - 1) for c in row) for row in counts) / (n * raters * (raters - 1))
    shares = [sum(row[j] for row in counts) / (n * raters) for j in range(len(counts[0]))]
    chance = sum(share**2 for share in shares)
    return None if chance > 1 - 1e-12 else (seen - chance) / (1 - chance)


def krippendorff_alpha(units: Sequence[Sequence[Any]]) -> float | None:
    """Nominal alpha (Krippendorff 2011): like kappa, but raters may leave units out.

    Args:
        units: for each unit, the values it was given.

    Returns:
        1 is full agreement, 0 chance; None where it is undefined: no unit has two values, or one value only.
    """
    pairable = [Counter(unit) for unit in units if len(unit) > 1]
    total = Counter[Any]()
    disagreement = 0.0
    for unit in pairable:
        m = unit.total()
        total += unit
        disagreement += (m * m - sum(c * c for c in unit.values())) / (m - 1)
    n = total.total()
    expected = (n * n - sum(c * c for c in total.values())) / (n - 1) if n > 1 else 0.0
    return None if expected == 0 else 1 - disagreement / expected


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    from scipy.stats import binomtest

    k, n = sum(hits), len(hits)
    return {
        "n": n,
        "chosen": k,
        "share": k / n if n else None,
        "ci": wilson(k, n),
        "p": float(binomtest(k, n).pvalue) if n else None,
    }


def _tally(answers: Sequence[Answer]) -> dict[str, Any]:
    by_trial: dict[str, list[int]] = defaultdict(list)
    for answer in answers:
        by_trial[answer.trial].append(1 if answer.steered else -1)
    decided = [sum(votes) > 0 for votes in by_trial.values() if sum(votes) != 0]
    return {**_share([a.steered for a in answers]), "trials": Share(**_share(decided))}


def _fisher(answers: Sequence[Answer], controls: Sequence[Answer]) -> float:
    from scipy.stats import fisher_exact

    table = [[sum(a.steered for a in part), sum(not a.steered for a in part)] for part in (answers, controls)]
    return float(fisher_exact(table)[1])  # type: ignore[arg-type]


def _by_trial(choices: Mapping[tuple[str, str], int]) -> list[list[int]]:
    units: dict[str, list[int]] = defaultdict(list)
    for (trial, _), value in choices.items():
        units[trial].append(value)
    return list(units.values())


def _counts(choices: Mapping[tuple[str, str], int], n_listeners: int) -> list[list[int]]:
    full = [unit for unit in _by_trial(choices) if len(unit) == n_listeners]
    return [[unit.count(0), unit.count(1)] for unit in full]


def _consistency(answers: Sequence[Answer], trials: Mapping[str, Trial]) -> Consistency:
    given = {(answer.listener, answer.trial): answer.steered for answer in answers}
    alike = [
        steered == given[listener, first]
        for (listener, trial), steered in given.items()
        if (first := trials[trial].repeat) is not None and (listener, first) in given
    ]
    return Consistency(n=len(alike), alike=sum(alike), share=sum(alike) / len(alike) if alike else None)


# -- files -----------------------------------------------------------------------------------------------------------------


def _read_key(key: Path | str) -> tuple[str, dict[str, Trial]]:
    """The test's hash, and its trials by name."""
    path = Path(key)
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and path.name != ListeningKey.file:
        raise BadInput(
            f"{path}: not the key of a listening test ({ListeningKey.file}), nor a folder that holds one"
        )
    read = ListeningKey.read(folder)
    return read.test, {trial.trial: trial for trial in read.trials}


class _Item(BaseModel):
    """One answer as the page saves it."""

    trial: str
    first: str
    second: str
    chose: str


class _Sent(BaseModel):
    """What a listener sends."""

    format: Literal["moodlens-listen"]
    test: str
    listener: str
    answers: tuple[_Item, ...]

    @property
    def choices(self) -> set[tuple[str, str]]:
        """Trial and clip chosen, of every answer."""
        return {(item.trial, item.chose) for item in self.answers}


def _distinct(files: Iterable[Path | str]) -> list[tuple[Path, _Sent]]:
    """Files read; what was sent twice, or once more when it was finished, counts once."""
    by_listener: dict[str, tuple[Path, _Sent]] = {}
    for file in map(Path, files):
        sent = _read_sent(file)
        name = " ".join(unicodedata.normalize("NFC", sent.listener).split())
        before = by_listener.get(name.casefold())
        if before is not None and not (
            sent.choices <= before[1].choices or before[1].choices <= sent.choices
        ):
            raise BadInput(f"{file}: listener {name!r} also sent {before[0]}, with other answers; keep one")
        if before is None or len(sent.answers) > len(before[1].answers):
            by_listener[name.casefold()] = file, sent.model_copy(update={"listener": name})
    if not by_listener:
        raise BadInput("answers: no files given")
    return list(by_listener.values())


def _read_sent(file: Path) -> _Sent:
    try:
        value = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(
            f"{file}: not answers of a listening test (not valid JSON); ask for the file again"
        ) from error
    try:
        return _Sent.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(
            f"{file}: not answers of a listening test ({place or 'all of it'}: {first['msg']})"
        ) from error


def _read_answers(given: tuple[Path, _Sent], test: str, trials: Mapping[str, Trial]) -> list[Answer]:
    file, sent = given
    if sent.test != test:
        raise BadInput(f"{file}: answers to another test ({sent.test}), this key is of {test}")
    out: dict[str, Answer] = {}
    for i, item in enumerate(sent.answers):
        where = f"{file}: answers[{i}]"
        trial = trials.get(item.trial)
        if trial is None:
            raise BadInput(f"{where}: names no trial of this test")
        two = {trial.steered_clip, trial.partner_clip}
        if {item.first, item.second} != two or item.chose not in two:
            raise BadInput(f"{where}: its clips are not those of trial {trial.trial}")
        if trial.trial in out:
            raise BadInput(f"{where}: trial {trial.trial} is answered twice")
        steered, first = item.chose == trial.steered_clip, item.chose == item.first
        out[trial.trial] = Answer(sent.listener, trial.trial, steered, first)
    return list(out.values())
