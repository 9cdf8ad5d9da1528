"""Attacks on noise that must fail here, beside the same attacks where they succeed.

Others have their tests where they belong: clipping by float rounding, overflow, NaN and the order of a sum in
tests/core/test_noise_kernels.py; time and forks in tests/samplers and tests/dp/test_encode.py; halved noise in
tests/dp/test_audit.py; infeasible plans in tests/dp/test_plan.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from privcomp.dp import (
    Accountant,
    ClippedGaussian,
    DiscreteLaplaceMechanism,
    GaussianMechanism,
    PoissonSampled,
    plan_distributed,
)
from privcomp.errors import ParameterError

Floats = NDArray[np.float64]
N = 4000


def float_laplace(value: float, count: int) -> Floats:
    """The textbook mechanism: value - sign * ln(u), u one of 2^53 floats in (0, 1]; scale 1."""
    words = np.frombuffer(os.urandom(8 * count), dtype="<u8")
    u = ((words >> 11) + 1.0) * 2.0**-53
    return np.asarray(value + np.where(words & 1, 1.0, -1.0) * np.log(u))


def could_come_from(value: float, outputs: Floats) -> NDArray[np.bool_]:
    """Mironov's question: is there a u for which `float_laplace(value)` gives this very float?"""
    guess = np.rint(np.exp(-np.abs(outputs - value)) * 2.0**53)
    found = np.zeros(outputs.size, dtype=np.bool_)
    for step in range(-32, 33):  # exp and log are off by some last places
        u = np.clip(guess + step, 1.0, 2.0**53) * 2.0**-53
        for sign in (1.0, -1.0):
            found |= value + sign * np.log(u) == outputs
    return found


def test_the_floats_of_textbook_noise_give_the_input_away() -> None:
    """Mironov, CCS 2012: which floats can be hit depends on the input."""
    for true, other in ((0.0, 1.0), (1.0, 0.0)):
        outputs = float_laplace(true, N)
        assert could_come_from(true, outputs).all()
        excluded = 1 - could_come_from(other, outputs).mean()
        assert excluded > 0.2  # each such output proves which input it was, whatever epsilon says


@pytest.mark.parametrize("scale", [2.0**-20, 1.0, 3.0])
def test_every_output_of_ours_lies_on_one_public_grid(scale: float) -> None:
    """Nothing is left to ask: the outputs for any two inputs are the same multiples of the granularity."""
    mechanism = ClippedGaussian(clip=2 * scale, granularity=scale * 2.0**-10, noise_multiplier=1.0)
    for value in (0.0, scale, scale * 0.3, -scale * 1.7e-9):
        steps = mechanism.release_var(np.full((1, 64), value / 8), os.urandom) / (scale * 2.0**-10)
        assert (steps == np.rint(steps)).all()
        assert {0, 1} == set((np.rint(steps).astype(np.int64) & 1).tolist())  # and all of them are


def low_bits(draw: Callable[[float], Floats], value: float) -> float:
    """Share of outputs that are multiples of 2^-52."""
    scaled = draw(value) * 2.0**52
    return float((scaled == np.rint(scaled)).mean())


def test_low_bits_tell_nothing() -> None:
    """A float near 0 has finer bits than one near 1: what is added shows in the last places."""
    assert low_bits(lambda value: float_laplace(value, N), 8.0) == 1.0
    assert low_bits(lambda value: float_laplace(value, N), 0.0) < 0.9
    ours = ClippedGaussian(clip=16.0, granularity=2.0**-20, noise_multiplier=1 / 8)
    for value in (8.0, 0.0):
        assert low_bits(lambda v: ours.release_var(np.full(N, v / N**0.5), os.urandom), value) == 1.0


def test_integers_stay_integers() -> None:
    release = DiscreteLaplaceMechanism(sensitivity=1, scale=3)
    for value in (0, 1, 2**40):
        got: Any = release.release_var(np.full(100, value, dtype=np.int64), os.urandom)
        assert got.dtype == np.int64


def test_amplification_is_counted_only_where_the_sample_is_drawn_and_hidden() -> None:
    sampled = PoissonSampled(GaussianMechanism(1.0), 0.01)
    with pytest.raises(ParameterError, match="sampling"):
        Accountant(adjacency="add_or_remove", sampling="none").compose(sampled)
    for sampling in ("poisson", "fixed_size"):
        with pytest.raises(ParameterError, match="amplify"):
            plan_distributed(1.0, 10, 10, 8, 2, 20, (8.0, 1e-5), 1, sampling=sampling, adjacency="zero_out")
