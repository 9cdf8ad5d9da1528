"""Sigma protocols: every statement of a tiny group, how often forgeries pass there, every change of a real proof."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from privcomp.algebra import BN254, RISTRETTO255, Group, Point, Points, Scalars
from privcomp.commitments import Pedersen
from privcomp.errors import BufferTypeError, CodecError, ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.zk import Equation, LinearRelation, SigmaProof, sigma
from tests.reference.toy_group import toy_group
from tests.zk.recording import first_changed

each_group = pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)


def same_logarithm(group: Group, x: Scalars, y: Scalars | None = None) -> LinearRelation:
    """x G and y H have the same logarithm: true where y is x."""
    g, h = group.generator, group.hash(b"h", b"test")
    images = g * x[0], h * (x if y is None else y)[0]
    return LinearRelation(group, 1, (Equation(images[0], ((0, g),)), Equation(images[1], ((0, h),))))


def opening(group: Group, values: list[int], blinding: int) -> tuple[LinearRelation, Scalars]:
    pedersen = Pedersen.derive(len(values), group)
    witness = group.scalars([*values, blinding])
    bases = [*pedersen.bases, pedersen.blinding]
    image = pedersen.commit_with(witness[:-1], witness[len(values)])
    return LinearRelation(group, len(witness), (Equation(image, tuple(enumerate(bases))),)), witness


def refused(relation: LinearRelation, proof: SigmaProof, label: str = "test") -> bool:
    try:
        relation.check(Transcript(label), proof)
    except RemoteError:
        return True
    return False


# ---- a tiny group


def test_every_witness_of_a_tiny_group() -> None:
    with toy_group(13, 53) as group:
        g, h = group.generator, group.hash(b"h", b"test")
        for x, y in itertools.product(range(13), repeat=2):
            witness = group.scalars([x, y])
            image, second = g * witness[0] + h * witness[1], g * witness[1]
            relation = LinearRelation(group, 2, (Equation(image, ((0, g), (1, h))), Equation(second, ((1, g),))))
            proof = relation.prove(Transcript("test"), witness)
            relation.check(Transcript("test"), relation.decode(proof.encode()))
            for wrong in ([x + 1, y], [x, y + 1]):
                with pytest.raises(ParameterError, match="does not satisfy"):
                    relation.prove(Transcript("test"), group.scalars(wrong))


def test_every_proof_of_every_false_statement() -> None:
    """All q^3 proofs for false statements about two logarithms: a forger meets the challenge with chance 1/q."""
    q, p = 7, 29
    with toy_group(q, p) as group:
        passed = tried = 0
        elements = [group.generator * group.scalar(k) for k in range(q)]
        scalars = [group.scalars([k]) for k in range(q)]
        for x, y in ((0, 1), (1, 3), (2, 5), (3, 2), (4, 0), (5, 6), (6, 4)):
            relation = same_logarithm(group, group.scalars([x]), group.scalars([y]))
            for one, two in itertools.product(elements, repeat=2):
                for z in scalars:
                    tried += 1
                    passed += not refused(relation, SigmaProof(Points.concat([one, two]), z))
        # For one pair of commitments, the challenge must be the one for which some response exists, and then one does.
        pairs = tried // q
        expected = pairs / q
        assert abs(passed - expected) < 5 * (expected * (1 - 1 / q)) ** 0.5
        assert passed > 0


class Fixed:
    """A transcript whose challenges are all the same, and whose nonces can be chosen."""

    def __init__(self, challenge: int) -> None:
        self.value = challenge

    def append(self, label: bytes, message: bytes) -> None:
        pass

    def challenge(self, label: bytes, length: int) -> bytes:
        return self.value.to_bytes(length, "little")

    def copy(self) -> Fixed:
        return self


def test_a_proof_shows_nothing_of_the_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every challenge, all nonces give every witness of an image the same proofs: a simulator's, once each."""
    q, p = 5, 11
    with toy_group(q, p) as group:
        g, h = group.generator, group.hash(b"h", b"test")
        for image_of in ((1, 2), (0, 0), (3, 4)):
            image = g * group.scalar(image_of[0]) + h * group.scalar(image_of[1])
            relation = LinearRelation(group, 2, (Equation(image, ((0, g), (1, h))),))
            pairs = list(itertools.product(range(q), repeat=2))
            witnesses = [w for w in pairs if g * group.scalar(w[0]) + h * group.scalar(w[1]) == image]
            assert len(witnesses) == q
            for c in range(q):
                simulated = []
                for pair in pairs:  # any response, and the commitment that fits it
                    z = group.scalars(pair)
                    simulated.append(((g * z[0] + h * z[1] - image * group.scalar(c)).encode(), pair))
                for witness in witnesses:
                    proofs = []
                    for nonce in pairs:
                        monkeypatch.setattr(sigma, "nonces", lambda *_, nonce=nonce: group.scalars(nonce))
                        proof = relation.prove(Transcript.over(Fixed(c)), group.scalars(witness))
                        proofs.append((proof.commitments.encode(), tuple(proof.responses.to_ints())))
                    assert sorted(proofs) == sorted(simulated)


