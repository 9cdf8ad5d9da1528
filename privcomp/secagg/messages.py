"""Messages of the secure-aggregation protocols, in the order in which they travel.

Every client message is signed with the client's long-term key. The signature of stage 0 covers the round digest;
those of later stages cover round digest, key-list hash, stage and id. A set of clients is a bitmap over the key list
(bit p of byte p // 8, little endian), so that it has one encoding only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privcomp.codec import U8, U16, U32, U64, Blob, Codec, Fixed, Message, Nested, Seq, Text
from privcomp.secagg.leaves import MAX_ID

__all__ = [
    "MAX_CLIENTS",
    "MAX_ID",
    "MAX_MODEL",
    "STAGES",
    "Advertise",
    "Announce",
    "Bundle",
    "BundleMessage",
    "ConsistencyRequest",
    "ConsistencySignature",
    "KeyList",
    "MaskRequest",
    "PairSecret",
    "Places",
    "QuorumSignature",
    "ReleasedShare",
    "SharePair",
    "UnmaskRequest",
    "UnmaskResponse",
    "UploadBlock",
    "UploadEnd",
    "bitmap",
    "members",
]

MAX_CLIENTS = 1 << 20
MAX_LEAVES = 1 + MAX_CLIENTS * (MAX_ID + 33)
MAX_MODEL = 1 << 32
SHARE_BYTES = 40
KEM_PUBLIC = 1184
KEM_CIPHERTEXT = 1088
STAGES = ("advertise", "share", "mask", "consistency", "unmask")

_ID = Blob(MAX_ID)
_BITMAP = Blob(MAX_CLIENTS // 8)
_HASH = Fixed(32)
_SIGNATURE = Fixed(64)


class Places(Set[int]):
    """A set of places of a key list, as its bitmap: what a client holds of U2 and U costs n / 8 bytes and no object
    each.

    >>> Places(bytes.fromhex("0102")) == {0, 9}, 9 in Places(bytes.fromhex("0102"))
    (True, True)
    """

    __slots__ = ("_bits", "_value")

    def __init__(self, bits: bytes) -> None:
        self._bits = bits
        self._value = int.from_bytes(bits, "little")

    @classmethod
    def _from_iterable(cls, it: Iterable[int]) -> frozenset[int]:  # type: ignore[override]
        return frozenset(it)

    def __contains__(self, place: object) -> bool:
        return (
            isinstance(place, int)
            and 0 <= place < 8 * len(self._bits)
            and bool(self._bits[place >> 3] >> (place & 7) & 1)
        )

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self.flags(8 * len(self._bits))).tolist())

    def __len__(self) -> int:
        return self._value.bit_count()

    def __le__(self, other: Set[Any]) -> bool:
        return not self._value & ~other._value if isinstance(other, Places) else super().__le__(other)

    def flags(self, n: int) -> NDArray[np.uint8]:
        """u8 (n,): 1 where a place below n is in the set."""
        return np.unpackbits(np.frombuffer(self._bits, dtype=np.uint8), count=n, bitorder="little")


def bitmap(positions: Iterable[int], n: int) -> bytes:
    """The bitmap of ceil(n / 8) bytes of a set of key-list positions below n.

    >>> bitmap({0, 9}, 10).hex()
    '0102'
    """
    bits = bytearray((n + 7) // 8)
    for position in positions:
        bits[position >> 3] |= 1 << (position & 7)
    return bytes(bits)


def members(bits: bytes, n: int) -> Places | None:
    """The positions in a bitmap, or None where it is not the canonical bitmap of a set of positions below n."""
    if len(bits) != (n + 7) // 8 or (n % 8 and bits[-1] >> n % 8):
        return None
    return Places(bits)


@dataclass(frozen=True)
class Announce(Message):
    """Stage 0, server to all: everything that the round digest covers."""

    TAG: ClassVar[int] = 0x20
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("params", Blob(1 << 16)),
        ("session", _HASH),
        ("round", U64),
        ("purpose", Text(64)),
        ("model_hash", _HASH),
        ("roster_hash", _HASH),
        ("ledger_head", _HASH),
    )
    params: bytes
    session: bytes
    round: int
    purpose: str
    model_hash: bytes
    roster_hash: bytes
    ledger_head: bytes


@dataclass(frozen=True)
class Advertise(Message):
    """Stage 0, client to server: fresh public keys and the hashes that pin the two shared secrets."""

    TAG: ClassVar[int] = 0x21
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("id", _ID),
        ("identity", _HASH),
        ("channel_key", _HASH),
        ("mask_key", _HASH),
        ("channel_kem", Blob(KEM_PUBLIC)),
        ("mask_kem", Blob(KEM_PUBLIC)),
        ("b_hash", _HASH),
        ("root_hash", _HASH),
        ("signature", _SIGNATURE),
    )
    round_digest: bytes
    id: bytes
    identity: bytes
    channel_key: bytes
    mask_key: bytes
    channel_kem: bytes
    mask_kem: bytes
    b_hash: bytes
    root_hash: bytes
    signature: bytes


@dataclass(frozen=True)
class KeyList(Message):
    """Stage 1, server to client: the stage-0 messages of U1, verbatim, ascending by id.

    In a sparse graph `leaves` is the whole list as ids and SHA-256 hashes of the signed stage-0 messages, packed (see
    `leaves.Leaves`), and `entries` are the client's own message and its neighbours'; on the complete graph `leaves` is
    empty and `entries` is the whole list.
    """

    TAG: ClassVar[int] = 0x23
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("leaves", Blob(MAX_LEAVES)),
        ("entries", Seq(Blob(1 << 13), MAX_CLIENTS)),
    )
    round_digest: bytes
    leaves: bytes
    entries: tuple[bytes, ...]


@dataclass(frozen=True)
class SharePair(Message):
    """What one neighbour receives under AEAD: a share of b, a share of the mask root, one owner's signature over both.

    The signature covers SHA-256 leaves of the two shares, so that one of them can be shown without the other.
    """

    TAG: ClassVar[int] = 0x24
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("b", Fixed(SHARE_BYTES)),
        ("root", Fixed(SHARE_BYTES)),
        ("signature", _SIGNATURE),
    )
    b: bytes
    root: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "SharePair(<redacted>)"


@dataclass(frozen=True)
class PairSecret(Message):
    """Hybrid mode: r_ij, encapsulated by the lower id to the higher id's mask KEM key, and its hash, signed."""

    TAG: ClassVar[int] = 0x25
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ciphertext", Fixed(KEM_CIPHERTEXT)),
        ("sealed", Blob(128)),
        ("hash", _HASH),
        ("signature", _SIGNATURE),
    )
    ciphertext: bytes
    sealed: bytes
    hash: bytes
    signature: bytes


