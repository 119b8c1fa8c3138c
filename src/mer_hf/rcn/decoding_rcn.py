"""A video in any form -> frames with times.

    as_batch(sources) -> one source each -> stream_video(source) -> frame, time; frame, time; ...
                                               load_video(source) -> Video(frames, times)

A source is a video file (path, URL, bytes, open file, or the `{"path", "bytes"}` of a datasets `Video` column), the
frames of one video in one array, a list or a folder of its images; `as_batch` has the rules. Nothing is resized but
pixels that are not square, and no frame is dropped or repeated.
"""

import http.client
import io
import math
import numbers
import time
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import av
import cv2
import numpy as np
import torch
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition

from .sources_rcn import (
    BUDGET,
    DEFAULT_FPS,
    Budget,
    Video,
    VideoError,
    VideoSource,
    as_batch,
    as_shown,
    file_of,
    from_animation,
    from_array,
    from_pictures,
    in_colour,
    in_order,
    is_address,
    is_animation,
    is_picture,
    missing_frames,
    name_of,
    naming,
    pictures_in,
    size_text,
)

CONTAINERS = (
    *("apng", "asf", "av1", "avi", "cine", "dv", "flv", "gif", "h264", "hevc", "ivf", "m4v", "matroska", "mjpeg"),
    *("mov", "mpeg", "mpegts", "mpegvideo", "mxf", "nut", "obu", "ogg", "wtv", "yuv4mpegpipe"),
)
"""What FFmpeg may open, by its names: files that hold all of their frames. Playlists and scripts (concat, hls, dash,
vobsub, ...) would read other files, text becomes pictures (tty), and descriptions of sessions (sdp) open sockets."""
DOWNLOAD_TIMEOUT = 20.0
"""Seconds a server may stay silent."""
DOWNLOAD_DEADLINE = 300.0
"""Seconds a whole download may take, against servers that trickle."""
SEEKABLE = ("matroska", "mov")
"""Containers with an index and a time for every frame, in which the way to a later part can be skipped."""
TICK = 1e-3
"""Seconds to which containers round."""
GAP, GAP_STEPS = 0.05, 3.5
"""A step between frames is a gap from so many seconds and mean steps on: of the .1 s and more that an expression takes
to rise, it hides the half."""
WIDEST_PIXEL = 4
"""No format of film or television has pixels that are wider, or higher, than that."""

PROBED = 2**26
"""Pixels of a frame that FFmpeg may decode to find out what a file holds, before the size is checked."""
LUMA_FORMATS = frozenset({"gray", "nv12", "yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"})
"""Pixel formats whose first plane is the luma, 8 bits a pixel."""
FULL_RANGE = 2
"""FFmpeg's AVCOL_RANGE_JPEG: luma from 0 to 255; otherwise it runs from 16 to 235."""
SLICE_END = 8
"""Bytes behind the content of a slice of FFV1 that has a checksum."""
MIRRORED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""
EXPANSION = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
"""Luma from 16..235 to 0..255."""


