"""Computing on shares: parties as processes on loopback over plain TCP, with TLS beside, against MPyC's and SPU's.

All sides run three processes, one party each, that withstand one which looks but does not lie. Seconds are those
between two barriers, of the slowest party; the connections are there already, and so are the shares of the inputs.
MPyC runs on a smaller size and is scaled: linearly, and matrix products with the number of their entries, which leaves
out that its products grow faster. SPU runs on the whole size and stands beside, in `params`. At the small size of
`--quick` all our parties are in this process, MPyC has one, and SPU does not run.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness import ROOT, Case, Mismatch, Peer, Row, Target, Unavailable, expect
from bench.mpc_party import party
from bench.peers import mpyc, spu
from privcomp.integrations import PartyHome

__all__ = ["MPC_ROWS"]

_PARTIES = 3
_TIMEOUT = 900


def _results(commands: list[list[str]], fds: list[int]) -> list[dict[str, Any]]:
    """What processes print that run at the same time; all are gone afterwards."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        running = []
        for command in commands:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, pass_fds=fds, text=True, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        found = []
        for process in running:
            out, err = process.communicate(timeout=_TIMEOUT)
            if process.returncode:
                raise Mismatch(f"a party failed: {err.strip()[-500:]}")
            found.append(json.loads(out.strip().splitlines()[-1]))
        return found


def _ours(
    operation: str,
    size: int,
    repeats: int,
    protocol: str = "rep3",
    parties: int = _PARTIES,
    *,
    tls: bool = False,
    apart: bool = True,
) -> dict[str, Any]:
    """`apart`: a process each; else all in this one, for a first look."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(parties)]
        for i in range(parties):
            PartyHome.create(folder / f"party-{i}", b"party-%d" % i)
        shared = {
            "operation": operation,
            "size": size,
            "repeats": repeats,
            "protocol": protocol,
            "tls": tls,
            "ports": [listener.getsockname()[1] for listener in listeners],
            "certificates": [str(folder / f"party-{i}" / f"party-{i}.pem") for i in range(parties)],
        }
        own = [
            {**shared, "me": i, "folder": str(folder / f"party-{i}"), "listener": listener.fileno()}
            for i, listener in enumerate(listeners)
        ]
        if apart:
            commands = [[sys.executable, "-m", "bench.mpc_party", json.dumps(each)] for each in own]
            found = _results(commands, [listener.fileno() for listener in listeners])
        else:
            found = asyncio.run(_together(own, listeners))
    return {
        "seconds": [max(times) for times in zip(*(each["seconds"] for each in found), strict=True)],
        "cpu": statistics.median(sum(times) for times in zip(*(each["cpu"] for each in found), strict=True)),
        "sent": max(each["bytes"] for each in found),
        "rounds": max(each["rounds"] for each in found),
    }


async def _together(own: list[dict[str, Any]], listeners: list[socket.socket]) -> list[dict[str, Any]]:
    works = (party(each, listener) for each, listener in zip(own, listeners, strict=True))
    return list(await asyncio.gather(*works))


def _all(operation: str, size: int, repeats: int, four: bool, beside_spu: int) -> dict[str, Any]:
    """The measured run, and beside it TLS, SPU and, where the operation has it, four parties one of whom may lie."""
    found = _ours(operation, size, repeats)
    fewer = max(3, repeats // 3)
    found["tls_s"] = statistics.median(_ours(operation, size, fewer, tls=True)["seconds"])
    if four:
        rep4 = _ours(operation, size, fewer, "rep4", 4)
        found["rep4_s"], found["rep4_sent_per_item"] = statistics.median(rep4["seconds"]), rep4["sent"] / size
        found["rep4_over_rep3"] = found["rep4_s"] / statistics.median(found["seconds"])
    if beside_spu and (other := spu()) is not None:
        found["spu"] = other.name
        found["spu_s"] = statistics.median(_spu(other.python, operation, size, beside_spu))
        found["spu_over_ours"] = found["spu_s"] / statistics.median(found["seconds"])
    return found


def _free_ports(parties: int) -> list[int]:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(parties)]
        return [each.getsockname()[1] for each in free]


def _spu(python: str, operation: str, size: int, repeats: int) -> list[float]:
    ports = [str(port) for port in _free_ports(_PARTIES)]
    common = [python, "-m", "bench.spu_party"]
    commands = [[*common, str(i), operation, str(size), str(repeats), *ports] for i in range(_PARTIES)]
    found = _results(commands, [])
    expect(found[0]["exact"], "SPU's result is not the plain one")
    return [max(times) for times in zip(*(each["seconds"] for each in found), strict=True)]


def _mpyc(operation: str, size: int, parties: int) -> list[float]:
    ports = _free_ports(parties)
    where = [[*(f"-P127.0.0.1:{port}" for port in ports), "-I", str(i)] for i in range(parties)]
    common = [sys.executable, "-m", "bench.mpyc_party", operation, str(size), "--no-log"]
    found = _results([[*common, *(each if parties > 1 else [])] for each in where], [])
    expect(all(each["exact"] for each in found), "MPyC's result is not the plain one")
    return [max(each["seconds"] for each in found)]


def _available_gb() -> float:
    """Memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) / 2**20
    raise Unavailable("nothing says how much memory there is")


