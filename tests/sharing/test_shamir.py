"""The friendly layer of Shamir sharing: round trips, and every misuse that would leak or give a wrong secret."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.algebra import GOLDILOCKS, M61
from privcomp.errors import BufferTypeError, CodecError, ParameterError, RemoteError
from privcomp.sharing import Share, combine, combine_bytes, combine_many, share, share_bytes, share_many, share_rows
from privcomp.sharing.shamir import SHARE_BYTES
from tests.reference import shamir as reference
from tests.sharing.coins import coins

SECRETS = np.array([0, 1, 12345, M61.modulus - 1], np.uint64)
P = M61.modulus


def make(
    threshold: int = 3, points=(1, 2, 3, 4, 5), *, owner: bytes = b"alice", context: bytes = b"s1", field=M61
) -> list[Share]:
    return share(SECRETS, threshold, points, owner=owner, context=context, field=field)


def merge(shares: list[Share]) -> np.ndarray:
    return combine(shares, owner=b"alice", context=b"s1")


def limbs(piece: bytes) -> list[int]:
    return [int.from_bytes(piece[i : i + 8], "little") for i in range(0, SHARE_BYTES, 8)]


def piece_of(values: list[int]) -> bytes:
    return b"".join(v.to_bytes(8, "little") for v in values)


class TestVectors:
    @pytest.mark.parametrize("field", [M61, GOLDILOCKS])
    def test_any_threshold_give_the_secrets(self, field):
        shares = make(field=field)
        for chosen in ([0, 1, 2], [4, 2, 0], [1, 3, 4, 0], [4, 3, 2, 1, 0]):
            assert np.array_equal(merge([shares[i] for i in chosen]), SECRETS)

    def test_x_zero(self):
        for points in ([0, 1, 2], [1, 2, P], [1, 2, 2 * P]):
            with pytest.raises(ParameterError, match=r"is 0 modulo .* would be the secret"):
                make(2, points)
        shares = make()
        shares[0] = dataclasses.replace(shares[0], point=0)
        with pytest.raises(ParameterError, match="is 0 modulo"):
            merge(shares)

    def test_duplicate_x(self):
        for points in ([1, 2, 1], [1, P + 1, 2]):
            with pytest.raises(ParameterError, match="occurs twice"):
                make(2, points)
        shares = make()
        with pytest.raises(ParameterError, match="occurs twice"):
            merge([shares[0], shares[1], shares[0]])

    def test_mixed_thresholds(self):
        with pytest.raises(ParameterError, match="thresholds 3 and 2"):
            merge([*make(3)[:2], make(2)[2]])

    def test_wrong_owner(self):
        with pytest.raises(ParameterError, match="owner b'mallory'"):
            merge([*make()[:2], make(owner=b"mallory")[2]])
        with pytest.raises(ParameterError, match="owner b'mallory'"):
            merge(make(owner=b"mallory"))

    def test_shares_of_two_sessions(self):
        with pytest.raises(ParameterError, match="two sessions"):
            merge([*make()[:2], make(context=b"s2")[2]])
        with pytest.raises(ParameterError, match="two sessions"):
            merge(make(context=b"s2"))

    def test_shares_of_two_sharings_in_one_session(self):
        with pytest.raises(RemoteError, match="do not lie on one polynomial"):
            merge([*make()[:3], make()[3]])

    def test_mixed_fields_and_lengths(self):
        with pytest.raises(ParameterError, match="different sharings"):
            merge([*make()[:2], make(field=GOLDILOCKS)[2]])
        shares = make()
        shares[1] = dataclasses.replace(shares[1], values=shares[1].values[:2])
        with pytest.raises(ParameterError, match="different sharings"):
            merge(shares)

    def test_too_few(self):
        with pytest.raises(ParameterError, match="threshold is 3 with 2 shares"):
            merge(make()[:2])
        with pytest.raises(ParameterError, match="no share"):
            merge([])

    def test_one_wrong_share_is_noticed_among_more_than_the_threshold(self):
        for wrong in range(5):
            shares = make()
            values = shares[wrong].values.copy()
            values[2] = (int(values[2]) + 1) % P
            shares[wrong] = dataclasses.replace(shares[wrong], values=values)
            with pytest.raises(RemoteError, match="at least one of them is wrong"):
                merge(shares)

    def test_threshold_out_of_range(self):
        for threshold in (0, 6, -1):
            with pytest.raises(ParameterError, match="threshold is"):
                make(threshold)

    def test_a_secret_that_is_not_canonical(self):
        with pytest.raises(ParameterError, match="not below the modulus"):
            share(np.array([P], np.uint64), 1, [1], owner=b"", context=b"")

    def test_repr_hides_the_values(self):
        piece = make()[0]
        assert "hidden" in repr(piece)
        assert all(str(v) not in repr(piece) for v in piece.values)

    def test_a_share_does_not_hold_its_neighbours(self):
        assert make()[0].values.base is None

    def test_rng_decides_and_must_not_be_short(self):
        def fixed(n: int) -> bytes:
            return bytes(range(n))

        one, two = (share(SECRETS, 2, [1, 2], owner=b"", context=b"", rng=fixed) for _ in range(2))
        assert all(np.array_equal(a.values, b.values) for a, b in zip(one, two, strict=True))
        assert not np.array_equal(make()[0].values, make()[0].values)
        with pytest.raises(ParameterError, match="rng gave 31 bytes"):
            share_bytes(bytes(32), 2, [1, 2], lambda n: bytes(n - 1))

    @pytest.mark.parametrize("field", [M61, GOLDILOCKS])
    def test_threads_change_nothing(self, field):
        secrets = np.arange(3 * 4096 + 77, dtype=np.uint64)
        one, two = (
            share(secrets, 3, [1, 2, 3, 9], owner=b"alice", context=b"s1", field=field, rng=coins(1), threads=k)
            for k in (1, 3)
        )
        assert all(np.array_equal(a.values, b.values) for a, b in zip(one, two, strict=True))
        assert np.array_equal(merge(two[1:]), secrets)
        out = np.zeros((4, secrets.size), np.uint64)
        assert share_rows(secrets, 3, [1, 2, 3, 9], field=field, rng=coins(1), out=out, threads=2) is out
        assert np.array_equal(out, np.stack([s.values for s in one]))
        secrets[5000] = field.modulus
        out[:] = 0
        with pytest.raises(ParameterError, match="not below the modulus"):
            share_rows(secrets, 3, [1, 2, 3, 9], field=field, out=out, threads=2)
        assert not out.any()
        for threads in (0, 257):
            with pytest.raises(ParameterError, match="threads"):
                share_rows(secrets, 3, [1, 2, 3, 9], field=field, threads=threads)

    def test_points_of_a_wrong_kind(self):
        with pytest.raises(BufferTypeError, match="float64"):
            make(1, np.array([1.0, 2.0]))
        with pytest.raises(ParameterError, match="a point is -3"):
            make(1, [1, -3])
        assert len(make(1, np.array([3, 9], np.int64))) == 2


class TestSeeds:
    @given(data=st.data())
    def test_round_trip(self, data):
        secrets = data.draw(
            st.lists(st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32]), max_size=4)
        )
        points = data.draw(st.lists(st.integers(1, 40) | st.integers(1, P - 1), min_size=1, max_size=10, unique=True))
        t = data.draw(st.integers(1, len(points)))
        pieces = share_many(secrets, t, points)
        assert [len(row) for row in pieces] == [len(points)] * len(secrets)
        m = data.draw(st.integers(t, len(points)))
        chosen = data.draw(st.permutations(range(len(points))))[:m]
        xs = [points[i] for i in chosen]
        assert combine_many(xs, [[row[i] for i in chosen] for row in pieces], t) == secrets
        for row, secret in zip(pieces, secrets, strict=True):
            assert combine_bytes(np.array(xs, np.uint64), [row[i] for i in chosen], t) == secret

    def test_limbs_are_the_number_in_base_two_to_the_52(self):
        secret, points = os.urandom(32), [3, 1, 8]
        rows = [limbs(piece) for piece in share_bytes(secret, 3, points)]
        values = [reference.interpolate(points, [row[k] for row in rows], 0, P) for k in range(5)]
        number = int.from_bytes(secret, "little")
        assert values == [number >> 52 * k & 2**52 - 1 for k in range(5)]
        assert number >> 208 < 2**48

    def test_shares_are_canonical(self):
        for piece in share_bytes(os.urandom(32), 5, range(1, 11)):
            assert len(piece) == SHARE_BYTES
            assert all(v < P for v in limbs(piece))

    def test_a_secret_of_another_length(self):
        for n in (0, 31, 33, 40):
            with pytest.raises(ParameterError, match=f"has {n} bytes"):
                share_bytes(bytes(n), 2, [1, 2])

    def test_a_share_of_another_length(self):
        pieces = share_bytes(bytes(32), 2, [1, 2, 3])
        for bad in (pieces[1][:-1], pieces[1] + b"\0", b""):
            with pytest.raises(CodecError, match="exactly 40"):
                combine_bytes([1, 2, 3], [pieces[0], bad, pieces[2]], 2)

    def test_a_share_that_is_not_canonical(self):
        """The same share with p added to a limb: equal modulo p, but another encoding."""
        pieces = share_bytes(bytes(32), 2, [1, 2, 3])
        for k in range(5):
            values = limbs(pieces[1])
            values[k] += P
            with pytest.raises(CodecError, match="canonical"):
                combine_bytes([1, 2, 3], [pieces[0], piece_of(values), pieces[2]], 2)

    @pytest.mark.parametrize("wrong", range(4))
    @pytest.mark.parametrize("limb", range(5))
    def test_one_wrong_share_is_noticed_among_more_than_the_threshold(self, wrong, limb):
        pieces = share_bytes(os.urandom(32), 3, [1, 2, 3, 4])
        values = limbs(pieces[wrong])
        values[limb] = (values[limb] + 1) % P
        pieces[wrong] = piece_of(values)
        with pytest.raises(RemoteError, match="at least one of them is wrong"):
            combine_bytes([1, 2, 3, 4], pieces, 3)

    def test_shares_of_two_sharings(self):
        one, two = share_bytes(bytes(32), 2, [1, 2, 3]), share_bytes(bytes(32), 2, [1, 2, 3])
        with pytest.raises(RemoteError, match="do not lie"):
            combine_bytes([1, 2, 3], [one[0], one[1], two[2]], 2)

    def test_mixed_thresholds_are_noticed(self):
        """Shares of a sharing with a higher threshold than the one that is asked for."""
        pieces = share_bytes(os.urandom(32), 3, [1, 2, 3])
        with pytest.raises(RemoteError, match="do not lie"):
            combine_bytes([1, 2, 3], pieces, 2)

    @pytest.mark.parametrize(("limb", "bits"), [(0, 52), (1, 52), (2, 52), (3, 52), (4, 48)])
    def test_a_result_that_is_no_secret(self, limb, bits):
        values = [0] * 5
        for value, good in ((2**bits - 1, True), (2**bits, False), (P - 1, False)):
            values[limb] = value
            pieces = [piece_of(values)] * 2  # a constant polynomial
            if good:
                assert combine_bytes([1, 2], pieces, 1) == ((2**bits - 1) << 52 * limb).to_bytes(32, "little")
            else:
                with pytest.raises(RemoteError, match="no 32-byte secret"):
                    combine_bytes([1, 2], pieces, 1)

    def test_x_zero_and_duplicate_x(self):
        pieces = share_bytes(bytes(32), 2, [1, 2, 3])
        for points, text in (
            ([0, 2, 3], "is 0 modulo"),
            ([1, 2, P], "is 0 modulo"),
            ([1, 2, 2], "twice"),
            ([1, 2, P + 1], "twice"),
        ):
            with pytest.raises(ParameterError, match=text):
                combine_bytes(points, pieces, 2)
            with pytest.raises(ParameterError, match=text):
                share_bytes(bytes(32), 2, points)

    def test_what_is_no_bytes(self):
        with pytest.raises(ParameterError, match="pass bytes"):
            combine_bytes([1, 2], ["a" * 40, "b" * 40], 2)

    def test_counts_that_differ(self):
        pieces = share_bytes(bytes(32), 2, [1, 2, 3])
        with pytest.raises(ParameterError, match="2 shares for 3 points"):
            combine_bytes([1, 2, 3], pieces[:2], 2)
        with pytest.raises(ParameterError, match="threshold is 4"):
            combine_bytes([1, 2, 3], pieces, 4)
        assert combine_many([1, 2], [], 2) == []
        assert share_many([], 2, [1, 2]) == []

    def test_errors_hold_no_secret(self):
        secret = b"\x5a" * 32
        pieces = share_bytes(secret, 2, [1, 2, 3])
        pieces[2] = piece_of([1] * 5)
        with pytest.raises(RemoteError) as caught:
            combine_bytes([1, 2, 3], pieces, 2)
        text = str(caught.value) + repr(caught.value)
        assert secret.hex() not in text
        assert all(str(v) not in text for v in limbs(pieces[0]))


@pytest.mark.parametrize("points", [[1.5, 2.5, 3.5], ["a", "b", "c"]])
def test_points_are_integers(points: list) -> None:
    """Nothing is cut to the next one."""
    with pytest.raises(ParameterError, match="pass integers"):
        make(2, points)
    shares = make(2)
    with pytest.raises(ParameterError, match="pass integers"):
        merge([dataclasses.replace(shares[0], point=points[0]), shares[1]])


@pytest.mark.parametrize(
    "change", [lambda v: v.reshape(2, 2), lambda v: v.astype(np.int64), lambda v: v.tolist(), lambda v: v.astype(float)]
)
def test_values_of_another_kind(change) -> None:
    shares = make(2)
    with pytest.raises(BufferTypeError):
        merge([dataclasses.replace(shares[0], values=change(shares[0].values)), *shares[1:]])
