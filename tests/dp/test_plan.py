"""Plans: what the solver finds, what the constructor refuses, what a server may not announce."""

from __future__ import annotations

import dataclasses
import math
import warnings
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf

from privcomp.dp import DistributedPlan, PrivacyWarning, solve_reference
from privcomp.dp.tails import log_tail, signal_reach, wrap_holds
from privcomp.errors import CodecError, ParameterError
from tests.dp.plans import make, solved
from tests.reference import dp as ref

RECORD = {"unit": "record", "records_max": 300, "bits": 24}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"mechanism": "ddg"},
    {"adjacency": "replace_one"},
    {"mechanism": "ddg", "adjacency": "replace_one", "beta_log": None},
    {"proof_bits": 16, "bits": 24},
    {"proof_bits": 16, "bits": 24, "mechanism": "ddg"},
    RECORD,
    RECORD | {"record_rate": 0.1, "target": (1.0, 1e-6), "mechanism": "ddg"},
    RECORD | {"proof_bits": 20, "adjacency": "replace_one", "bits": 28},
    {"dim": 1, "bits": 12},
    {"clip": 0.3, "target": (0.5, 1e-9), "rounds": 100, "bits": 30},
]


@pytest.fixture(scope="module")
def plan() -> DistributedPlan:
    return make()


# ---- the solver


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_plan_meets_its_target_tightly(changes: dict[str, Any]) -> None:
    """Less noise, or a finer granularity with the noise that it needs, breaks a condition."""
    plan = make(**changes)
    assert plan.epsilon * (1 - 1e-6) < plan.epsilon_after(plan.rounds) <= plan.epsilon
    assert plan == DistributedPlan.from_bytes(plan.to_bytes(), max_bytes=1000)
    with pytest.raises(ParameterError, match="more noise is needed"):
        dataclasses.replace(plan, variance_units=plan.variance_units - max(1, plan.variance_units >> 20))
    at_limit = plan.s > 0.999 * 2 ** (min(26, 2 * (plan.proof_bits - 5)) / 2 if plan.proof_bits else 13)
    if not at_limit:  # the modulus decides: one bit less does not hold this plan
        with pytest.raises(ParameterError, match="infeasible"):
            dataclasses.replace(plan, modulus_bits=plan.modulus_bits - 1)


@pytest.mark.parametrize("changes", VARIANTS)
def test_plans_agree_with_the_independent_accountant(changes: dict[str, Any]) -> None:
    plan = make(**changes)
    rho = mpf(plan.clip) / mpf(plan.granularity)
    d = plan.padded
    if plan.unit == "record":
        d2 = rho + mpmath.sqrt(d)
    else:
        d2 = mpmath.sqrt(ref.d2_squared(rho, d, None if plan.beta_log is None else mpmath.exp(-mpf(plan.beta_log))))
        assert plan.d2_squared == math.floor(d2**2)
    l1 = ref.d1(d2, d)
    if plan.adjacency == "replace_one":
        d2, l1 = 2 * d2, 2 * l1
    s = mpmath.sqrt(mpf(plan.variance_units) / 2**32)
    one = ref.curve(plan.mechanism, d2, l1, plan.min_survivors - plan.colluders, s, d)
    if plan.record_rate < 1:
        one = ref.sampled(one, mpf(plan.record_rate))
    assert len(one) == len(ref.ORDERS)
    for rounds in {1, plan.rounds}:
        delta = mpf(plan.delta)
        if plan.noise_bound:
            delta -= rounds * (1 + mpmath.exp(plan.epsilon)) * mpf(2) ** -60
        true = ref.epsilon([rounds * r for r in one], delta)
        assert true <= mpf(plan.epsilon_after(rounds)) <= true * (1 + mpf(10) ** -9)


TABLE = [
    ("ddg", 1.0, 10, ".6097", "4.663", ".2180"),
    ("ddg", 1.0, 12, ".1461", "4.106", ".1686"),
    ("ddg", 1.0, 14, ".03638", "4.055", ".1644"),
    ("ddg", 1.0, 16, ".00909", "4.047", ".1638"),
    ("ddg", 6.0, 10, ".4937", ".904", "8.578e-3"),
    ("ddg", 6.0, 16, ".00769", ".817", "6.677e-3"),
    ("skellam", 6.0, 10, ".4938", ".9058", None),
    ("skellam", 6.0, 12, ".1231", ".8263", None),
    ("skellam", 6.0, 16, ".00769", ".8171", None),
]


