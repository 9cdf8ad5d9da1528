"""One-shot rounds: declared, driven, recorded, audited, restarted, refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp import oneshot
from privcomp.attest import AttestationSpec
from privcomp.codec import lp
from privcomp.encoding import FixedPoint
from privcomp.errors import (
    JournalError,
    LedgerError,
    ParameterError,
    PolicyError,
    RemoteError,
    RoundAborted,
    StateError,
)
from privcomp.integrations.file_journal import FileJournal
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.ledger import Ledger
from privcomp.oneshot import Committee
from privcomp.oneshot.messages import CloseRequest, Shares
from privcomp.oneshot.rules import PROPOSE
from privcomp.policy import CommitteePolicy, Policy
from privcomp.rounds import RoundClient, RoundResult, RoundServer, RoundSpec, audit
from privcomp.rounds.aggregation import COMMITTEE
from privcomp.rounds.messages import CommitteeEvidence, RoundAgain, RoundUpload, SignedUpload
from privcomp.rounds.task import Task
from privcomp.simulation.loopback import Traffic, run_round

SESSION = bytes(range(32))
N, ENTRIES = 8, 40
MEMBERS = 5


def identity(index: int) -> Identity:
    return Identity.from_seed(bytes([index + 1] * 32))


def name(index: int) -> bytes:
    return b"node-%d" % index


@dataclass
class World:
    """Eight nodes, of which the first five are the committee."""

    ledger: Ledger
    encoding: FixedPoint = field(
        default_factory=lambda: FixedPoint.for_range(4.0, bits=16, clients=N, entries=ENTRIES, max_weight=7)
    )
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roster = Roster.of({name(k): identity(k).public for k in range(N)})
        self.members = tuple((name(k), identity(k).public) for k in range(MEMBERS))
        self.committee = Committee.named(self.members)
        self.policy = replace(
            Policy(
                protocols=("bonawitz", "oneshot"),
                committee=CommitteePolicy(members=self.members),
                ledger_key=self.ledger.public,
                corrupt=1,
            ),
            **self.changes,
        )
        self.journals = {name(k): MemoryJournal(identity(k).public) for k in range(N)}
        self.clients = {name(k): self.client(k) for k in range(N)}
        self.heads: dict[bytes, bytes] = {}
        self.spec = RoundSpec.one_shot(self.encoding, self.committee, corrupt=1)

    def client(self, k: int) -> RoundClient:
        return RoundClient(name(k), identity(k), self.policy, self.journals[name(k)], self.roster)

    def server(self, number: int = 1, model: bytes = b"model", **options: Any) -> RoundServer:
        options = {"spec": self.spec, "roster": self.roster, "ledger": self.ledger, "purpose": "training", **options}
        return RoundServer(session=SESSION, round=number, model=model, **options)

    def run(self, server: RoundServer, losses: dict[bytes, str] | None = None) -> RoundResult:
        return run_round(server, self.clients, update, losses=losses, heads=self.heads, traffic=Traffic())

    def collect(self, server: RoundServer, asked: Any, skip: Iterable[bytes] = ()) -> None:
        for party in asked:
            if party not in skip:
                for answer in self.clients[party].receive(asked[party], update(party)):
                    server.receive(answer, party)

    def up_to(self, server: RoundServer, stage: str, skip: Iterable[bytes] = ()) -> Any:
        """Drive a round to the requests of a stage."""
        asked: Any = server.begin(self.clients, self.heads)
        while server.stage != stage:
            self.collect(server, asked, skip)
            asked = server.advance()
        return asked


def values(party: bytes) -> np.ndarray[Any, Any]:
    return np.linspace(-1, 1, ENTRIES) * (1 + party[-1] - ord("0"))


def update(party: bytes) -> Callable[[bytes, RoundSpec], tuple[Any, int]]:
    return lambda _model, _spec: (values(party) / 8, 1 + party[-1] % 7)


def expected(survivors: Iterable[bytes]) -> np.ndarray[Any, Any]:
    weights = np.array([1 + party[-1] % 7 for party in survivors])
    stacked = np.stack([values(party) / 8 for party in survivors])
    return np.asarray((stacked * weights[:, None]).sum(axis=0) / weights.sum())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Ledger(tmp_path / "ledger", identity(100)))


# ---- what works


def test_a_round_with_losses_is_exact_recorded_and_audited(world: World) -> None:
    for number in range(1, 3):
        losses = {name(6): "upload", name(0): "vote"}  # a client before it uploads, a member after it uploaded
        result = world.run(world.server(number, b"model %d" % number), losses)
        assert result.aggregate.survivors == tuple(name(k) for k in range(N) if k != 6)
        assert isinstance(result.decoded.mean, np.ndarray)
        error = np.abs(result.decoded.mean - expected(result.aggregate.survivors)).max()
        assert error <= result.decoded.quantisation_bound  # type: ignore[union-attr]
    report = audit(
        world.ledger.path or "", ledger_key=world.ledger.public, roster=world.roster, heads=world.heads.values()
    )
    assert report.ok
    assert report.complete == 2
    assert not any("semi-honest" in note for note in report.notes)  # a quorum of members signed the survivors


def test_the_weight_is_within_the_ring(world: World) -> None:
    params = world.spec.aggregation
    assert isinstance(params, oneshot.Params)
    assert params.ring.weight == 7
    assert params.ring.value_bound >= world.encoding.bound
    assert RoundSpec.of_bytes(params.to_bytes()) == world.spec


def test_who_trusts_the_server_needs_no_votes(tmp_path: Path) -> None:
    world = World(Ledger(tmp_path / "ledger", identity(100)), changes={"adversary": "semi_honest"})
    spec = RoundSpec.one_shot(world.encoding, world.committee, corrupt=1, adversary="semi_honest")
    server = world.server(spec=spec)
    assert server.stages == ("boxkeys", "upload", "accept", "answer")
    assert len(world.run(server).aggregate.survivors) == N
    report = audit(world.ledger.path or "", ledger_key=world.ledger.public, roster=world.roster)
    assert report.ok
    assert any("semi-honest" in note for note in report.notes)


def test_too_few_uploads_abort_and_are_recorded(world: World) -> None:
    with pytest.raises(RoundAborted, match="complete uploads"):
        world.run(world.server(), {name(k): "upload" for k in range(3, N)})
    with pytest.raises(RoundAborted, match="box keys"):
        world.run(world.server(2), {name(k): "boxkeys" for k in range(2)})
    assert [record.outcome for record in world.ledger.records()] == ["aborted", "aborted"]
    assert audit(world.ledger.path or "", ledger_key=world.ledger.public, roster=world.roster).ok
    assert len(world.run(world.server(3)).aggregate.survivors) == N  # nothing was certified: the model is still open


# ---- across restarts


@pytest.mark.parametrize("stage", ["vote", "answer"])
@pytest.mark.parametrize("forgetful", [False, True], ids=["members stay", "members restart"])
def test_a_restarted_server_finishes_a_round_whose_survivors_are_fixed(
    world: World, stage: str, forgetful: bool
) -> None:
    server = world.server()
    asked = world.up_to(server, stage)
    assert server.fixed
    world.collect(server, asked, skip=[name(0)])
    thawed = RoundServer.thaw(server.freeze(), roster=world.roster, ledger=world.ledger)
    assert (thawed.stage, thawed.digest) == (stage, server.digest)
    assert set(thawed.requests()) == {name(0)}
    if forgetful:
        world.clients = {name(k): world.client(k) for k in range(N)}
    asked = thawed.requests()
    while thawed.stage != thawed.stages[-1]:
        world.collect(thawed, asked)
        thawed.advance()
        asked = thawed.requests()
    world.collect(thawed, asked)
    result = thawed.finish()
    assert len(result.aggregate.survivors) == N


def test_a_round_that_is_only_announced_is_kept_to_be_recorded(world: World) -> None:
    server = world.server()
    assert server.freeze() == b""  # nothing is announced before the box keys are here
    world.up_to(server, "upload")
    thawed = RoundServer.thaw(server.freeze(), roster=world.roster, ledger=world.ledger)
    assert not thawed.fixed
    thawed.abort("restarted")
    assert [(record.round, record.outcome) for record in world.ledger.records()] == [(1, "aborted")]
    with pytest.raises(StateError):
        thawed.requests()


@pytest.mark.parametrize("stage", ["vote", "answer"])
def test_what_a_lost_server_costs_with_a_journal_and_without(world: World, tmp_path: Path, stage: str) -> None:
    """The process ends when the survivors are fixed and members have signed; what `freeze` gave is lost with it. With a
    journal in a folder the next server asks nobody on that model; without one clients train and upload, and then the
    members refuse."""
    with FileJournal.create(tmp_path / "journal", world.ledger.public) as journal:
        server = world.server(journal=journal)
        world.collect(server, world.up_to(server, stage))
    with FileJournal(tmp_path / "journal", world.ledger.public) as journal:
        with pytest.raises(JournalError, match="proposed to this committee on this very model in round 1"):
            world.server(2, journal=journal)
        forgetful = world.server(2)
        asked = world.up_to(forgetful, "vote")
        with pytest.raises(JournalError, match=r"opened 1 set\(s\) on this very model"):
            world.clients[name(0)].receive(asked[name(0)], update(name(0)))
        # Another model is another matter, and another server's journal is refused.
        assert len(world.run(world.server(3, b"next", journal=journal)).aggregate.survivors) == N
        with pytest.raises(ParameterError, match="another identity"):
            world.server(4, b"last", ledger=Ledger(None, identity(101)), journal=journal)


def test_a_round_that_comes_back_is_in_the_journal(world: World) -> None:
    """Also where the journal is younger than the round; and a stored round that is not the one of the journal is
    refused."""
    server = world.server()
    world.up_to(server, "vote")
    kept, journal = server.freeze(), MemoryJournal(world.ledger.public)
    for _ in range(2):
        RoundServer.thaw(kept, roster=world.roster, ledger=world.ledger, journal=journal)
        with pytest.raises(JournalError, match="was proposed to this committee"):
            world.server(2, journal=journal)
    assert [entry.stage for entry in journal.entries()] == [PROPOSE]
    (entry,) = journal.entries()
    other = MemoryJournal(world.ledger.public)
    with other.locked():
        other._write(replace(entry, request=bytes(32)), None)
    with pytest.raises(JournalError, match="another survivor set of this round"):
        RoundServer.thaw(kept, roster=world.roster, ledger=world.ledger, journal=other)


def test_interactive_rounds_leave_a_members_box_keys_alone(tmp_path: Path) -> None:
    """One journal for both: any number of announced rounds with masks costs a committee nothing, restarts included."""
    world = World(Ledger(tmp_path / "ledger", identity(100)), changes={"open_rounds_max": 2})
    server = world.server()
    asked = world.up_to(server, "accept")
    masked = RoundSpec.secure_sum(world.encoding, corrupt=1)
    for number in range(2, 6):
        other = world.server(number, b"model %d" % number, spec=masked)
        world.collect(other, other.begin(world.clients, world.heads))
    assert all(
        len(journal.open_rounds()) == 2 + (party in world.committee.ids) for party, journal in world.journals.items()
    )
    world.clients = {name(k): world.client(k) for k in range(N)}
    while server.stage != server.stages[-1]:
        world.collect(server, asked)
        asked = server.advance()
    world.collect(server, asked)
    assert len(server.finish().aggregate.survivors) == N


def test_members_that_keep_nothing_are_given_their_shares_with_every_request(world: World) -> None:
    server = world.server(redeliver=True)
    asked: Any = server.begin(world.clients, world.heads)
    for _ in server.stages[:-1]:
        world.collect(server, asked)
        world.clients = {name(k): world.client(k) for k in range(N)}  # all of them restart, every time
        asked = server.advance()
    world.collect(server, asked)
    assert len(server.finish().aggregate.survivors) == N


# ---- what is refused


def test_combinations_that_do_not_add_up(world: World) -> None:
    encoding, committee = world.encoding, world.committee
    params = world.spec.aggregation
    with pytest.raises(ParameterError, match="bind"):
        RoundSpec(encoding, replace(params, context=b""))  # type: ignore[type-var]
    with pytest.raises(ParameterError, match="entries"):
        RoundSpec(encoding, replace(params, length=ENTRIES))  # type: ignore[type-var]
    wide = FixedPoint.for_range(4.0, bits=40, clients=N, entries=ENTRIES)
    with pytest.raises(ParameterError, match="bits"):
        RoundSpec.one_shot(wide, committee)
    with pytest.raises(ParameterError, match="attestations"):
        RoundSpec(encoding, params, None, AttestationSpec(l2_squared=1 << 20))
    more = FixedPoint.for_range(4.0, bits=17, clients=N, entries=ENTRIES, max_weight=7)
    bound = RoundSpec.one_shot(more, committee).aggregation
    with pytest.raises(ParameterError, match="holds up to"):
        RoundSpec(more, replace(bound, ring=params.ring))  # type: ignore[type-var,union-attr]
    with pytest.raises(ParameterError, match="roster"):
        world.server(roster=None)


def test_a_declaration_that_no_record_can_hold(world: World) -> None:
    """Refused when the round is declared: the record is written when everybody has trained and the sum is open."""
    keys = {b"%064d" % k: Identity.from_seed(k.to_bytes(32, "little")).public for k in range(512)}
    committee = Committee.named(keys)
    assert RoundSpec.one_shot(world.encoding, committee)
    names = tuple(f"{k:064d}" for k in range(256))
    with pytest.raises(ParameterError, match="a record of the ledger takes 65536"):
        RoundSpec.one_shot(world.encoding, committee, Task("update", kept=names))


def test_a_node_refuses_what_its_policy_does_not_name(tmp_path: Path) -> None:
    for changes, text in (
        ({"protocols": ("bonawitz",)}, "protocol"),
        ({"committee": CommitteePolicy()}, "committee"),
        ({"privacy": "required"}, "differential privacy"),
        ({"attestation": "required"}, "attestations"),
        ({"corrupt": 4}, "sums of"),
    ):
        world = World(Ledger(None, identity(100)))
        server = world.server()
        asked = world.up_to(server, "upload")
        world.policy = replace(world.policy, **changes)
        with pytest.raises(PolicyError, match=text):
            world.client(7).receive(asked[name(7)], update(name(7)))


def test_a_node_without_a_roster_takes_no_part(world: World) -> None:
    asked = world.up_to(world.server(), "upload")
    policy = Policy(adversary="semi_honest", protocols=("oneshot",))
    loose = RoundClient(name(7), identity(7), policy, MemoryJournal(identity(7).public))
    with pytest.raises(PolicyError, match="roster"):
        loose.receive(asked[name(7)], update(name(7)))
    with pytest.raises(PolicyError, match="roster"):
        loose.receive(world.server(2).begin(world.clients, {})[name(0)], update(name(7)))


def test_a_node_follows_the_ledger(world: World) -> None:
    world.run(world.server())
    asked = world.up_to(world.server(2, b"other"), "upload")
    message = RoundUpload.from_bytes(asked[name(7)], max_bytes=1 << 20)
    with pytest.raises(LedgerError, match="another key than the ledger's"):
        world.clients[name(7)].receive(replace(message, ledger_key=bytes(32)).to_bytes(), update(name(7)))
    other = World(Ledger(None, identity(101)))
    foreign = other.up_to(other.server(3, b"third"), "upload")
    with pytest.raises(LedgerError, match="pins"):
        world.clients[name(7)].receive(foreign[name(7)], update(name(7)))
    announced = RoundUpload.from_bytes(foreign[name(7)], max_bytes=1 << 20).announce
    with pytest.raises(LedgerError, match="another key than the ledger's"):
        world.clients[name(7)].receive(replace(message, announce=announced).to_bytes(), update(name(7)))
    fresh = World(Ledger(None, identity(100)))
    with pytest.raises(LedgerError, match="head"):
        fresh.client(7).receive(replace(message, headers=()).to_bytes(), update(name(7)))
    assert list(world.clients[name(7)].receive(asked[name(7)], update(name(7))))


def test_box_keys_are_for_the_server_whose_ledger_a_node_follows(world: World) -> None:
    """Pinned by the policy, or remembered since the node's first round."""
    stranger = world.server(2, ledger=Ledger(None, identity(101))).begin(world.clients, {})
    with pytest.raises(PolicyError, match="the server that is pinned"):
        world.clients[name(0)].receive(stranger[name(0)], update(name(0)))
    world.policy = replace(world.policy, ledger_key=None)
    world.clients = {name(k): world.client(k) for k in range(N)}
    assert list(world.clients[name(1)].receive(stranger[name(1)], update(name(1))))  # it knows no server yet
    world.run(world.server())
    later = world.server(3, ledger=Ledger(None, identity(101))).begin(world.clients, {})
    for wrapped in (later[name(1)], RoundAgain((later[name(1)],)).to_bytes()):
        with pytest.raises(LedgerError, match="another server than that of the ledger"):
            world.clients[name(1)].receive(wrapped, update(name(1)))
    with pytest.raises(RemoteError):
        world.clients[name(1)].receive(later[name(1)][:-1], update(name(1)))
    # Nor does it close a model for a stranger, or accept shares of his, with what everybody knows of a running round.
    running = world.server(5, b"running")
    asked = world.up_to(running, "accept")
    server = running.aggregation.server  # type: ignore[attr-defined]
    lie = replace(server.context.announce, server=identity(101).public)
    context = oneshot.RoundContext.of(lie)
    lie = replace(lie, signature=context.sign(identity(101), "announce", context.announce_body))
    shares = replace(Shares.from_bytes(asked[name(1)], max_bytes=1 << 24), announce=lie.to_bytes(), signature=bytes(64))
    unsigned = shares.to_bytes()[:-64]
    made = unsigned + context.sign(identity(101), "shares", sha256(unsigned).digest())
    for message in (made, CloseRequest(lie.to_bytes()).to_bytes()):
        with pytest.raises(LedgerError, match="another server than that of the ledger"):
            world.clients[name(1)].receive(message, update(name(1)))
    assert list(world.clients[name(1)].receive(world.server(4).begin(world.clients, {})[name(1)], update(name(1))))


