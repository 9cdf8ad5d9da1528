"""Attacks of a server that shows different clients different worlds, or chooses who is in them.

The numbers are those of the threat model's list of attacks. Each test lets the attack run up to the refusal, asserts
the typed error, and then goes on honestly: what was refused has cost nobody its state.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from privcomp.errors import JournalError, ParameterError, PolicyError, RemoteError
from privcomp.keys import Identity
from privcomp.policy import Policy
from privcomp.secagg import MALICIOUS, SECAGGPLUS, SEMI_HONEST, Params, Segment
from privcomp.secagg.context import Directory, RoundContext, key_list_hash
from privcomp.secagg.leaves import Leaves, pack_leaves
from privcomp.secagg.messages import Announce, KeyList
from tests.secagg.harness import OTHER_PURPOSE, SESSION, Round, World, decode, edit, forge, refused


def sparse_world(n: int = 60) -> World:
    """A semi-honest session on a real ring: k = 14 neighbours of 59, t = 4."""
    return World(n, protocol=SECAGGPLUS, adversary=SEMI_HONEST, segments=(Segment.ring(16, 3),))


def changed_leaf(packed: bytes, place: int) -> bytes:
    """The list with another hash at one place."""
    leaves = Leaves(packed, 1 << 20)
    return pack_leaves((leaves.id(p), bytes([place]) * 32 if p == place else leaves.hash(p)) for p in range(leaves.n))


# ---- 2: split views of the survivors ----


def test_attack_02_split_views_of_the_survivors_find_no_quorum() -> None:
    """{0..6} is shown to some, {0..5} to the others: no survivor set has q signatures, so nobody unmasks."""
    world = World(7)
    round = world.round().run_to("consistency")
    everybody, fewer = range(7), range(6)
    q = round.server.directory.thresholds.quorum
    assert q == 4
    signatures = round.sign_survivors((0, 1, 2), everybody)
    others = round.sign_survivors((3, 4, 5), fewer)
    with refused(world[0], RemoteError, "3 signatures over the survivors, 4 are needed"):
        world[0].receive(round.unmask_request(everybody, signatures))
    with refused(world[3], RemoteError, "3 signatures over the survivors, 4 are needed"):
        world[3].receive(round.unmask_request(fewer, others))
    # Nobody signs a second survivor set, so what is missing can only come from client 6.
    with refused(world[0], JournalError, "answered for another request"):
        world[0].receive(round.consistency_request(fewer))
    signatures |= round.sign_survivors((6,), everybody)
    assert world[0].receive(round.unmask_request(everybody, signatures))


def test_attack_02_signatures_over_different_views_do_not_add_up() -> None:
    """Three signatures over U and three over U' are not six over U; nor does one count twice, or a stranger's."""
    world = World(7)
    round = world.round().run_to("consistency")
    everybody, fewer = range(7), range(6)
    good, bad = round.sign_survivors((0, 1, 2), everybody), round.sign_survivors((3, 4, 5), fewer)
    with refused(world[0], RemoteError, "signature of b'client-003' over the survivors does not verify"):
        world[0].receive(round.unmask_request(everybody, good | bad))
    honest = decode(round.unmask_request(everybody, good))
    twice = replace(honest, quorum=(*honest.quorum[:1], *honest.quorum))
    with refused(world[0], RemoteError, "not ascending places"):
        world[0].receive(twice.to_bytes())
    stranger = replace(honest, quorum=(*honest.quorum, replace(honest.quorum[0], signer=7)))
    with refused(world[0], RemoteError, "not ascending places"):
        world[0].receive(stranger.to_bytes())
    # A signature of another round's consistency stage does not count either.
    other = World(7).round(2).run_to("consistency")
    old = other.sign_survivors((3,), everybody)
    with refused(world[0], RemoteError, "does not verify"):
        world[0].receive(round.unmask_request(everybody, good | old))
    assert world[0].receive(round.unmask_request(everybody, good | round.sign_survivors((6,), everybody)))


def test_attack_02_split_views_of_u2_find_no_quorum() -> None:
    """Survivors who masked under different U2 sign different things: the signature covers (U2, U)."""
    world = World(8)
    round = world.round().run_to("mask")
    seven, t = range(7), round.server.directory.thresholds.threshold
    assert t == 5
    for i in (0, 1, 2, 3):  # these are told that client 7 never sent its bundles
        request = decode(round.request(i))
        place = round.server.directory.place[world[7].id]
        bundles = tuple(bundle for bundle in request.bundles if bundle.peer != place)
        world[i].receive(replace(request, u2=round.bits(seven), bundles=bundles).to_bytes())
    for i in (4, 5, 6, 7):
        world[i].receive(round.request(i))
    signatures = round.sign_survivors(range(7), seven)
    for victim in (0, 4):
        with refused(world[victim], RemoteError, "over the survivors does not verify"):
            world[victim].receive(round.unmask_request(seven, signatures))
    halves = [{i: signatures[i] for i in half} for half in ((0, 1, 2, 3), (4, 5, 6))]
    for victim, half in ((0, halves[0]), (4, halves[1])):
        with refused(world[victim], RemoteError, r"signatures over the survivors, 5 are needed"):
            world[victim].receive(round.unmask_request(seven, half))


# ---- 5: Sybils, and a graph of the server's choosing ----


def test_attack_05_neighbours_follow_from_the_hash_of_all_keys() -> None:
    """On a sparse graph the server cannot hand out neighbours: they follow from the list, and so does their number."""
    world = sparse_world()
    round = world.round().run_to("share")
    directory, victim = round.server.directory, world[0]
    k = directory.thresholds.neighbours
    assert k == 14
    honest = decode(round.request(0))
    near = directory.neighbours(directory.place[victim.id])
    assert len(honest.entries) == len(near) + 1 == k + 1
    far = next(p for p in range(60) if p not in near and directory.ids[p] != victim.id)
    stranger = round.server.advertisements[directory.ids[far]]
    gone = next(p for p in sorted(near) if directory.ids[p] != victim.id)
    chosen = sorted((*honest.entries, stranger), key=lambda data: decode(data).id)
    chosen = [data for data in chosen if decode(data).id != directory.ids[gone]]
    for entries in (chosen, list(honest.entries)[:-1], [*honest.entries, stranger]):
        with refused(victim, RemoteError, "not those of this client and its neighbours"):
            victim.receive(replace(honest, entries=tuple(sorted(entries, key=lambda data: decode(data).id))).to_bytes())
    # A neighbour's entry that is not the one of the list, or a list that the neighbours do not see, does not pass.
    other = changed_leaf(honest.leaves, gone)
    with refused(victim, RemoteError, "does not match the list's hashes"):
        victim.receive(replace(honest, leaves=other).to_bytes())
    round.finish()


def test_attack_05_order_of_the_ring_changes_with_every_key() -> None:
    """One other key anywhere in the list gives an unrelated order: nobody places himself beside a victim cheaply."""
    world = sparse_world()
    round = world.round().run_to("share")
    directory = round.server.directory
    orders = {directory.cycle.tobytes()}
    for place in range(0, 60, 7):
        leaves = changed_leaf(decode(round.request(0)).leaves, place)
        changed = Directory(directory.context, key_list_hash(directory.context, leaves), 60, {})
        same = sum(changed.neighbours(p) == directory.neighbours(p) for p in range(60))
        assert changed.hash != directory.hash
        assert same <= 2
        orders.add(changed.cycle.tobytes())
    assert len(orders) == 10


def test_attack_05_honest_degree_is_checked_against_the_node_s_own_policy() -> None:
    """(k, t) of a sparse graph are recomputed for the policy's own gamma and delta, not for the announced ones."""
    strict = Policy(adversary=SEMI_HONEST, corrupt=0, gamma_ppm=50_000)
    lax = {"protocol": SECAGGPLUS, "adversary": SEMI_HONEST, "delta_ppm": 50_000}
    world = World(60, policy=strict, **lax, gamma_ppm=1_000)
    with refused(world[0], PolicyError, "gamma"):
        world[0].receive(world.round().server.announcement)
    strict = Policy(adversary=SEMI_HONEST, corrupt=0, gamma_ppm=20_000, delta_ppm=150_000)
    world = World(60, policy=strict, **{**lax, "delta_ppm": 0}, gamma_ppm=20_000)
    round = world.round().run_to("share")
    assert not round.server.directory.thresholds.complete
    with refused(world[0], PolicyError, "this policy's gamma and delta"):
        world[0].receive(round.request(0))


