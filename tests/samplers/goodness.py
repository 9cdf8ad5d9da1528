"""Goodness of fit at a level of 10^-6: chi squared, and Kolmogorov-Smirnov."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri

ALPHA = 1e-6


def check_fit(samples: npt.NDArray[np.int64], low: int, pmf: npt.NDArray[np.float64]) -> None:
    """Raises unless `samples` look like draws of low + k with probability pmf[k], all of them inside.

    The cells of chi squared are single values where at least 20 samples are expected, runs of values elsewhere.
    """
    n = samples.size
    assert abs(pmf.sum() - 1) < 1e-9
    assert samples.min() >= low
    assert samples.max() < low + pmf.size
    counts = np.bincount(samples - low, minlength=pmf.size).astype(float)
    # The tail of Kolmogorov's distribution is at most 2 exp(-2 x^2); on integers the test errs on the safe side.
    distance = float(np.abs(np.cumsum(counts) / n - np.cumsum(pmf)).max())
    limit = math.sqrt(math.log(2 / ALPHA) / 2 / n)
    assert distance < limit, f"Kolmogorov-Smirnov {distance}, allowed {limit}"
    cells, seen, expected = [], 0.0, 0.0
    for count, p in zip(counts, pmf * n, strict=True):
        seen, expected = seen + count, expected + p
        if expected >= 20:
            cells.append((seen, expected))
            seen = expected = 0.0
    cells[-1] = cells[-1][0] + seen, cells[-1][1] + expected
    statistic = sum((s - e) ** 2 / e for s, e in cells)
    if len(cells) > 1:
        assert statistic < chdtri(len(cells) - 1, ALPHA), (
            f"chi squared {statistic} with {len(cells) - 1} degrees of freedom"
        )
