"""Attacks of colluding clients, and of a server that changes what clients sent.

Where the protocol can tell who lied, the error names the party; nothing is decoded either way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import privcomp.secagg.client as client_module
from privcomp import keys
from privcomp.errors import CodecError, RemoteError, RoundAborted
from privcomp.secagg import SEMI_HONEST, Segment
from privcomp.secagg.context import KIND_ROOT, RootKeys, root_keys
from privcomp.secagg.messages import Bundle
from tests.secagg.harness import Round, World, decode, edit, refused


def place(round: Round, i: int) -> int:
    return round.server.directory.place[round.world[i].id]


def flip(data: bytes, at: int = 0, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


# ---- 8: keys of low order ----

LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (325606250916557431795983626356110631294008115727848805560023387167927233504).to_bytes(32, "little"),
    (39382357235489614581723060781553021112529911719440698176882885853963445705823).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    (2**255 - 1).to_bytes(32, "little"),
    (2**255).to_bytes(32, "little"),
    (2**255 + 1).to_bytes(32, "little"),
    b"\xff" * 32,
]


@pytest.mark.parametrize("field", ["channel_key", "mask_key"])
@pytest.mark.parametrize("key", LOW_ORDER, ids=lambda key: key.hex()[:8] + ".." + key.hex()[-4:])
def test_attack_08_low_order_and_non_canonical_keys(field: str, key: bytes) -> None:
    """A key under which every shared secret is zero (or that has two encodings) is refused and its owner named."""
    world = World(4)
    round = world.round()
    bad = round.advertise_as(3, **{field: key})
    with pytest.raises(RemoteError, match=r"low order|not canonical") as caught:
        round.server.receive(bad)
    assert caught.value.party == world[3].id
    del round.requests[world[3].id]
    round.run_to("share")
    entries = (*decode(round.request(0)).entries, bad)
    with refused(world[0], RemoteError, "low order|not canonical") as refusal:
        world[0].receive(edit(round.request(0), entries=entries))
    assert refusal.value.party == world[3].id  # type: ignore[attr-defined]
    round.finish()


# ---- 9: share ciphertexts ----


def change_bundle(round: Round, victim: int, owner: int, change: Callable[[Bundle], Bundle]) -> bytes:
    """The victim's mask request with one changed bundle."""
    at = place(round, owner)
    return edit(round.request(victim), bundles=lambda all_: tuple(change(b) if b.peer == at else b for b in all_))


def test_attack_09_changed_share_ciphertexts() -> None:
    """A flipped bit anywhere, a truncated tag, nothing at all: refused, the owner named; the true one still opens."""
    world = World(5)
    round = world.round().run_to("mask")
    sealed = next(b.sealed for b in decode(round.request(0)).bundles if b.peer == place(round, 2))
    flips = [flip(sealed, at, at % 8) for at in range(0, len(sealed), 7)]
    for bad in (*flips, sealed[:-1], sealed[:-16], sealed + b"\0", sealed[:47], b""):
        with refused(world[0], RemoteError, "its bundle cannot be opened") as caught:
            world[0].receive(change_bundle(round, 0, 2, lambda b, bad=bad: replace(b, sealed=bad)))  # type: ignore[misc]
        assert caught.value.party == world[2].id  # type: ignore[attr-defined]
    round.finish()


def test_attack_09_swapped_recipients_and_owners() -> None:
    """A bundle opens for its recipient, as its owner's, in this order of the pair only."""
    world = World(5)
    round = world.round().run_to("mask")
    mine = {b.peer: b for b in decode(round.request(0)).bundles}
    other_s = {b.peer: b for b in decode(round.request(1)).bundles}
    two, three = place(round, 2), place(round, 3)
    my_own = next(b for b in decode(round.sent["share", world[0].id][0]).bundles if b.peer == two)
    for sealed in (other_s[two].sealed, mine[three].sealed, my_own.sealed):
        with refused(world[0], RemoteError, "its bundle cannot be opened"):
            world[0].receive(change_bundle(round, 0, 2, lambda b, s=sealed: replace(b, sealed=s)))  # type: ignore[misc]
    round.finish()