def test_attack_05_sybils_are_not_in_the_roster() -> None:
    """Identities of the server's making are refused by honest servers and by every client."""
    world = World(4, clients=6)
    round = world.round()
    stranger = World(1, seed=9, clients=6, ids=[b"sybil"], with_roster=False).nodes[0]
    round.run_to("share")
    fake = stranger.identity
    honest = round.server.advertisements[world[1].id]
    sybil = replace(decode(honest), id=b"sybil", identity=fake.public, channel_key=decode(honest).mask_key)
    sybil_bytes = _signed_advertise(round, sybil, fake)
    with pytest.raises(RemoteError, match="closed or has not begun"):
        round.server.receive(sybil_bytes)
    fresh = world.round(2)
    with pytest.raises(RemoteError, match="another round") as caught:
        fresh.server.receive(sybil_bytes)
    assert caught.value.party == b"sybil"
    entries = tuple(sorted((*decode(round.request(0)).entries, sybil_bytes), key=lambda data: decode(data).id))
    with refused(world[0], RemoteError, "not in the roster") as refusal:
        world[0].receive(edit(round.request(0), entries=entries))
    assert refusal.value.party == b"sybil"  # type: ignore[attr-defined]
    # In the name of a hospital, but under a key of the server's: the roster says otherwise.
    posing = replace(sybil, id=world[1].id)
    entries = tuple(
        _signed_advertise(round, posing, fake) if decode(e).id == world[1].id else e
        for e in decode(round.request(0)).entries
    )
    with refused(world[0], RemoteError, "not the one in the roster"):
        world[0].receive(edit(round.request(0), entries=entries))
    round.finish()


