"""CASME II in the layouts in which its copies lie on disk; the images are 8x8, the names are real."""

import io
import logging
import shutil
from collections import Counter

import openpyxl
import pytest
from PIL import Image

from mer_hf.corpora import AnnotationError, CorpusNotFoundError, casme2, load_corpus

SHEET_2014 = "CASME2-coding-20140508.xlsx"
SHEET_2019 = "CASME2-coding-20190701.xlsx"
HEADER_2014 = [
    *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units", "Estimated Emotion")
]
HEADER_2019 = [*HEADER_2014, "Objective Classes"]

# (subject, clip, onset, apex, offset, action units, emotion), with the kinds of cell that the sheets have
CLIPS = [
    ("01", "EP02_01f", 46, 48, 50, 12, "happiness"),
    ("01", "EP03_02", 8, 10, 11, "4+7", "others"),
    (2, "EP01_11f", "46", "47", "48", "4+5+7", " Repression "),
    ("04", "EP12_01f", 261, "/", 263, 15, "disgust"),
    ("05", "EP09_05f", 28, 28, 30, "4+9", "disgust"),
    ("07", "EP06_01", 89, 91, 93, "L14", "happiness"),
    ("17", "EP01_06", 3, 4, 5, None, "sadness"),
    ("24", "EP07_01", 100, 101, 102, "1+2", "surprise"),
]


def jpeg():
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


FRAME = jpeg()


def write_sheet(file, clips=CLIPS, header=HEADER_2019, tail=()):
    """A coding sheet with its blank columns."""
    book = openpyxl.Workbook()
    book.active.append(header)
    for subject, name, onset, apex, offset, action_units, emotion in clips:
        book.active.append([subject, name, None, onset, apex, offset, None, action_units, emotion, 7])
    for row in tail:
        book.active.append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    book.save(file)
    return file


def write_frames(root, clips=CLIPS, name="img{}.jpg"):
    """Every clip with one frame more on either side; frame numbers are not padded."""
    for subject, clip, onset, _, offset, *_ in clips:
        folder = root / f"sub{int(subject):02d}" / clip
        folder.mkdir(parents=True)
        for number in range(int(onset) - 1, int(offset) + 2):
            (folder / name.format(number)).write_bytes(FRAME)
    return root


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "CASME2"
    write_sheet(root / SHEET_2019)
    write_frames(root / "CASME2_RAW_selected")
    return root


@pytest.fixture
def load(tmp_path):
    def load_casme2(data_dir, **options):
        return load_corpus("casme2", data_dir, cache_dir=tmp_path / "cache", **options)

    return load_casme2


def test_clips_are_read_as_released(corpus, load):
    clips = load(corpus, label_set="native")
    assert clips["clip_id"][:] == [
        "casme2/sub01/EP02_01f@46",
        "casme2/sub01/EP03_02@8",
        "casme2/sub02/EP01_11f@46",
        "casme2/sub04/EP12_01f@261",
        "casme2/sub05/EP09_05f@28",
        "casme2/sub07/EP06_01@89",
        "casme2/sub17/EP01_06@3",
        "casme2/sub24/EP07_01@100",
    ]
    assert set(clips["corpus"]) == {"casme2"}
    assert clips["subject"][2] == "casme2/sub02"
    assert set(clips["fps"]) == {200.0}
    assert clips["emotion"][:3] == ["happiness", "others", "repression"]
    assert clips["action_units"][:] == ["12", "4+7", "4+5+7", "15", "4+9", "L14", "", "1+2"]
    assert clips.features["label"].names == [
        *("happiness", "disgust", "repression", "surprise", "sadness", "fear", "others")
    ]


def test_frames_go_from_onset_to_offset_in_numeric_order(corpus, load):
    clip = load(corpus, label_set="native")[1]
    folder = corpus / "CASME2_RAW_selected" / "sub01" / "EP03_02"
    assert [frame["path"] for frame in clip["frames"]] == [str(folder / f"img{n}.jpg") for n in (8, 9, 10, 11)]
    assert {frame["bytes"] for frame in clip["frames"]} == {None}


def test_an_apex_is_a_number_or_none(corpus, load):
    clips = load(corpus, label_set="native")
    assert clips["apex"][2:6] == [47, None, 28, 91]


