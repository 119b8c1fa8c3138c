"""From a corpus on disk to clips.

A corpus is a declaration: a subclass of `CorpusBuilder` with class attributes and no code. The base does the work, in
this order:

    folder -> coding sheet -> rows of text -> corrected rows -> annotations -> labels -> frames -> a datasets.Dataset

Everything is read and checked when the builder is made, before the cache is looked at, because the cache key is made
of what was read: a changed sheet, changed frames or changed code cannot give old clips. No image is decoded.
"""

import csv
import dataclasses
import fnmatch
import hashlib
import io
import itertools
import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import datasets
import pandas as pd

from ..labels import LabelSet, native_label_set, normalize_emotion

logger = logging.getLogger(__name__)

CORRECTIONS = Path(__file__).parent / "corrections"

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
LAST_INTEGER = re.compile(r"(\d+)\D*$")

# A copy may lie one level down (`data/CASME2/`), and its folders may be doubled (`X/X/sub01`).
SHEET_DEPTH = 2
FRAME_ROOT_DEPTH = 3

# What the sheets write where the apex is not known.
NO_APEX = ("", "/", "\\", "-")


class MerDataError(ValueError):
    """Something is wrong with the data on disk; the message says what, where, and what to do."""


class CorpusNotFoundError(MerDataError):
    """The folder of a corpus, its sheet or its frames are not where they were looked for."""


class AnnotationError(MerDataError):
    """The sheet is there, but what it says cannot be read, or does not fit the frames on disk."""


class Columns(NamedTuple):
    """What the columns of a coding sheet are called, field by field."""

    subject: str
    name: str  # of the clip
    onset: str
    apex: str
    offset: str
    action_units: str
    emotion: str


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What the sheet says of one clip; frame numbers as released, inclusive."""

    subject: str
    name: str
    onset: int
    apex: int | None
    offset: int
    action_units: str
    emotion: str

    def __str__(self) -> str:
        """The clip's name inside its corpus; one clip name may stand for several onsets."""
        return f"{self.subject}/{self.name}@{self.onset}"


class Frame(NamedTuple):
    """One frame on disk; size and time of change stand in for its content in the cache key."""

    number: int
    path: str
    size: int
    mtime_ns: int


# --- the folder -------------------------------------------------------------------------------------------------------


def folders(root: Path, depth: int) -> Iterator[Path]:
    """`root` and the folders below it, nearest first, down to `depth` levels."""
    level = [root]
    yield root
    for _ in range(depth):
        level = [folder / entry.name for folder in level for entry in _entries(folder) if entry.is_dir()]
        yield from level


def _entries(folder: Path) -> list[os.DirEntry]:
    """What lies in a folder, by name; nothing where it may not be read (`lost+found`)."""
    # beside hidden files: what Excel leaves beside an open sheet, and the shadow tree in an archive made on a Mac
    passed_over = (".", "~$", "__MACOSX")
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(passed_over)), key=lambda entry: entry.name)
    except PermissionError:
        return []


def find_sheet(data_dir: Path, patterns: Sequence[str]) -> Path | None:
    """The newest coding sheet in or below `data_dir`, or else in the two folders above it.

    Args:
        data_dir: Where to look.
        patterns: File names as the corpus releases them, with wildcards, in any case.

    Returns:
        The file whose name carries the largest number, a date or a version; None where there is no sheet.
    """
    wanted = [pattern.lower() for pattern in patterns]

    def sheets(places: Iterable[Path]) -> list[Path]:
        return [
            folder / entry.name
            for folder in places
            for entry in _entries(folder)
            if any(fnmatch.fnmatchcase(entry.name.lower(), pattern) for pattern in wanted) and entry.is_file()
        ]

    def age(sheet: Path) -> tuple[int, str]:
        return max((int(number) for number in re.findall(r"\d+", sheet.stem)), default=-1), str(sheet)

    # whoever points at the frames themselves has the sheet one or two folders up
    found = sheets(folders(data_dir, SHEET_DEPTH)) or sheets(list(data_dir.parents)[:2])
    return max(found, key=age, default=None)


