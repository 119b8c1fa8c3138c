"""A long video in, its micro-expressions out: the pipeline of the task "micro-expression-spotting".

    frames with times -> faces with numbers -> 25 times a second, the motion of each face over .2 s, without the head
      -> RcnForSpotting, a state for each face -> EventDecoder -> the clip from onset to apex -> the classifier

Nothing is kept but the last seconds, so memory does not grow with the video.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import torch
from transformers import Pipeline, pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .decoding_rcn import DEFAULT_FPS, VideoError, as_batch, stream_video
from .errors_rcn import MerHfError
from .events_rcn import EventDecoder, SpottedEvent
from .faces_rcn import FOLDER, crop_matrix, warp
from .modeling_rcn import RcnForVideoClassification
from .motion_rcn import PAIR_SECONDS, ResidualMotion, pair_field, residual_motion
from .sources_rcn import VideoSource
from .spotting_rcn import OUTPUTS, RcnForSpotting, SpottingState, moment_input
from .tracking_rcn import FaceTracker, FaceView
from .video_processing_rcn import RcnVideoProcessor

TASK = "micro-expression-spotting"
CLASSIFICATION = "micro-expression-classification"
KEPT_SECONDS = 3.5  # of frames: from the onset of an expression until it is certain
KEPT_FOR_CROPS = 5.5  # of frames: from the onset until it is over, and that is certain
CROP_MARGIN = 0.15  # of a crop that is looked at
LARGEST_SIDE = 1280  # pixels; larger frames are shrunk, which keeps those of 3.5 s under 150 MB
SLOWEST = 19.5  # frames a second; below, a rise of .1 s falls between two frames
RATED = 10  # intervals between frames from which the rate is told
SHOWN_UNIT = 0.5  # probability from which an action unit is named
SHORTEST_SPAN = 0.5  # seconds; what is shorter is not worth a line
LONGEST_GAP = 0.25  # seconds between two frames over which a face can be said to have been watched
TICK = 1e-6  # seconds that rounding makes of nothing
SPEECH, BLINK = OUTPUTS.index("speech"), OUTPUTS.index("blink")

Event: TypeAlias = dict[str, Any]
"""An event of a video by name, as the pipeline's docstring lists; or a span that could not be watched."""


@dataclass(frozen=True)
class Moment:
    """What the network says of a face at a moment.

    Attributes:
        face: its number.
        seconds: the time of the frame.
        place: (2, 3), face coordinates -> pixels of the frame, about a second later.
        outputs: (11,), in the order of `OUTPUTS`, from 0 to 1.
    """

    face: int
    seconds: float
    place: np.ndarray
    outputs: np.ndarray

    @property
    def eyes(self) -> float:
        """Pixels between the eyes."""
        return math.hypot(self.place[0, 0], self.place[1, 0])


@dataclass(frozen=True)
class FaceMotion:
    """The motion of a face, as long as it is followed without a gap.

    Attributes:
        face: its number.
        seconds: (T,) float64, the times of its moments.
        motion: what is seen of it at each of them, T times.
    """

    face: int
    seconds: np.ndarray
    motion: ResidualMotion


@dataclass(frozen=True)
class _Seen:
    """A frame that is kept: its time, its grey levels, the faces in it by number, and why no motion can be told."""

    seconds: float
    frame: np.ndarray
    views: dict[int, FaceView]
    reason: str


@dataclass
class _Watch:
    """One face, as long as it is followed without a gap."""

    decoder: EventDecoder
    state: SpottingState | None = None
    place: np.ndarray = field(default_factory=lambda: np.zeros((2, 3)))  # as of `FaceView`, the last one
    times: deque[float] = field(default_factory=deque)  # of moments that the network has not told about
    said: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=150))  # time, speech, blink
    named: dict[float, dict[str, Any]] = field(
        default_factory=dict
    )  # what the classifier says, by the time of the apex


