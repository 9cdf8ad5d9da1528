"""Nodes of one process share the constants of a ring, whichever of their threads asks first."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from privcomp.he import RlweParams, params


def test_threads_get_the_same_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one thread's key would be of other tables than those that it is used with."""
    threads, made = 4, []
    together = threading.Barrier(threads)
    here = threading.Event()

    class Slow(params.RlweTables):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any) -> None:
            made.append(threading.get_ident())
            here.wait(0.2)  # time for the others to come here, too
            super().__init__(*arguments)

    monkeypatch.setattr(params, "RlweTables", Slow)
    ring = RlweParams.for_round(11, 77, 3)  # of no other test
    found: list[Any] = []

    def ask() -> None:
        together.wait()
        found.append(ring.tables)

    running = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert len(made) == 1
    assert len({id(tables) for tables in found}) == 1
