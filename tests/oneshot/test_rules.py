"""The rules of clients and members, each against the attack that it stops.

The names are those of the symbolic model of this protocol, which finds a combination of answers that isolates too few
clients as soon as one of them is left out. Here the attack runs up to the step that our roles must refuse, and then the
round goes on honestly: what was refused has cost nobody anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from privcomp.errors import JournalError, ParameterError, PolicyError, RemoteError, StateError
from privcomp.journal import MemoryJournal
from privcomp.keys import X25519Key
from privcomp.oneshot import Committee, Params
from privcomp.oneshot import messages as m
from privcomp.oneshot.client import _Upload
from privcomp.oneshot.committee import quorum
from privcomp.oneshot.context import RoundContext, box_key_request
from privcomp.oneshot.keyshares import merkle_path
from privcomp.oneshot.messages import UploadRequest
from privcomp.oneshot.rules import VOTE
from privcomp.policy import CommitteePolicy, Policy
from tests.oneshot.harness import (
    MODEL,
    SESSION,
    MemberNode,
    Round,
    World,
    decode,
    edit,
    forge,
    identity,
    refused,
    resigned,
)


def ask(announce: bytes, model: bytes = MODEL) -> bytes:
    """What a client is sent."""
    return UploadRequest(announce, model).to_bytes()


def announced(world: World, **options: Any) -> Round:
    """A round whose announcement is ready."""
    return world.round(**options).run_to("upload")


def votes(round: Round, survivors: tuple[tuple[bytes, bytes], ...], places: Iterable[int]) -> dict[int, bytes]:
    """Honest votes for a set."""
    return {p: decode(round.world.members[p].receive(round.proposal(survivors))[0]).signature for p in places}


def lying_params(params: Params, **changes: Any) -> bytes:
    """The bytes of parameters that the constructor would refuse."""
    return forge(Params, params, **changes).to_bytes()  # type: ignore[no-any-return]


# ---- certificate, votes, answers ----


def test_rule_certificate_an_answer_needs_q_votes_on_exactly_this_set() -> None:
    """Member 4 is corrupt. Three honest ones vote for {0..4}; for {0..3} there is one honest vote, and the corrupt
    one."""
    world = World()
    round = world.round().run_to("vote")
    whole, fewer = round.survivors(range(6)), round.survivors(range(5))
    assert world.params.committee.quorum == 4
    first = votes(round, whole, (0, 1, 2))
    second = votes(round, fewer, (3,)) | {4: round.vote_of(4, fewer)}
    for node, survivors, found in ((world.members[0], whole, first), (world.members[3], fewer, second)):
        with refused(node, RemoteError, rf"{len(found)} votes, 4 are needed"):
            node.receive(round.certificate(survivors, found))
    # Votes for one set do not count for another, and nobody counts twice.
    with refused(world.members[3], RemoteError, "vote of b'member-00' does not verify"):
        world.members[3].receive(round.certificate(fewer, first | second))
    twice = forge(m.Certificate, decode(round.certificate(whole, first)), votes=((0, first[0]),) * 4)
    with pytest.raises(ParameterError, match="not strictly increasing"):
        twice.to_bytes()
    with refused(world.members[0], RemoteError, "not of this committee"):
        world.members[0].receive(round.certificate(whole, first | {5: first[0]}))
    # The corrupt member's vote completes one of the two sets, never both.
    first[4] = round.vote_of(4, whole)
    assert world.members[0].receive(round.certificate(whole, first))
    with refused(world.members[3], JournalError, "signed or answered another set"):
        world.members[3].receive(round.certificate(whole, first))


def test_rule_vote_once_a_member_signs_one_set_per_round() -> None:
    world = World()
    round = world.round().run_to("vote")
    node = world.members[0]
    sent = node.receive(round.proposal(round.survivors(range(6))))
    with refused(node, JournalError, "signed or answered another set"):
        node.receive(round.proposal(round.survivors(range(5))))
    assert node.receive(round.proposal(round.survivors(range(6)))) == sent
    assert len(round.finish().survivors) == 6


def test_rule_vote_once_holds_across_a_restart() -> None:
    world = World()
    round = world.round().run_to("vote")
    node = world.members[0]
    node.receive(round.proposal(round.survivors(range(6))))
    node.restart()
    with refused(node, JournalError, "signed or answered another set"):
        node.receive(round.proposal(round.survivors(range(5))))
    node.receive(round.server.catch_up(node.id)[0])
    with refused(node, JournalError, "signed or answered another set"):
        node.receive(round.proposal(round.survivors(range(5))))
    assert len(round.finish().survivors) == 6


def test_rule_answer_once_a_second_set_is_not_answered() -> None:
    world = World(adversary="semi_honest")
    round = world.round().run_to("answer")
    node = world.members[0]
    sent = node.receive(round.requests[node.id])
    fewer = round.proposal(round.survivors(range(5)))
    with refused(node, JournalError, "signed or answered another set"):
        node.receive(fewer)
    node.restart()
    with refused(node, JournalError, "signed or answered another set"):
        node.receive(fewer)
    assert node.receive(round.requests[node.id]) == sent
    assert len(round.finish().survivors) == 6


def test_rule_q_a_smaller_quorum_is_refused() -> None:
    """With Q = 2 of 5 two sets could be certified; a server that writes it onto the wire is refused by everybody."""
    world = World()
    round = announced(world)
    with pytest.raises(ParameterError, match="condition"):
        replace(world.params.committee, quorum=2)
    lie = replace(
        round.context.announce,
        params=lying_params(world.params, committee=forge(Committee, world.params.committee, quorum=2)),
    ).to_bytes()
    with refused(world.clients[0], PolicyError, r"Q = 2; condition \(Q\) gives 4"):
        world.clients[0].receive(ask(lie))
    with refused(world.members[0], PolicyError, r"Q = 2; condition \(Q\) gives 4"):
        world.members[0].receive(m.Shares(lie, (), bytes(64)).to_bytes())
    for c in range(2, 40):
        for t in range(1, c):
            assert 2 * quorum(c, t, 1) > c + t
    round.finish()


def test_rule_size_a_member_signs_no_small_set() -> None:
    world = World()
    round = world.round().run_to("vote")
    assert world.params.survivors_min == 3
    node = world.members[0]
    for places in ((), (0,), (0, 1)):
        with refused(node, RemoteError, f"{len(places)} survivors; the round opens 3..6"):
            node.receive(round.proposal(round.survivors(places)))
        with refused(node, RemoteError, f"{len(places)} survivors; the round opens 3..6"):
            node.receive(round.certificate(round.survivors(places), {}))
    round.finish()


# ---- n_min ----


def test_rule_n_min_policy_the_server_cannot_lower_it() -> None:
    world = World(n=8, corrupt=2)
    round = announced(world)
    assert world.params.survivors_min == 5
    for low in (2, 4):
        lie = round.announce(params=replace(world.params, survivors_min=low).to_bytes())
        with refused(world.clients[0], PolicyError, f"sums of {low} clients; allowed: at least 5"):
            world.clients[0].receive(ask(lie))
        with refused(world.members[0], PolicyError, f"sums of {low} clients; allowed: at least 5"):
            world.members[0].receive(m.Shares(lie, (), bytes(64)).to_bytes())
    round.finish()


def test_rule_n_min_roster_counts_the_roster_never_those_asked() -> None:
    """30 clients are in the roster. A round for at most 6, with n_min = 6 for these 6, is a sum of a sixth of the
    roster."""
    world = World(n=30, clients=30)
    small = World(n=30, clients=6, survivors_min=6)
    lie = announced(small).server.announcement
    for node in (world.clients[0], small.clients[0]):
        with refused(node, PolicyError, "sums of 6 clients; allowed: at least 15"):
            node.receive(ask(lie))
    explicit = CommitteePolicy(members=world.policy.committee.members, survivors_min=6)
    lower = World(n=30, clients=6, survivors_min=6, policy={"committee": explicit})
    assert lower.clients[0].receive(ask(announced(lower).server.announcement))
    # Corrupt clients count whatever the explicit minimum says.
    lower.clients[1].restart(policy=replace(lower.policy, corrupt=4))
    with refused(lower.clients[1], PolicyError, "at least 7"):
        lower.clients[1].receive(ask(announced(lower).server.announcement))


def test_rule_gamma_counts_as_corrupt_clients() -> None:
    world = World(n=20, gamma_ppm=450_000, survivors_min=10)
    with refused(world.clients[0], PolicyError, "allowed: at least 12"):
        world.clients[0].receive(ask(announced(world).server.announcement))


# ---- who is summed ----


def ghost_entry(round: Round, place: int, party: bytes) -> m.SharedKey:
    """What a server makes up for a client that does not exist."""
    params = round.world.params
    dealt = params.sharing.deal(np.zeros(params.ring.degree, np.int8))
    made = _Upload(round.context, party, identity(party), os.urandom)
    *_, last = made.messages([bytes(params.ring.ciphertext_bytes(params.length))], dealt)
    end = decode(last)
    leaves = [end.leaves[k : k + 32] for k in range(0, len(end.leaves), 32)]
    return m.SharedKey(
        party, end.key, end.ciphertext_hash, end.test, merkle_path(leaves, place), end.boxes[place], b"", end.signature
    )


def test_rule_roster_made_up_clients_are_refused() -> None:
    """U = one honest client and five that the server made up, with signatures of their own."""
    world = World()
    round = world.round().run_to("accept")
    ghosts = World(seed=7)
    for k, node in enumerate(ghosts.clients):
        node.id = b"ghost-%03d" % k
    node = world.members[0]
    shares = decode(round.requests[node.id])
    forged = tuple(replace(entry, id=b"ghost-%03d" % k) for k, entry in enumerate(shares.entries[1:]))
    lie = round.shares(replace(shares, entries=(shares.entries[0], *forged)))
    answer = decode(node.receive(lie)[0])
    assert answer.accepted == b"\x01"  # the honest one alone
    # With boxes, leaves and a signature that are its own, all of them sound.
    late = world.members[1]
    honest = decode(round.requests[late.id])
    made_up = replace(honest, entries=(honest.entries[0], ghost_entry(round, 1, b"ghost-000")))
    assert decode(late.receive(round.shares(made_up))[0]).accepted == b"\x01"
    survivors = ((shares.entries[0].id, round.digests()[shares.entries[0].id]), *((e.id, bytes(32)) for e in forged))
    with refused(node, RemoteError, "b'ghost-000' with this upload is not among those"):
        node.receive(round.proposal(survivors))


def test_rule_roster_an_upload_in_anothers_name_is_not_accepted() -> None:
    """The server signs nothing for a client: an upload under another key's signature stays out."""
    world = World()
    round = world.round().run_to("accept")
    node = world.members[1]
    shares = decode(round.requests[node.id])
    swapped = tuple(
        replace(entry, signature=shares.entries[(k + 1) % 6].signature) if k == 0 else entry
        for k, entry in enumerate(shares.entries)
    )
    answer = decode(node.receive(round.shares(replace(shares, entries=swapped)))[0])
    assert answer.accepted == b"\x3e"


