"""Encoding for distributed noise, with NumPy in and out: rotation, clip to a norm, rounding, exact sums of records.

A seed is SEED_BYTES[cipher] bytes: the key and where its stream starts. The seed of a rotation is public; a seed of
coins is secret, fresh and used once. Sizes d are powers of two up to 2^30. Unless a function says otherwise, nothing is
written when an argument is refused.
"""

from __future__ import annotations

import math

import numpy as np

from privcomp._core._buffers import as_bytes, check_array, check_disjoint, check_int, pointer
from privcomp._core._privcomp import ffi, lib
from privcomp.errors import EncodingError, ParameterError
from privcomp.typing import Buffer, F32Array, F64Array, I64Array

_FLOATS = ("float32", "float64")
_MAX = 1 << 30
_BETA_MAX = 1 << 48
_TRIALS_MAX = 1 << 16
_AES: int = lib.PRIVCOMP_AES128_CTR
_SEED_BYTES: dict[int, int] = {
    _AES: lib.PRIVCOMP_AES128_SEED_BYTES,
    lib.PRIVCOMP_CHACHA20: lib.PRIVCOMP_CHACHA20_SEED_BYTES,
}


def _check(status: int) -> None:
    if status == lib.PRIVCOMP_E_FLOAT:
        raise EncodingError(
            "an entry is infinite or not a number; find out where it comes from, or leave this round out"
        )
    if status == lib.PRIVCOMP_E_RANGE:
        raise EncodingError("the integers are so large that a sum could overflow 64 bits; choose a coarser granularity")
    if status == lib.PRIVCOMP_E_NORM:
        raise EncodingError(
            "the rounded vector is longer than the bound, and so is the truncated one; nothing was returned; "
            "the bound must be at least floor((clip / granularity)^2)"
        )
    if status == lib.PRIVCOMP_E_ENTROPY:
        raise EncodingError("128 candidates in turn were refused, which does not happen by chance; check the seed")
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"the core refused the arguments (code {status})")


def _seed(name: str, seed: Buffer, cipher: int) -> object:
    if cipher not in _SEED_BYTES:
        raise ParameterError(f"cipher is {cipher!r}; allowed are AES128_CTR and CHACHA20")
    array = as_bytes(name, seed)
    check_array(name, array, ("uint8",), (_SEED_BYTES[cipher],))
    return pointer(array)


def _size(name: str, d: int) -> int:
    if not 0 < d <= _MAX or d & (d - 1):
        raise ParameterError(f"{name} has {d} entries; a transform takes a power of two up to 2^30; pad with zeros")
    return d


def _entries(name: str, n: int) -> int:
    if n > _MAX:
        raise ParameterError(f"{name} has {n} entries; allowed are 2^30")
    return n


def _norm(name: str, value: float) -> float:
    number = float(value)
    if not 2.0**-100 <= number <= 2.0**100:  # nor is a NaN
        raise ParameterError(f"{name} is {number}; allowed is [2^-100, 2^100]")
    return number


def _bound(bound: int) -> tuple[int, int]:
    return divmod(check_int("bound", bound, 0, (1 << 127) - 1), 1 << 64)


def hadamard_f64(x: F64Array) -> None:
    """x = H x in place, without a factor: x[i] becomes the sum over j of (-1)^popcount(i & j) x[j].

    Args:
        x: f64 (d,), writable, d a power of two up to 2^30.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only.
        ParameterError: d.

    Each of the log2(d) levels, at distances d/2, d/4, .. 1, rounds once per entry, and the result is the same on every
    machine.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> hadamard_f64(x)
    >>> x
    array([10., -2., -4.,  0.])
    """
    check_array("x", x, ("float64",), (None,), write=True)
    _check(lib.privcomp_hadamard_f64(pointer(x, write=True), _size("x", x.size)))


def hadamard_i64(x: I64Array) -> None:
    """The same, exactly, for integers.

    Args:
        x: i64 (d,), writable, d a power of two up to 2^30; the sum of all |x[j]| is below 2^62. That holds if
            sqrt(d) times the Euclidean norm is below 2^62.

    Raises:
        BufferTypeError, ParameterError: as above.
        EncodingError: the sum is too large; x is unchanged.

    Constant time in x.
    """
    check_array("x", x, ("int64",), (None,), write=True)
    _check(lib.privcomp_hadamard_i64(pointer(x, write=True), _size("x", x.size)))


