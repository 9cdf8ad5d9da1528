"""Rényi differential privacy of noise that many clients add: curves, sensitivities, and the two mechanisms.

Everything here is in integer units: a vector q of d integers (d the padded dimension, a power of two), and h honest
shares of integer noise of variance s^2 each. A curve is an upper bound of the Rényi divergence at the orders `ORDERS`,
taken in both directions over all neighbouring inputs.

**Rounding.** A curve must not be too small, so every float is rounded upwards. The formulas add and multiply positive
numbers only; an exponential of -x with x <= 745 has a relative error below 745 * 2^-53 + 4 * 2^-52 < 2^-43, and no
formula multiplies more than four inexact numbers, so that `_up` with its factor 1 + 2^-40 lies above the true value.
What underflows is replaced by 2^-1000, which is larger.

**Sensitivities.** Clipping to the norm c and dividing by the granularity gives a real vector of norm rho = c / gamma.
Rounding it stochastically and keeping the result only if ||q||^2 <= D2^2 bounds what zero-out of one client changes:

    D2^2 = min( rho^2 + d/4 + sqrt(2 ln(1/beta)) (rho + sqrt(d)/2),   (rho + sqrt(d))^2 )
    D1   = min( sqrt(d) D2, D2^2 )            ||q||_1 <= sqrt(d) ||q||_2, and |q_j| <= q_j^2 for integers

The first is a norm that a vector rounded once exceeds with probability at most beta, the second one that it never
exceeds. Replacement of one client by another moves the sum by at most twice as much.

Records: q = floor((v + U) / G) with v an exact sum of integer vectors of norm at most 2^k rho each, transformed by
the unnormalised Hadamard matrix, and G >= 2^k sqrt(d). For the same U, |q_j - q'_j| < |Delta_j| + 1 where Delta, the
difference of the quotients, has norm at most rho: D2 = rho + sqrt(d), and D1 as above, for zero-out of one record.

Sources: Kairouz, Liu, Steinke, ICML 2021 (arXiv 2102.06387; distributed discrete Gaussian, conditional rounding);
Agarwal, Kairouz, Liu, NeurIPS 2021 (arXiv 2110.04995; Skellam); Mironov, CSF 2017 (arXiv 1702.07476; composition).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np

from privcomp.codec import F64, Codec, Message, Seq
from privcomp.dp.checks import integer, probability, real
from privcomp.errors import ParameterError
from privcomp.typing import F64Array

__all__ = ["ORDERS", "RdpCurve", "Sensitivity", "ddg_curve", "record_sensitivity", "skellam_curve", "user_sensitivity"]

ORDERS: Final[tuple[int, ...]] = (*range(2, 129), 256)
"""The orders of every curve."""

_ALPHA: Final[F64Array] = np.array(ORDERS, dtype=np.float64)
_ALPHA.flags.writeable = False
_UP: Final = 1.0 + 2.0**-40
_TINY: Final = 2.0**-1000
_SQRT_BITS: Final = 128
_MAX_SHARES: Final = 1 << 20


@dataclass(frozen=True)
class RdpCurve(Message):
    """Upper bounds of the Rényi divergence at `ORDERS`; independent mechanisms compose by addition.

    Args:
        values: one float64 >= 0 per order, in nats; finite.

    Raises:
        ParameterError: another number of values, or one that is negative, NaN or infinite.

    >>> curve = RdpCurve.gaussian(1.0)
    >>> round(curve.epsilon(1e-5), 4), round((curve + curve).epsilon(1e-5), 4)
    (4.7527, 7.0879)
    """

    TAG: ClassVar[int] = 0x0500
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("values", Seq(F64, len(ORDERS))),)
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if type(self.values) is not tuple or len(self.values) != len(ORDERS):
            raise ParameterError(f"a curve has {len(ORDERS)} values, one for each of the orders 2..128 and 256")
        if not all(type(value) is float and 0.0 <= value < math.inf for value in self.values):
            raise ParameterError("a curve's values must be finite floats >= 0: this mechanism has no finite bound")

    @classmethod
    def zero(cls) -> RdpCurve:
        """The curve of a release that depends on nobody."""
        return cls((0.0,) * len(ORDERS))

    @classmethod
    def from_values(cls, values: F64Array) -> RdpCurve:
        """A curve from a float64 array of shape (128,); ParameterError where a value is negative or not finite."""
        return cls(tuple(map(float, values)))

    @classmethod
    def gaussian(cls, noise_multiplier: float) -> RdpCurve:
        """alpha / (2 z^2): noise of z times the L2 sensitivity, Gaussian or discrete Gaussian (CKS 2020, Theorem 14).

        Args:
            noise_multiplier: z > 0, the ratio of the noise parameter to the L2 sensitivity of the adjacency in use.
        """
        z = real("noise_multiplier", noise_multiplier, 1e-100, 1e100)
        return cls.from_values(_up(_ALPHA / (2.0 * z * z)))

    def __add__(self, other: RdpCurve) -> RdpCurve:
        """The composition of two mechanisms, adaptive or not (Mironov 2017, Proposition 1)."""
        return self.from_values(np.nextafter(np.add(self.values, other.values), np.inf))

    def times(self, count: int) -> RdpCurve:
        """The composition of `count` >= 0 mechanisms with this curve; ParameterError for another count."""
        integer("count", count, 0, 1 << 62)
        if count <= 1:
            return self if count else self.zero()
        return self.from_values(_up(np.multiply(self.values, float(count))))

    def epsilon(self, delta: float) -> float:
        """The least epsilon of (epsilon, delta)-DP that this conversion finds, rounded up.

        With r the divergence at order a, for every epsilon

            delta <= E[(1 - e^(eps - L))+] <= sup_t (1 - e^-t) e^(-(a-1) t) * e^((a-1) (r - eps))
                   = (1/a) (1 - 1/a)^(a-1) e^((a-1) (r - eps)),

        because E[e^((a-1) L)] = e^((a-1) r) for the privacy loss L, and the supremum is at e^-t = 1 - 1/a. Solved
        for epsilon: r + ln(1 - 1/a) - (ln delta + ln a) / (a - 1). And if delta^2 > 1 - e^-r then epsilon = 0, as the
        total variation is at most sqrt(1 - e^-KL) (Bretagnolle and Huber) and KL <= r.

        Args:
            delta: 0 < delta < 1.

        Returns:
            epsilon >= 0, within 1e-12 (relative or absolute) above the exact value of the formula.

        Raises:
            ParameterError: delta outside (0, 1).

        Source: Canonne, Kamath, Steinke, NeurIPS 2020 (arXiv 2004.00010v4), Proposition 12; Balle et al., AISTATS 2020,
        Theorem 21. It is the conversion of `dp_accounting.rdp.compute_epsilon`.
        """
        delta = probability("delta", delta)
        r = np.array(self.values)
        if bool(np.any(-np.expm1(-r) < delta * delta * (1.0 - 2.0**-40))):
            return 0.0
        found = r + np.log1p(-1.0 / _ALPHA) - (math.log(delta) + np.log(_ALPHA)) / (_ALPHA - 1.0)
        least = float(found.min())
        # |ln delta| <= 745 has an error below 745 * 2^-52 < 2^-42, the sum one of some 2^-51 of its size
        return least * (1.0 + 2.0**-48) + 2.0**-41 if least > 0.0 else 0.0

    def delta(self, epsilon: float) -> float:
        """The least delta of (epsilon, delta)-DP that the same conversion finds, rounded up; at most 1.

        Args:
            epsilon: finite, >= 0. Raises ParameterError otherwise.
        """
        epsilon = real("epsilon", epsilon, 0.0)
        r = np.array(self.values)
        log_delta = (_ALPHA - 1.0) * (r - epsilon + np.log1p(-1.0 / _ALPHA)) - np.log(_ALPHA)
        with np.errstate(divide="ignore"):  # log(0) = -inf is what is meant
            log_delta = np.minimum(log_delta, 0.5 * np.log(-np.expm1(-r)))
        least = float(log_delta.min())
        if least == -math.inf:
            return 0.0
        return min(1.0, math.exp(min(0.0, least + (1.0 + abs(least)) * 2.0**-40)) + _TINY)

    def sampled(self, rate: float) -> RdpCurve:
        """The curve after Poisson sampling of the units: each takes part with probability `rate`, hidden from everyone.

        Holds only where the noise is there whoever takes part (a trusted curator; the records inside one hospital), and
        for adjacency by removal, which zero-out of a sampled record is. With g the rate, for integer orders a

            e^((a-1) r'(a)) <= (1-g)^(a-1) (a g - g + 1) + C(a,2) g^2 (1-g)^(a-2) e^(r(2))
                               + 3 sum_{l=3..a} C(a,l) (1-g)^(a-l) g^l e^((l-1) r(l)).

        r is taken at l between 129 and 255 from order 256, where it is larger. The result is never above the curve.

        Args:
            rate: 0 < rate <= 1. Raises ParameterError otherwise.

        Source: Zhu, Wang, ICML 2019 (Poisson Subsampled Rényi Differential Privacy; the general upper bound).
        """
        rate = real("rate", rate, 0.0, 1.0, above=True)
        if rate == 1.0:
            return self
        at = dict(zip(ORDERS, self.values, strict=True))
        r = np.array([0.0, 0.0, *(at.get(ell, self.values[-1]) for ell in range(2, ORDERS[-1] + 1))])
        terms = _sampling_weights(rate) + np.arange(-1.0, ORDERS[-1]) * r  # ln of the addends, -inf where l > a
        top = terms.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(terms - top).sum(axis=1))
        # sums of terms of at most some 2^11 nats (each cancels against others): errors below 2^-40
        total = (total + 2.0**-38 * (1.0 + np.abs(total))) / (_ALPHA - 1.0)
        return self.from_values(np.minimum(self.values, np.maximum(total, 0.0)))


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one unit changes in a sum of integer vectors, rounded upwards.

    Attributes:
        l1: D1.
        l2_squared: D2^2.
    """

    l1: float
    l2_squared: float

    def doubled(self) -> Sensitivity:
        """The sensitivity under replacement of a unit by another: D1 and D2 doubled."""
        return Sensitivity(2.0 * self.l1, 4.0 * self.l2_squared)

    @classmethod
    def of(cls, l2_squared: Fraction, padded: int) -> Sensitivity:
        """D1 = min(sqrt(d) D2, D2^2) for d = `padded`, from an upper bound of D2^2."""
        l1 = min(_sqrt(padded * l2_squared, up=True), l2_squared)
        return cls(_float_up(l1), _float_up(l2_squared))


def user_l2_squared(ratio: Fraction, padded: int, beta_log: float | None, *, up: bool) -> Fraction:
    """D2^2 for zero-out of a client, within 2^-100 of the formula, on the side that is asked for.

    Args:
        ratio: rho = c / gamma > 0.
        padded: d.
        beta_log: ln(1 / beta) >= 0, or None for beta = 0 (no retries are needed: the second branch).
        up: an upper bound (for the formulas) or a lower one (for the gate).
    """
    root = _sqrt(Fraction(padded), up=up)
    always = (ratio + root) ** 2
    if beta_log is None:
        return always
    return min(
        ratio**2 + Fraction(padded, 4) + _sqrt(2 * Fraction(beta_log), up=up) * (ratio + root / 2),
        always,
    )


def user_sensitivity(ratio: Fraction, padded: int, beta_log: float | None) -> Sensitivity:
    """D1 and D2^2 for zero-out of a client; arguments as for `user_l2_squared`."""
    return Sensitivity.of(user_l2_squared(ratio, padded, beta_log, up=True), padded)


def record_sensitivity(ratio: Fraction, padded: int) -> Sensitivity:
    """D1 and D2^2 for zero-out of one record of norm at most c = ratio * gamma: D2 = rho + sqrt(d)."""
    return Sensitivity.of((ratio + _sqrt(Fraction(padded), up=True)) ** 2, padded)


def skellam_curve(sensitivity: Sensitivity, variance: Fraction, shares: int) -> RdpCurve:
    """The curve of a sum with `shares` Skellam shares of the given variance each; mu = h s^2:

        a D2^2 / (2 mu) + min( ((2a - 1) D2^2 + 6 D1) / (4 mu^2),  3 D1 / (2 mu) )

    Args:
        sensitivity: of the adjacency in use.
        variance: s^2 > 0 of one share, in integer units.
        shares: h >= 1, the shares that nobody knows.

    Raises:
        ParameterError: an argument outside its range, or a bound that float64 cannot hold.
    """
    mu = float(_total(variance, shares))
    d1, d2 = sensitivity.l1, sensitivity.l2_squared
    with np.errstate(over="ignore"):
        first = ((2.0 * _ALPHA - 1.0) * d2 + 6.0 * d1) / (4.0 * mu * mu)
        values = _ALPHA * d2 / (2.0 * mu) + np.minimum(first, 3.0 * d1 / (2.0 * mu))
        return RdpCurve.from_values(_up(values))


def ddg_curve(sensitivity: Sensitivity, variance: Fraction, shares: int, padded: int) -> RdpCurve:
    """The curve of a sum with `shares` discrete Gaussian shares of parameter s^2 each:

        min( a D2^2 / (2 h s^2) + tau d,
             (a / 2) (D2^2 / (h s^2) + 2 D1 tau / (sqrt(h) s) + tau^2 d),
             (a / 2) (D2 / (sqrt(h) s) + tau sqrt(d))^2 )

    Args:
        padded: d; the others as for `skellam_curve`.
    """
    total = float(_total(variance, shares))
    d1, d2 = sensitivity.l1, sensitivity.l2_squared
    tau = ddg_tau(variance, shares)
    deviation = math.sqrt(total)
    with np.errstate(over="ignore"):
        values = np.minimum.reduce(
            [
                _ALPHA * (d2 / (2.0 * total)) + tau * padded,
                _ALPHA / 2.0 * (d2 / total + 2.0 * d1 * tau / deviation + tau * tau * padded),
                _ALPHA / 2.0 * (math.sqrt(d2) / deviation + tau * math.sqrt(padded)) ** 2,
            ]
        )
        return RdpCurve.from_values(_up(values))


def ddg_tau(variance: Fraction, shares: int) -> float:
    """tau = 10 sum_{k=1}^{h-1} exp(-2 pi^2 s^2 k / (k+1)): how far a sum of discrete Gaussians is from one, rounded up.

    Source: Kairouz, Liu, Steinke 2021 (the divergence of a convolution of discrete Gaussians from one of them).
    """
    _total(variance, shares)
    return _tau(float(variance), shares)


@lru_cache(maxsize=256)
def _tau(variance: float, shares: int) -> float:
    exponent = 2.0 * math.pi * math.pi * variance
    if exponent > 1500.0:  # even k = 1 gives less than e^-750 < 2^-1000
        return 10.0 * (shares - 1) * _TINY
    k = np.arange(1, shares, dtype=np.float64)
    terms = np.maximum(np.exp(-exponent * (k / (k + 1.0))), _TINY)
    return float(_up(10.0 * terms.sum()))


def _total(variance: Fraction, shares: int) -> Fraction:
    if variance <= 0:
        raise ParameterError(f"the variance is {variance!r}; it must be a positive Fraction")
    integer("shares", shares, 1, _MAX_SHARES)
    return Fraction(variance) * shares


@lru_cache(maxsize=16)
def _sampling_weights(rate: float) -> F64Array:
    """(128, 257): ln of the factor of e^((l-1) r(l)) in row a, column l; column 1 holds the addend without r."""
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    out = np.full((len(ORDERS), ORDERS[-1] + 1), -np.inf)
    for row, order in zip(out, ORDERS, strict=True):
        ell = np.arange(2, order + 1, dtype=np.float64)
        choose = np.array([math.log(math.comb(order, i)) for i in range(2, order + 1)])
        row[2 : order + 1] = choose + (order - ell) * log_rest + ell * log_rate
        row[3 : order + 1] += math.log(3.0)
        row[1] = (order - 1) * log_rest + math.log1p((order - 1) * rate)
    out.flags.writeable = False
    return out


def _up(values: Any) -> Any:
    """At least the exact values, for floats with a relative error below 2^-41 (see the top of this file)."""
    return values * _UP


def _sqrt(value: Fraction, *, up: bool) -> Fraction:
    """The square root within 2^-128, from the side that is asked for."""
    root = math.isqrt((value.numerator << (2 * _SQRT_BITS)) // value.denominator)
    return Fraction(root + 1 if up else root, 1 << _SQRT_BITS)


def _float_up(value: Fraction) -> float:
    """The least float64 that is at least `value`, or the one after it."""
    try:
        return math.nextafter(float(value), math.inf)
    except OverflowError:
        raise ParameterError("a sensitivity is beyond float64: choose a larger granularity") from None
