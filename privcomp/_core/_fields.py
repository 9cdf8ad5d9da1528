"""Word-size prime fields and Shamir sharing over them, with NumPy in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from privcomp._core._buffers import as_bytes, check_array, check_disjoint, check_int, pointer
from privcomp._core._privcomp import ffi, lib
from privcomp.errors import ParameterError
from privcomp.typing import Buffer, U64Array

M61: int = lib.PRIVCOMP_FIELD_M61
GOLDILOCKS: int = lib.PRIVCOMP_FIELD_GOLDILOCKS
M61_P: int = lib.privcomp_field_modulus(M61)
GOLDILOCKS_P: int = lib.privcomp_field_modulus(GOLDILOCKS)
SHAMIR_MAX_POINTS: int = lib.PRIVCOMP_SHAMIR_MAX_POINTS
NTT_LOG_MAX: int = lib.PRIVCOMP_NTT_LOG_MAX
PACKED_SHIFT: int = lib.PRIVCOMP_PACKED_SHIFT

_MODULI = {M61: M61_P, GOLDILOCKS: GOLDILOCKS_P}
_U64 = ("uint64",)
_MAX_D = 1 << 40

_REFUSALS: dict[int, str] = {
    lib.PRIVCOMP_E_CANONICAL: "{what} holds a number that is not below the modulus {p}; reduce it first",
    lib.PRIVCOMP_E_ZERO: "{what} holds 0 (modulo {p}); only non-zero elements are allowed here",
    lib.PRIVCOMP_E_DUPLICATE: "two points are equal modulo {p}; every party needs a point of its own",
}


def _modulus(field: int) -> int:
    if field not in _MODULI:
        raise ParameterError(f"field is {field!r}; allowed are M61 ({M61}) and GOLDILOCKS ({GOLDILOCKS})")
    return _MODULI[field]


def _check(status: int, what: str, p: int) -> None:
    if status != lib.PRIVCOMP_OK:
        text = _REFUSALS.get(status, "the core refused {what} (code {status})")
        raise ParameterError(text.format(what=what, p=p, status=status))


def _pair(field: int, a: U64Array, b: U64Array) -> tuple[int, U64Array]:
    p = _modulus(field)
    check_array("a", a, _U64, (None,))
    check_array("b", b, _U64, (a.size,))
    return p, np.empty_like(a)


def _binary(run: Any, field: int, a: U64Array, b: U64Array) -> U64Array:
    p, out = _pair(field, a, b)
    _check(run(pointer(out, write=True), pointer(a), pointer(b), a.size, field), "a or b", p)
    return out


def field_add(field: int, a: U64Array, b: U64Array) -> U64Array:
    """a + b modulo p, element by element.

    Args:
        field: M61 (p = 2^61 - 1) or GOLDILOCKS (p = 2^64 - 2^32 + 1).
        a: u64 (n,), canonical (below p).
        b: as a.

    Raises:
        BufferTypeError: dtype, dimensions, layout.
        ParameterError: field, lengths differ, an element that is not canonical.

    >>> field_add(M61, np.array([M61_P - 1], np.uint64), np.array([3], np.uint64))
    array([2], dtype=uint64)
    """
    return _binary(lib.privcomp_field_add, field, a, b)


def field_sub(field: int, a: U64Array, b: U64Array) -> U64Array:
    """a - b modulo p; arguments and errors as `field_add`."""
    return _binary(lib.privcomp_field_sub, field, a, b)


def field_mul(field: int, a: U64Array, b: U64Array) -> U64Array:
    """a * b modulo p; arguments and errors as `field_add`."""
    return _binary(lib.privcomp_field_mul, field, a, b)


def field_neg(field: int, a: U64Array) -> U64Array:
    """-a modulo p; arguments and errors as `field_add`."""
    p, out = _pair(field, a, a)
    _check(lib.privcomp_field_neg(pointer(out, write=True), pointer(a), a.size, field), "a", p)
    return out


def field_axpy(field: int, alpha: int, x: U64Array, y: U64Array) -> U64Array:
    """alpha * x + y modulo p; 0 <= alpha < p, else as `field_add`."""
    p, out = _pair(field, x, y)
    alpha = check_int("alpha", alpha, 0, p - 1)
    _check(lib.privcomp_field_axpy(pointer(out, write=True), pointer(x), pointer(y), x.size, alpha, field), "x or y", p)
    return out


def field_inv(field: int, a: U64Array) -> U64Array:
    """1 / a modulo p, one inversion for the whole vector; a zero raises ParameterError, else as `field_add`.

    Source: Montgomery, "Speeding the Pollard and elliptic curve methods of factorization", Math. Comp. 48 (1987),
    section 10.3.1.
    """
    p, out = _pair(field, a, a)
    _check(lib.privcomp_field_inv(pointer(out, write=True), pointer(a), a.size, field), "a", p)
    return out


def field_dot(field: int, a: U64Array, b: U64Array) -> int:
    """The sum of a * b modulo p; arguments and errors as `field_add`."""
    p, _ = _pair(field, a, b)
    out: U64Array = np.empty(1, np.uint64)
    _check(lib.privcomp_field_dot(pointer(out, write=True), pointer(a), pointer(b), a.size, field), "a or b", p)
    return int(out[0])


def _scratch(words: int) -> U64Array:
    return np.empty(words, np.uint64)


def _part(part: tuple[int, int] | None, d: int, out: U64Array | None) -> tuple[int, int]:
    """First column and number of columns."""
    if part is None:
        return 0, d
    if out is None:
        raise ParameterError("a part of the columns was asked for without an array to write them into; pass out")
    first = check_int("the first column", part[0], 0, d)
    return first, check_int("the number of columns", part[1], 0, d - first)


def shamir_share(
    field: int,
    secrets: U64Array,
    points: U64Array,
    threshold: int,
    seed: Buffer,
    *,
    out: U64Array | None = None,
    part: tuple[int, int] | None = None,
) -> U64Array:
    """Shamir's sharing of d secrets among n points: any `threshold` shares give a secret, fewer say nothing about it.

    The polynomials are uniform among those of degree < threshold whose value at 0 is the secret, so any of their
    other coefficients may be zero. They are fixed by the values at threshold - 1 of the points, which are drawn from
    the seed's AES-128-CTR stream with rejection; csrc/include/privcomp.h says which. The result is the same at every
    dispatch level.

    Args:
        field: M61 or GOLDILOCKS.
        secrets: u64 (d,), canonical.
        points: u64 (n,), canonical, non-zero and distinct modulo p; n <= 16384.
        threshold: 1 .. n.
        seed: 32 bytes, for this call only: secrets shared twice under one seed are not hidden.
        out: u64 (n, d) to write into, for callers that share block after block (fresh memory costs more than the
            arithmetic for large d); None allocates.
        part: (first column, columns) to write, of the same shares; nothing else of `out`, which has to be given, is
            touched. Parts of one sharing, which have the same seed, may be computed at once by several threads.

    Returns:
        u64 (n, d): row i is the share of points[i]; `out` where it was given.

    Raises:
        BufferTypeError: dtype, dimensions, layout.
        ParameterError: field, threshold, a point that is 0 or occurs twice modulo p, anything that is not canonical.

    Source: Shamir, "How to share a secret", CACM 22 (1979).

    >>> shares = shamir_share(M61, np.array([5], np.uint64), np.array([1, 2, 3], np.uint64), 2, bytes(32))
    >>> shamir_combine(M61, np.array([1, 3], np.uint64), shares[[0, 2]])
    array([5], dtype=uint64)
    """
    p = _modulus(field)
    check_array("secrets", secrets, _U64, (None,))
    check_array("points", points, _U64, (None,))
    n = check_int("the number of points", points.size, 1, SHAMIR_MAX_POINTS)
    threshold = check_int("threshold", threshold, 1, n)
    d = check_int("the number of secrets", secrets.size, 0, _MAX_D)
    seed_array = as_bytes("seed", seed)
    check_array("seed", seed_array, ("uint8",), (lib.PRIVCOMP_AES128_SEED_BYTES,))
    shares = np.empty((n, d), np.uint64) if out is None else out
    if out is not None:
        check_array("out", out, _U64, (n, d), write=True)
        for name, other in (("secrets", secrets), ("points", points), ("seed", seed_array)):
            check_disjoint("out", out, name, other)
    first, count = _part(part, d, out)
    scratch = _scratch(lib.privcomp_shamir_share_scratch(n, threshold, d))
    status = lib.privcomp_shamir_share_part(
        pointer(shares, write=True), pointer(secrets), d, first, count, pointer(points), n, threshold,
        pointer(seed_array), field, pointer(scratch, write=True), scratch.size,
    )  # fmt: skip
    _check(status, "points" if status != lib.PRIVCOMP_E_CANONICAL else "points or secrets", p)
    return shares


def shamir_interpolate(field: int, points: U64Array, shares: U64Array, at: U64Array) -> U64Array:
    """The values at `at` of the polynomials of degree < m through m shares each.

    Args:
        field: M61 or GOLDILOCKS.
        points: u64 (m,), canonical, non-zero and distinct modulo p; m <= 16384.
        shares: u64 (m, d), canonical: row i belongs to points[i].
        at: u64 (r,), canonical: 0 gives the secrets, another point what its share has to be.

    Returns:
        u64 (r, d).

    Raises:
        BufferTypeError: dtype, dimensions, layout.
        ParameterError: field, lengths, a point that is 0 or occurs twice modulo p, anything that is not canonical.
    """
    p = _modulus(field)
    check_array("points", points, _U64, (None,))
    check_array("shares", shares, _U64, (points.size, None))
    check_array("at", at, _U64, (None,))
    m = check_int("the number of points", points.size, 1, SHAMIR_MAX_POINTS)
    rows = check_int("the number of values", at.size, 0, SHAMIR_MAX_POINTS)
    d = check_int("the number of secrets", shares.shape[1], 0, _MAX_D)
    out = np.empty((rows, d), np.uint64)
    scratch = _scratch(lib.privcomp_shamir_interpolate_scratch(rows, m, d))
    status = lib.privcomp_shamir_interpolate(
        pointer(out, write=True), pointer(at), rows, pointer(points), m, pointer(shares), d, field,
        pointer(scratch, write=True), scratch.size,
    )  # fmt: skip
    _check(status, "points" if status != lib.PRIVCOMP_E_CANONICAL else "points, shares or at", p)
    return out


def shamir_combine(field: int, points: U64Array, shares: U64Array, *, at: int = 0) -> U64Array:
    """The secrets (or the values at `at`) from exactly as many shares as the threshold; see `shamir_interpolate`.

    Returns:
        u64 (d,).
    """
    where = np.array([check_int("at", at, 0, _modulus(field) - 1)], np.uint64)
    return shamir_interpolate(field, points, shares, where)[0]


def lagrange_weights(field: int, points: U64Array, at: U64Array) -> U64Array:
    """Lagrange coefficients: f(at[i]) = sum of weights[i, j] f(points[j]) for every polynomial f of degree < m.

    Variable time: points and at are public.

    Args:
        field: M61 or GOLDILOCKS.
        points: u64 (m,), canonical and distinct; 1 <= m <= 16384.
        at: u64 (r,), canonical.

    Returns:
        u64 (r, m).

    Raises:
        BufferTypeError, ParameterError: as `shamir_interpolate`.

    >>> lagrange_weights(M61, np.array([1, 2], np.uint64), np.array([3], np.uint64)).astype(object) - [[M61_P, 0]]
    array([[-1, 2]], dtype=object)
    """
    p = _modulus(field)
    check_array("points", points, _U64, (None,))
    check_array("at", at, _U64, (None,))
    m = check_int("the number of points", points.size, 1, SHAMIR_MAX_POINTS)
    weights = np.empty((at.size, m), np.uint64)
    scratch = ffi.new("uint64_t[]", 3 * m)
    status = lib.privcomp_lagrange_weights_var(
        pointer(weights, write=True), pointer(at), at.size, pointer(points), m, field, scratch
    )
    _check(status, "points or at", p)
    return weights


def _log_size(rows: int) -> int:
    """log2 of a number of rows.

    Raises:
        ParameterError: no power of two, or too large.
    """
    log_n = rows.bit_length() - 1
    if rows < 1 or rows != 1 << log_n or log_n > NTT_LOG_MAX:
        raise ParameterError(f"{rows} rows; a transform takes a power of two up to 2^{NTT_LOG_MAX}")
    return log_n


def ntt_goldilocks_inplace(data: U64Array, *, shift: int = 1, inverse: bool = False) -> None:
    """Values of many polynomials over Goldilocks at N points, or back to their coefficients, in place.

    Args:
        data: u64 (N, d), canonical, writable, N a power of two up to 2^14: column j holds the coefficients of f_j from
            degree 0 up, and then f_j(x_i) in row i, x_i the points of `ntt_goldilocks_points`.
        shift: non-zero, canonical: what the N-th roots of unity are multiplied by.
        inverse: from values to coefficients.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only.
        ParameterError: N, shift, or an element that is not canonical (then nothing is written).

    Constant time in data. Source: Cooley, Tukey, Math. Comp. 19 (1965).
    """
    check_array("data", data, _U64, (None, None), write=True)
    rows, d = data.shape
    log_n = _log_size(rows)
    shift = check_int("shift", shift, 1, GOLDILOCKS_P - 1)
    check_int("the number of polynomials", d, 0, _MAX_D)
    scratch = _scratch(lib.privcomp_ntt_goldilocks_scratch(log_n, d))
    status = lib.privcomp_ntt_goldilocks(
        pointer(data, write=True), log_n, d, shift, int(inverse), pointer(scratch, write=True), scratch.size
    )
    _check(status, "data", GOLDILOCKS_P)


def ntt_goldilocks_points(n: int, size: int, *, shift: int = 1) -> U64Array:
    """The first n points of the transform with `size` rows: shift w^rev(i), w = 7^((p - 1) / size), rev the reversal of
    log2(size) bits.

    Args:
        n: 0 .. size.
        size: a power of two up to 2^14.
        shift: canonical.

    Raises:
        ParameterError: a number out of its range.

    >>> ntt_goldilocks_points(4, 4).tolist() == [1, GOLDILOCKS_P - 1, 1 << 48, GOLDILOCKS_P - (1 << 48)]
    True
    """
    log_n = _log_size(size)
    points = np.empty(check_int("n", n, 0, size), np.uint64)
    shift = check_int("shift", shift, 0, GOLDILOCKS_P - 1)
    _check(lib.privcomp_ntt_goldilocks_points_var(pointer(points, write=True), n, log_n, shift), "shift", GOLDILOCKS_P)
    return points


def packed_share(
    secrets: U64Array,
    n: int,
    privacy: int,
    seed: Buffer,
    *,
    out: U64Array | None = None,
    part: tuple[int, int] | None = None,
) -> U64Array:
    """Packed sharing over Goldilocks of l secrets per polynomial, d polynomials, among n parties.

    Polynomial j has degree <= privacy + l - 1, the values secrets[:, j] at `ntt_goldilocks_points(l, l)`, and is
    uniform among all such ones; shares are its values at `ntt_goldilocks_points(n, N, shift=PACKED_SHIFT)`, N the least
    power of two >= n. Any `privacy` shares say nothing, privacy + l give the secrets.

    Args:
        secrets: u64 (l, d), canonical, l a power of two.
        n: parties, privacy + l .. 2^14.
        privacy: at least 1.
        seed: 32 bytes, for this call only.
        out, part: as `shamir_share`.

    Returns:
        u64 (n, d): row i is the share of party i.

    Raises:
        BufferTypeError: dtype, dimensions, layout.
        ParameterError: a number out of its range, or a secret that is not canonical.

    Source: Franklin, Yung, "Communication complexity of secure computation", STOC 1992.
    """
    check_array("secrets", secrets, _U64, (None, None))
    packing, d = secrets.shape
    log_packing = _log_size(packing)
    n = check_int("the number of parties", n, 1, 1 << NTT_LOG_MAX)
    privacy = check_int("privacy", privacy, 1, n)
    if privacy + packing > n:
        raise ParameterError(
            f"{privacy} + {packing} shares would be needed of {n}; lower privacy or the number of packed secrets"
        )
    check_int("the number of polynomials", d, 0, _MAX_D)
    seed_array = as_bytes("seed", seed)
    check_array("seed", seed_array, ("uint8",), (lib.PRIVCOMP_AES128_SEED_BYTES,))
    shares = np.empty((n, d), np.uint64) if out is None else out
    if out is not None:
        check_array("out", out, _U64, (n, d), write=True)
        for name, other in (("secrets", secrets), ("seed", seed_array)):
            check_disjoint("out", out, name, other)
    first, count = _part(part, d, out)
    scratch = _scratch(lib.privcomp_packed_share_scratch(n, privacy, log_packing, d))
    status = lib.privcomp_packed_share(
        pointer(shares, write=True), pointer(secrets), d, first, count, n, privacy, log_packing, pointer(seed_array),
        pointer(scratch, write=True), scratch.size,
    )  # fmt: skip
    _check(status, "secrets", GOLDILOCKS_P)
    return shares
