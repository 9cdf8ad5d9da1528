"""All parties of a computation in one process, in lock-step, on a clock that knows what a network would have cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from privcomp.mpc.engine import Cost, Round, Session
from privcomp.mpc.protocols import start
from privcomp.mpc.report import Net, Report, lan, wan

__all__ = ["Net", "Report", "Simulated", "lan", "simulate", "wan"]

T = TypeVar("T")

Tamper = Callable[[int, int, int, bytearray], None]
"""Called with sender, receiver, round and the payload on its way, which it may change."""


@dataclass(frozen=True)
class Simulated(Generic[T]):
    """What came of a computation.

    Attributes:
        results: what the program returned, by party.
        costs: what each party sent.
        computing: seconds of the processor that each party took; zeros where they are left out.
        clocks: seconds at which each party had its result, by the virtual clock.
        net: the network that the clock knows.
    """

    results: tuple[T, ...]
    costs: tuple[Cost, ...]
    computing: tuple[float, ...]
    clocks: tuple[float, ...]
    net: Net | None

    @property
    def seconds(self) -> float:
        """Until the last party had its result."""
        return max(self.clocks)

    def report(self, party: int = 0) -> Report:
        """The cost of one party; `print` it."""
        nets = (lan(), wan()) if self.net is None else (self.net,)
        return Report(self.costs[party], nets, self.clocks[party])


class _Clock:
    """One time per party. A message leaves when the sender's line is free, and arrives half a round trip later."""

    def __init__(self, parties: int, net: Net | None) -> None:
        self.now = [0.0] * parties
        self.computing = [0.0] * parties
        self._net = net
        self._line = [0.0] * parties
        self._arrivals: list[float] = [0.0] * parties

    def computed(self, party: int, seconds: float) -> None:
        self.now[party] += seconds
        self.computing[party] += seconds

    def sent(self, sender: int, receiver: int, size: int) -> None:
        if self._net is None:
            self._arrivals[receiver] = max(self._arrivals[receiver], self.now[sender])
            return
        self._line[sender] = max(self._line[sender], self.now[sender]) + size / self._net.bandwidth
        self._arrivals[receiver] = max(self._arrivals[receiver], self._line[sender] + self._net.rtt / 2)

    def round_over(self) -> None:
        """Whoever wanted something goes on when the last of it has come."""
        self.now = [max(now, arrival) for now, arrival in zip(self.now, self._arrivals, strict=True)]
        self._arrivals = [0.0] * len(self.now)


def simulate(
    protocol: str,
    program: Callable[[Any], Coroutine[Any, Any, T]],
    *,
    parties: int = 3,
    net: Net | None = None,
    computing: bool = True,
    rng: Callable[[int], bytes] = os.urandom,
    tamper: Tamper | None = None,
    insecure_dealer: bool = False,
) -> Simulated[T]:
    """Run a program at every party. Works in a notebook as it stands: there is no event loop in it.

    Args:
        protocol: "rep3", ...
        program: called once per party with its backend.
        parties: how many, a dealer included.
        net: `lan()`, `wan()` or another network for the virtual clock; None: messages take no time.
        computing: whether the clock counts what each party computes, as measured here, one after another. Without it
            the clock says the same on every machine.
        rng: gives fresh random bytes.
        tamper: changes messages on their way.
        insecure_dealer: see `privcomp.mpc.protocols.start`.

    Raises:
        PrivcompError: the first error that any party raised.
    """
    session = Session(protocol, tuple(b"party-%d" % i for i in range(parties)), b"simulation", rng(16))
    ends = [start(session, i, program, rng=rng, insecure_dealer=insecure_dealer) for i in range(parties)]
    clock = _Clock(parties, net)
    try:
        while True:
            rounds: list[Round | None] = []
            for i, end in enumerate(ends):
                began = time.perf_counter()
                rounds.append(end.advance())
                if computing:
                    clock.computed(i, time.perf_counter() - began)
            if all(round_ is None for round_ in rounds):
                return Simulated(
                    tuple(end.result for end in ends),
                    tuple(end.cost for end in ends),
                    tuple(clock.computing),
                    tuple(clock.now),
                    net,
                )
            for sender, round_ in enumerate(rounds):
                if round_ is None:
                    continue
                for receiver, (header, parts) in round_.sends.items():
                    payload = bytearray().join(parts)
                    clock.sent(sender, receiver, len(header) + len(payload))
                    if tamper is not None:
                        tamper(sender, receiver, round_.number, payload)
                    ends[receiver].deliver(sender, header, payload)
            clock.round_over()
    finally:
        for end in ends:
            end.close()  # keys are wiped at every party, also where another one failed
