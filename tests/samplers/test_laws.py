"""The samples follow their laws, tails included; the laws are what the papers define."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from math import ceil
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy import stats

from privcomp.samplers import DiscreteGaussian, DiscreteLaplace, bernoulli_exp_var
from tests.reference import samplers as plain
from tests.samplers.laws import ALPHA, GAUSSIANS, LAPLACES, Law, cells, chi_square, fits, name, repeatable, scale

N = 1 << 20


@pytest.mark.parametrize("law", GAUSSIANS + LAPLACES, ids=name)
def test_samples_fit(law: Law) -> None:
    fits(law, law.sample_var(N, repeatable(name(law))))


@pytest.mark.assurance
@pytest.mark.parametrize("law", GAUSSIANS + LAPLACES, ids=name)
def test_many_samples_fit(law: Law) -> None:
    """1e8 of them, from the system's entropy."""
    borders, probabilities = cells(law, 5000, 10**8)
    counts = np.zeros(len(probabilities), np.int64)
    for _ in range(20):
        found = np.searchsorted(borders, law.sample_var(5 * 10**6, os.urandom))
        counts += np.bincount(found, minlength=len(counts))
    expected = probabilities * 10**8
    assert ((counts - expected) ** 2 / expected).sum() <= stats.chi2.isf(ALPHA, len(counts) - 1)


@pytest.mark.parametrize("law", [law for law in GAUSSIANS + LAPLACES if scale(law) > 900], ids=name)
def test_low_bits_are_uniform(law: Law) -> None:
    """Of a wide law every residue modulo 256 is as likely as every other, to 2e-4 of it (Laplace, scale 4096)."""
    low = np.bincount(law.sample_var(N, repeatable("low" + name(law))) % 256, minlength=256)
    assert ((low - N / 256) ** 2 / (N / 256)).sum() <= stats.chi2.isf(ALPHA, 255)


def test_the_check_notices_a_wrong_law() -> None:
    """One and a half percent of sigma, a lost tail, zero twice as likely: each is seen."""
    law = DiscreteGaussian(100)
    borders, probabilities = cells(law, 500, N)
    samples = law.sample_var(N, repeatable("teeth"))
    wider = DiscreteGaussian(103).sample_var(N, repeatable("wider"))
    cut = samples[np.abs(samples) <= 38]
    zeros = np.concatenate([samples[: -N // 25], np.zeros(N // 25, np.int64)])
    for wrong in (wider, cut, zeros):
        statistic, limit = chi_square(wrong, borders, probabilities)
        assert statistic > limit


@pytest.mark.parametrize("sigma", [Fraction(3), Fraction(2342, 1000), Fraction(1, 2)])
def test_an_oracle_has_the_same_law(sigma: Fraction) -> None:
    """The sampler of Canonne, Kamath and Steinke, from another stream, against our probabilities."""
    below = plain.below_from_bytes(repeatable(f"oracle {sigma}"))
    fits(DiscreteGaussian(sigma**2), np.array([plain.gaussian(sigma, below) for _ in range(1500)]))


@pytest.mark.parametrize("name", ["3", "9", "2.342"])
def test_the_oracle_meets_public_vectors(vectors: Path, name: str) -> None:
    """Made by the authors' own code from a TurboSHAKE128 stream: the length of an empty label, that of the seed, it."""
    vector = json.loads((vectors / "libprio" / f"discrete_gauss_{name}.json").read_text())
    seed = bytes.fromhex(vector["seed"])
    below = plain.below_from_bytes(plain.turboshake128(bytes([0, 0, len(seed)]) + seed))
    sigma = Fraction(vector["std_num"], vector["std_denom"])
    assert [plain.gaussian(sigma, below) for _ in vector["samples"]] == vector["samples"]


# ---- probabilities


@pytest.mark.parametrize(
    "sigma2", [Fraction(1, 100), Fraction(1, 3), 1, 2, Fraction(201, 2), 10**4, (1 << 14) - 1, 1 << 14, 10**5]
)
def test_probabilities_of_the_gaussian(sigma2: Fraction | int) -> None:
    """Against plain sums in 60 digits."""
    law = DiscreteGaussian(sigma2)
    with mpmath.workdps(60):
        s = mpmath.mpf(law.sigma2.numerator) / law.sigma2.denominator
        reach = 20 * ceil(mpmath.sqrt(s)) + 5
        rho = [mpmath.exp(-(mpmath.mpf(k) ** 2) / (2 * s)) for k in range(reach)]
        total = 2 * mpmath.fsum(rho) - 1
        below = [mpmath.mpf(0)]  # below[i] = P[Z <= i - reach]
        for k in range(reach - 1, -reach, -1):
            below.append(below[-1] + rho[abs(k)] / total)
        for k in {0, 1, -1, 2, -3, reach // 20, -reach // 20, reach // 5, -reach // 5, reach // 3, -reach // 3}:
            assert abs(law.pmf(k) - rho[abs(k)] / total) <= 2**-50 * rho[abs(k)] / total + mpmath.mpf(2) ** -1074
            assert abs(law.cdf(k) - below[k + reach]) <= 2**-40
        variance = 2 * mpmath.fsum(k * k * r for k, r in enumerate(rho)) / total
        assert abs(law.variance - variance) <= 2**-49 * variance


@pytest.mark.parametrize("scale", [Fraction(1, 10), 1, Fraction(17, 3), 300, 1 << 40])
def test_probabilities_of_the_laplace_law(scale: Fraction | int) -> None:
    law = DiscreteLaplace(scale)
    with mpmath.workdps(60):
        q = mpmath.exp(-mpmath.mpf(law.scale.denominator) / law.scale.numerator)
        for k in (0, 1, -1, 5, -6, int(scale), -3 * int(scale) - 1):
            want = (1 - q) / (1 + q) * q ** abs(k)
            assert abs(law.pmf(k) - want) <= 2**-50 * want
            below = q**-k / (1 + q) if k < 0 else 1 - q ** (k + 1) / (1 + q)
            assert abs(law.cdf(k) - below) <= 2**-50
        assert abs(law.variance - 2 * q / (1 - q) ** 2) <= 2**-49 * law.variance
    if scale == 1:
        assert abs(sum(law.pmf(k) for k in range(-50, 51)) - 1) < 1e-14


@pytest.mark.parametrize(
    "x", [Fraction(0), Fraction(1, 1000), Fraction(1, 2), Fraction(1), Fraction(7, 2), Fraction(40), Fraction(1 << 80)]
)
def test_bernoulli_exp(x: Fraction) -> None:
    """Counts within what a binomial law allows with probability 1 - ALPHA."""
    bits = bernoulli_exp_var(x, N, repeatable(f"bernoulli {x}"))
    p = float(mpmath.exp(-mpmath.mpf(x.numerator) / x.denominator))
    assert bits.dtype == np.bool_
    ones = int(bits.sum())
    assert stats.binom.cdf(ones, N, p) > ALPHA / 2
    assert stats.binom.sf(ones - 1, N, p) > ALPHA / 2
