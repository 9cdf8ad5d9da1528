"""Numbers modulo 2^width on the wire: the bits that count, and few others."""

from __future__ import annotations

import numpy as np

from privcomp import _core
from privcomp.mpc.engine import Section
from privcomp.typing import U64Array

__all__ = ["narrow", "narrow_bytes", "widen"]


def narrow(values: U64Array, width: int) -> Section:
    """What has to travel of numbers modulo 2^width: to the bit up to 32 bits, to the byte above; 1 <= width <= 64."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if width == 64:
        return flat
    if width <= 32:
        return _core.pack(flat.astype(np.uint32), width)
    whole = -(-width // 8)
    return np.ascontiguousarray(flat.view(np.uint8).reshape(-1, 8)[:, :whole])


def narrow_bytes(n: int, width: int) -> int:
    """How many bytes `narrow` makes of n numbers."""
    if width == 64:
        return 8 * n
    return (n * width + 7) // 8 if width <= 32 else n * -(-width // 8)


def widen(section: memoryview, n: int, width: int) -> U64Array:
    """The numbers back, u64 (n,).

    Raises:
        CodecError: a bit behind the last number is set.
    """
    if width == 64:
        return np.frombuffer(section, np.uint64)
    if width <= 32:
        return _core.unpack(section, n, width).astype(np.uint64)
    out = np.zeros((n, 8), np.uint8)
    whole = -(-width // 8)
    out[:, :whole] = np.frombuffer(section, np.uint8).reshape(n, whole)
    return out.view(np.uint64).reshape(n)
