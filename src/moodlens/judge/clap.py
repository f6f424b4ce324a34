"""CLAP as a judge: which emotion's text a clip is nearest to (Wu et al. 2023, arXiv:2211.06687; transformers' ClapModel).

A softmax over the emotions' texts, not the raw cosine: a cosine moves with everything that makes a clip sound more like
"music" at all. The temperature is the model's own. Some checkpoints give nearly the same embedding to every text
(``laion/larger_clap_music``: cosine 0.9993), and a softmax over those is noise; loading refuses them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, digest
from moodlens.core.sound import resample
from moodlens.judge.clips import Clip, Values

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import ClapFeatureExtractor, ClapModel

TEMPLATES = ("this is {emotion} music", "{a} {emotion} song", "music that sounds {emotion}")
"""An emotion's text embedding is the mean over these: one wording alone has its quirks."""

UNLIKE_TEXTS = (
    "a solo piano ballad",
    "a dog barking in the street",
    "heavy metal with loud drums",
    "rain on a window",
    "a man giving a speech",
    "happy music",
    "sad music",
    "calm music",
    "energetic music",
)
COLLAPSED = 0.98
"""Mean cosine above which embeddings are the same for all that matters. Sound checkpoints have 0.1 to 0.5."""


def mean_cosine(rows: np.ndarray) -> float:
    """Mean cosine between different rows of ``(n, d)``, n at least 2."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    n = len(rows)
    return float((np.square(rows.sum(axis=0)).sum() - np.square(rows).sum()) / (n * (n - 1)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Clap:
    """A CLAP checkpoint; make one with :meth:`load`. Embeddings are kept, so several scores can share it.

    Attributes:
        name: as it was asked for.
        scale: what multiplies cosines in the softmax: the model's own temperature, inverted.

    Raises:
        BadInput: the checkpoint is collapsed.
    """

    def __init__(
        self,
        model: "ClapModel",
        tokenizer: "Tokenizer",
        extractor: "ClapFeatureExtractor",
        name: str,
        *,
        threshold: float = COLLAPSED,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer, self.name = tokenizer, name
        self.extractor: Any = extractor
        self.rate = int(self.extractor.sampling_rate)
        self.scale = float(self.model.logit_scale_a.exp())
        self._texts: dict[str, np.ndarray] = {}
        self._clips: dict[tuple[Path, int], np.ndarray] = {}
        self.check(threshold)

    @classmethod
    def load(cls, name: str, *, device: str = "auto", revision: str | None = None) -> "Clap":
        """Load a checkpoint by hub name (``laion/clap-htsat-unfused``) or from a folder.

        Raises:
            BadInput: it cannot be loaded, is not a CLAP, or is collapsed.
        """
        from transformers import AutoConfig, ClapFeatureExtractor, ClapModel

        from moodlens.embed.sources import pick_device
        from moodlens.steer.checkpoints import loading

        where = revision or "main"
        with loading("CLAP", name, revision) as source:
            config = AutoConfig.from_pretrained(source.name, revision=where, trust_remote_code=False)
            if config.model_type != "clap":
                raise BadInput(f"CLAP {name}: is a {config.model_type} checkpoint, not a clap one")
            model: Any = ClapModel.from_pretrained(source.name, revision=where)
            extractor = ClapFeatureExtractor.from_pretrained(source.name, revision=where)
            tokenizer = source.tokenizer()
        return cls(model.to(pick_device(device)), tokenizer, extractor, name)

    def check(self, threshold: float = COLLAPSED) -> dict[str, float]:
        """Mean cosines between unlike texts and between unlike sounds (a tone, noise, clicks).

        Raises:
            BadInput: one of them is above ``threshold``.
        """
        time = np.arange(2 * self.rate) / self.rate
        sounds = (
            0.3 * np.sin(2 * np.pi * 330 * time),
            0.1 * np.random.default_rng(0).standard_normal(len(time)),
            np.where(time % 0.5 < 0.005, 0.8, 0.0),
        )
        texts, audio = self.texts(UNLIKE_TEXTS), np.stack([self.audio(sound, self.rate) for sound in sounds])
        # Of what it does, not of its name: another checkpoint under one name is another.
        self.fingerprint = digest(np.round(texts, 5), np.round(audio, 5), self.scale)
        cosines = {"text": mean_cosine(texts), "audio": mean_cosine(audio)}
        for what, cosine in cosines.items():
            if not cosine <= threshold:
                raise BadInput(
                    f"CLAP {self.name}: collapsed: unlike {what}s have a mean cosine of {cosine:.4f} (over "
                    f"{threshold:g}), so it cannot tell emotions apart; use another, such as laion/clap-htsat-unfused"
                )
        return cosines

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """``(n, d)`` unit embeddings."""
        import torch

        for text in texts:
            if text not in self._texts:
                ids = torch.tensor([self.tokenizer.encode(text).ids], device=self.model.device)
                with torch.no_grad():
                    out = self.model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids))
                self._texts[text] = _unit(out)[0]
        return np.stack([self._texts[text] for text in texts])

    def audio(self, audio: np.ndarray, rate: int) -> np.ndarray:
        """``(d,)`` unit embedding of mono samples at any rate.

        Longer than the model's window (10 s): the mean over windows side by side, where the extractor alone would
        cut a random piece out.

        Raises:
            BadInput: there are no samples.
        """
        import torch

        if not len(audio):
            raise BadInput("CLAP: no samples")
        audio = resample(audio, rate, self.rate)
        window = int(self.extractor.nb_max_samples)
        parts = np.array_split(audio, -(-len(audio) // window))
        rows = []
        for part in parts:
            inputs = self.extractor(part, sampling_rate=self.rate, return_tensors="pt")
            with torch.no_grad():
                out = self.model.get_audio_features(
                    input_features=inputs["input_features"].to(self.model.device, self.model.dtype),
                    is_longer=inputs["is_longer"].to(self.model.device),
                )
            rows.append(_unit(out)[0])
        mean = np.mean(rows, axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def clip(self, clip: Clip) -> np.ndarray:
        """``(d,)`` unit embedding of a clip."""
        key = clip.path, clip.path.stat().st_mtime_ns
        if key not in self._clips:
            self._clips[key] = self.audio(clip.mono, clip.rate)
        return self._clips[key]

    def emotions(self, texts: Mapping[str, Sequence[str]]) -> np.ndarray:
        """``(n_emotions, d)`` unit embedding of each emotion: the mean over its texts.

        Raises:
            BadInput: fewer than two emotions, or their texts are all the same to this checkpoint.
        """
        if len(texts) < 2:
            raise BadInput("CLAP: a softmax needs the texts of two emotions or more")
        rows = np.stack([self.texts(wordings).mean(axis=0) for wordings in texts.values()])
        cosine = mean_cosine(rows)
        if not cosine <= COLLAPSED:
            raise BadInput(
                f"CLAP {self.name}: the texts of {', '.join(texts)} have a mean cosine of {cosine:.4f}: to this "
                "checkpoint they are one text; word them differently or use another checkpoint"
            )
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _unit(out: Any) -> np.ndarray:
    # transformers 5 returns an output object, 4 the tensor itself.
    rows = getattr(out, "pooler_output", out).float().cpu().numpy()
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)


def wordings(emotion: str) -> tuple[str, ...]:
    """The texts of an emotion: :data:`TEMPLATES` filled in."""
    article = "an" if emotion[:1].lower() in "aeiou" else "a"
    return tuple(template.format(emotion=emotion, a=article) for template in TEMPLATES)


class ClapScore:
    """Which emotion's texts a clip is nearest to, as a score of clips.

    Columns: ``clap_<emotion>``, a softmax at CLAP's own temperature, which sums to 1; ``clap_logit_<emotion>``, the
    emotion's logit minus the mean of the others', which a shift moves as much wherever it starts, where a probability
    near 0 or 1 cannot move.

    Args:
        clap: a checkpoint that passed its check.
        emotions: labels, each written into :data:`TEMPLATES`; or emotion -> texts of your own.
    """

    def __init__(self, clap: Clap, emotions: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        if not isinstance(emotions, Mapping):
            emotions = {e: wordings(e) for e in emotions}
        self.clap, self.names = clap, tuple(emotions)
        self.rows = clap.emotions(emotions)
        self.cache_key = digest(clap.fingerprint, self.names, np.round(self.rows, 5))

    def __call__(self, clip: Clip) -> Values:
        """Score one clip."""
        logits = self.clap.scale * (self.rows @ self.clap.clip(clip)).astype(np.float64)
        beyond = (logits - logits.mean()) * len(logits) / (len(logits) - 1)
        shares = {f"clap_{name}": float(p) for name, p in zip(self.names, softmax(logits), strict=True)}
        return shares | {f"clap_logit_{name}": float(v) for name, v in zip(self.names, beyond, strict=True)}
