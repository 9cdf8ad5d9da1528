"""Aggregating updates of which some are poisoned, on shares: nobody sees an update, or which ones were left out."""

from typing import Final

from privcomp.mpc.robust.contributions import COSINE_ERROR, Contributions, contributions
from privcomp.mpc.robust.krum import Krum, MultiKrum
from privcomp.mpc.robust.norms import Mean, NormClip, NormFilter
from privcomp.mpc.robust.order import Median, TrimmedMean
from privcomp.mpc.robust.release import ONE_UPDATE, Outcome, Release
from privcomp.mpc.robust.rule import Rule, aggregate, terms
from privcomp.mpc.robust.trust import FLTrust
from privcomp.mpc.robust.updates import ShareSource, Updates

__all__ = [
    "COSINE_ERROR",
    "ONE_UPDATE",
    "RULES",
    "Contributions",
    "FLTrust",
    "Krum",
    "Mean",
    "Median",
    "MultiKrum",
    "NormClip",
    "NormFilter",
    "Outcome",
    "Release",
    "Rule",
    "ShareSource",
    "TrimmedMean",
    "Updates",
    "aggregate",
    "contributions",
    "terms",
]

RULES: Final[dict[str, type[Rule]]] = {
    rule.name: rule for rule in (Mean, NormClip, NormFilter, FLTrust, Krum, MultiKrum, TrimmedMean, Median)
}
"""All rules by name."""
