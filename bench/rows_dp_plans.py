"""Distributed plans: what a client's encoding takes, and how far the mean is from the true one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.dp_mean import CLIENTS, CLIP, DELTA, ENTRIES, central_mse, inputs, one_mean, own_plan, points, worst
from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import absent, versioned
from privcomp._core import Drbg, unrotate
from privcomp.dp import plan_distributed

__all__ = ["DP_PLAN_ROWS"]

SEED = 20240601


def _walsh_hadamard(x: Any) -> Any:
    """H x / sqrt(d) by butterflies over whole arrays, as one writes it with NumPy."""
    d, half = x.size, 1
    while half < d:
        pairs = x.reshape(-1, 2, half)
        x = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(d)
        half *= 2
    return x / math.sqrt(d)


def _encode(quick: bool, peers: bool, mechanism: str) -> Case:
    """A client's whole encoding, as it is masked in a round without proofs.

    The peer takes the same steps in NumPy floats. It gets float32 for the rotation, one rounding, and a generator that
    is not cryptographic; its noise is a rounded normal, neither exact nor the law of the plan, and nothing bounds the
    norm after its rounding.
    """
    d = 10**4 if quick else 10**6
    plan = plan_distributed(
        1.0, d, 50, 40, 5, 20, (8.0, 1e-5), 10, sampling="none", adjacency="zero_out", mechanism=mechanism
    )
    generator = np.random.default_rng(SEED)
    update = generator.standard_normal(d).astype(np.float32)
    update /= np.linalg.norm(update) / np.float32(2.0)  # twice the clip
    rotation, rng = bytes(range(32)), Drbg().random_bytes
    signs = generator.choice(np.array([-1.0, 1.0], dtype=np.float32), plan.padded)
    padded = np.zeros(plan.padded, dtype=np.float32)
    plan.noise_var(rng)  # makes the sampler's table, which is kept

    def peer() -> Any:
        padded[:d] = update
        rotated = _walsh_hadamard(padded * signs)
        rotated *= np.float32(min(1.0, plan.clip / float(np.linalg.norm(rotated))) / plan.granularity)
        low = np.floor(rotated)
        signal = low + (generator.random(plan.padded, dtype=np.float32) < rotated - low)
        noise = generator.standard_normal(plan.padded)
        noise *= plan.s
        total = signal.astype(np.int64)
        total += np.rint(noise).astype(np.int64)
        return total

    def close(side: str, back: Any) -> None:
        # The clipped update comes back with the noise and the rounding, of variance gamma^2 (s^2 + 1/6): their mean
        # square lies within six standard errors (E z^4 <= 3 s^4 + s^2), and so does their mean.
        error = back - update / 2
        off = float(np.mean(error**2)) / (plan.expected_mse(1)) - 1.0
        expect(abs(off) <= 6 * math.sqrt(3.0 / d), f"{side}: the mean squared error is off by {off:.3g}")
        expect(abs(error.mean()) <= 6 * plan.sigma_local / math.sqrt(d), f"{side}: the mean of the error is not 0")

    def check(result: Any, peer_result: Any) -> None:
        scale = plan.granularity / math.sqrt(plan.padded)
        close("ours", unrotate(result, scale, rotation)[:d])
        parts = plan.encode_var(update, rotation, Drbg.insecure_deterministic(bytes(32)).random_bytes)
        total = plan.encode_total_var(update, rotation, Drbg.insecure_deterministic(bytes(32)).random_bytes)
        expect(np.array_equal(total, parts.total()), "our total is not the sum of signal and noise")
        norm = sum(int(v) for v in (parts.signal.reshape(-1, 256) ** 2).sum(axis=1))
        expect(norm <= plan.d2_squared, "our signal does not keep its gate")
        if peer_result is not None:
            close("NumPy", (_walsh_hadamard(peer_result.astype(np.float64)) * signs * plan.granularity)[:d])

    side = Peer(versioned("numpy", "NumPy") + " floats: rotate, clip, round, rounded normal noise", peer, repeats=5)
    return Case(
        lambda: plan.encode_total_var(update, rotation, rng),
        side if peers else absent(side.name),
        check,
        {"d": d, "padded": plan.padded, "mechanism": mechanism, "s": plan.s, "clients": 50, "bits": 20, "seed": SEED},
        report=lambda _, seconds: {"params": {"ns_per_entry": seconds / plan.padded * 1e9}},
        repeats=15,
    )


def _mean(quick: bool, peers: bool) -> Case:
    """One mean of 100 clients; beside it the errors of many, for every plan, against their closed forms.

    The peer is a trusted curator, who sees all updates and adds one normal vector: the analytic Gaussian mechanism.
    """
    plan = own_plan("skellam", 6.0, 16)
    if plan is None:
        raise ValueError("16 bits hold the plan")
    generator = np.random.default_rng(SEED)
    x = inputs(generator)
    rng = Drbg.insecure_deterministic(SEED.to_bytes(32, "little")).random_bytes
    sigma = CLIENTS * math.sqrt(central_mse(6.0))

    def ours() -> Any:
        return one_mean(plan, x, rng)

    def peer() -> Any:
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        total = (x * np.minimum(1.0, CLIP / norms)).sum(axis=0)
        return (total + sigma * generator.standard_normal(ENTRIES)) / CLIENTS

    # Drawn once: they are figures of the row, not what is timed.
    found = points(repetitions=10 if quick else 100, seed=SEED, bits=(12,) if quick else range(10, 21))

    def check(result: Any, peer_result: Any) -> None:
        for side, mean, mse in (("ours", result, plan.expected_mse()), ("the curator", peer_result, central_mse(6.0))):
            if mean is not None:
                error = float(np.mean((mean - x.mean(axis=0)) ** 2))
                expect(abs(error / mse - 1.0) <= 6 * math.sqrt(2.0 / ENTRIES), f"{side}: squared error {error:.3g}")
        expect(
            worst(found) <= 4.0, f"a mean squared error lies {worst(found):.2f} standard errors from its closed form"
        )

    name = versioned("numpy", "NumPy") + " normal noise of a trusted curator"
    by_name = {(p["mechanism"], p["epsilon"], p["bits"], p["plan"]): p for p in found}
    extra = {
        f"over_central_{mechanism}_{epsilon:g}_{bits}": point["mse"] / point["central"]
        for (mechanism, epsilon, bits, plan_name), point in by_name.items()
        if plan_name == "own" and bits in (12, 16, 20)
    }
    return Case(
        ours,
        Peer(name, peer) if peers else absent(name),
        check,
        {
            "n": CLIENTS, "entries": ENTRIES, "clip": CLIP, "delta": DELTA, "epsilon": 6.0, "bits": 16,
            "mechanism": "skellam", "seed": SEED, "worst_deviation": worst(found), **extra, "points": found,
        },
        repeats=9,
    )  # fmt: skip


def _encode_row(suffix: str, mechanism: str, name: str) -> Row:
    return Row(
        f"dp.encode.1e6{suffix}",
        f"1e6 entries: rotate, clip, round, gate, {name} noise | NumPy floats, rounded normal noise, no gate",
        lambda quick, peers: _encode(quick, peers, mechanism),
        (
            Target("ours_s", at_most=0.015, levels=("avx512",)),
            Target("ratio", at_least=4.0, levels=("aesni", "vaes")),
        ),
    )


DP_PLAN_ROWS = (
    _encode_row("", "skellam", "Skellam"),
    _encode_row(".ddg", "ddg", "discrete Gaussian"),
    Row(
        "dp.mean.n100",
        "a mean of 100 clients, 250 entries, epsilon 6, and the errors of all plans | a trusted curator's NumPy noise",
        _mean,
        (Target("params.worst_deviation", at_most=4.0),),
    ),
)
