"""Boolean circuits on bit planes: carries, signs, comparison, addition, choice.

Every gate works on whole planes, 64 numbers a word. A carry is found by a tree over (generate, propagate) pairs:
(g, p) = (g_hi ^ p_hi g_lo, p_hi p_lo), where g and p g_lo are never both 1, so that XOR serves as OR.

ANDs and rounds for w >= 2 bits, the round in which the bits of the addends are shared included:

| circuit | ANDs | rounds |
|---|---|---|
| `sign` | 4 b - 3 - ceil(log2 b) over b blocks | 2 + ceil(log2 b) |
| `is_zero` | w - 1 | 1 + ceil(log2 w) |
| `bits_of` | 57 for w = 16 | 2 + ceil(log2(w - 1)) |
| `less` | 3 w - 2 - ceil(log2 w) | 1 + ceil(log2 w) |

Carries of addends are found by blocks of two or three planes (`privcomp.mpc.blocks`): b = 8 for 18 bits, 32 for 64.

The sum of two numbers on planes needs every carry. Sklansky's tree finds them in ceil(log2 w) rounds. Brent and Kung's
takes 2 more rounds at 16 bits and saves 12 of 57 ANDs; but a plane of a thousand numbers is 125 bytes, and a round is a
fraction of a millisecond on one machine and tens of them between two cities: the rounds decide.

Sources: Ladner, Fischer, "Parallel Prefix Computation", J. ACM 27 (1980); Sklansky, "Conditional-Sum Addition Logic",
IRE Trans. Electronic Computers (1960).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc import blocks
from privcomp.mpc.backend import Bits, Value, words

if TYPE_CHECKING:
    from privcomp.mpc.backend import Change, ReplicatedBackend
    from privcomp.mpc.blocks import Plan
    from privcomp.typing import I64Array, U64Array

__all__ = [
    "add",
    "add_up",
    "all_of",
    "bits_of",
    "carry",
    "choose",
    "compare_exchange",
    "count_ones",
    "invert",
    "is_zero",
    "less",
    "prefix_or",
    "raised",
    "sign",
    "to_numbers",
]

_ONES: Final = np.uint64((1 << 64) - 1)


async def _tree(backend: ReplicatedBackend, g: Bits, p: Bits) -> Bits:
    """The carry out of all planes, lowest first; p begins with the second plane, as that of the lowest is never used.

    Pairs are (0, 1), (2, 3), ...; of each but the lowest both g and p go on: pairs + (pairs - 1) ANDs.
    """
    count, n = g.planes, g.n
    gs, ps = g.parts, p.parts
    while count > 1:
        pairs, odd = divmod(count, 2)
        even = 2 * pairs
        left = Bits(tuple(np.concatenate([p[0:even:2], p[2:even:2]]) for p in ps), n)
        right = Bits(tuple(np.concatenate([g[0:even:2], p[1 : even - 1 : 2]]) for g, p in zip(gs, ps, strict=True)), n)
        both = await backend.bit_and(left, right)
        gs = tuple(_folded(g, new[:pairs], odd) for g, new in zip(gs, both.parts, strict=True))
        ps = tuple(
            np.concatenate([new[pairs:], p[even - 1 :]]) if odd else new[pairs:]
            for p, new in zip(ps, both.parts, strict=True)
        )
        count = pairs + odd
    return Bits(gs, n)


def _folded(g: U64Array, new: U64Array, odd: int) -> U64Array:
    """Every second plane XOR a new one, and the last plane if it is left over."""
    pairs = new.shape[0]
    out = np.empty((pairs + odd, g.shape[1]), np.uint64)
    np.bitwise_xor(g[1 : 2 * pairs : 2], new, out=out[:pairs])
    out[pairs:] = g[2 * pairs :]
    return out


async def carry(backend: ReplicatedBackend, u: Bits, t: Bits, plan: Plan) -> Bits:
    """The carry of u + t out of the highest plane, for what `addends` gave in the blocks of this plan.

    Planes of u and t behind the plan's are not looked at.
    """
    both = await backend.and_addends(u, t, plan.sums)
    count = len(plan.sizes)
    p = backend.xor(both[count:], backend.xor(_rows(u, plan.whole), _rows(t, plan.whole)))
    return await _tree(backend, both[:count], p)


def _check_width(width: int) -> None:
    if not 1 <= width <= 64:
        raise ParameterError(f"width is {width}; allowed is [1, 64]")


async def sign(backend: ReplicatedBackend, a: Value, width: int, change: Change | None = None) -> Bits:
    """The top bit of a modulo 2^width, 1 <= width <= 64: one plane; a is flattened.

    It says a < 0 where -2^(width-1) <= a < 2^(width-1). With `change` it is that of change(a): see `addends`.
    """
    _check_width(width)
    if width == 1:
        return backend.xor(*await backend.addends(a, 1, change=change))
    below = blocks.plan(width - 1)
    u, t = await backend.addends(a, width, (*below.sizes, 1), change)
    top = backend.xor(u[-1:], t[-1:])
    return backend.xor(top, await carry(backend, u, t, below))


def invert(backend: ReplicatedBackend, a: Bits) -> Bits:
    """Every bit the other way round."""
    return backend.xor_public(a, np.full(a.parts[0].shape, _ONES, np.uint64))


async def all_of(backend: ReplicatedBackend, a: Bits) -> Bits:
    """The AND of all planes: one plane."""
    while a.planes > 1:
        pairs = a.planes // 2
        both = await backend.bit_and(a[:pairs], a[pairs : 2 * pairs])
        a = Bits.stack([both, a[2 * pairs :]]) if a.planes % 2 else both
    return a


async def is_zero(backend: ReplicatedBackend, a: Value, width: int) -> Bits:
    """Whether a = 0 modulo 2^width, 1 <= width <= 64: one plane; a is flattened.

    Of a - 1 = u + t: a = 0 says u + t = -1, and that says u = ~t, so that every bit of u ^ t is set.
    """
    _check_width(width)
    minus_one = backend.add_public(a, np.full(a.shape, _ONES, np.uint64))
    u, t = await backend.addends(minus_one, width)
    return await all_of(backend, backend.xor(u, t))


def _rows(bits: Bits, chosen: I64Array) -> Bits:
    return bits.map(lambda part: part[chosen])


async def _carries(backend: ReplicatedBackend, g: Bits, p: Bits) -> Bits:
    """The carry out of every plane: Sklansky's tree.

    After the step of size s, (g, p) of plane i spans the planes from the last multiple of 2 s on. Plane i with i & s
    set takes in the span that ends right below its own. A span that begins at plane 0 needs no p.
    """
    planes, size = g.planes, 1
    grown = [part.copy() for part in g.parts], [part.copy() for part in p.parts]
    while size < planes:
        takes = np.array([i for i in range(planes) if i & size])
        below = takes // size * size - 1
        inner = takes >= 2 * size
        now_g, now_p = (Bits(tuple(parts), g.n) for parts in grown)

        left = Bits.stack([_rows(now_p, takes), _rows(now_p, takes[inner])])
        right = Bits.stack([_rows(now_g, below), _rows(now_p, below[inner])])
        both = await backend.bit_and(left, right)
        for part, new in zip(grown[0], both.parts, strict=True):
            part[takes] ^= new[: takes.size]
        for part, new in zip(grown[1], both.parts, strict=True):
            part[takes[inner]] = new[takes.size :]
        size *= 2
    return Bits(tuple(grown[0]), g.n)


async def _sum(backend: ReplicatedBackend, g: Bits, halves: Bits) -> Bits:
    """The sum's planes, of the generates of all planes but the top one, and the half sums of all."""
    if halves.planes == 1:
        return halves
    carries = await _carries(backend, g, halves[:-1])
    return Bits.stack([halves[:1], backend.xor(halves[1:], carries)])


