"""Frames of a camera as they come: never late, rather fewer.

a camera, a file, an address -> open_source -> Live: a thread takes the frames, and drops what there is no time for
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from mer_hf.errors import MerHfError
from mer_hf.rcn.decoding_rcn import stream_video

WAITING_SECONDS = 0.5  # of frames that wait; more would be lag
WORDS = {2: "second", 3: "third", 4: "fourth"}


class LiveError(MerHfError):
    """A camera, or what was named in its place, cannot be opened."""


def open_source(name: str) -> Iterator[tuple[np.ndarray, float]]:
    """Frames with seconds since the first, each when its time has come.

    Args:
        name: the number of a camera; the address of a stream (http, https, rtsp); or a file, played at its pace.

    Yields:
        (H, W, 3) or (H, W) uint8, RGB or grey, and its time.

    Raises:
        LiveError: the camera or stream cannot be opened.
        VideoError: the file cannot be read.
    """
    is_stream = "://" in name
    if is_stream and not name.startswith(("http://", "https://", "rtsp://")):
        raise LiveError(f"{name} is no address that is read; give one of http, https or rtsp")
    return _captured(name) if is_stream or name.isdecimal() else _played(name)


def _captured(name: str) -> Iterator[tuple[np.ndarray, float]]:
    capture = cv2.VideoCapture(int(name) if name.isdecimal() else name)
    if not capture.isOpened():
        what = f"the camera {name}" if name.isdecimal() else name
        raise LiveError(f"{what} cannot be opened; is it there, allowed, and free?")
    begun = time.monotonic()
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), time.monotonic() - begun
    finally:
        capture.release()


def _played(path: str) -> Iterator[tuple[np.ndarray, float]]:
    begun = time.monotonic()
    for frame, seconds in stream_video(path, grey=True, problems=[]):
        time.sleep(max(begun + seconds - time.monotonic(), 0))
        yield frame, seconds


class Live:
    """Frames for somebody who may be too slow for them.

    Where more than half a second of frames waits, only every second, then every third is taken from there on; and what
    waits is thinned out at once.

    Args:
        frames: as `open_source` gives them; taken by a thread.
        say: called with one line where the rate is lowered.

    Attributes:
        taken, dropped: counts of frames.
        step: every how manieth frame is taken.
        begun: `time.monotonic` of the first frame; None before it.
    """

    def __init__(self, frames: Iterator[tuple[np.ndarray, float]], say: Callable[[str], None]) -> None:
        self.frames, self.say = frames, say
        self.taken = self.dropped = 0
        self.step = 1
        self.begun: float | None = None
        self._waiting: deque[tuple[np.ndarray, float]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        """The frames, until there are no more, or `stop` is called.

        Raises:
            Exception: what the source raised.
        """
        thread = threading.Thread(target=self._take, daemon=True)
        thread.start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
            self.taken += 1
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Take no more frames."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self) -> None:
        try:
            for index, (frame, seconds) in enumerate(self.frames):
                with self._changed:
                    if self._ended:
                        return
                    self.begun = self.begun or time.monotonic() - seconds
                    if index % self.step:
                        self.dropped += 1
                        continue
                    self._waiting.append((frame, seconds))
                    if seconds - self._waiting[0][1] > WAITING_SECONDS:
                        self._slow_down()
                    self._changed.notify_all()
        except Exception as error:  # goes to whoever reads the frames
            self._error = error
        finally:
            self.stop()

    def _slow_down(self) -> None:
        self.step += 1
        kept = list(self._waiting)[1 :: self.step]
        self.dropped += len(self._waiting) - len(kept)
        self._waiting = deque(kept)
        which = WORDS.get(self.step, f"{self.step}th")
        self.say(f"this machine is too slow for all frames; from here on every {which} is watched")


__all__ = ["Live", "LiveError", "open_source"]
