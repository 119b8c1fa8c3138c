"""What was given as a video: one or several, frames in which order, and how much of it may be held.

    sources -> as_batch -> one source each -> its pictures in order, or its array -> frames, one by one

Files that are to be decoded as videos are the matter of `decoding_rcn`.
"""

import contextlib
import io
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeGuard, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import cv2
import numpy as np
import torch
from PIL import Image, ImageSequence

from .errors_rcn import MerHfError

DEFAULT_FPS = 25.0
"""Frames per second of an array or a list of images for which no rate is given."""
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What tells the path of a frame from the path of a video."""
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may open; others of its formats run programs (EPS) or refer to other files."""
CHANNELS = (1, 3, 4)
SHALLOWEST = 10
"""Bits of a deep picture at least, where the first one is so dark that it would do with fewer."""

# EXIF 2.3, 4.6.4: how the rows and columns of a picture are shown, as (a, b, c, d) of `as_shown`
ORIENTATIONS = {2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1), 5: (0, 1, 1, 0)}
ORIENTATIONS |= {6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0)}
ORIENTATION_TAG = 0x0112


class VideoError(MerHfError):
    """A source that is not a readable video; the message says what was found and what to do."""


@dataclass(frozen=True)
class Budget:
    """What one video may ask of the machine. More is refused before the work, where its header says so.

    Args:
        pixels: of a frame as it is shown; by default those of 8K.
        frames: of a clip, whose crops are held, or of a list of images.
        bytes: held at once: an encoded video out of an address or an open file; a decoded one in `load_video`; the full
            frames that wait until the face is measured.
    """

    pixels: int = 7680 * 4320
    frames: int = 4096
    bytes: int = 2**30

    def check_size(self, width: int, height: int, name: str) -> None:
        """Refuse frames that are too large.

        Raises:
            VideoError: they are.
        """
        if width * height > self.pixels:
            raise VideoError(
                f"{name} is {width} x {height} pixels, more than {self.pixels:,}; make it smaller, or pass "
                "budget=Budget(pixels=...) if you trust it"
            )

    def check_length(self, frames: float, name: str) -> None:
        """Refuse clips that are too long.

        Raises:
            VideoError: they are.
        """
        if frames > self.frames:
            raise VideoError(
                f"{name} has more than {self.frames:,} frames, and is to show one expression; pass start= and end= in "
                "seconds, cut it, or pass budget=Budget(frames=...)"
            )


BUDGET = Budget()


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


Picture: TypeAlias = (
    str | Path | bytes | bytearray | memoryview | dict[str, object] | Image.Image | np.ndarray | torch.Tensor
)
"""One picture in any form, see `as_batch`."""
VideoSource: TypeAlias = Picture | Video | BinaryIO | Sequence[Picture]
"""One video in any form, see `as_batch`."""
Item = TypeVar("Item")


# --- one or several ---


def as_batch(sources: VideoSource | Sequence[VideoSource]) -> tuple[list[VideoSource], bool]:
    """Tell one video from several. These are the rules, and the only place where they stand.

    A **picture** is an image file (path, bytes, or the `{"path", "bytes"}` of a datasets `Image` column) or an opened
    PIL image that holds one picture; an array (H, W) or (H, W, C), C in 1, 3, 4; a tensor also (1, H, W).
    **One video** is a list of pictures; an image file or PIL image that holds several (animated WebP, PNG or GIF, a
    stack of TIFF); a folder of numbered images; a video file in any form (path, address, bytes, open file, `{"path",
    "bytes"}`); a `Video`; an array (T, H, W) or (T, H, W, C); a tensor also (T, C, H, W).
    **Several videos** are a list of anything else, or an array of five dimensions, each of whose items is one video.
    A tensor that can be read in two ways is refused: (3 or 4, H, W), a colour picture or a grey video, and one of four
    dimensions with two that could be channels.

    Image files of one video are put in the order of their numbers, see `in_order`.

    Returns:
        The sources, one a video, each for `stream_video`; and whether `sources` was a single one.

    Raises:
        VideoError: the list is empty, mixes pictures and videos, or holds what can be read in two ways.
    """
    if isinstance(sources, np.ndarray | torch.Tensor):
        videos: list[VideoSource] = [*sources] if sources.ndim == 5 else [sources]
        return videos, sources.ndim != 5
    if isinstance(sources, str | bytes | bytearray | memoryview) or not isinstance(sources, Sequence):
        return [cast(VideoSource, sources)], True
    if len(sources) == 0:
        raise VideoError("the list is empty: it is neither a video nor a batch of videos")
    pictures = [is_picture(source) for source in sources]
    if all(pictures):
        return [in_order(cast(Sequence[Picture], sources))], True
    if any(pictures):
        raise VideoError(
            f"item {pictures.index(True)} of the list is an image and item {pictures.index(False)} is not; give the "
            "images of one video as a list of their own, or a list of videos"
        )
    ordered = [in_order(source) if _all_pictures(source) else source for source in sources]
    return ordered, False


