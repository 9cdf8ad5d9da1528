"""The Skellam distribution: the difference of two independent Poisson variables of the same mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from gmpy2 import mpz

from privcomp.errors import ParameterError
from privcomp.samplers.closed_form import exact_rational, show
from privcomp.samplers.tables import CUT_BITS, Law
from privcomp.samplers.tabulated import Tabulated

__all__ = ["Skellam"]

_VARIANCE_BITS = 26  # a standard deviation of 2^13
_LOWEST = Fraction(1, 1 << 64)
_START_BITS = 272  # the recurrence begins where the tail is below 2^-272
_GUARD = 224  # bits of the recurrence's smallest value, and of its factor's fraction
_KEEP = 64  # bits of the smallest weight


@dataclass(frozen=True)
class Skellam(Tabulated):
    """P[X = k] = exp(-v) I_|k|(v) on the integers, v the variance and I the modified Bessel function. The mean is 0.

    The sum of independent Skellam variables is Skellam, and its variance the sum of the variances. That makes it the
    noise of choice where many parties add a share each.

    Args:
        variance: an int or a Fraction, 2^-64 .. 2^26, its numerator and denominator below 2^128. Kept as a Fraction.

    Raises:
        ParameterError: anything else. A float is refused: Fraction(1, 10) is 1/10, and 0.1 is not.

    Source: Skellam, "The frequency distribution of the difference between two Poisson variates", J. Royal Stat. Soc.
    109 (1946); Agarwal, Kairouz, Liu, "The Skellam mechanism for differentially private federated learning", NeurIPS
    2021.

    Ten parties' noise is the noise of one with ten times the variance:

    >>> share, total = Skellam(Fraction(2, 5)), Skellam(4)
    >>> pmf = [1.0]
    >>> for _ in range(10):
    ...     pmf = [sum(share.pmf(i - j) * p for j, p in enumerate(pmf, -(len(pmf) // 2))) for i in range(-30, 31)]
    >>> all(abs(p - total.pmf(k)) < 1e-12 for k, p in enumerate(pmf, -30))
    True
    """

    variance: Fraction

    def __post_init__(self) -> None:
        variance = exact_rational("variance", self.variance, bits=_VARIANCE_BITS)
        if variance < _LOWEST:
            raise ParameterError(f"variance is {show(variance)}; allowed is at least 2^-64")
        object.__setattr__(self, "variance", variance)

    @property
    def mean(self) -> Fraction:
        """0."""
        return Fraction(0)

    def _law(self) -> Law:
        return skellam_law(self.variance)


def _tail_bits(k: int, mu: float) -> float:
    """b such that P[X >= k] <= 2^-b for k > 0, by Chernoff's bound.

    E exp(tX) = exp(mu (cosh t - 1)), and t = asinh(k / mu) is best: ln P <= mu (cosh t - 1) - t k, where
    mu (cosh t - 1) = sqrt(mu^2 + k^2) - mu = k^2 / (sqrt(mu^2 + k^2) + mu).
    """
    return (k * math.asinh(k / mu) - k * k / (math.hypot(mu, k) + mu)) / math.log(2)


def _least(bits: int, mu: float) -> int:
    """The least k with P[X >= k] <= 2^-bits by that bound. A thousandth of a bit is far more than the floats' error."""
    high = 1
    while _tail_bits(high, mu) < bits + 1e-3:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _tail_bits(middle, mu) < bits + 1e-3 else (low, middle)
    return high


def skellam_law(variance: Fraction) -> Law:
    """Weights proportional to I_k(variance), k = 0 .. L with P[|X| > L] <= 2^-172; relative errors below 2^-55.

    Miller's backward recurrence y_{k-1} = y_{k+1} + (2k / variance) y_k from y_{M+1} = y_M = 1, M far out, in whole
    numbers. Its solutions other than I fade on the way down; how far they do, and what rounding adds, is proven in
    docs/samplers-tables.md. No exponential is needed, as only proportions matter.

    Source: Miller (1952), in Olver and Maximon, NIST DLMF, section 3.6(vi) and 10.74(iv).
    """
    mu = float(variance)
    # P[|X| > L] = 2 P[X >= L + 1]
    last = _least(CUT_BITS + 1, mu) - 1
    start = max(_least(_START_BITS, mu), last + 1)
    # factor = 2^224 * 2 / variance, rounded down once: k * factor is exact from there.
    factor = (mpz(2) << _GUARD) * variance.denominator // variance.numerator
    above = here = mpz(1) << _GUARD
    step = factor * start
    for _ in range(start - last):
        above, here = here, above + (step * here >> _GUARD)
        step -= factor
    weights = [here]
    for _ in range(last):
        above, here = here, above + (step * here >> _GUARD)
        step -= factor
        weights.append(here)
    drop = _GUARD - _KEEP
    return Law(0, 1, [w >> drop for w in reversed(weights)], 0, math.sqrt(mu))
