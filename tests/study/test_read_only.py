"""A finished study on a file system that is mounted read-only: what is there is printed, what is to be done is refused."""

import json
import os
import shutil
import subprocess
import sys

import pytest

# In a mount namespace of its own; with a user namespace where one is not root.
MOUNT = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
ALONE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", MOUNT, "sh"]
VERBS = ["prompts", "embed", "probe", "sweep", "train", "features", "stability", "names", "causal", "report"]
RUN = """
import contextlib, io, json, sys
from moodlens.cli.program import call

answers = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = call(arguments)
    answers.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


def answers(commands, inside=()):
    """(exit status, stdout, stderr) of each command, in one process."""
    commands = [[str(argument) for argument in command] for command in commands]
    done = subprocess.run(
        [*inside, sys.executable, "-c", RUN, json.dumps(commands)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [tuple(answer) for answer in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def sealed(small_study, tmp_path_factory):
    """A copy of the study, and what a process is started with for which it is read-only."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare here")
    copy = shutil.copytree(small_study, tmp_path_factory.mktemp("sealed") / "study")
    (copy / ".lock").unlink(missing_ok=True)
    inside = [*ALONE, str(copy)]
    tried = subprocess.run([*inside, "touch", str(copy / "x")], capture_output=True, text=True)
    if "Read-only file system" not in tried.stderr:
        pytest.skip(f"nothing can be mounted here: {tried.stderr}")
    return copy, inside


def look(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


@pytest.mark.slow
@pytest.mark.parametrize("lock", [False, True])
def test_a_verb_with_nothing_to_do_prints_what_is_there(sealed, small_settings, lock):
    folder, inside = sealed
    if lock:
        (folder / ".lock").touch()
    commands = [[verb, folder] for verb in (VERBS if lock else ["features"])]
    commands += [["features", folder, "--json"], ["run", small_settings, "--out", folder], ["verify", folder]]
    before = look(folder)
    printed = answers(commands, inside)
    assert look(folder) == before
    (folder / ".lock").touch()
    assert printed == answers(commands)
    assert all(status == 0 and out and not err for status, out, err in printed)
    if not lock:
        (folder / ".lock").unlink()


@pytest.mark.slow
def test_a_verb_with_something_to_do_says_so(sealed):
    folder, inside = sealed
    before = look(folder)
    asked = {
        ("prompts", folder, "--set", "seed=7"): "prompts",
        ("features", folder, "--force"): "features",
        ("embed", folder, "--set", "name=other"): "change study.yaml",
        ("causal", folder, "--set", "features.n_permutations=500"): "features, causal",
    }
    printed = answers(asked, inside)
    assert look(folder) == before
    for (status, out, err), what in zip(printed, asked.values(), strict=True):
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert (
            f"moodlens: {folder}: cannot be written (Read-only file system), and there is left to do: " in err
        )
        assert f"{what}; copy the study" in err
