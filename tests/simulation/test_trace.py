"""The same seed gives the same trace, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privcomp.secagg import BONAWITZ, MALICIOUS, Segment
from privcomp.simulation import Coins, Faults, Session, Setting, campaign


def trace(*, hybrid: bool, seed: int, federated: bool = False) -> bytes:
    faults = (replace(Faults.HEAVY, vanish=0.0), Faults.LIGHT)
    setting = Setting(6, BONAWITZ, MALICIOUS, 0, 3, (Segment.ring(26, 70),), faults, hybrid=hybrid, federated=federated)
    session = Session(setting, Coins(seed))
    assert not session.run().failures
    assert {event.what for event in session.trace.events} >= {"send", "deliver", "drop", "deliver again"}
    return session.trace.to_bytes()


@pytest.mark.parametrize("federated", [False, True])
@pytest.mark.parametrize("hybrid", [False, True])
def test_the_same_seed_gives_the_same_trace(hybrid: bool, federated: bool) -> None:
    first = trace(hybrid=hybrid, seed=5, federated=federated)
    assert first == trace(hybrid=hybrid, seed=5, federated=federated)
    assert first != trace(hybrid=hybrid, seed=6, federated=federated)


def test_a_whole_campaign_is_repeatable() -> None:
    first, second = campaign(12, seed=3), campaign(12, seed=3)
    assert first.digest == second.digest
    assert (first.within, first.completed, first.requests) == (second.within, second.completed, second.requests)
    assert first.digest != campaign(12, seed=4).digest
