"""Adaptive clipping by a quantile, inside a frozen plan.

The clip of a round is scale * c with c the plan's clip: an update is divided by the scale, encoded under the plan as it
is, and what is decoded is multiplied by the scale. Clip and granularity move together, so that c / gamma, the noise in
integer units, D2, the modulus and the privacy stay what the plan states, whatever the scale.

Whether an update was clipped is data. One more entry of the same vector carries it: the update is clipped to
c sqrt(1 - w^2), and the entry is +w c where its norm was at most the clip, -w c where it was larger. The whole vector
has norm at most c, so it is covered by the same D2 and noise, and no second release is made. From the decoded mean m of
that entry, the noisy fraction of unclipped updates is b = 1/2 + m / (2 w c), and the next scale is

    scale' = scale * exp(-rate (b - quantile)),      kept in [low, high].

It depends on noised values only (post-processing).

Source: Andrew, Thakkar, McMahan, Ramaswamy, NeurIPS 2021 (arXiv 1905.03871), Section 2: the geometric update.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from privcomp.codec import F64, Codec, Message, Nested
from privcomp.dp.plan import USER, DistributedPlan, Encoded, PrivateMean
from privcomp.errors import EncodingError, ParameterError
from privcomp.typing import F64Array, I64Array

__all__ = ["AdaptiveClip"]

_RANGE: Final = 2.0**40


@dataclass(frozen=True)
class AdaptiveClip(Message):
    """The clip of one round; `decode` returns the next one.

    Args:
        plan: for unit "user", with one entry more than the update.
        scale: the clip of this round is scale * plan.clip.
        quantile: fraction of updates that should not be clipped, 0..1.
        rate: learning rate of the geometric update, 0..1.
        bit_share: w, the part of the norm that carries the bit, 0..1/2. A larger one gives a less noisy fraction and a
            smaller clip.
        low, high: the scale stays between them.

    Raises:
        ParameterError: values outside their ranges, or a plan for records.
    """

    TAG: ClassVar[int] = 0x0503
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("plan", Nested(DistributedPlan)),
        ("scale", F64),
        ("quantile", F64),
        ("rate", F64),
        ("bit_share", F64),
        ("low", F64),
        ("high", F64),
    )
    plan: DistributedPlan
    scale: float = 1.0
    quantile: float = 0.5
    rate: float = 0.2
    bit_share: float = 0.1
    low: float = 1.0 / _RANGE
    high: float = _RANGE

    def __post_init__(self) -> None:
        self.to_bytes()  # types and sizes
        if self.plan.unit != USER or self.plan.entries < 2:
            raise ParameterError("adaptive clipping needs a plan for unit 'user' with one entry more than the update")
        if not 1.0 / _RANGE <= self.low <= self.scale <= self.high <= _RANGE:
            raise ParameterError(
                f"scale {self.scale!r} in {self.low!r}..{self.high!r}: needed is 2^-40 <= low <= scale <= high <= 2^40"
            )
        if not 0.0 < self.quantile < 1.0 or not 0.0 < self.rate <= 1.0 or not 0.0 < self.bit_share <= 0.5:
            raise ParameterError(
                f"quantile {self.quantile!r}, rate {self.rate!r}, bit_share {self.bit_share!r}: needed are "
                "0 < quantile < 1, 0 < rate <= 1, 0 < bit_share <= 1/2"
            )

    @property
    def entries(self) -> int:
        """Length of an update: one less than the plan's."""
        return self.plan.entries - 1

    @property
    def clip(self) -> float:
        """L2 norm to which updates are clipped in this round: scale * c * sqrt(1 - w^2)."""
        return self.scale * self.plan.clip * math.sqrt(1.0 - self.bit_share**2)

    @property
    def fraction_std(self) -> float:
        """Standard deviation of the noise in the fraction b, for sums of min_survivors clients."""
        noise = self.plan.sigma_local / math.sqrt(self.plan.min_survivors)
        return noise / (2.0 * self.bit_share * self.plan.clip)

    def encode_var(self, values: NDArray[Any], rotation: bytes, rng: Callable[[int], bytes] = os.urandom) -> Encoded:
        """An update and its bit, under the plan; arguments and errors as for `DistributedPlan.encode_var`.

        Args:
            values: float32 or float64 of shape (entries,), all finite.
        """
        if type(values) is not np.ndarray or values.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise EncodingError("the update must be a plain float32 or float64 array in native byte order")
        if values.shape != (self.entries,):
            raise EncodingError(f"the update has shape {values.shape}; it must be ({self.entries},)")
        vector = np.zeros(self.plan.entries)
        largest = float(np.abs(values).max())
        if not math.isfinite(largest):
            raise EncodingError("the update contains NaN or infinity")
        bit = 1.0
        if largest > 0.0:
            # The norm and the factor need no certificate: the plan clips what they give again, with one.
            scaled = values.astype(np.float64) / largest
            norm = math.sqrt(float(scaled @ scaled))  # of values / largest: 1 .. sqrt(d), whatever their size
            limit = self.clip / largest
            bit = 1.0 if norm <= limit else -1.0
            shrunk = min(largest, self.clip / norm) / self.scale
            vector[:-1] = scaled * shrunk
        vector[-1] = bit * self.bit_share * self.plan.clip
        return self.plan.encode_var(vector, rotation, rng)

    def decode(self, total: I64Array, survivors: int, rotation: bytes) -> tuple[PrivateMean, AdaptiveClip]:
        """The noised mean of the clipped updates, and the clip of the next round.

        Args and errors as for `DistributedPlan.decode`.

        Returns:
            (mean, float64 of shape (entries,), in the update's own units, with its noise; the next `AdaptiveClip`)
        """
        found = self.plan.decode(total, survivors, rotation)
        mean: F64Array = found.mean[:-1] * self.scale
        fraction = 0.5 + float(found.mean[-1]) / (2.0 * self.bit_share * self.plan.clip)
        fraction = min(1.0, max(0.0, fraction))
        scale = self.scale * math.exp(-self.rate * (fraction - self.quantile))
        after = replace(self, scale=min(self.high, max(self.low, scale)))
        decoded = PrivateMean(
            mean, found.divisor, found.noise_std * self.scale, found.error_std * self.scale, survivors
        )
        return decoded, after
