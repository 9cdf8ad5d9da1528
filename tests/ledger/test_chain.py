"""The file of the server and the chain of a client: append, reopen, torn writes, forks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from privcomp.errors import LedgerError, ParameterError
from privcomp.ledger import Header, HeaderChain, Ledger, genesis, recover
from tests.ledger.rounds import CLIENTS, SERVER, aborted, complete


def fill(ledger: Ledger, count: int = 3) -> Ledger:
    for number in range(count):
        ledger.append(aborted(ledger, number) if number == 1 else complete(ledger, number))
    return ledger


def test_append_and_reopen(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with fill(Ledger(path, SERVER)) as ledger:
        head, headers, records = ledger.head, ledger.headers, list(ledger.records())
    assert [record.index for record in records] == [0, 1, 2]
    with Ledger(path, SERVER) as again:
        assert (again.head, again.headers, list(again.records())) == (head, headers, records)
        fill(again, 1)
        assert len(again) == 4
    memory = fill(Ledger(None, SERVER))
    assert (memory.head, list(memory.records())) == (head, records)


def test_append_wants_the_next_record(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", SERVER) as ledger:
        fill(ledger, 2)
        size = (tmp_path / "ledger").stat().st_size
        good = complete(ledger, 7)
        for bad in (
            replace(good, index=1),
            replace(good, index=3),
            replace(good, previous=genesis(SERVER.public)),
            replace(good, announced_head=bytes(32)),
        ):
            with pytest.raises(LedgerError):
                ledger.append(bad)
        with pytest.raises(ParameterError):
            ledger.append(replace(good, round_digest=b"short"))
        assert (tmp_path / "ledger").stat().st_size == size
        assert len(ledger) == 2
        # A stalled round is recorded later, on the head that was announced.
        ledger.append(replace(good, announced_head=ledger.headers[0].hash))
    with pytest.raises(LedgerError, match="closed"):
        ledger.append(good)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger"
    with fill(Ledger(path, SERVER), 1) as ledger:
        before = path.read_bytes()

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(LedgerError, match="No space left"):
                fill(ledger, 1)
        assert path.read_bytes() == before
        assert len(ledger) == 1
        fill(ledger, 1)
    with Ledger(path, SERVER) as again:
        assert len(again) == 2


def test_one_writer(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", SERVER):
        with pytest.raises(LedgerError, match="one writer"):
            Ledger(tmp_path / "ledger", SERVER)
        with pytest.raises(LedgerError, match="close it first"):
            recover(tmp_path / "ledger", SERVER.public)
    Ledger(tmp_path / "ledger", SERVER).close()


def test_another_key_is_refused(tmp_path: Path) -> None:
    fill(Ledger(tmp_path / "ledger", SERVER)).close()
    with pytest.raises(LedgerError, match="belongs to key"):
        Ledger(tmp_path / "ledger", CLIENTS[b"a"])
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(tmp_path / "no" / "ledger", SERVER)


def test_every_torn_write_is_seen_and_recovered(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with fill(Ledger(path, SERVER), 2) as ledger:
        whole = path.stat().st_size
        fill(ledger, 1)
    data = path.read_bytes()
    assert recover(path, SERVER.public) == 0
    for stop in range(whole + 1, len(data)):
        path.write_bytes(data[:stop])
        with pytest.raises(LedgerError, match="the last write"):
            Ledger(path, SERVER)
        assert path.read_bytes() == data[:stop], "opening repairs nothing"
        if stop % 17 == 0 or stop == whole + 1:
            assert recover(path, SERVER.public) == stop - whole
            assert path.read_bytes() == data[:whole]
            saved = path.with_name(f"{path.name}.torn-{whole}")
            assert saved.read_bytes() == data[whole:stop]
            saved.unlink()
    path.write_bytes(data[:whole])
    with Ledger(path, SERVER) as again:
        assert len(again) == 2


def test_recover_refuses_other_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    fill(Ledger(path, SERVER)).close()
    data = path.read_bytes()
    for position in (0, 10, 44, 45, 46, 47, 48, 60, 200, 400, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(LedgerError):
            recover(path, SERVER.public)
        assert path.read_bytes() == bytes(changed)
    path.write_bytes(data[:-1])
    with pytest.raises(LedgerError, match="names key"):
        recover(path, CLIENTS[b"a"].public)
    path.write_bytes(data[:20])
    with pytest.raises(LedgerError, match="never completely created"):
        recover(path, SERVER.public)


def test_every_changed_byte_keeps_a_ledger_shut(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    fill(Ledger(path, SERVER), 1).close()
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(bytes(changed))
        with pytest.raises(LedgerError):
            Ledger(path, SERVER)


# ---- the client's side


def test_a_client_follows() -> None:
    ledger = Ledger(None, SERVER)
    chain = HeaderChain.start(SERVER.public)
    assert chain.extend(()) == chain
    fill(ledger, 2)
    longer = chain.extend(ledger.headers_since(chain.head))
    assert (longer.count, longer.head) == (2, ledger.head)
    assert chain.count == 0
    fill(ledger, 2)
    assert longer.extend(ledger.headers_since(longer.head)).head == ledger.head
    assert ledger.headers_since(ledger.head) == ()
    assert HeaderChain.from_bytes(longer.to_bytes(), max_bytes=100) == longer


def test_attack_34_gap_fork_and_shortened_ledger() -> None:
    ledger = fill(Ledger(None, SERVER), 3)
    chain = HeaderChain.start(SERVER.public)
    first, second, third = ledger.headers
    for headers in ((second,), (first, third), (second, first), (first, first), (first, second, third, third)):
        with pytest.raises(LedgerError, match="gap"):
            chain.extend(headers)
    # A fork: another second record, signed by the same key.
    fork = fill(Ledger(None, SERVER), 1)
    fork.append(complete(fork, 99))
    assert fork.headers[0] == first
    seen = chain.extend((first, second))
    other = Ledger(None, SERVER)
    for record in fork.records():
        other.append(record)
    other.append(complete(other, 100))
    with pytest.raises(LedgerError, match="forked"):
        seen.extend(other.headers[2:])
    with pytest.raises(LedgerError, match="not in this ledger"):
        fork.headers_since(seen.head)
    # Shortened: the server no longer knows the head that the client signed.
    with pytest.raises(LedgerError, match="not in this ledger"):
        fill(Ledger(None, SERVER), 1).headers_since(seen.head)
    # Signed by another key, not signed at all.
    record = next(ledger.records())
    with pytest.raises(LedgerError, match="not signed"):
        chain.extend((Header.sign(CLIENTS[b"a"], record),))
    with pytest.raises(LedgerError, match="not signed"):
        chain.extend((replace(first, signature=bytes(64)),))
    # A ledger under another key begins elsewhere.
    with pytest.raises(LedgerError, match="forked"):
        HeaderChain.start(CLIENTS[b"a"].public).extend((first,))
