"""A federation without a framework: one server and its nodes as processes, over TCP with mutual TLS 1.3.

    server -> node   WELCOME, REQUEST (number, message of the server), PING, BYE
    node -> server   HELLO, ANSWER (number, message of the client), DONE (number), REFUSED (number, why), PONG

A frame is its body's length (u32), its type (u8) and its body; the length is checked, against what this type may have
at this moment, before anything is read. A request has a number, so that answers to a stage that is closed are known as
late. A node that loses the connection connects again and gets the pending request again; its journal gives the same
answer. Who is at the other end says TLS (`privcomp.integrations.tls`), not a message.

The protocol itself is in `privcomp.rounds`; when a stage ends and what a stalled round needs is in
`privcomp.integrations.driver`, which runs in one thread here. What it has not taken yet waits in a short queue, and
then in the nodes: nobody is read from while the server is behind.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from privcomp.errors import LocalError, ParameterError, PrivcompError, RemoteError, RoundAborted
from privcomp.integrations import tls
from privcomp.integrations.driver import Deadlines, Rounds, RoundStalled
from privcomp.integrations.home import NodeHome, ServerHome
from privcomp.ledger import COMPLETE, Ledger
from privcomp.ledger.record import genesis
from privcomp.rounds import RoundSpec
from privcomp.rounds.task import Task
from privcomp.secagg.params import Params

__all__ = ["VERSION", "Limits", "RoundReport", "Server", "Update", "join", "replay"]

_log = logging.getLogger("privcomp.tcp")
_T = TypeVar("_T")

#: Version of the frames; both sides refuse another one.
VERSION: Final = 1
HELLO, ANSWER, DONE, REFUSED, PONG = range(1, 6)
WELCOME, REQUEST, PING, BYE = range(16, 20)
FINISHED, STOPPING, TURNED_AWAY, REPLACED = range(4)

_HEADER = struct.Struct("<IB")
_NUMBER = struct.Struct("<I")
_GREETING = struct.Struct("<12sI32s")
_MAGIC = b"privcomp-tcp"
_CHUNK = 1 << 16
_MAX_NOTE = 512

#: What a node tells the server about a refusal: the class and one of these, never what it saw.
_REASONS: Final = {
    "PolicyError": "the node's policy does not allow this",
    "JournalError": "the node's journal does not allow another answer",
    "LedgerError": "the ledger is not the one that the node follows",
    "EncodingError": "the node's update cannot be encoded",
    "StateError": "the node is not in this round or stage",
}

Arrays = dict[str, NDArray[Any]]
#: update(arrays) -> (new arrays, weight, metrics): what a node computes. The arrays are its own, it may change them.
Update = Callable[[Arrays], tuple[Mapping[str, NDArray[Any]], int, Mapping[str, float]]]
#: tap(id, "in" or "out", bytes): sees the plaintext of a connection, frame headers included; for transcripts.
Tap = Callable[[bytes, str, bytes], None]


@dataclass(frozen=True)
class Limits:
    """What one side grants the other.

    Args:
        connections: most connections at a time, handshakes included (server); None: twice the roster and 16.
        uploads: most masked vectors that are read at the same time (server).
        queue: most messages that wait for the server's round.
        message: most bytes of one message of the server (node); a model travels in one.
        hello: seconds for handshake and greeting.
        stall: seconds in which a transfer must get on.
        rate: least bytes per second of a message, on the average.
        ping: seconds between signs of life.
        idle: seconds without any, after which the connection is given up.
        grace: seconds in which a node that lost its connection in a stage is still waited for.
    """

    connections: int | None = None
    uploads: int = 16
    queue: int = 16
    message: int = 1 << 30
    hello: float = 10.0
    stall: float = 30.0
    rate: int = 1 << 14
    ping: float = 20.0
    idle: float = 120.0
    grace: float = 60.0


@dataclass(frozen=True)
class RoundReport:
    """What became of one attempt at a round.

    Attributes:
        round: its number in the session.
        outcome: "complete", "aborted" or "stalled".
        reason: why it is not complete.
        asked, survivors: number of nodes.
        weight, clipped, bound: total weight, clipped entries and quantisation bound of the mean; 0 without a result.
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
    metrics: Mapping[str, float]
    refused: Mapping[bytes, str]
    seconds: float
    bytes_up: int
    bytes_down: int


