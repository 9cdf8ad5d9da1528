"""Who masks with whom: the complete graph, or a ring with k/2 neighbours on each side in a hashed order (SecAgg+).

All probabilities are computed in exact integers, so that every machine derives the same (k, t).

Source: Bell, Bonawitz, Gascón, Lepoint, Raykova, "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead",
CCS 2020, section 3 (Harary graph on a random order), with the three conditions written out in `degree`.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import shake_256
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.codec import lp

__all__ = ["Cycle", "degree", "natural_order", "neighbours", "order", "sparse_conditions", "window_cut_probability"]

#: Places of the key list in an order, u32 (n,).
Cycle = NDArray[np.uint32]


#: log2 of the failure probabilities: secrecy of a client's secrets, completion, connectedness of the honest survivors.
SECRECY_BITS = 40
COMPLETION_BITS = 30
CUT_BITS = 40
_PPM = 1_000_000
#: Beyond this degree the complete graph is used; it also bounds the work that announced fractions can cause.
MAX_DEGREE = 256


def _share(ppm: int, n: int) -> int:
    """floor(ppm / 10^6 * n) without floating point."""
    return ppm * n // _PPM


def _hypergeometric(population: int, marked: int, draws: int) -> list[int]:
    """Numerators over C(population, draws) of P[m of the draws are marked], m = 0..draws."""
    return [comb(marked, m) * comb(population - marked, draws - m) for m in range(draws + 1)]


def _run_is_rare(n: int, bad: int, length: int) -> bool:
    """n * P[`length` given places all bad, drawn without replacement] <= 2^-CUT_BITS."""
    if length > bad:
        return True
    numerator, denominator = n << CUT_BITS, 1
    for a in range(length):
        numerator *= bad - a
        denominator *= n - a
    return numerator <= denominator


def sparse_conditions(n: int, k: int, t: int, gamma_ppm: int, delta_ppm: int) -> bool:
    """Whether (k, t) keeps the three promises for n clients, of whom floor(gamma n) are corrupt and floor(delta n)
    vanish.

    With HG(N, G, k) the number of marked balls among k drawn from N with G marked, G = floor(gamma n), D =
    floor(delta n):

    * secrecy: n * P[HG(n-1, G, k) >= t] <= 2^-40 (nobody has t corrupt neighbours),
    * completion: n * P[HG(n-1, n-1-D, k) < t] <= 2^-30 (everybody keeps t neighbours),
    * connectedness: n * P[k/2 consecutive places corrupt or dropped] <= 2^-40.
    """
    if not 0 < t <= k < n or k % 2:
        return False
    corrupt, dropped = _share(gamma_ppm, n), _share(delta_ppm, n)
    total = comb(n - 1, k)
    secrecy = sum(_hypergeometric(n - 1, corrupt, k)[t:])
    if (n * secrecy) << SECRECY_BITS > total:
        return False
    completion = sum(_hypergeometric(n - 1, n - 1 - dropped, k)[:t])
    if (n * completion) << COMPLETION_BITS > total:
        return False
    return _run_is_rare(n, min(n, corrupt + dropped), k // 2)


@lru_cache(maxsize=256)
def degree(n: int, gamma_ppm: int, delta_ppm: int) -> tuple[int, int] | None:
    """The least even k < n - 1 and then the least t >= 2 that keep `sparse_conditions`, or None: use the complete
    graph.

    >>> degree(100, 50_000, 50_000), degree(1_000, 50_000, 50_000)
    ((22, 6), (34, 18))
    """
    corrupt = _share(gamma_ppm, n)
    if corrupt < 1:
        return None  # few clients: a ring made for no corrupt client at all falls apart with the first loss
    for k in range(2, min(n - 1, MAX_DEGREE + 1), 2):
        weights, total = _hypergeometric(n - 1, corrupt, k), comb(n - 1, k)
        tail, t = 0, k + 1
        while t > 2 and (n * (tail + weights[t - 1])) << SECRECY_BITS <= total:
            tail += weights[t - 1]
            t -= 1
        if t <= k and sparse_conditions(n, k, t, gamma_ppm, delta_ppm):
            return k, t
    return None


@lru_cache(maxsize=8)
def order(list_hash: bytes, n: int) -> tuple[Cycle, Cycle]:
    """The cyclic order, and the position of each place in it; it follows from all keys together.

    Place p of the key list has the p-th 64-bit word of SHAKE-256(list hash) as its key, and places are sorted by key
    (by place where two keys are equal). Pure, of public bytes: the parties of a simulation share what they derive.

    Args:
        list_hash: hash over the whole key list, 32 bytes.
        n: clients in the list.

    Returns:
        two read-only u32 arrays (n,), inverse to each other.
    """
    keys = np.frombuffer(shake_256(lp(b"privcomp-secagg-order", list_hash)).digest(8 * n), dtype="<u8")
    cycle = np.argsort(keys, kind="stable").astype(np.uint32)
    return _with_inverse(cycle)


@lru_cache(maxsize=8)
def natural_order(n: int) -> tuple[Cycle, Cycle]:
    """The order of the key list itself: on the complete graph it does not matter."""
    return _with_inverse(np.arange(n, dtype=np.uint32))


def _with_inverse(cycle: Cycle) -> tuple[Cycle, Cycle]:
    position = np.empty_like(cycle)
    position[cycle] = np.arange(len(cycle), dtype=np.uint32)
    cycle.flags.writeable = position.flags.writeable = False
    return cycle, position


def neighbours(cycle: Cycle, position: int, k: int) -> frozenset[int]:
    """The k/2 places on each side of what stands at `position` of the cyclic order (all others where k >= n - 1).

    >>> sorted(neighbours(np.array((3, 0, 2, 1, 4), dtype=np.uint32), 2, 2))
    [0, 1]
    """
    n = len(cycle)
    if k >= n - 1:
        return frozenset(cycle.tolist()) - {int(cycle[position])}
    around = np.arange(position - k // 2, position + k // 2 + 1)
    return frozenset(cycle.take(around, mode="wrap").tolist()) - {int(cycle[position])}


def window_cut_probability(cycle: Cycle, k: int, survivors: NDArray[Any], gamma_ppm: int) -> float:
    """Bound on P[U falls into parts]: over all windows of k/2 consecutive places, P[every member of U in it is
    corrupt].

    A sum of products over windows, sum of prod_{a < m} (G - a) / (n - a), m the members of U in the window. A window
    without any member of U contributes 1.

    Args:
        cycle: u32 (n,), the cyclic order.
        k: neighbours of each.
        survivors: (n,), 1 or true at the places in U.
        gamma_ppm: corrupt fraction, in millionths.
    """
    n, half = len(cycle), k // 2
    corrupt = _share(gamma_ppm, n)
    by_members = [1.0]
    for a in range(half):
        by_members.append(by_members[-1] * max(0, corrupt - a) / (n - a))
    around = np.concatenate([cycle, cycle[:half]])
    before = np.concatenate([[0], np.cumsum(survivors[around], dtype=np.int64)])
    windows = np.bincount(before[half : half + n] - before[:n], minlength=half + 1)
    return float(sum(int(count) * weight for count, weight in zip(windows, by_members, strict=True)))
