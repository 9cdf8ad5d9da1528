"""`privcomp serve` and `privcomp join` as processes that are killed, stopped and started again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from privcomp.integrations import NodeHome
from privcomp.integrations.npz import load_model, save_model
from privcomp.ledger import ABORTED
from privcomp.oneshot.rules import ACCEPT, VOTE
from tests.integrations.federation import Federation, first_model, start
from tests.test_cli import run

PATIENCE = 90.0


class Processes:
    """Started processes; whatever is left is killed at the end."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.all: list[subprocess.Popen[bytes]] = []
        self.port = 0
        save_model(federation.folder / "first.npz", first_model())

    def serve(self, *options: str | Path, port: int = 0) -> subprocess.Popen[bytes]:
        log = self.federation.folder / "server.log"
        said = log.read_text().count("listening at") if log.exists() else 0
        process = start(
            *("serve", self.federation.server, "--model", self.federation.folder / "first.npz", "--clip", "2"),
            *("--metric", "loss=0:10", "--corrupt", "1", "--port", str(port), "--json", *options),
            log=log,
        )
        self.all.append(process)
        self.until(lambda: log.exists() and log.read_text().count("listening at") > said, process)
        self.port = int(re.findall(r"listening at 127.0.0.1:(\d+)", log.read_text())[-1])
        return process

    def join(self, k: int) -> subprocess.Popen[bytes]:
        node = self.federation.node(k)
        process = start(
            *("join", node, f"127.0.0.1:{self.port}", "--update", f"{node / 'update.py'}:update"),
            log=self.federation.folder / f"node-{k}.log",
        )
        self.all.append(process)
        return process

    def until(self, condition: Callable[[], object], *alive: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.logs()
            for process in alive:
                assert process.poll() is None, self.logs()
            time.sleep(0.02)

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(self.logs())

    def reports(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.federation.folder / "server.out").read_text().splitlines()]

    def logs(self) -> str:
        found = sorted(self.federation.folder.glob("*.log"))
        return "\n".join(f"==== {path.name}\n{path.read_text()}" for path in found)


@pytest.fixture
def processes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    """As many nodes as the parameter says; a pair has the size of the committee as well."""
    nodes, committee = request.param if isinstance(request.param, tuple) else (request.param, 0)
    started = Processes(Federation.create(tmp_path, nodes, committee=committee))
    yield started
    for process in started.all:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize("processes", [8], indirect=True)
def test_eight_nodes_two_of_which_are_killed(processes: Processes) -> None:
    """Node 2 dies for good when its shares are journalled but not sent. Node 5 dies when its signature over the
    survivors is journalled but not sent, is started again, and finishes the same round. Node 0 dies as it trains."""
    federation = processes.federation
    (federation.node(2) / "die-after-1").touch()
    (federation.node(5) / "die-after-3").touch()
    options = "--rounds", "3", "--gather", "60", "--deadline", "30", "--training-deadline", "60", "--grace", "6"
    out = federation.folder / "last.npz"
    server = processes.serve(*options, "--out", out)
    nodes = [processes.join(k) for k in range(8)]
    assert processes.ended(nodes[2]) == -signal.SIGKILL
    assert processes.ended(nodes[5]) == -signal.SIGKILL
    nodes[5] = processes.join(5)
    processes.until(lambda: len(processes.reports()) >= 1, server)
    (federation.node(0) / "die-in-training").touch()
    assert processes.ended(nodes[0]) == -signal.SIGKILL
    assert processes.ended(server) == 0, processes.logs()
    assert [processes.ended(nodes[k]) for k in (1, 3, 4, 5, 6, 7)] == [0] * 6, processes.logs()

    reports = processes.reports()
    assert [report["outcome"] for report in reports] == ["complete"] * 3, processes.logs()
    model, records = federation.check_means(first_model())
    ids = federation.ids
    everybody = {ids[k] for k in range(8)}
    assert set(records[0].u1) == everybody
    assert set(records[0].survivors) == everybody - {ids[2]}
    assert ids[5] in dict(records[0].quorum)  # the answer of the second process, from the journal of the first
    assert ids[0] not in records[-1].survivors
    for name, array in load_model(out).items():
        assert np.array_equal(array, model[name])
    federation.audit()
    result = run("audit", federation.ledger, "--roster", federation.server / "roster")
    assert result.code == 0, result.out
    assert "Traceback" not in processes.logs()


