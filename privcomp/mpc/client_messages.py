"""What clients send to the servers, and what the servers tell each other about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from privcomp.codec import U8, U32, U64, Blob, Codec, Fixed, Message, Nested, Seq, Text, Tup
from privcomp.keys import ID_MAX_BYTES

__all__ = [
    "COMPONENTS_MAX",
    "ClientUpload",
    "CollectionMessage",
    "FinalList",
    "ForwardedShare",
    "ForwardedShares",
    "ReceivedClient",
    "ReceivedReport",
    "SignedHashes",
    "UploadedShare",
]

COMPONENTS_MAX: Final = 4
_CLIENTS_MAX: Final = 1 << 16
_BODY_MAX: Final = (1 << 32) - 1
_ID: Final = Blob(ID_MAX_BYTES)


@dataclass(frozen=True)
class CollectionMessage(Message):
    """Canonical bytes of a `Collection`."""

    TAG: ClassVar[int] = 0x0B20
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("protocol", Text(32)),
        ("servers", Seq(Tup(_ID, Fixed(32)), 255)),
        ("clients", Fixed(32)),
        ("width", U8),
        ("entries", U64),
        ("terms", Blob(1 << 16)),
        ("session", Fixed(32)),
        ("round", U64),
        ("purpose", Text(64)),
        ("model_hash", Fixed(32)),
    )
    protocol: str
    servers: tuple[tuple[bytes, bytes], ...]
    clients: bytes
    width: int
    entries: int
    terms: bytes
    session: bytes
    round: int
    purpose: str
    model_hash: bytes


@dataclass(frozen=True)
class SignedHashes(Message):
    """What a client says that its shares are.

    Args:
        hashes: h_j of every component, 32 bytes each.
        signature: of the client's roster key, 64 bytes.
    """

    TAG: ClassVar[int] = 0x0B21
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("hashes", Seq(Fixed(32), COMPONENTS_MAX)),
        ("signature", Fixed(64)),
    )
    hashes: tuple[bytes, ...]
    signature: bytes


@dataclass(frozen=True, repr=False)
class UploadedShare(Message):
    """One component with what opens its hash. Secret: redacted in `repr`.

    Args:
        component: its index.
        salt: 32 bytes.
        body: a seed of 32 bytes, or (the last component) the packed vector.
    """

    TAG: ClassVar[int] = 0x0B22
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("component", U8),
        ("salt", Fixed(32)),
        ("body", Blob(_BODY_MAX)),
    )
    component: int
    salt: bytes
    body: bytes

    def __repr__(self) -> str:
        return f"UploadedShare(component={self.component}, body=<{len(self.body)} hidden>)"


@dataclass(frozen=True)
class ClientUpload(Message):
    """Everything that one client sends to one server.

    Args:
        context: digest of the collection, 32 bytes.
        client: its id.
        server: index of the server that it is for.
        signed: the hashes of all components.
        shares: the components that this server holds, in the order in which it holds them.
    """

    TAG: ClassVar[int] = 0x0B23
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("context", Fixed(32)),
        ("client", _ID),
        ("server", U8),
        ("signed", Nested(SignedHashes)),
        ("shares", Seq(Nested(UploadedShare), COMPONENTS_MAX)),
    )
    context: bytes
    client: bytes
    server: int
    signed: SignedHashes
    shares: tuple[UploadedShare, ...]


@dataclass(frozen=True)
class ReceivedClient(Message):
    """What one server has of one client.

    Args:
        client: its id.
        lists: the signed hashes that it sent: one, or two where it sent two that differ.
        opened: bit j: this server has a share that opens h_j.
    """

    TAG: ClassVar[int] = 0x0B24
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("client", _ID),
        ("lists", Seq(Nested(SignedHashes), 2)),
        ("opened", U8),
    )
    client: bytes
    lists: tuple[SignedHashes, ...]
    opened: int


@dataclass(frozen=True)
class ReceivedReport(Message):
    """What one server has received, for the others to compare.

    Args:
        context: digest of the collection, 32 bytes.
        server: index of the sender.
        clients: in increasing order of the ids.
    """

    TAG: ClassVar[int] = 0x0B25
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("context", Fixed(32)),
        ("server", U8),
        ("clients", Seq(Nested(ReceivedClient), _CLIENTS_MAX)),
    )
    EXPANSION: ClassVar[int] = 8  # many small entries; their number is bounded by the roster before this is decoded
    context: bytes
    server: int
    clients: tuple[ReceivedClient, ...]


@dataclass(frozen=True)
class ForwardedShare(Message):
    """A share that another holder lacks.

    Args:
        client: place of the client in the list on which all reports agree.
        share: what opens the hash.
    """

    TAG: ClassVar[int] = 0x0B26
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("client", U32), ("share", Nested(UploadedShare)))
    client: int
    share: UploadedShare


@dataclass(frozen=True)
class ForwardedShares(Message):
    """All shares that one holder passes to another one.

    Args:
        context: digest of the collection, 32 bytes.
        server: index of the sender.
        shares: in increasing order of client and component.
    """

    TAG: ClassVar[int] = 0x0B27
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("context", Fixed(32)),
        ("server", U8),
        ("shares", Seq(Nested(ForwardedShare), COMPONENTS_MAX * _CLIENTS_MAX)),
    )
    EXPANSION: ClassVar[int] = 8
    context: bytes
    server: int
    shares: tuple[ForwardedShare, ...]


@dataclass(frozen=True)
class FinalList(Message):
    """A server's signature over the clients that are computed on.

    Args:
        server: index of the sender.
        digest: of the list, 32 bytes.
        signature: of the server's key, 64 bytes.
    """

    TAG: ClassVar[int] = 0x0B28
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("server", U8),
        ("digest", Fixed(32)),
        ("signature", Fixed(64)),
    )
    server: int
    digest: bytes
    signature: bytes
