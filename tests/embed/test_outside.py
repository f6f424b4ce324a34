"""Encoders that are not read from files: an endpoint, a function, a package's entry point."""

import pickle
import sqlite3
import sys

import numpy as np
import pytest
import torch

import moodlens
from helpers.endpoint import answering
from moodlens.cli.program import call
from moodlens.core import BadInput
from moodlens.embed import EncoderInfo, embed_to_store, encoder_files, encoder_id, get_encoder, plugins, shard
from moodlens.embed.tokens import each_tokens
from moodlens.settings.encoder import EmbeddingEndpoint
from moodlens.settings.study import EncoderSettings, Settings, with_absolute_paths
from moodlens.study.records.embed import Embeddings


def row_of(text: str, width: int = 6) -> list[float]:
    rng = np.random.default_rng(list(text.encode()))
    return rng.standard_normal(width).astype(np.float32).tolist()


def answered(body, _n):
    width = body.get("dimensions", 6)
    data = [{"index": i, "embedding": row_of(text, width)} for i, text in enumerate(body["input"])]
    return 200, {"data": data[::-1], "usage": {"total_tokens": 10 * len(data)}}


@pytest.fixture
def endpoint():
    with answering(answered) as server:
        yield server


@pytest.fixture
def settings(endpoint, tmp_path):
    def make(**more) -> EmbeddingEndpoint:
        given = {"url": endpoint.url, "max_tokens": 1000, "cache": str(tmp_path / "kept.sqlite"), "pause": 0}
        return EmbeddingEndpoint(**given | more)

    return make


TEXTS = ["a calm waltz", "loud drums", "a calm waltz", "rain on the window", "grief"]


def test_rows_come_in_batches_in_order_and_once(endpoint, settings, monkeypatch):
    monkeypatch.setenv("THE_KEY", "s3cret")
    encoder = get_encoder("api:tiny-embed", api=settings(batch=2, key_env="THE_KEY"))
    x = encoder.encode(TEXTS)
    np.testing.assert_allclose(x, [row_of(text) for text in TEXTS], rtol=1e-6)
    sent = [body["input"] for _, _, body in endpoint.asked]
    assert sorted(map(len, sent)) == [2, 2]
    assert sorted(text for texts in sent for text in texts) == sorted(set(TEXTS))
    path, key, body = endpoint.asked[0]
    assert (path, key, body["model"]) == ("/v1/embeddings", "Bearer s3cret", "tiny-embed")
    assert encoder.told == f"{endpoint.url}/embeddings: 4 texts were sent, 40 tokens as it counts them"
    assert encoder.info() == EncoderInfo(
        encoder="api:tiny-embed",
        revision=endpoint.url,
        d_in=6,
        pooling="own",
        max_length=8000,
        long_texts="parts",
        dtype="float32",
        by_token=False,
    )


def test_nothing_is_paid_for_twice(endpoint, settings):
    get_encoder("api:tiny", api=settings()).encode(TEXTS)
    n = len(endpoint.asked)
    again = get_encoder("api:tiny", api=settings(max_tokens=0))
    np.testing.assert_allclose(again.encode(TEXTS), [row_of(text) for text in TEXTS], rtol=1e-6)
    assert len(endpoint.asked) == n, "a kept row was sent again"
    assert "nothing was sent" in again.told
    get_encoder("api:other", api=settings()).encode(TEXTS[:1])
    assert len(endpoint.asked) == n + 1, "another model's rows are not this one's"
    assert get_encoder("api:tiny", api=settings(dimensions=3)).encode(TEXTS[:1]).shape == (1, 3)


def test_what_would_be_sent_is_said_before_anything_is(endpoint, settings, tmp_path):
    encoder = get_encoder("api:tiny", api=settings(max_tokens=0, price=20.0))
    with pytest.raises(BadInput) as error:
        embed_to_store(encoder, TEXTS, tmp_path / "store")
    line = str(error.value)
    assert "would send 5 texts, about 15 tokens (cost 0.0003 at 20 a million)" in line
    assert "set encoder.api.max_tokens to 15 or more" in line
    assert not endpoint.asked
    allowed = get_encoder("api:tiny", api=settings(max_tokens=15, price=20.0))
    _, report = embed_to_store(allowed, TEXTS, tmp_path / "store", dtype="float32")
    assert report.told.endswith("5 texts were sent, 50 tokens as it counts them (cost 0.001 at 20 a million)")
    assert Embeddings(n=5, n_equal=0, texts=report).remarks[-1] == report.told


