"""The network, its faults and its entropy."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.simulation import Coins, Faults, Network, Packet, Trace
from privcomp.simulation.coins import Tap
from privcomp.simulation.faults import corrupted


def delivered(faults: Faults, messages: int = 200) -> tuple[list[Packet], Trace]:
    trace, got = Trace(), list[Packet]()
    network = Network(Coins(1, "network"), faults, trace)
    network.attach(b"b", got.append)
    for k in range(messages):
        network.send(b"a", b"b", b"message %03d" % k)
    network.run(lambda: False)
    return got, trace


def test_without_faults_everything_arrives_once_and_out_of_order() -> None:
    got, _ = delivered(Faults.NONE)
    assert Counter(p.data for p in got) == Counter(b"message %03d" % k for k in range(200))
    assert [p.data for p in got] != sorted(p.data for p in got)
    assert all(p.intact and not p.replayed for p in got)


@pytest.mark.parametrize(
    ("faults", "what"),
    [
        (Faults(drop=0.5), lambda got: 50 < len(got) < 150),
        (Faults(duplicate=0.5), lambda got: 250 < len(got) < 350),
        (Faults(corrupt=0.5), lambda got: 50 < sum(not p.intact for p in got) < 150),
        (Faults(replay=0.5), lambda got: 50 < sum(p.replayed for p in got) < 150),
    ],
)
def test_faults_happen_as_often_as_they_should(faults: Faults, what: object) -> None:
    got, trace = delivered(faults)
    assert callable(what)
    assert what(got)
    assert [e.time for e in trace.events] == sorted(e.time for e in trace.events)


def test_late_messages_are_overtaken_by_whole_stages() -> None:
    _, trace = delivered(Faults(delay=0.2))
    assert trace.events[-1].time > 300


@given(st.binary(max_size=80), st.integers(0, 2**32))
def test_damage_changes_something(data: bytes, seed: int) -> None:
    assert corrupted(data, Coins(seed)) != data


def test_streams_depend_on_seed_and_labels_only() -> None:
    stream = Coins(1, "a")
    child = stream.child("x", 3).bytes(32)
    stream.bytes(500)
    assert stream.child("x", 3).bytes(32) == child
    assert len({child, stream.child("x", 4).bytes(32), Coins(2, "a").child("x", 3).bytes(32)}) == 3


def test_choices_are_within_bounds() -> None:
    coins = Coins(9)
    assert {coins.below(3) for _ in range(100)} == {0, 1, 2}
    assert sorted(coins.shuffled(range(10))) == list(range(10))
    assert len(set(coins.sample(range(10), 4))) == 4
    assert not any(coins.chance(0.0) for _ in range(50))
    assert all(coins.chance(1.0) for _ in range(50))
    values = coins.integers(-5, 6, 1000)
    assert (values.min(), values.max()) == (-5, 5)


def test_entropy_that_repeats_is_noticed() -> None:
    drawn: set[bytes] = set()
    Tap(Coins(1, "client"), drawn)(32)
    with pytest.raises(RuntimeError, match="repeated"):
        Tap(Coins(1, "client"), drawn)(32)
