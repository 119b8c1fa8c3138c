"""`mer-hf watch`: find micro-expressions before a camera, as they happen."""

import argparse
import json
import signal
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from mer_hf.commands import CommandError

if TYPE_CHECKING:
    from mer_hf.analysis.live import Live
    from mer_hf.rcn.pipeline_spotting_rcn import Moment

DESCRIPTION = """\
Print a line of JSON for each event as soon as it is confirmed, and for each span that could not be watched. No frame is
kept, unless --save-clips names a folder for the faces of the events. Where the machine is too slow, fewer frames are
watched, and a line on stderr says so. Ctrl-C ends it. A micro-expression is no proof of a feeling, let alone of a
lie."""
EXAMPLE = "mer-hf watch 0 --window"
SHOWN_SECONDS = 4.0  # for which an event stands in the window
CLIP_SIDE = 256
TITLE = "mer-hf watch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("source", nargs="?", default="0", help="number of a camera, a file, an address (%(default)s)")
    parser.add_argument("--window", action="store_true", help="show camera, faces and events")
    parser.add_argument("--save-clips", metavar="DIR", type=Path, help="keep the face of each event as a video")
    parser.add_argument("--min-score", type=float, help="least score of an event (the model's)")
    parser.add_argument("--model", default="default", help="folder or name of the model (the one in the package)")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:0")


def run(arguments: argparse.Namespace) -> int:
    """Watch until the source ends, or Ctrl-C."""
    from transformers.utils import logging

    from mer_hf.analysis.live import Live, open_source
    from mer_hf.analysis.results import load_spotter
    from mer_hf.analysis.watching import UNWATCHED

    logging.disable_progress_bar()
    window = _Window() if arguments.window else None
    spot = load_spotter(arguments.model, arguments.device)
    if arguments.save_clips is not None:
        arguments.save_clips.mkdir(parents=True, exist_ok=True)
    live = Live(open_source(arguments.source), lambda text: print(f"mer-hf: {text}", file=sys.stderr, flush=True))
    frames = iter(live) if window is None else window.shown(live)
    observe = None if window is None else window.see
    side = None if arguments.save_clips is None else CLIP_SIDE
    late: list[float] = []
    before = signal.signal(signal.SIGINT, lambda *_: live.stop())  # what has begun is still told
    try:
        for event in spot.stream(frames, threshold=arguments.min_score, observe=observe, crop_side=side):
            crops = event.pop("crops", None), event.pop("crop_times", None)
            print(json.dumps(event), flush=True)
            if event["kind"] == UNWATCHED:
                continue
            late.append(time.monotonic() - (live.begun or 0.0) - event["end"])
            if window is not None:
                window.found(event)
            if arguments.save_clips is not None and crops[0] is not None:
                _save(arguments.save_clips / f"event-{len(late):04}.mp4", *crops)
    finally:
        signal.signal(signal.SIGINT, before)
        live.stop()
    print(f"mer-hf: {_summary(live, late)}", file=sys.stderr)
    return 0


def _summary(live: "Live", late: list[float]) -> str:
    said = f"{live.taken} frames watched, {live.dropped} dropped, {len(late)} events"
    if not late:
        return said
    return f"{said}, told {statistics.median(late):.2f} s after their end, {max(late):.2f} s at most"


def _save(path: Path, crops: np.ndarray, times: np.ndarray) -> None:
    """Write the face of an event as a video, at the times of its frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *crops.shape[1:], "yuv420p"
        stream.codec_context.time_base = 1 / stream.codec_context.framerate / 100
        for crop, seconds in zip(crops, times - times[0], strict=True):
            frame = av.VideoFrame.from_ndarray(crop, format="gray")
            frame.pts = round(seconds / stream.codec_context.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


class _Window:
    """What the camera sees, with a square around each face that is watched, and the last events."""

    def __init__(self) -> None:
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise CommandError(
                "OpenCV has no window here: on a machine with a screen, put opencv-python in the place of "
                "opencv-python-headless (pip uninstall opencv-python-headless; pip install opencv-python)"
            ) from error
        self.places: dict[int, tuple[float, np.ndarray]] = {}
        self.events: deque[tuple[float, str]] = deque(maxlen=4)
        self.now = 0.0

    def see(self, moment: "Moment") -> None:
        """Note where a face is."""
        self.places[moment.face] = (moment.seconds, moment.place)

    def found(self, event: dict) -> None:
        """Note an event."""
        label = event["label"] or ""
        self.events.append((self.now, f"{event['start']:.1f} s  face {event['face']}  {event['kind']}  {label}"))

    def shown(self, live: "Live") -> Iterator[tuple[np.ndarray, float]]:
        """The frames, each shown on its way."""
        for frame, seconds in live:
            self.now = seconds
            cv2.imshow(TITLE, self._drawn(frame, seconds))
            if cv2.waitKey(1) in (27, ord("q")):
                live.stop()
            yield frame, seconds

    def _drawn(self, frame: np.ndarray, seconds: float) -> np.ndarray:
        code = cv2.COLOR_GRAY2BGR if frame.ndim == 2 else cv2.COLOR_RGB2BGR
        picture = cv2.cvtColor(frame, code)
        corners = np.array([(-1, -1), (1, -1), (1, 1.6), (-1, 1.6)])
        for number, (when, place) in self.places.items():
            if seconds - when < 2:
                square = (corners @ place[:, :2].T + place[:, 2]).round().astype(np.int32)
                cv2.polylines(picture, [square], True, (90, 200, 90), 2)
                cv2.putText(picture, str(number), square[0].tolist(), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (90, 200, 90), 2)
        told = [text for when, text in self.events if seconds - when < SHOWN_SECONDS]
        for line, text in enumerate(told, start=1):
            cv2.putText(picture, text, (10, 26 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (60, 60, 230), 2)
        return picture
