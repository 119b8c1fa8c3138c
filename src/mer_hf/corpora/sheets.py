"""From a coding sheet to annotations: file -> pages of text -> records -> corrected records -> annotations."""

import csv
import fnmatch
import functools
import io
import logging
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum

from mer_hf.corpora.errors import AnnotationError
from mer_hf.corpora.frames import entries, levels
from mer_hf.labels import normalize_emotion

logger = logging.getLogger(__name__)

CORRECTIONS = Path(__file__).parent / "corrections"

# A copy may lie one level down (`data/CASME2/`), and its folders may be doubled (`X/X/sub01`).
SHEET_DEPTH = 2

# SMIC-E's sheets lie beside the frames, three folders below that of the corpus.
DEEPEST_SHEET = 4

# How a file of the format before .xlsx begins, whatever its name.
OLD_FORMAT = b"\xd0\xcf\x11\xe0"

# A released sheet has some thousands of cells. What is larger than this is damaged, or meant to do harm.
MOST_CELLS = 20_000_000
MOST_BYTES = 2**28
XLSX_PLACE = re.compile(rb"""\br=["']([A-Z]{0,3})([0-9]{1,7})["']""")  # of a cell, `B7`, or of a row, `7`
XLS_DIMENSIONS = re.compile(rb"\x00\x02\x0e\x00(.{12})", re.DOTALL)  # from row to row, from column to column

# What the sheets write where a frame is not known.
NOT_KNOWN = ("", "/", "\\", "-")

# What stands between the emotions of a clip that shows several.
BLEND = re.compile(r"\s*[+,/&;]\s*")


class Columns(NamedTuple):
    """What the columns of a coding sheet are called, field by field; None where the sheet has none.

    A sheet without a header has the places of its columns instead, 0 for the first.
    """

    subject: str | int
    name: str | int  # of the clip
    onset: str | int
    apex: str | int | None
    offset: str | int
    action_units: str | int | None
    emotion: str | int | None
    kind: str | int | None = None  # micro- or macro-expression, where a sheet has both


class Lookup(NamedTuple):
    """A page of the workbook that says what a cell of the sheet stands for."""

    page: str
    cell: str  # the field that is looked up
    part: str  # what of it, as a regular expression with one group
    key: int  # the column of the page where it is looked up
    value: int  # the column that says what it stands for
    field: str  # the name under which a folder pattern uses it


class Correction(NamedTuple):
    """One value of a sheet that is known to be wrong."""

    clip: str  # subject/name, or subject/name@onset where the name stands for several clips
    field: str
    released: str  # what the sheet says; blank where the source of the correction does not tell
    corrected: str
    source: str


@dataclass(frozen=True)
class Annotation:
    """What the sheet says of one clip; frame numbers as released, inclusive."""

    subject: str
    name: str
    onset: int
    apex: int | None
    offset: int
    action_units: str
    emotion: str
    # what folder patterns are filled with beside these
    places: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        """The clip's name inside its corpus; one clip name may stand for several onsets."""
        return f"{self.subject}/{self.name}@{self.onset}"


# --- the file ---------------------------------------------------------------------------------------------------------


def find_sheet(data_dir: Path, patterns: Sequence[str]) -> Path | None:
    """The newest coding sheet in or below `data_dir`, or else in the two folders above it.

    Args:
        data_dir: Where to look.
        patterns: File names as the corpus releases them, with wildcards, in any case.

    Returns:
        The file whose name carries the largest number, a date or a version; None where there is no sheet.
    """
    wanted = [pattern.lower() for pattern in patterns]

    def sheets(folders: Iterable[Path]) -> list[Path]:
        return [
            folder / entry.name
            for folder in folders
            for entry in entries(folder)
            if any(fnmatch.fnmatchcase(entry.name.lower(), pattern) for pattern in wanted) and entry.is_file()
        ]

    def age(sheet: Path) -> tuple[int, str]:
        return max((int(number) for number in re.findall(r"\d+", sheet.stem)), default=-1), str(sheet)

    found: list[Path] = []
    for depth, level in enumerate(levels(data_dir, DEEPEST_SHEET)):
        if depth > SHEET_DEPTH and found:
            break
        found += sheets(level)
    # whoever points at the frames themselves has the sheet one or more folders up
    found = found or sheets(list(data_dir.parents)[:2])
    return max(found, key=age, default=None)


