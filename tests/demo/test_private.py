"""The demo under differential privacy: what it releases, what it spends, how well it does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.demo.data import Federation, Table, federate, load
from privcomp.demo.model import layout
from privcomp.demo.private import RECIPES, Plans, Preparation, make_plans, train, without_masks, without_noise
from privcomp.demo.private_run import NOT_PRIVATE, run_private
from privcomp.demo.secure import SecureFederation
from privcomp.demo.train import DemoOptions
from privcomp.dp import DistributedPlan
from privcomp.errors import ParameterError
from privcomp.ledger import Ledger
from privcomp.rounds import audit

DELTA = 1e-5


def plans_of(unit: str, epsilon: float, *, clients: int = 50, min_survivors: int = 45, colluders: int = 16) -> Plans:
    return make_plans(
        RECIPES[unit],
        features=30,
        entries=31,
        clients=clients,
        min_survivors=min_survivors,
        colluders=colluders,
        epsilon=epsilon,
        delta=DELTA,
        positive=True,
    )


@pytest.fixture(scope="module")
def table() -> Table:
    return load("breast-cancer")


def accuracy(federation: Federation, plans: Plans, unit: str, seed: int) -> float:
    order = np.random.default_rng(seed)
    survivors = [tuple(sorted(order.permutation(50)[:46].tolist())) for _ in range(20)]
    release = without_masks(survivors.__getitem__, os.urandom)
    return train(federation, RECIPES[unit], plans, release).scores.accuracy


@pytest.mark.parametrize("unit", ["user", "record"])
def test_two_plans_spend_one_budget(unit: str) -> None:
    plans = plans_of(unit, 8.0)
    curve = plans.centre.rdp_round + plans.step.rdp_round.times(plans.rounds)
    assert 7.9 < curve.epsilon(DELTA) == plans.epsilon <= 8.0
    assert plans.step.rounds == plans.rounds
    assert plans.centre.rounds == 1
    assert {plan.adjacency for plan in (plans.centre, plans.step)} == {"zero_out"}


@pytest.mark.parametrize(("unit", "least"), [("user", 0.91), ("record", 0.92)])
def test_accuracy_at_epsilon_8(table: Table, unit: str, least: float) -> None:
    """Two runs; the mean of ten (below) has to be 93 % and is 95.7 % (user), 96.1 % (record)."""
    plans = plans_of(unit, 8.0)
    found = [accuracy(federate(table, 50, seed), plans, unit, seed) for seed in (0, 1)]
    assert np.mean(found) >= least


@pytest.mark.assurance
@pytest.mark.parametrize("unit", ["user", "record"])
def test_mean_accuracy_of_ten_seeds_at_epsilon_8(table: Table, unit: str) -> None:
    plans = plans_of(unit, 8.0)
    found = [accuracy(federate(table, 50, seed), plans, unit, seed) for seed in range(10)]
    assert np.mean(found) >= 0.93, found


@pytest.mark.parametrize("unit", ["user", "record"])
def test_one_hospital_or_row_moves_a_release_by_the_clip_at_most(table: Table, unit: str) -> None:
    """All that a hospital hands out passes through its plan: wild rows are clipped to what a plan counts on."""
    federation = federate(table, 10, 0)
    wild = federation.sites[0].x * 1e6
    federation.sites[0].x[:] = wild
    recipe, plans = RECIPES[unit], plans_of(unit, 100.0, clients=10, min_survivors=9, colluders=3)
    seen: list[tuple[DistributedPlan, Any]] = []
    release = without_noise(10)

    def watched(**options: Any) -> Any:
        seen.append((options["plan"], options["values"](0)))
        return release(**options)

    train(federation, recipe, plans, watched)
    assert len(seen) == recipe.rounds + 1
    for plan, values in seen:
        plan.check(values)
        encoded = plan.encode_var(values, bytes(32), os.urandom)
        assert sum(int(q) ** 2 for q in encoded.signal.tolist()) <= plan.d2_squared


def test_the_run_its_report_and_its_ledgers(tmp_path: Path, table: Table) -> None:
    clients = 10
    options = DemoOptions(clients=clients, figure=tmp_path / "curves.png")
    opened: list[SecureFederation] = []

    def open_federation(ledger: Path, policy: dict[str, Any]) -> SecureFederation:
        opened.append(SecureFederation(clients, 0, ledger=ledger, policy=policy))
        return opened[-1]

    federation = federate(table, clients, 0)
    report = run_private(options, federation, open_federation, tmp_path, epsilon=64.0, epsilons=(64.0,))
    for secure in opened:
        secure.close()
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    content = report.to_json()
    assert (content["mechanism"], content["adjacency"], content["unit"]) == ("skellam", "zero_out", "user")
    assert content["integer_difference"] == 0
    assert 60 < content["epsilon"] <= 64
    assert 60 < content["record"]["epsilon"] <= 64
    assert content["accuracy"] > 0.8
    assert content["record"]["accuracy"] > 0.8
    assert content["accuracy_cost"] == pytest.approx(content["plain_accuracy"] - content["accuracy"])
    text = report.text()
    assert NOT_PRIVATE in text
    assert "zero_out" in text
    for secure, place, unit, releases in zip(
        opened, (tmp_path, tmp_path / "record"), ("user", "record"), (9, 17), strict=True
    ):
        checked = audit(place / "ledger", ledger_key=secure.ledger.public, roster=secure.roster, heads=secure.heads)
        assert checked.ok, checked
        assert any(f"for a {unit} (zero_out), over {releases} releases" in line for line in checked.shown)
        with Ledger(place / "ledger", secure.ledger._identity) as ledger:
            assert {record.purpose for record in ledger.records()} == {"statistics", "training"}


def test_tables_without_public_ranges_and_absurd_budgets_are_refused(table: Table, tmp_path: Path) -> None:
    bare = Table(table.name, table.x, table.y, table.features, table.classes)
    with pytest.raises(ParameterError, match="--ranges"):
        Preparation.of(federate(bare, 5, 0))
    for epsilon, delta in ((0.0, DELTA), (1e9, DELTA), (float("nan"), DELTA), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(ParameterError, match="epsilon"):
            run_private(
                DemoOptions(clients=5),
                federate(table, 5, 0),
                lambda *_: None,
                tmp_path,
                epsilon=epsilon,
                delta=delta,  # type: ignore[arg-type, return-value]
            )


def test_both_scales_are_public() -> None:
    linear = Preparation(np.array([2, 3]), False)
    assert linear.scaled(np.array([[4.0, 4.0]])).tolist() == [[0.75, 0.25]]
    positive = Preparation(np.array([2, 3]), True)
    scaled = positive.scaled(np.array([[4.0, 0.0]]))
    assert scaled.tolist() == [[2.0, -6.0]]
    assert layout(30, 2).size == 31
