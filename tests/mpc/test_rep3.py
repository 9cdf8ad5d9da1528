"""The primitives of three-party replicated sharing, against plain integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.mpc import circuits
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.simulation.mpc import simulate


def test_primitives_equal_plain_integers() -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.integers(-(2**30), 2**30, 1000).astype(np.int64).view(np.uint64) for _ in range(2))

    async def program(mpc: ReplicatedBackend) -> list[Any]:
        shared_x = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        shared_y = await mpc.input(2, y if mpc.me == 2 else None, y.shape)
        product = await mpc.mul(shared_x, shared_y)
        less = await circuits.sign(mpc, mpc.sub(shared_x, shared_y), 64)
        small = Value(tuple(part & np.uint64(2**31 - 1) for part in shared_x.parts))
        gram = await mpc.gram(shared_x.map(lambda part: part.reshape(10, 100)))
        return [
            await mpc.open(product),
            _core.from_planes(await mpc.open_bits(less), 1000),
            await mpc.open(await mpc.to_number(less, 64)),
            await mpc.open(await mpc.truncate(product, 16)),
            await mpc.open(await mpc.extend(small, 31)),
            await mpc.open(gram),
        ]

    done = simulate("rep3", program)
    signed_x, signed_y = x.view(np.int64), y.view(np.int64)
    for product, less, number, quotient, extended, gram in done.results:
        assert (product == x * y).all()
        assert (less == (signed_x < signed_y)).all()
        assert (number == (signed_x < signed_y)).all()
        assert set(quotient.view(np.int64) - (signed_x * signed_y >> 16)) <= {0, 1}
        assert (extended == x).all()
        assert (gram == x.reshape(10, 100) @ x.reshape(10, 100).T).all()


@pytest.mark.parametrize("shape", [(1, 7, 50), (50, 7, 1), (2, 3, 2), (3, 4, 5), (9, 2, 3), (1, 1, 1), (3, 200, 2)])
def test_matrix_products_of_all_shapes(shape: tuple[int, int, int]) -> None:
    """Thin and wide: the parties add up one operand or the other."""
    n, k, m = shape
    rng = np.random.default_rng(sum(shape))
    a, b = (rng.integers(0, 2**64, size, dtype=np.uint64) for size in ((n, k), (k, m)))

    async def program(mpc: ReplicatedBackend) -> Any:
        x = await mpc.input(1, a if mpc.me == 1 else None, a.shape)
        y = await mpc.input(2, b if mpc.me == 2 else None, b.shape)
        return await mpc.open(await mpc.matmul(x, y)), await mpc.open(await mpc.gram(x))

    for product, gram in simulate("rep3", program).results:
        assert (product == a @ b).all()
        assert (gram == a @ a.T).all()
