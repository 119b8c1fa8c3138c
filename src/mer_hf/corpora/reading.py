"""One corpus on disk, read whole: its clips, and everything that is wrong with them.

    folder -> layout, sheet, frame root -> records -> corrected records -> annotations -> clips with their frames

Problems are collected, not raised, so that one run tells them all; who needs sound clips calls `raise_problems`.
"""

import glob
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mer_hf.corpora.declaration import Counts, Declaration, Layout
from mer_hf.corpora.errors import AnnotationError, CorpusNotFoundError
from mer_hf.corpora.frames import LAST_INTEGER, Frame, Tree, entries, find_frame_root, is_image, list_frames
from mer_hf.corpora.sheets import (
    CORRECTIONS,
    Annotation,
    Columns,
    Correction,
    correct,
    find_sheet,
    parse_annotation,
    read_corrections,
    read_sheet,
    repeated,
)

logger = logging.getLogger(__name__)

DataDir: TypeAlias = str | os.PathLike | Mapping[str, str | os.PathLike]
"""Where a copy lies: its folder; of a corpus that is made of others, also their folders by name."""

SHOWN = 10  # problems in one message


# --- what was found ---------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """One thing that is wrong with a copy."""

    kind: str
    text: str
    fatal: bool = True  # whether clips cannot be loaded; else there is a warning


class Clip(NamedTuple):
    """A clip whose frames are on disk."""

    corpus: type[Declaration]
    annotation: Annotation
    frames: list[Frame]  # from onset to offset

    @property
    def apex(self) -> int | None:
        """The released apex, or None where there is none or it lies outside the clip (SAMM 028_4_1)."""
        apex = self.annotation.apex
        return apex if apex is not None and self.annotation.onset <= apex <= self.annotation.offset else None


@dataclass
class Reading:
    """A corpus on disk, read whole."""

    title: str
    sources: list[str]  # where sheets and frames were found, for the reader
    annotations: list[Annotation] = field(default_factory=list)  # of all clips that are not left out
    clips: list[Clip] = field(default_factory=list)  # sorted by subject, name and onset
    left_out: Counter = field(default_factory=Counter)  # why -> clips
    corrections: list[tuple[Correction, str]] = field(default_factory=list)  # and what became of them
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # oddities that are no fault of the copy

    def raise_problems(self, how_to_check: str) -> None:
        """Raise what makes clips unsound, all in one message, and log the rest.

        Raises:
            AnnotationError: Some clips are unsound.
        """
        for problem in self.problems:
            if not problem.fatal:
                logger.warning("%s", problem.text)
        fatal = [problem.text for problem in self.problems if problem.fatal]
        if fatal:
            more = [f"and {len(fatal) - SHOWN} more"] if len(fatal) > SHOWN else []
            lines = "\n".join(f"  {line}" for line in [*fatal[:SHOWN], *more])
            raise AnnotationError(
                f"{self.title}: {len(fatal)} problem{'s' * (len(fatal) > 1)} with {'; '.join(self.sources)}:\n{lines}\n"
                f"Is the copy complete? Otherwise correct these rows of the sheet, or take them out. {how_to_check}"
            )


