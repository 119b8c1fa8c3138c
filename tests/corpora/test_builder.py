"""The base does the work for any declaration: here for one that is laid out like SAMM, and for the parts one by one."""

import io
import logging
import os
import subprocess
import sys

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mer_hf.corpora import CORPORA, AnnotationError, CorpusNotFoundError, MerDataError, builder, load_corpus
from mer_hf.corpora.builder import (
    Columns,
    CorpusBuilder,
    Correction,
    correct,
    find_frame_root,
    find_sheet,
    list_frames,
    parse_annotation,
    read_corrections,
    read_sheet,
)
from mer_hf.corpora.casme2 import Casme2
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
    sheets = ("Toy_Codes*.xlsx",)
    columns = COLUMNS
    frame_roots = ("TOY",)
    subject_folder = "{:03d}"
    clip_folder = "{subject}/{name}"
    emotions = ("anger", "happiness", "other")
    label_sets = (MEGC2019_3CLASS,)


@pytest.fixture(autouse=True)
def toy_is_a_corpus(monkeypatch):
    monkeypatch.setitem(CORPORA, "toy", Toy)


def jpeg():
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_sheet(file, *rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    book.save(file)
    return file


def write_frames(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(jpeg())
    return folder


@pytest.fixture
def toy(tmp_path):
    """The toy corpus on disk; SAMM's padding changes inside it."""
    root = tmp_path / "data" / "TOY"
    write_sheet(root / "Toy_Codes_v2.xlsx", ["a title"], [], HEADER, *ROWS)
    write_frames(root / "006" / "006_1_2", [f"006_{n:05d}.jpg" for n in range(5562, 5565)])
    write_frames(root / "007" / "007_3_1", [f"007_{n}.jpg" for n in (8, 9, 10, 11, 12, 98, 99, 100, 101, 102)])
    return root


def load(root, **options):
    return load_corpus("toy", root, cache_dir=root.parents[1] / "cache", **options)


def test_a_declaration_is_enough_for_a_corpus(toy):
    clips = load(toy)
    assert clips.column_names == [
        *("clip_id", "corpus", "subject", "frames", "fps", "onset", "apex", "offset"),
        *("emotion", "action_units", "label"),
    ]
    assert clips["clip_id"][:] == ["toy/006/006_1_2@5562", "toy/007/007_3_1@98"]
    assert clips[1] == {
        "clip_id": "toy/007/007_3_1@98",
        "corpus": "toy",
        "subject": "toy/007",
        "frames": [
            {"bytes": None, "path": str(toy / "007" / "007_3_1" / f"007_{number}.jpg")} for number in (98, 99, 100, 101)
        ],
        "fps": 200.0,
        "onset": 98,
        "apex": 99,
        "offset": 101,
        "emotion": "happiness",
        "action_units": "12",
        "label": 1,
    }
    assert clips.features["label"].names == ["negative", "positive", "surprise"]


def test_native_labels_are_the_declared_emotions_and_clips_come_sorted(toy):
    clips = load(toy, label_set="native")
    assert clips.features["label"].names == ["anger", "happiness", "other"]
    assert clips["clip_id"][:] == ["toy/006/006_1_2@5562", "toy/007/007_3_1@9", "toy/007/007_3_1@98"]


def test_left_out_clips_are_counted_in_the_description_and_the_log(toy, caplog):
    with caplog.at_level(logging.INFO, logger=builder.__name__):
        clips = load(toy)
    counted = "2 of the 3 clips of The toy corpus have a class in the label set '3class'; left out: other 1."
    assert counted in clips.info.description
    assert counted in caplog.messages


def test_the_citation_and_the_licence_travel_with_the_clips(toy):
    info = load(toy).info
    assert (info.citation, info.homepage, info.license) == (Toy.citation, Toy.homepage, Toy.license)


def test_two_processes_write_the_same_clips_as_one(toy):
    two = load(toy, label_set="native", num_proc=2)
    assert len(two.cache_files) == 2
    rows = two.to_list()
    (toy.parents[1] / "cache").rename(toy.parents[1] / "cache of two")
    assert load(toy, label_set="native").to_list() == rows


def test_a_frame_rate_of_a_thinned_copy_is_taken(toy):
    assert load(toy, fps=100)["fps"][:] == [100.0, 100.0]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_frame_rate_that_is_none_is_refused(toy, fps):
    with pytest.raises(ValueError, match=r"fps=.*positive"):
        load(toy, fps=fps)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_an_unchanged_corpus_is_read_from_the_cache(toy):
    first, second = load(toy), load(toy)
    assert first.cache_files == second.cache_files
    assert first._fingerprint == second._fingerprint


def test_a_changed_sheet_gives_new_clips(toy):
    before = load(toy)
    changed = [(*ROWS[0][:4], 5563, *ROWS[0][5:]), *ROWS[1:]]
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *changed)
    after = load(toy)
    assert (before["offset"][0], after["offset"][0]) == (5564, 5563)
    assert len(after["frames"][0]) == 2


def test_an_added_frame_gives_new_clips(toy):
    (toy / "007" / "007_3_1" / "007_100.jpg").unlink()
    before = load(toy)
    write_frames(toy / "007" / "007_3_1", ["007_100.jpg"])
    assert [len(frames) for frames in before["frames"]] == [3, 3]
    assert [len(frames) for frames in load(toy)["frames"]] == [3, 4]


def test_an_exchanged_image_gives_a_new_fingerprint_to_what_is_computed_from_it(toy):
    before = load(toy)
    (toy / "007" / "007_3_1" / "007_100.jpg").write_bytes(jpeg() + b"longer")
    assert load(toy)._fingerprint != before._fingerprint


def test_a_moved_corpus_is_read_from_its_new_place(toy):
    load(toy)
    moved = toy.rename(toy.with_name("TOY moved"))
    assert all(frame["path"].startswith(str(moved)) for frame in load(moved)["frames"][0])


def test_a_changed_declaration_gives_new_clips(toy, monkeypatch):
    before = load(toy)
    monkeypatch.setattr(Toy, "columns", COLUMNS._replace(action_units="Filename"))
    assert before["action_units"][0] == "4+7"
    assert load(toy)["action_units"][0] == "006_1_2"


def test_a_changed_citation_is_not_hidden_by_the_cache(toy, monkeypatch):
    load(toy)
    monkeypatch.setattr(Toy, "citation", "Somebody: Toys, 2021")
    assert load(toy).info.citation == "Somebody: Toys, 2021"


def test_changed_code_gives_new_clips(toy, monkeypatch):
    before = load(toy)
    monkeypatch.setattr(Toy, "_row", lambda *args: {**CorpusBuilder._row(*args), "action_units": "new"})
    assert before["action_units"][0] == "4+7"
    assert load(toy)["action_units"][0] == "new"


def test_label_set_and_frame_rate_have_clips_of_their_own(toy):
    variants = [load(toy), load(toy, label_set="native"), load(toy, fps=50)]
    assert len({clips._fingerprint for clips in variants}) == 3


# --- what is refused --------------------------------------------------------------------------------------------------


def test_errors_of_the_data_share_a_base_that_is_a_value_error():
    assert issubclass(CorpusNotFoundError, MerDataError)
    assert issubclass(AnnotationError, MerDataError)
    assert issubclass(MerDataError, ValueError)


def test_an_unknown_corpus_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no corpus 'CASME2'.*mean 'casme2'.*casme2, synthetic"):
        load_corpus("CASME2")


def test_an_unknown_label_set_is_refused_with_the_known_ones(toy):
    with pytest.raises(ValueError, match=r"no label set '5class'.*native, 3class"):
        load(toy, label_set="5class")


def test_a_licensed_corpus_without_a_folder_says_how_to_come_by_it():
    with pytest.raises(CorpusNotFoundError, match=r"(?s)pass data_dir=.*TOY/006/.*ask nobody"):
        load_corpus("toy")


@pytest.mark.parametrize("data_dir", ["", "no such folder"])
def test_a_folder_that_is_none_is_refused_with_the_layout(data_dir):
    with pytest.raises(CorpusNotFoundError, match=rf"(?s)data_dir='{data_dir}' is not a folder.*TOY/006/.*ask nobody"):
        load_corpus("toy", data_dir)


def test_a_folder_without_a_sheet_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(CorpusNotFoundError) as refused:
        load_corpus("toy", tmp_path)
    for part in ("no coding sheet Toy_Codes*.xlsx", str(tmp_path), "data_dir=", Toy.tree, Toy.request):
        assert part in str(refused.value)


def test_a_sheet_without_frames_is_refused_with_what_was_looked_for(tmp_path):
    sheet = write_sheet(tmp_path / "Toy_Codes.xlsx", HEADER, *ROWS)
    with pytest.raises(CorpusNotFoundError) as refused:
        load_corpus("toy", tmp_path)
    for part in ("no folder with the clips", str(sheet), "006/006_1_2", str(tmp_path), "data_dir=", Toy.tree):
        assert part in str(refused.value)


def test_a_sheet_with_no_clip_in_the_label_set_is_refused_with_what_was_left_out(toy):
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, ROWS[2])
    with pytest.raises(AnnotationError, match=r"0 of the 1 clips.*left out: other 1\..*choose another label_set"):
        load(toy)