async def bits_of(backend: ReplicatedBackend, a: Value, width: int) -> Bits:
    """The bits of a modulo 2^width, 1 <= width <= 64, lowest plane first; a is flattened.

    For -2^(width-1) <= a < 2^(width-1) this is its two's complement.
    """
    _check_width(width)
    u, t = await backend.addends(a, width)
    g = await backend.and_addends(u[:-1], t[:-1]) if width > 1 else u[:0]
    return await _sum(backend, g, backend.xor(u, t))


async def add(backend: ReplicatedBackend, a: Bits, b: Bits) -> Bits:
    """a + b on as many planes as both have, the carry out of the top one dropped."""
    g = await backend.bit_and(a[:-1], b[:-1]) if a.planes > 1 else a[:0]
    return await _sum(backend, g, backend.xor(a, b))


def raised(bits: Bits, by: int, planes: int) -> Bits:
    """2^by times a number >= 0, on `planes` planes."""

    def change(part: U64Array) -> U64Array:
        grown = np.zeros((planes, part.shape[1]), np.uint64)
        kept = min(part.shape[0], planes - by)
        grown[by : by + kept] = part[:kept]
        return grown

    return bits.map(change)


async def add_up(backend: ReplicatedBackend, rows: list[Bits]) -> Bits:
    """The sum of numbers on equally many planes, modulo 2^planes.

    Three become two at the cost of one AND a plane: x + y + z = (x ^ y ^ z) + 2 maj(x, y, z), where
    maj = ((x ^ y)(x ^ z)) ^ x.
    """
    planes = rows[0].planes
    while len(rows) > 2:
        triples = len(rows) // 3
        x, y, z = (Bits.stack(rows[i : 3 * triples : 3]) for i in range(3))
        both = backend.xor(await backend.bit_and(backend.xor(x, y), backend.xor(x, z)), x)
        half = backend.xor(backend.xor(x, y), z)
        grown = []
        for at in range(0, triples * planes, planes):
            grown += [half[at : at + planes], raised(both[at : at + planes], 1, planes)]
        rows = grown + rows[3 * triples :]
    return rows[0] if len(rows) == 1 else await add(backend, rows[0], rows[1])


