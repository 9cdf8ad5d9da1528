"""A federated round: encoding, aggregation and ledger together, and the attacks that only show at this level."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.encoding import FixedPoint, Layout
from privcomp.errors import (
    CodecError,
    EncodingError,
    JournalError,
    LedgerError,
    ParameterError,
    PolicyError,
    RemoteError,
    RoundAborted,
    StateError,
)
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.ledger import Ledger, Record
from privcomp.policy import Policy
from privcomp.rounds import RoundClient, RoundResult, RoundServer, RoundSpec, audit
from privcomp.rounds.messages import RoundAnnouncement
from privcomp.secagg import MALICIOUS, SEMI_HONEST, Params, Segment
from tests.secagg.harness import SESSION, STAGES, TRAINING, decode, forge

N, ENTRIES = 5, 6
LEDGER_KEY = Identity.from_seed(b"ledger key of the server".ljust(32, b"."))
ENCODING = FixedPoint.for_range(4.0, bits=16, clients=N, entries=ENTRIES, max_weight=50)


class Site:
    """One hospital: values, a weight, and the round client that sends them."""

    def __init__(
        self, party: bytes, identity: Identity, roster: Roster, policy: Policy, rng: np.random.Generator
    ) -> None:
        self.identity, self.roster, self.policy = identity, roster, policy
        self.journal = MemoryJournal(identity.public)
        self.id = party
        self.values: Any = rng.uniform(-3.9, 3.9, ENTRIES)
        self.weight: Any = int(rng.integers(1, 51))
        self.restart()

    def restart(self, policy: Policy | None = None) -> None:
        self.policy = policy or self.policy
        self.client = RoundClient(self.id, self.identity, self.policy, self.journal, self.roster)

    def receive(self, data: bytes) -> list[bytes]:
        return list(self.client.receive(data, lambda model, spec: (self.values, self.weight)))


class Federation:
    """N hospitals, one ledger, and rounds with losses."""

    def __init__(self, ledger: Ledger | None = None, policy: Policy | None = None, **options: Any) -> None:
        rng = np.random.default_rng(3)
        identities = {b"site-%d" % i: Identity.from_seed(bytes([i + 1]) * 32) for i in range(N)}
        self.roster = Roster.of({party: identity.public for party, identity in identities.items()})
        self.ledger = ledger if ledger is not None else Ledger(None, LEDGER_KEY)
        policy = policy or Policy(corrupt=0, ledger_key=LEDGER_KEY.public)
        self.sites = {party: Site(party, identity, self.roster, policy, rng) for party, identity in identities.items()}
        self.spec = RoundSpec.secure_sum(ENCODING, **options)

    def server(self, number: int = 1, **options: Any) -> RoundServer:
        values: dict[str, Any] = {
            "session": SESSION,
            "round": number,
            "purpose": TRAINING,
            "model": b"model of round %d" % number,
            "roster": self.roster,
            "ledger": self.ledger,
            **options,
        }
        return RoundServer(values.pop("spec", self.spec), **values)

    def announcements(self, server: RoundServer) -> dict[bytes, bytes]:
        heads = {party: site.client.chain for party, site in self.sites.items()}
        return {party: server.announcement(chain.head if chain else None) for party, chain in heads.items()}

    def collect(self, server: RoundServer, requests: Mapping[bytes, bytes], lost: Any = ()) -> None:
        for party, request in requests.items():
            if party not in lost:
                for message in self.sites[party].receive(request):
                    server.receive(message, party)

    def run(self, server: RoundServer, lost: Mapping[bytes, str] | None = None) -> RoundResult:
        requests = self.announcements(server)
        while True:
            stage = server.secagg.stage
            self.collect(server, requests, [p for p, since in (lost or {}).items() if STAGES.index(since) <= stage])
            if STAGES[stage] == "unmask":
                return server.finish()
            requests = server.advance()

    def plain(self, result: RoundResult) -> tuple[np.ndarray[Any, Any], int]:
        """The weighted mean of the survivors, in the clear."""
        sites = [self.sites[party] for party in result.aggregate.survivors]
        weights = np.array([site.weight for site in sites], dtype=np.float64)
        return np.average([site.values for site in sites], axis=0, weights=weights), int(weights.sum())


def check(federation: Federation, result: RoundResult) -> None:
    mean, weight = federation.plain(result)
    assert result.decoded.total_weight == weight == result.integer_sum[ENTRIES]
    assert np.abs(result.decoded.mean - mean).max() <= result.decoded.quantisation_bound


@pytest.mark.parametrize("options", [{}, {"adversary": SEMI_HONEST}, {"hybrid": True}, {"cipher": 2}], ids=str)
def test_rounds_with_losses_give_the_weighted_mean_and_pass_the_audit(options: dict[str, Any], tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", LEDGER_KEY) as ledger:
        adversary = options.get("adversary", MALICIOUS)
        federation = Federation(ledger, Policy(corrupt=0, adversary=adversary), **options)
        check(federation, federation.run(federation.server(1)))
        check(federation, federation.run(federation.server(2), {b"site-1": "mask"}))
        third = federation.server(3)
        with pytest.raises(RoundAborted) as stopped:
            federation.run(third, {b"site-0": "share", b"site-1": "share", b"site-2": "share"})
        third.abort(stopped.value)
        result = federation.run(federation.server(4), {b"site-2": "advertise"})
        check(federation, result)
        heads = [site.client.chain.head for site in federation.sites.values() if site.client.chain]
    report = audit(tmp_path / "ledger", ledger_key=LEDGER_KEY.public, roster=federation.roster, heads=heads)
    assert report.ok, report
    assert (report.records, report.complete) == (4, 3)
    assert report.head == result.header.hash


def test_named_arrays_travel_with_their_layout() -> None:
    federation = Federation()
    arrays = {"bias": np.array([0.5, -1.0], dtype=np.float32), "weight": np.ones((2, 2))}
    layout = Layout.of(arrays)
    for site in federation.sites.values():
        site.values, site.weight = (arrays, layout), 2
    result = federation.run(federation.server())
    decoded = layout.unflatten(result.decoded.mean)
    assert np.allclose(decoded["weight"], 1.0, atol=result.decoded.quantisation_bound)
    assert decoded["bias"].shape == (2,)
    assert result.decoded.total_weight == 2 * N


def test_a_long_aggregate_lies_beside_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import privcomp.rounds.server as module

    monkeypatch.setattr(module, "INLINE_BYTES", 16)
    with Ledger(tmp_path / "ledger", LEDGER_KEY) as ledger:
        federation = Federation(ledger)
        result = federation.run(federation.server())
    (record,) = Ledger(tmp_path / "ledger", LEDGER_KEY).records()
    assert record.aggregate is None
    assert (tmp_path / str(record.artefact)).read_bytes() == result.integer_sum.astype("<i8").tobytes()
    assert audit(tmp_path / "ledger", ledger_key=LEDGER_KEY.public, roster=federation.roster).ok


def test_a_round_is_recorded_once() -> None:
    federation = Federation()
    server = federation.server()
    federation.run(server)
    with pytest.raises(StateError, match="recorded already"):
        server.finish()
    with pytest.raises(StateError, match="recorded already"):
        server.abort("twice")
    assert len(federation.ledger) == 1


# ---- 13: nothing can wrap ----


def test_attack_13_a_modulus_in_which_the_sum_could_wrap() -> None:
    """The encoding's range check is part of the round: fewer bits, or more clients than it is safe for, are refused."""
    spec = RoundSpec.secure_sum(ENCODING)
    bits = spec.aggregation.segments[0].bits
    assert 2 * N * ENCODING.bound + 1 <= 1 << bits
    narrow = replace(spec.aggregation, segments=(Segment.ring(bits - 1, ENCODING.length),))
    with pytest.raises(ParameterError, match="could wrap"):
        RoundSpec(ENCODING, narrow)
    with pytest.raises(ParameterError, match="safe for 5 clients, the aggregation admits 6"):
        RoundSpec.secure_sum(ENCODING, clients=N + 1)
    # A weight sum that wraps although the entries do not: the weight entry counts.
    heavy = FixedPoint(
        bits=8, granularity=0.1, way="prescaled", max_weight=1000, clients=50, entries=3, max_error=200.0
    )
    assert heavy.modulus_bits == (2 * 50 * 1000).bit_length()
    with pytest.raises(ParameterError, match="could wrap"):
        RoundSpec(heavy, Params("bonawitz", MALICIOUS, (Segment.ring(13, 5),), 0, 50, context=heavy.to_bytes()))


