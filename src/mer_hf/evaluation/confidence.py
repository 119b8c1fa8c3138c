"""How far a score can be believed, and when a model should rather say nothing.

logits, labels of inner folds -> temperature -> probabilities -> abstain_below: fitted, a `Confidence`
calibration and risk_coverage show both

Nothing here may see a held-out clip: a temperature or threshold that is reported with a held-out score is fitted on
predictions for the clips of inner folds of the training side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from mer_hf.errors import MerHfError

COLDEST, WARMEST = 0.05, 20.0
"""Temperatures are sought between these; beyond them, scores are 0 and 1, or all alike."""
RISK = 0.2
"""Share of wrong answers that a threshold is chosen for."""
NEVER = 1.01
"""A threshold that no score reaches."""


class Confidence(TypedDict):
    """A temperature and a threshold, and what they are worth; ready for JSON.

    `clips` were not seen by the networks that judged them. `answered` is the share of them that were answered, `wrong`
    that of the answers that were wrong (0 without an answer), where each group of clips, such as those of a subject,
    was judged by what was fitted on the others.
    """

    temperature: float
    abstain_below: float
    risk: float
    clips: int
    answered: float
    wrong: float


def fitted(logits: ArrayLike, labels: ArrayLike, groups: Sequence[object], risk: float = RISK) -> Confidence:
    """The temperature and the threshold of a model, from what is known of clips that it, or its like, had not seen.

    Args:
        logits: (clips, classes).
        labels: class numbers, (clips,); -1 for a clip without an expression, of which every answer is wrong.
        groups: whom or what each clip is of; two at least.
        risk: share of wrong answers that can be borne.

    Raises:
        MerHfError: the shapes do not fit, a logit is not finite, or there is a single group.
    """
    logits, labels, names = np.asarray(logits, dtype=np.float64), np.asarray(labels), np.asarray(groups)
    if len(set(names.tolist())) < 2:
        raise MerHfError(f"what is fitted is judged on another group of clips; all {len(names)} are of one")
    found, threshold = _fitted(logits, labels, risk)
    right = logits.argmax(axis=1) == labels
    answered = np.zeros(len(labels), dtype=bool)
    for name in sorted(set(names.tolist())):
        held_out = names == name
        fit, least = _fitted(logits[~held_out], labels[~held_out], risk)
        answered[held_out] = probabilities(logits[held_out], fit).max(axis=1) >= least
    wrong = float((answered & ~right).sum() / max(answered.sum(), 1))
    return Confidence(
        temperature=found,
        abstain_below=threshold,
        risk=risk,
        clips=len(labels),
        answered=float(answered.mean()),
        wrong=wrong,
    )


def _fitted(logits: np.ndarray, labels: np.ndarray, risk: float) -> tuple[float, float]:
    shown = labels >= 0
    found = temperature(logits[shown], labels[shown])
    confidence = probabilities(logits, found).max(axis=1)
    return found, min(abstain_below(confidence, logits.argmax(axis=1) == labels, risk), NEVER)


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T with which softmax(logits / T) fits the labels best; it changes no prediction.

    Args:
        logits: what models say of clips that they had not seen, (clips, classes); any that differ by a constant a
            row will do, such as the logarithms of scores.
        labels: class numbers, (clips,).

    Returns:
        T in [.05, 20], at the least mean negative log-likelihood. Above 1 the model was too sure of itself.

    Raises:
        MerHfError: the shapes do not fit, a logit is not finite, or a label is no class number.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    logits, labels = _checked(logits, labels)
    low, high = np.log(COLDEST), np.log(WARMEST)
    # in log T the loss falls and then rises: it is convex in 1 / T. A golden section of it needs no derivative.
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _negative_log_likelihood(logits, labels, np.exp(left)) < _negative_log_likelihood(
            logits, labels, np.exp(right)
        ):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def probabilities(logits: ArrayLike, at_temperature: float = 1.0) -> np.ndarray:
    """softmax(logits / temperature), (clips, classes)."""
    scaled = np.asarray(logits, dtype=np.float64) / at_temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def abstain_below(confidence: ArrayLike, right: ArrayLike, risk: float) -> float:
    """The least score of the first class at which a model should answer, so that at most a share `risk` is wrong.

    Args:
        confidence: highest score of each clip, (clips,), of inner folds.
        right: whether that class was right, (clips,).
        risk: share of wrong answers that can be borne, in [0, 1).

    Returns:
        The lowest threshold for which, at it and at every higher one with an answer left, the share of wrong answers is
        at most `risk`; so a lucky stretch of clips lets no one through. Infinity where even the surest answers are
        wrong too often: then the model should never answer.

    Raises:
        MerHfError: `risk` is out of range, or the shapes do not fit.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017.
    """
    if not 0 <= risk < 1:
        raise MerHfError(f"risk is {risk}; it is a share of wrong answers, from 0 to below 1.")
    curve = risk_coverage(confidence, right)
    chosen = np.inf
    for threshold, wrong in zip(curve.thresholds, curve.risks, strict=True):
        if wrong > risk:
            break
        chosen = float(threshold)
    return chosen


@dataclass(frozen=True)
class RiskCoverage:
    """What abstaining buys: from answering the surest clips only to answering all.

    Args:
        thresholds: least score that is answered, falling, (steps,).
        coverages: share of clips that are answered, rising to 1.
        risks: share of the answers that are wrong.
    """

    thresholds: np.ndarray
    coverages: np.ndarray
    risks: np.ndarray

    @property
    def area(self) -> float:
        """The mean risk over all coverages (AURC); lower is better, and a perfect order of clips is not 0."""
        steps = np.diff(self.coverages, prepend=0.0)
        return float((steps * self.risks).sum())


def risk_coverage(confidence: ArrayLike, right: ArrayLike) -> RiskCoverage:
    """The risk at each coverage, a step for each score that occurs; clips with equal scores are answered together.

    Args:
        confidence: highest score of each clip, (clips,).
        right: whether that class was right, (clips,).
    """
    confidence, right = _pairs(confidence, right)
    thresholds, place = np.unique(-confidence, return_inverse=True)
    answered = np.cumsum(np.bincount(place))
    wrong = np.cumsum(np.bincount(place, weights=~right))
    return RiskCoverage(-thresholds, answered / len(right), wrong / answered)


@dataclass(frozen=True)
class Calibration:
    """How often clips were right that were scored alike.

    Args:
        edges: where the bins of scores begin and end, rising, (bins + 1,).
        clips: in each bin, (bins,).
        confidence: mean score of each bin, (bins,); nan where it is empty.
        accuracy: share that was right, (bins,); nan where it is empty.
    """

    edges: np.ndarray
    clips: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean over clips of |accuracy - confidence| of their bin."""
        gaps = np.abs(np.nan_to_num(self.accuracy) - np.nan_to_num(self.confidence))
        return float((gaps * self.clips).sum() / self.clips.sum())


