"""Of the stage ``prompts``: the texts, and what was done to get them."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Column, Part, Record, TableSchema


class TableRead(Part):
    """What reading one of the user's tables found; counts are of rows unless their name says groups."""

    file: str = Field(description="name of the file")
    dialect: str = Field(description="how it was written")
    encoding: str = Field(description="of its text")
    n_read: int = Field(description="rows in the table (count)")
    n_without_text: int = Field(description="rows left out because they have no text (count)")
    n_without_label: int = Field(description="rows kept as unlabelled (count)")
    n_neutral: int = Field(description="rows labelled neutral (count)")
    n_contradictory: int = Field(description="equal texts with different labels, kept as unlabelled (count)")
    n_duplicates: int = Field(description="copies of an earlier text (count)")
    n_merged_groups: int = Field(description="groups that hold copies (count)")
    n_numbered: int = Field(
        description="texts that differ from an earlier one in numbers only; not joined (count)"
    )
    labels_merged: dict[str, tuple[str, ...]] = Field(description="label -> its other spellings")
    remarks: tuple[str, ...] = Field(description="on labels and groups that are not what they seem")


class Prompts(Record):
    """prompts.json: what every later stage needs to know of the texts beside their table."""

    file: ClassVar[str] = "prompts.json"
    stage: ClassVar[str] = "prompts"

    emotions: tuple[str, ...] = Field(description="the labels, in order")
    seed: int = Field(description="the one seed from which every other is derived")
    control: str = Field(description="none, or which control this study is")
    n: int = Field(description="texts (count)")
    n_groups: int = Field(description="groups of texts that are not independent (count)")
    tables: tuple[TableRead, ...] = Field(default=(), description="what reading each table found, in order")


PROMPTS = TableSchema(
    file="prompts.parquet",
    stage="prompts",
    columns={
        "id": Column("String", "", "unique; `ID/1`, `ID/2` are sentences of one text (`segments: true`)"),
        "text": Column("String", "", "what is embedded"),
        "emotion": Column("String", "", "label; null where there is none"),
        "kind": Column("String", "", "plain, neutral, negation, mixed, unlabelled"),
        "about": Column("String", "", "negation: the denied emotion; mixed: `happy|sad`; else null"),
        "split": Column("String", "", "train, val, test, held_out"),
        "group": Column("String", "", "rows that must not straddle splits"),
        "instrument": Column("String", "", "factor of generated prompts; null elsewhere"),
        "genre": Column("String", "", "factor of generated prompts; null elsewhere"),
        "intensity": Column("String", "", "factor of generated prompts; null elsewhere"),
        "style": Column("String", "", "factor of generated prompts; null elsewhere"),
        "twin": Column("String", "", "id of the same prompt without its emotion"),
        "source": Column("String", "", "`grammar`, or the table's file name"),
    },
)
