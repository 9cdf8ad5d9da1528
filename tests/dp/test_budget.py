"""The budget filter: it refuses the round too many, and nothing that it is shown makes it forget."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.dp import BudgetFilter, RdpCurve
from privcomp.errors import BudgetError, CodecError, LocalError, ParameterError
from tests.dp.plans import make


def budget(epsilon: float = 8.0, delta: float = 1e-5, adjacency: str = "zero_out", unit: str = "user") -> BudgetFilter:
    return BudgetFilter.of(epsilon, delta, adjacency=adjacency, unit=unit)


def test_the_round_too_many_is_refused() -> None:
    plan = make()
    held = budget(plan.epsilon)
    for number in range(plan.rounds):
        assert held.remaining(plan) == plan.rounds - number
        held = held.charge(plan, number)
        assert held.spent_epsilon() == pytest.approx(plan.epsilon_after(number + 1), rel=1e-9)
        assert held.charges == number + 1
    assert held.remaining(plan) == 0
    with pytest.raises(BudgetError, match=r"0\.\.9"):
        held.charge(plan, plan.rounds)


@pytest.mark.parametrize("limit", [2.0, 3.0, 5.5])
def test_the_limit_of_the_node_counts_not_that_of_the_plan(limit: float) -> None:
    plan = make()
    held, count = budget(limit), 0
    expected = held.remaining(plan)
    while held.remaining(plan):
        held = held.charge(plan, count)
        count += 1
        assert held.spent_epsilon() <= limit
    with pytest.raises(BudgetError, match="nothing was sent"):
        held.charge(plan, count)
    assert count == expected < plan.rounds
    assert plan.epsilon_after(count) <= limit < plan.epsilon_after(count + 1)


def test_a_round_is_charged_once_and_a_retry_takes_the_next() -> None:
    plan = make()
    held = budget().charge(plan, 0).charge(plan, 3)
    for number in (0, 1, 3):
        with pytest.raises(BudgetError, match="charged already"):
            held.charge(plan, number)
    assert held.charge(plan, 4).charges == 3


@pytest.mark.parametrize("number", [-1, 10, 1.0, None, True])
def test_rounds_that_are_not_planned(number: object) -> None:
    with pytest.raises(BudgetError):
        budget().charge(make(), number)  # type: ignore[arg-type]


def test_plans_add_up() -> None:
    """Two plans cost what the sum of their curves costs, less than the sum of their epsilons."""
    one, two = make(), make(mechanism="ddg", target=(4.0, 1e-5), bits=20)
    held = budget(12.0).charge(one, 0).charge(two, 0)
    assert held.spent_epsilon() == pytest.approx((one.rdp_round + two.rdp_round).epsilon(1e-5), rel=1e-9)
    assert held.spent_epsilon() < one.epsilon_after(1) + two.epsilon_after(1)
    assert len(held.plans) == 2
    other = held.charge_curve(RdpCurve.gaussian(5.0))
    assert other.spent_epsilon() > held.spent_epsilon()
    with pytest.raises(BudgetError):
        held.charge_curve(RdpCurve.gaussian(0.05))


def test_what_cannot_be_added() -> None:
    record = make(unit="record", records_max=10, bits=24)
    for plan in (record, make(adjacency="replace_one")):
        with pytest.raises(BudgetError, match="cannot be added"):
            budget().charge(plan, 0)
    assert budget(unit="record").charge(record, 0).charges == 1
    with pytest.raises(ParameterError):
        budget().charge("plan", 0)  # type: ignore[arg-type]
    assert issubclass(BudgetError, LocalError)


def test_cut_noise_is_charged_to_delta() -> None:
    plan = make(proof_bits=16, bits=24)
    held = budget().charge(plan, 0)
    assert held.cut_rounds == 1
    assert held.cut_delta == pytest.approx((1 + 2.718281828459045**8) * 2**-60)
    # a budget whose delta the cut would eat whole pays for nothing
    with pytest.raises(BudgetError):
        budget(delta=1e-15, epsilon=100.0).charge(plan, 0)


def test_bytes() -> None:
    held = budget().charge(make(), 2).charge(make(mechanism="ddg"), 0)
    assert BudgetFilter.from_bytes(held.to_bytes(), max_bytes=10_000) == held
    assert BudgetFilter.from_bytes(budget().to_bytes(), max_bytes=10_000) == budget()


@given(st.data())
def test_no_flipped_byte_makes_an_overspent_budget(data: st.DataObject) -> None:
    raw = bytearray(budget().charge(make(), 0).to_bytes())
    raw[data.draw(st.integers(5, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = BudgetFilter.from_bytes(bytes(raw), max_bytes=10_000)
    except CodecError:
        return
    assert other.spent_epsilon() <= other.epsilon
    assert other.to_bytes() == bytes(raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.0},
        {"epsilon": 1000.0},
        {"delta": 0.0},
        {"delta": 1.0},
        {"adjacency": "add_or_remove"},
        {"unit": "example"},
        {"spent": RdpCurve.gaussian(0.01), "charges": 1},
        {"spent": RdpCurve.gaussian(3.0)},
        {"cut_rounds": 1},
        {"plans": ((bytes(32), 1), (bytes(32), 2))},
        {"plans": ((b"\x01" * 32, 1), (bytes(32), 2))},
    ],
)
def test_budgets_that_contradict_themselves(changes: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        dataclasses.replace(budget(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, "8", True, 10**400, (8.0,), float("nan")])
def test_limits_are_numbers_and_scopes_are_bytes(limit: Any) -> None:
    for values in ((limit, 1e-5), (8.0, limit)):
        with pytest.raises(ParameterError):
            BudgetFilter.of(*values, adjacency="zero_out", unit="user")
    with pytest.raises(ParameterError, match="scope"):
        budget().charge(make(), 0, limit)


@pytest.mark.parametrize("curve", [None, 1.0, (0.0,) * 128])
def test_only_curves_are_charged_as_curves(curve: Any) -> None:
    with pytest.raises(ParameterError, match="RdpCurve"):
        budget().charge_curve(curve)
