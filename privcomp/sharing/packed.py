"""Packed Shamir sharing: one polynomial over Goldilocks carries l secrets, so n shares cost what n / l numbers cost.

Notation: n parties, privacy t (any t shares say nothing), packing l (secrets per polynomial, a power of two), degree
D = t + l - 1. D + 1 shares open, n - D - 1 further ones are checks; products of two sharings, share by share, have
degree 2 D and open with 2 D + 1 <= n.

A polynomial's secrets are its values at the l-th roots of unity, the shares its values at 7 w^i, w an N-th root of
unity, N the least power of two >= n. 7 generates the whole group and roots of unity of such orders lie in a proper
subgroup, so the two sets of points are disjoint, and no share is a secret. Transforms between values and
coefficients make it O(N log N) per polynomial.

Vectors of m secrets take ceil(m / l) polynomials: secret k lies in polynomial k mod ceil(m / l), the vector is filled
up with zeros.

Source: Franklin, Yung, "Communication complexity of secure computation", STOC 1992.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from privcomp import _core
from privcomp.algebra.fields import GOLDILOCKS
from privcomp.errors import ParameterError, RemoteError
from privcomp.sharing._parts import check_belonging, check_ring, draw_seed, in_parts
from privcomp.typing import U64Array

__all__ = ["PackedParams", "PackedShare", "add_packed", "combine_packed", "multiply_packed", "share_packed"]

_STAGE: Final = "combine"
_MOST: Final = 1 << _core.NTT_LOG_MAX
_PART: Final = 1 << 12  # polynomials that pay for a thread


@dataclass(frozen=True)
class PackedParams:
    """Who shares, against how many, how densely.

    Args:
        parties: n, up to 2^14.
        privacy: t, at least 1: so many shares together say nothing about the secrets.
        packing: l, a power of two: secrets per polynomial.
        products: whether products are to be opened, which needs 2 D < n.

    Raises:
        ParameterError: the numbers do not fit together.

    >>> params = PackedParams(parties=32, privacy=7, packing=8, products=True)
    >>> params.degree, params.needed, params.errors
    (14, 15, 8)
    """

    parties: int
    privacy: int
    packing: int
    products: bool = False

    def __post_init__(self) -> None:
        n, t, size = self.parties, self.privacy, self.packing
        if any(type(number) is not int for number in (n, t, size)) or not 1 <= n <= _MOST:
            raise ParameterError(
                f"{n!r} parties, privacy {t!r}, packing {size!r}: allowed are integers, 1..{_MOST} parties"
            )
        if t < 1:
            raise ParameterError(f"privacy is {t}: at least 1, or one share alone would tell about the secrets")
        if size < 1 or size & (size - 1):
            raise ParameterError(f"packing is {size}: allowed is a power of two")
        if self.needed > n:
            raise ParameterError(
                f"privacy {t} and packing {size} need {self.needed} shares to open, and there are {n}; lower "
                "one of them"
            )
        if self.products and 2 * self.degree >= n:
            raise ParameterError(
                f"a product has degree {2 * self.degree}, which needs more than {n} parties; lower privacy or packing"
            )

    @property
    def degree(self) -> int:
        """D = t + l - 1."""
        return self.privacy + self.packing - 1

    @property
    def needed(self) -> int:
        """D + 1: shares that open."""
        return self.degree + 1

    @property
    def errors(self) -> int:
        """Wrong shares that a robust opening of all n corrects: (n - D - 1) / 2, rounded down."""
        return (self.parties - self.needed) // 2

    @cached_property
    def points(self) -> U64Array:
        """u64 (n,): where the parties' shares lie; none is 0."""
        size = 1 << (self.parties - 1).bit_length()
        return _frozen(_core.ntt_goldilocks_points(self.parties, size, shift=_core.PACKED_SHIFT))

    @cached_property
    def secret_points(self) -> U64Array:
        """u64 (l,): where the secrets lie."""
        return _frozen(_core.ntt_goldilocks_points(self.packing, self.packing))

    def polynomials(self, length: int) -> int:
        """Polynomials for a vector of so many secrets."""
        return -(-length // self.packing)


def _frozen(array: U64Array) -> U64Array:
    array.flags.writeable = False
    return array


@dataclass(frozen=True, repr=False, eq=False)
class PackedShare:
    """One party's share of a vector of Goldilocks elements, and what it belongs to.

    Attributes:
        owner: whose secrets these are.
        context: digest of the session in which they were shared.
        params: of the sharing.
        party: 0 .. n - 1.
        length: secrets in the vector.
        degree: of the polynomials: params.degree, or twice that for a product.
        values: u64 (params.polynomials(length),). Secret: redacted in `repr`.

    Raises:
        BufferTypeError: values of another dtype or layout.
        ParameterError: a number out of its range, or values of another length.
    """

    owner: bytes
    context: bytes
    params: PackedParams
    party: int
    length: int
    degree: int
    values: U64Array

    def __post_init__(self) -> None:
        if not 0 <= self.party < self.params.parties:
            raise ParameterError(f"party is {self.party}; allowed is [0, {self.params.parties - 1}]")
        if not 0 <= self.length <= 1 << 40:
            raise ParameterError(f"length is {self.length}; allowed is [0, 2^40]")
        if self.degree not in (self.params.degree, 2 * self.params.degree):
            raise ParameterError(
                f"degree is {self.degree}; allowed is {self.params.degree}, or twice that for a product"
            )
        check_ring("values", self.values, ("uint64",))
        if self.values.size != self.params.polynomials(self.length):
            raise ParameterError(
                f"{self.values.size} values; {self.length} secrets take {self.params.polynomials(self.length)}"
            )

    def __repr__(self) -> str:
        return (
            f"PackedShare(owner={self.owner!r}, params={self.params}, party={self.party}, length={self.length}, "
            f"degree={self.degree}, values=<{self.values.size} hidden>)"
        )


def share_packed(
    secrets: U64Array,
    params: PackedParams,
    *,
    owner: bytes,
    context: bytes,
    rng: Callable[[int], bytes] = os.urandom,
    threads: int = 1,
) -> list[PackedShare]:
    """Shares a vector of Goldilocks elements.

    Args:
        secrets: u64 (m,), canonical.
        params: of the sharing.
        owner: whose secrets these are.
        context: digest of the session.
        rng: gives fresh random bytes.
        threads: that may work on it; the shares do not depend on their number.

    Returns:
        one share for each of the n parties.

    Raises:
        BufferTypeError: secrets have a wrong dtype or layout.
        ParameterError: a secret that is not canonical, threads, or rng.

    >>> shares = share_packed(np.array([7, 8, 9], np.uint64), PackedParams(5, 1, 2), owner=b"a", context=b"session")
    >>> combine_packed(shares[2:], owner=b"a", context=b"session")
    array([7, 8, 9], dtype=uint64)
    """
    check_ring("secrets", secrets, ("uint64",))
    seed, columns = draw_seed(rng), params.polynomials(secrets.size)
    padded = np.zeros(params.packing * columns, np.uint64)
    padded[: secrets.size] = secrets
    rows, slots = np.empty((params.parties, columns), np.uint64), padded.reshape(params.packing, columns)

    def work(first: int, last: int) -> None:
        _core.packed_share(slots, params.parties, params.privacy, seed, out=rows, part=(first, last - first))

    in_parts(work, columns, threads, _PART)
    padded[:] = 0
    # Copies: a party that keeps its share does not keep everybody's.
    return [
        PackedShare(owner, context, params, i, secrets.size, params.degree, row.copy()) for i, row in enumerate(rows)
    ]


def gather_packed(shares: Sequence[PackedShare], owner: bytes, context: bytes) -> tuple[U64Array, U64Array]:
    """Points (m,) and values (m, d) of shares that belong together; raises ParameterError if they do not."""
    if not shares:
        raise ParameterError("no share was given; combine_packed needs degree + 1 of them")
    check_belonging(shares, owner, context)
    first = shares[0]
    for s in shares:
        if s.params != first.params:
            raise ParameterError(f"shares of {first.params} and of {s.params}: they come from different sharings")
        if (s.length, s.degree) != (first.length, first.degree):
            raise ParameterError(
                f"shares of {first.length} secrets with degree {first.degree} and of {s.length} with degree "
                f"{s.degree}: "
                "they come from different sharings"
            )
    parties = [s.party for s in shares]
    if len(set(parties)) != len(parties):
        raise ParameterError("a party occurs twice; combine one share of each party")
    if len(parties) <= first.degree:
        raise ParameterError(
            f"{len(parties)} shares of degree {first.degree}; opening needs {first.degree + 1} of different parties"
        )
    return first.params.points[parties], np.stack([s.values for s in shares])


def combine_packed(shares: Sequence[PackedShare], *, owner: bytes, context: bytes) -> U64Array:
    """The secrets, from at least degree + 1 shares; further shares are checked against the first ones.

    Args:
        shares: of one owner, session and sharing (or product), at most one of each party.
        owner: whose secrets are wanted.
        context: digest of the session in which they were shared.

    Returns:
        u64 (m,).

    Raises:
        ParameterError: shares that do not belong together or to owner and context, too few, a party twice, a value that
            is not canonical.
        RemoteError: the shares do not lie on polynomials of that degree; `combine_packed_robust` may tell which.
    """
    xs, rows = gather_packed(shares, owner, context)
    first = shares[0]
    params, k = first.params, first.degree + 1
    if len(xs) == params.parties and params.parties & (params.parties - 1) == 0:
        values, excess = _by_transform(rows[np.argsort([s.party for s in shares])], params, k)
    else:
        at = np.concatenate([params.secret_points, xs[k:]])
        out = _core.shamir_interpolate(GOLDILOCKS.core_id, xs[:k], rows[:k], at)
        values, excess = out[: params.packing], out[params.packing :] ^ rows[k:]
    if np.bitwise_or.reduce(excess, axis=None, initial=0):
        raise RemoteError(
            None,
            _STAGE,
            f"{len(xs)} shares do not lie on polynomials of degree {first.degree}: at least one of them is wrong; the "
            "secrets are not returned",
        )
    return values.reshape(-1)[: first.length].copy()


def _by_transform(rows: U64Array, params: PackedParams, k: int) -> tuple[U64Array, U64Array]:
    """Secrets (l, d), and what has to be zero, from the shares of all n = N parties in their order: coefficients, of
    which those from k on are zero; their remainder modulo x^l - 1; its values at the l-th roots of unity."""
    coefficients = np.ascontiguousarray(rows)
    _core.ntt_goldilocks_inplace(coefficients, shift=_core.PACKED_SHIFT, inverse=True)
    size = params.packing
    folded = coefficients[:size].copy()
    for start in range(size, k, size):
        block = coefficients[start : min(start + size, k)]
        folded[: len(block)] = GOLDILOCKS.add(folded[: len(block)].reshape(-1), block.reshape(-1)).reshape(block.shape)
    _core.ntt_goldilocks_inplace(folded)
    return folded, coefficients[k:]


def add_packed(a: PackedShare, b: PackedShare) -> PackedShare:
    """A party's share of the sum, from its shares of two vectors of one owner, session and sharing's parameters.

    Raises:
        ParameterError: shares that do not belong together, or values that are not canonical.
    """
    _check_pair(a, b)
    if a.degree != b.degree:
        raise ParameterError(f"shares of degree {a.degree} and {b.degree} do not add; open or reduce the product first")
    values = GOLDILOCKS.add(a.values, b.values)
    return PackedShare(a.owner, a.context, a.params, a.party, a.length, a.degree, values)


def multiply_packed(a: PackedShare, b: PackedShare) -> PackedShare:
    """A party's share, of degree 2 D, of the products secret by secret.

    Such shares are not uniform: add a fresh sharing of zero of degree 2 D, or reduce the degree, before anything but
    the products may not be learnt.

    Raises:
        ParameterError: shares that do not belong together, a product among them, or parameters without `products`.
    """
    _check_pair(a, b)
    if not a.params.products:
        raise ParameterError("these parameters do not provide for products; pass products=True to PackedParams")
    if a.degree != a.params.degree or b.degree != b.params.degree:
        raise ParameterError("a product is multiplied again only after its degree was reduced")
    values = GOLDILOCKS.mul(a.values, b.values)
    return PackedShare(a.owner, a.context, a.params, a.party, a.length, 2 * a.degree, values)


def _check_pair(a: PackedShare, b: PackedShare) -> None:
    check_belonging([b], a.owner, a.context)
    if (a.params, a.party, a.length) != (b.params, b.party, b.length):
        raise ParameterError(f"{a!r} and {b!r} do not belong to one party and one kind of sharing")
