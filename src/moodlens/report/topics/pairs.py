"""Pairs: are the emotion features independent of each other, and do two families compose?"""

from typing import Any

from moodlens.report.document import Cell, Table, emotion_label
from moodlens.report.numbers import NONE, interval, number, percent
from moodlens.report.subject import Pairs, Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.report.topics.opening import verdict_says


def composed(subject: Subject, pairs: dict[str, Any]) -> Blocks:
    """Two families added at once."""
    rows: list[tuple[str | Cell, ...]] = []
    for pair in pairs["compositionality"]["pairs"]:
        effects = [
            f"{number(pair['effects'][emotion])} {interval(pair['ci'][emotion])}; alone {number(pair['alone'][emotion])}"
            for emotion in pair["emotions"]
        ]
        moved = Cell("both", "good") if pair["moved"] else Cell("not both", "bad")
        rows.append((" + ".join(emotion_label(emotion) for emotion in pair["emotions"]), moved, *effects))
    if rows:
        beyond = subject.settings.validation.pairs.control_quantile
        yield Table(
            "Two families added at once: change of the log-odds of each",
            ("Pair", "Moved", "First emotion", "Second emotion"),
            tuple(rows),
            note=f"Moved: both intervals lie above zero and both means above {100 * beyond:g} % of what pairs of random "
            "families do. Alone: the same family without the other.",
        )


def independent(subject: Subject, pairs: dict[str, Any]) -> Blocks:
    """Correlations of emotion features with each other."""
    found, bar = pairs["orthogonality"], subject.settings.validation.pairs.max_correlation
    measures = (
        ("n_features", "", "Emotion features", number),
        ("n_pairs", "", "Pairs", number),
        ("median", "control_median", "Median |correlation| of activations", number),
        ("mean_abs_correlation", "control_mean_abs_correlation", "Mean |correlation| of activations", number),
        ("mean_abs_cosine", "control_mean_abs_cosine", "Mean |cosine| of decoder rows", number),
        ("share", "control_share", f"Pairs with |correlation| < {bar:g}", percent),
        ("within_share", "", "the same, pairs of one emotion", percent),
        ("between_share", "", "the same, pairs of two emotions", percent),
        ("cosine_share", "control_cosine_share", f"Pairs with |decoder cosine| < {bar:g}", percent),
    )
    yield Table(
        "Among emotion features",
        ("Measure", "Value", "Control"),
        tuple(
            (measure, form(found.get(value)), form(found.get(control)) if control else NONE)
            for value, control, measure, form in measures
            if found.get(value) is not None
        ),
        numeric=frozenset({1, 2}),
    )


PAIRS = Topic(
    "orthogonality",
    "Orthogonality and compositionality",
    (verdict_says("orthogonality", "compositionality"), composed, independent),
    needs=(Pairs,),
    absent="orthogonality and compositionality",
)
