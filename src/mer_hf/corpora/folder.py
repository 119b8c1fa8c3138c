"""A folder of videos with a `metadata.csv`, as VideoFolder of `datasets` has it, becomes a table of clips.

    my_videos/
      metadata.csv        file_name,label,subject,onset,apex,offset
      anna/first.mp4      anna/first.mp4,happiness,anna,1.24,1.36,1.60

Columns: `file_name`, `label` and `subject` are needed; `onset`, `apex`, `offset`, `clip_id`, `corpus`, `fps` and
`action_units` are read where they are there, and others are left alone. One video may stand in several rows.

A row of the result is a clip as `load_corpus` has it, with `video` in the place of `frames`:

- `video`: path of the file.
- `onset`, `apex`, `offset`: float64, the first frame of the clip, the one that shows most, and the last one, inclusive;
  None where the table does not tell. Without onset and offset the clip is the whole file.
- `unit`: `"frames"`, numbers of frames, the first of the file being 0; or `"seconds"`, from the first frame of the
  file, by the times that the file gives (`fps` is for what is measured after the clip is cut out).
- `fps`: float64, frames per second where the file tells it wrong; else None.

**Frames or seconds.** A table is in one of them. One number with a fraction makes all of them seconds (`1.24`; `46.0`
has none). Whole numbers are frames where every clip with onset and offset then has three frames or more; where some
clip would have fewer, they may be seconds as well, and the table is refused until `unit` says which is meant.
"""

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import datasets

from mer_hf.corpora.errors import AnnotationError, CorpusNotFoundError
from mer_hf.corpora.reading import SHOWN
from mer_hf.corpora.sheets import NOT_KNOWN
from mer_hf.errors import MerHfError
from mer_hf.labels import ANY, MEGC2019_3CLASS, LabelSet, native_label_set, normalize_emotion
from mer_hf.subjects import subject_name

logger = logging.getLogger(__name__)

METADATA = "metadata.csv"
NEEDED = ("file_name", "label", "subject")
TIMES = ("onset", "apex", "offset")
CORPUS = "dataset"  # the name of a corpus that has none

Unit = Literal["frames", "seconds"]

FEATURES = {
    "clip_id": datasets.Value("string"),
    "corpus": datasets.Value("string"),
    "subject": datasets.Value("string"),
    "video": datasets.Value("string"),
    "unit": datasets.Value("string"),
    "fps": datasets.Value("float64"),
    "onset": datasets.Value("float64"),
    "apex": datasets.Value("float64"),
    "offset": datasets.Value("float64"),
    "emotion": datasets.Value("string"),
    "action_units": datasets.Value("string"),
}


class _Line(NamedTuple):
    """A line of the table that was understood."""

    number: int  # in the file, the first being 1
    video: Path
    emotion: str
    subject: str
    corpus: str
    clip_id: str
    fps: float | None
    onset: float | None
    apex: float | None
    offset: float | None
    action_units: str


