"""An upload is authenticated before anything parses it.

    LE16(bytes of the header) || header || payload || tag

A ciphertext is malleable: whoever adds a constant to it adds a constant to the sum. Hence the tag covers the header,
which names the round, the parameters, the length, the budgets and the sender, and every byte of the payload. Two kinds:

* a signature by the sender's long-term Ed25519 key over the header and SHA-256(payload): anybody with the roster can
  check it;
* a MAC under a key of 32 bytes that sender and aggregator share:
      tag = HMAC-SHA256(k2, lp(header, Poly1305_k1(payload))),   k1, k2 = HKDF(key, header).
  A universal hash under a PRF (Carter and Wegman; Poly1305 is almost universal: two payloads of L bytes collide with
  probability at most 8 ceil(L/16) / 2^106 over k1, below 2^-82 for 40 MB). There is no nonce that a repeated `rng`
  could reuse. Four times faster than the signature's hash, and proves nothing to third parties.

The engines share this module; what they put in front of the wire is theirs.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from cryptography.hazmat.primitives.poly1305 import Poly1305

from privcomp.codec import lp
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.he.messages import MAC, MAX_HEADER_BYTES, SIGNATURE, UploadHeader
from privcomp.keys import Identity, Roster, check_id, constant_time_equal, hkdf, verify

__all__ = [
    "KeyedReceiver",
    "KeyedSender",
    "Receiver",
    "RosterReceiver",
    "Sender",
    "SigningSender",
    "read_upload",
    "write_upload",
]

STAGE: Final = "he-upload"
_LABEL: Final = "privcomp/he/upload"
_U16 = struct.Struct("<H")
UPLOAD_PREFIX: Final = _U16.size  # bytes in front of the header
_Block = TypeVar("_Block", bytes, memoryview)


class _Hash(ABC):
    """What a tag is computed from: the payload, block by block."""

    @abstractmethod
    def update(self, block: bytes | memoryview) -> None:
        """Append a block of the payload."""

    @abstractmethod
    def digest(self) -> bytes:
        """The hash; once."""


class _Sha256(_Hash):
    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def update(self, block: bytes | memoryview) -> None:
        self._state.update(block)

    def digest(self) -> bytes:
        return self._state.digest()


class _KeyedHash(_Hash):
    def __init__(self, key: bytes, header: bytes) -> None:
        both = hkdf(key, header, label=_LABEL + "/mac-keys", length=64)
        self._outer = both[32:]
        self._header = header
        self._inner = Poly1305(both[:32])

    def update(self, block: bytes | memoryview) -> None:
        self._inner.update(block)

    def digest(self) -> bytes:
        return hmac.digest(self._outer, lp(self._header, self._inner.finalize()), "sha256")


class Sender(ABC):
    """Who authenticates uploads, and how.

    Attributes:
        party: id of the sender.
        tag_kind, tag_bytes: what stands behind the payload.
    """

    party: bytes
    tag_kind: int
    tag_bytes: int

    @abstractmethod
    def start(self, header: bytes) -> _Hash:
        """A fresh hash for one payload."""

    @abstractmethod
    def tag(self, header: bytes, payload_hash: bytes) -> bytes:
        """The tag for a hash."""


class SigningSender(Sender):
    """Signs with a long-term identity.

    Args:
        party: id of the sender, 1..64 bytes.
        identity: its Ed25519 key.
    """

    tag_kind = SIGNATURE
    tag_bytes = 64

    def __init__(self, party: bytes, identity: Identity) -> None:
        self.party = check_id(party)
        self._identity = identity

    def __repr__(self) -> str:
        return f"SigningSender({self.party!r}, {self._identity!r})"

    def start(self, header: bytes) -> _Hash:
        """See `Sender`."""
        return _Sha256()

    def tag(self, header: bytes, payload_hash: bytes) -> bytes:
        """See `Sender`."""
        return self._identity.sign(_LABEL, header, payload_hash)


class KeyedSender(Sender):
    """Authenticates with a key that it shares with the aggregator.

    Args:
        party: id of the sender, 1..64 bytes.
        key: 32 secret bytes, of this pair of parties only.

    Raises:
        ParameterError: an id or a key of another length.
    """

    tag_kind = MAC
    tag_bytes = 32

    def __init__(self, party: bytes, key: bytes) -> None:
        self.party = check_id(party)
        self._key = _check_key(key)

    def __repr__(self) -> str:
        return f"KeyedSender({self.party!r}, key=<redacted>)"

    def start(self, header: bytes) -> _Hash:
        """See `Sender`."""
        return _KeyedHash(self._key, header)

    def tag(self, header: bytes, payload_hash: bytes) -> bytes:
        """See `Sender`."""
        return payload_hash


class Receiver(ABC):
    """Who may send, and what proves it.

    Attributes:
        tag_kind, tag_bytes: what must stand behind the payload.
    """

    tag_kind: int
    tag_bytes: int

    @abstractmethod
    def __contains__(self, party: object) -> bool:
        """Whether this party may send."""

    @abstractmethod
    def start(self, party: bytes, header: bytes) -> _Hash:
        """A fresh hash for one payload of this party."""

    @abstractmethod
    def accepts(self, party: bytes, header: bytes, payload_hash: bytes, tag: bytes) -> bool:
        """Whether the party made this tag."""


class RosterReceiver(Receiver):
    """Checks signatures against a roster.

    Args:
        roster: who may send.
    """

    tag_kind = SIGNATURE
    tag_bytes = 64

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def __contains__(self, party: object) -> bool:
        return party in self._roster

    def start(self, party: bytes, header: bytes) -> _Hash:
        """See `Receiver`."""
        return _Sha256()

    def accepts(self, party: bytes, header: bytes, payload_hash: bytes, tag: bytes) -> bool:
        """See `Receiver`."""
        return verify(self._roster.public(party), tag, _LABEL, header, payload_hash)


class KeyedReceiver(Receiver):
    """Checks MACs.

    Args:
        keys: id -> the 32 secret bytes that this party shares with the aggregator; no two are equal.

    Raises:
        ParameterError: an id or a key of another length, or one key for two parties.
    """

    tag_kind = MAC
    tag_bytes = 32

    def __init__(self, keys: Mapping[bytes, bytes]) -> None:
        self._keys = {check_id(party): _check_key(key) for party, key in keys.items()}
        if len(set(self._keys.values())) != len(self._keys):
            raise ParameterError("two parties have the same MAC key and could speak for each other; give each its own")

    def __repr__(self) -> str:
        return f"KeyedReceiver({len(self._keys)} parties, keys=<redacted>)"

    def __contains__(self, party: object) -> bool:
        return party in self._keys

    def start(self, party: bytes, header: bytes) -> _Hash:
        """See `Receiver`."""
        return _KeyedHash(self._keys[party], header)

    def accepts(self, party: bytes, header: bytes, payload_hash: bytes, tag: bytes) -> bool:
        """See `Receiver`."""
        return constant_time_equal(payload_hash, tag)


def _check_key(key: bytes) -> bytes:
    if type(key) is not bytes or len(key) != 32:
        raise ParameterError("a MAC key is 32 secret bytes; draw it with os.urandom(32)")
    return key


def write_upload(header: UploadHeader, payload: Iterable[_Block], sender: Sender) -> Iterator[bytes | _Block]:
    """Header, payload and tag, block by block: what an aggregator's `add` takes.

    Args:
        header: for these bytes, with the sender's id and tag kind.
        payload: blocks of `header.payload_bytes` bytes together.
        sender: who signs.

    Yields:
        The blocks of the upload; the payload's blocks are passed on as they are.

    Raises:
        ParameterError: the header names another party or tag kind, or another number of bytes than the payload has.
    """
    if header.party != sender.party or header.tag_kind != sender.tag_kind:
        raise ParameterError(
            "the header names another sender or tag kind than the sender has; build it from the sender"
        )
    head = header.to_bytes()
    state, left = sender.start(head), header.payload_bytes
    yield _U16.pack(len(head)) + head
    for block in payload:
        left -= len(block)
        state.update(block)
        yield block
    if left:
        raise ParameterError(f"the payload differs from the header's payload_bytes by {-left} bytes")
    yield sender.tag(head, state.digest())


def read_upload(
    data: bytes | Iterable[bytes], expected: UploadHeader, receiver: Receiver, party: bytes | None = None
) -> tuple[bytes, memoryview]:
    """The authenticated payload of an upload.

    Everything but the tag is compared with what the receiver expects before a byte of the payload is read; nothing is
    allocated for more than that.

    Args:
        data: the upload, whole or in blocks.
        expected: the header that is due; its party and tag kind are not compared.
        receiver: who may send.
        party: who the transport says is sending; None where it cannot say.

    Returns:
        (id of the sender, a read-only view of the payload).

    Raises:
        CodecError: truncated, leftover or not canonical.
        RemoteError: another round, other parameters, an unknown sender, or a tag that does not verify. Its party is the
            transport's: a header that does not verify accuses nobody.
    """
    blocks: Iterator[bytes] = iter((data,)) if isinstance(data, bytes) else iter(data)
    try:
        return _read(blocks, expected, receiver, party)
    except CodecError as error:
        raise error.by(party, STAGE) from None


def _read(
    blocks: Iterator[bytes], expected: UploadHeader, receiver: Receiver, party: bytes | None
) -> tuple[bytes, memoryview]:
    first = memoryview(b"")
    need = _U16.size
    while len(first) < need:  # rarely more than once: the header's bytes come in one block
        first = _more(first, blocks)
        if len(first) >= _U16.size:
            size = _U16.unpack_from(first)[0]
            if size > MAX_HEADER_BYTES:
                raise CodecError(f"a header of {size} bytes is declared; at most {MAX_HEADER_BYTES} are allowed")
            need = _U16.size + size
    head = bytes(first[_U16.size : need])
    header = UploadHeader.from_bytes(head, max_bytes=MAX_HEADER_BYTES)
    _compare(header, expected, receiver, party)
    size = expected.payload_bytes
    state = receiver.start(header.party, head)
    rest = first[need:]
    if len(rest) >= size + receiver.tag_bytes:  # the whole upload in one block: nothing is copied
        payload, tag = rest[:size], rest[size:]
        state.update(payload)
        for block in blocks:
            _leftover(len(_block(block)))
    else:
        staged = bytearray(size + receiver.tag_bytes)
        payload, tag = memoryview(staged)[:size].toreadonly(), memoryview(staged)[size:]
        position = 0
        while True:
            if position + len(rest) > len(staged):
                _leftover(position + len(rest) - len(staged))
            staged[position : position + len(rest)] = rest
            state.update(payload[position : position + len(rest)])
            position += len(rest)
            following = next(blocks, None)
            if following is None:
                break
            rest = memoryview(_block(following))
        if position < len(staged):
            raise CodecError(f"truncated: {len(staged)} bytes follow the header of such an upload, {position} came")
    if len(tag) != receiver.tag_bytes:
        _leftover(len(tag) - receiver.tag_bytes)
    if not receiver.accepts(header.party, head, state.digest(), bytes(tag)):
        raise RemoteError(
            party,
            STAGE,
            f"the tag of an upload that names {header.party!r} does not verify: it was changed on the way, or made "
            "with another key; ask for it again",
        )
    return header.party, payload


def _block(block: object) -> bytes:
    # bytes only: what was authenticated cannot change afterwards
    if not isinstance(block, bytes):
        raise ParameterError(f"an upload is bytes, or an iterable of bytes, not of {type(block).__name__}")
    return block


def _more(seen: memoryview, blocks: Iterator[bytes]) -> memoryview:
    following = next(blocks, None)
    if following is None:
        raise CodecError(f"truncated: the upload ends after {len(seen)} bytes, inside its header")
    block = _block(following)
    return memoryview(block) if not seen else memoryview(bytes(seen) + block)


def _leftover(count: int) -> None:
    if count:
        raise CodecError(f"{count} bytes are left over behind the tag; none are allowed")


def _compare(header: UploadHeader, expected: UploadHeader, receiver: Receiver, party: bytes | None) -> None:
    for name, what in (
        ("engine", "way to encrypt"),
        ("context", "round"),
        ("params", "parameters"),
        ("length", "length"),
        ("clients", "budget of clients"),
        ("weight", "largest weight"),
        ("payload_bytes", "size of the payload"),
    ):
        seen, due = getattr(header, name), getattr(expected, name)
        if seen != due:
            shown = (seen.hex()[:16], due.hex()[:16]) if isinstance(seen, bytes) else (seen, due)
            raise RemoteError(
                party, STAGE, f"the upload was made for another {what}: {name} is {shown[0]}, here {shown[1]} is due"
            )
    if header.tag_kind != receiver.tag_kind:
        raise RemoteError(
            party, STAGE, f"the upload carries tag kind {header.tag_kind}; {receiver.tag_kind} is checked here"
        )
    if party is not None and header.party != party:
        raise RemoteError(party, STAGE, f"the upload names {header.party!r} as its sender; send your own")
    if header.party not in receiver:
        raise RemoteError(party, STAGE, f"{header.party!r} is not among those who may send; check the roster")
