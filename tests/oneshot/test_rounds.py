"""Whole rounds: losses at every stage, corrupt clients and members, restarts, staging on disk."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from privcomp.errors import (
    CodecError,
    EncodingError,
    JournalError,
    ParameterError,
    PolicyError,
    RemoteError,
    RoundAborted,
    StateError,
)
from privcomp.he import RlweParams
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.oneshot import Client, Closing, Committee, Contribution, Member, Params, Server, frozen
from privcomp.oneshot import messages as m
from privcomp.oneshot.context import box_key_request, ciphertext_hash, upload_body
from privcomp.oneshot.server import _root
from privcomp.policy import CommitteePolicy, Policy
from tests.oneshot.harness import MODEL, SESSION, MemberNode, Round, World, decode, edit, identity, refused

C, M = b"client-%03d", b"member-%02d"


# ---- losses ----


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n": 9, "c": 7, "privacy": 2, "packing": 2, "length": 40},
        {"adversary": "semi_honest"},
        {"c": 1},
        {"c": 1, "adversary": "semi_honest"},
        {"hybrid": True},
        {"c": 1, "hybrid": True},
        {"bits": 24, "length": 3},
        {"n": 17, "length": 4},
    ],
)
def test_a_round_gives_the_exact_sum(options: dict[str, Any]) -> None:
    world = World(**options)
    aggregate = world.round().finish()
    assert len(aggregate.survivors) == len(world.clients)
    assert bool(aggregate.votes) == world.params.certified
    assert aggregate.faulty == {}
    world.round(2, model=b"next").finish()


def test_any_client_may_vanish_down_to_n_min() -> None:
    world = World(n=6)
    for k, gone in enumerate(combinations(range(6), 3)):
        if k % 4 == 0:
            round = world.round(k, model=b"%d" % k)
            aggregate = round.finish({C % i: "upload" for i in gone})
            assert aggregate.survivors == tuple(C % i for i in range(6) if i not in gone)
    round = world.round(90, model=b"few")
    with pytest.raises(RoundAborted, match="2 complete uploads, 3 are needed; nothing was opened"):
        round.finish({C % i: "upload" for i in range(4)})
    # More may still come in.
    round.server.receive(world.clients[0].receive(round.requests[C % 0])[0])
    for message in world.clients[0].receive(round.requests[C % 0])[1:]:
        round.server.receive(message)
    round.requests = dict(round.server.advance())
    assert len(round.finish().survivors) == 3


@pytest.mark.parametrize("stage", ["boxkeys", "accept", "vote", "answer"])
def test_members_may_vanish_at_every_stage_down_to_max_t_plus_1_and_q(stage: str) -> None:
    """c = 7, t_p = 2, rho = 2: T + 1 = 5 and Q = 5, so two may go."""
    world = World(c=7, privacy=2, packing=2)
    assert world.params.committee.needed == 5
    for k, gone in enumerate(((0, 1), (2, 6), (5, 6))):
        aggregate = world.round(k, model=b"%d" % k).finish({M % j: stage for j in gone})
        assert len(aggregate.survivors) == 6
        if stage in ("boxkeys", "accept", "answer"):
            assert not {M % j for j in gone} & set(aggregate.members)
    round = world.round(9, model=b"last")
    with pytest.raises(RoundAborted, match="nothing was opened"):
        round.finish({M % j: stage for j in (0, 3, 4)})
    # Nothing is lost: the same round goes on when one of them comes back.
    assert len(round.finish({M % j: stage for j in (0, 3)}).survivors) == 6


def test_who_voted_need_not_be_who_answers() -> None:
    """Five vote and go; the two that did not vote answer the certificate together with three that return."""
    world = World(c=7, privacy=2, packing=2)
    round = world.round().run_to("vote")
    round.collect([M % 5, M % 6])
    round.requests = dict(round.server.advance())
    round.collect([M % 0, M % 1])
    aggregate = round.check(round.server.result())
    assert aggregate.members == tuple(M % j for j in range(2, 7))


def test_clients_that_come_late_or_twice_change_nothing() -> None:
    world = World()
    round = world.round().run_to("upload")
    first = world.clients[0].receive(round.requests[C % 0])
    for message in first * 2:
        round.server.receive(message, C % 0)
    round.run_to("accept", {C % 5: "upload"})
    for message in first:
        if decode(message).TAG == m.UploadEnd.TAG:
            round.server.receive(message, C % 0)  # a late repeat of what is known
    aggregate = round.finish()
    assert aggregate.survivors == tuple(C % i for i in range(5))


def test_an_upload_after_its_stage_is_refused() -> None:
    world = World()
    round = world.round().run_to("upload")
    late = world.clients[5].receive(round.requests[C % 5])
    round.run_to("accept", {C % 5: "upload"})
    for message in late:
        with pytest.raises(RemoteError, match="uploads are closed"):
            round.server.receive(message, C % 5)
    round.finish()


# ---- corrupt clients ----


def bad_shares(world: World, round: Round, place: int, members: set[int]) -> list[bytes]:
    """An upload whose boxes for some members hold a wrong share: everything is signed, leaves fit what is sealed."""
    node = world.clients[place]
    honest = type(world.params.sharing).deal

    def deal(sharing: Any, key: Any, rng: Any) -> Any:
        dealt = honest(sharing, key, rng)
        values, plain = dealt.values.copy(), list(dealt.plain)
        for j in members:
            values[j, 0] = (values[j, 0] + 1) % 65521
            plain[j] = values[j].astype("<u2").tobytes()
        return type(dealt)(tuple(plain), values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.params.sharing), "deal", deal)
        return node.receive(round.requests[node.id])


def test_a_client_with_a_malformed_share_is_left_out_and_named() -> None:
    world = World(c=7, privacy=2, packing=2, gamma_ppm=170_000)
    round = world.round().run_to("upload")
    for message in bad_shares(world, round, 2, {5}):
        round.server.receive(message, C % 2)
    aggregate = round.finish({C % 2: "upload"})
    assert aggregate.survivors == tuple(C % i for i in (0, 1, 3, 4, 5))
    assert list(round.server.refused) == [C % 2]


def test_a_member_that_refuses_more_clients_than_may_be_corrupt_is_set_aside() -> None:
    """gamma = 1/6: one corrupt client of six. Member 6 refuses two, member 5 one: 6 goes, and the client of 5."""
    world = World(c=7, privacy=2, packing=2, gamma_ppm=170_000)
    round = world.round().run_to("upload")
    for place, members in ((2, {5, 6}), (3, {6})):
        for message in bad_shares(world, round, place, members):
            round.server.receive(message, C % place)
    round.run_to("vote", {C % 2: "upload", C % 3: "upload"})
    assert list(round.server.faulty) == [M % 6]
    assert round.server.survivors == tuple(C % i for i in (0, 1, 3, 4, 5))
    aggregate = round.finish()
    assert M % 6 not in aggregate.members
    assert "refused 2 clients, more than 1" in aggregate.faulty[M % 6]


def test_members_are_set_aside_only_while_enough_others_remain() -> None:
    world = World(c=7, privacy=2, packing=2, gamma_ppm=0, n=8)
    round = world.round().run_to("upload")
    for place, members in ((0, {4, 5, 6}), (1, {5, 6}), (2, {6})):
        for message in bad_shares(world, round, place, members):
            round.server.receive(message, C % place)
    aggregate = round.finish({C % i: "upload" for i in range(3)})
    assert sorted(aggregate.faulty) == [M % 5, M % 6]  # five remain: member 4 stays, and client 0 goes
    assert aggregate.survivors == tuple(C % i for i in range(1, 8))


def test_a_client_whose_encryption_key_is_not_the_shared_one_costs_the_round_and_opens_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What no member can see. The sum does not decode; no second set is ever opened to find the culprit."""
    world = World()
    round = world.round().run_to("upload")
    deal = type(world.params.sharing).deal
    with monkeypatch.context() as patch:
        patch.setattr(type(world.params.sharing), "deal", lambda self, key, rng: deal(self, np.roll(key, 1), rng))
        for message in world.clients[1].receive(round.requests[C % 1]):
            round.server.receive(message, C % 1)
    round.run_to("answer", {C % 1: "upload"})
    round.collect()
    with pytest.raises(RoundAborted, match="nothing was decoded"):
        round.server.result()
    with pytest.raises(JournalError, match="was proposed to this committee on this very model"):
        world.round(2)


