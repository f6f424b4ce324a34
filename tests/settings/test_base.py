"""The reader of YAML, changes by --set, and messages about what is wrong."""

import codecs
import math
import string
from contextlib import suppress

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from moodlens.core import BadInput
from moodlens.settings.base import (
    LARGEST,
    Frozen,
    apply_changes,
    nearest,
    parse_yaml,
    read_yaml,
    to_yaml,
    validate,
)
from moodlens.settings.steer import SteerSettings
from moodlens.settings.study import Settings


class Inner(Frozen):
    k: int = 1
    share: float = 0.5
    note: str | None = None


class Outer(Frozen):
    name: str = "x"
    flag: bool = False
    inner: Inner = Inner()
    maybe: Inner | None = None
    rows: tuple[Inner, ...] = ()
    pair: tuple[float, Inner] | None = None
    by_name: dict[str, Inner] = Field(default_factory=dict)
    either: int | Inner = 1


def wrong(values, *words, changes=()) -> None:
    with pytest.raises(BadInput) as caught:
        validate(Outer, values, "file", changes)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


# -- YAML ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("2024-01-31", "2024-01-31"),
        ("~", None),
        ("", None),
        ("'010'", "010"),
        ("-", [None]),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    parsed = parse_yaml(text, "x")
    assert parsed == value
    assert type(parsed) is type(value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
)
@example("1e-3")
@example("0o10")
@example("010")
@example("yes")
@example("12:30")
@example("2024-01-31")
@example("<<")
@example("\x85\u2028\ufeff")
def test_what_is_written_is_read_back_by_any_reader(value):
    text = to_yaml({"a": value})
    assert parse_yaml(text, "x") == {"a": value}
    assert yaml.safe_load(text) == {"a": value}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ("'a' is set twice", "line 1", "line 3")),
        ("a:\n  b: 1\n  b: 2\n", ("'b' is set twice", "line 2", "line 3")),
        ("a: [{b: 1, b: 2}]", ("'b' is set twice",)),
        ("a: 1\n\tb: 2\n", ("line 2", "indent with spaces")),
        ("a: [", ("line 1",)),
        ("a: 1\n---\nb: 2\n", ("line 2", "another document")),
        ("!!python/object/apply:os.system ['true']", ("line 1", "python/object")),
        ("a: *b", ("undefined alias",)),
        ("a: &a [*a]", ("aliases",)),
        ("[" * 5000, ("nested too deeply",)),
        ("a: " + "9" * 5000, ("whole number",)),
        ("a: \x00", ("#x0000",)),
        ("? [1, 2]\n: 3\n", ("line 1", "key")),
    ],
)
def test_broken_yaml_is_one_line_with_the_place(text, words):
    with pytest.raises(BadInput) as caught:
        parse_yaml(text, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_aliases_are_read_and_do_not_explode():
    assert parse_yaml("a: &a {k: 1}\nb: *a\nc: {<<: *a, k: 2, l: 3}\n", "x") == {
        "a": {"k": 1},
        "b": {"k": 1},
        "c": {"k": 2, "l": 3},
    }
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30))
    with pytest.raises(BadInput, match="aliases stand for more than"):
        parse_yaml(laughs, "x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_files_of_any_editor(tmp_path, encoding, ending):
    path = tmp_path / "a.yaml"
    path.write_bytes(f"name: señorita ♫{ending}seed: 3{ending}".encode(encoding))
    assert read_yaml(path) == {"name": "señorita ♫", "seed": 3}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# a\nname: señorita".encode("latin-1"), ("not UTF-8", "line 2", "save it as UTF-8")),
        (b"", ("expected settings", "found nothing")),
        (b"# seed: 1\n", ("expected settings", "found nothing")),
        (codecs.BOM_UTF8, ("found nothing",)),
        (codecs.BOM_UTF16_LE + b"a", ("not UTF-8",)),
        (b"- seed: 1\n", ("expected settings", "found a list")),
        (b"seed", ("expected settings", "found a text")),
        (b"#" * (LARGEST + 1), ("larger than 1,000,000 bytes",)),
        (b"PAR1\x00\x15\x04", ("my.yaml",)),
    ],
)
def test_files_that_are_no_settings(tmp_path, content, words):
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_yaml(path)
    for word in ("my.yaml", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.yaml", "", "a\0b", "x" * 300])
def test_names_that_lead_nowhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="cannot read"):
        read_yaml(name)