@dataclass(frozen=True)
class _Work:
    """What a row measures.

    Attributes:
        operation: a name in `bench.mpc_party.OPERATIONS`.
        size, quick: its size, and the small one.
        peer: MPyC's size, its small one, and the power of the size that its time is scaled by; None: it has none.
        spu: how often SPU does the same work on the whole size; 0: it does not.
        four: whether rep4 is measured beside.
        memory_gb: with less at hand the row does not run.
    """

    operation: str
    size: int
    quick: int
    peer: tuple[int, int, float] | None = None
    spu: int = 0
    repeats: int = 15
    four: bool = True
    memory_gb: float = 0.0

    def case(self, quick: bool, want_peer: bool) -> Case:
        size = self.quick if quick else self.size
        if not quick and self.memory_gb and _available_gb() < self.memory_gb:
            raise Unavailable(f"it takes {self.memory_gb:g} GB, and {_available_gb():.1f} GB are at hand")
        params: dict[str, Any] = {
            "n": size,
            "parties": _PARTIES,
            "protocol": "rep3",
            "transport": "plain TCP, loopback",
        }
        peer = Peer("MPyC" if self.peer is not None else "none: MPyC has no such operation", None, repeats=1)
        if self.peer is not None and want_peer and (found := mpyc()) is not None:
            smaller = min(self.peer[1 if quick else 0], size)
            parties = 1 if quick else _PARTIES
            scale = (size / smaller) ** self.peer[2]
            peer = Peer(found.name, partial(_mpyc, self.operation, smaller, parties), scale=scale, repeats=1)
            params |= {"peer_n": smaller, "peer_scaled_by": scale, "peer_parties": parties}
        ours = (
            partial(_ours, self.operation, size, 2, apart=False)
            if quick
            else partial(_all, self.operation, size, self.repeats, self.four, self.spu if want_peer else 0)
        )
        return Case(
            ours=ours,
            peer=peer,
            check=_check,
            params=params,
            report=partial(_report, size),
            repeats=1,
            rounds=lambda result: result["seconds"] if isinstance(result, dict) else result,
        )


def _check(ours: dict[str, Any], _: Any) -> None:
    # Each side has compared what it opened with plain integers.
    expect(ours["seconds"] and ours["sent"] > 0, "nothing was measured")


def _report(size: int, ours: dict[str, Any], _: float) -> dict[str, Any]:
    beside = {name: ours[name] for name in ours if name.startswith(("tls", "rep4", "spu"))}
    params = {"sent_per_item": ours["sent"] / size, "cpu_of_all_s": ours["cpu"], **beside}
    return {"bytes_up": ours["sent"], "rounds": ours["rounds"], "params": params}


def _row(name: str, title: str, work: _Work, *targets: Target) -> Row:
    return Row(name, title, work.case, targets)


MPC_ROWS = (
    _row(
        "mpc.mul.1e6",
        "a million products, three parties",
        _Work("mul", 10**6, 10**4, (10**5, 10**4, 1.0), spu=7),
        Target("ours_s", at_most=0.05),
        Target("ratio", at_least=40),
    ),
    _row(
        "mpc.compare.1e5",
        "1e5 comparisons of 64 bits, the bit left Boolean",
        _Work("compare", 10**5, 10**3, (2000, 10, 1.0), spu=7),
        Target("ours_s", at_most=0.02),
        Target("params.sent_per_item", at_most=35),
        Target("ratio", at_least=1000),
    ),
    _row(
        "mpc.matmul.512",
        "512 x 512 matrices, fixed point, truncated",
        _Work("matmul", 512, 32, (128, 8, 2.0), spu=7),
        Target("ours_s", at_most=0.03),
        Target("ratio", at_least=1500),
    ),
    _row(
        "mpc.median.10x1e4",
        "median of ten, 1e4 coordinates of 16 bits",
        _Work("median", 10**4, 200, (100, 2, 1.0), spu=3),
        Target("ours_s", at_most=0.05),
        Target("ratio", at_least=1500),
    ),
    _row(
        "mpc.gram.20x1e5",
        "Gram matrix of 20 vectors of 1e5",
        _Work("gram", 10**5, 10**3, (10**4, 10**2, 1.0), spu=1),
        Target("ours_s", at_most=0.02),
    ),
    _row(
        "mpc.extend.1e6",
        "1e6 shares of 16 bits to shares of 64",
        _Work("extend", 10**6, 10**4, repeats=5, four=False),
        Target("params.sent_per_item", at_most=25),
    ),
    _row(
        "mpc.krum.100x1e6",
        "multi-Krum among 100 clients, from extended shares to the opened sum",
        _Work("krum", 10**6, 10**3, repeats=3, four=False, memory_gb=12),
        Target("ours_s", at_most=2.0),
    ),
    _row(
        "mpc.rounds.100",
        "100 rounds of eight bytes each: what a round costs by itself",
        _Work("rounds", 100, 10, four=False),
        Target("ours_s", at_most=0.03),
    ),
)
