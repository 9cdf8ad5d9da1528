"""The demo over one-shot rounds and over CKKS: the same training, the same accuracy, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from privcomp.cli import main
from privcomp.demo import DemoOptions, run_demo
from privcomp.demo.encrypted import MAX_WEIGHT, EncryptedFederation
from privcomp.demo.report import Report
from privcomp.demo.secure import WIDTHS, SecureFederation
from privcomp.errors import ParameterError
from privcomp.ledger import read_heads
from privcomp.rounds import audit


def options(**changes: Any) -> DemoOptions:
    return DemoOptions(**{"clients": 12, "rounds": 2, "seed": 3, **changes})


@pytest.fixture(scope="module")
def masked() -> Report:
    secure = SecureFederation(12, 3, dropout=0.0)
    return run_demo(options(), secure, None)


def test_one_shot_rounds_train_the_same_model(masked: Report, tmp_path: Path) -> None:
    secure = SecureFederation(12, 3, dropout=0.05, protocol="oneshot", ledger=tmp_path / "ledger")
    assert secure.committee is not None
    made = options(protocol="oneshot", widths=WIDTHS["oneshot"], ledger=tmp_path / "ledger")
    report = run_demo(made, secure, None)
    secure.close()
    assert report.integer_difference == 0
    assert report.within_bounds
    assert abs(report.private.accuracy - masked.private.accuracy) <= 0.02  # other hospitals are lost
    assert "could open every single update" in report.encoding
    found = audit(tmp_path / "ledger", ledger_key=secure.ledger.public, roster=secure.roster, heads=secure.heads)
    assert found.ok
    assert found.complete == 3


def test_ckks_trains_the_same_model(masked: Report) -> None:
    secure = EncryptedFederation(12, 3, dropout=0.0)
    made = options(protocol="ckks", adversary="semi_honest", widths=WIDTHS["ckks"], max_weight=MAX_WEIGHT)
    report = run_demo(made, secure, None)
    assert report.integer_difference == 0
    assert report.within_bounds
    assert abs(report.private.accuracy - masked.private.accuracy) <= 0.005
    assert "CKKS" in report.encoding


def test_losses_that_no_committee_can_spare_are_refused() -> None:
    with pytest.raises(ParameterError, match="lost"):
        SecureFederation.check(10, dropout=0.6, protocol="oneshot", adversary="malicious")
    with pytest.raises(ParameterError, match="lost"):
        SecureFederation.check(4, dropout=0.3, protocol="oneshot", adversary="malicious")
    with pytest.raises(ParameterError, match="dropout"):
        EncryptedFederation.check(10, dropout=0.95)
    with pytest.raises(ParameterError, match="two or more"):
        EncryptedFederation.check(3, dropout=0.6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--protocol", "oneshot", "--epsilon", "8"], "--epsilon adds noise under masks"),
        (["--protocol", "ckks", "--epsilon", "8"], "--epsilon adds noise under masks"),
        (["--protocol", "ckks", "--adversary", "malicious"], "trusts the aggregator"),
        (["--protocol", "ckks", "--hybrid"], "trusts the aggregator"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), *arguments]) != 0
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_runs_one_shot_rounds_and_its_ledger_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--clients", "12", "--rounds", "1", "--dropout", "0", "--protocol", "oneshot", "--quiet"]
    assert main(["demo", "--out", str(out), *arguments]) == 0
    said = capsys.readouterr().out
    assert "check it:" in said
    assert "see one fail" not in said  # no scenes: they need attestations
    assert main(["audit", str(out / "ledger"), "--roster", str(out / "roster"), "--heads", str(out / "heads")]) == 0
    assert read_heads(out / "heads")


def test_the_command_runs_ckks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["--clients", "12", "--rounds", "1", "--dropout", "0", "--protocol", "ckks", "--quiet"]
    assert main(["demo", "--out", str(out), *arguments]) == 0
    said = capsys.readouterr().out
    assert "there is no ledger to check" in said
    assert not (out / "ledger").exists()
