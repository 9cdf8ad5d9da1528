"""States: one type per stage, used once, in one order; and what a step leaves behind."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from privcomp.errors import ParameterError, RemoteError, RoundAborted, StateError
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity
from privcomp.policy import Policy
from privcomp.secagg import SEMI_HONEST, Advertised, Client, Finished, Masked, Shared, Signed
from tests.secagg.harness import STAGES, World, decode, edit, refused


def test_the_steps_of_a_client_one_by_one() -> None:
    """Announcement -> Advertised -> Shared -> Masked -> Signed -> Finished, through the typed methods."""
    world = World(4)
    round = world.round()
    node = world[0]
    state, _ = node.client.advertise(round.request(0))
    assert type(state) is Advertised
    node.state = state
    round.run_to("share")
    shared, _ = node.client.share(state, round.request(0))
    assert type(shared) is Shared
    assert shared.directory.n == 4
    round.run_to("mask")
    masked, _ = node.client.mask(shared, round.request(0), node.contribute)
    assert type(masked) is Masked
    round.run_to("consistency")
    signed, _ = node.client.sign(masked, round.request(0))
    assert type(signed) is Signed
    round.run_to("unmask")
    finished, _ = node.client.unmask(signed, round.request(0))
    assert type(finished) is Finished
    assert finished.round_digest == round.server.context.digest
    round.finish()
    for step, used, request in (
        (node.client.share, state, round.sent["advertise", node.id][0]),
        (node.client.sign, masked, round.request(1)),
    ):
        with pytest.raises((StateError, RemoteError)):
            step(used, request)  # type: ignore[operator]


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_state_is_used_once(stage: str) -> None:
    """Using a state again raises and says what to do, whatever the request is."""
    world = World(4)
    round = world.round().run_to(stage)
    node, request = world[0], round.request(0)
    used = node.state
    node.receive(request)
    step = {
        "share": node.client.share,
        "mask": lambda state, data: node.client.mask(state, data, node.contribute),
        "consistency": node.client.sign,
        "unmask": node.client.unmask,
    }[stage]
    with refused(node, StateError, "used already; using it again would leak"):
        step(used, request)  # type: ignore[operator]
    round.finish()


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_refused_step_leaves_the_state_unspent(stage: str) -> None:
    """A request of the wrong kind, or a broken one, does not use the state up."""
    world = World(4)
    round = world.round().run_to(stage)
    node = world[0]
    for other in STAGES[1:]:
        if other != stage:
            wrong = World(4).round().run_to(other).request(0)
            moved = edit(wrong, round_digest=round.server.context.digest)
            step = {
                "share": node.client.share,
                "mask": lambda state, data: node.client.mask(state, data, node.contribute),
                "consistency": node.client.sign,
                "unmask": node.client.unmask,
            }[stage]
            with refused(node, RemoteError, "expected"):
                step(node.state, moved)  # type: ignore[operator]
    round.finish()


def test_an_update_that_fails_leaves_the_state_unspent() -> None:
    """Training raises whatever it raises; nothing is journaled and the request can be answered later."""
    world = World(4)
    round = world.round().run_to("mask")
    node = world[0]
    before = node.remembered()

    def fails(model: bytes) -> None:
        raise ZeroDivisionError("no data today")

    with pytest.raises(ZeroDivisionError):
        node.client.receive(node.state, round.request(0), fails)  # type: ignore[arg-type]
    with pytest.raises(StateError, match="needs the update"):
        node.client.receive(node.state, round.request(0))
    assert node.remembered() == before
    round.finish()


def test_states_are_frozen() -> None:
    world = World(4)
    round = world.round().run_to("share")
    state = world[0].state
    with pytest.raises(FrozenInstanceError):
        state.context = None  # type: ignore[union-attr,misc,assignment]
    round.finish()


def test_secrets_are_erased_when_the_round_ends() -> None:
    world = World(4)
    round = world.round()
    round.finish()
    for node in world.nodes:
        assert isinstance(node.journal, MemoryJournal)
        assert not node.journal._round_secrets
        assert type(node.state) is Finished
        assert node.secrets.root == node.secrets.b == node.secrets.channel == bytes(32)
        assert node.secrets.pairs == ()
        assert node.client.restore(round.server.context.digest) is None


def test_each_round_draws_fresh_secrets() -> None:
    world = World(4)
    seen: set[bytes] = set()
    for number in (1, 2, 3):
        round = world.round(number, model=b"model %d" % number).run_to("share")
        for node in world.nodes:
            seen |= {node.secrets.root, node.secrets.b, node.secrets.channel}
        round.finish()
    assert len(seen) == 3 * 4 * 3


def test_the_random_source_is_an_argument() -> None:
    """Entropy comes from `rng` alone, and a deterministic one makes the advertisement deterministic."""
    world = World(4)
    request = world.round().request(0)

    def sent() -> bytes:
        counter = iter(range(1000))
        client = Client(
            world[0].id,
            world[0].identity,
            world.policy,
            MemoryJournal(world[0].identity.public),
            world.roster,
            rng=lambda size: bytes([next(counter)]) * size,
        )
        return b"".join(client.receive(None, request)[1])

    assert sent() == sent()
    assert sent() != b"".join(world[0].receive(request))


def test_a_client_of_another_identity_roster_or_journal_is_not_built() -> None:
    world = World(4)
    node, stranger = world[0], Identity.from_seed(b"\x77" * 32)
    with pytest.raises(ParameterError, match="journal belongs to another identity"):
        Client(node.id, node.identity, Policy(), MemoryJournal(stranger.public), world.roster)
    with pytest.raises(ParameterError, match="is not in the roster"):
        Client(node.id, stranger, Policy(), MemoryJournal(stranger.public), world.roster)
    with pytest.raises(ParameterError, match="is not in the roster"):
        Client(b"nobody", node.identity, Policy(), node.journal, world.roster)
    for bad in (b"", bytes(65)):
        with pytest.raises(ParameterError, match="1 to 64 bytes"):
            Client(bad, node.identity, Policy(), node.journal)


def test_the_order_of_a_semi_honest_session() -> None:
    """There is no consistency stage: the server goes from stage 2 to stage 4, and a client refuses to sign."""
    world = World(4, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask")
    with refused(world[0], RemoteError, "no consistency stage in a semi-honest session"):
        world[0].receive(round.consistency_request(range(4)))
    signed = round.unmask_request(range(4), {1: bytes(64)})
    with refused(world[0], RemoteError, "signatures in a semi-honest session"):
        world[0].receive(signed)
    round.finish()


def test_the_server_s_order() -> None:
    """Closing, opening and asking out of turn are the caller's mistakes, and typed."""
    world = World(4)
    round = world.round()
    with pytest.raises(StateError, match="key list is fixed"):
        _ = round.server.directory
    with pytest.raises(StateError, match="opened after stage 4"):
        round.server.result()
    with pytest.raises(StateError, match="survivor set is fixed"):
        round.server.unmask_requests()
    assert round.server.pending == frozenset()
    with pytest.raises(RoundAborted, match="0 clients advertised keys"):
        round.server.advance()
    round.run_to("share")
    assert round.server.pending == set(world.ids)
    round.run_to("unmask")
    with pytest.raises(StateError, match="no stage to close"):
        round.server.advance()
    first = round.finish()
    assert (round.server.result().sums[0] == first.sums[0]).all()
    assert round.server.pending == frozenset()
    with pytest.raises(RemoteError, match="closed or has not begun"):
        round.server.receive(edit(round.sent["advertise", world.ids[0]][0], id=b"somebody else"))


def test_more_clients_than_the_encoding_allows() -> None:
    """The server admits `clients`, and a client refuses a longer list."""
    world = World(5, clients=4, absent=0)
    round = world.round()
    for i in range(4):
        round.server.receive(world[i].receive(round.request(i))[0])
    fifth = world[4].receive(round.request(4))[0]
    with pytest.raises(RemoteError, match="the round is full"):
        round.server.receive(fifth)
    requests = round.server.advance()
    entries = (*decode(requests[world[0].id]).entries, fifth)
    with refused(world[0], RemoteError, "5 clients are listed, the encoding is safe for 4"):
        world[0].receive(edit(requests[world[0].id], entries=entries))