# ---- frames


class _Channel:
    """Frames over one connection.

    A server that is behind does not read, but gives signs of life: a `patient` side waits for it as long as it does.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        party: bytes,
        limits: Limits,
        tap: Tap | None,
        *,
        patient: bool = False,
    ) -> None:
        self._peer = tls.SERVER if patient else party
        self._patient = patient
        self._reader = reader
        self._writer = writer
        self._party = party
        self._limits = limits
        self._tap = tap
        self._lock = asyncio.Lock()
        self._heard = time.monotonic()
        self.received = 0
        self.sent = 0

    async def header(self, allowed: Callable[[], Mapping[int, int]], seconds: float) -> tuple[int, int]:
        """Type and body length of the next frame.

        Args:
            allowed: type -> most bytes of its body, asked for when the frame is there.
            seconds: how long to wait.

        Raises:
            RemoteError: a type or a length that is not allowed now.
            OSError: the connection is gone or silent.
        """
        size, kind = _HEADER.unpack(await self._exactly(_HEADER.size, seconds))
        most = allowed().get(kind)
        if most is None:
            raise RemoteError(self._peer, "tcp", f"a frame of type {kind}, which is not allowed here")
        if size > most:
            raise RemoteError(
                self._peer, "tcp", f"a frame of type {kind} with {size} bytes; at most {most} are allowed"
            )
        return kind, size

    async def body(self, size: int) -> bytes:
        """The body of a frame; OSError where it does not come in time."""
        return await self._exactly(size, self._limits.stall + size / self._limits.rate)

    async def read(self, allowed: Mapping[int, int], seconds: float) -> tuple[int, bytes]:
        """Header and body of the next frame; errors as for `header`."""
        kind, size = await self.header(lambda: allowed, seconds)
        return kind, await self.body(size)

    async def _exactly(self, size: int, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                data = await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the other side closed the connection") from None
        except TimeoutError:
            raise TimeoutError(f"nothing, or too little, came for {seconds:.0f} s") from None
        self.received += size
        self._heard = time.monotonic()
        if self._tap is not None:
            self._tap(self._party, "in", data)
        return data

    async def write(self, kind: int, *parts: bytes) -> None:
        """Send one frame. OSError where the other side does not take it; then the connection is of no use any more."""
        async with self._lock:
            await self._put(_HEADER.pack(sum(map(len, parts)), kind))
            for part in parts:
                view = memoryview(part)
                for start in range(0, len(part), _CHUNK):
                    await self._put(view[start : start + _CHUNK])

    async def _put(self, data: bytes | memoryview) -> None:
        if self._tap is not None:
            self._tap(self._party, "out", bytes(data))
        self.sent += len(data)
        self._writer.write(data)
        while True:
            try:
                async with asyncio.timeout(self._limits.stall):
                    return await self._writer.drain()
            except TimeoutError:
                if self._patient and time.monotonic() < self._heard + self._limits.idle:
                    continue
                self._writer.transport.abort()
                raise TimeoutError(f"the other side took nothing for {self._limits.stall:.0f} s") from None

    async def bye(self, code: int, text: str) -> None:
        """Say why, and close."""
        with suppress(OSError):
            await self.write(BYE, bytes([code]), text.encode()[:_MAX_NOTE])
        await self.close()

    async def close(self) -> None:
        """Close, sending what was written."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()


def _greeting(head: bytes) -> bytes:
    return _GREETING.pack(_MAGIC, VERSION, head)


def _greeted(body: bytes, who: bytes, what: str) -> bytes:
    """The ledger head in a greeting; RemoteError for another protocol or version (its rest may look different)."""
    if len(body) < 16 or body[:12] != _MAGIC:
        raise RemoteError(who, "tcp", f"this is no {what} of privcomp")
    version = int.from_bytes(body[12:16], "little")
    if version != VERSION:
        raise RemoteError(
            who,
            "tcp",
            f"the {what} speaks version {version} of the connection protocol, this side speaks {VERSION}: install the "
            "same release of privcomp on both",
        )
    if len(body) != _GREETING.size:
        raise RemoteError(who, "tcp", f"the greeting of this {what} is damaged")
    return body[16:]


# ---- server


