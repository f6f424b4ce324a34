"""The layouts of other libraries' SAEs: which tensors make which of ours.

Each function is held against its library's own ``encode`` on files that the library wrote (``tests/data/foreign``, made by
``benchmarks/foreign_saes.py``). ReLU, top-k and JumpReLU are what we can run; a gated SAE is a JumpReLU whose threshold
stands where its gate opens.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moodlens.core import BadInput
from moodlens.sae.foreign_files import Files, Library, Parts, Read


def saelens(files: Files) -> Parts:
    """SAELens 6, and 3 to 5 as it reads them: ``cfg.json``, ``sae_weights.safetensors``; standard, topk, jumprelu, gated."""
    files = _of_now(files)
    config, (W_enc, d_in, d_sae) = files.config, files.matrix("W_enc")
    for name, side in (("d_in", d_in), ("d_sae", d_sae)):
        if config.get(name, side) != side:
            raise BadInput(
                f"{files.place}: its {name} is {side}, cfg.json says {config[name]!r}: another SAE's"
            )
    W_dec, b_dec = files.tensor("W_dec", d_sae, d_in), files.tensor("b_dec", d_in)
    architecture, common = config.get("architecture"), ("W_enc", "W_dec", "b_dec")
    if architecture == "gated":
        files.only(*common, "b_gate", "b_mag", "r_mag")
        own = (files.tensor(name, d_sae) for name in ("b_gate", "b_mag", "r_mag"))
        W_enc, b_enc, threshold = _gated(W_enc, *own)
        parts = Parts(W_enc, W_dec, b_enc, b_dec, "jumprelu", threshold)
    elif architecture in ("standard", "topk", "jumprelu"):
        b_enc = files.tensor("b_enc", d_sae)
        parts = Parts(W_enc, W_dec, b_enc, b_dec)
        if architecture == "jumprelu":
            parts = Parts(W_enc, W_dec, b_enc, b_dec, "jumprelu", files.tensor("threshold", d_sae))
        files.only(*common, "b_enc", *(["threshold"] if architecture == "jumprelu" else []))
        if architecture == "topk":
            if config.get("rescale_acts_by_decoder_norm"):
                norm = W_dec.norm(dim=-1)
                W_enc, b_enc, W_dec = W_enc * norm, b_enc * norm, W_dec / _safe(norm)[:, None]
            parts = Parts(W_enc, W_dec, b_enc, b_dec, "topk", k=files.number("k"))
    else:
        raise BadInput(
            f"{files.place}: architecture {architecture!r}; expected standard, topk, jumprelu or gated"
        )
    parts = _of_norm(files, parts)
    if config.get("apply_b_dec_to_input", True):
        return parts
    # Here it is always taken off the input: the encoder's bias makes up for it.
    return replace(parts, b_enc=parts.b_enc + parts.b_dec @ parts.W_enc)


def _of_now(files: Files) -> Files:
    """Before version 6 the activation stood beside the architecture: a standard SAE could be a top-k one."""
    config = dict(files.config)
    activation = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    given = config.get("activation_fn_kwargs")
    if activation == "topk" and config.get("architecture") in ("standard", "topk"):
        k = given.get("k") if isinstance(given, dict) else None
        config |= {"architecture": "topk", "k": config.get("k", k)}
    elif activation != "relu":
        raise BadInput(
            f"{files.place}: activation_fn {activation!r} cannot be run here; expected relu or topk"
        )
    if config.get("normalize_activations") is False:
        config["normalize_activations"] = "none"
    return replace(files, config=config)


def _of_norm(files: Files, parts: Parts) -> Parts:
    """``normalize_activations``: rows of norm sqrt(d) are rows of norm 1 with that factor in the weights."""
    kind = files.config.get("normalize_activations", "none")
    if kind in (None, "none"):
        return parts
    if kind != "constant_norm_rescale":
        raise BadInput(
            f"{files.place}: normalize_activations {kind!r} cannot be run here; fold it into the weights with SAELens first"
        )
    root = math.sqrt(parts.W_enc.shape[0])
    return replace(
        parts,
        W_enc=parts.W_enc * root,
        W_dec=parts.W_dec / root,
        b_dec=parts.b_dec / root,
        scale="unit",
    )


def hypothesaes(files: Files) -> Parts:
    """HypotheSAEs 2: one file with ``config`` and ``state_dict``; top-k, or batch top-k by its threshold."""
    W_enc, d_sae, d_in = files.matrix("encoder.weight")
    files.sized(files.config, input_dim=d_in, m_total_neurons=d_sae)
    files.only("encoder.weight", "decoder.weight", "input_bias", "neuron_bias", "threshold")
    W_dec = files.tensor("decoder.weight", d_in, d_sae).T
    b_enc, b_dec = files.tensor("neuron_bias", d_sae), files.tensor("input_bias", d_in)
    if files.config.get("use_batch_topk"):
        return Parts(W_enc.T, W_dec, b_enc, b_dec, "jumprelu", _learned(files, d_sae))
    return Parts(W_enc.T, W_dec, b_enc, b_dec, "topk", k=files.number("k_active_neurons"))


def dictionary_learning(files: Files) -> Parts:
    """dictionary_learning: ``config.json``, ``ae.pt``, as ``utils.load_dictionary`` reads them."""
    trainer = files.config.get("trainer")
    name = trainer.get("dict_class") if isinstance(trainer, dict) else None
    known = {
        "AutoEncoder": _autoencoder,
        "AutoEncoderNew": _autoencoder_new,
        "GatedAutoEncoder": _gated_autoencoder,
        "JumpReluAutoEncoder": _jump_autoencoder,
        "AutoEncoderTopK": _top_k_autoencoder,
        "BatchTopKSAE": _batch_autoencoder,
        "MatryoshkaBatchTopKSAE": _matryoshka_autoencoder,
    }
    if name not in known:
        raise BadInput(f"{files.place}: trainer.dict_class is {name!r}; expected {', '.join(known)}")
    parts = known[name](files)
    d_in, d_sae = parts.W_enc.shape
    files.sized(files.config["trainer"], activation_dim=d_in, dict_size=d_sae)
    return parts


def _autoencoder(files: Files) -> Parts:
    W_enc, d_sae, d_in = files.matrix("encoder.weight")
    files.only("encoder.weight", "encoder.bias", "decoder.weight", "bias")
    W_dec, b_enc = files.tensor("decoder.weight", d_in, d_sae).T, files.tensor("encoder.bias", d_sae)
    norm = W_dec.norm(dim=1)
    if not torch.allclose(norm, torch.ones_like(norm)):  # as the library does on loading
        W_enc, b_enc, W_dec = W_enc * norm[:, None], b_enc * norm, W_dec / _safe(norm)[:, None]
    return Parts(W_enc.T, W_dec, b_enc, files.tensor("bias", d_in))


def _autoencoder_new(files: Files) -> Parts:
    W_enc, d_sae, d_in = files.matrix("encoder.weight")
    files.only("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    W_dec, b_dec = files.tensor("decoder.weight", d_in, d_sae).T, files.tensor("decoder.bias", d_in)
    return replace(
        Parts(W_enc.T, W_dec, files.tensor("encoder.bias", d_sae), b_dec),
        b_enc=files.tensor("encoder.bias", d_sae) + W_enc @ b_dec,
    )


def _gated_autoencoder(files: Files) -> Parts:
    W_enc, d_sae, d_in = files.matrix("encoder.weight")
    files.only("encoder.weight", "decoder.weight", "decoder_bias", "gate_bias", "mag_bias", "r_mag")
    own = (files.tensor(name, d_sae) for name in ("gate_bias", "mag_bias", "r_mag"))
    made, b_enc, threshold = _gated(W_enc.T, *own)
    W_dec = files.tensor("decoder.weight", d_in, d_sae).T
    return Parts(made, W_dec, b_enc, files.tensor("decoder_bias", d_in), "jumprelu", threshold)


def _jump_autoencoder(files: Files) -> Parts:
    W_enc, d_in, d_sae = files.matrix("W_enc")
    files.only("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    b_dec = files.tensor("b_dec", d_in)
    # It does not take b_dec off its input.
    b_enc = files.tensor("b_enc", d_sae) + b_dec @ W_enc
    threshold = files.tensor("threshold", d_sae)
    return Parts(W_enc, files.tensor("W_dec", d_sae, d_in), b_enc, b_dec, "jumprelu", threshold)


def _top_k_autoencoder(files: Files) -> Parts:
    W_enc, d_sae, d_in = files.matrix("encoder.weight")
    files.only("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", "k", "threshold")
    trainer: Any = files.config["trainer"]
    W_dec, b_enc = files.tensor("decoder.weight", d_in, d_sae).T, files.tensor("encoder.bias", d_sae)
    k = files.number("k", trainer)
    if "k" in files.tensors and int(files.tensor("k")) != k:
        raise BadInput(f"{files.place}: its k is {int(files.tensor('k'))}, config.json says {k}")
    return Parts(W_enc.T, W_dec, b_enc, files.tensor("b_dec", d_in), "topk", k=k)


def _batch_autoencoder(files: Files) -> Parts:
    W_enc, d_sae, d_in = files.matrix("encoder.weight")
    files.only("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", "k", "threshold")
    W_dec, b_enc = files.tensor("decoder.weight", d_in, d_sae).T, files.tensor("encoder.bias", d_sae)
    return Parts(W_enc.T, W_dec, b_enc, files.tensor("b_dec", d_in), "jumprelu", _learned(files, d_sae))


def _matryoshka_autoencoder(files: Files) -> Parts:
    W_enc, d_in, d_sae = files.matrix("W_enc")
    files.only("W_enc", "W_dec", "b_enc", "b_dec", "k", "threshold", "group_sizes")
    W_dec, b_enc = files.tensor("W_dec", d_sae, d_in), files.tensor("b_enc", d_sae)
    return Parts(W_enc, W_dec, b_enc, files.tensor("b_dec", d_in), "jumprelu", _learned(files, d_sae))


def _learned(files: Files, d_sae: int) -> Tensor:
    """The one threshold of batch top-k; a negative one was never learned, and leaves a ReLU."""
    return files.tensor("threshold").reshape(-1)[:1].expand(d_sae).clone()


def sparsify(files: Files) -> Parts:
    """EleutherAI's sparsify: ``cfg.json``, ``sae.safetensors``; top-k."""
    config = files.config
    for name in ("transcode", "skip_connection"):
        if config.get(name):
            raise BadInput(f"{files.place}: {name} is set: it rebuilds something else than its input")
    if config.get("signed"):  # of its first versions
        raise BadInput(f"{files.place}: signed is set: its codes may be negative, which cannot be run here")
    if config.get("activation", "topk") != "topk":
        raise BadInput(
            f"{files.place}: activation {config['activation']!r} cannot be run here; expected topk"
        )
    return _coder(files)


