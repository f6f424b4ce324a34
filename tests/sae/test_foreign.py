"""SAEs of other libraries: the codes that the library itself gives, from files that it wrote; one line for all else."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from moodlens.core import BadInput
from moodlens.sae import load_sae, save_sae
from moodlens.sae.foreign import LIBRARIES, read_foreign

DATA = Path(__file__).parents[1] / "data" / "foreign"
NAMES = sorted(path.name for path in DATA.iterdir())


def there(name: str) -> Path:
    folder = DATA / name
    return folder / "sae.pt" if (folder / "sae.pt").is_file() else folder


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_those_of_the_library(name, tmp_path):
    expected = load_file(DATA / name / "expected.safetensors")
    found = read_foreign(there(name))
    assert found.library == name.split("-")[0], "told by the files alone"
    x = expected["x"]
    scale = x.norm(dim=1, keepdim=True) if found.scale == "unit" else torch.ones(len(x), 1)
    with torch.no_grad():
        codes = found.sae.encode(x / scale)
        rebuilt = found.sae.decode(codes) * scale
    assert (expected["codes"] > 0).any()
    assert not torch.equal(expected["codes"], torch.relu(expected["codes"]) * 0)
    torch.testing.assert_close(codes, expected["codes"], atol=1e-5, rtol=0)
    torch.testing.assert_close(rebuilt, expected["rebuilt"], atol=1e-5, rtol=1e-5)
    save_sae(found.sae, tmp_path / "ours")
    with torch.no_grad():
        again = load_sae(tmp_path / "ours").encode(x / scale)
    torch.testing.assert_close(again, expected["codes"], atol=1e-5, rtol=0)


def test_five_libraries_are_covered():
    assert {name.split("-")[0] for name in NAMES} == set(LIBRARIES)


def test_the_norm_that_a_library_wants_is_known():
    scales = {name: read_foreign(there(name)).scale for name in NAMES}
    assert {name for name, scale in scales.items() if scale == "unit"} == {
        name for name in NAMES if name.startswith("latentsae") or name == "saelens-of-one-norm"
    }
    assert read_foreign(there("hypothesaes-topk"), scale="unit").scale == "unit"
    assert read_foreign(there("latentsae-topk"), scale="raw").scale == "raw"
    with pytest.raises(BadInput, match="rows of one norm; leave input out"):
        read_foreign(there("saelens-of-one-norm"), scale="raw")


def copied(name: str, to: Path, config: dict | None = None, tensors: dict | None = None) -> Path:
    shutil.copytree(DATA / name, to)
    for path in to.glob("c*g.json"):
        changed = json.loads(path.read_text()) | (config or {})
        path.write_text(json.dumps({key: value for key, value in changed.items() if value != "absent"}))
    for path in to.glob("*sae*.safetensors"):
        kept = load_file(path) | (tensors or {})
        save_file({name: value for name, value in kept.items() if value is not None}, path)
    return to


BAD = {
    "saelens layer norm": (
        "saelens-standard",
        {"normalize_activations": "layer_norm"},
        {},
        "fold it into the weights",
    ),
    "saelens kind": (
        "saelens-standard",
        {"architecture": "temporal"},
        {},
        "architecture 'temporal'; expected standard",
    ),
    "saelens k": ("saelens-topk", {"k": None}, {}, "k is None; expected a whole number"),
    "saelens nan": (
        "saelens-standard",
        {},
        {"b_enc": torch.full((40,), torch.nan)},
        "b_enc holds NaN or infinity",
    ),
    "saelens shape": (
        "saelens-standard",
        {},
        {"b_enc": torch.zeros(3)},
        r"b_enc has shape \(3,\); expected \(40,\)",
    ),
    "saelens lacks": ("saelens-standard", {}, {"W_dec": None}, "holds no W_dec"),
    "saelens more": (
        "saelens-standard",
        {},
        {"mean": torch.zeros(3)},
        "holds mean, which this SAE cannot have",
    ),
    "saelens of another": ("saelens-standard", {"d_sae": 41}, {}, "its d_sae is 40, cfg.json says 41"),
    "saelens tanh": (
        "saelens-standard",
        {"activation_fn_str": "tanh-relu"},
        {},
        "activation_fn 'tanh-relu' cannot be run here",
    ),
    "saelens old topk": (
        "saelens-standard",
        {"activation_fn_str": "topk"},
        {},
        "k is None; expected a whole",
    ),
    "sparsify signed": ("sparsify-topk", {"signed": True}, {}, "signed is set: its codes may be negative"),
    "sparsify transcoder": ("sparsify-topk", {"transcode": True}, {}, "transcode is set"),
    "sparsify groupmax": (
        "sparsify-topk",
        {"activation": "groupmax"},
        {},
        "activation 'groupmax' cannot be run",
    ),
    "latentsae gated": ("latentsae-topk", {"sae_type": "GATED"}, {}, "sae_type 'gated' cannot be run"),
    "latentsae signed": ("latentsae-topk", {"sae_type": "ABSTOPK"}, {}, "sae_type 'abstopk' cannot be run"),
    "latentsae skip": ("latentsae-topk", {"use_skip": True}, {}, "use_skip is set"),
    "latentsae levels": ("latentsae-matryoshka", {"matryoshka_ks": "a"}, {}, "matryoshka_ks is 'a'"),
    "neither sparsify's nor latentsae's": (
        "sparsify-topk",
        {"transcode": "absent", "skip_connection": "absent"},
        {},
        "may be sparsify's, .* or an early latentsae's, .*; name its library",
    ),
    "sparsify of another": ("sparsify-topk", {"d_in": 99}, {}, "its d_in is 12, .* says 99: another SAE's"),
    "latentsae of another": ("latentsae-topk", {"num_latents": 99}, {}, "its num_latents is 40, .* says 99"),
    "dictionary of another": (
        "dictionary_learning-AutoEncoder",
        {"trainer": {"dict_class": "AutoEncoder", "activation_dim": 99}},
        {},
        "its activation_dim is 12, its configuration says 99",
    ),
    "whole numbers": (
        "saelens-standard",
        {},
        {"W_enc": torch.ones(12, 40, dtype=torch.int8)},
        "W_enc is of torch.int8, not of floating-point numbers",
    ),
    "k too large": ("sparsify-topk", {"k": 99}, {}, "k = 99 must lie between 1 and d_sae = 40"),
    "dictionary": (
        "dictionary_learning-AutoEncoder",
        {"trainer": {"dict_class": "X"}},
        {},
        "dict_class is 'X'",
    ),
    "dictionary k": (
        "dictionary_learning-AutoEncoderTopK",
        {"trainer": {"dict_class": "AutoEncoderTopK", "k": 7}},
        {},
        "its k is 5, config.json says 7",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_run_exactly_is_one_line(case, tmp_path):
    name, config, tensors, said = BAD[case]
    with pytest.raises(BadInput, match=said) as error:
        read_foreign(copied(name, tmp_path / "sae", config, tensors))
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["activation_fn_str", "activation_fn"])
@pytest.mark.parametrize("architecture", ["standard", "topk"])
def test_an_activation_that_older_files_name_apart_is_run(name, architecture, tmp_path):
    """SAELens 3 to 5 called a top-k SAE standard, with topk for its activation; read as a ReLU its codes are dense."""
    old = {
        "architecture": architecture,
        name: "topk",
        "activation_fn_kwargs": {"k": 5},
        "normalize_activations": False,
    }
    folder = copied("saelens-topk", tmp_path / "sae", old)
    config = json.loads((folder / "cfg.json").read_text())
    del config["k"], config["rescale_acts_by_decoder_norm"]
    (folder / "cfg.json").write_text(json.dumps(config))
    expected = load_file(folder / "expected.safetensors")
    with torch.no_grad():
        codes = read_foreign(folder).sae.encode(expected["x"])
    torch.testing.assert_close(codes, expected["codes"], atol=1e-5, rtol=0)


def test_nothing_in_a_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for name, target in (("hypothesaes-topk", "sae.pt"), ("dictionary_learning-AutoEncoder", "ae.pt")):
        folder = copied(name, tmp_path / name)
        torch.save({"config": {}, "state_dict": Evil(), "x": Evil()}, folder / target)
        with pytest.raises(BadInput, match="holds more than weights, which is never run"):
            read_foreign(folder / target if target == "sae.pt" else folder)
        (folder / target).write_bytes(pickle.dumps(Evil()))
        with pytest.raises(BadInput, match="cannot be read"):
            read_foreign(folder / target if target == "sae.pt" else folder)
    assert not (tmp_path / "ran").exists()


def test_damaged_and_absent_files_are_one_line(tmp_path):
    with pytest.raises(BadInput, match="no such file or folder"):
        read_foreign(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        BadInput, match=r"no SAE that is known: expected cfg.json with sae_weights.safetensors"
    ):
        read_foreign(tmp_path / "empty")
    for name in ("saelens-standard", "sparsify-topk"):
        folder = copied(name, tmp_path / name)
        weights = next(folder.glob("*sae*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:100])
        with pytest.raises(BadInput, match="not a readable safetensors file"):
            read_foreign(folder)
        (folder / "cfg.json").write_text("[]")
        with pytest.raises(BadInput, match="holds no object"):
            read_foreign(folder)
    folder = copied("dictionary_learning-AutoEncoder", tmp_path / "dl")
    (folder / "ae.pt").write_bytes((folder / "ae.pt").read_bytes()[:400])
    with pytest.raises(BadInput, match="cannot be read"):
        read_foreign(folder)
    (folder / "config.json").unlink()
    with pytest.raises(BadInput, match=r"config.json: no such file; a dictionary_learning SAE is"):
        read_foreign(folder)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(BadInput, match="holds no config and state_dict"):
        read_foreign(tmp_path / "list.pt")
