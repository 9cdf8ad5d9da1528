"""A server that lies: it chooses every list, view and message that a client sees, and some clients collude with it.

The honest clients are the real ones. A strategy is a sequence of requests; whatever they answer goes to the oracle,
which computes what the server can isolate. Sets of clients are bit masks over indices: honest ones first, colluders
behind them.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.errors import ParameterError, PrivcompError
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.policy import DEFAULT_PURPOSES, Policy
from privcomp.secagg import BONAWITZ, MALICIOUS, SEMI_HONEST, Client, Contribution, Params, Segment
from privcomp.secagg.client import _Secrets
from privcomp.secagg.context import KIND_B, KIND_ROOT, NO_ROSTER, Directory, RoundContext, sign
from privcomp.secagg.messages import (
    Advertise,
    Announce,
    Bundle,
    BundleMessage,
    ConsistencyRequest,
    ConsistencySignature,
    KeyList,
    MaskRequest,
    QuorumSignature,
    UnmaskRequest,
    bitmap,
)
from privcomp.simulation.coins import Coins
from privcomp.simulation.faults import corrupted, fork_journal
from privcomp.simulation.oracle import Oracle
from privcomp.simulation.parties import Node, stage_of
from privcomp.simulation.scenario import Report, plaintext_forms, secret_bytes

__all__ = ["STRATEGIES", "Cast", "LyingServer", "Round", "run_lying"]

LENGTH = 8


def bits(some: int) -> list[int]:
    """The members of a bit mask."""
    return [i for i in range(some.bit_length()) if some >> i & 1]


def mask_of(some: Iterable[int]) -> int:
    """The bit mask of some indices."""
    return sum(1 << i for i in set(some))


@dataclass(frozen=True)
class Cast:
    """Who plays.

    Attributes:
        honest, colluders: numbers of clients in the roster.
        c: what the honest clients' policy and the params withstand, at least `colluders`.
        threshold: t, or 0 for the least.
        honest_min: the policy's minimum of honest survivors.
    """

    honest: int
    colluders: int
    c: int
    threshold: int = 0
    honest_min: int = 3
    adversary: str = MALICIOUS
    hybrid: bool = False


@dataclass(frozen=True)
class Round:
    """A round as the server announces it: what is equal here is equal for the clients."""

    number: int
    session: str = "A"
    model: str = "m"
    purpose: str = DEFAULT_PURPOSES[0]


@dataclass
class _View:
    """What one honest client was shown in a round, as far as it went along."""

    key_list: bytes
    directory: Directory
    variant: int
    u2: bytes = b""


class _Colluder:
    """A client that does what the server wants: real messages, no memory of what it did before."""

    def __init__(self, party: bytes, identity: Identity, roster: Roster, coins: Coins) -> None:
        self.id, self.identity, self._roster, self._coins = party, identity, roster, coins
        self._journals: dict[tuple[bytes, int], MemoryJournal] = {}
        self._adverts: dict[tuple[bytes, int], bytes] = {}
        self._bundles: dict[tuple[bytes, int], BundleMessage] = {}
        self._count = 0

    def _client(self, journal: MemoryJournal) -> Client:
        self._count += 1
        policy = Policy(adversary=SEMI_HONEST, corrupt=0, honest_survivors_min=2, gamma_ppm=0, delta_ppm=0)
        return Client(
            self.id, self.identity, policy, journal, self._roster, rng=self._coins.child("start", self._count).bytes
        )

    def advertise(self, context: RoundContext, variant: int) -> bytes:
        """Its stage-0 message; every variant has other keys."""
        key = context.digest, variant
        if key not in self._adverts:
            self._journals[key] = MemoryJournal(self.identity.public)
            _, out = self._client(self._journals[key]).advertise(context.announce.to_bytes())
            (self._adverts[key],) = out
        return self._adverts[key]

    def root(self, context: RoundContext, variant: int) -> bytes:
        """Its mask root."""
        stored = self._journals[context.digest, variant].secrets(context.digest) or b""
        return _Secrets.from_bytes(stored, max_bytes=len(stored)).root

    def bundles(self, view: _View) -> BundleMessage | None:
        """Its bundles under a key list; None where even a colluder cannot make any."""
        key = view.directory.hash, view.variant
        if key not in self._bundles:
            journal = fork_journal(self._journals[view.directory.context.digest, view.variant])
            try:
                _, out = self._client(journal).receive(None, view.key_list)
            except PrivcompError:
                return None
            self._journals[key] = journal
            self._bundles[key] = BundleMessage.from_bytes(next(iter(out)), max_bytes=1 << 24)
        return self._bundles[key]

    def held(self, view: _View, request: bytes) -> dict[int, tuple[bytes, bytes]]:
        """What it finds in the bundles of a mask request: owner's place -> (share of b, share of root)."""
        if self.bundles(view) is None:
            return {}
        journal = fork_journal(self._journals[view.directory.hash, view.variant])
        params = view.directory.context.params
        zero = Contribution((np.zeros(params.segments[0].length, dtype=np.int64),))
        try:
            self._client(journal).receive(None, request, zero)
        except PrivcompError:
            return {}
        stored = journal.secrets(view.directory.context.digest) or b""
        secrets = _Secrets.from_bytes(stored, max_bytes=len(stored))
        return {j: (pair.b, pair.root) for j, pair in zip(secrets.held, secrets.pairs, strict=True)}


