"""Tables on the hub: addresses, the cache, and one line where there is no network."""

from pathlib import Path

import pytest

from moodlens.cli.target import study_for, text_table
from moodlens.core import BadInput
from moodlens.pipeline.stages.texts import PromptsSection, prompt_files
from moodlens.prompts.hub import hub_address, table_file
from moodlens.prompts.tables import read_prompts
from moodlens.settings.study import PromptSettings, Settings, Table, with_absolute_paths

CAPTIONS = "hf://datasets/someone/captions@abc123/data/captions.csv"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (CAPTIONS, ("someone/captions", "abc123", "data/captions.csv")),
        ("hf:/datasets/a/b.c/x.parquet", ("a/b.c", None, "x.parquet")),
        (
            "hf://datasets/a/b@~parquet/default/train/0000.parquet",
            ("a/b", "refs/convert/parquet", "default/train/0000.parquet"),
        ),
    ],
)
def test_addresses(text, parts):
    assert hub_address(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "hf://a/b/c.csv",
        "hf://datasets/a/b",
        "hf://datasets/a/b/*.parquet",
        "hf://datasets/a",
        "hf://models/a/b/c.csv",
    ],
)
def test_what_is_no_address_is_one_line(text):
    with pytest.raises(
        BadInput, match="not an address of a table on the hub: expected hf://datasets/USER/NAME/FILE"
    ):
        table_file(text)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The hub's cache with one file in it, laid out as the hub's client lays it out."""
    import huggingface_hub.constants
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.file_download, "HF_HUB_OFFLINE", True, raising=False)
    folder = tmp_path / "datasets--someone--captions"
    commit = folder / "snapshots" / ("0" * 40)
    (commit / "data").mkdir(parents=True)
    (commit / "data" / "captions.csv").write_text("caption;mood\na calm song;calm\nloud drums;energetic\n")
    (folder / "refs").mkdir()
    (folder / "refs" / "abc123").write_text("0" * 40)
    return tmp_path


def test_what_the_cache_holds_is_read_in_its_own_dialect(cache):
    table = Table(path=CAPTIONS, text_column="caption", emotion_column="mood")
    frame, report = read_prompts(table)
    assert frame["text"].to_list() == ["a calm song", "loud drums"]
    assert report.file == "captions.csv"
    section = PromptsSection(
        seed=0,
        emotions=("calm", "energetic"),
        control="none",
        prompts=PromptSettings(generate=0, tables=(table,)),
    )
    assert [path.name for path in prompt_files(section, Path("home"))] == ["captions.csv"]


def test_what_cannot_be_fetched_is_one_line_and_no_input_of_a_stage(cache):
    table = Table(path="hf://datasets/someone/other/texts.csv", text_column="caption")
    with pytest.raises(
        BadInput, match=r"other/texts.csv: cannot be fetched \(.*\); check the address and the network"
    ) as error:
        read_prompts(table)
    assert "\n" not in str(error.value)
    section = PromptsSection(
        seed=0, emotions=("a", "b"), control="none", prompts=PromptSettings(generate=0, tables=(table,))
    )
    assert prompt_files(section, Path("home")) == []


def test_addresses_stay_what_they_are(cache, tmp_path):
    table = Table(path=CAPTIONS, text_column="caption", emotion_column="mood")
    settings = with_absolute_paths(Settings(transfer=(table,), prompts=PromptSettings(tables=(table,))))
    assert (settings.transfer[0].path, settings.prompts.tables[0].path) == (CAPTIONS, CAPTIONS)
    assert text_table(Path(CAPTIONS), "caption", None, None).path == CAPTIONS
    made, _ = study_for(Path(CAPTIONS), tmp_path / "out", [], "caption", "mood")
    assert made.prompts.tables[0].path == CAPTIONS
    assert made.emotions == ("calm", "energetic")
