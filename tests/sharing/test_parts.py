"""Work in parts, by threads that wait for more: nothing is lost, nothing is kept, and a fork has threads of its own."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import numpy as np
import pytest

from privcomp.sharing import _parts
from privcomp.sharing._parts import in_parts


def test_the_parts_cover_everything_once() -> None:
    for size, threads in ((0, 2), (1, 2), (63, 4), (64, 2), (1000, 3), (4096, 16)):
        seen = np.zeros(size, np.int64)

        def work(first: int, last: int, seen: np.ndarray = seen) -> None:
            seen[first:last] += 1

        in_parts(work, size, threads, least=1)
        assert (seen == 1).all()


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_an_error_in_any_part_is_raised_when_all_are_over(fails: int) -> None:
    over: list[int] = []

    def work(first: int, last: int) -> None:
        if first == fails * 64:
            raise ZeroDivisionError("here")
        over.append(first)

    with pytest.raises(ZeroDivisionError, match="here"):
        in_parts(work, 192, 3, least=1)
    assert sorted(over) == [k * 64 for k in range(3) if k != fails]


def test_a_waiting_thread_keeps_nothing_alive() -> None:
    array = np.zeros(256)
    gone = weakref.ref(array)

    def work(first: int, last: int, array: np.ndarray = array) -> None:
        array[first:last] = 1

    in_parts(work, 256, 4, least=1)
    del array, work
    gc.collect()
    assert gone() is None


def test_threads_are_used_again_and_few_wait() -> None:
    names = [set[int](), set[int]()]
    for seen in names:
        in_parts(lambda first, last, seen=seen: seen.add(threading.get_ident()), 128, 2, least=1)
    assert names[0] == names[1]
    in_parts(lambda first, last: None, 64 * 40, 40, least=1)
    assert len(_parts._Worker.idle) <= _parts._IDLE_MAX


def test_callers_at_the_same_time_do_not_meet() -> None:
    found: list[bool] = []

    def caller(k: int) -> None:
        for _ in range(50):
            out = np.zeros(512, np.int64)

            def work(first: int, last: int, out: np.ndarray = out) -> None:
                out[first:last] = k

            in_parts(work, 512, 3, least=1)
            found.append(bool((out == k).all()))

    callers = [threading.Thread(target=caller, args=(k,)) for k in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert len(found) == 200
    assert all(found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_has_threads_of_its_own() -> None:
    """The parent's do not live on in it: work given to them would never end."""
    in_parts(lambda first, last: None, 128, 2, least=1)
    assert _parts._Worker.idle
    child = os.fork()
    if child == 0:
        threading.Timer(20, os._exit, (3,)).start()
        done = np.zeros(128)
        in_parts(lambda first, last: done[first:last].fill(1), 128, 2, least=1)
        os._exit(0 if done.all() else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
