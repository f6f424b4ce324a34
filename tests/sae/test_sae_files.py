"""SAEs on disk: SAELens' layout, round trips and damage."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.sae_loop import ARCHITECTURES, quick
from moodlens.core import BadInput
from moodlens.sae import (
    SAE,
    encode_rows,
    jsonl_writer,
    load_sae,
    read_history,
    save_sae,
    train,
    write_history,
)

ON_DISK = {"l1": "standard", "topk": "topk", "batchtopk": "jumprelu", "matryoshka": "jumprelu"}


@pytest.fixture(scope="module")
def trained(small):
    return {a: train(*small, quick(a, epochs=4), seed=0) for a in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_layout_is_saelens(trained, tmp_path, architecture):
    save_sae(trained[architecture].sae, tmp_path / "sae", {"encoder_id": "minilm"})
    assert sorted(p.name for p in (tmp_path / "sae").iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    config = json.loads((tmp_path / "sae/cfg.json").read_text())
    assert config["architecture"] == ON_DISK[architecture]
    expected = {
        "dtype": "float32",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "d_in": 12,
        "d_sae": 24,
    }
    assert {key: config[key] for key in expected} == expected
    assert config["metadata"]["sae_lens_version"] == "6.18.0"
    tensors = load_file(tmp_path / "sae/sae_weights.safetensors")
    shapes = {"W_enc": (12, 24), "W_dec": (24, 12), "b_enc": (24,), "b_dec": (12,)}
    if ON_DISK[architecture] == "jumprelu":
        shapes["threshold"] = (24,)
        assert "k" not in config
    assert {name: tuple(t.shape) for name, t in tensors.items()} == shapes
    assert all(t.dtype == torch.float32 for t in tensors.values())
    if architecture == "topk":
        assert config["k"] == 3
        assert config["rescale_acts_by_decoder_norm"] is False


def test_the_size_of_the_core_travels(trained, tmp_path):
    sae = load_sae(_saved(trained["l1"].sae, tmp_path / "whole"))
    assert sae.core_size == sae.d_sae
    sae.core_size = 5
    assert load_sae(_saved(sae, tmp_path / "part")).core_size == 5
    config = json.loads((tmp_path / "part/cfg.json").read_text())
    for wrong in (-1, 25, "5", True):
        config["metadata"]["core_size"] = wrong
        (tmp_path / "part/cfg.json").write_text(json.dumps(config))
        with pytest.raises(BadInput, match="core_size"):
            load_sae(tmp_path / "part")


def _saved(sae, folder):
    save_sae(sae, folder)
    return folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_the_files_say_by_hand(trained, small, tmp_path, architecture):
    """The formulas of SAELens applied with numpy to the raw tensors give our codes."""
    save_sae(trained[architecture].sae, tmp_path)
    t = {
        name: tensor.numpy().astype(np.float64)
        for name, tensor in load_file(tmp_path / "sae_weights.safetensors").items()
    }
    x = small[1].astype(np.float64)
    pre = (x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    codes = np.maximum(pre, 0)
    if ON_DISK[architecture] == "jumprelu":
        codes = codes * (pre > t["threshold"])
    if architecture == "topk":
        codes = codes * (pre >= np.sort(pre, axis=1)[:, [-3]])
    assert encode_rows(trained[architecture].sae, small[1]) == pytest.approx(codes, abs=1e-5)
    for few in (np.array([5, 0, 2]), np.array([], dtype=int)):
        found = encode_rows(trained[architecture].sae, small[1], features=few, chunk=7)
        assert found == pytest.approx(codes[:, few], abs=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_round_trip_is_exact(trained, small, tmp_path, architecture):
    sae = trained[architecture].sae
    save_sae(sae, tmp_path, {"encoder_id": "minilm", "names": {"3": "joy"}})
    back = load_sae(tmp_path, encoder_id="minilm")
    assert np.array_equal(encode_rows(back, small[1]), encode_rows(sae, small[1]))
    assert back.settings == sae.settings
    assert back.metadata["names"] == {"3": "joy"}
    save_sae(back, tmp_path / "again")
    assert load_sae(tmp_path / "again").metadata == back.metadata
    assert (tmp_path / "again/sae_weights.safetensors").read_bytes() == (
        tmp_path / "sae_weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saelens_loads_it_and_agrees(trained, small, tmp_path, architecture):
    sae_lens = pytest.importorskip(
        "sae_lens", reason="sae-lens is not installed (pip install 'moodlens[saelens]')"
    )
    save_sae(trained[architecture].sae, tmp_path, {"encoder_id": "minilm"})
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path))
    x = torch.from_numpy(small[1])
    with torch.no_grad():
        ours = trained[architecture].sae
        assert torch.allclose(theirs.encode(x), ours.encode(x), atol=1e-5)
        assert torch.allclose(theirs(x), ours(x), atol=1e-5)
    assert theirs.cfg.metadata["encoder_id"] == "minilm"
    theirs.save_model(str(tmp_path / "theirs"))
    again = load_sae(tmp_path / "theirs", encoder_id="minilm")
    assert np.array_equal(encode_rows(again, small[1]), encode_rows(ours, small[1]))


def test_a_wrong_encoder_is_an_error(trained, tmp_path):
    save_sae(trained["topk"].sae, tmp_path, {"encoder_id": "minilm"})
    with pytest.raises(BadInput, match="'minilm', not of 't5:google-t5/t5-base'"):
        load_sae(tmp_path, encoder_id="t5:google-t5/t5-base")


@pytest.mark.parametrize("where", [0, 9, 300, 1500, -1])
def test_one_flipped_bit_is_an_error(trained, tmp_path, where):
    save_sae(trained["batchtopk"].sae, tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match="damaged"):
        load_sae(tmp_path)


def test_truncated_or_missing_weights_are_an_error(trained, tmp_path):
    save_sae(trained["batchtopk"].sae, tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInput, match="damaged"):
        load_sae(tmp_path)
    edit(tmp_path, lambda c: c["metadata"].pop("weights_sha256"))
    with pytest.raises(BadInput, match="not a readable safetensors"):
        load_sae(tmp_path)
    path.unlink()
    with pytest.raises(BadInput, match="no such file"):
        load_sae(tmp_path)


def edit(dir, change):
    config = json.loads((dir / "cfg.json").read_text())
    change(config)
    (dir / "cfg.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("k"), "needs an integer k"),
        (lambda c: c.update(architecture="gated"), "'gated' is not one of"),
        (lambda c: c.update(architecture="standard", d_sae=7), "cfg.json says"),
        (lambda c: c.update(architecture="jumprelu"), "expected .*threshold"),
        (lambda c: c.update(normalize_activations="layer_norm"), "layer_norm"),
        (lambda c: c.update(k=99), "between 1 and d_sae"),
    ],
)
def test_a_configuration_we_cannot_run_exactly_is_an_error(trained, tmp_path, change, message):
    save_sae(trained["topk"].sae, tmp_path)
    edit(tmp_path, change)
    with pytest.raises(BadInput, match=message):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    "config",
    ["[]", "3", "null", "{}", '{"metadata": []}', '{"architecture": ["topk"], "k": 3}', "{", "\\xff"],
)
def test_a_configuration_that_is_none_is_one_line(trained, tmp_path, config):
    save_sae(trained["topk"].sae, tmp_path)
    (tmp_path / "cfg.json").write_text(config)
    with pytest.raises(BadInput, match=r"cfg\.json"):
        load_sae(tmp_path)


def nan(t):
    t["W_dec"][3, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan, "W_dec holds NaN or infinity"),
        (lambda t: t.update(W_dec=t["W_dec"].T.contiguous()), "W_dec has shape .12, 24., cfg.json says .24, 12."),
        (lambda t: t.update(b_enc=torch.zeros(1)), "b_enc has shape .1,., cfg.json says .24,."),
        (lambda t: t.update(b_dec=torch.zeros(())), "b_dec has shape"),
        (lambda t: t.update(W_enc=torch.zeros(12)), "W_enc has shape"),
        (lambda t: t.update(threshold=torch.zeros(7)), "threshold has shape"),
        (lambda t: t.pop("b_dec"), "holds .*expected"),
        (lambda t: t.update(more=torch.zeros(3)), "holds .*expected"),
    ],
)  # fmt: skip
def test_weights_that_are_not_what_the_configuration_says_are_one_line(trained, tmp_path, change, message):
    save_sae(trained["batchtopk"].sae, tmp_path)
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    edit(tmp_path, lambda c: c["metadata"].pop("weights_sha256"))
    with pytest.raises(BadInput, match=message):
        load_sae(tmp_path)


def test_an_sae_without_features_is_none(tmp_path, trained):
    save_sae(trained["l1"].sae, tmp_path)
    shapes = {"W_enc": (12, 0), "W_dec": (0, 12), "b_enc": (0,), "b_dec": (12,)}
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    edit(tmp_path, lambda c: (c["metadata"].pop("weights_sha256"), c.update(d_sae=0)))
    with pytest.raises(BadInput, match="W_enc has shape"):
        load_sae(tmp_path)


@pytest.mark.parametrize("cut", [0, 4, 8, 60, 900, -1])
def test_a_file_that_ends_too_early_is_one_line(trained, tmp_path, cut):
    save_sae(trained["l1"].sae, tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    edit(tmp_path, lambda c: c["metadata"].pop("weights_sha256"))
    with pytest.raises(BadInput, match="not a readable safetensors"):
        load_sae(tmp_path)


def test_settings_of_another_program_are_one_line(trained, tmp_path):
    save_sae(trained["l1"].sae, tmp_path)
    for settings in ({"d_head": 3}, [1], "x"):
        edit(tmp_path, lambda c, s=settings: c["metadata"].update(moodlens_settings=s))
        with pytest.raises(BadInput, match="moodlens_settings"):
            load_sae(tmp_path)


def test_other_conventions_of_saelens_are_folded(trained, small, tmp_path):
    sae = trained["topk"].sae
    x = torch.from_numpy(small[1])
    save_sae(sae, tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    tensors = load_file(path)
    # pre = x @ W_enc + b_enc (nothing subtracted), and codes scaled by the norm of free decoder rows.
    norm = torch.linspace(0.5, 2, 24)
    tensors["b_enc"] = (tensors["b_enc"] - tensors["b_dec"] @ tensors["W_enc"]) / norm
    tensors["W_enc"] = tensors["W_enc"] / norm
    tensors["W_dec"] = tensors["W_dec"] * norm[:, None]
    save_file(tensors, path)

    def change(config):
        config |= {"apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True}
        config["metadata"].pop("weights_sha256")

    edit(tmp_path, change)
    loaded = load_sae(tmp_path)
    with torch.no_grad():
        assert torch.allclose(loaded.encode(x), sae.encode(x), atol=1e-4)
        assert torch.allclose(loaded(x), sae(x), atol=1e-4)


def test_weights_that_do_not_fit_together_are_an_error():
    with pytest.raises(BadInput, match="do not fit"):
        SAE(torch.zeros(3, 5), torch.zeros(5, 4), torch.zeros(5), torch.zeros(3), activation="relu")
    with pytest.raises(BadInput, match="jumprelu takes a threshold"):
        SAE(torch.zeros(3, 5), torch.zeros(5, 3), torch.zeros(5), torch.zeros(3), activation="jumprelu")


def test_rows_of_another_width_are_an_error(trained, small):
    sae = trained["l1"].sae
    with pytest.raises(BadInput, match="11 columns, this SAE was trained on 12"):
        encode_rows(sae, small[1][:, :11])
    hole = small[1].copy()
    hole[4, 0] = np.inf
    with pytest.raises(BadInput, match="row 4"):
        encode_rows(sae, hole, chunk=3)
    with pytest.raises(BadInput, match="numbers"):
        encode_rows(sae, np.array([["a"] * 12]))
    with pytest.raises(BadInput, match=r"shape \(n, d_in\)"):
        encode_rows(sae, small[1][0])
    with pytest.raises(BadInput, match="row 0"):
        encode_rows(sae, np.full((1, 12), 1e300))


def test_history_is_json_lines(trained, small, tmp_path):
    history = trained["l1"].history
    write_history(tmp_path / "h.jsonl", history)
    assert read_history(tmp_path / "h.jsonl") == history
    train(*small, quick("l1", epochs=4), seed=0, on_epoch=jsonl_writer(tmp_path / "live/h.jsonl"))
    assert read_history(tmp_path / "live/h.jsonl") == history
    assert [e.epoch for e in history] == [0, 1, 2, 3]
    for wrong in ('{"epo', "3", "[" * 100_000):
        (tmp_path / "h.jsonl").write_text(history[0].model_dump_json() + "\n" + wrong)
        with pytest.raises(BadInput, match="line 2"):
            read_history(tmp_path / "h.jsonl")
    (tmp_path / "h.jsonl").write_bytes(b'{"epoch": "\xff"}')
    with pytest.raises(BadInput, match="not UTF-8"):
        read_history(tmp_path / "h.jsonl")
