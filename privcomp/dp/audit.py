"""Auditing in one run: canaries are included by coins, an attacker guesses the coins, too many right guesses refute.

Under (epsilon, delta)-DP, the number of right guesses among r (on m independent coins, the others abstained from) is
stochastically at most Binomial(r, e^eps / (1 + e^eps)), up to delta:

    P[right >= v] <= beta + 2 m delta alpha,
    beta = P[Binomial >= v],  alpha = max_{1 <= i <= v} P[v - i <= Binomial < v] / i.

The lower bound of epsilon at confidence 1 - p is the largest epsilon that makes the right-hand side at most p.

Source: Steinke, Nasr, Jagielski, NeurIPS 2023 (arXiv 2305.08846), Theorem 5.2 and Appendix D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from privcomp.dp.checks import integer, probability, real
from privcomp.errors import ParameterError
from privcomp.typing import BoolArray, F64Array

__all__ = ["OneRunAudit"]

_MAX_CANARIES = 1 << 26
_MAX_EPSILON = 64.0


@dataclass(frozen=True, slots=True)
class OneRunAudit:
    """The outcome of one audited run.

    Args:
        canaries: m, independent fair coins, each for one canary.
        guesses: r, how many coins were guessed.
        right: v, how many of the guesses were right.

    Raises:
        ParameterError: numbers that contradict each other.

    >>> OneRunAudit(canaries=1000, guesses=100, right=100).lower_bound(delta=0.0) > 3
    True
    >>> OneRunAudit(canaries=1000, guesses=100, right=50).lower_bound(delta=0.0)
    0.0
    """

    canaries: int
    guesses: int
    right: int

    def __post_init__(self) -> None:
        integer("canaries", self.canaries, 1, _MAX_CANARIES)
        integer("guesses", self.guesses, 1, self.canaries)
        integer("right", self.right, 0, self.guesses)

    @classmethod
    def of(cls, scores: F64Array, included: BoolArray, guesses: int) -> OneRunAudit:
        """Guess by scores: the guesses / 2 largest are taken for included, as many of the smallest for left out.

        Args:
            scores: float64 (m,), larger where a canary looks included. Computed without the coins.
            included: bool (m,), the coins.
            guesses: r, even, 2..m.
        """
        given: tuple[object, object] = scores, included
        if (
            not all(isinstance(each, np.ndarray) for each in given)
            or scores.shape != included.shape
            or scores.ndim != 1
            or scores.dtype.kind not in "fiu"
            or included.dtype != np.bool_
        ):
            raise ParameterError("scores and included must be of one shape (m,), floats and bools")
        if not np.isfinite(scores).all():
            raise ParameterError("the scores contain NaN or infinity")
        half = integer("guesses", guesses, 2, scores.size) // 2
        if guesses % 2:
            raise ParameterError(f"{guesses} guesses: an even number is needed, half of them on each side")
        order = np.argsort(scores, kind="stable")
        right = int(included[order[-half:]].sum()) + int((~included[order[:half]]).sum())
        return cls(scores.size, guesses, right)

    def p_value(self, epsilon: float, delta: float) -> float:
        """The most probable that so many right guesses are under (epsilon, delta)-DP; at most 1."""
        epsilon = real("epsilon", epsilon, 0.0, _MAX_EPSILON)
        delta = real("delta", delta, 0.0, 1.0)
        if self.right == 0:
            return 1.0
        mass = _binomial(self.guesses, epsilon)
        beta = math.fsum(mass[self.right :])
        below = np.cumsum(mass[self.right - 1 :: -1])  # P[v - i <= Binomial < v] for i = 1 .. v
        alpha = float((below / np.arange(1, self.right + 1)).max())
        return min(1.0, beta + 2.0 * self.canaries * delta * alpha)

    def lower_bound(self, delta: float, confidence: float = 0.95) -> float:
        """epsilon is at least this with the given confidence, whatever the mechanism claims; 0 where nothing is shown.

        Args:
            delta: of the claim that is audited, 0..1.
            confidence: 0..1.
        """
        p = 1.0 - probability("confidence", confidence)
        if self.p_value(0.0, delta) > p:
            return 0.0
        low, high = 0.0, _MAX_EPSILON
        if self.p_value(high, delta) <= p:
            return high
        for _ in range(40):
            middle = (low + high) / 2.0
            low, high = (middle, high) if self.p_value(middle, delta) <= p else (low, middle)
        return low

    def refutes(self, epsilon: float, delta: float, confidence: float = 0.95) -> bool:
        """Whether this run contradicts a claim of (epsilon, delta)-DP at the given confidence."""
        return self.p_value(epsilon, delta) <= 1.0 - probability("confidence", confidence)


def _binomial(trials: int, epsilon: float) -> F64Array:
    """The probabilities of Binomial(trials, e^eps / (1 + e^eps)) at 0 .. trials."""
    k = np.arange(1, trials + 1, dtype=np.float64)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((trials + 1 - k) / k))])
    log_right = -math.log1p(math.exp(-epsilon))
    log_wrong = -epsilon + log_right
    counts = np.arange(trials + 1, dtype=np.float64)
    mass: F64Array = np.exp(log_choose + counts * log_right + (trials - counts) * log_wrong)
    return mass
