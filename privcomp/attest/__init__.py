"""What a client states about its update, the proof of it, and the check that a published sum is that of proven updates.

Messages, guarantees and what is not guaranteed: docs/attest.md.

>>> import numpy as np
>>> from privcomp.encoding import FixedPoint
>>> from privcomp.keys import Identity
>>> encoding = FixedPoint(8, 2.0**-6, "prescaled", max_weight=5, clients=3, entries=20, max_error=1.0)
>>> statements = AttestationSpec(columns=16, l2_squared=400).statements(encoding)
>>> context = UpdateContext(session=b"session", round=7, model=b"model hash", roster=b"roster hash")
>>> alice = Identity.generate()
>>> x = encoding.encode(np.full(20, 0.0625), 3, rng=lambda n: bytes(n))
>>> attestation, blindings = attest_var(statements, context, b"alice", alice, (x,))
>>> checked = check_attestation(statements, context, b"alice", alice.public, attestation.to_bytes())
>>> check_sum(statements, [b"alice"], {b"alice": checked}, x, blindings.to_bytes())
>>> check_attestation(statements, context, b"eve", alice.public, attestation.to_bytes())
Traceback (most recent call last):
...
privcomp.errors.RemoteError: attest: party b'eve': the signature of its attestation does not verify
"""

from privcomp.attest.attestation import (
    Attestation,
    AttestationPart,
    Submission,
    UpdateContext,
    attest_message,
    attest_var,
    check_attestation,
    check_attestations,
)
from privcomp.attest.spec import AttestationSpec
from privcomp.attest.total import check_sum

__all__ = [
    "Attestation",
    "AttestationPart",
    "AttestationSpec",
    "Submission",
    "UpdateContext",
    "attest_message",
    "attest_var",
    "check_attestation",
    "check_attestations",
    "check_sum",
]
