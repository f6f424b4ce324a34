"""The first stage: the texts, from the grammar and from users' tables."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from moodlens.core.errors import BadInput
from moodlens.core.labels import SCALES
from moodlens.core.lines import table
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.prompts.report import TableReport
from moodlens.settings.base import Frozen
from moodlens.settings.study import PromptSettings, expand_path
from moodlens.stats.equal import equal_rows
from moodlens.study.records.prompts import PROMPTS, Prompts
from moodlens.study.study import Study

PRECOMPUTED_FILES = ("embeddings.npy", "labels.npy", "metadata.json", "prompts.jsonl")
SPLITS = ("train", "val", "test", "held_out")


class PromptsSection(Frozen):
    """What decides the texts. Every later stage builds on them, and so on the seed and the emotions."""

    seed: int
    emotions: tuple[str, ...]
    control: str
    prompts: PromptSettings


def prompt_files(section: PromptsSection, home: Path) -> list[Path]:
    """The outside files that hold the texts."""
    if section.prompts.precomputed is not None:
        folder = expand_path(section.prompts.precomputed)
        return [folder / name for name in PRECOMPUTED_FILES]
    from moodlens.prompts.hub import table_files

    return table_files([table.path for table in section.prompts.tables])


def prompts_summary(study: Study) -> Summary:
    """Counts of emotions by split."""
    frame, record = study.prompts, study.read(Prompts)
    counts = frame.group_by("emotion", "split").agg(pl.len(), pl.col("group").n_unique().alias("groups"))
    splits = [split for split in SPLITS if split in set(frame["split"])]
    cells = {(row["emotion"], row["split"]): row for row in counts.to_dicts()}
    rows, by = [], {}
    for emotion in (*study.emotions, None):
        of_emotion = {split: cells[emotion, split] for split in splits if (emotion, split) in cells}
        if of_emotion:
            name = "(none)" if emotion is None else emotion
            by[name] = {
                split: {"rows": cell["len"], "groups": cell["groups"]} for split, cell in of_emotion.items()
            }
            shown = (
                f"{of_emotion[s]['len']} ({of_emotion[s]['groups']})" if s in of_emotion else "-"
                for s in splits
            )
            rows.append([name, *shown])
    value = record.model_dump() | {"by_split": by}
    lines = [f"{record.n} prompts; rows (groups) by split:", *table(["emotion", *splits], rows)]
    read = [*(table_read.line for table_read in record.tables), *record.remarks]
    return value, [*lines, *([""] if read else []), *read]


@stage(
    "prompts",
    section=lambda s: PromptsSection(seed=s.seed, emotions=s.emotions, control=s.control, prompts=s.prompts),
    inputs=prompt_files,
    wide=True,  # nothing can run beside it
    summary=prompts_summary,
)
def prompts(study: Study, section: PromptsSection, progress: Progress) -> Iterable[str]:
    """Generated prompts and the user's tables, split by group -> prompts.parquet, prompts.json."""
    from moodlens.prompts.splits import assign_splits, group_remarks, split_remarks

    reports: list[TableReport] = []
    if section.prompts.precomputed is None:
        frame, reports = _texts(section)
    else:
        frame = _precomputed_prompts(section)
    types = PROMPTS.dtypes()
    frame = frame.with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in types.items() if name not in frame.columns
    )
    given = frame["split"]
    frame = assign_splits(frame, fractions=section.prompts.fractions, seed=section.seed)
    if section.control == "shuffle-labels":
        frame = shuffle_ratings(shuffle_labels(frame, seed=section.seed), seed=section.seed)
    frame = frame.select(*PROMPTS.columns)
    record = Prompts(
        emotions=section.emotions,
        seed=section.seed,
        control=section.control,
        n=frame.height,
        n_groups=frame["group"].n_unique(),
        tables=tuple(reports),
        remarks=(*split_remarks(given, frame), *group_remarks(frame)),
    )
    progress("prompts", frame.height, frame.height)
    return [study.write_table(PROMPTS, frame), study.write(record)]


def _texts(section: PromptsSection) -> tuple[pl.DataFrame, list[TableReport]]:
    from moodlens.prompts import EMOTIONS, generate, read_tables

    settings = section.prompts
    generated = None
    if settings.generate:
        if not set(section.emotions) <= set(EMOTIONS):
            raise BadInput(
                f"study: the grammar knows {', '.join(EMOTIONS)}; for other emotions set prompts.generate to 0 "
                "and give your own texts in prompts.tables"
            )
        generated = generate(
            settings.generate,
            seed=section.seed,
            emotions=section.emotions,
            neutral_share=settings.neutral_share,
            twin_share=settings.twin_share,
            special=settings.special_share,
            held_out_share=settings.held_out_share,
            scene_share=settings.scene_share,
            caption_share=settings.caption_share,
        )
    frames, reports = read_tables(settings.tables, emotions=section.emotions, generated=generated)
    cut = [False] * (generated is not None) + [table.segments for table in settings.tables]
    frames = [split_into_segments(frame) if long else frame for frame, long in zip(frames, cut, strict=True)]
    return pl.concat(frames, how="diagonal_relaxed"), reports


