"""A network in one process: virtual time, one queue, faults from a seed; no threads and no clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

from privcomp.simulation.coins import Coins
from privcomp.simulation.faults import Faults, corrupted
from privcomp.simulation.trace import Trace

__all__ = ["Network", "Packet"]

_HISTORY = 200


@dataclass(frozen=True)
class Packet:
    """A message on its way.

    Attributes:
        source, target: ids.
        data: the bytes that arrive.
        sent: the bytes that were sent.
        replayed: an earlier message that comes again.
    """

    source: bytes
    target: bytes
    data: bytes
    sent: bytes
    replayed: bool = False

    @property
    def intact(self) -> bool:
        """Whether nothing happened to it on the way."""
        return self.data == self.sent


class Network:
    """Carries messages between parties that are attached under their ids.

    Args:
        coins: the stream that decides on latency and faults.
        faults: how often what goes wrong; may be changed while the simulation runs.
        trace: receives every event.
    """

    def __init__(self, coins: Coins, faults: Faults, trace: Trace) -> None:
        self.now = 0
        self.faults = faults
        self.trace = trace
        self._coins = coins
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._parties: dict[bytes, Callable[[Packet], None]] = {}
        self._history: list[Packet] = []

    def attach(self, party: bytes, handler: Callable[[Packet], None]) -> None:
        """Deliver what is addressed to `party` to `handler`."""
        self._parties[party] = handler

    def after(self, ticks: int, action: Callable[[], None]) -> None:
        """Run an action later. Actions of one instant run in the order in which they were planned."""
        heapq.heappush(self._queue, (self.now + ticks, self._count, action))
        self._count += 1

    def send(self, source: bytes, target: bytes, data: bytes) -> None:
        """Send a message; it arrives later, or not, or more than once."""
        coins, faults = self._coins, self.faults
        self.trace.add(self.now, source, target, data, "send")
        packet = Packet(source, target, data, data)
        if faults.replay and self._history and coins.chance(faults.replay):
            # Half of the repeats come from the last few messages, half from anywhere in the past.
            recent = self._history[-20:] if coins.chance(0.5) else self._history
            self._deliver(replace(coins.choice(recent), replayed=True))
        if len(self._history) < _HISTORY:
            self._history.append(packet)
        else:
            self._history[coins.below(_HISTORY)] = packet
        if coins.chance(faults.drop):
            self.trace.add(self.now, source, target, None, "drop")
            return
        for _ in range(2 if coins.chance(faults.duplicate) else 1):
            if coins.chance(faults.corrupt):
                self._deliver(replace(packet, data=corrupted(data, coins)))
            else:
                self._deliver(packet)

    def _deliver(self, packet: Packet) -> None:
        coins, faults = self._coins, self.faults
        ticks = coins.between(1, faults.latency)
        if coins.chance(faults.delay):
            ticks += coins.below(600)
        self.after(ticks, lambda: self._arrive(packet))

    def _arrive(self, packet: Packet) -> None:
        what = ("deliver" if packet.intact else "deliver damaged") + (" again" if packet.replayed else "")
        # What damage does to random ciphertexts is random itself: then the trace holds what was sent.
        seen = packet.sent if self.trace.hybrid else packet.data
        self.trace.add(self.now, packet.source, packet.target, seen, what)
        self._parties[packet.target](packet)

    def run(self, finished: Callable[[], bool]) -> None:
        """Let time pass until `finished()` or until nothing is left to happen. What is on its way stays there."""
        while self._queue and not finished():
            self.now, _, action = heapq.heappop(self._queue)
            action()
