"""The verbs on a finished study: JSON alone on stdout, and one line for each thing that is wrong."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

MAIN = "from moodlens.cli import main; main()"
STAGES = [
    "prompts",
    "embed",
    "probe",
    "sweep",
    "train",
    "features",
    "stability",
    "names",
    "causal",
    "transfer",
    "report",
]
VERBS = [
    "run",
    *STAGES,
    "score",
    "inspect",
    "explore",
    "steer",
    "judge",
    "rank",
    "listen",
    "manifest",
    "doctor",
]


@pytest.fixture
def copy(small_study, tmp_path):
    return Path(shutil.copytree(small_study, tmp_path / "copy"))


@pytest.fixture
def refused(cli):
    """One line on stderr that says all of ``words``, exit status 2, nothing on stdout."""

    def check(*arguments, say: tuple[str, ...]) -> None:
        status, out, err = cli(*arguments)
        assert (status, out) == (2, ""), err
        assert err.count("\n") == 1
        assert err.endswith("\n")
        for word in say:
            assert word in err

    return check


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.csv"
    rows = [
        ("a joyful bright upbeat song", "happy"),
        ("a mournful lonely elegy", "sad"),
        ("serene and peaceful", "calm"),
    ]
    pl.DataFrame(rows * 4, schema=["caption", "mood"], orient="row").write_csv(path)
    return path


@pytest.mark.parametrize("verb", [*STAGES, "inspect", "doctor"])
def test_json_is_one_object_and_nothing_else(cli, small_study, verb):
    status, out, err = cli(verb, *([] if verb == "doctor" else [small_study]), "--json")
    assert (status, err) == (0, "")
    assert isinstance(json.loads(out), dict)
    assert out.count("\n") == 1


@pytest.mark.parametrize("verb", STAGES)
def test_people_get_lines(cli, small_study, verb):
    status, out, err = cli(verb, small_study)
    assert (status, err) == (0, "")
    assert out.strip()
    assert not out.startswith("{")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(cli, verb):
    status, out, err = cli(verb, "--help")
    assert (status, err) == (0, "")
    assert f"moodlens {verb}" in out
    assert "--json" in out


def test_no_verb_shows_the_help(cli):
    status, out, _ = cli()
    assert status == 0
    assert all(verb in out for verb in VERBS)


def test_score_with_labels(cli, small_study, texts):
    status, out, err = cli(
        "score", small_study, texts, "--text-column", "caption", "--label-column", "mood", "--json"
    )
    assert (status, err) == (0, "")
    value = json.loads(out)
    assert value["n"] == 12
    assert value["read"] == "texts.csv: 12 texts; 9 repeat an earlier text (3 texts, a group each)"
    assert set(value["auroc"]) == {
        "family", "top_feature", "family_active", "top_feature_active", "difference_in_means", "linear_probe",
    }  # fmt: skip
    assert value["auroc"]["difference_in_means"]["sad"] > 0.9
    assert {"happy", "sad", "calm"} <= set(value["auroc"]["family"])


def test_score_without_labels_to_a_file(cli, small_study, texts, tmp_path):
    file = tmp_path / "scores.csv"
    status, out, _ = cli("score", small_study, texts, "--text-column", "caption", "--out", file, "--json")
    assert status == 0
    assert json.loads(out)["auroc"] is None
    table = pl.read_csv(file)
    assert table.height == 12
    assert {"family_happy", "family_sad", "family_calm", "family_energetic"} <= set(table.columns)


def test_transfer_keeps_the_texts(cli, copy, texts):
    columns = ("--text-column", "caption", "--label-column", "mood", "--json")
    status, out, err = cli("transfer", copy, texts, *columns)
    assert (status, err) == (0, f"moodlens: outdated now: verdict, report; run: moodlens report {copy}\n")
    assert json.loads(out)["sets"][0]["n"] == 12
    assert str(texts) in (copy / "study.yaml").read_text()


def test_a_reading_is_kept_and_shown(cli, copy, monkeypatch, tmp_path):
    table = pl.read_parquet(copy / "features.parquet").filter(pl.col("emotion_feature"))
    feature = int(table["feature"][0])
    answers = tmp_path / "answers"
    answers.write_text("rainy windows\nc\nonly slow ones\n")
    with open(answers) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        status, out, _ = cli("inspect", copy, "--feature", feature, "--record", "--author", "ann")
    assert status == 0
    assert "1 readings kept" in out
    assert "rainy windows" in cli("inspect", copy, "--feature", feature)[1]
    assert cli("report", copy)[0] == 0
    assert "rainy windows" in (copy / "report.md").read_text()


# -- what is wrong, in one line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "say"),
    [
        (["nope"], ("nope",)),
        (["run", "--nope"], ("--nope", "moodlens run --help")),
        (["run"], ("--out",)),
        (["probe", "nowhere"], ("nowhere: no such file or folder",)),
        (["score", "nowhere", "x.csv", "--text-column", "a"], ("nowhere: not a study folder",)),
        (["inspect", "nowhere"], ("nowhere: not a study folder",)),
        (["rank", "nowhere", "--clips", "x"], ("nowhere",)),
        (["steer", "nowhere", "--out", "y"], ("nowhere",)),
        (["judge", "nowhere"], ("nowhere",)),
        (["listen", "nowhere", "--out", "y"], ("nowhere",)),
        (["listen", "nowhere"], ("--out DIR",)),
    ],
)
def test_wrong_words(refused, tmp_path, monkeypatch, arguments, say):
    monkeypatch.chdir(tmp_path)
    refused(*arguments, say=say)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "say"),
    [
        ("sae.l1_coeficient=1", ("unknown setting 'sae.l1_coeficient'", "did you mean 'l1_coefficient'")),
        ("seed", ("--set seed", "name.name=value")),
        ("name=[", ("--set name=[", "YAML")),
        ("sae.k=many", ("sae.k", "many")),
    ],
)
def test_wrong_settings(refused, tmp_path, change, say):
    refused("run", "--out", tmp_path / "out", "--set", change, say=say)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "say"),
    [
        ("", ("t.csv", "empty")),
        ("caption,mood\n", ("t.csv", "no rows")),
        ("text,mood\na,b\n", ("t.csv", "no column 'caption'", "text, mood")),
        ("caption,mood\n,happy\n,sad\n", ("t.csv", "'caption' holds no text")),
        ("caption,mood\na,happy\nb\n", ("t.csv", "row 2", "'mood'")),
        ("caption,mood\na,happy\nb,angry\n", ("t.csv", "row 2", "'mood'", "angry")),
    ],
)
def test_wrong_tables(refused, small_study, tmp_path, content, say):
    (tmp_path / "t.csv").write_text(content)
    columns = ("--text-column", "caption", "--label-column", "mood")
    refused("score", small_study, tmp_path / "t.csv", *columns, "--out", tmp_path / "s.csv", say=say)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("name", ["features.parquet", "prompts.parquet"])
def test_a_file_of_the_study_is_not_written_over(refused, copy, texts, name):
    before = (copy / name).read_bytes()
    say = (name, "is a file of the study; it would be overwritten")
    refused("score", copy, texts, "--text-column", "caption", "--out", copy / name, say=say)
    assert (copy / name).read_bytes() == before


def test_a_table_that_the_study_reads_is_not_written_over(cli, refused, copy, texts, tmp_path):
    """What a later run trains on or judges by; a link to it, too."""
    columns = ("--text-column", "caption")
    judged = tmp_path / "judged.csv"
    judged.write_bytes(texts.read_bytes())
    assert cli("transfer", copy, judged, *columns, "--label-column", "mood")[0] == 0
    (tmp_path / "link.csv").symlink_to(judged)
    for out in (judged, tmp_path / "link.csv"):
        say = (out.name, "is a table that the study reads; it would be overwritten")
        refused("score", copy, texts, *columns, "--out", out, say=say)
    assert judged.read_bytes() == texts.read_bytes()


def test_an_sae_that_was_swapped(refused, copy, texts):
    path = copy / "sae" / "main" / "cfg.json"
    config = json.loads(path.read_text())
    config["metadata"]["encoder_id"] = "t5:google-t5/t5-base"
    path.write_text(json.dumps(config))
    say = ("sae/main/cfg.json", "since moodlens train wrote it", "run: moodlens features")
    refused("score", copy, texts, "--text-column", "caption", say=say)
    refused("inspect", copy, say=say)


def test_a_truncated_shard_is_named_by_verify_and_mended(refused, cli, copy, texts):
    shard = copy / "embeddings" / "00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-50])
    status, out, err = cli("verify", copy, "--json")
    assert (status, err.count("\n")) == (2, 1)
    assert "00000.safetensors" in err
    assert json.loads(out)["stages"]["embed"] == "damaged"
    refused("score", copy, texts, "--text-column", "caption", say=("00000.safetensors", "run: moodlens"))
    assert cli("embed", copy)[0] == 0
    assert shard.read_bytes() == whole


def layout(folder: Path, n_labels: int = 60, bad: bool = False) -> Path:
    folder.mkdir()
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    if bad:
        x[7, 3] = np.nan
    np.save(folder / "embeddings.npy", x)
    np.save(folder / "labels.npy", np.arange(n_labels) % 2)
    (folder / "metadata.json").write_text('{"emotions": ["up", "down"]}')
    return folder


def test_probe_of_embeddings_alone(cli, tmp_path):
    data = layout(tmp_path / "data")
    small = ("--set", "validation.phase0.n_permutations=20", "--set", "validation.phase0.n_shuffles=2")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    status, out, err = cli("probe", data, *small, "--json")
    assert (status, err) == (0, "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert cli("probe", data, *small, "--out", tmp_path / "study", "--json")[1] == out


def test_probe_of_wrong_embeddings(refused, tmp_path):
    refused("probe", layout(tmp_path / "a", n_labels=59), say=("labels.npy", "(59,)", "(60,)"))
    refused("probe", layout(tmp_path / "b", bad=True), say=("embeddings.npy", "row 7, column 3"))


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path):
    out = tmp_path / "out"

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [sys.executable, "-c", MAIN, "run", "--out", str(out), "--set", "prompts.generate=2000"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files_only, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "prompts.parquet: cannot write" in done.stderr
    assert not list(out.rglob("*.tmp"))
    assert not (out / "prompts.parquet").exists()


@pytest.fixture(scope="module")
def roadmap(shared, tmp_path_factory):
    """The study of the 100 real T5 embeddings, through the command line -> (what --json says, its folder).

    Two of the four SAEs of its sweep: each takes a quarter of a minute.
    """
    out = tmp_path_factory.mktemp("roadmap") / "t5"
    file = Path(__file__).parents[2] / "studies" / "t5-precomputed.yaml"
    changes = (f"prompts.precomputed={shared / 't5_emotion'}", "seeds=1", "sweep.l1_coefficient=[0.27, 2.7]")
    command = [sys.executable, "-c", MAIN, "run", str(file), "--out", str(out), "--json"]
    command += [word for change in changes for word in ("--set", change)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout), out


def criterion(value: dict, name: str) -> dict:
    return next(one for one in value["verdict"]["criteria"] if one["id"] == name)


@pytest.mark.slow
def test_the_roadmap_embeddings(roadmap):
    value, out = roadmap
    assert value["go"] is False
    assert criterion(value, "reconstruction")["passed"] is False
    assert criterion(value, "reconstruction")["value"] < 0.8
    phase0 = json.loads((out / "phase0.json").read_text())
    assert phase0["similarity"]["within"]["mean"] == pytest.approx(0.560119, abs=1e-6)
    assert phase0["similarity"]["between"]["mean"] == pytest.approx(0.494372, abs=1e-6)
    assert phase0["linear_probe"]["mean"] == pytest.approx(0.96)


@pytest.mark.slow
def test_what_the_roadmap_counts_there_shuffled_labels_give_too(roadmap):
    """Rows too few for a core: nothing may be claimed, and the roadmap's own count says what else meets it."""
    claimed = criterion(roadmap[0], "selectivity")
    assert claimed["value"] == 0
    assert "48 training rows are too few for a stable core" in claimed["advice"]
    counted = next(one for one in roadmap[0]["verdict"]["roadmap"] if one["label"] == "Selectivity")
    assert counted["met"] is True
    assert any("shuffled labels" in name for name in counted["fooled_by"])
