"""The stages that put features to the proof: interventions, families in pairs, other texts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moodlens.core.files import read_json, write_json, write_table
from moodlens.core.lines import describe, table
from moodlens.core.progress import Progress
from moodlens.pipeline.score import auroc_lines, dense_baselines, score_table
from moodlens.pipeline.stage import Summary, stage
from moodlens.pipeline.stages.embedding import one_name
from moodlens.settings.base import Frozen
from moodlens.settings.features import FeatureSettings
from moodlens.settings.study import EncoderSettings, Table, expand_path
from moodlens.settings.validation import CausalSettings, PairSettings, TransferSettings
from moodlens.study.study import Study
from moodlens.validate.readouts import Panel, make_panel


class TransferSection(Frozen):
    """What decides how features do on other texts."""

    transfer: TransferSettings
    tables: tuple[Table, ...]
    encoder: EncoderSettings
    features: FeatureSettings


def panel(study: Study) -> Panel:
    """The test rows that interventions are judged on, and readouts of other groups; shared by two stages."""
    rows = study.rows

    def make() -> Panel:
        return make_panel(
            study.x, rows.label, rows.group, rows.split, rows.plain, rows.emotions, seed=study.seed
        )

    return study.cached("panel", "embed", make)


def causal_summary(study: Study) -> Summary:
    """How many features move their emotion, beside the controls."""
    value = read_json(study.path / "causal.json")
    rows = [
        [e, value["per_emotion"].get(e, 0), value["control_per_emotion"].get(e, 0)] for e in study.emotions
    ]
    return value, [*table(["emotion", "causal features", value["control_name"]], rows), "", value["rule"]]


@stage(
    "causal",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: s.validation.causal,
    summary=causal_summary,
)
def causal(study: Study, settings: CausalSettings, progress: Progress) -> Iterable[str]:
    """Clamp, transplant and keep features -> interventions.parquet, causal.parquet, causal.json."""
    from moodlens.validate.causal import causality

    rows = study.rows
    result = causality(
        study.W_dec(),
        study.codes(),
        study.x,
        rows.label,
        rows.group,
        rows.split,
        rows.kind,
        study.features,
        study.families,
        study.emotions,
        settings,
        seed=study.seed,
        progress=progress,
        panel=panel(study),
    )
    write_table(study.path / "interventions.parquet", result.interventions)
    write_table(study.path / "causal.parquet", result.features)
    write_json(study.path / "causal.json", result.summary)
    return ["interventions.parquet", "causal.parquet", "causal.json"]


def pairs_summary(study: Study) -> Summary:
    """Which families add up, and how independent the features are."""
    value = read_json(study.path / "pairs.json")
    together, independent = value["compositionality"], value["orthogonality"]
    rows = [
        [" + ".join(pair["emotions"]), *pair["effects"].values(), pair["moved"]] for pair in together["pairs"]
    ]
    shown = {name: independent[name] for name in ("n_features", "n_pairs", "share", "control_share")}
    return value, [
        f"{together['n_moved']} of {together['n_pairs']} pairs of families move both emotions",
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
)
def pairs(study: Study, settings: PairSettings, progress: Progress) -> Iterable[str]:
    """Families added in pairs, and correlations of pairs of features -> pairs.json, which the verdict reads."""
    from moodlens.validate.compositionality import compositionality
    from moodlens.validate.orthogonality import orthogonality

    rows, frame = study.rows, study.features
    progress("pairs", 0, 2)
    together = compositionality(
        study.W_dec(),
        study.codes(),
        study.x,
        rows.label,
        rows.group,
        rows.split,
        study.families,
        frame,
        study.emotions,
        settings,
        seed=study.seed,
        kinds=rows.kind,
        panel=panel(study),
    )
    progress("pairs", 1, 2)
    test = study.codes()[rows.where("test", kinds=None)]
    independent = orthogonality(study.W_dec(), test, frame, settings, seed=study.seed)
    progress("pairs", 2, 2)
    write_json(study.path / "pairs.json", {"compositionality": together, "orthogonality": independent})
    return ["pairs.json"]


def _tables(section: TransferSection, home: Path) -> list[Path]:
    return [expand_path(one.path) for one in section.tables]


def transfer_summary(study: Study) -> Summary:
    """AUROCs on held-out words and on the user's texts."""
    value = read_json(study.path / "transfer.json")
    sets = [{"name": "held-out words and scenes", **value["held_out"]}, *value["sets"]]
    lines: list[str] = []
    for one in sets:
        lines += [*auroc_lines(one, study.emotions), ""]
    return value, lines[:-1]


@stage(
    "transfer",
    needs=("features", "stability", "train", "embed", "prompts"),
    section=lambda s: TransferSection(
        transfer=s.validation.transfer, tables=s.transfer, encoder=one_name(s.encoder), features=s.features
    ),
    inputs=_tables,
    summary=transfer_summary,
)
def transfer(study: Study, settings: TransferSection, progress: Progress) -> Iterable[str]:
    """Held-out words and templates, negations and mixtures, the user's labelled texts -> transfer.json."""
    from moodlens.sae.model import pre_activation_rows
    from moodlens.validate.transfer import generalization, special_rows

    rows, families, codes, sae = study.rows, study.families, study.codes(), study.sae()
    members, few = families.on_members()
    scores = few.scores(pre_activation_rows(sae, study.x, features=members))
    result: dict[str, Any] = {
        "held_out": generalization(
            pre_activation_rows(sae, study.x[rows.where("held_out", kinds=None)]),
            codes,
            study.x,
            rows.label,
            rows.group,
            rows.split,
            families,
            study.features,
            study.emotions,
            dense_baselines(study),
            settings.features,
            settings.transfer,
            seed=study.seed,
        ),
        "special": special_rows(scores, study.prompts, rows.label, families, study.emotions),
        "sets": [],
    }
    for done, one in enumerate(settings.tables):
        progress("transfer", done, len(settings.tables))
        scored = score_table(study, one, settings.encoder, settings.transfer)
        result["sets"].append(scored.result)
    progress("transfer", len(settings.tables), len(settings.tables))
    write_json(study.path / "transfer.json", result)
    return ["transfer.json"]
