"""UF1, UAR and accuracy, computed from counts pooled over all folds.

The pure functions come first, in the order in which the numbers travel: labels and predictions -> counts -> scores.
`MicroExpressionMetric` wraps them for `evaluate`; this file needs nothing of the package, so
`evaluate.load("path/to/metrics.py")` works where the package is not installed.
"""

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike


def confusion(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Counts of (label, prediction) pairs.

    Args:
        labels: True class numbers, (clips,), integers in [0, num_classes).
        predictions: Predicted class numbers, (clips,), likewise.
        num_classes: How many classes there are.

    Returns:
        (num_classes, num_classes) int64; row = true class, column = predicted class.

    Raises:
        ValueError: Nothing to count, lengths differ, or something is not a class number.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; there must be at least one class.")
    labels = _class_numbers("labels", labels, num_classes)
    predictions = _class_numbers("predictions", predictions, num_classes)
    if len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions: there must be one for each clip.")
    pairs = labels * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def uf1(counts: np.ndarray) -> float:
    """Unweighted F1: the mean over classes of 2TP / (2TP + FP + FN), in [0, 1].

    A class without a true label is absent and left out of the mean. A clip that was taken for an absent class is a
    miss of its true class, and counts no further.

    Args:
        counts: A confusion matrix as `confusion` returns it, of all folds together. The mean of the scores of single
            folds is another number, and not this one.

    Source: See et al., MEGC 2019, FG 2019.
    """
    present = counts.sum(axis=1) > 0
    hits = np.diag(counts)
    f1 = 2 * hits[present] / (counts.sum(axis=1) + counts.sum(axis=0))[present]
    return float(f1.mean())


def uar(counts: np.ndarray) -> float:
    """Unweighted average recall: the mean over classes of TP / (TP + FN), in [0, 1].

    A class without a true label is absent and left out of the mean.

    Args:
        counts: A confusion matrix as `confusion` returns it, of all folds together.

    Source: See et al., MEGC 2019, FG 2019.
    """
    clips = counts.sum(axis=1)
    present = clips > 0
    return float((np.diag(counts)[present] / clips[present]).mean())


def accuracy(counts: np.ndarray) -> float:
    """The share of clips that were recognised, in [0, 1]; `counts` as `confusion` returns it."""
    return float(np.trace(counts) / counts.sum())


def scores(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> dict:
    """All scores of a set of predictions, ready for JSON.

    Args and Raises: as `confusion`.

    Returns:
        `uf1`, `uar`, `accuracy` as floats, and `confusion` as nested lists of ints (row = true class).
    """
    counts = confusion(labels, predictions, num_classes)
    return {
        "uf1": uf1(counts),
        "uar": uar(counts),
        "accuracy": accuracy(counts),
        "confusion": counts.tolist(),
    }


def _class_numbers(name: str, values: ArrayLike, num_classes: int) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, one for each clip; found the shape {values.shape}.")
    if values.size == 0:
        raise ValueError(f"{name} is empty; there is nothing to score.")
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be integer class numbers; found the type {values.dtype}.")
    if values.min() < 0 or values.max() >= num_classes:
        raise ValueError(
            f"{name} go from {values.min()} to {values.max()}; with {num_classes} classes they must be from 0 to "
            f"{num_classes - 1}."
        )
    return values.astype(np.int64)


class MicroExpressionMetric(evaluate.Metric):
    """`scores` as a metric of `evaluate`: `add_batch` fold after fold, then one `compute` over the pooled clips.

    `compute(num_classes=...)` sets the size of the confusion matrix; without it the matrix ends at the highest class
    number seen. The scores are the same either way, for absent classes are left out of them.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Unweighted F1, unweighted average recall and accuracy, from counts pooled over all folds.",
            citation="See et al., MEGC 2019 - The Second Facial Micro-Expressions Grand Challenge, FG 2019",
            inputs_description="predictions and references: class numbers, one for each clip.",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: ArrayLike, references: ArrayLike, num_classes: int | None = None) -> dict:
        if num_classes is None:
            num_classes = int(max(np.max(predictions), np.max(references))) + 1
        return scores(references, predictions, num_classes)
