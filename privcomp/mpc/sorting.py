"""Sorting networks on bit planes: which comparators there are does not depend on what is sorted.

Batcher's odd-even merge sort, cut to n wires: 32, 103, 403, 1,104 comparators for n = 10, 20, 50, 100. The wires above
n would hold something larger than everything else, so a comparator that touches one never exchanges and is left out. Of
the rest only those are kept that some wanted output depends on; each stands in the first layer in which both of its
inputs are there, and all comparators of a layer run side by side: 2 + ceil(log2 w) rounds a layer for w bits.

Source: Batcher, "Sorting Networks and their Applications", AFIPS 1968.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc.backend import Bits, Value, words
from privcomp.mpc.circuits import all_of, compare_exchange, count_ones, invert, less, sign

if TYPE_CHECKING:
    from privcomp.mpc.backend import ReplicatedBackend
    from privcomp.typing import U64Array

__all__ = [
    "MAX_TALLIED",
    "MAX_WIRES",
    "check_ranks",
    "comparators",
    "layers",
    "order_statistics",
    "pruned",
    "sum_of_ranks",
]

MAX_WIRES: Final = 1 << 10
MAX_TALLIED: Final = 12
"""Up to so many items all pairs are compared at once: more of them are more ANDs than a network's."""

Comparator = tuple[int, int]
"""Two wires, the first of which gets the smaller."""


def _merge(low: int, count: int, step: int) -> Iterator[Comparator]:
    """Merge the sorted halves of wires low, low + step, ... below low + count."""
    if 2 * step < count:
        yield from _merge(low, count, 2 * step)
        yield from _merge(low + step, count, 2 * step)
        yield from ((i, i + step) for i in range(low + step, low + count - step, 2 * step))
    else:
        yield low, low + step


