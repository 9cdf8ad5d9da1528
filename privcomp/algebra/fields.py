"""Prime fields whose elements fit a 64-bit word.

Vectors are u64 arrays of canonical elements (below the modulus). Every operation is constant time in the elements.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from privcomp import _core
from privcomp.typing import U64Array

__all__ = ["GOLDILOCKS", "M61", "PrimeField"]


@dataclass(frozen=True)
class PrimeField:
    """The integers modulo a prime p; use the objects `M61` and `GOLDILOCKS`.

    The methods take and return u64 arrays (n,) of canonical elements. They raise BufferTypeError for a wrong dtype,
    dimension or layout, and ParameterError for an element that is not canonical or for lengths that differ.

    >>> M61.to_ints(M61.mul(M61.from_ints([-1, 2]), M61.from_ints([5, 1 << 60])))
    [2305843009213693946, 1]
    """

    name: str
    modulus: int
    core_id: int

    def add(self, a: U64Array, b: U64Array) -> U64Array:
        """a + b."""
        return _core.field_add(self.core_id, a, b)

    def sub(self, a: U64Array, b: U64Array) -> U64Array:
        """a - b."""
        return _core.field_sub(self.core_id, a, b)

    def mul(self, a: U64Array, b: U64Array) -> U64Array:
        """a * b, element by element."""
        return _core.field_mul(self.core_id, a, b)

    def neg(self, a: U64Array) -> U64Array:
        """-a."""
        return _core.field_neg(self.core_id, a)

    def inv(self, a: U64Array) -> U64Array:
        """1 / a, with one inversion for the vector; a zero raises ParameterError."""
        return _core.field_inv(self.core_id, a)

    def axpy(self, alpha: int, x: U64Array, y: U64Array) -> U64Array:
        """alpha * x + y with 0 <= alpha < modulus."""
        return _core.field_axpy(self.core_id, alpha, x, y)

    def dot(self, a: U64Array, b: U64Array) -> int:
        """The sum of a * b."""
        return _core.field_dot(self.core_id, a, b)

    def from_ints(self, values: Iterable[int]) -> U64Array:
        """The residues of Python integers of any size and sign. Not constant time."""
        return np.array([value % self.modulus for value in values], np.uint64)

    def to_ints(self, a: U64Array) -> list[int]:
        """The elements as Python integers."""
        return [int(value) for value in a]


M61 = PrimeField("M61", _core.M61_P, _core.M61)
"""p = 2^61 - 1: reduction is an addition; room for three more bits in a word."""

GOLDILOCKS = PrimeField("Goldilocks", _core.GOLDILOCKS_P, _core.GOLDILOCKS)
"""p = 2^64 - 2^32 + 1: has roots of unity of order 2^32."""