def read_pages(sheet: Path) -> dict[str, list[list[str]]]:
    """All pages of a workbook as rows of text; a whole number is written without a point, a blank cell is "".

    A cell that is merged over several rows stands in each of them that holds anything else; of one that is merged over
    several columns the first has it.

    Raises:
        AnnotationError: The file cannot be read.
    """
    try:
        content = sheet.read_bytes()
        _check_extent(content)
        with CalamineWorkbook.from_filelike(io.BytesIO(content)) as book:
            tables = [page.name for page in book.sheets_metadata if page.typ == SheetTypeEnum.WorkSheet]  # not charts
            return {name: _rows(book.get_sheet_by_name(name)) for name in tables}
    except BaseException as error:  # zipfile and calamine raise what their lines happen to raise of a damaged file
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # calamine's is none
            raise
        raise AnnotationError(f"{sheet} cannot be read as a spreadsheet ({error}). Is the file complete?") from error


def _check_extent(content: bytes) -> None:
    """Refuse a workbook whose cells lie so far apart that calamine, which holds all between them, ends the process."""
    if content.startswith(OLD_FORMAT):
        extents = [struct.unpack("<IIHH", found) for found in XLS_DIMENSIONS.findall(content)]
        # a first that comes after the last is damage, and to calamine the largest number there is
        cells = [(bottom - top) % 2**32 * ((right - left) % 2**16) for top, bottom, left, right in extents]
    else:
        cells = []
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            for part in parts.infolist():
                if part.file_size > MOST_BYTES:
                    raise CalamineError(f"{part.filename} has {part.file_size} bytes")
                places = XLSX_PLACE.findall(parts.read(part))
                columns = max(map(_column_number, {letters for letters, _ in places}), default=0)
                cells.append(columns * max((int(row) for _, row in places), default=0))
    if max(cells, default=0) > MOST_CELLS:
        raise CalamineError(f"a page has room for {max(cells)} cells; at most {MOST_CELLS} are read")


def _column_number(letters: bytes) -> int:
    """`A` -> 1, `AA` -> 27."""
    return functools.reduce(lambda number, letter: 26 * number + letter - ord("A") + 1, letters, 0)


def _rows(page: CalamineSheet) -> list[list[str]]:
    rows = [[_cell_text(cell) for cell in row] for row in page.to_python(skip_empty_area=False)]
    for (top, column), (bottom, _) in page.merged_cell_ranges or ():
        if top >= len(rows) or column >= len(rows[top]):  # of a damaged sheet: outside of the page
            continue
        for row in rows[top + 1 : bottom + 1]:
            if any(row):
                row[column] = rows[top][column]
    return rows


def _cell_text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():  # as calamine has all numbers
        cell = int(cell)
    # numbers may stand in a sheet as text, and whole ones as 46.0
    return re.sub(r"^(\d+)\.0+$", r"\1", str(cell).strip())


# --- records ----------------------------------------------------------------------------------------------------------


def read_sheet(
    sheet: Path,
    columns: Columns,
    page: str | None = None,
    more_clips: Sequence[tuple[str, str]] = (),
    lookups: Sequence[Lookup] = (),
) -> list[dict[str, str]]:
    """The rows of a coding sheet as text, field by field.

    The header is the first row, on any page of the workbook, that has every column; columns are known by name, without
    regard to case and spaces. A sheet without a header is the first page that is wide enough. Rows in which all of the
    columns are blank are left out.

    Args:
        sheet: An .xls or .xlsx file.
        columns: The columns to read.
        page: The page to look at before the others.
        more_clips: The columns of onset and offset of further clips that a row may hold; they share its other cells.
        lookups: What is looked up on other pages.

    Returns:
        One dict a clip, field -> text; the looked-up fields among them.

    Raises:
        AnnotationError: The file cannot be read, has no such header, or lacks a page of the lookups.
    """
    pages = read_pages(sheet)
    ordered = sorted(pages, key=lambda name: name != page)
    places, more, rows = _find_table([pages[name] for name in ordered], columns, more_clips, sheet)
    records = []
    for row in rows:
        record = {**dict.fromkeys(columns._fields, ""), **{field: row[place] for field, place in places.items()}}
        if not any(record.values()):
            continue
        records.append(record)
        for onset, offset in more:
            if row[onset] not in NOT_KNOWN:
                records.append({**record, "onset": row[onset], "apex": "", "offset": row[offset]})
    for lookup in lookups:
        _look_up(records, lookup, pages, sheet)
    return records