def flip_signs(x: F64Array | I64Array, seed: Buffer, *, cipher: int = _AES) -> None:
    """Negates x[j] where bit j of the seed's stream is 1, in place. Bit j is bit j mod 8 of byte j // 8.

    Args:
        x: f64 or i64 (n,), writable.
        seed: SEED_BYTES[cipher] bytes.
        cipher: AES128_CTR or CHACHA20.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only, or a seed that is not bytes.
        ParameterError: length of the seed, cipher.
    """
    check_array("x", x, ("float64", "int64"), (None,), write=True)
    flip = lib.privcomp_flip_f64 if x.dtype == np.float64 else lib.privcomp_flip_i64
    _check(flip(pointer(x, write=True), x.size, _seed("seed", seed, cipher), cipher))


def unrotate(total: I64Array, scale: float, rotation: Buffer, *, cipher: int = _AES) -> F64Array:
    """scale * S H total: the inverse of a rotation S -> H / sqrt(d), if scale has the factor 1 / sqrt(d).

    Args:
        total: i64 (d,), d a power of two.
        scale: finite, such as granularity / sqrt(d).
        rotation: the seed of S, SEED_BYTES[cipher] bytes.
        cipher: AES128_CTR or CHACHA20.

    Returns:
        f64 (d,); what was padded is at the end. Rounded once per entry if the sum of |total| is below 2^53.

    Raises:
        BufferTypeError, ParameterError: as above; a scale that is not finite.

    >>> x = np.array([1, -2, 3, 0], np.int64)
    >>> y = x.copy()
    >>> flip_signs(y, bytes(32))
    >>> hadamard_i64(y)
    >>> unrotate(y, 0.25, bytes(32))
    array([ 1., -2.,  3.,  0.])
    """
    check_array("total", total, ("int64",), (None,))
    _size("total", total.size)
    scale = float(scale)
    if not math.isfinite(scale):
        raise ParameterError(f"scale is {scale}; pass a finite number")
    out = np.empty(total.size, np.float64)
    seed = _seed("rotation", rotation, cipher)
    _check(lib.privcomp_unrotate_i64(pointer(out, write=True), pointer(total), total.size, scale, seed, cipher))
    return out


def clip_l2(out: F32Array | F64Array, x: F32Array | F64Array, clip: float) -> None:
    """out = x, scaled down if need be, such that its Euclidean norm in exact arithmetic is at most `clip`.

    The usual x * min(1, clip / norm) exceeds the clip by a rounding for most vectors, and lets NaN pass. Here the norm
    is bounded from above with the error of its sum, and the factor is rounded down: by 2^-29 (float64) or 2^-19
    (float32) at most.

    Args:
        out: f32 or f64 (n,), writable; may be x.
        x: same dtype and length; any finite values.
        clip: in [2^-100, 2^100].

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only, arrays that overlap in part.
        ParameterError: lengths, clip.
        EncodingError: an entry of x is infinite or NaN; nothing was written.

    Not constant time.

    >>> x = np.array([3e300, 4e300])
    >>> clip_l2(x, x, 5.0)
    >>> np.allclose(x, [3, 4]), x[0] ** 2 + x[1] ** 2 <= 25
    (True, np.True_)
    """
    check_array("x", x, _FLOATS, (None,))
    check_array("out", out, (str(x.dtype),), (_entries("x", x.size),), write=True)
    if x.size and x.__array_interface__["data"][0] != out.__array_interface__["data"][0]:
        check_disjoint("out", out, "x", x)
    run = lib.privcomp_clip_l2_f32 if x.dtype == np.float32 else lib.privcomp_clip_l2_f64
    _check(run(pointer(out, write=True), pointer(x), x.size, _norm("clip", clip)))