@lru_cache(maxsize=32)
def reference_solution(mechanism: Any, epsilon: float, bits: int) -> tuple[float, float]:
    return solve_reference(mechanism, clip=10.0, clients=100, padded=256, bits=bits, epsilon=epsilon, delta=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"mechanism": "gaussian"},
        {"clip": math.inf},
        {"clients": 10.0},
        {"padded": -4},
        {"bits": "16"},
        {"epsilon": 0.0},
        {"delta": 1.0},
        {"beta_log": -1.0},
        {"deviations": math.nan},
    ],
)
def test_comparisons_that_make_no_sense(changes: dict[str, Any]) -> None:
    wish = {"mechanism": "ddg", "clip": 1.0, "clients": 10, "padded": 16, "bits": 16, "epsilon": 1.0, "delta": 1e-5}
    with pytest.raises(ParameterError):
        solve_reference(**wish | changes)


def to_digits(value: float, like: str) -> float:
    """`value` rounded to as many decimals as `like` has."""
    mantissa, _, exponent = like.partition("e")
    return round(value, len(mantissa.partition(".")[2]) - int(exponent or 0))


@pytest.mark.parametrize(("mechanism", "epsilon", "bits", "gamma", "sigma", "mse"), TABLE)
def test_published_comparison(
    mechanism: Any, epsilon: float, bits: int, gamma: str, sigma: str, mse: str | None
) -> None:
    """n = 100, d = 250 padded to 256, c = 10, delta = 1e-5, beta = e^(-1/2), four standard deviations of head-room."""
    found = reference_solution(mechanism, epsilon, bits)
    assert to_digits(found[0], gamma) == float(gamma)
    assert to_digits(found[1], sigma) == float(sigma)
    if mse is not None:
        assert to_digits((found[1] ** 2 + found[0] ** 2 / 6) / 100, mse) == float(mse)


@pytest.mark.parametrize(("mechanism", "epsilon", "bits"), [("ddg", 1.0, 10), ("skellam", 6.0, 12), ("ddg", 6.0, 16)])
def test_solver_agrees_with_the_independent_one(mechanism: Any, epsilon: float, bits: int) -> None:
    ours = reference_solution(mechanism, epsilon, bits)
    theirs = ref.solve(mechanism, c=10.0, n=100, d=256, bits=bits, eps=epsilon, delta=1e-5, beta=math.exp(-0.5), k=4.0)
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_skellam_equals_ddg_at_small_epsilon() -> None:
    assert reference_solution("ddg", 1.0, 12) == pytest.approx(reference_solution("skellam", 1.0, 12), rel=5e-4)


def test_the_solver_is_deterministic(plan: DistributedPlan) -> None:
    assert solved() == plan


# ---- room


def test_the_example_of_the_wrap_condition() -> None:
    """n = 50, d = 2^20, c / gamma = 1e4, s = 1400: 18 bits."""
    for mechanism in ("skellam", "ddg"):
        fits = [
            wrap_holds(mechanism, bits=b, clients=50, ratio=1e4, variance=1400.0**2, padded=1 << 20, wrap_exponent=40)
            for b in (17, 18)
        ]
        assert fits == [False, True]


@pytest.mark.parametrize(("mechanism", "variance"), [("skellam", 0.5), ("skellam", 37.0), ("ddg", 2.0), ("ddg", 30.0)])
def test_tails_bound_the_exact_law(mechanism: str, variance: float) -> None:
    reach = int(20 * math.sqrt(variance)) + 30
    law = (ref.skellam_law if mechanism == "skellam" else ref.discrete_gaussian)(variance, reach)
    for bound in range(0, reach - 10, 3):
        true = 2 * sum(law[reach + bound + 1 :])
        assert math.log(true) <= log_tail(mechanism, variance, float(bound))
    # Chernoff's bound loses a polynomial factor only
    far = int(8 * math.sqrt(variance))
    assert log_tail(mechanism, variance, float(far)) < math.log(2 * sum(law[reach + far + 1 :])) + 12


def test_signal_reach_is_hoeffdings() -> None:
    """2 d exp(-t^2 d / (2 n^2 R^2)) = p / 2 at t = reach - n."""
    n, ratio, d, exponent = 7, 1234.0, 4096, 40
    t = signal_reach(n, ratio, d, exponent) - n
    assert 2 * d * math.exp(-(t**2) * d / (2 * n**2 * ratio**2)) == pytest.approx(2.0**-exponent / 2, rel=1e-9)


def test_wrap_probability_is_that_of_the_bits(plan: DistributedPlan) -> None:
    assert 2.0**-41 < plan.wrap_probability <= 2.0**-40
    wider = dataclasses.replace(plan, modulus_bits=plan.modulus_bits + 1)
    assert wider.wrap_probability < plan.wrap_probability**2