def test_rule_roster_nobody_comes_twice() -> None:
    world = World()
    round = world.round().run_to("vote")
    node = world.members[0]
    one = round.survivors((0,))[0]
    twice = forge(m.Propose, decode(round.proposal(round.survivors(range(3)))), survivors=(one, one, one))
    with pytest.raises(ParameterError, match="not strictly increasing"):
        twice.to_bytes()
    pair = (one, (one[0], bytes(32)), (one[0], b"\xff" * 32))
    entries = tuple(sorted(pair, key=lambda entry: entry[1]))
    with refused(node, RemoteError, "comes twice"):
        node.receive(round.proposal(entries))
    shares = decode(round.server._shares(1))
    double = forge(m.Shares, shares, entries=(shares.entries[0], shares.entries[0]))
    with refused(world.members[1], RemoteError, "comes twice"):
        world.members[1].receive(double.to_bytes())
    round.finish()


def test_rule_ctx_bound_uploads_and_votes_of_another_round_do_not_count() -> None:
    world = World()
    first, second = world.round(1).run_to("vote"), world.round(2, model=b"other").run_to("accept")
    node = world.members[0]
    # The first round's entries under the second round's announcement: no box opens.
    old = decode(first.server._shares(0))
    answer = decode(node.receive(second.shares(replace(old, announce=second.server.announcement)))[0])
    assert answer.accepted == b"\x00"
    with refused(node, RemoteError, "is not among those whom this member accepted"):
        node.receive(second.proposal(first.survivors(range(6))))
    # Votes of the first round under the second round's ctx.
    given = votes(first, first.survivors(range(6)), range(4))
    other = world.members[1]
    other.receive(second.requests[other.id])
    with refused(other, RemoteError, "vote of b'member-00' does not verify"):
        other.receive(second.certificate(second.survivors(range(6)), given))
    # Another ciphertext of a client whose upload was accepted.
    swapped = tuple((party, bytes(32)) for party, _ in second.survivors(range(6)))
    with refused(other, RemoteError, "with this upload is not among those whom this member accepted"):
        other.receive(second.proposal(swapped))
    # A proposal that the server did not sign for this round.
    foreign = replace(decode(first.proposal(first.survivors(range(6)))), ctx=second.context.digest).to_bytes()
    with refused(other, RemoteError, "is not among those|server's signature"):
        other.receive(foreign)
    first.finish()


