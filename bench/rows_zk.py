"""Commitments and sums of multiples, beside an optimised library over another curve.

py-arkworks-bls12381 is what Python has of that kind. BLS12-381 G1 has coordinates of 381 bits and ours has 255, at
about the same security against discrete logarithms (some 2^127 and 2^126 steps): part of the ratio is the group.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import absent, arkworks, zksnake
from privcomp.algebra import RISTRETTO255
from privcomp.attest import Attestation, AttestationSpec, UpdateContext, attest_var, check_attestation
from privcomp.commitments import Hyrax
from privcomp.encoding import FixedPoint
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.ledger import Ledger
from privcomp.policy import Policy
from privcomp.rounds import RoundClient, RoundServer, RoundSpec
from privcomp.transcript import Transcript
from privcomp.zk import Range, norm

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


def _arkworks_commitment(peers: bool, values: Any, scale: float = 1.0) -> Peer:
    """The peer commits to non-negative values by one multi-scalar multiplication; it proves nothing."""
    ark = arkworks() if peers else None
    if ark is None:
        return absent("py-arkworks-bls12381 multiexp")
    points = _peer_points(ark, len(values))
    scalars = [ark.module.Scalar(int(v)) for v in values]
    return Peer(
        ark.name + " commitment alone" + (f", time x {scale:g}" if scale != 1 else ""),
        lambda: ark.module.G1Point.multiexp_unchecked(points, scalars),
        scale=scale,
        repeats=3,
    )


NOISE_BOUND = 4800
COLUMNS = 1024


def _norm(d: int, columns: int = 1024, *, noise: bool = False, repeats: int = 5) -> Callable[[bool, bool], Case]:
    """d entries of 16 bits, the last one a weight outside the norm: every entry in its interval, exact L2 bound.

    `ours_s` is commitment and proof, blindings drawn; with `noise` of a second vector as well. Checking is timed in the
    report, decoding included.
    """

    def build(quick: bool, peers: bool) -> Case:
        size = 5000 if quick else d
        rng = np.random.default_rng(SEED)
        x = np.clip(np.round(rng.normal(0, 3000, size)), -32767, 32767).astype(np.int64)
        x[-1] = 300
        squares = int(np.dot(x[:-1], x[:-1]))
        weight = norm.EntryRange(size - 1, 1, 1000, outside_norm=True)
        parts = [(norm.NormStatement(size, -32767, 32767, (norm.L2AtMost(squares), weight), columns), x)]
        if noise:
            z = np.clip(np.round(rng.normal(0, 445, size)), -NOISE_BOUND, NOISE_BOUND).astype(np.int64)
            z[-1] = 0
            none = norm.EntryRange(size - 1, 0, 0)
            parts.append((norm.NormStatement(size, -NOISE_BOUND, NOISE_BOUND, (none,), columns), z))
        context = {"client": b"bench"}
        tables = 0
        for statement, entries in parts:
            norm.commit_var(statement, entries[:1].repeat(size))  # the tables
            tables = norm.scheme(statement).tables_nbytes
            _ = statement.generators

        def ours() -> list[tuple[bytes, bytes]]:
            out = []
            for statement, entries in parts:
                commitment, opening = norm.commit_var(statement, entries)
                proof = norm.prove_var(statement, context, entries, commitment, opening)
                out.append((commitment.encode(), proof))
            return out

        def checked(found: list[tuple[bytes, bytes]], bound: int) -> bool:
            items = []
            for k, (commitment, proof) in enumerate(found):
                statement = parts[k][0]
                if k == 0:
                    claims = (norm.L2AtMost(bound), weight)
                    statement = norm.NormStatement(size, -32767, 32767, claims, columns)
                items.append(norm.Proven(statement, context, commitment, proof))
            return not norm.failures(items)

        def check(result: Any, peer_result: Any) -> None:
            expect(checked(result, squares), "the proof does not hold")
            expect(not checked(result, squares - 1), "a proof of another bound holds")

        def report(result: Any, _: float) -> dict[str, Any]:
            seconds = []
            for _again in range(5):
                start = time.perf_counter()
                for (statement, _entries), (commitment, proof) in zip(parts, result, strict=True):
                    norm.check(statement, context, norm.decode_commitment(statement, commitment), proof)
                seconds.append(time.perf_counter() - start)
            proofs = sum(len(proof) for _, proof in result)
            rows = sum(len(commitment) for commitment, _ in result)
            return {
                "bytes_up": rows + proofs,
                "params": {
                    "verify_s": statistics.median(seconds),
                    "commitment_bytes": rows,
                    "proof_bytes": proofs,
                    "tables_mb": round(tables / 1e6, 1),
                    "lanes_bytes": 32 * parts[0][0].rows,
                },
            }

        some = min(size, 10**6)
        return Case(
            ours,
            _arkworks_commitment(peers, x[:some] + 32767, size / some),
            check,
            {"d": size, "bits": 16, "columns": columns, "noise": noise, "seed": SEED},
            report=report,
            repeats=repeats,
        )

    return build


def _range_proof(quick: bool, peers: bool) -> Case:
    """One number of 64 bits: commitment, proof and check of one."""
    value = 0x0123456789ABCDEF
    values, ranges = np.array([value], np.uint64), Range(64, 1)

    def ours() -> tuple[bytes, float]:
        commitment, opening = ranges.commit(values)
        proof = ranges.prove(Transcript("bench"), values, opening)
        start = time.perf_counter()
        ranges.check(Transcript("bench"), commitment, proof)
        return proof.encode(), time.perf_counter() - start

    def check(result: Any, peer_result: Any) -> None:
        expect(peer_result is None or peer_result[0], "the peer refuses its own proof")

    side = absent("zksnake Bulletproofs")
    snake = zksnake() if peers else None
    if snake is not None:
        theirs = snake.bulletproofs.RangeProof(64, "BN254")

        def run() -> tuple[bool, bytes, float]:
            proof = theirs.prove(value)
            proof = proof[0] if isinstance(proof, tuple) else proof
            start = time.perf_counter()
            return bool(theirs.verify(proof)), proof.to_bytes(), time.perf_counter() - start

        side = Peer(
            snake.name + " RangeProof over BN254", run, report=lambda found: {"peer_bytes_up": len(found[1])}, repeats=3
        )
    return Case(
        ours,
        side,
        check,
        {"bits": 64, "group": "ristretto255"},
        report=lambda result, _: {"bytes_up": len(result[0]), "params": {"verify_s": result[1]}},
    )


class _Driven:
    """One round in one process, the seconds of clients and server apart."""

    def __init__(self, spec: RoundSpec, values: np.ndarray) -> None:
        names = [b"client-%03d" % k for k in range(len(values))]
        identities = {name: Identity.generate() for name in names}
        roster = Roster.of({name: identity.public for name, identity in identities.items()})
        policy = Policy(roster_hash=roster.hash)
        ledger = Ledger(None, Identity.generate())
        self.clients = {
            name: RoundClient(name, identity, policy, MemoryJournal(identity.public), roster)
            for name, identity in identities.items()
        }
        self.values = dict(zip(names, values, strict=True))
        self.server = RoundServer(
            spec, session=bytes(32), round=0, purpose="training", model=b"model", roster=roster, ledger=ledger
        )
        self.client_s = self.server_s = 0.0
        self.bytes_up = dict.fromkeys(names, 0)

    def run(self) -> _Driven:
        clock = time.perf_counter
        messages: Any = {name: self.server.announcement() for name in self.clients}
        for stage in range(5):
            for name, request in messages.items():
                start = clock()
                answers = list(self.clients[name].receive(request, lambda *_, name=name: (self.values[name], 1)))
                middle = clock()
                for answer in answers:
                    self.server.receive(answer, name)
                self.client_s += middle - start
                self.server_s += clock() - middle
                self.bytes_up[name] += sum(map(len, answers))
            start = clock()
            if stage < 4:
                messages = dict(self.server.advance())
            self.server_s += clock() - start
        start = clock()
        self.result = self.server.finish()
        self.server_s += clock() - start
        return self


def _attested_round(quick: bool, peers: bool) -> Case:
    """100 clients, 1e5 entries of 16 bits, every update proven within its interval and norm; the peer is the same round
    without proofs. The statement with noise beside it, which no round sends yet, is proven and checked apart."""
    n, d = (5, 2000) if quick else (100, 10**5)
    rng = np.random.default_rng(SEED)
    values = rng.normal(0, 0.1, (n, d))
    encoding = FixedPoint.for_range(1.0, bits=16, clients=n, entries=d)
    l2 = int(1.1 * d * (0.1 * encoding.quantised_limit) ** 2)
    spec = AttestationSpec(columns=COLUMNS, l2_squared=l2)
    corrupt = Policy().corrupt_for("malicious", n)
    attested = RoundSpec.secure_sum(encoding, attestation=spec, corrupt=corrupt)
    plain = RoundSpec.secure_sum(encoding, corrupt=corrupt)
    attested.statements[0].generators  # noqa: B018  tables and generators are computed once
    norm.commit_var(attested.statements[0], np.zeros(encoding.length, np.int64))

    def check(result: Any, peer_result: Any) -> None:
        expect(not result.result.refused, "an honest client was refused")
        if peer_result is not None:
            both = result.result.decoded.mean, peer_result.result.decoded.mean
            expect(abs(both[0] - both[1]).max() <= 4 * encoding.granularity, "the two rounds give different means")

    def report(found: _Driven, _: float) -> dict[str, Any]:
        noisy = AttestationSpec(columns=COLUMNS, l2_squared=l2, noise=NOISE_BOUND).statements(encoding)
        signal = np.concatenate([np.round(rng.normal(0, 3000, d)), [1, 0]]).astype(np.int64)
        noise = np.concatenate([np.round(rng.normal(0, 445, d)), [0, 0]]).astype(np.int64)
        identity = Identity.generate()
        context = UpdateContext(b"s", 0, b"m", b"r")
        start = time.perf_counter()
        attestation, _blindings = attest_var(noisy, context, b"c", identity, (signal, noise))
        middle = time.perf_counter()
        check_attestation(noisy, context, b"c", identity.public, attestation.to_bytes())
        end = time.perf_counter()
        return {
            "bytes_up": int(statistics.median(found.bytes_up.values())),
            "client_s": found.client_s / n,
            "server_s": found.server_s,
            "params": {
                "attestation_bytes": Attestation.size(attested.statements),
                "lanes_bytes": 32 * attested.statements[0].rows,
                "noise_attestation_bytes": Attestation.size(noisy),
                "noise_client_s": middle - start,
                "noise_check_s": end - middle,
            },
        }

    def peer_report(found: _Driven) -> dict[str, Any]:
        up = int(statistics.median(found.bytes_up.values()))
        return {"peer_bytes_up": up, "params": {"peer_client_s": found.client_s / n, "peer_server_s": found.server_s}}

    peer = Peer("the same round without proofs", lambda: _Driven(plain, values).run(), report=peer_report, repeats=1)
    return Case(
        lambda: _Driven(attested, values).run(),
        peer if peers else absent("the same round without proofs"),
        check,
        {"n": n, "d": d, "bits": 16, "columns": COLUMNS, "seed": SEED},
        report=report,
        repeats=1,
    )


def _norm_row(name: str, title: str, build: Callable[[bool, bool], Case], *targets: Target) -> Row:
    peer = "py-arkworks-bls12381, a commitment alone"
    return Row(f"zk.norm.{name}", f"{title}: committed and proven | {peer}", build, targets, memory=True)


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
    _norm_row("1e4", "1e4 entries of 16 bits, interval and L2 bound", _norm(10**4, repeats=9)),
    _norm_row("1e5", "1e5 entries of 16 bits, interval and L2 bound", _norm(10**5, repeats=9)),
    _norm_row(
        "1e6",
        "1e6 entries of 16 bits, interval and L2 bound",
        _norm(10**6),
        Target("ours_s", at_most=0.3, levels=("avx512",)),
        Target("ours_s", at_most=1.2),
        Target("params.verify_s", at_most=0.01, levels=("avx512",)),
        Target("params.verify_s", at_most=0.03),
        Target("bytes_up", at_most=48_000),
        Target("peak_mb", at_most=24.0),
        Target("ratio", at_least=4.5, levels=("avx512",)),
    ),
    _norm_row("1e6.c11", "the same in rows of 2,048", _norm(10**6, 2048)),
    _norm_row("1e6.c12", "the same in rows of 4,096", _norm(10**6, 4096)),
    _norm_row("1e6.noise", "1e6 entries and their noise, in rows of 1,024", _norm(10**6, noise=True)),
    _norm_row(
        "1e6.noise.c11",
        "1e6 entries and their noise, in rows of 2,048",
        _norm(10**6, 2048, noise=True),
        Target("bytes_up", at_most=50_000),
    ),
    _norm_row("1e6.noise.c12", "1e6 entries and their noise, in rows of 4,096", _norm(10**6, 4096, noise=True)),
    _norm_row("1e7", "1e7 entries of 16 bits, interval and L2 bound", _norm(10**7, repeats=1)),
    Row(
        "zk.rangeproof.64",
        "a number of 64 bits: commitment, proof, check | zksnake, Bulletproofs in Python over arkworks' BN254",
        _range_proof,
    ),
    Row(
        "zk.round.n100.d1e5",
        "whole attested round, n = 100, d = 1e5 | the same round without proofs",
        _attested_round,
    ),
)
