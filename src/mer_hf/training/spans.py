"""From a row to the frames of its clip: which of them are from onset to offset, and which one is the apex.

A row has `frames`, a list of images, or `video`, a file that may be longer than the clip (`mer_hf.corpora.folder` says
what its columns hold). Released numbers of frames are found in the names of the images, where these have them.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from mer_hf.errors import MerHfError
from mer_hf.rcn.decoding_rcn import Video, stream_video
from mer_hf.rcn.sources_rcn import Picture, VideoSource

BLANK = ("", "/", "\\", "-", "nan", "none")
"""What tables write where a frame is not known."""
LAST_INTEGER = re.compile(r"([0-9]+)[^0-9]*$")
SLACK = 1e-3
"""Seconds: Matroska rounds times to a millisecond."""


def clip_of_row(row: Mapping[str, object], grey: bool) -> tuple[VideoSource, int | None]:
    """The clip of a row, and the index of its apex.

    Args:
        row: with `frames` or `video`, and `onset`, `apex`, `offset` where they are known: numbers, or text as sheets
            have it; blank, NaN and None are not known. With `video` also `unit`, `"frames"` (the default) or
            `"seconds"`.
        grey: whether luma is wanted of a video, as for `stream_video`.

    Returns:
        What `stream_video` takes, from onset to offset; and the apex in it, from 0, None where it is not known.

    Raises:
        MerHfError: for numbers that cannot be read, are out of order, or lie outside the video or the list.
    """
    onset, apex, offset = (_number(row, name) for name in ("onset", "apex", "offset"))
    given = [value for value in (onset, apex, offset) if value is not None]
    if given != sorted(given):
        raise MerHfError(f"onset, apex and offset are {', '.join(f'{value:g}' for value in given)}: out of order")
    unit = row.get("unit") or "frames"
    if unit not in ("frames", "seconds") or (unit == "seconds" and row.get("video") is None):
        raise MerHfError(f"unit is {unit!r}; expected frames, or, of a video, seconds")
    if unit == "frames" and any(value % 1 for value in given):
        raise MerHfError(
            f"{next(value for value in given if value % 1):g} is no number of a frame; where seconds are meant, a "
            "column 'unit' says 'seconds'"
        )
    if row.get("video") is not None:
        return _from_video(cast(VideoSource, row["video"]), grey, unit == "seconds", onset, apex, offset)
    frames = row.get("frames")
    return _from_list(frames if isinstance(frames, Sequence) else (), onset, apex, offset)


def _number(row: Mapping[str, object], name: str) -> float | None:
    value = row.get(name)
    text = str(value).strip().lower()
    if value is None or text in BLANK:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise MerHfError(f"{name} is {value!r}; expected a number from 0 on, or nothing")
    return number


# --- a list of images ---


def _from_list(
    frames: Sequence[Picture], onset: float | None, apex: float | None, offset: float | None
) -> tuple[Sequence[Picture], int | None]:
    """The images from onset to offset, by the numbers in their names where the list is longer or shorter than that."""
    total = len(frames)
    if onset is None or total == 0:
        if apex is not None and total:
            raise MerHfError("an apex without an onset says nothing of a list of frames; give both, or neither")
        return frames, None
    numbers = _numbers(frames)
    if offset is None:
        if numbers is not None and numbers[0] < onset <= numbers[-1]:
            raise MerHfError(
                f"onset {onset:g} is in the middle of the frames, which are numbered {numbers[0]} to {numbers[-1]}; "
                "give the offset as well"
            )
        offset = numbers[-1] if numbers is not None and numbers[0] == onset else onset + total - 1
    span = int(offset - onset) + 1
    if total == span:
        return frames, None if apex is None else int(apex - onset)
    if numbers is not None and numbers[0] <= onset and offset <= numbers[-1]:  # a longer stretch, of which this is part
        inside = [index for index, number in enumerate(numbers) if onset <= number <= offset]
    elif numbers is not None and onset <= numbers[0] and numbers[-1] <= offset:  # some are missing
        inside = range(total)
    elif total < span:  # nothing says which are missing
        return frames, None if apex is None else round((apex - onset) * (total - 1) / (span - 1))
    else:
        raise MerHfError(
            f"there are {total} frames for the {span} from onset {onset:g} to offset {offset:g}, and the numbers in "
            "their names do not say which of them these are; give the frames of the clip only"
        )
    nearest = None if apex is None else int(np.abs([numbers[index] - apex for index in inside]).argmin())
    return [frames[index] for index in inside], nearest


def _numbers(frames: Sequence[object]) -> list[int] | None:
    """The last integers in the names of the images; None where one has no name, or they do not ascend."""
    paths = [frame.get("path") if isinstance(frame, Mapping) else frame for frame in frames]
    found = [LAST_INTEGER.search(Path(path).stem) if isinstance(path, str | Path) else None for path in paths]
    numbers = [int(each[1]) for each in found if each is not None]
    ascending = all(first < second for first, second in itertools.pairwise(numbers))
    return numbers if len(numbers) == len(frames) and ascending else None


# --- a video ---


def _from_video(
    source: VideoSource, grey: bool, seconds: bool, onset: float | None, apex: float | None, offset: float | None
) -> tuple[VideoSource, int | None]:
    """The frames of a video from onset to offset, and no others in memory."""
    if onset is None and offset is None and apex is None:
        return source, None
    slack = SLACK if seconds else 0.0
    frames, times, places = [], [], []
    at = step = 0.0
    for index, (frame, time) in enumerate(stream_video(source, grey=grey)):
        place = time if seconds else float(index)
        at, step = place, place - at
        if offset is not None and place > offset + slack:
            break
        if onset is None or place >= onset - slack:
            frames.append(frame[..., None] if grey else frame)
            times.append(time)
            places.append(place)
    what = "seconds" if seconds else "frames, counted from 0"
    for name, value in (("onset", onset), ("apex", apex), ("offset", offset)):
        if value is not None and value > at + (step if seconds else 0.0) + slack:
            raise MerHfError(f"the {name} {value:g} lies after the end of the video, {at:g} ({what})")
    if len(frames) < 2:
        raise MerHfError(
            f"{len(frames)} frames of the video lie from onset {onset} to offset {offset} ({what}); a motion needs two"
        )
    nearest = None if apex is None else int(np.abs(np.array(places) - apex).argmin())
    return Video(np.stack(frames), np.array(times) - times[0]), nearest


__all__ = ["clip_of_row"]