@runtime_checkable
class SupportsRead(Protocol):
    """What is read like an open file."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        ...


@dataclass(frozen=True)
class _Wanted:
    """What is wanted of a source; the arguments of `stream_video`."""

    name: str
    fps: float | None
    grey: bool
    start: float
    end: float | None
    most: int | None
    budget: Budget

    def part(self) -> str:
        """What part of the video is wanted, in words."""
        return f"from {self.start:g} s" + (f" to {self.end:g} s" if self.end is not None else " on")

    def check_length(self, total: float, rate: float) -> None:
        """Refuse what is longer than wanted, by the count of frames in a header, 0 without one, and their rate."""
        clock = self.fps or rate
        last = total if self.end is None else min(total, self.end * clock)
        self.check_count(last - self.start * clock)

    def check_count(self, frames: float) -> None:
        """Refuse more frames than are wanted."""
        if self.most is not None:
            replace(self.budget, frames=self.most).check_length(frames, self.name)


@dataclass
class _Log:
    """What was noticed on the way through a video; becomes problems at its end.

    Attributes:
        notes: what is known from the start.
        frames, first, last: count and times of the frames that were given.
        step, step_at: the longest time between two of them, and the time at which it begins.
        lost: pieces of the file that cannot be decoded.
        patched, patched_at: count of the frames that the decoder made up in part, and the time of the first.
        unsound: the times, by the container's clock, of the pieces that contradict their checksums.
        interlaced: count of the frames of two half pictures.
        untimed: count of the frames whose time is not after that of the frame before.
        announced, announced_frames: duration in seconds and frames by the header, None where it does not say.
        broken: what ended the decoding.
        ended: whether the end of the file was reached.
    """

    notes: list[str] = field(default_factory=list)
    frames: int = 0
    first: float = 0.0
    last: float = 0.0
    step: float = 0.0
    step_at: float = 0.0
    lost: int = 0
    patched: int = 0
    patched_at: float = 0.0
    unsound: set[int | None] = field(default_factory=set)
    interlaced: int = 0
    untimed: int = 0
    announced: float | None = None
    announced_frames: int | None = None
    broken: Exception | None = None
    ended: bool = False

    def add(self, seconds: float) -> None:
        """Count a frame at its time."""
        if self.frames and seconds - self.last > self.step:
            self.step, self.step_at = seconds - self.last, self.last
        self.first = seconds if self.frames == 0 else self.first
        self.frames, self.last = self.frames + 1, seconds

    def announce(self, stream: av.VideoStream, container: InputContainer) -> None:
        """Note what the header says of the length; the container's duration only where no other stream is longer."""
        self.announced_frames = stream.frames or None
        if stream.duration is not None and stream.time_base is not None:
            self.announced = float(stream.duration * stream.time_base)
        elif container.duration is not None and len(container.streams) == 1:
            self.announced = container.duration / av.time_base

    def look_at(self, frame: av.VideoFrame, seconds: float, start: float) -> None:
        """Note what a decoded frame says of itself, if it is in the part that is wanted."""
        if seconds < start - TICK:
            self.announced_frames = None  # not all of them are to come
            return
        self.interlaced += frame.interlaced_frame
        self.patched_at = self.patched_at if self.patched else seconds
        self.patched += frame.is_corrupt or frame.pts in self.unsound

    def problems(self) -> list[str]:
        """What is wrong, in words."""
        found, cut = list(self.notes), self._cut() if self.ended else None
        if self.lost > bool(cut) or self.patched:  # what is cut off has a last piece that is not whole
            pieces = f"{self.lost} pieces of it cannot be decoded" if self.lost else "all of it can be decoded"
            patched = f", the first at {self.patched_at:.2f} s" if self.patched else ""
            found.append(
                f"the file is damaged: {pieces}, and {self.patched} of {self.frames} frames are made up in part"
                f"{patched}; what moves there may not be the face"
            )
        if self.untimed:
            found.append(f"the times of {self.untimed} frames do not follow those before; they are taken as even")
        if self.interlaced:
            found.append(
                f"{self.interlaced} of {self.frames} frames are interlaced, two half pictures of two moments; one of "
                "them is shown, at half the height: subtle motion may be lost"
            )
        others = (self.last - self.first - self.step) / max(self.frames - 2, 1)
        if self.frames > 2 and self.step > max(GAP, GAP_STEPS * others):
            found.append(
                f"there are no frames for {self.step:.2f} s from {self.step_at:.2f} s on; what the face did then is "
                "not seen"
            )
        return found if cut is None else [*found, cut]

    def _cut(self) -> str | None:
        step = (self.last - self.first) / max(self.frames - 1, 1)
        end = self.last + step
        # headers round, and edit lists trim: only a clear loss is worth a word
        too_short = self.announced is not None and end < 0.9 * self.announced and self.announced - end >= 0.1
        total = self.announced_frames or 0
        too_few = self.frames < 0.98 * total - 2
        if self.broken is None and not too_short and not too_few:
            return None
        promised = f" of {self.announced:.2f} s" if self.announced is not None else ""
        promised = f" of {self.announced_frames} frames" if too_few and not too_short else promised
        reason = f" ({_reason(self.broken)})" if self.broken is not None else ""
        return (
            f"the file ends early{reason}: decoded {self.frames} frames, {end:.2f} s{promised}. Is the file complete?"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, av.ArgumentError):
        return f"it is in no container that is read ({', '.join(CONTAINERS)}), or its frames are too large; convert it"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def load_video(source: VideoSource, fps: float | None = None, budget: Budget = BUDGET) -> Video:
    """Decode one video into memory, in colour: what `stream_video` gives, together.

    Args:
        source: as for `stream_video`; a `Video` keeps its frames.
        fps: as for `stream_video`.
        budget: what it may ask of the machine; its frames are held.

    Raises:
        VideoError: as `stream_video`, or the frames together are larger than the budget.

    Warns:
        UserWarning: as `stream_video`.
    """
    frames, times = [], []
    for frame, seconds in stream_video(source, fps, budget=budget):
        frames.append(frame)
        times.append(seconds)
        if len(frames) * frame.nbytes > budget.bytes:
            raise VideoError(
                f"{name_of(source) or 'the video'} takes more than {budget.bytes >> 20} MiB, decoded; cut out a part, "
                "or pass budget=Budget(bytes=...)"
            )
    return Video(np.stack(frames), np.array(times))