class LyingServer:
    """The server and its colluders against real clients.

    Every method that sends a request returns whether the client answered; PrivcompErrors count as refusals, any other
    exception goes through.

    Args:
        cast: who plays.
        coins: the stream of this run.

    Raises:
        ParameterError: no such session exists.
    """

    def __init__(self, cast: Cast, coins: Coins) -> None:
        self.cast, self.coins = cast, coins
        total = cast.honest + cast.colluders
        self.honest, self.corrupt = (1 << cast.honest) - 1, ((1 << cast.colluders) - 1) << cast.honest
        self.names = [b"party-%02d" % k for k in coins.shuffled(range(total))]
        identities = [Identity.from_seed(coins.child("identity", name).bytes(32)) for name in self.names]
        self.identities = identities
        self.roster = Roster.of({name: i.public for name, i in zip(self.names, identities, strict=True)})
        self.params = Params(
            BONAWITZ,
            cast.adversary,
            (Segment.ring(26, LENGTH),),
            cast.c,
            max(3, total),
            cast.threshold,
            honest_survivors=2,
            hybrid=cast.hybrid,
        )
        self.policy = Policy(adversary=cast.adversary, corrupt=cast.c, honest_survivors_min=cast.honest_min)
        self.nodes = [
            Node(name, identity, self.policy, self.roster, coins.child("client", name), self._update(name))
            for name, identity in zip(self.names[: cast.honest], identities, strict=False)
        ]
        self.colluders = {
            i: _Colluder(self.names[i], identities[i], self.roster, coins.child("colluder", i))
            for i in bits(self.corrupt)
        }
        self.oracle = Oracle((c.id for c in self.colluders.values()), c=cast.c, honest_min=cast.honest_min)
        self.problems: list[str] = []
        self.requests = self.refused = 0
        self.history: list[tuple[int, bytes]] = []
        self.log = sha256()
        self.rounds: set[Round] = set()
        self.adverts: dict[tuple[int, Round], bytes] = {}
        self.views: dict[tuple[int, Round], _View] = {}
        self.bundles: dict[tuple[int, bytes], dict[bytes, Bundle]] = {}  # (client, round digest)
        self.signatures: dict[tuple[bytes, bytes, bytes], dict[int, bytes]] = {}  # (list, U2, U) -> place

    def _update(self, name: bytes) -> Callable[[bytes], Contribution]:
        return lambda model: Contribution((self.vector(name, sha256(model).digest()),))

    def vector(self, name: bytes, model_hash: bytes) -> NDArray[np.int64]:
        """The update of a client: training is deterministic, the same model gives the same update."""
        return self.coins.child("update", name, model_hash).integers(-1000, 1000, LENGTH)

    # ---- raw requests ----

    def ask(self, i: int, data: bytes) -> list[bytes] | None:
        """Send anything to an honest client: its answer, or None where it refuses."""
        self.requests += 1
        node = self.nodes[i]
        try:
            answer = list(node.receive(data))
        except PrivcompError as error:
            self.refused += 1
            self.oracle.wire(data)
            self.log.update(type(error).__name__.encode())
            return None
        self.history.append((i, data))
        self.log.update(bytes([i, stage_of(data)]))
        self.oracle.observe(node.id, data, answer)
        return answer

    def must_refuse(self, i: int, data: bytes, what: str) -> None:
        """Send a request that a client has to refuse."""
        if self.ask(i, data) is not None:
            self.problems.append(f"a client went along with: {what}")

    def must(self, accepted: bool, what: str) -> None:
        """Note that an honest request, or one that cannot be told from it, was refused."""
        if not accepted:
            self.problems.append(f"a client refused: {what}")

    def context(self, r: Round, **changes: Any) -> RoundContext:
        """The announced round; `changes` are written into the params past all checks."""
        params = copy.copy(self.params)
        for name, value in changes.items():
            object.__setattr__(params, name, value)
        announce = Announce(
            params.to_bytes(),
            sha256(r.session.encode()).digest(),
            r.number,
            r.purpose,
            sha256(r.model.encode()).digest(),
            self.roster.hash,
            bytes(32),
        )
        return RoundContext.of(announce)

    # ---- the stages ----

    def announce(self, i: int, r: Round) -> bool:
        """Stage 0."""
        self.rounds.add(r)
        if (i, r) not in self.adverts:
            answer = self.ask(i, self.context(r).announce.to_bytes())
            if answer is None:
                return False
            (self.adverts[i, r],) = answer
        return True

    def entries(self, r: Round, members: int, variant: int = 0) -> list[bytes]:
        """The stage-0 messages of some clients, ascending by id."""
        found = {}
        for i in bits(members):
            if i in self.colluders:
                found[self.names[i]] = self.colluders[i].advertise(self.context(r), variant)
            elif self.announce(i, r):
                found[self.names[i]] = self.adverts[i, r]
        return [found[name] for name in sorted(found)]

    def share(self, i: int, r: Round, members: int, variant: int = 0) -> bool:
        """Stage 1: show a key list."""
        if not self.announce(i, r):
            return False
        context, entries = self.context(r), self.entries(r, members, variant)
        data = KeyList(context.digest, b"", tuple(entries)).to_bytes()
        answer = self.ask(i, data)
        if answer is None:
            return False
        parsed = [(Advertise.from_bytes(e, max_bytes=1 << 13), e) for e in entries]
        view = _View(data, Directory.of_all(context, parsed), variant)
        self.views.setdefault((i, r), view)
        message = BundleMessage.from_bytes(answer[0], max_bytes=1 << 24)
        self.bundles[i, context.digest] = {view.directory.ids[b.peer]: b for b in message.bundles}
        return True

    def bitmap(self, view: _View, members: int) -> bytes:
        """A set of clients as this view's bitmap; who is not in the key list cannot be named."""
        place = view.directory.place
        return bitmap({place[self.names[i]] for i in bits(members) if self.names[i] in place}, view.directory.n)

    def mask_request(self, i: int, r: Round, u2: int, delivered: int, model: str | None = None) -> bytes | None:
        """The stage-2 request: U2 and those bundles in it that are delivered."""
        view = self.views.get((i, r))
        if view is None:
            return None
        return self._mask_request(view, i, u2, delivered, r.model if model is None else model)

    def _mask_request(self, view: _View, i: int, u2: int, delivered: int, model: str) -> bytes:
        found = []
        for j in bits(u2 & delivered & ~(1 << i)):
            place = view.directory.place.get(self.names[j])
            if place is None:
                continue
            if j in self.colluders:
                message = self.colluders[j].bundles(view)
                mine = {} if message is None else {view.directory.ids[b.peer]: b for b in message.bundles}
            else:
                mine = self.bundles.get((j, view.directory.context.digest), {})
            if self.names[i] in mine:
                found.append(replace(mine[self.names[i]], peer=place))
        found.sort(key=lambda b: b.peer)
        return MaskRequest(
            view.directory.context.digest, self.bitmap(view, u2), tuple(found), model.encode()
        ).to_bytes()

    def mask(self, i: int, r: Round, u2: int, delivered: int = -1) -> bool:
        """Stage 2."""
        data = self.mask_request(i, r, u2, delivered)
        if data is None or self.ask(i, data) is None:
            return False
        view = self.views[i, r]
        view.u2 = view.u2 or self.bitmap(view, u2)
        return True

    def sign_request(self, i: int, r: Round, u: int) -> bytes:
        """The stage-3 request."""
        view = self.views[i, r]
        return ConsistencyRequest(view.directory.context.digest, self.bitmap(view, u)).to_bytes()

    def sign(self, i: int, r: Round, u: int) -> bool:
        """Stage 3."""
        if (i, r) not in self.views:
            return False
        answer = self.ask(i, self.sign_request(i, r, u))
        if answer is None:
            return False
        view = self.views[i, r]
        key = view.directory.hash, view.u2, self.bitmap(view, u)
        signature = ConsistencySignature.from_bytes(answer[0], max_bytes=4096).signature
        self.signatures.setdefault(key, {})[view.directory.place[self.names[i]]] = signature
        return True

    def quorum(self, view: _View, u: bytes) -> tuple[QuorumSignature, ...]:
        """All signatures over (U2, U) that the server has, its colluders' included."""
        directory = view.directory
        found = dict(self.signatures.get((directory.hash, view.u2, u), {}))
        for i in self.colluders:
            place = directory.place.get(self.names[i])
            if place is not None:
                body = directory.u_digest(view.u2, u)
                found[place] = sign(self.identities[i], "consistency", directory.context, directory.hash, body)
        return tuple(QuorumSignature(p, signature) for p, signature in sorted(found.items()))

    def unmask_request(self, i: int, r: Round, u: int) -> bytes:
        """The stage-4 request."""
        view = self.views[i, r]
        shown = self.bitmap(view, u)
        quorum = self.quorum(view, shown) if self.cast.adversary == MALICIOUS else ()
        return UnmaskRequest(view.directory.context.digest, shown, quorum).to_bytes()

    def unmask(self, i: int, r: Round, u: int) -> bool:
        """Stage 4."""
        return (i, r) in self.views and self.ask(i, self.unmask_request(i, r, u)) is not None

    def restart(self, i: int) -> None:
        """A client's process starts anew."""
        self.nodes[i].start()

    # ---- whole rounds, as the honest clients would like them ----

    def begin(self, r: Round, members: int, variant: int = 0) -> None:
        """Stages 0 and 1 for all honest members."""
        for i in bits(members & self.honest):
            self.announce(i, r)
        for i in bits(members & self.honest):
            self.share(i, r, members, variant)

    def masked(self, r: Round, members: int, u2: int | None = None) -> None:
        """Stages 0 to 2."""
        self.begin(r, members)
        for i in bits(members & self.honest):
            self.mask(i, r, members if u2 is None else u2)

    def signed(self, r: Round, members: int, u: int | None = None) -> None:
        """Stages 0 to 3."""
        self.masked(r, members)
        for i in bits((members if u is None else u) & self.honest):
            self.sign(i, r, members if u is None else u)

    def opened(self, r: Round, members: int, u: int | None = None) -> int:
        """A whole round; who answered."""
        self.signed(r, members, u)
        shown = members if u is None else u
        return mask_of(i for i in bits(shown & self.honest) if self.unmask(i, r, shown))

    # ---- the end ----

    def _learn(self, r: Round, view: _View) -> None:
        """What the colluders know under a key list goes to the oracle: mask roots, and the shares that they hold."""
        directory, oracle = view.directory, self.oracle
        same = [i for (i, s), v in self.views.items() if s == r and v.directory.hash == directory.hash]
        for j, colluder in self.colluders.items():
            if colluder.id not in directory.place:
                continue
            oracle.roots[colluder.id, directory.hash] = colluder.root(directory.context, view.variant)
            request = self._mask_request(view, j, self.corrupt | mask_of(same), -1, r.model)
            for owner, (b, root) in colluder.held(view, request).items():
                oracle.shares[KIND_B, directory.ids[owner], directory.hash][colluder.id] = b
                oracle.shares[KIND_ROOT, directory.ids[owner], directory.hash][colluder.id] = root

    def finish(self, report: Report) -> None:
        """Judge the run."""
        for r, view in {view.directory.hash: (r, view) for (_, r), view in self.views.items()}.values():
            self._learn(r, view)
        report.lying += len(self.rounds)
        report.requests += self.requests
        report.refused += self.refused
        report.failures += self.problems
        if self.cast.adversary == MALICIOUS:
            report.failures += self.oracle.check(self.vector)
            _, who, _ = self.oracle.isolated()
            report.exact += bool(who) and len(who) == self.oracle.promised
        else:
            report.failures += self.oracle.problems
        secrets = secret_bytes(self.nodes, self.oracle)
        for entry in self.oracle.inputs.values():
            model_hash = self.oracle.lists[entry.list_hash].directory.context.announce.model_hash
            secrets |= plaintext_forms((self.vector(entry.client, model_hash),), self.params)
        report.failures += self.oracle.leaked(secrets)
        report.digest = self.log.digest()


