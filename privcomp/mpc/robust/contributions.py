"""What each client contributed, as one bit per client: enough for an incentive layer, without a score or an update.

With s = sum_j x_j, everything comes from one Gram matrix: <x_i, s> = sum_j G_ij and |s|^2 = sum_ij G_ij.

* **Cosine to the aggregate**, c_i = <x_i, s> / (|x_i| |s|). Both inverses are y 2^k / 2^(B/2), see `_roots`, and
  <x_i, s> 2^(k_i) 2^(k_s) is at most |x_i| 2^(k_i) |s| 2^(k_s) < 2^B <= 2^62, an exact integer. It is cut to 28 bits (1
  ulp, times y y_s <= 4), and multiplied by both y (8 ulps each, and truncations of 1 * 2 + 1): off by less than 23
  ulps. The bit [c_i >= t] is right wherever |c_i - t| >= COSINE_ERROR.
* **Influence**, the distance by which the mean moves when client i is left out,
  | s/n - (s - x_i)/(n - 1) | = |n x_i - s| / (n (n - 1)). |n x_i - s|^2 = n^2 G_ii - 2 n <x_i, s> + |s|^2 is an
  integer, and the bit [influence <= limit] is exact.

Bounds: n^2 d 2^(2b) < 2^62 covers every number here.

Scores themselves are not opened: a cosine is a linear equation about an update, and n of them with the opened sum are
n. Noise that would allow it is not available.

Sources: Xu et al., "Gradient-Driven Rewards to Guarantee Fairness in Collaborative Machine Learning", NeurIPS 2021
(cosine); Wang, Dang, Zhou, "Measure Contribution of Participants in Federated Learning", IEEE Big Data 2019 (leaving
out).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc.backend import Bits, ReplicatedBackend, Value
from privcomp.mpc.circuits import invert, sign
from privcomp.mpc.robust._roots import FRACTION, inverse_root
from privcomp.mpc.robust.norms import constant
from privcomp.mpc.robust.rule import below, require_scores, same
from privcomp.mpc.robust.updates import Updates, join
from privcomp.typing import BoolArray

__all__ = ["COSINE_ERROR", "Contributions", "contributions"]

COSINE_ERROR: Final = 2.0**-23
"""Where a cosine is nearer to its threshold than this, its bit may be either."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """What was opened.

    Attributes:
        agrees: bool (n,): cosine to the aggregate >= the threshold; None where it was not asked for.
        moderate: bool (n,): influence <= the limit; None where it was not asked for.
        opened: in words.
    """

    agrees: BoolArray | None
    moderate: BoolArray | None
    opened: tuple[str, ...]


def check_contributions(clients: int, entries: int, width: int) -> None:
    """Refuse sizes at which a number could wrap.

    Raises:
        ParameterError: n^2 d 2^(2b) >= 2^62, or fewer than 3 clients.
    """
    if clients < 3:
        raise ParameterError(f"{clients} clients; of two, each one's contribution says what the other one's is")
    below(
        f"a product of {clients} updates over {entries} entries of {width} bits",
        clients**2 * entries << 2 * width,
        62,
        "encode into fewer bits, or take fewer entries",
    )


async def contributions(
    backend: ReplicatedBackend,
    updates: Updates,
    *,
    cosine: float | None = None,
    influence: float | None = None,
    noisy: bool = False,
) -> Contributions:
    """Open one bit per client and score.

    Args:
        backend: of this server.
        updates: extended shares.
        cosine: threshold t in (-1, 1): open [cos(x_i, sum) >= t] of every client.
        influence: limit >= 0 in units of the encoding: open [influence <= limit] of every client.
        noisy: scores with noise in place of bits. Not available.

    Raises:
        ParameterError: sizes, thresholds, nothing asked for, noise, or other thresholds than the clients signed
            (`terms`); nothing was sent.
    """
    n, d, b = updates.clients, updates.entries, updates.width
    if noisy:
        raise ParameterError("noisy scores are not available; ask for a threshold's bit: cosine= or influence=")
    if cosine is None and influence is None:
        raise ParameterError("no score was asked for; pass cosine= or influence=")
    if cosine is not None and not -1 < cosine < 1:
        raise ParameterError(f"the threshold of the cosine is {cosine}; it must lie between -1 and 1")
    if influence is not None and not 0 <= influence < math.inf:
        raise ParameterError(f"the limit of the influence is {influence}; it must be a number >= 0")
    check_contributions(n, d, b)
    require_scores(updates.terms, cosine, influence)
    same(backend, f"contributions {cosine} {influence} {n} {d} {b}")
    gram = await updates.gram(backend)
    dots = gram.map(lambda p: p.sum(axis=1, dtype=np.uint64))
    norms = gram.map(lambda p: np.diagonal(p).copy())
    total = dots.map(lambda p: p.sum(dtype=np.uint64, keepdims=True))
    tasks = []
    opened = []
    if cosine is not None:
        tasks.append(backend.scheduler.spawn(_cosine(backend, norms, dots, total, cosine, (n, d, b))))
        opened.append(f"of each client the bit [cosine to the sum of all >= {cosine}]")
    if influence is not None:
        tasks.append(backend.scheduler.spawn(_influence(backend, norms, dots, total, influence, (n, d, b))))
        opened.append(f"of each client the bit [influence on the mean <= {influence}]")
    found = []
    for task in tasks:
        planes = await backend.open_bits(await task)
        bits = np.unpackbits(np.ascontiguousarray(planes, "<u8").view(np.uint8), bitorder="little")
        found.append(bits[:n].astype(np.bool_))
    agrees = found.pop(0) if cosine is not None else None
    return Contributions(agrees, found.pop(0) if influence is not None else None, tuple(opened))


async def _influence(
    backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, limit: float, size: tuple[int, int, int]
) -> Bits:
    """[|n x_i - s|^2 <= (limit n (n - 1))^2], one plane."""
    n, d, b = size
    moved = backend.sub(backend.scale(norms, constant(norms, n * n)), backend.scale(dots, constant(dots, 2 * n)))
    moved = backend.add(moved, total)
    # (n - 1) x_i - sum of the others: below 2 n 2^(b-1) per entry.
    largest = n**2 * d << 2 * b
    numerator, denominator = limit.as_integer_ratio()
    square = min((numerator * n * (n - 1)) ** 2 // denominator**2, largest)
    bit = await sign(backend, backend.add_public(moved, constant(moved, -square - 1)), (largest + 1).bit_length() + 1)
    return bit


async def _cosine(
    backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, threshold: float, size: tuple[int, int, int]
) -> Bits:
    """[c_i >= t], one plane: the sign of c_i - t, inverted."""
    n, d, b = size
    bits = (n**2 * d << 2 * b - 2).bit_length()
    bits += bits % 2
    root = await inverse_root(backend, join([norms, total]), bits)
    powers = root.table(backend, [1 << k for k in range(bits // 2)])

    def split(value: Value) -> tuple[Value, Value]:
        """Of the clients, and of the sum for each of them."""
        return value.map(lambda p: p[:n]), value.map(lambda p: np.broadcast_to(p[n:], (n,)))

    a = dots
    for factor in split(powers):
        a = await backend.mul(a, factor)
    # The cosine is a y y_s / 2^bits.
    if bits > FRACTION:
        a = await backend.truncate(a, bits - FRACTION)
    else:
        a = backend.scale(a, constant(a, 1 << FRACTION - bits))
    for factor in split(root.root):
        a = await backend.truncate(await backend.mul(a, factor), FRACTION)
    least = math.ceil(threshold * (1 << FRACTION))
    below_it = await sign(backend, backend.add_public(a, constant(a, -least)), FRACTION + 4)
    return invert(backend, below_it)
