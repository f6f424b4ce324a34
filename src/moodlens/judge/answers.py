"""What listeners heard: the answers people send back, read against the key of their test."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moodlens.core import BadInput
from moodlens.judge.sent import Sent, read_sent
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
        better: whether the steered clip was taken for the better music; None: not asked, or both alike.
    """

    listener: str
    trial: str
    steered: bool
    first: bool
    better: bool | None = None


def analyse_answers(files: Iterable[Path | str], key: Path | str) -> ListeningResults:
    """How often listeners took the steered clip for the more emotional one, and how far they agree.

    The choice is between two, so chance is 0.5 for every method. Binomial tests are two-sided and exact, intervals
    Wilson's at 95 %, ``q`` is Benjamini-Hochberg's over the method and emotion pairs. Answers of one listener, and
    answers to one trial, are not independent: ``trials`` counts each trial once by its majority, which is the careful
    reading. Repeats of a trial measure consistency only. Where quality was asked for, its share stands beside the
    emotion's.

    Args:
        files: what listeners saved on the page (JSON), jsPsych's data (JSON or CSV) or webMUSHRA's ``lms.csv``.
        key: ``key.json`` of their test, or the folder that holds it.

    Raises:
        BadInput: a file is not answers to this test, names unknown trials or clips, or a listener answered twice.
    """
    test, trials = _read_key(key)
    read = [_read_answers(file, sent, test, trials) for file, sent in read_sent(files)]
    answers = [answer for part, _ in read for answer in part]
    once = [answer for answer in answers if trials[answer.trial].repeat is None]
    if not once:
        raise BadInput("answers: no answer at all in these files")
    cells: dict[tuple[str, str, str], list[Answer]] = defaultdict(list)
    methods: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in once:
        trial = trials[answer.trial]
        cells[trial.method, trial.against, trial.emotion].append(answer)
        methods[trial.method, trial.against].append(answer)
    pooled = [answer for (method, _), part in methods.items() if method in CONTROLS for answer in part]
    listeners = sorted({answer.listener for answer in answers})
    choices = {(answer.trial, answer.listener): int(answer.steered) for answer in once}
    return ListeningResults(
        n_listeners=len(listeners),
        n_answers=len(once),
        n_trials=len({answer.trial for answer in once}),
        n_undecided=sum(undecided for _, undecided in read),
        cells=_cells(cells),
        methods=tuple(_method(*name, methods[name], pooled) for name in sorted(methods)),
        listeners=tuple(
            ListenerShare(
                listener=name, **_share([a.steered for a in once if a.listener == name]).model_dump()
            )
            for name in listeners
        ),
        agreement=Agreement(
            fleiss_kappa=fleiss_kappa(_counts(choices, len(listeners))),
            krippendorff_alpha=krippendorff_alpha(_by_trial(choices)),
        ),
        first_side=_share([answer.first for answer in answers]),
        consistency=_consistency(answers, trials),
    )


def _cells(cells: Mapping[tuple[str, str, str], list[Answer]]) -> tuple[Cell, ...]:
    rows = []
    for method, against, emotion in sorted(cells):
        tally = _tally(cells[method, against, emotion])
        parts = {"trials": tally.trials, "quality": tally.quality, **tally.choices.model_dump()}
        rows.append(Cell(method=method, against=against, emotion=emotion, **parts))
    q = benjamini_hochberg(np.array([row.p for row in rows])).tolist()
    return tuple(row.model_copy(update={"q": value}) for row, value in zip(rows, q, strict=True))


def _method(name: str, against: str, answers: list[Answer], pooled: list[Answer]) -> MethodShare:
    control = name in CONTROLS
    beyond = _fisher(answers, pooled) if pooled and not control else None
    tally = _tally(answers)
    return MethodShare(
        method=name,
        against=against,
        control=control,
        beyond_controls=beyond,
        trials=tally.trials,
        quality=tally.quality,
        **tally.choices.model_dump(),
    )


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


def _share(hits: Sequence[bool]) -> Share:
    from scipy.stats import binomtest

    k, n = sum(hits), len(hits)
    return Share(
        n=n,
        chosen=k,
        share=k / n if n else None,
        ci=wilson(k, n),
        p=float(binomtest(k, n).pvalue) if n else None,
    )


class _Tally(NamedTuple):
    choices: Share
    trials: Share
    quality: Share | None


def _tally(answers: Sequence[Answer]) -> _Tally:
    by_trial: dict[str, list[int]] = defaultdict(list)
    for answer in answers:
        by_trial[answer.trial].append(1 if answer.steered else -1)
    decided = [sum(votes) > 0 for votes in by_trial.values() if sum(votes) != 0]
    better = [a.better for a in answers if a.better is not None]
    return _Tally(_share([a.steered for a in answers]), _share(decided), _share(better) if better else None)


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


def _read_answers(file: Path, sent: Sent, test: str, trials: Mapping[str, Trial]) -> tuple[list[Answer], int]:
    """A listener's choices, and how many trials were left undecided."""
    if sent.test != test:
        raise BadInput(f"{file}: answers to another test ({sent.test}), this key is of {test}")
    out: dict[str, Answer | None] = {}
    for i, item in enumerate(sent.answers):
        where = f"{file}: answers[{i}]"
        trial = trials.get(item.trial)
        if trial is None:
            raise BadInput(f"{where}: names no trial of this test")
        two = {trial.steered_clip, trial.partner_clip}
        if {item.first, item.second} != two or not {item.chose, item.better} <= {*two, None}:
            raise BadInput(f"{where}: its clips are not those of trial {trial.trial}")
        if trial.trial in out:
            raise BadInput(f"{where}: trial {trial.trial} is answered twice")
        steered, first = item.chose == trial.steered_clip, item.chose == item.first
        better = None if item.better is None else item.better == trial.steered_clip
        answer = Answer(sent.listener, trial.trial, steered, first, better)
        out[trial.trial] = None if item.chose is None else answer
    answers = [answer for answer in out.values() if answer is not None]
    return answers, len(out) - len(answers)
