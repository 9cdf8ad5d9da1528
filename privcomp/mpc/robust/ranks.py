"""Ranks on shares: who is smaller than whom, without moving anything.

All pairs of a row are compared side by side, and the bits are added up: rank_j counts the numbers before number j, ties
going to the lower index, as in a stable sort. m (m - 1) / 2 comparisons a row instead of a network's m log^2 m, but two
dozen rounds altogether instead of hundreds; with rows of distances between clients the comparisons are few beside the
updates themselves. A rank below m is counted modulo 2^ceil(log2 m + 1), so that its bits cost a byte or two to convert.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from privcomp.mpc.backend import Bits, ReplicatedBackend, Value
from privcomp.mpc.circuits import sign
from privcomp.typing import U64Array

__all__ = ["smallest", "smallest_sums"]

_PAIRS: Final = 1 << 19
"""Comparisons at a time."""


async def _ranks(backend: ReplicatedBackend, values: Value, bound: int, width: int) -> Value:
    """The rank of each number in its row, modulo 2^width; (rows, m), |difference| <= bound < 2^63."""
    rows, m = values.shape
    first, second = np.triu_indices(m, 1)
    # bit = [v_second < v_first]: set, the second comes first; not set (ties too), the first does.
    later = backend.sub(values.map(lambda p: p[:, second]), values.map(lambda p: p[:, first]))
    bits = await sign(backend, later, bound.bit_length() + 1)
    number = await backend.to_number(bits, width)

    def total(part: U64Array) -> U64Array:
        # rank_j = sum over pairs (j, k) of bit, + sum over pairs (i, j) of (1 - bit); the ones are added below.
        table = np.zeros((rows, m, m), np.uint64)
        flat = part.reshape(rows, -1)
        table[:, first, second] = flat
        table[:, second, first] = np.uint64(0) - flat
        added: U64Array = table.sum(axis=2, dtype=np.uint64)
        return added

    return backend.add_public(number.map(total), np.broadcast_to(np.arange(m, dtype=np.uint64), (rows, m)))


async def _smallest_bits(backend: ReplicatedBackend, values: Value, count: int, bound: int) -> Bits:
    """One plane over (rows, m), flattened: whether a number is among the `count` smallest of its row, 0 < count < m."""
    _, m = values.shape
    width = m.bit_length() + 1
    ranks = await _ranks(backend, values, bound, width)
    # |rank - count| < m <= 2^(width - 1)
    return await sign(backend, backend.add_public(ranks, np.full(values.shape, (1 << 64) - count, np.uint64)), width)


async def smallest(backend: ReplicatedBackend, values: Value, count: int, bound: int) -> Value:
    """0 or 1 for each number: whether it is among the `count` smallest of its row; exact modulo 2^64.

    Args:
        values: (rows, m).
        count: 1 .. m.
        bound: two numbers of a row differ by at most this, below 2^63.
    """
    rows, m = values.shape
    if count == m:
        return backend.public(np.ones((rows, m), np.uint64))
    step = max(1, _PAIRS // max(1, m * (m - 1) // 2))
    chosen = []
    for start in range(0, rows, step):
        part = Value(tuple(p[start : start + step] for p in values.parts))
        number = await backend.to_number(await _smallest_bits(backend, part, count, bound), 64)
        chosen.append(number.map(lambda p: p.reshape(-1, m)))
    return Value(tuple(np.concatenate(parts) for parts in zip(*(value.parts for value in chosen), strict=True)))


async def smallest_sums(backend: ReplicatedBackend, values: Value, count: int, bound: int) -> Value:
    """The sum of the `count` smallest numbers of each row, (rows,); arguments as in `smallest`."""
    chosen = await smallest(backend, values, count, bound)
    product = await backend.mul(chosen, values)
    return product.map(lambda p: p.sum(axis=1, dtype=np.uint64))
