"""Hypothesis plays the server: any request in any order, to clients that restart at any time."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from privcomp.simulation import Cast, Coins, LyingServer, Report, Round
from privcomp.simulation.faults import corrupted

HONEST, COLLUDERS = 5, 1
EVERYBODY = (1 << HONEST + COLLUDERS) - 1
clients = st.integers(0, HONEST - 1)
# Mostly everybody, or all but one or two: random subsets would be refused for their size.
sets = st.lists(st.integers(0, HONEST + COLLUDERS - 1), max_size=2).map(
    lambda out: EVERYBODY & ~sum(1 << i for i in set(out))
)


class ServerPlays(RuleBasedStateMachine):
    """Every rule is one request; the oracle watches."""

    rounds = Bundle("rounds")

    @initialize(target=rounds, seed=st.integers(0, 2**32), honest_min=st.sampled_from([2, 3]))
    def begin(self, seed: int, honest_min: int) -> Round:
        self.coins = Coins(seed, "machine")
        self.server = LyingServer(Cast(HONEST, COLLUDERS, 1, honest_min=honest_min), self.coins)
        first = Round(1)
        self.server.begin(first, EVERYBODY)
        return first

    @rule(target=rounds, number=st.integers(0, 3), session=st.sampled_from("AB"), model=st.sampled_from("mmn"), u1=sets)
    def another_round(self, number: int, session: str, model: str, u1: int) -> Round:
        r = Round(number, session, model)
        self.server.begin(r, u1)
        return r

    @rule(r=rounds, i=clients, u1=sets, variant=st.integers(0, 1))
    def share(self, r: Round, i: int, u1: int, variant: int) -> None:
        self.server.share(i, r, u1, variant)

    @rule(r=rounds, i=clients, u2=sets, delivered=sets)
    def mask(self, r: Round, i: int, u2: int, delivered: int) -> None:
        self.server.mask(i, r, u2, delivered)

    @rule(r=rounds, u2=sets)
    def mask_all(self, r: Round, u2: int) -> None:
        for i in range(HONEST):
            self.server.mask(i, r, u2)

    @rule(r=rounds, i=clients, u=sets)
    def sign(self, r: Round, i: int, u: int) -> None:
        self.server.sign(i, r, u)

    @rule(r=rounds, u=sets)
    def sign_all(self, r: Round, u: int) -> None:
        for i in range(HONEST):
            self.server.sign(i, r, u)

    @rule(r=rounds, i=clients, u=sets)
    def unmask(self, r: Round, i: int, u: int) -> None:
        self.server.unmask(i, r, u)

    @rule(r=rounds, u=sets)
    def unmask_all(self, r: Round, u: int) -> None:
        for i in range(HONEST):
            self.server.unmask(i, r, u)

    @rule(i=clients)
    def restart(self, i: int) -> None:
        self.server.restart(i)

    @precondition(lambda self: self.server.history)
    @rule(i=clients, which=st.integers(0, 2**16), damage=st.booleans())
    def replay(self, i: int, which: int, damage: bool) -> None:
        _, data = self.server.history[which % len(self.server.history)]
        self.server.ask(i, corrupted(data, self.coins) if damage else data)

    @invariant()
    def nothing_is_told_twice(self) -> None:
        if hasattr(self, "server"):
            assert not self.server.oracle.problems
            assert not self.server.problems

    def teardown(self) -> None:
        if hasattr(self, "server"):
            report = Report()
            self.server.finish(report)
            assert not report.failures, report.failures


class TestServerPlays(ServerPlays.TestCase):
    """The default run."""

    settings = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.assurance
class TestServerPlaysLong(ServerPlays.TestCase):
    """2,000 examples of 50 steps; PRIVCOMP_MACHINE_EXAMPLES takes another number."""

    settings = settings(
        max_examples=int(os.environ.get("PRIVCOMP_MACHINE_EXAMPLES", "2000")),
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
