"""The journal: one answer per stage, chained, and tied to the round's secrets."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from privcomp.errors import CodecError, JournalError
from privcomp.journal import Entry, MemoryJournal, response_hash

ROUND = b"\7" * 32


def append(journal: Any, stage: int = 0, digest: bytes = ROUND, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "protocol": "bonawitz",
        "session": bytes(32),
        "round": 1,
        "purpose": "training",
        "model_hash": b"\1" * 32,
        "round_digest": digest,
        "stage": stage,
        "request": b"\2" * 32,
        "messages": [b"one", b"two"],
        "secrets": b"secret %d" % stage,
        **changes,
    }
    with journal.locked():
        return journal.append(**values)


def test_entries_are_chained_and_found() -> None:
    journal = MemoryJournal(b"\3" * 32)
    assert journal.head == bytes(32)
    first, second = append(journal, 0), append(journal, 1)
    assert (first.sequence, second.sequence) == (0, 1)
    assert second.previous == first.hash
    assert journal.head == second.hash
    assert journal.find(ROUND, 1) == second
    assert journal.find(ROUND, 2) is None
    assert journal.find(bytes(32), 0) is None
    assert list(journal.answer(first)) == [b"one", b"two"]
    assert first.response == response_hash([b"one", b"two"])


def test_a_stage_is_written_once() -> None:
    """A second answer for one stage of a round is refused before its messages exist."""
    journal = MemoryJournal(b"\3" * 32)
    append(journal, 2)
    consumed: list[bytes] = []

    def messages() -> Any:
        consumed.append(b"")
        yield b"another answer"

    with pytest.raises(JournalError, match="in the journal already"):
        append(journal, 2, messages=messages())
    assert not consumed
    assert len(journal.entries()) == 1
    append(journal, 2, digest=bytes(32))


def test_an_answer_that_fails_half_way_leaves_nothing() -> None:
    """Messages are computed while they are stored: an error among them writes no entry and keeps the old secrets."""
    journal = MemoryJournal(b"\3" * 32)
    append(journal, 0)

    def failing() -> Any:
        yield b"first block"
        raise ValueError("the update has the wrong shape")

    with pytest.raises(ValueError, match="wrong shape"):
        append(journal, 1, messages=failing())
    assert journal.find(ROUND, 1) is None
    assert journal.secrets(ROUND) == b"secret 0"


def test_of_model_and_of_round_count_every_session_and_purpose() -> None:
    journal = MemoryJournal(b"\3" * 32)
    append(journal, 0)
    append(journal, 0, digest=b"\4" * 32, session=b"\1" * 32, purpose="evaluation")
    append(journal, 0, digest=b"\5" * 32, model_hash=b"\6" * 32)
    assert len(journal.of_model(b"\1" * 32)) == 2
    assert len(journal.of_round(bytes(32), 1)) == 2
    assert journal.of_model(bytes(32)) == ()


def test_secrets_must_fit_the_last_entry_of_their_round() -> None:
    """Secrets carry the hash of the entry that they belong to; anything else is a rollback of one of the two."""
    journal = MemoryJournal(b"\3" * 32)
    append(journal, 0)
    assert journal.secrets(ROUND) == b"secret 0"
    old = dict(journal._round_secrets)
    append(journal, 1)
    journal._round_secrets = old
    with pytest.raises(JournalError, match="one of them was rolled back"):
        journal.secrets(ROUND)
    assert journal.secrets(bytes(32)) is None
    journal.erase(ROUND)
    assert journal.secrets(ROUND) is None


def test_other_rounds_in_between_do_not_disturb() -> None:
    journal = MemoryJournal(b"\3" * 32)
    append(journal, 0)
    append(journal, 0, digest=bytes(32))
    assert journal.secrets(ROUND) == b"secret 0"
    assert journal.secrets(bytes(32)) == b"secret 0"


def test_small_named_bytes_are_remembered() -> None:
    journal = MemoryJournal(b"\3" * 32)
    assert journal.recall("ledger-chain") is None
    journal.remember("ledger-chain", b"head 1")
    journal.remember("ledger-chain", b"head 2")
    assert journal.recall("ledger-chain") == b"head 2"


def test_threads_take_turns() -> None:
    """The lock is held over a whole step: of many threads with one stage, one writes."""
    journal = MemoryJournal(b"\3" * 32)
    outcomes: list[bool] = []

    def run() -> None:
        try:
            append(journal, 3)
            outcomes.append(True)
        except JournalError:
            outcomes.append(False)

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 15 + [True]


def test_entries_are_canonical_messages() -> None:
    entry = append(MemoryJournal(b"\3" * 32))
    assert Entry.from_bytes(entry.to_bytes(), max_bytes=4096) == entry
    assert replace(entry, note=b"x").hash != entry.hash
    with pytest.raises(CodecError):
        Entry.from_bytes(entry.to_bytes() + b"\0", max_bytes=4096)


def test_response_hash_is_injective_in_the_list() -> None:
    assert response_hash([b"ab", b"c"]) != response_hash([b"a", b"bc"])
    assert response_hash([b""]) != response_hash([])
