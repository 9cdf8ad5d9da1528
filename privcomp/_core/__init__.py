"""The compiled core with NumPy in and out: the only importer of the extension.

Every function checks dtype, dimensions, contiguity, writability, ranges and overlap, and raises `BufferTypeError` or
`ParameterError` before anything is written. The GIL is released while the core runs.

The contracts (ranges, constant time in what, sources) stand in csrc/include/privcomp.h, function by function.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from privcomp._core._buffers import as_bytes, check_array, check_disjoint, check_int, pointer
from privcomp._core._fields import (
    GOLDILOCKS,
    GOLDILOCKS_P,
    M61,
    M61_P,
    NTT_LOG_MAX,
    PACKED_SHIFT,
    SHAMIR_MAX_POINTS,
    field_add,
    field_axpy,
    field_dot,
    field_inv,
    field_mul,
    field_neg,
    field_sub,
    lagrange_weights,
    ntt_goldilocks_inplace,
    ntt_goldilocks_points,
    packed_share,
    shamir_combine,
    shamir_interpolate,
    shamir_share,
)
from privcomp._core._groups import (
    BN254_G1,
    ENCODING_BYTES,
    POINT_BYTES,
    RISTRETTO255,
    SCALAR_BYTES,
    UNIFORM_BYTES,
    group_add,
    group_axpy_var,
    group_decode,
    group_encode,
    group_equal,
    group_fixed_var,
    group_from_uniform,
    group_generator,
    group_msm,
    group_msm_i64_var,
    group_msm_var,
    group_mul,
    group_on_curve,
    group_rows_var,
    group_sub,
    group_sum,
    group_table,
    scalar_add,
    scalar_axpy,
    scalar_check,
    scalar_combine_i64,
    scalar_dot,
    scalar_from_i64,
    scalar_from_wide,
    scalar_inv,
    scalar_mul,
    scalar_order,
    scalar_sub,
)
from privcomp._core._mpc import (
    cross_and,
    cross_gram,
    cross_product,
    from_planes,
    planes_dot,
    rep3_and,
    rep3_gram,
    rep3_product,
    ring128_axpy,
    ring128_matmul,
    ring128_mul,
    ring_combine,
    ring_gram,
    ring_matmul,
    to_planes,
)
from privcomp._core._multilinear import (
    MULTILINEAR_MAX,
    dot_i64,
    eq_dot,
    fraction_first_fold,
    fraction_first_round,
    fraction_layer,
    fraction_mix,
    fraction_round,
    fraction_up,
    product_round,
    reciprocal_sum,
    reciprocals,
    table_combine,
    table_dot,
    table_eq,
    table_fold,
    table_load,
    table_scale,
    table_store,
)
from privcomp._core._noise import (
    clip_l2,
    encode_l2_var,
    flip_signs,
    floor_div_random,
    hadamard_f64,
    hadamard_i64,
    round_l2_var,
    sum_records_var,
    unrotate,
)
from privcomp._core._privcomp import ffi, lib
from privcomp._core._rlwe import (
    RLWE_DEGREE_MAX,
    RLWE_DEGREE_MIN,
    RLWE_DIGITS,
    RLWE_EXPANDER_BYTES,
    RLWE_PRIMES,
    RLWE_SEED_BYTES,
    RlweKey,
    RlweNoise,
    RlweTables,
    ntt_forward_inplace,
    ntt_inverse_inplace,
    rlwe_add,
    rlwe_check,
    rlwe_decode,
    rlwe_decode_signed_into,
    rlwe_encrypt,
    rlwe_encrypt_into,
    rlwe_encrypt_signed_into,
    rlwe_expand,
    rlwe_gaussian,
)
from privcomp._core._sampler_tables import (
    TABLE_SHIFT_MAX,
    SampleTable,
    sample_table_add_var,
    sample_table_var,
)
from privcomp._core._samplers import (
    GAUSS,
    LAPLACE,
    SAMPLER_BINS,
    ExpTable,
    bernoulli_exp_var,
    sample_exp_add_var,
    sample_exp_var,
)
from privcomp._core._transcript import MerlinState
from privcomp.errors import BufferTypeError, CodecError, LocalError, ParameterError
from privcomp.typing import BoolArray, Buffer, I64Array, RingArray, U8Array, U64Array

__all__ = [
    "AES128_CTR",
    "BN254_G1",
    "CHACHA20",
    "ENCODING_BYTES",
    "GAUSS",
    "GOLDILOCKS",
    "GOLDILOCKS_P",
    "LAPLACE",
    "M61",
    "M61_P",
    "MULTILINEAR_MAX",
    "NTT_LOG_MAX",
    "PACKED_SHIFT",
    "POINT_BYTES",
    "RISTRETTO255",
    "RLWE_DEGREE_MAX",
    "RLWE_DEGREE_MIN",
    "RLWE_DIGITS",
    "RLWE_EXPANDER_BYTES",
    "RLWE_PRIMES",
    "RLWE_SEED_BYTES",
    "SAMPLER_BINS",
    "SCALAR_BYTES",
    "SEED_BYTES",
    "SHAMIR_MAX_POINTS",
    "TABLE_SHIFT_MAX",
    "UNIFORM_BYTES",
    "Drbg",
    "ExpTable",
    "MerlinState",
    "RlweKey",
    "RlweNoise",
    "RlweTables",
    "SampleTable",
    "as_bytes",
    "available_levels",
    "bernoulli_exp_var",
    "center",
    "check_int",
    "clip_l2",
    "cross_and",
    "cross_gram",
    "cross_product",
    "dot_i64",
    "encode_l2_var",
    "eq_dot",
    "field_add",
    "field_axpy",
    "field_dot",
    "field_inv",
    "field_mul",
    "field_neg",
    "field_sub",
    "flip_signs",
    "floor_div_random",
    "force_level",
    "fraction_first_fold",
    "fraction_first_round",
    "fraction_layer",
    "fraction_mix",
    "fraction_round",
    "fraction_up",
    "from_planes",
    "group_add",
    "group_axpy_var",
    "group_decode",
    "group_encode",
    "group_equal",
    "group_fixed_var",
    "group_from_uniform",
    "group_generator",
    "group_msm",
    "group_msm_i64_var",
    "group_msm_var",
    "group_mul",
    "group_on_curve",
    "group_rows_var",
    "group_sub",
    "group_sum",
    "group_table",
    "hadamard_f64",
    "hadamard_i64",
    "keystream",
    "lagrange_weights",
    "lanes_add",
    "lanes_mask",
    "level",
    "mask_add",
    "mask_xor",
    "ntt_forward_inplace",
    "ntt_goldilocks_inplace",
    "ntt_goldilocks_points",
    "ntt_inverse_inplace",
    "pack",
    "packed_share",
    "planes_dot",
    "product_round",
    "reciprocal_sum",
    "reciprocals",
    "rep3_and",
    "rep3_gram",
    "rep3_product",
    "ring128_axpy",
    "ring128_matmul",
    "ring128_mul",
    "ring_axpy",
    "ring_combine",
    "ring_gram",
    "ring_matmul",
    "rlwe_add",
    "rlwe_check",
    "rlwe_decode",
    "rlwe_decode_signed_into",
    "rlwe_encrypt",
    "rlwe_encrypt_into",
    "rlwe_encrypt_signed_into",
    "rlwe_expand",
    "rlwe_gaussian",
    "round_l2_var",
    "sample_exp_add_var",
    "sample_exp_var",
    "sample_table_add_var",
    "sample_table_var",
    "scalar_add",
    "scalar_axpy",
    "scalar_check",
    "scalar_combine_i64",
    "scalar_dot",
    "scalar_from_i64",
    "scalar_from_wide",
    "scalar_inv",
    "scalar_mul",
    "scalar_order",
    "scalar_sub",
    "shamir_combine",
    "shamir_interpolate",
    "shamir_share",
    "sum_records_var",
    "table_combine",
    "table_dot",
    "table_eq",
    "table_fold",
    "table_load",
    "table_scale",
    "table_store",
    "to_planes",
    "unpack",
    "unpack_add",
    "unrotate",
    "wipe",
]

AES128_CTR: int = lib.PRIVCOMP_AES128_CTR
CHACHA20: int = lib.PRIVCOMP_CHACHA20
SEED_BYTES: dict[int, int] = {
    AES128_CTR: lib.PRIVCOMP_AES128_SEED_BYTES,
    CHACHA20: lib.PRIVCOMP_CHACHA20_SEED_BYTES,
}

_LEVELS = ("portable", "aesni", "vaes", "avx512")
_STREAM_END: int = 1 << 62
_RING = ("uint32", "uint64")
_LANE_BYTES: int = lib.PRIVCOMP_LANE_BYTES


# ---- dispatch level ----


def level() -> str:
    """The instruction set in use: "portable", "aesni", "vaes" or "avx512"."""
    return _LEVELS[lib.privcomp_level_get()]


def available_levels() -> tuple[str, ...]:
    """The levels that this machine can run, from the portable one up."""
    return _LEVELS[: lib.privcomp_level_max() + 1]


def force_level(name: str | None) -> None:
    """Uses another level from now on, in every thread; None: the best one. Results do not differ, only the time.

    Args:
        name: one of `available_levels()`, or None.

    Raises:
        ParameterError: unknown here.
    """
    levels = available_levels()
    if name is None:
        name = levels[-1]
    if name not in levels:
        raise ParameterError(f"level {name!r} cannot run on this machine; available: {', '.join(levels)}")
    lib.privcomp_level_set(_LEVELS.index(name))


# ---- keystreams ----


def _check_cipher(cipher: int) -> int:
    if cipher not in SEED_BYTES:
        raise ParameterError(f"cipher is {cipher!r}; allowed are AES128_CTR ({AES128_CTR}) and CHACHA20 ({CHACHA20})")
    return SEED_BYTES[cipher]


def _check_seeds(seeds: U8Array, negate: BoolArray, cipher: int) -> None:
    check_array("seeds", seeds, ("uint8",), (None, _check_cipher(cipher)))
    check_array("negate", negate, ("bool",), (seeds.shape[0],))


def _check_offset(offset: int, words: int, word_bytes: int) -> int:
    return check_int("offset", offset, 0, _STREAM_END // word_bytes - words)


def _check(status: int) -> None:
    """The binding has checked everything; a refusal by the core all the same is reported, not ignored."""
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"the core refused the arguments (code {status})")


def keystream(seed: bytes, length: int, *, offset: int = 0, cipher: int = AES128_CTR) -> bytes:
    """Bytes offset .. offset + length - 1 of a seed's stream.

    Args:
        seed: AES128_CTR: key (16) || first counter block (16, big endian, counts modulo 2^128).
            CHACHA20: key (32) || first block number (8, little endian, counts modulo 2^64) || nonce (8).
        length: in bytes, at least 0.
        offset: in bytes; offset + length <= 2^62.
        cipher: AES128_CTR or CHACHA20.

    Raises:
        BufferTypeError: seed is not bytes-like.
        ParameterError: wrong seed length, range or cipher.

    Source: NIST SP 800-38A, 6.5; Bernstein, "ChaCha, a variant of Salsa20".

    >>> keystream(bytes(32), 4).hex()
    '66e94bd4'
    """
    seed_array = as_bytes("seed", seed)
    check_array("seed", seed_array, ("uint8",), (_check_cipher(cipher),))
    length = check_int("length", length, 0, 1 << 40)
    offset = _check_offset(offset, length, 1)
    out = np.empty(length, np.uint8)
    _check(lib.privcomp_keystream_fill(pointer(out, write=True), length, pointer(seed_array), cipher, offset))
    return out.tobytes()


def mask_add(
    acc: RingArray,
    seeds: U8Array,
    negate: BoolArray,
    *,
    start: RingArray | None = None,
    offset: int = 0,
    cipher: int = AES128_CTR,
) -> None:
    """Adds the streams of many seeds to `acc` (or subtracts them), in place, modulo 2^32 or 2^64.

    Element j of a seed's stream is the little-endian word at byte (offset + j) * itemsize of its keystream.

    Args:
        acc: u32 or u64 (n,), C-contiguous, writable.
        seeds: u8 (k, SEED_BYTES[cipher]).
        negate: bool (k,): subtract this seed's stream.
        start: like acc: what the streams are added to, instead of what `acc` holds.
        offset: in elements: the place of acc[0] in the whole vector.
        cipher: AES128_CTR or CHACHA20.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, offset or cipher.

    Constant time in acc and the keys. Source: Bonawitz et al., CCS 2017, section 4 (masking).
    """
    check_array("acc", acc, _RING, (None,), write=True)
    _check_seeds(seeds, negate, cipher)
    check_disjoint("acc", acc, "seeds", seeds)
    check_disjoint("acc", acc, "negate", negate)
    offset = _check_offset(offset, acc.size, acc.itemsize)
    streams = (pointer(seeds), pointer(negate), len(seeds), cipher, offset)
    if start is None:
        add = lib.privcomp_mask_add_u32 if acc.itemsize == 4 else lib.privcomp_mask_add_u64
        _check(add(pointer(acc, write=True), acc.size, *streams))
    else:
        check_array("start", start, (str(acc.dtype),), (acc.size,))
        check_disjoint("acc", acc, "start", start)
        to = lib.privcomp_mask_to_u32 if acc.itemsize == 4 else lib.privcomp_mask_to_u64
        _check(to(pointer(acc, write=True), pointer(start), acc.size, *streams))


def mask_xor(acc: U64Array, seeds: U8Array, *, offset: int = 0, cipher: int = AES128_CTR) -> None:
    """XORs the streams of many seeds into `acc`, in place: the same words that `mask_add` adds to a u64 array.

    Args:
        acc: u64 (n,), C-contiguous, writable.
        seeds: u8 (k, SEED_BYTES[cipher]).
        offset: in elements: the place of acc[0] in the whole vector.
        cipher: AES128_CTR or CHACHA20.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, offset or cipher.

    Constant time in acc and the keys.
    """
    check_array("acc", acc, ("uint64",), (None,), write=True)
    check_array("seeds", seeds, ("uint8",), (None, _check_cipher(cipher)))
    check_disjoint("acc", acc, "seeds", seeds)
    offset = _check_offset(offset, acc.size, acc.itemsize)
    _check(lib.privcomp_mask_xor_u64(pointer(acc, write=True), acc.size, pointer(seeds), len(seeds), cipher, offset))


# ---- lanes ----


def _modulus_bytes(modulus: int) -> bytes:
    modulus = check_int("modulus", modulus, (1 << 31) + 1, (1 << 256) - 1)
    if modulus % 2 == 0:
        raise ParameterError(f"modulus is {modulus}, which is even; the lanes need an odd one")
    return modulus.to_bytes(32, "little")


def _check_lanes(status: int) -> None:
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise ParameterError("a lane holds a value that is not below the modulus; reduce the lanes first")
    _check(status)


def lanes_mask(
    acc: U8Array, modulus: int, seeds: U8Array, negate: BoolArray, *, offset: int = 0, cipher: int = AES128_CTR
) -> None:
    """Adds the streams of many seeds to residues modulo one odd number (or subtracts them), in place.

    Lane a of a seed is the little-endian number at bytes 64 (offset + a) .. + 63 of its keystream, modulo `modulus`:
    within 2^-256 of uniform.

    Args:
        acc: u8 (n, 32), writable: little-endian residues below the modulus.
        modulus: odd, 2^31 < modulus < 2^256.
        seeds: u8 (k, SEED_BYTES[cipher]).
        negate: bool (k,): subtract this seed's lanes.
        offset: in lanes.
        cipher: AES128_CTR or CHACHA20.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, offset, cipher, modulus, or a lane that is not canonical (then nothing is written).

    Constant time in acc and the keys.
    """
    check_array("acc", acc, ("uint8",), (None, _LANE_BYTES), write=True)
    modulus_bytes = _modulus_bytes(modulus)
    _check_seeds(seeds, negate, cipher)
    check_disjoint("acc", acc, "seeds", seeds)
    check_disjoint("acc", acc, "negate", negate)
    offset = _check_offset(offset, len(acc), lib.PRIVCOMP_LANE_STREAM_BYTES)
    _check_lanes(
        lib.privcomp_lanes_mask(
            pointer(acc, write=True),
            len(acc),
            modulus_bytes,
            pointer(seeds),
            pointer(negate),
            len(seeds),
            cipher,
            offset,
        )
    )


def lanes_add(acc: U8Array, other: U8Array, modulus: int) -> None:
    """acc = (acc + other) mod modulus, lane by lane, in place.

    Args:
        acc: u8 (n, 32), writable: little-endian residues below the modulus.
        other: u8 (n, 32), likewise.
        modulus: odd, 2^31 < modulus < 2^256.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only or overlapping arrays.
        ParameterError: lengths, modulus, or a lane that is not canonical (then nothing is written).
    """
    check_array("acc", acc, ("uint8",), (None, _LANE_BYTES), write=True)
    check_array("other", other, ("uint8",), (len(acc), _LANE_BYTES))
    check_disjoint("acc", acc, "other", other)
    modulus_bytes = _modulus_bytes(modulus)
    _check_lanes(lib.privcomp_lanes_add(pointer(acc, write=True), pointer(other), len(acc), modulus_bytes))


# ---- ring vectors and packing ----


def ring_axpy(acc: RingArray, x: RingArray, scale: int = 1) -> None:
    """acc += scale * x modulo 2^32 or 2^64, in place.

    Args:
        acc: u32 or u64 (n,), writable.
        x: same dtype and length; may be acc itself, but not a shifted view of it.
        scale: any integer; reduced modulo the ring.

    Raises:
        BufferTypeError: dtype, dimensions, layout, read-only, or partly overlapping arrays.
        ParameterError: lengths.
    """
    check_array("acc", acc, _RING, (None,), write=True)
    check_array("x", x, (str(acc.dtype),), (acc.size,))
    if x.size and x.__array_interface__["data"][0] != acc.__array_interface__["data"][0]:
        check_disjoint("acc", acc, "x", x)
    scale = check_int("scale", scale, -(1 << 64), 1 << 64) % (1 << (8 * acc.itemsize))
    axpy = lib.privcomp_ring_axpy_u32 if acc.itemsize == 4 else lib.privcomp_ring_axpy_u64
    axpy(pointer(acc, write=True), pointer(x), acc.size, scale)


def center(values: RingArray, bits: int) -> I64Array:
    """The low `bits` bits of each value as a two's complement number, in [-2^(bits-1), 2^(bits-1)).

    Args:
        values: u32 or u64 (n,).
        bits: 1 .. 32 or 64.

    Returns:
        i64 (n,).

    Raises:
        BufferTypeError, ParameterError: as everywhere here.

    >>> center(np.array([0, 1, 7, 8, 15], np.uint32), 4)
    array([ 0,  1,  7, -8, -1])
    """
    check_array("values", values, _RING, (None,))
    bits = check_int("bits", bits, 1, 8 * values.itemsize)
    out = np.empty(values.size, np.int64)
    run = lib.privcomp_ring_center_u32 if values.itemsize == 4 else lib.privcomp_ring_center_u64
    _check(run(pointer(out, write=True), pointer(values), values.size, bits))
    return out


def pack(values: RingArray, width: int) -> bytes:
    """The low `width` bits of each value, one after another: bit b of the whole is bit b mod 8 of byte b / 8.

    Args:
        values: u32 or u64 (n,); bits above `width` are dropped.
        width: 1 .. 32 or 64.

    Returns:
        ceil(n width / 8) bytes; the last one is padded with zero bits.

    Raises:
        BufferTypeError, ParameterError: as everywhere here.

    >>> pack(np.array([1, 2, 3], np.uint32), 3).hex()
    'd100'
    """
    check_array("values", values, _RING, (None,))
    width = check_int("width", width, 1, 8 * values.itemsize)
    out = np.empty((values.size * width + 7) // 8, np.uint8)
    run = lib.privcomp_pack_u32 if values.itemsize == 4 else lib.privcomp_pack_u64
    _check(run(pointer(out, write=True), out.size, pointer(values), values.size, width))
    return out.tobytes()


def _check_packed(data: Buffer, n: int, width: int) -> U8Array:
    array = as_bytes("data", data)
    want = (n * width + 7) // 8
    if array.size != want:
        raise CodecError(
            f"{array.size} packed bytes; {n} values of {width} bits take exactly {want}; the sender must send those"
        )
    return array


def _check_padding(status: int, n: int, width: int) -> None:
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise CodecError(f"the last {-(n * width) % 8} bits of the packed vector are padding and must be zero")
    _check(status)


def unpack(data: Buffer, n: int, width: int, dtype: npt.DTypeLike = np.uint32) -> RingArray:
    """The inverse of `pack`: exactly one encoding is accepted.

    Args:
        data: ceil(n width / 8) bytes.
        n: number of values.
        width: 1 .. 32 or 64, as dtype says.
        dtype: np.uint32 or np.uint64.

    Returns:
        array (n,) of dtype, values below 2^width.

    Raises:
        CodecError: wrong length, or padding bits that are not zero.
        BufferTypeError: dtype, or data that is not bytes-like.
        ParameterError: n or width.

    >>> unpack(bytes.fromhex("d100"), 3, 3)
    array([1, 2, 3], dtype=uint32)
    """
    kind = np.dtype(dtype)
    if str(kind) not in _RING:
        raise BufferTypeError(f"dtype is {kind}; allowed is uint32 or uint64")
    width = check_int("width", width, 1, 8 * kind.itemsize)
    n = check_int("n", n, 0, 1 << 48)
    array = _check_packed(data, n, width)
    out: npt.NDArray[Any] = np.empty(n, kind)
    run = lib.privcomp_unpack_u32 if kind.itemsize == 4 else lib.privcomp_unpack_u64
    _check_padding(run(pointer(out, write=True), n, pointer(array), array.size, width), n, width)
    return out


def unpack_add(acc: RingArray, data: Buffer, width: int) -> None:
    """acc += unpack(data, acc.size, width), in place, without the array in between.

    Args:
        acc: u32 or u64 (n,), writable.
        data: ceil(n width / 8) bytes.
        width: 1 .. 32 or 64.

    Raises:
        CodecError: wrong length, or padding bits that are not zero; then nothing is written.
        BufferTypeError, ParameterError: as everywhere here.
    """
    check_array("acc", acc, _RING, (None,), write=True)
    width = check_int("width", width, 1, 8 * acc.itemsize)
    array = _check_packed(data, acc.size, width)
    check_disjoint("acc", acc, "data", array)
    run = lib.privcomp_unpack_add_u32 if acc.itemsize == 4 else lib.privcomp_unpack_add_u64
    _check_padding(run(pointer(acc, write=True), acc.size, pointer(array), array.size, width), acc.size, width)


# ---- random bytes ----


class Drbg:
    """Random bytes, many times faster than os.urandom; `random_bytes` fits every `rng` argument of this library.

    ChaCha20 with fast key erasure: the state cannot tell what it gave before. Seeded by the operating system, and again
    after a fork and every 2^20 calls. Threads may share one object. A copy of a whole virtual machine is not noticed.

    Source: Bernstein, "Fast-key-erasure random-number generators" (2017).

    >>> len(Drbg().random_bytes(16))
    16
    """

    def __init__(self) -> None:
        self._state = ffi.new("privcomp_drbg *")
        self._renew_lock()
        if lib.privcomp_drbg_init(self._state) != lib.PRIVCOMP_OK:
            raise LocalError("the operating system gave no random bytes; nothing can be drawn")

    @classmethod
    def insecure_deterministic(cls, seed: bytes) -> Drbg:
        """For tests and simulations: the output is a function of the seed and of the lengths asked for.

        Args:
            seed: 32 bytes.

        Raises:
            BufferTypeError, ParameterError: not 32 bytes.
        """
        seed_array = as_bytes("seed", seed)
        check_array("seed", seed_array, ("uint8",), (lib.PRIVCOMP_DRBG_SEED_BYTES,))
        self = cls.__new__(cls)
        self._state = ffi.new("privcomp_drbg *")
        self._renew_lock()
        lib.privcomp_drbg_init_fixed(self._state, pointer(seed_array))
        return self

    def __repr__(self) -> str:
        return "Drbg(<state hidden>)"

    def __del__(self) -> None:
        # The interpreter may be half gone; the allocation ends here in any case.
        state = getattr(self, "_state", None)
        if state is not None and ffi is not None:
            ffi.memmove(state, bytes(ffi.sizeof("privcomp_drbg")), ffi.sizeof("privcomp_drbg"))

    def _renew_lock(self) -> None:
        self._lock, self._pid = threading.Lock(), os.getpid()

    def _fill(self, out: U8Array) -> None:
        # A thread of the parent may have held the lock at the fork; it does not live here.
        if self._pid != os.getpid():
            self._renew_lock()
        with self._lock:
            status = lib.privcomp_drbg_fill(self._state, pointer(out, write=True), out.size)
        if status == lib.PRIVCOMP_E_ENTROPY:
            raise LocalError("the operating system gave no random bytes; nothing can be drawn")
        _check(status)

    def random_bytes(self, n: int) -> bytes:
        """n random bytes, 0 <= n <= 2^40.

        Raises:
            ParameterError: n.
            LocalError: no entropy from the operating system.
        """
        out = np.empty(check_int("n", n, 0, 1 << 40), np.uint8)
        self._fill(out)
        return out.tobytes()

    def fill(self, out: U8Array) -> None:
        """Overwrites a writable u8 array (n,) with random bytes.

        Raises:
            BufferTypeError: dtype, dimensions, layout, read-only.
            LocalError: no entropy from the operating system.
        """
        check_array("out", out, ("uint8",), (None,), write=True)
        self._fill(out)


def wipe(buffer: bytearray | memoryview | npt.NDArray[Any]) -> None:
    """Overwrites a buffer with zeros. What Python copied elsewhere stays.

    Args:
        buffer: anything writable and contiguous.

    Raises:
        BufferTypeError: read-only, not contiguous, or no buffer.
    """
    try:
        view = ffi.from_buffer("uint8_t[]", buffer, True)
    except (TypeError, ValueError, BufferError):
        raise BufferTypeError(
            f"a {type(buffer).__name__} cannot be wiped; pass a writable, contiguous buffer such as a bytearray"
        ) from None
    lib.privcomp_wipe(view, len(view))


if "PRIVCOMP_FORCE_LEVEL" in os.environ:
    force_level(os.environ["PRIVCOMP_FORCE_LEVEL"])
