"""Shamir sharing among n parties, against plain integers."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.algebra.fields import GOLDILOCKS, M61, PrimeField
from privcomp.errors import CodecError, ParameterError, RemoteError, StateError
from privcomp.mpc.backend import Elements, Value
from privcomp.mpc.engine import Party, Scheduler, Session
from privcomp.mpc.protocols import PROTOCOLS, start
from privcomp.mpc.security import Adversary
from privcomp.mpc.shamir import Shamir
from privcomp.simulation.mpc import simulate
from tests.mpc.uniform import check_uniform

FIELDS = {"shamir": M61, "shamir-goldilocks": GOLDILOCKS}
Program = Callable[[Shamir], Any]


def drive(ends: list[Party[Any]], seen: list[tuple[int, int, int, bytes]] | None = None) -> list[Any]:
    """All parties in lock-step; the messages go to `seen` as (round, sender, receiver, payload)."""
    while True:
        rounds = [end.advance() for end in ends]
        if all(round_ is None for round_ in rounds):
            return [end.result for end in ends]
        for sender, round_ in enumerate(rounds):
            assert round_ is not None
            for receiver, (header, parts) in round_.sends.items():
                payload = bytes(bytearray().join(parts))
                if seen is not None:
                    seen.append((round_.number, sender, receiver, payload))
                ends[receiver].deliver(sender, header, payload)


def parties(n: int, program: Program, options: Callable[[int], dict[str, Any]], rng: Any = None) -> list[Party[Any]]:
    """n ends, made with options of their own."""
    session = Session("shamir", tuple(b"party-%d" % i for i in range(n)), b"test", bytes(16))

    def end(me: int) -> Party[Any]:
        async def main(scheduler: Scheduler, agreed: Session, index: int, entropy: Any) -> Any:
            mpc = Shamir(scheduler, agreed, index, **options(me))
            await mpc.setup(entropy)
            return await program(mpc)

        return Party(session, me, main) if rng is None else Party(session, me, main, rng=rng(me))

    return [end(me) for me in range(n)]


def run(n: int, program: Program, *, field: PrimeField = M61, corruptions: int | None = None) -> list[Any]:
    return drive(parties(n, program, lambda _: {"field": field, "corruptions": corruptions}))


def plain(field: PrimeField, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Python integers modulo p, as elements."""
    return (array % field.modulus).astype(np.uint64)


@pytest.mark.parametrize("protocol", FIELDS)
@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 9, 15])
def test_primitives_equal_plain_integers(protocol: str, n: int) -> None:
    field = FIELDS[protocol]
    rng = np.random.default_rng(n)
    x, y = (rng.integers(-(2**27), 2**27, (6, 9)) for _ in range(2))

    async def program(mpc: Shamir) -> list[Any]:
        last = mpc.n - 1
        a = await mpc.input(0, mpc.encode(x) if mpc.me == 0 else None, x.shape)
        b = await mpc.input(last, mpc.encode(y) if mpc.me == last else None, y.shape)
        row = mpc.encode(y[0])
        values = [
            mpc.add(a, b),
            mpc.sub(a, b),
            mpc.scale(a, row),
            mpc.add_public(a, row),
            mpc.sum(a, 0),
            mpc.sum(a, (0, 1)),
            mpc.sum(a, -1),
            mpc.matmul_public(a, mpc.encode(y).T),
            await mpc.mul(a, b),
            await mpc.mul(a, b.map(lambda part: part[:1])),
            await mpc.matmul(a, b.map(lambda part: part.T)),
            mpc.public(mpc.encode(x)),
        ]
        opened = [await mpc.open(value) for value in values]
        alone = await mpc.open(values[0], 1)
        assert (alone is None) == (mpc.me != 1)
        if alone is not None:
            assert (mpc.decode(alone) == x + y).all()
        return [mpc.decode(one) for one in opened if one is not None]

    expected = [x + y, x - y, x * y[0], x + y[0], x.sum(0), x.sum(), x.sum(1), x @ y.T, x * y, x * y[:1], x @ y.T, x]
    for results in simulate(protocol, program, parties=n).results:
        for found, wanted in zip(results, expected, strict=True):
            assert (found == wanted).all()
    assert field.modulus > 2 * 9 * 2**54


