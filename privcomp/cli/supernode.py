"""`privcomp supernode`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Enter the command."""
    supernode = commands.add_parser(
        "supernode",
        help="run a Flower SuperNode that runs only the app bundles that its policy names",
        description=(
            "Runs flower-supernode for the node with this home. App bundles that code_hashes in its policy.toml does "
            "not name are refused before anything of them is unpacked."
        ),
    )
    supernode.add_argument("folder", type=Path, metavar="FOLDER", help="the node's home (`privcomp keys node`)")
    supernode.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="options of flower-supernode")
    supernode.set_defaults(run=_supernode)


def _supernode(arguments: argparse.Namespace) -> int:
    from privcomp.integrations.flower.launcher import run_supernode

    run_supernode(arguments.folder, arguments.options)
    return 0
