"""Shared tensors: what comes out, what is refused before anything is sent, and what shares rounds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privcomp.errors import CodecError, EncodingError, ParameterError, RemoteError, StateError
from privcomp.mpc import Adversary, Mpc, Shared, SharedBits, tensors
from privcomp.mpc.backend import Backend, ReplicatedBackend, Value
from privcomp.mpc.engine import Scheduler, Session
from privcomp.mpc.protocols import PROTOCOLS, start
from privcomp.mpc.tensor import _integers, decode_fixed
from privcomp.simulation.mpc import simulate
from tests.mpc.parties import PARTIES, REPLICATED, run

PROTOCOL = pytest.mark.parametrize("protocol", REPLICATED)


def at(mpc: Mpc, owner: int, values: Any, **how: Any) -> Shared:
    """An input of `owner`."""
    array = np.asarray(values)
    return mpc.input(array if mpc.me == owner else None, owner=owner, shape=array.shape, **how)


def evaluate(build: Callable[[Mpc], Any], protocol: str = "rep3") -> Any:
    """The opened results of what `build` makes, the same at every party."""

    async def program(mpc: Mpc) -> Any:
        made = build(mpc)
        several = made if isinstance(made, (list, tuple)) else [made]
        opened = await mpc.gather(*[mpc.open(x) for x in several])
        return opened if isinstance(made, (list, tuple)) else opened[0]

    results = run(protocol, tensors(program)).results
    first = results[0]
    for other in results[1:]:
        for a, b in zip(first, other, strict=True) if isinstance(first, tuple) else [(first, other)]:
            assert (a == b).all()
    return first


def refused(build: Callable[[Mpc], Any], error: type[Exception], match: str, protocol: str = "rep3") -> None:
    """Every party raises `error`, and none has sent anything since the program began."""

    async def program(mpc: Mpc) -> None:
        before = mpc.cost.rounds
        with pytest.raises(error, match=match):
            build(mpc)
        assert mpc.cost.rounds == before

    run(protocol, tensors(program))


@PROTOCOL
def test_operators_on_integers(protocol: str) -> None:
    x = np.array([[3, -4, 0], [7, 7, -9]])
    y = np.array([[1, -4, 5], [0, 8, -8]])

    def build(mpc: Mpc) -> list[Any]:
        a, b = at(mpc, 0, x, bound=10), at(mpc, 1, y, bound=10)
        return [
            *(a + b, a - b, -a, +a, a * b, 2 - a, 3 * a, a + y, y @ a.T, a @ y.T, a @ b.T, a**2),
            *(a[0], a[:, 1], a[1, 2], a.T, a.reshape(6), a.ravel(), a.sum(), a.sum(0), a.sum(-1)),
            *(a < b, a <= b, a > b, a >= b, a == b, a != b, a < 0, a > 0, a == 7),
            *(abs(a), a.max(), a.min(), a.max(1), a.min(0), a.sort(), a.sort(0), a.median(0), a.median(1)),
            *(mpc.where(a < b, a, b), mpc.where(a < b, 1, 0), mpc.where(a < b, x, b)),
            *(mpc.concatenate([a, b]), mpc.concatenate([a, b], axis=1), mpc.stack([a, b], axis=-1)),
            *((a < b) & (b < 3), (a < b) | (b < 3), (a < b) ^ (b < 3), ~(a < b), (a < b) == (b < 3)),
            *((a < b) & (y > 2), (a < b) | (y > 2), (a < b) ^ (y > 2), (a < b).number(), (a < b) + a),
            *(a[0] @ b[0], a[0].dot(b[0]), a @ b[0], a[0] @ b.T, a.gram(), a.moveaxis(0, 1)),
            *(a.order([1, 0], axis=0), a.order([1], axis=1)),
            *list(a),
        ]

    wanted = [
        *(x + y, x - y, -x, x, x * y, 2 - x, 3 * x, x + y, y @ x.T, x @ y.T, x @ y.T, x**2),
        *(x[0], x[:, 1], x[1, 2], x.T, x.reshape(6), x.ravel(), x.sum(), x.sum(0), x.sum(-1)),
        *(x < y, x <= y, x > y, x >= y, x == y, x != y, x < 0, x > 0, x == 7),
        *(abs(x), x.max(), x.min(), x.max(1), x.min(0), np.sort(x), np.sort(x, 0), np.median(x, 0), np.median(x, 1)),
        *(np.minimum(x, y), x < y, np.where(x < y, x, y)),
        *(np.concatenate([x, y]), np.concatenate([x, y], 1), np.stack([x, y], -1)),
        *((x < y) & (y < 3), (x < y) | (y < 3), (x < y) ^ (y < 3), ~(x < y), (x < y) == (y < 3)),
        *((x < y) & (y > 2), (x < y) | (y > 2), (x < y) ^ (y > 2), x < y, (x < y) + x),
        *(x[0] @ y[0], x[0] @ y[0], x @ y[0], x[0] @ y.T, x @ x.T, x.T),
        *(np.sort(x, 0)[::-1], np.sort(x)[:, 1:2]),
        *list(x),
    ]
    found = evaluate(build, protocol)
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.shape == np.shape(b), i
        assert (a == b).all(), i
        assert a.dtype in (np.int64, np.bool_, np.float64)


@PROTOCOL
def test_operators_on_fixed_point(protocol: str) -> None:
    """Errors in units of 2^-16, as stated for each."""
    rng = np.random.default_rng(5)
    x, y = rng.integers(-(2**18), 2**18, (2, 4, 5)) / 2**16
    matrix = rng.normal(size=(5, 3))

    def build(mpc: Mpc) -> list[Any]:
        a, b = at(mpc, 0, x, bound=4.0, fraction=16), at(mpc, 2, y, bound=4.0, fraction=16)
        return [
            *(a + b, a - 1.5, a + 1, 3 * a, a * 0.75, a[0] / 2, a.sum(1), a < 0.1, a <= 0.1),
            *(a * b, a @ b.T, a.dot(b), a.gram(), a.mean(0), a * 0.3, a / 3, a @ matrix, matrix.T @ a.T),
            *(a.fixed(20), a.fixed(12), a * b.fixed(20), a.fixed(4) + b),
        ]

    exact = [x + y, x - 1.5, x + 1, 3 * x, x * 0.75, x[0] / 2, x.sum(1), x < 0.1, x <= 0.1]
    near = [x * y, x @ y.T, (x * y).sum(), x @ x.T, x.mean(0), x * 0.3, x / 3, x @ matrix, matrix.T @ x.T]
    found = evaluate(build, protocol)
    # 0.75 and 1/2 take one truncation of 2 and 1 bits.
    for a, b, units in zip(found[:9], exact, [0, 0, 0, 0, 1, 1, 0, 0, 0], strict=True):
        assert np.abs(a.astype(float) - b).max() * 2**16 <= units
    # One truncation each, however many products were added up; a real factor is right to far more than 16 bits here.
    for a, b in zip(found[9:18], near, strict=True):
        assert np.abs(a - b).max() * 2**16 < 1.001
    assert (found[18] == x).all()
    assert np.abs(found[19] - x).max() * 2**12 < 1
    assert np.abs(found[20] - x * y).max() * 2**20 < 1
    assert np.abs(found[21] - x - y).max() * 2**4 < 1


def test_independent_operations_share_rounds() -> None:
    values = np.arange(-50, 50)

    async def program(mpc: Mpc) -> tuple[int, int]:
        x = await at(mpc, 0, values, bound=100)
        rounds = [mpc.cost.rounds]
        await (x < 3)
        rounds.append(mpc.cost.rounds)
        await mpc.gather(*[x < i for i in range(20)], x * x)
        rounds.append(mpc.cost.rounds)
        return rounds[1] - rounds[0], rounds[2] - rounds[1]

    for one, many in simulate("rep3", tensors(program)).results:
        assert one == many > 0


def test_width_follows_bounds() -> None:
    """A comparison of small numbers costs what their bits cost."""

    async def program(mpc: Mpc) -> list[int]:
        sent = []
        for bits in (4, 15, 31, 61):
            x = await at(mpc, 0, np.zeros(4096, np.int64), bound=1 << bits)
            before = mpc.cost.bytes
            await (x < 0)
            sent.append(mpc.cost.bytes - before)
        return sent

    for sent in simulate("rep3", tensors(program)).results:
        assert sent[0] * 2.5 < sent[1]
        assert sent[1] * 1.5 < sent[2]
        assert sent[2] * 1.5 < sent[3] <= 35 * 4096


@PROTOCOL
def test_opening_to_one_party(protocol: str) -> None:
    async def program(mpc: Mpc) -> Any:
        x = at(mpc, 1, [1, 2, 3], bound=10)
        return await mpc.gather(mpc.open(x * x, to=2), mpc.open(x < 2, to=0))

    for me, (number, bits) in enumerate(run(protocol, tensors(program)).results):
        assert (number is not None) == (me == 2)
        assert (bits is not None) == (me == 0)


def test_tiny_and_zero_factors() -> None:
    found = evaluate(lambda mpc: [at(mpc, 0, [1.5], bound=2, fraction=16) * c for c in (0.0, 5e-324, -0.0, 2.0**-70)])
    assert not any(found)


def test_awaiting_and_values() -> None:
    async def program(mpc: Mpc) -> Any:
        x = at(mpc, 0, 5, bound=10)
        product = await (x * x)
        bits = await (x < 3)
        assert isinstance(product, Shared)
        assert isinstance(bits, SharedBits)
        value, plane = await product.value(), await bits.value()
        assert value.shape == ()
        again = mpc.wrap(value, bound=100), mpc.wrap_bits(plane, ())
        return await mpc.gather(*map(mpc.open, again))

    for number, bit in simulate("rep3", tensors(program)).results:
        assert number == 25
        assert not bit


@pytest.mark.parametrize(
    ("values", "how", "error", "match"),
    [
        ([1, 2], {"bound": 1}, EncodingError, "beyond its bound; allowed is"),
        ([1, -2], {"bound": 1}, EncodingError, "beyond its bound; allowed is"),
        ([0.5], {"bound": 1}, EncodingError, "floats"),
        ([np.nan], {"bound": 1, "fraction": 8}, EncodingError, "NaN"),
        ([np.inf], {"bound": 1, "fraction": 8}, EncodingError, "infinity"),
        ([1.01], {"bound": 1, "fraction": 8}, EncodingError, "beyond its bound; allowed is"),
        ([1e300], {"bound": 1, "fraction": 8}, EncodingError, "beyond its bound; allowed is"),
        ([2.0**62], {"bound": 2.0**62, "fraction": 8}, ParameterError, "could reach"),
        ([1], {"bound": 2**63}, ParameterError, "could reach"),
        ([1], {"bound": -1}, ParameterError, "bound"),
        ([1], {"bound": np.nan}, ParameterError, "bound"),
        ([1], {"bound": 1, "fraction": 62}, ParameterError, "fraction"),
        ([1], {"bound": 1, "fraction": -1}, ParameterError, "fraction"),
        (["a"], {"bound": 1}, EncodingError, "dtype"),
        ([1j], {"bound": 1}, EncodingError, "dtype"),
        ([2**63], {"bound": 2**62}, EncodingError, "beyond its bound; allowed is"),
    ],
)
def test_wrong_inputs(values: Any, how: dict[str, Any], error: type[Exception], match: str) -> None:
    """The owner refuses to encode; limits that all see are refused by all."""

    async def program(mpc: Mpc) -> None:
        if mpc.me == 1 or error is ParameterError:
            before = mpc.cost.rounds
            with pytest.raises(error, match=match):
                at(mpc, 1, values, **how)
            assert mpc.cost.rounds == before

    simulate("rep3", tensors(program))


@pytest.mark.parametrize(("value", "fraction"), [(123457, 0), (123457.0, 8)])
def test_an_input_beyond_its_bound_is_not_in_the_error(value: float, fraction: int) -> None:
    async def program(mpc: Mpc) -> None:
        if mpc.me == 1:
            with pytest.raises(EncodingError) as error:
                at(mpc, 1, [value], bound=10, fraction=fraction)
            assert "12345" not in str(error.value)

    simulate("rep3", tensors(program))


def test_inputs_at_the_end_of_their_bound() -> None:
    top = 2**63 - 1
    found = evaluate(lambda mpc: at(mpc, 1, [top, -top, 0], bound=top))
    assert found.tolist() == [top, -top, 0]
    found = evaluate(lambda mpc: at(mpc, 1, np.array([1.0, -1.0]), bound=1, fraction=61))
    assert found.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda mpc: mpc.input(None, owner=1, shape=(np.int64(4),), bound=2**62).sum(), "sum could reach"),
        (lambda mpc: mpc.input(None, owner=1, shape=1, bound=2**10).fixed(np.int64(60)), "more bits of fraction"),
        (lambda mpc: mpc.input(None, owner=1, shape=1, bound=np.int64(2**40), fraction=30), "input could reach"),
        (lambda mpc: mpc.input(None, owner=1, shape=1, bound=np.int64(2**36)) ** 2, "product could reach"),
        (lambda mpc: mpc.input(None, owner=1, shape=np.int32(2), bound=np.uint32(2**31)) ** 3, "product could reach"),
        (lambda mpc: doubled(mpc, np.int64(2**62)), "sum could reach"),
    ],
)
def test_bounds_out_of_numpys_integers_do_not_wrap(build: Callable[[Mpc], Any], match: str) -> None:
    """A bound of 2^72 in NumPy's integers is 0: the product would wrap, and be compared on a single bit."""

    refused_alone(build, ParameterError, match)


