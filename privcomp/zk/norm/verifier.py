"""The verifier: everything but one equation is replayed in the clear, and that one is a multi-scalar multiplication.

All scalars are public; variable time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from privcomp.algebra import Group, Points, Scalar, Scalars
from privcomp.commitments.hyrax import RowCommitment
from privcomp.errors import CodecError, RemoteError
from privcomp.transcript import Transcript
from privcomp.zk.norm.relations import Challenges, eq_scalars, opening_form
from privcomp.zk.norm.replay import ForbiddenChallenge, begin, challenge, layer_rounds
from privcomp.zk.norm.statement import NormStatement

__all__ = ["Equation", "equation", "has_identity"]

_REFUSED: Final = "the proof does not hold"


@dataclass(frozen=True)
class Equation:
    """What must be the identity: sum of weights over all generators of the statement (columns, messages, product,
    blinding), and over elements of commitment and proof."""

    statement: NormStatement
    generators: Scalars
    points: Points
    weights: Scalars

    def scaled(self, factor: Scalar) -> Equation:
        """The equation times a number."""
        return Equation(self.statement, self.generators * factor, self.points, self.weights * factor)

    def holds(self) -> bool:
        """Whether it is the identity."""
        gens = self.statement.generators
        bases = Points.concat([gens.columns, gens.messages, gens.product, gens.blinding, self.points])
        return bases.msm_var(Scalars.concat([self.generators, self.weights])).is_identity()


class _Reader:
    """Reads a proof in order and absorbs what it reads."""

    def __init__(self, statement: NormStatement, proof: bytes, transcript: Transcript) -> None:
        self.statement, self.proof, self.transcript, self.at = statement, proof, transcript, 0
        self.points: list[bytes] = []

    def _take(self, label: str, size: int) -> bytes:
        data = self.proof[self.at : self.at + size]
        self.at += size
        self.transcript.append(label, data)
        return data

    def point(self, label: str) -> None:
        self.points.append(self._take(label, self.statement.group.encoding_bytes))

    def scalar(self, label: str) -> int:
        value = int.from_bytes(self._take(label, 32), "little")
        if value >= self.statement.group.order:
            raise CodecError("a scalar that is not below the order of the group")
        return value

    def challenge(self, label: str, *, nodes: int = 0) -> int:
        return challenge(self.transcript, label, self.statement.group.order, nodes=nodes)


def has_identity(group: Group, encodings: bytes) -> bool:
    """Whether one of these elements, in their only encodings, is the identity."""
    identity = np.frombuffer(group.identity.encode(), np.uint8)
    rows = np.frombuffer(encodings, np.uint8).reshape(-1, group.encoding_bytes)
    return bool((rows == identity).all(axis=1).any())


def equation(
    statement: NormStatement,
    context: Mapping[str, bytes],
    commitment: RowCommitment,
    proof: bytes,
    transcript: Transcript | None,
) -> Equation:
    """Replay a proof: all checks but whether the equation holds.

    Raises:
        RemoteError: wrong length, an encoding that is not canonical, the identity, a forbidden challenge.
    """
    if has_identity(statement.group, commitment.encode()):
        raise CodecError("a row commitment is the identity")
    if len(proof) != statement.proof_bytes:
        raise CodecError(f"a proof of {len(proof)} bytes where {statement.proof_bytes} should be")
    try:
        return _equation(statement, context, commitment, proof, transcript)
    except ForbiddenChallenge:
        raise RemoteError(None, "proof", "a challenge that no proof may have; the prover has to make another") from None


def _equation(
    statement: NormStatement,
    context: Mapping[str, bytes],
    commitment: RowCommitment,
    proof: bytes,
    transcript: Transcript | None,
) -> Equation:
    group, q = statement.group, statement.group.order
    reader = _Reader(statement, proof, begin(statement, context, commitment.encode(), transcript))
    ch = _replay(statement, reader)
    form, value = opening_form(statement, ch)
    inner = []
    for i in range(statement.halvings):
        reader.point(f"L{i}")
        reader.point(f"R{i}")
        inner.append(reader.challenge(f"e{i}"))
    reader.point("A")
    cs = reader.challenge("cs")
    za, zr = reader.scalar("za"), reader.scalar("zr")

    encodings = b"".join(reader.points)
    points = group.decode_many(encodings, statement.points)
    if has_identity(group, encodings):
        raise CodecError("a point of the proof is the identity")
    inverses = [pow(e, -1, q) for e in inner]
    s = group.scalars([1])
    for inverse in reversed(inverses):  # the first halving splits by the highest bit
        s = Scalars.concat([s, s * group.scalar(inverse)])
    last = int(s.dot(form))
    generators = Scalars.concat([s * group.scalar(za), group.scalars([(za * last - cs * value) * ch.chi, zr])])

    far = cs * pow(ch.theta, 2 * len(statement.messages) + 1, q) % q
    c = statement.column_bits
    rows = eq_scalars(group, ch.opened[c : statement.variables], -far, statement.rows)
    tables = eq_scalars(group, ch.opened[c : statement.table_variables], -far * ch.kappa, statement.table_rows)
    messages, scale = [], -cs % q
    for _ in statement.messages:
        scale = scale * ch.theta % q
        messages.append(scale)
    halvings = [-cs * factor for e, inverse in zip(inner, inverses, strict=True) for factor in (inverse, e)]
    weights = Scalars.concat([rows, tables, group.scalars([*messages, *halvings, -1])])
    return Equation(statement, generators, Points.concat([commitment.rows, points]), weights)


def _replay(statement: NormStatement, reader: _Reader) -> Challenges:
    ch = Challenges()
    for k in range(statement.table_rows):
        reader.point(f"M{k}")
    reader.point("claims")
    ch.alpha = reader.challenge("alpha")
    reader.point("root")
    r = list[int]()
    for k, rounds in layer_rounds(statement):
        ch.lam.append(reader.challenge(f"lam{k}"))
        s = [0] * k
        for bit in rounds:
            reader.point(f"layer{k}.round{bit}")
            s[bit] = reader.challenge(f"layer{k}.s{bit}")
        reader.point(f"layer{k}.values")
        ch.mu.append(reader.challenge(f"mu{k}"))
        ch.point.append(r)
        ch.bound.append(s)
        r = [*s, ch.mu[-1]]
    ch.eta = reader.challenge("eta")
    ch.opened = [0] * statement.open_rounds
    for bit in reversed(range(statement.open_rounds)):
        reader.point(f"open.round{bit}")
        ch.opened[bit] = reader.challenge(f"open.s{bit}")
    reader.point("open.values")
    ch.kappa = reader.challenge("kappa")
    reader.point("aux")
    ch.c = reader.challenge("c", nodes=2 * statement.products + 1)
    ch.fc, ch.gc = reader.scalar("fc"), reader.scalar("gc")
    ch.zeta, ch.theta, ch.chi = reader.challenge("zeta"), reader.challenge("theta"), reader.challenge("chi")
    return ch
