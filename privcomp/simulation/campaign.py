"""Many random rounds, split into parts that run anywhere and add up to the same report."""

from __future__ import annotations

from privcomp.simulation.adversary import run_lying
from privcomp.simulation.scenario import Report, run_session

__all__ = ["campaign"]


def campaign(rounds: int, seed: int, part: int = 0) -> Report:
    """Run at least `rounds` rounds: three fifths with an honest server on a bad network, the rest with a lying one.

    Args:
        rounds: how many; sessions are run to their end, so a few more may come out.
        seed: the seed of everything.
        part: another part of the same campaign draws other rounds; parts are below 2^31.

    Returns:
        The report; `failures` is empty if everything held.

    Example:
        >>> campaign(4, seed=1).failures
        []
    """
    report, index = Report(), part << 32
    while report.rounds + report.lying < rounds:
        report.add(run_session(seed, index) if 2 * report.rounds <= 3 * report.lying else run_lying(seed, index))
        index += 1
    return report
