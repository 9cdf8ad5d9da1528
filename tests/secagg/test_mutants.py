"""Every check that stops an attack is needed: without it, the attack's test fails."""

from __future__ import annotations

import pytest

from tests.secagg import mutants


@pytest.mark.assurance
def test_removing_a_check_makes_its_attack_test_fail(capsys: pytest.CaptureFixture[str]) -> None:
    status = mutants.main([])
    assert status == 0, capsys.readouterr().out


def test_every_mutant_still_finds_its_piece_of_source() -> None:
    """Cheap, in every run: a check that was rewritten must be named anew in the list of mutants."""
    for mutant in mutants.MUTANTS:
        source = (mutants.ROOT / "privcomp" / mutant.file).read_text("utf-8")
        assert source.count(mutant.old) == 1, (mutant.file, mutant.old)
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert f"def {name.partition('[')[0]}(" in (mutants.ROOT / file).read_text("utf-8")
