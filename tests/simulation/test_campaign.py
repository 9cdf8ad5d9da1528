"""2,000 random rounds, with all faults and all lies; `python -m tests.simulation` runs as many as one likes."""

from __future__ import annotations

import pytest

from privcomp.simulation import STRATEGIES, campaign, run_lying

CHUNKS, CHUNK = 16, 125


@pytest.mark.parametrize("part", range(CHUNKS))
def test_rounds_end_with_the_exact_sum_or_a_typed_abort_and_nothing_leaks(part: int) -> None:
    report = campaign(CHUNK, seed=20_26, part=part)
    print(report)
    assert not report.failures, "\n".join(report.failures)
    assert report.rounds + report.lying >= CHUNK
    assert report.share_within >= 0.5, str(report)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_of_a_lying_server_isolates_too_few(strategy: str) -> None:
    for index in range(4):
        report = run_lying(7, index, strategy)
        assert not report.failures, "\n".join(report.failures)