def find_frame_root(data_dir: Path, clip_folders: Iterable[str], names: Sequence[str]) -> Path | None:
    """The folder in or below `data_dir` under which the clips lie.

    Args:
        data_dir: Where to look.
        clip_folders: Where the clips lie below the folder that is looked for, e.g. `sub01/EP02_01f`.
        names: Names of that folder as the corpus releases it, the preferred ones first.

    Returns:
        Of the folders that hold at least one of the clips, the one in the release named first, then the one with most
        clips; None where no folder holds any.
    """
    clip_folders = set(clip_folders)
    firsts = {clip_folder.split("/")[0] for clip_folder in clip_folders}

    def preference(found: tuple[Path, int]) -> tuple[int, int, int]:
        folder, clips = found
        parts = folder.relative_to(data_dir.parent).parts
        release = next((rank for rank, name in enumerate(names) if name in parts), len(names))
        return release, -clips, len(parts)

    candidates = []
    for folder in folders(data_dir, FRAME_ROOT_DEPTH):
        if firsts.intersection(entry.name for entry in _entries(folder)):
            clips = sum((folder / clip_folder).is_dir() for clip_folder in clip_folders)
            if clips:
                candidates.append((folder, clips))
    return min(candidates, key=preference, default=(None, 0))[0]


# --- the sheet --------------------------------------------------------------------------------------------------------


def read_sheet(sheet: Path, columns: Columns) -> list[dict[str, str]]:
    """The rows of a coding sheet as text, field by field.

    The header is the first row, on any page of the workbook, that has every column; columns are known by name, without
    regard to case and spaces. Rows in which all of these columns are blank are left out.

    Args:
        sheet: An .xls or .xlsx file.
        columns: The names of the columns to read.

    Returns:
        One dict a row, field -> text; a whole number is written without a point, a blank cell is "".

    Raises:
        AnnotationError: The file cannot be read, or has no such header.
    """
    try:
        # from memory, for `datasets` puts its own read_excel into the modules of builders, which leaves files open
        content = io.BytesIO(sheet.read_bytes())
        pages = pd.read_excel(content, sheet_name=None, header=None, dtype=object, keep_default_na=False)
    except ImportError as error:
        raise AnnotationError(
            f"{sheet} is in the old .xls format, which needs one more package: `pip install xlrd`, or save the sheet "
            "as .xlsx beside it."
        ) from error
    except Exception as error:  # each of the readers below pandas fails in its own way
        raise AnnotationError(f"{sheet} cannot be read as a spreadsheet ({error}). Is the file complete?") from error

    wanted = {field: _column_key(column) for field, column in columns._asdict().items()}
    nearest: list[str] = []  # the row most like a header, to tell what was found
    for page in pages.values():
        rows = [[_cell_text(cell) for cell in row] for row in page.itertuples(index=False)]
        for number, row in enumerate(rows):
            header = [_column_key(cell) for cell in row]
            if set(wanted.values()) <= set(header):
                places = {field: header.index(key) for field, key in wanted.items()}
                records = [{field: body[place] for field, place in places.items()} for body in rows[number + 1 :]]
                return [record for record in records if any(record.values())]
            nearest = max(nearest, row, key=lambda cells: len(set(wanted.values()) & set(map(_column_key, cells))))
    found = set(map(_column_key, nearest))
    missing = [column for column in columns if _column_key(column) not in found]
    raise AnnotationError(
        f"{sheet} has no row with all the columns that the clips are read from. Missing: {missing}; found in the row "
        f"most like a header: {[cell for cell in nearest if cell]}."
    )


