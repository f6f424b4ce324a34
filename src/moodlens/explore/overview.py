"""The first page: the verdict beside its controls, the matrix, curves, planes and families."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from moodlens.core.version import __version__
from moodlens.explore.answers import TEXT
from moodlens.explore.explored import Explored, short
from moodlens.explore.feature import concept_cells
from moodlens.explore.generate_records import GeneratorFacts
from moodlens.explore.planes import circumplex, study_map
from moodlens.explore.records import (
    About,
    Can,
    Cell,
    Counts,
    Curves,
    FamilyPart,
    Heat,
    Limits,
    Lines,
    OtherTexts,
    Overview,
    Prompts,
    SteerFacts,
)
from moodlens.explore.steer import MOST, UNIT_NOTE, steer_unit
from moodlens.sae.history import read_history
from moodlens.study.records.concepts import Concepts
from moodlens.study.records.sae import SWEEP
from moodlens.study.records.selection import Selection
from moodlens.study.records.transfer import Transfer
from moodlens.study.records.untrained import Untrained

_HEAT = "share of the test texts of each concept in which a claimed feature fires; features by emotion and concept"
DENSE = 0.5
BUNDLED = "minilm"
"""The encoder that comes along, which no generator reads with."""


def overview(
    explored: Explored, *, compare: bool = False, generator: GeneratorFacts | None = None
) -> Overview:
    """Everything on the study as a whole, as a served page shows it.

    Args:
        explored: the study.
        compare: another study stands beside it.
        generator: what makes clips, where something does.
    """
    study = explored.study
    transfer = study.read(Transfer) if explored.has("transfer") else None
    reads = explored.has("encoder")
    missing = dict(explored.missing)
    if not study.path.joinpath("steer").is_dir():
        missing["clips"] = f"moodlens steer {study.path.name}"
    if generator is None:
        missing["generator"] = no_generator(explored)
    sweep = study.table(SWEEP) if explored.has("sweep") else SWEEP.empty()
    if not sweep.height:
        missing["sweep"] = f"moodlens sweep {study.path.name}"
    return Overview(
        study=_about(explored),
        can=Can(
            text=reads,
            steer=True,
            notes=True,
            blind=explored.has("names"),
            compare=compare,
            generate=generator is not None,
        ),
        verdict=study.verdict if explored.has("verdict") else None,
        counts=_counts(explored),
        heat=_heat(explored),
        curves=Curves(
            training=_training(explored),
            sweep=_lines(tuple(sweep.columns), sweep.iter_rows()) if sweep.height else None,
        ),
        circumplex=circumplex(explored),
        map=study_map(explored),
        families=tuple(_family(explored, i, transfer) for i in range(len(study.emotions))),
        transfer=None
        if transfer is None
        else tuple(
            OtherTexts(name=part.name, n=part.n, n_groups=part.n_groups, n_seen=part.n_seen, auroc=part.auroc)
            for part in transfer.sets
        ),
        steer=_steering(explored),
        generator=generator,
        limits=Limits(text=TEXT),
        missing=missing,
    )


def _steering(explored: Explored) -> SteerFacts:
    encoder, why = explored.study.encoder_info.encoder, None
    if encoder == BUNDLED:
        why = (
            f"{encoder} is the text encoder of no generator, so these directions move readouts and no music: study "
            "MusicGen's own, t5:google-t5/t5-base"
        )
    return SteerFacts(
        unit=short(steer_unit(explored)) or 0.0, unit_note=UNIT_NOTE, max_coefficient=MOST, no_music=why
    )


def no_generator(explored: Explored) -> str:
    """The command that brings one."""
    return f"moodlens explore {explored.study.path.name} --generator MODEL"


def prompts(explored: Explored) -> Prompts:
    """The study's texts, column by column."""
    rows = explored.study.rows
    return Prompts(
        text=rows.texts.tolist(),
        emotion=[rows.emotions[label] if label >= 0 else None for label in rows.label],
        concept=[concept or None for concept in rows.concept],
        kind=rows.kind.tolist(),
        split=rows.split.tolist(),
    )


def _about(explored: Explored) -> About:
    study, rows = explored.study, explored.study.rows
    concepts = {
        name: tuple(sorted({concept for concept in rows.concept[rows.label == c] if concept}))
        for c, name in enumerate(rows.emotions)
    }
    splits, counts = np.unique(rows.split, return_counts=True)
    return About(
        name=study.settings.name,
        folder=study.path.resolve().name,
        sae=study.sae_key,
        encoder=study.encoder_info.encoder,
        d_in=study.x.shape[1],
        d_sae=study.sae().d_sae,
        core_size=study.core_size,
        seed=study.seed,
        control=study.control,
        emotions=study.emotions,
        concepts=concepts,
        n_prompts=len(rows),
        splits=dict(zip(splits.tolist(), counts.tolist(), strict=True)),
        moodlens=__version__,
    )


def _counts(explored: Explored) -> Counts:
    study = explored.study
    selection = study.read(Selection)
    density = explored.table["density"].fill_null(0.0).to_numpy()
    kinds = None
    if explored.has("untrained"):
        record = study.read(Untrained)
        beside = record.consensus or record.alone
        kinds = {kind: claims.n_claimed for kind, claims in beside.items()}
    return Counts(
        features=selection.n_features,
        core=selection.core_size,
        claimed=selection.n_emotion_features,
        concept_features=study.read(Concepts).n_concept_features if explored.has("concepts") else None,
        dead=int((density == 0).sum()),
        dense=int((density > DENSE).sum()),
        per_emotion=selection.per_emotion,
        shuffled_p95=selection.shuffled.p95,
        untrained=kinds,
    )


def _heat(explored: Explored) -> Heat | None:
    if not len(explored.claimed):
        return None
    rows = explored.study.rows[explored.test]
    cells = concept_cells(explored)
    concept = explored.column("concept")
    emotion = explored.column("emotion")
    place = {name: i for i, name in enumerate(rows.emotions)}
    order = sorted(explored.claimed.tolist(), key=lambda f: (place[emotion[f]], concept[f] or "\uffff", f))
    fires = explored.dense(order)[explored.test] > 0
    rate = np.stack([fires[own].mean(axis=0) for _, _, own in cells], axis=1)
    return Heat(
        cells=tuple(
            Cell(
                emotion=rows.emotions[c],
                concept=name,
                n=len(own),
                groups=len(np.unique(rows.group[own])),
            )
            for c, name, own in cells
        ),
        features=tuple(order),
        rate=[[round(value, 3) for value in row] for row in rate.tolist()],
        note=_HEAT,
    )


def _training(explored: Explored) -> Lines | None:
    path = explored.study.path / "sae" / "main" / "history.jsonl"
    epochs = read_history(path) if path.is_file() else []
    if not epochs:
        return None
    columns = tuple(type(epochs[0]).model_fields)
    return _lines(columns, ([getattr(epoch, name) for name in columns] for epoch in epochs))


def _lines(columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> Lines:
    shown = [[short(value, 5) if isinstance(value, float) else value for value in row] for row in rows]
    return Lines(columns=columns, rows=shown)


def _family(explored: Explored, emotion: int, transfer: Transfer | None) -> FamilyPart:
    family = explored.study.families.families[emotion]
    held_out = None if transfer is None else transfer.held_out
    return FamilyPart(
        emotion=family.emotion,
        features=family.features,
        weights=tuple(short(weight) or 0.0 for weight in family.weights),
        held_out=None if held_out is None else held_out.auroc.get("family", {}).get(family.emotion),
        held_out_control=None if held_out is None else held_out.control_auroc,
    )
