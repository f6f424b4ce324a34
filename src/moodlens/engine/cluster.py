"""Units on a Ray cluster: tasks of Ray's core, which are done again where a worker or a machine is lost."""

# Ray is an extra, which a checkout may lack.
# pyright: reportMissingImports=false

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moodlens.core import BadInput
from moodlens.engine.executors import split_done, work_with
from moodlens.engine.units import Done, Unit, done
from moodlens.settings.engine import EngineSettings

PATIENCE = 20.0
"""Seconds without a finished unit after which it is asked whether the cluster can still do any."""
ANSWER = 20.0
"""Seconds in which a cluster must answer."""
AHEAD = 2
"""Units that are handed out for each that can be at work."""


class Cluster:
    """Tasks of Ray's core. The study folder must be seen by every machine; results are written there, not sent back."""

    here = False

    def __init__(self, settings: EngineSettings) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise BadInput("engine ray: Ray is not installed; pip install 'moodlens[ray]'") from error
        self._settings = settings

    def each(self, units: Sequence[Unit], folder: Path) -> Iterator[tuple[int, Done]]:
        """As :meth:`moodlens.engine.Executor.each`.

        Raises:
            BadInput: there is no cluster, no machine of it has what a unit asks for, or units were lost too often.
        """
        folder = Path(os.path.abspath(folder))
        left, finished = split_done(units, folder)
        yield from finished
        if not left:
            return
        import ray

        threads, gpus = self._settings.threads, self._settings.gpus
        with _connected(self._settings.address):
            self._check()
            # Workers are kept, also those with a GPU, so that an encoder is loaded once in each.
            task = ray.remote(
                num_cpus=threads, num_gpus=gpus, max_retries=self._settings.retries, max_calls=0
            )(work_with)
            running: dict[Any, int] = {}
            try:
                while left or running:
                    while left and len(running) < AHEAD * self._slots():
                        i = left.pop(0)
                        running[task.remote(threads, units[i], folder)] = i
                    ready, _ = ray.wait(list(running), timeout=PATIENCE)
                    if not ready:
                        self._check()
                    for reference in ready:
                        i = running.pop(reference)
                        yield i, self._result(reference, units[i], folder)
            finally:
                for reference in running:
                    ray.cancel(reference, force=True)

    def _result(self, reference: Any, unit: Unit, folder: Path) -> Done:
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            ray.get(reference)
        except RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except RayError as error:
            raise BadInput(
                f"engine ray: {unit.name} was lost {self._settings.retries + 1} times ({_first_line(error)}); what is done is "
                "kept: run again"
            ) from error
        record = done(unit, folder)
        if record is None:
            raise BadInput(
                f"{folder}: {unit.name} was done on another machine and is not here; all machines must see the study folder "
                "under one path"
            )
        return record

    def _slots(self) -> int:
        """Units that the cluster can do at once, as it is now."""
        import ray

        have, s = ray.cluster_resources(), self._settings
        slots = have.get("CPU", 0.0) // s.threads
        return max(1, int(min(slots, have.get("GPU", 0.0) // s.gpus) if s.gpus else slots))

    def _check(self) -> None:
        """Ray waits without a word for what no machine has."""
        import ray

        wanted = {"CPU": float(self._settings.threads), "GPU": self._settings.gpus}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(machine.get(kind, 0.0) >= n for kind, n in wanted.items()) for machine in machines):
            asked = ", ".join(f"{n:g} {kind}" for kind, n in wanted.items() if n)
            raise BadInput(
                f"engine ray: none of the cluster's {len(machines)} machines has {asked}; lower engine.threads or engine.gpus, "
                "or wait for a machine and run again"
            )


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Join the cluster for as long as units are done; one that the caller has joined already is used and kept."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    _knock(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise BadInput(
            f"engine.address: no Ray cluster at {address!r} ({_first_line(error)}); start one with: ray start --head"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See whether anybody is there: Ray itself would try for minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"engine.address: no Ray cluster at {address!r} ({_first_line(error)}); start one with: ray start --head"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
