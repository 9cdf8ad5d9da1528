"""The command line: argv and printing, nothing else. One module per command, or group of commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from privcomp import __version__
from privcomp.cli import audit, demo, join, keys, mpc, policy, serve, supernode
from privcomp.errors import PrivcompError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `privcomp ARGV`.

    Returns:
        0 success; 1 an audit failed; 2 refused input or another typed error; 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except PrivcompError as error:
        print(f"privcomp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("privcomp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone; Python would complain again when it flushes at exit.
        sys.stdout = None
        return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="privcomp", description="Federated learning in which nobody sees one client's update.")
    parser.add_argument("--version", action="version", version=f"privcomp {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (demo, audit, policy, keys, serve, join, supernode, mpc):
        group.add_parser(commands)
    return parser
