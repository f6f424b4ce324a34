"""A MusicGen and a CLAP of random weights, small enough for a second and sensitive enough to be steered."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from moodlens.steer.musicgen import MusicGen

WORDS = [
    "a",
    "the",
    "of",
    "with",
    "and",
    "happy",
    "sad",
    "calm",
    "energetic",
    "music",
    "song",
    "piano",
    "guitar",
    "drums",
    "slow",
    "fast",
    "bright",
    "dark",
    "tune",
    "melody",
    "ballad",
    "ambient",
    "pop",
    "rock",
    "jazz",
    "techno",
    "quiet",
    "loud",
    "gentle",
    "heavy",
    "soft",
    "strings",
    "synth",
    "bass",
    "beat",
    "sound",
    "joyful",
    "gloomy",
    "peaceful",
    "driving",
    "instrumental",
    "simple",
    "theme",
    "for",
    "in",
]


def word_tokenizer() -> Tokenizer:
    vocab = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {word: i + 3 for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def tiny_model(
    *,
    seed: int = 0,
    width: int = 24,
    hidden: int = 32,
    codes: int = 64,
    layers: int = 2,
    words: int = len(WORDS) + 3,
    channels: int = 1,
):
    """Random weights in which every claim can fail: codebooks not zero, a projection bias, large initial weights."""
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    text = T5Config(
        vocab_size=words,
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=3,
        dropout_rate=0.0,
    )
    codec = EncodecConfig(
        sampling_rate=8000,
        audio_channels=1,
        target_bandwidths=[1.2],
        upsampling_ratios=[8, 5, 4],
        num_filters=4,
        num_lstm_layers=1,
        hidden_size=16,
        codebook_size=codes,
        codebook_dim=16,
        use_causal_conv=False,
        normalize=False,
        chunk_length_s=None,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=codes,
        num_hidden_layers=layers,
        ffn_dim=2 * hidden,
        num_attention_heads=4,
        hidden_size=hidden,
        num_codebooks=4 * channels,
        audio_channels=channels,
        pad_token_id=codes,
        bos_token_id=codes,
        initializer_factor=0.3,
        max_position_embeddings=512,
    )
    config = MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder, initializer_factor=0.3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicgenForConditionalGeneration(config).eval()
        with torch.no_grad():
            for layer in model.audio_encoder.quantizer.layers:
                layer.codebook.embed.normal_()
            model.enc_to_dec_proj.bias.normal_()
    chosen = model.generation_config
    chosen.decoder_start_token_id = chosen.pad_token_id = chosen.bos_token_id = codes
    return model


def tiny_musicgen(**changes) -> MusicGen:
    return MusicGen(tiny_model(**changes), word_tokenizer(), "tiny", "random")


def save_tiny_musicgen(folder: Path, **changes) -> Path:
    tiny_model(**changes).save_pretrained(folder)
    word_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
