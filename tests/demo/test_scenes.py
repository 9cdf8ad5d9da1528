"""What the demo shows after the training: a hospital that poisons is refused, a server that lies is found."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from privcomp.demo.report import Scenes
from privcomp.demo.scenes import FACTOR, play
from privcomp.demo.secure import SecureFederation
from privcomp.keys import Roster
from privcomp.ledger.chain import read_preamble
from privcomp.rounds import audit

ENTRIES = 5


def update(hospital: int) -> tuple[np.ndarray, int]:
    return np.full(ENTRIES, 0.5 + hospital), 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def secure(folder: Path) -> SecureFederation:
    return SecureFederation(6, 0, dropout=0.0, ledger=folder / "ledger")


@pytest.fixture(scope="module")
def scenes(secure: SecureFederation, folder: Path) -> Scenes:
    found = play(secure, folder / "lying", model=b"trained", entries=ENTRIES, updates=update)
    assert found is not None
    return found


def test_the_poisoner_is_refused_and_the_sum_is_right_without_it(scenes: Scenes, secure: SecureFederation) -> None:
    seen = scenes.poisoning
    assert seen.refusal is not None
    assert "proof" in seen.refusal
    assert (seen.hospital, seen.factor, seen.survivors, seen.clients) == (0, FACTOR, 5, 6)
    assert seen.integer_difference == 0
    assert seen.change == pytest.approx(3.5 * ENTRIES**0.5, abs=0.1)
    assert seen.poisoned_change > 20 * seen.change
    record = list(secure.ledger.records())[seen.record]
    assert len(record.survivors) == 5
    assert len(record.u2) == 6


def test_the_honest_ledger_passes_with_its_refusal(scenes: Scenes, secure: SecureFederation, folder: Path) -> None:
    report = audit(folder / "ledger", ledger_key=secure.ledger.public, roster=secure.roster, heads=secure.heads)
    assert report.ok, report
    assert "1 recorded refusals are justified" in str(report)


def test_the_lying_server_is_found_from_its_files(scenes: Scenes, folder: Path) -> None:
    assert scenes.lying.found is not None
    assert "the server published a false sum" in scenes.lying.found
    path = folder / "lying" / "ledger"
    with open(path, "rb") as file:
        key = read_preamble(file)
    report = audit(path, ledger_key=key, roster=Roster.from_bytes((folder / "lying" / "roster").read_bytes()))
    assert str(report.failure) == scenes.lying.found


def test_the_report_says_what_happened(scenes: Scenes) -> None:
    assert "refused: its proof" in str(scenes.poisoning)
    assert "finds it: record 0" in str(scenes.lying)
    assert asdict(scenes.poisoning)["factor"] == FACTOR


def test_with_too_few_hospitals_there_are_no_scenes(tmp_path: Path) -> None:
    few = SecureFederation(3, 0, dropout=0.0)
    assert play(few, tmp_path / "lying", model=b"trained", entries=ENTRIES, updates=update) is None
    assert not (tmp_path / "lying").exists()