def test_attack_13_an_announced_round_that_could_wrap_is_refused_by_the_client() -> None:
    """The server's announcement is rebuilt and checked by the same rules; nothing is signed."""
    federation = Federation()
    site = federation.sites[b"site-0"]
    honest = RoundAnnouncement.from_bytes(federation.server().announcement(), max_bytes=1 << 20)
    announce = decode(honest.announce)
    params = federation.spec.aggregation
    bits = params.segments[0].bits
    changes: list[tuple[dict[str, Any], str]] = [
        ({"segments": (Segment.ring(bits - 1, ENCODING.length),)}, "could wrap"),
        ({"segments": (Segment.ring(bits, ENCODING.length + 1),)}, "one ring segment"),
        ({"segments": (*params.segments, Segment.ring(8, 1))}, "one ring segment"),
        ({"clients": N + 1}, "safe for 5 clients"),
        ({"context": b""}, "refused"),
        ({"context": replace(ENCODING, granularity=1.0).to_bytes() + b"\0"}, "refused"),
    ]
    for change, text in changes:
        bad = replace(announce, params=forge(Params, params, **change).to_bytes()).to_bytes()
        with pytest.raises(PolicyError, match=text):
            site.receive(replace(honest, announce=bad).to_bytes())
    assert not site.journal.entries()
    check(federation, federation.run(federation.server()))


