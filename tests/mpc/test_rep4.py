"""The primitives of four-party replicated sharing, against plain integers: everybody honest."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.mpc import circuits, rep4
from privcomp.mpc.backend import Bits, Value
from privcomp.mpc.engine import Scheduler, Session
from privcomp.mpc.rep4 import Rep4
from privcomp.mpc.security import Adversary, Guarantee
from privcomp.simulation.mpc import simulate
from privcomp.typing import U64Array
from tests.mpc.four import play


def run(program: Callable[[Rep4], Any]) -> list[Any]:
    return list(simulate("rep4", program, parties=4).results)


def chosen(mpc: Rep4, components: list[U64Array]) -> Value:
    """A sharing with these components."""
    return Value(tuple(components[c].astype(np.uint64) for c in mpc.held))


def chosen_bits(mpc: Rep4, components: list[U64Array]) -> Bits:
    n = components[0].size
    return Bits(tuple(_core.to_planes(components[c].astype(np.uint64), 1) for c in mpc.held), n)


def every(values: list[int], times: int) -> list[U64Array]:
    """All tuples, as columns."""
    return [np.array(column, np.uint64) for column in zip(*itertools.product(values, repeat=times), strict=True)]


def test_primitives_equal_plain_integers() -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.integers(-(2**30), 2**30, 1000).astype(np.int64).view(np.uint64) for _ in range(2))

    async def program(mpc: Rep4) -> list[Any]:
        shared_x = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        shared_y = await mpc.input(2, y if mpc.me == 2 else None, y.shape)
        product = await mpc.mul(shared_x, shared_y)
        less = await circuits.sign(mpc, mpc.sub(shared_x, shared_y), 64)
        small = Value(tuple(part & np.uint64(2**31 - 1) for part in shared_x.parts))
        gram = await mpc.gram(shared_x.map(lambda part: part.reshape(10, 100)))
        a, b = (value.map(lambda part: part.reshape(20, 50)) for value in (shared_x, shared_y))
        matrix = await mpc.matmul(a, b.map(lambda part: part.T))
        public = mpc.matmul_public(mpc.add_public(mpc.scale(a, np.uint64(3)), np.uint64(7)), y.reshape(20, 50).T)
        opened = await mpc.open_bits(less)
        assert opened is not None
        return [
            await mpc.open(product),
            _core.from_planes(opened, 1000),
            await mpc.open(await mpc.to_number(less, 64)),
            await mpc.open(await mpc.truncate(product, 16)),
            await mpc.open(await mpc.extend(small, 31)),
            await mpc.open(gram),
            await mpc.open(matrix),
            await mpc.open(public),
        ]

    signed_x, signed_y = x.view(np.int64), y.view(np.int64)
    for product, less, number, quotient, extended, gram, matrix, public in run(program):
        assert (product == x * y).all()
        assert (less == (signed_x < signed_y)).all()
        assert (number == (signed_x < signed_y)).all()
        assert set(quotient.view(np.int64) - (signed_x * signed_y >> 16)) <= {0, 1}
        assert (extended == x).all()
        assert (gram == x.reshape(10, 100) @ x.reshape(10, 100).T).all()
        assert (matrix == x.reshape(20, 50) @ y.reshape(20, 50).T).all()
        assert (public == (x.reshape(20, 50) * np.uint64(3) + np.uint64(7)) @ y.reshape(20, 50).T).all()


@pytest.mark.parametrize("owner", range(4))
def test_everybody_can_give_inputs_and_be_the_only_one_to_see_a_value(owner: int) -> None:
    values = np.array([[0, 1, 2**63], [2**64 - 1, 2**32, 5]], np.uint64)
    planes = np.array([[3, 2**63], [2**64 - 1, 0]], np.uint64)

    async def program(mpc: Rep4) -> list[Any]:
        mine = mpc.me == owner
        shared = await mpc.input(owner, values if mine else None, values.shape)
        bits = await mpc.input_bits(owner, planes if mine else None, 2, 128)
        bits = mpc.xor_public(mpc.xor(bits, mpc.public_bits(planes, 128)), planes)
        return [
            [await mpc.open(shared, to) for to in range(4)],
            [await mpc.open_bits(bits, to) for to in range(4)],
            await mpc.open(mpc.public(values)),
        ]

    for me, (numbers, bits, public) in enumerate(run(program)):
        for to in range(4):
            assert (numbers[to] is None) == (bits[to] is None) == (to != me)
        assert (numbers[me] == values).all()
        assert (bits[me] == planes).all()
        assert (public == values).all()


def test_products_of_all_shares_at_the_edges() -> None:
    # Eight components, four of x and four of y, of which every one takes every value.
    parts = every([0, 1, 2**63, 2**64 - 1], 8)

    async def program(mpc: Rep4) -> Any:
        return await mpc.open(await mpc.mul(chosen(mpc, parts[:4]), chosen(mpc, parts[4:])))

    x, y = (parts[0] + parts[1] + parts[2] + parts[3], parts[4] + parts[5] + parts[6] + parts[7])
    for result in run(program):
        assert (result == x * y).all()


def test_all_shares_of_two_bits() -> None:
    parts = every([0, 1], 8)

    async def program(mpc: Rep4) -> list[Any]:
        x, y = chosen_bits(mpc, parts[:4]), chosen_bits(mpc, parts[4:])
        opened = await mpc.open_bits(await mpc.bit_and(x, y))
        assert opened is not None
        return [_core.from_planes(opened, 256), await mpc.open(await mpc.to_number(x, 64))]

    x, y = (parts[0] ^ parts[1] ^ parts[2] ^ parts[3], parts[4] ^ parts[5] ^ parts[6] ^ parts[7])
    for both, number in run(program):
        assert (both == (x & y)).all()
        assert (number == x).all()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_addends_sign_and_extension_of_all_shares(width: int) -> None:
    parts = every(list(range(1 << width)), 4)
    n = parts[0].size
    total = (parts[0] + parts[1] + parts[2] + parts[3]) & np.uint64((1 << width) - 1)
    signed = (total ^ np.uint64(1 << (width - 1))) - np.uint64(1 << (width - 1))

    async def program(mpc: Rep4) -> list[Any]:
        value = chosen(mpc, parts)
        u, t = [await mpc.open_bits(bits) for bits in await mpc.addends(value, width)]
        sign = await mpc.open_bits(await circuits.sign(mpc, value, width))
        assert u is not None
        assert t is not None
        assert sign is not None
        extended = await mpc.open(await mpc.extend(value, width))
        return [_core.from_planes(u, n) + _core.from_planes(t, n), _core.from_planes(sign, n), extended]

    for added, sign, extended in run(program):
        assert (added & np.uint64((1 << width) - 1) == total).all()
        assert (sign == total >> np.uint64(width - 1)).all()
        assert (extended == signed).all()


@pytest.mark.parametrize("width", [16, 33, 61, 62])
def test_extension_at_the_edges(width: int) -> None:
    top = 1 << width
    parts = every([0, 1, top // 2 - 1, top // 2, top - 1], 4)
    total = (parts[0] + parts[1] + parts[2] + parts[3]) & np.uint64(top - 1)

    async def program(mpc: Rep4) -> Any:
        return await mpc.open(await mpc.extend(chosen(mpc, parts), width))

    for extended in run(program):
        assert (extended == (total ^ np.uint64(top // 2)) - np.uint64(top // 2)).all()


@pytest.mark.parametrize("shift", [1, 2, 16, 33, 48, 61, 62])
def test_truncation_errs_by_less_than_one_unit_whatever_the_shares(shift: int) -> None:
    # Values and three components at the edges of everything that is cut or carried; the fourth is what is left.
    edges = [0, 1, (1 << shift) - 1, 1 << shift, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
    values = [-(2**62), -(2**62) + 1, -1, 0, 1, (1 << shift) % 2**62, 2**62 - 1]
    value, first, second, third = (
        np.array(column, np.uint64)
        for column in zip(*itertools.product([v % 2**64 for v in values], edges, edges, edges), strict=True)
    )
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        parts = [first, second, third, value - first - second - third]
        parts = [parts[order[c]] for c in range(4)]

        async def program(mpc: Rep4, parts: list[U64Array] = parts) -> Any:
            return await mpc.open(await mpc.truncate(chosen(mpc, parts), shift))

        floor = value.view(np.int64) >> shift
        exact = value.view(np.int64) % (1 << shift) == 0
        for result in run(program):
            error = result.view(np.int64) - floor
            assert set(error) <= {0, 1}
            # A multiple of the unit: the remainders of u and t are both zero, or add up to one unit. Nothing is lost.
            assert set(error[exact]) <= {0}


def test_truncation_is_unbiased() -> None:
    n, shift = 1 << 16, 8
    values = np.full(n, 64, np.uint64)  # a quarter of a unit

    async def program(mpc: Rep4) -> Any:
        shared = await mpc.input(1, values if mpc.me == 1 else None, values.shape)
        return await mpc.open(await mpc.truncate(shared, shift))

    up = int(run(program)[0].sum())
    # Binomial, n = 65536, p = 1/4: deviation 111; five of them, which happens once in 1.7e6.
    assert abs(up - n // 4) < 5 * 111


def test_operations_begun_together_share_rounds_and_one_check() -> None:
    x = np.arange(7, dtype=np.uint64)

    async def together(mpc: Rep4) -> list[Any]:
        a = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        several = [mpc.scheduler.spawn(mpc.mul(a, mpc.add_public(a, np.uint64(k)))) for k in range(5)]
        opened = [mpc.scheduler.spawn(mpc.open(await product)) for product in several]
        more = mpc.scheduler.spawn(mpc.truncate(a, 1))
        results = [await one for one in opened]
        return [*results, await mpc.open(await more)]

    done = simulate("rep4", together, parties=4)
    for *products, _ in done.results:
        for k, product in enumerate(products):
            assert (product == x * (x + np.uint64(k))).all()
    assert done.costs[0].operations["check"][0] == 4  # two checks: one for all products, one for the truncation
    # setup 2, input 1, products 1, check 2 and opening 1; the truncation's 2 ran beside; check 2 and opening 1
    assert done.costs[0].rounds == 10


def test_a_check_starts_by_itself_after_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rep4, "_LOG", 3)
    x = np.arange(5, dtype=np.uint64)

    async def program(mpc: Rep4) -> Any:
        a = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        for _ in range(7):
            a = await mpc.mul(a, a)
        return await mpc.open(a)

    done = simulate("rep4", program, parties=4)
    assert all((result == x ** np.uint64(128)).all() for result in done.results)
    assert done.costs[0].operations["check"][0] == 6


def test_six_words_a_product_and_six_bits_a_gate() -> None:
    async def program(mpc: Rep4) -> None:
        x = mpc.public(np.zeros(640, np.uint64))
        bits = mpc.public_bits(np.zeros((1, 10), np.uint64), 640)
        await mpc.mul(x, x)
        await mpc.matmul(x.map(lambda part: part.reshape(1, 640)), x.map(lambda part: part.reshape(640, 1)))
        await mpc.bit_and(bits, bits)
        await mpc.and_addends(bits, bits)

    costs = simulate("rep4", program, parties=4).costs
    sent = {name: sum(cost.operations[name][1] for cost in costs) for name in ("mul", "matmul", "and", "and-addends")}
    assert sent == {"mul": 6 * 640 * 8, "matmul": 6 * 8, "and": 6 * 80, "and-addends": 4 * 80}


def test_empty_arrays() -> None:
    async def program(mpc: Rep4) -> Any:
        a = await mpc.input(0, np.zeros((0, 3), np.uint64) if mpc.me == 0 else None, (0, 3))
        return await mpc.open(await mpc.truncate(await mpc.mul(a, a), 4))

    assert all(result.shape == (0, 3) for result in run(program))


def test_what_does_not_fit_is_refused() -> None:
    scheduler = Scheduler()
    with pytest.raises(ParameterError, match="rep4 runs among 4 parties"):
        Rep4(scheduler, Session("rep4", (b"a", b"b", b"c"), b"", bytes(16)), 0)
    x = np.zeros((2, 3), np.uint64)

    def refused(program: Callable[[Rep4], Any], match: str) -> None:
        with pytest.raises(ParameterError, match=match):
            run(program)

    refused(lambda mpc: mpc.input(0, None, (3,)), "owns this input")
    refused(lambda mpc: mpc.input(0, x, (3,)), "owns this input")
    refused(lambda mpc: mpc.input_bits(0, x, 2, 64), "owns these bits")
    refused(lambda mpc: mpc.matmul(mpc.public(x), mpc.public(x)), "cannot be multiplied")
    refused(lambda mpc: mpc.gram(mpc.public(x[0])), "Gram matrix")
    refused(lambda mpc: mpc.truncate(mpc.public(x), 63), "shift is 63")
    refused(lambda mpc: mpc.extend(mpc.public(x), 63), "width is 63")
    refused(lambda mpc: mpc.to_number(mpc.public_bits(x[:, :1], 64), 64), "2 planes")


def test_the_descriptor() -> None:
    held = Rep4.security
    assert (held.adversary, held.parties, held.corruptions, held.guarantee) == (
        Adversary.MALICIOUS,
        4,
        1,
        Guarantee.ABORT,
    )
    held.require(adversary=Adversary.MALICIOUS, corruptions=1)


def test_messages_and_components_are_uniform_to_who_sees_them() -> None:
    # Inputs are constants: whatever a party receives before the opening, and every component that it holds of a result,
    # is chi-square uniform by bytes, alone and as the sum with every other component (alpha = 1e-6 over all tests).
    n = 1 << 12
    ones = np.ones(n, np.uint64)
    results: dict[int, list[tuple[U64Array, ...]]] = {me: [] for me in range(4)}

    async def program(mpc: Rep4, opened: list[Any]) -> None:
        a = await mpc.input(2, ones if mpc.me == 2 else None, (n,))
        b = await mpc.input(3, ones if mpc.me == 3 else None, (n,))
        product = await mpc.mul(a, b)
        planes, _ = await mpc.addends(product, 64)
        wide = mpc.xor(*await mpc.addends(product, 64))
        gate = await mpc.bit_and(wide, wide)
        results[mpc.me] += [product.parts, (await mpc.truncate(product, 8)).parts, gate.parts]
        results[mpc.me] += [(await mpc.to_number(gate[:1], 64)).parts]
        assert planes.n == n

    done = play(program)
    assert done.finished == {0, 1, 2, 3}
    seen: list[bytes] = [bytes(v) for (round_, _, _), v in done.frames.items() if round_ >= 2 and len(v) >= 4096]
    assert len(seen) == 32
    for parts in itertools.chain.from_iterable(results.values()):
        seen += [part.tobytes() for part in parts]
        seen += [(one + other).tobytes() for one, other in itertools.combinations(parts, 2)]
    alpha = 1e-6 / len(seen)
    for data in seen:
        counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
        expected = len(data) / 256
        statistic = float(((counts - expected) ** 2 / expected).sum())
        # Wilson and Hilferty: (chi^2 / k)^(1/3) is nearly normal; k = 255.
        z = ((statistic / 255) ** (1 / 3) - (1 - 2 / (9 * 255))) / (2 / (9 * 255)) ** 0.5
        assert z < _normal_quantile(alpha), (z, len(data))


def _normal_quantile(alpha: float) -> float:
    """z with P(normal > z) = alpha."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(1 - alpha)