# ---- what the server announces ----


def test_rule_mode_a_semi_honest_round_is_refused() -> None:
    world = World()
    lie = announced(world).announce(params=replace(world.params, adversary="semi_honest").to_bytes())
    with refused(world.clients[0], PolicyError, r"a session that trusts the server \(semi_honest\)"):
        world.clients[0].receive(ask(lie))
    with refused(world.members[0], PolicyError, r"a session that trusts the server \(semi_honest\)"):
        world.members[0].receive(m.Shares(lie, (), bytes(64)).to_bytes())


def test_rule_committee_members_of_the_servers_choosing_are_refused() -> None:
    world = World()
    strangers = [(b"stranger-%d" % k, identity(b"s%d" % k)) for k in range(5)]
    committee = Committee.named([(party, own.public) for party, own in strangers], 1, 2)
    own = World(committee=committee)
    own.members = [
        MemberNode(party, key, own.policy, own.roster, MemoryJournal(key.public)) for party, key in strangers
    ]
    lie = announced(own).server.announcement
    with refused(world.clients[0], PolicyError, "another committee; allowed: the one that is named"):
        world.clients[0].receive(ask(lie))
    # Nor the same members in another order (who gets seeds), nor fewer of them.
    listed = world.policy.committee.members
    for members in ((*listed[1:], listed[0]), listed[:4]):
        changed = World(committee=Committee.named(members, 1, 1 if len(members) == 4 else 2))
        order = [party for party, _ in members]
        changed.members = (
            sorted(changed.members[: len(members)], key=lambda node: order.index(node.id))
            if len(members) == 4
            else [next(n for n in changed.members if n.id == party) for party in order]
        )
        with refused(world.clients[0], PolicyError, "another committee"):
            world.clients[0].receive(ask(announced(changed).server.announcement))


