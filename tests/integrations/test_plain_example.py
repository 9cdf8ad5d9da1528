"""docs/plain-python.md does what it says: its commands are run as they stand there, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from privcomp.ledger import COMPLETE
from privcomp.ledger.chain import read_frames, read_preamble
from privcomp.ledger.record import MAX_RECORD_BYTES, Record

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "plain-python.md"
EXAMPLE = ROOT / "docs" / "examples" / "plain"


def test_the_shown_function_is_the_one_that_runs() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.S)
    assert shown in (EXAMPLE / "hospital.py").read_text()


def test_the_documents_commands(tmp_path: Path) -> None:
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "\n".join(re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), flags=re.S)).replace("7443", str(port))
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
        out, _ = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        pytest.fail(process.communicate()[0])
    assert process.returncode == 0, out
    accuracy = re.search(r"^accuracy (0\.\d+)$", out, flags=re.M)
    assert accuracy is not None, out
    assert float(accuracy[1]) > 0.9
    assert "audit passed\nrecords that passed: 5 (5 complete, 0 aborted)" in out
    assert "Traceback" not in out
    with (tmp_path / "server" / "ledger").open("rb") as file:
        read_preamble(file)
        records = [Record.from_bytes(record, max_bytes=MAX_RECORD_BYTES) for _, record in read_frames(file)]
    assert [record.outcome for record in records] == [COMPLETE] * 5
    assert all(len(record.survivors) >= 5 for record in records)
