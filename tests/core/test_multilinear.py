"""The kernels of the norm proof: each against its definition in plain integers, for both groups, on extreme values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from tests.reference import multilinear as twin

GROUPS = {"ristretto255": _core.RISTRETTO255, "bn254": _core.BN254_G1}

pytestmark = [
    pytest.mark.usefixtures("at_level"),
    pytest.mark.parametrize("group", GROUPS.values(), ids=list(GROUPS)),
]

SIZES = range(7)  # variables
KINDS = ("random", "low", "high", "zero", "mixed")


def scalars(draw: np.random.Generator, n: int, q: int) -> list[int]:
    """Random ones, and every third of them extreme."""
    extremes = [0, 1, q - 1, q - 2, q // 2, 1 << 63, (1 << 252) - 1]
    return [
        extremes[draw.integers(len(extremes))] if draw.integers(3) == 0 else int.from_bytes(draw.bytes(40)) % q
        for _ in range(n)
    ]


def vector(draw: np.random.Generator, n: int, kind: str, top: int = (1 << 30) - 1) -> np.ndarray:
    if kind == "random":
        return draw.integers(-top, top, n, endpoint=True)
    if kind == "mixed":
        return draw.choice(np.array([-top, -1, 0, 1, top]), n)
    return np.full(n, {"low": -top, "high": top, "zero": 0}[kind])


def lengths(draw: np.random.Generator, n: int) -> list[int]:
    """Of vectors for n places: with and without zeros beyond their end."""
    return sorted({n, max(n - 1, 0), n // 2, int(draw.integers(n + 1))})


def load(group: int, values: Sequence[int]) -> np.ndarray:
    data = b"".join(v.to_bytes(32, "little") for v in values)
    return _core.table_load(group, np.frombuffer(data, np.uint8).reshape(-1, 32))


def store(group: int, table: np.ndarray) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in _core.table_store(group, table)]


def test_tables(group: int) -> None:
    draw, q = np.random.default_rng(1), _core.scalar_order(group)
    for n in (0, 1, 2, 5, 64):
        values = scalars(draw, n, q)
        table = load(group, values)
        assert store(group, table) == values
        for factor in (0, 1, q - 1, *scalars(draw, 2, q)):
            scaled = table.copy()
            _core.table_scale(group, scaled, factor)
            assert store(group, scaled) == [factor * v % q for v in values]
        for kind in KINDS:
            x = vector(draw, n, kind, (1 << 63) - 1)
            assert _core.table_dot(group, table, x) == twin.dot(values, x.tolist(), q)
    lowest = np.array([-(1 << 63)])
    assert _core.table_dot(group, load(group, [q - 1]), lowest) == 1 << 63


@pytest.mark.parametrize("variables", SIZES)
def test_fold(group: int, variables: int) -> None:
    draw, q = np.random.default_rng(2), _core.scalar_order(group)
    half = 1 << variables
    for count in (1, 2, 4):
        for spare in (0, 3):  # a stride beyond what is left of a table
            stride = 2 * half + spare
            values = scalars(draw, count * stride, q)
            for s in (0, 1, q - 1, *scalars(draw, 1, q)):
                tables = load(group, values)
                _core.table_fold(group, tables, count, half, s)
                found = twin.parts(store(group, tables), count)
                for before, after in zip(twin.parts(values, count), found, strict=True):
                    assert after[:half] == twin.fold(before[: 2 * half], s, q)


@pytest.mark.parametrize("variables", SIZES)
def test_eq(group: int, variables: int) -> None:
    draw, q = np.random.default_rng(3), _core.scalar_order(group)
    n = 1 << variables
    for point in (scalars(draw, variables, q), [0] * variables, [1] * variables, [q - 1] * variables):
        for cut in {0, 1, n // 2, n - 1, n, n + 5, -1}:
            below, above = scalars(draw, 2, q)
            table = _core.table_eq(group, point, cut, below, above)
            assert store(group, table) == twin.eq_table(point, cut, below, above, q)
        for kind in KINDS:
            for d in lengths(draw, n):
                for top in ((1 << 31) - 1, (1 << 63) - 1):
                    x = vector(draw, d, kind, top)
                    for first, last in {(0, n), (n // 2, n // 2), (n // 3, n - n // 5), (d, n)}:
                        found = _core.eq_dot(group, point, x, first, last)
                        assert found == twin.eq_dot(point, x.tolist(), first, last, q)
    lowest = np.full(n, -(1 << 63))
    assert _core.eq_dot(group, [1] * variables, lowest, 0, n) == -(1 << 63) % q


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("pieces", [1, 2, 4, 8])
def test_combine(group: int, pieces: int, added: bool) -> None:
    draw, q = np.random.default_rng(4), _core.scalar_order(group)
    for size in (1, 2, 3, 8):
        for kind in KINDS:
            for top in ((1 << 31) - 1, (1 << 63) - 1):
                for d in lengths(draw, pieces * size):
                    for coefficients in (scalars(draw, pieces, q), [q - 1] * pieces):
                        x, old = vector(draw, d, kind, top), scalars(draw, size, q)
                        table = load(group, old)
                        _core.table_combine(group, table, coefficients, x, added=added)
                        sums = twin.combine(size, coefficients, x.tolist(), q)
                        wanted = [(a + b) % q for a, b in zip(old, sums, strict=True)] if added else sums
                        assert store(group, table) == wanted
    lowest = np.full(pieces, -(1 << 63))
    table = load(group, [0])
    _core.table_combine(group, table, [q - 1] * pieces, lowest, added=added)
    assert store(group, table) == [pieces << 63]


def test_long_sums(group: int) -> None:
    """Of so many products of the largest values that a sum has nine words."""
    q, half = _core.scalar_order(group), 1 << 16
    zero, top = load(group, [0]), load(group, [q - 1])
    same = np.repeat(top, 2 * half, axis=0)
    assert _core.product_round(group, same, same, half) == (half, 0)
    steps = np.repeat(np.concatenate([zero, top]), half, axis=0)
    assert _core.product_round(group, steps, steps, half) == (0, half)
    quarters = np.concatenate([steps] * 4)
    assert _core.fraction_round(group, quarters, [0] * 16) == (0, 2)
    x = np.full(half, -(1 << 63))
    assert _core.eq_dot(group, [(q + 1) // 2] * 16, x, 0, half) == -(1 << 63) % q
    table = np.zeros((1, 4), np.uint64)
    _core.table_combine(group, table, [q - 1] * 8, x[:8], added=False)
    assert store(group, table) == [8 << 63]


def test_dot_of_integers(group: int) -> None:
    draw, q = np.random.default_rng(5), _core.scalar_order(group)
    for n in (0, 1, 2, 7, 64, 1000):
        for kind in KINDS:
            for other in KINDS:
                x, y = vector(draw, n, kind), vector(draw, n, other, (1 << 63) - 1)
                assert _core.dot_i64(group, x, y) == twin.dot(x.tolist(), y.tolist(), q)
    x, y = np.full(4096, -(1 << 31) + 1), np.full(4096, -(1 << 63))
    assert _core.dot_i64(group, x, y) == ((1 << 31) - 1) << 75
    assert _core.dot_i64(group, -x, y) == -(((1 << 31) - 1) << 75) % q


@pytest.mark.parametrize("variables", SIZES)
def test_product_round(group: int, variables: int) -> None:
    draw, q = np.random.default_rng(6), _core.scalar_order(group)
    half = 1 << variables
    for a, g in (
        (scalars(draw, 2 * half, q), scalars(draw, 2 * half, q)),
        ([q - 1] * 2 * half, [q - 1] * 2 * half),
        ([0] * half + [q - 1] * half, [q - 1] * half + [0] * half),
        ([0] * 2 * half, scalars(draw, 2 * half, q)),
    ):
        spare = scalars(draw, 3, q)
        found = _core.product_round(group, load(group, a + spare), load(group, g + spare), half)
        assert found == twin.product_round(a, g, q)


@pytest.mark.parametrize("variables", SIZES)
def test_fraction_rounds(group: int, variables: int) -> None:
    draw, q = np.random.default_rng(7), _core.scalar_order(group)
    size = 2 << variables
    for trial in range(6):
        for count, factor in ((4, None), (2, 0), (2, q - 1), (2, scalars(draw, 1, q)[0])):
            spare = 3 * (trial % 2)
            values = [[q - 1] * size if trial == 5 else scalars(draw, size, q) for _ in range(count)]
            point = [1] * variables if trial == 4 else scalars(draw, variables, q)
            tables = load(group, [v for table in values for v in table + [7] * spare])
            found = _core.fraction_round(group, tables, point, factor)
            assert found == twin.fraction_round(values, point, factor, q)


@pytest.mark.parametrize("variables", range(1, 7))
def test_fraction_tree(group: int, variables: int) -> None:
    """Every layer from the leaves where it can be, and from the layer below."""
    draw, q = np.random.default_rng(8), _core.scalar_order(group)
    leaves = 1 << variables
    for kind in KINDS:
        for d in lengths(draw, leaves):
            x = vector(draw, d, kind)
            shift = scalars(draw, 1, q)[0]
            below: np.ndarray | None = None
            for k in reversed(range(variables)):
                wanted = twin.layer(x.tolist(), variables, k, shift, q)
                out = load(group, [5] * (2 << k))
                if variables - k <= 3:
                    _core.fraction_layer(group, out, x, variables, k, shift)
                    assert store(group, out) == wanted
                if below is not None:
                    out = load(group, [5] * (2 << k))
                    _core.fraction_up(group, out, below, k)
                    assert store(group, out) == wanted
                below = out
    for low in (0, -(1 << 30), (1 << 30) - 1):
        x = np.full(leaves, low)
        out = load(group, [5, 5])
        if variables <= 3:
            _core.fraction_layer(group, out, x, variables, 0, -low % q)  # every denominator is 0
            assert store(group, out) == [int(leaves == 1), 0]


@pytest.mark.parametrize("size", [1, 2, 8])
def test_fraction_mix(group: int, size: int) -> None:
    draw, q = np.random.default_rng(9), _core.scalar_order(group)
    for factor in (0, 1, q - 1, *scalars(draw, 3, q)):
        values = scalars(draw, 4 * size, q)
        tables = load(group, values)
        _core.fraction_mix(group, tables, factor)
        assert store(group, tables) == twin.mix(values, factor, q)


@pytest.mark.parametrize("variables", range(2, 7))
def test_first_rounds(group: int, variables: int) -> None:
    """The first round of a layer's sumcheck from the entries, and the tables after it."""
    draw, q = np.random.default_rng(10), _core.scalar_order(group)
    for k in range(max(1, variables - 2), variables):
        for kind in KINDS:
            for d in lengths(draw, 1 << variables):
                x = vector(draw, d, kind)
                shift, factor, s = scalars(draw, 3, q)
                point = scalars(draw, k - 1, q)
                tables = twin.children(x.tolist(), variables, k, shift, factor, q)
                leaves = k + 1 == variables
                wanted = twin.fraction_round(tables, point, factor if leaves else None, q)
                assert _core.fraction_first_round(group, x, variables, k, shift, factor, point) == wanted
                out = load(group, [5] * ((2 if leaves else 4) << (k - 1)))
                _core.fraction_first_fold(group, out, x, variables, k, shift, factor, s)
                assert store(group, out) == [v for table in tables for v in twin.fold(table, s, q)]


