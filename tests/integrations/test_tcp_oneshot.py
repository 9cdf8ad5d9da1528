"""One-shot rounds over real TLS: clients that are gone after one message, members that die, restart, and complete."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from privcomp import oneshot
from privcomp.dp import plan_distributed
from privcomp.errors import LocalError, ParameterError
from privcomp.integrations import NodeHome, asyncio_tcp
from privcomp.integrations.asyncio_tcp import Limits
from privcomp.integrations.committee import committee_of, drawn_committee
from privcomp.keys import Identity
from privcomp.ledger import ABORTED, COMPLETE
from privcomp.oneshot.rules import ACCEPT, ANSWER, BOXKEY, UPLOAD, VOTE
from privcomp.rounds import RoundSpec
from tests.integrations.federation import Federation, first_model
from tests.integrations.test_tcp import TASK, crash, gone, running

MEMBERS = 5  # four must answer


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation.create(tmp_path_factory.mktemp("one-shot"), 6, committee=MEMBERS)


@pytest.fixture
def federation(template: Federation, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Federation:
    """Six nodes that have not done anything yet."""
    caplog.set_level(logging.INFO, "privcomp")
    shutil.copytree(template.folder, tmp_path, dirs_exist_ok=True)
    return Federation(tmp_path, template.ids, template.roster)


def committee(federation: Federation, **options: Any) -> oneshot.Committee:
    return committee_of(federation.roster, federation.ids[:MEMBERS], **options)


@pytest.mark.parametrize(
    "options", [{}, {"hybrid": True}, {"adversary": "semi_honest"}, {"clients": 5, "bits": 24}], ids=str
)
def test_rounds_give_the_weighted_mean(federation: Federation, options: dict[str, Any]) -> None:
    """In every mode; whatever is sent fits into the limits of its stage."""
    if "adversary" in options:
        for k in range(6):
            path = federation.node(k) / "policy.toml"
            path.write_text(path.read_text().replace('= "malicious"', '= "semi_honest"'))

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            await started.run(rounds=2, committee=committee(federation), **options)
        assert [await started.ended(k) for k in range(6)] == ["the training is over"] * 6
        assert [report.outcome for report in started.reports] == [COMPLETE] * 2
        assert [report.asked for report in started.reports] == [options.get("clients", 6)] * 2

    asyncio.run(scenario())
    _, records = federation.check_means(first_model())
    for record in records:
        assert set(federation.ids[:MEMBERS]) <= set(record.survivors)  # members come first
        assert record.protocol == "oneshot"
    federation.audit()


def test_clients_vanish_after_one_message_and_members_in_between(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 5, no member, is gone when its upload is; member 1 for good when it should accept, member 3 restarts when it
    has accepted and forgets its shares, member 4 when it has voted. All six are in the sum."""

    async def scenario() -> None:
        async with running(federation, Limits(grace=3)) as started:
            reserve = asyncio_tcp.Server._begin

            async def begin(self: Any, name: str, *rest: Any) -> Any:
                if name == "accept":
                    for k in (1, 5):
                        started.nodes[k].cancel()
                return await reserve(self, name, *rest)

            monkeypatch.setattr(asyncio_tcp.Server, "_begin", begin)
            crash(monkeypatch, started, ACCEPT, 3)
            crash(monkeypatch, started, VOTE, 4)
            for k in range(6):
                started.join(k)
            rounds = asyncio.create_task(started.run(committee=committee(federation)))
            await gone(started, 3)
            started.join(3)
            await gone(started, 4)
            started.join(4)
            await rounds
            assert [report.survivors for report in started.reports] == [6]

    asyncio.run(scenario())
    federation.check_means(first_model())
    federation.audit()


@pytest.mark.parametrize("stage", [BOXKEY, UPLOAD, ACCEPT, VOTE, ANSWER])
def test_a_member_resumes_within_the_stage(federation: Federation, monkeypatch: pytest.MonkeyPatch, stage: int) -> None:
    """It is gone when it has journalled and not sent; a new process answers the request with these bytes."""

    async def scenario() -> None:
        async with running(federation, Limits(grace=20)) as started:
            crash(monkeypatch, started, stage, 2)
            for k in range(6):
                started.join(k)
            rounds = asyncio.create_task(started.run(committee=committee(federation)))
            await gone(started, 2)
            started.join(2)
            await rounds
            assert [report.survivors for report in started.reports] == [6]

    asyncio.run(scenario())
    federation.check_means(first_model())
    federation.audit()