@pytest.mark.parametrize("field", [M61, GOLDILOCKS], ids=lambda field: field.name)
@pytest.mark.parametrize(("n", "corruptions"), [(n, t) for n in range(3, 10) for t in range(1, (n + 1) // 2)])
def test_every_threshold(field: PrimeField, n: int, corruptions: int) -> None:
    # Depth 3: a resharing that left the degree too high would not survive the next product.
    edges = np.array([0, 1, 2, field.modulus - 1, field.modulus // 2, 1 << 32, (1 << 60) + 7], object)
    x, y = (np.array(column, object) for column in zip(*itertools.product(edges, edges), strict=True))

    async def program(mpc: Shamir) -> Any:
        a = await mpc.input(0, plain(field, x) if mpc.me == 0 else None, x.shape)
        b = await mpc.input(1, plain(field, y) if mpc.me == 1 else None, y.shape)
        product = await mpc.mul(await mpc.mul(a, b), await mpc.mul(b, b))
        dot = await mpc.matmul(product.map(lambda part: part.reshape(1, -1)), a.map(lambda part: part.reshape(-1, 1)))
        assert mpc.security.corruptions == mpc.corruptions == corruptions
        return [await mpc.open(product), await mpc.open(dot), [await mpc.open(a, to) for to in range(n)][mpc.me]]

    for product, dot, own in run(n, program, field=field, corruptions=corruptions):
        assert (product == plain(field, x * y * y * y)).all()
        assert dot.item() == int((x * y * y * y * x).sum()) % field.modulus
        assert (own == plain(field, x)).all()


@pytest.mark.parametrize("field", [M61, GOLDILOCKS], ids=lambda field: field.name)
def test_long_sums_of_the_largest_elements(field: PrimeField) -> None:
    k, top = 5000, field.modulus - 1
    x = np.full((2, k), top, np.uint64)

    async def program(mpc: Shamir) -> Any:
        a = mpc.public(x)
        return [
            await mpc.open(value)
            for value in (mpc.sum(a, 1), mpc.matmul_public(a, x.T), await mpc.matmul(a, a.map(np.transpose)))
        ]

    sums, public, product = run(3, program, field=field)[0]
    assert (sums == k * top % field.modulus).all()
    assert (public == k * top * top % field.modulus).all()
    assert (product == public).all()


@pytest.mark.parametrize("field", [M61, GOLDILOCKS], ids=lambda field: field.name)
def test_signs(field: PrimeField) -> None:
    (mpc, *_) = run(3, _itself, field=field)
    largest = mpc.largest
    assert largest == (field.modulus - 1) // 2
    values = np.array([0, 1, -1, largest, -largest], np.int64)
    assert mpc.encode(values).tolist() == [0, 1, field.modulus - 1, largest, field.modulus - largest]
    assert (mpc.decode(mpc.encode(values)) == values).all()
    for beyond in (largest + 1, -largest - 1, -(2**63)):
        with pytest.raises(ParameterError, match="cannot tell it from another"):
            mpc.encode(np.array([0, beyond], np.int64))


async def _itself(mpc: Shamir) -> Shamir:
    return mpc


@pytest.mark.parametrize(("n", "corruptions"), [(3, 1), (5, 2), (7, 3)])
def test_what_t_parties_see_is_uniform(n: int, corruptions: int) -> None:
    # Inputs are constants. Before the opening, what any t parties receive and hold is uniform, alone and combined:
    # random combinations of their values stand for the joint distribution. The lowest 7 bytes of a uniform element of
    # M61 are uniform up to 2^-61.
    size = 1 << 12
    seen: list[tuple[int, int, int, bytes]] = []

    def rng(me: int) -> Any:
        counter = itertools.count()
        return lambda count: hashlib.shake_256(b"%d of %d, %d" % (me, n, next(counter))).digest(count)

    async def program(mpc: Shamir) -> list[Any]:
        ones = np.ones(size, np.uint64)
        a = await mpc.input(0, ones if mpc.me == 0 else None, (size,))
        b = await mpc.input(1, ones if mpc.me == 1 else None, (size,))
        product = await mpc.mul(a, b)
        matrix = await mpc.matmul(a.map(lambda part: part.reshape(size, 1)), b.map(lambda part: part[:1].reshape(1, 1)))
        return [value.parts[0].reshape(-1) for value in (a, b, product, matrix)]

    held = drive(parties(n, program, lambda _: {"corruptions": corruptions}, rng), seen)
    messages = [np.frombuffer(payload, np.uint64) for _, _, _, payload in seen if payload]
    assert len(messages) == 2 * (n - 1) + 2 * (2 * corruptions + 1) * (n - 1)
    combined = []
    coins = np.random.default_rng(n)
    for coalition in itertools.combinations(range(n), corruptions):
        for operation in range(4):
            total = np.zeros(size, np.uint64)
            for party in coalition:
                total = M61.axpy(int(coins.integers(1, M61.modulus)), held[party][operation], total)
            combined.append(total)
            # This one would be the secret itself if degrees were one too low.
            points = np.array([party + 1 for party in coalition], np.uint64)
            combined.append(
                _core.shamir_combine(M61.core_id, points, np.stack([held[p][operation] for p in coalition]))
            )
    check_uniform(
        [np.ascontiguousarray(one.view(np.uint8).reshape(-1, 8)[:, :7]).tobytes() for one in messages + combined]
    )


def test_a_product_costs_2t_plus_1_sharings_and_a_dot_product_one_word() -> None:
    async def program(mpc: Shamir) -> None:
        x = mpc.public(np.ones(1000, np.uint64))
        await mpc.mul(x, x)
        await mpc.matmul(x.map(lambda part: part.reshape(1, 1000)), x.map(lambda part: part.reshape(1000, 1)))
        await mpc.open(x)
        await mpc.open(x, 4)

    done = simulate("shamir", program, parties=6)  # t = 2
    sent = {name: sum(cost.operations[name].sent for cost in done.costs) for name in ("mul", "matmul", "open")}
    assert sent == {"mul": 5 * 5 * 8000, "matmul": 5 * 5 * 8, "open": 6 * 2 * 8000 + 2 * 8000}
    assert done.costs[0].rounds == 5


def test_parties_with_other_fields_or_thresholds_part_before_anything_is_shared() -> None:
    async def program(mpc: Shamir) -> None:
        await mpc.open(mpc.public(np.zeros(1, np.uint64)))

    for options in ({"field": GOLDILOCKS}, {"corruptions": 1}):
        ends = parties(5, program, lambda me, options=options: options if me == 2 else {})
        with pytest.raises(RemoteError):
            drive(ends)


@pytest.mark.parametrize("where", ["input", "mul", "open"])
def test_a_share_that_is_no_element_is_refused_and_its_sender_named(where: str) -> None:
    async def program(mpc: Shamir) -> None:
        a = await mpc.input(2, np.ones(3, np.uint64) if mpc.me == 2 else None, (3,))
        await mpc.open(await mpc.mul(a, a))

    round_of = {"input": 1, "mul": 2, "open": 3}[where]  # 0 is the setup

    def tamper(sender: int, receiver: int, round_: int, payload: bytearray) -> None:
        if (sender, receiver, round_) == (2, 1, round_of):
            payload[8:16] = M61.modulus.to_bytes(8, "little")

    with pytest.raises(CodecError) as caught:
        simulate("shamir", program, parties=3, tamper=tamper)
    assert caught.value.party == b"party-2"
    assert caught.value.stage.startswith(where)


def test_a_lie_within_the_format_changes_results_unnoticed() -> None:
    # What "semi-honest" means; the documentation says so.
    async def program(mpc: Shamir) -> Any:
        a = await mpc.input(0, np.ones(3, np.uint64) if mpc.me == 0 else None, (3,))
        return await mpc.open(await mpc.mul(a, a))

    def tamper(sender: int, receiver: int, round_: int, payload: bytearray) -> None:
        if sender == 1 and round_ == 2:
            payload[0] ^= 1

    assert any((result != 1).any() for result in simulate("shamir", program, parties=3, tamper=tamper).results)


def test_shares_cannot_be_computed_on_as_words() -> None:
    (mpc, *_) = run(3, _itself)
    value = mpc.public(np.arange(6, dtype=np.uint64).reshape(2, 3))
    moved = value.map(lambda part: np.concatenate([part.T[::-1], part[:, :2].T]).reshape(-1)[[0, 3, 5]])
    assert isinstance(moved, Elements)
    assert moved.parts[0].tolist() == [2, 4, 3]
    assert value.map(lambda part: part[1, 2]).parts[0].item() == 5
    for change in (np.sum, lambda part: part + np.uint64(1), lambda part: part * part, lambda part: -part):
        with pytest.raises(ParameterError, match="can be rearranged"):
            value.map(change)
    for change in (lambda part: np.zeros(3, np.uint64), lambda part: part["element"] + np.uint64(1)):
        with pytest.raises(ParameterError, match="keep the elements"):
            value.map(change)


def test_what_does_not_fit_is_refused() -> None:
    def session(n: int) -> Session:
        return Session("shamir", tuple(b"%d" % i for i in range(n)), b"", bytes(16))

    with pytest.raises(ParameterError, match="3 parties or more"):
        Shamir(Scheduler(), session(2), 0)
    for n, t in ((3, 0), (3, 2), (4, 2), (5, 3), (5, -1)):
        with pytest.raises(ParameterError, match=f"corruptions is {t}"):
            Shamir(Scheduler(), session(n), 0, corruptions=t)
    x = np.zeros((2, 3), np.uint64)
    big = np.array([M61.modulus], np.uint64)

    def refused(program: Program, match: str, error: type[Exception] = ParameterError) -> None:
        with pytest.raises(error, match=match):
            run(3, program)

    refused(lambda mpc: mpc.input(0, None, (3,)), "owns this input")
    refused(lambda mpc: mpc.input(0, x, (3,)), "owns this input")
    refused(lambda mpc: mpc.input(mpc.me, big, (1,)), "encode it first")
    refused(lambda mpc: mpc.matmul(mpc.public(x), mpc.public(x)), "cannot be multiplied")
    for local in ("public", "factor", "array", "matrix"):
        work: dict[str, Callable[[Shamir, Value], Value]] = {
            "public": lambda mpc, a: mpc.public(big),
            "factor": lambda mpc, a: mpc.scale(a, big),
            "array": lambda mpc, a: mpc.add_public(a, big),
            "matrix": lambda mpc, a: mpc.matmul_public(a, big.reshape(1, 1)),
        }
        (mpc, *_) = run(3, _itself)
        with pytest.raises(ParameterError, match="encode it first"):
            work[local](mpc, mpc.public(x))
    unset = Shamir(Scheduler(), session(3), 0)
    with pytest.raises(StateError, match="setup comes before"):
        unset.input(0, x, x.shape).send(None)
    with pytest.raises(ParameterError, match="bytes where"):
        drive(
            parties(
                3,
                lambda mpc: mpc.input(0, x if mpc.me == 0 else None, x.shape),
                lambda _: {},
                lambda _: lambda n: bytes(n - 1),
            )
        )


def test_the_descriptor_and_the_names() -> None:
    for name, field in FIELDS.items():
        session = Session(name, tuple(b"%d" % i for i in range(7)), b"", bytes(16))
        mpc = PROTOCOLS[name](Scheduler(), session, 0)
        assert isinstance(mpc, Shamir)
        assert mpc.field == field
        mpc.security.require(adversary=Adversary.SEMI_HONEST, corruptions=3)
        with pytest.raises(ParameterError, match="4 corruptions"):
            mpc.security.require(corruptions=4)
        with pytest.raises(ParameterError, match="malicious"):
            mpc.security.require(adversary=Adversary.MALICIOUS)
    with pytest.raises(ParameterError, match="party is 3"):
        start(Session("shamir", (b"a", b"b", b"c"), b"", bytes(16)), 3, _itself)


def test_empty_arrays() -> None:
    async def program(mpc: Shamir) -> Any:
        a = await mpc.input(0, np.zeros((0, 3), np.uint64) if mpc.me == 0 else None, (0, 3))
        matrix = await mpc.matmul(a.map(np.transpose), a)
        return [await mpc.open(await mpc.mul(a, a)), await mpc.open(matrix)]

    for product, matrix in run(3, program):
        assert product.shape == (0, 3)
        assert (matrix == np.zeros((3, 3), np.uint64)).all()


def test_the_weights_are_those_of_the_points() -> None:
    # Independent of the core's interpolation: w_i = product of j / (j - i) over the other points j, modulo p.
    for n in (3, 4, 7):
        (mpc, *_) = run(n, _itself)
        t = (n - 1) // 2
        points = range(1, 2 * t + 2)
        for i, weight in zip(points, mpc._weights, strict=True):
            wanted = 1
            for j in points:
                if j != i:
                    wanted = wanted * j * pow(j - i, -1, M61.modulus) % M61.modulus
            assert weight == wanted
