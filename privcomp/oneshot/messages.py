"""Messages of one-shot aggregation, in the order in which they travel ("row n" is a row of docs/oneshot.md).

Every message of a client or a member is signed with its long-term key, over a label of its own and the context ctx
(rows 0 and 5c state theirs). Lists of ids are ascending without repeats; a member is named by its place in the
committee's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final

from privcomp.codec import U16, U32, U64, Blob, Bool, Codec, Fixed, Message, Nested, Seq, Text, Tup
from privcomp.errors import ParameterError
from privcomp.keys import ID_MAX_BYTES, MLKEM_CIPHERTEXT_BYTES, MLKEM_PUBLIC_BYTES
from privcomp.oneshot.committee import MAX_MEMBERS, Committee

__all__ = [
    "MAX_ANNOUNCE",
    "MAX_CLIENTS",
    "MAX_MODEL",
    "STAGES",
    "Accept",
    "Announce",
    "Answer",
    "BoxKey",
    "BoxKeyRequest",
    "Certificate",
    "Close",
    "CloseCertificate",
    "CloseRequest",
    "Propose",
    "SharedKey",
    "Shares",
    "UploadBlock",
    "UploadEnd",
    "UploadRequest",
    "Vote",
]

STAGES: Final = ("boxkeys", "upload", "accept", "vote", "answer")
MAX_CLIENTS: Final = 1 << 20
MAX_ANNOUNCE: Final = 1 << 22
MAX_MODEL: Final = (1 << 32) - 1
_MAX_PARAMS: Final = 1 << 17
_MAX_SHARE: Final = 1 << 15  # N + 16 for a single key-holder, 2 (L + 10) + 16 bytes otherwise
_MAX_TEST: Final = 20 * MAX_MEMBERS

_ID = Blob(ID_MAX_BYTES)
_HASH = Fixed(32)
_SIGNATURE = Fixed(64)
_SEATS = Seq(Tup(U16, _SIGNATURE), MAX_MEMBERS, increasing=True)
_LISTED = Seq(Tup(_ID, _HASH), MAX_CLIENTS, increasing=True)


@dataclass(frozen=True)
class BoxKeyRequest(Message):
    """Before row 0, server to member: a round is coming, with this committee.

    The server signs it: a member keeps the box keys of a few rounds only, and who could ask for many in anybody's name
    would make it give up that of the running one.
    """

    TAG: ClassVar[int] = 0x0910
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("roster_hash", _HASH),
        ("session", _HASH),
        ("round", U64),
        ("committee_hash", _HASH),
        ("hybrid", Bool),
        ("server", _HASH),
        ("signature", _SIGNATURE),
    )
    roster_hash: bytes
    session: bytes
    round: int
    committee_hash: bytes
    hybrid: bool
    server: bytes
    signature: bytes


@dataclass(frozen=True)
class BoxKey(Message):
    """Row 0, member to all: the public key for the boxes of one (session, round); there is no ctx yet.

    Attributes:
        key: X25519 public key.
        kem: ML-KEM-768 public key, or empty.
    """

    TAG: ClassVar[int] = 0x0911
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("roster_hash", _HASH),
        ("session", _HASH),
        ("round", U64),
        ("id", _ID),
        ("key", _HASH),
        ("kem", Blob(MLKEM_PUBLIC_BYTES)),
        ("signature", _SIGNATURE),
    )
    roster_hash: bytes
    session: bytes
    round: int
    id: bytes
    key: bytes
    kem: bytes
    signature: bytes


@dataclass(frozen=True)
class Seat(Message):
    """A member's box key in an announcement; all fields empty for one that sent none (it gets no boxes)."""

    TAG: ClassVar[int] = 0x0912
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("key", Blob(32)),
        ("kem", Blob(MLKEM_PUBLIC_BYTES)),
        ("signature", Blob(64)),
    )
    key: bytes
    kem: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if (len(self.key), len(self.signature)) not in ((0, 0), (32, 64)) or (self.kem and not self.key):
            raise ParameterError("a seat has a key and a signature, or neither")

    @property
    def is_empty(self) -> bool:
        """Whether the member sent no key."""
        return not self.key


