"""Entropy that is the same in every run."""

from __future__ import annotations

import random
from collections.abc import Callable


def coins(seed: int) -> Callable[[int], bytes]:
    """An rng for tests."""
    return random.Random(seed).randbytes
