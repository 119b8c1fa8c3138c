"""Recordings of a corpus, watched: what was found beside what is coded.

a Dataset of recordings -> watch_recordings -> finds, truths, recordings: tables for `evaluation.recordings`
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import pandas as pd
from datasets import Dataset
from tqdm.auto import tqdm

from mer_hf.analysis.watching import UNWATCHED
from mer_hf.labels import MEGC2019_3CLASS
from mer_hf.rcn.decoding_rcn import VideoError, stream_video
from mer_hf.rcn.pipeline_spotting_rcn import MicroExpressionSpottingPipeline

FASTEST = 60.0  # frames a second; of faster recordings every n-th is watched
LOWEST = 0.2  # score of what is kept, for the recall at other thresholds than the model's
OTHERS = "others"
FOUND = ["video", "onset", "apex", "offset", "type", "score", "predicted"]
"""Columns of a table of finds."""


class RecordingRow(TypedDict):
    """A row of `mer_hf.load_recordings`."""

    recording_id: str
    corpus: str
    subject: str
    frames: list[dict[str, Any]]
    numbers: list[int]
    fps: float
    events: list[dict[str, Any]]
    blinks: list[dict[str, int]]


class WatchedRecordings(NamedTuple):
    """Tables, as `evaluation.recordings.score_recordings` takes them."""

    found: pd.DataFrame
    truth: pd.DataFrame
    recordings: pd.DataFrame


def watch_recordings(
    recordings: Dataset, spot: MicroExpressionSpottingPipeline, progress: bool = False
) -> WatchedRecordings:
    """Watch all recordings of a corpus.

    Args:
        recordings: as `mer_hf.load_recordings` returns.
        spot: the pipeline that finds events.
        progress: whether a bar is shown.

    Raises:
        VideoError: a frame cannot be read.
    """
    rows = cast(list[RecordingRow], list(recordings.remove_columns("frames")))
    return beside_truth(found_in(recordings, spot, progress), rows)


def found_in(recordings: Dataset, spot: MicroExpressionSpottingPipeline, progress: bool = False) -> pd.DataFrame:
    """What is found in recordings, a row each with the columns `FOUND`."""
    found = []
    for row in cast(Iterator[RecordingRow], tqdm(recordings, desc="recordings", disable=not progress)):
        lowest = min(LOWEST, spot.model.config.threshold)
        for event in spot.stream(recording_frames(row), threshold=lowest):
            if event["kind"] != UNWATCHED:
                times = event["start"], event["apex"], event["end"]
                found.append(find_of(row, times, event["kind"], event["score"], event["label"] or OTHERS))
    return pd.DataFrame(found, columns=FOUND)


def find_of(
    row: RecordingRow, times: tuple[float, float, float], kind: str, score: float, predicted: str = OTHERS
) -> dict[str, str | int | float]:
    """A row of finds: onset, apex and offset, seconds from the first frame, as the numbers of the release."""
    numbers = [row["numbers"][0] + round(seconds * row["fps"]) for seconds in times]
    return dict(zip(FOUND, (row["recording_id"], *numbers, kind, score, predicted), strict=True))


def beside_truth(found: pd.DataFrame, rows: Sequence[RecordingRow]) -> WatchedRecordings:
    """What was found beside what is coded, with classes where emotions are coded; frames are not looked at."""
    truth, facts = [], []
    for row in rows:
        video, fps = row["recording_id"], row["fps"]
        coded = [{"video": video, **_interval(event)} for event in row["events"]]
        truth += coded or [{"video": video, "onset": None, "apex": None, "offset": None, "type": "", "label": ""}]
        seconds = (row["numbers"][-1] - row["numbers"][0] + 1) / fps
        facts.append({"video": video, "subject": row["subject"], "fps": fps, "seconds": seconds})
    watched = WatchedRecordings(found, pd.DataFrame(truth), pd.DataFrame(facts))
    if not any(event["emotion"] for row in rows for event in row["events"]):
        return watched._replace(found=found.drop(columns="predicted"), truth=watched.truth.drop(columns="label"))
    return watched


def _interval(event: dict[str, Any]) -> dict[str, Any]:
    label = MEGC2019_3CLASS.class_of(event["emotion"] or "") or OTHERS
    return {**{name: event[name] for name in ("onset", "apex", "offset")}, "type": event["kind"], "label": label}


def recording_frames(row: RecordingRow) -> Iterator[tuple[np.ndarray, float]]:
    """Grey frames at the times of their numbers, from 0; of a fast recording, as many as show a micro-expression.

    Raises:
        VideoError: a frame cannot be read; the recording is named.
    """
    step = math.ceil(row["fps"] / FASTEST)
    chosen = [place for place, number in enumerate(row["numbers"]) if (number - row["numbers"][0]) % step == 0]
    paths = [row["frames"][place]["path"] for place in chosen]
    problems: list[str] = []  # gaps of the numbers, which the times show
    pictures = stream_video(paths, grey=True, problems=problems)
    try:
        for place, (frame, _) in zip(chosen, pictures, strict=True):
            yield frame, (row["numbers"][place] - row["numbers"][0]) / row["fps"]
    except VideoError as error:
        raise VideoError(f"{row['recording_id']}: {error}") from error


__all__ = [
    "FOUND",
    "OTHERS",
    "RecordingRow",
    "WatchedRecordings",
    "beside_truth",
    "find_of",
    "found_in",
    "recording_frames",
    "watch_recordings",
]