def test_a_busy_endpoint_is_asked_again_and_what_came_is_kept(endpoint, settings):
    endpoint.script = lambda body, n: (429, {"error": "slow down"}) if n == 1 else answered(body, n)
    get_encoder("api:tiny", api=settings()).encode(TEXTS[:2])
    assert len(endpoint.asked) == 2
    endpoint.script = lambda body, n: (500, {}) if "grief" in body["input"] else answered(body, n)
    with pytest.raises(BadInput, match=r"/v1/embeddings: answered 500 .* after 2 attempts; check url"):
        get_encoder("api:tiny", api=settings(batch=1, parallel=1, retries=1)).encode(["joy", "grief"])
    endpoint.script = answered
    seen = len(endpoint.asked)
    get_encoder("api:tiny", api=settings()).encode(["joy", "grief"])
    assert [body["input"] for _, _, body in endpoint.asked[seen:]] == [["grief"]]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html>"), "not JSON"),
        ((200, b"\x1f\x8b\x08"), "not JSON"),
        ((200, b"[" * 100_000), "not JSON"),
        ((200, {"error": {"message": "no"}}), "holds no embeddings"),
        ((200, {"data": [{"index": 0, "embedding": [1.0]}]}), "answered 1 rows for 2 texts"),
        ((200, {"data": [{"index": i, "embedding": [float("nan")]} for i in range(2)]}), "or broken ones"),
        ((200, {"data": [{"index": i, "embedding": [1.0] * (i + 1)} for i in range(2)]}), "or broken ones"),
        ((401, {}), "answered 401"),
    ],
)
def test_bad_answers_are_one_line(answer, said, endpoint, settings):
    endpoint.script = lambda body, n: answer
    with pytest.raises(BadInput, match=said) as error:
        get_encoder("api:tiny", api=settings(retries=0)).encode(TEXTS[:2])
    assert "\n" not in str(error.value)


def test_long_texts_are_split_or_cut_here_because_an_endpoint_does_not_say(endpoint, settings):
    long = "happy " * 40
    parts = get_encoder("api:tiny", api=settings(max_characters=100))
    reading = parts.read(["sad", long])
    assert reading.n_tokens.tolist() == [3, 240]
    assert max(map(len, reading.pieces)) <= 100
    assert " ".join(reading.pieces[1:]).split() == long.split()
    rows = np.array([row_of(piece) for piece in reading.pieces[1:]])
    expected = rows.T @ reading.sizes[1:]
    np.testing.assert_allclose(parts.encode(["sad", long])[1], expected, rtol=1e-5)
    cut = get_encoder("api:tiny", api=settings(max_characters=100), long_texts="cut")
    assert cut.read([long]).pieces == (" ".join(["happy"] * 16),), "all that can be read at once"
    assert cut.read(["sad", long]).n_cut.tolist() == [0, 240 - 95]
    with pytest.raises(BadInput, match=r"row 1 has 240 characters, and encoder api:tiny reads 100"):
        get_encoder("api:tiny", api=settings(max_characters=100), long_texts="error").read(["sad", long])
    assert cut.read(["x" * 250]).pieces[0] == "x" * 100


