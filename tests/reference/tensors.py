"""Shared tensors in plain Python integers: what a result may be, as an interval for every entry.

A tensor stands for integers X, of which is known low <= X <= high (equal where nothing was truncated); it stands for
X / 2^fraction. Truncation by s bits gives the floor or the ceiling of X / 2^s. Everything else is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


def _ints(values: Any) -> Any:
    """Any integers as an array of Python's."""
    array = np.asarray(values)
    out = np.empty(array.shape, object)
    out[...] = [int(v) for v in array.reshape(-1)] if array.shape == () else None
    if array.shape == ():
        out[()] = int(array)
    else:
        out.reshape(-1)[:] = [int(v) for v in array.reshape(-1)]
    return out


@dataclass
class Plain:
    """low, high: object arrays of Python integers; fraction: bits."""

    low: Any
    high: Any
    fraction: int = 0

    @classmethod
    def exact(cls, values: Any, fraction: int = 0) -> Plain:
        ints = _ints(values)
        return cls(ints, ints, fraction)

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = np.shape(self.low)
        return shape

    def map(self, change: Any) -> Plain:
        return Plain(change(self.low), change(self.high), self.fraction)

    def fixed(self, fraction: int) -> Plain:
        by = fraction - self.fraction
        if by >= 0:
            return Plain(self.low * (1 << by), self.high * (1 << by), fraction)
        return Plain(*_divided(self.low, self.high, -by), fraction)

    def __neg__(self) -> Plain:
        return Plain(-self.high, -self.low, self.fraction)

    def __add__(self, other: Plain) -> Plain:
        f = max(self.fraction, other.fraction)
        a, b = self.fixed(f), other.fixed(f)
        return Plain(a.low + b.low, a.high + b.high, f)

    def __sub__(self, other: Plain) -> Plain:
        return self + -other

    def raw_product(self, other: Plain) -> Plain:
        """Without truncation."""
        several = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        low, high = several[0], several[0]
        for one in several[1:]:
            low, high = np.minimum(low, one), np.maximum(high, one)
        return Plain(low, high, self.fraction + other.fraction)

    def truncated(self, shift: int) -> Plain:
        """The product's fraction made smaller."""
        if shift == 0:
            return self
        return Plain(*_divided(self.low, self.high, shift), self.fraction - shift)

    def times(self, other: Plain, truncates: bool) -> Plain:
        return self.raw_product(other).truncated(min(self.fraction, other.fraction) if truncates else 0)

    def matmul(self, other: Plain, truncates: bool) -> Plain:
        raw = self.map(lambda x: x[:, :, None]).raw_product(other.map(lambda y: y[None]))
        return raw.sum(1).truncated(min(self.fraction, other.fraction) if truncates else 0)

    def sum(self, axis: int | None = None) -> Plain:
        return self.map(lambda x: _ints(np.sum(x, axis=axis)))

    def sort(self, axis: int) -> Plain:
        """Order statistics are monotone in every entry."""
        return self.map(lambda x: np.sort(x, axis=axis))

    def below(self, other: Plain) -> Any:
        """Whether self < other: 1, 0, or -1 where the intervals leave it open."""
        f = max(self.fraction, other.fraction)
        a, b = self.fixed(f), other.fixed(f)
        return np.where(_bools(a.high < b.low), 1, np.where(_bools(a.low >= b.high), 0, -1))

    def equals(self, other: Plain) -> Any:
        f = max(self.fraction, other.fraction)
        a, b = self.fixed(f), other.fixed(f)
        apart = _bools(a.high < b.low) | _bools(b.high < a.low)
        same = _bools(a.low == a.high) & _bools(b.low == b.high) & ~apart
        return np.where(apart, 0, np.where(same, 1, -1))

    def abs(self) -> Plain:
        crosses = _bools(self.low < 0) & _bools(self.high > 0)
        ends = np.abs(self.low), np.abs(self.high)
        return Plain(np.where(crosses, 0, np.minimum(*ends)), np.maximum(*ends), self.fraction)

    def holds(self, integers: Any) -> bool:
        """Whether opened integers are among what they may be."""
        found = _ints(integers)
        return bool(np.all(_bools(self.low <= found) & _bools(found <= self.high)))


def where(condition: Any, a: Plain, b: Plain) -> Plain:
    f = max(a.fraction, b.fraction)
    a, b = a.fixed(f), b.fixed(f)
    low = np.where(condition == 1, a.low, np.where(condition == 0, b.low, np.minimum(a.low, b.low)))
    high = np.where(condition == 1, a.high, np.where(condition == 0, b.high, np.maximum(a.high, b.high)))
    return Plain(low, high, f)


def number(condition: Any) -> Plain:
    return Plain(_ints(np.where(condition == 1, 1, 0)), _ints(np.where(condition == 0, 0, 1)))


def _bools(values: Any) -> Any:
    return np.asarray(values, dtype=np.bool_)


def _divided(low: Any, high: Any, shift: int) -> tuple[Any, Any]:
    return low // (1 << shift), -(-high // (1 << shift))