def _signed_advertise(round: Round, message: object, identity: Identity) -> bytes:
    from privcomp.secagg.context import sign, unsigned

    signature = sign(identity, "advertise", round.server.context, b"", unsigned(message))  # type: ignore[arg-type]
    return replace(message, signature=signature).to_bytes()  # type: ignore[type-var]


# ---- 7: ids and keys of the list ----


def test_attack_07_own_entry_missing_or_changed() -> None:
    """A client whose own keys are not in the list, unchanged, does not share anything."""
    world = World(5)
    round = world.round().run_to("share")
    entries = decode(round.request(0)).entries
    other_own = decode(entries[0])
    without = entries[1:]
    changed = replace(other_own, mask_key=decode(entries[1]).channel_key).to_bytes()
    resigned = round.resign(0, replace(other_own, b_hash=bytes(32)), "advertise")
    for list_ in (without, (changed, *without), (resigned, *without)):
        with refused(world[0], RemoteError, "own entry is missing from the key list, or was changed"):
            world[0].receive(edit(round.request(0), entries=list_))
    round.finish()


def test_attack_07_a_sparse_list_that_is_not_the_one_of_its_clients() -> None:
    """An id twice, two records swapped, an id padded with something, a wider record: far from the victim, refused."""
    world = sparse_world()
    round = world.round().run_to("share")
    directory, victim = round.server.directory, world[0]
    honest = decode(round.request(0))
    leaves = Leaves(honest.leaves, 60)
    records = [(leaves.id(p), leaves.hash(p)) for p in range(60)]
    near = directory.neighbours(directory.place[victim.id])
    far = next(p for p in range(1, 58) if not {p, p + 1} & near and directory.ids[p] != victim.id)
    twice, swapped = [*records], [*records]
    twice[far + 1] = (records[far][0], bytes(32))
    swapped[far : far + 2] = swapped[far : far + 2][::-1]
    for listed in (twice, swapped):
        with refused(victim, RemoteError, "not strictly ascending by id"):
            victim.receive(replace(honest, leaves=pack_leaves(listed)).to_bytes())
    width = honest.leaves[0]
    size = width + 33
    wider = bytearray([width + 1])
    for start in range(1, len(honest.leaves), size):
        record = honest.leaves[start : start + size]
        wider += record[:width] + b"\0" + record[width:]
    shorter = bytearray(honest.leaves)
    shorter[1 + far * size + width] -= 1  # the id's last letter becomes padding
    for packed in (wider, shorter):
        with refused(victim, RemoteError, "not packed canonically"):
            victim.receive(replace(honest, leaves=bytes(packed)).to_bytes())
    with refused(victim, RemoteError, "no packed list"):
        victim.receive(replace(honest, leaves=honest.leaves[:-1]).to_bytes())
    round.finish()


