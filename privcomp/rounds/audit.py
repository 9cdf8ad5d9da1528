"""What the ways to aggregate sign, for the auditor of a ledger."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from privcomp import oneshot
from privcomp.attest import Attestation, Submission, check_attestations, check_sum
from privcomp.errors import CodecError, EncodingError, RemoteError
from privcomp.keys import Roster
from privcomp.ledger import COMPLETE, UNATTESTED, AuditReport, Record
from privcomp.ledger import audit as audit_ledger
from privcomp.ledger.audit import RoundVerifier
from privcomp.oneshot.committee import SAMPLED
from privcomp.rounds.aggregation import COMMITTEE, upload_list_hash
from privcomp.rounds.evidence import evidence_of, update_context
from privcomp.rounds.messages import CommitteeEvidence, Evidence, SignedUpload
from privcomp.rounds.privacy import PrivacyAuditor
from privcomp.rounds.spec import RoundSpec
from privcomp.secagg.context import SERVER, Directory, RoundContext, check_advertise, signed_by, unsigned
from privcomp.secagg.messages import Advertise, Announce, UploadEnd, bitmap
from privcomp.secagg.params import MALICIOUS

__all__ = ["AttestationAuditor", "CommitteeVerifier", "DrawAuditor", "SecaggVerifier", "audit"]


def _context(record: Record) -> RoundContext:
    """Of an interactive round."""
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

    def certified(self, record: Record) -> bool:
        """Nobody but the survivors signs their set."""
        return False

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


class CommitteeVerifier:
    """Recomputes what the clients of one-shot rounds and the members of their committees bind and sign."""

    def __init__(self) -> None:
        self._last: tuple[bytes, oneshot.RoundContext, CommitteeEvidence] | None = None

    def _of(self, record: Record) -> tuple[oneshot.RoundContext, CommitteeEvidence]:
        """The announced round, and what its committee signed.

        Raises:
            RemoteError: the record does not show it, or shows that of another round.
        """
        if self._last is not None and self._last[0] == record.body_hash:
            return self._last[1:]
        data = dict(record.extras).get(COMMITTEE)
        if data is None:
            raise RemoteError(SERVER, COMMITTEE, "a one-shot round without its announcement")
        try:
            evidence = CommitteeEvidence.from_bytes(data, max_bytes=len(data))
            announce = oneshot.Announce.from_bytes(evidence.announce, max_bytes=len(evidence.announce))
            context = oneshot.RoundContext.of(announce)
        except CodecError as error:
            raise error.by(SERVER, COMMITTEE) from None
        a, r = announce, record
        if (a.params, a.session, a.round, a.purpose, a.model_hash, a.roster_hash, a.ledger_head) != (
            r.params, r.session, r.round, r.purpose, r.model_hash, r.roster_hash, r.announced_head
        ):  # fmt: skip
            raise RemoteError(SERVER, COMMITTEE, "the record shows the announcement of another round")
        self._last = (record.body_hash, context, evidence)
        return context, evidence

    def round_digest(self, record: Record) -> bytes:
        """The context that everything in the round binds; zero where a round ended before it was announced."""
        if record.outcome != COMPLETE and COMMITTEE not in dict(record.extras):
            return bytes(32)
        return self._of(record)[0].digest

    def key_list_hash(self, record: Record) -> bytes:
        """The hash over ids, signed parts and signatures of the uploads."""
        return upload_list_hash(record.advertisements)

    def advertisement_ok(self, record: Record, party: bytes, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether this party signed this upload in this round."""
        upload = SignedUpload.from_bytes(message, max_bytes=1 << 17)
        return upload.id == party and self._of(record)[0].signed_by(public, signature, "upload", *_body(upload))

    def certified(self, record: Record) -> bool:
        """Whether a quorum of the committee signed exactly these survivors with these uploads.

        Raises:
            RemoteError: the round needs that, and the record does not show it.
        """
        context, evidence = self._of(record)
        params, committee = context.params, context.params.committee
        if not params.certified:
            return False
        uploads = {party: SignedUpload.from_bytes(data, max_bytes=1 << 17) for party, data, _ in record.advertisements}
        survivors = [(p, oneshot.upload_digest(context, _body(uploads[p]))) for p in record.survivors]
        hashed = oneshot.set_hash(context.digest, survivors)
        # Members are counted, not signatures: one member can make any number of valid ones over the same words.
        good = {
            place
            for place, vote in evidence.votes
            if place < committee.size
            and context.signed_by(committee.members[place][1], vote, "vote", committee.members[place][0], hashed)
        }
        if len(good) < committee.quorum:
            raise RemoteError(
                SERVER, COMMITTEE, f"{len(good)} members signed for these survivors, {committee.quorum} are needed"
            )
        return True

    def quorum_size(self, record: Record) -> int:
        """0: the clients vanish; members sign (`certified`)."""
        return 0

    def quorum_signature_ok(self, record: Record, party: bytes, public: bytes, signature: bytes) -> bool:
        """No client signs the survivors of a one-shot round."""
        return False


