"""docs/formats.md says what the records and tables say, and every file of a stage is in it."""

import json
import re
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import Field

from moodlens.core.errors import BadInput
from moodlens.settings.verdict import VerdictSettings
from moodlens.study import formats
from moodlens.study.record import Column, Part, Record, TableSchema

DOCS = Path(__file__).parents[2] / "docs" / "formats.md"


class Inner(Part):
    """One of them."""

    name: str = Field(description="what it is | called")
    pair: tuple[float, float] | None = Field(description="low and high")


class Sample(Record):
    """A file for this test."""

    file: ClassVar[str] = "sample.json"
    stage: ClassVar[str] = "sample"

    n: int = Field(description="how many (count)")
    kind: Literal["a", "b"] = Field(description="which")
    per_emotion: dict[str, Inner] = Field(description="one for each emotion")
    many: tuple[Inner, ...] = Field(description="more of them")
    only: Inner
    set: VerdictSettings = Field(description="what was asked for")


def test_the_document_is_what_the_code_says():
    text = DOCS.read_text(encoding="utf-8")
    assert formats.generate(text) == text, "write it anew: python -m moodlens.study.formats"


def test_inner_records_are_described_key_by_key():
    lines = formats.describe(Sample).splitlines()
    assert lines[0] == "| key | type | meaning |"
    assert lines[2:] == [
        "| `n` | int | how many (count) |",
        "| `kind` | `a` or `b` | which |",
        "| `per_emotion` | text -> object | one for each emotion |",
        "| `per_emotion.name` | text | what it is \\| called |",
        "| `per_emotion.pair` | [float, float] or null | low and high |",
        "| `many` | list of object, as `per_emotion` | more of them |",
        "| `only` | object, as `per_emotion` | One of them |",
        "| `set` | object | what was asked for |",
    ]


def test_tables_are_described_column_by_column():
    table = TableSchema("t.parquet", "s", {"p": Column("Float64", "share", "of all")})
    assert formats.describe(table).splitlines()[2:] == ["| `p` | float | share | of all |"]


def test_a_marked_table_is_made_anew_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "formats", lambda: {"sample.json": Sample})
    text = "before\n\n<!-- generated: sample.json -->\nold\n<!-- end -->\n\nafter\n"
    path = tmp_path / "formats.md"
    path.write_text(text)
    formats.main([str(path)])
    new = path.read_text()
    assert new == text.replace("old\n", formats.describe(Sample))
    formats.main([str(path)])
    assert path.read_text() == new
    with pytest.raises(BadInput, match=r"no stage writes 'gone\.json'"):
        formats.generate("<!-- generated: gone.json -->\n<!-- end -->")


def test_schemas_can_be_printed(monkeypatch):
    table = TableSchema("t.parquet", "s", {"p": Column("Float64", "share", "of all")})
    monkeypatch.setattr(formats, "formats", lambda: {"sample.json": Sample, "t.parquet": table})
    schemas = json.loads(json.dumps(formats.json_schemas()))
    assert schemas["sample.json"]["properties"]["n"]["description"] == "how many (count)"
    assert schemas["t.parquet"] == {
        "stage": "s", "columns": {"p": {"dtype": "Float64", "unit": "share", "meaning": "of all"}}
    }  # fmt: skip


def test_every_file_of_a_stage_is_described():
    text = DOCS.read_text(encoding="utf-8")
    described = set(re.findall(r"<!-- generated: (\S+) -->", text))
    # What features.parquet is joined from is described table by table.
    assert set(formats.formats()) - described == {"features.parquet"}
