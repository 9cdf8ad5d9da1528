"""One round of secure aggregation in one process, through the same clients and server that the network would carry."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp._core import Drbg
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.policy import Policy
from privcomp.secagg import MALICIOUS, Client, ClientState, Contribution, Params, Server

__all__ = ["Round", "ids_of"]

STAGES = ("advertise", "share", "mask", "consistency", "unmask")


def ids_of(n: int) -> list[bytes]:
    """n client ids in ascending order."""
    return [b"client-%05d" % i for i in range(n)]


@dataclass
class Round:
    """A round: who takes part, and what it cost.

    Attributes:
        params: the round's parameters.
        vectors: id -> the client's integer vector.
        lost: ids that vanish after stage 1: their neighbours' masks for them have to be taken out by the server.
        executor: for the server's unmasking.
        clock: what the seconds are told from.
        record: keep what the clients send in `recorded`: (stage, id, messages).
        client_s, server_s: seconds per stage, of all clients together and of the server.
        up, down: id -> bytes that the client sent and received.
        upload: id -> bytes of its masked vector (stage 2).
    """

    params: Params
    vectors: Mapping[bytes, NDArray[Any]]
    lost: frozenset[bytes]
    executor: Executor
    clock: Callable[[], float] = time.perf_counter
    record: bool = False
    client_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    server_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*STAGES, "result"), 0.0))
    up: dict[bytes, int] = field(default_factory=dict)
    down: dict[bytes, int] = field(default_factory=dict)
    upload: dict[bytes, int] = field(default_factory=dict)
    recorded: list[tuple[str, bytes, list[bytes]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ids = list(self.vectors)
        identities = {party: Identity.generate() for party in ids}
        roster = Roster.of({party: identity.public for party, identity in identities.items()})
        policy = Policy(corrupt=self.params.corrupt, adversary=self.params.adversary)
        self.up, self.down = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
        self._clients = {
            party: Client(
                party,
                identities[party],
                policy,
                MemoryJournal(identities[party].public),
                roster,
                rng=Drbg().random_bytes,
            )
            for party in ids
        }
        self._states: dict[bytes, ClientState | None] = dict.fromkeys(ids)
        self._roster = roster
        self.server = self.fresh_server()

    def fresh_server(self) -> Server:
        """Another server of the same round: it takes the same messages."""
        return Server(
            self.params,
            session=bytes(32),
            round=1,
            purpose="training",
            model=b"model",
            roster=self._roster,
            executor=self.executor,
        )

    def until_result(self) -> Server:
        """All stages up to the last answer: what is left is `server.result()`."""
        requests: Mapping[bytes, bytes] = dict.fromkeys(self.vectors, self.server.announcement)
        stages = [s for s in STAGES if s != "consistency" or self.params.adversary == MALICIOUS]
        for stage in stages:
            for party in requests:
                if stage not in ("advertise", "share") and party in self.lost:
                    continue
                began = self.clock()
                request = requests[party]
                self.server_s[stage] += self.clock() - began
                self._answer(stage, party, request)
            if stage != stages[-1]:
                began = self.clock()
                requests = self.server.advance()
                self.server_s[stage] += self.clock() - began
        return self.server

    def run(self) -> Sequence[NDArray[Any]]:
        """The whole round: the sums."""
        self.until_result()
        began = self.clock()
        sums = self.server.result().sums
        self.server_s["result"] += self.clock() - began
        return sums

    def _answer(self, stage: str, party: bytes, request: bytes) -> None:
        began = self.clock()
        update = Contribution((self.vectors[party],))
        self._states[party], messages = self._clients[party].receive(self._states[party], request, update)
        sent = list(messages)
        between = self.clock()
        for message in sent:
            self.server.receive(message, party)
        self.client_s[stage] += between - began
        self.server_s[stage] += self.clock() - between
        if self.record:
            self.recorded.append((stage, party, sent))
        size = sum(map(len, sent))
        self.down[party] += len(request)
        self.up[party] += size
        if stage == "mask":
            self.upload[party] = size


def plain_sum(vectors: Sequence[NDArray[np.uint32]], bits: int) -> NDArray[np.uint32]:
    """The sum modulo 2^bits: what an aggregation without secrecy does with the same vectors."""
    total = np.zeros(len(vectors[0]), dtype=np.uint32)
    for vector in vectors:
        total += vector
    return total & np.uint32((1 << bits) - 1) if bits < 32 else total