def _all_pictures(source: object) -> TypeGuard[Sequence[Picture]]:
    return isinstance(source, list | tuple) and len(source) > 0 and all(map(is_picture, source))


def is_picture(source: object) -> bool:
    """Whether a source is one picture, by the rules of `as_batch`.

    Raises:
        VideoError: for a tensor that can be read in two ways.
    """
    if isinstance(source, Image.Image):
        return not _is_animated(source)
    if isinstance(source, np.ndarray | torch.Tensor):
        return source.ndim == 2 or (source.ndim == 3 and _channel_axis(source) is not None)
    file = file_of(source)
    if isinstance(file, bytes | bytearray | memoryview):
        return _opens_as_picture(io.BytesIO(file)) is True
    if not isinstance(file, str | Path) or is_address(file) or Path(file).suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return _opens_as_picture(file) is not False  # a name that does not open is still named like a picture


def file_of(source: object) -> object:
    """The bytes of a `{"path", "bytes"}`, or else its path; any other source as it is; a file:// address as a path."""
    if isinstance(source, dict) and ("bytes" in source or "path" in source):
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    if isinstance(source, str) and source.lower().startswith("file://"):
        return url2pathname(urlsplit(source).path)
    return source


def is_address(source: object) -> TypeGuard[str]:
    """Whether a source is an http(s) address."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def name_of(source: object) -> str | None:
    """What a source is called in messages; None where it has no name."""
    if isinstance(source, list | tuple):
        ends = _all_names([source[0], source[-1]] if source else [])
        return " ... ".join(ends) if ends else None
    if isinstance(source, dict):
        source = source.get("path")
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return str(name) if isinstance(name, str) else None


def _all_names(sources: Sequence[object]) -> list[str] | None:
    """What sources are called; None where one has no name."""
    names = [name for source in sources if (name := name_of(source)) is not None]
    return names if len(names) == len(sources) else None


@contextlib.contextmanager
def naming(name: str | None) -> Generator[None]:
    """Let the package's errors say which video they speak of."""
    try:
        yield
    except MerHfError as error:
        if name is None or name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error


def is_animation(source: object) -> bool:
    """Whether a source is an image of several pictures that Pillow is to read; FFmpeg reads GIF files."""
    if isinstance(source, Image.Image):
        return _is_animated(source)
    file = file_of(source)
    if isinstance(file, bytes | bytearray | memoryview):
        return _opens_as_picture(io.BytesIO(file)) is False and bytes(file[:3]) != b"GIF"
    if not isinstance(file, str | Path) or is_address(file):
        return False
    return Path(file).suffix.lower() in IMAGE_SUFFIXES and _opens_as_picture(file) is False


def _is_animated(image: Image.Image) -> bool:
    # an MPO is the JPEG of a phone with a preview, or the other eye's view, behind it
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def _opens_as_picture(file: str | Path | io.BytesIO) -> bool | None:
    """Whether an image file holds one picture; None where it does not open as an image."""
    try:
        with _pillow(), Image.open(file, formats=IMAGE_FORMATS) as image:
            return not _is_animated(image)
    except VideoError:
        return None


@contextlib.contextmanager
def _pillow(name: str = "it") -> Generator[None]:
    """Whatever Pillow says of what is no image, or a damaged one, is a VideoError."""
    try:
        yield
    except MerHfError:
        raise
    except Exception as error:  # Pillow's readers raise what their lines happen to raise, from KeyError to struct.error
        raise VideoError(f"{name} cannot be read as an image: {error or type(error).__name__}") from error


