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

    run("rep3", program)
