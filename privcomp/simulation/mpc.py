"""All parties of a computation in one process, in lock-step."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from privcomp.mpc.engine import Cost, Session
from privcomp.mpc.protocols import start

__all__ = ["Simulated", "simulate"]

T = TypeVar("T")

Tamper = Callable[[int, int, int, bytearray], None]
"""Called with sender, receiver, round and the payload on its way, which it may change."""


@dataclass(frozen=True)
class Simulated(Generic[T]):
    """What came of a computation.

    Attributes:
        results: what the program returned, by party.
        costs: what each party sent.
    """

    results: tuple[T, ...]
    costs: tuple[Cost, ...]


def simulate(
    protocol: str,
    program: Callable[[Any], Coroutine[Any, Any, T]],
    *,
    parties: int = 3,
    rng: Callable[[int], bytes] = os.urandom,
    tamper: Tamper | None = None,
) -> Simulated[T]:
    """Run a program at every party.

    Args:
        protocol: "rep3", ...
        program: called once per party with its backend.
        parties: how many.
        rng: gives fresh random bytes.
        tamper: changes messages on their way.

    Raises:
        PrivcompError: the first error that any party raised.
    """
    session = Session(protocol, tuple(b"party-%d" % i for i in range(parties)), b"simulation", rng(16))
    ends = [start(session, i, program, rng=rng) for i in range(parties)]
    while True:
        rounds = [end.advance() for end in ends]
        if all(round_ is None for round_ in rounds):
            return Simulated(tuple(end.result for end in ends), tuple(end.cost for end in ends))
        for sender, round_ in enumerate(rounds):
            if round_ is None:
                continue
            for receiver, (header, parts) in round_.sends.items():
                payload = bytearray().join(parts)
                if tamper is not None:
                    tamper(sender, receiver, round_.number, payload)
                ends[receiver].deliver(sender, header, payload)
