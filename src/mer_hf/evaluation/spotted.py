"""Tables of intervals in long videos, and how well they were spotted.

spotted.csv, truth.csv -> read_intervals -> score_spotted -> spotting_lines
"""

from pathlib import Path
from typing import Literal, TypedDict

import pandas as pd

from mer_hf.evaluation.predictions import PredictionsError, check_names, check_same_names, read_table
from mer_hf.files import check_columns
from mer_hf.metrics import Interval, SpottingScores, spotting_scores, strs

ALL = "all"
OWN = frozenset({"micro", "macro", "negative", "positive", "surprise", "others"})
"""Types and classes that mer_hf names itself: finds of none that is there are false, and no other spelling."""
ANALYSED = {"file": "video", "start_frame": "onset", "end_frame": "offset", "kind": "type", "label": "predicted"}
"""Columns of the events.csv of `mer-hf analyze`, as they are called here."""


class Spotted(TypedDict, total=False):
    """What `score_spotted` returns; ready for JSON. `strs` where classes were predicted."""

    per_type: dict[str, SpottingScores]
    strs: dict[str, float]


def read_intervals(path: Path) -> pd.DataFrame:
    """Read a table of intervals: what was spotted, or what is there.

    Args:
        path: a CSV file with the columns `video`, `onset`, `offset` (frame numbers, both inclusive), and perhaps
            `type` (such as micro and macro) and `label` (of a truth) or `predicted` (of a find). A video in which
            nothing happens, or was found, may stand in a row without onset and offset. Or the events.csv of
            `mer-hf analyze`.

    Returns:
        A row for each interval; `onset` and `offset` are numbers, and both missing in a row of a video without any.

    Raises:
        PredictionsError: it is no table, lacks a column, or a cell is no number.
        MerHfError: a name has a line break or a control character.
        OSError: the file cannot be read.
    """
    table = read_table(path, ())
    if "start_frame" in table:
        table = table.rename(columns=ANALYSED)
    check_columns(table, path, ("video", "onset", "offset"), PredictionsError)
    check_names(path, table)
    for name in ("onset", "offset"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = numbers.isna() & ~((table.onset == "") & (table.offset == ""))
        if wrong.any():
            line = wrong.idxmax()
            raise PredictionsError(
                f"{path}, line {line + 2}: {name} is {table[name][line]!r}, which is no frame number"
            )
        table[f"{name}_"] = numbers
    return table.assign(onset=table.pop("onset_"), offset=table.pop("offset_"))


def score_spotted(
    found: pd.DataFrame, truth: pd.DataFrame, iou: float = 0.5, matching: Literal["best", "first"] = "best"
) -> Spotted:
    """Spotting scores of each type of interval and, under `all`, of their counts together.

    Types are kept apart where both tables have them: a micro-expression that was found where a macro-expression is
    counts as a false positive and a miss. STRS where truths have a `label` and finds are `predicted`.

    Args:
        found, truth: as `read_intervals` returns.
        iou, matching: as `spotting_scores`.

    Raises:
        PredictionsError: the tables have no video, type or class in common.
    """
    check_same_names(found.video, truth.video, "videos", ("finds", "truths"))
    types: list[str] = []
    if "type" in found and "type" in truth:
        kinds = [side.type[side.onset.notna()] for side in (found, truth)]
        if not {*kinds[0], *kinds[1]} <= OWN:
            check_same_names(*kinds, "types", ("finds", "truths"))
        types = sorted({*kinds[0], *kinds[1]})
    result: Spotted = {"per_type": {}}
    for kind in types:
        sides = [_by_video(side[(side.type == kind) & side.onset.notna()]) for side in (found, truth)]
        result["per_type"][kind] = spotting_scores(*sides, iou, matching)
    # together: a video counts once for each type, so that a find is matched to truths of its type only
    named = [side.assign(video=side.type + " in " + side.video) if types else side for side in (found, truth)]
    together = spotting_scores(*map(_by_video, named), iou, matching)
    result["per_type"][ALL] = together
    if "predicted" in found and "label" in truth:
        result["strs"] = _strs(together, *named)
    return result


def spotting_lines(spotted: Spotted) -> list[str]:
    """Spotting scores for a reader."""
    width = max(map(len, spotted["per_type"]))
    lines = [f"{'':{width}}     TP     FP     FN  precision  recall      F1"]
    for kind, part in spotted["per_type"].items():
        counts = "  ".join(f"{part[name]:5d}" for name in ("tp", "fp", "fn"))
        lines.append(f"{kind:{width}}  {counts}  {part['precision']:9.4f}  {part['recall']:6.4f}  {part['f1']:6.4f}")
    if "strs" in spotted:
        both = spotted["strs"]
        factors = f"spotting F1 {both['spotting_f1']:.4f} x UF1 of the spotted {both['recognition_uf1']:.4f}"
        lines += ["", f"STRS {both['strs']:.4f}: {factors}"]
    return lines


def _by_video(table: pd.DataFrame) -> dict[str, list[Interval]]:
    intervals: dict[str, list[Interval]] = {}
    for video, onset, offset in zip(table.video, table.onset, table.offset, strict=True):
        intervals.setdefault(video, [])
        if pd.notna(onset):
            intervals[video].append((onset, offset))
    return intervals


def _strs(spotted: SpottingScores, found: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    found, truth = (side[side.onset.notna()] for side in (found, truth))
    names = sorted({*found.predicted, *truth.label})
    if not {*names} <= OWN:
        check_same_names(found.predicted, truth.label, "classes", ("finds", "truths"))
    classes = [
        {video: [names.index(name) for name in rows[column]] for video, rows in side.groupby("video")}
        for side, column in ((found, "predicted"), (truth, "label"))
    ]
    return strs(spotted, *classes, len(names))
