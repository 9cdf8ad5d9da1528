"""Reciprocal, division, roots and the sigmoid of shared fixed-point numbers.

Each function is planned from public bounds first (`plan`, which refuses what it cannot do) and run then. An integer X
stands for x = X / 2^f; "unit" is 2^-f of the result.

**Normalisation.** The bits of X give its highest set bit, as a one-hot vector h of shared numbers: prefix OR from the
top, then y_i ^ y_{i+1}. Any function of the position i alone is a linear map of h with public coefficients; X times
sum h_i 2^(K - 1 - i) is D 2^K with D in [1/2, 1), exactly. K = 30, so that a product of two such numbers (below 2 each)
stays below 2^62, where it can be truncated.

**Iterations** are Goldschmidt's: fewer rounds than Newton's, and rounding errors that add up to a few times 2^-30.

Sources: Goldschmidt, "Applications of Division by Convergence", MIT 1964; Catrina, Saxena, "Secure Computation with
Fixed-Point Numbers", Financial Cryptography 2010 (normalisation). The constants are derived where they stand.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc import circuits
from privcomp.mpc.backend import Bits, Value, words

if TYPE_CHECKING:
    from privcomp.mpc.backend import ReplicatedBackend
    from privcomp.typing import U64Array

__all__ = ["Division", "Plan", "Reciprocal", "Root", "Sigmoid"]

_K: Final = 30
_TRUNCATABLE: Final = (1 << 62) - 1
_LARGEST: Final = (1 << 63) - 1
_Y_MAX: Final = (1 << (_K + 1)) + 64
"""No reciprocal of D in [1/2, 1] is larger, its error of 2^-27 included."""
_FIRST: Final = 3144134278
"""(sqrt(48) - 4) 2^30. check: abs(3144134278 - (48 ** 0.5 - 4) * 2 ** 30) < 1"""
_ROOT_FIRST: Final = 2094870299
"""1.951 2^30. check: abs(2094870299 - 1.951 * 2 ** 30) < 1"""
_Q: Final = 31
"""Bits of the coefficients 2^(j/2) of roots."""


@dataclass(frozen=True)
class Plan(ABC):
    """What a function will do, and what comes out.

    Attributes:
        name: of the function.
        bound: on the integers of the result.
        fraction: bits of the result.
    """

    name: str
    bound: int
    fraction: int

    @abstractmethod
    async def run(self, backend: ReplicatedBackend, *operands: Value) -> Value:
        """Compute it, in the shape of the operands."""


def _constant(value: int) -> U64Array:
    return np.array([value % (1 << 64)], np.uint64)


async def _product(backend: ReplicatedBackend, a: Value, b: Value, shift: int) -> Value:
    """a b / 2^shift; for shift < 0 exactly."""
    if shift > 0:
        return await backend.mul_truncated(a, b, shift)
    raw = await backend.mul(a, b)
    return raw if shift == 0 else backend.scale(raw, _constant(1 << -shift))


def _slice(value: Value, start: int, stop: int) -> Value:
    return value.map(lambda part: part[start:stop])


async def _products(backend: ReplicatedBackend, a: list[Value], b: Value, shift: int) -> list[Value]:
    """Several a times the same b, flat, in one product."""
    size = b.shape[0]
    left = Value(tuple(np.concatenate(parts) for parts in zip(*(value.parts for value in a), strict=True)))
    both = await _product(backend, left, b.map(lambda part: np.tile(part, len(a))), shift)
    return [_slice(both, i * size, (i + 1) * size) for i in range(len(a))]


def _weighted(backend: ReplicatedBackend, rows: Value, weights: list[int]) -> Value:
    """sum_i weights[i] rows[i]."""
    column = np.array([weight % (1 << 64) for weight in weights], np.uint64)[:, None]
    return backend.scale(rows, column).map(lambda part: part.sum(axis=0, dtype=np.uint64))


async def _rows(backend: ReplicatedBackend, planes: Bits) -> Value:
    """Every plane as numbers 0 and 1: (planes, n)."""
    lanes, count, n = 64 * words(planes.n), planes.planes, planes.n
    flat = Bits(tuple(np.ascontiguousarray(part).reshape(1, -1) for part in planes.parts), count * lanes)
    numbers = await backend.to_number(flat, 64)
    return numbers.map(lambda part: part.reshape(count, lanes)[:, :n])


async def _highest(backend: ReplicatedBackend, planes: Bits) -> Bits:
    """The highest set bit alone; nothing where no bit is set."""
    filled = await circuits.prefix_or(backend, planes)
    return Bits.stack([backend.xor(filled[:-1], filled[1:]), filled[-1:]])


def _width(bound: int, what: str) -> int:
    """Bits of X, and whether there is room for them."""
    if bound >= 1 << _K:
        raise ParameterError(
            f"{what} takes |X| < 2^{_K}, bits of fraction included; this tensor's bound is 2^{math.log2(bound):.1f}: "
            "declare a tighter bound, or drop bits of fraction with x.fixed(...)"
        )
    return max(1, bound.bit_length())


def _least(least: float, fraction: int) -> int:
    """The smallest |X| that is promised."""
    try:
        exact = Fraction(int(least) if isinstance(least, (int, np.integer)) else float(least))
    except (TypeError, ValueError, OverflowError):
        exact = Fraction(-1)
    if exact < 0:
        raise ParameterError(f"least is {least!r}; it is a promise on |x|, finite and not negative")
    promised: int = max(1, math.floor(exact * 2**fraction))
    return promised


async def _inverse(backend: ReplicatedBackend, x: Value, width: int) -> tuple[Value, Value]:
    """For flat x: Y and G with 1/X = Y G / 2^(K + width), |Y| <= 2^31 (1 + 2^-27), G a power of two <= 2^width.

    Both are 0 for X = 0. Y is right up to a relative error of 2^-27.

    Signs: from two's complement b and the sign s, the bits of 2 |X| - s are b ^ s, with s below. Its highest bit j,
    counted so, gives D = |X| / 2^j in (1/2, 1] (1 for -2^j), and X 2^(K - j) = sD 2^K needs no absolute value: sY is
    found from it.

    First guess y = c - 2 D with c = sqrt(48) - 4: |1 - D y| <= 0.072, reached at D = c/4 and D = 1. With e = 1 - D y,
    1/D = y (1 + e)(1 + e^2)(1 + e^4) / (1 - e^8), and e^8 < 2^-30. Every product rounds by less than 2^-30; the seven
    of them add less than 7 * 2^-30.
    """
    n = x.shape[0]
    planes = await circuits.bits_of(backend, x, width + 1)
    s = planes[width:]
    magnitude = backend.xor(planes[:width], s.map(lambda part: np.broadcast_to(part, (width, part.shape[1]))))
    hot = await _highest(backend, Bits.stack([s, magnitude]))
    rows = await _rows(backend, Bits.stack([hot, s]))
    h, negative = rows.map(lambda part: part[:-1]), rows.map(lambda part: part[-1])
    scaling = _weighted(backend, h, [1 << (_K - j) for j in range(width + 1)])
    g = _weighted(backend, h, [1 << (width - j) for j in range(width + 1)])
    d = await backend.mul(x, scaling)
    # (1 - 2 s) c - 2 D
    signed = backend.add_public(
        backend.scale(negative, _constant(-2 * _FIRST)), np.full(n, np.uint64(_FIRST), np.uint64)
    )
    y = backend.sub(signed, backend.scale(d, _constant(2)))
    one = np.full(n, np.uint64(1 << _K), np.uint64)
    e = backend.add_public(backend.scale(await _product(backend, d, y, _K), _constant(-1)), one)
    for last in (False, False, True):
        if last:
            change = await _product(backend, y, e, _K)
        else:
            change, square = await _products(backend, [y, e], e, _K)
            e = square
        y = backend.add(y, change)
    return y, g


def _flat(value: Value) -> Value:
    return value.map(lambda part: np.ascontiguousarray(part).reshape(-1))


async def _shifted(backend: ReplicatedBackend, a: Value, shift: int) -> Value:
    """a / 2^shift; for shift < 0 exactly."""
    if shift > 0:
        return await backend.truncate(a, shift)
    return a if shift == 0 else backend.scale(a, _constant(1 << -shift))


@dataclass(frozen=True)
class Reciprocal(Plan):
    """1 / x for |X| < 2^30, and 0 for x = 0.

    |r - 1/x| <= 2^-27 / |x| + 1 unit, at the tensor's own fraction f <= 30.
    """

    width: int
    shift: int

    @classmethod
    def plan(cls, bound: int, fraction: int, least: float = 0.0) -> Reciprocal:
        """For |X| <= bound; `least` is a promise that |x| >= least (or x = 0), which tightens the result's bound."""
        if not 1 <= fraction <= _K:
            raise ParameterError(f"a reciprocal takes 1 .. {_K} bits of fraction; this tensor has {fraction}")
        width = _width(bound, "a reciprocal")
        top = (1 << (2 * fraction)) // _least(least, fraction)
        return cls("reciprocal", top + (top >> 26) + 2, fraction, width, _K + width - 2 * fraction)

    async def run(self, backend: ReplicatedBackend, *operands: Value) -> Value:
        # 2^2f / X = Y G 2^(2f - K - width)
        (x,) = operands
        y, g = await _inverse(backend, _flat(x), self.width)
        result = await _product(backend, y, g, self.shift)
        return result.map(lambda part: part.reshape(x.shape))


