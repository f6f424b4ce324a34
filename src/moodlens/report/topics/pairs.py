"""Pairs: are the emotion features independent of each other, and do two families compose?"""

from moodlens.report.document import Cell, Table, emotion_label
from moodlens.report.numbers import NONE, interval, number, percent
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.pairs import Pairs


def composed(subject: Subject, pairs: Pairs) -> Blocks:
    """Two families added at once."""
    rows: list[tuple[str | Cell, ...]] = []
    for pair in pairs.compositionality.pairs:
        effects = (
            f"{number(pair.effects[emotion])} {interval(pair.ci[emotion])}; alone {number(pair.alone[emotion])}"
            for emotion in pair.emotions
        )
        moved = Cell("both", "good") if pair.moved else Cell("not both", "bad")
        rows.append((" + ".join(emotion_label(emotion) for emotion in pair.emotions), moved, *effects))
    if rows:
        beyond = subject.settings.validation.pairs.control_quantile
        yield Table(
            "Two families added at once: change of the log-odds of each",
            ("Pair", "Moved", "First emotion", "Second emotion"),
            tuple(rows),
            note=f"Moved: both intervals lie above zero and both means above {100 * beyond:g} % of what pairs of random "
            "families do. Alone: the same family without the other.",
        )


def independent(_: Subject, pairs: Pairs) -> Blocks:
    """Correlations of emotion features with each other."""
    o = pairs.orthogonality
    measures = (
        ("Emotion features", number(o.n_features), NONE),
        ("Pairs", number(o.n_pairs), NONE),
        ("Median |correlation| of activations", number(o.median), number(o.control_median)),
        (
            "Mean |correlation| of activations",
            number(o.mean_abs_correlation),
            number(o.control_mean_abs_correlation),
        ),
        ("Mean |cosine| of decoder rows", number(o.mean_abs_cosine), number(o.control_mean_abs_cosine)),
        (f"Pairs with |correlation| < {o.max_correlation:g}", percent(o.share), percent(o.control_share)),
        ("the same, pairs of one emotion", percent(o.within_share), NONE),
        ("the same, pairs of two emotions", percent(o.between_share), NONE),
        (
            f"Pairs with |decoder cosine| < {o.max_correlation:g}",
            percent(o.cosine_share),
            percent(o.control_cosine_share),
        ),
    )
    yield Table(
        "Among emotion features",
        ("Measure", "Value", "Control"),
        tuple(row for row in measures if row[1] != NONE),
        numeric=frozenset({1, 2}),
    )


PAIRS = Topic(
    "orthogonality",
    "Orthogonality and compositionality",
    (verdict_says("orthogonality", "compositionality"), composed, independent),
    needs=(Pairs,),
    absent="orthogonality and compositionality",
)
