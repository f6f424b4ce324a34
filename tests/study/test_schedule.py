"""Stages side by side: needs are respected, wide ones run alone, errors and interruptions stop cleanly."""

import sys
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from threadpoolctl import threadpool_info

from moodlens.core import BadInput, read_json
from moodlens.pipeline import schedule as room
from moodlens.pipeline import stages as all_stages
from moodlens.pipeline.opened import OpenStudy
from moodlens.pipeline.run import run
from moodlens.pipeline.schedule import run_all
from moodlens.settings.study import read_study

TOLERANCE = 1e-6
"""Sums over threads are added in another order on another number of cores."""


def close(a, b) -> bool:
    """Whether two JSON values are equal, numbers to :data:`TOLERANCE`."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= TOLERANCE * max(1.0, abs(a))
    return a == b


@dataclass(frozen=True)
class Task:
    name: str
    needs: tuple[str, ...] = ()
    wide: bool = False


TASKS = (
    Task("a"),
    Task("b", ("a",), wide=True),
    Task("c", ("a",)),
    Task("d", ("b",)),
    Task("e", ("b",)),
    Task("f", ("c", "d", "e")),
)


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


def silent(what: str, done: int, total: int) -> None:
    pass


class Log:
    """What ran beside what."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: set[str] = set()
        self.order: list[str] = []
        self.beside: dict[str, set[str]] = {}
        self.threads: dict[str, threading.Thread] = {}

    def begin(self, name: str) -> None:
        with self.lock:
            self.now.add(name)
            self.threads[name] = threading.current_thread()
            for one in self.now:
                self.beside.setdefault(one, set()).update(self.now - {one})

    def end(self, name: str) -> None:
        with self.lock:
            self.now.discard(name)
            self.order.append(name)


def recorded(tasks, meeting: set[str], log: Log) -> None:
    """Run the tasks; those in ``meeting`` wait for each other, so they finish only if they run at once."""
    barrier = threading.Barrier(max(len(meeting), 1), timeout=20)

    def do(name, progress):
        log.begin(name)
        if name in meeting:
            barrier.wait()
        progress(name, 1, 1)
        log.end(name)

    run_all(tasks, do, silent)


@pytest.mark.usefixtures("two_cores")
def test_two_run_at_once_and_needs_come_first():
    log = Log()
    recorded(TASKS, {"d", "e"}, log)
    assert sorted(log.order) == list("abcdef")
    for task in TASKS:
        for need in task.needs:
            assert log.order.index(need) < log.order.index(task.name)
    assert log.beside["b"] == set(), "a wide task runs alone"
    assert log.threads["b"] is threading.current_thread()
    assert all(len(others) <= 3 for others in log.beside.values())
    assert log.beside["f"] == set()


