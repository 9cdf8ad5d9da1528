"""A small protocol with real signatures, so that the ledger is tested without the protocols above it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from privcomp.codec import digest, lp
from privcomp.keys import Identity, Roster, verify
from privcomp.ledger import ABORTED, Ledger, Record

PROTOCOL = "test/1"
QUORUM = 3


def identity(name: bytes) -> Identity:
    return Identity.from_seed(hashlib.sha256(b"identity" + name).digest())


SERVER = identity(b"server")
CLIENTS = {name: identity(name) for name in (b"a", b"b", b"c", b"d")}
ROSTER = Roster.of({name: client.public for name, client in CLIENTS.items()})


def round_digest(record: Record) -> bytes:
    return digest(
        "test/round",
        record.params,
        record.session,
        record.round.to_bytes(8, "little"),
        record.purpose.encode(),
        record.model_hash,
        record.roster_hash,
        record.announced_head,
    )


def key_list_hash(record: Record) -> bytes:
    return digest("test/keys", *(lp(*entry) for entry in record.advertisements))


def survivor_parts(record: Record) -> tuple[bytes, ...]:
    return (record.round_digest, record.key_list_hash, lp(*record.u2), lp(*record.survivors))


@dataclass(frozen=True)
class Verifier:
    """What the test protocol signs."""

    def round_digest(self, record: Record) -> bytes:
        return round_digest(record)

    def key_list_hash(self, record: Record) -> bytes:
        return key_list_hash(record)

    def advertisement_ok(self, record: Record, party: bytes, public: bytes, message: bytes, signature: bytes) -> bool:
        return verify(public, signature, "test/advertise", record.round_digest, party, message)

    def quorum_size(self, record: Record) -> int:
        return QUORUM

    def quorum_signature_ok(self, record: Record, party: bytes, public: bytes, signature: bytes) -> bool:
        return verify(public, signature, "test/survivors", *survivor_parts(record))


VERIFIERS = {PROTOCOL: Verifier()}


def resign(record: Record, *, signers: tuple[bytes, ...] = (b"a", b"b", b"c")) -> Record:
    """Recompute digests and the clients' signatures after a change."""
    record = replace(record, round_digest=round_digest(record))
    record = replace(
        record,
        advertisements=tuple(
            (
                name,
                b"keys of " + name,
                CLIENTS[name].sign("test/advertise", record.round_digest, name, b"keys of " + name),
            )
            for name in record.u1
        ),
    )
    record = replace(record, key_list_hash=key_list_hash(record))
    quorum = tuple((name, CLIENTS[name].sign("test/survivors", *survivor_parts(record))) for name in signers)
    return replace(record, quorum=quorum)


def complete(ledger: Ledger, number: int, *, aggregate: bytes | None = None) -> Record:
    published = b"sum of round %d" % number if aggregate is None else aggregate
    return resign(
        Record(
            index=len(ledger),
            previous=ledger.head,
            announced_head=ledger.head,
            session=b"session",
            round=number,
            purpose="train",
            protocol=PROTOCOL,
            params=b"params",
            round_digest=bytes(32),
            model_hash=hashlib.sha256(b"model %d" % number).digest(),
            roster_hash=ROSTER.hash,
            key_list_hash=bytes(32),
            u1=(b"a", b"b", b"c", b"d"),
            u2=(b"a", b"b", b"c", b"d"),
            survivors=(b"a", b"b", b"c"),
            aggregate_digest=Record.digest_of(published),
            aggregate=published,
            extras=(("privacy", b"none"),),
        )
    )


def aborted(ledger: Ledger, number: int) -> Record:
    return replace(
        complete(ledger, number),
        outcome=ABORTED,
        reason="2 of 3 signatures over the survivors",
        aggregate=None,
        aggregate_digest=None,
        quorum=(),
    )
