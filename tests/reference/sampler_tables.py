"""Sampling from a table in plain integers, with streams by `cryptography`, and the distribution that a table has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from privcomp import _core
from privcomp.samplers.tables import Tabulation
from tests.core.streams import reference_stream

BINS = 64


@dataclass(frozen=True)
class PlainTable:
    """The numbers of a table; thresholds are whole numbers below 2^192."""

    alias: list[int]
    thresholds: list[int]
    base: int
    wrap: int
    shift: int
    tail_shift: int
    mirror: int

    @classmethod
    def of(cls, made: Tabulation) -> PlainTable:
        words = zip(made.tops.tolist(), made.rest.tolist(), strict=True)
        thresholds = [top << 128 | middle << 64 | low for top, (middle, low) in words]
        return cls(made.alias.tolist(), thresholds, made.base, made.wrap, made.shift, made.tail_shift, made.mirror)

    def places(self, j: int) -> range:
        """The places of a bin."""
        first = j << self.shift
        return range(first, first + (1 << (self.tail_shift if j == BINS - 1 else self.shift)))

    def value(self, x: int, tail: bool, negative: bool) -> int:
        if self.mirror == 0:
            return self.base + x - (len(self.thresholds) if tail and x >= self.wrap else 0)
        if not negative:
            return self.base + x
        return self.base - x - (self.mirror == 2)


def candidates(table: PlainTable, seeds: bytes, cipher: int, count: int) -> list[int]:
    """The values of the accepted ones among the first `count` candidates."""
    half = _core.SEED_BYTES[cipher]
    first = reference_stream(seeds[:half], 16 * count, cipher)
    second = reference_stream(seeds[half:], 256 * count, cipher)
    out = []
    for i in range(count):
        a, b = (int.from_bytes(first[at : at + 8], "little") for at in (16 * i, 16 * i + 8))
        middle, low = (int.from_bytes(second[at : at + 8], "little") for at in (256 * i, 256 * i + 8))
        own = a % BINS
        threshold, other = divmod(table.alias[own], BINS)
        j = own if a // BINS % 2**16 < threshold else other
        places = table.places(j)
        x = places[a // 2**23 % len(places)]
        if x < len(table.thresholds) and (b << 128 | middle << 64 | low) < table.thresholds[x]:
            out.append(table.value(x, j == BINS - 1, bool(a // 2**22 % 2)))
    return out


def bin_masses(alias: list[int]) -> list[int]:
    """How many of the 2^22 pairs of own bin and fraction end in each bin."""
    masses = [0] * BINS
    for own, entry in enumerate(alias):
        threshold, other = divmod(entry, BINS)
        masses[own] += threshold
        masses[other] += 2**16 - threshold
    return masses


def output_masses(table: PlainTable) -> Iterator[tuple[int, Fraction]]:
    """(value, probability that a candidate is accepted with that value at that place), each way of drawing it."""
    for j, mass in enumerate(bin_masses(table.alias)):
        places = table.places(j)
        for x in places if mass else ():
            if x < len(table.thresholds):
                p = Fraction(mass * table.thresholds[x], 2**22 * len(places) * 2**192)
                if table.mirror == 0:
                    yield table.value(x, j == BINS - 1, False), p
                else:
                    yield table.value(x, j == BINS - 1, False), p / 2
                    yield table.value(x, j == BINS - 1, True), p / 2
