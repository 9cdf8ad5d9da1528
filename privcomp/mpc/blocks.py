"""Carries over blocks of planes: products of bits inside of a block cost bytes, and no rounds.

Of addends u and t one party knows all bits of the one and another party all bits of the other. What a block of k planes
does to a carry is then a sum of products, each of a monomial in bits of u by one in bits of t:

    generate  g = XOR over i of u_i t_i AND over j > i of (u_j ^ t_j)
                = XOR over S != {} of u^S t^c(S),  c(S) = {i} + {j > i not in S},  i the lowest of S
    propagate p = AND over j of (u_j ^ t_j) = XOR over S of u^S t^(all but S)

(S picks u_j or t_j of every factor; the lowest i of S is where g's own product stands). Monomials are shared instead of
bits, 2^k - 1 for k of them, and one round later g and p of every block are there: log2(k) layers of a tree are saved,
with the two ANDs for each node in them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from privcomp.typing import I64Array, U32Array, U64Array

__all__ = ["Plan", "Sums", "monomials", "plan"]

_LARGEST: Final = 3


@dataclass(frozen=True, eq=False)
class Sums:
    """Which products of planes of x and y are added up, modulo 2.

    Attributes:
        ends: u32 (rows,), ascending: row r is the XOR over k in [ends[r - 1], ends[r]) of x[left[k]] & y[right[k]].
        left, right: u32 (terms,).
        label: stands for all of it.
    """

    ends: U32Array
    left: U32Array
    right: U32Array
    label: str


@dataclass(frozen=True, eq=False)
class Plan:
    """How the carry out of some planes is found.

    Attributes:
        sizes: planes of the blocks, lowest first.
        sums: g of every block, then p of every block but the lowest, without their products over one whole addend.
        whole: of every block but the lowest, which monomial is the product over all of it.
    """

    sizes: tuple[int, ...]
    sums: Sums
    whole: I64Array


def _best(planes: int) -> tuple[int, ...]:
    """Fewest rounds for blocks of three planes at most, then the fewest bytes of who sends most, then of all.

    One party of `rep3` sends monomials, the others products, all of them ANDs of the tree.
    """

    def cost(sizes: tuple[int, ...]) -> tuple[int, int, int]:
        count, inputs = len(sizes), sum((1 << k) - 1 for k in sizes)
        products, ands = 2 * count - 1, 2 * (count - 1) - (count - 1).bit_length()
        most = max(inputs, products) + ands
        return (count - 1).bit_length(), most, inputs + 2 * products + 3 * ands

    return min(
        (
            tuple(planes // count + (i >= count - planes % count) for i in range(count))
            for count in range(1, planes + 1)
        ),
        key=lambda sizes: cost(sizes) if sizes[-1] <= _LARGEST else (planes, 0, 0),
    )


@functools.lru_cache(maxsize=64)
def plan(planes: int) -> Plan:
    """For the carry out of this many planes, 1 .. 63.

    >>> plan(17).sizes, plan(3).sizes
    ((2, 2, 2, 2, 2, 2, 2, 3), (3,))
    """
    sizes = _best(planes)
    starts = [sum((1 << k) - 1 for k in sizes[:i]) for i in range(len(sizes))]
    rows: list[list[tuple[int, int]]] = []
    for start, k in zip(starts, sizes, strict=True):
        # Monomial S of a block stands at start + S - 1. c(S): all planes from the lowest of S on, without the others.
        row = []
        for s in range(1, 1 << k):
            low = s & -s
            row.append((start + s - 1, start + ((((1 << k) - low) & ~s) | low) - 1))
        rows.append(row)
    for start, k in zip(starts[1:], sizes[1:], strict=True):
        full = (1 << k) - 1
        rows.append([(start + s - 1, start + (full ^ s) - 1) for s in range(1, full)])
    flat = [term for row in rows for term in row]
    sums = Sums(
        np.cumsum([len(row) for row in rows], dtype=np.uint32),
        np.array([left for left, _ in flat], np.uint32),
        np.array([right for _, right in flat], np.uint32),
        f"blocks {sizes}",
    )
    whole = np.array([start + (1 << k) - 2 for start, k in zip(starts[1:], sizes[1:], strict=True)], np.int64)
    return Plan(sizes, sums, whole)


def monomials(planes: U64Array, sizes: Sequence[int]) -> U64Array:
    """Products of the planes of every block: at its place S - 1, of those planes whose bits are set in S.

    Args:
        planes: u64 (sum of sizes, words).
        sizes: planes of the blocks.

    Returns:
        u64 (sum of 2^size - 1, words).
    """
    out = np.empty((sum((1 << k) - 1 for k in sizes), planes.shape[1]), np.uint64)
    block = source = target = 0
    while block < len(sizes):
        k, count = sizes[block], 1
        while block + count < len(sizes) and sizes[block + count] == k:
            count += 1
        each = (1 << k) - 1
        bits = planes[source : source + k * count].reshape(count, k, -1)
        found = out[target : target + each * count].reshape(count, each, -1)
        for s in range(1, 1 << k):
            rest, top = s & (s - 1), (s & -s).bit_length() - 1
            if rest:
                np.bitwise_and(found[:, rest - 1], bits[:, top], out=found[:, s - 1])
            else:
                found[:, s - 1] = bits[:, top]
        block, source, target = block + count, source + k * count, target + each * count
    return out
