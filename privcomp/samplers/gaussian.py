"""The discrete Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import gmpy2
from gmpy2 import mpfr, mpq

from privcomp import _core
from privcomp.samplers.closed_form import ClosedForm, exact_rational
from privcomp.samplers.common import check_outcome

__all__ = ["DiscreteGaussian"]

#: Bits of the arithmetic behind pmf, cdf and variance.
_BITS = 160
#: From this sigma^2 on a tail is an integral with corrections, below it a sum of at most 14 sigma terms.
_WIDE = 1 << 14


@dataclass(frozen=True)
class DiscreteGaussian(ClosedForm):
    """The law P[Z = k] = exp(-k^2 / (2 sigma2)) / sum over all integers j of exp(-j^2 / (2 sigma2)).

    Args:
        sigma2: an int or a Fraction, 0 < sigma2 <= 2^80, numerator and denominator below 2^128. The variance
            is less than sigma2, noticeably so if sigma2 is below 1: see `variance`.

    Raises:
        ParameterError: a float, or out of range.

    Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020), definition 1.

    >>> law = DiscreteGaussian(100)
    >>> law.sample_var(5).dtype
    dtype('int64')
    >>> round(law.pmf(0), 6), round(law.cdf(-20), 6), round(law.variance, 6)
    (0.039894, 0.02554, 100.0)
    """

    sigma2: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma2", exact_rational("sigma2", self.sigma2, bits=80))

    def _law(self) -> tuple[int, Fraction]:
        return _core.GAUSS, self.sigma2

    def pmf(self, k: int) -> float:
        """P[Z = k] with a relative error below 2^-50 (0.0 where it is below the least float)."""
        k = check_outcome(k)
        with gmpy2.context(precision=_BITS):
            return float(self._rho(k) / self._sums()[0])

    def cdf(self, k: int) -> float:
        """P[Z <= k] with an error below 2^-40."""
        k = check_outcome(k)
        with gmpy2.context(precision=_BITS):
            if k >= 0:
                return float(1 - self._tail(k + 1) / self._sums()[0])
            return float(self._tail(-k) / self._sums()[0])

    @property
    def variance(self) -> float:
        """E[Z^2], relative error below 2^-50. The mean is 0."""
        with gmpy2.context(precision=_BITS):
            total, squares = self._sums()
            return float(squares / total)

    def _s(self) -> mpfr:
        return mpfr(mpq(self.sigma2.numerator, self.sigma2.denominator))

    def _rho(self, k: int) -> mpfr:
        return gmpy2.exp(mpfr(mpq(-k * k * self.sigma2.denominator, 2 * self.sigma2.numerator)))

    def _sums(self) -> tuple[mpfr, mpfr]:
        """The sums of rho(k) and of k^2 rho(k) over all k.

        With s = sigma2 and e(n) = exp(-2 pi^2 s n^2), Poisson's formula gives sum rho = sqrt(2 pi s) sum e(n), and its
        derivative, times 2 s^2, gives sum k^2 rho = sqrt(2 pi s) (s sum e(n) - 4 pi^2 s^2 sum n^2 e(n)). For s >= 1
        what is left out beyond |n| = 3 is below 2^-400; for s < 1 the sums themselves end below 2^-180 at |k| = 16.
        """
        s = self._s()
        if s < 1:
            terms = [self._rho(k) for k in range(17)]
            return 1 + 2 * sum(terms[1:], mpfr(0)), 2 * sum((k * k * rho for k, rho in enumerate(terms)), mpfr(0))
        pi = gmpy2.const_pi()
        waves = [gmpy2.exp(-2 * pi * pi * s * n * n) for n in range(4)]
        root = gmpy2.sqrt(2 * pi * s)
        total = 1 + 2 * sum(waves[1:], mpfr(0))
        bent = 2 * sum((n * n * wave for n, wave in enumerate(waves)), mpfr(0))
        return root * total, root * (s * total - 4 * pi * pi * s * s * bent)

    def _tail(self, a: int) -> mpfr:
        """The sum of rho(k) over k >= a, for a >= 1.

        Wide laws: the midpoint form of Euler and Maclaurin, with x = a - 1/2, u = x / sigma,
            sum = integral from x + f'(x) / 24 - 7 f'''(x) / 5760 + 31 f^(5)(x) / 967680 - ...,
        f' = -u f / sigma, f''' = -(u^3 - 3 u) f / sigma^3, f^(5) = -(u^5 - 10 u^3 + 15 u) f / sigma^5. The next term is
        127 f^(7) / 154828800, and |f^(7)| <= 14 / sigma^7: less than 2^-60 of f(0) for sigma >= 128.
        """
        s = self._s()
        if self.sigma2 < _WIDE:
            total, k = mpfr(0), a
            while k < a + 1 or k * k < 200 * s:
                total += self._rho(k)
                k += 1
            return total
        sigma = gmpy2.sqrt(s)
        x = mpfr(mpq(2 * a - 1, 2))
        u = x / sigma
        f = gmpy2.exp(-u * u / 2)
        integral = gmpy2.sqrt(gmpy2.const_pi() * s / 2) * gmpy2.erfc(u / gmpy2.sqrt(mpfr(2)))
        first, third, fifth = u / sigma, (u**3 - 3 * u) / sigma**3, (u**5 - 10 * u**3 + 15 * u) / sigma**5
        return integral - f * (first / 24 - 7 * third / 5760 + 31 * fifth / 967680)
