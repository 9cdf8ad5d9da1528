"""The exact law of a sum of noise shares, convolved in multiprecision, against the curves that plans state."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from privcomp.dp.rdp import ORDERS, Sensitivity, ddg_curve, skellam_curve
from tests.reference import dp as ref

TESTED = (2, 3, 8, 32)


def renyi_of_shift(law: list[Any], shift: int, order: int) -> Any:
    """The divergence between the law moved by `shift` and the law; both are symmetric, so both directions agree."""
    return ref.renyi(order, law[:-shift] if shift else law, law[shift:])


@pytest.mark.parametrize(
    ("shares", "variance", "shift"),
    [(2, Fraction(1), 1), (2, Fraction(5, 2), 4), (3, Fraction(1, 2), 1), (4, Fraction(3), 2), (6, Fraction(2), 7)],
)
def test_discrete_gaussian_shares_never_exceed_the_curve(shares: int, variance: Fraction, shift: int) -> None:
    """Every support is wide enough for p^a q^(1-a), which peaks near a * shift: beyond it terms are below 1e-30."""
    curve = dict(
        zip(ORDERS, ddg_curve(Sensitivity(float(shift), float(shift**2)), variance, shares, 1).values, strict=True)
    )
    reach = max(20, 32 * shift // shares + int(13 * float(variance) ** 0.5))
    share = ref.discrete_gaussian(variance, reach)
    law = share
    for _ in range(shares - 1):
        law = ref.convolve(law, share)
    for order in TESTED:
        true = renyi_of_shift(law, shift, order)
        assert 0 < true <= curve[order], (order, float(true), curve[order])
        # the bound is no wish: without tau it would be close to the divergence of a Gaussian
        assert true > order * shift**2 / (2 * shares * variance) / 3


@pytest.mark.parametrize(
    ("shares", "variance", "shift"),
    [(2, Fraction(1), 1), (2, Fraction(8), 4), (3, Fraction(1, 2), 1), (5, Fraction(4), 3), (10, Fraction(40), 20)],
)
def test_skellam_shares_never_exceed_the_curve(shares: int, variance: Fraction, shift: int) -> None:
    curve = dict(
        zip(ORDERS, skellam_curve(Sensitivity(float(shift), float(shift**2)), variance, shares).values, strict=True)
    )
    total = shares * variance
    law = ref.skellam_law(total, 200 + 40 * shift + int(20 * float(total) ** 0.5))
    for order in TESTED:
        true = renyi_of_shift(law, shift, order)
        assert 0 < true <= curve[order], (order, float(true), curve[order])
        if order * shift < 8 * total:  # beyond, tails are heavier than a Gaussian's and the bound is generous
            assert true > order * shift**2 / (2 * total) / 3


def test_a_sum_of_skellam_shares_is_skellam() -> None:
    share, law = ref.skellam_law(1.5, 40), None
    for _ in range(3):
        law = share if law is None else ref.convolve(law, share)
    assert law is not None
    expected = ref.skellam_law(4.5, 120)
    assert max(abs(a - b) for a, b in zip(law, expected, strict=True)) < 1e-35


def test_add_or_remove_is_false_for_distributed_noise() -> None:
    """h = 10, mu = 400, a change of 1: with the removed client's share gone the divergence is 121.3, not 0.04.

    The sum peaks near k = 5221, so it is truncated late.
    """
    formula = dict(zip(ORDERS, skellam_curve(Sensitivity(1.0, 1.0), Fraction(40), 10).values, strict=True))
    assert formula[32] == pytest.approx(0.04, abs=0.002)
    reach = 9000
    with_client = ref.skellam_law(400, reach)
    without = ref.skellam_law(360, reach)
    assert float(ref.renyi(32, with_client[:-1], without[1:])) == pytest.approx(121.3, abs=0.1)


def test_sampling_of_clients_does_not_amplify() -> None:
    """q = 0.01, ten other shares of variance 40, a change of 20, order 8, the sample hidden: 1.676, not 0.00087."""
    order, q, shift, reach = 8, 0.01, 20, 1500
    others, all_shares = ref.skellam_law(400, reach), ref.skellam_law(440, reach)

    def mixture(moved: int) -> list[Any]:
        return [(1 - q) * a + q * all_shares[k - moved] for k, a in enumerate(others) if k >= shift]

    true = max(ref.renyi(order, mixture(shift), mixture(0)), ref.renyi(order, mixture(0), mixture(shift)))
    assert float(true) == pytest.approx(1.676, abs=0.001)
    naive = skellam_curve(Sensitivity(20.0, 400.0), Fraction(40), 11).sampled(0.01).values[ORDERS.index(order)]
    assert float(true) > 100 * naive
