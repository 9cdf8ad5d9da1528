"""What the sites of the rows `embed.*` compute, and what must come out: the same in every framework and without one.

A file of its own that imports nothing of this project, because it travels in Flower's bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: How far a site goes towards its own optimum in one round. No entry changes by more than CLIP.
RATE = 0.25
CLIP = 0.5
MAX_WEIGHT = 1000


def optimum(site: int, entries: int) -> NDArray[np.float32]:
    """Where a site would like the model to be, in -1..1."""
    return np.random.default_rng([20240601, site]).uniform(-1, 1, entries).astype(np.float32)


def weight(site: int) -> int:
    """A site's number of examples."""
    return 100 + 10 * site


def trained(site: int, model: NDArray[np.float32]) -> NDArray[np.float32]:
    """A site's model after its training."""
    return model + np.float32(RATE) * (optimum(site, len(model)) - model)


def exact(sites: Sequence[int], entries: int, rounds: int) -> NDArray[np.float64]:
    """The model after some rounds of exact weighted means, from zeros."""
    weights = [weight(site) for site in sites]
    aim: NDArray[Any] = np.average([optimum(site, entries).astype(np.float64) for site in sites], 0, weights)
    model = np.zeros(entries)
    for _ in range(rounds):
        model += RATE * (aim - model)
    return model
