"""The primitives of three-party replicated sharing, against plain integers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.mpc import circuits, rep3, streams
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


@pytest.mark.parametrize("modulus", [2, 3, 4])
def test_three_products_add_up_to_twice_the_product(modulus: int) -> None:
    """All sharings of all numbers in a small ring; where 2 is a unit, or is not."""
    shares = list(itertools.product(range(modulus), repeat=3))
    for x, y in itertools.product(shares, repeat=2):
        total = sum(
            weight * (p * x[i] + q * x[(i + 1) % 3]) * (p * y[i] + q * y[(i + 1) % 3])
            for i, ((p, q), weight) in enumerate(zip(rep3._DOUBLED, rep3._WEIGHTS, strict=True))
        )
        assert (total - 2 * sum(x) * sum(y)) % modulus == 0


@pytest.mark.parametrize("shape", [(1, 7, 5), (5, 7, 1), (3, 4, 5), (9, 2, 4), (30, 6, 33)])
@pytest.mark.parametrize("shift", [1, 20, 61, 62])
@pytest.mark.parametrize("room", [True, False])
def test_truncated_products(shape: tuple[int, int, int], shift: int, room: bool) -> None:
    """Right up to less than a unit for all numbers that the bound admits, with room for twice the product or without;
    a multiple of the unit comes out exactly."""
    n, k, m = shape
    rng = np.random.default_rng(sum(shape))
    # Sums of k products reach k 2^high, which is below 2^61 or 2^62 and above half of that.
    high = (61 if room else 62) - k.bit_length()
    low, bound = high // 2, k << high
    a = rng.integers(-(1 << low), (1 << low) + 1, (n, k))
    b = rng.integers(-(1 << high - low), (1 << high - low) + 1, (k, m))
    a[0], b[:, 0] = 1 << low, -(1 << high - low)
    assert (2 * bound < 1 << 62) == room
    exact, gram = a.astype(object) @ b.astype(object), a.astype(object) @ a.T.astype(object)

    async def program(mpc: ReplicatedBackend) -> list[Any]:
        x = await mpc.input(1, a.view(np.uint64) if mpc.me == 1 else None, a.shape)
        y = await mpc.input(2, b.view(np.uint64) if mpc.me == 2 else None, b.shape)
        first, column = x.map(lambda part: part[:1]), y.map(lambda part: part[:1].T)
        done = [
            await mpc.matmul_truncated(x, y, shift, bound),
            await mpc.gram_truncated(x, shift, bound),
            await mpc.mul_truncated(column, first, shift),
        ]
        return [await mpc.open(value) for value in done]

    wanted = [exact, gram, b[:1].T.astype(object) * a[:1].astype(object)]
    for opened in simulate("rep3", program).results:
        for found, plain in zip(opened, wanted, strict=True):
            difference = found.view(np.int64).astype(object) * (1 << shift) - plain
            assert (abs(difference) < 1 << shift).all()


def test_truncation_takes_twice_the_product_only_where_there_is_room() -> None:
    """At 2^61 twice the product would be 2^62, which truncation refuses to hold; so would a shift by 63."""
    assert rep3.Rep3._has_room(61, (1 << 61) - 1)
    assert not rep3.Rep3._has_room(61, 1 << 61)
    assert not rep3.Rep3._has_room(62, 1)


def test_twice_a_gram_matrix_of_blocks() -> None:
    rng = np.random.default_rng(5)
    a = rng.integers(0, 2**64, (6, 70), dtype=np.uint64)

    async def program(mpc: ReplicatedBackend) -> Any:
        x = await mpc.input(1, a if mpc.me == 1 else None, a.shape)
        blocks = [x.map(lambda part, s=s: part[:, s]) for s in (slice(0, 33), slice(33, 64), slice(64, 70))]
        before = mpc.scheduler.cost.bytes
        gram = await mpc.gram_doubled(blocks)
        sent = mpc.scheduler.cost.bytes - before
        return await mpc.open(gram), sent

    for gram, sent in simulate("rep3", program).results:
        assert (gram == np.uint64(2) * (a @ a.T)).all()
        assert sent < 8 * 36 + 200  # one matrix and a header, not one for each block

    for shape in ((4,), (2, 2, 2)):
        value = Value((np.zeros(shape, np.uint64),) * 2)
        for wrong in (lambda mpc, v=value: mpc.gram_doubled([v]), lambda mpc, v=value: mpc.gram_truncated(v, 3, 9)):
            with pytest.raises(ParameterError, match="Gram matrix"):
                simulate("rep3", wrong)


@pytest.mark.parametrize("change", [lambda a: a.T, lambda a: a[:, ::2], lambda a: a.sum()])
@pytest.mark.parametrize("mask", [streams.add_streams, streams.xor_streams])
def test_masks_are_not_added_to_a_copy(mask: Callable[..., None], change: Callable[[Any], Any]) -> None:
    """What is no contiguous array would be sent as it is."""
    stream = streams.Stream(bytes(32), b"test")
    with pytest.raises(ParameterError, match="in place"):
        mask(change(np.ones((3, 4), np.uint64)), stream)