@pytest.mark.parametrize("apex", ["/", "\\", None, " "])
def test_a_missing_apex_may_be_written_in_several_ways(corpus, load, apex):
    write_sheet(corpus / SHEET_2019, [(*CLIPS[0][:3], apex, *CLIPS[0][4:])])
    assert load(corpus)["apex"][:] == [None]


def test_3class_follows_megc_2019_and_5class_the_paper(corpus, load):
    counted = {}
    for label_set in ("3class", "5class"):
        clips = load(corpus, label_set=label_set)
        counted[label_set] = Counter(clips.features["label"].int2str(clips["label"][:]))
    assert counted["3class"] == {"negative": 4, "positive": 2, "surprise": 1}
    assert counted["5class"] == {"happiness": 2, "disgust": 2, "repression": 1, "surprise": 1, "others": 1}


def test_the_known_offset_is_corrected_unless_asked_not_to(corpus, load, caplog):
    with caplog.at_level(logging.INFO, logger="mer_hf"):
        corrected = load(corpus, label_set="5class")
    released = load(corpus, label_set="5class", corrections=False)
    place = corrected["clip_id"].index("casme2/sub07/EP06_01@89")
    assert (corrected["offset"][place], released["offset"][place]) == (91, 93)
    assert (len(corrected["frames"][place]), len(released["frames"][place])) == (3, 5)
    assert any(message.startswith("sub07/EP06_01: offset 93 -> 91") for message in caplog.messages)


@pytest.mark.parametrize("given", [".", "..", "CASME2_RAW_selected"])
def test_the_folder_may_be_given_from_above_or_below(corpus, load, given):
    assert load(corpus / given).num_rows == 7


@pytest.mark.parametrize("given", [".", "..", "CASME2_RAW_selected", "CASME2_RAW_selected/CASME2_RAW_selected"])
def test_the_folder_may_be_doubled(corpus, load, given):
    (corpus / "CASME2_RAW_selected").rename(corpus / "inner")
    (corpus / "CASME2_RAW_selected").mkdir()
    (corpus / "inner").rename(corpus / "CASME2_RAW_selected" / "CASME2_RAW_selected")
    assert load(corpus / given).num_rows == 7


def test_the_cropped_release_is_read_where_the_raw_one_is_missing(corpus, load, caplog):
    write_frames(corpus / "Cropped", name="reg_img{}.jpg")
    assert "CASME2_RAW_selected" in load(corpus)["frames"][0][0]["path"]
    shutil.rmtree(corpus / "CASME2_RAW_selected")
    with caplog.at_level(logging.INFO, logger="mer_hf"):
        path = load(corpus)["frames"][0][0]["path"]
    assert path == str(corpus / "Cropped" / "sub01" / "EP02_01f" / "reg_img46.jpg")
    assert f"CASME II: sheet {corpus / SHEET_2019}; frames {corpus / 'Cropped'}" in caplog.messages


def test_the_cropped_release_is_read_where_its_folder_is_given(corpus, load):
    write_frames(corpus / "Cropped", name="reg_img{}.jpg")
    assert load(corpus / "Cropped")["frames"][0][0]["path"].endswith("Cropped/sub01/EP02_01f/reg_img46.jpg")


def test_the_newer_sheet_wins(corpus, load, caplog):
    write_sheet(corpus / SHEET_2014, [(*CLIPS[-1][:6], "sadness")], HEADER_2014)
    with caplog.at_level(logging.INFO, logger="mer_hf"):
        assert load(corpus).num_rows == 7
    assert any(message.startswith(f"CASME II: sheet {corpus / SHEET_2019};") for message in caplog.messages)
    (corpus / SHEET_2019).unlink()
    assert load(corpus)["emotion"][:] == ["sadness"]


def test_a_sheet_saved_as_xls_with_the_content_of_an_xlsx_is_read(corpus, load):
    (corpus / SHEET_2019).rename(corpus / "CASME2-coding-20190701.xls")
    assert load(corpus).num_rows == 7


