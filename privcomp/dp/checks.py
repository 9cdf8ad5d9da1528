"""Checks of arguments that several modules of this room share."""

from __future__ import annotations

import math
from collections.abc import Callable

from privcomp.errors import ParameterError

__all__ = ["fresh", "integer", "probability", "real"]


def real(name: str, value: object, low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> float:
    """`value` as a finite float in low .. high (above low with `above`); ParameterError otherwise."""
    if isinstance(value, int) and value.bit_length() > 1000:  # float() of it would raise an error of Python's own
        raise ParameterError(f"{name} is an integer of {value.bit_length()} bits; it must be a finite number")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ParameterError(f"{name} is {value!r}; it must be a finite number")
    if not low <= value <= high or (above and value == low):
        raise ParameterError(f"{name} is {value!r}; it must be in {'above ' if above else ''}{low:g}..{high:g}")
    return float(value)


def integer(name: str, value: object, low: int, high: int) -> int:
    """`value` if it is an int in low .. high; ParameterError otherwise."""
    if type(value) is not int or not low <= value <= high:
        raise ParameterError(f"{name} is {value!r}; it must be an integer in {low}..{high}")
    return value


def probability(name: str, value: object) -> float:
    """`value` if it is a number strictly between 0 and 1; ParameterError otherwise."""
    number = real(name, value)
    if not 0.0 < number < 1.0:
        raise ParameterError(f"{name} is {value!r}; it must be in 0..1, both excluded")
    return number


def fresh(rng: Callable[[int], bytes], count: int) -> bytes:
    """`count` bytes from the caller's generator; ParameterError where it returns something else."""
    drawn: object = rng(count)
    if not isinstance(drawn, (bytes, bytearray)) or len(drawn) != count:
        raise ParameterError(f"rng({count}) must return {count} bytes")
    return bytes(drawn)
