"""Work units of the server's unmasking: plain bytes in, plain bytes out, so that any executor can run them anywhere.

A unit holds what the aggregation server may know anyway: seeds of masks that it is about to remove, without the ids
that they belong to, and without any upload. It covers up to `UNIT_SEEDS` seeds and 64 KiB of keystream of each: at most
64 MiB of keystream, tens of milliseconds of work, for some 32 KiB there and 64 KiB back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privcomp._core import SEED_BYTES, lanes_mask, mask_add
from privcomp.codec import U8, U32, U64, Blob, Codec, Message, Nested
from privcomp.errors import ExecutorError, ParameterError
from privcomp.secagg.params import Segment

__all__ = ["ATTEMPTS", "IN_FLIGHT", "UNIT_SEEDS", "UnmaskJob", "run_unmask_job", "sum_of_masks"]

UNIT_SEEDS = 1 << 10
_UNIT_STREAM = 1 << 16
#: Units that wait at the executor at a time: enough for hundreds of workers, and a bound for what results take.
IN_FLIGHT = 256
#: How often a unit is given to the executor before its failure is the executor's, and an error.
ATTEMPTS = 3
_MAX_JOB = 1 << 20


@dataclass(frozen=True)
class UnmaskJob(Message):
    """Sum of (+/-) keystreams over entries [offset, offset + count) of a segment.

    Attributes:
        cipher, segment: which keystream, which modulus.
        offset, count: range of entries.
        seeds: concatenated seeds of SEED_BYTES[cipher] bytes.
        negate: one byte 0 or 1 per seed.

    Raises:
        ParameterError: seeds and signs do not fit together, or the range is not one of the segment.
    """

    TAG: ClassVar[int] = 0x39
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("cipher", U8),
        ("segment", Nested(Segment)),
        ("offset", U64),
        ("count", U32),
        ("seeds", Blob(_MAX_JOB)),
        ("negate", Blob(_MAX_JOB)),
    )
    cipher: int
    segment: Segment
    offset: int
    count: int
    seeds: bytes
    negate: bytes

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.negate) * SEED_BYTES.get(self.cipher, -1) or self.negate.strip(b"\0\1"):
            raise ParameterError("a unit of the unmasking has one sign, 0 or 1, for each seed of its cipher")
        if not self.count or self.offset + self.count > self.segment.length:
            raise ParameterError("a unit of the unmasking covers entries of its segment")

    def __repr__(self) -> str:
        return f"UnmaskJob(offset={self.offset}, count={self.count}, <redacted>)"


def run_unmask_job(job: bytes, attempt: int = 1) -> bytes:
    """Run one unit, in whatever process or machine: returns `count` u32, u64 or 32-byte residues, little endian.

    Args:
        job: an `UnmaskJob`.
        attempt: counts how often the unit was given away, and does nothing: some executors remember a call by its
            arguments, and must not answer the second one with the failure of the first.

    Raises:
        CodecError: this is no unit of this release.
    """
    unit = UnmaskJob.from_bytes(job, max_bytes=2 * _MAX_JOB)
    seeds = np.frombuffer(unit.seeds, dtype=np.uint8).reshape(-1, SEED_BYTES[unit.cipher])
    negate = np.frombuffer(unit.negate, dtype=np.uint8).astype(np.bool_)
    if unit.segment.is_ring:
        acc: NDArray[Any] = np.zeros(unit.count, dtype=np.uint32 if unit.segment.bits <= 32 else np.uint64)
        mask_add(acc, seeds, negate, offset=unit.offset, cipher=unit.cipher)
        return acc.tobytes()
    lanes = np.zeros((unit.count, 32), dtype=np.uint8)
    modulus = int.from_bytes(unit.segment.modulus, "little")
    lanes_mask(lanes, modulus, seeds, negate, offset=unit.offset, cipher=unit.cipher)
    return lanes.tobytes()


def sum_of_masks(
    segment: Segment,
    seeds: NDArray[np.uint8],
    negate: NDArray[np.bool_],
    *,
    cipher: int,
    executor: Executor,
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The masks of a segment, in parts that add up modulo its modulus: (first entry, u32 / u64 array or (n, 32)
    residues). An entry occurs in one part per `UNIT_SEEDS` seeds.

    Args:
        segment: where the masks are.
        seeds: u8 (k, SEED_BYTES[cipher]).
        negate: bool (k,).
        cipher: of the seeds.
        executor: any `concurrent.futures.Executor`, of threads, processes or machines. A unit that is lost with its
            worker is given to it again, `ATTEMPTS` times in all; if it takes no work any more (a pool that broke, a
            cluster that was closed), the rest is computed in this process. A worker that returns wrong values of the
            right length is trusted.

    Raises:
        ExecutorError: a unit failed `ATTEMPTS` times, or a worker returned what is no result of its unit.
    """
    units = _units(segment, seeds, negate, cipher)
    waiting: deque[tuple[UnmaskJob, bytes, Future[bytes] | None]] = deque()
    try:
        while True:
            while len(waiting) < IN_FLIGHT and (unit := next(units, None)) is not None:
                job = unit.to_bytes()
                waiting.append((unit, job, _submitted(executor, job, 1)))
            if not waiting:
                return
            unit, job, future = waiting.popleft()
            yield unit.offset, _part(unit, _result(executor, job, future))
    finally:
        for *_, future in waiting:
            if future is not None:
                future.cancel()