def test_a_sheet_without_rows_is_refused(toy):
    sheet = write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER)
    with pytest.raises(AnnotationError, match=f"{sheet.name} has its columns, but no clip below them"):
        load(toy)


def test_missing_columns_are_named_beside_those_found(toy):
    sheet = write_sheet(toy / "Toy_Codes_v2.xlsx", ["Toys"], [*HEADER[:2], "Onset", *HEADER[3:]], ROWS[0])
    with pytest.raises(AnnotationError) as refused:
        load(toy)
    assert f"{sheet} has no row" in str(refused.value)
    assert "Missing: ['Onset Frame']" in str(refused.value)
    assert "['Subject', 'Filename', 'Onset', 'Apex Frame'" in str(refused.value)


@pytest.mark.parametrize("left", [0, 1])
def test_clips_with_fewer_than_two_frames_are_all_named(toy, left):
    for file in sorted((toy / "007" / "007_3_1").glob("*.jpg")):
        if file.name not in ["007_98.jpg"][:left]:
            file.unlink()
    with pytest.raises(AnnotationError) as refused:
        load(toy, label_set="native")
    text = str(refused.value)
    assert "2 of 3 clips" in text
    assert f"007/007_3_1@98: {left} of the frames 98-101 among {left} images in {toy / '007' / '007_3_1'}" in text
    assert "007/007_3_1@9: 0 of the frames 9-12" in text
    assert "006_1_2" not in text


