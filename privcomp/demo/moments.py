"""Means, variances and class counts of all hospitals' rows from one or two secure sums, without anybody's rows.

**Scales.** Feature j is divided by 2^e_j, so that |u| = |x| / 2^e_j is about 1 at most. e_j is public: from public
ranges, or from a secure sum in which each hospital sends, per feature, a one-hot vector over the binary exponents of
its largest |x|; the sum is a histogram of hospitals, and the highest exponent that occurs is taken. (Never from pooled
maxima: a maximum is one patient's value.)

**Sums.** Each hospital sends the means of u and u^2 over its rows and its class shares, weighted by its number of rows
n: in the exact way the masked integers are n * q, their sum decodes to (sum x, sum x^2, rows per class) / sum n, and
sum n rides along as the total weight.

**Precision.** With granularity g the errors of mean(u) and mean(u^2) are below b = g (1 + 2^(bits-50)), so the error of
var(u) = mean(u^2) - mean(u)^2 is below b + 2 |mean(u)| b + b^2 < 3.1 b for |mean(u)| <= 1. At 48 bits and a range of
+-1, g = 2^-46 and the error is below 2^-44: a standard deviation of 2^-12 of the range still has a relative error below
2^-20. In a 16-bit scale common to all features it would not even have the right order of magnitude. Clients, weights
and bits must fit a 64-bit modulus: clients * W_max * 2^47 <= 2^63, i.e. clients * W_max <= 2^16 at 48 bits; beyond
that, bits are given up.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from privcomp.demo.data import Site
from privcomp.demo.model import Standardiser
from privcomp.dp import PrivateMean
from privcomp.encoding import Decoded, FixedPoint
from privcomp.errors import ParameterError

__all__ = [
    "decode_exponents",
    "decode_statistics",
    "exponent_encoding",
    "exponents_from_ranges",
    "local_exponents",
    "local_statistics",
    "statistics_encoding",
]

LOWEST: Final = -64  # exponents below are counted here: such a feature is zero for all purposes
HIGHEST: Final = 63
_BUCKETS: Final = HIGHEST - LOWEST + 1
_MIN_BITS: Final = 32


def exponents_from_ranges(ranges: tuple[tuple[float, float], ...]) -> NDArray[np.int64]:
    """Per feature the least e with max(|low|, |high|) <= 2^e, int64 (features,), clamped to -64..63."""
    top = np.array([max(abs(low), abs(high)) for low, high in ranges])
    fraction, exponent = np.frexp(top)
    return np.asarray(np.clip(np.where(fraction == 0.5, exponent - 1, exponent), LOWEST, HIGHEST), dtype=np.int64)


def exponent_encoding(features: int, clients: int) -> FixedPoint:
    """One-hot exponents: zeros and ones, weight 1, no rounding."""
    return FixedPoint(bits=2, granularity=1.0, way="exact", max_weight=1, clients=clients, entries=features * _BUCKETS)


def local_exponents(site: Site) -> NDArray[np.float64]:
    """What one hospital sends, float64 (features * 128,).

    Per feature a one-hot vector over -64..63, set at the least e with max |x| < 2^e (at -64 for a column of zeros).
    """
    top = np.abs(site.x).max(axis=0)
    exponent = np.where(top > 0, np.frexp(top)[1], LOWEST)
    onehot = np.zeros((site.x.shape[1], _BUCKETS))
    onehot[np.arange(site.x.shape[1]), np.clip(exponent, LOWEST, HIGHEST) - LOWEST] = 1.0
    return onehot.reshape(-1)


def decode_exponents(decoded: Decoded | PrivateMean) -> NDArray[np.int64]:
    """Per feature the highest exponent that some hospital reported, int64 (features,)."""
    counts = np.rint(decoded.mean * decoded.total_weight).reshape(-1, _BUCKETS)
    return np.asarray(HIGHEST - np.argmax(counts[:, ::-1] > 0, axis=1), dtype=np.int64)


def statistics_encoding(
    features: int, classes: int, clients: int, max_weight: int, value_bits: int = 48, sum_bits: int = 64
) -> FixedPoint:
    """[mean u, mean u^2, class shares], exact, at `value_bits` or as many as fit; values up to 2 are not clipped.

    Args:
        features, classes: of the data.
        clients, max_weight: of the sum.
        value_bits, sum_bits: most bits of a value, and of a sum.

    Raises:
        ParameterError: fewer than 32 bits are left for so many clients and rows.
    """
    bits = min(value_bits, sum_bits - (clients * max_weight - 1).bit_length())
    if bits < _MIN_BITS:
        raise ParameterError(
            f"{clients} hospitals with weights up to {max_weight} leave {bits} bits for the statistics, at least "
            f"{_MIN_BITS} are needed: lower the largest weight"
        )
    return FixedPoint(
        bits=bits,
        granularity=2.0 ** (2 - bits),
        way="exact",
        max_weight=max_weight,
        clients=clients,
        entries=2 * features + classes,
        max_error=1e-6,
    )


def local_statistics(site: Site, exponents: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """What one hospital sends: means of u and u^2 and class shares, float64 (2 * features + classes,)."""
    u = np.ldexp(site.x, -exponents)
    shares = np.bincount(site.y, minlength=classes) / site.rows
    return np.concatenate([u.mean(axis=0), np.square(u).mean(axis=0), shares])


def decode_statistics(
    mean: NDArray[np.float64], exponents: NDArray[np.int64], error: float, total_weight: int
) -> tuple[Standardiser, NDArray[np.float64]]:
    """The standardiser and the rows per class.

    Args:
        mean: weighted mean of the hospitals' vectors, float64 (2 * features + classes,).
        exponents: of the features, int64 (features,).
        error: bound of the error of each entry; a variance below four times it counts as zero (scale 1).
        total_weight: sum of the weights.

    Returns:
        `Standardiser` in the features' own units, and float64 (classes,).
    """
    features = exponents.size
    first, second = mean[:features], mean[features : 2 * features]
    variance = second - np.square(first)
    spread = np.where(variance > 4 * error, np.sqrt(np.maximum(variance, 0.0)), np.ldexp(1.0, -exponents))
    counts = np.maximum(np.rint(mean[2 * features :] * total_weight), 0.0)
    return Standardiser(np.ldexp(first, exponents), np.ldexp(spread, exponents)), counts
