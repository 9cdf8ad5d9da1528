"""`privcomp supernode`: a SuperNode that runs only app bundles whose SHA-256 the node's policy names.

A SuperLink ships the app, and our mod in it, to the nodes: a check inside the app is one that the server wrote. So the
bundle (FAB) is checked in the SuperNode's process, before anything of it is unpacked:

* when it arrives: its SHA-256 must be in `code_hashes` of policy.toml, and the names under which the SuperLink
  announces it (hash, app id, version) must be those that the bundle itself has, because Flower builds the folder that
  it loads code from out of them. A refused bundle is answered with an error reply, like one that fails Flower's own
  check.
* when it is handed out to the process that runs it: once more, by its content.

Apps are installed in a folder of the node's home, emptied at the start, not in Flower's shared one: there a folder that
is there already is used as it is, and its name has only 32 bits of the hash. Run-time installation of dependencies is
off. `PRIVCOMP_SUPERNODE` in the environment of the app's process tells the mod which home is guarded this way.

It hooks into Flower's own loop, which has no public place for it: another version of Flower than the one that this was
written for is refused.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import import_module
from logging import ERROR, INFO
from pathlib import Path
from typing import Any, Final

from privcomp.errors import LocalError, ParameterError, PolicyError
from privcomp.integrations.home import NodeHome

__all__ = ["run_supernode"]

_VERSION: Final = "1.41."
_FLOWER: Final = "flower"
_LOOP: Final = (
    "state",
    "object_store",
    "node_config",
    "receive",
    "get_run",
    "get_fab",
    "pull_object",
    "confirm_message_received",
    "trusted_entities",
)


class _Refused(Exception):
    """A bundle that this node does not run."""


def run_supernode(folder: str | os.PathLike[str], arguments: Sequence[str]) -> None:
    """Run `flower-supernode ARGUMENTS` for the node with this home; returns when it ends.

    Args:
        folder: the node's home; --node-config need not name it.
        arguments: Flower's own options.

    Raises:
        LocalError: another version of Flower, no bundle is allowed, or an option that would let other code in.
    """
    version = _flower_version()
    path = Path(folder).expanduser()
    with NodeHome.open(path) as home:
        allowed = frozenset(home.policy.code_hashes)
    if not allowed:
        raise PolicyError(
            f"{path / 'policy.toml'} names no code_hashes, so nothing may run here: build the bundle with `flwr build`"
            ", read it, and enter what `sha256sum` prints"
        )
    real = os.path.realpath(path)
    # What Flower starts is found by its name: take it from where this Python has its programs.
    os.environ["PATH"] = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
    os.environ["PRIVCOMP_SUPERNODE"] = real
    os.environ["FLWR_HOME"] = str(Path(real) / _FLOWER)
    shutil.rmtree(Path(real) / _FLOWER, ignore_errors=True)
    (Path(real) / _FLOWER).mkdir(mode=0o700)

    # Not `from flwr.supernode.cli import flower_supernode`: that is the function of the same name.
    command = import_module("flwr.supernode.cli.flower_supernode")
    options = _with_home(list(arguments), real)
    parsed = command._parse_args_run_supernode().parse_args(options)
    if parsed.runtime_dependency_install:
        raise PolicyError("run-time installation of dependencies would run code that nobody pinned: leave it off")
    if parsed.isolation != "subprocess":
        raise PolicyError("--isolation must be subprocess: a process that is started elsewhere is not guarded")
    from flwr.common.config import parse_config_args
    from flwr.supercore import log

    if parse_config_args([parsed.node_config]).get("privcomp-home") != real:
        raise ParameterError("give --node-config once, and in full: it has to carry the home as well")
    if getattr(parsed, "host", "127.0.0.1") not in ("127.0.0.1", "localhost", "::1"):
        raise PolicyError("--host must be the loopback device: what the app's process asks there is not authenticated")
    _guard(allowed)

    log(INFO, "privcomp: Flower %s runs %d app bundle(s) of %s", version, len(allowed), path / "policy.toml")
    sys.argv = ["flower-supernode", *options]
    command.flower_supernode()


def _flower_version() -> str:
    try:
        version = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        raise LocalError("flwr is not installed: `pip install 'privcomp[flower]'`") from None
    if not version.startswith(_VERSION):
        raise LocalError(
            f"Flower {version} is installed; this launcher guards the inside of Flower {_VERSION}x and starts no "
            f"other: `pip install 'flwr=={_VERSION}*'`"
        )
    return version


def _with_home(arguments: list[str], real: str) -> list[str]:
    """The options with the home in --node-config."""
    from privcomp.integrations.flower.settings import PREFIX

    for k, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--node-config":
            value = value if equals else "".join(arguments[k + 1 : k + 2])
            if f"{PREFIX}home" in value:
                raise ParameterError(f"the home is the first argument; leave {PREFIX}home out of --node-config")
            return [*arguments[:k], f'--node-config=privcomp-home="{real}" {value}', *arguments[k + 1 + (not equals) :]]
    return [*arguments, f'--node-config=privcomp-home="{real}"']


def _guard(allowed: frozenset[bytes]) -> None:
    """Put the two checks into Flower's loop.

    Raises:
        LocalError: the loop does not look like the one that they were written for.
    """
    from flwr.app import Error, Message
    from flwr.cli.config_utils import get_fab_metadata
    from flwr.common.constant import ErrorCode
    from flwr.supercore import log
    from flwr.supercore.constant import TaskType
    from flwr.supernode import start_client_internal as loop
    from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

    pull: Callable[..., int | None] = getattr(loop, "_pull_and_store_message", lambda: None)
    insert: Callable[..., None] | None = getattr(loop, "_insert_message", None)
    handed_out: Callable[..., Any] | None = getattr(InMemoryNodeState, "get_fab", None)
    if tuple(inspect.signature(pull).parameters) != _LOOP or insert is None or handed_out is None:
        raise LocalError("this Flower is built otherwise than the one that this launcher guards; nothing was started")

    def check(fab: Any, run: Any) -> None:
        digest = sha256(fab.content).digest()
        if digest not in allowed:
            raise _Refused(f"this node's policy does not allow the app bundle {digest.hex()}")
        if not (fab.hash_str == run.fab_hash == digest.hex()):
            raise _Refused("the app bundle is announced under another hash than its own")
        if get_fab_metadata(fab.content) != (run.fab_id, run.fab_version):
            raise _Refused("the app bundle is announced under another name or version than its own")
        if run.primary_task_type == TaskType.AGENT_APP:
            raise _Refused("this node runs the bundle's ClientApp only, not an AgentApp")

    def guarded(**given: Any) -> int | None:
        received: list[Any] = []
        runs: list[Any] = []

        def receive() -> Any:
            received.append(given["receive"]())
            return received[-1]

        def get_run(run_id: int) -> Any:
            runs.append(given["get_run"](run_id))
            return runs[-1]

        def get_fab(fab_hash: str, run_id: int) -> Any:
            fab = given["get_fab"](fab_hash, run_id)
            check(fab, runs[-1])
            return fab

        try:
            return pull(**{**given, "receive": receive, "get_run": get_run, "get_fab": get_fab})
        except _Refused as refused:
            message, _ = received[-1]
            log(ERROR, "privcomp: refused: %s", refused)
            reply = Message(Error(ErrorCode.INVALID_FAB, f"privcomp: refused: {refused}"), reply_to=message)
            insert(reply, given["state"], given["object_store"])
            return int(message.metadata.run_id)

    def get_fab_again(self: Any, fab_hash: str) -> Any:
        fab = handed_out(self, fab_hash)
        return fab if fab is not None and sha256(fab.content).digest() in allowed else None

    # setattr: these are Flower's names, not ours.
    setattr(loop, "_pull_and_store_message", guarded)  # noqa: B010
    setattr(InMemoryNodeState, "get_fab", get_fab_again)  # noqa: B010
