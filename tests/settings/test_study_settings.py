import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.settings.base import apply_changes
from moodlens.settings.study import Settings, expand_path, read_study


def test_defaults_are_the_quickstart():
    study = read_study(None)
    assert study == Settings()
    assert study.emotions == ("happy", "sad", "calm", "energetic")
    assert study.seeds >= 2
    assert study.core.members >= 4


def test_a_study_survives_its_own_yaml(tmp_path):
    path = tmp_path / "study.yaml"
    study = read_study(None, ["sae.k=12", "sweep.k=[8, 16]", "name=mine"])
    path.write_text(yaml.safe_dump(study.model_dump(mode="json") | {"provenance": {"python": "3"}}))
    assert read_study(path) == study


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sae.l1_coeficient=1", "did you mean 'l1_coefficient'"),
        ("sead=1", "unknown setting 'sead'; did you mean 'seed'"),
        ("core.members=1", "agrees with itself"),
        ("control=untrained", "control"),
        ("seed=-1", "seed: .*greater than or equal to 0"),
        ("seed", "write it as name.name=value"),
        ("emotions=[happy]", "2 to 50"),
        ("sweep.kk=[1]", "unknown SAE setting 'kk'"),
        ("sweep.k=[]", "no values"),
        ("prompts.fractions=[0.5, 0.5, 0.5]", "add up to 1"),
        ("control=shuffle", "control"),
        ("seed.x=1", "seed"),
        ("name=[", "not valid YAML"),
        ("prompts.generate=0", "nothing to study"),
    ],
)
def test_wrong_settings_say_which_and_what(change, message):
    with pytest.raises(BadInput, match=message) as caught:
        read_study(None, [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 1"),
        ("- 1", "expected settings"),
        ("", "expected settings"),
        ("sae: {kay: 3}", "unknown setting 'sae.kay'"),
    ],
)
def test_broken_study_files_name_the_file(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as caught:
        read_study(path)
    assert "mine.yaml" in str(caught.value)


def test_scientific_notation_is_a_number():
    assert apply_changes({}, ["sae.l1_coefficient=1e-3"]) == {"sae": {"l1_coefficient": 1e-3}}


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), st.integers())
def test_changes_land_where_they_point_and_leave_the_input_alone(keys, value):
    before = {"z": 1}
    changed = apply_changes(before, [f"{'.'.join(keys)}={value}"])
    assert before == {"z": 1}
    for key in keys:
        changed = changed[key]
    assert changed == value


def test_paths_read_the_environment(monkeypatch):
    monkeypatch.setenv("MOODLENS_HERE", "/data")
    monkeypatch.delenv("MOODLENS_NOT", raising=False)
    assert str(expand_path("${MOODLENS_HERE}/x")) == "/data/x"
    assert str(expand_path("${MOODLENS_NOT:-../y}/x")) == "../y/x"
    with pytest.raises(BadInput, match="MOODLENS_NOT"):
        expand_path("${MOODLENS_NOT}/x")


@pytest.mark.parametrize(
    "change",
    [
        "sae.epochs=1e9", "core.epochs=1e9", "sae.d_sae=1000000000", "core.d_sae=1e9", "sae.expansion_factor=1e6",
        "features.n_permutations=1e12", "features.n_shuffles=1e6", "validation.causal.n_bootstrap=1e9",
        "validation.causal.n_controls=1e9", "validation.causal.n_random_directions=1e9",
        "validation.pairs.n_controls=1e9", "validation.phase0.n_permutations=1e12", "names.n_shuffles=1e9",
    ],
)  # fmt: skip
def test_what_would_take_years_or_all_memory_is_refused_in_one_line(change):
    with pytest.raises(BadInput) as caught:
        read_study(None, [change])
    name = change.split("=")[0]
    assert str(caught.value).startswith(f"--set {change}: {name}: should be less than or equal to ")
    assert "\n" not in str(caught.value)
