"""What doctor says where something is missing."""

from moodlens.cli import doctor


def test_where_nothing_can_be_kept(monkeypatch, tmp_path):
    import huggingface_hub.constants

    (tmp_path / "file").touch()
    monkeypatch.setattr(doctor, "keeps_kernels", lambda: False)
    monkeypatch.setattr(doctor, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    value, lines = doctor.examine()
    assert "compiled anew in each run" in value["caches"]["compiled kernels"]
    assert "cannot be written: set HF_HOME" in value["caches"]["checkpoints"]
    assert value["devices"]["bfloat16 on cpu"] == "float32 is faster"
    assert any("set HF_HOME" in line for line in lines)


def test_what_the_encoder_computes_in_is_said():
    value, _ = doctor.examine()
    assert any(dtype in value["encoders"]["minilm"] for dtype in ("float32", "bfloat16"))
    assert value["disk (GiB)"]["free here"] > 0
    assert value["devices"]["cpu vectors"]