def refused_alone(build: Callable[[Mpc], Any], error: type[Exception], match: str | None) -> None:
    """Before a single message: at one party, of which nobody asks a round."""
    scheduler = Scheduler()
    mpc = Mpc(PROTOCOLS["rep3"](scheduler, Session("rep3", (b"a", b"b", b"c"), b"refused", bytes(16)), 0))
    with pytest.raises(error, match=match):
        build(mpc)
    scheduler.close()


def doubled(mpc: Mpc, bound: Any) -> Shared:
    """x + x of something that a backend computed."""
    x = mpc.wrap(mpc.backend.public(np.zeros(1, np.uint64)), bound=bound)
    return x + x


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda mpc: mpc.public(np.zeros(0, np.int64)), ParameterError),
        (lambda mpc: mpc.public(np.zeros((2, 0)), fraction=4), ParameterError),
        (lambda mpc: mpc.public(1, fraction=1.5), ParameterError),
        (lambda mpc: mpc.public(1).fixed(1.5), ParameterError),
        (lambda mpc: mpc.public([1, [2, 3]]), EncodingError),
        (lambda mpc: mpc.public(1) * [1, [2, 3]], EncodingError),
        (lambda mpc: mpc.public([1, 2]).sum(0.5), ParameterError),
        (lambda mpc: mpc.open(np.ones(2)), ParameterError),
        (lambda mpc: mpc.open(mpc.public(1), to=0.5), ParameterError),
        (lambda mpc: mpc.public([1, 2]).divide(2.0), ParameterError),
        (lambda mpc: mpc.concatenate([mpc.public([1]), np.ones(1)]), ParameterError),
        (lambda mpc: mpc.input(None, owner=1.0, shape=1, bound=1), ParameterError),
        (lambda mpc: mpc.input(None, owner=1, shape=1.0, bound=1), ParameterError),
        (lambda mpc: mpc.input(None, owner=1, shape=(), bound="x"), ParameterError),
        (lambda mpc: mpc.input(None, owner=1, shape=(), bound=float("nan")), ParameterError),
        (lambda mpc: mpc.input(None, owner=1, shape=(), bound=float("inf")), ParameterError),
    ],
)
def test_what_is_no_number_no_shape_and_no_tensor(build: Callable[[Mpc], Any], error: type[Exception]) -> None:
    refused_alone(build, error, None)


