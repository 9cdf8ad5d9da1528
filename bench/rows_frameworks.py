"""Whole rounds as a user has them: inside Flower and NVFlare, and over TCP without a framework, beside the plain run.

Every row starts the processes of a federation twice, with and without secure aggregation. The sites compute the same
(bench/apps/training.py), so both runs must come out with the same models. What counts are the seconds of the rounds
after the first one; what comes before, starting frameworks and connecting, is in the row's params.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.apps import training
from bench.harness import ROOT, Case, Peer, Row, Unavailable, expect
from bench.peers import versioned

__all__ = ["FRAMEWORK_ROWS"]

APPS = Path(__file__).resolve().parent / "apps"
STAGES = 5  # against a malicious server
PATIENCE = 1800.0
#: Nothing is lost here, so no deadline of a stage is ever waited for; on a busy machine none may pass either.
DEADLINE = 600.0


@dataclass
class Run:
    """One run of a federation.

    Attributes:
        setup_s: from the start of the first process to the beginning of the first round.
        seconds: of every round.
        up, down: bytes that one site sent and received in a round after the first (median of rounds, mean of sites).
        models: after every round, as far as they are kept (the last one at least).
        fast: seconds of every round of a plain run whose server looks for replies as often as ours.
    """

    setup_s: float
    seconds: list[float]
    up: float
    down: float
    models: dict[int, NDArray[np.float32]]
    fast: list[float] | None = None


def _case(
    ours: Callable[[], Run], peer: Peer, sites: Sequence[int], entries: int, rounds: int, params: dict[str, Any]
) -> Case:
    # The stated bound of the default encoding: one granularity per entry and round.
    bound = _bound(len(sites), entries)

    def check(result: Run, peer_result: Run | None) -> None:
        for run, allowed, who in ((result, bound, "our"), (peer_result, 0.0, "the plain")):
            if run is None:
                continue
            expect(len(run.seconds) == rounds, f"{who} run had {len(run.seconds)} of {rounds} rounds")
            for turn, model in run.models.items():
                off = float(np.abs(model - training.exact(sites, entries, turn)).max())
                most = turn * (allowed + 1e-6)  # float32 models
                expect(off <= most, f"{who} model is {off:.3g} off after round {turn}; {most:.3g} is allowed")

    def peer_report(result: Run) -> dict[str, Any]:
        named = {"peer_bytes_down": result.down, "peer_setup_s": result.setup_s, "peer_first_s": result.seconds[0]}
        if result.fast is not None:
            named["peer_fast_s"] = statistics.median(result.fast[1:])
        return {"peer_bytes_up": round(result.up), "params": named}

    def report(result: Run, seconds: float) -> dict[str, Any]:
        stated = {"setup_s": result.setup_s, "first_s": result.seconds[0], "bound": bound, "load": os.getloadavg()[0]}
        return {"bytes_up": round(result.up), "bytes_down": round(result.down), "rounds": STAGES, "params": stated}

    peer.report = peer_report
    return Case(
        ours,
        peer,
        check,
        {"n": len(sites), "d": entries, "bits": 16, "timed_rounds": rounds - 1, **params},
        report=report,
        repeats=1,
        rounds=lambda run: run.seconds[1:],
    )


def _bound(n: int, entries: int) -> float:
    from privcomp.rounds.task import Task

    model = {"w": np.zeros(entries, np.float32)}
    encoding = Task("update").encoding(model, clients=n, clip=training.CLIP, max_weight=training.MAX_WEIGHT)
    return float(encoding.granularity)


def _size(entries: int, quick: bool, rounds: int = 8) -> tuple[int, int]:
    """(entries of the model, rounds)."""
    return (1000, 2) if quick else (entries, rounds)


def _needs(package: str, label: str) -> None:
    if find_spec(package) is None:
        raise Unavailable(f"{label} is not installed; `make .venv-embed/.built` makes an environment with it")


def _written(out: Path, started: float, nodes: int) -> Run:
    """What the jobs and apps wrote: lines {began, ended, up, down} and the models."""
    found = [json.loads(line) for line in (out / "rounds").read_text().splitlines()]
    turns = [line for line in found if line["began"]]  # Flower calls before the first round, too
    return Run(
        turns[0]["began"] - started,
        [line["ended"] - line["began"] for line in turns],
        statistics.median(line["up"] for line in turns[1:]) / nodes,
        statistics.median(line["down"] for line in turns[1:]) / nodes,
        {turn: np.load(out / f"{turn}.npy") for turn in range(1, len(turns) + 1)},
    )


# ---- embed.flower


def _flower(folder: Path, n: int, entries: int, rounds: int, *, simulation: bool, secure: bool) -> Run:
    """SuperLink and sites as processes, or the simulation on Ray; FedAvg as Flower has it."""
    import shutil

    from flwr.cli.build import build_fab_from_disk

    from tests.integrations.federation import Federation
    from tests.integrations.flower_deployment import Deployment, copy_app, toml

    def app(name: str, **changes: Any) -> Path:
        (folder / name).mkdir()
        config = {
            "out": folder / name,
            "secure": secure,
            "dimension": entries,
            "nodes": n,
            "rounds": rounds,
            "poll": 0.0,
        }
        config.update(changes)
        if secure:
            config |= {"privcomp-clip": training.CLIP, "privcomp-max-examples": training.MAX_WEIGHT}
            config |= {"privcomp-deadline": DEADLINE, "privcomp-mask-deadline": DEADLINE}
            config |= {"privcomp-sim-home" if simulation else "privcomp-home": homes}
        text = "".join(f"{key} = {toml(value)}\n" for key, value in config.items())
        made = copy_app(APPS / "flower", folder / f"app-{name}", {"pyproject.toml": text})
        shutil.copy(APPS / "training.py", made / "timed")
        return made

    federation = None
    homes = folder / "homes"
    if secure and simulation:
        from privcomp.integrations.home import make_simulation

        make_simulation(homes, map(str, range(n)))
    elif secure:
        federation = Federation.create(folder / "federation", n, policy=f"corrupt = {_corrupt(n)}")
        homes = federation.server
    bundle = app("own")
    if federation is not None:
        # Against a malicious server the sites run the pinned bundle only, through `privcomp supernode`.
        pinned = sha256(build_fab_from_disk(bundle)).hexdigest()
        for k in range(n):
            policy = federation.node(k) / "policy.toml"
            policy.write_text(f'code_hashes = ["{pinned}"]\n' + policy.read_text())
    began = time.monotonic()
    with Deployment(folder / "run", simulation=simulation) as deployment:
        if not simulation:
            for k in range(n):
                deployment.node(k, home=federation.node(k) if federation else None, guarded=secure)
        deployment.run(bundle, nodes=n if simulation else 0)
        log = deployment.finish(seconds=PATIENCE)
        if not (folder / "own" / f"{rounds}.npy").exists():
            raise RuntimeError(f"Flower's run did not come to its end:\n{log[-3000:]}")
        run = _written(folder / "own", began, n)
        if not simulation and not secure:
            # The deployment's Grid sleeps 3 s between two looks for replies; ours looks every 0.1 s.
            deployment.run(app("fast", poll=0.1), name="fast")
            deployment.finish("fast", seconds=PATIENCE)
            run.fast = _written(folder / "fast", began, n).seconds
    return run


def _corrupt(n: int) -> int:
    from privcomp.policy import Policy

    return Policy().corrupt_for("malicious", n)


def _flower_row(entries: int, simulation: bool) -> Callable[[bool, bool], Case]:
    def build(quick: bool, peers: bool) -> Case:
        _needs("flwr", "Flower")
        if simulation:
            _needs("ray", "Ray, which Flower's simulation runs on,")
        # A deployed SuperNode starts a process for every message: its rounds take tens of seconds, secure or plain.
        n, (d, rounds) = 4, _size(entries, quick, 8 if simulation else 4)

        def run(secure: bool) -> Run:
            with tempfile.TemporaryDirectory(prefix="privcomp-bench-", ignore_cleanup_errors=True) as folder:
                return _flower(Path(folder), n, d, rounds, simulation=simulation, secure=secure)

        name = versioned("flwr", "Flower") + " FedAvg, plain"
        return _case(partial(run, True), Peer(name, partial(run, False), repeats=1), range(n), d, rounds, {})

    return build


# ---- embed.nvflare


def _nvflare(folder: Path, n: int, entries: int, rounds: int, *, secure: bool) -> Run:
    """NVFlare's simulator, a process per site."""
    from tests.integrations.nvflare_harness import program

    deadlines = dict.fromkeys(("advertise", "share", "mask", "consistency", "unmask"), DEADLINE)
    proposal = {"clip": training.CLIP, "max_weight": training.MAX_WEIGHT, "corrupt": 0, "deadlines": deadlines}
    plan = {
        "sites": [f"site-{k}" for k in range(1, n + 1)], "dimension": entries, "rounds": rounds, "secure": secure,
        "proposal": proposal, "policy": "corrupt = 0",
    }  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    began = time.monotonic()
    text = program([str(APPS / "nvflare_job.py"), str(folder), str(folder / "plan.json")], folder, PATIENCE)
    if not (folder / f"{rounds}.npy").exists():
        raise RuntimeError(f"NVFlare's run did not come to its end:\n{text[-3000:]}")
    return _written(folder, began, n)


