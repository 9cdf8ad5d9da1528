"""Fixtures and settings that all tests share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# No deadline: on two busy cores it would measure the neighbours. HYPOTHESIS_PROFILE picks another profile.
settings.register_profile(
    "default", deadline=None, max_examples=60, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile("assurance", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_report_header() -> str:
    """One line on what the vectors are taken from, so that a run without them is seen to be one."""
    return f"PRIVCOMP_VECTORS: {os.environ.get('PRIVCOMP_VECTORS') or 'not set, tests on public vectors are skipped'}"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of public test vectors that PRIVCOMP_VECTORS names; without the variable the test is skipped."""
    named = os.environ.get("PRIVCOMP_VECTORS")
    if not named:
        pytest.skip("PRIVCOMP_VECTORS is not set: it names the folder of public test vectors")
    folder = (ROOT / named).resolve()
    if not folder.is_dir():
        pytest.fail(f"PRIVCOMP_VECTORS names {folder}, which is no folder: correct it, or unset it to skip these tests")
    return folder


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay until the end: the collector of garbage need not look at them each time."""
    gc.collect()
    gc.freeze()
