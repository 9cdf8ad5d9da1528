"""The discrete Laplace law, also called two-sided geometric."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import gmpy2
from gmpy2 import mpfr, mpq

from privcomp import _core
from privcomp.samplers.closed_form import ClosedForm, exact_rational
from privcomp.samplers.common import check_outcome

__all__ = ["DiscreteLaplace"]

_BITS = 160


@dataclass(frozen=True)
class DiscreteLaplace(ClosedForm):
    """The law P[Z = k] = (1 - q) / (1 + q) q^|k| with q = exp(-1 / scale).

    Args:
        scale: an int or a Fraction, 0 < scale <= 2^40, numerator and denominator below 2^128. For a query of
            sensitivity D, scale D / epsilon gives epsilon-differential privacy.

    Raises:
        ParameterError: a float, or out of range.

    Source: Ghosh, Roughgarden, Sundararajan, "Universally utility-maximizing privacy mechanisms", STOC 2009; Canonne,
    Kamath, Steinke (2020), definition 25.

    >>> law = DiscreteLaplace(Fraction(5, 2))
    >>> law.sample_var(5).shape
    (5,)
    >>> round(law.pmf(0), 6), round(law.cdf(0), 6)
    (0.197375, 0.598688)
    """

    scale: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", exact_rational("scale", self.scale, bits=40))

    def _law(self) -> tuple[int, Fraction]:
        return _core.LAPLACE, self.scale

    def _power(self, k: int) -> mpfr:
        """q^k."""
        return gmpy2.exp(mpfr(mpq(-k * self.scale.denominator, self.scale.numerator)))

    def pmf(self, k: int) -> float:
        """P[Z = k] with a relative error below 2^-50 (0.0 where it is below the least float)."""
        k = check_outcome(k)
        with gmpy2.context(precision=_BITS):
            # expm1: 1 - q for scales so large that q is nearly 1
            return float(-gmpy2.expm1(-1 / self._t()) / (1 + self._power(1)) * self._power(abs(k)))

    def cdf(self, k: int) -> float:
        """P[Z <= k] with an error below 2^-50."""
        k = check_outcome(k)
        with gmpy2.context(precision=_BITS):
            if k >= 0:
                return float(1 - self._power(k + 1) / (1 + self._power(1)))
            return float(self._power(-k) / (1 + self._power(1)))

    @property
    def variance(self) -> float:
        """E[Z^2] = 2 q / (1 - q)^2, relative error below 2^-50. The mean is 0."""
        with gmpy2.context(precision=_BITS):
            return float(2 * self._power(1) / gmpy2.expm1(-1 / self._t()) ** 2)

    def _t(self) -> mpfr:
        return mpfr(mpq(self.scale.numerator, self.scale.denominator))
