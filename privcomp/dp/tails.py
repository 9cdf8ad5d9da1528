"""How large a sum of quantised updates and noise can become: whether it fits the modulus, and where noise is cut off.

**No wrap, without proofs.** n clients, d padded entries, updates of norm at most R = c / gamma in integer units (for
records: R = records_max c / gamma). Before rounding, entry j of the sum is

    sum_i (H D x_i / sqrt(d))_j = sum_k e_k v_k / sqrt(d),      v = sum_i x_i, ||v|| <= n R, e_k independent signs

as rows of H hold +-1 and D holds the signs of the round. Hoeffding: P[|entry| > t] <= 2 exp(-t^2 d / (2 ||v||^2)).
With t = n R sqrt(2 ln(4 d / p) / d) that is p / (2 d), and p / 2 over all entries. Rounding moves an entry of one
client by less than 1, and by less than 1 where it is clamped to floor(D2) first (R < D2); so the rounded sum is below

    a = n R sqrt(2 ln(4 d / p) / d) + n

except with probability p / 2. The noise of n shares is beyond b with probability at most p / (2 d) per entry, p / 2
altogether, hence |sum| <= a + b except with probability p, and a + b < 2^(B-1) is what is asked for. All n clients
count here, not h: it is the most that can arrive. The round-off of the rotation (below 2^-45 R per client) lies inside
what rounding by less than 1 leaves. A wrap costs accuracy, not privacy: it is a function of the noised sum.

**Tails** of n shares of variance s^2, V = n s^2, for P[|Z| > b]:

    Skellam   2 exp(V (cosh t - 1) - t b), t = asinh(b / V)     Chernoff; E[e^(tZ)] = exp(V (cosh t - 1))
              with V cosh t = sqrt(V^2 + b^2):  2 exp(b^2 / (sqrt(V^2 + b^2) + V) - b asinh(b / V))
    DDG       2 exp(-b^2 / (2 V))                               discrete Gaussians are subgaussian (arXiv 2004.00010)

**With proofs** the bounds are hard: |q_j| <= beta_q and |z_j| <= B_z for every client, so n (beta_q + B_z) < 2^(B-1).
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["CUT_LOG2", "log_tail", "noise_bound", "noise_cut_holds", "signal_reach", "wrap_holds"]

CUT_LOG2: Final = 60
"""Noise of all clients in a round is beyond its bound with probability at most 2^-60."""

_LN2: Final = math.log(2.0)


def log_tail(mechanism: str, variance: float, bound: float) -> float:
    """ln of an upper bound of P[|Z| > bound] for noise "skellam" or "ddg" of total variance `variance`, bound >= 0."""
    if mechanism == "ddg":
        return _LN2 - bound * bound / (2.0 * variance)
    root = math.hypot(variance, bound)
    return _LN2 + bound * (bound / (root + variance)) - bound * math.asinh(bound / variance)


def signal_reach(clients: int, ratio: float, padded: int, wrap_exponent: float) -> float:
    """a: the rounded sum of all updates is below it in every entry, except with probability 2^-(wrap_exponent + 1).

    Args:
        ratio: R, the norm of one client's part in integer units.
    """
    log_term = math.log(4.0 * padded) + wrap_exponent * _LN2
    return clients * ratio * math.sqrt(2.0 * log_term / padded) + clients


def wrap_holds(
    mechanism: str,
    *,
    bits: int,
    clients: int,
    ratio: float,
    variance: float,
    padded: int,
    wrap_exponent: float,
    margin: float = 0.0,
) -> bool:
    """Whether a + b < 2^(bits-1) for some integer b with P[|Z| > b] <= p / (2 d), p = 2^-wrap_exponent.

    The tail falls with b, so the largest b that fits decides.

    Args:
        variance: s^2 of one share.
        margin: relative reserve, so that another machine's logarithms come to the same answer.
    """
    reach = signal_reach(clients, ratio, padded, wrap_exponent) * (1.0 + margin)
    room = math.ceil(2.0 ** (bits - 1) - reach) - 1
    if room < 1:
        return False
    allowed = -wrap_exponent * _LN2 - math.log(2.0 * padded)
    return log_tail(mechanism, clients * variance, float(room)) <= allowed * (1.0 + margin)


def noise_cut_holds(
    mechanism: str, *, bound: int, variance: float, clients: int, padded: int, margin: float = 0.0
) -> bool:
    """Whether n d P[|z_j| > bound] <= 2^-60 for one share z."""
    log_all = math.log(clients) + math.log(padded) + log_tail(mechanism, variance, float(bound))
    return log_all <= -CUT_LOG2 * _LN2 * (1.0 + margin)


def noise_bound(mechanism: str, *, variance: float, clients: int, padded: int, margin: float) -> int:
    """B_z: the least bound for which `noise_cut_holds`."""
    low, high = 0, 1
    while not noise_cut_holds(mechanism, bound=high, variance=variance, clients=clients, padded=padded, margin=margin):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if noise_cut_holds(mechanism, bound=middle, variance=variance, clients=clients, padded=padded, margin=margin):
            high = middle
        else:
            low = middle
    return high
