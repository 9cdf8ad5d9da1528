"""Who holds the shares of the keys: committees, the conditions that they must meet, their sizes, and how they are
drawn.

c members, of whom any t_p say nothing; rho secrets lie in one polynomial, so that T = t_p + rho shares reconstruct, and
with packing already t_p + 1 answers on a second survivor set leak. Hence the quorum: Q members sign one set first.

* (S) a sampled committee: P[HG(n, floor(gamma n), c) > t_p] <= 2^-40. T plays no part in it.
* (Q) Q = max(floor((c + t_p) / 2) + 1, T + 1): 2Q > c + t_p, so that of two certified sets an honest member would have
  signed both.
* (L) P[Bin(c, 1 - delta) < max(T + 1, Q)] <= 2^-30: enough members come back. Silent corrupt members are not counted:
  they can stop a round, never open it.

All probabilities are computed in exact integers, so that every machine comes to the same answer.

Source: Karthikeyan and Polychroniadou, "OPA: One-shot Private Aggregation with Single Client Interaction and its
Applications to Federated Learning", eprint 2024/1917; Franklin and Yung, STOC 1992 (packed sharing).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import shake_256
from math import comb, gcd
from typing import Any, ClassVar, Final, Self

from privcomp.codec import U16, Blob, Codec, Fixed, Message, Seq, Text, Tup, digest
from privcomp.errors import ParameterError
from privcomp.keys import ID_MAX_BYTES, Roster, check_id

__all__ = [
    "MAX_MEMBERS",
    "NAMED",
    "SAMPLED",
    "SINGLE",
    "Committee",
    "Size",
    "completes",
    "quorum",
    "sampling_is_safe",
    "size_committee",
]

NAMED: Final = "named"
SAMPLED: Final = "sampled"
SINGLE: Final = "single"
#: Shares are values at x = 1 .. c, secrets at p - 1 .. p - rho; 512 is far from where they could meet, and bounds work.
MAX_MEMBERS: Final = 512
#: log2 of the failure probabilities: a sampled committee with too many corrupt members; one with too few left.
SECRECY_BITS: Final = 40
COMPLETION_BITS: Final = 30
_PPM: Final = 1_000_000
_MASK_ROWS: Final = 10


def quorum(members: int, privacy: int, packing: int) -> int:
    """Q of condition (Q): votes that make a certificate.

    >>> quorum(10, 3, 4), quorum(48, 17, 15)
    (8, 33)
    """
    return max((members + privacy) // 2 + 1, privacy + packing + 1)


def _exact(*numbers: int) -> None:
    """NumPy's integers wrap without a word, and the verdict with them."""
    for number in numbers:
        if type(number) is not int:
            raise ParameterError(f"committee: {number!r} is a {type(number).__name__}; an int is needed")


@lru_cache(maxsize=1024, typed=True)
def sampling_is_safe(clients: int, gamma_ppm: int, members: int, privacy: int) -> bool:
    """Condition (S): c members drawn from n clients, floor(gamma n) of them corrupt, hold more than t_p corrupt ones
    with probability at most 2^-40.

    Raises:
        ParameterError: something else than ints, with which it would not be exact.

    >>> sampling_is_safe(1_000, 50_000, 48, 17), sampling_is_safe(1_000, 50_000, 48, 16)
    (True, False)
    """
    _exact(clients, gamma_ppm, members, privacy)
    if not 0 < members <= clients:
        return False
    corrupt, k, bad = gamma_ppm * clients // _PPM, privacy + 1, 0
    if k > min(corrupt, members):
        return True
    honest = clients - corrupt
    term = comb(corrupt, k) * comb(honest, members - k)
    while k <= min(corrupt, members):
        bad += term
        # C(G, k) C(n - G, c - k) -> the same at k + 1; the product is a multiple of the divisor.
        left = honest - members + k + 1
        if left > 0:
            term = term * (corrupt - k) * (members - k) // ((k + 1) * left)
        else:  # more honest members than there are honest clients: the term before was 0
            term = comb(corrupt, k + 1) * comb(honest, members - k - 1)
        k += 1
    return bool(bad << SECRECY_BITS <= comb(clients, members))


