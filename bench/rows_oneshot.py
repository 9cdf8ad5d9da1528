"""One-shot aggregation: a whole round with a committee, beside `bonawitz` and `secaggplus` on the same vectors.

Every party runs in one process, one after another, and 5 % of the clients say nothing. What a role costs is told in CPU
seconds, so that other work on the machine is not counted.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.drive import Round, ids_of
from bench.harness import Case, Peer, Row, expect, network_model
from bench.peers import versioned
from privcomp._core import center
from privcomp.he import RlweParams
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.oneshot import (
    MALICIOUS,
    Client,
    Committee,
    Contribution,
    Member,
    Params,
    Server,
    least_survivors,
    size_committee,
)
from privcomp.oneshot.server import ACCEPT, VOTE
from privcomp.policy import CommitteePolicy, Policy
from privcomp.secagg import BONAWITZ, SECAGGPLUS, SEMI_HONEST, Segment
from privcomp.secagg import Params as MaskParams

__all__ = ["ONESHOT_ROWS"]

SEED = 20240601
#: Distinct vectors; clients share them, as a thousand of them need not all lie in memory.
VECTORS = 8
BITS = 16
#: Corrupt clients of the roster, and clients or members that vanish, in millionths.
GAMMA_PPM = DELTA_PPM = 50_000
#: Clients whose time is taken for each of the two rosters that are compared.
COMPARED = 15
_BEACON = b"bench"


@dataclass(frozen=True)
class Size:
    """What a row runs.

    Attributes:
        n, d: clients, entries.
        named: (c, t_p) of a named committee; None: one drawn from the roster, by `size_committee`.
        rosters: two sizes of rosters; a client's cost is the same in both.
        bonawitz: clients of the round with all pairs, at most n. All are neighbours of each other, so n = 1000
            would take a million key agreements; less is a lower bound of what it costs.
    """

    n: int
    d: int
    named: tuple[int, int] | None
    rosters: tuple[int, int]
    bonawitz: int


class Parties:
    """Identities, roster, committee, policy and parameters of rounds of one size; none of it is timed.

    Args:
        n: clients of the roster.
        d: entries.
        clients: n_max of the ring, which fixes the profile.
        named: (c, t_p) of a named committee; None: a sampled one.
        size: (c, t_p, rho) of a sampled committee.
        least: n_min; None: the least that a careful node accepts.
    """

    def __init__(
        self,
        n: int,
        d: int,
        clients: int,
        named: tuple[int, int] | None,
        size: tuple[int, int, int],
        least: int | None = None,
    ) -> None:
        self.identities = {party: Identity.generate() for party in ids_of(n)}
        self.roster = Roster.of({party: own.public for party, own in self.identities.items()})
        if named is not None:
            organisations = {b"member-%02d" % k: Identity.generate() for k in range(named[0])}
            self.members = organisations
            committee = Committee.named([(p, own.public) for p, own in organisations.items()], named[1])
            own = CommitteePolicy(members=committee.members, privacy_min=named[1], survivors_min=least)
        else:
            committee = Committee.sampled(self.roster, _BEACON, *size)
            self.members = {party: self.identities[party] for party in committee.ids}
            own = CommitteePolicy(beacon=_BEACON, survivors_min=least)
        self.policy = Policy(protocols=("oneshot",), corrupt=0, gamma_ppm=GAMMA_PPM, committee=own)
        honest = self.policy.honest_survivors_min
        self.params = Params(
            MALICIOUS,
            RlweParams.for_round(BITS, clients),
            d,
            committee,
            least if least is not None else least_survivors(n, GAMMA_PPM * n // 1_000_000, honest),
            GAMMA_PPM,
        )

    def client(self, party: bytes) -> Client:
        """A client with an empty journal."""
        own = self.identities[party]
        return Client(party, own, self.policy, MemoryJournal(own.public), self.roster)

    def member(self, party: bytes) -> Member:
        """A member with an empty journal."""
        own = self.members[party]
        return Member(party, own, self.policy, MemoryJournal(own.public), self.roster)


@dataclass
class OneShot:
    """A round, and what it cost.

    Attributes:
        parties: who takes part.
        lost: clients that say nothing.
        lost_members: members that vanish after they accepted their shares.
        client_s, member_s: id -> CPU seconds over the round.
        server_s, open_s: CPU seconds of the server over the round, and of opening, which is part of it.
        up, down: id -> bytes that a client sent and received.
        member_up, member_down: the same of a member.
    """

    parties: Parties
    lost: frozenset[bytes] = frozenset()
    lost_members: frozenset[bytes] = frozenset()
    client_s: dict[bytes, float] = field(default_factory=dict)
    member_s: dict[bytes, float] = field(default_factory=lambda: defaultdict(float))
    server_s: float = 0.0
    open_s: float = 0.0
    up: dict[bytes, int] = field(default_factory=dict)
    down: dict[bytes, int] = field(default_factory=dict)
    member_up: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    member_down: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        parties = self.parties
        self.members = {party: parties.member(party) for party in parties.members}
        self.server = Server(
            parties.params,
            session=bytes(32),
            round=1,
            purpose="training",
            model=b"model",
            roster=parties.roster,
            identity=Identity.generate(),
        )
        self._requests: Mapping[bytes, bytes] = self.server.requests()

    def announce(self) -> Mapping[bytes, bytes]:
        """Box keys, then what the clients are sent."""
        self._members()
        self._advance()
        return self._requests

    def upload(self, party: bytes, values: NDArray[np.int64]) -> None:
        """One client from the announcement to its last byte; its journal is let go of."""
        client = self.parties.client(party)
        request = self._request(party)
        began = time.process_time()
        _, messages = client.receive(None, request, Contribution(values))
        sent = list(messages)
        self.client_s[party] = time.process_time() - began
        self.up[party], self.down[party] = sum(map(len, sent)), len(request)
        self._receive(sent, party)

    def run(self, vectors: Mapping[bytes, NDArray[np.int64]]) -> NDArray[np.int64]:
        """The whole round: the sum."""
        for party in self.announce():
            if party not in self.lost:
                self.upload(party, vectors[party])
        self._advance()
        while self.server.stage in (ACCEPT, VOTE):
            self._members()
            self._advance()
        self._members()
        began = time.process_time()
        total = self.server.result().sums[0]
        self.open_s = time.process_time() - began
        self.server_s += self.open_s
        return total

    def _advance(self) -> None:
        began = time.process_time()
        self._requests = self.server.advance()
        self.server_s += time.process_time() - began

    def _request(self, party: bytes) -> bytes:
        began = time.process_time()
        request = self._requests[party]  # built when it is asked for
        self.server_s += time.process_time() - began
        return request

    def _receive(self, messages: Iterable[bytes], party: bytes) -> None:
        began = time.process_time()
        for message in messages:
            self.server.receive(message, party)
        self.server_s += time.process_time() - began

    def _members(self) -> None:
        """One stage of all members that are there."""
        gone = self.lost_members if self.server.stage > ACCEPT else frozenset()
        for party in self._requests:
            if party in gone:
                continue
            request = self._request(party)
            began = time.process_time()
            sent = list(self.members[party].receive(request))
            self.member_s[party] += time.process_time() - began
            self.member_up[party] += sum(map(len, sent))
            self.member_down[party] += len(request)
            self._receive(sent, party)


def _masked(
    protocol: str, vectors: Mapping[bytes, NDArray[np.int64]], lost: frozenset[bytes], total: NDArray[np.int64]
) -> dict[str, float]:
    """The same sum with masks: the lost clients vanish after they shared their keys, which is when it costs most.

    `bonawitz` withstands a malicious server, as the one-shot round does; `secaggplus` one that is semi-honest.
    """
    n, length = len(vectors), len(total)
    bits = (2 * n * ((1 << (BITS - 1)) - 1)).bit_length()
    distinct = {id(v): v.astype(np.int32).view(np.uint32) & np.uint32((1 << bits) - 1) for v in vectors.values()}
    inputs = {party: distinct[id(v)] for party, v in vectors.items()}
    malicious = protocol == BONAWITZ
    params = MaskParams(
        protocol,
        MALICIOUS if malicious else SEMI_HONEST,
        (Segment.ring(bits, length),),
        -(-n // 3) - 1 if malicious else 0,
        n,
    )
    with ThreadPoolExecutor(1) as executor:
        done = Round(params, inputs, lost, executor, clock=time.process_time)
        sums = done.run()
    expect(np.array_equal(center(sums[0], bits), total), f"the sum of {protocol} is not the plain sum")
    alive = [party for party in vectors if party not in lost]
    up, down = (float(np.median([of[party] for party in alive])) for of in (done.up, done.down))
    rounds = 5 if malicious else 4
    client_s, server_s = sum(done.client_s.values()) / n, sum(done.server_s.values())
    network = network_model(client_s + server_s, rounds, up + down)
    found = {"n": n, "rounds": rounds, "client_s": client_s, "server_s": server_s, "bytes_up": up, "bytes_down": down}
    return {f"{protocol}_{name}": value for name, value in {**found, **network}.items()}


def _clients_of(size: Size, committee: tuple[int, int, int], compared: int) -> dict[str, float]:
    """What one client costs in rosters of two sizes, with the same ring, committee numbers and n_min.

    Clients of the two take turns, so that both see the same machine.
    """
    least = min(size.rosters) // 2
    values = np.random.default_rng(SEED).integers(-1000, 1000, size.d)
    rounds = [OneShot(Parties(n, size.d, size.n, size.named, committee, least)) for n in size.rosters]
    for one in rounds:
        one.announce()
    for k in range(compared + 1):
        for one in rounds:
            party = ids_of(k + 1)[k]
            one.upload(party, values)
            if not k:
                del one.client_s[party]  # warms up what the others find warm
    found: dict[str, float] = {}
    for n, one in zip(size.rosters, rounds, strict=True):
        found[f"client_s_n{n}"] = statistics.median(one.client_s.values())
        found[f"bytes_up_n{n}"] = float(statistics.median(one.up.values()))
    return found


def _oneshot(size: Size) -> Callable[[bool, bool], Case]:
    """A whole round. The peer adds the same vectors of the same survivors: the ratio is what privacy costs."""

    def build(quick: bool, peers: bool) -> Case:
        shape = _QUICK[size.named is not None] if quick else size
        n, d = shape.n, shape.d
        sampled = (0, 0, 0)
        if shape.named is None:
            found = size_committee(n, GAMMA_PPM, DELTA_PPM)
            sampled = (found.members, found.privacy, found.packing)
        parties = Parties(n, d, n, shape.named, sampled)
        params, ids = parties.params, ids_of(n)
        committee = params.committee
        bound = params.ring.value_bound
        generator = np.random.default_rng(SEED)
        distinct = [generator.integers(-bound, bound, d, endpoint=True) for _ in range(min(n, VECTORS))]
        vectors = {party: distinct[i % len(distinct)] for i, party in enumerate(ids)}
        lost = frozenset(ids[::20][: max(1, n // 20)])
        alive = [party for party in ids if party not in lost]
        lost_members = frozenset(committee.ids[: min(committee.size - committee.needed, max(1, committee.size // 20))])
        state: dict[str, OneShot] = {}
        beside: dict[str, float] = {}

        def plain(parties: Iterable[bytes]) -> NDArray[np.int64]:
            total = np.zeros(d, np.int64)
            for party in parties:
                total += vectors[party]
            return total

        def before() -> None:
            state["round"] = OneShot(parties, lost, lost_members)

        def ours() -> NDArray[np.int64]:
            return state["round"].run(vectors)

        def check(result: Any, peer_result: Any) -> None:
            expect(np.array_equal(result, peer_result), "the sum is not the plain sum")
            some = dict(list(vectors.items())[: shape.bonawitz])
            for protocol, given in ((BONAWITZ, some), (SECAGGPLUS, vectors)):
                gone = lost & given.keys()
                beside.update(_masked(protocol, given, gone, plain(party for party in given if party not in gone)))
            beside.update(_clients_of(shape, sampled, 1 if quick else COMPARED))
            small, large = (beside[f"bytes_up_n{count}"] for count in shape.rosters)
            expect(small == large, "a client's bytes depend on the number of clients")

        def report(_: Any, seconds: float) -> dict[str, Any]:
            done = state["round"]
            client_s = statistics.median(done.client_s.values())
            up, down = (int(statistics.median(of[party] for party in alive)) for of in (done.up, done.down))
            working = [party for party in committee.ids if party not in lost_members]
            of_members: dict[str, Mapping[bytes, float]] = {
                "member_s": done.member_s,
                "member_bytes_up": done.member_up,
                "member_bytes_down": done.member_down,
            }
            return {
                "bytes_up": up,
                "bytes_down": down,
                "rounds": 1,
                "decrypt_s": done.open_s,
                "client_s": client_s,
                "server_s": done.server_s,
                "params": {
                    **{k: float(statistics.median(of[p] for p in working)) for k, of in of_members.items()},
                    "server_bytes_in": float(sum(done.up.values()) + sum(done.member_up.values())),
                    "server_bytes_out": float(sum(done.down.values()) + sum(done.member_down.values())),
                    "bytes_per_parameter": up / d,
                    **network_model(client_s + done.server_s, 1, up + down),
                    **beside,
                },
            }

        return Case(
            ours,
            Peer(versioned("numpy", "NumPy") + " plain sum", lambda: plain(alive), repeats=9),
            check,
            {
                "n": n,
                "d": d,
                "bits": BITS,
                "profile": params.ring.profile,
                "committee": f"{committee.kind}, {committee.size} of t_p {committee.privacy}, rho {committee.packing}",
                "quorum": committee.quorum,
                "survivors_min": params.survivors_min,
                "dropouts": len(lost),
                "dropouts_members": len(lost_members),
                "security_bits": params.ring.security.bits,
                "core_svp": params.ring.security.core_svp,
                "seed": SEED,
            },
            before=before,
            report=report,
            repeats=1,
        )

    return build


#: Smaller sizes: with a sampled committee, and with a named one.
_QUICK = (Size(28, 500, None, (24, 28), 8), Size(16, 1000, (5, 1), (12, 16), 8))

ONESHOT_ROWS = (
    Row(
        "oneshot.n100.d1e6",
        "whole one-shot round, n = 100, d = 1e6, named committee of 10, 5 % lost; bonawitz, secaggplus | plain sum",
        _oneshot(Size(100, 10**6, (10, 3), (20, 60), 100)),
    ),
    Row(
        "oneshot.n1000.d1e5",
        "whole one-shot round, n = 1000, d = 1e5, sampled committee of 48, 5 % lost; bonawitz, secaggplus | plain sum",
        _oneshot(Size(1000, 10**5, None, (200, 600), 200)),
    ),
)
