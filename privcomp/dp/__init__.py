"""Differential privacy: plans for noise that clients add themselves, what they cost, and who keeps count.

`plan_distributed` makes a `DistributedPlan`, which encodes updates with their noise and decodes sums; its privacy is a
Rényi curve (`RdpCurve`).
"""

from privcomp.dp.plan import Decoded, DistributedPlan, Encoded
from privcomp.dp.rdp import ORDERS, RdpCurve
from privcomp.dp.solver import PrivacyWarning, plan_distributed, solve_reference

__all__ = [
    "ORDERS",
    "Decoded",
    "DistributedPlan",
    "Encoded",
    "PrivacyWarning",
    "RdpCurve",
    "plan_distributed",
    "solve_reference",
]