def stream_video(
    source: VideoSource,
    fps: float | None = None,
    grey: bool = False,
    start: float | None = None,
    end: float | None = None,
    most: int | None = None,
    budget: Budget = BUDGET,
    problems: list[str] | None = None,
    of_file: bool = False,
) -> Iterator[tuple[np.ndarray, float]]:
    """Decode one video frame by frame; of a file no more than one frame is held in memory.

    A file is shown as it asks to be: turned and mirrored by its display matrix, its pixels made square, and of two
    interlaced half pictures the upper one, its gaps filled by interpolation. Of several videos in one file the largest
    is taken; a cover image is none. Damage is noticed as far as decoder or container tell of it: see SECURITY.md.

    Args:
        source: One video in any form that `as_batch` lists. Arrays and tensors are uint8; the pictures of a list or
            folder are equally large. Grey becomes RGB by repetition where colour is wanted; alpha is dropped.
        fps: Frames per second, in place of the container's times; without it, arrays and lists have `DEFAULT_FPS`.
        grey: Whether luma is wanted, which is faster; of a video file it is that of the file, without a way over RGB.
        start, end: Seconds from the first frame of the video: only what lies between them is given.
        most: How many frames are wanted at most; a video of more is refused, at once where its header says so.
        budget: What a frame, and a file that must be held, may ask of the machine.
        problems: Where what was noticed (damage, gaps, interlacing, an early end) is put in words at the end; a
            UserWarning says it otherwise.
        of_file: Whether times are from the first frame of the video, and not from the first that is given.

    Yields:
        The frame, (H, W, 3) or, grey, (H, W) uint8; and its time in seconds, ever later.

    Raises:
        VideoError: nothing can be read or decoded, or the frames differ in size, or are larger or more than allowed.
    """
    _check_times(fps, start, end)
    wanted = _Wanted(name_of(source) or "the video", fps, grey, start or 0.0, end, most, budget)
    log, first = _Log(), None
    with naming(name_of(source)):
        for index, (frame, seconds) in enumerate(_frames(source, wanted, log)):
            place = seconds if fps is None else index / fps
            if place < wanted.start - TICK:
                continue
            if end is not None and place > end + TICK:
                break
            first = place if first is None else first
            log.add(seconds)
            wanted.check_count(log.frames)
            yield frame, place if of_file else place - first
        else:
            log.ended = True
        if first is None:
            raise VideoError(f"{wanted.name} has no frame {wanted.part()}")
    found = log.problems()
    if problems is not None:
        problems += found
    else:
        for text in found:
            warnings.warn(f"{wanted.name}: {text}", stacklevel=2)


def announced_seconds(path: str | Path) -> float | None:
    """How long a video file says that it is; None where it does not say, or cannot be opened."""
    log = _Log()
    try:
        _check_file(Path(path))
        with Path(path).open("rb") as opened, av.open(opened, "r", options=_options(BUDGET)) as container:
            log.announce(_video_stream(container, str(path), log), container)
            if log.announced is None and container.duration is not None:
                return container.duration / av.time_base
    except (OSError, VideoError, av.FFmpegError, MemoryError):
        return None
    return log.announced


