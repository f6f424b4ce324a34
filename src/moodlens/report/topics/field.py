"""The field's metrics: what other benchmarks of dictionaries would say, beside a dictionary that learned nothing."""

from moodlens.report.document import Paragraph, Table
from moodlens.report.numbers import number, percent
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.study.records.metrics import Metrics

SAID = {
    "sae": "The SAE",
    "core": "Its core alone, which may be claimed",
    "untrained": "Differences of training rows, untrained",
}


def compared(_: Subject, metrics: Metrics) -> Blocks:
    """One row a dictionary."""
    if not metrics.dictionaries:
        yield Paragraph(
            "An emotion has no labelled rows to fit or to judge on, so none of them could be asked."
        )
        return
    first = metrics.dictionaries[0]
    yield Paragraph(
        f"Fitted on {metrics.n_fitted:,} train and validation texts, judged on {metrics.n_judged:,} test texts. A linear "
        f"probe on the embedding itself reaches AUROC {number(metrics.dense.auroc)}."
    )
    rows = tuple(
        (
            SAID.get(dictionary.name, dictionary.name),
            percent(dictionary.active, 1),
            *(number(sparse.auroc) for sparse in dictionary.k_sparse),
            number(dictionary.perturbation.score),
            number(dictionary.removal.score),
            percent(dictionary.absorption.silent),
            percent(dictionary.absorption.absorbed),
        )
        for dictionary in metrics.dictionaries
    )
    head = [f"k = {sparse.k}" for sparse in first.k_sparse]
    yield Table(
        "k-sparse probing (AUROC), targeted probe perturbation, spurious correlation removal and feature absorption",
        ("Dictionary", "Active", *head, "TPP", "SCR", "Main features silent", "Absorbed"),
        rows,
        numeric=frozenset(range(1, len(head) + 5)),
        note=f"TPP: fall of an emotion's own probe less that of the others when its {first.perturbation.n_features} "
        "features are removed. SCR: share of what a probe misled by an instrument or genre lost that comes back when "
        f"that factor's features are removed ({first.removal.n_tasks} tasks). Absorbed: test texts of an emotion in which "
        f"its {first.absorption.n_main} main features are silent and another one speaks for it.",
    )


FIELD = Topic(
    "field", "What other benchmarks would say", (compared,), needs=(Metrics,), absent="the field's metrics"
)
