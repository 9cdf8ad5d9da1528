"""The announcement of a round: the secure-aggregation announcement with the ledger headers that lead to its head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from privcomp.codec import Blob, Codec, Fixed, Message, Nested, Seq
from privcomp.ledger import Header

__all__ = ["RoundAnnouncement"]


@dataclass(frozen=True)
class RoundAnnouncement(Message):
    """Stage 0, server to one client.

    Attributes:
        ledger_key: public key that signs the ledger.
        headers: all record headers since the head that this client last signed.
        announce: bytes of the secure-aggregation announcement; binds the ledger head.
    """

    TAG: ClassVar[int] = 0x40
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("ledger_key", Fixed(32)),
        ("headers", Seq(Nested(Header), 1 << 20)),
        ("announce", Blob(1 << 17)),
    )
    EXPANSION: ClassVar[int] = 8
    ledger_key: bytes
    headers: tuple[Header, ...]
    announce: bytes