def test_single_forgeries_in_a_tiny_group() -> None:
    """An honest proof with one element exchanged is never accepted."""
    q, p = 13, 53
    with toy_group(q, p) as group:
        passed = tried = 0
        for x in range(q):
            relation = same_logarithm(group, group.scalars([x]))
            for _ in range(3):
                proof = relation.prove(Transcript("test"), group.scalars([x]))
                for k in range(1, q):
                    response = proof.responses + group.scalars([k])
                    assert refused(relation, SigmaProof(proof.commitments, response))
                    shift = group.generator * group.scalar(k)
                    first, second = proof.commitments
                    for commitments in ([first + shift, second], [first, second + shift]):
                        tried += 1
                        passed += not refused(relation, SigmaProof(Points.concat(commitments), proof.responses))
        # The response fits the challenge of the right commitment; beside it the wrong one fits no challenge.
        assert tried == q * 3 * 12 * 2
        assert passed == 0


# ---- real groups


@each_group
def test_openings_equalities_and_products_of_statements(group: Group) -> None:
    relation, witness = opening(group, [5, -1, 2**200], 77)
    proof = relation.prove(Transcript("test"), witness)
    relation.check(Transcript("test"), relation.decode(proof.encode()))
    assert len(proof.encode()) == group.encoding_bytes + 4 * 32
    # Two commitments to one value, under two blindings.
    pedersen = Pedersen.derive(1, group)
    b, h = pedersen.bases[0], pedersen.blinding
    witness = group.scalars([9, 1000, 2000])
    one, two = (pedersen.commit_with(witness[:1], witness[k]) for k in (1, 2))
    same = LinearRelation(group, 3, (Equation(one, ((0, b), (1, h))), Equation(two, ((0, b), (2, h)))))
    same.check(Transcript("test"), same.prove(Transcript("test"), witness))
    with pytest.raises(ParameterError, match="does not satisfy"):
        same.prove(Transcript("test"), group.scalars([9, 1000, 2001]))


def with_other_bases(group: Group) -> LinearRelation:
    known = same_logarithm(group, group.scalars([5])).equations
    return LinearRelation(group, 1, tuple(Equation(e.image, ((0, e.terms[0][1] + group.generator),)) for e in known))


CONTEXT: dict[str, Callable[[Group], tuple[str, LinearRelation]]] = {
    "label": lambda group: ("other", same_logarithm(group, group.scalars([5]))),
    "first image": lambda group: ("test", same_logarithm(group, group.scalars([6]), group.scalars([5]))),
    "second image": lambda group: ("test", same_logarithm(group, group.scalars([5]), group.scalars([6]))),
    "bases": lambda group: ("test", with_other_bases(group)),
    "order": lambda group: (
        "test",
        LinearRelation(group, 1, same_logarithm(group, group.scalars([5])).equations[::-1]),
    ),
}


@each_group
@pytest.mark.parametrize("name", CONTEXT)
def test_a_proof_belongs_to_its_statement(group: Group, name: str) -> None:
    relation = same_logarithm(group, group.scalars([5]))
    proof = relation.prove(Transcript("test"), group.scalars([5]))
    assert not refused(relation, proof)
    label, other = CONTEXT[name](group)
    assert refused(other, proof, label)
    before, after = Transcript("test"), Transcript(label)
    relation._state(before)
    other._state(after)
    assert before.challenge_bytes("c", 32) != after.challenge_bytes("c", 32)


def test_challenges_depend_on_everything_before_them() -> None:
    """Each part of statement and proof is absorbed at its place: a change of it changes the next challenge."""
    group = RISTRETTO255
    g, h, other = group.generator, group.hash(b"h", b"test"), group.hash(b"other", b"test")
    witness = group.scalars([3, 4])

    def relation(base: Point = g, image: Point | None = None, index: int = 0, more: tuple = ()) -> LinearRelation:
        first = Equation(g * witness[0] if image is None else image, ((index, base), *more))
        return LinearRelation(group, 2, (first, Equation(h * witness[1], ((1, h), (0, group.identity)))))

    proof = relation().prove(Transcript("test"), witness)
    for changed in (relation(base=other), relation(image=other), relation(index=1), relation(more=((1, h),))):
        assert (
            first_changed(lambda t: relation().check(t, proof), lambda t, c=changed: c.check(t, proof))
            == "sigma.challenge"
        )
    for k in range(2):
        moved = Points.concat([p + other if j == k else p for j, p in enumerate(proof.commitments)])
        forged = SigmaProof(moved, proof.responses)
        assert (
            first_changed(lambda t: relation().check(t, proof), lambda t, f=forged: relation().check(t, f))
            == "sigma.challenge"
        )
        moved = Scalars.concat([z + group.scalar(1) if j == k else z for j, z in enumerate(proof.responses)])
        forged = SigmaProof(proof.commitments, moved)
        assert first_changed(lambda t: relation().check(t, proof), lambda t, f=forged: relation().check(t, f)) == "end"


