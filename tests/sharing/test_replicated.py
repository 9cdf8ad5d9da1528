"""Replicated sharing: small rings exhaustively, round trips, and what its check notices."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.algebra import Ring
from privcomp.errors import BufferTypeError, ParameterError, RemoteError
from privcomp.sharing import ReplicatedShare, combine_replicated, held, share_replicated
from tests.reference.sharing import stream
from tests.sharing.coins import coins

both = pytest.mark.parametrize("parties", [3, 4])
kinds = pytest.mark.parametrize("boolean", [False, True])


def make(parties: int, values=(3, 0, 1), *, bits: int = 2, boolean: bool = False, **more) -> list[ReplicatedShare]:
    secrets = np.array(values, Ring(bits).dtype)
    return share_replicated(secrets, parties, bits=bits, boolean=boolean, owner=b"alice", context=b"s1", **more)


def merge(shares: list[ReplicatedShare], **more) -> np.ndarray:
    return combine_replicated(shares, owner=b"alice", context=b"s1", **more)


def of_components(parties: int, bits: int, boolean: bool, columns: np.ndarray) -> list[ReplicatedShare]:
    """Shares whose component k is columns[k]."""
    return [
        ReplicatedShare(
            b"alice",
            b"s1",
            parties,
            i,
            bits,
            boolean,
            columns.shape[1],
            tuple(columns[k].copy() for k in held(parties, i)),
        )
        for i in range(parties)
    ]


def everything(parties: int, bits: int) -> np.ndarray:
    """All vectors of components, as columns."""
    return np.array(list(product(range(1 << bits), repeat=parties)), np.uint32).T.copy()


def opened(columns: np.ndarray, bits: int, boolean: bool) -> np.ndarray:
    return np.bitwise_xor.reduce(columns) if boolean else columns.sum(axis=0) % (1 << bits)


@both
@kinds
@pytest.mark.parametrize("bits", [1, 2, 3])
def test_every_vector_of_components_opens(parties: int, boolean: bool, bits: int) -> None:
    columns = everything(parties, bits)
    shares = of_components(parties, bits, boolean, columns)
    for count in range(2, parties + 1):
        for chosen in combinations(shares, count):
            assert np.array_equal(merge(list(chosen)), opened(columns, bits, boolean))


@both
@kinds
def test_one_party_sees_the_same_whatever_the_secret_is(parties: int, boolean: bool) -> None:
    """Exhaustively: over all components, each secret shows a party each of its views equally often."""
    bits = 2
    columns = everything(parties, bits)
    secrets = opened(columns, bits, boolean)
    for i in range(parties):
        seen = columns[list(held(parties, i))]
        views = [Counter(map(tuple, seen[:, secrets == x].T.tolist())) for x in range(1 << bits)]
        assert all(view == views[0] for view in views)
        assert len(views[0]) == 1 << bits * len(seen)


def lies(parties: int, bits: int, boolean: bool) -> None:
    """Every alteration of one party's share: noticed, and if anybody is named it is this party."""
    columns = everything(parties, bits)
    for place in range(columns.shape[1]):
        column = columns[:, place : place + 1]
        shares = of_components(parties, bits, boolean, column)
        for liar in range(parties):
            size = len(held(parties, liar))
            for change in list(product(range(1 << bits), repeat=size))[1:]:
                wrong = tuple(c ^ np.uint32(e) for c, e in zip(shares[liar].components, change, strict=True))
                seen = [*shares[:liar], dataclasses.replace(shares[liar], components=wrong), *shares[liar + 1 :]]
                with pytest.raises(RemoteError, match="disagree") as caught:
                    merge(seen)
                named = parties == 4 or all(change)
                assert caught.value.party == (b"%d" % liar if named else None)


@kinds
def test_every_lie_of_one_party_is_noticed(boolean: bool) -> None:
    lies(3, 1, boolean)
    lies(4, 1, boolean)


@pytest.mark.assurance
@both
@kinds
def test_every_lie_of_one_party_is_noticed_in_a_larger_ring(parties: int, boolean: bool) -> None:
    lies(parties, 2, boolean)


def test_three_of_four_notice_every_lie() -> None:
    columns = everything(4, 1)
    shares = of_components(4, 1, False, columns)
    for missing, liar in product(range(4), repeat=2):
        if missing == liar:
            continue
        for change in list(product(range(2), repeat=3))[1:]:
            wrong = tuple(c ^ np.uint32(e) for c, e in zip(shares[liar].components, change, strict=True))
            seen = [
                dataclasses.replace(s, components=wrong) if s.party == liar else s for s in shares if s.party != missing
            ]
            with pytest.raises(RemoteError) as caught:
                merge(seen)
            assert caught.value.party in (None, b"%d" % liar)
            # The component that the missing party lacks lies with all three others.
            if change[held(4, liar).index(missing)]:
                assert caught.value.party == b"%d" % liar


@both
def test_two_holders_that_disagree_are_not_named(parties: int) -> None:
    shares = make(parties)
    one, other = (s.seedless() for s in shares[:2])
    common = other.numbers.index((set(one.numbers) & set(other.numbers)).pop())
    wrong = list(other.components)
    wrong[common] = wrong[common] ^ np.uint32(1)
    with pytest.raises(RemoteError, match="at least one of them is wrong") as caught:
        merge([one, dataclasses.replace(other, components=tuple(wrong))])
    assert caught.value.party is None


