"""What the secure-aggregation protocols sign, for the auditor of a ledger."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from privcomp.errors import RemoteError
from privcomp.keys import Roster
from privcomp.ledger import COMPLETE, AuditReport, Record
from privcomp.ledger import audit as audit_ledger
from privcomp.rounds.spec import RoundSpec
from privcomp.secagg.context import SERVER, Directory, RoundContext, check_advertise, signed_by
from privcomp.secagg.messages import Advertise, Announce, bitmap
from privcomp.secagg.params import MALICIOUS

__all__ = ["SecaggVerifier", "audit"]


def _context(record: Record) -> RoundContext:
    announce = Announce(
        record.params,
        record.session,
        record.round,
        record.purpose,
        record.model_hash,
        record.roster_hash,
        record.announced_head,
    )
    return RoundContext.of(announce)


class SecaggVerifier:
    """Recomputes what the clients of `bonawitz` and `secaggplus` bind and sign."""

    def __init__(self) -> None:
        self._last: tuple[bytes, Directory] | None = None

    def _directory(self, record: Record) -> Directory:
        if self._last is not None and self._last[0] == record.body_hash:
            return self._last[1]
        context = _context(record)
        listed = [(Advertise.from_bytes(data, max_bytes=1 << 13), data) for _, data, _ in record.advertisements]
        directory = Directory.of_all(context, listed)
        self._last = (record.body_hash, directory)
        return directory

    def round_digest(self, record: Record) -> bytes:
        """The digest over params, session, round, purpose, model, roster and ledger head."""
        return _context(record).digest

    def key_list_hash(self, record: Record) -> bytes:
        """The hash over ids and signed stage-0 messages; zero where a round ended before there was a list."""
        if not record.u1:
            return bytes(32)
        return self._directory(record).hash

    def advertisement_ok(self, record: Record, party: bytes, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the stage-0 message is this party's, of this round, under this key."""
        advertise = Advertise.from_bytes(message, max_bytes=1 << 13)
        if (advertise.id, advertise.identity, advertise.signature) != (party, public, signature):
            return False
        try:
            check_advertise(_context(record), advertise, None)
        except RemoteError:
            return False
        return True

    def quorum_size(self, record: Record) -> int:
        """q of the params for |U1| clients; 0 in semi-honest sessions and in rounds that were not opened."""
        context = _context(record)
        if context.params.adversary != MALICIOUS or record.outcome != COMPLETE:
            return 0
        return context.params.thresholds(len(record.u1)).quorum

    def quorum_signature_ok(self, record: Record, party: bytes, public: bytes, signature: bytes) -> bool:
        """Whether this party signed exactly (U2, U) of this record."""
        directory = self._directory(record)
        bits = [bitmap({directory.place[i] for i in ids}, directory.n) for ids in (record.u2, record.survivors)]
        body = directory.u_digest(bits[0], bits[1])
        return signed_by(public, signature, "consistency", directory.context, directory.hash, body)


def aggregate_decodes(record: Record) -> None:
    """The published sum decodes under the announced encoding: ranges of weight, clip count and every entry.

    Raises:
        RemoteError: it does not.
    """
    if record.outcome != COMPLETE or record.aggregate is None:
        return
    encoding = RoundSpec.of_params(_context(record).params).encoding
    if len(record.aggregate) != 8 * encoding.length:
        raise RemoteError(SERVER, "aggregate", "the published sum does not have the announced length")
    encoding.decode(np.frombuffer(record.aggregate, dtype="<i8").astype(np.int64), len(record.survivors))


def sets_fit(record: Record) -> None:
    """The parameters allow a sum over these survivors.

    Raises:
        RemoteError: they do not.
    """
    if record.outcome != COMPLETE:
        return
    params = _context(record).params
    threshold, count = params.thresholds(len(record.u1)).threshold, len(record.survivors)
    if record.protocol != params.protocol:
        raise RemoteError(SERVER, "sets", f"the record says {record.protocol!r}, its parameters {params.protocol!r}")
    if count <= threshold or count - params.corrupt < params.honest_survivors:
        raise RemoteError(
            SERVER, "sets", f"{count} survivors with t = {threshold} and c = {params.corrupt}: no client would answer"
        )


def audit(
    path: str | os.PathLike[str],
    *,
    ledger_key: bytes,
    roster: Roster | None = None,
    heads: Iterable[bytes] | None = None,
) -> AuditReport:
    """Audit a ledger of federated rounds: see `privcomp.ledger.audit`."""
    verifier = SecaggVerifier()
    verifiers = {"bonawitz": verifier, "secaggplus": verifier}
    return audit_ledger(
        path,
        ledger_key=ledger_key,
        roster=roster,
        heads=heads,
        verifiers=verifiers,
        checks=(sets_fit, aggregate_decodes),
    )