def load_folder(
    folder: str | os.PathLike,
    label_set: str = "native",
    unit: Unit | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> datasets.Dataset:
    """The clips of a folder of videos, one a row, in the order of its `metadata.csv`. No video is opened.

    Args:
        folder: Holds `metadata.csv` and, in it or below it, the videos.
        label_set: `"native"`, the labels as they are, sorted; `"3class"`, the classes of MEGC 2019, which leaves out
            clips with labels that belong to none of them; or `"any"`, one class of all.
        unit: What onset, apex and offset count; None finds out, by the rule above.
        cache_dir: Where the result is kept; the cache of `datasets` by default. A changed table or video is read anew.

    Returns:
        A Dataset with the columns of the module's text, `clip_id`, `corpus`, `subject` (with the corpus before it where
        the table has one), `emotion` (the label of the table), `action_units` (text, "" where not told), and `label`
        (a ClassLabel).

    Raises:
        CorpusNotFoundError: There is no such folder, or no `metadata.csv` in it.
        AnnotationError: The table cannot be used; with its lines.
        MerHfError: Another argument is wrong.
    """
    known = {labels.name: labels for labels in (MEGC2019_3CLASS, ANY)}
    if label_set not in ("native", *known):
        raise MerHfError(f"label_set={label_set!r}: a folder of videos has native, {' and '.join(known)}.")
    if unit not in (None, "frames", "seconds"):
        raise MerHfError(f"unit={unit!r}: onset, apex and offset are in 'frames' or in 'seconds'.")
    table = Path(folder).expanduser() / METADATA
    if not table.is_file():
        raise CorpusNotFoundError(
            f"{table} is not there. A folder of videos has a table {METADATA} with the columns {', '.join(NEEDED)}."
        )
    lines = _read_lines(table)
    unit = unit or _unit(lines, table)
    if unit == "frames" and any(value % 1 for line in lines for value in _times(line)):
        raise AnnotationError(f"{table} has numbers with a fraction, which cannot be frames; say unit='seconds'.")
    labels = known.get(label_set) or native_label_set(sorted({line.emotion for line in lines}))
    rows = [_row(line, unit, labels) for line in lines]
    kept = [row for row in rows if row["label"] is not None]
    left_out = Counter(str(row["emotion"]) for row in rows if row["label"] is None)
    if left_out:
        counted = ", ".join(f"{emotion} {clips}" for emotion, clips in sorted(left_out.items()))
        logger.warning("%s: left out, without a class in %r: %s", table, label_set, counted)
    if not kept:
        raise AnnotationError(f"{table}: no label has a class in {label_set!r}; choose label_set='native'.")
    features = datasets.Features({**FEATURES, "label": datasets.ClassLabel(names=labels.class_names)})
    stamps = [(stat.st_size, stat.st_mtime_ns) for stat in (line.video.stat() for line in lines)]
    return datasets.Dataset.from_generator(
        _given,
        features=features,
        cache_dir=cache_dir,  # ty: ignore[invalid-argument-type] - the annotation lacks None, which is the default
        gen_kwargs={"rows": [kept], "stamps": [stamps]},
    )


def _given(rows: list[list[dict[str, object]]], stamps: list[list[tuple[int, int]]]) -> Iterator[dict[str, object]]:
    """What `datasets` keeps under a key that is made of all arguments; `stamps` stand in for the videos."""
    yield from rows[0]


def _row(line: _Line, unit: Unit, labels: LabelSet) -> dict[str, object]:
    values = {**line._asdict(), "video": str(line.video), "unit": unit, "label": labels.class_of(line.emotion)}
    del values["number"]
    return values


def _times(line: _Line) -> list[float]:
    return [value for value in (line.onset, line.apex, line.offset) if value is not None]


def _unit(lines: list[_Line], table: Path) -> Unit:
    """What the numbers of a table count; see the module's text.

    Raises:
        AnnotationError: It may be either.
    """
    if any(value % 1 for line in lines for value in _times(line)):
        return "seconds"
    for line in lines:
        if line.onset is not None and line.offset is not None and line.offset - line.onset < 2:
            raise AnnotationError(
                f"{table}, line {line.number}: onset {line.onset:g} and offset {line.offset:g} are a clip of "
                f"{line.offset - line.onset + 1:g} frames, or of {line.offset - line.onset:g} seconds. Say which is "
                "meant by unit='frames' or unit='seconds'."
            )
    return "frames"


# --- lines ------------------------------------------------------------------------------------------------------------


def _read_lines(table: Path) -> list[_Line]:
    """The lines of a table.

    Raises:
        AnnotationError: It cannot be read, lacks a column, has no line, or some lines are wrong, all in one message.
    """
    lines, problems = [], []
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            found = reader.fieldnames or []
            missing = [column for column in NEEDED if column not in found]
            if missing:
                raise AnnotationError(f"{table} lacks the columns {', '.join(missing)}; it has {', '.join(found)}.")
            for cells in reader:
                if not any(cells.values()):
                    continue
                try:
                    lines.append(_line(cells, reader.line_num, table.parent))
                except MerHfError as error:
                    problems.append(f"line {reader.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{table} cannot be read as a table of text in UTF-8 ({error}).") from error
    first: dict[str, int] = {}
    for line in lines:
        if first.setdefault(line.clip_id, line.number) != line.number:
            same = f"the clip_id {line.clip_id!r} stands in line {first[line.clip_id]} as well"
            problems.append(f"line {line.number}: {same}; every clip needs one of its own.")
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise AnnotationError("\n  ".join([f"{table}: {len(problems)} problems:", *problems[:SHOWN], *more]))
    if not lines:
        raise AnnotationError(f"{table} has its columns, but no clip below them.")
    return lines


def _line(cells: Mapping[str | None, str | None], number: int, folder: Path) -> _Line:
    """One line, understood.

    Raises:
        MerHfError: It cannot be; without the number of the line.
    """
    if None in cells or None in cells.values():
        raise AnnotationError("it has more or fewer cells than the first line has names of columns.")
    text = {str(name): str(cell).strip() for name, cell in cells.items()}
    corpus, emotion = text.get("corpus", ""), normalize_emotion(text["label"])
    if not emotion:
        raise AnnotationError("the label is empty.")
    subject = subject_name(text["subject"])
    if corpus and not subject.startswith(f"{corpus}/"):
        subject = f"{corpus}/{subject}"
    onset, apex, offset = (_number(text, name) for name in TIMES)
    if (onset is None) != (offset is None):
        raise AnnotationError("a clip has both an onset and an offset, or neither.")
    known = [value for value in (onset, apex, offset) if value is not None]
    if known != sorted(known) or (onset is not None and onset == offset):
        raise AnnotationError(f"onset, apex and offset are {', '.join(f'{value:g}' for value in known)}: out of order.")
    fps = _number(text, "fps")
    if fps == 0:
        raise AnnotationError("fps is 0; expected frames per second.")
    where = "" if onset is None else f"@{onset:g}"
    return _Line(
        number=number,
        video=_video(text["file_name"], folder),
        emotion=emotion,
        subject=subject,
        corpus=corpus or CORPUS,
        clip_id=text.get("clip_id") or f"{corpus or CORPUS}/{text['file_name']}{where}",
        fps=fps,
        onset=onset,
        apex=apex,
        offset=offset,
        action_units=text.get("action_units", ""),
    )


def _number(text: Mapping[str, str], name: str) -> float | None:
    """A number from 0 on; None where the cell says that it is not known."""
    cell = text.get(name, "")
    if cell in NOT_KNOWN or cell.lower() == "nan":
        return None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", cell):
        raise AnnotationError(f"the {name} {cell!r} is no number from 0 on, written as 46 or 1.24.")
    return float(cell)


def _video(name: str, folder: Path) -> Path:
    """The file of a video, which lies in the folder.

    Raises:
        AnnotationError: It is not there, is no file, is empty, or lies elsewhere, also by a link.
    """
    if not name or "\0" in name:
        raise AnnotationError(f"file_name {name!r} is no name of a file.")
    path = Path(os.path.realpath(folder / name))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise AnnotationError(f"file_name {name!r} leads out of the folder, to {path}; put the video itself there.")
    if not path.is_file():
        raise AnnotationError(f"file_name {name!r}: {'a folder' if path.is_dir() else 'no file'} is at {path}.")
    if path.stat().st_size == 0:
        raise AnnotationError(f"file_name {name!r} is an empty file.")
    return path


__all__ = ["METADATA", "load_folder"]
