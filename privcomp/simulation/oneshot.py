"""One-shot rounds on a bad network, and against a lying server.

An honest server must end every round with the exact sum or a typed abort, and complete it within the tolerance: enough
members sent their box keys, n_min uploads came through undamaged, max(T + 1, Q) members accepted, Q voted and T + 1
answered before their stage was closed. What a lying server can isolate is computed by elimination over everything that
honest members answered and corrupt members hold.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.codec import decode_any
from privcomp.errors import PrivcompError, RoundAborted
from privcomp.he import RlweParams
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.oneshot import (
    MALICIOUS,
    SEMI_HONEST,
    Aggregate,
    Client,
    Committee,
    Contribution,
    KeyHolder,
    Member,
    Params,
    Server,
    least_survivors,
)
from privcomp.oneshot import messages as m
from privcomp.oneshot.context import RoundContext, box_key_request, set_hash, upload_body, upload_digest
from privcomp.oneshot.keyshares import merkle_paths
from privcomp.oneshot.server import ACCEPT, ANSWER, BOXKEYS, UPLOAD, VOTE, _root
from privcomp.policy import CommitteePolicy, Policy
from privcomp.simulation.coins import Coins, Tap
from privcomp.simulation.faults import Crash, CrashingJournal, Faults
from privcomp.simulation.network import Network, Packet
from privcomp.simulation.oracle import Oracle
from privcomp.simulation.scenario import Report
from privcomp.simulation.trace import Trace

__all__ = ["OneshotSetting", "oneshot_campaign", "run_lying_oneshot", "run_oneshot"]

SERVER = b"server"
PURPOSE = "training"
_STAGE_OF = {
    m.BoxKeyRequest.TAG: BOXKEYS,
    m.BoxKey.TAG: BOXKEYS,
    m.UploadRequest.TAG: UPLOAD,
    m.UploadBlock.TAG: UPLOAD,
    m.UploadEnd.TAG: UPLOAD,
    m.Shares.TAG: ACCEPT,
    m.Accept.TAG: ACCEPT,
    m.Propose.TAG: VOTE,
    m.Vote.TAG: VOTE,
    m.Certificate.TAG: ANSWER,
    m.Answer.TAG: ANSWER,
}


@dataclass(frozen=True)
class OneshotSetting:
    """One session.

    Attributes:
        n, c, privacy, packing: clients; members (1: a single key-holder), t_p, rho.
        adversary: of the server.
        length: entries.
        corrupt: corrupt clients that n_min counts on.
        faults: of each round.
        restarts: the server restarts once its survivors are fixed.
    """

    n: int
    c: int
    privacy: int
    packing: int
    adversary: str
    length: int
    corrupt: int
    faults: tuple[Faults, ...]
    restarts: bool

    @classmethod
    def draw(cls, coins: Coins) -> OneshotSetting:
        """A random setting."""
        c, privacy, packing = coins.choice(((1, 0, 1), (4, 1, 1), (4, 1, 1), (5, 1, 2), (5, 1, 1), (6, 2, 1)))
        faults = tuple(coins.choice((Faults.NONE, Faults.LIGHT, Faults.LIGHT, Faults.HEAVY)) for _ in range(3))
        return cls(
            coins.between(4, 7),
            c,
            privacy,
            packing,
            coins.choice((MALICIOUS, MALICIOUS, SEMI_HONEST)),
            coins.choice((1, 5, 40)),
            coins.below(2),
            faults,
            coins.chance(0.3),
        )


class Party(ABC):
    """A machine: a journal that survives, and a process that does not."""

    def __init__(self, id: bytes, identity: Identity, policy: Policy, roster: Roster, coins: Coins) -> None:
        self.id, self.identity, self.policy, self.roster = id, identity, policy, roster
        self.journal = CrashingJournal(identity.public)
        self.drawn: set[bytes] = set()
        self._coins, self._starts = coins, 0
        self.up = True
        self.gone_from: int | None = None

    def start(self) -> None:
        """Start the process anew: what was in memory is gone, the journal is not."""
        self._starts += 1
        self.up = True
        self._build(Tap(self._coins.child("start", self._starts), self.drawn))

    @abstractmethod
    def _build(self, rng: Callable[[int], bytes]) -> None:
        """Make the role anew."""

    @abstractmethod
    def receive(self, data: bytes) -> list[bytes]:
        """Answer a message of the server; raises what the role raises, or Crash."""


class ClientParty(Party):
    """A client with deterministic training."""

    def __init__(self, *arguments: Any, values: Callable[[bytes, bytes], NDArray[np.int64]]) -> None:
        super().__init__(*arguments)
        self._values = values
        self.start()

    def _build(self, rng: Callable[[int], bytes]) -> None:
        self.role = Client(self.id, self.identity, self.policy, self.journal, self.roster, rng=rng)

    def receive(self, data: bytes) -> list[bytes]:
        update = lambda model: Contribution(self._values(self.id, sha256(model).digest()))  # noqa: E731
        return list(self.role.receive(None, data, update)[1])


class MemberParty(Party):
    """A member of the committee, or a key-holder."""

    def __init__(self, *arguments: Any, holder: bool) -> None:
        super().__init__(*arguments)
        self._cls = KeyHolder if holder else Member
        self.start()

    def _build(self, rng: Callable[[int], bytes]) -> None:
        self.role = self._cls(self.id, self.identity, self.policy, self.journal, self.roster, rng=rng)

    def receive(self, data: bytes) -> list[bytes]:
        return list(self.role.receive(data))


@dataclass
class _Ground:
    """What reached the server undamaged before its stage was closed: (stage, party) -> hashes; and what was sent."""

    sent: dict[tuple[int, bytes], frozenset[bytes]] = field(default_factory=dict)
    came: dict[tuple[int, bytes], set[bytes]] = field(default_factory=dict)
    hurt: set[bytes] = field(default_factory=set)

    def complete(self, stage: int, parties: Iterable[bytes]) -> int:
        """How many parties got their whole answer of a stage through, and nothing of them was damaged."""
        return sum(
            (stage, party) in self.sent
            and party not in self.hurt
            and self.sent[stage, party] <= self.came.get((stage, party), set())
            for party in parties
        )


class Driver:
    """An honest server on the network: closes a stage when everybody answered or time is up, asks again in between."""

    DEADLINE, AGAIN, ATTEMPTS = 240, 80, 3

    def __init__(self, role: Server, network: Network, restart: Callable[[Server], Server] | None) -> None:
        self.role, self.network, self._restart = role, network, restart
        self.sum: Aggregate | None = None
        self.error: PrivcompError | None = None
        self.ground = _Ground()
        self._epoch = self._attempts = 0
        network.attach(SERVER, self.receive)

    @property
    def finished(self) -> bool:
        """Whether there is a sum or an abort."""
        return self.sum is not None or self.error is not None

    def ask(self) -> None:
        """Send this stage's requests, and again to whom has not answered."""
        self._epoch += 1
        epoch = self._epoch
        self._send()
        for wait in range(self.AGAIN, self.DEADLINE, self.AGAIN):
            self.network.after(wait, lambda: self._send() if epoch == self._epoch and not self.finished else None)
        self.network.after(self.DEADLINE, lambda: self._close(epoch))

    def _send(self) -> None:
        members = self.role.params.committee.ids
        for party, data in self.role.requests().items():
            # A member that restarted has forgotten what it was given.
            for message in self.role.catch_up(party) if party in members else (data,):
                self.network.send(SERVER, party, message)

    def receive(self, packet: Packet) -> None:
        """A packet arrives."""
        if self.finished:
            return
        stage = _STAGE_OF.get(int.from_bytes(packet.sent[3:5], "little"), BOXKEYS)
        if not packet.intact and not packet.replayed:
            self.ground.hurt.add(packet.source)
        elif stage == self.role.stage:
            self.ground.came.setdefault((stage, packet.source), set()).add(sha256(packet.sent).digest())
        try:
            self.role.receive(packet.data, packet.source)
        except PrivcompError as error:
            what = f"server refuses: {type(error).__name__}"
            self.network.trace.add(self.network.now, packet.source, SERVER, None, what)
            return
        if not self.role.pending:
            self._epoch += 1
            epoch = self._epoch
            self.network.after(0, lambda: self._close(epoch))

    def is_current(self, stage: int, answer: bytes) -> bool:
        """Whether an answer belongs to this round: box keys name it, all others begin with its ctx."""
        if stage == BOXKEYS:
            return answer[69:77] == self.role._draft.round.to_bytes(8, "little")
        return self.role.stage > BOXKEYS and answer[5:37] == self.role.context.digest

    def _close(self, epoch: int) -> None:
        if epoch != self._epoch or self.finished:
            return
        self.network.trace.add(self.network.now, SERVER, b"", None, f"close stage {self.role.stage}")
        try:
            if self.role.stage == ANSWER:
                self.sum = self.role.result()
                return
            self.role.advance()
        except PrivcompError as error:
            self._attempts += 1
            if isinstance(error, RoundAborted) and self.role.stage >= ACCEPT and self._attempts < self.ATTEMPTS:
                self.ask()  # nothing is lost: more may still come in
                return
            self.error = error
            return
        self._attempts = 0
        if self._restart is not None and self.role.stage in (VOTE, ANSWER):
            self.role = self._restart(self.role)
        self.ask()


