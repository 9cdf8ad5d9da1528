"""Rounds with a plan over TCP: the noised mean, a restart, the round too many, and what `privcomp serve` refuses."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.dp import DistributedPlan, plan_distributed
from privcomp.errors import ParameterError
from privcomp.integrations import NodeHome
from privcomp.integrations.npz import save_model
from privcomp.ledger import ABORTED, COMPLETE
from privcomp.rounds import NodeBudget
from privcomp.rounds.task import Task
from tests.integrations.federation import Arrays, Federation, start
from tests.integrations.test_tcp import Running, running
from tests.test_cli import run

NODES = 5
MODEL: Arrays = {"w": np.linspace(-1, 1, 30, dtype=np.float32).reshape(6, 5), "b": np.zeros(3)}
STEP = {"w": np.full((6, 5), 0.1, np.float32), "b": np.array([0.5, -0.25, 1.0])}
PLAN = plan_distributed(
    clip=4.0, dim=33, clients=NODES, min_survivors=4, colluders=1, bits=24, target=(100.0, 1e-5), rounds=2,
    sampling="none", adjacency="zero_out",
)  # fmt: skip


def update(arrays: Arrays) -> tuple[Arrays, int, dict[str, float]]:
    """The same change at every node; a weight and a metric that must not count."""
    return {name: array + STEP[name] for name, array in arrays.items()}, 777_777, {"loss": 13.37}


async def train(started: Running, rounds: int, plan: DistributedPlan = PLAN, **options: Any) -> Arrays:
    for k in range(NODES):
        started.join(k, update)
    given = {"task": Task("update"), "clip": None, "max_weight": 1, "plan": plan, "rounds": rounds, "corrupt": 1}
    return await started.run(MODEL, **{**given, **options})


def check(model: Arrays, rounds: int) -> None:
    noise = PLAN.sigma_local * math.sqrt(rounds / NODES)
    for name, array in model.items():
        difference = array - MODEL[name] - rounds * STEP[name]
        assert 0 < np.abs(difference).max() < 7 * noise + 1e-3


def test_noised_rounds_and_the_round_too_many(tmp_path: Path) -> None:
    policy = "corrupt = 1\n"
    federation = Federation.create(tmp_path, NODES, policy=policy)
    for k in range(NODES):
        path = federation.node(k) / "policy.toml"
        text = path.read_text().replace('privacy = "any"', 'privacy = "required"')
        path.write_text(text.replace("epsilon_max = 8.0", "epsilon_max = 100.0"))

    async def scenario() -> None:
        async with running(federation) as started:
            check(await train(started, 1), 1)
            (report,) = started.reports
        assert (report.survivors, report.weight, report.clipped, report.metrics) == (NODES, NODES, 0, {})
        assert report.bound == pytest.approx(PLAN.sigma_local / math.sqrt(NODES), rel=0.01)
        assert report.epsilon == pytest.approx(PLAN.epsilon_after(1), rel=1e-9)
        async with running(federation) as started:  # a restart goes on: from the ledger, and with the nodes' count
            check(await train(started, 2), 2)
            last, too_many = started.reports
        assert (last.outcome, too_many.outcome) == (COMPLETE, ABORTED)
        assert set(too_many.refused.values()) == {"BudgetError"}
        assert last.epsilon == too_many.epsilon == pytest.approx(PLAN.epsilon_after(2), rel=1e-9)
        async with running(federation) as started:  # nor do they answer without noise
            await train(started, 1, plan=None, clip=2.0)  # type: ignore[arg-type]
        assert set(started.reports[0].refused.values()) == {"PolicyError"}

    asyncio.run(scenario())
    for k in range(NODES):
        with NodeHome.open(federation.node(k)) as home:
            spent = NodeBudget(home.policy, home.journal).of("user", "zero_out").spent_epsilon()
        assert spent == pytest.approx(PLAN.epsilon_after(2), rel=1e-9)
    federation.audit()


def test_a_plan_that_does_not_fit(tmp_path: Path) -> None:
    federation = Federation.create(tmp_path, NODES)

    async def scenario() -> None:
        async with running(federation) as started:
            for options, match in (
                ({"plan": None}, "need a clip"),
                ({"clip": 2.0}, "a clip of its own|its own clip"),
                ({"clients": 4}, "up to 4 nodes take part"),
                ({"plan": dataclasses.replace(PLAN, entries=31)}, "31 entries of 5 nodes; this model has 33"),
                ({"task": Task("update", metrics=(("loss", 0.0, 1.0),))}, "this model has 34"),
                ({"corrupt": 2}, "corrupt"),
            ):
                with pytest.raises(ParameterError, match=match):
                    await train(started, 1, **options)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ([], "--clip must be given without --epsilon"),
        (["--epsilon", "8"], "--clip-norm must be given with --epsilon"),
        (["--epsilon", "8", "--clip-norm", "1", "--clip", "1"], "--clip is for rounds without noise"),
        (["--epsilon", "8", "--clip-norm", "1", "--metric", "loss=0:1"], "--metric is for rounds without noise"),
        (["--epsilon", "8", "--clip-norm", "1", "--max-weight", "9"], "--max-weight is for rounds without noise"),
        (["--clip", "1", "--min-survivors", "4"], "--min-survivors needs --epsilon"),
        (["--epsilon", "8", "--clip-norm", "-1"], "a positive number is needed"),
    ],
)
def test_options_that_do_not_fit_together(tmp_path: Path, options: list[str], match: str) -> None:
    save_model(tmp_path / "model.npz", MODEL)
    result = run("serve", tmp_path, "--model", tmp_path / "model.npz", "--rounds", "1", *options)
    assert result.code != 0
    assert match in result.out + result.err


@pytest.mark.assurance
def test_processes_with_a_plan(tmp_path: Path) -> None:
    """`privcomp serve --epsilon` and its nodes, whose updates bring weights and metrics that go nowhere."""
    federation = Federation.create(tmp_path, NODES)
    save_model(tmp_path / "model.npz", MODEL)
    options = ("--epsilon", "8", "--clip-norm", "4", "--min-survivors", "5", "--corrupt", "1", "--gather", "60")
    log = tmp_path / "server.log"
    server = start(
        *("serve", federation.server, "--model", tmp_path / "model.npz", "--rounds", "2", "--port", "0", "--json"),
        *options,
        log=log,
    )
    processes = [server]
    try:
        end = time.monotonic() + 60
        while "listening at" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        (port,) = re.findall(r"listening at 127.0.0.1:(\d+)", log.read_text())
        for k in range(NODES):
            file = f"{federation.node(k) / 'update.py'}:update"
            processes.append(
                start("join", federation.node(k), f"127.0.0.1:{port}", "--update", file, log=tmp_path / f"node-{k}.log")
            )
        assert [process.wait(120) for process in processes] == [0] * (NODES + 1), log.read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    reports = [json.loads(line) for line in (tmp_path / "server.out").read_text().splitlines()]
    assert [report["outcome"] for report in reports] == [COMPLETE] * 2
    assert 0 < reports[0]["epsilon"] < reports[1]["epsilon"] <= 8.0
    assert reports[1]["metrics"] == {}
    said = log.read_text()
    for text in ("honest shares     h = 5 survivors - 1 colluders = 4", "epsilon(delta)", ", noise ", "epsilon 8"):
        assert text in said
    federation.audit()
