"""One party's end of a computation, without sockets and clocks.

A program is a coroutine that runs at every party in the same way. Each operation on shared values is a *task*: a
coroutine of its own that sends and receives by awaiting an `Exchange`. The scheduler runs every task until all of them
wait; what they want to send then goes out together, one frame per peer: a *round*. Operations that do not depend on
each other thus share rounds without being asked to.

Whoever drives a party does this, and nothing else::

    party = Party(session, me, program)
    while (round_ := party.advance()) is not None:
        ...  # send round_.sends, receive what round_.wants names, party.deliver(...) each
    party.result

Every operation takes part in each of its rounds at every party, even where it has nothing to send: round numbers agree
everywhere, and so do the schedules, a running hash over the operations begun. A peer whose round, schedule or length
differs runs another program (or lies), and is refused before its payload is read.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from privcomp.codec import decode_any, digest, lp
from privcomp.errors import CodecError, LocalError, ParameterError, PrivcompError, RemoteError, RoundAborted, StateError
from privcomp.keys import check_id
from privcomp.mpc.messages import FRAME_MAX, REASON_MAX, AbortNotice, RoundHeader

__all__ = ["Cost", "Exchange", "Party", "Round", "Scheduler", "Session", "Spent", "Task"]

T = TypeVar("T")

Section = NDArray[Any] | bytes
"""What one operation sends to one peer: an array (sent as its bytes) or bytes."""

_ALIGN: Final = 8
_TAIL: Final = struct.Struct("<Q32sQ")  # the last fields of a header, which alone differ from round to round
_GAPS: Final = tuple(memoryview(bytes(gap)) for gap in range(_ALIGN))
_LABEL: Final = "privcomp/mpc/session/v1"
_KINDS: Final = {RoundHeader.TAG: RoundHeader, AbortNotice.TAG: AbortNotice}


@functools.lru_cache(maxsize=1 << 12)
def _labelled(label: str) -> bytes:
    """A label as it goes into the schedule; programs repeat theirs."""
    return lp(label.encode())


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


@dataclass(frozen=True)
class Session:
    """Who computes what. All parties build the same object; its digest is in every frame and every key.

    Args:
        protocol: name of the protocol, such as "rep3".
        parties: ids, in the order of their indices; all different.
        program: name and version of the program, and whatever else has to be the same everywhere.
        nonce: fresh for every run, 16 bytes or more.

    Raises:
        ParameterError: fewer than two parties, an id twice, a short nonce.
    """

    protocol: str
    parties: tuple[bytes, ...]
    program: bytes
    nonce: bytes

    def __post_init__(self) -> None:
        if not 2 <= len(self.parties) <= 255:
            raise ParameterError(f"{len(self.parties)} parties; allowed is [2, 255]")
        for party in self.parties:
            check_id(party)
        if len(set(self.parties)) != len(self.parties):
            raise ParameterError("an id occurs twice among the parties; give every party its own")
        if len(self.nonce) < 16:
            raise ParameterError(
                f"the session's nonce has {len(self.nonce)} bytes; it must have 16 or more, fresh ones"
            )

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for all of it."""
        return digest(_LABEL, self.protocol.encode(), lp(*self.parties), self.program, self.nonce)


@dataclass(frozen=True)
class Exchange:
    """What one task does in one round.

    Attributes:
        label: the operation and its shapes; the same at every party.
        sends: to each peer, in order: arrays or bytes.
        wants: from each peer: the number of bytes.
        elsewhere: bytes that one party sends to another in this round, where that may be more than this party itself
            sends or wants: who waits for one of them later knows how long that can take.
    """

    label: str
    sends: Mapping[int, Section]
    wants: Mapping[int, int]
    elsewhere: int = 0

    def __await__(self) -> Generator[Exchange, Mapping[int, memoryview], Mapping[int, memoryview]]:
        got = yield self
        return got


class Task(Generic[T]):
    """A running operation; awaiting it gives its result, as often as one likes."""

    __slots__ = ("_coroutine", "_done", "_result", "number", "waiters")

    def __init__(self, number: int, coroutine: Coroutine[Any, Any, T] | None) -> None:
        self.number = number
        self.waiters: list[Task[Any]] = []
        self._coroutine = coroutine
        self._done = False
        self._result: T | None = None

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._done

    @property
    def result(self) -> T:
        """What came of it.

        Raises:
            StateError: it has not ended.
        """
        if not self._done:
            raise StateError("this value has not been computed; await it")
        return self._result  # type: ignore[return-value]

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._done:
            yield self
        return self.result


class Spent(NamedTuple):
    """What one kind of operation has cost a party.

    Attributes:
        exchanges: with its peers.
        sent: bytes of payload.
        rounds: in which at least one of them took part. Operations that share a round count it each.
    """

    exchanges: int = 0
    sent: int = 0
    rounds: int = 0


