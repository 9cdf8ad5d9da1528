"""Range proofs: every size, the edges, what no honest prover can do, and every part of a proof and its context."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from privcomp.algebra import BN254, RISTRETTO255, Group, Points, Scalar, Scalars
from privcomp.errors import BufferTypeError, CodecError, ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.zk import Range, RangeProof, range_proof
from tests.zk.recording import challenges, first_changed


def refused(statement: Range, commitments: Points, proof: RangeProof, label: str = "test") -> bool:
    try:
        statement.check(Transcript(label), commitments, proof)
    except RemoteError:
        return True
    return False


@pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)
@pytest.mark.parametrize(("bits", "count"), [(8, 1), (8, 4), (16, 2), (32, 1), (64, 1)])
def test_sizes(group: Group, bits: int, count: int) -> None:
    statement = Range(bits, count, group)
    top = (1 << bits) - 1
    for values in ([0] * count, [top] * count, np.random.default_rng(bits).integers(0, top, count, np.uint64, True)):
        numbers = np.array(values, np.uint64)
        commitments, blindings = statement.commit(numbers)
        pedersen = statement.pedersen
        for k in range(count):
            pedersen.check(commitments[k], group.scalars([int(numbers[k])]), blindings[k])
        prover, verifier = Transcript("test"), Transcript("test")
        proof = statement.prove(prover, numbers, blindings)
        data = proof.encode()
        statement.check(verifier, commitments, statement.decode(data))
        assert prover.challenge_bytes("end", 32) == verifier.challenge_bytes("end", 32)
        rounds = (bits * count).bit_length() - 1
        assert len(data) == (4 + 2 * rounds) * group.encoding_bytes + 5 * 32


class Liar(Range):
    """A prover that does not look at its numbers, and commits to what it likes."""

    def _check_values(self, values: np.ndarray) -> np.ndarray:
        return values


def test_numbers_out_of_range() -> None:
    """256 has no eight bits. What a prover then sends does not hold."""
    statement, liar = Range(8), Liar(8)
    blindings = RISTRETTO255.random_scalars(1)
    for value in (256, 257, 1 << 40, (1 << 64) - 1):
        numbers = np.array([value], np.uint64)
        proof = liar.prove(Transcript("test"), numbers, blindings)
        assert refused(statement, liar._commitments(numbers, blindings), proof)


class Negative(Range):
    """A prover that shows the bits of 255 and commits to -1: as far from it as the group is large."""

    def _commitments(self, values: np.ndarray, blindings: Scalars) -> Points:
        pedersen = self.pedersen
        return pedersen.bases * self.group.scalars([-1]) + pedersen.blinding * blindings


def test_minus_one() -> None:
    statement, liar = Range(8), Negative(8)
    blindings, numbers = RISTRETTO255.random_scalars(1), np.array([255], np.uint64)
    commitments = liar._commitments(numbers, blindings)
    proof = liar.prove(Transcript("test"), numbers, blindings)
    for rng in (os.urandom, bytes):  # a verifier without entropy: the weight depends on the proof still
        with pytest.raises(RemoteError, match="does not hold"):
            statement.check(Transcript("test"), commitments, proof, rng)


def test_other_bounds_of_the_same_size() -> None:
    """Twice eight bits are once sixteen, to everything but the statement."""
    numbers = np.array([7, 9], np.uint64)
    commitments, blindings = Range(8, 2).commit(numbers)
    proof = Range(8, 2).prove(Transcript("test"), numbers, blindings)
    assert refused(Range(16), commitments[:1], proof)
    assert refused(Range(16), commitments[1:], proof)
    before = challenges(lambda t: Range(8, 2).check(t, commitments, proof))
    after = challenges(lambda t: Range(16).check(t, commitments[:1], proof))
    assert not {found for _, found in before} & {found for _, found in after}


def test_the_context_counts() -> None:
    statement = Range(8, 2)
    numbers = np.array([1, 2], np.uint64)
    commitments, blindings = statement.commit(numbers)
    proof = statement.prove(Transcript("test"), numbers, blindings)
    assert not refused(statement, commitments, proof)
    assert refused(statement, commitments, proof, "other")
    assert refused(statement, Points.concat([commitments[1], commitments[0]]), proof)
    assert refused(statement, commitments + RISTRETTO255.generator, proof)
    assert refused(statement, commitments[:1], proof)
    longer = Transcript("test")
    longer.append("round", b"2")
    with pytest.raises(RemoteError):
        statement.check(longer, commitments, proof)


def test_every_part_counts() -> None:
    """Each element and scalar by another one, by 0, and exchanged with its neighbour; each byte."""
    statement = Range(8)
    numbers = np.array([200], np.uint64)
    commitments, blindings = statement.commit(numbers)
    data = statement.prove(Transcript("test"), numbers, blindings).encode()
    parts = [data[k : k + 32] for k in range(0, len(data), 32)]
    other = RISTRETTO255.generator.encode(), RISTRETTO255.scalar(12345).to_bytes()
    tried = 0
    for k in range(len(parts)):
        is_scalar = 4 <= k < 7 or k >= len(parts) - 2
        forgeries = [other[is_scalar], bytes(32)]
        for forged in forgeries:
            proof = statement.decode(b"".join([*parts[:k], forged, *parts[k + 1 :]]))
            assert refused(statement, commitments, proof)
            tried += 1
    for k in range(len(parts) - 1):
        swapped = [*parts[:k], parts[k + 1], parts[k], *parts[k + 2 :]]
        try:
            proof = statement.decode(b"".join(swapped))
        except CodecError:
            continue
        assert refused(statement, commitments, proof)
        tried += 1
    for k in range(len(data)):
        forged = bytearray(data)
        forged[k] ^= 1 << k % 8
        try:
            proof = statement.decode(forged)
        except CodecError:
            continue
        assert refused(statement, commitments, proof)
        tried += 1
    assert tried > 100
    for bad in (b"", data[:-1], data + b"\0", data[:-32]):
        with pytest.raises(CodecError, match="has others"):
            statement.decode(bad)


class Canceller(Range):
    """Says tau + 1 and mu - 1: an error in each of the two equations, before the same element."""

    def _third_challenge(self, transcript: Transcript, t: Scalar, tau: Scalar, mu: Scalar) -> Scalar:
        one = self.group.scalar(1)
        return super()._third_challenge(transcript, t, tau + one, mu - one)

    def prove(self, *arguments: Any) -> RangeProof:
        proof, one = super().prove(*arguments), self.group.scalar(1)
        return replace(proof, tau=proof.tau + one, mu=proof.mu - one)


def test_errors_that_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, as the weight between the equations is unpredictable; with a weight of 1 it would be accepted."""
    statement, numbers = Range(8), np.array([3], np.uint64)
    commitments, blindings = statement.commit(numbers)
    forged = Canceller(8).prove(Transcript("test"), numbers, blindings)
    assert refused(statement, commitments, forged)
    monkeypatch.setattr(range_proof, "nonces", lambda transcript, group, n, secret, rng: group.scalars([1] * n))
    assert not refused(statement, commitments, forged)