@dataclass(frozen=True)
class CloseCertificate(Message):
    """K signatures of a committee's members: no set can be certified any more on this model.

    Attributes:
        model_hash: the model that is closed.
        committee: whose members signed.
        signatures: (place, signature) each, by increasing place.
    """

    TAG: ClassVar[int] = 0x0913
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("model_hash", _HASH),
        ("committee", Nested(Committee)),
        ("signatures", _SEATS),
    )
    EXPANSION: ClassVar[int] = 4
    model_hash: bytes
    committee: Committee
    signatures: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Announce(Message):
    """Row 1, server to all: everything that ctx covers, the row-0 signatures, close certificates if there are any.

    The fields of the round digest come as they are, never as a digest: every party hashes them itself.
    """

    TAG: ClassVar[int] = 0x0914
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("params", Blob(_MAX_PARAMS)),
        ("session", _HASH),
        ("round", U64),
        ("purpose", Text(64)),
        ("model_hash", _HASH),
        ("roster_hash", _HASH),
        ("ledger_head", _HASH),
        ("server", _HASH),
        ("seats", Seq(Nested(Seat), MAX_MEMBERS)),
        ("closes", Seq(Nested(CloseCertificate), 16)),
        ("signature", _SIGNATURE),
    )
    EXPANSION: ClassVar[int] = 8
    params: bytes
    session: bytes
    round: int
    purpose: str
    model_hash: bytes
    roster_hash: bytes
    ledger_head: bytes
    server: bytes
    seats: tuple[Seat, ...]
    closes: tuple[CloseCertificate, ...]
    signature: bytes


@dataclass(frozen=True)
class UploadRequest(Message):
    """Row 1 as a client gets it: the announcement and the model bytes. Its only message from the server."""

    TAG: ClassVar[int] = 0x0915
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("announce", Blob(MAX_ANNOUNCE)),
        ("model", Blob(MAX_MODEL)),
    )
    announce: bytes
    model: bytes


@dataclass(frozen=True)
class UploadBlock(Message):
    """Row 2, a part of the ciphertext: whole polynomials, but for the last block."""

    TAG: ClassVar[int] = 0x0916
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ctx", _HASH),
        ("id", _ID),
        ("index", U32),
        ("payload", Blob(1 << 28)),
    )
    ctx: bytes
    id: bytes
    index: int
    payload: bytes


@dataclass(frozen=True)
class UploadEnd(Message):
    """Row 2, its last message: the key part and the signature.

    Attributes:
        key: ephemeral X25519 public key E_i.
        ciphertext_hash: over the hashes of the blocks.
        leaves: one per member (32 bytes each, concatenated), or empty where shares are not tested.
        test: u at x = 1 .. T, or empty.
        boxes: one per member in order, empty for an empty seat.
        kems: ML-KEM ciphertexts, one per member in order (empty for an empty seat), or none without hybrid boxes.
        signature: over ctx and (id, key, ciphertext_hash, Merkle root over the leaves, test).
    """

    TAG: ClassVar[int] = 0x0917
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ctx", _HASH),
        ("id", _ID),
        ("key", _HASH),
        ("ciphertext_hash", _HASH),
        ("leaves", Blob(32 * MAX_MEMBERS)),
        ("test", Blob(_MAX_TEST)),
        ("boxes", Seq(Blob(_MAX_SHARE), MAX_MEMBERS)),
        ("kems", Seq(Blob(MLKEM_CIPHERTEXT_BYTES), MAX_MEMBERS)),
        ("signature", _SIGNATURE),
    )
    EXPANSION: ClassVar[int] = 4
    ctx: bytes
    id: bytes
    key: bytes
    ciphertext_hash: bytes
    leaves: bytes
    test: bytes
    boxes: tuple[bytes, ...]
    kems: tuple[bytes, ...]
    signature: bytes


@dataclass(frozen=True)
class SharedKey(Message):
    """One client's entry in row 3: what one member needs of its upload."""

    TAG: ClassVar[int] = 0x0918
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("id", _ID),
        ("key", _HASH),
        ("ciphertext_hash", _HASH),
        ("test", Blob(_MAX_TEST)),
        ("path", Seq(_HASH, 16)),
        ("box", Blob(_MAX_SHARE)),
        ("kem", Blob(MLKEM_CIPHERTEXT_BYTES)),
        ("signature", _SIGNATURE),
    )
    id: bytes
    key: bytes
    ciphertext_hash: bytes
    test: bytes
    path: tuple[bytes, ...]
    box: bytes
    kem: bytes
    signature: bytes


