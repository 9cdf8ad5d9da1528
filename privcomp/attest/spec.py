"""What is stated about every update of a round, as parameters that the round's digest binds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, Self

import numpy as np

from privcomp.codec import U32, U64, Codec, Message
from privcomp.dp import DistributedPlan
from privcomp.encoding import FixedPoint
from privcomp.errors import ParameterError
from privcomp.typing import I64Array
from privcomp.zk.norm import EntryRange, L2AtMost, NormStatement

__all__ = ["AttestationSpec"]

_COLUMNS_ALWAYS: Final = 1024

_HALF: Final = 12  # entries have at most 23 bits and a sign: products of an entry with twelve bits add up below 2^63


@dataclass(frozen=True)
class AttestationSpec(Message):
    """What every client proves of its encoded update: d entries, and under a plain encoding the weight, the clip count.

    The signal: every entry in [-bound, bound] of the encoding, the weight in 1 .. max_weight, the clip count in
    0 .. clip_cap, and the squares of the d entries add up to at most `l2_squared`. With `noise` the client proves the
    same of a second vector, which is added to the signal: entries in [-noise, noise], and what is added to the weight
    in [-noise_weight, noise_weight].

    Under a plan of differential privacy the two vectors are the plan's own: the signal with the bounds of its integer
    gate, the noise within the plan's `noise_bound` (`of_plan`).

    Args:
        columns: entries under one commitment, a power of two, 2 .. 2^16: bytes of commitments against bytes and time
            of the proof.
        l2_squared: bound of the squared Euclidean norm of the entries, in quantisation steps; 0: none but that which
            follows from the interval.
        noise: largest size of an entry of the noise, below 2^23; 0: there is no noise.
        noise_weight: largest size of the noise on the weight, at most `noise`.

    Raises:
        ParameterError: a value outside its range.
    """

    TAG: ClassVar[int] = 0x0600
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("columns", U32),
        ("l2_squared", U64),
        ("noise", U32),
        ("noise_weight", U32),
    )
    columns: int = 1024
    l2_squared: int = 0
    noise: int = 0
    noise_weight: int = 0

    def __post_init__(self) -> None:
        self.to_bytes()  # types and sizes
        if not 2 <= self.columns <= 1 << 16 or self.columns & (self.columns - 1):
            raise ParameterError(f"{self.columns} columns; allowed are the powers of two from 2 to 65536")
        if self.noise >= 1 << 23 or self.noise_weight > self.noise:
            raise ParameterError(
                f"noise up to {self.noise}, on the weight up to {self.noise_weight}; needed is "
                "noise_weight <= noise < 2^23"
            )

    @classmethod
    def of_plan(cls, plan: DistributedPlan, columns: int = 1024) -> Self:
        """What a plan's clients prove: signal and noise, within the plan's own bounds.

        Raises:
            ParameterError: the plan was not made for proofs (`noise_bound` is 0).
        """
        spec = cls(columns, plan.d2_squared, plan.noise_bound)
        spec.statements(plan)
        return spec

    def statements(self, encoding: FixedPoint | DistributedPlan) -> tuple[NormStatement, ...]:
        """What is proven of a vector under this encoding: of the whole, or of signal and noise.

        Raises:
            ParameterError: an encoding whose bound is not that of a quantised entry (there a client of small weight
                could have entries that no honest one has), or one of more than 24 bits; a plan with other bounds.
        """
        if isinstance(encoding, FixedPoint):
            return _statements(self, encoding)
        return _of_plan(self, encoding)

    def fitted(self, encoding: FixedPoint | DistributedPlan, vector: I64Array) -> tuple[I64Array, bool]:
        """An encoded update within the norm: as it is, or with its entries scaled down.

        As with entries that are clipped, no bound that a server announces makes a client refuse. Scaled entries are
        rounded towards 0. The clip count stays: it is published in the sum, and would tell how many updates were
        above a norm that the server chose.

        Args:
            encoding: what encoded it.
            vector: int64 (encoding.length,).

        Returns:
            (the vector, whether it was changed)
        """
        if not self.l2_squared or not isinstance(encoding, FixedPoint):  # a plan has scaled it before it was noised
            return vector, False
        entries = vector[: encoding.entries]
        size = _squares(entries)
        if size <= self.l2_squared:
            return vector, False
        factor = (self.l2_squared / size) ** 0.5
        out = vector.copy()
        while _squares(out[: encoding.entries]) > self.l2_squared:
            np.trunc(entries * factor, out=out[: encoding.entries], casting="unsafe")
            factor *= 1 - 2.0**-40  # where the products in float64 came out too large
        return out, True


@lru_cache(maxsize=16)
def _statements(spec: AttestationSpec, encoding: FixedPoint) -> tuple[NormStatement, ...]:
    bound, weight, clipped = encoding.bound, encoding.entries, encoding.entries + 1
    if bound != encoding.quantised_limit:
        raise ParameterError(
            f"entries up to {encoding.quantised_limit} beside {bound}, which the weights need: what is proven would be "
            "more than what a client may send. Use the prescaled way with max_weight <= 2^(bits - 1) - 1, or weights "
            "of 1"
        )
    outside = spec.l2_squared > 0
    ranges = (EntryRange(weight, 1, encoding.max_weight, outside), EntryRange(clipped, 0, encoding.clip_cap, outside))
    norm = (L2AtMost(spec.l2_squared),) if outside else ()
    signal = NormStatement(encoding.length, -bound, bound, (*ranges, *norm), spec.columns)
    _check_columns(spec, encoding.length)
    if not spec.noise:
        return (signal,)
    still = EntryRange(weight, -spec.noise_weight, spec.noise_weight)
    return signal, NormStatement(encoding.length, -spec.noise, spec.noise, (still,), spec.columns)


@lru_cache(maxsize=16)
def _of_plan(spec: AttestationSpec, plan: DistributedPlan) -> tuple[NormStatement, ...]:
    if not plan.noise_bound:
        raise ParameterError("this plan's noise has no bound that could be proven: make it with proofs=True")
    if (spec.l2_squared, spec.noise, spec.noise_weight) != (plan.d2_squared, plan.noise_bound, 0):
        raise ParameterError(
            f"what is proven is the plan's own gate: norm^2 <= {plan.d2_squared} and noise <= {plan.noise_bound}; use "
            "AttestationSpec.of_plan"
        )
    _check_columns(spec, plan.length)
    bound = plan.signal_bound
    signal = NormStatement(plan.length, -bound, bound, (L2AtMost(spec.l2_squared),), spec.columns)
    return signal, NormStatement(plan.length, -spec.noise, spec.noise, (), spec.columns)


def _check_columns(spec: AttestationSpec, length: int) -> None:
    if spec.columns > max(_COLUMNS_ALWAYS, 1 << (length - 1).bit_length()):
        raise ParameterError(f"{spec.columns} columns for {length} entries: tables that nobody fills")


def _squares(entries: I64Array) -> int:
    """The sum of squares of entries of at most 23 bits and a sign, up to 2^28 of them, exactly."""
    low, high = entries & ((1 << _HALF) - 1), entries >> _HALF
    return int(np.dot(entries, low)) + (int(np.dot(entries, high)) << _HALF)
