"""Distributed mean estimation: how far the noised mean of 100 clients is from their mean, and what theory says.

n = 100 vectors of norm c = 10 with 250 entries (d = 256), delta = 1e-5, one round. Two kinds of plan: "reference", the
granularity and noise of the published comparisons (head-room of four standard deviations), and "own", what
`plan_distributed` chooses (a sum wraps with probability 2^-40 at most, whatever the vectors are).

The closed form of the mean squared error of an entry is (sigma^2 + gamma^2 / 6) / n, with sigma and gamma the noise of
one share and the granularity in the units of the clip. Directions are random, so nothing wraps.

Sources: Kairouz, Liu, Steinke, ICML 2021; Agarwal, Kairouz, Liu, NeurIPS 2021; the curator's noise: Balle, Wang, ICML
2018 (the analytic Gaussian mechanism).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from privcomp._core import Drbg, encode_l2_var, unrotate
from privcomp.dp import DistributedPlan, PrivacyWarning, plan_distributed, solve_reference
from privcomp.dp.rdp import user_l2_squared
from privcomp.errors import ParameterError
from privcomp.samplers import DiscreteGaussian, Skellam

__all__ = ["central_mse", "inputs", "one_mean", "own_plan", "points", "reference_mean", "worst"]

CLIENTS, ENTRIES, PADDED, CLIP, DELTA = 100, 250, 256, 10.0, 1e-5
EPSILONS = (1.0, 6.0)
MECHANISMS = ("skellam", "ddg")
#: The table that others published: mechanism, epsilon, bits.
REFERENCE = (
    *(("ddg", 1.0, bits) for bits in (10, 12, 14, 16)),
    *(("skellam", 1.0, bits) for bits in (10, 12, 14, 16)),
    *(("ddg", 6.0, bits) for bits in (10, 12, 14, 16)),
    *(("skellam", 6.0, bits) for bits in (10, 12, 14, 16)),
)
_BETA_LOG = 0.5
_ENOUGH = 50
_ROTATION = bytes(range(32))


def inputs(generator: Any) -> Any:
    """n vectors of norm c in random directions, float64 of shape (n, entries)."""
    x = generator.standard_normal((CLIENTS, ENTRIES))
    return x * (CLIP / np.linalg.norm(x, axis=1, keepdims=True))


def central_mse(epsilon: float) -> float:
    """sigma^2 / n^2 of the curator's least noise: Phi(c/2s - es/c) - e^e Phi(-c/2s - es/c) = delta."""

    def phi(t: float) -> float:
        return math.erfc(-t / math.sqrt(2.0)) / 2.0

    def loss(s: float) -> float:
        return phi(0.5 / s - epsilon * s) - math.exp(epsilon) * phi(-0.5 / s - epsilon * s)

    low, high = 1e-3, 1e3
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if loss(middle) > DELTA else (low, middle)
    return (CLIP * high / CLIENTS) ** 2


