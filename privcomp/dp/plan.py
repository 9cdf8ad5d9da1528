"""A distributed plan: how clients encode, clip, round and noise their updates, and what that costs in privacy.

A plan is announced by a server and checked by every client: it is a message with the numbers that were chosen, and its
constructor recomputes every formula from them (privacy over all rounds, room in the modulus, cut of the noise). A plan
that exists holds what it states.

The way of an update of `entries` floats (unit "user"): pad with zeros to d = 2^k, random signs and Hadamard / sqrt(d),
clip to the norm c, divide by the granularity gamma, clamp to +-beta_q, round stochastically (at most `trials` times,
then towards zero) so that ||q||^2 <= floor(D2^2) holds exactly; beside it a noise share z of variance s^2 per entry.
q + z is masked mod 2^B and summed. The decoder unwraps, multiplies by gamma / sqrt(d), and rotates back.

For records (unit "record") every record is clipped to c, truncated to multiples of gamma / 2^k and summed exactly; the
integer sum is rotated and divided by G = ceil(2^k sqrt(d)) with random rounding.

What counts is h = min_survivors - colluders: the noise that nobody but honest survivors knows. Clients must refuse to
unmask below min_survivors; the decoder is the adversary.

Sources: as in `privcomp.dp.rdp`; ranges and the wrap condition in `privcomp.dp.tails`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from privcomp._core import encode_l2_var, flip_signs, floor_div_random, hadamard_i64, sum_records_var, unrotate
from privcomp.codec import F64, U8, U16, U32, U64, Codec, Message, Opt, Text
from privcomp.dp.checks import fresh, integer, real
from privcomp.dp.rdp import (
    RdpCurve,
    Sensitivity,
    ddg_curve,
    ddg_tau,
    record_sensitivity,
    skellam_curve,
    user_l2_squared,
    user_sensitivity,
)
from privcomp.dp.tails import CUT_LOG2, noise_cut_holds, wrap_holds
from privcomp.errors import EncodingError, ParameterError, RemoteError
from privcomp.samplers import DiscreteGaussian, Skellam
from privcomp.typing import BoolArray, F64Array, I64Array

__all__ = ["DDG", "RECORD", "REPLACE_ONE", "SKELLAM", "USER", "ZERO_OUT", "DistributedPlan", "Encoded", "PrivateMean"]

SKELLAM: Final = "skellam"
DDG: Final = "ddg"
ZERO_OUT: Final = "zero_out"
REPLACE_ONE: Final = "replace_one"
USER: Final = "user"
RECORD: Final = "record"

VARIANCE_BITS: Final = 32  # variances are multiples of 2^-32
MAX_VARIANCE_LOG2: Final = 26
ROTATION_BYTES: Final = 32
_MAX_PADDED_LOG2: Final = 30
_MAX_CLIENTS: Final = 1 << 20
_MIN_RECORD_BITS: Final = 10
_MAX_RECORD_BITS: Final = 40
_MAX_RECORD_STEPS: Final = 1 << 48  # of a record's norm, in steps of gamma / 2^k: what the core sums
_MIN_RECORD_STEP: Final = 2.0**-100  # gamma / 2^k: the least unit that the core takes
_MAX_RECORDS: Final = 1 << 32
_MIN_BITS: Final = 8
_MAX_BITS: Final = 62
_MAX_PROOF_BITS: Final = 24
_MAX_EPSILON: Final = 256.0
_MAX_SCALE: Final = 2.0**64  # of clip and granularity: their powers of two and d stay far inside float64
_MAX_RATIO: Final = 1 << 40
_REDRAWS: Final = 16


def why_no_client_sampling() -> str:
    """Why a distributed plan takes sampling="none" only."""
    return (
        "sampling of clients does not amplify a distributed plan: an absent client's noise is absent too, and "
        "everybody learns who took part; plan with sampling='none' (every round counts in full)"
    )


def why_no_add_or_remove() -> str:
    """Why a distributed plan refuses adjacency by adding or removing a client."""
    return (
        "add-or-remove is false for a distributed plan: a client that is removed takes its noise share along, and the "
        "two sums differ in more than the signal; use 'zero_out' (the client stays and sends noise only) or "
        "'replace_one'"
    )


@dataclass(frozen=True, slots=True, repr=False)
class Encoded:
    """One client's update, encoded: signal + noise is what is masked, each of them is what a proof speaks of.

    Attributes:
        signal: q, int64 of shape (padded,).
        noise: z, int64 of shape (padded,).
    """

    signal: I64Array
    noise: I64Array

    def total(self) -> I64Array:
        """q + z, int64 of shape (padded,)."""
        return self.signal + self.noise

    def __repr__(self) -> str:
        return f"Encoded({self.signal.size} entries, redacted)"


@dataclass(frozen=True, slots=True)
class PrivateMean:
    """What the noised sum says.

    Attributes:
        mean: float64 of shape (entries,): the sum divided by `divisor`.
        divisor: public: the number of survivors (user), or what the caller named (record).
        noise_std: standard deviation of the noise in an entry of the mean.
        error_std: the same with the rounding of the survivors, at most 1/4 granularity^2 each.
        survivors: clients in the sum.
    """

    mean: F64Array
    divisor: float
    noise_std: float
    error_std: float
    survivors: int

    # What a reader of `encoding.Decoded` asks for: every client counts once, and what was clipped is not released.

    @property
    def total_weight(self) -> int:
        """The number of survivors: every weight is 1."""
        return self.survivors

    @property
    def clipped(self) -> int:
        """0, a lower bound: how much was clipped is not released."""
        return 0

    @property
    def clipped_exact(self) -> bool:
        """False: see `clipped`."""
        return False

    @property
    def quantisation_bound(self) -> float:
        """Infinite: noise has no bound; see `error_std`."""
        return math.inf


@dataclass(frozen=True)
class DistributedPlan(Message):
    """A plan for noise that the clients add themselves. Make one with `plan_distributed`.

    Args:
        mechanism: "skellam" or "ddg" (distributed discrete Gaussian).
        adjacency: "zero_out" or "replace_one", of one unit.
        unit: "user" (a client) or "record" (one gradient step per round; each record's gradient is clipped).
        clip: c, L2 norm of one unit's contribution.
        granularity: gamma, the value of one integer step; at most c.
        variance_units: s^2 of one noise share in integer units, as a multiple of 2^-32; s <= 2^13.
        entries: length of an update, without padding.
        clients: n, the most clients whose vectors may be summed.
        min_survivors: least number of clients in a sum that is opened.
        colluders: clients whose noise shares the decoder may know.
        modulus_bits: B, sums are taken mod 2^B; 8..62.
        rounds: how often the plan may be used.
        epsilon, delta: what all rounds together satisfy.
        beta_log: ln(1 / beta) of the conditional rounding (user), or None for beta = 0: the bound that always holds.
        trials: attempts of the stochastic rounding before it rounds towards zero; 1..255.
        wrap_exponent: without proofs, an entry of the sum of a round wraps with probability at most 2^-wrap_exponent.
        proof_bits: width of an entry in the proof of the signal (entries in +-(2^(b-1) - 1)); 0: no proofs.
        noise_bound: B_z, the noise of a share is conditioned on |z_j| <= B_z; 0: no proofs.
        records_max: most records of one client (record), else 0.
        record_bits: k, records are summed in multiples of gamma / 2^k (record), else 0.
        record_rate: every record takes part in a round with this probability, drawn inside the client (record), else 1.

    Raises:
        ParameterError: values outside their ranges, or formulas that do not hold for them.
    """

    TAG: ClassVar[int] = 0x0501
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("mechanism", Text(16)),
        ("adjacency", Text(16)),
        ("unit", Text(16)),
        ("clip", F64),
        ("granularity", F64),
        ("variance_units", U64),
        ("entries", U64),
        ("clients", U32),
        ("min_survivors", U32),
        ("colluders", U32),
        ("modulus_bits", U8),
        ("rounds", U32),
        ("epsilon", F64),
        ("delta", F64),
        ("beta_log", Opt(F64)),
        ("trials", U8),
        ("wrap_exponent", U16),
        ("proof_bits", U8),
        ("noise_bound", U64),
        ("records_max", U64),
        ("record_bits", U8),
        ("record_rate", F64),
    )
    mechanism: str
    adjacency: str
    unit: str
    clip: float
    granularity: float
    variance_units: int
    entries: int
    clients: int
    min_survivors: int
    colluders: int
    modulus_bits: int
    rounds: int
    epsilon: float
    delta: float
    beta_log: float | None
    trials: int
    wrap_exponent: int
    proof_bits: int
    noise_bound: int
    records_max: int
    record_bits: int
    record_rate: float

    def __post_init__(self) -> None:
        self.to_bytes()  # types and sizes
        self._check_ranges()
        self._check_records()
        self._check_noise()
        self._check_room()
        self._check_privacy()

    # ---- what the constructor checks

    def _check_ranges(self) -> None:
        _require(self.mechanism in (SKELLAM, DDG), f"mechanism {self.mechanism!r}: allowed are 'skellam' and 'ddg'")
        if self.adjacency == "add_or_remove":
            raise ParameterError(why_no_add_or_remove())
        _require(
            self.adjacency in (ZERO_OUT, REPLACE_ONE),
            f"adjacency {self.adjacency!r}: allowed are 'zero_out' and 'replace_one'",
        )
        _require(self.unit in (USER, RECORD), f"unit {self.unit!r}: allowed are 'user' and 'record'")
        for name in ("clip", "granularity"):
            value = getattr(self, name)
            _require(1.0 / _MAX_SCALE <= value <= _MAX_SCALE, f"{name} is {value!r}: it must be in 2^-64..2^64")
        _require(
            1 <= self.ratio <= _MAX_RATIO,
            f"granularity {self.granularity:.6g} with clip {self.clip:.6g}: allowed is clip / 2^40 .. clip",
        )
        _require(
            1 <= self.entries <= 1 << _MAX_PADDED_LOG2, f"{self.entries} entries: allowed are 1..2^{_MAX_PADDED_LOG2}"
        )
        _require(2 <= self.clients <= _MAX_CLIENTS, f"{self.clients} clients: allowed are 2..2^20")
        _require(
            self.min_survivors <= self.clients,
            f"min_survivors is {self.min_survivors}, but there are only {self.clients} clients",
        )
        _require(
            self.h >= 2,
            f"min_survivors - colluders is {self.h}: at least 2 honest noise shares are needed in every sum that is "
            "opened; raise min_survivors",
        )
        _require(_MIN_BITS <= self.modulus_bits <= _MAX_BITS, f"{self.modulus_bits} modulus bits: allowed are 8..62")
        _require(self.rounds >= 1, "a plan for no round: rounds must be at least 1")
        _require(0.0 < self.epsilon <= _MAX_EPSILON, f"epsilon is {self.epsilon!r}: allowed is 0 < epsilon <= 256")
        _require(2.0**-64 <= self.delta < 1.0, f"delta is {self.delta!r}: allowed is 2^-64 <= delta < 1")
        _require(self.trials >= 1, "trials is 0: at least one attempt of stochastic rounding is needed")
        _require(
            self.beta_log is None or 0.0 <= self.beta_log <= 1e6,
            f"beta_log is {self.beta_log!r}: allowed is 0..1e6, or None for beta = 0",
        )
        _require(1 <= self.wrap_exponent <= 256, f"wrap_exponent is {self.wrap_exponent}: allowed is 1..256")

    def _check_records(self) -> None:
        if self.unit == USER:
            _require(
                self.records_max == 0 and self.record_bits == 0 and self.record_rate == 1.0,
                "records_max, record_bits and record_rate belong to unit 'record' (0, 0 and 1.0 otherwise)",
            )
            return
        _require(
            1 <= self.records_max <= _MAX_RECORDS,
            f"records_max is {self.records_max}: unit 'record' needs the most records of one client, 1..2^32",
        )
        _require(
            _MIN_RECORD_BITS <= self.record_bits <= _MAX_RECORD_BITS,
            f"record_bits is {self.record_bits}: allowed are {_MIN_RECORD_BITS}..{_MAX_RECORD_BITS}",
        )
        # |v_j| <= sqrt(d) ||sum of records|| < 2^62, compared as squares
        _require(
            self.padded * (self.records_max * self.ratio * (1 << self.record_bits)) ** 2 < 1 << 124,
            f"sums of {self.records_max} records could reach 2^62: sqrt(d) records_max 2^k c / gamma must stay below; "
            "lower record_bits or records_max, or raise the granularity",
        )
        _require(
            record_bits_hold(self.ratio, self.granularity, self.record_bits),
            f"record_bits is {self.record_bits}: a record's norm must be at most 2^48 steps of granularity / 2^k, and "
            "a step at least 2^-100; lower record_bits",
        )
        _require(self.beta_log is None, "beta_log belongs to unit 'user': records are rounded without retries")
        _require(0.0 < self.record_rate <= 1.0, f"record_rate is {self.record_rate!r}: allowed is 0 < rate <= 1")
        _require(
            self.record_rate == 1.0 or self.adjacency == ZERO_OUT,
            "record_rate below 1 amplifies adjacency 'zero_out' only; use it, or record_rate = 1.0",
        )

    def _check_noise(self) -> None:
        limit = max_variance_log2(self.proof_bits)
        _require(self.variance_units >= 1, "the variance of a noise share is 0: nothing would be private")
        _require(
            self.variance <= Fraction(2) ** limit,
            f"one share's noise has s = {self.s:.6g}: allowed is at most 2^{limit / 2:g}; a finer granularity "
            "buys nothing, raise it",
        )
        if self.proof_bits == 0:
            _require(self.noise_bound == 0, "noise_bound without proof_bits: noise is cut off for proofs only")
            return
        _require(
            2 <= self.proof_bits <= _MAX_PROOF_BITS, f"{self.proof_bits} proof bits: allowed are 2..{_MAX_PROOF_BITS}"
        )
        _require(
            1 <= self.noise_bound < 1 << (self.proof_bits - 1),
            f"noise_bound is {self.noise_bound}: a proof over {self.proof_bits} bits allows 1..2^(bits-1) - 1",
        )
        _require(
            noise_cut_holds(
                self.mechanism,
                bound=self.noise_bound,
                variance=float(self.variance),
                clients=self.clients,
                padded=self.padded,
            ),
            f"noise_bound {self.noise_bound} cuts off noise of s = {self.s:.6g} more often than 2^-{CUT_LOG2} per "
            "round: raise it",
        )

    def _check_room(self) -> None:
        if self.proof_bits:
            reach = self.clients * (self.signal_bound + self.noise_bound)
            _require(
                reach < 1 << (self.modulus_bits - 1),
                f"{self.modulus_bits} bits are infeasible: {self.clients} proven vectors reach {reach}, which must be "
                f"below 2^{self.modulus_bits - 1}; use more bits or a larger granularity",
            )
            return
        _require(
            self._fits(self.wrap_exponent),
            f"{self.modulus_bits} bits are infeasible: the sum of {self.clients} clients wraps with a probability "
            f"above 2^-{self.wrap_exponent}; use more bits or a larger granularity",
        )

    def _fits(self, wrap_exponent: float) -> bool:
        return wrap_holds(
            self.mechanism,
            bits=self.modulus_bits,
            clients=self.clients,
            ratio=float(self.client_ratio),
            variance=float(self.variance),
            padded=self.padded,
            wrap_exponent=wrap_exponent,
        )

    def _check_privacy(self) -> None:
        _require(
            self.cut_delta(self.rounds) < self.delta,
            f"the cut of the noise costs delta {self.cut_delta(self.rounds):.3g} over {self.rounds} rounds, more than "
            f"delta = {self.delta:.3g}: choose a smaller epsilon or a larger delta",
        )
        spent = self.epsilon_after(self.rounds)
        _require(
            spent <= self.epsilon,
            f"{self.rounds} rounds cost epsilon = {spent:.6g} at delta = {self.delta:.3g}, above the stated "
            f"{self.epsilon:.6g}: more noise is needed",
        )

    # ---- sizes and integer units

    @cached_property
    def padded(self) -> int:
        """d, the least power of two >= entries: length of what is masked."""
        return 1 << (self.entries - 1).bit_length()

    @property
    def length(self) -> int:
        """Length of the masked vector: d."""
        return self.padded

    @property
    def max_weight(self) -> int:
        """1: a weight that depends on the data would be an unnoised release."""
        return 1

    @property
    def clip_limit(self) -> float:
        """The clip, which no entry is beyond."""
        return self.clip

    @property
    def h(self) -> int:
        """Honest noise shares in every sum that is opened: min_survivors - colluders."""
        return self.min_survivors - self.colluders

    @cached_property
    def ratio(self) -> Fraction:
        """rho = clip / granularity, exactly: the norm of one unit in integer units."""
        return Fraction(self.clip) / Fraction(self.granularity)

    @property
    def client_ratio(self) -> Fraction:
        """The norm of one client's part in integer units: rho, or records_max * rho."""
        return self.ratio * self.records_max if self.unit == RECORD else self.ratio

    @property
    def variance(self) -> Fraction:
        """s^2, the variance of one noise share in integer units, exactly."""
        return Fraction(self.variance_units, 1 << VARIANCE_BITS)

    @property
    def s(self) -> float:
        """Standard deviation of one noise share in integer units."""
        return math.sqrt(self.variance)

    @property
    def sigma_local(self) -> float:
        """Standard deviation of one noise share in the units of the update: s * granularity."""
        return self.s * self.granularity

    # ---- sensitivity

    @cached_property
    def _zero_out(self) -> Sensitivity:
        if self.unit == RECORD:
            return record_sensitivity(self.ratio, self.padded)
        return user_sensitivity(self.ratio, self.padded, self.beta_log)

    @property
    def sensitivity(self) -> Sensitivity:
        """D1 and D2^2 under the plan's adjacency (doubled for replacement), rounded upwards."""
        return self._zero_out.doubled() if self.adjacency == REPLACE_ONE else self._zero_out

    @property
    def d1(self) -> float:
        """D1 under the plan's adjacency, in integer units."""
        return self.sensitivity.l1

    @property
    def d2(self) -> float:
        """D2 under the plan's adjacency, in integer units."""
        return math.sqrt(self.sensitivity.l2_squared)

    @cached_property
    def d2_squared(self) -> int:
        """The bound of ||q||^2 that every encoded signal keeps exactly: gate, and statement of the norm proof.

        user: floor(D2^2) of zero-out. record: floor((records_max * rho + sqrt(d))^2), which any sum of records keeps.
        """
        return math.floor(user_l2_squared(self.client_ratio, self.padded, self.beta_log, up=False))

    @property
    def signal_bound(self) -> int:
        """beta_q: every |q_j| of an honest client is at most this."""
        least = math.isqrt(self.d2_squared)
        return min(least, (1 << (self.proof_bits - 1)) - 1) if self.proof_bits else least

    @property
    def divisor(self) -> int:
        """G = ceil(2^k sqrt(d)), by which the rotated sum of records is divided; 0 for unit "user"."""
        if self.unit == USER:
            return 0
        return math.isqrt((self.padded << (2 * self.record_bits)) - 1) + 1

    # ---- privacy

    @cached_property
    def rdp_round(self) -> RdpCurve:
        """The Rényi curve of one round."""
        if self.mechanism == DDG:
            curve = ddg_curve(self.sensitivity, self.variance, self.h, self.padded)
        else:
            curve = skellam_curve(self.sensitivity, self.variance, self.h)
        return curve.sampled(self.record_rate)

    def cut_delta(self, rounds: int) -> float:
        """What is added to delta over `rounds` rounds because noise is conditioned on its bound.

        The conditioned release is within 2^-60 of the other one in total variation, which turns (epsilon, delta) into
        (epsilon, delta + (1 + e^epsilon) 2^-60); epsilon is the total that the plan states.
        """
        if not self.noise_bound:
            return 0.0
        return rounds * (1.0 + math.exp(self.epsilon)) * 2.0**-CUT_LOG2 * (1.0 + 2.0**-40)

    def epsilon_after(self, rounds: int) -> float:
        """epsilon at the plan's delta after `rounds` rounds, 1..rounds of the plan.

        Raises:
            ParameterError: more rounds than planned.
        """
        integer("rounds (of this plan)", rounds, 0, self.rounds)
        return self.rdp_round.times(rounds).epsilon(self.delta - self.cut_delta(rounds)) if rounds else 0.0

    @cached_property
    def wrap_probability(self) -> float:
        """An upper bound of the probability that any entry of a round's sum wraps; 0 with proofs (a hard bound)."""
        if self.proof_bits:
            return 0.0
        low, high = float(self.wrap_exponent), 4096.0
        for _ in range(40):
            middle = (low + high) / 2.0
            low, high = (middle, high) if self._fits(middle) else (low, middle)
        return math.ldexp(1.0, -math.floor(low)) if low < 1074.0 else 0.0

    def expected_mse(self, survivors: int | None = None) -> float:
        """The closed-form mean squared error of an entry of the mean: gamma^2 (s^2 + 1/6) / survivors.

        1/6 is the mean of f (1 - f) for a uniform fraction f: the variance of stochastic rounding.
        """
        count = self.clients if survivors is None else survivors
        return self.granularity**2 * (float(self.variance) + 1.0 / 6.0) / count

    def notes(self) -> tuple[str, ...]:
        """What a careful reader of the plan should know; `plan_distributed` warns of each."""
        found = []
        units = self.clients * max(1, self.records_max)
        if self.delta >= 1.0 / units:
            found.append(
                f"delta = {self.delta:.3g} is not below 1 / {units}: publishing one {self.unit}'s data outright would "
                "satisfy it; choose a smaller delta"
            )
        if self.mechanism == DDG and self.variance < 4:
            found.append(
                f"s = {self.s:.4g} is below 2: sums of discrete Gaussians are then far from one (tau = "
                f"{ddg_tau(self.variance, self.h):.3g} is counted); Skellam has no such term, more bits lower it"
            )
        inflation = self.inflation
        if inflation > 2.0:
            found.append(
                f"rounding inflates the sensitivity {inflation:.3g} times: {self.modulus_bits} bits leave a "
                "granularity that is coarse against the clip; use more bits"
            )
        return tuple(found)

    @property
    def inflation(self) -> float:
        """D2 * granularity / clip under zero-out: by how much rounding enlarges the sensitivity; at least 1."""
        return math.sqrt(self._zero_out.l2_squared) / float(self.ratio)

    def describe(self) -> str:
        """The plan as a table for people."""
        one = "client" if self.unit == USER else "record"
        change = "is replaced by another" if self.adjacency == REPLACE_ONE else "contributes zero, its noise stays"
        rows = [
            (
                "mechanism",
                f"{'Skellam' if self.mechanism == SKELLAM else 'distributed discrete Gaussian'}, "
                f"{self.rounds} round(s), no sampling of clients",
            ),
            (
                "epsilon(delta)",
                f"{self.epsilon_after(self.rounds):.4f} at delta {self.delta:.3g} after all rounds, "
                f"{self.epsilon_after(1):.4f} after one (target {self.epsilon:.4g})",
            ),
            ("adjacency", f"{self.adjacency}: one {one} {change}"),
            (
                "honest shares",
                f"h = {self.min_survivors} survivors - {self.colluders} colluders = {self.h}, "
                f"of {self.clients} clients",
            ),
            ("clip", f"{self.clip:.6g} (L2, per {one})"),
            ("granularity", f"{self.granularity:.6g}, {self.modulus_bits} bits per entry"),
            (
                "noise",
                f"s = {self.s:.6g} per share ({self.sigma_local:.6g} in the update's units); "
                f"{self.sigma_local / math.sqrt(self.clients):.6g} per entry of the mean of all",
            ),
            (
                "sensitivity",
                f"D2 = {self.d2:.6g}, D1 = {self.d1:.6g} integer steps; rounding inflates the clip "
                f"{self.inflation:.4g} times",
            ),
        ]
        if self.unit == RECORD:
            rate = "all of them" if self.record_rate == 1.0 else f"each with probability {self.record_rate:.4g}"
            rows.append(
                (
                    "records",
                    f"at most {self.records_max} per client, {rate}, summed exactly in steps of "
                    f"granularity / 2^{self.record_bits}",
                )
            )
        if self.proof_bits:
            extra = self.noise_bound * math.sqrt(self.padded)
            rows.append(
                (
                    "proofs",
                    f"|signal| <= {self.signal_bound}, its squares sum to <= {self.d2_squared}; "
                    f"|noise| <= {self.noise_bound}: an attacker may add a norm of {extra:.4g} steps "
                    f"({extra / float(self.client_ratio):.4g} times the clip) as noise",
                )
            )
            rows.append(("wrap", "impossible for proven vectors"))
            rows.append(("delta of the cut", f"{self.cut_delta(self.rounds):.3g} (inside delta)"))
        else:
            rows.append(("wrap probability", f"{self.wrap_probability:.3g} per round (costs accuracy, not privacy)"))
        rows.append(
            (
                "protects against",
                f"whoever sees the sums and the noise of {self.colluders} clients, as long as "
                f"sums of fewer than {self.min_survivors} clients are never opened",
            )
        )
        rows.append(
            (
                "does not cover",
                "anything else that leaves a client, weights other than 1, clients that leave "
                "out their noise beyond the colluders"
                + (", the client itself as one unit" if self.unit == RECORD else ""),
            )
        )
        rows += [("note", note) for note in self.notes()]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    # ---- the way in

    def check(self, values: NDArray[Any]) -> None:
        """Raise what `encode_var` would raise for these values, before anything is charged for them.

        Raises:
            EncodingError: wrong dtype or shape, more than records_max records, NaN or infinity.
        """
        if type(values) is not np.ndarray and type(values) is not np.memmap:
            raise EncodingError(f"the update is a {type(values).__name__}; it must be a plain NumPy array")
        if self.unit == USER:
            _check_floats("the update", values, (self.entries,))
        else:
            rows = values.shape[0] if values.ndim else 0
            _check_floats("the records", values, (rows, self.entries))
            if rows > self.records_max:
                raise EncodingError(f"{rows} records: this plan allows 0..{self.records_max} per client")
        if not np.isfinite(values).all():
            raise EncodingError("NaN or infinity among the values; every entry must be finite")

    def encode_var(
        self,
        values: NDArray[Any],
        rotation: bytes,
        rng: Callable[[int], bytes] = os.urandom,
        *,
        weight: int = 1,
    ) -> Encoded:
        """One client's update as a clipped, rounded signal and a fresh noise share.

        Time depends on the data: rounding is repeated until the norm fits, and the noise sampler branches.

        Args:
            values: float32 or float64 of shape (entries,), native byte order, all finite; (records, entries) where the
                unit is a record.
            rotation: 32 public bytes from which the signs of this round are expanded, the same for all clients; nobody
                may have chosen them with knowledge of the updates (take them from the round's digest).
            rng: rng(n) -> n fresh secret bytes.
            weight: 1. A weight is data too; another one is refused.

        Returns:
            `Encoded`: signal and noise, int64 of shape (padded,); ||signal||^2 <= d2_squared, |signal| <= signal_bound
            and, with proofs, |noise| <= noise_bound.

        Raises:
            EncodingError: NaN or infinity, wrong dtype, shape, weight or unit; nothing is returned.
            ParameterError: rotation or the bytes of rng have a wrong length.
        """
        _check_weight(weight)
        if self.unit != USER:
            return self.encode_records_var((values,), rotation, rng)
        signal = self._signal_var(values, rotation, rng)
        return Encoded(signal, self.noise_var(rng))

    def encode_total_var(
        self,
        values: NDArray[Any],
        rotation: bytes,
        rng: Callable[[int], bytes] = os.urandom,
        *,
        weight: int = 1,
    ) -> I64Array:
        """signal + noise of `encode_var` as one vector: what is masked, where no proof speaks of the two apart.

        The noise is drawn into the signal: two vectors less in memory, and a third less time for a million entries.
        Arguments and errors as for `encode_var`.

        Returns:
            int64 of shape (padded,): for the same bytes of rng the same as `encode_var(...).total()`.
        """
        if self.unit != USER or self.noise_bound:
            return self.encode_var(values, rotation, rng, weight=weight).total()
        _check_weight(weight)
        total = self._signal_var(values, rotation, rng)
        # Sums mod 2^64 are sums of int64: |q_j| < 2^63 - |z_j| by far.
        _sampler(self.mechanism, self.variance).add_var(total.view(np.uint64), rng)
        return total

    def _signal_var(self, values: NDArray[Any], rotation: bytes, rng: Callable[[int], bytes]) -> I64Array:
        _check_floats("the update", values, (self.entries,))
        _check_rotation(rotation)

        signal: I64Array = encode_l2_var(
            np.ascontiguousarray(values),
            self.padded,
            clip=self.clip,
            gamma=self.granularity,
            beta=self.signal_bound,
            bound=self.d2_squared,
            trials=self.trials,
            rotation=rotation,
            coins=fresh(rng, ROTATION_BYTES),
        )
        return signal

    def sample_records_var(self, count: int, rng: Callable[[int], bytes] = os.urandom) -> BoolArray:
        """Which of `count` records take part in this round: each by its own coin with probability `record_rate`.

        Fresh in every round and kept secret; the plan's privacy counts on it where record_rate < 1. A coin is a 64-bit
        word, and the probability floor(rate 2^64) / 2^64 is never above the rate.

        Returns:
            bool array of shape (count,).
        """
        if type(count) is not int or not 0 <= count <= self.records_max:
            raise EncodingError(f"{count!r} records: this plan allows 0..{self.records_max} per client")
        if self.record_rate == 1.0:
            return np.ones(count, dtype=np.bool_)
        words = np.frombuffer(fresh(rng, 8 * count), dtype="<u8")
        chosen: BoolArray = words < np.uint64(int(Fraction(self.record_rate) * 2**64))
        return chosen

    def encode_records_var(
        self,
        batches: Iterable[NDArray[Any]],
        rotation: bytes,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> Encoded:
        """One client's sum of clipped per-record gradients as a rounded signal and a fresh noise share.

        Args:
            batches: arrays of shape (records, entries), float32 or float64, all finite; altogether at most
                records_max records. With record_rate < 1: those that `sample_records_var` chose, and records_max must
                cover the client's whole data set, so that no refusal tells how many were chosen.
            rotation, rng: as for `encode_var`.

        Returns:
            `Encoded`. Every record's part of the signal is bounded whatever the other records are.

        Raises:
            EncodingError, ParameterError: as for `encode_var`, or more records than records_max.
        """
        if self.unit != RECORD:
            raise EncodingError("this plan protects clients: pass the update to encode_var")
        _check_rotation(rotation)

        unit = math.ldexp(self.granularity, -self.record_bits)
        bound = math.floor((Fraction(self.clip) / Fraction(unit)) ** 2)
        total = np.zeros(self.padded, dtype=np.int64)
        records = 0
        for batch in batches:
            rows = (*getattr(batch, "shape", ()), 0)[0]
            _check_floats("a batch of records", batch, (rows, self.entries))
            records += batch.shape[0]
            if records > self.records_max:
                raise EncodingError(
                    f"more than records_max = {self.records_max} records: plan with the size of the data set"
                )
            if batch.shape[0]:
                sum_records_var(
                    total[: self.entries], np.ascontiguousarray(batch), clip=self.clip, unit=unit, bound=bound
                )
        flip_signs(total, rotation)
        hadamard_i64(total)
        signal = floor_div_random(total, self.divisor, fresh(rng, ROTATION_BYTES))
        np.clip(signal, -self.signal_bound, self.signal_bound, out=signal)  # 1-Lipschitz: no sensitivity grows
        return Encoded(signal, self.noise_var(rng))

    def noise_var(self, rng: Callable[[int], bytes] = os.urandom) -> I64Array:
        """One fresh noise share, int64 of shape (padded,); with proofs, conditioned on |z_j| <= noise_bound."""
        sampler = _sampler(self.mechanism, self.variance)
        for _ in range(_REDRAWS):
            noise: I64Array = sampler.sample_var(self.padded, rng)
            # The whole vector is drawn again, whatever the signal is: that is the conditioning that `cut_delta` counts.
            if not self.noise_bound or max(int(noise.max()), -int(noise.min())) <= self.noise_bound:
                return noise
        raise ParameterError(
            f"{_REDRAWS} noise vectors in a row were beyond {self.noise_bound}, each with probability below 2^-60: "
            "the random source is broken; do not take part"
        )

    # ---- the way out

    def decode(self, total: I64Array, survivors: int, rotation: bytes, *, divisor: float | None = None) -> PrivateMean:
        """The noised mean from the sum of the survivors' vectors.

        Args:
            total: int64 of shape (padded,): the sum mod 2^B, centred (signed).
            survivors: number of clients in the sum, min_survivors..clients.
            rotation: the 32 bytes of the round.
            divisor: what the sum is divided by; None: survivors (user), survivors * records_max (record). It must be
                public: never a count of records that depends on the data.

        Returns:
            `PrivateMean`.

        Raises:
            EncodingError: wrong dtype, shape, or fewer survivors than min_survivors.
            ParameterError: a divisor that is not above 0, or a rotation of a wrong length.
            RemoteError: a sum that honest clients cannot produce (stage "decode"); nothing is decoded.
        """
        if type(survivors) is not int or not self.min_survivors <= survivors <= self.clients:
            raise EncodingError(
                f"survivors is {survivors!r}; this plan opens sums of {self.min_survivors}..{self.clients} clients: "
                "with fewer the noise is less than what was promised"
            )
        if type(total) is not np.ndarray or total.dtype != np.dtype(np.int64) or total.shape != (self.padded,):
            raise EncodingError(
                f"the sum is a {type(total).__name__} {getattr(total, 'dtype', '')} {getattr(total, 'shape', '')}; it "
                f"must be a native int64 array of shape ({self.padded},)"
            )
        _check_rotation(rotation)
        if divisor is None:
            divisor = float(survivors * max(1, self.records_max))
        divisor = real("divisor", divisor, 0.0, above=True)
        reach = (1 << (self.modulus_bits - 1)) - 1
        if self.proof_bits:
            reach = survivors * (self.signal_bound + self.noise_bound)
        if int(total.max()) > reach or int(total.min()) < -reach - (0 if self.proof_bits else 1):
            raise RemoteError(
                None,
                "decode",
                f"an entry of the sum is beyond +-{reach}, the most that {survivors} clients of this plan can produce: "
                "discard this round",
            )
        # q is the rotated signal / gamma (user), or G times that / (2^k sqrt(d)) (record); H^-1 = H / d.
        if self.unit == USER:
            scale = self.granularity / math.sqrt(self.padded)
        else:
            scale = math.ldexp(self.granularity, -self.record_bits) * (self.divisor / self.padded)

        mean = unrotate(np.ascontiguousarray(total), scale / divisor, rotation)[: self.entries].copy()
        unit = scale * math.sqrt(self.padded) / divisor
        return PrivateMean(
            mean=mean,
            divisor=float(divisor),
            noise_std=unit * self.s * math.sqrt(survivors),
            error_std=unit * math.sqrt(survivors * (float(self.variance) + 0.25)),
            survivors=survivors,
        )


def record_bits_hold(ratio: Fraction, granularity: float, record_bits: int) -> bool:
    """Whether records of norm `ratio` * granularity can be summed in steps of granularity / 2^record_bits."""
    fine = granularity >= math.ldexp(_MIN_RECORD_STEP, record_bits)
    return fine and ratio * (1 << record_bits) <= _MAX_RECORD_STEPS


def max_variance_log2(proof_bits: int) -> int:
    """log2 of the largest s^2: 26 (s <= 2^13), and with proofs of b bits s <= 2^(b-5), so that some 16 s fit them."""
    return min(MAX_VARIANCE_LOG2, 2 * (proof_bits - 5)) if proof_bits else MAX_VARIANCE_LOG2


@lru_cache(maxsize=8)
def _sampler(mechanism: str, variance: Fraction) -> Any:

    return DiscreteGaussian(variance) if mechanism == DDG else Skellam(variance)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ParameterError(f"distributed plan: {message}")


def _check_floats(what: str, values: object, shape: tuple[int, ...]) -> None:
    if type(values) is not np.ndarray and type(values) is not np.memmap:
        raise EncodingError(f"{what} is a {type(values).__name__}; it must be a plain NumPy array")
    array: NDArray[Any] = np.asarray(values)
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise EncodingError(f"{what} has dtype {array.dtype.str!r}; it must be float32 or float64 in native byte order")
    if array.shape != shape:
        raise EncodingError(f"{what} has shape {array.shape}; the plan says {shape}")


def _check_weight(weight: object) -> None:
    if type(weight) is not int or weight != 1:
        raise EncodingError(
            "a plan's weights are 1: a weight that depends on the data would be an unnoised release; leave it out"
        )


def _check_rotation(rotation: object) -> None:
    if type(rotation) is not bytes or len(rotation) != ROTATION_BYTES:
        raise ParameterError(f"rotation must be {ROTATION_BYTES} bytes, the seed of this round's signs")
