"""Binomial: the law against exact probabilities, samples against the law."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpfr
from hypothesis import given
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.samplers import Binomial
from privcomp.samplers.binomial import binomial_law
from privcomp.samplers.tables import CUT_BITS, Law, tabulate
from tests.reference.pmfs import PRECISION, binomial_pmf
from tests.samplers.goodness import check_fit, count

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)
LARGE = [
    (1 << 26, HALF),
    ((1 << 28) - 1, HALF),
    (1 << 40, Fraction(1, 1 << 20)),
    ((1 << 62) - 1, Fraction(1, 1 << 90)),
    (1 << 27, THIRD),
]
SAMPLED = [(1, HALF), (2, HALF), (7, HALF), (1000, HALF), (100_001, HALF), (50, Fraction(1, 100)), (5000, THIRD)]
SAMPLED += [(90_000, Fraction(2, 3)), (1 << 40, Fraction(1, 1 << 34))]


def bits(x: mpfr) -> float:
    return float(gmpy2.log2(x)) if x else -math.inf


def distance_bits(n: int, p: Fraction) -> float:
    law = binomial_law(n, p)
    total = law.total(law.sums())
    with gmpy2.context(precision=PRECISION):
        exact = {k: binomial_pmf(k, n, p) for k in range(law.low, law.high + 1)}
        errors = {k: abs(mpfr(law.weight(k)) / total - q) for k, q in exact.items()}
        assert all(bits(errors[k] / q) < -55 for k, q in exact.items())
        return bits((sum(errors.values()) + abs(1 - sum(exact.values()))) / 2)


@given(st.integers(1, 60), st.fractions(0, 1, max_denominator=1000).filter(lambda p: 0 < p < 1) | st.just(HALF))
def test_small_laws(n, p):
    assert distance_bits(n, p) < -CUT_BITS
    law = binomial_law(n, p)
    assert 0 <= law.low <= law.high <= n


@pytest.mark.parametrize(("n", "p"), [(1000, HALF), (1001, HALF), (3000, THIRD), (4000, Fraction(999, 1000))])
def test_laws_with_tails(n, p):
    assert distance_bits(n, p) < -CUT_BITS


@pytest.mark.parametrize(("n", "p"), LARGE)
def test_some_weights_of_large_laws(n, p):
    law = binomial_law(n, p)
    total = law.total(law.sums())
    with gmpy2.context(precision=PRECISION):
        for k in {law.low, (3 * law.low + law.high) // 4, (law.low + law.high) // 2, law.high}:
            assert bits(abs(mpfr(law.weight(k)) / total / binomial_pmf(k, n, p) - 1)) < -55
        # The ratio of neighbours falls outwards, so that of the first value left out bounds all further ones.
        for k, step in ((law.high, 1), (law.low, -1)):
            if 0 <= k + step <= n:
                first, second = binomial_pmf(k + step, n, p), binomial_pmf(k + 2 * step, n, p)
                assert bits(first / (1 - second / first)) < -(CUT_BITS + 1)


def pmf_of(noise: Binomial) -> tuple[int, np.ndarray]:
    reach = int(9 * math.sqrt(noise.variance)) + 60
    low, high = max(0, int(noise.mean) - reach), min(noise.trials, int(noise.mean) + reach)
    return low, np.array([noise.pmf(k) for k in range(low, high + 1)])


@pytest.mark.parametrize(("n", "p"), SAMPLED)
def test_samples_fit(n, p):
    noise = Binomial(n, p)
    low, pmf = pmf_of(noise)
    seeds = hashlib.shake_256(f"binomial {n} {p}".encode()).digest
    check_fit(count(noise.sample_var(300_000, seeds), low, pmf.size), pmf)


@pytest.mark.assurance
@pytest.mark.parametrize(("n", "p"), [(1 << 26, HALF), ((1 << 26) + 1, HALF), (1 << 20, THIRD), (100, Fraction(1, 10))])
def test_many_samples_fit(n, p):
    noise = Binomial(n, p)
    low, pmf = pmf_of(noise)
    check_fit(sum(count(noise.sample_var(10**7), low, pmf.size) for _ in range(5)), pmf)


def test_samples_of_both_tails_fit():
    """Blocks that cover less than three standard deviations: the last bin holds what lies above and below."""
    noise = Binomial(90_000, THIRD)
    law = binomial_law(90_000, THIRD)
    made = tabulate(Law(law.base, law.mirror, law.weights, law.mode, law.deviation * 0.12))
    seeds = hashlib.shake_256(b"both tails").digest(2 * _core.SEED_BYTES[_core.AES128_CTR])
    samples = _core.sample_table_var(made.table(), 300_000, seeds, cipher=_core.AES128_CTR)
    assert (samples < made.base).sum() > 100
    assert (samples >= made.base + (63 << made.shift)).sum() > 100
    low, pmf = pmf_of(noise)
    check_fit(count(samples, low, pmf.size), pmf)


def test_probabilities():
    noise = Binomial(5, THIRD)
    exact = [Fraction(math.comb(5, k) * 2 ** (5 - k), 3**5) for k in range(6)]
    assert noise.support == (0, 5)
    for k in range(6):
        assert noise.pmf(k) == pytest.approx(float(exact[k]), rel=1e-15)
        assert noise.cdf(k) == pytest.approx(float(sum(exact[: k + 1])), rel=1e-15)
    assert noise.pmf(-1) == noise.pmf(6) == noise.cdf(-1) == 0
    assert noise.cdf(5) == noise.cdf(100) == 1
    assert (noise.mean, noise.variance) == (Fraction(5, 3), Fraction(10, 9))


@pytest.mark.parametrize("n", [1, 2, 9, 10])
def test_fair_coins_have_whole_weights(n):
    noise = Binomial(n)
    below = 0
    for k in range(n + 1):
        below += math.comb(n, k)
        assert noise.pmf(k) == math.comb(n, k) / 2**n
        assert noise.cdf(k) == below / 2**n


@pytest.mark.parametrize(
    ("n", "p"),
    [
        (0, HALF), (-1, HALF), (1.0, HALF), (True, HALF), (1 << 62, Fraction(1, 1 << 60)), ((1 << 28) + 1, HALF),
        (5, Fraction(0)), (5, Fraction(1)), (5, 1), (5, Fraction(-1, 2)), (5, Fraction(3, 2)), (5, 0.5), (5, "1/2"),
        (5, Fraction(1, 1 << 128)),
    ],
)  # fmt: skip
def test_parameters_that_are_refused(n, p):
    with pytest.raises(ParameterError):
        Binomial(n, p)
