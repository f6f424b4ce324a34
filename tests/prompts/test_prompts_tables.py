"""Users' tables: labels, groups, splits and ids as they are meant, and everything else counted or refused in one line."""

import polars as pl
import pytest

from helpers.tables import MOODS, WORDS, labelled, read, refused, table, write
from moodlens.core import BadInput
from moodlens.prompts import COLUMNS, assign_splits, generate, read_prompts, read_tables
from moodlens.prompts.copies import copy_keys, count_copies
from moodlens.settings.study import Table

NAMED = {"group_column": "who", "split_column": "part", "id_column": "key"}


def test_the_columns_of_generated_prompts(tmp_path):
    rows = [
        ("a merry tune", "happy", "ann", "train", "007"),
        ("a lonely cello", "sad", "", "", "1e3"),
        ("drums — naïve", "", "bob", "held_out", "x"),
    ]
    path = write(tmp_path / "mine.csv", rows, ("caption", "mood", "who", "part", "key"))
    frame, report = read(path, **NAMED)
    assert tuple(frame.columns) == COLUMNS
    assert set(frame.dtypes) == {pl.String}
    assert frame["text"].to_list() == ["a merry tune", "a lonely cello", "drums — naïve"]
    assert frame["emotion"].to_list() == ["happy", "sad", None]
    assert frame["kind"].to_list() == ["plain", "plain", "unlabelled"]
    assert frame["group"].to_list() == ["ann", "mine-2", "bob"]
    assert frame["split"].to_list() == ["train", "", "held_out"]
    assert frame["id"].to_list() == ["007", "1e3", "x"]
    assert set(frame["source"]) == {"mine.csv"}
    assert (report.n_read, report.n_without_label, report.n_without_text) == (3, 1, 0)


class Wider(Table):
    genre_column: str | None = None


def test_a_column_that_the_settings_name_is_read_into_the_frame(tmp_path):
    path = write(
        tmp_path / "mine.csv",
        [("one", "happy", " jazz "), ("two", "sad", "N/A")],
        ("caption", "mood", "sort"),
    )
    frame, _ = read_prompts(
        Wider(path=str(path), text_column="caption", emotion_column="mood", genre_column="sort")
    )
    assert frame["genre"].to_list() == ["jazz", None]


def test_a_concept_belongs_to_a_label_and_may_be_unknown(tmp_path):
    rows = [
        ("one", "sad", " Grief "),
        ("two", "sad", "grief"),
        ("three", "sad", "grief"),
        ("four", "happy", "N/A"),
        ("five", "neutral", "weather"),
        ("six", "", "play"),
    ]
    path = write(tmp_path / "mine.csv", rows, ("caption", "mood", "topic"))
    frame, _ = read(path, concept_column="topic")
    assert frame["concept"].to_list() == ["grief", "grief", "grief", None, None, None]
    without, _ = read(path)
    assert without["concept"].null_count() == len(rows)


def test_texts_alone_are_enough(tmp_path):
    frame, report = read(write(tmp_path / "mine.csv", labelled(["", "", ""])), emotion_column=None)
    assert set(frame["kind"]) == {"unlabelled"}
    assert frame["id"].to_list() == frame["group"].to_list() == ["mine-1", "mine-2", "mine-3"]
    assert (
        report.line == "mine.csv: 3 texts; 2 differ from an earlier text in numbers only and are not joined"
    )


@pytest.mark.parametrize("blank", ["", "   ", "\u200b", "nan", "None", "NULL", "n/a", "-"])
def test_rows_without_a_text_are_left_out_and_counted(tmp_path, blank):
    path = write(tmp_path / "mine.csv", [("one", "happy"), (blank, "sad"), ("two", "sad")])
    frame, report = read(path)
    assert frame["id"].to_list() == ["mine-1", "mine-3"]
    assert (report.n_read, report.n_without_text) == (3, 1)
    assert "1 without a text left out" in report.line
    refused(write(path, [(blank, "sad"), (blank, "happy")]), "column 'caption' holds no text")


def test_texts_lose_marks_that_nobody_sees(tmp_path):
    frame, _ = read(
        write(
            tmp_path / "mine.csv", [("\ufeffa\u200b merry\x07 tune ", "happy"), ("👩\u200d🎤 sings", "sad")]
        )
    )
    assert frame["text"].to_list() == ["a merry tune", "👩\u200d🎤 sings"]


# --- copies -----------------------------------------------------------------------------------------------------------

TEXT = "A merry tune, with piano at 120 BPM"


