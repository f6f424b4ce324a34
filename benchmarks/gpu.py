"""Everything that is to be known about one GPU, in one run: embedding, training, clips in batches. Prints one JSON object.

    python benchmarks/gpu.py --json gpu.json        # on a machine with CUDA; minutes
    python benchmarks/gpu.py --dry-run              # on a CPU, at tiny sizes: does it run?

Weights are random, of the true sizes (T5-base, a dictionary of 768 to 6,144, musicgen-small); nothing is downloaded. Training is
compared with SAELens where that is installed, step by step in turn. Ceilings are measured on this device: the share of
bfloat16 products, and of a copy's bandwidth, that each part reaches.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from clip_time import job, small
from moodlens.steer import Sampling


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a clip")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--json", type=argparse.FileType("w"), help="also write it here")
    options = parser.parse_args()
    dry = options.dry_run
    device = "cpu" if dry else "cuda"
    facts: dict[str, Any] = {
        "device": platform.processor() or "cpu" if dry else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "ceilings": ceilings(device, 256 if dry else 8192),
    }
    facts["embedding"] = embedding(device, texts=8 if dry else 2048, tiny=dry)
    facts["training"] = training(device, batch=64 if dry else 8192, d_sae=256 if dry else 6144, dry=dry)
    facts["training"]["share_of_bfloat16_ceiling"] = (
        facts["training"]["dense_tflops"] / facts["ceilings"]["bfloat16_tflops"]
    )
    facts["clips"] = clips(
        device, seconds=0.2 if dry else options.seconds, batches=[1, 2] if dry else options.batches, tiny=dry
    )
    text = json.dumps(facts, indent=1)
    print(text)
    if options.json:
        options.json.write(text + "\n")


def timed(call: Callable[[], Any], device: str, repeats: int = 5) -> float:
    """Median seconds of ``call``, after one that does not count."""
    took = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - start)
        if i == 0:
            took.clear()
    return statistics.median(took)


def ceilings(device: str, n: int) -> dict[str, float]:
    """bfloat16 products (TFLOP/s) and copies (GB/s, read and written) of this device."""
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    source = torch.empty(n * n * 4, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {
        "bfloat16_tflops": 2 * n**3 / timed(lambda: a @ a, device) / 1e12,
        "copy_gb_per_s": 2 * source.numel() / timed(lambda: target.copy_(source), device) / 1e9,
    }


def embedding(device: str, *, texts: int, tiny: bool) -> dict[str, float]:
    """Texts of 16 tokens a second through T5-base's encoder in bfloat16."""
    from transformers import T5Config, T5EncoderModel

    size = (
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
        if tiny
        else {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    )
    model: Any = T5EncoderModel(T5Config(vocab_size=32128, **size)).eval().to(device, torch.bfloat16)
    ids = torch.randint(3, 32000, (texts, 16), device=device)
    with torch.no_grad():
        took = timed(lambda: model(input_ids=ids).last_hidden_state.mean(dim=1), device, repeats=3)
    return {"texts_per_s": texts / took}


def training(device: str, *, batch: int, d_sae: int, dry: bool) -> dict[str, Any]:
    """Vectors a second in batch top-k training, beside SAELens' own step where it is installed."""
    from train import moodlens_step
    from train_peers import sae_lens
    from train_rows import rows_like_embeddings

    d_in, k = (32, 4) if dry else (768, 64)
    x = rows_like_embeddings(2 * batch, d_in)
    ready = torch.from_numpy(x[:batch] - x.mean(axis=0)).to(device)
    ours = moodlens_step(x, batch, d_sae, k, torch.get_num_threads(), device)
    rate = batch / timed(lambda: ours(0), device)
    found: dict[str, Any] = {
        "batch": batch,
        "moodlens_vectors_per_s": rate,
        "dense_tflops": rate * 5 * 2 * d_in * d_sae / 1e12,  # five dense products a step
    }
    try:
        theirs = sae_lens(d_in, d_sae, k, device)
    except ImportError:
        return found | {"saelens_vectors_per_s": None}
    peer = batch / timed(lambda: theirs(ready), device)
    return found | {"saelens_vectors_per_s": peer, "times_saelens": rate / peer}


def clips(device: str, *, seconds: float, batches: list[int], tiny: bool) -> list[dict[str, float]]:
    """Clips a minute, and the share of the time in which the weights alone could be read."""
    dtype = torch.float32 if device == "cpu" else torch.float16
    model = small(dtype, device, tiny=tiny)
    weights = sum(p.numel() * p.element_size() for p in model.model.decoder.parameters())
    steps = model.n_steps(model.frames(seconds))
    bandwidth = ceilings(device, 256 if device == "cpu" else 8192)["copy_gb_per_s"] * 1e9
    found = []
    for size in batches:
        jobs = [job(model, i) for i in range(size)]
        model.batch(jobs, seconds=0.2, sampling=Sampling())
        start = time.perf_counter()
        made = model.batch(jobs, seconds=seconds, sampling=Sampling())
        took = time.perf_counter() - start
        assert all(np.isfinite(clip).all() for clip in made)
        found.append(
            {
                "batch": size,
                "clips_per_minute": 60 * size / took,
                "share_of_bandwidth_floor": steps * weights / bandwidth / took,
            }
        )
    return found


if __name__ == "__main__":
    main()