def test_proofs_are_hard_bounds() -> None:
    plan = make(proof_bits=16, bits=24)
    assert plan.wrap_probability == 0.0
    assert plan.clients * (plan.signal_bound + plan.noise_bound) < 1 << 23
    assert plan.signal_bound == min(2**15 - 1, math.isqrt(plan.d2_squared))
    assert plan.s <= 2**11
    # the cut: n d P[|z| > B_z] <= 2^-60, and not for a much smaller bound
    assert log_tail("skellam", float(plan.variance), plan.noise_bound) + math.log(10 * 1024) <= -60 * math.log(2)
    with pytest.raises(ParameterError, match="more often than"):
        dataclasses.replace(plan, noise_bound=plan.noise_bound * 9 // 10)


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adjacency": None}, "adjacency is missing"),
        ({"sampling": None}, "sampling is missing"),
        ({"adjacency": "add_or_remove"}, "takes its noise share along"),
        ({"adjacency": "user"}, "allowed are"),
        ({"sampling": "poisson"}, "does not amplify"),
        ({"sampling": 0.1}, "does not amplify"),
        ({"mechanism": "gaussian"}, "allowed are"),
        ({"unit": "example"}, "allowed are"),
        ({"min_survivors": 3}, "at least 2"),
        ({"min_survivors": 11}, "only 10 clients"),
        ({"colluders": -1}, "at least 2"),
        ({"bits": 8}, "infeasible"),
        ({"bits": 70}, "bits"),
        ({"bits": 9, "proof_bits": 16}, "infeasible"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 1 << 33}, "rounds"),
        ({"rounds": 10**9}, "infeasible"),
        ({"clip": 0.0}, "clip"),
        ({"clip": -1.0}, "clip"),
        ({"clip": math.nan}, "clip"),
        ({"clip": math.inf}, "clip"),
        ({"dim": 0}, "dim"),
        ({"dim": 1 << 31}, "dim"),
        ({"target": (0.0, 1e-5)}, "epsilon"),
        ({"target": (math.nan, 1e-5)}, "epsilon"),
        ({"target": (8.0, 0.0)}, "delta"),
        ({"target": (8.0, 1.0)}, "delta"),
        ({"target": (60.0, 1e-5), "proof_bits": 16}, "cutting off"),
        ({"target": (1e-6, 1e-12), "bits": 62}, "infeasible"),
        ({"records_max": 5}, "records_max"),
        ({"unit": "record"}, "records_max"),
        ({"record_rate": 0.5}, "record_rate"),
        (RECORD | {"record_rate": 0.5, "adjacency": "replace_one"}, "record_rate"),
        (RECORD | {"record_rate": 0.0}, "record_rate"),
        ({"beta_log": -1.0}, "beta_log"),
        ({"proof_bits": 25}, "proof_bits"),
        ({"clients": 1 << 21}, "clients"),
        ({"target": 8.0}, "target"),
        ({"target": None}, "target"),
        ({"clip": 10**400}, "clip"),
    ],
)
def test_impossible_wishes(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        make(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epsilon": 7.9}, "more noise"),
        ({"rounds": 11}, "more noise"),
        ({"delta": 0.9e-5}, "more noise"),
        ({"min_survivors": 7}, "more noise"),
        ({"colluders": 3}, "more noise"),
        ({"adjacency": "replace_one"}, "more noise"),
        ({"adjacency": "add_or_remove"}, "noise share along"),
        ({"adjacency": "none"}, "allowed are"),
        ({"mechanism": "gauss"}, "allowed are"),
        ({"unit": "record"}, "records_max"),
        ({"clip": 2.0}, "infeasible|more noise"),
        ({"clip": -1.0}, "clip"),
        ({"granularity": 0.0}, "granularity"),
        ({"granularity": 2.0}, "granularity"),
        ({"variance_units": 0}, "variance"),
        ({"variance_units": (1 << 58) + 1}, "2\\^13"),
        ({"modulus_bits": 7}, "bits"),
        ({"modulus_bits": 63}, "bits"),
        ({"modulus_bits": 17}, "infeasible"),
        ({"clients": 100}, "infeasible"),
        ({"entries": 2000}, "infeasible|more noise"),
        ({"entries": 0}, "entries"),
        ({"wrap_exponent": 41}, "infeasible"),
        ({"wrap_exponent": 0}, "wrap_exponent"),
        ({"beta_log": -0.5}, "beta_log"),
        ({"beta_log": 5.0}, "more noise"),
        ({"beta_log": None}, "more noise"),
        ({"trials": 0}, "trials"),
        ({"noise_bound": 100}, "noise_bound"),
        ({"proof_bits": 20}, "noise_bound"),
        ({"proof_bits": 20, "noise_bound": 1 << 19}, "noise_bound"),
        ({"proof_bits": 1, "noise_bound": 1}, "s ="),
        ({"records_max": 1}, "unit 'record'"),
        ({"record_bits": 10}, "unit 'record'"),
        ({"record_rate": 0.5}, "unit 'record'"),
        ({"epsilon": 1000.0}, "epsilon"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_mutated_plans_are_refused(plan: DistributedPlan, changes: dict[str, Any], says: str) -> None:
    """A server that announces a weaker plan under the same target is found out from the fields alone."""
    with pytest.raises(ParameterError, match=says):
        dataclasses.replace(plan, **changes)


@given(st.data())
def test_no_flipped_byte_makes_an_unsound_plan(plan: DistributedPlan, data: st.DataObject) -> None:
    """Whatever arrives either is refused, or is a plan that keeps what it states."""
    raw = bytearray(plan.to_bytes())
    raw[data.draw(st.integers(5, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = DistributedPlan.from_bytes(bytes(raw), max_bytes=1000)
    except CodecError:
        return
    assert other != plan
    assert other.epsilon_after(other.rounds) <= other.epsilon
    assert other.h >= 2
    assert other.to_bytes() == bytes(raw)


def test_record_plans_refuse_what_could_overflow() -> None:
    plan = make(**RECORD)
    with pytest.raises(ParameterError, match="2\\^62"):
        dataclasses.replace(plan, record_bits=40)
    with pytest.raises(ParameterError, match="record_bits"):
        dataclasses.replace(plan, record_bits=9)
    with pytest.raises(ParameterError, match="beta_log"):
        dataclasses.replace(plan, beta_log=0.5)


@pytest.mark.parametrize(
    ("options", "rho_at_least"),
    [
        ({"clients": 65536, "min_survivors": 60000, "bits": 48, "target": (200.0, 1e-9), "records_max": 4}, 2**24),
        ({"clients": 65536, "min_survivors": 60000, "bits": 48, "target": (100.0, 1e-9), "records_max": 100}, 2**22),
    ],
)
def test_a_record_plan_that_exists_can_be_used(options: dict[str, Any], rho_at_least: int) -> None:
    """Many clients, little noise: a record has so many steps that the finest unit is not the core's to sum."""
    plan = make(**RECORD | {"dim": 16, "colluders": 0, "rounds": 1} | options)
    assert plan.ratio > rho_at_least
    assert plan.ratio * 2**plan.record_bits <= 2**48 < plan.ratio * 2 ** (plan.record_bits + 1)
    encoded = plan.encode_var(np.ones((3, 16)), bytes(32))
    assert int(np.abs(encoded.signal).max()) <= plan.signal_bound
    with pytest.raises(ParameterError, match="record_bits"):
        dataclasses.replace(plan, record_bits=plan.record_bits + 1)


def test_wide_noise_is_refused_whatever_the_bits() -> None:
    """s beyond 2^13 (2^11 with proofs over 16 bits): a finer granularity buys nothing, the solver never asks for it."""
    assert make(bits=40).s <= 2**13
    assert make(bits=40).s > 2**13 * 0.999
    assert make(bits=40, proof_bits=16).s > 2**11 * 0.999
    plan = make(proof_bits=16, bits=40)
    with pytest.raises(ParameterError, match="2\\^11"):
        dataclasses.replace(plan, variance_units=(1 << 54) + 1)


# ---- warnings and texts


def test_warnings() -> None:
    with pytest.warns(PrivacyWarning, match="delta = 0.1 is not below"):
        solved(target=(8.0, 0.1))
    with pytest.warns(PrivacyWarning, match="below 2: sums of discrete Gaussians"):
        solved(mechanism="ddg", target=(20.0, 1e-5), rounds=1, dim=4, bits=9, clients=10, min_survivors=10, colluders=0)
    with pytest.warns(PrivacyWarning, match="inflates"):
        solved(clients=100, min_survivors=100, colluders=0, dim=250, bits=10, target=(1.0, 1e-5), rounds=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved()


@pytest.mark.parametrize("changes", VARIANTS)
def test_describe_says_what_the_plan_is(changes: dict[str, Any]) -> None:
    plan = make(**changes)
    text = plan.describe()
    for part in (
        plan.adjacency,
        f"{plan.epsilon_after(plan.rounds):.4f}",
        f"{plan.granularity:.6g}",
        "protects against",
    ):
        assert part in text
    assert ("wrap probability" in text) == (plan.proof_bits == 0)
    assert ("an attacker may add" in text) == (plan.proof_bits > 0)


def test_more_rounds_than_planned(plan: DistributedPlan) -> None:
    with pytest.raises(ParameterError, match="rounds"):
        plan.epsilon_after(11)
    assert plan.epsilon_after(0) == 0.0
    assert plan.epsilon_after(1) < plan.epsilon_after(10)


def test_divisor_of_records() -> None:
    """G = ceil(2^k sqrt(d)), also where sqrt(d) is irrational."""
    for dim in (512, 1000):
        plan = make(**(RECORD | {"dim": dim}))
        square = plan.padded << (2 * plan.record_bits)
        assert (plan.divisor - 1) ** 2 < square <= plan.divisor**2
    assert Fraction(plan.divisor, 1 << plan.record_bits) >= Fraction(32)