def test_a_malformed_box_in_modes_without_a_test_is_left_out_too() -> None:
    for options in ({"adversary": "semi_honest"}, {"c": 1}):
        world = World(gamma_ppm=170_000, **options)  # type: ignore[arg-type]
        round = world.round().run_to("upload")
        sent = world.clients[0].receive(round.requests[C % 0])
        end = decode(sent[-1])
        box = bytearray(end.boxes[-1])
        box[3] ^= 1
        broken = replace(end, boxes=(*end.boxes[:-1], bytes(box)))  # boxes are not signed: anybody can break one
        for message in (*sent[:-1], broken.to_bytes()):
            round.server.receive(message, C % 0)
        aggregate = round.finish({C % 0: "upload"})
        assert aggregate.survivors == tuple(C % i for i in range(1, 6))


# ---- corrupt members ----


def lying_answer(round: Round, place: int) -> bytes:
    """A wrong answer under the member's own signature."""
    node = round.world.members[place]
    honest = decode(node.receive(round.requests[node.id])[0])
    rows = np.frombuffer(honest.sum, "<u2").astype(int)
    rows[5] = (rows[5] + 1) % 65521
    data = rows.astype("<u2").tobytes()
    signature = round.context.sign(node.identity, "answer", node.id, honest.set_hash, data)
    return replace(honest, sum=data, signature=signature).to_bytes()


