"""The hash-chained, signed record of a run: what the server did, round by round, so that others can check it."""

from __future__ import annotations

from privcomp.ledger.audit import (
    UNATTESTED,
    AuditFailure,
    AuditReport,
    Check,
    RoundVerifier,
    audit,
    read_beside,
    read_heads,
)
from privcomp.ledger.chain import HeaderChain, Ledger, recover
from privcomp.ledger.record import ABORTED, COMPLETE, Header, Record, genesis

__all__ = [
    "ABORTED",
    "COMPLETE",
    "UNATTESTED",
    "AuditFailure",
    "AuditReport",
    "Check",
    "Header",
    "HeaderChain",
    "Ledger",
    "Record",
    "RoundVerifier",
    "audit",
    "genesis",
    "read_beside",
    "read_heads",
    "recover",
]
