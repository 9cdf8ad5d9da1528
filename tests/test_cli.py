"""The command line as its user meets it: what is printed where, exit codes, refusals in one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from privcomp import __version__
from privcomp.cli import main
from privcomp.keys import Identity, Roster
from privcomp.ledger.chain import read_frames, read_preamble
from privcomp.policy import Policy

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 12
#: What the report promises under stable names.
KEYS = {
    "accuracy",
    "precision",
    "recall",
    "malignant_recall",
    "single_site_accuracy",
    "pooled_accuracy",
    "plain_accuracy",
    "integer_difference",
    "max_difference",
    "quantisation_bound",
    "bytes_per_client",
    "rounds",
    "clients",
    "ledger",
}


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


def run(*arguments: str | Path) -> Finished:
    """`privcomp ARGUMENTS` in this process: its imports are paid for once."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse
            code = int(leaving.code or 0)
    return Finished(code, out.getvalue(), err.getvalue())


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """`python -m privcomp ARGUMENTS` as a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "privcomp", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def refused(*arguments: str | Path) -> str:
    """The one line of a refusal: exit 2, nothing on standard output, no traceback."""
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("privcomp"), lines[0]
    return lines[0]


@dataclass(frozen=True)
class Demo:
    """The files of a finished demo, and what it printed."""

    folder: Path
    report: dict[str, Any]
    key: str

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def audit(self, ledger: Path | None = None, *, key: str | None = None) -> Finished:
        known = "--roster", self.folder / "roster", "--heads", self.folder / "heads"
        return run("audit", ledger or self.ledger, "--key", key or self.key, *known)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A small run in a process of its own, so that whatever else is printed by anybody is seen."""
    folder = tmp_path_factory.mktemp("cli") / "a folder"
    process = start("demo", "--clients", str(CLIENTS), "--rounds", "1", "--json", "--out", folder)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    report = json.loads(out)  # exactly one JSON value: anything else on standard output is an error here
    assert out.count("\n") == 1
    with (folder / "ledger").open("rb") as file:
        return Demo(folder, report, read_preamble(file).hex())


# ---- demo


def test_the_demo_prints_one_json_object(demo: Demo) -> None:
    report = demo.report
    assert report.keys() >= KEYS
    assert (report["clients"], report["rounds"]) == (CLIENTS, 1)
    assert report["integer_difference"] == 0
    assert 0 <= report["max_difference"] <= report["quantisation_bound"] <= 1e-3
    assert report["within_bounds"]
    assert report["accuracy"] > 0.9
    assert 0 < report["bytes_per_client"] < 100_000


def test_the_demo_loses_a_tenth_of_its_clients_in_every_round(demo: Demo) -> None:
    """Lost at whatever stage: a client that uploads and then falls silent is in the sum and is lost."""
    report = demo.report
    assert report["purposes"] == ["statistics", "training"]
    assert all(lost >= 0.1 * CLIENTS for lost in report["lost"])
    assert all(CLIENTS - 2 <= survivors <= CLIENTS for survivors in report["survivors"])


