"""What is read a block at a time is what is read at once: codes, activity, the choice of features, scores of texts."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from moodlens.core import BadInput, maps
from moodlens.core.maps import beside, blocks, columns_of, room, spans
from moodlens.embed import EmbeddingStore
from moodlens.embed.manifest import EncoderInfo
from moodlens.features import select_features
from moodlens.features.families import Target
from moodlens.pipeline import score
from moodlens.pipeline.opened import OpenStudy
from moodlens.pipeline.target import appended
from moodlens.sae import encode_rows
from moodlens.sae.untrained import untrained
from moodlens.settings.features import FeatureSettings
from moodlens.stats.permute import _together
from moodlens.stats.ranks import activity, firing, firings
from moodlens.stats.resample import GroupResamples, bootstrap_weights
from moodlens.study.rows import Rows

EMOTIONS = ("happy", "sad", "calm")


def _rows(n, seed, mixed):
    """Groups of one emotion, or of several."""
    draw = np.random.default_rng(seed)
    group = draw.integers(0, 120, n)
    label = draw.integers(-1, 3, n) if mixed else group % 4 - 1
    split = draw.choice(["train", "val", "test", "held_out"], 120, p=[0.5, 0.1, 0.25, 0.15])[group]
    return Rows.of(label, emotions=EMOTIONS, group=group, split=split)


def _codes(rows, d, seed):
    draw = np.random.default_rng(seed)
    codes = (draw.random((len(rows), d)) < 0.2) * draw.random((len(rows), d))
    for c in range(3):
        codes[:, 4 * c] += (rows.label == c) * (draw.random(len(rows)) < 0.5)
    return codes.astype(np.float32)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("core_size", [None, 0, 13])
def test_the_choice_of_features_does_not_depend_on_the_budget(mixed, core_size):
    rows = _rows(2000, 0, mixed)
    codes = _codes(rows, 30, 1)
    settings = FeatureSettings(n_permutations=300, n_shuffles=3)
    whole, parted = (
        select_features(codes, rows, settings, seed=0, core_size=core_size, n_edge=2, memory=memory)
        for memory in (np.inf, 1e-6)  # a feature at a time
    )
    assert whole.table.equals(parted.table)
    assert whole.summary == parted.summary
    for one, other in zip(whole.evidence, parted.evidence, strict=True):
        np.testing.assert_array_equal(one.p, other.p)
        np.testing.assert_array_equal(one.selectivity, other.selectivity)


def test_activity_is_that_of_all_rows_at_once(monkeypatch):
    codes = _codes(_rows(3000, 2, True), 9, 3)
    some = np.flatnonzero(np.random.default_rng(0).random(3000) < 0.7)
    active = sparse.csr_array(codes[some])
    fires = np.bincount(active.indices, minlength=9)
    total = np.bincount(active.indices, active.data.astype(np.float64), 9)
    for size in (maps.BLOCK, 1000):
        monkeypatch.setattr(maps, "BLOCK", size)
        density, mean = activity(codes, some)
        np.testing.assert_array_equal(density, fires / len(some))
        np.testing.assert_array_equal(mean, total / fires)


@pytest.mark.parametrize(("n", "d"), [(10, 7), (0, 3), (5, 0), (1000, 4)])
def test_spans_are_all_columns_once(monkeypatch, n, d):
    monkeypatch.setattr(maps, "BLOCK", 8 * 10 * 3)
    parts = list(spans(n, d))
    assert [i for part in parts for i in range(d)[part]] == list(range(d))
    assert all(1 <= part.stop - part.start <= max(1, 30 // max(n, 1)) for part in parts)


def test_families_are_drawn_by_the_same_target_whatever_is_read_together(monkeypatch):
    rows = _rows(2500, 4, True)
    x = (3 + np.random.default_rng(5).standard_normal((2500, 6))).astype(np.float32)
    dev = rows.where("train", "val")
    y, label = x[dev].astype(np.float64), rows.label[dev]
    own = y[label == 1].mean(axis=0) - y[label != 1].mean(axis=0)
    for together in (32_768, 100):
        monkeypatch.setattr("moodlens.features.families.TOGETHER", together)
        target = Target.of(x, rows)
        np.testing.assert_allclose(target.covariance, np.cov(y.T, bias=True), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(target.towards[1], own, rtol=1e-10)


def test_arrays_beyond_the_budget_lie_on_disk_and_hold_the_same(tmp_path, monkeypatch):
    x = np.random.default_rng(0).standard_normal((700, 12)).astype(np.float32)
    store = EmbeddingStore.create(tmp_path / "store", EncoderInfo(encoder="none"), "float32")
    store.append(x[:400])
    store.append(x[400:])
    sae = untrained("random", x, d_sae=20, active=3, seed=0)
    monkeypatch.setattr(maps, "HELD", 0)  # and their pages are given back
    monkeypatch.setattr(maps, "_LOOK", 1)
    on_disk = store.array(memory=0)
    assert isinstance(on_disk, np.memmap)
    assert not isinstance(store.array(), np.memmap)
    np.testing.assert_array_equal(on_disk, x)
    codes = encode_rows(sae, on_disk, memory=0)
    assert isinstance(codes, np.memmap)
    np.testing.assert_array_equal(codes, encode_rows(sae, x))
    some = np.arange(1, 700, 3)
    monkeypatch.setattr(maps, "BLOCK", 999)
    np.testing.assert_array_equal(columns_of(codes, some, slice(3, 8)), codes[some, 3:8])
    np.testing.assert_array_equal(np.concatenate(list(blocks(codes))), codes)
    few = np.array([7, 0, 19])
    np.testing.assert_array_equal(np.concatenate(list(blocks(codes, some, few))), codes[np.ix_(some, few)])
    np.testing.assert_array_equal(np.concatenate(list(blocks(codes, columns=few))), codes[:, few])
    np.testing.assert_array_equal(firing(codes, some, few), codes[np.ix_(some, few)] > 0)
    np.testing.assert_array_equal(firings(codes, some), (codes[some] > 0).sum(axis=0))
    for memory in (np.inf, 0):
        both = beside([(codes, few), (x, np.arange(12))], memory)
        assert isinstance(both, np.memmap) == (memory == 0)
        np.testing.assert_array_equal(both, np.concatenate([codes[:, few], x], axis=1))
    assert isinstance(room(2, 3, 23), np.memmap)
    assert not isinstance(room(2, 3, 24), np.memmap)


def test_many_units_are_permuted_fewer_at_a_time():
    assert _together(1) == _together(30_000) == 500
    assert _together(2**20) == 16
    assert _together(2**40) == 1


def test_resamples_in_a_byte_are_the_same_draws(monkeypatch):
    groups = np.random.default_rng(0).integers(0, 50, 400)
    monkeypatch.setattr("moodlens.stats.resample._ROWS_AT_ONCE", 120)
    small = GroupResamples(groups, 31, 7).weights
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small, bootstrap_weights(groups, 31, 7))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_that_is_written_part_by_part_is_the_table(tmp_path, ending):
    frame = pl.DataFrame({"id": ["a", "b", "c"], "n": [1.5, None, 2.5], "s": [None, "x,y", None]})
    for sizes in ((3,), (1, 2)):
        path, begin = tmp_path / f"{len(sizes)}{ending}", 0
        with appended(path) as append:
            for size in sizes:
                append(frame[begin : begin + size])
                begin += size
        read = pl.read_csv(path) if ending == ".csv" else pl.read_parquet(path)
        assert read.equals(frame)
    assert {path.suffix for path in tmp_path.iterdir()} == {ending}  # and nothing beside them


def test_a_table_that_fails_on_the_way_leaves_nothing(tmp_path):
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(ZeroDivisionError), appended(tmp_path / name) as append:
            append(pl.DataFrame({"a": [1]}))
            append(pl.DataFrame({"a": [1 // 0]}))
    assert not list(tmp_path.iterdir())


def test_texts_are_scored_part_by_part_as_at_once(small_study, monkeypatch):
    study = OpenStudy.open(small_study)
    texts = [
        f"{word} piano, take {i}. A {word} evening." for i in range(8) for word in ("sad", "happy", "calm")
    ]
    labels = ["sad", "happy", None] * 8
    whole = study.score(texts, labels)
    for together, characters in ((5, 2**22), (8192, 90)):
        monkeypatch.setattr(score, "TOGETHER", together)
        monkeypatch.setattr(score, "CHARACTERS", characters)
        parts = study.score(texts, labels)
        assert parts.drop("words").schema == whole.drop("words").schema
        assert parts["id"].equals(whole["id"])
        for name in (n for n in whole.columns if n.startswith(("family_", "feature_"))):
            np.testing.assert_allclose(parts[name], whole[name], atol=2e-2, equal_nan=True)


@pytest.mark.parametrize(
    ("texts", "labels", "says"),
    [
        ("melancholy", None, "expected a list of texts, got one string"),
        (["a", None], None, "row 1 is None, not a string"),
        ([b"a"], None, "row 0 is b'a', not a string"),
        ([], None, "none are given"),
        (["a", "b"], ["sad"], "one for each of 2 texts, in a list; got 1 labels"),
        (["a", "b", "c"], "sad", "in a list; got one string"),
    ],
)
def test_what_is_no_list_of_texts_is_not_scored(small_study, texts, labels, says):
    """A string is a sequence of its letters, each of which has scores."""
    with pytest.raises(BadInput, match=says):
        OpenStudy.open(small_study).score(texts, labels)


def test_what_is_said_of_a_whole_table_does_not_depend_on_its_parts(small_study, monkeypatch):
    """AUROCs of the labelled texts and how many were trained on, where the parts are labelled in different places."""
    study = OpenStudy.open(small_study)
    known = study.prompts.filter(study.prompts["split"] == "train")["text"].to_list()
    texts = [f"a {word} song, take {i}" for i in range(7) for word in ("sad", "happy", "calm")]
    texts[1], texts[20] = known[0], known[1]  # trained on, in the first and in the last part
    labels = [None if i % 4 == 3 else ("sad", "happy", "calm")[i % 3] for i in range(len(texts))]
    number = [str(i) for i in range(len(texts))]
    frame = pl.DataFrame({"id": number, "text": texts, "emotion": labels, "group": number})

    def said():
        settings = study.settings
        return score.score_frame(
            study, frame, "texts", settings.encoder, settings.validation.transfer, grouped=False
        )

    whole = said()
    monkeypatch.setattr(score, "TOGETHER", 5)
    parts = said()
    assert (whole.n, whole.n_texts, whole.n_seen) == (16, 21, 2)
    assert (parts.n, parts.n_texts, parts.n_seen) == (16, 21, 2)
    assert whole.auroc.keys() == parts.auroc.keys() != set()
    for method, values in whole.auroc.items():
        for emotion, one in values.items():
            assert parts.auroc[method][emotion].value == pytest.approx(one.value, abs=0.02), method