# ---- the attacks, one by one; each begins with what an honest server would do ----


def _all(s: LyingServer) -> int:
    return s.honest | s.corrupt


def split_u2(s: LyingServer, coins: Coins) -> None:
    """A victim is shown a U2 of itself, a few and the colluders; the others see everybody."""
    r, everybody = Round(1), _all(s)
    s.begin(r, everybody)
    few = mask_of([0, *coins.sample(range(1, s.cast.honest), coins.between(1, s.cast.honest - 1))]) | s.corrupt
    for i in bits(s.honest):
        s.mask(i, r, few if i == 0 else everybody)
    left_out = everybody & ~mask_of(coins.sample(range(1, s.cast.honest), 1))
    for i in bits(s.honest):
        s.sign(i, r, few if i == 0 else coins.choice((everybody, left_out)))
    for i in bits(s.honest):
        for u in (few, everybody, left_out):
            s.unmask(i, r, u)


def split_u(s: LyingServer, coins: Coins) -> None:
    """The victim masks with W only; every view U leaves out some of W, so that its pairwise masks and b both open."""
    h, r, full = s.cast.honest, Round(1), _all(s)
    s.begin(r, full)
    t = s.views[0, r].directory.thresholds.threshold if (0, r) in s.views else 2
    w = list(range(1, min(t + 1, h)))
    for i in range(h):
        s.mask(i, r, mask_of([0, *w]) | s.corrupt if i == 0 else full)
    # As many as rule 4 allows are left out of each view, all of W equally often: each is called dropped by t clients.
    least = max(t + 1, s.cast.honest_min + s.cast.c)
    out, views, at = max(0, full.bit_count() - least), dict[int, int](), coins.below(len(w))
    for i in range(1, h):
        left = [w[(at + d) % len(w)] for d in range(len(w))]
        gone = [j for j in left if j != i][:out]
        at, views[i] = at + out, full & ~mask_of(gone)
    signing = coins.chance(0.5)
    for i, view in views.items():
        for j in views:
            if signing and view >> j & 1:
                s.sign(j, r, view)
        s.unmask(i, r, view)


