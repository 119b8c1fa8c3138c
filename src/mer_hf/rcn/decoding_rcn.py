"""A video in any form -> frames with times.

    as_batch(sources) -> one source each -> stream_video(source) -> frame, time; frame, time; ...
                                               load_video(source) -> Video(frames, times)

A source is a video file (path, URL, bytes, open file, or the `{"path", "bytes"}` of a datasets `Video` column), the
frames of one video in one array, or a list of its images. Nothing is resized, and no frame is dropped or repeated.
"""

import http.client
import io
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from .errors_rcn import MerHfError

DEFAULT_FPS = 25.0
"""Frames per second of an array or a list of images for which no rate is given."""
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What tells the path of a frame from the path of a video."""
DOWNLOAD_LIMIT = 512 * 2**20
"""Bytes: about ten minutes of Full HD; a clip of a micro-expression is a thousandth of it."""
DOWNLOAD_TIMEOUT = 20.0
"""Seconds a server may stay silent."""
DOWNLOAD_DEADLINE = 300.0
"""Seconds a whole download may take, against servers that trickle."""


LUMA_FORMATS = frozenset({"gray", "nv12", "yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"})
"""Pixel formats whose first plane is the luma, 8 bits a pixel."""
FULL_RANGE = 2
"""FFmpeg's AVCOL_RANGE_JPEG: luma from 0 to 255; otherwise it runs from 16 to 235."""
EXPANSION = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
"""Luma from 16..235 to 0..255."""


class VideoError(MerHfError):
    """A source that is not a readable video; the message says what was found and what to do."""


@dataclass(frozen=True)
class Video:
    """A decoded video.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        times: (T,) float64, seconds from the first frame, as the container states them: frames need not be evenly
            spaced.
    """

    frames: np.ndarray
    times: np.ndarray

    @property
    def fps(self) -> float:
        """Frames per second: the median rate over stretches of ten frames; nan where there is one frame only."""
        if len(self.times) < 2:
            return float("nan")
        stretch = min(10, len(self.times) - 1)  # Matroska rounds to 1 ms: from frame to frame, 120 fps would be 125
        return float(stretch / np.median(self.times[stretch:] - self.times[:-stretch]))


def as_batch(sources: Any) -> tuple[list[Any], bool]:
    """Tell one video from a batch of videos.

    A list of images (PIL images, (H, W[, C]) arrays, paths that end like an image's, `{"path", "bytes"}` of images) is
    one video; a list of anything else is a batch of videos, and so is a list of such lists or a 5-dimensional array.

    Returns:
        The sources, one a video, each for `load_video`; and whether `sources` was a single one.

    Raises:
        VideoError: the list is empty, or mixes images and videos.
    """
    if isinstance(sources, np.ndarray | torch.Tensor):
        return (list(sources), False) if sources.ndim == 5 else ([sources], True)
    if isinstance(sources, str | bytes | bytearray | memoryview) or not isinstance(sources, Sequence):
        return [sources], True
    if len(sources) == 0:
        raise VideoError("the list is empty: it is neither a video nor a batch of videos")
    sources = list(sources)
    images = [_is_image(source) for source in sources]
    if all(images):
        return [sources], True
    if any(images):
        raise VideoError(
            f"item {images.index(True)} of the list is an image and item {images.index(False)} is not; give the images "
            "of one video as a list of their own, or a list of videos"
        )
    return sources, False


def load_video(source: Any, fps: float | None = None) -> Video:
    """Decode one video into memory, in colour: what `stream_video` gives, together.

    Args:
        source: as for `stream_video`; a `Video` keeps its frames.
        fps: as for `stream_video`.

    Raises:
        VideoError: as `stream_video`.

    Warns:
        UserWarning: as `stream_video`.
    """
    frames, times = zip(*stream_video(source, fps), strict=True)
    return Video(np.stack(frames), np.array(times))


