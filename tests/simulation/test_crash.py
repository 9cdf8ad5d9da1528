"""A client in a process of its own is killed (SIGKILL) at random points, between any two writes to its disk.

It comes back from its folder and is asked again, the same or something else: it answers every stage of the round at
most once, and a repeat gets the same bytes.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.errors import PrivcompError
from privcomp.integrations.file_journal import FileJournal
from privcomp.policy import DEFAULT_PURPOSES, Policy
from privcomp.secagg import BONAWITZ, MALICIOUS, Client, Contribution, Params, Segment, Server
from privcomp.secagg.messages import MaskRequest, UnmaskRequest
from privcomp.simulation import Coins, Node
from privcomp.simulation.parties import Inline
from tests.simulation.people import people

WRITES = ("write", "fsync", "replace", "unlink", "ftruncate")


@contextmanager
def killed_at(count: int) -> Iterator[None]:
    """The process dies before its `count`-th call that changes the disk."""
    left = [count]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return step

    saved = {name: getattr(os, name) for name in WRITES}
    try:
        for name, call in saved.items():
            setattr(os, name, counted(call))
        yield
    finally:
        for name, call in saved.items():
            setattr(os, name, call)


class Victim:
    """A client whose every step runs in a fresh process with its journal on disk."""

    def __init__(self, folder: Path, coins: Coins, contribution: Contribution, **client: Any) -> None:
        self.folder, self._coins, self._contribution, self._client = folder, coins, contribution, client
        self.starts = 0
        FileJournal.create(folder, client["identity"].public).close()

    def ask(self, request: bytes, kill: int = 0) -> list[bytes] | str:
        """The answer, an error's name, or "killed"."""
        self.starts += 1
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "wb", closefd=False) as out:
                self._answer(request, kill, out)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as source:
            data = source.read()
        _, status = os.waitpid(child, 0)
        parts = []
        while len(data) >= 8:
            size = struct.unpack("<Q", data[:8])[0]
            parts.append(data[8 : 8 + size])
            data = data[8 + size :]
        if os.WIFSIGNALED(status):
            return "killed"
        assert parts, "the child left without a word"
        return parts[0].decode() if len(parts) == 1 else parts[1:]

    def _answer(self, request: bytes, kill: int, out: Any) -> None:
        said = [b""]
        try:
            with killed_at(kill), FileJournal(self.folder, self._client["identity"].public) as journal:
                rng = self._coins.child("start", self.starts).bytes
                _, answer = Client(journal=journal, rng=rng, **self._client).receive(None, request, self._contribution)
                said += list(answer)
        except PrivcompError as error:
            said = [type(error).__name__.encode()]
        for part in said:
            out.write(struct.pack("<Q", len(part)) + part)


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_points_nothing_is_answered_twice(tmp_path: Path, seed: int) -> None:
    coins = Coins(seed, "killed")
    ids, identities, roster = people(5, coins)
    policy = Policy(corrupt=0)
    params = Params(BONAWITZ, MALICIOUS, (Segment.ring(26, 100),), 0, 5, block_entries=64)
    vectors = {i: coins.child("x", i).integers(-1000, 1000, 100) for i in ids}
    nodes = {
        i: Node(i, identities[i], policy, roster, coins.child(i), lambda _, i=i: Contribution((vectors[i],)))
        for i in ids[1:]
    }
    victim = Victim(
        tmp_path / "journal",
        coins.child("victim"),
        Contribution((vectors[ids[0]],)),
        id=ids[0],
        identity=identities[ids[0]],
        policy=policy,
        roster=roster,
    )
    server = Server(
        params,
        session=bytes(32),
        round=1,
        purpose=DEFAULT_PURPOSES[0],
        model=b"model",
        roster=roster,
        executor=Inline(),
    )
    requests, kills = dict.fromkeys(ids, server.announcement), 0
    given: dict[int, list[bytes]] = {}
    earlier: list[tuple[int, bytes]] = []
    for stage in range(5):
        for party, node in nodes.items():
            for message in node.receive(requests[party]):
                server.receive(message, party)
        answer: list[bytes] | str = "killed"
        for attempt in range(40):
            # The last attempt lives; the writes of one step are fewer than 40.
            answer = victim.ask(requests[ids[0]], kill=coins.between(1, 30) if attempt < 5 else 0)
            if answer != "killed":
                break
            kills += 1
        assert isinstance(answer, list), f"stage {stage}: {answer}"
        given[stage] = answer
        assert victim.ask(requests[ids[0]]) == answer
        assert victim.ask(requests[ids[0]], kill=3) in ("killed", answer)
        earlier.append((stage, requests[ids[0]]))
        for other in other_requests(requests[ids[0]]):
            assert victim.ask(other) in ("JournalError", "RemoteError", "CodecError", "StateError")
        for message in answer:
            server.receive(message, ids[0])
        if stage < 4:
            requests = server.advance()
    result = server.result()
    assert result.survivors == tuple(ids)
    assert (result.sums[0] == (sum(vectors.values()) & ((1 << 26) - 1))).all()
    for stage, request in earlier:
        again = victim.ask(request)
        assert again == given[stage], f"a repeat of stage {stage} after the round: {again}"
    assert kills > 0


def other_requests(request: bytes) -> Iterator[bytes]:
    """Requests for the same stage that differ from what was answered."""
    tag = int.from_bytes(request[3:5], "little")
    if tag == MaskRequest.TAG:
        message = MaskRequest.from_bytes(request, max_bytes=len(request))
        yield MaskRequest(message.round_digest, b"\x0f", message.bundles[:-1], message.model).to_bytes()
    elif tag == UnmaskRequest.TAG:
        unmask = UnmaskRequest.from_bytes(request, max_bytes=len(request))
        yield UnmaskRequest(unmask.round_digest, b"\x0f", unmask.quorum).to_bytes()
    elif sha256(request).digest()[0] < 128:
        yield request + b"\x00"


def test_everybody_dies_somewhere_and_one_process_at_a_time_holds_the_journal(tmp_path: Path) -> None:
    coins = Coins(1, "held")
    ids, identities, roster = people(3, coins)
    folder = tmp_path / "journal"
    with FileJournal.create(folder, identities[ids[0]].public):
        victim = Victim.__new__(Victim)
        victim.folder, victim._coins, victim.starts = folder, coins, 0
        victim._contribution = Contribution((np.zeros(1, dtype=np.int64),))
        victim._client = {"id": ids[0], "identity": identities[ids[0]], "policy": Policy(corrupt=0), "roster": roster}
        assert victim.ask(b"anything") == "JournalError"
