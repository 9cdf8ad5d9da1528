"""Four parties in lock-step, one of whom may be someone else's: what each opened, and what each was told."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from privcomp.errors import PrivcompError
from privcomp.mpc.engine import Party, Scheduler, Session
from privcomp.mpc.rep4 import Rep4

IDS = tuple(b"party-%d" % i for i in range(4))
Program = Callable[[Rep4, list[Any]], Coroutine[Any, Any, None]]
"""Appends what it opens to the list."""
Frames = dict[tuple[int, int, int], bytearray]
"""Payloads by round, sender and receiver."""
Tamper = Callable[[int, int, bytearray, Frames], None]
"""Called with round, receiver, a payload of the corrupt party, which it may change, and every frame sent so far,
the honest parties' frames of this round among them: it speaks last."""


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        opened: by party, what its program opened.
        errors: by party, what it raised; missing where it did not.
        finished: parties whose program returned.
        frames: all payloads, as sent.
        backends: by party.
    """

    opened: tuple[list[Any], ...]
    errors: dict[int, PrivcompError] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    frames: Frames = field(default_factory=dict)
    backends: dict[int, Rep4] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        return 1 + max(round_ for round_, _, _ in self.frames)


def play(
    program: Program,
    *,
    corrupt: int = 3,
    tamper: Tamper | None = None,
    backend: type[Rep4] = Rep4,
    everywhere: type[Rep4] = Rep4,
    rng: Callable[[int], bytes] = os.urandom,
) -> Outcome:
    """Run a program; a party that raised sends nothing more, and whoever waits for it stops without an error.

    Args:
        corrupt: the party that `tamper` and `backend` are about.
        backend: of the corrupt party.
        everywhere: of the others.
    """
    session = Session("rep4", IDS, b"test", rng(16))
    out = Outcome(tuple([] for _ in IDS))

    def begin(me: int) -> Party[None]:
        async def main(scheduler: Scheduler, agreed: Session, index: int, entropy: Callable[[int], bytes]) -> None:
            mpc = (backend if me == corrupt else everywhere)(scheduler, agreed, index)
            out.backends[me] = mpc
            await mpc.setup(entropy)
            await program(mpc, out.opened[me])

        return Party(session, me, main, rng=rng)

    ends = {me: begin(me) for me in range(4)}
    while ends:
        rounds = {}
        for me in list(ends):
            try:
                rounds[me] = ends[me].advance()
            except PrivcompError as error:
                out.errors[me] = error
                del ends[me]
        for me, round_ in rounds.items():
            if round_ is None:
                out.finished.add(me)
                del ends[me]
        heard: dict[int, set[int]] = {me: set() for me in ends}
        for sender in sorted(ends, key=lambda me: (me == corrupt, me)):
            round_ = rounds[sender]
            assert round_ is not None
            for receiver, (header, parts) in round_.sends.items():
                payload = bytearray().join(parts)
                if sender == corrupt and tamper is not None:
                    tamper(round_.number, receiver, payload, out.frames)
                out.frames[round_.number, sender, receiver] = payload
                if receiver not in ends or receiver in out.errors:
                    continue
                try:
                    ends[receiver].deliver(sender, header, bytes(payload))
                    heard[receiver].add(sender)
                except PrivcompError as error:
                    out.errors[receiver] = error
        for me in list(ends):
            round_ = rounds[me]
            assert round_ is not None
            if me in out.errors or heard[me] != set(round_.wants):
                del ends[me]
    return out
