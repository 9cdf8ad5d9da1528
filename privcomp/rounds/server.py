"""The server of a federated round: announces with the ledger's head, aggregates, decodes, records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from privcomp import oneshot
from privcomp.attest import Attestation, check_attestation, check_sum
from privcomp.codec import lp
from privcomp.dp import DistributedPlan, PrivateMean
from privcomp.encoding import Decoded
from privcomp.errors import CodecError, LedgerError, ParameterError, PrivcompError, RemoteError, StateError
from privcomp.journal import Journal
from privcomp.keys import Roster
from privcomp.ledger import ABORTED, COMPLETE, Header, Ledger, Record
from privcomp.ledger.record import genesis
from privcomp.rounds.aggregation import Aggregation, Announced, CommitteeSum, MaskedSum
from privcomp.rounds.evidence import DIGEST, FILE, INLINE, update_context
from privcomp.rounds.messages import Evidence, FrozenRound, RoundAnnouncement
from privcomp.rounds.privacy import PRIVACY, PrivacySpent
from privcomp.rounds.spec import RoundSpec
from privcomp.secagg.server import Aggregate, Outbox, Server

__all__ = ["INLINE_BYTES", "RoundResult", "RoundServer"]

#: A longer aggregate, or longer evidence, is written beside the ledger instead of into it.
INLINE_BYTES = 1 << 16


@dataclass(frozen=True)
class RoundResult:
    """What a round published.

    Attributes:
        decoded: weighted mean, total weight, clipped entries, quantisation bound; under a plan the noised mean.
        integer_sum: int64 array of shape (encoding.length,), the exact sum.
        aggregate: survivors and the sets of the earlier stages.
        header: the signed ledger header of the round.
        refused: id -> reason, for clients whose attestation was refused; they are not in the sum.
    """

    decoded: Decoded | PrivateMean
    integer_sum: NDArray[np.int64]
    aggregate: Aggregate
    header: Header
    refused: Mapping[bytes, str]


class RoundServer:
    """One federated round at the server.

    In an attested round an upload whose attestation does not hold is kept out when it arrives: `receive` raises, and
    the client counts as one that vanished.

    Args:
        spec: the declaration of the round.
        session: 32 bytes, the same for a whole run.
        round: round number, growing.
        purpose: what the sum is for.
        model: model bytes that the clients hash and train on.
        roster: who may take part (None: semi-honest sessions only).
        ledger: where the round is recorded.
        accept, executor, memory_budget: as for `privcomp.secagg.Server`.
        redeliver: one-shot rounds: members keep nothing between two messages, so they get their shares again each time.
        journal: one-shot rounds: of the ledger's identity, for all rounds on it: which set was proposed on a model, so
            that no second one is announced to that committee, also after a restart. None: nothing is remembered. Then
            it is the members who refuse a second set, when the clients have trained and uploaded in vain, and the
            caller sees to it that what `freeze` gave when the set was fixed is stored before the set is sent.
        closes: one-shot rounds: close certificates of committees to which this model was announced before (see
            `privcomp.oneshot.Closing`): clients that uploaded to one of them take part only with its certificate.
    """

    def __init__(
        self,
        spec: RoundSpec,
        *,
        session: bytes,
        round: int,
        purpose: str,
        model: bytes,
        roster: Roster | None,
        ledger: Ledger,
        accept: Callable[[bytes, bytes], bool] | None = None,
        executor: Executor | None = None,
        memory_budget: int = 1 << 28,
        redeliver: bool = False,
        journal: Journal | None = None,
        closes: Iterable[oneshot.CloseCertificate] = (),
    ) -> None:
        self._set_up(spec, ledger, ledger.head, accept)
        common: dict[str, Any] = {
            "session": session,
            "round": round,
            "purpose": purpose,
            "model": model,
            "ledger_head": ledger.head,
            "memory_budget": memory_budget,
        }
        if isinstance(spec.aggregation, oneshot.Params):
            if roster is None:
                raise ParameterError("one-shot rounds need a roster: members verify the clients' signatures")
            server = oneshot.Server(
                spec.aggregation, roster=roster, identity=ledger.identity, journal=journal, closes=closes, **common
            )
            self.aggregation: Aggregation = CommitteeSum(server, ledger.public, model, redeliver=redeliver)
        else:
            masked = Server(spec.aggregation, roster=roster, accept=self._accepts, executor=executor, **common)
            self.aggregation = MaskedSum(masked, ledger.public)

    def _set_up(
        self, spec: RoundSpec, ledger: Ledger, head: bytes, accept: Callable[[bytes, bytes], bool] | None
    ) -> None:
        self.spec = spec
        self._ledger = ledger
        self._announced_head = head
        self._accept = accept
        self._finished = False
        self._attestations: dict[bytes, Attestation] = {}
        self._reasons: dict[bytes, str] = {}
        self._refused_before: dict[bytes, tuple[str, bytes]] = {}  # a restart

    def _accepts(self, party: bytes, attachment: bytes) -> bool:
        """Whether a complete upload may be added; raises RemoteError for an attestation that does not hold."""
        if self._accept is not None and not self._accept(party, attachment):
            return False
        if self.spec.attestation is not None:
            context, directory = update_context(self.secagg.context.announce), self.secagg.directory
            public = directory.entries[directory.place[party]].identity
            try:
                found = check_attestation(self.spec.statements, context, party, public, attachment)
            except RemoteError as error:
                self._reasons[party] = error.message
                raise
            self._attestations[party] = found
        return True

    def _refused(self) -> dict[bytes, tuple[str, bytes]]:
        """id -> (reason, signed message), for attestations that were refused."""
        if not self._reasons:
            return self._refused_before
        sent = self.secagg.refused_uploads
        return {**self._refused_before, **{party: (why, sent[party]) for party, why in self._reasons.items()}}

    def _evidence(self, survivors: Iterable[bytes], blindings: bytes) -> Evidence:
        refused = sorted((party, why[:1024], sent) for party, (why, sent) in self._refused().items())
        kept = ((party, self._attestations[party].to_bytes()) for party in sorted(survivors))
        return Evidence(tuple(kept), tuple(refused), blindings)

    def freeze(self) -> bytes:
        """What a restarted server needs of this round; see `privcomp.secagg.Server.freeze`."""
        state = self.aggregation.freeze()
        if self.spec.attestation is None:
            return state
        evidence = self._evidence(self.aggregation.survivors, b"").to_bytes()
        return FrozenRound(state, evidence, _digest(state, evidence)).to_bytes()

    @classmethod
    def thaw(
        cls,
        data: bytes,
        *,
        roster: Roster | None,
        ledger: Ledger,
        accept: Callable[[bytes, bytes], bool] | None = None,
        executor: Executor | None = None,
        redeliver: bool = False,
        journal: Journal | None = None,
    ) -> Self:
        """The round that `freeze` wrote, on the same ledger. Its proposal, if there is one, is entered into the journal
        where it is missing.

        Raises:
            CodecError: not what `freeze` writes.
            JournalError: the journal has another survivor set of this round.
            LedgerError: the round was announced on another ledger.
        """
        evidence = None
        if data.startswith(FrozenRound.prefix()):
            stored = FrozenRound.from_bytes(data, max_bytes=len(data))
            if _digest(stored.secagg, stored.evidence) != stored.digest:
                raise CodecError("the stored round was changed on disk")
            data, evidence = stored.secagg, Evidence.from_bytes(stored.evidence, max_bytes=len(stored.evidence))
        server = cls.__new__(cls)
        if data.startswith(oneshot.Server.FROZEN):
            if roster is None:
                raise CodecError("a one-shot round was stored, and this server has no roster")
            thawed = oneshot.Server.thaw(data, model=None, roster=roster, identity=ledger.identity, journal=journal)
            server.aggregation = CommitteeSum(thawed, ledger.public, b"", redeliver=redeliver)
        else:
            masked = Server.thaw(data, roster=roster, accept=server._accepts, executor=executor)
            server.aggregation = MaskedSum(masked, ledger.public)
        announce = server.aggregation.announce
        ledger.headers_since(announce.ledger_head)
        server._set_up(RoundSpec.of_bytes(announce.params), ledger, announce.ledger_head, accept)
        kept = tuple(party for party, _ in evidence.attestations) if evidence is not None else ()
        if (evidence is None) != (server.spec.attestation is None) or (
            kept != server.aggregation.survivors and evidence
        ):
            raise CodecError("the stored attestations are not those of the stored round's survivors")
        if evidence is not None:
            for party, attestation in evidence.attestations:
                server._attestations[party] = Attestation.from_bytes(attestation, max_bytes=len(attestation))
            server._refused_before = {party: (why, sent) for party, why, sent in evidence.refused}
        return server

    # ---- what whoever drives the round asks

    @property
    def secagg(self) -> Server:
        """The server of interactive secure aggregation; StateError in a round of another kind."""
        if not isinstance(self.aggregation, MaskedSum):
            raise StateError("this round does not aggregate by masks")
        return self.aggregation.server

    @property
    def announce(self) -> Announced:
        """What is announced: session, round, purpose, hashes of model and roster, ledger head, parameters."""
        return self.aggregation.announce

    @property
    def digest(self) -> bytes:
        """The round digest, 32 bytes."""
        return self.aggregation.digest

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of this round's stages, in order. In each of them some parties are asked, and answer."""
        return self.aggregation.stages

    @property
    def announces(self) -> str:
        """The stage in which clients get the announcement: who answers in it has signed for the ledger's head."""
        return self.aggregation.announces

    @property
    def stage(self) -> str:
        """The stage whose answers are awaited."""
        return self.aggregation.stage

    @property
    def fixed(self) -> bool:
        """Whether the survivors are fixed for good: from here on the round can be finished at any later time."""
        return self.aggregation.fixed

    @property
    def refused(self) -> Mapping[bytes, str]:
        """id -> reason, for uploads that were refused."""
        return self.aggregation.refused

    def begin(self, parties: Iterable[bytes], heads: Mapping[bytes, bytes]) -> Outbox:
        """The messages of the first stage.

        Args:
            parties: who can be reached: clients, and the members of a committee.
            heads: id -> the ledger head that this party last signed for; looked at when a message is built.
        """
        after = cache(self._headers)
        return self.aggregation.begin(parties, lambda party: after(heads.get(party)))

    def requests(self) -> Outbox:
        """Of a round whose survivors are fixed: the requests of this stage for those who have not answered it.

        Raises:
            StateError: the survivors are not fixed.
        """
        return self.aggregation.requests()

    def announcement(self, known_head: bytes | None = None) -> bytes:
        """The announcement of an interactive round for one client, with the headers since the head that it last signed
        (None: since the beginning)."""
        return RoundAnnouncement(self._ledger.public, self._headers(known_head), self.secagg.announcement).to_bytes()

    def _headers(self, known_head: bytes | None) -> tuple[Header, ...]:
        headers = self._ledger.headers_since(known_head if known_head is not None else genesis(self._ledger.public))
        upto = len(self._ledger.headers_since(self._announced_head))
        return tuple(headers[: len(headers) - upto])

    def receive(self, data: bytes, sender: bytes | None = None) -> None:
        """Take one message of a party; see `privcomp.secagg.Server.receive`."""
        self.aggregation.receive(data, sender)

    def advance(self) -> Outbox:
        """Close the stage: id -> next message; see `privcomp.secagg.Server.advance`."""
        return self.aggregation.advance()

    def finish(self) -> RoundResult:
        """Open the sum, check and decode it, append the record.

        Raises:
            RoundAborted: too few shares; receive more and call again, or `abort`.
            RemoteError: a secret or the decoded sum is not what it must be, or (stage "sum") not the sum of the
                attested updates; nothing is decoded. Call `abort`.
            ExecutorError: the executor did not do its work; set `secagg.executor` and call again.
        """
        if self._finished:
            raise StateError("this round is recorded already")
        aggregate = self.aggregation.result()
        total = self._total(aggregate)
        decoded = self.spec.decode(total, len(aggregate.survivors), self.digest)
        published = total.astype("<i8").tobytes()
        header = self._append(COMPLETE, "", published, b"".join(lanes.tobytes() for lanes in aggregate.sums[1:]))
        refused = {party: why for party, (why, _) in self._refused().items()}
        return RoundResult(decoded, total, aggregate, header, refused)

    def _total(self, aggregate: Aggregate) -> NDArray[np.int64]:
        """The sum as signed integers, checked against the commitments."""
        total = self.aggregation.total(aggregate)
        if self.spec.attestation is not None:
            kept = {party: self._attestations[party] for party in aggregate.survivors}
            check_sum(self.spec.statements, aggregate.survivors, kept, total, aggregate.sums[1].tobytes())
        return total

    def abort(self, error: PrivcompError | str) -> Header:
        """Record that the round ended without a sum."""
        if self._finished:
            raise StateError("this round is recorded already")
        return self._append(ABORTED, str(error)[:1024] or "aborted", None, b"")

    def _beside(self, data: bytes, ending: str) -> str | None:
        """Write what is large beside the ledger; the file's name, or None where it belongs into the record."""
        path = self._ledger.path
        if len(data) <= INLINE_BYTES or path is None:
            return None
        name = f"{path.name}.{len(self._ledger)}.{ending}"
        _write_synced(path.parent / name, data)
        return name

    def _extras(self, blindings: bytes) -> tuple[tuple[str, bytes], ...]:
        return (*self._attested(blindings), *self._spent())

    def _spent(self) -> tuple[tuple[str, bytes], ...]:
        """The privacy that this ledger's rounds have spent, once clients were asked for masked input."""
        plan = self.spec.encoding
        if not isinstance(plan, DistributedPlan) or not self.aggregation.asked_for_updates:
            return ()
        before = PrivacySpent.read(self._ledger.newest_extra(PRIVACY))
        return ((PRIVACY, before.after(plan).to_bytes()),)

    def _attested(self, blindings: bytes) -> tuple[tuple[str, bytes], ...]:
        if self.spec.attestation is None:
            return ()
        evidence = self._evidence(self.aggregation.survivors, blindings).to_bytes()
        name = self._beside(evidence, "attest")
        if name is None:
            return ((INLINE, evidence),)
        return ((FILE, name.encode()), (DIGEST, sha256(evidence).digest()))

    def _append(self, outcome: str, reason: str, published: bytes | None, blindings: bytes) -> Header:
        ledger, announce, kept = self._ledger, self.announce, self.aggregation.recorded()
        artefact = self._beside(published, "sum") if published is not None else None
        extras = (*self._extras(blindings), *kept.extras)
        record = Record(
            index=len(ledger),
            previous=ledger.head,
            announced_head=self._announced_head,
            session=announce.session,
            round=announce.round,
            purpose=announce.purpose,
            protocol=self.spec.aggregation.protocol,
            params=announce.params,
            round_digest=self.digest,
            model_hash=announce.model_hash,
            roster_hash=announce.roster_hash,
            key_list_hash=kept.key_list_hash,
            u1=kept.u1,
            u2=kept.u2,
            survivors=self.aggregation.survivors,
            advertisements=kept.advertisements,
            quorum=kept.quorum,
            outcome=outcome,
            reason=reason,
            aggregate_digest=Record.digest_of(published) if published is not None else None,
            aggregate=published if artefact is None else None,
            artefact=artefact,
            extras=tuple(sorted(extras)),
        )
        header = ledger.append(record)
        self._finished = True
        return header


def _write_synced(path: Path, data: bytes) -> None:
    """The artefact is on disk before the record that names it."""
    try:
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerError(
            f"the artefact {path.name} cannot be written: {error.strerror}; nothing was recorded"
        ) from None


def _digest(secagg: bytes, evidence: bytes) -> bytes:
    return sha256(lp(secagg, evidence)).digest()