def stream_video(source: Any, fps: float | None = None, grey: bool = False) -> Iterator[tuple[np.ndarray, float]]:
    """Decode one video frame by frame; of a file no more than one frame is held in memory.

    Args:
        source: One of
            - a path (str or Path), an http(s) URL, bytes, an open binary file, or `{"path", "bytes"}`: a video file.
              Rotation that its container asks for is carried out.
            - a uint8 array or tensor of one video: (T, H, W) or (T, H, W, C) with C in 1, 3, 4; a tensor may be
              (T, C, H, W) too.
            - a list of the images of one video: PIL images, uint8 arrays, paths, or `{"path", "bytes"}`; all equally
              large.
            - a `Video`.
            Grey becomes RGB by repetition where colour is wanted; alpha is dropped.
        fps: Frames per second. Where it is given it replaces the times of the container, for the files of high-speed
            cameras are often written at 25 or 30. Without it, arrays and lists are taken at `DEFAULT_FPS`.
        grey: Whether luma is wanted, which is faster; of a video file it is that of the file, without a way over RGB.

    Yields:
        The frame, (H, W, 3) uint8 RGB, or (H, W) uint8 with `grey`; and its time, seconds from the first frame, later
        than that of the frame before.

    Raises:
        VideoError: there is nothing to read, no frame of it can be decoded, or the frames differ in size.

    Warns:
        UserWarning: a file ends before the duration that it announces; the frames up to there are given.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise VideoError(f"fps is {fps}; it must be frames per second, above 0")
    if isinstance(source, Video):
        stream = zip(_in_colour(source.frames, grey), source.times.tolist(), strict=True)
    elif isinstance(source, np.ndarray | torch.Tensor):
        stream = _at_default_rate(_in_colour(_from_array(source, "the video"), grey))
    elif isinstance(source, list | tuple):
        stream = _at_default_rate(_from_images(source, grey))
    elif _is_image(source):
        stream = _at_default_rate(_from_images([source], grey))
    else:
        stream = _from_file(source, grey)
    for index, (frame, seconds) in enumerate(stream):
        yield frame, seconds if fps is None else index / fps


def _at_default_rate(frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, float]]:
    return ((frame, index / DEFAULT_FPS) for index, frame in enumerate(frames))


def _in_colour(frames: np.ndarray, grey: bool) -> Iterator[np.ndarray]:
    """Frames (T, H, W, 1 or 3) uint8, one by one as they are wanted."""
    for frame in frames:
        if grey:
            yield cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.shape[-1] == 3 else frame[..., 0]
        else:
            yield frame if frame.shape[-1] == 3 else np.repeat(frame, 3, axis=-1)


def _is_image(source: Any) -> bool:
    if isinstance(source, Image.Image):
        return True
    if isinstance(source, np.ndarray | torch.Tensor):
        return source.ndim == 2 or (source.ndim == 3 and _channel_axis(source) is not None)
    if isinstance(source, dict) and source.get("path") is None and source.get("bytes") is not None:
        return _opens_as_image(source["bytes"])
    path = source.get("path") if isinstance(source, dict) else source
    return isinstance(path, str | Path) and not _is_url(path) and Path(path).suffix.lower() in IMAGE_SUFFIXES


def _opens_as_image(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).close()
    except OSError:
        return False
    return True


def _is_url(source: Any) -> bool:
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


# --- frames that are frames already ---


def _channel_axis(array: np.ndarray | torch.Tensor) -> int | None:
    """Where the channels are in (..., H, W, C), or in a tensor's (..., C, H, W); None where there are none."""
    axes = (-1, -3) if isinstance(array, torch.Tensor) else (-1,)
    return next((axis for axis in axes if array.shape[axis] in (1, 3, 4)), None)


