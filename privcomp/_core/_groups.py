"""Groups of prime order and residues modulo their orders, with NumPy in and out: one row of bytes for each element."""

from __future__ import annotations

from typing import Any

import numpy as np

from privcomp._core._buffers import check_array, check_int, pointer
from privcomp._core._privcomp import lib
from privcomp.errors import CodecError, ParameterError
from privcomp.typing import BoolArray, I32Array, I64Array, U8Array, U64Array

RISTRETTO255: int = lib.PRIVCOMP_RISTRETTO255
BN254_G1: int = lib.PRIVCOMP_BN254_G1
POINT_BYTES: int = lib.PRIVCOMP_POINT_BYTES
SCALAR_BYTES: int = lib.PRIVCOMP_SCALAR_BYTES
ENCODING_BYTES: dict[int, int] = {g: lib.privcomp_group_encoding_bytes(g) for g in (RISTRETTO255, BN254_G1)}
UNIFORM_BYTES: dict[int, int] = {g: lib.privcomp_group_uniform_bytes(g) for g in (RISTRETTO255, BN254_G1)}

_U8 = ("uint8",)
_FIXED_WINDOWS = 32  # bytes of a scalar
_LINE_BYTES = 64  # of a cache


def _group(group: int) -> int:
    if group not in ENCODING_BYTES:
        raise ParameterError(f"group is {group!r}; allowed are RISTRETTO255 ({RISTRETTO255}) and BN254_G1 ({BN254_G1})")
    return group


def _check(status: int, what: str) -> None:
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise ParameterError(f"{what} holds a number that is not below the group's order; reduce it first")
    if status == lib.PRIVCOMP_E_ZERO:
        raise ParameterError(f"{what} holds 0, which has no inverse")
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"the core refused {what} (code {status})")


def _rows(name: str, array: U8Array, width: int, n: int | None = None) -> int:
    check_array(name, array, _U8, (n, width))
    return int(array.shape[0])


def _points(n: int) -> U8Array:
    return np.empty((n, POINT_BYTES), np.uint8)


# ---- residues modulo the order


def scalar_order(group: int) -> int:
    """The order of a group.

    >>> scalar_order(RISTRETTO255) - 2**252
    27742317777372353535851937790883648493
    """
    out = np.empty(SCALAR_BYTES, np.uint8)
    _check(lib.privcomp_scalar_order(pointer(out, write=True), _group(group)), "group")
    return int.from_bytes(out.tobytes(), "little")


def scalar_check(group: int, a: U8Array) -> None:
    """Raise ParameterError unless every row of a, u8 (n, 32), is below the order."""
    n = _rows("a", a, SCALAR_BYTES)
    _check(lib.privcomp_scalar_check(pointer(a), n, _group(group)), "a")


def _pairwise(run: Any, group: int, a: U8Array, b: U8Array) -> U8Array:
    n = _rows("a", a, SCALAR_BYTES)
    _rows("b", b, SCALAR_BYTES, n)
    out = np.empty_like(a)
    _check(run(pointer(out, write=True), pointer(a), pointer(b), n, _group(group)), "a or b")
    return out


def scalar_add(group: int, a: U8Array, b: U8Array) -> U8Array:
    """a + b modulo the order, row by row.

    Args:
        group: RISTRETTO255 or BN254_G1.
        a: u8 (n, 32), little endian, below the order.
        b: as a.

    Raises:
        BufferTypeError: dtype, dimensions, layout.
        ParameterError: group, lengths differ, a row that is not below the order.
    """
    return _pairwise(lib.privcomp_scalar_add, group, a, b)


def scalar_sub(group: int, a: U8Array, b: U8Array) -> U8Array:
    """a - b modulo the order; arguments and errors as `scalar_add`."""
    return _pairwise(lib.privcomp_scalar_sub, group, a, b)


def scalar_mul(group: int, a: U8Array, b: U8Array) -> U8Array:
    """a * b modulo the order; arguments and errors as `scalar_add`."""
    return _pairwise(lib.privcomp_scalar_mul, group, a, b)


