"""The append-only ledger file of a server, and what a client keeps of it.

File: `PCLEDGER`, version u32, the server's public key (32 bytes), then frames: length u32, its complement u32, header,
record. The complement tells a damaged length from a write that was cut short: only the latter may be repaired.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Final, Self

from privcomp.codec import U64, Codec, Fixed, Message
from privcomp.errors import CodecError, LedgerError
from privcomp.keys import Identity
from privcomp.ledger.record import HEADER_BYTES, MAX_RECORD_BYTES, Header, Record, genesis

__all__ = ["HeaderChain", "Ledger", "recover"]

_KEPT_EXTRA: Final = 1 << 16
_MAGIC: Final = b"PCLEDGER"
_VERSION: Final = 1
_PREAMBLE_BYTES: Final = 44
_FRAME = struct.Struct("<II")


class FrameError(LedgerError):
    """The file is not a sequence of whole frames; `torn` if its last write was cut short."""

    def __init__(self, message: str, *, offset: int, torn: bool = False) -> None:
        super().__init__(message)
        self.offset = offset
        self.torn = torn


def read_preamble(file: BinaryIO) -> bytes:
    """Read magic, version and key; returns the key (32 bytes), raises FrameError."""
    data = file.read(_PREAMBLE_BYTES)
    if len(data) < _PREAMBLE_BYTES:
        raise FrameError(
            f"the file has {len(data)} bytes, a ledger begins with {_PREAMBLE_BYTES}; it was never completely created: "
            "move it away",
            offset=0,
        )
    if data[:8] != _MAGIC:
        raise FrameError("the file does not begin with 'PCLEDGER': this is no ledger", offset=0)
    version = int.from_bytes(data[8:12], "little")
    if version != _VERSION:
        raise FrameError(f"the ledger has file version {version}, this library reads {_VERSION}", offset=8)
    return data[12:]


def read_frames(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (header, record) bytes of every frame; raises FrameError where one is not whole."""
    offset = _PREAMBLE_BYTES
    while prefix := file.read(_FRAME.size):
        if len(prefix) < _FRAME.size:
            raise FrameError(
                f"the last write, at offset {offset}, was cut short; call privcomp.ledger.recover on a copy",
                offset=offset,
                torn=True,
            )
        length, complement = _FRAME.unpack(prefix)
        if length ^ complement != 0xFFFFFFFF or not HEADER_BYTES < length <= HEADER_BYTES + MAX_RECORD_BYTES:
            raise FrameError(
                f"the length of the frame at offset {offset} is damaged; restore the file from a copy", offset=offset
            )
        payload = file.read(length)
        if len(payload) < length:
            raise FrameError(
                f"the last write, at offset {offset}, has {len(payload)} of {length} bytes; "
                "call privcomp.ledger.recover on a copy",
                offset=offset,
                torn=True,
            )
        yield payload[:HEADER_BYTES], payload[HEADER_BYTES:]
        offset += _FRAME.size + length


@dataclass(frozen=True)
class HeaderChain(Message):
    """What a client remembers of a server's ledger: how long it was and its head when the client last signed.

    Args:
        ledger_key: the server's public key, 32 bytes, from the client's own policy.
        count: number of records.
        head: 32 bytes.
    """

    TAG: ClassVar[int] = 0x0702
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ledger_key", Fixed(32)),
        ("count", U64),
        ("head", Fixed(32)),
    )
    ledger_key: bytes
    count: int
    head: bytes

    @classmethod
    def start(cls, ledger_key: bytes) -> Self:
        """The chain of a client that has seen nothing yet."""
        return cls(ledger_key, 0, genesis(ledger_key))

    def extend(self, headers: Iterable[Header]) -> Self:
        """Follow the headers that an announcement carries; returns the longer chain and leaves this one as it is.

        Args:
            headers: all headers since `head`, in order; none if nothing was appended.

        Raises:
            LedgerError: a gap, a fork, or a header that the ledger key did not sign. The client sits out.
        """
        count, head = self.count, self.head
        for header in headers:
            if header.index != count:
                raise LedgerError(
                    f"header {header.index} came where {count} must follow: the server left a gap or went back; "
                    "this node sits out"
                )
            if header.previous != head:
                raise LedgerError(
                    f"header {count} follows another head than the one this node knows: the ledger was forked or "
                    "rewritten; this node sits out"
                )
            if not header.verify(self.ledger_key):
                raise LedgerError(f"header {count} is not signed by the ledger key of the policy; this node sits out")
            count, head = count + 1, header.hash
        return type(self)(self.ledger_key, count, head)


