"""Mechanisms of one noise source: a trusted curator that sees the data (central), or one client alone (local).

Each of them describes itself to an `Accountant`: as an event of `dp_accounting` where one exists, as the exact
distribution of its privacy loss, or as a Rényi curve. Those whose noise is exact also release. Gaussian and Laplace
noise in floating point gives its input away (which floats can be hit depends on it), so the two that describe it are
for accounting of what somebody else does; here, noise is drawn as exact integers on a public grid.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from privcomp._core import sum_records_var
from privcomp.dp.checks import real
from privcomp.dp.rdp import RdpCurve
from privcomp.errors import EncodingError, LocalError, ParameterError
from privcomp.samplers import DiscreteGaussian, DiscreteLaplace
from privcomp.typing import F64Array, I64Array

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "ClippedGaussian",
    "DiscreteGaussianMechanism",
    "DiscreteLaplaceMechanism",
    "GaussianMechanism",
    "LaplaceMechanism",
    "Mechanism",
    "PoissonSampled",
]

_MAX_PMF_SIGMA2: Final = 1 << 40
_MAX_GRID: Final = 1 << 48


def dp_accounting() -> ModuleType:
    """The library of the extra `dp`, imported when it is first needed; LocalError where it is not installed."""
    try:
        import dp_accounting as module
    except ImportError:
        raise LocalError(
            "accounting of central mechanisms needs the package dp-accounting, which is not installed: install "
            "privcomp with its extra `dp` (pip install 'privcomp[dp]')"
        ) from None
    found: ModuleType = module
    return found


@dataclass(frozen=True)
class GaussianMechanism:
    """Gaussian noise of `noise_multiplier` times the L2 norm that one unit contributes at most. Describes, no release.

    Raises:
        ParameterError: a multiplier that is not a number in 1e-3..1e6.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        real("noise_multiplier", self.noise_multiplier, 1e-3, 1e6)

    def event(self) -> Any:
        """GaussianDpEvent."""
        return dp_accounting().dp_event.GaussianDpEvent(float(self.noise_multiplier))


@dataclass(frozen=True)
class LaplaceMechanism:
    """Laplace noise of scale `noise_multiplier` times the L1 norm of one unit's part. Describes, does not release."""

    noise_multiplier: float

    def __post_init__(self) -> None:
        real("noise_multiplier", self.noise_multiplier, 1e-3, 1e6)

    def event(self) -> Any:
        """LaplaceDpEvent."""
        return dp_accounting().dp_event.LaplaceDpEvent(float(self.noise_multiplier))


@dataclass(frozen=True)
class DiscreteLaplaceMechanism:
    """Exact discrete Laplace noise on integers: P[z] ~ exp(-|z| / scale).

    Args:
        scale: a positive Fraction or int.
        sensitivity: most that one unit changes the integer, >= 1.
    """

    scale: Fraction
    sensitivity: int = 1

    def __post_init__(self) -> None:
        DiscreteLaplace(self.scale)  # checks it
        _whole("sensitivity", self.sensitivity)

    def event(self) -> Any:
        """DiscreteLaplaceDpEvent."""
        return dp_accounting().dp_event.DiscreteLaplaceDpEvent(float(1 / Fraction(self.scale)), self.sensitivity)

    def release_var(self, values: I64Array, rng: Callable[[int], bytes] = os.urandom) -> I64Array:
        """values + noise, int64 of the same one-dimensional shape; EncodingError for other arrays."""
        noise = DiscreteLaplace(Fraction(self.scale)).sample_var(_integers(values).size, rng)
        return _added(values, noise)


@dataclass(frozen=True)
class DiscreteGaussianMechanism:
    """Exact discrete Gaussian noise on integers: P[z] ~ exp(-z^2 / (2 sigma2)).

    Args:
        sigma2: a positive Fraction or int.
        l2_squared: most that one unit changes the squared L2 norm of the integer vector by, >= 1.

    Source: Canonne, Kamath, Steinke, NeurIPS 2020 (arXiv 2004.00010).
    """

    sigma2: Fraction
    l2_squared: int = 1

    def __post_init__(self) -> None:
        DiscreteGaussian(self.sigma2)  # checks it
        _whole("l2_squared", self.l2_squared)

    def event(self) -> Any:
        """ZCDpEvent: rho = l2_squared / (2 sigma2), for vectors of any length (arXiv 2004.00010, Theorem 14)."""
        return dp_accounting().dp_event.ZCDpEvent(float(self.l2_squared / (2 * Fraction(self.sigma2))))

    def curve(self) -> RdpCurve:
        """The Rényi curve, for vectors of any length; l2_squared is that of the adjacency in use."""
        return RdpCurve.gaussian(math.sqrt(Fraction(self.sigma2) / self.l2_squared))

    def loss(self, interval: float, doubled: bool, rate: float) -> Any:
        """The exact privacy-loss distribution of one integer (not of a vector), discretised by `dp_accounting`."""
        sensitivity = math.isqrt(self.l2_squared)
        if sensitivity**2 != self.l2_squared or self.sigma2 > _MAX_PMF_SIGMA2:
            raise ParameterError(
                "the exact loss is that of one integer with an integer sensitivity and sigma2 <= 2^40; use curve() for "
                "vectors"
            )
        from dp_accounting.pld import privacy_loss_distribution as pld

        return pld.from_discrete_gaussian_mechanism(
            math.sqrt(self.sigma2),
            sensitivity=sensitivity * (2 if doubled else 1),
            value_discretization_interval=interval,
            sampling_prob=rate,
            use_connect_dots=True,
        )

    def release_var(self, values: I64Array, rng: Callable[[int], bytes] = os.urandom) -> I64Array:
        """values + noise, int64 of the same one-dimensional shape; EncodingError for other arrays."""
        noise = DiscreteGaussian(Fraction(self.sigma2)).sample_var(_integers(values).size, rng)
        return _added(values, noise)


