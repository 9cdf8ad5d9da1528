"""Random rounds with an honest server and everything that networks and machines do, and what must hold of them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp._core import AES128_CTR, CHACHA20, pack
from privcomp.encoding import FixedPoint
from privcomp.errors import ParameterError
from privcomp.keys import Identity, Roster
from privcomp.ledger import Ledger
from privcomp.policy import DEFAULT_PURPOSES, Policy
from privcomp.rounds import LocalUpdate, RoundResult, RoundServer, RoundSpec
from privcomp.rounds.client import Values
from privcomp.secagg import BONAWITZ, MALICIOUS, SECAGGPLUS, SEMI_HONEST, Contribution, Params, Segment, Server
from privcomp.secagg.messages import bitmap
from privcomp.simulation.coins import Coins
from privcomp.simulation.faults import Faults
from privcomp.simulation.network import Network
from privcomp.simulation.oracle import Oracle
from privcomp.simulation.parties import CONSISTENCY, MASK, UNMASK, HonestServer, Inline, Machine, Node
from privcomp.simulation.trace import Trace
from privcomp.typing import RingArray

__all__ = ["Report", "Session", "Setting", "run_session"]

#: The order of the ristretto255 group: a prime segment carries the blindings of attested rounds.
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
PURPOSE = DEFAULT_PURPOSES[0]


@dataclass(frozen=True)
class Setting:
    """One session.

    Attributes:
        n: clients that are invited; the roster has `spare` more.
        protocol, adversary, hybrid, cipher, corrupt, threshold: as in `privcomp.secagg.Params`.
        honest_min: the policy's minimum of honest survivors.
        segments: the vector.
        federated: run `privcomp.rounds` (encoding, ledger) instead of the bare protocol.
        sparse: a ring with k = 6 and t = 4 of 12 clients instead of the complete graph, for one client in ten corrupt
        and as
            many lost: small enough for a simulation.
        faults: of each round.
        authenticated: the transport vouches for the sender of a message.
    """

    n: int
    protocol: str
    adversary: str
    corrupt: int
    honest_min: int
    segments: tuple[Segment, ...]
    faults: tuple[Faults, ...]
    spare: int = 0
    threshold: int = 0
    hybrid: bool = False
    cipher: int = AES128_CTR
    federated: bool = False
    sparse: bool = False
    authenticated: bool = True

    @classmethod
    def draw(cls, coins: Coins) -> Setting:
        """A random setting that is possible, with faults in a mix in which most rounds can complete."""
        malicious, sparse = coins.chance(0.5), coins.chance(0.03)
        n = 12 if sparse else coins.choice((3, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 8, 9, 10, 11, 12))
        if malicious and not sparse:
            adversary, protocol = MALICIOUS, BONAWITZ
            corrupt = coins.choice((0, 0, 1, 2)) if n >= 7 else coins.choice((0, 0, 0, 1)) if n >= 5 else 0
        else:
            adversary, protocol = SEMI_HONEST, SECAGGPLUS if sparse or coins.chance(0.5) else BONAWITZ
            corrupt = 0 if n < 6 or sparse else coins.choice((0, 0, 1))
        length = coins.choice((1, 3, 8, 20, 64, 100))
        segments: tuple[Segment, ...] = (Segment.ring(coins.choice((8, 17, 26, 32, 33, 48, 64)), length),)
        federated = coins.chance(0.25)
        if not federated and coins.chance(0.25):
            segments += (Segment.prime(GROUP_ORDER, coins.between(1, 4)),)
        gentle = 0.55 if n >= 5 else 0.8
        faults = tuple(
            Faults.LIGHT if coins.chance(gentle) else coins.choice((Faults.NONE, Faults.HEAVY, Faults.HEAVY))
            for _ in range(coins.choice((1, 2, 2, 3)))
        )
        # Blocks of an upload are not signed one by one: without a transport that vouches for the sender, a damaged
        # block can spoil the upload of another client.
        authenticated = coins.chance(0.7)
        if not authenticated:
            faults = tuple(replace(f, corrupt=0.0) for f in faults)
        return cls(
            n,
            protocol,
            adversary,
            corrupt,
            2 if n < 5 else 3,
            segments,
            faults,
            spare=coins.choice((0, 0, 1, 2)),
            threshold=4 if sparse else 0,
            hybrid=coins.chance(0.15),
            cipher=coins.choice((AES128_CTR, CHACHA20)),
            federated=federated,
            sparse=sparse,
            authenticated=authenticated,
        )


@dataclass
class Report:
    """What a run of many rounds showed; reports add up.

    Attributes:
        rounds, lying: rounds with an honest and with a lying server.
        within, completed: honest-server rounds within the tolerance; those that ended with a sum.
        requests, refused: requests of lying servers; those that clients refused.
        exact: lying-server runs in which the server isolated exactly what the rules promise.
        events: how often what happened (faults, refusals, outcomes).
        failures: (what, how to run it again); empty if all is well.
        digest: hash over the traces, in order.
    """

    rounds: int = 0
    lying: int = 0
    within: int = 0
    completed: int = 0
    requests: int = 0
    refused: int = 0
    exact: int = 0
    events: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    digest: bytes = bytes(32)

    def add(self, other: Report) -> None:
        """Take another report in."""
        for name in ("rounds", "lying", "within", "completed", "requests", "refused", "exact"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.events += other.events
        self.failures += other.failures
        self.digest = sha256(self.digest + other.digest).digest()

    @property
    def share_within(self) -> float:
        """Share of the honest-server rounds that are within the tolerance."""
        return self.within / max(1, self.rounds)

    def __str__(self) -> str:
        aborted, isolated = self.rounds - self.completed, "" if self.failures else ", none fewer"
        lines = [
            f"{self.rounds} rounds with an honest server: {self.within} within the tolerance "
            f"({self.share_within:.1%}), {self.completed} ended with the exact sum, {aborted} with a typed abort",
            f"{self.lying} rounds with a lying server: {self.requests} requests, {self.refused} refused; "
            f"{self.exact} runs isolated exactly as many clients as promised{isolated}",
            "events: " + ", ".join(f"{name} {count}" for name, count in sorted(self.events.items())),
            f"trace digest {self.digest.hex()}",
            f"{len(self.failures)} failures" + "".join("\n  " + text for text in self.failures[:20]),
        ]
        return "\n".join(lines)


class Session:
    """One session: clients, a network, an honest server, some rounds.

    Args:
        setting: what to run.
        coins: the session's stream.

    Raises:
        ParameterError: the setting is impossible.
    """

    def __init__(self, setting: Setting, coins: Coins) -> None:
        self.setting, self.coins = setting, coins
        ids = [b"client-%02d" % k for k in range(setting.n + setting.spare)]
        identities = {i: Identity.from_seed(coins.child("identity", i).bytes(32)) for i in ids}
        self.roster = Roster.of({i: identity.public for i, identity in identities.items()})
        self.ids = sorted(coins.sample(ids, setting.n))
        self.policy = Policy(
            adversary=setting.adversary,
            corrupt=setting.corrupt,
            honest_survivors_min=setting.honest_min,
            gamma_ppm=100_000 if setting.sparse else 50_000,
            delta_ppm=100_000 if setting.sparse else 50_000,
        )
        self.encoding = FixedPoint(8, 2.0**-6, "exact", 5, setting.n, setting.segments[0].length)
        self.spec, self.params = self._params()
        self.trace = Trace(hybrid=setting.hybrid)
        self.network = Network(coins.child("network"), Faults.NONE, self.trace)
        self.oracle = Oracle(c=setting.corrupt, honest_min=setting.honest_min)
        self.ledger = Ledger(None, Identity.from_seed(coins.child("ledger").bytes(32)))
        self.heads: dict[bytes, bytes] = {}
        self.session = coins.child("session").bytes(32)
        self.server: HonestServer | None = None
        self.nodes = {i: self._node(i, identities[i]) for i in self.ids}
        self.machines = {
            i: Machine(node, self.network, coins.child("machine", i), self._current, self.oracle.observe)
            for i, node in self.nodes.items()
        }
        self.problems: list[str] = []
        self._vectors: dict[tuple[bytes, bytes], tuple[NDArray[Any], ...]] = {}

    def _params(self) -> tuple[RoundSpec | None, Params]:
        s = self.setting
        options: dict[str, Any] = {
            "protocol": s.protocol,
            "adversary": s.adversary,
            "corrupt": s.corrupt,
            "clients": s.n,
            "threshold": s.threshold,
            "honest_survivors": s.honest_min,
            "cipher": s.cipher,
            "hybrid": s.hybrid,
            "gamma_ppm": self.policy.gamma_ppm,
            "delta_ppm": self.policy.delta_ppm,
            "block_entries": 64,
        }
        if s.federated:
            spec = RoundSpec.secure_sum(self.encoding, **options)
            if isinstance(spec.aggregation, Params):
                return spec, spec.aggregation
        return None, Params(segments=s.segments, **options)

    def _node(self, party: bytes, identity: Identity) -> Node:
        local: LocalUpdate | None = None
        if self.setting.federated:

            def computed(model: bytes, spec: RoundSpec) -> tuple[Values, int]:
                weight, values = self._local(party, sha256(model).digest())
                return values * spec.encoding.granularity, weight

            local = computed
        return Node(
            party,
            identity,
            self.policy,
            self.roster,
            self.coins.child("client", party),
            lambda model: Contribution(self.vectors(party, sha256(model).digest())),
            local,
        )

    def _current(self) -> HonestServer:
        if self.server is None:
            raise RuntimeError("no round has begun")
        return self.server

    # ---- what the clients add up ----

    def _local(self, party: bytes, model_hash: bytes) -> tuple[int, NDArray[np.int64]]:
        coins = self.coins.child("update", party, model_hash)
        return coins.between(1, 5), coins.integers(-100, 101, self.encoding.entries)

    def vectors(self, party: bytes, model_hash: bytes) -> tuple[NDArray[Any], ...]:
        """The integer vectors of a client: training is deterministic, so they depend on the model only."""
        known = self._vectors.get((party, model_hash))
        if known is None:
            known = self._vectors[party, model_hash] = self._computed(party, model_hash)
        return known

    def _computed(self, party: bytes, model_hash: bytes) -> tuple[NDArray[Any], ...]:
        if self.setting.federated:
            weight, values = self._local(party, model_hash)
            return (np.concatenate([weight * values, [weight, 0]]).astype(np.int64),)
        coins, out = self.coins.child("update", party, model_hash), []
        for segment in self.setting.segments:
            if segment.is_ring:
                out.append(coins.integers(-1000, 1000, segment.length))
            else:
                rows = np.frombuffer(coins.bytes(31 * segment.length), dtype=np.uint8).reshape(segment.length, 31)
                out.append(np.hstack([rows, np.zeros((segment.length, 1), dtype=np.uint8)]))
        return tuple(out)

    # ---- rounds ----

    def run(self) -> Report:
        """All rounds; the report of the session."""
        report = Report()
        model, retries = b"", 0
        for number, faults in enumerate(self.setting.faults):
            # An aborted round in which nobody was asked to unmask is announced again on the same model.
            again = self.server is not None and self.server.error is not None and not self.server.requested_unmask
            if not (again and self.coins.chance(0.5)):
                model = self.coins.bytes(24)
            else:
                retries += 1
            self._round(number, model, faults, report)
        report.events["retry on the same model"] += retries
        self._finish(report)
        return report

    def _round(self, number: int, model: bytes, faults: Faults, report: Report) -> None:
        s, coins = self.setting, self.coins
        core: Server | RoundServer
        if self.spec is not None:
            core = RoundServer(
                self.spec,
                session=self.session,
                round=number,
                purpose=PURPOSE,
                model=model,
                roster=self.roster,
                ledger=self.ledger,
                executor=Inline(),
            )
        else:
            core = Server(
                self.params,
                session=self.session,
                round=number,
                purpose=PURPOSE,
                model=model,
                roster=self.roster,
                executor=Inline(),
                memory_budget=coins.choice((1 << 20, 0, 300)),
            )
        server = self.server = HonestServer(core, self.network, self.ids, self.heads, authenticated=s.authenticated)
        self.network.faults = faults
        for party, machine in self.machines.items():
            if not self.nodes[party].up:
                self.nodes[party].start()
            machine.gone = False
            machine.gone_from = coins.below(5) if coins.chance(faults.vanish) else None
            late = coins.chance(faults.late)
            machine.deaf_until = self.network.now + coins.between(1, 2 * server.DEADLINE) if late else 0
            report.events["late client"] += late
        server.begin()
        self.network.run(lambda: server.finished)
        report.rounds += 1
        self._judge(server, sha256(model).digest(), report)

    def _judge(self, server: HonestServer, model_hash: bytes, report: Report) -> None:
        within = self._within(server)
        report.within += within
        if server.sum is not None:
            report.completed += 1
            report.events["sum"] += 1
            self._check_sum(server.sum, model_hash)
        else:
            report.events[f"abort: {type(server.error).__name__} in stage {server.role.stage}"] += 1
            if within:
                self.problems.append(f"a round within the tolerance did not complete: {server.error}")
        if server.role._directory is None or server.role.directory.n >= self.policy.clients_min:
            self.problems += [f"a request of an honest server was refused: {text}" for text in server.ground.refused]
        self._check_ground(server)

    def _within(self, server: HonestServer) -> bool:
        """Whether the round must complete, from what really arrived (see the package documentation)."""
        role, ground, s = server.role, server.ground, self.setting
        if role._directory is None:
            first = sum(ground.complete(0, i) for i in self.ids)
            try:
                return (
                    self.params.thresholds(len(role.advertisements)).threshold + 1 <= first
                    and first >= 3
                    and first - s.corrupt >= s.honest_min
                )
            except ParameterError:
                return False
        directory = role.directory
        t, ids = directory.thresholds, directory.ids
        if t.n < self.policy.clients_min:
            return False
        done: list[set[int]] = []
        for stage in range(5):
            if stage == CONSISTENCY and not t.quorum:
                done.append(done[-1])
                continue
            before = done[-1] if done else set(range(t.n))
            done.append({p for p in before if ground.complete(stage, ids[p])})
        u = done[MASK]
        # Answers count from whoever sent one, signed or not.
        answers = {p for p in u if ground.complete(UNMASK, ids[p])}
        members = directory.members(role.u2_bitmap, "share") if role.u2_bitmap else frozenset(range(t.n))
        enough = len(u) >= t.threshold + 1 and len(u) - s.corrupt >= s.honest_min and len(done[CONSISTENCY]) >= t.quorum
        covered = all(len(answers & directory.neighbours(p)) >= t.threshold for p in members)
        if not t.complete:
            covered &= not directory.may_fall_apart(bitmap(u, t.n), self.policy.gamma_ppm)
            covered &= all(len(u & directory.neighbours(p)) >= t.threshold for p in u)
        return enough and covered

    def _check_ground(self, server: HonestServer) -> None:
        """Whoever did its part of a stage, undamaged and in time, was counted."""
        role, ground = server.role, server.ground
        if role._directory is None:
            return
        ids = role.directory.ids
        listed = {i for i in self.ids if ground.complete(0, i)}
        if not listed <= set(ids):
            self.problems.append("a client that advertised its keys in time is not in the key list")
        if role.stage > MASK:
            complete = {ids[p] for p in role.directory.members(role.u_bitmap, "mask")}
            u2 = {ids[p] for p in role.directory.members(role.u2_bitmap, "share")}
            wanted = {i for i in ids if ground.complete(MASK, i)}
            if not wanted <= complete <= u2:
                self.problems.append("a complete upload was left out, or an incomplete one counted")

    def _check_sum(self, result: Any, model_hash: bytes) -> None:
        aggregate = result.aggregate if isinstance(result, RoundResult) else result
        vectors = [self.vectors(i, model_hash) for i in aggregate.survivors]
        for k, (segment, total) in enumerate(zip(self.params.segments, aggregate.sums, strict=True)):
            if segment.is_ring:
                expected = np.sum([v[k] for v in vectors], axis=0).astype(np.uint64) & np.uint64(
                    (1 << segment.bits) - 1
                )
                good = bool((total.astype(np.uint64) == expected).all())
            else:
                modulus = int.from_bytes(segment.modulus, "little")
                sums = [
                    sum(int.from_bytes(v[k][a].tobytes(), "little") for v in vectors) for a in range(segment.length)
                ]
                good = [int.from_bytes(row.tobytes(), "little") for row in total] == [value % modulus for value in sums]
            if not good:
                self.problems.append(f"SILENT WRONG SUM in segment {k}")
        if isinstance(result, RoundResult):
            expected = np.sum([v[0] for v in vectors], axis=0)
            if not (result.integer_sum == expected).all():
                self.problems.append("SILENT WRONG SUM of a federated round")
            weight = int(expected[-2])
            mean = self.encoding.granularity * expected[:-2] / weight
            if result.decoded.total_weight != weight or not np.allclose(result.decoded.mean, mean, rtol=1e-12, atol=0):
                self.problems.append("a decoded mean is wrong")

    def _finish(self, report: Report) -> None:
        for event in self.trace.events:
            if event.what not in ("send", "deliver") and not event.what.startswith("close"):
                report.events[event.what] += 1
        self.problems += self.oracle.check(lambda party, model_hash: self.vectors(party, model_hash)[0])
        self.problems += self.oracle.leaked(secret_bytes(self.nodes.values(), self.oracle))
        self.problems += self.oracle.leaked(self._plaintexts())
        report.digest = self.trace.digest
        report.failures += self.problems

    def _plaintexts(self) -> set[bytes]:
        out: set[bytes] = set()
        for entry in self.oracle.inputs.values():
            model_hash = self.oracle.lists[entry.list_hash].directory.context.announce.model_hash
            out |= plaintext_forms(self.vectors(entry.client, model_hash), self.params)
        return out


def plaintext_forms(vectors: tuple[NDArray[Any], ...], params: Params) -> set[bytes]:
    """How an unmasked vector would look on the wire: packed, or as it lies in memory."""
    out = set()
    for segment, vector in zip(params.segments, vectors, strict=True):
        out.add(vector.tobytes()[:64])
        if segment.is_ring:
            words: RingArray = vector[:64].astype(np.uint32) if segment.bits <= 32 else vector[:64].astype(np.uint64)
            out.add(pack(words, segment.bits)[:64])
    return {form for form in out if len(form) >= 16}


def secret_bytes(nodes: Iterable[Node], oracle: Oracle) -> set[bytes]:
    """What must never travel in the clear: entropy, keys derived from it, shares that were not released."""
    out: set[bytes] = set()
    for node in nodes:
        out |= node.drawn | node.hidden
    return out - oracle.released_shares


def run_session(seed: int, index: int) -> Report:
    """One random session. An impossible setting gives an empty report, whatever is no PrivcompError a failure."""
    coins, report = Coins(seed, "honest", index), Report()
    try:
        session = Session(Setting.draw(coins), coins)
    except ParameterError:
        report.events["refused at set-up"] += 1
        return report
    try:
        report = session.run()
    except Exception:  # noqa: BLE001 (whatever gets here is a finding, and the other sessions go on)
        report.failures.append(traceback.format_exc())
    report.failures = [f"run_session({seed}, {index}): {text}" for text in report.failures]
    return report
