"""What MusicGen would have said at every place of a clip that is given, without sampling: its codes, and their logits."""

from typing import Any

import torch
from torch import Tensor

from moodlens.core import BadInput


def place_logits(model: Any, states: Tensor, mask: Tensor | None, codes: Tensor) -> Tensor:
    """Logits of every token at every place of given codes, in one pass of the decoder.

    Args:
        states: ``(B, T, d_decoder)`` projected text states; of MusicGen-melody the prefix in front of the music.
        mask: ``(B, T)``; None for a prefix, all of which is attended to.
        codes: ``(n_codebooks, frames)`` int64, the same for every row.

    Returns:
        ``(B, n_codebooks, frames, vocab)``; entry ``[b, k, t]`` is of ``codes[k, t]`` given all that comes before it
        in MusicGen's delay pattern.

    Raises:
        BadInput: the number of codebooks is another.
    """
    config = model.config.decoder
    n_codebooks, n_frames = codes.shape
    if n_codebooks != config.num_codebooks:
        raise BadInput(f"codes: {n_codebooks} codebooks, the model has {config.num_codebooks}")
    # Codebook k says its frame t at step t + delay + 1; the first step is the start token (pad) in all of them.
    # Stereo interleaves left and right, which share their delay.
    delay = torch.arange(n_codebooks, device=codes.device) // config.audio_channels
    steps = n_frames + int(delay[-1]) + 1
    spoken = torch.full((n_codebooks, steps), int(config.pad_token_id), device=codes.device)
    place = delay[:, None] + torch.arange(n_frames, device=codes.device)  # (n_codebooks, frames)
    spoken.scatter_(1, place + 1, codes)
    rows = states.shape[0]
    out = model.decoder(
        input_ids=spoken[:, :-1].repeat(rows, 1),
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
        use_cache=False,
    ).logits
    out = out.view(rows, n_codebooks, -1, out.shape[-1])[:, :, -(steps - 1) :]  # a prefix has logits, too
    return out.gather(2, place[None, :, :, None].expand(rows, -1, -1, out.shape[-1]))


def encode_audio(model: Any, audio: Tensor, n_codebooks: int) -> Tensor:
    """EnCodec's tokens of mono samples ``(samples,)``: ``(n_codebooks, frames)`` int64."""
    return model.audio_encoder.encode(audio[None, None]).audio_codes[0, 0, :n_codebooks]
