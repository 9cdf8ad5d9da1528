"""Distributed mean estimation: measured errors against closed forms, and the curator's error that others published."""

from __future__ import annotations

import pytest

from bench.dp_mean import central_mse, own_plan, points, worst


def test_errors_lie_at_their_closed_forms() -> None:
    """Ours at 12 and 16 bits, and published settings, both mechanisms; the bench draws 100 of each, and all bits."""
    found = points(repetitions=12, seed=5, bits=(12, 16), epsilons=(6.0,))
    assert [(p["mechanism"], p["bits"], p["plan"]) for p in found] == [
        *(("skellam", bits, "own") for bits in (12, 16)),
        *(("ddg", bits, "own") for bits in (12, 16)),
        *(("ddg", bits, "reference") for bits in (12, 16)),
        *(("skellam", bits, "reference") for bits in (12, 16)),
    ]
    assert worst(found) <= 4.0
    for point in found:
        # Twelve repetitions of 250 entries: a relative standard error of sqrt(2 / 3000), or 2.6 %.
        assert 0.0 < point["error"] < 0.03 * point["closed_form"]


@pytest.mark.parametrize(("epsilon", "published", "digits"), [(1.0, 0.1392, 5e-5), (6.0, 5.83e-3, 5e-6)])
def test_the_curator_is_the_published_one_and_the_gap_closes_with_bits(
    epsilon: float, published: float, digits: float
) -> None:
    assert central_mse(epsilon) == pytest.approx(published, abs=digits)
    for mechanism in ("skellam", "ddg"):
        plans = [own_plan(mechanism, epsilon, bits) for bits in (10, 12, 14, 16, 20)]
        errors = [plan.expected_mse() for plan in plans if plan is not None]
        assert len(errors) == 5
        assert errors == sorted(errors, reverse=True)
        # What is left at many bits is the conversion from Rényi curves, not the distribution of the noise.
        assert 1.0 < errors[-1] / central_mse(epsilon) < 1.2
    assert own_plan("skellam", epsilon, 8) is None
