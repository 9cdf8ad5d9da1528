"""Sigma protocols for linear relations: "I know scalars x_0 .. x_(n-1) with image_k = sum over its terms of x_i P".

Openings of commitments, equality of what two commitments hold, discrete logarithms and their equality are all of this
form, and so is any list of them with shared scalars.

Honest-verifier zero knowledge and special soundness hold without an assumption; made non-interactive by Fiat and
Shamir's transform the proof is zero knowledge and a proof of knowledge in the random-oracle model. Where the images fix
the witness it is simulation extractable as well; where they do not, as in the opening of a commitment, that needs that
nobody finds two openings.

Sources: Schnorr, "Efficient signature generation by smart cards", J. Cryptology 4 (1991); Maurer, "Unifying
zero-knowledge proofs of knowledge", AFRICACRYPT 2009; Faust, Kohlweiss, Marson, Venturi, "On the non-malleability of
the Fiat-Shamir transform", INDOCRYPT 2012.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from privcomp.algebra import Group, Point, Points, Scalar, Scalars
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.typing import Buffer
from privcomp.zk.common import nonces, to_bytes

__all__ = ["Equation", "LinearRelation", "SigmaProof"]


@dataclass(frozen=True)
class Equation:
    """image = sum of x_i * P over the terms (i, P)."""

    image: Point
    terms: tuple[tuple[int, Point], ...]

    def __post_init__(self) -> None:
        if not self.terms or any(len(point) != 1 for point in (self.image, *(point for _, point in self.terms))):
            raise ParameterError("an equation has one element as its image, and terms of one element each")


@dataclass(frozen=True)
class SigmaProof:
    """The prover's first message, an element for each equation, and its response, a scalar for each of the witness."""

    commitments: Points
    responses: Scalars

    def encode(self) -> bytes:
        """Commitments, then responses."""
        return self.commitments.encode() + self.responses.to_bytes()


@dataclass(frozen=True)
class LinearRelation:
    """A statement about n secret scalars.

    Args:
        group: of all elements.
        scalars: n, at least 1.
        equations: at least one; every scalar occurs in one of them. Bases that a peer chose are looked at first: where
            base and image are the identity, every scalar satisfies the equation.

    >>> from privcomp.algebra import RISTRETTO255 as group
    >>> g, h = group.generator, group.hash(b"h", b"example")
    >>> x = group.random_scalars(1)
    >>> same = LinearRelation(group, 1, (Equation(g * x[0], ((0, g),)), Equation(h * x[0], ((0, h),))))
    >>> proof = same.prove(Transcript("example"), x)
    >>> same.check(Transcript("example"), same.decode(proof.encode()))
    """

    group: Group
    scalars: int
    equations: tuple[Equation, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.scalars, int):
            raise ParameterError("the number of scalars is an integer")
        used = {index for equation in self.equations for index, _ in equation.terms}
        if not self.equations or used != set(range(self.scalars)):
            raise ParameterError(
                f"a relation between {self.scalars} scalars whose equations use {sorted(used)}: each has to occur"
            )
        for equation in self.equations:
            if any(point.group != self.group for point in (equation.image, *(p for _, p in equation.terms))):
                raise ParameterError(f"an element of another group than {self.group}")

    def prove(self, transcript: Transcript, witness: Scalars, rng: Callable[[int], bytes] = os.urandom) -> SigmaProof:
        """A proof that `witness`, (n,), satisfies the equations.

        Nonces come from the transcript, the witness and rng together: a broken rng alone does not reveal the witness.

        Raises:
            ParameterError: it does not.
        """
        if len(witness) != self.scalars or any(
            self._image(equation, witness) != equation.image for equation in self.equations
        ):
            raise ParameterError("the witness does not satisfy the relation")
        self._state(transcript)
        nonce = nonces(transcript, self.group, self.scalars, witness.to_bytes(), rng)
        commitments = Points.concat([self._image(equation, nonce) for equation in self.equations])
        challenge = self._challenge(transcript, commitments)
        proof = SigmaProof(commitments, witness.axpy(challenge, nonce))
        transcript.append_scalars("sigma.responses", proof.responses)
        return proof

    def check(self, transcript: Transcript, proof: SigmaProof) -> None:
        """Check a proof; the transcript is left in the state that the prover's has.

        Raises:
            RemoteError: it does not hold, or is of another shape.
        """
        if len(proof.commitments) != len(self.equations) or len(proof.responses) != self.scalars:
            raise RemoteError(None, "proof", "a proof of another relation")
        if {proof.commitments.group, proof.responses.group} != {self.group}:
            raise RemoteError(None, "proof", "a proof of another group")
        self._state(transcript)
        challenge = self._challenge(transcript, proof.commitments)
        transcript.append_scalars("sigma.responses", proof.responses)
        for k, equation in enumerate(self.equations):
            if self._image(equation, proof.responses) != proof.commitments[k] + equation.image * challenge:
                raise RemoteError(None, "proof", "the proof does not hold")

    def decode(self, data: Buffer) -> SigmaProof:
        """A received proof of this relation.

        Raises:
            CodecError: another length, or an element or scalar that is not canonical.
        """
        raw, split = to_bytes(data), len(self.equations) * self.group.encoding_bytes
        if len(raw) != split + 32 * self.scalars:
            raise CodecError(f"a proof of {len(raw)} bytes where {split + 32 * self.scalars} should be")
        return SigmaProof(
            self.group.decode_many(raw[:split], len(self.equations)),
            self.group.decode_scalars(raw[split:], self.scalars),
        )

    def _image(self, equation: Equation, scalars: Scalars) -> Point:
        bases = Points.concat([point for _, point in equation.terms])
        return bases.msm(Scalars.concat([scalars[index] for index, _ in equation.terms]))

    def _state(self, transcript: Transcript) -> None:
        transcript.append("sigma.group", self.group.name.encode())
        transcript.append_int("sigma.scalars", self.scalars)
        transcript.append_int("sigma.equations", len(self.equations))
        for equation in self.equations:
            transcript.append_int("sigma.terms", len(equation.terms))
            for index, point in equation.terms:
                transcript.append_int("sigma.index", index)
                transcript.append_points("sigma.base", point)
            transcript.append_points("sigma.image", equation.image)

    def _challenge(self, transcript: Transcript, commitments: Points) -> Scalar:
        transcript.append_points("sigma.commitments", commitments)
        return transcript.challenge_scalar("sigma.challenge", self.group)
