"""What the ways of sharing have in common: seeds in place of random vectors, work in parts, what shares belong to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from privcomp.typing import RingArray, U8Array

#: A seed: key and first counter block of an AES-128-CTR stream.
SEED_BYTES: Final = _core.SEED_BYTES[_core.AES128_CTR]
#: Threads that a call may use.
MAX_THREADS: Final = 256
#: Numbers whose masks pay for a thread.
_LEAST: Final = 1 << 16
#: Threads that wait for more work.
_IDLE_MAX: Final = 16


class Belonging(Protocol):
    """What every share says of itself."""

    @property
    def owner(self) -> bytes: ...
    @property
    def context(self) -> bytes: ...


def check_belonging(shares: Sequence[Belonging], owner: bytes, context: bytes) -> None:
    """Raises ParameterError unless all shares are of this owner and session."""
    for s in shares:
        if s.owner != owner:
            raise ParameterError(
                f"a share of owner {s.owner!r} among those of {owner!r}; combine the shares of one owner"
            )
        if s.context != context:
            raise ParameterError(
                f"a share of session {s.context.hex()!r} among those of {context.hex()!r}; "
                "shares of two sessions do not combine"
            )


def check_ring(name: str, values: object, dtypes: tuple[str, ...] = ("uint32", "uint64")) -> None:
    """Raises BufferTypeError unless this is a C-contiguous array of one dimension and one of the dtypes."""
    allowed = " or ".join(dtypes)
    if not isinstance(values, np.ndarray) or values.dtype.name not in dtypes or not values.dtype.isnative:
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise BufferTypeError(f"{name} is {found}; pass a numpy array of {allowed}")
    if values.ndim != 1 or not values.flags.c_contiguous:
        raise BufferTypeError(f"{name} has {values.ndim} dimensions or gaps; pass one contiguous dimension")


def draw_seed(rng: Callable[[int], bytes]) -> bytes:
    """One fresh seed; ParameterError if rng gives another number of bytes."""
    seed = rng(SEED_BYTES)
    if len(seed) != SEED_BYTES:
        raise ParameterError(f"rng gave {len(seed)} bytes where {SEED_BYTES} were asked for")
    return bytes(seed)


def expand(seed: bytes, length: int, dtype: np.dtype[Any], *, threads: int = 1) -> RingArray:
    """The vector of a seed: little-endian words of its AES-128-CTR stream."""
    out: RingArray = np.zeros(length, dtype)
    add_streams(out, [seed], negate=False, threads=threads)
    return out


def add_streams(
    out: RingArray, seeds: Sequence[bytes], *, negate: bool, start: RingArray | None = None, threads: int = 1
) -> None:
    """out = start + (or -) the vectors of the seeds; `start` None: what `out` holds."""
    keys: U8Array = np.frombuffer(b"".join(seeds), np.uint8).reshape(len(seeds), SEED_BYTES)
    signs = np.full(len(seeds), negate, np.bool_)

    def work(first: int, last: int) -> None:
        before = None if start is None else start[first:last]
        _core.mask_add(out[first:last], keys, signs, start=before, offset=first)

    in_parts(work, out.size, threads)


def in_parts(work: Callable[[int, int], None], size: int, threads: int, least: int = _LEAST) -> None:
    """work(first, last) for parts that cover range(size), by this thread and threads - 1 further ones.

    Args:
        work: releases the interpreter's lock for the most part, and writes to its part only.
        size: of the whole.
        threads: 1 .. MAX_THREADS.
        least: fewer than this do not pay for a thread.

    Raises:
        ParameterError: threads is out of range; and what work raises.
    """
    if not 1 <= threads <= MAX_THREADS:
        raise ParameterError(f"threads is {threads}; allowed is [1, {MAX_THREADS}]")
    parts = max(1, min(threads, size // least))
    if parts == 1:
        work(0, size)
        return
    cuts = [size * k // parts // 64 * 64 for k in range(parts)] + [size]  # whole lines of a cache
    errors: list[BaseException] = []

    def part(k: int) -> None:
        try:
            work(cuts[k], cuts[k + 1])
        except BaseException as error:  # noqa: BLE001 (raised below, in the caller's thread)
            errors.append(error)

    others = [_Worker.begin(partial(part, k)) for k in range(1, parts)]
    part(0)
    for over in others:
        over.acquire()
    if errors:
        raise errors[0]


class _Worker:
    """A thread that waits for work: to wake one takes less than to start one, by a sixth of the time of a million
    additive shares."""

    idle: ClassVar[list[_Worker]] = []

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], None], threading.Lock]] = SimpleQueue()
        threading.Thread(target=self._serve, name="privcomp-part", daemon=True).start()

    @classmethod
    def begin(cls, job: Callable[[], None]) -> threading.Lock:
        """Run a job, which does not raise; the lock is free when it is over."""
        over = threading.Lock()
        over.acquire()
        try:
            worker = cls.idle.pop()
        except IndexError:
            worker = cls()
        worker._jobs.put((job, over))
        return over

    def _serve(self) -> None:
        stays = True
        while stays:
            job, over = self._jobs.get()
            job()
            del job  # what it works on is the caller's
            stays = len(self.idle) < _IDLE_MAX
            if stays:
                self.idle.append(self)
            over.release()
            del over


if hasattr(os, "register_at_fork"):  # a fork has none of the threads
    os.register_at_fork(after_in_child=_Worker.idle.clear)
