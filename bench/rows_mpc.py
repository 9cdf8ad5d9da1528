"""Computing on shares: parties as processes on loopback over plain TCP, with TLS beside, against MPyC's.

Both sides run three processes, one party each, that withstand one which looks but does not lie. Seconds are those
between two barriers, of the slowest party; the connections are there already, and so are the shares of the inputs.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness import ROOT, Case, Mismatch, Peer, Row, Target, expect
from bench.peers import absent, mpyc
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


def _ours(operation: str, size: int, repeats: int, protocol: str, parties: int, tls: bool) -> dict[str, Any]:
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
        commands = []
        for i, listener in enumerate(listeners):
            own = {"me": i, "folder": str(folder / f"party-{i}"), "listener": listener.fileno()}
            commands.append([sys.executable, "-m", "bench.mpc_party", json.dumps({**shared, **own})])
        found = _results(commands, [listener.fileno() for listener in listeners])
    return {
        "seconds": [max(times) for times in zip(*(each["seconds"] for each in found), strict=True)],
        "cpu": statistics.median(sum(times) for times in zip(*(each["cpu"] for each in found), strict=True)),
        "sent": max(each["bytes"] for each in found),
        "rounds": max(each["rounds"] for each in found),
    }


def _both(operation: str, size: int, repeats: int, protocol: str = "rep3", parties: int = _PARTIES) -> dict[str, Any]:
    found = _ours(operation, size, repeats, protocol, parties, False)
    found["tls"] = statistics.median(_ours(operation, size, max(3, repeats // 3), protocol, parties, True)["seconds"])
    return found


def _mpyc(operation: str, size: int) -> list[float]:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(_PARTIES)]
        ports = [each.getsockname()[1] for each in free]
    addresses = [f"-P127.0.0.1:{port}" for port in ports]
    commands = [
        [sys.executable, "-m", "bench.mpyc_party", operation, str(size), *addresses, "-I", str(i), "-T1", "--no-log"]
        for i in range(_PARTIES)
    ]
    found = _results(commands, [])
    expect(all(each["exact"] for each in found), "MPyC's result is not the plain one")
    return [max(each["seconds"] for each in found)]


def _case(
    operation: str,
    size: int,
    quick_size: int,
    peer: tuple[int, int, float] | None,
    quick: bool,
    want_peer: bool,
    repeats: int = 15,
) -> Case:
    """`peer`: MPyC's size, its quick size, and by what power of the size its time grows."""
    count = quick_size if quick else size
    other = absent("MPyC")
    params: dict[str, Any] = {"n": count, "parties": _PARTIES, "protocol": "rep3", "transport": "plain TCP, loopback"}
    if peer is None:
        other = absent("MPyC (has none)")
    elif want_peer and (found := mpyc()) is not None:
        smaller = min(peer[1] if quick else peer[0], count)
        other = Peer(found.name, partial(_mpyc, operation, smaller), scale=(count / smaller) ** peer[2], repeats=1)
        params["peer_n"], params["peer_scaled_by"] = smaller, other.scale

    def check(ours: dict[str, Any], _: Any) -> None:
        expect(ours["seconds"] and ours["sent"] > 0, "nothing was measured")  # the parties have compared the results

    def report(ours: dict[str, Any], _: float) -> dict[str, Any]:
        return {
            "bytes_up": ours["sent"],
            "rounds": ours["rounds"],
            "params": {"sent_per_item": ours["sent"] / count, "tls_s": ours["tls"], "cpu_of_all_s": ours["cpu"]},
        }

    return Case(
        ours=partial(_both, operation, count, 3 if quick else repeats),
        peer=other,
        check=check,
        params=params,
        report=report,
        repeats=1,
        rounds=lambda result: result["seconds"] if isinstance(result, dict) else result,
    )


def _row(
    name: str,
    title: str,
    operation: str,
    size: int,
    quick_size: int,
    peer: tuple[int, int, float] | None,
    *targets: Target,
    **options: Any,
) -> Row:
    build: Callable[[bool, bool], Case] = partial(_case, operation, size, quick_size, peer, **options)
    return Row(name, title, lambda quick, want_peer: build(quick, want_peer), targets)


MPC_ROWS = (
    _row(
        *("mpc.mul.1e6", "a million products, three parties", "mul", 10**6, 10**4, (10**5, 10**4, 1.0)),
        Target("ours_s", at_most=0.05),
        Target("ratio", at_least=40),
    ),
    _row(
        *("mpc.compare.1e5", "1e5 comparisons of 64 bits, the bit left Boolean", "compare", 10**5, 10**3),
        (2000, 100, 1.0),
        Target("ours_s", at_most=0.02),
        Target("params.sent_per_item", at_most=35),
        Target("ratio", at_least=1000),
    ),
    _row(
        *("mpc.matmul.512", "512 x 512 matrices, fixed point, truncated", "matmul", 512, 32, (128, 16, 2.0)),
        Target("ours_s", at_most=0.03),
        Target("ratio", at_least=1500),
    ),
    _row(
        *("mpc.median.10x1e4", "median of ten, 1e4 coordinates of 16 bits", "median", 10**4, 200, (100, 10, 1.0)),
        Target("ours_s", at_most=0.05),
        Target("ratio", at_least=1500),
    ),
    _row(
        *("mpc.gram.20x1e5", "Gram matrix of 20 vectors of 1e5", "gram", 10**5, 10**3, (10**4, 10**3, 1.0)),
        Target("ours_s", at_most=0.02),
    ),
    _row(
        *("mpc.extend.1e6", "1e6 shares of 16 bits to shares of 64", "extend", 10**6, 10**4, None),
        Target("params.sent_per_item", at_most=25),
        repeats=5,
    ),
    _row(
        *("mpc.rounds.100", "100 rounds with eight bytes each", "rounds", 100, 10, None),
        Target("ours_s", at_most=0.03),
    ),
)