def test_rows_of_two_models_are_not_mixed(endpoint, settings):
    first = get_encoder("api:tiny", api=settings())
    assert first.d_in == 6, "the row of a word is kept"
    first.encode(TEXTS[:2])
    again = get_encoder("api:tiny", api=settings())
    np.testing.assert_allclose(again.encode(TEXTS), [row_of(text) for text in TEXTS], rtol=1e-6)
    assert "3 texts were sent" in again.told, "two new ones, and the word that is compared"
    for width in (6, 3):

        def other(body, _n, width=width):
            rows = [[-x for x in row_of(text, width)] for text in body["input"]]
            return 200, {"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]}

        endpoint.script = other
        assert len(get_encoder("api:tiny", api=settings()).encode(TEXTS)) == 5, "nothing has to be sent"
        said = r"/embeddings: gives .* before, so the model behind 'tiny' has changed; name another file"
        with pytest.raises(BadInput, match=said):
            get_encoder("api:tiny", api=settings()).encode(["a new text"])


def test_widths_that_differ_are_one_line(endpoint, settings):
    endpoint.script = lambda body, n: (200, {"data": [{"index": 0, "embedding": row_of("x", n)}]})
    with pytest.raises(
        BadInput, match=r"gives rows of another width, so the model behind 'tiny' has changed"
    ):
        get_encoder("api:tiny", api=settings(batch=1, parallel=1)).encode(TEXTS)


def test_a_damaged_row_is_asked_for_again(settings, tmp_path):
    get_encoder("api:tiny", api=settings()).encode(TEXTS)
    with sqlite3.connect(tmp_path / "kept.sqlite") as db:
        db.execute("UPDATE rows SET row = x'0102'")
    db.close()
    again = get_encoder("api:tiny", api=settings())
    np.testing.assert_allclose(again.encode(TEXTS), [row_of(text) for text in TEXTS], rtol=1e-6)


def test_keys_and_addresses(endpoint, settings, monkeypatch):
    monkeypatch.setenv("THE_KEY", " s3cret\n")
    get_encoder("api:tiny", api=settings(key_env="THE_KEY", url=f"{endpoint.url}/?version=2")).encode(["sad"])
    assert endpoint.asked[0][:2] == ("/v1/embeddings?version=2", "Bearer s3cret")
    for key, said in (("s3\ncret", "holds characters that no key can have"), (" ", "holds no key")):
        monkeypatch.setenv("THE_KEY", key)
        with pytest.raises(BadInput, match=said) as error:
            get_encoder("api:tiny", api=settings(key_env="THE_KEY")).encode(["joy"])
        assert "cret" not in str(error.value)
    with pytest.raises(BadInput, match=r"encoder api:tiny: encoder.api.url holds a password; .* key_env"):
        get_encoder("api:tiny", api=settings(url="http://me:s3cret@127.0.0.1/v1"))


def test_refusals(settings, tmp_path):
    with pytest.raises(BadInput, match=r"encoder api:tiny: say where the endpoint is: encoder.api.url"):
        get_encoder("api:tiny")
    with pytest.raises(BadInput, match=r"has no revision and no pooling"):
        get_encoder("api:tiny", api=settings(), revision="main")
    with pytest.raises(BadInput, match=r"expected minilm, .* or api:MODEL"):
        get_encoder("api:")
    (tmp_path / "broken").write_bytes(b"not a database" * 100)
    with pytest.raises(BadInput, match=r"broken: cannot keep embeddings there .*; delete it"):
        get_encoder("api:tiny", api=settings(cache=str(tmp_path / "broken")))
    assert (encoder_id("api:tiny"), encoder_files("api:tiny")) == ("api:tiny", [])


def test_another_process_makes_the_same_encoder(endpoint, settings):
    encoder = get_encoder("api:tiny", api=settings(), unit=True, long_texts="cut")
    recipe = pickle.loads(pickle.dumps(shard.recipe_of(encoder)))
    again = shard._made(recipe)
    assert again is not encoder
    assert again.info() == encoder.info()
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def test_a_model_is_no_folder(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert with_absolute_paths(Settings(encoder=EncoderSettings(id="api:tiny"))).encoder.id == "api:tiny"


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(plugins, "_OWN", {})
    seen: list[list[str]] = []

    def rows(texts: list[str]) -> list[list[float]]:
        seen.append(texts)
        return [row_of(text) for text in texts]

    moodlens.add_encoder("mine", rows, revision="1")
    return seen


def test_a_function_is_an_encoder(own):
    encoder = get_encoder("mine")
    assert (encoder.id, encoder.revision, encoder.d_in) == ("mine", "1", 6)
    np.testing.assert_allclose(encoder.encode(TEXTS), [row_of(text) for text in TEXTS], rtol=1e-6)
    assert own[-1] == ["a calm waltz", "loud drums", "rain on the window", "grief"]
    unit = get_encoder("mine", unit=True)
    np.testing.assert_allclose(np.linalg.norm(unit.encode(TEXTS), axis=1), 1, atol=1e-6)
    assert unit.info().unit is True


def test_each_text_counts_as_one_token(own):
    encoder = get_encoder("mine")
    (block,) = each_tokens(encoder, TEXTS)
    np.testing.assert_array_equal(block.values, encoder.encode(TEXTS))
    assert block.offsets.tolist() == [0, 1, 2, 3, 4, 5]
    assert block.special.all(), "no word may claim it"
    (read,) = each_tokens(encoder, TEXTS, lambda rows: rows[:, :2])
    np.testing.assert_array_equal(read.values, encoder.encode(TEXTS)[:, :2])
    with pytest.raises(BadInput, match=r"encoder mine: gives one row for a text and none for its tokens"):
        encoder.encode_tokens(TEXTS)


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (lambda texts: "no", "gave no numbers"),
        (lambda texts: torch.ones((len(texts), 3), requires_grad=True), "gave no numbers.* requires grad"),
        (lambda texts: np.ones((len(texts), 3), dtype=complex), "gave no numbers.* complex"),
        (lambda texts: np.zeros((1, 3)), r"gave shape \(1, 3\) for 2 texts"),
        (lambda texts: np.full((len(texts), 3), np.nan), "row of text 0 is not finite"),
    ],
)
def test_what_a_function_gives_is_checked(gives, said, monkeypatch):
    monkeypatch.setattr(plugins, "_OWN", {})
    moodlens.add_encoder("mine", gives, revision="1")
    with pytest.raises(BadInput, match=said):
        get_encoder("mine").encode(TEXTS[:2])


