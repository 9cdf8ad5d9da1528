"""What the private run is compared with, for the report only.

These models see what no party of the private run sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privcomp.demo.data import Federation
from privcomp.demo.metrics import Scores, mean_scores, score
from privcomp.demo.model import Standardiser, Training, class_weights, descend, initial, predict
from privcomp.errors import ParameterError

__all__ = ["plain_average", "pooled", "single_sites"]


def plain_average(updates: Sequence[tuple[NDArray[np.float64], int]]) -> NDArray[np.float64]:
    """Weighted mean in floating point, as plain federated averaging computes it.

    Args:
        updates: (vector, weight) of each survivor; at least one.
    """
    if not updates:
        raise ParameterError("there is no update to average; at least one is needed")
    total = np.zeros_like(updates[0][0])
    for vector, weight in updates:
        total += weight * vector
    return total / sum(weight for _, weight in updates)


def _train(
    federation: Federation, x: NDArray[np.float64], y: NDArray[np.int64], training: Training, rounds: int
) -> tuple[Scores, list[float]]:
    classes = len(federation.table.classes)
    standardise = Standardiser.of(x)
    z, test = standardise(x), standardise(federation.test_x)
    weights = class_weights(np.bincount(y, minlength=classes).astype(np.float64))
    parameters = initial(x.shape[1], classes)
    curve: list[float] = []
    scores = None
    for _ in range(rounds):
        parameters = descend(parameters, z, y, weights, training)
        scores = score(federation.test_y, predict(parameters, test), classes, federation.table.malignant)
        curve.append(scores.accuracy)
    if scores is None:
        raise ParameterError("0 rounds of training; at least 1 is needed")
    return scores, curve


def pooled(federation: Federation, training: Training, rounds: int) -> tuple[Scores, list[float]]:
    """One model on everybody's rows: its scores and its accuracy after each round's worth of steps."""
    x = np.concatenate([site.x for site in federation.sites])
    y = np.concatenate([site.y for site in federation.sites])
    return _train(federation, x, y, training, rounds)


def single_sites(federation: Federation, training: Training, rounds: int) -> Scores:
    """Every hospital alone on its own rows, with as many steps: the mean of the models' scores."""
    return mean_scores([_train(federation, site.x, site.y, training, rounds)[0] for site in federation.sites])