def scalar_axpy(group: int, alpha: U8Array, x: U8Array, y: U8Array) -> U8Array:
    """alpha * x + y modulo the order, alpha u8 (1, 32); else as `scalar_add`."""
    _rows("alpha", alpha, SCALAR_BYTES, 1)
    n = _rows("x", x, SCALAR_BYTES)
    _rows("y", y, SCALAR_BYTES, n)
    out = np.empty_like(x)
    status = lib.privcomp_scalar_axpy(
        pointer(out, write=True), pointer(alpha), pointer(x), pointer(y), n, _group(group)
    )
    _check(status, "alpha, x or y")
    return out


def scalar_dot(group: int, a: U8Array, b: U8Array) -> U8Array:
    """The sum of a * b modulo the order, u8 (1, 32); arguments and errors as `scalar_add`."""
    n = _rows("a", a, SCALAR_BYTES)
    _rows("b", b, SCALAR_BYTES, n)
    out = np.empty((1, SCALAR_BYTES), np.uint8)
    _check(lib.privcomp_scalar_dot(pointer(out, write=True), pointer(a), pointer(b), n, _group(group)), "a or b")
    return out


def scalar_inv(group: int, a: U8Array) -> U8Array:
    """1 / a modulo the order, with one inversion for all; a zero raises ParameterError, else as `scalar_add`."""
    n = _rows("a", a, SCALAR_BYTES)
    out = np.empty_like(a)
    _check(lib.privcomp_scalar_inv(pointer(out, write=True), pointer(a), n, _group(group)), "a")
    return out


def scalar_from_wide(group: int, wide: U8Array) -> U8Array:
    """Rows of 64 little-endian bytes modulo the order: uniform ones give residues within 2^-256 of uniform."""
    n = _rows("wide", wide, 2 * SCALAR_BYTES)
    out = np.empty((n, SCALAR_BYTES), np.uint8)
    _check(lib.privcomp_scalar_from_wide(pointer(out, write=True), pointer(wide), n, _group(group)), "wide")
    return out


def scalar_from_i64(group: int, values: I64Array) -> U8Array:
    """Signed integers, i64 (n,), modulo the order."""
    check_array("values", values, ("int64",), (None,))
    out = np.empty((values.size, SCALAR_BYTES), np.uint8)
    status = lib.privcomp_scalar_from_i64(pointer(out, write=True), pointer(values), values.size, _group(group))
    _check(status, "values")
    return out


def scalar_combine_i64(group: int, weights: U8Array, values: I64Array) -> U8Array:
    """out[b] = sum over a of weights[a] * values[a, b] modulo the order.

    Args:
        group: RISTRETTO255 or BN254_G1.
        weights: u8 (rows, 32), below the order; rows < 2^32.
        values: i64 (rows, n).

    Returns:
        u8 (n, 32).
    """
    rows = _rows("weights", weights, SCALAR_BYTES)
    check_array("values", values, ("int64",), (rows, None))
    out = np.empty((values.shape[1], SCALAR_BYTES), np.uint8)
    status = lib.privcomp_scalar_combine_i64(
        pointer(out, write=True), pointer(weights), pointer(values), rows, values.shape[1], _group(group)
    )
    _check(status, "weights")
    return out


# ---- points


def group_generator(group: int) -> U8Array:
    """The usual generator, u8 (1, 64)."""
    out = _points(1)
    _check(lib.privcomp_group_generator(pointer(out, write=True), _group(group)), "group")
    return out


def group_decode(group: int, encodings: U8Array) -> U8Array:
    """Points from their encodings.

    Args:
        group: RISTRETTO255 or BN254_G1.
        encodings: u8 (n, 32) of RFC 9496, or (n, 64) of EIP-196.

    Returns:
        u8 (n, 64).

    Raises:
        BufferTypeError: dtype, dimensions, layout.
        CodecError: one of them is no encoding of an element.
    """
    n = _rows("encodings", encodings, ENCODING_BYTES[_group(group)])
    out = _points(n)
    status = lib.privcomp_group_decode(pointer(out, write=True), pointer(encodings), n, group)
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise CodecError("a point that is not canonically encoded, or not on the curve")
    _check(status, "encodings")
    return out


def group_encode(group: int, points: U8Array) -> U8Array:
    """The encodings of points, u8 (n, 64); the inverse of `group_decode`."""
    n = _rows("points", points, POINT_BYTES)
    out = np.empty((n, ENCODING_BYTES[_group(group)]), np.uint8)
    _check(lib.privcomp_group_encode(pointer(out, write=True), pointer(points), n, group), "points")
    return out