_NOTHING: Final = Spent()


@dataclass
class Cost:
    """What a party has sent so far.

    Attributes:
        rounds: in which anything was sent or received by anyone.
        sent: bytes, headers and padding included, by peer.
        operations: by operation (the label's first word).
    """

    rounds: int = 0
    sent: Counter[int] = field(default_factory=Counter)
    operations: dict[str, Spent] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """All bytes sent."""
        return sum(self.sent.values())

    def _add(self, sizes: Sequence[tuple[str, int]]) -> None:
        """One round: label and bytes of payload of every exchange in it."""
        self.rounds += 1
        seen = set()
        for label, size in sizes:
            name = label.partition(" ")[0]
            count, total, rounds = self.operations.get(name, _NOTHING)
            self.operations[name] = Spent(count + 1, total + size, rounds + (name not in seen))
            seen.add(name)


def _number(item: tuple[Task[Any], Exchange]) -> int:
    return item[0].number


class Scheduler:
    """Runs tasks until all of them wait for messages. The order is the same at every party.

    Attributes:
        cost: what the party has sent; the party counts it here, where a program sees it.
        objection: why what the program returns must not be taken for a result. An operation that notices something
            that no other party may learn puts it here and goes on: a party that stopped would tell them.
    """

    def __init__(self) -> None:
        self.cost = Cost()
        self.objection: PrivcompError | None = None
        self._ready: deque[tuple[Task[Any], Any]] = deque()
        self._blocked: list[tuple[Task[Any], Exchange]] = []
        self._count = 0
        self._live: set[Task[Any]] = set()
        self._closed = False

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Task[T]:
        """Begin an operation; it runs when the caller next waits, and never once the computation has ended."""
        if self._closed:
            # No error: what a program does as it is ended has to come to an end, too, and waiting ends it.
            coroutine.close()
            return Task(-1, None)
        task = Task(self._count, coroutine)
        self._count += 1
        self._live.add(task)
        self._ready.append((task, None))
        return task

    def _step(self, task: Task[Any], value: Any) -> None:
        coroutine = task._coroutine
        if coroutine is None:
            raise StateError("a task that has ended was resumed")
        try:
            wanted = coroutine.send(value)
        except StopIteration as end:
            task._result = end.value
            task._done = True
            task._coroutine = None
            self._live.discard(task)
            for waiter in task.waiters:
                self._ready.append((waiter, None))
            task.waiters.clear()
            return
        if isinstance(wanted, Exchange):
            self._blocked.append((task, wanted))
        elif isinstance(wanted, Task):
            if wanted.done:
                self._ready.append((task, None))
            else:
                wanted.waiters.append(task)
        else:
            raise LocalError(
                f"a program awaited {type(wanted).__name__}; await only what this session gives: another event loop's "
                "futures never become ready here"
            )

    def run(self, until: Task[Any]) -> list[tuple[Task[Any], Exchange]]:
        """Run everything that can run; return what waits for messages, in the order of the tasks."""
        ready = self._ready
        while ready and not until._done:
            self._step(*ready.popleft())
        blocked, self._blocked = self._blocked, []
        if len(blocked) > 1:
            blocked.sort(key=_number)
        return blocked

    def resume(self, task: Task[Any], got: Mapping[int, memoryview]) -> None:
        """Hand a task what it waited for."""
        self._ready.append((task, got))

    def close(self) -> None:
        """Drop all tasks; nothing that is begun later runs.

        A program that awaits or raises as it is ended (in a `finally`, for example) keeps nobody from wiping keys, and
        the error for which the party is closed is the one that is seen.
        """
        self._closed = True
        self._ready.clear()
        self._blocked.clear()
        live, self._live = self._live, set()
        for task in live:
            coroutine, task._coroutine = task._coroutine, None
            if coroutine is not None:
                with suppress(Exception):
                    coroutine.close()


@dataclass(frozen=True)
class Round:
    """What a party does next.

    Attributes:
        number: of the round.
        sends: for each peer the header and the parts of the payload behind it, to be sent in this order.
        wants: for each peer the bytes of payload that it has to send. No frame is sent where nothing is wanted.
        largest: bytes of payload that any party sends to another in this round, as far as this one knows.
    """

    number: int
    sends: Mapping[int, tuple[bytes, Sequence[memoryview]]]
    wants: Mapping[int, int]
    largest: int


