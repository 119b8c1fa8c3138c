"""How well events were found in long recordings of many people.

finds with scores, truths, recordings -> score_recordings -> recording_score_lines
"""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from mer_hf.evaluation.spotted import ALL, Spotted, score_spotted, spotting_lines
from mer_hf.metrics import drawn_subjects, interval_of_draws, spotting_scores

DRAWS = 2000
THRESHOLDS = 60  # tried for the recall at one false event a minute
MATCHED = ("onset", "apex", "offset")


class RecordingScores(TypedDict):
    """What `score_recordings` returns; ready for JSON.

    Attributes:
        spotted: counts, precision, recall, F1 of each type and of all together; STRS.
        intervals: type -> 95 % interval of F1 over subjects; none of one subject alone.
        false_a_minute: finds without a truth, of all types.
        recall_at_one: the best recall of all types at a threshold with at most one false find a minute.
        errors: medians of |find - truth| in seconds, of what was matched; None where nothing was.
        recordings, subjects, events, minutes: what was scored.
    """

    spotted: Spotted
    intervals: dict[str, list[float]]
    false_a_minute: float
    recall_at_one: float
    errors: dict[str, float | None]
    recordings: int
    subjects: int
    events: int
    minutes: float


def score_recordings(
    found: pd.DataFrame,
    truth: pd.DataFrame,
    recordings: pd.DataFrame,
    threshold: float | pd.Series,
    iou: float = 0.5,
) -> RecordingScores:
    """Scores of all recordings, those without an event too.

    Args:
        found: a row a find: `video`, `onset`, `apex`, `offset` (frame numbers, inclusive), `type`, `score`, and perhaps
            `predicted`.
        truth: likewise, without a score, perhaps with `label`; a recording in which nothing is coded has a row without
            numbers.
        recordings: `video`, `subject`, `fps`, `seconds`.
        threshold: least score of a find that counts; a number, or one for each find.
        iou: least overlap of a match.

    Raises:
        PredictionsError: as `score_spotted`.
    """
    kept = found[found.score >= threshold]
    truths = truth[truth.onset.notna()]
    minutes = float(recordings.seconds.sum()) / 60
    counts = counts_by_subject(kept, truths, recordings, iou)
    intervals = {}
    if recordings.subject.nunique() > 1:
        for kind, each in counts.items():
            times = drawn_subjects(len(each), DRAWS, 0)
            matched, finds, real = (times @ each).T
            f1 = np.divide(2 * matched, finds + real, out=np.zeros(DRAWS), where=finds + real > 0)
            intervals[kind] = interval_of_draws(f1, len(each))
    matched, finds, _ = counts[ALL].sum(0)
    return {
        "spotted": score_spotted(kept, truth, iou),
        "intervals": intervals,
        "false_a_minute": float(finds - matched) / minutes,
        "recall_at_one": _recall_at_one(found, truths, recordings, iou, minutes),
        "errors": _errors(kept, truths, recordings, iou),
        "recordings": len(recordings),
        "subjects": int(recordings.subject.nunique()),
        "events": len(truths),
        "minutes": minutes,
    }


def _sides(found: pd.DataFrame, truth: pd.DataFrame, kind: str) -> tuple[dict[str, pd.DataFrame], ...]:
    """The rows of a type by video."""
    return tuple({str(v): rows for v, rows in side[side.type == kind].groupby("video")} for side in (found, truth))


def _pairs(sides: tuple[dict[str, pd.DataFrame], ...], iou: float) -> list[tuple[str, int, int]]:
    spans = [{v: list(zip(rows.onset, rows.offset, strict=True)) for v, rows in side.items()} for side in sides]
    return spotting_scores(spans[0], spans[1], iou)["pairs"]


def counts_by_subject(
    found: pd.DataFrame, truth: pd.DataFrame, recordings: pd.DataFrame, iou: float
) -> dict[str, np.ndarray]:
    """Type -> (subjects, 3): matches, finds, truths of each subject; and of all types together."""
    owner = dict(zip(recordings.video, recordings.subject.astype("category").cat.codes, strict=True))
    people = recordings.subject.nunique()
    counts = {}
    for kind in sorted({*found.type, *truth.type}):
        sides = _sides(found, truth, kind)
        each = np.zeros((people, 3))
        for video, _, _ in _pairs(sides, iou):
            each[owner[video], 0] += 1
        for place, side in enumerate(sides, start=1):
            for video, rows in side.items():
                each[owner[video], place] += len(rows)
        counts[kind] = each
    return {**counts, ALL: sum(counts.values(), np.zeros((people, 3)))}


def _recall_at_one(
    found: pd.DataFrame, truth: pd.DataFrame, recordings: pd.DataFrame, iou: float, minutes: float
) -> float:
    best = 0.0
    for least in np.unique(np.quantile(found.score, np.linspace(0, 1, THRESHOLDS))) if len(found) else ():
        kept = found[found.score >= least]
        matched, finds, real = counts_by_subject(kept, truth, recordings, iou)[ALL].sum(0)
        if finds - matched <= minutes and real:
            best = max(best, matched / real)
    return float(best)


def _errors(found: pd.DataFrame, truth: pd.DataFrame, recordings: pd.DataFrame, iou: float) -> dict[str, float | None]:
    rates: Mapping[str, Any] = dict(zip(recordings.video, recordings.fps, strict=True))
    apart: dict[str, list[float]] = {name: [] for name in MATCHED}
    for kind in sorted({*found.type, *truth.type}):
        finds, truths = _sides(found, truth, kind)
        for video, find, real in _pairs((finds, truths), iou):
            for name in MATCHED:
                difference = finds[video][name].iloc[find] - truths[video][name].iloc[real]
                if pd.notna(difference):  # not every apex is coded
                    apart[name].append(abs(difference) / rates[video])
    return {name: float(np.median(values)) if values else None for name, values in apart.items()}


def recording_score_lines(scored: RecordingScores) -> list[str]:
    """The scores for a reader."""
    about = f"{scored['recordings']} recordings of {scored['subjects']} subjects, {scored['minutes']:.1f} minutes"
    lines = [f"{about}, {scored['events']} events", *spotting_lines(scored["spotted"]), ""]
    lines += [
        f"F1 {kind}: 95 % interval over subjects {low:.4f} to {high:.4f}"
        for kind, (low, high) in scored["intervals"].items()
    ]
    lines.append(f"false finds a minute: {scored['false_a_minute']:.2f}")
    lines.append(f"recall at one false find a minute: {scored['recall_at_one']:.4f}")
    known = {name: value for name, value in scored["errors"].items() if value is not None}
    if known:
        lines.append("median errors: " + ", ".join(f"{name} {value:.3f} s" for name, value in known.items()))
    return lines


__all__ = ["RecordingScores", "counts_by_subject", "recording_score_lines", "score_recordings"]
