"""Frames over TLS: what server and node of `privcomp.integrations.asyncio_tcp` have in common.

A frame is its body's length (u32), its type (u8) and its body. The length is checked, against what this type may have
at this moment, before anything is read.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from privcomp.errors import RemoteError
from privcomp.integrations import tls

#: Version of the frames; both sides refuse another one.
VERSION: Final = 1
HELLO, ANSWER, DONE, REFUSED, PONG = range(1, 6)
WELCOME, REQUEST, PING, BYE = range(16, 20)
FINISHED, STOPPING, TURNED_AWAY, REPLACED = range(4)

_HEADER = struct.Struct("<IB")
NUMBER = struct.Struct("<I")
_GREETING = struct.Struct("<12sI32s")
_MAGIC = b"privcomp-tcp"
CHUNK = 1 << 16
MAX_NOTE = 512

#: tap(id, "in" or "out", bytes): sees the plaintext of a connection, frame headers included; for transcripts.
Tap = Callable[[bytes, str, bytes], None]


@dataclass(frozen=True)
class Limits:
    """What one side grants the other.

    Args:
        connections: most connections at a time that are not, or not yet, a node's (server); one address has half of
            them, or as many as the roster; beyond that the oldest is dropped. None: twice the roster and 256.
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


class Channel:
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
                for start in range(0, len(part), CHUNK):
                    await self._put(view[start : start + CHUNK])

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

    def nudge(self, kind: int) -> None:
        """Send an empty frame, without waiting; not while another is sent, which is a sign of life as well."""
        if not self._lock.locked():
            data = _HEADER.pack(0, kind)
            if self._tap is not None:
                self._tap(self._party, "out", data)
            self.sent += len(data)
            self._writer.write(data)

    async def bye(self, code: int, text: str) -> None:
        """Say why, and close."""
        with suppress(OSError):
            await self.write(BYE, bytes([code]), text.encode()[:MAX_NOTE])
        await self.close()

    async def close(self) -> None:
        """Close, sending what was written."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()


def greeting(head: bytes) -> bytes:
    """Body of HELLO and WELCOME: magic, version, and the ledger head that this side knows (zeros: none)."""
    return _GREETING.pack(_MAGIC, VERSION, head)


def greeted(body: bytes, who: bytes, what: str) -> bytes:
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


class Closed(Exception):
    """The server said goodbye."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


async def pinging(channel: Channel, kind: int, seconds: float) -> None:
    """Send an empty frame every few seconds, until the connection is lost."""
    with suppress(OSError):
        while True:
            await asyncio.sleep(seconds)
            await channel.write(kind)


def farewell(body: bytes) -> Closed:
    """The body of BYE, without what could do something to a terminal."""
    text = "".join(c if c.isprintable() else "?" for c in body[1:].decode("utf-8", "replace"))
    return Closed(body[0] if body else STOPPING, text)


def certificate(writer: asyncio.StreamWriter) -> bytes | None:
    """The peer's own certificate, DER."""
    connection = writer.get_extra_info("ssl_object")
    return connection.getpeercert(binary_form=True) if connection is not None else None


def shown(party: bytes) -> str:
    """An id as a log has it."""
    return repr(party.decode("utf-8", "replace"))


def explained(error: OSError) -> str:
    """What went wrong with a connection, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error) or type(error).__name__
