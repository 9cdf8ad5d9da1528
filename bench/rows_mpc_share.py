"""Sharing vectors among servers, end to end: as a caller has it who shares block after block, on two cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import absent, mpyc, versioned
from privcomp.algebra import M61
from privcomp.sharing import Share, combine, combine_additive, share_additive, share_rows

__all__ = ["MPC_SHARE_ROWS"]

SEED = 20240601
THREADS = 2
_WHERE = {"owner": b"client", "context": b"bench"}


def _additive(quick: bool, peers: bool) -> Case:
    """Three-party shares of d words of 64 bits: two seeds and a vector. NumPy draws two vectors and subtracts them."""
    d, parties = 10**5 if quick else 10**6, 3
    secrets = np.random.default_rng(SEED).integers(0, 1 << 64, d, dtype=np.uint64)
    out = np.zeros_like(secrets)  # memory that is used again
    generator = np.random.default_rng(SEED + 1)

    def ours() -> Any:
        return share_additive(secrets, parties, out=out, threads=THREADS, **_WHERE)

    def peer() -> Any:
        drawn = [generator.integers(0, 1 << 64, d, dtype=np.uint64) for _ in range(parties - 1)]
        rest = secrets - drawn[0]
        rest -= drawn[1]
        return [*drawn, rest]

    def check(result: Any, peer_result: Any) -> None:
        expect(np.array_equal(combine_additive(result, **_WHERE), secrets), "our shares do not give the secrets")
        expect(not np.array_equal(result[-1].body, secrets), "a share is the secrets")
        if peer_result is not None:
            total = peer_result[0] + peer_result[1] + peer_result[2]
            expect(np.array_equal(total, secrets), "NumPy's shares do not give the secrets")

    side = Peer(versioned("numpy", "NumPy") + " PCG64, subtract", peer, repeats=5) if peers else absent("NumPy")
    return Case(
        ours,
        side,
        check,
        {"words": d, "bits": 64, "parties": parties, "threads": THREADS, "peer_threads": 1, "seed": SEED},
        report=lambda _, seconds: {"params": {"words_per_s": d / seconds}},
        repeats=15,
        loops=8,  # block after block
    )


def _shamir(quick: bool, peers: bool) -> Case:
    """50-of-100 shares of d secrets. MPyC shares fewer secrets; its time is scaled up."""
    d, peer_d = (10**4, 5) if quick else (10**6, 500)
    n, k = 100, 50
    secrets = np.random.default_rng(SEED).integers(0, M61.modulus, d, dtype=np.uint64)
    points = np.arange(1, n + 1, dtype=np.uint64)
    shares = np.zeros((n, d), np.uint64)  # memory that is used again

    def ours() -> Any:
        return share_rows(secrets, k, points, out=shares, threads=THREADS)

    def check(result: Any, peer_result: Any) -> None:
        rows = [Share(b"client", b"bench", M61, k, i + 1, result[i]) for i in range(n - k - 1, n)]
        expect(np.array_equal(combine(rows, **_WHERE), secrets), "our shares do not give the secrets")
        if mp is not None:
            # Each side's shares, opened by the other side.
            some = [(i + 1, [int(v) for v in result[i, :5]]) for i in range(k)]
            opened = mp.thresha.recombine(field, some)
            expect([int(v) % field.modulus for v in opened] == secrets[:5].tolist(), "MPyC cannot open our shares")
            theirs = np.array([[int(v) for v in row] for row in peer_result[n - k :]], dtype=np.uint64)
            rows = [Share(b"client", b"bench", M61, k, n - k + i + 1, row) for i, row in enumerate(theirs)]
            expect(np.array_equal(combine(rows, **_WHERE), secrets[:peer_d]), "we cannot open MPyC's shares")

    side = absent("MPyC random_split")
    mp = mpyc() if peers else None
    if mp is not None:
        field = mp.finfields.GF(M61.modulus)
        few = [field(int(v)) for v in secrets[:peer_d]]
        side = Peer(
            f"{mp.name} random_split, {peer_d} secrets, time x {d // peer_d}",
            lambda: mp.thresha.random_split(field, few, k - 1, n),
            scale=d / peer_d,
            repeats=3,
        )
    return Case(
        ours,
        side,
        check,
        {
            "secrets": d,
            "n": n,
            "threshold": k,
            "field": "2^61-1",
            "threads": THREADS,
            "peer_threads": 1,
            "peer_secrets": peer_d,
            "seed": SEED,
        },
        report=lambda _, seconds: {"params": {"ns_per_share": seconds / (n * d) * 1e9}},
        repeats=5,
    )


MPC_SHARE_ROWS = (
    Row(
        "mpc.share.additive",
        "additive 3-party shares of 1e6 words of 64 bits, two threads | NumPy, a generator that is not cryptographic",
        _additive,
        (Target("params.words_per_s", at_least=1e9, levels=("vaes", "avx512")),),
    ),
    Row(
        "mpc.share.shamir.50of100.1e6",
        "Shamir shares of 1e6 secrets, 50 of 100, two threads | MPyC random_split on fewer secrets, scaled",
        _shamir,
        (Target("ours_s", at_most=0.4, levels=("aesni", "vaes", "avx512")),),
    ),
)
