"""What DATA may be, and options that do not belong to it."""

import numpy as np
import pytest

from moodlens.cli.target import embeddings_alone, study_for, text_table
from moodlens.core import BadInput

COLUMNS = ("caption", None, None)
NONE = (None, None, None)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.yaml").write_text("seed: 3\n")
    (tmp_path / "file.yaml").write_text("seed: 4\n")
    (tmp_path / "emb").mkdir()
    np.save(tmp_path / "emb" / "embeddings.npy", np.eye(8, dtype=np.float32))
    np.save(tmp_path / "emb" / "labels.npy", np.arange(8) % 2)
    (tmp_path / "emb" / "metadata.json").write_text('{"emotions": ["up", "down"]}')
    (tmp_path / "t.csv").write_text("caption,mood\na,up\nb,down\n")
    return tmp_path


def test_what_data_may_be(folder, monkeypatch):
    out = folder / "out"
    assert study_for(folder / "study", None, [])[0].seed == 3
    assert study_for(folder / "file.yaml", out, ["name=x"])[0].name == "x"
    assert study_for(folder / "emb", out, [])[0].emotions == ("up", "down")
    monkeypatch.chdir(folder)  # the paths that are kept lead to the same files from anywhere
    from pathlib import Path

    settings, _ = study_for(Path("t.csv"), out, [], "caption", "mood", None)
    assert settings.prompts.tables[0].path == str(folder / "t.csv")
    assert settings.name == "t"
    assert study_for(Path("emb"), out, [])[0].prompts.precomputed == str(folder / "emb")


@pytest.mark.parametrize("columns", [("caption", None, None), (None, "mood", None), (None, None, "who")])
@pytest.mark.parametrize(
    ("data", "kind"), [("study", "study folder"), ("file.yaml", "study file"), ("emb", "embeddings")]
)
def test_columns_of_what_is_no_table_are_refused(folder, data, kind, columns):
    out = None if data == "study" else folder / "out"
    with pytest.raises(BadInput, match=f"{data}: is a .*{kind}"):
        study_for(folder / data, out, [], *columns)


def test_columns_of_embeddings_that_are_only_looked_at(folder):
    assert embeddings_alone(folder / "emb", None, [], NONE) is not None
    assert embeddings_alone(folder / "study", None, [], COLUMNS) is None
    with pytest.raises(BadInput, match="embeddings; leave out --text-column"):
        embeddings_alone(folder / "emb", None, [], COLUMNS)


def test_links_in_a_circle(folder):
    (folder / "a.csv").symlink_to("b.csv")
    (folder / "b.csv").symlink_to("a.csv")
    with pytest.raises(BadInput, match="no such file"):
        study_for(folder / "a.csv", folder / "out", [], *COLUMNS)
    with pytest.raises(BadInput, match="no such file"):
        text_table(folder / "a.csv", *COLUMNS)
