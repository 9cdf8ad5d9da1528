"""Hybrid mode: X25519 with ML-KEM-768, in the channels and in the pairwise masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from privcomp import keys
from privcomp.errors import RemoteError
from privcomp.secagg import MALICIOUS, SEMI_HONEST, Segment
from privcomp.secagg.context import pair_extra, pair_secret
from privcomp.secagg.messages import KeyList, PairSecret
from tests.secagg.harness import ELL, World, decode, edit, refused


@pytest.mark.parametrize("adversary", [SEMI_HONEST, MALICIOUS])
@pytest.mark.parametrize("cipher", [1, 2])
def test_exact_sums_with_losses_of_lower_and_higher_ids(adversary: str, cipher: int) -> None:
    """A dropped client's r_ij is recomputed from its root where it is the lower id, opened by its KEM key where not."""
    world = World(
        6, adversary=adversary, hybrid=True, cipher=cipher, segments=(Segment.ring(30, 4), Segment.prime(ELL, 2))
    )
    for number, lost in enumerate(({}, {0: "mask"}, {5: "mask"}, {2: "mask"}, {2: "share"}), 1):
        round = world.round(number, model=b"model %d" % number)
        assert len(round.finish(lost).survivors) == 6 - len(lost)


def test_every_pair_has_its_own_secret_and_direction() -> None:
    """The lower id sends r_ij, once per pair; both channels of a pair have a KEM ciphertext of their own."""
    world = World(4, hybrid=True)
    round = world.round().run_to("mask")
    ciphertexts, pairs = set(), set()
    for node in world.nodes:
        me = round.server.directory.place[node.id]
        for bundle in decode(round.sent["share", node.id][0]).bundles:
            ciphertexts.add(bundle.ciphertext)
            assert len(bundle.pair) == (me < bundle.peer)
            pairs |= {pair.hash for pair in bundle.pair}
    assert len(ciphertexts) == 12
    assert len(pairs) == 6
    round.finish()


def test_masks_need_both_x25519_and_the_kem() -> None:
    """s_ij changes with r_ij and with the X25519 secret: who breaks one of them has not the mask."""
    world = World(4, hybrid=True)
    round = world.round().run_to("mask")
    directory, u2 = round.server.directory, round.u2()
    a, b = bytes(32), b"\1" * 32
    secrets = {pair_secret(directory, u2, 0, 1, shared, extra) for shared in (a, b) for extra in (a, b, b"")}
    assert len(secrets) == 6
    context = round.server.context
    assert pair_extra(context, a, world.ids[1]) != pair_extra(context, a, world.ids[2])
    round.finish()


def test_channels_need_both_x25519_and_the_kem() -> None:
    """Recorded shares do not open with the X25519 secret alone."""
    world = World(4, hybrid=True)
    round = world.round().run_to("mask")
    directory = round.server.directory
    me = directory.place[world[0].id]
    bundle = decode(round.request(0)).bundles[0]
    ad = directory.channel_context(bundle.peer, me)
    shared = keys.x25519(world[0].secrets.channel, directory.entries[bundle.peer].channel_key)
    kem = keys.mlkem_decapsulate(world[0].secrets.channel_kem, bundle.ciphertext)
    key = keys.hkdf(shared + kem, *ad, label="privcomp-secagg-channel")
    assert keys.open_sealed(key, bundle.sealed, *ad, label="privcomp-secagg-bundle")
    for partial in (shared, kem, shared + bytes(32), kem + shared):
        key = keys.hkdf(partial, *ad, label="privcomp-secagg-channel")
        with pytest.raises(RemoteError):
            keys.open_sealed(key, bundle.sealed, *ad, label="privcomp-secagg-bundle")
    round.finish()


