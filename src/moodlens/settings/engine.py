"""Where the work of a study is done: nothing here changes a result."""

from typing import Literal

from pydantic import Field

from moodlens.settings.base import Frozen


class EngineSettings(Frozen):
    """Who embeds the shards and trains the SAEs. ``engine: ray`` is short for ``engine: {kind: ray}``."""

    kind: Literal["local", "pool", "ray"] = Field(
        default="local",
        description="local: this process, on all its cores; pool: processes on this machine; ray: a Ray cluster whose "
        "machines all see the study folder",
    )
    address: str = Field(
        default="auto",
        description="ray: the cluster, as `ray.init` takes it (auto: the one that runs on this machine or that RAY_ADDRESS "
        "names; HOST:PORT; ray://HOST:PORT)",
    )
    workers: int | None = Field(
        default=None, ge=1, le=10_000, description="pool: processes; none: one for each core (count)"
    )
    threads: int = Field(
        default=1, ge=1, le=8, description="pool and ray: cores that one piece of work has (count)"
    )
    gpus: float = Field(default=0.0, ge=0, le=64, description="ray: GPUs that one piece of work has (count)")
    retries: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="ray and pool: how often work of a lost worker is done again (count)",
    )
    memory: float = Field(
        default=2.0,
        gt=0,
        description="rows of embeddings that a process that trains holds in memory, more being read from the store as they are "
        "needed; and what embeddings, codes and what the selection computes of them take together, more lying in files without "
        "a name in TMPDIR, or else in /var/tmp (GiB)",
    )