def test_wrong_owners_and_shapes() -> None:
    refused(lambda mpc: mpc.input([1], owner=3, shape=1, bound=1), ParameterError, "owner")
    refused(lambda mpc: mpc.input([], owner=0, shape=0, bound=1), ParameterError, "empty")
    refused(lambda mpc: mpc.input(None if mpc.me == 0 else [1], owner=0, shape=1, bound=1), ParameterError, "owns")

    async def program(mpc: Mpc) -> None:
        if mpc.me == 0:
            with pytest.raises(EncodingError, match="shape"):
                mpc.input([1, 2], owner=0, shape=3, bound=9)

    simulate("rep3", tensors(program))


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda a, f: a + a, "could reach"),
        (lambda a, f: a - a, "could reach"),
        (lambda a, f: a + 2**62, "could reach"),
        (lambda a, f: a * 2, "could reach"),
        (lambda a, f: a * a, "could reach"),
        (lambda a, f: a.sum(), "could reach"),
        (lambda a, f: a < -a, "could reach"),
        (lambda a, f: a == a + 0 * a, "could reach"),
        (lambda a, f: a.fixed(1), "could reach"),
        (lambda a, f: f * f, "before its truncation"),
        (lambda a, f: f @ f, "before its truncation"),
        (lambda a, f: (f * 2**22).fixed(8), "before its truncation"),
        (lambda a, f: f * 1e-30 * 1e30, "fewer bits"),
        (lambda a, f: f.reciprocal(), "takes"),
        (lambda a, f: f / f, "takes"),
        (lambda a, f: f.sqrt(), "takes"),
        (lambda a, f: a.mean(), "fraction"),
        (lambda a, f: a.sigmoid(), "fraction"),
        (lambda a, f: a**0, "exponent"),
        (lambda a, f: a**1.5, "exponent"),
        (lambda a, f: a + f[:1].reshape(1, 1).fixed(0)[0, 0] + [1, 2, 3], "do not go together"),
        (lambda a, f: a @ f[:1], "cannot be multiplied"),
        (lambda a, f: a[5], "index"),
        (lambda a, f: a[2:], "leaves nothing"),
        (lambda a, f: a.reshape(3), "cannot become"),
        (lambda a, f: a.sum(1), "axis"),
        (lambda a, f: a.gram(), "Gram"),
        (lambda a, f: a.median(), "could reach"),
        (lambda a, f: (f * 0).fixed(61).median(), "bits of fraction|could reach"),
        (lambda a, f: a.order([]), "ranks"),
        (lambda a, f: a.order([2]), "ranks"),
        (lambda a, f: a.order([1.0]), "a rank"),
        (lambda a, f: a.order("ab"), "a rank"),
        (lambda a, f: a.order(1), "ranks"),
        (lambda a, f: a[::0], "index"),
        (lambda a, f: f / 0, "zero"),
        (lambda a, f: bool(a), "truth value"),
        (lambda a, f: bool(a < 0), "truth value"),
        (lambda a, f: (a < 0) & (f[:1] < 0), "agree"),
        (lambda a, f: (a < 0) & 3, "booleans"),
        (lambda a, f: (a < 0) | 3, "booleans"),
        (lambda a, f: "no" | (a < 0), "booleans"),
        (lambda a, f: (a < 0) & [[True], [True, False]], "booleans"),
        (lambda a, f: a.dot(f[:1]), "one shape"),
        (lambda a, f: a.dot(None), "one shape"),
        (lambda a, f: a._mpc.input(None, owner=2, shape=(1,) * 65, bound=1), "shape"),
        (lambda a, f: a._mpc.input(None, owner=2, shape=10**30, bound=1), "shape"),
        (lambda a, f: (f * 0).reciprocal(least="a"), "least"),
        (lambda a, f: a._mpc.concatenate([]), "no tensors"),
        (lambda a, f: a._mpc.stack([f, f[:1]]), "differ"),
        (lambda a, f: a._mpc.open(a, to=5), "to is 5"),
        (lambda a, f: a._mpc.require(adversary=Adversary.MALICIOUS), "malicious"),
        (lambda a, f: a._mpc.require(corruptions=2), "corruptions"),
        (lambda a, f: a._mpc.require(adversary="malicious"), "adversary"),
        (lambda a, f: a._mpc.require(corruptions=True), "corruptions"),
    ],
)
def test_refused_before_anything_is_sent(build: Callable[[Shared, Shared], Any], match: str) -> None:
    def both(mpc: Mpc) -> Any:
        a = at(mpc, 0, [2**62, -(2**62)], bound=2**62)
        f = at(mpc, 0, [2.0**23, 1], bound=2.0**24, fraction=16)
        return build(a, f)

    refused(both, ParameterError, match)