Change = Callable[[PairSecret], PairSecret]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: replace(p, hash=bytes(32)), id="hash"),
        pytest.param(lambda p: replace(p, sealed=p.sealed[:-1] + bytes([p.sealed[-1] ^ 1])), id="sealed"),
        pytest.param(lambda p: replace(p, ciphertext=bytes(1088)), id="ciphertext"),
        pytest.param(lambda p: replace(p, signature=bytes(64)), id="signature"),
    ],
)
def test_a_changed_pair_secret_is_refused_by_its_signature(change: Change) -> None:
    """What the server changes in transit does not verify; the lower id is named."""
    world = World(4, hybrid=True)
    round = world.round().run_to("mask")
    place = round.server.directory.place[world[0].id]

    def altered(bundles: Any) -> Any:
        return tuple(replace(b, pair=tuple(map(change, b.pair))) if b.peer == place else b for b in bundles)

    with refused(world[1], RemoteError, "signature of its pair secret does not verify") as caught:
        world[1].receive(edit(round.request(1), bundles=altered))
    assert caught.value.party == world[0].id  # type: ignore[attr-defined]
    round.finish()


def test_missing_and_superfluous_kem_parts() -> None:
    """A downgrade of one pair is refused on both sides, by the server on arrival and by the recipient."""
    world = World(4, hybrid=True)
    round = world.round().run_to("mask")
    low, high = round.server.directory.place[world[0].id], round.server.directory.place[world[2].id]
    pair = next(b.pair for b in decode(round.request(1)).bundles if b.peer == low)

    def with_pair(owner: int, new: Any) -> Callable[[Any], Any]:
        return lambda bundles: tuple(replace(b, pair=new) if b.peer == owner else b for b in bundles)

    with refused(world[1], RemoteError, "pair secret of the lower id is missing"):
        world[1].receive(edit(round.request(1), bundles=with_pair(low, ())))
    with refused(world[1], RemoteError, "this side of the pair does not send"):
        world[1].receive(edit(round.request(1), bundles=with_pair(high, pair)))
    round.finish()
    plain = World(4).round().run_to("mask")
    victim = plain.world[0]
    bundles = decode(plain.request(0)).bundles
    ciphered = (replace(bundles[0], ciphertext=bytes(1088)), *bundles[1:])
    with refused(victim, RemoteError, "a KEM ciphertext in a session without ML-KEM"):
        victim.receive(edit(plain.request(0), bundles=ciphered))
    with refused(victim, RemoteError, "this side of the pair does not send"):
        victim.receive(edit(plain.request(0), bundles=(replace(bundles[0], pair=pair), *bundles[1:])))
    plain.finish()


def test_the_server_refuses_bundles_without_their_kem_parts() -> None:
    world = World(4, hybrid=True)
    round = world.round().run_to("share")
    honest = decode(world[0].receive(round.request(0))[0])
    for change in ({"pair": ()}, {"ciphertext": b""}, {"ciphertext": bytes(1087)}):
        bad = replace(honest, bundles=(replace(honest.bundles[0], **change), *honest.bundles[1:]))
        with pytest.raises(RemoteError, match="KEM parts of a bundle") as caught:
            round.server.receive(round.resign(0, bad, "share"))
        assert caught.value.party == world[0].id
    round.finish()


@pytest.mark.parametrize("field", ["channel_kem", "mask_kem"])
@pytest.mark.parametrize("key", [b"", bytes(1183), b"\xff" * 1184], ids=["none", "short", "not canonical"])
def test_malformed_kem_keys_are_named(key: bytes, field: str) -> None:
    """A wrong length or a coefficient beyond q is refused on arrival, and by clients in their list."""
    world = World(4, hybrid=True, clients=4)
    round = world.round()
    bad = round.advertise_as(3, **{field: key})
    good = [world[i].receive(round.request(i))[0] for i in range(3)]
    for message in good:
        round.server.receive(message)
    match = "must have 1184 bytes" if len(key) != 1184 else "not canonical"
    with pytest.raises(RemoteError, match=match) as caught:
        round.server.receive(bad)
    assert caught.value.party == world[3].id
    assert world[3].id not in round.server.advertisements
    with refused(world[0], RemoteError, match) as refusal:
        world[0].receive(KeyList(round.server.context.digest, b"", (*good, bad)).to_bytes())
    assert refusal.value.party == world[3].id  # type: ignore[attr-defined]
    round.requests = dict(round.server.advance())
    assert set(round.finish().survivors) == set(world.ids[:3])
