"""Large vectors travel in blocks: staged apart, in any order, partly on disk; the client holds one block."""

from __future__ import annotations

import errno
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import privcomp.secagg.server as server_module
from privcomp.errors import LocalError, RemoteError
from privcomp.integrations.file_journal import FileJournal
from privcomp.secagg import SEMI_HONEST, Segment
from tests.secagg.harness import ELL, Round, World, decode

LENGTH = 1000


def uploads(round: Round) -> dict[bytes, list[bytes]]:
    return {party: round.nodes[party].receive(request) for party, request in round.requests.items()}


@pytest.mark.parametrize("block", [64, 128, 448, 1024, 1 << 18])
def test_the_sum_does_not_depend_on_the_block_size(block: int) -> None:
    world = World(4, segments=(Segment.ring(21, LENGTH), Segment.prime(ELL, 70)), block_entries=block)
    round = world.round()
    round.finish()
    sent = round.sent["mask", world.ids[0]]
    assert len(sent) == -(-LENGTH // block) + -(-70 // block) + 1


def test_blocks_arrive_interleaved_and_out_of_order() -> None:
    """Blocks of all clients shuffled, last messages first for some: the uploads complete, each once."""
    world = World(5, segments=(Segment.ring(21, LENGTH),), block_entries=64)
    round = world.round().run_to("mask")
    everything = [(party, message) for party, messages in uploads(round).items() for message in messages]
    for at in np.random.default_rng(1).permutation(len(everything)):
        party, message = everything[at]
        round.server.receive(message, party)
    assert round.server.pending == frozenset()
    round.requests = dict(round.server.advance())
    round.finish()


@pytest.mark.parametrize("budget", [0, 200, 5_000, 1 << 28], ids=lambda b: f"{b} bytes in memory")
def test_open_uploads_are_staged_in_memory_up_to_a_budget_and_on_disk_beyond(
    budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All clients upload at once; whatever the budget is, the sum is the same, and it is given back at the end."""
    opened: list[Any] = []
    real = tempfile.TemporaryFile

    def counted(*args: Any, **options: Any) -> Any:
        opened.append(real(*args, dir=tmp_path, **options))
        return opened[-1]

    monkeypatch.setattr(server_module.tempfile, "TemporaryFile", counted)
    world = World(5, segments=(Segment.ring(21, LENGTH),), block_entries=64)
    round = world.round(memory_budget=budget).run_to("mask")
    sent = uploads(round)
    for k in range(len(sent[world.ids[0]])):
        for party in world.ids:
            round.server.receive(sent[party][k], party)
    assert len(opened) == (budget < 5 * -(-LENGTH * 21 // 8))  # one file for all clients
    assert round.server._budget == budget
    assert not any(u.payloads or u.spilled or u.leaves for u in round.server._uploads.values())
    round.requests = dict(round.server.advance())
    assert all(file.closed for file in opened)
    round.finish()


def test_clients_that_die_mid_upload_leave_nothing_behind() -> None:
    """Half-way, one block short, blocks without their end: not in U, not in the sum, the file closed."""
    world = World(8, segments=(Segment.ring(21, LENGTH),), block_entries=64, adversary=SEMI_HONEST)
    round = world.round(memory_budget=300).run_to("mask")
    sent = uploads(round)
    dead = {world.ids[0]: 3, world.ids[1]: len(sent[world.ids[1]]) - 1}
    for party, messages in sent.items():
        for message in messages[: dead.get(party, len(messages))]:
            round.server.receive(message, party)
    staged = round.server._spill
    assert staged is not None
    assert any(upload.spilled for upload in round.server._uploads.values())
    round.requests = dict(round.server.advance())
    assert staged.closed
    assert round.server._spill is None
    assert not round.server._uploads
    result = round.finish()
    assert set(result.survivors) == set(world.ids[2:])


def test_a_client_restarts_in_the_middle_of_its_upload(tmp_path: Path) -> None:
    """The stored blocks are sent again, byte for byte, after a restart: nothing is masked a second time."""
    world = World(
        4,
        segments=(Segment.ring(21, LENGTH),),
        block_entries=64,
        journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public),
    )
    round = world.round().run_to("mask")
    node = world[0]
    stream = iter(node.client.receive(node.state, round.request(0), node.contribute)[1])
    half = [next(stream) for _ in range(5)]
    for message in half:
        round.server.receive(message)
    node.journal.close()  # type: ignore[attr-defined]
    node.journal = FileJournal(tmp_path / node.id.decode(), node.identity.public)
    node.restart()
    node.vectors = world.draw()
    again = node.receive(round.request(0))
    assert again[:5] == half
    for message in again:
        round.server.receive(message)
    assert node.id not in round.server.pending


def test_the_client_holds_a_block_and_not_the_upload(tmp_path: Path) -> None:
    """4 million entries, 16 MB: masking, journaling and sending stay far below the vector's own size."""
    entries = 1 << 22
    world = World(
        3,
        adversary=SEMI_HONEST,
        segments=(Segment.ring(32, 64),),
        journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public),
    )
    large = World(3, adversary=SEMI_HONEST, segments=(Segment.ring(32, 64), Segment.ring(32, entries))).params
    vector = np.zeros(entries, dtype=np.uint32)
    for node in world.nodes:
        node.vectors = (np.zeros(64, dtype=np.uint32), vector)
    round = world.round(params=large).run_to("mask")
    node = world[0]
    tracemalloc.start()
    _, out = node.client.receive(node.state, round.request(0), node.contribute)
    sent = sum(len(message) for message in out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent > vector.nbytes
    assert peak < vector.nbytes / 2


def test_blocks_are_bound_to_their_place() -> None:
    """Two blocks of one upload cannot change places: the signed root covers segment, index and length."""
    world = World(4, segments=(Segment.ring(32, 128),), block_entries=64)
    round = world.round().run_to("mask")
    first, second, end = (decode(message) for message in world[0].receive(round.request(0)))
    round.server.receive(replace(first, payload=second.payload).to_bytes())
    round.server.receive(replace(second, payload=first.payload).to_bytes())
    with pytest.raises(RemoteError, match="do not have the root") as caught:
        round.server.receive(end.to_bytes())
    assert caught.value.party is None  # blocks are unsigned: whose they were is not known
    for message in (first, second):
        round.server.receive(message.to_bytes())
    del round.requests[world[0].id]
    assert world[0].id in round.finish().survivors


@pytest.mark.parametrize("budget", [0, 300, 1 << 28], ids=lambda b: f"{b} bytes in memory")
@pytest.mark.parametrize("when", ["before", "between", "instead"])
def test_forged_blocks_cannot_keep_a_client_out(budget: int, when: str) -> None:
    """A stranger's blocks in a victim's name are replaced by the victim's own; the sum is exact."""
    world = World(5, segments=(Segment.ring(21, LENGTH),), block_entries=64)
    round = world.round(memory_budget=budget).run_to("mask")
    victim = world[0]
    *blocks, end = victim.receive(round.request(0))
    forged = [replace(decode(block), payload=bytes(len(decode(block).payload))).to_bytes() for block in blocks]
    if when == "before":
        for message in (*forged, *blocks, end):
            round.server.receive(message)
    elif when == "between":  # each honest block is overwritten once, and repeated by its owner
        for good, bad in zip(blocks, forged, strict=True):
            for message in (good, bad, good):
                round.server.receive(message)
        round.server.receive(end)
    else:
        for message in forged:
            round.server.receive(message)
        with pytest.raises(RemoteError, match="do not have the root") as caught:
            round.server.receive(end)
        assert caught.value.party is None
        assert victim.id not in round.server.refused
        for message in blocks:
            round.server.receive(message)
    assert victim.id not in round.server.pending
    assert not round.server.refused
    assert round.server._budget == budget
    del round.requests[victim.id]
    assert set(round.finish().survivors) == set(world.ids)


def test_a_full_disk_of_the_server_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that cannot be staged is refused with a LocalError; with space it can be sent again."""
    world = World(4, segments=(Segment.ring(21, LENGTH),), block_entries=64)
    round = world.round(memory_budget=0).run_to("mask")
    messages = world[0].receive(round.request(0))

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(server_module.tempfile, "TemporaryFile", full)
        with pytest.raises(LocalError, match="cannot be staged on disk"):
            round.server.receive(messages[0])
    for message in messages:
        round.server.receive(message)
    del round.requests[world[0].id]
    assert set(round.finish().survivors) == set(world.ids)


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_an_upload_that_was_damaged_on_disk_is_left_out(damage: str) -> None:
    """What is read back is compared with what was received: a damaged block never reaches the sum."""
    world = World(5, segments=(Segment.ring(21, LENGTH),), block_entries=64)
    round = world.round(memory_budget=0).run_to("mask")
    *blocks, end = world[0].receive(round.request(0))
    for message in blocks:
        round.server.receive(message)
    file = round.server._spill
    assert file is not None
    if damage == "truncated":
        file.truncate(1000)
    else:
        file.seek(1000)
        file.write(b"\xff\x00\xff")
    with pytest.raises(LocalError, match="changed on disk; it is left out"):
        round.server.receive(end)
    assert set(round.server.refused) == {world[0].id}
    del round.requests[world[0].id]
    assert set(round.finish().survivors) == set(world.ids[1:])
