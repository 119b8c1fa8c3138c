import hashlib
import math

import cv2
import openpyxl
import pandas as pd
import pytest

from mer_hf.action_units import UNIT_SHARES
from mer_hf.corpora import synthetic
from mer_hf.corpora.rendering import clip_class
from mer_hf.corpora.synthetic import FRAMES_FOLDER, SHEET, synthesize

SMALL = {"fps": 50.0, "size": 64, "progress": False}


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("corpora") / "made" / "here", subjects=2, clips=6, seed=3, **SMALL)


@pytest.fixture(scope="module")
def sheet(corpus):
    return pd.read_excel(corpus / SHEET, dtype={"Subject": str})


def test_sheet_has_the_columns_of_the_release(corpus, sheet):
    header = [cell.value for cell in next(openpyxl.load_workbook(corpus / SHEET).active.iter_rows(max_row=1))]
    assert header == [
        *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
        *("Action Units", "Estimated Emotion", "Objective Classes"),
    ]
    assert len(sheet) == 12
    assert sheet["Subject"].tolist() == ["01"] * 6 + ["02"] * 6
    assert not sheet.duplicated(["Subject", "Filename"]).any()
    assert sheet["Filename"].str.fullmatch(r"EP\d\d_\d\df?").all()


def test_action_units_are_numbers_when_single_and_text_when_not(sheet):
    for units in sheet["Action Units"]:
        assert isinstance(units, int) or ("+" in units and all(part.isdecimal() for part in units.split("+")))


def test_frames_run_from_onset_to_offset(corpus, sheet):
    for row in sheet.itertuples(index=False):
        folder = corpus / FRAMES_FOLDER / f"sub{row.Subject}" / row.Filename
        numbers = sorted(int(path.stem.removeprefix("img")) for path in folder.iterdir())
        assert numbers == list(range(row.OnsetFrame, row.OffsetFrame + 1))
        assert cv2.imread(str(folder / f"img{numbers[0]}.jpg")).shape == (64, 64, 3)
        assert row.OnsetFrame < row.ApexFrame < row.OffsetFrame
        assert (row.OffsetFrame - row.OnsetFrame) / SMALL["fps"] < 0.5


def test_every_subject_has_every_class_equally_often(corpus, sheet):
    classes = sheet["Estimated Emotion"].replace({"disgust": "negative", "repression": "negative"})
    assert (pd.crosstab(sheet["Subject"], classes) == 2).all(axis=None)
    # What is on disk is the corpus's own order of classes, in runs of three.
    for subject in (0, 1, 7):
        for block in range(4):
            run = [clip_class(subject, 3 * block + place, seed=3) for place in range(3)]
            assert sorted(run) == sorted(UNIT_SHARES)


def test_same_seed_writes_the_same_bytes_whatever_the_processes(corpus, tmp_path):
    synthesize(tmp_path / "again", subjects=2, clips=6, seed=3, num_proc=2, **SMALL)
    assert digests(tmp_path / "again") == digests(corpus)


def test_a_clip_does_not_depend_on_its_neighbours(corpus, tmp_path):
    synthesize(tmp_path / "less", subjects=1, clips=2, seed=3, **SMALL)
    less, whole = digests(tmp_path / "less"), digests(corpus)
    less.pop(SHEET)
    assert less.items() <= whole.items()
    synthesize(tmp_path / "other", subjects=1, clips=1, seed=4, **SMALL)
    assert not set(digests(tmp_path / "other").values()) & set(whole.values())


def test_nothing_is_written_over_and_nothing_is_left_half_done(corpus, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match="not an empty folder"):
        synthesize(corpus, subjects=1, clips=1, **SMALL)

    def interrupted(path, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "_write_sheet", interrupted)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(KeyboardInterrupt):
        synthesize(target, subjects=1, clips=1, **SMALL)
    assert list(tmp_path.iterdir()) == [target] and not any(target.iterdir())
    monkeypatch.undo()
    synthesize(target, subjects=1, clips=1, **SMALL)
    assert sorted(path.name for path in target.iterdir()) == sorted([FRAMES_FOLDER, SHEET])
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("argument", "value"),
    [("subjects", 0), ("clips", 0), ("size", 63), ("fps", 0.0), ("fps", math.nan), ("num_proc", 0)],
)
def test_arguments_out_of_range_are_named(tmp_path, argument, value):
    with pytest.raises(ValueError, match=f"{argument} is {value}; expected"):
        synthesize(tmp_path / "new", **{**SMALL, argument: value})
    assert not any(tmp_path.iterdir())
