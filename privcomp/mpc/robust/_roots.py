"""1 / sqrt(N) and 1 / D of shared numbers, by normalisation and Newton's method.

Numbers here are few (one or two per client), so rounds are spent rather than care: everything is fixed point with
P = 28 fraction bits, and every product is truncated at once.

**Normalisation.** One bit plane each says whether N has a bit at or above position i; neighbours that differ mark the
top bit. From the marks H_j (exactly one is 1) follow powers of two, and anything else that is a public table over j, by
public sums.

**Errors.** One ulp is 2^-28; a truncation is off by less than one ulp.

Inverse root: m = N 4^k / 2^B lies in [1/4, 1) and is known to 1 ulp, a relative error of 2^-26, and half of that
after the root. y0 = 2.2 - 1.3 m is within 10 % of 1/sqrt(m), of which each step y (3 - m y^2) / 2 leaves 1.5 e^2 +
0.5 e^3: 1.6e-2, 3.7e-4, 2.1e-7, 7e-14. The last step's own truncations: y^2 1 ulp, m y^2 1 + m ulps, so y t / 2 at most
1 + y <= 3 ulps, y >= 1. Altogether below 5 ulps and 1e-13: 2^-25 relative.

Inverse: m = D 2^t / 2^B in [1/2, 1), z0 = 48/17 - 32/17 m within 1/17, squared thrice: 1.5e-10. Truncations as above:
m 1 ulp (relative 2^-27), z (2 - m z): 1 + z <= 3 ulps, z >= 1: below 5 ulps and 2e-10: 2^-25 relative.

Source: Goldschmidt and Newton iterations on shares: Catrina, Saxena, "Secure Computation with Fixed-Point Numbers",
FC 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from privcomp.mpc.backend import Bits, ReplicatedBackend, Value, words
from privcomp.mpc.circuits import bits_of, invert, prefix_or

__all__ = ["FRACTION", "Inverse", "InverseRoot", "inverse", "inverse_root"]

FRACTION: Final = 28
_ONE: Final = 1 << FRACTION


def _constant(value: float) -> int:
    return round(value * _ONE)


def _minus(backend: ReplicatedBackend, constant: int, a: Value) -> Value:
    """constant - a."""
    return backend.add_public(a.map(lambda p: np.uint64(0) - p), np.full(a.shape, constant, np.uint64))


async def _product(backend: ReplicatedBackend, a: Value, b: Value, shift: int = FRACTION) -> Value:
    return await (backend.mul_truncated(a, b, shift) if shift else backend.mul(a, b))


async def _number_planes(backend: ReplicatedBackend, planes: Bits) -> Value:
    """(planes, n) numbers 0 and 1."""
    count, lanes = planes.planes, 64 * words(planes.n)
    flat = Bits(tuple(np.ascontiguousarray(p).reshape(1, -1) for p in planes.parts), count * lanes)
    number = await backend.to_number(flat, 64)
    return number.map(lambda p: p.reshape(count, lanes)[:, : planes.n])


def _table(backend: ReplicatedBackend, marks: Value, numbers: Sequence[int]) -> Value:
    """sum_j H_j numbers[j], (n,)."""
    column = np.array([number % (1 << 64) for number in numbers], np.uint64)[:, None]
    return backend.scale(marks, column).map(lambda p: p.sum(axis=0, dtype=np.uint64))


@dataclass(frozen=True, repr=False, eq=False)
class InverseRoot:
    """1 / sqrt(N) = y 2^k / 2^(bits / 2), where 2^(bits - 2) <= N 4^k < 2^bits; N = 0 counts as 1.

    Attributes:
        root: y, FRACTION bits, in (1, 2].
        marks: (bits / 2, n): mark j is 1 where k = bits / 2 - 1 - j.
        bits: even.
    """

    root: Value
    marks: Value
    bits: int

    def table(self, backend: ReplicatedBackend, numbers: Sequence[int]) -> Value:
        """numbers[k] for each N, (n,)."""
        return _table(backend, self.marks, list(numbers)[::-1])


async def inverse_root(backend: ReplicatedBackend, square: Value, bits: int) -> InverseRoot:
    """Of N, (n,), 0 <= N < 2^bits, bits even and at most 62."""
    planes = await bits_of(backend, square, bits)
    at_or_above = await prefix_or(backend, planes)
    # Mark j: some bit at or above 2 j, and none at or above 2 j + 2. Mark 0 takes in N = 0, which is raised to 1.
    pairs = at_or_above.map(lambda p: p[0::2])
    marks = Bits.stack([backend.xor(pairs[1:-1], pairs[2:]), pairs[-1:]]) if bits > 2 else pairs[:0]
    lowest = invert(backend, pairs[1:2]) if bits > 2 else invert(backend, pairs.map(lambda p: p[:1] ^ p[:1]))
    numbers = await _number_planes(backend, Bits.stack([invert(backend, pairs[:1]), lowest, marks]))
    zero, h = numbers.map(lambda p: p[0]), numbers.map(lambda p: p[1:])
    half = bits // 2
    scale = _table(backend, h, [4 ** (half - 1 - j) for j in range(half)])
    square = backend.add(square, zero)
    if bits > FRACTION:
        m = await backend.mul_truncated(square, scale, bits - FRACTION)
    else:
        m = (await backend.mul(square, scale)).map(lambda p: p << np.uint64(FRACTION - bits))
    slope = np.full(m.shape, _constant(1.3), np.uint64)
    y = _minus(backend, _constant(2.2), await backend.truncate(backend.scale(m, slope), FRACTION))
    for _ in range(4):
        square_y = await _product(backend, y, y)
        t = _minus(backend, 3 * _ONE, await _product(backend, m, square_y))
        y = await _product(backend, y, t, FRACTION + 1)
    return InverseRoot(y, h, bits)


@dataclass(frozen=True, repr=False, eq=False)
class Inverse:
    """1 / D = z 2^t / 2^bits, where 2^(bits - 1) <= D 2^t < 2^bits; D = 0 counts as 1.

    Attributes:
        inverse: z, FRACTION bits, in (1, 2].
        power: 2^t.
        bits: as asked for.
    """

    inverse: Value
    power: Value
    bits: int


async def inverse(backend: ReplicatedBackend, divisor: Value, bits: int) -> Inverse:
    """Of D, (n,), 0 <= D < 2^bits, 2 <= bits <= 62."""
    planes = await bits_of(backend, divisor, bits)
    above = await prefix_or(backend, planes)
    marks = Bits.stack([backend.xor(above[1:-1], above[2:]), above[-1:]])
    lowest = Bits.stack([invert(backend, above[:1]), invert(backend, above[1:2])])
    numbers = await _number_planes(backend, Bits.stack([lowest, marks]))
    zero, h = numbers.map(lambda p: p[0]), numbers.map(lambda p: p[1:])
    power = _table(backend, h, [1 << (bits - 1 - j) for j in range(bits)])
    divisor = backend.add(divisor, zero)
    if bits > FRACTION:
        m = await backend.mul_truncated(divisor, power, bits - FRACTION)
    else:
        m = (await backend.mul(divisor, power)).map(lambda p: p << np.uint64(FRACTION - bits))
    slope = np.full(m.shape, _constant(32 / 17), np.uint64)
    z = _minus(backend, _constant(48 / 17), await backend.truncate(backend.scale(m, slope), FRACTION))
    for _ in range(3):
        z = await _product(backend, z, _minus(backend, 2 * _ONE, await _product(backend, m, z)))
    return Inverse(z, power, bits)