@given(st.text(string.printable, max_size=60))
def test_any_text_is_a_value_or_bad_input(text):
    with suppress(BadInput):
        parse_yaml(text, "x")


# -- changes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        (["a=1", "a=2"], {"a": 2}),
        (["a.b=1", "a.c=2"], {"a": {"b": 1, "c": 2}}),
        ([" a . b = 1"], {"a": {"b": 1}}),
        (["a='1'"], {"a": "1"}),
        (["a=[1, x]"], {"a": [1, "x"]}),
        (["a={b: 1}"], {"a": {"b": 1}}),
        (["a=b=c"], {"a": "b=c"}),
        (["a="], {"a": None}),
        (["""a."b.c".'d=e'=1"""], {"a": {"b.c": {"d=e": 1}}}),
        (["a.sad song=1"], {"a": {"sad song": 1}}),
        (["rows.1.k=5"], {"rows": [{"k": 1}, {"k": 5}]}),
        (["rows.0=7"], {"rows": [7, {"k": 2}]}),
    ],
)
def test_changes(changes, value):
    rows = [{"k": 1}, {"k": 2}]
    before = {"rows": rows} if "rows" in value else {}
    assert apply_changes(before, changes) == value
    assert rows == [{"k": 1}, {"k": 2}]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("a", "name.name=value"),
        ("", "name.name=value"),
        ("=1", "name.name=value"),
        ("a..b=1", "name.name=value"),
        (".a=1", "name.name=value"),
        ("a.=1", "name.name=value"),
        ("a. =1", "name.name=value"),
        ('"a=1', "name.name=value"),
        ("a=[", "not valid YAML"),
        ("a={b: 1, b: 2}", "set twice"),
        ("s.x=1", "no parts"),
        ("rows.2=1", "no entry '2'"),
        ("rows.-1=1", "no entry '-1'"),
        ("rows.²=1", "no entry"),
        ("rows.k=1", "no entry 'k'"),
    ],
)
def test_changes_that_cannot_be(change, word):
    with pytest.raises(BadInput) as caught:
        apply_changes({"s": 1, "rows": [{"k": 1}, {"k": 2}]}, [change])
    assert f"--set {change}" in str(caught.value)
    assert word in str(caught.value)


def test_the_change_that_is_wrong_is_named():
    changes = ["name=y", "inner.k=many"]
    wrong(apply_changes({}, changes), "--set inner.k=many: inner.k: ", changes=changes)
    wrong(apply_changes({"inner": {"k": "many"}}, ["name=y"]), "file: inner.k: ", changes=["name=y"])
    wrong(apply_changes({}, ["inner={kk: 1}"]), "--set inner={kk: 1}: ", changes=["inner={kk: 1}"])


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (["seconds=8", "judge.methods=[foo]"], "--set judge.methods=[foo]: unknown judge.methods: foo"),
        (["methods=[foo]"], "--set methods=[foo]: "),  # a name that ends another's is not that one
        (["judge.n_resamples=1000"], "file: unknown judge.methods: foo"),
    ],
)
def test_the_change_that_several_settings_together_make_wrong_is_named(changes, where):
    values = {} if "foo" in str(changes) else {"judge": {"methods": ["foo"]}}
    with pytest.raises(BadInput) as caught:
        validate(SteerSettings, apply_changes(values, changes), "file", changes)
    assert str(caught.value).startswith(where)