class MicroExpressionSpottingPipeline(Pipeline):
    """Find the micro-expressions in a video of any length, and name them.

    ```python
    spot = pipeline("micro-expression-spotting")
    spot("interview.mp4")  # [{"start": 12.4, "apex": 12.57, "end": 12.83, "label": "negative", ...}, ...]
    for event in spot.stream(frames_of_a_camera): ...  # as soon as each is certain
    ```
    """

    _load_video_processor = False
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: object, classifier: Pipeline | str | None = "default", **kwargs: object) -> None:
        """Take what `transformers.Pipeline` takes, and who names the events.

        Args:
            args, kwargs: of `transformers.Pipeline`.
            classifier: a pipeline "micro-expression-classification", or the folder or name of its model; by default the
                model in mer_hf. None: events have no labels.
        """
        given: list[Any] = [*args]
        options: dict[str, Any] = kwargs
        super().__init__(*given, **options)
        if not isinstance(self.model, RcnForSpotting):
            raise MerHfError(
                f"{TASK} needs a network that finds events, such as the one in mer_hf; "
                f"{type(self.model).__name__} does not, it names cut clips"
            )
        if isinstance(classifier, str):
            if classifier == "default":  # by its folder: without one, transformers warns that no model was named
                classifier = PIPELINE_REGISTRY.check_task(CLASSIFICATION)[1]["default"]["model"][0]
            # ty: ignore[no-matching-overload] - the overloads name transformers' own tasks
            classifier = pipeline(CLASSIFICATION, model=classifier, device=self.device)
        self.classifier = classifier

    def _sanitize_parameters(
        self, fps: float | None = None, threshold: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if threshold is not None and not 0 <= threshold <= 1:
            raise MerHfError(f"threshold is {threshold}; it must be a score, from 0 to 1")
        given = {"fps": fps, "threshold": threshold}
        return {}, {name: value for name, value in given.items() if value is not None}, {}

    def __call__(
        self, inputs: VideoSource | Sequence[VideoSource], **kwargs: object
    ) -> list[Event] | list[list[Event]]:
        """Find the events of one video or several.

        Args:
            inputs: a video in any form that `stream` takes, or a list of videos.
            kwargs: `fps` and `threshold`, as of `stream`.

        Returns:
            A list of events by their start, as `stream` yields them; for several videos, a list of such lists.

        Raises:
            VideoError: a video cannot be read.
            MerHfError: an option is out of its range.
        """
        sources, is_one = as_batch(inputs)
        results = super().__call__(sources, **kwargs)
        return results[0] if is_one else results

    def preprocess(self, source: VideoSource) -> dict[str, object]:
        """A video, as it is: nothing of it is decoded before it is wanted."""
        return {"source": source}

    def _forward(self, model_inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"events": list(self.stream(model_inputs["source"], **options))}

    def postprocess(self, model_outputs: dict[str, list[Event]]) -> list[Event]:
        """Events by their start."""
        return sorted(model_outputs["events"], key=lambda event: event["start"])

    def stream(
        self,
        source: VideoSource | Iterator[object],
        fps: float | None = None,
        threshold: float | None = None,
        observe: Callable[[Moment], None] | None = None,
        crop_side: int | None = None,
    ) -> Iterator[Event]:
        """Find events as the video comes.

        Args:
            source: a video file (path, URL, bytes, open file), an array, a list of images; or, for a camera, an
                iterator of frames, (H, W) or (H, W, 3) RGB uint8, or of pairs of a frame and its time in seconds.
            fps: frames per second, where the source does not tell, or tells it wrong.
            threshold: least score of an event; that of the model's configuration by default, which gives
                `config.false_a_minute` false ones a minute of drawn video.
            observe: called with every moment of every face, in the order of time for each face.
            crop_side: side in pixels of the pictures of the face that events then have too: `crops`, (T, side, side)
                uint8, from start to end, through one transform, and `crop_times`, T seconds.

        Yields:
            An event, some 1.3 s after its end: `start`, `apex` and `end` in seconds; `score`; `kind`, "micro" or
            "macro"; `parts` of the face that move, "upper", "lower"; `label`, `label_score` and `action_units` by the
            classifier; `face`, a number that a person keeps while in the picture; `flags`, such as "blink" where one is
            going on, and what keeps the classifier from being sure. Or a span in which nothing could be found: its
            `kind` is "unwatched", its `flags` say why, the rest is None.

        Raises:
            VideoError: the video cannot be read, or its frames differ in size.
            MerHfError: an option is out of its range.
        """
        self._sanitize_parameters(fps, threshold)
        least = self.model.config.threshold if threshold is None else threshold
        session = _Session(self, least, observe, crop_side)
        for frame, seconds in _frames(source, fps):
            yield from session.take(frame, seconds)
        yield from session.finish()

    def motion(self, source: VideoSource | Iterator[object], fps: float | None = None) -> list[FaceMotion]:
        """What the network would see of a video, which it is not asked about.

        Args:
            source, fps: as of `stream`.

        Returns:
            The motion of each face, by the time at which it is lost.

        Raises:
            VideoError: the video cannot be read, or its frames differ in size.
        """
        session = _MotionSession(self)
        for frame, seconds in _frames(source, fps):
            for _ in session.take(frame, seconds):
                pass  # what could not be watched
        for _ in session.finish():
            pass
        return session.ended


def _frames(source: Any, fps: float | None) -> Iterator[tuple[np.ndarray, float]]:
    """Grey frames, not too large, with times."""
    if isinstance(source, Iterator) and not hasattr(source, "read"):
        stream = _live(source, fps)
    else:
        stream = stream_video(source, fps, grey=True)
    for frame, seconds in stream:
        largest = max(frame.shape[:2])
        if largest > LARGEST_SIDE:
            size = [round(side * LARGEST_SIDE / largest) for side in frame.shape[1::-1]]
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        yield frame, seconds


def _live(source: Iterable[Any], fps: float | None) -> Iterator[tuple[np.ndarray, float]]:
    before, shape = -math.inf, None
    for index, item in enumerate(source):
        frame, seconds = item if isinstance(item, tuple) else (item, index / (fps or DEFAULT_FPS))
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.shape[2:] not in ((), (3,)):
            raise VideoError(f"frame {index} is a {type(frame).__name__}; expected (H, W) or (H, W, 3) RGB, uint8")
        if shape is not None and frame.shape != shape:
            raise VideoError(f"frame {index} has the shape {frame.shape}, those before it {shape}; they must be alike")
        if not seconds > before:
            raise VideoError(f"frame {index} is of second {seconds}, the one before it of {before}; times must grow")
        before, shape = seconds, frame.shape
        yield frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), float(seconds)


