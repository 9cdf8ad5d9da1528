"""Homes for NVFlare's simulator: all keys in one folder, so what runs with them proves nothing but that it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from privcomp.errors import LocalError
from privcomp.integrations.home import make_simulation
from privcomp.policy import Policy

__all__ = ["simulation_homes"]


def simulation_homes(
    folder: str | os.PathLike[str],
    sites: Iterable[str],
    *,
    policy: str = "",
    committee: Iterable[str] = (),
    beacon: bytes = b"",
) -> str:
    """Make the homes of a server and of simulated sites, each with the roster and the server's key pinned.

    What is there already is kept. The ids in the roster, and so in every record of the ledger, begin with
    "simulation-".

    Args:
        folder: made if need be; contains `server` and one folder per site afterwards.
        sites: the simulator's names ("site-1", ...).
        policy: lines of policy.toml for all sites, before the defaults ('corrupt = 0').
        committee: sites that hold the shares of keys in one-shot rounds; empty: no such rounds.
        beacon: with which they are drawn; empty: no such rounds.

    Returns:
        The folder's absolute path, for `simulate` or `secure`.

    Raises:
        LocalError: the folder holds homes of other sites.
        ParameterError: fewer than 3 sites, or a committee that is none.
    """
    path, names = Path(folder).resolve(), list(dict.fromkeys(sites))
    if (path / "server").is_dir():
        missing = [name for name in names if not (path / name / "policy.toml").is_file()]
        if missing:
            raise LocalError(f"{path} holds a simulation without {', '.join(missing)}; use another folder")
        return str(path)
    text = policy.rstrip("\n") + "\n" + Policy.default_toml()
    make_simulation(path, names, policy=text, committee=committee, beacon=beacon)
    return str(path)
