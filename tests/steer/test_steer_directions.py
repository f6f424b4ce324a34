import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.steer_study import EMOTIONS, tiny_study
from helpers.tiny_music import tiny_musicgen
from moodlens.core import BadInput, file_sha256, read_json, write_json
from moodlens.sae import encode_rows
from moodlens.settings.features import FeatureSettings
from moodlens.settings.steer import DirectionSettings, Mixture
from moodlens.stats.controls import allowed_controls
from moodlens.steer import Direction, load_directions, mix, orthogonalise, save_directions
from moodlens.steer.build import study_directions
from moodlens.steer.directions import check_anchors, unit_vector
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.rows import UNKNOWN, Rows
from moodlens.validate.untrained import untrained_coded, untrained_families


def test_every_method_is_there_at_one_norm(directions):
    counts = {}
    for item in directions:
        counts[item.method] = counts.get(item.method, 0) + 1
        assert abs(np.linalg.norm(item.vector) - 1) < 1e-5
        assert item.vector.dtype == np.float32
        assert (item.emotion is not None) == (
            item.method in ("difference_in_means", "linear_probe", "sae_family", "sae_feature")
        )
    assert counts == {
        "difference_in_means": 4, "linear_probe": 4, "pca": 4, "random": 60, "shuffled_difference_in_means": 5,
        "sae_family": 4, "sae_feature": 4, "matched_random_feature": 20,
    }  # fmt: skip
    made = [
        item for item in directions if item.method != "shuffled_difference_in_means"
    ]  # few groups to deal
    assert len({item.hash for item in made}) == len(made)


def test_coefficient_one_is_the_mean_difference_in_means_norm(directions, tiny):
    dev = tiny.rows.where("train", "val")
    labels, x = tiny.rows.label[dev], tiny.x[dev]
    norms = []
    for c, emotion in enumerate(EMOTIONS):
        vector = x[labels == c].mean(0) - x[labels != c].mean(0)
        norms.append(np.linalg.norm(vector))
        np.testing.assert_allclose(
            directions[f"difference_in_means/{emotion}"].vector, vector / norms[-1], atol=1e-5
        )
        assert directions.norms[emotion] == pytest.approx(norms[-1], rel=1e-5)
    assert directions.unit == pytest.approx(np.mean(norms), rel=1e-5)


def test_no_test_row_is_looked_at(tiny, directions):
    from dataclasses import replace

    x = tiny.x.copy()
    x[tiny.rows.split == "test"] += 100
    other = replace(tiny, x=x).directions()
    for a, b in zip(directions, other, strict=True):
        np.testing.assert_array_equal(a.vector, b.vector)


def test_family_and_feature_are_decoder_rows(directions, tiny):
    W = tiny.dictionary.sae.W_dec.detach().numpy()
    family = tiny.dictionary.families["sad"]
    wanted = sum(w * W[f] for f, w in zip(family.features, family.weights, strict=True))
    np.testing.assert_allclose(
        directions["sae_family/sad"].vector, wanted / np.linalg.norm(wanted), atol=1e-6
    )
    np.testing.assert_allclose(directions["sae_feature/sad"].vector, W[family.features[0]], atol=1e-6)
    chosen = tiny.directions(DirectionSettings(features={"sad": 40}))
    np.testing.assert_allclose(chosen["sae_feature/sad"].vector, W[40], atol=1e-6)


def test_linear_probe_points_to_its_emotion(directions, tiny):
    dev = tiny.rows.where("train", "val")
    x, labels = tiny.x[dev], tiny.rows.label[dev]
    for c, emotion in enumerate(EMOTIONS):
        reading = x @ directions[f"linear_probe/{emotion}"].vector
        assert reading[labels == c].mean() > reading[labels != c].mean()