def test_what_a_function_raises_is_one_line_and_its_own_error_the_cause(monkeypatch):
    monkeypatch.setattr(plugins, "_OWN", {})
    raised = KeyError("no such\nvoice")

    def fails(texts: list[str]):
        raise raised

    moodlens.add_encoder("mine", fails, revision="1")
    with pytest.raises(BadInput, match=r"encoder mine: its function raised KeyError: 'no such") as caught:
        get_encoder("mine").encode(TEXTS)
    assert caught.value.__cause__ is raised
    assert "\n" not in str(caught.value)
    moodlens.add_encoder("counted", row_of, revision="1", count=lambda texts: 1 // 0)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="encoder counted: its function raised ZeroDivisionError: integer"):
        get_encoder("counted").read(TEXTS)


def test_what_a_function_raises_is_one_line_of_the_command_line(tmp_path, monkeypatch, capfd):
    def fails(texts: list[str]):
        raise TimeoutError

    monkeypatch.setattr(plugins, "_OWN", {})
    moodlens.add_encoder("mine", fails, revision="1")
    table = tmp_path / "texts.csv"
    table.write_text("text\n" + "".join(f"song {i}\n" for i in range(20)))
    capfd.readouterr()
    arguments = ["embed", str(table), "--text-column", "text", "--out", str(tmp_path / "out")]
    assert call([*arguments, "--set", "encoder.id=mine"]) == 2
    out, error = capfd.readouterr()
    assert (out, error) == ("", "moodlens: encoder mine: its function raised TimeoutError\n")


def test_names_of_functions(own):
    for name in ("minilm", "api", "a:b", ""):
        with pytest.raises(BadInput, match="none of moodlens' own names"):
            moodlens.add_encoder(name, len, revision="1")
    with pytest.raises(BadInput, match="needs a revision"):
        moodlens.add_encoder("other", len, revision="")
    with pytest.raises(BadInput, match="max_length is 0; expected a number from 1"):
        moodlens.add_encoder("other", len, revision="1", max_length=0)
    moodlens.add_encoder("other", len, revision="1", count=lambda texts: [1])
    with pytest.raises(BadInput, match=r"count gave shape \(1,\) for 4 texts"):
        get_encoder("other").read(TEXTS)
    with pytest.raises(BadInput, match="takes no argument; write mine"):
        get_encoder("mine:x")


def test_a_package_brings_an_encoder(tmp_path, monkeypatch):
    info = tmp_path / "their_encoders-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-encoders\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(
        "[moodlens.encoders]\ntheirs = their_module:load\nbad = their_module:gone\n"
    )
    (tmp_path / "their_module.py").write_text(
        "def load(name):\n"
        "    def rows(texts):\n"
        "        return [[len(text), len(name), 1.0] for text in texts]\n"
        "    rows.count = lambda texts: [len(text.split()) for text in texts]\n"
        "    rows.max_length = 3\n"
        "    return rows\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    encoder = get_encoder("theirs:big")
    assert (encoder.revision, encoder.counts) == ("their_module:load 2.5", "tokens")
    assert encoder.encode(["loud drums"]).tolist() == [[10.0, 3.0, 1.0]]
    assert encoder.read(["one two three four"]).pieces == ("one two", "three four")
    with pytest.raises(BadInput, match=r"encoder bad: their_module:gone cannot be loaded"):
        get_encoder("bad")
    with pytest.raises(BadInput, match=r"or theirs$"):
        get_encoder("nobodys")
    sys.modules.pop("their_module", None)
