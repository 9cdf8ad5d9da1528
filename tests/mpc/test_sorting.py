"""Sorting networks: the zero-one principle, pruning, and order statistics on shares."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from privcomp.errors import ParameterError
from privcomp.mpc import sorting
from privcomp.mpc.backend import ReplicatedBackend
from tests.mpc.parties import REPLICATED, opened, run, shared_bits


def applied(network: list[tuple[int, int]], rows: Any) -> Any:
    """The network on plain columns."""
    rows = rows.copy()
    for low, high in network:
        rows[[low, high]] = np.minimum(rows[low], rows[high]), np.maximum(rows[low], rows[high])
    return rows


@pytest.mark.parametrize("n", range(1, 15))
def test_zeros_and_ones_of_every_order(n: int) -> None:
    """A network that sorts all 2^n inputs of zeros and ones sorts everything (Knuth 5.3.4, theorem Z)."""
    inputs = (np.arange(1 << n) >> np.arange(n)[:, None]) & 1
    network = sorting.comparators(n)
    assert (applied(network, inputs) == np.sort(inputs, axis=0)).all()
    for rank in range(n):
        cut = sorting.pruned(network, [rank])
        assert (applied(cut, inputs)[rank] == np.sort(inputs, axis=0)[rank]).all()


def test_layers_keep_the_network() -> None:
    network = sorting.comparators(20)
    layered = sorting.layers(network)
    for layer in layered:
        wires = list(itertools.chain(*layer))
        assert len(wires) == len(set(wires))
    rows = np.random.default_rng(2).integers(0, 50, (20, 300))
    flat = list(itertools.chain(*layered))
    assert sorted(flat) == sorted(network)
    assert (applied(flat, rows) == np.sort(rows, axis=0)).all()
    assert len(layered) == 15


def test_counts() -> None:
    assert [len(sorting.comparators(n)) for n in (10, 20, 50, 100)] == [32, 103, 403, 1104]
    assert [len(sorting.pruned(sorting.comparators(n), [0])) for n in (10, 20, 100)] == [9, 19, 99]


@pytest.mark.parametrize("protocol", REPLICATED)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("count", "width", "lanes"),
    [(1, 3, 5), (2, 1, 64), (5, 4, 100), (10, 8, 65), (12, 2, 70), (13, 2, 70), (15, 16, 1)],
)
def test_order_statistics(protocol: str, signed: bool, count: int, width: int, lanes: int) -> None:
    """Every rank, several at once in any order, and one twice; ties are many at small widths."""
    rng = np.random.default_rng(count)
    numbers = rng.integers(0, 1 << width, (count, lanes))
    words = -(-lanes // 64)
    padded = np.zeros((count, 64 * words), np.uint64)
    padded[:, :lanes] = numbers
    values = numbers - (numbers >> (width - 1) << width) if signed else numbers
    ordered = np.sort(values, axis=0)
    several = [count - 1, 0, count // 2, count - 1]

    async def program(backend: ReplicatedBackend) -> Any:
        items = shared_bits(backend, padded.reshape(-1), width)
        found = [
            await opened(backend, await sorting.order_statistics(backend, items, count, ranks, signed=signed))
            for ranks in ([0], [count - 1], [count // 2], several)
        ]
        return found

    for result in run(protocol, program).results:
        for ranks, found in zip(([0], [count - 1], [count // 2], several), result, strict=True):
            rows = found.reshape(len(ranks), -1)[:, :lanes].astype(np.int64)
            rows = rows - (rows >> (width - 1) << width) if signed else rows
            assert (rows == ordered[ranks]).all()


@pytest.mark.parametrize("protocol", REPLICATED)
@pytest.mark.parametrize(
    ("count", "bound", "ranks"),
    [
        (2, 5, [1]),
        (3, 3, [1]),
        (5, 2, [0, 2, 4]),
        (8, 100, [3, 4]),
        (10, 1 << 15, [5, 4]),
        (12, 3, [2, 11, 3, 4, 5, 6]),
    ],
)
def test_sums_of_ranks(protocol: str, count: int, bound: int, ranks: list[int]) -> None:
    """Ties are many at small bounds; both ends of the range are there."""
    rng = np.random.default_rng(count)
    numbers = rng.integers(-bound, bound + 1, (count, 64))
    numbers[:2, 0] = -bound, bound
    ordered = np.sort(numbers, axis=0)

    async def program(backend: ReplicatedBackend) -> Any:
        words = numbers.view(np.uint64)
        items = await backend.input(1, words if backend.me == 1 else None, words.shape)
        width = (2 * bound).bit_length() + 1
        several = [await sorting.sum_of_ranks(backend, items, width, chosen) for chosen in (ranks, [*range(count)])]
        return [await backend.open(one) for one in several]

    for found, total in run(protocol, program).results:
        assert (found.view(np.int64) == ordered[ranks].sum(axis=0)).all()
        assert (total.view(np.int64) == numbers.sum(axis=0)).all()


@pytest.mark.parametrize("count", range(2, 9))
def test_cubes_cover_what_is_wanted_once(count: int) -> None:
    for mask in range(1, (1 << count) - 1):
        wanted = frozenset(x for x in range(count) if mask >> x & 1)
        cubes = sorting._cubes(wanted, count)
        for x in range(count):
            hits = sum(all(bool(x >> at & 1) == value for at, value in cube.items()) for cube in cubes)
            assert hits == (x in wanted)
        assert all(cubes)


def test_refusals() -> None:
    for n in (0, sorting.MAX_WIRES + 1):
        with pytest.raises(ParameterError, match="wires"):
            sorting.comparators(n)
    for count, ranks in ((5, [5]), (5, [-1]), (5, []), (sorting.MAX_WIRES + 1, [1])):
        with pytest.raises(ParameterError):
            sorting.check_ranks(count, ranks)
    sorting.check_ranks(10**6, [0])
    sorting.check_ranks(10**6, [10**6 - 1])

    async def program(backend: ReplicatedBackend) -> None:
        with pytest.raises(ParameterError, match="whole words"):
            await sorting.order_statistics(
                backend, shared_bits(backend, np.zeros(65, np.uint64), 2), 2, [0], signed=False
            )

        for shape, ranks in (((1, 64), [0]), ((13, 64), [0]), ((3, 63), [1]), ((3, 64), [1, 1]), ((3, 64), [3])):
            with pytest.raises(ParameterError, match="ranks"):
                await sorting.sum_of_ranks(backend, backend.public(np.zeros(shape, np.uint64)), 8, ranks)

    run("rep3", program)
