"""A group so small that a test can try everything: the subgroup of order q of the integers modulo a small prime p.

It takes the place of the compiled core behind `privcomp.algebra`, so that protocols run on it unchanged. An element is
its residue, a scalar an integer below q, in rows of as many bytes as everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from privcomp import _core
from privcomp.algebra import Group, groups
from privcomp.errors import CodecError, ParameterError

TOY = 99


class ToyCore:
    """What `privcomp.algebra.groups` calls, for group number TOY; everything else goes to the core."""

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
        return lambda group, *rest: own(self, *rest) if group == TOY else real(group, *rest)

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

    toy_group_msm_var = toy_group_msm


@contextmanager
def toy_group(q: int, p: int) -> Iterator[Group]:
    """A group of prime order q, q dividing p - 1, for as long as the block lasts."""
    core = ToyCore(q, p)
    group = Group(f"toy{q}", TOY, "sha512")
    saved = groups._core
    groups._core = core  # type: ignore[assignment]
    groups._ORDERS[TOY] = q
    try:
        yield group
    finally:
        groups._core = saved
        del groups._ORDERS[TOY]
