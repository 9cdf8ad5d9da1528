"""The one linear form that a norm proof comes down to, from the challenges: the same for prover and verifier.

All relations are products a_i b_i = c_i of affine forms of the committed scalars w, and affine forms that vanish. The
products are joined by interpolation (`aux`, `fc`, `gc`), everything by powers of zeta. The forms are never written out:
going backwards, each scalar collects the weight with which the claims that contain it count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from privcomp import _core
from privcomp.algebra import Group, Scalars
from privcomp.errors import ParameterError
from privcomp.zk.norm.replay import ForbiddenChallenge
from privcomp.zk.norm.statement import NormStatement

__all__ = ["Challenges", "eq_at", "eq_list", "eq_scalars", "interpolate", "opening_form"]


@dataclass
class Challenges:
    """What the transcript gave, in order. `layer[k]` is the point at which the claim about layer k stands."""

    alpha: int = 0
    lam: list[int] = field(default_factory=list)
    point: list[list[int]] = field(default_factory=list)
    bound: list[list[int]] = field(default_factory=list)
    mu: list[int] = field(default_factory=list)
    eta: int = 0
    opened: list[int] = field(default_factory=list)
    kappa: int = 0
    c: int = 0
    fc: int = 0
    gc: int = 0
    zeta: int = 0
    theta: int = 0
    chi: int = 0

    @property
    def leaf_point(self) -> list[int]:
        """r1: where the claim about the leaves stands."""
        return [*self.bound[-1], self.mu[-1]]


def eq_list(point: Sequence[int], q: int, scale: int = 1) -> list[int]:
    """scale * eq(point, y) for all y; for short points."""
    out = [scale % q]
    for r in point:
        high = [v * r % q for v in out]
        out = [(v - h) % q for v, h in zip(out, high, strict=True)] + high
    return out


def eq_scalars(group: Group, point: Sequence[int], scale: int, count: int) -> Scalars:
    """The first `count` values of `eq_list`."""
    factor = scale % group.order
    table = _core.table_eq(group.core_id, point, 0, factor, factor)
    return Scalars._of(group, _core.table_store(group.core_id, table[:count]))


def eq_at(point: Sequence[int], index: int, q: int) -> int:
    """eq(point, index) for one index."""
    out = 1
    for b, r in enumerate(point):
        out = out * (r if index >> b & 1 else 1 - r) % q
    return out


def eq_between(one: Sequence[int], two: Sequence[int], q: int) -> int:
    """eq(one, two) at two points."""
    out = 1
    for r, s in zip(one, two, strict=True):
        out = out * (1 - r - s + 2 * r * s) % q
    return out


def eq_from(d: int, one: Sequence[int], two: Sequence[int], q: int) -> int:
    """The sum over j >= d of eq(one, j) eq(two, j), from the lowest bit up."""
    if d >> len(one):
        return 0
    above = total = 1
    for b, (r, s) in enumerate(zip(one, two, strict=True)):
        high, low = r * s % q, (1 - r) * (1 - s) % q
        above = (high * above if d >> b & 1 else high * total + low * above) % q
        total = total * (high + low) % q
    return above


@lru_cache(maxsize=64)
def _inverse_weights(group: Group, count: int) -> Scalars:
    """1 / the product over j != i of (i - j), for the nodes 0 .. count - 1."""
    q, factorials = group.order, [1]
    for i in range(1, count):
        factorials.append(factorials[-1] * i % q)
    products = [(-1) ** (count - 1 - i) * factorials[i] * factorials[count - 1 - i] for i in range(count)]
    return group.scalars(products).inverse()


def interpolate(group: Group, count: int, at: int) -> list[int]:
    """The values at `at` of the Lagrange polynomials of the nodes 0 .. count - 1, of which it is none."""
    q, product = group.order, 1
    for i in range(count):
        product = product * (at - i) % q
    table = _core.reciprocals(group.core_id, count, count, (at - count + 1) % q)  # of at - i, from the last i on
    inverses = Scalars._of(group, np.ascontiguousarray(_core.table_store(group.core_id, table)[::-1]))
    return (inverses * _inverse_weights(group, count) * group.scalar(product)).to_ints()


def direction_at(statement: NormStatement, data: Any, point: Sequence[int]) -> int:
    """The multilinear extension of a slot's direction at a point: one entry, or a vector."""
    if isinstance(data, np.ndarray):
        return _core.eq_dot(statement.group.core_id, point, data, 0, len(data))
    index, sign = data
    return int(sign) * eq_at(point, index, statement.group.order) % statement.group.order