def keep_all(annotation: Annotation) -> None:
    """The choice of clips that leaves none out."""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_corpus(
    corpus: type[Declaration],
    data_dir: DataDir,
    corrections: bool = True,
    left_out: Callable[[Annotation], str | None] = keep_all,
) -> Reading:
    """A corpus on disk.

    Args:
        corpus: What it is declared to be.
        data_dir: The folder of the corpus, a folder that holds it, or the folder of its frames.
        corrections: Whether known mistakes of the sheet are put right.
        left_out: Why a clip is left out, in a word or two, or None where it is not. The frames of a clip that is left
            out are not looked at.

    Raises:
        CorpusNotFoundError: The folder, the sheet or the frames are not there.
        AnnotationError: The sheet cannot be read at all. What is wrong with single rows and clips is in `problems`.
    """
    tree = Tree(data_folder(corpus, data_dir))
    found = _find_layout(corpus, tree, corrections)
    rows = found.rows
    sources = [f"{what} {path}" for what, path in (("sheet", rows.sheet), ("frames", found.root)) if path is not None]
    reading = Reading(
        corpus.title, sources, corrections=[*rows.corrections], problems=rows.problems, notes=[*rows.notes]
    )
    logger.info("%s: %s", corpus.title, "; ".join(sources))
    for clip, number in repeated(rows.annotations).items():
        reading.problems.append(Problem("repeated clip", f"{clip} stands in {number} rows; keep one of them."))
    if found.root is None:
        return reading

    reasons = [(clip, left_out(clip)) for clip in rows.annotations]
    reading.left_out = Counter(why for _, why in reasons if why is not None)
    kept = [clip for clip, why in reasons if why is None]
    reading.annotations = sorted(kept, key=lambda clip: (clip.subject, clip.name, clip.onset))
    folders = _own_folders(reading.annotations, found.folders, found.root, reading.problems)
    frames = _frames(folders, tree, reading.problems)
    reading.clips = [Clip(corpus, clip, frames[clip]) for clip in reading.annotations if clip in frames]
    reading.notes += _notes(reading.clips, corpus)
    _add_unlisted(reading, corpus, found, found.root)
    reading.problems += count_problems(corpus, rows.annotations)
    return reading


def data_folder(corpus: type[Declaration], data_dir: DataDir) -> Path:
    """The folder that was given, resolved.

    Raises:
        CorpusNotFoundError: It is none; with what is expected.
    """
    try:
        # Path("") is the current folder, which nobody means by an empty setting
        if not isinstance(data_dir, Mapping) and os.fspath(data_dir):
            folder = Path(data_dir).expanduser().resolve()
            if folder.is_dir():
                return folder
    except (OSError, RuntimeError, TypeError, ValueError):  # no name, or one that no folder can have
        pass
    raise CorpusNotFoundError(
        f"{corpus.title}: data_dir={str(data_dir)!r} is not a folder. Pass the folder of your copy as data_dir=.\n"
        f"{how_to(corpus)}"
    )


def folders_of(names: Collection[str], data_dir: DataDir, title: str) -> dict[str, str | os.PathLike]:
    """The folder of each of several corpora.

    Args:
        names: Of the corpora.
        data_dir: A folder that holds all of them, or theirs by name: a mapping, or the text `smic=DIR,samm=DIR`.
        title: What the corpora make up, for the error.

    Raises:
        CorpusNotFoundError: Folders of others, or not of all of them, are named.
    """
    if isinstance(data_dir, str) and data_dir.partition("=")[0] in names:
        data_dir = {name: folder for name, _, folder in (part.partition("=") for part in data_dir.split(","))}
    if not isinstance(data_dir, Mapping):
        return dict.fromkeys(names, data_dir)
    if data_dir.keys() != {*names}:
        raise CorpusNotFoundError(
            f"{title}: data_dir= has folders for {', '.join(map(str, data_dir)) or 'nothing'}; expected one for each "
            f"of {', '.join(names)}."
        )
    return {name: data_dir[name] for name in names}


def how_to(corpus: type[Declaration]) -> str:
    """What a copy looks like, and how one is come by."""
    return f"The folder is expected to look like this:\n{corpus.tree.strip()}\nA copy: {corpus.request}"


def _not_found(corpus: type[Declaration], what: str, folder: Path) -> CorpusNotFoundError:
    return CorpusNotFoundError(
        f"{corpus.title}: {what} was found in {folder} or the folders below it. Pass another data_dir=, the folder of "
        f"your copy.\n{how_to(corpus)}"
    )