def test_rule_committee_without_a_policy_nobody_holds_keys() -> None:
    world = World()
    request = ask(announced(world).server.announcement)
    world.clients[0].restart(policy=replace(world.policy, committee=CommitteePolicy()))
    with refused(world.clients[0], PolicyError, "another committee"):
        world.clients[0].receive(request)
    world.clients[0].restart(policy=replace(world.policy, protocols=("bonawitz",)))
    with refused(world.clients[0], PolicyError, "protocol 'oneshot'"):
        world.clients[0].receive(request)


def test_rule_t_p_below_the_policy_is_refused() -> None:
    with pytest.raises(ParameterError, match="with t_p = 0 every member reads every key"):
        Committee.named(World().policy.committee.members, 0, 3)
    world = World(c=7, privacy=2, packing=2)
    weaker = World(c=7, privacy=1, packing=3)
    with refused(world.clients[0], PolicyError, "t_p = 1; allowed: at least 2"):
        world.clients[0].receive(ask(announced(weaker).server.announcement))


def test_rule_box_keys_of_the_server_are_refused() -> None:
    world = World()
    round = announced(world)
    seats = list(round.context.announce.seats)
    own = X25519Key(bytes(range(32))).public
    seats[2] = replace(seats[2], key=own)
    with refused(world.clients[0], RemoteError, "box key of b'member-02' does not carry that member's signature"):
        world.clients[0].receive(ask(round.announce(seats=tuple(seats))))
    # Nor the right key of another member, of another round or session.
    seats = list(round.context.announce.seats)
    seats[2] = seats[3]
    with refused(world.clients[0], RemoteError, "does not carry that member's signature"):
        world.clients[0].receive(ask(round.announce(seats=tuple(seats))))
    for options in ({"number": 9}, {"session": bytes(32)}):
        other = announced(World(), **options).context.announce
        with refused(world.clients[0], RemoteError, "does not carry that member's signature"):
            world.clients[0].receive(ask(round.announce(seats=other.seats)))
    # A member sees that its own key was replaced.
    seats = list(round.context.announce.seats)
    seats[0] = replace(seats[0], key=own)
    with refused(world.members[0], RemoteError, "is not the one that it signed for"):
        world.members[0].receive(m.Shares(round.announce(seats=tuple(seats)), (), bytes(64)).to_bytes())
    round.finish()


