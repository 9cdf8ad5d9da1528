"""Rounds under a plan: what is summed, who refuses, what the ledger says of the privacy spent."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.attest import AttestationSpec
from privcomp.dp import DistributedPlan, PrivateMean, plan_distributed
from privcomp.encoding import FixedPoint, Layout
from privcomp.errors import BudgetError, EncodingError, JournalError, ParameterError, PolicyError, RoundAborted
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity
from privcomp.ledger import AuditReport, Ledger, Record
from privcomp.policy import Policy
from privcomp.rounds import NodeBudget, RoundSpec, Task, audit
from privcomp.rounds.privacy import PRIVACY, PrivacySpent
from privcomp.secagg import Params
from tests.rounds.test_rounds import ENTRIES, LEDGER_KEY, Federation, N
from tests.secagg.harness import SESSION

DELTA = 1e-5
EPSILON = 100.0  # five clients hide little; here it matters that sums are close enough to be recognised
POLICY = Policy(corrupt=0, ledger_key=LEDGER_KEY.public, privacy="required", epsilon_max=EPSILON, delta_max=DELTA)


@lru_cache(maxsize=16)
def plan_of(**options: Any) -> DistributedPlan:
    values: dict[str, Any] = {
        "clip": 10.0,
        "dim": ENTRIES,
        "clients": N,
        "min_survivors": 4,
        "colluders": 0,
        "bits": 24,
        "target": (EPSILON, DELTA),
        "rounds": 4,
        "sampling": "none",
        "adjacency": "zero_out",
        "mechanism": "skellam",
        **options,
    }
    return plan_distributed(**values)


class Private(Federation):
    """A federation whose rounds follow a plan."""

    def __init__(self, ledger: Ledger | None = None, policy: Policy = POLICY, **options: Any) -> None:
        super().__init__(ledger, policy)
        self.plan = plan_of(**options)
        self.spec = RoundSpec.secure_sum(self.plan)
        for site in self.sites.values():
            site.weight = 1

    def spent(self, party: bytes) -> float:
        site = self.sites[party]
        return NodeBudget(site.policy, site.journal).of(self.plan.unit, self.plan.adjacency).spent_epsilon()


def audited(path: Path) -> AuditReport:
    return audit(path, ledger_key=LEDGER_KEY.public)


@pytest.mark.parametrize("mechanism", ["skellam", "ddg"])
def test_noised_rounds_give_the_mean_and_the_ledger_says_what_they_spent(mechanism: str, tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", LEDGER_KEY) as ledger:
        federation = Private(ledger, mechanism=mechanism)
        plan = federation.plan
        for number, lost in ((1, {}), (2, {b"site-1": "mask"}), (3, {b"site-2": "unmask"})):
            result = federation.run(federation.server(number), lost)
            mean, _ = federation.plain(result)
            decoded = result.decoded
            assert isinstance(decoded, PrivateMean)
            assert len(result.aggregate.survivors) == (4 if number == 2 else 5)
            assert decoded.survivors == decoded.total_weight == len(result.aggregate.survivors)
            assert 0 < np.abs(decoded.mean - mean).max() < 7 * decoded.error_std  # 18 entries at 7 sigma: 1e-11
        assert ledger.newest_extra(PRIVACY) is not None
        spent = PrivacySpent.read(ledger.newest_extra(PRIVACY)).spent
        assert [(each.unit, each.adjacency, each.releases) for each in spent] == [("user", "zero_out", 3)]
        assert spent[0].epsilon == pytest.approx(plan.epsilon_after(3), rel=1e-12)
        assert federation.spent(b"site-0") == pytest.approx(plan.epsilon_after(3), rel=1e-12)
        assert federation.spent(b"site-1") == pytest.approx(plan.epsilon_after(2), rel=1e-12)  # silent before it masked
    report = audited(tmp_path / "ledger")
    assert report.ok, report
    assert any("privacy spent: epsilon" in line and "3 releases" in line for line in report.shown)


def test_rows_are_a_unit_of_their_own() -> None:
    federation = Private(
        policy=replace(POLICY, privacy_unit="record"), unit="record", records_max=8, clip=4.0, rounds=2, beta_log=None
    )
    rng = np.random.default_rng(5)
    rows = {party: rng.uniform(-1, 1, (3 + i, ENTRIES)) for i, party in enumerate(federation.sites)}
    for party, site in federation.sites.items():
        site.values = rows[party]
    result = federation.run(federation.server())
    decoded = result.decoded
    assert isinstance(decoded, PrivateMean)
    exact = sum(block.sum(axis=0) for block in rows.values()) / (8 * N)
    assert np.abs(decoded.mean - exact).max() < 7 * decoded.error_std


def test_more_records_than_the_server_names_are_not_counted_and_not_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal would say on which side of the server's bound this node's data set is."""
    federation = Private(
        policy=replace(POLICY, privacy_unit="record"), unit="record", records_max=8, clip=4.0, rounds=2, beta_log=None
    )
    rng = np.random.default_rng(6)
    rows = {party: rng.uniform(-1, 1, (8, ENTRIES)) for party in federation.sites}
    for party, site in federation.sites.items():
        site.values = rows[party]
    more = federation.sites[b"site-0"]
    more.values = np.concatenate([rows[b"site-0"], np.full((5, ENTRIES), 1e3)])
    decoded = federation.run(federation.server()).decoded
    assert isinstance(decoded, PrivateMean)
    exact = sum(block.sum(axis=0) for block in rows.values()) / (8 * N)
    assert np.abs(decoded.mean - exact).max() < 7 * decoded.error_std
    assert "8 of this node's 13 records" in caplog.text