class _ClipFolders:
    """Where the clips of one layout lie below a frame root."""

    def __init__(self, corpus: type[Declaration], layout: Layout, tree: Tree):
        self.layout = layout
        self.tree = tree
        self.pattern = layout.clip.replace("{subject}", corpus.subject)
        self.spelling = corpus.spelling

    def patterns(self, clip: Annotation) -> list[str]:
        """Where a clip may lie, as patterns for `Tree.find`; only a `*` of the layout is a wildcard."""
        texts = {key: glob.escape(value) for key, value in clip.places.items() if isinstance(value, str)}
        places = {**clip.places, **texts, "released": glob.escape(clip.subject), "onset": clip.onset}
        emotions = [clip.emotion, *(released for released, emotion in self.spelling if emotion == clip.emotion)]
        filled = (self.pattern.format(**{**places, "emotion": glob.escape(emotion)}) for emotion in emotions)
        return list(dict.fromkeys(filled))

    def find(self, clip: Annotation, root: Path) -> list[Path]:
        """The folders of a clip: one, where all is well."""
        if isinstance(folder := clip.places.get("folder"), Path):  # which the annotation was taken from
            return [folder]
        return [path for pattern in self.patterns(clip) for path in self.tree.find(root, pattern)]

    def match(self, root: Path) -> list[tuple[Path, dict[str, str]]]:
        """All folders that may be a clip's, and what their names say."""
        return self.tree.match(root, self.pattern)

    def finder(self, clips: Sequence[Annotation]) -> Callable[[Path], list[Path]]:
        """What finds the clips below a folder."""
        if not self.layout.sheets:
            return lambda root: [path for path, _ in self.match(root)]
        patterns = [pattern for clip in clips for pattern in self.patterns(clip)]
        firsts = {_unescaped(pattern.split("/")[0]).casefold() for pattern in patterns}
        literal = not any("*" in first for first in firsts)

        def clips_in(root: Path) -> list[Path]:
            # most folders hold no clips; not to try all patterns there saves a minute with CAS(ME)^3
            if literal and firsts.isdisjoint(name.casefold() for name in self.tree.subfolders(root)):
                return []
            return [path for pattern in patterns for path in self.tree.find(root, pattern)]

        return clips_in


def _unescaped(pattern: str) -> str:
    return pattern.replace("[*]", "*").replace("[?]", "?").replace("[[]", "[")


class _Rows(NamedTuple):
    """What the rows of a sheet, or the folders of a layout without one, say."""

    sheet: Path | None
    annotations: list[Annotation]
    problems: list[Problem]
    corrections: Sequence[tuple[Correction, str]] = ()
    notes: Sequence[str] = ()
    unread: frozenset[str] = frozenset()  # names of the clips whose rows could not be understood


class _Found(NamedTuple):
    """What the layout that fits best finds in a data folder."""

    folders: _ClipFolders
    root: Path | None
    rows: _Rows


def _find_layout(corpus: type[Declaration], tree: Tree, corrections: bool) -> _Found:
    """The layout that fits best, and what it finds.

    Raises:
        CorpusNotFoundError, AnnotationError: None fits.
    """
    paths = [layout.path for layout in corpus.layouts]
    read: dict[tuple, _Rows | AnnotationError | None] = {}  # layouts share sheets
    fitting: list[tuple[tuple, _Found]] = []
    without_root: list[_Found] = []
    for layout in corpus.layouts:
        key = layout.sheets, layout.columns, layout.page, layout.more_clips
        if key not in read:
            try:
                read[key] = _read_sheet(corpus, layout, tree.top, corrections)
            except AnnotationError as error:  # the sheet of another release may be sound
                read[key] = error
        rows = read[key]
        if not isinstance(rows, _Rows):
            continue
        folders = _ClipFolders(corpus, layout, tree)
        root = find_frame_root(tree.top, layout.path, folders.finder(rows.annotations), layout.by_name_only)
        if root is None:
            without_root.append(_Found(folders, None, rows))
            continue
        if not layout.sheets:
            rows = _read_folders(corpus, folders, root.folder)
        # of layouts that differ in their clips only, the one with most of them
        preference = root.named, -paths.index(layout.path), root.clips, root.depth
        fitting.append((preference, _Found(folders, root.folder, rows)))
    if fitting:
        return max(fitting, key=lambda fit: fit[0])[1]

    with_sheet = [found for found in without_root if found.rows.sheet is not None]
    for found in with_sheet:
        if not found.rows.annotations:  # not one row was understood, so nothing could be looked for
            return found
    for error in read.values():
        if isinstance(error, AnnotationError):
            raise error
    if with_sheet:
        folders, _, rows = with_sheet[0]
        example = _unescaped(folders.patterns(rows.annotations[0])[0])
        raise _not_found(corpus, f"no folder with the clips of {rows.sheet}, such as {example},", tree.top)
    sheets = dict.fromkeys(itertools.chain.from_iterable(layout.sheets for layout in corpus.layouts))
    what = [f"no coding sheet {' or '.join(sheets)}"] if sheets else []
    what += [f"no folder {layout.path} with clips" for layout in corpus.layouts if not layout.sheets]
    raise _not_found(corpus, ", and ".join(what), tree.top)


