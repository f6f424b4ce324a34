"""An SAE that others trained goes through the whole study, and what cannot be asked of it says so."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from moodlens.cli.app import app
from moodlens.cli.program import call
from moodlens.cli.target import imported_study
from moodlens.core import BadInput
from moodlens.embed import write_precomputed
from moodlens.pipeline.opened import OpenStudy
from moodlens.pipeline.run import run
from moodlens.sae.foreign import LIBRARIES, read_foreign
from moodlens.sae.model import encode_rows
from moodlens.settings.base import validate
from moodlens.settings.imported import ImportSettings
from moodlens.settings.study import Settings
from moodlens.study.records.sae import Core
from moodlens.study.records.stability import Agreement, Stability

DATA = Path(__file__).parents[1] / "data" / "foreign"
EMOTIONS = ("happy", "sad", "calm", "energetic")
FAST = [
    "features.n_permutations=200",
    "features.n_shuffles=2",
    "validation.causal.n_bootstrap=100",
    "validation.pairs.n_bootstrap=100",
    "validation.phase0.n_permutations=20",
]
ONE = {
    "saelens": "saelens-topk",
    "hypothesaes": "hypothesaes-topk",
    "dictionary_learning": "dictionary_learning-BatchTopKSAE",
    "sparsify": "sparsify-topk",
    "latentsae": "latentsae-topk",
}


def there(name: str) -> Path:
    return DATA / name / "sae.pt" if name.startswith("hypothesaes") else DATA / name


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """Embeddings as wide as the libraries' small SAEs are, with four emotions in them."""
    rng, n = np.random.default_rng(0), 400
    labels = np.arange(n) % 4
    x = rng.standard_normal((n, 12)) + 1.5 * rng.standard_normal((4, 12))[labels]
    folder = tmp_path_factory.mktemp("rows") / "rows"
    write_precomputed(folder, x, labels, EMOTIONS, texts=[f"text {i} {EMOTIONS[i % 4]}" for i in range(n)])
    return folder


def settings_of(sae: Path, rows: Path, out: Path, *more: str, others: tuple[Path, ...] = ()) -> Settings:
    given = {"path": str(sae), "library": None, "input": None, "others": [str(other) for other in others]}
    return imported_study(
        ImportSettings.model_validate(given), out, rows, (None, None, None), None, [*FAST, *more]
    )


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_reaches_a_verdict(library, rows, tmp_path):
    sae = there(ONE[library])
    study = run(settings_of(sae, rows, tmp_path / "study"), tmp_path / "study", until="verdict")
    found = read_foreign(sae)
    np.testing.assert_allclose(study.codes(), encode_rows(found.sae, study.x), atol=1e-6)
    if library == "latentsae":
        np.testing.assert_allclose(np.linalg.norm(study.x, axis=1), 1, atol=1e-6)
        assert study.encoder_info.unit is True
    metadata = study.sae().metadata
    assert metadata["imported_from"] == library
    assert metadata["input_scaling"] == found.scale
    assert metadata["imported_sha256"] == found.sha256
    core = study.read(Core)
    assert core.imported is not None
    assert f"imported from {library}" in core.lines[0]
    assert (study.read(Stability).n_seeds, study.read(Agreement).mean) == (0, None)
    judged = {one.id: one for one in study.verdict.criteria}
    assert judged["stability"].state == "not asked"
    assert "imported alone" in judged["stability"].note
    assert any("stability: the SAE was imported alone" in line for line in study.verdict.left_out)
    controls = {control.name: control.value for control in judged["selectivity"].controls}
    assert controls["untrained rows dictionaries"] is not None, "one dictionary stands beside one dictionary"
    assert not study.verdict.go


