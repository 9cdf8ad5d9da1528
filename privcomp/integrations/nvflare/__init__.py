"""Secure aggregation for NVIDIA FLARE."""

from privcomp.integrations.nvflare.collab import SecureClients, secure_evaluation, secure_publish, simulate
from privcomp.integrations.nvflare.server import Outcome, Proposal
from privcomp.integrations.nvflare.simulation import simulation_homes

__all__ = [
    "Outcome",
    "Proposal",
    "SecureClients",
    "secure_evaluation",
    "secure_publish",
    "simulate",
    "simulation_homes",
]