def group_from_uniform(group: int, uniform: U8Array) -> U8Array:
    """Points from uniform bytes, u8 (n, 64) (ristretto255) or (n, 96) (BN254): nobody knows their logarithms.

    Source: RFC 9496, section 4.3.4; RFC 9380, sections 3 and 6.6.1.
    """
    n = _rows("uniform", uniform, UNIFORM_BYTES[_group(group)])
    out = _points(n)
    _check(lib.privcomp_group_from_uniform(pointer(out, write=True), pointer(uniform), n, group), "uniform")
    return out


def group_on_curve(group: int, points: U8Array) -> bool:
    """Whether all rows, u8 (n, 64), are points of the curve with canonical coordinates."""
    n = _rows("points", points, POINT_BYTES)
    return bool(lib.privcomp_group_on_curve(pointer(points), n, _group(group)) == lib.PRIVCOMP_OK)


def group_equal(group: int, a: U8Array, b: U8Array) -> BoolArray:
    """Whether a[i] and b[i] are the same element, row by row."""
    n = _rows("a", a, POINT_BYTES)
    _rows("b", b, POINT_BYTES, n)
    out = np.empty(n, np.uint8)
    _check(lib.privcomp_group_equal(pointer(out, write=True), pointer(a), pointer(b), n, _group(group)), "a or b")
    return out.astype(np.bool_)


def _point_pairs(run: Any, group: int, a: U8Array, b: U8Array) -> U8Array:
    n = _rows("a", a, POINT_BYTES)
    _rows("b", b, POINT_BYTES, n)
    out = _points(n)
    _check(run(pointer(out, write=True), pointer(a), pointer(b), n, _group(group)), "a or b")
    return out


def group_add(group: int, a: U8Array, b: U8Array) -> U8Array:
    """a + b, row by row, u8 (n, 64)."""
    return _point_pairs(lib.privcomp_group_add, group, a, b)


def group_sub(group: int, a: U8Array, b: U8Array) -> U8Array:
    """a - b, row by row, u8 (n, 64)."""
    return _point_pairs(lib.privcomp_group_sub, group, a, b)


def group_sum(group: int, points: U8Array) -> U8Array:
    """The sums over the first axis of points, u8 (rows, n, 64): u8 (n, 64)."""
    check_array("points", points, _U8, (None, None, POINT_BYTES))
    rows, n = points.shape[:2]
    out = _points(n)
    _check(lib.privcomp_group_sum(pointer(out, write=True), pointer(points), rows, n, _group(group)), "points")
    return out


def group_mul(group: int, points: U8Array, scalars: U8Array) -> U8Array:
    """scalars[i] * points[i], constant time; u8 (n, 64), (n, 32) -> (n, 64)."""
    n = _rows("points", points, POINT_BYTES)
    _rows("scalars", scalars, SCALAR_BYTES, n)
    out = _points(n)
    status = lib.privcomp_group_mul(pointer(out, write=True), pointer(points), pointer(scalars), n, _group(group))
    _check(status, "scalars")
    return out


def group_msm(group: int, points: U8Array, scalars: U8Array) -> U8Array:
    """The sum of scalars[i] * points[i], constant time; u8 (1, 64)."""
    n = _rows("points", points, POINT_BYTES)
    _rows("scalars", scalars, SCALAR_BYTES, n)
    out = _points(1)
    status = lib.privcomp_group_msm(pointer(out, write=True), pointer(points), pointer(scalars), n, _group(group))
    _check(status, "scalars")
    return out


# ---- variable time


def group_msm_var(group: int, points: U8Array, scalars: U8Array) -> U8Array:
    """The sum of scalars[i] * points[i] in variable time; u8 (1, 64).

    Source: Straus (1964) for few points, Pippenger's buckets for many.
    """
    n = _rows("points", points, POINT_BYTES)
    _rows("scalars", scalars, SCALAR_BYTES, n)
    out, scratch = _points(1), _msm_scratch(group, n)
    status = lib.privcomp_group_msm_var(
        pointer(out, write=True), pointer(points), pointer(scalars), n, group, pointer(scratch, write=True),
        scratch.size,
    )  # fmt: skip
    _check(status, "scalars")
    return out


