"""Attacks 18 and 31: clients that vanish. Within tolerance every round completes with the exact sum, else it aborts.

Tolerance, with honest server and clients: |U| >= t + 1, |U| - c >= the minimum of honest survivors, every client whose
mask is in a counted input has t neighbours that answer, and against a malicious server q signatures. `completes` says
so in plain sets; the protocol must agree with it in every case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, combinations_with_replacement

import pytest

from privcomp.errors import ParameterError, RoundAborted
from privcomp.secagg import MALICIOUS, SEMI_HONEST, Params, Segment
from tests.secagg.harness import STAGES, World

MINIMUM = 3
SEGMENTS = (Segment.ring(18, 3),)


def completes(params: Params, n: int, lost: Mapping[int, str]) -> bool:
    """Whether a round of n clients, `lost[i]` silent from that stage on, lies within tolerance."""
    u1, u2, u, signers, answering = (present(n, lost, stage) for stage in STAGES)
    try:
        t = params.thresholds(len(u1))
    except ParameterError:
        return False
    if len(u2) <= t.threshold or len(u) <= t.threshold or len(u) - params.corrupt < MINIMUM:
        return False
    if params.adversary == MALICIOUS and len(signers) < t.quorum:
        return False
    return all(len(answering - {i}) >= t.threshold for i in u2)


def present(n: int, lost: Mapping[int, str], stage: str) -> set[int]:
    """Whose message of this stage arrives."""
    return {i for i in range(n) if i not in lost or STAGES.index(lost[i]) > STAGES.index(stage)}


def outcome(world: World, number: int, lost: Mapping[int, str]) -> bool:
    """Run a round; True: an exact sum over exactly those who masked. False: RoundAborted, nothing decoded."""
    round = world.round(number, model=b"model %d" % number)
    n = len(world.nodes)
    try:
        result = round.finish(lost)
    except RoundAborted:
        assert round.stage != "done"
        return False
    assert set(result.survivors) == {world[i].id for i in present(n, lost, "mask")}
    assert set(result.u2) == {world[i].id for i in present(n, lost, "share")}
    return True


def cases() -> Iterator[tuple[int, str, int, str]]:
    for adversary, c in ((SEMI_HONEST, 0), (MALICIOUS, 0), (MALICIOUS, 1)):
        for stage in STAGES:
            if adversary == MALICIOUS or stage != "consistency":
                yield from ((n, adversary, c, stage) for n in (4, 5, 6, 7, 8))


@pytest.mark.parametrize(("n", "adversary", "c", "stage"), list(cases()))
def test_attack_18_dropouts_at_every_stage_down_to_t_plus_1(n: int, adversary: str, c: int, stage: str) -> None:
    """m = 0, 1, ... clients vanish at one stage: exact sums down to t + 1 survivors, a typed abort below."""
    world = World(n, adversary=adversary, corrupt=c, segments=SEGMENTS)
    seen = set()
    for m in range(n - 2):
        lost = dict.fromkeys(range(m), stage)
        expected = completes(world.params, n, lost)
        assert outcome(world, m + 1, lost) == expected, (m, stage)
        seen.add(expected)
        if stage == "mask":
            t = world.params.thresholds(n).threshold
            assert expected == (n - m >= max(t + 1, MINIMUM + c)), "exactly t + 1 survivors are enough, t are not"
    assert True in seen


@pytest.mark.parametrize(
    ("n", "adversary", "c"),
    [(4, SEMI_HONEST, 0), (5, SEMI_HONEST, 0), (4, MALICIOUS, 0), (5, MALICIOUS, 0), (6, MALICIOUS, 1)],
)
def test_attack_18_every_subset_of_masking_clients(n: int, adversary: str, c: int) -> None:
    """Every subset of the clients, not only the first ones: who is lost does not matter, only how many."""
    world = World(n, adversary=adversary, corrupt=c, segments=SEGMENTS)
    number = 0
    for m in range(1, n - 2):
        for subset in combinations(range(n), m):
            lost, number = dict.fromkeys(subset, "mask"), number + 1
            assert outcome(world, number, lost) == completes(world.params, n, lost), subset


@pytest.mark.parametrize(
    ("n", "adversary", "c"), [(4, SEMI_HONEST, 0), (5, MALICIOUS, 0), (6, SEMI_HONEST, 0), (6, MALICIOUS, 1)]
)
def test_attack_31_every_mixture_of_losses_within_tolerance_completes(n: int, adversary: str, c: int) -> None:
    """Always aborting is not safety: clients vanish, each at any stage; the tolerance decides, nothing else."""
    stages = [s for s in STAGES if adversary == MALICIOUS or s != "consistency"]
    world = World(n, adversary=adversary, corrupt=c, segments=SEGMENTS)
    number, within, total = 0, 0, 0
    for m in range(min(2 if n > 5 else 3, n - 3) + 1):
        for mixture in combinations_with_replacement(stages, m):
            lost, number = dict(enumerate(mixture)), number + 1
            expected = completes(world.params, n, lost)
            assert outcome(world, number, lost) == expected, lost
            within, total = within + expected, total + 1
    assert within > 0


def test_attack_31_losses_tolerated_are_those_of_the_formula() -> None:
    """ceil((n - c) / 2) - 2 clients may vanish against a malicious server: n = 4, c = 1: none; n = 6, c = 1: one."""
    for n, c in ((4, 0), (4, 1), (5, 1), (6, 0), (6, 1), (7, 2), (8, 2), (9, 2), (50, 16)):
        params = Params("bonawitz", MALICIOUS, SEGMENTS, c, n)
        t = params.thresholds(n).threshold
        tolerated = -(-(n - c) // 2) - 2
        assert n - tolerated >= t + 1 > n - tolerated - 1
        if n - c > MINIMUM:
            # Vanishing before the unmask answer is the worst case: each owner then needs t others that answer.
            for m in range(tolerated + 1):
                assert completes(params, n, dict.fromkeys(range(m), "unmask")) == (n - m - 1 >= t)


def test_attack_31_a_round_that_stalls_completes_when_the_clients_return() -> None:
    """Too few answers are an abort that may be repeated: nothing is lost while the missing ones are away."""
    world = World(6, segments=SEGMENTS)
    round = world.round().run_to("consistency")
    round.collect([world[i].id for i in (0, 1, 2)])
    with pytest.raises(RoundAborted, match="3 signatures, 4 are needed; nothing was opened"):
        round.server.advance()
    assert round.server.pending == {world[i].id for i in (0, 1, 2)}
    round.collect([world[i].id for i in (0, 1)])
    round.requests = dict(round.server.advance())
    round.collect([world[i].id for i in (1, 2, 3)])
    with pytest.raises(RoundAborted, match="shares of b'client-000', 4 are needed; nothing was opened"):
        round.server.result()
    for i in (1, 2, 3):
        world[i].restart()
    round.requests = round.server.unmask_requests()
    round.collect()
    round.check(round.server.result())


def test_attack_31_clients_restart_at_every_stage() -> None:
    """Every client loses its memory between all stages and goes on from its journal."""
    world = World(5, segments=SEGMENTS)
    round = world.round()
    for stage in STAGES[1:]:
        round.run_to(stage)
        for node in world.nodes:
            node.restart()
    assert len(round.finish().survivors) == 5


def test_attack_31_messages_in_any_order_and_repeated() -> None:
    """Within a stage the order of arrival does not matter, nor does a repeat."""
    world = World(5, segments=SEGMENTS, block_entries=64)
    round = world.round()
    sums = None
    while round.stage != "done":
        sent = {party: round.nodes[party].receive(request) for party, request in round.requests.items()}
        for party in sorted(sent, reverse=True):
            for message in (*reversed(sent[party]), *sent[party]):
                round.server.receive(message, party)
        if round.stage == "unmask":
            sums = round.check(round.server.result())
            break
        round.requests = dict(round.server.advance())
    assert sums is not None


@pytest.mark.assurance
@pytest.mark.parametrize("n", [9, 16, 25, 40])
def test_attack_18_dropouts_with_many_clients(n: int) -> None:
    """The same with larger rounds, at the edge of the tolerance."""
    for adversary, c in ((SEMI_HONEST, 0), (MALICIOUS, 0), (MALICIOUS, n // 3)):
        world = World(n, adversary=adversary, corrupt=c, segments=SEGMENTS)
        t = world.params.thresholds(n).threshold
        for number, m in enumerate((n - t - 1, n - t), 1):
            lost = dict.fromkeys(range(m), "mask")
            assert outcome(world, number, lost) == completes(world.params, n, lost) == (number == 1)
