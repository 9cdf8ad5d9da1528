"""The verifier: everything but one equation is replayed in the clear, and that one is a multi-scalar multiplication.

All scalars are public; variable time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from privcomp.algebra import Group, Points, Scalar, Scalars
from privcomp.commitments.hyrax import RowCommitment
from privcomp.errors import CodecError, RemoteError
from privcomp.transcript import Transcript
from privcomp.zk.norm.relations import Challenges, eq_scalars, opening_form
from privcomp.zk.norm.replay import ForbiddenChallenge, begin, challenges
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


def has_identity(group: Group, encodings: bytes) -> bool:
    """Whether one of these elements, in their only encodings, is the identity."""
    identity = group.identity.encode()
    size, at = len(identity), encodings.find(identity)
    while at >= 0 and at % size:  # across two encodings: on from where the second of them begins
        at = encodings.find(identity, at - at % size + size)
    return at >= 0


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
    said = challenges(begin(statement, context, commitment.encode(), transcript), statement, proof)
    # fc and gc stand before L0, za and zr at the end; the rest are points.
    middle = group.encoding_bytes * (statement.points - 2 * statement.halvings - 1)
    fc, gc, za, zr = (_scalar(proof[at : at + 32], q) for at in (middle, middle + 32, len(proof) - 64, len(proof) - 32))
    encodings = proof[:middle] + proof[middle + 64 : -64]

    ch = _challenges(statement, said, fc, gc)
    form, value = opening_form(statement, ch)
    inner, cs = [said[f"e{i}"] for i in range(statement.halvings)], said["cs"]
    points = group.decode_many(encodings, statement.points)
    if has_identity(group, encodings):
        raise CodecError("a point of the proof is the identity")
    inverses = group.scalars(inner).inverse().to_ints()
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


def _scalar(data: bytes, q: int) -> int:
    value = int.from_bytes(data, "little")
    if value >= q:
        raise CodecError("a scalar that is not below the order of the group")
    return value


def _challenges(statement: NormStatement, said: Mapping[str, int], fc: int, gc: int) -> Challenges:
    ch = Challenges(fc=fc, gc=gc)
    ch.alpha, ch.eta, ch.kappa, ch.c = said["alpha"], said["eta"], said["kappa"], said["c"]
    ch.zeta, ch.theta, ch.chi = said["zeta"], said["theta"], said["chi"]
    point = list[int]()
    for k in range(statement.variables):
        ch.lam.append(said[f"lam{k}"])
        ch.mu.append(said[f"mu{k}"])
        ch.point.append(point)
        ch.bound.append([said[f"layer{k}.s{bit}"] for bit in range(k)])
        point = [*ch.bound[-1], ch.mu[-1]]
    ch.opened = [said[f"open.s{bit}"] for bit in range(statement.open_rounds)]
    return ch