def test_two_liars_are_not_taken_for_one() -> None:
    shares = [s.seedless() for s in make(4)]
    for i in (0, 1):
        wrong = (shares[i].components[2] ^ np.uint32(1 + i), *shares[i].components[:2])
        shares[i] = dataclasses.replace(shares[i], components=(wrong[1], wrong[2], wrong[0]))
    with pytest.raises(RemoteError) as caught:
        merge(shares)
    assert caught.value.party is None


@given(data=st.data())
def test_round_trip(data) -> None:
    parties, bits = data.draw(st.sampled_from([3, 4])), data.draw(st.integers(1, 64))
    values = data.draw(st.lists(st.integers(0, 2**bits - 1) | st.just(2**bits - 1), max_size=20))
    boolean = data.draw(st.booleans())
    shares = make(parties, values, bits=bits, boolean=boolean)
    chosen = data.draw(st.permutations(shares))[: data.draw(st.integers(2, parties))]
    result = merge(chosen)
    assert result.tolist() == values
    assert result.dtype == Ring(bits).dtype
    mixed = [s.seedless() if data.draw(st.booleans()) else s for s in chosen]
    assert merge(mixed).tolist() == values


@both
def test_all_but_one_component_are_seeds(parties: int) -> None:
    shares = make(parties, [5, 6], bits=7, rng=coins(3))
    again = make(parties, [5, 6], bits=7, rng=coins(3))
    found: dict[int, list] = {}
    for s in shares:
        for number, component, vector in zip(s.numbers, s.components, s.expand(), strict=True):
            assert isinstance(component, bytes) == (number < parties - 1)
            if isinstance(component, bytes):
                assert vector.tolist() == [w % 128 for w in stream(component, 2, 4)]
            found.setdefault(number, []).append(vector.tolist())
    holders = 2 if parties == 3 else 3
    assert all(len(same) == holders and same.count(same[0]) == holders for same in found.values())
    assert [sum(c) % 128 for c in zip(*(same[0] for same in found.values()), strict=True)] == [5, 6]
    assert [s.components[0] for s in again[: parties - 2]] == [s.components[0] for s in shares[: parties - 2]]


@both
def test_nobody_writes_to_a_component_of_others(parties: int) -> None:
    for share in make(parties):
        for component in share.components:
            assert isinstance(component, bytes) or not component.flags.writeable


def test_threads_change_nothing() -> None:
    secrets = np.arange(2**17, dtype=np.uint64)
    one, two = (
        share_replicated(secrets, 4, bits=64, owner=b"alice", context=b"s1", rng=coins(1), threads=k) for k in (1, 2)
    )
    assert np.array_equal(one[0].components[2], two[0].components[2])
    assert np.array_equal(merge(two[:2], threads=2), secrets)


def test_wrong_owner_and_shares_of_two_sessions_mixed() -> None:
    shares = make(3)
    for field in ("owner", "context"):
        with pytest.raises(ParameterError, match="a share of"):
            merge([shares[0], dataclasses.replace(shares[1], **{field: b"other"})])
    with pytest.raises(ParameterError, match="session"):
        combine_replicated(shares, owner=b"alice", context=b"s2")


def test_shares_that_do_not_belong_together() -> None:
    shares = make(3)
    for other in (make(4), make(3, [1, 2]), make(3, bits=3), make(3, boolean=True)):
        with pytest.raises(ParameterError, match="different sharings"):
            merge([shares[0], other[1]])
    with pytest.raises(ParameterError, match="twice"):
        merge([shares[0], shares[1], shares[1]])
    with pytest.raises(ParameterError, match="opens nothing"):
        merge(shares[:1])
    with pytest.raises(ParameterError, match="no share"):
        merge([])


def test_what_is_refused() -> None:
    for parties in (2, 5, 0):
        with pytest.raises(ParameterError, match="3 or 4"):
            make(parties)
    with pytest.raises(ParameterError, match="not below 2\\^2"):
        make(3, [4])
    with pytest.raises(ParameterError, match="bits is 0"):
        share_replicated(np.zeros(1, np.uint32), 3, bits=0, owner=b"", context=b"")
    with pytest.raises(BufferTypeError, match="uint64"):
        share_replicated(np.zeros(1, np.uint32), 3, bits=33, owner=b"", context=b"")
    share = make(3)[2]
    a, b = share.expand()
    for bad in ((a,), (a, b, b), (a, b[:2]), (a, bytes(31)), (a, b | np.uint32(4)), [a, b]):
        with pytest.raises(ParameterError):
            dataclasses.replace(share, components=bad)
    with pytest.raises(BufferTypeError):
        dataclasses.replace(share, components=(a, b.astype(np.uint64)))
    with pytest.raises(ParameterError, match="party 3"):
        dataclasses.replace(share, party=3)


def test_repr_hides_the_components() -> None:
    shares = make(3, [123456789], bits=32)
    text = repr(shares[1])
    assert "hidden" in text
    assert str(shares[1].components[1][0]) not in text
