"""The scores of the field, from counts pooled over everything that was held out; numpy only.

Recognition: labels and predictions -> counts -> UF1, UAR and accuracy, and the interval over subjects.
Spotting: intervals found and true -> matched pairs -> counts -> F1; with what was recognised of the spotted, STRS.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from mer_hf.errors import MerHfError

Interval = tuple[int, int]
"""(onset, offset) in frames, both inclusive."""


def confusion(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Counts of (label, prediction) pairs.

    Args:
        labels: True class numbers, (clips,), integers in [0, num_classes).
        predictions: Predicted class numbers, (clips,), likewise.
        num_classes: How many classes there are.

    Returns:
        (num_classes, num_classes) int64; row = true class, column = predicted class.

    Raises:
        MerHfError: Nothing to count, lengths differ, or something is not a class number.
    """
    if num_classes < 1:
        raise MerHfError(f"num_classes is {num_classes}; there must be at least one class.")
    labels = _class_numbers("labels", labels, num_classes)
    predictions = _class_numbers("predictions", predictions, num_classes)
    if len(labels) != len(predictions):
        raise MerHfError(f"{len(labels)} labels and {len(predictions)} predictions: there must be one for each clip.")
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
        MerHfError: As `confusion`; fewer than two subjects, or not one for each clip.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13 (percentile intervals).
    """
    labels = _class_numbers("labels", labels, num_classes)
    names, owners = np.unique(np.asarray(subjects), return_inverse=True)
    if len(owners) != len(labels):
        raise MerHfError(f"{len(owners)} subjects and {len(labels)} labels: there must be one for each clip.")
    if len(names) < 2:
        raise MerHfError(f"all clips are of the subject {names[0]}; an interval over subjects needs two at least.")
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
        raise MerHfError(f"{name} must be one-dimensional, one for each clip; found the shape {values.shape}.")
    if values.size == 0:
        raise MerHfError(f"{name} is empty; there is nothing to score.")
    if not np.issubdtype(values.dtype, np.integer):
        raise MerHfError(f"{name} must be integer class numbers; found the type {values.dtype}.")
    if values.min() < 0 or values.max() >= num_classes:
        raise MerHfError(
            f"{name} go from {values.min()} to {values.max()}; with {num_classes} classes they must be from 0 to "
            f"{num_classes - 1}."
        )
    return values.astype(np.int64)


class SpottingScores(TypedDict):
    """What `spotting_scores` counts; ready for JSON.

    `pairs`: (video, place in `found[video]`, place in `truth[video]`) of every match, in the order of the videos.
    """

    tp: int
    fp: int
    fn: int
    precision: float
    recall: float
    f1: float
    pairs: list[tuple[str, int, int]]


def spotting_scores(
    found: Mapping[str, Sequence[Interval]],
    truth: Mapping[str, Sequence[Interval]],
    iou: float = 0.5,
    matching: Literal["best", "first"] = "best",
) -> SpottingScores:
    """How well intervals were spotted in long videos, from counts pooled over all videos.

    A find may be matched to a truth of its video where their IoU, counted in frames with both ends inclusive, is `iou`
    or more. Each find and each truth is in one pair at most. What is found in a video without truths is a false
    positive, and truths of a video without finds are false negatives: no video is left out. Micro- and
    macro-expressions are scored by a call each, and together by adding the counts.

    Args:
        found: The intervals that were spotted, by video, each (onset, offset) in whole frames, onset <= offset.
        truth: Those that are there, likewise.
        iou: The least intersection over union of a match, in (0, 1].
        matching: `"best"`: as many pairs as can be had, and of the ways to have so many, one with the largest sum of
            IoU. `"first"`: each find in the order given takes the first truth in the order given that is still free,
            as challenge code does; the order can cost a few pairs.

    Returns:
        Counts, precision, recall and F1 in [0, 1], 0 where their denominator is, and the pairs.

    Raises:
        MerHfError: An interval is not two whole numbers in order; `iou` or `matching` is not one of the above.

    Source: Li et al., MEGC 2019; See et al. and Li et al., MEGC 2020 to 2022 (IoU >= .5, one truth to one find).
    """
    if not 0 < iou <= 1:
        raise MerHfError(f"iou is {iou}; it must be above 0 and at most 1.")
    if matching not in ("best", "first"):
        raise MerHfError(f"matching is {matching!r}; it must be 'best' or 'first'.")
    pairs: list[tuple[str, int, int]] = []
    finds = truths = 0
    for video in {**truth, **found}:
        here = _intervals("found", video, found.get(video, ()))
        real = _intervals("truth", video, truth.get(video, ()))
        finds, truths = finds + len(here), truths + len(real)
        overlap = interval_iou(here, real)
        overlap[overlap < iou] = 0
        matched = _best_pairs(overlap) if matching == "best" else _first_pairs(overlap)
        pairs += [(video, find, one) for find, one in matched]
    return _spotting(len(pairs), finds, truths, pairs)


def strs(
    spotted: SpottingScores,
    found_classes: Mapping[str, Sequence[int]],
    true_classes: Mapping[str, Sequence[int]],
    num_classes: int,
) -> dict[str, float]:
    """Spot-then-recognise score: spotting F1 x the UF1 of what was recognised of the spotted.

    Args:
        spotted: What `spotting_scores` made of the intervals.
        found_classes: The predicted class number of each find, by video, in the order of `found`.
        true_classes: That of each truth, likewise.
        num_classes: How many classes there are.

    Returns:
        `strs`, `spotting_f1` and `recognition_uf1` (over the matched pairs; 0 where there are none), in [0, 1].

    Raises:
        MerHfError: A matched interval has no class number, or one outside [0, num_classes).

    Source: See et al., MEGC 2023; Davison et al., MEGC 2024.
    """
    try:
        labels = [true_classes[video][one] for video, _, one in spotted["pairs"]]
        predictions = [found_classes[video][find] for video, find, _ in spotted["pairs"]]
    except (KeyError, IndexError) as error:
        raise MerHfError(
            f"a matched interval has no class ({error}); every find and truth needs one, in the order of the intervals."
        ) from error
    recognised = float(uf1(confusion(labels, predictions, num_classes))) if labels else 0.0
    return {"strs": spotted["f1"] * recognised, "spotting_f1": spotted["f1"], "recognition_uf1": recognised}


def interval_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union in frames of each of `first` (N, 2) with each of `second` (M, 2), both ends inclusive.

    Returns:
        (N, M) in [0, 1].
    """
    together = np.minimum(first[:, None, 1], second[:, 1]) - np.maximum(first[:, None, 0], second[:, 0]) + 1
    together = np.maximum(together, 0)
    lengths = [np.diff(side, axis=1)[:, 0] + 1 for side in (first, second)]
    return together / (lengths[0][:, None] + lengths[1] - together)


