"""Attested rounds: who is refused, what is summed, and what the audit finds in the ledger's files alone."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp.attest import Attestation, AttestationPart, AttestationSpec, attest_message, attest_var
from privcomp.commitments import Hyrax
from privcomp.encoding import FixedPoint
from privcomp.errors import CodecError, LedgerError, ParameterError, PolicyError, RemoteError, RoundAborted
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.ledger import AuditReport, Ledger, Record
from privcomp.policy import Policy
from privcomp.rounds import RoundClient, RoundResult, RoundServer, RoundSpec, Task, audit
from privcomp.rounds.evidence import INLINE, update_context
from privcomp.rounds.messages import Evidence
from privcomp.secagg import SEMI_HONEST, Contribution, Params, Segment
from privcomp.secagg.context import RoundContext
from privcomp.secagg.messages import Announce, UploadEnd
from privcomp.zk import norm
from tests.rounds.test_rounds import ENTRIES, LEDGER_KEY, Federation, N, Site
from tests.secagg.harness import SESSION, STAGES, TRAINING

ENCODING = FixedPoint(8, 2.0**-5, "prescaled", max_weight=50, clients=N, entries=ENTRIES, max_error=4.0)
L2 = 120**2
ATTESTED = RoundSpec.secure_sum(ENCODING, attestation=AttestationSpec(columns=4, l2_squared=L2))


class Attested(Federation):
    """A federation whose rounds are attested; refused uploads are counted instead of raised."""

    def __init__(self, ledger: Ledger, spec: RoundSpec = ATTESTED, policy: Policy | None = None) -> None:
        super().__init__(ledger, policy)
        self.spec = spec
        self.refusals: list[RemoteError] = []
        for site in self.sites.values():
            site.values = site.values / 4

    def server(self, number: int = 1, *, kind: type[RoundServer] = RoundServer, **options: Any) -> RoundServer:
        values: dict[str, Any] = {
            "session": SESSION,
            "round": number,
            "purpose": TRAINING,
            "model": b"model of round %d" % number,
            "roster": self.roster,
            "ledger": self.ledger,
            **options,
        }
        return kind(self.spec, **values)

    def collect(self, server: RoundServer, requests: Any, lost: Any = ()) -> None:
        for party, request in requests.items():
            if party in lost:
                continue
            for message in self.sites[party].receive(request):
                try:
                    server.receive(message, party)
                except RemoteError as error:
                    self.refusals.append(error)

    def expect(self, result: RoundResult) -> None:
        mean, weight = self.plain(result)
        assert result.decoded.total_weight == weight
        assert np.abs(result.decoded.mean - mean).max() <= result.decoded.quantisation_bound


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def audited(path: Path, roster: Roster | None) -> AuditReport:
    return audit(path, ledger_key=LEDGER_KEY.public, roster=roster)


def behave(site: Site, attested: Callable[[RoundSpec, RoundContext, Any], Contribution]) -> None:
    """Replace what a client does with its encoded vector."""
    site.client._attested = attested  # type: ignore[method-assign, assignment]


# ---- honest rounds


@pytest.mark.parametrize("options", [{}, {"adversary": SEMI_HONEST}, {"hybrid": True}], ids=str)
def test_attested_rounds_with_losses_pass_the_audit(options: dict[str, Any], path: Path) -> None:
    spec = RoundSpec.secure_sum(ENCODING, attestation=ATTESTED.attestation, **options)
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger, spec, Policy(corrupt=0, adversary=spec.aggregation.adversary))
        federation.expect(federation.run(federation.server(1)))
        before = federation.run(federation.server(2), {b"site-1": "mask"})
        federation.expect(before)
        assert b"site-1" not in before.aggregate.survivors
        after = federation.run(federation.server(3), {b"site-1": "unmask"})
        federation.expect(after)
        assert b"site-1" in after.aggregate.survivors
        records = list(ledger.records())
    assert not federation.refusals
    report = audited(path, federation.roster)
    assert report.ok, report
    assert "3 published sums are those of 14 updates" in str(report)
    for record in records:
        evidence = Evidence.from_bytes(dict(record.extras)[INLINE], max_bytes=1 << 20)
        assert tuple(party for party, _ in evidence.attestations) == record.survivors
    assert not any("needs attestations" in note for note in report.notes)
    alone = audited(path, None)
    assert alone.ok
    assert any("the server's own list" in note for note in alone.notes)
    assert not any("the server's own list" in note for note in report.notes)


def test_sessions_without_a_roster_are_attested_under_the_advertised_keys(path: Path) -> None:
    spec = RoundSpec.secure_sum(ENCODING, attestation=ATTESTED.attestation, adversary=SEMI_HONEST)
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger, spec)
        for site in federation.sites.values():
            site.policy = Policy(adversary=SEMI_HONEST)
            site.client = RoundClient(site.id, site.identity, site.policy, site.journal)
        federation.expect(federation.run(federation.server(roster=None)))
    assert audited(path, None).ok


def test_an_update_above_the_norm_is_scaled_down_and_nobody_learns_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        for party, site in federation.sites.items():
            site.values = np.full(ENTRIES, 3.0 if party == b"site-1" else 0.0)
            site.weight = 50
        with caplog.at_level(logging.WARNING, "privcomp.rounds"):
            result = federation.run(federation.server())
        assert [r.message for r in caplog.records] == [
            "the norm of the update is above the round's bound: the update is scaled down to it"
        ]
    entries = result.integer_sum[:ENTRIES]
    assert 0.95 * L2 < int(entries @ entries) <= L2
    assert len(result.aggregate.survivors) == N
    assert result.decoded.clipped == 0
    assert audited(path, federation.roster).ok


def test_a_retry_sends_the_same_attestation(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        server = federation.server()
        requests = federation.announcements(server)
        for _ in range(2):
            federation.collect(server, requests)
            requests = server.advance()
        site = federation.sites[b"site-0"]
        first = site.receive(requests[b"site-0"])
        site.values = site.values + 0.1
        assert site.receive(requests[b"site-0"]) == first
        site.restart()
        assert site.receive(requests[b"site-0"]) == first
        end = UploadEnd.from_bytes(first[-1], max_bytes=1 << 20)
        assert len(end.attachment) == ATTESTED.aggregation.attachment_bytes


# ---- clients that cheat


def poison(site: Site, factor: int, *, hidden: bool = False) -> None:
    """A site that sends its update times a factor; `hidden`: under a true attestation of its honest update."""

    def attested(spec: RoundSpec, context: RoundContext, vector: Any) -> Contribution:
        honest = RoundClient._attested(site.client, spec, context, vector)
        out = vector.copy()
        out[:ENTRIES] *= factor
        if hidden:
            return Contribution((out, honest.vectors[1]), honest.attachment)
        fields = update_context(context.announce).fields(site.id, "whole")
        commitment, opening = Hyrax(4, 4).commit_var(out)
        proof = norm.prove_var(spec.statements[0], fields, vector, commitment, opening)
        parts = (AttestationPart(commitment.encode(), proof),)
        message = attest_message(spec.statements, update_context(context.announce), site.id, parts)
        attestation = Attestation(parts, site.identity.sign("privcomp/attest", message))
        lanes = np.frombuffer(opening.blindings.to_bytes(), dtype=np.uint8).reshape(-1, 32)
        return Contribution((out, lanes), attestation.to_bytes())

    behave(site, attested)


def test_a_client_without_a_proof_is_named_and_left_out(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        poison(federation.sites[b"site-2"], 1000)
        result = federation.run(federation.server())
        federation.expect(result)
        record = next(iter(ledger.records()))
    assert [(error.party, error.stage) for error in federation.refusals] == [(b"site-2", "attest")]
    assert b"site-2" not in result.aggregate.survivors
    assert list(result.refused) == [b"site-2"]
    assert "proof" in result.refused[b"site-2"]
    assert b"site-2" in record.u2
    report = audited(path, federation.roster)
    assert report.ok, report
    assert "1 recorded refusals are justified" in str(report)


@pytest.mark.parametrize("attachment", [b"", b"garbage", bytes(200)], ids=["empty", "garbage", "zeros"])
def test_garbage_in_place_of_an_attestation_is_refused(attachment: bytes, path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        site = federation.sites[b"site-4"]

        def attested(spec: RoundSpec, context: RoundContext, vector: Any) -> Contribution:
            return replace(RoundClient._attested(site.client, spec, context, vector), attachment=attachment)

        behave(site, attested)
        federation.expect(federation.run(federation.server()))
    assert [error.party for error in federation.refusals] == [b"site-4"]
    assert audited(path, federation.roster).ok


def test_another_update_than_the_committed_one_ends_the_round_without_a_name(path: Path) -> None:
    """The limit of this mode: the sum is refused, whoever spoiled it is not known."""
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        poison(federation.sites[b"site-2"], -1, hidden=True)
        server = federation.server()
        with pytest.raises(RemoteError) as failed:
            federation.run(server)
        assert (failed.value.party, failed.value.stage) == (None, "sum")
        server.abort(failed.value)
        record = next(iter(ledger.records()))
    assert record.aggregate is None
    assert not federation.refusals
    report = audited(path, federation.roster)
    assert report.ok
    assert report.complete == 0


def test_an_attestation_of_another_round_is_refused(path: Path) -> None:
    """A true attestation, its update and its blindings, of the round before: the signature covers the round."""
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        site, kept = federation.sites[b"site-0"], list[Contribution]()

        def attested(spec: RoundSpec, context: RoundContext, vector: Any) -> Contribution:
            kept.append(RoundClient._attested(site.client, spec, context, vector))
            return kept[0]

        behave(site, attested)
        federation.run(federation.server(1))
        assert not federation.refusals
        result = federation.run(federation.server(2))
    assert [error.party for error in federation.refusals] == [b"site-0"]
    assert "signature" in result.refused[b"site-0"]
    assert audited(path, federation.roster).ok


def test_the_callers_own_accept_is_asked_as_well(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        result = federation.run(federation.server(accept=lambda party, attachment: party != b"site-3"))
        federation.expect(result)
    assert b"site-3" not in result.aggregate.survivors
    assert not result.refused
    report = audited(path, federation.roster)
    assert report.ok, report
    assert "0 recorded refusals" in str(report)


# ---- servers that lie


class LyingServer(RoundServer):
    """Publishes one entry more than the sum."""

    def _total(self, aggregate: Any) -> Any:
        total = super()._total(aggregate)
        total[0] += 1
        return total


class UnfairServer(RoundServer):
    """Says of an honest client that its proof does not hold."""

    def _accepts(self, party: bytes, attachment: bytes) -> bool:
        if party == b"site-1":
            self._reasons[party] = "its proof (whole) is refused"
            raise RemoteError(party, "attest", "its proof (whole) is refused")
        return super()._accepts(party, attachment)


def test_a_published_sum_with_one_entry_changed_is_found(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        federation.run(federation.server(kind=LyingServer))
    for roster in (federation.roster, None):
        failure = audited(path, roster).failure
        assert failure is not None
        assert failure.check == "attestations"
        assert "the server published a false sum" in failure.seen


def test_a_refused_honest_client_is_found(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        federation.run(federation.server(kind=UnfairServer))
    failure = audited(path, federation.roster).failure
    assert failure is not None
    assert "the server refused b'site-1', an honest client" in failure.seen


class CarelessServer(RoundServer):
    """Takes whatever comes."""

    def _accepts(self, party: bytes, attachment: bytes) -> bool:
        self._attestations[party] = Attestation.from_bytes(attachment, max_bytes=1 << 20)
        return True


def test_a_counted_client_without_a_proof_is_found(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        poison(federation.sites[b"site-2"], 2)
        result = federation.run(federation.server(kind=CarelessServer))
    assert b"site-2" in result.aggregate.survivors
    failure = audited(path, federation.roster).failure
    assert failure is not None
    assert "the server counted b'site-2', but its proof (whole) is refused" in failure.seen


def rewritten(path: Path, change: Callable[[Record, Evidence], Record | Evidence]) -> AuditReport:
    """The audit of a ledger whose only record, of a round with one refused client, its server wrote differently."""
    with Ledger(path.with_name("honest"), LEDGER_KEY) as honest:
        federation = Attested(honest)
        poison(federation.sites[b"site-2"], 1000)
        federation.run(federation.server())
        record = next(iter(honest.records()))
    changed = change(record, Evidence.from_bytes(dict(record.extras)[INLINE], max_bytes=1 << 20))
    if isinstance(changed, Evidence):
        changed = replace(record, extras=((INLINE, changed.to_bytes()),))
    with Ledger(path, LEDGER_KEY) as ledger:
        ledger.append(changed)
    return audited(path, federation.roster)


def _forged(record: Record, evidence: Evidence) -> Evidence:
    """Zeros under another client's key: what a server can make by itself."""
    context = RoundContext.of(
        Announce(
            record.params,
            record.session,
            record.round,
            record.purpose,
            record.model_hash,
            record.roster_hash,
            record.announced_head,
        )
    )
    x = np.array([0] * ENTRIES + [1, 0])
    attestation, _ = attest_var(
        ATTESTED.statements, update_context(context.announce), b"site-0", Identity.generate(), (x,)
    )
    return replace(evidence, attestations=((b"site-0", attestation.to_bytes()), *evidence.attestations[1:]))