@dataclass(frozen=True)
class Bundle(Message):
    """One neighbour's part of a stage-1 message: sealed shares, channel KEM ciphertext (hybrid), r_ij (hybrid, 0 or
    1)."""

    TAG: ClassVar[int] = 0x26
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("peer", U32),
        ("sealed", Blob(512)),
        ("ciphertext", Blob(KEM_CIPHERTEXT)),
        ("pair", Seq(Nested(PairSecret), 1)),
    )
    peer: int
    sealed: bytes
    ciphertext: bytes
    pair: tuple[PairSecret, ...]


@dataclass(frozen=True)
class BundleMessage(Message):
    """Stage 1, client to server: one bundle per neighbour, `peer` = the recipient's place in the key list,
    ascending."""

    TAG: ClassVar[int] = 0x27
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("id", _ID),
        ("list_hash", _HASH),
        ("bundles", Seq(Nested(Bundle), MAX_CLIENTS)),
        ("signature", _SIGNATURE),
    )
    round_digest: bytes
    id: bytes
    list_hash: bytes
    bundles: tuple[Bundle, ...]
    signature: bytes


@dataclass(frozen=True)
class MaskRequest(Message):
    """Stage 2, server to client: U2, the bundles for this client (`peer` = owner, ascending), the model bytes."""

    TAG: ClassVar[int] = 0x29
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("u2", _BITMAP),
        ("bundles", Seq(Nested(Bundle), MAX_CLIENTS)),
        ("model", Blob(MAX_MODEL - 1)),
    )
    round_digest: bytes
    u2: bytes
    bundles: tuple[Bundle, ...]
    model: bytes


