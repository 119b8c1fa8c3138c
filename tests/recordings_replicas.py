"""Replicas of corpora of long recordings: their folders, sheets, names, published counts and traps, around tiny images.

Which recording holds which event is made up; folders, columns, totals and oddities are those that loaders and papers
tell of.
"""

import itertools
from pathlib import Path

import cv2
import numpy as np
from openpyxl import Workbook

from mer_hf.drawn.videos import RenderedVideo

IMAGE = cv2.imencode(".jpg", np.full((8, 8), 90, np.uint8))[1].tobytes()


def write_sheet(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    book.remove(book.active)
    for title, rows in pages.items():
        page = book.create_sheet(title)
        for row in rows:
            page.append(row)
    book.save(path)


def write_frames(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(IMAGE)


def samm_lv(folder: Path) -> Path:
    """147 videos; 343 macro, 159 micro; header in row 10, mixed padding, fractions, odd apexes and offsets."""
    videos = [f"{subject:03d}_{take}" for subject, take in itertools.product(range(6, 38), range(1, 8))]
    odd = ("020_6", "036_7")
    videos = [*[video for video in videos if video not in odd][:145], *odd]
    for place, video in enumerate(videos):
        width = 5 if place % 2 else 4
        write_frames(folder / "SAMM_longvideos" / video, (f"{video}_{number:0{width}}.jpg" for number in range(1, 41)))
    used = [video for video in videos if int(video[-1]) != 4]  # nothing is coded in some
    kinds = ["Macro"] * 343 + ["Micro - 1/2"] * 158 + ["Micro"]
    taken = dict.fromkeys(videos, 0)
    rows = []
    for number, (kind, video) in enumerate(zip(kinds, itertools.cycle(used), strict=False)):
        taken[video] += 1
        onset = 2 + number % 20
        apex, offset = onset + 3, onset + 9
        if number < 143:
            onset += 0.4
        if 150 <= number < 156:
            apex = offset + 3
        if number % 50 == 49:
            apex = -1
        rows.append([int(video[:3]), f"{video}_{taken[video]}", 1, onset, apex, offset, 10, kind, "AU4", None])
    for video in odd:
        next(row for row in rows if row[1].startswith(video))[5] = 99
    head = [
        "Subject",
        "Filename",
        "Inducement Code",
        "Onset",
        "Apex",
        "Offset",
        "Duration",
        "Type",
        "Action Units",
        "Notes",
    ]
    above = [["SAMM Long Videos"], *[[None]] * 8]
    pages = {"Read me": [["about"]], "FACS_Movement_Only": [*above, head, *rows, [None] * 10]}
    write_sheet(folder / "SAMM_LongVideos_V2_Release.xlsx", pages)
    return folder


def casme_squared(folder: Path) -> Path:
    """97 recordings of 22 people; 300 macro, 57 micro; no header, names by lookup, no offset, apex after the offset."""
    people = [15, 16, 19, *range(20, 39)]
    codes = {"disgust1": "0101", "disgust2": "0102", "anger1": "0401", "happy1": "0502", "happy4": "0507"}
    made = [(who, stimulus) for stimulus in codes for who in people][:97]
    for who, stimulus in made:
        name = f"{who}_{codes[stimulus]}{stimulus[:-1]}ingteeth"
        write_frames(folder / "rawpic" / f"s{who}" / name, (f"img{number:03d}.jpg" for number in range(1, 61)))
    coded = made[:90]
    rows = []
    for number, (who, stimulus) in enumerate(itertools.islice(itertools.cycle(coded), 357)):
        onset = 3 + number % 30
        apex, offset = onset + 4, onset + 12
        if number % 8 == 0:
            offset = 0
        elif number in (1, 2, 3):
            apex = offset + 2
        kind = "micro-expression" if number < 57 else "macro-expression"
        name = f"{stimulus}_{1 + number // len(coded)}"
        rows.append([people.index(who) + 1, name, onset, apex, offset, "4+7", "negative", kind, "disgust"])
    pages = {
        "CASFEcode_final": rows,
        "naming rule1": [(who, f"s{who}", number) for number, who in enumerate(people, 1)],
        "naming rule2": [(f"'{code}".strip("'"), name) for name, code in codes.items()],
    }
    write_sheet(folder / "CAS(ME)^2code_final.xlsx", pages)
    return folder


def casme3(folder: Path) -> Path:
    """956 recordings of 98 people; 3,346 macro, 860 micro, 841 blinks; cells of text, numbers with gaps."""
    made = [(who, take) for take in "abcdefghij" for who in range(1, 99)][:956]
    spelt = {who: "spNo" if who % 10 == 0 else "spNO" for who in range(1, 99)}
    numbers = {}
    for place, (who, take) in enumerate(made):
        first = 100 + 7 * (place % 90)
        numbers[who, take] = [first + number + (3 if number >= 6 else 0) for number in range(12)]
        path = folder / "part_A" / f"{spelt[who]}.{who}" / take / "color"
        write_frames(path, (f"{number}.jpg" for number in numbers[who, take]))

    def rows(count, kinds):
        for place, key in enumerate(itertools.islice(itertools.cycle(made[:900]), count)):
            first = numbers[key][0] + place // 900
            who = [f"spNO.{key[0]}", key[1], str(first), str(first + 2), str(first + 5)]
            yield [*who, *kinds(place)]

    head = ["Subject", "Filename", "Onset", "Apex", "Offset"]
    coded = rows(4206, lambda place: ["4", "Micro-expression" if place < 860 else "Macro-expression", "4"])
    pages = {
        "AU+Emotion": [[*head, "AU", "Expression type", "Objective class"], *coded],
        "eye blink": [[*head, "AU"], *rows(841, lambda place: ["45"])],
    }
    write_sheet(folder / "CAS(ME)3_part_A_v2.xlsx", pages)
    return folder


def smic_e(folder: Path, count: int = 157) -> Path:
    """157 recordings of 16 people with a micro-expression each; no apex, numbers of six digits, text below."""
    people = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)
    rows = []
    top = folder / "SMIC-E_raw image" / "HS_long"
    for place in range(count):
        who, emotion = people[place % 16], ("ne", "po", "sur")[place % 3]
        name, first = f"s{who}_{emotion}_{place // 16 + 1:02d}", 308_000 + 50 * place
        blank = " " if place == 9 else ""  # as in the names of the other cameras
        names = (f"image{blank}{number}.jpg" for number in range(first, first + 30))
        write_frames(top / "SMIC-HS-E" / "HS" / f"s{who:02d}" / name, names)
        rows.append(
            [who, name, first, first + 8, first + 20, {"ne": "negative", "po": "positive"}.get(emotion, "surprise")]
        )
    head = ["Subject", "Filename", "FirstF", "OnsetF", "OffsetF", "Emotion"]
    below = [[None] * 6, [None, "FirstF: the first frame of the video", None, "index = OnsetF - FirstF", None, None]]
    write_sheet(top / "SMIC-HS-E_annotation.xlsx", {"Sheet1": [head, *rows, *below]})
    return folder


def rendered_casme_squared(folder: Path, people: int, seconds: float, events: int, size: int = 128) -> Path:
    """As `casme_squared`, of rendered people who show what is coded: a recording each of so many micro-expressions."""
    rows = []
    for who in range(people):
        video = RenderedVideo(300 + who, seconds, events, 30.0, size, seed=5)
        frames = folder / "rawpic" / f"s{15 + who}" / f"{15 + who}_0101disgustingteeth"
        frames.mkdir(parents=True)
        for number, (frame, _) in enumerate(video.frames(), start=1):
            cv2.imwrite(str(frames / f"img{number:03d}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        for place, event in enumerate(video.events, start=1):
            numbers = [1 + round(30 * moment) for moment in (event.onset, event.apex, event.offset)]
            units = "+".join(map(str, event.action_units))
            emotion = {"negative": "disgust", "positive": "happiness"}.get(event.emotion_class, event.emotion_class)
            said = [units, event.emotion_class, "micro-expression", emotion]
            rows.append([who + 1, f"disgust1_{place}", *numbers, *said])
    pages = {
        "CASFEcode_final": rows,
        "naming rule1": [(15 + who, f"s{15 + who}", who + 1) for who in range(people)],
        "naming rule2": [("0101", "disgust1")],
    }
    write_sheet(folder / "CAS(ME)^2code_final.xlsx", pages)
    return folder


REPLICAS = {"samm-lv": samm_lv, "casme_squared": casme_squared, "casme3": casme3, "smic-e": smic_e}