class Session:
    """Clients, members and rounds of one setting."""

    def __init__(self, setting: OneshotSetting, coins: Coins) -> None:
        self.setting, self.coins = setting, coins
        s = setting
        self.trace = Trace()
        self.network = Network(coins.child("network"), Faults.NONE, self.trace)
        self.oracle, self.problems = Oracle(), []  # type: ignore[var-annotated]
        keys = {b"client-%02d" % k: Identity.from_seed(coins.child("client", k).bytes(32)) for k in range(s.n)}
        self.roster = Roster.of({party: key.public for party, key in keys.items()})
        own = {b"member-%02d" % k: Identity.from_seed(coins.child("member", k).bytes(32)) for k in range(s.c)}
        listed = tuple((party, key.public) for party, key in own.items())
        single = s.c == 1
        committee = Committee.single(*listed[0]) if single else Committee.named(listed, s.privacy, s.packing)
        allowed = CommitteePolicy(key_holder=listed[0]) if single else CommitteePolicy(listed, s.privacy)
        policy = Policy(
            protocols=("oneshot",), adversary=s.adversary, corrupt=s.corrupt, gamma_ppm=0, committee=allowed
        )
        self.params = Params(
            s.adversary,
            RlweParams.for_round(16, s.n),
            s.length,
            committee,
            least_survivors(s.n, s.corrupt, policy.honest_survivors_min),
            gamma_ppm=0,
        )
        self.identity = Identity.from_seed(coins.child("server").bytes(32))
        self.journal = MemoryJournal(self.identity.public)
        self._known: dict[tuple[bytes, bytes], NDArray[np.int64]] = {}
        self.clients = {
            party: ClientParty(party, key, policy, self.roster, coins.child("entropy", party), values=self.values)
            for party, key in keys.items()
        }
        self.members = {
            party: MemberParty(party, key, policy, self.roster, coins.child("entropy", party), holder=single)
            for party, key in own.items()
        }
        self.driver: Driver | None = None
        for party in (*self.clients.values(), *self.members.values()):
            self.network.attach(party.id, lambda packet, party=party: self._deliver(party, packet))  # type: ignore[misc]

    def values(self, party: bytes, model_hash: bytes) -> NDArray[np.int64]:
        """The update of a client on a model: training is deterministic."""
        bound = self.params.ring.value_bound
        if (party, model_hash) not in self._known:
            coins = self.coins.child("update", party, model_hash)
            self._known[party, model_hash] = coins.integers(-bound, bound + 1, self.setting.length)
        return self._known[party, model_hash]

    def run(self) -> Report:
        """All rounds; the report of the session."""
        report, model = Report(), b""
        for number, faults in enumerate(self.setting.faults):
            used = self.driver is not None and self.driver.role.survivors  # proposed: this model is closed
            if not model or used or self.coins.chance(0.5):
                model = self.coins.bytes(24)
            self._round(number, model, faults, report)
        secrets: set[bytes] = set()
        for party in (*self.clients.values(), *self.members.values()):
            secrets |= party.drawn
        self.problems += self.oracle.leaked(secrets)
        self.problems += self.oracle.leaked({v.tobytes()[:64] for v in self._known.values() if v.size > 1})
        for event in self.trace.events:
            if event.what not in ("send", "deliver") and not event.what.startswith("close"):
                report.events[event.what] += 1
        report.failures += self.problems
        report.digest = self.trace.digest
        return report

    def _round(self, number: int, model: bytes, faults: Faults, report: Report) -> None:
        coins, s = self.coins, self.setting
        role = Server(
            self.params,
            session=bytes(32),
            round=number,
            purpose=PURPOSE,
            model=model,
            roster=self.roster,
            identity=self.identity,
            journal=self.journal,
            memory_budget=coins.choice((0, 1 << 20)),
        )
        thaw = lambda old: Server.thaw(  # noqa: E731
            old.freeze(), model=model, roster=self.roster, identity=self.identity, journal=self.journal
        )
        driver = self.driver = Driver(role, self.network, thaw if s.restarts else None)
        self.network.faults = faults
        for party in (*self.clients.values(), *self.members.values()):
            if not party.up:
                party.start()
            party.gone_from = coins.below(5) if coins.chance(faults.vanish) else None
        driver.ask()
        self.network.run(lambda: driver.finished)
        report.rounds += 1
        within = self._within(driver)
        report.within += within
        if driver.sum is None:
            report.events[f"abort: {type(driver.error).__name__} in stage {driver.role.stage}"] += 1
            if within or not isinstance(driver.error, PrivcompError):
                self.problems.append(f"a round within the tolerance did not complete: {driver.error!r}")
            return
        report.completed += 1
        rows = [self.values(party, sha256(model).digest()) for party in driver.sum.survivors]
        if len(rows) < self.params.survivors_min or not (driver.sum.sums[0] == np.sum(rows, axis=0)).all():
            self.problems.append("SILENT WRONG SUM")

    def _within(self, driver: Driver) -> bool:
        g, committee = driver.ground, self.params.committee
        members = committee.ids
        if g.hurt:
            return False
        need = [committee.needed, self.params.survivors_min, committee.needed, committee.quorum, committee.needed]
        done = [g.complete(stage, self.clients if stage == UPLOAD else members) for stage in range(5)]
        if not self.params.certified:
            done[VOTE] = committee.size
        # What comes after the stage in which the round ended was never asked for.
        reached = range(min(driver.role.stage, ANSWER) + 1)
        return all(done[stage] >= need[stage] for stage in reached)

    def _deliver(self, party: Party, packet: Packet) -> None:
        network, driver = self.network, self.driver
        if driver is None:
            return
        stage = _STAGE_OF.get(int.from_bytes(packet.sent[3:5], "little"), BOXKEYS)
        if party.gone_from is not None and stage >= party.gone_from and not packet.replayed:
            party.up = False
        if not party.up:
            network.trace.add(network.now, packet.source, party.id, None, "nobody listens")
            return
        if not packet.intact:
            driver.ground.hurt.add(party.id)
        crash = self.coins.choice(("before", "after", "half")) if self.coins.chance(network.faults.crash) else ""
        party.journal.die = crash
        out: list[bytes] = []
        try:
            answer = party.receive(packet.data)
            for message in answer:
                self.oracle.wire(message)
            self.oracle.wire(packet.data)
            if packet.intact and not packet.replayed and answer and not driver.finished:
                at = _STAGE_OF[int.from_bytes(answer[0][3:5], "little")]
                if driver.is_current(at, answer[0]):
                    driver.ground.sent[at, party.id] = frozenset(sha256(message).digest() for message in answer)
            out = answer[: self.coins.below(len(answer) + 1)] if crash == "half" else answer
            if crash == "half":
                raise Crash
        except Crash:
            party.up = False
            network.trace.add(network.now, party.id, b"", None, "crash")
            if party.gone_from is None and self.coins.chance(0.7):
                network.after(self.coins.between(1, 150), lambda: None if party.up else party.start())
        except PrivcompError as error:
            network.trace.add(network.now, packet.source, party.id, None, f"refused: {type(error).__name__}")
        for message in out:
            network.send(party.id, SERVER, message)
        party.journal.die = ""


