"""Whatever a sheet and a tree hold, they are read whole, or refused with an error of the package."""

import shutil
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_corpus import COLUMNS, FRAME, HEADER, ROWS, Toy, write_frames, write_sheet, write_toy

from mer_hf.corpora import AnnotationError, MerDataError
from mer_hf.corpora.reading import read_corpus
from mer_hf.corpora.smic import Smic

# what a workbook can hold
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
LIKELY = st.sampled_from(
    [
        *("006", "007", 7, "007_3_1", "006_1_2", "anger", " Anger ", "other", "awe", "../x", "/", "\\", "-", "..", "*"),
        *(0, 9, 10, 12, 98, 101, "98", "5562", 5564.0, 5564.5, -1, 10**20, "007_*", "[0]", "{0}", True),
    ]
)
CELL = st.one_of(LIKELY, st.none(), TEXT, st.integers(-5, 6000), st.floats(allow_nan=False, allow_infinity=False))
CHANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, len(HEADER) - 1), CELL), max_size=4)
FILES = st.sampled_from(
    [
        *("007_97.jpg", "007_098.jpg", "reg_98.bmp", "007_99.PNG", "Thumbs.db", ".007_100.jpg", "notes 3.txt"),
        *("cover.jpg", "007_" + "9" * 40 + ".jpg", "007_१२.jpg"),
    ]
)
TREE = st.lists(st.tuples(st.sampled_from(["add", "remove", "link", "loop", "folder"]), FILES), max_size=4)
FUZZ = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def accounted(reading):
    """Clips read, left out, or refused: none is lost."""
    return len(reading.annotations) + reading.left_out.total() + sum(p.kind == "row" for p in reading.problems)


def check_sound(reading):
    """What a corpus that is not refused holds."""
    reading.raise_problems("")
    assert len(reading.clips) == len(reading.annotations)
    for clip in reading.clips:
        inside = range(clip.annotation.onset, clip.annotation.offset + 1)
        assert len(clip.frames) >= 2
        assert all(frame.number in inside for frame in clip.frames)
        assert clip.apex is None or clip.apex in inside


@FUZZ
@given(changes=CHANGES, more=st.lists(st.lists(CELL, min_size=7, max_size=7), max_size=2), tree=TREE)
def test_any_sheet_and_tree_are_read_whole_or_refused(tmp_path, changes, more, tree):
    root = tmp_path / "TOY"
    shutil.rmtree(root, ignore_errors=True)
    write_toy(root)
    rows = [list(row) for row in ROWS] + more
    for row, column, cell in changes:
        rows[row][column] = cell
    write_sheet(root / "Toy_Codes_v2.xlsx", HEADER, *rows)
    for action, name in tree:
        damage(root / "007" / "007_3_1", action, name)
    written = sum(any(cell is not None and str(cell).strip() for cell in row) for row in rows)
    try:
        reading = read_corpus(Toy, root, left_out=lambda clip: clip.emotion if clip.emotion == "other" else None)
        assert accounted(reading) == written
        check_sound(reading)
    except MerDataError as error:
        assert str(root) in str(error)


def damage(folder, action, name):
    """Do one thing to a clip on disk."""
    file = folder / name
    if action == "remove":
        for frame in sorted(folder.glob("*.jpg"))[:2]:
            frame.rmdir() if frame.is_dir() else frame.unlink()
    elif file.exists() or file.is_symlink():
        return
    elif action == "add":
        file.write_bytes(FRAME)
    elif action == "link":
        file.symlink_to(folder.parents[2] / "outside")
    elif action == "loop":
        file.symlink_to(name)
    else:
        file.mkdir()


CLIPS = st.lists(
    st.tuples(
        st.sampled_from(["s1", "s01", "S2", "s20", "sub3", "s", "x"]),
        st.sampled_from(["negative", "positive", "surprise", "Negative", "awe", "1"]),
        st.sampled_from(["s1_ne_01", "s1_ne_02", "a b", "[x]", "*", "s2_po_1é"]),
        st.lists(st.sampled_from([1, 2, 3, 7, 10**7, 10**25]), max_size=4),
    ),
    min_size=1,
    max_size=5,
)


@FUZZ
@given(clips=CLIPS)
def test_any_tree_whose_folders_are_the_annotation_is_read_whole_or_refused(tmp_path, clips):
    root = tmp_path / "SMIC"
    shutil.rmtree(root, ignore_errors=True)
    serial = count()
    for subject, emotion, name, numbers in clips:
        folder = root / "SMIC_all_raw" / "HS" / subject / "micro" / emotion / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (folder / f"{next(serial)}image{number:06d}.bmp").write_bytes(b"")
    subjects = {"s1", "s01", "s2", "s20"}
    folders = {clip[:3] for clip in clips if clip[0].lower() in subjects}
    try:
        reading = read_corpus(Smic, root)
        refused = sum(problem.kind in ("frames", "row") for problem in reading.problems)
        assert len(reading.annotations) + refused == len(folders)
        check_sound(reading)
    except MerDataError as error:
        assert str(root) in str(error)


def test_folders_that_differ_by_case_only_have_frames_of_their_own(tmp_path):
    for emotion, numbers in (("Negative", (1, 2)), ("negative", (5, 6))):
        folder = tmp_path / "SMIC_all_raw" / "HS" / "s1" / "micro" / emotion / "s1_ne_01"
        write_frames(folder, [f"image{number:06d}.bmp" for number in numbers])
    clips = read_corpus(Smic, tmp_path).clips
    assert [[frame.number for frame in clip.frames] for clip in clips] == [[1, 2], [5, 6]]


def test_a_sheet_of_other_kinds_only_holds_no_clip(tmp_path):
    class Kinds(Toy):
        kind = "micro"
        other_kinds = ("macro",)
        layouts = (replace(Toy.layouts[0], columns=COLUMNS._replace(kind="Kind")),)

    write_sheet(tmp_path / "Toy_Codes.xlsx", [*HEADER, "Kind"], [*ROWS[0], "macro"])
    with pytest.raises(AnnotationError, match="holds no clip; its rows are of the kinds macro"):
        read_corpus(Kinds, tmp_path)
