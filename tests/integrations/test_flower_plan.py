"""The `privcomp-dp-...` keys of a run config: which plan they make, what is refused. Needs no flwr."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.dp import DistributedPlan
from privcomp.errors import BudgetError, ParameterError
from privcomp.integrations.flower.settings import Settings
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.policy import Policy
from privcomp.rounds import NodeBudget, RoundSpec

MODEL = {"w": np.zeros((3, 4), np.float32), "b": np.zeros(2)}
ROSTERS = {n: Roster.of({b"%d" % k: Identity.generate().public for k in range(n)}) for n in (6,)}
CONFIG: dict[str, Any] = {
    "privcomp-adversary": "semi_honest",
    "privcomp-dp-epsilon": 8,
    "privcomp-dp-clip-norm": 1.0,
    "privcomp-dp-rounds": 5,
}


def spec_of(roster: int = 6, kind: str = "update", **changes: Any) -> RoundSpec:
    config = {**CONFIG, **{"privcomp-" + name.replace("_", "-"): value for name, value in changes.items()}}
    settings = Settings.of({name: value for name, value in config.items() if value is not None})
    task = settings.task(kind, b"bound")
    return settings.spec(task, MODEL, ROSTERS[roster], settings.plan(14, roster) if kind == "update" else None)


def test_the_plan_counts_on_what_the_round_promises() -> None:
    for changes, least, colluders in (
        ({}, 3, 0),
        ({"corrupt": 1}, 4, 1),
        ({"honest_survivors": 4}, 4, 0),
        ({"dp_min_survivors": 5}, 5, 0),
        ({"dp_min_survivors": 5, "dp_colluders": 2, "corrupt": 1}, 5, 2),
        ({"adversary": "malicious"}, 4, 1),  # a third of six, rounded up, minus one
    ):
        spec = spec_of(**changes)
        plan, secagg = spec.encoding, spec.aggregation
        assert isinstance(plan, DistributedPlan)
        assert (plan.min_survivors, plan.colluders, plan.clients) == (least, colluders, 6)
        assert secagg.corrupt <= colluders
        assert secagg.corrupt + secagg.honest_survivors == least  # fewer are never opened
        assert (plan.epsilon, plan.delta, plan.rounds, plan.unit, plan.adjacency) == (8.0, 1e-5, 5, "user", "zero_out")
        assert RoundSpec.of_params(secagg) == spec


def test_every_round_of_a_run_announces_the_same_plan() -> None:
    first, again = spec_of(), spec_of()
    assert first.encoding.to_bytes() == again.encoding.to_bytes()
    other = spec_of(dp_mechanism="ddg", dp_adjacency="replace_one", dp_bits=24, clients=5).encoding
    assert isinstance(other, DistributedPlan)
    assert (other.mechanism, other.adjacency, other.modulus_bits, other.clients) == ("ddg", "replace_one", 24, 5)


def test_an_evaluation_has_no_noise_and_says_so_in_its_declaration() -> None:
    spec = spec_of(kind="metrics", evaluate_metrics="loss 0 10", max_examples=100)
    assert not isinstance(spec.encoding, DistributedPlan)
    assert spec.encoding.max_weight == 100


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dp_clip_norm": None}, "privcomp-dp-clip-norm must be given"),
        ({"dp_rounds": None}, "privcomp-dp-rounds must be given"),
        ({"dp_epsilon": None, "clip": 1.0, "max_examples": 9}, "without privcomp-dp-epsilon: nothing would be private"),
        ({"clip": 1.0}, "Leave privcomp-clip out"),
        ({"train_metrics": "loss 0 10"}, "a metric that is summed without noise"),
        ({"evaluate_metrics": "loss 0 10"}, "privcomp-max-examples must be given"),
        ({"dp_epsilon": "8"}, "privcomp-dp-epsilon must be a float"),
        ({"dp_rounds": 2.5}, "privcomp-dp-rounds must be a int"),
        ({"dp_epsilon": 0.0}, "epsilon"),
        ({"dp_delta": 1.0}, "delta"),
        ({"dp_rounds": 0}, "rounds"),
        ({"dp_clip_norm": float("nan")}, "clip"),
        ({"dp_adjacency": "add_or_remove"}, "add-or-remove is false"),
        ({"dp_mechanism": "gaussian"}, "mechanism 'gaussian'"),
        ({"dp_bits": 8, "dp_epsilon": 0.5}, "infeasible"),
        ({"dp_min_survivors": 1}, "at least 2"),
        ({"dp_min_survivors": 7}, "min_survivors"),
        ({"dp_colluders": 0, "corrupt": 1}, "1 corrupt clients, but the plan counts on the noise of all but 0"),
    ],
)
def test_what_does_not_add_up(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        spec_of(**changes)


def test_the_example_of_the_page_can_be_had_by_its_four_nodes() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "flower.md").read_text("utf-8")
    blocks = [tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```", page, flags=re.S | re.M)]
    config, policy = blocks[:2]
    settings = Settings.of(config["tool"]["flwr"]["app"]["config"])
    plan = settings.plan(9, 4)  # the example's model, the simulation's nodes
    assert plan is not None
    limits = Policy.from_toml("".join(f"{key} = {value!r}\n" for key, value in policy.items()).replace("'", '"'))
    budget = NodeBudget(limits, MemoryJournal(Identity.generate().public))
    for _ in range(plan.rounds):  # the policy pays for the plan to its end
        budget.charge(plan, bytes(32))


def test_a_release_by_the_node_alone_is_charged_to_the_same_budget() -> None:
    journal = MemoryJournal(Identity.generate().public)
    plan = spec_of().encoding
    assert isinstance(plan, DistributedPlan)
    policy = Policy(epsilon_max=plan.epsilon_after(2) * 1.001)
    budget = NodeBudget(policy, journal)
    budget.charge(plan, bytes(32))
    budget.check_curve(plan.rdp_round, "user", "zero_out")  # only asks
    budget.charge_curve(plan.rdp_round, "user", "zero_out")
    assert budget.of("user", "zero_out").spent_epsilon() == pytest.approx(plan.epsilon_after(2), rel=1e-9)
    for refuse in (budget.check_curve, budget.charge_curve):
        with pytest.raises(BudgetError, match="above the budget"):
            refuse(plan.rdp_round, "user", "zero_out")
    budget.charge_curve(plan.rdp_round, "user", "replace_one")  # another budget
    assert NodeBudget(policy, journal).of("user", "zero_out").spent_epsilon() <= policy.epsilon_max