# --- the order of image files ---


def numbers_of(names: Sequence[str]) -> list[int] | None:
    """The numbers of files by their names: the last number by which they differ; None where there is none."""
    fields = [[int(digits) for digits in re.findall("[0-9]+", Path(name).stem)] for name in names]
    if len({len(numbers) for numbers in fields}) > 1:
        return None
    columns = [list(column) for column in zip(*fields, strict=True)]
    return next((column for column in reversed(columns) if len(set(column)) == len(names)), None)


def in_order(pictures: Sequence[Item]) -> list[Item]:
    """The pictures of one video in the order of their numbers, where they are files that have such.

    Lists that are sorted as text, as shells sort them, are sorted by number: img9 before img10. Where names are missing
    or do not number the pictures, they stay in the order in which they were given.

    Raises:
        VideoError: the pictures are sorted neither by number nor as text, so that it is not known which is meant.
    """
    names = _all_names(pictures)
    numbers = None if names is None else numbers_of(names)
    if names is None or numbers is None or numbers == sorted(numbers):
        return list(pictures)
    as_text = [names, [re.sub(r"\W|_", "", name).casefold() for name in names]]  # bytes, and most languages' collation
    if not any(keys == sorted(keys) for keys in as_text):
        back = next(index for index in range(1, len(numbers)) if numbers[index] < numbers[index - 1])
        raise VideoError(
            f"the frames run backwards: {Path(names[back]).name} comes after {Path(names[back - 1]).name}; sort them "
            "by their numbers, or pass the folder that holds them"
        )
    return [pictures[index] for index in np.argsort(numbers)]


def pictures_in(folder: Path) -> list[str]:
    """The images in a folder, in the order of their numbers.

    Raises:
        VideoError: there are none, or their names do not number them.
    """
    try:
        found = sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise VideoError(f"{folder} cannot be read: {error.strerror}") from error
    found = [path for path in found if not Path(path).name.startswith(".")]
    if not found:
        raise VideoError(f"{folder} is a folder without images; pass a video file, or the folder of a video's frames")
    if len(found) > 1 and numbers_of(found) is None:
        names = f"{Path(found[0]).name} ... {Path(found[-1]).name}"
        raise VideoError(f"the images in {folder} ({names}) are not numbered; pass them as a list in their order")
    return in_order(found)


def missing_frames(pictures: Sequence[object]) -> str | None:
    """What is missing between the numbers of ordered pictures, in words; None where nothing is."""
    names = _all_names(pictures)
    numbers = None if names is None or len(names) < 3 else numbers_of(names)
    if names is None or numbers is None:
        return None
    steps = np.diff(numbers)
    largest = int(steps.argmax())
    if steps[largest] <= np.median(steps):
        return None
    before, after = (Path(names[index]).name for index in (largest, largest + 1))
    return f"frames are missing between {before} and {after}; what the face did there is not seen"


# --- frames that are frames already ---


def in_colour(frames: np.ndarray, grey: bool) -> Iterator[np.ndarray]:
    """Frames (T, H, W, 1 or 3) uint8, one by one as they are wanted."""
    for frame in frames:
        if grey:
            yield cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.shape[-1] == 3 else frame[..., 0]
        else:
            yield frame if frame.shape[-1] == 3 else np.repeat(frame, 3, axis=-1)


def _channel_axis(array: np.ndarray | torch.Tensor) -> int | None:
    """Where the channels are in (..., H, W, C), or in a tensor's (..., C, H, W); None where there are none.

    Raises:
        VideoError: for a tensor that has two such places.
    """
    axes = [-1]
    if isinstance(array, torch.Tensor):
        axes.append(-3)
        one_picture = array.ndim == 3 and array.shape[-1] not in CHANNELS and array.shape[0] in CHANNELS[1:]
        if one_picture or (array.ndim == 4 and array.shape[0] in CHANNELS[1:] and array.shape[1] in CHANNELS[1:]):
            readings = ["a colour picture, (channels, height, width)", "a grey video, (frames, height, width)"]
            if array.ndim == 4:
                readings = ["(frames, channels, height, width)", "(channels, frames, height, width)"]
            raise VideoError(
                f"a tensor of shape {tuple(array.shape)} can be read as {readings[0]}, or as {readings[1]}; pass it "
                "with the channels last, (frames, height, width, channels)"
            )
    return next((axis for axis in axes if array.shape[axis] in CHANNELS), None)


