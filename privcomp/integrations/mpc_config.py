"""The file that all parties of a computation have: who they are, what they compute, how long they wait.

    protocol = "rep3"
    program = "statistics.py:mean"     # FILE.py:FUNCTION, beside this file, or MODULE:FUNCTION
    deadline = 60                      # seconds; optional, as everything below it
    wait = 60
    adversary = "semi-honest"          # refuse to run on a protocol that stands against less
    corruptions = 1

    [arguments]                        # of the function, by name, behind the backend
    bins = 10

    [[party]]
    id = "north"
    address = "127.0.0.1:7501"         # without a host: 127.0.0.1
    certificate = "north/north.pem"    # made by `privcomp keys party`

The digest of what parties have to agree on covers protocol, ids and their order, the program's name, its source (of the
one file) and its arguments. Addresses, certificates and times are each party's own business.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
import tomllib
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from privcomp.codec import lp
from privcomp.errors import LocalError, ParameterError, PrivcompError
from privcomp.integrations.mpc import Computation, Seat
from privcomp.mpc.security import Adversary

__all__ = ["RunConfig"]

_KEYS: Final = {
    "protocol": str,
    "program": str,
    "deadline": (int, float),
    "wait": (int, float),
    "adversary": str,
    "corruptions": int,
    "insecure_dealer": bool,
    "arguments": dict,
    "party": list,
}
_SEAT_KEYS: Final = {"id": str, "address": str, "certificate": str}
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True)
class RunConfig:
    """A computation with its program, ready to run.

    Attributes:
        computation: what goes to `privcomp.integrations.mpc.run_party`.
        function: the program; called with the backend and `arguments`.
        arguments: the same at every party.
    """

    computation: Computation
    function: Callable[..., Coroutine[Any, Any, Any]]
    arguments: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> RunConfig:
        """Read the file and load its program, which is run as a module in doing so.

        Raises:
            ParameterError: a file that cannot be read, a key that is unknown, missing or of the wrong type, a
                certificate or a program that is not there.
            LocalError: the program's module cannot be run.
        """
        table = _table(path)
        seats = tuple(_seat(path, entry, number) for number, entry in enumerate(table.get("party", [])))
        arguments = table.get("arguments", {})
        try:
            canonical = json.dumps(arguments, sort_keys=True, allow_nan=False).encode()
        except (TypeError, ValueError):
            raise ParameterError(f"{path}: arguments are numbers, texts, booleans, lists and tables of these") from None
        function, source = _program(path, table["program"])
        adversary = table.get("adversary")
        if adversary is not None and adversary not in [each.value for each in Adversary]:
            raise ParameterError(
                f"{path}: adversary is {adversary!r}; {' and '.join(repr(each.value) for each in Adversary)} are known"
            )
        options = {
            name: table[name] for name in ("deadline", "wait", "corruptions", "insecure_dealer") if name in table
        }
        try:
            computation = Computation(
                table["protocol"],
                seats,
                lp(table["program"].encode(), sha256(source).digest(), canonical),
                adversary=None if adversary is None else Adversary(adversary),
                **options,
            )
        except ParameterError as error:
            raise ParameterError(f"{path}: {error}") from None
        return cls(computation, function, arguments)

    async def program(self, backend: Any) -> Any:
        """The function with its arguments, as `run_party` takes it.

        Raises:
            LocalError: the function raised something that is no error of this library.
        """
        try:
            return await self.function(backend, **self.arguments)
        except PrivcompError:
            raise
        except Exception as error:  # the user's own code
            frames = traceback.extract_tb(error.__traceback__)
            where = next((f for f in reversed(frames) if f.filename == self.function.__code__.co_filename), frames[-1])
            place = f"{Path(where.filename).name}, line {where.lineno}"
            raise LocalError(f"the program failed: {type(error).__name__}: {error} ({place})") from error


def _table(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not TOML: {error}") from None
    _check(str(path), table, _KEYS, ("protocol", "program", "party"))
    return table


def _check(where: str, table: Any, keys: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    if not isinstance(table, dict):
        raise ParameterError(f"{where} is not a table; write [[party]] with {', '.join(keys)} below it")
    for name in table:
        if name not in keys:
            raise ParameterError(f"{where}: {name!r} is unknown; there are {', '.join(keys)}")
        if not isinstance(table[name], keys[name]) or (isinstance(table[name], bool) and keys[name] is not bool):
            raise ParameterError(f"{where}: {name} has the wrong type, {type(table[name]).__name__}")
    for name in needed:
        if name not in table:
            raise ParameterError(f"{where}: {name} is missing")


def _seat(path: Path, entry: Any, number: int) -> Seat:
    where = f"{path}, party {number}"
    _check(where, entry, _SEAT_KEYS, tuple(_SEAT_KEYS))
    host, _, port = entry["address"].rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ParameterError(f"{where}: {entry['address']!r} is no address; HOST:PORT or PORT is needed")
    file = path.parent / entry["certificate"]
    try:
        certificate = file.read_bytes()
    except OSError as error:
        raise ParameterError(f"{where}: {file} cannot be read: {error.strerror}") from None
    host = host.removeprefix("[").removesuffix("]") or _LOOPBACK
    try:
        return Seat(entry["id"].encode(), host, int(port), certificate)
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None


def _program(path: Path, text: str) -> tuple[Callable[..., Coroutine[Any, Any, Any]], bytes]:
    """The function, and the source of its module."""
    place, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier() or not place:
        raise ParameterError(f"{path}: program is {text!r}; FILE.py:FUNCTION or MODULE:FUNCTION is needed")
    try:
        module = _from_file(path.parent / place) if place.endswith(".py") else importlib.import_module(place)
    except ParameterError:
        raise
    except Exception as error:
        raise LocalError(f"{path}: the program {place} cannot be run: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not inspect.iscoroutinefunction(function):
        raise ParameterError(f"{path}: {place} has no function {name!r} that is `async`")
    if module.__file__ is None:
        raise ParameterError(f"{path}: {place} has no source file, which all parties have to have alike")
    return function, Path(module.__file__).read_bytes()


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise ParameterError(f"{file} is no file; `program` is looked for beside the configuration")
    spec = importlib.util.spec_from_file_location("privcomp_program", file)
    if spec is None or spec.loader is None:
        raise ParameterError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.resolve().parent))
    spec.loader.exec_module(module)
    return module
