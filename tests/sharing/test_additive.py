"""Additive sharing: round trips, what a seed stands for, and every misuse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.errors import BufferTypeError, ParameterError
from privcomp.sharing import AdditiveShare, combine_additive, share_additive
from tests.reference.sharing import stream
from tests.sharing.coins import coins

SECRETS = np.array([0, 1, 2**31, 2**32 - 1], np.uint32)


def make(parties: int = 3, secrets: np.ndarray = SECRETS, **more) -> list[AdditiveShare]:
    return share_additive(secrets, parties, owner=b"alice", context=b"s1", **more)


def merge(shares: list[AdditiveShare]) -> np.ndarray:
    return combine_additive(shares, owner=b"alice", context=b"s1")


@given(data=st.data())
def test_all_shares_give_the_secrets(data) -> None:
    bits = data.draw(st.sampled_from([32, 64]))
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=40))
    secrets = np.array(values, f"uint{bits}")
    parties = data.draw(st.integers(2, 9))
    shares = make(parties, secrets)
    assert [s.is_seed for s in shares] == [True] * (parties - 1) + [False]
    assert merge(data.draw(st.permutations(shares))).tolist() == values
    # The definition: the sum of what the shares expand to, with integers.
    vectors = [s.expand().tolist() for s in shares]
    assert [sum(column) % 2**bits for column in zip(*vectors, strict=True)] == values


@pytest.mark.parametrize("bits", [32, 64])
def test_a_seed_stands_for_its_stream(bits: int) -> None:
    share = make(2, np.zeros(700, f"uint{bits}"))[0]
    assert share.expand().tolist() == stream(share.body, 700, bits // 8)


@pytest.mark.parametrize("bits", [32, 64])
def test_neither_threads_nor_blocks_change_a_share(bits: int) -> None:
    secrets = np.arange(3 * 2**16 + 5, dtype=f"uint{bits}")
    one, two = make(4, secrets, rng=coins(1)), make(4, secrets, rng=coins(1), threads=3)
    assert all(a.body == b.body for a, b in zip(one[:-1], two[:-1], strict=True))
    assert np.array_equal(one[-1].body, two[-1].body)
    assert np.array_equal(combine_additive(two, owner=b"alice", context=b"s1", threads=2), secrets)
    assert np.array_equal(one[0].expand(threads=2), two[0].expand())


def test_into_memory_of_the_caller() -> None:
    out, secrets = np.empty(4, np.uint32), SECRETS.copy()
    assert make(secrets=secrets, out=out)[-1].body is out
    assert np.array_equal(secrets, SECRETS)
    same = SECRETS.copy()
    assert np.array_equal(merge(make(secrets=same, out=same)), SECRETS)
    room = np.empty(6, np.uint32)
    read_only = np.empty(4, np.uint32)
    read_only.flags.writeable = False
    for bad in (np.empty(3, np.uint32), np.empty(4, np.uint64), read_only, np.empty(8, np.uint32)[::2]):
        with pytest.raises(BufferTypeError):
            make(out=bad)
    with pytest.raises(BufferTypeError, match="overlap"):
        make(secrets=room[:4], out=room[1:5])


def test_wrong_owner_and_shares_of_two_sessions_mixed() -> None:
    shares = make()
    for field in ("owner", "context"):
        other = [shares[0], shares[1], dataclasses.replace(shares[2], **{field: b"other"})]
        with pytest.raises(ParameterError, match="a share of"):
            merge(other)
    with pytest.raises(ParameterError, match="session"):
        combine_additive(shares, owner=b"alice", context=b"s2")
    with pytest.raises(ParameterError, match="owner"):
        combine_additive(shares, owner=b"bob", context=b"s1")


def test_a_party_that_is_missing_or_comes_twice() -> None:
    shares = make()
    for bad in (shares[:2], shares[1:], [shares[0], shares[1], shares[1]], [*shares, shares[0]]):
        with pytest.raises(ParameterError, match="exactly once"):
            merge(bad)
    with pytest.raises(ParameterError, match="no share"):
        merge([])


def test_shares_of_different_sharings() -> None:
    shares = make()
    for other in (make(4), make(3, SECRETS[:3]), make(3, SECRETS.astype(np.uint64))):
        with pytest.raises(ParameterError, match="different sharings"):
            merge([shares[0], shares[1], other[2]])


def test_what_is_refused() -> None:
    for parties in (0, 1, -1, 2**14 + 1):
        with pytest.raises(ParameterError, match="parties"):
            make(parties)
    for bad in (SECRETS.astype(np.int32), SECRETS.astype(">u4"), SECRETS.reshape(2, 2), SECRETS[::2], [1, 2]):
        with pytest.raises(BufferTypeError):
            make(2, bad)
    with pytest.raises(ParameterError, match="threads"):
        make(threads=0)
    with pytest.raises(ParameterError, match="rng gave 31"):
        make(rng=lambda n: bytes(n - 1))
    share = make()[0]
    for change in (
        {"bits": 16},
        {"party": 3},
        {"parties": 1},
        {"length": -1},
        {"body": bytes(31)},
        {"body": SECRETS[:3]},
    ):
        with pytest.raises(ParameterError):
            dataclasses.replace(share, **change)
    with pytest.raises(BufferTypeError):
        dataclasses.replace(share, body=SECRETS.astype(np.uint64))


def test_repr_hides_the_body() -> None:
    shares = make()
    assert "vector hidden" in repr(shares[2])
    assert "seed hidden" in repr(shares[0])
    assert repr(shares[0].body) not in repr(shares[0])
    assert all(str(v) not in repr(shares[2]) for v in shares[2].body)


def test_a_share_is_a_copy_of_nothing() -> None:
    shares = make()
    shares[2].expand()[0] += 1
    assert np.array_equal(merge(shares), SECRETS)