@dataclass(frozen=True)
class UploadBlock(Message):
    """Stage 2, client to server: one block of one segment of the masked input, packed."""

    TAG: ClassVar[int] = 0x2A
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("id", _ID),
        ("segment", U16),
        ("index", U32),
        ("payload", Blob(1 << 28)),
    )
    round_digest: bytes
    id: bytes
    segment: int
    index: int
    payload: bytes


@dataclass(frozen=True)
class UploadEnd(Message):
    """Stage 2, client to server: closes an upload; the signature covers the root of all blocks and everything here."""

    TAG: ClassVar[int] = 0x2B
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("id", _ID),
        ("list_hash", _HASH),
        ("u2_digest", _HASH),
        ("peers", _BITMAP),
        ("root", _HASH),
        ("attachment", Blob(1 << 26)),
        ("signature", _SIGNATURE),
    )
    round_digest: bytes
    id: bytes
    list_hash: bytes
    u2_digest: bytes
    peers: bytes
    root: bytes
    attachment: bytes
    signature: bytes


@dataclass(frozen=True)
class ConsistencyRequest(Message):
    """Stage 3, server to client: the survivors U."""

    TAG: ClassVar[int] = 0x2C
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("round_digest", _HASH), ("u", _BITMAP))
    round_digest: bytes
    u: bytes


@dataclass(frozen=True)
class ConsistencySignature(Message):
    """Stage 3, client to server: signature over (U2, U)."""

    TAG: ClassVar[int] = 0x2D
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("id", _ID),
        ("signature", _SIGNATURE),
    )
    round_digest: bytes
    id: bytes
    signature: bytes


@dataclass(frozen=True)
class QuorumSignature(Message):
    """A consistency signature as the quorum shows it: signer's place and signature."""

    TAG: ClassVar[int] = 0x2E
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("signer", U32), ("signature", _SIGNATURE))
    signer: int
    signature: bytes


@dataclass(frozen=True)
class UnmaskRequest(Message):
    """Stage 4, server to client: U and, against a malicious server, the quorum's signatures (ascending by signer)."""

    TAG: ClassVar[int] = 0x2F
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("u", _BITMAP),
        ("quorum", Seq(Nested(QuorumSignature), MAX_CLIENTS)),
    )
    round_digest: bytes
    u: bytes
    quorum: tuple[QuorumSignature, ...]


@dataclass(frozen=True)
class ReleasedShare(Message):
    """One share of one owner: kind 0 = of b, 1 = of the mask root; with what verifies the owner's signature."""

    TAG: ClassVar[int] = 0x30
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("owner", U32),
        ("kind", U8),
        ("share", Fixed(SHARE_BYTES)),
        ("other_leaf", _HASH),
        ("signature", _SIGNATURE),
    )
    owner: int
    kind: int
    share: bytes
    other_leaf: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"ReleasedShare(owner={self.owner}, kind={self.kind}, <redacted>)"


@dataclass(frozen=True)
class UnmaskResponse(Message):
    """Stage 4, client to server: one share per neighbour in U2, ascending by owner."""

    TAG: ClassVar[int] = 0x31
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("round_digest", _HASH),
        ("id", _ID),
        ("list_hash", _HASH),
        ("u_digest", _HASH),
        ("shares", Seq(Nested(ReleasedShare), MAX_CLIENTS)),
        ("signature", _SIGNATURE),
    )
    round_digest: bytes
    id: bytes
    list_hash: bytes
    u_digest: bytes
    shares: tuple[ReleasedShare, ...]
    signature: bytes
