"""Random programs on shared tensors against plain integers: exactly, or within one unit for each truncation."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

from privcomp.errors import EncodingError, ParameterError
from privcomp.mpc import Mpc, Shared, tensors
from privcomp.mpc.backend import ReplicatedBackend
from privcomp.mpc.protocols import PROTOCOLS
from tests.mpc.parties import PARTIES, run
from tests.reference.tensors import Plain, number, where

PROTOCOL = pytest.mark.parametrize("protocol", sorted(PROTOCOLS))

FRACTIONS = (0, 0, 1, 8, 16)
LINEAR = (
    "add",
    "sub",
    "rsub",
    "neg",
    "scale",
    "sum",
    "reshape",
    "index",
    "stack",
    "mul",
    "matmul",
    "dot",
    "public-matmul",
)
BOOLEAN = (
    "less",
    "at-most",
    "equal",
    "threshold",
    "where",
    "abs",
    "sort",
    "max",
    "min",
    "median",
    "power",
    "fixed",
    "gram",
)

Pair = tuple[Shared, Plain]


class Circuit:
    """One random program. Every party draws the same choices; each also computes the plain twin."""

    def __init__(self, mpc: Mpc, seed: int) -> None:
        self.mpc = mpc
        self.rng = np.random.default_rng(seed)
        self.full = isinstance(mpc.backend, ReplicatedBackend)
        self.rows, self.columns = (int(v) for v in self.rng.integers(1, 5, 2))
        self.refused = 0
        self.wrong: list[str] = []
        self.pool = [self.draw() for _ in range(int(self.rng.integers(2, 5)))]
        self.results: list[tuple[str, Any, Any]] = []

    def draw(self) -> Pair:
        """An input of a random owner: small, large, or at the ends of its bound."""
        rng = self.rng
        fraction = int(rng.choice(FRACTIONS))
        bits = min(int(rng.choice([1, 4, 12, 24, 40, 61])), self.mpc.backend.largest.bit_length() - 1)
        bound = max(1, (1 << bits) - int(rng.integers(0, 2)))
        shape = (self.rows, self.columns)
        kind = int(rng.integers(3))
        if kind == 0:
            integers = rng.integers(-bound, bound + 1, shape)
        elif kind == 1:
            integers = rng.choice([-bound, bound, 0, 1, -1], shape)
        else:
            integers = rng.integers(-min(bound, 9), min(bound, 9) + 1, shape)
        owner = int(rng.integers(self.mpc.n))
        # The owner passes floats where they hold the integers exactly, to go through encoding as well.
        values: Any = integers
        if fraction:
            if bits > 50:
                fraction = 0
            else:
                values = integers / 2**fraction
        shared = (
            self.mpc.input(
                values if self.mpc.me == owner else None,
                owner=owner,
                shape=shape,
                bound=bound / 2**fraction,
                fraction=fraction,
            )
            if fraction
            else self.mpc.input(values if self.mpc.me == owner else None, owner=owner, shape=shape, bound=bound)
        )
        return shared, Plain.exact(integers, fraction)

    def one(self) -> Pair:
        return self.pool[int(self.rng.integers(len(self.pool)))]

    def same_shape(self, shape: tuple[int, ...]) -> Pair:
        fitting = [pair for pair in self.pool if pair[0].shape == shape]
        return fitting[int(self.rng.integers(len(fitting)))]

    def step(self) -> None:
        name = str(self.rng.choice(LINEAR + BOOLEAN if self.full else LINEAR))
        x, p = self.one()
        y, q = self.same_shape(x.shape)
        choice = int(self.rng.integers(1 << 30))
        try:
            shared, plain = getattr(self, name.replace("-", "_"))(x, p, y, q, choice)
        except (ParameterError, EncodingError):  # a public operand may not fit, either
            self.refused += 1
            return
        self.results.append((name, shared, plain))
        if isinstance(shared, Shared) and shared.ndim == 2 and shared.size <= 36:
            self.pool.append((shared, plain))

    # ---- operations

    def add(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        if choice % 3 == 0:
            return x + choice, p + Plain.exact(choice)
        return x + y, p + q

    def sub(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        if choice % 2:
            # A row from every row.
            return x - y[0], p - q.map(operator.itemgetter(0))
        return x - y, p - q

    def rsub(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        public = np.arange(x.size).reshape(x.shape) - choice % 100
        return public - x, Plain.exact(public) - p

    def neg(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        return -x, -p

    def scale(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        if choice % 2 and x.fraction and self.full:
            # Odd over 2^k: needs exactly k bits.
            k, odd = 1 + choice % 12, (choice >> 4) % 64 * 2 + 1
            raw = p.raw_product(Plain.exact(odd))
            truncated = Plain(raw.low, raw.high, p.fraction + k).truncated(k)
            return x * (odd / 2**k), truncated
        factor = choice % 41 - 20
        return x * factor, p.raw_product(Plain.exact(factor))

    def sum(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        axis = (None, 0, 1)[choice % 3]
        return x.sum(axis), p.sum(axis)

    def reshape(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        if choice % 2:
            return x.T, p.map(lambda v: v.T)
        return x.reshape(-1, 1), p.map(lambda v: v.reshape(-1, 1))

    def index(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        row, column = choice % x.shape[0], choice % x.shape[1]
        key: Any = [np.s_[row:, ::-1], np.s_[[row, 0]], np.s_[:, column : column + 1]][choice % 3]
        return x[key], p.map(lambda v: v[key])

    def stack(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        f = max(x.fraction, y.fraction)
        ends = p.fixed(f), q.fixed(f)
        axis = choice % 2
        joined = Plain(np.concatenate([e.low for e in ends], axis), np.concatenate([e.high for e in ends], axis), f)
        return self.mpc.concatenate([x, y], axis), joined

    def mul(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        if choice % 4 == 0:
            return x[:, :1] * y, p.map(lambda v: v[:, :1]).times(q, self.full)
        return x * y, p.times(q, self.full)

    def matmul(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        return x @ y.T, p.matmul(q.map(lambda v: v.T), self.full)

    def dot(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        raw = p.map(lambda v: v.reshape(1, -1)).matmul(q.map(lambda v: v.reshape(-1, 1)), self.full)
        return x.dot(y), raw.map(lambda v: v.reshape(()))

    def public_matmul(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        public = (np.arange(x.shape[1] * 3).reshape(-1, 3) * (choice % 17)) - choice % 50
        if choice % 2:
            return public.T @ x.T, Plain.exact(public.T).matmul(p.map(lambda v: v.T), False)
        return x @ public, p.matmul(Plain.exact(public), False)

    def less(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        return (x < y, p.below(q)) if choice % 2 else (x > y, q.below(p))

    def at_most(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        above = q.below(p) if choice % 2 else p.below(q)
        return (x <= y) if choice % 2 else (x >= y), np.where(above < 0, -1, 1 - above)

    def equal(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        found = p.equals(q)
        return ((x == y, found)) if choice % 2 else (x != y, np.where(found < 0, -1, 1 - found))

    def threshold(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        """Against a number that the tensor's fraction does not have: x < c is what it says."""
        c = (choice % 101 - 50) * 2 + 1
        public = Plain.exact(c, x.fraction + 1)
        real = c / 2 ** (x.fraction + 1)
        below = p.below(public)
        return (x < real, below) if choice % 2 else (x >= real, np.where(below < 0, -1, 1 - below))

    def where(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        condition, known = x < y, p.below(q)
        if choice % 3 == 0:
            condition, known = condition & (x == x), known
        if choice % 3 == 1:
            return self.mpc.where(condition, x, 7), where(known, p, Plain.exact(7))
        return self.mpc.where(condition, x, y), where(known, p, q)

    def abs(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        if choice % 2:
            return (x < 0).number(), number(p.below(Plain.exact(0)))
        return abs(x), p.abs()

    def sort(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        return x.sort(choice % 2), p.sort(choice % 2)

    def max(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        axis = choice % 2
        return x.max(axis), p.map(lambda v: v.max(axis=axis))

    def min(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        axis = choice % 2
        return x.min(axis), p.map(lambda v: v.min(axis=axis))

    def median(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        count, ordered = x.shape[0], p.sort(0)
        if count % 2:
            return x.median(0), ordered.map(operator.itemgetter(count // 2))
        middle = ordered.map(lambda v: v[count // 2 - 1] + v[count // 2])
        return x.median(0), Plain(middle.low, middle.high, p.fraction + 1)

    def power(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        square = p.times(p, True)
        return (x**2, square) if choice % 2 else (x**3, p.times(square, True))

    def fixed(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        fraction = choice % 20
        return x.fixed(fraction), p.fixed(fraction)

    def gram(self, x: Shared, p: Plain, y: Shared, q: Plain, choice: int) -> Any:
        return x.gram(), p.matmul(p.map(lambda v: v.T), True)

    # ---- the end

    async def check(self) -> tuple[int, int]:
        """Open everything; how many results there were, and how many operations were refused for their bounds."""
        mpc = self.mpc
        tasks = [mpc.open(shared) for _, shared, _ in self.results]
        # The integers as well: float64 has 53 bits.
        fixed = [x if isinstance(x, Shared) else x.number() for _, x, _ in self.results]
        raw = [mpc.open(mpc.wrap(await x.value(), bound=x.bound)) for x in fixed]
        opened, integers = await mpc.gather(*tasks), await mpc.gather(*raw)
        if mpc.me == mpc.n:  # a dealer, to whom nothing is opened
            assert all(one is None for one in (*opened, *integers))
            return len(self.results), self.refused
        for (name, shared, plain), found, exact in zip(self.results, opened, integers, strict=True):
            if isinstance(shared, Shared):
                assert shared.fraction == plain.fraction, name
                assert found.shape == plain.shape, name
                assert (found == exact / 2**shared.fraction).all(), name
                assert plain.holds(exact), name
            else:
                assert found.shape == np.shape(plain), name
                assert ((plain == -1) | (found == (plain == 1))).all(), name
                assert (found == exact).all(), name
        return len(self.results), self.refused


def check_circuits(protocol: str, seeds: range) -> None:
    async def program(mpc: Mpc) -> tuple[int, int]:
        several = [Circuit(mpc, seed) for seed in seeds]
        for circuit in several:
            for _ in range(int(circuit.rng.integers(3, 9))):
                circuit.step()
        counts = [await circuit.check() for circuit in several]
        return sum(done for done, _ in counts), sum(refused for _, refused in counts)

    for done, refused in run(protocol, tensors(program)).results:
        assert done >= 3 * len(seeds)
        # Refusals are a part of the operations, not most of them.
        assert refused <= done


@pytest.mark.parametrize(
    ("protocol", "block"),
    [(protocol, block) for protocol in sorted(PROTOCOLS) for block in range(6 if protocol == "rep3" else 2)],
)
def test_random_circuits(protocol: str, block: int) -> None:
    """150 on three parties, 50 on every other protocol; the tensors above them are the same."""
    assert protocol in PARTIES
    check_circuits(protocol, range(25 * block, 25 * block + 25))


@pytest.mark.assurance
@PROTOCOL
def test_ten_thousand_random_circuits(protocol: str) -> None:
    for start in range(1000, 11000, 50):
        check_circuits(protocol, range(start, start + 50))