def test_one_core_keeps_the_order(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    log = Log()
    recorded(TASKS, set(), log)
    assert set(log.threads.values()) == {threading.current_thread()}
    assert all(not others for others in log.beside.values())
    assert log.order == list("abcdef")


@pytest.mark.usefixtures("two_cores")
def test_an_error_lets_its_neighbour_finish_and_starts_nothing_more():
    failed, done, both = threading.Event(), [], threading.Barrier(2, timeout=20)

    def do(name, progress):
        if name in ("d", "e"):
            both.wait()
        if name == "d":
            failed.set()
            raise BadInput("d cannot")
        if name == "e":
            assert failed.wait(20)
            for i in range(3):
                progress("e", i, 3)
        done.append(name)

    with pytest.raises(BadInput, match="d cannot"):
        run_all([task for task in TASKS if task.name != "c"], do, silent)
    assert "f" not in done
    assert "e" in done


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("where", ["first", "second"])
def test_an_error_on_either_thread_is_raised(where):
    barrier = threading.Barrier(2, timeout=20)

    def do(name, progress):
        barrier.wait()
        if name == where:
            raise ValueError(name)

    with pytest.raises(ValueError, match=where):
        run_all([Task("first"), Task("second"), Task("third", ("first", "second"))], do, silent)


@pytest.mark.usefixtures("two_cores")
def test_an_interruption_stops_the_neighbour_at_its_next_report():
    both, interrupted, ended = threading.Barrier(2, timeout=20), threading.Event(), threading.Event()
    main, started = threading.current_thread(), []

    def do(name, progress):
        started.append(name)
        both.wait()
        if threading.current_thread() is main:
            interrupted.set()
            raise KeyboardInterrupt
        try:
            while not interrupted.is_set():
                interrupted.wait(20)
            while True:
                progress(name, 0, 1)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_all([Task("a"), Task("b"), Task("c", ("a", "b"))], do, silent)
    assert ended.wait(20)
    assert sorted(started) == ["a", "b"]


@pytest.mark.usefixtures("two_cores")
def test_progress_is_told_by_one_thread_at_a_time():
    inside, clashes = threading.Lock(), []

    def progress(what, done, total):
        if not inside.acquire(blocking=False):
            clashes.append(what)
            return
        time.sleep(0)  # lets the other thread in, if nothing else keeps it out
        inside.release()

    def do(name, report):
        for i in range(500):
            report(name, i, 500)

    run_all([Task("a"), Task("b")], do, progress)
    assert not clashes


@pytest.mark.usefixtures("two_cores")
def test_each_of_two_gets_one_thread_and_everything_is_put_back():
    before = {one["filepath"]: one["num_threads"] for one in threadpool_info()}
    torch_before, turns = torch.get_num_threads(), sys.getswitchinterval()
    seen = []

    def do(name, progress):
        blas = {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
        seen.append((name, blas, torch.get_num_threads()))

    for _ in range(20):  # which thread comes first differs
        run_all([Task("a"), Task("b"), Task("w", ("a",), wide=True)], do, silent)
    assert len(seen) == 60
    for name, blas, threads in seen:
        assert (blas, threads) == (({2}, 2) if name == "w" else ({1}, 1)), name
    after = {one["filepath"]: one["num_threads"] for one in threadpool_info()}
    assert {path: after[path] for path in before} == before
    assert (torch.get_num_threads(), sys.getswitchinterval()) == (torch_before, turns)


def test_cores_follow_the_variable(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert room.cores() == 3
    for wrong in ("0", "many", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", wrong)
        assert room.cores() >= 1


@pytest.mark.slow
@pytest.mark.usefixtures("two_cores")
def test_side_by_side_gives_the_same_results(small_study, small_settings, tmp_path):
    out = run(read_study(small_settings), tmp_path / "beside").path
    for name in (
        "verdict.json",
        "phase0.json",
        "families.json",
        "transfer.json",
        "names.json",
        "causal.json",
        "agreement.json",
    ):
        assert close(read_json(out / name), read_json(small_study / name)), name
    for name in ("features", "interventions", "stability"):
        file = f"{name}.parquet"
        assert_frame_equal(
            pl.read_parquet(out / file), pl.read_parquet(small_study / file), abs_tol=TOLERANCE
        )
    study = OpenStudy.open(out)
    assert 0 < study.elapsed <= sum(study.seconds.values()) + 0.1


@pytest.mark.usefixtures("two_cores")
def test_a_stage_that_fails_is_not_marked_and_its_neighbours_are_kept(
    small_study, small_settings, tmp_path, monkeypatch
):
    import shutil

    copy = shutil.copytree(small_study, tmp_path / "copy")
    for name in ("agreement", "names", "causal", "transfer", "pairs", "verdict", "report"):
        (copy / ".stages" / f"{name}.json").unlink()

    begun = threading.Event()

    def broken(study, settings, progress):
        assert begun.wait(60)
        raise BadInput("features.parquet: cannot be named")

    def telling(work):
        def work_and_tell(study, settings, progress):
            begun.set()
            return work(study, settings, progress)

        return work_and_tell

    stages = tuple(
        replace(stage, work=broken if stage.name == "names" else telling(stage.work))
        for stage in all_stages.STAGES
    )
    monkeypatch.setattr(all_stages, "STAGES", stages)
    with pytest.raises(BadInput, match="cannot be named"):
        run(read_study(small_settings), copy)
    assert not (copy / ".stages" / "names.json").exists()
    assert not (copy / ".stages" / "report.json").exists()
    assert not list(copy.rglob("*.tmp"))
    beside = ("agreement", "causal", "transfer", "pairs")
    kept = [name for name in beside if (copy / ".stages" / f"{name}.json").exists()]
    assert len(kept) == 1, "the one beside it was finished, and no other was started"
    monkeypatch.undo()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    times = {name: (copy / ".stages" / f"{name}.json").stat().st_mtime_ns for name in kept}
    run(read_study(small_settings), copy)
    assert (copy / ".stages" / "report.json").exists()
    for name, written in times.items():
        assert (copy / ".stages" / f"{name}.json").stat().st_mtime_ns == written


def test_arrays_of_a_stage_are_forgotten_with_it_and_others_kept(small_study):
    study = OpenStudy.open(small_study)
    x, codes, seeds = study.x, study.codes(), study.codes("seed-1")
    study.forget(["report"])
    assert study.codes() is codes
    study.forget(["train"])
    assert study.codes() is not codes
    assert study.codes("seed-1") is not seeds
    assert study.x is x
    study.forget(["embed"])
    assert study.x is not x
    np.testing.assert_array_equal(study.x, x)
