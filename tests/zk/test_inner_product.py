"""Bulletproofs' inner-product argument: all vectors of a tiny group, forgeries, sizes, every byte of a real proof."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from privcomp.algebra import BN254, RISTRETTO255, Group, Points, Scalars
from privcomp.commitments import Generators
from privcomp.errors import BufferTypeError, CodecError, ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.zk import InnerProduct, InnerProductProof
from tests.reference.toy_group import toy_group
from tests.zk.recording import challenges, first_changed


def bases(group: Group, n: int) -> InnerProduct:
    found = Generators.derive(group, 1, 2 * n)
    return InnerProduct(found.messages[:n], found.messages[n:], found.product)


def toy_bases(group: Group, n: int) -> InnerProduct:
    found = group.hash_many([b"%d" % k for k in range(2 * n + 1)], b"toy")
    return InnerProduct(found[:n], found[n : 2 * n], found[2 * n])


def refused(argument: InnerProduct, commitment: Points, proof: InnerProductProof, label: str = "test") -> bool:
    try:
        argument.check(Transcript(label), commitment, proof)
    except RemoteError:
        return True
    return False


def draw(group: Group, n: int, seed: int) -> Scalars:
    return group.scalars_from_wide(np.random.default_rng(seed).bytes(64 * n))


@pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)
@pytest.mark.parametrize("n", [2, 4, 32])
def test_sizes(group: Group, n: int) -> None:
    argument, a, b = bases(group, n), draw(group, n, 1), draw(group, n, 2)
    commitment = argument.commit(a, b)
    prover, verifier = Transcript("test"), Transcript("test")
    proof = argument.prove(prover, a, b)
    argument.check(verifier, commitment, argument.decode(proof.encode()))
    assert prover.challenge_bytes("end", 32) == verifier.challenge_bytes("end", 32)
    assert len(proof.encode()) == 2 * argument.rounds * group.encoding_bytes + 64
    assert refused(argument, commitment + group.generator, proof)
    assert refused(argument, argument.commit(b, a), proof)
    assert refused(argument, commitment, proof, "other")


def test_a_commitment_made_up_from_the_proof() -> None:
    """Any L, R, a, b, and the P that fits them: accepted where nothing fixes P, refused by `check`."""
    group, argument = RISTRETTO255, bases(RISTRETTO255, 4)
    points = group.hash_many([b"%d" % k for k in range(4)], b"forgery")
    forged = InnerProductProof(points[:2], points[2:], group.scalar(5), group.scalar(6))
    squares, back, s = argument.replay(Transcript("test"), forged)
    made_up = argument.g.msm_var(s * forged.a) + argument.h.msm_var(s.inverse() * forged.b)
    made_up += argument.u * (forged.a * forged.b) - forged.left.msm_var(squares) - forged.right.msm_var(back)
    assert refused(argument, made_up, forged)


def test_challenges_depend_on_everything_before_them() -> None:
    group, argument = RISTRETTO255, bases(RISTRETTO255, 4)
    a, b, other = draw(group, 4, 1), draw(group, 4, 2), group.hash(b"other", b"test")
    commitment, proof = argument.commit(a, b), argument.prove(Transcript("test"), a, b)

    def honest(transcript: Transcript) -> None:
        argument.check(transcript, commitment, proof)

    def moved(points: Points, k: int) -> Points:
        return Points.concat([p + other if j == k else p for j, p in enumerate(points)])

    statements = [
        (InnerProduct(moved(argument.g, 3), argument.h, argument.u), commitment),
        (InnerProduct(argument.g, moved(argument.h, 0), argument.u), commitment),
        (InnerProduct(argument.g, argument.h, argument.u + other), commitment),
        (argument, commitment + other),
    ]
    for changed, point in statements:
        assert challenges(lambda t, c=changed, p=point: c.check(t, p, proof))[0] != challenges(honest)[0]
    one = group.scalar(1)
    for k in range(2):
        for forged in (
            InnerProductProof(moved(proof.left, k), proof.right, proof.a, proof.b),
            InnerProductProof(proof.left, moved(proof.right, k), proof.a, proof.b),
        ):
            found, before = challenges(lambda t, f=forged: argument.check(t, commitment, f)), challenges(honest)
            assert [x == y for x, y in zip(found, before, strict=True)] == [True] * k + [False] * (3 - k)
    for forged in (
        InnerProductProof(proof.left, proof.right, proof.a + one, proof.b),
        InnerProductProof(proof.left, proof.right, proof.a, proof.b + one),
    ):
        assert first_changed(honest, lambda t, f=forged: argument.check(t, commitment, f)) == "end"


def test_every_vector_of_a_tiny_group() -> None:
    q = 5
    with toy_group(q, 11) as group:
        argument = toy_bases(group, 2)
        done = 0
        for values in itertools.product(range(q), repeat=4):
            a, b = group.scalars(values[:2]), group.scalars(values[2:])
            try:
                proof = argument.prove(Transcript("test"), a, b)
            except RemoteError:
                continue
            assert not refused(argument, argument.commit(a, b), argument.decode(proof.encode()))
            done += 1
        assert done > q**4 / 2


def test_single_forgeries_in_a_tiny_group() -> None:
    """One element of an honest proof exchanged by every other one: accepted with chance about 1/q, no more."""
    q, rate = 31, [0, 0]
    with toy_group(q, 311) as group:
        argument = toy_bases(group, 4)
        for seed in range(12):
            a, b = draw(group, 4, seed), draw(group, 4, seed + 100)
            try:
                proof = argument.prove(Transcript("test"), a, b)
            except RemoteError:
                continue
            commitment = argument.commit(a, b)
            for k in range(1, q, 3):
                shift, step = group.generator * group.scalar(k), group.scalar(k)
                forgeries = [
                    InnerProductProof(proof.left, proof.right, proof.a + step, proof.b),
                    InnerProductProof(proof.left, proof.right, proof.a, proof.b + step),
                ]
                for place in range(2):
                    moved = [p + shift if j == place else p for j, p in enumerate(proof.left)]
                    forgeries.append(InnerProductProof(Points.concat(moved), proof.right, proof.a, proof.b))
                    moved = [p + shift if j == place else p for j, p in enumerate(proof.right)]
                    forgeries.append(InnerProductProof(proof.left, Points.concat(moved), proof.a, proof.b))
                for forgery in forgeries:
                    rate[0] += not refused(argument, commitment, forgery)
                    rate[1] += 1
        assert rate[1] > 300
        assert rate[0] <= rate[1] / q + 5 * (rate[1] / q) ** 0.5


def test_every_byte_of_a_proof_counts() -> None:
    argument, a, b = bases(RISTRETTO255, 4), draw(RISTRETTO255, 4, 3), draw(RISTRETTO255, 4, 4)
    commitment, data = argument.commit(a, b), argument.prove(Transcript("test"), a, b).encode()
    for k in range(len(data)):
        forged = bytearray(data)
        forged[k] ^= 1 << k % 8
        try:
            proof = argument.decode(forged)
        except CodecError:
            continue
        assert refused(argument, commitment, proof)
    for bad in (b"", data[:-1], data + b"\0"):
        with pytest.raises(CodecError, match="bytes where"):
            argument.decode(bad)
    half = len(data[:-64]) // 2
    assert refused(
        argument, commitment, argument.decode(data[half:-64] + data[:half] + data[-64:])
    )  # L and R exchanged
    assert refused(argument, commitment, argument.decode(data[:-64] + data[-32:] + data[-64:-32]))  # a and b exchanged


def test_misuse() -> None:
    argument = bases(RISTRETTO255, 4)
    for g, h in ((argument.g[:3], argument.h[:3]), (argument.g[:1], argument.h[:1]), (argument.g, argument.h[:2])):
        with pytest.raises(ParameterError, match="power of two"):
            InnerProduct(g, h, argument.u)
    a = draw(RISTRETTO255, 4, 1)
    with pytest.raises(ParameterError, match="the bases have 4"):
        argument.prove(Transcript("test"), a[:2], a)
    proof = argument.prove(Transcript("test"), a, a)
    commitment = argument.commit(a, a)
    assert refused(argument, commitment, InnerProductProof(proof.left[:1], proof.right[:1], proof.a, proof.b))
    assert refused(bases(RISTRETTO255, 8), commitment, proof)
    assert refused(argument, BN254.hash_many([b"a"], b"d"), proof)
    assert refused(argument, Points.concat([commitment, commitment]), proof)
    with pytest.raises(ParameterError, match="as many L as R"):
        InnerProductProof(proof.left, proof.right[:1], proof.a, proof.b)
    with pytest.raises(ParameterError, match="one a and one b"):
        InnerProductProof(proof.left, proof.right, a, proof.b)
    for bad in (192, None, "x" * 192):
        with pytest.raises(BufferTypeError):
            argument.decode(bad)
