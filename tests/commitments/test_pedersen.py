"""Pedersen commitments: against plain integers, binding to every part, additive; and their generators."""

from __future__ import annotations

import hashlib

import pytest

from privcomp.algebra import BN254, RISTRETTO255, Group
from privcomp.commitments import Generators, Pedersen
from privcomp.errors import ParameterError, RemoteError
from tests.reference import groups as twin

each_group = pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)


@each_group
def test_generators_are_hashes_of_their_names(group: Group) -> None:
    found = Generators.derive(group, 3, 2)
    hash_name, dst, width, make = (
        ("sha512", b"privcomp-v1-gens-ristretto255_XMD:SHA-512_R255MAP_RO_", 64, twin.ristretto_from_uniform)
        if group is RISTRETTO255
        else ("sha256", b"privcomp-v1-gens-BN254G1_XMD:SHA-256_SVDW_RO_", 96, twin.bn_from_uniform)
    )
    encodings = []
    for label in (b"Gamma0", b"Gamma1", b"Gamma2", b"G0", b"G1", b"H", b"U"):
        encodings.append(make(twin.expand_message_xmd(hash_name, label, dst, width)).encode())
    ours = [*found.columns, *found.messages, found.blinding, found.product]
    assert [point.encode() for point in ours] == encodings
    assert len(set(encodings)) == 7
    tag = hashlib.sha512()
    for part in (group.name.encode(), *encodings):
        tag.update(len(part).to_bytes(8, "little") + part)
    assert found.tag == tag.digest()
    assert Generators.derive(group, 3, 2) is found
    assert Generators.derive(group, 2, 3).tag != found.tag
    for sizes in ((0, 0), (1, -1), (1 << 21, 0), (1, 1 << 21)):
        with pytest.raises(ParameterError, match="generators"):
            Generators.derive(group, *sizes)


@each_group
def test_commit_and_open(group: Group) -> None:
    pedersen = Pedersen.derive(3, group)
    values = group.scalars([5, -7, 0])
    commitment, blinding = pedersen.commit(values)
    pedersen.check(commitment, values, blinding)
    bases = [*pedersen.bases, pedersen.blinding]
    total = group.identity
    for base, scalar in zip(bases, [*values, blinding], strict=True):
        total += base * scalar
    assert commitment == total
    other, again = pedersen.commit(values)
    assert other != commitment
    assert again != blinding
    for bad in (group.scalars([5, -7, 1]), group.scalars([-7, 5, 0]), group.scalars([-5, 7, 0])):
        with pytest.raises(RemoteError, match="does not belong"):
            pedersen.check(commitment, bad, blinding)
    with pytest.raises(RemoteError, match="does not belong"):
        pedersen.check(commitment, values, again)
    with pytest.raises(RemoteError, match="does not belong"):
        pedersen.check(other, values, blinding)
    nothing, none = group.decode_many(b"", 0), group.decode_scalars(b"", 0)
    for arguments in ((nothing, values, none), (nothing, values, blinding), (commitment, values, none)):
        with pytest.raises(ParameterError):  # no elements are equal to no elements
            pedersen.check(*arguments)
    with pytest.raises(ParameterError, match="a commitment has one"):
        pedersen.commit_with(values, group.scalars([1, 2, 3]))
    with pytest.raises(ParameterError, match="takes 3"):
        pedersen.commit(group.scalars([1]))


@each_group
def test_commitments_add_up(group: Group) -> None:
    pedersen = Pedersen.derive(2, group)
    a, b = group.scalars([1, 2]), group.scalars([10, -20])
    (ca, ra), (cb, rb) = pedersen.commit(a), pedersen.commit(b)
    pedersen.check(ca + cb, a + b, ra + rb)
    pedersen.check(ca - cb, a - b, ra - rb)
    with pytest.raises(RemoteError):
        pedersen.check(ca + cb, a + b, ra)


def test_all_of_a_tiny_corner() -> None:
    """Every small vector and blinding has its own commitment, and opens to nothing else."""
    pedersen = Pedersen.derive(2)
    found = {}
    for x in range(4):
        for y in range(4):
            for r in range(4):
                scalars = RISTRETTO255.scalars([x, y])
                found[pedersen.commit_with(scalars, RISTRETTO255.scalar(r))] = (x, y, r)
    assert len(found) == 64


def test_the_blinding_comes_from_rng() -> None:
    pedersen = Pedersen.derive()
    values = RISTRETTO255.scalars([9])
    one, two = (pedersen.commit(values, lambda n: b"\7" * n) for _ in range(2))
    assert one == two
    assert int(one[1]) == int.from_bytes(b"\7" * 64, "little") % RISTRETTO255.order