def test_one_unit_inside_is_allowed() -> None:
    """The same limits, from the other side."""
    half = 2**62 - 1

    def build(mpc: Mpc) -> list[Any]:
        a = at(mpc, 0, [half, -half], bound=half)
        f = at(mpc, 0, [2.0**15 - 2.0**-16], bound=2.0**15 - 2.0**-16, fraction=16)
        return [a + a, a - a, a + (2**63 - 1 - half), a * 2, a < -a, a == a, f * f]

    found = evaluate(build)
    assert found[0].tolist() == [2 * half, -2 * half]
    assert found[1].tolist() == [0, 0]
    assert found[2].tolist() == [2**63 - 1, 1]
    assert found[4].tolist() == [False, True]
    assert found[5].all()
    assert np.abs(found[6] - (2.0**15 - 2.0**-16) ** 2).max() * 2**16 < 1


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (0.5, EncodingError),
        (np.array([0.5, 1]), EncodingError),
        (np.nan, EncodingError),
        ("a", EncodingError),
        (None, EncodingError),
        ([], ParameterError),
    ],
)
def test_wrong_public_operands(other: Any, error: type[Exception]) -> None:
    works: list[Callable[[Shared], Any]] = [lambda a: a + other, lambda a: a * other, lambda a: other - a]
    for work in works[:2] if isinstance(other, (np.ndarray, list)) else works:
        refused(lambda mpc, work=work: work(at(mpc, 0, [1, 2], bound=5)), error, "float|NaN|dtype|empty")


