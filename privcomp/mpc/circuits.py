"""Boolean circuits on bit planes: carries, signs, comparison, addition, choice.

Every gate works on whole planes, 64 numbers a word. A carry is found by a tree over (generate, propagate) pairs:
(g, p) = (g_hi ^ p_hi g_lo, p_hi p_lo), where g and p g_lo are never both 1, so that XOR serves as OR.

Source: Ladner, Fischer, "Parallel Prefix Computation", J. ACM 27 (1980).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privcomp.errors import ParameterError
from privcomp.mpc.backend import Bits, Value

if TYPE_CHECKING:
    from privcomp.mpc.backend import ReplicatedBackend

__all__ = ["carry", "sign"]


async def _tree(backend: ReplicatedBackend, g: Bits, p: Bits) -> Bits:
    """The carry out of all planes, lowest first; p of the lowest plane is never used."""
    while g.planes > 1:
        pairs, odd = divmod(g.planes, 2)
        low, high = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
        # The lowest pair needs no p any more.
        left = Bits.stack([p[high], p[high][1:]])
        right = Bits.stack([g[low], p[low][1:]])
        both = await backend.bit_and(left, right)
        rest_g, rest_p = g[2 * pairs :], p[2 * pairs :]
        g = Bits.stack([backend.xor(g[high], both[:pairs]), rest_g])
        # The lowest p is unused; the next one stands in its place.
        p = Bits.stack([p[:1], both[pairs:], rest_p])
        if odd == 0 and pairs == 1:
            break
    return g


async def carry(backend: ReplicatedBackend, u: Bits, t: Bits) -> Bits:
    """The carry of u + t out of the highest plane, for what `addends` gave."""
    g = await backend.and_addends(u, t)
    return await _tree(backend, g, backend.xor(u, t))


async def sign(backend: ReplicatedBackend, a: Value, width: int) -> Bits:
    """The top bit of a modulo 2^width, 1 <= width <= 64: one plane; a is flattened.

    It says a < 0 where -2^(width-1) <= a < 2^(width-1).
    """
    if not 1 <= width <= 64:
        raise ParameterError(f"width is {width}; allowed is [1, 64]")
    u, t = await backend.addends(a, width)
    top = backend.xor(u[width - 1 :], t[width - 1 :])
    if width == 1:
        return top
    return backend.xor(top, await carry(backend, u[: width - 1], t[: width - 1]))