def test_a_member_with_a_wrong_answer_is_named_and_the_sum_is_exact() -> None:
    world = World(c=7, privacy=2, packing=2)  # T = 4: seven answers, one wrong one is corrected
    round = world.round().run_to("answer")
    round.server.receive(lying_answer(round, 3), M % 3)
    round.collect([M % 3])
    aggregate = round.check(round.server.result())
    assert aggregate.faulty == {M % 3: "its answer is not on the polynomials of the others"}
    assert M % 3 not in aggregate.members


def test_with_t_plus_1_answers_a_wrong_one_is_detected_and_more_answers_decide() -> None:
    world = World(c=7, privacy=2, packing=2)
    round = world.round().run_to("answer")
    round.server.receive(lying_answer(round, 3), M % 3)
    round.collect([M % 3, M % 5, M % 6])
    with pytest.raises(RoundAborted, match="do not fit together"):
        round.server.result()
    round.requests = dict(round.server.requests())
    round.collect()
    assert round.check(round.server.result()).faulty


def test_answers_and_votes_of_strangers_or_for_other_sets_are_refused() -> None:
    world = World()
    round = world.round().run_to("vote")
    vote = decode(world.members[0].receive(round.requests[M % 0])[0])
    for wrong, text in (
        (replace(vote, id=b"stranger"), "is not in the committee"),
        (replace(vote, id=M % 1), "signature of the vote does not verify"),
        (replace(vote, set_hash=bytes(32)), "a vote for another set"),
        (replace(vote, ctx=bytes(32)), "belongs to another round"),
    ):
        with pytest.raises(RemoteError, match=text):
            round.server.receive(wrong.to_bytes())
    with pytest.raises(RemoteError, match="in the name of b'member-00'"):
        round.server.receive(vote.to_bytes(), M % 2)
    round.server.receive(vote.to_bytes(), M % 0)
    round.server.receive(vote.to_bytes(), M % 0)
    round.run_to("answer")
    answer = decode(world.members[0].receive(round.requests[M % 0])[0])
    for wrong, text in (
        (replace(answer, set_hash=bytes(32)), "an answer for another set"),
        (replace(answer, sum=answer.sum[:-2]), "signature of the answer does not verify"),
        (replace(answer, id=M % 1), "signature of the answer does not verify"),
    ):
        with pytest.raises(RemoteError, match=text):
            round.server.receive(wrong.to_bytes())
    node = world.members[1]
    for data in (answer.sum[:-2], b"\xff" * len(answer.sum)):
        signature = round.context.sign(node.identity, "answer", node.id, answer.set_hash, data)
        with pytest.raises(CodecError, match="an answer"):
            round.server.receive(replace(answer, id=node.id, sum=data, signature=signature).to_bytes())
    round.finish()


# ---- restarts ----


@pytest.mark.parametrize("stage", ["vote", "answer"])
def test_a_server_that_restarts_after_its_proposal_finishes_the_round(stage: str) -> None:
    """The clients are long gone; members return, and are given the same shares again where they restarted."""
    world = World(c=7, privacy=2, packing=2)
    round = world.round().run_to(stage)
    round.collect([M % 0, M % 1, M % 2])
    stored = round.server.freeze()
    again = Server.thaw(
        stored, model=b"", roster=world.roster, identity=world.server_identity, journal=world.server_journal
    )
    assert again.freeze() == stored
    assert again.pending == round.server.pending
    round.server = again
    for place in (0, 1):
        world.members[place].restart()
        for request in again.catch_up(M % place):
            for message in world.members[place].receive(request):
                if decode(message).TAG != m.Accept.TAG:
                    again.receive(message, M % place)
    round.requests = dict(again.requests())
    aggregate = round.finish()
    assert len(aggregate.survivors) == 6


def test_a_server_that_restarts_before_its_proposal_asks_clients_again() -> None:
    world = World()
    round = world.round().run_to("upload")
    round.collect([C % 4])
    sent = dict(round.sent)
    stored = round.server.freeze()
    for node in world.clients:
        node.restart()
        node.values = node.values + 0
    round.server = Server.thaw(
        stored, model=MODEL, roster=world.roster, identity=world.server_identity, journal=world.server_journal
    )
    round.requests = dict(round.server.requests())
    round.collect()
    assert all(round.sent[key] == value for key, value in sent.items())
    round.requests = dict(round.server.advance())
    assert len(round.finish().survivors) == 6


def test_a_server_with_an_older_file_proposes_what_its_journal_has_or_nothing() -> None:
    """The file is of the announcement, the journal has the proposal: clients upload again, members accept the same."""
    world = World()
    round = world.round().run_to("upload")
    announced = round.server.freeze()
    round.run_to("vote")
    options: dict[str, Any] = {"roster": world.roster, "identity": world.server_identity}
    options |= {"model": MODEL, "journal": world.server_journal}
    entries = world.server_journal.entries()
    round.server = Server.thaw(announced, **options)
    round.requests = dict(round.server.requests())
    round.run_to("accept", {C % 0: "upload"})
    with pytest.raises(JournalError, match="other shares"):
        round.collect()
    round.server = Server.thaw(announced, **options)
    round.requests = dict(round.server.requests())
    aggregate = round.finish()
    assert len(aggregate.survivors) == 6
    assert world.server_journal.entries() == entries
    with pytest.raises(JournalError, match="another survivor set of this round"):
        round.server._write_down(round.server._survivors[1:])


