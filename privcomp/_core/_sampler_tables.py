"""Sampling from tables of integer weights and thresholds, with NumPy in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from privcomp._core._buffers import check_array, check_disjoint, check_int, pointer, samples
from privcomp._core._privcomp import ffi, lib
from privcomp._core._samplers import SAMPLER_BINS, check_seeds
from privcomp.errors import LocalError
from privcomp.typing import Buffer, I64Array, RingArray, U64Array

TABLE_SHIFT_MAX: int = lib.PRIVCOMP_TABLE_SHIFT_MAX

_MAX_N = 1 << 40
_I64 = 1 << 63


class SampleTable:
    """A table as the core reads it. Whether its numbers make sense is not looked at; see csrc/include/privcomp.h.

    Args:
        alias: u64 (64,): 64 * alias threshold + other bin.
        tops: u64 (length,): the highest words of the thresholds, length >= 64 * 2^shift.
        rest: u64 (length, 2): their further words, the higher one first.
        base: added to every value, -2^63 .. 2^63 - 1.
        wrap: place of the tail from which on values lie below base (mirror 0), 0 .. length.
        shift: logarithm of the places of a bin, 0 .. 32.
        tail_shift: the same for the last bin.
        mirror: 0, 1 or 2.
        band: low bits that the first comparison leaves to the exact one, 0 .. 64. The output does not depend on it:
            tests use it to send many candidates the long way.

    Raises:
        BufferTypeError, ParameterError: an argument is not as above.
    """

    __slots__ = ("_keep", "heads", "length", "raw", "rest", "tops")

    def __init__(
        self,
        alias: U64Array,
        tops: U64Array,
        rest: U64Array,
        *,
        base: int,
        wrap: int,
        shift: int,
        tail_shift: int,
        mirror: int,
        band: int = 0,
    ) -> None:
        check_array("alias", alias, ("uint64",), (SAMPLER_BINS,))
        check_array("tops", tops, ("uint64",), (None,))
        check_array("rest", rest, ("uint64",), (tops.size, 2))
        shift = check_int("shift", shift, 0, TABLE_SHIFT_MAX)
        self.length: int = check_int("the number of thresholds", tops.size, SAMPLER_BINS << shift, 1 << 48)
        heads = np.zeros(tops.size + 1, np.uint16)
        heads[:-1] = tops >> np.uint64(48)
        self._keep = heads, tops.copy(), rest.copy()
        self.heads, self.tops, self.rest = (pointer(array) for array in self._keep)
        self.raw: Any = ffi.new("privcomp_table *")
        ffi.memmove(self.raw.alias, pointer(alias), alias.nbytes)
        self.raw.shift = shift
        self.raw.base = check_int("base", base, -_I64, _I64 - 1)
        self.raw.wrap = check_int("wrap", wrap, 0, self.length)
        self.raw.tail_shift = check_int("tail_shift", tail_shift, 0, TABLE_SHIFT_MAX)
        self.raw.mirror = check_int("mirror", mirror, 0, 2)
        self.raw.band = check_int("band", band, 0, 64)


def _check(status: int) -> None:
    if status != lib.PRIVCOMP_OK:
        raise LocalError(
            f"the table accepts too few candidates to be one of a distribution (code {status}); build it again"
        )


def sample_table_var(table: SampleTable, n: int, seeds: Buffer, *, cipher: int) -> I64Array:
    """n samples of a table's distribution. Time and addresses depend on the samples.

    Args:
        table: what to sample from.
        n: 0 .. 2^40.
        seeds: two seeds of `SEED_BYTES[cipher]` bytes each, for this call only.
        cipher: AES128_CTR or CHACHA20. The samples are a function of table, seeds and cipher, the same at every level.

    Returns:
        i64 (n,).

    Raises:
        BufferTypeError, ParameterError: an argument is not as above, or n samples do not fit the memory.
        LocalError: the table accepts almost nothing.
    """
    n = check_int("n", n, 0, _MAX_N)
    array = check_seeds(seeds, cipher)
    out = samples(n, np.int64)
    _check(
        lib.privcomp_sample_table_var(
            pointer(out, write=True),
            n,
            table.raw,
            table.heads,
            table.tops,
            table.rest,
            table.length,
            pointer(array),
            cipher,
        )
    )
    return out


def sample_table_add_var(acc: RingArray, table: SampleTable, seeds: Buffer, *, cipher: int) -> None:
    """acc[j] += sample j, modulo 2^32 or 2^64, in place; the samples are those of `sample_table_var`.

    Args:
        acc: u32 or u64 (n,), n <= 2^40.
        table, seeds, cipher: as `sample_table_var`.

    Raises:
        BufferTypeError, ParameterError: as `sample_table_var`.
        LocalError: the table accepts almost nothing; acc is then unspecified.
    """
    check_array("acc", acc, ("uint32", "uint64"), (None,), write=True)
    n = check_int("the length of acc", acc.size, 0, _MAX_N)
    array = check_seeds(seeds, cipher)
    check_disjoint("acc", acc, "seeds", array)
    run = lib.privcomp_sample_table_add_u32_var if acc.dtype == np.uint32 else lib.privcomp_sample_table_add_u64_var
    _check(
        run(
            pointer(acc, write=True),
            n,
            table.raw,
            table.heads,
            table.tops,
            table.rest,
            table.length,
            pointer(array),
            cipher,
        )
    )