def test_a_clip_whose_folder_is_missing_is_named(toy):
    (toy / "007" / "007_3_1").rename(toy / "007" / "elsewhere")
    with pytest.raises(AnnotationError, match=r"1 of 2 clips.*\n.*007/007_3_1@98.*no folder .*007_3_1"):
        load(toy)


def test_a_clip_that_is_left_out_needs_no_frames(toy):
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *ROWS[:2], ("008", "008_1_1", 1, 2, 3, "", "other"))
    assert load(toy).num_rows == 2


def test_a_clip_that_is_cut_short_is_kept_with_a_warning(toy, caplog):
    (toy / "007" / "007_3_1" / "007_101.jpg").unlink()
    assert len(load(toy)["frames"][1]) == 3
    assert "007/007_3_1@98: 3 of 4 frames are on disk" in caplog.messages


def test_a_clip_that_stands_twice_in_the_sheet_is_refused(toy):
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *ROWS, ROWS[0])
    with pytest.raises(AnnotationError, match="006/006_1_2@5562 stands in 2 rows"):
        load(toy)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("006", "../../x", 1, 2, 3, "", "anger"), r"006: the clip name '../../x' is not the name of one folder"),
        (("006", "..", 1, 2, 3, "", "anger"), "is not the name of one folder"),
        (("006", "..\\x", 1, 2, 3, "", "anger"), "is not the name of one folder"),
        (("006", "/etc", 1, 2, 3, "", "anger"), "is not the name of one folder"),
        (("006", None, 1, 2, 3, "", "anger"), "the clip name '' is not the name of one folder"),
        (("nobody", "a", 1, 2, 3, "", "anger"), "the subject 'nobody' has no number"),
        (("006", "a", 4, 2, 3, "", "anger"), "006/a: the onset 4 is after the offset 3"),
        (("006", "a", "soon", 2, 3, "", "anger"), "006/a: the onset 'soon' is not a frame number"),
        (("006", "a", 1, "?", 3, "", "anger"), "006/a: the apex '\\?' is not a frame number"),
        (("006", "a", 1, 2, None, "", "anger"), "006/a: the offset '' is not a frame number"),
        (("006", "a", 1, 2, 3.5, "", "anger"), "006/a: the offset '3.5' is not a frame number"),
        (("006", "a", 1, 2, 3, "", "angst"), "006/a: unknown emotion 'angst'; the corpus has anger, happiness, other"),
    ],
)
def test_a_row_that_cannot_be_understood_is_refused_by_clip_and_file(toy, row, message):
    sheet = write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *ROWS, row)
    with pytest.raises(AnnotationError, match=message) as refused:
        load(toy)
    assert str(sheet) in str(refused.value)