def withheld_bundles(s: LyingServer, coins: Coins) -> None:
    """The bundles of honest peers are kept from a victim, so that it would mask with colluders only."""
    r, everybody = Round(1), _all(s)
    s.begin(r, everybody)
    kept = mask_of(coins.sample(range(1, s.cast.honest), coins.between(1, s.cast.honest - 1)))
    request = s.mask_request(0, r, everybody, everybody & ~kept)
    if request is not None:
        s.must_refuse(0, request, "bundles of peers in U2 are missing")
    other = s.mask_request(1, r, everybody, -1)
    if request is not None and other is not None:
        message = MaskRequest.from_bytes(other, max_bytes=1 << 24)
        s.must_refuse(0, message.to_bytes(), "the bundles of another client")
    s.must(s.mask(0, r, everybody), "the full bundles after short ones")


def repeated_unmask(s: LyingServer, coins: Coins) -> None:
    """Two different survivor sets to unmask; the same set again gets the same bytes."""
    r, everybody = Round(1), _all(s)
    least = s.cast.honest_min + s.cast.c
    s.signed(r, everybody)
    first = {i: s.ask(i, s.unmask_request(i, r, everybody)) for i in bits(s.honest) if (i, r) in s.views}
    for i, answer in first.items():
        if coins.chance(0.3):
            s.restart(i)
        again = s.ask(i, s.unmask_request(i, r, everybody))
        if answer is not None and again != answer:
            s.problems.append("a repeated unmask request was answered with other bytes")
        smaller = everybody & ~mask_of(coins.sample([j for j in range(s.cast.honest) if j != i], 1))
        if coins.chance(0.3):
            s.restart(i)
        if answer is not None and smaller.bit_count() >= least:
            s.must_refuse(i, s.unmask_request(i, r, smaller), "a second survivor set to unmask")


def repeated_consistency(s: LyingServer, coins: Coins) -> None:
    """Two different survivor sets to sign."""
    r, everybody = Round(1), _all(s)
    s.masked(r, everybody)
    smaller = everybody & ~mask_of(coins.sample(range(1, s.cast.honest), 1))
    for i in bits(s.honest & smaller):
        first = s.sign(i, r, everybody)
        if coins.chance(0.3):
            s.restart(i)
        if first:
            s.must_refuse(i, s.sign_request(i, r, smaller), "a second survivor set to sign")
            s.must(s.sign(i, r, everybody), "the same survivor set again")
    for i in bits(s.honest):
        s.unmask(i, r, coins.choice((everybody, smaller)))