def test_a_stalled_round_is_finished_by_its_members_alone(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two members die with their answers in their journals. The server is started again; clients are not there."""

    async def scenario() -> None:
        async with running(federation, Limits(grace=0.5)) as started:
            crash(monkeypatch, started, ANSWER, 1, 4)
            for k in range(6):
                started.join(k)
            await started.run(committee=committee(federation))
            assert [report.outcome for report in started.reports] == ["stalled"]
            await gone(started, 1, 4)
        async with running(federation) as started:
            started.join(4)
            await started.run(committee=committee(federation), gather=0.5)
            assert [report.outcome for report in started.reports] == [COMPLETE]

    asyncio.run(scenario())
    (record,) = federation.check_means(first_model())[1]
    assert len(record.survivors) == 6
    federation.audit()


def test_too_few_members_abort_the_round_and_the_next_one_completes(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with running(federation, Limits(grace=0.5)) as started:
            crash(monkeypatch, started, ACCEPT, 1, 2)
            for k in range(6):
                started.join(k)
            rounds = asyncio.create_task(started.run(rounds=2, committee=committee(federation)))
            await gone(started, 1, 2)
            while not started.reports:
                await asyncio.sleep(0.05)
            started.join(1)
            await rounds
            assert [report.outcome for report in started.reports] == ["aborted", COMPLETE]
            assert "3 members accepted, 4 are needed" in started.reports[0].reason

    asyncio.run(scenario())
    assert [record.outcome for record in federation.records()] == [ABORTED, COMPLETE]
    federation.check_means(first_model())
    federation.audit()


def test_a_node_whose_policy_names_another_committee(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    """It sits the round out, as a client and as a member; the others' round is completed."""
    path = federation.node(5) / "policy.toml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("members = ")))

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            await started.run(committee=committee(federation))
            assert started.reports[0].refused == {federation.ids[5]: "PolicyError"}
            assert started.reports[0].survivors == 5

    asyncio.run(scenario())
    assert "another committee; allowed: the one that is named" in caplog.text
    federation.audit()


def test_a_committee_that_every_node_draws(federation: Federation) -> None:
    """The policies have a beacon, no list; all six nodes are drawn, one of them may be corrupt, all must answer."""
    for k in range(6):
        trust(federation, k, beacon=b"beacon")
        path = federation.node(k) / "policy.toml"
        kept = [line for line in path.read_text().splitlines() if not line.startswith(("members = ", "privacy_min = "))]
        path.write_text("\n".join(kept))
    drawn = drawn_committee(federation.roster, b"beacon", absent=0, corrupt=1)
    assert (drawn.kind, drawn.size, drawn.needed) == ("sampled", 6, 6)

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            await started.run(rounds=2, committee=drawn)
            assert [report.outcome for report in started.reports] == [COMPLETE] * 2

    asyncio.run(scenario())
    federation.check_means(first_model())
    federation.audit()


def test_a_model_moves_to_another_committee(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two members are lost for good when everybody has uploaded. The operators name another committee; three of the
    first one close the model for theirs, and everybody uploads again."""

    async def scenario() -> None:
        async with running(federation, Limits(grace=0.5)) as started:
            crash(monkeypatch, started, ACCEPT, 0, 1)
            for k in range(6):
                started.join(k)
            await started.run(committee=committee(federation))
            assert [report.outcome for report in started.reports] == ["aborted"]
        members = federation.ids[1:6]
        for k in range(6):
            trust(federation, k, committee=members)
        async with running(federation, Limits(grace=0.5)) as started:
            for k in range(1, 6):
                started.join(k)
            await started.run(committee=committee_of(federation.roster, members), gather=0.5)
            assert [(report.outcome, report.survivors) for report in started.reports] == [(COMPLETE, 5)]

    asyncio.run(scenario())
    assert [record.outcome for record in federation.records()] == [ABORTED, COMPLETE]
    federation.check_means(first_model())
    federation.audit()


def trust(federation: Federation, k: int, **options: Any) -> None:
    """The operator of a node changes its mind."""
    certificate = (federation.server / "server.pem").read_bytes()
    NodeHome.trust(federation.node(k), federation.roster.to_bytes(), certificate, force=True, **options)


def test_what_the_server_refuses_itself(federation: Federation) -> None:
    entries = TASK.entries(first_model())
    plan = plan_distributed(
        **{"clip": 1.0, "dim": entries, "clients": 6, "min_survivors": 4, "colluders": 1, "bits": 20},
        **{"target": (8.0, 1e-5), "rounds": 1, "sampling": "none", "adjacency": "zero_out"},
    )
    stranger = oneshot.Committee.named([(party, Identity.generate().public) for party in federation.ids[:4]])

    async def scenario() -> None:
        async with running(federation) as started:
            for options, said in (
                ({"plan": plan, "clip": None}, "one-shot rounds take no plan"),
                ({"committee": stranger}, "with its key, is not in this server's roster"),
                ({"clients": 4}, "the committee has 5 members"),
                ({"min_clients": 3}, "a sum needs 4 nodes"),
            ):
                with pytest.raises(ParameterError, match=said):
                    await started.run(**{"committee": committee(federation), **options})
            for k in (0, 1, 2, 5):  # enough nodes, too few members
                started.join(k)
            with pytest.raises(LocalError, match=r"4 nodes .* and 3 members of the committee, of 4"):
                await started.run(committee=committee(federation), wait=1.5)

    asyncio.run(scenario())


def test_what_a_stage_may_answer() -> None:
    """Limits grow with blocks, members and clients, and a vote has no room for an upload."""
    named = [(b"%d" % k, Identity.generate().public) for k in range(10)]
    encoding = TASK.encoding(first_model(500_000), clients=1000, clip=1.0, max_weight=10)
    params = RoundSpec.one_shot(encoding, oneshot.Committee.named(named)).aggregation
    assert isinstance(params, oneshot.Params)
    one, whole = asyncio_tcp._answer_limits(params, "upload", 0)
    sizes = [params.block(index)[2] for index in range(params.blocks)]
    assert len(sizes) > 1
    assert max(sizes) + 1024 < one < 2 * max(sizes)
    assert sum(sizes) + 10 * params.ring.degree // 3 < whole < 1.5 * sum(sizes)
    assert asyncio_tcp._answer_limits(params, "accept", 0) == (4096 + 125,) * 2
    assert max(asyncio_tcp._answer_limits(params, "vote", 0)) < 1 << 15
    assert Counter(asyncio_tcp._answer_limits(params, "boxkeys", 0)) == {8192: 2}