def round_l2_var(
    x: F64Array, *, gamma: float, beta: int, bound: int, trials: int, seed: Buffer, cipher: int = _AES
) -> I64Array:
    """x / gamma, rounded at random to integers q whose exact sum of squares is at most `bound`.

    Entries are clamped to [-beta, beta] and rounded up or down with the probability that keeps their mean: within
    2^-53, and exactly from 1 on. If q is too long, coins are thrown anew; after `trials` attempts the entries are
    truncated towards zero.

    Args:
        x: f64 (n,), finite.
        gamma: granularity, in [2^-100, 2^100].
        beta: at most 2^48.
        bound: below 2^127; at least floor((c / gamma)^2) for vectors of norm at most c, and then the gate holds always.
        trials: at most 2^16; 0 only truncates.
        seed: of the coins, fresh and secret, SEED_BYTES[cipher] bytes.
        cipher: AES128_CTR or CHACHA20.

    Returns:
        i64 (n,).

    Raises:
        BufferTypeError, ParameterError: dtype, layout, ranges.
        EncodingError: an entry is infinite or NaN, or x is too long for the bound.

    The time depends on the number of attempts, which depends on x.

    Source: Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism .." (2021), section 4.2.

    >>> round_l2_var(np.array([3.0, -4.0]), gamma=1.0, beta=10, bound=25, trials=1, seed=bytes(32))
    array([ 3, -4])
    """
    return _round(x, gamma, beta, bound, trials, seed, cipher)[0]


def _round(
    x: F64Array, gamma: float, beta: int, bound: int, trials: int, seed: Buffer, cipher: int
) -> tuple[I64Array, int]:
    """With the number of the attempt, which only tests may know."""
    check_array("x", x, ("float64",), (None,))
    n = _entries("x", x.size)
    gamma = _norm("gamma", gamma)
    beta, trials = check_int("beta", beta, 0, _BETA_MAX), check_int("trials", trials, 0, _TRIALS_MAX)
    high, low = _bound(bound)
    coins = _seed("seed", seed, cipher)
    out, attempt = np.empty(n, np.int64), ffi.new("int32_t *")
    _check(
        lib.privcomp_round_l2_f64_var(
            pointer(out, write=True), attempt, pointer(x), n, gamma, beta, high, low, trials, coins, cipher
        )
    )
    return out, attempt[0]


def encode_l2_var(
    x: F32Array | F64Array,
    padded: int,
    *,
    clip: float,
    gamma: float,
    beta: int,
    bound: int,
    trials: int,
    rotation: Buffer,
    coins: Buffer,
    cipher: int = _AES,
) -> I64Array:
    """A vector as integers of bounded norm: padded, rotated (H S x / sqrt(d)), clipped, divided by gamma, rounded.

    Args:
        x: f32 or f64 (n,), finite.
        padded: d, a power of two, n <= d <= 2^30.
        clip: largest norm, in [2^-100, 2^100].
        gamma: granularity, in [2^-100, 2^100].
        beta, bound, trials: as in `round_l2_var`, whose rounding it is; if bound >= floor((clip / gamma)^2), the gate
            holds always.
        rotation: seed of the signs, public, SEED_BYTES[cipher] bytes.
        coins: seed of the coins, fresh and secret, as long.
        cipher: AES128_CTR or CHACHA20.

    Returns:
        i64 (padded,), absolute values at most beta, exact sum of squares at most bound.

    Raises:
        BufferTypeError, ParameterError: dtype, layout, ranges.
        EncodingError: an entry is infinite or NaN, or the bound is smaller than that and the vector too long for it.

    The time depends on the number of attempts, which depends on x.

    Source: Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism .." (2021), algorithm 1.

    >>> x = np.array([3.0, -4.0, 0.0])
    >>> options = dict(clip=10.0, gamma=1 / 64, beta=640, bound=640**2, trials=1, rotation=bytes(32))
    >>> q = encode_l2_var(x, 4, coins=bytes(range(32)), **options)
    >>> unrotate(q, 1 / 64 / 2, bytes(32)).round(1) + 0.0
    array([ 3., -4.,  0.,  0.])
    """
    return _encode(x, padded, clip, gamma, beta, bound, trials, rotation, coins, cipher)[0]


def _encode(
    x: F32Array | F64Array,
    padded: int,
    clip: float,
    gamma: float,
    beta: int,
    bound: int,
    trials: int,
    rotation: Buffer,
    coins: Buffer,
    cipher: int,
) -> tuple[I64Array, int]:
    """With the number of the attempt, which only tests may know."""
    check_array("x", x, _FLOATS, (None,))
    d = _size("the padded vector", check_int("padded", padded, 1, _MAX))
    if x.size > d:
        raise ParameterError(f"x has {x.size} entries, padded is {d}; take the least power of two that is not below")
    clip, gamma = _norm("clip", clip), _norm("gamma", gamma)
    beta, trials = check_int("beta", beta, 0, _BETA_MAX), check_int("trials", trials, 0, _TRIALS_MAX)
    high, low = _bound(bound)
    signs, seed = _seed("rotation", rotation, cipher), _seed("coins", coins, cipher)
    out, attempt = np.empty(d, np.int64), ffi.new("int32_t *")
    scratch = np.empty(lib.privcomp_encode_l2_scratch(d), np.float64)
    run = lib.privcomp_encode_l2_f32_var if x.dtype == np.float32 else lib.privcomp_encode_l2_f64_var
    _check(
        run(
            pointer(out, write=True),
            attempt,
            d,
            pointer(x),
            x.size,
            clip,
            gamma,
            beta,
            high,
            low,
            trials,
            signs,
            seed,
            cipher,
            pointer(scratch, write=True),
            scratch.size,
        )
    )
    return out, attempt[0]


