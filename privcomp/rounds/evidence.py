"""What an attested round leaves in the ledger, so that others can check it without the server."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from privcomp.attest import UpdateContext
from privcomp.errors import CodecError, RemoteError
from privcomp.ledger import Record, read_beside
from privcomp.rounds.messages import Evidence
from privcomp.secagg.context import SERVER
from privcomp.secagg.messages import Announce

__all__ = ["DIGEST", "FILE", "INLINE", "evidence_of", "update_context"]

#: Names in `Record.extras`: the evidence itself, or the file beside the ledger that holds it, and its SHA-256.
INLINE: Final = "attest"
FILE: Final = "attest-file"
DIGEST: Final = "attest-sha256"
_STAGE: Final = "attest"


def update_context(announce: Announce) -> UpdateContext:
    """The round that its attestations are bound to."""
    return UpdateContext(announce.session, announce.round, announce.model_hash, announce.roster_hash)


def evidence_of(record: Record, ledger: Path) -> Evidence | None:
    """The evidence of a record; None: it has none.

    Args:
        record: what the ledger says.
        ledger: its file; larger evidence lies beside it.

    Raises:
        LedgerError: the file cannot be read.
        RemoteError: it holds something else than the record says, or no evidence.
    """
    extras = dict(record.extras)
    data = extras.get(INLINE)
    if data is not None and FILE in extras:
        raise RemoteError(SERVER, _STAGE, "the record has attestations of its own and names a file with others")
    if data is None and FILE in extras:
        data = read_beside(ledger, extras[FILE].decode("utf-8", "replace"))
        if sha256(data).digest() != extras.get(DIGEST):
            raise RemoteError(SERVER, _STAGE, "the file with the attestations has another SHA-256 than the record says")
    if data is None:
        return None
    try:
        return Evidence.from_bytes(data, max_bytes=len(data))
    except CodecError as error:
        raise error.by(SERVER, _STAGE) from None
