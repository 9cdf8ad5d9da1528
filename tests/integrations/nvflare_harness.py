"""Runs NVFlare's simulator in a process of its own and checks what it left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp._core import pack
from privcomp.integrations.home import ServerHome
from privcomp.ledger import COMPLETE, Record
from privcomp.rounds import RoundSpec, audit

JOBS = Path(__file__).parent / "nvflare_jobs"
ROOT = Path(__file__).parent.parent.parent
SITES = [f"site-{i}" for i in range(1, 6)]
#: The range at which the granularity is the one of `training.change`.
PROPOSAL: dict[str, Any] = {"clip": 1.9, "max_weight": 1_000_000, "metrics": {"loss": [0.0, 8.0]}, "corrupt": 0}


def require_nvflare() -> None:
    """Skips the tests of a module where NVFlare is not installed."""
    pytest.importorskip("nvflare.collab", reason="NVFlare is not installed; `make check-embed` runs these tests")


def run(job: str, out: Path, *, seconds: float = 240.0, **plan: Any) -> str:
    """One simulator run; returns what it printed. A run that hangs is killed with all its children, and fails."""
    defaults = {
        "sites": SITES, "rounds": 1, "faults": {}, "plain": False, "record": False, "policy": "corrupt = 0",
        "proposal": PROPOSAL, "kind": "full",
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(json.dumps({**defaults, **plan}))
    return program([str(JOBS / job), str(out), str(out / "plan.json")], out, seconds, record=plan.get("record", False))


#: The simulator chooses a port per site, frees it, and has the site's program bind it seconds later. Whoever took it in
#: between (another simulator, any connection of this machine) costs a site before the job has begun.
_PORT_TAKEN = re.compile(r"(run_client_thread error|Communication error with client).*Errno 1(04|11)\b")


def program(arguments: list[str], out: Path, seconds: float = 240.0, *, record: bool = False) -> str:
    """A Python program with all its children, none of which outlives it; what it prints. It is run once more where
    NVFlare has lost the race for its own ports."""
    for attempt in range(3):
        code, text = _program(arguments, out, seconds, record)
        if attempt == 2 or not _PORT_TAKEN.search(text):
            break
        for entry in out.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "plan.json":
                entry.unlink()
    shown = f"{text[:12000]}\n...\n{text[-6000:]}"
    assert code == 0, f"the run {'hung' if code is None else f'ended with {code}'}:\n{shown}"
    return text


def _program(arguments: list[str], out: Path, seconds: float, record: bool) -> tuple[int | None, str]:
    """(exit code, or None if it was stopped; output)."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PRIVCOMP_HOME")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(JOBS), *([str(JOBS / "hook")] if record else [])])
    environment["PRIVCOMP_TEST_RECORD"] = str(out)
    with open(out / "log", "w+b") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=out, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            for pid in reversed(_children(process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()
        log.seek(0)
        return code, log.read().decode("utf-8", "replace")


def _children(pid: int) -> list[int]:
    """All descendants; the simulator starts its sites in sessions of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == pid:
                found += [int(entry.name), *_children(int(entry.name))]
    return found


def ledger(out: Path) -> list[Record]:
    """The records of a run, after a whole audit."""
    with ServerHome.open(out / "homes" / "server") as home:
        assert home.roster is not None
        report = audit(home.folder / "ledger", ledger_key=home.identity.public, roster=home.roster)
        assert report.ok, report
        return list(home.ledger.records())


def survivors(record: Record) -> list[str]:
    """Names of the survivors; simulated sites are called so in every record."""
    assert all(party.startswith(b"simulation-") for party in record.survivors)
    return [party.decode().removeprefix("simulation-") for party in record.survivors]


def check_mean(record: Record, out: Path, number: int, names: tuple[str, ...]) -> tuple[dict[str, Any], float]:
    """The published sum is the weighted mean of what the survivors' training code wrote down, within the bound.

    Returns:
        The mean change of every array, and the mean loss.
    """
    assert record.outcome == COMPLETE
    assert record.aggregate is not None
    spec = RoundSpec.of_bytes(record.params)
    total = np.frombuffer(record.aggregate, dtype="<i8").astype(np.int64)
    decoded = spec.encoding.decode(total, len(record.survivors))
    written = [dict(np.load(out / f"{number}.{site}.npz")) for site in survivors(record)]
    weights = [int(update["weight"]) for update in written]
    assert decoded.total_weight == sum(weights)
    assert decoded.clipped == 0
    means: dict[str, Any] = {}
    at = 0
    for name in names:
        exact = sum(weight * update[name] for weight, update in zip(weights, written, strict=True)) / sum(weights)
        got = decoded.mean[at : at + exact.size].reshape(exact.shape)
        assert np.abs(got - exact).max() < decoded.quantisation_bound
        means[name], at = exact, at + exact.size
    loss = sum(weight * float(update["loss"]) for weight, update in zip(weights, written, strict=True)) / sum(weights)
    low, high = 0.0, 8.0
    got_loss = low + (decoded.mean[at] / spec.encoding.clip_limit + 1) / 2 * (high - low)
    assert abs(got_loss - loss) < decoded.quantisation_bound / spec.encoding.clip_limit * (high - low)
    return means, loss


def needles(out: Path, number: int, received: Mapping[str, Any]) -> dict[str, bytes]:
    """What must not be found: weights, metrics and arrays of every site, raw, as changes, quantised and packed."""
    found: dict[str, bytes] = {}
    for file in sorted(out.glob(f"{number}.site-*.npz")):
        update, site = dict(np.load(file)), file.name.split(".")[1]
        weight, loss = int(update["weight"]), float(update["loss"])
        for order in "<>":
            found[f"{site} weight {order}I"] = struct.pack(order + "I", weight)
            found[f"{site} weight {order}d"] = struct.pack(order + "d", weight)
            found[f"{site} loss {order}d"] = struct.pack(order + "d", loss)
            found[f"{site} secret {order}d"] = struct.pack(order + "d", 0.7316528194537)
        found[f"{site} weight text"] = str(weight).encode()
        found[f"{site} loss text"] = repr(loss).encode()
        found[f"{site} note"] = b"a note of"
        for name, before in received.items():
            new = before + update[name].astype(before.dtype)
            quantised = np.rint(update[name] / 2.0**-14).astype(np.int64).ravel()
            for label, array in (("new", new), ("change", update[name])):
                for dtype in ("<f4", "<f8", ">f4", ">f8"):
                    found[f"{site} {name} {label} {dtype}"] = array.astype(dtype).tobytes()[:24]
            for label, integers in (("q", quantised), ("w q", weight * quantised)):
                for dtype in ("<i2", "<i4", "<i8", ">i4", ">i8"):
                    found[f"{site} {name} {label} {dtype}"] = integers.astype(dtype).tobytes()[:24]
                for bits in range(16, 49):
                    found[f"{site} {name} {label} {bits} bits"] = pack(integers.astype(np.uint64), bits)[:24]
    return found


def found(out: Path, wanted: Mapping[str, bytes], *, before: bool | None = None) -> set[str]:
    """Which of them the server's process received; before or after the mark that the job left, if asked for."""
    haystack = b""
    for name in ("frames", "records"):
        data = (out / name).read_bytes()
        if before is not None:
            mark = json.loads((out / "mark").read_text())[name]
            data = data[:mark] if before else data[mark:]
        haystack += data
    assert len(haystack) > 10_000
    return {label for label, needle in wanted.items() if needle in haystack}