@pytest.mark.parametrize("variables", SIZES)
def test_reciprocals(group: int, variables: int) -> None:
    draw, q = np.random.default_rng(11), _core.scalar_order(group)
    n = 1 << variables
    for count in {0, 1, n // 2, n // 2 + 1, n - 1, n}:
        for alpha in (1, q - n, q // 2, *(v for v in scalars(draw, 6, q) if 0 < v < q - n)):
            weights = twin.reciprocals(count, alpha, q)
            assert store(group, _core.reciprocals(group, count, n, alpha)) == weights + [0] * (n - count)
            for point in (scalars(draw, variables, q), [0] * variables, [1] * variables):
                wanted = sum(twin.eq(point, t, q) * w for t, w in enumerate(weights)) % q
                assert _core.reciprocal_sum(group, count, alpha, point) == wanted
        for pole in {0, count // 2, count - 1} if count else ():
            with pytest.raises(ParameterError, match="denominator is 0"):
                _core.reciprocals(group, count, n, -pole % q)
            for point in (scalars(draw, variables, q), [0] * variables):  # a weight of 0 does not hide the pole
                with pytest.raises(ParameterError, match="denominator is 0"):
                    _core.reciprocal_sum(group, count, -pole % q, point)
        if count:
            store(group, _core.reciprocals(group, count, n, q - count))  # a pole just beyond the end is none


def test_many_reciprocals(group: int) -> None:
    """Enough for tables of differences: whole blocks, rows of them, what is left of a block and of a row, poles."""
    draw, q = np.random.default_rng(12), _core.scalar_order(group)
    sizes = ((11, 1055), (11, 1056), (11, 2048), (12, 1120), (12, 4095), (14, 4192), (15, 5000), (16, 65535))
    for variables, count in sizes:
        point, alpha = scalars(draw, variables, q), next(v for v in scalars(draw, 9, q) if 0 < v < q - count)
        terms = zip(twin.eq_table(point, 0, 0, 1, q), twin.reciprocals(count, alpha, q), strict=False)
        assert _core.reciprocal_sum(group, count, alpha, point) == sum(e * w for e, w in terms) % q
        for pole in (0, 31, 32, 1023, 1054, count // 32 * 32 - 1, count - 1):
            with pytest.raises(ParameterError, match="denominator is 0"):
                _core.reciprocal_sum(group, count, -pole % q, point)
        _core.reciprocal_sum(group, count, q - count, point)  # a pole just beyond the end is none


def test_misuse(group: int) -> None:
    q, x, t = _core.scalar_order(group), np.zeros(8, np.int64), load(group, [1] * 8)
    refused = [
        lambda: _core.table_scale(group, t, q),
        lambda: _core.table_fold(group, t, 1, 4, q),
        lambda: _core.table_fold(group, t, 1, 5, 1),
        lambda: _core.table_fold(group, t, 3, 1, 1),
        lambda: _core.table_fold(group, t, 0, 1, 1),
        lambda: _core.table_fold(group, t, 1, 0, 1),
        lambda: _core.table_eq(group, [q], 0, 1, 1),
        lambda: _core.table_eq(group, [1], 0, q, 1),
        lambda: _core.table_eq(group, [1], 0, 1, q),
        lambda: _core.table_eq(group, [1] * 33, 0, 1, 1),
        lambda: _core.table_eq(group, [-1], 0, 1, 1),
        lambda: _core.table_eq(group, [1 << 256], 0, 1, 1),
        lambda: _core.table_combine(group, t, [1] * 9, x, added=False),
        lambda: _core.table_combine(group, t, [q], x, added=False),
        lambda: _core.eq_dot(group, [1], x, 0, 3),
        lambda: _core.eq_dot(group, [1], x, 2, 1),
        lambda: _core.eq_dot(group, [1], x, -1, 1),
        lambda: _core.eq_dot(group, [q], x, 0, 1),
        lambda: _core.product_round(group, t, t, 5),
        lambda: _core.product_round(group, t, t[:6], 4),
        lambda: _core.fraction_layer(group, t[:2], x, 4, 0, 1),
        lambda: _core.fraction_layer(group, t, x, 2, 2, 1),
        lambda: _core.fraction_layer(group, t[:4], x, 2, 1, q),
        lambda: _core.fraction_layer(group, t[:4], x, 33, 31, 1),
        lambda: _core.fraction_mix(group, t[:6], 1),
        lambda: _core.fraction_mix(group, t, q),
        lambda: _core.fraction_round(group, t, [1, 1]),
        lambda: _core.fraction_round(group, t, [q]),
        lambda: _core.fraction_round(group, t, [1], q),
        lambda: _core.fraction_round(group, t[:6], [1]),
        lambda: _core.fraction_first_round(group, x, 3, 0, 1, 1, []),
        lambda: _core.fraction_first_round(group, x, 3, 3, 1, 1, [1, 1]),
        lambda: _core.fraction_first_round(group, x, 3, 2, 1, 1, []),
        lambda: _core.fraction_first_round(group, x, 5, 1, 1, 1, []),
        lambda: _core.fraction_first_round(group, x, 3, 2, q, 1, [1]),
        lambda: _core.fraction_first_round(group, x, 3, 2, 1, q, [1]),
        lambda: _core.fraction_first_round(group, x, 3, 2, 1, 1, [q]),
        lambda: _core.fraction_first_fold(group, t[:4], x, 3, 2, 1, 1, q),
        lambda: _core.reciprocals(group, 3, 2, 1),
        lambda: _core.reciprocals(group, 1, 2, q),
        lambda: _core.reciprocal_sum(group, 3, 1, [1]),
        lambda: _core.reciprocal_sum(group, 1, q, [1]),
        lambda: _core.reciprocal_sum(group, 1, 1, [q]),
        lambda: _core.table_scale(7, t, 1),
        lambda: _core.dot_i64(7, x, x),
    ]
    for call in refused:
        with pytest.raises(ParameterError):
            call()
    untyped = [
        lambda: _core.dot_i64(group, x.astype(np.int32), x),
        lambda: _core.dot_i64(group, x[::2], x[:4]),
        lambda: _core.dot_i64(group, x, x[:4]),
        lambda: _core.table_dot(group, t, x[:7]),
        lambda: _core.table_store(group, t[:, :3]),
        lambda: _core.table_store(group, t.astype(np.int64)),
        lambda: _core.fraction_layer(group, t[:3], x, 2, 1, 1),
        lambda: _core.fraction_up(group, t[:4], t[:6], 1),
        lambda: _core.fraction_first_fold(group, t, x, 3, 2, 1, 1, 1),
    ]
    for call in untyped:
        with pytest.raises((BufferTypeError, ParameterError)):
            call()
    high = np.full((1, 32), 255, np.uint8)
    with pytest.raises(ParameterError, match="not below"):
        _core.table_load(group, high)
