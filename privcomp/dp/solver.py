"""Choosing granularity and noise: the plan for a target, and the solver of the published comparison."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from privcomp.dp.checks import integer, probability, real
from privcomp.dp.plan import (
    DDG,
    RECORD,
    REPLACE_ONE,
    SKELLAM,
    USER,
    VARIANCE_BITS,
    ZERO_OUT,
    DistributedPlan,
    max_variance_log2,
    record_bits_hold,
    why_no_add_or_remove,
    why_no_client_sampling,
)
from privcomp.dp.rdp import (
    RdpCurve,
    Sensitivity,
    ddg_curve,
    record_sensitivity,
    skellam_curve,
    user_l2_squared,
    user_sensitivity,
)
from privcomp.dp.tails import CUT_LOG2, noise_bound, wrap_holds
from privcomp.errors import ParameterError

__all__ = ["PrivacyWarning", "plan_distributed", "solve_reference"]

_MARGIN: Final = 2.0**-34  # the solver's reserve against another machine's exp and log; constructors use none
_SIGNIFICANT: Final = 12  # bits of a granularity
_VARIANCE_SIGNIFICANT: Final = 24
_RATIO_LOG2: Final = 40
_RECORD_BITS: Final = range(10, 31)


class PrivacyWarning(UserWarning):
    """A plan that holds what it states, but states less than a careful reader expects."""


@dataclass(frozen=True)
class _Wish:
    """What is asked for, before granularity and noise are chosen."""

    mechanism: str
    adjacency: str
    unit: str
    clip: float
    padded: int
    clients: int
    h: int
    bits: int
    rounds: int
    epsilon: float
    delta: float
    beta_log: float | None
    wrap_exponent: int
    proof_bits: int
    records_max: int
    record_rate: float

    def curve(self, sensitivity: Sensitivity, variance: Fraction) -> RdpCurve:
        if self.mechanism == DDG:
            return ddg_curve(sensitivity, variance, self.h, self.padded)
        return skellam_curve(sensitivity, variance, self.h)

    def private(self, sensitivity: Sensitivity, units: int) -> bool:
        """Whether noise of this variance meets the target over all rounds."""
        try:
            curve = self.curve(sensitivity, Fraction(units, 1 << VARIANCE_BITS)).sampled(self.record_rate)
            spent = curve.times(self.rounds).epsilon(self.delta)
        except ParameterError:  # the bound is beyond float64
            return False
        return spent <= self.epsilon * (1.0 - _MARGIN)

    def variance_units(self, ratio: Fraction) -> int | None:
        """The least s^2 that meets the target at clip / granularity = ratio, or None where s would be out of range."""
        if self.unit == RECORD:
            sensitivity = record_sensitivity(ratio, self.padded)
        else:
            sensitivity = user_sensitivity(ratio, self.padded, self.beta_log)
        if self.adjacency == REPLACE_ONE:
            sensitivity = sensitivity.doubled()
        half = 1 << (_VARIANCE_SIGNIFICANT - 1)

        def units(index: int) -> int:
            # 1, 2 .. 2^24, then m 2^e with 2^23 <= m < 2^24
            return index if index < 2 * half else (half + index % half) << (index // half - 1)

        last = (max_variance_log2(self.proof_bits) + VARIANCE_BITS - _VARIANCE_SIGNIFICANT + 2) * half
        if last < half or not self.private(sensitivity, units(last)):
            return None
        return units(_least(lambda index: self.private(sensitivity, units(index)), 1, last))

    def fit(self, granularity: float) -> tuple[int, int] | None:
        """(variance_units, noise_bound) where everything fits the bits at this granularity, else None."""
        ratio = Fraction(self.clip) / Fraction(granularity)
        units = self.variance_units(ratio)
        if units is None:
            return None
        variance = units / 2.0**VARIANCE_BITS
        whole = ratio * max(1, self.records_max)
        if not self.proof_bits:
            holds = wrap_holds(
                self.mechanism,
                bits=self.bits,
                clients=self.clients,
                ratio=float(whole),
                variance=variance,
                padded=self.padded,
                wrap_exponent=self.wrap_exponent,
                margin=_MARGIN,
            )
            return (units, 0) if holds else None
        cut = noise_bound(self.mechanism, variance=variance, clients=self.clients, padded=self.padded, margin=_MARGIN)
        limit = (1 << (self.proof_bits - 1)) - 1
        signal = math.isqrt(math.floor(user_l2_squared(whole, self.padded, self.beta_log, up=False)))
        if cut > limit or self.clients * (min(limit, signal) + cut) >= 1 << (self.bits - 1):
            return None
        return units, cut


def plan_distributed(
    clip: float,
    dim: int,
    clients: int,
    min_survivors: int,
    colluders: int,
    bits: int,
    target: tuple[float, float],
    rounds: int,
    sampling: str | None = None,
    adjacency: str | None = None,
    mechanism: str = SKELLAM,
    unit: str = USER,
    records_max: int = 0,
    *,
    beta_log: float | None = 0.5,
    trials: int = 32,
    wrap_exponent: int = 40,
    proof_bits: int = 0,
    record_rate: float = 1.0,
) -> DistributedPlan:
    """The plan that meets a privacy target with the finest granularity that the bits allow.

    The granularity has 12 significant bits: the least one for which the noise that the target needs, and the signal,
    fit the modulus (see `privcomp.dp.tails`) and the range of noise. The variance of a share has 24: the least one that
    meets epsilon over all rounds. The same arguments give the same plan on every machine, but for the
    last digits of its libm.

    Args:
        clip: c > 0, L2 norm of one unit's contribution; what is longer is scaled down.
        dim: entries of an update.
        clients: n, the most clients in a round.
        min_survivors: least number of clients in an opened sum.
        colluders: clients whose noise the decoder may know; h = min_survivors - colluders must be at least 2.
        bits: B of the modulus 2^B.
        target: (epsilon, delta) over all rounds.
        rounds: how often the plan will be used, retries with fresh noise included.
        sampling: required; "none". Sampling of clients never amplifies a distributed plan.
        adjacency: required; "zero_out" or "replace_one".
        mechanism: "skellam" (closed under sums: the noise after dropout is known exactly) or "ddg".
        unit: "user", or "record" (one gradient step per round).
        records_max: most records of a client, for unit "record".
        beta_log: ln(1 / beta): rounding is repeated until the norm is one that is exceeded with probability <= beta;
            None: no repetition, a larger sensitivity. Ignored for unit "record".
        trials: most attempts of the rounding.
        wrap_exponent: a round's sum wraps with probability at most 2^-wrap_exponent (without proofs).
        proof_bits: bits per entry of the proofs, 0 for none.
        record_rate: each record takes part in a round with this probability (unit "record", "zero_out").

    Returns:
        A `DistributedPlan`. `PrivacyWarning` is issued for each of its `notes()`.

    Raises:
        ParameterError: a missing or impossible argument, or a target that the bits cannot hold.

    >>> plan = plan_distributed(1.0, 1000, 10, 8, 2, 20, (8.0, 1e-5), 10, sampling="none", adjacency="zero_out")
    >>> plan.h, plan.padded, 7.99 < plan.epsilon_after(10) <= 8.0
    (6, 1024, True)
    """
    wish = _checked(
        clip, dim, clients, min_survivors, colluders, bits, target, rounds, sampling, adjacency, mechanism, unit,
        records_max, beta_log, wrap_exponent, proof_bits, record_rate,
    )  # fmt: skip
    granularity, units, cut = _finest(wish)
    record_bits = 0
    if wish.unit == RECORD:
        ratio = Fraction(wish.clip) / Fraction(granularity)
        fine = [
            k
            for k in _RECORD_BITS
            if wish.padded * (wish.records_max * ratio * (1 << k)) ** 2 < 1 << 124
            and record_bits_hold(ratio, granularity, k)
        ]
        if not fine:
            raise ParameterError(
                f"sums of {wish.records_max} records over {wish.padded} entries could reach 2^62, or a record 2^48, "
                "even in steps of granularity / 2^10: lower records_max or bits"
            )
        record_bits = max(fine)
    plan = DistributedPlan(
        mechanism=wish.mechanism,
        adjacency=wish.adjacency,
        unit=wish.unit,
        clip=wish.clip,
        granularity=granularity,
        variance_units=units,
        entries=dim,
        clients=clients,
        min_survivors=min_survivors,
        colluders=colluders,
        modulus_bits=bits,
        rounds=rounds,
        epsilon=wish.epsilon,
        delta=target[1],
        beta_log=wish.beta_log,
        trials=trials,
        wrap_exponent=wrap_exponent,
        proof_bits=proof_bits,
        noise_bound=cut,
        records_max=records_max,
        record_bits=record_bits,
        record_rate=wish.record_rate,
    )
    for note in plan.notes():
        warnings.warn(note, PrivacyWarning, stacklevel=2)
    return plan


def _checked(
    clip: float,
    dim: int,
    clients: int,
    min_survivors: int,
    colluders: int,
    bits: int,
    target: tuple[float, float],
    rounds: int,
    sampling: str | None,
    adjacency: str | None,
    mechanism: str,
    unit: str,
    records_max: int,
    beta_log: float | None,
    wrap_exponent: int,
    proof_bits: int,
    record_rate: float,
) -> _Wish:
    if sampling is None:
        raise ParameterError("sampling is missing: say sampling='none'; " + why_no_client_sampling())
    if sampling != "none":
        raise ParameterError(f"sampling={sampling!r}: " + why_no_client_sampling())
    if adjacency is None:
        raise ParameterError("adjacency is missing: epsilon means nothing without it; say 'zero_out' or 'replace_one'")
    if adjacency == "add_or_remove":
        raise ParameterError(why_no_add_or_remove())
    if adjacency not in (ZERO_OUT, REPLACE_ONE):
        raise ParameterError(f"adjacency {adjacency!r}: allowed are 'zero_out' and 'replace_one'")
    if mechanism not in (SKELLAM, DDG):
        raise ParameterError(f"mechanism {mechanism!r}: allowed are 'skellam' and 'ddg'")
    if unit not in (USER, RECORD):
        raise ParameterError(f"unit {unit!r}: allowed are 'user' and 'record'")
    pair: object = target
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ParameterError("target must be the pair (epsilon, delta)")
    clip, epsilon, delta = real("clip", clip), real("epsilon", target[0]), real("delta", target[1])
    if not 2.0**-64 <= clip <= 2.0**64:
        raise ParameterError(f"clip is {clip!r}; it must be in 2^-64..2^64")
    if not 0.0 < epsilon <= 256.0:
        raise ParameterError(f"epsilon is {epsilon!r}; it must be in 0..256")
    if not 2.0**-64 <= delta < 1.0:
        raise ParameterError(f"delta is {delta!r}; it must be in 2^-64..1")
    integers = {"dim": (dim, 1 << 30), "clients": (clients, 1 << 20), "min_survivors": (min_survivors, 1 << 20)}
    integers |= {"rounds": (rounds, (1 << 32) - 1), "bits": (bits, 62), "wrap_exponent": (wrap_exponent, 256)}
    for name, (value, most) in integers.items():
        if type(value) is not int or not 1 <= value <= most:
            raise ParameterError(f"{name} is {value!r}; it must be an integer in 1..{most}")
    if type(colluders) is not int or colluders < 0 or min_survivors - colluders < 2:
        raise ParameterError(
            f"min_survivors = {min_survivors} with colluders = {colluders!r}: h = min_survivors - colluders must be at "
            "least 2, as the noise of colluders protects nobody"
        )
    if type(proof_bits) is not int or (proof_bits and not 2 <= proof_bits <= 24):
        raise ParameterError(f"proof_bits is {proof_bits!r}; it must be 0 (no proofs) or in 2..24")
    if type(records_max) is not int or (unit == RECORD) != (records_max >= 1):
        raise ParameterError(
            f"records_max is {records_max!r}: unit 'record' needs the most records of one client, unit 'user' none (0)"
        )
    record_rate = real("record_rate", record_rate)
    if not 0.0 < record_rate <= 1.0 or (record_rate < 1.0 and (unit != RECORD or adjacency != ZERO_OUT)):
        raise ParameterError(
            f"record_rate is {record_rate!r}: a rate below 1 is for unit 'record' with adjacency 'zero_out', 1.0 else"
        )
    if unit == RECORD:
        beta_log = None
    elif beta_log is not None:
        beta_log = real("beta_log", beta_log)
        if beta_log < 0.0:
            raise ParameterError(f"beta_log is {beta_log!r}; it is ln(1 / beta) >= 0")
    if proof_bits:
        delta -= rounds * (1.0 + math.exp(epsilon)) * 2.0**-CUT_LOG2 * (1.0 + 2.0**-32)
        if delta <= 0.0:
            raise ParameterError(
                f"cutting off the noise for proofs costs more than delta over {rounds} rounds at epsilon = {epsilon}: "
                "choose a smaller epsilon or a larger delta"
            )
    padded = 1 << (dim - 1).bit_length()
    return _Wish(
        mechanism, adjacency, unit, clip, padded, clients, min_survivors - colluders, bits, rounds, epsilon, delta,
        beta_log, wrap_exponent, proof_bits, records_max, record_rate,
    )  # fmt: skip


def _finest(wish: _Wish) -> tuple[float, int, int]:
    """The least granularity of `_SIGNIFICANT` bits at which everything fits, with its noise."""
    top = math.frexp(wish.clip)[1]

    def granularity(index: int) -> float:
        # m 2^e with 2^11 <= m < 2^12, counted upwards from 2^(top - 1 - 40)
        steps = 1 << (_SIGNIFICANT - 1)
        return math.ldexp(steps + index % steps, top - _RATIO_LOG2 - _SIGNIFICANT + index // steps)

    last = (_RATIO_LOG2 + 1) << (_SIGNIFICANT - 1)
    last = _least(lambda index: granularity(index + 1) > wish.clip, 0, last)  # the coarsest that is allowed
    first = _least(lambda index: granularity(index) * 2.0**_RATIO_LOG2 >= wish.clip, 0, last)
    if wish.fit(granularity(last)) is None:
        raise ParameterError(
            f"infeasible: {wish.bits} bits do not hold the sum of {wish.clients} clients with the noise that "
            f"epsilon = {wish.epsilon:.4g} needs, even at granularity = clip; use more bits, a larger epsilon, fewer "
            f"rounds{' or more proof bits' if wish.proof_bits else ''}"
        )
    best = granularity(_least(lambda index: wish.fit(granularity(index)) is not None, first, last))
    found = wish.fit(best)
    if found is None:
        raise ParameterError("infeasible: the search for a granularity found none")
    return best, *found


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least integer in low .. high with `holds`, which is monotone and holds at `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def solve_reference(
    mechanism: Literal["skellam", "ddg"],
    *,
    clip: float,
    clients: int,
    padded: int,
    bits: int,
    epsilon: float,
    delta: float,
    beta_log: float | None = 0.5,
    deviations: float = 4.0,
) -> tuple[float, float]:
    """Granularity and local noise of the published comparisons of distributed mean estimation, where h = n.

    It leaves a head-room of k standard deviations of the sum instead of a bound of the wrap probability:

        2^B gamma = 2 k sqrt(c^2 n^2 / d + (gamma^2 / 4 + sigma^2) n),     sigma the least that meets epsilon.

    For comparisons only: a plan comes from `plan_distributed`.

    Args:
        clip: c; clients: n = h; padded: d; bits: B; beta_log: ln(1 / beta); deviations: k.

    Returns:
        (gamma, sigma): granularity and standard deviation of one share, in the units of the clip.

    Raises:
        ParameterError: an argument outside its range, or the bits are infeasible.

    Source: Kairouz, Liu, Steinke 2021 and Agarwal, Kairouz, Liu 2021 (parameter selection in their experiments).
    """

    if mechanism not in (SKELLAM, DDG):
        raise ParameterError(f"mechanism {mechanism!r}: allowed are 'skellam' and 'ddg'")
    clip, epsilon = real("clip", clip, 2.0**-64, 2.0**64), real("epsilon", epsilon, 0.0, 256.0, above=True)
    delta, deviations = probability("delta", delta), real("deviations", deviations, 0.0, 64.0, above=True)
    for name, value, most in (("clients", clients, 1 << 20), ("padded", padded, 1 << 30), ("bits", bits, 62)):
        integer(name, value, 1, most)
    if beta_log is not None:
        beta_log = real("beta_log", beta_log, 0.0, 1e6)

    def private(sensitivity: Sensitivity, gamma: float, sigma: float) -> bool:
        variance = (Fraction(sigma) / Fraction(gamma)) ** 2
        try:
            if mechanism == DDG:
                curve = ddg_curve(sensitivity, variance, clients, padded)
            else:
                curve = skellam_curve(sensitivity, variance, clients)
        except ParameterError:
            return False
        return curve.epsilon(delta) <= epsilon

    def least_sigma(gamma: float) -> float:
        sensitivity = user_sensitivity(Fraction(clip) / Fraction(gamma), padded, beta_log)
        return _bisect(lambda sigma: private(sensitivity, gamma, sigma), 1e-4 * clip, 1e3 * clip)

    def fits(gamma: float) -> bool:
        sigma = least_sigma(gamma)
        spread = clip**2 * clients**2 / padded + (gamma**2 / 4.0 + sigma**2) * clients
        return 2.0 * deviations * math.sqrt(spread) <= 2.0**bits * gamma

    if not fits(clip):
        raise ParameterError(f"{bits} bits are infeasible for {clients} clients and epsilon = {epsilon}")
    gamma = _bisect(fits, clip * 2.0**-24, clip)
    return gamma, least_sigma(gamma)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least number in low .. high with `holds`, to a relative 2^-38, by bisection of the logarithm."""
    bottom, top = math.log(low), math.log(high)
    while top - bottom > 2.0**-38:
        middle = (bottom + top) / 2.0
        if not bottom < middle < top:
            break
        if holds(math.exp(middle)):
            top = middle
        else:
            bottom = middle
    return math.exp(top)