def test_thresholds_that_a_tensor_cannot_hold() -> None:
    """x < 2.5 for integers says x <= 2; x == 2.5 cannot be asked."""
    found = evaluate(lambda mpc: [at(mpc, 0, [2, 3], bound=5) < 2.5, at(mpc, 0, [2, 3], bound=5) >= 2.5])
    assert found[0].tolist() == [True, False]
    assert found[1].tolist() == [False, True]
    refused(lambda mpc: at(mpc, 0, [2, 3], bound=5) == 2.5, EncodingError, "no exact value")


def test_handles_of_other_computations() -> None:
    """Of another party's end, of an earlier computation, after the end: StateError."""
    kept: list[tuple[Mpc, Shared, SharedBits]] = []

    async def keep(mpc: Mpc) -> None:
        x = at(mpc, 0, [1, 2], bound=5)
        kept.append((mpc, await x, await (x < 2)))
        if len(kept) == 3:
            # All parties live in this process: handles of another end are at hand.
            _, other, bits = kept[0]
            for use in (lambda: x + other, lambda: mpc.open(other), lambda: x * bits, lambda: mpc.where(bits, x, x)):
                with pytest.raises(StateError, match="another"):
                    use()

    simulate("rep3", tensors(keep))
    mpc, x, bits = kept[0]
    for use in (
        *(lambda: x + x, lambda: x + 1, lambda: -x, lambda: x * x, lambda: x < 0, lambda: x[0], lambda: x.sum()),
        *(lambda: mpc.open(x), lambda: ~bits, lambda: bits & bits, lambda: bits.number(), lambda: mpc.public([1])),
        *(lambda: at(mpc, 1, [1], bound=1), lambda: x.sort(), lambda: x.fixed(3), lambda: mpc.stack([x])),
    ):
        with pytest.raises(StateError, match="ended"):
            use()

    async def use_old(new: Mpc) -> None:
        with pytest.raises(StateError, match="another"):
            at(new, 0, [1, 2], bound=5) + x
        with pytest.raises(StateError, match="another"):
            new.open(x)

    simulate("rep3", tensors(use_old))


def test_an_aborted_computation_leaves_dead_handles() -> None:
    kept: list[Shared] = []

    async def program(mpc: Mpc) -> None:
        x = at(mpc, 0, [1], bound=5)
        kept.append(x)
        await x

    session = Session("rep3", (b"a", b"b", b"c"), b"p", bytes(16))
    ends = [start(session, me, tensors(program)) for me in range(3)]
    rounds = [end.advance() for end in ends]
    for sender, round_ in enumerate(rounds):
        assert round_ is not None
        for receiver, (header, parts) in round_.sends.items():
            ends[receiver].deliver(sender, header, b"".join(parts))
    for end in ends:
        end.advance()
        end.close()
    assert len(kept) == 3
    for x in kept:
        with pytest.raises(StateError, match="ended"):
            x + x


@pytest.mark.parametrize(("protocol", "parties"), [("rep3", 3), ("rep4", 4), ("spdz2k-insecure-dealer", 3)])
@pytest.mark.parametrize("fails", [True, False])
def test_keys_do_not_outlive_a_computation(protocol: str, parties: int, fails: bool) -> None:
    """Nor at the parties that see another one fail."""
    kept: list[Any] = []

    async def program(mpc: Mpc) -> None:
        kept.append(mpc.backend)
        if mpc.me == 1 and fails:
            raise ParameterError("this party stops")
        await at(mpc, 0, [1], bound=5)

    with pytest.raises(ParameterError, match="this party stops") if fails else contextlib.nullcontext():
        simulate(protocol, tensors(program), parties=parties, insecure_dealer=True)
    assert kept
    assert not any(backend._streams or getattr(backend, "_alpha", 0) for backend in kept)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the one that goes on for ever
@pytest.mark.parametrize("end", ["awaits", "spawns", "raises", "goes on"])
def test_a_program_that_does_something_as_it_is_ended(end: str) -> None:
    """Keys are wiped nevertheless, and the error that is seen is the one that ended it."""
    kept: list[Any] = []

    async def program(mpc: Mpc) -> None:
        kept.append(mpc.backend)
        x = at(mpc, 0, [1], bound=5)
        try:
            await x
        finally:
            while True:
                with contextlib.suppress(BaseException):
                    if end == "raises":
                        break
                    y = x * x
                    if end != "spawns":
                        await mpc.open(y)
                if end != "goes on":
                    break
            if end == "raises":
                raise ValueError("not what happened")

    session = Session("rep3", (b"a", b"b", b"c"), b"p", bytes(16))
    ends = [start(session, me, tensors(program)) for me in range(3)]
    for sender, round_ in enumerate([party.advance() for party in ends]):
        assert round_ is not None
        for receiver, (header, parts) in round_.sends.items():
            ends[receiver].deliver(sender, header, b"".join(parts))
    for party in ends:
        party.advance()
        with pytest.raises(CodecError):
            party.deliver((party.me + 2) % 3, b"garbage", b"")
    assert len(kept) == 3
    assert not any(backend._streams for backend in kept)


def test_an_empty_header_is_none() -> None:
    """Empty bytes are one object in Python: that they are the same says nothing about a header."""

    async def program(mpc: Mpc) -> Any:
        return await mpc.open(at(mpc, 0, [1], bound=5))

    ends = [start(Session("rep3", (b"a", b"b", b"c"), b"p", bytes(16)), me, tensors(program)) for me in range(3)]
    for party in ends:
        party.advance()
        with pytest.raises(CodecError):
            party.deliver((party.me + 1) % 3, b"", b"")


