"""The driver with one-shot rounds: lost clients and members, stalls in both last stages, restarts in every stage."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privcomp import oneshot
from privcomp.errors import CodecError, LedgerError, LocalError, PrivcompError, RoundAborted
from privcomp.integrations import driver
from privcomp.integrations.committee import beacon_of, committee_of, drawn_committee, one_shot
from privcomp.integrations.driver import Rounds, RoundStalled
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.ledger import ABORTED, COMPLETE
from privcomp.oneshot.keyshares import Sharing
from privcomp.policy import CommitteePolicy, Policy
from privcomp.rounds import RoundClient, audit
from tests.integrations.test_driver import IDS, MODEL, TASK, Federation

MEMBERS = IDS[:5]
OTHER = {"w": MODEL["w"] + 1}
EVERYBODY = tuple(IDS)
STAGES = ["boxkeys", "upload", "accept", "vote", "answer"]


class OneShot(Federation):
    """Six nodes, five of them the committee: four must answer."""

    def __init__(self, folder: Path, forgets: bool = False, adversary: str = "malicious", reentries: int = 0) -> None:
        self.folder = folder
        self.forgets = forgets
        identities = {party: Identity.generate() for party in IDS}
        self.roster = Roster.of({party: identity.public for party, identity in identities.items()})
        self.committee = committee_of(self.roster, MEMBERS)
        policy = Policy(
            adversary=adversary,
            corrupt=0,
            protocols=("oneshot",),
            committee=CommitteePolicy(members=self.committee.members),
            same_model_reentries=(("training", reentries),),
        )
        self.makers = {
            party: (party, identity, policy, MemoryJournal(identity.public), self.roster)
            for party, identity in identities.items()
        }
        self.clients = {party: RoundClient(*of) for party, of in self.makers.items()}
        encoding = TASK.encoding(MODEL, clients=6, clip=1.0, max_weight=100)
        self.spec = one_shot(encoding, TASK, self.committee, self.roster, adversary=adversary, corrupt=0)
        self.lost: Mapping[bytes, str] = {}
        self.steps = {party: 0.05 * (k + 1) for k, party in enumerate(IDS)}
        self.calls: list[str] = []
        self.asked: list[frozenset[bytes]] = []
        self.open()

    def open(self) -> None:
        super().open()
        self.rounds = Rounds(self.ledger, bytes(32), self.roster, folder=self.folder, redeliver=self.forgets)

    def exchange(self, stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        self.asked.append(frozenset(messages))
        if self.forgets:
            self.forget(IDS)
        yield from super().exchange(stage, messages, seconds)

    def forget(self, nodes: Iterable[bytes]) -> None:
        """As after a restart of these nodes: what they hold is their journals."""
        self.clients.update({party: RoundClient(*self.makers[party]) for party in nodes})


@pytest.fixture(params=["", "forgets", "semi_honest"])
def federation(request: pytest.FixtureRequest, tmp_path: Path) -> OneShot:
    adversary = "semi_honest" if request.param == "semi_honest" else "malicious"
    return OneShot(tmp_path, request.param == "forgets", adversary)


@pytest.fixture
def malicious(tmp_path: Path) -> OneShot:
    return OneShot(tmp_path)


def test_rounds_one_after_another(federation: OneShot) -> None:
    """After its upload a client that is no member is asked for nothing more."""
    federation.check(federation.run(), IDS)
    assert federation.run(OTHER).aggregate.survivors == EVERYBODY
    stages = [stage for stage in STAGES if stage != "vote" or federation.spec.aggregation.certified]
    assert federation.calls == 2 * stages
    members, everybody = frozenset(MEMBERS), frozenset(IDS)
    assert federation.asked == 2 * [everybody if stage == "upload" else members for stage in stages]
    assert federation.outcomes() == [(1, COMPLETE), (2, COMPLETE)]


@pytest.mark.parametrize("stage", STAGES)
def test_one_member_is_lost(malicious: OneShot, stage: str) -> None:
    """A client that comes too late is not in the sum; whoever else misses a stage is."""
    malicious.lost = {IDS[2]: stage}
    malicious.check(malicious.run(), [party for party in IDS if stage != "upload" or party != IDS[2]])
    assert malicious.outcomes() == [(1, COMPLETE)]


@pytest.mark.parametrize("stage", ["boxkeys", "upload", "accept"])
def test_too_few_before_the_survivors_are_fixed(malicious: OneShot, stage: str) -> None:
    """Recorded, and the next round on the same model and committee works."""
    malicious.lost = dict.fromkeys(IDS[1:5], stage)
    with pytest.raises(RoundAborted, match="are needed; nothing was opened") as caught:
        malicious.run()
    assert not isinstance(caught.value, RoundStalled)
    malicious.lost = {}
    malicious.check(malicious.run(), IDS)
    assert malicious.outcomes() == [(1, ABORTED), (2, COMPLETE)]


@pytest.mark.parametrize("stage", ["vote", "answer"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_round_that_stalls_is_finished_without_its_clients(malicious: OneShot, stage: str, restarted: bool) -> None:
    """For the same survivors, by the members that were missing, even if they and the server were restarted."""
    malicious.lost = {IDS[0]: "upload", **dict.fromkeys(IDS[2:4], stage)}
    with pytest.raises(RoundStalled):
        malicious.run()
    assert malicious.outcomes() == []
    if restarted:
        malicious.restart()
        malicious.forget(IDS[2:4])
        assert malicious.rounds.stalled is not None
        assert malicious.rounds.stalled.stage == stage
    malicious.lost = {party: "always" for party in IDS if party not in IDS[2:4]}
    malicious.calls, malicious.asked = [], []
    if stage == "vote":  # three votes are there; all of them must answer
        malicious.lost = {IDS[5]: "always"}
    malicious.check(malicious.run(), IDS[1:])
    assert malicious.calls == STAGES[STAGES.index(stage) :]
    assert malicious.asked[0] == {IDS[2], IDS[3]}
    assert malicious.outcomes() == [(1, COMPLETE)]
    malicious.restart()
    assert malicious.rounds.stalled is None


def test_a_stalled_round_is_given_up_for_another_model(malicious: OneShot) -> None:
    malicious.lost = dict.fromkeys(IDS[2:4], "vote")
    with pytest.raises(RoundStalled, match="3 votes, 4 are needed"):
        malicious.run()
    with pytest.raises(RoundStalled, match="3 votes, 4 are needed"):
        malicious.run()  # as often as anybody likes
    malicious.lost = {}
    assert malicious.run(OTHER).aggregate.survivors == EVERYBODY
    assert malicious.outcomes() == [(1, ABORTED), (2, COMPLETE)]
    with pytest.raises(LocalError, match="no round is stalled"):
        malicious.rounds.finish(malicious.exchange)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_model_that_was_summed_is_not_summed_again(federation: OneShot, restarted: bool) -> None:
    """Members refuse, which looks like silence: the round is recorded, and does not wait for them for ever."""
    federation.run()
    if restarted:
        federation.restart()
    for _ in range(2):
        with pytest.raises(RoundAborted, match=r"0 (votes|answers)") as caught:
            federation.run()
        assert not isinstance(caught.value, RoundStalled)
        assert federation.rounds.stalled is None
    assert federation.run(OTHER).aggregate.survivors == EVERYBODY
    outcomes = [(1, COMPLETE), (2, ABORTED), (3, ABORTED), (4, COMPLETE)]
    assert federation.outcomes() == outcomes


def test_a_model_is_summed_again_where_policies_grant_it(tmp_path: Path) -> None:
    federation = OneShot(tmp_path, reentries=1)
    for _ in range(2):
        federation.check(federation.run(), IDS)
    with pytest.raises(RoundAborted, match="0 votes"):
        federation.run()


def test_survivors_who_cannot_be_summed_are_not_asked_for_ever(
    malicious: OneShot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More wrong answers than can be found out: while a member is missing its answer might help, then no more."""
    right = Sharing.add
    turn: list[int] = []

    def wrong(self: Sharing, rows: Any) -> bytes:
        out = right(self, rows)
        turn.append(len(turn))
        return out if turn[-1] < 2 else secrets.token_bytes(1) + b"\0" + out[2:]

    monkeypatch.setattr(Sharing, "add", wrong)
    malicious.lost = {IDS[4]: "answer"}
    with pytest.raises(RoundStalled, match="do not fit together"):
        malicious.run()
    malicious.lost = {}
    with pytest.raises(RoundAborted, match="do not fit together") as caught:
        malicious.run()
    assert not isinstance(caught.value, RoundStalled)
    assert malicious.rounds.stalled is None
    assert malicious.outcomes() == [(1, ABORTED)]
    monkeypatch.undo()
    assert malicious.run(OTHER).aggregate.survivors == EVERYBODY


