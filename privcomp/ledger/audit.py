"""Replay every check over a ledger file and name the first record that fails.

What a ledger can show depends on what the auditor knows beside it: the ledger key always, the roster for the clients'
signatures, a verifier per protocol for what those signatures cover, and the heads that clients remember against a
ledger that was cut. What was not or cannot be shown is said in the report's notes.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from privcomp.errors import LedgerError, ParameterError, PrivcompError
from privcomp.keys import Roster
from privcomp.ledger.chain import FrameError, check_link, decode_frame, read_frames, read_preamble
from privcomp.ledger.record import COMPLETE, Record, check_artefact, genesis

__all__ = ["UNATTESTED", "AuditFailure", "AuditReport", "Check", "RoundVerifier", "audit", "read_beside", "read_heads"]

#: What a ledger of rounds without attestations does not show.
UNATTESTED: Final = (
    "that a published sum is the sum of the survivors' inputs: needs attestations with proofs of the sum"
)

Check = Callable[[Record], None]
"""A further check of one record; raises RemoteError or LedgerError with what it saw."""


class RoundVerifier(Protocol):
    """What a protocol signs, for the auditor; given by the layer that knows the protocol.

    A method that meets malformed parameters or messages raises a PrivcompError.
    """

    def round_digest(self, record: Record) -> bytes:
        """Recompute the round digest from the record's other fields."""

    def key_list_hash(self, record: Record) -> bytes:
        """Recompute the hash of the advertisements."""

    def advertisement_ok(self, record: Record, party: bytes, public: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `message` is `party`'s advertisement of this round, signed by `public`."""

    def certified(self, record: Record) -> bool:
        """Whether others than the survivors signed their set, as the parameters ask for; raises where they did not."""

    def quorum_size(self, record: Record) -> int:
        """How many signatures over the survivor set the parameters ask for; 0 in semi-honest mode."""

    def quorum_signature_ok(self, record: Record, party: bytes, public: bytes, signature: bytes) -> bool:
        """Whether `party`, with key `public`, signed exactly (U2, U) of this record."""


@dataclass(frozen=True)
class AuditFailure:
    """The first thing that is wrong.

    Args:
        index: number of the record; None if it concerns the file as a whole.
        round: the record's round number; None if it cannot be read.
        check: name of the check.
        seen: what was seen.
    """

    index: int | None
    round: int | None
    check: str
    seen: str

    def __str__(self) -> str:
        where = "the file" if self.index is None else f"record {self.index}"
        of_round = "" if self.round is None else f" (round {self.round})"
        return f"{where}{of_round}: {self.check}: {self.seen}"


@dataclass(frozen=True)
class AuditReport:
    """Result of an audit.

    Args:
        records: number of records that passed every check.
        complete: how many of them published a sum.
        head: head after the last of them, 32 bytes.
        failure: the first failure; None if everything passed.
        notes: what this audit does not show.
        shown: what it shows beyond the checks of every ledger.
    """

    records: int
    complete: int
    head: bytes
    failure: AuditFailure | None
    notes: tuple[str, ...]
    shown: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return self.failure is None

    def to_json(self) -> str:
        """One JSON object."""
        failure = None
        if self.failure is not None:
            failure = {
                "index": self.failure.index,
                "round": self.failure.round,
                "check": self.failure.check,
                "seen": self.failure.seen,
            }
        return json.dumps(
            {
                "ok": self.ok,
                "records": self.records,
                "complete": self.complete,
                "aborted": self.records - self.complete,
                "head": self.head.hex(),
                "failure": failure,
                "notes": list(self.notes),
                "shown": list(self.shown),
            },
            indent=2,
        )

    def __str__(self) -> str:
        verdict = "passed" if self.failure is None else f"FAILED at {self.failure}"
        lines = [
            f"audit {verdict}",
            f"records that passed: {self.records} ({self.complete} complete, {self.records - self.complete} aborted)",
            f"head: {self.head.hex()}",
            *(f"shown: {what}" for what in self.shown),
            *(f"not shown: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


class _Failed(Exception):
    def __init__(self, check: str, seen: str) -> None:
        super().__init__(seen)
        self.check = check
        self.seen = seen


def audit(
    path: str | os.PathLike[str],
    *,
    ledger_key: bytes,
    roster: Roster | None = None,
    heads: Iterable[bytes] | None = None,
    verifiers: Mapping[str, RoundVerifier] | None = None,
    checks: Sequence[Check] = (),
) -> AuditReport:
    """Check a ledger file from its first byte to its last; bad content is reported, never raised.

    Args:
        path: the ledger; artefacts that it names are read from the same folder.
        ledger_key: the server's ledger key, 32 bytes, known out of band.
        roster: ids and long-term keys, known out of band; without it no client's signature is checked.
        heads: heads that clients remember (`HeaderChain.head`); each must lie on the chain.
        verifiers: `Record.protocol` -> what that protocol signs; None checks the chain and the sets only.
        checks: further checks of every record, run last; named by their `__name__`.

    Returns:
        The report, with the first failure if there is one.

    Raises:
        LedgerError: the file cannot be opened.
    """
    path = Path(path)
    remembered = None if heads is None else tuple(heads)
    state = _Audit(path, ledger_key, roster, verifiers, checks)
    failure = state.run()
    if failure is None:
        for head in remembered or ():
            if head not in state.heads:
                failure = AuditFailure(
                    None,
                    None,
                    "client heads",
                    f"a client remembers head {head.hex()[:16]}..., which is not on this chain of "
                    f"{state.count} records: the ledger was cut, forked or rewritten",
                )
                break
    return AuditReport(state.count, state.complete, state.head, failure, state.notes(remembered is not None))


class _Audit:
    def __init__(
        self,
        path: Path,
        ledger_key: bytes,
        roster: Roster | None,
        verifiers: Mapping[str, RoundVerifier] | None,
        checks: Sequence[Check],
    ) -> None:
        self.path = path
        self.key = ledger_key
        self.roster = roster
        self.verifiers = verifiers
        self.checks = checks
        self.count = 0
        self.complete = 0
        self.head = genesis(ledger_key)
        self.heads = {self.head}
        self.releases: dict[bytes, int] = {}
        self.repeated: list[tuple[int, int]] = []
        self.published: set[bytes] = set()  # digests of the rounds that published a sum
        self.unsigned_sets = False

    def run(self) -> AuditFailure | None:
        try:
            file = open(self.path, "rb")  # noqa: SIM115 (closed by the with statement below)
        except OSError as error:
            raise LedgerError(f"the ledger {self.path} cannot be opened: {error.strerror}") from None
        with file:
            try:
                key = read_preamble(file)
            except FrameError as error:
                return AuditFailure(None, None, "framing", str(error))
            if key != self.key:
                return AuditFailure(
                    None,
                    None,
                    "ledger key",
                    f"the file names key {key.hex()[:16]}..., expected is {self.key.hex()[:16]}...",
                )
            try:
                for header_bytes, record_bytes in read_frames(file):
                    failure = self._one(header_bytes, record_bytes)
                    if failure is not None:
                        return failure
            except FrameError as error:
                return AuditFailure(self.count, None, "framing", str(error))
        return None

    def _one(self, header_bytes: bytes, record_bytes: bytes) -> AuditFailure | None:
        try:
            header, record = decode_frame(header_bytes, record_bytes, self.count)
        except LedgerError as error:
            return AuditFailure(self.count, None, "canonical encoding", str(error))
        problem = check_link(header, record, self.count, self.head, self.key)
        if problem is not None:
            return AuditFailure(self.count, record.round, *problem)
        try:
            self._content(record)
        except _Failed as failed:
            return AuditFailure(self.count, record.round, failed.check, failed.seen)
        if record.outcome == COMPLETE:
            self.complete += 1
            earlier = self.releases.setdefault(record.model_hash, self.count)
            if earlier != self.count:
                self.repeated.append((earlier, self.count))
        self.count += 1
        self.head = header.hash
        self.heads.add(self.head)
        return None

    def _content(self, record: Record) -> None:
        if record.announced_head not in self.heads:
            raise _Failed("announced head", "the round was announced on a head that this chain never had")
        self._sets(record)
        if self.verifiers is not None:
            verifier = self.verifiers.get(record.protocol)
            if verifier is None:
                raise _Failed(
                    "protocol", f"no verifier for {record.protocol!r}; this auditor knows {sorted(self.verifiers)}"
                )
            try:
                self._signatures(record, verifier)
            except PrivcompError as error:
                raise _Failed("protocol", str(error)) from None
        published = self._aggregate(record)
        shown = record if published is None else replace(record, aggregate=published, artefact=None)
        for check in self.checks:
            try:
                check(shown)
            except PrivcompError as error:
                raise _Failed(getattr(check, "__name__", "check"), str(error)) from None

    def _sets(self, record: Record) -> None:
        if self.roster is not None:
            if record.roster_hash != self.roster.hash:
                raise _Failed("roster", "the round used another roster than the one that was given")
            _subset(record.u1, self.roster.ids, "U1", "the roster")
        _subset(record.u2, record.u1, "U2", "U1")
        _subset(record.survivors, record.u2, "the survivors", "U2")
        _subset([party for party, _ in record.quorum], record.survivors, "the signers of the quorum", "the survivors")
        advertised = tuple(party for party, _, _ in record.advertisements)
        if advertised != record.u1:
            raise _Failed(
                "advertisements", f"{len(advertised)} advertisements do not match the {len(record.u1)} ids of U1"
            )
        if record.outcome == COMPLETE and not record.survivors:
            raise _Failed("survivors", "a complete round has no survivors")

    def _signatures(self, record: Record, verifier: RoundVerifier) -> None:
        if verifier.round_digest(record) != record.round_digest:
            raise _Failed("round digest", "the recorded parameters and context give another digest")
        if record.u1 and verifier.key_list_hash(record) != record.key_list_hash:
            raise _Failed("key list", "the recorded advertisements give another key-list hash")
        needed = verifier.quorum_size(record)
        if record.outcome == COMPLETE and not needed and not verifier.certified(record):
            self.unsigned_sets = True
        if record.outcome == COMPLETE and len(record.quorum) < needed:
            raise _Failed("quorum", f"{len(record.quorum)} signatures over the survivors, {needed} are needed")
        if self.roster is None:
            return
        for party, message, signature in record.advertisements:
            if not verifier.advertisement_ok(record, party, self.roster.public(party), message, signature):
                raise _Failed("advertisement signature", f"the advertisement of {party!r} does not verify")
        for party, signature in record.quorum:
            if not verifier.quorum_signature_ok(record, party, self.roster.public(party), signature):
                raise _Failed("quorum signature", f"the signature of {party!r} over (U2, U) does not verify")

    def _aggregate(self, record: Record) -> bytes | None:
        """The published bytes, read once, so that what is hashed is what is checked further."""
        if record.outcome != COMPLETE:
            return None
        if record.round_digest in self.published:
            raise _Failed("round", "this very round published a sum in an earlier record already")
        self.published.add(record.round_digest)
        published = record.aggregate
        if published is None:
            try:
                published = read_beside(self.path, str(record.artefact))
            except LedgerError as error:
                raise _Failed("aggregate", str(error)) from None
        if hashlib.sha256(published).digest() != record.aggregate_digest:
            raise _Failed("aggregate", "the published bytes have another SHA-256 than the record says")
        return published

    def notes(self, with_heads: bool) -> tuple[str, ...]:
        notes = []
        if self.verifiers is None:
            notes.append("round digests and the clients' signatures: no protocol verifier was given")
        if self.roster is None:
            notes.append("that the clients are those of the roster: no roster was given, so no signature was checked")
        if not with_heads:
            notes.append("that nothing was cut off at the end or replaced as a whole: no client heads were given")
        else:
            notes.append("that nothing was cut off after the newest of the given client heads")
        notes.append(UNATTESTED)
        if self.unsigned_sets:
            notes.append("that the sets U2 and U of semi-honest rounds are true: no client signs them")
        notes.append("that data and training are truthful, or that noise was drawn as claimed")
        for earlier, later in self.repeated:
            notes.append(f"independence of records {earlier} and {later}: both released a sum over the same model")
        return tuple(notes)


def _subset(inner: Iterable[bytes], outer: Iterable[bytes], inner_name: str, outer_name: str) -> None:
    strangers = sorted(set(inner) - set(outer))
    if strangers:
        raise _Failed("sets", f"{inner_name} must lie in {outer_name}; {strangers[0]!r} does not")


def read_beside(ledger: Path, name: str) -> bytes:
    """The bytes of a file that a record names.

    Args:
        ledger: the ledger's file.
        name: a plain file name, of a file in the same folder.

    Raises:
        LedgerError: another kind of name, no regular file, or it cannot be read.
    """
    try:
        check_artefact(name)
        # Neither a link out of the folder nor a pipe that never ends.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(ledger.parent / name, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise LedgerError(f"artefact {name!r} is no regular file")
            return file.read()
    except ParameterError as error:
        raise LedgerError(f"artefact {name!r}: {error}") from None
    except OSError as error:
        raise LedgerError(f"artefact {name!r} cannot be read: {error.strerror}") from None


def read_heads(path: str | os.PathLike[str]) -> tuple[bytes, ...]:
    """Read the heads that clients remember: one per line as 64 hex digits, then anything; `#` begins a comment line.

    Raises:
        LedgerError: the file cannot be read, or a line does not begin with 64 hex digits.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"the heads file {path} cannot be read: {error}") from None
    heads = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word = line.split()[0]
        if len(word) != 64 or set(word) - set("0123456789abcdef"):
            raise LedgerError(f"line {number} of {path} does not begin with 64 lower-case hex digits")
        heads.append(bytes.fromhex(word))
    return tuple(heads)
