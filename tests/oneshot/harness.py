"""A bench for one-shot rounds: clients, members and a server that the test may replace.

The server of an attack is the test itself: it runs the honest server up to a stage (`Round.run_to`), looks at the
requests that would be delivered next (`Round.requests`), changes them and delivers them one by one. What was refused
must not have cost anybody anything: `Round.finish` goes on honestly and compares the result with the plain sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from privcomp.codec import Message, decode_any
from privcomp.errors import PrivcompError
from privcomp.he import RlweParams
from privcomp.journal import Journal, MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.oneshot import (
    Aggregate,
    Client,
    Committee,
    Contribution,
    KeyHolder,
    Member,
    Params,
    Server,
    Uploaded,
    least_survivors,
)
from privcomp.oneshot import messages as m
from privcomp.oneshot.context import RoundContext, set_hash
from privcomp.policy import CommitteePolicy, Policy

SESSION = b"session of thirty-two bytes ....."[:32]
MODEL = b"model bytes"
STAGES = ("boxkeys", "upload", "accept", "vote", "answer", "done", "close")

_MESSAGES: dict[int, type[Message]] = {
    cls.TAG: cls
    for cls in (
        m.BoxKeyRequest,
        m.BoxKey,
        m.Announce,
        m.UploadRequest,
        m.UploadBlock,
        m.UploadEnd,
        m.Shares,
        m.Accept,
        m.Propose,
        m.Vote,
        m.CloseRequest,
        m.Close,
        m.Certificate,
        m.Answer,
    )
}


def decode(data: bytes) -> Any:
    """Any message of the protocol."""
    return decode_any(data, _MESSAGES)


def edit(data: bytes, **changes: Any) -> bytes:
    """The same message with other fields; a function as value maps the old field to the new one."""
    message = decode(data)
    values = {name: new(getattr(message, name)) if callable(new) else new for name, new in changes.items()}
    return replace(message, **values).to_bytes()


def forge(cls: type[Any], original: Any, **changes: Any) -> Any:
    """An object with fields that its constructor would refuse: a server writes what it likes onto the wire."""
    forged = object.__new__(cls)
    for name, _ in cls.FIELDS:
        object.__setattr__(forged, name, changes.get(name, getattr(original, name)))
    return forged


def identity(name: bytes) -> Identity:
    """An identity that follows from a name."""
    return Identity.from_seed(name.rjust(32, b"\0")[-32:])


class ClientNode:
    """One client as it is run: journal, policy, and the update that it adds."""

    def __init__(self, party: bytes, own: Identity, policy: Policy, roster: Roster, journal: Journal) -> None:
        self.id, self.identity, self.policy, self.roster, self.journal = party, own, policy, roster, journal
        self.values: np.ndarray[Any, Any] = np.zeros(0, np.int64)
        self.state: Uploaded | None = None
        self.restart()

    def restart(self, *, policy: Policy | None = None) -> None:
        """A new process on the same journal."""
        self.policy = policy or self.policy
        self.state = None
        self.client = Client(self.id, self.identity, self.policy, self.journal, self.roster)

    def receive(self, request: bytes) -> list[bytes]:
        """Take the server's message; what leaves the client."""
        self.state, out = self.client.receive(self.state, request, lambda model: Contribution(self.values))
        return list(out)


class MemberNode:
    """One member as it is run."""

    def __init__(
        self, party: bytes, own: Identity, policy: Policy, roster: Roster, journal: Journal, cls: type[Member] = Member
    ) -> None:
        self.id, self.identity, self.policy, self.roster, self.journal, self.cls = (
            party,
            own,
            policy,
            roster,
            journal,
            cls,
        )
        self.restart()

    def restart(self, *, policy: Policy | None = None) -> None:
        """A new process on the same journal."""
        self.policy = policy or self.policy
        self.member = self.cls(self.id, self.identity, self.policy, self.journal, self.roster)

    def receive(self, request: bytes) -> list[bytes]:
        """Take the server's message; what leaves the member."""
        return list(self.member.receive(request))


