"""Error classes that teach.

Two families, because the reader of a traceback needs to know at once whose fault it is:

* `LocalError`: the caller misused the API, or this node's own policy, journal or ledger head refuses to go on.
* `RemoteError`: a peer cheated, broke, or sent something that no honest peer sends.

The text of every error says what was seen, what is allowed, and what to do. No error carries a secret.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "BufferTypeError",
    "CodecError",
    "EncodingError",
    "ExecutorError",
    "JournalError",
    "LedgerError",
    "LocalError",
    "ParameterError",
    "PolicyError",
    "PrivcompError",
    "RemoteError",
    "RoundAborted",
    "StateError",
]


class PrivcompError(Exception):
    """Base of every error that this library raises on purpose."""


class LocalError(PrivcompError):
    """This node refuses: wrong use of the API, or its own policy, journal or ledger head says no."""


class ParameterError(LocalError, ValueError):
    """A parameter is outside of what the security formulas or the arithmetic allow."""


class BufferTypeError(LocalError, TypeError):
    """An array has the wrong dtype, shape, contiguity or writability for the core."""


class EncodingError(LocalError, ValueError):
    """A value cannot be encoded exactly: NaN, infinite, wrong dtype or shape, forbidden weight, possible wrap."""


class StateError(LocalError):
    """A protocol state was used twice or out of order."""


class PolicyError(LocalError):
    """The server asks for something that this node's own policy forbids."""


class BudgetError(LocalError):
    """This node's privacy budget does not pay for another release, or does not count what is asked for."""


class JournalError(LocalError):
    """The journal shows that answering would repeat or contradict something that was already sent."""


class ExecutorError(LocalError):
    """The executor that was given for heavy work did not do it, or returned what is no result."""


class LedgerError(LocalError):
    """The ledger that was shown has a gap, a fork or a record that does not verify."""


class RemoteError(PrivcompError):
    """A peer cheated, broke, or sent garbage.

    Args:
        party: id of the peer, `b"server"` for the server, or None where nobody can be named.
        stage: protocol stage in which it was noticed.
        message: what was seen, what was allowed, what to do.
    """

    def __init__(self, party: bytes | None, stage: str, message: str) -> None:
        self.party = party
        self.stage = stage
        self.message = message
        super().__init__(f"{stage}: {message}" if party is None else f"{stage}: party {party!r}: {message}")


class CodecError(RemoteError):
    """Received bytes are not a canonical message."""

    def __init__(self, message: str, party: bytes | None = None, stage: str = "decode") -> None:
        super().__init__(party, stage, message)

    def by(self, party: bytes | None, stage: str) -> CodecError:
        """The same error with the peer and the stage filled in."""
        return CodecError(self.message, party, stage)


class RoundAborted(RemoteError):
    """The round cannot be completed (too few parties answered, or a rule failed); nothing was decoded."""