def from_array(array: np.ndarray | torch.Tensor, name: str, budget: Budget = BUDGET) -> np.ndarray:
    """(T, H, W), (T, H, W, C), or a tensor's (T, C, H, W) -> (T, H, W, 1 or 3) uint8.

    Raises:
        VideoError: for another type or shape, or one that can be read in two ways.
    """
    if array.dtype not in (np.uint8, torch.uint8):
        raise VideoError(
            f"{name} has values of {array.dtype}; expected uint8, 0 to 255: for values in [0, 1] pass "
            "(255 * array).round().astype('uint8')"
        )
    if array.ndim == 3:
        array = array[None] if _channel_axis(array) is not None else array[..., None]
    axis = _channel_axis(array) if array.ndim == 4 else None
    if axis is None or 0 in array.shape:
        raise VideoError(
            f"{name} has the shape {tuple(array.shape)}; expected (frames, height, width), or that with 1, 3 or 4 "
            "channels last (tensors: or second), and at least one frame"
        )
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().numpy()
    array = np.moveaxis(array, axis, -1)[..., :3]
    budget.check_size(array.shape[2], array.shape[1], name)
    return np.ascontiguousarray(array)


# --- frames that are pictures ---


def from_pictures(pictures: Sequence[object], grey: bool, budget: Budget = BUDGET) -> Iterator[np.ndarray]:
    """The pictures of one video, one by one: (H, W, 3) or, grey, (H, W) uint8.

    Pictures of more than 8 bits are scaled to 8, by the bits that the first of them uses: a camera of 12 bits whose
    files have 16 is not dark.

    Raises:
        VideoError: one cannot be read, is larger than the budget, or differs from the first in size or depth.
    """
    if not pictures:
        raise VideoError("the list of frames is empty; a video needs at least one")
    names = [f"frame {index}" for index in range(len(pictures))]
    for index, picture in enumerate(pictures):
        if name_of(picture) is not None:
            names[index] += f" ({name_of(picture)})"
    loaded = (_load_picture(picture, name, grey, budget) for picture, name in zip(pictures, names, strict=True))
    return _alike(zip(names, loaded, strict=True), grey)


def from_animation(source: object, grey: bool, budget: Budget = BUDGET) -> Iterator[tuple[np.ndarray, float]]:
    """The pictures in an image file, or an opened one, with their times, seconds, by how long each is shown.

    Raises:
        VideoError: as `from_pictures`.
    """
    if not isinstance(source, Image.Image):
        found = cast(str | Path | bytes | bytearray | memoryview, file_of(source))
        file = found if isinstance(found, str | Path) else io.BytesIO(found)
        with _pillow(), Image.open(file, formats=IMAGE_FORMATS) as image:
            yield from from_animation(image, grey, budget)
        return
    shown: list[float] = []

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        with _pillow():
            for index, picture in enumerate(ImageSequence.Iterator(source)):
                budget.check_length(index + 1, "the image")
                pixels = _pixels(picture, None, f"frame {index}", grey, budget)
                shown.append(picture.info.get("duration", 0) / 1000 or 1 / DEFAULT_FPS)
                yield f"frame {index}", pixels

    seconds = 0.0
    for frame in _alike(pictures(), grey):
        yield frame, seconds
        seconds += shown[-1]


def _alike(pictures: Iterator[tuple[str, np.ndarray]], grey: bool) -> Iterator[np.ndarray]:
    """Named pictures of one size, uint8 or uint16, all brought to 8 bits in one way; grey where that is wanted."""
    shape = bits = None
    for name, frame in pictures:
        if shape is not None and frame.shape[:2] != shape:
            raise VideoError(
                f"{name} is {size_text(frame.shape)} and frame 0 is {size_text(shape)} (width x height): all frames of "
                "a video must be equally large"
            )
        shape = frame.shape[:2]
        if frame.dtype == np.uint16:
            bits = bits or _bits(frame)
            frame = _eight_bits(frame, bits, name)
        if grey and frame.ndim == 3:
            frame = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)  # Pillow's luma rounds otherwise
        yield frame


