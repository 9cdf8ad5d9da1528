"""The sum of the middle values by bisection, against sorting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.mpc.backend import Bits, ReplicatedBackend
from privcomp.mpc.circuits import bits_of
from privcomp.mpc.selection import MAX_ITEMS, middle_sum
from tests.mpc.robust_driver import Ints, deal, drive, parties


def opened(protocol: str, x: Ints, bits: int, trim: int) -> Ints:
    """By lane, the sum of the rows' middle values; lanes are a multiple of 64."""
    count, lanes = x.shape
    dealt = deal(protocol, x, 64)

    async def program(mpc: ReplicatedBackend) -> Ints:
        planes = await bits_of(mpc, dealt[mpc.me].block(0, lanes), bits)
        total = await middle_sum(mpc, planes, count, trim)
        assert total.planes == bits + count.bit_length() + 1
        found = await mpc.open_bits(total)
        assert found is not None
        assert not found[-1].any()
        return _core.from_planes(np.ascontiguousarray(found), lanes).view(np.int64)

    results = drive(parties(protocol, program))
    for result in results:
        if isinstance(result, Exception):
            raise result
        assert (result == results[0]).all()
    first: Ints = results[0]
    return first


def expected(x: Ints, trim: int) -> Ints:
    return np.sort(x, axis=0)[trim : len(x) - trim].sum(axis=0)


@pytest.mark.parametrize(("count", "bits"), [(3, 3), (4, 2), (5, 2), (6, 1), (9, 1)])
def test_every_choice_of_few_small_numbers(count: int, bits: int) -> None:
    """All columns that there are: ties of every kind."""
    x = np.array(list(itertools.product(range(1 << bits), repeat=count))).T
    padded = np.zeros((count, -(-x.shape[1] // 64) * 64), np.int64)
    padded[:, : x.shape[1]] = x
    for trim in range(1, (count + 1) // 2):
        assert (opened("rep3", padded, bits, trim) == expected(padded, trim)).all()


@pytest.mark.parametrize(
    ("protocol", "count", "bits", "trim"),
    [("rep3", 21, 16, 10), ("rep3", 50, 6, 1), ("rep3", 33, 48, 4), ("rep3", 130, 3, 64), ("rep4", 22, 8, 3)],
)
def test_many_numbers(protocol: str, count: int, bits: int, trim: int) -> None:
    rng = np.random.default_rng(count)
    x = rng.integers(0, 1 << bits, (count, 64))
    x[:, 0], x[:, 1] = 0, (1 << bits) - 1
    x[:, 2] = np.where(np.arange(count) % 2, 0, (1 << bits) - 1)
    x[:, 3] = x[0, 3]
    assert (opened(protocol, x, bits, trim) == expected(x, trim)).all()


@pytest.mark.parametrize(("count", "trim"), [(2, 1), (4, 0), (4, 2), (MAX_ITEMS + 1, 1)])
def test_what_leaves_nothing_or_is_too_much_is_refused(count: int, trim: int) -> None:
    async def program(mpc: ReplicatedBackend) -> None:
        items = mpc.public_bits(np.zeros((2, count), np.uint64), 64 * count)
        await middle_sum(mpc, items, count, trim)

    assert all(isinstance(error, ParameterError) for error in drive(parties("rep3", program)))


def test_planes_of_another_length_are_refused() -> None:
    async def program(mpc: ReplicatedBackend) -> None:
        await middle_sum(mpc, Bits(tuple(np.zeros((2, 10), np.uint64) for _ in range(2)), 640), 3, 1)

    assert all(isinstance(error, ParameterError) for error in drive(parties("rep3", program)))