def test_a_rate_that_the_server_names_is_drawn_by_the_node_whatever_its_update_gives() -> None:
    """The charge counts on it: an update that gives all of its rows must not release them at the price of a sample."""
    rows = 4000
    federation = Private(
        policy=replace(POLICY, privacy_unit="record"),
        unit="record", records_max=rows, clip=1.0, rounds=1, record_rate=0.02, bits=40,
    )  # fmt: skip
    for site in federation.sites.values():
        site.values = np.full((rows, ENTRIES), 0.1)
    decoded = federation.run(federation.server()).decoded
    assert isinstance(decoded, PrivateMean)
    # mean of 0.1 times a coin of 0.02, its own deviation far below the 0.02 that is allowed here
    assert abs(decoded.mean.mean() - 0.1 * 0.02) < 0.02 + 7 * decoded.error_std


def test_named_arrays_and_tasks_are_summed_under_a_plan() -> None:
    federation = Private(dim=6)
    task = Task("update")
    federation.spec = RoundSpec.secure_sum(plan_of(), task)
    arrays = {"w": np.full((2, 2), 0.5), "b": np.full(2, -1.0, np.float32)}
    for site in federation.sites.values():
        site.values = (arrays, Layout.of(arrays))
    decoded = federation.run(federation.server()).decoded
    assert isinstance(decoded, PrivateMean)
    assert np.abs(decoded.mean - ([0.5] * 4 + [-1.0] * 2)).max() < 7 * decoded.error_std
    with pytest.raises(ParameterError, match="metrics"):
        RoundSpec.secure_sum(plan_of(), Task("update", metrics=(("loss", 0.0, 1.0),)))


