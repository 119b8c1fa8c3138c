"""A corpus of three clips that is laid out like SAMM, for the tests of what reads any corpus."""

import io

import openpyxl
from PIL import Image

from mer_hf.corpora import CorpusBuilder
from mer_hf.corpora.declaration import Layout
from mer_hf.corpora.sheets import Columns
from mer_hf.labels import MEGC2019_3CLASS

HEADER = ("Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units", "Estimated Emotion")
COLUMNS = Columns(*HEADER)
ROWS = [
    ("006", "006_1_2", 5562, 5563, 5564, "4+7", "Anger"),
    ("007", "007_3_1", 98, 99, 101, "12", "Happiness"),
    ("007", "007_3_1", 9, 10, 12, "12", "Other"),
]


class Toy(CorpusBuilder):
    corpus = "toy"
    title = "The toy corpus"
    citation = "Nobody: Toys, 2020"
    homepage = "https://example.org"
    license = "none"
    request = "ask nobody"
    fps = 200.0
    resolution = (8, 8)
    tree = "TOY/006/006_1_2/006_05562.jpg"
    layouts = (Layout("TOY", "{subject}/{name}", "{subject}_{frame:05d}.jpg", ("Toy_Codes*.xlsx",), COLUMNS),)
    subject = "{number:03d}"
    emotions = ("anger", "happiness", "other")
    label_sets = (MEGC2019_3CLASS,)


def jpeg():
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


FRAME = jpeg()


def write_book(file, pages):
    """A workbook of pages, each a list of rows."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in pages.items():
        page = book.create_sheet(name)
        for row in rows:
            page.append(list(row))
    file.parent.mkdir(parents=True, exist_ok=True)
    book.save(file)
    return file


def write_sheet(file, *rows):
    return write_book(file, {"Sheet1": rows})


def write_frames(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(FRAME)
    return folder


def write_toy(root):
    """The toy corpus on disk; SAMM's padding changes inside it."""
    write_sheet(root / "Toy_Codes_v2.xlsx", ["a title"], [], HEADER, *ROWS)
    write_frames(root / "006" / "006_1_2", [f"006_{n:05d}.jpg" for n in range(5562, 5565)])
    write_frames(root / "007" / "007_3_1", [f"007_{n}.jpg" for n in (8, 9, 10, 11, 12, 98, 99, 100, 101, 102)])
    return root
