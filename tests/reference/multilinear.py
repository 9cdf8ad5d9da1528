"""Multilinear polynomials modulo q in plain integers, from their definitions: the slow twin of csrc/src/multilinear.c.

A table is a list of values; a layer of a tree, or several tables after one another, is one list too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod


def eq(point: Sequence[int], place: int, q: int) -> int:
    """1 at the place whose bits are the point's, multilinear in between."""
    return prod(r if place >> b & 1 else 1 - r for b, r in enumerate(point)) % q


def eq_table(point: Sequence[int], cut: int, below: int, above: int, q: int) -> list[int]:
    return [eq(point, y, q) * (below if y < cut else above) % q for y in range(1 << len(point))]


def at(x: Sequence[int], j: int) -> int:
    return int(x[j]) if j < len(x) else 0


def eq_dot(point: Sequence[int], x: Sequence[int], first: int, last: int, q: int) -> int:
    return sum(eq(point, y, q) * at(x, y) for y in range(first, last)) % q


def dot(a: Sequence[int], b: Sequence[int], q: int) -> int:
    return sum(int(u) * int(v) for u, v in zip(a, b, strict=True)) % q


def combine(size: int, coefficients: Sequence[int], x: Sequence[int], q: int) -> list[int]:
    return [sum(c * at(x, k * size + y) for k, c in enumerate(coefficients)) % q for y in range(size)]


def fold(table: Sequence[int], s: int, q: int) -> list[int]:
    """The highest variable bound to s."""
    half = len(table) // 2
    return [(low + s * (high - low)) % q for low, high in zip(table[:half], table[half:], strict=True)]


def parts(tables: Sequence[int], count: int) -> list[list[int]]:
    stride = len(tables) // count
    return [list(tables[k * stride : (k + 1) * stride]) for k in range(count)]


def parabola(tables: Sequence[Sequence[int]], weights: Sequence[int], f: Callable[..., int], q: int) -> tuple[int, int]:
    """h(0) and the coefficient of X^2 of h(X) = sum of weights[y] f(tables at (X, y)): from h(0), h(1) and h(2)."""

    def h(x: int) -> int:
        folded = [fold(table, x, q) for table in tables]
        return sum(w * f(*values) for w, *values in zip(weights, *folded, strict=True)) % q

    return h(0), (h(0) - 2 * h(1) + h(2)) * pow(2, -1, q) % q


def product_round(a: Sequence[int], g: Sequence[int], q: int) -> tuple[int, int]:
    return parabola([a, g], [1] * (len(a) // 2), lambda u, v: u * v, q)


def fraction_round(
    tables: Sequence[Sequence[int]], point: Sequence[int], factor: int | None, q: int
) -> tuple[int, int]:
    """Of p0 q1 + q0 p1 (p1 mixed); with a factor, of factor q0 q1 + q0 + q1."""
    weights = eq_table(point, 0, 0, 1, q)
    if factor is None:
        return parabola(tables, weights, lambda p0, p1, q0, q1: p0 * q1 + q0 * p1, q)
    return parabola(tables, weights, lambda q0, q1: factor * q0 * q1 + q0 + q1, q)


def layer(x: Sequence[int], variables: int, k: int, shift: int, q: int) -> list[int]:
    """All p, then all q of layer k: node y sums 1 / (shift + x_j) over the leaves j = y modulo 2^k."""
    p, d = [], []
    for y in range(1 << k):
        leaves = [shift + at(x, j) for j in range(y, 1 << variables, 1 << k)]
        d.append(prod(leaves) % q)
        p.append(sum(prod(leaves[:i] + leaves[i + 1 :]) for i in range(len(leaves))) % q)
    return p + d


def up(below: Sequence[int], q: int) -> list[int]:
    """The layer above: the children of y are y and y + half."""
    p0, p1, q0, q1 = parts(below, 4)
    sums = [a * d + b * c for a, b, c, d in zip(p0, p1, q0, q1, strict=True)]
    return [v % q for v in sums] + [c * d % q for c, d in zip(q0, q1, strict=True)]


def mix(tables: Sequence[int], factor: int, q: int) -> list[int]:
    p0, p1, q0, q1 = parts(tables, 4)
    return [*p0, *((p + factor * d) % q for p, d in zip(p1, q1, strict=True)), *q0, *q1]


def children(x: Sequence[int], variables: int, k: int, shift: int, factor: int, q: int) -> list[list[int]]:
    """p0, p1 + factor q1, q0, q1 below layer k; of leaves only q0 and q1."""
    below = layer(x, variables, k + 1, shift, q)
    return parts(below, 4)[2:] if k + 1 == variables else parts(mix(below, factor, q), 4)


def reciprocals(count: int, alpha: int, q: int) -> list[int]:
    """ValueError if there is a pole."""
    return [pow(alpha + t, -1, q) for t in range(count)]