class _Session:
    """One video on its way."""

    def __init__(
        self,
        spot: MicroExpressionSpottingPipeline,
        threshold: float,
        observe: Callable[[Moment], None] | None,
        crop_side: int | None,
    ) -> None:
        self.spot = spot
        self.observe = observe
        self.crop_side = crop_side
        self.kept_seconds = KEPT_SECONDS if crop_side is None else KEPT_FOR_CROPS
        self.model = spot.model
        self.threshold = threshold
        processor = getattr(spot.classifier, "video_processor", None)
        self.tracker = FaceTracker(Path(processor.face_models) if processor else FOLDER)
        self.kept: deque[_Seen] = deque()
        self.watches: dict[int, _Watch] = {}
        self.spans: dict[int | None, tuple[float, str]] = {}  # since when, and why a face is not watched
        self.ticks = 0  # moments that are over
        self.start: float | None = None

    def take(self, frame: np.ndarray, seconds: float) -> Iterator[Event]:
        """Take a frame: the moments before it are complete."""
        if self.start is None:
            self.start = seconds
        if self.kept:
            gap = seconds - self.kept[-1].seconds
            yield from self._moments(self.kept[-1].seconds if gap > LONGEST_GAP else seconds - TICK)
            if gap > LONGEST_GAP:
                yield from self._end_watches(list(self.watches))
                self.ticks = math.ceil((seconds - self.start) * self.model.config.rate - 0.01)
        views = {view.number: view for view in self.tracker.update(frame, seconds)}
        if self.tracker.was_cut:
            yield from self._end_watches(list(self.watches))
        self.kept.append(_Seen(seconds, frame, views, self._rate_reason(seconds)))
        while self.kept[0].seconds < seconds - self.kept_seconds:
            self.kept.popleft()

    def finish(self) -> Iterator[Event]:
        """The video is over."""
        if not self.kept:
            return
        end = self.kept[-1].seconds
        yield from self._moments(end)
        yield from self._end_watches(list(self.watches))
        for face in list(self.spans):
            yield from self._close_span(face, end)

    def _moments(self, until: float) -> Iterator[Event]:
        """The moments up to a time, which the last frame shows."""
        while (now := self.start + self.ticks / self.model.config.rate) <= until + TICK / 2:
            yield from self._moment(now)
            self.ticks += 1

    def _rate_reason(self, seconds: float) -> str:
        """Why the rate of frames does not do; empty where it does, or is not known yet."""
        if len(self.kept) < 4:
            return ""
        count = min(RATED, len(self.kept))
        rate = count / (seconds - self.kept[-count].seconds)
        return "" if rate >= SLOWEST else f"{rate:.0f} frames a second; at least 20 show a micro-expression"

    def _moment(self, seconds: float) -> Iterator[Event]:
        """Watch every face over the pair of frames that ends with the last one."""
        now, before = self.kept[-1], seconds - PAIR_SECONDS + TICK
        earlier = next((seen for seen in reversed(self.kept) if seen.seconds <= before), None)
        reasons = {number: now.reason or view.reason for number, view in now.views.items()}
        yield from self._note(reasons, now)
        yield from self._end_watches([number for number in self.watches if reasons.get(number, "gone")])
        for number, reason in reasons.items():
            if reason or earlier is None or earlier.seconds < now.views[number].since - 1e-6:
                continue
            watch = self.watches.setdefault(number, _Watch(EventDecoder(self.threshold)))
            watch.place = now.views[number].face_to_frame
            yield from self._look(number, watch, pair_field(earlier.frame, now.frame, watch.place))

    @torch.inference_mode()
    def _look(self, number: int, watch: _Watch, motion: np.ndarray | None) -> list[Event]:
        """Take the motion of a moment, or none where there are no more; the events that are over."""
        if motion is None:
            inputs = torch.zeros(1, 0, self.model.config.num_channels, *self.model.config.image_size)
        else:
            inputs = moment_input(residual_motion(torch.from_numpy(motion)))[None, None]
            watch.times.append(self.kept[-1].seconds)
        told = self.model(inputs.to(self.model.device), watch.state, last=motion is None)
        watch.state = told.state
        events = []
        for row in told.logits[0].float().sigmoid().cpu().numpy():
            seconds = watch.times.popleft()
            watch.said.append((seconds, float(row[SPEECH]), float(row[BLINK])))
            if self.observe is not None:
                self.observe(Moment(number, seconds, watch.place, row))
            events += watch.decoder.push(seconds, row)
        if motion is None:
            events += watch.decoder.finish()
        for apex, onset in watch.decoder.candidates():
            if apex not in watch.named:
                watch.named[apex] = self._name(number, onset, apex)
        found = [self._event(number, watch, event) for event in events]
        alive = {apex for apex, _ in watch.decoder.candidates()}
        watch.named = {apex: name for apex, name in watch.named.items() if apex in alive}
        return found

    def _event(self, number: int, watch: _Watch, event: SpottedEvent) -> dict[str, Any]:
        name = watch.named.get(event.apex) or self._name(number, event.onset, event.apex)
        during = [(speech, blink) for seconds, speech, blink in watch.said if event.onset <= seconds <= event.apex]
        speech, blink = np.max(during, axis=0) if during else (0.0, 0.0)
        flags = [*(["speech"] if speech > 0.5 else []), *(["blink"] if blink > 0.5 else []), *name["flags"]]
        times = {"start": round(event.onset, 3), "apex": round(event.apex, 3), "end": round(event.offset, 3)}
        return {
            **times,
            "score": round(event.score, 4),
            "kind": event.kind,
            "parts": list(event.parts),
            **{key: name[key] for key in ("label", "label_score", "action_units")},
            "face": number,
            "flags": flags,
        } | self._pictures(number, event)

    def _pictures(self, number: int, event: SpottedEvent) -> dict[str, Any]:
        """Crops of the face while an event lasts, as far as they are wanted."""
        clip = [] if self.crop_side is None else self._clip(number, event.onset, event.offset)
        if self.crop_side is None or not clip:
            return {}
        times = np.array([seen.seconds for seen in clip])
        return {"crops": _crops(clip, number, self.crop_side, CROP_MARGIN), "crop_times": times}

    def _clip(self, number: int, start: float, end: float) -> list[_Seen]:
        """The frames from start to end in which a face is."""
        return [seen for seen in self.kept if start - 1e-6 <= seen.seconds <= end + 1e-6 and number in seen.views]

    def _name(self, number: int, onset: float, apex: float) -> dict[str, Any]:
        """What the classifier says of a face from onset to apex, seen through one transform."""
        nothing = {"label": None, "label_score": None, "action_units": None, "flags": []}
        if self.spot.classifier is None:
            return nothing
        clip = self._clip(number, onset, apex)
        if len(clip) < 2:
            return {**nothing, "flags": ["too few frames for a label"]}
        model = cast(RcnForVideoClassification, self.spot.classifier.model)
        processor = cast(RcnVideoProcessor, self.spot.classifier.video_processor)
        crops = _crops(clip, number, max(processor.crop.values()), processor.margin)
        fps = (len(clip) - 1) / (clip[-1].seconds - clip[0].seconds)
        # of a clip that is cut to an onset and an apex, and cropped already, nothing is doubtful but its label
        features = processor(crops, apex=len(clip) - 1, fps=fps, align="none", face_problems="flag")
        outputs = model(features["pixel_values_videos"].to(model.device, model.dtype))
        scores = outputs.logits[0].double().softmax(-1)
        best = int(scores.argmax())
        units = {}
        if model.config.action_units:
            told = outputs.action_unit_logits[0].double().sigmoid().tolist()
            units = {f"AU{unit}": round(p, 4) for unit, p in zip(model.config.action_units, told, strict=True)}
        return {
            "label": model.config.class_names()[best],
            "label_score": round(float(scores[best]), 4),
            "action_units": {unit: p for unit, p in units.items() if p >= SHOWN_UNIT},
            "flags": [] if model.config.doubt(float(scores[best])) is None else ["label not confident"],
        }

    def _end_watches(self, numbers: list[int]) -> Iterator[Event]:
        for number in numbers:
            yield from self._look(number, self.watches.pop(number), None)

    # --- what could not be watched ---

    def _note(self, reasons: dict[int, str], now: _Seen) -> Iterator[Event]:
        """Open, go on with and close the spans of faces that cannot be watched, or of no face at all."""
        current: dict[int | None, str] = {number: reason for number, reason in reasons.items() if reason}
        if not reasons:
            current[None] = now.reason or "no face is seen"
        for face in [face for face, (_, reason) in self.spans.items() if _kind(current.get(face, "")) != _kind(reason)]:
            yield from self._close_span(face, now.seconds)
        for face, reason in current.items():
            self.spans.setdefault(face, (now.seconds, reason))

    def _close_span(self, face: int | None, end: float) -> Iterator[Event]:
        start, reason = self.spans.pop(face)
        if end - start >= SHORTEST_SPAN:
            names = ("apex", "score", "parts", "label", "label_score", "action_units")
            yield {
                "start": round(start, 3),
                "end": round(end, 3),
                "kind": "unwatched",
                **dict.fromkeys(names),
                "face": face,
                "flags": [reason],
            }