@lru_cache(maxsize=1024, typed=True)
def completes(members: int, needed: int, delta_ppm: int) -> bool:
    """Condition (L): of c members, each absent with probability delta, fewer than `needed` come with probability at
    most 2^-30.

    Raises:
        ParameterError: something else than ints, with which it would not be exact.

    >>> completes(48, 33, 50_000), completes(10, 8, 50_000)
    (True, False)
    """
    _exact(members, needed, delta_ppm)
    return needed <= _alive(members, delta_ppm)


@dataclass(frozen=True)
class Size:
    """The numbers of a committee.

    Attributes:
        members: c.
        privacy: t_p.
        packing: rho.
        reconstruct: T = t_p + rho.
        quorum: Q.
        upload_bytes: the key part of one client's upload (see `upload_bytes`).
    """

    members: int
    privacy: int
    packing: int
    upload_bytes: int

    @property
    def reconstruct(self) -> int:
        return self.privacy + self.packing

    @property
    def quorum(self) -> int:
        return quorum(self.members, self.privacy, self.packing)


def upload_bytes(members: int, privacy: int, packing: int, degree: int, *, malicious: bool = True) -> int:
    """Bytes of the key part of an upload without framing: boxes, ephemeral key, and against a malicious server the
    leaves, the test polynomial, the signature and the ciphertext's hash.

    >>> upload_bytes(10, 3, 4, 4096)
    15320
    """
    rows = -(-degree // packing) + (_MASK_ROWS if malicious else 0)
    public = 32 + (2 * _MASK_ROWS * (privacy + packing) + 64 + 32 + 32 * members if malicious else 0)
    return (members - privacy) * (2 * rows + 16) + privacy * 48 + public


@lru_cache(maxsize=256, typed=True)
def size_committee(
    clients: int,
    gamma_ppm: int,
    delta_ppm: int,
    *,
    degree: int = 4096,
    malicious: bool = True,
    least: str = "members",
    packing_min: int = 4,
    packing_max: int = 64,
    members_max: int = MAX_MEMBERS,
) -> Size:
    """The sampled committee that meets (S), (Q) and (L) for a roster.

    Args:
        clients: n, the size of the roster.
        gamma_ppm, delta_ppm: corrupt and vanishing fractions in millionths.
        degree: N of the ring.
        malicious: of the server; without a certificate Q is no condition.
        least: "members" (fewest members, then the largest packing) or "bytes" (fewest bytes up per client).
        packing_min, packing_max: bounds of rho.
        members_max: bound of c.

    Raises:
        ParameterError: no such committee exists; or numbers that are no ints.

    >>> size = size_committee(1_000, 50_000, 50_000)
    >>> size.members, size.privacy, size.packing, size.reconstruct, size.quorum
    (48, 17, 15, 32, 33)
    """
    _exact(clients, gamma_ppm, delta_ppm, degree, packing_min, packing_max, members_max)
    if least not in ("members", "bytes"):
        raise ParameterError(f"committee: least {least!r}: allowed are 'members' and 'bytes'")
    best: Size | None = None
    privacy = 1
    for members in range(4, min(members_max, clients) + 1):
        # t_p grows with c: the next search begins where the last one ended.
        while privacy < members and not sampling_is_safe(clients, gamma_ppm, members, privacy):
            privacy += 1
        here = _alive(members, delta_ppm)
        packing = min(packing_max, here - 1 - privacy)
        if packing < packing_min or (malicious and (members + privacy) // 2 + 1 > here):
            continue
        found = Size(members, privacy, packing, upload_bytes(members, privacy, packing, degree, malicious=malicious))
        if least == "members":
            return found
        if best is None or found.upload_bytes < best.upload_bytes:
            best = found
    if best is None:
        raise ParameterError(
            f"no committee of {clients} clients withstands gamma = {gamma_ppm / _PPM} and delta = {delta_ppm / _PPM}; "
            "ask for less, or name a committee"
        )
    return best


@lru_cache(maxsize=1024)
def _alive(members: int, delta_ppm: int) -> int:
    """The largest a with P[Bin(c, 1 - delta) < a] <= 2^-30."""
    if not delta_ppm:
        return members
    shared = gcd(_PPM, delta_ppm)
    gone, whole = delta_ppm // shared, _PPM // shared
    term = few = gone**members  # sum of C(c, a) here^a gone^(c - a) over whole^c
    for a in range(members):
        if few << COMPLETION_BITS > whole**members:
            return a
        term = term * (members - a) * (whole - gone) // ((a + 1) * gone)
        few += term
    return members


@dataclass(frozen=True)
class Committee(Message):
    """The members in order, and the numbers of their sharing. The first t_p in order get seeds instead of rows.

    Args:
        kind: "named" (organisations; t_p is an assumption), "sampled" (drawn from roster and beacon) or "single": one
            key-holder, who **could open every single update together with the server**.
        members: (id, Ed25519 key) each, in the committee's order.
        privacy: t_p, corrupt members to withstand.
        packing: rho, secrets in one polynomial.
        quorum: Q, exactly the value of condition (Q); 1 for a single key-holder.
        beacon: what a sampled committee was drawn with, 1..64 bytes; empty otherwise.

    Raises:
        ParameterError: a member, identity or number that breaks the conditions.
    """

    TAG: ClassVar[int] = 0x0900
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("kind", Text(16)),
        ("members", Seq(Tup(Blob(ID_MAX_BYTES), Fixed(32)), MAX_MEMBERS)),
        ("privacy", U16),
        ("packing", U16),
        ("quorum", U16),
        ("beacon", Blob(64)),
    )
    EXPANSION: ClassVar[int] = 4
    kind: str
    members: tuple[tuple[bytes, bytes], ...]
    privacy: int
    packing: int
    quorum: int
    beacon: bytes = b""

    def __post_init__(self) -> None:
        c = len(self.members)
        if self.kind not in (NAMED, SAMPLED, SINGLE):
            raise ParameterError(f"committee: kind {self.kind!r}: allowed are 'named', 'sampled' and 'single'")
        if bool(self.beacon) != (self.kind == SAMPLED):
            raise ParameterError("committee: a sampled committee, and no other, has a beacon")
        Roster(tuple(sorted(self.members)))  # every id and every identity key once, each of them sound
        if self.kind == SINGLE:
            if (c, self.privacy, self.packing, self.quorum) != (1, 0, 1, 1):
                raise ParameterError("committee: a single key-holder is c = 1, t_p = 0, rho = 1, Q = 1")
            return
        if c < 2:
            raise ParameterError("committee: one member alone is a single key-holder; use Committee.single()")
        if self.packing < 1 or self.privacy < 1:
            raise ParameterError("committee: needs t_p >= 1 and rho >= 1; with t_p = 0 every member reads every key")
        if self.quorum != quorum(c, self.privacy, self.packing):
            raise ParameterError(
                f"committee: Q = {self.quorum}; condition (Q) gives {quorum(c, self.privacy, self.packing)} for "
                f"c = {c}, t_p = {self.privacy}, rho = {self.packing}"
            )
        if self.needed > c:
            raise ParameterError(
                f"committee: {self.needed} members must answer, but it has {c}; lower t_p or rho, or name more members"
            )

    @classmethod
    def named(
        cls,
        members: Mapping[bytes, bytes] | Sequence[tuple[bytes, bytes]],
        privacy: int | None = None,
        packing: int | None = None,
    ) -> Self:
        """Organisations that are known to all parties; at most `privacy` of them are corrupt: an assumption.

        Args:
            members: (id, Ed25519 key) each, in order.
            privacy: t_p; None: a third, rounded down, less one where that is all of it: (c - 1) // 3, at least 1.
            packing: rho; None: the largest for which nobody beyond a quorum has to answer.

        >>> from privcomp.keys import Identity
        >>> Committee.named([(b"%d" % k, Identity.from_seed(bytes([k] * 32)).public) for k in range(10)], 3, 4).quorum
        8
        """
        listed = tuple(members.items()) if isinstance(members, Mapping) else tuple(members)
        if privacy is None:
            privacy = max(1, (len(listed) - 1) // 3)
        if packing is None:
            packing = max(1, (len(listed) + privacy) // 2 - privacy)
        return cls(NAMED, listed, privacy, packing, quorum(len(listed), privacy, packing))

    @classmethod
    def sampled(cls, roster: Roster, beacon: bytes, members: int, privacy: int, packing: int) -> Self:
        """The committee that everybody draws from roster and beacon (see `draw`)."""
        drawn = tuple((party, roster.public(party)) for party in draw(roster, beacon, members))
        return cls(SAMPLED, drawn, privacy, packing, quorum(members, privacy, packing), beacon)

    @classmethod
    def single(cls, party: bytes, public: bytes) -> Self:
        """One key-holder. It could open every single update if it works together with the server."""
        return cls(SINGLE, ((check_id(party), public),), 0, 1, 1)

    @property
    def could_open(self) -> str:
        """Who could open single updates, in words: for reports and logs."""
        if self.kind == SINGLE:
            return "the key-holder and the server together could open every single update"
        return f"{self.privacy + 1} members and the server together could open every single update"

    @property
    def is_single(self) -> bool:
        """Whether one party holds all keys."""
        return self.kind == SINGLE

    @property
    def size(self) -> int:
        """c."""
        return len(self.members)

    @property
    def reconstruct(self) -> int:
        """T = t_p + rho: shares that fix a polynomial."""
        return self.privacy + self.packing

    @property
    def needed(self) -> int:
        """Members that must vote and answer: max(T + 1, Q), so that one wrong answer shows; 1 for a single
        key-holder."""
        return 1 if self.is_single else max(self.reconstruct + 1, self.quorum)

    @property
    def release(self) -> int:
        """K = c + t_p - Q + 1 close signatures prove that no set of this committee can be certified any more."""
        return self.size + self.privacy - self.quorum + 1

    @cached_property
    def ids(self) -> tuple[bytes, ...]:
        """The members' ids in order."""
        return tuple(party for party, _ in self.members)

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 over ids and identity keys in order, c, t_p, rho, T and Q, 32 bytes: what a model is tied to."""
        numbers = (self.size, self.privacy, self.packing, self.reconstruct, self.quorum)
        return digest(
            "privcomp-oneshot-1/committee",
            *(part for member in self.members for part in member),
            *(number.to_bytes(4, "little") for number in numbers),
        )

    def place(self, party: bytes) -> int | None:
        """Index of a member in the order, or None."""
        ids = self.ids
        return ids.index(party) if party in ids else None


def draw(roster: Roster, beacon: bytes, members: int) -> tuple[bytes, ...]:
    """`members` different ids in a random order that follows from the roster and the beacon.

    The first steps of a Fisher-Yates shuffle of the ids; the coins are the little-endian 64-bit words of
    SHAKE-256(SHA-256(roster hash, beacon)), of which those are left out that would favour a place. A server that can
    try 2^g rosters or beacons takes g bits off condition (S): the beacon is named in every node's policy, one per
    roster.

    Raises:
        ParameterError: more members than clients, or an empty beacon.
    """
    n = len(roster)
    if not 1 <= members <= n or not beacon:
        raise ParameterError(f"committee: {members} members of a roster of {n}, beacon of {len(beacon)} bytes")
    seed = digest("privcomp-oneshot-1/draw", roster.hash, beacon)
    # A word is left out with probability below n / 2^64: 64 spare words are never used up.
    words = iter(struct.unpack(f"<{members + 64}Q", shake_256(seed).digest(8 * (members + 64))))
    moved: dict[int, int] = {}
    order = []
    for a in range(members):
        left = n - a
        limit = (1 << 64) - (1 << 64) % left
        word = next(w for w in words if w < limit)
        b = a + word % left
        order.append(moved.get(b, b))
        moved[b] = moved.get(a, a)
    ids = roster.ids
    return tuple(ids[place] for place in order)