def forged_survivors(s: LyingServer, coins: Coins) -> None:
    """Survivor sets that are not a subset of U2, do not hold the client itself, or are everyone but its neighbours."""
    h, r, everybody = s.cast.honest, Round(1), _all(s)
    u2 = everybody & ~mask_of([h - 1])
    s.begin(r, everybody)
    for i in range(h - 1):
        s.mask(i, r, u2)
    for i in range(h - 1):
        if (i, r) not in s.views or not s.views[i, r].u2:
            continue
        for u, what in (
            (everybody, "survivors that are not in U2"),
            (u2 & ~(1 << i), "survivors without the client itself"),
            (1 << i, "survivors without any neighbour"),
            ((1 << i) | s.corrupt, "survivors that are the client and colluders"),
            (0, "no survivors"),
        ):
            if s.cast.adversary == MALICIOUS:
                s.must_refuse(i, s.sign_request(i, r, u), what)
            s.must_refuse(i, s.unmask_request(i, r, u), what)
    for i in range(h - 1):
        s.sign(i, r, u2)
    for i in range(h - 1):
        s.unmask(i, r, u2)


def before_masking(s: LyingServer, coins: Coins) -> None:
    """Signatures and shares are asked for before anything was masked, and in any order."""
    r, everybody = Round(1), _all(s)
    s.begin(r, everybody)
    for i in bits(s.honest):
        if (i, r) not in s.views:
            continue
        s.views[i, r].u2 = s.bitmap(s.views[i, r], everybody)
        s.must_refuse(i, s.sign_request(i, r, everybody), "a signature before its masked input")
        s.must_refuse(i, s.unmask_request(i, r, everybody), "shares before its masked input")
        s.views[i, r].u2 = b""
    for i in coins.shuffled(bits(s.honest)):
        s.mask(i, r, everybody)


def quorums(s: LyingServer, coins: Coins) -> None:
    """Too few signatures, doubled ones, those of other sets and of other rounds."""
    r, old, everybody = Round(2, model="n"), Round(1), _all(s)
    s.signed(old, everybody)
    s.signed(r, everybody)
    for i in bits(s.honest):
        if (i, r) not in s.views or (i, old) not in s.views:
            continue
        view = s.views[i, r]
        digest, u = view.directory.context.digest, s.bitmap(view, everybody)
        good = s.quorum(view, u)
        need = (view.directory.n + s.cast.c) // 2
        if len(good) <= need:
            continue
        stale = s.quorum(s.views[i, old], u)
        smaller = s.bitmap(view, everybody & ~mask_of([(i + 1) % s.cast.honest]))
        for quorum, shown, what in (
            (good[:need], u, "too few signatures"),
            ((good[0],) * (need + 1), u, "one signature many times"),
            ((*good[:need], replace(good[0], signer=good[need - 1].signer + 1)), u, "a signature in another's name"),
            (stale, u, "signatures of another round"),
            (good, smaller, "signatures over another set"),
            ((), u, "no signatures"),
        ):
            s.must_refuse(i, UnmaskRequest(digest, shown, quorum).to_bytes(), what)
        s.unmask(i, r, everybody)


def key_lists(s: LyingServer, coins: Coins) -> None:
    """Key lists with changed, doubled, foreign, unsigned and missing entries."""
    r, everybody = Round(1), _all(s)
    for i in bits(s.honest):
        s.announce(i, r)
    entries = s.entries(r, everybody)
    parsed = [Advertise.from_bytes(e, max_bytes=1 << 13) for e in entries]
    digest = s.context(r).digest
    stranger = Identity.from_seed(coins.bytes(32))
    fresh = s.context(replace(r, number=9))

    def shown(some: list[bytes]) -> bytes:
        return KeyList(digest, b"", tuple(some)).to_bytes()

    def signed(entry: Advertise, by: Identity) -> bytes:
        body = replace(entry, signature=bytes(64)).to_bytes()[:-64]
        return replace(entry, signature=sign(by, "advertise", s.context(r), b"", body)).to_bytes()

    for i in bits(s.honest):
        if (i, r) not in s.adverts:
            continue
        me = next(p for p, e in enumerate(parsed) if e.id == s.names[i])
        other = (me + coins.between(1, len(entries) - 1)) % len(entries)

        def swapped(place: int, entry: bytes) -> bytes:
            return shown([entry if p == place else e for p, e in enumerate(entries)])

        alien = replace(parsed[other], channel_key=fresh.digest[:31] + b"\x01")
        sybil = replace(parsed[other], id=b"zz-sybil", identity=stranger.public)
        for data, what in (
            (
                swapped(me, signed(replace(parsed[me], mask_key=parsed[other].mask_key), stranger)),
                "its own key changed",
            ),
            (swapped(me, entries[other]), "its own entry replaced"),
            (shown([e for p, e in enumerate(entries) if p != me]), "its own entry missing"),
            (
                shown(sorted([*entries, entries[other]], key=lambda e: Advertise.from_bytes(e, max_bytes=8192).id)),
                "an id twice",
            ),
            (shown([*entries, entries[0]]), "a list out of order"),
            (swapped(other, alien.to_bytes()), "an entry whose signature does not verify"),
            (swapped(other, signed(alien, stranger)), "an entry that a stranger signed"),
            (
                swapped(other, signed(replace(alien, identity=stranger.public), stranger)),
                "an identity that is not in the roster",
            ),
            (shown([*entries, signed(sybil, stranger)]), "a client that is not in the roster"),
            (KeyList(fresh.digest, b"", tuple(entries)).to_bytes(), "the list of another round"),
            (shown([]), "an empty list"),
            (shown([entries[me], entries[other]] if me < other else [entries[other], entries[me]]), "a list of two"),
        ):
            s.must_refuse(i, data, what)
        for j, colluder in s.colluders.items():
            twin = Advertise.from_bytes(colluder.advertise(s.context(r), 0), max_bytes=8192)
            copied = replace(twin, mask_key=parsed[me].mask_key)
            if twin.id != parsed[me].id:
                place = next(p for p, e in enumerate(parsed) if e.id == twin.id)
                s.must_refuse(i, swapped(place, signed(copied, s.identities[j])), "two clients with one key")
    for i in bits(s.honest):
        s.must(s.share(i, r, everybody), "the right key list after wrong ones")


