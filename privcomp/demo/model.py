"""Logistic regression in plain NumPy: a model is a few named arrays, training is a pure function of them.

For K classes the logits of a standardised row z are z @ weight + bias, with one column for K = 2 (the probability of
class 1 is the logistic function of it) and K columns otherwise (softmax). The loss is the cross-entropy, each row
weighted by the weight of its class, plus l2 / 2 times the squared norm of `weight`; training is full-batch gradient
descent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privcomp.encoding import Layout
from privcomp.errors import ParameterError

__all__ = ["Standardiser", "Training", "class_weights", "descend", "initial", "layout", "predict", "row_gradients"]

Parameters = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Training:
    """How a hospital trains: `steps` full-batch gradient steps of size `rate`, with L2 penalty `l2`.

    Raises:
        ParameterError: a step size or penalty that is not positive and finite (the penalty may be 0), or no step.
    """

    steps: int = 10
    rate: float = 0.5
    l2: float = 3e-3

    def __post_init__(self) -> None:
        if type(self.steps) is not int or not 1 <= self.steps <= 10_000:
            raise ParameterError(f"{self.steps!r} local steps; an integer in 1..10000 is needed")
        if not (0 < self.rate <= 100 and 0 <= self.l2 <= 100):
            raise ParameterError(
                f"rate {self.rate!r} and l2 {self.l2!r}: 0 < rate <= 100 and 0 <= l2 <= 100 are needed"
            )


@dataclass(frozen=True, eq=False)
class Standardiser:
    """z = (x - mean) / scale, float64 (features,) each, scale > 0."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised copy of x, float64 (rows, features)."""
        return (x - self.mean) / self.scale

    @classmethod
    def of(cls, x: NDArray[np.float64]) -> Standardiser:
        """From rows that one party holds itself; a constant feature keeps scale 1."""
        spread = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(spread > 1e-9 * np.maximum(np.abs(x).max(axis=0), 1e-300), spread, 1.0))


def initial(features: int, classes: int) -> dict[str, NDArray[np.float64]]:
    """The model before any training: zeros."""
    columns = 1 if classes == 2 else classes
    return {"weight": np.zeros((features, columns)), "bias": np.zeros(columns)}


def layout(features: int, classes: int) -> Layout:
    """Order and shapes of a model's arrays inside the flat update."""
    return Layout.of(initial(features, classes))


def class_weights(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of each class: the square root of its balanced weight, sqrt(N / (K N_k)).

    Half-way (in logarithms) between no balancing, which neglects rare classes, and full balancing, which overrates
    them.

    Args:
        counts: rows per class, float64 (classes,), some positive.
    """
    total = counts.sum()
    return np.asarray(np.sqrt(total / (counts.size * np.maximum(counts, 1.0))), dtype=np.float64)


def _logits(parameters: Parameters, z: NDArray[np.float64]) -> NDArray[np.float64]:
    return z @ parameters["weight"] + parameters["bias"]


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    if logits.shape[1] == 1:
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def descend(
    parameters: Parameters,
    z: NDArray[np.float64],
    y: NDArray[np.int64],
    weights: NDArray[np.float64],
    training: Training,
) -> dict[str, NDArray[np.float64]]:
    """The model after `training.steps` gradient steps on the given rows; deterministic, inputs are left alone.

    Args:
        parameters: where to start.
        z: standardised rows, float64 (rows, features).
        y: classes, int64 (rows,).
        weights: weight per class, float64 (classes,).
        training: steps, rate, penalty.
    """
    weight, bias = parameters["weight"].copy(), parameters["bias"].copy()
    columns = bias.size
    target = y[:, None].astype(np.float64) if columns == 1 else np.eye(columns)[y]
    row_weight = (weights[y] / y.size)[:, None]
    for _ in range(training.steps):
        residual = row_weight * (_probabilities(_logits({"weight": weight, "bias": bias}, z)) - target)
        weight -= training.rate * (z.T @ residual + training.l2 * weight)
        bias -= training.rate * residual.sum(axis=0)
    return {"weight": weight, "bias": bias}


def predict(parameters: Parameters, z: NDArray[np.float64]) -> NDArray[np.int64]:
    """Predicted classes, int64 (rows,)."""
    logits = _logits(parameters, z)
    if logits.shape[1] == 1:
        return np.asarray(logits[:, 0] > 0, dtype=np.int64)
    return np.asarray(np.argmax(logits, axis=1), dtype=np.int64)


def row_gradients(parameters: Parameters, z: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """The gradient of each row's cross-entropy, without penalty: float64 (rows, size of the model).

    Args:
        parameters: where.
        z: standardised rows, float64 (rows, features).
        y: classes, int64 (rows,).
    """
    columns = parameters["bias"].size
    target = y[:, None].astype(np.float64) if columns == 1 else np.eye(columns)[y]
    residual = _probabilities(_logits(parameters, z)) - target
    weight = z[:, :, None] * residual[:, None, :]
    return np.concatenate([weight.reshape(y.size, -1), residual], axis=1)
