"""What this node's own journal says it has spent of its privacy, and its refusal of the round too many.

One budget for each adjacency of each unit: what protects a record says nothing of the node, and the other way round. A
charge is remembered before the noise is drawn, so that a crash costs budget and never privacy; what the server says of
the budget is a report.
"""

from __future__ import annotations

from dataclasses import replace

from privcomp.dp import BudgetFilter, DistributedPlan, RdpCurve
from privcomp.errors import BudgetError, CodecError, JournalError, ParameterError
from privcomp.journal import Journal
from privcomp.policy import Policy

__all__ = ["NodeBudget"]


class NodeBudget:
    """A node's budgets, kept in its journal under the limits of its policy.

    Args:
        policy: `epsilon_max` at `delta_max`, and what `privacy` asks for.
        journal: of the node.
    """

    def __init__(self, policy: Policy, journal: Journal) -> None:
        self._policy = policy
        self._journal = journal

    def check(self, plan: DistributedPlan, session: bytes) -> None:
        """Refuse a round that could not be charged, before anything is sent for it.

        Raises:
            PolicyError: the policy asks for another unit or adjacency.
            BudgetError: too little is left, or the plan's rounds are used up in this session.
        """
        policy = self._policy
        if policy.privacy == "required":
            policy.require(plan.unit == policy.privacy_unit, f"a plan that protects a {plan.unit}", policy.privacy_unit)
            # Each adjacency has a budget of its own: whoever could choose would spend both, on the same data.
            policy.require(
                plan.adjacency == policy.privacy_adjacency, f"a plan for {plan.adjacency}", policy.privacy_adjacency
            )
        with self._journal.locked():
            self._charged(plan, session)

    def charge(self, plan: DistributedPlan, session: bytes) -> None:
        """Remember one release under a plan.

        Raises:
            BudgetError: as for `check`; nothing may be sent.
        """
        with self._journal.locked():
            self._journal.remember(_name(plan.unit, plan.adjacency), self._charged(plan, session).to_bytes())

    def check_curve(self, curve: RdpCurve, unit: str, adjacency: str) -> None:
        """Refuse a release that is noised by this node alone and could not be charged.

        Raises:
            BudgetError: too little is left.
        """
        with self._journal.locked():
            self.of(unit, adjacency).charge_curve(curve)

    def charge_curve(self, curve: RdpCurve, unit: str, adjacency: str) -> None:
        """Remember one release that is noised by this node alone; call it before the noise is drawn.

        Raises:
            BudgetError: too little is left; nothing may be sent.
        """
        with self._journal.locked():
            budget = self.of(unit, adjacency).charge_curve(curve)
            self._journal.remember(_name(unit, adjacency), budget.to_bytes())

    def of(self, unit: str, adjacency: str) -> BudgetFilter:
        """What is spent, under the policy's present limits.

        Raises:
            BudgetError: more is spent than the policy allows by now.
            JournalError: what the journal holds is no budget.
        """
        epsilon, delta = self._policy.epsilon_max, self._policy.delta_max
        with self._journal.locked():
            stored = self._journal.recall(_name(unit, adjacency))
        if stored is None:
            return BudgetFilter.of(epsilon, delta, unit=unit, adjacency=adjacency)
        try:
            return replace(BudgetFilter.from_bytes(stored, max_bytes=len(stored)), epsilon=epsilon, delta=delta)
        except CodecError as error:
            raise JournalError(
                f"the journal's privacy budget is damaged: {error.message}; this node sits out"
            ) from None
        except ParameterError:
            raise BudgetError(
                "more privacy is spent than this node's policy allows by now (epsilon_max = "
                f"{epsilon:g} at delta_max = {delta:g}): this node sits out"
            ) from None

    def _charged(self, plan: DistributedPlan, session: bytes) -> BudgetFilter:
        budget = self.of(plan.unit, plan.adjacency)
        return budget.charge(plan, budget.next_round(plan, session), session)


def _name(unit: str, adjacency: str) -> str:
    return f"privacy-{unit}-{adjacency}"
