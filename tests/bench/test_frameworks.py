"""The rows `embed.*` at their small size: what they print; that the plain run and ours agree, they check themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import rows_frameworks
from bench.apps import training
from bench.harness import Mismatch, Peer, Row, measure
from bench.rows import ROWS
from bench.rows_frameworks import Run
from tests.bench.test_bench import check_row, run_bench


def run_row(name: str) -> None:
    done = run_bench("--quick", "--json", "--only", name)
    assert done.returncode == 0, done.stderr
    (row,) = map(json.loads, done.stdout.splitlines())
    check_row(row)
    assert row["rounds"] == 5
    assert {"n", "d", "setup_s", "first_s", "peer_setup_s", "peer_first_s", "bound", "load"} <= set(row["params"])
    d = row["params"]["d"]
    assert row["peer_bytes_up"] > 4 * d  # float32
    assert row["bytes_up"] > 3 * d  # 16 bits and the bits that sums and weights need


def test_over_tcp() -> None:
    run_row("embed.tcp.1e4")


@pytest.mark.parametrize(
    ("name", "modules"), [("embed.flower.sim.1e4", ("flwr", "ray")), ("embed.nvflare.1e4", ("nvflare",))]
)
def test_inside_a_framework(name: str, modules: tuple[str, ...]) -> None:
    for module in modules:
        pytest.importorskip(module, reason=f"{module} is not installed here; `make check-embed` runs these tests")
    run_row(name)


def test_a_framework_that_is_missing_gives_a_note_and_no_row() -> None:
    code = """
import importlib.util, runpy
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("flwr", "nvflare") else find(name, *rest)
runpy.run_module("bench", run_name="__main__", alter_sys=True)
"""
    done = run_bench("--quick", "--json", "--only", "embed.flower,embed.nvflare", code=code)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("cannot run here") == 6


def test_no_framework_is_imported_for_the_list() -> None:
    code = """
import runpy, sys
sys.argv.append("--list")
try:
    runpy.run_module("bench", run_name="__main__", alter_sys=True)
finally:
    print([name for name in ("flwr", "ray", "nvflare", "tests") if name in sys.modules], file=sys.stderr)
"""
    done = run_bench(code=code)
    assert done.stderr == "[]\n"
    assert "embed.flower.deploy.1e5" in done.stdout


def run_of(turns: int, error: float, seconds: tuple[float, ...] = (9.0, 2.0, 1.0, 3.0)) -> Run:
    sites, entries = range(4), 50
    models = {turn: training.exact(sites, entries, turn).astype(np.float32) for turn in range(1, turns + 1)}
    models[turns][7] += error
    return Run(1.0, list(seconds), 10.0, 20.0, models)


def row_of(ours: Run, plain: Run) -> Row:
    case = rows_frameworks._case(lambda: ours, Peer("plain", lambda: plain, repeats=1), range(4), 50, 4, {})
    return Row("test.row", "a | b", lambda quick, peers: case)


def test_the_rounds_after_the_first_count() -> None:
    found = measure(row_of(run_of(4, 0.0), run_of(4, 0.0, (7.0, 0.5, 0.5, 0.25))), quick=False)
    assert (found["ours_s"], found["peer_s"], found["spread"]) == (2.0, 0.5, [1.0, 3.0])
    assert (found["params"]["first_s"], found["params"]["peer_first_s"]) == (9.0, 7.0)
    assert (found["bytes_up"], found["bytes_down"], found["peer_bytes_up"]) == (10, 20, 10)


@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        (run_of(4, 1e-3), run_of(4, 0.0)),  # more than four steps of 2^-15
        (run_of(4, 0.0), run_of(4, 1e-4)),  # less than that, which a plain mean must not be off
        (run_of(4, 0.0, (1.0, 1.0)), run_of(4, 0.0)),
    ],
)
def test_a_model_that_is_off_gives_no_row(ours: Run, plain: Run) -> None:
    with pytest.raises(Mismatch):
        measure(row_of(ours, plain), quick=False)


def test_the_rows_exist() -> None:
    names = ("flower.sim", "flower.deploy", "nvflare", "tcp")
    assert {f"embed.{name}.{size}" for name in names for size in ("1e4", "1e5")} <= set(ROWS)