def calibration(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> Calibration:
    """Scores in bins of equal width over [0, 1], each with its upper edge.

    Args:
        confidence: highest score of each clip, (clips,), in [0, 1].
        right: whether that class was right, (clips,).
        bins: how many.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    confidence, right = _pairs(confidence, right)
    if confidence.min() < 0 or confidence.max() > 1 + 1e-6:
        raise MerHfError(f"scores go from {confidence.min():g} to {confidence.max():g}; a calibration needs 0 to 1.")
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    clips = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (confidence, right)]
    means = [np.divide(total, clips, out=np.full(bins, np.nan), where=clips > 0) for total in sums]
    return Calibration(edges, clips, *means)


def _negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, at_temperature: float) -> float:
    scaled = logits / at_temperature
    highest = scaled.max(axis=1)
    normaliser = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return float((normaliser - scaled[np.arange(len(labels)), labels]).mean())


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise MerHfError(f"logits must be (clips, classes) and labels (clips,); found {logits.shape}, {labels.shape}.")
    if not np.isfinite(logits).all():
        raise MerHfError("a logit is not finite; no temperature can be fitted.")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise MerHfError(f"labels must be class numbers from 0 to {logits.shape[1] - 1}; found {np.unique(labels)}.")
    return logits, labels


def _pairs(confidence: ArrayLike, right: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if confidence.ndim != 1 or confidence.shape != right.shape or not len(right):
        raise MerHfError(f"there must be a score and a verdict for each clip; found {confidence.shape}, {right.shape}.")
    return confidence, right


__all__ = [
    "NEVER",
    "RISK",
    "Calibration",
    "Confidence",
    "RiskCoverage",
    "abstain_below",
    "calibration",
    "fitted",
    "probabilities",
    "risk_coverage",
    "temperature",
]
