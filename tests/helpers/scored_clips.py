"""Made-up scores of steered clips whose truth is known."""

import numpy as np
import polars as pl

from moodlens.settings.judge import ResultSettings

EMOTIONS = ("happy", "sad", "calm")


QUICK = ResultSettings(n_resamples=400)


def clip(prompt, seed, method, emotion, coefficient, rng, strength=0.0, direction=None):
    """Readout of the emotion rises by ``strength * coefficient``; prompts differ, clips are noisy."""
    row = {"prompt": f"prompt {prompt}", "seed": seed, "method": method, "emotion": emotion}
    row |= {"coefficient": coefficient, "direction": direction or (emotion and f"{method}/{emotion}")}
    dose = 1.0 if coefficient is None else coefficient
    for e in EMOTIONS:
        own = strength * dose if e == emotion else 0.0
        row[f"clap_{e}"] = 0.3 + 0.05 * prompt + own + 0.01 * rng.standard_normal()
    row["kept"] = 1.0 if method == "none" else 1 - 0.1 * abs(dose)
    row["clap_embedding"] = (rng.standard_normal(4) + 3 * strength * dose).tolist()
    for measure in ("mode", "tempo", "centroid", "loudness", "onset_strength"):
        sign = {"happy": 1, "sad": -1}.get(emotion or "", 0)
        row[measure] = 10.0 + prompt + sign * strength * dose * 20 + 0.1 * rng.standard_normal()
    return row


def made(
    strengths,
    *,
    n_prompts=8,
    n_seeds=2,
    n_random=20,
    n_words=10,
    coefficients=(-1.0, 0.5, 1.0, 2.0),
    random_at=(1.0,),
    seed=0,
):
    rng = np.random.default_rng(seed)
    rows = []
    for p in range(n_prompts):
        for s in range(n_seeds):
            rows.append(clip(p, s, "none", None, 0.0, rng))
            for method, strength in strengths.items():
                for e in EMOTIONS:
                    for c in (None,) if method == "prompt_editing" else coefficients:
                        rows.append(clip(p, s, method, e, c, rng, strength))
            for r in range(n_random):
                for c in random_at:
                    rows.append(clip(p, s, "random", None, c, rng, direction=f"random/{r:02d}"))
            for w in range(n_words if "prompt_editing" in strengths else 0):
                rows.append(clip(p, s, "neutral_editing", None, None, rng))
                rows[-1] |= {"direction": None, "text": f"prompt {p}, word{w}"}
    for row in rows:
        row.setdefault("text", row["prompt"])
    return pl.DataFrame(rows, infer_schema_length=None)