def _cell_text(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    # numbers may stand in a sheet as text, and whole ones as 46.0
    return re.sub(r"^(\d+)\.0+$", r"\1", str(cell).strip())


def _column_key(name: str) -> str:
    return "".join(name.split()).lower()


# --- corrections ------------------------------------------------------------------------------------------------------


class Correction(NamedTuple):
    """One value of a sheet that is known to be wrong."""

    clip: str  # subject/name
    field: str
    released: str  # what the sheet says; blank where the source of the correction does not tell
    corrected: str
    source: str


def read_corrections(file: Path) -> list[Correction]:
    """The corrections of a corpus; none where it has no file of them."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [Correction(**row) for row in csv.DictReader(lines)]


def correct(records: Sequence[dict[str, str]], corrections: Sequence[Correction]) -> list[dict[str, str]]:
    """The records with known mistakes put right, each change logged.

    A correction finds its clip by subject and name. Where the released value is known it applies only to a sheet that
    says just that, so a sheet that its authors have put right since is left alone. Where it is not known, the
    correction replaces whatever the sheet says.

    Args:
        records: As `read_sheet` returns them, with subjects spelt as the corpus spells its folders.
        corrections: As `read_corrections` returns them.
    """
    corrected = [dict(record) for record in records]
    for record, fix in itertools.product(corrected, corrections):
        released = record[fix.field]
        if fix.clip != f"{record['subject']}/{record['name']}" or released == fix.corrected:
            continue
        if fix.released in ("", released):
            logger.info("%s: %s %s -> %s (%s)", fix.clip, fix.field, released, fix.corrected, fix.source)
            record[fix.field] = fix.corrected
        else:
            logger.info(
                "%s: %s stays %s; the correction to %s is for a sheet that says %s",
                *(fix.clip, fix.field, released, fix.corrected, fix.released),
            )
    return corrected


# --- annotations ------------------------------------------------------------------------------------------------------


def parse_annotation(record: Mapping[str, str], emotions: Sequence[str]) -> Annotation:
    """One row of a sheet, understood.

    Args:
        record: As `read_sheet` returns it, with the subject spelt as the corpus spells its folders.
        emotions: The emotions of the corpus.

    Raises:
        AnnotationError: A name that is no folder name, a frame number that is no number, an onset after the offset, or
            an emotion that the corpus does not have. The message does not name the file.
    """
    name = record["name"]
    clip = f"{record['subject']}/{name}"
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise AnnotationError(f"{record['subject']}: the clip name {name!r} is not the name of one folder.")
    emotion = normalize_emotion(record["emotion"])
    if emotion not in emotions:
        raise AnnotationError(f"{clip}: unknown emotion {record['emotion']!r}; the corpus has {', '.join(emotions)}.")
    onset = _frame_number(clip, "onset", record["onset"])
    offset = _frame_number(clip, "offset", record["offset"])
    if onset > offset:
        raise AnnotationError(f"{clip}: the onset {onset} is after the offset {offset}.")
    return Annotation(
        subject=record["subject"],
        name=name,
        onset=onset,
        # an apex outside [onset, offset] is released so (SAMM 028_4_1) and is for the reader to judge
        apex=None if record["apex"] in NO_APEX else _frame_number(clip, "apex", record["apex"]),
        offset=offset,
        action_units=record["action_units"],
        emotion=emotion,
    )


def _frame_number(clip: str, field: str, text: str) -> int:
    if not re.fullmatch(r"\d+", text):
        raise AnnotationError(f"{clip}: the {field} {text!r} is not a frame number.")
    return int(text)


# --- frames -----------------------------------------------------------------------------------------------------------


def list_frames(clip_folder: Path) -> list[Frame]:
    """The images of a clip, sorted by the last integer of their names, for padding varies within one corpus.

    Raises:
        AnnotationError: Two images carry the same number, so that it is not known which belongs to the clip.
    """
    frames = []
    with os.scandir(clip_folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a Path for each of 18 000 frames is slow
            number = LAST_INTEGER.search(stem)
            if suffix.lower() in IMAGE_SUFFIXES and number and not entry.name.startswith(".") and entry.is_file():
                status = entry.stat()
                frames.append(Frame(int(number[1]), entry.path, status.st_size, status.st_mtime_ns))
    frames.sort()
    for first, second in itertools.pairwise(frames):
        if first.number == second.number:
            raise AnnotationError(
                f"{clip_folder} has two images for the frame {first.number}: {Path(first.path).name} and "
                f"{Path(second.path).name}. Keep one of them."
            )
    return frames


# --- the builder ------------------------------------------------------------------------------------------------------


class CorpusBuilder(datasets.GeneratorBasedBuilder):
    """The clips of one corpus as a `datasets.Dataset`. A subclass declares the attributes below; it needs no code."""

    corpus: ClassVar[str]  # as it stands in clip ids
    title: ClassVar[str]
    citation: ClassVar[str]
    homepage: ClassVar[str]
    license: ClassVar[str]
    request: ClassVar[str]  # how a copy is come by
    fps: ClassVar[float]
    resolution: ClassVar[tuple[int, int]]  # width, height
    tree: ClassVar[str]  # what the folder looks like, for the reader of an error
    sheets: ClassVar[tuple[str, ...]]  # file name patterns
    columns: ClassVar[Columns]
    frame_roots: ClassVar[tuple[str, ...]]  # the folders that hold the clips; the preferred release first
    subject_folder: ClassVar[str]  # from the subject's number to its folder
    clip_folder: ClassVar[str]  # below a frame root, from {subject} and {name}
    emotions: ClassVar[tuple[str, ...]]
    label_sets: ClassVar[tuple[LabelSet, ...]]

    def __init__(
        self,
        data_dir: str | os.PathLike | None = None,
        label_set: str = "3class",
        corrections: bool = True,
        fps: float | None = None,
        cache_dir: str | os.PathLike | None = None,
        num_proc: int | None = None,
    ):
        """Read and check the corpus; nothing is written yet.

        Args:
            data_dir: The folder of the corpus, a folder that holds it, or the folder of its frames; `default_data_dir`
                where it is None.
            label_set: `"native"`, or the name of one of the declared label sets.
            corrections: Whether known mistakes of the sheet are put right (`corrections/<corpus>.csv`).
            fps: The frame rate of the frames on disk where it is not the corpus's own, e.g. of a thinned copy.
            cache_dir: Where the Arrow files are kept; the cache of `datasets` by default.
            num_proc: Processes for `default_data_dir`, where it renders.

        Raises:
            CorpusNotFoundError: The folder, the sheet or the frames are not there.
            AnnotationError: The sheet cannot be understood or does not fit the frames.
            ValueError: An argument is wrong.
        """
        self.frame_rate = float(self.fps if fps is None else fps)
        if not (math.isfinite(self.frame_rate) and self.frame_rate > 0):
            raise ValueError(f"fps={fps!r}: the frame rate must be a positive number of frames a second.")
        self.labels = self._label_set(label_set)
        if data_dir is None:
            data_dir = self.default_data_dir(cache_dir, self.frame_rate, num_proc)
        folder = self._data_folder(data_dir)
        sheet = find_sheet(folder, self.sheets)
        if sheet is None:
            raise self._not_found(f"no coding sheet {' or '.join(self.sheets)}", folder)
        logger.info("%s: sheet %s", self.title, sheet)

        annotations = self._annotations(sheet, corrections)
        frame_root = find_frame_root(folder, map(self._clip_folder, annotations), self.frame_roots)
        if frame_root is None:
            raise self._not_found(
                f"no folder with the clips of {sheet}, such as {self._clip_folder(annotations[0])},", folder
            )
        logger.info("%s: frames %s", self.title, frame_root)

        kept = [annotation for annotation in annotations if self.labels.class_of(annotation.emotion)]
        self.summary = _summary(self.title, self.labels, annotations, kept)
        if not kept:
            raise AnnotationError(f"{self.summary} No clip of {sheet} is left; choose another label_set.")
        logger.info(self.summary)
        frames = self._frames(kept, frame_root, sheet)
        self.rows = [self._row(annotation, frames[annotation]) for annotation in kept]

        info = self._info()
        # With every row in the key the cache never gives what would not be read again now. Sizes and times of change
        # are in it because what is computed from the frames is cached under this key as well.
        described = [info.description, info.citation, info.homepage, info.license, repr(info.features)]
        key = json.dumps([described, self.rows, [frames[annotation] for annotation in kept]])
        super().__init__(
            cache_dir=None if cache_dir is None else str(cache_dir),
            dataset_name=self.corpus,
            config_name=label_set,
            hash=hashlib.sha256(key.encode()).hexdigest()[:32],
        )

    @classmethod
    def default_data_dir(cls, cache_dir: str | os.PathLike | None, fps: float, num_proc: int | None) -> Path:
        """The folder that is read when none is given. A licensed corpus has none.

        Raises:
            CorpusNotFoundError: Always, with how to come by the corpus.
        """
        raise CorpusNotFoundError(
            f"{cls.title} is licensed and cannot be downloaded for you: pass data_dir=, the folder of your copy.\n"
            f"{cls._how_to()}"
        )

    @classmethod
    def _label_set(cls, name: str) -> LabelSet:
        known = {labels.name: labels for labels in (native_label_set(cls.emotions), *cls.label_sets)}
        if name not in known:
            raise ValueError(f"{cls.title} has no label set {name!r}; label_set= is one of {', '.join(known)}.")
        return known[name]

    @classmethod
    def _data_folder(cls, data_dir: str | os.PathLike) -> Path:
        folder = Path(data_dir).expanduser().resolve()
        # Path("") is the current folder, which nobody means by an empty setting
        if not os.fspath(data_dir) or not folder.is_dir():
            raise CorpusNotFoundError(
                f"{cls.title}: data_dir={os.fspath(data_dir)!r} is not a folder. Pass the folder of your copy as "
                f"data_dir=.\n{cls._how_to()}"
            )
        return folder

    @classmethod
    def _not_found(cls, what: str, folder: Path) -> CorpusNotFoundError:
        return CorpusNotFoundError(
            f"{cls.title}: {what} was found in {folder} or the folders below it. Pass another data_dir=, the folder "
            f"of your copy.\n{cls._how_to()}"
        )

    @classmethod
    def _how_to(cls) -> str:
        return f"The folder is expected to look like this:\n{cls.tree.strip()}\nA copy: {cls.request}"

    def _annotations(self, sheet: Path, corrections: bool) -> list[Annotation]:
        """The clips of the sheet, sorted by subject, name and onset."""
        records = read_sheet(sheet, self.columns)
        try:
            records = [{**record, "subject": self._subject(record["subject"])} for record in records]
            if corrections:
                records = correct(records, read_corrections(CORRECTIONS / f"{self.corpus}.csv"))
            annotations = [parse_annotation(record, self.emotions) for record in records]
        except AnnotationError as error:
            raise AnnotationError(f"{sheet}: {error}") from None
        if not annotations:
            raise AnnotationError(f"{sheet} has its columns, but no clip below them.")
        for clip, rows in Counter(map(str, annotations)).items():
            if rows > 1:
                raise AnnotationError(f"{sheet}: the clip {clip} stands in {rows} rows; keep one of them.")
        return sorted(annotations, key=lambda clip: (clip.subject, clip.name, clip.onset))

    def _subject(self, cell: str) -> str:
        number = LAST_INTEGER.search(cell)
        if number is None:
            raise AnnotationError(f"the subject {cell!r} has no number in it.")
        return self.subject_folder.format(int(number[1]))

    def _clip_folder(self, annotation: Annotation) -> str:
        return self.clip_folder.format(subject=annotation.subject, name=annotation.name)

    def _frames(self, annotations: list[Annotation], root: Path, sheet: Path) -> dict[Annotation, list[Frame]]:
        """The frames from onset to offset of every clip; a clip needs two, so that something can move."""
        frames, too_few = {}, []
        for annotation in annotations:
            folder = root / self._clip_folder(annotation)
            on_disk = list_frames(folder) if folder.is_dir() else []
            span = range(annotation.onset, annotation.offset + 1)
            frames[annotation] = [frame for frame in on_disk if frame.number in span]
            if len(frames[annotation]) < 2:
                too_few.append(
                    f"{annotation}: {len(frames[annotation])} of the frames {span.start}-{span.stop - 1} "
                    + (f"among {len(on_disk)} images in {folder}" if folder.is_dir() else f"(no folder {folder})")
                )
            elif len(frames[annotation]) < len(span):
                logger.warning("%s: %d of %d frames are on disk", annotation, len(frames[annotation]), len(span))
        if too_few:
            shown = "\n".join(f"  {line}" for line in too_few[:10])
            raise AnnotationError(
                f"{len(too_few)} of {len(annotations)} clips of {sheet} have fewer than two frames on disk:\n{shown}\n"
                "Is the copy complete? Otherwise take these rows out of the sheet."
            )
        return frames

    def _row(self, annotation: Annotation, frames: list[Frame]) -> dict[str, Any]:
        return {
            "clip_id": f"{self.corpus}/{annotation}",
            "corpus": self.corpus,
            "subject": f"{self.corpus}/{annotation.subject}",
            "frames": [frame.path for frame in frames],
            "fps": self.frame_rate,
            "onset": annotation.onset,
            "apex": annotation.apex,
            "offset": annotation.offset,
            "emotion": annotation.emotion,
            "action_units": annotation.action_units,
            "label": self.labels.class_of(annotation.emotion),
        }

    def _info(self) -> datasets.DatasetInfo:
        width, height = self.resolution
        released = f"{self.title}: {width}x{height} as released, {self.frame_rate:g} frames a second."
        return datasets.DatasetInfo(
            description=f"{released} {self.summary}",
            citation=self.citation,
            homepage=self.homepage,
            license=self.license,
            features=datasets.Features(
                {
                    "clip_id": datasets.Value("string"),
                    "corpus": datasets.Value("string"),
                    "subject": datasets.Value("string"),
                    "frames": datasets.List(datasets.Image(decode=False)),
                    "fps": datasets.Value("float32"),
                    "onset": datasets.Value("int64"),
                    "apex": datasets.Value("int64"),
                    "offset": datasets.Value("int64"),
                    "emotion": datasets.Value("string"),
                    "action_units": datasets.Value("string"),
                    "label": datasets.ClassLabel(names=self.labels.class_names),
                }
            ),
        )

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        # a list among the arguments is what `datasets` deals out to its processes
        return [datasets.SplitGenerator(name=datasets.Split.TRAIN, gen_kwargs={"rows": self.rows})]

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in rows:
            yield row["clip_id"], row


def _summary(title: str, labels: LabelSet, annotations: list[Annotation], kept: list[Annotation]) -> str:
    left_out = Counter(clip.emotion for clip in annotations if clip not in set(kept))
    counted = ", ".join(f"{emotion} {clips}" for emotion, clips in sorted(left_out.items()))
    return (
        f"{len(kept)} of the {len(annotations)} clips of {title} have a class in the label set {labels.name!r}; left "
        f"out: {counted or 'none'}."
    )
