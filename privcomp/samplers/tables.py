"""From a probability mass function on finitely many integers to the table that the core samples from.

A `Law` gives each value an integer weight; its distribution is the weights over their sum, nothing else. `tabulate`
turns it into bins, an alias table and thresholds in integer arithmetic throughout. What is sampled is the law's
distribution but for the thresholds, which are cut after 192 bits: total variation distance at most 2^-191. How far a
law is from the distribution that it stands for is its maker's claim; with it a sample stays within 2^-DISTANCE_BITS,
and a vector of 2^40 samples within 2^-130.

The algebra stands in docs/samplers-tables.md. Source: Walker, "An efficient method for generating discrete random
variables with general distributions", ACM TOMS 3 (1977); von Neumann (1951) for rejection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import gmpy2
import numpy as np
from gmpy2 import mpz

from privcomp._core import SampleTable
from privcomp.errors import ParameterError
from privcomp.samplers.common import BINS, MASS, alias_table
from privcomp.typing import U64Array

__all__ = ["CUT_BITS", "DISTANCE_BITS", "Law", "Tabulation", "tabulate"]

CUT_BITS = 172
"""A law leaves out at most this probability of the distribution that it stands for: 2^-CUT_BITS."""

DISTANCE_BITS = 170
"""The distribution of one sample is within 2^-DISTANCE_BITS (total variation) of the one that is named."""

_CORE = BINS - 1
_THRESHOLD_BITS = 192


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Integer weights of integers.

    Args:
        base: where places are counted from.
        mirror: 0: place x stands for base + x. 1: for base + x and base - x. 2: for base + x and base - 1 - x. Either
            of two values has the whole weight.
        weights: of the places, none negative, not all 0.
        mode: mirror 0: a place near which most of the weight lies.
        deviation: the standard deviation, roughly. Mode and deviation decide about speed only.
    """

    base: int
    mirror: int
    weights: list[mpz] = field(repr=False)
    mode: int
    deviation: float

    @property
    def low(self) -> int:
        """The lowest value."""
        return self.base - (0, len(self.weights) - 1, len(self.weights))[self.mirror]

    @property
    def high(self) -> int:
        """The highest value."""
        return self.base + len(self.weights) - 1

    def _place(self, value: int) -> int:
        x = value - self.base
        return x if x >= 0 or self.mirror == 0 else -x if self.mirror == 1 else ~x

    def weight(self, value: int) -> mpz:
        """The weight of a value, 0 outside of `low` .. `high`."""
        x = self._place(value)
        return self.weights[x] if 0 <= x < len(self.weights) else mpz(0)

    def sums(self) -> list[mpz]:
        """The sums of the weights of the places 0 .. x, for each x."""
        return list(accumulate(self.weights))

    def total(self, sums: list[mpz]) -> mpz:
        """The weight of all values."""
        return (sums[-1], 2 * sums[-1] - self.weights[0], 2 * sums[-1])[self.mirror]

    def below(self, value: int, sums: list[mpz]) -> mpz:
        """The weight of all values up to and including `value`."""
        if value >= self.high:
            return self.total(sums)
        if value < self.low:
            return mpz(0)
        if value >= self.base or self.mirror == 0:
            right = sums[value - self.base]
            return right + (0, sums[-1] - self.weights[0], sums[-1])[self.mirror]
        x = self._place(value)
        return sums[-1] - (sums[x - 1] if x else 0)


@dataclass(frozen=True, slots=True, eq=False)
class Tabulation:
    """The numbers of a table, as `privcomp._core.SampleTable` takes them, and the weights of its bins.

    `bins`: u64 (64,), sum 2^22. `alias`: u64 (64,). `tops`: u64 (length,). `rest`: u64 (length, 2).
    """

    bins: U64Array
    alias: U64Array
    tops: U64Array
    rest: U64Array
    base: int
    wrap: int
    shift: int
    tail_shift: int
    mirror: int

    def table(self, band: int = 0) -> SampleTable:
        """For the core; `band` is for tests."""
        return SampleTable(
            self.alias,
            self.tops,
            self.rest,
            base=self.base,
            wrap=self.wrap,
            shift=self.shift,
            tail_shift=self.tail_shift,
            mirror=self.mirror,
            band=band,
        )


