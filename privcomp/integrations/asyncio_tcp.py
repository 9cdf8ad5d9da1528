"""A federation without a framework: one server and its nodes as processes, over TCP with mutual TLS 1.3.

    server -> node   WELCOME, REQUEST (number, message of the server), PING, BYE
    node -> server   HELLO, ANSWER (number, message of the client), DONE (number), REFUSED (number, why), PONG

A request has a number, so that answers to a stage that is closed are known as late. A node that loses the connection
connects again and gets the pending request again; its journal gives the same answer. Who is at the other end says TLS
(`privcomp.integrations.tls`), not a message.

The protocol itself is in `privcomp.rounds`; when a stage ends and what a stalled round needs is in
`privcomp.integrations.driver`, which runs in one thread here. What it has not taken yet waits in a short queue, and
then in the nodes: nobody is read from while the server is behind.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from privcomp import oneshot
from privcomp.dp import DistributedPlan, PrivateMean
from privcomp.encoding import Decoded, FixedPoint
from privcomp.errors import LocalError, ParameterError, RemoteError, RoundAborted
from privcomp.integrations import tls
from privcomp.integrations.committee import one_shot
from privcomp.integrations.driver import Deadlines, Rounds, RoundStalled
from privcomp.integrations.home import ServerHome
from privcomp.integrations.tcp_frames import (
    ANSWER,
    CHUNK,
    DONE,
    FINISHED,
    HELLO,
    MAX_NOTE,
    NUMBER,
    PING,
    PONG,
    REFUSED,
    REPLACED,
    REQUEST,
    STOPPING,
    TURNED_AWAY,
    WELCOME,
    Channel,
    Limits,
    Tap,
    certificate,
    explained,
    greeted,
    greeting,
    pinging,
    shown,
)
from privcomp.integrations.tcp_node import Update, join
from privcomp.ledger import COMPLETE, Ledger
from privcomp.ledger.record import genesis
from privcomp.rounds import RoundSpec
from privcomp.rounds.aggregation import TRAINING_STAGES
from privcomp.rounds.privacy import PRIVACY, PrivacySpent
from privcomp.rounds.task import Encoding, Task
from privcomp.secagg.params import Params
from privcomp.secagg.server import Outbox

__all__ = ["Limits", "RoundReport", "Server", "Training", "Update", "join", "replay"]

_log = logging.getLogger("privcomp.tcp")
_T = TypeVar("_T")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class RoundReport:
    """What became of one attempt at a round.

    Attributes:
        round: its number in the session.
        outcome: "complete", "aborted" or "stalled".
        reason: why it is not complete.
        asked, survivors: number of nodes.
        weight, clipped, bound: total weight, clipped entries and quantisation bound of the mean (under a plan: the
            standard deviation of its noise); 0 without a result.
        epsilon: what the ledger's rounds under plans have spent, at the newest plan's delta; 0 without any.
        metrics: weighted means.
        refused: id -> class of the node's refusal.
        seconds: duration.
        bytes_up, bytes_down: of all nodes together, headers of the frames included.
    """

    round: int
    outcome: str
    reason: str
    asked: int
    survivors: int
    weight: int
    clipped: int
    bound: float
    epsilon: float
    metrics: Mapping[str, float]
    refused: Mapping[bytes, str]
    seconds: float
    bytes_up: int
    bytes_down: int


@dataclass
class _Connection:
    """One node's connection.

    Attributes:
        open: request number -> [most bytes of an answer, bytes that are left for all], until it is answered.
        holds: number of the last stage in which this connection's node accepted shares, as a member of a committee.
        slot: whether it holds one of the places for uploads.
        behind: seconds that it has been waited for while it held it, less what its bytes may take.
    """

    party: bytes
    channel: Channel
    task: asyncio.Task[None]
    open: dict[int, list[int]] = field(default_factory=dict)
    holds: int = 0
    slot: bool = False
    behind: float = 0.0


@dataclass
class _Stage:
    """The stage that the nodes are being asked for.

    Attributes:
        delivered: number of the stage in which the members of a committee were given their shares.
        again: the requests with these shares, for members that were restarted since, or never got them.
    """

    name: str
    number: int
    messages: Mapping[bytes, bytes]
    limit: tuple[int, int]
    until: float
    pending: set[bytes]
    delivered: int = 0
    again: Outbox | None = None
    refused: dict[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What is trained, and by how many nodes: see `Server.prepare`.

    Attributes:
        task: what the nodes compute.
        spec: the declaration of every round.
        model: the model to go on from.
        known: rounds of training on the first model that the ledger has.
        least, most: nodes of a round.
    """

    task: Task
    spec: RoundSpec
    model: Arrays
    known: int
    least: int
    most: int