# --- from rows, or folders, to annotations ----------------------------------------------------------------------------


def _read_sheet(corpus: type[Declaration], layout: Layout, data_dir: Path, corrections: bool) -> _Rows | None:
    """What the sheet of a layout says; None where there is no sheet, and nothing where the layout has none.

    Raises:
        AnnotationError: It cannot be read, or holds no clip.
    """
    if layout.columns is None:
        return _Rows(None, [], [])
    sheet = find_sheet(data_dir, layout.sheets)
    if sheet is None:
        return None
    records = read_sheet(sheet, layout.columns, layout.page, layout.more_clips, corpus.lookups)
    if not records:
        raise AnnotationError(f"{sheet} has its columns, but no clip below them.")
    others = Counter(kind for record in records if (kind := record["kind"].lower()) in corpus.other_kinds)
    problems: list[Problem] = []
    unread: set[str] = set()
    spelt = []
    for record in records:
        if record["kind"].lower() in corpus.other_kinds:
            continue
        try:
            spelt.append(_spell_subject(record, corpus))
        except AnnotationError as error:
            problems.append(Problem("row", str(error)))
            unread.add(record["name"])
    outcomes: list[tuple[Correction, str]] = []
    if corrections:
        spelt, outcomes = correct(spelt, read_corrections(CORRECTIONS / f"{corpus.corpus}.csv"))
    annotations = _parse(corpus, spelt, problems, unread)
    if not annotations and not problems:
        raise AnnotationError(f"{sheet} holds no clip; its rows are of the kinds {', '.join(others)}.")
    notes = [f"{rows} rows of the sheet are of the kind {kind}" for kind, rows in others.items()]
    return _Rows(sheet, annotations, problems, outcomes, notes, frozenset(unread))


def _spell_subject(record: dict[str, Any], corpus: type[Declaration]) -> dict[str, Any]:
    """The record with its subject as the corpus spells it, and the number of the subject beside it.

    Raises:
        AnnotationError: The kind of the row is none that the corpus has, or a page or the subject lacks what is needed.
    """
    released, name = record["subject"], record["name"]
    if corpus.kind is not None and record["kind"].lower() != corpus.kind:
        known = " nor ".join(map(repr, (corpus.kind, *corpus.other_kinds)))
        raise AnnotationError(f"{released}/{name}: {record['kind']!r} is neither {known}.")
    for lookup in corpus.lookups:
        if not record[lookup.field]:
            missing = f"the {lookup.cell} {record[lookup.cell]!r} is not on the page {lookup.page!r}"
            raise AnnotationError(f"{released}/{name}: {missing}.")
    number = LAST_INTEGER.search(released)
    if number and len(number[1]) <= 18:
        record = {**record, "number": int(number[1])}
    try:
        return {**record, "subject": corpus.subject.format(**record, released=released)}
    except KeyError:
        raise AnnotationError(f"{name}: the subject {released!r} has no number in it.") from None


