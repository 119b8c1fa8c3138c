import json
import os
import shutil
import subprocess
import sys

import openpyxl
import pytest

from mer_hf.commands import main
from mer_hf.corpora import CORPORA
from mer_hf.corpora.check import check_corpus, report_lines
from replicas import replicate


@pytest.fixture
def check(capsys):
    """Runs `mer-hf corpora check` both ways: status, report, printed lines."""

    def check(corpus, data_dir):
        status = main(["corpora", "check", corpus, "--data-dir", str(data_dir)])
        lines = capsys.readouterr().out.splitlines()
        assert main(["corpora", "check", corpus, "--data-dir", str(data_dir), "--json"]) == status
        return status, json.loads(capsys.readouterr().out), lines

    return check


@pytest.fixture(scope="module")
def sound(replica):
    return replica("casme2", "2019-raw")


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "copy")


def frames_of(data_dir):
    return data_dir / "CASME2" / "CASME2_RAW_selected" / "CASME2_RAW_selected"


def edit(data_dir, name, title, value):
    """Change a cell in the row of a clip; the whole row where no title is given."""
    file = next(data_dir.rglob("*.xlsx"))
    book = openpyxl.load_workbook(file)
    rows = list(book.active.iter_rows())
    titles = [cell.value for cell in rows[0]]
    (row,) = [row for row in rows if row[1].value == name and row[0].value == "01"]
    for cell, its_title in zip(row, titles, strict=True):
        if title in (None, its_title):
            cell.value = value
    book.save(file)


def kinds(report):
    return sorted(problem["kind"] for problem in report["problems"])


def test_a_sound_copy_has_status_0_and_is_told_in_full(check, sound):
    status, report, lines = check("casme2", sound)
    assert status == 0
    assert report["problems"] == []
    assert report["clips"] == {"in_sheet": 255, "on_disk": 255, "expected": 255}
    assert report["classes"]["happiness"] == {"clips": 32, "expected": 32}
    assert report["label_sets"]["3class"] == {"negative": 96, "positive": 32, "surprise": 28}
    assert sum(report["subjects"]["clips"].values()) == 255
    (fix,) = report["corrections"]
    assert fix["clip"] == "sub07/EP06_01" and fix["outcome"].endswith("-> 91") and "tvaranka" in fix["source"]
    assert lines[0] == f"CASME II in {sound}"
    assert lines[-1] == "nothing is wrong"
    text = "\n".join(lines)
    for part in ("255 annotated, 255 with frames, 255 expected", "happiness: 32, 32 expected", "-> 91", "sub24 14"):
        assert part in text


def test_every_planted_fault_is_found_at_once(check, copy):
    frames = frames_of(copy)
    shutil.rmtree(frames / "sub01" / "EP02_01f")  # a clip without its folder
    subjects = iter(sorted(frames.iterdir())[1:])
    cut, emptied, twice, linked, extra = (next(sorted_clips(subject)) for subject in (next(subjects) for _ in range(5)))
    images = sorted(cut.iterdir(), key=lambda image: int(image.stem[3:]))
    images[2].unlink()  # inside the clip
    for image in emptied.iterdir():
        image.unlink()
    image = next(twice.iterdir())
    shutil.copy(image, image.with_name(f"copy_{image.name}"))  # two images with one number
    outside = linked.rename(copy / "outside")
    linked.symlink_to(outside)
    outside.rename(copy.parent / "outside")
    linked.unlink()
    linked.symlink_to(copy.parent / "outside")  # a link out of the folder
    shutil.copytree(extra, extra.with_name("EP99_01"))  # a clip that the sheet does not have
    first, second = unchanged_names(copy)
    edit(copy, first, "Estimated Emotion", "awe")
    edit(copy, second, "OnsetFrame", "soon")

    status, report, lines = check("casme2", copy)
    assert status == 1
    assert kinds(report) == [
        *("counts", "frames", "frames", "missing folder", "missing frames", "not in the sheet", "row", "row"),
        "too few frames",
    ]
    text = "\n".join(lines)
    for part in (
        "sub01/EP02_01f",
        f"2 of 3 frames are on disk; missing {images[2].stem[3:]}",
        "0 of the frames",
        "has two images for the frame",
        "is a link out of the data folder",
        "EP99_01 is on disk, and no row of the sheet names it",
        "unknown emotion 'awe'",
        "the onset 'soon' is not a frame number",
        "other counts than the sheet of 2019: 253 clips, not 255",
    ):
        assert part in text
    assert lines[-1] == "9 problems"


def sorted_clips(subject):
    return iter(sorted(subject.iterdir()))


def unchanged_names(copy):
    """Two clips of the first subject that no other fault touches."""
    names = sorted(clip.name for clip in (frames_of(copy) / "sub01").iterdir())
    return names[1], names[2]


def test_a_row_that_is_gone_is_a_clip_on_disk_that_the_sheet_does_not_have(check, copy):
    edit(copy, "EP02_01f", None, None)
    status, report, _ = check("casme2", copy)
    assert (status, kinds(report)) == (1, ["counts", "not in the sheet"])
    assert report["clips"] == {"in_sheet": 254, "on_disk": 254, "expected": 255}


