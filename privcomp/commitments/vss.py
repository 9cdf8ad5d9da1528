"""Verifiable secret sharing: a dealer publishes a commitment, and everybody checks the own share against it.

Notation: n parties at the points 1 .. n, threshold k (shares that open), q the order of the group. The dealer draws
f of degree < k modulo q with f(0) = s, and sends f(i) to party i.

    Feldman    commitment C_j = a_j G for the coefficients a_j of f;        party i checks  f(i) G = sum of i^j C_j
    Pedersen   C_j = a_j G + b_j H, b_j the coefficients of a second f';    party i checks  f(i) G + f'(i) H = ...

**Feldman's commitment reveals s G** (C_0 is that). It hides nothing about a secret that can be guessed: a vote, a key
coefficient, an update. It is for secrets of full entropy, such as uniform scalars, and for keys whose public half is
known anyway. Pedersen's hides perfectly and binds as long as discrete logarithms are hard. Nobody knows the logarithm
of H to G: both come from hashing.

A share that passes the check is a value of the one polynomial that the commitment binds the dealer to: whichever k
such shares are combined, the secret is the same. What honest parties do about a dealer who sent somebody a wrong share
(complaints, and opening that share) is the protocol's business.

Source: Feldman, "A practical scheme for non-interactive verifiable secret sharing", FOCS 1987; Pedersen,
"Non-interactive and information-theoretic secure verifiable secret sharing", CRYPTO '91.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from privcomp.algebra import BN254, RISTRETTO255, Group, Point, Points, Scalar, Scalars
from privcomp.codec import U8, U16, Blob, Codec, Message, Text
from privcomp.commitments.pedersen import Pedersen
from privcomp.errors import ParameterError, RemoteError

__all__ = ["FeldmanVss", "PedersenVss", "VssCommitment", "VssShare"]

FELDMAN: Final = 1
PEDERSEN: Final = 2
_GROUPS: Final = {group.name: group for group in (RISTRETTO255, BN254)}
_MOST: Final = 1 << 14
_SCALAR: Final = 32
_STAGE: Final = "vss"


def _group(name: str) -> Group:
    if name not in _GROUPS:
        raise ParameterError(f"group {name!r}: allowed are {sorted(_GROUPS)}")
    return _GROUPS[name]


def _check_head(scheme: int, group: str, parties: int) -> Group:
    if scheme not in (FELDMAN, PEDERSEN):
        raise ParameterError(f"scheme {scheme}: allowed are {FELDMAN} (Feldman) and {PEDERSEN} (Pedersen)")
    if not 1 <= parties <= _MOST:
        raise ParameterError(f"{parties} parties: allowed are 1..{_MOST}")
    return _group(group)


@dataclass(frozen=True)
class VssCommitment(Message):
    """What a dealer publishes.

    Attributes:
        scheme: 1 (Feldman) or 2 (Pedersen).
        group: "ristretto255" or the name of BN254.
        owner: the dealer, at most 64 bytes.
        context: digest of the session, at most 64 bytes.
        parties: n, 1 .. 2^14.
        elements: the canonical encodings of C_0, ..., C_{k-1}, 1 <= k <= n.

    Raises:
        CodecError: elements that are not canonical.
        ParameterError: a number out of its range.
    """

    TAG: ClassVar[int] = 0x0B00
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("scheme", U8),
        ("group", Text(32)),
        ("owner", Blob(64)),
        ("context", Blob(64)),
        ("parties", U16),
        ("elements", Blob(64 * _MOST)),
    )
    scheme: int
    group: str
    owner: bytes
    context: bytes
    parties: int
    elements: bytes

    def __post_init__(self) -> None:
        size = _check_head(self.scheme, self.group, self.parties).encoding_bytes
        if len(self.elements) % size or not 1 <= len(self.elements) // size <= self.parties:
            raise ParameterError(
                f"{len(self.elements)} bytes of elements: allowed are 1..{self.parties} elements of {size} bytes"
            )
        self.points()

    @property
    def threshold(self) -> int:
        """k: shares that open."""
        return len(self.elements) // _group(self.group).encoding_bytes

    def points(self) -> Points:
        """C_0, ..., C_{k-1}."""
        return _group(self.group).decode_many(self.elements, self.threshold)


@dataclass(frozen=True, repr=False, eq=False)
class VssShare(Message):
    """What a dealer sends one party, in secret.

    Attributes:
        scheme, group, owner, context, parties: as in the commitment.
        point: the party's point, 1 .. n.
        values: f(point), and for Pedersen f'(point), 32 little-endian bytes each, canonical. Secret: redacted in
            `repr`.

    Raises:
        CodecError: a value that is not canonical.
        ParameterError: a number out of its range.
    """

    TAG: ClassVar[int] = 0x0B01
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("scheme", U8),
        ("group", Text(32)),
        ("owner", Blob(64)),
        ("context", Blob(64)),
        ("parties", U16),
        ("point", U16),
        ("values", Blob(2 * _SCALAR)),
    )
    scheme: int
    group: str
    owner: bytes
    context: bytes
    parties: int
    point: int
    values: bytes

    def __post_init__(self) -> None:
        _check_head(self.scheme, self.group, self.parties)
        if not 1 <= self.point <= self.parties:
            raise ParameterError(
                f"point {self.point} of {self.parties} parties; allowed is [1, {self.parties}]: the value at 0 "
                "is the secret"
            )
        if len(self.values) != _SCALAR * self.scheme:
            raise ParameterError(f"{len(self.values)} bytes of values; this scheme has {_SCALAR * self.scheme}")
        self.scalars()

    def __repr__(self) -> str:
        return (
            f"VssShare(owner={self.owner!r}, group={self.group}, point={self.point} of {self.parties}, values=<hidden>)"
        )

    def scalars(self) -> Scalars:
        """f(point), and for Pedersen f'(point)."""
        return _group(self.group).decode_scalars(self.values, self.scheme)