def test_another_witness_has_other_nonces() -> None:
    """Two witnesses of one statement under a broken rng: equal nonces would give away their difference."""
    group = RISTRETTO255
    g = group.generator
    relation = LinearRelation(group, 2, (Equation(g * group.scalar(3), ((0, g), (1, g))),))
    one, two = (relation.prove(Transcript("test"), group.scalars(pair), bytes) for pair in ([1, 2], [2, 1]))
    assert one.commitments != two.commitments


def test_every_byte_of_a_proof_counts() -> None:
    relation, witness = opening(RISTRETTO255, [1, 2], 3)
    data = relation.prove(Transcript("test"), witness).encode()
    for k in range(len(data)):
        for change in (1, 0x80, 0xFF):
            forged = bytearray(data)
            forged[k] ^= change
            try:
                proof = relation.decode(forged)
            except CodecError:
                continue
            assert refused(relation, proof)
    for bad in (b"", data[:-1], data + b"\0", data[:32]):
        with pytest.raises(CodecError, match="bytes where"):
            relation.decode(bad)


def test_transcripts_go_on_alike() -> None:
    """Proofs in a row: the second one depends on the first."""
    relation, witness = opening(RISTRETTO255, [1], 3)
    prover, verifier = Transcript("test"), Transcript("test")
    first, second = relation.prove(prover, witness), relation.prove(prover, witness)
    relation.check(verifier, first)
    relation.check(verifier, second)
    assert prover.challenge_bytes("end", 32) == verifier.challenge_bytes("end", 32)
    assert refused(relation, second)


def test_nonces() -> None:
    """Fresh for each proof; a broken rng repeats a proof, and never a nonce under another challenge."""
    relation, witness = opening(RISTRETTO255, [1], 3)
    one, two = (relation.prove(Transcript("test"), witness) for _ in range(2))
    assert one.commitments != two.commitments
    dead = [relation.prove(Transcript(label), witness, bytes) for label in ("a", "a", "b")]
    assert dead[0] == dead[1]
    assert dead[2].commitments != dead[0].commitments
    other, other_witness = opening(RISTRETTO255, [1], 4)
    assert other.prove(Transcript("a"), other_witness, bytes).commitments != dead[0].commitments


def test_misuse() -> None:
    g, x = RISTRETTO255.generator, RISTRETTO255.scalars([2])
    good = Equation(g * x[0], ((0, g),))
    for scalars, equations in ((1, ()), (2, (good,)), (0, (good,)), (1, (Equation(g, ((1, g),)),))):
        with pytest.raises(ParameterError, match="each has to occur"):
            LinearRelation(RISTRETTO255, scalars, equations)
    with pytest.raises(ParameterError, match="another group"):
        LinearRelation(BN254, 1, (good,))
    relation = LinearRelation(RISTRETTO255, 1, (good,))
    with pytest.raises(ParameterError, match="does not satisfy"):
        relation.prove(Transcript("test"), RISTRETTO255.scalars([2, 2]))
    proof = relation.prove(Transcript("test"), x)
    assert refused(relation, SigmaProof(Points.concat([proof.commitments] * 2), proof.responses))
    assert refused(relation, SigmaProof(proof.commitments, Scalars.concat([proof.responses] * 2)))
    with pytest.raises(ParameterError, match="one element as its image"):
        Equation(g, ())
    with pytest.raises(ParameterError, match="one element as its image"):
        Equation(RISTRETTO255.hash_many([b"a", b"b"], b"d"), ((0, g),))
    with pytest.raises(ParameterError, match="an integer"):
        LinearRelation(RISTRETTO255, 1.0, (good,))
    with pytest.raises(ParameterError, match="asked for"):
        relation.prove(Transcript("test"), x, lambda n: b"")
    other = SigmaProof(BN254.hash_many([b"a"], b"d"), proof.responses)
    assert refused(relation, other)
    assert refused(relation, SigmaProof(proof.commitments, BN254.scalars([1])))
    for bad in (64, None, "x" * 64, [0] * 64):
        with pytest.raises(BufferTypeError):
            relation.decode(bad)
