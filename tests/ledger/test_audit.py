"""The audit names the first record that fails, whatever was changed and whoever signed the change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privcomp.errors import LedgerError, RemoteError
from privcomp.keys import Roster
from privcomp.ledger import AuditReport, Header, Ledger, Record, audit, genesis, read_heads
from tests.ledger.rounds import CLIENTS, PROTOCOL, ROSTER, SERVER, VERIFIERS, aborted, complete, resign

PREAMBLE = 44


def frame(header: bytes, record: bytes) -> bytes:
    length = len(header) + len(record)
    return length.to_bytes(4, "little") + (length ^ 0xFFFFFFFF).to_bytes(4, "little") + header + record


def frames(data: bytes) -> list[bytes]:
    found, at = [], PREAMBLE
    while at < len(data):
        length = 8 + int.from_bytes(data[at : at + 4], "little")
        found.append(data[at : at + length])
        at += length
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of four rounds: complete, aborted, complete, complete with an artefact."""
    path = tmp_path / "ledger"
    with Ledger(path, SERVER) as ledger:
        ledger.append(complete(ledger, 10))
        ledger.append(aborted(ledger, 11))
        ledger.append(complete(ledger, 12))
        record = complete(ledger, 13, aggregate=b"large")
        (tmp_path / "round-13.bin").write_bytes(b"large")
        ledger.append(replace(record, aggregate=None, artefact="round-13.bin"))
    return path


def check(path: Path, **kwargs: Any) -> AuditReport:
    given = {"ledger_key": SERVER.public, "roster": ROSTER, "verifiers": VERIFIERS, **kwargs}
    return audit(path, **given)


def test_an_honest_ledger_passes(path: Path) -> None:
    with Ledger(path, SERVER) as ledger:
        heads = [header.hash for header in ledger.headers]
    report = check(path, heads=[genesis(SERVER.public), *heads])
    assert report.ok, str(report)
    assert (report.records, report.complete, report.head) == (4, 3, heads[-1])
    shown = json.loads(report.to_json())
    assert shown["ok"] is True
    assert shown["failure"] is None
    assert shown["aborted"] == 1
    notes = " ".join(report.notes)
    assert "sum of the survivors' inputs" in notes
    assert "truthful" in notes
    assert "audit passed" in str(report)


def test_what_was_not_shown_is_said(path: Path) -> None:
    notes = " ".join(audit(path, ledger_key=SERVER.public).notes)
    assert "no client heads" in notes
    assert "no roster" in notes
    assert "no protocol verifier" in notes


