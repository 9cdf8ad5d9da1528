"""The parties of a simulated round: clients that crash and come back, and an honest server that asks again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from privcomp.errors import PrivcompError, RoundAborted
from privcomp.keys import Identity, Roster
from privcomp.policy import Policy
from privcomp.rounds import LocalUpdate, RoundClient, RoundResult, RoundServer
from privcomp.secagg import Aggregate, Client, ClientState, Contribution, Server
from privcomp.secagg.client import _Secrets
from privcomp.secagg.context import RoundContext, root_keys
from privcomp.secagg.messages import (
    Advertise,
    Announce,
    BundleMessage,
    ConsistencyRequest,
    ConsistencySignature,
    KeyList,
    MaskRequest,
    UnmaskRequest,
    UnmaskResponse,
    UploadBlock,
    UploadEnd,
)
from privcomp.simulation.coins import Coins, Tap
from privcomp.simulation.faults import Crash, CrashingJournal
from privcomp.simulation.network import Network, Packet

__all__ = ["HonestServer", "Inline", "Machine", "Node", "stage_of"]

ADVERTISE, SHARE, MASK, CONSISTENCY, UNMASK = range(5)
SERVER = b"server"
_STAGE = {
    Advertise.TAG: ADVERTISE,
    BundleMessage.TAG: SHARE,
    KeyList.TAG: SHARE,
    MaskRequest.TAG: MASK,
    UploadBlock.TAG: MASK,
    UploadEnd.TAG: MASK,
    ConsistencyRequest.TAG: CONSISTENCY,
    ConsistencySignature.TAG: CONSISTENCY,
    UnmaskRequest.TAG: UNMASK,
    UnmaskResponse.TAG: UNMASK,
}


def stage_of(data: bytes) -> int:
    """The stage that an undamaged message belongs to (0 for announcements)."""
    return _STAGE.get(int.from_bytes(data[3:5], "little"), ADVERTISE)


class Inline(Executor):
    """Runs what is submitted at once, in this thread: the same order every time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except (OSError, RuntimeError, PrivcompError) as error:
            future.set_exception(error)
        return future


class Node:
    """A client machine: a journal that survives, and a process that does not.

    Args:
        id, identity, policy, roster: as for `privcomp.secagg.Client`.
        coins: its entropy; every start of the process gets a stream of its own.
        update: model bytes -> what it adds to the sum (for the protocol alone).
        local: the same for a federated round with encoding; then `update` is not used.
    """

    def __init__(
        self,
        id: bytes,
        identity: Identity,
        policy: Policy,
        roster: Roster | None,
        coins: Coins,
        update: Callable[[bytes], Contribution],
        local: LocalUpdate | None = None,
    ) -> None:
        self.id, self.identity, self.policy, self.roster = id, identity, policy, roster
        self.journal = CrashingJournal(identity.public)
        self.drawn: set[bytes] = set()
        self.hidden: set[bytes] = set()
        self.up = True
        self._coins = coins
        self._update, self._local = update, local
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Start the process anew: what was in memory is gone, the journal is not."""
        self._starts += 1
        rng = Tap(self._coins.child("start", self._starts), self.drawn)
        self.state: ClientState | None = None
        self.up = True
        self.client: Client | RoundClient
        if self._local is None:
            self.client = Client(self.id, self.identity, self.policy, self.journal, self.roster, rng=rng)
        else:
            self.client = RoundClient(self.id, self.identity, self.policy, self.journal, self.roster, rng=rng)

    def stop(self) -> None:
        """The process dies."""
        self.up = False
        self.state = None

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Answer a message of the server; raises what the client raises, or Crash."""
        answer: Iterable[bytes]
        if isinstance(self.client, RoundClient):
            if self._local is None:
                raise TypeError("a node of federated rounds has a local update")
            answer = self.client.receive(data, self._local)
        else:
            self.state, answer = self.client.receive(self.state, data, self._update)
        if stage_of(data) == MASK:
            self._note(data[5:37])
        return iter(answer)

    def _note(self, round_digest: bytes) -> None:
        """Note what must not be seen on the wire: the keys of this round and the shares that this client holds."""
        stored = self.journal._secrets(round_digest)
        if stored is None:
            return
        secrets = _Secrets.from_bytes(stored[1], max_bytes=len(stored[1]))
        context = RoundContext.of(Announce.from_bytes(secrets.announce, max_bytes=1 << 17))
        mask = root_keys(context, secrets.root)
        self.hidden |= {secrets.channel, secrets.root, secrets.b, mask.kem_seed}
        self.hidden |= {share for pair in secrets.pairs for share in (pair.b, pair.root)}