def _body(upload: SignedUpload) -> tuple[bytes, ...]:
    return upload.id, upload.key, upload.ciphertext_hash, upload.root, upload.test


def aggregate_decodes(record: Record) -> None:
    """The published sum decodes under the announced encoding: ranges of weight, clip count and every entry.

    Raises:
        RemoteError: it does not.
    """
    if record.outcome != COMPLETE or record.aggregate is None:
        return
    spec = RoundSpec.of_bytes(record.params)
    if len(record.aggregate) != 8 * spec.encoding.length:
        raise RemoteError(SERVER, "aggregate", "the published sum does not have the announced length")
    total = np.frombuffer(record.aggregate, dtype="<i8").astype(np.int64)
    try:
        spec.decode(total, len(record.survivors), record.round_digest)
    except EncodingError as error:
        raise RemoteError(SERVER, "aggregate", str(error)) from None


def sets_fit(record: Record) -> None:
    """The parameters allow a sum over these survivors.

    Raises:
        RemoteError: they do not.
    """
    if record.outcome != COMPLETE:
        return
    declared = RoundSpec.of_bytes(record.params).aggregation
    if record.protocol != declared.protocol:
        raise RemoteError(SERVER, "sets", f"the record says {record.protocol!r}, its parameters {declared.protocol!r}")
    if isinstance(declared, oneshot.Params):
        if not declared.survivors_min <= len(record.survivors) <= declared.clients:
            raise RemoteError(
                SERVER,
                "sets",
                f"{len(record.survivors)} survivors in a round for {declared.survivors_min}..{declared.clients}: "
                "no member would answer",
            )
        return
    params = declared
    threshold, count = params.thresholds(len(record.u1)).threshold, len(record.survivors)
    if count <= threshold or count - params.corrupt < params.honest_survivors:
        raise RemoteError(
            SERVER, "sets", f"{count} survivors with t = {threshold} and c = {params.corrupt}: no client would answer"
        )


class AttestationAuditor:
    """Checks the attestations of each record from the ledger's files alone, and counts what it has checked.

    Args:
        ledger: the ledger's file.
        roster: who may take part; None: the keys that the server recorded are believed.
    """

    def __init__(self, ledger: Path, roster: Roster | None) -> None:
        self._ledger, self._roster = ledger, roster
        self.sums = self.updates = self.refused = 0

    def attestations(self, record: Record) -> None:
        """Every attestation of the sum holds, the sum is that of the committed updates, and every refusal was right.

        Raises:
            RemoteError: names the server, which let through or published what an honest one does not, or refused what
                an honest one accepts. The text names the client that is concerned.
            LedgerError: a file is missing.
        """
        spec = RoundSpec.of_bytes(record.params)
        if spec.attestation is None:
            return
        context = _context(record)
        evidence = evidence_of(record, self._ledger)
        if evidence is None:
            raise RemoteError(SERVER, "attest", "an attested round without its attestations")
        keys = self._keys(record)
        if record.outcome == COMPLETE and record.aggregate is not None:
            if len(record.aggregate) != 8 * spec.encoding.length:
                raise RemoteError(SERVER, "sum", "the published sum does not have the announced length")
            sent = {party: Submission(keys.get(party), data) for party, data in evidence.attestations}
            good = self._checked(spec, context, sent)
            total = np.frombuffer(record.aggregate, dtype="<i8").astype(np.int64)
            try:
                check_sum(spec.statements, record.survivors, good, total, evidence.blindings)
            except RemoteError as error:
                raise RemoteError(SERVER, "sum", f"the server published a false sum: {error.message}") from None
        else:
            self._ended(record, evidence)
            sent = {party: Submission(keys.get(party), data) for party, data in evidence.attestations}
            good = self._checked(spec, context, sent)
        for party, reason, data in evidence.refused:
            self._refusal(record, spec, context, party, keys.get(party), reason, data)
        self.refused += len(evidence.refused)
        if record.outcome == COMPLETE:
            self.sums += 1
            self.updates += len(good)

    @staticmethod
    def _ended(record: Record, evidence: Evidence) -> None:
        """A round without a sum shows the attestations of its survivors, and nothing of a sum."""
        if evidence.blindings or tuple(party for party, _ in evidence.attestations) != record.survivors:
            raise RemoteError(SERVER, "attest", "a round without a sum shows blindings, or attestations of others")

    def _keys(self, record: Record) -> dict[bytes, bytes]:
        if self._roster is not None:
            return dict(self._roster.entries)
        listed = (Advertise.from_bytes(data, max_bytes=1 << 13) for _, data, _ in record.advertisements)
        return {advertise.id: advertise.identity for advertise in listed}

    def _checked(
        self, spec: RoundSpec, context: RoundContext, sent: dict[bytes, Submission]
    ) -> dict[bytes, Attestation]:
        good, bad = check_attestations(spec.statements, update_context(context.announce), sent)
        for party, error in bad.items():
            raise RemoteError(SERVER, "attest", f"the server counted {party!r}, but {error.message}")
        return good

    def _refusal(
        self,
        record: Record,
        spec: RoundSpec,
        context: RoundContext,
        party: bytes,
        public: bytes | None,
        reason: str,
        data: bytes,
    ) -> None:
        """The client signed the upload whose attestation does not hold."""
        try:
            end = UploadEnd.from_bytes(data, max_bytes=len(data))
        except CodecError as error:
            raise error.by(SERVER, "attest") from None
        if (
            public is None
            or party not in record.u2
            or party in record.survivors
            or (end.id, end.list_hash) != (party, record.key_list_hash)
            or not signed_by(public, end.signature, "mask", context, record.key_list_hash, unsigned(end))
        ):
            raise RemoteError(SERVER, "attest", f"the server refused {party!r} and shows no upload that it signed")
        sent = {party: Submission(public, end.attachment)}
        good, bad = check_attestations(spec.statements, update_context(context.announce), sent)
        if good:
            raise RemoteError(
                SERVER, "attest", f"the server refused {party!r}, an honest client: its recorded attestation holds"
            )
        if bad[party].message[:1024] != reason:
            raise RemoteError(SERVER, "attest", f"the server gives another reason for refusing {party!r} than there is")


