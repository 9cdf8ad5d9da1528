"""What the tests of this room share: protocols, shares chosen by hand, openings."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from privcomp import _core
from privcomp.mpc.backend import Bits, ReplicatedBackend, Value, words
from privcomp.mpc.protocols import PROTOCOLS
from privcomp.simulation.mpc import Simulated, simulate

PARTIES = {"rep3": 3, "rep4": 4, "shamir": 3, "shamir-goldilocks": 5, "spdz2k-insecure-dealer": 3}
"""How many parties each protocol is tested with, a dealer included."""

REPLICATED = sorted(name for name in PROTOCOLS if name in ("rep3", "rep4"))

U64 = np.uint64


def run(protocol: str, program: Callable[[Any], Coroutine[Any, Any, Any]], **how: Any) -> Simulated[Any]:
    return simulate(protocol, program, parties=PARTIES[protocol], insecure_dealer="dealer" in protocol, **how)


def held(backend: ReplicatedBackend, components: list[Any]) -> tuple[Any, ...]:
    """What this party holds of chosen components."""
    if backend.n == 3:
        return components[backend.me], components[(backend.me + 1) % 3]
    # Four parties: all but its own, in the backend's order.
    return tuple(components[j] for j in range(4) if j != backend.me)


def chosen(backend: ReplicatedBackend, u: Any, t: Any) -> Value:
    """A number whose addends are u and t, split further by a constant."""
    split = U64(0x0123456789ABCDEF)
    components = [u - split, np.full_like(u, split), t]
    if backend.n == 4:
        components = [u - split, np.full_like(u, split), t - split, np.full_like(t, split)]
    return Value(held(backend, components))


def planes_of(values: Any, bits: int) -> Any:
    """Plane b of plain numbers: the slow way."""
    n = values.size
    out = np.zeros((bits, 64 * words(n)), np.uint8)
    for bit in range(bits):
        out[bit, :n] = (values >> U64(bit)) & U64(1)
    return np.packbits(out, axis=1, bitorder="little").view(U64)


def shared_bits(backend: ReplicatedBackend, values: Any, bits: int) -> Bits:
    """Planes of plain numbers, as a sharing."""
    return backend.public_bits(planes_of(values, bits), values.size)


async def opened(backend: ReplicatedBackend, bits: Bits) -> Any:
    """Planes as numbers."""
    found = await backend.open_bits(bits)
    return _core.from_planes(np.ascontiguousarray(found), bits.n)
