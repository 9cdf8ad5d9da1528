"""docs/mpc-run.md does what it says: its commands are run as they stand there, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "mpc-run.md"
EXAMPLE = ROOT / "docs" / "examples" / "mpc"


def test_the_shown_function_is_the_one_that_runs() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.S)
    assert shown in (EXAMPLE / "spread.py").read_text()


def test_the_documents_commands(tmp_path: Path) -> None:
    for path in EXAMPLE.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    config = (tmp_path / "run.toml").read_text()
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        for name, free in (("7501", first), ("7502", second), ("7503", third)):
            free.bind(("127.0.0.1", 0))
            config = config.replace(name, str(free.getsockname()[1]))
    (tmp_path / "run.toml").write_text(config)
    script = "\n".join(re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), flags=re.S))
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        ["bash", "-eu", "-c", script],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        pytest.fail(process.communicate()[0])
    assert process.returncode == 0, out
    assert "Traceback" not in out
    # 1 .. 1000 three times: mean 500.5, variance (1000^2 - 1) / 12
    said = json.loads((tmp_path / "south.json").read_text())
    assert said["result"] == {"mean": 500.5, "deviation": pytest.approx(((10**6 - 1) / 12) ** 0.5)}
    assert said["party"] == "south"
    assert said["cost"]["online"]["matmul"]["bytes"] == 3 * 8
    for name in ("north", "east"):
        text = (tmp_path / f"{name}.out").read_text()
        assert "'mean': 500.5" in text
        assert re.search(r"^matmul +3 +3 +24 ", text, flags=re.M), text
