"""What parties send each other: a header per peer and round, with the payload behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from privcomp.codec import U8, U64, Codec, Fixed, Message, Seq, Text

__all__ = ["FRAME_MAX", "REASON_MAX", "AbortNotice", "Greeting", "Nonces", "RoundHeader"]

REASON_MAX: Final = 200


@dataclass(frozen=True)
class RoundHeader(Message):
    """Stands before everything that one party sends to another in one round.

    Args:
        session: digest of the session, 32 bytes.
        sender: index of the party.
        receiver: index of the party that it is for.
        round: counts from 0.
        schedule: digest of every operation that the sender has begun, in order, with its shapes: 32 bytes. Two parties
            that run different programs differ here before they read each other's payload.
        length: bytes of payload behind the header.
    """

    TAG: ClassVar[int] = 0x0B10
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("session", Fixed(32)),
        ("sender", U8),
        ("receiver", U8),
        ("round", U64),
        ("schedule", Fixed(32)),
        ("length", U64),
    )
    session: bytes
    sender: int
    receiver: int
    round: int
    schedule: bytes
    length: int


@dataclass(frozen=True)
class AbortNotice(Message):
    """A party tells the others that it stops, so that nobody waits for it.

    Args:
        session: digest of the session, 32 bytes.
        sender: index of the party.
        reason: for people, at most 200 bytes; says nothing about values.
    """

    TAG: ClassVar[int] = 0x0B11
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("session", Fixed(32)),
        ("sender", U8),
        ("reason", Text(REASON_MAX)),
    )
    session: bytes
    sender: int
    reason: str


@dataclass(frozen=True)
class Greeting(Message):
    """The first thing that two parties say to each other when they connect.

    Args:
        agreement: digest of what both have to have in common: protocol, parties, program and its arguments; 32 bytes.
        sender: index of the party.
        receiver: index of the party that it is for.
        nonce: this party's part of the session's nonce, 32 fresh bytes. Whoever tells two peers different ones ends up
            with peers in different sessions, who compare `Nonces`.
    """

    TAG: ClassVar[int] = 0x0A10
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("agreement", Fixed(32)),
        ("sender", U8),
        ("receiver", U8),
        ("nonce", Fixed(32)),
    )
    agreement: bytes
    sender: int
    receiver: int
    nonce: bytes


@dataclass(frozen=True)
class Nonces(Message):
    """What a party tells its peers before its first round, so that they know who it is whose nonces differ.

    Args:
        sender: index of the party.
        nonces: of all parties, as they told this one; 32 bytes each.
    """

    TAG: ClassVar[int] = 0x0A11
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("sender", U8), ("nonces", Seq(Fixed(32), 255)))
    sender: int
    nonces: tuple[bytes, ...]


FRAME_MAX: Final = 1 << 14
"""No header and no notice is longer."""