def test_an_empty_ledger_passes(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger", SERVER).close()
    report = check(tmp_path / "ledger")
    assert report.ok
    assert report.head == genesis(SERVER.public)


def test_every_changed_byte_is_found_in_its_record(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with Ledger(path, SERVER) as ledger:
        ledger.append(complete(ledger, 10))
        ledger.append(aborted(ledger, 11))
    data = path.read_bytes()
    places: list[int | None] = [None] * PREAMBLE
    for index, piece in enumerate(frames(data)):
        places += [index] * len(piece)
    assert len(places) == len(data)
    for position, index in enumerate(places):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(bytes(changed))
        report = check(path)
        assert report.failure is not None, position
        assert report.failure.index == index, (position, str(report))
        assert report.records == (index or 0)


def test_reorder_drop_duplicate(path: Path) -> None:
    data = path.read_bytes()
    preamble, (a, b, c, d) = data[:PREAMBLE], frames(data)
    for order, index in (
        ([b, a, c, d], 0),
        ([a, c, b, d], 1),
        ([b, c, d], 0),
        ([a, c, d], 1),
        ([a, b, d], 2),
        ([a, a, b, c, d], 1),
        ([a, b, c, d, d], 4),
        ([a, b, c, d, a], 4),
    ):
        path.write_bytes(preamble + b"".join(order))
        report = check(path)
        assert report.failure is not None
        assert (report.failure.index, report.failure.check) == (index, "index"), str(report)


def test_attack_34_truncation_shows_only_against_clients_heads(path: Path) -> None:
    data = path.read_bytes()
    with Ledger(path, SERVER) as ledger:
        remembered = ledger.headers[2].hash
    path.write_bytes(data[: -len(frames(data)[3])])
    assert check(path, heads=[remembered]).ok
    path.write_bytes(data[:PREAMBLE] + b"".join(frames(data)[:2]))
    report = check(path)
    assert report.ok
    assert any("cut off" in note for note in report.notes)
    report = check(path, heads=[remembered])
    assert report.failure is not None
    assert report.failure.check == "client heads"
    assert remembered.hex()[:16] in report.failure.seen
    # A last write that was cut short shows without them.
    path.write_bytes(data[:-1])
    report = check(path)
    assert report.failure is not None
    assert (report.failure.index, report.failure.check) == (3, "framing")


def test_attack_34_a_fork_shows_against_clients_heads(path: Path) -> None:
    with Ledger(path, SERVER) as ledger:
        remembered = ledger.headers[3].hash
        first = next(ledger.records())
    other = path.with_name("fork")
    with Ledger(other, SERVER) as ledger:
        ledger.append(first)
        for number in range(3):
            ledger.append(complete(ledger, 20 + number))
    assert check(other).ok
    report = check(other, heads=[remembered])
    assert report.failure is not None
    assert report.failure.check == "client heads"


def test_wrong_key_and_wrong_file(path: Path) -> None:
    report = check(path, ledger_key=CLIENTS[b"a"].public)
    assert report.failure is not None
    assert (report.failure.index, report.failure.check) == (None, "ledger key")
    path.write_bytes(b"")
    report = check(path)
    assert report.failure is not None
    assert report.failure.check == "framing"
    with pytest.raises(LedgerError, match="cannot be opened"):
        check(path.with_name("missing"))


def test_a_ledger_signed_by_another_key_under_the_right_name(path: Path) -> None:
    data = path.read_bytes()
    pieces = frames(data)
    record = Record.from_bytes(pieces[0][8 + 141 :], max_bytes=1 << 20)
    forged = frame(Header.sign(CLIENTS[b"a"], record).to_bytes(), record.to_bytes())
    path.write_bytes(data[:PREAMBLE] + forged)
    report = check(path)
    assert report.failure is not None
    assert (report.failure.index, report.failure.check) == (0, "server signature")


def swapped_signature(record: Record) -> Record:
    (a, b, *rest) = record.advertisements
    return replace(record, advertisements=((a[0], a[1], b[2]), b, *rest))


def forged_quorum(record: Record) -> Record:
    return replace(record, quorum=(record.quorum[0], (b"b", record.quorum[0][1]), record.quorum[2]))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda r: replace(r, params=b"weaker"), "round digest"),
        (lambda r: replace(r, round=99), "round digest"),
        (lambda r: replace(r, purpose="statistics"), "round digest"),
        (lambda r: replace(r, model_hash=bytes(32)), "round digest"),
        (lambda r: replace(r, key_list_hash=bytes(32)), "key list"),
        (lambda r: replace(r, roster_hash=bytes(32)), "roster"),
        (lambda r: replace(r, protocol="unknown/1"), "protocol"),
        (lambda r: replace(r, u1=(*r.u1, b"zz")), "sets"),
        (lambda r: replace(r, u2=(*r.u2, b"zz")), "sets"),
        (lambda r: replace(r, u2=(b"a", b"b")), "sets"),
        (lambda r: replace(r, survivors=(b"a", b"b", b"c", b"e")), "sets"),
        (lambda r: replace(r, survivors=(b"a", b"b")), "sets"),
        (lambda r: replace(r, survivors=(), quorum=()), "survivors"),
        (lambda r: replace(r, survivors=(b"a", b"b", b"c", b"d")), "quorum signature"),
        (lambda r: replace(r, u2=(b"a", b"b", b"c")), "quorum signature"),
        (lambda r: replace(r, quorum=r.quorum[:2]), "quorum"),
        (lambda r: resign(r, signers=()), "quorum"),
        (lambda r: resign(r, signers=(b"a", b"b", b"d")), "sets"),
        (forged_quorum, "quorum signature"),
        (lambda r: replace(r, advertisements=r.advertisements[1:]), "advertisements"),
        (swapped_signature, "key list"),
        (lambda r: replace(r, aggregate=b"another sum"), "aggregate"),
        (lambda r: replace(r, aggregate=None, artefact="missing.bin"), "aggregate"),
        (lambda r: replace(r, aggregate_digest=bytes(32)), "aggregate"),
    ],
)
def test_a_lying_server_that_signs_what_it_says(tmp_path: Path, change: Callable[[Record], Record], name: str) -> None:
    path = tmp_path / "ledger"
    with Ledger(path, SERVER) as ledger:
        ledger.append(complete(ledger, 10))
        ledger.append(change(complete(ledger, 11)))
        ledger.append(complete(ledger, 12))
    report = check(path)
    assert report.failure is not None
    assert (report.failure.index, report.failure.check) == (1, name), str(report)
    assert report.failure.round in (11, 99)
    assert f"FAILED at record 1 (round {report.failure.round}): {name}" in str(report)
    assert json.loads(report.to_json())["failure"]["check"] == name


