"""The frames of a corpus: the folder that holds the clips, the folder of a clip, and the images in it."""

import fnmatch
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mer_hf.corpora.errors import AnnotationError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
LAST_INTEGER = re.compile(r"([0-9]+)[^0-9]*$")

# Where the clips are found no deeper than this, deeper folders are not looked at; SMIC-E lies deepest.
FRAME_ROOT_DEPTH = 3
DEEPEST_FRAME_ROOT = 5


class Frame(NamedTuple):
    """One frame on disk."""

    number: int
    path: str


# --- folders ----------------------------------------------------------------------------------------------------------


def entries(folder: Path) -> list[os.DirEntry]:
    """What lies in a folder, by name; nothing where it may not be read (`lost+found`)."""
    # beside hidden files: what Excel leaves beside an open sheet, and the shadow tree in an archive made on a Mac
    passed_over = (".", "~$", "__MACOSX")
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(passed_over)), key=lambda e: e.name)
    except OSError:
        return []


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder."""

    def is_folder(entry: os.DirEntry) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link to itself
            return False

    return [entry.name for entry in entries(folder) if is_folder(entry)]


def levels(root: Path, depth: int) -> Iterator[list[Path]]:
    """`root`, then the folders in it, then those in them, down to `depth` levels."""
    level = [root]
    for _ in range(depth):
        yield level
        level = [folder / name for folder in level for name in subfolders(folder)]
    yield level


class Tree:
    """The folders of one data folder, each listed once.

    Args:
        top: The data folder, resolved; nothing outside it is a frame.
    """

    def __init__(self, top: Path):
        self.top = top
        self._listed: dict[Path, list[str]] = {}
        self._fits: dict[tuple[Path, str], list[str]] = {}

    def subfolders(self, folder: Path) -> list[str]:
        """As the function, but from memory the second time."""
        if folder not in self._listed:
            self._listed[folder] = subfolders(folder)
        return self._listed[folder]

    def find(self, root: Path, pattern: str) -> list[Path]:
        """The folders below `root` that a pattern names, one component a level; `*` is any text.

        The case of letters counts only where a folder fits exactly: CAS(ME)^3 has `spNO.1` in its sheet and on some
        disks `spNo.1`.
        """
        found = [root]
        for component in pattern.split("/"):
            found = [folder / name for folder in found for name in self._fitting(folder, component)]
        return found

    def _fitting(self, folder: Path, component: str) -> list[str]:
        key = folder, component
        if key not in self._fits:
            names = self.subfolders(folder)
            folded = component.casefold()
            if glob.has_magic(component):
                exact = [name for name in names if fnmatch.fnmatchcase(name, component)]
                alike = exact or [name for name in names if fnmatch.fnmatchcase(name.casefold(), folded)]
            elif component in names:
                alike = [component]
            else:
                alike = [name for name in names if name.casefold() == folded]
            self._fits[key] = alike
        return self._fits[key]

    def match(self, root: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
        """The folders below `root` that fit a pattern with fields in braces, and what stands for the fields.

        `{number}` is an integer, any other field any text.
        """
        found: list[tuple[Path, dict[str, str]]] = [(root, {})]
        for component in pattern.split("/"):
            expression = _expression(component)
            found = [
                (folder / name, {**fields, **fits.groupdict()})
                for folder, fields in found
                for name in self.subfolders(folder)
                if (fits := expression.fullmatch(name))
            ]
        return found

    def check_inside(self, path: str | Path) -> None:
        """Refuse what leads out of the data folder by a link.

        Raises:
            AnnotationError: It does.
        """
        if not Path(os.path.realpath(path)).is_relative_to(self.top):
            raise AnnotationError(
                f"{path} is a link out of the data folder {self.top}, to {os.path.realpath(path)}. Put the frames "
                "themselves there, or pass the folder that the link points to as data_dir=."
            )


def _expression(component: str) -> re.Pattern:
    """`s{number}` -> `s(?P<number>[0-9]+)`; `*` -> any text."""
    parts = re.split(r"(\{\w+[^}]*\}|\*)", component)
    return re.compile("".join(map(_part_expression, parts)), re.IGNORECASE)


def _part_expression(part: str) -> str:
    if part == "*":
        return ".*"
    if not part.startswith("{"):
        return re.escape(part)
    name = re.findall(r"\w+", part)[0]
    return f"(?P<{name}>{'[0-9]+' if name == 'number' else '.+'})"


class FrameRoot(NamedTuple):
    """A folder that holds clips. The greater is the one that is more likely meant."""

    named: int  # how many folders of the released path are there by name
    clips: int
    depth: int  # negative: of two that are doubled, the upper one
    folder: Path


def find_frame_root(
    data_dir: Path, path: str, clips_in: Callable[[Path], list[Path]], by_name_only: bool = False
) -> FrameRoot | None:
    """The folder in or below `data_dir` under which the clips lie.

    Args:
        data_dir: Where to look.
        path: The folder as the corpus releases it, e.g. `SMIC_all_raw/HS`.
        clips_in: The clips that lie below a folder.
        by_name_only: Whether the last folder of `path` must be there by name.

    Returns:
        Of the folders that hold clips, the one that is most like `path`, then the one with most clips; None where no
        folder holds any.
    """
    names = path.casefold().split("/")

    def names_in(folder: Path) -> list[str]:
        # the given folder may be the one that is looked for, or stand in it
        parts = (*data_dir.parts[-3:], *folder.relative_to(data_dir).parts)
        return [name for name in names if name in [part.casefold() for part in parts]]

    found, level = [], [data_dir]
    for depth in range(DEEPEST_FRAME_ROOT + 1):
        if depth > FRAME_ROOT_DEPTH and found:
            break
        below = []
        for folder in level:
            clips = clips_in(folder)
            if clips and (not by_name_only or names[-1] in names_in(folder)):
                found.append(FrameRoot(len(names_in(folder)), len(clips), -depth, folder))
            subjects = {clip.relative_to(folder).parts[0] for clip in clips}
            below += [folder / name for name in subfolders(folder) if name not in subjects]
        level = below
    return max(found, default=None)


# --- images -----------------------------------------------------------------------------------------------------------


def is_image(entry: os.DirEntry) -> bool:
    """Whether it is named like a frame."""
    stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a Path for each of 18 000 frames is slow
    return suffix.lower() in IMAGE_SUFFIXES and bool(LAST_INTEGER.search(stem)) and not entry.name.startswith(".")


def list_frames(clip_folder: Path, tree: Tree | None = None) -> list[Frame]:
    """The images of a clip, sorted by the last integer of their names, for padding varies within one corpus.

    Args:
        clip_folder: Where they lie.
        tree: Where given, no image may be a link out of it.

    Raises:
        AnnotationError: Two images carry the same number, so that it is not known which belongs to the clip; one is a
            link out of the data folder; a name is no Unicode, which no table can hold; or the folder cannot be read.
    """
    frames = []
    try:
        str(clip_folder).encode()
        with os.scandir(clip_folder) as found:
            for entry in found:
                if not is_image(entry):
                    continue
                if entry.is_symlink() and tree is not None:
                    tree.check_inside(entry.path)
                entry.name.encode()
                number = LAST_INTEGER.search(os.path.splitext(entry.name)[0])  # noqa: PTH122
                if number and entry.is_file():
                    frames.append(Frame(int(number[1]), entry.path))
    except OSError as error:
        raise AnnotationError(f"{clip_folder} cannot be read: {error.strerror}.") from error
    except UnicodeEncodeError as error:
        raise AnnotationError(f"{error.object!r} in {clip_folder!r} is a name in no Unicode; rename it.") from error
    frames.sort()
    for first, second in itertools.pairwise(frames):
        if first.number == second.number:
            raise AnnotationError(
                f"{clip_folder} has two images for the frame {first.number}: {Path(first.path).name} and "
                f"{Path(second.path).name}. Keep one of them."
            )
    return frames
