"""musicnn as a judge: a tagger that people's tags of 200,000 songs taught (Pons & Serra 2019, arXiv:1909.06654).

It is independent of CLAP, of text, and of what made the clips. Its weights come with this package (musicnn 0.1.0, ISC;
:mod:`moodlens.judge.tensor_bundle` converts them) and run in torch, equal to TensorFlow's to 3e-5. ``happy - sad`` agreed with
43 listeners of 15 steered MusicGen clips at Spearman 0.81 (what acoustics say: 0.50); for calm and energetic there are four
clips. Tags are of 2008's listeners, and of songs, not of excerpts of 8 s.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, file_sha256
from moodlens.judge.acoustics import import_librosa
from moodlens.judge.clips import Clip, Values

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "data" / "musicnn_msd.safetensors"
SHA256 = "627505a89bf7528a197f63ad6f16101d5eaac37ea4333ca6cd49bdae0c8d6276"
RATE, HOP, N_FFT, N_MELS = 16_000, 256, 512, 96
FRAMES = 187
"""Of one look, 3 s; shorter clips are repeated."""
EVERY = 31
"""Frames from one look to the next, 0.5 s."""

# fmt: off
TAGS: tuple[str, ...] = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock", "jazz",
    "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s",
    "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy", "catchy", "funk", "electro",
    "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad", "House", "happy",
)
# fmt: on
EMOTIONS = {
    "happy": ("happy",),
    "sad": ("sad",),
    "calm": ("ambient", "chillout"),
    "energetic": ("party", "dance"),
}
"""The tags that stand for an emotion; any other label must be a tag itself."""


def tags_of(emotions: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The tags that stand for each emotion.

    Raises:
        BadInput: fewer than two emotions, or no tag stands for one.
    """
    if len(emotions) < 2:
        raise BadInput("musicnn: needs two emotions or more to tell apart")
    known = {tag.lower(): tag for tag in TAGS}
    by_emotion = {e: EMOTIONS.get(e) or ((known[e.lower()],) if e.lower() in known else ()) for e in emotions}
    missing = [emotion for emotion, tags in by_emotion.items() if not tags]
    if missing:
        raise BadInput(
            f"musicnn: no tag stands for {', '.join(missing)}; it knows {', '.join((*EMOTIONS, *TAGS))}; judge by CLAP"
        )
    return by_emotion


class MusicnnScore:
    """Whose tags a clip has.

    Columns: ``musicnn_<emotion>``, the mean logit of the emotion's tags minus the mean of the other emotions'.

    Args:
        emotions: told apart; two or more.

    Raises:
        BadInput: no tag stands for one of them, librosa is missing, or the weights are not as they were shipped.
    """

    def __init__(self, emotions: Sequence[str]) -> None:
        self.tags = tags_of(emotions)
        import_librosa()
        self.tagger = Tagger()

    def __call__(self, clip: Clip) -> Values:
        """Score one clip."""
        logits = dict(zip(TAGS, self.tagger(clip.mono, clip.rate).tolist(), strict=True))
        own = {e: float(np.mean([logits[tag] for tag in tags])) for e, tags in self.tags.items()}
        total, n = sum(own.values()), len(own)
        return {f"musicnn_{e}": value - (total - value) / (n - 1) for e, value in own.items()}


