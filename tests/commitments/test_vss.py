"""Verifiable sharing: honest dealings, every lie of a dealer and of a holder, sums, and the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privcomp.algebra import BN254, RISTRETTO255
from privcomp.commitments import FeldmanVss, Pedersen, PedersenVss, VssCommitment, VssShare
from privcomp.errors import CodecError, ParameterError, RemoteError
from tests.reference.shamir import interpolate
from tests.sharing.coins import coins

WHERE = {"owner": b"dealer", "context": b"s1"}
Q = RISTRETTO255.order
each_scheme = pytest.mark.parametrize("scheme", [FeldmanVss, PedersenVss])
each_group = pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)


def deal(scheme, n: int = 4, k: int = 2, secret: int = 77, group=RISTRETTO255, **more):
    vss = scheme(n, k, group)
    commitment, shares = vss.deal(group.scalar(secret), **(WHERE | more))
    return vss, commitment, shares


def value(piece: VssShare, k: int = 0) -> int:
    return int.from_bytes(piece.values[32 * k : 32 * k + 32], "little")


def change(piece: VssShare, k: int = 0, by: int = 1) -> VssShare:
    order = (RISTRETTO255 if piece.group == "ristretto255" else BN254).order
    values = [value(piece, j) for j in range(len(piece.values) // 32)]
    values[k] = (values[k] + by) % order
    return replace(piece, values=b"".join(v.to_bytes(32, "little") for v in values))


@each_scheme
@each_group
@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 1), (3, 3), (5, 2)])
def test_honest_dealings(scheme, group, n: int, k: int) -> None:
    vss, commitment, shares = deal(scheme, n, k, group=group)
    assert commitment.threshold == k
    for i, piece in enumerate(shares):
        vss.check(commitment, piece, **WHERE, point=i + 1)
    for chosen in (shares[:k], shares[-k:], shares[::-1]):
        assert int(vss.combine(commitment, chosen, **WHERE)) == 77


@each_scheme
def test_shares_and_commitments_are_those_of_the_definition(scheme) -> None:
    """With integers: shares lie on one polynomial of degree k - 1; C_j commits to its coefficients."""
    _, commitment, shares = deal(scheme, 6, 3, rng=coins(5))
    for piece in range(scheme.SCHEME):
        values = [value(s, piece) for s in shares]
        for x in (4, 5, 6):
            assert values[x - 1] == interpolate([1, 2, 3], values[:3], x, Q)
    assert interpolate([1, 2, 3], [value(s) for s in shares[:3]], 0, Q) == 77
    drawn = coins(5)(64 * (scheme.SCHEME * 3 - 1))
    coefficients = [int.from_bytes(drawn[64 * i : 64 * i + 64], "little") % Q for i in range(len(drawn) // 64)]
    rows = [[77, *coefficients[:2]], coefficients[2:]]
    pedersen = Pedersen.derive()
    g = RISTRETTO255.generator if scheme is FeldmanVss else pedersen.bases[0]
    for j, found in enumerate(commitment.points()):
        want = g * RISTRETTO255.scalar(rows[0][j])
        if scheme is PedersenVss:
            want += pedersen.blinding * RISTRETTO255.scalar(rows[1][j])
        assert found == want


def test_feldman_reveals_the_secret_times_the_generator_and_pedersen_does_not() -> None:
    """The warning in the documentation, as an attack: a guess of the secret is confirmed by the commitment alone."""
    _, commitment, _ = deal(FeldmanVss)
    guesses = [g for g in range(100) if RISTRETTO255.generator * RISTRETTO255.scalar(g) == commitment.points()[0]]
    assert guesses == [77]
    base = Pedersen.derive().bases[0]
    _, commitment, _ = deal(PedersenVss)
    assert not any(base * RISTRETTO255.scalar(g) == commitment.points()[0] for g in range(100))


@each_scheme
def test_a_wrong_share_names_the_dealer(scheme) -> None:
    vss, commitment, shares = deal(scheme)
    for k in range(scheme.SCHEME):
        with pytest.raises(RemoteError, match="does not belong to the dealer's commitment") as caught:
            vss.check(commitment, change(shares[1], k), **WHERE, point=2)
        assert caught.value.party == b"dealer"


@each_scheme
def test_a_dealer_that_mixes_things_up_is_named(scheme) -> None:
    vss, commitment, shares = deal(scheme)
    other_session = deal(scheme, context=b"s2")
    other_owner = deal(scheme, owner=b"mallory")
    other_threshold = deal(scheme, k=3)
    other_parties = deal(scheme, n=5)
    other_group = deal(scheme, group=BN254)
    other_scheme = deal(PedersenVss if scheme is FeldmanVss else FeldmanVss)
    cases = [
        (commitment, shares[0]),  # another point
        (commitment, other_session[2][1]),
        (commitment, other_owner[2][1]),
        (commitment, other_parties[2][1]),
        (commitment, other_group[2][1]),
        (commitment, other_scheme[2][1]),
        (commitment, deal(scheme)[2][1]),  # of another dealing
        *(
            (other[1], other[2][1])
            for other in (other_session, other_owner, other_threshold, other_parties, other_group, other_scheme)
        ),
    ]
    for seen, piece in cases:
        with pytest.raises(RemoteError) as caught:
            vss.check(seen, piece, **WHERE, point=2)
        assert caught.value.party == b"dealer"


@each_scheme
def test_a_wrong_share_in_combining_names_its_holder(scheme) -> None:
    vss, commitment, shares = deal(scheme)
    with pytest.raises(RemoteError, match="point 3") as caught:
        vss.combine(commitment, [shares[0], shares[1], change(shares[2])], **WHERE)
    assert caught.value.party == b"3"
    with pytest.raises(RemoteError) as caught:
        vss.combine(deal(scheme, context=b"s2")[1], shares, **WHERE)
    assert caught.value.party == b"dealer"


@each_scheme
def test_x_zero(scheme) -> None:
    """The value at 0 is the secret: no share of that point exists, and none arrives."""
    _, _, shares = deal(scheme)
    with pytest.raises(ParameterError, match="the value at 0 is the secret"):
        replace(shares[0], point=0)
    data = shares[0].to_bytes()
    at = len(data) - len(shares[0].values) - 6
    assert data[at : at + 2] == b"\x01\0"
    with pytest.raises(CodecError, match="the value at 0 is the secret"):
        VssShare.from_bytes(data[:at] + b"\0\0" + data[at + 2 :], max_bytes=1 << 16)


@each_scheme
def test_mixed_thresholds(scheme) -> None:
    """A dealer whose polynomial has another degree than was agreed, in either direction."""
    for k in (1, 3):
        _, commitment, shares = deal(scheme, k=k)
        with pytest.raises(RemoteError, match=f"{k} of 4") as caught:
            scheme(4, 2).check(commitment, shares[0], **WHERE, point=1)
        assert caught.value.party == b"dealer"


@each_scheme
def test_duplicate_x_and_too_few(scheme) -> None:
    vss, commitment, shares = deal(scheme)
    with pytest.raises(ParameterError, match="threshold is 2 with 1"):
        vss.combine(commitment, shares[:1], **WHERE)
    with pytest.raises(ParameterError, match="twice"):
        vss.combine(commitment, [shares[0], shares[0]], **WHERE)
    for other in (deal(scheme, context=b"s2"), deal(scheme, owner=b"x"), deal(scheme, n=5)):
        with pytest.raises(ParameterError, match="does not belong"):
            vss.combine(commitment, [shares[0], other[2][1]], **WHERE)


@each_scheme
def test_sums(scheme) -> None:
    vss = scheme(5, 3)
    dealt = [vss.deal(RISTRETTO255.scalar(s), owner=b"d%d" % k, context=b"s1") for k, s in enumerate((5, 8, -2))]
    commitment = vss.add_commitments([c for c, _ in dealt], owner=b"sum")
    shares = [vss.add_shares([s[i] for _, s in dealt], owner=b"sum") for i in range(5)]
    for i, piece in enumerate(shares):
        vss.check(commitment, piece, owner=b"sum", context=b"s1", point=i + 1)
    assert int(vss.combine(commitment, shares[1:4], owner=b"sum", context=b"s1")) == 11
    with pytest.raises(RemoteError):
        vss.check(commitment, change(shares[0]), owner=b"sum", context=b"s1", point=1)
    others = [
        deal(scheme, 5, 3, context=b"s2"),
        deal(scheme, 5, 2),
        deal(scheme, 6, 3),
        deal(scheme, 5, 3, group=BN254),
    ]
    for other in others:
        with pytest.raises(ParameterError, match="do not add"):
            vss.add_commitments([dealt[0][0], other[1]], owner=b"sum")
    for other in (others[0], others[2], others[3]):
        with pytest.raises(ParameterError, match="do not add"):
            vss.add_shares([dealt[0][1][0], other[2][0]], owner=b"sum")
    with pytest.raises(ParameterError, match="do not add"):
        vss.add_shares([dealt[0][1][0], dealt[1][1][1]], owner=b"sum")
    with pytest.raises(ParameterError, match="no commitment"):
        vss.add_commitments([], owner=b"sum")
    with pytest.raises(ParameterError, match="no share"):
        vss.add_shares([], owner=b"sum")


def test_coefficients_may_be_zero() -> None:
    """A dealing whose coefficients are all zero is one of the possible ones, and opens."""
    vss, commitment, shares = deal(PedersenVss, rng=bytes)
    assert all(value(s) == 77 for s in shares)
    vss.check(commitment, shares[3], **WHERE, point=4)
    assert int(vss.combine(commitment, shares[2:], **WHERE)) == 77


@each_scheme
@each_group
def test_the_wire(scheme, group) -> None:
    vss, commitment, shares = deal(scheme, group=group)
    for message in (commitment, *shares):
        data = message.to_bytes()
        again = type(message).from_bytes(data, max_bytes=1 << 16)
        assert again.to_bytes() == data
        for bad in (data[:-1], data + b"\0", b""):
            with pytest.raises(CodecError):
                type(message).from_bytes(bad, max_bytes=1 << 16)
    piece = VssShare.from_bytes(shares[0].to_bytes(), max_bytes=1 << 16)
    vss.check(VssCommitment.from_bytes(commitment.to_bytes(), max_bytes=1 << 16), piece, **WHERE, point=1)


def test_encodings_that_are_not_canonical() -> None:
    _, commitment, shares = deal(PedersenVss)
    data = shares[0].to_bytes()
    for k in range(2):  # the same residue, plus the order
        values = [value(shares[0], j) for j in range(2)]
        values[k] = values[k] + Q
        raw = b"".join(v.to_bytes(32, "little") for v in values)
        with pytest.raises(CodecError, match="not below the order"):
            VssShare.from_bytes(data[:-64] + raw, max_bytes=1 << 16)
    data = commitment.to_bytes()
    with pytest.raises(CodecError):
        VssCommitment.from_bytes(data[:-32] + b"\xff" * 32, max_bytes=1 << 16)
    # More elements than parties.
    with pytest.raises(ParameterError, match="elements"):
        replace(commitment, parties=1)
    for field, bad in (("scheme", 3), ("group", "P-256"), ("parties", 0), ("elements", b""), ("elements", bytes(33))):
        with pytest.raises(ParameterError):
            replace(commitment, **{field: bad})
    for field, bad in (("scheme", 1), ("parties", 3), ("values", bytes(32)), ("point", 5)):
        with pytest.raises(ParameterError):
            replace(shares[3], **{field: bad})


def test_what_is_refused() -> None:
    for n, k in ((0, 1), (3, 0), (3, 4), (2**14 + 1, 1)):
        with pytest.raises(ParameterError):
            PedersenVss(n, k)
    with pytest.raises(ParameterError, match="one scalar"):
        FeldmanVss(3, 2).deal(BN254.scalar(1), **WHERE)
    with pytest.raises(ParameterError, match="64 bytes"):
        FeldmanVss(3, 2).deal(RISTRETTO255.scalar(1), owner=bytes(65), context=b"")
    with pytest.raises(ParameterError, match="rng gave"):
        FeldmanVss(3, 2).deal(RISTRETTO255.scalar(1), **WHERE, rng=lambda n: bytes(n - 64))


def test_repr_hides_the_values() -> None:
    _, _, shares = deal(PedersenVss)
    assert "hidden" in repr(shares[0])
    assert repr(shares[0].values) not in repr(shares[0])
