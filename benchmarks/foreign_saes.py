"""Writes tests/data/foreign: small SAEs written by the libraries themselves, with the codes that each gives.

    pip install --no-deps hypothesaes==2.0.1 dictionary-learning==0.1.0 eai-sparsify==1.3.3 latentsae==0.2.0 sae-lens
    pip install simple-parsing natsort einops
    python benchmarks/foreign_saes.py tests/data/foreign

What these packages import for their training alone (nnsight, datasets, triton ...) is not needed: it is left out. Each
folder holds an SAE as its library saved it, and ``expected.safetensors``: rows ``x``, ``codes`` and ``rebuilt``, which the
library computed after it had loaded its own files again.
"""

import importlib
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

D_IN, D_SAE, K, ROWS = 12, 40, 5, 24
Made = tuple[torch.Tensor, torch.Tensor]


class _Absent(types.ModuleType):
    """Stands in for a package that only training needs."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def leave_out(*names: str) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = _Absent(name)


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter moved, so that no bias is 0 and no decoder row is its encoder's."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return module


def rows(unit: bool = False) -> torch.Tensor:
    x = torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(7))
    return x / x.norm(dim=1, keepdim=True) if unit else x


def dense(acts: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(acts), D_SAE).scatter(1, index, acts)


def saelens(folder: Path, architecture: str, **changes: object) -> Made:
    import sae_lens
    from sae_lens import saes

    kinds = {
        "standard": (saes.StandardSAE, saes.StandardSAEConfig),
        "topk": (saes.TopKSAE, saes.TopKSAEConfig),
        "jumprelu": (saes.JumpReLUSAE, saes.JumpReLUSAEConfig),
        "gated": (saes.GatedSAE, saes.GatedSAEConfig),
    }
    kind, settings = kinds[architecture]
    sae = shaken(kind(settings(d_in=D_IN, d_sae=D_SAE, dtype="float32", device="cpu", **changes)))
    if architecture == "jumprelu":
        sae.threshold.data.abs_()
    sae.save_model(str(folder))
    again = sae_lens.SAE.load_from_disk(str(folder))
    codes = again.encode(rows())
    return codes, again(rows())


def hypothesaes(folder: Path, **changes: object) -> Made:
    leave_out("openai", "tiktoken", "statsmodels", "statsmodels.api", "datasets", "jmespath")
    from hypothesaes.sae import SparseAutoencoder, load_model

    sae = shaken(SparseAutoencoder(D_IN, D_SAE, K, device="cpu", **changes))
    sae.threshold.fill_(0.6)
    sae.save(str(folder / "sae.pt"))
    again = load_model(str(folder / "sae.pt")).to("cpu").eval()
    rebuilt, info = again(rows())
    return info["activations"], rebuilt


def dictionary_learning(folder: Path, name: str) -> Made:
    leave_out("nnsight", "zstandard", "circuitsvis", "umap", "datasets")
    from dictionary_learning import utils

    kind = getattr(utils, name)
    more = {"AutoEncoderTopK": [K], "BatchTopKSAE": [K], "MatryoshkaBatchTopKSAE": [K, [10, 30]]}
    ae = shaken(kind(D_IN, D_SAE, *more.get(name, [])))
    if hasattr(ae, "threshold"):
        ae.threshold.data.copy_(ae.threshold.data * 0 + 0.5)
    torch.save(ae.state_dict(), folder / "ae.pt")
    trainer = {"dict_class": name, "activation_dim": D_IN, "dict_size": D_SAE}
    trainer |= {"k": K} if name in more else {}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    again, _ = utils.load_dictionary(str(folder), "cpu")
    codes = again.encode(rows())
    return codes, again.decode(codes)


def sparsify(folder: Path, **changes: object) -> Made:
    leave_out("schedulefree", "simple_parsing", "accelerate", "datasets")
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    coder = shaken(SparseCoder(D_IN, SparseCoderConfig(num_latents=D_SAE, k=K, **changes)))
    coder.save_to_disk(folder)
    again = SparseCoder.load_from_disk(folder)
    acts, index, _ = again.encode(rows())
    return dense(acts, index), again.decode(acts, index)


def latentsae(folder: Path, **changes: object) -> Made:
    from latentsae.sae import Sae
    from latentsae.utils.config import SaeConfig, SaeType

    if "sae_type" in changes:
        changes["sae_type"] = SaeType(changes["sae_type"])
    sae = shaken(Sae(D_IN, SaeConfig(num_latents=D_SAE, k=K, **changes)))
    if hasattr(sae, "input_mean"):
        sae.input_mean.copy_(torch.randn(D_IN, generator=torch.Generator().manual_seed(3)) / 10)
    if hasattr(sae, "log_threshold"):
        sae.log_threshold.data.fill_(-0.7)
    sae.save_to_disk(folder)
    again = Sae.load_from_disk(folder).eval()
    acts, index = again.encode(rows(unit=True))
    return dense(acts, index), again.decode(acts, index)


MADE: dict[str, tuple[Callable[..., Made], dict[str, object]]] = {
    "saelens-standard": (saelens, {"architecture": "standard"}),
    "saelens-standard-raw-input": (saelens, {"architecture": "standard", "apply_b_dec_to_input": False}),
    "saelens-topk": (saelens, {"architecture": "topk", "k": K}),
    "saelens-topk-rescaled": (
        saelens,
        {"architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True},
    ),
    "saelens-jumprelu": (saelens, {"architecture": "jumprelu"}),
    "saelens-gated": (saelens, {"architecture": "gated", "apply_b_dec_to_input": False}),
    "saelens-of-one-norm": (
        saelens,
        {"architecture": "standard", "normalize_activations": "constant_norm_rescale"},
    ),
    "hypothesaes-topk": (hypothesaes, {}),
    "hypothesaes-batchtopk": (hypothesaes, {"use_batch_topk": True}),
    "hypothesaes-matryoshka": (hypothesaes, {"prefix_lengths": [10, D_SAE]}),
    **{
        f"dictionary_learning-{name}": (dictionary_learning, {"name": name})
        for name in (
            "AutoEncoder",
            "AutoEncoderNew",
            "GatedAutoEncoder",
            "JumpReluAutoEncoder",
            "AutoEncoderTopK",
            "BatchTopKSAE",
            "MatryoshkaBatchTopKSAE",
        )
    },
    "sparsify-topk": (sparsify, {}),
    "latentsae-topk": (latentsae, {}),
    "latentsae-centred": (latentsae, {"mean_center": True}),
    "latentsae-matryoshka": (
        latentsae,
        {"sae_type": "matryoshka", "matryoshka_sizes": f"10,{D_SAE}", "matryoshka_ks": "2,6"},
    ),
    "latentsae-jumprelu": (latentsae, {"sae_type": "jumprelu"}),
}


def main(out: Path) -> None:
    for name, (make, changes) in MADE.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            codes, rebuilt = make(folder, **changes)
        x = rows(unit=name.startswith("latentsae"))
        expected = {"x": x, "codes": codes, "rebuilt": rebuilt}
        save_file(
            {key: value.float().contiguous() for key, value in expected.items()},
            folder / "expected.safetensors",
        )
        print(f"{name}: {(codes > 0).float().sum(1).mean():.1f} active of {codes.shape[1]}")


if __name__ == "__main__":
    os.environ.setdefault("SAE_DISABLE_TRITON", "1")
    main(Path(sys.argv[1]))