# ---- 14 and 30: what a client sends ----


@pytest.mark.parametrize(
    ("values", "weight"),
    [
        (np.full(ENTRIES, np.nan), 1),
        (np.full(ENTRIES, np.inf), 1),
        (np.zeros(ENTRIES, dtype=np.float16), 1),
        (np.zeros(ENTRIES, dtype=np.int64), 1),
        (np.zeros(ENTRIES + 1), 1),
        (np.zeros(0), 1),
        (np.zeros(ENTRIES), 0),
        (np.zeros(ENTRIES), -1),
        (np.zeros(ENTRIES), 51),
        (np.zeros(ENTRIES), 1 << 70),
        (np.zeros(ENTRIES), 1.0),
        (np.zeros(ENTRIES), True),
    ],
)
def test_attack_14_an_update_that_cannot_be_encoded(values: Any, weight: Any) -> None:
    """Refused before anything is sent; the round goes on with the corrected update."""
    federation = Federation()
    site = federation.sites[b"site-0"]
    server = federation.server()
    federation.collect(server, federation.announcements(server))
    federation.collect(server, server.advance())
    requests = server.advance()
    good = site.values, site.weight
    site.values, site.weight = values, weight
    entries = site.journal.entries()
    with pytest.raises(EncodingError):
        site.receive(requests[site.id])
    assert site.journal.entries() == entries
    site.values, site.weight = good
    federation.collect(server, requests)
    federation.collect(server, server.advance())
    federation.collect(server, server.advance())
    check(federation, server.finish())


def test_attack_30_the_weight_travels_inside_of_the_masked_vector() -> None:
    """Two sites that differ in weight alone send the same kinds, numbers and sizes of messages; no message names it."""
    federation = Federation()
    light, heavy = federation.sites[b"site-0"], federation.sites[b"site-1"]
    heavy.values, light.weight, heavy.weight = light.values, 1, 50
    sent: dict[bytes, list[bytes]] = {light.id: [], heavy.id: []}
    server = federation.server()
    requests = federation.announcements(server)
    for stage in STAGES:
        for party, request in requests.items():
            messages = federation.sites[party].receive(request)
            sent.setdefault(party, []).extend(messages)
            for message in messages:
                server.receive(message, party)
        requests = server.advance() if stage != "unmask" else {}
    result = server.finish()
    shapes = [[(type(decode(message)), len(message)) for message in sent[site.id]] for site in (light, heavy)]
    assert shapes[0] == shapes[1]
    assert result.decoded.total_weight == sum(site.weight for site in federation.sites.values())