def _sort(low: int, count: int) -> Iterator[Comparator]:
    if count > 1:
        yield from _sort(low, count // 2)
        yield from _sort(low + count // 2, count // 2)
        yield from _merge(low, count, 1)


def comparators(n: int) -> list[Comparator]:
    """The network that sorts n wires ascending, 1 <= n <= MAX_WIRES.

    >>> [len(comparators(n)) for n in (2, 10, 20, 50, 100)]
    [1, 32, 103, 403, 1104]
    """
    if not 1 <= n <= MAX_WIRES:
        raise ParameterError(f"{n} wires; allowed is [1, {MAX_WIRES}]")
    return [pair for pair in _sort(0, 1 << (n - 1).bit_length()) if pair[1] < n]


def pruned(network: Sequence[Comparator], outputs: Sequence[int]) -> list[Comparator]:
    """What remains of a network if only these wires are looked at afterwards.

    >>> len(pruned(comparators(10), [4, 5])), len(pruned(comparators(10), [0]))
    (29, 9)
    """
    needed, kept = set(outputs), []
    for low, high in reversed(network):
        if low in needed or high in needed:
            kept.append((low, high))
            needed |= {low, high}
    return kept[::-1]


def layers(network: Sequence[Comparator]) -> list[list[Comparator]]:
    """Comparators that do not wait for each other, together."""
    ready: dict[int, int] = {}
    found: list[list[Comparator]] = []
    for low, high in network:
        at = max(ready.get(low, 0), ready.get(high, 0))
        ready[low] = ready[high] = at + 1
        if at == len(found):
            found.append([])
        found[at].append((low, high))
    return found


def _tournament(n: int) -> Iterator[Comparator]:
    """What a network for n wires comes to if only the smallest is wanted: n - 1 comparators."""
    step = 1
    while step < n:
        yield from ((i, i + step) for i in range(0, n - step, 2 * step))
        step *= 2


@functools.lru_cache(maxsize=64)
def _plan(n: int, ranks: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    network = layers(list(_tournament(n)) if ranks == (0,) else pruned(comparators(n), ranks))
    return tuple((tuple(low for low, _ in layer), tuple(high for _, high in layer)) for layer in network)


def check_ranks(count: int, ranks: Sequence[int]) -> None:
    """Refuse what no network here sorts.

    Raises:
        ParameterError: a rank that there is not, or too many items. The smallest and the largest have no limit.
    """
    if not ranks or not all(0 <= rank < count for rank in ranks):
        raise ParameterError(f"ranks {list(ranks)} of {count} items; allowed is [0, {count - 1}], at least one")
    if count > MAX_WIRES and set(ranks) not in ({0}, {count - 1}):
        raise ParameterError(f"{count} items along the sorted axis; allowed are {MAX_WIRES}")


async def order_statistics(
    backend: ReplicatedBackend, items: Bits, count: int, ranks: Sequence[int], *, signed: bool
) -> Bits:
    """Of `count` numbers per lane, those of the given ranks.

    Args:
        items: planes, lowest first; a plane holds item 0 of all lanes, then item 1, and so on, each padded to whole
            words: `items.n` = 64 * count * words(lanes).
        count: of items.
        ranks: 0 is the smallest; in any order.
        signed: two's complement.

    Returns:
        planes of the chosen items in the order of `ranks`, laid out alike.
    """
    check_ranks(count, ranks)
    planes, width = items.planes, words(items.n) // count
    if items.n != 64 * count * width:
        raise ParameterError(f"planes of {items.n} bits are not {count} items of whole words")
    if count > 1 and set(ranks) == {count - 1}:
        # The network is cut at the top, and finds the smallest with fewer comparators than the largest.
        flipped = await order_statistics(backend, invert(backend, items), count, [0] * len(ranks), signed=signed)
        return invert(backend, flipped)
    if signed:
        items = _flip_top(backend, items)
    if 2 < count <= MAX_TALLIED and set(ranks) != {0}:
        chosen = await _tally(backend, items, count, ranks)
        return _flip_top(backend, chosen) if signed else chosen
    wires = [part.reshape(planes, count, width).copy() for part in items.parts]
    for low, high in _plan(count, tuple(sorted(set(ranks)))):
        n = 64 * len(low) * width
        left, right = (
            Bits(tuple(part[:, at, :].reshape(planes, -1) for part in wires), n) for at in (list(low), list(high))
        )
        smaller, larger = await compare_exchange(backend, left, right)
        for part, small, large in zip(wires, smaller.parts, larger.parts, strict=True):
            part[:, list(low), :] = small.reshape(planes, -1, width)
            part[:, list(high), :] = large.reshape(planes, -1, width)
    chosen = Bits(tuple(part[:, list(ranks), :].reshape(planes, -1) for part in wires), 64 * len(ranks) * width)
    return _flip_top(backend, chosen) if signed else chosen


def _ballots(backend: ReplicatedBackend, later_first: Bits, count: int) -> Bits:
    """Of [x_j < x_i] for all pairs i < j in their order count - 1 planes: plane k has the k-th vote on every item."""
    width = words(later_first.n) * 2 // (count * (count - 1))
    pairs = count * (count - 1) // 2
    # Row k, item i: the k-th vote on i, out of [x_j < x_i] for j > i, and their inverses for the other item.
    votes: list[list[int]] = [[] for _ in range(count)]
    for pair, (i, j) in enumerate(itertools.combinations(range(count), 2)):
        votes[i].append(pair)
        votes[j].append(pairs + pair)
    order = np.array(votes).T
    parts = [
        np.concatenate([a.reshape(-1, width), b.reshape(-1, width)])[order].reshape(count - 1, -1)
        for a, b in zip(later_first.parts, invert(backend, later_first).parts, strict=True)
    ]
    return Bits(tuple(parts), 64 * width * count)


async def _tally(backend: ReplicatedBackend, items: Bits, count: int, ranks: Sequence[int]) -> Bits:
    """Order statistics of few items without a network: compare all pairs at once, and count.

    The rank of item i is how many go before it: j < i with x_j <= x_i, and j > i with x_j < x_i. So ranks are a
    permutation, ties included. Counts are added up bit by bit; an item is chosen where its count is the rank. For 10
    items of 16 bits this is as many ANDs as the network, in 12 rounds instead of 54.
    """
    planes, width = items.planes, words(items.n) // count
    lanes = 64 * width
    wires = [part.reshape(planes, count, width) for part in items.parts]
    first, second = (np.array(side) for side in zip(*itertools.combinations(range(count), 2), strict=True))
    left, right = (
        Bits(tuple(part[:, side, :].reshape(planes, -1) for part in wires), lanes * first.size)
        for side in (first, second)
    )
    later_first = await less(backend, right, left)
    digits = await count_ones(backend, _ballots(backend, later_first, count))
    patterns = np.array(
        [[-(rank >> bit & 1 ^ 1) % (1 << 64) for rank in ranks] for bit in range(digits.planes)], np.uint64
    )
    several = Bits(tuple(np.tile(part, len(ranks)) for part in digits.parts), lanes * count * len(ranks))
    chosen = await all_of(backend, backend.xor_public(several, np.repeat(patterns, count * width, axis=1)))
    shape = (planes, len(ranks), count, width)
    marks, values = (
        Bits(tuple(np.broadcast_to(part, shape).reshape(planes, -1) for part in parts), lanes * count * len(ranks))
        for parts in (
            [part.reshape(1, len(ranks), count, width) for part in chosen.parts],
            [part[:, None] for part in wires],
        )
    )
    kept = await backend.bit_and(marks, values)
    # At most one item is marked for each rank and lane.
    return Bits(
        tuple(np.bitwise_xor.reduce(part.reshape(shape), axis=2).reshape(planes, -1) for part in kept.parts),
        lanes * len(ranks),
    )


Cube = dict[int, bool]
"""Digits of a number and what they have to be."""


def _cubes(wanted: frozenset[int], below: int) -> list[Cube]:
    """Cubes that have each wanted number in one of them, and no other number below `below` in any.

    Blocks of 2^k numbers that are all wanted; then every digit is left out without which the block takes in nothing
    but what does not matter.

    >>> _cubes(frozenset([4, 5]), 10)
    [{2: True, 1: False}]
    """

    def within(cube: Cube) -> frozenset[int]:
        return frozenset(x for x in range(below) if all(bool(x >> at & 1) == value for at, value in cube.items()))

    def split(cube: Cube, digit: int) -> list[Cube]:
        block = within(cube)
        if not block & wanted:
            return []
        if block <= wanted:
            return [cube]
        return [found for value in (False, True) for found in split({**cube, digit: value}, digit - 1)]

    cubes = split({}, (below - 1).bit_length() - 1)
    for i, cube in enumerate(cubes):
        left = wanted.difference(*(within(other) for other in cubes[:i] + cubes[i + 1 :]))
        for digit in sorted(cube, reverse=True):
            fewer = {at: value for at, value in cube.items() if at != digit}
            if within(fewer) <= left:
                cube = fewer
        cubes[i] = cube
    return cubes


async def _among(backend: ReplicatedBackend, digits: Bits, cubes: Sequence[Cube]) -> Bits:
    """Whether the number lies in one of the cubes, of which no two have a number in common: one plane."""
    opposite = invert(backend, digits)
    factors = [[(digits if value else opposite)[at : at + 1] for at, value in cube.items()] for cube in cubes]
    while any(len(row) > 1 for row in factors):
        pairs = [(row[i], row[i + 1]) for row in factors for i in range(0, len(row) - 1, 2)]
        both = await backend.bit_and(*(Bits.stack([pair[side] for pair in pairs]) for side in (0, 1)))
        at, rest = 0, []
        for row in factors:
            half = len(row) // 2
            rest.append([both[k : k + 1] for k in range(at, at + half)] + row[2 * half :])
            at += half
        factors = rest
    return functools.reduce(backend.xor, [row[0] for row in factors])


async def sum_of_ranks(backend: ReplicatedBackend, items: Value, width: int, ranks: Sequence[int]) -> Value:
    """The sum of some order statistics of few numbers, as a number.

    As `_tally` does for bits, with the signs of differences of shared numbers: no bits of the numbers are needed. Ranks
    are a permutation, so that one mark per item says whether it is added up.

    Args:
        items: (count, lanes), 2 <= count <= MAX_TALLIED, lanes a multiple of 64.
        width: differences of two items lie in [-2^(width - 1), 2^(width - 1)); at most 64.
        ranks: 0 is the smallest; all different.

    Returns:
        (lanes,).

    Raises:
        ParameterError: there are no such ranks, one is named twice, or there are too many items.
    """
    count, lanes = items.shape
    wanted = frozenset(ranks)
    check_ranks(count, ranks)
    if not 2 <= count <= MAX_TALLIED or lanes % 64 or len(wanted) != len(ranks):
        raise ParameterError(
            f"ranks {list(ranks)} of {count} items and {lanes} lanes; allowed are different ranks of 2 .. "
            f"{MAX_TALLIED} items, and whole words of lanes"
        )
    if len(wanted) == count:
        return backend.sum(items, 0)

    def differences(known: U64Array) -> U64Array:
        """x_j - x_i for all pairs i < j."""
        out, at = np.empty((count * (count - 1) // 2, lanes), np.uint64), 0
        for i in range(count - 1):
            np.subtract(known[i + 1 :], known[i], out=out[at : at + count - 1 - i])
            at += count - 1 - i
        return out

    cubes = _cubes(wanted, count)
    digits = 1 + max(at for cube in cubes for at in cube)
    later_first = await sign(backend, items, width, differences)
    counted = await count_ones(backend, _ballots(backend, later_first, count), digits)
    return await backend.choose_sum(await _among(backend, counted, cubes), items)


def _flip_top(backend: ReplicatedBackend, a: Bits) -> Bits:
    """Two's complement <-> numbers in the same order that are never negative."""
    return Bits.stack([a[:-1], invert(backend, a[-1:])])