@pytest.mark.parametrize(
    "copy",
    [TEXT, TEXT.upper(), f"  {TEXT}. ", TEXT.replace(" ", "  "), TEXT.replace(",", ""), f"\ufeff{TEXT}!!!", TEXT.replace("r", "r\u200b"), f"“{TEXT}”", f"\u202a{TEXT}\u202c", TEXT.replace("i", "ı"), TEXT.replace("tune", "tu\ufe0fne"),
     TEXT.replace("120", "１２０"), "with piano, a merry tune at 120 BPM", TEXT.replace("merry tune", "merry-tune")],
)  # fmt: skip
def test_copies_are_one_group(tmp_path, copy):
    frame, report = read(
        write(tmp_path / "mine.csv", [(TEXT, "happy"), ("a lonely cello", "sad"), (copy, "happy")])
    )
    assert frame["group"].to_list() == ["mine-1", "mine-2", "mine-1"]
    assert (report.n_duplicates, report.n_merged_groups) == (1, 1)
    assert "1 repeat an earlier text (1 texts, a group each)" in report.line


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("120", "60"),
        TEXT.replace("merry", "sad"),
        f"{TEXT} and drums",
        TEXT.replace("tune", "tune tune"),
        f"{TEXT} 🎉",
    ],
)
def test_other_texts_are_not(tmp_path, other):
    frame, report = read(write(tmp_path / "mine.csv", [(TEXT, "happy"), (other, "sad")]))
    assert frame["group"].n_unique() == 2
    assert report.n_duplicates == 0
    assert report.n_numbered == ("60" in other)


@pytest.mark.parametrize(
    "texts", [("काली", "काले"), ("😀", "😢"), ("...!", "?!"), ("東京の夜", "東京の朝"), ("12", "13")]
)
def test_scripts_and_signs_are_not_lost(tmp_path, texts):
    frame, _ = read(write(tmp_path / "mine.csv", labelled(["a", "b"], texts)))
    assert frame["group"].n_unique() == 2
    assert frame["emotion"].null_count() == 0


def test_equal_texts_with_different_labels_have_none(tmp_path):
    rows = [
        ("a merry tune", "happy"),
        ("A merry tune!", "sad"),
        ("tune merry a", "happy"),
        ("other", "sad"),
        ("other", ""),
        ("a merry tune", ""),
    ]
    frame, report = read(write(tmp_path / "mine.csv", rows))
    assert frame["emotion"].to_list() == [None, None, "happy", "sad", None, None]
    assert report.n_contradictory == 2
    refused(
        write(tmp_path / "mine.csv", rows[:2]),
        "holds 0 different labels that no row of the same text contradicts",
    )
    assert (
        "2 rows whose text has different labels count as unlabelled (rows 1 and 2: happy and sad)"
        in report.line
    )


@pytest.mark.parametrize(
    ("role", "values"),
    [("group", ("ann", "bob")), ("split", ("train", "test")), ("split", ("val", "held_out"))],
)
def test_copies_that_a_column_parts_are_refused(tmp_path, role, values):
    a, b = values
    rows = [
        ("one", "happy", a),
        ("two", "sad", a),
        ("One.", "happy", b),
        ("TWO", "sad", b),
        ("three", "sad", b),
        ("two", "sad", ""),
    ]
    path = write(tmp_path / "mine.csv", rows, ("caption", "mood", "part"))
    several = {"group": "groups", "split": "splits"}[role]
    refused(
        path,
        f"column 'part' parts copies: 2 texts are in several {several} (rows 1 and 3: {a!r} and {b!r})",
        **{f"{role}_column": "part"},
    )
    frame, _ = read(
        write(path, [row for row in rows if row[2] != b], ("caption", "mood", "part")),
        **{f"{role}_column": "part"},
    )
    assert frame["group"][1] == frame["group"][2]


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ("abcdef", "column 'who' differs in every row, so it groups nothing"),
        ("ababab", "column 'who' holds 2 different groups, too few to deal to three splits"),
        ("aaaabc", "group 'a' of column 'who' holds 67% of the rows"),
        ("aabbcc", None),
    ],
)
def test_groups_that_are_odd_are_told(tmp_path, groups, says):
    rows = [(f"{word} tune", mood, who) for word, mood, who in zip("klmnop", MOODS * 2, groups, strict=True)]
    _, report = read(write(tmp_path / "mine.csv", rows, ("caption", "mood", "who")), group_column="who")
    assert report.remarks == (() if says is None else (says,))