def two_lists(s: LyingServer, coins: Coins) -> None:
    """Two lists that differ in a colluder's keys are shown to two groups."""
    r, everybody = Round(1), _all(s)
    group = {i: coins.below(2) for i in bits(s.honest)}
    for i in bits(s.honest):
        s.announce(i, r)
    for i in bits(s.honest):
        s.share(i, r, everybody, group[i])
    for i in bits(s.honest):
        same = mask_of(j for j in bits(s.honest) if group[j] == group[i]) | s.corrupt
        if not s.mask(i, r, everybody):
            s.mask(i, r, same)
    for i in bits(s.honest):
        s.sign(i, r, coins.choice((everybody, s.corrupt | mask_of(j for j in group if group[j] == group[i]))))
    for i in bits(s.honest):
        s.unmask(i, r, everybody)
        s.unmask(i, r, s.corrupt | mask_of(j for j in group if group[j] == group[i]))


def other_model(s: LyingServer, coins: Coins) -> None:
    """One client is sent other model bytes than the rest, or than it was announced."""
    r, everybody = Round(1), _all(s)
    s.begin(r, everybody)
    victim = coins.below(s.cast.honest)
    request = s.mask_request(victim, r, everybody, -1, model="crafted")
    if request is not None:
        s.must_refuse(victim, request, "other model bytes than announced")
    # Announced as another model altogether: nothing of the two views fits together.
    crafted = replace(r, model="crafted")
    for i in bits(s.honest):
        if i == victim:
            s.share(i, crafted, everybody)
    for i in bits(s.honest):
        s.mask(i, crafted if i == victim else r, everybody)
        s.sign(i, crafted if i == victim else r, everybody)
    for i in bits(s.honest):
        s.unmask(i, crafted if i == victim else r, everybody)


