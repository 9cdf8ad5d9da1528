"""Circuits on planes: every pair of addends of small widths, edges of wide ones, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privcomp.errors import ParameterError
from privcomp.mpc import circuits
from privcomp.mpc.backend import Bits, ReplicatedBackend, Value
from privcomp.mpc.blocks import plan
from tests.mpc.parties import REPLICATED, U64, chosen, held, opened, planes_of, run, shared_bits

PROTOCOL = pytest.mark.parametrize("protocol", REPLICATED)

EDGES = [0, 1, 2, 3, 2**31 - 1, 2**31, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]


def pairs(width: int) -> tuple[Any, Any]:
    every = np.arange(1 << width, dtype=U64)
    return np.repeat(every, 1 << width), np.tile(every, 1 << width)


@PROTOCOL
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
def test_every_pair_of_addends(protocol: str, width: int) -> None:
    """Sign, zero and bits of u + t for all u, t below 2^width, with junk above the width."""
    u, t = pairs(width)
    junk = U64((0x5DEECE66D << 20) % (1 << 64) >> width << width)

    async def program(backend: ReplicatedBackend) -> Any:
        a = chosen(backend, u + junk, t)
        return (
            await opened(backend, await circuits.sign(backend, a, width)),
            await opened(backend, await circuits.is_zero(backend, a, width)),
            await opened(backend, await circuits.bits_of(backend, a, width)),
        )

    total = (u + t) % U64(1 << width)
    for sign, zero, bits in run(protocol, program).results:
        assert (sign == total >> U64(width - 1)).all()
        assert (zero == (total == 0)).all()
        assert (bits == total).all()


@PROTOCOL
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
def test_every_pair_on_planes(protocol: str, width: int) -> None:
    """Sum, order, choice, exchange and prefix OR of all pairs of numbers of that width."""
    x, y = pairs(width)

    async def program(backend: ReplicatedBackend) -> list[Any]:
        a, b = shared_bits(backend, x, width), shared_bits(backend, y, width)
        less = await circuits.less(backend, a, b)
        small, large = await circuits.compare_exchange(backend, a, b)
        several = [
            await circuits.add(backend, a, b),
            less,
            await circuits.choose(backend, less, a, b),
            small,
            large,
            await circuits.prefix_or(backend, a),
            await circuits.all_of(backend, a),
            circuits.invert(backend, a),
        ]
        numbers = [await circuits.to_numbers(backend, a, signed=signed) for signed in (False, True)]
        return [await opened(backend, bits) for bits in several] + [await backend.open(value) for value in numbers]

    mask = U64((1 << width) - 1)
    filled = np.array([(1 << int(v).bit_length()) - 1 for v in x], U64)
    signed = x.astype(np.int64) - ((x >> U64(width - 1)) << U64(width)).astype(np.int64)
    expected = [
        (x + y) & mask,
        x < y,
        np.minimum(x, y),
        np.minimum(x, y),
        np.maximum(x, y),
        filled,
        x == mask,
        x ^ mask,
        x,
        signed.view(U64),
    ]
    for result in run(protocol, program).results:
        for found, wanted in zip(result, expected, strict=True):
            assert (found == wanted).all()


@PROTOCOL
@pytest.mark.parametrize("planes", range(1, 12))
def test_counting_ones(protocol: str, planes: int) -> None:
    """Of all patterns of so many planes."""
    every = np.arange(1 << planes, dtype=U64)

    async def program(backend: ReplicatedBackend) -> Any:
        counted = await circuits.count_ones(backend, shared_bits(backend, every, planes))
        return counted.planes, await opened(backend, counted)

    for digits, counted in run(protocol, program).results:
        assert digits == planes.bit_length()
        assert counted.tolist() == [int(v).bit_count() for v in every]


@PROTOCOL
@pytest.mark.parametrize(("planes", "digits"), [(1, 1), (3, 1), (4, 2), (9, 3), (11, 2)])
def test_counting_ones_modulo_a_power_of_two(protocol: str, planes: int, digits: int) -> None:
    every = np.arange(1 << planes, dtype=U64)

    async def program(backend: ReplicatedBackend) -> Any:
        return await opened(backend, await circuits.count_ones(backend, shared_bits(backend, every, planes), digits))

    for counted in run(protocol, program).results:
        assert counted.tolist() == [int(v).bit_count() % (1 << digits) for v in every]


def multiplexed(backend: ReplicatedBackend, bits: Any) -> Bits:
    """Planes (planes, n) of zeros and ones, split among the components at random."""
    rng = np.random.default_rng(bits.size)
    n = bits.shape[1]
    components = [rng.integers(0, 2, bits.shape).astype(U64) for _ in range(backend.n - 1)]
    components.append(np.bitwise_xor.reduce([bits, *components]))
    packed = [np.concatenate([planes_of(row, 1) for row in part]) for part in components]
    return Bits(held(backend, packed), n)


@PROTOCOL
@pytest.mark.parametrize("shape", [(1, 3), (4, 64), (10, 65), (2, 3, 5)])
def test_sums_of_chosen_numbers(protocol: str, shape: tuple[int, ...]) -> None:
    """Numbers of all sizes, components and bits at random; all columns of four bits are there in the second case."""
    rng = np.random.default_rng(5)
    components = [rng.integers(0, 1 << 64, shape, dtype=U64) for _ in range(3 if protocol == "rep3" else 4)]
    bits = rng.integers(0, 2, shape).astype(U64)
    if shape == (4, 64):
        bits = (np.arange(64) >> np.arange(4)[:, None] & 1).astype(U64)
    total = sum(components[1:], components[0])

    async def program(backend: ReplicatedBackend) -> Any:
        chosen_bits = multiplexed(backend, bits.reshape(1, -1))
        return await backend.open(await backend.choose_sum(chosen_bits, Value(held(backend, components))))

    for found in run(protocol, program).results:
        assert found.shape == shape[1:]
        assert (found == (bits * total).sum(axis=0, dtype=U64)).all()


@PROTOCOL
def test_one_sum_of_chosen_numbers(protocol: str) -> None:
    """No axis is left: what NumPy adds up to a scalar is masked as an array is."""
    x, bits = np.array([5, 1 << 63, 7, 2**64 - 1], U64), np.array([1, 1, 0, 1], U64)
    components = [x - U64(6), *[np.full(4, k, U64) for k in ((2, 4) if protocol == "rep3" else (1, 2, 3))]]

    async def program(backend: ReplicatedBackend) -> Any:
        chosen_bits = multiplexed(backend, bits.reshape(1, -1))
        return await backend.open(await backend.choose_sum(chosen_bits, Value(held(backend, components))))

    for found in run(protocol, program).results:
        assert np.size(found) == 1
        assert int(np.reshape(found, ())) == 4 + (1 << 63)


@PROTOCOL
@pytest.mark.parametrize(("planes", "n"), [(1, 1), (3, 64), (18, 100)])
def test_weighted_planes(protocol: str, planes: int, n: int) -> None:
    rng = np.random.default_rng(planes)
    bits = rng.integers(0, 2, (planes, n)).astype(U64)
    weights = rng.integers(0, 1 << 64, planes, dtype=U64)

    async def program(backend: ReplicatedBackend) -> Any:
        return await backend.open(await backend.weigh(multiplexed(backend, bits), weights))

    for found in run(protocol, program).results:
        assert (found == (bits * weights[:, None]).sum(axis=0, dtype=U64)).all()


@PROTOCOL
def test_edges_of_wide_numbers(protocol: str) -> None:
    u, t = (np.array(side, U64) for side in zip(*[(u, t) for u in EDGES for t in EDGES], strict=True))
    total = u + t

    async def program(backend: ReplicatedBackend) -> list[Any]:
        a = chosen(backend, u, t)
        found = []
        for width in (31, 32, 33, 63, 64):
            for circuit in (circuits.sign, circuits.is_zero, circuits.bits_of):
                found.append(await opened(backend, await circuit(backend, a, width)))
        return found

    for result in run(protocol, program).results:
        for i, width in enumerate((31, 32, 33, 63, 64)):
            wanted = total if width == 64 else total & U64((1 << width) - 1)
            sign, zero, bits = result[3 * i : 3 * i + 3]
            assert (sign == wanted >> U64(width - 1)).all()
            assert (zero == (wanted == 0)).all()
            assert (bits == wanted).all()


@PROTOCOL
@pytest.mark.parametrize("shift", [1, 2, 15, 16, 31, 32, 33, 61, 62])
def test_truncation_at_every_boundary_of_the_addends(protocol: str, shift: int) -> None:
    """Values at the ends of the range and around multiples of 2^shift; addends around their wraps and multiples."""
    step = 1 << shift
    values = [v + d for v in (-(2**62), -step, 0, step, 2**62 - 1) for d in (-2, -1, 0, 1, 2)]
    values = sorted({v for v in values if -(2**62) <= v < 2**62})
    addends = [v + d for v in (0, step, 2**62, 2**63, 2**63 + step, 2**64 - step) for d in (-2, -1, 0, 1, 2)]
    cases = [(v, u % 2**64) for v in values for u in addends]
    u = np.array([u for _, u in cases], U64)
    t = np.array([(v - u) % 2**64 for v, u in cases], U64)

    async def program(backend: ReplicatedBackend) -> Any:
        return await backend.open(await backend.truncate(chosen(backend, u, t), shift))

    for result in run(protocol, program).results:
        for (value, _), found in zip(cases, result.view(np.int64).tolist(), strict=True):
            assert value >> shift <= found <= -(-value >> shift)


@PROTOCOL
def test_a_multiplexed_bit_is_a_number_at_every_width(protocol: str) -> None:
    """All ways of sharing a bit among the components."""
    ways = np.arange(8 if protocol == "rep3" else 16, dtype=U64)
    parity = np.array([int(way).bit_count() % 2 for way in ways], U64)

    async def program(backend: ReplicatedBackend) -> list[Any]:
        planes = [planes_of((ways >> U64(j)) & U64(1), 1) for j in range(backend.n)]
        bits = Bits(held(backend, planes), ways.size)
        return [await backend.open(await backend.to_number(bits, width)) for width in range(1, 65)]

    for result in run(protocol, program).results:
        for width, found in enumerate(result, 1):
            assert (found & U64((1 << width) - 1) == parity).all()


@PROTOCOL
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_extension_of_all_shares(protocol: str, width: int) -> None:
    """Every combination of components of Z_{2^width} (four parties: width <= 3, for their number)."""
    components = 3 if protocol == "rep3" else 4
    if components == 4 and width > 3:
        pytest.skip("2^20 combinations say nothing that 2^12 do not")
    grids = np.meshgrid(*[np.arange(1 << width, dtype=U64)] * components, indexing="ij")
    parts = [grid.reshape(-1) for grid in grids]

    async def program(backend: ReplicatedBackend) -> Any:
        return await backend.open(await backend.extend(Value(held(backend, parts)), width))

    total = sum(part.astype(np.int64) for part in parts) % (1 << width)
    signed = total - (total >> (width - 1) << width)
    for result in run(protocol, program).results:
        assert (result.view(np.int64) == signed).all()


@PROTOCOL
def test_products_of_all_small_shares(protocol: str) -> None:
    """Components out of {0, 1, 2^63, -1}, all combinations of both factors: z has no wrong cross term."""
    if protocol != "rep3":
        pytest.skip("4^8 combinations; rep4 has its own test of every cross term")
    few = np.array([0, 1, 2**63, 2**64 - 1], U64)
    grids = [grid.reshape(-1) for grid in np.meshgrid(*[few] * 6, indexing="ij")]

    async def program(backend: ReplicatedBackend) -> Any:
        x, y = Value(held(backend, grids[:3])), Value(held(backend, grids[3:]))
        return await backend.open(await backend.mul(x, y))

    wanted = sum(grids[:3]) * sum(grids[3:])
    for result in run(protocol, program).results:
        assert (result == wanted).all()


def sign_ands(width: int) -> int:
    """g and p of every block, but for the lowest p; then the tree over b blocks."""
    b = len(plan(width - 1).sizes)
    return 2 * b - 1 + 2 * (b - 1) - math.ceil(math.log2(b))


COSTS: dict[str, tuple[Callable[[int], int], Callable[[int], int]]] = {
    "sign": (sign_ands, lambda w: 2 + math.ceil(math.log2(len(plan(w - 1).sizes)))),
    "is_zero": (lambda w: w - 1, lambda w: 1 + math.ceil(math.log2(w))),
    "less": (lambda w: 3 * w - 2 - math.ceil(math.log2(w)), lambda w: 1 + math.ceil(math.log2(w))),
    "bits_of": (lambda w: 57 if w == 16 else -1, lambda w: 2 + math.ceil(math.log2(w - 1))),
}
"""ANDs and rounds of w bits, as the module states them."""


@PROTOCOL
@pytest.mark.parametrize("width", [2, 8, 16, 18, 32, 48, 64])
@pytest.mark.parametrize("name", sorted(COSTS))
def test_cost(protocol: str, name: str, width: int) -> None:
    """ANDs; on three parties rounds and bytes as well (four parties check before they open, and send more)."""
    n = 1024
    ands: list[int] = []

    async def program(backend: ReplicatedBackend) -> tuple[int, int]:
        def counted(original: Any) -> Any:
            async def gate(a: Bits, b: Bits, *sums: Any) -> Bits:
                result: Bits = await original(a, b, *sums)
                if backend.me == 0:
                    ands.append(result.planes)
                return result

            return gate

        for gate in ("bit_and", "and_addends"):
            setattr(backend, gate, counted(getattr(backend, gate)))
        zeros = np.zeros(n, U64)
        cost = backend.scheduler.cost
        rounds, sent = cost.rounds, cost.bytes
        if name == "less":
            planes = shared_bits(backend, zeros, width)
            await circuits.less(backend, planes, planes)
        else:
            await getattr(circuits, name)(backend, chosen(backend, zeros, zeros), width)
        return cost.rounds - rounds, cost.bytes - sent

    costs = run(protocol, program).results
    inputs = sum((1 << k) - 1 for k in plan(width - 1).sizes) + 1 if name == "sign" else 0
    expected_ands, expected_rounds = (count(width) for count in COSTS[name])
    assert sum(ands) == expected_ands or expected_ands < 0
    if protocol == "rep3":
        for rounds, sent in costs:
            assert rounds == expected_rounds
            # With headers: at most 8 of 100 bytes, less than a byte per number here.
            assert sent / n <= (sum(ands) + max(width, inputs)) / 8 + 1


def test_a_comparison_of_64_bits() -> None:
    """What `test_cost` checks, in figures: ANDs, rounds, and below 35 bytes for each party."""
    ands, rounds = (count(64) for count in COSTS["sign"])
    assert (ands, rounds) == (120, 7)
    assert (ands + sum((1 << k) - 1 for k in plan(63).sizes) + 1) / 8 + 1 <= 35


@PROTOCOL
def test_widths_out_of_range(protocol: str) -> None:
    async def program(backend: ReplicatedBackend) -> None:
        a = chosen(backend, np.zeros(3, U64), np.zeros(3, U64))
        for width in (0, 65):
            for circuit in (circuits.sign, circuits.is_zero, circuits.bits_of):
                with pytest.raises(ParameterError, match="width"):
                    await circuit(backend, a, width)

    run(protocol, program)