class _MotionSession(_Session):
    """A video on its way, of which the motion of its faces is kept."""

    def __init__(self, spot: MicroExpressionSpottingPipeline) -> None:
        super().__init__(spot, 1.0, None, None)
        self.going: dict[int, list[np.ndarray]] = {}
        self.ended: list[FaceMotion] = []

    def _look(self, number: int, watch: _Watch, motion: np.ndarray | None) -> list[Event]:
        if motion is not None:
            watch.times.append(self.kept[-1].seconds)
            self.going.setdefault(number, []).append(motion)
        else:
            fields = torch.from_numpy(np.stack(self.going.pop(number)))
            self.ended.append(FaceMotion(number, np.array(watch.times), residual_motion(fields)))
        return []


def _crops(clip: Sequence[_Seen], number: int, side: int, margin: float) -> np.ndarray:
    """(T, side, side), a face of some frames through one transform."""
    place = np.mean([seen.views[number].face_to_frame for seen in clip], axis=0)
    matrix = crop_matrix(place, side, side, margin)
    return np.stack([warp(seen.frame, matrix, side, side) for seen in clip])


def _kind(reason: str) -> str:
    """A reason without its numbers, which change from frame to frame."""
    return "".join(letter for letter in reason if not letter.isdigit())


__all__ = ["TASK", "FaceMotion", "MicroExpressionSpottingPipeline", "Moment"]
