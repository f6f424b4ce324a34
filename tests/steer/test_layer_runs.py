"""The decoder's layers as a method of a steering run: asked for alone, named by all that decides a clip, resumed, judged."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.steer_study import EMOTIONS, write_study
from moodlens.core import BadInput
from moodlens.settings.steer import METHODS, LayerSettings, SteerSettings
from moodlens.steer import run_steer
from moodlens.steer.build import labelled_texts
from moodlens.steer.clips import read_clip
from moodlens.steer.condition import condition_key, run_how
from moodlens.steer.layers import load_layers
from moodlens.steer.run import plan, run_directions, source_directions

LAYER = "layer_difference_in_means"
SETTINGS = SteerSettings(
    prompts=("instrumental music", "a simple theme"),
    methods=("difference_in_means", LAYER),
    controls=("layer_random",),
    emotions=EMOTIONS[:2],
    coefficients=(1.0, 2.0),
    control_coefficients=(1.0,),
    seconds=0.3,
    prompt_editing=False,
    batch=5,
    layers=LayerSettings(texts=3, seconds=0.3, n_random=2, layers=(1,), decay=0.9),
)


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    return write_study(tiny, tmp_path_factory.mktemp("study"), {})


@pytest.fixture(scope="module")
def done(study, musicgen, tmp_path_factory):
    return run_steer(study, tmp_path_factory.mktemp("run") / "out", SETTINGS, model=musicgen)


def test_nobody_pays_for_what_was_not_asked_for(study):
    assert LAYER not in METHODS
    assert not source_directions(study, SteerSettings()).texts


def test_the_grid_and_its_clips_one_by_one(done, musicgen):
    """Every clip of the run is the clip that its facts say, made alone."""
    assert done.clips == {"none": 2, "difference_in_means": 8, LAYER: 8, "layer_random": 4}
    directions = run_directions(done.folder)
    layers = directions.layers
    assert set(layers.recipe.texts) == set(EMOTIONS)
    assert {len(texts) for texts in layers.recipe.texts.values()} == {3}
    made = {key: read_clip(done.folder / "clips", key) for key in done.keys}
    assert len({clip.sha256 for clip in made.values()}) == len(made)
    for clip in made.values():
        if clip.method == LAYER:
            vectors = layers.differences(clip.emotion)
        elif clip.method == "layer_random":
            vectors = layers.random(int(clip.direction[-2:]))
        else:
            assert clip.how.layers is None
            continue
        assert clip.how.layers.recipe == layers.key
        assert (clip.how.layers.layers, clip.how.layers.decay, clip.amount) == ((1,), 0.9, clip.coefficient)
        steering = layers.at(vectors, clip.coefficient, clip.how.layers)
        alone = musicgen.generate(clip.prompt, seconds=0.3, seed=0, steering=steering)
        from moodlens.core.sound import read_sound

        np.testing.assert_array_equal(read_sound(done.folder / "clips" / clip.file)[0], alone)


def test_running_again_measures_and_makes_nothing(done, study, musicgen, monkeypatch):
    import moodlens.steer.layer_means as room

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(room, "measure_layers", never)
    again = run_steer(study, done.folder, SETTINGS, model=musicgen)
    assert (again.made, again.keys) == (0, done.keys)
    # And from the run's own directions, which hold the texts.
    assert run_steer(run_directions(done.folder), done.folder, SETTINGS, model=musicgen).made == 0


def test_all_that_decides_a_clip_is_in_its_name(done, musicgen):
    directions = run_directions(done.folder)

    def keys(settings=SETTINGS, directions=directions):
        how = run_how(settings, musicgen, directions)
        specs = plan(settings, directions)
        return {condition_key(spec, directions, how): spec.method for spec in specs}

    base = keys()
    assert set(base) == set(done.keys)
    in_layers = sum(method in (LAYER, "layer_random") for method in base.values())
    for change in ({"layers": (0,)}, {"layers": None}, {"decay": 1.0}, {"halves": "both"}):
        chosen = SETTINGS.layers.model_copy(update=change)
        other = keys(SETTINGS.model_copy(update={"layers": chosen}))
        assert len(set(other) - set(base)) == in_layers, change
    for change in (
        {"seed": 1},
        {"seconds": 0.4},
        {"texts": {"happy": ("a",), "sad": ("b",)}},
        {"revision": "x"},
    ):
        recipe = directions.layers.recipe.model_copy(update=change)
        other = keys(directions=replace(directions, layers=replace(directions.layers, recipe=recipe)))
        assert len(set(other) - set(base)) == in_layers, change
    # Clips of the other methods keep the names that they have in a run without layers.
    plain = SETTINGS.model_copy(update={"methods": ("difference_in_means",), "controls": ()})
    bare = replace(directions, layers=None)
    how = run_how(plain, musicgen, bare)
    assert {condition_key(spec, bare, how) for spec in plan(plain, bare)} <= set(base)


def test_the_texts_are_the_studys_own_dev_rows(tiny):
    texts = labelled_texts(tiny.rows, 4, apart=("a happy piano melody",))
    rows = tiny.rows
    for c, emotion in enumerate(rows.emotions):
        dev = set(rows.texts[(rows.label == c) & (rows.split != "test")])
        assert len(set(texts[emotion])) == 4
        assert set(texts[emotion]) <= dev - {"a happy piano melody"}


def test_another_run_in_the_folder_leaves_no_layers_behind(done, study, musicgen, tmp_path):
    import shutil

    out = tmp_path / "run"
    shutil.copytree(done.folder, out)
    plain = SETTINGS.model_copy(update={"methods": ("difference_in_means",), "controls": ()})
    assert run_steer(study, out, plain, model=musicgen).made == 0
    assert load_layers(out / "directions") is None


def test_what_cannot_be_steered_in_layers_is_one_line(study, tiny, musicgen, tmp_path):
    with pytest.raises(BadInput, match="steer from the study itself"):
        run_steer(tiny.directions(), tmp_path / "a", SETTINGS, model=musicgen)
    far = SETTINGS.model_copy(update={"layers": LayerSettings(texts=1, seconds=0.3, layers=(7,))})
    with pytest.raises(BadInput, match="not all of 0 to 1"):
        run_steer(study, tmp_path / "b", far, model=musicgen)
    pytest.importorskip("diffusers")
    pytest.importorskip("torchsde")
    from helpers.tiny_generators import MAKERS

    audio = MAKERS["stable-audio"]()
    with pytest.raises(BadInput, match="no layers to steer"):
        run_steer(study, tmp_path / "c", SETTINGS.model_copy(update={"seconds": 1.0}), model=audio)
    assert not list(tmp_path.rglob("*.wav"))


def test_a_text_that_the_model_does_not_know_is_said_before_anything_is_made(study, musicgen, tmp_path):
    """A prompt, an edited one, what guidance leads away from, and the texts whose clips are measured."""

    def refuse(source=study, **changes):
        with pytest.raises(BadInput, match="knows none of it") as caught:
            run_steer(source, tmp_path / "out", SETTINGS.model_copy(update=changes), model=musicgen)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "prompt 'zzz': " in refuse(prompts=("instrumental music", "zzz"))
    glued = {"prompt_editing": True, "edit": "{emotion}{prompt}", "neutral_words": ("recorded",)}
    assert "prompt 'happymelody': " in refuse(prompts=("melody",), **glued)
    assert "prompt 'zzz': " in refuse(negative="zzz")
    directions = source_directions(study, SETTINGS)
    texts = directions.texts | {EMOTIONS[1]: ("instrumental music", "qqq")}
    assert "prompt 'qqq': " in refuse(replace(directions, texts=texts))