def _intervals(name: str, video: str, intervals: Sequence[Interval]) -> np.ndarray:
    if len(intervals) == 0:
        return np.empty((0, 2), dtype=np.int64)
    try:
        table = np.asarray(intervals, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    if table.ndim != 2 or table.shape[1] != 2:
        raise MerHfError(f"{name}[{video!r}] must be (onset, offset) pairs of frame numbers; found {intervals!r}.")
    wrong = ~((table == np.round(table)).all(axis=1) & (table[:, 0] <= table[:, 1]))
    if wrong.any():
        onset, offset = intervals[int(wrong.argmax())]
        raise MerHfError(
            f"{name}[{video!r}] holds ({onset}, {offset}); onset and offset are whole frame numbers, both inclusive, "
            "and the offset is not before the onset."
        )
    return table.astype(np.int64)


def _first_pairs(overlap: np.ndarray) -> list[tuple[int, int]]:
    """Each find takes the first truth that is free; `overlap` (finds, truths) is 0 where they do not match."""
    pairs = []
    free = np.ones(overlap.shape[1], dtype=bool)
    for find, row in enumerate(overlap):
        candidates = np.flatnonzero(free & (row > 0))
        if len(candidates):
            pairs.append((find, int(candidates[0])))
            free[candidates[0]] = False
    return pairs


def _best_pairs(overlap: np.ndarray) -> list[tuple[int, int]]:
    """The most pairs, and among the ways to have so many the largest sum of `overlap`, by best augmenting paths.

    From n pairs with the largest sum, the path that gains most leads to n + 1 pairs with the largest sum (Ahuja,
    Magnanti and Orlin, Network Flows, 1993, section 9.7).
    """
    find_of: dict[int, int] = {}
    while True:
        # the best alternating path to each truth: find -> truth, back along a pair -> another find -> truth, ...
        gain = {find: 0.0 for find in range(len(overlap)) if find not in find_of.values()}
        reached: dict[int, float] = {}
        came_from: dict[int, int] = {}
        waiting = list(gain)
        while waiting:
            find = waiting.pop(0)
            for one in np.flatnonzero(overlap[find]).tolist():
                here = gain[find] + overlap[find, one]
                if find_of.get(one) == find or here <= reached.get(one, -np.inf) + 1e-12:
                    continue
                reached[one], came_from[one] = here, find
                if one in find_of:
                    gain[find_of[one]] = here - overlap[find_of[one], one]
                    waiting.append(find_of[one])
        ends = {one: here for one, here in reached.items() if one not in find_of}
        if not ends:
            return sorted((find, one) for one, find in find_of.items())
        one: int | None = max(ends, key=ends.__getitem__)
        while one is not None:  # along the path, each find leaves its truth for the next
            find = came_from[one]
            left = next((other for other, owner in find_of.items() if owner == find), None)
            find_of[one] = find
            one = left


def _spotting(tp: int, finds: int, truths: int, pairs: list[tuple[str, int, int]]) -> SpottingScores:
    return {
        "tp": tp,
        "fp": finds - tp,
        "fn": truths - tp,
        "precision": tp / finds if finds else 0.0,
        "recall": tp / truths if truths else 0.0,
        "f1": 2 * tp / (finds + truths) if finds + truths else 0.0,
        "pairs": pairs,
    }
