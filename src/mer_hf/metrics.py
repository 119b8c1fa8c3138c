"""UF1, UAR and accuracy, computed from counts pooled over all folds.

The pure functions come first, in the order in which the numbers travel: labels and predictions -> counts -> scores, and
the interval over subjects beside them.
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


def uf1(counts: np.ndarray) -> np.ndarray:
    """Unweighted F1: the mean over classes of 2TP / (2TP + FP + FN), in [0, 1].

    A class without a true label is absent and left out of the mean. A clip that was taken for an absent class is a
    miss of its true class, and counts no further.

    Args:
        counts: Confusion matrices (..., num_classes, num_classes), each as `confusion` returns it, of all folds
            together. The mean of the scores of single folds is another number, and not this one.

    Returns:
        (...), a score a matrix.

    Source: See et al., MEGC 2019, FG 2019.
    """
    clips = counts.sum(axis=-1)
    return _mean_over_present(2 * _hits(counts), clips + counts.sum(axis=-2), clips > 0)


def uar(counts: np.ndarray) -> np.ndarray:
    """Unweighted average recall: the mean over classes of TP / (TP + FN), in [0, 1].

    A class without a true label is absent and left out of the mean.

    Args and Returns: as `uf1`.

    Source: See et al., MEGC 2019, FG 2019.
    """
    clips = counts.sum(axis=-1)
    return _mean_over_present(_hits(counts), clips, clips > 0)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """The share of clips that were recognised, in [0, 1]; arguments and result as those of `uf1`."""
    return _hits(counts).sum(axis=-1) / counts.sum(axis=(-2, -1))


SCORES = {"uf1": uf1, "uar": uar, "accuracy": accuracy}


def scores(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> dict:
    """All scores of a set of predictions, ready for JSON.

    Args and Raises: as `confusion`.

    Returns:
        `uf1`, `uar`, `accuracy` as floats, and `confusion` as nested lists of ints (row = true class).
    """
    counts = confusion(labels, predictions, num_classes)
    return {**{name: float(score(counts)) for name, score in SCORES.items()}, "confusion": counts.tolist()}


def subject_bootstrap(
    labels: ArrayLike, predictions: ArrayLike, subjects: ArrayLike, num_classes: int, draws: int = 2000, seed: int = 0
) -> dict[str, list[float]]:
    """How far the scores depend on who was recorded: 95 % intervals over resampled subjects, ready for JSON.

    As many subjects as there are are drawn with replacement, and the scores computed from the counts of those drawn;
    the interval goes from the 2.5th to the 97.5th percentile of them. The clips of a subject are alike, so resampling
    clips would promise too much. All rows of a subject go along with it: the predictions of several seeds for one clip
    make no more subjects of it. A class that nobody drawn has shown is left out of the means of that draw, as `uf1` and
    `uar` do with an absent class. The subjects of several corpora are drawn from one bag.

    Args:
        labels, predictions, num_classes: As `confusion`.
        subjects: Whose clip it is, (clips,), numbers or names.
        draws: How often the subjects are drawn.
        seed: Of the draws.

    Returns:
        `uf1`, `uar`, `accuracy`: [low, high] each, in [0, 1].

    Raises:
        ValueError: As `confusion`; fewer than two subjects, or not one for each clip.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13 (percentile intervals).
    """
    labels = _class_numbers("labels", labels, num_classes)
    names, owners = np.unique(np.asarray(subjects), return_inverse=True)
    if len(owners) != len(labels):
        raise ValueError(f"{len(owners)} subjects and {len(labels)} labels: there must be one for each clip.")
    if len(names) < 2:
        raise ValueError(f"all clips are of the subject {names[0]}; an interval over subjects needs two at least.")
    predictions = np.asarray(predictions)
    counts = np.stack(
        [confusion(labels[owners == own], predictions[owners == own], num_classes) for own in range(len(names))]
    )
    times_drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
    drawn = np.tensordot(times_drawn, counts, axes=1)
    return {name: np.quantile(score(drawn), [0.025, 0.975]).tolist() for name, score in SCORES.items()}


def _hits(counts: np.ndarray) -> np.ndarray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _mean_over_present(parts: np.ndarray, wholes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The mean of parts / wholes over those that are present; all (..., num_classes)."""
    return np.divide(parts, wholes, out=np.zeros(parts.shape), where=present).sum(axis=-1) / present.sum(axis=-1)


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