def _end(evidence: Evidence, **changes: Any) -> Evidence:
    ((party, reason, data),) = evidence.refused
    end = replace(UploadEnd.from_bytes(data, max_bytes=1 << 20), **changes)
    return replace(evidence, refused=((party, reason, end.to_bytes()),))


LIES: dict[str, tuple[Callable[[Record, Evidence], Record | Evidence], str]] = {
    "no evidence": (lambda r, e: replace(r, extras=()), "without its attestations"),
    "garbage": (lambda r, e: replace(r, extras=((INLINE, b"garbage"),)), "attest"),
    "one attestation missing": (lambda r, e: replace(e, attestations=e.attestations[1:]), "false sum"),
    "another's attestation": (
        lambda r, e: replace(e, attestations=((b"site-0", e.attestations[1][1]), *e.attestations[1:])),
        "the server counted b'site-0', but the signature",
    ),
    "a made-up attestation": (_forged, "the server counted b'site-0', but the signature"),
    "garbage for an attestation": (
        lambda r, e: replace(e, attestations=((b"site-0", b"garbage"), *e.attestations[1:])),
        "the server counted b'site-0'",
    ),
    "blindings changed": (lambda r, e: replace(e, blindings=bytes(len(e.blindings))), "false sum"),
    "blindings not canonical": (lambda r, e: replace(e, blindings=b"\xff" * len(e.blindings)), "false sum"),
    "no blindings": (lambda r, e: replace(e, blindings=b""), "false sum"),
    "another sum": (
        lambda r, e: replace(r, aggregate=(s := _bump(r)), aggregate_digest=Record.digest_of(s)),
        "false sum",
    ),
    "a refusal under another attestation": (
        lambda r, e: _end(e, attachment=e.attestations[0][1]),
        "shows no upload that it signed",
    ),
    "a refusal in another name": (
        lambda r, e: replace(e, refused=((b"site-9", "bad", e.refused[0][2]),)),
        "shows no upload that it signed",
    ),
    "a refusal without an upload": (lambda r, e: replace(e, refused=((b"site-2", "bad", b""),)), "attest"),
}