@dataclass(frozen=True)
class Shares(Message):
    """Row 3, server to one member: the announcement, and an entry for each client by increasing id.

    The server signs it, so that damage on the way costs nobody's share: a member remembers what it was given.
    """

    TAG: ClassVar[int] = 0x0919
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("announce", Blob(MAX_ANNOUNCE)),
        ("entries", Seq(Nested(SharedKey), MAX_CLIENTS)),
        ("signature", _SIGNATURE),
    )
    EXPANSION: ClassVar[int] = 8
    announce: bytes
    entries: tuple[SharedKey, ...]
    signature: bytes

    def __post_init__(self) -> None:
        ids = [entry.id for entry in self.entries]
        if any(a >= b for a, b in pairwise(ids)):
            raise ParameterError("the clients of a delivery are not by increasing id, or one comes twice")


@dataclass(frozen=True)
class Accept(Message):
    """Row 4, member to server: whose box opens, whose share passes the test, whose signature verifies.

    Attributes:
        given: hash over what the member was given.
        accepted: bitmap over the delivered entries (bit k of byte k // 8).
    """

    TAG: ClassVar[int] = 0x091A
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ctx", _HASH),
        ("id", _ID),
        ("given", _HASH),
        ("accepted", Blob(MAX_CLIENTS // 8)),
        ("signature", _SIGNATURE),
    )
    ctx: bytes
    id: bytes
    given: bytes
    accepted: bytes
    signature: bytes


@dataclass(frozen=True)
class Propose(Message):
    """Row 5a, server to members: U with the upload digest of each, signed by the server."""

    TAG: ClassVar[int] = 0x091B
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ctx", _HASH),
        ("survivors", _LISTED),
        ("signature", _SIGNATURE),
    )
    EXPANSION: ClassVar[int] = 8
    ctx: bytes
    survivors: tuple[tuple[bytes, bytes], ...]
    signature: bytes


@dataclass(frozen=True)
class Vote(Message):
    """Row 5b, member to server: the one set that this member will ever sign for this round, model and committee."""

    TAG: ClassVar[int] = 0x091C
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ctx", _HASH),
        ("id", _ID),
        ("set_hash", _HASH),
        ("signature", _SIGNATURE),
    )
    ctx: bytes
    id: bytes
    set_hash: bytes
    signature: bytes


@dataclass(frozen=True)
class CloseRequest(Message):
    """Before row 5c, server to member: the announcement of the first round on the model that is to be given up."""

    TAG: ClassVar[int] = 0x091D
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("announce", Blob(MAX_ANNOUNCE)),)
    announce: bytes


@dataclass(frozen=True)
class Close(Message):
    """Row 5c, member to server, shown to clients: this member will never vote for a set on this model and committee."""

    TAG: ClassVar[int] = 0x091E
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("id", _ID),
        ("model_hash", _HASH),
        ("committee_hash", _HASH),
        ("signature", _SIGNATURE),
    )
    id: bytes
    model_hash: bytes
    committee_hash: bytes
    signature: bytes


@dataclass(frozen=True)
class Certificate(Message):
    """Row 6a, server to members: Q votes on one set."""

    TAG: ClassVar[int] = 0x091F
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ctx", _HASH),
        ("survivors", _LISTED),
        ("votes", _SEATS),
    )
    EXPANSION: ClassVar[int] = 8
    ctx: bytes
    survivors: tuple[tuple[bytes, bytes], ...]
    votes: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Answer(Message):
    """Row 6b, member to server: the sum of its rows over U, u16 little endian; mask rows never."""

    TAG: ClassVar[int] = 0x0920
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ctx", _HASH),
        ("id", _ID),
        ("set_hash", _HASH),
        ("sum", Blob(1 << 16)),
        ("signature", _SIGNATURE),
    )
    ctx: bytes
    id: bytes
    set_hash: bytes
    sum: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"Answer(id={self.id!r}, <sum of {len(self.sum)} bytes>)"
