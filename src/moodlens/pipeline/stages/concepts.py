"""The stage that looks inside the emotions: which features also tell what the emotion is about."""

from collections.abc import Iterable

from moodlens.core.lines import table
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.discovery import FeaturesSection
from moodlens.study.records.concepts import CONCEPTS, Concepts
from moodlens.study.records.selection import SELECTION
from moodlens.study.study import Study


def concepts_summary(study: Study) -> Summary:
    """Concept features of every emotion beside shuffled concepts."""
    concepts = study.read(Concepts)
    value = concepts.model_dump()
    if not concepts.asked:
        return value, ["the texts name no concepts inside their emotions (column concept)"]
    rows = [
        [
            emotion,
            part.n_features,
            part.n_judged,
            part.shuffled_p95,
            ", ".join(f"{name} {count.n_features}" for name, count in part.concepts.items()),
        ]
        for emotion, part in concepts.emotions.items()
    ]
    return value, [
        *table(["emotion", "concept features", "of claimed", "shuffled p95", "by concept"], rows),
        "",
        concepts.rule,
    ]


@stage(
    "concepts",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: FeaturesSection(features=s.features),
    summary=concepts_summary,
    labels=True,
)
def concepts(study: Study, settings: FeaturesSection, progress: Progress) -> Iterable[str]:
    """Judge claimed features among the texts of their own emotion -> concepts.parquet, concepts.json."""
    from moodlens.features.concepts import concept_features

    judged = concept_features(
        study.table(SELECTION),
        study.codes(),
        study.x,
        study.rows,
        settings.features,
        seed=study.seed,
        progress=progress,
    )
    return [study.write_table(CONCEPTS, judged.table), study.write(judged.summary)]
