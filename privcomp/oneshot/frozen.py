"""What a server writes down so that a restart loses no round.

Before the survivors are fixed that is the announcement: clients send what their journals hold again. Afterwards the
clients may be gone, and members vote and answer for one set only, so the proposal, the sum of its ciphertexts, what
members need to be given again, votes and answers are kept. Nothing of it is secret to the server; the hash shows that
it comes back unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar

from privcomp.codec import U8, U16, Blob, Codec, Fixed, Message, Seq, Tup
from privcomp.errors import CodecError
from privcomp.keys import ID_MAX_BYTES
from privcomp.oneshot.committee import MAX_MEMBERS
from privcomp.oneshot.messages import MAX_ANNOUNCE, MAX_CLIENTS

__all__ = ["PREFIX", "Frozen", "read", "write"]

_WHOLE = (1 << 32) - 1


@dataclass(frozen=True)
class Frozen(Message):
    """A round that was announced, or one whose survivors are fixed.

    Attributes:
        stage: index of the stage.
        announce: the announcement.
        uploads: the signed last messages of all complete uploads, by increasing id: members were given these.
        accepts: the members' Accept messages, by increasing place.
        survivors: (id, upload digest) of U; empty before it is fixed.
        votes: (place, signature), by increasing place.
        answers: the Answer messages, by increasing place.
        total: the sum of the ciphertexts of U, u64 little endian.
    """

    TAG: ClassVar[int] = 0x0931
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("stage", U8),
        ("announce", Blob(MAX_ANNOUNCE)),
        ("uploads", Seq(Blob(1 << 26), MAX_CLIENTS)),
        ("accepts", Seq(Blob(1 << 20), MAX_MEMBERS)),
        ("survivors", Seq(Tup(Blob(ID_MAX_BYTES), Fixed(32)), MAX_CLIENTS)),
        ("votes", Seq(Tup(U16, Fixed(64)), MAX_MEMBERS)),
        ("answers", Seq(Blob(1 << 17), MAX_MEMBERS)),
        ("total", Blob(_WHOLE)),
    )
    EXPANSION: ClassVar[int] = 8
    stage: int
    announce: bytes
    uploads: tuple[bytes, ...]
    accepts: tuple[bytes, ...]
    survivors: tuple[tuple[bytes, bytes], ...]
    votes: tuple[tuple[int, bytes], ...]
    answers: tuple[bytes, ...]
    total: bytes


@dataclass(frozen=True)
class _Sealed(Message):
    TAG: ClassVar[int] = 0x0932
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("hash", Fixed(32)), ("body", Blob(_WHOLE)))
    hash: bytes
    body: bytes


PREFIX = _Sealed.prefix()


def write(frozen: Frozen) -> bytes:
    """The bytes of a frozen round, behind their SHA-256."""
    body = frozen.to_bytes()
    return _Sealed(sha256(body).digest(), body).to_bytes()


def read(data: bytes) -> Frozen:
    """The inverse of `write`.

    Raises:
        CodecError: other bytes, or damaged ones.
    """
    sealed = _Sealed.from_bytes(data, max_bytes=len(data))
    if sha256(sealed.body).digest() != sealed.hash:
        raise CodecError("the stored round was changed on disk")
    return Frozen.from_bytes(sealed.body, max_bytes=len(sealed.body))