@pytest.mark.parametrize("protocol", ["rep3", "rep4", "shamir", "spdz2k-insecure-dealer"])
def test_every_party_knows_the_largest_message_of_a_round(protocol: str) -> None:
    """Also of one between two others: whoever waits for one of these has to know how long it may take."""

    async def program(mpc: Mpc) -> None:
        x = at(mpc, 0, np.arange(300.0), bound=300, fraction=4)
        y = at(mpc, 1, np.arange(300), bound=300)
        await mpc.open(x * y)
        await mpc.open(x.reshape(100, 3) @ y.reshape(3, 100), to=1)
        if isinstance(mpc.backend, ReplicatedBackend):
            await mpc.open((x * x).fixed(2), to=2)
            await mpc.open(x < y, to=0)
            await mpc.open(x.reshape(5, 60).median())
            await mpc.open(x.reshape(5, 60).sort(axis=0), to=1)
            await mpc.open(x.reshape(60, 5).gram())
            await mpc.open(mpc.where(x == y, x, y))
            value = (await x.value()).map(lambda part: part & np.uint64(0xFFF))
            await mpc.backend.extend(value, 12)
            planes = np.ones((7, 3), np.uint64) if mpc.me == 2 else None
            await mpc.backend.open_bits(await mpc.backend.input_bits(2, planes, 7, 192), 1)

    parties = PARTIES[protocol]
    session = Session(protocol, tuple(b"%d" % me for me in range(parties)), b"p", bytes(16))
    ends = [start(session, me, tensors(program), insecure_dealer=True) for me in range(parties)]
    while rounds := [round_ for end in ends if (round_ := end.advance()) is not None]:
        sizes = [256]  # keys and hashes take no time
        for sender, round_ in enumerate(rounds):
            for receiver, (header, parts) in round_.sends.items():
                payload = b"".join(parts)
                sizes.append(len(payload))
                ends[receiver].deliver(sender, header, payload)
        assert max(sizes) == 256 or min(round_.largest for round_ in rounds) >= max(sizes)


def test_parties_that_want_other_ranks() -> None:
    """What they send looks alike."""

    async def program(mpc: Mpc) -> Any:
        return await mpc.open(at(mpc, 0, [[1], [2], [3], [4], [5], [6]], bound=9).order([mpc.me == 1, 3], axis=0))

    with pytest.raises(RemoteError, match="other operations"):
        simulate("rep3", tensors(program))


def test_nothing_of_a_wide_tensor() -> None:
    """A factor of zero has no significant bits, and is exact."""
    wide = evaluate(lambda mpc: at(mpc, 0, [2.0**30, -1.0], bound=2.0**30, fraction=20) * 0.0)
    assert wide.tolist() == [0, 0]


@pytest.mark.parametrize("protocol", sorted(PARTIES))
def test_an_index_is_what_it_was_when_it_was_used(protocol: str) -> None:
    """The tensor comes later than the index; by then the caller has written other numbers to its array."""

    async def program(mpc: Mpc) -> Any:
        x = at(mpc, 0, [10, 11, 12, 13], bound=20)
        place, rows, mask, several = np.array(1), np.array([0, 1]), np.array([True, False, False, False]), [0, 1]
        found = [x[place], x[rows], x[mask], x[several], x[:, None][rows, 0]]
        place += 2
        rows[:] = 3
        mask[:] = True
        several[:] = [2]
        return await mpc.gather(*(mpc.open(one) for one in found))

    results = simulate(protocol, tensors(program), parties=PARTIES[protocol], insecure_dealer=True).results
    assert [one.tolist() for one in results[0]] == [11, [10, 11], [10], [10, 11], [10, 11]]


def test_ranks_of_numpy() -> None:
    found = evaluate(lambda mpc: at(mpc, 0, [5, 3, 9, 1], bound=9).order(np.array([1, 2])))
    assert found.tolist() == [3, 5]


@pytest.mark.parametrize("protocol", ["shamir", "spdz2k-insecure-dealer"])
def test_joined_elements_stay_elements(protocol: str) -> None:
    """NumPy would add them modulo 2^64."""

    async def program(mpc: Mpc) -> None:
        x = at(mpc, 0, [1, 2], bound=5)
        for joined in (mpc.stack([x, x]), mpc.concatenate([x, x]), mpc.stack([x.sum(), x.sum()])):
            with pytest.raises(ParameterError, match="rearranged"):
                (await joined.value()).map(lambda part: part.sum(axis=0))

    simulate(protocol, tensors(program), insecure_dealer=True)


def test_an_opened_number_beyond_its_bound_is_refused() -> None:
    async def program(mpc: Mpc) -> Any:
        x = await at(mpc, 0, [100], bound=100)
        return await mpc.open(mpc.wrap(await x.value(), bound=99))

    with pytest.raises(RemoteError, match="beyond its bound"):
        simulate("rep3", tensors(program))


PUBLIC: list[Callable[[Mpc, Shared, int], Any]] = [
    lambda mpc, x, k: x + k,
    lambda mpc, x, k: x * k,
    lambda mpc, x, k: x < k,
    lambda mpc, x, k: x @ np.array([[k], [1]]),
    lambda mpc, x, k: mpc.public([k, 3]) + x,
    lambda mpc, x, k: mpc.where(x < 2, k, x),
    lambda mpc, x, k: (x < 2) ^ (k > 1),
    lambda mpc, x, k: (x < 2) & (k > 1),
    lambda mpc, x, k: x[k % 2],
    lambda mpc, x, k: x[k % 2 : k % 2 + 1],
    lambda mpc, x, k: x[[k % 2, 0]],
    lambda mpc, x, k: x[np.array([k % 2 == 0, k % 2 == 1])],
]


