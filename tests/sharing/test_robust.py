"""Opening although shares are wrong: who is wrong is found, nothing wrong is ever returned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp.algebra import GOLDILOCKS, M61
from privcomp.errors import ParameterError, RemoteError
from privcomp.sharing import PackedParams, Share, combine_packed_robust, combine_robust, robust, share, share_packed
from tests.reference import sharing as reference
from tests.sharing.coins import coins

each_field = pytest.mark.parametrize("field", [M61, GOLDILOCKS], ids=lambda f: f.name)


def make(m: int, k: int, d: int = 5, field=M61, seed: int = 0, points=None) -> tuple[np.ndarray, list[Share]]:
    secrets = np.random.default_rng(seed).integers(0, field.modulus, d, dtype=np.uint64)
    points = range(1, m + 1) if points is None else points
    return secrets, share(secrets, k, points, owner=b"alice", context=b"s1", field=field, rng=coins(seed))


def merge(shares: list[Share], **more) -> robust.Opened:
    return combine_robust(shares, owner=b"alice", context=b"s1", **more)


def spoil(piece: Share, places, values=None) -> Share:
    changed = piece.values.copy()
    for n, j in enumerate(places):
        changed[j] = (int(changed[j]) + 1 if values is None else values[n]) % piece.field.modulus
    return dataclasses.replace(piece, values=changed)


@each_field
@pytest.mark.parametrize(("m", "k"), [(3, 1), (4, 2), (5, 1), (7, 3), (10, 4), (12, 12), (13, 12)])
def test_every_number_of_wrong_shares_up_to_the_bound(field, m: int, k: int) -> None:
    most = (m - k) // 2
    for count in range(most + 1):
        secrets, shares = make(m, k, field=field, seed=count)
        wrong = np.random.default_rng(count).permutation(m)[:count]
        for i in wrong:
            shares[i] = spoil(shares[i], [i % 5])
        opened = merge(shares)
        assert np.array_equal(opened.values, secrets)
        assert opened.wrong == tuple(sorted(int(i) + 1 for i in wrong))


@given(data=st.data())
def test_whatever_the_wrong_parties_send(data) -> None:
    field = data.draw(st.sampled_from([M61, GOLDILOCKS]))
    k = data.draw(st.integers(1, 6))
    m = k + data.draw(st.integers(0, 9))
    points = data.draw(
        st.lists(st.integers(1, 50) | st.integers(1, field.modulus - 1), min_size=m, max_size=m, unique=True)
    )
    secrets, shares = make(m, k, 4, field, data.draw(st.integers(0, 99)), points)
    wrong = data.draw(st.permutations(range(m)))[: data.draw(st.integers(0, (m - k) // 2))]
    for i in wrong:
        places = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
        kind = st.integers(0, field.modulus - 1) | st.sampled_from([0, field.modulus - 1, *map(int, shares[0].values)])
        shares[i] = spoil(shares[i], places, data.draw(st.lists(kind, min_size=len(places), max_size=len(places))))
    opened = merge(data.draw(st.permutations(shares)))
    assert np.array_equal(opened.values, secrets)
    assert set(opened.wrong) <= {shares[i].point for i in wrong}


@each_field
def test_locating_agrees_with_berlekamp_and_welch(field) -> None:
    """On words with any number of errors: the same places, or none found by either."""
    rng, p = np.random.default_rng(7), field.modulus
    for _ in range(150):
        k = int(rng.integers(1, 6))
        m = k + int(rng.integers(0, 8))
        points = rng.permutation(np.arange(1, 60, dtype=np.uint64))[:m].copy()
        coefficients = [int(c) for c in rng.integers(0, p, k, dtype=np.uint64)]
        word = [sum(c * pow(int(x), j, p) for j, c in enumerate(coefficients)) % p for x in points]
        for i in rng.permutation(m)[: int(rng.integers(0, m + 1))]:
            word[i] = int(rng.integers(0, p, dtype=np.uint64))
        most = (m - k) // 2
        want = reference.berlekamp_welch([int(x) for x in points], word, k, most, p)
        found = robust.locate(field, points, np.array(word, np.uint64), k, most)
        if want is None:
            # What is found beyond the bound never passes the check that follows.
            left = [i for i in range(m) if found is not None and not found[i]]
            assert found is None or reference.berlekamp_welch(
                [int(points[i]) for i in left], [word[i] for i in left], k, 0, p
            )
        else:
            assert found is not None
            assert np.flatnonzero(found).tolist() == want


def exhaustively(m: int, k: int) -> None:
    """Every pattern of wrong parties, each with a few ways of being wrong: the secrets, or an error; never "
    "something else."""
    secrets, shares = make(m, k, 2)
    _, others = make(m, k, 2, seed=1)
    most = (m - k) // 2
    for pattern in range(1 << m):
        wrong = [i for i in range(m) if pattern >> i & 1]
        for ways in (lambda i: spoil(shares[i], [0]), lambda i: spoil(shares[i], [0, 1], [i, 5]), lambda i: others[i]):
            seen = [ways(i) if i in wrong else shares[i] for i in range(m)]
            if len(wrong) <= most:
                opened = merge(seen, rng=coins(pattern))
                assert np.array_equal(opened.values, secrets)
                assert opened.wrong == tuple(i + 1 for i in wrong)
            elif len(wrong) < m - most:  # too few for another word to be as near
                with pytest.raises(RemoteError, match="nobody can be named") as caught:
                    merge(seen, rng=coins(pattern))
                assert caught.value.party is None