def _from_array(array: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """(T, H, W), (T, H, W, C), or a tensor's (T, C, H, W) -> (T, H, W, 1 or 3) uint8."""
    if array.dtype not in (np.uint8, torch.uint8):
        raise VideoError(
            f"{name} has values of {array.dtype}; expected uint8, 0 to 255: for values in [0, 1] pass "
            "(255 * array).round().astype('uint8')"
        )
    if array.ndim == 3:
        array = array[..., None]
    axis = _channel_axis(array) if array.ndim == 4 else None
    if axis is None or 0 in array.shape:
        raise VideoError(
            f"{name} has the shape {tuple(array.shape)}; expected (frames, height, width), or that with 1, 3 or 4 "
            "channels last (tensors: or second), and at least one frame"
        )
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().numpy()
    return np.ascontiguousarray(np.moveaxis(array, axis, -1)[..., :3])


def _from_images(images: Sequence[Any], grey: bool) -> Iterator[np.ndarray]:
    """The images of one video, one by one."""
    if not images:
        raise VideoError("the list of frames is empty; a video needs at least one")
    for index, image in enumerate(images):
        frame = _load_image(image, f"frame {index}", grey)
        if index == 0:
            shape = frame.shape
        elif frame.shape != shape:
            raise VideoError(
                f"frame {index} is {_size(frame.shape)} and frame 0 is {_size(shape)} (width x height): all frames of "
                "a video must be equally large"
            )
        yield frame


def _load_image(image: Any, name: str, grey: bool) -> np.ndarray:
    """One frame in any form -> (H, W, 3) or, grey, (H, W) uint8."""
    if isinstance(image, np.ndarray | torch.Tensor):
        return next(_in_colour(_from_array(image[None], name), grey))
    if isinstance(image, dict):
        image, path = image.get("bytes"), image.get("path")
        name = f"{name} ({path})" if path is not None else name
        image = path if image is None else io.BytesIO(image)
    elif isinstance(image, str | Path):
        name = f"{name} ({image})"
    elif not isinstance(image, Image.Image):
        raise VideoError(f"{name} is a {type(image).__name__}; expected an image: PIL, uint8 array, path or dict")
    try:
        if isinstance(image, Image.Image):
            return _pixels(image, name, grey)
        with Image.open(image) as opened:
            if grey:
                opened.draft("L", None)  # of a JPEG, only the luma is decoded
            return _pixels(ImageOps.exif_transpose(opened), name, grey)
    except (OSError, SyntaxError, AttributeError, Image.DecompressionBombError) as error:  # Pillow's words for no image
        raise VideoError(f"{name} cannot be read as an image: {error}") from error


def _pixels(image: Image.Image, name: str, grey: bool) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        raise VideoError(f"{name} has more than 8 bits (mode {image.mode}); Pillow would clip it: scale it to 8 bits")
    if grey and image.mode == "L":
        return np.asarray(image)
    pixels = np.asarray(image.convert("RGB"))
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if grey else pixels  # Pillow's luma rounds otherwise


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


# --- frames that are to be decoded ---


def _from_file(source: Any, grey: bool) -> Iterator[tuple[np.ndarray, float]]:
    """An encoded video wherever it lies -> frames with their times."""
    if isinstance(source, dict) and ("bytes" in source or "path" in source):
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    if _is_url(source):
        return _decode(io.BytesIO(_download(source)), source, grey)
    if isinstance(source, str | Path):
        _check_file(Path(source))
        # absolute: FFmpeg would take "12:30.mp4" for the address of a protocol named 12
        return _decode(str(Path(source).absolute()), str(source), grey)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), f"the video ({len(source)} bytes)", grey)
    if hasattr(source, "read"):
        name, data = f"the open file {getattr(source, 'name', '')}".rstrip(), source.read()
        if not data or isinstance(data, str):
            found = "is opened as text; open it as binary ('rb')" if data else "has nothing to read; is it at its end?"
            raise VideoError(f"{name} {found}")
        return _decode(io.BytesIO(data), name, grey)
    raise VideoError(
        f"cannot read a video from a {type(source).__name__}; expected a path, a URL, bytes, an open file, an array, "
        "or a list of images"
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise VideoError(f"{path} is a folder; pass a video file, or the list of its images in their order")
    if not path.exists():
        raise VideoError(f"{path} does not exist (looked in {Path.cwd()})")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")


def _download(url: str) -> bytes:
    """The bytes behind a URL, refusing error pages, web pages and floods."""
    request = urllib.request.Request(url, headers={"User-Agent": "mer_hf"})
    try:
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT) as response:
            kind = response.headers.get_content_type()
            if kind in ("text/html", "application/xhtml+xml"):
                raise VideoError(f"{url} answers with a web page, not a video; pass the address of the file itself")
            announced = int(response.headers.get("Content-Length") or 0)
            data = _read_limited(response, url)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise VideoError(f"{url} answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:  # no host, no answer, or no proper address
        raise VideoError(f"{url} cannot be downloaded: {getattr(error, 'reason', error)}") from error
    if len(data) < announced:
        raise VideoError(f"{url} broke off after {len(data)} of {announced} bytes; try again")
    if not data:
        raise VideoError(f"{url} is empty (0 bytes)")
    return data


def _read_limited(response: Any, url: str) -> bytes:
    data, deadline = bytearray(), time.monotonic() + DOWNLOAD_DEADLINE
    while chunk := response.read(2**20):
        data += chunk
        if len(data) > DOWNLOAD_LIMIT:
            raise VideoError(f"{url} is larger than {DOWNLOAD_LIMIT >> 20} MiB; download it and cut out the clip first")
        if time.monotonic() > deadline:
            raise VideoError(f"{url} takes longer than {DOWNLOAD_DEADLINE:.0f} s; download it first")
    return bytes(data)


def _decode(file: str | io.BytesIO, name: str, grey: bool) -> Iterator[tuple[np.ndarray, float]]:
    """A path or buffer -> frames with their times, from 0."""
    times: list[float] = []
    start, shape, broken, announced = None, None, None, None
    try:
        with av.open(file, metadata_errors="replace") as container:
            stream = _video_stream(container, name)
            stream.codec_context.thread_count = 1  # clips are short, and callers decode several at once
            announced, rate = _announced_duration(container, stream), float(stream.average_rate or DEFAULT_FPS)
            for frame in container.decode(stream):
                image = _luma(frame) if grey else frame.to_ndarray(format="rgb24")
                if frame.rotation % 360:
                    image = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
                if shape is not None and image.shape != shape:
                    raise VideoError(
                        f"{name} changes its size at frame {len(times)}, from {_size(shape)} to {_size(image.shape)} "
                        "(width x height); cut out a part of one size"
                    )
                shape = image.shape
                start = start if times else frame.time
                seconds = None if frame.time is None or start is None else frame.time - start
                if times and (seconds is None or seconds <= times[-1]):
                    seconds = times[-1] + 1 / rate  # raw streams have no times, damaged ones go back
                times.append(seconds or 0.0)
                yield image, times[-1]
    except av.FFmpegError as error:
        broken = error
    if not times:
        raise VideoError(
            f"{name} cannot be decoded as a video: {broken.strerror}" if broken else f"{name} holds no frames"
        ) from broken
    _warn_if_cut(np.array(times), announced, broken, name)


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """The luma of a decoded frame, (H, W) uint8 from 0 to 255, copied out of its plane where it has one."""
    if frame.format.name not in LUMA_FORMATS:
        return cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY)
    plane = frame.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith(("yuvj", "gray"))
    return luma.copy() if full else cv2.LUT(luma, EXPANSION)


