"""Two studies side by side: which features match, which verdicts and which criteria differ."""

import numpy as np

from moodlens.explore.answers import (
    ClaimedMatched,
    ComparedCriterion,
    Comparison,
    Match,
    Side,
    SideCriterion,
)
from moodlens.explore.explored import Explored, short
from moodlens.study.records.verdict import JudgedCriterion
from moodlens.validate.stability import HUNGARIAN_FEATURES, best_cosines, null_directions

_NOTE = (
    "Features that may be claimed, matched one to one by the cosine of their decoder rows, so that the sum of cosines is largest. "
    "Beside the bar: the best cosine that differences of training rows of the first study find in the second, 95th percentile. "
    "A match says that both dictionaries hold a direction, not that it means the same."
)


def compare(first: Explored, second: Explored) -> Comparison:
    """Lay two studies side by side; features are matched where one encoder made both studies' embeddings."""
    bar = first.study.settings.validation.stability.reappearance
    matches, null, note = _matches(first, second)
    claimed = None
    n_matched = None
    if matches is not None:
        good = [match for match in matches if match.cosine >= bar]
        n_matched = len(good)
        claimed = ClaimedMatched(
            a=sum(match.claimed_a for match in good),
            of_a=len(first.claimed),
            b=sum(match.claimed_b for match in good),
            of_b=len(second.claimed),
        )
    return Comparison(
        a=_side(first),
        b=_side(second),
        criteria=_criteria(first, second),
        matches=matches,
        bar=bar,
        null_p95=null,
        n_matched=n_matched,
        n_claimed_matched=claimed,
        note=note,
    )


def _side(one: Explored) -> Side:
    return Side(
        name=one.study.settings.name,
        folder=one.study.path.resolve().name,
        go=one.study.verdict.go if one.has("verdict") else None,
        encoder=one.study.encoder_info.encoder,
        core_size=one.study.core_size,
        claimed=len(one.claimed),
    )


def _criteria(first: Explored, second: Explored) -> tuple[ComparedCriterion, ...]:
    sides = [
        {criterion.id: criterion for criterion in side.study.verdict.criteria} if side.has("verdict") else {}
        for side in (first, second)
    ]
    out = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        a, b = (side.get(name) for side in sides)
        told = a or b
        if told is None:
            continue
        out.append(
            ComparedCriterion(
                id=name,
                label=told.label,
                must=told.must,
                unit=told.unit,
                threshold=told.threshold,
                a=_judged(a),
                b=_judged(b),
                differs=a is not None and b is not None and a.state != b.state,
            )
        )
    return tuple(out)


def _judged(one: JudgedCriterion | None) -> SideCriterion | None:
    if one is None:
        return None
    return SideCriterion(state=one.state, value=one.value, ci=one.ci, controls=one.controls)


def _matches(first: Explored, second: Explored) -> tuple[tuple[Match, ...] | None, float | None, str]:
    a, b = first.study, second.study
    if a.encoder_info.encoder != b.encoder_info.encoder or a.x.shape[1] != b.x.shape[1]:
        return (
            None,
            None,
            "Two encoders made the embeddings, so no direction of one study is one of the other.",
        )
    ours, other = (side.directions[: side.study.core_size] for side in (first, second))
    if not len(ours) or not len(other):
        return None, None, "One of the studies has no feature that may be claimed."
    pairs = _one_to_one(ours @ other.T)
    drawn = null_directions(a.x[a.rows.where("train", kinds=None)], a.seed)
    null = short(float(np.quantile(best_cosines(drawn, other), 0.95)))
    columns = [
        [side.column(name) for name in ("emotion", "name", "emotion_feature")] for side in (first, second)
    ]
    (emotion_a, name_a, claimed_a), (emotion_b, name_b, claimed_b) = columns
    matches = tuple(
        Match(
            a=i,
            b=j,
            cosine=short(cosine) or 0.0,
            emotion_a=emotion_a[i],
            emotion_b=emotion_b[j],
            name_a=name_a[i],
            name_b=name_b[j],
            claimed_a=bool(claimed_a[i]),
            claimed_b=bool(claimed_b[j]),
        )
        for i, j, cosine in pairs
    )
    return matches, null, _NOTE


def _one_to_one(cosine: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs, best first; mutual nearest neighbours where there are too many for the Hungarian method."""
    if max(cosine.shape) <= HUNGARIAN_FEATURES:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(cosine, maximize=True)
    else:
        rows = np.arange(len(cosine))
        columns = cosine.argmax(axis=1)
        mutual = cosine.argmax(axis=0)[columns] == rows
        rows, columns = rows[mutual], columns[mutual]
    value = cosine[rows, columns]
    order = np.argsort(-value, kind="stable")
    return [(int(rows[i]), int(columns[i]), float(value[i])) for i in order]
