"""Texts embedded per second: moodlens, sentence-transformers and a plain transformers loop, interleaved in one run.

Every repeat runs all three one after another, so that whatever else the machine does strikes them alike; medians are
reported. Loading and one warm-up are not timed; tokenising is. ``ratio`` is moodlens over sentence-transformers, and
``min_cosine`` the worst agreement of a moodlens row with the float32 row of sentence-transformers. ``cpu_ratio`` compares
processor seconds instead of wall time. ``gflops`` is what moodlens computes in its linear layers in a processor second, and
``of_product`` that over what the same packed product reaches alone, the best it could do.

    python benchmarks/embed.py --data ../shared/data --json rows.json
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/embed.py    # as a processor without AVX-512
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

T5_BASE: dict[str, Any] = {
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_heads": 12,
    "vocab_size": 32128,
}
WIDTH = {"minilm": (384, 21.2e6), "t5-base-random": (768, 170e6)}
"""Of the states, and floating-point operations a token in the linear layers."""
PEER_BATCH = 32  # sentence-transformers' default
Run = Callable[[list[str]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with captions/*.csv and tokenizer/tokenizer.json")
    parser.add_argument("--encoders", nargs="+", default=["minilm", "t5-base-random"])
    parser.add_argument("--n", type=int, default=512, help="texts a repeat for minilm; T5 gets an eighth")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.encoders:
            n = arguments.n if name == "minilm" else max(8, arguments.n // 8)
            sets = text_sets(n, arguments.data)
            ours, systems = load(name, Path(scratch), arguments.data, arguments.dtype, sets)
            for kind, texts in sets.items():
                n_tokens = sum(len(part.ids) for part in ours.read(texts).parts)
                row = measure(systems, texts, arguments.repeats)
                width, flop = WIDTH[name]
                row["gflops"] = round(n_tokens * flop / row.pop("cpu_seconds") / 1e9, 1)
                row["of_product"] = round(row["gflops"] / product_gflops(width, ours.dtype), 2)
                row["dtype"] = ours.dtype
                rows.append({"encoder": name, "texts": kind, "n": n, "threads": arguments.threads, **row})
                print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def text_sets(n: int, data: Path | None) -> dict[str, list[str]]:
    """Generated prompts, and real captions where they are given; all distinct."""
    import polars as pl

    from moodlens.prompts import generate

    sets = {"prompts": generate(2 * n, seed=0)["text"].unique(maintain_order=True).to_list()[:n]}
    if data is not None:
        captions = pl.read_csv(data / "captions" / "musiccaps_captions_dev.csv")["caption"].unique(
            maintain_order=True
        )
        sets["captions"] = captions.to_list()[:: max(1, len(captions) // n)][:n]
    return sets


def product_gflops(width: int, dtype: str) -> float:
    """What one thread reaches in the widest packed product of a batch, at best."""
    import torch

    from moodlens.embed.packed import Linear

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x, weight = (torch.randn(n, width).to(getattr(torch, dtype)) for n in (1024, 4 * width))
    product, least = Linear(weight), float("inf")
    with torch.inference_mode():
        for _ in range(20):
            begin = time.process_time()
            product(x)
            least = min(least, time.process_time() - begin)
    torch.set_num_threads(threads)
    return 2 * 1024 * 4 * width**2 / least / 1e9


def load(
    name: str, scratch: Path, data: Path | None, dtype: Any, sets: dict[str, list[str]]
) -> tuple[Any, dict[str, Run]]:
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer
    from transformers.models.bert.modeling_bert import BertModel
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    from moodlens.embed import encoder_files, get_encoder

    if name == "minilm":
        folder = encoder_files("minilm")[0].parent
        ours = get_encoder("minilm", dtype=dtype, device="cpu")
        peer, plain = SentenceTransformer(str(folder), device="cpu"), BertModel.from_pretrained(folder)
    else:
        folder = random_t5(scratch / name, data, [text for texts in sets.values() for text in texts])
        ours = get_encoder(f"t5:{folder}", dtype=dtype, device="cpu")
        peer, plain = mean_pooled(folder), T5EncoderModel.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return ours, {
        "moodlens": ours.encode,
        "sentence_transformers": lambda texts: np.asarray(peer.encode(texts, show_progress_bar=False)),
        "transformers": lambda texts: plain_loop(plain.eval(), tokenizer, texts),
    }


def random_t5(folder: Path, data: Path | None, texts: list[str]) -> Path:
    """T5-base's shape with random weights: the time does not depend on their values."""
    import torch
    from transformers import PreTrainedTokenizerFast, T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        T5EncoderModel(T5Config(**T5_BASE)).save_pretrained(folder)
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    if data is not None:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(data / "tokenizer" / "tokenizer.json"), **special
        )
    else:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained_tokenizer(texts), **special)
    tokenizer.save_pretrained(folder)
    return folder


def trained_tokenizer(texts: list[str]) -> Any:
    """A stand-in for T5's tokenizer: pieces of about the same length, ``</s>`` at the end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=4000, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def mean_pooled(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer  # pyright: ignore[reportMissingImports]

    words: Any = Transformer(str(folder), max_seq_length=512)
    return SentenceTransformer(
        modules=[words, Pooling(T5_BASE["d_model"], pooling_mode="mean")], device="cpu"
    )


def plain_loop(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    """What one writes by hand: batches in the order given, padded, masked mean."""
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), PEER_BATCH):
            batch = texts[start : start + PEER_BATCH]
            tokens = tokenizer(batch, padding=True, truncation=True, max_length=256, return_tensors="pt")
            inputs = {key: tokens[key] for key in ("input_ids", "attention_mask")}
            states = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            found.append(((states * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(found)


def measure(systems: dict[str, Run], texts: list[str], repeats: int) -> dict[str, Any]:
    rows = {name: run(texts) for name, run in systems.items()}  # warms up, too
    wall: dict[str, list[float]] = {name: [] for name in systems}
    cpu: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, run in systems.items():
            begin, used = time.perf_counter(), time.process_time()
            run(texts)
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - used)
    seconds = {name: statistics.median(taken) for name, taken in wall.items()}
    work = {name: statistics.median(taken) for name, taken in cpu.items()}
    unit = {name: x / np.linalg.norm(x, axis=1, keepdims=True) for name, x in rows.items()}
    per_second = {name: round(len(texts) / taken, 1) for name, taken in seconds.items()}
    return {
        **per_second,
        "cpu_seconds": work["moodlens"],
        "ratio": round(seconds["sentence_transformers"] / seconds["moodlens"], 2),
        "ratio_to_transformers": round(seconds["transformers"] / seconds["moodlens"], 2),
        "cpu_ratio": round(work["sentence_transformers"] / work["moodlens"], 2),
        "min_cosine": round(float((unit["moodlens"] * unit["sentence_transformers"]).sum(1).min()), 6),
    }


if __name__ == "__main__":
    main()