def own_plan(mechanism: str, epsilon: float, bits: int) -> DistributedPlan | None:
    """Our plan where nobody vanishes or colludes, as in the published comparisons; None where the bits are too few."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrivacyWarning)
        try:
            return plan_distributed(
                CLIP, ENTRIES, CLIENTS, CLIENTS, 0, bits, (epsilon, DELTA), 1,
                sampling="none", adjacency="zero_out", mechanism=mechanism, beta_log=_BETA_LOG,
            )  # fmt: skip
        except ParameterError:
            return None


def one_mean(plan: DistributedPlan, x: Any, rng: Callable[[int], bytes]) -> Any:
    """The noised mean of the rows of x under a plan, summed modulo 2^B."""
    modulus = 1 << plan.modulus_bits
    total = np.zeros(plan.padded, dtype=np.int64)
    for row in x:
        total += plan.encode_var(row, _ROTATION, rng).total()
    return plan.decode(_centred(total, modulus), CLIENTS, _ROTATION).mean


def reference_mean(law: Any, gamma: float, bits: int, x: Any, rng: Callable[[int], bytes]) -> Any:
    """The same with a given granularity and noise law, outside of any plan: the published ones leave less room."""
    bound = math.floor(user_l2_squared(Fraction(CLIP) / Fraction(gamma), PADDED, _BETA_LOG, up=False))
    total = np.zeros(PADDED, dtype=np.int64)
    for row in x:
        total += encode_l2_var(
            row, PADDED, clip=CLIP, gamma=gamma, beta=math.isqrt(bound), bound=bound, trials=32,
            rotation=_ROTATION, coins=rng(32),
        )  # fmt: skip
        total += law.sample_var(PADDED, rng)
    scale = gamma / math.sqrt(PADDED) / CLIENTS
    return unrotate(_centred(total, 1 << bits), scale, _ROTATION)[:ENTRIES]


def _centred(total: Any, modulus: int) -> Any:
    return (total + modulus // 2) % modulus - modulus // 2


def points(
    *,
    repetitions: int,
    seed: int,
    bits: Iterable[int],
    epsilons: Sequence[float] = EPSILONS,
    mechanisms: Sequence[str] = MECHANISMS,
) -> list[dict[str, Any]]:
    """Mean squared errors over many repetitions, with fresh vectors in each, beside their closed forms.

    Returns:
        One dict for each plan: mechanism, epsilon, bits, plan ("own" or "reference"), gamma, sigma, mse, error (the
        standard error of mse: its own from 50 repetitions on), closed_form, central (the curator's), repetitions.
    """
    generator = np.random.default_rng(seed)
    rng = Drbg.insecure_deterministic(seed.to_bytes(32, "little")).random_bytes
    wanted = set(bits)
    found = []

    def measured(estimate: Callable[[Any], Any], closed_form: float, **about: Any) -> None:
        errors = []
        for _ in range(repetitions):
            x = inputs(generator)
            errors.append(float(np.mean((estimate(x) - x.mean(axis=0)) ** 2)))
        # Few repetitions do not tell how far they scatter; errors that are close to normal do, by their variance.
        spread = float(np.std(errors, ddof=1)) if repetitions >= _ENOUGH else closed_form * math.sqrt(2.0 / ENTRIES)
        found.append(
            about
            | {
                "mse": float(np.mean(errors)),
                "error": spread / math.sqrt(repetitions),
                "closed_form": closed_form,
                "central": central_mse(about["epsilon"]),
                "repetitions": repetitions,
            }
        )

    for mechanism in mechanisms:
        for epsilon in epsilons:
            for b in sorted(wanted):
                plan = own_plan(mechanism, epsilon, b)
                if plan is not None:
                    measured(
                        lambda x, plan=plan: one_mean(plan, x, rng),
                        plan.expected_mse(),
                        mechanism=mechanism, epsilon=epsilon, bits=b, plan="own",
                        gamma=plan.granularity, sigma=plan.sigma_local,
                    )  # fmt: skip
    for mechanism, epsilon, b in REFERENCE:
        if b not in wanted or mechanism not in mechanisms or epsilon not in epsilons:
            continue
        gamma, sigma = solve_reference(
            mechanism, clip=CLIP, clients=CLIENTS, padded=PADDED, bits=b, epsilon=epsilon, delta=DELTA
        )
        variance = Fraction((sigma / gamma) ** 2).limit_denominator(1 << 32)
        law = DiscreteGaussian(variance) if mechanism == "ddg" else Skellam(variance)
        measured(
            lambda x, law=law, gamma=gamma, b=b: reference_mean(law, gamma, b, x, rng),
            (sigma**2 + gamma**2 / 6.0) / CLIENTS,
            mechanism=mechanism, epsilon=epsilon, bits=b, plan="reference", gamma=gamma, sigma=sigma,
        )  # fmt: skip
    return found


def worst(found: Iterable[Mapping[str, Any]]) -> float:
    """The largest distance of a measured error from its closed form, in standard errors."""
    return max(abs(point["mse"] - point["closed_form"]) / point["error"] for point in found)