@dataclass
class _Connection:
    """One node's connection.

    Attributes:
        open: request number -> [most bytes of an answer, bytes that are left for all], until it is answered.
        slot: whether it holds one of the places for uploads, and since when nothing came.
    """

    party: bytes
    channel: _Channel
    open: dict[int, list[int]] = field(default_factory=dict)
    slot: bool = False
    progress: float = 0.0


@dataclass
class _Stage:
    """The stage that the nodes are being asked for."""

    name: str
    number: int
    messages: Mapping[bytes, bytes]
    limit: tuple[int, int]
    until: float
    pending: set[bytes]
    refused: dict[bytes, str] = field(default_factory=dict)


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
        self._spec: RoundSpec | None = None
        self._traffic = [0, 0]
        self._farewell = (STOPPING, "the server was stopped; it may come back")

    async def __aenter__(self) -> Server:
        self._loop = asyncio.get_running_loop()
        self._stopping = self._closing = False
        self._changed = asyncio.Event()
        self._queue: asyncio.Queue[tuple[int, bytes, bytes]] = asyncio.Queue(self.limits.queue)
        self._slots = asyncio.Semaphore(self.limits.uploads)
        most = self.limits.connections
        self._places = asyncio.Semaphore(most if most is not None else 2 * len(self._roster) + 16)
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

    def stop(self) -> None:
        """End `run` soon: the running round is aborted and recorded; one that is stalled is kept for the next start."""
        self._stopping = True
        self._changed.set()

    # ---- rounds

    async def run(
        self,
        arrays: Mapping[str, NDArray[Any]],
        *,
        task: Task,
        rounds: int,
        clip: float,
        max_weight: int,
        clients: int | None = None,
        min_clients: int | None = None,
        bits: int = 16,
        wait: float = 300.0,
        gather: float = 5.0,
        deadlines: Deadlines | None = None,
        save: Callable[[Arrays], None] | None = None,
        report: Callable[[RoundReport], None] | None = None,
        **aggregation: Any,
    ) -> Arrays:
        """Train: rounds of `task` on a model, one after another.

        A round that too few nodes take part in is aborted, recorded, and the next one begins on the same model. One
        that stalls when its survivors are fixed is asked to its end first, by the next rounds or after a restart.

        Args:
            arrays: the first model. What the ledger already has of training on it is taken over, so that a server that
                was stopped is started again with the same model.
            task: an update task.
            rounds: number of rounds, aborted ones included.
            clip, max_weight, bits: of the encoding, see `Task.encoding`.
            clients: most nodes per round; None: the whole roster.
            min_clients: least number of connected nodes with which a round is begun; None: the fewest with which one
                can be completed.
            wait: seconds to wait for them.
            gather: seconds to wait for more, up to `clients`, before the first round.
            deadlines: seconds per stage.
            save: called with every new model, in a thread, before the next round.
            report: called after every round.
            aggregation: further arguments of `RoundSpec.secure_sum`: protocol, adversary, corrupt, ...

        Returns:
            The last model.

        Raises:
            LocalError: too few nodes came in time, or the parameters do not fit together.
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
        if known:
            _log.info("the ledger has %d rounds of training on this model; going on from there", known)
            await self._saved(save, model)
        encoding = task.encoding(model, clients=most, clip=clip, max_weight=max_weight, bits=bits)
        spec = RoundSpec.secure_sum(encoding, task, **aggregation)
        least = _fewest(spec.aggregation) if min_clients is None else min_clients
        spec.aggregation.thresholds(least)
        if not 3 <= least <= most:
            raise ParameterError(f"min_clients = {least}; 3..{most} (clients) are possible")
        driver = Rounds(self.home.ledger, self.home.session, self._roster, deadlines=deadlines, folder=self.home.folder)
        with ThreadPoolExecutor(1, "privcomp-round") as worker:
            for attempt in range(rounds):
                await self._gathered(least, most, wait, gather if attempt == 0 else 0.0)
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
        if not self._stopping:
            self._farewell = (FINISHED, "the training is over")
        return model

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
        if stalled is not None and stalled.secagg.context.announce.model_hash == sha256(request).digest():
            _log.info("round %d is finished first", stalled.secagg.context.announce.round)
            spec = stalled.spec
        self._spec = spec
        parties = sorted(self._connections, key=lambda party: (self._asked.get(party, -1), party))[:most]
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
            following, metrics = task.result(model, result.decoded, spec.encoding)
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
                    bound=decoded.quantisation_bound if decoded is not None else 0.0,
                    metrics=metrics,
                    refused=dict(self._refused),
                    seconds=time.monotonic() - start,
                    bytes_up=up,
                    bytes_down=down,
                )
            )
        return following

    def _bytes(self) -> tuple[int, int]:
        channels = [connection.channel for connection in self._connections.values()]
        return (
            self._traffic[0] + sum(channel.received for channel in channels),
            self._traffic[1] + sum(channel.sent for channel in channels),
        )

    async def _gathered(self, least: int, most: int, wait: float, gather: float) -> None:
        """Wait for enough nodes."""
        start, enough, said = time.monotonic(), None, False
        while not self._stopping:
            here, now = len(self._connections), time.monotonic() - start
            enough = None if here < least else now if enough is None else enough
            if here >= most or (enough is not None and now >= enough + gather):
                return
            if enough is None and now >= wait:
                raise LocalError(
                    f"{here} nodes are connected after {wait:.0f} s, {least} are needed: start the others, or lower "
                    "--min-clients"
                )
            if enough is None and not said:
                said = True
                _log.info("waiting for nodes: %d of at least %d are connected", here, least)
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
        finally:
            self._on_loop(self._end(stage))

    def _on_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self, name: str, messages: Mapping[bytes, bytes], seconds: float) -> _Stage:
        if self._spec is None:
            raise LocalError("no round is running")
        self._number += 1
        stage = _Stage(
            name,
            self._number,
            messages,
            _answer_limits(self._spec.aggregation, name),
            time.monotonic() + seconds,
            set(messages),
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
        number, message = _NUMBER.pack(stage.number), stage.messages[connection.party]

        async def send() -> None:
            try:
                await connection.channel.write(REQUEST, number, message)
            except OSError as error:
                _log.info("%s: the connection is lost: %s", _shown(connection.party), error)
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
        while True:
            await self._places.acquire()
            try:
                accepted, address = await self._loop.sock_accept(self._socket)
            except OSError as error:  # no file descriptors are left, say
                _log.error("no connection can be accepted: %s", error)
                self._places.release()
                await asyncio.sleep(1)
                continue
            task = self._spawn(self._connection(accepted, f"{address[0]}:{address[1]}"))
            task.add_done_callback(lambda _: self._places.release())

    async def _connection(self, accepted: socket.socket, address: str) -> None:
        """One connection, from the handshake to its end."""
        reader = asyncio.StreamReader(_CHUNK, self._loop)
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
            _log.warning("%s: no TLS with a certificate of the roster: %s", address, _tls_text(error))
            accepted.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        channel, party = _Channel(reader, writer, b"", self.limits, None), None
        try:
            party = tls.peer_id(_certificate(writer), self._roster)
            channel = _Channel(reader, writer, party, self.limits, self._tap)
            await self._greet(party, channel)
            await self._serve(party, channel, address)
        except RemoteError as error:
            _log.warning("%s: turned away: %s", address, error)
            await channel.bye(TURNED_AWAY, error.message)
        except OSError as error:
            if not self._closing:
                _log.info("%s: the connection is lost: %s", _shown(party) if party else address, _tls_text(error))
        finally:
            channel.abort()
            self._traffic[0] += channel.received
            self._traffic[1] += channel.sent

    async def _greet(self, party: bytes, channel: _Channel) -> None:
        _, body = await channel.read({HELLO: _MAX_NOTE}, self.limits.hello)
        head = _greeted(body, party, "node")
        await channel.write(WELCOME, _greeting(self.home.ledger.head))
        known = {genesis(self.home.ledger.public), *(header.hash for header in self.home.ledger.headers)}
        if head != bytes(32) and head not in known:
            _log.warning(
                "%s follows a ledger head that this ledger never had: it will sit out until its operator has settled "
                "which ledger is right",
                _shown(party),
            )

    async def _serve(self, party: bytes, channel: _Channel, address: str) -> None:
        connection, older = _Connection(party, channel), self._connections.get(party)
        self._connections[party] = connection
        if older is not None:
            _log.warning(
                "%s connected again from %s, with the same identity: this connection counts", _shown(party), address
            )
            self._release(older)
            self._spawn(older.channel.bye(REPLACED, "another process connected with this node's identity"))
        else:
            _log.info("%s connected from %s", _shown(party), address)
        if self._stage is not None and party in self._stage.pending:
            self._ask(connection, self._stage)
        self._changed.set()
        pings = self._spawn(_pinging(channel, PING, self.limits.ping))
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
            return {PONG: 0, DONE: 4, REFUSED: 4 + _MAX_NOTE, **answer}

        kind, size = await channel.header(allowed, limits.stall if connection.slot else limits.idle)
        if kind == ANSWER:
            await self._reserve(connection)
        elif connection.slot and time.monotonic() > connection.progress + limits.stall:
            raise TimeoutError(f"the upload did not get on for {limits.stall:.0f} s")
        body = await channel.body(size)
        if self._connections.get(party) is not connection:
            raise ConnectionResetError("a newer connection took its place")
        if kind == PONG:
            return
        if len(body) < 4:
            raise RemoteError(party, "tcp", "a frame without its number")
        number, stage = _NUMBER.unpack_from(body)[0], self._stage
        if number not in connection.open:
            raise RemoteError(party, "tcp", "an answer to nothing that was asked")
        if kind == ANSWER:
            connection.progress = time.monotonic()
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
        if stage is None or number != stage.number:
            return
        if kind == REFUSED:
            why = "".join(c if c.isprintable() else "?" for c in body[4:].decode("ascii", "replace"))
            stage.refused[party] = why.partition(":")[0]
            _log.warning("%s refuses stage %r: %s", _shown(party), stage.name, why)
        stage.pending.discard(party)
        self._changed.set()

    async def _reserve(self, connection: _Connection) -> None:
        """A place among the uploads that are read at the same time; until then nothing more is read from this node."""
        stage = self._stage
        if connection.slot or stage is None or stage.name != "mask" or stage.number not in connection.open:
            return
        await self._slots.acquire()
        connection.slot, connection.progress = True, time.monotonic()
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
        spec = RoundSpec.of_params(Params.from_bytes(record.params, max_bytes=1 << 16))
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
        decoded = spec.encoding.decode(total, len(record.survivors))
        model, _ = spec.task.result(model, decoded, spec.encoding)
        count += 1
    return model, count


def _fewest(params: Params) -> int:
    """The fewest nodes with which a round can be completed, if none is lost."""
    for n in range(params.honest_survivors + params.corrupt, params.clients):
        with suppress(ParameterError):
            params.thresholds(n)
            return n
    return params.clients


def _answer_limits(params: Params, stage: str) -> tuple[int, int]:
    """(most bytes of one message of a node in a stage, most bytes of all of them)."""
    n = params.clients
    if stage == "share":  # per neighbour: sealed shares, at most two KEM ciphertexts and a signed hash
        return (4096 + 4096 * n,) * 2
    if stage == "unmask":  # per neighbour: one share with its signature
        return (4096 + 256 * n,) * 2
    if stage != "mask":
        return (1 << 13,) * 2
    blocks = [s.packed_bytes(min(s.length, params.block_entries)) for s in params.segments]
    count = sum(-(-s.length // params.block_entries) for s in params.segments)
    end = 4096 + params.attachment_bytes + n // 8
    return max(4096 + max(blocks), end), sum(s.packed_bytes(s.length) for s in params.segments) + 1024 * count + end


# ---- node


class _Closed(Exception):
    """The server said goodbye."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Worker:
    """One thread for the node's role, which is not made for two. A daemon: a training that runs does not hold up the
    end of the process (the journal is consistent at every moment)."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="privcomp-node", daemon=True).start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run in the thread; a caller that is cancelled leaves it running, and the next call waits for it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def settle(result: _T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def job() -> None:
            result, failed = None, None
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 (handed over to the caller)
                failed = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, result, failed)

        self._jobs.put(job)
        return await future

    def close(self) -> None:
        """End the thread after its present job."""
        self._jobs.put(None)


async def join(
    home: NodeHome,
    host: str,
    port: int,
    update: Update,
    *,
    limits: Limits | None = None,
    patience: float | None = None,
    tap: Tap | None = None,
) -> str:
    """Take part in a server's rounds until it says that the training is over.

    A connection that is lost is made again, after 0.5 to 30 seconds. What this node refuses is logged here; the server
    learns the kind of the error only.

    Args:
        home: the node's folder, after `NodeHome.trust`.
        host, port: the server's.
        update: called with the model's arrays in every round that reaches stage 2, in a thread.
        limits: what the server is granted.
        patience: seconds without a server after which to give up; None: never.
        tap: sees the plaintext of the connection; for transcripts.

    Returns:
        The server's last words.

    Raises:
        LocalError: the folder has no roster or server, or patience is at its end.
        RemoteError: another server, another version, or the server turns this node away.
    """
    return await _Node(home, host, port, update, limits if limits is not None else Limits(), patience, tap).run()


class _Node:
    def __init__(
        self,
        home: NodeHome,
        host: str,
        port: int,
        update: Update,
        limits: Limits,
        patience: float | None,
        tap: Tap | None,
    ) -> None:
        if home.policy.ledger_key is None or not home.server_certificate.exists():
            raise LocalError(f"{home.folder} does not know its server: run `privcomp keys trust` first")
        self._home = home
        self._ledger_key: bytes = home.policy.ledger_key
        self._host, self._port = host, port
        self._updates = {"training": _local_update(update)}
        self._limits = limits
        self._patience = patience
        self._tap = tap
        self._tls = tls.client_context(home.tls_certificate, home.tls_key, home.server_certificate)
        self._role = home.client()
        self._request: tuple[int, bytes] | None = None
        self._secured = self._welcomed = False

    async def run(self) -> str:
        failures, unwelcome, since = 0, 0, time.monotonic()
        self._arrived = asyncio.Event()
        self._worker = _Worker()
        try:
            while True:
                self._secured = self._welcomed = False
                try:
                    await self._connect()
                except _Closed as closed:
                    if closed.code == FINISHED:
                        return str(closed)
                    if closed.code != STOPPING:
                        raise RemoteError(tls.SERVER, "tcp", f"the server turned this node away: {closed}") from None
                    problem = str(closed)
                except ssl.SSLCertVerificationError as error:
                    raise RemoteError(tls.SERVER, "tls", _untrusted(self._host, error)) from None
                except OSError as error:
                    problem = _tls_text(error)
                    # With TLS 1.3 a node whose certificate is refused learns it when it reads for the first time.
                    unwelcome = unwelcome + 1 if self._secured else 0
                if self._welcomed:
                    failures, unwelcome, since = 0, 0, time.monotonic()
                if unwelcome >= 4:
                    raise RemoteError(
                        tls.SERVER,
                        "tls",
                        f"{self._host}:{self._port} ends every connection before its welcome ({problem}): is this "
                        "node's certificate in its roster? Its log says more",
                    )
                if self._patience is not None and time.monotonic() - since > self._patience:
                    raise LocalError(f"no server at {self._host}:{self._port} for {self._patience:.0f} s: {problem}")
                delay = min(30.0, 0.5 * 2**failures) * (0.5 + secrets.randbelow(1 << 16) / (1 << 17))
                failures += 1
                _log.info("not connected to %s:%d (%s); again in %.1f s", self._host, self._port, problem, delay)
                await asyncio.sleep(delay)
        finally:
            self._worker.close()

    async def _connect(self) -> None:
        """One connection, until it is lost (OSError) or ended by the server (_Closed)."""
        async with asyncio.timeout(2 * self._limits.hello):
            reader, writer = await asyncio.open_connection(
                self._host,
                self._port,
                limit=_CHUNK,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.hello,
                ssl_shutdown_timeout=self._limits.hello,
            )
        self._secured = True
        channel = _Channel(reader, writer, self._home.id, self._limits, self._tap, patient=True)
        try:
            tls.check_server(_certificate(writer), self._ledger_key)
            chain = self._role.chain
            await channel.write(HELLO, _greeting(chain.head if chain is not None else bytes(32)))
            kind, body = await channel.read({WELCOME: _MAX_NOTE, BYE: 1 + _MAX_NOTE}, self._limits.hello)
            if kind == BYE:
                raise _farewell(body)
            _greeted(body, tls.SERVER, "server")
            self._welcomed = True
            _log.info("connected to %s:%d", self._host, self._port)
            self._request = None
            self._arrived.clear()
            tasks = [asyncio.create_task(self._listen(channel)), asyncio.create_task(self._answer(channel))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait(tasks[:1], timeout=1)  # the server's last words may still be on the way
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            # What the server said last counts more than the write that failed because of it.
            failures = [
                r for r in results if isinstance(r, BaseException) and not isinstance(r, asyncio.CancelledError)
            ]
            raise failures[0]
        finally:
            channel.abort()

    async def _listen(self, channel: _Channel) -> None:
        allowed = {REQUEST: 4 + self._limits.message, PING: 0, BYE: 1 + _MAX_NOTE}
        while True:
            kind, body = await channel.read(allowed, self._limits.idle)
            if kind == BYE:
                raise _farewell(body)
            if kind == PING:
                await channel.write(PONG)
            elif len(body) < 4:
                raise RemoteError(tls.SERVER, "tcp", "a request without its number")
            else:
                # A newer request makes older ones void: their stage is closed.
                self._request = _NUMBER.unpack_from(body)[0], body[4:]
                self._arrived.set()

    async def _answer(self, channel: _Channel) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._request is None:
                continue
            number, message = self._request
            packed = _NUMBER.pack(number)
            try:
                answers = iter(await self._worker.call(self._role.receive, message, self._updates))
                while not self._arrived.is_set():
                    answer = await self._worker.call(next, answers, None)
                    if answer is None:
                        await channel.write(DONE, packed)
                        break
                    await channel.write(ANSWER, packed, answer)
            except PrivcompError as error:
                kind = type(error).__name__
                _log.warning("refused: %s: %s", kind, error, exc_info=error.__cause__)
                reason = _REASONS.get(kind, "the node cannot answer")
                await channel.write(REFUSED, packed, f"{kind}: {reason}".encode())


def _local_update(update: Update) -> Callable[[bytes, RoundSpec], tuple[NDArray[np.float64], int]]:
    """The user's function as the role calls it."""

    def compute(model: bytes, spec: RoundSpec) -> tuple[NDArray[np.float64], int]:
        if spec.task is None:
            raise LocalError("the server announced a round without a task; this node does not know what to compute")
        arrays = spec.task.parse(model)
        try:
            result: Any = update({name: np.array(array) for name, array in arrays.items()})
        except PrivcompError:
            raise
        except Exception as error:  # the user's own code
            raise LocalError(f"the update function failed: {type(error).__name__}: {error}") from error
        if not isinstance(result, tuple) or len(result) != 3:
            raise LocalError(
                f"the update function returned a {type(result).__name__}; it must return (new arrays, weight, metrics)"
            )
        new, weight, metrics = result
        if not isinstance(new, Mapping) or not isinstance(metrics, Mapping):
            raise LocalError(
                f"the update function returned a {type(new).__name__} and metrics in a {type(metrics).__name__}; both "
                "must be mappings: name -> array, name -> number"
            )
        return spec.task.values(arrays, new, metrics, spec.encoding), weight

    return compute


# ---- helpers


async def _pinging(channel: _Channel, kind: int, seconds: float) -> None:
    with suppress(OSError):
        while True:
            await asyncio.sleep(seconds)
            await channel.write(kind)


def _farewell(body: bytes) -> _Closed:
    text = "".join(c if c.isprintable() else "?" for c in body[1:].decode("utf-8", "replace"))
    return _Closed(body[0] if body else STOPPING, text)


def _certificate(writer: asyncio.StreamWriter) -> bytes | None:
    shown = writer.get_extra_info("ssl_object")
    return shown.getpeercert(binary_form=True) if shown is not None else None


def _shown(party: bytes) -> str:
    return repr(party.decode("utf-8", "replace"))


def _tls_text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error) or type(error).__name__


def _untrusted(host: str, error: ssl.SSLCertVerificationError) -> str:
    if "ostname" in error.verify_message or "IP address" in error.verify_message:
        return (
            f"the server's certificate is not for {host!r} ({error.verify_message}); connect to a name that it has, or "
            "renew it with `privcomp keys server FOLDER --renew --host ...`"
        )
    return (
        f"the server at {host!r} is not the one that this node pins ({error.verify_message}); check the address, and "
        "with the operator whether its key changed"
    )
