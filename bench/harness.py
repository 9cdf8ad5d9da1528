"""What a row is and how it is measured.

A row does the same work twice, with this library and with a peer. First both run once and a check compares what they
computed; then they run in turns, and the medians are reported. Nothing is reported for a comparison that fails.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from privcomp import _core

__all__ = [
    "FIELDS",
    "Case",
    "Mismatch",
    "Peer",
    "Row",
    "Target",
    "Unavailable",
    "environment",
    "expect",
    "measure",
    "network_model",
]

ROOT = Path(__file__).resolve().parent.parent

#: The fields of a row, in the order in which they are printed.
FIELDS = (
    "id",
    "ours_s",
    "peer_s",
    "peer",
    "ratio",
    "spread",
    "bytes_up",
    "bytes_down",
    "peer_bytes_up",
    "rounds",
    "peak_mb",
    "verify_s",
    "decrypt_s",
    "client_s",
    "server_s",
    "tables_mb",
    "error",
    "params",
    "env",
)

#: Round-trip time in seconds and bandwidth in bytes per second of the stated network model.
NETWORKS = {"lan": (1e-3, 10e9 / 8), "wan": (40e-3, 100e6 / 8)}


class Mismatch(Exception):
    """The two sides of a row did not compute the same thing."""


class Unavailable(Exception):
    """A row cannot run here: not only its peer is missing, but what our side runs in."""


def expect(condition: object, what: str) -> None:
    """Raises Mismatch unless the condition holds (an `assert` that `python -O` keeps)."""
    if not condition:
        raise Mismatch(what)


@dataclass(frozen=True)
class Target:
    """What a full-size run is held to.

    Attributes:
        value: a field of the row, or "params.NAME".
        at_least, at_most: the bound; exactly one of them.
        levels: it applies where this is the machine's best dispatch level; empty: everywhere.
    """

    value: str
    at_least: float | None = None
    at_most: float | None = None
    levels: tuple[str, ...] = ()

    def applies(self) -> bool:
        return not self.levels or _core.available_levels()[-1] in self.levels

    def met(self, row: Mapping[str, Any]) -> bool:
        """Whether a measured row keeps the bound; a value that was not measured does not."""
        found = self.seen(row)
        if found is None:
            return False
        return found >= self.at_least if self.at_least is not None else found <= (self.at_most or 0.0)

    def seen(self, row: Mapping[str, Any]) -> float | None:
        at: Any = row
        for name in self.value.split("."):
            at = at.get(name) if isinstance(at, Mapping) else None
        return None if at is None else float(at)

    def __str__(self) -> str:
        sign, bound = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        return f"{self.value.removeprefix('params.')} {sign} {bound:g}"


@dataclass
class Peer:
    """The other side.

    Attributes:
        name: name and version; the name alone where it is not installed.
        run: the work, or None where it is not installed.
        scale: what its seconds are multiplied by, where it runs on a smaller size (params say so).
        report: further fields from its result.
        repeats: at most this many timed runs, for very slow peers; 1: the run that is checked is the one that counts.
    """

    name: str
    run: Callable[[], Any] | None
    scale: float = 1.0
    report: Callable[[Any], dict[str, Any]] | None = None
    repeats: int = 1 << 30


@dataclass
class Case:
    """A row that is ready to run: its inputs exist.

    Attributes:
        ours: the work.
        peer: the other side.
        check: compares the results of both sides (the second is None where the peer is missing); raises Mismatch.
        params: what the row states about itself.
        before: run before each of our runs, outside the timed part.
        report: further fields, from the result of our median run and its seconds; "params" among them is merged.
        repeats: timed runs of each side; 1: the run that is checked is the one that counts.
        level: dispatch level forced for our side.
        rounds: the seconds of the rounds in one run, from its result (of either side): they count instead of the
            run's own seconds, which include starting what the rounds run in.
        loops: calls in one timed run of either side, whose mean counts: for work that a round does many times in a row
            and that is shorter than what it takes to come back into the caches.
        output: bytes of our result (or the peer's), which do not count in the peak memory; None: they do.
    """

    ours: Callable[[], Any]
    peer: Peer
    check: Callable[[Any, Any], None]
    params: dict[str, Any]
    before: Callable[[], None] | None = None
    report: Callable[[Any, float], dict[str, Any]] | None = None
    repeats: int = 9
    level: str | None = None
    rounds: Callable[[Any], Sequence[float]] | None = None
    loops: int = 1
    output: Callable[[Any], int] | None = None


@dataclass(frozen=True)
class Row:
    """A row: its id, what it compares, its targets.

    Attributes:
        build: makes the Case; arguments: whether a smaller size is wanted, whether the peer's side is.
        memory: measure the peak memory as well, in a process of its own.
    """

    id: str
    title: str
    build: Callable[[bool, bool], Case]
    targets: tuple[Target, ...] = ()
    memory: bool = False
    notes: str = field(default="", compare=False)


def environment(level: str | None = None) -> dict[str, Any]:
    """Commit, CPU model, dispatch level, threads and Python of this run."""
    return {
        "commit": _commit(),
        "cpu": _cpu(),
        "level": level or _core.level(),
        "threads": 1,
        "python": platform.python_version(),
    }


def _commit() -> str:
    """The commit; "+" behind it where tracked or new files differ from it, "unknown" outside of a repository."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in found:
        return platform.processor() or platform.machine()
    # Clouds hide the model's name; family and model number tell it all the same.
    return f"{found['model name']} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def network_model(cpu_s: float, rounds: int, sent: float) -> dict[str, float]:
    """Stated network time, CPU + rounds * RTT + bytes / bandwidth: LAN (1 ms, 10 Gb/s) and WAN (40 ms, 100 Mb/s).

    Args:
        cpu_s: seconds of one client and of the server.
        rounds: client rounds.
        sent: bytes up and down of one client.
    """
    return {f"{name}_s": cpu_s + rounds * rtt + sent / rate for name, (rtt, rate) in NETWORKS.items()}


def measure(row: Row, *, quick: bool, repeats: int | None = None) -> dict[str, Any]:
    """Run a row.

    Args:
        quick: the smaller size, few repeats.
        repeats: timed runs of each side, instead of the row's own number.

    Returns:
        The fields of the row, ready for JSON.

    Raises:
        Mismatch: the two sides did not compute the same thing.
        Unavailable: our side cannot run here.
    """
    case = row.build(quick, True)
    times = repeats or (min(case.repeats, 3) if quick else case.repeats)
    extra: dict[str, Any] = {}
    # The first run of each side is checked; it counts only where it is the only one, as it may have warmed things up.
    first = _ours(case)
    peer_first = _timed(case.peer.run) if case.peer.run else None
    case.check(first[1], peer_first[1] if peer_first is not None else None)
    if case.peer.report is not None and peer_first is not None:
        extra.update(case.peer.report(peer_first[1]))
    runs = [(_seconds(case, first), first[1])] if times == 1 else []
    peer_times = min(times if case.repeats > 1 else case.peer.repeats, case.peer.repeats)
    peer_runs = [_seconds(case, peer_first)] if peer_times == 1 and peer_first is not None else []
    del first, peer_first
    for _ in range(max(times, peer_times)):
        if len(runs) < times:
            timed = _ours(case, case.loops)
            # What is large must not pile up where nobody asks for it.
            runs.append((_seconds(case, timed), timed[1] if case.report is not None else None))
            del timed
        if case.peer.run is not None and len(peer_runs) < peer_times:
            peer_runs.append(_seconds(case, _timed(case.peer.run, loops=case.loops)))
    ours_runs = sorted(chain.from_iterable(seconds for seconds, _ in runs))
    ours_s = statistics.median(ours_runs)
    peer_s = statistics.median(chain.from_iterable(peer_runs)) * case.peer.scale if peer_runs else None
    params = dict(case.params)
    if case.report is not None:
        middle = min(runs, key=lambda run: abs(statistics.median(run[0]) - ours_s))
        reported = case.report(middle[1], ours_s)
        params.update(reported.pop("params", {}))
        extra.update(reported)
    params.update(extra.pop("params", {}))
    if row.memory:
        extra["peak_mb"] = _peak_mb(row, quick=quick, peer=False)
        if case.peer.run is not None:
            params["peer_peak_mb"] = _peak_mb(row, quick=quick, peer=True)
    values = {
        "id": row.id,
        "ours_s": ours_s,
        "peer_s": peer_s,
        "peer": case.peer.name,
        "ratio": peer_s / ours_s if peer_s is not None else None,
        "spread": [ours_runs[0], ours_runs[-1]],
        "params": params,
        "env": environment(case.level),
        **extra,
    }
    if quick:
        params["quick"] = True
    return {name: values[name] for name in FIELDS if name in values}


def _ours(case: Case, loops: int = 1) -> tuple[float, Any]:
    forced = _core.level()
    try:
        if case.level is not None:
            _core.force_level(case.level)
        return _timed(case.ours, case.before, loops)
    finally:
        _core.force_level(forced)


def _timed(work: Callable[[], Any], before: Callable[[], None] | None = None, loops: int = 1) -> tuple[float, Any]:
    gc.collect()  # walks through megabytes of objects: what `before` prepares comes after it
    if before is not None:
        before()
    began = time.perf_counter()
    for _ in range(loops - 1):
        work()
    result = work()
    return (time.perf_counter() - began) / loops, result


def _seconds(case: Case, timed: tuple[float, Any]) -> list[float]:
    """The seconds of a run that count."""
    return [timed[0]] if case.rounds is None else list(case.rounds(timed[1]))


def _peak_mb(row: Row, *, quick: bool, peer: bool) -> float:
    """Peak resident memory above the inputs, in MB: the first run in a fresh process."""
    command = [sys.executable, "-m", "bench.memory", row.id]
    command += ["--quick"] * quick + ["--peer"] * peer
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600, env=dict(os.environ))
    if done.returncode:
        raise RuntimeError(f"the memory of {row.id} could not be measured: {done.stderr.strip()[-500:]}")
    peak: float = json.loads(done.stdout)["peak_mb"]
    return peak
