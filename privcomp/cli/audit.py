"""`privcomp audit`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from privcomp.errors import CodecError, LedgerError, ParameterError

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Enter the command."""
    audit = commands.add_parser(
        "audit",
        help="check a ledger: every signature, set, digest, attestation and published sum",
        description="Replays every check over a ledger and names the first record that fails.",
    )
    audit.add_argument("file", type=Path, metavar="FILE", help="the ledger; files that it names lie beside it")
    audit.add_argument("--key", metavar="HEX", help="ledger key, known out of band (else the file's own is believed)")
    audit.add_argument(
        "--roster", type=Path, metavar="FILE", help="roster, known out of band: checks clients' signatures"
    )
    audit.add_argument("--heads", type=Path, metavar="FILE", help="heads that clients remember: finds a cut ledger")
    audit.add_argument("--json", action="store_true", help="print one JSON object")
    audit.set_defaults(run=_audit)


def _audit(arguments: argparse.Namespace) -> int:
    from privcomp.keys import Roster
    from privcomp.ledger import read_heads
    from privcomp.ledger.chain import read_preamble
    from privcomp.rounds import audit

    try:
        with open(arguments.file, "rb") as file:
            own_key = read_preamble(file)
        roster_bytes = arguments.roster.read_bytes() if arguments.roster is not None else None
    except OSError as error:
        raise ParameterError(f"{error.filename} cannot be read: {error.strerror}") from None
    except LedgerError as error:
        raise ParameterError(f"{arguments.file}: {error}") from None
    try:
        roster = Roster.from_bytes(roster_bytes) if roster_bytes is not None else None
    except CodecError as error:
        raise ParameterError(f"{arguments.roster} is no roster: {error.message}") from None
    try:
        key = bytes.fromhex(arguments.key) if arguments.key is not None else own_key
    except ValueError:
        raise ParameterError("--key is not hexadecimal; 64 digits are needed") from None
    if len(key) != 32:
        raise ParameterError(f"--key has {len(key)} bytes; 32 (64 hexadecimal digits) are needed")
    heads = read_heads(arguments.heads) if arguments.heads is not None else None
    report = audit(arguments.file, ledger_key=key, roster=roster, heads=heads)
    if arguments.json:
        print(json.dumps({**json.loads(report.to_json()), "key": key.hex(), "key_given": arguments.key is not None}))
    else:
        print(report)
        if arguments.key is None:
            print("not shown: whose ledger this is; its own key was believed (give --key)")
    return 0 if report.ok else 1
