"""Bulletproofs' inner-product argument: P = <a, G> + <b, H> + <a, b> U, in 2 log n elements and two scalars.

It is not zero knowledge: who uses it blinds a and b first, as the range proof does. Source: Buenz, Bootle, Boneh,
Poelstra, Wuille, Maxwell, "Bulletproofs", S&P 2018 (eprint 2017/1066), protocol 2 and section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from privcomp.algebra import Group, Point, Points, Scalar, Scalars
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.typing import Buffer
from privcomp.zk.common import challenge, to_bytes

__all__ = ["InnerProduct", "InnerProductProof"]


@dataclass(frozen=True)
class InnerProductProof:
    """One element L and one R for each halving, and what is left of a and b."""

    left: Points
    right: Points
    a: Scalar
    b: Scalar

    def __post_init__(self) -> None:
        if len(self.left) != len(self.right) or len(self.a) != 1 or len(self.b) != 1:
            raise ParameterError("an inner-product proof has as many L as R, one a and one b")

    def encode(self) -> bytes:
        """All L, all R, a, b."""
        return self.left.encode() + self.right.encode() + self.a.to_bytes() + self.b.to_bytes()


@dataclass(frozen=True)
class InnerProduct:
    """The bases: G and H of n elements, n a power of two and at least 2, and U.

    Nobody may know a relation between them. `prove` and `check` put the bases and P into the transcript; `fold` and
    `replay` do not, and are for protocols whose transcript already fixes both.
    """

    g: Points
    h: Points
    u: Point

    def __post_init__(self) -> None:
        n = len(self.g)
        if n < 2 or n & (n - 1) or len(self.h) != n or len(self.u) != 1:
            raise ParameterError(f"bases of {n} and {len(self.h)} elements; both need the same power of two, 2 or more")

    @property
    def group(self) -> Group:
        """The group of all elements."""
        return self.g.group

    @property
    def rounds(self) -> int:
        """log2 n."""
        return len(self.g).bit_length() - 1

    def commit(self, a: Scalars, b: Scalars) -> Point:
        """<a, G> + <b, H> + <a, b> U, constant time."""
        return self.g.msm(a) + self.h.msm(b) + self.u * a.dot(b)

    def prove(self, transcript: Transcript, a: Scalars, b: Scalars) -> InnerProductProof:
        """A proof that P = commit(a, b) is of this form. It shows a and b to whoever tries to compute them."""
        self._check_lengths(a, b)
        self._state(transcript, self.commit(a, b))
        return self.fold(transcript, a, b)

    def fold(self, transcript: Transcript, a: Scalars, b: Scalars) -> InnerProductProof:
        """`prove` on a transcript that fixes bases and P already; without that, P can be made up from the proof."""
        self._check_lengths(a, b)
        transcript.append_int("ipa.n", len(self.g))
        g, h, lefts, rights = self.g, self.h, [], []
        while len(a) > 1:
            k = len(a) // 2
            lefts.append(g[k:].msm(a[:k]) + h[:k].msm(b[k:]) + self.u * a[:k].dot(b[k:]))
            rights.append(g[:k].msm(a[k:]) + h[k:].msm(b[:k]) + self.u * a[k:].dot(b[:k]))
            e = self._challenge(transcript, lefts[-1], rights[-1])
            back = e.inverse()
            a, b = a[:k] * e + a[k:] * back, b[:k] * back + b[k:] * e
            g, h = g[:k] * back + g[k:] * e, h[:k] * e + h[k:] * back
        proof = InnerProductProof(Points.concat(lefts), Points.concat(rights), a[0], b[0])
        transcript.append_scalars("ipa.a", proof.a)
        transcript.append_scalars("ipa.b", proof.b)
        return proof

    def check(self, transcript: Transcript, commitment: Point, proof: InnerProductProof) -> None:
        """Check that somebody knows a and b with commitment = commit(a, b).

        Raises:
            RemoteError: the proof does not hold, or is of another size.
        """
        if commitment.group != self.group or len(commitment) != 1:
            raise RemoteError(None, "proof", f"a commitment is one element of {self.group}")
        self._state(transcript, commitment)
        squares, back, s = self.replay(transcript, proof)
        left = self.g.msm_var(s * proof.a) + self.h.msm_var(s.inverse() * proof.b) + self.u * (proof.a * proof.b)
        right = commitment[0] + proof.left.msm_var(squares) + proof.right.msm_var(back)
        if left != right:
            raise RemoteError(None, "proof", "the inner-product argument does not hold")

    def replay(self, transcript: Transcript, proof: InnerProductProof) -> tuple[Scalars, Scalars, Scalars]:
        """The verifier's scalars: e_i^2 for the L, e_i^-2 for the R, and s for G (its inverses for H).

        The transcript fixes bases and P already.

        P = a <s, G> + b <1/s, H> + a b U - sum of e_i^2 L_i - sum of e_i^-2 R_i, with s_j the product over the rounds i
        of e_i (the bit of j that round i splits by is 1) or e_i^-1 (it is 0); round 0 splits by the top bit.
        """
        if len(proof.left) != self.rounds:
            raise RemoteError(None, "proof", f"an argument of {len(proof.left)} rounds where {self.rounds} should be")
        if {proof.left.group, proof.right.group, proof.a.group, proof.b.group} != {self.group}:
            raise RemoteError(None, "proof", "an argument of another group")
        transcript.append_int("ipa.n", len(self.g))
        challenges = Scalars.concat(
            [self._challenge(transcript, proof.left[k], proof.right[k]) for k in range(self.rounds)]
        )
        transcript.append_scalars("ipa.a", proof.a)
        transcript.append_scalars("ipa.b", proof.b)
        inverses = challenges.inverse()
        s = self.group.scalars([1])
        for k in reversed(range(self.rounds)):  # the last round splits by the lowest bit
            s = Scalars.concat([s * inverses[k], s * challenges[k]])
        return challenges * challenges, inverses * inverses, s

    def decode(self, data: Buffer) -> InnerProductProof:
        """A received proof for these bases.

        Raises:
            CodecError: another length, or an element or scalar that is not canonical.
        """
        raw, points = to_bytes(data), self.rounds * self.group.encoding_bytes
        if len(raw) != 2 * points + 64:
            raise CodecError(f"a proof of {len(raw)} bytes where {2 * points + 64} should be")
        scalars = self.group.decode_scalars(raw[2 * points :], 2)
        return InnerProductProof(
            self.group.decode_many(raw[:points], self.rounds),
            self.group.decode_many(raw[points : 2 * points], self.rounds),
            scalars[0],
            scalars[1],
        )

    def _check_lengths(self, a: Scalars, b: Scalars) -> None:
        if len(a) != len(self.g) or len(b) != len(self.g):
            raise ParameterError(f"vectors of {len(a)} and {len(b)} scalars; the bases have {len(self.g)}")

    def _state(self, transcript: Transcript, commitment: Points) -> None:
        transcript.append("ipa.group", self.group.name.encode())
        for label, points in (("ipa.G", self.g), ("ipa.H", self.h), ("ipa.U", self.u), ("ipa.P", commitment)):
            transcript.append_points(label, points)

    def _challenge(self, transcript: Transcript, left: Point, right: Point) -> Scalar:
        transcript.append_points("ipa.L", left)
        transcript.append_points("ipa.R", right)
        return challenge(transcript, "ipa.e", self.group)