def test_challenges_depend_on_everything_before_them() -> None:
    """Each part of the proof is absorbed at its place."""
    group, statement, numbers = RISTRETTO255, Range(8, 2), np.array([3, 250], np.uint64)
    commitments, blindings = statement.commit(numbers)
    proof = statement.prove(Transcript("test"), numbers, blindings)
    other, one = group.hash(b"other", b"test"), group.scalar(1)

    def honest(transcript: Transcript) -> None:
        statement.check(transcript, commitments, proof, bytes)

    parts = {
        "a": "range.y", "s": "range.y", "t1": "range.x", "t2": "range.x",
        "t": "range.w", "tau": "range.w", "mu": "range.w",
    }  # fmt: skip
    for name, first in parts.items():
        own = getattr(proof, name)
        forged = replace(proof, **{name: own + (other if isinstance(own, Points) else one)})
        assert first_changed(honest, lambda t, f=forged: statement.check(t, commitments, f, bytes)) == first
    for name, first in {"left": "ipa.e", "right": "ipa.e", "a": "nonces", "b": "nonces"}.items():
        own = getattr(proof.ipa, name)
        forged = replace(proof, ipa=replace(proof.ipa, **{name: own + (other if isinstance(own, Points) else one)}))
        assert first_changed(honest, lambda t, f=forged: statement.check(t, commitments, f, bytes)) == first
    for k in range(2):
        moved = Points.concat([p + other if j == k else p for j, p in enumerate(commitments)])
        assert first_changed(honest, lambda t, m=moved: statement.check(t, m, proof, bytes)) == "range.y"


