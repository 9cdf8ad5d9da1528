"""A journal in a folder of its own: append-only, hash-chained, synced, mode 0600, one process at a time.

    journal          magic and identity, then framed entries, each chained to the one before
    answers/<hash>   messages of an entry, length-prefixed
    secrets/<round>.<sequence>  secrets of a running round, behind the hash of the entry that they belong to
    memory/<name>    small named bytes (the last ledger head; `mark`: length and head of the journal)
    lock             held exclusively while the journal is open

Every write is synced (file and folder) before the call returns. Secrets are written before their entry, under the
entry's
sequence number: after a crash in between the older secrets still match the journal.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Self

from privcomp.errors import CodecError, JournalError
from privcomp.integrations.files import replace_file, sync_folder
from privcomp.journal import Entry, Journal, response_hash

__all__ = ["FileJournal"]

_MAX_ENTRY = 4096
#: Answers up to this size are kept for ever, larger ones until their round ends.
_KEPT_ANSWER = 1 << 16
_LENGTH = struct.Struct("<Q")
_FRAME = struct.Struct("<II")  # length of an entry and its complement: damage does not look like a torn write
_MAGIC = b"privcomp-journal-1\n"
_MARK = "mark"


class FileJournal(Journal):
    """The journal of one identity in a folder.

    Create it together with the identity (`create`); an identity whose journal is lost must not be used again, because
    nobody knows any more what it has answered.

    Args:
        folder: the journal's folder.
        identity: public key of the identity that it belongs to.

    Raises:
        JournalError: no journal is here, it belongs to another identity, it is damaged, or another process holds it.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: bytes) -> None:
        self.identity = identity
        self._folder = Path(folder)
        self._thread_lock = threading.RLock()
        #: Held while something is written: `close` waits for a write, not for a training that holds the other lock.
        self._write_lock = threading.RLock()
        if not (self._folder / "journal").is_file():
            raise JournalError(
                f"there is no journal in {self._folder}: an identity is used only with the journal that was created "
                "with it; create a new identity with FileJournal.create"
            )
        self._lock_file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_file)
            raise JournalError(
                f"another process holds the journal in {self._folder}: one identity, one process; stop the other one"
            ) from None
        self._pid = os.getpid()
        try:
            self._entries = self._load()
        except BaseException:
            os.close(self._lock_file)
            raise
        self._index = {(e.round_digest, e.stage): e for e in self._entries}
        self._clean()

    @classmethod
    def create(cls, folder: str | os.PathLike[str], identity: bytes) -> Self:
        """Create an empty journal; the folder must not hold one already.

        Raises:
            JournalError: there is one.
        """
        path = Path(folder)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("answers", "secrets", "memory"):
            (path / name).mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(path / "journal", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise JournalError(f"{path} holds a journal already; it is never overwritten") from None
        os.write(descriptor, _MAGIC + identity)
        os.fsync(descriptor)
        os.close(descriptor)
        sync_folder(path)
        return cls(path, identity)

    def close(self) -> None:
        """Release the journal for other processes. A step that is still being computed in another thread fails."""
        with self._write_lock:
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def locked(self) -> AbstractContextManager[None]:
        return self._locked()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread_lock:
            if self._lock_file < 0:
                raise JournalError("the journal is closed; open it again")
            if os.getpid() != self._pid:
                raise JournalError("the journal was opened before a fork; a child process must not answer with it")
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """While this process still holds the journal: a thread may have begun its step before `close`."""
        with self._write_lock:
            if self._lock_file < 0:
                raise JournalError("the journal was closed while this step was computed; nothing is sent")
            yield

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def find(self, round_digest: bytes, stage: int) -> Entry | None:
        return self._index.get((round_digest, stage))

    def _load(self) -> list[Entry]:
        data = (self._folder / "journal").read_bytes()
        entries, whole = parse_entries(data, self.identity)
        if whole < len(data):
            # A write that a crash cut short: its answer was never sent, because sending waits for the sync.
            with open(self._folder / "journal", "r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())
        self._check_mark(entries)
        return entries

    def _check_mark(self, entries: list[Entry]) -> None:
        """The mark was written after every entry: a journal that is shorter than its mark was rolled back alone."""
        mark = self.recall(_MARK)
        if mark is None:
            return
        count = int.from_bytes(mark[:8], "little")
        if count > len(entries) or (count and entries[count - 1].hash != mark[8:]):
            raise JournalError(
                f"the journal has {len(entries)} entries, it had {count}: it was rolled back, so nobody knows any more "
                "what this identity has answered; retire it"
            )

    def _clean(self) -> None:
        """Delete answers that no entry refers to and secrets that are older than their round's last entry."""
        wanted = {e.response.hex() for e in self._entries}
        for path in (self._folder / "answers").iterdir():
            if path.name not in wanted:
                path.unlink()
        last = {e.round_digest.hex(): e.sequence for e in self._entries}
        for path in (self._folder / "secrets").iterdir():
            round_hex, _, sequence = path.name.partition(".")
            if not sequence:  # a write that a crash cut short
                _erase_file(path)
                continue
            if round_hex in last and sequence.isdigit() and int(sequence) < last[round_hex]:
                _erase_file(path)
            elif round_hex not in last and sequence == str(len(self._entries)):
                _erase_file(path)  # a crash before the first entry of a round: nothing was sent with these secrets

    def _store(self, messages: Iterable[bytes]) -> bytes:
        with _typed():
            return self._store_answer(messages)

    def _store_answer(self, messages: Iterable[bytes]) -> bytes:
        folder = self._folder / "answers"
        whole = sha256(b"privcomp-journal-answer")
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for message in messages:
                    file.write(_LENGTH.pack(len(message)))
                    file.write(message)
                    whole.update(sha256(message).digest())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
        response = whole.digest()
        os.replace(name, folder / response.hex())
        sync_folder(folder)
        return response

    def _write(self, entry: Entry, secrets: bytes | None) -> None:
        with self._writing():
            self._write_entry(entry, secrets)

    def _write_entry(self, entry: Entry, secrets: bytes | None) -> None:
        kept = self._folder / "secrets" / f"{entry.round_digest.hex()}.{entry.sequence}"
        try:
            with _typed():
                if secrets is not None:
                    replace_file(kept, entry.hash + secrets)
                    sync_folder(kept.parent)
                self._append(entry)
        except JournalError:
            with suppress(OSError):
                _erase_file(kept)  # nothing is sent: the step may be tried again
            raise
        # What fails from here on leaves the entry: the stored answer is sent when the step is asked for again.
        self.remember(_MARK, len(self._entries).to_bytes(8, "little") + entry.hash)
        with _typed():
            for path in (self._folder / "secrets").glob(f"{entry.round_digest.hex()}.*"):
                if int(path.name.partition(".")[2]) < entry.sequence and secrets is not None:
                    _erase_file(path)

    def _append(self, entry: Entry) -> None:
        body = entry.to_bytes()
        descriptor = os.open(self._folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            end = os.fstat(descriptor).st_size
            data = _FRAME.pack(len(body), len(body) ^ 0xFFFFFFFF) + body
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError("short write")
                os.fsync(descriptor)
            except OSError as error:
                os.ftruncate(descriptor, end)
                raise JournalError(f"the journal cannot be written ({error}); nothing is sent") from None
        finally:
            os.close(descriptor)
        self._entries.append(entry)
        self._index[entry.round_digest, entry.stage] = entry

    def answer(self, entry: Entry) -> Iterator[bytes]:
        # Once to see that every byte is as it was stored, once to send.
        if response_hash(self._messages(entry)) != entry.response:
            raise JournalError("the stored answer was changed; this client sits the round out")
        return self._messages(entry)

    def _messages(self, entry: Entry) -> Iterator[bytes]:
        try:
            file = open(self._folder / "answers" / entry.response.hex(), "rb")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise JournalError(
                f"the stored answer is gone ({error.strerror}): the round is over, or the folder was changed"
            ) from None
        with file:
            left = os.fstat(file.fileno()).st_size
            while prefix := file.read(8):
                size = _LENGTH.unpack(prefix)[0] if len(prefix) == 8 else left + 1
                left -= 8 + size
                if left < 0:
                    raise JournalError("the stored answer is damaged; this client sits the round out")
                yield file.read(size)

    def _secrets(self, round_digest: bytes) -> tuple[bytes, bytes] | None:
        paths = sorted(
            (self._folder / "secrets").glob(f"{round_digest.hex()}.*"), key=lambda p: int(p.name.partition(".")[2])
        )
        if not paths:
            return None
        last = next((e for e in reversed(self._entries) if e.round_digest == round_digest), None)
        # Secrets of a step whose entry was never written (a crash in between) are newer than the journal: not these.
        fitting = [p for p in paths if last is not None and int(p.name.partition(".")[2]) == last.sequence]
        data = (fitting or paths)[-1].read_bytes()
        return data[:32], data[32:]

    def erase(self, round_digest: bytes) -> None:
        with self._writing(), _typed():
            # Nobody needs the upload once its round was answered; a later repeat of that request is refused.
            for entry in self._entries:
                path = self._folder / "answers" / entry.response.hex()
                if entry.round_digest == round_digest and path.exists() and path.stat().st_size > _KEPT_ANSWER:
                    path.unlink()
            for path in (self._folder / "secrets").glob(f"{round_digest.hex()}.*"):
                _erase_file(path)
            sync_folder(self._folder / "secrets")

    def _open_rounds(self) -> Iterable[bytes]:
        names = {path.name.partition(".")[0] for path in (self._folder / "secrets").iterdir()}
        return tuple(bytes.fromhex(name) for name in names if len(name) == 64)

    def remember(self, name: str, data: bytes) -> None:
        folder = self._folder / "memory"
        with self._writing(), _typed():
            replace_file(folder / name, data)
            sync_folder(folder)

    def recall(self, name: str) -> bytes | None:
        try:
            return (self._folder / "memory" / name).read_bytes()
        except FileNotFoundError:
            return None

    def destroy(self) -> None:
        """Delete the whole journal (its identity must not be used again)."""
        self.close()
        shutil.rmtree(self._folder)


def parse_entries(data: bytes, identity: bytes) -> tuple[list[Entry], int]:
    """Parse the bytes of the journal file of `identity`, strictly.

    Returns:
        The entries, and the length of what is whole: behind it stands at most one entry whose write was cut short.

    Raises:
        JournalError: another identity's journal, or damaged.
    """
    start = len(_MAGIC) + 32
    if data[:start] != _MAGIC + identity:
        raise JournalError("the journal belongs to another identity, or its beginning is damaged")
    entries: list[Entry] = []
    previous, at = bytes(32), start
    while at < len(data):
        size, complement = _FRAME.unpack_from(data, at) if at + 8 <= len(data) else (0, 0xFFFFFFFF)
        body = data[at + 8 : at + 8 + size]
        if size ^ complement != 0xFFFFFFFF or size > _MAX_ENTRY:
            raise JournalError(f"entry {len(entries)} of the journal is damaged; retire this identity")
        if at + 8 > len(data) or len(body) < size:
            break
        try:
            entry = Entry.from_bytes(body, max_bytes=_MAX_ENTRY)
        except CodecError as error:
            raise JournalError(f"entry {len(entries)} of the journal is damaged: {error.message}") from None
        if entry.previous != previous or entry.sequence != len(entries) or entry.identity != identity:
            raise JournalError(f"entry {len(entries)} does not follow the one before, or is of another identity")
        entries.append(entry)
        previous, at = entry.hash, at + 8 + size
    return entries, at


@contextmanager
def _typed() -> Iterator[None]:
    """A full or broken disk is a JournalError: nothing was sent, and the step may be tried again."""
    try:
        yield
    except OSError as error:
        raise JournalError(f"the journal cannot be written ({error}); nothing is sent") from None


def _erase_file(path: Path) -> None:
    """Overwrite, then delete. What a file system or a drive keeps besides is beyond a program's reach: documented."""
    with suppress(FileNotFoundError):
        size = path.stat().st_size
        try:
            with open(path, "r+b") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
        finally:
            path.unlink()  # also where the disk takes no more writes
