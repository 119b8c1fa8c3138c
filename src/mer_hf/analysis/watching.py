"""One video of any length, watched: events, and what could not be judged.

a video -> its frames, counted -> MicroExpressionSpottingPipeline.stream -> Watched: events, spans, pictures, curves
a video, coded segments -> MicroExpressionClassificationPipeline -> Watched
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mer_hf.analysis.pictures import SIDE, Pictures, event_pictures
from mer_hf.errors import MerHfError
from mer_hf.rcn.decoding_rcn import VideoError, stream_video
from mer_hf.rcn.pipeline_rcn import MicroExpressionClassificationPipeline
from mer_hf.rcn.pipeline_spotting_rcn import SHOWN_UNIT, MicroExpressionSpottingPipeline, Moment
from mer_hf.rcn.spotting_rcn import OUTPUTS

KINDS = ("micro", "macro")
CODED, UNWATCHED = "coded", "unwatched"
LEAD, TAIL = 12.0, 8.0  # seconds: a face is found and known, and what was begun is certain
EDGE = 2.0  # seconds on both sides of the end of a part
MIDDLE = (0.0, 0.4, 1.0)  # of a face, in face coordinates
REMEMBERED = 15.0  # seconds for which the frames' times and the faces' sizes are kept: longer than any event takes
SHOWN = 0.5  # probability from which somebody speaks, or blinks
STATES = {"blink": (0.15, 0.08), "speech": (1.0, 0.3)}
"""State -> seconds of a gap within it, and seconds that it lasts at least."""

Entry: TypeAlias = dict[str, Any]
"""An event, or a span, by name; ready for JSON."""


@dataclass(frozen=True)
class Options:
    """What is looked for, and how.

    Args:
        start, end: seconds from the first frame of the video; only what lies between them is watched.
        fps: frames per second, where the file tells it wrong.
        faces: how many faces, the largest at the time of an event, have events; None: all.
        kinds: of events: "micro", "macro".
        min_score: least score of an event; the model's own threshold by default.
        pictures: whether events have pictures of the face.
        curves: whether what the network says of every moment is kept.

    Raises:
        MerHfError: for a value out of its range.
    """

    start: float | None = None
    end: float | None = None
    fps: float | None = None
    faces: int | None = None
    kinds: tuple[str, ...] = KINDS
    min_score: float | None = None
    pictures: bool = True
    curves: bool = False

    def __post_init__(self) -> None:
        if self.faces is not None and self.faces < 1:
            raise MerHfError(f"faces is {self.faces}; give 1 or more, the largest ones, or None for all")
        if not self.kinds or set(self.kinds) - set(KINDS):
            raise MerHfError(f"kinds is {', '.join(self.kinds) or 'empty'}; give micro, macro, or both")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise MerHfError(f"min_score is {self.min_score}; it must be a score, from 0 to 1")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise MerHfError(f"end is {self.end:g} s and start {self.start:g} s; the end comes after the start")


class Part(NamedTuple):
    """A part of a long video, in seconds: what it has events and spans of, one part ending where the next begins.

    It is watched from `LEAD` before to `TAIL` after, so that what it says is what the whole would say.
    """

    start: float
    end: float | None


class Edge(NamedTuple):
    """Where the middle of a face is at a moment near the beginning or end of a part: pixels, also between the eyes."""

    face: int
    seconds: float
    x: float
    y: float
    eyes: float


class Segment(NamedTuple):
    """A part of a video in which somebody has seen an expression: seconds."""

    start: float
    end: float


@dataclass
class Watched:
    """What was seen in a video.

    Attributes:
        seconds: the time of the last frame.
        frames: number of frames.
        events: by their start: `start`, `apex`, `end` in seconds and, as `start_frame` and so on, as frames that count
            from 0; `kind`, `label`, `label_score`, `score`, `parts`, `action_units`, `face`, `flags`.
        spans: by their start: `face` (None: no face), `start`, `end`, `kind` ("unwatched", "blink", "speech"),
            `reason`.
        problems: what is wrong with the file, in words.
        pictures: of each event, as `event_pictures` makes them; None where there are none.
        curves: face -> rows of the time and the `OUTPUTS`, float32.
        edges: of a part, where the faces are around its beginning and its end, by which those of the next are known.
    """

    seconds: float = 0.0
    frames: int = 0
    events: list[Entry] = field(default_factory=list)
    spans: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    pictures: list[Pictures | None] = field(default_factory=list)
    curves: dict[int, list[np.ndarray]] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)


def watch(
    video: str,
    spot: MicroExpressionSpottingPipeline,
    options: Options,
    progress: Callable[[float], None] | None = None,
    part: Part | None = None,
) -> Watched:
    """Watch a video from beginning to end; what is kept of it does not grow but for what was found.

    Args:
        video: a file, an address, or a folder of images.
        spot: the pipeline that finds events.
        options: what is looked for.
        progress: called now and then with the seconds that were watched.
        part: what to watch, in place of `options.start` and `end`; frames are then counted from its start, and those
            before have numbers below 0.

    Raises:
        VideoError: nothing of it can be read. A file that breaks off is watched as far as it goes.
    """
    watched = Watched()
    clock = _Clock(video, options, watched, progress, part)
    seen = _Seen(watched, options, part)
    side = SIDE if options.pictures else None
    found: list[tuple[Entry, Pictures | None]] = []
    for event in spot.stream(iter(clock), threshold=options.min_score, observe=seen.take, crop_side=side):
        if event["kind"] == UNWATCHED:
            watched.spans.append(_span(event["face"], event["start"], event["end"], UNWATCHED, event["flags"][0]))
        elif event["kind"] in options.kinds and seen.is_wanted(event) and _is_in(part, event["apex"]):
            crops, times = event.pop("crops", None), event.pop("crop_times", None)
            frames = {f"{name}_frame": clock.frame_at(event[name]) for name in ("start", "apex", "end")}
            pictures = None if crops is None else event_pictures(crops, times, event["apex"])
            found.append((event | frames, pictures))
    seen.finish()
    found.sort(key=lambda pair: (pair[0]["start"], pair[0]["face"], pair[0]["apex"]))
    watched.events = [event for event, _ in found]
    watched.pictures = [pictures for _, pictures in found]
    watched.spans = [inside for span in watched.spans if (inside := _within(part, span))]
    watched.spans.sort(key=span_order)
    return watched


def span_order(span: Entry) -> tuple[float, float, str, int]:
    """By what spans are ordered: time, kind, face; those of no face come first."""
    return span["start"], span["end"], span["kind"], -1 if span["face"] is None else span["face"]


def _is_in(part: Part | None, seconds: float) -> bool:
    return part is None or (seconds >= part.start and (part.end is None or seconds < part.end))


def _within(part: Part | None, span: Entry) -> Entry | None:
    """A span as far as it is in a part; None where it is not."""
    if part is None:
        return span
    start, end = max(span["start"], part.start), span["end"] if part.end is None else min(span["end"], part.end)
    return span | {"start": start, "end": end} if start < end else None


class _Clock:
    """The frames of a video with their times, counted on the way."""

    def __init__(
        self,
        video: str,
        options: Options,
        watched: Watched,
        progress: Callable[[float], None] | None,
        part: Part | None = None,
    ) -> None:
        self.video, self.options, self.watched, self.progress, self.part = video, options, watched, progress, part
        self.recent: deque[tuple[float, int]] = deque()
        self.before = 0  # frames before the part, which are watched to begin with

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """Grey frames from `start` on. The way there is decoded, so that numbers and times are those of the whole file.

        A file that breaks in the middle ends there.
        """
        start, end, place = self.options.start or 0.0, self.options.end, None
        if self.part is not None:  # numbers of frames are told by the parts before
            start = place = max(self.part.start - LEAD, start)
            ends = [each for each in (end, None if self.part.end is None else self.part.end + TAIL) if each is not None]
            end = min(ends, default=None)
        told: dict[str, Any] = {"grey": True, "problems": self.watched.problems, "of_file": True}
        frames = stream_video(self.video, self.options.fps, start=place, end=end, **told)
        index = -1
        try:
            for index, (frame, seconds) in enumerate(frames):
                if self.progress is not None and index % 25 == 0:
                    self.progress(seconds)
                if seconds < start - 1e-6:
                    continue
                self.recent.append((seconds, index))
                while self.recent[0][0] < seconds - REMEMBERED:
                    self.recent.popleft()
                if _is_in(self.part, seconds):
                    self.watched.seconds, self.watched.frames = seconds, self.watched.frames + 1
                elif not self.watched.frames:
                    self.before += 1
                yield frame, seconds
        except VideoError as error:
            if not self.watched.frames:
                raise
            self.watched.problems.append(f"watched up to {self.watched.seconds:.2f} s: {error}")
        if not self.watched.frames:
            raise VideoError(f"{self.video} ends before {start:g} s: it has {index + 1} frames")

    def frame_at(self, seconds: float) -> int:
        """The number of the frame of a time; of times round to milliseconds, the nearest."""
        return min(self.recent, key=lambda item: abs(item[0] - seconds))[1] - self.before


class _Seen:
    """What the network says of every moment: blinks and speech, the sizes of the faces, and curves."""

    def __init__(self, watched: Watched, options: Options, part: Part | None = None) -> None:
        self.watched, self.options, self.part = watched, options, part
        self.sizes: dict[float, dict[int, float]] = {}  # time -> face -> pixels between the eyes
        self.going: dict[tuple[int, str], tuple[float, float]] = {}  # face, state -> first and last moment

    def take(self, moment: Moment) -> None:
        """Take a moment of a face."""
        time = round(moment.seconds, 3)
        self.sizes.setdefault(time, {})[moment.face] = moment.eyes
        while (oldest := next(iter(self.sizes))) < time - REMEMBERED:
            del self.sizes[oldest]
        if self.part is not None and any(end and abs(time - end) <= EDGE for end in self.part):
            x, y = moment.place @ MIDDLE
            self.watched.edges.append(Edge(moment.face, time, float(x), float(y), moment.eyes))
        if self.options.curves and _is_in(self.part, moment.seconds):
            row = np.array([moment.seconds, *moment.outputs], np.float32)
            self.watched.curves.setdefault(moment.face, []).append(row)
        for state, (gap, _) in STATES.items():
            if moment.outputs[OUTPUTS.index(state)] <= SHOWN:
                continue
            key = (moment.face, state)
            if key in self.going and moment.seconds - self.going[key][1] > gap:
                self._close(key)
            self.going[key] = (self.going.get(key, (moment.seconds, 0.0))[0], moment.seconds)

    def finish(self) -> None:
        """The video is over."""
        for key in list(self.going):
            self._close(key)

    def is_wanted(self, event: Entry) -> bool:
        """Whether the face of an event was among the largest at the time of its apex."""
        if self.options.faces is None:
            return True
        sizes = self.sizes.get(round(event["apex"], 3), {})
        return event["face"] in sorted(sizes, key=lambda face: (-sizes[face], face))[: self.options.faces]

    def _close(self, key: tuple[int, str]) -> None:
        start, end = self.going.pop(key)
        if end - start >= STATES[key[1]][1]:
            self.watched.spans.append(_span(key[0], start, end, key[1], ""))


def _span(face: int | None, start: float, end: float, kind: str, reason: str) -> Entry:
    return {"face": face, "start": round(start, 3), "end": round(end, 3), "kind": kind, "reason": reason}


def classify_segments(
    video: str,
    segments: Sequence[Segment],
    classify: MicroExpressionClassificationPipeline,
    options: Options,
    progress: Callable[[float], None] | None = None,
) -> Watched:
    """Classify parts of a video that somebody has coded; nothing is searched.

    Args:
        video: a file, an address, or a folder of images.
        segments: from when to when, in seconds; each an event of the kind "coded", or a span with the reason why not.
        classify: the pipeline that names clips.
        options: of which `fps` is used.
        progress: called now and then with the seconds that were reached.

    Raises:
        VideoError: nothing of the video can be read.
    """
    watched = Watched()
    clock = _Clock(video, Options(fps=options.fps), watched, progress)
    times = [seconds for _, seconds in clock]
    for segment in sorted(segments):
        part = {"start": segment.start, "end": segment.end, "on_error": "return", "face_problems": "flag"}
        with_rate = part if options.fps is None else part | {"fps": options.fps}
        answer: Any = classify(video, return_action_units=bool(classify.model.config.action_units), **with_rate)
        if isinstance(answer, MerHfError):
            watched.spans.append(_span(None, *segment, UNWATCHED, str(answer)))
            continue
        best = answer[0]
        frames = {
            f"{name}_frame": int(np.searchsorted(times, second - 5e-4)) for name, second in segment._asdict().items()
        }
        units = {unit: p for unit, p in best.get("action_units", {}).items() if p >= SHOWN_UNIT}
        event: Entry = {
            "start": segment.start,
            "apex": None,
            "end": segment.end,
            "score": None,
            "kind": CODED,
            "parts": [],
        }
        event |= {"label": best["label"], "label_score": round(best["score"], 4), "action_units": units}
        event |= {"face": 0, "flags": best.get("problems", []), **frames, "apex_frame": None}
        watched.events.append(event)
        watched.pictures.append(None)
    return watched


def seconds_text(seconds: float) -> str:
    """1:02:03.45, for a reader; without hours where there are none."""
    hundredths = math.floor(100 * seconds + 0.5)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    end = f"{minutes:02}:{rest / 100:05.2f}" if hours else f"{minutes}:{rest / 100:05.2f}"
    return f"{hours}:{end}" if hours else end


__all__ = ["CODED", "KINDS", "UNWATCHED", "Options", "Segment", "Watched", "classify_segments", "seconds_text", "watch"]