# --- the parts --------------------------------------------------------------------------------------------------------


def test_the_newest_sheet_wins_whatever_its_place_or_case(tmp_path):
    write_sheet(tmp_path / "X-coding-20140508.xlsx")
    newest = write_sheet(tmp_path / "sheets" / "x-CODING-20190701 (1).XLSX")
    write_sheet(tmp_path / "~$X-coding-20240101.xlsx")
    write_sheet(tmp_path / ".X-coding-20240101.xlsx")
    write_sheet(tmp_path / "other-20240101.xlsx")
    (tmp_path / "X-coding-20250101.xlsx").mkdir()
    assert find_sheet(tmp_path, ("X-coding-*.xls", "X-coding-*.xlsx")) == newest


def test_a_sheet_above_the_folder_is_found_only_where_none_is_below(tmp_path):
    above = write_sheet(tmp_path / "a" / "X-2019.xlsx")
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    assert find_sheet(inner, ("X-*",)) == above
    below = write_sheet(inner / "X-2014.xlsx")
    assert find_sheet(inner, ("X-*",)) == below


def test_the_frame_root_is_the_preferred_release_and_then_the_fuller_folder(tmp_path):
    clips = ["sub01/a", "sub02/b"]
    for folder in ("Cropped/sub01/a", "Cropped/sub02/b", "copy/sub01/a"):
        (tmp_path / folder).mkdir(parents=True)
    assert find_frame_root(tmp_path, clips, ("Raw", "Cropped")) == tmp_path / "Cropped"
    assert find_frame_root(tmp_path, clips, ()) == tmp_path / "Cropped"
    (tmp_path / "Raw" / "Raw" / "sub01" / "a").mkdir(parents=True)
    assert find_frame_root(tmp_path, clips, ("Raw", "Cropped")) == tmp_path / "Raw" / "Raw"
    assert find_frame_root(tmp_path / "Cropped", clips, ("Raw", "Cropped")) == tmp_path / "Cropped"
    assert find_frame_root(tmp_path, ["sub03/c"], ("Raw", "Cropped")) is None


def test_shadow_trees_are_passed_over(tmp_path):
    for folder in ("__MACOSX/Raw/sub01/a", ".Trash/sub01/a"):
        (tmp_path / folder).mkdir(parents=True)
    assert find_frame_root(tmp_path, ["sub01/a"], ("Raw",)) is None


def test_folders_that_may_not_be_read_are_passed_over(tmp_path, monkeypatch):
    for folder in ("lost+found", "sub01/a"):
        (tmp_path / folder).mkdir(parents=True)

    def scandir(folder):
        if folder == tmp_path / "lost+found":
            raise PermissionError(folder)
        return os_scandir(folder)

    os_scandir = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    assert find_frame_root(tmp_path, ["sub01/a"], ()) == tmp_path
    assert find_sheet(tmp_path, ("*.xlsx",)) is None


def test_a_sheet_is_read_by_column_names_on_any_page_below_any_title(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["a page of notes"])
    page = book.create_sheet("codes")
    page.append(["Toys"])
    page.append([])
    page.append(["notes", None, *(name.upper().replace(" ", "  ") for name in reversed(HEADER))])
    page.append(["a note", None, " Anger ", "4+7", "103", 101.0, "98.0", "a", "6.0"])
    page.append([None] * 9)
    page.append(["the end", *[None] * 8])
    book.save(tmp_path / "sheet.xlsx")
    assert read_sheet(tmp_path / "sheet.xlsx", COLUMNS) == [
        {
            "subject": "6",
            "name": "a",
            "onset": "98",
            "apex": "101",
            "offset": "103",
            "action_units": "4+7",
            "emotion": "Anger",
        }
    ]


def test_a_sheet_of_the_old_format_says_which_package_reads_it(tmp_path, monkeypatch):
    old = tmp_path / "sheet.xls"
    old.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))
    monkeypatch.setitem(sys.modules, "xlrd", None)  # as if it were not installed
    with pytest.raises(AnnotationError, match=rf"{old}.*pip install xlrd"):
        read_sheet(old, COLUMNS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"<html>please log in</html>"])
def test_a_sheet_that_is_no_spreadsheet_is_refused_by_its_name(tmp_path, content):
    broken = tmp_path / "sheet.xlsx"
    broken.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"{broken} cannot be read as a spreadsheet"):
        read_sheet(broken, COLUMNS)