def test_attack_30_a_weight_that_no_honest_site_has_spoils_the_round_typed() -> None:
    """W outside of |U| .. |U| * W_max is no mean: nothing is decoded, the round is recorded as aborted."""
    federation = Federation()

    class Liar(Site):
        def receive(self, data: bytes) -> list[bytes]:
            from privcomp.secagg import Contribution

            vector = np.zeros(ENCODING.length, dtype=np.int64)
            vector[ENTRIES] = -10_000
            if isinstance(_inner(data), RoundAnnouncement):
                return super().receive(data)
            inner = self.client._client
            digest = decode(data).round_digest
            state = inner.restore(digest)
            return list(inner.receive(state, data, Contribution((vector,)))[1])

    site = federation.sites[b"site-4"]
    liar = Liar(site.id, site.identity, site.roster, site.policy, np.random.default_rng(1))
    federation.sites[site.id] = liar
    server = federation.server()
    with pytest.raises(RemoteError, match="total weight is") as caught:
        federation.run(server)
    server.abort(caught.value)
    assert len(federation.ledger) == 1
    assert next(iter(federation.ledger.records())).aggregate is None


def _inner(data: bytes) -> Any:
    try:
        return RoundAnnouncement.from_bytes(data, max_bytes=1 << 20)
    except CodecError:
        return None


# ---- 4 and 34: the ledger ----


def test_attack_34_a_forked_ledger() -> None:
    """A client that followed one ledger is shown another one of the same key: it sits out and follows its own later."""
    federation = Federation()
    federation.run(federation.server(1))
    forked = Federation()
    forked.sites[b"site-0"].values = np.zeros(ENTRIES)
    forked.run(forked.server(1))
    federation.run(federation.server(2))
    forked.run(forked.server(2))
    site = federation.sites[b"site-0"]
    before, chain = site.journal.entries(), site.client.chain
    lie = forked.server(3)
    genesis_on = lie.announcement()
    for announcement in (genesis_on, lie.announcement(forked.ledger.headers[0].hash)):
        with pytest.raises(LedgerError, match=r"forked|gap or went back"):
            site.receive(announcement)
    assert (site.journal.entries(), site.client.chain) == (before, chain)
    check(federation, federation.run(federation.server(3)))


def test_attack_34_a_shortened_ledger() -> None:
    """A server that comes back with an older copy of its ledger is noticed by everybody who signed a newer head."""
    federation = Federation()
    federation.run(federation.server(1))
    old = federation.server(2)
    shortened = old.announcement()
    federation.run(federation.server(2))
    third = federation.server(3)
    federation.collect(third, federation.announcements(third))  # everybody signs the head after round 2
    site = federation.sites[b"site-0"]
    with pytest.raises(LedgerError, match=r"gap or went back|does not bind the head"):
        site.receive(replace(RoundAnnouncement.from_bytes(shortened, max_bytes=1 << 20), headers=()).to_bytes())
    later = RoundAnnouncement.from_bytes(federation.server(4).announcement(), max_bytes=1 << 20)
    cut = replace(later, headers=later.headers[:-1])
    with pytest.raises(LedgerError, match=r"does not bind the head|gap or went back"):
        site.receive(cut.to_bytes())
    federation.collect(third, third.advance())
    federation.collect(third, third.advance())
    federation.collect(third, third.advance())
    federation.collect(third, third.advance())
    check(federation, third.finish())


