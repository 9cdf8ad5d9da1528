"""Hospitals that poison, and the rules that stand it, in plain integers: what the rules on shares are held against.

**Attacks.** With u the update that an honest hospital would send:

* `sign_flip`: -S u. Every entry points the wrong way.
* `label_flip`: the update that comes of training on flipped labels (class k becomes K - 1 - k). As long as any other.
* `scaling`: S times that, to replace the model by one that was trained on flipped labels.
* `mixed`: one poisoner does the first, the next one the second, and so on.

In the round of the statistics every poisoner sends -S times its own. All entries end at the range of the encoding: more
than its b bits cannot be said.

Sources: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020 (scaling);
Cao, Fang, Liu, Gong, "FLTrust", NDSS 2021, section 5 (label flipping).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privcomp.demo.data import uniform
from privcomp.errors import ParameterError
from privcomp.mpc.robust import (
    FLTrust,
    Krum,
    Mean,
    Median,
    MultiKrum,
    NormClip,
    NormFilter,
    Release,
    Rule,
    TrimmedMean,
)
from privcomp.mpc.robust.trust import LEAST_TRUST
from privcomp.typing import F64Array, I64Array

__all__ = ["ATTACKS", "STRENGTH", "Plain", "attack_of", "plain_rule", "poisoners", "quantise"]

ATTACKS: Final = ("mixed", "sign_flip", "scaling", "label_flip")
STRENGTH: Final = 50.0
"""S: how many times as long as an honest update a poisoner's is."""


def poisoners(clients: int, count: int, seed: int) -> tuple[int, ...]:
    """Which hospitals poison, increasing."""
    return tuple(sorted(int(i) for i in np.argsort(uniform(clients, "poisoners", seed), kind="stable")[:count]))


def attack_of(attack: str, place: int) -> str:
    """What the poisoner number `place` does.

    >>> [attack_of("mixed", place) for place in range(3)]
    ['sign_flip', 'scaling', 'label_flip']
    """
    return ATTACKS[1 + place % 3] if attack == "mixed" else attack


def quantise(values: F64Array, granularity: float, width: int) -> I64Array:
    """round(values / granularity), cut to |q| <= 2^(width-1) - 1, the numbers that a client can share."""
    limit = float((1 << (width - 1)) - 1)
    return np.clip(np.rint(values / granularity), -limit, limit).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Plain:
    """What a rule gives in the clear.

    Attributes:
        mean: float64 (d,), in units of the encoding; None where the rule's gate stays closed.
        error: |mean of the rule on shares - mean| is at most this in every entry; 0: they are equal.
    """

    mean: F64Array | None
    error: float


def _chosen(x: I64Array, rule: Krum | MultiKrum) -> NDArray[np.intp]:
    """Exact: distances stay below 2^63 by the rule's own bound."""
    n = x.shape[0]
    gram = x @ x.T
    norms = np.diagonal(gram)
    distances = np.sort(norms[:, None] + norms[None, :] - 2 * gram + np.diag(np.full(n, -1)), axis=1)
    # The least entry of each row is -1, its own; n - f - 2 others follow.
    scores = distances[:, 1 : n - rule.poisoners - 1].sum(axis=1)
    return np.argsort(scores, kind="stable")[: rule.accepted(n)]


def _trimmed(x: I64Array, trim: int) -> F64Array:
    n = x.shape[0]
    mean: F64Array = np.sort(x, axis=0)[trim : n - trim].sum(axis=0) / (n - 2 * trim)
    return mean


def _closed(weights: F64Array, release: Release) -> bool:
    return release.gated and bool(weights.sum() < release.threshold * weights.max())


def plain_rule(rule: Rule, x: I64Array, width: int, release: Release) -> Plain:
    """The rule on updates that lie open, its gate included.

    Args:
        rule: any of `privcomp.mpc.robust`.
        x: int64 (n, d), one update a row.
        width: b.
        release: whose threshold the gate holds.
    """
    n = x.shape[0]
    norms = np.sqrt(np.square(x.astype(np.float64)).sum(axis=1))
    if isinstance(rule, Mean):
        return Plain(x.sum(axis=0) / n, 0.0)
    if isinstance(rule, (Krum, MultiKrum)):
        chosen = _chosen(x, rule)
        return Plain(x[chosen].sum(axis=0) / chosen.size, 0.0)
    if isinstance(rule, TrimmedMean):
        return Plain(_trimmed(x, rule.trim), 0.0)
    if isinstance(rule, Median):
        return Plain(_trimmed(x, (n - 1) // 2), 0.0)
    if isinstance(rule, NormFilter):
        inside = np.square(x).sum(axis=1) <= rule.limit**2
        count = int(inside.sum())
        closed = count == 0 or (release.gated and count < release.threshold)
        return Plain(None if closed else x[inside].sum(axis=0) / count, 0.0)
    if isinstance(rule, NormClip):
        weights = np.minimum(1.0, rule.limit / np.maximum(norms, 1.0))
        mean = None if _closed(weights, release) else weights @ x / n
        return Plain(mean, rule.error(n, width) / n)
    if isinstance(rule, FLTrust):
        own = math.sqrt(float(np.square(rule.reference.astype(np.float64)).sum()))
        safe = np.maximum(norms, 1.0)
        trust = np.maximum(0.0, x @ rule.reference / (safe * own))
        total = float(trust.sum())
        if total < LEAST_TRUST or _closed(trust, release):
            return Plain(None, 0.0)
        return Plain((trust * own / safe) @ x / total, rule.error(n, width, total))
    raise ParameterError(f"there is no plain twin of {rule.name}")