def sum_records_var(acc: I64Array, records: F32Array | F64Array, *, clip: float, unit: float, bound: int) -> None:
    """Adds to `acc` the exact sum of records, each clipped to norm `clip`, divided by `unit`, truncated towards zero.

    Leaving out one record changes the sum by a vector of norm at most clip / unit, whatever the order. Of a sum of
    floats that is not true. Records may come batch after batch.

    Args:
        acc: i64 (d,), writable; max |acc| + n clip / unit is below 2^62.
        records: f32 or f64 (n, d), finite.
        clip: in [2^-100, 2^100].
        unit: in [2^-100, 2^100], clip / unit at most 2^48.
        bound: of each record's sum of squares; floor((clip / unit)^2), or more, and then the gate holds always.

    Raises:
        BufferTypeError, ParameterError: dtype, layout, overlap, lengths, ranges.
        EncodingError: an entry is infinite or NaN, or sums could overflow (nothing was written); or a record is longer
            than the bound (acc was wiped).

    Not constant time: floats.

    Source: Casacuberta, Shoemate, Vadhan, Wagaman, "Widespread Underestimation of Sensitivity in Differentially Private
    Libraries and How to Fix It" (2022), for what it avoids.

    >>> acc = np.zeros(2, np.int64)
    >>> sum_records_var(acc, np.array([[3.0, -4.0], [0.3, 0.4]]), clip=1.0, unit=1 / 1024, bound=1024**2)
    >>> acc
    array([ 921, -410])
    """
    check_array("records", records, _FLOATS, (None, None))
    rows, d = records.shape
    check_array("acc", acc, ("int64",), (_entries("acc", d),), write=True)
    check_disjoint("acc", acc, "records", records)
    clip, unit = _norm("clip", clip), _norm("unit", unit)
    if clip / unit > float(_BETA_MAX):
        raise ParameterError(f"clip / unit is {clip / unit}; allowed are 2^48; choose a coarser unit")
    high, low = _bound(bound)
    scratch = np.empty(2 * rows, np.float64)
    run = lib.privcomp_sum_records_f32_var if records.dtype == np.float32 else lib.privcomp_sum_records_f64_var
    _check(
        run(
            pointer(acc, write=True),
            pointer(records),
            rows,
            d,
            clip,
            unit,
            high,
            low,
            pointer(scratch, write=True),
            scratch.size,
        )
    )


def floor_div_random(v: I64Array, divisor: int, seed: Buffer, *, cipher: int = _AES) -> I64Array:
    """floor((v + U) / divisor) with U uniform in [0, divisor), exactly, and independent for each entry.

    Args:
        v: i64 (n,), |v| <= 2^62.
        divisor: in [1, 2^60].
        seed: of U, fresh and secret, SEED_BYTES[cipher] bytes.
        cipher: AES128_CTR or CHACHA20.

    Returns:
        i64 (n,). Its mean is v / divisor; two vectors v, v' give |q - q'| < |v - v'| / divisor + 1 under the same seed.

    Raises:
        BufferTypeError, ParameterError: dtype, layout, ranges.
        EncodingError: an entry of v is too large.

    Constant time in v.

    >>> floor_div_random(np.array([-6, -3, 0, 3, 6]), 3, bytes(32))
    array([-2, -1,  0,  1,  2])
    """
    check_array("v", v, ("int64",), (None,))
    n = _entries("v", v.size)
    divisor = check_int("divisor", divisor, 1, 1 << 60)
    coins = _seed("seed", seed, cipher)
    out = np.empty(n, np.int64)
    _check(lib.privcomp_floor_div_random(pointer(out, write=True), pointer(v), n, divisor, coins, cipher))
    return out