def latentsae(files: Files) -> Parts:
    """latentsae (latent-scope's): ``cfg.json``, ``sae.safetensors``, on rows of norm 1; top-k, matryoshka, jumprelu."""
    config = files.config
    kind = str(config.get("sae_type", "topk")).lower()  # an enum, which is written by its name
    if config.get("use_skip"):
        raise BadInput(f"{files.place}: use_skip is set: a part of the row goes around its features")
    if kind in ("topk", "matryoshka"):
        if kind == "matryoshka" and config.get("matryoshka_use_batchtopk"):
            files = Files(
                files.place, config, {n: t for n, t in files.tensors.items() if n != "batchtopk_threshold"}
            )
        k = None if kind == "topk" else _last(files, "matryoshka_ks")
        return replace(_coder(files, "input_mean", k=k), scale="unit")
    if kind == "jumprelu":
        log = files.tensor("log_threshold")
        parts = _coder(files, "input_mean", "log_threshold", k=1)
        most, d_sae = config.get("jumprelu_max_active", 512), len(log)
        notes = ()
        if type(most) is int and most < d_sae:
            notes = (f"its library keeps the {most} largest codes of a row; here a row may have more",)
        return replace(parts, activation="jumprelu", threshold=log.exp(), k=None, scale="unit", notes=notes)
    raise BadInput(
        f"{files.place}: sae_type {kind!r} cannot be run here; expected topk, matryoshka or jumprelu"
    )