@pytest.mark.parametrize(
    ("first", "second"),
    [("Bj\u00f6rk", "Bjo\u0308rk"), ("7", "7.0"), ("-7.00", "-7"), ("a", "\u202aa\u202c"), ("a", " a ")],
)
def test_a_group_is_one_whatever_program_wrote_its_name(tmp_path, first, second):
    """A song in train under one spelling and in test under the other would be judged by its twin."""
    rows = [("k tune", "happy", first), ("l tune", "sad", second), ("m tune", "calm", "x"), ("n", "sad", "x")]
    frame, report = read(write(tmp_path / "mine.csv", rows, ("caption", "mood", "who")), group_column="who")
    assert frame["group"][0] == frame["group"][1] != frame["group"][2]
    assert not any("alone" in remark for remark in report.remarks)
    part = write(tmp_path / "a.csv", rows[:1] + rows[2:], ("caption", "mood", "who"))
    other = write(tmp_path / "b.csv", rows[1:2], ("caption", "mood", "who"))
    frames, _ = read_tables([table(each, group_column="who") for each in (part, other)], emotions=MOODS)
    assert frames[0]["group"][0] == frames[1]["group"][0]


def test_groups_that_case_alone_tells_apart_stay_and_are_told(tmp_path):
    """The names of videos differ in case."""
    rows = [
        (f"{word} tune", mood, who) for word, mood, who in zip("klmnop", MOODS * 2, "aAbbcc", strict=True)
    ]
    frame, report = read(write(tmp_path / "mine.csv", rows, ("caption", "mood", "who")), group_column="who")
    assert frame["group"].to_list() == list("aAbbcc")
    assert report.remarks == (
        "1 group of column 'who' differs from another in case or blanks alone ('A' and 'a'); write them alike if they are one",
    )


# --- splits and ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "split"),
    [("Train", "train"), ("TRAINING", "train"), ("valid", "val"), ("validation", "val"), ("Dev", "val"), ("testing", "test"),
     ("eval", "test"), ("held-out", "held_out"), ("HeldOut", "held_out"), ("hold_out", "held_out"), ("OOD", "held_out"), ("n/a", "")],
)  # fmt: skip
def test_usual_names_of_splits(tmp_path, word, split):
    path = write(
        tmp_path / "mine.csv", [("one", "happy", word), ("two", "sad", "train")], ("caption", "mood", "part")
    )
    assert read(path, split_column="part")[0]["split"].to_list() == [split, "train"]


def test_unknown_splits_are_named(tmp_path):
    path = write(
        tmp_path / "mine.csv",
        [("one", "happy", "test"), ("two", "sad", "trian")],
        ("caption", "mood", "part"),
    )
    says = "row 2: column 'part': unknown split 'trian'; use train, val, test, held_out"
    refused(path, says, split_column="part")


def test_repeated_and_empty_ids_are_named(tmp_path):
    columns = ("caption", "mood", "key")
    path = write(
        tmp_path / "mine.csv", [("one", "happy", 1), ("two", "sad", 2), ("three", "sad", 1)], columns
    )
    refused(path, "row 3: column 'key' repeats '1' of row 1", id_column="key")
    path = write(tmp_path / "mine.csv", [("one", "happy", "nan"), ("two", "sad", "")], columns)
    refused(path, "row 2: column 'key' is empty", id_column="key")


# --- several tables ---------------------------------------------------------------------------------------------------