def _video_stream(container: Any, name: str) -> Any:
    """The first moving picture: a cover image of an audio file is none."""
    still = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & still]
    if not streams:
        found = ", ".join(stream.type for stream in container.streams) or "none"
        raise VideoError(f"{name} has no video stream (streams found: {found})")
    if streams[0].codec_context is None:
        raise VideoError(f"{name} is coded in a way that this FFmpeg does not know; convert it, to H.264 say")
    return streams[0]


def _announced_duration(container: Any, stream: Any) -> float | None:
    """Seconds, as the header states them; the container's own only where no other stream could be the longer one."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _warn_if_cut(times: np.ndarray, announced: float | None, broken: Exception | None, name: str) -> None:
    end = times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.0)
    # headers round, and edit lists trim: only a clear loss is worth a warning
    if broken is None and (announced is None or end >= 0.9 * announced or announced - end < 0.1):
        return
    promised = f" of {announced:.2f} s" if announced is not None else ""
    reason = f" ({broken.strerror})" if broken is not None else ""
    warnings.warn(
        f"{name} ends early{reason}: decoded {len(times)} frames, {end:.2f} s{promised}. Is the file complete?",
        stacklevel=5,
    )


__all__ = ["DEFAULT_FPS", "Video", "VideoError", "as_batch", "load_video", "stream_video"]
