"""The peers, imported only where a row needs them; what is not installed is noted once on standard error."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace

from bench.harness import ROOT, Peer

__all__ = ["absent", "arkworks", "flower", "mpyc", "opendp", "spu", "tenseal", "versioned", "zksnake"]

_noted: set[str] = set()


def versioned(package: str, label: str) -> str:
    """Name and version of an installed package."""
    try:
        return f"{label} {version(package)}"
    except PackageNotFoundError:
        return label


def absent(label: str) -> Peer:
    """The side of a peer that is not installed (or not wanted in this process)."""
    return Peer(label, None)


def _load(label: str, package: str, modules: dict[str, str]) -> SimpleNamespace | None:
    try:
        loaded = {name: importlib.import_module(module) for name, module in modules.items()}
    except ImportError as error:
        if label not in _noted:
            _noted.add(label)
            print(f"note: {label} is not installed ({error}); `make bench-env` installs it", file=sys.stderr)
        return None
    return SimpleNamespace(name=versioned(package, label), **loaded)


def flower() -> SimpleNamespace | None:
    """Flower's own secure-aggregation functions, or None."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    base = "flwr.common.secure_aggregation"
    return _load(
        "Flower",
        "flwr",
        {
            "common": "flwr.common",
            "arithmetic": base + ".ndarrays_arithmetic",
            "quantization": base + ".quantization",
            "utils": base + ".secaggplus_utils",
            "shamir": base + ".crypto.shamir",
            "symmetric": base + ".crypto.symmetric_encryption",
            "asymmetric": "flwr.supercore.primitives.asymmetric",
        },
    )


def mpyc() -> SimpleNamespace | None:
    """MPyC's fields and its threshold secret sharing, or None."""
    return _load("MPyC", "mpyc", {"finfields": "mpyc.finfields", "thresha": "mpyc.thresha"})


def arkworks() -> SimpleNamespace | None:
    """arkworks' BLS12-381 for Python, or None."""
    return _load("py-arkworks-bls12381", "py-arkworks-bls12381", {"module": "py_arkworks_bls12381"})


def opendp() -> SimpleNamespace | None:
    """OpenDP's measurements, or None."""
    parts = ("domains", "measurements", "metrics", "mod")
    return _load("OpenDP", "opendp", {part: f"opendp.{part}" for part in parts})


def tenseal() -> SimpleNamespace | None:
    """TenSEAL, or None."""
    return _load("TenSEAL", "tenseal", {"module": "tenseal"})


def zksnake() -> SimpleNamespace | None:
    """zksnake's Bulletproofs, or None."""
    return _load("zksnake", "zksnake", {"bulletproofs": "zksnake.subprotocol.bulletproofs"})


@cache
def spu() -> SimpleNamespace | None:
    """SPU's name and the interpreter of the environment that it has for itself, or None."""
    python = ROOT / ".venv-spu" / "bin" / "python"
    code = "from importlib.metadata import version; print(version('spu'))"
    try:
        shown = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        print("note: SPU is not installed; `make .venv-spu/.built` installs it, where it does", file=sys.stderr)
        return None
    return SimpleNamespace(name=f"SPU {shown.strip()}", python=str(python))
