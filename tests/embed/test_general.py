"""The general path: any checkpoint of transformers and sentence-transformers, beside the packed models on the same weights."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.tiny_clap import save_tiny_clap
from helpers.tiny_music import WORDS, word_tokenizer
from moodlens.core import BadInput
from moodlens.embed import encoder, encoder_files, get_encoder
from moodlens.embed.encoders import ENCODERS, encoder_id
from moodlens.embed.vectors import VectorEncoder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    """The bundled MiniLM as a checkpoint of sentence-transformers."""
    return encoder_files("minilm")[0].parent


def plain(spec, **more):
    return get_encoder(spec, dtype="float32", device="cpu", **more)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_hf_gives_the_rows_of_the_packed_minilm(minilm, folder, texts):
    general = plain(f"hf:{folder}", pooling="mean", max_length=256)
    long = [*texts, "a lonely waltz with soft strings " * 60]
    assert (general.read(long).n_tokens == minilm.read(long).n_tokens).all()
    np.testing.assert_allclose(general.encode(long), minilm.encode(long), atol=1e-5, rtol=0)


def test_hf_gives_the_rows_of_the_packed_t5(tiny_t5, texts):
    packed, general = plain(f"t5:{tiny_t5}"), plain(f"hf:{tiny_t5}", pooling="mean")
    np.testing.assert_allclose(general.encode(texts), packed.encode(texts), atol=1e-5, rtol=0)


def test_st_gives_the_rows_of_the_packed_minilm_and_of_the_library(minilm, folder, texts):
    from sentence_transformers import SentenceTransformer

    general = plain(f"st:{folder}")
    assert general.info().differs(minilm.info(), "encoder", "revision") == "unit"
    assert general.info().differs(minilm.info(), "encoder", "revision", "unit") is None
    x = general.encode(texts)
    np.testing.assert_allclose(x, unit(minilm.encode(texts)), atol=1e-5, rtol=0)
    library = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(x, library.encode(texts, show_progress_bar=False), atol=1e-5, rtol=0)
    raw = plain(f"st:{folder}", unit=False)
    assert raw.info().differs(minilm.info(), "encoder", "revision") is None
    np.testing.assert_allclose(raw.encode(texts), minilm.encode(texts), atol=1e-5, rtol=0)


def test_token_states_of_unit_rows_average_to_them(folder):
    encoder = plain("minilm", unit=True, max_length=8)
    texts = ["a calm waltz", "loud drums under a lonely voice " * 3]
    states, offsets = encoder.encode_tokens(texts)
    means = np.stack([states[a:b].mean(0) for a, b in itertools.pairwise(offsets)])
    np.testing.assert_allclose(means, encoder.encode(texts), atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=1e-5)


def test_st_with_further_layers_gives_the_librarys_rows(folder, tmp_path, texts):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    torch.manual_seed(0)
    body = Transformer(str(folder))
    model = SentenceTransformer(
        modules=[body, Pooling(384, "cls"), Dense(384, 24, activation_function=torch.nn.Tanh()), Normalize()],
        device="cpu",
    )
    model.save(str(tmp_path / "dense"))
    mine = plain(f"st:{tmp_path / 'dense'}")
    short = [text for text in texts if len(text) < 200]
    assert (mine.d_in, mine.pooling, mine.by_token) == (24, "cls", False)
    np.testing.assert_allclose(mine.encode(short), model.encode(short, show_progress_bar=False), atol=1e-5)


def test_st_of_another_make_is_run_by_the_library(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    model = SentenceTransformer(modules=[StaticEmbedding(word_tokenizer(), embedding_dim=12)], device="cpu")
    model.save(str(tmp_path / "static"))
    mine = plain(f"st:{tmp_path / 'static'}")
    texts = ["sad piano", "happy drums", "sad piano"]
    assert isinstance(mine, VectorEncoder)
    np.testing.assert_allclose(mine.encode(texts), model.encode(texts, show_progress_bar=False), atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_hf_pools_as_it_is_told(pooling, folder):
    from transformers import BertModel

    texts = ["a calm waltz", "loud drums under a lonely voice"]
    mine, tokenizer = plain(f"hf:{folder}", pooling=pooling), plain("minilm")._reader._tokenizer
    model = BertModel.from_pretrained(folder).eval()
    for text, row in zip(texts, mine.encode(texts), strict=True):
        with torch.inference_mode():
            states = model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        np.testing.assert_allclose(row, states[0 if pooling == "cls" else -1], atol=1e-5)
    assert not mine.by_token


@pytest.fixture
def tiny_t5gemma(tmp_path) -> Path:
    from transformers import T5GemmaConfig, T5GemmaModel, T5GemmaModuleConfig

    half = {
        "vocab_size": len(WORDS) + 3,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "sliding_window": 64,
        "layer_types": ["full_attention"] * 2,
    }
    torch.manual_seed(0)
    whole = T5GemmaModel(
        T5GemmaConfig(encoder=T5GemmaModuleConfig(**half), decoder=T5GemmaModuleConfig(**half))
    )
    whole.save_pretrained(tmp_path / "t5gemma")
    word_tokenizer().save(str(tmp_path / "t5gemma" / "tokenizer.json"))
    return tmp_path / "t5gemma"


def test_t5gemma_is_the_encoder_of_the_whole(tiny_t5gemma):
    from transformers import T5GemmaModel

    texts = ["sad piano", "happy drums and calm strings"]
    mine = plain(f"t5gemma:{tiny_t5gemma}")
    assert (mine.d_in, mine.pooling, mine.max_length) == (16, "mean", 64)
    whole = T5GemmaModel.from_pretrained(tiny_t5gemma).eval()
    for text, row in zip(texts, mine.encode(texts), strict=True):
        with torch.inference_mode():
            ids = torch.tensor([word_tokenizer().encode(text).ids])
            states = whole.get_encoder()(input_ids=ids).last_hidden_state[0]
        np.testing.assert_allclose(row, states.mean(0), atol=1e-5)


def test_clap_gives_the_features_of_the_whole_model(tmp_path):
    from transformers import ClapModel

    folder = save_tiny_clap(tmp_path / "clap")
    mine, texts = plain(f"clap:{folder}"), ["sad piano", "happy drums and calm strings"]
    assert (mine.d_in, mine.pooling, mine.unit, mine.by_token) == (16, "cls", True, False)
    model = ClapModel.from_pretrained(folder).eval()
    for text, row in zip(texts, mine.encode(texts), strict=True):
        with torch.inference_mode():
            ids = torch.tensor([word_tokenizer().encode(text).ids])
            expected = model.get_text_features(
                input_ids=ids, attention_mask=torch.ones_like(ids)
            ).pooler_output
        np.testing.assert_allclose(row, expected[0], atol=1e-5)


def test_what_is_cut_is_counted(folder):
    cut = plain(f"hf:{folder}", pooling="mean", max_length=6, long_texts="cut")
    assert cut.read(["sad", "piano " * 30]).n_cut.tolist() == [0, 26]
    with pytest.raises(BadInput, match=r"row 1 has 32 tokens"):
        plain(f"st:{folder}", max_length=6, long_texts="error").read(["sad", "piano " * 30])


def test_bfloat16_is_held_against_float32_here_too(monkeypatch, folder, texts):
    monkeypatch.setattr(encoder, "has_fast_bfloat16", lambda: True)
    auto = get_encoder(f"hf:{folder}", pooling="mean", device="cpu")
    assert auto.dtype == "bfloat16"
    auto.encode(texts[:4])
    assert (auto.dtype, auto.dtype_note) == ("bfloat16", "")
    monkeypatch.setattr(encoder, "LEAST_COSINE", 1.1)
    doubtful = get_encoder(f"hf:{folder}", pooling="mean", device="cpu")
    x = doubtful.encode(texts[:4])
    assert doubtful.dtype == "float32"
    assert "float32 was taken" in doubtful.dtype_note
    np.testing.assert_array_equal(x, plain(f"hf:{folder}", pooling="mean").encode(texts[:4]))


def copied(folder: Path, to: Path, **config) -> Path:
    shutil.copytree(folder, to)
    path = to / "config.json"
    if config:
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return to


def test_hf_reads_case_and_accents_as_tokenizer_config_says(folder, tmp_path):
    from transformers import AutoTokenizer, BertModel

    cased = copied(folder, tmp_path / "cased")
    path = cased / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))
    text = "LOUD, Happy drums under \u00c9t\u00e9"
    tokenizer, model = AutoTokenizer.from_pretrained(cased), BertModel.from_pretrained(cased).eval()
    with torch.inference_mode():
        expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
    row = plain(f"hf:{cased}", pooling="mean").encode([text])[0]
    np.testing.assert_allclose(row, expected, atol=1e-5)
    assert np.abs(row - plain(f"hf:{folder}", pooling="mean").encode([text])[0]).max() > 0.05


def tiny(to: Path, config) -> Path:
    """A model of random weights for the words of the tests."""
    from transformers import AutoModel

    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(to)
    word_tokenizer().save(str(to / "tokenizer.json"))
    return to


SMALL = {"vocab_size": len(WORDS) + 3, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}


def test_a_row_does_not_depend_on_the_texts_beside_it_where_the_model_reads_padding(tmp_path):
    from transformers import FNetConfig, FNetModel

    folder = tiny(tmp_path / "fnet", FNetConfig(**SMALL))
    mine, model = plain(f"hf:{folder}", pooling="mean"), FNetModel.from_pretrained(folder).eval()
    texts = ["sad piano", "happy drums and calm guitar with a dark slow melody", "jazz"]
    for text, row in zip(texts, mine.encode(texts), strict=True):
        with torch.inference_mode():
            states = model(torch.tensor([word_tokenizer().encode(text).ids])).last_hidden_state[0]
        np.testing.assert_allclose(row, states.mean(0), atol=1e-5)


def test_positions_that_begin_behind_the_paddings_are_not_all_there(tmp_path):
    from transformers import RobertaConfig

    config = RobertaConfig(**SMALL, num_attention_heads=2, max_position_embeddings=20, pad_token_id=1)
    mine = plain(f"hf:{tiny(tmp_path / 'roberta', config)}", pooling="mean")
    assert mine.max_length == 18
    assert mine.encode(["sad piano " * 30]).shape == (1, 16)


def test_a_model_that_cannot_be_run_on_texts_is_one_line(tmp_path):
    from transformers import NystromformerConfig

    config = NystromformerConfig(**SMALL, num_attention_heads=2, segment_means_seq_len=8, num_landmarks=4)
    with pytest.raises(BadInput, match=r"NystromformerModel cannot be run on texts: shape"):
        plain(f"hf:{tiny(tmp_path / 'nystrom', config)}", pooling="mean")


def test_st_of_fewer_dimensions_is_what_the_library_gives(folder, tmp_path, texts):
    from sentence_transformers import SentenceTransformer

    short = copied(folder, tmp_path / "short")
    path = short / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncate_dim": 64}))
    few = [text for text in texts if len(text) < 200]
    expected = SentenceTransformer(str(short), device="cpu").encode(few, show_progress_bar=False)
    mine = plain(f"st:{short}")
    assert (mine.d_in, mine.unit) == (64, False)
    np.testing.assert_allclose(mine.encode(few), expected, atol=1e-6)


def test_tokens_of_a_prompt_are_not_there_for_texts(folder, tmp_path):
    asking = copied(folder, tmp_path / "asking")
    path = asking / "config_sentence_transformers.json"
    more = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    mine = plain(f"st:{asking}", long_texts="cut")
    assert mine.max_length == 254
    assert mine.read(["piano " * 253]).n_cut.tolist() == [1]


def test_refusals(folder, tmp_path, tiny_t5):
    with pytest.raises(
        BadInput, match=r"encoder hf:.*: say how its token states become one row: encoder.pooling"
    ):
        plain(f"hf:{folder}")
    with pytest.raises(BadInput, match=r"its pooling is mean; leave encoder.pooling out"):
        plain(f"st:{folder}", pooling="cls")
    with pytest.raises(BadInput, match=r"its pooling is mean"):
        plain("minilm", pooling="last")
    with pytest.raises(BadInput, match=r"no modules.json, so it does not say how it pools; use hf:NAME"):
        plain(f"st:{tiny_t5}")
    with pytest.raises(BadInput, match=r"model_type is 't5'; expected t5gemma"):
        plain(f"t5gemma:{tiny_t5}")
    deep = copied(folder, tmp_path / "deep", num_hidden_layers=7)
    with pytest.raises(BadInput, match=r"weights are missing or of another shape \(encoder.layer.6"):
        plain(f"hf:{deep}", pooling="mean")
    wide = copied(folder, tmp_path / "wide", intermediate_size=99)
    with pytest.raises(BadInput, match=r"encoder hf:.*wide: .* weights are missing or of another shape"):
        plain(f"hf:{wide}", pooling="mean")


def test_code_of_a_checkpoint_is_never_run(folder, tmp_path):
    proof = tmp_path / "ran"
    evil = copied(
        folder,
        tmp_path / "evil",
        model_type="evil",
        auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
    )
    (evil / "evil.py").write_text(f"open({str(proof)!r}, 'w')\n")
    for spec in (f"hf:{evil}", f"st:{evil}"):
        with pytest.raises(BadInput) as error:
            plain(spec, **({"pooling": "mean"} if spec.startswith("hf") else {}))
        assert "\n" not in str(error.value)
    assert not proof.exists()


def test_weights_and_settings_decide_the_revision(folder, tmp_path):
    mean = plain(f"st:{folder}").revision
    other = copied(folder, tmp_path / "other")
    assert plain(f"st:{other}").revision == mean
    assert encoder_id(f"st:{other}") == f"st:{other}"
    pooling = other / "1_Pooling" / "config.json"
    pooling.write_text(
        pooling.read_text().replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true')
    )
    assert pooling in encoder_files(f"st:{other}")
    pooling.write_text(
        pooling.read_text().replace('"pooling_mode_mean_tokens": true', '"pooling_mode_mean_tokens": false')
    )
    changed = plain(f"st:{other}")
    assert changed.pooling == "cls"
    assert changed.revision != mean


def test_a_vocabulary_decides_the_revision_where_there_is_no_tokenizer_json(folder, tmp_path):
    spec = f"hf:{copied(folder, tmp_path / 'older')}"
    (tmp_path / "older" / "tokenizer.json").unlink()
    first = plain(spec, pooling="mean").revision
    vocabulary = tmp_path / "older" / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text().replace("\nsong\n", "\nsongg\n"))
    assert plain(spec, pooling="mean").revision != first


def test_every_kind_says_where_it_is_loaded():
    import importlib

    for kind in ENCODERS.values():
        assert callable(getattr(importlib.import_module(kind.module), kind.loader))
