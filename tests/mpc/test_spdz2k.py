"""The primitives of authenticated sharing with a dealer, against plain integers: everybody honest."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privcomp.errors import ParameterError, StateError
from privcomp.mpc import spdz2k
from privcomp.mpc.engine import Scheduler, Session
from privcomp.mpc.protocols import start
from privcomp.mpc.security import Adversary, Guarantee
from privcomp.mpc.spdz2k import Spdz2k
from privcomp.simulation.mpc import simulate
from privcomp.typing import U64Array
from tests.mpc.dealt import play
from tests.mpc.uniform import check_uniform

NAME = "spdz2k-insecure-dealer"
Program = Callable[[Spdz2k], Any]


def run(n: int, program: Program) -> list[Any]:
    """What the n parties returned; the dealer is one more."""
    return list(simulate(NAME, program, parties=n + 1, insecure_dealer=True).results)[:n]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_primitives_equal_plain_integers(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = (rng.integers(0, 1 << 64, (6, 9), np.uint64) for _ in range(2))

    async def program(mpc: Spdz2k) -> list[Any]:
        last = mpc.n - 1
        a = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        b = await mpc.input(last, y if mpc.me == last else None, y.shape)
        values = [
            a,
            mpc.add(a, b),
            mpc.sub(a, b),
            mpc.scale(a, y[0]),
            mpc.add_public(a, y[0]),
            mpc.sum(a, 0),
            mpc.sum(a, (0, 1)),
            mpc.sum(a, -1),
            mpc.matmul_public(a, y.T),
            await mpc.mul(a, b),
            await mpc.mul(a, b.map(lambda part: part[:1])),
            await mpc.mul(await mpc.mul(a, a), mpc.sub(a, b)),
            await mpc.matmul(a, b.map(lambda part: part.T)),
            mpc.public(x),
        ]
        opened = [mpc.scheduler.spawn(mpc.open(value)) for value in values]
        return [await one for one in opened]

    expected = [
        *(x, x + y, x - y, x * y[0], x + y[0], x.sum(0), x.sum(), x.sum(1), x @ y.T, x * y, x * y[:1]),
        *(x * x * (x - y), x @ y.T, x),
    ]
    for results in run(n, program):
        for found, wanted in zip(results, expected, strict=True):
            assert (found == wanted).all()


@pytest.mark.parametrize("owner", range(3))
def test_everybody_can_give_inputs_and_be_the_only_one_to_see_a_value(owner: int) -> None:
    values = np.array([[0, 1, 2**63], [2**64 - 1, 2**32, 5]], np.uint64)

    async def program(mpc: Spdz2k) -> list[Any]:
        shared = await mpc.input(owner, values if mpc.me == owner else None, values.shape)
        return [await mpc.open(mpc.add(shared, shared), to) for to in range(3)]

    done = simulate(NAME, program, parties=4, insecure_dealer=True)
    for me, opened in enumerate(done.results):
        for to in range(3):
            assert (opened[to] is None) == (to != me)
            if to == me:
                assert (opened[to] == values + values).all()


def test_products_at_the_edges_of_words() -> None:
    edges = np.array([0, 1, 2, 2**32, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    x, y = (np.array(column, np.uint64) for column in zip(*itertools.product(edges, edges), strict=True))

    async def program(mpc: Spdz2k) -> Any:
        a = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        b = await mpc.input(1, y if mpc.me == 1 else None, y.shape)
        return await mpc.open(await mpc.mul(mpc.sub(a, b), mpc.add(a, b)))

    for result in run(2, program):
        assert (result == (x - y) * (x + y)).all()


def test_a_product_takes_one_round_and_openings_share_their_checks() -> None:
    x = np.arange(8, dtype=np.uint64)

    async def program(mpc: Spdz2k) -> list[Any]:
        a = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        for _ in range(3):
            a = await mpc.mul(a, a)
        several = [mpc.scheduler.spawn(mpc.open(mpc.add_public(a, np.uint64(k)))) for k in range(5)]
        return [await one for one in several]

    done = simulate(NAME, program, parties=3, insecure_dealer=True)
    for results in done.results[:2]:
        assert all((result == x**8 + np.uint64(k)).all() for k, result in enumerate(results))
    # setup, input, three products, and the opening between two checks of three rounds each
    assert done.costs[0].rounds == 1 + 1 + 3 + 3 + 1 + 3
    assert done.costs[0].operations["check"].exchanges == 6


def test_what_is_dealt_and_what_is_said_are_counted_apart() -> None:
    n = 100

    async def program(mpc: Spdz2k) -> None:
        a = await mpc.input(1, np.zeros(n, np.uint64) if mpc.me == 1 else None, (n,))
        await mpc.mul(a, a)
        await mpc.matmul(a.map(lambda part: part.reshape(1, n)), a.map(lambda part: part.reshape(n, 1)))
        await mpc.open(a)

    told: dict[int, set[int]] = {}

    def watch(sender: int, receiver: int, round_: int, payload: bytearray) -> None:
        if receiver == 3:
            told.setdefault(round_, set()).add(len(payload))

    costs = simulate(NAME, program, parties=4, insecure_dealer=True, tamper=watch).costs
    assert list(told.values()) == [{0}, {0}]  # the dealer: an empty frame for every check
    # Per input 16 to its owner and 16 to party 0; per triple 16 and 3 * 16; per opening 16.
    matrix = 16 * (2 * n + 2)
    assert costs[3].operations["offline"].sent == 32 * n + 64 * n + matrix + 16 * n
    assert all(cost.operations["offline"].sent == 0 for cost in costs[:3])
    sent = {name: costs[1].operations[name].sent for name in ("input", "mul", "matmul", "open")}
    assert sent == {"input": 2 * 16 * n, "mul": 2 * 32 * n, "matmul": 2 * 32 * n, "open": 2 * 16 * n}
    assert all(costs[3].operations[name].sent == 0 for name in ("input", "mul", "matmul", "open", "check"))


def test_triples_dealt_before() -> None:
    x = np.arange(12, dtype=np.uint64).reshape(3, 4)

    async def program(mpc: Spdz2k) -> list[Any]:
        elementwise, matrix = mpc.triple((3, 4)), mpc.matrix_triple(3, 4, 3)
        a = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        product = await mpc.mul(a, a, triple=elementwise)
        gram = await mpc.matmul(a, a.map(np.transpose), triple=matrix)
        for again in (
            mpc.mul(a, a, triple=elementwise),
            mpc.matmul(a, a.map(np.transpose), triple=matrix),
        ):
            with pytest.raises(StateError, match="has been used"):
                await again
        assert "used" in repr(matrix)
        return [await mpc.open(product), await mpc.open(gram)]

    done = simulate(NAME, program, parties=3, insecure_dealer=True)
    for product, gram in done.results[:2]:
        assert (product == x * x).all()
        assert (gram == x @ x.T).all()
    # setup; input, both triples; two products; twice an opening between checks, of which nothing is left for the third
    assert done.costs[0].rounds == 1 + 1 + 2 + 7 + 4


def test_a_triple_is_for_one_shape_and_one_computation() -> None:
    async def shapes(mpc: Spdz2k) -> None:
        a = mpc.public(np.zeros((2, 3), np.uint64))
        triple, matrix = mpc.triple((3, 2)), mpc.matrix_triple(3, 2, 3)
        with pytest.raises(ParameterError, match="a triple for shapes"):
            await mpc.mul(a, a, triple=triple)
        with pytest.raises(ParameterError, match="a triple for shapes"):
            await mpc.matmul(a, a.map(np.transpose), triple=matrix)
        assert "hidden" in repr(triple)
        await mpc.mul(a.map(np.transpose), a.map(np.transpose), triple=triple)

    run(2, shapes)
    kept: list[Any] = []

    async def foreign(mpc: Spdz2k) -> None:
        kept.append(mpc.triple((1,)))
        a = mpc.public(np.zeros(1, np.uint64))
        await mpc.mul(a, a, triple=kept[0])

    with pytest.raises(StateError, match="another computation"):
        run(2, foreign)


def test_keys_are_gone_however_a_party_ends() -> None:
    async def program(mpc: Spdz2k, opened: list[Any]) -> None:
        a = mpc.public(np.ones(3, np.uint64))
        opened.append(await mpc.open(await mpc.mul(a, a)))

    done = play(2, program)
    assert done.finished == {0, 1, 2}
    assert all((mpc._alpha, mpc._streams, mpc._seed) == (0, [], b"") for mpc in done.backends.values())

    async def fails(mpc: Spdz2k, opened: list[Any]) -> None:
        await program(mpc, opened)
        assert mpc._alpha > 0
        raise ParameterError("the program gives up")

    done = play(2, fails)
    assert done.errors.keys() == {0, 1, 2}
    assert all((mpc._alpha, mpc._streams, mpc._seed) == (0, [], b"") for mpc in done.backends.values())


def test_a_check_starts_by_itself_when_much_was_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spdz2k, "_LOG", 25)
    x = np.arange(5, dtype=np.uint64)

    async def program(mpc: Spdz2k) -> Any:
        a = await mpc.input(0, x if mpc.me == 0 else None, x.shape)
        for _ in range(7):
            a = await mpc.mul(a, a)
        return await mpc.open(a)

    done = simulate(NAME, program, parties=3, insecure_dealer=True)
    assert all((result == x ** np.uint64(128)).all() for result in done.results[:2])
    # Ten numbers a product: after the third and the sixth product, before and after the opening.
    assert done.costs[0].operations["check"].exchanges == 4 * 3


def test_empty_arrays() -> None:
    async def program(mpc: Spdz2k) -> Any:
        a = await mpc.input(0, np.zeros((0, 3), np.uint64) if mpc.me == 0 else None, (0, 3))
        matrix = await mpc.matmul(a.map(np.transpose), a)
        return [await mpc.open(await mpc.mul(a, a)), await mpc.open(matrix)]

    for product, matrix in run(2, program):
        assert product.shape == (0, 3)
        assert (matrix == np.zeros((3, 3), np.uint64)).all()


def test_the_dealer_has_to_be_accepted(caplog: pytest.LogCaptureFixture) -> None:
    session = Session(NAME, (b"a", b"b", b"broker"), b"", bytes(16))

    async def program(mpc: Spdz2k) -> Any:
        return mpc.security

    with pytest.raises(ParameterError, match="pass insecure_dealer=True"):
        simulate(NAME, program, parties=3)
    with pytest.raises(ParameterError, match="pass insecure_dealer=True"):
        start(session, 0, program).advance()
    for no in (False, None, 1, "yes"):
        with pytest.raises(ParameterError, match="'broker' would deal"):
            Spdz2k(Scheduler(), session, 0, insecure_dealer=no)  # type: ignore[arg-type]
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "privcomp.mpc"):
        held = Spdz2k(Scheduler(), session, 0, insecure_dealer=True).security
    assert "insecure dealer" in caplog.text
    assert "broker" in caplog.text
    assert any("INSECURE DEALER" in line and "broker" in line for line in held.assumes)
    assert (held.adversary, held.parties, held.corruptions, held.guarantee) == (
        Adversary.MALICIOUS,
        2,
        1,
        Guarantee.ABORT,
    )


def test_what_does_not_fit_is_refused() -> None:
    for names in ((b"a", b"b"), tuple(b"%d" % i for i in range(7))):
        with pytest.raises(ParameterError, match="2 to 5 parties and a dealer"):
            Spdz2k(Scheduler(), Session(NAME, names, b"", bytes(16)), 0, insecure_dealer=True)
    x = np.zeros((2, 3), np.uint64)

    def refused(program: Program, match: str) -> None:
        with pytest.raises(ParameterError, match=match):
            run(2, program)

    refused(lambda mpc: mpc.input(0, None, (3,)), "owns this input")
    refused(lambda mpc: mpc.input(0, x, (3,)), "owns this input")
    refused(lambda mpc: mpc.input(2, None, (3,)), "the dealer has none")
    refused(lambda mpc: mpc.open(mpc.public(x), 2), "can be told")
    refused(lambda mpc: mpc.matmul(mpc.public(x), mpc.public(x)), "cannot be multiplied")
    with pytest.raises(ParameterError, match="can be rearranged"):
        run(2, lambda mpc: mpc.open(mpc.public(x).map(lambda part: part.sum(axis=0))))
    unset = Spdz2k(Scheduler(), Session(NAME, (b"a", b"b", b"c"), b"", bytes(16)), 0, insecure_dealer=True)
    with pytest.raises(StateError, match="setup comes before"):
        unset.triple((1,))


def test_messages_and_parts_are_uniform_to_who_sees_them() -> None:
    # Inputs are constants, of which the product 2^40 2^40 has a high word: whatever a party receives, every part that
    # it holds and every number that is revealed is chi-square uniform by bytes, except for the low word of what is
    # opened to all.
    n = 1 << 12
    big = np.full(n, 1 << 40, np.uint64)
    parts: list[U64Array] = []

    async def program(mpc: Spdz2k, opened: list[Any]) -> None:
        a = await mpc.input(1, big if mpc.me == 1 else None, (n,))
        b = await mpc.input(2, big if mpc.me == 2 else None, (n,))
        product = await mpc.mul(a, b)
        opened.append(await mpc.open(product))
        opened.append(await mpc.open(product, 1))
        if mpc.me < mpc.n:
            parts.extend(part for value in (a, b, product) for part in value.parts)

    done = play(3, program)
    assert done.finished == {0, 1, 2, 3}
    assert (done.opened[0][0] == np.uint64((1 << 80) % (1 << 64))).all()
    assert (done.opened[1][1] == done.opened[0][0]).all()
    long = {key: np.frombuffer(payload, np.uint64) for key, payload in done.frames.items() if len(payload) >= 16 * n}
    said = [numbers for (_, sender, _), numbers in long.items() if sender != 3]
    assert len(said) == 2 + 2 + 6 + 6 + 6
    seen = [numbers.tobytes() for numbers in long.values()] + [part.tobytes() for part in parts]
    # What the parties' numbers add up to, round by round; both openings are of the product.
    rounds = sorted({round_ for round_, sender, _ in long if sender == 0})
    for at, round_ in enumerate(rounds):
        shares = [long[round_, sender, (sender + 1) % 3].reshape(-1, 2) for sender in range(3)]
        total = spdz2k._total(*shares[:3])
        seen.append(np.ascontiguousarray(total[:, 1]).tobytes())
        if at != 1:  # the second one is opened to all: its low word is the result
            seen.append(np.ascontiguousarray(total[:, 0]).tobytes())
    assert len(rounds) == 3
    check_uniform(seen)
