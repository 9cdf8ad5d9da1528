"""Secure aggregation in a Flower app: a mod for the ClientApp, a wrapped Grid for the ServerApp; and noise.

    app = ClientApp(mods=[secagg_mod])                              # client_app.py
    grid = SecAggGrid(grid, context, strategy)                      # server_app.py

The strategy and the app stay as they are. docs/flower.md shows a whole app, and what the server sees with and without.
With `privcomp-dp-epsilon` in the run config the nodes' sum is noised by themselves; `LocalDpMod` is for those without
secure aggregation.

    messages.py   what travels inside Flower's messages          (needs no flwr)
    settings.py   the `privcomp-...` keys of Flower's run config (needs no flwr)
    records.py    our messages as Flower's records
    mod.py        the node
    local.py      a node that adds noise on its own
    grid.py       the server
    launcher.py   `privcomp supernode`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privcomp.integrations.flower.grid import SecAggGrid
    from privcomp.integrations.flower.local import LocalDpMod
    from privcomp.integrations.flower.mod import secagg_mod

__all__ = ["LocalDpMod", "SecAggGrid", "secagg_mod"]

_PLACES = {"LocalDpMod": "local", "SecAggGrid": "grid", "secagg_mod": "mod"}


def __getattr__(name: str) -> Any:
    # Late, so that what needs no flwr (the messages) can be read where it is not installed.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
