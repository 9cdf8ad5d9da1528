"""The ring of integers modulo 2^bits, in which masked vectors are added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from privcomp.typing import I64Array, RingArray

__all__ = ["Ring"]


@dataclass(frozen=True)
class Ring:
    """The integers modulo 2^bits, 1 <= bits <= 64, in the smallest word that holds them.

    Sums may be left to wrap in the word and reduced once: the word's modulus is a multiple of 2^bits.

    >>> ring = Ring(26)
    >>> ring.center(ring.reduce(np.array([-3], np.int64).astype(ring.dtype)))
    array([-3])
    """

    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise ParameterError(f"bits is {self.bits}; allowed is [1, 64]")

    @property
    def modulus(self) -> int:
        """2^bits."""
        return 1 << self.bits

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint32 up to 32 bits, else uint64."""
        return np.dtype(np.uint32 if self.bits <= 32 else np.uint64)

    def reduce(self, values: RingArray) -> RingArray:
        """The low `bits` bits of each value, as a new array.

        Args:
            values: array of `dtype`.

        Raises:
            BufferTypeError: another dtype.
        """
        if values.dtype != self.dtype:
            raise BufferTypeError(f"values has dtype {values.dtype}; a ring modulo 2^{self.bits} takes {self.dtype}")
        reduced: RingArray = values & self.dtype.type(self.modulus - 1)
        return reduced

    def center(self, values: RingArray) -> I64Array:
        """Each value's low `bits` bits as a number in [-2^(bits-1), 2^(bits-1)).

        Args:
            values: array (n,) of `dtype`.

        Raises:
            BufferTypeError: another dtype, dimension or layout.
        """
        if values.dtype != self.dtype:
            raise BufferTypeError(f"values has dtype {values.dtype}; a ring modulo 2^{self.bits} takes {self.dtype}")
        return _core.center(values, self.bits)