def opening_form(statement: NormStatement, ch: Challenges) -> tuple[Scalars, int]:
    """(J, value): <J, u> = value is what is left of all relations, u being the scaled columns and messages."""
    q, n = statement.group.order, statement.variables
    columns, total = statement.columns, statement.scalars
    offsets, at = {}, columns
    for label, count in statement.messages:
        offsets[label] = at
        at += count
    j = [0] * (1 << statement.halvings)
    value = 0

    count = statement.products
    first = interpolate(statement.group, count + 1, ch.c)
    second = interpolate(statement.group, 2 * count + 1, ch.c)
    z1, z2, z3 = ch.zeta, ch.zeta * ch.zeta % q, pow(ch.zeta, 3, q)
    aux = offsets["aux"]
    j[aux] += z1 * first[0]
    j[aux + 1] += z2 * first[0]
    j[aux + 2] += z3 * second[0]
    for i in range(count):
        j[aux + 3 + i] += z3 * second[count + 1 + i]
    value += z1 * ch.fc + z2 * ch.gc + z3 * (ch.fc * ch.gc % q)
    # The weights of a_i, b_i, c_i in the forms (ii), (iii), (iv).
    weights = [(z1 * a % q, z2 * a % q, z3 * c % q) for a, c in zip(first[1:], second[1 : count + 1], strict=True)]

    # Products in their order, weights backwards from the last.
    slots, ranges = statement.slots, statement.ranges
    base, index = offsets["claims"], 0
    for k, slot in enumerate(slots):
        if slot.kind in ("bit", "sq"):
            wa, wb, wc = weights[index]
            index += 1
            of = base + (k if slot.kind == "bit" else slot.data)
            j[of] += wa + wb
            j[base + k] += wc
    root = offsets["root"]
    wa, wb, wc = weights[index]  # q z = 1
    j[root + 1] += wa
    j[root + 2] += wb
    value -= wc
    wa, wb, wc = weights[index + 1]  # p z = sigma
    j[root] += wa
    j[root + 2] += wb
    j[root + 3] += wc
    layers = index + 2

    # (v): one range after another, then the v-form where there is no S.
    z = z3 * ch.zeta % q
    for need in ranges:
        for slot_index, f in need.form.items():
            if slot_index < 0:
                value -= z * f
            else:
                j[base + slot_index] += z * f
        for i in range(need.bits):
            j[base + need.first + i] -= z << i
        z = z * ch.zeta % q

    # The open sumcheck: E - W v - Omega v_m is the right side of v v = .., or vanishes.
    norm = statement.has_norm
    v = offsets["open.values"]
    if norm:
        wa, wb, wc = weights[count - 1]
        j[v] += wa + wb
        weight = wc
    else:
        weight = z
        z = z * ch.zeta % q
    eta = ch.eta
    rx, rm, r1 = ch.opened[:n], ch.opened[: statement.table_variables], ch.leaf_point
    entries = (eta * eq_between(r1, rx, q) + eta * eta * eq_from(statement.d, r1, rx, q)) % q
    try:
        table = pow(eta, 3, q) * _core.reciprocal_sum(statement.group.core_id, statement.values, ch.alpha, rm) % q
    except ParameterError:
        raise ForbiddenChallenge("alpha") from None  # alpha + t = 0 for an allowed value
    factor = pow(eta, 4, q)
    idle_x = 1 << (statement.open_rounds - n)
    idle_m = 1 << (statement.open_rounds - statement.table_variables)
    start: list[tuple[int, int]] = []  # (position, coefficient) of the first claim E, without the leaf claim
    for k, slot in enumerate(slots):
        if slot.kind == "S":
            start.append((base + k, idle_x))
        elif slot.kind == "x":
            start.append((base + k, factor * idle_x))
            entries += factor * direction_at(statement, slot.data, rx)
            factor = factor * eta % q
        elif slot.kind == "m":
            start.append((base + k, factor * idle_m))
            table += factor * direction_at(statement, slot.data, rm)
            factor = factor * eta % q
    start.append((root + 3, idle_m * pow(eta, 3, q)))
    j[v] -= weight * (entries % q)
    j[v + 1] -= weight * (table % q)
    half = (q + 1) // 2
    for b in range(statement.open_rounds):
        h, s = offsets[f"open.round{b}"], ch.opened[b]
        j[h] += weight * (s - half)
        j[h + 1] += weight * (s * s - half)
        weight = weight * half % q
    for position, coefficient in start:
        j[position] += weight * coefficient
    leaf = weight * idle_x * eta % q  # of the claim x~(r1) = q - alpha + lo
    value -= leaf * (statement.lo - ch.alpha)

    # The layers, from the leaves to the root: weights of the claims a = p~_k, b = q~_k.
    wp, wq = 0, leaf
    for k in reversed(range(n)):
        at, mu, lam = offsets[f"layer{k}.values"], ch.mu[k], ch.lam[k]
        if k == n - 1:
            q0 = at
            wa, wb, wc = weights[layers + 2 * k]  # (lam q0) q1 = e - q0 - q1
            j[q0] += wa * lam - wc + wq * (1 - mu)
            j[q0 + 1] += wb - wc + wq * mu
        else:
            wa, wb, wc = weights[layers + 2 * k]  # p0 q1 = o
            j[at] += wa + wp * (1 - mu)
            j[at + 3] += wb + wq * mu
            j[at + 4] += wc
            wa, wb, wc = weights[layers + 2 * k + 1]  # q0 (p1 + lam q1) = e - o
            j[at + 2] += wa + wq * (1 - mu)
            j[at + 1] += wb + wp * mu
            j[at + 3] += wb * lam
            j[at + 4] -= wc
        for b in range(k):
            h, s, r = offsets[f"layer{k}.round{b}"], ch.bound[k][b], ch.point[k][b]
            j[h] += wc * (s - r)
            j[h + 1] += wc * (s * s - r)
        wp, wq = wc, wc * lam % q
    j[root] += wp
    j[root + 1] += wq

    for i in range(columns + total, len(j)):
        j[i] += z
        z = z * ch.zeta % q
    if not slots:
        j[base] += z

    # Section 6 of the protocol: block i of the messages by theta^-i, the columns by theta^-(2 n_b + 1).
    inverse = pow(ch.theta, -1, q)
    far = pow(inverse, 2 * len(statement.messages) + 1, q)
    j[v] -= 1
    j[v + 1] -= ch.kappa
    scale = 1
    for label, size in statement.messages:
        scale = scale * inverse % q
        at = offsets[label]
        for i in range(at, at + size):
            j[i] *= scale
    of_columns = eq_scalars(statement.group, rx[: statement.column_bits], far, columns)
    return Scalars.concat([of_columns, statement.group.scalars(j[columns:])]), value % q
