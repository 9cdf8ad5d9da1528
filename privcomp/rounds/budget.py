"""What this node's own journal says it has spent of its privacy, and its refusal of the round too many.

One budget for each adjacency of each unit: what protects a record says nothing of the node, and the other way round. A
charge is remembered before the noise is drawn, so that a crash costs budget and never privacy; what the server says of
the budget is a report.

Every charge leaves an entry in the journal's chain, too, with its number. What is remembered of a budget lies beside
the chain and could be lost or restored alone; a budget of fewer charges than the chain counts is refused. (The entry
comes second: after a crash in between the budget has one charge more than the chain, which harms nothing.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from privcomp.codec import digest
from privcomp.dp import BudgetFilter, DistributedPlan, RdpCurve
from privcomp.errors import BudgetError, CodecError, JournalError, ParameterError
from privcomp.journal import Journal
from privcomp.policy import Policy

__all__ = ["NodeBudget"]

#: The entries of charges: no protocol of this name, no stage of this number.
_PROTOCOL: Final = "privacy"
_STAGE: Final = 255


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
            self._keep(self._charged(plan, session))

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
            self._keep(self.of(unit, adjacency).charge_curve(curve))

    def of(self, unit: str, adjacency: str) -> BudgetFilter:
        """What is spent, under the policy's present limits.

        Raises:
            BudgetError: more is spent than the policy allows by now.
            JournalError: what the journal holds is no budget, or an older one than its chain has counted.
        """
        epsilon, delta = self._policy.epsilon_max, self._policy.delta_max
        name = _name(unit, adjacency)
        with self._journal.locked():
            stored = self._journal.recall(name)
            counted = next((e.round for e in reversed(self._journal.entries()) if e.session == _scope(name)), 0)
        try:
            budget = BudgetFilter.from_bytes(stored, max_bytes=len(stored)) if stored is not None else None
            if counted > (budget.charges if budget is not None else 0):
                raise JournalError(
                    f"the journal counts {counted} charges of the privacy budget ({unit}, {adjacency}), what is "
                    f"remembered of it {budget.charges if budget is not None else 0}: it was lost or rolled back, so "
                    "nobody knows any more what this identity has spent; retire it"
                )
            if budget is None:
                return BudgetFilter.of(epsilon, delta, unit=unit, adjacency=adjacency)
            return replace(budget, epsilon=epsilon, delta=delta)
        except CodecError as error:
            raise JournalError(
                f"the journal's privacy budget is damaged: {error.message}; this node sits out"
            ) from None
        except ParameterError:
            raise BudgetError(
                "more privacy is spent than this node's policy allows by now (epsilon_max = "
                f"{epsilon:g} at delta_max = {delta:g}): this node sits out"
            ) from None

    def _keep(self, budget: BudgetFilter) -> None:
        name = _name(budget.unit, budget.adjacency)
        self._journal.remember(name, budget.to_bytes())
        self._journal.append(
            protocol=_PROTOCOL,
            session=_scope(name),
            round=budget.charges,
            purpose=name,
            model_hash=bytes(32),
            round_digest=digest("privcomp.rounds.charge", name.encode(), budget.charges.to_bytes(8, "little")),
            stage=_STAGE,
            request=bytes(32),
            messages=(),
            secrets=None,
        )

    def _charged(self, plan: DistributedPlan, session: bytes) -> BudgetFilter:
        budget = self.of(plan.unit, plan.adjacency)
        return budget.charge(plan, budget.next_round(plan, session), session)


def _scope(name: str) -> bytes:
    return digest("privcomp.rounds.budget", name.encode())


def _name(unit: str, adjacency: str) -> str:
    return f"privacy-{unit}-{adjacency}"
