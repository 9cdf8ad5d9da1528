"""The binomial distribution: how many of a number of independent trials succeed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from gmpy2 import mpz

from privcomp.errors import ParameterError
from privcomp.samplers.closed_form import exact_rational, show
from privcomp.samplers.tables import Law
from privcomp.samplers.tabulated import Tabulated

__all__ = ["Binomial"]

_TRIALS_BITS = 62
_HIGHEST = 1 << 26  # variance: a standard deviation of 2^13
_END = 190  # the values that are left out lie this many bits below the mode's
_KEEP = 64  # bits of the smallest weight
_GUARD = 160  # further bits while the weights are computed
_RATIO_BITS = 17


@dataclass(frozen=True)
class Binomial(Tabulated):
    """P[X = k] = C(trials, k) p^k (1 - p)^(trials - k), p = `probability`, k = 0 .. trials: exact samples.

    With p = 1/2 and 2 v trials, X - v is what is called centred binomial noise of variance v / 2.

    Args:
        trials: 1 .. 2^62 - 1 with a variance trials p (1 - p) of at most 2^26.
        probability: a Fraction, above 0 and below 1, its denominator below 2^128.

    Raises:
        ParameterError: anything else; a float is refused (Fraction(1, 10) is 1/10, and 0.1 is not).

    Source: Johnson, Kemp, Kotz, "Univariate Discrete Distributions" (2005), chapter 3.

    >>> Binomial(3).pmf(1)
    0.375
    >>> Binomial(3, Fraction(1, 10)).cdf(0)
    0.729
    >>> noise = Binomial(100).sample_var(1000) - 50
    >>> bool(abs(noise).max() < 40)
    True
    """

    trials: int
    probability: Fraction = Fraction(1, 2)

    def __post_init__(self) -> None:
        n: object = self.trials
        if isinstance(n, bool) or not isinstance(n, int) or n < 1 or n.bit_length() > _TRIALS_BITS:
            raise ParameterError("trials must be an int, at least 1 and below 2^62")
        p = exact_rational("probability", self.probability, bits=0)
        if p == 1:
            raise ParameterError("probability is 1; allowed is 0 < probability < 1")
        object.__setattr__(self, "probability", p)
        if self.variance > _HIGHEST:
            raise ParameterError(f"the variance is {show(self.variance)}; allowed is at most 2^26: take fewer trials")

    @property
    def mean(self) -> Fraction:
        """trials p."""
        return self.trials * self.probability

    @property
    def variance(self) -> Fraction:
        """trials p (1 - p)."""
        return self.mean * (1 - self.probability)

    def _law(self) -> Law:
        return binomial_law(self.trials, self.probability)


def _outwards(n: int, p: Fraction, mode: int) -> list[mpz]:
    """Weights of mode, mode + 1, ..., as far as they count: b_{k+1} = b_k (n - k) p / ((k + 1) (1 - p)).

    The ratio of neighbours falls with k. Where b_k <= 2^-190 b_mode and the ratio to the next one is at most 1 -
    2^-17, the terms from b_k on are together at most 2^17 b_k, hence 2^-173 of the whole: that is the end.
    """
    a, c = p.numerator, p.denominator - p.numerator
    here = mpz(1) << (_END + _KEEP + _GUARD)
    end = here >> _END
    weights = [here]
    for k in range(mode, n):
        up, down = (n - k) * a, (k + 1) * c
        here = here * up // down
        if here <= end and (down - up) << _RATIO_BITS >= down:  # further ratios are below up / down
            break
        weights.append(here)
    return [w >> _GUARD for w in weights]


def binomial_law(n: int, p: Fraction) -> Law:
    """Weights proportional to the probabilities but for 2^-172 in the tails, with a relative error below 2^-55.

    Each step from the mode on rounds a number of at least 2^224 down: docs/samplers-tables.md.
    """
    deviation = math.sqrt(n * p * (1 - p))
    mode = int((n + 1) * p)  # floor: k -> pmf(k) rises up to there
    right = _outwards(n, p, min(mode, n))
    if p == Fraction(1, 2):
        # n even: symmetric about n / 2. n odd: k and n - k mirror each other in the middle of two modes.
        return Law(mode, 1 if n % 2 == 0 else 2, right, 0, deviation)
    left = _outwards(n, 1 - p, n - mode)
    return Law(mode - len(left) + 1, 0, left[:0:-1] + right, len(left) - 1, deviation)
