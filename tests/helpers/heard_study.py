"""A small study whose encoder is the text encoder of a tiny MusicGen, so that its directions steer it."""

from pathlib import Path

import polars as pl
import yaml

from helpers.steer_study import CUES
from helpers.tiny_music import save_tiny_musicgen

SOUNDS = ("piano", "guitar", "drums", "strings")
FORMS = ("music", "song", "tune", "melody", "ballad", "theme", "sound", "beat")
SETTINGS = {
    "name": "heard",
    "seeds": 1,
    "core": {"members": 3, "d_sae": 32, "bootstraps": 1},
    "sae": {"d_sae": 64, "k": 4, "epochs": 10, "batch_size": 64, "learning_rate": 3e-3},
    "features": {"n_permutations": 200, "n_shuffles": 5},
    "steer": {
        "prompts": ["instrumental music"],
        "methods": ["difference_in_means"],
        "controls": ["random"],
        "coefficients": [1.0],
        "prompt_editing": False,
        "seeds": [0],
        "seconds": 1.0,
        "directions": {"n_random": 1},
    },
}


def heard_study(folder: Path) -> tuple[Path, str]:
    """Make the checkpoint and the study, as far as its features; their folders."""
    from moodlens.pipeline.run import run
    from moodlens.settings.study import read_study

    checkpoint = save_tiny_musicgen(folder / "tiny-musicgen")
    rows = [
        {"text": f"a {cue} {sound} {form}", "mood": emotion, "tune": f"{sound} {form}"}
        for emotion, cues in CUES.items()
        for cue in cues
        for sound in SOUNDS
        for form in FORMS
    ]
    pl.DataFrame(rows).write_csv(folder / "texts.csv")
    table = {"path": str(folder / "texts.csv"), "text_column": "text", "emotion_column": "mood"}
    prompts = {"generate": 0, "tables": [table | {"group_column": "tune"}]}
    settings = SETTINGS | {"encoder": {"id": f"musicgen:{checkpoint}"}, "prompts": prompts}
    settings["steer"] = settings["steer"] | {"model": str(checkpoint)}
    path = folder / "heard.yaml"
    path.write_text(yaml.safe_dump(settings))
    return run(read_study(path), folder / "heard", until="features").path, str(checkpoint)
