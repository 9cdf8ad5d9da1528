"""Commitments: to scalars and vectors (Pedersen), to an update row by row (Hyrax), to a list of records (Merkle), to a
polynomial whose values are shares (verifiable sharing of Feldman and Pedersen).

Pedersen commitments hide perfectly, whatever computer the reader has, and bind as long as discrete logarithms are hard;
they add up: the sum of commitments commits to the sum. A Merkle root binds and does not hide.
"""

from privcomp.commitments.generators import Generators
from privcomp.commitments.hyrax import Hyrax, Opening, RowCommitment
from privcomp.commitments.merkle import MerkleTree, verify_inclusion
from privcomp.commitments.pedersen import Pedersen
from privcomp.commitments.vss import FeldmanVss, PedersenVss, VssCommitment, VssShare

__all__ = [
    "FeldmanVss",
    "Generators",
    "Hyrax",
    "MerkleTree",
    "Opening",
    "Pedersen",
    "PedersenVss",
    "RowCommitment",
    "VssCommitment",
    "VssShare",
    "verify_inclusion",
]
