"""Noise from tables: Skellam samples added to a vector modulo 2^32, as a client adds them.

The peer is NumPy: the difference of two Poisson draws, Skellam but for its floats. OpenDP has no Skellam sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import absent, versioned
from privcomp.samplers import Skellam
from privcomp.samplers.skellam import skellam_law
from privcomp.samplers.tables import tabulate

__all__ = ["DP_TABLE_ROWS"]

SEED = 20240601


def _plausible(side: str, acc: Any, variance: int) -> None:
    """Mean and variance within six standard errors: E X^4 = 3 v^2 + v."""
    samples = acc.view(np.int32).astype(np.float64)
    n = samples.size
    expect(abs(samples.mean()) < 6 * math.sqrt(variance / n), f"{side}: the mean is {samples.mean()}")
    spread = 6 * math.sqrt((2 * variance**2 + variance) / n)
    expect(abs((samples**2).mean() - variance) < spread, f"{side}: the variance is {(samples**2).mean()}")


def _skellam(deviation: int, level: str | None = None) -> Callable[[bool, bool], Case]:
    def build(quick: bool, peers: bool) -> Case:
        d, variance = 20_000 if quick else 10**6, deviation**2
        noise, rng = Skellam(variance), np.random.default_rng(SEED)
        acc, peer_acc = np.zeros(d, np.uint32), np.zeros(d, np.uint32)
        noise.sample_var(1)  # makes the table, which is kept

        def ours() -> Any:
            acc[:] = 0
            noise.add_var(acc)
            return acc

        def peer() -> Any:
            peer_acc[:] = 0
            drawn = rng.poisson(variance / 2, d) - rng.poisson(variance / 2, d)
            np.add(peer_acc, drawn.astype(np.uint32), out=peer_acc)
            return peer_acc

        def check(result: Any, peer_result: Any) -> None:
            _plausible("ours", result, variance)
            if peer_result is not None:
                _plausible("NumPy", peer_result, variance)

        side = Peer(versioned("numpy", "NumPy") + " Generator.poisson, difference of two", peer, repeats=5)
        return Case(
            ours,
            side if peers else absent(side.name),
            check,
            {"d": d, "deviation": deviation, "cipher": "AES-128-CTR or ChaCha20", "seed": SEED},
            report=lambda _, seconds: {"params": {"msamples_per_s": d / seconds / 1e6}},
            repeats=15,
            level=level,
        )

    return build


def _table(quick: bool, peers: bool) -> Case:
    """The table of the largest deviation of the rows, from nothing. No peer has one."""
    deviation = 100 if quick else 4096

    def check(made: Any, _: Any) -> None:
        expect(int(made.bins.sum()) == 1 << 22, "the bins' weights do not add up to 2^22")

    return Case(
        lambda: tabulate(skellam_law(Fraction(deviation**2))),
        absent("none"),
        check,
        {"deviation": deviation},
        repeats=5,
    )


_GOAL = (Target("params.msamples_per_s", at_least=100.0, levels=("avx512",)),)
_TITLE = (
    "1e6 Skellam samples of standard deviation {} added modulo 2^32 | NumPy, difference of two Poisson draws (floats)"
)

DP_TABLE_ROWS = (
    *(Row(f"dp.skellam.{s}", _TITLE.format(s), _skellam(s), _GOAL) for s in (1, 100, 4096)),
    Row(
        "dp.skellam.100.portable",
        "the same with the portable level forced, deviation 100 | NumPy, difference of two Poisson draws (floats)",
        _skellam(100, "portable"),
    ),
    Row("dp.skellam.table.4096", "the table of standard deviation 4096, built from nothing | no peer", _table),
)
