"""Shards and SAEs have the same bytes whoever made them; jobs of a scheduler share them, and a plain run takes them in."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.embed import embed_to_store
from moodlens.engine import Here, Share, ShareDone, executor_of
from moodlens.pipeline.run import run
from moodlens.pipeline.share import parse_share, run_share
from moodlens.sae.units import Source, Units
from moodlens.settings.engine import EngineSettings
from moodlens.settings.sae import SAESettings
from moodlens.settings.study import Settings, read_study
from moodlens.study.state import WORK

TEXTS = [f"song number {i} for a {'sad' if i % 3 else 'happy'} evening" for i in range(50)]
JOBS = [(SAESettings(architecture=a, d_sae=24, epochs=2), seed) for a in ("l1", "batchtopk") for seed in (0, 1)]  # fmt: skip
POOL = EngineSettings(kind="pool", workers=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    from moodlens.embed import get_encoder

    encoder = get_encoder("minilm", dtype="float32", device="cpu")
    return embed_to_store(encoder, TEXTS, tmp_path_factory.mktemp("store"), shard_rows=16, dtype="float32")[0]


def units_of(executor, folder, store, memory=2.0, jobs=JOBS):
    source = Source(store.folder, np.arange(40), np.arange(40, 50), memory)
    rows = store.array()
    return Units(executor, folder, source).train(rows[:40], rows[40:], jobs)


def test_shares_leave_nothing_and_give_what_this_process_gives(store, tmp_path, monkeypatch):
    here = units_of(Here(), tmp_path / "here", store)
    for memory in (2.0, 1e-9):  # rows in memory, and read from the store
        folder = tmp_path / f"shares-{memory}"
        for number, ready in ((1, 2), (2, 4)):
            share = executor_of(Share(number=number, of=2, workers=1))
            with pytest.raises(ShareDone, match=f"2 of 4 units are this job's; {ready} of 4"):
                units_of(share, folder, store, memory)
        with monkeypatch.context() as patch:
            patch.setattr("moodlens.sae.training.Trainer.run", lambda *_: pytest.fail("trained again"))
            shared = units_of(Here(), folder, store, memory)
        for one, other in zip(here, shared, strict=True):
            assert one.history == other.history
            assert one.settings == other.settings
            for name, tensor in one.sae.state_dict().items():
                assert tensor.numpy().tobytes() == other.sae.state_dict()[name].numpy().tobytes(), name


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "", "1/2/3"])
def test_shares_that_there_are_not_are_refused(text):
    with pytest.raises(BadInput, match="--shard"):
        parse_share(text)
    assert parse_share("2/8") == (2, 8)


def test_an_engine_is_set_by_its_name_and_decides_no_key():
    assert read_study(None, ["engine=pool"]).engine == EngineSettings(kind="pool")
    assert read_study(None, ["engine=pool", "engine.workers=3"]).engine.workers == 3
    assert read_study(None, ["engine={kind: ray, address: 'a:1'}"]).engine.address == "a:1"
    with pytest.raises(BadInput, match=r"engine.*pool.*'none'"):
        read_study(None, ["engine=none"])


def test_a_study_file_may_name_its_engine_in_a_word(tmp_path):
    (tmp_path / "study.yaml").write_text("engine: ray\n")
    assert read_study(tmp_path / "study.yaml", ["engine.address=h:1"]).engine == EngineSettings(kind="ray", address="h:1")  # fmt: skip


TINY = {
    "seeds": 1,
    "core": {"members": 2, "d_sae": 16, "bootstraps": 1, "epochs": 2},
    "prompts": {"generate": 120},
    "encoder": {"shard_rows": 50, "dtype": "float32"},
    "sae": {"d_sae": 32, "k": 4, "epochs": 2},
}


def files(folder: Path) -> dict[str, bytes]:
    """What a study holds of numbers, but for when and how long."""
    found = {}
    for pattern in ("embeddings/*", "sae/*/*.safetensors", "sae/*/history.jsonl", "core.json"):
        found |= {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}
    return found


@pytest.mark.slow
def test_a_study_is_the_same_whoever_did_the_work(tmp_path):
    settings = Settings.model_validate(TINY)
    run(settings, tmp_path / "here", until="train")
    pool = settings.model_copy(update={"engine": POOL})
    run(pool, tmp_path / "pool", until="train")
    assert len(files(tmp_path / "here")) > 10
    assert files(tmp_path / "pool") == files(tmp_path / "here")
    assert not (tmp_path / "pool" / WORK / "train").exists()

    shared = tmp_path / "shared"
    alone = settings.model_copy(update={"engine": EngineSettings(workers=1)})
    with pytest.raises(BadInput, match=r"prompts must be done before jobs can share embed"):
        run_share(settings, shared, "embed", 1, 2)
    for need, stage in (("prompts", "embed"), ("sweep", "train")):
        run(settings, shared, until=need)
        before = sorted(path.name for path in shared.iterdir())
        for number in (2, 1):
            share = run_share(alone, shared, stage, number, 2)
            assert share is not None
        assert share.ready == share.total
        assert sorted({*before, WORK}) == sorted(path.name for path in shared.iterdir())
        units = {path: path.stat().st_mtime_ns for path in (shared / WORK / stage).iterdir()}
        assert len(units) == 2 * share.total
    run(settings, shared, until="train")
    assert files(shared) == files(tmp_path / "here")
    assert run_share(settings, shared, "train", 1, 2) is None
    for stage, message in (("sweep", "no work that jobs could share"), ("features", "is not shared")):
        if stage == "sweep":
            shutil.rmtree(shared / ".stages")
            run(settings, shared, until="embed")
        with pytest.raises(BadInput, match=message):
            run_share(settings, shared, stage, 1, 2)
