"""Accounting in multiprecision, from the formulas as they are written: curves, conversion, solver, exact laws.

Nothing here is shared with privcomp.dp: no rounding rules, no shortcuts, numbers of mpmath and MPFR throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import wraps
from typing import Any

import gmpy2
import mpmath
import numpy as np
from mpmath import mp, mpf

mp.dps = 40
BITS = 200
ORDERS = [*range(2, 129), 256]


# ---- curves of distributed noise; `x` is mpmath's context: mp, or fp (plain floats) for the solver


def d2_squared(rho: Any, d: int, beta: Any | None, x: Any = mp) -> Any:
    """D2^2 for zero-out of a client; beta None for 0."""
    always = (rho + x.sqrt(d)) ** 2
    if beta is None:
        return always
    return min(rho**2 + x.mpf(d) / 4 + x.sqrt(2 * x.log(1 / beta)) * (rho + x.sqrt(d) / 2), always)


def d1(d2: Any, d: int, x: Any = mp) -> Any:
    return min(x.sqrt(d) * d2, d2**2)


def tau(h: int, s: Any, x: Any = mp) -> Any:
    return 10 * x.fsum([x.exp(-2 * x.pi**2 * s**2 * k / (k + 1)) for k in range(1, h)])


def curve(mechanism: str, d2: Any, l1: Any, h: int, s: Any, d: int, x: Any = mp) -> list[Any]:
    """The divergences at ORDERS."""
    if mechanism == "ddg":
        t, sd = tau(h, s, x), x.sqrt(h) * s
        return [
            min(
                a * d2**2 / (2 * h * s**2) + t * d,
                x.mpf(a) / 2 * (d2**2 / (h * s**2) + 2 * l1 * t / sd + t**2 * d),
                x.mpf(a) / 2 * (d2 / sd + t * x.sqrt(d)) ** 2,
            )
            for a in ORDERS
        ]
    mu = h * s**2
    return [a * d2**2 / (2 * mu) + min(((2 * a - 1) * d2**2 + 6 * l1) / (4 * mu**2), 3 * l1 / (2 * mu)) for a in ORDERS]


def epsilon(values: Sequence[Any], delta: Any, x: Any = mp) -> Any:
    """The conversion of Canonne, Kamath, Steinke (Proposition 12), with the one through the total variation."""
    found = []
    for a, r in zip(ORDERS, values, strict=True):
        if delta**2 > 1 - x.exp(-r):
            return x.mpf(0)
        found.append(r + x.log(1 - x.mpf(1) / a) - (x.log(delta) + x.log(a)) / (a - 1))
    return max(x.mpf(0), min(found))


def sampled(values: Sequence[Any], q: Any, orders: Sequence[int] = ORDERS) -> list[Any]:
    """Zhu and Wang's bound for Poisson sampling, term by term, never above the unsampled divergence."""
    at = dict(zip(ORDERS, values, strict=True))
    out = []
    for a in orders:
        total = (1 - q) ** (a - 1) * (a * q - q + 1)
        total += mpmath.binomial(a, 2) * q**2 * (1 - q) ** (a - 2) * mpmath.exp(at[2])
        for ell in range(3, a + 1):
            r = at.get(ell, values[-1])
            total += 3 * math.comb(a, ell) * (1 - q) ** (a - ell) * q**ell * mpmath.exp((ell - 1) * r)
        out.append(min(at[a], mpmath.log(total) / (a - 1)))
    return out


def solve(
    mechanism: str, *, c: float, n: int, d: int, bits: int, eps: float, delta: float, beta: float, k: float
) -> tuple[float, float]:
    """(gamma, sigma) of the published comparisons: 2^B gamma = 2 k sqrt(c^2 n^2 / d + (gamma^2/4 + sigma^2) n), h = n.

    In plain floats; false positions in place of bisections.
    """
    x = mpmath.fp

    def spent(gamma: float, sigma: float) -> float:
        d2 = x.sqrt(d2_squared(c / gamma, d, beta, x))
        return float(epsilon(curve(mechanism, d2, d1(d2, d, x), n, sigma / gamma, d, x), delta, x))

    def sigma_of(gamma: float) -> float:
        return math.exp(root(lambda y: spent(gamma, math.exp(y)) - eps, math.log(c / 50), math.log(50 * c)))

    def excess(log_gamma: float) -> float:
        gamma = math.exp(log_gamma)
        spread = c**2 * n**2 / d + (gamma**2 / 4 + sigma_of(gamma) ** 2) * n
        return math.log(2 * k * math.sqrt(spread) / gamma) - bits * math.log(2)

    guess = 2 * k * c * n / math.sqrt(d) / 2**bits
    gamma = math.exp(root(excess, math.log(guess / 2), math.log(guess * 4)))
    return gamma, sigma_of(gamma)


def root(f: Callable[[Any], Any], low: Any, high: Any, within: float = 1e-13) -> Any:
    """The root of a decreasing function in low .. high by the false position, Illinois variant."""
    at_low, at_high = f(low), f(high)
    assert at_low > 0 > at_high
    kept = 0
    while high - low > within:
        middle = high - at_high * (high - low) / (at_high - at_low)
        value = f(middle)
        if abs(value) < within:
            return middle
        if value > 0:
            low, at_low = middle, value
            at_high, kept = (at_high / 2 if kept == 1 else at_high), 1
        else:
            high, at_high = middle, value
            at_low, kept = (at_low / 2 if kept == -1 else at_low), -1
    return high


