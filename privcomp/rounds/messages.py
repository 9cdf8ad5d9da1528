"""The announcement of a round (the secure-aggregation announcement with the ledger headers that lead to its head), and
what the server keeps of an attested one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from privcomp.codec import U16, Blob, Codec, Fixed, Message, Nested, Seq, Text, Tup
from privcomp.errors import ParameterError
from privcomp.keys import ID_MAX_BYTES
from privcomp.ledger import Header
from privcomp.oneshot.committee import MAX_MEMBERS
from privcomp.oneshot.messages import MAX_ANNOUNCE

__all__ = [
    "CommitteeEvidence",
    "Evidence",
    "FrozenRound",
    "RoundAgain",
    "RoundAnnouncement",
    "RoundUpload",
    "SignedUpload",
]

_MAX_CLIENTS = 1 << 20
_MAX_UPLOAD_END = (1 << 26) + (1 << 20)


@dataclass(frozen=True)
class RoundAnnouncement(Message):
    """Stage 0, server to one client.

    Attributes:
        ledger_key: public key that signs the ledger.
        headers: all record headers since the head that this client last signed.
        announce: bytes of the secure-aggregation announcement; binds the ledger head.
    """

    TAG: ClassVar[int] = 0x40
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ledger_key", Fixed(32)),
        ("headers", Seq(Nested(Header), 1 << 20)),
        ("announce", Blob(1 << 17)),
    )
    EXPANSION: ClassVar[int] = 8
    ledger_key: bytes
    headers: tuple[Header, ...]
    announce: bytes


@dataclass(frozen=True)
class RoundUpload(Message):
    """One-shot rounds: all that a client gets.

    Attributes:
        ledger_key, headers: as in `RoundAnnouncement`.
        announce: bytes of the one-shot announcement; binds the ledger head.
        model: the model bytes.
    """

    TAG: ClassVar[int] = 0x4C
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ledger_key", Fixed(32)),
        ("headers", Seq(Nested(Header), 1 << 20)),
        ("announce", Blob(MAX_ANNOUNCE)),
        ("model", Blob((1 << 32) - 1)),
    )
    EXPANSION: ClassVar[int] = 8
    ledger_key: bytes
    headers: tuple[Header, ...]
    announce: bytes
    model: bytes


@dataclass(frozen=True)
class RoundAgain(Message):
    """One-shot rounds, to a member: its shares once more, then what is asked of it. Taken in order."""

    TAG: ClassVar[int] = 0x4D
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("messages", Seq(Blob((1 << 32) - 1), 4)),)
    EXPANSION: ClassVar[int] = 2
    messages: tuple[bytes, ...]


@dataclass(frozen=True)
class SignedUpload(Message):
    """One-shot rounds, in the record: what a client signed with its upload (`privcomp.oneshot.messages.UploadEnd`).

    Attributes:
        id: the client's.
        key: its ephemeral key.
        ciphertext_hash: over its ciphertext.
        root: over the leaves that bind the shares of its key; zero where shares are not tested.
        test: the public part of the shares' test.
    """

    TAG: ClassVar[int] = 0x4E
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("id", Blob(ID_MAX_BYTES)),
        ("key", Fixed(32)),
        ("ciphertext_hash", Fixed(32)),
        ("root", Fixed(32)),
        ("test", Blob(1 << 15)),
    )
    id: bytes
    key: bytes
    ciphertext_hash: bytes
    root: bytes
    test: bytes


@dataclass(frozen=True)
class CommitteeEvidence(Message):
    """One-shot rounds, in the record: the announcement, and (place, signature) of the members' votes."""

    TAG: ClassVar[int] = 0x4F
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("announce", Blob(MAX_ANNOUNCE)),
        ("votes", Seq(Tup(U16, Fixed(64)), MAX_MEMBERS, increasing=True)),
    )
    EXPANSION: ClassVar[int] = 4
    announce: bytes
    votes: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Evidence(Message):
    """What an attested round leaves, for whoever audits it.

    Attributes:
        attestations: (id, attestation) of the survivors, by increasing id.
        refused: (id, reason, message) of the clients whose attestation was refused, by increasing id; the message is
            the last one of the upload, signed, with the attestation in it.
        blindings: the sum of the survivors' blindings, 32 bytes a row; empty where no sum was published.
    """

    TAG: ClassVar[int] = 0x48
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("attestations", Seq(Tup(Blob(ID_MAX_BYTES), Blob(1 << 26)), _MAX_CLIENTS, increasing=True)),
        ("refused", Seq(Tup(Blob(ID_MAX_BYTES), Text(1 << 12), Blob(_MAX_UPLOAD_END)), _MAX_CLIENTS, increasing=True)),
        ("blindings", Blob(1 << 26)),
    )
    EXPANSION: ClassVar[int] = 4
    attestations: tuple[tuple[bytes, bytes], ...]
    refused: tuple[tuple[bytes, str, bytes], ...]
    blindings: bytes

    def __post_init__(self) -> None:
        ids = [entry[0] for entry in (*self.attestations, *self.refused)]
        if len(set(ids)) != len(ids):
            raise ParameterError("an id comes twice in the evidence of a round")


@dataclass(frozen=True)
class FrozenRound(Message):
    """An attested round across a restart of its server: the aggregation's state, the evidence so far, its SHA-256."""

    TAG: ClassVar[int] = 0x49
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("secagg", Blob((1 << 32) - 1)),
        ("evidence", Blob((1 << 32) - 1)),
        ("digest", Fixed(32)),
    )
    secagg: bytes
    evidence: bytes
    digest: bytes