def test_a_forged_advertisement(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with Ledger(path, SERVER) as ledger:
        record = complete(ledger, 10)
        advertisements = (
            record.advertisements[0],
            (b"b", b"keys of the server", bytes(64)),
            *record.advertisements[2:],
        )
        record = replace(record, advertisements=advertisements)
        ledger.append(replace(record, key_list_hash=VERIFIERS[PROTOCOL].key_list_hash(record)))
    report = check(path)
    assert report.failure is not None
    assert report.failure.check == "advertisement signature"
    assert "b'b'" in report.failure.seen


def test_an_announced_head_that_never_was(path: Path) -> None:
    with Ledger(path, SERVER) as ledger:
        record = resign(replace(complete(ledger, 14), announced_head=bytes(32)))
    header = Header.sign(SERVER, record)
    path.write_bytes(path.read_bytes() + frame(header.to_bytes(), record.to_bytes()))
    report = check(path)
    assert report.failure is not None
    assert (report.failure.index, report.failure.check) == (4, "announced head")


def test_a_changed_artefact(path: Path) -> None:
    path.with_name("round-13.bin").write_bytes(b"other")
    report = check(path)
    assert report.failure is not None
    assert (report.failure.index, report.failure.check) == (3, "aggregate")


def test_another_roster(path: Path) -> None:
    report = check(path, roster=Roster(ROSTER.entries[:3]))
    assert report.failure is not None
    assert report.failure.check == "roster"


def test_further_checks_are_named(path: Path) -> None:
    def privacy_budget(record: Record) -> None:
        if record.round == 12:
            raise RemoteError(None, "audit", "epsilon spent twice")

    report = check(path, checks=[privacy_budget])
    assert report.failure is not None
    assert (report.failure.index, report.failure.check) == (2, "privacy_budget")
    assert "epsilon spent twice" in report.failure.seen


def test_two_sums_over_one_model_are_noted(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", SERVER) as ledger:
        ledger.append(complete(ledger, 10))
        ledger.append(resign(replace(complete(ledger, 11), model_hash=next(ledger.records()).model_hash)))
    report = check(tmp_path / "ledger")
    assert report.ok
    assert any("records 0 and 1" in note for note in report.notes)


def test_read_heads(tmp_path: Path) -> None:
    path = tmp_path / "heads"
    path.write_text(f"# heads\n\n{'ab' * 32} hospital-1\n  {'cd' * 32}\n")
    assert read_heads(path) == (b"\xab" * 32, b"\xcd" * 32)
    for text in ("ab" * 31, "AB" * 32, "0x" + "ab" * 31, "zz" * 32):
        path.write_text(text)
        with pytest.raises(LedgerError, match="line 1"):
            read_heads(path)
    with pytest.raises(LedgerError, match="cannot be read"):
        read_heads(tmp_path / "missing")