def test_a_stored_announcement_of_a_model_that_was_used_since_is_refused() -> None:
    world = World()
    announced = world.round(1).run_to("upload").server.freeze()
    world.round(2).finish()
    with pytest.raises(JournalError, match="a survivor set was proposed to this committee"):
        Server.thaw(
            announced, model=MODEL, roster=world.roster, identity=world.server_identity, journal=world.server_journal
        )


def test_a_stored_round_that_was_changed_or_is_anothers_is_refused() -> None:
    world = World()
    round = world.round().run_to("vote")
    stored = round.server.freeze()
    options: dict[str, Any] = {"model": b"", "roster": world.roster, "identity": world.server_identity}
    for data in (stored[:-1], stored + b"x", stored[:60] + bytes([stored[60] ^ 1]) + stored[61:]):
        with pytest.raises(CodecError):
            Server.thaw(data, **options)
    with pytest.raises(ParameterError, match="another identity"):
        Server.thaw(stored, **{**options, "identity": Identity.from_seed(bytes(32))})
    early = world.round(2, model=b"next")
    with pytest.raises(StateError, match="a round is kept when it is announced"):
        early.server.freeze()
    early.run_to("upload")
    announced = early.server.freeze()
    with pytest.raises(ParameterError, match="not those that were announced"):
        Server.thaw(announced, **options)
    early.run_to("accept")
    with pytest.raises(StateError, match="a round is kept when it is announced"):
        early.server.freeze()


def test_a_stored_round_whose_parts_do_not_fit_is_refused() -> None:
    """Also behind a hash that fits: a file of another version, or two that were mixed."""
    world = World()
    round = world.round().run_to("answer")
    other = world.round(2, model=b"other").run_to("answer")
    options: dict[str, Any] = {"model": None, "roster": world.roster, "identity": world.server_identity}
    mine, theirs = (frozen.read(each.server.freeze()) for each in (round, other))
    (place, signature), *votes = mine.votes
    for changes in (
        {"stage": 2},
        {"stage": 200},
        {"uploads": mine.uploads[1:]},
        {"uploads": theirs.uploads},
        {"uploads": (*mine.uploads, mine.uploads[0])},
        {"uploads": (edit(mine.uploads[0], boxes=()), *mine.uploads[1:])},
        {"uploads": (edit(mine.uploads[0], leaves=b""), *mine.uploads[1:])},
        {"uploads": (edit(mine.uploads[0], id=b"nobody"), *mine.uploads[1:])},
        {"accepts": mine.accepts[:3]},
        {"accepts": (*mine.accepts, mine.accepts[0][:-1])},
        {"accepts": theirs.accepts},
        {"survivors": mine.survivors[1:]},
        {"survivors": theirs.survivors},
        {"survivors": ()},
        {"votes": ((place, bytes(64)), *votes)},
        {"votes": (*mine.votes, (500, signature))},
        {"votes": theirs.votes},
        {"votes": ()},
        {"answers": (b"garbage",)},
        {"total": mine.total[:-8]},
        {"total": mine.total[:-1]},
        {"announce": theirs.announce},
    ):
        with pytest.raises(CodecError):
            Server.thaw(frozen.write(replace(mine, **changes)), **options)  # type: ignore[arg-type]
    round.server = Server.thaw(frozen.write(mine), **options)
    round.finish()


def test_a_round_that_stalls_before_its_proposal_is_announced_again_on_the_same_model_and_committee() -> None:
    world = World()
    world.round(1).run_to("accept")
    again = world.round(2)
    assert len(again.finish().survivors) == 6
    entries = [entry.stage for entry in world.clients[0].journal.entries()]
    assert len(entries) == 2


def test_a_member_gives_up_the_oldest_rounds_without_a_vote() -> None:
    world = World(policy={"open_rounds_max": 3})
    node = world.members[0]
    voted = world.round(0, model=b"voted").run_to("vote")
    voted.collect()
    stale, *_ = [world.round(number, model=b"%d" % number).run_to("accept") for number in range(1, 6)]
    assert len(node.journal._open_rounds()) == 3  # type: ignore[arg-type]
    voted.requests = dict(voted.server.advance())
    for member in world.members:  # shares in memory went with the newer rounds
        member.receive(voted.server.catch_up(member.id)[0])
    voted.finish()
    with refused(node, JournalError, "the box key of this round is erased"):
        node.receive(stale.requests[node.id])
    # Nor is a key handed out again that opens nothing: its owner counts as absent, instead of being missed later.
    with refused(node, JournalError, "the box key of this round is erased"):
        node.receive(world.round(1, model=b"1").requests[node.id])


