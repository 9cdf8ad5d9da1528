"""docs/flower.md: its commands, as they stand there, in a fresh environment; and how little the example differs."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "flower.md").read_text("utf-8")
PLAIN, SECURE = (ROOT / "docs" / "examples" / name for name in ("flower-plain", "flower"))


def difference() -> list[str]:
    found = []
    files = {
        path.relative_to(app) for app in (PLAIN, SECURE) for path in app.rglob("*") if path.suffix in (".py", ".toml")
    }
    for name in sorted(files):
        before, after = ((app / name).read_text("utf-8").splitlines() for app in (PLAIN, SECURE))
        found += [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    return [line[0] + line[2:] for line in found]


def test_the_example_differs_from_plain_flower_in_at_most_ten_lines() -> None:
    lines = difference()
    assert len(lines) <= 10
    (block,) = re.findall(r"^```diff\n(.*?)^```", PAGE, flags=re.S | re.M)
    assert sorted(line for line in block.splitlines() if line.startswith(("+", "-"))) == sorted(lines)


def test_the_commands_of_the_readme_are_those_of_the_page() -> None:
    """And the page's commands are run below."""
    readme = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), flags=re.S | re.M)
    (flower,) = [block for block in readme if "flwr run" in block]
    assert flower == re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.S | re.M)[0]


@pytest.mark.assurance
def test_the_commands_of_the_page_in_a_fresh_environment(tmp_path: Path) -> None:
    pytest.importorskip("flwr", reason="flwr is not installed here; `make check-embed` runs this test")
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", "build", "dist", "*.so", "__pycache__", "*.egg-info", "*.o", "*.a", ".*_cache"
    )
    shutil.copytree(ROOT, tmp_path / "privcomp", ignore=ignored)
    # The versions that were tested; without their hashes, which pip would then demand of a folder, too.
    pins = re.sub(r" \\\n    --hash=\S+", "", (ROOT / "requirements" / "embed.txt").read_text())
    (tmp_path / "constraints").write_text(pins)
    keep = ("PATH", "LANG", "CC", "TMPDIR", "PIP_", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    environment = {
        **{name: value for name, value in os.environ.items() if name.startswith(keep)},
        "HOME": str(tmp_path),
        "PIP_CACHE_DIR": pip_cache(),
        "PIP_CONSTRAINT": str(tmp_path / "constraints"),
        "PIP_QUIET": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.S | re.M))
    log = tmp_path / "log"
    with open(log, "wb") as out:
        shell = subprocess.Popen(
            ["bash", "-euxo", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            cwd=tmp_path, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        code = shell.wait(900)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)  # what the commands left running in the background
    text = log.read_text("utf-8", "replace")
    assert code == 0, text[-5000:]
    assert text.count("evaluation of every round:") >= 2
    assert "'eval_accuracy'" in text.rpartition("evaluation of every round:")[2]
    assert "were not started by" not in text
    assert (
        len(re.findall(r"privcomp: round \d+ \(training\): 4 of 4 nodes", text)) >= 4
    )  # three simulated, one deployed


def pip_cache() -> str:
    """Where pip keeps what it has fetched already."""
    found = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or os.devnull
