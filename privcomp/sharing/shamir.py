"""Shamir sharing: any `threshold` of n shares give the secret, fewer are independent of it.

Two layers over the same core: `share` and `combine` for vectors of field elements, whose shares carry what they belong
to; `share_bytes`, `share_many`, `combine_bytes` and `combine_many` for 32-byte seeds, whose shares are bare bytes: the
protocol that sends them binds owner, threshold, point and session itself.

Whoever combines more shares than the threshold gets them checked against each other. Inconsistent shares are reported,
not repaired: which of them is wrong cannot be told in general.

Source: Shamir, "How to share a secret", CACM 22 (1979).
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from privcomp import _core
from privcomp.algebra.fields import M61, PrimeField
from privcomp.errors import BufferTypeError, CodecError, ParameterError, RemoteError
from privcomp.sharing._parts import check_belonging, check_ring, draw_seed, in_parts
from privcomp.typing import U64Array

__all__ = [
    "SECRET_BYTES",
    "SHARE_BYTES",
    "Points",
    "Share",
    "combine",
    "combine_bytes",
    "combine_many",
    "share",
    "share_bytes",
    "share_many",
    "share_rows",
]

Points = Sequence[int] | U64Array
"""Evaluation points: non-zero and distinct modulo p."""

SECRET_BYTES = 32
SHARE_BYTES = 40

_STAGE = "combine"
_PART = 1 << 12  # columns that pay for a thread
_LIMBS = 5
_LIMB_BITS = 52
_LIMB_MASK = np.uint64((1 << _LIMB_BITS) - 1)
_TOP_BITS = 8 * SECRET_BYTES - _LIMB_BITS * (_LIMBS - 1)  # of the last limb
_LITTLE = np.dtype("<u8")


@dataclass(frozen=True, repr=False, eq=False)
class Share:
    """One party's share of a vector of secrets, and what it belongs to.

    Attributes:
        owner: whose secrets these are.
        context: digest of the session in which they were shared.
        field: what `values` are elements of.
        threshold: how many shares `combine` needs.
        point: the party's evaluation point.
        values: u64 (d,). Secret: redacted in `repr`.
    """

    owner: bytes
    context: bytes
    field: PrimeField
    threshold: int
    point: int
    values: U64Array

    def __repr__(self) -> str:
        return (
            f"Share(owner={self.owner!r}, field={self.field.name}, threshold={self.threshold}, point={self.point}, "
            f"values=<{self.values.size} hidden>)"
        )


def _points(points: Points, p: int) -> U64Array:
    """The points as u64 (n,): canonical, non-zero, distinct."""
    if isinstance(points, np.ndarray):
        if points.ndim != 1 or points.dtype.kind not in "iu":
            raise BufferTypeError(
                f"points is an array of {points.dtype} with {points.ndim} dimensions; pass one dimension of integers"
            )
        numbers = [int(x) for x in points]
    else:
        try:
            numbers = [operator.index(x) for x in points]
        except TypeError:
            raise ParameterError(f"points is {points!r}; pass integers") from None
    seen: set[int] = set()
    for x in numbers:
        if x % p == 0:
            raise ParameterError(f"a point is {x}, which is 0 modulo {p}: its share would be the secret; number from 1")
        if x % p in seen:
            raise ParameterError(f"point {x} occurs twice modulo {p}; every party needs a point of its own")
        seen.add(x % p)
        if not 0 < x < p:
            raise ParameterError(f"a point is {x}; allowed is [1, {p - 1}]")
    return np.array(numbers, np.uint64)


def _threshold(threshold: int, available: int, what: str) -> None:
    if not 1 <= threshold <= available:
        raise ParameterError(f"threshold is {threshold} with {available} {what}; allowed is [1, {available}]")


def share(
    secrets: U64Array,
    threshold: int,
    points: Points,
    *,
    owner: bytes,
    context: bytes,
    field: PrimeField = M61,
    rng: Callable[[int], bytes] = os.urandom,
    threads: int = 1,
) -> list[Share]:
    """Shares a vector of field elements.

    Args:
        secrets: u64 (d,), canonical.
        threshold: 1 .. number of points.
        points: one per party, non-zero and distinct modulo p.
        owner: whose secrets these are.
        context: digest of the session.
        field: M61 or GOLDILOCKS.
        rng: gives fresh random bytes.
        threads: that may work on it; the shares do not depend on their number.

    Returns:
        one share per point, in their order.

    Raises:
        BufferTypeError: secrets or points have a wrong dtype or layout.
        ParameterError: threshold, points, or a secret that is not canonical.

    >>> shares = share(np.array([7, 8], np.uint64), 2, [1, 2, 3], owner=b"a", context=b"session")
    >>> combine(shares[1:], owner=b"a", context=b"session")
    array([7, 8], dtype=uint64)
    """
    xs = _points(points, field.modulus)
    rows = share_rows(secrets, threshold, xs, field=field, rng=rng, threads=threads)
    # Copies: a party that keeps its share does not keep everybody's.
    return [Share(owner, context, field, threshold, int(x), row.copy()) for x, row in zip(xs, rows, strict=True)]


def share_rows(
    secrets: U64Array,
    threshold: int,
    points: Points,
    *,
    field: PrimeField = M61,
    rng: Callable[[int], bytes] = os.urandom,
    out: U64Array | None = None,
    threads: int = 1,
) -> U64Array:
    """`share` as one matrix, for callers that send block after block: whose rows these are, the caller binds itself.

    Args:
        secrets, threshold, points, field, rng, threads: as `share`.
        out: u64 (n, d) to write into: memory that is used again costs less than fresh memory; None allocates.

    Returns:
        u64 (n, d): row i is the share of points[i]; `out` where it was given. Secret.

    Raises:
        BufferTypeError, ParameterError: as `share`.
    """
    xs = _points(points, field.modulus)
    _threshold(threshold, xs.size, "points")
    seed = draw_seed(rng)
    if threads == 1:
        return _core.shamir_share(field.core_id, secrets, xs, threshold, seed, out=out)
    check_ring("secrets", secrets, ("uint64",))
    rows = np.empty((xs.size, secrets.size), np.uint64) if out is None else out

    def work(first: int, last: int) -> None:
        part = (first, last - first)
        _core.shamir_share(field.core_id, secrets, xs, threshold, seed, out=rows, part=part)

    in_parts(work, secrets.size, threads, _PART)
    return rows


def combine(shares: Sequence[Share], *, owner: bytes, context: bytes) -> U64Array:
    """The secrets, from at least `threshold` shares; further shares are checked against the first ones.

    Args:
        shares: of one owner, session, field, threshold and length, at distinct points.
        owner: whose secrets are wanted.
        context: digest of the session in which they were shared.

    Returns:
        u64 (d,).

    Raises:
        BufferTypeError: values that are no vector of u64.
        ParameterError: shares that do not belong together or to owner and context, too few, a point that is 0 or
            occurs twice.
        RemoteError: more than threshold shares do not lie on one polynomial of degree < threshold.
    """
    xs, rows = gather(shares, owner, context)
    return _combine(shares[0].field, xs, rows, shares[0].threshold)


def gather(shares: Sequence[Share], owner: bytes, context: bytes) -> tuple[U64Array, U64Array]:
    """Points (m,) and values (m, d) of shares that belong together; raises ParameterError if they do not, and
    BufferTypeError where values are no vector of u64."""
    if not shares:
        raise ParameterError("no share was given; combine needs as many as the threshold")
    check_belonging(shares, owner, context)
    first = shares[0]
    for s in shares:
        if type(s.values) is not np.ndarray or s.values.dtype != np.uint64 or s.values.ndim != 1:
            found = getattr(s.values, "dtype", type(s.values).__name__)
            raise BufferTypeError(f"the values of a share are {found}; pass one dimension of uint64")
        if s.threshold != first.threshold:
            raise ParameterError(
                f"shares with thresholds {first.threshold} and {s.threshold}: they come from different sharings"
            )
        if s.field != first.field or s.values.size != first.values.size:
            raise ParameterError(
                f"shares of {first.values.size} elements of {first.field.name} and of {s.values.size} of "
                f"{s.field.name}: they come from different sharings"
            )
    return _points([s.point for s in shares], first.field.modulus), np.stack([s.values for s in shares])


def _combine(field: PrimeField, points: U64Array, rows: U64Array, threshold: int) -> U64Array:
    """The values at 0, after all rows past the threshold were found on the polynomials through the others."""
    _threshold(threshold, points.size, "shares")
    t = threshold
    at = np.concatenate([np.zeros(1, np.uint64), points[t:]])
    values = _core.shamir_interpolate(field.core_id, points[:t], rows[:t], at)
    if np.bitwise_or.reduce(values[1:] ^ rows[t:], axis=None, initial=np.uint64(0)):
        raise RemoteError(
            None,
            _STAGE,
            f"{points.size} shares do not lie on one polynomial of degree {t - 1}: at least one of them is wrong; "
            "the secret is not returned",
        )
    secrets: U64Array = values[0]
    return secrets


def _to_limbs(secrets: Sequence[bytes]) -> U64Array:
    """32-byte strings as (k, 5) limbs of 52 bits, the last of 48: all below 2^61 - 1."""
    for secret in secrets:
        if len(secret) != SECRET_BYTES:
            raise ParameterError(f"a secret has {len(secret)} bytes; shared are exactly {SECRET_BYTES}")
    w = np.frombuffer(b"".join(secrets), _LITTLE).astype(np.uint64).reshape(len(secrets), 4)
    limbs = np.empty((len(secrets), _LIMBS), np.uint64)
    limbs[:, 0] = w[:, 0] & _LIMB_MASK
    limbs[:, 1] = (w[:, 0] >> 52 | w[:, 1] << 12) & _LIMB_MASK
    limbs[:, 2] = (w[:, 1] >> 40 | w[:, 2] << 24) & _LIMB_MASK
    limbs[:, 3] = (w[:, 2] >> 28 | w[:, 3] << 36) & _LIMB_MASK
    limbs[:, 4] = w[:, 3] >> 16
    return limbs


def _from_limbs(limbs: U64Array) -> list[bytes]:
    excess = np.bitwise_or.reduce(limbs[:, :-1] >> _LIMB_BITS, axis=None, initial=np.uint64(0))
    excess |= np.bitwise_or.reduce(limbs[:, -1] >> _TOP_BITS, axis=None, initial=np.uint64(0))
    if excess:
        raise RemoteError(
            None,
            _STAGE,
            f"a result is no {SECRET_BYTES}-byte secret (limbs of {_LIMB_BITS} and at last {_TOP_BITS} bits are "
            "allowed): a share is wrong or belongs to another sharing",
        )
    w = np.empty((len(limbs), 4), np.uint64)
    w[:, 0] = limbs[:, 0] | limbs[:, 1] << 52
    w[:, 1] = limbs[:, 1] >> 12 | limbs[:, 2] << 40
    w[:, 2] = limbs[:, 2] >> 24 | limbs[:, 3] << 28
    w[:, 3] = limbs[:, 3] >> 36 | limbs[:, 4] << 16
    return _cut(w.astype(_LITTLE).tobytes(), SECRET_BYTES)


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def share_many(
    secrets: Sequence[bytes], threshold: int, points: Points, rng: Callable[[int], bytes] = os.urandom
) -> list[list[bytes]]:
    """Shares 32-byte secrets; each becomes five limbs of at most 52 bits in the field of 2^61 - 1.

    Args:
        secrets: 32 bytes each.
        threshold: 1 .. number of points.
        points: one per party, non-zero and distinct modulo 2^61 - 1.
        rng: gives fresh random bytes.

    Returns:
        for each secret, one share of 40 bytes per point: five canonical little-endian words.

    Raises:
        BufferTypeError: points have a wrong dtype.
        ParameterError: threshold, points, or a secret of another length.

    >>> (a, b) = share_many([bytes(32), b"x" * 32], 2, [1, 2, 3])
    >>> combine_bytes([3, 1], [b[2], b[0]], 2) == b"x" * 32
    True
    """
    xs = _points(points, M61.modulus)
    _threshold(threshold, xs.size, "points")
    limbs = _to_limbs(secrets)
    rows = _core.shamir_share(M61.core_id, limbs.reshape(-1), xs, threshold, draw_seed(rng))
    by_secret = rows.reshape(xs.size, len(secrets), _LIMBS).transpose(1, 0, 2).astype(_LITTLE)
    return [_cut(block.tobytes(), SHARE_BYTES) for block in by_secret]


def share_bytes(secret: bytes, threshold: int, points: Points, rng: Callable[[int], bytes] = os.urandom) -> list[bytes]:
    """`share_many` for one secret: one share of 40 bytes per point."""
    return share_many([secret], threshold, points, rng)[0]


def combine_many(points: Points, shares: Sequence[Sequence[bytes]], threshold: int) -> list[bytes]:
    """The 32-byte secrets, from shares of all of them at the same points.

    The first `threshold` shares are used, every further one is checked against them.

    Args:
        points: u64 (m,) or integers, m >= threshold.
        shares: for each secret, one share of 40 bytes per point.
        threshold: of the sharing.

    Raises:
        CodecError: a share that is not 40 bytes, or not canonical.
        ParameterError: fewer shares than the threshold, counts that differ, a point that is 0 or occurs twice.
        RemoteError: shares that contradict each other, or a result that is no 32-byte secret.
    """
    xs = _points(points, M61.modulus)
    _threshold(threshold, xs.size, "shares")
    for row in shares:
        if len(row) != xs.size:
            raise ParameterError(f"{len(row)} shares for {xs.size} points; pass one share per point")
        for piece in row:
            if not isinstance(piece, bytes):
                raise ParameterError(f"a share is {type(piece).__name__}; pass bytes")
            if len(piece) != SHARE_BYTES:
                raise CodecError(f"a share has {len(piece)} bytes; allowed is exactly {SHARE_BYTES}", stage=_STAGE)
    data = np.frombuffer(b"".join(piece for row in shares for piece in row), _LITTLE).astype(np.uint64)
    if (data >= M61.modulus).any():
        raise CodecError(
            "a share holds a limb that is not below 2^61 - 1; only canonical shares are accepted", stage=_STAGE
        )
    rows = data.reshape(len(shares), xs.size, _LIMBS).transpose(1, 0, 2).reshape(xs.size, len(shares) * _LIMBS)
    limbs = _combine(M61, xs, np.ascontiguousarray(rows), threshold)
    return _from_limbs(limbs.reshape(len(shares), _LIMBS))


def combine_bytes(points: Points, shares: Sequence[bytes], threshold: int) -> bytes:
    """`combine_many` for one secret.

    >>> combine_bytes([2, 5], share_bytes(b"k" * 32, 2, [2, 5]), 2) == b"k" * 32
    True
    """
    return combine_many(points, [shares], threshold)[0]
