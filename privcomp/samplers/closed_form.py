"""Laws f(z) = exp(-phi(|z|)) on the integers: their tables, certified. docs/samplers.md has the formulas and proofs."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import gmpy2
from gmpy2 import mpfr, mpq

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.samplers.common import BINS, MASS, alias_table, fresh_seeds, stream_cipher
from privcomp.typing import I64Array, RingArray

__all__ = ["ClosedForm", "ExpParameters", "exact_rational", "exp_parameters", "exp_table", "show"]

#: Precision of the table's own arithmetic in bits, rounded outwards. More would raise no weight by more than one.
_BITS = 192
#: c = scale / 2^40.
_SCALE_BITS = 40
#: Blocks reach 9 times the law's scale (sigma or t): exp(-40.5) of a Gaussian lies behind, exp(-9) of a Laplace law.
_REACH = 9
_BLOCKS = BINS - 1


def show(value: Fraction) -> str:
    """A number for a message: short, whatever its size."""
    if abs(value.numerator) >> 1000 or value.denominator >> 1000:
        return "a fraction of more than 1000 bits"
    return f"{float(value):g}"


def exact_rational(name: str, value: object, *, bits: int, zero: bool = False) -> Fraction:
    """`value` as a fraction, 0 < value <= 2^bits (or 0 too), whose numerator and denominator are below 2^128.

    Raises:
        ParameterError: a float (it is hardly ever the number that was meant), another type, or out of range.
    """
    if isinstance(value, float):
        raise ParameterError(
            f"{name} is a float; the laws are exact: pass an int or a Fraction, such as Fraction('0.1') for a tenth, "
            "or Fraction(value) for the float's exact value"
        )
    if isinstance(value, bool) or not isinstance(value, (int, Fraction)):
        raise ParameterError(f"{name} is a {type(value).__name__}; pass an int or a fractions.Fraction")
    exact = Fraction(value)
    if exact < 0 or (exact == 0 and not zero) or exact > 1 << bits:
        raise ParameterError(f"{name} is {show(exact)}; allowed is 0 {'<=' if zero else '<'} {name} <= 2^{bits}")
    if exact.numerator >> 128 or exact.denominator >> 128:
        raise ParameterError(f"{name} has a numerator or denominator of over 128 bits: use .limit_denominator(2**40)")
    return exact


@dataclass(frozen=True)
class ExpParameters:
    """What `exp_parameters` finds: blocks of 2^shift numbers, scale = c 2^40, and 64 weights of sum 2^22."""

    shift: int
    scale: int
    weights: tuple[int, ...]


def _exp_up(phi: Fraction) -> mpfr:
    """At least exp(-phi), in a context that rounds up: MPFR rounds each step correctly, and exp is increasing."""
    return gmpy2.exp(mpfr(mpq(-phi.numerator, phi.denominator)))


def _ceil(x: mpfr) -> int:
    return int(gmpy2.ceil(x))


def exp_parameters(kind: int, q: Fraction) -> ExpParameters:
    """Block shift, scale and weights for phi(x) = x^2 / (2 q) (`GAUSS`) or x / q (`LAPLACE`).

    The shift m is the least with 63 w >= 9 sigma (or 9 t), w = 2^m. With rho(x) = exp(-phi(x)), each rounded up:
        weights[63] = 1 (Gaussian), or the least power of two >= 2^22 rho(63 w) (Laplace)
        scale = floor((2^22 - weights[63] - 63) 2^40 / sum of rho(j w)), so that the next weights fit
        weights[j] = ceil(scale rho(j w) / 2^40), and what is then left of 2^22 goes to weights[0].
    So weights[j] >= c rho(j w) for certain, which is all that the exactness of the sampler asks of them.
    """
    gauss = kind == _core.GAUSS
    shift = 0
    while (_BLOCKS << shift) ** (2 if gauss else 1) < _REACH ** (2 if gauss else 1) * q:
        shift += 1

    def phi(block: int) -> Fraction:
        x = block << shift
        return x * x / (2 * q) if gauss else x / q

    with gmpy2.context(precision=_BITS, round=gmpy2.RoundUp, emin=gmpy2.get_emin_min(), emax=gmpy2.get_emax_max()):
        tail = 1 if gauss else 1 << (_ceil(MASS * _exp_up(phi(_BLOCKS))) - 1).bit_length()
        rho = [_exp_up(phi(block)) for block in range(_BLOCKS)]
        total = _ceil(sum(rho, mpfr(0)) * (1 << _BITS))
        scale = ((MASS - tail - _BLOCKS) << (_SCALE_BITS + _BITS)) // total
        weights = [_ceil(scale * r / (1 << _SCALE_BITS)) for r in rho]
    weights[0] += MASS - tail - sum(weights)
    return ExpParameters(shift, scale, (*weights, tail))


@lru_cache(maxsize=256)
def exp_table(kind: int, q: Fraction) -> _core.ExpTable:
    """The core's table of a law, kept for the next call."""
    found = exp_parameters(kind, q)
    return _core.ExpTable(
        kind,
        q.numerator,
        q.denominator,
        shift=found.shift,
        scale=found.scale,
        weights=found.weights,
        alias=alias_table(found.weights),
    )


class ClosedForm(ABC):
    """What the laws in closed form do alike; `_law` is the kind of the core and its parameter."""

    __slots__ = ()

    @abstractmethod
    def _law(self) -> tuple[int, Fraction]:
        """What distinguishes one law from another."""

    def sample_var(self, n: int, rng: Callable[[int], bytes] = os.urandom) -> I64Array:
        """n independent samples, exactly of this law as far as the stream is uniform.

        Args:
            n: 0 .. 2^40.
            rng: rng(k) returns k bytes of a CSPRNG; asked once per call, for the seeds of the stream.

        Returns:
            i64 (n,).

        Raises:
            ParameterError: n out of range or too many for the memory, or rng gave another number of bytes.
            BufferTypeError: rng gave something else than bytes.
            LocalError: the stream decided no sample: probability below 2^-1900 n.

        Variable time: branches and addresses depend on the samples; how many candidates are drawn does not.
        """
        cipher = stream_cipher()
        with fresh_seeds(rng, cipher) as seeds:
            return _core.sample_exp_var(exp_table(*self._law()), n, seeds, cipher=cipher)

    def add_var(self, acc: RingArray, rng: Callable[[int], bytes] = os.urandom) -> None:
        """Adds an independent sample to each entry, in place, modulo 2^32 or 2^64.

        Args:
            acc: u32 or u64 (n,), C-contiguous, writable.
            rng: as for `sample_var`, which gives the same samples for the same bytes.

        Raises:
            BufferTypeError: dtype, dimensions, layout, read-only; or rng gave something else than bytes.
            ParameterError, LocalError: as `sample_var`; after a LocalError, acc is to be thrown away.
        """
        cipher = stream_cipher()
        with fresh_seeds(rng, cipher) as seeds:
            _core.sample_exp_add_var(acc, exp_table(*self._law()), seeds, cipher=cipher)