@contextmanager
def refused(
    node: ClientNode | MemberNode, error: type[PrivcompError], match: str
) -> Iterator[pytest.ExceptionInfo[PrivcompError]]:
    """The step raises exactly this error, and nothing is in the node's journal that was not there before."""
    before = node.journal.entries()
    with pytest.raises(error, match=match) as caught:
        yield caught
    assert node.journal.entries() == before, "a refused request left an entry"


class World:
    """Clients, members, a roster, and the parameters of their rounds.

    Args:
        n: clients.
        c, privacy, packing: the named committee; c = 1: a single key-holder.
        corrupt: corrupt clients of the roster.
        length: entries of the vector.
        policy: further fields of every node's policy.
        options: further fields of `Params`.
    """

    def __init__(
        self,
        n: int = 6,
        c: int = 5,
        privacy: int = 1,
        packing: int = 2,
        *,
        corrupt: int = 0,
        length: int = 9,
        adversary: str = "malicious",
        bits: int = 16,
        clients: int | None = None,
        seed: int = 1,
        journal: Callable[[bytes], Journal] = MemoryJournal,
        committee: Committee | None = None,
        policy: Mapping[str, Any] | None = None,
        committee_policy: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        ids = [b"client-%03d" % i for i in range(n)]
        self.client_keys = {party: identity(b"%d" % seed + party) for party in ids}
        self.roster = Roster.of({party: own.public for party, own in self.client_keys.items()})
        names = [b"member-%02d" % j for j in range(c)]
        self.member_keys = {party: identity(b"%d" % seed + party) for party in names}
        self.server_identity = identity(b"server")
        listed = tuple((party, own.public) for party, own in self.member_keys.items())
        if committee is None:
            committee = Committee.single(*listed[0]) if c == 1 else Committee.named(listed, privacy, packing)
        own_policy: dict[str, Any] = (
            {"key_holder": listed[0]} if c == 1 else {"members": listed, "privacy_min": privacy}
        )
        self.policy = Policy(
            **{
                "protocols": ("oneshot",),
                "adversary": adversary,
                "corrupt": corrupt,
                "gamma_ppm": 0,
                "committee": CommitteePolicy(**{**own_policy, **(committee_policy or {})}),
                **(policy or {}),
            }
        )
        fields: dict[str, Any] = {
            "adversary": adversary,
            "ring": RlweParams.for_round(bits, clients or max(n, 3)),
            "length": length,
            "committee": committee,
            "survivors_min": least_survivors(n, max(corrupt, options.get("gamma_ppm", 0) * n // 1_000_000), 3),
            "gamma_ppm": 0,
            **options,
        }
        self.params = Params(**fields)
        self.clients = [
            ClientNode(party, own, self.policy, self.roster, journal(own.public))
            for party, own in self.client_keys.items()
        ]
        self.members = [
            MemberNode(party, own, self.policy, self.roster, journal(own.public), KeyHolder if c == 1 else Member)
            for party, own in self.member_keys.items()
        ]
        self.server_journal = MemoryJournal(self.server_identity.public)
        self.rng = np.random.default_rng(seed)
        bound = self.params.ring.value_bound
        for node in self.clients:
            node.values = self.rng.integers(-bound, bound, length, endpoint=True)

    def round(self, number: int = 1, **options: Any) -> Round:
        """A new round; options of `Server` and, as `params`, other parameters."""
        return Round(self, number, **options)


class Round:
    """One round under the test's control."""

    def __init__(
        self,
        world: World,
        number: int = 1,
        *,
        session: bytes = SESSION,
        purpose: str = "training",
        model: bytes = MODEL,
        params: Params | None = None,
        journal: Journal | None = None,
        **options: Any,
    ) -> None:
        self.world, self.model = world, model
        self.nodes: dict[bytes, ClientNode | MemberNode] = {node.id: node for node in (*world.clients, *world.members)}
        self.server = Server(
            params or world.params,
            session=session,
            round=number,
            purpose=purpose,
            model=model,
            roster=world.roster,
            identity=world.server_identity,
            journal=journal or world.server_journal,
            **options,
        )
        self.requests: dict[bytes, bytes] = dict(self.server.requests())
        #: Everything that was sent: (stage, id) -> messages.
        self.sent: dict[tuple[str, bytes], list[bytes]] = {}

    @property
    def stage(self) -> str:
        return STAGES[self.server.stage]

    def collect(self, lost: Iterable[bytes] = ()) -> None:
        """Deliver the requests of this stage and hand the answers to the server; what comes from `lost` vanishes."""
        gone = set(lost)
        for party, request in self.requests.items():
            if party not in gone:
                self.sent[self.stage, party] = self.nodes[party].receive(request)
                for message in self.sent[self.stage, party]:
                    self.server.receive(message, party)

    def step(self, lost: Iterable[bytes] = ()) -> None:
        """A whole stage."""
        self.collect(lost)
        self.requests = dict(self.server.advance()) if self.stage != "answer" else {}

    def run_to(self, stage: str, lost: Mapping[bytes, str] | None = None) -> Round:
        """Run honestly until the requests of `stage` lie in `requests`; `lost[id]`: stage from which on it is
        silent."""
        while self.stage != stage:
            at = STAGES.index(self.stage)
            if at > STAGES.index(stage):
                raise AssertionError(f"{stage} is over")
            self.step([party for party, since in (lost or {}).items() if STAGES.index(since) <= at])
        return self

    def finish(self, lost: Mapping[bytes, str] | None = None) -> Aggregate:
        """Go on honestly to the end (repeats included) and compare with the plain sum."""
        self.run_to("answer", lost)
        self.collect(party for party, since in (lost or {}).items() if STAGES.index(since) <= STAGES.index("answer"))
        return self.check(self.server.result())

    def check(self, aggregate: Aggregate) -> Aggregate:
        """The published sum is exactly that of the survivors' vectors."""
        rows = [self.nodes[party].values for party in aggregate.survivors]  # type: ignore[union-attr]
        assert len(rows) >= self.world.params.survivors_min
        assert aggregate.sums[0].tolist() == np.sum(rows, axis=0).tolist()
        return aggregate

    # ---- what a lying server builds ----

    @property
    def context(self) -> RoundContext:
        return self.server.context

    def digests(self) -> dict[bytes, bytes]:
        """id -> upload digest of all delivered uploads."""
        return dict(self.server._digests)

    def survivors(self, places: Iterable[int]) -> tuple[tuple[bytes, bytes], ...]:
        """U of some clients, with their digests."""
        digests = self.digests()
        ids = [self.world.clients[i].id for i in sorted(places)]
        return tuple((party, digests[party]) for party in ids)

    def proposal(self, survivors: tuple[tuple[bytes, bytes], ...]) -> bytes:
        """A proposal of this U under the server's signature."""
        hashed = set_hash(self.context.digest, survivors)
        signature = self.context.sign(self.world.server_identity, "propose", hashed)
        return m.Propose(self.context.digest, survivors, signature).to_bytes()

    def certificate(self, survivors: tuple[tuple[bytes, bytes], ...], votes: Mapping[int, bytes]) -> bytes:
        """A certificate for this U with these votes (place -> signature)."""
        return m.Certificate(self.context.digest, survivors, tuple(sorted(votes.items()))).to_bytes()

    def shares(self, shares: m.Shares) -> bytes:
        """A delivery under the server's signature, whatever is in it."""
        unsigned = replace(shares, signature=bytes(64)).to_bytes()[:-64]
        return unsigned + self.context.sign(self.world.server_identity, "shares", sha256(unsigned).digest())

    def vote_of(self, place: int, survivors: tuple[tuple[bytes, bytes], ...]) -> bytes:
        """What a corrupt member signs, without looking into its journal."""
        node = self.world.members[place]
        return self.context.sign(node.identity, "vote", node.id, set_hash(self.context.digest, survivors))

    def announce(self, **changes: Any) -> bytes:
        """The announcement with other fields, signed by the server anew."""
        return resigned(self.world, replace(self.context.announce, **changes))


def resigned(world: World, announce: m.Announce) -> bytes:
    """An announcement under the server's signature, whatever it says."""
    context = RoundContext.of(announce)
    signature = context.sign(world.server_identity, "announce", context.announce_body)
    return replace(announce, signature=signature).to_bytes()
