"""What distributions that are sampled from a table have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import gmpy2
from gmpy2 import mpz

from privcomp._core import SampleTable, sample_table_add_var, sample_table_var
from privcomp.samplers.common import check_outcome, fresh_seeds, stream_cipher
from privcomp.samplers.tables import Law, tabulate
from privcomp.typing import I64Array, RingArray

__all__ = ["TABLES_KEPT", "Tabulated"]

TABLES_KEPT = 16
"""Tables of distributions that were sampled last; the largest one takes 7 MB."""


class _Maker(Protocol):
    """A hashable value object that can make its law."""

    def _law(self) -> Law: ...


@lru_cache(maxsize=TABLES_KEPT)
def _table(distribution: _Maker) -> SampleTable:
    return tabulate(distribution._law()).table()


@lru_cache(maxsize=2)
def _law_and_sums(distribution: _Maker) -> tuple[Law, list[mpz]]:
    law = distribution._law()
    return law, law.sums()


class Tabulated(ABC):
    """Sampling, and the probabilities, of a distribution that makes its law.

    The table is built with the first sample (milliseconds; .2 s for a standard deviation of 4096) and kept for the last
    `TABLES_KEPT` distributions.
    """

    __slots__ = ()

    @abstractmethod
    def _law(self) -> Law:
        """What distinguishes one law from another."""

    def sample_var(self, n: int, rng: Callable[[int], bytes] = os.urandom) -> I64Array:
        """n independent samples. Time and addresses depend on them; the number of candidates that are tried does not.

        Args:
            n: how many, 0 .. 2^40.
            rng: rng(k) returns k bytes of a CSPRNG; asked once per call, for the seeds of the streams. Nothing is kept
                for a later call.

        Returns:
            i64 (n,). Each sample is within 2^-170 (total variation) of the distribution, so 2^40 of them are within
            2^-130, given uniform seeds and a keystream (AES-128-CTR, or ChaCha20 at the portable level) that cannot be
            told from uniform words.

        Raises:
            ParameterError: n out of range or too many for the memory, or rng gave another number of bytes.
            BufferTypeError: rng gave something else than bytes.
        """
        table, cipher = _table(self), stream_cipher()
        with fresh_seeds(rng, cipher) as seeds:
            return sample_table_var(table, n, seeds, cipher=cipher)

    def add_var(self, acc: RingArray, rng: Callable[[int], bytes] = os.urandom) -> None:
        """Adds an independent sample to each entry of `acc`, modulo 2^32 or 2^64, in place; otherwise as `sample_var`.

        Args:
            acc: u32 or u64 (n,).
            rng: as in `sample_var`.

        Raises:
            BufferTypeError: acc has another dtype, is not contiguous or read-only.
            ParameterError: as `sample_var`.
        """
        table, cipher = _table(self), stream_cipher()
        with fresh_seeds(rng, cipher) as seeds:
            sample_table_add_var(acc, table, seeds, cipher=cipher)

    def pmf(self, k: int) -> float:
        """P[X = k], relative error below 2^-50; 0 outside of `support`, where there is less than 2^-172 in all."""
        law, sums = _law_and_sums(self)
        return _quotient(law.weight(check_outcome(k)), law.total(sums))

    def cdf(self, k: int) -> float:
        """P[X <= k], with an absolute error below 2^-170 and a relative one below 2^-50 on top of it."""
        law, sums = _law_and_sums(self)
        return _quotient(law.below(check_outcome(k), sums), law.total(sums))

    @property
    def support(self) -> tuple[int, int]:
        """The lowest and the highest value that `sample_var` can return."""
        law, _ = _law_and_sums(self)
        return law.low, law.high


def _quotient(part: mpz, total: mpz) -> float:
    with gmpy2.context(precision=100):
        return float(gmpy2.mpfr(part) / total)
