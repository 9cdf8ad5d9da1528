"""The accountant of central and local mechanisms: composition by privacy-loss distributions, adjacency stated.

`dp_accounting` composes; this class decides what may be asked of it. Its Rényi accountant is wrong for replacement (a
Gaussian with z = 1: 4.73 where the loss distribution gives 10.0), so it is never used there, and what has no event or
no known loss distribution is refused rather than guessed. A distributed plan carries its own curve (see
`BudgetFilter`): no event describes it.

Sources: Koskela, Jälkö, Honkela, AISTATS 2020; Doroshenko et al., PoPETs 2022 (connect the dots); Mironov, Talwar,
Zhang, arXiv 1908.10530 (Rényi divergence of the sampled Gaussian).
"""

from __future__ import annotations

import math
from typing import Any, Final

from privcomp.dp.checks import integer, probability, real
from privcomp.dp.mechanisms import (
    ClippedGaussian,
    DiscreteGaussianMechanism,
    DiscreteLaplaceMechanism,
    GaussianMechanism,
    LaplaceMechanism,
    Mechanism,
    PoissonSampled,
    dp_accounting,
)
from privcomp.dp.plan import REPLACE_ONE, ZERO_OUT
from privcomp.errors import ParameterError

__all__ = ["ADD_OR_REMOVE", "POISSON", "Accountant"]

ADD_OR_REMOVE: Final = "add_or_remove"
NONE: Final = "none"
POISSON: Final = "poisson"
_METHODS: Final = ("pld", "rdp")


