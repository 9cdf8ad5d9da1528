"""Curves of distributed noise: against multiprecision, against exact laws, and where they refuse."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf

from privcomp.dp.rdp import (
    ORDERS,
    RdpCurve,
    Sensitivity,
    ddg_curve,
    ddg_tau,
    record_sensitivity,
    skellam_curve,
    user_l2_squared,
    user_sensitivity,
)
from privcomp.errors import CodecError, ParameterError
from tests.reference import dp as ref


def exact(value: Fraction | float) -> mpf:
    fraction = Fraction(value)
    return mpf(fraction.numerator) / fraction.denominator


def close_above(ours: float, true: mpf, relative: float = 1e-9) -> bool:
    """An upper bound, and no more than 1e-9 above."""
    return bool(true <= mpf(ours) <= true * (1 + mpf(relative)) + mpf(10) ** -290)


SHAPES = [
    (Fraction(10), 256, 0.5, Fraction(9, 4), 100),
    (Fraction(16, 3), 1, None, Fraction(7, 2), 2),
    (Fraction(10**4), 1 << 20, 0.5, Fraction(1400**2), 40),
    (Fraction(1), 32, 3.25, Fraction(1, 3), 7),
    (Fraction(12345, 7), 2, 0.0, Fraction(10), 3),
]


@pytest.mark.parametrize(("ratio", "padded", "beta_log", "variance", "shares"), SHAPES)
@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("mechanism", ["skellam", "ddg"])
def test_curves_are_the_formulas_rounded_up(
    mechanism: str,
    ratio: Fraction,
    padded: int,
    beta_log: float | None,
    variance: Fraction,
    shares: int,
    replaced: bool,
) -> None:
    ours = user_sensitivity(ratio, padded, beta_log)
    beta = None if beta_log is None else mpmath.exp(-mpf(beta_log))
    d2 = mpmath.sqrt(ref.d2_squared(exact(ratio), padded, beta))
    l1 = ref.d1(d2, padded)
    if replaced:
        ours, d2, l1 = ours.doubled(), 2 * d2, 2 * l1
    assert close_above(ours.l1, l1, 1e-14)
    assert close_above(ours.l2_squared, d2**2, 1e-14)
    if mechanism == "ddg":
        curve = ddg_curve(ours, variance, shares, padded)
        assert close_above(ddg_tau(variance, shares), ref.tau(shares, mpmath.sqrt(exact(variance))))
    else:
        curve = skellam_curve(ours, variance, shares)
    expected = ref.curve(mechanism, d2, l1, shares, mpmath.sqrt(exact(variance)), padded)
    assert all(close_above(a, b) for a, b in zip(curve.values, expected, strict=True))
    for delta in (1e-5, 1e-9, 0.3):
        true = ref.epsilon(expected, mpf(delta))
        assert true <= mpf(curve.epsilon(delta)) <= true * (1 + mpf(1e-9)) + mpf(1e-11)


def test_record_sensitivity() -> None:
    ours = record_sensitivity(Fraction(100, 3), 8)
    d2 = mpf(100) / 3 + mpmath.sqrt(8)
    assert close_above(ours.l2_squared, d2**2, 1e-14)
    assert close_above(ours.l1, ref.d1(d2, 8), 1e-14)


@given(
    st.fractions(min_value=1, max_value=10**6, max_denominator=1000),
    st.integers(0, 24),
    st.one_of(st.none(), st.floats(0, 50)),
)
def test_the_gate_lies_between_truncation_and_the_formula(ratio: Fraction, log_d: int, beta_log: float | None) -> None:
    """Truncated vectors always pass: floor(rho^2) <= floor(D2^2); and the bound is never above the formula's."""
    low = user_l2_squared(ratio, 1 << log_d, beta_log, up=False)
    high = user_l2_squared(ratio, 1 << log_d, beta_log, up=True)
    assert math.floor(ratio**2) <= math.floor(low)
    assert low <= high <= low + ratio * Fraction(1, 1 << 80) + Fraction(1, 1 << 80)


