"""What a server writes down so that a restart loses no round whose survivors are fixed.

A node answers the last stage for one survivor set per model (rule 6). A server that forgot the masked sum after it had
asked for the answers could never ask for another one, so the sum, the sets, the signatures and the answers so far are
kept. None of this is secret to the server; what it must not do is come back changed, hence the hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar

from privcomp.codec import U32, Blob, Codec, Fixed, Message, Nested, Seq
from privcomp.errors import CodecError
from privcomp.secagg.messages import MAX_CLIENTS, PairSecret, QuorumSignature

__all__ = ["Frozen", "FrozenPair"]


@dataclass(frozen=True)
class FrozenPair(Message):
    """Hybrid mode: the pair secret that `low` sent for `high` (places)."""

    TAG: ClassVar[int] = 0x3A
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("low", U32), ("high", U32), ("sent", Nested(PairSecret)))
    low: int
    high: int
    sent: PairSecret


@dataclass(frozen=True)
class Frozen(Message):
    """A round that was announced (`u` empty), or one whose survivors are fixed.

    Attributes:
        announce: the announcement.
        advertisements: the signed stage-0 messages, ascending by id.
        pairs: hybrid mode only.
        u2, u: bitmaps over the key list.
        quorum: consistency signatures, ascending by signer.
        answers: the stage-4 messages that came, ascending by place.
        sums: per segment the bytes of the accumulator: the sum of the masked inputs.
    """

    TAG: ClassVar[int] = 0x3B
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("announce", Blob(1 << 17)),
        ("advertisements", Seq(Blob(1 << 13), MAX_CLIENTS)),
        ("pairs", Seq(Nested(FrozenPair), 1 << 28)),
        ("u2", Blob(MAX_CLIENTS // 8)),
        ("u", Blob(MAX_CLIENTS // 8)),
        ("quorum", Seq(Nested(QuorumSignature), MAX_CLIENTS)),
        ("answers", Seq(Blob((1 << 32) - 1), MAX_CLIENTS)),
        ("sums", Seq(Blob((1 << 32) - 1), 1 << 10)),
    )
    EXPANSION: ClassVar[int] = 8
    announce: bytes
    advertisements: tuple[bytes, ...]
    pairs: tuple[FrozenPair, ...]
    u2: bytes
    u: bytes
    quorum: tuple[QuorumSignature, ...]
    answers: tuple[bytes, ...]
    sums: tuple[bytes, ...]


@dataclass(frozen=True)
class _Sealed(Message):
    TAG: ClassVar[int] = 0x3C
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("hash", Fixed(32)), ("body", Blob((1 << 32) - 1)))
    hash: bytes
    body: bytes


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
