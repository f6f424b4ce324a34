"""What attackers put into folders: pickles that leave a mark, and reading everything of a study afterwards."""

import json
import pickle
from pathlib import Path

import numpy as np

from helpers.steer_study import mark_finished

MARK = "MARK"


class Payload:
    """Unpickled, it leaves a mark."""

    def __reduce__(self):
        return (open, (MARK, "w"))


PICKLED = pickle.dumps(Payload())


def read_all(attack):
    """Everything of the study is read, and its stages vouch for every file as it is."""
    mark_finished(attack.study)
    return attack("inspect", attack.study, "--feature", "0")


def embeddings(folder: Path) -> Path:
    """The roadmap's layout, harmless."""
    folder.mkdir()
    np.save(folder / "embeddings.npy", np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    np.save(folder / "labels.npy", np.arange(40) % 2)
    (folder / "metadata.json").write_text(json.dumps({"emotions": ["happy", "sad"]}))
    return folder
