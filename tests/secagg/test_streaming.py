"""Large vectors travel in blocks: staged apart, in any order, partly on disk; the client holds one block."""

from __future__ import annotations

import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import privcomp.secagg.server as server_module
from privcomp.errors import RemoteError
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
    round.requests = round.server.advance()
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
    assert bool(opened) == (budget < 5 * -(-LENGTH * 21 // 8))
    assert all(file.closed for file in opened)
    assert round.server._budget == budget
    round.requests = round.server.advance()
    round.finish()


def test_clients_that_die_mid_upload_leave_nothing_behind() -> None:
    """Half-way, one block short, blocks without their end: not in U, not in the sum, their files closed."""
    world = World(8, segments=(Segment.ring(21, LENGTH),), block_entries=64, adversary=SEMI_HONEST)
    round = world.round(memory_budget=300).run_to("mask")
    sent = uploads(round)
    dead = {world.ids[0]: 3, world.ids[1]: len(sent[world.ids[1]]) - 1}
    for party, messages in sent.items():
        for message in messages[: dead.get(party, len(messages))]:
            round.server.receive(message, party)
    staged = [upload for upload in round.server._uploads.values() if upload.file is not None]
    round.requests = round.server.advance()
    assert all(upload.file is None or upload.file.closed for upload in staged)
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
    with pytest.raises(RemoteError, match="do not have the root"):
        round.server.receive(end.to_bytes())