@dataclass(frozen=True)
class Division(Plan):
    """a / b for |B| < 2^30, |A| < 2^30, and 0 for b = 0; with fraction f = max(fa, fb) >= 1.

    |q - a/b| <= 2^-27 |a/b| + 2^(guard - 30) 2^-fa / |b| + 1 unit: the middle term is at most what one unit of a makes.
    guard <= max(0, bits of the bound of a + bits of the bound of b - 30).
    """

    width: int
    guard: int
    shift: int

    @classmethod
    def plan(cls, bound: int, fraction: int, divisor: int, divisor_fraction: int, least: float = 0.0) -> Division:
        """For |A| <= bound and |B| <= divisor; `least` as for `Reciprocal`."""
        f = max(fraction, divisor_fraction)
        if f == 0:
            raise ParameterError("a quotient of integers has a fraction; give one of them bits for it: x.fixed(16)")
        _width(bound, "a dividend")
        width = _width(divisor, "a divisor")
        guard = 0
        while (((bound * _Y_MAX) >> guard) + 1) << width > _TRUNCATABLE:
            guard += 1
        scale = f + divisor_fraction - fraction
        top = (bound << scale if scale >= 0 else bound >> -scale) // _least(least, divisor_fraction)
        result = top + (top >> 26) + (1 << max(0, scale)) + 2
        if result > _LARGEST:
            raise ParameterError(
                f"the quotient could reach {result:.4g}; promise a larger `least` |b|, or drop bits of fraction"
            )
        return cls("division", result, f, width, guard, _K + width - guard - scale)

    async def run(self, backend: ReplicatedBackend, *operands: Value) -> Value:
        # Q = A / B 2^scale = A Y G 2^(scale - K - width); A Y is cut to leave room for G.
        a, b = operands
        shape = np.broadcast_shapes(a.shape, b.shape)
        y, g = await _inverse(backend, _flat(b), self.width)
        y, g = (value.map(lambda part: part.reshape(b.shape)) for value in (y, g))
        cut = await _product(backend, a, y, self.guard)
        result = await _product(backend, cut, g, self.shift)
        return result.map(lambda part: part.reshape(shape))


