"""Bulletproofs' range proof: m committed numbers lie in [0, 2^bits), in 2 log2(m bits) + 4 elements and 5 scalars.

Zero knowledge, and sound under the discrete-logarithm assumption, in the random-oracle model. It is for a few numbers:
a weight, a count, a slack. A million entries would take it minutes.

Source: Buenz, Bootle, Boneh, Poelstra, Wuille, Maxwell, "Bulletproofs", S&P 2018 (eprint 2017/1066), sections 4.1 to
4.3 and 6.2.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from privcomp.algebra import RISTRETTO255, Group, Point, Points, Scalar, Scalars
from privcomp.commitments import Generators, Pedersen
from privcomp.errors import BufferTypeError, CodecError, ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.typing import Buffer, I64Array, U64Array
from privcomp.zk.common import challenge, nonces, to_bytes
from privcomp.zk.inner_product import InnerProduct, InnerProductProof

__all__ = ["Range", "RangeProof"]

_BITS: Final = (8, 16, 32, 64)
_MOST: Final = 1 << 12  # m bits


@dataclass(frozen=True)
class RangeProof:
    """The messages in order; `ipa` proves the inner product of what `t`, `tau` and `mu` open."""

    a: Point
    s: Point
    t1: Point
    t2: Point
    t: Scalar
    tau: Scalar
    mu: Scalar
    ipa: InnerProductProof

    def __post_init__(self) -> None:
        if any(len(part) != 1 for part in (self.a, self.s, self.t1, self.t2, self.t, self.tau, self.mu)):
            raise ParameterError("A, S, T1, T2, t, tau and mu are one element or scalar each")

    def encode(self) -> bytes:
        """Elements A, S, T1, T2; scalars t, tau, mu; the inner-product proof."""
        points = Points.concat([self.a, self.s, self.t1, self.t2])
        return points.encode() + Scalars.concat([self.t, self.tau, self.mu]).to_bytes() + self.ipa.encode()


@dataclass(frozen=True)
class Range:
    """The statement: m numbers, committed one by one with `pedersen`, are in [0, 2^bits).

    Args:
        bits: 8, 16, 32 or 64.
        count: m, a power of two; m bits <= 4096.
        group: RISTRETTO255 or BN254.

    >>> statement = Range(8, 2)
    >>> values = np.array([3, 255], np.uint64)
    >>> commitments, blindings = statement.commit(values)
    >>> proof = statement.prove(Transcript("example"), values, blindings)
    >>> statement.check(Transcript("example"), commitments, statement.decode(proof.encode()))
    """

    bits: int = 64
    count: int = 1
    group: Group = RISTRETTO255

    def __post_init__(self) -> None:
        if not all(isinstance(number, int) for number in (self.bits, self.count)):
            raise ParameterError("bits and count are integers")
        if self.bits not in _BITS:
            raise ParameterError(f"{self.bits} bits; allowed are {_BITS}")
        if not self.count >= 1 or self.count & (self.count - 1) or self.count * self.bits > _MOST:
            raise ParameterError(f"{self.count} numbers; a power of two is needed, with {_MOST} bits in all at most")

    @property
    def pedersen(self) -> Pedersen:
        """What a number is committed with."""
        return Pedersen.derive(1, self.group)

    @property
    def _generators(self) -> Generators:
        return Generators.derive(self.group, 1, 2 * self.bits * self.count)

    @cached_property
    def _bases(self) -> InnerProduct:
        n, found = self.bits * self.count, self._generators
        return InnerProduct(found.messages[:n], found.messages[n:], found.product)

    def commit(self, values: U64Array, rng: Callable[[int], bytes] = os.urandom) -> tuple[Points, Scalars]:
        """A commitment to each number, and the blindings.

        Args:
            values: u64 (m,), below 2^bits.
        """
        values = self._check_values(values)
        blindings = self.group.random_scalars(self.count, rng)
        return self._commitments(values, blindings), blindings

    def _commitments(self, values: U64Array, blindings: Scalars) -> Points:
        pedersen = self.pedersen
        return pedersen.bases[0] * self._scalars(values) + pedersen.blinding * blindings

    def _scalars(self, values: U64Array) -> Scalars:
        """v = 2 (v / 2) + v mod 2, as the halves fit signed words."""
        halves = self.group.scalars_from_i64((values >> np.uint64(1)).astype(np.int64))
        return halves + halves + self.group.scalars_from_i64((values & np.uint64(1)).astype(np.int64))

    def prove(
        self,
        transcript: Transcript,
        values: U64Array,
        blindings: Scalars,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> RangeProof:
        """A proof about the commitments to these numbers under these blindings.

        Args:
            transcript: with the context; it goes on with the proof.
            values: u64 (m,), below 2^bits.
            blindings: (m,).

        Raises:
            ParameterError: a number is out of range, or lengths differ.
        """
        values = self._check_values(values)
        if len(blindings) != self.count:
            raise ParameterError(f"{len(blindings)} blindings for {self.count} numbers")
        group, bases, pedersen = self.group, self._bases, self.pedersen
        value_base, blinding_base = pedersen.bases[0], pedersen.blinding
        n = self.bits * self.count
        self._state(transcript, self._commitments(values, blindings))
        secret = values.tobytes() + blindings.to_bytes()
        drawn = nonces(transcript, group, 2 * n + 4, secret, rng)
        s_left, s_right = drawn[:n], drawn[n : 2 * n]
        alpha, rho, tau1, tau2 = (drawn[2 * n + k] for k in range(4))

        places = np.arange(self.bits, dtype=np.uint64)
        bit: I64Array = ((values[:, None] >> places) & np.uint64(1)).astype(np.int64).reshape(-1)
        left, right = group.scalars_from_i64(bit), group.scalars_from_i64(bit - 1)
        a = bases.g.msm(left) + bases.h.msm(right) + blinding_base * alpha
        s = bases.g.msm(s_left) + bases.h.msm(s_right) + blinding_base * rho
        y, z = self._first_challenges(transcript, a, s)

        powers_y, weights = _powers(y, n), self._weights(z)
        l0, l1 = left - z, s_left
        r0, r1 = powers_y * (right + z) + weights, powers_y * s_right
        t1, t2 = l0.dot(r1) + l1.dot(r0), l1.dot(r1)
        big_t1, big_t2 = value_base * t1 + blinding_base * tau1, value_base * t2 + blinding_base * tau2
        x = self._second_challenge(transcript, big_t1, big_t2)

        l_x, r_x = l0 + l1 * x, r0 + r1 * x
        z_powers = _powers(z, self.count) * z * z  # z^2, z^3, ...
        t, mu = l_x.dot(r_x), alpha + rho * x
        tau = tau2 * x * x + tau1 * x + z_powers.dot(blindings)
        w = self._third_challenge(transcript, t, tau, mu)
        shifted = InnerProduct(bases.g, bases.h * _powers(y.inverse(), n), bases.u * w)
        return RangeProof(a, s, big_t1, big_t2, t, tau, mu, shifted.fold(transcript, l_x, r_x))

    def check(
        self,
        transcript: Transcript,
        commitments: Points,
        proof: RangeProof,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Check a proof about these commitments, with one multi-scalar multiplication.

        Args:
            transcript: with the same context as the prover's.
            commitments: (m,).
            proof: decoded.
            rng: entropy for the weight that joins the two equations; it depends on the whole proof as well.

        Raises:
            RemoteError: it does not hold, or is of another shape.
        """
        if len(commitments) != self.count:
            raise RemoteError(None, "proof", f"{len(commitments)} commitments where {self.count} should be")
        group, bases, pedersen, n = self.group, self._bases, self.pedersen, self.bits * self.count
        parts = (commitments, proof.a, proof.s, proof.t1, proof.t2, proof.t, proof.tau, proof.mu)
        if {part.group for part in parts} != {group}:
            raise RemoteError(None, "proof", "a proof of another group")
        self._state(transcript, commitments)
        y, z = self._first_challenges(transcript, proof.a, proof.s)
        x = self._second_challenge(transcript, proof.t1, proof.t2)
        w = self._third_challenge(transcript, proof.t, proof.tau, proof.mu)
        squares, inverse_squares, s = bases.replay(transcript, proof.ipa)

        # 0 = c (t B + tau H - sum z^(j+2) V_j - delta B - x T1 - x^2 T2)
        #   + (a <s, G> + b <1/s, H'> + (a b - t) w U + mu H - A - x S
        #      + z <1, G> - <z y + weights, H'> - sum e^2 L - sum e^-2 R),
        # H'_i = y^-i H_i, delta = (z - z^2) <1, y> - sum z^(j+3) (2^bits - 1).
        # c comes after everything in the proof: who made it cannot have prepared two errors that cancel.
        c = nonces(transcript, group, 1, b"", rng)[0]
        powers_y, down = _powers(y, n), _powers(y.inverse(), n)
        z_powers = _powers(z, self.count) * z * z
        ones = group.scalars([1] * n)
        delta = (z - z * z) * powers_y.dot(ones) - z * z_powers.dot(group.scalars([2**self.bits - 1] * self.count))
        a, b = proof.ipa.a, proof.ipa.b
        on_g = s * a + z
        on_h = down * (s.inverse() * b - self._weights(z)) - z
        scalars = Scalars.concat(
            [
                on_g, on_h, w * (a * b - proof.t), c * (proof.t - delta), c * proof.tau + proof.mu, -(z_powers * c),
                group.scalar(-1), -x, -(c * x), -(c * x * x), -squares, -inverse_squares,
            ]
        )  # fmt: skip
        points = Points.concat(
            [
                bases.g, bases.h, bases.u, pedersen.bases, pedersen.blinding, commitments,
                proof.a, proof.s, proof.t1, proof.t2, proof.ipa.left, proof.ipa.right,
            ]
        )  # fmt: skip
        if not points.msm_var(scalars).is_identity():
            raise RemoteError(None, "proof", "the range proof does not hold")

    def decode(self, data: Buffer) -> RangeProof:
        """A received proof of this statement.

        Raises:
            CodecError: another length, or an element or scalar that is not canonical.
        """
        raw, size = to_bytes(data), self.group.encoding_bytes
        head = 4 * size + 3 * 32
        if len(raw) != head + 2 * size * self._bases.rounds + 64:
            raise CodecError(f"a proof of {len(raw)} bytes; this statement has others")
        points = self.group.decode_many(raw[: 4 * size], 4)
        scalars = self.group.decode_scalars(raw[4 * size : head], 3)
        a, s, t1, t2 = points
        t, tau, mu = scalars
        return RangeProof(a, s, t1, t2, t, tau, mu, self._bases.decode(raw[head:]))

    def _check_values(self, values: object) -> U64Array:
        """A copy, which nobody changes between the bits and the commitment."""
        if not isinstance(values, np.ndarray) or values.dtype != np.uint64 or values.shape != (self.count,):
            raise BufferTypeError(f"numbers are an array of uint64 of the shape ({self.count},)")
        if self.bits < 64 and bool((values >> np.uint64(self.bits)).any()):
            raise ParameterError(f"a number is not below 2^{self.bits}")
        return values.copy()

    def _weights(self, z: Scalar) -> Scalars:
        """z^(2 + j) 2^i at place j bits + i."""
        twos = self.group.scalars([1 << k for k in range(self.bits)])
        z_powers = _powers(z, self.count) * z * z
        return Scalars.concat([twos * z_powers[j] for j in range(self.count)])

    def _state(self, transcript: Transcript, commitments: Points) -> None:
        transcript.append("range.group", self.group.name.encode())
        transcript.append_int("range.bits", self.bits)
        transcript.append_int("range.count", self.count)
        transcript.append("range.gens", self._generators.tag)
        transcript.append_points("range.commitments", commitments)

    def _first_challenges(self, transcript: Transcript, a: Point, s: Point) -> tuple[Scalar, Scalar]:
        transcript.append_points("range.A", a)
        transcript.append_points("range.S", s)
        return challenge(transcript, "range.y", self.group), challenge(transcript, "range.z", self.group)

    def _second_challenge(self, transcript: Transcript, t1: Point, t2: Point) -> Scalar:
        transcript.append_points("range.T1", t1)
        transcript.append_points("range.T2", t2)
        return challenge(transcript, "range.x", self.group)

    def _third_challenge(self, transcript: Transcript, t: Scalar, tau: Scalar, mu: Scalar) -> Scalar:
        transcript.append_scalars("range.t", Scalars.concat([t, tau, mu]))
        return challenge(transcript, "range.w", self.group)


def _powers(x: Scalar, n: int) -> Scalars:
    """1, x, .., x^(n - 1), doubling what is there."""
    found, step = x.group.scalars([1]), x
    while len(found) < n:
        found = Scalars.concat([found, found * step])
        step = step * step
    return found[:n]