def test_attack_09_a_colluder_s_bundle_that_its_signature_does_not_cover() -> None:
    """Shares are signed by their owner: what a colluder seals without a signature, or for somebody else, is refused."""
    world = World(5)
    round = world.round().run_to("mask")
    directory, sealed_for = round.server.directory, place(round, 0)
    world[3].receive(round.request(3))
    pair = world[3].secrets.pairs[0]  # what client 0 dealt to client 3, under client 0's signature
    ad = directory.channel_context(place(round, 3), sealed_for)
    shared = keys.x25519(world[3].secrets.channel, directory.entries[sealed_for].channel_key)
    key = keys.hkdf(shared, *ad, label="privcomp-secagg-channel")
    for text, content in (
        ("signature of its shares does not verify", pair.to_bytes()),
        ("signature of its shares does not verify", replace(pair, signature=bytes(64)).to_bytes()),
        ("cannot be opened", pair.to_bytes()[:-1]),
        ("cannot be opened", b""),
    ):
        sealed = keys.seal(key, content, *ad, label="privcomp-secagg-bundle")
        with refused(world[0], RemoteError, text) as caught:
            world[0].receive(change_bundle(round, 0, 3, lambda b, s=sealed: replace(b, sealed=s)))  # type: ignore[misc]
        assert caught.value.party == world[3].id  # type: ignore[attr-defined]
    round.finish()


# ---- 10: (key, nonce) ----


def test_attack_10_no_salt_repeats_over_rounds_restarts_and_a_broken_generator() -> None:
    """Every sealed bundle has its own salt, hence its own (key, nonce); a restart sends old bytes, it seals nothing."""
    world = World(5)
    salts: list[bytes] = []
    for number in range(1, 4):
        round = world.round(number, model=b"model %d" % number).run_to("share")
        for i in range(5):
            sent = world[i].receive(round.request(i))
            salts += [bundle.sealed[:32] for bundle in decode(sent[0]).bundles]
            world[i].restart()
            assert world[i].receive(round.request(i)) == sent
        round.finish()
    assert len(set(salts)) == len(salts) == 60
    # Even where every draw of the shares' sealing is the same, other shares give other salts.
    world = World(5)
    round = world.round().run_to("share")
    world[0].client._rng = lambda size: b"\7" * size
    bundles = decode(world[0].receive(round.request(0))[0]).bundles
    assert len({bundle.sealed[:32] for bundle in bundles}) == 4
    round.finish()


# ---- 19 and 26: wrong shares at the end ----


def spoil(round: Round, liar: int, owner: int, **changes: Any) -> None:
    """The liar answers with something else for one owner, under its own valid signature."""
    answer = decode(round.world[liar].receive(round.request(liar))[0])
    at = place(round, owner)
    shares = tuple(replace(s, **changes) if s.owner == at else s for s in answer.shares)
    assert shares != answer.shares
    round.server.receive(round.resign(liar, replace(answer, shares=shares), "unmask"))
    del round.requests[round.world[liar].id]


def test_attack_19_a_peer_s_wrong_share_is_named_and_left_out() -> None:
    """With more than t shares the sum is exact and the liar named; no share of a liar enters the result."""
    world = World(7, adversary=SEMI_HONEST)
    for number, wrong in enumerate((bytes(40), b"\xff" * 40, b"\1" + bytes(39)), 1):
        round = world.round(number, model=b"model %d" % number).run_to("unmask", {6: "mask"})
        spoil(round, 0, 1, share=wrong)
        round.collect()
        result = round.check(round.server.result())
        assert result.faulty.keys() == {world[0].id}
        assert "released a share of b'client-001' that its owner did not sign" in result.faulty[world[0].id]