@dataclass
class Ground:
    """What really reached the server in a round, whatever it made of it: the basis of the tolerance.

    Attributes:
        answers: (stage, client) -> hashes of the messages of its answer.
        arrived: the same, of those that arrived undamaged before the stage was closed.
        damaged: client -> first stage in which a message from or to it arrived damaged.
        refused: requests of this round that a client should have answered, with what it said.
    """

    answers: dict[tuple[int, bytes], frozenset[bytes]] = field(default_factory=dict)
    arrived: dict[tuple[int, bytes], set[bytes]] = field(default_factory=dict)
    damaged: dict[bytes, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def complete(self, stage: int, party: bytes) -> bool:
        """Whether the whole answer came through while its stage was open, and nothing of this client was damaged."""
        sent = self.answers.get((stage, party))
        if sent is None or self.damaged.get(party, UNMASK + 1) <= stage:
            return False
        return sent <= self.arrived.get((stage, party), set())

    def hurt(self, party: bytes, stage: int) -> None:
        self.damaged[party] = min(stage, self.damaged.get(party, stage))


class HonestServer:
    """Drives one round: closes a stage when everybody answered or time is up, asks again for what is missing.

    Args:
        core: the server role.
        network: where it is attached as `b"server"`.
        clients: who is invited.
        heads: ledger heads that clients last signed; updated (federated rounds only).
        authenticated: whether the transport vouches for the sender of a message.
    """

    DEADLINE, AGAIN, ATTEMPTS = 240, 80, 3

    def __init__(
        self,
        core: Server | RoundServer,
        network: Network,
        clients: Iterable[bytes],
        heads: dict[bytes, bytes],
        *,
        authenticated: bool = True,
    ) -> None:
        self.core, self.network, self.heads, self.authenticated = core, network, heads, authenticated
        self.role: Server = core.secagg if isinstance(core, RoundServer) else core
        self.invited = tuple(clients)
        self.ground = Ground()
        self.sum: Aggregate | RoundResult | None = None
        self.error: PrivcompError | None = None
        self.refusals = 0
        self.requested_unmask = False
        self._requests: Mapping[bytes, bytes] = {}
        self._epoch = 0
        self._attempts = 0
        network.attach(SERVER, self.receive)

    @property
    def finished(self) -> bool:
        """Whether there is a sum or an abort."""
        return self.sum is not None or self.error is not None

    def begin(self) -> None:
        """Announce the round."""
        if isinstance(self.core, RoundServer):
            requests = {party: self.core.announcement(self.heads.get(party)) for party in self.invited}
        else:
            requests = dict.fromkeys(self.invited, self.role.announcement)
        self._ask(requests)

    def _ask(self, requests: Mapping[bytes, bytes]) -> None:
        self._requests = requests
        self._epoch += 1
        epoch = self._epoch
        for party, data in requests.items():
            self.network.send(SERVER, party, data)
        for wait in range(self.AGAIN, self.DEADLINE, self.AGAIN):
            self.network.after(wait, lambda: self._again(epoch))
        self.network.after(self.DEADLINE, lambda: self._close(epoch))

    def _missing(self) -> frozenset[bytes]:
        if self.role.stage == ADVERTISE:
            return frozenset(self.invited) - frozenset(self.role.advertisements)
        return self.role.pending

    def _again(self, epoch: int) -> None:
        if epoch == self._epoch and not self.finished:
            missing = self._missing()
            for party, data in self._requests.items():
                if party in missing:
                    self.network.send(SERVER, party, data)

    def receive(self, packet: Packet) -> None:
        """A packet arrives."""
        if self.finished:
            return
        stage, now = stage_of(packet.sent), self.role.stage
        if not packet.intact:
            if self.is_current(packet):
                self.ground.hurt(packet.source, min(stage, now))
        elif stage == now and self.is_current(packet):
            self.ground.arrived.setdefault((stage, packet.source), set()).add(sha256(packet.sent).digest())
        try:
            self.core.receive(packet.data, packet.source if self.authenticated else None)
        except PrivcompError as error:
            self.refusals += 1
            self.network.trace.add(
                self.network.now, packet.source, SERVER, None, f"server refuses: {type(error).__name__}"
            )
            return
        if self.role.stage == ADVERTISE and isinstance(self.core, RoundServer):
            for party in self.role.advertisements:
                self.heads[party] = self.role.context.announce.ledger_head
        if not self._missing():
            self._epoch += 1
            epoch = self._epoch
            self.network.after(0, lambda: self._close(epoch))

    def is_current(self, packet: Packet) -> bool:
        """Whether what was sent belongs to this round (every message but the announcement begins with its digest)."""
        return packet.sent[5:37] == self.role.context.digest

    def _close(self, epoch: int) -> None:
        if epoch != self._epoch or self.finished:
            return
        self.network.trace.add(self.network.now, SERVER, b"", None, f"close stage {self.role.stage}")
        try:
            if self.role.stage == UNMASK:
                self.sum = self.core.finish() if isinstance(self.core, RoundServer) else self.core.result()
                self.network.trace.add(self.network.now, SERVER, b"", None, "sum")
                return
            requests = self.core.advance()
        except PrivcompError as error:
            self._attempts += 1
            if isinstance(error, RoundAborted) and self.role.stage >= CONSISTENCY and self._attempts < self.ATTEMPTS:
                # Nothing is lost: more answers for the same survivors may still come in.
                missing = self._missing()
                self._ask({party: data for party, data in self._requests.items() if party in missing})
                return
            self.error = error
            self.network.trace.add(self.network.now, SERVER, b"", None, f"abort: {type(error).__name__}")
            if isinstance(self.core, RoundServer):
                self.core.abort(error)
            return
        self._attempts = 0
        self.requested_unmask |= self.role.stage == UNMASK
        self._ask(requests)


class Machine:
    """A node on the network: answers what arrives, crashes, and comes back.

    Args:
        node: the client.
        network: where it is attached under its id.
        coins: decides on crashes.
        server: the server of the current round, for its ground truth.
        observe: called with (id, request, answer) for every answer, sent in whole or in part.
    """

    def __init__(
        self,
        node: Node,
        network: Network,
        coins: Coins,
        server: Callable[[], HonestServer],
        observe: Callable[[bytes, bytes, list[bytes]], None],
    ) -> None:
        self.node, self.network, self._coins, self._server, self._observe = node, network, coins, server, observe
        self.deaf_until = 0
        self.gone_from: int | None = None
        self.gone = False
        self.misled = False
        network.attach(node.id, self.receive)

    def receive(self, packet: Packet) -> None:
        """A packet arrives."""
        node, network, server = self.node, self.network, self._server()
        current = self._is_current(packet, server)
        stage = stage_of(packet.sent)
        if self.gone_from is not None and current and stage >= self.gone_from:
            self.gone = True
        if not node.up or self.gone or network.now < self.deaf_until:
            network.trace.add(network.now, packet.source, node.id, None, "nobody listens")
            return
        if not packet.intact and current:
            server.ground.hurt(node.id, min(stage, server.role.stage))
        # A damaged announcement can look like one of a later round, and is remembered as such.
        self.misled |= not packet.intact and stage == ADVERTISE
        faults = network.faults
        crash = self._coins.choice(("before", "after", "remember", "half")) if self._coins.chance(faults.crash) else ""
        node.journal.die = crash
        sent: list[bytes] = []
        try:
            answer = list(node.receive(packet.data))
            self._observe(node.id, packet.data, answer)
            if current and packet.intact:
                server.ground.answers[stage, node.id] = frozenset(sha256(m).digest() for m in answer)
            sent = answer[: self._coins.below(len(answer) + 1)] if crash == "half" else answer
            if crash == "half":
                raise Crash
        except Crash:
            node.stop()
            network.trace.add(network.now, node.id, b"", None, "crash")
            if self._coins.chance(0.7):
                network.after(self._coins.between(1, 150), self._restart)
        except PrivcompError as error:
            network.trace.add(network.now, packet.source, node.id, None, f"client refuses: {type(error).__name__}")
            fresh = current and packet.intact and stage == server.role.stage and not server.finished
            if fresh and node.id not in server.ground.damaged and not self.misled:
                server.ground.refused.append(f"stage {stage}: {node.id!r}: {type(error).__name__}: {error}")
        finally:
            node.journal.die = ""
        for message in sent:
            network.send(node.id, SERVER, message)

    def _is_current(self, packet: Packet, server: HonestServer) -> bool:
        if stage_of(packet.sent) == ADVERTISE:
            return packet.sent == server._requests.get(self.node.id) and server.role.stage == ADVERTISE
        return server.is_current(packet) and packet.source == SERVER

    def _restart(self) -> None:
        self.node.start()
        self.network.trace.add(self.network.now, self.node.id, b"", None, "restart")
