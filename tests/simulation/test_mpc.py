"""All parties in one process: the virtual clock adds up, and the report says what was sent."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from privcomp.errors import CodecError, ParameterError
from privcomp.mpc.engine import Exchange
from privcomp.mpc.report import Net, Report, lan, wan
from privcomp.simulation.mpc import simulate

HEADER = 100  # more than a header has; frames below are much larger


async def product(mpc: Any) -> Any:
    x = await mpc.input(0, np.arange(5000, dtype=np.uint64) if mpc.me == 0 else None, (5000,))
    return await mpc.open(await mpc.mul(x, x))


def test_without_a_network_and_without_computing_no_time_passes() -> None:
    done = simulate("rep3", product, computing=False)
    assert (done.clocks, done.computing, done.seconds) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0)
    assert all((result == np.arange(5000, dtype=np.uint64) ** 2).all() for result in done.results)


def test_computing_is_measured() -> None:
    done = simulate("rep3", product)
    assert min(done.computing) > 0
    assert done.seconds >= max(done.computing)


@pytest.mark.parametrize(("rtt", "bandwidth"), [(0.2, 1e12), (0.0, 1e6), (0.2, 1e6)])
def test_the_clock_of_one_round_after_another(rtt: float, bandwidth: float) -> None:
    """Five rounds in a ring, of 1 MB each: half a round trip and a second per megabyte, and setup, which is small."""
    data = np.zeros(10**6, np.uint8)

    async def ring(mpc: Any) -> None:
        for _ in range(5):
            await Exchange("ring", {(mpc.me + 1) % 3: data}, {(mpc.me - 1) % 3: data.size})

    done = simulate("rep3", ring, net=Net(rtt, bandwidth), computing=False)
    expected = 6 * rtt / 2 + (5 * data.size) / bandwidth
    overhead = 6 * (HEADER + 64) / bandwidth
    assert all(expected <= clock <= expected + overhead for clock in done.clocks)


def test_two_messages_of_one_sender_share_its_line() -> None:
    data = np.zeros(10**6, np.uint8)

    async def star(mpc: Any) -> None:
        sends = {1: data, 2: data} if mpc.me == 0 else {}
        await Exchange("star", sends, {} if mpc.me == 0 else {0: data.size})

    done = simulate("rep3", star, net=Net(0.0, 1e6), computing=False)
    near, far = sorted(done.clocks[1:])
    assert 1.0 <= near < 1.01
    assert 2.0 <= far < 2.01
    assert done.clocks[0] < 0.01  # who sends only does not wait


def test_who_wants_nothing_does_not_wait_for_who_is_slow() -> None:
    async def chain(mpc: Any) -> None:
        for _ in range(4):
            await Exchange("chain", {1: b"8 bytes."} if mpc.me == 0 else {}, {0: 8} if mpc.me == 1 else {})

    done = simulate("rep3", chain, net=Net(2.0, 1e12), computing=False)
    assert done.clocks == pytest.approx((1.0, 2.0, 1.0), abs=1e-6)  # setup, and then one message on its way


def test_the_report_says_what_each_operation_cost() -> None:
    done = simulate("rep3", product, net=wan(), computing=False)
    report = done.report(0)
    text = str(report)
    assert [line.split()[0] for line in text.splitlines()] == [
        *("operation", "input", "mul", "open", "offline:", "setup", "all", "seconds:")
    ]
    numbers = json.loads(json.dumps(report.as_dict()))
    assert numbers["online"]["mul"] == {
        "exchanges": 1,
        "rounds": 1,
        "bytes": 40000,
        "wan_s": pytest.approx(0.02 + 40000 / 12.5e6),
    }
    assert set(numbers["offline"]) == {"setup"}
    assert numbers["rounds"] == 4
    assert numbers["bytes"] == sum(numbers["bytes_to"].values()) == done.costs[0].bytes
    assert numbers["seconds"] == done.clocks[0]


def test_operations_that_share_a_round_count_it_once_each() -> None:
    async def program(mpc: Any) -> None:
        x = await mpc.input(0, np.zeros(10, np.uint64) if mpc.me == 0 else None, (10,))
        tasks = [mpc.scheduler.spawn(mpc.mul(x, x)) for _ in range(3)]
        for task in tasks:
            await task

    cost = simulate("rep3", program).costs[0]
    assert cost.rounds == 3
    assert tuple(cost.operations["mul"]) == (3, 240, 1)


def test_tampering_is_possible_still() -> None:
    """A message on its way is changed: rep3 does not notice it in a product, and the engine does in the padding."""

    def flip(sender: int, receiver: int, number: int, payload: bytearray) -> None:
        if (sender, receiver, number) == (1, 0, 2):
            payload[0] ^= 1

    wrong = simulate("rep3", product, tamper=flip)
    assert any((result != np.arange(5000, dtype=np.uint64) ** 2).any() for result in wrong.results)

    async def odd(mpc: Any) -> None:
        await Exchange("odd", {(mpc.me + 1) % 3: b"abc"}, {(mpc.me - 1) % 3: 3})

    def pad(sender: int, receiver: int, number: int, payload: bytearray) -> None:
        if (sender, number) == (2, 1):
            payload[7] = 1

    with pytest.raises(CodecError, match="padding"):
        simulate("rep3", odd, tamper=pad)


@pytest.mark.parametrize(("rtt", "bandwidth"), [(-1.0, 1.0), (float("nan"), 1.0), (0.0, 0.0), (float("inf"), 1.0)])
def test_no_such_network(rtt: float, bandwidth: float) -> None:
    with pytest.raises(ParameterError):
        Net(rtt, bandwidth)


def test_both_usual_networks_are_shown_without_one() -> None:
    report = simulate("rep3", product).report()
    assert isinstance(report, Report)
    assert report.nets == (lan(), wan())
    assert str(report).splitlines()[0].split()[-2:] == ["LAN", "WAN"]
