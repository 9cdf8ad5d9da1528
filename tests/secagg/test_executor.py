"""The server's unmasking runs on any executor: the same sums, and a lost worker costs a retry."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest

from privcomp.codec import Message
from privcomp.errors import CodecError
from privcomp.secagg import SEMI_HONEST, Aggregate, Segment
from privcomp.secagg.unmask import UnmaskJob, run_unmask_job
from tests.secagg.harness import ELL, World

SEGMENTS = (Segment.ring(26, 9000), Segment.ring(50, 200), Segment.prime(ELL, 20))


def run(executor: Executor | None) -> Aggregate:
    """The same round: sums do not depend on the masks, nor on who removes them."""
    world = World(5, adversary=SEMI_HONEST, segments=SEGMENTS)
    return world.round(executor=executor).finish({1: "mask"})


def same(a: Aggregate, b: Aggregate) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.sums, b.sums, strict=True))


class Recording(Executor):
    """Runs at once; `fails` decides which units are lost with the worker."""

    def __init__(self, fails: Callable[[int], BaseException | None] = lambda _: None) -> None:
        self.jobs: list[bytes] = []
        self.fails = fails

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs.append(args[0])
        future: Future[Any] = Future()
        error = self.fails(len(self.jobs))
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_threads_processes_and_the_default_agree() -> None:
    reference = run(None)
    with ThreadPoolExecutor(3) as threads:
        assert same(run(threads), reference)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert same(run(processes), reference)


@pytest.mark.parametrize(
    "error",
    [BrokenProcessPool("a worker died"), OSError("connection lost"), RuntimeError("killed"), Exception("KilledWorker")],
)
def test_a_lost_worker_costs_a_retry(error: BaseException) -> None:
    """Every second unit fails: it is run again in this process; the sum is the same."""
    lossy = Recording(lambda count: error if count % 2 else None)
    assert same(run(lossy), run(None))
    assert len(lossy.jobs) >= 3


class Mangling(Recording):
    """Computes every unit and returns something else."""

    def __init__(self, mangle: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.mangle = mangle

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self.mangle(super().submit(fn, *args, **kwargs).result()))
        return future


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:4], id="one entry"),
        pytest.param(lambda data: data[:-1], id="truncated"),
        pytest.param(lambda data: data + bytes(4), id="long"),
        pytest.param(lambda data: None, id="None"),
        pytest.param(lambda data: data.decode("latin-1"), id="text"),
        pytest.param(lambda data: np.frombuffer(data, dtype=np.uint8), id="array"),
    ],
)
def test_a_worker_that_returns_another_number_of_bytes_costs_a_retry(mangle: Callable[[bytes], Any]) -> None:
    """Whatever has not the unit's length is thrown away and computed here: never a wrong sum."""
    mangling = Mangling(mangle)
    assert same(run(mangling), run(None))
    assert len(mangling.jobs) >= 3


def _die(_: bytes) -> bytes:
    os._exit(1)


def test_a_pool_whose_worker_is_killed() -> None:
    """A real worker that dies takes its pool with it: every unit is run again here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        doomed = pool.submit(_die, b"")
        with pytest.raises(BrokenProcessPool):
            doomed.result()

        assert same(run(pool), run(None))


def test_units_are_plain_bytes_and_never_pickled_objects() -> None:
    """What travels to a worker is one strict message; garbage is refused there."""
    recording = Recording()
    run(recording)
    for job in recording.jobs:
        unit = UnmaskJob.from_bytes(job, max_bytes=1 << 24)
        assert isinstance(unit, Message)
        assert unit.to_bytes() == job
        assert "redacted" in repr(unit)
    with pytest.raises(CodecError):
        run_unmask_job(recording.jobs[0][:-1])


def test_units_cover_every_entry_once() -> None:
    recording = Recording()
    run(recording)
    units = [UnmaskJob.from_bytes(job, max_bytes=1 << 24) for job in recording.jobs]
    for segment in SEGMENTS:
        mine = sorted((unit.offset, unit.count) for unit in units if unit.segment == segment)
        at = 0
        for offset, count in mine:
            assert offset == at
            at += count
        assert at == segment.length
