"""Products of shares, Gram matrices, bit planes and XOR masks, against Python integers and NumPy, at every level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from tests.core.streams import reference_stream

PER_LEVEL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
M64, M128 = 1 << 64, 1 << 128


def words(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Uniform words, among them some whose halves are all ones or zeros."""
    out = rng.integers(0, M64, shape, dtype=np.uint64)
    edges = np.array([0, 1, M64 - 1, 2**32 - 1, M64 - 2**32, 2**63], np.uint64)
    return np.where(rng.random(shape) < 0.2, rng.choice(edges, shape), out)


def ints(a: np.ndarray) -> np.ndarray:
    return a.astype(object)


def from_ints(a: np.ndarray) -> np.ndarray:
    return (a % M64).astype(np.uint64)


def wide(a: np.ndarray) -> np.ndarray:
    """(..., 2) words as Python integers."""
    return ints(a[..., 0]) + (ints(a[..., 1]) << 64)


# ---- matrices ----


@PER_LEVEL
@given(n=st.integers(0, 10), k=st.integers(0, 20), m=st.integers(0, 13), salt=st.integers(0, 2**32))
def test_matmul_is_the_product_of_integers(at_level, n, k, m, salt):
    rng = np.random.default_rng(salt)
    a, b, start = words(rng, n, k), words(rng, k, m), words(rng, n, m)
    want = ints(a).dot(ints(b)) if k else np.zeros((n, m), object)
    np.testing.assert_array_equal(_core.ring_matmul(a, b), from_ints(want))
    out = start.copy()
    assert _core.ring_matmul(a, b, out=out, accumulate=True) is out
    np.testing.assert_array_equal(out, from_ints(want + ints(start)))
    assert _core.ring_matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, from_ints(want))


@pytest.mark.parametrize(
    ("n", "k", "m"),
    [
        (70, 513, 43),
        (4, 256, 8),
        (1, 2000, 1),
        (129, 3, 130),
        (2, 300, 3),
        (512, 514, 520),
        (30, 9, 1100),
        (1, 10, 1030),
    ],
)
def test_matmul_over_blocks(at_level, n, k, m):
    """NumPy's product of unsigned words wraps, too, and shares no line with the core."""
    rng = np.random.default_rng(n)
    a, b = words(rng, n, k), words(rng, k, m)
    np.testing.assert_array_equal(_core.ring_matmul(a, b), a @ b)


@PER_LEVEL
@given(n=st.integers(0, 9), d=st.integers(0, 20), salt=st.integers(0, 2**32))
def test_gram(at_level, n, d, salt):
    rng = np.random.default_rng(salt)
    x, y = words(rng, n, d), words(rng, n, d)
    a, b = (ints(v) if d else np.zeros((n, 1), object) for v in (x, y))
    np.testing.assert_array_equal(_core.ring_gram(x), from_ints(a.dot(a.T)))
    p, q = (int(v) for v in words(rng, 2))
    z = p * a + q * b
    np.testing.assert_array_equal(_core.ring_gram(x, p, y, q - M64), from_ints(z.dot(z.T)))
    np.testing.assert_array_equal(_core.ring_gram(x, -2), from_ints(4 * a.dot(a.T)))
    np.testing.assert_array_equal(_core.rep3_gram(x, y), from_ints(a.dot(a.T) + a.dot(b.T) + b.dot(a.T)))
    np.testing.assert_array_equal(_core.cross_gram(x, y), from_ints(a.dot(b.T) + b.dot(a.T)))


@pytest.mark.parametrize(("n", "d"), [(70, 600), (20, 1025), (131, 40)])
def test_gram_over_blocks_and_parties(at_level, n, d):
    """The terms of three parties add up to the Gram matrix of the sum; so do those of four components in pairs."""
    rng = np.random.default_rng(d)
    x = [words(rng, n, d) for _ in range(4)]
    three, four = x[0] + x[1] + x[2], x[0] + x[1] + x[2] + x[3]
    out = np.empty((n, n), np.uint64)
    total = np.zeros((n, n), np.uint64)
    for i in range(3):
        total += _core.rep3_gram(x[i], x[(i + 1) % 3], out=out)
    np.testing.assert_array_equal(total, three @ three.T)
    total = np.zeros((n, n), np.uint64)
    for i in range(4):
        total += _core.ring_gram(x[i])
        for j in range(i):
            total += _core.cross_gram(x[i], x[j])
    np.testing.assert_array_equal(total, four @ four.T)


