"""The prover. Steps and their numbers are those of docs/norm-proof.md.

The kernels are constant time. What is not, `prove_var` says: counting the entries and the tables of fixed multiples
read memory at places that depend on them, and Python's integers take a time that depends on their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from privcomp import _core
from privcomp.algebra import Group, Point, Points, Scalars
from privcomp.commitments.hyrax import Hyrax, Opening
from privcomp.errors import ParameterError
from privcomp.transcript import Transcript
from privcomp.typing import I64Array, U64Array
from privcomp.zk.norm.relations import Challenges, eq_list, interpolate, opening_form
from privcomp.zk.norm.replay import ForbiddenChallenge, begin, challenge, layer_rounds
from privcomp.zk.norm.statement import NormStatement

__all__ = ["Draw", "prove"]

#: draw(low): a fresh uniform integer in [low, order).
Draw = Callable[[int], int]

_PIECES_BITS = 3


def prove(
    statement: NormStatement,
    context: Mapping[str, bytes],
    x: I64Array,
    rows: bytes,
    opening: Opening,
    draw_for: Callable[[Transcript], Draw],
    transcript: Transcript | None,
) -> bytes:
    """A proof for entries that are known to satisfy the statement."""
    start = begin(statement, context, rows, transcript)
    draw = draw_for(start)
    while True:
        try:
            return _Prover(statement, x, opening, draw, start.copy()).run()
        except ForbiddenChallenge:
            continue


class _Messages:
    """Sends committed scalars; remembers them and their blindings."""

    def __init__(self, statement: NormStatement, transcript: Transcript, draw: Draw) -> None:
        self.statement, self.transcript, self.draw = statement, transcript, draw
        self.group, self.generators = statement.group, statement.generators
        self.scalars: list[int] = []
        self.blindings: list[int] = []
        self.sent: list[bytes] = []

    def blinded(self, bases: Points, scalars: Scalars) -> tuple[Point, int]:
        """<scalars, bases> + r H for a fresh r with which it is not the identity."""
        blinded = Points.concat([bases, self.generators.blinding])
        while True:
            r = self.draw(1)
            point = blinded.msm(Scalars.concat([scalars, self.group.scalars([r])]))
            if not point.is_identity():
                return point, r

    def point(self, label: str, point: Point) -> None:
        """Send and absorb a point."""
        data = point.encode()
        self.transcript.append(label, data)
        self.sent.append(data)

    def scalar(self, label: str, value: int) -> None:
        """Send and absorb a scalar in the clear."""
        data = value.to_bytes(32, "little")
        self.transcript.append(label, data)
        self.sent.append(data)

    def send(self, label: str, values: Sequence[int]) -> None:
        """Send a commitment to the next scalars."""
        at, q = len(self.scalars), self.group.order
        values = [value % q for value in values]
        bases = self.generators.messages[at : at + len(values)]
        point, r = self.blinded(bases, self.group.scalars(values))
        self.scalars += values
        self.blindings.append(r)
        self.point(label, point)

    def challenge(self, label: str, *, nodes: int = 0) -> int:
        """The next challenge."""
        return challenge(self.transcript, label, self.group.order, nodes=nodes)


class _Prover:
    def __init__(
        self, statement: NormStatement, x: I64Array, opening: Opening, draw: Draw, transcript: Transcript
    ) -> None:
        self.statement, self.x, self.opening = statement, x, opening
        self.group, self.q, self.id = statement.group, statement.group.order, statement.group.core_id
        self.out = _Messages(statement, transcript, draw)
        self.ch = Challenges()

    def run(self) -> bytes:
        """All messages in order."""
        self._multiplicities()
        slots = self._claims()
        sigma = self._tree()
        factors = self._layers()
        left, right = self._open(slots, sigma)
        self._products(slots, factors)
        self._inner_product(left, right)
        return b"".join(self.out.sent)

    # ---- messages 1, 2: multiplicities, claims

    def _multiplicities(self) -> None:
        statement, out = self.statement, self.out
        counts = np.bincount(self.x - statement.lo, minlength=statement.values).astype(np.int64)
        counts[-statement.lo] += statement.padding
        self.counts: I64Array = counts
        found = _count_rows(statement, counts)
        blinding = statement.generators.blinding
        self.table_blindings = [out.draw(1) for _ in range(statement.table_rows)]
        while True:
            points = found + blinding * self.group.scalars(self.table_blindings)
            bad = [k for k, same in enumerate(points.equal(self.group.identity)) if same]
            if not bad:
                break
            for k in bad:
                self.table_blindings[k] = out.draw(1)
        for k, point in enumerate(points):
            out.point(f"M{k}", point)

    def _claims(self) -> list[int]:
        statement, q = self.statement, self.q
        values: list[int] = []
        for slot in statement.slots:
            if slot.kind == "S":
                values.append(_core.dot_i64(self.id, self.x, self.x))
            elif slot.kind == "sq":
                values.append(values[slot.data] ** 2 % q)
            elif slot.kind == "bit":
                values.append(0)
            elif slot.kind == "m":
                values.append(_core.dot_i64(self.id, self.counts, slot.data))
            elif isinstance(slot.data, np.ndarray):
                values.append(_core.dot_i64(self.id, self.x, slot.data))
            else:
                index, sign = slot.data
                values.append(sign * int(self.x[index]) % q)
        for need in statement.ranges:
            size = sum(f * (1 if k < 0 else values[k]) for k, f in need.form.items()) % q
            for b in range(need.bits):
                values[need.first + b] = size >> b & 1
        self.out.send("claims", values or [0])
        self.ch.alpha = self.out.challenge("alpha")
        return values

    # ---- message 3: the root

    def _tree(self) -> int:
        """Stores layers 0 .. n - 3; the others are computed again from the entries. Returns sigma."""
        statement, n = self.statement, self.statement.variables
        self.shift = (self.ch.alpha - statement.lo) % self.q
        try:
            self.weights = _core.reciprocals(self.id, statement.values, 1 << statement.table_variables, self.ch.alpha)
        except ParameterError:
            raise ForbiddenChallenge("alpha") from None
        self.top = max(0, n - 3)
        self.arena: U64Array = np.empty((max((4 << self.top) - 2, 1 << (n - 1), 4), 4), np.uint64)
        _core.fraction_layer(self.id, self._layer(self.top), self.x, n, self.top, self.shift)
        for k in reversed(range(self.top)):
            _core.fraction_up(self.id, self._layer(k), self._layer(k + 1), k)
        self.p, self.root = _values(self.id, self._layer(0), [0, 1])
        if self.root == 0:
            raise ForbiddenChallenge("alpha")
        self.inverse = int(self.group.scalar(self.root).inverse())  # a test for guesses of x: not by Python's `pow`
        sigma = _core.table_dot(self.id, self.weights[: statement.values], self.counts)
        self.out.send("root", [self.p, self.root, self.inverse, sigma])
        return sigma

    def _layer(self, k: int) -> U64Array:
        return self.arena[(2 << k) - 2 : (4 << k) - 2]

    # ---- messages 4, 5: one sumcheck for each layer

    def _layers(self) -> list[tuple[int, int]]:
        """Returns the factors of the layers' products; leaves the claim q~(r1) in `leaf_claim`."""
        out, ch, q, n = self.out, self.ch, self.q, self.statement.variables
        a, b, r = self.p, self.root, list[int]()
        factors = []
        for k, rounds in layer_rounds(n):
            lam = out.challenge(f"lam{k}")
            tables, claim, s = self._children(k, lam), (a + lam * b) % q, [0] * k
            for bit in rounds:
                point = r[:bit]
                if tables is None:
                    h0, h2 = _core.fraction_first_round(self.id, self.x, n, k, self.shift, lam, point)
                else:
                    h0, h2 = _core.fraction_round(self.id, tables, point, lam if k == n - 1 else None)
                h1 = ((claim - h0) * pow(r[bit], -1, q) - h2) % q  # claim = (1 - r) h(0) + r h(1)
                out.send(f"layer{k}.round{bit}", [h1, h2])
                s[bit] = out.challenge(f"layer{k}.s{bit}")
                claim = (claim + (s[bit] - r[bit]) * h1 + (s[bit] * s[bit] - r[bit]) * h2) % q
                if tables is None:
                    tables = self.arena[: (2 if k == n - 1 else 4) << (k - 1)]
                    _core.fraction_first_fold(self.id, tables, self.x, n, k, self.shift, lam, s[bit])
                else:
                    _core.table_fold(self.id, tables, 2 if k == n - 1 else 4, 1 << bit, s[bit])
            if k == n - 1:
                p0 = p1 = 1
                q0, q1 = self._leaf_pair() if tables is None else _firsts(self.id, tables, 2)
                out.send(f"layer{k}.values", [q0, q1])
                factors.append((lam * q0 % q, q1))
            else:
                p0, mixed, q0, q1 = _firsts(self.id, tables, 4)
                p1 = (mixed - lam * q1) % q
                out.send(f"layer{k}.values", [p0, p1, q0, q1, p0 * q1])
                factors += [(p0, q1), (q0, mixed)]
            mu = out.challenge(f"mu{k}")
            a, b = (p0 + mu * (p1 - p0)) % q, (q0 + mu * (q1 - q0)) % q
            ch.lam.append(lam)
            ch.point.append(r)
            ch.bound.append(s)
            ch.mu.append(mu)
            r = [*s, mu]
        self.leaf_claim = b
        ch.eta = out.challenge("eta")
        return factors

    def _children(self, k: int, lam: int) -> U64Array | None:
        """p0, p1 + lam q1, q0, q1 of layer k + 1; None where the first round works on the entries themselves."""
        n = self.statement.variables
        if k + 1 <= self.top:
            tables = self._layer(k + 1)
        elif k == n - 1 or (k == n - 2 and k >= 1):
            return None
        else:
            tables = self.arena[: 4 << k]
            _core.fraction_layer(self.id, tables, self.x, n, k + 1, self.shift)
        _core.fraction_mix(self.id, tables, lam)
        return tables

    def _leaf_pair(self) -> tuple[int, int]:
        """The two leaves of a statement with n = 1."""
        entries = [int(self.x[j]) if j < len(self.x) else 0 for j in range(2)]
        return (self.shift + entries[0]) % self.q, (self.shift + entries[1]) % self.q

    # ---- messages 6, 7: the open sumcheck

    def _open(self, slots: Sequence[int], sigma: int) -> tuple[Scalars, Scalars]:
        """Returns the entries and multiplicities folded over the rows."""
        statement, out, ch = self.statement, self.out, self.ch
        del self.arena  # as large as what comes now
        entries = _Entries(statement, self.x, ch, self.leaf_claim, slots)
        table = _Table(statement, self.counts, self.weights, ch, sigma, slots)
        del self.weights
        s = [0] * statement.open_rounds
        for bit in reversed(range(statement.open_rounds)):
            parts = [part for part in (entries, table) if bit < part.variables]
            found = [part.round(bit) for part in parts]
            out.send(f"open.round{bit}", [sum(h1 for h1, _ in found), sum(h2 for _, h2 in found)])
            s[bit] = out.challenge(f"open.s{bit}")
            for part in parts:
                part.bind(bit, s[bit])
        out.send("open.values", [entries.value, table.value])
        ch.opened = s
        ch.kappa = out.challenge("kappa")
        return entries.columns, table.columns

    # ---- messages 8, 9: all products

    def _products(self, slots: Sequence[int], factors: list[tuple[int, int]]) -> None:
        statement, out, ch, q = self.statement, self.out, self.ch, self.q
        pairs = []
        for k, slot in enumerate(statement.slots):
            if slot.kind in ("bit", "sq"):
                value = slots[k if slot.kind == "bit" else slot.data]
                pairs.append((value, value))
        pairs += [(self.root, self.inverse), (self.p, self.inverse), *factors]
        if statement.has_norm:
            v = out.scalars[-2]
            pairs.append((v, v))
        count = statement.products
        if len(pairs) != count:
            raise RuntimeError(f"{len(pairs)} products where {count} are stated")
        f = [out.draw(0), *(a for a, _ in pairs)]
        g = [out.draw(0), *(b for _, b in pairs)]
        later = zip(_extrapolate(f, count, q), _extrapolate(g, count, q), strict=True)
        out.send("aux", [f[0], g[0], f[0] * g[0], *(a * b for a, b in later)])
        ch.c = out.challenge("c", nodes=2 * count + 1)
        basis = interpolate(statement.group, count + 1, ch.c)
        ch.fc = sum(u * v for u, v in zip(basis, f, strict=True)) % q
        ch.gc = sum(u * v for u, v in zip(basis, g, strict=True)) % q
        out.scalar("fc", ch.fc)
        out.scalar("gc", ch.gc)
        ch.zeta, ch.theta, ch.chi = out.challenge("zeta"), out.challenge("theta"), out.challenge("chi")

    # ---- messages 10, 11, 12: one opening

    def _inner_product(self, entries: Scalars, table: Scalars) -> None:
        statement, out, ch, q, group = self.statement, self.out, self.ch, self.q, self.group
        generators = statement.generators
        j, _ = opening_form(statement, ch)
        far = pow(ch.theta, 2 * len(statement.messages) + 1, q)
        rows = self._row_weights(ch.opened[: statement.variables])
        table_rows = self._row_weights(ch.opened[: statement.table_variables])
        blinded = sum(u * v for u, v in zip(rows, self.opening.blindings.to_ints(), strict=False))
        blinded += ch.kappa * sum(u * v for u, v in zip(table_rows, self.table_blindings, strict=False))
        rho = far * blinded % q
        messages, at, scale = list[int](), 0, 1
        for k, (_, count) in enumerate(statement.messages):
            scale = scale * ch.theta % q
            messages += [scale * w % q for w in out.scalars[at : at + count]]
            rho += scale * out.blindings[k]
            at += count
        unused = (1 << statement.halvings) - statement.columns - at
        folded = table.axpy(group.scalar(ch.kappa), entries) * group.scalar(far)
        u = Scalars.concat([folded, group.scalars(messages + [0] * unused)])
        g = Points.concat([generators.columns, generators.messages])
        product = generators.product * group.scalar(ch.chi)
        for i in range(statement.halvings):
            half = len(u) // 2
            u_low, u_high, j_low, j_high, g_low, g_high = u[:half], u[half:], j[:half], j[half:], g[:half], g[half:]
            left, left_r = out.blinded(Points.concat([g_high, product]), Scalars.concat([u_low, u_low.dot(j_high)]))
            out.point(f"L{i}", left)
            right, right_r = out.blinded(Points.concat([g_low, product]), Scalars.concat([u_high, u_high.dot(j_low)]))
            out.point(f"R{i}", right)
            e = out.challenge(f"e{i}")
            inverse = pow(e, -1, q)
            u = u_high.axpy(group.scalar(e), u_low)
            j = j_high.axpy(group.scalar(inverse), j_low)
            g = g_high.axpy_var(group.scalar(inverse), g_low)
            rho += inverse * left_r + e * right_r
        nonce = out.draw(1)
        left_over = group.scalars([nonce])
        a, blinding = out.blinded(Points.concat([g, product]), Scalars.concat([left_over, left_over.dot(j)]))
        out.point("A", a)
        cs = out.challenge("cs")
        out.scalar("za", (nonce + cs * int(u[0])) % q)
        out.scalar("zr", (blinding + cs * rho) % q)

    def _row_weights(self, point: Sequence[int]) -> list[int]:
        return eq_list(point[self.statement.column_bits :], self.q)


