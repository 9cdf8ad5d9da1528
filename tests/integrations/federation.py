"""Federations for the tests of adapters: folders on disk, nodes that record what they computed, and the check that
every published mean is the one of these records."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.encoding import model_bytes
from privcomp.integrations import NodeHome, ServerHome
from privcomp.integrations.home import certificate_name, make_roster
from privcomp.keys import Roster
from privcomp.ledger import COMPLETE, Ledger, Record
from privcomp.rounds import RoundSpec, audit
from privcomp.rounds.task import Task

ROOT = Path(__file__).resolve().parent.parent.parent
Arrays = dict[str, NDArray[Any]]

#: What the processes run: `compute`, with markers in the node's folder that make it wait, or kill it: in the training,
#: or when an entry of a stage is in its journal and nothing has been sent yet.
UPDATE = """
import os, signal, time
from pathlib import Path
from privcomp.integrations.file_journal import FileJournal
from tests.integrations.federation import compute

HERE = Path(__file__).resolve().parent

def die_if(marker):
    if (HERE / marker).exists():
        (HERE / marker).unlink()
        os.kill(os.getpid(), signal.SIGKILL)

append = FileJournal._append

def append_and_die(self, entry):
    append(self, entry)
    die_if(f"die-after-{entry.stage}")

FileJournal._append = append_and_die

def update(arrays):
    (HERE / "training").touch()
    while (HERE / "wait").exists():
        time.sleep(0.05)
    die_if("die-in-training")
    return compute(HERE, arrays)
"""
METRICS = (("loss", 0.0, 10.0),)


def compute(node: Path, arrays: Arrays) -> tuple[Arrays, int, dict[str, float]]:
    """A node's update, which is recorded in its folder: it depends on node and model only, so that whoever computes it
    again gets the same."""
    model = sha256(model_bytes(arrays)).digest()
    draw = np.random.default_rng(list(model) + list(node.name.encode()))
    new = {name: (array + draw.normal(0, 0.2, array.shape)).astype(array.dtype) for name, array in arrays.items()}
    weight, loss = int(draw.integers(1, 1000)), float(draw.uniform(0, 10))
    stored = {"new " + name: array for name, array in new.items()}
    np.savez(node / f"update-{model.hex()}.npz", weight=weight, loss=loss, **stored)  # type: ignore[arg-type]
    return new, weight, {"loss": loss}


def first_model(entries: int = 5000) -> Arrays:
    """A model of two arrays."""
    draw = np.random.default_rng(7)
    return {"weights": draw.normal(0, 1, (entries // 50, 50)).astype(np.float32), "bias": np.zeros(7, np.float64)}


@dataclass
class Federation:
    """Folders of a server and its nodes, which trust each other."""

    folder: Path
    ids: tuple[bytes, ...]
    roster: Roster

    @classmethod
    def create(cls, folder: Path, nodes: int, *, policy: str = "corrupt = 1", committee: int = 0) -> Federation:
        """The first `committee` nodes hold the shares of keys in one-shot rounds; 0: there are none."""
        ids = tuple(f"node-{k}".encode() for k in range(nodes))
        ServerHome.create(folder / "server")
        pems = {}
        for party in ids:
            NodeHome.create(folder / party.decode(), party)
            pems[party.decode()] = (folder / party.decode() / certificate_name(party)).read_bytes()
        roster, clients = make_roster(pems)
        ServerHome.install(folder / "server", roster, clients)
        for party in ids:
            node = folder / party.decode()
            certificate = (folder / "server" / "server.pem").read_bytes()
            NodeHome.trust(node, roster.to_bytes(), certificate, committee=ids[:committee])
            text = (node / "policy.toml").read_text()
            (node / "policy.toml").write_text(text.replace("# corrupt = 5", policy))
            (node / "update.py").write_text(UPDATE)
        return cls(folder, ids, roster)

    @property
    def server(self) -> Path:
        return self.folder / "server"

    @property
    def ledger(self) -> Path:
        return self.server / "ledger"

    def node(self, k: int) -> Path:
        return self.folder / self.ids[k].decode()

    def records(self) -> list[Record]:
        """Every record, read by somebody who does not hold the ledger (a running server may do so)."""
        copy = self.folder / "ledger copy"
        copy.write_bytes(self.ledger.read_bytes())
        with Ledger(copy, self.identity()) as ledger:
            return list(ledger.records())

    def identity(self) -> Any:
        from privcomp.integrations.home import _read_identity

        return _read_identity(self.server, "server")

    def check_means(self, model: Arrays, task: Task | None = None) -> tuple[Arrays, list[Record]]:
        """Every complete round gave the weighted mean of the recorded updates of its survivors, within its bound.

        Returns:
            The last model, and the records of the complete rounds.
        """
        task = Task("update", metrics=METRICS) if task is None else task
        complete = [record for record in self.records() if record.outcome == COMPLETE]
        for record in complete:
            assert sha256(task.request(model)).digest() == record.model_hash
            spec = RoundSpec.of_bytes(record.params)
            assert spec.task == task
            published = record.aggregate or (self.server / str(record.artefact)).read_bytes()
            total = np.frombuffer(published, dtype="<i8").astype(np.int64)
            decoded = spec.encoding.decode(total, len(record.survivors))
            known = sha256(model_bytes(model)).hexdigest()
            weights, rows = [], []
            for party in record.survivors:
                stored = np.load(self.folder / party.decode() / f"update-{known}.npz")
                change = [
                    stored["new " + name].astype(np.float64).ravel() - array.astype(np.float64).ravel()
                    for name, array in model.items()
                ]
                weights.append(int(stored["weight"]))
                rows.append(np.concatenate([*change, [float(stored["loss"])]]))
            mean = np.average(np.array(rows), axis=0, weights=weights)
            assert decoded.total_weight == sum(weights)
            assert decoded.clipped == 0
            assert np.abs(decoded.mean[:-1] - mean[:-1]).max() <= decoded.quantisation_bound
            new, metrics = task.result(model, decoded, spec.encoding)
            step = 5 / spec.encoding.clip_limit  # the metric's range, over the encoding's
            assert abs(metrics["loss"] - mean[-1]) <= decoded.quantisation_bound * step * (1 + 1e-9) + 1e-12
            model = new
        return model, complete

    def audit(self) -> None:
        """The ledger passes, with every head that a node remembers."""
        heads = []
        for k in range(len(self.ids)):
            with NodeHome.open(self.node(k)) as home:
                chain = home.client().chain
                heads += [chain.head] if chain is not None else []
        report = audit(self.ledger, ledger_key=self.identity().public, roster=self.roster, heads=heads)
        assert report.ok, report


def start(*arguments: str | Path, log: Path) -> subprocess.Popen[bytes]:
    """`python -m privcomp ARGUMENTS` as a process of its own; what it says goes to the file `log`."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    with open(log, "ab") as err, open(log.with_suffix(".out"), "ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "privcomp", *map(str, arguments)], stdout=out, stderr=err, env=environment
        )
