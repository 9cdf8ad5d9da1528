"""Damaged, truncated and replayed messages: refused with a typed error, or without effect; the sum stays exact."""

from __future__ import annotations

import numpy as np
import pytest

from privcomp.errors import CodecError, PrivcompError, RemoteError
from privcomp.oneshot import messages as m
from privcomp.simulation import Coins
from privcomp.simulation.faults import corrupted
from tests.oneshot.harness import Round, World, decode


def play(round: Round, coins: Coins, mutations: int) -> tuple[int, int]:
    """A whole round in which damaged copies come before every message; (copies, copies that were refused)."""
    tried = refused = 0
    while True:
        stage = round.stage
        for party, request in dict(round.server.requests()).items():
            node = round.nodes[party]
            for _ in range(mutations):
                before = node.journal.entries()
                try:
                    node.receive(corrupted(request, coins))
                except PrivcompError:
                    refused += 1
                    assert node.journal.entries() == before
                tried += 1
            for message in node.receive(request):
                for _ in range(mutations):
                    try:
                        round.server.receive(corrupted(message, coins), party)
                    except PrivcompError:
                        refused += 1
                    tried += 1
                round.server.receive(message, party)
        if stage == "answer":
            round.check(round.server.result())
            return tried, refused
        round.server.advance()


def campaign(seed: int, mutations: int, copies: int) -> None:
    tried = refused = 0
    number = 0
    while tried < mutations:
        options = (
            {},
            {"adversary": "semi_honest"},
            {"c": 1},
            {"hybrid": True},
            {"length": 9000, "block_polynomials": 1},
        )
        world = World(n=4, c=1) if number % 5 == 2 else World(n=4, c=4, packing=1, **options[number % 5])  # type: ignore[arg-type]
        a, b = play(world.round(number, model=b"%d" % number), Coins(seed, number), copies)
        tried, refused, number = tried + a, refused + b, number + 1
    # What is not refused is a block of an upload or a box, which are not signed one by one: replaced by the right ones,
    # or a request for a box key, which anybody may send; it gives the member a key that nobody uses.
    assert refused > 0.6 * tried


def test_damaged_messages_never_change_a_sum() -> None:
    campaign(1, 2_000, 12)


@pytest.mark.assurance
def test_a_hundred_thousand_damaged_messages_never_change_a_sum() -> None:
    campaign(2, 100_000, 60)


def test_signed_messages_are_refused_when_one_bit_is_wrong() -> None:
    """Of what carries a signature over all of it nothing damaged is taken."""
    world = World(n=4, c=4, packing=1)
    round, coins = world.round(), Coins(3, "bits")
    signed = (m.Accept, m.Vote, m.Answer, m.BoxKey, m.Propose, m.Certificate, m.Shares)
    while True:
        for party, request in dict(round.server.requests()).items():
            node = round.nodes[party]
            if isinstance(decode(request), signed):
                for _ in range(4):
                    with pytest.raises(PrivcompError):
                        node.receive(corrupted(request, coins))
            for message in node.receive(request):
                if isinstance(decode(message), signed):
                    for _ in range(4):
                        with pytest.raises(PrivcompError):
                            round.server.receive(corrupted(message, coins), party)
                round.server.receive(message, party)
        if round.stage == "answer":
            break
        round.server.advance()
    round.check(round.server.result())


def test_messages_of_an_earlier_round_are_refused() -> None:
    world = World(n=4, c=4, packing=1)
    old = world.round(1)
    old.finish()
    new = world.round(2, model=b"next")
    for stage in ("boxkeys", "upload", "accept", "vote", "answer"):
        new.run_to(stage)
        for messages in old.sent.values():
            for message in messages:
                with pytest.raises(RemoteError):
                    new.server.receive(message)
    new.finish()


def test_foreign_bytes_are_no_messages() -> None:
    world = World(n=4, c=4, packing=1)
    round = world.round()
    for data in (b"", b"PC", bytes(5), b"\x80\x04K\x01.", m.CloseRequest(b"x").to_bytes()[:-1]):
        with pytest.raises(CodecError):
            round.server.receive(data)
        for node in (*world.clients, *world.members):
            with pytest.raises(CodecError):
                node.receive(data)
    # A message of one role to another.
    request = dict(round.server.requests())
    with pytest.raises(CodecError):
        world.clients[0].receive(request[world.members[0].id])
    round.run_to("upload")
    with pytest.raises(CodecError):
        world.members[0].receive(round.requests[world.clients[0].id])
    with pytest.raises(CodecError):
        round.server.receive(round.server.announcement)
    round.finish()


def test_a_short_message_that_declares_much_allocates_nothing() -> None:
    world = World(n=4, c=4, packing=1)
    head = m.Shares(b"", (), bytes(64)).to_bytes()[:9]
    with pytest.raises(CodecError, match="are declared"):
        world.members[0].receive(head + (1 << 19).to_bytes(4, "little"))
    block = m.UploadBlock(bytes(32), b"client-000", 0, b"").to_bytes()
    with pytest.raises(CodecError, match=r"is declared|truncated"):
        world.round().server.receive(block[:-4] + ((1 << 28) - 1).to_bytes(4, "little"))


def test_accepted_bytes_encode_to_the_same_bytes() -> None:
    world = World(n=4, c=4, packing=1)
    round = world.round()
    round.finish()
    for messages in round.sent.values():
        for message in messages:
            assert decode(message).to_bytes() == message
    assert np.dtype(np.int64) == world.clients[0].values.dtype
