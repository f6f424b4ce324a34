"""`moodlens schema`: what it prints is what the files of a real study hold."""

import json
from pathlib import Path

import jsonschema
import polars as pl
import pytest
import yaml

from helpers.report_study import make_study
from moodlens.study.formats import formats


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return make_study(tmp_path_factory.mktemp("study") / "full")


def test_every_record_and_table_of_a_study_fits_its_schema(cli, study):
    status, out, _ = cli("schema", "--json")
    assert status == 0
    schemas = json.loads(out)
    assert set(schemas) == {"study.yaml", *formats()}
    seen = set()
    for file in study.iterdir():
        if file.name in schemas and file.suffix == ".json":
            jsonschema.validate(json.loads(file.read_text(encoding="utf-8")), schemas[file.name])
            seen.add(file.name)
        if file.name in schemas and file.suffix == ".parquet":
            declared = schemas[file.name]["columns"]
            for name, dtype in pl.read_parquet_schema(file).items():
                column = declared.get(name) or next(
                    c for start, c in declared.items() if start.endswith("*") and name.startswith(start[:-1])
                )
                assert column["dtype"] == str(dtype)
            seen.add(file.name)
    assert {"verdict.json", "selection.json", "features.parquet", "transfer.json"} <= seen


def test_a_schema_refuses_what_a_record_refuses(cli, study):
    schema = json.loads(cli("schema", "verdict.json", "--json")[1])
    value = json.loads((study / "verdict.json").read_text(encoding="utf-8"))
    for broken in (value | {"go": "perhaps"}, value | {"unknown": 1}, {"version": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)


def test_a_study_file_can_be_checked_by_an_editor(cli, small_settings):
    schema = json.loads(cli("schema", "study.yaml")[1])
    settings = yaml.safe_load(small_settings.read_text())
    jsonschema.validate(settings, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(settings | {"emotion": ["happy", "sad"]}, schema)


def test_an_unknown_name_is_one_line_that_knows_the_next(cli):
    status, out, error = cli("schema", "verdicts.json")
    assert (status, out) == (2, "")
    assert error.startswith(
        "moodlens: schema verdicts.json: no such file of a study; did you mean 'verdict.json'?"
    )
    assert error.count("\n") == 1