@pytest.mark.parametrize("processes", [4], indirect=True)
def test_a_server_that_is_killed_in_a_round(processes: Processes) -> None:
    """Started again with the same command, it records the round as aborted; the nodes come back by themselves."""
    federation = processes.federation
    for k in range(4):
        (federation.node(k) / "wait").touch()
    options = "--rounds", "2", "--min-clients", "4", "--deadline", "30", "--grace", "30"
    server = processes.serve(*options)
    nodes = [processes.join(k) for k in range(4)]
    processes.until(lambda: all((federation.node(k) / "training").exists() for k in range(4)), server, *nodes)
    server.kill()
    server.wait()
    for k in range(4):
        (federation.node(k) / "wait").unlink()
    server = processes.serve(*options, port=processes.port)
    assert processes.ended(server) == 0, processes.logs()
    assert [processes.ended(node) for node in nodes] == [0] * 4, processes.logs()
    records = federation.records()
    assert [(record.round, record.outcome) for record in records] == [(1, ABORTED), (2, "complete"), (3, "complete")]
    assert "the server was restarted during this round" in records[0].reason
    federation.check_means(first_model())
    federation.audit()


@pytest.mark.parametrize("processes", [4], indirect=True)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_stopped_in_the_middle_of_a_round(processes: Processes, number: int, code: int) -> None:
    """Both sides: no traceback, the round in the ledger, the journal whole; what is started again goes on."""
    federation = processes.federation
    for k in range(4):
        (federation.node(k) / "wait").touch()
    options = "--rounds", "1", "--min-clients", "4", "--deadline", "30"
    server = processes.serve(*options)
    nodes = [processes.join(k) for k in range(4)]
    processes.until(lambda: all((federation.node(k) / "training").exists() for k in range(4)), server, *nodes)
    nodes[0].send_signal(number)
    assert processes.ended(nodes[0]) == code
    with NodeHome.open(federation.node(0)) as home:
        assert len(home.journal.entries()) == 2  # it advertised and shared; its training was cut short
    server.send_signal(number)
    assert processes.ended(server) == code
    assert [(record.round, record.outcome) for record in federation.records()] == [(1, ABORTED)]
    assert "stopped by its operator" in federation.records()[0].reason
    for k in range(4):
        (federation.node(k) / "wait").unlink()
    nodes[0] = processes.join(0)
    server = processes.serve(*options, port=processes.port)
    assert processes.ended(server) == 0, processes.logs()
    assert [processes.ended(node) for node in nodes] == [0] * 4, processes.logs()
    federation.check_means(first_model())
    federation.audit()
    assert "Traceback" not in processes.logs()


@pytest.mark.parametrize("processes", [4], indirect=True)
def test_one_identity_one_process(processes: Processes) -> None:
    server = processes.serve("--rounds", "1", "--wait", "60")
    first = processes.join(0)
    log = processes.federation.folder / "node-0.log"
    processes.until(lambda: "connected to" in log.read_text(), server, first)
    second = processes.join(0)
    assert processes.ended(second) == 2
    assert "another process holds the journal" in log.read_text()
    assert first.poll() is None
    os.kill(first.pid, signal.SIGTERM)
    assert processes.ended(first) == 0


@pytest.mark.parametrize("processes", [(6, 5)], indirect=True)
def test_a_committee_one_of_which_is_killed_for_good(processes: Processes) -> None:
    """One-shot: member 4 dies when it has accepted its shares, member 2 when it has voted, and is started again with
    nothing but its folder. All six updates are in the first sum; the second round goes on with four members."""
    federation = processes.federation
    (federation.node(4) / f"die-after-{ACCEPT}").touch()
    (federation.node(2) / f"die-after-{VOTE}").touch()
    members = ",".join(party.decode() for party in federation.ids[:5])
    options = "--rounds", "2", "--gather", "60", "--deadline", "30", "--training-deadline", "60", "--grace", "5"
    server = processes.serve(*options, "--protocol", "oneshot", "--committee", members)
    nodes = [processes.join(k) for k in range(6)]
    assert processes.ended(nodes[4]) == -signal.SIGKILL
    assert processes.ended(nodes[2]) == -signal.SIGKILL
    nodes[2] = processes.join(2)
    assert processes.ended(server) == 0, processes.logs()
    assert [processes.ended(nodes[k]) for k in (0, 1, 2, 3, 5)] == [0] * 5, processes.logs()
    assert [report["outcome"] for report in processes.reports()] == ["complete"] * 2, processes.logs()
    _, records = federation.check_means(first_model())
    assert records[0].survivors == federation.ids
    assert set(records[1].survivors) == set(federation.ids) - {federation.ids[4]}
    federation.audit()
    assert "4 members must answer; 2 members and the server together could open" in processes.logs()
    assert "Traceback" not in processes.logs()