# ---- what a declaration refuses


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"honest_survivors": 3}, "privacy needs 4"),
        ({"corrupt": 1}, "all but 0"),
        ({"clients": N + 1}, "admits"),
    ],
)
def test_what_the_privacy_counts_on_is_what_the_round_promises(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        RoundSpec.secure_sum(plan_of(), **change)
    good = RoundSpec.secure_sum(plan_of()).aggregation
    assert good.corrupt + good.honest_survivors == 4
    with pytest.raises(ParameterError):
        RoundSpec(plan_of(), replace(good, **change))


def test_a_plan_travels_in_the_announcement() -> None:
    spec = RoundSpec.secure_sum(plan_of(), Task("update"))
    again = RoundSpec.of_params(Params.from_bytes(spec.aggregation.to_bytes(), max_bytes=1 << 16))
    assert again == spec
    assert again.encoding == plan_of()


def test_fewer_survivors_than_the_plan_counts_on_open_nothing() -> None:
    """The decoder is the adversary: it is the clients that refuse."""
    federation = Private(min_survivors=5)
    server = federation.server()
    with pytest.raises(RoundAborted, match="honest") as stopped:
        federation.run(server, {b"site-0": "mask"})
    server.abort(stopped.value)
    spent = PrivacySpent.read(federation.ledger.newest_extra(PRIVACY)).spent
    assert spent[0].releases == 1  # asked for, so counted
    assert federation.spent(b"site-2") > federation.spent(b"site-0") == 0


# ---- budgets


def test_the_round_too_many_is_refused_before_anything_is_sent() -> None:
    plan = plan_of()
    federation = Private(policy=replace(POLICY, epsilon_max=plan.epsilon_after(2) * 1.001))
    for number in (1, 2):
        federation.run(federation.server(number))
    third = federation.server(3)
    for party, announcement in federation.announcements(third).items():
        before = federation.spent(party)
        with pytest.raises(BudgetError, match="above the budget"):
            federation.sites[party].receive(announcement)
        assert federation.spent(party) == before
    # ... and a restart forgets nothing
    site = federation.sites[b"site-0"]
    site.restart()
    with pytest.raises(BudgetError):
        site.receive(federation.announcements(federation.server(4))[b"site-0"])


def test_more_rounds_than_planned_are_refused_in_one_session_and_counted_over_all() -> None:
    federation = Private(rounds=1, target=(20.0, DELTA))
    federation.run(federation.server(1))
    with pytest.raises(BudgetError, match="new plan"):
        federation.run(federation.server(2))
    once = federation.spent(b"site-0")
    federation.run(federation.server(3, session=b"another session".ljust(32)))
    assert once < federation.spent(b"site-0") < 2 * once


def test_a_repeat_is_not_charged_and_draws_no_noise() -> None:
    federation = Private()
    server = federation.server()
    requests = federation.announcements(server)
    for _ in range(2):
        federation.collect(server, requests)
        requests = server.advance()
    site = federation.sites[b"site-0"]
    first = site.receive(requests[b"site-0"])
    spent = federation.spent(b"site-0")
    site.restart()
    assert site.receive(requests[b"site-0"]) == first
    assert federation.spent(b"site-0") == spent > 0


def test_what_cannot_be_encoded_costs_nothing() -> None:
    for values, weight, match in (
        (np.full(ENTRIES, np.nan), 1, "NaN"),
        (np.zeros(ENTRIES + 1), 1, "shape"),
        (np.zeros(ENTRIES, dtype=np.int64), 1, "dtype"),
        (np.zeros(ENTRIES), 2, "weight"),
        (np.zeros(ENTRIES), True, "weight"),
    ):
        federation = Private()
        federation.sites[b"site-0"].values, federation.sites[b"site-0"].weight = values, weight
        with pytest.raises(EncodingError, match=match):
            federation.run(federation.server())
        assert federation.spent(b"site-0") == 0


def test_a_lowered_limit_stops_a_node_that_has_spent_more() -> None:
    federation = Private()
    federation.run(federation.server())
    site = federation.sites[b"site-0"]
    site.restart(replace(POLICY, epsilon_max=federation.spent(b"site-0") / 2))
    with pytest.raises(BudgetError, match="by now"):
        site.receive(federation.announcements(federation.server(2))[b"site-0"])


def test_a_damaged_budget_is_no_budget() -> None:
    journal = MemoryJournal(Identity.generate().public)
    budget = NodeBudget(POLICY, journal)
    budget.charge(plan_of(), SESSION)
    with journal.locked():
        stored = journal.recall("privacy-user-zero_out")
        assert stored is not None
        journal.remember("privacy-user-zero_out", stored[:-1])
    with pytest.raises(JournalError, match="damaged"):
        budget.charge(plan_of(), SESSION)


@pytest.mark.parametrize("rolled_back_to", [0, 1])
def test_a_budget_that_was_lost_or_rolled_back_alone_is_found(rolled_back_to: int) -> None:
    """The journal's chain counts the charges; what is remembered beside it must not count fewer."""
    journal, plan, name = MemoryJournal(Identity.generate().public), plan_of(), "privacy-user-zero_out"
    budget = NodeBudget(POLICY, journal)
    kept: list[bytes | None] = [None]
    for _ in range(2):
        budget.charge(plan, SESSION)
        kept.append(journal.recall(name))
    budget.charge_curve(plan.rdp_round, "user", "zero_out")
    assert [(entry.purpose, entry.round) for entry in journal.entries()] == [(name, k) for k in (1, 2, 3)]
    newest, old = journal.recall(name), kept[rolled_back_to]
    if old is None:
        del journal._remembered[name]
    else:
        journal.remember(name, old)
    for refused in (
        lambda: budget.check(plan, SESSION),
        lambda: budget.charge(plan, SESSION),
        lambda: budget.charge_curve(plan.rdp_round, "user", "zero_out"),
    ):
        with pytest.raises(JournalError, match="counts 3 charges"):
            refused()
    assert newest is not None
    journal.remember(name, newest)
    budget.charge(plan, SESSION)


def test_a_crash_between_charge_and_entry_costs_one_charge_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, plan = MemoryJournal(Identity.generate().public), plan_of()
    budget = NodeBudget(POLICY, journal)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write", lambda *_: (_ for _ in ()).throw(JournalError("the disk is full")))
        with pytest.raises(JournalError, match="full"):
            budget.charge(plan, SESSION)
    once = budget.of("user", "zero_out")
    assert (once.charges, len(journal.entries())) == (1, 0)
    budget.charge(plan, SESSION)
    assert (budget.of("user", "zero_out").charges, len(journal.entries())) == (2, 1)


def test_limits_are_numbers() -> None:
    budget = NodeBudget(Policy(epsilon_max=100, delta_max=DELTA), MemoryJournal(Identity.generate().public))
    for _ in range(2):
        budget.charge(plan_of(), SESSION)
    for bad in (True, "8", None):
        with pytest.raises(ParameterError, match="epsilon_max"):
            Policy(epsilon_max=bad)  # type: ignore[arg-type]


# ---- policies


def test_a_node_that_asks_for_privacy_refuses_rounds_without_and_of_another_unit() -> None:
    federation = Private()
    plain = RoundSpec.secure_sum(FixedPoint.for_range(4.0, bits=16, clients=N, entries=ENTRIES))
    rows = RoundSpec.secure_sum(plan_of(unit="record", records_max=8, clip=4.0, rounds=2, beta_log=None))
    other = RoundSpec.secure_sum(plan_of(adjacency="replace_one"))
    for spec, match in ((plain, "without differential privacy"), (rows, "protects a record"), (other, "replace_one")):
        server = federation.server(1, spec=spec)
        for party, announcement in federation.announcements(server).items():
            with pytest.raises(PolicyError, match=match):
                federation.sites[party].receive(announcement)


def test_policies_are_read_from_a_file() -> None:
    text = 'privacy = "required"\nprivacy_unit = "record"\nprivacy_adjacency = "replace_one"\n'
    text += "epsilon_max = 3\ndelta_max = 1e-6\n"
    policy = Policy.from_toml(text)
    assert (policy.privacy, policy.privacy_unit) == ("required", "record")
    assert policy.privacy_adjacency == "replace_one"
    assert (policy.epsilon_max, policy.delta_max) == (3.0, 1e-6)
    for bad in (
        {"privacy": "maybe"},
        {"privacy_unit": "row"},
        {"privacy_adjacency": "add_or_remove"},
        {"epsilon_max": 0.0},
        {"epsilon_max": 1e9},
        {"delta_max": 1.0},
    ):
        with pytest.raises(ParameterError):
            Policy(**bad)  # type: ignore[arg-type]


# ---- attested noise


def test_signal_and_noise_are_proven_apart_and_the_sum_is_theirs(tmp_path: Path) -> None:
    options: dict[str, Any] = {"proof_bits": 14, "bits": 18, "rounds": 2, "target": (20.0, DELTA)}
    with Ledger(tmp_path / "ledger", LEDGER_KEY) as ledger:
        federation = Private(ledger, replace(POLICY, epsilon_max=20.0), **options)
        plan = federation.plan
        assert 0 < plan.noise_bound < 1 << 13
        spec = AttestationSpec.of_plan(plan, columns=4)
        federation.spec = RoundSpec.secure_sum(plan, attestation=spec)
        assert len(federation.spec.statements) == 2
        result = federation.run(federation.server(), {b"site-4": "mask"})
        mean, _ = federation.plain(result)
        assert isinstance(result.decoded, PrivateMean)
        assert np.abs(result.decoded.mean - mean).max() < 7 * result.decoded.error_std
    report = audited(tmp_path / "ledger")
    assert report.ok, report
    assert len(report.shown) == 2
    for wrong in (replace(spec, noise=spec.noise + 1), replace(spec, l2_squared=spec.l2_squared - 1)):
        with pytest.raises(ParameterError, match="own gate"):
            RoundSpec.secure_sum(plan, attestation=wrong)
    with pytest.raises(ParameterError, match="no bound"):
        AttestationSpec.of_plan(plan_of())


# ---- the ledger's figure


def test_a_false_figure_of_the_privacy_spent_fails_the_audit(tmp_path: Path) -> None:
    def false(record: Record) -> Record:
        spent = PrivacySpent.read(dict(record.extras)[PRIVACY]).spent[0]
        less = PrivacySpent((replace(spent, releases=0),))
        return replace(record, extras=((PRIVACY, less.to_bytes()),))

    def silent(record: Record) -> Record:
        return replace(record, extras=())

    for number, change in enumerate((false, silent)):
        path = tmp_path / f"ledger-{number}"
        with Ledger(path, LEDGER_KEY) as ledger:
            append = ledger.append
            ledger.append = lambda record, a=append, c=change: a(c(record))  # type: ignore[method-assign, misc]
            federation = Private(ledger)
            federation.run(federation.server())
        report = audited(path)
        assert not report.ok
        assert "privacy" in str(report.failure)
