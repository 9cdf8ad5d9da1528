"""Whether bytes look uniform."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


def check_uniform(several: Sequence[bytes], alpha: float = 1e-6) -> None:
    """Chi-square by bytes, 255 degrees of freedom; if all are uniform, it fails with probability `alpha`."""
    for at, data in enumerate(several):
        counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
        expected = len(data) / 256
        assert expected >= 8, "too few bytes to tell"
        statistic = float(((counts - expected) ** 2 / expected).sum())
        # Wilson and Hilferty: (chi^2 / k)^(1/3) is nearly normal.
        z = ((statistic / 255) ** (1 / 3) - (1 - 2 / (9 * 255))) / (2 / (9 * 255)) ** 0.5
        assert z < NormalDist().inv_cdf(1 - alpha / len(several)), (at, z, len(data))