def _load_picture(picture: object, name: str, grey: bool, budget: Budget) -> np.ndarray:
    """One picture in any form -> (H, W, 3) or, where grey is wanted, perhaps (H, W), uint8 or uint16."""
    if isinstance(picture, np.ndarray | torch.Tensor):
        return next(in_colour(from_array(picture[None], name, budget), grey))
    picture = file_of(picture)
    with _pillow(name):
        if isinstance(picture, Image.Image):
            return _pixels(picture, None, name, grey, budget)
        if not isinstance(picture, str | Path | bytes | bytearray | memoryview):
            raise VideoError(f"{name} is a {type(picture).__name__}; expected an image: PIL, uint8 array, path or dict")
        file = picture if isinstance(picture, str | Path) else io.BytesIO(picture)
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            return _pixels(image, file, name, grey, budget)


def _pixels(
    image: Image.Image, file: str | Path | io.BytesIO | None, name: str, grey: bool, budget: Budget
) -> np.ndarray:
    """The pixels of an opened picture, upright; `file` is where they can be read again with all of their bits."""
    budget.check_size(*image.size, name)
    is_deep_colour = image.mode == "RGB" and ";16" in str(getattr(image, "tile", ""))
    if image.mode == "F" or (is_deep_colour and file is None):
        raise VideoError(f"{name} has more than 8 bits (mode {image.mode}), which Pillow would cut; pass its file")
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
            raise VideoError(f"{name} has values from {pixels.min()} to {pixels.max()}; scale it to 8 or 16 bits")
        pixels = pixels.astype(np.uint16)
    elif is_deep_colour and file is not None:
        data = Path(file).read_bytes() if isinstance(file, str | Path) else file.getvalue()
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
            raise VideoError(f"{name} has more than 8 bits in a form that is not read; scale it to 8")
        pixels = pixels[..., 2::-1]
    else:
        if grey:
            image.draft("L", None)  # of a JPEG, only the luma is decoded
        pixels = np.asarray(image if grey and image.mode == "L" else image.convert("RGB"))
    if pixels.ndim == 2 and not grey:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    orientation = image.getexif().get(ORIENTATION_TAG) if file is not None else 1
    return as_shown(pixels, *ORIENTATIONS.get(orientation, (1, 0, 0, 1)))


def _bits(pixels: np.ndarray) -> int:
    """The depth of the camera behind a deep picture: the even number of bits that its brightest pixel takes."""
    bits = int(pixels.max()).bit_length()
    return max(SHALLOWEST, bits + bits % 2)


def _eight_bits(pixels: np.ndarray, bits: int, name: str) -> np.ndarray:
    """uint16 of so many bits -> uint8, rounded.

    Raises:
        VideoError: it has more bits.
    """
    if _bits(pixels) > bits:
        raise VideoError(
            f"{name} has values up to {pixels.max()}, while those of the first frame fit {bits} bits; "
            "scale all frames of the video to 8 bits alike"
        )
    return cv2.convertScaleAbs(pixels, alpha=255 / (2**bits - 1))


def as_shown(pixels: np.ndarray, across: int, turned_down: int, turned_across: int, down: int) -> np.ndarray:
    """Pixels as they are to be shown, by quarter turns and mirroring.

    Args:
        pixels: (H, W) or (H, W, C).
        across, turned_down, turned_across, down: the matrix (a, b, c, d) by which a pixel at x, y is shown at
            x' = a x + c y, y' = b x + d y; of other matrices than quarter turns, the nearest is taken.
    """
    if abs(across) + abs(down) < abs(turned_down) + abs(turned_across):
        pixels, across, down = pixels.swapaxes(0, 1), turned_across, turned_down
    pixels = pixels[:, ::-1] if across < 0 else pixels
    return np.ascontiguousarray(pixels[::-1] if down < 0 else pixels)


def size_text(shape: tuple[int, ...]) -> str:
    """`width x height` of (height, width, ...)."""
    return f"{shape[1]} x {shape[0]}"


__all__ = ["BUDGET", "DEFAULT_FPS", "Budget", "Video", "VideoError", "VideoSource", "as_batch"]
