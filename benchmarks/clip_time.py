"""Time clips at musicgen-small's true size, alone and in batches, with random weights: nothing is downloaded.

The weights decide what is heard, not how long it takes. Sizes are those of facebook/musicgen-small (T5-base, a
24-layer decoder of width 1024, EnCodec at 32 kHz with 4 codebooks).
"""

import argparse
import json
import time

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
)

from moodlens.steer import MusicGen, Sampling, Steering
from moodlens.steer.generator import Job


def small(dtype: torch.dtype, device: str, *, tiny: bool = False) -> MusicGen:
    """A MusicGen of musicgen-small's size; ``tiny``: two thin layers instead, to see whether a script runs."""
    layers, width = (2, 64) if tiny else (24, 1024)
    text = T5Config(
        vocab_size=32128, d_model=768, d_kv=64, d_ff=3072, num_layers=2 if tiny else 12, num_heads=12
    )
    codec = EncodecConfig(
        sampling_rate=32000,
        audio_channels=1,
        target_bandwidths=[2.2],
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=64,
        hidden_size=128,
        codebook_size=2048,
        codebook_dim=128,
        use_causal_conv=False,
        normalize=False,
        norm_type="weight_norm",
        chunk_length_s=None,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=2048,
        num_hidden_layers=layers,
        ffn_dim=4 * width,
        num_attention_heads=16,
        hidden_size=width,
        num_codebooks=4,
        pad_token_id=2048,
        bos_token_id=2048,
    )
    model = MusicgenForConditionalGeneration(
        MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
    )
    chosen = model.generation_config
    chosen.decoder_start_token_id = chosen.pad_token_id = chosen.bos_token_id = 2048
    vocab = {"<pad>": 0, "</s>": 1, "<unk>": 2, "instrumental": 3, "music": 4}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    model.to(device, dtype).audio_encoder.float()  # as it is loaded
    return MusicGen(model, tokenizer, "musicgen-small, random weights", "random")


def job(musicgen: MusicGen, i: int) -> Job:
    """The i-th clip: two prompts, every third clip plain, the others in a direction and an amount of their own."""
    prompt = ("instrumental music", "instrumental")[i % 2]
    vector = np.random.default_rng(i).standard_normal(musicgen.d_in).astype(np.float32)
    steering = None if i % 3 == 2 else Steering(vector / np.linalg.norm(vector), (1.4, -1.4)[i % 2])
    return Job(prompt, seed=i, steering=steering)


def main() -> None:
    """Print the time of a clip, alone and in batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a clip")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[1], help="clips in one call; several are compared"
    )
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    musicgen = small(getattr(torch, options.dtype), options.device)
    jobs = [job(musicgen, i) for i in range(max(options.batch))]
    musicgen.batch(jobs[:2], seconds=0.2, sampling=Sampling())  # first-call costs
    took, firsts = [], []
    for size in options.batch:
        start, cpu = time.perf_counter(), time.process_time()
        clips = musicgen.batch(jobs[:size], seconds=options.seconds, sampling=Sampling())
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        firsts.append(clips[0])
        took.append({"batch": size, "wall_s_per_clip": wall / size, "cpu_s_per_clip": cpu / size})
    facts = {
        "seconds_of_audio": firsts[0].shape[-1] / musicgen.sampling_rate,
        "clips": [{name: round(value, 2) for name, value in each.items()} for each in took],
        "times_faster": round(took[0]["cpu_s_per_clip"] / took[-1]["cpu_s_per_clip"], 2),
        "clips_per_minute": round(60 / took[-1]["wall_s_per_clip"], 2),
        "first_clip_same_bytes": all(np.array_equal(clip, firsts[0]) for clip in firsts),
        "parameters_million": round(sum(p.numel() for p in musicgen.model.parameters()) / 1e6, 1),
        "dtype": options.dtype,
        "device": options.device,
        "threads": options.threads,
        "torch": torch.__version__,
        "machine": best_cpu(),
    }
    print(json.dumps(facts) if options.json else "\n".join(f"{key}: {value}" for key, value in facts.items()))


def best_cpu() -> str:
    """What the processor can, as torch names it."""
    return torch.backends.cpu.get_cpu_capability() if torch.backends.cpu else "unknown"


if __name__ == "__main__":
    main()