def test_a_model_is_used_in_one_protocol_only(world: World) -> None:
    masked = RoundSpec.secure_sum(world.encoding, corrupt=1)
    world.run(world.server())
    with pytest.raises(JournalError):
        world.run(world.server(2, spec=masked))
    world.run(world.server(3, b"other", spec=masked))
    with pytest.raises(JournalError):
        world.run(world.server(4, b"other"))


def test_the_update_is_computed_on_the_announced_model_only(world: World) -> None:
    asked = world.up_to(world.server(), "upload")
    message = RoundUpload.from_bytes(asked[name(7)], max_bytes=1 << 20)
    with pytest.raises(RemoteError, match="hash"):
        world.clients[name(7)].receive(replace(message, model=b"another").to_bytes(), update(name(7)))


# ---- what an audit finds


def _record(world: World) -> Any:
    world.run(world.server(), {name(6): "upload"})
    (record,) = world.ledger.records()
    return record


def _forged(record: Any, folder: Path, roster: Roster) -> Any:
    """The same record, changed, in a ledger of its own under the server's own key."""
    ledger = Ledger(folder / "forged", identity(100))
    ledger.append(record)
    ledger.close()
    return audit(folder / "forged", ledger_key=identity(100).public, roster=roster)


def test_an_audit_draws_the_committee_again(tmp_path: Path) -> None:
    """A record of nodes that let the server choose the members it likes: the beacon gives others."""
    world = World(Ledger(tmp_path / "ledger", identity(100)))
    drawn = Committee.sampled(world.roster, b"beacon", 7, 1, 4)
    for committee, ok in ((drawn, True), (replace(drawn, members=drawn.members[1:] + drawn.members[:1]), False)):
        spec = RoundSpec.one_shot(world.encoding, committee, corrupt=1)
        world.server(len(world.ledger) + 1, b"model", spec=spec).abort("nobody came")
        report = audit(world.ledger.path or "", ledger_key=world.ledger.public, roster=world.roster)
        assert report.ok is ok
    assert "not the one that roster and beacon give" in str(report.failure)
    assert audit(world.ledger.path or "", ledger_key=world.ledger.public).ok  # without the roster nobody can tell


