"""Faults of networks and machines, drawn from the simulation's seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from privcomp.journal import Entry, MemoryJournal
from privcomp.simulation.coins import Coins

__all__ = ["Crash", "CrashingJournal", "Faults", "corrupted", "fork_journal"]


@dataclass(frozen=True)
class Faults:
    """How often things go wrong.

    Attributes:
        drop, duplicate, delay, corrupt, replay: probability per message that it is lost; comes twice; comes late (by up
            to two stages); is damaged; is followed by a repeat of an earlier message of this or an earlier round.
        crash: probability per step of a client that it dies: before or after its journal is written, or half-way
        through
            sending. Half of the crashed clients come back, from their journal.
        late: probability per client and round that it hears nothing of the round's beginning.
        vanish: probability per client and round that it goes away for good at a random stage of the round.
        latency: a message takes 1..latency ticks, so that messages overtake each other.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    corrupt: float = 0.0
    replay: float = 0.0
    crash: float = 0.0
    late: float = 0.0
    vanish: float = 0.0
    latency: int = 16

    NONE: ClassVar[Faults]
    LIGHT: ClassVar[Faults]
    HEAVY: ClassVar[Faults]


Faults.NONE = Faults()
Faults.LIGHT = Faults(0.03, 0.10, 0.03, 0.003, 0.10, 0.02, 0.02, 0.02)
Faults.HEAVY = Faults(0.15, 0.20, 0.10, 0.02, 0.20, 0.06, 0.10, 0.10)


def corrupted(data: bytes, coins: Coins) -> bytes:
    """The bytes, damaged: flipped bits, cut off, or with something behind them; never the same."""
    kind = coins.below(8)
    if kind == 0 and data:
        return data[: coins.below(len(data))]
    if kind == 1 or not data:
        return data + coins.bytes(coins.between(1, 16))
    out = bytearray(data)
    # Mostly anywhere, sometimes in the header and the first fields.
    reach = min(len(out), 48) if kind == 2 else len(out)
    for place in {coins.below(8 * reach) for _ in range(coins.between(1, 3))}:
        out[place >> 3] ^= 1 << (place & 7)
    return bytes(out)


class Crash(BaseException):
    """The simulated process died here; not an Exception, so that nobody handles it by accident."""


class CrashingJournal(MemoryJournal):
    """A journal whose process can be made to die at the next write: nothing of it, or all of it, is on the disk."""

    def __init__(self, identity: bytes) -> None:
        super().__init__(identity)
        self.die: str = ""

    def _write(self, entry: Entry, secrets: bytes | None) -> None:
        if self.die == "before":
            raise Crash
        super()._write(entry, secrets)
        if self.die == "after":
            raise Crash

    def remember(self, name: str, data: bytes) -> None:
        if self.die == "remember":
            raise Crash
        super().remember(name, data)


def fork_journal(journal: MemoryJournal) -> MemoryJournal:
    """A copy of a journal as a backup would hold it."""
    copy = type(journal)(journal.identity)
    copy._entries = list(journal._entries)
    copy._answers = dict(journal._answers)
    copy._round_secrets = dict(journal._round_secrets)
    copy._index = dict(journal._index)
    copy._remembered = dict(journal._remembered)
    return copy