# ---- word by word ----

PRODUCTS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "rep3_product": (_core.rep3_product, lambda a, b, c, d: a * (c + d) + b * c, np.add),
    "rep3_and": (_core.rep3_and, lambda a, b, c, d: (a & (c ^ d)) ^ (b & c), np.bitwise_xor),
    "cross_product": (_core.cross_product, lambda a, b, c, d: a * d + c * b, np.add),
    "cross_and": (_core.cross_and, lambda a, b, c, d: (a & d) ^ (c & b), np.bitwise_xor),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (64,), (1001,), (5, 3), (2, 3, 4)])
def test_word_by_word(at_level, name, shape):
    run, plain, add = PRODUCTS[name]
    rng = np.random.default_rng(len(shape))
    inputs, start = [words(rng, *shape) for _ in range(4)], words(rng, *shape)
    want = plain(*inputs)
    np.testing.assert_array_equal(run(*inputs), want)
    out = start.copy()
    assert run(*inputs, out=out, accumulate=True) is out
    np.testing.assert_array_equal(out, add(start, want))
    run(*inputs, out=out)
    np.testing.assert_array_equal(out, want)
    one = inputs[0]
    np.testing.assert_array_equal(run(one, one, one, one), plain(one, one, one, one))


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (64,), (1001,), (5, 3)])
@pytest.mark.parametrize("factors", [(1, 0), (1, -1), (2, 1), (1, 2), (-2, 0), (M64, -M64), (3**40, -(5**27))])
def test_combine(at_level, shape, factors):
    rng = np.random.default_rng(len(shape))
    x, y = words(rng, *shape), words(rng, *shape)
    want = from_ints(factors[0] * ints(x) + factors[1] * ints(y))
    np.testing.assert_array_equal(_core.ring_combine(x, factors[0], y, factors[1]), want)
    out = np.empty_like(x)
    assert _core.ring_combine(x, factors[0], y, factors[1], out=out) is out
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(_core.ring_combine(x, factors[0]), from_ints(factors[0] * ints(x)))


def test_terms_of_the_parties_add_up(at_level):
    rng = np.random.default_rng(4)
    x, y = words(rng, 4, 500), words(rng, 4, 500)
    three = [_core.rep3_product(x[i], x[(i + 1) % 3], y[i], y[(i + 1) % 3]) for i in range(3)]
    np.testing.assert_array_equal(sum(three), (x[0] + x[1] + x[2]) * (y[0] + y[1] + y[2]))
    bits = np.zeros(500, np.uint64)
    for i in range(3):
        _core.rep3_and(x[i], x[(i + 1) % 3], y[i], y[(i + 1) % 3], out=bits, accumulate=True)
    np.testing.assert_array_equal(bits, (x[0] ^ x[1] ^ x[2]) & (y[0] ^ y[1] ^ y[2]))
    total, bits = (x * y).sum(axis=0), np.bitwise_xor.reduce(x & y)
    for i in range(4):
        for j in range(i):
            _core.cross_product(x[i], y[i], x[j], y[j], out=total, accumulate=True)
            _core.cross_and(x[i], y[i], x[j], y[j], out=bits, accumulate=True)
    np.testing.assert_array_equal(total, x.sum(axis=0) * y.sum(axis=0))
    np.testing.assert_array_equal(bits, np.bitwise_xor.reduce(x) & np.bitwise_xor.reduce(y))


# ---- bit planes ----


