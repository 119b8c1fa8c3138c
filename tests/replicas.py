"""Replicas: every corpus as it is released, with its names, counts and oddities, and nobody's face.

A licensed corpus cannot be handed on, so what reads it is tried on a replica: the folders, the sheet and the file names
of the release, around images of 8 x 8 pixels. Folders, titles, totals and oddities are those that loaders and papers
tell of; which clip has which name, frames and action units is made up, and so are the counts per class of MMEW,
CAS(ME)^3, 4DME, SMIC VIS and SMIC NIR.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from openpyxl import Workbook

from mer_hf.corpora.casme import Casme
from mer_hf.corpora.casme2 import Casme2
from mer_hf.corpora.casme3 import Casme3
from mer_hf.corpora.casme_squared import CasmeSquared
from mer_hf.corpora.declaration import Declaration, Layout
from mer_hf.corpora.fourdme import FourDme
from mer_hf.corpora.mmew import Mmew
from mer_hf.corpora.samm import Samm
from mer_hf.corpora.smic import Smic, SmicNir, SmicVis

EDGE = 1  # frames on disk before the onset and after the offset

Row = Sequence[Any]
Pages = dict[str, list[Row]]


@dataclass
class Take:
    """One clip of a replica."""

    subject: int
    name: str
    emotion: str  # as the sheet writes it
    onset: int = 0
    apex: int = 0
    offset: int = 0
    places: dict[str, Any] = field(default_factory=dict)  # what its folder is made of beside these
    cells: dict[str, Any] = field(default_factory=dict)  # what the sheet says otherwise, by field
    image: str | None = None  # the file name, where it is not that of the layout
    frames: list[bytes] = field(default_factory=list)  # the images on disk
    first: int = 0  # the number of the first of them
    listed: bool = True  # whether the sheet has it


@dataclass(frozen=True)
class Replica:
    """How one release of a corpus is made.

    Args:
        corpus: Its declaration.
        layout: One of its layouts.
        subjects: The numbers of its subjects.
        emotions: Emotion as the sheet writes it -> clips.
        name: (subject, number among all clips, emotion) -> name of a clip.
        length: Shortest and longest clip in frames, onset and offset included.
        known: Clips that are known by name, counted among `emotions`.
        reserved: Subjects that show these emotions only.
        oddities: What makes takes differ from the rule; it changes them.
        sheet: The file name of the coding sheet.
        pages: Takes -> the pages of the sheet, as rows of cells.
    """

    corpus: type[Declaration]
    layout: Layout
    subjects: tuple[int, ...]
    emotions: Mapping[str, int]
    name: Callable[[int, int, str], str]
    length: tuple[int, int]
    known: tuple[tuple[int, str, str], ...] = ()
    reserved: Mapping[int, Sequence[str]] = field(default_factory=dict)
    oddities: Callable[[list[Take], random.Random], None] = lambda takes, rng: None
    sheet: str | None = None
    pages: Callable[[list[Take]], Pages] = lambda takes: {}
    path: str | None = None  # of the frames, where it is not that of the layout


def replicate(
    corpus: str,
    data_dir: str | Path,
    release: str | None = None,
    *,
    subjects: int | None = None,
    clips: int | None = None,
    frames: int | None = None,
    seed: int = 0,
) -> Path:
    """Write a replica of a corpus.

    Args:
        corpus: A key of `REPLICAS`.
        data_dir: Folder to write.
        release: A key of `REPLICAS[corpus]`; the first by default.
        subjects: Only the first so many; all by default.
        clips: Only the first so many of each subject; all by default.
        frames: From onset to offset, for every clip, at least 2; as the corpus has them by default.
        seed: Of everything random; the same seed writes the same bytes of images.

    Returns:
        `data_dir`, as a Path.
    """
    releases = REPLICAS[corpus]
    data_dir = Path(data_dir)
    for replica, folder in releases[release or next(iter(releases))]:
        takes = _takes(replica, subjects, clips, seed)
        _film(replica, takes, frames, seed)
        _write(replica, takes, data_dir / folder)
    return data_dir


# --- who shows what ---------------------------------------------------------------------------------------------------


def _takes(replica: Replica, subjects: int | None, clips: int | None, seed: int) -> list[Take]:
    """All clips, dealt out to the subjects in turn, in the order of subjects."""
    takes = [Take(*known) for known in replica.known]
    names, taken = {take.name for take in takes}, set()
    left = dict(replica.emotions)
    for take in takes:
        left[take.emotion] -= 1
    free = [subject for subject in replica.subjects if subject not in replica.reserved]
    for subject, emotions in replica.reserved.items():
        for emotion in emotions:
            left[emotion] -= 1
            takes.append(Take(subject, replica.name(subject, len(takes), emotion), emotion))
    turns = itertools.cycle(free)
    for emotion in itertools.chain.from_iterable([emotion] * number for emotion, number in left.items()):
        subject = next(turns)
        number = len(takes)
        while (name := replica.name(subject, number, emotion)) in names or (subject, name) in taken:
            number += sum(replica.emotions.values())  # no other clip has a name of this number
        taken.add((subject, name))
        takes.append(Take(subject, name, emotion))
    shown: Counter = Counter()

    def turn(take: Take) -> tuple[int, int]:
        """A subject shows every emotion once before any twice, so that a few clips show several."""
        shown[take.subject, take.emotion] += 1
        return take.subject, shown[take.subject, take.emotion]

    takes.sort(key=turn)
    chosen = [
        take
        for subject, own in itertools.groupby(takes, key=lambda take: take.subject)
        if subjects is None or subject in sorted(replica.subjects)[:subjects]
        for take in itertools.islice(own, clips)
    ]
    for take in chosen:
        # random by clip, so that two sheets of a release give a clip the same frames
        rng = random.Random(f"{seed} {replica.corpus.corpus} {take.subject} {take.name}")
        take.onset = rng.randint(EDGE + 1, 400)
        take.cells["action_units"] = rng.choice([12, 4, 15, "4+7", "1+2", "L14", "4+L10"])
        take.frames = [b""] * rng.randint(*replica.length)
    return chosen


def _film(replica: Replica, takes: list[Take], frames: int | None, seed: int) -> None:
    """Give every take its images, its apex and its offset, then its oddities."""
    images = _plain_images(Path(replica.layout.image).suffix)
    for take in takes:
        take.first = take.onset - EDGE
        take.offset = take.onset + (frames or len(take.frames)) - 1
        take.apex = (take.onset + take.offset + 1) // 2
        total = take.offset + EDGE - take.first + 1
        take.frames = [images[index % len(images)] for index in range(total)]
    replica.oddities(takes, random.Random(seed))


def _plain_images(suffix: str) -> list[bytes]:
    """A few images of 8 x 8 pixels in turn, so that neighbours differ."""
    ramp = np.linspace(40, 200, 8, dtype=np.uint8)
    return [cv2.imencode(suffix, np.tile(np.roll(ramp, shift), (8, 1)))[1].tobytes() for shift in range(8)]


def shift(take: Take, onset: int) -> None:
    """Move a take in its recording."""
    by = onset - take.onset
    take.onset, take.apex, take.offset, take.first = onset, take.apex + by, take.offset + by, take.first + by


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(replica: Replica, takes: Iterable[Take], folder: Path) -> None:
    takes = list(takes)
    clip = replica.layout.clip.replace("{subject}", replica.corpus.subject)
    for take in takes:
        places = {"number": take.subject, "released": take.subject, "name": take.name, "onset": take.onset}
        places |= {"emotion": take.emotion, **take.places}
        image = (take.image or replica.layout.image).replace("{subject}", replica.corpus.subject)
        below = clip.replace("*", take.places.get("any", "")).format(**places)
        clip_folder = folder / (replica.path or replica.layout.path) / below
        clip_folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(take.frames, take.first):
            (clip_folder / image.format(frame=number, **places)).write_bytes(content)
    if replica.sheet:
        book = Workbook()
        book.remove(book.active)
        for title, rows in replica.pages([take for take in takes if take.listed]).items():
            page = book.create_sheet(title)
            for row in rows:
                page.append(list(row))
        sheet = folder / replica.sheet
        sheet.parent.mkdir(parents=True, exist_ok=True)
        book.save(sheet)


def table(header: Sequence[str | None], layout: Layout, subject: Callable[[int], Any] = int) -> Callable:
    """What writes the rows of a sheet below the titles of a release."""
    fields = {title: field for field, title in layout.columns._asdict().items() if title is not None}

    def row(take: Take) -> Row:
        return [_cell(take, fields.get(title), title, subject) for title in header]

    def rows(takes: list[Take]) -> list[Row]:
        return [tuple(header), *map(row, takes)]

    return rows


def _cell(take: Take, field: str | None, title: str | None, subject: Callable[[int], Any]) -> Any:
    for key in (title, field):
        if key in take.cells:
            return take.cells[key]
    if field == "subject":
        return subject(take.subject)
    return None if field is None else getattr(take, field, None)


# --- SMIC -------------------------------------------------------------------------------------------------------------

SMIC_SUBJECTS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)
SMIC_CODES = {"negative": "ne", "positive": "po", "surprise": "sur"}
SMIC_TITLES = (
    *("Subject", "Filename", None, "OnsetF", "OffsetF", "ApexF", "TotalMF1", "Onset2F", "Offset2F", "TotalMF2"),
    *("Onset3F", "Offset3F", "TotalMF3", "FirstF", "LastF", "TotalVL", "Emotion"),
)


def _smic(corpus: type[Smic], layout: int, **more: Any) -> Replica:
    hs = corpus is Smic
    return Replica(
        corpus=corpus,
        layout=corpus.layouts[layout],
        subjects=SMIC_SUBJECTS if hs else SMIC_SUBJECTS[-8:],
        emotions=corpus.counts[0].classes or {"negative": 28, "positive": 23, "surprise": 20},
        name=lambda subject, number, emotion: f"s{subject}_{SMIC_CODES[emotion]}_{number + 1:02d}",
        length=(11, 58) if hs else (4, 13),
        **more,
    )


def _number_smic(takes: list[Take], image: str) -> None:
    """Frame numbers of six digits, and of eight for one subject."""
    for number, take in enumerate(takes):
        shift(take, take.onset + 100_000 + 1000 * number)
        take.image = image.replace("06d", "08d" if take.subject == 20 else "06d")


def _smic_folders(corpus: type[Smic], layout: int) -> Replica:
    def oddities(takes: list[Take], rng: random.Random) -> None:
        _number_smic(takes, corpus.layouts[layout].image)
        for take in takes:
            # the folders are the annotation, so that nothing lies before the onset or after the offset
            take.frames = take.frames[take.onset - take.first : take.offset - take.first + 1]
            take.first = take.onset

    return _smic(corpus, layout, oddities=oddities)


def _smic_extended(corpus: type[Smic], with_apex: bool) -> Replica:
    number = 2 if with_apex else 3
    layout = corpus.layouts[number]
    camera = corpus.title.split()[-1]
    header = [title for title in SMIC_TITLES if with_apex or title != "ApexF"]

    def oddities(takes: list[Take], rng: random.Random) -> None:
        _number_smic(takes, layout.image)
        for take in takes:
            take.cells |= {"FirstF": take.first, "LastF": take.first + len(take.frames) - 1}
            take.cells |= {"TotalMF1": take.offset - take.onset + 1, "TotalVL": len(take.frames)}
        for take in takes[::40]:
            take.cells["FirstF"] = "not found"
        # a few clips stand in the row of another one, whose video and emotion they share
        for first, second in itertools.islice(_neighbours(takes), 3):
            second.name, second.listed = first.name, False
            shift(second, first.offset + 20)
            first.cells |= {"Onset2F": second.onset, "Offset2F": second.offset}
            first.cells["TotalMF2"] = second.offset - second.onset + 1

    def pages(takes: list[Take]) -> Pages:
        blank = [(None,) * len(header), (" ", *(None,) * (len(header) - 1))]
        return {"Sheet1": table(header, layout)(takes) + blank, "Sheet2": []}

    sheet = f"SMIC-E_raw image/{camera}_long/SMIC-{camera}-E_annotation{'_2019' if with_apex else ''}.xlsx"
    return _smic(corpus, number, oddities=oddities, sheet=sheet, pages=pages)


def _neighbours(takes: list[Take]) -> Iterable[tuple[Take, Take]]:
    """Pairs of clips of one subject and emotion."""

    def group(take: Take) -> tuple[int, str]:
        return take.subject, take.emotion

    for _, alike in itertools.groupby(sorted(takes, key=group), key=group):
        pair = list(itertools.islice(alike, 2))
        if len(pair) == 2:
            yield pair[0], pair[1]


# --- CASME ------------------------------------------------------------------------------------------------------------

CASME_TITLES = (
    *("Subject", "Filename", None, "OnsetF", "ApexF1", "ApexF2", "OffsetF", None, "Onset", "Total", "AU", "Emotion"),
)


def _casme(counts: int, layout: int) -> Replica:
    released = Casme.counts[counts]
    emotions = dict(released.classes)
    image = Casme.layouts[layout].image.replace(":03d", "")
    if counts == 1:
        emotions["comtempt"] = emotions.pop("contempt")

    def oddities(takes: list[Take], rng: random.Random) -> None:
        for take in takes:
            take.cells["ApexF2"] = take.apex + 1
            padded = (take.subject, take.name) >= (7, "EP17_2")
            take.image = image.replace("{frame}", "{frame:03d}") if padded else image
        for take in rng.sample(takes, min(55, len(takes))):
            take.cells["ApexF2"] = "\\"
        for first, second in itertools.islice(_neighbours(takes), 14):
            second.name, second.image = first.name, first.image
            shift(second, first.offset + 3 * EDGE)

    return Replica(
        corpus=Casme,
        layout=Casme.layouts[layout],
        subjects=tuple(range(1, released.subjects + 1)),
        emotions=emotions,
        # no name stands for clips of two subjects, for a release by emotion could not hold them
        name=lambda subject, number, emotion: f"EP{number % 19 + 1:02d}_{number // 19 + 1}",
        length=(8, 30),
        known=((1, "EP01_12", "tense"), (7, "EP17_2", "tense")),
        oddities=oddities,
        sheet="CASME-coded-20190721.xlsx" if counts else "CASME.xlsx",
        pages=lambda takes: {"Sheet1": table(CASME_TITLES, Casme.layouts[layout])(takes)},
    )


# --- CASME II ---------------------------------------------------------------------------------------------------------

CASME2_TITLES = (
    *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units"),
    *("Estimated Emotion", "Objective Classes"),
)


def _casme2(year: int, layout: int) -> Replica:
    new = year == 2019
    changed = "surprise" if new else "sadness"

    def oddities(takes: list[Take], rng: random.Random) -> None:
        for take in takes:
            take.cells["Objective Classes"] = rng.randint(1, 7)
        for take in takes[10:40:10]:
            take.apex = take.offset
        for take in list(takes):
            match take.subject, take.name:
                case 4, "EP12_01f":
                    take.cells["apex"] = "/"
                case 5, "EP09_05f":
                    take.apex = take.onset
                case 7, "EP06_01":  # it is not told what the sheet says, only that it should be 91
                    shift(take, 91 - (take.offset - take.onset))
                    take.cells["offset"] = take.offset + 28
                case 24, "EP02_02f":
                    takes.append(replace(take, name="EP02_07", listed=False))

    return Replica(
        corpus=Casme2,
        layout=Casme2.layouts[layout],
        subjects=tuple(range(1, 27)),
        emotions=Casme2.counts[0 if new else 1].classes,
        name=lambda subject, number, emotion: f"EP{number % 19 + 1:02d}_{number // 19 + 1:02d}{'f' * (number % 2)}",
        length=(24, 110),
        known=(
            *((1, "EP02_01f", "happiness"), (4, "EP12_01f", "disgust"), (5, "EP09_05f", "disgust")),
            *((7, "EP06_01", "others"), (24, "EP02_02f", "disgust")),
            *((24, "EP07_01", changed), (24, "EP07_04f", changed), (24, "EP10_03", changed)),
        ),
        reserved={10: ["others"] * 5 + ["sadness"], 18: ["others"] * 3},  # the composite has none of theirs
        oddities=oddities,
        sheet=f"CASME2-coding-{'20190701' if new else '20140508'}.xlsx",
        pages=lambda takes: {
            "Sheet1": table(CASME2_TITLES[: None if new else -1], Casme2.layouts[layout], "{:02d}".format)(takes)
        },
        path=None if layout else "CASME2_RAW_selected/CASME2_RAW_selected",
    )


# --- SAMM -------------------------------------------------------------------------------------------------------------

SAMM_TITLES = (
    *("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro"),
    *("Action Units", "Estimated Emotion", "Objective Classes", "Notes"),
)
# 25 stands in for the subject that the composite does not have
SAMM_SUBJECTS = (6, 7, *range(9, 27), 28, *range(30, 38))


def _samm() -> Replica:
    layout = Samm.layouts[0]

    def oddities(takes: list[Take], rng: random.Random) -> None:
        for take in takes:
            shift(take, take.onset + 2000)
            take.image = "{subject}_{frame:05d}.jpg" if take.subject % 2 else "{subject}_{frame:04d}.jpg"
            take.cells |= {"Duration": take.offset - take.onset + 1, "Micro": "Micro - 1/2", "Inducement Code": 1}
            match take.name:
                case "028_4_1":
                    shift(take, 1134 - (take.offset - take.onset))
                    take.cells["apex"] = 1143
                case "032_3_1":
                    shift(take, 4945 - (take.apex - take.onset))
                    take.cells["apex"] = 1930
                case "032_3_2":
                    take.apex = take.onset + 1

    def pages(takes: list[Take]) -> Pages:
        above = [("SAMM micro-movements",), *[(f"a note, line {number}",) for number in range(12)]]
        rows = table(SAMM_TITLES, layout, "{:03d}".format)(takes)
        # another page with the same columns that lists more than the micro-movements
        return {"ALL": [*rows, *rows[1:4]], "MICRO_ONLY": [*above, *rows, (None,) * 3], "Notes": [("nothing",)]}

    return Replica(
        corpus=Samm,
        layout=layout,
        subjects=SAMM_SUBJECTS,
        emotions={emotion.capitalize(): clips for emotion, clips in Samm.counts[0].classes.items()},
        name=lambda subject, number, emotion: f"{subject:03d}_{number % 7 + 1}_{number // 7 + 1}",
        length=(30, 101),
        known=((28, "028_4_1", "Anger"), (32, "032_3_1", "Other"), (32, "032_3_2", "Anger"), (6, "006_1_2", "Anger")),
        reserved={25: ["Other"] * 2},
        oddities=oddities,
        sheet="SAMM_Micro_FACS_Codes_v2.xlsx",
        pages=pages,
    )


# --- MMEW -------------------------------------------------------------------------------------------------------------


def _mmew() -> Replica:
    layout = Mmew.layouts[0]
    emotions = {"happiness": 36, "surprise": 89, "anger": 8, "disgust": 72, "fear": 16, "sadness": 13, "others": 66}

    def oddities(takes: list[Take], rng: random.Random) -> None:
        for take in takes:
            shift(take, EDGE + 1)
            take.places["emotion"] = "repression" if take.emotion == "others" else take.emotion

    header = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion")
    return Replica(
        corpus=Mmew,
        layout=layout,
        subjects=tuple(range(1, 37)),
        emotions=emotions,
        name=lambda subject, number, emotion: f"S{subject:02d}-{list(emotions).index(emotion) + 1:02d}-{number:03d}",
        length=(20, 80),
        known=((13, "S13-07-001", "anger"),),
        oddities=oddities,
        sheet="MMEW_Micro_Exp.xlsx",
        pages=lambda takes: {"Sheet1": table((*header, "remarks"), layout)(takes)},
    )


# --- CAS(ME)^2 --------------------------------------------------------------------------------------------------------

# The sheet counts the participants from 1.
PARTICIPANTS = (15, 16, *range(19, 28), *range(29, 39), 40)
RECORDINGS = {"disgust1": "0101", "disgust2": "0102", "anger1": "0401", "happy1": "0502", "happy2": "0503"}
STIMULI = {
    "disgust1": "disgustingteeth",
    "disgust2": "disgustingear",
    "anger1": "childabuse",
    "happy1": "funnyfaces",
    "happy2": "unfunnyfaces",
}


def _casme_squared(layout: int) -> Replica:
    def oddities(takes: list[Take], rng: random.Random) -> None:
        ends: dict[tuple[int, str], int] = {}
        for take in takes:
            stimulus = take.name.split("_")[0]
            take.places = {"participant": PARTICIPANTS[take.subject - 1], "recording": RECORDINGS[stimulus]}
            take.places["any"] = STIMULI[stimulus]
            shift(take, ends.get((take.subject, stimulus), 0) + 2 * EDGE)
            ends[take.subject, stimulus] = take.offset + EDGE
        for take in takes[::10]:  # six of the 44 rows without an offset
            take.apex = take.offset
            take.cells["offset"] = 0

    def pages(takes: list[Take]) -> Pages:
        micro = [_casme_squared_row(take, "micro-expression") for take in takes]
        # 300 macro-expressions, whose frames nothing reads
        happy = ("6+12", "positive", "macro-expression", "happiness")
        macro = [
            (1 + number % 22, f"happy1_{100 + number}", 10, 40, 0 if number < 38 else 90, *happy)
            for number in range(300)
        ]
        return {
            "CASFEcode_final": [*micro[:20], *macro, *micro[20:]],
            "naming rule1": [(who, f"s{who}", number) for number, who in enumerate(PARTICIPANTS, 1)],
            "naming rule2": [(code, name) for name, code in RECORDINGS.items()],
        }

    stimuli = list(RECORDINGS)
    return Replica(
        corpus=CasmeSquared,
        layout=CasmeSquared.layouts[layout],
        subjects=tuple(range(1, 15)),
        emotions=CasmeSquared.counts[0].classes,
        name=lambda subject, number, emotion: f"{stimuli[number % len(stimuli)]}_{number // len(stimuli) + 1}",
        length=(4, 16),
        known=((1, "disgust2_3", "negative"), (1, "disgust1_1", "negative")),
        oddities=oddities,
        sheet="CAS(ME)^2code_final.xlsx",
        pages=pages,
    )


def _casme_squared_row(take: Take, kind: str) -> Row:
    offset = take.cells.get("offset", take.offset)
    units = take.cells["action_units"]
    return (take.subject, take.name, take.onset, take.apex, offset, units, take.emotion, kind, "disgust")


# --- CAS(ME)^3 --------------------------------------------------------------------------------------------------------


def _casme3(layout: int) -> Replica:
    def oddities(takes: list[Take], rng: random.Random) -> None:
        ends: dict[tuple[int, str], int] = {}
        for take in takes:
            take.name = take.name[0]  # a recording, which may hold several clips
            key = (take.subject, take.name)
            shift(take, ends.get(key, 100) + 2 * EDGE)
            ends[key] = take.offset + EDGE
            # numbers stand in the sheet as text
            take.cells |= {"onset": str(take.onset), "apex": str(take.apex), "offset": str(take.offset)}
            take.cells["Objective class"] = rng.randint(1, 7)
        for take in takes[5:7]:
            take.apex = take.offset
            take.cells |= {"apex": str(take.offset), "offset": "0"}

    header = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
    return Replica(
        corpus=Casme3,
        layout=Casme3.layouts[layout],
        subjects=tuple(range(1, 95)),
        emotions={"disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sad": 57, "happy": 55},
        name=lambda subject, number, emotion: f"{'abcdefghijklm'[number // 188]}{number}",
        length=(4, 16),
        oddities=oddities,
        sheet="cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        pages=lambda takes: {"label": table(header, Casme3.layouts[layout], "spNO.{}".format)(takes)},
    )


# --- 4DME -------------------------------------------------------------------------------------------------------------


def _fourdme() -> Replica:
    layout = FourDme.layouts[0]

    def oddities(takes: list[Take], rng: random.Random) -> None:
        for take in takes:
            take.places["released"] = f"S{take.subject:02d}"

    header = ("sub_ID", "fold_name", "Onset", "Apex", "Offset", "AUs", "Emotion")
    return Replica(
        corpus=FourDme,
        layout=layout,
        subjects=tuple(range(1, 42)),
        emotions={
            **{"Negative": 127, "Positive": 34, "Surprise": 30, "Repression": 6, "Others": 31},
            **{"Positive+Surprise": 13, "Negative+Surprise": 8, "Positive+Repression": 8, "Negative+Repression": 10},
        },
        name=lambda subject, number, emotion: f"S{subject:02d}_1st_{number:03d}_01_1",
        length=(10, 30),
        oddities=oddities,
        sheet="4DME_Labelling_Micro_release v1.xlsx",
        pages=lambda takes: {"Sheet1": table((*header, "eye blink"), layout, "S{:02d}".format)(takes)},
    )


# --- all of them ------------------------------------------------------------------------------------------------------

# corpus -> release -> replicas and the folders below the data folder that they are written to
REPLICAS: dict[str, dict[str, list[tuple[Replica, str]]]] = {
    **{
        corpus.corpus: {
            "raw": [(_smic_folders(corpus, 0), "SMIC")],
            "cropped": [(_smic_folders(corpus, 1), "SMIC")],
            "extended-2019": [(_smic_extended(corpus, with_apex=True), "SMIC")],
            "extended": [(_smic_extended(corpus, with_apex=False), "SMIC")],
        }
        for corpus in (Smic, SmicVis, SmicNir)
    },
    "casme": {
        "189-raw": [(_casme(0, 0), "CASME")],
        "193-raw": [(_casme(1, 0), "CASME")],
        "189-cropped": [(_casme(0, 1), "CASME")],
        "189-by-emotion": [(_casme(0, 2), "CASME")],
    },
    "casme2": {
        "2019-raw": [(_casme2(2019, 0), "CASME2")],
        "2014-raw": [(_casme2(2014, 0), "CASME2")],
        "2019-cropped": [(_casme2(2019, 1), "CASME2")],
    },
    "samm": {"raw": [(_samm(), "SAMM")]},
    "mmew": {"raw": [(_mmew(), "MMEW_Final")]},
    "casme_squared": {
        "rawpic": [(_casme_squared(0), "CASME_sq")],
        "selectedpic": [(_casme_squared(1), "CASME_sq")],
        "cropped": [(_casme_squared(2), "CASME_sq")],
        "cropped-by-participant": [(_casme_squared(3), "CASME_sq")],
    },
    "casme3": {"raw": [(_casme3(0), "CASME3")], "clips": [(_casme3(1), "CASME3")]},
    "4dme": {"gray": [(_fourdme(), "4DME")]},
    "megc2019": {"raw": [(_smic_folders(Smic, 0), "SMIC"), (_casme2(2019, 0), "CASME2"), (_samm(), "SAMM")]},
}
