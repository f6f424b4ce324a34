"""The stages that put features to the proof: interventions, families in pairs, other texts."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from moodlens.core.files import plain
from moodlens.core.lines import describe, table
from moodlens.core.progress import Progress
from moodlens.pipeline.score import score_table, study_methods
from moodlens.pipeline.score_lines import auroc_lines
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.embedding import one_name
from moodlens.settings.base import Frozen
from moodlens.settings.features import FeatureSettings
from moodlens.settings.study import EncoderSettings, Table
from moodlens.settings.validation import CausalSettings, MetricSettings, PairSettings, TransferSettings
from moodlens.study.coded import Coded
from moodlens.study.records.causal import CAUSAL, INTERVENTIONS, Causal
from moodlens.study.records.metrics import KSparse, Metrics
from moodlens.study.records.pairs import Pairs
from moodlens.study.records.transfer import Transfer
from moodlens.study.study import Study
from moodlens.validate.readouts import Panel, make_panel

if TYPE_CHECKING:
    from moodlens.sae.untrained import Untrained as Kind


class TransferSection(Frozen):
    """What decides how features do on other texts."""

    transfer: TransferSettings
    tables: tuple[Table, ...]
    encoder: EncoderSettings
    features: FeatureSettings


def panel(study: Study) -> Panel:
    """The test rows that interventions are judged on, and readouts of other groups; shared by two stages."""
    return study.cached("panel", "embed", lambda: make_panel(study.x, study.rows, seed=study.seed))


def coded(study: Study) -> Coded:
    """The study's SAE on its rows."""
    return Coded(study.rows, study.x, study.codes(), study.W_dec())


def untrained_coded(study: Study, kind: "Kind", seed: int | None = None) -> Coded:
    """One dictionary that learned nothing, of the size and sparsity of the study's SAE, on its rows.

    ``seed``: of another one than that which controls the study's own causes.
    """
    from moodlens.validate.untrained import untrained_coded as untrained_like

    seed = study.seed if seed is None else seed

    def make() -> Coded:
        return untrained_like(coded(study), kind, seed=seed, memory=study.memory / 4)

    return study.cached(f"untrained {kind} {seed}", "train", make)


def causal_summary(study: Study) -> Summary:
    """How many features move their emotion, beside the controls."""
    causal = study.read(Causal)
    other = causal.untrained_per_emotion or dict.fromkeys(study.emotions)
    rows = [[e, causal.per_emotion[e], causal.control_per_emotion[e], other[e]] for e in study.emotions]
    head = ["emotion", "causal features", "matched features of the SAE", "of an untrained dictionary"]
    lines = [*table(head, rows), "", causal.rule]
    return causal.model_dump(), lines


@stage(
    "causal",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: s.validation.causal,
    summary=causal_summary,
    labels=True,
)
def causal(study: Study, settings: CausalSettings, progress: Progress) -> Iterable[str]:
    """Clamp, transplant and keep features -> interventions.parquet, causal.parquet, causal.json."""
    from moodlens.validate.causal import causality

    result = causality(
        coded(study),
        study.features,
        study.families,
        settings,
        seed=study.seed,
        untrained=untrained_coded(study, "rows"),
        progress=progress,
        panel=panel(study),
    )
    return [
        study.write_table(INTERVENTIONS, result.interventions),
        study.write_table(CAUSAL, result.features),
        study.write(result.summary),
    ]


def pairs_summary(study: Study) -> Summary:
    """Which families add up, and how independent the features are."""
    pairs = study.read(Pairs)
    together, independent = pairs.compositionality, pairs.orthogonality
    rows = [[" + ".join(pair.emotions), *pair.effects.values(), pair.moved] for pair in together.pairs]
    shown = {name: getattr(independent, name) for name in ("n_features", "n_pairs", "share", "control_share")}
    return plain(pairs.model_dump()), [
        f"{together.n_moved} of {together.n_pairs} pairs of families move both emotions",
        *(table(["pair", "first", "second", "moved"], rows) if rows else []),
        "",
        "pairs of emotion features that are independent:",
        *describe(shown),
    ]


@stage(
    "pairs",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: s.validation.pairs,
    summary=pairs_summary,
    labels=True,
)
def pairs(study: Study, settings: PairSettings, progress: Progress) -> Iterable[str]:
    """Families added in pairs, and correlations of pairs of features -> pairs.json, which the verdict reads."""
    from moodlens.validate.pairs import compositionality, orthogonality

    frame = study.features
    progress("pairs", 0, 2)
    together = compositionality(
        coded(study), frame, study.families, settings, seed=study.seed, panel=panel(study)
    )
    progress("pairs", 1, 2)
    test = study.rows.where("test", kinds=None)
    independent = orthogonality(study.W_dec(), study.codes(), frame, settings, seed=study.seed, rows=test)
    progress("pairs", 2, 2)
    return [study.write(Pairs(compositionality=together, orthogonality=independent))]


