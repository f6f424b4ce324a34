"""Clips of a run that listeners may hear, and what a listener sends back."""

import numpy as np

from helpers.clips import put_clip

EMOTIONS = ("happy", "sad", "calm")


METHODS = ("sae_family", "difference_in_means", "prompt_editing", "random")


def answers_of(key, listener, steered, *, skip=()):
    """A listener who takes the steered clip where ``steered(trial)``."""
    items = []
    for t in key["trials"]:
        if t["trial"] in skip:
            continue
        two = [t["partner_clip"], t["steered_clip"]] if t["swap"] else [t["steered_clip"], t["partner_clip"]]
        chose = t["steered_clip"] if steered(t) else t["partner_clip"]
        items.append({"trial": t["trial"], "first": two[0], "second": two[1], "chose": chose})
    return {
        "format": key["format"],
        "version": 1,
        "test": key["test"],
        "listener": listener,
        "answers": items,
    }


def write_clips(folder):
    """4 prompts x 2 seeds; a steered clip is louder, one goes beyond full scale."""
    rng = np.random.default_rng(1)
    for p in range(4):
        for seed in range(2):
            made = [("none", None, None, 0.0)]
            for e in EMOTIONS:
                made += [(m, f"{m}/{e}", e, c) for m in METHODS[:2] for c in (-1.0, 1.0)]
                made.append(("prompt_editing", None, e, None))
            made += [("random", f"random/{i:02d}", None, 1.0) for i in range(3)]
            for i, (method, direction, emotion, coefficient) in enumerate(made):
                audio = (0.05 if method == "none" else 0.4) * rng.standard_normal(800).astype(np.float32)
                facts = {"prompt": f"prompt {p}", "text": "t", "method": method, "direction": direction,
                         "emotion": emotion, "coefficient": coefficient, "seed": seed}  # fmt: skip
                put_clip(folder, f"{p}-{seed}-{i:02d}", audio[None], 8000, **facts)
    return folder
