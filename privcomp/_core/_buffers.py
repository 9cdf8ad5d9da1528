"""The checks that stand between NumPy and the core: nothing reaches C without them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from privcomp._core._privcomp import ffi
from privcomp.errors import BufferTypeError, ParameterError

C_TYPES = {
    "uint8": "uint8_t[]",
    "uint16": "uint16_t[]",
    "uint32": "uint32_t[]",
    "uint64": "uint64_t[]",
    "int8": "int8_t[]",
    "int32": "int32_t[]",
    "int64": "int64_t[]",
    "bool": "uint8_t[]",
    "float32": "float[]",
    "float64": "double[]",
}
# str(dtype) takes microseconds. A byte-swapped dtype is another key than its native twin.
_NAMES = {np.dtype(name): name for name in C_TYPES}
_POINTERS = {np.dtype(name): ffi.typeof(c_type) for name, c_type in C_TYPES.items()}


def check_array(
    name: str, array: object, dtypes: tuple[str, ...], shape: tuple[int | None, ...], *, write: bool = False
) -> None:
    """Raises unless `array` is a C-contiguous, aligned ndarray of one of `dtypes` and of `shape` (None: any length).

    Raises:
        BufferTypeError: wrong type, dtype, number of dimensions, layout, or read-only where the core writes.
        ParameterError: wrong length in a dimension that is fixed.
    """
    if not isinstance(array, np.ndarray):
        raise BufferTypeError(f"{name} is a {type(array).__name__}; pass a numpy array of {' or '.join(dtypes)}")
    if _NAMES.get(array.dtype) not in dtypes:
        raise BufferTypeError(
            f"{name} has dtype {array.dtype}; allowed is {' or '.join(dtypes)}; convert it explicitly, for example with"
            " .astype()"
        )
    lengths = array.shape
    if len(lengths) != len(shape):
        raise BufferTypeError(f"{name} has {len(lengths)} dimensions, the core takes {len(shape)}; reshape it")
    flags = array.flags
    if not flags.c_contiguous or not flags.aligned:
        raise BufferTypeError(f"{name} is not C-contiguous and aligned; pass np.ascontiguousarray(...) of it")
    if write and not flags.writeable:
        raise BufferTypeError(f"{name} is read-only and would be written to; pass a writable array")
    if lengths != shape:
        for axis, want in enumerate(shape):
            if want is not None and lengths[axis] != want:
                raise ParameterError(f"{name} has length {lengths[axis]} on axis {axis}, but must have {want}")


def check_disjoint(name: str, output: npt.NDArray[Any], other_name: str, other: npt.NDArray[Any]) -> None:
    """Raises BufferTypeError if an output overlaps an input in memory. Both are contiguous, so their bounds decide."""
    if np.may_share_memory(output, other):
        raise BufferTypeError(f"{name} and {other_name} overlap in memory; pass a copy of {other_name}")


def check_int(name: str, value: object, low: int, high: int) -> int:
    """`value` as an int with low <= value <= high.

    Raises:
        ParameterError: not an integer, or out of range.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ParameterError(f"{name} is a {type(value).__name__}; pass an integer in [{low}, {high}]") from None
    if not low <= number <= high:
        raise ParameterError(f"{name} is {number}; allowed is [{low}, {high}]")
    return number


def samples(n: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Room for n samples.

    Raises:
        ParameterError: there is not so much memory.
    """
    try:
        return np.empty(n, dtype)
    except MemoryError:
        size = n * np.dtype(dtype).itemsize
        raise ParameterError(f"{n} samples take {size} bytes, which this machine refuses; ask for fewer") from None


def pointer(array: npt.NDArray[Any], *, write: bool = False) -> Any:
    """The array as a C pointer. It keeps the array alive and unresizable as long as it lives itself."""
    return ffi.from_buffer(_POINTERS[array.dtype], array, write)


def as_bytes(name: str, data: object) -> npt.NDArray[np.uint8]:
    """Bytes, a bytearray, a contiguous memoryview or a u8 array as a 1-D u8 array, without a copy.

    Raises:
        BufferTypeError: anything else.
    """
    if isinstance(data, np.ndarray):
        check_array(name, data, ("uint8",), (None,))
        return data
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise BufferTypeError(
            f"{name} is a {type(data).__name__}; pass bytes, bytearray, memoryview or a numpy array of uint8"
        )
    if isinstance(data, memoryview) and not data.c_contiguous:
        raise BufferTypeError(f"{name} is a memoryview with gaps; pass bytes(...) of it")
    return np.frombuffer(data, dtype=np.uint8)