def test_matched_features_fire_as_often_and_mean_nothing(directions, tiny):
    from dataclasses import replace

    codes = encode_rows(tiny.dictionary.sae, tiny.x[tiny.rows.where("train", "val")])
    density = (codes > 0).mean(axis=0)
    matched = [item.detail["feature"] for item in directions.select(method="matched_random_feature")]
    members = {f for family in tiny.dictionary.families.families for f in family.features}
    assert len(set(matched)) == 20
    assert not members & set(matched)
    assert all(density[f] > 0 for f in matched)
    also = replace(
        tiny, dictionary=replace(tiny.dictionary, emotion_features=tuple(matched[:10]))
    ).directions()
    again = {item.detail["feature"] for item in also.select(method="matched_random_feature")}
    assert not again & set(matched[:10])


def test_matched_features_follow_the_rule_of_all_controls(tiny, study_folder):
    """A dictionary with a core: what no label had a part in choosing, and not the core's edge."""
    from dataclasses import replace

    from moodlens.study.study import Study

    allowed = np.arange(64) >= 40
    allowed[45] = False
    found = replace(tiny, dictionary=replace(tiny.dictionary, controls=allowed)).directions(
        DirectionSettings(n_matched=10)
    )
    drawn = {item.detail["feature"] for item in found.select(method="matched_random_feature")}
    assert len(drawn) == 10
    assert drawn <= set(range(40, 64)) - {45, 50}  # 50 means an emotion, in no family
    study = Study(study_folder)
    table = study.features.with_columns(
        core=pl.col("feature") < 30, edge=pl.col("feature") < 34, tested=pl.lit(False)
    )
    rule = np.logical_and.reduce([allowed_controls(table, e) for e in EMOTIONS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "features", property(lambda _: table))
        built = study_directions(study, DirectionSettings(n_matched=10, untrained=False))
    drawn = {item.detail["feature"] for item in built.select(method="matched_random_feature")}
    assert drawn
    assert rule[list(drawn)].all()
    assert min(drawn) >= 34


def test_an_untrained_dictionary_has_families_by_the_studys_rule(tiny):
    """Where labels lie along the rows, differences of rows find them too: that is what a trained one must beat."""
    rng = np.random.default_rng(0)
    rows = tiny.rows
    x = rng.standard_normal((len(rows), 8)).astype(np.float32)
    x[rows.label >= 0, rows.label[rows.label >= 0]] += 8
    own = Coded(rows, x, np.maximum(x @ np.eye(8), 2) - 2, np.eye(8, dtype=np.float32))
    rule = FeatureSettings(n_permutations=200)
    coded = untrained_coded(own, "rows", seed=0)
    families = untrained_families(coded, rule, seed=0)
    assert coded.codes.shape == own.codes.shape
    assert abs((coded.codes > 0).mean() - (own.codes > 0).mean()) < 0.1  # as sparse
    assert families.emotions == EMOTIONS
    found = Families(families=(families.families[0], *(Family(emotion=e) for e in EMOTIONS[1:])))
    made = Family(emotion="happy", features=(1, 3), weights=(0.5, 0.5))
    found = Families(families=(made, *found.families[1:]))
    W = tiny.dictionary.sae.W_dec.detach().numpy()[::-1]
    from dataclasses import replace

    built = replace(tiny, dictionary=replace(tiny.dictionary, untrained=(found, W))).directions()
    (item,) = built.select(method="untrained_family")
    np.testing.assert_allclose(item.vector, unit_vector(W[1] + W[3], ""), atol=1e-6)
    assert "features" not in item.detail  # they are no features of the study's
    assert sum("untrained dictionary" in note for note in built.notes) == 3


def test_too_few_features_to_match(tiny):
    with pytest.raises(BadInput, match="ask for fewer"):
        tiny.directions(DirectionSettings(n_matched=64))


def test_random_directions_are_seeded_and_nearly_orthogonal(tiny, directions):
    again = tiny.directions()
    other = tiny.directions(DirectionSettings(seed=1))
    for i in range(20):
        name = f"random/{i:02d}"
        np.testing.assert_array_equal(directions[name].vector, again[name].vector)
        assert not np.array_equal(directions[name].vector, other[name].vector)
    matrix = np.stack([item.vector for item in directions.select(method="random")])
    cosines = (matrix @ matrix.T)[np.triu_indices(20, 1)]
    assert abs(cosines.mean()) < 0.1
    assert abs(cosines.std() - matrix.shape[1] ** -0.5) < 0.05  # what chance gives in d_in dimensions


def test_a_study_without_sae_or_family_says_so(tiny):
    from dataclasses import replace

    bare = replace(tiny, dictionary=None).directions()
    assert not bare.select(method="sae_feature")
    assert any("no SAE" in note for note in bare.notes)
    lone = replace(tiny, dictionary=replace(tiny.dictionary, families=None)).directions()
    assert len(lone.notes) == 4
    assert not lone.select(method="matched_random_feature")


def test_embeddings_without_texts_are_refused(tiny):
    from dataclasses import replace

    with pytest.raises(BadInput, match="without texts"):
        replace(
            tiny, rows=replace(tiny.rows, texts=np.array([""] * len(tiny.rows), dtype=object))
        ).directions()


@pytest.mark.parametrize(
    ("features", "message"),
    [({"angry": 1}, "unknown emotions"), ({"sad": 64}, "not a feature of an SAE with 64")],
)
def test_bad_features(tiny, features, message):
    with pytest.raises(BadInput, match=message):
        tiny.directions(DirectionSettings(features=features))


def test_what_denies_or_mixes_emotions_takes_no_part(tiny, directions):
    """Neither do texts of which nothing is known: they would be negatives of every emotion."""
    from dataclasses import replace

    rows = tiny.rows
    more = Rows.of(
        [*rows.label, UNKNOWN, UNKNOWN],
        emotions=EMOTIONS,
        group=[*rows.group, 1000, 1001],
        split=[*rows.split, "train", "val"],
        kind=[*rows.kind, "negation", "unlabelled"],
        texts=[*rows.texts, "not happy", "a caption"],
    )
    other = replace(tiny, rows=more, x=np.concatenate([tiny.x, tiny.x[:2] + 100])).directions()
    for a, b in zip(directions, other, strict=True):
        np.testing.assert_array_equal(a.vector, b.vector)


# -- mixing ------------------------------------------------------------------------------------------------------------


@given(arrays(np.float64, (3, 8), elements=st.floats(-1, 1)))
def test_orthogonalise_gives_the_nearest_orthonormal_vectors_in_any_order(vectors):
    norms = np.linalg.norm(vectors, axis=1)
    if norms.min() < 0.1 or np.linalg.svd(vectors / norms[:, None])[1][-1] < 1e-2:
        return
    out = orthogonalise(vectors)
    np.testing.assert_allclose(out @ out.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(orthogonalise(vectors[::-1]), out[::-1], atol=1e-4)
    # Nearest: each stays closer to its own vector than Gram-Schmidt's does on the whole.
    unit = vectors / norms[:, None]
    q = np.linalg.qr(unit.T)[0].T
    q *= np.sign((q * unit).sum(1))[:, None]
    assert np.linalg.norm(out - unit) <= np.linalg.norm(q - unit) + 1e-5


def test_dependent_directions_cannot_be_made_orthogonal():
    with pytest.raises(BadInput, match="linearly dependent"):
        orthogonalise(np.array([[1.0, 0, 0], [1.0, 0, 0]]))


def test_mix_weights_and_orthogonal(directions):
    happy, sad = (directions[f"difference_in_means/{e}"] for e in ("happy", "sad"))
    plain = mix([(happy, 1.0), (sad, -2.0)])
    np.testing.assert_allclose(plain.vector, unit_vector(happy.vector - 2 * sad.vector, ""), atol=1e-6)
    assert plain.emotion == "1*happy+-2*sad"
    both = mix([(happy, 1.0), (sad, 1.0)], orthogonal=True)
    pair = orthogonalise(np.stack([happy.vector, sad.vector]))
    np.testing.assert_allclose(pair @ both.vector, [0.5**0.5] * 2, atol=1e-5)  # neither cancels the other
    assert mix([(happy, 1.0), (sad, 1.0)]).name != both.name
    with pytest.raises(BadInput, match="two directions"):
        mix([(happy, 1.0)])
    with pytest.raises(BadInput, match="nowhere"):
        mix([(happy, 1.0), (Direction("x", "x", "x", happy.vector), -1.0)])


def test_mixtures_from_settings(tiny):
    settings = DirectionSettings(mixtures=(Mixture(weights={"happy": 1.0, "calm": 0.5}),))
    found = tiny.directions(settings).select(method="mixture")
    assert [item.detail["parts"] for item in found] == [["sae_family/happy", "sae_family/calm"]]
    with pytest.raises(BadInput, match="no sae_family direction for 'bored'"):
        tiny.directions(DirectionSettings(mixtures=(Mixture(weights={"happy": 1, "bored": 1}),)))


# -- files and other encoders --------------------------------------------------------------------------------------------


def test_saved_directions_come_back(directions, tmp_path):
    save_directions(directions, tmp_path)
    back = load_directions(tmp_path, encoder="musicgen:tiny", d_in=directions.d_in)
    assert (back.emotions, back.unit, back.norms, back.notes) == (
        directions.emotions, directions.unit, directions.norms, directions.notes,
    )  # fmt: skip
    for a, b in zip(directions, back, strict=True):
        assert (a.name, a.method, a.emotion) == (b.name, b.method, b.emotion)
        np.testing.assert_array_equal(a.vector, b.vector)
    assert back.provenance.anchor_texts == directions.provenance.anchor_texts
    facts = read_json(tmp_path / "directions.json")
    assert facts["site"] == "text_encoder.last_hidden_state"
    assert facts["encoder"] == "musicgen:tiny"
    assert facts["data"] == directions.provenance.data
    assert next(d for d in facts["directions"] if d["name"] == "sae_feature/happy")["detail"] == {
        "feature": 0
    }


def test_damaged_directions_are_refused(directions, tmp_path):
    save_directions(directions, tmp_path)
    path = tmp_path / "directions.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match="build the directions anew"):
        load_directions(tmp_path)
    for value in ({"format": "other"}, [], "text", {"version": 1, "format": "moodlens-directions"}):
        write_json(tmp_path / "directions.json", value)
        with pytest.raises(BadInput, match=r"directions\.json: .* make it anew: moodlens steer DIR --out"):
            load_directions(tmp_path)


def test_vectors_that_are_not_those_described_are_refused(directions, tmp_path):
    from safetensors.numpy import save_file

    save_directions(directions, tmp_path)
    facts = read_json(tmp_path / "directions.json")
    vectors = np.stack([item.vector for item in directions])
    anchors = directions.provenance.anchors
    for tensors in (
        {"vectors": vectors[1:], "anchors": anchors},
        {"vectors": vectors, "anchors": anchors[:, 1:]},
        {"vectors": vectors},
    ):
        save_file(
            {name: np.ascontiguousarray(a) for name, a in tensors.items()},
            tmp_path / "directions.safetensors",
        )
        sha = file_sha256(tmp_path / "directions.safetensors")
        write_json(tmp_path / "directions.json", facts | {"vectors_sha256": sha})
        with pytest.raises(BadInput, match=r"directions\.safetensors: "):
            load_directions(tmp_path)


def test_another_encoder_is_refused(directions, musicgen, tmp_path):
    save_directions(directions, tmp_path)
    with pytest.raises(BadInput, match="do not fit 't5:google-t5/t5-base'"):
        load_directions(tmp_path, encoder="t5:google-t5/t5-base")
    with pytest.raises(BadInput, match="24 wide"):
        load_directions(tmp_path, d_in=768)
    texts = directions.provenance.anchor_texts
    assert check_anchors(directions, musicgen.pooled(texts), "same") < 1e-5
    for other in (tiny_musicgen(seed=1), tiny_musicgen(width=48)):
        with pytest.raises(BadInput, match=r"another encoder|cannot steer"):
            check_anchors(directions, other.pooled(texts), "MusicGen other")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_same_encoder_in_half_precision_is_accepted(directions, dtype):
    half = tiny_musicgen()
    half.model.to(dtype)
    assert check_anchors(directions, half.pooled(directions.provenance.anchor_texts), "half") < 0.05


def test_shuffled_labels_of_the_tiny_study_build_all_the_same(musicgen):
    """Controls do not depend on there being families."""
    built = tiny_study(musicgen, families=False).directions()
    assert len(built.select(method="random")) == 60
