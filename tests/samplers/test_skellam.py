"""Skellam: the law against the power series in multiprecision, samples against the law."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpfr

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.samplers import Skellam
from privcomp.samplers.skellam import _tail_bits, skellam_law
from privcomp.samplers.tables import CUT_BITS, Law, tabulate
from tests.reference.pmfs import PRECISION, skellam_pmf
from tests.samplers.goodness import check_fit, count

SMALL = [
    Fraction(1, 1 << 64),
    Fraction(1, 100),
    Fraction(9, 100),
    Fraction(1, 4),
    Fraction(1),
    Fraction(1369, 100),
    Fraction(100),
    Fraction(1000),
]
SAMPLED = [Fraction(v) for v in ("1/100", "1/4", "1", "1369/100", "100", "10000", "16777216")]
LARGE = [
    Fraction(10**4),
    Fraction(10**6 + 1, 3),
    Fraction(4096**2),
    pytest.param(Fraction(1 << 26), marks=pytest.mark.assurance),
]


def bits(x: mpfr) -> float:
    return float(gmpy2.log2(x)) if x else -math.inf


@pytest.mark.parametrize("variance", SMALL, ids=str)
def test_the_law_is_within_2_to_the_172(variance):
    """Total variation between law and distribution: the law's values, and the rest by what is missing from 1."""
    law = skellam_law(variance)
    total = law.total(law.sums())
    with gmpy2.context(precision=PRECISION):
        exact = [skellam_pmf(k, variance) for k in range(law.high + 1)]
        inside = exact[0] + 2 * sum(exact[1:])
        outside = 1 - inside
        assert bits(abs(outside)) < -CUT_BITS
        errors = [abs(mpfr(law.weight(k)) / total - p) for k, p in enumerate(exact)]
        assert bits((errors[0] + 2 * sum(errors[1:]) + abs(outside)) / 2) < -CUT_BITS
        for k, p in enumerate(exact):
            assert bits(errors[k] / p) < -55
            assert law.weight(-k) == law.weight(k)


@pytest.mark.parametrize("variance", LARGE, ids=str)
def test_weights_of_large_laws(variance):
    """Some values, ends included; the proportions of all of them obey the recurrence that defines Bessel's function."""
    law = skellam_law(variance)
    total, last = law.total(law.sums()), law.high
    with gmpy2.context(precision=PRECISION):
        for k in (0, last // 2, last):
            p = skellam_pmf(k, variance)
            assert bits(abs(mpfr(law.weight(k)) / total / p - 1)) < -55
    w, v = law.weights, variance
    for k in range(1, last):
        left, right = w[k - 1], w[k + 1] + 2 * k * w[k] * v.denominator // v.numerator
        # The weights are cut to whole numbers, and the recurrence's factor was rounded at 2^-224.
        assert abs(left - right) <= 3 + 2 * k / v + (k * w[k] >> 223)


@pytest.mark.parametrize("variance", [*SMALL, *LARGE[:2]], ids=str)
def test_the_bound_of_the_tail(variance):
    """Chernoff's bound holds where it decides, and does not give away more than 32 bits."""
    last = skellam_law(variance).high
    for k in (last, last + 1):
        beyond = -bits(skellam_pmf(k, variance))
        assert _tail_bits(k, float(variance)) > beyond - 32 or last < 8
        assert _tail_bits(k, float(variance)) <= beyond + 1e-6
    assert 2 ** -_tail_bits(last + 1, float(variance)) <= 2.0 ** -(CUT_BITS + 1)


def pmf_of(variance: Fraction) -> tuple[int, np.ndarray]:
    noise = Skellam(variance)
    low, high = noise.support
    some = range(max(low, -int(9 * math.sqrt(variance)) - 60), min(high, int(9 * math.sqrt(variance)) + 60) + 1)
    return some[0], np.array([noise.pmf(k) for k in some])


@pytest.mark.parametrize("variance", SAMPLED, ids=str)
def test_samples_fit(variance):
    seeds = hashlib.shake_256(f"skellam {variance}".encode()).digest
    low, pmf = pmf_of(variance)
    check_fit(count(Skellam(variance).sample_var(400_000, seeds), low, pmf.size), pmf)


@pytest.mark.assurance
@pytest.mark.parametrize(
    "variance", [Fraction(9, 100), Fraction(1), Fraction(100), Fraction(10**6), Fraction(1 << 26)], ids=str
)
def test_many_samples_fit(variance):
    low, pmf = pmf_of(variance)
    check_fit(sum(count(Skellam(variance).sample_var(10**7), low, pmf.size) for _ in range(10)), pmf)


@pytest.mark.parametrize("reach", [0.06, 0.15])
def test_samples_of_the_tail_fit(reach):
    """The last bin is drawn once in four million candidates; with blocks that cover less, as often as one likes."""
    law = skellam_law(Fraction(10**4))
    table = tabulate(Law(law.base, law.mirror, law.weights, law.mode, law.deviation * reach))
    assert table.bins[-1] > 1 << 12
    seeds = hashlib.shake_256(f"tail {reach}".encode()).digest(2 * _core.SEED_BYTES[_core.AES128_CTR])
    samples = _core.sample_table_var(table.table(), 400_000, seeds, cipher=_core.AES128_CTR)
    assert (abs(samples) >= 63 << table.shift).sum() > 100
    low, pmf = pmf_of(Fraction(10**4))
    check_fit(count(samples, low, pmf.size), pmf)


def test_probabilities():
    noise = Skellam(Fraction(5, 2))
    assert noise.pmf(3) == noise.pmf(-3) == pytest.approx(float(skellam_pmf(3, Fraction(5, 2))), rel=1e-15)
    assert noise.cdf(-1) == pytest.approx((1 - noise.pmf(0)) / 2, rel=1e-15)
    assert noise.cdf(0) == pytest.approx((1 + noise.pmf(0)) / 2, rel=1e-15)
    low, high = noise.support
    assert (low, high) == (-high, high)
    assert noise.pmf(high + 1) == 0 == noise.cdf(low - 1)
    assert noise.cdf(high) == noise.cdf(10**9) == 1
    running = 0.0
    for k in range(low, high + 1):
        running += noise.pmf(k)
        assert noise.cdf(k) == pytest.approx(running, rel=1e-12)
    assert (noise.mean, noise.variance) == (0, Fraction(5, 2))
    assert sum(k * k * noise.pmf(k) for k in range(low, high + 1)) == pytest.approx(2.5, rel=1e-14)


@pytest.mark.parametrize(
    "bad", [0, -1, Fraction(-1, 2), 1.0, float("nan"), "1", True, None, (1 << 26) + 1, Fraction(1, 1 << 65), 10**1000]
)
def test_variances_that_are_refused(bad):
    with pytest.raises(ParameterError):
        Skellam(bad)


def test_a_denominator_that_is_too_long():
    Skellam(Fraction(1, (1 << 64) - 59))
    with pytest.raises(ParameterError):
        Skellam(Fraction((1 << 129) + 1, 1 << 128))


def test_equal_parameters_are_equal():
    assert Skellam(2) == Skellam(Fraction(4, 2))
    assert hash(Skellam(2)) == hash(Skellam(Fraction(2)))
    for bad in (1.0, None, "1"):
        with pytest.raises(ParameterError):
            Skellam(1).pmf(bad)
