"""Packed sharing: round trips, products, privacy by linear algebra, and every misuse."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtri

from privcomp import _core
from privcomp.algebra import GOLDILOCKS
from privcomp.errors import BufferTypeError, ParameterError, RemoteError
from privcomp.sharing import PackedParams, PackedShare, add_packed, combine_packed, multiply_packed, share_packed
from tests.reference import sharing as reference
from tests.sharing.coins import coins

P = GOLDILOCKS.modulus
SECRETS = np.array([0, 1, P - 1, 12345, 6], np.uint64)
PARAMS = PackedParams(parties=8, privacy=3, packing=2)


def make(params: PackedParams = PARAMS, secrets: np.ndarray = SECRETS, **more) -> list[PackedShare]:
    return share_packed(secrets, params, owner=b"alice", context=b"s1", **more)


def merge(shares: list[PackedShare]) -> np.ndarray:
    return combine_packed(shares, owner=b"alice", context=b"s1")


@st.composite
def parameters(draw: st.DrawFn, products: bool = False) -> PackedParams:
    privacy, packing = draw(st.integers(1, 6)), draw(st.sampled_from([1, 2, 4, 8]))
    degree = privacy + packing - 1
    least = (2 if products else 1) * degree + 1
    return PackedParams(draw(st.integers(least, least + 9)), privacy, packing, products)


@given(data=st.data())
def test_any_degree_plus_one_shares_give_the_secrets(data) -> None:
    params = data.draw(parameters())
    values = data.draw(st.lists(st.integers(0, P - 1) | st.sampled_from([0, P - 1]), max_size=20))
    shares = data.draw(st.permutations(make(params, np.array(values, np.uint64))))
    for count in (params.needed, data.draw(st.integers(params.needed, params.parties)), params.parties):
        assert merge(shares[:count]).tolist() == values


@given(data=st.data())
def test_products_open_with_twice_the_degree(data) -> None:
    params = data.draw(parameters(products=True))
    length = data.draw(st.integers(1, 12))
    a, b = (
        np.array(data.draw(st.lists(st.integers(0, P - 1), min_size=length, max_size=length)), np.uint64)
        for _ in range(2)
    )
    left, right = make(params, a), make(params, b)
    both = list(zip(left, right, strict=True))
    product = data.draw(st.permutations([multiply_packed(x, y) for x, y in both]))
    want = GOLDILOCKS.mul(a, b)
    for count in (2 * params.degree + 1, params.parties):
        assert np.array_equal(merge(product[:count]), want)
    assert np.array_equal(merge([add_packed(x, y) for x, y in both]), GOLDILOCKS.add(a, b))
    sums = [add_packed(s, s) for s in product]
    assert np.array_equal(merge(sums), GOLDILOCKS.add(want, want))
    with pytest.raises(ParameterError, match="opening needs"):
        merge(product[: 2 * params.degree])


@pytest.mark.parametrize(
    "params", [PARAMS, PackedParams(4, 1, 2), PackedParams(5, 2, 1), PackedParams(7, 2, 4)], ids=str
)
def test_privacy_is_that_of_the_parameters(params: PackedParams) -> None:
    """Any t shares: the secrets and these shares are D + 1 values of a polynomial of degree D at different points, so
    every choice of them occurs, with exactly one polynomial: the shares are uniform whatever the secrets are."""
    for chosen in combinations(range(params.parties), params.privacy):
        at = [*params.secret_points.tolist(), *params.points[list(chosen)].tolist()]
        assert len(set(at)) == params.degree + 1
    assert params.secret_points.tolist() == reference.root_points(params.packing)
    size = 1 << (params.parties - 1).bit_length()
    assert params.points.tolist() == reference.root_points(size, 7)[: params.parties]


def test_coefficients_may_be_zero() -> None:
    """The random coefficients, got back from all shares, are uniform, zero included: by their low bytes."""
    count = 1 << 15
    shares = make(PackedParams(8, 2, 2), np.ones(2 * count, np.uint64), rng=coins(4))
    data = np.stack([s.values for s in shares])
    _core.ntt_goldilocks_inplace(data, shift=_core.PACKED_SHIFT, inverse=True)
    assert not data[4:].any()
    for coefficient in data[2:4]:  # r, as privacy <= packing
        cells = np.bincount((coefficient & np.uint64(255)).astype(np.int64), minlength=256)
        assert ((cells - count / 256) ** 2 / (count / 256)).sum() < chdtri(255, 1e-6)


def test_threads_change_nothing() -> None:
    secrets = np.arange(4 * 9001 + 1, dtype=np.uint64)
    params = PackedParams(6, 1, 4)
    one, two = (make(params, secrets, rng=coins(2), threads=k) for k in (1, 2))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(one, two, strict=True))
    assert np.array_equal(merge(two), secrets)


def test_one_wrong_share_is_noticed_among_more_than_needed() -> None:
    """By interpolation, and by the transform, which opens where n is a power of two and everybody answers."""
    for count in (6, 7, 8):
        for wrong in range(count):
            shares = make()[:count]
            values = shares[wrong].values.copy()
            values[1] = (int(values[1]) + 1) % P
            shares[wrong] = dataclasses.replace(shares[wrong], values=values)
            with pytest.raises(RemoteError, match="at least one of them is wrong") as caught:
                merge(shares[::-1])
            assert caught.value.party is None


def test_mixed_thresholds() -> None:
    """A sharing of more privacy, or one denser, and a product among sharings."""
    products = PackedParams(11, 3, 2, products=True)
    for params, other in ((PARAMS, PackedParams(8, 4, 2)), (PARAMS, PackedParams(8, 1, 4)), (PARAMS, products)):
        with pytest.raises(ParameterError, match="different sharings"):
            merge([*make(params)[:-1], make(other)[-1]])
    shares = make(products)
    with pytest.raises(ParameterError, match="different sharings"):
        merge([*shares[:-1], multiply_packed(shares[-1], shares[-1])])
    with pytest.raises(ParameterError, match="different sharings"):
        merge([*make()[:-1], make(secrets=SECRETS[:3])[-1]])


def test_wrong_owner_and_shares_of_two_sessions_mixed() -> None:
    shares = make()
    for field in ("owner", "context"):
        other = dataclasses.replace(shares[0], **{field: b"other"})
        with pytest.raises(ParameterError, match="a share of"):
            merge([*shares[1:], other])
        with pytest.raises(ParameterError, match="a share of"):
            add_packed(shares[0], other)
    with pytest.raises(ParameterError, match="session"):
        combine_packed(shares, owner=b"alice", context=b"s2")


def test_a_party_twice_and_too_few() -> None:
    shares = make()
    with pytest.raises(ParameterError, match="twice"):
        merge([*shares, shares[0]])
    with pytest.raises(ParameterError, match="opening needs 5"):
        merge(shares[:4])
    with pytest.raises(ParameterError, match="no share"):
        merge([])


def test_products_that_do_not_open_are_refused() -> None:
    shares = make()
    with pytest.raises(ParameterError, match="do not provide for products"):
        multiply_packed(shares[0], shares[0])
    params = PackedParams(9, 3, 2, products=True)
    a = make(params)
    square = multiply_packed(a[0], a[0])
    with pytest.raises(ParameterError, match="degree was reduced"):
        multiply_packed(square, a[0])
    with pytest.raises(ParameterError, match="do not add"):
        add_packed(square, a[0])
    with pytest.raises(ParameterError, match="do not belong"):
        add_packed(a[0], a[1])


def test_parameters() -> None:
    for arguments, text in (
        ((8, 3, 3), "power of two"),
        ((8, 3, 0), "power of two"),
        ((8, 0, 2), "at least 1"),
        ((8, -1, 2), "at least 1"),
        ((5, 4, 2), "need 6 shares"),
        ((0, 1, 1), "allowed are"),
        ((2**14 + 1, 1, 1), "allowed are"),
        ((8.0, 1, 1), "integers"),
        ((8, 3, 2, True), "has degree 8"),
    ):
        with pytest.raises(ParameterError, match=text):
            PackedParams(*arguments)
    params = PackedParams(9, 3, 2, products=True)
    assert (params.degree, params.needed, params.errors, params.polynomials(5)) == (4, 5, 2, 3)


def test_what_is_refused() -> None:
    with pytest.raises(ParameterError, match="not below the modulus"):
        make(secrets=np.array([P], np.uint64))
    with pytest.raises(BufferTypeError):
        make(secrets=SECRETS.astype(np.int64))
    share = make()[0]
    for change in ({"party": 8}, {"party": -1}, {"length": -1}, {"degree": 5}, {"values": share.values[:1]}):
        with pytest.raises(ParameterError):
            dataclasses.replace(share, **change)
    bad = dataclasses.replace(share, values=np.full(3, P, np.uint64))
    for others in (make()[1:], make()[1:6]):
        with pytest.raises(ParameterError, match="not below the modulus"):
            merge([bad, *others])
    with pytest.raises(BufferTypeError):
        dataclasses.replace(share, values=share.values.astype(np.float64))


def test_a_share_hides_its_values_and_keeps_no_neighbours() -> None:
    share = make()[0]
    assert "hidden" in repr(share)
    assert all(str(v) not in repr(share) for v in share.values)
    assert share.values.base is None
