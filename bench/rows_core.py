"""Kernels of the C core that have a peer of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import absent, mpyc, versioned
from privcomp import _core

__all__ = ["CORE_ROWS"]

SEED = 20240601
_SHAMIR_N, _SHAMIR_T = 100, 50
#: On the Zen 5 core with AVX-512 that targets in seconds are for, MPyC takes this long per share: elsewhere the ratio
#: stands for them.
_MPYC_NS = 3380.0


def _shamir(quick: bool, peers: bool, *, level: str | None = None) -> Case:
    """Shares of d secrets below 2^61 - 1, 50 of 100. MPyC shares fewer secrets; its time is scaled up."""
    d, peer_d = (1000, 5) if quick else (10**6, 500)
    n, t = _SHAMIR_N, _SHAMIR_T
    secrets = np.random.default_rng(SEED).integers(0, (1 << 61) - 1, d, dtype=np.uint64)
    points = np.arange(1, n + 1, dtype=np.uint64)
    seed = bytes(range(32))

    # Memory that is used again, as a caller has it who shares block after block.
    shares = np.zeros((n, d), dtype=np.uint64)

    def ours() -> Any:
        return _core.shamir_share(_core.M61, secrets, points, t, seed, out=shares)

    def check(result: Any, peer_result: Any) -> None:
        expect(result.shape == (n, d), "our shares have the wrong shape")
        back = _core.shamir_combine(_core.M61, points[n - t :], np.ascontiguousarray(result[n - t :]))
        expect(np.array_equal(back, secrets), "our shares do not give the secrets")
        expect(not np.array_equal(result[0], secrets), "our shares are the secrets")
        if mp is not None:
            # Each side's shares, opened by the other side.
            some = result[:t, :5]
            opened = mp.thresha.recombine(field, [(i + 1, [int(v) for v in some[i]]) for i in range(t)])
            expect([int(v) % field.modulus for v in opened] == secrets[:5].tolist(), "MPyC cannot open our shares")
            theirs = np.array([[int(v) for v in row] for row in peer_result[n - t :]], dtype=np.uint64)
            back = _core.shamir_combine(_core.M61, points[n - t :], theirs)
            expect(np.array_equal(back, secrets[:peer_d]), "we cannot open MPyC's shares")

    side = absent("MPyC random_split")
    mp = mpyc() if peers else None
    if mp is not None:
        field = mp.finfields.GF((1 << 61) - 1)
        few = [field(int(v)) for v in secrets[:peer_d]]
        side = Peer(
            f"{mp.name} random_split, {peer_d} secrets, time x {d // peer_d}",
            lambda: mp.thresha.random_split(field, few, t - 1, n),
            scale=d / peer_d,
            repeats=3,
        )
    return Case(
        ours,
        side,
        check,
        {"secrets": d, "n": n, "threshold": t, "field": "2^61-1", "peer_secrets": peer_d, "seed": SEED},
        report=lambda _, seconds: {"params": {"ns_per_share": seconds / (n * d) * 1e9}},
        repeats=5,
        level=level,
    )


def _shamir_portable(quick: bool, peers: bool) -> Case:
    return _shamir(quick, peers, level="portable")


def _pack(quick: bool, peers: bool) -> Case:
    """u32 values to 26 bits each and back. The peer is what NumPy offers: bits by shifts, then packbits, and back."""
    d, width = 10**4 if quick else 10**6, 26
    values = np.random.default_rng(SEED).integers(0, 1 << width, d, dtype=np.uint32)
    places = np.arange(width, dtype=np.uint32)

    def ours() -> Any:
        packed = _core.pack(values, width)
        return packed, _core.unpack(packed, d, width)

    def peer() -> Any:
        bits = ((values[:, None] >> places) & 1).astype(np.uint8)
        packed = np.packbits(bits, bitorder="little").tobytes()
        back = np.unpackbits(np.frombuffer(packed, np.uint8), count=d * width, bitorder="little").reshape(d, width)
        return packed, (back.astype(np.uint32) << places).sum(axis=1, dtype=np.uint32)

    def check(result: Any, peer_result: Any) -> None:
        expect(result[0] == peer_result[0], "packed bytes differ")
        expect(np.array_equal(result[1], values) and np.array_equal(peer_result[1], values), "values do not come back")

    name = versioned("numpy", "NumPy") + " packbits, unpackbits"
    return Case(ours, Peer(name, peer, repeats=3), check, {"d": d, "bits": width, "seed": SEED}, repeats=15)


CORE_ROWS = (
    Row(
        "core.shamir.1e6.50of100",
        "Shamir shares of 1e6 secrets, 50 of 100 | MPyC random_split on fewer secrets, scaled",
        _shamir,
        (
            Target("params.ns_per_share", at_most=2.5, levels=("avx512",)),
            Target("ratio", at_least=_MPYC_NS / 2.5, levels=("portable", "aesni", "vaes")),
        ),
    ),
    Row(
        "core.shamir.1e6.50of100.portable",
        "the same with the portable level forced | MPyC random_split on fewer secrets, scaled",
        _shamir_portable,
        (
            Target("params.ns_per_share", at_most=12.0, levels=("avx512",)),
            Target("ratio", at_least=_MPYC_NS / 12.0, levels=("portable", "aesni", "vaes")),
        ),
    ),
    Row("core.pack.1e6", "1e6 values packed to 26 bits and unpacked | NumPy packbits, unpackbits", _pack),
)
