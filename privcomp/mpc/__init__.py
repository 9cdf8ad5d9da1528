"""Computing on shares: nobody sees the inputs, everybody may learn what the program opens."""

from privcomp.mpc.clients import ClientShares, Collection, Collector, MpcClient, agree
from privcomp.mpc.tensor import Mpc, Shared, SharedBits, tensors

__all__ = [
    "ClientShares",
    "Collection",
    "Collector",
    "Mpc",
    "MpcClient",
    "Shared",
    "SharedBits",
    "agree",
    "tensors",
]
