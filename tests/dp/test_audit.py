"""One-run auditing: honest noise passes, halved noise is caught; the bound against plain sums."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from privcomp.dp import DiscreteGaussianMechanism, OneRunAudit
from privcomp.errors import ParameterError
from tests.dp.plans import stream

CANARIES, GUESSES, CLAIMED, DELTA = 100_000, 5_000, 4.38, 1e-5
STEP = 1 << 10  # the size of a canary in the integer steps of the noise


def audited(deviation: Fraction, name: str) -> OneRunAudit:
    """Each canary is one entry that its coin raises by STEP; sampled noise of deviation * STEP is released with it."""
    coins = np.unpackbits(np.frombuffer(stream(name + " coins")(CANARIES // 8), dtype=np.uint8)).astype(np.bool_)
    mechanism = DiscreteGaussianMechanism((deviation * STEP) ** 2, l2_squared=STEP**2)
    released = mechanism.release_var(coins.astype(np.int64) * STEP, stream(name))
    return OneRunAudit.of(released.astype(np.float64), coins, GUESSES)


def test_honest_noise_passes() -> None:
    """z = 1, which is epsilon 4.38 at 1e-5: the lower bound is about 2.45."""
    found = audited(Fraction(1), "honest")
    assert not found.refutes(CLAIMED, DELTA)
    assert found.lower_bound(DELTA) == pytest.approx(2.45, abs=0.15)


def test_halved_noise_is_caught() -> None:
    found = audited(Fraction(1, 2), "halved")
    assert found.refutes(CLAIMED, DELTA)
    assert found.lower_bound(DELTA) == pytest.approx(4.78, abs=0.2)


def test_few_guesses_do_not_catch_it() -> None:
    """With 1,000 guesses, all of them right, no more than 3.5 can be shown."""
    assert OneRunAudit(CANARIES, 1000, 1000).lower_bound(DELTA) == pytest.approx(3.48, abs=0.03)


def plain_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """The paper's algorithm, term by term in exact binomials."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))

    def mass(k: int) -> float:
        return math.comb(r, k) * q**k * (1 - q) ** (r - k)

    beta = sum(mass(k) for k in range(v, r + 1))
    alpha = total = 0.0
    for i in range(1, v + 1):
        total += mass(v - i)
        alpha = max(alpha, total / i)
    return min(1.0, beta + alpha * delta * 2 * m)


@pytest.mark.parametrize("right", [0, 1, 30, 47, 60])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-4])
def test_p_values(right: int, epsilon: float, delta: float) -> None:
    ours = OneRunAudit(200, 60, right).p_value(epsilon, delta)
    expected = plain_p_value(200, 60, right, epsilon, delta) if right else 1.0
    assert ours == pytest.approx(expected, rel=1e-9)


def test_lower_bound_is_where_the_p_value_crosses() -> None:
    audit = OneRunAudit(1000, 100, 97)
    bound = audit.lower_bound(1e-6)
    assert audit.p_value(bound - 1e-6, 1e-6) <= 0.05 < audit.p_value(bound + 1e-6, 1e-6)
    assert audit.lower_bound(1e-6, 0.99) < bound
    assert OneRunAudit(1000, 100, 40).lower_bound(0.0) == 0.0


def test_guesses_are_the_extremes() -> None:
    scores = np.array([0.0, 5.0, 1.0, 4.0, 2.0, 3.0])
    included = np.array([False, True, True, True, False, False])
    assert OneRunAudit.of(scores, included, 2).right == 2
    assert OneRunAudit.of(scores, included, 4).right == 3


@pytest.mark.parametrize(
    ("scores", "included", "guesses"),
    [
        (np.zeros(4), np.zeros(5, dtype=np.bool_), 2),
        (np.zeros(4), np.zeros(4), 2),
        (np.zeros(4), np.zeros(4, dtype=np.bool_), 3),
        (np.zeros(4), np.zeros(4, dtype=np.bool_), 6),
        (np.full(4, math.nan), np.zeros(4, dtype=np.bool_), 2),
        ([0.0] * 4, np.zeros(4, dtype=np.bool_), 2),
        (np.zeros(4), [False] * 4, 2),
        (np.array(["a"] * 4), np.zeros(4, dtype=np.bool_), 2),
    ],
)
def test_arrays_that_are_refused(scores: object, included: object, guesses: int) -> None:
    with pytest.raises(ParameterError):
        OneRunAudit.of(scores, included, guesses)  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [(0, 0, 0), (10, 11, 0), (10, 5, 6), (10, 5, -1), (10, 0, 0)])
def test_numbers_that_contradict_each_other(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ParameterError):
        OneRunAudit(*numbers)