def test_rounds_that_came_furthest_keep_their_box_keys() -> None:
    """Shares that were accepted may be in a proposal: a round that stalled there survives any number of announcements,
    a restart included."""
    world = World(policy={"open_rounds_max": 3})
    accepted = world.round(0, model=b"accepted").run_to("accept")
    accepted.collect()
    for number in range(1, 9):
        world.round(number, model=b"%d" % number).run_to("upload")
    for member in world.members:
        assert len(member.journal._open_rounds()) == 3  # type: ignore[arg-type]
        member.restart()
        member.receive(accepted.requests[member.id])
    accepted.requests = dict(accepted.server.advance())
    assert len(accepted.finish().survivors) == 6


def test_one_box_key_per_session_and_round() -> None:
    """Asked again with another committee, or for other boxes, a member draws no second key for the round; the number is
    another server's as well."""
    world = World()
    round = world.round().run_to("upload")
    node = world.members[0]
    a, own = round.context.announce, world.params.committee.hash
    for committee, hybrid in ((bytes(32), False), (own, True)):
        request = box_key_request(world.server_identity, a.roster_hash, a.session, a.round, committee, hybrid)
        with refused(node, JournalError, "asked for a box key of this session and round otherwise"):
            node.receive(request.to_bytes())
    other = box_key_request(identity(b"other server"), a.roster_hash, a.session, a.round, bytes(32), False)
    assert node.receive(other.to_bytes())
    round.finish()


def test_too_few_closes_make_no_certificate() -> None:
    """Nor do a member's twice, a stranger's, one of another model, or one that somebody else signed."""
    world = World()
    round = world.round().run_to("accept")
    closing = Closing.of(round.server.announcement)
    assert closing.pending == frozenset(world.params.committee.ids)
    sent = [decode(node.receive(closing.request)[0]) for node in world.members]
    for wrong, said in (
        (replace(sent[0], model_hash=bytes(32)), "another model or committee"),
        (replace(sent[0], committee_hash=bytes(32)), "another model or committee"),
        (replace(sent[0], id=sent[1].id), "signature of the close does not verify"),
        (replace(sent[0], signature=bytes(64)), "signature of the close does not verify"),
        (replace(sent[0], id=b"stranger"), "not in the committee"),
    ):
        with pytest.raises(RemoteError, match=said):
            closing.receive(wrong)
    with pytest.raises(RemoteError, match="in the name of"):
        closing.receive(sent[0].to_bytes(), sent[1].id)
    with pytest.raises(RemoteError):
        closing.receive(sent[0].to_bytes()[:-1], sent[0].id)
    with pytest.raises(CodecError):
        Closing.of(round.server.announcement[:-1])
    for close in (sent[0], sent[0], sent[3].to_bytes()):
        closing.receive(close)
    assert closing.pending == {sent[k].id for k in (1, 2, 4)}
    with pytest.raises(RoundAborted, match="2 members closed the model, 3 are needed"):
        closing.certificate()
    closing.receive(sent[4])
    assert [place for place, _ in closing.certificate().signatures] == [0, 3, 4]
    with pytest.raises(StateError, match="not being given up"):
        world.round(2).server.close_certificate()


def test_box_keys_are_erased_after_the_answer() -> None:
    world = World()
    round = world.round().run_to("answer")
    secrets = {node.id: dict(node.journal._round_secrets) for node in world.members}  # type: ignore[attr-defined]
    assert all(len(found) == 1 for found in secrets.values())
    round.finish()
    assert all(not node.journal._round_secrets for node in world.members)  # type: ignore[attr-defined]
    assert all(not node.member._given for node in world.members)


# ---- staging ----


def test_uploads_are_staged_on_disk_beyond_the_memory_budget() -> None:
    world = World(length=50_000, block_polynomials=1, n=6)
    assert world.params.blocks == 4
    for k, budget in enumerate((0, 200_000, 1 << 28)):
        round = world.round(k, model=b"%d" % k, memory_budget=budget).run_to("accept")
        held = sum(len(p) for u in round.server._uploads.values() for p in u._payloads.values())
        assert held <= budget
        round.finish()


def test_blocks_in_any_order_and_replaced_ones() -> None:
    world = World(length=40_000, block_polynomials=1)
    round = world.round(memory_budget=60_000).run_to("upload")
    sent = world.clients[0].receive(round.requests[C % 0])
    assert len(sent) == 4
    other = World(length=40_000, block_polynomials=1, seed=2).round()
    stray = other.run_to("upload")
    foreign = [decode(x) for x in stray.world.clients[0].receive(stray.requests[C % 0])[:-1]]
    for message in foreign:  # a stranger's blocks, where the transport does not say who sends
        round.server.receive(replace(message, ctx=round.context.digest).to_bytes())
    with pytest.raises(RemoteError, match="do not have the hash that it signed"):
        round.server.receive(sent[-1], C % 0)
    for message in sent[2::-1]:
        round.server.receive(message, C % 0)
    assert C % 0 in round.server.uploaded
    round.finish({C % 0: "upload"})


