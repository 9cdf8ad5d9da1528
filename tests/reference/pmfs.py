"""Probabilities of the tabulated distributions by other formulas than the library's, in multiprecision."""

from __future__ import annotations

from fractions import Fraction

import gmpy2
from gmpy2 import mpfr, mpq, mpz

PRECISION = 512


def skellam_pmf(k: int, variance: Fraction) -> mpfr:
    """exp(-v) I_|k|(v), the sum over i of exp(-v) (v/2)^(2i + |k|) / (i! (i + |k|)!), relative error < 2^-400.

    Its largest term comes from the logarithm of the gamma function; from there the terms fall on either side, by the
    ratio (v/2)^2 / (i (i + |k|)) from i - 1 to i.
    """
    k = abs(k)
    with gmpy2.context(precision=PRECISION):
        half = mpfr(mpq(variance.numerator, 2 * variance.denominator))
        square, shifted = half * half, mpfr(k) / 2
        middle = int(gmpy2.floor(gmpy2.sqrt(square + shifted * shifted) - shifted))
        log = (
            (2 * middle + k) * gmpy2.log(half)
            - 2 * half
            - gmpy2.lgamma(mpfr(middle + 1))[0]
            - gmpy2.lgamma(mpfr(middle + k + 1))[0]
        )
        largest = gmpy2.exp(log)
        tiny = largest / mpfr(2) ** 430  # and there are fewer than 2^20 terms
        total, term, i = largest, largest, middle
        while term > tiny:
            i += 1
            term = term * square / (mpz(i) * (i + k))
            total += term
        term, i = largest, middle
        while term > tiny and i > 0:
            term = term * (mpz(i) * (i + k)) / square
            i -= 1
            total += term
        return total


def binomial_pmf(k: int, trials: int, p: Fraction) -> mpfr:
    """C(n, k) p^k (1 - p)^(n - k): exact for few trials, else by the gamma function; relative error < 2^-400."""
    if not 0 <= k <= trials:
        return mpfr(0)
    with gmpy2.context(precision=PRECISION):
        if trials <= 4096:
            exact = gmpy2.bincoef(trials, k) * mpq(p) ** k * mpq(1 - p) ** (trials - k)
            return mpfr(exact)
        choose = sum(s * gmpy2.lgamma(mpfr(x + 1))[0] for s, x in ((1, trials), (-1, k), (-1, trials - k)))
        return gmpy2.exp(choose + k * gmpy2.log(mpfr(mpq(p))) + (trials - k) * gmpy2.log(mpfr(mpq(1 - p))))
