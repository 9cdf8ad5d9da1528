"""The privacy budget of one node: what it has spent, and the refusal of the round too many.

The filter is a value: `charge` returns the next one or raises. A client keeps it in its own journal and charges its
masked input before that leaves; what the server says of the budget is a report. A retry with fresh noise is another
release and is charged again; resending the same bytes is not.

Curves of Rényi divergence add up, and the order at which the sum is converted is the best one for what was spent. This
is exact where the plans do not depend on earlier outputs, which plans announced ahead do not.

Sources: Mironov, CSF 2017, Proposition 1; Feldman, Zrnic, NeurIPS 2021 (Rényi filters).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from privcomp.codec import F64, U32, U64, Codec, Fixed, Message, Nested, Seq, Text, Tup, digest
from privcomp.dp.checks import real
from privcomp.dp.plan import RECORD, REPLACE_ONE, USER, ZERO_OUT, DistributedPlan
from privcomp.dp.rdp import RdpCurve
from privcomp.dp.tails import CUT_LOG2
from privcomp.errors import BudgetError, ParameterError

__all__ = ["BudgetFilter"]

_MAX_PLANS: Final = 1 << 16
_MAX_EPSILON: Final = 256.0
_PLAN: Final = Tup(Fixed(32), U32)


@dataclass(frozen=True)
class BudgetFilter(Message):
    """What a node may spend and has spent, for one adjacency of one unit.

    Args:
        epsilon, delta: the limit.
        adjacency: "zero_out" or "replace_one".
        unit: "user" or "record".
        spent: the sum of the curves of everything charged.
        cut_rounds: how many of the charges had noise cut off for proofs.
        charges: number of charges.
        plans: (digest of a plan, number of its next round that may be charged), increasing.

    Raises:
        ParameterError: values outside their ranges, or spending above the limit.

    >>> from privcomp.dp import plan_distributed
    >>> plan = plan_distributed(1.0, 100, 10, 8, 2, 20, (8.0, 1e-5), 10, sampling="none", adjacency="zero_out")
    >>> budget = BudgetFilter.of(3.0, 1e-5, adjacency="zero_out", unit="user")
    >>> budget = budget.charge(plan, 0)
    >>> round(budget.spent_epsilon(), 2), budget.remaining(plan)
    (2.15, 0)
    """

    TAG: ClassVar[int] = 0x0502
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("epsilon", F64),
        ("delta", F64),
        ("adjacency", Text(16)),
        ("unit", Text(16)),
        ("spent", Nested(RdpCurve)),
        ("cut_rounds", U64),
        ("charges", U64),
        ("plans", Seq(_PLAN, _MAX_PLANS, increasing=True)),
    )
    epsilon: float
    delta: float
    adjacency: str
    unit: str
    spent: RdpCurve
    cut_rounds: int
    charges: int
    plans: tuple[tuple[bytes, int], ...]

    def __post_init__(self) -> None:
        self.to_bytes()  # types and sizes
        if not 0.0 < self.epsilon <= _MAX_EPSILON or not 0.0 < self.delta < 1.0:
            raise ParameterError(
                f"a budget of epsilon = {self.epsilon!r}, delta = {self.delta!r}: allowed are 0 < epsilon <= 256, "
                "0 < delta < 1"
            )
        if self.adjacency not in (ZERO_OUT, REPLACE_ONE) or self.unit not in (USER, RECORD):
            raise ParameterError(
                f"a budget for adjacency {self.adjacency!r} and unit {self.unit!r}: allowed are 'zero_out' or "
                "'replace_one', and 'user' or 'record'"
            )
        if len({name for name, _ in self.plans}) != len(self.plans):
            raise ParameterError("a budget names one plan twice")
        if self.cut_rounds > self.charges or (self.charges == 0 and any(self.spent.values)):
            raise ParameterError("a budget whose spending and number of charges contradict each other")
        if self._after(self.spent, self.cut_rounds) > self.epsilon:
            raise ParameterError("a budget that is overspent: it cannot come from this filter")

    @classmethod
    def of(cls, epsilon: float, delta: float, *, adjacency: str, unit: str) -> BudgetFilter:
        """A budget of which nothing is spent."""
        limit = real("epsilon", epsilon), real("delta", delta)
        return cls(*limit, adjacency, unit, RdpCurve.zero(), 0, 0, ())

    def spent_epsilon(self) -> float:
        """epsilon of everything charged so far, at the budget's delta; 0 before the first charge."""
        return self._after(self.spent, self.cut_rounds)

    @property
    def cut_delta(self) -> float:
        """The part of delta that noise cut off for proofs has taken: (1 + e^epsilon) 2^-60 for each such round."""
        return self._cut(self.cut_rounds)

    def _cut(self, rounds: int) -> float:
        return rounds * (1.0 + math.exp(self.epsilon)) * 2.0**-CUT_LOG2 * (1.0 + 2.0**-40) if rounds else 0.0

    def _after(self, spent: RdpCurve, cut_rounds: int) -> float:
        """epsilon of this spending at the budget's delta; infinite where the cut noise has taken delta whole."""
        if not any(spent.values):
            return 0.0
        left = self.delta - self._cut(cut_rounds)
        return spent.epsilon(left) if left > 0.0 else math.inf

    def next_round(self, plan: DistributedPlan, scope: bytes = b"") -> int:
        """The least number of a round of this plan that was not charged in this scope."""
        return dict(self.plans).get(_digest(plan, scope), 0)

    def charge(self, plan: DistributedPlan, number: int, scope: bytes = b"") -> BudgetFilter:
        """The budget after one masked input under a plan.

        Args:
            plan: the plan of the round.
            number: which of its rounds, 0..rounds - 1; every number is charged once at most, in increasing order. A
                retry with fresh noise takes the next number.
            scope: what the plan is used in (a session): its rounds are counted for each, the spending over all.

        Returns:
            The filter to keep, before anything is sent.

        Raises:
            BudgetError: another adjacency or unit, a number that was used or is not planned, or too little left.
        """
        if not isinstance(plan, DistributedPlan):
            raise ParameterError(f"charge takes a DistributedPlan, not a {type(plan).__name__}")
        if (plan.adjacency, plan.unit) != (self.adjacency, self.unit):
            raise BudgetError(
                f"the plan protects ({plan.adjacency}, {plan.unit}), the budget ({self.adjacency}, {self.unit}); "
                "they cannot be added: keep one budget for each"
            )
        if type(number) is not int or not 0 <= number < plan.rounds:
            raise BudgetError(
                f"round {number!r} of a plan for {plan.rounds} rounds (0..{plan.rounds - 1}): ask for a new plan"
            )
        if type(scope) is not bytes:
            raise ParameterError(f"scope is a {type(scope).__name__}; it must be bytes, such as a session")
        name = _digest(plan, scope)
        known = dict(self.plans)
        if number < known.get(name, 0):
            raise BudgetError(
                f"round {number} of this plan was charged already (next is {known[name]}): send the same bytes again, "
                "or take the next number for fresh noise"
            )
        if name not in known and len(known) >= _MAX_PLANS:
            raise BudgetError(f"this budget has counted {_MAX_PLANS} plans: begin a new one")
        after = self._charged(plan.rdp_round, 1 if plan.noise_bound else 0)
        return replace(after, plans=tuple(sorted({**known, name: number + 1}.items())))

    def charge_curve(self, curve: RdpCurve) -> BudgetFilter:
        """The budget after any other release with a Rényi curve for the same adjacency and unit.

        Raises:
            BudgetError: too little is left.
        """
        if not isinstance(curve, RdpCurve):
            raise ParameterError(f"charge_curve takes an RdpCurve, not a {type(curve).__name__}")
        return self._charged(curve, 0)

    def _charged(self, curve: RdpCurve, cut: int) -> BudgetFilter:
        spent = self.spent + curve
        epsilon = self._after(spent, self.cut_rounds + cut)
        if epsilon > self.epsilon:
            raise BudgetError(
                f"this release would bring the privacy spent to epsilon = {epsilon:.6g} at delta = {self.delta:.3g}, "
                f"above the budget of {self.epsilon:.6g} (spent: {self.spent_epsilon():.6g}): nothing was sent; sit out"
            )
        return replace(self, spent=spent, cut_rounds=self.cut_rounds + cut, charges=self.charges + 1)

    def remaining(self, plan: DistributedPlan, scope: bytes = b"") -> int:
        """How many further rounds of a plan this budget pays for, at most those that the plan still has."""
        low, high = 0, plan.rounds - self.next_round(plan, scope)
        while low < high:
            middle = (low + high + 1) // 2
            cut = self.cut_rounds + (middle if plan.noise_bound else 0)
            if self._after(self.spent + plan.rdp_round.times(middle), cut) <= self.epsilon:
                low = middle
            else:
                high = middle - 1
        return low


def _digest(plan: DistributedPlan, scope: bytes) -> bytes:
    return digest("privcomp.dp.plan", plan.to_bytes(), scope)
