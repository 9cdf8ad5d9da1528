"""Homes for NVFlare's simulator: all keys in one folder, so what runs with them proves nothing but that it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from privcomp.errors import LocalError, ParameterError
from privcomp.integrations.home import NodeHome, ServerHome, make_roster
from privcomp.integrations.nvflare.site import SIMULATED

__all__ = ["simulation_homes"]


def simulation_homes(folder: str | os.PathLike[str], sites: Iterable[str], *, policy: str = "") -> str:
    """Make the homes of a server and of simulated sites, each with the roster and the server's key pinned.

    What is there already is kept. The ids in the roster, and so in every record of the ledger, begin with
    "simulation:".

    Args:
        folder: made if need be; contains `server` and one folder per site afterwards.
        sites: the simulator's names ("site-1", ...).
        policy: lines of policy.toml for all sites, before the defaults ('corrupt = 0').

    Returns:
        The folder's absolute path, for `simulate` or `secure`.

    Raises:
        LocalError: the folder holds homes of other sites.
        ParameterError: no sites.
    """
    path, names = Path(folder).resolve(), list(dict.fromkeys(sites))
    if not names:
        raise ParameterError("a simulation needs sites")
    if (path / "server").is_dir():
        missing = [name for name in names if not (path / name / "policy.toml").is_file()]
        if missing:
            raise LocalError(f"{path} holds a simulation without {', '.join(missing)}; use another folder")
        return str(path)
    for name in names:
        NodeHome.create(path / name, (SIMULATED + name).encode())
    ServerHome.create(path / "server")
    certificates = _certificates({name: path / name for name in names})
    roster, members = make_roster(certificates)
    ServerHome.install(path / "server", roster, members)
    server = (path / "server" / "server.pem").read_bytes()
    for name in names:
        if policy:
            file = path / name / "policy.toml"
            file.write_text(policy.rstrip("\n") + "\n" + file.read_text())
        NodeHome.trust(path / name, roster.to_bytes(), server)
    return str(path)


def _certificates(folders: Mapping[str, Path]) -> dict[str, bytes]:
    found = {}
    for name, folder in folders.items():
        with NodeHome.open(folder) as home:
            found[name] = home.certificate.read_bytes()
    return found