class Ledger:
    """The server's ledger: append-only, hash-chained, signed, under an exclusive lock while it is open.

    Args:
        path: the file, created if it does not exist; None keeps the ledger in memory.
        identity: the server's ledger key.

    Raises:
        LedgerError: the file is in use, belongs to another key, is damaged, or its last write was cut short (which is
            never repaired silently, see `recover`).

    Example:
        >>> ledger = Ledger(None, Identity.from_seed(bytes(32)))
        >>> len(ledger), ledger.head == genesis(ledger.public)
        (0, True)
    """

    def __init__(self, path: str | os.PathLike[str] | None, identity: Identity) -> None:
        self._identity = identity
        self._headers: list[Header] = []
        self._records: list[Record] = []
        self._heads: dict[bytes, int] = {genesis(identity.public): 0}
        self._head = genesis(identity.public)
        self._extras: dict[str, bytes] = {}
        self._fd: int | None = None
        self.path = None if path is None else Path(path)
        if self.path is not None:
            self._open(self.path)

    @property
    def identity(self) -> Identity:
        """The server's ledger key; it also signs what a server announces in one-shot rounds."""
        return self._identity

    def _open(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LedgerError(f"the ledger {path} cannot be opened: {error.strerror}") from None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LedgerError(f"the ledger {path} is open in another process; a ledger has one writer") from None
            if os.fstat(fd).st_size == 0:
                _write_all(fd, _MAGIC + _VERSION.to_bytes(4, "little") + self._identity.public)
                os.fsync(fd)
                _sync_directory(path)
            else:
                self._load(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _load(self, fd: int) -> None:
        with open(fd, "rb", closefd=False) as file:
            key = read_preamble(file)
            if key != self._identity.public:
                raise LedgerError(
                    f"the ledger belongs to key {key.hex()[:16]}..., the identity is "
                    f"{self._identity.public.hex()[:16]}...; open it with its own identity"
                )
            for header_bytes, record_bytes in read_frames(file):
                header, record = decode_frame(header_bytes, record_bytes, len(self._headers))
                problem = check_link(header, record, len(self._headers), self._head, key)
                if problem is not None:
                    raise LedgerError(f"record {len(self._headers)}: {problem[1]}; restore the file from a copy")
                self._accept(header, record)

    def _accept(self, header: Header, record: Record) -> None:
        self._headers.append(header)
        self._extras.update((name, data) for name, data in record.extras if len(data) <= _KEPT_EXTRA)
        self._head = header.hash
        self._heads[self._head] = len(self._headers)

    @property
    def public(self) -> bytes:
        """The server's ledger key, 32 bytes."""
        return self._identity.public

    @property
    def head(self) -> bytes:
        """Hash of the last header, 32 bytes; what the next announcement carries."""
        return self._head

    @property
    def headers(self) -> tuple[Header, ...]:
        """All headers, oldest first."""
        return tuple(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def __bool__(self) -> bool:
        return True  # an empty ledger is a ledger: `ledger or default` must not drop it

    def newest_extra(self, name: str) -> bytes | None:
        """The small extra (at most 64 KiB) of this name in the newest record that has one; None: none has."""
        return self._extras.get(name)

    def headers_since(self, head: bytes) -> tuple[Header, ...]:
        """The headers after `head`, for a client that last signed there.

        Raises:
            LedgerError: this ledger never had that head.
        """
        try:
            return tuple(self._headers[self._heads[head] :])
        except KeyError:
            raise LedgerError(
                "the client's head is not in this ledger: it was cut, forked or restored from an old copy; the client "
                "will sit out until the operator has settled which ledger is right"
            ) from None

    def append(self, record: Record) -> Header:
        """Sign and append one record, synced to disk before this returns.

        Args:
            record: with `index == len(self)` and `previous == self.head`.

        Returns:
            The signed header.

        Raises:
            LedgerError: closed, the record does not follow the head, or it cannot be written (the file is then as
                before).
            ParameterError: a field of the record is malformed.
        """
        if self.path is not None and self._fd is None:
            raise LedgerError("the ledger is closed; open it again")
        if record.index != len(self._headers) or record.previous != self._head:
            raise LedgerError(
                f"record {record.index} does not follow the head of {len(self._headers)} records; "
                "build it with index=len(ledger) and previous=ledger.head"
            )
        if record.announced_head not in self._heads:
            raise LedgerError("announced_head is not a head of this ledger; take ledger.head when announcing the round")
        header = Header.sign(self._identity, record)
        payload = header.to_bytes() + record.to_bytes()
        if len(payload) > HEADER_BYTES + MAX_RECORD_BYTES:
            raise LedgerError(
                f"the record has {len(payload)} bytes, at most {MAX_RECORD_BYTES} are allowed; "
                "store the aggregate as an artefact beside the ledger"
            )
        if self._fd is not None:
            self._append_frame(self._fd, _FRAME.pack(len(payload), len(payload) ^ 0xFFFFFFFF) + payload)
        else:
            self._records.append(record)
        self._accept(header, record)
        return header

    def _append_frame(self, fd: int, frame: bytes) -> None:
        end = os.lseek(fd, 0, os.SEEK_END)
        try:
            _write_all(fd, frame)
            os.fsync(fd)
        except OSError as error:
            os.ftruncate(fd, end)
            raise LedgerError(f"the record cannot be written: {error.strerror}; nothing was appended") from None

    def records(self) -> Iterator[Record]:
        """Yield all records, oldest first."""
        if self.path is None:
            yield from self._records
            return
        with open(self.path, "rb") as file:
            read_preamble(file)
            for index, (header_bytes, record_bytes) in enumerate(read_frames(file)):
                yield decode_frame(header_bytes, record_bytes, index)[1]

    def close(self) -> None:
        """Release the file and its lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def decode_frame(header_bytes: bytes, record_bytes: bytes, index: int) -> tuple[Header, Record]:
    """Decode one frame strictly; LedgerError names the record `index`."""
    try:
        header = Header.from_bytes(header_bytes, max_bytes=HEADER_BYTES)
        return header, Record.from_bytes(record_bytes, max_bytes=MAX_RECORD_BYTES)
    except CodecError as error:
        raise LedgerError(f"record {index} is not canonical: {error.message}") from None


def check_link(header: Header, record: Record, index: int, head: bytes, key: bytes) -> tuple[str, str] | None:
    """Check one record's place in the chain; returns (name of the check, what was seen), None if all is well."""
    if header.body_hash != record.body_hash:
        return "body hash", "the header binds another record than the one that is stored"
    if not header.verify(key):
        return "server signature", "the header is not signed by the ledger key"
    if header.index != index or record.index != index:
        return "index", f"place {index} holds header {header.index} and record {record.index}"
    if header.previous != head or record.previous != head:
        return "chain", "the record does not follow the head of the records before it"
    return None


def recover(path: str | os.PathLike[str], ledger_key: bytes) -> int:
    """Cut off a last write that never completed, after saving it beside the ledger as `NAME.torn-OFFSET`.

    Only an incomplete last frame is cut: `Ledger.append` had not returned then, so nobody has seen its head. Any other
    damage is refused.

    Args:
        path: the ledger file.
        ledger_key: the server's ledger key, 32 bytes.

    Returns:
        Number of bytes that were cut off; 0 if the file is whole.

    Raises:
        LedgerError: the file is in use, no ledger, another key's, or damaged elsewhere.
    """
    path = Path(path)
    try:
        file = open(path, "r+b")  # noqa: SIM115 (closed by the with statement below)
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be opened: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LedgerError(f"the ledger {path} is open in another process; close it first") from None
        key = read_preamble(file)
        if key != ledger_key:
            raise LedgerError(f"the ledger names key {key.hex()[:16]}..., expected is {ledger_key.hex()[:16]}...")
        head, index = genesis(key), 0
        try:
            for header_bytes, record_bytes in read_frames(file):
                header, record = decode_frame(header_bytes, record_bytes, index)
                problem = check_link(header, record, index, head, key)
                if problem is not None:
                    raise LedgerError(f"record {index}: {problem[1]}; this is no torn write, restore from a copy")
                head, index = header.hash, index + 1
        except FrameError as error:
            if not error.torn:
                raise
            file.seek(error.offset)
            tail = file.read()
            saved = path.with_name(f"{path.name}.torn-{error.offset}")
            with open(saved, "xb") as backup:
                backup.write(tail)
                backup.flush()
                os.fsync(backup.fileno())
            file.truncate(error.offset)
            file.flush()
            os.fsync(file.fileno())
            _sync_directory(path)
            return len(tail)
    return 0


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(path: Path) -> None:
    # A new file's name is on disk only once its folder is synced.
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