def _coder(files: Files, *more: str, k: int | None = None) -> Parts:
    W_enc, d_sae, d_in = files.matrix("encoder.weight")
    files.sized(files.config, d_in=d_in, num_latents=d_sae)
    files.only("encoder.weight", "encoder.bias", "W_dec", "b_dec", *more)
    b_dec = files.tensor("b_dec", d_in)
    if "input_mean" in files.tensors:
        b_dec = b_dec + files.tensor("input_mean", d_in)
    W_dec, b_enc = files.tensor("W_dec", d_sae, d_in), files.tensor("encoder.bias", d_sae)
    return Parts(W_enc.T, W_dec, b_enc, b_dec, "topk", k=k or files.number("k"))


def _last(files: Files, name: str) -> int:
    """The last of whole numbers between commas."""
    *_, last = str(files.config.get(name, "")).split(",")
    if not last.strip().isdigit() or int(last) < 1:
        raise BadInput(
            f"{files.place}: {name} is {files.config.get(name)!r}; expected whole numbers between commas"
        )
    return int(last)


def _gated(W_enc: Tensor, b_gate: Tensor, b_mag: Tensor, r_mag: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A gated encoder as a JumpReLU: with z = x @ W_enc the gate opens at z > -b_gate, where the magnitude
    exp(r) z + b_mag is b_mag - exp(r) b_gate."""
    grown = r_mag.exp()
    return W_enc * grown, b_mag, b_mag - grown * b_gate


def _safe(norm: Tensor) -> Tensor:
    return norm.clamp_min(torch.finfo(torch.float32).tiny)


LAYOUTS: dict[Library, tuple[Read, tuple[str, ...]]] = {
    "saelens": (saelens, ("cfg.json", "sae_weights.safetensors")),
    "hypothesaes": (hypothesaes, ()),
    "dictionary_learning": (dictionary_learning, ("config.json", "ae.pt")),
    "sparsify": (sparsify, ("cfg.json", "sae.safetensors")),
    "latentsae": (latentsae, ("cfg.json", "sae.safetensors")),
}
"""Library -> what reads its files, and the files, weights last; none: one file."""
