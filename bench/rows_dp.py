"""Noise for differential privacy: exact samplers against what a user would call otherwise."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import absent, opendp, versioned
from privcomp.samplers import DiscreteGaussian, DiscreteLaplace

__all__ = ["DP_ROWS"]

SEED = 20240601
#: Samples of a full row; the peers of these rows are exact or fast, not both, and the exact one gets fewer.
_N, _QUICK_N, _EXACT_N = 10**6, 10**4, 200


def _spread(name: str, samples: Any, deviation: float) -> None:
    """Mean and standard deviation within six standard errors (excess kurtosis at most 3)."""
    n = len(samples)
    values = np.asarray(samples, np.float64)
    expect(abs(values.mean()) <= 6 * deviation / n**0.5, f"{name}: the mean is not 0")
    expect(abs(values.std() / deviation - 1) <= 6 * (5 / n) ** 0.5 / 2, f"{name}: the standard deviation is off")


def _gaussian(sigma: int, peers: bool, quick: bool, exact_peer: bool) -> Case:
    """Discrete Gaussian samples. NumPy's are continuous, of doubles, and from no cryptographic generator."""
    n = _QUICK_N if quick else _N
    law = DiscreteGaussian(sigma**2)
    generator = np.random.default_rng(SEED)
    acc = np.zeros(n, np.uint64)

    # Memory that is used again: noise is added to a vector that is there already.
    def ours() -> Any:
        acc[:] = 0
        law.add_var(acc)
        return acc

    def check(result: Any, peer_result: Any) -> None:
        _spread("ours", result.view(np.int64), law.variance**0.5)
        if peer_result is not None:
            _spread("the peer", peer_result, law.variance**0.5)

    if exact_peer:
        side = _opendp_side("make_gaussian", sigma, n) if peers else absent("OpenDP make_gaussian")
    else:
        out = np.empty(n)

        def continuous() -> Any:
            generator.standard_normal(out=out)
            out.__imul__(sigma)
            return out

        side = Peer(
            versioned("numpy", "NumPy") + " Generator.standard_normal (continuous, not cryptographic)", continuous
        )
    return Case(ours, side, check, {"n": n, "sigma": sigma, "seed": SEED}, report=_rate(n), repeats=15)


def _laplace(scale: int, peers: bool, quick: bool) -> Case:
    n = _QUICK_N if quick else _N
    law = DiscreteLaplace(Fraction(scale))
    acc = np.zeros(n, np.uint64)

    def ours() -> Any:
        acc[:] = 0
        law.add_var(acc)
        return acc

    def check(result: Any, peer_result: Any) -> None:
        _spread("ours", result.view(np.int64), law.variance**0.5)
        if peer_result is not None:
            _spread("the peer", peer_result, law.variance**0.5)

    side = _opendp_side("make_laplace", scale, n) if peers else absent("OpenDP make_laplace")
    return Case(ours, side, check, {"n": n, "scale": scale, "seed": SEED}, report=_rate(n), repeats=15)


def _opendp_side(maker: str, scale: int, n: int) -> Peer:
    """OpenDP's measurement on a vector of integer zeros: exact too. It gets fewer, and its time is scaled up."""
    dp = opendp()
    if dp is None:
        return absent(f"OpenDP {maker}")
    few = min(n, _EXACT_N)
    dp.mod.enable_features("contrib")
    domain = dp.domains.vector_domain(dp.domains.atom_domain(T="i64"), size=few)
    metric = dp.metrics.l2_distance(T="f64") if maker == "make_gaussian" else dp.metrics.l1_distance(T="i64")
    measurement = getattr(dp.measurements, maker)(domain, metric, scale=float(scale))
    zeros = [0] * few
    name = f"{dp.name} {maker}, {few} samples, time x {n // few}"
    return Peer(name, lambda: measurement(zeros), scale=n / few, repeats=5)


def _rate(n: int) -> Any:
    return lambda _, seconds: {"params": {"million_per_s": n / seconds / 1e6}}


#: OpenDP's 0.1 M/s against 150 M/s; NumPy's double, which is no sample of this law, is to be beaten all the same.
_AGAINST = {True: (Target("ratio", at_least=300.0),), False: (Target("ratio", at_least=1.0),)}


def _gaussian_row(label: str, sigma: int, exact_peer: bool = True) -> Row:
    peer = "OpenDP make_gaussian on fewer, scaled" if exact_peer else "NumPy standard_normal"
    suffix = "" if exact_peer else ".numpy"
    return Row(
        f"dp.gaussian.{label}{suffix}",
        f"1e6 discrete Gaussian samples, sigma {label}, added to a vector | {peer}",
        lambda quick, peers: _gaussian(sigma, peers, quick, exact_peer),
        (Target("params.million_per_s", at_least=150.0, levels=("avx512",)), *_AGAINST[exact_peer]),
    )


DP_ROWS = (
    *(_gaussian_row(label, sigma) for label, sigma in (("1", 1), ("10", 10), ("1e3", 10**3), ("1e6", 10**6))),
    _gaussian_row("10", 10, exact_peer=False),
    *(
        Row(
            f"dp.laplace.{scale}",
            f"1e6 discrete Laplace samples, scale {scale}, added to a vector | OpenDP make_laplace on fewer, scaled",
            lambda quick, peers, scale=scale: _laplace(scale, peers, quick),
            (Target("ratio", at_least=300.0),),
        )
        for scale in (1, 100, 4096)
    ),
)