def test_attack_07_duplicate_and_unsorted_ids() -> None:
    """An id stands in the list once, in one order."""
    world = World(5)
    round = world.round().run_to("share")
    a, b, *rest = decode(round.request(0)).entries
    for entries in ((a, b, b, *rest), (b, a, *rest), (a, b, *rest, a)):
        with refused(world[0], RemoteError, "not strictly ascending by id"):
            world[0].receive(edit(round.request(0), entries=entries))
    round.finish()


@pytest.mark.parametrize("field", ["channel_key", "mask_key", "b_hash", "root_hash"])
def test_attack_07_two_clients_with_one_key(field: str) -> None:
    """A colluder that advertises a victim's key (or hash) as its own is named and left out; the round goes on."""
    world = World(5)
    round = world.round()
    victim = decode(world[0].receive(round.request(0))[0])
    copied = round.advertise_as(3, **{field: getattr(victim, field)})
    for i in (0, 1, 2, 4):
        round.server.receive(world[i].receive(round.request(i))[0])
    with pytest.raises(RemoteError, match="a key or hash that b'client-000' advertised before") as caught:
        round.server.receive(copied, world[3].id)
    assert caught.value.party == world[3].id
    assert world[3].id not in round.server.advertisements
    round.requests = dict(round.server.advance())
    assert set(round.finish().survivors) == {world[i].id for i in (0, 1, 2, 4)}


@pytest.mark.parametrize("field", ["channel_key", "mask_key", "b_hash", "root_hash"])
def test_attack_07_a_lying_server_lists_one_key_twice(field: str) -> None:
    """A server that lists what an honest server refuses is refused by every client; the second owner is named."""
    world = World(5)
    round = world.round()
    advertised = [world[i].receive(round.request(i))[0] for i in range(5)]
    victim = decode(advertised[0])
    copied = round.resign(3, replace(decode(advertised[3]), **{field: getattr(victim, field)}), "advertise")
    key_list = KeyList(round.server.context.digest, b"", (*advertised[:3], copied, advertised[4])).to_bytes()
    with refused(world[1], RemoteError, "listed twice") as refusal:
        world[1].receive(key_list)
    assert refusal.value.party == world[3].id  # type: ignore[attr-defined]
    own = round.resign(0, replace(victim, channel_key=victim.mask_key), "advertise")  # one key in both roles, too
    with refused(world[1], RemoteError, "listed twice") as refusal:
        world[1].receive(edit(key_list, entries=(own, *advertised[1:])))
    assert refusal.value.party == world[0].id  # type: ignore[attr-defined]
    for data in advertised:
        round.server.receive(data)
    round.requests = dict(round.server.advance())
    round.finish()


@pytest.mark.parametrize("change", ["equal keys", "kem not canonical", "clash"])
def test_attack_07_a_bad_advertisement_drops_one_client(change: str) -> None:
    """Equal keys, a KEM key beyond q, somebody else's key: that client is out, the others complete the round."""
    world = World(5, hybrid=True)
    round = world.round()
    honest = [decode(world[i].receive(round.request(i))[0]) for i in range(5)]
    changes = {
        "equal keys": {"mask_key": honest[4].channel_key},
        "kem not canonical": {"mask_kem": b"\xff" * 1184},
        "clash": {"channel_kem": honest[0].channel_kem},
    }
    for message in honest[:4]:
        round.server.receive(message.to_bytes())
    with pytest.raises(RemoteError, match=r"listed twice|not canonical|advertised before") as caught:
        round.server.receive(round.resign(4, replace(honest[4], **changes[change]), "advertise"), world[4].id)
    assert caught.value.party == world[4].id
    round.requests = dict(round.server.advance())
    assert set(round.finish().survivors) == set(world.ids[:4])


