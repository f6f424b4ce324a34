"""A whole study with the bundled encoder: its files, what runs again and what does not, kills, the control."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from moodlens.core import BadInput, read_json
from moodlens.embed import EmbeddingStore
from moodlens.pipeline.opened import OpenStudy, stage_states
from moodlens.pipeline.run import run
from moodlens.pipeline.stage import dependents
from moodlens.pipeline.stages import STAGES
from moodlens.sae import load_sae
from moodlens.settings.study import read_study

CRITERIA = {
    "reconstruction", "sparsity", "selectivity", "interpretability", "causality", "monosemanticity", "stability",
    "generalization", "compositionality", "orthogonality", "dead_features", "concepts", "bootstrap", "transfer", "negation", "ratings",
}  # fmt: skip
FEATURE_COLUMNS = {
    "feature", "emotion", "auroc_dev", "selectivity_dev", "auroc", "selectivity", "p", "q", "p_maxt", "density",
    "mean_activation", "n_groups", "tested", "emotion_feature", "family_rank", "family_weight", "held_out_auroc",
    "held_out_selectivity", "stability", "stability_cosine", "stability_correlation", "name", "name_score",
    "name_score_all", "name_precision", "name_recall", "name_control", "name_q", "name_judged", "interpretable",
    "monosemanticity", "monosemanticity_control", "fired_by", "name_evidence", "causal_effect", "causal_p", "causal_q", "causal",
}  # fmt: skip
NAMES = [stage.name for stage in STAGES]


def times(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def copy(small_study, tmp_path):
    return Path(shutil.copytree(small_study, tmp_path / "copy"))


def ran(folder: Path, settings, **options) -> set[str]:
    """The stages that a run does, seen by their records."""
    before = {n: (folder / ".stages" / f"{n}.json").stat().st_mtime_ns for n in NAMES}
    run(settings, folder, **options)
    records = {n: folder / ".stages" / f"{n}.json" for n in NAMES}
    return {n for n in NAMES if not records[n].is_file() or records[n].stat().st_mtime_ns != before[n]}


def test_every_file_is_there_with_its_keys(small_study):
    for name in (
        "study.yaml", "prompts.parquet", "prompts.json", "selection.parquet", "sweep.json", "embeddings/manifest.json", "embeddings/00000.safetensors", "sweep.parquet",
        "sae/main/history.jsonl", "interventions.parquet", "stability.parquet", "report.html", "report.md", "figures",
    ):  # fmt: skip
        assert (small_study / name).exists(), name
    assert set(read_json(small_study / "reconstruction.json")) >= {"held_out", "train", "baselines", "rows"}
    assert set(read_json(small_study / "transfer.json")) >= {"sets", "held_out", "special"}
    agreement = read_json(small_study / "agreement.json")
    assert agreement["n_seeds"] == len(list((small_study / "sae").glob("seed-*")))
    for cell in (*agreement["emotions"].values(), agreement["mean"]):
        assert -1 <= cell["direction_min"] <= cell["direction"] <= 1
        assert -1 <= cell["reading_min"] <= cell["reading"] <= 1
    assert set(read_json(small_study / "families.json")["families"][0]) >= {
        "emotion",
        "features",
        "weights",
    }
    table = pl.read_parquet(small_study / "features.parquet")
    rates = {f"rate_{emotion}" for emotion in ("happy", "sad", "calm", "energetic")}
    assert FEATURE_COLUMNS | rates <= set(table.columns)
    core = read_json(small_study / "core.json")
    assert table["feature"].to_list() == list(range(core["atoms"] + 128))
    selection = read_json(small_study / "selection.json")
    assert selection["core_size"] == table["core"].sum() == core["claimable"]
    assert not table.filter(~pl.col("core"))["tested"].any()
    assert read_json(small_study / "causal.json")["untrained_per_emotion"] is not None
    stability = pl.read_parquet(small_study / "stability.parquet")
    assert stability.height == core["claimable"] == OpenStudy.open(small_study).core_size > 10
    assert {"feature", "reappears", "decoder_cosine", "correlation"} <= set(stability.columns)
    values = yaml.safe_load((small_study / "study.yaml").read_text())
    assert values["provenance"]["torch"]
    assert values["seed"] == 0
    names = ["bootstrap-1", "main", "narrow-1", "narrow-2", "seed-1", "seed-2"]
    assert sorted(p.name for p in (small_study / "sae").iterdir()) == names


def test_held_out_texts_are_read_with_their_own_labels(small_study):
    from sklearn.metrics import roc_auc_score

    study = OpenStudy.open(small_study)
    rows = study.rows.labelled("held_out")
    found = read_json(small_study / "transfer.json")["held_out"]["auroc"]["top_feature"]
    dev = study.x[study.rows.where("train", "val")]
    families = read_json(small_study / "families.json")["families"]
    judged = [(c, family) for c, family in enumerate(families) if family["features"]]
    assert judged
    first = study.W_dec()[[family["features"][0] for _, family in judged]].T
    scores = (study.x[rows] - dev.mean(axis=0)) @ first / ((dev - dev.mean(axis=0)) @ first).std(axis=0)
    if len(judged) > 1:  # each against the others
        scores = scores - (scores.sum(axis=1, keepdims=True) - scores) / (len(judged) - 1)
    for place, (c, family) in enumerate(judged):
        area = roc_auc_score(study.rows.label[rows] == c, scores[:, place])
        assert found[family["emotion"]]["value"] == pytest.approx(area, abs=1e-3)


def test_families_are_compared_with_those_of_each_other_seed(small_study):
    from moodlens.features import choose_features, gather_families
    from moodlens.study.coded import Coded
    from moodlens.study.families import Families
    from moodlens.study.rows import DEV

    study = OpenStudy.open(small_study)
    own, settings = Families.read(small_study), study.settings.features
    dev = study.rows.where(*DEV)
    rows = study.rows[dev]
    cosines = []
    for name in study.seed_names:
        claimable = slice(study.sae(name).core_size)
        codes = study.codes(name)[dev, claimable]
        table = choose_features(codes, rows, settings).rename({"tested": "emotion_feature"})
        theirs = gather_families(
            table, Coded(rows, study.x[dev], codes, study.W_dec(name)[claimable]), settings
        )
        pairs = zip(own.families, theirs.families, strict=True)
        cosines.append(
            [_cosine(a.direction(study.W_dec()), b.direction(study.W_dec(name))) for a, b in pairs]
        )
    for c, emotion in enumerate(study.emotions):
        cell = read_json(small_study / "agreement.json")["emotions"].get(emotion)
        if cell is not None:
            assert cell["direction"] == pytest.approx(np.mean(cosines, axis=0)[c], abs=1e-6)


def _cosine(a, b):
    return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12)


def test_the_verdict_has_every_criterion(small_study):
    verdict = read_json(small_study / "verdict.json")
    assert verdict["go"] is False  # 1,200 prompts cannot hold 50 features
    assert {one["id"] for one in verdict["criteria"]} == CRITERIA
    for one in verdict["criteria"]:
        assert {"id", "label", "threshold", "value", "ci", "controls", "passed", "note"} <= set(one)
        assert isinstance(one["passed"], bool)
        assert all({"name", "value"} == set(control) for control in one["controls"])
    table = pl.read_parquet(small_study / "features.parquet")
    selectivity = next(one for one in verdict["criteria"] if one["id"] == "selectivity")
    assert selectivity["value"] == table["emotion_feature"].sum() >= 1


def test_a_second_run_touches_nothing(copy, small_settings):
    before = times(copy)
    run(read_study(small_settings), copy)
    assert times(copy) == before


@pytest.mark.parametrize(
    ("change", "until", "again"),
    [
        ("name=other", None, {"report"}),
        ("validation.phase0.n_permutations=60", "probe", {"probe", "verdict", "report"}),
        ("names.max_words=2", "names", {"names", "untrained", "verdict", "report"}),
        (
            "features.family_size=4",
            "features",
            {
                "features",
                "ratings",
                "concepts",
                "untrained",
                "agreement",
                "names",
                "causal",
                "transfer",
                "pairs",
                "verdict",
                "report",
            },
        ),
    ],
)
def test_a_setting_reruns_what_depends_on_it(copy, small_settings, change, until, again):
    """Stages after ``until`` do not run, and their old records must be gone or out of date."""
    settings = read_study(small_settings, [change])
    changed = ran(copy, settings, until=until)
    assert changed <= again
    if until is not None:
        assert until in changed
    stale = {name for name, state in stage_states(copy).items() if state.state != "done"}
    assert stale | changed == again


def test_force_reruns_one_stage(copy, small_settings):
    before = times(copy)["phase0.json"]
    assert ran(copy, read_study(small_settings), until="probe", force=True) == {"probe", "verdict", "report"}
    assert times(copy)["phase0.json"] != before


def test_dependents_follow_the_arrows():
    assert dependents(STAGES, "names") == ["names", "verdict", "report"]
    assert dependents(STAGES, "prompts") == NAMES
    assert dependents(STAGES, "probe") == ["probe", "verdict", "report"]


def test_the_same_seed_gives_the_same_bytes(small_study, small_settings, tmp_path):
    again = run(read_study(small_settings), tmp_path / "again", until="features").path
    assert (again / "prompts.parquet").read_bytes() == (small_study / "prompts.parquet").read_bytes()
    one, two = (EmbeddingStore.open(folder / "embeddings").array() for folder in (again, small_study))
    np.testing.assert_allclose(one, two, atol=1e-6)
    for name in ("main", "seed-1", "seed-2"):
        file = f"sae/{name}/sae_weights.safetensors"
        assert (again / file).read_bytes() == (small_study / file).read_bytes()
    mine, theirs = (pl.read_parquet(folder / "selection.parquet") for folder in (again, small_study))
    assert mine.equals(theirs)
    assert not load_sae(again / "sae/main").W_dec.equal(load_sae(again / "sae/seed-1").W_dec)


def test_a_damaged_shard_is_made_anew(copy, small_settings):
    shard = copy / "embeddings" / "00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(BadInput, match=r"00000\.safetensors.*moodlens features"):
        OpenStudy.open(copy).require("features")
    run(read_study(small_settings), copy, until="embed")
    assert shard.read_bytes() == whole


def test_a_deleted_figure_is_drawn_anew(copy, small_settings):
    figure, verdict = copy / "figures" / "heatmap.png", copy / "verdict.json"
    before, judged = figure.read_bytes(), verdict.stat().st_mtime_ns
    figure.unlink()
    run(read_study(small_settings), copy)
    assert figure.read_bytes() == before
    assert verdict.stat().st_mtime_ns == judged


def test_smaller_shards_are_made_anew(copy, small_settings):
    run(read_study(small_settings, ["encoder.shard_rows=700"]), copy, until="embed")
    assert EmbeddingStore.open(copy / "embeddings").rows == 1200
    assert (copy / "embeddings" / "00001.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("seen", ["embeddings/manifest.json", "sae/main/cfg.json"])
def test_a_kill_costs_nothing_but_time(small_study, small_settings, tmp_path, seen):
    out = tmp_path / "killed"
    script = "from moodlens.cli import main; main()"
    command = [sys.executable, "-c", script, "run", str(small_settings), "--out", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while not (out / seen).exists() and child.poll() is None and time.monotonic() < end:
        os.sched_yield()
    child.kill()
    child.wait()
    assert (out / seen).exists()
    assert not (out / ".stages" / "report.json").exists(), "it finished before it was killed"
    (out / ".phase0.json.1.tmp").write_text('{"n":')  # what a kill in the middle of a write leaves
    run(read_study(small_settings), out)
    for name in ("prompts.parquet", "sae/main/sae_weights.safetensors", "sae/seed-2/sae_weights.safetensors"):
        assert (out / name).read_bytes() == (small_study / name).read_bytes()
    for name in ("verdict.json", "phase0.json", "families.json", "transfer.json"):
        assert read_json(out / name) == read_json(small_study / name)
    assert pl.read_parquet(out / "features.parquet").equals(pl.read_parquet(small_study / "features.parquet"))


@pytest.mark.slow
def test_shuffled_labels_find_nothing(small_settings, tmp_path):
    out = run(read_study(small_settings, ["control=shuffle-labels"]), tmp_path / "null").path
    assert read_json(out / "selection.json")["n_emotion_features"] <= 1
    assert read_json(out / "verdict.json")["go"] is False


MOODS = ("dreamy", "tense", "funny")


def moods(path: Path, n: int = 240, labelled: bool = True) -> Path:
    words = {
        "dreamy": "a dreamy hazy floating",
        "tense": "a tense nervous thriller",
        "funny": "a funny silly cartoon",
    }
    rows = [
        {
            "text": f"{words[MOODS[i % 3]]} tune number {i} with piano",
            "mood": MOODS[i % 3] if labelled else None,
        }
        for i in range(n)
    ]
    frame = pl.DataFrame(rows, schema={"text": pl.String, "mood": pl.String})
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    return path


def table_study(path: Path, *changes: str):
    table = f"prompts.tables=[{{path: {path}, text_column: text, emotion_column: mood}}]"
    small = ("sae.d_sae=64", "sae.k=4", "sae.epochs=3", "seeds=1", "features.n_permutations=50")
    return read_study(None, [table, *small, *changes])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_with_its_own_labels(tmp_path, kind):
    settings = table_study(
        moods(tmp_path / f"own.{kind}"), "prompts.generate=0", f"emotions=[{', '.join(MOODS)}]"
    )
    folder = run(settings, tmp_path / "out", until="features")
    assert set(folder.prompts["emotion"]) == set(MOODS)
    assert {f"rate_{mood}" for mood in MOODS} <= set(folder.features.columns)
    moods(tmp_path / f"own.{kind}", n=270)
    assert run(settings, tmp_path / "out", until="prompts").prompts.height == 270, (
        "a changed table is noticed"
    )


def test_unlabelled_texts_mix_with_generated_ones(tmp_path):
    path = moods(tmp_path / "own.csv", n=60)
    settings = read_study(
        None, ["prompts.generate=400", f"prompts.tables=[{{path: {path}, text_column: text}}]"]
    )
    prompts = run(settings, tmp_path / "out", until="prompts").prompts
    own = prompts.filter(pl.col("source") == "own.csv")
    assert prompts.height == 460
    assert own["kind"].unique().to_list() == ["unlabelled"]
    assert own["emotion"].null_count() == 60


def test_labels_outside_the_study_are_refused(tmp_path):
    settings = table_study(moods(tmp_path / "own.csv"), "prompts.generate=400")
    with pytest.raises(
        BadInput, match=r"own\.csv: labels not among the study's emotions: dreamy, funny, tense"
    ):
        run(settings, tmp_path / "out", until="prompts")


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(BadInput, match="holds files but no study"):
        run(read_study(None), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