def test_rule_row_0_only_the_pinned_server_asks_for_box_keys() -> None:
    """A member keeps the box keys of eight rounds. Whoever reaches it (on a transport without authentication: anybody)
    and may ask for more of them makes it give up that of the running round."""
    world = World(policy={"ledger_key": identity(b"server").public})
    request, round = dict(world.round().requests), announced(world)
    stranger = identity(b"stranger")
    for node in world.members:
        for number in range(2, 12):
            with refused(node, RemoteError, "the server's signature over the request does not verify"):
                node.receive(edit(request[node.id], round=number))
            a = round.context.announce
            made = box_key_request(stranger, a.roster_hash, a.session, number, world.params.committee.hash, False)
            with refused(node, PolicyError, "another server's round"):
                node.receive(made.to_bytes())
            with refused(node, RemoteError, "the server's signature over the request does not verify"):
                node.receive(replace(made, server=world.server_identity.public).to_bytes())
    assert len(round.finish().survivors) == 6


def test_rule_close_only_the_pinned_server_has_models_closed() -> None:
    """Session, round and box keys of a running round are known to all. Whoever signs an announcement of them with a key
    of his own would have its members close the model: they could never vote on it."""
    world = World(policy={"ledger_key": identity(b"server").public})
    round = announced(world)
    stranger = identity(b"stranger")
    lie = replace(round.context.announce, server=stranger.public)
    context = RoundContext.of(lie)
    lie = replace(lie, signature=context.sign(stranger, "announce", context.announce_body))
    for node in world.members:
        with refused(node, PolicyError, "another server's round"):
            node.receive(m.CloseRequest(lie.to_bytes()).to_bytes())
    assert len(round.finish().survivors) == 6


def test_rule_no_duplicates_a_member_a_key_or_a_box_key_twice() -> None:
    world = World()
    listed = world.policy.committee.members
    with pytest.raises(ParameterError, match="comes twice"):
        Committee.named((*listed[:4], listed[0]), 1, 2)
    with pytest.raises(ParameterError, match="the same public key"):
        Committee.named((*listed[:4], (b"another id", listed[0][1])), 1, 2)
    round = announced(world)
    double = forge(Committee, world.params.committee, members=(*listed[:4], listed[0]))
    lie = replace(round.context.announce, params=lying_params(world.params, committee=double)).to_bytes()
    with refused(world.clients[0], PolicyError, "comes twice"):
        world.clients[0].receive(ask(lie))
    # Two members that share a box key: a thief needs one key for two shares.
    thieves = World()
    round = thieves.round()
    for place in (0, 1):
        node = thieves.members[place]
        node.member._rng = lambda n: bytes(range(n))
    messages = [thieves.members[place].receive(round.requests[thieves.members[place].id])[0] for place in (0, 1)]
    round.server.receive(messages[0])
    with pytest.raises(RemoteError, match="another member sent this box key before"):
        round.server.receive(messages[1])
    round = announced(World())
    seats = list(round.context.announce.seats)
    sent = decode(messages[0])
    for place in (0, 1):
        key = decode(messages[place])
        seats[place] = m.Seat(key.key, b"", key.signature)
    assert sent.key == decode(messages[1]).key
    with refused(World().clients[0], RemoteError, "box key of b'member-01' comes twice"):
        World().clients[0].receive(ask(round.announce(seats=tuple(seats))))


def test_rule_model_hash_a_client_hashes_the_model_itself() -> None:
    world = World()
    round = announced(world)
    node = world.clients[0]
    with refused(node, RemoteError, "do not have the announced hash"):
        node.receive(ask(round.server.announcement, b"another model"))
    lie = round.announce(model_hash=bytes(32))
    with refused(node, RemoteError, "do not have the announced hash"):
        node.receive(ask(lie))
    round.finish()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"roster_hash": bytes(32)}, "another roster"),
        ({"purpose": "curiosity"}, "purpose 'curiosity'"),
        ({"signature": bytes(64)}, "server's signature does not verify"),
    ],
)
def test_an_announcement_outside_the_policy_is_refused(change: dict[str, Any], text: str) -> None:
    world = World()
    round = announced(world)
    announce = round.announce(**change) if "signature" not in change else edit(round.server.announcement, **change)
    with refused(world.clients[0], RemoteError if "signature" in change else PolicyError, text):
        world.clients[0].receive(ask(announce))
    round.finish()


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"require_hybrid": True}, "X25519 alone"),
        ({"clients_min": 10}, "up to 6 clients"),
        ({"entries_max": 5}, "a longer vector"),
        ({"purposes": ("evaluation",)}, "purpose 'training'"),
        ({"committee": {"bits_max": 8}}, "values of 16 bits"),
        ({"committee": {"security_min": 200.0}}, "estimated bits"),
        ({"honest_survivors_min": 4}, "sums of 3 clients"),
    ],
)
def test_each_limit_of_the_policy_is_the_nodes_own(limits: dict[str, Any], text: str) -> None:
    world = World()
    request = ask(announced(world).server.announcement)
    if "committee" in limits:
        limits = {"committee": replace(world.policy.committee, **limits["committee"])}
    world.clients[0].restart(policy=replace(world.policy, **limits))
    with refused(world.clients[0], PolicyError, text):
        world.clients[0].receive(request)


