"""Work units of the server's unmasking: plain bytes in, plain bytes out, so that any executor can run them anywhere.

A unit holds what the aggregation server may know anyway: seeds of masks that it is about to remove.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privcomp._core import SEED_BYTES, lanes_mask, mask_add
from privcomp.codec import U8, U32, U64, Blob, Codec, Message, Nested
from privcomp.secagg.params import Segment

__all__ = ["UnmaskJob", "run_unmask_job", "sum_of_masks"]


@dataclass(frozen=True)
class UnmaskJob(Message):
    """Sum of (+/-) keystreams over entries [offset, offset + count) of a segment.

    Attributes:
        cipher, segment: which keystream, which modulus.
        offset, count: range of entries.
        seeds: concatenated seeds of SEED_BYTES[cipher] bytes.
        negate: one byte 0 or 1 per seed.
    """

    TAG: ClassVar[int] = 0x39
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("cipher", U8),
        ("segment", Nested(Segment)),
        ("offset", U64),
        ("count", U32),
        ("seeds", Blob((1 << 32) - 1)),
        ("negate", Blob((1 << 32) - 1)),
    )
    cipher: int
    segment: Segment
    offset: int
    count: int
    seeds: bytes
    negate: bytes

    def __repr__(self) -> str:
        return f"UnmaskJob(offset={self.offset}, count={self.count}, <redacted>)"


def run_unmask_job(job: bytes) -> bytes:
    """Run one unit: returns `count` u32, u64 or 32-byte residues, little endian."""
    unit = UnmaskJob.from_bytes(job, max_bytes=(1 << 33))
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


def _submitted(executor: Executor, job: bytes) -> Future[bytes] | None:
    """The unit's future, or None where the executor takes no work any more."""
    try:
        return executor.submit(run_unmask_job, job)
    except (OSError, RuntimeError):  # a pool that lost a worker refuses everything from then on
        return None


def sum_of_masks(
    segment: Segment,
    seeds: NDArray[np.uint8],
    negate: NDArray[np.bool_],
    *,
    cipher: int,
    block_entries: int,
    executor: Executor,
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The masks of a segment, block by block: (first entry, u32 / u64 array or (n, 32) residues).

    Args:
        executor: any `concurrent.futures.Executor`. A unit that fails, or returns another number of bytes, is run again
            once in this process; a worker that returns wrong values is trusted.
    """
    flat, signs = seeds.tobytes(), negate.astype(np.uint8).tobytes()
    starts = range(0, segment.length, block_entries)
    jobs = [
        UnmaskJob(cipher, segment, start, min(block_entries, segment.length - start), flat, signs).to_bytes()
        for start in starts
    ]
    futures = [_submitted(executor, job) for job in jobs]
    for start, job, future in zip(starts, jobs, futures, strict=True):
        width = 32 if not segment.is_ring else segment.itemsize
        size = min(block_entries, segment.length - start) * width
        try:
            result = future.result() if future is not None else run_unmask_job(job)
        except Exception:  # noqa: BLE001 (whatever a foreign executor raises when it loses a worker)
            result = b""
        if type(result) is not bytes or len(result) != size:
            result = run_unmask_job(job)  # a lost worker costs a retry, never a wrong sum
        if segment.is_ring:
            yield start, np.frombuffer(result, dtype=np.uint32 if segment.bits <= 32 else np.uint64)
        else:
            yield start, np.frombuffer(result, dtype=np.uint8).reshape(-1, 32)
