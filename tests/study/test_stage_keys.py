"""What a stage reads of the settings is its key, no less and no more: which stages run again for each setting."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from moodlens.pipeline.stage import dependents, key_part, needed, plan
from moodlens.pipeline.stages import STAGES
from moodlens.settings.encoder import EmbeddingEndpoint, EncoderSettings
from moodlens.settings.imported import ImportSettings
from moodlens.settings.names import NamerSettings
from moodlens.settings.sae import SAESettings
from moodlens.settings.steer import SteerSettings
from moodlens.settings.study import QUICKSTART_SAE, Settings, Table
from moodlens.study.state import StageRecord

FIRST = {
    "name": ("report",),
    "seed": ("prompts",),
    "control": ("prompts",),
    "emotions": ("prompts",),
    "prompts": ("prompts",),
    "encoder": ("embed",),
    "sae": ("sweep",),
    "sweep": ("sweep",),
    "imported": ("train",),
    "seeds": ("train",),
    "core": ("train",),
    "features": ("ratings", "features", "untrained"),
    "features.min_firings": (
        "sweep",
        "ratings",
        "features",
        "untrained",
    ),  # the sweep counts what would pass the bare threshold
    "features.min_selectivity": ("sweep", "ratings", "features", "untrained"),
    "names": ("names", "untrained"),
    "namer": ("names",),
    "validation.phase0": ("probe",),
    "validation.stability": ("stability", "untrained"),
    "validation.causal": ("causal", "untrained"),
    "validation.pairs": ("pairs",),
    "validation.transfer": ("transfer",),
    "validation.metrics": ("metrics",),
    "verdict": ("verdict",),
    "transfer": ("transfer",),
    "steer": (),
    "engine": (),
    "track": (),
}
"""Setting -> the stages that are given it; what reads their files runs again after them."""
ASKING = ("key_env", "max_tokens", "price", "cache", "batch", "parallel", "timeout", "retries", "pause")
ELSEWHERE = {
    *("namer.key_env", "namer.timeout", "namer.retries", "namer.pause", "namer.parallel"),
    *(f"encoder.api.{name}" for name in ASKING),
    *("imported.path", "imported.others"),
}
"""How to reach an endpoint, and where a file lies: nothing that either says depends on them."""


def leaves(model: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def other(value: Any) -> Any:
    """Any other value: keys ask nothing of it but that it is different."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, tuple):
        return (*value, "more")
    if isinstance(value, dict):
        return {"k": [1]}
    return f"not {value}"


def changed(model: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    new = value if not rest else changed(getattr(model, name), rest, value)
    return model.model_copy(update={name: new})


FULL = Settings(
    sae=SAESettings.model_validate(QUICKSTART_SAE.model_dump(exclude_unset=True)),
    namer=NamerSettings(url="http://localhost:1", model="m"),
    encoder=EncoderSettings(api=EmbeddingEndpoint(url="http://localhost:1")),
    imported=ImportSettings(path="sae"),
    steer=SteerSettings(),
    transfer=(Table(path="a.csv", text_column="text"),),
)
SETTINGS = [path for path, _ in leaves(FULL)]


@pytest.mark.parametrize("path", SETTINGS)
def test_a_setting_changes_the_keys_of_what_depends_on_it_and_no_other(path, tmp_path):
    value = dict(leaves(FULL))[path]
    new = (Table(path="a.csv", text_column="other"),) if path == "transfer" else other(value)
    if path == "prompts.precomputed":
        pytest.skip("where it is decides nothing; what it holds does")
    if path == "encoder.id":
        new = "t5:nobody/nothing"
    if path == "encoder.pooling":
        new = "cls"
    if path in ("imported.library", "imported.input"):
        new = {"library": "sparsify", "input": "unit"}[path.split(".")[1]]
    if path == "core.least":
        new = 0.52  # what is claimed is found in no fewer
    if path == "prompts.tables":
        new = (Table(path="b.csv", text_column="text"),)
    full = FULL
    if path in ("sae.l1_coefficient", "sae.prefixes"):  # only some architectures take these
        users = {"sae.l1_coefficient": "l1", "sae.prefixes": "matryoshka"}
        full = changed(FULL, ["sae", "architecture"], users[path])
    settings = changed(full, path.split("."), new)
    before, after = (plan(s, tmp_path, STAGES, {}).keys for s in (full, settings))
    place = next(p for p in (path, ".".join(path.split(".")[:2]), path.split(".")[0]) if p in FIRST)
    again = {name for first in FIRST[place] for name in dependents(STAGES, first)}
    if path.startswith("encoder."):
        again |= set(dependents(STAGES, "transfer"))
    if path in ELSEWHERE:
        again = set()
    assert {name for name in before if before[name] != after[name]} == again


def test_where_a_table_lies_decides_nothing_and_what_it_holds_does(tmp_path):
    keys = []
    for folder, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "own.csv"
        path.write_text(f"text\n{text}\n")
        settings = FULL.model_copy(update={"transfer": (Table(path=str(path), text_column="text"),)})
        keys.append(plan(settings, tmp_path, STAGES, {}).keys)
    assert keys[0] == keys[1]
    assert {name for name in keys[0] if keys[0][name] != keys[2][name]} == {"transfer", "verdict", "report"}


def test_what_lies_in_an_encoders_folder_decides_and_not_how_it_is_typed(tmp_path, monkeypatch):
    folder = tmp_path / "t5"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text(name)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)

    def keys(typed, states):
        settings = changed(FULL, ["encoder", "id"], f"t5:{typed}")
        planned = plan(settings, tmp_path, STAGES, states)
        del planned.keys["report"]  # it prints the settings as they were typed
        return planned.keys, planned.inputs["embed"]

    first, inputs = keys(folder, {})
    assert {Path(path).name for path in inputs} == {"config.json", "tokenizer.json", "model.safetensors"}
    for typed in ("t5", "./t5/", "link", f"{folder}/"):
        assert keys(typed, {})[0] == first
    states = {
        "embed": StageRecord(key=first["embed"], needs={}, files={}, inputs=inputs, seconds=0.0, began=0.0)
    }
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("other")
        again = keys(folder, states)[0]
        assert {stage for stage in first if first[stage] != again[stage]} == {
            *dependents(STAGES, "embed")
        } - {"report"}
        (folder / name).write_text(name)
    shutil.rmtree(folder)
    assert keys(folder, states)[0] == first, "a finished study does without its encoder"


def test_a_section_is_hashed_without_what_decides_nothing():
    part = key_part(Table(path="a.csv", text_column="text"))
    assert "path" not in part
    assert part["text_column"] == "text"


def test_a_stage_reads_only_what_it_needs(small_study):
    from moodlens.pipeline.opened import OpenStudy

    study = OpenStudy.open(small_study)
    for each in STAGES:
        view = study.limited_to({*needed(STAGES, each.name), each.name})
        with pytest.raises(AssertionError, match="its settings"):
            _ = view.settings
    with pytest.raises(AssertionError, match="'features'"):
        _ = study.limited_to({"prompts", "embed"}).features