def test_a_weight_beyond_the_policy_is_refused() -> None:
    world = World(committee_policy={"weight_max": 4})
    heavy = replace(world.params, ring=type(world.params.ring).for_round(16, 6, weight=5))
    with refused(world.clients[0], PolicyError, "weights up to 5"):
        world.clients[0].receive(ask(announced(World(), params=heavy).server.announcement))


# ---- uploads ----


def test_rule_one_upload_per_session_and_round() -> None:
    """The same (session, round) under another ctx: more parameters, other members present, another model."""
    world = World()
    round = announced(world)
    node = world.clients[0]
    sent = node.receive(round.requests[node.id])
    lies = [
        ask(round.announce(model_hash=Round(world, model=b"z").server._draft.model_hash), b"z"),
        ask(round.announce(ledger_head=b"\x01" * 32)),
        ask(round.announce(params=replace(world.params, context=b"other").to_bytes())),
    ]
    for lie in lies:
        with refused(node, JournalError, "announced with other parameters before"):
            node.receive(lie)
    assert node.receive(round.requests[node.id]) == sent
    round.finish()


def test_rule_client_journal_uploads_survive_a_restart() -> None:
    world = World()
    round = announced(world)
    node = world.clients[0]
    sent = node.receive(round.requests[node.id])
    node.restart()
    node.values = node.values + 1  # whatever it would train now
    assert node.receive(round.requests[node.id]) == sent
    with refused(node, JournalError, "announced with other parameters before"):
        node.receive(ask(round.announce(ledger_head=b"\x01" * 32)))
    node.values = node.values - 1
    round.finish()


def test_rule_journal_a_member_without_its_journal_signs_nothing() -> None:
    """A member that comes back without its journal holds no row 0 of the round: no accept, vote, answer or close."""
    world = World()
    round = world.round().run_to("vote")
    requests = dict(round.requests)
    shares = round.server._shares(0)
    node = world.members[0]
    node.receive(requests[node.id])
    round.collect([node.id])
    round.requests = dict(round.server.advance())
    assert round.stage == "answer"
    lost = MemberNode(node.id, node.identity, world.policy, world.roster, MemoryJournal(node.identity.public))
    for request in (
        shares,
        requests[node.id],
        round.requests[node.id],
        m.CloseRequest(round.server.announcement).to_bytes(),
    ):
        with refused(lost, JournalError, "journal does not hold"):
            lost.receive(request)
    round.finish()


def test_rule_journal_answers_survive_a_restart_and_repeat_byte_for_byte() -> None:
    world = World()
    round = world.round().run_to("answer")
    node = world.members[0]
    sent = node.receive(round.requests[node.id])
    node.restart()
    assert node.receive(round.requests[node.id]) == sent
    assert node.journal._open_rounds() == ()  # type: ignore[attr-defined]
    round.finish()


def test_a_restarted_member_is_given_its_shares_again() -> None:
    world = World()
    round = world.round().run_to("answer")
    node = world.members[0]
    node.restart()
    with refused(node, StateError, "deliver the same ones again"):
        node.receive(round.requests[node.id])
    shares, certificate = round.server.catch_up(node.id)
    assert node.receive(shares) == round.sent["accept", node.id]
    assert node.receive(certificate)
    # Not other ones.
    other = world.members[1]
    other.restart()
    few = decode(round.server.catch_up(other.id)[0])
    with refused(other, JournalError, "given other shares in this session and round before"):
        other.receive(replace(few, entries=few.entries[:4]).to_bytes())
    other.receive(few.to_bytes())
    round.finish()


# ---- one set per model and committee ----


