"""Commitments: to scalars and vectors (Pedersen), to an update row by row (Hyrax), to a list of records (Merkle).

Pedersen commitments hide perfectly, whatever computer the reader has, and bind as long as discrete logarithms are hard;
they add up: the sum of commitments commits to the sum. A Merkle root binds and does not hide.
"""

from privcomp.commitments.generators import Generators
from privcomp.commitments.hyrax import Hyrax, Opening, RowCommitment
from privcomp.commitments.merkle import MerkleTree, verify_inclusion
from privcomp.commitments.pedersen import Pedersen

__all__ = [
    "Generators",
    "Hyrax",
    "MerkleTree",
    "Opening",
    "Pedersen",
    "RowCommitment",
    "verify_inclusion",
]