def _read_folders(corpus: type[Declaration], folders: _ClipFolders, root: Path) -> _Rows:
    """What folders say that are the annotation: a clip goes from its first frame to its last."""
    problems: list[Problem] = []
    records = []
    blank = dict.fromkeys(Columns._fields, "")
    for folder, fields in folders.match(root):
        try:
            folders.tree.check_inside(folder)
            frames = list_frames(folder, folders.tree)
            if not frames:
                raise AnnotationError(f"{folder} holds no images.")
            record = {**blank, **fields, "subject": fields["number"], "folder": folder}
            record |= {"onset": str(frames[0].number), "offset": str(frames[-1].number)}
            records.append(_spell_subject(record, corpus))
        except AnnotationError as error:
            problems.append(Problem("frames", str(error)))
    return _Rows(None, _parse(corpus, records, problems, set()), problems)


def _parse(
    corpus: type[Declaration], records: Iterable[dict[str, Any]], problems: list[Problem], unread: set[str]
) -> list[Annotation]:
    """The annotations; what cannot be understood goes to `problems`, and its name to `unread`."""
    annotations = []
    for record in records:
        try:
            annotations.append(
                parse_annotation(record, corpus.emotions, dict(corpus.spelling), corpus.blends, corpus.no_offset)
            )
        except AnnotationError as error:
            problems.append(Problem("row", str(error)))
            unread.add(record["name"])
    return annotations


# --- from annotations to frames ---------------------------------------------------------------------------------------


def _own_folders(
    clips: Sequence[Annotation], folders: _ClipFolders, root: Path, problems: list[Problem]
) -> dict[Annotation, Path]:
    """The folder of every clip that has just one, and shares it with no other subject."""
    own: dict[Annotation, Path] = {}
    subjects: dict[Path, set[str]] = {}
    for clip in clips:
        found = folders.find(clip, root)
        if len(found) == 1:
            own[clip] = found[0]
            subjects.setdefault(found[0], set()).add(clip.subject)
        elif found:
            both = " and ".join(map(str, found))
            problems.append(Problem("two folders", f"{clip} has {both}; keep one of them."))
        else:
            expected = " or ".join(map(_unescaped, folders.patterns(clip)))
            problems.append(Problem("missing folder", f"{clip}: no folder {root / expected}"))
    for clip, folder in list(own.items()):
        if len(subjects[folder]) > 1:
            del own[clip]
            others = ", ".join(sorted(subjects[folder]))
            problems.append(Problem("shared folder", f"{clip}: {folder} cannot belong to {others} at once."))
    return own


def _frames(folders: Mapping[Annotation, Path], tree: Tree, problems: list[Problem]) -> dict[Annotation, list[Frame]]:
    """The frames from onset to offset of every clip that has at least two, so that something can move."""
    frames: dict[Annotation, list[Frame]] = {}
    clips_of: dict[Path, list[Annotation]] = {}
    for clip, folder in folders.items():
        clips_of.setdefault(folder, []).append(clip)
    for folder, clips in clips_of.items():  # a long recording is listed once for all its clips
        try:
            tree.check_inside(folder)
            on_disk = list_frames(folder, tree)
        except AnnotationError as error:
            problems += [Problem("frames", f"{clip}: {error}") for clip in clips]
            continue
        for clip in clips:
            inside = [frame for frame in on_disk if clip.onset <= frame.number <= clip.offset]
            total = clip.offset - clip.onset + 1
            if len(inside) < 2:
                there = f"{len(on_disk)} images" + (f" ({on_disk[0].number}-{on_disk[-1].number})" if on_disk else "")
                few = f"{len(inside)} of the frames {clip.onset}-{clip.offset} among {there} in {folder}"
                problems.append(Problem("too few frames", f"{clip}: {few}"))
                continue
            frames[clip] = inside
            if len(inside) < total:
                gaps = ", ".join(_gaps([frame.number for frame in inside], clip.onset, clip.offset))
                text = f"{clip}: {len(inside)} of {total} frames are on disk; missing {gaps}"
                problems.append(Problem("missing frames", text, fatal=False))
    return frames


