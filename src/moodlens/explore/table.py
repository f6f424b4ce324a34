"""The table of features, column by column, from the study's own tables."""

from typing import Any

from moodlens.explore.explored import Explored, short
from moodlens.explore.records import FeatureTable, TableColumn
from moodlens.study.record import Column
from moodlens.study.records.stability import STABILITY
from moodlens.study.records.verdict import FEATURES
from moodlens.study.rows import DEV, PLAIN

# name here, name there, label
_COLUMNS = (
    ("feature", "feature", "feature"),
    ("name", "name", "name"),
    ("emotion", "emotion", "emotion"),
    ("concept", "concept", "concept"),
    ("claimed", "emotion_feature", "claimed"),
    ("core", "core", "core"),
    ("tested", "tested", "tested"),
    ("q", "q", "q"),
    ("p_maxt", "p_maxt", "p (max-T)"),
    ("selectivity", "selectivity", "selectivity"),
    ("auroc", "auroc", "AUROC"),
    ("density", "density", "density"),
    ("mean_activation", "mean_activation", "mean activation"),
    ("n_groups", "n_groups", "groups"),
    ("stability", "stability", "stability, seeds"),
    ("bootstrap", "reappears_bootstrap", "stability, bootstraps"),
    ("stability_cosine", "stability_cosine", "cosine with seeds"),
    ("causal_effect", "causal_effect", "causal effect"),
    ("causal_q", "causal_q", "causal q"),
    ("causal", "causal", "causal"),
    ("held_out_auroc", "held_out_auroc", "held-out AUROC"),
    ("held_out_selectivity", "held_out_selectivity", "held-out selectivity"),
    ("concept_auroc", "concept_auroc", "concept AUROC"),
    ("concept_q", "concept_q", "concept q"),
    ("concept_feature", "concept_feature", "concept feature"),
    ("name_score", "name_score", "name score"),
    ("name_control", "name_control", "score of other names"),
    ("name_score_all", "name_score_all", "name score, all texts"),
    ("interpretable", "interpretable", "interpretable"),
    ("words", "fired_by", "words that fire it"),
    ("family_rank", "family_rank", "place in family"),
    ("family_weight", "family_weight", "weight in family"),
)
_KINDS = {"Int64": "int", "Float64": "number", "Boolean": "bool", "String": "text"}


def feature_table(explored: Explored) -> FeatureTable:
    """One row for each feature of the study's SAE, numbers to four digits; null where a stage has not run."""
    return explored.once("table", lambda: _table(explored))


def _table(explored: Explored) -> FeatureTable:
    columns, data = [], {}
    declared = {**STABILITY.columns, **FEATURES.columns}
    rates = [(f"rate_{name}", f"rate_{name}", f"rate, {name}") for name in explored.study.emotions]
    for name, source, label in (*_COLUMNS, *rates):
        what = declared["rate_*" if name.startswith("rate_") else source]
        columns.append(_column(name, label, what))
        values = _bootstraps(explored) if source == "reappears_bootstrap" else explored.column(source)
        if what.dtype == "Float64":
            values = [short(value) for value in values]
        data[name] = values
    rows = explored.study.rows
    n = len(rows.where(*DEV, "test", kinds=(*PLAIN, "unlabelled")))
    return FeatureTable(n=explored.table.height, density_n=n, columns=tuple(columns), data=data)


def _column(name: str, label: str, what: Column) -> TableColumn:
    return TableColumn.model_validate(
        {
            "name": name,
            "label": label,
            "unit": what.unit,
            "meaning": what.meaning,
            "kind": _KINDS[what.dtype],
        }
    )


def _bootstraps(explored: Explored) -> list[Any]:
    again: dict[int, float | None] = {}
    if explored.has("stability"):
        again = dict(explored.study.table(STABILITY).select("feature", "reappears_bootstrap").iter_rows())
    return [again.get(feature) for feature in range(explored.table.height)]