def _nvflare_row(entries: int) -> Callable[[bool, bool], Case]:
    def build(quick: bool, peers: bool) -> Case:
        _needs("nvflare", "NVFlare")
        n, (d, rounds) = 5, _size(entries, quick)

        def run(secure: bool) -> Run:
            with tempfile.TemporaryDirectory(prefix="privcomp-bench-", ignore_cleanup_errors=True) as folder:
                return _nvflare(Path(folder), n, d, rounds, secure=secure)

        name = versioned("nvflare", "NVFlare") + " Collab API, plain"
        return _case(partial(run, True), Peer(name, partial(run, False), repeats=1), range(1, n + 1), d, rounds, {})

    return build


# ---- embed.tcp

UPDATE = """
from bench.apps import training

def update(arrays):
    return {{"w": training.trained({site}, arrays["w"])}}, training.weight({site}), {{}}
"""


def _tcp(folder: Path, n: int, entries: int, rounds: int, *, secure: bool) -> Run:
    """A process per party: `privcomp serve` and `privcomp join`, or their plain counterparts."""
    from privcomp.integrations.npz import load_model, save_model
    from tests.integrations.federation import Federation

    federation = Federation.create(folder, n, policy=f"corrupt = {_corrupt(n)}")
    save_model(folder / "first.npz", {"w": np.zeros(entries, np.float32)})
    for k in range(n):
        (federation.node(k) / "update.py").write_text(UPDATE.format(site=k))
    module = "privcomp" if secure else "bench.apps.plain_tcp"
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with open(folder / f"{name}.log", "wb") as err, open(folder / f"{name}.out", "wb") as out:
            command = [sys.executable, "-u", "-m", module, *map(str, arguments)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
            started.append(subprocess.Popen(command, stdout=out, stderr=err, env=environment))
        return started[-1]

    def until(name: str, text: str) -> str:
        end = time.monotonic() + PATIENCE
        while text not in (said := (folder / name).read_text()):
            if started[0].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not say {text!r}:\n{(folder / 'server.log').read_text()[-3000:]}")
            time.sleep(0.01)
        return said

    out = federation.server / "model.npz"
    options: list[str | Path]
    if secure:
        options = ["--model", folder / "first.npz", "--clip", str(training.CLIP), "--rounds", str(rounds)]
        options += ["--deadline", str(DEADLINE), "--training-deadline", str(DEADLINE)]
        options += ["--max-weight", str(training.MAX_WEIGHT), "--min-clients", str(n), "--port", "0", "--json"]
    else:
        options = [folder / "first.npz", str(rounds), str(n)]
    began = time.monotonic()
    try:
        server = start("server", "serve", federation.server, *options)
        port = until("server.log", "listening at ").partition("listening at 127.0.0.1:")[2].split()[0]
        for k in range(n):
            address = f"127.0.0.1:{port}" if secure else port
            update = f"{federation.node(k) / 'update.py'}:update"
            start(f"node-{k}", "join", federation.node(k), address, *(["--update"] if secure else []), update)
        first = json.loads(until("server.out", "\n").splitlines()[0])["seconds"]
        setup = time.monotonic() - began - first
        if server.wait(PATIENCE):
            raise RuntimeError(f"the server failed:\n{(folder / 'server.log').read_text()[-3000:]}")
        for process in started[1:]:
            process.wait(PATIENCE)
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()
    found = [json.loads(line) for line in (folder / "server.out").read_text().splitlines()]
    expect(all(line.get("outcome", "complete") == "complete" for line in found), "a round was not completed")
    return Run(
        setup,
        [line["seconds"] for line in found],
        statistics.median(line["bytes_up"] for line in found[1:]) / n,
        statistics.median(line["bytes_down"] for line in found[1:]) / n,
        {rounds: load_model(out)["w"]},
    )


def _tcp_row(entries: int) -> Callable[[bool, bool], Case]:
    def build(quick: bool, peers: bool) -> Case:
        n, (d, rounds) = 4 if quick else 8, _size(entries, quick)

        def run(secure: bool) -> Run:
            with tempfile.TemporaryDirectory(prefix="privcomp-bench-") as folder:
                return _tcp(Path(folder), n, d, rounds, secure=secure)

        peer = Peer("the same processes, TLS and frames, plain", partial(run, False), repeats=1)
        return _case(partial(run, True), peer, range(n), d, rounds, {})

    return build


def _rows(name: str, title: str, build: Callable[[int], Callable[[bool, bool], Case]]) -> tuple[Row, ...]:
    return tuple(
        Row(f"embed.{name}.{label}", title.format(label), build(int(float(label)))) for label in ("1e4", "1e5")
    )


FRAMEWORK_ROWS = (
    *_rows(
        "flower.sim",
        "a round in Flower's simulation on Ray, 4 sites, d = {} | plain FedAvg",
        partial(_flower_row, simulation=True),
    ),
    *_rows(
        "flower.deploy",
        "a round between SuperLink and 4 SuperNodes on loopback, d = {} | plain FedAvg",
        partial(_flower_row, simulation=False),
    ),
    *_rows("nvflare", "a round of NVFlare's Collab API in its simulator, 5 sites, d = {} | plain", _nvflare_row),
    *_rows("tcp", "`privcomp serve`, 8 `privcomp join`, d = {} | the same without secure aggregation", _tcp_row),
)