def test_tables_of_one_name_keep_their_ids_and_groups_apart(tmp_path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(
            write(tmp_path / folder / "mine.csv", labelled(MOODS, [f"{word} {folder}" for word in WORDS]))
        )
    frames, reports = read_tables([table(path) for path in paths], emotions=MOODS)
    whole = pl.concat(frames)
    assert whole["id"].to_list() == ["mine-1", "mine-2", "mine-3", "mine~2-1", "mine~2-2", "mine~2-3"]
    assert whole["group"].n_unique() == 6
    assert [report.file for report in reports] == ["mine.csv", "mine.csv"]


def test_ids_that_collide_are_told_apart(tmp_path):
    path = write(
        tmp_path / "mine.csv", [("one", "happy", "g000001"), ("two", "sad", "7")], ("caption", "mood", "key")
    )
    frames, _ = read_tables(
        [table(path, id_column="key")],
        emotions=("happy", "sad"),
        generated=generate(300, seed=0, emotions=("happy", "sad")),
    )
    assert frames[1]["id"].to_list() == ["mine/g000001", "mine/7"]
    assert pl.concat(frames)["id"].is_unique().all()


def test_copies_share_a_group_over_tables_and_generated_prompts(tmp_path):
    generated = generate(300, seed=0)
    plain = generated.filter(pl.col("kind") == "plain")
    text, emotion, group = plain.select("text", "emotion", "group").row(0)
    first = write(tmp_path / "a.csv", [(f"{text.upper()}!", emotion), ("one more", "sad")])
    second = write(tmp_path / "b.csv", [("One more.", "sad"), ("else", "calm")])
    frames, _ = read_tables(
        [table(first), table(second)], emotions=("happy", "sad", "calm", "energetic"), generated=generated
    )
    assert frames[0].equals(generated)
    assert frames[1]["group"].to_list() == [group, "a-2"]
    assert frames[2]["group"].to_list() == ["a-2", "b-2"]
    dealt = assign_splits(pl.concat(frames), seed=0)
    assert dealt.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1


def test_copies_that_tables_put_into_two_splits_are_named(tmp_path):
    paths = []
    for name, split, end in (("a", "train", ""), ("b", "test", "!")):
        rows = [(f"{word} tune{end}", mood, split) for word, mood in zip(WORDS, MOODS, strict=True)]
        paths.append(write(tmp_path / f"{name}.csv", rows, ("caption", "mood", "part")))
    frames, _ = read_tables([table(path, split_column="part") for path in paths], emotions=MOODS)
    says = r"splits: group 'a-1' has rows in train and in test \(3 such groups\), such as 'a-1' and 'b-1'; a group, and so copies"
    with pytest.raises(BadInput, match=says):
        assign_splits(pl.concat(frames), seed=0)


def test_an_emotion_without_a_text_is_named(tmp_path):
    path = write(tmp_path / "mine.csv", labelled(["happy", "sad"]))
    with pytest.raises(
        BadInput, match="study: no text is labelled calm, angry; add such texts or take it from"
    ):
        read_tables([table(path)], emotions=("happy", "sad", "calm", "angry"))


def test_texts_that_were_trained_on_are_counted():
    trained = set(copy_keys(pl.Series(["A merry tune.", "The drums enter late"])))
    texts = [
        ["a merry tune"],
        ["It starts. The drums enter late.", "It starts.", "The drums enter late."],
        ["a sad tune"],
    ]
    assert count_copies(texts, trained) == 2
    assert count_copies([], trained) == 0


def test_a_text_that_two_tables_label_differently_is_unlabelled_in_both(tmp_path):
    first = write(tmp_path / "a.csv", [("One tune", "happy"), ("two", "sad"), ("three", "calm")])
    second = write(tmp_path / "b.csv", [("one tune!", "sad"), ("Two.", "sad"), ("four", "happy")])
    frames, reports = read_tables([table(first), table(second)], emotions=("happy", "sad", "calm"))
    assert frames[0]["emotion"].to_list() == [None, "sad", "calm"]
    assert frames[1]["emotion"].to_list() == [None, "sad", "happy"]
    assert frames[1]["kind"].to_list() == ["unlabelled", "plain", "plain"]
    assert [(report.n_contradictory, report.n_without_label) for report in reports] == [(1, 1), (1, 1)]
    assert "('one tune!': sad here, happy in a.csv)" in reports[1].line


def test_concepts_have_one_spelling_over_tables(tmp_path):
    paths = [
        write(
            tmp_path / f"{name}.csv",
            [(f"{word} {name}", mood, concept) for word, mood in zip(WORDS, MOODS, strict=True)],
            ("caption", "mood", "what"),
        )
        for name, concept in (("a", "Night Sky"), ("b", "night sky"))
    ]
    frames, _ = read_tables([table(path, concept_column="what") for path in paths], emotions=MOODS)
    assert pl.concat(frames)["concept"].unique().len() == 1


def test_groups_that_two_tables_name_alike_are_one_and_told(tmp_path):
    paths = [
        write(
            tmp_path / f"{name}.csv",
            [(f"{word} {name}", mood, "ann") for word, mood in zip(WORDS, MOODS, strict=True)],
            ("caption", "mood", "who"),
        )
        for name in "ab"
    ]
    frames, reports = read_tables([table(path, group_column="who") for path in paths], emotions=MOODS)
    assert pl.concat(frames)["group"].unique().to_list() == ["ann"]
    assert "1 groups are also in a.csv and are one with them (ann)" in reports[1].line
