"""A party of a computation on shares as a process: connections to its peers over mutual TLS 1.3, rounds, deadlines.

    party -> party   GREETING; EARLY while it waits for others to come; then per round: length u16, header, payload;
                     ALIVE while it waits; DONE at its end

The parties are equals: each connects to those before it in the list, and is connected to by those behind it. Who is
at the other end says TLS (`privcomp.integrations.tls`): the transport certificate has to be issued by the identity that
the configuration names for that party.

`privcomp.mpc.engine` says what a round sends and wants; here it is carried. A round is over when every peer's payload
is there and the kernel has everything that goes out: nothing piles up here, and what a peer sends ahead of time stays
in the socket. A header is checked before memory is taken for its payload.

Who does not come, dies, sends garbage or is silent is named, in the error here and in a notice to the others. A party
that waits gives signs of life, so that it is not taken for the one that is waited for.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from numbers import Real
from time import monotonic
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import numpy as np

from privcomp.codec import digest, lp
from privcomp.errors import CodecError, LocalError, ParameterError, PrivcompError, RemoteError, RoundAborted
from privcomp.integrations import tls
from privcomp.integrations.home import PartyHome
from privcomp.integrations.mpc_link import ALIVE, DONE, EARLY, Link, prefixed, readable, writable
from privcomp.integrations.tcp_frames import explained, shown
from privcomp.keys import Roster, check_id
from privcomp.mpc.engine import Cost, Party, Session
from privcomp.mpc.messages import FRAME_MAX, REASON_MAX, AbortNotice, Greeting, Nonces
from privcomp.mpc.protocols import PROTOCOLS, start
from privcomp.mpc.security import Adversary, check_demand

__all__ = [
    "Computation",
    "Connection",
    "Outcome",
    "Seat",
    "connect",
    "connect_insecure_tcp",
    "keep_memory",
    "run_party",
]

_log = logging.getLogger("privcomp.mpc")

T = TypeVar("T")
Program = Callable[[Any], Coroutine[Any, Any, T]]

_AGREEMENT: Final = "privcomp/mpc/agreement/v1"
_NONCE: Final = "privcomp/mpc/nonce/v1"
_TICKS: Final = 8  # of the clock, in a deadline, and more where that makes it slow: peers may have shorter deadlines
_TICK_MAX: Final = 1.0  # seconds
_SIGNS_MAX: Final = 1 << 14  # signs of life that a peer may give in a tick
_STRANGERS: Final = 128  # connections at a time that have not shown who they are
_ACCEPT_PAUSE: Final = 0.1  # seconds, after a connection could not be accepted
_BATCH: Final = 64  # reads before other connections have their turn
_NOTICE_SECONDS: Final = 1.0
_STOPPED: Final = "it was stopped by its operator"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


@dataclass(frozen=True)
class Seat:
    """Where a party sits.

    Args:
        id: 1..64 bytes.
        host, port: where it is reached by the parties behind it in the list.
        certificate: its identity certificate, PEM; empty only for `connect_insecure_tcp`.
    """

    id: bytes
    host: str
    port: int
    certificate: bytes = b""

    def __post_init__(self) -> None:
        check_id(self.id)
        if not 0 <= self.port < 1 << 16:
            raise ParameterError(f"the port of party {shown(self.id)} is {self.port}; 0..65535 are possible")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


@dataclass(frozen=True)
class Computation:
    """What all parties have to agree on, and how long they wait for each other.

    Args:
        protocol: a name in `privcomp.mpc.protocols.PROTOCOLS`.
        seats: of all parties, in the order of their indices.
        program: stands for the program and its public arguments; parties with another one are refused.
        deadline: seconds. Somebody who sends nothing for half of it while waited for is given up: the longest
            computation between two messages has to be shorter. A round may take all of it, and `rate` more.
        wait: seconds until all are connected.
        rate: bytes per second; a round may take as much longer as its largest payload takes at this rate, and so may
            those who wait for somebody to whom others send it.
        adversary, corruptions: what the protocol has to stand against, at least. None: whatever it is made for.
        insecure_dealer: this party takes its random numbers from the last one, which can then know all inputs;
            protocols that need such a dealer are refused without it.

    Raises:
        ParameterError: an unknown protocol, an id twice, times that are not positive, an adversary or a number of
            corruptions that is none.
    """

    protocol: str
    seats: tuple[Seat, ...]
    program: bytes
    deadline: float = 60.0
    wait: float = 60.0
    rate: int = 1 << 17
    adversary: Adversary | None = None
    corruptions: int | None = None
    insecure_dealer: bool = False

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ParameterError(f"protocol {self.protocol!r} is unknown; there are {sorted(PROTOCOLS)}")
        for name, value in (("deadline", self.deadline), ("wait", self.wait), ("rate", self.rate)):
            if not (_is_number(value) and 0 < value < float("inf")):
                raise ParameterError(f"{name} is {value!r}; a positive number is needed")
        check_demand(self.adversary, self.corruptions)
        self.session(bytes(16))

    def session(self, nonce: bytes) -> Session:
        """The session of these parties with a nonce."""
        return Session(self.protocol, tuple(seat.id for seat in self.seats), self.program, nonce)

    def index(self, party: bytes) -> int:
        """The index of a party.

        Raises:
            ParameterError: it is none of them.
        """
        for index, seat in enumerate(self.seats):
            if seat.id == party:
                return index
        raise ParameterError(f"{shown(party)} is none of the parties {', '.join(shown(s.id) for s in self.seats)}")

    @property
    def agreement(self) -> bytes:
        """32 bytes that stand for what has to be the same everywhere."""
        return digest(_AGREEMENT, self.protocol.encode(), lp(*(seat.id for seat in self.seats)), self.program)


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of a computation at one party.

    Attributes:
        result: what the program returned.
        cost: what this party sent.
        seconds: from the first round to the result.
    """

    result: T
    cost: Cost
    seconds: float