@pytest.mark.parametrize("use", PUBLIC)
def test_parties_that_disagree_on_public_numbers_open_nothing(use: Callable[[Mpc, Shared, int], Any]) -> None:
    """A number of one's own in the place of a public one would give wrong results."""

    async def program(mpc: Mpc, same: bool) -> Any:
        x = at(mpc, 0, [1, 2], bound=9)
        return await mpc.open(use(mpc, x, 2 if same else 1 + mpc.me))

    simulate("rep3", tensors(lambda mpc: program(mpc, True)))
    with pytest.raises(RemoteError, match="other operations"):
        simulate("rep3", tensors(lambda mpc: program(mpc, False)))


LOCAL: list[Callable[[Mpc, Shared, bool], Any]] = [
    lambda mpc, x, same: x[0 if same else mpc.me % 2],
    lambda mpc, x, same: x[:, ::1] if same else x[:, :: 1 - 2 * (mpc.me % 2)],
    lambda mpc, x, same: x[np.array([0, 0 if same else mpc.me % 2])],
    lambda mpc, x, same: x[np.array([[True, False], [same or mpc.me % 2 == 0, not same and mpc.me % 2 == 1]])],
    lambda mpc, x, same: x.T if same or mpc.me else x,
    lambda mpc, x, same: x.T if same or mpc.me else x.reshape(2, 2),
    lambda mpc, x, same: x.moveaxis(0, 1) if same or mpc.me else x.moveaxis(0, 0),
    lambda mpc, x, same: x.sum(0 if same or mpc.me else 1),
    lambda mpc, x, same: -x if same or mpc.me else x,
    lambda mpc, x, same: x + x if same or mpc.me else x - x,
    lambda mpc, x, same: x + 2 if same or mpc.me else x * 2,
    lambda mpc, x, same: mpc.concatenate([x, x], 0 if same or mpc.me else 1)[:2, :2],
    lambda mpc, x, same: mpc.stack([x, x], 0 if same or mpc.me else 1),
    lambda mpc, x, same: x.fixed(4 if same or mpc.me else 5),
    lambda mpc, x, same: ~(x < 2) if same or mpc.me else x < 2,
    lambda mpc, x, same: (x < 2) ^ np.ones((2, 2), np.bool_) if same or mpc.me else (x < 2) & np.ones((2, 2), np.bool_),
    lambda mpc, x, same: (x < 2).reshape(4) if same or mpc.me else (x < 2).reshape(4, 1),
]


@pytest.mark.parametrize("use", LOCAL)
def test_parties_that_disagree_on_what_takes_no_message_open_nothing(use: Callable[[Mpc, Shared, bool], Any]) -> None:
    """Other rows, axes or signs at one party would give numbers that mean nothing."""

    async def program(mpc: Mpc, same: bool) -> Any:
        x = at(mpc, 0, [[1, 2], [3, 4]], bound=9)
        return await mpc.open(use(mpc, x, same))

    simulate("rep3", tensors(lambda mpc: program(mpc, True)))
    with pytest.raises(RemoteError, match="other operations"):
        simulate("rep3", tensors(lambda mpc: program(mpc, False)))


def test_what_is_no_value_is_refused() -> None:
    async def program(mpc: Mpc) -> None:
        wrong: Any = None
        for make in (
            lambda: mpc.wrap(wrong, bound=1),
            lambda: mpc.wrap_bits(wrong, (2,)),
            lambda: mpc.concatenate(wrong),
            lambda: mpc.stack(wrong),
        ):
            with pytest.raises(ParameterError, match=r"pass (a Value|Bits|a list)"):
                make()

    simulate("rep3", tensors(program))


def test_nothing_is_shown() -> None:
    async def program(mpc: Mpc) -> None:
        x = await at(mpc, 0, [123456789], bound=2**40)
        for text in (repr(x), repr(x < 3), repr(await x.value())):
            assert "hidden" in text
            assert "123456789" not in text

    simulate("rep3", tensors(program))


