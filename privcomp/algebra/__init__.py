"""Elements and vectors modulo something: word-size fields, groups of prime order and scalars, rings modulo 2^B."""

from privcomp.algebra.fields import GOLDILOCKS, M61, PrimeField
from privcomp.algebra.groups import BN254, RISTRETTO255, FixedBases, Group, Point, Points, Scalar, Scalars
from privcomp.algebra.hashing import expand_message_xmd
from privcomp.algebra.ring import Ring

__all__ = [
    "BN254",
    "GOLDILOCKS",
    "M61",
    "RISTRETTO255",
    "FixedBases",
    "Group",
    "Point",
    "Points",
    "PrimeField",
    "Ring",
    "Scalar",
    "Scalars",
    "expand_message_xmd",
]