def _options(budget: Budget) -> dict[str, str]:
    """What FFmpeg may open."""
    # rows and columns are coded in whole blocks
    most = str(max(PROBED, 2 * budget.pixels))
    return {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none", "max_pixels": most}


def _check_times(fps: float | None, start: float | None, end: float | None) -> None:
    for name, value, lowest in (("fps", fps, "above 0"), ("start", start, "0 or more"), ("end", end, "above 0")):
        if value is None:
            continue
        unit = "frames per second" if name == "fps" else "seconds"
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or value < 0 or (value == 0 and name != "start"):
            raise VideoError(f"{name} is {value!r}; it must be a number of {unit}, {lowest}")
    if start is not None and end is not None and end <= start:
        raise VideoError(f"end is {end:g} s and start {start:g} s; the end comes after the start")


def _frames(source: VideoSource, wanted: _Wanted, log: _Log) -> Iterator[tuple[np.ndarray, float]]:
    """All frames of a source with their times; those of a file only from about the start that is wanted on."""
    file = file_of(source)
    if isinstance(source, Video):
        return zip(in_colour(source.frames, wanted.grey), source.times.tolist(), strict=True)
    if isinstance(source, np.ndarray | torch.Tensor):
        return _at_default_rate(in_colour(from_array(source, "the video", wanted.budget), wanted.grey))
    if isinstance(source, list | tuple):
        return _at_default_rate(_from_list(in_order(source), wanted, log))
    if is_picture(source):
        return _at_default_rate(_from_list([source], wanted, log))
    if is_animation(source):
        return from_animation(source, wanted.grey, wanted.budget)
    if isinstance(file, str | Path) and _is_folder(file):
        return _at_default_rate(_from_list(pictures_in(Path(file)), wanted, log))
    return _from_file(file, wanted, log)


def _at_default_rate(frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, float]]:
    return ((frame, index / DEFAULT_FPS) for index, frame in enumerate(frames))


def _from_list(pictures: Sequence[object], wanted: _Wanted, log: _Log) -> Iterator[np.ndarray]:
    wanted.check_length(len(pictures), DEFAULT_FPS)
    if missing := missing_frames(pictures):
        log.notes.append(missing)
    return from_pictures(pictures, wanted.grey, wanted.budget)


def _is_folder(path: str | Path) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False


# --- frames that are to be decoded ---


def _from_file(file: object, wanted: _Wanted, log: _Log) -> Iterator[tuple[np.ndarray, float]]:
    """An encoded video wherever it lies -> frames with their times."""
    if is_address(file):
        yield from _decode(io.BytesIO(_download(file, wanted.budget.bytes)), wanted, log)
    elif isinstance(file, str | Path):
        _check_file(Path(file))
        with Path(file).open("rb") as opened:  # FFmpeg itself opens nothing, by no protocol
            yield from _decode(opened, wanted, log)
    elif isinstance(file, bytes | bytearray | memoryview):
        yield from _decode(io.BytesIO(file), wanted, log)
    elif isinstance(file, SupportsRead):
        yield from _decode(io.BytesIO(_read_open(file, wanted.budget.bytes)), wanted, log)
    else:
        raise VideoError(
            f"cannot read a video from a {type(file).__name__}; expected a path, a URL, bytes, an open file, an array, "
            "a folder or a list of images"
        )


def _check_file(path: Path) -> None:
    if "://" in str(path) or ":/" in str(path)[1:6]:  # a Path makes one slash of two
        raise VideoError(f"{path} is not an address that is read; pass a file, or an http(s) address")
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise VideoError(f"{path} does not exist (looked in {Path.cwd()})") from error
    except (OSError, ValueError) as error:
        raise VideoError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not path.is_file():
        raise VideoError(f"{path} is no file")
    if size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")


def _read_open(file: SupportsRead, limit: int) -> bytes:
    name = f"the open file {name_of(file) or ''}".rstrip()
    try:
        data = file.read(limit + 1)
    except TypeError as error:  # such as cv2.VideoCapture, whose read() gives a frame
        raise VideoError(f"{name} is a {type(file).__name__}; pass the path of the video, or its frames") from error
    if isinstance(data, str):
        raise VideoError(f"{name} is opened as text; open it as binary ('rb')")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise VideoError(f"{name} is a {type(file).__name__}; pass the path of the video, or its frames")
    if not data:
        raise VideoError(f"{name} has nothing to read; is it at its end?")
    if len(data) > limit:
        raise VideoError(f"{name} is larger than {limit >> 20} MiB; pass its path, or budget=Budget(bytes=...)")
    return bytes(data)


def _download(url: str, limit: int) -> bytes:
    """The bytes behind a URL, refusing error pages, web pages and floods."""
    request = urllib.request.Request(url, headers={"User-Agent": "mer_hf"})
    try:
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT) as response:
            kind = response.headers.get_content_type()
            if kind in ("text/html", "application/xhtml+xml"):
                raise VideoError(f"{url} answers with a web page, not a video; pass the address of the file itself")
            announced = int(response.headers.get("Content-Length") or 0)
            data = _read_limited(response, url, limit)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise VideoError(f"{url} answers {error.code} {error.reason}") from error
    except VideoError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # no host, no answer, or no proper address
        raise VideoError(f"{url} cannot be downloaded: {getattr(error, 'reason', error)}") from error
    if len(data) < announced:
        raise VideoError(f"{url} broke off after {len(data)} of {announced} bytes; try again")
    if not data:
        raise VideoError(f"{url} is empty (0 bytes)")
    return data


