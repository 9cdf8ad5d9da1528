"""The bench harness: every row runs at its small size, and what it prints has the stated form. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.harness import FIELDS, Case, Mismatch, Peer, Row, Target, expect, measure, network_model
from bench.plot import plot_scale
from bench.rows import ROWS
from bench.rows_embed import server_memory
from bench.rows_frameworks import FRAMEWORK_ROWS

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = {"id", "ours_s", "peer_s", "peer", "ratio", "spread", "params", "env"}
IDS = {
    "secagg.keystream.1e7",
    "secagg.mask.1e6",
    "secagg.client.1e6x100",
    "secagg.shamir.100x67",
    "secagg.server.n50",
    "secagg.round.n1000",
    "embed.scale.n10",
    "embed.scale.n100",
    "embed.scale.n1000",
    "embed.scale.n10000",
    "embed.scale.server",
    "core.shamir.1e6.50of100",
    "core.shamir.1e6.50of100.portable",
    "dp.gaussian.1",
    "dp.gaussian.10",
    "dp.gaussian.1e3",
    "dp.gaussian.1e6",
    "dp.laplace.1",
    "dp.laplace.100",
    "dp.laplace.4096",
    "dp.skellam.1",
    "dp.skellam.100",
    "dp.skellam.4096",
    "dp.encode.1e6",
    "dp.encode.1e6.ddg",
    "dp.mean.n100",
    "he.ckks.1e6",
    "he.rlwe.1e6",
    "he.rlwe.1e6.n1000",
    "he.rlwe.1e6.portable",
    "he.ntt.4096",
    "he.ntt.4096.portable",
    "oneshot.n100.d1e6",
    "oneshot.n1000.d1e5",
    "mpc.share.additive",
    "mpc.share.shamir.50of100.1e6",
    "mpc.mul.1e6",
    "mpc.compare.1e5",
    "mpc.matmul.512",
    "mpc.median.10x1e4",
    "mpc.gram.20x1e5",
    "mpc.extend.1e6",
    "mpc.krum.100x1e6",
    "mpc.rounds.100",
}
# A peer that cannot be imported: what a user without the extra has.
WITHOUT_PEERS = """
import runpy, sys
sys.modules.update(flwr=None, mpyc=None)
runpy.run_module("bench", run_name="__main__", alter_sys=True)
"""


def run_bench(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "bench"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ),
    )


def check_row(row: dict[str, Any]) -> None:
    assert set(row) <= set(FIELDS)
    assert set(row) >= REQUIRED
    assert row["ours_s"] > 0
    assert len(row["spread"]) == 2
    assert row["spread"][0] <= row["ours_s"] <= row["spread"][1]
    assert (row["peer_s"] is None) == (row["ratio"] is None)
    if row["peer_s"] is not None:
        assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
    assert set(row["env"]) == {"commit", "cpu", "level", "threads", "python"}
    assert row["params"]["quick"] is True


def check_oneshot(row: dict[str, Any], rosters: tuple[int, int]) -> None:
    """One message a client, of the same size in both rosters; every role and both protocols of masks are there."""
    params = row["params"]
    assert row["rounds"] == 1
    assert min(row["client_s"], row["server_s"], row["decrypt_s"], params["member_s"]) > 0
    assert row["decrypt_s"] < row["server_s"]
    assert [params[f"bytes_up_n{n}"] for n in rosters] == [row["bytes_up"]] * 2
    assert min(params[f"client_s_n{n}"] for n in rosters) > 0
    clients, members = params["n"] - params["dropouts"], int(params["committee"].split()[1])
    sent = params["server_bytes_in"] - clients * row["bytes_up"]
    # Who vanished sent less than the median member.
    assert (members - params["dropouts_members"]) * params["member_bytes_up"] <= sent
    assert sent <= members * params["member_bytes_up"]
    for protocol, rounds in (("bonawitz", 5), ("secaggplus", 4)):
        assert params[f"{protocol}_rounds"] == rounds
        assert params[f"{protocol}_client_s"] > 0
        assert params[f"{protocol}_bytes_up"] > 0


def test_every_row_runs_at_its_small_size_with_or_without_peers() -> None:
    """The rows of whole frameworks: tests/bench/test_frameworks.py."""
    frameworks = {row.id for row in FRAMEWORK_ROWS}
    names = [name for name in ROWS if name not in frameworks]
    done = run_bench("--quick", "--json", "--repeats", "1", "--only", ",".join(names))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == names
    for row in rows:
        check_row(row)
    by_id = {row["id"]: row for row in rows}
    assert by_id["secagg.client.1e6x100"]["peak_mb"] > 0
    assert by_id["secagg.client.1e6x100"]["bytes_up"] > 4 * 10**4
    whole = by_id["secagg.round.n1000"]
    assert {"bytes_up", "bytes_down", "rounds", "client_s", "server_s", "peak_mb"} <= set(whole)
    assert {"lan_s", "wan_s", "bytes_per_parameter"} <= set(whole["params"])
    assert by_id["core.shamir.1e6.50of100.portable"]["env"]["level"] == "portable"
    for name, rosters in (("oneshot.n100.d1e6", (12, 16)), ("oneshot.n1000.d1e5", (24, 28))):
        check_oneshot(by_id[name], rosters)


def test_a_missing_peer_is_null_with_a_note_and_no_made_up_number() -> None:
    done = run_bench("--quick", "--json", "--only", "secagg.mask.1e6,secagg.shamir.100x67", code=WITHOUT_PEERS)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["peer_s"], row["ratio"]) for row in rows] == [(None, None), (None, None)]
    assert done.stderr.count("Flower is not installed") == 1


def test_all_rows_that_are_promised_exist() -> None:
    assert set(ROWS) >= IDS
    assert all(row.id == name for name, row in ROWS.items())


def test_the_scale_rows_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--only embed.scale` names the whole group; parts of a client's time add up; the picture is a PNG."""
    picture = tmp_path / "scale.png"
    wanted = "embed.scale.n10,embed.scale.n100,embed.scale.n1000"
    assert main(["--quick", "--json", "--only", wanted, "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    rows = [json.loads(line) for line in printed.splitlines()]
    for row in rows:
        check_row(row)
        parts = [row["params"][f"client_{part}_s"] for part in ("vector", "keys", "sets")]
        assert min(parts) > 0
        assert sum(parts) == pytest.approx(row["client_s"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    saved = tmp_path / "rows.jsonl"
    saved.write_text(printed)
    again = [sys.executable, "-m", "bench.plot", str(saved), str(tmp_path / "again.png")]
    subprocess.run(again, cwd=ROOT, check=True, timeout=120)
    assert (tmp_path / "again.png").stat().st_size < 60_000
    with pytest.raises(ValueError, match="was measured"):
        plot_scale([], str(picture))


def test_the_errors_of_the_mean_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The row brings a point for every plan, each near its closed form; the picture is a PNG."""
    picture = tmp_path / "mean.png"
    assert main(["--quick", "--json", "--only", "dp.mean", "--plot", str(picture)]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    check_row(row)
    points = row["params"]["points"]
    assert len({(p["mechanism"], p["epsilon"], p["plan"]) for p in points}) == len(points) == 8
    assert all(p["mse"] > p["central"] for p in points)
    assert row["params"]["worst_deviation"] <= 4.0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 60_000


def test_the_server_holds_its_sum_and_its_pairs_but_no_uploads() -> None:
    """O(d + n k): each further entry costs some bytes of the sum and of one upload on its way, not n packed values."""
    n, short, long = 40, 10_000, 60_000
    (few, _), (many, _) = server_memory(n, short), server_memory(n, long)
    packed_bytes_per_entry = 22 / 8  # of one upload
    assert (many - few) / (long - short) < 24 < n * packed_bytes_per_entry / 4


def test_the_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(ROWS)


@pytest.mark.parametrize("arguments", [["--only", "no.such.row"], ["--check", "--quick"], ["--repeats", "0"]])
def test_wrong_usage_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().out == ""


def row_of(case: Case, *targets: Target) -> Row:
    return Row("test.row", "a | b", lambda quick, peers: case, targets)


def equal(ours: Any, peer: Any) -> None:
    expect(ours == peer, f"{ours} is not {peer}")


def test_a_comparison_that_fails_gives_no_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = row_of(Case(lambda: 1, Peer("peer 1", lambda: 2), equal, {}))
    with pytest.raises(Mismatch):
        measure(row, quick=True)
    monkeypatch.setitem(ROWS, "test.row", row)
    assert main(["--json", "--only", "test.row"]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert "did not compute the same thing: 1 is not 2" in found.err


@pytest.mark.parametrize(("targets", "status"), [((), 0), ((Target("ratio", at_most=0.0),), 1)])
def test_check_names_the_targets_that_were_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], targets: tuple[Target, ...], status: int
) -> None:
    monkeypatch.setitem(ROWS, "test.row", row_of(Case(lambda: 1, Peer("peer 1", lambda: 1), equal, {}), *targets))
    assert main(["--json", "--check", "--only", "test.row"]) == status
    assert ("target missed: test.row: ratio <= 0" in capsys.readouterr().err) == bool(status)


def test_a_target_on_what_was_not_measured_is_missed() -> None:
    target = Target("ratio", at_least=3.0)
    assert not target.met({"ratio": None})
    assert target.met({"ratio": 3.0})
    assert not Target("params.x", at_most=1.0).met({"params": {}})
    assert Target("params.x", at_most=1.0).met({"params": {"x": 1.0}})


def test_the_number_of_runs_is_what_was_asked_for() -> None:
    calls: list[str] = []
    case = Case(
        lambda: calls.append("ours"),
        Peer("peer", lambda: calls.append("peer"), scale=2.0, repeats=2),
        equal,
        {},
        repeats=5,
    )
    measure(row_of(case), quick=False)
    assert (calls.count("ours"), calls.count("peer")) == (6, 3)  # the first of each is checked, not counted
    assert calls[:6] == ["ours", "peer"] * 3
    calls.clear()
    case.repeats = case.peer.repeats = 1
    measure(row_of(case), quick=False)
    assert calls == ["ours", "peer"]


def test_the_network_model_adds_up() -> None:
    found = network_model(2.0, 4, 12.5e6)
    assert found["lan_s"] == pytest.approx(2.0 + 0.004 + 0.01)
    assert found["wan_s"] == pytest.approx(2.0 + 0.16 + 1.0)
