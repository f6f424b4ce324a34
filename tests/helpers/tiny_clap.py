"""A CLAP of random weights."""

from pathlib import Path

import torch

from helpers.tiny_music import WORDS, word_tokenizer


def tiny_clap_model(seed=0, collapsed=False):
    """Random weights, large enough for unlike inputs to differ; ``collapsed``: every text is the same."""
    from transformers import ClapConfig, ClapModel

    config = ClapConfig(
        text_config={
            "vocab_size": len(WORDS) + 3,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "projection_dim": 16,
            "pad_token_id": 0,
            "initializer_factor": 30.0,
        },
        audio_config={
            "spec_size": 64,
            "num_mel_bins": 16,
            "patch_embeds_hidden_size": 16,
            "hidden_size": 32,
            "depths": [1, 1],
            "num_attention_heads": [2, 4],
            "num_hidden_layers": 2,
            "window_size": 4,
            "projection_dim": 16,
            "initializer_factor": 5.0,
        },
        projection_dim=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ClapModel(config).eval()
        with torch.no_grad():
            # As training leaves it: mel bands (dB) come out centred. Else every sound is "loud and flat" to the rest.
            buffers = dict(model.named_buffers())
            buffers["audio_model.audio_encoder.batch_norm.running_mean"].fill_(-50.0)
            buffers["audio_model.audio_encoder.batch_norm.running_var"].fill_(900.0)
            for name, value in model.named_parameters():
                if value.dim() > 1 and "audio" in name:
                    value.normal_(0, 0.4)
                if collapsed and "text_projection" in name:
                    value.mul_(1e-4) if "weight" in name else value.fill_(1.0)
    return model


def extractor():
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(
        feature_size=16, hop_length=480, max_length_s=2, truncation="rand_trunc", padding="repeatpad"
    )


def save_tiny_clap(folder: Path) -> Path:
    tiny_clap_model().save_pretrained(folder)
    extractor().save_pretrained(folder)
    word_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