class Tagger:
    """``MSD_musicnn``: 50 tags from three seconds of mel spectrogram."""

    def __init__(self) -> None:
        from safetensors.torch import load_file

        if not WEIGHTS.is_file() or file_sha256(WEIGHTS) != SHA256:
            raise BadInput(f"{WEIGHTS}: missing or not as it was shipped; install moodlens again")
        self.weights = load_file(WEIGHTS)

    def __call__(self, audio: np.ndarray, rate: int) -> np.ndarray:
        """Logits ``(50,)`` of a clip ``(samples,)``, mean over looks of 3 s, one every half second."""
        import torch

        mel = mel_spectrogram(audio, rate)
        if len(mel) < FRAMES:
            mel = np.tile(mel, (-(-FRAMES // len(mel)), 1))
        looks = np.stack([mel[i : i + FRAMES] for i in range(0, len(mel) - FRAMES + 1, EVERY)])
        return self.logits(torch.from_numpy(looks)).mean(dim=0).numpy()

    def logits(self, mel: "Tensor") -> "Tensor":
        """``(B, 50)`` of ``(B, frames, 96)`` mel spectrograms."""
        import torch
        from torch.nn.functional import pad, relu

        with torch.no_grad():
            x = self._norm(mel[:, None], 0)  # (B, 1, T, 96)
            tall = pad(x, (0, 0, 3, 3))
            front = [
                self._norm(self._conv(tall, name), i + 1).amax(dim=3)
                for i, name in enumerate(("conv2d", "conv2d_1"))
            ]
            for i, width in enumerate(
                (128, 64, 32)
            ):  # "same" padding of an even kernel: one less on the left
                left = (width - 1) // 2
                seen = self._conv(pad(x, (0, 0, left, width - 1 - left)), f"conv2d_{i + 2}")
                front.append(self._norm(seen, 3 + i).amax(dim=3))
            first = torch.cat(front, dim=1)  # (B, 561, T)
            second = self._middle(first, "conv2d_5", 6)
            third = self._middle(second, "conv2d_6", 7) + second
            fourth = self._middle(third, "conv2d_7", 8) + third
            all_of_it = torch.cat([first, second, third, fourth], dim=1)
            pooled = torch.stack([all_of_it.amax(dim=2), all_of_it.mean(dim=2)], dim=2).flatten(1)
            w = self.weights
            hidden = relu(self._norm(pooled, 9) @ w["dense/kernel"] + w["dense/bias"])
            return self._norm(hidden, 10) @ w["dense_1/kernel"] + w["dense_1/bias"]

    def _middle(self, x: "Tensor", name: str, norm: int) -> "Tensor":
        """``(B, C, T)`` -> ``(B, 64, T)``: seven frames, all channels."""
        from torch.nn.functional import pad

        return self._norm(self._conv(pad(x.transpose(1, 2)[:, None], (0, 0, 3, 3)), name), norm)[..., 0]

    def _conv(self, x: "Tensor", name: str) -> "Tensor":
        from torch.nn.functional import conv2d, relu

        return relu(conv2d(x, self._kernels[name], self.weights[f"{name}/bias"]))

    @cached_property
    def _kernels(self) -> "dict[str, Tensor]":
        """In torch's order: TensorFlow's is (height, width, in, out)."""
        return {
            name.removesuffix("/kernel"): kernel.permute(3, 2, 0, 1).contiguous()
            for name, kernel in self.weights.items()
            if name.startswith("conv2d") and name.endswith("/kernel")
        }

    def _norm(self, x: "Tensor", number: int) -> "Tensor":
        """Batch normalisation over axis 1, by what it saw in training."""
        name = "batch_normalization" + (f"_{number}" if number else "")
        gamma, beta, mean, variance = (
            self.weights[f"{name}/{part}"].view(1, -1, *[1] * (x.ndim - 2))
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) * (gamma / (variance + 1e-3).sqrt()) + beta


def mel_spectrogram(audio: np.ndarray, rate: int) -> np.ndarray:
    """``(frames, 96)`` float32 as musicnn was trained on: log10(10,000 mel + 1), the mel power rounded to float16."""
    from moodlens.core.sound import resample

    librosa = import_librosa()
    power = librosa.feature.melspectrogram(
        y=resample(audio, rate, RATE), sr=RATE, hop_length=HOP, n_fft=N_FFT, n_mels=N_MELS
    ).T
    return np.log10(10_000 * power.astype(np.float16).astype(np.float32) + 1)
