"""What is fuzzed: for each parser a corpus of valid inputs and one function that checks the law on any input.

The law: an input is refused with our own typed error, or accepted and then re-encodes to the same bytes. Anything else
that is raised is a finding.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import pkgutil
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import privcomp
from privcomp.codec import Message, decode_any
from privcomp.errors import CodecError, JournalError, LedgerError, ParameterError, RemoteError
from privcomp.integrations.file_journal import FileJournal, parse_entries
from privcomp.keys import Identity, Roster, SignedRoster, open_sealed, seal
from privcomp.ledger import Header, HeaderChain, Ledger, Record, audit, recover
from privcomp.ledger.chain import decode_frame, read_frames, read_preamble
from privcomp.secagg.leaves import Leaves, pack_leaves
from privcomp.zk import norm
from tests.fuzz.values import message_of
from tests.ledger.rounds import CLIENTS, ROSTER, SERVER, VERIFIERS, aborted, complete

MAX_BYTES = 1 << 20


class Finding(AssertionError):
    """An input that breaks the law."""


@dataclass(frozen=True)
class Target:
    """One parser: valid inputs to start from, the law, and how many times the work of the others one input costs."""

    name: str
    corpus: tuple[bytes, ...]
    check: Callable[[bytes], None]
    cost: int = 1


@cache
def message_classes() -> dict[int, type[Message]]:
    """Every message class of the library, by tag, without those that tests define."""
    for module in pkgutil.walk_packages(privcomp.__path__, "privcomp."):
        if module.name.rpartition(".")[2] in ("messages", "record", "chain", "keys", "attestation", "spec", "ckks"):
            importlib.import_module(module.name)
    found: dict[int, type[Message]] = {}
    queue = list(Message.__subclasses__())
    while queue:
        cls = queue.pop()
        queue += cls.__subclasses__()
        ours = "FIELDS" in cls.__dict__ and cls.__module__.startswith("privcomp.")
        if ours and found.setdefault(cls.TAG, cls) is not cls:
            raise Finding(f"{cls.__name__} and {found[cls.TAG].__name__} have the same tag {cls.TAG}")
    return found


def _messages() -> tuple[bytes, ...]:
    ledger = Ledger(None, SERVER)
    record = complete(ledger, 1)
    header = Header.sign(SERVER, record)
    corpus = [
        record.to_bytes(),
        aborted(ledger, 2).to_bytes(),
        header.to_bytes(),
        HeaderChain.start(SERVER.public).to_bytes(),
        ROSTER.to_bytes(),
        ROSTER.sign(SERVER).to_bytes(),
    ]
    rng = random.Random(0)
    for _, cls in sorted(message_classes().items()):
        # A class that ties its fields to each other may refuse every random draw; its bare header is mutated then.
        with contextlib.suppress(ParameterError):
            corpus += [message_of(cls, rng).to_bytes() for _ in range(4)]
        corpus.append(b"PC\x01" + cls.TAG.to_bytes(2, "little") + bytes(64))
    return tuple(corpus)


def _check_message(data: bytes) -> None:
    try:
        message = decode_any(data, message_classes(), max_bytes=MAX_BYTES)
    except CodecError:
        return
    if message.to_bytes() != data:
        raise Finding(f"{type(message).__name__} accepts bytes that it does not write")


def _check_roster(data: bytes) -> None:
    with contextlib.suppress(CodecError):
        roster = Roster.from_bytes(data, max_bytes=MAX_BYTES)
        if roster.to_bytes() != data or Roster(roster.entries).hash != roster.hash:
            raise Finding("a roster is not canonical")
    with contextlib.suppress(CodecError):
        signed = SignedRoster.from_bytes(data, max_bytes=MAX_BYTES)
        if signed.to_bytes() != data:
            raise Finding("a signed roster is not canonical")


_KEY = hashlib.sha256(b"fuzz").digest()
_SEALED = seal(_KEY, b"plaintext", b"ad", label="fuzz", rng=bytes)


def _check_sealed(data: bytes) -> None:
    try:
        open_sealed(_KEY, data, b"ad", label="fuzz")
    except CodecError:
        return
    if data != _SEALED:
        raise Finding("a forged ciphertext opens")


_LISTS = tuple(
    pack_leaves((party, hashlib.sha256(party).digest()) for party in ids)
    for ids in ([b"a"], [b"client-%02d" % k for k in range(9)], [b"a", b"a\0", b"a\0b", b"b" * 64])
)


def _check_leaves(data: bytes) -> None:
    try:
        leaves = Leaves(data, 1 << 20)
    except CodecError:
        return
    listed = [(leaves.id(p), leaves.hash(p)) for p in range(leaves.n)]
    if pack_leaves(listed) != data or [leaves.place(party) for party, _ in listed] != list(range(leaves.n)):
        raise Finding("a key list is not canonical")


# Files are parsed thousands of times: in memory where the machine has a file system there.
_FOLDER = tempfile.TemporaryDirectory(
    prefix="privcomp-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
)


def _ledger_bytes(name: str, *makers: Callable[[Ledger, int], Record]) -> bytes:
    path = Path(_FOLDER.name) / name
    with Ledger(path, SERVER) as ledger:
        for number, make in enumerate(makers, 1):
            ledger.append(make(ledger, number))
    return path.read_bytes()


_LEDGER = _ledger_bytes("seed", complete, aborted, complete)
_SHORT = _ledger_bytes("short", aborted, aborted)


def _check_ledger(data: bytes) -> None:
    path = Path(_FOLDER.name) / "ledger"
    path.write_bytes(data)
    report = audit(path, ledger_key=SERVER.public, roster=ROSTER, verifiers=VERIFIERS)
    if report.ok and not (data and _LEDGER.startswith(data)):
        raise Finding("the audit passes a ledger that nobody wrote")
    if not report.ok and data == _LEDGER:
        raise Finding(f"the audit fails on an honest ledger: {report}")
    if not report.ok:
        with contextlib.suppress(LedgerError):
            if recover(path, SERVER.public) and not _LEDGER.startswith(path.read_bytes()):
                raise Finding("recover keeps a damaged record")
        for saved in Path(_FOLDER.name).glob("*.torn-*"):
            saved.unlink()
    path.write_bytes(data)
    try:
        with Ledger(path, SERVER) as ledger:
            if data and not _LEDGER.startswith(path.read_bytes()):
                raise Finding(f"a damaged ledger of {len(ledger)} records opens")
    except LedgerError:
        if data == _LEDGER:
            raise Finding("an honest ledger does not open") from None


def _check_frames(data: bytes) -> None:
    """The ledger's file format alone: signatures and links are the business of the target `ledger`."""
    file = io.BytesIO(data)
    seen = b""
    try:
        seen = b"PCLEDGER\x01\0\0\0" + read_preamble(file)
        for index, parts in enumerate(read_frames(file)):
            header, record = decode_frame(*parts, index)
            body = header.to_bytes() + record.to_bytes()
            seen += len(body).to_bytes(4, "little") + (len(body) ^ 0xFFFFFFFF).to_bytes(4, "little") + body
    except LedgerError:
        if not data.startswith(seen):
            raise Finding("frames before the damage do not re-encode") from None
        return
    if seen != data:
        raise Finding("a ledger file of bytes that nobody writes is accepted")