@dataclass(frozen=True)
class _Vss(ABC):
    """What the two schemes have in common; see the module.

    Args:
        parties: n, 1 .. 2^14.
        threshold: k, 1 .. n.
        group: RISTRETTO255 or BN254.

    Raises:
        ParameterError: a number out of its range.
    """

    SCHEME: ClassVar[int]
    parties: int
    threshold: int
    group: Group = RISTRETTO255

    def __post_init__(self) -> None:
        _check_head(self.SCHEME, self.group.name, self.parties)
        if not 1 <= self.threshold <= self.parties:
            raise ParameterError(f"threshold is {self.threshold}; allowed is [1, {self.parties}]")

    @abstractmethod
    def _commit(self, rows: Sequence[Scalars]) -> Points:
        """One element for each column of `SCHEME` rows of scalars; constant time."""

    def deal(
        self, secret: Scalar, *, owner: bytes, context: bytes, rng: Callable[[int], bytes] = os.urandom
    ) -> tuple[VssCommitment, list[VssShare]]:
        """A commitment for everybody, and one share for each party.

        Args:
            secret: a scalar of the group.
            owner: the dealer, at most 64 bytes.
            context: digest of the session, at most 64 bytes.
            rng: gives fresh random bytes.

        Returns:
            the commitment; the shares of the points 1 .. n.

        Raises:
            ParameterError: secret is no scalar of this group; owner or context is too long; rng.
        """
        if secret.group != self.group or len(secret) != 1:
            raise ParameterError(f"the secret is {secret!r}; one scalar of {self.group} is shared")
        if len(owner) > 64 or len(context) > 64:
            raise ParameterError("owner and context have at most 64 bytes each")
        drawn = self.group.random_scalars(self.SCHEME * self.threshold - 1, rng)
        rows = [Scalars.concat([secret, drawn[: self.threshold - 1]])]
        if self.SCHEME == PEDERSEN:
            rows.append(drawn[self.threshold - 1 :])
        commitment = VssCommitment(
            self.SCHEME, self.group.name, owner, context, self.parties, self._commit(rows).encode()
        )
        at = self.group.scalars(range(1, self.parties + 1))
        columns = [_evaluate(row, at).to_bytes() for row in rows]
        shares = [
            VssShare(
                self.SCHEME, self.group.name, owner, context, self.parties, i + 1,
                b"".join(column[_SCALAR * i : _SCALAR * (i + 1)] for column in columns),
            )
            for i in range(self.parties)
        ]  # fmt: skip
        return commitment, shares

    def check(self, commitment: VssCommitment, share: VssShare, *, owner: bytes, context: bytes, point: int) -> None:
        """What a party does with what it got from a dealer.

        Args:
            commitment: as published.
            share: as sent to this party.
            owner: the dealer.
            context: digest of the session.
            point: the party's own point.

        Raises:
            RemoteError: names the dealer: commitment or share are of another scheme, group, session, owner, threshold,
                number of parties or point, or the share does not belong to the commitment.
        """
        self._check_commitment(commitment, owner, context)
        if self._head(share) != self._head(commitment) or share.point != point:
            raise RemoteError(owner, _STAGE, f"{share!r} is not what party {point} of this sharing has to get")
        if not self._fits(commitment, share):
            raise RemoteError(
                owner, _STAGE, f"the share of party {point} does not belong to the dealer's commitment; do not use it"
            )

    def combine(self, commitment: VssCommitment, shares: Sequence[VssShare], *, owner: bytes, context: bytes) -> Scalar:
        """The secret, from at least k shares, each of which is checked.

        Args:
            commitment: the dealer's.
            shares: of different points.
            owner: the dealer.
            context: digest of the session.

        Raises:
            ParameterError: shares of another sharing than the commitment's, too few, a point twice.
            RemoteError: the commitment is of another scheme, owner or session (names the dealer); a share does not
                belong to it (names the point of who handed it in, in decimal: leave it out and combine again).
        """
        self._check_commitment(commitment, owner, context)
        for share in shares:
            if self._head(share) != self._head(commitment):
                raise ParameterError(f"{share!r} does not belong to this commitment; combine the shares of one sharing")
        points = [share.point for share in shares]
        if len(set(points)) != len(points):
            raise ParameterError("a point occurs twice; combine one share of each party")
        if len(points) < self.threshold:
            raise ParameterError(f"threshold is {self.threshold} with {len(points)} shares; more are needed")
        for share in shares:
            if not self._fits(commitment, share):
                raise RemoteError(
                    b"%d" % share.point, _STAGE, f"the share of point {share.point} does not belong to the commitment"
                )
        used = shares[: self.threshold]
        weights = self.group.scalars(_weights_at_zero([share.point for share in used], self.group.order))
        return Scalars.concat([share.scalars()[:1] for share in used]).dot(weights)

    def add_commitments(self, commitments: Sequence[VssCommitment], *, owner: bytes) -> VssCommitment:
        """The commitment to the sum of the secrets.

        Args:
            commitments: at least one, of this scheme and one session; each checked by every party that adds its share.
            owner: what the sum is called.

        Raises:
            ParameterError: commitments that do not fit together.
        """
        if not commitments:
            raise ParameterError("no commitment was given")
        first = commitments[0]
        for c in commitments:
            if (c.scheme, c.group, c.context, c.parties, c.threshold) != (
                self.SCHEME, self.group.name, first.context, self.parties, self.threshold,
            ):  # fmt: skip
                raise ParameterError(
                    "commitments of different schemes, sessions, thresholds or numbers of parties do not add"
                )
        total = Points.sum_of([c.points() for c in commitments])
        return replace(first, owner=owner, elements=total.encode())

    def add_shares(self, shares: Sequence[VssShare], *, owner: bytes) -> VssShare:
        """One party's share of the sum of the secrets; arguments and errors as `add_commitments`."""
        if not shares:
            raise ParameterError("no share was given")
        first = shares[0]
        total = self.group.scalars([0] * self.SCHEME)
        for s in shares:
            if (s.scheme, s.group, s.context, s.parties, s.point) != (
                self.SCHEME, self.group.name, first.context, self.parties, first.point,
            ):  # fmt: skip
                raise ParameterError("shares of different schemes, sessions, points or numbers of parties do not add")
            total = total + s.scalars()
        return replace(first, owner=owner, values=total.to_bytes())

    def _check_commitment(self, commitment: VssCommitment, owner: bytes, context: bytes) -> None:
        wanted = (self.SCHEME, self.group.name, owner, context, self.parties)
        if self._head(commitment) != wanted or commitment.threshold != self.threshold:
            raise RemoteError(
                owner,
                _STAGE,
                f"the commitment is of scheme {commitment.scheme}, group {commitment.group}, owner "
                f"{commitment.owner!r}, "
                f"{commitment.threshold} of {commitment.parties} parties, or of another session; wanted is "
                f"scheme {self.SCHEME}, "
                f"{self.group}, {self.threshold} of {self.parties}",
            )

    @staticmethod
    def _head(message: VssCommitment | VssShare) -> tuple[int, str, bytes, bytes, int]:
        return message.scheme, message.group, message.owner, message.context, message.parties

    def _fits(self, commitment: VssCommitment, share: VssShare) -> bool:
        """Whether the share is the value that the commitment binds to: the right-hand side is public."""
        powers, power = [], 1
        for _ in range(self.threshold):
            powers.append(power)
            power = power * share.point % self.group.order
        expected = commitment.points().msm_var(self.group.scalars(powers))
        return self._commit([share.scalars()[k : k + 1] for k in range(self.SCHEME)])[0] == expected