@pytest.mark.slow
def test_the_command_writes_a_report_and_others_of_the_recipe_make_stability_a_question(rows, tmp_path):
    out = tmp_path / "study"
    arguments = ["import", str(DATA / "latentsae-topk"), "--texts", str(rows), "--out", str(out), "--json"]
    arguments += ["--other", str(DATA / "latentsae-centred")]
    arguments += [part for change in FAST for part in ("--set", change)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["go"] is False
    study = OpenStudy.open(out)
    assert study.settings.name == "latentsae-topk (latentsae) on rows"
    assert study.settings.encoder.unit is True
    judged = {one.id: one for one in study.verdict.criteria}
    assert judged["stability"].state in ("passed", "failed", "uninformative")
    report = (out / "report.html").read_text()
    assert "The SAE was imported from latentsae, which takes rows of norm 1" in report


def test_the_files_of_the_sae_decide_whether_a_study_stands(rows, tmp_path):
    sae = tmp_path / "sae"
    shutil.copytree(DATA / "sparsify-topk", sae)
    first = run(settings_of(sae, rows, tmp_path / "s"), tmp_path / "s", until="train")
    assert (first.codes() > 0).sum(1).max() == 5
    moved = sae.rename(tmp_path / "elsewhere")
    began = (tmp_path / "s" / "core.json").stat().st_mtime_ns
    run(settings_of(moved, rows, tmp_path / "s"), tmp_path / "s", until="train")
    assert (tmp_path / "s" / "core.json").stat().st_mtime_ns == began, "where it lies decides nothing"
    config = json.loads((moved / "cfg.json").read_text())
    (moved / "cfg.json").write_text(json.dumps(config | {"k": 2}))
    second = run(settings_of(moved, rows, tmp_path / "s"), tmp_path / "s", until="train")
    assert (second.codes() > 0).sum(1).max() == 2


def test_a_study_stands_without_its_sae_and_not_with_the_name_of_none(rows, tmp_path):
    sae = shutil.copytree(there("saelens-topk"), tmp_path / "sae")
    settings = settings_of(sae, rows, tmp_path / "out")
    run(settings, tmp_path / "out", until="train")
    shutil.rmtree(sae)
    assert OpenStudy.open(tmp_path / "out").require("train").sae().d_sae == 40
    named = ImportSettings(path=str(tmp_path / "typed"))
    with pytest.raises(BadInput, match="typed: no such file"):
        run(settings.model_copy(update={"imported": named}), tmp_path / "out", until="train")
    assert OpenStudy.open(tmp_path / "out").require("train").settings.imported == settings.imported


def test_an_sae_of_other_rows_is_refused(rows, tmp_path):
    given = {"imported": {"path": str(DATA / "latentsae-topk")}, "emotions": list(EMOTIONS)}
    given |= {"prompts": {"generate": 0, "precomputed": str(rows)}, "encoder": {"id": "precomputed"}}
    with pytest.raises(BadInput, match=r"latentsae-topk: takes rows of norm 1, .* set encoder.unit to true"):
        run(validate(Settings, given, "study"), tmp_path / "a", until="train")
    given["imported"]["input"] = "raw"
    run(validate(Settings, given, "study"), tmp_path / "b", until="train")
    wide = tmp_path / "wide"
    wide.mkdir()
    (wide / "cfg.json").write_text(json.dumps({"k": 3, "transcode": False}))
    tensors = {"encoder.weight": torch.ones(8, 5), "encoder.bias": torch.zeros(8)}
    save_file(tensors | {"W_dec": torch.ones(8, 5), "b_dec": torch.zeros(5)}, wide / "sae.safetensors")
    with pytest.raises(
        BadInput, match=r"wide: takes rows of 5 numbers, and encoder precomputed gives 12: set encoder.id"
    ):
        run(settings_of(wide, rows, tmp_path / "c"), tmp_path / "c", until="train")


def test_settings_that_do_not_go_together(tmp_path, rows):
    for more, said in ((["control=untrained-rows"], "not trained"), (["sweep.k=[1, 2]"], "not trained")):
        with pytest.raises(BadInput, match=said):
            settings_of(DATA / "sparsify-topk", rows, tmp_path, *more)
    with pytest.raises(BadInput, match="columns are those of --texts"):
        imported_study(ImportSettings(path="x"), tmp_path, None, ("a", None, None), None, [])


@pytest.mark.parametrize("other", [False, True])
def test_an_sae_in_the_studys_own_folder_is_refused_and_nothing_is_written(rows, tmp_path, other, capfd):
    out = tmp_path / "q"
    elsewhere = there("saelens-topk")
    run(settings_of(elsewhere, rows, out), out, until="train")
    link = tmp_path / "link"
    link.symlink_to(out / "sae")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    paths = [elsewhere, "--other", link / "main"] if other else [out / "sae" / "main"]
    capfd.readouterr()
    assert call(["import", *map(str, paths), "--texts", str(rows), "--out", str(out)]) == 2
    stdout, stderr = capfd.readouterr()
    assert (stdout, stderr.count("\n")) == ("", 1)
    assert "lies in the study's folder" in stderr
    assert "name another folder" in stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"} == before