def run_party(
    computation: Computation,
    home: PartyHome,
    program: Program[T],
    *,
    rng: Callable[[int], bytes] = os.urandom,
) -> Outcome[T]:
    """Connect, run a program, close; in a thread of its own where an event loop runs already, as in a notebook.

    Ctrl-C ends it in both cases: the other parties are told, and nothing more is opened.

    Args:
        computation: the same at every party.
        home: this party's folder.
        program: called with the backend; the same at every party.
        rng: gives fresh random bytes.

    Raises:
        as `connect` and `Connection.run`.
    """

    async def work() -> Outcome[T]:
        async with connect(computation, home, rng=rng) as connection:
            return await connection.run(program, rng=rng)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    found: list[Outcome[T] | BaseException] = []
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Outcome[T]]]] = []
    stopped, over = threading.Event(), threading.Event()

    async def announced() -> Outcome[T]:
        task = asyncio.create_task(work())
        begun.append((asyncio.get_running_loop(), task))
        if stopped.is_set():
            task.cancel()
        return await task

    def apart() -> None:
        try:
            found.append(asyncio.run(announced()))
        except BaseException as error:  # noqa: BLE001 (handed over to the caller)
            found.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=apart, name="privcomp-mpc", daemon=True)
    thread.start()
    try:
        over.wait()  # Thread.join takes a thread for ended where a signal ended the waiting
    except BaseException:
        # Ctrl-C reaches the caller's thread alone. Nothing is sent or opened in the other one from here on.
        stopped.set()
        for loop, task in begun:
            with suppress(RuntimeError):  # it has ended at this moment
                loop.call_soon_threadsafe(task.cancel)
        over.wait()
        raise
    finally:
        thread.join()
    (outcome,) = found
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def keep_memory() -> None:
    """Let this process keep memory that arrays have given back, for the next ones.

    The C library returns large pieces to the system at once; getting them again page by page costs as much as the
    products in them. For processes that are a party and nothing else; it changes nothing where the C library is not
    GNU's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1), (_M_TOP_PAD, 1 << 24)):
            mallopt(option, value)


# ---- set-up


@asynccontextmanager
async def connect(
    computation: Computation,
    home: PartyHome,
    session: Session | None = None,
    *,
    listener: socket.socket | None = None,
    rng: Callable[[int], bytes] = os.urandom,
) -> AsyncIterator[Connection]:
    """Connections to all peers over mutual TLS, for one run of a program.

    Args:
        computation: the same at every party.
        home: this party's folder; its id says which party this is.
        session: agreed on otherwise; None: all parties contribute to a fresh nonce.
        listener: a socket that listens already, instead of this party's host and port.
        rng: gives fresh random bytes.

    Returns:
        an asynchronous context manager of `Connection`.

    Raises:
        ParameterError: this party is none of the computation's, or a certificate is not of the party it stands for.
        LocalError: the address cannot be used.
        RemoteError: a party did not come, is not who it should be, or runs another program; it is named.
    """
    me = computation.index(home.id)
    publics = {}
    for seat in computation.seats:
        party, public = tls.read_identity(seat.certificate, f"the certificate of party {shown(seat.id)}")
        if party != seat.id:
            other = "a server" if party is None else f"party {shown(party)}"
            raise ParameterError(f"the certificate of party {shown(seat.id)} is that of {other}")
        publics[party] = public
    own = tls.read_identity(home.certificate.read_bytes())[1]
    if publics[home.id] != own:
        raise ParameterError(
            f"the computation has another key for {shown(home.id)}: it was made for an older folder of this party"
        )
    peers = "".join(seat.certificate.decode("ascii") for seat in computation.seats if seat.id != home.id)
    contexts = tls.party_contexts(home.tls_certificate, home.tls_key, peers)
    setup = _Setup(computation, me, session, rng, contexts, Roster.of(publics))
    async with await setup.connect(listener) as connection:
        yield connection


@asynccontextmanager
async def connect_insecure_tcp(
    computation: Computation,
    me: int,
    session: Session | None = None,
    *,
    listener: socket.socket | None = None,
    rng: Callable[[int], bytes] = os.urandom,
) -> AsyncIterator[Connection]:
    """`connect` without TLS: everybody on the way reads and writes everything. For measurements on one machine.

    Raises:
        ParameterError: an address that is not of this machine's loopback.
    """
    for seat in computation.seats:
        if seat.host not in ("127.0.0.1", "::1", "localhost"):
            raise ParameterError(f"{seat.host} is not loopback; without TLS nothing leaves this machine")
    setup = _Setup(computation, me, session, rng, None, None)
    async with await setup.connect(listener) as connection:
        yield connection


class _Setup:
    """From addresses to connections whose ends are known."""

    def __init__(
        self,
        computation: Computation,
        me: int,
        session: Session | None,
        rng: Callable[[int], bytes],
        contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None,
        roster: Roster | None,
    ) -> None:
        self._computation = computation
        self._me = me
        self._session = session
        self._agreement = computation.agreement
        if session is not None:
            self._agreement = digest(_AGREEMENT, self._agreement, session.digest)
        self._nonces = {me: rng(32)}
        self._contexts = contexts
        self._roster = roster
        self._found: dict[int, socket.socket] = {}
        self._problems: dict[int, str] = {}
        self._refused = ""
        self._strangers: set[asyncio.Task[None]] = set()
        self._greeted: dict[int, asyncio.Task[None]] = {}  # parties that have shown who they are, and have not greeted

    async def connect(self, listener: socket.socket | None) -> Connection:
        seats, me = self._computation.seats, self._me
        last = me == len(seats) - 1
        if listener is None and not last:
            listener = _listening(seats[me])
        self._changed = asyncio.Event()
        tasks = [asyncio.create_task(self._dial(peer)) for peer in range(me)]
        tasks.append(asyncio.create_task(self._signs()))
        if listener is not None and not last:
            listener.setblocking(False)
            tasks.append(asyncio.create_task(self._accept(listener)))
        try:
            await self._all(tasks)
        except BaseException as error:
            await self._give_up(error)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if listener is not None:
                listener.close()
        session, nonces = self._session, None
        if session is None:
            nonces = tuple(self._nonces[i] for i in range(len(seats)))
            session = self._computation.session(digest(_NONCE, *nonces))
        links = {peer: Link(connection, peer) for peer, connection in sorted(self._found.items())}
        return Connection(self._computation, me, session, links, self._agreement, nonces)

    async def _signs(self) -> None:
        """Those who are connected to all may have begun, and wait for this party: it is not the one that is missing."""
        while True:
            await asyncio.sleep(_tick(self._computation))
            for connection in self._found.values():
                with suppress(OSError):  # whoever needs this connection learns it there
                    connection.send(EARLY)

    async def _give_up(self, error: BaseException) -> None:
        """Tell those who are connected why, and close. There is no session yet: the agreement stands for it."""
        notice = prefixed(AbortNotice(self._agreement, self._me, _reason(error)).to_bytes())
        links = [Link(connection, peer) for peer, connection in self._found.items()]
        for link in links:
            link.push(notice)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_NOTICE_SECONDS, self._computation.deadline / _TICKS)):
                    await asyncio.gather(*(link.goodbye() for link in links))
        finally:
            for link in links:
                link.close()

    async def _all(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        seats, loop = self._computation.seats, asyncio.get_running_loop()
        until = loop.time() + self._computation.wait
        complete = asyncio.create_task(self._complete())
        pending: set[asyncio.Task[None]] = {complete, *tasks}
        try:
            while (left := until - loop.time()) > 0:
                done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # raises what went wrong
                if complete in done:
                    return
        finally:
            complete.cancel()
        missing = [i for i in range(len(seats)) if i != self._me and i not in self._found]
        why = self._problems.get(missing[0], self._refused)
        also = f"; nor did {', '.join(shown(seats[i].id) for i in missing[1:])}" if missing[1:] else ""
        raise RemoteError(
            seats[missing[0]].id,
            "connect",
            f"it did not come within {self._computation.wait:g} s{also}" + (f" ({why})" if why else ""),
        )

    async def _complete(self) -> None:
        while len(self._found) < len(self._computation.seats) - 1:
            self._changed.clear()
            await self._changed.wait()

    # ---- to the parties before this one

    async def _dial(self, peer: int) -> None:
        seat, loop = self._computation.seats[peer], asyncio.get_running_loop()
        delay = 0.02
        while True:
            connection: socket.socket | None = None
            try:
                infos = await loop.getaddrinfo(seat.host, seat.port, type=socket.SOCK_STREAM)
                family, kind, proto, _, address = infos[0]
                connection = socket.socket(family, kind, proto)
                connection.setblocking(False)
                await loop.sock_connect(connection, address)
                connection = await self._secured(connection, 1)
                self._check(connection, peer)
                await self._greet(connection, peer)
                self._take(connection, peer)
                return
            except ssl.SSLCertVerificationError as error:
                raise RemoteError(
                    seat.id, "tls", f"who answers at {seat.host}:{seat.port} is not this party: {explained(error)}"
                ) from None
            except OSError as error:
                self._problems[peer] = f"{seat.host}:{seat.port}: {explained(error)}"
            finally:
                if connection is not None and self._found.get(peer) is not connection:
                    connection.close()
            await asyncio.sleep(delay)
            delay = min(2 * delay, 0.5)

    # ---- from the parties behind this one

    async def _accepted(self, listener: socket.socket, pause: float) -> tuple[socket.socket, Any]:
        await asyncio.sleep(pause)
        return await asyncio.get_running_loop().sock_accept(listener)

    async def _accept(self, listener: socket.socket) -> None:
        accepting = asyncio.create_task(self._accepted(listener, 0.0))
        guests: set[asyncio.Task[None]] = set()
        try:
            while True:
                done, _ = await asyncio.wait([accepting, *guests], return_when=asyncio.FIRST_COMPLETED)
                for task in done & guests:
                    guests.discard(task)
                    self._strangers.discard(task)
                    if not task.cancelled():
                        task.result()  # a party that is who it says, and does something else
                if accepting in done:
                    pause = 0.0
                    try:
                        connection, address = accepting.result()
                    except OSError as error:
                        # No descriptor is free, or who came has gone. Others still wait, in the kernel's queue.
                        self._refused = f"a connection could not be accepted: {explained(error)}"
                        _log.warning("%s", self._refused)
                        pause = _ACCEPT_PAUSE
                    else:
                        guest = asyncio.create_task(self._welcome(connection, address))
                        guests.add(guest)
                        self._strangers.add(guest)
                        if len(self._strangers) > _STRANGERS:
                            self._turn_one_away()
                    accepting = asyncio.create_task(self._accepted(listener, pause))
        finally:
            for task in (accepting, *guests):
                task.cancel()
            await asyncio.gather(accepting, *guests, return_exceptions=True)

    def _turn_one_away(self) -> None:
        """Any of the strangers: were it the oldest, those who keep coming would reach whoever is about to show who it
        is; so a party has its chance each time that it comes again."""
        unlucky = list(self._strangers)[int.from_bytes(os.urandom(8), "little") % len(self._strangers)]
        self._strangers.discard(unlucky)
        unlucky.cancel()

    def _known(self, peer: int) -> None:
        """The task that runs is a party's, and no stranger's; a party has one."""
        task = asyncio.current_task()
        if task is None:
            return
        self._strangers.discard(task)
        before = self._greeted.get(peer)
        if before is not None and not before.done():
            before.cancel()
        self._greeted[peer] = task

    async def _welcome(self, connection: socket.socket, address: Any) -> None:
        """A connection from anybody: errors of strangers are logged, errors of parties are raised."""
        kept = False
        try:
            connection.setblocking(False)
            connection = await self._secured(connection, 0)
            peer = self._who(connection)
            if peer is not None:
                self._known(peer)
            peer = await self._greet(connection, peer)
            self._take(connection, peer)
            kept = True
        except OSError as error:
            self._refused = f"a connection from {address[0]} was refused: {explained(error)}"
            _log.warning("%s", self._refused)
        except _Stranger as error:
            self._refused = f"a connection from {address[0]} was refused: {error}"
            _log.warning("%s", self._refused)
        finally:
            if not kept:
                connection.close()

    # ---- both

    async def _secured(self, connection: socket.socket, side: int) -> socket.socket:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._contexts is None:
            return connection
        secured = self._contexts[side].wrap_socket(
            connection, server_side=side == 0, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        try:
            await _until(secured, secured.do_handshake)
        except BaseException:
            secured.close()
            raise
        return secured

    def _check(self, connection: socket.socket, peer: int) -> None:
        if self._roster is None or not isinstance(connection, ssl.SSLSocket):
            return
        expected = self._computation.seats[peer].id
        try:
            party = tls.peer_id(connection.getpeercert(binary_form=True), self._roster)
        except RemoteError as error:
            raise RemoteError(expected, "tls", f"who answers for this party is not it: {error.message}") from None
        if party != expected:
            raise RemoteError(expected, "tls", f"party {shown(party)} answers at its address")

    def _who(self, connection: socket.socket) -> int | None:
        """The party that has connected, or None without TLS."""
        if self._roster is None or not isinstance(connection, ssl.SSLSocket):
            return None
        try:
            peer = self._computation.index(tls.peer_id(connection.getpeercert(binary_form=True), self._roster))
        except RemoteError as error:
            raise _Stranger(error.message) from None
        if peer <= self._me:
            raise _Stranger(f"party {shown(self._computation.seats[peer].id)} is not to connect here")
        return peer

    async def _greet(self, connection: socket.socket, peer: int | None) -> int:
        """Exchange greetings; `peer` is None where nothing but the greeting says who it is."""
        if peer is not None:
            await self._say(connection, peer)
        size = int.from_bytes(await _exactly(connection, 2), "little")
        name = self._computation.seats[peer].id if peer is not None else None
        try:
            if size > FRAME_MAX:
                raise CodecError(f"a greeting of {size} bytes")
            seen = Greeting.from_bytes(await _exactly(connection, size), max_bytes=FRAME_MAX)
        except CodecError as error:
            if name is None:
                raise _Stranger(error.message) from None
            raise error.by(name, "greeting") from None
        if peer is None:
            if not self._me < seen.sender < len(self._computation.seats):
                raise _Stranger(f"it says that it is party {seen.sender}")
            peer = seen.sender
            name = self._computation.seats[peer].id
            await self._say(connection, peer)
        if (seen.sender, seen.receiver) != (peer, self._me) or seen.agreement != self._agreement:
            raise RemoteError(
                name,
                "greeting",
                "it runs another computation: protocol, parties and their order, program and arguments have to be the "
                "same at all parties",
            )
        self._nonces[peer] = seen.nonce
        return peer

    async def _say(self, connection: socket.socket, peer: int) -> None:
        data = prefixed(Greeting(self._agreement, self._me, peer, self._nonces[self._me]).to_bytes())
        await _until(connection, lambda: connection.send(data))  # fits any socket's buffer

    def _take(self, connection: socket.socket, peer: int) -> None:
        older = self._found.pop(peer, None)
        if older is not None:
            older.close()
        self._found[peer] = connection
        self._changed.set()


class _Stranger(Exception):
    """Somebody has connected who is no party that is waited for."""


def _listening(seat: Seat) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in seat.host else socket.AF_INET
        return socket.create_server((seat.host, seat.port), family=family, backlog=64)
    except OSError as error:
        raise LocalError(f"cannot listen at {seat.host}:{seat.port}: {error.strerror or error}") from None


async def _until(connection: socket.socket, action: Callable[[], T]) -> T:
    """Try until it neither wants to read nor to write first."""
    while True:
        try:
            return action()
        except (ssl.SSLWantReadError, BlockingIOError):
            await readable(connection)
        except ssl.SSLWantWriteError:
            await writable(connection)


async def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = await _until(connection, partial(connection.recv_into, left))
        if not count:
            raise ConnectionResetError("it closed the connection before its greeting")
        left = left[count:]
    return bytes(data)


# ---- rounds


class Connection:
    """Connections to all peers; what `connect` gives.

    Attributes:
        session: of the run.
        me: this party's index.
    """

    def __init__(
        self,
        computation: Computation,
        me: int,
        session: Session,
        links: Mapping[int, Link],
        agreement: bytes,
        nonces: tuple[bytes, ...] | None,
    ) -> None:
        self.session = session
        self.me = me
        self._agreement = agreement
        self._nonces = nonces
        self._computation = computation
        self._links = links
        self._used = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links.values():
            link.close()

    async def run(self, program: Program[T], *, rng: Callable[[int], bytes] = os.urandom) -> Outcome[T]:
        """Run a program, once. Returns when the peers' programs have returned, too, or a deadline (and what the last
        payloads take at `rate`) later.

        Args:
            program: called with the backend; the same at every party.
            rng: gives fresh random bytes.

        Raises:
            RemoteError: a peer broke off, was silent, or sent what it must not; it is named.
            RoundAborted: a peer gave up; its reason names whom it blames.
            PrivcompError: whatever the program raises.
        """
        if self._used:
            raise LocalError("a connection runs one program; connect again")
        self._used = True
        adversary, corruptions = self._computation.adversary, self._computation.corruptions

        async def checked(backend: Any) -> T:
            backend.security.require(adversary=adversary, corruptions=corruptions)
            return await program(backend)

        party = start(self.session, self.me, checked, rng=rng, insecure_dealer=self._computation.insecure_dealer)
        drive = _Drive(party, self._links, self._computation, self._agreement, self._nonces)
        seconds = await drive.run()
        return Outcome(party.result, party.cost, seconds)


class _Drive:
    """Carries the rounds of one party. Everything happens in callbacks of the loop: no task, no future per message."""

    def __init__(
        self,
        party: Party[Any],
        links: Mapping[int, Link],
        computation: Computation,
        agreement: bytes,
        nonces: tuple[bytes, ...] | None,
    ) -> None:
        self._nonces = nonces
        self._party = party
        self._links = links
        self._agreement = agreement
        self._wait = computation.wait
        self._deadline = computation.deadline
        self._ticks = _tick(computation)
        self._rate = computation.rate
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._missing: set[int] = set()
        self._unsent: set[int] = set()
        self._headers: dict[int, bytes] = {}
        self._payloads: dict[int, memoryview] = {}
        self._since = monotonic()
        self._largest = 0  # payload of this round
        # By peer: the largest payloads of all rounds since the one of its last frame. It may be in that round still,
        # and receive what somebody else sends.
        self._behind: dict[int, int] = {}
        self._reading: set[int] = set()

    async def run(self) -> float:
        began = monotonic()
        for link in self._links.values():
            self._listen(link)
        self._timer = self._loop.call_later(self._ticks, self._tick)
        try:
            self._loop.call_soon(self._guarded, self._begin)
            try:
                await self._ended
            except asyncio.CancelledError:
                self._tell(_STOPPED)
                await self._goodbye(_NOTICE_SECONDS)
                raise
            except BaseException:
                await self._goodbye(min(_NOTICE_SECONDS, self._deadline / _TICKS))
                raise
            seconds = monotonic() - began
            # What this party sent last may still be on its way.
            await self._goodbye(self._deadline + max(self._behind.values(), default=0) / self._rate)
            return seconds
        finally:
            self._party.close()
            self._timer.cancel()
            self._quiet()

    # ---- events

    def _guarded(self, action: Callable[..., None], *arguments: Any) -> None:
        if self._ended.done():
            return
        try:
            action(*arguments)
        except Exception as error:  # noqa: BLE001 (handed over to who awaits the run)
            self._fail(error)

    def _incoming(self, link: Link) -> None:
        """Something has come. As `_guarded`, in fewer calls: this is what happens in every round."""
        if self._ended.done():
            return
        try:
            self._take(link)
            if not self._missing and not self._unsent:
                self._proceed()
        except Exception as error:  # noqa: BLE001 (handed over to who awaits the run)
            self._fail(error)

    def _outgoing(self, link: Link) -> None:
        self._guarded(self._send, link)

    def _send(self, link: Link) -> None:
        self._flush(link)
        if not self._missing and not self._unsent:
            self._proceed()

    def _begin(self) -> None:
        if self._nonces is not None:
            told = prefixed(Nonces(self._party.me, self._nonces).to_bytes())
            for link in self._links.values():
                link.push(told)
                self._flush(link)
        self._proceed()

    def _proceed(self) -> None:
        """Round after round, until something has to be waited for."""
        links = self._links
        while not self._missing and not self._unsent:
            round_ = self._party.advance()
            if round_ is None:
                for link in links.values():
                    link.push(DONE)
                self._ended.set_result(None)
                return
            wants = round_.wants
            self._since = monotonic()
            self._missing = set(wants)
            self._largest = round_.largest
            for peer in links:
                self._behind[peer] = self._behind.get(peer, 0) + round_.largest
            for peer, (header, parts) in round_.sends.items():
                link = links[peer]
                link.push(prefixed(header), parts)
                self._flush(link)
            for peer in wants:
                link = links[peer]
                if peer not in self._reading:
                    self._listen(link)
                if link.unread:
                    self._parse(link)  # what it sent ahead of time
                if peer in self._missing and (link.over or link.pending):
                    self._take(link)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._ticks, self._tick)
        self._guarded(self._watch)

    # ---- one connection

    def _listen(self, link: Link) -> None:
        if link.party not in self._reading and not link.over:
            self._reading.add(link.party)
            self._loop.add_reader(link.connection, self._incoming, link)

    def _ignore(self, link: Link) -> None:
        if link.party in self._reading:
            self._reading.discard(link.party)
            self._loop.remove_reader(link.connection)

    def _flush(self, link: Link) -> None:
        try:
            if link.flush():
                link.taken = monotonic()
        except OSError as error:
            # It may have said why before it went.
            self._take(link)
            raise self._broken(link, explained(error)) from None
        if link.flushed:
            if link.party in self._unsent:
                self._unsent.discard(link.party)
                self._loop.remove_writer(link.connection)
        elif link.party not in self._unsent:
            self._unsent.add(link.party)
            self._loop.add_writer(link.connection, self._outgoing, link)

    def _take(self, link: Link) -> None:
        """Take what has come, as far as it is wanted now."""
        why = "it was closed"
        if link.unread:
            self._parse(link)
        for _ in range(_BATCH):
            if not link.room:
                self._ignore(link)
                break
            try:
                came = link.fill()
            except OSError as error:
                came, link.over, why = False, True, explained(error)
            if not came:
                break
            link.heard = monotonic()
            self._parse(link)
            if link.drained:
                break
        else:
            self._loop.call_soon(self._incoming, link)
        if link.over:
            # Nothing is lost as long as nothing more is wanted from it.
            self._ignore(link)
            if link.party in self._missing:
                raise self._broken(link, why)

    def _parse(self, link: Link) -> None:
        peer = link.party
        if peer in self._payloads:
            if not link.whole:
                return
            self._deliver(peer, self._headers.pop(peer), self._payloads.pop(peer))
        while link.unread:
            try:
                head = link.head()
            except ValueError as error:
                raise CodecError(str(error), self._party.name(peer), self._party.stage) from None
            if head is None:
                return
            link.early = head == EARLY
            if head in (ALIVE, EARLY):
                link.signs += 1
                # A peer that has no frame for this party need not have one for hours, and its clock may be faster.
                if link.signs > _SIGNS_MAX:
                    raise RemoteError(
                        self._party.name(peer), self._party.stage, "more signs of life than its clock can give"
                    )
            elif head == DONE:
                link.done = True
                if peer in self._missing:
                    raise RemoteError(
                        self._party.name(peer),
                        self._party.stage,
                        "its program has returned while this one waits for it: the programs differ",
                    )
            elif _tag(head) == Nonces.TAG:
                link.signs += 1
                self._check_nonces(peer, head)
            elif peer in self._missing or _tag(head) == AbortNotice.TAG:
                self._check_early_notice(peer, head)
                length = self._party.check_header(peer, head)
                link.skip(head)
                payload: memoryview | bytes | None = link.small(length)
                if payload is None:
                    space = np.empty(length, np.uint8).data
                    link.expect(space)
                    if not link.whole:
                        self._headers[peer], self._payloads[peer] = head, space
                        return
                    payload = space
                self._deliver(peer, head, payload)
                continue
            else:
                return  # it is ahead
            link.skip(head)

    def _check_early_notice(self, peer: int, head: bytes) -> None:
        """A peer that gave up before it was connected to all knew no session. Raises if this is what it says."""
        if _tag(head) != AbortNotice.TAG:
            return
        with suppress(CodecError):  # is refused as any other header
            notice = AbortNotice.from_bytes(head, max_bytes=FRAME_MAX)
            if (notice.session, notice.sender) == (self._agreement, peer):
                raise RoundAborted(self._party.name(peer), self._party.stage, f"gave up: {notice.reason}")

    def _check_nonces(self, peer: int, head: bytes) -> None:
        """Whether a peer was told the same nonces as this party: else they are in different sessions, and one lied."""
        name, stage = self._party.name(peer), self._party.stage
        try:
            seen = Nonces.from_bytes(head, max_bytes=FRAME_MAX)
        except CodecError as error:
            raise error.by(name, stage) from None
        if self._nonces is None or seen.sender != peer or len(seen.nonces) != len(self._nonces):
            raise RemoteError(name, stage, "nonces that nobody asked for, or of other parties")
        for party, (mine, other) in enumerate(zip(self._nonces, seen.nonces, strict=True)):
            if mine == other:
                continue
            if party in (peer, self._party.me):
                raise RemoteError(name, stage, "it denies the nonce that it told, or was told")
            odd = shown(self._party.name(party))
            raise RemoteError(
                None, stage, f"{odd} told this party and {shown(name)} different nonces, or one of the two lies"
            )

    def _deliver(self, peer: int, header: bytes, payload: memoryview | bytes) -> None:
        self._party.deliver(peer, header, payload)
        self._missing.discard(peer)
        self._behind[peer] = self._largest

    # ---- the end

    def _broken(self, link: Link, why: str) -> RemoteError:
        return RemoteError(self._party.name(link.party), self._party.stage, f"the connection to it broke: {why}")

    def _watch(self) -> None:
        """Give signs of life, and look for those who give none."""
        now = monotonic()
        quiet: list[int] = []
        late: list[int] = []
        for peer in sorted(self._missing | self._unsent):
            link = self._links[peer]
            last = max(self._since, link.heard if peer in self._missing else link.taken)
            (quiet if now - last > self._deadline / 2 else late).append(peer)
        waited = now - self._since
        late = [peer for peer in late if waited > self._allowed(peer)]
        if quiet:
            first, *others = quiet
            also = f"; also {', '.join(shown(self._party.name(peer)) for peer in others)}" if others else ""
            did = "sent nothing" if first in self._missing else "took nothing"
            raise RemoteError(self._party.name(first), self._party.stage, f"it {did} for {waited:.1f} s{also}")
        if late:
            # Those who have begun a frame do not wait for somebody else; others may.
            late = [peer for peer in late if peer in self._payloads or peer in self._unsent] or late
            what = f"frame was not whole after {waited:.1f} s"
            if len(late) == 1:
                raise RemoteError(self._party.name(late[0]), self._party.stage, f"its {what}")
            names = ", ".join(shown(self._party.name(peer)) for peer in late)
            raise RemoteError(None, self._party.stage, f"{names} are alive, and no {what}; one may wait for the other")
        for link in self._links.values():
            link.signs = 0
            if link.flushed and not link.over:
                link.push(ALIVE)
                with suppress(OSError):  # whoever needs this connection learns it there
                    link.flush()

    def _allowed(self, peer: int) -> float:
        """Seconds that this round may wait for a peer that is alive."""
        if peer in self._unsent:
            return self._deadline + self._largest / self._rate - self._ticks
        allowed = self._deadline + self._behind[peer] / self._rate
        if peer in self._payloads:
            return allowed - self._ticks
        # Who is not connected to all yet gives up by itself, and says whom it lacks. So does who waits for another
        # one, a look at the clock earlier than who waits for it.
        return allowed + (self._wait if self._links[peer].early else 0)

    def _fail(self, error: BaseException) -> None:
        if self._ended.done():
            return
        try:
            self._tell(_reason(error))
        finally:  # whoever awaits the run must not wait for ever
            self._ended.set_exception(error)

    def _tell(self, reason: str) -> None:
        try:
            notice = prefixed(self._party.notice(reason))
        except PrivcompError:
            return
        for link in self._links.values():
            link.push(notice)

    def _quiet(self) -> None:
        for link in self._links.values():
            self._ignore(link)
            self._loop.remove_writer(link.connection)
        self._unsent.clear()

    async def _goodbye(self, seconds: float) -> None:
        self._timer.cancel()
        self._quiet()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(link.goodbye() for link in self._links.values()))


def _tick(computation: Computation) -> float:
    """Seconds between two looks at the clock, and between two signs of life."""
    return min(computation.deadline / _TICKS, _TICK_MAX)


def _reason(error: BaseException) -> str:
    """For a notice: what a peer did, the others may know; of errors of this party's own only the kind."""
    if isinstance(error, asyncio.CancelledError):
        return _STOPPED
    if isinstance(error, RemoteError):
        about = "" if error.party is None else f"{shown(error.party)}: "
        return f"{about}{error.message}".encode()[:REASON_MAX].decode(errors="ignore")
    return type(error).__name__


def _tag(head: bytes) -> int:
    """Which message this is."""
    return int.from_bytes(head[3:5], "little")