def test_the_demo_leaves_its_files(demo: Demo) -> None:
    assert {path.name for path in demo.folder.iterdir()} >= {"ledger", "roster", "heads", "curves.png", "report.json"}
    assert (demo.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((demo.folder / "report.json").read_text()) == demo.report
    assert demo.report["ledger"] == str(demo.ledger)
    assert len(Roster.from_bytes((demo.folder / "roster").read_bytes())) == CLIENTS


def test_the_demo_refuses_a_poisoner_and_finds_a_lying_server(demo: Demo) -> None:
    poisoning, lying = demo.report["poisoning"], demo.report["lying_server"]
    assert "proof" in poisoning["refusal"]
    assert (poisoning["survivors"], poisoning["integer_difference"]) == (CLIENTS - 1, 0)
    assert "the server published a false sum" in lying["found"]
    result = run("audit", lying["ledger"], "--roster", demo.folder / "lying" / "roster")
    assert (result.code, result.err) == (1, "")
    assert result.out.startswith(f"audit FAILED at {lying['found']}")


def test_the_demo_says_how_to_check_its_ledger(tmp_path: Path) -> None:
    """What it prints can be pasted, spaces included; another run in the same place replaces its own files only."""
    folder = tmp_path / "my results"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for _ in range(2):
        result = run("demo", "--clients", "6", "--rounds", "1", "--quiet", "--out", folder)
        assert (result.code, result.err) == (0, "")
    assert (folder / "notes.txt").read_text() == "mine"
    command = result.out.splitlines()[-1].removeprefix("check it: python -m privcomp ")
    checked = run(*shlex.split(command))
    assert checked.code == 0, checked.err
    assert "records that passed: 3" in checked.out


def test_the_demo_on_the_users_own_table(table: Path, tmp_path: Path) -> None:
    """No public ranges here, so that the scales come from a secure sum of one-hot exponents."""
    result = run(
        "demo", "--csv", table, "--label", "outcome", "--clients", "6", "--rounds", "1", "--json", "--out", tmp_path
    )
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["purposes"] == ["scales", "statistics", "training"]
    assert report["integer_difference"] == 0
    assert report["within_bounds"]
    assert report["malignant_recall"] is None
    assert report["data"] == "table.csv"


def test_a_reader_that_goes_away_is_no_error(demo: Demo) -> None:
    process = start("audit", demo.ledger)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a round: exit 130 and one line."""
    restored = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731 (a shell's `&` ignores it)
    process = start("demo", "--clients", "100", "--quiet", "--out", tmp_path, preexec_fn=restored)
    deadline = time.monotonic() + 120
    while not (tmp_path / "ledger").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "privcomp: interrupted\n")


# ---- what is refused


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty rows that two columns separate almost."""
    path = tmp_path / "table.csv"
    rows = [(i * 37 % 101, i * 53 % 97 + 0.5) for i in range(60)]
    lines = [f"{a},{b},{'high' if a > 50 else 'low'}" for a, b in rows]
    path.write_text("\n".join(["dose,age,outcome", *lines]) + "\n")
    return path


@pytest.fixture
def untouched(tmp_path: Path) -> Iterator[Path]:
    """A folder with the result of an earlier run, which a refusal leaves as it is."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    files = {"ledger": b"the ledger of an earlier run", ".privcomp-demo": b"written by privcomp demo"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    yield folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "iris"], "invalid choice: 'iris'"),
        (["--rounds", "0"], "0 rounds; an integer in 1..1000"),
        (["--rounds", "many"], "invalid int value: 'many'"),
        (["--clients", "400"], "at most 227 hospitals are possible"),
        (["--clients", "2"], "needs at least 3"),
        (["--clients", "-1"], "an integer in 2..65536"),
        (["--clients", "12", "--dropout", "0.5"], "6 of 12 hospitals would be lost in every round"),
        (["--clients", "12", "--dropout", "1.5"], "a fraction in 0..0.9"),
        (["--clients", "12", "--dropout", "nan"], "a fraction in 0..0.9"),
        (["--clients", "4"], "use more --clients"),
        (["--clients", "12", "--non-iid", "0"], "must be positive"),
        (["--label", "outcome"], "--csv needs --label"),
        (["--csv", "nowhere.csv"], "--csv needs --label"),
        (["--csv", "nowhere.csv", "--label", "outcome"], "nowhere.csv cannot be read"),
        (["--clients", "30", "--protocol", "secaggplus", "--adversary", "malicious"], "use bonawitz"),
        (["--clients", "60", "--protocol", "secaggplus", "--dropout", "0.6"], "at most 29 may be"),
        (["--ranges", "nowhere.json"], "nowhere.json cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_work(arguments: list[str], said: str, untouched: Path) -> None:
    assert said in refused("demo", "--out", untouched, *arguments)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("red,1,low", "line 7, column 'dose': 'red' is no number"),
        ("nan,1,low", "line 7, column 'dose': NaN"),
        ("1,inf,low", "line 7, column 'age': NaN, infinite"),
        ("1,,low", "line 7, column 'age': '' is no number"),
        ("1,2,", "line 7: the label is empty"),
        ("1,2", "line 7: 2 cells; the header has 3"),
        ("1,2,medium", "class 'medium' has 1 row"),
    ],
)
def test_tables_that_do_not_work(line: str, said: str, table: Path, untouched: Path) -> None:
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:6], line, *lines[7:]]))
    assert said in refused("demo", "--csv", table, "--label", "outcome", "--clients", "6", "--out", untouched)


def test_a_table_without_the_column_or_the_rows(table: Path, untouched: Path) -> None:
    where = "--csv", table, "--out", untouched
    assert "its columns are: dose, age, outcome" in refused("demo", *where, "--label", "result")
    assert "48 rows are left for training" in refused("demo", *where, "--label", "outcome")
    table.write_text("dose,age,outcome\n")
    assert "a header line and rows are needed" in refused("demo", *where, "--label", "outcome")


@pytest.mark.parametrize("name", ["ledger", "roster", "heads", "report.json", "curves.png", "ledger.7.sum"])
def test_files_that_are_not_of_a_demo_are_not_replaced(name: str, tmp_path: Path) -> None:
    """A folder with somebody's ledger and no mark of a demo is refused, and left as it is."""
    (tmp_path / name).write_bytes(b"not of a demo")
    said = refused("demo", "--clients", "6", "--rounds", "1", "--out", tmp_path)
    assert f"{name} there is not of a demo; name another folder" in said
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"not of a demo"}


