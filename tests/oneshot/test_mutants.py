"""Every check is needed: without it, its test fails."""

from __future__ import annotations

import pytest

from tests.oneshot import mutants
from tests.secagg.mutants import ROOT


@pytest.mark.assurance
def test_removing_a_check_makes_its_test_fail(capsys: pytest.CaptureFixture[str]) -> None:
    status = mutants.main()
    assert status == 0, capsys.readouterr().out


def test_every_mutant_still_finds_its_piece_of_source() -> None:
    """Cheap, in every run: a check that was rewritten must be named anew in the list of mutants."""
    for mutant in mutants.MUTANTS:
        source = (ROOT / "privcomp" / mutant.file).read_text("utf-8")
        assert source.count(mutant.old) == 1, (mutant.file, mutant.old)
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text("utf-8"), test
