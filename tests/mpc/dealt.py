"""Parties with a dealer in lock-step, one of them someone else's: what each opened, and what each was told."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from privcomp.errors import PrivcompError
from privcomp.mpc.engine import Party, Scheduler, Session
from privcomp.mpc.spdz2k import Spdz2k

Program = Callable[[Any, list[Any]], Coroutine[Any, Any, None]]
"""Called with the backend; appends what it opens to the list."""
Frames = dict[tuple[int, int, int], bytearray]
"""Payloads by round, sender and receiver."""


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        opened: by party, what its program opened.
        errors: by party, what it raised; missing where it did not.
        finished: parties whose program returned.
        frames: all payloads, as sent.
        progress: by round and party, how much it had opened when the round began.
        backends: by party.
        parties: by party, the engine's end.
    """

    opened: tuple[list[Any], ...]
    errors: dict[int, PrivcompError] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    frames: Frames = field(default_factory=dict)
    progress: dict[tuple[int, int], int] = field(default_factory=dict)
    backends: dict[int, Spdz2k] = field(default_factory=dict)
    parties: dict[int, Party[None]] = field(default_factory=dict)


Tamper = Callable[[int, int, bytearray, Outcome], None]
"""Called with round, receiver, a payload of the corrupt party, which it may change, and what has happened so far: the
honest parties' frames of this round are among it, for the corrupt party speaks last."""


def play(
    n: int,
    program: Program,
    *,
    corrupt: int = 1,
    tamper: Tamper | None = None,
    backend: type[Spdz2k] = Spdz2k,
    everywhere: type[Spdz2k] = Spdz2k,
    rng: Callable[[int], bytes] = os.urandom,
) -> Outcome:
    """Run a program among n parties and a dealer; whoever raised sends nothing more, and who waits for it stops.

    Args:
        corrupt: the party that `tamper` and `backend` are about; n is the dealer.
        backend: of the corrupt party.
        everywhere: of the others.
    """
    session = Session("spdz2k-insecure-dealer", tuple(b"party-%d" % i for i in range(n + 1)), b"test", rng(16))
    out = Outcome(tuple([] for _ in range(n + 1)))

    def begin(me: int) -> Party[None]:
        async def main(scheduler: Scheduler, agreed: Session, index: int, entropy: Callable[[int], bytes]) -> None:
            made = backend if me == corrupt else everywhere
            mpc = made(scheduler, agreed, index, insecure_dealer=True)
            out.backends[me] = mpc
            await mpc.setup(entropy)
            await program(mpc, out.opened[me])

        return Party(session, me, main, rng=rng)

    ends = {me: begin(me) for me in range(n + 1)}
    out.parties.update(ends)
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
            else:
                out.progress[round_.number, me] = len(out.opened[me])
        heard: dict[int, set[int]] = {me: set() for me in ends}
        for sender in sorted(ends, key=lambda me: (me == corrupt, me)):
            round_ = rounds[sender]
            assert round_ is not None
            for receiver, (header, parts) in round_.sends.items():
                payload = bytearray().join(parts)
                if sender == corrupt and tamper is not None:
                    tamper(round_.number, receiver, payload, out)
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
