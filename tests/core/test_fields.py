"""Field vectors against Python integers (gmpy2): edge values, random vectors, a million elements per operation."""

from __future__ import annotations

import gmpy2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError

FIELDS = {_core.M61: 2**61 - 1, _core.GOLDILOCKS: 2**64 - 2**32 + 1}
BINARY = {
    _core.field_add: lambda a, b: a + b,
    _core.field_sub: lambda a, b: a - b,
    _core.field_mul: lambda a, b: a * b,
}
MILLION = 1_000_000


def edges(p: int) -> list[int]:
    near = [2**k + e for k in (16, 30, 31, 32, 52, 60, 61, 63) for e in (-1, 0, 1)]
    return sorted({0, 1, 2, p // 2, p // 2 + 1, p - 1, p - 2, *(v for v in near if v < p)})


def vector(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint64)


def random_vector(p: int, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, p, n, dtype=np.uint64)


@pytest.mark.parametrize(("field", "p"), FIELDS.items())
def test_moduli_are_the_primes_they_are_named_after(field, p):
    assert {_core.M61: _core.M61_P, _core.GOLDILOCKS: _core.GOLDILOCKS_P}[field] == p
    assert gmpy2.is_prime(p, 40)


@pytest.mark.parametrize(("field", "p"), FIELDS.items())
@pytest.mark.parametrize(("run", "law"), BINARY.items())
def test_every_pair_of_edge_values(at_level, field, p, run, law):
    pairs = [(a, b) for a in edges(p) for b in edges(p)]
    a, b = vector([x for x, _ in pairs]), vector([y for _, y in pairs])
    assert run(field, a, b).tolist() == [law(x, y) % p for x, y in pairs]


@pytest.mark.parametrize(("field", "p"), FIELDS.items())
@pytest.mark.parametrize(("run", "law"), BINARY.items())
def test_a_million_random_pairs(field, p, run, law):
    a, b = random_vector(p, MILLION, 1), random_vector(p, MILLION, 2)
    want = law(a.astype(object), b.astype(object)) % p
    assert np.array_equal(run(field, a, b), want.astype(np.uint64))


@pytest.mark.parametrize(("field", "p"), FIELDS.items())
def test_a_million_axpy_neg_dot(field, p):
    x, y = random_vector(p, MILLION, 3), random_vector(p, MILLION, 4)
    wide_x, wide_y = x.astype(object), y.astype(object)
    for alpha in (0, 1, p - 1, 0x0123456789ABCDEF % p):
        if alpha in (p - 1, 0x0123456789ABCDEF % p):
            assert np.array_equal(
                _core.field_axpy(field, alpha, x, y), ((alpha * wide_x + wide_y) % p).astype(np.uint64)
            )
        else:
            assert np.array_equal(_core.field_axpy(field, alpha, x, y), _core.field_add(field, x * np.uint64(alpha), y))
    assert np.array_equal(_core.field_neg(field, x), (-wide_x % p).astype(np.uint64))
    assert _core.field_dot(field, x, y) == int(wide_x @ wide_y) % p


@pytest.mark.parametrize(("field", "p"), FIELDS.items())
def test_a_million_inverses(field, p):
    a = random_vector(p - 1, MILLION, 5) + np.uint64(1)
    assert (_core.field_mul(field, a, _core.field_inv(field, a)) == 1).all()
    some = a[:2000].tolist()
    assert _core.field_inv(field, a[:2000]).tolist() == [int(gmpy2.invert(x, p)) for x in some]


@pytest.mark.parametrize(("field", "p"), FIELDS.items())
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, MILLION])
def test_the_longest_sums_do_not_wrap(field, p, n):
    top = np.full(n, p - 1, np.uint64)
    assert _core.field_dot(field, top, top) == n * (p - 1) ** 2 % p


@given(data=st.data(), field=st.sampled_from(sorted(FIELDS)))
def test_field_laws(data, field):
    p = FIELDS[field]
    element = st.integers(0, p - 1) | st.sampled_from(edges(p))
    n = data.draw(st.integers(0, 40))
    a, b, c = (vector(data.draw(st.lists(element, min_size=n, max_size=n))) for _ in range(3))
    add, sub, mul = _core.field_add, _core.field_sub, _core.field_mul
    assert np.array_equal(mul(field, a, add(field, b, c)), add(field, mul(field, a, b), mul(field, a, c)))
    assert np.array_equal(sub(field, add(field, a, b), b), a)
    assert not add(field, a, _core.field_neg(field, a)).any()
    alpha = data.draw(element)
    assert np.array_equal(
        _core.field_axpy(field, alpha, a, b), add(field, mul(field, np.full(n, alpha, np.uint64), a), b)
    )


@pytest.mark.parametrize(("field", "p"), FIELDS.items())
@pytest.mark.parametrize("place", [0, 3, 4, 7, 8, 100])
def test_an_element_that_is_not_canonical_is_refused_wherever_it_is(at_level, field, p, place):
    good = random_vector(p, 101, 6)
    for bad_value in (p, p + 1, 2**64 - 1):
        bad = good.copy()
        bad[place] = bad_value
        for run in BINARY:
            with pytest.raises(ParameterError, match="not below the modulus"):
                run(field, bad, good)
            with pytest.raises(ParameterError, match="not below the modulus"):
                run(field, good, bad)
        for call in (
            lambda bad=bad: _core.field_neg(field, bad),
            lambda bad=bad: _core.field_inv(field, bad),
            lambda bad=bad: _core.field_dot(field, good, bad),
            lambda bad=bad: _core.field_axpy(field, 1, good, bad),
        ):
            with pytest.raises(ParameterError, match="not below the modulus"):
                call()
    with pytest.raises(ParameterError, match="alpha"):
        _core.field_axpy(field, p, good, good)


@pytest.mark.parametrize("field", FIELDS)
def test_zero_has_no_inverse(field):
    with pytest.raises(ParameterError, match="holds 0"):
        _core.field_inv(field, vector([1, 2, 0]))


def test_wrong_arrays_and_fields_are_refused():
    a = vector([1, 2, 3])
    with pytest.raises(ParameterError, match="field is 3"):
        _core.field_add(3, a, a)
    with pytest.raises(BufferTypeError, match="dtype int64"):
        _core.field_add(_core.M61, a.astype(np.int64), a)
    with pytest.raises(BufferTypeError, match="contiguous"):
        _core.field_add(_core.M61, vector([1, 2, 3, 4, 5, 6])[::2], a)
    with pytest.raises(BufferTypeError, match="dimensions"):
        _core.field_add(_core.M61, a.reshape(1, 3), a)
    with pytest.raises(ParameterError, match="length 2"):
        _core.field_add(_core.M61, a, a[:2])
    with pytest.raises(BufferTypeError, match="list"):
        _core.field_neg(_core.M61, [1, 2])


def test_inputs_are_not_written_to():
    a = vector([1, 2, 3])
    a.setflags(write=False)
    for run in BINARY:
        run(_core.M61, a, a)
    _core.field_inv(_core.M61, a)
    assert a.tolist() == [1, 2, 3]