def test_an_audit_finds_what_a_server_changes(world: World, tmp_path: Path) -> None:
    record = _record(world)
    evidence = CommitteeEvidence.from_bytes(dict(record.extras)[COMMITTEE], max_bytes=1 << 22)
    few = replace(evidence, votes=evidence.votes[:3])
    swapped = replace(evidence, votes=tuple((p, bytes(64)) for p, _ in evidence.votes))
    (party, message, _), *others = record.advertisements
    changes: dict[str, dict[str, Any]] = {
        "survivors": {"survivors": record.survivors[1:]},
        "votes are missing": {"extras": ((COMMITTEE, few.to_bytes()),)},
        "votes are false": {"extras": ((COMMITTEE, swapped.to_bytes()),)},
        "no announcement": {"extras": ()},
        "another round": {"round": 9},
        "another model": {"model_hash": bytes(32)},
        "an upload's signature": {"advertisements": ((party, message, bytes(64)), *others)},
        "the sum": {"aggregate": bytes(len(record.aggregate)), "aggregate_digest": record.digest_of(bytes(336))},
        "the protocol": {"protocol": "bonawitz"},
    }
    for k, (what, change) in enumerate(changes.items()):
        folder = tmp_path / str(k)
        folder.mkdir()
        assert not _forged(replace(record, **change), folder, world.roster).ok, what
    folder = tmp_path / "unchanged"
    folder.mkdir()
    assert _forged(record, folder, world.roster).ok


