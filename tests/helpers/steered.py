"""One prompt made into music in every way, and what the decoder was given."""

import numpy as np
import torch

from moodlens.steer.conditioning import added

PROMPT = "a simple piano melody"
SECONDS = 0.3


def unit(d: int, seed: int = 0) -> np.ndarray:
    v = np.random.default_rng(seed).standard_normal(d)
    return (v / np.linalg.norm(v)).astype(np.float32)


def plain_generate(musicgen, prompt, **more):
    ids, mask = musicgen.tokens(prompt)
    kwargs = {"input_ids": ids, "attention_mask": mask, "guidance_scale": 3.0} | more
    torch.manual_seed(1)
    audio = musicgen.model.generate(
        **kwargs, max_new_tokens=round(SECONDS * 50) + 3, do_sample=True, top_k=250, temperature=1.0
    )
    return audio[0].numpy()


def clip(musicgen, steering=None, prompt=PROMPT, seed=1, **kwargs):
    return musicgen.generate(prompt, seconds=SECONDS, seed=seed, steering=steering, **kwargs)


def seen_by_decoder(musicgen, run):
    """States, mask and position of every call of the decoder."""
    seen = []

    def look(module, args, kwargs):
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        position = 0 if cache is None else cache.get_seq_length()
        seen.append(
            (kwargs["encoder_hidden_states"].clone(), kwargs["encoder_attention_mask"].clone(), position)
        )

    # One module further in than the hook of a schedule.
    handle = musicgen.model.decoder.model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return seen


def token_kl(musicgen, vector, amount):
    """KL(steered || unsteered) per token, teacher-forced on fixed random codes."""
    hidden, mask = musicgen.states(PROMPT)
    codes = torch.randint(0, 64, (4, 20), generator=torch.Generator().manual_seed(1))
    base = musicgen.teacher_forced(hidden, mask, codes)
    moved = musicgen.teacher_forced(added(hidden, mask, torch.from_numpy(vector), amount, False), mask, codes)
    return float((moved.exp() * (moved - base)).sum(-1).mean())