def test_a_second_demo_replaces_its_own_files_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"mine")
    (tmp_path / "ledger.d").mkdir()
    for _ in range(2):
        result = run("demo", "--clients", "6", "--rounds", "1", "--quiet", "--out", tmp_path)
        assert result.code == 0, result.err
        for name in ("ledger.99.sum", "lying/ledger.99.attest"):
            (tmp_path / name).write_bytes(b"left over by a longer run")
    assert (tmp_path / ".privcomp-demo").is_file()
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"
    assert (tmp_path / "ledger.d").is_dir()
    result = run("demo", "--clients", "6", "--rounds", "1", "--quiet", "--out", tmp_path)
    assert not (tmp_path / "ledger.99.sum").exists()
    assert not (tmp_path / "lying" / "ledger.99.attest").exists()


def test_a_place_that_cannot_be_written(table: Path) -> None:
    said = refused("demo", "--clients", "12", "--out", table)
    assert "name a folder that can be written" in said
    assert "name a folder that can be written" in refused("demo", "--clients", "12", "--out", table / "below")


# ---- audit


def flipped(source: Path, target: Path, offset: int) -> Path:
    data = bytearray(source.read_bytes())
    data[offset] ^= 1
    target.write_bytes(data)
    return target


def cut(source: Path, target: Path, records: int) -> Path:
    """The first records of a ledger: whole frames, every signature of which still holds."""
    with source.open("rb") as file:
        read_preamble(file)
        ends = [file.tell()]
        for _ in read_frames(file):
            ends.append(file.tell())
    target.write_bytes(source.read_bytes()[: ends[records]])
    return target


def test_an_honest_ledger_passes(demo: Demo) -> None:
    result = demo.audit()
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("audit passed\nrecords that passed: 3 (3 complete, 0 aborted)\n")
    assert f"shown: 1 published sums are those of {CLIENTS - 1} updates" in result.out
    assert "1 recorded refusals are justified" in result.out
    assert "not shown: whose ledger this is" not in result.out
    assert "not shown: whose ledger this is" in run("audit", demo.ledger).out


def test_an_audit_as_json(demo: Demo) -> None:
    result = run("audit", demo.ledger, "--json")
    content = json.loads(result.out)
    assert (result.code, content["ok"], content["records"], content["failure"]) == (0, True, 3, None)
    assert (content["key"], content["key_given"]) == (demo.key, False)