def _bump(record: Record) -> bytes:
    total = np.frombuffer(record.aggregate or b"", dtype="<i8").copy()
    total[1] -= 1
    return total.tobytes()


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_lies_in_the_record_are_found(lie: str, path: Path) -> None:
    change, text = LIES[lie]
    report = rewritten(path, change)
    assert report.failure is not None
    assert text in report.failure.seen
    assert report.failure.index == 0


def test_the_same_record_unchanged_passes(path: Path) -> None:
    assert rewritten(path, lambda record, evidence: evidence).ok


# ---- large evidence, restarts


def test_large_evidence_lies_beside_the_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privcomp.rounds.server.INLINE_BYTES", 1000)
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        federation.run(federation.server())
    beside = path.with_name("ledger.0.attest")
    good = beside.read_bytes()
    assert len(good) > N * ATTESTED.aggregation.attachment_bytes
    assert audited(path, federation.roster).ok
    beside.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert "another SHA-256" in str(audited(path, federation.roster).failure)
    beside.unlink()
    assert "cannot be read" in str(audited(path, federation.roster).failure)


def test_evidence_is_not_read_elsewhere(path: Path) -> None:
    def elsewhere(record: Record, evidence: Evidence) -> Record:
        return replace(record, extras=(("attest-file", b"../ledger"), ("attest-sha256", bytes(32))))

    assert "plain file name" in str(rewritten(path, elsewhere).failure)