@given(st.sets(st.integers(0, 10**8), min_size=1, max_size=12), st.integers(0, 8), st.sampled_from(["img", "EP01_12-"]))
def test_frames_come_in_the_order_of_their_last_integer_whatever_the_padding(
    tmp_path_factory, numbers, padding, prefix
):
    folder = tmp_path_factory.mktemp("clip")
    for number in numbers:
        (folder / f"{prefix}{number:0{padding}d}.jpg").touch()
    frames = list_frames(folder)
    assert [frame.number for frame in frames] == sorted(numbers)
    assert [frame.path for frame in frames] == [
        str(folder / f"{prefix}{number:0{padding}d}.jpg") for number in sorted(numbers)
    ]


def test_only_images_are_frames(tmp_path):
    for name in ("1.jpg", "2.JPG", "3.bmp", "4.png", "5.jpeg", "Thumbs.db", "._6.jpg", "7.txt", "cover.jpg", "8.lnk"):
        (tmp_path / name).touch()
    (tmp_path / "9.jpg").symlink_to("not fetched")
    (tmp_path / "10.jpg").mkdir()
    assert [frame.number for frame in list_frames(tmp_path)] == [1, 2, 3, 4, 5]


def test_two_images_for_one_frame_are_refused(tmp_path):
    for name in ("img46.jpg", "reg_img46.jpg", "img47.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(AnnotationError, match=r"two images for the frame 46: img46.jpg and reg_img46.jpg"):
        list_frames(tmp_path)


RECORD = {
    "subject": "sub07",
    "name": "a",
    "onset": "1",
    "apex": "2",
    "offset": "111",
    "action_units": "",
    "emotion": "anger",
}


@pytest.mark.parametrize(
    ("released", "offset", "logged"),
    [
        ("111", "91", "sub07/a: offset 111 -> 91 (a paper)"),
        ("", "91", "sub07/a: offset 111 -> 91 (a paper)"),
        ("120", "111", "sub07/a: offset stays 111; the correction to 91 is for a sheet that says 120"),
    ],
)
def test_a_correction_applies_to_the_value_it_was_made_for_and_is_logged(caplog, released, offset, logged):
    fix = Correction("sub07/a", "offset", released, "91", "a paper")
    with caplog.at_level(logging.INFO, logger=builder.__name__):
        corrected = correct([RECORD], [fix])
    assert corrected == [{**RECORD, "offset": offset}]
    assert caplog.messages == [logged]
    assert RECORD["offset"] == "111"


@pytest.mark.parametrize("change", [{"subject": "sub08"}, {"name": "b"}, {"offset": "91"}])
def test_a_correction_leaves_other_clips_and_corrected_sheets_alone(caplog, change):
    record = {**RECORD, **change}
    with caplog.at_level(logging.INFO, logger=builder.__name__):
        assert correct([record], [Correction("sub07/a", "offset", "", "91", "a paper")]) == [record]
    assert caplog.messages == []


def test_shipped_corrections_name_known_fields_and_their_source():
    files = sorted(builder.CORRECTIONS.glob("*.csv"))
    assert [file.stem for file in files if file.stem not in CORPORA] == []
    for fix in (fix for file in files for fix in read_corrections(file)):
        assert fix.field in Columns._fields
        assert fix.corrected and fix.source and fix.corrected != fix.released


def test_a_corpus_without_a_file_of_corrections_has_none(tmp_path):
    assert read_corrections(tmp_path / "none.csv") == []


@pytest.mark.parametrize("apex", ["", "/", "\\", "-"])
def test_an_apex_that_is_not_known_is_none(apex):
    assert parse_annotation({**RECORD, "apex": apex}, Toy.emotions).apex is None


@given(st.dictionaries(st.sampled_from(Columns._fields), st.text(max_size=8)))
def test_any_text_in_a_sheet_is_understood_or_refused_as_an_annotation_error(cells):
    try:
        annotation = parse_annotation({**RECORD, **cells}, Casme2.emotions + Toy.emotions)
    except AnnotationError:
        return
    assert annotation.onset <= annotation.offset
    assert not {"/", "\\"} & set(annotation.name)


def test_reading_a_corpus_imports_neither_torch_nor_transformers():
    code = (
        "import sys, mer_hf.corpora\n"
        "heavy = {'torch', 'transformers', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
