"""A group so small that a test can try everything: the subgroup of order q of the integers modulo a small prime p.

It takes the place of the compiled core behind `privcomp.algebra`, so that protocols run on it unchanged. An element is
its residue, a scalar an integer below q, in rows of as many bytes as everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from privcomp import _core
from privcomp.algebra import Group, groups
from privcomp.commitments import generators
from privcomp.errors import CodecError, ParameterError
from privcomp.zk.norm import prover, relations
from tests.reference import multilinear

TOY = 99


class ToyCore:
    """What is called of the core for group number TOY; everything else goes to the core."""

    def __init__(self, q: int, p: int) -> None:
        self.q, self.p = q, p
        self.base = next(x for x in range(2, p) if pow(x, q, p) == 1)
        self.ENCODING_BYTES = {**_core.ENCODING_BYTES, TOY: 8}
        self.UNIFORM_BYTES = {**_core.UNIFORM_BYTES, TOY: 64}

    def __getattr__(self, name: str) -> Any:
        real = getattr(_core, name)
        own = getattr(type(self), "toy_" + name, None)
        if own is None:
            return real
        return lambda group, *rest, **named: own(self, *rest, **named) if group == TOY else real(group, *rest, **named)

    @staticmethod
    def rows(values: Any, width: int) -> np.ndarray:
        return (
            np.frombuffer(b"".join(int(v).to_bytes(width, "little") for v in values), np.uint8)
            .reshape(-1, width)
            .copy()
        )

    @staticmethod
    def ints(rows: np.ndarray) -> list[int]:
        return [int.from_bytes(row.tobytes(), "little") for row in rows]

    # ---- scalars

    def scalars(self, values: Any) -> np.ndarray:
        return self.rows((v % self.q for v in values), 32)

    def toy_scalar_order(self) -> int:
        return self.q

    def toy_scalar_check(self, a: np.ndarray) -> None:
        if any(v >= self.q for v in self.ints(a)):
            raise ParameterError("not below the group's order")

    def toy_scalar_add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.scalars(x + y for x, y in zip(self.ints(a), self.ints(b), strict=True))

    def toy_scalar_sub(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.scalars(x - y for x, y in zip(self.ints(a), self.ints(b), strict=True))

    def toy_scalar_mul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.scalars(x * y for x, y in zip(self.ints(a), self.ints(b), strict=True))

    def toy_scalar_axpy(self, alpha: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        (factor,) = self.ints(alpha)
        return self.scalars(factor * a + b for a, b in zip(self.ints(x), self.ints(y), strict=True))

    def toy_scalar_dot(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.scalars([sum(x * y for x, y in zip(self.ints(a), self.ints(b), strict=True))])

    def toy_scalar_inv(self, a: np.ndarray) -> np.ndarray:
        return self.scalars(pow(x, -1, self.q) for x in self.ints(a))

    def toy_scalar_from_wide(self, wide: np.ndarray) -> np.ndarray:
        return self.scalars(self.ints(wide))

    def toy_scalar_from_i64(self, values: np.ndarray) -> np.ndarray:
        return self.scalars(int(v) for v in values)

    # ---- elements

    def elements(self, values: Any) -> np.ndarray:
        return self.rows((v % self.p for v in values), 64)

    def toy_group_generator(self) -> np.ndarray:
        return self.elements([self.base])

    def toy_group_decode(self, encodings: np.ndarray) -> np.ndarray:
        found = self.ints(encodings)
        if any(not 0 < x < self.p or pow(x, self.q, self.p) != 1 for x in found):
            raise CodecError("not in the group")
        return self.elements(found)

    def toy_group_encode(self, points: np.ndarray) -> np.ndarray:
        return self.rows(self.ints(points), 8)

    def toy_group_from_uniform(self, uniform: np.ndarray) -> np.ndarray:
        found = [int.from_bytes(hashlib.sha256(row.tobytes()).digest(), "little") for row in uniform]
        return self.elements(pow(self.base, 1 + x % (self.q - 1), self.p) for x in found)

    def toy_group_equal(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a == b).all(axis=1)

    def toy_group_add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.elements(x * y for x, y in zip(self.ints(a), self.ints(b), strict=True))

    def toy_group_sub(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.elements(x * pow(y, -1, self.p) for x, y in zip(self.ints(a), self.ints(b), strict=True))

    def toy_group_mul(self, points: np.ndarray, scalars: np.ndarray) -> np.ndarray:
        return self.elements(pow(x, s, self.p) for x, s in zip(self.ints(points), self.ints(scalars), strict=True))

    def toy_group_msm(self, points: np.ndarray, scalars: np.ndarray) -> np.ndarray:
        total = 1
        for x, s in zip(self.ints(points), self.ints(scalars), strict=True):
            total = total * pow(x, s, self.p) % self.p
        return self.elements([total])

    def toy_group_axpy_var(self, scalar: np.ndarray, b: np.ndarray, a: np.ndarray) -> np.ndarray:
        (factor,) = self.ints(scalar)
        return self.elements(y * pow(x, factor, self.p) for x, y in zip(self.ints(b), self.ints(a), strict=True))

    toy_group_msm_var = toy_group_msm

    def toy_group_table(self, points: np.ndarray, windows: int) -> np.ndarray:
        return points.copy()

    def toy_group_rows_var(self, table: np.ndarray, values: np.ndarray, windows: int) -> np.ndarray:
        return np.concatenate([self.toy_group_msm(table, self.scalars(int(v) for v in row)) for row in values])

    def toy_group_fixed_var(self, table: np.ndarray, scalars: np.ndarray) -> np.ndarray:
        return self.toy_group_mul(np.repeat(table, len(scalars), axis=0), scalars)

    # ---- multilinear polynomials: a table has its values in the first column

    def table(self, values: Sequence[int]) -> np.ndarray:
        out = np.zeros((len(values), 4), np.uint64)
        out[:, 0] = [v % self.q for v in values]
        return out

    @staticmethod
    def cells(table: np.ndarray) -> list[int]:
        return [int(v) for v in table[:, 0]]

    def toy_table_load(self, scalars: np.ndarray) -> np.ndarray:
        return self.table(self.ints(scalars))

    def toy_table_store(self, table: np.ndarray) -> np.ndarray:
        return self.scalars(self.cells(table))

    def toy_table_scale(self, table: np.ndarray, factor: int) -> None:
        table[:] = self.table([factor * v for v in self.cells(table)])

    def toy_table_fold(self, tables: np.ndarray, count: int, half: int, s: int) -> None:
        stride = len(tables) // count
        for k in range(0, len(tables), stride):
            folded = multilinear.fold(self.cells(tables[k : k + 2 * half]), s, self.q)
            tables[k : k + half] = self.table(folded)

    def toy_table_eq(self, point: Sequence[int], cut: int, below: int, above: int) -> np.ndarray:
        return self.table(multilinear.eq_table(point, cut, below, above, self.q))

    def toy_table_combine(self, table: np.ndarray, coefficients: Sequence[int], x: np.ndarray, *, added: bool) -> None:
        found = multilinear.combine(len(table), coefficients, x.tolist(), self.q)
        old = self.cells(table) if added else [0] * len(table)
        table[:] = self.table([a + b for a, b in zip(old, found, strict=True)])

    def toy_eq_dot(self, point: Sequence[int], x: np.ndarray, first: int, last: int) -> int:
        return multilinear.eq_dot(point, x.tolist(), first, last, self.q)

    def toy_table_dot(self, table: np.ndarray, x: np.ndarray) -> int:
        return multilinear.dot(self.cells(table), x.tolist(), self.q)

    def toy_dot_i64(self, x: np.ndarray, y: np.ndarray) -> int:
        return multilinear.dot(x.tolist(), y.tolist(), self.q)

    def toy_product_round(self, a: np.ndarray, g: np.ndarray, half: int) -> tuple[int, int]:
        return multilinear.product_round(self.cells(a[: 2 * half]), self.cells(g[: 2 * half]), self.q)

    def toy_fraction_layer(self, out: np.ndarray, x: np.ndarray, variables: int, layer: int, shift: int) -> None:
        out[:] = self.table(multilinear.layer(x.tolist(), variables, layer, shift, self.q))

    def toy_fraction_up(self, out: np.ndarray, below: np.ndarray, layer: int) -> None:
        out[:] = self.table(multilinear.up(self.cells(below), self.q))

    def toy_fraction_mix(self, tables: np.ndarray, factor: int) -> None:
        tables[:] = self.table(multilinear.mix(self.cells(tables), factor, self.q))

    def toy_fraction_round(
        self, tables: np.ndarray, point: Sequence[int], factor: int | None = None
    ) -> tuple[int, int]:
        found = multilinear.parts(self.cells(tables), 4 if factor is None else 2)
        live = [table[: 2 << len(point)] for table in found]
        return multilinear.fraction_round(live, point, factor, self.q)

    def toy_fraction_first_round(
        self, x: np.ndarray, variables: int, layer: int, shift: int, factor: int, point: Sequence[int]
    ) -> tuple[int, int]:
        tables = multilinear.children(x.tolist(), variables, layer, shift, factor, self.q)
        return multilinear.fraction_round(tables, point, factor if layer + 1 == variables else None, self.q)

    def toy_fraction_first_fold(
        self, tables: np.ndarray, x: np.ndarray, variables: int, layer: int, shift: int, factor: int, s: int
    ) -> None:
        found = multilinear.children(x.tolist(), variables, layer, shift, factor, self.q)
        tables[:] = self.table([v for table in found for v in multilinear.fold(table, s, self.q)])

    def toy_reciprocals(self, count: int, size: int, alpha: int) -> np.ndarray:
        try:
            return self.table(multilinear.reciprocals(count, alpha, self.q) + [0] * (size - count))
        except ValueError:
            raise ParameterError("a denominator is 0") from None

    def toy_reciprocal_sum(self, count: int, alpha: int, point: Sequence[int]) -> int:
        weights = self.cells(self.toy_reciprocals(count, 1 << len(point), alpha))
        return multilinear.dot(weights, multilinear.eq_table(point, 0, 0, 1, self.q), self.q)


@contextmanager
def toy_group(q: int, p: int) -> Iterator[Group]:
    """A group of prime order q, q dividing p - 1, for as long as the block lasts."""
    core = ToyCore(q, p)
    group = Group(f"toy{q}", TOY, "sha512")
    with ExitStack() as stack:
        for module in (groups, prover, relations):
            stack.enter_context(mock.patch.object(module, "_core", core))
        stack.enter_context(mock.patch.dict(groups._ORDERS, {TOY: q}))
        stack.enter_context(mock.patch.dict(generators._DST, {group.name: b"toy"}))
        yield group
