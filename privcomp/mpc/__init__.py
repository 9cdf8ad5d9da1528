"""Computing on shares: nobody sees the inputs, everybody may learn what the program opens."""

from privcomp.mpc.tensor import Mpc, Shared, SharedBits, tensors

__all__ = ["Mpc", "Shared", "SharedBits", "tensors"]
