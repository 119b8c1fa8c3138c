"""Every corpus of the field, from a replica of each of its releases: the published counts, and the quirks."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import openpyxl
import pytest
from huggingface_hub import DatasetCard

from mer_hf.corpora import CORPORA, AnnotationError, CorpusNotFoundError
from mer_hf.corpora.check import check_corpus
from mer_hf.corpora.licence import MARK
from mer_hf.labels import normalize_emotion
from replicas import REPLICAS, replicate

CARDS = Path(__file__).parents[2] / "hub_cards" / "corpora"
FIELD = [name for name in CORPORA if name != "synthetic"]


def counted(clips, column="label"):
    values = clips[column][:]
    return Counter(clips.features["label"].int2str(values) if column == "label" else values)


def clip(clips, name):
    """The only clip whose id has this name."""
    (row,) = [place for place, clip_id in enumerate(clips["clip_id"]) if f"/{name}@" in clip_id]
    return clips[row]


def numbers(row):
    return [int(re.search(r"(\d+)\.\w+$", frame["path"])[1]) for frame in row["frames"]]


# --- what every declaration must say ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELD)
def test_a_corpus_of_the_field_says_where_it_comes_from(name):
    corpus = CORPORA[name]
    assert re.search(r"doi:10\.\d{4}/\S+$", corpus.citation)
    assert MARK in corpus.license
    assert corpus.homepage.startswith("http") and corpus.request and corpus.tree.strip()
    assert corpus.fps > 0 and min(corpus.resolution) > 0


@pytest.mark.parametrize("name", CORPORA)
def test_label_sets_use_only_emotions_of_the_corpus(name):
    corpus = CORPORA[name]
    assert [normalize_emotion(emotion) for emotion in corpus.emotions] == list(corpus.emotions)
    for labels in corpus.label_sets:
        for _, members in labels.classes:
            # the rule of MEGC names the emotions of all corpora, but every class must have one here
            assert set(members) & set(corpus.emotions)
            assert labels.name == "3class" or set(members) <= set(corpus.emotions)


@pytest.mark.parametrize("name", FIELD)
def test_expected_classes_add_up(name):
    for counts in CORPORA[name].counts:
        assert sum(counts.classes.values()) in (0, counts.clips)


@pytest.mark.parametrize("name", FIELD)
def test_a_corpus_has_a_card_with_front_matter_of_the_hub_and_no_data(name):
    corpus = CORPORA[name]
    card = DatasetCard.load(CARDS / f"{name}.md")
    assert (card.data.license, card.data.viewer) == ("other", False)
    assert re.fullmatch(r"[a-z0-9-_.]+", card.data.license_name)
    assert (card.data.license_link, card.data.pretty_name) == (corpus.homepage, corpus.title)
    text = " ".join(card.text.split())
    assert corpus.citation in text
    assert corpus.request in text
    assert f'```python import mer_hf clips = mer_hf.load_corpus("{name}", data_dir="...") ```' in text
    assert ", ".join(["native", *(labels.name for labels in corpus.label_sets)]) in text
    for counts in corpus.counts:
        assert f"{counts.clips} clips of {counts.subjects} subjects" in text
        assert ", ".join(f"{emotion} {clips}" for emotion, clips in counts.classes.items()) in text
    assert not re.search(r"!\[|<img", text)


# --- whole releases ---------------------------------------------------------------------------------------------------

# corpus, release -> clips, subjects, classes of the native label set (None where none are published)
PUBLISHED = {
    ("smic", "raw"): (164, 16, {"negative": 70, "positive": 51, "surprise": 43}),
    ("smic", "cropped"): (164, 16, {"negative": 70, "positive": 51, "surprise": 43}),
    ("smic", "extended"): (164, 16, {"negative": 70, "positive": 51, "surprise": 43}),
    ("smic", "extended-2019"): (164, 16, {"negative": 70, "positive": 51, "surprise": 43}),
    **{
        (camera, release): (71, 8, None)
        for camera in ("smic-vis", "smic-nir")
        for release in ("raw", "cropped", "extended", "extended-2019")
    },
    **{
        ("casme", release): (
            *(189, 18),
            {
                **{"tense": 68, "disgust": 45, "repression": 39, "surprise": 20},
                **{"happiness": 7, "sadness": 6, "fear": 2, "contempt": 2},
            },
        )
        for release in ("189-raw", "189-cropped", "189-by-emotion")
    },
    ("casme", "193-raw"): (
        *(193, 19),
        {
            **{"tense": 71, "disgust": 42, "repression": 43, "surprise": 19},
            **{"happiness": 10, "sadness": 5, "fear": 2, "contempt": 1},
        },
    ),
    **{
        ("casme2", release): (
            *(255, 26),
            {
                **{"others": 99, "disgust": 63, "happiness": 32, "repression": 27},
                **{"surprise": surprise, "sadness": sadness, "fear": 2},
            },
        )
        for release, surprise, sadness in (("2019-raw", 28, 4), ("2019-cropped", 28, 4), ("2014-raw", 25, 7))
    },
    ("samm", "raw"): (
        *(159, 29),
        {
            **{"anger": 57, "other": 26, "happiness": 26, "surprise": 15},
            **{"contempt": 12, "disgust": 9, "fear": 8, "sadness": 6},
        },
    ),
    ("mmew", "raw"): (300, 36, None),
    **{
        ("casme_squared", release): (57, 14, {"negative": 21, "others": 19, "surprise": 9, "positive": 8})
        for release in ("rawpic", "selectedpic", "cropped", "cropped-by-participant")
    },
    ("casme3", "raw"): (860, 94, None),
    ("casme3", "clips"): (860, 94, None),
    ("4dme", "gray"): (None, None, None),
    ("megc2019", "raw"): (442, 68, None),
}


def test_there_is_a_replica_of_every_release_of_every_corpus():
    assert {(corpus, release) for corpus, releases in REPLICAS.items() for release in releases} == PUBLISHED.keys()
    assert list(REPLICAS) == FIELD
    for name in FIELD[:-1]:  # every layout that is declared
        written = {replica.layout for release in REPLICAS[name].values() for replica, _ in release}
        assert written == set(CORPORA[name].layouts)


@pytest.mark.parametrize(("corpus", "release"), PUBLISHED)
def test_a_whole_release_has_the_published_counts_and_passes_the_check(corpus, release, replica, load):
    data_dir = replica(corpus, release)
    report = check_corpus(corpus, data_dir)
    assert report["problems"] == []
    table = load(corpus, data_dir, label_set="3class" if corpus == "megc2019" else "native")
    assert len(set(table["clip_id"])) == len(table)
    for row in table:
        assert row["onset"] <= numbers(row)[0] and numbers(row)[-1] <= row["offset"]
        assert numbers(row) == sorted(numbers(row))
        assert row["apex"] is None or row["onset"] <= row["apex"] <= row["offset"]
        assert row["clip_id"].startswith(f"{row['corpus']}/")
    if corpus != "megc2019":
        assert set(table["fps"]) == {CORPORA[corpus].fps}
        assert set(table["corpus"]) == {corpus}
    clips, subjects, classes = PUBLISHED[corpus, release]
    if clips is not None:
        assert report["clips"] == {"in_sheet": clips, "on_disk": clips, "expected": clips}
        assert (report["subjects"]["found"], report["subjects"]["expected"]) == (subjects, subjects)
        assert (len(table), len(set(table["subject"]))) == (clips, subjects)
    if classes is not None:
        assert counted(table) == classes


@pytest.mark.slow  # 18 000 files
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak memory of a process")
def test_255_clips_of_70_frames_load_in_seconds_and_300_megabytes(tmp_path):
    replicate("casme2", tmp_path / "data", frames=70)
    program = (
        "import re, sys, time\nfrom pathlib import Path\nfrom mer_hf import load_corpus\nstart = time.process_time()\n"
        "clips = load_corpus('casme2', sys.argv[1], 'native', cache_dir=sys.argv[2])\n"
        "seconds = time.process_time() - start\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]\n"
        "print(len(clips), sum(map(len, clips['frames'])), seconds, int(peak) / 1024)"
    )
    arguments = [sys.executable, "-c", program, tmp_path / "data", tmp_path / "cache"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    clips, frames, seconds, megabytes = map(float, done.stdout.split())
    assert (clips, frames) == (255, 255 * 70)
    assert seconds < 10  # half a second where nobody else is at work
    assert megabytes < 300


@pytest.mark.parametrize(("corpus", "release"), [key for key in PUBLISHED if key[0] not in ("smic-vis", "megc2019")])
def test_a_release_is_found_from_above_and_where_its_folder_is_doubled(corpus, release, small, load, tmp_path):
    (inside,) = small(corpus, release, below="written").iterdir()
    doubled = tmp_path / "data" / "copy" / "copy"
    doubled.parent.mkdir(parents=True)
    inside.rename(doubled)
    clips = load(corpus, doubled)["clip_id"][:]
    assert len(clips) >= 9
    for given in (doubled.parent, doubled.parent.parent):
        assert load(corpus, given)["clip_id"][:] == clips


# --- SMIC -------------------------------------------------------------------------------------------------------------


def test_smic_has_its_labels_from_folders_and_its_clips_from_all_their_frames(replica, load):
    clips = load("smic", replica("smic", "raw"))
    row = clips[0]
    assert re.fullmatch(r"smic/s01/s1_(ne|po|sur)_\d+@\d+", row["clip_id"])
    assert (row["subject"], row["apex"], row["action_units"]) == ("smic/s01", None, "")
    path = Path(row["frames"][0]["path"])
    assert path.parts[-6:-3] == ("HS", "s1", "micro")
    assert path.parts[-3] == row["emotion"]
    assert re.fullmatch(r"image\d{6}\.bmp", path.name)
    on_disk = [int(re.search(r"\d+", frame.name)[0]) for frame in path.parent.iterdir()]
    assert (row["onset"], row["offset"]) == (min(on_disk), max(on_disk))
    assert set(clips["subject"]) == {
        f"smic/s{number:02d}" for number in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)
    }


def test_smic_frame_numbers_of_six_and_of_eight_digits_are_numbers(replica, load):
    clips = load("smic", replica("smic", "cropped"))
    widths = {
        subject: len(re.search(r"reg_image(\d+)\.bmp", frames[0]["path"])[1])
        for subject, frames in zip(clips["subject"], clips["frames"], strict=True)
    }
    assert widths["smic/s20"] == 8
    assert {width for subject, width in widths.items() if subject != "smic/s20"} == {6}


def test_the_cameras_of_smic_are_told_apart_by_their_folders_and_share_their_people(load, tmp_path):
    for corpus, clips in (("smic", 1), ("smic-vis", 2), ("smic-nir", 3)):
        replicate(corpus, tmp_path / corpus, "raw", clips=clips, frames=3)
        shutil.copytree(tmp_path / corpus / "SMIC", tmp_path / "SMIC", dirs_exist_ok=True)
    tables = {corpus: load(corpus, tmp_path / "SMIC") for corpus in ("smic", "smic-vis", "smic-nir")}
    assert {corpus: len(table) for corpus, table in tables.items()} == {"smic": 16, "smic-vis": 16, "smic-nir": 24}
    assert set(tables["smic-vis"]["subject"]) < set(tables["smic"]["subject"])
    assert set(tables["smic-vis"]["corpus"]) == {"smic-vis"}
    assert load("smic", tmp_path / "SMIC" / "SMIC_all_raw" / "HS").num_rows == 16
    with pytest.raises(CorpusNotFoundError, match="no folder SMIC_all_raw/HS"):
        load("smic", tmp_path / "SMIC" / "SMIC_all_raw" / "VIS")


def test_smic_e_has_an_apex_in_2019_only_and_its_videos_are_longer_than_its_clips(replica, load):
    new, old = (load("smic", replica("smic", f"extended{year}")) for year in ("-2019", ""))
    assert old["clip_id"][:] == new["clip_id"][:]
    assert set(old["apex"]) == {None}
    assert sum(apex is None for apex in new["apex"]) == 3  # the further clips of a row have none
    path = Path(new[0]["frames"][0]["path"])
    assert path.parts[-3] == "s01" and re.fullmatch(r"image\d{6}\.jpg", path.name)
    assert len(list(path.parent.iterdir())) > len(new[0]["frames"])


def test_a_row_of_smic_e_may_hold_several_clips(replica, load):
    clips = load("smic", replica("smic", "extended-2019"))
    names = Counter(clip_id.split("@")[0] for clip_id in clips["clip_id"])
    assert Counter(names.values()) == {1: 158, 2: 3}


def test_smic_e_is_read_though_cells_hold_text_and_rows_are_blank(replica, load):
    sheet = next(replica("smic", "extended-2019").rglob("*.xlsx"))
    rows = list(openpyxl.load_workbook(sheet)["Sheet1"].iter_rows(values_only=True))
    assert any("not found" in row for row in rows)
    assert rows[-1][0] == " "
    assert load("smic", sheet.parent).num_rows == 164


def test_an_emotion_folder_that_smic_does_not_have_is_refused(small, load):
    hs = small("smic", "raw") / "SMIC" / "SMIC_all_raw" / "HS"
    (hs / "s1" / "micro" / "negative").rename(hs / "s1" / "micro" / "nagative")
    with pytest.raises(AnnotationError, match="unknown emotion 'nagative'"):
        load("smic", hs)


# --- CASME ------------------------------------------------------------------------------------------------------------


def test_casme_has_names_that_stand_for_several_clips(replica, load):
    clips = load("casme", replica("casme", "189-raw"))
    names = Counter(clip_id.split("@")[0] for clip_id in clips["clip_id"])
    assert sum(rows - 1 for rows in names.values()) == 14
    name = next(name for name, rows in names.items() if rows > 1)
    first, second = (row for row in clips if row["clip_id"].startswith(f"{name}@"))
    assert set(numbers(first)).isdisjoint(numbers(second))


def test_casme_frames_are_unpadded_for_early_subjects_and_then_padded(replica, load):
    clips = load("casme", replica("casme", "189-cropped"))
    early, late = (next(row for row in clips if name in row["clip_id"]) for name in ("/EP01_12@", "sub07/EP17_2@"))
    assert early["frames"][0]["path"].endswith(f"Cropped/sub01/EP01_12/reg_EP01_12-{early['onset']}.jpg")
    assert late["frames"][0]["path"].endswith(f"/reg_EP17_2-{late['onset']:03d}.jpg")


def test_casme_apex_is_the_first_of_two_the_second_of_which_may_be_a_backslash(replica, load):
    sheet = next(replica("casme", "189-raw").rglob("*.xlsx"))
    rows = list(openpyxl.load_workbook(sheet).active.iter_rows(values_only=True))
    assert sum(row[5] == "\\" for row in rows) == 55
    assert rows[0][:5] == ("Subject", "Filename", None, "OnsetF", "ApexF1")
    clips = load("casme", replica("casme", "189-raw"))
    assert sorted(clips["apex"]) == sorted(row[4] for row in rows[1:])


def test_casme_contempt_is_misspelt_in_one_release(replica, load):
    sheet = next(replica("casme", "193-raw").rglob("*.xlsx"))
    assert "comtempt" in [row[-1] for row in openpyxl.load_workbook(sheet).active.iter_rows(values_only=True)]
    assert counted(load("casme", replica("casme", "193-raw")), "emotion")["contempt"] == 1


def test_casme_in_four_classes_is_what_papers_keep(replica, load):
    clips = load("casme", replica("casme", "189-raw"), label_set="4class")
    assert counted(clips) == {"disgust": 45, "surprise": 20, "repression": 39, "tense": 68}
    assert "left out: contempt 2, fear 2, happiness 7, sadness 6." in clips.info.description


def test_a_casme_row_whose_frames_are_not_on_disk_is_named_with_those_there_are(small, load):
    data_dir = small("casme", "189-raw")
    book = openpyxl.load_workbook(sheet := next(data_dir.rglob("*.xlsx")))
    row = book.active.max_row
    onset = book.active[f"D{row}"].value
    book.active[f"D{row}"], book.active[f"G{row}"] = 900, 902
    book.save(sheet)
    with pytest.raises(AnnotationError, match=rf"0 of the frames 900-902 among 5 images \({onset - 1}-{onset + 3}\)"):
        load("casme", data_dir)


def test_casme_by_emotion_is_refused_where_two_subjects_share_a_folder(load, tmp_path):
    data_dir = replicate("casme", tmp_path / "data", "189-by-emotion", subjects=7, frames=3)
    book = openpyxl.load_workbook(sheet := next(data_dir.rglob("*.xlsx")))
    for row in book.active.iter_rows(min_row=2):
        if row[1].value == "EP17_2":
            row[1].value = "EP01_12"
    book.save(sheet)
    with pytest.raises(AnnotationError, match=r"tense/EP01_12 cannot belong to sub01, sub07 at once"):
        load("casme", data_dir)


# --- CASME II ---------------------------------------------------------------------------------------------------------


def test_casme2_in_five_classes_depends_on_the_sheet(replica, load):
    new, old = (load("casme2", replica("casme2", f"{year}-raw"), label_set="5class") for year in (2019, 2014))
    assert (len(new), len(old)) == (249, 246)
    assert counted(new) == {"happiness": 32, "disgust": 63, "repression": 27, "surprise": 28, "others": 99}
    assert set(new["clip_id"]) - set(old["clip_id"]) == {
        clip_id
        for clip_id in new["clip_id"]
        if clip_id.startswith(("casme2/sub24/EP07_01@", "casme2/sub24/EP07_04f@", "casme2/sub24/EP10_03@"))
    }


def test_casme2_has_an_apex_missing_one_at_the_onset_and_some_at_the_offset(replica, load):
    clips = load("casme2", replica("casme2", "2019-raw"))
    assert clip(clips, "sub04/EP12_01f")["apex"] is None
    early = clip(clips, "sub05/EP09_05f")
    assert early["apex"] == early["onset"]
    assert sum(row["apex"] == row["offset"] for row in clips) >= 3


def test_the_clip_of_casme2_that_is_on_disk_and_in_no_sheet_is_told_and_not_read(replica, load):
    data_dir = replica("casme2", "2019-raw")
    assert (data_dir / "CASME2/CASME2_RAW_selected/CASME2_RAW_selected/sub24/EP02_07").is_dir()
    assert not any("EP02_07" in clip_id and "sub24" in clip_id for clip_id in load("casme2", data_dir)["clip_id"])
    assert any(note.startswith("sub24/EP02_07 is on disk") for note in check_corpus("casme2", data_dir)["notes"])


# --- SAMM -------------------------------------------------------------------------------------------------------------


def test_samm_is_read_below_its_title_from_the_page_of_micro_movements(replica, load):
    sheet = next(replica("samm", "raw").rglob("*.xlsx"))
    book = openpyxl.load_workbook(sheet)
    assert [cell.value for cell in book["MICRO_ONLY"][14]][:2] == ["Subject", "Filename"]
    assert book["ALL"].max_row > 160
    clips = load("samm", sheet.parent, label_set="5class")
    assert len(clips) == 136
    assert clips.features["label"].names == ["anger", "other", "happiness", "surprise", "contempt"]
    assert clip(clips, "006/006_1_2")["subject"] == "samm/006"


def test_samm_padding_varies(replica, load):
    clips = load("samm", replica("samm", "raw"))
    widths = {len(re.search(r"_(\d+)\.jpg$", frames[0]["path"])[1]) for frames in clips["frames"]}
    assert widths == {4, 5}


def test_samm_apexes_outside_their_clips_are_corrected_where_a_source_has_one_and_none_elsewhere(replica, load):
    data_dir = replica("samm", "raw")
    corrected, released = load("samm", data_dir), load("samm", data_dir, corrections=False)
    assert clip(corrected, "032/032_3_1")["apex"] == 4945
    assert clip(released, "032/032_3_1")["apex"] is None
    assert clip(corrected, "028/028_4_1")["apex"] is None
    assert clip(corrected, "028/028_4_1")["offset"] == 1134
    late = clip(corrected, "032/032_3_2")
    assert late["apex"] == late["onset"] + 1
    notes = check_corpus("samm", data_dir, corrections=False)["notes"]
    assert any("the apex 1143 is outside" in note for note in notes)
    assert any("the apex 1930 is outside" in note for note in notes)


# --- MMEW -------------------------------------------------------------------------------------------------------------


def test_mmew_has_no_subject_folder_and_its_folder_of_others_is_called_repression(replica, load):
    clips = load("mmew", replica("mmew", "raw"))
    anger = clip(clips, "S13/S13-07-001")
    assert anger["subject"] == "mmew/S13"
    assert anger["frames"][0]["path"].endswith(f"Micro_Expression/anger/S13-07-001/{anger['onset']}.jpg")
    others = clips[clips["emotion"].index("others")]
    assert "/repression/" in others["frames"][0]["path"]
    assert "others" in clips.features["label"].names and "repression" not in clips.features["label"].names


def test_mmew_is_read_as_well_where_the_folder_is_called_others(load, tmp_path):
    data_dir = replicate("mmew", tmp_path / "data", subjects=1, frames=3)
    folder = data_dir / "MMEW_Final" / "Micro_Expression" / "repression"
    folder.rename(folder.with_name("others"))
    assert "others" in load("mmew", data_dir)["emotion"]


# --- CAS(ME)^2 --------------------------------------------------------------------------------------------------------


def test_casme_squared_keeps_the_micro_expressions_of_a_sheet_without_header(replica, load):
    data_dir = replica("casme_squared", "rawpic")
    page = openpyxl.load_workbook(next(data_dir.rglob("*.xlsx")))["CASFEcode_final"]
    rows = list(page.iter_rows(values_only=True))
    assert len(rows) == 357
    assert sum(row[4] == 0 for row in rows) == 44
    assert load("casme_squared", data_dir).num_rows == 57
    assert "300 rows of the sheet are of the kind macro-expression" in check_corpus("casme_squared", data_dir)["notes"]


def test_casme_squared_names_subjects_and_recordings_by_its_naming_rules(replica, load):
    for release, folder in (
        ("rawpic", "rawpic/s15/15_0101disgustingteeth"),
        ("selectedpic", "selectedpic/s15/disgust1_1"),
        ("cropped", "cropped/1/disgust1_1"),
        ("cropped-by-participant", "cropped/15/disgust1_1"),
    ):
        row = clip(load("casme_squared", replica("casme_squared", release)), "s15/disgust1_1")
        assert row["subject"] == "casme_squared/s15"
        assert f"/{folder}/img" in row["frames"][0]["path"]


def test_a_clip_of_casme_squared_without_an_offset_ends_at_its_apex(replica, load):
    clips = load("casme_squared", replica("casme_squared", "rawpic"))
    assert sum(row["apex"] == row["offset"] for row in clips) == 6
    notes = check_corpus("casme_squared", replica("casme_squared", "rawpic"))["notes"]
    assert "clips that end at their apex, for the sheet gives no offset: 6" in notes


def test_casme3_is_read_where_a_folder_is_spelt_with_another_case(small, load):
    folder = small("casme3", "raw") / "CASME3" / "part_A" / "spNO.1"
    folder.rename(folder.with_name("spNo.1"))
    assert load("casme3", folder.parents[2]).num_rows == 12


# --- 4DME -------------------------------------------------------------------------------------------------------------


def test_4dme_clips_with_several_emotions_have_no_class_and_are_counted(replica, load):
    clips = load("4dme", replica("4dme", "gray"))
    assert not any("+" in emotion for emotion in clips["emotion"])
    assert "positive+surprise 13" in clips.info.description
    assert clips[0]["subject"] == "4dme/S01"
    assert check_corpus("4dme", replica("4dme", "gray"))["classes"]["several emotions"]["clips"] == 39
