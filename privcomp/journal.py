"""What was sent is remembered.

Before a client sends a share bundle, a masked input, a consistency signature or an unmask answer, it appends an entry
to its journal, under an exclusive lock and synced. A repeat of the same request gets the same bytes; another request
for a finished stage is refused. The secrets of a round lie beside the journal and carry the hash of the round's last
entry: if journal or secrets alone are rolled back they no longer match, and the client sits the round out.

This module has the interface, the record format and `MemoryJournal`; the file-backed journal lives in
`privcomp.integrations`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar

from privcomp.codec import U8, U64, Blob, Codec, Fixed, Message, Text
from privcomp.errors import JournalError

__all__ = ["Entry", "Journal", "MemoryJournal", "response_hash"]


@dataclass(frozen=True)
class Entry(Message):
    """One thing that was sent.

    Attributes:
        sequence, previous: place in the chain and hash of the entry before (32 zero bytes for the first).
        identity: public key of the identity that the journal belongs to.
        protocol, session, round, purpose, model_hash, round_digest: the round.
        stage: index of the stage.
        request: SHA-256 of the request that was answered.
        response: `response_hash` of the answer's messages.
        note: what later rules need (the digest of the survivor set, for an answer).
    """

    TAG: ClassVar[int] = 0x08
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("sequence", U64),
        ("previous", Fixed(32)),
        ("identity", Fixed(32)),
        ("protocol", Text(32)),
        ("session", Fixed(32)),
        ("round", U64),
        ("purpose", Text(64)),
        ("model_hash", Fixed(32)),
        ("round_digest", Fixed(32)),
        ("stage", U8),
        ("request", Fixed(32)),
        ("response", Fixed(32)),
        ("note", Blob(64)),
    )
    sequence: int
    previous: bytes
    identity: bytes
    protocol: str
    session: bytes
    round: int
    purpose: str
    model_hash: bytes
    round_digest: bytes
    stage: int
    request: bytes
    response: bytes
    note: bytes

    @property
    def hash(self) -> bytes:
        """SHA-256 of the entry's bytes."""
        return sha256(self.to_bytes()).digest()


def response_hash(messages: Iterable[bytes]) -> bytes:
    """SHA-256 over the SHA-256 hashes of the messages, in order."""
    whole = sha256(b"privcomp-journal-answer")
    for message in messages:
        whole.update(sha256(message).digest())
    return whole.digest()