def test_a_restarted_server_still_has_the_attestations(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        poison(federation.sites[b"site-2"], 1000)
        server = federation.server()
        fresh = RoundServer.thaw(server.freeze(), roster=federation.roster, ledger=ledger)
        assert fresh.spec == server.spec
        requests = federation.announcements(server)
        while STAGES[server.secagg.stage] != "unmask":
            federation.collect(server, requests)
            requests = server.advance()
        frozen = server.freeze()
        with pytest.raises(CodecError):
            RoundServer.thaw(frozen[:-33] + b"\x01" + frozen[-32:], roster=federation.roster, ledger=ledger)
        again = RoundServer.thaw(frozen, roster=federation.roster, ledger=ledger)
        assert again.freeze() == frozen
        federation.collect(again, requests)
        result = again.finish()
        federation.expect(result)
        assert list(result.refused) == [b"site-2"]
    report = audited(path, federation.roster)
    assert report.ok, report
    assert "1 recorded refusals" in str(report)


def test_a_restarted_server_checks_what_comes(path: Path) -> None:
    """Also where nobody had advertised when it stopped; the model, which is not stored, comes from the caller."""
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        poison(federation.sites[b"site-2"], 1000)
        server = federation.server()
        fresh = RoundServer.thaw(server.freeze(), roster=federation.roster, ledger=ledger)
        fresh.secagg._model = server.secagg._model
        assert list(federation.run(fresh).refused) == [b"site-2"]
        plain = server.secagg.freeze()
        with pytest.raises(CodecError, match="survivors"):
            RoundServer.thaw(plain, roster=federation.roster, ledger=ledger)
    assert audited(path, federation.roster).ok


def test_policies_about_attestations(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        announcement = federation.server().announcement()
        for party, policy in (
            (
                b"site-0",
                replace(federation.sites[b"site-0"].policy, attestation="required", attestation_values_max=255),
            ),
            (b"site-1", replace(federation.sites[b"site-1"].policy, attestation_values_max=254)),
        ):
            site = federation.sites[party]
            client = RoundClient(party, site.identity, policy, MemoryJournal(site.identity.public), federation.roster)
            if policy.attestation_values_max == 255:
                list(client.receive(announcement, {}))
            else:
                with pytest.raises(PolicyError, match="255 values"):
                    client.receive(announcement, {})
    with pytest.raises(ParameterError, match="attestation"):
        Policy(attestation="perhaps")
    with pytest.raises(ParameterError, match="tables that nobody fills"):
        AttestationSpec(columns=2048).statements(ENCODING)


def test_a_round_that_ends_early_leaves_a_record_that_passes(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        federation.server(1).abort("no node came")
        third = federation.server(2)
        poison(federation.sites[b"site-2"], 1000)
        with pytest.raises(RoundAborted) as stopped:
            federation.run(third, {b"site-0": "mask", b"site-1": "mask"})
        third.abort(stopped.value)
    report = audited(path, federation.roster)
    assert report.ok, report
    assert (report.records, report.complete) == (2, 0)
    assert "1 recorded refusals are justified" in str(report)


def test_sums_without_attestations_are_told_apart(path: Path) -> None:
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        federation.run(federation.server(1))
        federation.spec = RoundSpec.secure_sum(ENCODING)
        federation.run(federation.server(2))
    report = audited(path, federation.roster)
    assert report.ok
    assert "1 published sums are those of 5 updates" in report.shown[0]
    assert any("needs attestations" in note and "(1 of the published sums" in note for note in report.notes)


# ---- the declaration


def test_the_declaration_binds_the_attestation() -> None:
    assert RoundSpec.of_params(ATTESTED.aggregation) == ATTESTED
    task = Task("update", kept=("n",))
    with_task = RoundSpec.secure_sum(ENCODING, task, ATTESTED.attestation)
    assert RoundSpec.of_params(with_task.aggregation) == with_task
    ring, lanes = ATTESTED.aggregation.segments
    assert (lanes.length, ring.length) == (2, ENCODING.length)
    looser = RoundSpec.secure_sum(ENCODING, attestation=AttestationSpec(columns=4, l2_squared=L2 + 1))
    assert looser.aggregation.context != ATTESTED.aggregation.context


def test_declarations_that_do_not_add_up_are_refused() -> None:
    spec = ATTESTED.attestation
    plain = RoundSpec.secure_sum(ENCODING)

    def params(of: RoundSpec, **changes: Any) -> Params:
        return replace(of.aggregation, **changes)

    segments = ATTESTED.aggregation.segments
    for build in (
        lambda: RoundSpec.secure_sum(ENCODING, attestation=AttestationSpec(columns=4, noise=3)),
        lambda: RoundSpec.secure_sum(ENCODING, Task("update", metrics=(("loss", 0.0, 1.0),)), spec),
        lambda: RoundSpec(ENCODING, plain.aggregation, None, spec),
        lambda: RoundSpec(ENCODING, ATTESTED.aggregation),
        lambda: RoundSpec.of_params(params(ATTESTED, segments=segments[:1])),
        lambda: RoundSpec.of_params(params(ATTESTED, segments=segments[::-1])),
        lambda: RoundSpec.of_params(params(ATTESTED, segments=(segments[0], Segment.prime(2**61 - 1, 2)))),
        lambda: RoundSpec.of_params(params(ATTESTED, attachment_bytes=0)),
        lambda: RoundSpec.of_params(params(plain, segments=segments)),
    ):
        with pytest.raises(ParameterError):
            build()
    with pytest.raises(CodecError):
        RoundSpec.of_params(params(ATTESTED, context=ATTESTED.aggregation.context[:-1]))


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_announced_parameters_are_refused_by_a_typed_error(data: st.DataObject) -> None:
    context = bytearray(ATTESTED.aggregation.context)
    for _ in range(data.draw(st.integers(1, 3))):
        context[data.draw(st.integers(0, len(context) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(CodecError, ParameterError):
        found = RoundSpec.of_params(replace(ATTESTED.aggregation, context=bytes(context)))
        assert found.aggregation.context == bytes(context)


def test_evaluations_are_attested_without_a_norm(path: Path) -> None:
    task = Task("metrics", metrics=(("loss", 0.0, 1.0), ("accuracy", 0.0, 1.0)))
    encoding = replace(ENCODING, entries=2)
    spec = RoundSpec.secure_sum(encoding, task, AttestationSpec(columns=4))
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger, spec)
        for site in federation.sites.values():
            site.values = np.array([0.5, -0.25])
        federation.expect(federation.run(federation.server(purpose="evaluation")))
    assert audited(path, federation.roster).ok


def test_evidence_names_each_client_once() -> None:
    with pytest.raises(ParameterError):
        Evidence(((b"a", b""), (b"a", b"1")), (), b"")
    with pytest.raises(ParameterError):
        Evidence(((b"a", b""),), ((b"a", "", b""),), b"")


def test_a_ledger_that_cannot_be_written_records_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privcomp.rounds.server.INLINE_BYTES", 10)
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Attested(ledger)
        path.with_name("ledger.0.attest").mkdir()
        with pytest.raises(LedgerError, match="nothing was recorded"):
            federation.run(federation.server())
        assert len(ledger) == 0
