"""The server's unmasking runs on any executor: the same sums, and a lost worker costs a retry."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest

from privcomp._core import lanes_add
from privcomp.codec import Message
from privcomp.errors import CodecError, ExecutorError
from privcomp.secagg import SEMI_HONEST, Aggregate, Segment
from privcomp.secagg.unmask import IN_FLIGHT, UNIT_SEEDS, UnmaskJob, run_unmask_job, sum_of_masks
from tests.secagg.harness import ELL, World, decode, forge

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


LOST = [
    BrokenProcessPool("a worker died"),
    OSError("connection lost"),
    RuntimeError("killed"),
    Exception("KilledWorker"),
]


@pytest.mark.parametrize("error", LOST)
def test_a_lost_worker_costs_a_retry(error: BaseException) -> None:
    """Two of three attempts fail: every unit goes to the executor again; the sum is the same."""
    lossy = Recording(lambda count: error if count % 3 else None)
    assert same(run(lossy), run(None))
    assert len(lossy.jobs) == 3 * len(set(lossy.jobs)) >= 9


@pytest.mark.parametrize("error", LOST)
def test_a_unit_that_always_fails_is_a_typed_error_and_costs_nothing(error: BaseException) -> None:
    """After three attempts the executor is to blame; with another one the same answers give the sum."""
    lossy = Recording(lambda count: error if count > 1 else None)
    world = World(5, adversary=SEMI_HONEST, segments=SEGMENTS)
    round = world.round(executor=lossy)
    with pytest.raises(ExecutorError, match=rf"failed 3 times.*{type(error).__name__}: {error}.*result again"):
        round.finish({1: "mask"})
    assert len(lossy.jobs) == 4  # the second unit three times
    round.server.executor = None
    assert same(round.check(round.server.result()), run(None))


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
    ("mangle", "seen"),
    [
        pytest.param(lambda data: b"", "0 bytes", id="empty"),
        pytest.param(lambda data: data[:4], "4 bytes", id="one entry"),
        pytest.param(lambda data: data[:-1], "bytes", id="truncated"),
        pytest.param(lambda data: data + bytes(4), "bytes", id="long"),
        pytest.param(lambda data: None, "a NoneType", id="None"),
        pytest.param(lambda data: data.decode("latin-1"), "a str", id="text"),
        pytest.param(lambda data: np.frombuffer(data, dtype=np.uint8), "a ndarray", id="array"),
        pytest.param(bytearray, "a bytearray", id="bytearray"),
    ],
)
def test_a_worker_that_returns_no_result_of_its_unit_is_a_typed_error(
    mangle: Callable[[bytes], Any], seen: str
) -> None:
    """Whoever returns another length or type runs other code: nothing of it goes into the sum."""
    mangling = Mangling(mangle)
    world = World(5, adversary=SEMI_HONEST, segments=SEGMENTS)
    round = world.round(executor=mangling)
    with pytest.raises(ExecutorError, match=f"a worker returned .*{seen}.* are needed"):
        round.finish({1: "mask"})
    round.server.executor = None
    assert same(round.check(round.server.result()), run(None))


def _die(_: bytes) -> bytes:
    os._exit(1)


def test_a_pool_whose_worker_is_killed() -> None:
    """A real worker that dies takes its pool with it: every unit is run here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        doomed = pool.submit(_die, b"")
        with pytest.raises(BrokenProcessPool):
            doomed.result()

        assert same(run(pool), run(None))


