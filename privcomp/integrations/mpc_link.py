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
        heard, taken: when the peer last sent something, and took something, on the loop's clock; kept by the caller.
        over: the peer has closed its side.
        done: the peer has said that its program has returned.
        signs: signs of life since the caller last looked; kept by the caller.
        early: the last thing that the peer said is that it is not connected to all yet; kept by the caller.
    """

    def __init__(self, connection: socket.socket, party: int) -> None:
        self.connection = connection
        self.party = party
        self.heard = self.taken = 0.0
        self.over = self.done = self.early = False
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

    def push(self, head: bytes, parts: Sequence[memoryview] = ()) -> None:
        """Queue bytes for `flush`; the parts must not change until then."""
        if sum(map(len, parts)) <= _SMALL:
            self._out.append(memoryview(head + b"".join(parts)))
        else:
            self._out.append(memoryview(head))
            self._out.extend(part for part in parts if len(part))

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

        Raises:
            OSError: the connection is broken.
        """
        if self._filled < len(self._payload):
            space = self._payload[self._filled :]
        else:
            if self._begin:
                self._scratch[: self._end - self._begin] = self._scratch[self._begin : self._end]
                self._begin, self._end = 0, self._end - self._begin
            space = self._scratch[self._end :]
        try:
            count = self.connection.recv_into(space)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if count == 0:
            self.over = True
            return False
        if self._filled < len(self._payload):
            self._filled += count
        else:
            self._end += count
        return True

    @property
    def drained(self) -> bool:
        """Whether a plain socket had no more to give than `fill` took: then there is no need to ask it again."""
        whole = self._filled < len(self._payload) or self._end < SCRATCH
        return whole and not self._secured

    @property
    def pending(self) -> bool:
        """Whether TLS holds bytes that the event loop knows nothing of."""
        return isinstance(self.connection, ssl.SSLSocket) and self.connection.pending() > 0

    def head(self) -> bytes | None:
        """The next header, notice or sign (`ALIVE`, `DONE`, `EARLY`), which stays there; None where it is not whole.

        Raises:
            ValueError: its length is none that this protocol has.
        """
        have = self._end - self._begin
        if have < 2:
            return None
        mark = bytes(self._scratch[self._begin : self._begin + 2])
        if mark in (ALIVE, DONE, EARLY):
            return mark
        size = int.from_bytes(mark, "little")
        if size > FRAME_MAX:
            raise ValueError(f"a header of {size} bytes; the longest has {FRAME_MAX}")
        if have < 2 + size:
            return None
        return bytes(self._scratch[self._begin + 2 : self._begin + 2 + size])

    def skip(self, head: bytes) -> None:
        """Take what `head` returned away."""
        self._begin += 2 if head in (ALIVE, DONE, EARLY) else 2 + len(head)

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
