"""Statements about norms with vectors of which they are true, as tightly as they can be; the parts of a proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from privcomp.algebra import RISTRETTO255, Group
from privcomp.errors import RemoteError
from privcomp.transcript import Transcript
from privcomp.zk import norm

CONTEXT = {"client": b"alice", "round": b"7", "session": b"S"}


def dot(u: object, v: object) -> int:
    return sum(int(a) * int(b) for a, b in zip(u, v, strict=True))  # type: ignore[call-overload]


def tight_claims(
    x: np.ndarray, lo: int, hi: int, padding: int, u: np.ndarray, outside: int | None = None
) -> dict[str, Callable[[int], norm.Claim | None]]:
    """For each kind a claim that x meets exactly, and with 1 instead of 0 the next one that it does not."""
    square = dot(x, x) - (0 if outside is None else int(x[outside]) ** 2)
    product, size = dot(x, u), dot(u, u)
    counts = np.bincount(x - lo, minlength=hi - lo + 1)
    counts[-lo] += padding
    weights = np.arange(hi - lo + 1)[::-1] * 3 + 1

    def entry(more: int) -> norm.Claim | None:
        j, value = len(x) // 2, int(x[len(x) // 2])
        if value + more > hi:
            return norm.EntryRange(j, lo, value - more) if value - more >= lo else None
        return norm.EntryRange(j, value + more, hi)

    def cosine(more: int) -> norm.Claim | None:
        if product <= 0:
            return None
        b = 97
        a = max((a for a in range(1, b + 1) if (b * product) ** 2 >= a * a * size * square), default=0)
        return norm.CosineAtLeast(u, a + more, b) if a > 0 and a + more <= b else None

    def at_most(bound: int, made: Callable[[int], norm.Claim]) -> Callable[[int], norm.Claim | None]:
        return lambda more: made(bound - more) if bound - more >= 0 else None

    return {
        "entry": entry,
        "l2": at_most(square, norm.L2AtMost),
        "product": lambda more: norm.InnerProductAtLeast(u, product + more),
        "distance": at_most(square - 2 * product + size, lambda most: norm.DistanceAtMost(u, most)),
        "cosine": cosine,
        "histogram": at_most(dot(weights, counts), lambda most: norm.HistogramAtMost(weights, most)),
        "l0": at_most(int((x != 0).sum()), lambda most: norm.HistogramAtMost.l0(lo, hi, most)),
        "l1": at_most(int(abs(x).sum()), lambda most: norm.HistogramAtMost.l1(lo, hi, most)),
    }


def entries(draw: np.random.Generator, d: int, lo: int, hi: int, kind: str) -> np.ndarray:
    if kind == "random":
        return draw.integers(lo, hi, d, endpoint=True)
    if kind == "mixed":
        return draw.choice(np.array([lo, 0, hi]), d)
    return np.full(d, {"lo": lo, "hi": hi, "zero": 0}[kind])


def random_true(
    draw: np.random.Generator, d: int, columns: int, lo: int, hi: int, group: Group = RISTRETTO255
) -> tuple[norm.NormStatement, np.ndarray]:
    """A vector, and a statement with some tight claims about it, or none."""
    x = entries(draw, d, lo, hi, str(draw.choice(["random", "random", "mixed", "lo", "hi", "zero"])))
    u = draw.integers(-5, 5, d, endpoint=True)
    u[draw.integers(d)] = 3
    padding = norm.NormStatement(d, lo, hi, (), columns, group).padding
    claims: list[norm.Claim] = []
    outside = int(draw.integers(d)) if draw.integers(3) == 0 else None
    if outside is not None:
        u[outside] = 0
    made = tight_claims(x, lo, hi, padding, u, outside)
    for name, make in made.items():
        if draw.integers(3) == 0 and not (name == "cosine" and not u.any()):
            claim = make(0)
            claims += [] if claim is None else [claim]
    if outside is not None:
        claims = [c for c in claims if not isinstance(c, norm.EntryRange)]
        if any(isinstance(c, norm.L2AtMost | norm.DistanceAtMost | norm.CosineAtLeast) for c in claims):
            claims.append(norm.EntryRange(outside, int(x[outside]), int(x[outside]), outside_norm=True))
    return norm.NormStatement(d, lo, hi, tuple(claims), columns, group), x


@dataclass(frozen=True)
class Sent:
    """What a client sends, and what its verifier takes it for."""

    statement: norm.NormStatement
    context: dict[str, bytes]
    commitment: bytes
    proof: bytes
    label: str = "privcomp-norm-v1"

    def check(self) -> None:
        commitment = norm.decode_commitment(self.statement, self.commitment)
        norm.check(self.statement, self.context, commitment, self.proof, transcript=Transcript(self.label))

    def refused(self) -> bool:
        try:
            self.check()
        except RemoteError:
            return True
        return False

    def proven(self) -> norm.Proven:
        return norm.Proven(self.statement, self.context, self.commitment, self.proof)


def sent(statement: norm.NormStatement, x: np.ndarray, context: dict[str, bytes] | None = None) -> Sent:
    context = CONTEXT if context is None else context
    commitment, opening = norm.commit_var(statement, x)
    proof = norm.prove_var(statement, context, x, commitment, opening)
    return Sent(statement, context, commitment.encode(), proof)


def parts(statement: norm.NormStatement) -> list[tuple[str, int, int]]:
    """(label, from, to) of each message of a proof, in order."""
    points = [f"M{k}" for k in range(statement.table_rows)] + [label for label, _ in statement.messages]
    later = [f"{side}{i}" for i in range(statement.halvings) for side in "LR"] + ["A"]
    size, out, at = statement.group.encoding_bytes, [], 0
    for label in [*points, "fc", "gc", *later, "za", "zr"]:
        width = 32 if label in SCALARS else size
        out.append((label, at, at + width))
        at += width
    return out


SCALARS = ("fc", "gc", "za", "zr")