def _half_power(doubled: int) -> int:
    """round(2^(doubled / 2)), exactly."""
    half: int = (math.isqrt(1 << (doubled + 2)) + 1) >> 1
    return half


@dataclass(frozen=True)
class Root(Plan):
    """sqrt(x), or 1 / sqrt(x), for 0 <= X < 2^30; both are 0 for x <= 0.

    |r - sqrt(x)| <= 2^-25 sqrt(x) + 1.3 units for f <= 30; |r - 1/sqrt(x)| <= 2^-25 / sqrt(x) + 1.5 units for f <= 20.
    """

    width: int
    inverse: bool

    @classmethod
    def plan(cls, bound: int, fraction: int, *, inverse: bool) -> Root:
        """For |X| <= bound."""
        most = 20 if inverse else _K
        name = "inverse square root" if inverse else "square root"
        if not 1 <= fraction <= most:
            raise ParameterError(f"an {name} takes 1 .. {most} bits of fraction; this tensor has {fraction}")
        width = _width(bound, f"an {name}")
        top = _half_power(3 * fraction) if inverse else math.isqrt(bound << fraction)
        return cls(name, top + (top >> 24) + 3, fraction, width, inverse)

    async def run(self, backend: ReplicatedBackend, *operands: Value) -> Value:
        """x = D 2^(i + 1 - f) with D in [1/2, 1), i the highest set bit.

        With y = 1.951 - D, |1 - y sqrt(D)| < 0.05. From g = D y and y: r = (1 - g y) / 2, g += g r, y += y r brings g
        to sqrt(D) and y to 1 / sqrt(D); an error of d becomes 1.5 d^2, and the third is below 2^-30.
        """
        (shaped,) = operands
        x, f, width = _flat(shaped), self.fraction, self.width
        planes = await circuits.bits_of(backend, x, width + 1)
        # The sign fills all planes below it: no bit is left where x < 0.
        hot = (await _highest(backend, planes))[:width]
        h = await _rows(backend, hot)
        d = await backend.mul(x, _weighted(backend, h, [1 << (_K - 1 - i) for i in range(width)]))
        n = x.shape[0]
        y = backend.add_public(backend.scale(d, _constant(-1)), np.full(n, np.uint64(_ROOT_FIRST), np.uint64))
        g = await _product(backend, d, y, _K)
        half = np.full(n, np.uint64(1 << (_K - 1)), np.uint64)
        for last in (False, False, True):
            r = backend.add_public(backend.scale(await _product(backend, g, y, _K + 1), _constant(-1)), half)
            if last:
                wanted = y if self.inverse else g
                root = backend.add(wanted, await _product(backend, wanted, r, _K))
            else:
                more_g, more_y = await _products(backend, [g, y], r, _K)
                g, y = backend.add(g, more_g), backend.add(y, more_y)
        # The result is root 2^(e_i / 2 - K), 2^(e_i / 2) being shared as round(2^(Q + e_i / 2 - top)) 2^(top - Q).
        doubled = [3 * f - 1 - i if self.inverse else f + 1 + i for i in range(width)]
        top = -(-max(doubled) // 2)
        factor = _weighted(backend, h, [_half_power(2 * (_Q - top) + e) for e in doubled])
        result = await _product(backend, root, factor, _K + _Q - top)
        return result.map(lambda part: part.reshape(shaped.shape))


_EDGES: Final = (19, 67, 134)
"""Sixteenths: where the pieces of the sigmoid for x >= 0 end. Above the last it is 1."""
_SCALE: Final = 24
_PIECES: Final = (
    (8388608, 4176660, 0, -296314),
    (7887813, 5502029, -1220311, 95346),
    (13987768, 1124596, -152639, 6941),
)
"""Coefficients of 1, x, x^2, x^3 times 2^24: for |x| <= 19/16, up to 67/16, up to 134/16."""


@dataclass(frozen=True)
class Sigmoid(Plan):
    """1 / (1 + exp(-x)), at the tensor's own fraction, 4 <= f <= 24, for any bound.

    Error below 2.6e-4 + 2 units, so that the result may lie that far outside of [0, 1]: three cubics on each side of
    zero, found by reweighted least squares; 0 and 1 beyond 8.375. The piece is chosen by six comparisons side by side.
    """

    width: int

    @classmethod
    def plan(cls, bound: int, fraction: int) -> Sigmoid:
        """For |X| <= bound."""
        if not 4 <= fraction <= _SCALE:
            raise ParameterError(f"a sigmoid takes 4 .. {_SCALE} bits of fraction; this tensor has {fraction}")
        reach = bound + (_EDGES[-1] << (fraction - 4))
        if reach > _LARGEST:
            raise ParameterError("a sigmoid takes |x| + 8.375 below 2^63 units; declare a tighter bound")
        return cls("sigmoid", (1 << fraction) + (1 << fraction >> 11) + 2, fraction, reach.bit_length() + 1)

    async def run(self, backend: ReplicatedBackend, *operands: Value) -> Value:
        """c_0 + x (c_1 + x (c_2 + x c_3)) with shared coefficients; those of a step up are added where it is passed.

        Outside of the pieces c_1 = c_2 = c_3 = 0, so that a large x multiplies nothing.
        """
        (shaped,) = operands
        x, f = _flat(shaped), self.fraction
        n = x.shape[0]
        ends = [*(-edge for edge in _EDGES[::-1]), *_EDGES]
        edges = [edge << (f - 4) for edge in ends]
        below = np.array([(-edge) % (1 << 64) for edge in edges], np.uint64)[:, None]
        differences = backend.add_public(
            x.map(lambda part: np.broadcast_to(part, (len(edges), n))), np.broadcast_to(below, (len(edges), n))
        )
        negative = await circuits.sign(backend, differences, self.width)
        passed = (await backend.to_number(circuits.invert(backend, negative), 64)).map(
            lambda part: part.reshape(len(edges), n)
        )
        pieces = [(0, 0, 0, 0), *_mirrored(), *_PIECES, (1 << _SCALE, 0, 0, 0)]
        steps = [[high - low for low, high in zip(*pair, strict=True)] for pair in itertools.pairwise(pieces)]
        c = [_weighted(backend, passed, [step[i] for step in steps]) for i in range(4)]
        total = c[3]
        for coefficient in (c[2], c[1]):
            total = backend.add(coefficient, await _product(backend, total, x, f))
        # c_0 and the last product meet with SCALE + f bits; one truncation for both.
        last = backend.add(await backend.mul(total, x), backend.scale(c[0], _constant(1 << f)))
        result = await _shifted(backend, last, _SCALE)
        return result.map(lambda part: part.reshape(shaped.shape))


def _mirrored() -> list[tuple[int, int, int, int]]:
    """The pieces for x < 0, from left to right: 1 - piece(-x). The middle one is its own mirror image."""
    return [((1 << _SCALE) - a, b, -c, d) for a, b, c, d in _PIECES[:0:-1]]
