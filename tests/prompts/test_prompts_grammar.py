"""Generated prompts: counts, uniqueness, equal tables from equal seeds, and nothing but emotion with the emotion."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import mutual_info_score

from moodlens.core import BadInput
from moodlens.prompts import COLUMNS, EMOTIONS, FACTORS, assign_splits, generate
from moodlens.prompts.vocabulary import LEXEMES, concepts, lexeme_roots, roots, units

PLAIN = pl.col("kind") == "plain"


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return generate(6000, seed=0)


def test_columns_are_text_in_the_agreed_order(frame):
    assert tuple(frame.columns) == COLUMNS
    assert set(frame.dtypes) == {pl.String}
    assert frame["id"].n_unique() == frame.height == 6000
    assert set(frame["kind"]) == {"plain", "neutral", "negation", "mixed"}
    assert frame.filter(PLAIN)["emotion"].null_count() == 0
    assert frame.filter(~PLAIN)["emotion"].drop_nulls().is_empty()


@pytest.mark.parametrize("n", [1, 2, 37, 6000])
def test_every_text_is_unique_whatever_its_case(n):
    texts = generate(n, seed=3)["text"].str.to_lowercase()
    assert texts.n_unique() == len(texts) == n


def test_shares_are_kept_and_emotions_are_dealt_evenly(frame):
    kinds = Counter(frame["kind"])
    assert kinds["neutral"] == 1200
    assert kinds["negation"] == 2 * kinds["mixed"] == 160
    assert set(Counter(frame.filter(PLAIN)["emotion"]).values()) == {1140}
    held_out = frame.filter(PLAIN & (pl.col("split") == "held_out"))
    assert set(Counter(held_out["emotion"]).values()) == {285}


def test_the_roadmap_setting_gives_125_prompts_for_each_emotion():
    frame = generate(500, seed=0, neutral_share=0, twin_share=0, special=0)
    assert Counter(frame["emotion"]) == dict.fromkeys(EMOTIONS, 125)
    assert set(frame["kind"]) == {"plain"}


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_scene_share_is_the_share_of_scenes_in_every_emotion(share):
    frame = generate(2000, seed=1, scene_share=share, neutral_share=0, twin_share=0, special=0)
    for emotion in EMOTIONS:
        scenes = [unit.text.lower() for unit in units(emotion) if unit.kind not in LEXEMES]
        texts = frame.filter(pl.col("emotion") == emotion)["text"].str.to_lowercase()
        found = [any(scene in text for scene in scenes) for text in texts]
        assert sum(found) == share * len(texts)


def test_equal_seeds_give_equal_tables_and_other_seeds_others(frame):
    assert generate(6000, seed=0).equals(frame)
    other = generate(6000, seed=1)
    shared = set(other["text"]) & set(frame["text"])
    assert not other.equals(frame)
    assert len(shared) < 1500


def test_the_table_does_not_depend_on_the_hash_seed_of_the_process():
    code = (
        "import hashlib; from moodlens.prompts import generate; "
        "print(hashlib.sha256(generate(800, seed=5).write_csv().encode()).hexdigest())"
    )
    here = hashlib.sha256(generate(800, seed=5).write_csv().encode()).hexdigest()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


def information(frame: pl.DataFrame, factor: str, n_shuffles: int) -> tuple[float, np.ndarray]:
    """Mutual information of a factor with the emotion (nats), and with shuffled emotions.

    The plug-in estimate is biased upwards by about (rows of table - 1)(columns - 1) / 2n (Miller 1955), so a value says
    something only beside its null.
    """
    rows = frame.filter(pl.col("emotion").is_not_null())
    emotions, values = (rows[name].fill_null("").rank("dense").to_numpy() for name in ("emotion", factor))
    rng = np.random.default_rng(0)
    null = [mutual_info_score(rng.permutation(emotions), values) for _ in range(n_shuffles)]
    return float(mutual_info_score(emotions, values)), np.array(null)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("factor", FACTORS)
def test_no_factor_tells_the_emotion(seed, factor):
    told, null = information(generate(6000, seed=seed), factor, 50)
    # Balanced decks do better than chance: shuffled emotions tell more of a factor than the true ones.
    assert told < null.mean()


def test_length_and_captions_do_not_go_with_an_emotion(frame):
    words = frame.filter(PLAIN).with_columns(n=pl.col("text").str.split(" ").list.len())
    means = words.group_by("emotion").agg(pl.col("n").mean())["n"]
    assert means.max() - means.min() < 0.08 * means.mean()


def test_neutral_texts_hold_no_word_of_an_emotion(frame):
    emotional = frozenset().union(*map(lexeme_roots, EMOTIONS))
    for text in frame.filter(pl.col("kind") == "neutral")["text"]:
        assert not emotional & set(roots(text)), text


def test_a_text_holds_words_of_its_own_emotion_only(frame):
    for emotion in EMOTIONS:
        foreign = frozenset().union(*(lexeme_roots(other) for other in EMOTIONS if other != emotion))
        for text in frame.filter(pl.col("emotion") == emotion)["text"]:
            assert not foreign & set(roots(text)), text


def test_twins_say_the_same_without_the_emotion(frame):
    twins = frame.filter(PLAIN & pl.col("twin").is_not_null())
    assert twins.height == 684
    assert set(Counter(twins["emotion"]).values()) == {171}
    pairs = twins.join(frame, left_on="twin", right_on="id", suffix="_twin")
    assert pairs.height == 684
    assert (pairs["kind_twin"] == "neutral").all()
    for column in ("group", "split", "style"):
        assert (pairs[column] == pairs[f"{column}_twin"]).all()
    assert (pairs["text"].str.len_chars() > pairs["text_twin"].str.len_chars()).all()
    for own, bare in zip(pairs["text"], pairs["text_twin"], strict=True):
        # "an airy harp" and "a harp": the article may differ.
        skip = {"a", "an"}
        kept = [word for word in re.findall(r"\w+", bare.lower()) if word not in skip]
        rest = iter(re.findall(r"\w+", own.lower()))
        assert all(word in rest for word in kept), (own, bare)


def test_a_denied_row_has_a_twin_that_says_it(frame):
    denied = frame.filter(pl.col("kind") == "negation")
    pairs = denied.join(frame, left_on="twin", right_on="id", suffix="_twin")
    assert pairs.height == denied.height
    assert (pairs["kind_twin"] == "plain").all()
    assert (pairs["emotion_twin"] == pairs["about"]).all()
    for column in ("group", "split", "instrument", "genre"):
        assert pairs[column].eq_missing(pairs[f"{column}_twin"]).all()
    # Words of the ordinary splits meet ordinary wordings, held-out words held-out ones.
    held_out = {unit.group for emotion in EMOTIONS for unit in units(emotion) if unit.held_out}
    assert ((pairs["split"] == "held_out") == pairs["group"].is_in(list(held_out))).all()


def test_denials_reach_every_split_with_many_words_and_wordings():
    dealt = assign_splits(
        generate(20_000, seed=0, special=0.04, held_out_share=0.08), fractions=(0.58, 0.04, 0.38), seed=0
    )
    denied = dealt.filter(pl.col("kind") == "negation")
    counts = denied.group_by("split").agg(pl.len(), pl.col("group").n_unique().alias("groups"))
    by_split = {split: (rows, groups) for split, rows, groups in counts.iter_rows()}
    for split in ("train", "test", "held_out"):
        assert min(by_split[split]) >= 80


@pytest.mark.parametrize("seed", [0, 1])
def test_concepts_are_dealt_evenly_and_have_groups_in_every_split(seed):
    frame = generate(20_000, seed=seed, neutral_share=0.12, twin_share=0.05, held_out_share=0.08)
    dealt = assign_splits(frame, fractions=(0.58, 0.04, 0.38), seed=seed).filter(PLAIN)
    assert dealt["concept"].null_count() == 0
    sizes = dealt.group_by("emotion", "concept").len()["len"]
    assert len(sizes) == sum(len(concepts(emotion)) for emotion in EMOTIONS)
    assert sizes.max() - sizes.min() < 0.02 * sizes.mean()
    groups = dealt.group_by("concept", "split").agg(pl.col("group").n_unique())
    counts = {(concept, split): n for concept, split, n in groups.iter_rows()}
    for emotion in EMOTIONS:
        for concept in concepts(emotion):
            assert counts[concept, "test"] >= 18
            assert counts[concept, "train"] >= 22
            assert counts[concept, "val"] >= 3
            assert counts[concept, "held_out"] >= 8


def test_only_texts_of_an_emotion_have_a_concept(frame):
    assert frame.filter(~PLAIN)["concept"].drop_nulls().is_empty()
    for emotion in EMOTIONS:
        assert set(frame.filter(pl.col("emotion") == emotion)["concept"]) == set(concepts(emotion))


def test_groups_do_not_straddle_and_held_out_rows_use_held_out_words(frame):
    dealt = assign_splits(frame, seed=0)
    assert dealt.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    kept = frame["split"] == "held_out"
    assert (dealt.filter(kept)["split"] == "held_out").all()
    # No group of ordinary rows was drawn into the held-out set: the roots are disjoint.
    assert (dealt.filter(~kept)["split"] != "held_out").all()


def test_negations_and_mixtures_name_what_they_are_about(frame):
    special = frame.filter(pl.col("kind").is_in(["negation", "mixed"]))
    assert (special.filter(pl.col("kind") == "mixed")["split"] == "held_out").all()
    for kind, about in special.select("kind", "about").iter_rows():
        parts = about.split("|")
        assert len(parts) == (2 if kind == "mixed" else 1)
        assert set(parts) <= set(EMOTIONS)
    denied = Counter(special.filter(pl.col("kind") == "negation")["about"])
    assert set(denied) == set(EMOTIONS)
    assert max(denied.values()) - min(denied.values()) <= 2


def test_fewer_emotions_can_be_asked_for():
    frame = generate(400, seed=0, emotions=("sad", "energetic"))
    assert set(frame["emotion"].drop_nulls()) == {"sad", "energetic"}
    about = {part for text in frame["about"].drop_nulls() for part in text.split("|")}
    assert about == {"sad", "energetic"}


def test_texts_are_tidy(frame):
    for text in frame["text"]:
        assert text == text.strip()
        assert not re.search(r"[{}\[\]]|  | [,.;?!]|,,|\.\.|^[,;|/-]|[,;|/-]$", text), text
        assert not re.search(r"\b(\w+) \1\b", text.lower()), text
        assert not re.search(r"\b[Aa] (?=[aeio])(?!eu|one)", text), text
        assert not re.search(r"\b[Aa]n (?=[bcdfgjklmnpqstvwxyz])", text), text
        if text[-1] in ".!?":
            assert text[0].isupper() or not text.endswith("."), text


def test_all_registers_are_there(frame):
    styles = Counter(frame.filter(PLAIN)["style"])
    assert set(styles) == {
        "words",
        "prompt",
        "tags",
        "sentence",
        "scene",
        "metaphor",
        "situation",
        "caption",
    }
    assert min(styles.values()) > 50
    captions = frame.filter(PLAIN, pl.col("style") == "caption")[
        "text"
    ]  # a neutral twin lacks the sentence of mood
    assert (captions.str.count_matches(r"[.?!](?: |$)") >= 2).all()
    assert frame["text"].str.contains(r"^\d+ BPM, .+, .+, ").any()


def test_words_of_an_emotion_come_up_equally_often():
    frame = generate(5000, seed=0, neutral_share=0, twin_share=0, special=0)
    adjectives = [unit for unit in units("calm") if unit.kind == "adjective" and not unit.held_out]
    found = [
        frame.filter(pl.col("text").str.contains(rf"\b{re.escape(unit.text)}\b")).height
        for unit in adjectives
    ]
    assert min(found) >= 3


@pytest.mark.slow
def test_a_hundred_thousand_unique_prompts():
    frame = generate(100_000, seed=0)
    assert frame["text"].str.to_lowercase().n_unique() == 100_000
    for factor in FACTORS:
        told, null = information(frame, factor, 20)
        assert told < np.quantile(null, 0.95)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"n": 0}, "cannot generate 0 prompts; ask for 1 to 100000"),
        ({"n": 100_001}, "cannot generate 100001"),
        ({"emotions": ("happy", "spooky")}, "no words for spooky"),
        ({"emotions": ("happy",)}, "two or more"),
        ({"emotions": ("happy", "happy")}, "two or more different"),
        ({"neutral_share": 1.5}, "neutral_share is a share"),
        ({"scene_share": -0.1}, "scene_share is a share"),
        ({"neutral_share": 0.7, "special": 0.4}, "exceed 1"),
        ({"neutral_share": 0.1, "twin_share": 0.5}, "raise neutral_share or lower twin_share"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(settings, says):
    with pytest.raises(BadInput, match=re.escape(says)) as caught:
        generate(**({"n": 100, "seed": 0} | settings))
    assert "\n" not in str(caught.value)
