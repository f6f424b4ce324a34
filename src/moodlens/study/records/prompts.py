"""Of the stage ``prompts``: the texts, and what was done to get them."""

from typing import ClassVar

from pydantic import Field

from moodlens.prompts.report import TableReport
from moodlens.study.record import Column, Record, TableSchema


class Prompts(Record):
    """prompts.json: what every later stage needs to know of the texts beside their table."""

    file: ClassVar[str] = "prompts.json"
    stage: ClassVar[str] = "prompts"

    emotions: tuple[str, ...] = Field(description="the labels, in order")
    seed: int = Field(description="the one seed from which every other is derived")
    control: str = Field(description="none, or which control this study is")
    n: int = Field(description="texts (count)")
    n_groups: int = Field(description="groups of texts that are not independent (count)")
    tables: tuple[TableReport, ...] = Field(description="what reading each table found, in order")
    remarks: tuple[str, ...] = Field(
        description="sentences on splits that were dealt out of train or lack an emotion"
    )


PROMPTS = TableSchema(
    file="prompts.parquet",
    stage="prompts",
    columns={
        "id": Column("String", "", "unique; `ID/1`, `ID/2` are sentences of one text (`segments: true`)"),
        "text": Column("String", "", "what is embedded"),
        "emotion": Column("String", "", "label; null where there is none"),
        "concept": Column("String", "", "what the emotion is about, such as grief; null where none is known"),
        "kind": Column("String", "", "plain, neutral, negation, mixed, unlabelled"),
        "about": Column("String", "", "negation: the denied emotion; mixed: `happy|sad`; else null"),
        "split": Column("String", "", "train, val, test, held_out"),
        "group": Column("String", "", "rows that must not straddle splits"),
        "instrument": Column("String", "", "factor of generated prompts; null elsewhere"),
        "genre": Column("String", "", "factor of generated prompts; null elsewhere"),
        "intensity": Column("String", "", "factor of generated prompts; null elsewhere"),
        "style": Column("String", "", "factor of generated prompts; null elsewhere"),
        "twin": Column(
            "String",
            "",
            "id of the same prompt without its emotion; of a denied one: of the prompt that says it",
        ),
        "source": Column("String", "", "`grammar`, or the table's file name"),
        "valence": Column(
            "Float64",
            "rating",
            "how pleasant people find it, in the table's own range; null where nobody rated it",
        ),
        "arousal": Column("Float64", "rating", "how exciting people find it; likewise"),
    },
)