class Journal(ABC):
    """An append-only chain of entries with the answers and, while a round runs, its secrets.

    A journal belongs to one identity. All methods but `locked` are called inside `with journal.locked():`.
    """

    identity: bytes

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Exclusive access, across threads and (for a file) processes. JournalError where another process holds it."""

    @abstractmethod
    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first."""

    @abstractmethod
    def _store(self, messages: Iterable[bytes]) -> bytes:
        """Store an answer, synced, and return its `response_hash`; what no entry refers to may be deleted."""

    @abstractmethod
    def _write(self, entry: Entry, secrets: bytes | None) -> None:
        """Store the secrets, then the entry, each synced: after a crash in between the old secrets still match."""

    @abstractmethod
    def answer(self, entry: Entry) -> Iterator[bytes]:
        """The messages that were stored with an entry."""

    @abstractmethod
    def _secrets(self, round_digest: bytes) -> tuple[bytes, bytes] | None:
        """(hash of the entry that they belong to, secrets) of a round, or None."""

    @abstractmethod
    def remember(self, name: str, data: bytes) -> None:
        """Keep small named bytes across restarts (the ledger head that this client last saw)."""

    @abstractmethod
    def recall(self, name: str) -> bytes | None:
        """What was remembered under a name, or None."""

    @abstractmethod
    def _open_rounds(self) -> Iterable[bytes]:
        """Round digests whose secrets are stored."""

    @abstractmethod
    def erase(self, round_digest: bytes) -> None:
        """Destroy the secrets of a round that ended."""

    @property
    def head(self) -> bytes:
        """Hash of the last entry (32 zero bytes for an empty journal)."""
        entries = self.entries()
        return entries[-1].hash if entries else bytes(32)

    def append(
        self,
        *,
        protocol: str,
        session: bytes,
        round: int,
        purpose: str,
        model_hash: bytes,
        round_digest: bytes,
        stage: int,
        request: bytes,
        messages: Iterable[bytes],
        secrets: bytes | None,
        note: bytes = b"",
    ) -> Entry:
        """Store an answer and append its entry. A stage of a round is written once.

        `messages` is consumed once, so that a large answer is never held as a whole.

        Raises:
            JournalError: the stage is already there.
        """
        if self.find(round_digest, stage) is not None:
            raise JournalError(
                "this stage of the round is in the journal already; the stored answer must be sent instead"
            )
        response = self._store(messages)
        entries = self.entries()
        entry = Entry(
            len(entries),
            entries[-1].hash if entries else bytes(32),
            self.identity,
            protocol,
            session,
            round,
            purpose,
            model_hash,
            round_digest,
            stage,
            request,
            response,
            note,
        )
        self._write(entry, secrets)
        return entry

    def find(self, round_digest: bytes, stage: int) -> Entry | None:
        """The entry of a stage, or None."""
        return next((e for e in self.entries() if e.stage == stage and e.round_digest == round_digest), None)

    def of_model(self, model_hash: bytes) -> tuple[Entry, ...]:
        """All entries on a model, in whatever session, purpose or protocol."""
        return tuple(e for e in self.entries() if e.model_hash == model_hash)

    def of_round(self, session: bytes, round: int) -> tuple[Entry, ...]:
        """All entries of a (session, round)."""
        return tuple(e for e in self.entries() if e.session == session and e.round == round)

    def open_rounds(self) -> tuple[bytes, ...]:
        """Digests of the rounds whose secrets are stored, the one with the oldest last entry first."""
        last = {e.round_digest: e.sequence for e in self.entries()}
        return tuple(sorted(self._open_rounds(), key=lambda digest: last.get(digest, -1)))

    def secrets(self, round_digest: bytes) -> bytes | None:
        """The secrets of a round, or None where the round ended or never began.

        Raises:
            JournalError: secrets and journal do not belong together (one of them was rolled back): sit this round out.
        """
        stored = self._secrets(round_digest)
        if stored is None:
            return None
        last = next((e for e in reversed(self.entries()) if e.round_digest == round_digest), None)
        if last is None or last.hash != stored[0]:
            raise JournalError(
                "round secrets and journal do not match: one of them was rolled back; this client sits the round out"
            )
        return stored[1]


class MemoryJournal(Journal):
    """A journal in memory, for tests and simulations; it forgets everything when the process ends."""

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self._lock = threading.RLock()
        self._entries: list[Entry] = []
        self._answers: dict[bytes, tuple[bytes, ...]] = {}
        self._round_secrets: dict[bytes, tuple[bytes, bytes]] = {}
        self._index: dict[tuple[bytes, int], Entry] = {}
        self._remembered: dict[str, bytes] = {}

    def locked(self) -> AbstractContextManager[None]:
        return _held(self._lock)

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def find(self, round_digest: bytes, stage: int) -> Entry | None:
        return self._index.get((round_digest, stage))

    def _store(self, messages: Iterable[bytes]) -> bytes:
        stored = tuple(messages)
        response = response_hash(stored)
        self._answers[response] = stored
        return response

    def _write(self, entry: Entry, secrets: bytes | None) -> None:
        if secrets is not None:
            self._round_secrets[entry.round_digest] = (entry.hash, secrets)
        self._entries.append(entry)
        self._index[entry.round_digest, entry.stage] = entry

    def answer(self, entry: Entry) -> Iterator[bytes]:
        return iter(self._answers[entry.response])

    def _secrets(self, round_digest: bytes) -> tuple[bytes, bytes] | None:
        return self._round_secrets.get(round_digest)

    def remember(self, name: str, data: bytes) -> None:
        self._remembered[name] = data

    def recall(self, name: str) -> bytes | None:
        return self._remembered.get(name)

    def _open_rounds(self) -> Iterable[bytes]:
        return tuple(self._round_secrets)

    def erase(self, round_digest: bytes) -> None:
        self._round_secrets.pop(round_digest, None)


@contextmanager
def _held(lock: threading.RLock) -> Iterator[None]:
    with lock:
        yield
