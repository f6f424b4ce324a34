"""Encoders to test with: the bundled one, and a tiny random T5 with the real tokenizer."""

from pathlib import Path

import pytest

from helpers.tiny_t5 import TINY, t5_weights, write_checkpoint


@pytest.fixture(scope="session")
def tokenizer_file(shared: Path) -> Path:
    return shared / "tokenizer" / "tokenizer.json"


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("t5") / "tiny"
    return write_checkpoint(folder, TINY, t5_weights(TINY), tokenizer_file)


@pytest.fixture(scope="session")
def minilm():
    from moodlens.embed import get_encoder

    return get_encoder("minilm", dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Of very different lengths, some twice."""
    words = [
        "a",
        "calm",
        "piano",
        "waltz",
        "with",
        "soft",
        "strings",
        "under",
        "a",
        "lonely",
        "voice",
        "and",
        "slow",
        "drums",
    ]
    made = [" ".join(words[: 1 + i % 13]) + f", take {i % 7}" for i in range(40)]
    return [*made, "bright " * 60, made[3], "Sad.", made[0]]
