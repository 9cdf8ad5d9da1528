"""Proofs that a committed vector is bounded: every entry in an interval, and claims about its norm, exactly.

One commitment in Hyrax layout, one proof of about 10 kB for a million entries. Protocol, notation and what it rests on:
docs/norm-proof.md.

>>> import numpy as np
>>> statement = NormStatement(100, -7, 7, (L2AtMost(400), HistogramAtMost.l0(-7, 7, 30)), columns=16)
>>> x = np.zeros(100, np.int64)
>>> x[:20] = -4
>>> commitment, opening = commit_var(statement, x)
>>> context = {"client": b"alice", "round": b"7"}
>>> proof = prove_var(statement, context, x, commitment, opening)
>>> check(statement, context, commitment, proof)
>>> check(statement, {**context, "client": b"eve"}, commitment, proof)
Traceback (most recent call last):
...
privcomp.errors.RemoteError: proof: the proof does not hold for this statement, context and commitment
"""

from privcomp.zk.norm.api import (
    Proven,
    check,
    commit_var,
    decode_commitment,
    failures,
    prove_var,
    require,
    scheme,
)
from privcomp.zk.norm.statement import (
    Claim,
    CosineAtLeast,
    DistanceAtMost,
    EntryRange,
    HistogramAtMost,
    InnerProductAtLeast,
    L2AtMost,
    NormStatement,
)

__all__ = [
    "Claim",
    "CosineAtLeast",
    "DistanceAtMost",
    "EntryRange",
    "HistogramAtMost",
    "InnerProductAtLeast",
    "L2AtMost",
    "NormStatement",
    "Proven",
    "check",
    "commit_var",
    "decode_commitment",
    "failures",
    "prove_var",
    "require",
    "scheme",
]
