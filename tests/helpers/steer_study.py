"""A tiny study folder's arrays, in the space of a tiny MusicGen's own text encoder."""

import numpy as np
import torch

from moodlens.sae import SAE
from moodlens.steer import StudyInputs
from moodlens.study.families import Families, Family

EMOTIONS = ("happy", "sad", "calm", "energetic")
CUES = {
    "happy": ("happy", "joyful", "bright"),
    "sad": ("sad", "gloomy", "dark"),
    "calm": ("calm", "peaceful", "gentle"),
    "energetic": ("energetic", "driving", "loud"),
}
SOUNDS = ("piano melody", "guitar ballad", "techno beat", "jazz tune", "rock song", "ambient synth")


def tiny_inputs(musicgen, *, d_sae: int = 64, families: bool = True) -> StudyInputs:
    """Prompts of four emotions and none, embedded by ``musicgen``; an SAE of random unit decoder rows."""
    texts, labels, groups = [], [], []
    for c, emotion in enumerate(EMOTIONS):
        for cue in CUES[emotion]:
            for sound in SOUNDS:
                texts.append(f"a {cue} {sound}")
                labels.append(c)
                groups.append(len(set(groups)) if cue not in " ".join(texts[:-1]) else groups[-1])
    for sound in SOUNDS:
        texts.append(f"a simple {sound}")
        labels.append(-1)
        groups.append(max(groups) + 1)
    n = len(texts)
    x = musicgen.pooled(texts)
    d_in = x.shape[1]
    generator = torch.Generator().manual_seed(5)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
    sae = SAE(
        W_dec.T.clone(), W_dec, torch.full((d_sae,), -0.2), torch.as_tensor(x.mean(axis=0)), activation="relu"
    )
    made = tuple(
        Family(emotion=emotion, features=(3 * c, 3 * c + 1), weights=(0.6, 0.4), scales=(1.0, 2.0))
        for c, emotion in enumerate(EMOTIONS)
    )
    splits = np.where(np.arange(n) % 3 == 2, "test", "train")
    return StudyInputs(
        x=x,
        labels=np.array(labels),
        groups=np.array(groups),
        splits=splits,
        kinds=np.where(np.array(labels) < 0, "neutral", "plain"),
        texts=texts,
        emotions=EMOTIONS,
        encoder="musicgen:tiny",
        revision="random",
        sae=sae,
        families=Families(families=made) if families else None,
    )
