"""One update as a matrix, one Pedersen commitment a row: 32 kB for a million entries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from privcomp import _core
from privcomp.algebra import RISTRETTO255, FixedBases, Group, Points, Scalars
from privcomp.commitments.generators import Generators
from privcomp.commitments.weights import verifier_weights
from privcomp.errors import BufferTypeError, EncodingError, ParameterError, RemoteError
from privcomp.typing import Buffer

__all__ = ["Hyrax", "Opening", "RowCommitment"]

_MOST_ENTRIES: Final = 1 << 32
_BLOCK_ENTRIES: Final = 1 << 20  # that are widened to 32 bits at once, if these are
_LEAST_ROWS: Final = 64

IntArray = npt.NDArray[np.signedinteger]


@dataclass(frozen=True)
class Opening:
    """The blindings of a commitment, one for each row: secret, and added up like the commitments."""

    blindings: Scalars

    def __add__(self, other: Opening) -> Opening:
        return Opening(self.blindings + other.blindings)

    def __repr__(self) -> str:
        return f"Opening({len(self.blindings)} rows)"


@dataclass(frozen=True)
class RowCommitment:
    """The commitments to the rows of one vector of d entries, or of the sum of several."""

    scheme: Hyrax
    d: int
    rows: Points

    def __post_init__(self) -> None:
        if self.rows.group != self.scheme.group or len(self.rows) != self.scheme.row_count(self.d):
            raise ParameterError(
                f"{len(self.rows)} rows of {self.rows.group} for {self.d} entries; the scheme has "
                f"{self.scheme.row_count(self.d)} of {self.scheme.group}"
            )

    def encode(self) -> bytes:
        """One canonical encoding after another: 32 bytes a row in ristretto255."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return self.rows.encode()

    def __add__(self, other: RowCommitment) -> RowCommitment:
        return RowCommitment.sum([self, other])

    @staticmethod
    def sum(commitments: Iterable[RowCommitment]) -> RowCommitment:
        """The commitment to the sum of all.

        Raises:
            ParameterError: none, or of different layouts or lengths. How many bytes the entries had does not matter.
        """
        found = list(commitments)
        if not found or len({(c.scheme.group, c.scheme.columns, c.d) for c in found}) != 1:
            raise ParameterError("a sum takes at least one commitment, all of one layout and length")
        return RowCommitment(found[0].scheme, found[0].d, Points.sum_of([c.rows for c in found]))

    def __repr__(self) -> str:
        return f"RowCommitment({self.scheme.group}, {self.d} entries in {len(self.rows)} rows)"