def test_attack_19_wrong_shares_of_a_mask_root_among_too_few() -> None:
    """t - 1 correct shares and two wrong ones: an abort that names a liar; a late correct share completes the sum."""
    world = World(7, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask", {6: "mask"})
    assert round.server.directory.thresholds.threshold == 4
    spoil(round, 0, 6, share=bytes(40))
    spoil(round, 1, 6, share=b"\1" + bytes(39))
    round.collect([world[5].id])
    with pytest.raises(RoundAborted, match="3 valid shares of b'client-006', 4 are needed") as caught:
        round.server.result()
    assert caught.value.party == world[0].id
    for message in world[5].receive(round.request(5)):
        round.server.receive(message)
    assert set(round.check(round.server.result()).faulty) == {world[0].id, world[1].id}


def shifted(share: bytes, liar: int, holders: list[int]) -> bytes:
    """A share with which these holders reconstruct a well-formed secret that is one larger than the true one."""
    p, factor = 2**61 - 1, 1
    for other in holders:
        if other != liar:
            factor = factor * other * pow(other - liar, -1, p) % p
    limb = int.from_bytes(share[:8], "little")
    return ((limb + pow(factor, -1, p)) % p).to_bytes(8, "little") + share[8:]


def test_attack_26_a_wrong_b_share_with_exactly_t_shares() -> None:
    """t points always fit a polynomial: only H(b) shows that its value is not b. The liar is named, none decoded."""
    world = World(7, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask")
    assert round.server.directory.thresholds.threshold == 4
    # 1, 2, 3 and 4 answer for client 0: exactly t. Client 4 knows at which points, and shifts the secret by one.
    true = next(pair.b for j, pair in zip(world[4].secrets.held, world[4].secrets.pairs, strict=True) if j == 0)
    holders = [place(round, i) + 1 for i in (1, 2, 3, 4)]
    spoil(round, 4, 0, share=shifted(true, place(round, 4) + 1, holders))
    round.collect([world[i].id for i in (0, 5, 6)])
    with pytest.raises(RoundAborted, match="3 valid shares of b'client-000', 4 are needed") as caught:
        round.server.result()
    assert caught.value.party == world[4].id
    for i in (0, 5, 6):
        round.server.receive(world[i].receive(round.request(i))[0])
    assert set(round.check(round.server.result()).faulty) == {world[4].id}


def test_attack_19_an_answer_of_other_shares_than_asked_for() -> None:
    """Missing, double or foreign shares, and shares of the wrong kind, are refused on arrival, their sender named."""
    world = World(6, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask", {5: "mask"})
    answer = decode(world[0].receive(round.request(0))[0])
    shares = answer.shares
    other_kind = tuple(replace(s, kind=KIND_ROOT) for s in shares)
    for bad in (
        shares[1:],
        shares + shares[:1],
        shares[::-1],
        other_kind,
        (),
        (replace(shares[0], owner=0), *shares[1:]),
    ):
        with pytest.raises(RemoteError, match="not exactly those that were asked for") as caught:
            round.server.receive(round.resign(0, replace(answer, shares=bad), "unmask"))
        assert caught.value.party == world[0].id
    with pytest.raises(RemoteError, match="another survivor set"):
        round.server.receive(round.resign(0, replace(answer, u_digest=bytes(32)), "unmask"))
    with pytest.raises(RemoteError, match="signature does not verify"):
        round.server.receive(replace(answer, signature=bytes(64)).to_bytes())
    round.finish({5: "mask"})


def deal_another_secret(monkeypatch: pytest.MonkeyPatch, liar: Any, request: bytes, which: int) -> list[bytes]:
    """The liar deals correct shares of a secret that is not the one it has advertised (0: b, 1: mask root)."""
    honest = client_module.share_many

    def dealt(secrets: list[bytes], *args: Any, **options: Any) -> Any:
        others = [flip(s) if k == which else s for k, s in enumerate(secrets)]
        return honest(others, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(client_module, "share_many", dealt)
        return liar.receive(request)


@pytest.mark.parametrize("which", [0, 1], ids=["b", "mask root"])
def test_attack_33_an_owner_that_shares_another_secret(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed shares that open something else than the advertised hash name their owner; nothing is decoded."""
    world = World(6, adversary=SEMI_HONEST)
    round = world.round().run_to("share")
    deal_another_secret(monkeypatch, world[4], round.request(4), which)
    lost = {4: "mask"} if which else {}
    round.run_to("unmask", lost)
    round.collect()
    with pytest.raises(RemoteError, match="do not give the secret that it advertised; nothing is decoded") as caught:
        round.server.result()
    assert caught.value.party == world[4].id
    assert round.stage == "unmask"


# ---- 26 and 33: mask roots ----


def test_attack_26_reconstructed_mask_root_opens_no_share_channel() -> None:
    """What is shared is the mask root, not the channel key: with a dropped client's root the server reads no share."""
    world = World(5)
    round = world.round().run_to("mask")
    directory, context = round.server.directory, round.server.context
    me = place(round, 0)
    root = root_keys(context, world[0].secrets.root)  # what t shares give away when client 0 drops
    reconstructed = (root.key, keys.X25519Key(world[0].secrets.root))
    for bundle in decode(round.request(0)).bundles:
        peer = directory.entries[bundle.peer]
        ad = directory.channel_context(bundle.peer, me)
        opened = keys.hkdf(
            keys.x25519(world[0].secrets.channel, peer.channel_key), *ad, label="privcomp-secagg-channel"
        )
        assert keys.open_sealed(opened, bundle.sealed, *ad, label="privcomp-secagg-bundle")
        for secret in reconstructed:
            for public in (peer.channel_key, peer.mask_key):
                key = keys.hkdf(secret.exchange(public), *ad, label="privcomp-secagg-channel")
                with pytest.raises(CodecError, match="does not authenticate"):
                    keys.open_sealed(key, bundle.sealed, *ad, label="privcomp-secagg-bundle")
    assert root.public != keys.x25519_public(world[0].secrets.channel)
    round.finish()


def test_attack_33_a_root_that_does_not_give_the_advertised_mask_key() -> None:
    """The hash of the root is right, the mask key is another one's: a reconstructed root must reproduce *all* keys."""
    world = World(6, adversary=SEMI_HONEST)
    round = world.round()
    other = keys.x25519_public(b"\5" * 32)
    round.server.receive(round.advertise_as(4, mask_key=other))
    for i in (0, 1, 2, 3, 5):
        round.server.receive(world[i].receive(round.request(i))[0])
    round.requests = dict(round.server.advance())
    round.run_to("unmask", {4: "mask"})
    round.collect()
    with pytest.raises(RemoteError, match="do not give the secret that it advertised; nothing is decoded") as caught:
        round.server.result()
    assert caught.value.party == world[4].id


def test_attack_33_a_kem_key_that_does_not_follow_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hybrid mode: the ML-KEM mask key must follow from the root as well."""
    world = World(5, adversary=SEMI_HONEST, hybrid=True)
    round = world.round()
    own_seed = keys.mlkem_public(b"\6" * 64)
    round.server.receive(round.advertise_as(4, mask_kem=own_seed))
    for i in range(4):
        round.server.receive(world[i].receive(round.request(i))[0])
    round.requests = dict(round.server.advance())
    round.run_to("unmask", {4: "mask"})
    round.collect()
    with pytest.raises(RemoteError, match="do not give the secret that it advertised") as caught:
        round.server.result()
    assert caught.value.party == world[4].id


def test_attack_33_a_pair_secret_other_than_its_prf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hybrid mode: r_ij with a matching hash, but not PRF(root): found when the sender's root is reconstructed."""
    world = World(6, adversary=SEMI_HONEST, hybrid=True)
    round = world.round().run_to("share")
    with monkeypatch.context() as patch:
        patch.setattr(client_module, "pair_extra", lambda *_: b"\1" * 32)
        world[0].receive(round.request(0))
    round.run_to("unmask", {0: "mask"})
    round.collect()
    with pytest.raises(RemoteError, match="its root does not give the pair secret that it sent") as caught:
        round.server.result()
    assert caught.value.party == world[0].id
    assert round.stage == "unmask"


def test_attack_33_a_pair_secret_with_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hybrid mode: the recipient checks r_ij against the published hash before it masks with it."""
    world = World(5, hybrid=True)
    round = world.round().run_to("share")
    with monkeypatch.context() as patch:
        patch.setattr(client_module, "pair_extra_hash", lambda *_: bytes(32))
        world[0].receive(round.request(0))
    round.run_to("mask")
    with refused(world[1], RemoteError, "does not have the published hash") as caught:
        world[1].receive(round.request(1))
    assert caught.value.party == world[0].id  # type: ignore[attr-defined]


def test_mask_keys_follow_from_the_root_and_are_redacted() -> None:
    """Everything of the mask root is a function of it; repr shows none of it."""
    context = World(5, hybrid=True).round().server.context
    a, b = root_keys(context, b"\1" * 32), root_keys(context, b"\1" * 32)
    assert (a.public, a.kem_public, a.kem_seed) == (b.public, b.kem_public, b.kem_seed)
    assert root_keys(context, b"\2" * 32).public != a.public
    assert isinstance(a, RootKeys)
    assert repr(a) == "RootKeys(<redacted>)"


# ---- 27 and 27b: uploads ----


def upload(world: World, round: Round, i: int) -> tuple[list[bytes], bytes]:
    *blocks, end = world[i].receive(round.request(i))
    return blocks, end


def test_attack_27_a_corrupted_masked_vector() -> None:
    """A changed block does not have the signed root: nothing of it is in the sum, and nobody is named for it.

    Blocks are unsigned, so anybody may have changed it; the right blocks may still come, and then count.
    """
    world = World(6, segments=(Segment.ring(20, 150),), block_entries=64)
    for number, mended in enumerate((False, True), 1):
        round = world.round(number, model=b"model %d" % number).run_to("mask")
        blocks, end = upload(world, round, 0)
        bad = edit(blocks[1], payload=lambda p: flip(p, 3))
        for message in (blocks[0], bad, blocks[2]):
            round.server.receive(message)
        with pytest.raises(RemoteError, match="do not have the root that it signed") as caught:
            round.server.receive(end)
        assert caught.value.party is None
        assert world[0].id in round.server.pending
        for message in blocks if mended else blocks[:2]:
            round.server.receive(message)
        del round.requests[world[0].id]
        result = round.finish()
        assert (world[0].id in result.survivors) is mended
        assert not round.server.refused


def test_attack_27_a_changed_last_message() -> None:
    """Root, peers, U2 digest, attachment and id stand under the signature."""
    world = World(6, attachment_bytes=8)
    world[0].attachment = b"proof"
    round = world.round().run_to("mask")
    blocks, end = upload(world, round, 0)
    for change in (
        {"root": bytes(32)},
        {"attachment": b"other"},
        {"peers": round.bits(range(6))},
        {"u2_digest": bytes(32)},
        {"list_hash": bytes(32)},
        {"signature": bytes(64)},
    ):
        with pytest.raises(RemoteError, match="signature does not verify"):
            round.server.receive(edit(end, **change))
    for message in (*blocks, end):
        round.server.receive(message)
    del round.requests[world[0].id]
    assert world[0].id in round.finish().survivors


def test_attack_27_blocks_that_do_not_fit() -> None:
    """Unknown, short or long blocks are refused one by one, another one is replaced; the true upload completes."""
    world = World(6, segments=(Segment.ring(20, 150),), block_entries=64)
    round = world.round().run_to("mask")
    blocks, end = upload(world, round, 0)
    for change, text in (
        ({"segment": 1}, "does not exist"),
        ({"index": 3}, "does not exist"),
        ({"payload": lambda p: p[:-1]}, "bytes, needed are"),
        ({"payload": lambda p: p + b"\0"}, "bytes, needed are"),
        ({"id": b"nobody"}, "not in the key list"),
    ):
        with pytest.raises(RemoteError, match=text):
            round.server.receive(edit(blocks[0], **change))
    round.server.receive(blocks[0])
    round.server.receive(edit(blocks[0], payload=lambda p: flip(p)))  # the last one stands until the root decides
    for message in (*blocks, end, *blocks, edit(blocks[0], payload=lambda p: flip(p))):
        round.server.receive(message)
    del round.requests[world[0].id]
    assert world[0].id in round.finish().survivors


@pytest.mark.parametrize("sent", [0, 1, 2, 3], ids=lambda n: f"{n} of 3 blocks")
def test_attack_27b_a_client_that_dies_in_the_middle_of_its_upload(sent: int) -> None:
    """Blocks without the signed last message leave no trace in the sum and no place in U."""
    world = World(6, segments=(Segment.ring(20, 150),), block_entries=64)
    round = world.round().run_to("mask")
    blocks, _ = upload(world, round, 0)
    for message in blocks[:sent]:
        round.server.receive(message)
    del round.requests[world[0].id]
    assert world[0].id in round.server.pending
    assert world[0].id not in round.finish().survivors


def test_attack_27b_the_last_message_without_all_blocks() -> None:
    """A signed end whose blocks are not all there waits, and is left out when the stage closes."""
    world = World(6, segments=(Segment.ring(20, 150),), block_entries=64)
    round = world.round().run_to("mask")
    blocks, end = upload(world, round, 0)
    for message in (end, *blocks[1:]):
        round.server.receive(message)
    del round.requests[world[0].id]
    assert world[0].id not in round.finish().survivors


# ---- 28: ids ----


def test_attack_28_ids_are_bytes_and_compared_exactly() -> None:
    """Look-alikes, other normal forms, prefixes, separators and zero bytes are different clients in one round."""
    look_alikes = [
        "Cafe\u0301",
        "Caf\u00e9",
        "\u0421af\u00e9",
        "caf\u00e9",
        "Caf\u00e9 ",
        "Caf",
        "Caf\u00e9\0",
        "a|b",
        "a",
    ]
    ids = [name.encode() for name in look_alikes]
    world = World(len(ids), ids=ids)
    round = world.round()
    result = round.finish()
    assert result.survivors == tuple(sorted(ids))
    # One client's message does not pass for that of its look-alike.
    second = world.round(2, model=b"next")
    message = world[0].receive(second.request(0))[0]
    for other in world.ids[1:]:
        with pytest.raises(RemoteError):
            second.server.receive(edit(message, id=other), other)


def test_attack_28_every_binding_of_ids_is_length_prefixed() -> None:
    """(a, bc) and (ab, c) are different pairs in keys, shares and lists."""
    world = World(4, ids=[b"a", b"ab", b"bc", b"c"])
    directory = world.round().run_to("share").server.directory
    a, ab, bc, c = (directory.place[i] for i in (b"a", b"ab", b"bc", b"c"))
    assert directory.channel_context(a, bc) != directory.channel_context(ab, c)
    assert directory.leaf(0, a, bc, bytes(40)) != directory.leaf(0, ab, c, bytes(40))
    assert directory.shares_body(a, bc, b"", b"") != directory.shares_body(ab, c, b"", b"")


# ---- the upload's attachment ----


def test_accept_keeps_an_upload_out_of_the_sum() -> None:
    """The layer above may refuse an upload by its attachment: it is not in U; its client is named with the reason."""
    world = World(6, attachment_bytes=4)
    for i in range(6):
        world[i].attachment = b"good"
    world[2].attachment = b"bad"
    round = world.round(accept=lambda party, attachment: attachment == b"good").run_to("mask")
    for i in range(6):
        messages = world[i].receive(round.request(i))
        for message in messages[:-1]:
            round.server.receive(message)
        if i == 2:
            with pytest.raises(RemoteError, match="the upload was refused") as caught:
                round.server.receive(messages[-1])
            assert caught.value.party == world[2].id
        else:
            round.server.receive(messages[-1])
    round.requests = dict(round.server.advance())
    result = round.finish()
    assert world[2].id not in result.survivors
    assert "refused" in round.server.refused[world[2].id]


def test_non_canonical_residues_are_refused_before_anything_is_added() -> None:
    """A residue of l or more, or padding bits, would give the sum a second encoding: the whole upload is left out."""
    modulus = 2**61 - 1
    world = World(6, segments=(Segment.ring(20, 3), Segment.prime(modulus, 2)))
    round = world.round().run_to("mask")
    blocks, end = upload(world, round, 0)
    at = next(k for k, block in enumerate(blocks) if decode(block).segment == 1)
    for k, bad in ((at, modulus.to_bytes(32, "little") * 2), (at, b"\xff" * 64), (0, b"\xff" * 8)):
        fresh = World(6, segments=(Segment.ring(20, 3), Segment.prime(modulus, 2))).round().run_to("mask")
        pieces, last = upload(fresh.world, fresh, 0)
        pieces[k] = edit(pieces[k], payload=bad)
        from privcomp.secagg.context import block_leaf, upload_root

        parts = [decode(piece) for piece in pieces]
        root = upload_root(block_leaf(p.segment, p.index, p.payload) for p in parts)
        for message in pieces:
            fresh.server.receive(message)
        with pytest.raises(RemoteError, match="not canonical") as caught:
            fresh.server.receive(fresh.resign(0, replace(decode(last), root=root), "mask"))
        assert caught.value.party == fresh.world[0].id
        del fresh.requests[fresh.world[0].id]
        assert fresh.world[0].id not in fresh.finish().survivors
    for message in (*blocks, end):
        round.server.receive(message)
    del round.requests[world[0].id]
    assert np.all(round.finish().sums[0] < 1 << 20)