class _Part:
    """One of the two sums that the open sumcheck proves together."""

    def __init__(self, group: Group, variables: int, column_bits: int, claim: int) -> None:
        self.group, self.q, self.id = group, group.order, group.core_id
        self.variables, self.column_bits, self.claim = variables, column_bits, claim % group.order

    table: U64Array
    other: U64Array

    def start(self) -> None:
        """Call once the tables are there."""
        self._keep(self.table)

    def _keep(self, table: U64Array) -> None:
        if len(table) == 1 << self.column_bits:
            self.columns = Scalars._of(self.group, _core.table_store(self.id, table))
        if len(table) == 1:
            self.value = _values(self.id, table, [0])[0]

    def message(self, h0: int, h2: int) -> tuple[int, int]:
        """The two coefficients that are sent; the claim is h(0) + h(1)."""
        self.polynomial = (h0, (self.claim - 2 * h0 - h2) % self.q, h2)
        return self.polynomial[1:]

    def round(self, bit: int) -> tuple[int, int]:
        """h1 and h2 of the round."""
        return self.message(*_core.product_round(self.id, self.table, self.other, 1 << bit))

    def bind(self, bit: int, s: int) -> None:
        """The challenge of the round."""
        h0, h1, h2 = self.polynomial
        self.claim = (h0 + s * (h1 + s * h2)) % self.q
        self._fold(bit, s)

    def _fold(self, bit: int, s: int) -> None:
        for table in (self.table, self.other):
            _core.table_fold(self.id, table, 1, 1 << bit, s)
        self.table, self.other = self.table[: 1 << bit], self.other[: 1 << bit]
        self._keep(self.table)