def test_parts_of_another_shape() -> None:
    """A with no rows and T1 with three would be A absorbed after y and z: -1 could be proven then."""
    statement, numbers = Range(8), np.array([3], np.uint64)
    commitments, blindings = statement.commit(numbers)
    proof = statement.prove(Transcript("test"), numbers, blindings)
    two, three = Points.concat([proof.a, proof.s]), Scalars.concat([proof.t, proof.tau, proof.mu])
    for name in ("a", "s", "t1", "t2"):
        for part in (two, two[:0]):
            with pytest.raises(ParameterError, match="one element or scalar each"):
                replace(proof, **{name: part})
    for name in ("t", "tau", "mu"):
        for part in (three, three[:0]):
            with pytest.raises(ParameterError, match="one element or scalar each"):
                replace(proof, **{name: part})
    for name, part in (("a", BN254.generator), ("t", BN254.scalar(1))):
        assert refused(statement, commitments, replace(proof, **{name: part}))
    assert refused(statement, BN254.hash_many([b"a"], b"d"), proof)


def test_no_blinding_at_all() -> None:
    """0 under the blinding 0 is the identity: nothing is hidden, and the proof is as good as any."""
    statement, numbers = Range(8), np.array([0], np.uint64)
    blindings = RISTRETTO255.scalars([0])
    commitments = statement._commitments(numbers, blindings)
    assert commitments[0].is_identity()
    assert not refused(statement, commitments, statement.prove(Transcript("test"), numbers, blindings))


def test_blindings_hide() -> None:
    statement = Range(8)
    numbers = np.array([3], np.uint64)
    (one, blindings), (two, _) = statement.commit(numbers), statement.commit(numbers)
    assert one != two
    first, second = (statement.prove(Transcript("test"), numbers, blindings).encode() for _ in range(2))
    same = [k for k in range(0, len(first), 32) if first[k : k + 32] == second[k : k + 32]]
    assert not same


def test_misuse() -> None:
    for arguments in ((7,), (8, 3), (8, 0), (64, 128), (0,)):
        with pytest.raises(ParameterError):
            Range(*arguments)
    statement = Range(8, 2)
    good = np.array([1, 2], np.uint64)
    _, blindings = statement.commit(good)
    for bad in (np.array([1], np.uint64), np.array([1, 2], np.int64), np.array([[1, 2]], np.uint64)):
        with pytest.raises(BufferTypeError):
            statement.commit(bad)
    with pytest.raises(ParameterError, match="below 2\\^8"):
        statement.commit(np.array([1, 256], np.uint64))
    with pytest.raises(ParameterError, match="below 2\\^8"):
        statement.prove(Transcript("test"), np.array([1, 256], np.uint64), blindings)
    for bits in (np.int64(8), 8.0):
        with pytest.raises(ParameterError):
            Range(bits)
    with pytest.raises(BufferTypeError):
        statement.commit([1, 2])
    for data in (480, None, "x" * 480):
        with pytest.raises(BufferTypeError):
            statement.decode(data)
    with pytest.raises(ParameterError, match="blindings"):
        statement.prove(Transcript("test"), good, Scalars.concat([blindings, blindings]))
