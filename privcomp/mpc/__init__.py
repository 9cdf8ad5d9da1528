"""Computing on shares: nobody sees the inputs, everybody may learn what the program opens."""

from privcomp.mpc.clients import ClientShares, Collection, Collector, MpcClient, agree
from privcomp.mpc.engine import Cost, Party, Session
from privcomp.mpc.protocols import PROTOCOLS, start
from privcomp.mpc.security import Adversary, Guarantee, Security
from privcomp.mpc.tensor import Mpc, Shared, SharedBits, tensors

__all__ = [
    "PROTOCOLS",
    "Adversary",
    "ClientShares",
    "Collection",
    "Collector",
    "Cost",
    "Guarantee",
    "Mpc",
    "MpcClient",
    "Party",
    "Security",
    "Session",
    "Shared",
    "SharedBits",
    "agree",
    "start",
    "tensors",
]
