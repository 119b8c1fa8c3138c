"""The base does the work for any declaration: here for one that is laid out like SAMM."""

import logging
import subprocess
import sys
from dataclasses import replace

import pytest
from toy_corpus import COLUMNS, FRAME, HEADER, ROWS, Toy, write_frames, write_sheet, write_toy

from mer_hf.corpora import CORPORA, AnnotationError, CorpusBuilder, CorpusNotFoundError, MerDataError, load_corpus


@pytest.fixture(autouse=True)
def toy_is_a_corpus(monkeypatch):
    monkeypatch.setitem(CORPORA, "toy", Toy)


@pytest.fixture
def toy(tmp_path):
    return write_toy(tmp_path / "data" / "TOY")


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
    with caplog.at_level(logging.INFO, logger="mer_hf"):
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
    (toy / "007" / "007_3_1" / "007_100.jpg").write_bytes(FRAME + b"longer")
    assert load(toy)._fingerprint != before._fingerprint


def test_a_moved_corpus_is_read_from_its_new_place(toy):
    load(toy)
    moved = toy.rename(toy.with_name("TOY moved"))
    assert all(frame["path"].startswith(str(moved)) for frame in load(moved)["frames"][0])


def test_a_changed_declaration_gives_new_clips(toy, monkeypatch):
    before = load(toy)
    changed = replace(Toy.layouts[0], columns=COLUMNS._replace(action_units="Filename"))
    monkeypatch.setattr(Toy, "layouts", (changed,))
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
    with pytest.raises(ValueError, match=r"no corpus 'CASME2'.*mean 'casme2'.*smic, .*casme2, .*synthetic"):
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
    assert "2 problems with sheet" in text
    which = " (98-98)" * left
    assert f"007/007_3_1@98: {left} of the frames 98-101 among {left} images{which} in {toy / '007/007_3_1'}" in text
    assert "007/007_3_1@9: 0 of the frames 9-12" in text
    assert "006_1_2" not in text
    assert "mer-hf corpora check toy" in text


def test_a_clip_whose_folder_is_missing_is_named(toy):
    (toy / "007" / "007_3_1").rename(toy / "007" / "elsewhere")
    with pytest.raises(AnnotationError, match=r"1 problem with.*\n.*007/007_3_1@98: no folder .*007_3_1"):
        load(toy)


def test_a_clip_that_is_left_out_needs_no_frames(toy):
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *ROWS[:2], ("008", "008_1_1", 1, 2, 3, "", "other"))
    assert load(toy).num_rows == 2


def test_a_clip_that_is_cut_short_is_kept_with_a_warning(toy, caplog):
    (toy / "007" / "007_3_1" / "007_101.jpg").unlink()
    assert len(load(toy)["frames"][1]) == 3
    assert "007/007_3_1@98: 3 of 4 frames are on disk; missing 101" in caplog.messages


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


def test_all_rows_that_cannot_be_understood_are_named_at_once(toy):
    wrong = [("006", "a", 4, 2, 3, "", "anger"), ("006", "b", 1, 2, 3, "", "angst"), ("x", "c", 1, 2, 3, "", "anger")]
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *ROWS, *wrong)
    (toy / "006" / "006_1_2").rename(toy / "006" / "elsewhere")
    with pytest.raises(AnnotationError) as refused:
        load(toy)
    for part in ("4 problems", "006/a: the onset 4", "006/b: unknown emotion", "c: the subject 'x'", "no folder"):
        assert part in str(refused.value)


def test_a_sheet_none_of_whose_rows_can_be_understood_tells_why(toy):
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, ("x", "c", 1, 2, 3, "", "anger"))
    with pytest.raises(AnnotationError, match="c: the subject 'x' has no number"):
        load(toy)


def test_many_problems_are_shown_in_part(toy):
    rows = [("006", f"n{number}", 4, 2, 3, "", "anger") for number in range(25)]
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *ROWS, *rows)
    with pytest.raises(AnnotationError, match=r"(?s)25 problems.*n9.*and 15 more") as refused:
        load(toy)
    assert "n10" not in str(refused.value)


@pytest.mark.parametrize(("apex", "given"), [(100, 100), (98, 98), (101, 101), (97, None), (102, None), ("/", None)])
def test_an_apex_outside_its_clip_is_none(toy, apex, given):
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, (*ROWS[1][:3], apex, *ROWS[1][4:]))
    assert load(toy)["apex"][:] == [given]


def test_a_mapping_of_folders_is_refused_by_a_single_corpus(toy):
    with pytest.raises(CorpusNotFoundError, match="is not a folder"):
        load_corpus("toy", {"toy": toy})


# --- links ------------------------------------------------------------------------------------------------------------


def test_the_data_folder_itself_may_be_a_link(toy):
    link = toy.with_name("link")
    link.symlink_to(toy)
    assert load(link).num_rows == 2


@pytest.mark.parametrize("linked", ["007/007_3_1", "007"])
def test_a_clip_folder_that_is_a_link_out_of_the_data_folder_is_refused(toy, tmp_path, linked):
    outside = (toy / linked).rename(tmp_path / "outside")
    (toy / linked).symlink_to(outside)
    with pytest.raises(AnnotationError, match=rf"link out of the data folder {toy}, to {outside}"):
        load(toy)


def test_a_frame_that_is_a_link_out_of_the_data_folder_is_refused(toy, tmp_path):
    frame = toy / "007" / "007_3_1" / "007_100.jpg"
    frame.rename(tmp_path / "secret")
    frame.symlink_to(tmp_path / "secret")
    with pytest.raises(AnnotationError, match=rf"{frame} is a link out of the data folder"):
        load(toy)


def test_a_link_inside_the_data_folder_is_followed(toy):
    frame = toy / "007" / "007_3_1" / "007_100.jpg"
    (toy / "store").mkdir()
    frame.rename(toy / "store" / "content")
    frame.symlink_to(toy / "store" / "content")
    assert len(load(toy)["frames"][1]) == 4


def test_a_sheet_cannot_name_folders_by_wildcards(toy):
    write_sheet(toy / "Toy_Codes_v2.xlsx", HEADER, *ROWS, ("006", "006*", 5562, 5563, 5564, "", "anger"))
    with pytest.raises(AnnotationError, match=r"006/006\*@5562: no folder"):
        load(toy)


def test_reading_a_corpus_imports_neither_torch_nor_transformers():
    code = (
        "import sys, mer_hf.corpora\n"
        "heavy = {'torch', 'transformers', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
