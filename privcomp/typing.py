"""Array aliases. A name states what the core demands of the array: its dtype, and one dimension unless it says more."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "BoolArray",
    "Buffer",
    "F32Array",
    "F64Array",
    "I8Array",
    "I32Array",
    "I64Array",
    "RingArray",
    "U8Array",
    "U32Array",
    "U64Array",
]

U8Array: TypeAlias = npt.NDArray[np.uint8]
"""Bytes; seeds are (k, seed bytes), lanes (n, 32)."""

U32Array: TypeAlias = npt.NDArray[np.uint32]
"""Numbers modulo 2^32."""

U64Array: TypeAlias = npt.NDArray[np.uint64]
"""Numbers modulo 2^64, or canonical elements of a word-size field."""

RingArray: TypeAlias = U32Array | U64Array
"""Numbers modulo 2^32 or 2^64, as the dtype says."""

I8Array: TypeAlias = npt.NDArray[np.int8]
"""Small signed integers: coefficients of a ring-LWE key, and its noise."""

I32Array: TypeAlias = npt.NDArray[np.int32]
"""Signed integers of 32 bits, such as the entries of an encoded update."""

I64Array: TypeAlias = npt.NDArray[np.int64]
"""Signed integers."""

F32Array: TypeAlias = npt.NDArray[np.float32]
"""Floats of single precision, as models have them."""

F64Array: TypeAlias = npt.NDArray[np.float64]
"""Floats before encoding or after decoding."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]
"""Flags."""

Buffer: TypeAlias = bytes | bytearray | memoryview | U8Array
"""Received or packed bytes."""
