"""Scores of a classifier on the held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privcomp.errors import ParameterError

__all__ = ["Scores", "mean_scores", "score"]


@dataclass(frozen=True)
class Scores:
    """Scores in 0..1.

    Attributes:
        accuracy: share of rows whose class was predicted.
        precision: macro average over the classes of TP / (TP + FP), 0 for a class that is never predicted.
        recall: macro average over the classes of TP / (TP + FN), over the classes that occur.
        malignant_recall: recall of the malignant class alone, None where the table has none.
        confusion: rows are true classes, columns are predicted ones; None in a mean of scores.
    """

    accuracy: float
    precision: float
    recall: float
    malignant_recall: float | None
    confusion: tuple[tuple[int, ...], ...] | None = None


def score(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, malignant: int | None) -> Scores:
    """Scores of predictions.

    Args:
        truth: true classes, int64 (rows,), 0..classes - 1, at least one row.
        predicted: predicted classes, same shape.
        classes: number of classes.
        malignant: the class to report alone, or None.

    Raises:
        ParameterError: shapes that differ, or no row.
    """
    if truth.shape != predicted.shape or truth.size == 0:
        raise ParameterError(f"{truth.size} true and {predicted.size} predicted classes; equally many, at least one")
    confusion = np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    hits = np.diag(confusion)
    occurs, claimed = confusion.sum(axis=1), confusion.sum(axis=0)
    recall = hits / np.maximum(occurs, 1)
    precision = hits / np.maximum(claimed, 1)
    present = occurs > 0
    return Scores(
        accuracy=float(hits.sum() / truth.size),
        precision=float(precision[present].mean()),
        recall=float(recall[present].mean()),
        malignant_recall=None if malignant is None else float(recall[malignant]),
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion),
    )


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Arithmetic mean of several models' scores. Raises ParameterError for none."""
    if not scores:
        raise ParameterError("there is no score to average; at least one is needed")
    alone = [s.malignant_recall for s in scores if s.malignant_recall is not None]
    return Scores(
        accuracy=float(np.mean([s.accuracy for s in scores])),
        precision=float(np.mean([s.precision for s in scores])),
        recall=float(np.mean([s.recall for s in scores])),
        malignant_recall=float(np.mean(alone)) if alone else None,
    )