def group_msm_i64_var(group: int, points: U8Array, values: I64Array) -> U8Array:
    """The sum of values[i] * points[i] for signed integers, i64 (n,), in variable time; u8 (1, 64)."""
    n = _rows("points", points, POINT_BYTES)
    check_array("values", values, ("int64",), (n,))
    out, scratch = _points(1), _msm_scratch(group, n)
    status = lib.privcomp_group_msm_i64_var(
        pointer(out, write=True), pointer(points), pointer(values), n, group, pointer(scratch, write=True),
        scratch.size,
    )  # fmt: skip
    _check(status, "values")
    return out


def _msm_scratch(group: int, n: int) -> U64Array:
    return np.empty(lib.privcomp_group_msm_scratch(n, _group(group)), np.uint64)


def group_table(group: int, points: U8Array, windows: int) -> U8Array:
    """Multiples of n fixed bases, for numbers of `windows` bytes (1 .. 32); u8 (bytes,).

    128 multiples per window and base: of 64 bytes, but of 96 with more than 4 windows in ristretto255. The first stands
    at the start of a cache line.
    """
    n = _rows("points", points, POINT_BYTES)
    windows = check_int("windows", windows, 1, _FIXED_WINDOWS)
    size = lib.privcomp_group_table_bytes(n, windows, _group(group))
    room = np.empty(size + _LINE_BYTES - 1, np.uint8)
    first = -room.ctypes.data % _LINE_BYTES
    out = room[first : first + size]
    _check(lib.privcomp_group_table(pointer(out, write=True), out.size, pointer(points), n, windows, group), "points")
    return out


def group_rows_var(group: int, table: U8Array, values: I32Array, windows: int) -> U8Array:
    """out[a] = sum over b of values[a, b] * base[b], in variable time.

    Args:
        group: RISTRETTO255 or BN254_G1.
        table: of `group_table` for the same bases and windows.
        values: i32 (rows, n), |values| <= 2^(8 windows - 1).
        windows: 1 .. 4.

    Returns:
        u8 (rows, 64).

    Raises:
        BufferTypeError: dtype, dimensions, layout.
        ParameterError: the table is of another size, a value is out of range.
    """
    check_array("values", values, ("int32",), (None, None))
    rows, n = values.shape
    windows = check_int("windows", windows, 1, 4)
    check_array("table", table, _U8, (lib.privcomp_group_table_bytes(n, windows, _group(group)),))
    scratch: U64Array = np.empty(lib.privcomp_group_rows_scratch(rows, group), np.uint64)
    out = _points(rows)
    status = lib.privcomp_group_rows_var(
        pointer(out, write=True), pointer(table), table.size, pointer(values), rows, n, windows, group,
        pointer(scratch, write=True), scratch.size,
    )  # fmt: skip
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise ParameterError(f"a value is beyond the {windows} bytes of the table: |value| <= 2^{8 * windows - 1}")
    _check(status, "values")
    return out


def group_fixed_var(group: int, table: U8Array, scalars: U8Array) -> U8Array:
    """scalars[i] * base from a table of one base and 32 windows, in variable time; u8 (n, 32) -> (n, 64)."""
    n = _rows("scalars", scalars, SCALAR_BYTES)
    check_array("table", table, _U8, (lib.privcomp_group_table_bytes(1, _FIXED_WINDOWS, _group(group)),))
    out = _points(n)
    status = lib.privcomp_group_fixed_var(
        pointer(out, write=True), pointer(table), table.size, pointer(scalars), n, group
    )
    _check(status, "scalars")
    return out


def group_axpy_var(group: int, scalar: U8Array, b: U8Array, a: U8Array) -> U8Array:
    """a[i] + scalar * b[i] for one scalar, u8 (1, 32), in variable time; u8 (n, 64), (n, 64) -> (n, 64)."""
    n = _rows("b", b, POINT_BYTES)
    _rows("a", a, POINT_BYTES, n)
    _rows("scalar", scalar, SCALAR_BYTES, 1)
    out = _points(n)
    status = lib.privcomp_group_axpy_var(
        pointer(out, write=True), pointer(scalar), pointer(b), pointer(a), n, _group(group)
    )
    _check(status, "scalar")
    return out