class _Entries(_Part):
    """The sum of x_j (x_j + W_j), of which x_j x_j is left out where there is no claim about the norm.

    The first rounds need no tables: with x in 2^k pieces they are about the 2^k by 2^k matrix of
    sum_y x_a(y) (x_b(y) + W_b(y)), whose entries are sums of integers and sums against eq.
    """

    def __init__(
        self, statement: NormStatement, x: I64Array, ch: Challenges, leaf_claim: int, slots: Sequence[int]
    ) -> None:
        q, n, eta = statement.group.order, statement.variables, ch.eta
        self.statement, self.x, self.r1, self.eta = statement, x, ch.leaf_point, eta
        self.directions: list[tuple[int, Any]] = []
        claim = eta * (leaf_claim - ch.alpha + statement.lo)
        factor = pow(eta, 4, q)
        for slot, value in zip(statement.slots, slots, strict=True):
            if slot.kind == "S":
                claim += value
            if slot.kind == "x":
                self.directions.append((factor, slot.data))
                claim += factor * value
            if slot.kind in ("x", "m"):
                factor = factor * eta % q
        super().__init__(statement.group, n, statement.column_bits, claim)
        self.pieces_bits = min(_PIECES_BITS, n - statement.column_bits)
        self.size = 1 << (n - self.pieces_bits)
        self.bound: list[int] = []  # challenges of the highest variables, from the lowest of them
        self.matrix = self._matrix()
        if not self.pieces_bits:
            self._tables()

    def _piece(self, vector: I64Array, k: int) -> I64Array:
        return vector[k * self.size : (k + 1) * self.size]

    def _cut(self, k: int) -> int:
        """Places of piece k before the padding."""
        return min(max(self.statement.d - k * self.size, 0), self.size)

    def _matrix(self) -> list[list[int]]:
        count, q = 1 << self.pieces_bits, self.q
        low, high = self.r1[: self.variables - self.pieces_bits], self.r1[self.variables - self.pieces_bits :]
        tops = eq_list(high, q)
        cuts = [self._cut(k) for k in range(count)]
        partial = next((cut for cut in cuts if 0 < cut < self.size), self.size)
        out = [[0] * count for _ in range(count)]
        for a in range(count):
            piece = self._piece(self.x, a)
            before = _core.eq_dot(self.id, low, piece, 0, partial)
            after = _core.eq_dot(self.id, low, piece, partial, self.size)
            padded = {0: (before + after) % q, partial: after, self.size: 0}
            for b in range(count):
                cell = tops[b] * (self.eta * (before + after) + self.eta**2 * padded[cuts[b]])
                for factor, data in self.directions:
                    cell += factor * self._product(piece, data, b)
                out[a][b] = cell % q
        if self.statement.has_norm:
            for a in range(count):
                for b in range(a, count):
                    one, two = self._piece(self.x, a), self._piece(self.x, b)
                    both = min(len(one), len(two))
                    product = _core.dot_i64(self.id, one[:both], two[:both])
                    out[a][b] = (out[a][b] + product) % q
                    if a != b:
                        out[b][a] = (out[b][a] + product) % q
        return out

    def _product(self, piece: I64Array, data: Any, b: int) -> int:
        """The inner product of a piece of x with piece b of a direction."""
        if isinstance(data, np.ndarray):
            other = self._piece(data, b)
            both = min(len(piece), len(other))
            return _core.dot_i64(self.id, piece[:both], other[:both])
        index, sign = data
        place = index - b * self.size
        return sign * int(piece[place]) if 0 <= place < len(piece) else 0

    def round(self, bit: int) -> tuple[int, int]:
        """As `_Part`; from the matrix as long as there are pieces."""
        if len(self.matrix) == 1:
            return super().round(bit)
        m, half = self.matrix, len(self.matrix) // 2
        h0 = sum(m[z][z] for z in range(half))
        h2 = sum(m[z][z] - m[z + half][z] - m[z][z + half] + m[z + half][z + half] for z in range(half))
        return self.message(h0 % self.q, h2 % self.q)

    def _fold(self, bit: int, s: int) -> None:
        if len(self.matrix) == 1:
            super()._fold(bit, s)
            return
        m, half, q, low = self.matrix, len(self.matrix) // 2, self.q, (1 - s) % self.q
        self.matrix = [
            [
                (low * (low * m[a][b] + s * m[a][b + half]) + s * (low * m[a + half][b] + s * m[a + half][b + half]))
                % q
                for b in range(half)
            ]
            for a in range(half)
        ]
        self.bound.insert(0, s)
        if len(self.matrix) == 1:
            self._tables()

    def _tables(self) -> None:
        """The tables of x and x + W once the pieces are bound."""
        q, count = self.q, 1 << self.pieces_bits
        low, high = self.r1[: self.variables - self.pieces_bits], self.r1[self.variables - self.pieces_bits :]
        at, tops = eq_list(self.bound, q), eq_list(high, q)
        below = above = 0
        cut = self.size
        for k in range(count):
            padding = self._cut(k)
            both = at[k] * tops[k] % q
            below += both * (self.eta + (self.eta**2 if padding == 0 else 0))
            above += both * (self.eta + (self.eta**2 if padding < self.size else 0))
            if 0 < padding < self.size:
                cut = padding
        self.table = np.empty((self.size, 4), np.uint64)
        _core.table_combine(self.id, self.table, at, self.x, added=False)
        self.other = _core.table_eq(self.id, low, cut, below % q, above % q)
        if self.statement.has_norm:
            _core.table_combine(self.id, self.other, at, self.x, added=True)
        for factor, data in self.directions:
            if isinstance(data, np.ndarray):
                _core.table_combine(self.id, self.other, [factor * v % q for v in at], data, added=True)
            else:
                index, sign = data
                _add(self.group, self.other, index % self.size, factor * sign * at[index // self.size] % q)
        self.start()


class _Table(_Part):
    """The sum of m_t Omega_t."""

    def __init__(
        self,
        statement: NormStatement,
        counts: I64Array,
        weights: U64Array,
        ch: Challenges,
        sigma: int,
        slots: Sequence[int],
    ) -> None:
        group, q, eta = statement.group, statement.group.order, ch.eta
        claim, factor = pow(eta, 3, q) * sigma, pow(eta, 4, q)
        _core.table_scale(group.core_id, weights, pow(eta, 3, q))
        for slot, value in zip(statement.slots, slots, strict=True):
            if slot.kind == "m":
                _core.table_combine(group.core_id, weights, [factor], slot.data, added=True)
                claim += factor * value
            if slot.kind in ("x", "m"):
                factor = factor * eta % q
        super().__init__(group, statement.table_variables, statement.column_bits, claim)
        self.table, self.other = np.empty_like(weights), weights
        _core.table_combine(self.id, self.table, [1], counts, added=False)
        self.start()


def _values(group: int, table: U64Array, places: Sequence[int]) -> tuple[int, ...]:
    picked = np.ascontiguousarray(table[np.array(places, dtype=np.intp)])
    return tuple(int.from_bytes(row.tobytes(), "little") for row in _core.table_store(group, picked))


def _firsts(group: int, tables: U64Array | None, count: int) -> tuple[int, ...]:
    """The first value of each of `count` tables."""
    if tables is None:
        raise RuntimeError("no tables")
    return _values(group, tables, [k * (len(tables) // count) for k in range(count)])


def _add(group: Group, table: U64Array, place: int, value: int) -> None:
    old = Scalars._of(group, _core.table_store(group.core_id, table[place : place + 1]))
    table[place : place + 1] = _core.table_load(group.core_id, (old + group.scalars([value]))._data)


def _extrapolate(values: Sequence[int], more: int, q: int) -> list[int]:
    """The next values of the polynomial of degree len(values) - 1 through values at 0, 1, ..: by differences."""
    last = [values[-1]]
    row = list(values)
    while len(row) > 1:
        row = [(b - a) % q for a, b in pairwise(row)]
        last.append(row[-1])
    out = []
    for _ in range(more):
        for k in reversed(range(len(last) - 1)):
            last[k] = (last[k] + last[k + 1]) % q
        out.append(last[0])
    return out


def _count_rows(statement: NormStatement, counts: I64Array) -> Points:
    """Commitments without blinding to the multiplicities, 16 bits at a time: the tables of the entries serve."""
    scheme = Hyrax(statement.columns, 2, statement.group)
    low = ((counts + (1 << 15)) & 0xFFFF) - (1 << 15)
    high = (counts - low) >> 16  # at most 2^12
    found = scheme.rows_var(low)
    if high.any():
        found = found + scheme.rows_var(high) * statement.group.scalar(1 << 16)
    return found
