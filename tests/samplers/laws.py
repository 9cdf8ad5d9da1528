"""What the tests of the samplers share: streams that repeat, laws, goodness of fit."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from fractions import Fraction
from math import log, sqrt

import numpy as np
import numpy.typing as npt
from scipy import stats

from privcomp.samplers import DiscreteGaussian, DiscreteLaplace
from privcomp.typing import I64Array

ALPHA = 1e-6

Law = DiscreteGaussian | DiscreteLaplace

GAUSSIANS = [
    DiscreteGaussian(sigma2)
    for sigma2 in (Fraction(9, 100), Fraction(1, 4), 1, Fraction(1369, 100), 100, 10**6, 10**12, 1 << 80)
]
LAPLACES = [DiscreteLaplace(t) for t in (Fraction(1, 5), 1, Fraction(17, 3), 100, 4096, 10**9, 1 << 40)]
#: Where parameters end, and where blocks begin to be wider than one, or than what floats look at.
EDGES = [
    DiscreteGaussian(Fraction(1, (1 << 128) - 1)),
    DiscreteGaussian(Fraction(1, 50)),
    DiscreteGaussian(49),
    DiscreteGaussian(Fraction((1 << 128) - 1, 1 << 60)),
    DiscreteGaussian((7 << 24) ** 2),
    DiscreteGaussian((7 << 24) ** 2 + 1),
    DiscreteLaplace(Fraction(1, (1 << 128) - 1)),
    DiscreteLaplace(7),
    DiscreteLaplace(Fraction(15, 2)),
    DiscreteLaplace(7 << 24),
    DiscreteLaplace((7 << 24) + 1),
]


def name(law: object) -> str:
    """The id of a test."""
    text = repr(law)
    return text if len(text) < 60 else text[:57] + "..."


def repeatable(label: str) -> Callable[[int], bytes]:
    """An rng that gives the same bytes in every run: a test by chance would fail by chance."""
    calls = itertools.count()

    def rng(n: int) -> bytes:
        return hashlib.shake_256(f"{label} {next(calls)}".encode()).digest(n)

    return rng


def scale(law: Law) -> float:
    """The standard deviation, or what it is near."""
    return sqrt(law.variance)


def cells(law: Law, count: int, n: int) -> tuple[I64Array, npt.NDArray[np.float64]]:
    """Borders b_0 < b_1 < ... and the probabilities of (-inf, b_0], (b_0, b_1], ..., (b_last, inf).

    Single outcomes where the law is narrow. Every cell expects at least ten of n samples, the tails in the outer ones.
    """
    reach = 12 * scale(law) + 2
    step = max(1, int(reach * 2 / count))
    borders = list(range(-int(reach), int(reach) + 1, step))
    below = [law.cdf(border) for border in borders]
    kept: list[int] = []
    probabilities: list[float] = []
    last = 0.0
    for border, c in zip(borders, below, strict=True):
        if (c - last) * n >= 10 and (1 - c) * n >= 10:
            kept.append(border)
            probabilities.append(c - last)
            last = c
    return np.array(kept, np.int64), np.array([*probabilities, 1 - last])


def chi_square(samples: I64Array, borders: I64Array, probabilities: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(statistic, what it exceeds with probability ALPHA)."""
    counts = np.bincount(np.searchsorted(borders, samples, side="left"), minlength=len(probabilities))
    expected = probabilities * len(samples)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic, float(stats.chi2.isf(ALPHA, max(1, len(probabilities) - 1)))


def kolmogorov(samples: I64Array, borders: I64Array, probabilities: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(largest distance of the distribution functions times sqrt(n), what it exceeds with probability at most ALPHA).

    Kolmogorov's law holds for continuous laws, and is an upper bound for others.
    """
    ordered = np.sort(samples)
    seen = np.searchsorted(ordered, borders, side="right") / len(samples)
    distance = float(np.abs(seen - np.cumsum(probabilities)[:-1]).max())
    return distance * sqrt(len(samples)), sqrt(-log(ALPHA / 2) / 2)


def fits(law: Law, samples: I64Array, count: int = 500) -> None:
    """Fails if chi-square or Kolmogorov's distance would be so large with a probability of less than ALPHA."""
    borders, probabilities = cells(law, count, len(samples))
    assert len(borders) >= 2
    for test in (chi_square, kolmogorov):
        statistic, limit = test(samples, borders, probabilities)
        assert statistic <= limit, (test.__name__, name(law), statistic, limit)
