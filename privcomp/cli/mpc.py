"""`privcomp mpc`: one party of a computation on shares."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from privcomp.cli import signals
from privcomp.errors import LocalError

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Enter the command."""
    mpc = commands.add_parser(
        "mpc",
        help="run one party of a computation on shares: nobody sees the inputs of another",
        description=(
            "Runs the program that CONFIG names, together with the other parties in it, over mutual TLS; prints what "
            "the program returns, and what it cost. All parties have the same CONFIG. A party that dies, is silent or "
            "sends garbage is named, and all the others stop."
        ),
    )
    mpc.add_argument("config", type=Path, metavar="CONFIG", help="TOML file: protocol, program, parties")
    mpc.add_argument("folder", type=Path, metavar="FOLDER", help="this party's, made by `privcomp keys party`")
    mpc.add_argument("--json", action="store_true", help="print one JSON object: result and cost")
    mpc.set_defaults(run=_mpc)


def _mpc(arguments: argparse.Namespace) -> int:
    from privcomp.integrations.home import PartyHome
    from privcomp.integrations.mpc_config import RunConfig

    signals.log_to_stderr()
    home = PartyHome.open(arguments.folder)
    config = RunConfig.read(arguments.config)
    return signals.run(lambda _: _run(arguments, home, config))


async def _run(arguments: argparse.Namespace, home: Any, config: Any) -> int:
    from privcomp.integrations.mpc import connect, keep_memory
    from privcomp.mpc.report import Report

    keep_memory()
    seats = config.computation.seats
    me = config.computation.index(home.id)
    print(f"privcomp: party {me} of {len(seats)}, {config.computation.protocol}", file=sys.stderr)
    async with connect(config.computation, home) as connection:
        print("privcomp: all parties are connected", file=sys.stderr)
        outcome = await connection.run(config.program)
    report = Report(outcome.cost, seconds=outcome.seconds)
    if arguments.json:
        party = home.id.decode("utf-8", "replace")
        print(json.dumps({"party": party, "result": _plain(outcome.result), "cost": report.as_dict()}))
    else:
        print(outcome.result)
        print(report)
    return 0


def _plain(value: Any) -> Any:
    """A result as JSON has it: arrays as lists, bytes in hex, and null for what is no finite number.

    Raises:
        LocalError: there is no way.
    """
    import numpy as np

    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise LocalError(f"the program returned a {type(value).__name__}; --json shows numbers, texts, arrays and lists")