class Accountant:
    """Composes mechanisms and says what they cost together.

    Args:
        adjacency: required: "add_or_remove", "zero_out" or "replace_one", of one unit.
        sampling: required: "none", or "poisson" where units are Poisson sampled and the sample stays hidden. No
            amplification is granted without it.
        method: "pld" (default: tight), or "rdp" (not for "replace_one").
        interval: step of the discretised losses of "pld"; the result stays an upper bound, 1e-4 is accurate to about
            1e-5 over a thousand sampled rounds.

    Raises:
        ParameterError: a missing or impossible argument.
        LocalError: the extra `dp` is not installed.

    >>> accountant = Accountant(adjacency="add_or_remove", sampling="none")
    >>> accountant.compose(GaussianMechanism(2.0), 4)
    >>> round(accountant.epsilon(1e-5), 3)
    4.377
    """

    def __init__(
        self,
        *,
        adjacency: str | None = None,
        sampling: str | None = None,
        method: str = "pld",
        interval: float = 1e-4,
    ) -> None:
        if adjacency not in (ADD_OR_REMOVE, ZERO_OUT, REPLACE_ONE):
            raise ParameterError(
                f"adjacency is {adjacency!r}: say 'add_or_remove', 'zero_out' or 'replace_one'; epsilon means nothing "
                "without it"
            )
        if sampling not in (NONE, POISSON):
            raise ParameterError(
                f"sampling is {sampling!r}: say 'none' or 'poisson'; batches of a fixed size or a shuffled pass are no "
                "Poisson samples and amplify differently"
            )
        if method not in _METHODS:
            raise ParameterError(f"method is {method!r}: allowed are 'pld' and 'rdp'")
        if method == "rdp" and adjacency == REPLACE_ONE:
            raise ParameterError("method 'rdp' is wrong for adjacency 'replace_one' in dp-accounting: use 'pld'")
        self.adjacency = adjacency
        self.sampling = sampling
        self.method = method
        self._interval = real("interval", interval, 1e-7, 0.1)
        self._library = dp_accounting()
        relation = self._library.NeighboringRelation
        self._relation = {
            ADD_OR_REMOVE: relation.ADD_OR_REMOVE_ONE,
            ZERO_OUT: relation.REPLACE_SPECIAL,
            REPLACE_ONE: relation.REPLACE_ONE,
        }[adjacency]
        self._state: Any
        if method == "pld":
            from dp_accounting.pld import privacy_loss_distribution as pld

            self._state = pld.identity(self._interval)
        else:
            from dp_accounting.rdp import RdpAccountant

            # Removal and zero-out have the same curves for all mechanisms here.
            self._state = RdpAccountant(neighboring_relation=relation.ADD_OR_REMOVE_ONE)

    def compose(self, mechanism: Mechanism, count: int = 1) -> None:
        """Count `count` >= 1 independent uses of a mechanism.

        Raises:
            ParameterError: sampling that was not declared, or a mechanism that this method cannot account for.
        """
        integer("count", count, 1, 1 << 32)
        if isinstance(mechanism, PoissonSampled) and self.sampling != POISSON:
            raise ParameterError(
                "a Poisson-sampled mechanism under sampling='none': amplification is claimed only where the sampling is"
            )
        if self.method == "rdp":
            self._compose_rdp(mechanism, count)
        else:
            loss = self._loss(mechanism)
            self._state = self._state.compose(loss.self_compose(count) if count > 1 else loss)

    def _compose_rdp(self, mechanism: Mechanism, count: int) -> None:
        event = mechanism.event()
        if not self._state.supports(event):
            raise ParameterError(f"{_name(mechanism)} has no Rényi curve in dp-accounting: use method 'pld'")
        self._state.compose(event, count)

    def _loss(self, mechanism: Mechanism) -> Any:
        from dp_accounting.pld import privacy_loss_distribution as pld

        rate, inner = 1.0, mechanism
        if isinstance(mechanism, PoissonSampled):
            rate, inner = float(mechanism.rate), mechanism.mechanism
        doubled = self.adjacency == REPLACE_ONE
        if isinstance(inner, GaussianMechanism):
            return pld.from_gaussian_mechanism(
                float(inner.noise_multiplier),
                value_discretization_interval=self._interval,
                sampling_prob=rate,
                neighboring_relation=self._relation,
            )
        if doubled and rate < 1.0:
            raise ParameterError(
                f"the loss of a sampled {_name(inner)} under replacement is not known here: use 'add_or_remove', or "
                "account without amplification"
            )
        # Unsampled, replacement is a change of at most twice the size: the sum moves by -x + x'.
        if isinstance(inner, LaplaceMechanism):
            return pld.from_laplace_mechanism(
                float(inner.noise_multiplier),
                sensitivity=2.0 if doubled else 1.0,
                value_discretization_interval=self._interval,
                sampling_prob=rate,
            )
        if isinstance(inner, DiscreteLaplaceMechanism):
            return pld.from_discrete_laplace_mechanism(
                float(1 / inner.scale),
                sensitivity=inner.sensitivity * (2 if doubled else 1),
                value_discretization_interval=self._interval,
                use_connect_dots=True,
            )
        if isinstance(inner, DiscreteGaussianMechanism):
            return inner.loss(self._interval, doubled, rate)
        if isinstance(inner, ClippedGaussian):
            raise ParameterError(
                "the loss distribution of discrete Gaussian noise on vectors is not known: use method 'rdp', or curve()"
            )
        raise ParameterError(f"{_name(mechanism)} is no mechanism that this accountant knows")

    def epsilon(self, delta: float) -> float:
        """epsilon of everything composed so far at delta in (0, 1)."""
        probability("delta", delta)
        if self.method == "pld":
            return float(self._state.get_epsilon_for_delta(delta))
        return float(self._state.get_epsilon(delta))

    def delta(self, epsilon: float) -> float:
        """delta of everything composed so far at a finite epsilon >= 0."""
        real("epsilon", epsilon, 0.0, math.inf)
        if self.method == "pld":
            return float(self._state.get_delta_for_epsilon(epsilon))
        return float(self._state.get_delta(epsilon))


def _name(mechanism: object) -> str:
    return type(mechanism).__name__
