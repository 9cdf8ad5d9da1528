"""Commitments and sums of multiples, beside an optimised library over another curve.

py-arkworks-bls12381 is what Python has of that kind. BLS12-381 G1 has coordinates of 381 bits and ours has 255, at
about the same security against discrete logarithms (some 2^127 and 2^126 steps): part of the ratio is the group.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import absent, arkworks
from privcomp.algebra import RISTRETTO255
from privcomp.commitments import Hyrax

__all__ = ["ZK_ROWS"]

SEED = 20240601


def _peer_points(ark: Any, n: int) -> list[Any]:
    """n different points, each an addition away from the last."""
    step, found = ark.module.G1Point(), [ark.module.G1Point()]
    for _ in range(n - 1):
        found.append(found[-1] + step)
    return found


def _commit(quick: bool, peers: bool) -> Case:
    """1e6 entries of 16 bits in rows of 1024, blindings drawn and added. The peer: one multi-scalar multiplication."""
    d = 10**4 if quick else 10**6
    x = np.random.default_rng(SEED).integers(-32767, 32767, d, dtype=np.int16, endpoint=True)
    scheme = Hyrax()
    scheme.commit_var(x[:1])  # the tables

    def ours() -> Any:
        return scheme.commit_var(x)

    def check(result: Any, peer_result: Any) -> None:
        commitment, opening = result
        scheme.check(commitment, x.astype(np.int64), opening)

    side = absent("py-arkworks-bls12381 multiexp")
    ark = arkworks() if peers else None
    if ark is not None:
        points = _peer_points(ark, d)
        scalars = [ark.module.Scalar(int(v) + 32767) for v in x]  # it takes no negative numbers
        side = Peer(
            ark.name + " one multi-scalar multiplication",
            lambda: ark.module.G1Point.multiexp_unchecked(points, scalars),
        )
    return Case(
        ours,
        side,
        check,
        {"d": d, "bits": 16, "columns": scheme.columns, "group": str(scheme.group), "seed": SEED},
        report=lambda result, _: {"bytes_up": len(result[0].encode())},
        repeats=5,
    )


def _msm(quick: bool, peers: bool) -> Case:
    """Full-size scalars, 65,536 points, variable time on both sides; each side against its own slow way."""
    n = 1 << 10 if quick else 1 << 16
    points = RISTRETTO255.hash_many([b"%d" % k for k in range(n)], b"privcomp-bench")
    wide = np.random.default_rng(SEED).bytes(64 * n)
    scalars = RISTRETTO255.scalars_from_wide(wide)

    def check(result: Any, peer_result: Any) -> None:
        half = n // 2
        parts = points[:half].msm_var(scalars[:half]) + points[half:].msm_var(scalars[half:])
        expect(result == parts, "the sum of the halves differs")
        few = 64
        expect(points[:few].msm_var(scalars[:few]) == points[:few].msm(scalars[:few]), "not the sum of the multiples")

    side = absent("py-arkworks-bls12381 multiexp")
    ark = arkworks() if peers else None
    if ark is not None:
        theirs = _peer_points(ark, n)
        numbers = [
            ark.module.Scalar.from_le_bytes_mod_order(row) for row in (wide[64 * k : 64 * k + 32] for k in range(n))
        ]
        side = Peer(ark.name + " multiexp", lambda: ark.module.G1Point.multiexp_unchecked(theirs, numbers))
    return Case(
        lambda: points.msm_var(scalars), side, check, {"n": n, "group": "ristretto255", "seed": SEED}, repeats=5
    )


ZK_ROWS = (
    Row(
        "zk.commit.1e6",
        "commitment to 1e6 entries of 16 bits in rows of 1024 | py-arkworks-bls12381, one multi-scalar multiplication",
        _commit,
        (Target("ours_s", at_most=0.05, levels=("avx512",)), Target("ratio", at_least=25.0, levels=("avx512",))),
    ),
    Row(
        "zk.msm.65536.full",
        "sum of 65,536 multiples, scalars of 253 bits | py-arkworks-bls12381 multiexp",
        _msm,
        (Target("ratio", at_least=10.0, levels=("avx512",)),),
    ),
)
