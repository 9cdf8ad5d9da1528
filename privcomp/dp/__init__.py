"""Differential privacy: plans for noise that clients add themselves, what they cost, and who keeps count.

`plan_distributed` makes a `DistributedPlan`, which encodes updates with their noise and decodes sums; its privacy is a
Rényi curve (`RdpCurve`), and a `BudgetFilter` refuses the round too many. Central and local mechanisms describe
themselves to an `Accountant` (extra `dp`). `AdaptiveClip` follows a quantile inside a frozen plan; `OneRunAudit` tests
claims.
"""

from privcomp.dp.accountant import Accountant
from privcomp.dp.audit import OneRunAudit
from privcomp.dp.budget import BudgetFilter
from privcomp.dp.clipping import AdaptiveClip
from privcomp.dp.mechanisms import (
    ClippedGaussian,
    DiscreteGaussianMechanism,
    DiscreteLaplaceMechanism,
    GaussianMechanism,
    LaplaceMechanism,
    PoissonSampled,
)
from privcomp.dp.plan import DistributedPlan, Encoded, PrivateMean
from privcomp.dp.rdp import ORDERS, RdpCurve
from privcomp.dp.solver import PrivacyWarning, plan_distributed, solve_reference

__all__ = [
    "ORDERS",
    "Accountant",
    "AdaptiveClip",
    "BudgetFilter",
    "ClippedGaussian",
    "DiscreteGaussianMechanism",
    "DiscreteLaplaceMechanism",
    "DistributedPlan",
    "Encoded",
    "GaussianMechanism",
    "LaplaceMechanism",
    "OneRunAudit",
    "PoissonSampled",
    "PrivacyWarning",
    "PrivateMean",
    "RdpCurve",
    "plan_distributed",
    "solve_reference",
]