def test_a_block_that_was_changed_on_disk_is_noticed() -> None:
    from privcomp.errors import LocalError

    world = World(length=40_000, block_polynomials=1)
    round = world.round(memory_budget=0).run_to("accept")
    round.collect()
    file = round.server._staging._file
    assert file is not None
    file.seek(1000)
    file.write(b"damage")
    file.flush()
    with pytest.raises(LocalError, match="changed on disk"):
        round.server.advance()
    # No set is fixed: the model is as free as before.
    assert round.server.survivors == ()
    assert world.server_journal.entries() == ()
    world.round(2).finish()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b: replace(b, index=7), "block 7 does not exist"),
        (lambda b: replace(b, payload=b.payload[:-1]), "needed are"),
        (lambda b: replace(b, payload=b.payload + b"\0"), "needed are"),
        (lambda b: replace(b, payload=b"\xff" * len(b.payload)), "block 0"),
        (lambda b: replace(b, id=b"stranger"), "not in the roster"),
        (lambda b: replace(b, ctx=bytes(32)), "another round"),
    ],
)
def test_bad_blocks(change: Any, text: str) -> None:
    world = World()
    round = world.round().run_to("upload")
    block = decode(world.clients[0].receive(round.requests[C % 0])[0])
    with pytest.raises(RemoteError, match=text):
        round.server.receive(change(block).to_bytes())
    round.finish()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda e: replace(e, leaves=e.leaves[:-32]), "key part is not one of this round"),
        (lambda e: replace(e, test=e.test[:-1]), "key part is not one of this round"),
        (lambda e: replace(e, boxes=e.boxes[1:]), "key part is not one of this round"),
        (lambda e: replace(e, boxes=(e.boxes[0][1:], *e.boxes[1:])), "key part is not one of this round"),
        (lambda e: replace(e, kems=(b"",) * 5), "key part is not one of this round"),
        (lambda e: replace(e, leaves=bytes(len(e.leaves))), "signature of the upload does not verify"),
        (lambda e: replace(e, test=bytes(len(e.test))), "signature of the upload does not verify"),
        (lambda e: replace(e, ciphertext_hash=bytes(32)), "signature of the upload does not verify"),
        (lambda e: replace(e, key=bytes(32)), "signature of the upload does not verify"),
        (lambda e: replace(e, id=b"client-001"), "signature of the upload does not verify"),
        (lambda e: replace(e, signature=bytes(64)), "signature of the upload does not verify"),
    ],
)
def test_bad_key_parts(change: Any, text: str) -> None:
    world = World()
    round = world.round().run_to("upload")
    sent = world.clients[0].receive(round.requests[C % 0])
    with pytest.raises(RemoteError, match=text):
        round.server.receive(change(decode(sent[-1])).to_bytes())
    for message in sent:
        round.server.receive(message)
    with pytest.raises(RemoteError, match="a second, different upload"):
        round.server.receive(replace(change(decode(sent[-1])), id=C % 0, signature=bytes(64)).to_bytes())
    round.finish({C % 0: "upload"})


def test_low_order_ephemeral_keys_open_nothing() -> None:
    """A client that seals under an all-zero secret is refused by its members."""
    world = World()
    round = world.round().run_to("upload")
    node = world.clients[0]
    sent = node.receive(round.requests[node.id])
    end = decode(sent[-1])
    zero = replace(end, key=bytes(32))
    body = upload_body(zero, _root(zero))
    signed = replace(zero, signature=round.context.sign(node.identity, "upload", *body))
    for message in (*sent[:-1], signed.to_bytes()):
        round.server.receive(message, node.id)
    assert round.finish({node.id: "upload"}).survivors == tuple(C % i for i in range(1, 6))


# ---- what a client refuses of its own caller ----


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(8, np.int64),
        np.zeros(9, np.float64),
        np.full(9, np.nan),
        np.zeros(9, np.uint64),
        np.zeros((9, 1), np.int64),
        np.full(9, 1 << 15, np.int64),
        np.full(9, -(1 << 15), np.int64),
        np.zeros(9, ">i8"),
        [0] * 9,
    ],
)
def test_a_wrong_update_is_refused_and_nothing_is_sent(values: Any) -> None:
    world = World()
    round = world.round().run_to("upload")
    node = world.clients[0]
    good, node.values = node.values, values
    with refused(node, EncodingError, "value"):
        node.receive(round.requests[node.id])
    node.values = good
    round.finish()


def test_no_update_or_something_else_in_its_place() -> None:
    world = World()
    round = world.round().run_to("upload")
    node = world.clients[0]
    with pytest.raises(StateError, match="needs the update"):
        node.client.receive(None, round.requests[node.id])
    with pytest.raises(EncodingError, match="return a Contribution"):
        node.client.receive(None, round.requests[node.id], lambda model: np.zeros(9))  # type: ignore[arg-type, return-value]
    assert not node.journal.entries()


