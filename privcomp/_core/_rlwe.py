"""Additive ring-LWE with NumPy in and out: tables, keys, and the checks in front of the core."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from privcomp._core._buffers import as_bytes, check_array, check_disjoint, check_int, pointer
from privcomp._core._privcomp import lib
from privcomp.errors import CodecError, EncodingError, ParameterError
from privcomp.typing import Buffer, I8Array, I32Array, I64Array, RingArray, U8Array, U64Array

RLWE_DEGREE_MIN: int = lib.PRIVCOMP_RLWE_DEGREE_MIN
RLWE_DEGREE_MAX: int = lib.PRIVCOMP_RLWE_DEGREE_MAX
RLWE_PRIMES: int = lib.PRIVCOMP_RLWE_PRIMES
RLWE_DIGITS: int = lib.PRIVCOMP_RLWE_DIGITS
RLWE_EXPANDER_BYTES: int = lib.PRIVCOMP_RLWE_EXPANDER_BYTES
RLWE_SEED_BYTES: int = lib.PRIVCOMP_AES128_SEED_BYTES

_MAX_VALUES = 1 << 40
_MAX_POLYNOMIALS = 1 << 32
_MAX_SHIFT = (1 << 48) - 1
_LINE = 64


def _aligned(words: int) -> U64Array:
    """u64 (words,) that begins with a line of the caches: a vector in two lines takes two loads."""
    array: U64Array = np.empty(words + _LINE // 8 - 1, np.uint64)
    start = -array.ctypes.data % _LINE // 8
    return array[start : start + words]


class RlweTables:
    """The ring Z_q[x] / (x^N + 1), q the product of the primes, and how digits lie in its coefficients. Immutable.

    Args:
        degree: N, a power of two from 4 to 16384.
        primes: 1 to 4 distinct primes, 2^8 < q < 2^50, each 1 modulo 2N. That they are prime is not looked at.
        roots: for each prime psi with psi^N = -1: the transform is a^[i] = a(psi^(2 brv(i) + 1)).
        radix: M, 2 .. 2^48: values are below M.
        digits: k, 1 .. 64, values in one coefficient. Delta = floor(q / M^k) is from 2 to 2^62.

    Attributes:
        delta: Delta.
        prime_bits: bits of each prime, and of a residue on the wire.

    Raises:
        ParameterError: an argument is not as above.

    Source: csrc/include/privcomp.h has the equations.

    >>> tables = RlweTables(4, [257], [4], 16, 1)
    >>> tables.delta, tables.ciphertext_bytes(4)
    (16, 5)
    """

    __slots__ = ("_pointer", "_words", "degree", "delta", "digits", "prime_bits", "primes", "radix")

    def __init__(self, degree: int, primes: Sequence[int], roots: Sequence[int], radix: int, digits: int) -> None:
        degree = check_int("degree", degree, RLWE_DEGREE_MIN, RLWE_DEGREE_MAX)
        if degree & (degree - 1):
            raise ParameterError(f"degree is {degree}; it must be a power of two")
        if not 1 <= len(primes) <= RLWE_PRIMES or len(roots) != len(primes):
            raise ParameterError(
                f"{len(primes)} primes and {len(roots)} roots; pass 1 to {RLWE_PRIMES} primes and a root for each"
            )
        self.degree = degree
        self.primes = tuple(check_int("a prime", q, (1 << 8) + 1, (1 << 50) - 1) for q in primes)
        psi = tuple(check_int("a root", root, 2, q - 1) for root, q in zip(roots, self.primes, strict=True))
        for q, root in zip(self.primes, psi, strict=True):
            if q % (2 * degree) != 1 or pow(root, degree, q) != q - 1:
                raise ParameterError(
                    f"prime {q} must be 1 modulo {2 * degree}, and its root {root} to the power {degree} must be -1"
                )
        if len(set(self.primes)) != len(self.primes):
            raise ParameterError(f"the primes {list(self.primes)} are not distinct")
        self.radix = check_int("radix", radix, 2, 1 << 48)
        self.digits = check_int("digits", digits, 1, RLWE_DIGITS)
        product = 1
        for q in self.primes:
            product *= q
        self.delta: int = product // self.radix**self.digits
        if not 2 <= self.delta <= 1 << 62:
            raise ParameterError(
                f"{self.digits} digits of radix {self.radix} leave Delta = {self.delta}; allowed is [2, 2^62]: "
                "change the primes, the radix or the digits"
            )
        self.prime_bits = tuple(q.bit_length() for q in self.primes)
        words = lib.privcomp_rlwe_words(degree, len(self.primes))
        self._words: U64Array = _aligned(words)
        self._pointer: Any = pointer(self._words, write=True)
        status = lib.privcomp_rlwe_init(
            self._pointer,
            words,
            degree,
            pointer(np.array(self.primes, np.uint64)),
            pointer(np.array(psi, np.uint64)),
            len(self.primes),
            self.radix,
            self.digits,
        )
        if status != lib.PRIVCOMP_OK:
            raise ParameterError(f"the core refused the ring (code {status}); check that the moduli are primes")
        self._words.flags.writeable = False

    def coefficients(self, count: int) -> int:
        """Coefficients that `count` values take: ceil(count / k). `count`: 0 .. 2^40."""
        return -(-check_int("count", count, 0, _MAX_VALUES) // self.digits)

    def polynomials(self, count: int) -> int:
        """Polynomials that `count` values take."""
        return -(-self.coefficients(count) // self.degree)

    def ciphertext_bytes(self, count: int) -> int:
        """Bytes of a ciphertext of `count` values: ceil(ceil(count / k) (sum of the bits of the primes) / 8).

        Raises:
            ParameterError: count is not in 0 .. 2^40.
        """
        return -(-self.coefficients(count) * sum(self.prime_bits) // 8)

    def total_words(self, count: int) -> int:
        """Words of a sum of ciphertexts of `count` values: primes * coefficients."""
        return len(self.primes) * self.coefficients(count)


class RlweNoise(NamedTuple):
    """The noise of a decoded sum: its largest absolute value, the exact sum of its squares, and of how many."""

    max_abs: int
    sum_squares: int
    coefficients: int


def _check(status: int) -> None:
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"the core refused the arguments (code {status})")


def _check_tables(tables: object) -> RlweTables:
    if not isinstance(tables, RlweTables):
        raise ParameterError(f"tables is a {type(tables).__name__}; pass RlweTables")
    return tables


def _check_range(tables: RlweTables, first: int, count: int) -> int:
    return check_int("first", first, 0, _MAX_POLYNOMIALS - max(1, tables.polynomials(count)))


def _bytes_of(name: str, data: Buffer, length: int) -> U8Array:
    array = as_bytes(name, data)
    check_array(name, array, ("uint8",), (length,))
    return array


def _transform(run: Any, tables: RlweTables, prime_index: int, a: U64Array) -> None:
    _check_tables(tables)
    prime_index = check_int("prime_index", prime_index, 0, len(tables.primes) - 1)
    check_array("a", a, ("uint64",), (None, tables.degree), write=True)
    if a.size and int(a.max()) >= tables.primes[prime_index]:
        raise ParameterError(f"a has residues that are not below the prime {tables.primes[prime_index]}")
    _check(run(pointer(a, write=True), a.shape[0], tables._pointer, prime_index))


def ntt_forward_inplace(tables: RlweTables, prime_index: int, a: U64Array) -> None:
    """Replaces each row by its negacyclic transform, from standard to bit-reversed order.

    a^[i] = a(psi^(2 brv(i) + 1)), brv the reversal of log2 N bits.

    Args:
        tables: the ring.
        prime_index: modulo which prime, 0 .. len(primes) - 1.
        a: u64 (m, N), canonical residues; overwritten by canonical residues.

    Raises:
        BufferTypeError, ParameterError: an argument is not as above.

    Source: Longa, Naehrig, "Speeding up the number theoretic transform for faster ideal lattice-based cryptography".
    """
    _transform(lib.privcomp_ntt_forward, tables, prime_index, a)


def ntt_inverse_inplace(tables: RlweTables, prime_index: int, a: U64Array) -> None:
    """The inverse of `ntt_forward_inplace`, with the same arguments and errors."""
    _transform(lib.privcomp_ntt_inverse, tables, prime_index, a)


def rlwe_expand(tables: RlweTables, expander: Buffer, first: int, count: int) -> U64Array:
    """The transforms of the public polynomials a_first, .., from a seed.

    Args:
        tables: the ring.
        expander: 16 bytes, an AES-128 key.
        first: number of the first polynomial; first + count <= 2^32.
        count: how many.

    Returns:
        u64 (count, primes, N): the first N of the words of the AES-CTR stream with counter blocks
        LE32(j) || LE32(r) || BE64(0, 1, ..), cut to the bits of the prime, that are below it.

    Raises:
        BufferTypeError, ParameterError: an argument is not as above.
    """
    _check_tables(tables)
    seed = _bytes_of("expander", expander, RLWE_EXPANDER_BYTES)
    first = check_int("first", first, 0, _MAX_POLYNOMIALS - 1)
    count = check_int("count", count, 0, _MAX_POLYNOMIALS - first)
    out = np.empty((count, len(tables.primes), tables.degree), np.uint64)
    _check(lib.privcomp_rlwe_expand(pointer(out, write=True), tables._pointer, pointer(seed), first, count))
    return out


def rlwe_gaussian(seed: Buffer, stream: int, count: int) -> I8Array:
    """Samples of the discrete Gaussian D(Z, 6.4), each within statistical distance 2^-123, in constant time.

    Args:
        seed: 32 fresh bytes.
        stream: 0 .. 2^64 - 1; the streams of one seed do not overlap.
        count: 0 .. 2^40.

    Returns:
        i8 (count,), |x| <= 84: P[x] is proportional to exp(-x^2 / (2 * 6.4^2)).

    Raises:
        BufferTypeError, ParameterError: an argument is not as above.

    Source: csrc/src/rlwe_gauss.h; inversion of the distribution function by comparison with all of a table.
    """
    array = _bytes_of("seed", seed, RLWE_SEED_BYTES)
    stream = check_int("stream", stream, 0, (1 << 64) - 1)
    out = np.empty(check_int("count", count, 0, _MAX_VALUES), np.int8)
    _check(lib.privcomp_rlwe_gaussian(pointer(out, write=True), out.size, pointer(array), stream))
    return out


def _wipe(array: npt.NDArray[Any]) -> None:
    lib.privcomp_wipe(pointer(array.view(np.uint8), write=True), array.nbytes)


class RlweKey:
    """A secret, or a sum of secrets, ready for `rlwe_encrypt` and `rlwe_decode`. Wiped when it is collected.

    Args:
        tables: the ring.
        coefficients: i8 or i32 (N,); the caller's array is not kept and not wiped.

    Raises:
        BufferTypeError, ParameterError: an argument is not as above.
    """

    __slots__ = ("__weakref__", "_finalizer", "_pointer", "tables")

    def __init__(self, tables: RlweTables, coefficients: I8Array | I32Array) -> None:
        self.tables = _check_tables(tables)
        check_array("coefficients", coefficients, ("int8", "int32"), (tables.degree,))
        wide = coefficients.astype(np.int32)
        words = _aligned(lib.privcomp_rlwe_key_words(tables._pointer))
        self._pointer: Any = pointer(words, write=True)
        self._finalizer = weakref.finalize(self, _wipe, words)
        status = lib.privcomp_rlwe_key(self._pointer, words.size, tables._pointer, pointer(wide))
        _wipe(wide)
        _check(status)

    def wipe(self) -> None:
        """Overwrites the key with zeros; afterwards it is of no use."""
        self._finalizer()

    @property
    def wiped(self) -> bool:
        """Whether `wipe` was called."""
        return not self._finalizer.alive

    def __repr__(self) -> str:
        return f"<RlweKey of degree {self.tables.degree}, {'wiped' if self.wiped else 'redacted'}>"

    def __reduce__(self) -> Any:
        raise ParameterError("an RlweKey is a secret and cannot be pickled; share its coefficients by a protocol")


def _check_key(key: object, tables: RlweTables) -> RlweKey:
    if not isinstance(key, RlweKey) or key.tables is not tables:
        raise ParameterError("the key is no RlweKey of these tables; make it with RlweKey(tables, coefficients)")
    if key.wiped:
        raise ParameterError("the key has been wiped; a key is used for one ciphertext, draw another one")
    return key


def rlwe_encrypt(
    tables: RlweTables, key: RlweKey, expander: Buffer, noise_seed: Buffer, values: RingArray, first: int = 0
) -> bytes:
    """What `rlwe_encrypt_into` writes, as bytes: `tables.ciphertext_bytes(count)` of them."""
    check_array("values", values, ("uint32", "uint64"), (None,))
    out = np.empty(_check_tables(tables).ciphertext_bytes(values.size), np.uint8)
    rlwe_encrypt_into(out, tables, key, expander, noise_seed, values, first)
    return out.tobytes()


def rlwe_encrypt_into(
    out: bytearray | memoryview | U8Array,
    tables: RlweTables,
    key: RlweKey,
    expander: Buffer,
    noise_seed: Buffer,
    values: RingArray,
    first: int = 0,
) -> None:
    """Encrypts values as the polynomials from `first` on.

    The ciphertexts of consecutive calls on whole polynomials (N k values), concatenated, are that of all values
    (for N = 4 only if the bits of the primes are even in total). A key and a noise seed are for one ciphertext, and
    the noise seed is not the seed from which the key was drawn.

    Args:
        out: writable, `tables.ciphertext_bytes(count)` bytes; zeros if a value is refused.
        tables: the ring.
        key: its secret.
        expander: 16 bytes, public, common to all ciphertexts that are to be added.
        noise_seed: 32 fresh bytes; the noise of polynomial j is stream j of `rlwe_gaussian`.
        values: u32 or u64 (count,), each below the radix; count <= 2^40.
        first: number of the first polynomial.

    Raises:
        BufferTypeError, ParameterError: an argument is not as above.
    """
    check_array("values", values, ("uint32", "uint64"), (None,))
    run = lib.privcomp_rlwe_encrypt_u32 if values.itemsize == 4 else lib.privcomp_rlwe_encrypt_u64
    if not _encrypt_into(run, out, tables, key, expander, noise_seed, values, first):
        raise ParameterError(f"a value is not below the radix {tables.radix}; nothing was encrypted")


def rlwe_encrypt_signed_into(
    out: bytearray | memoryview | U8Array,
    tables: RlweTables,
    key: RlweKey,
    expander: Buffer,
    noise_seed: Buffer,
    values: I32Array | I64Array,
    bound: int,
    first: int = 0,
) -> None:
    """Encrypts the digits v + bound of signed values v, as `rlwe_encrypt_into` does.

    Args:
        out, tables, key, expander, noise_seed, first: as there.
        values: i32 or i64 (count,), |v| <= bound; count <= 2^40.
        bound: 0 .. (M - 1) / 2.

    Raises:
        BufferTypeError, ParameterError: an argument is not as above, but for a value beyond the bound.
        EncodingError: a value is beyond the bound; `out` holds zeros.
    """
    check_array("values", values, ("int32", "int64"), (None,))
    bound = check_int("bound", bound, 0, (_check_tables(tables).radix - 1) // 2)
    run = lib.privcomp_rlwe_encrypt_i32 if values.itemsize == 4 else lib.privcomp_rlwe_encrypt_i64
    if not _encrypt_into(run, out, tables, key, expander, noise_seed, values, bound, first):
        raise EncodingError(f"a value is beyond +-{bound}; nothing was encrypted")


def _encrypt_into(
    run: Any,
    out: bytearray | memoryview | U8Array,
    tables: RlweTables,
    key: RlweKey,
    expander: Buffer,
    noise_seed: Buffer,
    values: npt.NDArray[Any],
    *range_and_first: int,
) -> bool:
    """Whether all values are in the range of `run`."""
    _check_tables(tables)
    _check_key(key, tables)
    seed = _bytes_of("expander", expander, RLWE_EXPANDER_BYTES)
    noise = _bytes_of("noise_seed", noise_seed, RLWE_SEED_BYTES)
    *bounds, first = range_and_first
    first = _check_range(tables, first, values.size)
    target = as_bytes("out", out)
    check_array("out", target, ("uint8",), (tables.ciphertext_bytes(values.size),), write=True)
    for name, array in (("values", values), ("expander", seed), ("noise_seed", noise)):
        check_disjoint("out", target, name, array)
    scratch = np.empty(lib.privcomp_rlwe_encrypt_scratch(tables._pointer), np.uint64)
    status = run(
        pointer(target, write=True),
        target.size,
        tables._pointer,
        key._pointer,
        pointer(seed),
        pointer(noise),
        pointer(values),
        values.size,
        *bounds,
        first,
        pointer(scratch, write=True),
        scratch.size,
    )
    if status != lib.PRIVCOMP_E_CANONICAL:
        _check(status)
    return bool(status == lib.PRIVCOMP_OK)


def _check_ciphertext(status: int, tables: RlweTables, length: int, count: int) -> None:
    if status == lib.PRIVCOMP_E_LENGTH:
        raise CodecError(
            f"a ciphertext of {count} values has {tables.ciphertext_bytes(count)} bytes, {length} were sent"
        )
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise CodecError("the ciphertext has a residue that is not below its prime, or padding that is not zero")
    _check(status)


def rlwe_check(tables: RlweTables, data: Buffer, count: int) -> None:
    """Raises unless `data` is the encoding of a ciphertext of `count` values.

    Raises:
        BufferTypeError, ParameterError: an argument has the wrong type or range.
        CodecError: wrong length, a residue that is not below its prime, or padding bits that are not zero.
    """
    _check_tables(tables)
    array = as_bytes("data", data)
    count = check_int("count", count, 0, _MAX_VALUES)
    status = lib.privcomp_rlwe_check(pointer(array), array.size, tables._pointer, count)
    _check_ciphertext(status, tables, array.size, count)


def rlwe_add(tables: RlweTables, total: U64Array, data: Buffer, first_value: int, count: int) -> None:
    """total += the ciphertext of the values first_value .. first_value + count - 1, which is checked first.

    Args:
        tables: the ring.
        total: u64 (tables.total_words(all values),), canonical; zeros to begin with.
        data: the bytes of a call of `rlwe_encrypt`.
        first_value: a multiple of N k.
        count: a multiple of N k, or all values from first_value on.

    Raises:
        BufferTypeError, ParameterError: an argument is not as above.
        CodecError: as `rlwe_check`; total is unchanged.
    """
    _check_tables(tables)
    check_array("total", total, ("uint64",), (None,), write=True)
    array = as_bytes("data", data)
    check_disjoint("total", total, "data", array)
    first_value = check_int("first_value", first_value, 0, _MAX_VALUES)
    count = check_int("count", count, 0, _MAX_VALUES - first_value)
    per_polynomial = tables.degree * tables.digits
    begin, end = (tables.total_words(value) for value in (first_value, first_value + count))
    if first_value % per_polynomial or end > total.size or (end < total.size and count % per_polynomial):
        raise ParameterError(
            f"values {first_value} .. {first_value + count} of a total of {total.size} words; blocks are whole "
            f"polynomials of {per_polynomial} values, except for the last one"
        )
    part = total[begin:end]
    status = lib.privcomp_rlwe_add(
        pointer(part, write=True), part.size, pointer(array), array.size, tables._pointer, count
    )
    _check_ciphertext(status, tables, array.size, count)


def rlwe_decode(
    tables: RlweTables,
    total: U64Array,
    key_sum: RlweKey,
    expander: Buffer,
    first: int,
    count: int,
    out: U64Array | None = None,
) -> tuple[U64Array, RlweNoise]:
    """The values of a sum of ciphertexts under the sum of their keys. Everything here is public: variable time.

    Args:
        tables: the ring.
        total: u64 (tables.total_words(count),): the sum, or the words of whole polynomials of it.
        key_sum: of the sum of the keys.
        expander: as in `rlwe_encrypt`.
        first: number of the first polynomial of `total`.
        count: how many values.
        out: u64 (count,), where the values go, or None for a new array; zeros if the sum is refused.

    Returns:
        u64 (count,), `out` if given: digits below the radix; and the noise of the coefficients: with
        Delta = `tables.delta`, the remainder of total - a S + floor(Delta / 2) by Delta, less floor(Delta / 2).

    Raises:
        BufferTypeError, ParameterError: an argument is not as above; a coefficient is beyond the digits, or a digit
            behind the last value is not zero, so that key, expander or budget are not those of the ciphertexts. No
            part is returned.
    """
    count = check_int("count", count, 0, _MAX_VALUES)
    sums = np.empty(count, np.uint64) if out is None else out
    check_array("out", sums, ("uint64",), (count,), write=True)
    return sums, _decode_into(lib.privcomp_rlwe_decode_var, sums, tables, total, key_sum, expander, first)


def rlwe_decode_signed_into(
    out: I64Array, tables: RlweTables, total: U64Array, key_sum: RlweKey, expander: Buffer, first: int, shift: int
) -> tuple[int, RlweNoise]:
    """The values of a sum of ciphertexts, less `shift`: what `rlwe_encrypt_signed_into` added to them.

    Args:
        out: i64 (count,), where the values go; zeros if the sum is refused.
        tables, total, key_sum, expander, first: as for `rlwe_decode`.
        shift: 0 .. 2^48 - 1.

    Returns:
        The largest value before it was shifted, and the noise.

    Raises:
        BufferTypeError, ParameterError: as `rlwe_decode`.
    """
    check_array("out", out, ("int64",), (None,), write=True)
    shift = check_int("shift", shift, 0, _MAX_SHIFT)
    largest = np.empty(1, np.uint64)
    noise = _decode_into(
        lib.privcomp_rlwe_decode_signed_var,
        out,
        tables,
        total,
        key_sum,
        expander,
        first,
        shift,
        pointer(largest, write=True),
    )
    return int(largest[0]), noise


def _decode_into(
    run: Any,
    out: npt.NDArray[Any],
    tables: RlweTables,
    total: U64Array,
    key_sum: RlweKey,
    expander: Buffer,
    first: int,
    *shift_and_largest: Any,
) -> RlweNoise:
    _check_tables(tables)
    _check_key(key_sum, tables)
    check_int("count", out.size, 0, _MAX_VALUES)
    check_array("total", total, ("uint64",), (tables.total_words(out.size),))
    seed = _bytes_of("expander", expander, RLWE_EXPANDER_BYTES)
    first = _check_range(tables, first, out.size)
    check_disjoint("out", out, "total", total)
    noise = np.empty(lib.PRIVCOMP_RLWE_NOISE_WORDS, np.uint64)
    scratch = np.empty(lib.privcomp_rlwe_decode_scratch(tables._pointer), np.uint64)
    status = run(
        pointer(out, write=True),
        out.size,
        *shift_and_largest,
        pointer(noise, write=True),
        pointer(total),
        total.size,
        tables._pointer,
        key_sum._pointer,
        pointer(seed),
        first,
        pointer(scratch, write=True),
        scratch.size,
    )
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise ParameterError(
            "the sum does not decode: residues out of range, or more than the digits of a coefficient hold; the key, "
            "the public seed or the number of ciphertexts is not what it should be"
        )
    _check(status)
    squares = sum(int(word) << (64 * i) for i, word in enumerate(noise[1:]))
    return RlweNoise(int(noise[0]), squares, tables.coefficients(out.size))
