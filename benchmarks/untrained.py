"""What a dictionary that learned nothing would claim: the study's own rules on untrained SAEs of its size.

    python benchmarks/untrained.py runs/quickstart

Two dictionaries stand beside the study's SAE (arXiv:2602.14111 asks for such a control): unit differences of two random
training rows, and random directions. Codes are what of the projection lies above one threshold, set so that as many
features are active on training rows as in the SAE. They go through choosing and judging, names and causes with the
study's settings; no label and no training is used to make them.
"""

import argparse
from collections.abc import Iterator

import numpy as np

import moodlens
from moodlens.core.lines import table
from moodlens.features.families import gather_families
from moodlens.features.names.judge import name_features
from moodlens.features.select import select_features
from moodlens.study.coded import Coded
from moodlens.study.study import Study
from moodlens.validate.causal import causality


def dictionaries(study: Study) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, decoder rows and codes of the study's SAE and of two that learned nothing."""
    yield "trained", study.W_dec(), study.codes()
    rng = np.random.default_rng([study.seed, 0x0B5E])
    train = study.x[study.rows.where("train", kinds=None)]
    d_sae, d_in = study.W_dec().shape
    active = float((study.codes()[study.rows.where("train", kinds=None)] > 0).mean())
    first, second = rng.integers(len(train), size=(2, d_sae))
    for name, rows in (
        ("differences of training rows", train[first] - train[second]),
        ("random directions", rng.normal(size=(d_sae, d_in))),
    ):
        W_dec = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
        mean = train.mean(axis=0)
        threshold = np.quantile((train[:2000] - mean) @ W_dec.T, 1 - active)
        codes = (study.x - mean) @ W_dec.T
        yield name, W_dec, np.where(codes > threshold, codes, 0).astype(np.float32)


def claims(study: Study, W_dec: np.ndarray, codes: np.ndarray) -> list[float]:
    """Emotion features; of the poorest emotion, names that hold and causes; median share of firings a name covers."""
    settings = study.settings
    selected = select_features(codes, study.rows, settings.features, seed=study.seed)
    frame = selected.table
    coded = Coded(study.rows, study.x, codes, W_dec)
    named = name_features(frame, coded, study.prompts, settings.names, seed=study.seed)
    families = gather_families(frame, coded, settings.features)
    causes = causality(coded, frame, families, settings.validation.causal, seed=study.seed)
    return [
        selected.summary.n_emotion_features,
        min(named.summary.per_emotion.get(emotion, 0) for emotion in study.emotions),
        min(causes.summary.per_emotion.get(emotion, 0) for emotion in study.emotions),
        named.summary.monosemanticity or 0.0,
    ]


def main() -> None:
    """Print one row for each dictionary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="a finished study folder")
    study = moodlens.open(parser.parse_args().study).require("features")
    test = study.rows.where("test", kinds=None)
    rows = []
    for name, W_dec, codes in dictionaries(study):
        share = float((codes[test] > 0).mean())
        rows.append([name, share, *claims(study, W_dec, codes)])
    print(
        "\n".join(
            table(["dictionary", "active", "emotion features", "names", "causes", "monosemanticity"], rows)
        )
    )


if __name__ == "__main__":
    main()