def _signed_anew(seed: bytes, message: bytes, nonce: int) -> bytes:
    """An Ed25519 signature (RFC 8032, 5.1.6) with a nonce of the signer's choosing: it has as many as it likes."""
    p, order = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, -1, p) % p

    def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        k = d * a[0] * b[0] * a[1] * b[1]
        x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + k, -1, p)
        return x % p, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, p) % p

    def times(k: int) -> bytes:
        out, power = (0, 1), (
            15112221349535400772501151409588531511454012693041857206046113283949847762202,
            46316835694926478169428394003475163141307993866256225615783033603165251855960,
        )  # fmt: skip
        while k:
            out, power, k = add(out, power) if k & 1 else out, add(power, power), k >> 1
        return (out[1] | (out[0] & 1) << 255).to_bytes(32, "little")

    secret = int.from_bytes(sha512(seed).digest()[:32], "little") & ((1 << 254) - 8) | 1 << 254
    commitment = times(nonce)
    challenge = int.from_bytes(sha512(commitment + times(secret) + message).digest(), "little")
    return commitment + ((nonce + challenge * secret) % order).to_bytes(32, "little")


def test_a_member_that_signs_often_is_one_member(world: World, tmp_path: Path) -> None:
    record = _record(world)
    evidence = CommitteeEvidence.from_bytes(dict(record.extras)[COMMITTEE], max_bytes=1 << 22)
    announce = oneshot.Announce.from_bytes(evidence.announce, max_bytes=1 << 22)
    context = oneshot.RoundContext.of(announce)
    uploads = {party: SignedUpload.from_bytes(data, max_bytes=1 << 17) for party, data, _ in record.advertisements}
    survivors = record.survivors[1:]  # members voted for all of them; the first one helps the server to forget one
    listed = [
        (p, oneshot.upload_digest(context, (u.id, u.key, u.ciphertext_hash, u.root, u.test)))
        for p, u in uploads.items()
        if p in survivors
    ]
    hashed = oneshot.set_hash(context.digest, listed)
    words = lp(b"privcomp-oneshot-1/vote", context.digest, name(0), hashed)
    signatures = {_signed_anew(bytes([1] * 32), words, nonce) for nonce in range(1, MEMBERS + 1)}
    assert len(signatures) == MEMBERS
    assert all(context.signed_by(identity(0).public, one, "vote", name(0), hashed) for one in signatures)
    votes = tuple(sorted((0, signature) for signature in signatures))
    forged = replace(record, survivors=survivors, extras=((COMMITTEE, replace(evidence, votes=votes).to_bytes()),))
    report = _forged(forged, tmp_path, world.roster)
    assert report.failure is not None
    assert "1 members signed" in report.failure.seen
