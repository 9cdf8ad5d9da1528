"""Clients, servers and a lock-step wire for tests of shared updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.errors import PrivcompError
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.clients import Collection, Collector, MpcClient, components_of, parties_of
from privcomp.mpc.engine import Party, Session
from privcomp.mpc.protocols import start
from privcomp.mpc.robust import Outcome, Release, Rule, aggregate
from privcomp.policy import Policy

Ints = NDArray[np.int64]


POLICY = Policy(protocols=("rep3", "rep4"), adversary="semi_honest")


def seeded(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


@dataclass
class Dealt:
    """Shares of a matrix modulo 2^width, as one server sees them: a `ShareSource`."""

    components: list[NDArray[np.uint64]]
    held: tuple[int, ...]
    width: int

    @property
    def clients(self) -> int:
        return int(self.components[0].shape[0])

    @property
    def entries(self) -> int:
        return int(self.components[0].shape[1])

    def block(self, start: int, stop: int) -> Value:
        return Value(tuple(np.ascontiguousarray(self.components[j][:, start:stop]) for j in self.held))


def deal(protocol: str, x: Ints, width: int, seed: int = 1) -> list[Dealt]:
    """One `Dealt` per server."""
    rng = np.random.default_rng(seed)
    parties = parties_of(protocol)
    mask = np.uint64((1 << width) - 1)
    components = [rng.integers(0, 1 << width, x.shape, dtype=np.uint64) for _ in range(parties - 1)]
    components.append((x.astype(np.uint64) - np.sum(components, axis=0, dtype=np.uint64)) & mask)
    return [Dealt(components, components_of(protocol, i), width) for i in range(parties)]


Program = Callable[[ReplicatedBackend], Any]


def parties(protocol: str, program: Program, names: Sequence[bytes] | None = None) -> list[Party[Any]]:
    ids = tuple(names) if names is not None else tuple(b"server-%d" % i for i in range(parties_of(protocol)))
    session = Session(protocol, ids, b"test", b"n" * 16)
    return [start(session, i, program, rng=seeded(100 + i)) for i in range(len(ids))]


def drive(ends: Sequence[Party[Any]]) -> list[Any]:
    """Run in lock-step; by party its result, the error that it raised, or None where it waits for somebody."""
    errors: list[PrivcompError | None] = [None] * len(ends)
    while not any(errors):
        rounds: list[Any] = [None] * len(ends)
        for i, end in enumerate(ends):
            try:
                rounds[i] = end.advance()
            except PrivcompError as error:
                errors[i] = error
        if all(round_ is None for round_ in rounds):
            break
        for i, round_ in enumerate(rounds):
            for to, (header, parts) in (round_.sends if round_ is not None else {}).items():
                if errors[to] is None:
                    try:
                        ends[to].deliver(i, header, bytearray().join(parts))
                    except PrivcompError as error:
                        errors[to] = error
    return [
        error if error is not None else end.result if end.finished else None
        for end, error in zip(ends, errors, strict=True)
    ]


def run_rule(protocol: str, rule: Rule, x: Ints, width: int, release: Release) -> Outcome:
    """What all servers open; they must agree."""
    dealt = deal(protocol, x, width)

    async def program(mpc: ReplicatedBackend) -> Outcome:
        return await aggregate(mpc, rule, dealt[mpc.me], release)

    outcomes = drive(parties(protocol, program))
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        assert (outcome.total == outcomes[0].total).all()
        assert outcome.divisor == outcomes[0].divisor
    first: Outcome = outcomes[0]
    return first


@dataclass
class World:
    """Clients with keys, servers with keys and collectors."""

    collection: Collection
    clients: list[MpcClient]
    identities: list[Identity]
    journals: list[MemoryJournal]
    collectors: list[Collector]

    def uploads(self, x: Ints) -> list[list[bytes]]:
        """uploads[client][server]"""
        return [list(c.upload(self.collection, row)) for c, row in zip(self.clients, x, strict=True)]

    def send(self, uploads: list[list[bytes]]) -> None:
        for one in uploads:
            for collector, data in zip(self.collectors, one, strict=True):
                if data:
                    collector.receive(data)


def world(
    protocol: str, clients: int, width: int, entries: int, *, terms: bytes = b"", session: bytes = b"s" * 32
) -> World:
    own = [Identity.from_seed(bytes([1, i]) + bytes(30)) for i in range(clients)]
    servers = [Identity.from_seed(bytes([2, i]) + bytes(30)) for i in range(parties_of(protocol))]
    roster = Roster.of({b"client-%02d" % i: identity.public for i, identity in enumerate(own)})
    collection = Collection(
        protocol,
        tuple((b"server-%d" % i, identity.public) for i, identity in enumerate(servers)),
        roster,
        width,
        entries,
        terms,
        session,
        0,
        "training",
        b"m" * 32,
    )
    return World(
        collection,
        [
            MpcClient(b"client-%02d" % i, identity, POLICY, MemoryJournal(identity.public), rng=seeded(i))
            for i, identity in enumerate(own)
        ],
        servers,
        [MemoryJournal(identity.public) for identity in servers],
        [Collector(collection, i) for i in range(parties_of(protocol))],
    )