@dataclass(frozen=True)
class ClippedGaussian:
    """A sum of float vectors, each clipped to an L2 norm, with exact discrete Gaussian noise on a grid.

    Local: the sum has one row, a client's own update. Central: the curator's rows.
    Every row is clipped in certified arithmetic, truncated towards zero to multiples of the granularity, and summed
    exactly; noise of sigma = noise_multiplier * clip is drawn in whole steps. Every output is a multiple of the
    granularity whatever the input was, so its low bits say nothing.

    Args:
        clip: c > 0.
        granularity: gamma, c / 2^48 .. c; take a power of two.
        noise_multiplier: z: sigma / c.
    """

    clip: float
    granularity: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        real("clip", self.clip, 2.0**-64, 2.0**64)
        real("noise_multiplier", self.noise_multiplier, 1e-3, 1e6)
        real("granularity", self.granularity, 2.0**-64, 2.0**64)
        if not 1 <= self._ratio <= _MAX_GRID:
            raise ParameterError(f"granularity is {self.granularity!r}; it must be in clip / 2^48 .. clip")
        DiscreteGaussian(self._sigma2)  # at most 2^80

    @property
    def _ratio(self) -> Fraction:
        return Fraction(self.clip) / Fraction(self.granularity)

    @property
    def _sigma2(self) -> Fraction:
        return _coarse((Fraction(self.noise_multiplier) * self._ratio) ** 2)

    def event(self) -> Any:
        """ZCDpEvent: rho = 1 / (2 z^2), for removal or zero-out of a row."""
        return dp_accounting().dp_event.ZCDpEvent(0.5 / self.noise_multiplier**2)

    def curve(self, *, replace_one: bool = False) -> RdpCurve:
        """The Rényi curve; replacement of a row moves the sum twice as far."""
        return RdpCurve.gaussian(self.noise_multiplier / (2.0 if replace_one else 1.0))

    def release_var(self, rows: NDArray[Any], rng: Callable[[int], bytes] = os.urandom) -> F64Array:
        """The noised sum of rows of shape (n, d) or of one row (d,); float32 or float64, all finite.

        Returns:
            float64 of shape (d,): multiples of the granularity (exactly, where it is a power of two).

        Raises:
            EncodingError: NaN, infinity, wrong dtype or shape; nothing is released.
        """
        if type(rows) is not np.ndarray or rows.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise EncodingError("the rows must be a plain float32 or float64 array in native byte order")
        if rows.ndim not in (1, 2) or rows.size == 0:
            raise EncodingError(f"the rows have shape {rows.shape}; it must be (n, d) or (d,), without empty sides")
        table = np.ascontiguousarray(rows.reshape(-1, rows.shape[-1]))
        total = np.zeros(table.shape[1], dtype=np.int64)
        bound = math.floor(self._ratio**2)
        sum_records_var(total, table, clip=self.clip, unit=self.granularity, bound=bound)
        total += DiscreteGaussian(self._sigma2).sample_var(total.size, rng)
        return total.astype(np.float64) * self.granularity


@dataclass(frozen=True)
class PoissonSampled:
    """A central mechanism on a Poisson sample: each unit takes part by its own coin, and the sample stays hidden.

    Only for a curator whose noise is there whoever takes part. Clients that send their own noise are no such thing.

    Args:
        mechanism: Gaussian, Laplace or (one integer) discrete Gaussian.
        rate: 0 < rate <= 1.
    """

    mechanism: GaussianMechanism | LaplaceMechanism | DiscreteGaussianMechanism
    rate: float

    def __post_init__(self) -> None:
        if not isinstance(self.mechanism, (GaussianMechanism, LaplaceMechanism, DiscreteGaussianMechanism)):
            raise ParameterError(
                f"a {type(self.mechanism).__name__} cannot be Poisson sampled here: allowed are GaussianMechanism, "
                "LaplaceMechanism and DiscreteGaussianMechanism"
            )
        real("rate", self.rate, 0.0, 1.0, above=True)

    def event(self) -> Any:
        """PoissonSampledDpEvent."""
        return dp_accounting().dp_event.PoissonSampledDpEvent(float(self.rate), self.mechanism.event())


Mechanism = (
    GaussianMechanism
    | LaplaceMechanism
    | DiscreteLaplaceMechanism
    | DiscreteGaussianMechanism
    | ClippedGaussian
    | PoissonSampled
)


def _coarse(sigma2: Fraction) -> Fraction:
    """At least sigma2, with at most 64 bits in numerator and denominator: more noise, never less."""
    shift = sigma2.numerator.bit_length() - sigma2.denominator.bit_length() - 48
    if shift >= 0:
        return Fraction(-(-sigma2.numerator // (sigma2.denominator << shift)) << shift)
    return Fraction(-(-(sigma2.numerator << -shift) // sigma2.denominator), 1 << -shift)


def _whole(name: str, value: object) -> None:
    if type(value) is not int or not 1 <= value < 1 << 62:
        raise ParameterError(f"{name} is {value!r}; it must be an integer in 1..2^62 - 1")


def _integers(values: object) -> I64Array:
    if type(values) is not np.ndarray or values.dtype != np.dtype(np.int64) or values.ndim != 1:
        raise EncodingError("the values must be a native int64 array of one dimension")
    array: I64Array = values
    return array


def _added(values: I64Array, noise: I64Array) -> I64Array:
    """The sum, wrapping at 2^64: whether it wraps then depends on a noised value only."""
    out: I64Array = (values.view(np.uint64) + noise.view(np.uint64)).view(np.int64)
    return out