def test_attack_07_message_in_another_s_name() -> None:
    """What one client sends cannot stand in another one's name: transport, id and signature must agree."""
    world = World(5)
    round = world.round()
    message = world[0].receive(round.request(0))[0]
    with pytest.raises(RemoteError, match="in the name of b'client-000'") as caught:
        round.server.receive(message, world[1].id)
    assert caught.value.party == world[1].id
    stolen = edit(message, id=world[1].id, identity=world[1].identity.public)
    with pytest.raises(RemoteError, match="signature does not verify"):
        round.server.receive(stolen, world[1].id)
    assert not round.server.advertisements
    round.finish()


# ---- 11 and 25: too few ----


def test_attack_11_one_survivor_left() -> None:
    """A sum over one client is its update: refused by rule 4, at whatever stage the server asks."""
    world = World(6, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask")
    with refused(world[0], RemoteError, "0 neighbours survive, 3 are needed"):
        world[0].receive(round.unmask_request([0]))
    round.finish()
    world = World(6)
    round = world.round().run_to("consistency")
    with refused(world[0], RemoteError, "0 neighbours survive, 4 are needed"):
        world[0].receive(round.consistency_request([0]))
    round.finish()


def test_attack_11_server_cannot_lower_the_local_minimum() -> None:
    """The announced minimum is a floor that the server may raise; the node's own minimum stands."""
    policy = Policy(adversary=SEMI_HONEST, honest_survivors_min=6)
    world = World(7, adversary=SEMI_HONEST, policy=policy, honest_survivors=2)
    round = world.round().run_to("unmask")
    with refused(world[0], PolicyError, "5 survivors with c = 0; allowed: at least 6 honest survivors"):
        world[0].receive(round.unmask_request(range(5)))
    round.finish()
    raised = World(7, adversary=SEMI_HONEST, honest_survivors=6)
    round = raised.round().run_to("unmask")
    with refused(raised[0], PolicyError, "at least 6 honest survivors"):
        raised[0].receive(round.unmask_request(range(5)))
    with pytest.raises(ParameterError, match="honest_survivors_min < 2"):
        Policy(honest_survivors_min=1)
    with pytest.raises(ParameterError, match="honest_survivors < 2"):
        replace(world.params, honest_survivors=1)


def test_attack_25_two_honest_clients_left_among_colluders() -> None:
    """Survivors minus colluders are counted: four survivors of whom two may collude are a sum of two."""
    world = World(7, adversary=SEMI_HONEST, corrupt=2)
    round = world.round().run_to("unmask")
    survivors = [0, 1, 2, 5, 6]
    assert round.server.directory.thresholds.threshold == 4
    assert world[0].policy.honest_survivors_min == 3
    strict = replace(world.policy, honest_survivors_min=4)
    world[0].restart(policy=strict)
    with refused(world[0], PolicyError, r"5 survivors with c = 2; allowed: at least 4 honest survivors \(6 in all\)"):
        world[0].receive(round.unmask_request(survivors))
    round.finish()


# ---- 20: everyone except the victim's neighbours ----


def test_attack_20_survivors_without_the_victim_s_neighbours() -> None:
    """With U = everyone but N(victim), they would reveal the victim's self-mask *and* each of its pairwise keys."""
    world = World(10, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask")
    t = round.server.directory.thresholds.threshold
    assert t == 5
    survivors = range(t)  # t - 1 neighbours of client 0 survive: five others would hand out t mask roots
    with refused(world[0], RemoteError, "4 neighbours survive, 5 are needed: their absence would open this client"):
        world[0].receive(round.unmask_request(survivors))
    round.finish()


def test_attack_20_in_a_sparse_graph() -> None:
    """The victim's k neighbours 'vanish', 39 others survive: the victim and every neighbour refuse."""
    world = sparse_world()
    round = world.round().run_to("unmask")
    directory, victim = round.server.directory, 0
    place_of = {directory.place[world[i].id]: i for i in range(60)}
    near = {place_of[p] for p in directory.neighbours(directory.place[world[victim].id])}
    survivors = set(range(60)) - near
    with refused(world[victim], RemoteError, "0 neighbours survive"):
        world[victim].receive(round.unmask_request(survivors))
    for i in sorted(near)[:3]:
        with refused(world[i], RemoteError, "not among the survivors"):
            world[i].receive(round.unmask_request(survivors))
    round.finish()


def test_rule_4_survivors_are_those_who_masked() -> None:
    """Own id in U, U inside U2, own input sent, this round: else nothing is signed and nothing is opened."""
    world = World(7)
    round = world.round().run_to("consistency", {6: "share"})
    for survivors, text in (([1, 2, 3, 4, 5], "not among the survivors"), (range(7), "not a subset of U2")):
        with refused(world[0], RemoteError, text):
            world[0].receive(round.consistency_request(survivors))
        with refused(world[0], RemoteError, text):
            world[0].receive(round.unmask_request(survivors))
    wide = decode(round.request(0))
    for bits in (wide.u + b"\0", b"", bytes([wide.u[0] | 0x80])):
        with refused(world[0], RemoteError, "not a bitmap"):
            world[0].receive(replace(wide, u=bits).to_bytes())
    round.finish({6: "share"})


# ---- 21: grinding ----


def test_attack_21_grinding_a_sparse_graph_is_not_possible_against_a_malicious_server() -> None:
    """A server that may grind the ring's order gets no ring: malicious mode is the complete graph."""
    world = World(60)
    with pytest.raises(ParameterError, match="not offered"):
        replace(world.params, protocol=SECAGGPLUS)
    announce = decode(world.round().server.announcement)
    ring = forge(Params, world.params, protocol=SECAGGPLUS).to_bytes()
    with refused(world[0], PolicyError, "not offered"):
        world[0].receive(replace(announce, params=ring).to_bytes())
    # Semi-honest ring: the default policy trusts no server.
    with refused(world[0], PolicyError, "trusts the server"):
        world[0].receive(
            replace(
                announce, params=forge(Params, world.params, protocol=SECAGGPLUS, adversary=SEMI_HONEST).to_bytes()
            ).to_bytes()
        )


def test_attack_21_order_of_the_complete_graph_gives_the_server_nothing_to_choose() -> None:
    """On the complete graph every client masks with every other one, whatever keys come last."""
    world = World(9)
    directory = world.round().run_to("share").server.directory
    assert directory.thresholds.complete
    for place in range(9):
        assert directory.neighbours(place) == set(range(9)) - {place}


# ---- 24b: small lists, two signatures, a ring in two parts ----


def test_attack_24b_all_colluders_of_the_roster_in_one_small_list() -> None:
    """c is an absolute number out of the roster: a server that lists five clients cannot make it a third of five."""
    world = World(5, absent=7, policy=Policy())  # a roster of 12: c = 3
    assert world.policy.corrupt_for(MALICIOUS, 12) == 3
    assert world.policy.corrupt_for(MALICIOUS, 5) == 1
    # With c = 1 the thresholds would be met (t = 4, |U| = 5), and two honest clients stand beside three colluders.
    with refused(world[0], PolicyError, "c = 1 corrupt clients; allowed: at least 3 of the roster"):
        world[0].receive(world.round(params=replace(world.params, corrupt=1)).server.announcement)
    assert not world[0].journal.entries()


def test_attack_24b_a_small_list_after_an_honest_announcement() -> None:
    """Announced for all, listed for five: with c = 3 of the roster no threshold fits five clients."""
    world = World(12, policy=Policy(), corrupt=3)
    round = world.round()
    round.collect()
    entries = tuple(data for _, data in sorted(round.server.advertisements.items()))[:5]
    small = KeyList(round.server.context.digest, b"", entries).to_bytes()
    with refused(world[0], RemoteError, "the key list has 5 clients"):
        world[0].receive(small)
    round.finish()


def test_attack_24b_two_consistency_signatures_in_one_round() -> None:
    """A client signs one survivor set per round: across requests, restarts and copies of its state."""
    world = World(6)
    round = world.round().run_to("consistency")
    node, copy = world[0], world[0].client.restore(round.server.context.digest)
    assert copy is not None
    first = node.receive(round.consistency_request(range(6)))
    with refused(node, JournalError, "answered for another request"):
        node.receive(round.consistency_request(range(5)))
    with refused(node, JournalError, "in the journal already"):
        node.client.sign(copy, round.consistency_request(range(5)))  # type: ignore[arg-type]
    node.restart()
    with refused(node, JournalError, "answered for another request"):
        node.receive(round.consistency_request(range(5)))
    assert node.receive(round.consistency_request(range(6))) == first
    # Nor does it unmask another set than the one that it signed, even under a quorum of signatures.
    fewer = range(5)
    quorum = round.sign_survivors((1, 2, 3), fewer) | {4: round.colluder_signature(4, fewer)}
    with refused(node, RemoteError, "signed another survivor set"):
        node.receive(round.unmask_request(fewer, quorum))


def test_attack_24b_a_sparse_survivor_set_that_falls_into_two_parts() -> None:
    """Gaps of k/2 in the ring cut the survivors into two sums; every survivor sees the order and refuses."""
    world = sparse_world()
    round = world.round().run_to("unmask")
    directory = round.server.directory
    half, cycle = directory.thresholds.neighbours // 2, directory.cycle
    place_of = {directory.place[world[i].id]: i for i in range(60)}
    gaps = {place_of[cycle[a]] for a in (*range(half), *range(30, 30 + half))}
    survivors = set(range(60)) - gaps
    t = directory.thresholds.threshold
    asked = [
        i
        for i in sorted(survivors)
        if len(directory.neighbours(directory.place[world[i].id]) & {directory.place[world[j].id] for j in survivors})
        >= t
    ]
    assert len(asked) > 30
    for i in asked[:5]:
        with refused(world[i], RemoteError, "fall into two parts"):
            world[i].receive(round.unmask_request(survivors))
    round.finish()


# ---- 32: bundles withheld ----


def test_attack_32_bundles_withheld_from_the_victim() -> None:
    """n = 10, t = 7, c = 1. The victim gets its colluder's bundle alone while U2 names everybody.

    It would mask with the colluder only; everybody else sees the full set and unmasks, and the server reads the victim.
    """
    world = World(10, corrupt=1, threshold=7)
    round = world.round().run_to("mask")
    victim, colluder = 0, 9
    assert round.server.directory.thresholds.threshold == 7
    request = decode(round.request(victim))
    place = round.server.directory.place[world[colluder].id]
    only = tuple(bundle for bundle in request.bundles if bundle.peer == place)
    assert len(only) == 1
    for bundles in (only, (), request.bundles[:-1], request.bundles[::-1], request.bundles + only):
        with refused(world[victim], RemoteError, "not exactly those of this client's neighbours in U2"):
            world[victim].receive(replace(request, bundles=bundles).to_bytes())
    round.finish()


def test_attack_32_a_u2_of_colluders() -> None:
    """The same with a U2 that fits the delivered bundles: fewer than t neighbours, refused."""
    world = World(10, corrupt=1, threshold=7)
    round = world.round().run_to("mask")
    request = decode(round.request(0))
    with refused(world[0], RemoteError, "6 neighbours are in U2, 7 are needed"):
        world[0].receive(replace(request, u2=round.bits(range(7)), bundles=request.bundles[:6]).to_bytes())
    with refused(world[0], RemoteError, "this client is not in U2"):
        world[0].receive(replace(request, u2=round.bits(range(1, 10))).to_bytes())
    round.finish()


def test_attack_32_the_digest_of_u2_is_in_the_pairwise_keys() -> None:
    """A victim that is shown another U2 than its peers masks with keys that nobody else derives: there is no sum."""
    world = World(10, corrupt=1, threshold=7)
    round = world.round().run_to("mask")
    request = decode(round.request(0))
    uploads = world[0].receive(replace(request, u2=round.bits(range(8)), bundles=request.bundles[:7]).to_bytes())
    for message in uploads[:-1]:
        round.server.receive(message)
    with pytest.raises(RemoteError, match="masked for other peers") as caught:
        round.server.receive(uploads[-1])
    assert caught.value.party == world[0].id
    del round.requests[world[0].id]
    assert world[0].id not in round.finish().survivors


# ---- rule 2 with other figures than the server's ----


def test_attack_03_thresholds_of_the_server_s_choosing() -> None:
    """t = 1, t below n/2, 2t <= n + c: refused with the announcement; a node's own c counts where it is larger."""
    world = World(6, adversary=SEMI_HONEST)
    announce = decode(world.round().server.announcement)
    for adversary, t, c in (
        (SEMI_HONEST, 1, 0),
        (SEMI_HONEST, 2, 0),
        (SEMI_HONEST, 3, 3),
        (MALICIOUS, 3, 0),
        (MALICIOUS, 4, 2),
    ):
        params = forge(Params, world.params, adversary=adversary, threshold=t, corrupt=c)
        with refused(world[0], PolicyError, f"threshold {t} with 6 clients and c = {c}: the least allowed is"):
            world[0].receive(replace(announce, params=params.to_bytes()).to_bytes())
        with pytest.raises(ParameterError, match="the least allowed is"):
            replace(world.params, adversary=adversary, threshold=t, corrupt=c)
    with refused(world[0], PolicyError, "threshold 6 needs 7 clients"):
        world[0].receive(replace(announce, params=forge(Params, world.params, threshold=6).to_bytes()).to_bytes())


def test_attack_03_thresholds_are_recomputed_from_the_key_list() -> None:
    """n is what the key list shows. A node whose own c is larger than the session's keeps 2t > n + c for itself."""
    world = World(6)
    round = world.round().run_to("share")
    world[0].restart(policy=replace(world.policy, corrupt=2))  # its operator has learnt something since stage 0
    with refused(world[0], PolicyError, r"t = 4 of 6; allowed: 2t > n \+ c with c = 2"):
        world[0].receive(round.request(0))
    world[0].restart(policy=replace(world.policy, threshold_min=5))
    with refused(world[0], PolicyError, "threshold 4; allowed: at least 5"):
        world[0].receive(round.request(0))
    world[0].restart(policy=replace(world.policy, clients_min=7))
    with refused(world[0], PolicyError, "6 clients; allowed: at least 7"):
        world[0].receive(round.request(0))
    world[0].restart(policy=world.policy)
    round.finish()


def test_attack_04_other_model_bytes_for_one_client() -> None:
    """The announcement binds the model's hash; other bytes under it are refused before training."""
    world = World(5)
    round = world.round().run_to("mask")
    trained: list[bytes] = []
    world[0].contribute = trained.append  # type: ignore[assignment,method-assign]
    with refused(world[0], RemoteError, "do not have the announced hash"):
        world[0].receive(edit(round.request(0), model=b"crafted for client 0"))
    assert not trained
    del world[0].contribute
    round.finish()


def test_attack_04_another_model_hash_for_one_client() -> None:
    """A client that is announced another model lives in another round: no key, share or signature verifies across."""
    world = World(5)
    honest, crafted = world.round(), world.round(model=b"crafted for client 0")
    assert honest.server.context.digest != crafted.server.context.digest
    alien = world[0].receive(crafted.request(0))[0]
    with pytest.raises(RemoteError, match="another round"):
        honest.server.receive(alien)
    with refused(world[0], JournalError, "announced with other parameters"):
        world[0].receive(honest.request(0))  # and it does not join the same (session, round) twice
    del honest.requests[world[0].id]
    honest.run_to("share")
    for i in (1, 2):
        entries = (alien, *decode(honest.request(i)).entries)
        with refused(world[i], RemoteError, "belongs to another round"):
            world[i].receive(edit(honest.request(i), entries=entries))
    with refused(world[1], RemoteError, "signature does not verify"):
        relabelled = edit(alien, round_digest=honest.server.context.digest)
        world[1].receive(edit(honest.request(1), entries=(relabelled, *decode(honest.request(1)).entries)))
    assert world[0].id not in honest.finish().survivors


def test_attack_04_every_part_of_the_announcement_is_bound() -> None:
    """Params, session, round, purpose, model, roster and ledger head: a change in any gives another digest."""
    announce = decode(World(5).round().server.announcement)
    params = Params.from_bytes(announce.params, max_bytes=1 << 16)
    digests = {RoundContext.of(announce).digest}
    for change in (
        {"session": bytes(32)},
        {"round": 2},
        {"purpose": OTHER_PURPOSE},
        {"model_hash": bytes(32)},
        {"roster_hash": bytes(32)},
        {"ledger_head": b"\1" * 32},
        {"params": replace(params, cipher=2).to_bytes()},
        {"params": replace(params, context=b"x").to_bytes()},
        {"params": replace(params, hybrid=True).to_bytes()},
    ):
        digests.add(RoundContext.of(replace(announce, **change)).digest)
    assert len(digests) == 10
    assert announce.session == SESSION
    assert isinstance(announce, Announce)
