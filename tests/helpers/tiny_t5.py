"""Tiny random checkpoints, written as the real ones are: config.json, weights, tokenizer.json."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

TINY = {
    "model_type": "t5",
    "architectures": ["T5EncoderModel"],
    "vocab_size": 32128,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "layer_norm_epsilon": 1e-6,
    "relative_attention_num_buckets": 32,
    "feed_forward_proj": "relu",
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}


def t5_weights(config: dict, seed: int = 0) -> dict:
    """Random weights under the names of a T5 checkpoint; logits of order one, so that attention matters."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    d, inner, ff = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    weights = {"shared.weight": randn(config["vocab_size"], d)}
    for number in range(config["num_layers"]):
        block = f"encoder.block.{number}.layer."
        for name in "qkv":
            weights[f"{block}0.SelfAttention.{name}.weight"] = randn(inner, d, scale=d**-0.5)
        weights[f"{block}0.SelfAttention.o.weight"] = randn(d, inner, scale=inner**-0.5)
        gated = config["feed_forward_proj"].startswith("gated")
        for name in ("wi_0", "wi_1") if gated else ("wi",):
            weights[f"{block}1.DenseReluDense.{name}.weight"] = randn(ff, d, scale=d**-0.5)
        weights[f"{block}1.DenseReluDense.wo.weight"] = randn(d, ff, scale=ff**-0.5)
        for norm in "01":
            weights[f"{block}{norm}.layer_norm.weight"] = 1 + randn(d, scale=0.1)
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    weights[bias] = randn(config["relative_attention_num_buckets"], config["num_heads"])
    weights["encoder.final_layer_norm.weight"] = 1 + randn(d, scale=0.1)
    return weights


def write_checkpoint(folder: Path, config: dict, weights: dict, tokenizer: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return folder