def _gaps(numbers: Sequence[int], first: int, last: int) -> Iterable[str]:
    """The stretches from first to last that are not among sorted numbers: `57`, `60-63`."""
    for before, after in itertools.pairwise((first - 1, *numbers, last + 1)):
        if after - before == 2:
            yield str(before + 1)
        elif after - before > 2:
            yield f"{before + 1}-{after - 1}"


# --- what is odd, or other than expected ------------------------------------------------------------------------------


def _add_unlisted(reading: Reading, corpus: type[Declaration], found: _Found, root: Path) -> None:
    """Tell of clips on disk that no row of the sheet names."""
    if not found.folders.layout.sheets or found.folders.layout.recordings:
        return
    named = {path for clip in found.rows.annotations for path in found.folders.find(clip, root)}
    known = dict(corpus.not_in_sheet)
    for path, fields in found.folders.match(root):
        if path in named or fields.get("name") in found.rows.unread or not any(map(is_image, entries(path))):
            continue
        clip = path.relative_to(root).as_posix()
        if clip in known:
            reading.notes.append(f"{clip} is on disk and in no sheet: {known[clip]}")
        else:
            text = f"{clip} is on disk, and no row of the sheet names it"
            reading.problems.append(Problem("not in the sheet", text, fatal=False))


def expected_counts(corpus: type[Declaration], annotations: Sequence[Annotation]) -> Counts | None:
    """The known release that is nearest to what was found; None where none is known."""

    def distance(counts: Counts) -> tuple[int, int]:
        classes = class_counts(corpus, annotations, counts.label_set)
        names = classes.keys() | counts.classes.keys()
        apart = sum(abs(classes[name] - counts.classes.get(name, 0)) for name in names)
        return abs(counts.clips - len(annotations)), apart if counts.classes else 0

    return min(corpus.counts, key=distance, default=None)


def class_counts(corpus: type[Declaration], annotations: Iterable[Annotation], label_set: str) -> Counter:
    """How many clips each class of a label set has."""
    labels = corpus.labels(label_set)
    found = Counter(labels.class_of(annotation.emotion) for annotation in annotations)
    return Counter({name: found[name] for name in labels.class_names})


def count_problems(corpus: type[Declaration], annotations: Sequence[Annotation]) -> list[Problem]:
    """Where the clips are other than a known release has them."""
    expected = expected_counts(corpus, annotations)
    if expected is None or not expected.confirmed:
        return []
    subjects = len({annotation.subject for annotation in annotations})
    found = [("clips", len(annotations), expected.clips), ("subjects", subjects, expected.subjects)]
    classes = class_counts(corpus, annotations, expected.label_set)
    found += [(f"of {name}", classes[name], clips) for name, clips in expected.classes.items()]
    other = [f"{number} {what}, not {wanted}" for what, number, wanted in found if wanted not in (None, number)]
    return [Problem("counts", f"other counts than {expected.release}: {'; '.join(other)}", False)] if other else []


def _notes(clips: Sequence[Clip], corpus: type[Declaration]) -> list[str]:
    """What is odd about the annotations, and no fault of the copy."""
    notes = []
    without = [str(clip.annotation) for clip in clips if clip.annotation.apex is None]
    if without:
        which = f": {', '.join(without)}" if len(without) <= SHOWN else ""
        notes.append(f"clips without an apex: {len(without)}{which}")
    for clip in clips:
        if clip.annotation.apex is not None and clip.apex is None:
            notes.append(
                f"{clip.annotation}: the apex {clip.annotation.apex} is outside {clip.annotation.onset}-"
                f"{clip.annotation.offset}, so the clip has none"
            )
    if corpus.no_offset is not None:
        ending = sum(clip.annotation.places["offset"] == corpus.no_offset for clip in clips)
        notes.append(f"clips that end at their apex, for the sheet gives no offset: {ending}")
    return notes
