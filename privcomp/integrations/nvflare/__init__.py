"""Secure aggregation for NVIDIA FLARE."""

from privcomp.integrations.nvflare.collab import SecureClients, secure_evaluation, secure_publish, simulate
from privcomp.integrations.nvflare.server import Outcome, Proposal
from privcomp.integrations.nvflare.simulation import simulation_homes
from privcomp.integrations.nvflare.tasks import (
    MaskFilter,
    ModelFilter,
    SecureExecutor,
    SecureFedAvg,
    SecureRounds,
    secure,
)

__all__ = [
    "MaskFilter",
    "ModelFilter",
    "Outcome",
    "Proposal",
    "SecureClients",
    "SecureExecutor",
    "SecureFedAvg",
    "SecureRounds",
    "secure",
    "secure_evaluation",
    "secure_publish",
    "simulate",
    "simulation_homes",
]
