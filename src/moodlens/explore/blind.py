"""Blind naming: a person names a feature from its texts alone, and the name is put to the test that judges names.

The person sees train + val texts, from which the program's names are made too; test texts judge both.
"""

import numpy as np

from moodlens.core import BadInput
from moodlens.explore.answers import BlindResult, BlindText, BlindTrial, NoteQuestion, ProgramName
from moodlens.explore.explored import Explored, short
from moodlens.explore.notes import add_note
from moodlens.features.names.detect import auroc_of_readings
from moodlens.features.names.make import Material
from moodlens.features.names.words import Texts, read_name, stems_of
from moodlens.study.coded import Coded
from moodlens.study.notes import BlindScore
from moodlens.study.rows import DEV

FIRES, SILENT = 8, 4
_TRIAL = (
    "Texts of train + val, each of another group: those that fire it, strongest first and then from all strengths, and texts of "
    "its emotion that do not. Write a concept, a colon and words (grief: grave, hospital), or words alone."
)
_RESULT = (
    "How often an unseen text that fires the feature reads more like the name than one that does not; 0.5 is chance. A name is "
    "read by what train + val texts with its words look like to the encoder, as the program's names are."
)


def blind_trial(explored: Explored, emotion: str | None, skip: frozenset[int]) -> BlindTrial:
    """Texts of a claimed feature that nobody has read yet; of those left, one is drawn.

    Args:
        explored: the study.
        emotion: of the feature; None: any.
        skip: features that are not wanted.

    Raises:
        BadInput: none is left.
    """
    table, study = explored.table, explored.study
    known = set(study.notes.latest(study.sae_key)) | skip
    lean = explored.column("emotion")
    left = [f for f in explored.claimed.tolist() if f not in known and emotion in (None, lean[f])]
    if not left:
        raise BadInput("no claimed feature is left to name; all of them were read or skipped")
    feature = int(np.random.default_rng().choice(left))
    rows, numbers = study.rows, study.rows.where(*DEV)
    own = numbers[rows.label[numbers] == study.emotions.index(table["emotion"][feature])]
    activation = explored.activation(feature)
    rng = np.random.default_rng([study.seed, feature])
    fires = _fires(numbers[activation[numbers] > 0], activation, rows.group, rng)
    silent = _one_a_group(rng.permutation(own[activation[own] <= 0]), rows.group)[:SILENT]
    label = table["emotion"][feature]
    concepts = sorted({c for c in rows.concept[rows.label == study.emotions.index(label)] if c})
    return BlindTrial(
        feature=feature,
        emotion=label,
        fires=tuple(_text(explored, row, activation) for row in fires),
        silent=tuple(_text(explored, row, activation) for row in silent),
        n_left=len(left),
        concepts=tuple(concepts),
        note=_TRIAL,
    )


def _fires(
    rows: np.ndarray, activation: np.ndarray, group: np.ndarray, rng: np.random.Generator
) -> list[int]:
    strongest = _one_a_group(rows[np.argsort(-activation[rows], kind="stable")], group)
    top, rest = strongest[: FIRES // 2], np.array(strongest[FIRES // 2 :], dtype=int)
    parts = np.array_split(rest, FIRES - len(top))
    return top + [int(rng.choice(part)) for part in parts if len(part)]


def _one_a_group(rows: np.ndarray, group: np.ndarray) -> list[int]:
    first = np.sort(np.unique(group[rows], return_index=True)[1])
    return rows[first].tolist()


def _text(explored: Explored, row: int, activation: np.ndarray) -> BlindText:
    return BlindText(
        row=row, activation=short(float(activation[row])) or 0.0, text=explored.study.rows.texts[row]
    )


def _material(explored: Explored) -> Material:
    def make() -> Material:
        study = explored.study
        few = explored.claimed
        coded = Coded(study.rows, study.x, explored.dense(few), study.W_dec()[few])
        return Material.of(coded, study.prompts, study.settings.names)

    return explored.once("material", make)


def blind_result(explored: Explored, question: NoteQuestion) -> BlindResult:
    """Score a person's name by the test that judges names, keep both, and show the program's.

    Raises:
        BadInput: the reading is not complete, or the feature is not claimed.
    """
    study, feature = explored.study, explored.check(question.feature)
    place = np.flatnonzero(explored.claimed == feature)
    if not len(place):
        raise BadInput(f"feature {feature}: only claimed features are named")
    material, settings = _material(explored), study.settings.names
    emotion = study.emotions.index(explored.table["emotion"][feature])
    concepts = sorted({c for c in material.texts.rows.concept if c})
    name = read_name(question.name, concepts)
    texts, numbers = Texts.of(study.rows, None, settings.splits)
    reading = material.reader.read([name], [emotion], study.x, numbers)
    fires = explored.activation(feature)[numbers] > 0
    own = texts.rows.label == emotion
    known = tuple(word for word in name.words if any(s in material.vocabulary.place for s in stems_of(word)))
    score, score_all = (
        None
        if not (known or name.concept)
        else short(float(auroc_of_readings(reading[kept], fires[kept][:, None])[0, 0]))
        for kept in (own, np.ones(len(own), dtype=bool))
    )
    program = ProgramName(
        **{
            to: explored.column(column)[feature]
            for to, column in (("name", "name"), ("score", "name_score"), ("score_all", "name_score_all"))
        }
    )
    blind = BlindScore(
        score=score,
        score_all=score_all,
        control=explored.column("name_control")[feature],
        program_score=program.score,
        n=int(own.sum()),
    )
    return BlindResult(
        reading=add_note(explored, question, blind),
        score=score,
        score_all=score_all,
        control=blind.control,
        n=len(own),
        n_emotion=int(own.sum()),
        known=(*((name.concept,) if name.concept else ()), *known),
        unknown=tuple(word for word in name.words if word not in known),
        program=program,
        note=_RESULT,
    )