def _units(segment: Segment, seeds: NDArray[np.uint8], negate: NDArray[np.bool_], cipher: int) -> Iterator[UnmaskJob]:
    step = _UNIT_STREAM // segment.itemsize
    for start in range(0, segment.length, step):
        count = min(step, segment.length - start)
        for first in range(0, len(seeds), UNIT_SEEDS):
            some, signs = seeds[first : first + UNIT_SEEDS], negate[first : first + UNIT_SEEDS]
            yield UnmaskJob(cipher, segment, start, count, some.tobytes(), signs.astype(np.uint8).tobytes())


def _submitted(executor: Executor, job: bytes, attempt: int) -> Future[bytes] | None:
    """The unit's future, or None where the executor takes no work any more."""
    try:
        return executor.submit(run_unmask_job, job, attempt)
    except (OSError, RuntimeError):  # a pool that lost a worker refuses everything from then on
        return None


def _result(executor: Executor, job: bytes, future: Future[bytes] | None) -> Any:
    attempt = 1
    while future is not None:
        try:
            return future.result()
        except Exception as error:  # whatever a foreign executor raises when it loses a worker
            if attempt == ATTEMPTS:
                raise ExecutorError(
                    f"a unit of the unmasking failed {attempt} times on the executor, at last with "
                    f"{type(error).__name__}: {str(error)[:300]}; nothing was opened: repair the workers (do they have "
                    "this release of privcomp?) or set another executor, and ask for the result again"
                ) from error
            attempt += 1
            future = _submitted(executor, job, attempt)
    return run_unmask_job(job)


def _part(unit: UnmaskJob, result: Any) -> NDArray[Any]:
    """What a worker returned, as an array; it is checked here because it may come from another machine."""
    ring = unit.segment.is_ring
    size = unit.count * (unit.segment.itemsize if ring else 32)
    if type(result) is not bytes or len(result) != size:
        seen = f"{len(result)} bytes" if type(result) is bytes else f"a {type(result).__name__}"
        raise ExecutorError(
            f"a worker returned {seen} for a unit of the unmasking, {size} bytes are needed; nothing was opened: give "
            "the workers this release of privcomp, or set another executor, and ask for the result again"
        )
    if ring:
        return np.frombuffer(result, dtype=np.dtype(f"<u{unit.segment.itemsize}"))
    return np.frombuffer(result, dtype=np.uint8).reshape(-1, 32)