def _read_limited(response: SupportsRead, url: str, limit: int) -> bytes:
    data, deadline = bytearray(), time.monotonic() + DOWNLOAD_DEADLINE
    while chunk := response.read(2**20):
        data += chunk
        if len(data) > limit:
            raise VideoError(f"{url} is larger than {limit >> 20} MiB; download it and cut out the clip first")
        if time.monotonic() > deadline:
            raise VideoError(f"{url} takes longer than {DOWNLOAD_DEADLINE:.0f} s; download it first")
    return bytes(data)


def _decode(file: BinaryIO, wanted: _Wanted, log: _Log) -> Iterator[tuple[np.ndarray, float]]:
    """An open file -> frames with their times, from 0."""
    name, budget = wanted.name, wanted.budget
    shape = previous = rotation = matrix = None
    options = _options(budget)
    try:
        with av.open(file, "r", options=options, metadata_errors="replace") as container:
            stream = _video_stream(container, name, log)
            budget.check_size(stream.codec_context.width, stream.codec_context.height, name)
            stream.codec_context.thread_count = 1  # clips are short, and callers decode several at once
            strict = {"err_detect": "explode"} if stream.codec_context.name == "mjpeg" else {}
            stream.codec_context.options = {"max_pixels": options["max_pixels"], **strict}
            rate = float(stream.average_rate or DEFAULT_FPS)
            log.announce(stream, container)
            wanted.check_length(log.announced_frames or rate * (log.announced or 0), rate)
            pixel = _pixel_shape(stream.sample_aspect_ratio)
            for frame, seconds in _timed(container, stream, wanted, log):
                if previous is not None and (seconds is None or seconds <= previous):
                    log.untimed += seconds is not None and _has_index(container)  # others number frames as coded
                    seconds = previous + 1 / rate  # raw streams have no times, damaged ones go back
                previous = seconds or 0.0
                budget.check_size(frame.width, frame.height, name)
                if frame.rotation != rotation:
                    rotation, matrix = frame.rotation, _display_matrix(frame)
                image = _shown(frame, pixel, matrix, wanted)
                if shape is not None and image.shape != shape:
                    raise VideoError(
                        f"{name} changes its size at frame {log.frames}, from {size_text(shape)} to "
                        f"{size_text(image.shape)} (width x height); cut out a part of one size"
                    )
                shape = image.shape
                log.look_at(frame, previous, wanted.start)
                yield image, previous
    except (av.FFmpegError, MemoryError) as error:
        log.broken = error
    if previous is None:
        reason = f" cannot be decoded as a video: {_reason(log.broken)}" if log.broken else " holds no frames"
        raise VideoError(name + reason) from log.broken


def _timed(
    container: InputContainer, stream: av.VideoStream, wanted: _Wanted, log: _Log
) -> Iterator[tuple[av.VideoFrame, float | None]]:
    """Decoded frames with seconds from the first one of the file, from a key frame before the start that is wanted."""
    frames = _decoded(container, stream, log)
    frame = next(frames, None)
    if frame is None:
        return
    origin = frame.time
    tick = stream.time_base
    if wanted.start > 0 and wanted.fps is None and origin is not None and tick and _has_index(container):
        container.seek(int((origin + wanted.start) / tick), stream=stream)
        frames = _decoded(container, stream, log)
        landed = next(frames, None)
        if landed is None or landed.time is None or landed.time > origin + wanted.start:
            container.seek(stream.start_time or 0, stream=stream)
            frames = _decoded(container, stream, log)
            landed = next(frames, None)
        frame = landed
    while frame is not None:
        yield frame, None if frame.time is None or origin is None else frame.time - origin
        frame = next(frames, None)


def _has_index(container: InputContainer) -> bool:
    return container.format.name.split(",")[0] in SEEKABLE


def _decoded(container: InputContainer, stream: av.VideoStream, log: _Log) -> Iterator[av.VideoFrame]:
    """Decoded frames; pieces that cannot be decoded are counted and passed over."""
    is_ffv1 = stream.codec_context.name == "ffv1"
    for packet in container.demux(stream):
        if is_ffv1 and _contradicts_checksums(bytes(packet)):
            log.unsound.add(packet.pts)
        try:
            frames = packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            if not log.lost and not log.frames:
                log.broken = error  # said where no frame follows
            log.lost += 1
            continue
        if frames:
            log.broken = None
        yield from frames