# ---- exact laws in one dimension; MPFR numbers of 200 bits, which are much faster than mpmath's


def number(value: Fraction | float) -> Any:
    """A rational as an MPFR number."""
    return gmpy2.mpfr(gmpy2.mpq(Fraction(value)), BITS)


def in_mpfr(f: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function with 200 bits and a range of exponents that no power here leaves."""

    @wraps(f)
    def run(*args: Any) -> Any:
        with gmpy2.context(precision=BITS, emin=-(1 << 40), emax=1 << 40):
            return f(*args)

    return run


@in_mpfr
def discrete_gaussian(variance: Fraction | float, reach: int) -> list[Any]:
    """The probabilities at -reach .. reach; `reach` so far out that what lies beyond does not matter."""
    half = [gmpy2.exp(-(k**2) / (2 * number(variance))) for k in range(reach + 1)]
    total = half[0] + 2 * gmpy2.fsum(half[1:])
    return [half[abs(k)] / total for k in range(-reach, reach + 1)]


@in_mpfr
def skellam_law(variance: Fraction | float, reach: int) -> list[Any]:
    """The probabilities e^-mu I_|k|(mu) at -reach .. reach, mu the variance; Miller's backward recurrence."""
    mu = number(variance)
    start = reach + 60 + int(2 * mu)
    above, here, half = gmpy2.mpfr(0), gmpy2.mpfr(1), [gmpy2.mpfr(0)] * (start + 1)
    for k in range(start, 0, -1):
        half[k] = here
        above, here = here, above + 2 * k / mu * here
    half[0] = here
    total = half[0] + 2 * gmpy2.fsum(half[1:])
    return [half[abs(k)] / total for k in range(-reach, reach + 1)]


@in_mpfr
def convolve(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    """The law of the sum, on the sum of the supports."""
    out = [gmpy2.mpfr(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return out


@in_mpfr
def renyi(order: int, p: Sequence[Any], q: Sequence[Any]) -> Any:
    """The Rényi divergence of p from q on one support where q > 0."""
    total = gmpy2.fsum([x**order / y ** (order - 1) for x, y in zip(p, q, strict=True) if x > 0])
    return gmpy2.log(total) / (order - 1)


@in_mpfr
def hockey_stick(p: Sequence[Any], q: Sequence[Any], eps: float) -> Any:
    """delta of one integer mechanism: sum (p - e^eps q)+."""
    factor = gmpy2.exp(number(eps))
    return gmpy2.fsum([max(gmpy2.mpfr(0), x - factor * y) for x, y in zip(p, q, strict=True)])


# ---- central mechanisms, in closed form or by numerical inversion


def gaussian_epsilon(z: float, delta: float) -> mpf:
    """The exact epsilon of a Gaussian mechanism (Balle and Wang 2018)."""

    def excess(eps: mpf) -> mpf:
        tails = mpmath.ncdf(1 / (2 * mpf(z)) - eps * z), mpmath.ncdf(-1 / (2 * mpf(z)) - eps * z)
        return (tails[0] - mpmath.exp(eps) * tails[1]) / delta - 1

    return root(excess, mpf(0), mpf(100))


def sampled_gaussian_epsilon(z: float, q: float, rounds: int, delta: float, *, near: float) -> float:
    """The epsilon of a composed Poisson-sampled Gaussian, by inversion of the moments of its privacy loss L.

    With M(w) = E_P[e^(w L)] of one round, and e^(-w eps) / (w (w+1)), the Laplace transform of (1 - e^(eps - x))+:

        delta(eps) = 1/(2 pi i) integral over Re w = c of M(w)^T e^(-w eps) / (w (w + 1)) dw,     any c > 0.

    Both integrals are trapezoidal sums, which converge exponentially for such integrands. The larger of removal and
    addition counts.

    Args:
        near: roughly the result; it places the line c near the saddle point, which only costs or saves digits.

    Source: Alghamdi et al., "The saddle-point method in differential privacy", ICML 2023.
    """
    x = np.linspace(-14.0 * z - 1, 14.0 * z + 2, 1501)
    step = x[1] - x[0]
    base = -(x**2) / (2 * z * z) - np.log(z * np.sqrt(2 * np.pi))
    mixed = base + np.log1p(q * np.expm1((2 * x - 1) / (2 * z * z)))
    found = []
    for log_p, log_q in ((mixed, base), (base, mixed)):

        def log_moment(w: Any, log_p: Any = log_p, loss: Any = log_p - log_q) -> Any:
            return np.log(np.sum(np.exp(log_p[None, :] + w[:, None] * loss[None, :]), axis=1) * step)

        grid = np.linspace(0.5, 25.0, 200)
        c = float(grid[np.argmin(rounds * log_moment(grid).real - grid * near - np.log(grid * (grid + 1)))])
        width = 1.0 / 32
        w = c + 1j * (np.arange(2000) + 0.5) * width
        moments = np.exp(rounds * log_moment(w)) / (w * (w + 1)) * (width / np.pi)
        assert abs(moments[-1]) < 1e-25 * abs(moments[0])

        def excess(eps: float, w: Any = w, moments: Any = moments) -> float:
            return float((moments * np.exp(-w * eps)).real.sum()) / delta - 1.0

        found.append(root(excess, near / 3, near * 3, 1e-12))
    return max(found)