def _find_table(
    pages: Sequence[list[list[str]]], columns: Columns, more_clips: Sequence[tuple[str, str]], sheet: Path
) -> tuple[dict[str, int], list[tuple[int, int]], list[list[str]]]:
    """The place of every field, the places of further onsets and offsets, and the rows below the header."""
    wanted = {field: column for field, column in columns._asdict().items() if column is not None}
    if all(isinstance(column, int) for column in wanted.values()):
        for rows in pages:
            if rows and len(rows[0]) > max(wanted.values()):
                return wanted, [], rows
        raise AnnotationError(f"{sheet} has no page with {max(wanted.values()) + 1} columns, which its clips fill.")

    keys = {field: _column_key(column) for field, column in wanted.items()}
    nearest: list[str] = []  # the row most like a header, to tell what was found
    for rows in pages:
        for number, row in enumerate(rows):
            header = [_column_key(cell) for cell in row]
            if set(keys.values()) <= set(header):
                more = [(_column_key(onset), _column_key(offset)) for onset, offset in more_clips]
                return (
                    {field: header.index(key) for field, key in keys.items()},
                    [(header.index(one), header.index(other)) for one, other in more if {one, other} <= set(header)],
                    rows[number + 1 :],
                )
            nearest = max(nearest, row, key=lambda cells: len(set(keys.values()) & set(map(_column_key, cells))))
    found = set(map(_column_key, nearest))
    missing = [column for column in wanted.values() if _column_key(column) not in found]
    raise AnnotationError(
        f"{sheet} has no row with all the columns that the clips are read from. Missing: {missing}; found in the row "
        f"most like a header: {[cell for cell in nearest if cell]}."
    )


def _column_key(name: str) -> str:
    return "".join(name.split()).lower()


def _look_up(records: list[dict[str, str]], lookup: Lookup, pages: Mapping[str, list[list[str]]], sheet: Path) -> None:
    """Give each record what its cell stands for; "" where the page does not say, which no folder name is."""
    rows = next((rows for name, rows in pages.items() if _column_key(name) == _column_key(lookup.page)), None)
    if rows is None:
        raise AnnotationError(f"{sheet} lacks the page {lookup.page!r}; it has {', '.join(pages)}.")
    wide = [row for row in rows if len(row) > max(lookup.key, lookup.value)]
    meanings = {row[lookup.key].lower(): row[lookup.value] for row in wide}
    for record in records:
        part = re.fullmatch(lookup.part, record[lookup.cell])
        record[lookup.field] = meanings.get(part[1].lower(), "") if part else ""


# --- corrections ------------------------------------------------------------------------------------------------------


