"""`privcomp policy`."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Enter the command."""
    policy = commands.add_parser("policy", help="print a commented default policy file for a node")
    policy.set_defaults(run=_policy)


def _policy(_: argparse.Namespace) -> int:
    from privcomp.policy import Policy

    print(Policy.default_toml(), end="")
    return 0