class DrawAuditor:
    """A sampled committee is the one that roster and beacon give. Which beacon was agreed on, the nodes' policies say.

    Args:
        roster: the members; None: nothing is checked.
    """

    def __init__(self, roster: Roster | None) -> None:
        self._roster = roster

    def __call__(self, record: Record) -> None:
        """Check one record.

        Raises:
            RemoteError: its committee is of somebody's choosing.
        """
        if self._roster is None or record.protocol != oneshot.ONESHOT or record.roster_hash != self._roster.hash:
            return
        c = oneshot.Params.from_bytes(record.params, max_bytes=1 << 17).committee
        if c.kind != SAMPLED:
            return
        fits = c.size <= len(self._roster)
        if not fits or oneshot.Committee.sampled(self._roster, c.beacon, c.size, c.privacy, c.packing) != c:
            raise RemoteError(SERVER, COMMITTEE, "the committee is not the one that roster and beacon give")


def audit(
    path: str | os.PathLike[str],
    *,
    ledger_key: bytes,
    roster: Roster | None = None,
    heads: Iterable[bytes] | None = None,
) -> AuditReport:
    """Audit a ledger of federated rounds: see `privcomp.ledger.audit`.

    Attested rounds are checked as a whole: every attestation, the sum, every recorded refusal.
    """
    verifier = SecaggVerifier()
    verifiers: dict[str, RoundVerifier] = {"bonawitz": verifier, "secaggplus": verifier}
    verifiers[oneshot.ONESHOT] = CommitteeVerifier()
    auditor, privacy = AttestationAuditor(Path(path), roster), PrivacyAuditor()
    report = audit_ledger(
        path,
        ledger_key=ledger_key,
        roster=roster,
        heads=heads,
        verifiers=verifiers,
        checks=(sets_fit, aggregate_decodes, DrawAuditor(roster), auditor.attestations, privacy),
    )
    if privacy.total.spent:
        spent = tuple(f"privacy spent: {each}" for each in privacy.total.spent)
        report = replace(report, shown=(*report.shown, *spent))
    if not auditor.sums and not auditor.refused:
        return report
    shown = (
        *report.shown,
        f"{auditor.sums} published sums are those of {auditor.updates} updates, each proven to be within its bounds; "
        f"{auditor.refused} recorded refusals are justified",
    )
    notes = [note for note in report.notes if note != UNATTESTED]
    if auditor.sums < report.complete:
        notes.append(f"{UNATTESTED} ({report.complete - auditor.sums} of the published sums have none)")
    if roster is None:
        notes.append("whose updates these are: the attestations are consistent with the server's own list")
    return replace(report, shown=shown, notes=tuple(notes))
