"""What is fuzzed: for each parser a corpus of valid inputs and one function that checks the law on any input.

The law: an input is refused with our own typed error, or accepted and then re-encodes to the same bytes. Anything else
that is raised is a finding.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import pkgutil
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import privcomp
from privcomp.codec import Message, decode_any
from privcomp.errors import CodecError, LedgerError, ParameterError
from privcomp.keys import Identity, Roster, SignedRoster, open_sealed, seal
from privcomp.ledger import Header, HeaderChain, Ledger, audit, recover
from tests.fuzz.values import message_of
from tests.ledger.rounds import CLIENTS, ROSTER, SERVER, VERIFIERS, aborted, complete

MAX_BYTES = 1 << 20


class Finding(AssertionError):
    """An input that breaks the law."""


@dataclass(frozen=True)
class Target:
    """One parser: valid inputs to start from, and the law."""

    name: str
    corpus: tuple[bytes, ...]
    check: Callable[[bytes], None]


@cache
def message_classes() -> dict[int, type[Message]]:
    """Every message class of the library, by tag, without those that tests define."""
    for module in pkgutil.walk_packages(privcomp.__path__, "privcomp."):
        if module.name.rpartition(".")[2] in ("messages", "record", "chain", "keys"):
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


_FOLDER = tempfile.TemporaryDirectory(prefix="privcomp-fuzz-")


def _ledger_bytes() -> bytes:
    path = Path(_FOLDER.name) / "seed"
    with Ledger(path, SERVER) as ledger:
        ledger.append(complete(ledger, 1))
        ledger.append(aborted(ledger, 2))
        ledger.append(complete(ledger, 3))
    return path.read_bytes()


_LEDGER = _ledger_bytes()


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
        Target("ledger", (_LEDGER,), _check_ledger),
    )
    return {target.name: target for target in found}
