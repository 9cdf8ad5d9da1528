"""`privcomp join`: a node of a federation."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privcomp.cli import signals
from privcomp.errors import LocalError, ParameterError

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Enter the command."""
    join = commands.add_parser(
        "join",
        help="run a node of a federation: train when the server asks, send masked vectors only",
        description=(
            "Connects to a server and takes part in its rounds until the training is over. The update function is "
            "called with the model, a dict of NumPy arrays, and returns (new arrays, weight, metrics)."
        ),
    )
    join.add_argument("folder", type=Path, metavar="FOLDER", help="the node's, made by `privcomp keys node`")
    join.add_argument("server", metavar="HOST:PORT", help="where the server listens")
    join.add_argument("--update", required=True, metavar="FILE.py:FUNCTION", help="what this node computes")
    join.add_argument(
        "--patience", type=float, metavar="SECONDS", help="without a server, before giving up (default: for ever)"
    )
    join.add_argument(
        "--max-message", type=int, default=1024, metavar="MIB", help="largest message to take; the model is in one"
    )
    join.set_defaults(run=_join)


def _join(arguments: argparse.Namespace) -> int:
    from privcomp.integrations import NodeHome

    signals.log_to_stderr()
    host, port = _address(arguments.server)
    if not 0 < arguments.max_message < 1 << 12:
        raise ParameterError(f"--max-message is {arguments.max_message}; 1..4095 MiB are possible")
    with NodeHome.open(arguments.folder) as home:
        home.client()  # what is missing is said before the user's code runs
        update = _function(arguments.update)
        return signals.run(lambda _: _run(home, host, port, update, arguments))


async def _run(home: Any, host: str, port: int, update: Any, arguments: argparse.Namespace) -> int:
    from privcomp.integrations.asyncio_tcp import Limits, join

    limits = Limits(message=arguments.max_message << 20)
    said = await join(home, host, port, update, limits=limits, patience=arguments.patience)
    print(f"privcomp: {said}", file=sys.stderr)
    return 0


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ParameterError(f"{text!r} is no address; HOST:PORT is needed, e.g. federation.example:7443")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _function(text: str) -> Callable[..., Any]:
    """The function of a user's file."""
    file, colon, name = text.rpartition(":")
    path = Path(file)
    if not colon or not name.isidentifier():
        raise ParameterError(f"--update {text!r}: FILE.py:FUNCTION is needed")
    if not path.is_file():
        raise ParameterError(f"--update: {path} is no file")
    spec = importlib.util.spec_from_file_location("privcomp_update", path)
    if spec is None or spec.loader is None:
        raise ParameterError(f"--update: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code
        raise LocalError(f"--update: {path} cannot be run: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ParameterError(f"--update: {path} has no function {name!r}")
    return function  # type: ignore[no-any-return]
