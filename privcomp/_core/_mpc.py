"""What parties compute on their shares modulo 2^64 and 2^128, with NumPy in and out: products, Gram matrices, planes.

All functions are constant time in every word; shapes are public. Products of shares are local terms: a protocol adds a
sharing of zero to them before they leave the machine, or they leak. `accumulate` saves the pass that would add it: let
`out` hold the sharing of zero first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from privcomp._core._buffers import check_array, check_disjoint, check_int, pointer
from privcomp._core._privcomp import lib
from privcomp.errors import ParameterError
from privcomp.typing import U32Array, U64Array

_U64 = ("uint64",)
_VALUES_MAX = 1 << 48


def _check(status: int) -> None:
    """The binding has checked everything; a refusal by the core all the same is reported, not ignored."""
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"the core refused the arguments (code {status})")


def _output(out: U64Array | None, shape: tuple[int, ...], accumulate: bool, **inputs: U64Array) -> U64Array:
    if out is None:
        if accumulate:
            raise ParameterError("accumulate adds to what out holds, but there is no out; pass one")
        return np.empty(shape, np.uint64)
    check_array("out", out, _U64, shape, write=True)
    for name, array in inputs.items():
        check_disjoint("out", out, name, array)
    return out


# ---- matrices ----


def ring_matmul(a: U64Array, b: U64Array, *, out: U64Array | None = None, accumulate: bool = False) -> U64Array:
    """The matrix product a b modulo 2^64.

    Args:
        a: u64 (n, k).
        b: u64 (k, m).
        out: u64 (n, m) to write to, no part of a or b; None allocates.
        accumulate: add to `out` instead of overwriting it.

    Returns:
        u64 (n, m); `out` where it was given.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, or accumulate without out.

    >>> ring_matmul(np.array([[1, 2]], np.uint64), np.array([[3], [2**64 - 1]], np.uint64))
    array([[1]], dtype=uint64)
    """
    check_array("a", a, _U64, (None, None))
    check_array("b", b, _U64, (a.shape[1], None))
    (n, k), m = a.shape, b.shape[1]
    out = _output(out, (n, m), accumulate, a=a, b=b)
    scratch: U64Array = np.empty(lib.privcomp_matmul_scratch(n, k, m), np.uint64)
    _check(
        lib.privcomp_ring_matmul_u64(
            pointer(out, write=True), pointer(a), pointer(b), n, k, m, accumulate, pointer(scratch, write=True),
            scratch.size,
        )
    )  # fmt: skip
    return out


def _combined(x: U64Array, factor: int, y: U64Array | None, other: int) -> tuple[int, U64Array, int]:
    """The arguments of p x + q y as the core takes them: p, y, q."""
    if y is None:
        if other:
            raise ParameterError("there is a factor of y, but no y; pass it")
        y = x
    limit = 1 << 64
    p, q = (check_int("a factor", number, -limit, limit) % limit for number in (factor, other))
    return p, y, q


def ring_combine(
    x: U64Array, factor: int, y: U64Array | None = None, other: int = 0, *, out: U64Array | None = None
) -> U64Array:
    """factor * x + other * y modulo 2^64, word by word, in one pass.

    Args:
        x: u64 of any shape.
        factor: public, |factor| <= 2^64; reduced modulo 2^64.
        y: u64 of the same shape; None: x alone.
        other: as `factor`.
        out: of that shape, to write to, no part of the others; None allocates.

    Returns:
        u64 of that shape; `out` where it was given.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, factors, or a factor of a y that is not there.

    >>> ring_combine(np.array([5], np.uint64), 2, np.array([3], np.uint64), -1)
    array([7], dtype=uint64)
    """
    p, y, q = _combined(x, factor, y, other)
    check_array("x", x, _U64, (None,) * np.ndim(x))
    check_array("y", y, _U64, x.shape)
    out = _output(out, x.shape, False, x=x, y=y)
    lib.privcomp_ring_combine_u64(pointer(out, write=True), pointer(x), p, pointer(y), q, x.size)
    return out


def _gram(run: Any, out: U64Array | None, **inputs: U64Array) -> U64Array:
    shape: tuple[int | None, ...] = (None, None)
    for name, array in inputs.items():
        check_array(name, array, _U64, shape)
        shape = array.shape
    n, d = next(iter(inputs.values())).shape
    out = _output(out, (n, n), False, **inputs)
    scratch: U64Array = np.empty(lib.privcomp_gram_scratch(n), np.uint64)
    pointers = [pointer(array) for array in inputs.values()]
    _check(run(pointer(out, write=True), *pointers, n, d, pointer(scratch, write=True), scratch.size))
    return out


def ring_gram(
    x: U64Array, factor: int = 1, y: U64Array | None = None, other: int = 0, *, out: U64Array | None = None
) -> U64Array:
    """z z^T modulo 2^64 for z = factor * x + other * y: the dot products of all pairs of rows.

    It is symmetric; half of it is computed. z is never held whole.

    Args:
        x: u64 (n, d).
        factor: public, |factor| <= 2^64; reduced modulo 2^64.
        y: u64 (n, d); None: x alone.
        other: as `factor`.
        out: u64 (n, n) to write to; None allocates.

    Returns:
        u64 (n, n); `out` where it was given.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, factors, or a factor of a y that is not there.

    >>> ring_gram(np.array([[1, 2], [3, 4]], np.uint64))
    array([[ 5, 11],
           [11, 25]], dtype=uint64)
    """
    p, y, q = _combined(x, factor, y, other)

    def run(to: Any, left: Any, right: Any, *rest: Any) -> int:
        status: int = lib.privcomp_ring_gram_u64(to, left, p, right, q, *rest)
        return status

    return _gram(run, out, x=x, y=y)


def rep3_gram(x1: U64Array, x2: U64Array, *, out: U64Array | None = None) -> U64Array:
    """x1 x1^T + x1 x2^T + x2 x1^T modulo 2^64: one party's term of the Gram matrix of a replicated X.

    X is the sum of three components and the party holds two of them, x1 and the next one, x2. The terms of the three
    parties add up to X X^T. The term equals (x1 + x2)(x1 + x2)^T - x2 x2^T.

    Args:
        x1: u64 (n, d).
        x2: u64 (n, d).
        out: u64 (n, n) to write to; None allocates.

    Returns:
        u64 (n, n), symmetric; `out` where it was given.

    Raises:
        BufferTypeError, ParameterError: as `ring_gram`.

    Source: Araki et al., CCS 2016, section 2.
    """
    return _gram(lib.privcomp_rep3_gram_u64, out, x1=x1, x2=x2)


def cross_gram(xi: U64Array, xj: U64Array, *, out: U64Array | None = None) -> U64Array:
    """xi xj^T + xj xi^T modulo 2^64: what components i and j add to a Gram matrix; otherwise as `rep3_gram`.

    Source: Dalskov, Escudero, Keller, "Fantastic Four", USENIX Security 2021 (multiplication).
    """
    return _gram(lib.privcomp_cross_gram_u64, out, xi=xi, xj=xj)


# ---- word by word ----


def _words(run: Any, out: U64Array | None, accumulate: bool, **inputs: U64Array) -> U64Array:
    shape: tuple[int, ...] | None = None
    for name, array in inputs.items():
        check_array(name, array, _U64, shape if shape is not None else (None,) * np.ndim(array))
        shape = array.shape
    first = next(iter(inputs.values()))
    out = _output(out, first.shape, accumulate, **inputs)
    run(pointer(out, write=True), *[pointer(array) for array in inputs.values()], first.size, accumulate)
    return out


def rep3_product(
    x1: U64Array, x2: U64Array, y1: U64Array, y2: U64Array, *, out: U64Array | None = None, accumulate: bool = False
) -> U64Array:
    """x1 (y1 + y2) + x2 y1 modulo 2^64, word by word: one party's term of the product of two replicated numbers.

    Each number is the sum of three components and the party holds two of them, the first and the next one. The terms of
    the three parties add up to the product.

    Args:
        x1, x2, y1, y2: u64, all of one shape; they may be the same array.
        out: of that shape, to write to, no part of the others; None allocates.
        accumulate: add to `out` instead of overwriting it.

    Returns:
        u64 of that shape; `out` where it was given.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, or accumulate without out.

    Source: Araki et al., CCS 2016, section 2.

    >>> one, two, three = (np.array([k], np.uint64) for k in (1, 2, 3))
    >>> rep3_product(one, two, three, one)  # 1 * (3 + 1) + 2 * 3
    array([10], dtype=uint64)
    """
    return _words(lib.privcomp_rep3_product_u64, out, accumulate, x1=x1, x2=x2, y1=y1, y2=y2)


def rep3_and(
    x1: U64Array, x2: U64Array, y1: U64Array, y2: U64Array, *, out: U64Array | None = None, accumulate: bool = False
) -> U64Array:
    """(x1 & (y1 ^ y2)) ^ (x2 & y1): `rep3_product` with XOR and AND of bits for + and times; accumulates with XOR."""
    return _words(lib.privcomp_rep3_and_u64, out, accumulate, x1=x1, x2=x2, y1=y1, y2=y2)


def cross_product(
    xi: U64Array, yi: U64Array, xj: U64Array, yj: U64Array, *, out: U64Array | None = None, accumulate: bool = False
) -> U64Array:
    """xi yj + xj yi modulo 2^64, word by word: what components i and j add to a product; otherwise as `rep3_product`.

    Source: Dalskov, Escudero, Keller, "Fantastic Four", USENIX Security 2021 (multiplication).
    """
    return _words(lib.privcomp_cross_product_u64, out, accumulate, xi=xi, yi=yi, xj=xj, yj=yj)


def cross_and(
    xi: U64Array, yi: U64Array, xj: U64Array, yj: U64Array, *, out: U64Array | None = None, accumulate: bool = False
) -> U64Array:
    """(xi & yj) ^ (xj & yi): `cross_product` with XOR and AND of bits for + and times; accumulates with XOR."""
    return _words(lib.privcomp_cross_and_u64, out, accumulate, xi=xi, yi=yi, xj=xj, yj=yj)


# ---- bit planes ----


def to_planes(values: U64Array, bits: int = 64, *, out: U64Array | None = None) -> U64Array:
    """The low bits of many words, one plane for each bit: 64 bits of a plane are one word, for logic on all at once.

    Args:
        values: u64 (n,).
        bits: 1 .. 64: planes; higher bits are dropped.
        out: u64 (bits, ceil(n / 64)) to write to; None allocates.

    Returns:
        u64 (bits, ceil(n / 64)): bit i of word w of plane b is bit b of values[64 w + i]; zero from n on.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: bits, or lengths.

    >>> to_planes(np.array([1, 2, 3], np.uint64), 2)
    array([[5],
           [6]], dtype=uint64)
    """
    check_array("values", values, _U64, (None,))
    bits = check_int("bits", bits, 1, 64)
    n = check_int("the number of values", values.size, 0, _VALUES_MAX)
    out = _output(out, (bits, -(-n // 64)), False, values=values)
    _check(lib.privcomp_planes_split(pointer(out, write=True), bits, pointer(values), n))
    return out


def from_planes(planes: U64Array, n: int, *, out: U64Array | None = None) -> U64Array:
    """The inverse of `to_planes`: bits that have no plane are zero.

    Args:
        planes: u64 (bits, ceil(n / 64)), 1 <= bits <= 64; what lies beyond n is not looked at.
        n: values.
        out: u64 (n,) to write to; None allocates.

    Returns:
        u64 (n,).

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: n, or the shape of planes.
    """
    n = check_int("n", n, 0, _VALUES_MAX)
    check_array("planes", planes, _U64, (None, -(-n // 64)))
    bits = check_int("the number of planes", planes.shape[0], 1, 64)
    out = _output(out, (n,), False, planes=planes)
    _check(lib.privcomp_planes_join(pointer(out, write=True), n, pointer(planes), bits))
    return out


def planes_dot(
    x: U64Array, y: U64Array, ends: U32Array, left: U32Array, right: U32Array, *, out: U64Array | None = None
) -> U64Array:
    """Sums of products of planes, modulo 2: row r is the XOR of x[left[k]] & y[right[k]], ends[r - 1] <= k < ends[r].

    Args:
        x, y: u64 (planes, words), as many words in both.
        ends: u32 (rows,), ascending, the last one the number of terms; public.
        left, right: u32 (terms,): planes of x and of y; public.
        out: u64 (rows, words) to write to, no part of x or y; None allocates.

    Returns:
        u64 (rows, words).

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, a plane that there is not, or ends that fall.

    >>> index = np.array([0, 1], np.uint32)
    >>> x = np.array([[0b1100], [0b1010]], np.uint64)
    >>> planes_dot(x, x[::-1].copy(), np.array([1, 2], np.uint32), index, index)
    array([[8],
           [8]], dtype=uint64)
    """
    check_array("x", x, _U64, (None, None))
    check_array("y", y, _U64, (None, x.shape[1]))
    check_array("ends", ends, ("uint32",), (None,))
    check_array("left", left, ("uint32",), (None,))
    check_array("right", right, ("uint32",), (left.size,))
    out = _output(out, (ends.size, x.shape[1]), False, x=x, y=y)
    indices = [pointer(array) for array in (ends, left, right)]
    found = pointer(out, write=True)
    _check(
        lib.privcomp_planes_dot(
            found, ends.size, *indices, left.size, pointer(x), len(x), pointer(y), len(y), x.shape[1]
        )
    )
    return out


# ---- modulo 2^128 ----


def ring128_mul(a: U64Array, b: U64Array, *, out: U64Array | None = None) -> U64Array:
    """a b modulo 2^128, number by number.

    Args:
        a: u64 (n, 2): each number is its low word and its high word.
        b: as a.
        out: as a, to write to, no part of a or b; None allocates.

    Returns:
        u64 (n, 2); `out` where it was given.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths.

    >>> ring128_mul(np.array([[2**63, 1]], np.uint64), np.array([[2, 3]], np.uint64))
    array([[                  0, 9223372036854775811]], dtype=uint64)
    """
    check_array("a", a, _U64, (None, 2))
    check_array("b", b, _U64, (len(a), 2))
    out = _output(out, (len(a), 2), False, a=a, b=b)
    lib.privcomp_ring_mul_u128(pointer(out, write=True), pointer(a), pointer(b), len(a))
    return out


def ring128_axpy(acc: U64Array, x: U64Array, scale: int = 1) -> None:
    """acc += scale * x modulo 2^128, in place.

    Args:
        acc: u64 (n, 2), writable: each number is its low word and its high word.
        x: u64 (n, 2); may be acc itself, but not a shifted view of it.
        scale: |scale| <= 2^128; reduced modulo 2^128.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only, or partly overlapping arrays.
        ParameterError: lengths, or scale.
    """
    check_array("acc", acc, _U64, (None, 2), write=True)
    check_array("x", x, _U64, (len(acc), 2))
    if x.size and x.__array_interface__["data"][0] != acc.__array_interface__["data"][0]:
        check_disjoint("acc", acc, "x", x)
    high, low = divmod(check_int("scale", scale, -(1 << 128), 1 << 128) % (1 << 128), 1 << 64)
    words = np.array([low, high], np.uint64)
    lib.privcomp_ring_axpy_u128(pointer(acc, write=True), pointer(x), len(acc), pointer(words))


def ring128_matmul(a: U64Array, b: U64Array, *, out: U64Array | None = None, accumulate: bool = False) -> U64Array:
    """The matrix product a b modulo 2^128.

    Args:
        a: u64 (n, k, 2): each number is its low word and its high word.
        b: u64 (k, m, 2).
        out: u64 (n, m, 2) to write to, no part of a or b; None allocates.
        accumulate: add to `out` instead of overwriting it.

    Returns:
        u64 (n, m, 2); `out` where it was given.

    Raises:
        BufferTypeError, ParameterError: as `ring_matmul`.
    """
    check_array("a", a, _U64, (None, None, 2))
    check_array("b", b, _U64, (a.shape[1], None, 2))
    n, k, m = a.shape[0], a.shape[1], b.shape[1]
    out = _output(out, (n, m, 2), accumulate, a=a, b=b)
    _check(lib.privcomp_ring_matmul_u128(pointer(out, write=True), pointer(a), pointer(b), n, k, m, accumulate))
    return out
