"""A real deployment of Flower on loopback: SuperLink, SuperNodes and `flwr run` as processes, on free ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Deployment:
    """Processes of one federation; all of them are stopped, by process group, at the end."""

    def __init__(self, folder: Path, *, simulation: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        home = folder / "flwr"
        home.mkdir(parents=True)
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        )
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PRIVCOMP_", "FLWR_"))},
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.start(
            "superlink",
            [str(BIN / "flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(self.port)]
            + ["--control-api-address", f"127.0.0.1:{free_port()}", "--disable-runtime-dependency-installation"]
            + (["--simulation"] if simulation else []),
        )
        self.wait_for("superlink", "Uvicorn running")

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process in a group of its own, with its output in NAME.log."""
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, **(environment or {})},
                cwd=self.folder,
                start_new_session=True,
            )

    def node(self, k: int, *, home: Path | None = None, guarded: bool = False, config: str = "") -> None:
        """Start the SuperNode with partition k; `guarded`: through `privcomp supernode`."""
        options = ["--insecure", "--superlink", f"127.0.0.1:{self.port}", "--host", "127.0.0.1"]
        options += ["--port", str(free_port())]
        node_config = f"partition-id={k} num-partitions=8 {config}"
        if guarded:
            command = [sys.executable, "-m", "privcomp", "supernode", str(home)]
        else:
            command = [str(BIN / "flower-supernode")]
            node_config += f' privcomp-home="{home}"' if home is not None else ""
        self.start(f"node-{k}", [*command, *options, "--node-config", node_config.strip()])

    def run(self, app: Path, config: Mapping[str, Any] | None = None, name: str = "run", nodes: int = 0) -> None:
        """`flwr run APP` in the background, its log in NAME.log."""
        command = [str(BIN / "flwr"), "run", str(app), "here", "--stream"]
        for key, value in (config or {}).items():
            command += ["--run-config", f"{key}={toml(value)}"]
        if nodes:
            command += [
                "--federation-config",
                f"num-supernodes={nodes} client-resources-num-cpus=1 init-args-num-cpus=2",
            ]
        self.start(name, command)

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def wait_for(self, name: str, text: str, seconds: float = 120, count: int = 1) -> str:
        """Until the log of a process has a text."""
        end = time.monotonic() + seconds
        while self.log(name).count(text) < count:
            alive = self.processes[name].poll() is None
            if time.monotonic() > end or (not alive and self.log(name).count(text) < count):
                raise AssertionError(
                    f"{name} {'did not say' if alive else 'ended without saying'} {text!r}:\n{self.log(name)[-6000:]}"
                )
            time.sleep(0.2)
        return self.log(name)

    def finish(self, name: str = "run", seconds: float = 600) -> str:
        """Wait for the end of a process; its log."""
        try:
            self.processes[name].wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end in {seconds} s:\n{self.log(name)[-6000:]}") from None
        return self.log(name)

    def kill(self, name: str, how: int = signal.SIGKILL) -> None:
        """End a process and all that it has started; returns when the last of them is gone."""
        process = self.processes.pop(name)
        end = time.monotonic() + 10
        while True:
            try:
                os.killpg(process.pid, how)
            except ProcessLookupError:
                return
            process.poll()
            time.sleep(0.1)
            if time.monotonic() > end:
                how = signal.SIGKILL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name, signal.SIGTERM if name == "superlink" else signal.SIGKILL)
        # The SuperLink starts some of its processes in groups of their own; they are known by our folder.
        ours = f"HOME={self.folder}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if ours in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, (str, Path)) else str(value)


def copy_app(source: Path, target: Path, changes: Mapping[str, str] | None = None) -> Path:
    """An app in a folder of its own; changes: file -> text to append."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in (changes or {}).items():
        with open(target / name, "a", encoding="utf-8") as file:
            file.write(text)
    return target