def test_attack_34_a_ledger_of_another_key() -> None:
    """The pinned key, or else the first one seen, is the ledger's key."""
    other = Ledger(None, Identity.from_seed(b"\x55" * 32))
    pinned = Federation()
    with pytest.raises(LedgerError, match="key that this node's policy pins"):
        pinned.sites[b"site-0"].receive(Federation(other).server().announcement())
    open_ = Federation(policy=Policy(corrupt=0))
    open_.run(open_.server(1))
    with pytest.raises(LedgerError, match="changed its ledger key"):
        open_.sites[b"site-0"].receive(Federation(other).server(2).announcement())


def test_attack_34_headers_that_the_announcement_does_not_bind() -> None:
    """The ledger head is in the round digest: headers and announcement of two servers do not go together."""
    federation = Federation()
    federation.run(federation.server(1))
    site = federation.sites[b"site-0"]
    message = RoundAnnouncement.from_bytes(federation.server(2).announcement(), max_bytes=1 << 20)
    announce = replace(decode(message.announce), ledger_head=bytes(32)).to_bytes()
    with pytest.raises(LedgerError, match="does not bind the head"):
        site.receive(replace(message, announce=announce).to_bytes())
    header = message.headers[-1]
    forged = replace(header, signature=bytes(64))
    with pytest.raises(LedgerError, match="not signed"):
        site.receive(replace(message, headers=(*message.headers[:-1], forged)).to_bytes())
    check(federation, federation.run(federation.server(2)))


def test_attack_34_a_server_that_restarts_and_announces_a_finished_round_again() -> None:
    """A finished (session, round) under a newer ledger head is another round with an old number: refused."""
    federation = Federation()
    federation.run(federation.server(1))
    for site in federation.sites.values():
        with pytest.raises(JournalError, match="announced with other parameters"):
            site.receive(federation.server(1).announcement())
        site.restart()
        with pytest.raises(JournalError, match="announced with other parameters"):
            site.receive(federation.server(1).announcement())
    check(federation, federation.run(federation.server(2)))


def test_attack_04_another_model_at_the_same_head() -> None:
    """Stage 2 hands out the announced model or nothing is trained."""
    federation = Federation()
    server = federation.server()
    federation.collect(server, federation.announcements(server))
    federation.collect(server, server.advance())
    requests = server.advance()
    site = federation.sites[b"site-0"]
    crafted = replace(decode(requests[site.id]), model=b"crafted").to_bytes()
    with pytest.raises(RemoteError, match="do not have the announced hash"):
        site.receive(crafted)
    federation.collect(server, requests)
    federation.collect(server, server.advance())
    federation.collect(server, server.advance())
    check(federation, server.finish())


def test_attack_22_the_encoding_is_bound_and_cannot_be_exchanged_later() -> None:
    """Granularity and weights are part of the params, hence of the round digest and of everything under it."""
    federation = Federation()
    other = replace(ENCODING, granularity=ENCODING.granularity / 2)
    first, second = federation.server(1), federation.server(1, spec=RoundSpec.secure_sum(other))
    assert first.secagg.context.digest != second.secagg.context.digest
    site = federation.sites[b"site-0"]
    site.receive(first.announcement())
    with pytest.raises(JournalError, match="announced with other parameters"):
        site.receive(second.announcement())


# ---- the auditor ----


def test_attack_34_an_aggregate_that_was_exchanged_in_the_ledger(tmp_path: Path) -> None:
    """A server that signs a record with a sum outside of the encoding's range, or another U, fails the audit."""
    with Ledger(tmp_path / "ledger", LEDGER_KEY) as ledger:
        federation = Federation(ledger)
        federation.run(federation.server(1))
    (record,) = Ledger(tmp_path / "ledger", LEDGER_KEY).records()
    assert record.aggregate is not None
    total = np.frombuffer(record.aggregate, dtype="<i8").copy()
    total[ENTRIES] = 0
    liars = {
        "aggregate_decodes": {"aggregate": total.tobytes(), "aggregate_digest": record.digest_of(total.tobytes())},
        "quorum signature": {"survivors": record.survivors[:4], "quorum": record.quorum[:4]},
        "quorum": {"quorum": record.quorum[:1]},
        "round digest": {"model_hash": bytes(32)},
        "advertisements": {"advertisements": record.advertisements[1:]},
    }
    for check_name, change in liars.items():
        path = tmp_path / check_name.replace(" ", "-")
        with Ledger(path, LEDGER_KEY) as forged:
            forged.append(replace(record, **change))
        report = audit(path, ledger_key=LEDGER_KEY.public, roster=federation.roster)
        assert report.failure is not None
        assert report.failure.check == check_name, report