def _layout(law: Law) -> tuple[list[mpz], int, int, int, int]:
    """The places' weights in the order of the table, base, wrap, shift and tail_shift.

    63 bins of 2^shift places cover 9 standard deviations (18 where nothing is mirrored), or everything. What is left
    is the tail: its bin is drawn once in some 2^22 candidates, so that its width costs nothing.
    """
    weights, wanted = law.weights, (18 if law.mirror == 0 else 9) * law.deviation
    # A value next to its mirror image 0 is drawn with either sign: half the weight each, here doubled.
    places = [weights[0], *(2 * w for w in weights[1:])] if law.mirror == 1 else list(weights)
    shift = 0
    while (_CORE << shift) < min(len(places), wanted):
        shift += 1
    core, length = _CORE << shift, max(len(places), BINS << shift)
    first = 0
    if law.mirror == 0 and len(places) > core:
        first = min(max(law.mode - core // 2, 0), len(places) - core)
    gap = [mpz(0)] * (length - len(places))
    places = places[first:] + gap + places[:first]
    tail_shift = (length - core - 1).bit_length() if any(places[core:]) else 0
    return places, law.base + first, length - first, shift, tail_shift


def tabulate(law: Law) -> Tabulation:
    """Bins, alias table and thresholds of a law.

    With f(x) the weight of place x, s_j the shift of bin j and H_j = 2^(s_j) max f over the bin, the constant C =
    (2^22 - 64) / sum H makes the bins' weights W_j = ceil(C H_j) add up to at most 2^22; the surplus goes to the
    largest. A candidate is at place x with probability W_j / (2^22 2^(s_j)) and is accepted with probability T_x /
    2^192, T_x = floor(2^192 C f(x) 2^(s_j) / W_j) <= 2^192: but for the floor a place comes out with probability C
    f(x) / 2^22. A threshold of 2^192 is stored as 2^192 - 1, which is an error of the same size as the floor's.

    Raises:
        ParameterError: a negative weight, or nothing but zeros.
    """
    if not law.weights or min(law.weights) < 0 or max(law.weights) == 0:
        raise ParameterError("a law needs weights that are not negative and not all 0")
    places, base, wrap, shift, tail_shift = _layout(law)
    width, core = 1 << shift, _CORE << shift
    blocks = [places[j << shift : (j << shift) + width] for j in range(_CORE)] + [places[core:]]
    shifts = [shift] * _CORE + [tail_shift]
    heights = [max(block) << s for block, s in zip(blocks, shifts, strict=True)]
    numerator, denominator = mpz(MASS - BINS), sum(heights, mpz(0))
    bins = [int(-(-numerator * h // denominator)) for h in heights]
    bins[bins.index(max(bins))] += MASS - sum(bins)
    thresholds: list[mpz] = []
    for block, s, weight in zip(blocks, shifts, bins, strict=True):
        n, d = numerator << (_THRESHOLD_BITS + s), denominator * weight
        thresholds += [f * n // d for f in block] if weight else [mpz(0)] * len(block)
    highest = (mpz(1) << _THRESHOLD_BITS) - 1
    packed = gmpy2.pack([min(t, highest) for t in thresholds], _THRESHOLD_BITS)
    words = (
        np.frombuffer(packed.to_bytes(len(places) * _THRESHOLD_BITS // 8, "little"), "<u8")
        .astype(np.uint64)
        .reshape(-1, 3)
    )
    return Tabulation(
        bins=np.array(bins, np.uint64),
        alias=np.array(alias_table(bins), np.uint64),
        tops=np.ascontiguousarray(words[:, 2]),
        rest=np.ascontiguousarray(words[:, 1::-1]),
        base=base,
        wrap=wrap,
        shift=shift,
        tail_shift=tail_shift,
        mirror=law.mirror,
    )
