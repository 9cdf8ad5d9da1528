"""Exact samplers, with NumPy out: the checks in front of the core, and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privcomp._core._buffers import as_bytes, check_array, check_disjoint, check_int, pointer, samples
from privcomp._core._privcomp import ffi, lib
from privcomp.errors import LocalError, ParameterError
from privcomp.typing import BoolArray, Buffer, I64Array, RingArray, U8Array

SAMPLER_BINS: int = lib.PRIVCOMP_SAMPLER_BINS
GAUSS: int = lib.PRIVCOMP_SAMPLER_GAUSS
LAPLACE: int = lib.PRIVCOMP_SAMPLER_LAPLACE

_SEED_BYTES: dict[int, int] = {
    lib.PRIVCOMP_AES128_CTR: lib.PRIVCOMP_AES128_SEED_BYTES,
    lib.PRIVCOMP_CHACHA20: lib.PRIVCOMP_CHACHA20_SEED_BYTES,
}
_MAX_N = 1 << 40
_RING = ("uint32", "uint64")


def check_seeds(seeds: Buffer, cipher: int) -> U8Array:
    """The two seeds of a call as an array of 2 SEED_BYTES[cipher] bytes.

    Raises:
        BufferTypeError: not bytes-like.
        ParameterError: unknown cipher, or another length.
    """
    if cipher not in _SEED_BYTES:
        raise ParameterError(f"cipher is {cipher!r}; allowed are {sorted(_SEED_BYTES)} (AES128_CTR, CHACHA20)")
    array = as_bytes("seeds", seeds)
    check_array("seeds", array, ("uint8",), (2 * _SEED_BYTES[cipher],))
    return array


def check_sampled(status: int) -> None:
    """Raises what the core's answer means.

    Raises:
        LocalError: the words of a candidate ran out.
        ParameterError: the core refused the table.
    """
    if status == lib.PRIVCOMP_E_ENTROPY:
        raise LocalError(
            "the random stream decides no sample, which honest seeds do not bring about; check their source"
        )
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"the core refused the table of the distribution (code {status})")


def _words(number: int) -> tuple[int, int]:
    return number & ((1 << 64) - 1), number >> 64


class ExpTable:
    """A law f(z) = exp(-phi(|z|)) on the integers, ready for the core. The fields are those of `privcomp_exp_table`.

    Args:
        kind: GAUSS, phi(x) = x^2 / (2 q), or LAPLACE, phi(x) = x / q, with q = numerator / denominator.
        numerator, denominator: 1 .. 2^128 - 1.
        shift: blocks have 2^shift numbers; 0 .. 38.
        scale: c 2^40; 1 .. 2^62.
        weights: 64 weights, in total 2^22.
        alias: their alias table: threshold 2^6 + other bin.
        band_single, band_double: at most 15 and 40; smaller ones give the same output in more time.

    Raises:
        ParameterError: a number out of its range.
    """

    __slots__ = ("_table",)

    def __init__(
        self,
        kind: int,
        numerator: int,
        denominator: int,
        *,
        shift: int,
        scale: int,
        weights: Sequence[int],
        alias: Sequence[int],
        band_single: int = 15,
        band_double: int = 40,
    ) -> None:
        if kind not in (GAUSS, LAPLACE):
            raise ParameterError(f"kind is {kind!r}; allowed are GAUSS ({GAUSS}) and LAPLACE ({LAPLACE})")
        if len(weights) != SAMPLER_BINS or len(alias) != SAMPLER_BINS:
            raise ParameterError(f"{len(weights)} weights and {len(alias)} alias entries; both must be {SAMPLER_BINS}")
        table = ffi.new("privcomp_exp_table *")
        table.numerator = _words(check_int("numerator", numerator, 1, (1 << 128) - 1))
        table.denominator = _words(check_int("denominator", denominator, 1, (1 << 128) - 1))
        table.scale = check_int("scale", scale, 1, 1 << 62)
        table.weight = [check_int("weight", weight, 1, 1 << 22) for weight in weights]
        table.alias = [check_int("alias", entry, 0, (1 << 22) - 1) for entry in alias]
        table.kind = kind
        table.shift = check_int("shift", shift, 0, 38)
        table.band_single = check_int("band_single", band_single, 0, 15)
        table.band_double = check_int("band_double", band_double, 0, 40)
        self._table: Any = table


def sample_exp_var(table: ExpTable, n: int, seeds: Buffer, *, cipher: int) -> I64Array:
    """n independent samples of a table's law.

    Args:
        table: the distribution.
        n: 0 .. 2^40.
        seeds: 2 SEED_BYTES[cipher] bytes: two independent seeds, used once.
        cipher: AES128_CTR or CHACHA20.

    Returns:
        i64 (n,): a function of the law and the seeds alone; below 2^50 in absolute value.

    Raises:
        BufferTypeError, ParameterError: as everywhere here; the table's weights and alias table do not agree; or n
            samples do not fit the memory.
        LocalError: the stream gave no answer, with probability < 2^-1900 n.
    """
    array = check_seeds(seeds, cipher)
    n = check_int("n", n, 0, _MAX_N)
    out = samples(n, np.int64)
    check_sampled(lib.privcomp_sample_exp_var(pointer(out, write=True), n, table._table, pointer(array), cipher))
    return out


def sample_exp_add_var(acc: RingArray, table: ExpTable, seeds: Buffer, *, cipher: int) -> None:
    """Adds samples to acc, in place, modulo 2^32 or 2^64: those that `sample_exp_var` returns for the same seeds.

    Args:
        acc: u32 or u64 (n,), writable.
        table, seeds, cipher: as `sample_exp_var`.

    Raises:
        BufferTypeError, ParameterError: as `sample_exp_var`; nothing is written.
        LocalError: as `sample_exp_var`; acc is then unspecified.
    """
    check_array("acc", acc, _RING, (None,), write=True)
    array = check_seeds(seeds, cipher)
    check_disjoint("acc", acc, "seeds", array)
    add = lib.privcomp_sample_exp_add_u32_var if acc.itemsize == 4 else lib.privcomp_sample_exp_add_u64_var
    check_sampled(add(pointer(acc, write=True), acc.size, table._table, pointer(array), cipher))


def bernoulli_exp_var(
    numerator: int, denominator: int, n: int, seeds: Buffer, *, cipher: int, band: int = 64
) -> BoolArray:
    """n independent bits, each True with probability exp(-numerator / denominator).

    Args:
        numerator: 0 .. 2^128 - 1.
        denominator: 1 .. 2^128 - 1.
        n: 0 .. 2^40.
        seeds, cipher: as `sample_exp_var`.
        band: 0 .. 64: so many bits of the first word decide where they can; fewer give the same output in more time.

    Returns:
        bool (n,).

    Raises:
        BufferTypeError, ParameterError, LocalError: as `sample_exp_var`.
    """
    array = check_seeds(seeds, cipher)
    n = check_int("n", n, 0, _MAX_N)
    band = check_int("band", band, 0, 64)
    above = ffi.new("uint64_t[2]", _words(check_int("numerator", numerator, 0, (1 << 128) - 1)))
    below = ffi.new("uint64_t[2]", _words(check_int("denominator", denominator, 1, (1 << 128) - 1)))
    out = samples(n, np.bool_)
    run = lib.privcomp_bernoulli_exp_var
    check_sampled(run(pointer(out, write=True), n, above, below, band, pointer(array), cipher))
    return out