def _bytes(array: NDArray[Any]) -> memoryview:
    if array.flags.c_contiguous and array.size:
        return array.data.cast("B")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _parts(sections: Sequence[Section]) -> tuple[list[memoryview], int]:
    """The bytes of all sections, each padded to 8, and their number."""
    parts: list[memoryview] = []
    total = 0
    for section in sections:
        view = memoryview(section) if isinstance(section, bytes) else _bytes(section)
        parts.append(view)
        size = len(view)
        if gap := -size % _ALIGN:
            parts.append(_GAPS[gap])
        total += size + gap
    return parts, total


class Party(Generic[T]):
    """One party's state. Use it once.

    Args:
        session: the same at every party.
        me: this party's index in `session.parties`.
        program: called once with the scheduler, this party's index and `rng`; the coroutine that it returns is the
            computation, and what that returns is `result`.
        rng: gives fresh random bytes.

    Raises:
        ParameterError: `me` is no index.
    """

    def __init__(
        self,
        session: Session,
        me: int,
        program: Callable[[Scheduler, Session, int, Callable[[int], bytes]], Coroutine[Any, Any, T]],
        *,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not 0 <= me < len(session.parties):
            raise ParameterError(f"party is {me}; the session has parties 0 .. {len(session.parties) - 1}")
        self.session = session
        self.me = me
        self._digest = session.digest
        self._heads = {
            (sender, receiver): RoundHeader(self._digest, sender, receiver, 0, bytes(32), 0).to_bytes()[: -_TAIL.size]
            for peer in range(len(session.parties))
            for sender, receiver in ((me, peer), (peer, me))
        }
        self._scheduler = Scheduler()
        self.cost = self._scheduler.cost
        self._schedule = hashlib.sha256(self._digest).digest()
        self._main = self._scheduler.spawn(program(self._scheduler, session, me, rng))
        self._blocked: list[tuple[Task[Any], Exchange]] = []
        self._wants: dict[int, int] = {}
        self._got: dict[int, memoryview] = {}
        self._announced: dict[int, tuple[bytes, int]] = {}
        self._number = -1
        self._failed = False

    def name(self, party: int) -> bytes:
        """The id of a party."""
        return self.session.parties[party]

    @property
    def result(self) -> T:
        """What the program returned.

        Raises:
            StateError: it has not ended, or it failed.
            PrivcompError: it has ended, and an operation noticed something that it could not tell before: see
                `Scheduler.objection`.
        """
        if self._failed or not self._main.done:
            raise StateError("the computation has no result: it has not ended, or it was aborted")
        if self._scheduler.objection is not None:
            raise self._scheduler.objection
        return self._main.result

    @property
    def stage(self) -> str:
        """The round that this party is in, for errors."""
        return f"round {self._number}" if self._number >= 0 else "before the first round"

    @property
    def finished(self) -> bool:
        """Whether the program has returned."""
        return self._main.done

    def advance(self) -> Round | None:
        """Run until messages are needed.

        Returns:
            the next round, or None once the program has returned.

        Raises:
            StateError: a message of the last round is missing, or the party has failed before.
            PrivcompError: what the program or one of its operations raised. The party is closed then.
        """
        self._check_open()
        if self._main.done:
            return None
        if self._got.keys() != self._wants.keys():
            raise StateError("advance was called before every wanted message was delivered")
        try:
            self._hand_out()
            blocked = self._scheduler.run(self._main)
            if self._main.done:
                self._scheduler.close()
                return None
            if not blocked:
                raise StateError("the program waits for something that no operation will ever give")
            return self._round(blocked)
        except BaseException:
            self.close()
            raise

    def _hand_out(self) -> None:
        """Cut the frames of the round that is over into sections, and wake the tasks in their order."""
        at = dict.fromkeys(self._got, 0)
        for task, exchange in self._blocked:
            sections: dict[int, memoryview] = {}
            for peer, size in exchange.wants.items():
                frame, start = self._got[peer], at[peer]
                end = start + size
                sections[peer] = frame[start:end]
                if gap := -size % _ALIGN:
                    if any(frame[end : end + gap]):
                        raise CodecError(
                            "padding is not zero; the sender altered the frame", self.name(peer), exchange.label
                        )
                    end += gap
                at[peer] = end
            self._scheduler.resume(task, sections)
        self._blocked = []
        self._got, self._wants, self._announced = {}, {}, {}

    def _round(self, blocked: list[tuple[Task[Any], Exchange]]) -> Round:
        self._number += 1
        begun = [_labelled(exchange.label) for _, exchange in blocked]
        number = lp(self._number.to_bytes(8, "little"))
        self._schedule = hashlib.sha256(b"".join([self._schedule, number, *begun])).digest()
        outgoing: dict[int, list[Section]] = {}
        sizes = []
        largest = 0
        for _, exchange in blocked:
            size, most = 0, exchange.elsewhere
            for peer, section in exchange.sends.items():
                if peer in outgoing:
                    outgoing[peer].append(section)
                else:
                    outgoing[peer] = [section]
                section_size = len(section) if isinstance(section, bytes) else section.nbytes
                size += section_size
                most = max(most, section_size)
            for peer, wanted in exchange.wants.items():
                self._wants[peer] = self._wants.get(peer, 0) + _padded(wanted)
                most = max(most, wanted)
            sizes.append((exchange.label, size))
            largest += _padded(most)
        sends = {}
        for peer, sections in outgoing.items():
            parts, length = _parts(sections)
            header = self._header(self.me, peer, length)
            sends[peer] = (header, parts)
            self.cost.sent[peer] += len(header) + length
        self.cost._add(sizes)
        self._blocked = blocked
        return Round(self._number, sends, dict(self._wants), largest)

    def _header(self, sender: int, receiver: int, length: int) -> bytes:
        return self._heads[sender, receiver] + _TAIL.pack(self._number, self._schedule, length)

    def check_header(self, sender: int, header: bytes) -> int:
        """Check what a peer announces, before its payload is read or any memory is taken.

        Args:
            sender: who sent it, as the channel says.
            header: of at most FRAME_MAX bytes: a `RoundHeader` or an `AbortNotice`.

        Returns:
            the bytes of payload that follow: what this round wants.

        Raises:
            RoundAborted: the peer has given up.
            RemoteError: wrong session, round, schedule or length, or a frame that nobody waits for. The party is
                closed.
        """
        self._check_open()
        try:
            # One header is right, and one only; what is wrong with another is found out slowly.
            length = self._wants.get(sender, -1)
            if sender in self._got or length < 0 or header != self._header(sender, self.me, length):
                length = self._check_header(sender, header)
        except PrivcompError:
            self.close()
            raise
        self._announced[sender] = (header, length)
        return length

    def _check_header(self, sender: int, header: bytes) -> int:
        peer, stage = self.name(sender), f"round {self._number}"
        try:
            seen = decode_any(header, _KINDS, max_bytes=FRAME_MAX)
        except CodecError as error:
            raise error.by(peer, stage) from None
        if isinstance(seen, AbortNotice):
            if (seen.session, seen.sender) != (self._digest, sender):
                raise RemoteError(peer, stage, "a notice of another session, or of another party")
            raise RoundAborted(peer, stage, f"gave up: {seen.reason}")
        if not isinstance(seen, RoundHeader):
            raise CodecError("neither a header nor a notice", peer, stage)
        if (seen.session, seen.sender, seen.receiver) != (self._digest, sender, self.me):
            raise RemoteError(
                peer, stage, "a frame of another session, or between other parties; check the configuration"
            )
        if sender not in self._wants or sender in self._got:
            raise RemoteError(peer, stage, f"a frame of round {seen.round}, for which nobody waits")
        if seen.round != self._number:
            raise RemoteError(peer, stage, f"a frame of round {seen.round}; awaited is round {self._number}")
        if seen.schedule != self._schedule:
            raise RemoteError(
                peer, stage, "it has begun other operations than this party: the programs or their shapes differ"
            )
        if seen.length != self._wants[sender]:
            raise RemoteError(peer, stage, f"{seen.length} bytes; this round has {self._wants[sender]} from it")
        return seen.length

    def deliver(self, sender: int, header: bytes, payload: memoryview | bytes | bytearray) -> None:
        """Take one peer's frame of this round. `payload` belongs to the party from here on.

        Raises:
            as `check_header` does; CodecError where the payload is not as long as the header says.
        """
        # None, and not empty bytes: those are one object, which any empty header would be.
        announced, length = self._announced.get(sender, (None, 0))
        if announced is not header:  # the same object, which nobody can have changed since it was checked
            length = self.check_header(sender, header)
        view = memoryview(payload).cast("B")
        if len(view) != length:
            self.close()
            raise CodecError(
                f"{len(view)} bytes behind a header that says {length}", self.name(sender), f"round {self._number}"
            )
        self._announced.pop(sender, None)
        self._got[sender] = view.toreadonly()

    def notice(self, reason: str) -> bytes:
        """The frame that tells a peer that this party gives up. Closes the party."""
        self.close()
        cut = reason.encode()[:REASON_MAX].decode(errors="ignore")
        return AbortNotice(self._digest, self.me, cut).to_bytes()

    def close(self) -> None:
        """Forget all values. A party that has returned keeps its result."""
        if not self._main.done:
            self._failed = True
        self._scheduler.close()
        self._blocked = []
        self._got, self._wants, self._announced = {}, {}, {}

    def _check_open(self) -> None:
        if self._failed:
            raise StateError("this party has been closed; a computation that failed is begun anew, in a new session")
