"""The encoding for distributed noise in plain numbers, as csrc/include/privcomp.h states it: one entry at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

Number = TypeVar("Number", int, float, Fraction)


def hadamard(x: Sequence[Number]) -> list[Number]:
    """H x by levels of butterflies at distances d/2, d/4, .. 1. Floats are rounded in that order, all else is exact."""
    out, h = list(x), len(x) // 2
    while h:
        for i in range(len(out)):
            if not i & h:
                out[i], out[i + h] = out[i] + out[i + h], out[i] - out[i + h]
        h //= 2
    return out


def hadamard_by_definition(x: Sequence[int]) -> list[int]:
    """The sum over j of (-1)^popcount(i & j) x[j]."""
    return [sum(-v if (i & j).bit_count() % 2 else v for j, v in enumerate(x)) for i in range(len(x))]


def sign_bits(stream: bytes, n: int) -> list[int]:
    """1 where entry j is negated."""
    return [stream[j // 8] >> (j % 8) & 1 for j in range(n)]


def words(stream: bytes) -> list[int]:
    return [int.from_bytes(stream[i : i + 8], "little") for i in range(0, len(stream) - 7, 8)]


def norm_squared(x: Sequence[float]) -> Fraction:
    """Exactly: a finite double is an integer times 2^-1074."""
    whole = [a * ((1 << 1074) // b) for a, b in (float(v).as_integer_ratio() for v in x)]
    return Fraction(sum(v * v for v in whole), 1 << 2148)


def round_entry(t: float, beta: int, coin: int | None) -> int:
    """The float t to an integer, with a 64-bit coin; None truncates."""
    a = min(abs(Fraction(t)), Fraction(beta))
    up = coin is not None and Fraction(2 * (coin >> 12) + 1, 1 << 53) < a - math.floor(a)
    m = math.floor(a) + up
    return -m if t < 0 else m


def rounding(
    t: Sequence[float], beta: int, bound: int, trials: int, coins: Sequence[int]
) -> tuple[list[int] | None, int]:
    """The first attempt that passes the gate, and which it was; attempt i takes coins n i .. n i + n - 1.

    None: not even truncation passes.
    """
    n = len(t)
    for attempt in range(trials + 1):
        drawn = [None] * n if attempt == trials else coins[n * attempt : n * attempt + n]
        q = [round_entry(v, beta, coin) for v, coin in zip(t, drawn, strict=True)]
        if sum(v * v for v in q) <= bound:
            return q, attempt
    return None, trials


def truncated_record(x: Sequence[float], radius: Fraction, unit: Fraction) -> list[Fraction]:
    """The record in units, scaled to norm `radius` at most; its norm is taken to 200 bits after the point."""
    exact = [Fraction(float(v)) / unit for v in x]
    squares = sum((v * v for v in exact), Fraction(0))
    if squares <= radius * radius:
        return exact
    scale = 1 << 400
    norm = Fraction(math.isqrt(math.floor(squares * scale)) + 1, 1 << 200)
    return [v * radius / norm for v in exact]


def floor_div_random(v: Sequence[int], divisor: int, drawn: Sequence[int]) -> tuple[list[int], int]:
    """floor((v + U) / divisor), and how many words were refused; `drawn` are the words of the stream."""
    out, refused, n = [], 0, len(v)
    for j, value in enumerate(v):
        at = j
        while drawn[at] * divisor % (1 << 64) < (1 << 64) % divisor:
            at, refused = at + n, refused + 1
        out.append((value + (drawn[at] * divisor >> 64)) // divisor)
    return out, refused
