"""A bench for attacks: honest clients, colluders whose secrets the test reads, and a server that the test may replace.

The server of an attack is the test itself. It runs the honest server up to a stage (`Round.run_to`), looks at the
requests that would be delivered next (`Round.requests`), changes them (`edit`) and delivers them one by one
(`Node.receive`). Afterwards `Round.finish` goes on honestly and compares the result with the plain sum: what was
refused must not have cost anybody its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from privcomp.codec import Message, decode_any
from privcomp.errors import PrivcompError
from privcomp.journal import Journal, MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.policy import DEFAULT_PURPOSES, Policy
from privcomp.secagg import BONAWITZ, MALICIOUS, Aggregate, Client, ClientState, Contribution, Params, Segment, Server
from privcomp.secagg import context as binding
from privcomp.secagg import messages as m
from privcomp.secagg.client import _evolve

STAGES = ("advertise", "share", "mask", "consistency", "unmask")
SESSION = b"session of thirty-two bytes ....."[:32]
MODEL = b"model bytes"
TRAINING, OTHER_PURPOSE = DEFAULT_PURPOSES[:2]
#: The prime order of the group in which attested rounds blind (edwards25519).
ELL = 2**252 + 27742317777372353535851937790883648493

_MESSAGES: dict[int, type[Message]] = {
    cls.TAG: cls
    for cls in (
        m.Announce,
        m.Advertise,
        m.KeyList,
        m.BundleMessage,
        m.MaskRequest,
        m.UploadBlock,
        m.UploadEnd,
        m.ConsistencyRequest,
        m.ConsistencySignature,
        m.UnmaskRequest,
        m.UnmaskResponse,
    )
}


def decode(data: bytes) -> Any:
    """Any secure-aggregation message."""
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


class Node:
    """One client as it is run: identity, policy, journal, current state, and the update that it adds."""

    def __init__(
        self, party: bytes, identity: Identity, policy: Policy, roster: Roster | None, journal: Journal
    ) -> None:
        self.id = party
        self.identity = identity
        self.policy = policy
        self.roster = roster
        self.journal = journal
        self.vectors: tuple[np.ndarray[Any, Any], ...] = ()
        self.attachment = b""
        self.state: ClientState | None = None
        self.restart()

    def restart(self, *, policy: Policy | None = None) -> None:
        """A new process on the same journal: everything in memory is gone."""
        self.policy = policy or self.policy
        self.state = None
        self.client = Client(self.id, self.identity, self.policy, self.journal, self.roster)

    def contribute(self, model: bytes) -> Contribution:
        """Deterministic training: the same model gives the same update."""
        return Contribution(self.vectors, self.attachment)

    def receive(self, request: bytes) -> list[bytes]:
        """Take a message of the server; the messages that leave the client."""
        self.state, out = self.client.receive(self.state, request, self.contribute)
        return list(out)

    @property
    def secrets(self) -> Any:
        """The round secrets of a colluder."""
        assert self.state is not None
        return self.state._secrets

    def remembered(self) -> tuple[Any, ...]:
        """Everything that a refused request must leave as it was."""
        secrets = getattr(self.journal, "_round_secrets", {})
        return self.journal.entries(), dict(secrets), self.state, self.state is None or list(self.state._spent)


@contextmanager
def refused(node: Node, error: type[PrivcompError], match: str) -> Iterator[pytest.ExceptionInfo[PrivcompError]]:
    """The step raises exactly this error, nothing leaves the client and its state is as before."""
    before = node.remembered()
    with pytest.raises(error, match=match) as caught:
        yield caught
    assert node.remembered() == before, "a refused request changed the client's state"


class World:
    """n clients with identities, journals and a roster, and the parameters of their rounds.

    Args:
        n: clients that take part.
        policy: of all nodes; default: the session's adversary and c.
        absent: further entries of the roster that never take part.
        options: fields of `Params`.
    """

    def __init__(
        self,
        n: int,
        *,
        policy: Policy | None = None,
        absent: int = 0,
        seed: int = 1,
        journal: Callable[[bytes, bytes], Journal] = lambda party, public: MemoryJournal(public),
        ids: Iterable[bytes] | None = None,
        with_roster: bool = True,
        **options: Any,
    ) -> None:
        fields: dict[str, Any] = {
            "protocol": BONAWITZ,
            "adversary": MALICIOUS,
            "segments": (Segment.ring(32, 5),),
            "corrupt": 0,
            "clients": n,
            **options,
        }
        self.params = Params(**fields)
        self.policy = policy or Policy(adversary=self.params.adversary, corrupt=self.params.corrupt)
        parties = sorted(ids) if ids is not None else [b"client-%03d" % i for i in range(n + absent)]
        identities = {party: Identity.from_seed(bytes([seed]) + party.rjust(31, b"\0")[-31:]) for party in parties}
        self.full_roster = Roster.of({party: identity.public for party, identity in identities.items()})
        self.roster = self.full_roster if with_roster else None
        self.nodes = [
            Node(party, identities[party], self.policy, self.roster, journal(party, identities[party].public))
            for party in parties[:n]
        ]
        self.absent = [identities[party] for party in parties[n:]]
        self.rng = np.random.default_rng(seed)
        for node in self.nodes:
            node.vectors = self.draw()

    def draw(self) -> tuple[np.ndarray[Any, Any], ...]:
        """A random update: every residue of every segment may occur."""
        vectors: list[np.ndarray[Any, Any]] = []
        for segment in self.params.segments:
            if segment.is_ring:
                dtype = np.uint32 if segment.bits <= 32 else np.uint64
                top = (1 << segment.bits) - 1
                vectors.append(self.rng.integers(0, top, segment.length, dtype=dtype, endpoint=True))
            else:
                modulus = int.from_bytes(segment.modulus, "little")
                values = [int.from_bytes(self.rng.bytes(40), "little") % modulus for _ in range(segment.length)]
                vectors.append(np.array([list(v.to_bytes(32, "little")) for v in values], dtype=np.uint8))
        return tuple(vectors)

    def __getitem__(self, place: int) -> Node:
        return self.nodes[place]

    @property
    def ids(self) -> list[bytes]:
        return [node.id for node in self.nodes]

    def round(self, number: int = 1, **options: Any) -> Round:
        """A new round; options of `Server` and, as `params`, other parameters; `among`: the nodes that are invited."""
        return Round(self, number, **options)


class Round:
    """One round under the test's control."""

    def __init__(
        self,
        world: World,
        number: int = 1,
        *,
        session: bytes = SESSION,
        purpose: str = TRAINING,
        model: bytes = MODEL,
        params: Params | None = None,
        among: Iterable[int] | None = None,
        **options: Any,
    ) -> None:
        self.world = world
        self.nodes = {world[i].id: world[i] for i in (among if among is not None else range(len(world.nodes)))}
        self.server = Server(
            params or world.params,
            session=session,
            round=number,
            purpose=purpose,
            model=model,
            roster=world.roster,
            **options,
        )
        #: What the server sends next: id -> message, not delivered yet.
        self.requests: dict[bytes, bytes] = dict.fromkeys(self.nodes, self.server.announcement)
        #: Everything that clients sent: (stage, id) -> messages.
        self.sent: dict[tuple[str, bytes], list[bytes]] = {}

    @property
    def stage(self) -> str:
        return (*STAGES, "done")[self.server.stage]

    def request(self, place: int) -> bytes:
        """What the server would send to a client next."""
        return self.requests[self.world[place].id]

    def collect(self, lost: Iterable[bytes] = ()) -> None:
        """Deliver the requests of this stage and hand the answers to the server; the messages of `lost` vanish."""
        for party, request in self.requests.items():
            if party not in set(lost):
                self.sent[self.stage, party] = self.nodes[party].receive(request)
                for message in self.sent[self.stage, party]:
                    self.server.receive(message, party)

    def step(self, lost: Iterable[bytes] = ()) -> None:
        """A whole stage."""
        self.collect(lost)
        self.requests = dict(self.server.advance()) if self.stage != "unmask" else {}

    def run_to(self, stage: str, lost: Mapping[int, str] | None = None) -> Round:
        """Run honestly until the requests of `stage` lie in `requests`; `lost[i]`: stage from which on i is silent."""
        gone = {self.world[i].id: STAGES.index(since) for i, since in (lost or {}).items()}
        while self.stage != stage:
            if STAGES.index(self.stage) > STAGES.index(stage):
                raise AssertionError(f"{stage} is over")
            self.step([party for party, since in gone.items() if since <= STAGES.index(self.stage)])
        return self

    def finish(self, lost: Mapping[int, str] | None = None) -> Aggregate:
        """Go on honestly to the end (repeats included) and compare with the plain sum."""
        gone = {self.world[i].id: STAGES.index(since) for i, since in (lost or {}).items()}
        self.run_to("unmask", lost)
        self.collect([party for party, since in gone.items() if since <= STAGES.index("unmask")])
        return self.check(self.server.result())

    def check(self, aggregate: Aggregate) -> Aggregate:
        """The published sums are exactly those of the survivors' vectors."""
        for s, segment in enumerate(self.world.params.segments):
            rows = [self.nodes[party].vectors[s] for party in aggregate.survivors]
            if segment.is_ring:
                modulus = 1 << segment.bits
                want = [sum(int(row[a]) for row in rows) % modulus for a in range(segment.length)]
                assert [int(value) for value in aggregate.sums[s]] == want
            else:
                modulus = int.from_bytes(segment.modulus, "little")
                want = [sum(residue(row[a]) for row in rows) % modulus for a in range(segment.length)]
                assert [residue(value) for value in aggregate.sums[s]] == want
        return aggregate

    # ---- what a lying server builds ----

    def bits(self, places: Iterable[int]) -> bytes:
        """Bitmap of a set of nodes over the key list."""
        directory = self.server.directory
        return m.bitmap({directory.place[self.world[i].id] for i in places}, directory.n)

    def u2(self) -> bytes:
        return self.server.u2_bitmap

    def consistency_request(self, survivors: Iterable[int]) -> bytes:
        return m.ConsistencyRequest(self.server.context.digest, self.bits(survivors)).to_bytes()

    def unmask_request(self, survivors: Iterable[int], quorum: Mapping[int, bytes] | None = None) -> bytes:
        """A request to unmask this U under these signatures (node -> signature)."""
        place = self.server.directory.place
        entries = sorted((place[self.world[i].id], signature) for i, signature in (quorum or {}).items())
        signatures = tuple(m.QuorumSignature(p, signature) for p, signature in entries)
        return m.UnmaskRequest(self.server.context.digest, self.bits(survivors), signatures).to_bytes()

    def sign_survivors(self, places: Iterable[int], survivors: Iterable[int]) -> dict[int, bytes]:
        """What these clients sign when they are shown this U."""
        request = self.consistency_request(survivors)
        return {i: decode(self.world[i].receive(request)[0]).signature for i in places}

    def colluder_signature(self, place: int, survivors: Iterable[int], u2: bytes | None = None) -> bytes:
        """A colluder signs whatever it is asked to, without looking into its journal."""
        body = self.server.directory.u_digest(self.u2() if u2 is None else u2, self.bits(survivors))
        directory = self.server.directory
        return binding.sign(self.world[place].identity, "consistency", self.server.context, directory.hash, body)

    def resign(self, place: int, message: Any, stage: str) -> bytes:
        """A colluder's message with its own valid signature."""
        list_hash = b"" if stage == "advertise" else self.server.directory.hash
        identity = self.world[place].identity
        signature = binding.sign(identity, stage, self.server.context, list_hash, binding.unsigned(message))
        return replace(message, signature=signature).to_bytes()

    def advertise_as(self, place: int, **changes: Any) -> bytes:
        """A colluder advertises something else than its secrets say, and believes in it itself from then on."""
        node = self.world[place]
        honest = decode(node.receive(self.server.announcement)[0])
        data = self.resign(place, replace(honest, **changes), "advertise")
        assert node.state is not None
        node.state = type(node.state)(node.state.context, _evolve(node.secrets, advertise=data))
        return data


def residue(row: np.ndarray[Any, Any]) -> int:
    """A prime-field entry as a number."""
    return int.from_bytes(row.tobytes(), "little")