def test_identities_journals_and_rosters_must_fit() -> None:
    world = World()
    node, stranger = world.clients[0], Identity.from_seed(b"z" * 32)
    arguments = (node.policy, node.journal, world.roster)
    with pytest.raises(ParameterError, match="journal belongs to another identity"):
        Client(node.id, stranger, *arguments)
    with pytest.raises(ParameterError, match="is not in the roster"):
        Client(b"nobody", node.identity, *arguments)
    with pytest.raises(PolicyError, match="pins"):
        Client(node.id, node.identity, replace(node.policy, roster_hash=bytes(32)), node.journal, world.roster)
    with pytest.raises(ParameterError, match="journal belongs to another identity"):
        Member(b"m", stranger, *arguments)
    with pytest.raises(PolicyError, match="pins"):
        Member(node.id, node.identity, replace(node.policy, roster_hash=bytes(32)), node.journal, world.roster)
    for role in (node.client, world.members[0].member):
        assert "secret" not in repr(role)


def test_a_member_takes_no_single_key_round_and_a_key_holder_no_other() -> None:
    single = World(c=1)
    node = single.members[0]
    request = single.round().run_to("accept").requests[node.id]
    wrong = MemberNode(node.id, node.identity, node.policy, node.roster, node.journal)
    with refused(wrong, PolicyError, "a single key-holder is a role of its own"):
        wrong.receive(request)
    assert node.member.could_open  # type: ignore[attr-defined]
    world = World()
    holder = world.members[0]
    request = world.round().run_to("accept").requests[holder.id]
    from privcomp.oneshot import KeyHolder

    wrong = MemberNode(holder.id, holder.identity, holder.policy, holder.roster, holder.journal, KeyHolder)
    with refused(wrong, PolicyError, "a single key-holder is a role of its own"):
        wrong.receive(request)


def test_a_member_refuses_more_bytes_than_it_takes() -> None:
    world = World(committee_policy={"delivery_bytes_max": 3000})
    round = world.round().run_to("accept")
    with refused(world.members[0], PolicyError, "bytes of shares; allowed: at most 3000"):
        world.members[0].receive(round.requests[M % 0])


def test_sampled_committees_are_members_of_the_roster_with_one_journal_for_both_roles() -> None:
    """Eight clients, a committee of five drawn from them; each drawn one is client and member under one identity."""
    base = World(n=24, corrupt=0)
    committee = Committee.sampled(base.roster, b"beacon", 5, 1, 2)
    world = World(n=24, committee=committee, policy={"committee": CommitteePolicy(beacon=b"beacon")})
    by_id = {node.id: node for node in world.clients}
    world.members = [
        MemberNode(party, by_id[party].identity, world.policy, world.roster, by_id[party].journal)
        for party in committee.ids
    ]
    round = Round(world)
    for number in (1, 2):
        round = Round(world, number, model=b"%d" % number)
        while round.stage != "done":
            nodes: dict[bytes, Any] = by_id if round.stage == "upload" else {node.id: node for node in world.members}
            for party, request in dict(round.server.requests()).items():
                for message in nodes[party].receive(request):
                    round.server.receive(message, party)
            if round.stage == "answer":
                break
            round.server.advance()
        round.nodes = dict(by_id)
        round.check(round.server.result())
    # Condition (S) is the node's own: with its gamma, or its c, such a small committee is not safe.
    victim = by_id[sorted(set(by_id) - set(committee.ids))[0]]
    fresh = Round(world, 9, model=b"nine").run_to("upload")
    for own, count in (({"gamma_ppm": 250_000}, 6), ({"corrupt": 7}, 7)):
        victim.restart(policy=replace(world.policy, **own))
        with refused(victim, PolicyError, rf"condition \(S\) for {count} corrupt clients of 24"):
            victim.receive(fresh.requests[victim.id])
    # Nor is another draw accepted: the server's own choice of members, or of the beacon.
    for change in ({"beacon": b"other"}, {"members": (*committee.members[1:], committee.members[0])}):
        lie = replace(committee, **change)  # type: ignore[arg-type]
        wrong = replace(world.params, committee=lie)
        announce = fresh.announce(params=wrong.to_bytes())
        with refused(victim, PolicyError, "another beacon|another committee"):
            victim.restart(policy=world.policy)
            victim.receive(m.UploadRequest(announce, b"nine").to_bytes())