@dataclass(frozen=True)
class Hyrax:
    """The layout: entry j of a vector is in row j // columns, column j % columns, and C_a = sum_b x_ab Gamma_b + r_a H.

    `commit_var` reads tables at places that depend on the entries and on the blindings: whoever watches the cache of
    the prover's processor may learn both, and its time depends on where bytes of entries are zero and, slightly, on all
    of both; `commit` is constant time. The tables take 17 MB for 1024 columns of 16 bits, are built at the first
    commitment and kept.

    Args:
        columns: a power of two, 2 .. 2^16.
        entry_bytes: 1 .. 4; entries x have |x| <= 2^(8 entry_bytes - 1), with 4 bytes |x| < 2^31.
        group: RISTRETTO255 or BN254.

    Source: Wahby, Tzialla, shelat, Thaler, Walfish, "Doubly-efficient zkSNARKs without trusted setup", S&P 2018.

    >>> scheme = Hyrax(columns=8)
    >>> x, y = np.arange(20, dtype=np.int64), np.full(20, -3, np.int64)
    >>> (cx, rx), (cy, ry) = scheme.commit_var(x), scheme.commit_var(y)
    >>> scheme.check(cx + cy, x + y, rx + ry)
    """

    columns: int = 1024
    entry_bytes: int = 2
    group: Group = field(default=RISTRETTO255)

    def __post_init__(self) -> None:
        if not all(isinstance(number, int) for number in (self.columns, self.entry_bytes)):
            raise ParameterError("columns and entry_bytes are integers")
        if not 2 <= self.columns <= 1 << 16 or self.columns & (self.columns - 1):
            raise ParameterError(f"{self.columns} columns; allowed are the powers of two from 2 to 65536")
        if not 1 <= self.entry_bytes <= 4:
            raise ParameterError(f"entries of {self.entry_bytes} bytes; allowed is 1 to 4")

    @property
    def bound(self) -> int:
        """The largest size of an entry that can be committed to."""
        return min(1 << (8 * self.entry_bytes - 1), (1 << 31) - 1)

    @property
    def tables_nbytes(self) -> int:
        """Bytes of the tables of fixed multiples; builds them."""
        return _tables(self.group, self.columns, self.entry_bytes).nbytes

    def row_count(self, d: int) -> int:
        """Rows of a vector of d entries; 1 <= d <= 2^32."""
        if not 1 <= d <= _MOST_ENTRIES:
            raise ParameterError(f"{d} entries; allowed is [1, {_MOST_ENTRIES}]")
        return -(-d // self.columns)

    def commit_var(self, x: IntArray, rng: Callable[[int], bytes] = os.urandom) -> tuple[RowCommitment, Opening]:
        """The commitment to a vector, and its fresh blindings. Variable time in both.

        Args:
            x: signed integers (d,) of any width, |x| <= `bound`. What is missing in the last row is zeros.
            rng: entropy.

        Raises:
            BufferTypeError: not one dimension of signed integers.
            EncodingError: an entry is too large.
        """
        self._check(x)
        blindings = self.group.random_scalars(self.row_count(x.size), rng)
        return RowCommitment(self, x.size, self._rows_var(x, blindings)), Opening(blindings)

    def commit(self, x: IntArray, rng: Callable[[int], bytes] = os.urandom) -> tuple[RowCommitment, Opening]:
        """`commit_var` in constant time: for small vectors, as it takes some fifty times as long."""
        self._check(x)
        blindings = self.group.random_scalars(self.row_count(x.size), rng)
        generators = Generators.derive(self.group, self.columns)
        rows = []
        for a in range(len(blindings)):
            entries = np.ascontiguousarray(x[a * self.columns : (a + 1) * self.columns], dtype=np.int64)
            bases = Points.concat([generators.columns[: entries.size], generators.blinding])
            rows.append(bases.msm(Scalars.concat([self.group.scalars_from_i64(entries), blindings[a]])))
        return RowCommitment(self, x.size, Points.concat(rows)), Opening(blindings)

    def _check(self, x: IntArray) -> None:
        _check_entries(x)
        self.row_count(x.size)
        if int(x.max()) > self.bound or int(x.min()) < -self.bound:
            raise EncodingError(f"an entry is beyond {self.bound}, the bound of {self.entry_bytes} bytes")

    def rows_var(self, x: IntArray) -> Points:
        """The rows of `commit_var` without blindings: they hide nothing. Arguments and errors as there."""
        self._check(x)
        return self._rows_var(x, None)

    def _rows_var(self, x: IntArray, blindings: Scalars | None) -> Points:
        bases = _tables(self.group, self.columns, self.entry_bytes)
        rows, parts = self.row_count(x.size), []
        most = max(_LEAST_ROWS, _BLOCK_ENTRIES // len(bases.bases))
        for first in range(0, rows, most):
            count = min(most, rows - first)
            block = x[first * self.columns : (first + count) * self.columns]
            whole, left = divmod(block.size, self.columns)
            matrix = np.zeros((count, len(bases.bases)), np.int32)
            matrix[:whole, : self.columns] = block[: block.size - left].reshape(whole, self.columns)
            matrix[whole:, :left] = block[block.size - left :]
            if blindings is not None:
                matrix[:, self.columns :] = blindings[first : first + count].digits(self.entry_bytes)
            parts.append(bases.rows_var(matrix))
            del matrix  # before there is another
        return Points.concat(parts)

    def decode(self, data: Buffer, d: int) -> RowCommitment:
        """A received commitment to d entries.

        Raises:
            CodecError: another length, or rows that are no canonical encodings.
        """
        found = RowCommitment(self, d, self.group.decode_many(data, self.row_count(d)))
        vars(found)["_encoded"] = _core.as_bytes("data", data).tobytes()  # canonical, so encoding again gives the same
        return found

    def check(
        self,
        commitment: RowCommitment,
        x: IntArray,
        opening: Opening,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Check that a commitment, or a sum of commitments, opens to x: all rows at once under random weights.

        Variable time: what is opened is public.

        Args:
            commitment: of this scheme.
            x: signed integers (d,), of any size: the sum of several vectors may be beyond `bound`. As they have at
                most 64 bits, equal modulo the order means equal.
            opening: the blindings, or their sum.
            rng: entropy of the verifier, that nobody else foresees.

        Raises:
            RemoteError: it opens something else. A false opening passes with probability 2^-128.
            BufferTypeError: x is not one dimension of signed integers.
            ParameterError: lengths or schemes differ.
        """
        _check_entries(x)
        groups = {commitment.scheme.group, opening.blindings.group, self.group}
        columns = {commitment.scheme.columns, self.columns}
        lengths = (x.size, len(opening.blindings)) == (commitment.d, len(commitment.rows))
        if len(groups) != 1 or len(columns) != 1 or not lengths:
            raise ParameterError("a commitment, a vector or blindings of another scheme or length")
        rows = len(commitment.rows)
        padded = np.zeros((rows, self.columns), np.int64)
        padded.reshape(-1)[: x.size] = x
        bound = (commitment.encode(), opening.blindings.to_bytes(), padded.tobytes())
        weights = verifier_weights(self.group, rows, rng, bound)
        generators = Generators.derive(self.group, self.columns)
        values = weights.combine(padded)
        left = generators.columns.msm_var(values) + generators.blinding * weights.dot(opening.blindings)
        if left != commitment.rows.msm_var(weights):
            raise RemoteError(None, "opening", "the vector and blindings do not belong to the commitment")


def _check_entries(x: object) -> None:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "i" or x.ndim != 1:
        raise BufferTypeError("entries are a one-dimensional array of signed integers")


@lru_cache(maxsize=4)
def _tables(group: Group, columns: int, entry_bytes: int) -> FixedBases:
    """Of the columns' generators, and of H, 256^entry_bytes H and so on, which the digits of a blinding multiply."""
    generators = Generators.derive(group, columns)
    places = group.scalars([1]).digits(entry_bytes).shape[1]
    weights = group.scalars([pow(256, entry_bytes * k, group.order) for k in range(places)])
    return FixedBases(Points.concat([generators.columns, generators.blinding * weights]), entry_bytes)
