"""Zero-knowledge proofs: linear relations between committed values (sigma protocols), inner products, ranges.

A proof is made and checked on a `privcomp.transcript.Transcript` into which both sides have put the context: protocol,
session, round, ids. What is not in it can be exchanged. Proving is constant time in the witness. Checking returns None
or raises `RemoteError`, whatever the bytes.
"""

from privcomp.zk.inner_product import InnerProduct, InnerProductProof
from privcomp.zk.range_proof import Range, RangeProof
from privcomp.zk.sigma import Equation, LinearRelation, SigmaProof

__all__ = [
    "Equation",
    "InnerProduct",
    "InnerProductProof",
    "LinearRelation",
    "Range",
    "RangeProof",
    "SigmaProof",
]