def test_a_changed_class_is_a_wrong_count(check, copy):
    edit(copy, "EP02_01f", "Estimated Emotion", "fear")
    status, report, _ = check("casme2", copy)
    assert (status, kinds(report)) == (1, ["counts"])
    (problem,) = report["problems"]
    assert problem["text"].endswith("31 of happiness, not 32; 3 of fear, not 2")


def test_a_clip_that_stands_twice_is_found(check, small):
    data_dir = small("samm", "raw")
    book = openpyxl.load_workbook(file := next(data_dir.rglob("*.xlsx")))
    page = book["MICRO_ONLY"]
    page.append([cell.value for cell in page[15]])
    book.save(file)
    status, report, _ = check("samm", data_dir)
    assert status == 1
    assert "repeated clip" in kinds(report)


def test_a_missing_clip_of_a_corpus_without_sheet_is_a_wrong_count(check, replica, tmp_path):
    copy = shutil.copytree(replica("smic", "raw"), tmp_path / "copy")
    shutil.rmtree(next((copy / "SMIC").glob("SMIC_all_raw/HS/s18/micro/surprise/*")))
    status, report, _ = check("smic", copy)
    assert (status, kinds(report)) == (1, ["counts"])
    assert "163 clips, not 164" in report["problems"][0]["text"]


def test_counts_that_are_not_certain_are_no_fault(check, tmp_path):
    replicate("smic-vis", tmp_path / "copy", clips=2, frames=3)
    status, report, _ = check("smic-vis", tmp_path / "copy")
    assert (status, report["clips"]["expected"]) == (0, 71)


def test_faults_of_all_members_of_the_composite_are_told_with_their_names(check, small):
    data_dir = small("megc2019", "raw")
    for subject in ("SAMM/SAMM/006", "CASME2/CASME2_RAW_selected/CASME2_RAW_selected/sub01"):
        shutil.rmtree(data_dir / subject)
    status, report, _ = check("megc2019", data_dir)
    assert status == 1
    texts = [problem["text"] for problem in report["problems"] if problem["kind"] == "missing folder"]
    assert {text.split(":")[0] for text in texts} == {"CASME II", "SAMM"}


def test_the_three_folders_of_the_composite_may_be_given(check, replica):
    folder = replica("megc2019", "raw")
    given = ",".join(f"{name}={folder / below}" for name, below in MEMBERS)
    status, report, _ = check("megc2019", given)
    assert status == 0
    assert report["classes"] == {
        "negative": {"clips": 250, "expected": 250},
        "positive": {"clips": 109, "expected": 109},
        "surprise": {"clips": 83, "expected": 83},
    }


MEMBERS = (("smic", "SMIC"), ("casme2", "CASME2"), ("samm", "SAMM"))


def test_a_copy_that_cannot_be_read_has_status_1_and_says_what_is_expected(check, tmp_path):
    status, report, lines = check("samm", tmp_path)
    assert (status, kinds(report)) == (1, ["cannot be read"])
    assert "SAMM_Micro_FACS_Codes_v2.xlsx" in "\n".join(lines)
    assert lines[-1] == "1 problem"


def test_a_folder_with_a_name_in_no_unicode_is_told(check, small):
    data_dir = small("samm", "raw")
    extra = data_dir / "SAMM" / "SAMM" / "006" / os.fsdecode(b"006_\xff")
    shutil.copytree(next(extra.parent.iterdir()), extra)
    status, report, lines = check("samm", data_dir)
    assert (status, "not in the sheet" in kinds(report)) == (1, True)
    assert any("006_\\udcff is on disk" in line for line in lines)


def test_an_unknown_corpus_has_status_2(capsys, tmp_path):
    assert main(["corpora", "check", "casme9", "--data-dir", str(tmp_path)]) == 2
    assert "There is no corpus 'casme9'" in capsys.readouterr().err


def test_corrections_can_be_left_off(sound):
    report = check_corpus("casme2", sound, corrections=False)
    assert report["corrections"] == []
    assert kinds(report) == ["missing frames"]  # of the clip whose offset is wrong
    assert "sub07/EP06_01" in report_lines(report)[-2]


def test_the_corpora_are_listed_as_text_and_as_json(capsys):
    assert main(["corpora"]) == 0
    text = capsys.readouterr().out
    for corpus in CORPORA.values():
        assert f"{corpus.corpus}: {corpus.title}" in text
        assert f"a copy: {corpus.request}" in text
    assert "  SMIC HS: 164 clips of 16 subjects\n    negative 70, positive 51, surprise 43\n" in text
    assert "    SAMM/\n      SAMM_Micro_FACS_Codes_v2.xlsx\n" in text
    assert main(["corpora", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [corpus["corpus"] for corpus in listed] == list(CORPORA)
    assert listed[4]["releases"][0]["classes"]["others"] == 99


def test_one_corpus_alone_is_listed_by_its_name(capsys):
    assert main(["corpora", "list", "samm"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("samm: SAMM") and "casme" not in listed.lower()
    assert main(["corpora", "list", "sam"]) == 2
    assert "Did you mean 'samm'?" in capsys.readouterr().err


def test_listing_needs_no_image_library():
    code = (
        "import sys; from mer_hf.commands import main\nassert main(['corpora']) == 0\n"
        "heavy = {'torch', 'transformers', 'cv2'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
