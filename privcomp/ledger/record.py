"""What one round leaves behind, and the signed header that chains it to the rounds before.

A record holds what the round was (digest, parameters, roster), who took part (the sets U1, U2 and U, the signed
advertisements, the quorum's signatures) and what came out. Its header holds the record's hash; a header's own hash,
signature included, is the *head* that the next record and every client refer to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from privcomp.codec import U64, Blob, Codec, Fixed, Message, Opt, Seq, Text, Tup, digest
from privcomp.errors import ParameterError
from privcomp.keys import ID_MAX_BYTES, Identity, check_id, verify

__all__ = [
    "ABORTED",
    "COMPLETE",
    "HEADER_BYTES",
    "MAX_INLINE_BYTES",
    "MAX_PARAMS_BYTES",
    "MAX_RECORD_BYTES",
    "Header",
    "Record",
    "genesis",
]

COMPLETE: Final = "complete"
ABORTED: Final = "aborted"
MAX_RECORD_BYTES: Final = 1 << 26
MAX_INLINE_BYTES: Final = 1 << 24
MAX_PARAMS_BYTES: Final = 1 << 16
_MAX_CLIENTS: Final = 1 << 20

_Ids = tuple[bytes, ...]
_IDS: Final[Codec[_Ids]] = Seq(Blob(ID_MAX_BYTES), _MAX_CLIENTS, increasing=True)


def genesis(ledger_key: bytes) -> bytes:
    """The head (32 bytes) of an empty ledger of the server with this public key."""
    return digest("privcomp/ledger/genesis", ledger_key)


@dataclass(frozen=True)
class Record(Message):
    """One round, as it is written into the ledger.

    Args:
        index: number of the record, from 0.
        previous: head of the ledger before this record, 32 bytes.
        announced_head: head that the round's announcement carried and its digest binds; older than `previous` where a
            stalled round was finished later.
        session: session identifier, at most 64 bytes.
        round: round number.
        purpose: what the sum was for.
        protocol: name and version of the protocol.
        params: canonical bytes of the parameters.
        round_digest: 32 bytes that every context of the round binds.
        model_hash: 32 bytes, hash of the model that the updates refer to.
        roster_hash: 32 bytes.
        key_list_hash: 32 bytes, hash of the advertisements as the clients saw them.
        u1: ids that advertised, increasing.
        u2: ids that shared, increasing.
        survivors: ids whose input is in the sum, increasing.
        advertisements: (id, message, signature) as they came, by increasing id.
        quorum: (id, signature) over the survivor set, by increasing id; empty in semi-honest mode.
        outcome: "complete" or "aborted".
        reason: why the round was aborted; empty if complete.
        aggregate_digest: SHA-256 of the published bytes; None if aborted.
        aggregate: the published bytes; None if they lie in a file.
        artefact: name of the file beside the ledger that holds them; None if they are inline.
        extras: (name, bytes) by increasing name: attestations, privacy spent, ...

    Raises:
        ParameterError: outcome, reason and aggregate contradict each other, or a file name or id is malformed.
    """

    TAG: ClassVar[int] = 0x0700
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("index", U64),
        ("previous", Fixed(32)),
        ("announced_head", Fixed(32)),
        ("session", Blob(64)),
        ("round", U64),
        ("purpose", Text(64)),
        ("protocol", Text(64)),
        ("params", Blob(MAX_PARAMS_BYTES)),
        ("round_digest", Fixed(32)),
        ("model_hash", Fixed(32)),
        ("roster_hash", Fixed(32)),
        ("key_list_hash", Fixed(32)),
        ("u1", _IDS),
        ("u2", _IDS),
        ("survivors", _IDS),
        ("advertisements", Seq(Tup(Blob(ID_MAX_BYTES), Blob(1 << 16), Fixed(64)), _MAX_CLIENTS, increasing=True)),
        ("quorum", Seq(Tup(Blob(ID_MAX_BYTES), Fixed(64)), _MAX_CLIENTS, increasing=True)),
        ("outcome", Text(16)),
        ("reason", Text(4096)),
        ("aggregate_digest", Opt(Fixed(32))),
        ("aggregate", Opt(Blob(MAX_INLINE_BYTES))),
        ("artefact", Opt(Text(255))),
        ("extras", Seq(Tup(Text(64), Blob(MAX_RECORD_BYTES)), 1024, increasing=True)),
    )
    EXPANSION: ClassVar[int] = 4  # a file of the auditor's own choice
    index: int
    previous: bytes
    announced_head: bytes
    session: bytes
    round: int
    purpose: str
    protocol: str
    params: bytes
    round_digest: bytes
    model_hash: bytes
    roster_hash: bytes
    key_list_hash: bytes
    u1: tuple[bytes, ...] = ()
    u2: tuple[bytes, ...] = ()
    survivors: tuple[bytes, ...] = ()
    advertisements: tuple[tuple[bytes, bytes, bytes], ...] = ()
    quorum: tuple[tuple[bytes, bytes], ...] = ()
    outcome: str = COMPLETE
    reason: str = ""
    aggregate_digest: bytes | None = None
    aggregate: bytes | None = None
    artefact: str | None = None
    extras: tuple[tuple[str, bytes], ...] = ()

    def __post_init__(self) -> None:
        for ids in (self.u1, self.u2, self.survivors):
            for party in ids:
                check_id(party)
        for entries in (self.advertisements, self.quorum):
            _check_unique([entry[0] for entry in entries], "an id")
        _check_unique([name for name, _ in self.extras], "a name")
        if self.outcome == COMPLETE:
            if self.reason or self.aggregate_digest is None or (self.aggregate is None) == (self.artefact is None):
                raise ParameterError(
                    "a complete round has no reason, an aggregate_digest, and either aggregate or artefact"
                )
        elif self.outcome == ABORTED:
            if not self.reason or (self.aggregate_digest, self.aggregate, self.artefact) != (None, None, None):
                raise ParameterError("an aborted round has a reason, and no aggregate_digest, aggregate or artefact")
        else:
            raise ParameterError(f"outcome is {self.outcome!r}; allowed are {COMPLETE!r} and {ABORTED!r}")
        if self.artefact is not None:
            check_artefact(self.artefact)

    @property
    def body_hash(self) -> bytes:
        """32 bytes, what the header binds."""
        return digest("privcomp/ledger/record", self.to_bytes())

    @staticmethod
    def digest_of(aggregate: bytes) -> bytes:
        """SHA-256 of the published bytes, as `sha256sum` prints it for an artefact."""
        return hashlib.sha256(aggregate).digest()


def check_artefact(name: str) -> None:
    """Refuse the name of a file that may lie elsewhere than beside the ledger: the auditor opens it.

    Raises:
        ParameterError: it has '/', '\\', a zero byte or a leading '.', or is empty.
    """
    if not name or name[0] == "." or any(char in name for char in "/\\\0"):
        raise ParameterError("artefact must be a plain file name beside the ledger: no '/', '\\' or leading '.'")


def _check_unique(keys: list[Any], what: str) -> None:
    if len(set(keys)) != len(keys):
        raise ParameterError(f"{what} comes twice in a list of the record; each comes once")


@dataclass(frozen=True)
class Header(Message):
    """A record's place in the chain, signed by the server's ledger key.

    Args:
        index: number of the record.
        previous: head before it, 32 bytes.
        body_hash: hash of the record, 32 bytes.
        signature: 64 bytes over the other three.
    """

    TAG: ClassVar[int] = 0x0701
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("index", U64),
        ("previous", Fixed(32)),
        ("body_hash", Fixed(32)),
        ("signature", Fixed(64)),
    )
    index: int
    previous: bytes
    body_hash: bytes
    signature: bytes

    @classmethod
    def sign(cls, identity: Identity, record: Record) -> Self:
        """The header of `record`, signed."""
        body_hash = record.body_hash
        signature = identity.sign(_LABEL, _u64(record.index), record.previous, body_hash)
        return cls(record.index, record.previous, body_hash, signature)

    def verify(self, ledger_key: bytes) -> bool:
        """Whether the owner of `ledger_key` signed this header."""
        return verify(ledger_key, self.signature, _LABEL, _u64(self.index), self.previous, self.body_hash)

    @property
    def hash(self) -> bytes:
        """The head after this record, 32 bytes; the signature is part of it."""
        return digest("privcomp/ledger/head", self.to_bytes())


_LABEL: Final = "privcomp/ledger/header"
HEADER_BYTES: Final = 141  # check: len(Header(...).to_bytes())


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")
