"""Local differential privacy without secure aggregation: `ClientApp(mods=[LocalDpMod(1.0, epsilon=8.0, delta=1e-5)])`.

In place of Flower's mod of this name, for any server. What differs:

* The noise is exact: a discrete Gaussian on a public grid. Noise in floating point gives its input away, because which
  floats can be hit depends on it.
* The norm is certified: in real arithmetic the update that is noised is never longer than the clip. NaN and infinity
  are errors; the usual formula lets them through.
* The sensitivity is not an argument: it follows from the clip and the adjacency.
* Nothing else leaves the node: metrics, the number of examples and texts of exceptions stay.
* Where the node has a home (`privcomp keys node`), every release is charged to the budget in its journal first: to the
  one that the node's policy names (unit and adjacency), which rounds under a plan are charged to as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from logging import INFO, WARNING
from typing import Final

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.supercore import log

from privcomp.dp import ClippedGaussian, RdpCurve
from privcomp.dp.checks import probability, real
from privcomp.errors import EncodingError, ParameterError, PolicyError
from privcomp.integrations.flower.mod import (
    ClientAppCallable,
    answered,
    has_home,
    only,
    open_home,
    tell_stripped,
    trained,
)
from privcomp.policy import Policy
from privcomp.rounds import NodeBudget, Task
from privcomp.typing import F64Array

__all__ = ["LocalDpMod"]

_ADJACENCIES: Final = ("zero_out", "replace_one")
#: The noise multipliers that `ClippedGaussian` takes.
_LEAST, _MOST = 1e-3, 1e6
#: Steps of the grid in one standard deviation of the noise, as a power of two: what truncation takes from an entry is
#: then less than a millionth of its noise.
_STEPS_LOG2: Final = 20


class LocalDpMod:
    """Clip a node's update, add exact noise, and let nothing else of a reply out of the node.

        app = ClientApp(mods=[LocalDpMod(clipping_norm=1.0, epsilon=8.0, delta=1e-5)])

    The reply of TRAIN holds the arrays that were received plus the noised change, and the weight 1. EVALUATE and QUERY
    are refused, because their answers would be in clear: give the mod to training alone
    (`@app.train(mods=[...])`) if that is meant, and put it first. A refusal is an error reply that says why. How long
    an answer takes depends on training, clipping and noise, as it does without.

    Args:
        clipping_norm: c > 0: L2 norm to which the change of all parameters together is clipped.
        epsilon, delta: what one release satisfies. All releases together satisfy less: see `curve`, and the budget.
        adjacency: "replace_one" (any update in place of any other, which is local differential privacy) or "zero_out"
            (an update, or none: half the noise).
        kept: names of arrays that stay as the server sent them, with wildcards (integer counters of a BatchNorm).
        weight: name of the metric by which the strategy weighs (`weighted_by_key`); it is 1.
        rng: rng(n) -> n fresh secret bytes.

    Attributes:
        mechanism: clip, grid and noise.
        curve: Rényi curve of one release; of k releases, `curve.times(k)`, whose `epsilon(delta)` is the total.

    Raises:
        ParameterError: an argument outside its range, or a target that no noise of at most 1e6 clips meets.

    Source: Canonne, Kamath, Steinke, NeurIPS 2020 (arXiv 2004.00010), Theorem 14 and Proposition 12.
    """

    def __init__(
        self,
        clipping_norm: float,
        *,
        epsilon: float,
        delta: float,
        adjacency: str = "replace_one",
        kept: Sequence[str] = (),
        weight: str = "num-examples",
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if adjacency not in _ADJACENCIES:
            raise ParameterError(f"adjacency {adjacency!r}: allowed are 'zero_out' and 'replace_one'")
        clip = real("clipping_norm", clipping_norm, 2.0**-40, 2.0**40)
        target = real("epsilon", epsilon, 0.0, 256.0, above=True), probability("delta", delta)
        self.mechanism = _mechanism(clip, *target, adjacency == "replace_one")
        self.curve: RdpCurve = self.mechanism.curve(replace_one=adjacency == "replace_one")
        self._adjacency = adjacency
        self._delta = delta
        self._task = Task("update", kept=tuple(kept))
        self._weight = weight
        self._rng = rng

    def __repr__(self) -> str:
        return f"LocalDpMod({self.mechanism.clip:g}, {self._adjacency}, {self._guarantee(1)})"

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise in every entry of the update."""
        return self.mechanism.noise_multiplier * self.mechanism.clip

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Answer one message of Flower's."""
        return answered(message, lambda: self._answer(message, context, call_next))

    def _answer(self, message: Message, context: Context, call_next: ClientAppCallable) -> RecordDict:
        if message.metadata.message_type.partition(".")[0] != MessageType.TRAIN:
            raise PolicyError(
                f"a message of type {message.metadata.message_type!r}: this mod noises the updates of TRAIN, and the "
                "answer to any other message would be in clear. Give it to training alone "
                "(@app.train(mods=[LocalDpMod(...)])) if that is meant"
            )
        record = only(message.content.array_records, "ArrayRecord", "the message has")
        name = next(iter(message.content.array_records))
        received = {name: array.numpy() for name, array in record.items()}
        layout = self._task.layout(received)
        if layout is None:
            raise EncodingError("a message without arrays to train")
        self._budget(context, lambda budget, policy: budget.check_curve(*self._cost(policy)))
        reply = trained(message, context, call_next)
        new = {name: array.numpy() for name, array in only(reply.content.array_records, "ArrayRecord").items()}
        if new.keys() != received.keys():
            raise EncodingError("the app returned arrays of other names than it was sent")
        names = [name for name, _, _ in layout.arrays]
        before = layout.flatten({name: received[name] for name in names})
        with np.errstate(over="ignore", invalid="ignore"):
            change = layout.flatten({name: new[name] for name in names}) - before
        if not np.isfinite(change).all():  # before anything is charged for it
            raise EncodingError("NaN or infinity in the update; every entry must be finite")
        tell_stripped(reply.content, "a metric of one node would be in clear")
        released = self._released(context, change)
        # From here on everything is a function of what the server sent and of what was released.
        arrays = {**received, **layout.unflatten(before + released)}
        return RecordDict(
            {
                name: ArrayRecord({key: Array(arrays[key]) for key in received}),
                "metrics": MetricRecord({self._weight: 1}),
            }
        )

    def _released(self, context: Context, change: F64Array) -> F64Array:
        """The clipped change with noise, charged before the noise exists; multiples of the granularity."""
        spent: list[float] = []

        def charge(budget: NodeBudget, policy: Policy) -> None:
            curve, unit, adjacency = self._cost(policy)
            budget.charge_curve(curve, unit, adjacency)
            spent.append(budget.of(unit, adjacency).spent_epsilon())

        self._budget(context, charge)
        if not spent:
            log(WARNING, "privcomp: this node has no home, so nobody counts its releases together")
        log(
            INFO,
            "privcomp: update clipped to norm %.4g, noise of standard deviation %.4g added: %s%s",
            self.mechanism.clip,
            self.noise_std,
            self._guarantee(1),
            f"; spent by this node: epsilon = {spent[0]:.4f}" if spent else "",
        )
        return self.mechanism.release_var(change, self._rng)

    def _guarantee(self, releases: int) -> str:
        epsilon = self.curve.times(releases).epsilon(self._delta)
        return f"epsilon = {epsilon:.4f} at delta = {self._delta:g} for {releases} release(s)"

    def _cost(self, policy: Policy) -> tuple[RdpCurve, str, str]:
        """One release as the policy counts: (curve, unit, adjacency).

        Whatever the mod's own adjacency is, the released update is clipped, so that zero in its place moves it by the
        clip at most, and any other update by twice that. One record of many moves it no farther than that either.
        """
        unit, adjacency = policy.privacy_unit, policy.privacy_adjacency
        replaced = (unit, adjacency) != ("user", "zero_out")
        return self.mechanism.curve(replace_one=replaced), unit, adjacency

    @staticmethod
    def _budget(context: Context, use: Callable[[NodeBudget, Policy], None]) -> None:
        """Use the budget in the node's journal, if it has one."""
        if has_home(context):
            with open_home(context) as (home, _):
                use(NodeBudget(home.policy, home.journal), home.policy)


def _mechanism(clip: float, epsilon: float, delta: float, replace_one: bool) -> ClippedGaussian:
    """The least noise (to 1 part in 2^40) that meets the target, on a grid of 2^20 steps or more per sigma."""

    def of(multiplier: float) -> ClippedGaussian:
        # sigma lies in [2^(e-1), 2^e), so it has 2^20 to 2^21 steps; as multiplier <= 1e6, a step is at most the clip.
        exponent = math.frexp(multiplier * clip)[1]
        return ClippedGaussian(clip, math.ldexp(1.0, exponent - 1 - _STEPS_LOG2), multiplier)

    def enough(multiplier: float) -> bool:
        return of(multiplier).curve(replace_one=replace_one).epsilon(delta) <= epsilon

    if not enough(_MOST):
        raise ParameterError(f"epsilon = {epsilon:g} at delta = {delta:g} needs noise of more than a million clips")
    low, high = math.log(_LEAST), math.log(_MOST)
    for _ in range(48):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(math.exp(middle)) else (middle, high)
    return of(min(math.exp(high), _MOST))
