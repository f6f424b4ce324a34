"""`moodlens rank` from end to end, on tiny random generators."""

import numpy as np
import pytest

from helpers.clips import put_clip

pytest.importorskip("librosa", reason="needs the extra moodlens[audio]")


def test_features_are_ranked_beside_random_directions(
    call, capsys, moodlens, refused, study, checkpoint, tmp_path
):
    rng = np.random.default_rng(0)
    for emotion in ("happy", "sad"):
        put_clip(tmp_path / emotion, "x [1]", 0.1 * rng.standard_normal(16000), 16000)
    options = ["--model", checkpoint, "--seconds", 0.3, "--top", 2]
    ranked = moodlens("rank", study, "--clips", tmp_path / "happy", *options)["features"]
    assert len(ranked) == 2
    assert {row["feature"] for row in ranked} <= {0, 1, 50}
    assert ranked[0]["kl"] >= ranked[1]["kl"] > 0
    for row in ranked:
        assert (row["kl"] > row["random_p95"]) == (row["random_p"] <= 2 / 21)  # 20 random directions
    folders = [f"happy={tmp_path / 'happy'}", f"sad={tmp_path / 'sad'}"]
    both = moodlens("rank", study, "--clips", folders[0], "--clips", folders[1], *options)["features"]
    assert both[0]["gain_happy"] == pytest.approx(-both[0]["gain_sad"])
    for row in both:
        assert (row["gain_sad"] > row["gain_sad_random_p95"]) == (row["gain_sad_random_p"] <= 2 / 21)
    capsys.readouterr()
    alike = [f"happy={tmp_path / 'happy'}", f"sad={tmp_path / 'happy'}"]
    assert call("rank", study, "--clips", alike[0], "--clips", alike[1], *options) == 0
    assert (
        "every gain is 0: to this generator the clips of all emotions are the same" in capsys.readouterr().err
    )
    for seconds in (0, -1, 1e-5, "nan", "inf"):
        assert "seconds: " in refused(
            "rank", study, "--clips", tmp_path / "sad", *options[:2], "--seconds", seconds
        )
    assert "angry not among" in refused("rank", study, "--clips", f"angry={tmp_path / 'sad'}", *options)
    assert "a second folder of happy" in refused(
        "rank", study, "--clips", folders[0], "--clips", folders[0], *options
    )
    assert "no such folder" in refused("rank", study, "--clips", tmp_path / "nothing", *options)


def test_features_are_ranked_with_a_diffusion_model(call, capsys, moodlens, refused, study, tmp_path):
    """The denoising score in place of the likelihood, beside the same random directions."""
    pytest.importorskip("diffusers")
    pytest.importorskip("torchsde")
    from helpers.tiny_generators import save

    rng = np.random.default_rng(0)
    for emotion in ("happy", "sad"):
        put_clip(tmp_path / emotion, "x", 0.1 * rng.standard_normal(8000), 4000)
    folders = [
        part for emotion in ("happy", "sad") for part in ("--clips", f"{emotion}={tmp_path / emotion}")
    ]
    audio = save("stable-audio", tmp_path / "stable")
    options = [*folders, "--model", audio, "--seconds", 1]
    ranked = moodlens("rank", study, *options)["features"]
    assert {row["feature"] for row in ranked} == {0, 1, 50}
    assert [row["shift"] for row in ranked] == sorted((row["shift"] for row in ranked), reverse=True)
    for row in ranked:
        assert row["shift"] > 0
        assert (row["shift"] > row["random_p95"]) == (row["random_p"] <= 2 / 21)
        assert (row["gain_sad"] > row["gain_sad_random_p95"]) == (row["gain_sad_random_p"] <= 2 / 21)
        assert row["gain_happy"] == pytest.approx(-row["gain_sad"])
    assert moodlens("rank", study, *options)["features"] == ranked  # nothing is drawn
    capsys.readouterr()
    assert call("rank", study, *options) == 0
    said = capsys.readouterr()
    assert "random directions of the same length, 95th percentile: shift " in said.out
    assert "every gain" not in said.err
    for seconds in (0, "nan", "inf", 99):
        assert "seconds: " in refused("rank", study, *options[:-1], seconds)
    other = save("stable-audio-3", tmp_path / "other")  # as wide, and another text encoder
    line = refused("rank", study, *folders, "--model", other, "--seconds", 1)
    assert "does not give the embeddings" in line