def _record(path: Path, **options: Any) -> tuple[Federation, Record]:
    """One honest round, and what it left in the ledger."""
    adversary = options.get("adversary", MALICIOUS)
    with Ledger(path, LEDGER_KEY) as ledger:
        federation = Federation(ledger, Policy(corrupt=0, adversary=adversary), **options)
        federation.run(federation.server(1))
    (record,) = Ledger(path, LEDGER_KEY).records()
    return federation, record


def _audit(path: Path, federation: Federation, *records: Record) -> Any:
    """The audit of a ledger that a lying server wrote and signed."""
    with Ledger(path, LEDGER_KEY) as ledger:
        for record in records:
            ledger.append(replace(record, index=len(ledger), previous=ledger.head))
    return audit(path, ledger_key=LEDGER_KEY.public, roster=federation.roster)


def _as_artefact(record: Record, name: str, data: bytes) -> Record:
    return replace(record, aggregate=None, artefact=name, aggregate_digest=Record.digest_of(data))


@pytest.mark.parametrize("data", [b"", b"not a sum at all", bytes(8 * (ENTRIES + 2))], ids=["empty", "text", "zeros"])
def test_attack_34_an_artefact_that_is_no_sum_fails_the_audit(data: bytes, tmp_path: Path) -> None:
    """Published bytes beside the ledger are decoded like those inside of it."""
    federation, record = _record(tmp_path / "honest")
    (tmp_path / "x.sum").write_bytes(data)
    report = _audit(tmp_path / "forged", federation, _as_artefact(record, "x.sum", data))
    assert report.failure is not None
    assert report.failure.check == "aggregate_decodes", report
    assert record.aggregate is not None
    (tmp_path / "y.sum").write_bytes(record.aggregate)
    assert _audit(tmp_path / "moved", federation, _as_artefact(record, "y.sum", record.aggregate)).ok


@pytest.mark.parametrize("kind", ["FIFO", "symlink", "folder", "nothing"])
def test_attack_34_an_artefact_that_is_no_file_fails_without_blocking(kind: str, tmp_path: Path) -> None:
    """Neither a pipe that never ends nor a link out of the folder is followed."""
    federation, record = _record(tmp_path / "honest")
    assert record.aggregate is not None
    (tmp_path / "real.sum").write_bytes(record.aggregate)
    place = tmp_path / "x.sum"
    if kind == "FIFO":
        os.mkfifo(place)
    elif kind == "symlink":
        place.symlink_to("real.sum")
    elif kind == "folder":
        place.mkdir()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(_audit, tmp_path / "forged", federation, _as_artefact(record, "x.sum", record.aggregate))
        try:
            report = done.result(timeout=20)
        finally:
            if not done.done() and kind == "FIFO":  # let a blocked reader go
                os.close(os.open(place, os.O_WRONLY | os.O_NONBLOCK))
    assert report.failure is not None
    assert report.failure.check == "aggregate", report


def test_attack_34_a_second_sum_for_one_round_fails_the_audit(tmp_path: Path) -> None:
    """One round digest, one published sum, whether the second one is another or the same."""
    federation, record = _record(tmp_path / "honest")
    assert record.aggregate is not None
    total = np.frombuffer(record.aggregate, dtype="<i8").copy()
    total[:ENTRIES] //= 2
    other = replace(record, aggregate=total.tobytes(), aggregate_digest=Record.digest_of(total.tobytes()))
    for k, second in enumerate((other, record)):
        report = _audit(tmp_path / str(k), federation, record, second)
        assert report.failure is not None
        assert (report.failure.index, report.failure.check) == (1, "round"), report
        assert report.records == 1