def test_parameters_that_do_not_add_up() -> None:
    world = World()
    for change, text in (
        ({"adversary": "nice"}, "allowed are 'semi_honest'"),
        ({"length": 0}, "length 0"),
        ({"survivors_min": 1}, "that client's update"),
        ({"survivors_min": 7}, "allowed are 2..6"),
        ({"gamma_ppm": 600_000}, "gamma"),
        ({"block_polynomials": 0}, "block_polynomials"),
        ({"version": 2}, "version 2"),
        ({"ring": "P1"}, "ring is a RlweParams"),
    ):
        with pytest.raises(ParameterError, match=text):
            replace(world.params, **change)  # type: ignore[arg-type]
    assert Params.from_bytes(world.params.to_bytes(), max_bytes=1 << 16) == world.params
    with pytest.raises(ParameterError, match="a roster of 6 for sums of at least 7"):
        Server(
            replace(world.params, ring=RlweParams.for_round(16, 10), survivors_min=7),
            session=SESSION,
            round=1,
            purpose="training",
            model=MODEL,
            roster=world.roster,
            identity=world.server_identity,
        )
    with pytest.raises(ParameterError, match="journal belongs to another identity"):
        world.round(journal=MemoryJournal(bytes(32)))


def test_a_clients_memory_stays_at_blocks_beside_its_journal() -> None:
    """Two million entries: the ciphertext is 4.9 MB; what the client holds at a time is a block, not the ciphertext."""
    import tracemalloc

    world = World(n=3, length=2_000_000, survivors_min=3)
    round = world.round().run_to("upload")
    node = world.clients[0]

    class Sink(MemoryJournal):
        def _store(self, messages: Any) -> bytes:
            self.sizes = [len(message) for message in messages]
            return bytes(32)

    node.journal = Sink(node.identity.public)
    node.restart()
    request = round.requests[node.id]
    world.params.ring.tables  # noqa: B018 (made once)
    tracemalloc.start()
    with pytest.raises(KeyError):
        node.receive(request)  # the sink keeps nothing to answer with
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(node.journal.sizes) > 4_900_000
    assert peak < 3_200_000, peak


def test_nothing_of_a_client_travels_in_the_clear() -> None:
    """Neither its entropy nor its values, as they lie in memory, are in what it sends."""
    world = World(length=600)
    round = world.round().run_to("upload")
    node, drawn = world.clients[0], []

    def entropy(n: int) -> bytes:
        drawn.append(os.urandom(n))
        return drawn[-1]

    node.client = Client(node.id, node.identity, node.policy, node.journal, node.roster, rng=entropy)
    sent = b"".join(node.receive(round.requests[node.id]))
    assert len(drawn) >= 4
    assert len(set(drawn)) == len(drawn)
    for secret in (*drawn, node.values.tobytes()[:64], node.values.astype(np.int32).tobytes()[:64]):
        assert secret[:16] not in sent
    stored = b"".join(b"".join(messages) for messages in node.journal._answers.values())  # type: ignore[attr-defined]
    assert not any(secret[:16] in stored for secret in drawn)


def test_two_uploads_share_nothing() -> None:
    """The same update on the same model in two rounds: fresh key, noise, shares and boxes."""
    world = World(length=4096)
    first, second = world.round(1).run_to("upload"), world.round(2).run_to("upload")
    node = world.clients[0]
    a, b = ([decode(x) for x in node.receive(r.requests[node.id])] for r in (first, second))
    same = np.frombuffer(a[0].payload, np.uint8) == np.frombuffer(b[0].payload, np.uint8)
    assert same.mean() < 0.01
    assert a[1].key != b[1].key
    assert not set(a[1].boxes) & set(b[1].boxes)
    assert a[1].leaves != b[1].leaves


def test_broken_entropy_repeats_no_key_and_nonce_under_another_plaintext(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that always returns the same bytes: E_i depends on what is sealed, too."""
    world = World()
    round = world.round().run_to("upload")
    node = world.clients[0]
    seen = set()
    for k in range(3):
        node.journal = MemoryJournal(node.identity.public)
        node.values = node.values * 0 + k
        draws = iter(range(1000))
        node.client = Client(
            node.id,
            node.identity,
            node.policy,
            node.journal,
            node.roster,
            rng=lambda n, draws=draws: next(draws).to_bytes(n, "little"),  # type: ignore[misc]
        )
        seen.add(decode(node.receive(round.requests[node.id])[-1]).key)
    assert len(seen) == 3


def test_hashes_bind_order_and_context() -> None:
    blocks = [bytes([k]) * 32 for k in range(3)]
    base = ciphertext_hash(bytes(32), blocks)
    assert len({base, ciphertext_hash(b"\x01" * 32, blocks), ciphertext_hash(bytes(32), blocks[::-1])}) == 3
    assert isinstance(World().roster, Roster)
    assert repr(Contribution(np.zeros(3))) == "Contribution(<redacted>)"
    assert isinstance(Policy().committee, CommitteePolicy)


def test_a_full_round_takes_no_more_clients_than_its_sum_is_safe_for() -> None:
    world = World(n=8, clients=7)
    round = world.round()
    aggregate = round.finish()
    assert len(aggregate.uploaded) == 7
    assert aggregate.survivors == tuple(C % i for i in range(7))
    assert "safe for 7 clients" in round.server.refused[C % 7]
