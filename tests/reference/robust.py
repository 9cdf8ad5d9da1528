"""Robust rules in plain integers and float64: X is int64 (n, d), nothing wraps because Python integers are used."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def _big(x: Ints) -> list[list[int]]:
    return [[int(v) for v in row] for row in x]


def square_norms(x: Ints) -> list[int]:
    return [sum(v * v for v in row) for row in _big(x)]


def krum_scores(x: Ints, f: int) -> list[int]:
    rows = _big(x)
    n = len(rows)
    scores = []
    for i in range(n):
        far = sorted(sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)) for j in range(n) if j != i)
        scores.append(sum(far[: n - f - 2]))
    return scores


def multi_krum(x: Ints, f: int, m: int) -> Ints:
    """The sum of the m updates with the smallest scores; ties go to the lower index."""
    scores = krum_scores(x, f)
    chosen = sorted(range(len(scores)), key=lambda i: (scores[i], i))[:m]
    total: Ints = x[chosen].sum(axis=0)
    return total


def trimmed_sum(x: Ints, k: int) -> Ints:
    n = x.shape[0]
    total: Ints = np.sort(x, axis=0)[k : n - k].sum(axis=0)
    return total


def norm_filter(x: Ints, limit: int) -> tuple[Ints, int]:
    keep = np.array([norm <= limit * limit for norm in square_norms(x)])
    return x[keep].sum(axis=0), int(keep.sum())


def clip_weights(x: Ints, limit: int) -> list[float]:
    return [min(1.0, limit / math.sqrt(norm)) if norm else 1.0 for norm in square_norms(x)]


def norm_clip(x: Ints, limit: int) -> NDArray[np.float64]:
    """The sum of the clipped updates."""
    total: NDArray[np.float64] = np.array(clip_weights(x, limit)) @ x.astype(np.float64)
    return total


def trust_scores(x: Ints, reference: Ints) -> list[float]:
    own = math.sqrt(sum(int(v) ** 2 for v in reference))
    scores = []
    for row, norm in zip(_big(x), square_norms(x), strict=True):
        dot = sum(a * int(b) for a, b in zip(row, reference, strict=True))
        scores.append(max(0.0, dot / (math.sqrt(norm) * own)) if norm else 0.0)
    return scores


def fltrust(x: Ints, reference: Ints) -> NDArray[np.float64]:
    own = math.sqrt(sum(int(v) ** 2 for v in reference))
    trust = trust_scores(x, reference)
    weights = [t * own / math.sqrt(norm) if norm else 0.0 for t, norm in zip(trust, square_norms(x), strict=True)]
    total: NDArray[np.float64] = np.array(weights) @ x.astype(np.float64) / sum(trust)
    return total


def cosines(x: Ints) -> list[float]:
    """Of every update to the sum of all; 0 where one of them is zero."""
    rows = _big(x)
    total = [sum(column) for column in zip(*rows, strict=True)]
    size = math.sqrt(sum(v * v for v in total))
    dots = [sum(a * s for a, s in zip(row, total, strict=True)) for row in rows]
    return [
        dot / (math.sqrt(norm) * size) if norm and size else 0.0
        for dot, norm in zip(dots, square_norms(x), strict=True)
    ]


def square_moves(x: Ints) -> list[int]:
    """(n (n - 1))^2 times the squared distance by which the mean moves when a client is left out."""
    rows = _big(x)
    n = len(rows)
    total = [sum(column) for column in zip(*rows, strict=True)]
    return [sum((n * a - s) ** 2 for a, s in zip(row, total, strict=True)) for row in rows]