def test_attack_34_a_sum_over_too_few_survivors_fails_the_audit(tmp_path: Path) -> None:
    """Semi-honest sets are unsigned, but no client would have answered for a single survivor."""
    federation, record = _record(tmp_path / "honest", adversary=SEMI_HONEST)
    threshold = Params.from_bytes(record.params, max_bytes=1 << 16).thresholds(N).threshold
    for count in range(1, N + 1):
        total = np.zeros(ENTRIES + 2, dtype="<i8")
        total[ENTRIES] = count  # a weight of one each
        few = replace(
            record,
            survivors=record.survivors[:count],
            aggregate=total.tobytes(),
            aggregate_digest=Record.digest_of(total.tobytes()),
        )
        report = _audit(tmp_path / str(count), federation, few)
        assert report.ok == (count > threshold), report
        if not report.ok:
            assert report.failure is not None
            assert report.failure.check == "sets_fit"


def test_attack_34_a_protocol_other_than_that_of_the_parameters_fails_the_audit(tmp_path: Path) -> None:
    federation, record = _record(tmp_path / "honest", adversary=SEMI_HONEST)
    report = _audit(tmp_path / "forged", federation, replace(record, protocol="secaggplus"))
    assert report.failure is not None
    assert report.failure.check == "sets_fit", report
    assert "its parameters 'bonawitz'" in str(report)


@pytest.mark.parametrize("adversary", [SEMI_HONEST, MALICIOUS])
def test_the_audit_says_that_semi_honest_sets_are_unsigned(adversary: str, tmp_path: Path) -> None:
    federation, record = _record(tmp_path / "honest", adversary=adversary)
    report = _audit(tmp_path / "again", federation, record)
    assert report.ok, report
    assert ("no client signs them" in " ".join(report.notes)) == (adversary == SEMI_HONEST)


def test_attack_34_a_refused_announcement_leaves_no_ledger_key_behind() -> None:
    """A stranger's announcement that the policy refuses does not pin the stranger's ledger."""
    federation = Federation(policy=Policy(corrupt=0))
    stranger = Federation(Ledger(None, Identity.from_seed(b"\x66" * 32)), policy=Policy(corrupt=0))
    for site in federation.sites.values():
        with pytest.raises(PolicyError, match="purpose"):
            site.receive(stranger.server(1, purpose="no such purpose").announcement())
        assert site.client.chain is None
        assert not site.journal.entries()
        assert site.journal.recall("ledger-chain") is None
    check(federation, federation.run(federation.server(1)))
    assert all(site.client.chain for site in federation.sites.values())


def test_attack_22_updates_per_purpose() -> None:
    """A node that computes something else per purpose: the server names a purpose, it does not define one."""
    federation = Federation()
    site = federation.sites[b"site-0"]
    called: list[str] = []

    def training(model: bytes, spec: RoundSpec) -> Any:
        called.append(TRAINING)
        return site.values, site.weight

    for number, purpose in enumerate((TRAINING, "evaluation"), 1):
        server = federation.server(number, purpose=purpose)
        federation.collect(server, federation.announcements(server))
        federation.collect(server, server.advance())
        requests = dict(server.advance())
        mine = requests.pop(b"site-0")
        if purpose == TRAINING:
            for message in site.client.receive(mine, {TRAINING: training}):
                server.receive(message, b"site-0")
        else:
            before = site.journal.entries()
            with pytest.raises(PolicyError, match="purpose 'evaluation'"):
                site.client.receive(mine, {TRAINING: training})
            assert site.journal.entries() == before
        federation.collect(server, requests)
        while STAGES[server.secagg.stage] != "unmask":
            requests = server.advance()
            federation.collect(server, requests)
        result = server.finish()
        check(federation, result)
        assert (b"site-0" in result.aggregate.survivors) == (purpose == TRAINING)
    assert called == [TRAINING]