@pytest.mark.parametrize(("record", "share"), [(0, 0.3), (0, 0.9), (1, 0.3), (1, 0.9)])
def test_a_flipped_byte_is_found_and_its_record_named(demo: Demo, tmp_path: Path, record: int, share: float) -> None:
    begin = cut(demo.ledger, tmp_path / "before", record).stat().st_size
    end = cut(demo.ledger, tmp_path / "until", record + 1).stat().st_size
    changed = flipped(demo.ledger, tmp_path / "ledger", begin + int(share * (end - begin)))
    result = demo.audit(changed)
    assert (result.code, result.err) == (1, "")
    assert result.out.startswith(f"audit FAILED at record {record}"), result.out
    assert f"records that passed: {record} " in result.out


def test_another_key_fails(demo: Demo) -> None:
    result = demo.audit(key=Identity.generate().public.hex())
    assert result.code == 1
    assert "ledger key" in result.out


def test_a_cut_ledger_fails_with_the_heads_that_clients_remember(demo: Demo, tmp_path: Path) -> None:
    shorter = cut(demo.ledger, tmp_path / "ledger", 0)
    result = demo.audit(shorter)
    assert result.code == 1
    assert "client heads" in result.out
    assert "was cut" in result.out
    without = run("audit", shorter, "--key", demo.key)
    assert without.code == 0
    assert "not shown: that nothing was cut off" in without.out


def test_a_torn_ledger_fails(demo: Demo, tmp_path: Path) -> None:
    torn = tmp_path / "ledger"
    torn.write_bytes(demo.ledger.read_bytes()[:-1])
    assert demo.audit(torn).code == 1


def test_another_roster_fails(demo: Demo, tmp_path: Path) -> None:
    stranger = Roster.of({b"hospital-00000": Identity.generate().public})
    (tmp_path / "roster").write_bytes(stranger.to_bytes())
    result = run("audit", demo.ledger, "--roster", tmp_path / "roster")
    assert result.code == 1
    assert "another roster" in result.out


def test_what_an_audit_refuses_to_read(demo: Demo, table: Path, tmp_path: Path) -> None:
    assert "64 digits are needed" in refused("audit", demo.ledger, "--key", "not hex")
    assert "has 2 bytes; 32" in refused("audit", demo.ledger, "--key", "abcd")
    missing = tmp_path / "missing"
    assert f"{missing} cannot be read" in refused("audit", missing)
    assert f"{missing} cannot be read" in refused("audit", demo.ledger, "--roster", missing)
    assert f"{missing} cannot be read" in refused("audit", demo.ledger, "--heads", missing)
    assert f"{table}: the file does not begin with" in refused("audit", table)
    assert f"{table} is no roster" in refused("audit", demo.ledger, "--roster", table)
    assert f"line 1 of {table}" in refused("audit", demo.ledger, "--heads", table)
    assert "cannot be read" in refused("audit", tmp_path)


# ---- the rest


def test_the_printed_policy_is_the_default_policy() -> None:
    result = run("policy")
    assert (result.code, result.err) == (0, "")
    assert Policy.from_toml(result.out) == Policy()


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["audit"], ["policy"], ["keys"], ["keys", "roster"], ["serve"], ["join"], ["supernode"]]
)
def test_help(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(*command, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"usage: {' '.join(['privcomp', *command])}")
    assert max(map(len, result.out.splitlines())) <= 80


def test_every_command_is_in_the_help() -> None:
    for command in ("demo", "audit", "policy", "keys", "serve", "join", "supernode"):
        assert f"\n    {command}" in run("--help").out


def test_version() -> None:
    assert run("--version") == Finished(0, f"privcomp {__version__}\n", "")


def test_no_command_and_an_unknown_one() -> None:
    assert "COMMAND" in refused()
    assert "invalid choice: 'undo'" in refused("undo")
