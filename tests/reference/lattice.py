"""Cost of lattice attacks on LWE: a small estimator of its own, written from the papers.

The model, throughout:

* BKZ with block size beta leaves a basis whose Gram-Schmidt norms fall geometrically (GSA, Schnorr 2003), with the root
  Hermite factor delta(beta) = (beta / (2 pi e) (pi beta)^(1/beta))^(1 / (2 (beta - 1))) (Chen 2013).
* One call of a sieve in dimension beta, "dimensions for free" (Ducas 2018) taken off, costs 2^(a beta' + c) gates with
  the constants that MATZOV (2022, "Report on the Security of LWE") fits to nearest-neighbour search by list decoding;
  progressive sieving and BKZ add factors C = 1 / (1 - 2^-a) and C (d - beta).
* core-SVP (Alkim, Ducas, Poeppelmann, Schwabe 2016) counts 2^(0.292 beta) instead.

LWE: n-dimensional secret and error, both of standard deviation sigma, modulus q, as many samples as one likes. All
costs are log2. An estimate is what the best of these attacks would cost by these heuristics, never a proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

MATZOV_A, MATZOV_C = 0.29613500308205365, 20.387885985467914
PROGRESSIVE = 1 / (1 - 2**-MATZOV_A)
CORE_SVP = 0.292


@dataclass(frozen=True)
class Lwe:
    """An instance: n, log2 q, sigma of secret and error, samples."""

    n: int
    log_q: float
    sigma: float
    samples: int = 1 << 24


@dataclass(frozen=True)
class Attack:
    """Its cost in log2 gates, and the block size."""

    bits: float
    beta: int


@lru_cache(maxsize=1 << 14)
def log_delta(beta: int) -> float:
    """log2 of the root Hermite factor; beta >= 50."""
    return math.log2(beta / (2 * math.pi * math.e) * (math.pi * beta) ** (1 / beta)) / (2 * (beta - 1))


def free_dimensions(beta: int) -> float:
    return max(beta * math.log(4 / 3) / math.log(beta / (2 * math.pi * math.e)), 0.0)


def sieve(dimension: float) -> float:
    """One progressive sieve."""
    return math.log2(PROGRESSIVE) + MATZOV_A * dimension + MATZOV_C


def bkz(beta: int, d: int) -> float:
    """Progressive BKZ in dimension d."""
    return sieve(beta - free_dimensions(beta)) + math.log2(PROGRESSIVE * max(d - beta, 1))


def both(x: float, y: float) -> float:
    """log2(2^x + 2^y)."""
    return max(x, y) + math.log2(1 + 2.0 ** -abs(x - y))


def _embedding_fits(lwe: Lwe, beta: int, d: int) -> bool:
    """Whether BKZ-beta finds the short vector (e, s, sigma) of the lattice of Bai and Galbraith in dimension d.

    Its projection on the last beta vectors has length sigma sqrt(beta), and must be below the Gram-Schmidt norm there
    (Alkim et al. 2016; Albrecht et al. 2017): delta^(2 beta - d - 1) (q^(d - n - 1) sigma)^(1/d).
    """
    left = math.log2(lwe.sigma) + math.log2(beta) / 2
    volume = (lwe.log_q * (d - lwe.n - 1) + math.log2(lwe.sigma)) / d
    return left <= (2 * beta - d - 1) * log_delta(beta) + volume


def _least_dimension(lwe: Lwe, beta: int) -> int | None:
    """The least d > n for which `_embedding_fits`, or None. The right side is concave in d."""
    best = round(math.sqrt(lwe.n * lwe.log_q / log_delta(beta)))
    high = min(max(best, lwe.n + 2), lwe.n + lwe.samples)
    if not _embedding_fits(lwe, beta, high):
        return None
    low = lwe.n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _embedding_fits(lwe, beta, middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def primal_usvp(lwe: Lwe) -> Attack:
    """The unique shortest vector."""
    # BKZ with the least block size that does it at all, then a little more for a smaller dimension.
    low, high = 50, 4096
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _least_dimension(lwe, middle) is None else (low, middle)
    found = []
    for beta in range(high, high + 40):
        d = _least_dimension(lwe, beta)
        if d is not None:
            found.append(Attack(bkz(beta, max(d, beta + 1)), beta))
    return min(found, key=lambda attack: attack.bits)


def core_svp(lwe: Lwe) -> Attack:
    """The least block size of `primal_usvp`, at 0.292 beta."""
    low, high = 50, 4096
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _least_dimension(lwe, middle) is None else (low, middle)
    return Attack(CORE_SVP * high, high)


def _log_ball(n: int) -> float:
    return (n / 2 * math.log(math.pi) - math.lgamma(n / 2 + 1)) / math.log(2)


def _last_call(lwe: Lwe, beta: int, d: int) -> int | None:
    """Dimension of the one search on the projected lattice that finds the target after BKZ-beta (Liu, Nguyen 2013).

    The least k + 1 such that in the last k vectors, with the target embedded at factor sigma, a vector as long as the
    target, sigma sqrt(k + 1), is shorter than the Gaussian heuristic.
    """
    volume, step, log_sigma = lwe.log_q * (d - lwe.n), log_delta(beta), math.log2(lwe.sigma)

    def found(k: int) -> bool:
        projected = k / d * volume - (d - k) * k * step
        heuristic = (projected + log_sigma - _log_ball(k + 1)) / (k + 1)
        return heuristic > log_sigma + math.log2(k + 1) / 2

    low, high = 1, min(d, 2000)
    if not found(high):
        return None
    # The longest suffix is found; shorten it to where it stops being found.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high + 1


@lru_cache(maxsize=256)
def primal_bdd(lwe: Lwe) -> Attack:
    """Reduce with a smaller block, then one larger search for the close vector."""
    start = primal_usvp(lwe).beta
    best = Attack(math.inf, start)
    for beta in range(max(51, start - 60), start + 2):
        optimal = min(round(math.sqrt(lwe.n * lwe.log_q / log_delta(beta))), lwe.n + lwe.samples)
        for d in range(optimal, max(lwe.n, beta, optimal - optimal // 12), -max(1, optimal // 200)):
            size = _last_call(lwe, beta, d)
            if size is not None and size <= d:
                bits = both(bkz(beta, d), bkz(size, size))
                if bits < best.bits:
                    best = Attack(bits, beta)
    return best


@lru_cache(maxsize=256)
def dual(lwe: Lwe) -> Attack:
    """The dual attack with modulus switching and a fast Fourier transform over p^t guesses (MATZOV 2022, theorem 7.6).

    n samples are used. A part of t coordinates of the secret is distinguished modulo p by a transform of p^t entries,
    nothing is enumerated (which gains nothing at these widths).
    """
    best = Attack(math.inf, 0)
    for p in range(2, 12):
        for t in range(0, lwe.n // 8, 4):
            low = best.beta - 40 if best.beta else 50
            found = min(
                (
                    _dual(lwe, beta, p, t)
                    for beta in range(max(50, low), (best.beta or 2000) + 40, 1 if best.beta else 7)
                ),
                key=lambda attack: attack.bits,
            )
            if found.bits < best.bits:
                best = found
            elif t > 40 and found.bits > best.bits + 3:
                break
    return best


def _dual(lwe: Lwe, beta: int, p: int, t: int) -> Attack:
    """MATZOV's cost with block size beta, for t coordinates modulo p."""
    m = lwe.n
    kept = lwe.n - t
    d = m + kept
    if beta >= d:
        return Attack(math.inf, beta)
    # A sieve behind BKZ as costly as all of BKZ; the vectors that it returns are longer by the factor rho.
    plain = beta - math.floor(free_dimensions(beta))
    size = min(d, math.floor(plain + math.log2((d - beta) * PROGRESSIVE) / MATZOV_A))
    # Error of a sample that the short vector combines, in units of q (page 39), with the blocks as long as `beta`.
    length = (
        m / d * math.log2(lwe.sigma)
        + kept / d * (math.log2(lwe.sigma) + lwe.log_q)
        + math.log2(4 / 3) / 2
        + math.log2(beta / (2 * math.pi * math.e)) / 2
        + (d - beta) * log_delta(beta)
        - lwe.log_q
    )
    if length > 4:  # more than 2^900 samples
        return Attack(math.inf, beta)
    error = 4 * (2**length * math.pi) ** 2 + t / 3 * (lwe.sigma * math.pi / p) ** 2
    samples = error / math.log(2) + math.log2(t * math.log(p) + math.log(2))
    calls = max(0.0, samples - 0.2075 * size)
    sampling = calls + both(bkz(beta, d), sieve(size))
    table = 4 * 5 * 32  # gates per entry and per update of the table (pages 37 to 39)
    transform = math.log2(32**2 * t) + (t + 1) * math.log2(p) if t else 0.0
    correct = 1 / (1 - math.exp(-1 / (2 * lwe.sigma**2)))
    guessing = math.log2(correct) + both(transform, math.log2(table) + samples)
    return Attack(both(sampling, guessing), beta)