def metrics_summary(study: Study) -> Summary:
    """The field's metrics beside those of an untrained dictionary."""
    metrics = study.read(Metrics)
    rows = [
        [
            dictionary.name,
            dictionary.active,
            *(sparse.auroc for sparse in dictionary.k_sparse),
            dictionary.perturbation.score,
            dictionary.removal.score,
            dictionary.absorption.absorbed,
        ]
        for dictionary in metrics.dictionaries
    ]
    ks = [f"k={sparse.k}" for sparse in (metrics.dictionaries[0].k_sparse if metrics.dictionaries else ())]
    lines = [
        f"dense probe: AUROC {metrics.dense.auroc or float('nan'):.3f}",
        *table(["dictionary", "active", *ks, "TPP", "SCR", "absorbed"], rows),
    ]
    return metrics.model_dump(), lines


@stage(
    "metrics",
    needs=("train", "embed", "prompts"),
    section=lambda s: s.validation.metrics,
    summary=metrics_summary,
    labels=True,
)
def metrics(study: Study, settings: MetricSettings, progress: Progress) -> Iterable[str]:
    """The field's own metrics of the SAE, of its core and of an untrained dictionary -> metrics.json."""
    from moodlens.prompts import FACTORS
    from moodlens.validate.field import Field

    prompts, x, codes = study.prompts, study.x, study.codes()
    factors = {
        name: prompts[name].to_numpy().astype(object)
        for name in FACTORS
        if name in prompts.columns and name != "style"
    }
    field = Field.of(coded(study), factors, settings, seed=study.seed)
    if field is None:
        none = KSparse(k=x.shape[1], auroc=None, per_emotion=dict.fromkeys(study.emotions))
        return [study.write(Metrics(n_fitted=0, n_judged=0, dense=none, dictionaries=()))]
    measured = [field.measure("sae", codes, study.W_dec())]
    if 0 < study.core_size < codes.shape[1]:
        core = slice(0, study.core_size)
        measured.append(field.measure("core", codes[:, core], study.W_dec()[core]))
    progress("metrics", 1, 2)
    nothing = untrained_coded(study, "rows")
    measured.append(field.measure("untrained", nothing.codes, nothing.W_dec))
    progress("metrics", 2, 2)
    record = Metrics(
        n_fitted=len(field.fit), n_judged=len(field.judge), dense=field.dense(), dictionaries=tuple(measured)
    )
    return [study.write(record)]


def _tables(section: TransferSection, home: Path) -> list[Path]:
    from moodlens.prompts.hub import table_files

    return table_files([table.path for table in section.tables])


def transfer_summary(study: Study) -> Summary:
    """AUROCs on held-out words and on the user's texts."""
    transfer = study.read(Transfer)
    lines = auroc_lines("held-out words and scenes", transfer.held_out, study.emotions)
    for texts in transfer.sets:
        lines += ["", *auroc_lines(texts.name, texts, study.emotions), texts.table]
    return plain(transfer.model_dump()), lines


@stage(
    "transfer",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: TransferSection(
        transfer=s.validation.transfer, tables=s.transfer, encoder=one_name(s.encoder), features=s.features
    ),
    inputs=_tables,
    summary=transfer_summary,
    labels=True,
)
def transfer(study: Study, settings: TransferSection, progress: Progress) -> Iterable[str]:
    """Held-out words and templates, negations and mixtures, the user's labelled texts -> transfer.json."""
    from moodlens.validate.transfer import Prompted, generalization, special_rows

    methods = study_methods(study, settings.transfer.reading)
    held_out = generalization(
        coded(study),
        methods,
        study.families,
        settings.features,
        settings.transfer,
        n_claimable=study.core_size,
        seed=study.seed,
    )
    about = Prompted.of(*(study.prompts[column].to_list() for column in ("id", "about", "twin")))
    special = special_rows(methods, study.x, study.rows, about)
    sets = []
    for done, texts in enumerate(settings.tables):
        progress("transfer", done, len(settings.tables))
        sets.append(score_table(study, texts, settings.encoder, settings.transfer))
    progress("transfer", len(settings.tables), len(settings.tables))
    return [study.write(Transfer(held_out=held_out, special=special, sets=tuple(sets)))]
