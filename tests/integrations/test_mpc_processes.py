"""`privcomp mpc` as processes over mutual TLS: killed, stopped, frozen, interrupted; the others name who it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from privcomp.cli.mpc import _plain
from privcomp.integrations import PartyHome
from tests.test_cli import run

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 90.0
DEADLINE = 8.0

#: Products until somebody says stop; a file tells that rounds are going on.
PROGRAM = """
import numpy as np
from pathlib import Path

async def endless(mpc, size):
    x = await mpc.input(0, np.ones(size, np.uint64) if mpc.me == 0 else None, (size,))
    while True:
        x = await mpc.mul(x, x)
        Path(f"running-{mpc.me}").touch()

async def product(mpc, size):
    x = await mpc.input(0, np.full(size, 3, np.uint64) if mpc.me == 0 else None, (size,))
    return {"all nines": bool((await mpc.open(await mpc.mul(x, x)) == 9).all()), "array": np.arange(2), "by": (1, 2.5)}

async def wrong(mpc, size):
    return object()
"""


class Processes:
    """Folders, a configuration, and whatever was started, which is killed at the end."""

    def __init__(self, folder: Path, parties: int, protocol: str) -> None:
        self.folder = folder
        self.names = [f"server-{i}" for i in range(parties)]
        self.running: list[subprocess.Popen[str]] = []
        for name in self.names:
            PartyHome.create(folder / name, name.encode())
        (folder / "program.py").write_text(PROGRAM)
        frees = [socket.create_server(("127.0.0.1", 0)) for _ in self.names]
        self.ports = [free.getsockname()[1] for free in frees]
        for free in frees:
            free.close()
        self.protocol = protocol

    def config(self, function: str, extra: str = "") -> Path:
        text = f'protocol = "{self.protocol}"\nprogram = "program.py:{function}"\ndeadline = {DEADLINE}\n{extra}\n'
        text += "[arguments]\nsize = 20000\n"
        for name, port in zip(self.names, self.ports, strict=True):
            text += f'[[party]]\nid = "{name}"\naddress = "{port}"\ncertificate = "{name}/{name}.pem"\n'
        path = self.folder / "run.toml"
        path.write_text(text)
        return path

    def start(self, config: Path, *options: str) -> None:
        for name in self.names:
            self.running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "privcomp", "mpc", str(config), name, *options],
                    cwd=self.folder,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )

    def until_rounds_go_on(self) -> None:
        end = time.monotonic() + PATIENCE
        while not all((self.folder / f"running-{i}").exists() for i in range(len(self.names))):
            assert time.monotonic() < end
            assert all(process.poll() is None for process in self.running), [p.communicate() for p in self.running]
            time.sleep(0.05)

    def ended(self, me: int) -> tuple[int, str, str]:
        out, err = self.running[me].communicate(timeout=PATIENCE)
        return self.running[me].returncode, out, err


@pytest.fixture
def processes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    started = Processes(tmp_path, *request.param)
    yield started
    for process in started.running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("processes", [(4, "rep4")], indirect=True)
def test_one_of_four_is_killed(processes: Processes) -> None:
    processes.start(processes.config("endless"))
    processes.until_rounds_go_on()
    killed = time.monotonic()
    processes.running[2].kill()
    for me in (0, 1, 3):
        code, out, err = processes.ended(me)
        assert time.monotonic() - killed < DEADLINE
        assert code == 2
        assert out == ""
        assert "server-2" in err
        assert "Traceback" not in err


@pytest.mark.parametrize("processes", [(3, "rep3")], indirect=True)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 0, marks=pytest.mark.assurance)]
)
def test_one_is_asked_to_stop(processes: Processes, number: int, code: int) -> None:
    processes.start(processes.config("endless"))
    processes.until_rounds_go_on()
    processes.running[1].send_signal(number)
    assert processes.ended(1)[0] == code
    for me in (0, 2):
        found, _, err = processes.ended(me)
        assert found == 2
        assert "server-1" in err
        assert "stopped by its operator" in err


@pytest.mark.assurance
@pytest.mark.parametrize("processes", [(3, "rep3")], indirect=True)
def test_one_is_frozen(processes: Processes) -> None:
    """It holds its connections, and says nothing: half of a deadline later the others name it."""
    processes.start(processes.config("endless"))
    processes.until_rounds_go_on()
    processes.running[0].send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    for me in (1, 2):
        code, _, err = processes.ended(me)
        assert code == 2
        assert "server-0" in err
    assert time.monotonic() - frozen < DEADLINE
    processes.running[0].send_signal(signal.SIGCONT)
    assert processes.ended(0)[0] == 2


def test_what_is_no_finite_number_is_null_in_json() -> None:
    """`NaN` is no JSON."""
    found = _plain({"a": np.array([1.5, np.nan]), "b": (float("inf"), np.float64("nan")), "c": 2})
    assert found == {"a": [1.5, None], "b": [None, None], "c": 2}


@pytest.mark.assurance
@pytest.mark.parametrize("processes", [(3, "rep3")], indirect=True)
def test_the_result_as_json(processes: Processes) -> None:
    processes.start(processes.config("product", 'adversary = "semi-honest"\ncorruptions = 1'), "--json")
    for me in range(3):
        code, out, err = processes.ended(me)
        assert code == 0, err
        said = json.loads(out)
        assert said["party"] == f"server-{me}"
        assert said["result"] == {"all nines": True, "array": [0, 1], "by": [1, 2.5]}
        assert said["cost"]["online"]["mul"]["bytes"] == 160000
        assert said["cost"]["bytes"] > 160000
        assert "setup" in said["cost"]["offline"]


def test_refusals_of_the_command(tmp_path: Path) -> None:
    """Each in one line that says what to do."""
    processes = Processes(tmp_path, 3, "rep3")
    good = processes.config("product").read_text()
    path, folder = tmp_path / "bad.toml", tmp_path / "server-0"

    def refused(text: str, *expected: str) -> None:
        path.write_text(text)
        result = run("mpc", path, folder)
        assert result.code == 2
        assert result.out == ""
        line = result.err.splitlines()[-1]
        assert line.startswith("privcomp: ")
        for each in expected:
            assert each in line

    refused("protocol = ", "is not TOML")
    refused(good.replace('protocol = "rep3"\n', ""), "protocol is missing")
    refused(good.replace('"rep3"', '"rep9"'), "rep9", "unknown")
    refused(good.replace("deadline", "dead_line"), "'dead_line' is unknown")
    refused(good.replace("deadline = 8.0", 'deadline = "8"'), "deadline has the wrong type, str")
    refused(good.replace("deadline = 8.0", "deadline = -1"), "deadline is -1")
    refused(good.replace("program.py:product", "program.py:nothing"), "has no function 'nothing'")
    refused(good.replace("program.py:product", "absent.py:product"), "absent.py is no file")
    refused(good.replace("program.py:product", "product"), "MODULE:FUNCTION is needed")
    refused(good.replace("program.py:product", "no_such_module:f"), "cannot be run", "ModuleNotFoundError")
    refused(good.replace("server-1/server-1.pem", "nowhere.pem"), "nowhere.pem cannot be read")
    refused(good.replace("server-1/server-1.pem", "server-2/server-2.pem"), "is that of party 'server-2'")
    refused(good.replace("server-1/server-1.pem", "program.py"), "is no PEM certificate")
    refused(good.replace(f'"{processes.ports[0]}"', '"nowhere"'), "is no address")
    refused(good.replace("server-0", "server-9", 1), "is none of the parties")
    refused(good.replace("size = 20000", "size = 2020-01-01"), "arguments are numbers")
    refused('adversary = "nice"\n' + good, "adversary is 'nice'")
    refused(good.replace('id = "server-1"', 'id = "server-0"'), "an id occurs twice")
    folder = tmp_path / "nowhere"
    refused(good, "is not the folder of a party", "privcomp keys party")


def test_keys_of_a_party(tmp_path: Path) -> None:
    made = run("keys", "party", tmp_path / "north", "--id", "north")
    assert made.code == 0
    assert "north.pem" in made.out
    assert (tmp_path / "north" / "identity").stat().st_mode & 0o777 == 0o600
    shown = json.loads(run("keys", "show", tmp_path / "north", "--json").out)
    assert (shown["kind"], shown["id"], len(shown["identity"])) == ("party", "north", 64)
    again = run("keys", "party", tmp_path / "north", "--id", "north")
    assert again.code == 2
    (tmp_path / "north" / "tls.key").chmod(0o644)
    refused = run("mpc", tmp_path / "x.toml", tmp_path / "north")
    assert refused.code == 2
    assert "can be read by other users" in refused.err
    assert run("keys", "node", tmp_path / "node", "--id", "node").code == 0
    assert "is the folder of a node" in run("mpc", tmp_path / "x.toml", tmp_path / "node").err