def test_a_pool_whose_worker_is_killed_in_the_middle() -> None:
    """SIGKILL after the first unit: the pool breaks with units under way; this process does the rest."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(len, b"").result() == 0  # workers are there
        killed: list[int] = []

        class Killing(Executor):
            def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
                future = pool.submit(fn, *args, **kwargs)
                if not killed:
                    future.result()
                    killed.extend(process.pid for process in pool._processes.values() if process.pid)
                    for pid in killed:
                        os.kill(pid, signal.SIGKILL)
                return future

        assert same(run(Killing()), run(None))
        assert killed
        with pytest.raises(BrokenProcessPool):
            pool.submit(len, b"")


def test_an_executor_that_is_closed_already() -> None:
    with ThreadPoolExecutor(1) as pool:
        pass
    assert same(run(pool), run(None))


def test_units_are_plain_bytes_and_never_pickled_objects() -> None:
    """What travels to a worker is one strict message; garbage is refused there."""
    recording = Recording()
    run(recording)
    for job in recording.jobs:
        assert type(job) is bytes
        unit = UnmaskJob.from_bytes(job, max_bytes=1 << 24)
        assert isinstance(unit, Message)
        assert unit.to_bytes() == job
        assert "redacted" in repr(unit)
    with pytest.raises(CodecError):
        run_unmask_job(recording.jobs[0][:-1])
    good = UnmaskJob.from_bytes(recording.jobs[0], max_bytes=1 << 24)
    for changes in (
        {"cipher": 3},
        {"seeds": good.seeds[:-1]},
        {"negate": good.negate[1:]},
        {"negate": b"\2" + good.negate[1:]},
        {"count": 0},
        {"offset": good.segment.length},
        {"count": good.segment.length + 1},
    ):
        with pytest.raises(CodecError, match="a unit of the unmasking"):
            run_unmask_job(forge(UnmaskJob, good, **changes).to_bytes())


def test_workers_learn_neither_ids_nor_uploads_nor_who_is_summed() -> None:
    """A unit has seeds and signs; nothing that was advertised or uploaded travels with it."""
    recording = Recording()
    world = World(5, adversary=SEMI_HONEST, segments=SEGMENTS)
    round = world.round(executor=recording)
    round.finish({1: "mask"})
    known = [node.id for node in world.nodes] + [node.identity.public for node in world.nodes]
    known += [round.server.context.digest, round.server.directory.hash]
    known += [
        decode(data).payload[:16] for (stage, _), sent in round.sent.items() if stage == "mask" for data in sent[:1]
    ]
    assert not [(job, item) for job in recording.jobs for item in known if item in job]


@pytest.mark.parametrize(("length", "count"), [(9_000, 5), (40_000, 3), (100, 2_500), (20_000, 1_025)])
def test_units_cover_every_entry_of_every_seed_once(length: int, count: int) -> None:
    """Their sizes are bounded whatever the size of the round, and the parts add up."""
    recording = Recording()
    rng = np.random.default_rng(3)
    seeds = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    negate = rng.integers(0, 2, count).astype(np.bool_)
    for segment in (Segment.ring(26, length), Segment.ring(50, length // 7), Segment.prime(ELL, length // 70)):
        recording.jobs.clear()
        cover = np.zeros(segment.length, dtype=np.int64)
        wide = np.zeros((segment.length, 32), dtype=np.uint8)
        total: Any = np.zeros(segment.length, dtype=np.uint32 if segment.bits <= 32 else np.uint64)
        for start, part in sum_of_masks(segment, seeds, negate, cipher=1, executor=recording):
            cover[start : start + len(part)] += 1
            if segment.is_ring:
                total[start : start + len(part)] += part
            else:
                lanes_add(wide[start : start + len(part)], part, ELL)
        assert (cover == -(-count // UNIT_SEEDS)).all()
        assert max(map(len, recording.jobs)) < 40_000
        whole = UnmaskJob(1, segment, 0, segment.length, seeds.tobytes(), negate.astype(np.uint8).tobytes())
        assert (total if segment.is_ring else wide).tobytes() == run_unmask_job(whole.to_bytes())


class Counting(Executor):
    """Keeps every unit until it is asked for: how many wait at a time?"""

    def __init__(self) -> None:
        self.waiting = self.most = self.cancelled = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        executor = self
        self.waiting += 1
        self.most = max(self.most, self.waiting)

        class Lazy(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                executor.waiting -= 1
                return fn(*args, **kwargs)

            def cancel(self) -> bool:
                executor.cancelled += 1
                return super().cancel()

        return Lazy()


def test_the_units_under_way_are_bounded_and_cancelled_with_the_round() -> None:
    counting = Counting()
    segment = Segment.ring(32, 1 << 14)
    seeds = np.zeros((300 * UNIT_SEEDS, 32), dtype=np.uint8)
    parts = sum_of_masks(segment, seeds, np.zeros(len(seeds), dtype=np.bool_), cipher=1, executor=counting)
    next(parts)
    parts.close()
    assert counting.most == IN_FLIGHT
    assert counting.cancelled == IN_FLIGHT - 1