@pytest.mark.parametrize("stage", STAGES)
def test_the_server_dies(malicious: OneShot, stage: str) -> None:
    """As after a power cut, before anybody was asked: nothing that runs on the way out is done."""

    class Killed(BaseException):
        pass

    def exchange(at: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        if at == stage:
            raise Killed
        yield from malicious.exchange(at, messages, seconds)

    malicious.rounds._abort = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(Killed):
        malicious.run(exchange=exchange)
    malicious.restart()
    # Nothing is lost before the announcement; once the survivors are fixed everything is kept.
    before = {"boxkeys": [], "upload": [(1, ABORTED)], "accept": [(1, ABORTED)]}.get(stage)
    assert malicious.outcomes() == (before or [])
    assert (malicious.rounds.stalled is None) == (before is not None)
    malicious.check(malicious.run(), IDS)
    assert malicious.outcomes() == ([*before, (2, COMPLETE)] if before is not None else [(1, COMPLETE)])


def test_no_set_is_shown_to_members_before_it_is_stored(malicious: OneShot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full when the set was fixed: members that had signed it then could sign no other one."""
    full, real = [True], driver.replace_file

    def write(path: Path, data: bytes) -> None:
        if full[0] and malicious.rounds.stalled is not None:
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(driver, "replace_file", write)
    for _ in range(2):  # also when it is run again
        with pytest.raises(LedgerError, match="No space left"):
            malicious.run()
        assert malicious.calls == ["boxkeys", "upload", "accept"]
    full[0] = False
    malicious.check(malicious.run(), IDS)
    assert malicious.outcomes() == [(1, COMPLETE)]


def test_the_server_dies_between_answer_and_record(malicious: OneShot) -> None:
    """The members have answered, and their secrets are gone: their journals give the same answers."""

    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        answers = malicious.exchange(stage, messages, seconds)
        if stage == "answer":
            list(answers)
            raise KeyboardInterrupt
        yield from answers

    with pytest.raises(KeyboardInterrupt):
        malicious.run(exchange=exchange)
    malicious.restart()
    malicious.forget(IDS)
    malicious.check(malicious.run(), IDS)
    assert malicious.outcomes() == [(1, COMPLETE)]


def test_members_that_forget_need_their_shares_again(malicious: OneShot) -> None:
    """Without `redeliver` a member that is restarted in between has nothing to answer with."""

    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        if stage == "vote":
            malicious.forget(IDS[:2])
            for party in IDS[:2]:
                with pytest.raises(PrivcompError, match="deliver the same ones again"):
                    malicious.clients[party].receive(messages[party], malicious.update(party))
        yield from malicious.exchange(stage, messages, seconds)

    with pytest.raises(RoundStalled, match="3 votes"):
        malicious.run(exchange=exchange)
    malicious.check(malicious.run(), IDS)  # the second time the shares come along


@pytest.mark.parametrize(
    ("clients", "corrupt", "said"),
    [
        (6, 4, "of a roster of 6 with 4 corrupt nodes at least 7 must be in a sum"),
        (3, 1, "at least 4 must be"),
        (6, -1, "c = -1 corrupt nodes; 0 or more"),
    ],
)
def test_rounds_that_no_node_would_accept(malicious: OneShot, clients: int, corrupt: int, said: str) -> None:
    encoding = TASK.encoding(MODEL, clients=clients, clip=1.0, max_weight=100)
    with pytest.raises(ValueError, match=said):
        one_shot(encoding, TASK, malicious.committee, malicious.roster, corrupt=corrupt)
    assert isinstance(malicious.spec.aggregation, oneshot.Params)
    assert malicious.spec.aggregation.survivors_min == 3


# ---- another committee


def moved(federation: OneShot, nodes: Iterable[bytes] = IDS) -> None:
    """The operators agree on another committee: the server's rounds, and the policies of these nodes."""
    federation.committee = committee_of(federation.roster, IDS[1:6])
    encoding = TASK.encoding(MODEL, clients=6, clip=1.0, max_weight=100)
    federation.spec = one_shot(encoding, TASK, federation.committee, federation.roster, corrupt=0)
    for party in nodes:
        name, own, policy, journal, roster = federation.makers[party]
        policy = replace(policy, committee=CommitteePolicy(members=federation.committee.members))
        federation.makers[party] = (name, own, policy, journal, roster)
    federation.forget(nodes)


def given_up(federation: OneShot) -> None:
    """A round that four members left when everybody had uploaded."""
    federation.lost = dict.fromkeys(IDS[1:5], "accept")
    with pytest.raises(RoundAborted, match="are needed; nothing was opened"):
        federation.run()
    federation.lost, federation.calls = {}, []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_round_moves_to_another_committee_with_the_closes_of_the_first(malicious: OneShot, restarted: bool) -> None:
    """K = 3 of 5 members sign that they open nothing on this model; clients see that, and upload again."""
    given_up(malicious)
    moved(malicious)
    if restarted:
        malicious.restart()
    malicious.check(malicious.run(), IDS)
    assert malicious.calls == ["close", *STAGES]
    assert malicious.outcomes() == [(1, ABORTED), (2, COMPLETE)]
    # Another model, and the next round, have nothing to close.
    malicious.calls = []
    assert malicious.run(OTHER).aggregate.survivors == EVERYBODY
    assert malicious.calls == STAGES


def test_too_few_closes_move_nobody(malicious: OneShot) -> None:
    given_up(malicious)
    moved(malicious)
    malicious.lost = dict.fromkeys(IDS[0:3], "close")
    with pytest.raises(RoundAborted, match="0 complete uploads"):
        malicious.run()
    malicious.lost = {}  # they come back: what the others signed before counts
    malicious.check(malicious.run(), IDS)
    assert malicious.outcomes() == [(1, ABORTED), (2, ABORTED), (3, COMPLETE)]


def test_wrong_closes_count_for_nothing(malicious: OneShot) -> None:
    """Garbage, another member's close, and one of another model: whoever sends that has sent nothing."""
    given_up(malicious)
    moved(malicious)
    right: list[bytes] = []

    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        if stage != "close":
            yield from malicious.exchange(stage, messages, seconds)
            return
        (close,) = malicious.clients[IDS[0]].receive(messages[IDS[0]], malicious.update(IDS[0]))
        right.append(close)
        yield IDS[0], [close]
        yield IDS[1], [b"garbage", close]
        yield IDS[2], [close]
        yield b"stranger", [close]
        yield IDS[3], [edited(close, id=IDS[3])]
        yield IDS[4], [edited(close, id=IDS[4], model_hash=bytes(32))]

    with pytest.raises(RoundAborted, match="0 complete uploads"):
        malicious.run(exchange=exchange)
    assert len(right) == 1
    malicious.check(malicious.run(), IDS)


def edited(close: bytes, **changes: Any) -> bytes:
    return replace(oneshot.messages.Close.from_bytes(close, max_bytes=1 << 10), **changes).to_bytes()


def test_a_set_that_was_fixed_is_not_closed(malicious: OneShot) -> None:
    malicious.run()
    moved(malicious)
    malicious.calls = []
    with pytest.raises(RoundAborted, match="0 complete uploads"):
        malicious.run()
    assert "close" not in malicious.calls


def test_what_another_release_wrote_stops_nobody(malicious: OneShot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its declarations do not parse: an aborted round is nobody's to close, a sum is one all the same."""
    given_up(malicious)
    malicious.run(OTHER)
    malicious.restart()

    def other(data: bytes, *, max_bytes: int) -> Any:
        raise CodecError("version 9")

    with monkeypatch.context() as patch:
        patch.setattr(oneshot.Params, "from_bytes", other)
        first, second = (malicious.rounds._committees(record.model_hash) for record in malicious.ledger.records())
    assert first == {}
    assert list(second.values()) == [None]


# ---- drawn committees


def test_a_committee_that_every_node_draws(tmp_path: Path) -> None:
    """Of eight nodes seven, one of which may be away; by roster and beacon alone, whoever asks."""
    from tests.integrations.test_driver import SERVER

    ids = [b"node-%d" % k for k in range(8)]
    identities = {party: Identity.generate() for party in ids}
    roster = Roster.of({party: own.public for party, own in identities.items()})
    committee = drawn_committee(roster, b"beacon", absent=1e-6, corrupt=1)
    assert (committee.kind, committee.size, committee.needed) == ("sampled", 7, 6)
    policy = Policy(corrupt=1, protocols=("oneshot",), committee=CommitteePolicy(beacon=b"beacon"))
    federation = OneShot(tmp_path)
    federation.roster, federation.committee = roster, committee
    federation.makers = {
        party: (party, own, policy, MemoryJournal(own.public), roster) for party, own in identities.items()
    }
    federation.steps = {party: 0.05 * (k + 1) for k, party in enumerate(ids)}
    federation.forget(ids)
    federation.clients = {party: federation.clients[party] for party in ids}
    federation.rounds = Rounds(federation.ledger, bytes(32), roster)
    encoding = TASK.encoding(MODEL, clients=8, clip=1.0, max_weight=100)
    federation.spec = one_shot(encoding, TASK, committee, roster, corrupt=1)
    federation.lost = {committee.ids[0]: "vote"}

    def run(beacon: bytes, model: Mapping[str, Any]) -> Any:
        other = drawn_committee(roster, beacon, absent=1e-6, corrupt=1)
        spec = one_shot(encoding, TASK, other, roster, corrupt=1)
        return federation.rounds.run(spec, TASK.purpose, TASK.request(model), ids, federation.exchange)

    result = run(b"beacon", MODEL)
    assert result.aggregate.survivors == tuple(ids)
    federation.lost = {}
    with pytest.raises(RoundAborted, match="0 complete uploads"):  # a committee of the server's choosing
        run(b"other", OTHER)
    assert audit(tmp_path / "ledger", ledger_key=SERVER.public, roster=roster).ok


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beacon": b""}, "a beacon of 0 bytes"),
        ({"beacon": bytes(65)}, "a beacon of 65 bytes"),
        ({"absent": -0.1}, "absent is -0.1"),
        ({"absent": float("nan")}, "absent is nan"),
        ({"corrupt": -1}, "c = -1 corrupt nodes"),
        ({}, "no committee of 6 clients withstands"),
    ],
    ids=str,
)
def test_committees_that_cannot_be_drawn(malicious: OneShot, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        drawn_committee(malicious.roster, **{"beacon": b"beacon", **options})
    for text in ("", "no hex", "00" * 65):
        with pytest.raises(ValueError, match="1 to 64 bytes"):
            beacon_of(text)