def _journal_bytes() -> bytes:
    folder = Path(_FOLDER.name) / "journal"
    with FileJournal.create(folder, SERVER.public) as journal, journal.locked():
        for number, stage in ((1, 0), (1, 1), (2, 0), (1, 2)):
            journal.append(
                protocol="bonawitz",
                session=_KEY,
                round=number,
                purpose="train",
                model_hash=bytes(32),
                round_digest=hashlib.sha256(bytes([number])).digest(),
                stage=stage,
                request=_KEY,
                messages=[b"answer"],
                secrets=b"secrets",
                note=b"note" * stage,
            )
    return (folder / "journal").read_bytes()


_JOURNAL = _journal_bytes()


def _check_journal(data: bytes) -> None:
    try:
        entries, whole = parse_entries(data, SERVER.public)
    except JournalError:
        return
    seen = _JOURNAL[:51]
    for entry in entries:
        body = entry.to_bytes()
        seen += len(body).to_bytes(4, "little") + (len(body) ^ 0xFFFFFFFF).to_bytes(4, "little") + body
    if seen != data[:whole]:
        raise Finding("a journal accepts bytes that it does not write")


_STATEMENT = norm.NormStatement(5, -2, 3, (norm.L2AtMost(30),), columns=2)
_CONTEXT = {"client": b"fuzz"}


def _proof() -> bytes:
    x = np.array([3, -2, 0, 1, 3])
    commitment, opening = norm.commit_var(_STATEMENT, x)
    return commitment.encode() + norm.prove_var(_STATEMENT, _CONTEXT, x, commitment, opening)


_PROOF = _proof()


def _check_norm(data: bytes) -> None:
    """Commitments and proof, one after the other: nothing but the ones that were made is accepted."""
    cut = _STATEMENT.commitment_bytes
    try:
        norm.check(_STATEMENT, _CONTEXT, norm.decode_commitment(_STATEMENT, data[:cut]), data[cut:])
    except RemoteError:
        return
    if data != _PROOF:
        raise Finding("a proof that nobody made is accepted")


@cache
def targets() -> dict[str, Target]:
    """All targets by name."""
    stranger = Identity.from_seed(bytes(32))
    rosters = (ROSTER.to_bytes(), ROSTER.sign(SERVER).to_bytes(), Roster.of({b"x": stranger.public}).to_bytes())
    several = Roster.of({name * 8: client.public for name, client in CLIENTS.items()})
    found = (
        Target("messages", _messages(), _check_message),
        Target("roster", (*rosters, several.to_bytes()), _check_roster),
        Target("sealed", (_SEALED,), _check_sealed),
        Target("leaves", _LISTS, _check_leaves),
        Target("frames", (_SHORT, _SHORT, _SHORT, _LEDGER), _check_frames),
        Target("journal", (_JOURNAL,), _check_journal),
        Target("ledger", (_LEDGER,), _check_ledger, cost=1000),
        Target("norm", (_PROOF,), _check_norm, cost=1000),
    )
    return {target.name: target for target in found}