def _contradicts_checksums(packet: bytes) -> bool:
    """Whether a slice of an FFV1 picture contradicts its checksum (RFC 9043, 4.9), of which FFmpeg says nothing.

    A slice ends with its size, 3 bytes, a status and the checksum, by which the rest of a division over all of it is 0.
    What is no chain of such slices has no checksums, or is refused by FFmpeg.
    """
    mirrored, end, rests = packet.translate(MIRRORED_BITS), len(packet), []  # zlib divides from the lowest bit
    while end >= SLICE_END and (start := end - SLICE_END - int.from_bytes(packet[end - 8 : end - 5])) >= 0:
        rests.append(zlib.crc32(mirrored[start:end], 2**32 - 1) ^ (2**32 - 1))
        end = start
    return end == 0 and any(rests)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """The matrix by which a frame asks to be shown, as of `as_shown`; None where it does not."""
    # `frame.side_data` holds what holds the frame, and so keeps it for ever (PyAV 18.1)
    # ty: ignore[too-many-positional-arguments] - PyAV declares no __init__
    data = SideDataContainer(frame).get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    return (a, b, c, d) if a or b or c or d else None


def _shown(
    frame: av.VideoFrame,
    pixel: tuple[Fraction | int, Fraction | int],
    matrix: tuple[int, int, int, int] | None,
    wanted: _Wanted,
) -> np.ndarray:
    """The pixels of a decoded frame as it asks to be shown."""
    image = _luma(frame) if wanted.grey else frame.to_ndarray(format="rgb24")
    if frame.interlaced_frame:
        image = _upper_field(image)
    if pixel != (1, 1):
        width, height = (round(length * factor) for length, factor in zip(image.shape[1::-1], pixel, strict=True))
        wanted.budget.check_size(width, height, wanted.name)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image if matrix is None else as_shown(image, *matrix)


def _upper_field(image: np.ndarray) -> np.ndarray:
    """The even rows of a picture, the odd ones interpolated between them: one moment instead of two."""
    if len(image) < 3:
        return image
    rows = np.arange(len(image), dtype=np.float32)
    rows = np.minimum(rows, len(image) - 1 - (len(image) - 1) % 2) / 2
    columns = np.arange(image.shape[1], dtype=np.float32)
    upper = np.ascontiguousarray(image[::2])
    return cv2.remap(upper, *np.meshgrid(columns, rows), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _pixel_shape(ratio: Fraction | None) -> tuple[Fraction | int, Fraction | int]:
    """By what to stretch the width and the height so that pixels are square: one of the two is 1."""
    if not ratio or ratio == 1 or not 1 / WIDEST_PIXEL <= ratio <= WIDEST_PIXEL:
        return 1, 1
    return (ratio, 1) if ratio > 1 else (1, 1 / ratio)


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """The luma of a decoded frame, (H, W) uint8 from 0 to 255, copied out of its plane where it has one."""
    if frame.format.name not in LUMA_FORMATS:
        return cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY)
    plane = frame.planes[0]
    data = np.frombuffer(plane, np.uint8)  # ty: ignore[no-matching-overload] - a buffer, which PyAV does not declare
    luma = data.reshape(plane.height, plane.line_size)[:, : plane.width]
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith(("yuvj", "gray"))
    return luma.copy() if full else cv2.LUT(luma, EXPANSION)


def _video_stream(container: InputContainer, name: str, log: _Log) -> av.VideoStream:
    """The largest moving picture; a cover image of an audio file, or a strip of thumbnails, is none."""
    kinds = Disposition
    still = kinds.attached_pic | kinds.timed_thumbnails | kinds.still_image
    streams = [stream for stream in container.streams.video if not stream.disposition & still]
    if not streams:
        found = ", ".join(stream.type for stream in container.streams) or "none"
        raise VideoError(f"{name} has no video stream (streams found: {found})")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(f"{name} is coded in a way that this FFmpeg does not know; convert it, to H.264 say")
    largest = max(known, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    if len(streams) > 1:
        size = f"{largest.codec_context.width} x {largest.codec_context.height}"
        log.notes.append(f"the file holds {len(streams)} videos; the largest ({size}) is taken")
    return largest


__all__ = [
    "BUDGET",
    "DEFAULT_FPS",
    "Budget",
    "Video",
    "VideoError",
    "announced_seconds",
    "as_batch",
    "load_video",
    "stream_video",
]