def test_rule_b_vote_two_rounds_on_one_model() -> None:
    """{0, 3} and {0, 1, 3} on one model give client 1: both rounds are brought to a proposal before either is
    answered."""
    world = World()
    first = world.round(1).run_to("vote")
    second = world.round(2, journal=MemoryJournal(world.server_identity.public)).run_to("vote")
    node = world.members[0]
    node.receive(first.requests[node.id])
    with refused(node, JournalError, r"opened 1 set\(s\) on this very model"):
        node.receive(second.requests[node.id])
    # A certificate of the second round, by members that have not voted in the first, moves it neither.
    others = votes(second, second.survivors(range(6)), range(1, 5))
    with refused(node, JournalError, r"opened 1 set\(s\) on this very model"):
        node.receive(second.certificate(second.survivors(range(6)), others))
    second.finish({node.id: "vote"})


def test_rule_b_session_the_record_holds_over_sessions_and_purposes() -> None:
    world = World()
    world.round(1).finish()
    again = world.round(
        1, session=bytes(32), purpose="evaluation", journal=MemoryJournal(world.server_identity.public)
    ).run_to("vote")
    for node in world.members:
        node.restart()
        for request in again.server.catch_up(node.id)[:1]:
            node.receive(request)
        with refused(node, JournalError, r"opened 1 set\(s\) on this very model"):
            node.receive(again.requests[node.id])


def test_rule_b_vote_in_semi_honest_mode_and_for_a_single_key_holder_the_answer_counts() -> None:
    for options in ({"adversary": "semi_honest"}, {"c": 1}):
        world = World(**options)  # type: ignore[arg-type]
        world.round(1).finish()
        again = world.round(2, journal=MemoryJournal(world.server_identity.public)).run_to("answer")
        with refused(world.members[0], JournalError, r"opened 1 set\(s\) on this very model"):
            world.members[0].receive(again.requests[world.members[0].id])


def test_reentries_are_granted_by_policy_only() -> None:
    world = World(policy={"same_model_reentries": (("training", 1),)})
    fresh = lambda: MemoryJournal(world.server_identity.public)  # noqa: E731
    world.round(1, journal=fresh()).finish()
    world.round(2, journal=fresh()).finish()
    third = world.round(3, journal=fresh()).run_to("vote")
    with refused(world.members[0], JournalError, r"opened 2 set\(s\)"):
        world.members[0].receive(third.requests[world.members[0].id])


def two_committees() -> tuple[World, World]:
    """Two worlds of the same clients (journals included) with two committees of 5, both allowed by the clients'
    policy."""
    first, second = World(), World()
    names = [b"other-%d" % k for k in range(5)]
    keys = {party: identity(party) for party in names}
    listed = tuple((party, own.public) for party, own in keys.items())
    policy = replace(second.policy, committee=replace(second.policy.committee, members=listed))
    committee = Committee.named(listed, 1, 2)
    second = World(committee=committee, policy={"committee": policy.committee})
    second.members = [
        MemberNode(party, own, policy, second.roster, MemoryJournal(own.public)) for party, own in keys.items()
    ]
    for a, b in zip(first.clients, second.clients, strict=True):
        b.journal, b.values = a.journal, a.values
        b.restart()
    return first, second


def test_rule_b_committee_a_client_uploads_on_one_model_to_one_committee() -> None:
    first, second = two_committees()
    first.round(1).run_to("accept")
    other = announced(second, number=2)
    for node in second.clients:
        with refused(node, JournalError, "uploaded on this very model to another committee"):
            node.receive(other.requests[node.id])
    # Another model is another matter.
    second.round(3, model=b"next").finish()


def test_rule_b_k_close_certificates_release_a_model() -> None:
    """K = c + t_p - Q + 1 = 3 of 5 members closed the model: no set can be certified, so clients go to another
    committee."""
    first, second = two_committees()
    stalled = first.round(1).run_to("accept")
    stalled.requests = dict(stalled.server.close())
    assert first.params.committee.release == 3
    for node in first.members[:3]:
        (message,) = node.receive(stalled.requests[node.id])
        stalled.server.receive(message, node.id)
    certificate = stalled.server.close_certificate()
    few = replace(certificate, signatures=certificate.signatures[:2])
    other = announced(second, number=2, closes=(few,))
    node = second.clients[0]
    with refused(node, JournalError, "to another committee"):
        node.receive(other.requests[node.id])
    # Signatures of the wrong members, on another model, or one member three times.
    (place, signature), *_ = certificate.signatures
    for wrong in (
        replace(certificate, signatures=((place, signature), (3, signature), (4, signature))),
        replace(certificate, model_hash=bytes(32)),
        replace(certificate, committee=second.params.committee),
    ):
        lie = announced(second, number=4, closes=(wrong,))
        with refused(node, JournalError, "to another committee"):
            node.receive(lie.requests[node.id])
    second.round(3, closes=(certificate,)).finish()


