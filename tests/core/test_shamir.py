"""Shamir in the core: against plain integers, at every level, at the edges of tiles and shortcuts; what it refuses."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError
from tests.reference import shamir as reference

M61_P = 2**61 - 1
FIELDS = {_core.M61: M61_P, _core.GOLDILOCKS: 2**64 - 2**32 + 1}
both_fields = pytest.mark.parametrize(("field", "p"), FIELDS.items())


def vector(values) -> np.ndarray:
    return np.array(list(values), np.uint64)


def random_vector(p: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, p, n, dtype=np.uint64)


def point_sets(n: int, p: int) -> dict[str, np.ndarray]:
    return {
        "default": vector(range(1, n + 1)),
        "symmetric": vector([(2 * i - n + 1) % p or 5 for i in range(n)] if n % 2 == 0 else range(7, 7 + 3 * n, 3)),
        "scattered": random_vector(p - 1, n, 9) + np.uint64(1),
    }


@both_fields
@pytest.mark.parametrize(
    ("n", "t", "d"), [(1, 1, 3), (2, 2, 1), (5, 1, 7), (5, 3, 9), (9, 4, 17), (12, 7, 5), (13, 13, 3)]
)
def test_shares_are_those_of_the_contract(at_level, field, p, n, t, d):
    secrets, seed = random_vector(p, d), os.urandom(32)
    secrets[: min(d, 3)] = [0, p - 1, 1][: min(d, 3)]
    for points in point_sets(n, p).values():
        shares = _core.shamir_share(field, secrets, points, t, seed)
        assert shares.tolist() == reference.share(secrets.tolist(), points.tolist(), t, seed, p)


@both_fields
@pytest.mark.parametrize("d", [1, 511, 512, 513, 1030])
@pytest.mark.parametrize(("n", "t"), [(100, 50), (101, 51), (40, 27), (7, 7)])
def test_every_level_gives_the_same_shares_and_secrets(field, p, n, t, d):
    secrets, seed, before = random_vector(p, d), bytes(range(32)), _core.level()
    for points in point_sets(n, p).values():
        results = []
        for level in _core.available_levels():
            _core.force_level(level)
            results.append(_core.shamir_share(field, secrets, points, t, seed))
            chosen = np.random.default_rng(1).permutation(n)[:t]
            assert np.array_equal(_core.shamir_combine(field, points[chosen], results[-1][chosen]), secrets)
            assert np.array_equal(
                _core.shamir_interpolate(field, points[chosen], results[-1][chosen], points), results[-1]
            )
        _core.force_level(before)
        assert all(np.array_equal(results[0], other) for other in results[1:])


def test_shares_that_no_cache_holds(at_level):
    """They are written past the caches; rows of odd length begin at every place in a line."""
    d, points = 700_003, vector(range(1, 4))
    assert 3 * 8 * d > 1 << 24
    secrets = random_vector(M61_P, d)
    out = np.full(3 * d + 2, M61_P, np.uint64)
    shares = _core.shamir_share(_core.M61, secrets, points, 2, bytes(32), out=out[1:-1].reshape(3, d))
    assert out[0] == out[-1] == M61_P
    for chosen in ([0, 1], [1, 2]):
        assert np.array_equal(_core.shamir_combine(_core.M61, points[chosen], shares[chosen]), secrets)


@given(data=st.data())
def test_any_threshold_of_any_points_give_the_secrets(data):
    field = data.draw(st.sampled_from(sorted(FIELDS)))
    p = FIELDS[field]
    points = data.draw(st.lists(st.integers(1, p - 1) | st.integers(1, 30), min_size=1, max_size=12, unique=True))
    t = data.draw(st.integers(1, len(points)))
    secrets = vector(data.draw(st.lists(st.integers(0, p - 1) | st.sampled_from([0, 1, p - 2, p - 1]), max_size=20)))
    shares = _core.shamir_share(field, secrets, vector(points), t, data.draw(st.binary(min_size=32, max_size=32)))
    chosen = data.draw(st.permutations(range(len(points))))[:t]
    xs = vector(points[i] for i in chosen)
    assert np.array_equal(_core.shamir_combine(field, xs, shares[chosen]), secrets)
    at = data.draw(st.integers(0, p - 1))
    values = _core.shamir_combine(field, xs, shares[chosen], at=at)
    assert values.tolist() == [
        reference.interpolate(xs.tolist(), shares[chosen, j].tolist(), at, p) for j in range(secrets.size)
    ]


@both_fields
def test_weights_are_lagranges(field, p):
    points, at = random_vector(p, 20, 3), vector([0, 1, p - 1, 12345])
    weights = _core.lagrange_weights(field, points, np.concatenate([at, points[:2]]))
    values = random_vector(p, 20, 4)
    got = [sum(int(w) * int(v) for w, v in zip(row, values, strict=True)) % p for row in weights]
    want = [reference.interpolate(points.tolist(), values.tolist(), int(x), p) for x in at]
    assert got == want + values[:2].tolist()


@both_fields
def test_a_million_shares_reconstruct(at_level, field, p):
    secrets = random_vector(p, 50_000)
    points = vector(range(1, 21))
    shares = _core.shamir_share(field, secrets, points, 7, os.urandom(32))
    for chosen in ([0, 1, 2, 3, 4, 5, 6], [19, 3, 11, 7, 8, 15, 0]):
        assert np.array_equal(_core.shamir_combine(field, points[chosen], shares[chosen]), secrets)


@both_fields
def test_a_thousand_parties(field, p):
    points, secrets = vector(range(1, 1001)), random_vector(p, 5)
    shares = _core.shamir_share(field, secrets, points, 667, os.urandom(32))
    assert np.array_equal(_core.shamir_combine(field, points[333:], shares[333:]), secrets)


def test_coefficients_may_be_zero():
    """Each coefficient is uniform including zero: over many sharings its low bits and its sign look like coins."""
    p, d, t = FIELDS[_core.M61], 20_000, 3
    secrets, points = np.zeros(d, np.uint64), vector([1, 2, 3, 4])
    shares = _core.shamir_share(_core.M61, secrets, points, t, bytes(range(32)))
    rows = [reference.coefficients([1, 2, 3], shares[:3, j].tolist(), p) for j in range(d)]
    for k in range(1, t):
        column = [row[k] for row in rows]
        for predicate in (lambda c: c & 1, lambda c: c > p // 2, lambda c: c >> 30 & 1):
            assert abs(sum(map(bool, map(predicate, column))) - d / 2) < 6 * (d / 4) ** 0.5
        assert sum(c % 64 == 0 for c in column) > 0.7 * d / 64  # a coefficient that skipped values would show here
    assert all(row[0] == 0 for row in rows)


def test_fewer_shares_than_the_threshold_say_nothing():
    """Any t - 1 shares fit every secret with exactly one polynomial; and shares of 0 and of 1 are distributed alike."""
    d, points = 4000, vector([1, 2, 3])
    ones = [
        _core.shamir_share(_core.M61, np.full(d, s, np.uint64), points, 2, bytes([s]) * 32)[2] >> np.uint64(60)
        for s in (0, 1)
    ]
    assert abs(int(ones[0].sum()) - int(ones[1].sum())) < 6 * (d / 2) ** 0.5


@both_fields
@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_x_zero_is_refused(field, p, threshold):
    for points in ([0, 1, 2], [1, 2, 0], [p, 1, 2]):
        with pytest.raises(ParameterError, match="holds 0"):
            _core.shamir_share(field, vector([1]), vector(points), threshold, bytes(32))
        with pytest.raises(ParameterError, match="holds 0"):
            _core.shamir_combine(field, vector(points), np.ones((3, 1), np.uint64))


@both_fields
def test_duplicate_x_is_refused_also_modulo_p(field, p):
    for points in ([1, 2, 1], [5, 5, 5], [1, p + 1, 2]):
        with pytest.raises(ParameterError, match="two points are equal"):
            _core.shamir_share(field, vector([1]), vector(points), 2, bytes(32))
        with pytest.raises(ParameterError, match="two points are equal"):
            _core.shamir_combine(field, vector(points), np.ones((3, 1), np.uint64))


@both_fields
def test_what_is_not_canonical_is_refused(at_level, field, p):
    good = random_vector(p, 600)
    for place in (0, 7, 599):
        bad = good.copy()
        bad[place] = p
        with pytest.raises(ParameterError, match="not below the modulus"):
            _core.shamir_share(field, bad, vector([1, 2]), 2, bytes(32))
        with pytest.raises(ParameterError, match="not below the modulus"):
            _core.shamir_combine(field, vector([1, 2]), np.stack([good, bad]))
    with pytest.raises(ParameterError, match="not below the modulus"):
        _core.shamir_share(field, good, vector([1, p + 2]), 2, bytes(32))
    with pytest.raises(ParameterError, match="at is"):
        _core.shamir_combine(field, vector([1]), good.reshape(1, -1), at=p)
    with pytest.raises(ParameterError, match="not below the modulus"):
        _core.shamir_interpolate(field, vector([1]), good.reshape(1, -1), vector([p]))


@pytest.mark.parametrize("threshold", [0, 4, -1, 2**40])
def test_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ParameterError, match="threshold is"):
        _core.shamir_share(_core.M61, vector([1]), vector([1, 2, 3]), threshold, bytes(32))


def test_wrong_arguments_are_refused():
    one, points = vector([1]), vector([1, 2, 3])
    with pytest.raises(ParameterError, match="field"):
        _core.shamir_share(0, one, points, 2, bytes(32))
    with pytest.raises(ParameterError, match="seed has length 31"):
        _core.shamir_share(_core.M61, one, points, 2, bytes(31))
    with pytest.raises(BufferTypeError, match="points has dtype"):
        _core.shamir_share(_core.M61, one, points.astype(np.int64), 2, bytes(32))
    with pytest.raises(BufferTypeError, match="dimensions"):
        _core.shamir_combine(_core.M61, points, one)
    with pytest.raises(ParameterError, match="shares has length 2"):
        _core.shamir_combine(_core.M61, points, np.ones((2, 1), np.uint64))
    with pytest.raises(ParameterError, match="number of points is 0"):
        _core.shamir_share(_core.M61, one, vector([]), 1, bytes(32))
    with pytest.raises(ParameterError, match="number of points"):
        _core.shamir_share(_core.M61, one, vector(range(1, _core.SHAMIR_MAX_POINTS + 2)), 1, bytes(32))


def test_no_secrets_give_no_shares():
    shares = _core.shamir_share(_core.M61, vector([]), vector([1, 2]), 2, bytes(32))
    assert shares.shape == (2, 0)
    assert _core.shamir_combine(_core.M61, vector([1, 2]), shares).shape == (0,)


def test_shares_are_written_into_the_callers_array() -> None:
    """The same shares as without `out`; other shapes, read-only arrays and overlaps are refused untouched."""
    secrets, points = np.arange(20, dtype=np.uint64), np.arange(1, 6, dtype=np.uint64)
    out = np.zeros((5, 20), dtype=np.uint64)
    assert _core.shamir_share(_core.M61, secrets, points, 3, bytes(32), out=out) is out
    assert np.array_equal(out, _core.shamir_share(_core.M61, secrets, points, 3, bytes(32)))
    for bad in (np.zeros((5, 19), np.uint64), np.zeros((5, 20), np.int64), np.zeros((20, 5), np.uint64).T):
        with pytest.raises((BufferTypeError, ParameterError)):
            _core.shamir_share(_core.M61, secrets, points, 3, bytes(32), out=bad)
        assert not bad.any()
    with pytest.raises(BufferTypeError, match="overlap"):
        _core.shamir_share(_core.M61, out[0], points, 3, bytes(32), out=out)
