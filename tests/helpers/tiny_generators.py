"""Every generator, of random weights: small enough for a tenth of a second, and every zero layer filled.

All but Stable Audio 3 read with the same text encoder, weight for weight, as MusicGen and Stable Audio Open do with T5-base.
"""

from pathlib import Path

import torch

from helpers.tiny_music import WORDS, tiny_model, tiny_musicgen, word_tokenizer
from moodlens.steer.melody import MusicGenMelody
from moodlens.steer.stable_audio import StableAudio, StableAudio3

WIDTH = 24


def fast_tokenizer(length: int = 16):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(),
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def fill(module, scale: float = 0.2) -> None:
    """Random values for every parameter that starts at zero: behind those no steering would arrive."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=scale)


def shared_encoder():
    """The text encoder of the tiny MusicGen."""
    return tiny_model().text_encoder


def tiny_melody_model(seed: int = 0):
    from transformers import MusicgenMelodyConfig, MusicgenMelodyDecoderConfig
    from transformers import MusicgenMelodyForConditionalGeneration as Melody

    plain = tiny_model()
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=64,
        num_hidden_layers=2,
        ffn_dim=64,
        num_attention_heads=4,
        hidden_size=32,
        num_codebooks=4,
        audio_channels=1,
        pad_token_id=64,
        bos_token_id=64,
        initializer_factor=0.3,
        max_position_embeddings=512,
    )
    config = MusicgenMelodyConfig(
        text_encoder=plain.config.text_encoder,
        audio_encoder=plain.config.audio_encoder,
        decoder=decoder,
        num_chroma=12,
        chroma_length=8,
        initializer_factor=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Melody(config).eval()
        model.text_encoder.load_state_dict(plain.text_encoder.state_dict())
        with torch.no_grad():
            for layer in model.audio_encoder.quantizer.layers:
                layer.codebook.embed.normal_()
            model.enc_to_dec_proj.bias.normal_()
            model.audio_enc_to_dec_proj.bias.normal_()
    chosen = model.generation_config
    chosen.decoder_start_token_id = chosen.pad_token_id = chosen.bos_token_id = 64
    return model


def tiny_melody() -> MusicGenMelody:
    return MusicGenMelody(tiny_melody_model(), word_tokenizer(), "tiny", "random")


def stable_audio_pipe(seed: int = 0):
    """Stable Audio Open: 256 latents of 8 samples at 1,000 Hz, 2 s."""
    from diffusers import (
        AutoencoderOobleck,
        CosineDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
    )
    from diffusers.pipelines.stable_audio import StableAudioProjectionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = StableAudioDiTModel(
            sample_size=256,
            in_channels=8,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            num_key_value_attention_heads=2,
            out_channels=8,
            cross_attention_dim=WIDTH,
            time_proj_dim=8,
            global_states_input_dim=2 * WIDTH,
            cross_attention_input_dim=WIDTH,
        )
        vae = AutoencoderOobleck(
            encoder_hidden_size=16,
            downsampling_ratios=[2, 4],
            decoder_channels=8,
            decoder_input_channels=8,
            audio_channels=2,
            channel_multiples=[1, 2],
            sampling_rate=1000,
        )
        projection = StableAudioProjectionModel(
            text_encoder_dim=WIDTH, conditioning_dim=WIDTH, min_value=0, max_value=32
        )
        with torch.no_grad():
            for parameter in transformer.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(2)  # else steering is faint
        for module in (transformer, vae, projection):
            fill(module)
    return StableAudioPipeline(
        vae=vae,
        text_encoder=shared_encoder(),
        projection_model=projection,
        tokenizer=fast_tokenizer(),
        transformer=transformer,
        scheduler=CosineDPMSolverMultistepScheduler(
            solver_order=2, prediction_type="v_prediction", sigma_data=1.0, sigma_schedule="exponential"
        ),
    )


def stable_audio_3_pipe(seed: int = 0, *, distilled: bool = True):
    """Stable Audio 3, whose T5Gemma is as wide as the others' T5 and yet another encoder."""
    from diffusers import (
        AutoencoderSAME,
        FlowMatchEulerDiscreteScheduler,
        StableAudio3DiTModel,
        StableAudio3Pipeline,
    )
    from diffusers.pipelines.stable_audio_3 import StableAudio3DurationEmbedder
    from transformers import T5GemmaConfig, T5GemmaEncoderModel, T5GemmaModuleConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = {
            "vocab_size": len(WORDS) + 3,
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "max_position_embeddings": 64,
            "sliding_window": 64,
            "layer_types": ["full_attention"] * 2,
        }
        text = T5GemmaEncoderModel(
            T5GemmaConfig(
                encoder=T5GemmaModuleConfig(**module),
                decoder=T5GemmaModuleConfig(**module),
                is_encoder_decoder=False,
            )
        )
        with torch.no_grad():
            for parameter in text.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(10)
        transformer = StableAudio3DiTModel(
            io_channels=8,
            patch_size=1,
            embed_dim=32,
            depth=2,
            num_heads=4,
            cond_token_dim=WIDTH,
            global_cond_dim=WIDTH,
            local_add_cond_dim=5,
            timestep_features_dim=16,
            ff_mult=2,
            num_memory_tokens=3,
            use_differential_attention=False,
        )
        vae = AutoencoderSAME(
            audio_channels=2,
            patch_size=2,
            encoder_channels=8,
            encoder_c_mults=(2,),
            encoder_strides=(2,),
            encoder_transformer_depths=(1,),
            latent_dim=8,
            use_differential_attention=False,
            dim_heads=4,
            ff_mult=2,
            sampling_rate=16,
        )
        duration = StableAudio3DurationEmbedder(output_dim=WIDTH, fourier_dim=16)
        with torch.no_grad():
            for parameter in transformer.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3)
        for part in (transformer, vae, duration):
            fill(part)
    return StableAudio3Pipeline(
        vae=vae,
        text_encoder=text.eval(),
        tokenizer=fast_tokenizer(),
        duration_embedder=duration,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=1, shift=1.0, stochastic_sampling=distilled
        ),
    )


MAKERS = {
    "musicgen": tiny_musicgen,
    "musicgen-stereo": lambda: tiny_musicgen(channels=2),
    "musicgen-melody": tiny_melody,
    "stable-audio": lambda: StableAudio(stable_audio_pipe(), "tiny", "random"),
    "stable-audio-3": lambda: StableAudio3(stable_audio_3_pipe(), "tiny", "random"),
    "stable-audio-3-base": lambda: StableAudio3(stable_audio_3_pipe(distilled=False), "tiny", "random"),
}
"""Name -> what makes a generator."""

SECONDS = {"stable-audio": 2.0, "stable-audio-3": 2.0, "stable-audio-3-base": 2.0}
"""Of a clip; the others' are 0.3 s."""


def save(name: str, folder: Path) -> Path:
    """A checkpoint as the libraries write it."""
    if name.startswith("stable-audio"):
        MAKERS[name]().pipe.save_pretrained(folder)
    else:
        MAKERS[name]().model.save_pretrained(folder)
        word_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
