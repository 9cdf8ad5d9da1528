"""The synchronous driver: stages, losses, aborts, stalls, and restarts of the server at every one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.errors import LedgerError, LocalError, PrivcompError, RoundAborted, StateError
from privcomp.integrations.driver import Deadlines, Rounds, RoundStalled
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.ledger import ABORTED, COMPLETE, Ledger
from privcomp.policy import Policy
from privcomp.rounds import RoundClient, RoundResult, RoundServer, RoundSpec, Task, audit
from privcomp.secagg.server import Outbox

IDS = [f"node-{i}".encode() for i in range(6)]
SERVER = Identity.from_seed(bytes(range(32)))
TASK = Task("update", metrics=(("loss", 0.0, 4.0),))
MODEL: dict[str, Any] = {"w": np.arange(5, dtype=np.float32)}


class Federation:
    """Six nodes and an exchange that loses what it is told to lose."""

    def __init__(self, folder: Path, adversary: str = "malicious", hybrid: bool = False) -> None:
        self.folder = folder
        identities = {party: Identity.generate() for party in IDS}
        self.roster = Roster.of({party: identity.public for party, identity in identities.items()})
        policy = Policy(adversary=adversary, corrupt=0)
        self.clients = {
            party: RoundClient(party, identity, policy, MemoryJournal(identity.public), self.roster)
            for party, identity in identities.items()
        }
        encoding = TASK.encoding(MODEL, clients=6, clip=1.0, max_weight=100)
        self.spec = RoundSpec.secure_sum(encoding, TASK, adversary=adversary, hybrid=hybrid)
        self.lost: Mapping[bytes, str] = {}
        self.steps = {party: 0.05 * (k + 1) for k, party in enumerate(IDS)}
        self.calls: list[str] = []
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self.folder / "ledger", SERVER)
        self.rounds = Rounds(self.ledger, bytes(32), self.roster, folder=self.folder)

    def restart(self) -> None:
        self.ledger.close()
        self.open()

    def update(self, party: bytes) -> Callable[[bytes, RoundSpec], Any]:
        def compute(model: bytes, spec: RoundSpec) -> Any:
            assert spec.task is not None
            arrays = spec.task.parse(model)
            new = {name: array + np.float32(self.steps[party]) for name, array in arrays.items()}
            return spec.task.values(arrays, new, {"loss": 1.0}, spec.encoding), 10

        return compute

    def exchange(self, stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        self.calls.append(stage)
        assert seconds == getattr(Deadlines(), stage)
        for party, message in messages.items():
            if self.lost.get(party) in (stage, "always"):
                continue
            try:
                answers = list(self.clients[party].receive(message, self.update(party)))
            except PrivcompError:
                continue  # a node that refuses is one that does not answer
            for answer in answers:  # in pieces
                yield party, [answer]

    def run(self, model: Mapping[str, Any] = MODEL, exchange: Any = None) -> RoundResult:
        request = TASK.request(model)
        return self.rounds.run(self.spec, TASK.purpose, request, IDS, exchange or self.exchange)

    def check(self, result: RoundResult, survivors: Iterable[bytes]) -> None:
        survivors = tuple(survivors)
        assert result.aggregate.survivors == survivors
        arrays, metrics = TASK.result(MODEL, result.decoded, self.spec.encoding)
        mean = np.mean([self.steps[party] for party in survivors])
        assert np.abs(arrays["w"] - MODEL["w"] - mean).max() < result.decoded.quantisation_bound + 1e-6
        assert metrics == pytest.approx({"loss": 1.0}, abs=1e-3)
        assert result.decoded.total_weight == 10 * len(survivors)

    def outcomes(self) -> list[tuple[int, str]]:
        assert audit(self.folder / "ledger", ledger_key=SERVER.public, roster=self.roster).ok
        return [(record.round, record.outcome) for record in self.ledger.records()]


@pytest.fixture(params=["malicious", "semi_honest", "hybrid"])
def federation(request: pytest.FixtureRequest, tmp_path: Path) -> Federation:
    if request.param == "hybrid":
        return Federation(tmp_path, hybrid=True)
    return Federation(tmp_path, adversary=request.param)


def test_rounds_one_after_another(federation: Federation) -> None:
    federation.check(federation.run(), IDS)
    other = {"w": MODEL["w"] + 1}
    assert federation.run(other).aggregate.survivors == tuple(IDS)
    assert federation.outcomes() == [(1, COMPLETE), (2, COMPLETE)]
    assert federation.calls.count("consistency") == 2 * (federation.spec.aggregation.adversary == "malicious")


@pytest.mark.parametrize("stage", ["advertise", "share", "mask", "consistency", "unmask"])
def test_one_node_is_lost(federation: Federation, stage: str) -> None:
    federation.lost = {IDS[2]: stage}
    survives = stage in ("consistency", "unmask")
    federation.check(federation.run(), [party for party in IDS if survives or party != IDS[2]])


def test_too_few_nodes_are_recorded_and_the_next_round_works(federation: Federation) -> None:
    federation.lost = dict.fromkeys(IDS[1:5], "mask")
    with pytest.raises(RoundAborted, match="uploads"):
        federation.run()
    federation.lost = {}
    federation.check(federation.run(), IDS)
    assert federation.outcomes() == [(1, ABORTED), (2, COMPLETE)]


def test_garbage_costs_its_sender_only(federation: Federation) -> None:
    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        yield IDS[0], [b"garbage"]
        yield b"stranger", [b"PC\x01\x21\x00"]
        yield from federation.exchange(stage, {p: m for p, m in messages.items() if p != IDS[0]}, seconds)

    federation.check(federation.run(exchange=exchange), IDS[1:])


def test_a_message_in_anothers_name(federation: Federation) -> None:
    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        for party, answers in federation.exchange(stage, messages, seconds):
            yield (IDS[1] if party == IDS[0] else party), answers

    federation.check(federation.run(exchange=exchange), IDS[2:])


def stall(federation: Federation) -> None:
    federation.lost = {IDS[0]: "share", **dict.fromkeys(IDS[2:], "unmask")}
    with pytest.raises(RoundStalled):
        federation.run()
    federation.lost = {}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_stalled_round_is_finished_for_the_same_survivors(
    federation: Federation, restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stall(federation)
    assert [r.levelno for r in caplog.records if "stalled" in r.message] == [logging.ERROR]
    federation.lost = dict.fromkeys(IDS, "always")
    with pytest.raises(RoundStalled):
        federation.run()
    assert len([r for r in caplog.records if "stalled" in r.message]) == 1  # said once
    if restarted:
        federation.restart()
        assert federation.rounds.stalled is not None
    federation.lost = {}
    # The node that was lost in stage 1 is there again; the sum is still that of the others.
    federation.check(federation.run(), IDS[1:])
    assert federation.rounds.stalled is None
    assert federation.outcomes() == [(1, COMPLETE)]
    federation.restart()
    assert federation.rounds.stalled is None
    assert federation.run({"w": MODEL["w"] + 1}).header.index == 1


def test_a_stalled_round_is_given_up_for_another_model(federation: Federation) -> None:
    stall(federation)
    assert federation.run({"w": MODEL["w"] + 1}).aggregate.survivors == tuple(IDS)
    assert federation.outcomes() == [(1, ABORTED), (2, COMPLETE)]
    # Node 1 answered for the survivors of round 1; it takes part in no second sum on that model.
    with pytest.raises(LocalError, match="no round is stalled"):
        federation.rounds.finish(federation.exchange)
    assert federation.run().aggregate.survivors == (IDS[0], *IDS[2:])


@pytest.mark.parametrize("stage", ["advertise", "share", "mask", "consistency"])
def test_the_server_dies_mid_round(federation: Federation, stage: str) -> None:
    if stage == "consistency" and federation.spec.aggregation.adversary != "malicious":
        stage = "mask"

    class Killed(BaseException):
        pass

    def exchange(at: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        if at == stage:
            raise Killed
        yield from federation.exchange(at, messages, seconds)

    # As after a power cut: nothing that runs on the way out is done.
    federation.rounds._abort = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(Killed):
        federation.run(exchange=exchange)
    federation.restart()
    assert federation.outcomes() == [(1, ABORTED)]
    federation.check(federation.run(), IDS)
    assert federation.outcomes() == [(1, ABORTED), (2, COMPLETE)]


def test_the_server_dies_in_the_last_stage(federation: Federation) -> None:
    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        answers = federation.exchange(stage, messages, seconds)
        if stage == "unmask":
            list(answers)  # they answered, and the server was gone
            raise KeyboardInterrupt
        yield from answers

    with pytest.raises(KeyboardInterrupt):
        federation.run(exchange=exchange)
    federation.restart()
    federation.check(federation.run(), IDS)
    assert federation.outcomes() == [(1, COMPLETE)]


def test_the_server_dies_between_record_and_file(federation: Federation) -> None:
    kept = federation.rounds._save
    federation.rounds._save = lambda server: kept(server) if server is not None else None  # type: ignore[method-assign]
    federation.run()
    federation.restart()
    assert federation.rounds.stalled is None
    assert federation.outcomes() == [(1, COMPLETE)]
    assert federation.rounds.number == 1


def test_ctrl_c_is_recorded(federation: Federation) -> None:
    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        if stage == "mask":
            raise KeyboardInterrupt
        yield from federation.exchange(stage, messages, seconds)

    with pytest.raises(KeyboardInterrupt):
        federation.run(exchange=exchange)
    assert federation.outcomes() == [(1, ABORTED)]


def test_a_damaged_file_is_no_round(federation: Federation) -> None:
    stall(federation)
    path = federation.folder / "round"
    data = path.read_bytes()
    for k in range(0, len(data), max(1, len(data) // 50)):
        damaged = bytearray(data)
        damaged[k] ^= 1
        path.write_bytes(bytes(damaged))
        if 5 <= k < 13:
            continue  # the count of rounds
        with pytest.raises(LedgerError, match="damaged"):
            federation.restart()
    path.write_bytes(data)
    federation.restart()
    federation.check(federation.run(), IDS[1:])


def test_only_two_moments_are_kept(federation: Federation) -> None:
    server = RoundServer(
        federation.spec,
        session=bytes(32),
        round=9,
        purpose=TASK.purpose,
        model=TASK.request(MODEL),
        roster=federation.roster,
        ledger=federation.ledger,
    )
    messages = {party: server.announcement() for party in IDS}
    for party, answers in federation.exchange("advertise", messages, 60.0):
        for answer in answers:
            server.receive(answer, party)
    server.advance()
    with pytest.raises(StateError, match="survivors are fixed"):
        server.freeze()


def test_announcements_are_built_when_they_are_sent_and_once(federation: Federation) -> None:
    """After a restart each has the whole chain of headers: n of them would be n times the ledger."""
    federation.run()
    federation.restart()

    def exchange(stage: str, messages: Mapping[bytes, bytes], seconds: float) -> Iterator[Any]:
        if stage == "advertise":
            assert isinstance(messages, Outbox)
            messages = {party: messages[party] for party in messages}
            assert len({id(message) for message in messages.values()}) == 1
        yield from federation.exchange(stage, messages, seconds)

    moved = {"w": np.ones(5, dtype=np.float32)}
    federation.check(federation.run(moved, exchange), IDS)
