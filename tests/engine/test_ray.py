"""Shards and SAEs from a Ray cluster of two nodes, one of which is killed on the way: the bytes are this process's own."""

import threading
import time

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.embed import embed_to_store, get_encoder
from moodlens.engine import Here, executor_of
from moodlens.sae.units import Source, Units
from moodlens.settings.engine import EngineSettings
from moodlens.settings.sae import SAESettings

pytest.importorskip("ray")

TEXTS = [f"song number {i} for a {'sad' if i % 3 else 'happy'} evening" for i in range(60)]
JOBS = [(SAESettings(architecture="l1", d_sae=16, epochs=2), seed) for seed in range(3)]


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_gives_the_same_bytes(cluster, tmp_path):
    engine = executor_of(EngineSettings(kind="ray", address=cluster.address))
    encoder = get_encoder("minilm", dtype="float32", device="cpu")
    here, _ = embed_to_store(encoder, TEXTS, tmp_path / "here", shard_rows=10, dtype="float32")
    second, units = cluster.add_node(num_cpus=1), tmp_path / "units"

    def kill() -> None:
        while not list(units.glob("*.json")) and not list((tmp_path / "ray").glob("*.safetensors")):
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    embed_to_store(encoder, TEXTS, tmp_path / "ray", shard_rows=10, dtype="float32", executor=engine, units=units)  # fmt: skip
    killer.join()
    for path in (tmp_path / "here").iterdir():
        assert (tmp_path / "ray" / path.name).read_bytes() == path.read_bytes()
    source = Source(here.folder, np.arange(48), np.arange(48, 60), 2.0)
    rows = here.array()
    own, others = (
        Units(executor, tmp_path / name, source).train(rows[:48], rows[48:], JOBS)
        for name, executor in (("own", Here()), ("others", engine))
    )
    for one, other in zip(own, others, strict=True):
        assert one.history == other.history
        for name, tensor in one.sae.state_dict().items():
            assert tensor.numpy().tobytes() == other.sae.state_dict()[name].numpy().tobytes(), name


@pytest.mark.slow
def test_what_no_machine_has_is_said_and_not_waited_for(cluster, tmp_path):
    engine = executor_of(EngineSettings(kind="ray", address=cluster.address, gpus=1))
    encoder = get_encoder("minilm", dtype="float32", device="cpu")
    with pytest.raises(BadInput, match=r"none of the cluster's \d machines has 1 CPU, 1 GPU"):
        embed_to_store(encoder, TEXTS, tmp_path / "store", shard_rows=10, executor=engine)


def test_a_cluster_that_is_not_there_is_one_line(tmp_path):
    engine = executor_of(EngineSettings(kind="ray", address="127.0.0.1:1"))
    encoder = get_encoder("minilm", dtype="float32", device="cpu")
    with pytest.raises(BadInput, match=r"no Ray cluster at '127\.0\.0\.1:1'.*ray start --head"):
        embed_to_store(encoder, TEXTS, tmp_path / "store", shard_rows=10, executor=engine)
