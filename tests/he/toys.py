"""Rings so small that everything can be tried; no `RlweParams` accepts one."""

from __future__ import annotations

from privcomp._core import RlweTables
from tests.reference.rlwe import Scheme, least_root


def scheme(degree: int, primes: tuple[int, ...], radix: int, digits: int) -> Scheme:
    """The twin of a toy ring."""
    return Scheme(degree, primes, tuple(least_root(q, degree) for q in primes), radix, digits)


def tables(toy: Scheme) -> RlweTables:
    """The core's constants for it."""
    return RlweTables(toy.degree, toy.primes, toy.roots, toy.radix, toy.digits)
