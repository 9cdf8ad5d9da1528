"""One connection between two parties of a computation: bytes in, bytes out, never waiting.

Sockets are used directly, plain or with TLS, and read when the event loop says that something is there: a frame of many
megabytes goes from the socket into the array that it will be, and from the array that it is into the socket.

What arrives before anybody wants it is taken up to `SCRATCH` bytes; the rest stays in the socket, and its sender waits.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from privcomp.mpc.messages import FRAME_MAX

__all__ = ["ALIVE", "DONE", "EARLY", "SCRATCH", "Link", "prefixed", "readable", "writable"]

#: In place of a header's length: "this party waits, too", "this party's program has returned", and "this party waits,
#: for it is not connected to all others yet".
ALIVE: Final = b"\0\0"
DONE: Final = b"\1\0"
EARLY: Final = b"\2\0"
_SIGNS: Final = (ALIVE, DONE, EARLY)
"""By the length that they stand for."""

SCRATCH: Final = 1 << 16
_SMALL: Final = 1 << 14  # payload that is copied behind its header: one call, and one record of TLS
_PIECES: Final = 64  # far below IOV_MAX


def prefixed(header: bytes) -> bytes:
    """A header or notice behind its length."""
    return len(header).to_bytes(2, "little") + header


class Link:
    """Frames over one connection.

    Args:
        connection: of which the handshake, if there is one, is over.
        party: index of the peer.

    Attributes:
        heard, taken: when the peer last sent something, and took something, by `time.monotonic`; kept by the caller.
        over: the peer has closed its side.
        done: the peer has said that its program has returned.
        signs: signs of life since the caller last looked; kept by the caller.
        early: the last thing that the peer said is that it is not connected to all yet; kept by the caller.
        drained: a plain socket had no more to give than `fill` took last.
    """

    def __init__(self, connection: socket.socket, party: int) -> None:
        self.connection = connection
        self.party = party
        self.heard = self.taken = 0.0
        self.over = self.done = self.early = self.drained = False
        self.signs = 0
        self._secured = isinstance(connection, ssl.SSLSocket)
        self._scratch = memoryview(bytearray(SCRATCH))
        self._begin = self._end = 0
        self._payload = memoryview(b"")
        self._filled = 0
        self._out: deque[memoryview] = deque()

    # ---- out

    @property
    def flushed(self) -> bool:
        """Whether the kernel has everything that was pushed."""
        return not self._out

    def push(self, head: bytes, parts: Sequence[memoryview] = ()) -> int:
        """Queue bytes for `flush`; the parts must not change until then. Returns how many bytes the parts have."""
        size = sum(map(len, parts))
        if size <= _SMALL:
            self._out.append(memoryview(head + b"".join(parts) if size else head))
        else:
            self._out.append(memoryview(head))
            self._out.extend(part for part in parts if len(part))
        return size

    def flush(self) -> bool:
        """Send what the socket takes. Returns whether it took anything.

        Raises:
            OSError: the connection is broken.
        """
        moved, out = False, self._out
        try:
            while out:
                if self._secured or len(out) == 1:
                    count = self.connection.send(out[0])
                else:
                    count = self.connection.sendmsg(list(islice(out, _PIECES)))
                moved = True
                if len(out) == 1 and count == len(out[0]):
                    out.clear()
                    break
                while count:
                    first = out[0]
                    if count < len(first):
                        out[0] = first[count:]
                        break
                    count -= len(first)
                    out.popleft()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        return moved

    # ---- in

    @property
    def room(self) -> bool:
        """Whether `fill` has where to put something."""
        return self._filled < len(self._payload) or self._end - self._begin < SCRATCH

    def fill(self) -> bool:
        """Read once. Returns whether something came; `over` is set where nothing will come any more.

        `drained` is set where a plain socket had no more to give: then there is no need to ask it again.

        Raises:
            OSError: the connection is broken.
        """
        into_payload = self._filled < len(self._payload)
        if into_payload:
            space = self._payload[self._filled :]
        else:
            if self._begin:
                kept = self._end - self._begin
                if kept:
                    self._scratch[:kept] = self._scratch[self._begin : self._end]
                self._begin, self._end = 0, kept
            space = self._scratch[self._end :] if self._end else self._scratch
        try:
            count = self.connection.recv_into(space)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if count == 0:
            self.over = True
            return False
        self.drained = count < len(space) and not self._secured
        if into_payload:
            self._filled += count
        else:
            self._end += count
        return True

    @property
    def pending(self) -> bool:
        """Whether TLS holds bytes that the event loop knows nothing of."""
        return isinstance(self.connection, ssl.SSLSocket) and self.connection.pending() > 0

    @property
    def unread(self) -> bool:
        """Whether bytes are here that nobody has taken."""
        return self._end > self._begin

    def head(self) -> bytes | None:
        """The next header, notice or sign (`ALIVE`, `DONE`, `EARLY`), which stays there; None where it is not whole.

        Raises:
            ValueError: its length is none that this protocol has.
        """
        begin, have = self._begin, self._end - self._begin
        if have < 2:
            return None
        size = self._scratch[begin] | self._scratch[begin + 1] << 8
        if size < len(_SIGNS):
            return _SIGNS[size]
        if size > FRAME_MAX:
            raise ValueError(f"a header of {size} bytes; the longest has {FRAME_MAX}")
        if have < 2 + size:
            return None
        return self._scratch[begin + 2 : begin + 2 + size].tobytes()

    def skip(self, head: bytes) -> None:
        """Take what `head` returned away."""
        self._begin += 2 if head in _SIGNS else 2 + len(head)

    def small(self, size: int) -> bytes | None:
        """The next `size` bytes, if they are few and all of them are here."""
        begin, end = self._begin, self._begin + size
        if size > _SMALL or end > self._end:
            return None
        self._begin = end
        return self._scratch[begin:end].tobytes()

    def expect(self, payload: memoryview) -> None:
        """Read the next bytes into `payload`, those first that are here already."""
        count = min(len(payload), self._end - self._begin)
        payload[:count] = self._scratch[self._begin : self._begin + count]
        self._begin += count
        self._payload, self._filled = payload, count

    @property
    def whole(self) -> bool:
        """Whether the payload that is expected is there."""
        return self._filled == len(self._payload)

    # ---- the end

    def discard(self) -> bool:
        """Read and forget. Returns whether more may come later.

        Raises:
            OSError: the connection is broken.
        """
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self.connection.recv_into(self._scratch):
                pass
            self.over = True
        return not self.over

    async def goodbye(self) -> None:
        """Send what is queued, close this side, and wait until the peer has closed its own.

        A socket that is closed with unread bytes in it is reset, which can destroy what its peer has not read yet.
        """
        with suppress(OSError):
            while not self.flushed:
                self.flush()
                if not self.flushed:
                    await writable(self.connection)
            self.connection.shutdown(socket.SHUT_WR)
            while self.discard():
                await readable(self.connection)

    def close(self) -> None:
        """Close at once."""
        self._out.clear()
        self.connection.close()


async def readable(connection: socket.socket) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    await _once(loop.add_reader, loop.remove_reader, connection)


async def writable(connection: socket.socket) -> None:
    """Wait until the socket takes something."""
    loop = asyncio.get_running_loop()
    await _once(loop.add_writer, loop.remove_writer, connection)


async def _once(
    add: Callable[..., object], remove: Callable[[socket.socket], object], connection: socket.socket
) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(connection, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        remove(connection)
