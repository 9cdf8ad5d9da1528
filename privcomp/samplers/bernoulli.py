"""Coins that show heads with probability exp(-x)."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction

from privcomp import _core
from privcomp.samplers.closed_form import exact_rational
from privcomp.samplers.common import fresh_seeds, stream_cipher
from privcomp.typing import BoolArray

__all__ = ["bernoulli_exp_var"]


def bernoulli_exp_var(x: Fraction | int, n: int, rng: Callable[[int], bytes] = os.urandom) -> BoolArray:
    """n independent bits, each True with probability exp(-x), exactly as far as the stream is uniform.

    Args:
        x: an int or a Fraction, 0 <= x <= 2^80, numerator and denominator below 2^128.
        n: 0 .. 2^40.
        rng: rng(k) returns k bytes of a CSPRNG; asked once per call, for the seeds of the stream.

    Returns:
        bool (n,).

    Raises:
        ParameterError: x is a float or out of range, n out of range, or rng gave another number of bytes.
        BufferTypeError: rng gave something else than bytes.
        LocalError: the stream decided no bit: probability below 2^-1900 n.

    Variable time. Source: a uniform number, as many bits of it as are needed, against exp(-x) in intervals; the law is
    that of Canonne, Kamath, Steinke (2020), algorithm 1.

    >>> bernoulli_exp_var(0, 3)
    array([ True,  True,  True])
    """
    exact = exact_rational("x", x, bits=80, zero=True)
    cipher = stream_cipher()
    with fresh_seeds(rng, cipher) as seeds:
        return _core.bernoulli_exp_var(exact.numerator, exact.denominator, n, seeds, cipher=cipher)