def test_rule_b_xor_who_voted_does_not_close_and_who_closed_does_not_vote() -> None:
    world = World()
    round = world.round().run_to("vote")
    close = m.CloseRequest(round.server.announcement).to_bytes()
    voter, closer = world.members[0], world.members[1]
    voter.receive(round.requests[voter.id])
    with refused(voter, JournalError, "voted or answered on this model"):
        voter.receive(close)
    sent = closer.receive(close)
    with refused(closer, JournalError, "closed this model for this committee"):
        closer.receive(round.requests[closer.id])
    closer.restart()
    assert closer.receive(close) == sent
    # Also in a later round on that model.
    again = world.round(2, journal=MemoryJournal(world.server_identity.public)).run_to("vote")
    with refused(closer, JournalError, "closed this model for this committee"):
        closer.receive(again.requests[closer.id])


def test_close_needs_a_journal_that_reaches_back_before_the_first_round() -> None:
    world = World()
    first, second = world.round(1).run_to("accept"), world.round(2).run_to("accept")
    node = world.members[0]
    node.receive(first.requests[node.id])
    with refused(node, JournalError, "does not hold its box key"):
        node.receive(m.CloseRequest(announced(World(), number=9).server.announcement).to_bytes())
    # The shares of the first round came before the box key of a third one was drawn.
    third = world.round(3).run_to("accept")
    with refused(node, JournalError, "show the announcement of the first one"):
        node.receive(m.CloseRequest(third.server.announcement).to_bytes())
    assert node.receive(m.CloseRequest(first.server.announcement).to_bytes())
    assert second.context.digest != first.context.digest


def test_a_model_of_an_interactive_round_is_closed_for_one_shot_rounds() -> None:
    world = World()
    round = announced(world)
    node = world.clients[0]
    a = round.context.announce
    with node.journal.locked():
        node.journal.append(
            protocol="bonawitz",
            session=bytes(32),
            round=77,
            purpose="training",
            model_hash=a.model_hash,
            round_digest=bytes(32),
            stage=2,
            request=bytes(32),
            messages=[b"masked"],
            secrets=None,
        )
    with refused(node, JournalError, "used in an interactive round"):
        node.receive(round.requests[node.id])
    round.finish({node.id: "upload"})


def test_a_model_of_a_one_shot_round_is_closed_for_interactive_rounds() -> None:
    from privcomp.secagg import Client as SecaggClient
    from privcomp.secagg import Params as SecaggParams
    from privcomp.secagg import Segment
    from privcomp.secagg import Server as SecaggServer

    world = World()
    world.round().finish()
    node = world.clients[0]
    params = SecaggParams("bonawitz", "malicious", (Segment.ring(32, 3),), 0, 6)
    server = SecaggServer(params, session=bytes(32), round=1, purpose="training", model=MODEL, roster=world.roster)
    policy = Policy(corrupt=0)
    client = SecaggClient(node.id, node.identity, policy, node.journal, world.roster)
    with pytest.raises(JournalError, match="used in a one-shot round"):
        client.advertise(server.announcement)


def test_an_honest_server_proposes_one_set_per_model_and_committee() -> None:
    world = World()
    world.round(1).run_to("vote")
    with pytest.raises(JournalError, match="was proposed to this committee on this very model"):
        world.round(2)
    world.round(2, model=b"next").finish()


def test_votes_are_written_before_they_are_sent() -> None:
    """The journal has the vote under both keys when the message leaves."""
    world = World()
    round = world.round().run_to("vote")
    node = world.members[0]
    node.member.receive(round.requests[node.id])  # the answer is not even looked at
    entry = node.journal.entries()[-1]
    committee = world.params.committee.hash
    assert (entry.stage, entry.model_hash, entry.note[:32]) == (VOTE, round.context.announce.model_hash, committee)
    assert (entry.session, entry.round) == (SESSION, 1)


def test_resigned_helper_makes_announcements_that_verify() -> None:
    world = World()
    round = announced(world)
    assert resigned(world, round.context.announce) == round.server.announcement
