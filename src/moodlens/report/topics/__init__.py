"""The topics of the report, in the order in which a reader meets them: each its words, its pictures and what it needs."""

from moodlens.report.topic import Topic
from moodlens.report.topics.causality import CAUSALITY
from moodlens.report.topics.concepts import CONCEPTS
from moodlens.report.topics.controls import CONTROLS
from moodlens.report.topics.dictionary import DICTIONARY, SWEEPS
from moodlens.report.topics.features import FEATURES
from moodlens.report.topics.field import FIELD
from moodlens.report.topics.generalization import GENERALIZATION
from moodlens.report.topics.methods import METHODS, REPRODUCIBILITY
from moodlens.report.topics.names import NAMES
from moodlens.report.topics.opening import NEXT_STEPS, VERDICT
from moodlens.report.topics.pairs import PAIRS
from moodlens.report.topics.phase0 import PHASE0
from moodlens.report.topics.ratings import RATINGS_TOPIC as RATINGS
from moodlens.report.topics.stability import STABILITY
from moodlens.report.topics.steering import STEERING
from moodlens.report.topics.texts import TEXTS

TOPICS: tuple[Topic, ...] = (
    VERDICT,
    NEXT_STEPS,
    TEXTS,
    PHASE0,
    DICTIONARY,
    SWEEPS,
    FEATURES,
    RATINGS,
    CONCEPTS,
    NAMES,
    CONTROLS,
    CAUSALITY,
    STABILITY,
    GENERALIZATION,
    PAIRS,
    FIELD,
    STEERING,
    METHODS,
    REPRODUCIBILITY,
)