def test_other_backends_say_what_they_lack() -> None:
    """A backend with input, linear operations, products and opening, and nothing more."""
    from privcomp.mpc import protocols
    from privcomp.mpc.rep3 import Rep3

    class Plain(Backend):
        """rep3 with most of it hidden."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.inner = Rep3(*args)
            self.security = self.inner.security

        async def setup(self, rng: Any) -> None:
            await self.inner.setup(rng)

        def public(self, values: Any) -> Value:
            return self.inner.public(values)

        def add(self, a: Value, b: Value) -> Value:
            return self.inner.add(a, b)

        def sub(self, a: Value, b: Value) -> Value:
            return self.inner.sub(a, b)

        def scale(self, a: Value, factor: Any) -> Value:
            return self.inner.scale(a, factor)

        def add_public(self, a: Value, values: Any) -> Value:
            return self.inner.add_public(a, values)

        def matmul_public(self, a: Value, b: Any) -> Value:
            return self.inner.matmul_public(a, b)

        async def input(self, owner: int, values: Any, shape: tuple[int, ...]) -> Value:
            return await self.inner.input(owner, values, shape)

        async def open(self, a: Value, to: int | None = None) -> Any:
            return await self.inner.open(a, to)

        async def mul(self, a: Value, b: Value) -> Value:
            return await self.inner.mul(a, b)

        async def matmul(self, a: Value, b: Value) -> Value:
            return await self.inner.matmul(a, b)

    async def program(mpc: Mpc) -> Any:
        x = at(mpc, 0, [1.5, -2.25], bound=4, fraction=8)
        for use in (
            *(lambda: x < 0, lambda: x == x, lambda: abs(x), lambda: x.sort(), lambda: x.max(), lambda: x / x),
            *(
                lambda: x.sqrt(),
                lambda: x.sigmoid(),
                lambda: x.fixed(4),
                lambda: x * 0.3,
                lambda: x.reshape(1, 2).gram(),
            ),
        ):
            with pytest.raises(ParameterError, match="take rep3 or rep4"):
                use()
        # Products keep all bits of fraction there.
        product = x * x + x.dot(x)
        assert product.fraction == 16
        return await mpc.open(product - 2 * x[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocols.PROTOCOLS, "plain", Plain)
        results = simulate("plain", tensors(program)).results
    x = np.array([1.5, -2.25])
    for found in results:
        assert (found == x * x + x @ x - 2 * x[0]).all()


def check_decoding(start: int, stop: int, step: int, fraction: int) -> None:
    """Every integer is decoded to exactly X / 2^f, and encoded to itself."""
    for first in range(start, stop, step << 20):
        numbers = np.arange(first, min(stop, first + (step << 20)), step)
        decoded = decode_fixed(numbers, fraction)
        assert (decoded * 2.0**fraction == numbers).all()
        assert (_integers(decoded, fraction, 1 << 24, "x") == numbers).all()


def test_fixed_point_decoding_strided() -> None:
    for fraction in (1, 16, 40):
        check_decoding(-(1 << 24), 1 << 24, 257, fraction)


@pytest.mark.assurance
@pytest.mark.parametrize("fraction", [8, 16, 24])
def test_fixed_point_decoding_of_all_25_bits(fraction: int) -> None:
    check_decoding(-(1 << 24), 1 << 24, 1, fraction)


def test_factors_keep_their_bits_or_are_refused() -> None:
    """Beside a bound near 2^62 hardly a bit is left for the factor: 51/1024 would have become 0."""

    def program(bound: float, fraction: int, factor: float) -> Any:
        return lambda mpc: at(mpc, 0, [1.0], bound=bound, fraction=fraction) * factor

    for bound, fraction, factor in ((2.0**58, 1, 51 / 1024), (2.0**48, 1, 0.3), (2.0**34, 16, 0.001)):
        with pytest.raises(ParameterError, match="significant bits"):
            evaluate(program(bound, fraction, factor))
    assert evaluate(program(2.0**58, 1, 0.5)) == [0.5]
    assert abs(evaluate(program(2.0**10, 16, 0.001))[0] - 0.001) <= 2.0**-16


@pytest.mark.parametrize("protocol", ["rep3", "rep4"])
def test_transposed_numbers_are_truncated(protocol: str) -> None:
    """What a party knows of a transposed tensor lies in another order in memory."""
    x = np.arange(6.0).reshape(2, 3)

    def build(mpc: Mpc) -> list[Shared]:
        turned = at(mpc, 0, x, bound=8, fraction=8).T
        return [turned * 0.75, turned.fixed(3), (turned + 1).fixed(2)]

    scaled, same, more = evaluate(build, protocol)
    assert abs(scaled - x.T * 0.75).max() <= 2.0**-8
    assert abs(same - x.T).max() <= 2.0**-3
    assert abs(more - x.T - 1).max() <= 2.0**-2


@pytest.mark.parametrize("protocol", REPLICATED)
def test_truncation_and_extension_take_arrays_in_any_order(protocol: str) -> None:
    held = np.arange(12.0).reshape(3, 4) / 8

    async def program(mpc: Mpc) -> Any:
        x = mpc.input(held if mpc.me == 0 else None, owner=0, shape=(3, 4), bound=2.0, fraction=16)
        small = (await x.fixed(8).T.value()).map(lambda part: part & np.uint64(0xFFFF))
        extended = mpc.wrap(await mpc.backend.extend(small, 16), bound=1 << 15)  # type: ignore[attr-defined]
        return await mpc.gather(mpc.open(x.T.fixed(8)), mpc.open(x.T * 0.5), mpc.open(extended))

    for fewer, half, extended in run(protocol, tensors(program)).results:
        assert fewer.tolist() == held.T.tolist()
        assert half.tolist() == (held.T / 2).tolist()
        assert extended.tolist() == (held.T * 256).tolist()


@PROTOCOL
def test_who_alone_sees_a_lie_beyond_a_bound_does_not_stop_before_the_end(protocol: str) -> None:
    # Whether it stops would say whether the secret is 0.
    ended: list[tuple[int, Any]] = []

    async def program(mpc: Mpc) -> Any:
        lie = np.array([1 << 40], np.uint64) if mpc.me == 0 else None
        x = mpc.wrap(await mpc.backend.input(0, lie, (1,)), bound=8)  # type: ignore[attr-defined]
        found = await mpc.open(x * at(mpc, 1, [secret], bound=1), to=2)
        again = mpc.input(found, owner=2, shape=1, bound=8)
        ended.append((mpc.me, await mpc.open(again)))
        return found

    secret = 0
    assert run(protocol, tensors(program)).results[2].tolist() == [0]
    ended.clear()
    secret = -1
    with pytest.raises(RemoteError, match="beyond its bound of 8"):
        run(protocol, tensors(program))
    assert [(me, opened.tolist()) for me, opened in ended] == [(me, [-8]) for me in range(len(ended))]
    assert len(ended) == PARTIES[protocol]


@pytest.mark.parametrize("odd", [{"bound": 9.0}, {"fraction": 12}])
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_parties_that_declare_different_inputs_stop(protocol: str, odd: dict[str, Any]) -> None:
    async def program(mpc: Mpc) -> Any:
        declared = {"bound": 8.0, "fraction": 8, **(odd if mpc.me == 1 else {})}
        return await mpc.open(at(mpc, 0, [1.0], **declared) + at(mpc, 1, [1.0], **declared))

    with pytest.raises(RemoteError, match="begun other operations"):
        run(protocol, tensors(program))
