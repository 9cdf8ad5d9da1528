"""The sum of the middle values by bisection on their bits: for more values than are sorted.

The r-th smallest of n numbers is found from the top bit down. All items are candidates at first; at each bit, if at
least r of the candidates have a 0 there, those stay, and otherwise they are known to be smaller, r falls by their
number, and the others stay. What is left in the end all equals t, the r-th smallest, of which r' (the rest of r) belong
to the r smallest:

    sum of the r smallest = sum of the items found smaller + r' t.

The sum of the values with ranks k .. n - k - 1 is that for r = n - k minus that for r = k. Both searches run side by
side; an item that the second one finds smaller the first one finds smaller, too, so that the XOR of the marks is the
difference. All choices stay shared.

ANDs for n numbers of b bits: about 8 n b for both searches (two for the candidates, one for counting, one for looking
at a bit), n b to look at the values of the marked, n b to count those. A sorting network takes about n (log2 n)^2 b.

Source: Aggarwal, Mishra, Pinkas, "Secure computation of the k-th ranked element", EUROCRYPT 2004, section 3, bisects
the range of values in this way; what is compared there is opened, here it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc.backend import Bits, words
from privcomp.mpc.circuits import add, add_up, count_ones, invert, less, raised
from privcomp.mpc.engine import Task

if TYPE_CHECKING:
    from privcomp.mpc.backend import ReplicatedBackend

__all__ = ["MAX_ITEMS", "middle_sum"]

MAX_ITEMS = 1 << 12


def _constant(backend: ReplicatedBackend, numbers: list[int], planes: int, width: int) -> Bits:
    """Public numbers on planes: number i in every lane of the i-th `width` words."""
    pattern = [[-(number >> bit & 1) % (1 << 64) for number in numbers] for bit in range(planes)]
    return backend.public_bits(
        np.repeat(np.array(pattern, np.uint64).reshape(planes, -1), width, axis=1), 64 * len(numbers) * width
    )


def _every(plane: Bits, planes: int) -> Bits:
    return plane.map(lambda part: np.broadcast_to(part, (planes, part.shape[1])))


def _columns(bits: Bits, start: int, stop: int) -> Bits:
    """Some words of every plane."""
    return Bits(tuple(part[:, start:stop] for part in bits.parts), 64 * (stop - start))


async def _search(backend: ReplicatedBackend, items: Bits, count: int, sizes: list[int]) -> tuple[Bits, Bits, Bits]:
    """For each r of `sizes`: the marks of the items below the r-th smallest, that one, and how many equals belong.

    Args:
        items: planes of (count, width) words.

    Returns:
        marks: `count` planes; values: as many planes as the items; rest: count.bit_length() planes. A plane of each
        holds len(sizes) times `width` words.
    """
    width = items.parts[0].shape[1] // count
    digits, times = count.bit_length(), len(sizes)
    rest = _constant(backend, sizes, digits, width)
    zero = np.zeros((count, times * width), np.uint64)
    marks, stay = backend.public_bits(zero, 64 * times * width), backend.public_bits(~zero, 64 * times * width)
    found: list[Bits] = []
    # What is left of r is only looked at after the next bit's candidates are counted.
    rest_task: Task[Bits] | None = None
    for plane in reversed(range(items.planes)):
        wide = tuple(np.tile(part[plane].reshape(count, width), (1, times)) for part in items.parts)
        off = invert(backend, Bits(wide, stay.n))
        zeros = await backend.bit_and(stay, off) if found else off
        ones = backend.xor(stay, zeros)
        number = await count_ones(backend, zeros)
        if rest_task is not None:
            rest = invert(backend, await rest_task)
        # Fewer than r candidates have a 0 here: so the r-th smallest has a 1.
        one = await less(backend, number, rest)
        right = Bits.stack([zeros, ones, number])
        both = await backend.bit_and(_every(one, right.planes), right)
        below, upper, passed = both[:count], both[count : 2 * count], both[2 * count :]
        marks = backend.xor(marks, below)
        # The zeros without those passed by, or the ones.
        stay = backend.xor(backend.xor(zeros, below), upper)
        # r - y = ~(~r + y)
        rest_task = backend.scheduler.spawn(add(backend, invert(backend, rest), passed))
        found.append(one)
    if rest_task is not None:
        rest = invert(backend, await rest_task)
    return marks, Bits.stack(found[::-1]), rest


async def middle_sum(backend: ReplicatedBackend, items: Bits, count: int, trim: int) -> Bits:
    """The sum of the values with ranks trim .. count - trim - 1, lane by lane.

    Args:
        items: planes of numbers >= 0, lowest first; a plane holds item 0 of all lanes, then item 1, and so on, each
            padded to whole words.
        count: of items, at most `MAX_ITEMS`.
        trim: 1 <= trim, 2 trim < count.

    Returns:
        The sum in two's complement, on planes + count.bit_length() + 1 planes, the top one of which is never set.
    """
    if not 3 <= count <= MAX_ITEMS or not trim >= 1 or 2 * trim >= count:
        raise ParameterError(
            f"{count} items without {trim} at both ends; allowed are up to {MAX_ITEMS}, of which one stays"
        )
    bits, width = items.planes, words(items.n) // count
    if items.n != 64 * count * width:
        raise ParameterError(f"planes of {items.n} bits are not {count} items of whole words")
    marks, values, rest = await _search(backend, items, count, [trim, count - trim])
    middle = backend.xor(_columns(marks, 0, width), _columns(marks, width, 2 * width))
    # Plane i: of item i all bits beside each other, so that each is counted.
    beside = Bits(
        tuple(part.reshape(bits, count, width).swapaxes(0, 1).reshape(count, -1) for part in items.parts),
        64 * bits * width,
    )
    marked = Bits(tuple(np.tile(part, (1, bits)) for part in middle.parts), beside.n)
    tallies_task = backend.scheduler.spawn(_tallies(backend, beside, marked, bits))
    digits = rest.planes
    # Row j of each: r' has digit j, times t.
    rows = [backend.bit_and(_every(rest[j : j + 1], bits), values) for j in range(digits)]
    products = [await task for task in [backend.scheduler.spawn(row) for row in rows]]
    planes = bits + digits + 1
    lower = [raised(_columns(row, 0, width), j, planes) for j, row in enumerate(products)]
    upper = [raised(_columns(row, width, 2 * width), j, planes) for j, row in enumerate(products)]
    counted = [raised(row, j, planes) for j, row in enumerate(await tallies_task)]
    # -v = ~v + 1
    ones = _constant(backend, [len(lower)], planes, width)
    return await add_up(backend, [*counted, *upper, *(invert(backend, row) for row in lower), ones])


async def _tallies(backend: ReplicatedBackend, beside: Bits, marked: Bits, bits: int) -> list[Bits]:
    """By digit, for every bit of the values, of the number of marked items that have it: numbers of `bits` planes."""
    number = await count_ones(backend, await backend.bit_and(marked, beside))
    width = marked.n // 64 // bits
    return [
        Bits(tuple(part[digit].reshape(bits, width) for part in number.parts), 64 * width)
        for digit in range(number.planes)
    ]