# -- what is wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"inner": {"kk": 1}}, "'inner.kk'"),
        ({"maybe": {"kk": 1}}, "'maybe.kk'"),
        ({"rows": [{}, {"kk": 1}]}, "'rows.1.kk'"),
        ({"pair": [1, {"kk": 1}]}, "'pair.1.kk'"),
        ({"by_name": {"sad": {"kk": 1}}}, "'by_name.sad.kk'"),
        ({"either": {"kk": 1}}, ".kk'"),
    ],
)
def test_an_unknown_name_at_any_depth_gets_the_nearest_and_the_known(values, place):
    wrong(
        values,
        f"unknown setting {'' if place[0] == '.' else place}",
        place,
        "did you mean 'k'?",
        "known: k, share, note",
    )


def test_an_unknown_name_that_stands_elsewhere():
    wrong({"share": 1}, "unknown setting 'share'; did you mean 'inner.share'?", "known: name, flag")
    wrong({"zzz": 1}, "unknown setting 'zzz'; known: name, flag")
    assert nearest("a", []) == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"inner": None}, ("inner: expected settings among k, share, note",)),
        ({"inner": 5}, ("inner: expected settings", "got 5")),
        ({"rows": {"k": 1}}, ("rows: expected a list",)),
        ({"rows": "happy"}, ("rows: expected a list", "'happy'")),
        ({"name": 2024}, ("name: expected a text; put it in quotes (got 2024)",)),
        ({"name": None}, ("name: expected a text",)),
        ({"name": "a\udcffb"}, ("name: holds bytes that are not UTF-8",)),
        ({"name": True}, ("name: true and false",)),
        ({"inner": {"k": True}}, ("inner.k: true and false",)),
        ({"inner": {"k": "x" * 10_000}}, ("inner.k: ", "...")),
        ({"inner": {"share": math.inf}}, ("inner.share: should be a finite number",)),
        ({"inner": {"share": math.nan}}, ("inner.share: should be a finite number",)),
        ({"inner": {"share": "inf"}}, ("inner.share: should be a finite number",)),
        ({"pair": [math.inf, {}]}, ("pair.0: should be a finite number",)),
        ({"by_name": {3: {}}}, ("by_name.3: expected a text",)),
        ({"inner": {"k": 10**30}}, ("inner.k: no array holds",)),
        ({3: 1}, ("'3': a name must be a text",)),
    ],
)
def test_wrong_values(values, words):
    wrong(values, *words)


def test_booleans_in_words():
    assert validate(Outer, parse_yaml("flag: yes\nname: no", "x"), "x") == Outer(flag=True, name="no")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("transfer=[{path: a, txt_column: b}]", ("'transfer.0.txt_column'", "did you mean 'text_column'?")),
        ("transfer=[{path: a}]", ("'transfer.0.text_column' is missing",)),
        ("steer.secnds=3", ("'steer.secnds'", "did you mean 'seconds'?", "known: model, revision")),
        ("steer.directions.n_randm=3", ("'steer.directions.n_randm'", "did you mean 'n_random'?")),
        ("steer.mixtures=[{}]", ("steer.mixtures",)),
        ("prompts.tables=[{pth: a, text_column: b}]", ("prompts.tables.0",)),
        ("namer.urll=x", ("namer.url",)),
        ("verdict.min_causl=1", ("did you mean 'min_causal'?",)),
        ("k=8", ("did you mean 'sae.k'?",)),
        ("sweep.kk=[1]", ("sweep: unknown SAE setting 'kk'", "did you mean 'k'?", "known: architecture")),
        ("sweep.k=[8, -1]", ("sweep: k: ", "-1")),
        ("sweep.learning_rate=[.inf]", ("sweep: ", "finite")),
        ("sae.learning_rate=.inf", ("sae.learning_rate", "finite")),
        ("steer.coefficients=[.nan]", ("steer.coefficients.0", "finite")),
        ("emotions=happy", ("emotions: expected a list",)),
        ("emotions=[true, sad]", ("emotions: true and false",)),
        ("sae=8", ("sae: expected settings",)),
    ],
)
def test_messages_of_a_study(change, words):
    with pytest.raises(BadInput) as caught:
        validate(Settings, apply_changes({}, [change]), "study", [change])
    for word in (f"--set {change}: ", *words):
        assert word in str(caught.value)