def _evaluate(coefficients: Scalars, at: Scalars) -> Scalars:
    """The polynomial's values, by Horner's rule; constant time."""
    values = at - at + coefficients[len(coefficients) - 1]
    for j in range(len(coefficients) - 2, -1, -1):
        values = values * at + coefficients[j]
    return values


def _weights_at_zero(points: Sequence[int], q: int) -> list[int]:
    """Lagrange's coefficients for the value at 0; the points are public."""
    weights = []
    for i in points:
        top = bottom = 1
        for j in points:
            if j != i:
                top, bottom = top * j % q, bottom * (j - i) % q
        weights.append(top * pow(bottom, -1, q) % q)
    return weights


@dataclass(frozen=True)
class FeldmanVss(_Vss):
    """Feldman's scheme. **Its commitment reveals secret * G: for secrets of full entropy only**; see the module.

    Args:
        parties: n, 1 .. 2^14.
        threshold: k, 1 .. n: shares that open.
        group: RISTRETTO255 or BN254.

    Raises:
        ParameterError: a number out of its range.

    >>> vss, secret = FeldmanVss(parties=5, threshold=3), RISTRETTO255.random_scalars(1)[0]
    >>> commitment, shares = vss.deal(secret, owner=b"dealer", context=b"session")
    >>> vss.check(commitment, shares[3], owner=b"dealer", context=b"session", point=4)
    >>> vss.combine(commitment, shares[2:], owner=b"dealer", context=b"session") == secret
    True
    """

    SCHEME: ClassVar[int] = FELDMAN

    def _commit(self, rows: Sequence[Scalars]) -> Points:
        return _times(self.group.generator, rows[0])


@dataclass(frozen=True)
class PedersenVss(_Vss):
    """Pedersen's scheme: the commitment says nothing about the secret, whatever it is; see the module.

    Args:
        parties: n, 1 .. 2^14.
        threshold: k, 1 .. n: shares that open.
        group: RISTRETTO255 or BN254.

    Raises:
        ParameterError: a number out of its range.

    >>> vss, secret = PedersenVss(parties=5, threshold=3), RISTRETTO255.scalar(1)
    >>> commitment, shares = vss.deal(secret, owner=b"dealer", context=b"session")
    >>> vss.check(commitment, shares[0], owner=b"dealer", context=b"session", point=1)
    >>> int(vss.combine(commitment, shares[:3], owner=b"dealer", context=b"session"))
    1
    """

    SCHEME: ClassVar[int] = PEDERSEN

    def _commit(self, rows: Sequence[Scalars]) -> Points:
        pedersen = Pedersen.derive(1, self.group)
        return _times(pedersen.bases[0], rows[0]) + _times(pedersen.blinding, rows[1])


def _times(base: Point, scalars: Scalars) -> Points:
    """One multiple of the base for each scalar; constant time."""
    return base * scalars