def split_into_segments(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each sentence of each text; id and group say which text it is from.

    A text of one sentence keeps its id; the others' rows are ``ID/1``, ``ID/2`` and so on. Rows without a group
    get their text's, so that no text straddles a split.
    """
    from moodlens.embed.segments import segments

    parts = frame["text"].map_elements(segments, return_dtype=pl.List(pl.String), skip_nulls=False)
    # The id as group is what a row without one would get when splits are dealt.
    group = pl.when(pl.col("group").fill_null("") == "").then(pl.col("id")).otherwise(pl.col("group"))
    split = frame.with_columns(group=group, text=parts, n=parts.list.len()).explode("text")
    place = pl.int_range(1, pl.len() + 1).over("id")
    named = pl.when(pl.col("n") > 1).then(pl.format("{}/{}", "id", place)).otherwise(pl.col("id"))
    return split.with_columns(id=named).drop("n")


def _precomputed_prompts(section: PromptsSection) -> pl.DataFrame:
    from moodlens.embed import read_precomputed

    assert section.prompts.precomputed is not None
    path = expand_path(section.prompts.precomputed)
    data = read_precomputed(path)
    if tuple(data.emotions) != section.emotions:
        raise BadInput(
            f"{path}: its labels are {', '.join(data.emotions)}; set emotions to [{', '.join(data.emotions)}]"
        )
    n = len(data.x)
    texts = data.texts or [f"row {i}" for i in range(n)]
    return pl.DataFrame(
        {
            "id": [f"row-{i}" for i in range(n)],
            "text": texts,
            "emotion": [data.emotions[label] if label >= 0 else None for label in data.labels],
            # Who has no label may have any emotion; known to have none is only what the texts' file calls neutral.
            "kind": np.select([data.labels >= 0, data.neutral], ["plain", "neutral"], "unlabelled").tolist(),
            "about": [None] * n,
            "split": [""] * n,
            # Nothing is known of how these prompts were built, so each row stands for itself; equal rows are one.
            "group": [f"row-{i}" for i in equal_rows(data.x)],
            "source": [str(section.prompts.precomputed)] * n,
        },
        schema_overrides={"emotion": pl.String, "about": pl.String},
    )


def shuffle_labels(frame: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Deal emotions, with their concepts, anew among what may be exchanged in each split; sizes of both stay.

    These are the units of every permutation test (:class:`moodlens.stats.units.Units`): whole groups of one emotion, and
    the texts within a group of several. The result looks like a study and holds no emotion: whatever is found in it is an
    artefact.
    """
    return _dealt(frame, "emotion", ("emotion", "concept"), np.random.default_rng([seed, 0x5FFE]))


def shuffle_ratings(frame: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Deal the ratings of each scale anew among what may be exchanged in each split, as :func:`shuffle_labels` does."""
    for number, scale in enumerate(SCALES):
        frame = _dealt(frame, scale, (scale,), np.random.default_rng([seed, 0x5FFE, number]))
    return frame


def _dealt(frame: pl.DataFrame, by: str, names: tuple[str, ...], rng: np.random.Generator) -> pl.DataFrame:
    """The frame with ``names`` dealt anew among the exchangeable units of the values of ``by``, split by split."""
    from moodlens.prompts.copies import copy_keys
    from moodlens.stats.units import dense_codes, exchangeable_units, permuted_units

    key = copy_keys(frame["text"])
    known = frame.with_row_index("row").with_columns(copy=key).filter(pl.col(by).is_not_null())
    new = {name: frame[name].to_list() for name in names}
    for part in known.sort("row").partition_by("split", maintain_order=True):
        columns = (part[name].cast(pl.String).to_numpy() for name in (by, "group", "copy"))
        units = exchangeable_units(*(dense_codes(column)[0] for column in columns))
        first = np.unique(units.of_row, return_index=True)[1]
        dealt = first[permuted_units(units, rng)][units.of_row]
        for name in names:
            for row, value in zip(part["row"], part[name].gather(dealt), strict=True):
                new[name][row] = value
    return frame.with_columns(
        pl.Series(name, values, dtype=frame.schema[name]) for name, values in new.items()
    )
