"""Goodness of fit at a level of 10^-6: chi squared, and Kolmogorov-Smirnov."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

ALPHA = 1e-6


def count(samples: npt.NDArray[np.int64], low: int, size: int) -> npt.NDArray[np.int64]:
    """How often each of low .. low + size - 1 occurs; raises if something else does."""
    assert low <= samples.min()
    assert samples.max() < low + size
    return np.bincount(samples - low, minlength=size)


def check_fit(counts: npt.NDArray[np.int64], pmf: npt.NDArray[np.float64]) -> None:
    """Raises unless these are plausible numbers of occurrences for independent samples of the pmf.

    The cells of chi squared are single values where at least 20 samples are expected, runs of values elsewhere.
    """
    n = int(counts.sum())
    assert abs(pmf.sum() - 1) < 1e-9
    # The tail of Kolmogorov's distribution is at most 2 exp(-2 x^2); on integers the test errs on the safe side.
    distance = float(np.abs(np.cumsum(counts) / n - np.cumsum(pmf)).max())
    limit = math.sqrt(math.log(2 / ALPHA) / 2 / n)
    assert distance < limit, f"Kolmogorov-Smirnov {distance}, allowed {limit}"
    cells, seen, expected = [], 0.0, 0.0
    for number, mean in zip(counts.tolist(), (pmf * n).tolist(), strict=True):
        seen, expected = seen + number, expected + mean
        if expected >= 20:
            cells.append((seen, expected))
            seen = expected = 0.0
    cells[-1] = cells[-1][0] + seen, cells[-1][1] + expected
    if len(cells) > 1:
        statistic = sum((s - e) ** 2 / e for s, e in cells)
        bound = chdtri(len(cells) - 1, ALPHA)
        assert statistic < bound, f"chi squared {statistic} over {len(cells)} cells, allowed {bound}"
