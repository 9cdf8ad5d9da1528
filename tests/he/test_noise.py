"""The noise: its law, its tails, what a sum of it is, and how often it breaks a value when there is too much of it."""

from __future__ import annotations

import math
from functools import cache

import mpmath
import numpy as np
import pytest

from privcomp._core import RlweKey, rlwe_add, rlwe_decode, rlwe_encrypt, rlwe_gaussian
from privcomp.he import RlweParams, Secret
from privcomp.he.params import SIGMA
from privcomp.he.rlwe import expander
from tests.he.rounds import CONTEXT, Round
from tests.he.toys import scheme, tables
from tests.reference.rlwe import primes_below
from tests.samplers.goodness import check_fit, count

CUT = 96


@cache
def pmf() -> np.ndarray:
    """D(Z, 6.4) on -96..96, from 60 digits."""
    with mpmath.workdps(60):
        weights = [mpmath.exp(-mpmath.mpf(x * x) / (2 * mpmath.mpf("6.4") ** 2)) for x in range(-CUT, CUT + 1)]
        return np.array([float(w / sum(weights)) for w in weights])


def fits(samples: np.ndarray) -> None:
    check_fit(count(samples.astype(np.int64), -CUT, 2 * CUT + 1), pmf())


def test_a_million_samples_fit_the_law() -> None:
    samples = rlwe_gaussian(b"\x11" * 32, 0, 1_000_000)
    fits(samples)
    # Neither sign is preferred, and zero has its weight once: 0.0623, not half of it.
    assert abs(int((samples > 0).sum()) - int((samples < 0).sum())) < 5 * 1000
    assert abs(np.mean(samples == 0) - pmf()[CUT]) < 5 * math.sqrt(pmf()[CUT] / 1e6)


@pytest.mark.assurance
def test_a_hundred_million_samples_fit_the_law() -> None:
    counts = np.zeros(2 * CUT + 1, np.int64)
    for stream in range(50):
        counts += count(rlwe_gaussian(b"\x12" * 32, stream, 2_000_000).astype(np.int64), -CUT, 2 * CUT + 1)
    check_fit(counts, pmf())


def test_secrets_follow_the_law_and_do_not_repeat() -> None:
    params = RlweParams.for_round(16, 3)
    secrets = np.stack([Secret.draw(params).coefficients for _ in range(100)])
    fits(secrets.reshape(-1))
    assert len({secret.tobytes() for secret in secrets}) == 100


def test_the_noise_of_uploads_follows_the_law() -> None:
    """As the decoder sees it, for one client: mean of squares sigma^2; for three, the law's threefold sum."""
    params = RlweParams.for_round(16, 3)
    length = 100_000 * params.digits
    for clients in (1, 3):
        made = Round(params, length, clients)
        total, key = made.added().total, RlweKey(params.tables, made.key_sum())
        _, noise = rlwe_decode(params.tables, total, key, expander(CONTEXT), 0, length)
        assert noise.coefficients == 100_000
        mean = noise.sum_squares / 100_000
        # Var(E^2) = 2 (n sigma^2)^2 for a Gaussian; six standard deviations.
        expected = clients * SIGMA**2
        assert abs(mean - expected) < 6 * expected * math.sqrt(2 / 100_000)
        assert 3 * SIGMA * math.sqrt(clients) < noise.max_abs < 7 * SIGMA * math.sqrt(clients)


def test_noise_differs_between_polynomials_and_between_uploads() -> None:
    seed = b"\x13" * 32
    rows = [rlwe_gaussian(seed, j, 4096).astype(float) for j in range(6)] + [
        rlwe_gaussian(b"\x14" * 32, 0, 4096).astype(float)
    ]
    correlations = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlations).max() < 6 / math.sqrt(4096)


@pytest.mark.parametrize("clients", [1, 16, 64])
def test_tails_are_sub_gaussian(clients: int) -> None:
    """P[|E| > t] <= 2 exp(-t^2 / (2 n sigma^2)): for the law exactly; for samples, within six deviations."""
    law = np.array([1.0])
    for _ in range(clients):
        law = np.convolve(law, pmf())
    values = np.arange(-CUT * clients, CUT * clients + 1)
    samples = np.zeros(1 << 17, np.int64)
    for i in range(clients):
        samples += rlwe_gaussian(bytes([clients, i]) * 16, 0, samples.size)
    for sigmas in (0.5, 1, 2, 3, 4, 5, 6, 7):
        t = sigmas * SIGMA * math.sqrt(clients)
        tail = float(law[np.abs(values) > t].sum())
        assert tail <= 2 * math.exp(-(sigmas**2) / 2)
        seen, expected = int((np.abs(samples) > t).sum()), tail * samples.size
        assert abs(seen - expected) <= 6 * math.sqrt(expected) + 12


# ---- failure, where there is too little room


def wrong_fraction(clients: int, delta: int) -> float:
    """P[E is not in -floor(Delta/2) .. Delta - 1 - floor(Delta/2)], exactly, by convolution."""
    law = np.array([1.0])
    for _ in range(clients):
        law = np.convolve(law, pmf())
    low = CUT * clients - delta // 2
    return float(law[:low].sum() + law[low + delta :].sum())


@pytest.mark.parametrize(("clients", "delta"), [(1, 16), (1, 40), (2, 40), (4, 57), (9, 130)])
def test_failures_come_as_often_as_predicted(clients: int, delta: int) -> None:
    """Delta far too small for the noise, which no RlweParams allows: a toy ring of degree 1024 with M = q / Delta.

    All clients encrypt zeros but one, whose value sits in the middle of the range, so that a noise that leaves its cell
    changes the value by one instead of running over.
    """
    (q,) = primes_below(16, 1024, 1)
    radix = q // delta
    toy = scheme(1024, (q,), radix, 1)
    assert toy.delta == delta
    core, key = tables(toy), bytes(16)
    length = 64 * 1024
    middle = np.full(length, radix // 2, np.uint32)
    total, secrets = np.zeros(core.total_words(length), np.uint64), np.zeros(1024, np.int32)
    for i in range(clients):
        secret = rlwe_gaussian(bytes([delta, i]) * 16, 1 << 32, 1024)
        values = middle if i == 0 else np.zeros(length, np.uint32)
        made = rlwe_encrypt(core, RlweKey(core, secret), key, bytes([i, delta]) * 16, values)
        rlwe_add(core, total, made, 0, length)
        secrets += secret
    sums, noise = rlwe_decode(core, total, RlweKey(core, secrets), key, 0, length)
    wrong, predicted = int((sums != middle).sum()), wrong_fraction(clients, delta) * length
    assert predicted > 20  # something is measured
    assert abs(wrong - predicted) < 6 * math.sqrt(predicted)
    assert wrong <= length * 2 * math.exp(-((delta // 2) ** 2) / (2 * clients * SIGMA**2)) + 6 * math.sqrt(predicted)
    assert noise.max_abs <= delta - delta // 2  # a decoder sees a noise inside the cell, whatever it was


def test_the_prediction_is_the_one_that_parameters_state() -> None:
    """`failure_log2` is the sub-Gaussian bound: above the exact probability, by less than the factor 30 here."""
    for clients, delta in ((1, 40), (1, 100), (4, 170)):
        exact = wrong_fraction(clients, delta)
        bound = 2 * math.exp(-((delta / 2) ** 2) / (2 * clients * SIGMA**2))
        assert exact < bound < 30 * exact
