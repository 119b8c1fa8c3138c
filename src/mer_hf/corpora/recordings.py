"""Long recordings, a row each, with everything that is coded in them; and what has to be said of a release.

    declaration, folder -> sheet -> coded rows -> the recordings on disk, with their frames and events -> Dataset

A recording in which nothing is coded is a row too: what is found in it is false. Frames are known by their numbers,
which start anywhere and have gaps; onset, apex and offset are numbers as released, both ends inclusive.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypedDict

import datasets

from mer_hf.corpora.casme3 import Casme3
from mer_hf.corpora.casme_squared import CasmeSquared
from mer_hf.corpora.declaration import Declaration
from mer_hf.corpora.errors import AnnotationError, CorpusNotFoundError
from mer_hf.corpora.frames import Frame, Tree, entries, find_frame_root, is_image, list_frames
from mer_hf.corpora.reading import Problem, data_folder
from mer_hf.corpora.samm import Samm
from mer_hf.corpora.sheets import NOT_KNOWN, Columns, Lookup, find_sheet, read_sheet
from mer_hf.corpora.smic import MORE_CLIPS, Smic
from mer_hf.errors import MerHfError

KINDS = ("micro", "macro")
SHOWN = 10  # problems in one message


class RecordingCounts(NamedTuple):
    """What a release is said to hold; None where no source tells."""

    recordings: int | None
    macro: int
    micro: int
    blinks: int = 0


@dataclass(frozen=True)
class Recordings:
    """What has to be said of long recordings so that they can be read.

    Args:
        corpus: as it stands in the ids of recordings.
        clips: the corpus of clips that shows the same people, and says how they are spelt.
        title: for the reader; `clips` has the other facts.
        tree: what the folder looks like, for the reader of an error.
        path: the folder that holds the recordings, as released.
        folder: a recording below it, `{subject}` and `{recording}` any text.
        own_folder: the folder of a row's recording, made of its cells, the `{number}` of its subject, and `{part}`;
            `*` is any text.
        sheets: names of the coding sheet, with wildcards.
        columns: its columns.
        page: its page, where it has several.
        counts: what the release is said to hold.
        part: what of the name of a row belongs to the recording, as a regular expression with one group.
        blinks: the page that codes blinks, with the same columns, where there is one.
        kind: of all rows, where no column tells.
        no_offset: what the sheet writes for an offset that is not known: the apex is meant.
        lookups: what is looked up on other pages.
        more: the columns of onset and offset of further events in the same row.
    """

    corpus: str
    clips: type[Declaration]
    title: str
    tree: str
    path: str
    folder: str
    own_folder: str
    sheets: tuple[str, ...]
    columns: Columns
    counts: RecordingCounts
    page: str | None = None
    part: str = r"(.+)"
    blinks: str | None = None
    kind: str | None = None
    no_offset: str | None = None
    lookups: tuple[Lookup, ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    def subject_of(self, released: str) -> str:
        """`samm/006`: the person of a folder or row, spelt as in the corpus of clips."""
        number = re.search(r"\d+", released)
        places = {
            "number": int(number[0]) if number else 0,
            "participant": number[0] if number else "",
            "released": released,
        }
        return f"{self.clips.people or self.clips.corpus}/{self.clips.subject.format(**places)}"


RECORDINGS: dict[str, Recordings] = {
    each.corpus: each
    for each in (
        Recordings(
            "samm-lv",
            Samm,
            "SAMM Long Videos",
            "SAMM_LV/\n  SAMM_LongVideos_V2_Release.xlsx\n  SAMM_longvideos/006_1/006_1_0001.jpg",
            path="SAMM_longvideos",
            folder="{recording}",
            own_folder="{part}",
            sheets=("SAMM*LongVideos*.xls*",),
            columns=Columns("Subject", "Filename", "Onset", "Apex", "Offset", "Action Units", None, "Type"),
            page="FACS_Movement_Only",
            part=r"(\d+_\d+)_\d+",  # 006_1_2 is the second expression of the video 006_1
            counts=RecordingCounts(147, 343, 159),
        ),
        Recordings(
            "casme_squared",
            CasmeSquared,
            "CAS(ME)^2, whole recordings",
            "CASME_sq/\n  CAS(ME)^2code_final.xlsx\n  rawpic/s15/15_0101disgustingteeth/img001.jpg",
            path="rawpic",
            folder="{subject}/{recording}",
            own_folder="s{participant}/{participant}_{recording:0>4}*",
            sheets=("CAS(ME)^2code_final*.xls*",),
            columns=Columns(0, 1, 2, 3, 4, 5, 6, 7),
            no_offset="0",
            lookups=CasmeSquared.lookups,
            counts=RecordingCounts(None, 300, 57),  # 97 or 98 recordings
        ),
        Recordings(
            "casme3",
            Casme3,
            "CAS(ME)^3 part A, whole recordings",
            "CASME3/\n  CAS(ME)3_part_A_v2.xls\n  part_A/spNO.1/a/color/175.jpg",
            path="part_A",
            folder="{subject}/{recording}/color",
            own_folder="{subject}/{name}/color",
            sheets=("CAS(ME)3_part_A_v*.xls*",),
            columns=Columns(
                "Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "Expression type"
            ),
            page="AU+Emotion",
            blinks="eye blink",
            no_offset="0",
            counts=RecordingCounts(956, 3346, 860, 841),
        ),
        Recordings(
            "smic-e",
            Smic,
            "SMIC-E HS, long videos",
            "SMIC/\n  SMIC-E_raw image/HS_long/\n    SMIC-HS-E_annotation.xlsx\n"
            "    SMIC-HS-E/HS/s03/s3_sur_01/image308866.jpg",
            path="SMIC-E_raw image/HS_long/SMIC-HS-E/HS",
            folder="{subject}/{recording}",
            own_folder="s{number:02d}/{name}",
            sheets=("SMIC[-_]HS[-_]E_annotation*.xls*",),
            columns=Columns("Subject", "Filename", "OnsetF", None, "OffsetF", None, "Emotion"),
            kind="micro",
            more=MORE_CLIPS,
            counts=RecordingCounts(157, 0, 157),
        ),
    )
}


# --- what was found ---------------------------------------------------------------------------------------------------


class Event(TypedDict):
    """Something that is coded; frame numbers as released. Without an apex where none is coded, or it lies outside."""

    onset: int
    apex: int | None
    offset: int
    kind: str
    action_units: str | None
    emotion: str | None


@dataclass
class RecordingsRead:
    """Recordings on disk, read whole.

    Attributes:
        sources: where sheet and frames were found.
        frames: recording -> its frames, by number.
        subjects: recording -> the person.
        events: recording -> what is coded in it, by onset.
        blinks: recording -> blinks, by onset, as events of the kind "blink".
        problems: what is wrong with the copy.
        notes: oddities that are no fault of it, never fatal.
    """

    sources: list[str]
    frames: dict[str, list[Frame]] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    blinks: dict[str, list[Event]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    @property
    def counts(self) -> RecordingCounts:
        """How many there are."""
        kinds = Counter(event["kind"] for events in self.events.values() for event in events)
        return RecordingCounts(len(self.frames), kinds["macro"], kinds["micro"], sum(map(len, self.blinks.values())))


def load_recordings(name: str, data_dir: str | Path | None = None, fps: float | None = None) -> datasets.Dataset:
    """The long recordings of a corpus, one a row, those in which nothing is coded too.

    What is made of them must not be published; see `check_publishable`.

    Args:
        name: a key of `RECORDINGS`: `"samm-lv"`, `"casme_squared"`, `"casme3"`, `"smic-e"`.
        data_dir: the folder of the corpus, a folder that holds it, or the folder of its frames.
        fps: the frame rate of the frames on disk where it is not the corpus's own.

    Returns:
        A Dataset with the columns `recording_id` (`samm-lv/006_1`), `corpus`, `subject` (`samm/006`, as in the corpus
        of clips), `frames` (paths, not decoded), `numbers` (of the frames, as released), `fps`, `events` (by onset:
        `onset`, `apex`, `offset`, `kind`, `action_units`, `emotion`) and `blinks` (`onset`, `offset`).

    Raises:
        CorpusNotFoundError: the folder, the sheet or the frames are not there.
        AnnotationError: the sheet cannot be understood, or does not fit the frames.
        MerHfError: there is no such corpus.
    """
    corpus = find_recordings(name)
    if data_dir is None:
        raise CorpusNotFoundError(f"{corpus.title} is not downloaded for you: pass data_dir=.\n{_how_to(corpus)}")
    read = read_recordings(corpus, data_dir)
    fatal = [problem.text for problem in read.problems if problem.fatal]
    if fatal:
        lines = "\n".join(f"  {text}" for text in fatal[:SHOWN])
        raise AnnotationError(
            f"{corpus.title}: {len(fatal)} problems with {'; '.join(read.sources)}:\n{lines}\n"
            f"`mer-hf corpora check {name} --recordings --data-dir ...` tells everything."
        )
    rows = [
        {
            "recording_id": f"{corpus.corpus}/{recording}",
            "corpus": corpus.corpus,
            "subject": read.subjects[recording],
            "frames": [{"path": frame.path, "bytes": None} for frame in frames],
            "numbers": [frame.number for frame in frames],
            "fps": float(corpus.clips.fps if fps is None else fps),
            "events": read.events.get(recording, []),
            "blinks": [{key: blink[key] for key in ("onset", "offset")} for blink in read.blinks.get(recording, [])],
        }
        for recording, frames in sorted(read.frames.items())
    ]
    info = datasets.DatasetInfo(
        description=f"{corpus.title}: {', '.join(f'{count} {what}' for what, count in read.counts._asdict().items())}",
        citation=corpus.clips.citation,
        license=corpus.clips.license,
        features=_features(),
    )
    return datasets.Dataset.from_list(rows, info=info)


def _features() -> datasets.Features:
    text, number = datasets.Value("string"), datasets.Value("int64")
    event = {"onset": number, "apex": number, "offset": number, "kind": text, "action_units": text, "emotion": text}
    return datasets.Features(
        {
            **dict.fromkeys(("recording_id", "corpus", "subject"), text),
            "frames": datasets.List(datasets.Image(decode=False)),
            "numbers": datasets.List(number),
            "fps": datasets.Value("float32"),
            "events": datasets.List(event),
            "blinks": datasets.List({"onset": number, "offset": number}),
        }
    )


def find_recordings(name: str) -> Recordings:
    """The declaration of a name.

    Raises:
        MerHfError: there is none.
    """
    if name not in RECORDINGS:
        raise MerHfError(f"there are no recordings {name!r}; there are {', '.join(RECORDINGS)}")
    return RECORDINGS[name]


def _how_to(corpus: Recordings) -> str:
    return f"The folder is expected to look like this:\n{corpus.tree}\nA copy: {corpus.clips.request}"


# --- reading ----------------------------------------------------------------------------------------------------------


def read_recordings(corpus: Recordings, data_dir: str | Path) -> RecordingsRead:
    """Recordings on disk with everything that is wrong with them.

    Raises:
        CorpusNotFoundError: the folder, the sheet or the frames are not there.
        AnnotationError: the sheet cannot be read at all.
    """
    tree = Tree(data_folder(corpus.clips, data_dir))
    sheet = find_sheet(tree.top, corpus.sheets)
    if sheet is None:
        wanted = " or ".join(corpus.sheets)
        raise CorpusNotFoundError(f"{corpus.title}: no coding sheet {wanted} in {tree.top}.\n{_how_to(corpus)}")
    rows = read_sheet(sheet, corpus.columns, corpus.page, corpus.more, corpus.lookups)
    read = RecordingsRead([f"sheet {sheet}"])
    rows = _with_numbers(rows, read)
    patterns = {_pattern(corpus, row): row for row in rows}
    root = find_frame_root(
        tree.top, corpus.path, lambda folder: [path for name in patterns for path in tree.find(folder, name)]
    )
    if root is None:
        example = next(iter(patterns), corpus.own_folder)
        raise CorpusNotFoundError(
            f"{corpus.title}: no folder with the recordings of {sheet}, such as {example}, in {tree.top}.\n"
            f"{_how_to(corpus)}"
        )
    read.sources.append(f"frames {root.folder}")
    _find_frames(corpus, tree, root.folder, read)
    _place(corpus, tree, root.folder, rows, read.events, read)
    if corpus.blinks is not None:
        columns = Columns("Subject", "Filename", "Onset", None, "Offset", None, None)
        coded = _with_numbers(read_sheet(sheet, columns, corpus.blinks), read)
        _place(corpus, tree, root.folder, [row | {"kind": "blink"} for row in coded], read.blinks, read)
    _compare(corpus, read)
    return read


def _with_numbers(rows: Sequence[dict[str, str]], read: RecordingsRead) -> list[dict[str, str]]:
    """The rows that name a frame; below them, some sheets have text."""
    coded = [row for row in rows if row["name"] and re.match(r"-?\d", row["onset"])]
    if len(coded) < len(rows):
        text = f"{len(rows) - len(coded)} rows of the sheet are text, and code nothing"
        read.notes.append(Problem("rows of text", text, False))
    return coded


def _pattern(corpus: Recordings, row: Mapping[str, str]) -> str:
    """Where the recording of a row lies, as a pattern for `Tree.find`."""
    part, number = re.fullmatch(corpus.part, row["name"]), re.search(r"\d+", row["subject"])
    places = {"part": part[1] if part else row["name"], "number": int(number[0]) if number else 0}
    return corpus.own_folder.format(**{**row, **places})


def _find_frames(corpus: Recordings, tree: Tree, root: Path, read: RecordingsRead) -> None:
    """All recordings below a folder, coded or not."""
    for folder, names in tree.match(root, corpus.folder):
        if not any(map(is_image, entries(folder))):
            continue
        try:
            read.frames[_name(root, folder)] = list_frames(folder, tree)
        except AnnotationError as error:
            read.problems.append(Problem("frames", str(error)))
        read.subjects[_name(root, folder)] = corpus.subject_of(names.get("subject", names["recording"]))


def _name(root: Path, folder: Path) -> str:
    return folder.relative_to(root).as_posix().removesuffix("/color")


def _place(
    corpus: Recordings,
    tree: Tree,
    root: Path,
    rows: Sequence[Mapping[str, str]],
    events: dict[str, list[Event]],
    read: RecordingsRead,
) -> None:
    """Give each recording what its rows code."""
    for row in rows:
        where = f"{row['subject']} {row['name']}, onset {row['onset']}"
        folders = {_name(root, folder) for folder in tree.find(root, _pattern(corpus, row))} & read.frames.keys()
        if len(folders) != 1:
            read.problems.append(Problem("missing folder", f"{where}: {len(folders)} folders {_pattern(corpus, row)}"))
            continue
        (recording,) = folders
        try:
            event = _event(corpus, row, read.frames[recording], where, read.notes)
        except AnnotationError as error:
            read.problems.append(Problem("row", str(error)))
            continue
        events.setdefault(recording, []).append(event)
    for each in events.values():
        each.sort(key=lambda event: (event["onset"], event["offset"], event["kind"]))


def _event(
    corpus: Recordings, row: Mapping[str, str], frames: Sequence[Frame], where: str, notes: list[Problem]
) -> Event:
    """What a row codes.

    Raises:
        AnnotationError: its numbers or its kind cannot be.
    """
    first, last = frames[0].number, frames[-1].number
    onset, apex, offset = (_number(row[name], where, name, notes) for name in ("onset", "apex", "offset"))
    if row["offset"] == corpus.no_offset or offset is None:
        notes.append(Problem("no offset", f"{where}: ends at its apex {apex}", False))
        offset = apex
    if onset is None or offset is None or onset > offset:
        raise AnnotationError(f"{where}: from {row['onset']!r} to {row['offset']!r}, apex {row['apex']!r}, is no time.")
    if onset > last or offset < first:
        raise AnnotationError(f"{where}: {onset} to {offset} is outside the frames on disk, {first} to {last}.")
    if offset > last:
        text = f"{where}: the offset {offset} is past the last frame {last}, where it ends"
        notes.append(Problem("offset past the end", text, False))
        offset = last
    if apex is not None and not onset <= apex <= offset:
        text = f"{where}: the apex {apex} is outside {onset}-{offset}, so it has none"
        notes.append(Problem("apex outside", text, False))
        apex = None
    kind = corpus.kind or next((kind for kind in (*KINDS, "blink") if row["kind"].lower().startswith(kind)), None)
    if kind is None:
        raise AnnotationError(f"{where}: the kind {row['kind']!r} is neither micro nor macro.")
    units, emotion = row["action_units"] or None, row["emotion"].lower() or None
    return {"onset": onset, "apex": apex, "offset": offset, "kind": kind, "action_units": units, "emotion": emotion}


def _number(text: str, where: str, name: str, notes: list[Problem]) -> int | None:
    """A frame number; None where it is not coded, which SAMM-LV writes as -1. Some are fractions, and rounded."""
    if text in (*NOT_KNOWN, "-1"):
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise AnnotationError(f"{where}: the {name} {text!r} is no frame number.") from error
    if not 0 <= value < 2**53:
        raise AnnotationError(f"{where}: the {name} {text!r} is no frame number.")
    if not value.is_integer():
        notes.append(Problem("fraction", f"{where}: the {name} {text} is rounded", False))
    return math.floor(value + 0.5)


def _compare(corpus: Recordings, read: RecordingsRead) -> None:
    """Tell where a copy holds other numbers than its release is said to."""
    for name, found, expected in zip(RecordingCounts._fields, read.counts, corpus.counts, strict=True):
        if expected is not None and found != expected:
            read.problems.append(Problem("counts", f"{found} {name}, not {expected}", fatal=False))
    for recording, frames in read.frames.items():
        missing = frames[-1].number - frames[0].number + 1 - len(frames)
        if missing:
            text = f"{recording}: of the numbers of its frames {missing} are missing"
            read.notes.append(Problem("gaps", text, False))


def recordings_lines(corpus: Recordings, read: RecordingsRead) -> list[str]:
    """What was read, for a reader: counts, then oddities by kind, then everything that is wrong."""
    lines = [corpus.title, *(f"  {source}" for source in read.sources)]
    for name, found, expected in zip(RecordingCounts._fields, read.counts, corpus.counts, strict=True):
        lines.append(f"  {name}: {found}" + ("" if expected is None else f", {expected} expected"))
    lines.append(f"  subjects: {len({*read.subjects.values()})}, frames: {sum(map(len, read.frames.values()))}")
    lines.append(f"  recordings in which nothing is coded: {len(read.frames.keys() - read.events.keys())}")
    for kind, count in Counter(note.kind for note in read.notes).items():
        texts = [note.text for note in read.notes if note.kind == kind]
        lines.append(f"  note ({kind}, {count}): {'; '.join(texts[:SHOWN])}{'; ...' if count > SHOWN else ''}")
    lines += [f"  PROBLEM ({problem.kind}): {problem.text}" for problem in read.problems]
    count = len(read.problems)
    return [*lines, f"{count} problem{'s' * (count != 1)}" if count else "nothing is wrong"]


__all__ = ["RECORDINGS", "Recordings", "find_recordings", "load_recordings", "read_recordings", "recordings_lines"]