def read_corrections(file: Path) -> list[Correction]:
    """The corrections of a corpus; none where it has no file of them."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [Correction(**row) for row in csv.DictReader(lines)]


def correct(
    records: Sequence[dict[str, str]], corrections: Sequence[Correction]
) -> tuple[list[dict[str, str]], list[tuple[Correction, str]]]:
    """The records with known mistakes put right, and what became of each correction; both are logged.

    A correction finds its clip by subject and name, and onset where it gives one. Where the released value is known it
    applies only to a sheet that says just that, so a sheet that its authors have put right since is left alone. Where
    it is not known, the correction replaces whatever the sheet says. One that fits several rows is not applied.

    Args:
        records: As `read_sheet` returns them, with subjects spelt as the corpus spells its folders.
        corrections: As `read_corrections` returns them.

    Returns:
        The corrected records, and (correction, outcome) for each correction whose clip is in the sheet, such as
        `"offset 93 -> 91"`.
    """
    corrected = [dict(record) for record in records]
    names = [f"{record['subject']}/{record['name']}" for record in records]
    outcomes = []
    for fix in corrections:
        fitting = [
            place
            for place, (name, record) in enumerate(zip(names, records, strict=True))
            if fix.clip in (name, f"{name}@{record['onset']}")
        ]
        if not fitting:
            continue
        released = records[fitting[0]][fix.field]
        if len(fitting) > 1:
            outcome = f"{fix.field} not corrected: {len(fitting)} rows have this name"
        elif released == fix.corrected:
            outcome = f"{fix.field} is {released} in the sheet already"
        elif fix.released in ("", released):
            outcome = f"{fix.field} {released} -> {fix.corrected}"
            corrected[fitting[0]][fix.field] = fix.corrected
        else:
            outcome = (
                f"{fix.field} stays {released}: the correction to {fix.corrected} is for a sheet that says "
                f"{fix.released}"
            )
        logger.info("%s: %s (%s)", fix.clip, outcome, fix.source)
        outcomes.append((fix, outcome))
    return corrected, outcomes


# --- annotations ------------------------------------------------------------------------------------------------------


def parse_annotation(
    record: Mapping[str, str],
    emotions: Sequence[str],
    spelling: Mapping[str, str] | None = None,
    blends: bool = False,
    no_offset: str | None = None,
) -> Annotation:
    """One row of a sheet, understood.

    Args:
        record: As `read_sheet` returns it, with the subject spelt as the corpus spells its folders.
        emotions: The emotions of the corpus.
        spelling: How emotions are released -> how they are spelt here.
        blends: Whether a clip may show several emotions, `positive+surprise`.
        no_offset: What the sheet writes where the offset is not known; the apex then ends the clip.

    Raises:
        AnnotationError: A name that is no folder name, a frame number that is no number, an onset after the offset, or
            an emotion that the corpus does not have. The message does not name the file.
    """
    for part in ("subject", "name"):
        text = record[part]
        if not text or text in (".", "..") or "/" in text or "\\" in text or "\0" in text:
            where = "" if part == "subject" else f"{record['subject']}: "
            raise AnnotationError(f"{where}the {_PARTS[part]} {text!r} is not the name of one folder.")
    clip = f"{record['subject']}/{record['name']}"
    onset = _frame_number(clip, "onset", record["onset"])
    apex = None if record["apex"] in NOT_KNOWN else _frame_number(clip, "apex", record["apex"])
    if record["offset"] == no_offset and apex is not None:
        offset = apex
    else:
        offset = _frame_number(clip, "offset", record["offset"])
    if onset > offset:
        raise AnnotationError(f"{clip}: the onset {onset} is after the offset {offset}.")
    return Annotation(
        subject=record["subject"],
        name=record["name"],
        onset=onset,
        apex=apex,
        offset=offset,
        action_units=record["action_units"],
        emotion=_emotion(clip, record["emotion"], emotions, spelling or {}, blends),
        places=record,
    )


_PARTS = {"subject": "subject", "name": "clip name"}


def _frame_number(clip: str, field: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):  # what int64 holds
        raise AnnotationError(f"{clip}: the {field} {text!r} is not a frame number.")
    return int(text)


def _emotion(clip: str, text: str, emotions: Sequence[str], spelling: Mapping[str, str], blends: bool) -> str:
    emotion = normalize_emotion(text)
    parts = BLEND.split(emotion) if blends else [emotion]
    parts = [spelling.get(part, part) for part in parts]
    if not set(parts) <= set(emotions):
        raise AnnotationError(f"{clip}: unknown emotion {text!r}; the corpus has {', '.join(emotions)}.")
    return "+".join(parts)


def repeated(annotations: Iterable[Annotation]) -> dict[str, int]:
    """The clips that stand in more than one row, and in how many."""
    return {clip: rows for clip, rows in Counter(map(str, annotations)).items() if rows > 1}