def run_oneshot(seed: int, index: int) -> Report:
    """One random session of three rounds with an honest server. What is no PrivcompError is a failure."""
    coins, report = Coins(seed, "oneshot", index), Report()
    try:
        report = Session(OneshotSetting.draw(coins), coins).run()
    except Exception:  # noqa: BLE001 (whatever gets here is a finding, and the other sessions go on)
        report.failures.append(traceback.format_exc())
    report.failures = [f"run_oneshot({seed}, {index}): {text}" for text in report.failures]
    return report


# ---- a lying server ----


class Liar:
    """A server that chooses contexts, recipients, sets, votes and restarts, with t_p members and k clients on its side.

    Honest roles refuse what they refuse; what they answer is kept, and at the end it is computed which sums of updates
    on one model it can isolate. Promised: none of fewer than n_min - k honest clients.
    """

    def __init__(self, coins: Coins, lies: float) -> None:
        self.coins, self.lies = coins, lies
        c, privacy, packing = coins.choice(((4, 1, 2), (4, 1, 1), (5, 1, 2), (5, 1, 3), (6, 2, 1)))
        self.k, honest = coins.choice((0, 1)), coins.choice((2, 3))
        self.h = honest + coins.between(1, 2)
        n = self.h + self.k
        self.clients = [b"client-%02d" % i for i in range(n)]
        keys = {party: Identity.from_seed(coins.child("client", party).bytes(32)) for party in self.clients}
        self.roster = Roster.of({party: key.public for party, key in keys.items()})
        self.identity = Identity.from_seed(coins.child("server").bytes(32))
        panels, self.corrupt = [], set()
        self.member_keys: dict[bytes, Identity] = {}
        for panel in range(2):
            names = [b"member-%d-%d" % (panel, j) for j in range(c)]
            self.member_keys |= {p: Identity.from_seed(coins.child("member", p).bytes(32)) for p in names}
            self.corrupt |= set(coins.sample(names, privacy))
            panels.append(Committee.named([(p, self.member_keys[p].public) for p in names], privacy, packing))
        self.panels = panels
        least = least_survivors(n, self.k, honest)
        self.params = [
            Params(MALICIOUS, RlweParams.for_round(16, max(n, 3)), 1, panel, least, gamma_ppm=0) for panel in panels
        ]
        self.promised = least - self.k
        # A client may be sent to either committee: its policy has one of them, and is changed by its operator.
        self.policy = [
            Policy(
                protocols=("oneshot",),
                corrupt=self.k,
                gamma_ppm=0,
                honest_survivors_min=honest,
                open_rounds_max=16,
                committee=CommitteePolicy(panel.members, privacy),
            )
            for panel in panels
        ]
        self.journals = {p: MemoryJournal(key.public) for p, key in (keys | self.member_keys).items()}
        self.keys = keys
        self.members: dict[bytes, Member] = {}
        for p in self.member_keys:
            self._start(p)
        self.requests = self.refused = 0
        #: (ctx, digests of U, ids of U) -> places that answered.
        self.answers: dict[tuple[bytes, tuple[bytes, ...]], set[int]] = {}
        self.uploads: dict[bytes, dict[bytes, m.UploadEnd]] = {}
        self.contexts: dict[bytes, RoundContext] = {}
        self.votes: dict[tuple[bytes, bytes], dict[int, bytes]] = {}
        self.closed: dict[tuple[bytes, int], dict[int, bytes]] = {}

    def _start(self, party: bytes) -> None:
        panel = int(party[7:8])
        self.members[party] = Member(
            party, self.member_keys[party], self.policy[panel], self.journals[party], self.roster
        )

    def ask(self, act: Callable[[], Iterable[bytes]]) -> list[Any]:
        """One request; what came back, decoded."""
        self.requests += 1
        try:
            return [decode_any(data, _ANSWERS) for data in act()]
        except PrivcompError:
            self.refused += 1
            return []

    def announce(self, number: int, session: bytes, panel: int, model: bytes, closes: Any, **lie: Any) -> bytes | None:
        """An announced round with the members' box keys; its ctx."""
        params = replace(self.params[panel], **lie)
        committee, seats = params.committee, []
        request = box_key_request(self.identity, self.roster.hash, session, number, committee.hash, False).to_bytes()
        for party in committee.ids:
            found = self.ask(lambda party=party: self.members[party].receive(request))  # type: ignore[misc]
            seats.append(m.Seat(found[0].key, b"", found[0].signature) if found else m.Seat(b"", b"", b""))
        draft = m.Announce(
            params.to_bytes(),
            session,
            number,
            PURPOSE,
            sha256(model).digest(),
            self.roster.hash,
            bytes(32),
            self.identity.public,
            tuple(seats),
            tuple(closes),
            bytes(64),
        )
        context = RoundContext.of(draft)
        signature = context.sign(self.identity, "announce", context.announce_body)
        context = RoundContext.of(replace(draft, signature=signature))
        self.contexts[context.digest] = context
        self.uploads.setdefault(context.digest, {})  # the same round may be announced again
        return context.digest

    def upload(self, ctx: bytes, party: bytes, panel: int, model: bytes) -> None:
        """Ask a client; corrupt ones always play along."""
        data = m.UploadRequest(self.contexts[ctx].announce.to_bytes(), model).to_bytes()
        corrupt = party in self.clients[self.h :]
        journal = MemoryJournal(self.keys[party].public) if corrupt else self.journals[party]
        client = Client(party, self.keys[party], self.policy[panel], journal, self.roster)
        for message in self.ask(lambda: client.receive(None, data, Contribution(np.zeros(1, np.int64)))[1]):
            if isinstance(message, m.UploadEnd):
                self.uploads[ctx][party] = message

    def deliver(self, ctx: bytes, party: bytes) -> None:
        """Give a member the shares of all uploads of a ctx."""
        context = self.contexts[ctx]
        place, entries = context.params.committee.place(party), []
        if place is None:
            return
        for client, end in sorted(self.uploads[ctx].items()):
            leaves = [end.leaves[k : k + 32] for k in range(0, len(end.leaves), 32)]
            path = merkle_paths(leaves)[place]
            entries.append(
                m.SharedKey(client, end.key, end.ciphertext_hash, end.test, path, end.boxes[place], b"", end.signature)
            )
        unsigned = m.Shares(context.announce.to_bytes(), tuple(entries), bytes(64)).to_bytes()[:-64]
        data = unsigned + context.sign(self.identity, "shares", sha256(unsigned).digest())
        self.ask(lambda: self.members[party].receive(data))

    def chosen(self, ctx: bytes, who: Iterable[bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """U with its digests, of those who uploaded."""
        context, out = self.contexts[ctx], []
        for client in sorted(set(who) & set(self.uploads[ctx])):
            end = self.uploads[ctx][client]
            out.append((client, upload_digest(context, upload_body(end, _root(end)))))
        return tuple(out)

    def vote(self, ctx: bytes, party: bytes, survivors: tuple[tuple[bytes, bytes], ...]) -> None:
        """Ask for a vote; corrupt members sign whatever they are shown."""
        context, hashed = self.contexts[ctx], set_hash(ctx, survivors)
        place = context.params.committee.place(party)
        if place is None:
            return
        found = self.votes.setdefault((ctx, hashed), {})
        if party in self.corrupt:
            found[place] = context.sign(self.member_keys[party], "vote", party, hashed)
            return
        data = m.Propose(ctx, survivors, context.sign(self.identity, "propose", hashed)).to_bytes()
        for message in self.ask(lambda: self.members[party].receive(data)):
            if isinstance(message, m.Vote):
                found[place] = message.signature

    def close(self, ctx: bytes, party: bytes, panel: int) -> None:
        """Ask for a close."""
        context = self.contexts[ctx]
        a, place = context.announce, context.params.committee.place(party)
        if place is None:
            return
        found = self.closed.setdefault((a.model_hash, panel), {})
        if party in self.corrupt:
            parts = (a.model_hash, context.params.committee.hash)
            found[place] = self.member_keys[party].sign("privcomp-oneshot-1/close", *parts)
            return
        data = m.CloseRequest(a.to_bytes()).to_bytes()
        for message in self.ask(lambda: self.members[party].receive(data)):
            found[place] = message.signature

    def answer(self, ctx: bytes, party: bytes, survivors: tuple[tuple[bytes, bytes], ...]) -> None:
        """Show a certificate with all votes there are, and keep the answer."""
        hashed = set_hash(ctx, survivors)
        place = self.contexts[ctx].params.committee.place(party)
        if place is None or party in self.corrupt:
            return
        votes = tuple(sorted(self.votes.get((ctx, hashed), {}).items()))
        data = m.Certificate(ctx, survivors, votes).to_bytes()
        for message in self.ask(lambda: self.members[party].receive(data)):
            if isinstance(message, m.Answer):
                key = (ctx, tuple(client for client, _ in survivors))
                self.answers.setdefault(key, set()).add(place)

    def isolated(self) -> int:
        """The fewest honest clients in a combination of the updates of one model that the server can compute."""
        rows: dict[bytes, list[dict[tuple[int, int], int]]] = {}
        place_of = {party: k for k, party in enumerate(self.clients[: self.h])}
        for ctx, context in self.contexts.items():
            committee = context.params.committee
            direct = tuple(j for j, party in enumerate(committee.ids) if party in self.corrupt)
            up = tuple(sorted(place_of[party] for party in self.uploads[ctx] if party in place_of))
            sets: dict[tuple[int, ...], set[int]] = {}
            for (at, clients), places in self.answers.items():
                if at == ctx:
                    own = tuple(sorted(place_of[party] for party in clients if party in place_of))
                    sets.setdefault(own, set(direct)).update(places)
            if sets:
                listed = tuple(sorted((own, tuple(sorted(places))) for own, places in sets.items()))
                found = _isolates(up, committee.privacy, committee.packing, direct, listed)
                rows.setdefault(context.announce.model_hash, []).extend(dict(row) for row in found)
        return min((_fewest(some, self.promised) for some in rows.values()), default=self.promised)


_ANSWERS = {cls.TAG: cls for cls in (m.BoxKey, m.UploadBlock, m.UploadEnd, m.Accept, m.Vote, m.Answer, m.Close)}
_FIELD = (1 << 31) - 1

Row = tuple[tuple[tuple[int, int], int], ...]


@lru_cache(maxsize=4096)
def _isolates(
    up: tuple[int, ...],
    privacy: int,
    packing: int,
    direct: tuple[int, ...],
    sets: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...],
) -> tuple[Row, ...]:
    """Combinations of one ctx's updates that the answers isolate: every key is a formal polynomial of T coefficients,
    its packed slots stand for the client's update, and all coefficients are eliminated."""
    size = privacy + packing
    at = {i: size * n for n, i in enumerate(up)}
    slot = {(i, k): size * len(up) + n for n, (i, k) in enumerate(product(up, range(packing)))}

    def row(ids: Iterable[int], x: int, extra: int | None = None) -> list[int]:
        out = [0] * (size * len(up) + len(slot))
        for i in ids:
            out[at[i] : at[i] + size] = [pow(x, d, _FIELD) for d in range(size)]
        if extra is not None:
            out[extra] = 1
        return out

    matrix = [row([i], _FIELD - 1 - k, slot[i, k]) for i, k in slot]
    matrix += [row([i], p + 1) for i in up for p in direct]
    matrix += [row(ids, p + 1) for ids, places in sets for p in places]
    back = {column: key for key, column in slot.items()}
    kept = _eliminate(matrix, range(size * len(up)))
    return tuple(tuple((back[c], a) for c, a in enumerate(r) if a) for r in kept if any(r))


def _eliminate(matrix: list[list[int]], columns: Iterable[int]) -> list[list[int]]:
    """The combinations of the rows that vanish on the columns."""
    left = [list(row) for row in matrix]
    for column in columns:
        pivot = next((row for row in left if row[column]), None)
        if pivot is None:
            continue
        left.remove(pivot)
        inverse = pow(pivot[column], -1, _FIELD)
        for n, row in enumerate(left):
            if row[column]:
                factor = row[column] * inverse % _FIELD
                left[n] = [(a - factor * b) % _FIELD for a, b in zip(row, pivot, strict=True)]
    return left


def _fewest(rows: Sequence[Mapping[tuple[int, int], int]], limit: int) -> int:
    """Fewest clients in a non-zero combination of the rows, at most `limit`."""
    columns = sorted({key for row in rows for key in row})
    who = sorted({client for client, _ in columns})
    matrix = [[row.get(key, 0) for key in columns] for row in rows]
    for size in range(1, min(limit, len(who) + 1)):
        for some in combinations(who, size):
            outside = [n for n, (client, _) in enumerate(columns) if client not in some]
            if any(map(any, _eliminate(matrix, outside))):
                return size
    return limit


def _play(liar: Liar) -> None:
    """A random strategy: up to three rounds on one model or two, in two sessions, with two committees."""
    coins, victim = liar.coins, liar.coins.below(liar.h)
    stages: list[tuple[bytes, int, list[tuple[tuple[bytes, bytes], ...]]]] = []
    for number in range(coins.choice((1, 2, 2, 3))):
        panel = int(coins.chance(0.25))
        model = b"m" if coins.chance(0.8) else b"z"
        session = bytes(32) if coins.chance(0.7) else b"\x01" * 32
        at = number if coins.chance(0.85) else 0
        model_hash = sha256(model).digest()
        closes = [
            m.CloseCertificate(model_hash, liar.panels[p], tuple(sorted(found.items())))
            for (closed, p), found in liar.closed.items()
            if closed == model_hash
        ]
        lie: dict[str, Any] = {}
        if coins.chance(liar.lies):
            lie = coins.choice(({"survivors_min": 2}, {"adversary": SEMI_HONEST}, {"context": b"other"}))
        ctx = liar.announce(at, session, panel, model, closes, **lie)
        if ctx is None:
            continue
        for party in liar.clients:
            if coins.chance(0.93):
                liar.upload(ctx, party, panel, model)
        members = liar.panels[panel].ids
        for party in members:
            if party not in liar.corrupt:
                liar.deliver(ctx, party)
        everybody = liar.clients
        others = [party for k, party in enumerate(everybody) if k != victim]
        few = coins.sample(everybody, coins.between(1, len(everybody)))
        sets = [liar.chosen(ctx, who) for who in coins.sample([everybody, others, few], 2)]
        if len(stages) and coins.chance(0.15):
            sets.append(coins.choice(stages)[2][0])  # digests of another round
        style = coins.choice(("one", "split", "close", "mixed"))
        for party in coins.shuffled(members):
            if style in ("close", "mixed") and coins.chance(0.8):
                liar.close(ctx, party, panel)
            if style != "close":
                liar.vote(ctx, party, sets[0] if style == "one" else coins.choice(sets))
            if coins.chance(0.25):
                liar.vote(ctx, party, coins.choice(sets))
            if coins.chance(0.1) and party not in liar.corrupt:
                liar._start(party)
                liar.deliver(ctx, party)
                liar.vote(ctx, party, coins.choice(sets))
        stages.append((ctx, panel, sets))
        if coins.chance(0.4):
            _answers(liar, stages[-1:])
    _answers(liar, coins.shuffled(stages))


def _answers(liar: Liar, stages: Iterable[tuple[bytes, int, list[tuple[tuple[bytes, bytes], ...]]]]) -> None:
    for ctx, panel, sets in stages:
        for survivors in sets:
            for party in liar.panels[panel].ids:
                liar.answer(ctx, party, survivors)
                if liar.coins.chance(0.05) and party not in liar.corrupt:
                    liar._start(party)
                    liar.deliver(ctx, party)


def run_lying_oneshot(seed: int, index: int, lies: float = 0.1) -> Report:
    """One random strategy of a lying server; `lies` is the probability that an announcement breaks the policy."""
    report = Report()
    try:
        liar = Liar(Coins(seed, "oneshot-lying", index), lies)
        _play(liar)
        found = liar.isolated()
        report.lying = len(liar.contexts)
        report.requests, report.refused = liar.requests, liar.refused
        report.exact = int(found == liar.promised and bool(liar.answers))
        report.events["answered sets"] = len(liar.answers)
        report.events["close certificates"] = len(liar.closed)
        if found < liar.promised:
            report.failures.append(f"the server isolates {found} clients, promised are {liar.promised}")
    except Exception:  # noqa: BLE001 (whatever gets here is a finding)
        report.failures.append(traceback.format_exc())
    report.failures = [f"run_lying_oneshot({seed}, {index}): {text}" for text in report.failures]
    return report


def oneshot_campaign(rounds: int, seed: int, part: int = 0) -> Report:
    """Run at least `rounds` rounds: three fifths with an honest server on a bad network, the rest with a lying one.

    Args:
        rounds: how many; sessions are run to their end, so a few more may come out.
        seed: the seed of everything.
        part: another part of the same campaign draws other rounds; parts are below 2^31.

    Returns:
        The report; `failures` is empty if everything held.
    """
    report, index = Report(), part << 32
    while report.rounds + report.lying < rounds:
        honest = 2 * report.rounds <= 3 * report.lying
        report.add(run_oneshot(seed, index) if honest else run_lying_oneshot(seed, index))
        index += 1
    return report