def downgrade(s: LyingServer, coins: Coins) -> None:
    """Announcements below the policy: a lower t, a smaller c, a trusted server, no roster, an unknown purpose."""
    r = Round(1)
    n = s.params.clients
    for i in bits(s.honest):
        changes: list[tuple[dict[str, Any], str]] = [
            ({"threshold": 1}, "t = 1"),
            ({"threshold": (n + s.cast.c) // 2}, "2t = n + c"),
            ({"adversary": SEMI_HONEST}, "a session that trusts the server"),
            ({"protocol": "secaggplus", "adversary": SEMI_HONEST}, "another protocol and adversary"),
            ({"version": 0}, "an older version"),
            ({"cipher": 7}, "an unknown cipher"),
        ]
        if s.cast.c:
            changes.append(({"corrupt": s.cast.c - 1}, "a smaller c"))
        for change, what in changes:
            if s.cast.adversary == SEMI_HONEST and ("server" in what or "adversary" in what or "2t" in what):
                continue
            params = copy.copy(s.params)
            for name, value in change.items():
                object.__setattr__(params, name, value)
            good = s.context(r).announce
            s.must_refuse(i, replace(good, params=params.to_bytes()).to_bytes(), what)
        good = s.context(r).announce
        s.must_refuse(i, replace(good, purpose="spying").to_bytes(), "a purpose that is not in the closed list")
        s.must_refuse(i, replace(good, roster_hash=NO_ROSTER).to_bytes(), "a session without a roster")
        s.must_refuse(i, replace(good, roster_hash=coins.bytes(32)).to_bytes(), "another roster")
    # A smaller minimum of survivors in the params does not lower the policy's.
    s.opened(r, _all(s))


def abort_and_retry(s: LyingServer, coins: Coins) -> None:
    """S is opened; then S without i on the same model: same session, another one, another purpose."""
    everybody, model = _all(s), "m"
    without = everybody & ~mask_of(coins.sample(range(s.cast.honest), 1))
    first = Round(coins.between(1, 3), "A", model)
    answered = s.opened(first, everybody)
    for r in (
        Round(first.number + 1, "A", model),
        Round(first.number + 2, "B", model),
        Round(first.number + 3, "A", model, DEFAULT_PURPOSES[1]),
        Round(0, "C", model),
    ):
        if coins.chance(0.4):
            s.restart(coins.below(s.cast.honest))
        s.opened(r, without)
        for i in bits(answered):
            if (i, r) in s.views and s.views[i, r].u2:
                s.problems.append("a client that had answered masked again on the same model")


def two_rounds(s: LyingServer, coins: Coins) -> None:
    """Two rounds on one model, both brought to stage 3 before either is answered."""
    h = s.cast.honest
    spare = coins.between(1, 2)
    first, second = mask_of(range(h - spare)) | s.corrupt, mask_of(range(spare, h)) | s.corrupt
    r1, r2 = Round(1), Round(coins.choice((1, 2)), coins.choice("AB"))
    r2 = replace(r2, number=2) if r2.session == "A" else r2
    order = [(r1, first), (r2, second)]
    for r, who in order:
        s.signed(r, who)
    for r, who in coins.shuffled(order):
        for i in coins.shuffled(bits(who & s.honest)):
            if coins.chance(0.7):
                s.unmask(i, r, who)
    for r, who in order:
        for i in bits(who & s.honest):
            s.unmask(i, r, who)


def small_u1(s: LyingServer, coins: Coins) -> None:
    """All colluders of the roster in a small U1."""
    h = s.cast.honest
    for number in range(1, coins.between(2, 3)):
        some = mask_of(coins.sample(range(h), coins.between(2, h - 1))) | s.corrupt
        s.opened(Round(number, model=f"m{number}"), some)


def replays(s: LyingServer, coins: Coins) -> None:
    """Requests of one round are sent in another, and to other clients; nothing new must come of it."""
    everybody, old, new = _all(s), Round(1), Round(2, model="n")
    if coins.chance(0.5):
        s.opened(old, everybody)
    else:
        s.signed(old, everybody)
    past = list(s.history)
    s.begin(new, everybody)
    digest = s.context(new).digest
    for i, data in coins.sample(past, min(len(past), 6)):
        victim = coins.choice((i, coins.below(s.cast.honest)))
        s.ask(victim, data)
        if stage_of(data):
            # The old message under the new round's name.
            s.must_refuse(victim, data[:5] + digest + data[37:], "an old message under a new round's digest")
    for i in bits(s.honest):
        s.mask(i, new, everybody)
        s.sign(i, new, everybody)
    for i in bits(s.honest):
        s.unmask(i, new, everybody)


def restarts(s: LyingServer, coins: Coins) -> None:
    """Clients restart between all steps; every repeat gets the same bytes."""
    r, everybody = Round(1), _all(s)
    given: dict[tuple[int, bytes], list[bytes]] = {}
    s.opened(r, everybody)
    for i, data in list(s.history):
        s.restart(i)
        answer = s.ask(i, data)
        if answer is None:
            s.problems.append(f"a repeat in stage {stage_of(data)} after a restart was refused")
        elif given.setdefault((i, data), answer) != answer:
            s.problems.append("a repeat was answered with other bytes")


def rollbacks(s: LyingServer, coins: Coins) -> None:
    """The round secrets, or the journal alone, are those of an earlier stage: the client sits out."""
    r, everybody = Round(1), _all(s)
    s.begin(r, everybody)
    backups = [fork_journal(node.journal) for node in s.nodes]
    for i in bits(s.honest):
        s.mask(i, r, everybody)
    smaller = everybody & ~(1 << s.cast.honest - 1)
    for i, backup in enumerate(backups):
        if (i, r) not in s.views or not s.views[i, r].u2:
            continue
        journal = s.nodes[i].journal
        if coins.chance(0.5):
            journal._round_secrets = dict(backup._round_secrets)
        else:
            journal._entries, journal._index = list(backup._entries), dict(backup._index)
        s.restart(i)
        request = s.mask_request(i, r, smaller, -1)
        if request is not None:
            s.must_refuse(i, request, "a second masked input after a rollback")
        if s.cast.adversary == MALICIOUS:
            s.must_refuse(i, s.sign_request(i, r, everybody), "a signature after a rollback")


def garbage(s: LyingServer, coins: Coins) -> None:
    """Damaged requests at every stage, then the right ones."""
    r, everybody = Round(1), _all(s)

    def damage(i: int, data: bytes | None) -> None:
        if data is not None and coins.chance(0.7):
            s.ask(i, corrupted(data, coins))

    for i in bits(s.honest):
        s.announce(i, r)
        damage(i, KeyList(s.context(r).digest, b"", tuple(s.entries(r, everybody))).to_bytes())
    s.begin(r, everybody)
    for i in bits(s.honest):
        damage(i, s.mask_request(i, r, everybody, -1))
        s.mask(i, r, everybody)
    for i in bits(s.honest):
        if (i, r) in s.views:
            damage(i, s.sign_request(i, r, everybody))
            s.sign(i, r, everybody)
    for i in bits(s.honest):
        if (i, r) in s.views:
            damage(i, s.unmask_request(i, r, everybody))
            s.unmask(i, r, everybody)


def mixture(s: LyingServer, coins: Coins) -> None:
    """A guided draw: views from groups of clients near the thresholds; requests repeated, reordered and withheld."""
    h, k, CZ = s.cast.honest, s.cast.colluders, s.corrupt
    rounds = [Round(1)] + ([Round(2, coins.choice("AB"))] if coins.chance(0.4) else [])
    again, reorder = coins.chance(0.2), coins.chance(0.2)
    Step = tuple[Callable[..., object], tuple[Any, ...]]
    out: list[list[list[Step]]] = []
    for r in rounds:
        honest = coins.sample(range(h), h if len(rounds) == 1 else coins.between(max(3, h - 2), h))
        active = len(honest)
        full = mask_of(honest) | CZ
        t = s.params.threshold or (active + k + s.cast.c) // 2 + 1
        u2, u, variants = dict.fromkeys(honest, full), {}, dict.fromkeys(honest, 0)
        pool = [
            full & ~mask_of(coins.sample(honest, coins.choice((0, 0, 1, 1, 2)))) for _ in range(coins.choice((1, 1, 2)))
        ]
        style = coins.choice(("plain", "split", "split", "groups"))
        if style == "split":  # victims mask with the dropped W and the colluders only
            v = min(active, max(1, t + 1 - k + coins.choice((0, 0, 0, 1))))
            w = coins.between(0, v - 1)
            u2.update(dict.fromkeys(honest[w:v], mask_of(honest[:v]) | CZ))
            pool = [full & ~mask_of(honest[:w])]
            if coins.chance(0.4):
                for i in honest:
                    gone = honest[:w] if i in honest[:w] else coins.sample(honest[:w], coins.between(0, w))
                    u[i] = full & ~mask_of(set(gone) - {i})
        elif style == "groups":
            group = {i: coins.below(3) for i in honest}
            for g in range(3):
                if coins.chance(0.5):
                    mine = mask_of(j for j in honest if group[j] in (g, coins.below(3))) | CZ
                    u2.update({i: mine for i in honest if group[i] == g})
            if coins.chance(0.2):
                variants = {i: int(group[i] > 0) for i in honest}
        ghosts = mask_of(coins.sample(honest, coins.choice((1, 1, 2)))) if coins.chance(0.15) else 0
        live = [i for i in honest if not ghosts >> i & 1]
        asked = [i for i in live if coins.chance(0.85)] if coins.chance(0.5) else live
        stages: list[list[Step]] = [[], [], [], []]
        for i in live:
            view = u2[i] & ~ghosts ^ (1 << coins.choice(honest) if coins.chance(0.03) else 0)
            wish = u[i] if i in u else coins.choice(pool)
            delivered = view if coins.chance(0.8) else view & (CZ | coins.below(1 << h))
            masks: list[Step] = [(s.mask, (i, r, view, delivered))]
            if coins.chance(0.3):
                masks.append((s.mask, (i, r, full & ~ghosts, full & ~ghosts)))
            stages[0].append((s.share, (i, r, full, variants[i])))
            stages[3 if reorder and coins.chance(0.7) else 1].extend(masks)
            stages[2].append((s.sign, (i, r, wish)))
            if i in asked:
                stages[3].insert(0, (s.unmask, (i, r, wish)))
            if i in asked and again:
                repeat: list[Step] = [
                    (s.restart, (i,)),
                    (s.share, (i, r, full, coins.below(2))),
                    (s.mask, (i, r, full, full)),
                ]
                stages[3].extend(repeat[: coins.choice((1, 1, 3))])
                stages[3].append((s.sign, (i, r, u[i] if i in u else coins.choice(pool))))
                stages[3].append((s.unmask, (i, r, u[i] if i in u else coins.choice(pool))))
            if s.history and coins.chance(0.05):
                stages[3].append((s.ask, coins.choice(s.history)))
        out.append(stages)
    steps = [step for stages in out for part in stages[:3] for step in part]
    end = [step for stages in out for step in stages[3]]
    if len(out) == 1 or coins.chance(0.3):
        steps = [step for stages in out for part in stages for step in part]
    else:
        steps += coins.shuffled(end)
    for method, arguments in steps:
        method(*arguments)


Strategy = Callable[[LyingServer, Coins], None]
STRATEGIES: dict[str, Strategy] = {
    f.__name__: f
    for f in (
        split_u2,
        split_u,
        withheld_bundles,
        repeated_unmask,
        repeated_consistency,
        forged_survivors,
        before_masking,
        quorums,
        key_lists,
        two_lists,
        other_model,
        downgrade,
        abort_and_retry,
        two_rounds,
        small_u1,
        replays,
        restarts,
        rollbacks,
        garbage,
        mixture,
    )
}


def draw_cast(coins: Coins) -> Cast:
    """Small casts near the thresholds."""
    colluders = coins.choice((0, 1, 1, 2))
    c = colluders + coins.choice((0, 0, 0, 1))
    honest = coins.between(max(3, c + 3 - colluders), 7) if coins.chance(0.85) else coins.between(6, 9)
    adversary = MALICIOUS if coins.chance(0.9) else SEMI_HONEST
    return Cast(honest, colluders, c, honest_min=coins.choice((2, 3, 3)), adversary=adversary, hybrid=coins.chance(0.1))


def run_lying(seed: int, index: int, name: str | None = None) -> Report:
    """One run of a lying server: a strategy by name, or half of the time the mixture and else one of all.

    Whatever is no PrivcompError is a failure.
    """
    coins, report = Coins(seed, "lying", index), Report()
    chosen = name or ("mixture" if coins.chance(0.5) else coins.choice(tuple(STRATEGIES)))
    report.events[f"strategy {chosen}"] += 1
    try:
        server = LyingServer(draw_cast(coins), coins)
    except ParameterError:
        report.events["refused at set-up"] += 1
        return report
    try:
        STRATEGIES[chosen](server, coins.child("strategy"))
        server.finish(report)
    except Exception:  # noqa: BLE001 (whatever gets here is a finding, and the other runs go on)
        report.failures.append(traceback.format_exc())
    report.failures = [f"run_lying({seed}, {index}, {chosen!r}): {text}" for text in report.failures]
    return report
