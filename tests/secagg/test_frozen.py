"""A server that is written down before it asks for the last answers, and comes back."""

from __future__ import annotations

import pytest

from privcomp.errors import CodecError, StateError
from privcomp.secagg import Segment, Server
from tests.secagg.harness import ELL, World

SEGMENTS = (Segment.ring(26, 70), Segment.ring(50, 3), Segment.prime(ELL, 5), Segment.ring(32, 9), Segment.ring(64, 1))


@pytest.mark.parametrize("adversary", ["malicious", "semi_honest"])
@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("answered", [0, 2])
def test_the_last_stage_after_a_restart(adversary: str, hybrid: bool, answered: int) -> None:
    """Every kind of segment, a client lost after stage 1 (so that pair secrets are needed), some answers before."""
    world = World(6, adversary=adversary, hybrid=hybrid, segments=SEGMENTS)
    round = world.round().run_to("unmask", {2: "mask"})
    for place in [p for p in range(6) if p != 2][:answered]:
        for answer in world[place].receive(round.request(place)):
            round.server.receive(answer)
    data = round.server.freeze()
    round.server = Server.thaw(data, roster=world.roster)
    assert round.server.freeze() == data
    assert len(round.server.unmask_requests()) == 5 - answered
    round.requests = round.server.unmask_requests()
    aggregate = round.finish()
    assert len(aggregate.survivors) == 5


def test_a_changed_file_is_refused() -> None:
    world = World(4)
    round = world.round().run_to("unmask")
    data = round.server.freeze()
    for k in range(0, len(data), 7):
        with pytest.raises(CodecError):
            Server.thaw(data[:k] + bytes([data[k] ^ 4]) + data[k + 1 :], roster=world.roster)
    for size in (0, 1, 40, len(data) - 1):
        with pytest.raises(CodecError):
            Server.thaw(data[:size], roster=world.roster)


def test_a_new_round_comes_back_as_announced() -> None:
    world = World(4)
    round = world.round()
    data = round.server.freeze()
    again = Server.thaw(data, roster=world.roster)
    assert (again.announcement, again.context.digest) == (round.server.announcement, round.server.context.digest)
    for stage in ("share", "mask", "consistency"):
        with pytest.raises(StateError):
            world.round(number={"share": 2, "mask": 3, "consistency": 4}[stage]).run_to(stage).server.freeze()