async def less(backend: ReplicatedBackend, a: Bits, b: Bits) -> Bits:
    """Whether a < b, read as numbers >= 0: one plane.

    The borrow of a - b: a plane makes one where a = 0 and b = 1, ~a b = b ^ a b, and lets it pass where a = b.
    """
    g = backend.xor(b, await backend.bit_and(a, b))
    return await _tree(backend, g, invert(backend, backend.xor(a[1:], b[1:])))


def _spread(plane: Bits, planes: int) -> Bits:
    """One plane, `planes` times."""
    return plane.map(lambda part: np.broadcast_to(part, (planes, part.shape[1])))


async def choose(backend: ReplicatedBackend, condition: Bits, a: Bits, b: Bits) -> Bits:
    """a where the one plane `condition` is set, else b: b ^ condition (a ^ b)."""
    return backend.xor(b, await backend.bit_and(_spread(condition, a.planes), backend.xor(a, b)))


async def compare_exchange(backend: ReplicatedBackend, a: Bits, b: Bits) -> tuple[Bits, Bits]:
    """The smaller and the larger, read as numbers >= 0, for the ANDs of one comparison and one choice."""
    difference = backend.xor(a, b)
    swap = await less(backend, b, a)
    moved = await backend.bit_and(_spread(swap, a.planes), difference)
    return backend.xor(a, moved), backend.xor(b, moved)


async def prefix_or(backend: ReplicatedBackend, a: Bits) -> Bits:
    """Plane i: whether any plane from i on upwards is set; the top plane stays what it is.

    By De Morgan the inverse of an AND over the same planes, found by Sklansky's tree from the top.
    """
    order = slice(None, None, -1)
    kept = [part[order].copy() for part in invert(backend, a).parts]
    size = 1
    while size < a.planes:
        takes = np.array([i for i in range(a.planes) if i & size])
        below = takes // size * size - 1
        now = Bits(tuple(kept), a.n)
        both = await backend.bit_and(_rows(now, takes), _rows(now, below))
        for part, new in zip(kept, both.parts, strict=True):
            part[takes] = new
        size *= 2
    return invert(backend, Bits(tuple(part[order] for part in kept), a.n))


async def count_ones(backend: ReplicatedBackend, a: Bits, digits: int | None = None) -> Bits:
    """How many planes are set, lane by lane: the planes of that number, lowest first, or its `digits` lowest ones.

    Three planes of one weight become their sum and, of twice the weight, their carry: ((x ^ z) & (y ^ z)) ^ z is set
    where two of x, y, z are. All that can be added is added in one round.
    """
    last = (a.planes.bit_length() if digits is None else digits) - 1  # nothing is carried out of it
    weights: list[list[Bits]] = [[a[i : i + 1] for i in range(a.planes)]]
    while any(len(column) > 1 for column in weights[:last]):
        triples = []
        for weight, column in enumerate(weights[:last]):
            full, rest = divmod(len(column), 3)
            triples += [(weight, column[3 * i : 3 * i + 3]) for i in range(full)]
            # Two of a weight wait for a third one, unless there is none to come.
            if full == 0 and rest == 2:
                triples.append((weight, column))
        zeros = backend.public_bits(np.zeros((1, words(a.n)), np.uint64), a.n)
        left, right = [], []
        for _, (x, y, *z) in triples:
            z0 = z[0] if z else zeros
            left.append(backend.xor(x, z0))
            right.append(backend.xor(y, z0))
        carries = await backend.bit_and(Bits.stack(left), Bits.stack(right))
        grown: list[list[Bits]] = [[] for _ in range(len(weights) + 1)]
        for weight, column in enumerate(weights):
            used = sum(len(triple) for at, triple in triples if at == weight)
            grown[weight] += column[used:]
        for k, (weight, (x, y, *z)) in enumerate(triples):
            z0 = z[0] if z else zeros
            grown[weight].append(backend.xor(backend.xor(x, y), z0))
            grown[weight + 1].append(backend.xor(carries[k : k + 1], z0))
        weights = grown if grown[-1] else grown[:-1]
    # What is left of the last weight is added without carries.
    return Bits.stack([functools.reduce(backend.xor, column) for column in weights[: last + 1]])


async def to_numbers(backend: ReplicatedBackend, a: Bits, *, signed: bool) -> Value:
    """Planes as numbers modulo 2^64, (n,); signed: the top plane counts negatively."""
    weights = np.uint64(1) << np.arange(a.planes, dtype=np.uint64)
    if signed:
        weights[-1] = (1 << 64) - (1 << (a.planes - 1))
    return await backend.weigh(a, weights)