class Server:
    """The server of a federation; use as an asynchronous context manager, which listens while it is open.

        async with Server(home, port=0) as server:
            print(server.port)
            arrays = await server.run(arrays, task=Task("update"), rounds=3, clip=1.0, max_weight=1000, corrupt=1)

    Args:
        home: the server's folder, with its roster installed.
        host, port: where to listen; 0 takes any free port.
        limits: what nodes are granted.
        tap: sees the plaintext of all connections; for transcripts.

    Raises:
        LocalError: no roster is installed, or the address cannot be used.
    """

    def __init__(
        self,
        home: ServerHome,
        *,
        host: str = "127.0.0.1",
        port: int = 7443,
        limits: Limits | None = None,
        tap: Tap | None = None,
    ) -> None:
        if home.roster is None or not home.clients.exists():
            raise LocalError(
                f"{home.folder} has no roster: run `privcomp keys roster --server {home.folder} ...` first"
            )
        self.home = home
        self.host = host
        self.port = port
        self.limits = limits if limits is not None else Limits()
        self._roster = home.roster
        self._tap = tap
        self._tls = tls.server_context(home.tls_certificate, home.tls_key, home.clients)
        self._connections: dict[bytes, _Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: dict[bytes, float] = {}
        self._asked: dict[bytes, int] = {}
        self._stage: _Stage | None = None
        self._number = 0
        self._delivered = 0
        self._spec: RoundSpec | None = None
        self._driver: Rounds | None = None
        self._traffic = [0, 0]
        self._farewell = (STOPPING, "the server was stopped; it may come back")

    async def __aenter__(self) -> Server:
        self._loop = asyncio.get_running_loop()
        self._stopping = self._closing = False
        self._changed = asyncio.Event()
        self._queue: asyncio.Queue[tuple[int, bytes, bytes]] = asyncio.Queue(self.limits.queue)
        self._slots = asyncio.Semaphore(self.limits.uploads)
        most = self.limits.connections
        self._most = most if most is not None else 2 * len(self._roster) + 256
        # task -> address of connections that are no node's yet, or no more; the oldest first.
        self._others: dict[asyncio.Task[None], str] = {}
        try:
            infos = await self._loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            family, _, _, _, address = infos[0]
            self._socket = socket.create_server(address[:2], family=family, backlog=128)
        except OSError as error:
            raise LocalError(f"cannot listen at {self.host}:{self.port}: {error.strerror or error}") from None
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._accepting.cancel()
        with suppress(asyncio.CancelledError):
            await self._accepting
        self._socket.close()
        self._closing = True
        code, text = self._farewell
        await asyncio.gather(*(c.channel.bye(code, text) for c in list(self._connections.values())))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connected(self) -> frozenset[bytes]:
        """Ids of the nodes that are connected."""
        return frozenset(self._connections)

    @property
    def _free(self) -> list[bytes]:
        """Nodes that owe no answer: who still trains for a round that is over would only hold up the next one."""
        return [party for party, connection in self._connections.items() if not connection.open]

    def stop(self) -> None:
        """End `run` soon: the running round is aborted and recorded; one that is stalled is kept for the next start."""
        self._stopping = True
        self._changed.set()

    # ---- rounds

    def prepare(
        self,
        arrays: Mapping[str, NDArray[Any]],
        *,
        task: Task,
        clip: float | None = None,
        max_weight: int = 1,
        plan: DistributedPlan | None = None,
        committee: oneshot.Committee | None = None,
        clients: int | None = None,
        min_clients: int | None = None,
        bits: int = 16,
        **aggregation: Any,
    ) -> Training:
        """What is to be trained, and by whom, with everything checked that can be before any node is there; nothing is
        sent or written, and the server need not listen.

        Args:
            arrays: the first model. What the ledger already has of training on it is taken over, so that a server that
                was stopped is started again with the same model.
            task: an update task.
            clip, max_weight, bits: of the encoding, see `Task.encoding`; clip must be given unless there is a plan.
            plan: noise that the nodes add themselves, for as many rounds as the plan says; every update then counts
                once.
            committee: one-shot rounds: who holds the shares of the nodes' keys; every node's policy must name it. Its
                members are nodes like the others, and asked in every round. None: masks.
            clients: most nodes per round; None: the whole roster.
            min_clients: least number of connected nodes with which a round is begun; None: the fewest with which one
                can be completed.
            aggregation: further arguments of `RoundSpec.secure_sum` (protocol, adversary, corrupt, ...), or of
                `privcomp.integrations.committee.one_shot` (adversary, corrupt, hybrid, ...).

        Raises:
            LocalError: the parameters do not fit together, or a sum that the ledger names cannot be read.
        """
        if task.kind != "update":
            raise ParameterError("training needs a task of kind 'update'")
        most = len(self._roster) if clients is None else clients
        if not 3 <= most <= len(self._roster):
            raise ParameterError(f"clients = {most}; 3..{len(self._roster)} (the roster) are possible")
        for name, array in arrays.items():
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise ParameterError(f"array {name!r} of the model has NaN or infinity")
        model, known = replay(self.home.ledger, task, arrays)
        encoding = _encoding(task, model, plan, most, clip=clip, max_weight=max_weight, bits=bits)
        if committee is None:
            spec = RoundSpec.secure_sum(encoding, task, **aggregation)
        else:
            spec = self._one_shot(encoding, task, committee, most, aggregation)
        least = _fewest(spec.aggregation) if min_clients is None else min_clients
        _check_least(spec.aggregation, least)
        if not 3 <= least <= most:
            raise ParameterError(f"min_clients = {least}; 3..{most} (clients) are possible")
        spec.aggregation.to_bytes()  # ParameterError where an announcement has no room for it
        return Training(task, spec, model, known, least, most)

    async def run(
        self,
        arrays: Mapping[str, NDArray[Any]],
        *,
        rounds: int,
        wait: float = 300.0,
        gather: float = 5.0,
        deadlines: Deadlines | None = None,
        executor: Executor | None = None,
        save: Callable[[Arrays], None] | None = None,
        report: Callable[[RoundReport], None] | None = None,
        **options: Any,
    ) -> Arrays:
        """`train` what `prepare` makes of the arrays and the other arguments, which are its.

        Returns:
            The last model.

        Raises:
            LocalError: see `prepare` and `train`.
        """
        return await self.train(
            self.prepare(arrays, **options),
            rounds=rounds,
            wait=wait,
            gather=gather,
            deadlines=deadlines,
            executor=executor,
            save=save,
            report=report,
        )

    async def train(
        self,
        training: Training,
        *,
        rounds: int,
        wait: float = 300.0,
        gather: float = 5.0,
        deadlines: Deadlines | None = None,
        executor: Executor | None = None,
        save: Callable[[Arrays], None] | None = None,
        report: Callable[[RoundReport], None] | None = None,
    ) -> Arrays:
        """Train: rounds on a model, one after another.

        A round that too few nodes take part in is aborted, recorded, and the next one begins on the same model. One
        that stalls when its survivors are fixed is asked to its end first, by the next rounds or after a restart.

        Args:
            training: from `prepare`.
            rounds: number of rounds, aborted ones included.
            wait: seconds to wait for the least number of nodes.
            gather: seconds to wait for more, up to the most, before the first round.
            deadlines: seconds per stage.
            executor: runs the unmasking; None: threads.
            save: called with every new model, in a thread, before the next round.
            report: called after every round.

        Returns:
            The last model.

        Raises:
            LocalError: too few nodes came in time.
        """
        task, spec, model = training.task, training.spec, training.model
        least, most = training.least, training.most
        if training.known:
            _log.info("the ledger has %d rounds of training on this model; going on from there", training.known)
            await self._saved(save, model)
        home = self.home
        driver = Rounds(
            home.ledger, home.session, self._roster, deadlines=deadlines, executor=executor, folder=home.folder
        )
        self._driver = driver
        with ThreadPoolExecutor(1, "privcomp-round") as worker:
            for attempt in range(rounds):
                await self._gathered(
                    *self._wanted(driver, spec, task.request(model), least, most), wait, gather if attempt == 0 else 0.0
                )
                if self._stopping:
                    break
                following = await self._round(driver, worker, spec, task, model, most, report)
                if following is None:
                    continue
                same = task.request(following) == task.request(model)
                model = following
                await self._saved(save, model)
                if same:
                    _log.warning("the model did not change in this round; a node answers once per model: training ends")
                    break
        if driver.stalled is not None:
            _log.warning("round %d is still not finished; start the server again with this model", driver.number)
        elif not self._stopping:
            self._farewell = (FINISHED, "the training is over")
        return model

    def _one_shot(
        self, encoding: Encoding, task: Task, committee: oneshot.Committee, most: int, options: Mapping[str, Any]
    ) -> RoundSpec:
        if not isinstance(encoding, FixedPoint):
            raise ParameterError("one-shot rounds take no plan of noise; leave out the plan, or the committee")
        if committee.size > most:
            raise ParameterError(
                f"clients = {most}, but the committee has {committee.size} members, who are among them"
            )
        for party, public in committee.members:
            if party not in self._roster or self._roster.public(party) != public:
                raise ParameterError(f"the committee's member {party!r}, with its key, is not in this server's roster")
        return one_shot(encoding, task, committee, self._roster, **options)

    async def _saved(self, save: Callable[[Arrays], None] | None, model: Arrays) -> None:
        if save is not None:
            await asyncio.to_thread(save, model)

    async def _round(
        self,
        driver: Rounds,
        worker: ThreadPoolExecutor,
        spec: RoundSpec,
        task: Task,
        model: Arrays,
        most: int,
        report: Callable[[RoundReport], None] | None,
    ) -> Arrays | None:
        """One attempt at a round: the next model, or None."""
        request, stalled = task.request(model), driver.stalled
        if stalled is not None and stalled.announce.model_hash == sha256(request).digest():
            _log.info("round %d is finished first", stalled.announce.round)
            spec = stalled.spec
        self._spec = spec
        members = _members(spec.aggregation)
        # Members first: without them nothing is opened. Of the others those who were asked longest ago.
        parties = sorted(self._free, key=lambda party: (party not in members, self._asked.get(party, -1), party))[:most]
        self._asked.update(dict.fromkeys(parties, driver.number + 1))
        self._refused: dict[bytes, str] = {}
        start, before = time.monotonic(), self._bytes()
        outcome, reason, following, result = COMPLETE, "", None, None
        metrics: dict[str, float] = {}
        running = self._loop.run_in_executor(worker, driver.run, spec, task.purpose, request, parties, self._exchange)
        try:
            try:
                result = await asyncio.shield(running)
            except asyncio.CancelledError:
                self.stop()  # the thread needs this loop to come to its end
                await asyncio.wait([running])
                raise
            # A round that stalled before a restart has its own task: what was summed is read as what was asked.
            following, metrics = (spec.task or task).result(model, result.decoded, spec.encoding)
        except RoundStalled as error:
            outcome, reason = "stalled", error.message
        except RemoteError as error:
            outcome, reason = "aborted" if driver.stalled is None else "stalled", str(error)
        if outcome != COMPLETE:
            _log.warning("round %d %s: %s", driver.number, outcome, reason)
        if report is not None:
            up, down = (after - b for after, b in zip(self._bytes(), before, strict=True))
            decoded = result.decoded if result is not None else None
            report(
                RoundReport(
                    round=driver.number,
                    outcome=outcome,
                    reason=reason,
                    asked=len(parties),
                    survivors=len(result.aggregate.survivors) if result is not None else 0,
                    weight=decoded.total_weight if decoded is not None else 0,
                    clipped=decoded.clipped if decoded is not None else 0,
                    bound=_error(decoded) if decoded is not None else 0.0,
                    epsilon=self._epsilon(),
                    metrics=metrics,
                    refused=dict(self._refused),
                    seconds=time.monotonic() - start,
                    bytes_up=up,
                    bytes_down=down,
                )
            )
        return following

    def _epsilon(self) -> float:
        spent = PrivacySpent.read(self.home.ledger.newest_extra(PRIVACY)).spent
        return max((each.epsilon for each in spent), default=0.0)

    def _bytes(self) -> tuple[int, int]:
        channels = [connection.channel for connection in self._connections.values()]
        return (
            self._traffic[0] + sum(channel.received for channel in channels),
            self._traffic[1] + sum(channel.sent for channel in channels),
        )

    @staticmethod
    def _wanted(
        driver: Rounds, spec: RoundSpec, request: bytes, least: int, most: int
    ) -> tuple[int, int, frozenset[bytes], int]:
        """For whom the next attempt waits: least and most nodes, members of the committee, and how many of them."""
        stalled, params = driver.stalled, spec.aggregation
        if stalled is not None and stalled.announce.model_hash == sha256(request).digest():
            params = stalled.spec.aggregation
            if isinstance(params, oneshot.Params):
                # Clients have done their part; of the members as many are spared as ever.
                asked = frozenset(stalled.requests())
                needed = max(1, len(asked) - (params.committee.size - params.committee.needed))
                return needed, needed, asked, needed
        members = _members(params)
        return least, most, members, 0 if isinstance(params, Params) else params.committee.needed

    async def _gathered(
        self, least: int, most: int, members: frozenset[bytes], needed: int, wait: float, gather: float
    ) -> None:
        """Wait for enough nodes, and for enough of the members of a committee."""
        start, enough, said = time.monotonic(), None, False
        while not self._stopping:
            free, now = self._free, time.monotonic() - start
            here, voting = len(free), len(members.intersection(free))
            enough = None if here < least or voting < needed else now if enough is None else enough
            if (here >= most and voting == len(members)) or (enough is not None and now >= enough + gather):
                return
            if enough is None and now >= wait:
                missing = f", and {voting} members of the committee, of {needed}" if voting < needed else ""
                raise LocalError(
                    f"{here} nodes are connected and free after {wait:.0f} s, {least} are needed{missing}: start the "
                    "others, or lower --min-clients"
                )
            if enough is None and not said:
                said = True
                _log.info(
                    "waiting for nodes: %d of at least %d are connected%s",
                    here,
                    least,
                    f", {voting} of at least {needed} members of the committee" if members else "",
                )
            await self._wait((wait if enough is None else enough + gather) - now)

    async def _wait(self, seconds: float) -> None:
        """Wait until something changes."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()

    # ---- the exchange, which the driver calls in its own thread

    def _exchange(
        self, name: str, messages: Mapping[bytes, bytes], seconds: float
    ) -> Iterator[tuple[bytes, Iterable[bytes]]]:
        stage = self._on_loop(self._begin(name, messages, seconds))
        try:
            while batch := self._on_loop(self._next(stage)):
                for party, data in batch:
                    yield party, (data,)
                    if self._driver is not None and party in self._driver.wrong:
                        self._on_loop(self._dismiss(stage, party))
        finally:
            self._on_loop(self._end(stage))

    def _on_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self, name: str, messages: Mapping[bytes, bytes], seconds: float) -> _Stage:
        if self._spec is None or self._driver is None:
            raise LocalError("no round is running")
        params, stalled, neighbours = self._spec.aggregation, self._driver.stalled, 0
        again: Outbox | None = None
        if isinstance(params, oneshot.Params):
            # A node that was restarted since it accepted its shares has lost them: it is given them again.
            again = stalled.requests() if stalled is not None else None
        elif stalled is not None:
            neighbours = stalled.secagg.directory.thresholds.neighbours
        elif name == "share":  # everybody who is in the key list is asked
            neighbours = params.thresholds(len(messages)).neighbours
        self._number += 1
        if name == "accept":
            self._delivered = self._number
        stage = _Stage(
            name,
            self._number,
            messages,
            _answer_limits(params, name, neighbours),
            time.monotonic() + seconds,
            set(messages),
            self._delivered,
            again,
        )
        while not self._queue.empty():
            self._queue.get_nowait()
        self._stage = stage
        now = time.monotonic()
        for party in messages:
            if party in self._connections:
                self._ask(self._connections[party], stage)
            else:
                self._lost[party] = now
        return stage

    def _ask(self, connection: _Connection, stage: _Stage) -> None:
        """Send the stage's request to a node, in the background."""
        connection.open[stage.number] = list(stage.limit)
        number, messages = NUMBER.pack(stage.number), stage.messages
        if stage.again is not None and (stage.delivered == 0 or stage.delivered != connection.holds):
            messages = stage.again
        # In parts: whole messages would be one copy of the model per node, for as long as the slowest one reads.
        parts = messages.parts(connection.party) if isinstance(messages, Outbox) else (messages[connection.party],)

        async def send() -> None:
            try:
                await connection.channel.write(REQUEST, number, *parts)
            except OSError as error:
                _log.info("%s: the connection is lost: %s", shown(connection.party), error)
                connection.channel.abort()

        self._spawn(send())

    async def _next(self, stage: _Stage) -> list[tuple[bytes, bytes]]:
        """The next messages of the nodes, at least one; empty at the end of the stage."""
        while True:
            batch: list[tuple[bytes, bytes]] = []
            while not self._queue.empty():
                number, party, data = self._queue.get_nowait()
                if number == stage.number:
                    batch.append((party, data))
            if batch:
                return batch
            if self._stopping:
                raise RoundAborted(None, stage.name, "the server was stopped by its operator")
            now, grace = time.monotonic(), self.limits.grace
            given_up = {p for p in stage.pending if p not in self._connections and now >= self._lost[p] + grace}
            if now >= stage.until or not stage.pending - given_up:
                return []
            gone = [self._lost[p] + grace for p in stage.pending - given_up if p not in self._connections]
            await self._wait(min([stage.until, *gone]) - now)

    async def _dismiss(self, stage: _Stage, party: bytes) -> None:
        """Wait no longer for a node that sent something wrong, nor read what else it sends; it may connect again."""
        stage.pending.discard(party)
        connection = self._connections.get(party)
        if connection is not None and stage.number in connection.open:
            self._release(connection)
            connection.channel.abort()

    async def _end(self, stage: _Stage) -> None:
        self._stage = None
        self._refused.update(stage.refused)
        for connection in self._connections.values():
            self._release(connection)

    # ---- connections

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self) -> None:
        """Always, so that a flood keeps nobody out who greets before it has used up the places."""
        while True:
            try:
                accepted, address = await self._loop.sock_accept(self._socket)
            except OSError as error:  # no file descriptors are left, say
                _log.error("no connection can be accepted: %s", error)
                await asyncio.sleep(1)
                continue
            self._make_room(address[0])
            task = self._spawn(self._connection(accepted, address))
            self._others[task] = address[0]
            task.add_done_callback(lambda task: self._others.pop(task, None))
            await asyncio.sleep(0)  # sock_accept need not wait: the others have their turn

    def _make_room(self, source: str) -> None:
        """Drop the oldest connection that is no node's: of this address if it has its share, else of all."""
        same = [task for task, address in self._others.items() if address == source]
        if len(same) >= max(self._most // 2, len(self._roster)):
            oldest = same[0]
        elif len(self._others) >= self._most:
            oldest = next(iter(self._others))
        else:
            return
        _log.debug("too many connections without a greeting: the oldest of %s is dropped", self._others.pop(oldest))
        oldest.cancel()

    async def _connection(self, accepted: socket.socket, source: tuple[Any, ...]) -> None:
        """One connection, from the handshake to its end."""
        address = f"{source[0]}:{source[1]}"
        reader = asyncio.StreamReader(CHUNK, self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self.limits.hello,
                ssl_shutdown_timeout=self.limits.hello,
            )
        except OSError as error:
            _log.warning("%s: no TLS with a certificate of the roster: %s", address, explained(error))
            accepted.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        channel, party = Channel(reader, writer, b"", self.limits, None), None
        try:
            party = tls.peer_id(certificate(writer), self._roster)
            channel = Channel(reader, writer, party, self.limits, self._tap)
            await self._greet(party, channel)
            await self._serve(party, channel, address)
        except RemoteError as error:
            _log.warning("%s: turned away: %s", address, error)
            await channel.bye(TURNED_AWAY, error.message)
        except OSError as error:
            if not self._closing:
                _log.info("%s: the connection is lost: %s", shown(party) if party else address, explained(error))
        finally:
            channel.abort()
            self._traffic[0] += channel.received
            self._traffic[1] += channel.sent

    async def _greet(self, party: bytes, channel: Channel) -> None:
        try:
            async with asyncio.timeout(self.limits.hello):
                _, body = await channel.read({HELLO: MAX_NOTE}, self.limits.hello)
        except TimeoutError:
            raise TimeoutError(f"no greeting in {self.limits.hello:.0f} s") from None
        head = greeted(body, party, "node")
        await channel.write(WELCOME, greeting(self.home.ledger.head))
        known = {genesis(self.home.ledger.public), *(header.hash for header in self.home.ledger.headers)}
        if head != bytes(32) and head not in known:
            _log.warning(
                "%s follows a ledger head that this ledger never had: it will sit out until its operator has settled "
                "which ledger is right",
                shown(party),
            )

    async def _serve(self, party: bytes, channel: Channel, address: str) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task of its own")
        connection, older = _Connection(party, channel, task), self._connections.get(party)
        self._connections[party] = connection
        self._others.pop(task, None)
        if older is not None:
            _log.warning(
                "%s connected again from %s, with the same identity: this connection counts", shown(party), address
            )
            self._release(older)
            self._others[older.task] = address.rpartition(":")[0]  # one place per node; who replaces it answers for it
            self._spawn(older.channel.bye(REPLACED, "another process connected with this node's identity"))
        else:
            _log.info("%s connected from %s", shown(party), address)
        if self._stage is not None and party in self._stage.pending:
            self._ask(connection, self._stage)
        self._changed.set()
        pings = self._spawn(pinging(channel, PING, self.limits.ping))
        try:
            while True:
                await self._frame(connection)
        finally:
            pings.cancel()
            self._release(connection)
            if self._connections.get(party) is connection:
                del self._connections[party]
                self._lost[party] = time.monotonic()
            self._changed.set()

    async def _frame(self, connection: _Connection) -> None:
        """Take one frame of a node."""
        channel, party, limits = connection.channel, connection.party, self.limits

        def allowed() -> dict[int, int]:
            answer = {ANSWER: 4 + max(most for most, _ in connection.open.values())} if connection.open else {}
            return {PONG: 0, DONE: 4, REFUSED: 4 + MAX_NOTE, **answer}

        held, start = connection.slot, time.monotonic()
        kind, size = await channel.header(allowed, limits.stall if held else limits.idle)
        if kind == ANSWER:
            await self._reserve(connection)
        body = await channel.body(size)
        if held and connection.slot:  # bytes count, not frames: small ones would hold the place for ever
            earned = size / limits.rate if kind == ANSWER else 0.0
            connection.behind = max(0.0, connection.behind + time.monotonic() - start - earned)
            if connection.behind > limits.stall:
                raise TimeoutError(f"the upload was {limits.stall:.0f} s slower than {limits.rate} bytes per second")
        if self._connections.get(party) is not connection:
            raise ConnectionResetError("a newer connection took its place")
        if kind == PONG:
            return
        if len(body) < 4:
            raise RemoteError(party, "tcp", "a frame without its number")
        number, stage = NUMBER.unpack_from(body)[0], self._stage
        if number not in connection.open:
            raise RemoteError(party, "tcp", "an answer to nothing that was asked")
        if kind == ANSWER:
            budget = connection.open[number]
            budget[1] -= size
            if budget[1] < 0:
                raise RemoteError(party, "tcp", "more bytes than all answers to this request can have")
            if stage is not None and number == stage.number and party in stage.pending:
                await self._queue.put((number, party, body[4:]))
                self._changed.set()
            return
        connection.open = {n: budget for n, budget in connection.open.items() if n > number}
        self._release(connection)
        self._changed.set()
        if stage is None or number != stage.number:
            return
        if kind == REFUSED:
            why = "".join(c if c.isprintable() else "?" for c in body[4:].decode("ascii", "replace"))
            stage.refused[party] = why.partition(":")[0]
            _log.warning("%s refuses stage %r: %s", shown(party), stage.name, why)
        elif number == self._delivered:
            connection.holds = number
        stage.pending.discard(party)

    async def _reserve(self, connection: _Connection) -> None:
        """A place among the uploads that are read at the same time; until then nothing more is read from this node."""
        stage = self._stage
        if connection.slot or stage is None or stage.name not in TRAINING_STAGES:
            return
        if stage.number not in connection.open or connection.party not in stage.pending:
            return
        await self._slots.acquire()
        connection.slot, connection.behind = True, 0.0
        if self._stage is not stage:  # over while it waited
            self._release(connection)

    def _release(self, connection: _Connection) -> None:
        if connection.slot:
            connection.slot = False
            self._slots.release()


def replay(ledger: Ledger, task: Task, arrays: Mapping[str, NDArray[Any]]) -> tuple[Arrays, int]:
    """Go on from a model through all complete training rounds that the ledger has on it, one after another.

    Args:
        ledger: whose artefacts, if any, lie beside it.
        task: the training task.
        arrays: the first model.

    Returns:
        The last model, and the number of rounds.

    Raises:
        LedgerError, ParameterError: the ledger or an artefact cannot be read.
    """
    done = {r.model_hash: r for r in ledger.records() if r.outcome == COMPLETE and r.purpose == task.purpose}
    model, count = {name: np.array(array) for name, array in arrays.items()}, 0
    while done and (record := done.pop(sha256(task.request(model)).digest(), None)) is not None:
        spec = RoundSpec.of_bytes(record.params)
        if spec.task is None:
            break
        data = record.aggregate
        if data is None and record.artefact is not None and ledger.path is not None:
            try:
                data = (ledger.path.parent / record.artefact).read_bytes()
            except OSError as error:
                raise LocalError(f"the ledger's file {record.artefact} cannot be read: {error.strerror}") from None
        if data is None or record.digest_of(data) != record.aggregate_digest:
            raise LocalError(f"the sum of round {record.round} is not the one that the ledger names; restore it")
        total = np.frombuffer(data, dtype="<i8").astype(np.int64)
        decoded = spec.decode(total, len(record.survivors), record.round_digest)
        model, _ = spec.task.result(model, decoded, spec.encoding)
        count += 1
    return model, count


def _encoding(
    task: Task,
    model: Arrays,
    plan: DistributedPlan | None,
    clients: int,
    *,
    clip: float | None,
    max_weight: int,
    bits: int,
) -> Encoding:
    """The encoding of the rounds: the plan, if there is one for this model and so many nodes.

    Raises:
        ParameterError: neither a plan nor a clip, or both; or a plan for another model or number of nodes.
    """
    if plan is None:
        if clip is None:
            raise ParameterError("rounds without a plan need a clip")
        return task.encoding(model, clients=clients, clip=clip, max_weight=max_weight, bits=bits)
    entries = task.entries(model)
    if clip is not None:
        raise ParameterError("a plan has its own clip, of the norm; leave `clip` out")
    if (plan.entries, plan.clients) != (entries, clients):
        raise ParameterError(
            f"the plan is for {plan.entries} entries of {plan.clients} nodes; this model has {entries}, and up to "
            f"{clients} nodes take part"
        )
    return plan


def _error(decoded: Decoded | PrivateMean) -> float:
    return decoded.error_std if isinstance(decoded, PrivateMean) else decoded.quantisation_bound


def _members(params: Params | oneshot.Params) -> frozenset[bytes]:
    """The members of the round's committee; none where it has none."""
    return frozenset() if isinstance(params, Params) else frozenset(params.committee.ids)


def _fewest(params: Params | oneshot.Params) -> int:
    """The fewest nodes with which a round can be completed, if none is lost."""
    if isinstance(params, oneshot.Params):
        return max(3, params.survivors_min)
    for n in range(params.honest_survivors + params.corrupt, params.clients):
        with suppress(ParameterError):
            params.thresholds(n)
            return n
    return params.clients


def _check_least(params: Params | oneshot.Params, least: int) -> None:
    """Refuse to begin rounds with fewer nodes than one can be completed with.

    Raises:
        ParameterError: they are fewer.
    """
    if isinstance(params, Params):
        params.thresholds(least)
    elif least < params.survivors_min:
        raise ParameterError(
            f"min_clients = {least}, but a sum needs {params.survivors_min} nodes: lower c or ask more nodes"
        )


def _answer_limits(params: Params | oneshot.Params, stage: str, neighbours: int) -> tuple[int, int]:
    """(most bytes of one message of a node in a stage, most bytes of all of them)."""
    if isinstance(params, oneshot.Params):
        return _one_shot_limits(params, stage)
    if stage == "share":  # per neighbour: sealed shares, at most two KEM ciphertexts and a signed hash
        return (4096 + 4096 * neighbours,) * 2
    if stage == "unmask":  # per neighbour: one share with its signature
        return (4096 + 256 * neighbours,) * 2
    if stage != "mask":
        return (1 << 13,) * 2
    blocks = [s.packed_bytes(min(s.length, params.block_entries)) for s in params.segments]
    count = sum(-(-s.length // params.block_entries) for s in params.segments)
    end = 4096 + params.attachment_bytes + params.clients // 8
    return max(4096 + max(blocks), end), sum(s.packed_bytes(s.length) for s in params.segments) + 1024 * count + end


def _one_shot_limits(params: oneshot.Params, stage: str) -> tuple[int, int]:
    if stage == "upload":  # blocks of the ciphertext; then the key part: per member a box, a leaf, a KEM ciphertext
        sharing, members = params.sharing, params.committee.size
        block, whole = params.block(0)[2], (params.blocks - 1) * params.block(0)[2]
        boxes = sum(sharing.box_bytes(place) for place in range(members))
        end = 4096 + boxes + 2048 * members + sharing.test_bytes
        whole += params.block(params.blocks - 1)[2] + 1024 * params.blocks
        return max(4096 + block, end), whole + end
    accepted = 4096 + params.clients // 8
    if stage == "accept":  # one bit per client
        return (accepted,) * 2
    if stage in ("vote", "answer"):  # the sum of shares; a member that is given its shares again accepts them again
        answer = 4096 + 2 * params.sharing.rows
        return max(accepted, answer), accepted + answer
    return (1 << 13,) * 2
