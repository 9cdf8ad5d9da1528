"""Records and headers: what is allowed in them, and that they round-trip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from privcomp.errors import CodecError, ParameterError
from privcomp.ledger import ABORTED, Header, Ledger, Record
from privcomp.ledger.record import HEADER_BYTES, MAX_RECORD_BYTES
from tests.ledger.rounds import CLIENTS, SERVER, aborted, complete


def test_round_trip() -> None:
    ledger = Ledger(None, SERVER)
    for record in (complete(ledger, 1), aborted(ledger, 2)):
        assert Record.from_bytes(record.to_bytes(), max_bytes=MAX_RECORD_BYTES) == record


def test_a_header_binds_its_record() -> None:
    record = complete(Ledger(None, SERVER), 1)
    header = Header.sign(SERVER, record)
    assert len(header.to_bytes()) == HEADER_BYTES
    assert header.verify(SERVER.public)
    assert not header.verify(CLIENTS[b"a"].public)
    assert not replace(header, index=1).verify(SERVER.public)
    assert replace(header, signature=bytes(64)).hash != header.hash
    assert replace(record, reason="").body_hash == record.body_hash
    assert replace(record, round=2).body_hash != header.body_hash


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "maybe"},
        {"outcome": ABORTED},
        {"reason": "late"},
        {"aggregate": None},
        {"aggregate_digest": None},
        {"artefact": "sum.bin"},
        {"aggregate": None, "artefact": "../sum.bin"},
        {"aggregate": None, "artefact": "/etc/passwd"},
        {"aggregate": None, "artefact": ".."},
        {"aggregate": None, "artefact": ""},
        {"aggregate": None, "artefact": "a\0b"},
        {"u1": (b"",)},
        {"u1": (bytes(65),)},
        {"advertisements": ((b"a", b"x", bytes(64)), (b"a", b"y", bytes(64)))},
        {"quorum": ((b"a", bytes(64)), (b"a", b"\1" * 64))},
        {"extras": (("x", b"1"), ("x", b"2"))},
    ],
)
def test_contradictions_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        replace(complete(Ledger(None, SERVER), 1), **change)


@pytest.mark.parametrize("change", [{"u1": (b"b", b"a")}, {"u2": (b"a", b"a")}, {"extras": (("b", b""), ("a", b""))}])
def test_lists_have_one_order(change: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="increasing"):
        replace(complete(Ledger(None, SERVER), 1), **change).to_bytes()


def test_a_path_in_received_bytes_is_refused() -> None:
    record = replace(complete(Ledger(None, SERVER), 1), aggregate=None, artefact="xx/passwd".replace("/", "_"))
    data = record.to_bytes()
    assert data.count(b"xx_passwd") == 1
    with pytest.raises(CodecError, match="plain file name"):
        Record.from_bytes(data.replace(b"xx_passwd", b"../passwd"), max_bytes=MAX_RECORD_BYTES)