def test_every_pattern_of_wrong_parties() -> None:
    exhaustively(5, 1)
    exhaustively(6, 2)


@pytest.mark.assurance
def test_every_pattern_of_wrong_parties_among_more() -> None:
    for m, k in ((7, 3), (8, 2), (9, 3)):
        exhaustively(m, k)


def test_fewer_corrections_notice_more_errors() -> None:
    """With most = 0, m - k wrong parties are noticed, even if they agree on another polynomial."""
    secrets, shares = make(7, 3)
    _, others = make(7, 3, seed=1)
    seen = [*shares[:3], *others[3:]]
    assert np.array_equal(merge(shares, most=0).values, secrets)
    with pytest.raises(RemoteError):
        merge(seen, most=0)
    with pytest.raises(ParameterError, match="correct up to 2"):
        merge(shares, most=3)
    with pytest.raises(ParameterError, match="most is -1"):
        merge(shares, most=-1)


def test_what_is_no_field_element_is_a_wrong_share() -> None:
    secrets, shares = make(5, 2)
    bad = shares[3].values.copy()
    bad[4] = M61.modulus
    shares[3] = dataclasses.replace(shares[3], values=bad)
    opened = merge(shares)
    assert np.array_equal(opened.values, secrets)
    assert opened.wrong == (4,)
    with pytest.raises(RemoteError):
        merge(shares, most=0)


def test_errors_scattered_over_places() -> None:
    """More wrong parties than can be corrected, but few in each place: refused, or corrected if the caller says so."""
    secrets, shares = make(6, 2, d=40)
    for i in range(6):
        shares[i] = spoil(shares[i], [5 * i, 5 * i + 3])
    with pytest.raises(RemoteError, match="nobody can be named"):
        merge(shares)
    opened = merge(shares, scattered=True)
    assert np.array_equal(opened.values, secrets)
    assert opened.wrong == (1, 2, 3, 4, 5, 6)
    for i in range(3):
        shares[i] = spoil(shares[i], [39], [17 + i])
    with pytest.raises(RemoteError, match="nobody can be named"):
        merge(shares, scattered=True)


@given(data=st.data())
@settings(max_examples=30)
def test_packed(data) -> None:
    params = PackedParams(
        data.draw(st.integers(6, 17)), data.draw(st.integers(1, 2)), data.draw(st.sampled_from([1, 2, 4]))
    )
    secrets = np.array(data.draw(st.lists(st.integers(0, GOLDILOCKS.modulus - 1), min_size=1, max_size=9)), np.uint64)
    shares = share_packed(secrets, params, owner=b"alice", context=b"s1")
    wrong = data.draw(st.permutations(range(params.parties)))[: params.errors]
    for i in wrong:
        values = shares[i].values.copy()
        values[data.draw(st.integers(0, values.size - 1))] ^= np.uint64(1 << data.draw(st.integers(0, 63)))
        shares[i] = dataclasses.replace(shares[i], values=values)
    seen = data.draw(st.permutations(shares))
    opened = combine_packed_robust(seen, owner=b"alice", context=b"s1")
    assert np.array_equal(opened.values, secrets)
    assert sorted(opened.wrong) == sorted(wrong)


def test_a_combination_that_misses_an_error_is_made_again() -> None:
    """Coins that are zero miss everything; those of the next draw do not."""
    secrets, shares = make(5, 1, d=1)
    shares[2] = spoil(shares[2], [0])
    monkey = pytest.MonkeyPatch()
    zero = iter([True, False])
    real = robust._coins
    with monkey.context() as patched:
        patched.setattr(robust, "_coins", lambda f, n, r: np.zeros(n, np.uint64) if next(zero) else real(f, n, r))
        opened = merge(shares)
    assert np.array_equal(opened.values, secrets)
    assert opened.wrong == (3,)
    with monkey.context() as patched:
        patched.setattr(robust, "_coins", lambda f, n, r: np.zeros(n, np.uint64))
        with pytest.raises(RemoteError):
            merge(shares)


@each_field
def test_coins_are_elements(field) -> None:
    found = robust._coins(field, 5000, coins(1))
    assert (found < np.uint64(field.modulus)).all()
    bits = field.modulus.bit_length()
    want = [w >> (64 - bits) for w in reference.stream(coins(1)(32), 5000, 8)]
    assert found.tolist() == [w % field.modulus for w in want]


def test_shares_that_do_not_belong_together_and_too_few() -> None:
    _, shares = make(5, 3)
    with pytest.raises(ParameterError, match="threshold is 3 with 2 shares"):
        merge(shares[:2])
    with pytest.raises(ParameterError, match="owner"):
        merge([dataclasses.replace(shares[0], owner=b"bob"), *shares[1:]])
    with pytest.raises(ParameterError, match="twice"):
        merge([*shares, shares[0]])
    with pytest.raises(ParameterError, match="is 0 modulo"):
        merge([*shares, dataclasses.replace(shares[0], point=0)])
    with pytest.raises(ParameterError, match="thresholds"):
        merge([*shares, *make(6, 4)[1][5:]])


def test_no_secret_in_repr() -> None:
    secrets, shares = make(4, 2)
    text = repr(merge(shares))
    assert all(str(v) not in text for v in secrets)
