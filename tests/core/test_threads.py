"""Loops that are shared out: everything once, errors raised, limits given back."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from moodlens.core.threads import ThreadTeam, blas_limit, one_torch_thread


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_element_is_done_once(threads, n, weighted):
    done = np.zeros(n, dtype=int)

    def kernel(lo, hi, by):
        done[lo:hi] += by

    weight = np.concatenate([[0], np.cumsum(np.arange(n) ** 2)]) if weighted else None
    team = ThreadTeam(threads)
    team.parallel_for(kernel, n, 2, weight=weight)
    assert (done == 2).all()
    seen = []
    team.each(seen.append, n)
    assert sorted(seen) == list(range(n))


def test_heavy_elements_are_shared_out_evenly():
    ranges = []
    weight = np.concatenate([[0], np.cumsum([97, 1, 1, 1])])
    ThreadTeam(2).parallel_for(lambda lo, hi: ranges.append((lo, hi)), 4, weight=weight)
    assert sorted(ranges) == [(0, 1), (1, 4)]


def test_threads_work_at_once():
    meet = threading.Barrier(3, timeout=30)
    ThreadTeam(3).each(lambda _: meet.wait(), 3)


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_is_raised_after_all_have_stopped(failing):
    busy = []

    def job(i):
        busy.append(i)
        if i == failing:
            raise ValueError("no")
        busy.remove(i)

    with pytest.raises(ValueError, match="no"):
        ThreadTeam(2).each(job, 3)
    assert busy == [failing]


def test_torch_gets_its_threads_back():
    torch.set_num_threads(3)
    try:
        with pytest.raises(ValueError, match="no"), one_torch_thread() as threads:
            assert (threads, torch.get_num_threads()) == (3, 1)
            raise ValueError("no")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_limits_of_blas_hold_in_whatever_order_threads_enter_and_leave():
    before = blas_threads()
    first, second = blas_limit(3), blas_limit(1)

    def elsewhere(step):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
        return blas_threads()

    first.__enter__()
    assert blas_threads() == {3}
    assert elsewhere(second.__enter__) == {1}
    first.__exit__(None, None, None)
    assert blas_threads() == {1}
    assert elsewhere(lambda: second.__exit__(None, None, None)) == before


def test_a_limit_of_blas_counts_where_another_thread_has_set_one_before():
    with threadpool_limits(2), blas_limit(1):
        inside = blas_threads()
        with blas_limit(4):
            assert blas_threads() == inside == {1}
    seen = []

    def other():
        with blas_limit(1):
            seen.append(blas_threads())

    with threadpool_limits(2, user_api="blas"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert (seen, blas_threads()) == ([{1}], {2})


FIRST_PRODUCT = """
import os, torch
from moodlens.core.threads import single_threads
a, b = torch.ones(700, 800), torch.ones(800, 600)
torch.set_num_threads(1)
def product():
    before = len(os.listdir("/proc/self/task"))
    a @ b
    return len(os.listdir("/proc/self/task")) - before
with single_threads(1) as pool:
    print(pool.submit(product).result())
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_the_first_product_in_a_new_thread_starts_no_others():
    done = subprocess.run(
        [sys.executable, "-c", FIRST_PRODUCT],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert int(done.stdout) == 0