def test_blank_and_unrelated_rows_at_the_end_are_passed_over(corpus, load):
    blank = [None] * 10
    write_sheet(corpus / SHEET_2019, tail=[blank, [" ", *blank[1:]], [None, None, "a note", *blank[3:]]])
    assert load(corpus).num_rows == 7


def test_columns_are_found_by_name_where_they_have_moved(corpus, load):
    book = openpyxl.load_workbook(corpus / SHEET_2019)
    book.active.insert_cols(1)
    book.active.insert_rows(1, amount=2)
    book.active["A1"] = "coding of CASME II"
    book.save(corpus / SHEET_2019)
    assert load(corpus).num_rows == 7


def test_frames_may_be_of_several_formats_beside_other_files(corpus, load):
    folder = corpus / "CASME2_RAW_selected" / "sub01" / "EP02_01f"
    (folder / "img47.jpg").rename(folder / "img47.JPG")
    (folder / "img48.jpg").rename(folder / "img48.png")
    (folder / "img49.jpg").rename(folder / "img49.BMP")
    for name in ("Thumbs.db", "._img46.jpg", ".DS_Store", "Desktop - Shortcut.lnk"):
        (folder / name).touch()
    (folder.parent / "Desktop - Shortcut.lnk").touch()
    names = [frame["path"].rsplit("/", 1)[1] for frame in load(corpus)["frames"][0]]
    assert names == ["img46.jpg", "img47.JPG", "img48.png", "img49.BMP", "img50.jpg"]


def test_padded_frame_numbers_are_the_same_numbers(corpus, load):
    folder = corpus / "CASME2_RAW_selected" / "sub01" / "EP03_02"
    for file in folder.iterdir():
        file.rename(folder / f"img{int(file.stem[3:]):05d}.jpg")
    assert len(load(corpus, label_set="5class")["frames"][1]) == 4


def test_a_name_that_leaves_the_data_folder_is_refused(corpus, load):
    write_sheet(corpus / SHEET_2019, [("01", "../../../outside", 1, 2, 3, "", "disgust")])
    with pytest.raises(AnnotationError, match=r"'../../../outside' is not the name of one folder"):
        load(corpus)


def test_an_empty_folder_is_refused_with_the_layout_and_the_address(tmp_path, load):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CorpusNotFoundError) as refused:
        load(tmp_path / "nothing")
    for part in (
        "CASME II",
        "CASME2-coding-*.xls*",
        str(tmp_path / "nothing"),
        "data_dir=",
        "img46.jpg",
        "casme.psych",
    ):
        assert part in str(refused.value)


def test_without_a_folder_the_licence_is_named():
    with pytest.raises(CorpusNotFoundError, match=r"(?s)CASME II is not downloaded.*data_dir=.*licence.*casme\.psych"):
        load_corpus("casme2")


# --- the synthetic corpus ---------------------------------------------------------------------------------------------


def test_a_synthetic_corpus_has_the_layout_of_casme2_but_never_its_name(corpus, tmp_path):
    clips = load_corpus("synthetic", corpus, cache_dir=tmp_path / "cache")
    assert set(clips["corpus"]) == {"synthetic"}
    assert clips["subject"][0] == "synthetic/sub01"
    assert clips["clip_id"][0] == "synthetic/sub01/EP02_01f@46"
    assert not any("casme2" in text.lower() for text in (*clips["clip_id"], *clips["subject"], clips.info.citation))


def test_corrections_of_casme2_are_not_applied_to_a_synthetic_corpus(corpus, tmp_path):
    clips = load_corpus("synthetic", corpus, cache_dir=tmp_path / "cache")
    assert clips["offset"][clips["clip_id"].index("synthetic/sub07/EP06_01@89")] == 93


def test_a_synthetic_corpus_without_a_folder_names_the_function_that_renders_it():
    with pytest.raises(CorpusNotFoundError, match=r"(?s)data_dir=.*mer-hf synthesize.*default_folder\(\)"):
        load_corpus("synthetic")


def test_declared_label_sets_use_only_emotions_of_the_corpus():
    declared = set(casme2.Casme2.emotions)
    five = next(labels for labels in casme2.Casme2.label_sets if labels.name == "5class")
    assert {emotion for _, members in five.classes for emotion in members} <= declared
