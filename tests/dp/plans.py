"""Plans that several tests share, solved once, and a generator of reproducible bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from privcomp.dp import DistributedPlan, plan_distributed


def make(**changes: Any) -> DistributedPlan:
    """A plan for 1000 entries and 10 clients with some arguments changed, solved once."""
    return _made(tuple(sorted(changes.items(), key=lambda item: item[0])))


@lru_cache(maxsize=128)
def _made(changes: tuple[tuple[str, Any], ...]) -> DistributedPlan:
    return solved(**dict(changes))


def solved(**changes: Any) -> DistributedPlan:
    """The same, solved anew."""
    wish: dict[str, Any] = {
        "clip": 1.0,
        "dim": 1000,
        "clients": 10,
        "min_survivors": 8,
        "colluders": 2,
        "bits": 18,
        "target": (8.0, 1e-5),
        "rounds": 10,
        "sampling": "none",
        "adjacency": "zero_out",
    }
    return plan_distributed(**(wish | changes))


def stream(name: str) -> Callable[[int], bytes]:
    """An rng whose bytes depend on the name and on how many calls were made: reproducible, for tests only."""
    calls = [0]

    def rng(count: int) -> bytes:
        calls[0] += 1
        return hashlib.shake_128(f"{name}/{calls[0]}".encode()).digest(count)

    return rng