def test_conversion_is_that_of_dp_accounting() -> None:
    rdp = pytest.importorskip("dp_accounting.rdp.rdp_privacy_accountant")
    for z in (0.3, 1.0, 7.0, 900.0):
        curve = RdpCurve.gaussian(z)
        for delta in (1e-12, 1e-5, 0.01, 0.9):
            theirs, _ = rdp.compute_epsilon(ORDERS, list(curve.values), delta)
            assert theirs <= curve.epsilon(delta) <= theirs * (1 + 1e-12) + 1e-12
            if theirs:
                back, _ = rdp.compute_delta(ORDERS, list(curve.values), theirs)
                assert curve.delta(theirs) == pytest.approx(back, rel=1e-9)


def test_delta_and_epsilon_are_inverse() -> None:
    curve = RdpCurve.gaussian(1.5)
    assert curve.delta(curve.epsilon(1e-6)) == pytest.approx(1e-6, rel=1e-9)
    assert RdpCurve.zero().epsilon(1e-9) == 0.0
    assert RdpCurve.zero().delta(0.0) == 0.0


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.7])
def test_sampled_is_zhu_and_wangs_bound(rate: float) -> None:
    curve = skellam_curve(Sensitivity(5.0, 9.0), Fraction(20), 3)
    tested = (2, 3, 4, 17, 60, 128, 256)
    expected = ref.sampled([mpf(v) for v in curve.values], mpf(rate), tested)
    ours = curve.sampled(rate)
    for a, b in zip([ours.values[ORDERS.index(order)] for order in tested], expected, strict=True):
        assert b * (1 - mpf(1e-12)) <= mpf(a) <= b * (1 + mpf(1e-9)) + mpf(1e-11)
    assert all(a <= b for a, b in zip(ours.values, curve.values, strict=True))
    assert curve.sampled(1.0) is curve


def test_composition() -> None:
    curve = RdpCurve.gaussian(2.0)
    total = curve + curve + curve
    assert np.allclose(total.values, curve.times(3).values, rtol=1e-11)
    assert all(a >= 3 * b for a, b in zip(total.values, curve.values, strict=True))
    assert curve.times(0) == RdpCurve.zero()


def test_bytes() -> None:
    curve = skellam_curve(Sensitivity(5.0, 9.0), Fraction(20), 3)
    assert RdpCurve.from_bytes(curve.to_bytes(), max_bytes=2000) == curve
    cut = curve.to_bytes()[:-8]
    with pytest.raises(CodecError):
        RdpCurve.from_bytes(cut[:5] + (127).to_bytes(4, "little") + cut[9:], max_bytes=2000)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RdpCurve((1.0,)),
        lambda: RdpCurve((-1.0,) * 128),
        lambda: RdpCurve((math.inf,) * 128),
        lambda: RdpCurve((math.nan,) * 128),
        lambda: RdpCurve.gaussian(0.0),
        lambda: RdpCurve.gaussian(1.0).epsilon(0.0),
        lambda: RdpCurve.gaussian(1.0).epsilon(1.0),
        lambda: RdpCurve.gaussian(1.0).delta(-1.0),
        lambda: RdpCurve.gaussian(1.0).delta(math.nan),
        lambda: RdpCurve.gaussian(1.0).times(-1),
        lambda: RdpCurve.gaussian(1.0).sampled(0.0),
        lambda: RdpCurve.gaussian(1.0).sampled(1.5),
        lambda: skellam_curve(Sensitivity(1.0, 1.0), Fraction(0), 3),
        lambda: skellam_curve(Sensitivity(1.0, 1.0), Fraction(1), 0),
        lambda: ddg_curve(Sensitivity(1.0, 1.0), Fraction(-1), 2, 1),
    ],
)
def test_refusals(make: object) -> None:
    with pytest.raises(ParameterError):
        make()  # type: ignore[operator]