@PER_LEVEL
@given(n=st.integers(0, 700), bits=st.integers(1, 64), salt=st.integers(0, 2**32))
def test_planes(at_level, n, bits, salt):
    values = words(np.random.default_rng(salt), n)
    planes = _core.to_planes(values, bits)
    spread = (values[None, :] >> np.arange(bits, dtype=np.uint64)[:, None]) & np.uint64(1)
    padded = np.zeros((bits, -(-n // 64) * 64), np.uint8)
    padded[:, :n] = spread
    packed = np.packbits(padded, axis=1, bitorder="little")
    np.testing.assert_array_equal(planes, np.ascontiguousarray(packed).view("<u8").reshape(planes.shape))
    kept = values & np.uint64((1 << bits) - 1)
    np.testing.assert_array_equal(_core.from_planes(planes, n), kept)
    out = np.empty(n, np.uint64)
    assert _core.from_planes(_core.to_planes(values, bits, out=planes), n, out=out) is out
    np.testing.assert_array_equal(out, kept)


def test_planes_of_one_value_at_each_place(at_level):
    for i in range(130):
        values = np.zeros(130, np.uint64)
        values[i] = 1 << (i % 64)
        planes = _core.to_planes(values)
        assert planes.shape == (64, 3)
        assert planes[i % 64, i // 64] == 1 << (i % 64)
        assert np.count_nonzero(planes) == 1


@PER_LEVEL
@given(n=st.integers(0, 300), rows=st.integers(0, 9), salt=st.integers(0, 2**32))
def test_sums_of_products_of_planes(at_level, n, rows, salt):
    rng = np.random.default_rng(salt)
    x, y = words(rng, 4, n), words(rng, 6, n)
    counts = rng.integers(0, 5, rows)
    ends = np.cumsum(counts).astype(np.uint32)
    left, right = (rng.integers(0, planes, counts.sum()).astype(np.uint32) for planes in (4, 6))
    found = _core.planes_dot(x, y, ends, left, right)
    assert found.shape == (rows, n)
    for row, (end, count) in enumerate(zip(ends, counts, strict=True)):
        terms = range(end - count, end)
        want = np.bitwise_xor.reduce([np.zeros(n, np.uint64), *(x[left[k]] & y[right[k]] for k in terms)])
        np.testing.assert_array_equal(found[row], want)
    assert _core.planes_dot(x, y, ends, left, right, out=found) is found


def test_planes_that_there_are_not_are_refused(at_level):
    x = np.zeros((2, 3), np.uint64)
    index = np.array([0, 1], np.uint32)
    for ends, left, right in ((index, index + 1, index), (index, index, index + 1), (index[:1], index, index)):
        with pytest.raises(ParameterError):
            _core.planes_dot(x, x, np.cumsum(np.ones_like(ends), dtype=np.uint32), left, right)
    with pytest.raises(ParameterError):
        _core.planes_dot(x, x, np.array([2, 1, 2], np.uint32), index, index)
    with pytest.raises(BufferTypeError):
        _core.planes_dot(x, x, index, index.astype(np.int64), index)
    with pytest.raises(BufferTypeError):
        _core.planes_dot(x, x, np.array([1, 2], np.uint32), index, index, out=x)


def test_what_lies_beyond_the_values_is_not_looked_at(at_level):
    planes = np.full((3, 2), M64 - 1, np.uint64)
    np.testing.assert_array_equal(_core.from_planes(planes, 65), np.full(65, 7, np.uint64))


# ---- XOR masks ----


@pytest.mark.parametrize("cipher", [_core.AES128_CTR, _core.CHACHA20])
@PER_LEVEL
@given(n=st.integers(0, 1500), count=st.integers(0, 5), offset=st.integers(0, 700), salt=st.integers(0, 2**32))
def test_mask_xor_takes_the_words_of_mask_add(at_level, cipher, n, count, offset, salt):
    rng = np.random.default_rng(salt)
    seeds = rng.integers(0, 256, (count, _core.SEED_BYTES[cipher]), dtype=np.uint8)
    acc = words(rng, n)
    want = acc.copy()
    for i in range(count):
        want ^= np.frombuffer(reference_stream(seeds[i].tobytes(), 8 * (offset + n), cipher), "<u8")[offset:]
    _core.mask_xor(acc, seeds, offset=offset, cipher=cipher)
    np.testing.assert_array_equal(acc, want)
    if count:
        xored, added = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
        _core.mask_xor(xored, seeds[:1], offset=offset, cipher=cipher)
        _core.mask_add(added, seeds[:1], np.zeros(1, bool), offset=offset, cipher=cipher)
        np.testing.assert_array_equal(xored, added)


def test_mask_xor_twice_is_nothing_over_many_seeds_and_tiles(at_level):
    rng = np.random.default_rng(9)
    seeds, acc = rng.integers(0, 256, (70, 32), dtype=np.uint8), words(rng, 9001)
    before = acc.copy()
    _core.mask_xor(acc, seeds, offset=3)
    assert not np.array_equal(acc, before)
    _core.mask_xor(acc[:4000], seeds, offset=3)
    _core.mask_xor(acc[4000:], seeds, offset=4003)
    np.testing.assert_array_equal(acc, before)


# ---- modulo 2^128 ----


@given(n=st.integers(0, 6), k=st.integers(0, 7), m=st.integers(0, 6), salt=st.integers(0, 2**32))
def test_ring128(n, k, m, salt):
    rng = np.random.default_rng(salt)
    a, b, start = words(rng, n, k, 2), words(rng, k, m, 2), words(rng, n, m, 2)
    want = wide(a).dot(wide(b)) if k else np.zeros((n, m), object)
    np.testing.assert_array_equal(wide(_core.ring128_matmul(a, b)), want % M128)
    out = start.copy()
    assert _core.ring128_matmul(a, b, out=out, accumulate=True) is out
    np.testing.assert_array_equal(wide(out), (want + wide(start)) % M128)
    x, y = words(rng, n, 2), words(rng, n, 2)
    np.testing.assert_array_equal(wide(_core.ring128_mul(x, y)), wide(x) * wide(y) % M128)
    scale = int(rng.integers(0, M64, dtype=np.uint64)) << 60
    for factor in (scale, -scale, 1, -1, 0, M128, -M128):
        acc = x.copy()
        _core.ring128_axpy(acc, y, factor)
        np.testing.assert_array_equal(wide(acc), (wide(x) + factor * wide(y)) % M128)
    _core.ring128_axpy(x, x, -1)
    assert not x.any()


def test_ring128_matmul_over_blocks():
    rng = np.random.default_rng(3)
    a, b = words(rng, 3, 600, 2), words(rng, 600, 5, 2)
    np.testing.assert_array_equal(wide(_core.ring128_matmul(a, b)), wide(a).dot(wide(b)) % M128)


# ---- refusals ----

A, B = np.ones((3, 4), np.uint64), np.ones((4, 5), np.uint64)
V = np.ones(8, np.uint64)
W = np.ones((4, 2), np.uint64)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: _core.ring_matmul(A, A), ParameterError, "b has length 3 on axis 0"),
        (lambda: _core.ring_matmul(A.astype(np.int64), B), BufferTypeError, "dtype int64"),
        (lambda: _core.ring_matmul(A, np.asfortranarray(B)), BufferTypeError, "C-contiguous"),
        (lambda: _core.ring_matmul(A[0], B), BufferTypeError, "1 dimensions"),
        (lambda: _core.ring_matmul(A, B, accumulate=True), ParameterError, "no out"),
        (lambda: _core.ring_matmul(A, B, out=np.ones((3, 4), np.uint64)), ParameterError, "out has length"),
        (lambda: _core.ring_matmul(A, B, out=np.ones((3, 5), np.uint32)), BufferTypeError, "uint32"),
        (lambda: _core.ring_gram(V), BufferTypeError, "1 dimensions"),
        (lambda: _core.rep3_gram(A, B), ParameterError, "x2 has length"),
        (lambda: _core.cross_gram(A, A[:2]), ParameterError, "xj has length"),
        (lambda: _core.ring_gram(A, out=B), ParameterError, "out has length"),
        (lambda: _core.ring_gram(A, 1, A[:2], 1), ParameterError, "y has length"),
        (lambda: _core.ring_gram(A, 1, None, 1), ParameterError, "no y"),
        (lambda: _core.ring_combine(V, 2**64 + 1), ParameterError, "a factor is"),
        (lambda: _core.ring_combine(V, 1, None, 1), ParameterError, "no y"),
        (lambda: _core.ring_combine(V, 1, V[:7], 1), ParameterError, "y has length"),
        (lambda: _core.ring_combine(V[::2], 1), BufferTypeError, "C-contiguous"),
        (lambda: _core.rep3_product(V, V, V, V[:7]), ParameterError, "y2 has length"),
        (lambda: _core.rep3_product(V, V, V, W), BufferTypeError, "y2 has 2 dimensions"),
        (lambda: _core.rep3_and([1], V, V, V), BufferTypeError, "is a list"),
        (lambda: _core.cross_product(V, V, V, V[::2]), BufferTypeError, "C-contiguous"),
        (lambda: _core.cross_and(V, V, V, V, accumulate=True), ParameterError, "no out"),
        (lambda: _core.to_planes(V, 0), ParameterError, "bits is 0"),
        (lambda: _core.to_planes(V, 65), ParameterError, "bits is 65"),
        (lambda: _core.to_planes(V, 2, out=np.ones((2, 2), np.uint64)), ParameterError, "out has length"),
        (lambda: _core.from_planes(W, 64), ParameterError, "planes has length 2 on axis 1"),
        (lambda: _core.from_planes(np.ones((65, 1), np.uint64), 64), ParameterError, "number of planes is 65"),
        (lambda: _core.from_planes(np.ones((0, 1), np.uint64), 64), ParameterError, "number of planes is 0"),
        (lambda: _core.from_planes(W, -1), ParameterError, "n is -1"),
        (lambda: _core.mask_xor(np.ones(4, np.uint32), np.zeros((1, 32), np.uint8)), BufferTypeError, "uint32"),
        (lambda: _core.mask_xor(V, np.zeros((1, 31), np.uint8)), ParameterError, "seeds has length 31"),
        (lambda: _core.mask_xor(V, np.zeros((1, 32), np.uint8), cipher=9), ParameterError, "cipher is 9"),
        (lambda: _core.mask_xor(V, np.zeros((1, 32), np.uint8), offset=2**59 - 7), ParameterError, "offset"),
        (lambda: _core.ring128_mul(W, V), BufferTypeError, "b has 1 dimensions"),
        (lambda: _core.ring128_mul(W, np.ones((4, 3), np.uint64)), ParameterError, "b has length 3"),
        (lambda: _core.ring128_axpy(W, W.copy(), 2**128 + 1), ParameterError, "scale"),
        (lambda: _core.ring128_axpy(W[:3], W[1:]), BufferTypeError, "overlap"),
        (lambda: _core.ring128_matmul(A, B), BufferTypeError, "2 dimensions"),
    ],
)  # fmt: skip
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
    for array in (A, B, V, W):
        assert (array == 1).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: _core.ring_matmul(x, x.copy(), out=x),
        lambda x: _core.ring_gram(x, out=x),
        lambda x: _core.ring_gram(x.copy(), 1, x, 1, out=x),
        lambda x: _core.ring_combine(x, 2, out=x),
        lambda x: _core.rep3_gram(x, x.copy(), out=x),
        lambda x: _core.rep3_product(x, x, x, x, out=x),
        lambda x: _core.cross_and(x.copy(), x.copy(), x.copy(), x[:], out=x),
        lambda x: _core.ring128_mul(x.reshape(8, 2), np.ones((8, 2), np.uint64), out=x.reshape(8, 2)),
    ],
)
def test_out_is_no_input(call):
    x = np.arange(16, dtype=np.uint64).reshape(4, 4)
    before = x.copy()
    with pytest.raises(BufferTypeError, match="overlap"):
        call(x)
    np.testing.assert_array_equal(x, before)


def test_out_is_no_part_of_planes_and_is_writable():
    x = np.arange(64, dtype=np.uint64)
    with pytest.raises(BufferTypeError, match="overlap"):
        _core.to_planes(x, 1, out=x[:1].reshape(1, 1))
    with pytest.raises(BufferTypeError, match="overlap"):
        _core.from_planes(x[:1].reshape(1, 1), 64, out=x)
    frozen = np.zeros(64, np.uint64)
    frozen.flags.writeable = False
    with pytest.raises(BufferTypeError, match="read-only"):
        _core.rep3_product(x, x, x, x, out=frozen)
