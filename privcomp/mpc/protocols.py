"""The ways of sharing by name, and how a program is started on one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from privcomp.algebra.fields import GOLDILOCKS
from privcomp.errors import ParameterError
from privcomp.mpc.backend import Backend
from privcomp.mpc.engine import Party, Scheduler, Session
from privcomp.mpc.rep3 import Rep3
from privcomp.mpc.rep4 import Rep4
from privcomp.mpc.shamir import Shamir
from privcomp.mpc.spdz2k import Spdz2k

__all__ = ["PROTOCOLS", "start"]

T = TypeVar("T")

PROTOCOLS: Final[dict[str, Callable[..., Backend]]] = {
    "rep3": Rep3,
    "rep4": Rep4,
    "shamir": Shamir,
    "shamir-goldilocks": partial(Shamir, field=GOLDILOCKS),
    "spdz2k-insecure-dealer": Spdz2k,
}
"""By the name in a session: called with scheduler, session and index."""

_DEALT: Final = frozenset({"spdz2k-insecure-dealer"})
"""These take `insecure_dealer`, and run with one party more: the last one deals."""


def start(
    session: Session,
    me: int,
    program: Callable[[Any], Coroutine[Any, Any, T]],
    *,
    rng: Callable[[int], bytes] = os.urandom,
    insecure_dealer: bool = False,
) -> Party[T]:
    """One party's end of `program`, on the protocol that the session names.

    Args:
        session: the same at every party.
        me: this party's index.
        program: called with the backend once its keys are agreed on; the same program at every party.
        rng: gives fresh random bytes.
        insecure_dealer: the session's last party may deal all random numbers, and with them know all inputs; protocols
            that need that are refused without it.

    Raises:
        ParameterError: an unknown protocol, a number of parties that it does not run with, `me` out of range.
    """
    if session.protocol not in PROTOCOLS:
        raise ParameterError(f"protocol {session.protocol!r} is unknown; there are {sorted(PROTOCOLS)}")
    make = PROTOCOLS[session.protocol]
    options = {"insecure_dealer": insecure_dealer} if session.protocol in _DEALT else {}

    async def main(scheduler: Scheduler, agreed: Session, index: int, entropy: Callable[[int], bytes]) -> T:
        backend = make(scheduler, agreed, index, **options)
        backend.rng = entropy
        await backend.setup(entropy)
        return await program(backend)

    return Party(session, me, main, rng=rng)
