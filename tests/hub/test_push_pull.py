"""Pushed to a hub over HTTP and pulled again: the same files, pinned, readable by SAELens, and refused where they lie."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import yaml

from helpers.hub_server import USER
from moodlens.core.files import read_json
from moodlens.sae.files import load_sae
from moodlens.steer.directions import load_directions

REPO = f"{USER}/moods"


@pytest.fixture
def filled(hub, pushed_files):
    """A hub that holds the pushed study, without pushing it each time."""
    from helpers.hub_server import Repo

    files = {
        path.relative_to(pushed_files).as_posix(): path.read_bytes()
        for path in pushed_files.rglob("*") if path.is_file()
    }  # fmt: skip
    hub.repos[REPO] = Repo()
    hub.repos[REPO].commit(files)
    return hub


def replace_file(hub, name, content, *, told=True):
    """Another commit in which a file is other; ``told``: and moodlens.json says so."""
    repo = hub.repos[REPO]
    files = dict(repo.files())
    files[name] = content
    if told and name != "moodlens.json":
        shared = json.loads(files["moodlens.json"])
        shared["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files["moodlens.json"] = json.dumps(shared).encode()
    return repo.commit(files)


def refused(cli, tmp_path, *arguments):
    """The one line of a pull that leaves nothing behind."""
    before = sorted(os.listdir(tmp_path))
    status, out, error = cli("pull", *arguments, "--out", tmp_path / "pulled")
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert set(os.listdir(tmp_path)) - {"cache"} == set(before) - {"cache"}
    return error


def test_a_study_goes_to_the_hub_and_comes_back(hub, cli, small_study, tmp_path):
    status, out, error = cli("push", small_study, REPO, "--json")
    assert (status, error) == (0, "")
    pushed = json.loads(out)
    assert pushed["revision"] == hub.repos[REPO].heads["main"]
    there = hub.repos[REPO].files()
    assert set(there) == {".gitattributes", "moodlens.json", *pushed["files"]}
    assert {"README.md", "sae/cfg.json", "directions/directions.json", "report.html", "explorer.html"} <= set(
        there
    )

    status, out, _ = cli("pull", f"hub:{REPO}", "--out", tmp_path / "back", "--json")
    pulled = json.loads(out)
    assert (status, pulled["revision"], pulled["asked"]) == (0, pushed["revision"], None)
    # Pages are programs: fetched only where they are asked for.
    assert pulled["left_out"] == ["explorer.html", "report.html"]
    assert not (tmp_path / "back" / "report.html").exists()
    ours, theirs = load_sae(small_study / "sae" / "main"), load_sae(tmp_path / "back" / "sae")
    assert all((a == b).all() for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert load_directions(tmp_path / "back" / "directions").provenance.encoder == "minilm"
    assert read_json(tmp_path / "back" / "verdict.json") == read_json(small_study / "verdict.json")

    # A second push changes what changed and removes what is no longer in it, in one commit.
    status, out, _ = cli("push", small_study, REPO, "--directions-only")
    assert status == 0
    assert set(hub.repos[REPO].files()) == {
        ".gitattributes", "README.md", "moodlens.json", "directions/directions.json",
        "directions/directions.safetensors",
    }  # fmt: skip
    assert len(hub.repos[REPO].commits) == 3
    # The first is still there, by its name.
    assert cli("pull", f"{REPO}@{pushed['revision']}", "--out", tmp_path / "old", "--pages")[0] == 0
    assert (tmp_path / "old" / "report.html").is_file()


def test_sae_lens_reads_what_was_pushed(pushed_files):
    from sae_lens import SAE

    theirs = SAE.load_from_disk(str(pushed_files / "sae"))
    ours = load_sae(pushed_files / "sae")
    import torch

    x = torch.randn(5, ours.d_in, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(theirs.encode(x), ours.encode(x), atol=1e-5, rtol=0)


def test_the_card_carries_the_verdict_its_controls_and_the_anchors(pushed_files):
    text = (pushed_files / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "apache-2.0"
    verdict = read_json(pushed_files / "verdict.json")
    assert ("Verdict: GO" in text, "Verdict: NO-GO" in text) == (verdict["go"], not verdict["go"])
    for one in verdict["criteria"]:
        assert one["label"].split("\\")[0] in text
        if one["must"] and one["value"] is not None:
            assert f"{one['value']:.4g}" in text or str(one["value"]) in text
            for control in one["controls"]:
                assert (
                    control["value"] is None
                    or f"{control['value']:.4g}" in text
                    or str(control["value"]) in text
                )
    directions = load_directions(pushed_files / "directions")
    for row in directions.provenance.anchors:
        assert f"{np.linalg.norm(row):.4g}" in text
    for family in read_json(pushed_files / "families.json")["families"]:
        assert ", ".join(map(str, family["features"])) in text


def test_names_of_a_study_do_nothing_in_a_card():
    from moodlens.hub.card import safe

    shown = safe("<script>alert(1)</script> [x](javascript:y) | `a` \n# b")
    assert "<" not in shown
    assert "\n" not in shown
    assert "\\[x\\]\\(" in shown
    assert "\\|" in shown


def test_a_tag_is_pinned_to_its_commit_and_needs_no_network_after_that(filled, cli, tmp_path, monkeypatch):
    from huggingface_hub import constants

    repo = filled.repos[REPO]
    repo.heads["v1"] = first = repo.heads["main"]
    replace_file(filled, "core.json", b"{}")
    value = json.loads(cli("pull", f"{REPO}@v1", "--out", tmp_path / "one", "--json")[1])
    assert (value["revision"], value["asked"]) == (first, "v1")
    assert read_json(tmp_path / "one" / "pulled.json")["revision"] == first
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(filled.asked)
    assert cli("pull", f"{REPO}@{first}", "--out", tmp_path / "two")[0] == 0
    assert len(filled.asked) == before
    assert "HF_HUB_OFFLINE" in refused(cli, tmp_path, REPO)


def test_what_is_not_as_described_is_refused(filled, cli, tmp_path):
    replace_file(filled, "families.json", b'{"version": 1}', told=False)
    assert "families.json: not the file that its moodlens.json describes" in refused(cli, tmp_path, REPO)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.json", "lead out of its folder"),
        ("/etc/evil.json", "lead out of its folder"),
        ("sae/../../evil.json", "lead out of its folder"),
        ("sae\\..\\evil.json", "lead out of its folder"),
        (".bashrc.json", "lead out of its folder"),
        ("a/b/c/d/e.json", "lead out of its folder"),
        ("C:evil.json", "lead out of its folder"),
        ("sae/model.pkl", "only .json"),
        ("sae/sae.pt", "only .json"),
        ("setup.py", "only .json"),
        ("README.MD.json/x.json", "both a file and a folder"),
        ("SAE/CFG.json", "are one on some disks"),
    ],
)
def test_hostile_names_are_refused_before_anything_is_fetched(filled, cli, tmp_path, name, words):
    if "both" in words:
        replace_file(filled, "README.MD.json", b"{}")
    replace_file(filled, name, b"{}")
    before = len(filled.asked)
    assert words in refused(cli, tmp_path, REPO)
    assert not any(name in path for _, path in filled.asked[before:])


def test_repositories_that_are_none_and_sizes_that_lie(filled, cli, tmp_path):
    assert "no such repository" in refused(cli, tmp_path, f"{USER}/gone")
    assert "no such revision" in refused(cli, tmp_path, f"{REPO}@v9")
    for wrong in ("moods", "a/b/c", "../a/b", f"{REPO}@../x", "a/..", f"{REPO}@"):
        assert "USER/REPO" in refused(cli, tmp_path, wrong) or "not a revision" in refused(
            cli, tmp_path, wrong
        )
    shared = json.loads(filled.repos[REPO].files()["moodlens.json"])
    shared["files"]["core.json"]["size"] = 4_400_000_000
    replace_file(filled, "moodlens.json", json.dumps(shared).encode())
    assert "have 4.401 GB; allow more with --limit 4.401" in refused(cli, tmp_path, REPO)
    shared["files"]["core.json"]["size"] = 10**12
    replace_file(filled, "moodlens.json", json.dumps(shared).encode())
    assert "--limit" in refused(cli, tmp_path, REPO)
    for wrong in (b"[]", b"{", b'{"version": 1}', b"\xff\xfe", b"[" * 100_000):
        replace_file(filled, "moodlens.json", wrong)
        refused(cli, tmp_path, REPO)
    filled.repos[REPO].commit({"README.md": b"an SAE of another library"})
    assert "no file moodlens.json" in refused(cli, tmp_path, REPO)


def test_what_a_repository_says_that_it_holds_must_be_there_and_fit(filled, cli, tmp_path):
    there = filled.repos[REPO].files()["moodlens.json"]

    def says(**other):
        replace_file(filled, "moodlens.json", json.dumps(json.loads(there) | other).encode())

    files = json.loads(there)["files"]
    for lost, kind in (
        ("directions/directions.json", "directions"),
        ("directions/directions.safetensors", "directions"),
        ("sae/cfg.json", "sae"),
    ):
        says(files={name: file for name, file in files.items() if name != lost})
        assert f"moodlens.json says that it holds {kind} and lists no file {lost}" in refused(
            cli, tmp_path, REPO
        )
    says(d_in=7)
    assert "moodlens.json says that d_in is 7, and the vectors of directions/" in refused(cli, tmp_path, REPO)
    status, _, error = cli("steer", f"hub:{REPO}", "--out", tmp_path / "clips")
    assert (status, error.count("\n")) == (2, 1)
    assert "says that d_in is 7" in error
    says()
    replace_file(filled, "directions/directions.safetensors", b"no tensors")
    assert "directions.safetensors: not a readable safetensors file" in refused(cli, tmp_path, REPO)


def test_pushing_needs_a_login_and_a_place_of_ones_own(hub, cli, small_study, tmp_path, monkeypatch):
    assert "403" in cli("push", small_study, "other/moods", "--directions-only")[2]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    status, _, error = cli("push", small_study, REPO, "--directions-only")
    assert (status, error.count("\n")) == (2, 1)
    assert hub.repos == {}
    assert "leave out @" in cli("push", small_study, f"{REPO}@v1")[2]
    assert "only one of them" in cli("push", small_study)[2]
    copy = shutil.copytree(small_study, tmp_path / "unfinished")
    (copy / ".stages" / "verdict.json").unlink()
    assert "moodlens verdict" in cli("push", copy, "--out", tmp_path / "new")[2]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert "not empty" in cli("push", small_study, "--out", tmp_path / "full")[2]


def test_an_existing_folder_is_never_written_into(filled, cli, tmp_path):
    (tmp_path / "pulled").mkdir()
    assert "exists already" in refused(cli, tmp_path, REPO)
