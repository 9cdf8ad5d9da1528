"""What happened in a simulation, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

from privcomp.codec import decode_any, lp
from privcomp.errors import CodecError
from privcomp.secagg.messages import Bundle, BundleMessage, MaskRequest

__all__ = ["Event", "Trace", "wire_digest"]

_HYBRID = {BundleMessage.TAG: BundleMessage, MaskRequest.TAG: MaskRequest}


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        time: virtual time.
        source, target: ids; `b"server"` for the server, empty where there is no other side.
        digest: SHA-256 of the bytes, or empty.
        what: send, drop, deliver, refuse, crash, ...
    """

    time: int
    source: bytes
    target: bytes
    digest: bytes
    what: str


class Trace:
    """The events of a simulation in order.

    Args:
        hybrid: ML-KEM encapsulation takes no coins: the digests stand for messages in which KEM ciphertexts and what
            depends on them are replaced by their lengths.
    """

    def __init__(self, *, hybrid: bool = False) -> None:
        self.hybrid = hybrid
        self.events: list[Event] = []

    def add(self, time: int, source: bytes, target: bytes, data: bytes | None, what: str) -> None:
        """Append an event."""
        seen = b"" if data is None else wire_digest(data, hybrid=self.hybrid)
        self.events.append(Event(time, source, target, seen, what))

    def to_bytes(self) -> bytes:
        """All events, length-prefixed."""
        return b"".join(
            lp(e.time.to_bytes(8, "little"), e.source, e.target, e.digest, e.what.encode()) for e in self.events
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of `to_bytes()`."""
        return sha256(self.to_bytes()).digest()


def wire_digest(data: bytes, *, hybrid: bool) -> bytes:
    """SHA-256 of a message, in hybrid mode of its normal form."""
    if hybrid and int.from_bytes(data[3:5], "little") in _HYBRID:
        try:
            data = _normal(decode_any(data, _HYBRID, max_bytes=len(data)))
        except CodecError:  # damaged on the way: which bytes were hit depends on the ciphertexts
            data = lp(data[:5], len(data).to_bytes(8, "little"))
    return sha256(data).digest()


def _normal(message: object) -> bytes:
    if isinstance(message, BundleMessage):
        return replace(message, bundles=tuple(map(_bundle, message.bundles)), signature=bytes(64)).to_bytes()
    if isinstance(message, MaskRequest):
        return replace(message, bundles=tuple(map(_bundle, message.bundles))).to_bytes()
    raise TypeError(type(message).__name__)


def _bundle(bundle: Bundle) -> Bundle:
    """A bundle without what depends on the coins of the KEM; r_ij and its hash do not."""
    pair = tuple(
        replace(p, ciphertext=bytes(len(p.ciphertext)), sealed=bytes(len(p.sealed)), signature=bytes(64))
        for p in bundle.pair
    )
    return replace(bundle, sealed=bytes(len(bundle.sealed)), ciphertext=bytes(len(bundle.ciphertext)), pair=pair)
