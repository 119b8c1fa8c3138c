"""Long recordings of the field, read from replicas: published counts, every trap, and what is said of a bad copy."""

import json
import shutil

import pytest
from openpyxl import load_workbook

import mer_hf
from mer_hf.commands import main
from mer_hf.corpora import CORPORA, AnnotationError, CorpusNotFoundError, LicenceError, check_publishable
from mer_hf.corpora.recordings import RECORDINGS, load_recordings, read_recordings
from mer_hf.errors import MerHfError
from recordings_replicas import REPLICAS


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    made = {}

    def copy(name):
        if name not in made:
            made[name] = REPLICAS[name](tmp_path_factory.mktemp(name) / "release")
        return made[name]

    return copy


@pytest.fixture(scope="module")
def read(copies):
    done = {}

    def of(name):
        if name not in done:
            done[name] = read_recordings(RECORDINGS[name], copies(name))
        return done[name]

    return of


PUBLISHED = {
    "samm-lv": (147, 343, 159, 0),
    "casme_squared": (97, 300, 57, 0),
    "casme3": (956, 3346, 860, 841),
    "smic-e": (157, 0, 157, 0),
}


@pytest.mark.parametrize("name", REPLICAS)
def test_the_published_counts_are_found_and_nothing_is_wrong(name, read):
    assert tuple(read(name).counts) == PUBLISHED[name]
    assert read(name).problems == []


def events_of(read, recording):
    return [(event["onset"], event["apex"], event["offset"], event["kind"]) for event in read.events[recording]]


def notes_of(read, kind):
    return [note.text for note in read.notes if note.kind == kind]


@pytest.mark.parametrize("name", REPLICAS)
def test_every_event_lies_in_its_recording_with_an_apex_inside_or_none(name, read):
    for recording, events in read(name).events.items():
        numbers = [frame.number for frame in read(name).frames[recording]]
        assert numbers == sorted(set(numbers))
        for event in events:
            assert numbers[0] <= event["onset"] <= event["offset"] <= numbers[-1]
            assert event["apex"] is None or event["onset"] <= event["apex"] <= event["offset"]


def test_recordings_without_an_event_are_there_too(read):
    for name, quiet in (("samm-lv", 20), ("casme_squared", 7), ("casme3", 56), ("smic-e", 0)):
        assert len(read(name).frames.keys() - read(name).events.keys()) >= quiet


def test_samm_lv_rounds_fractions_and_leaves_out_what_cannot_be(read):
    samm = read("samm-lv")
    assert len(notes_of(samm, "fraction")) == 143
    assert len(notes_of(samm, "apex outside")) == 6
    past = notes_of(samm, "offset past the end")
    assert len(past) == 2 and any("020_6" in text for text in past) and any("036_7" in text for text in past)
    assert sum(event["apex"] is None for events in samm.events.values() for event in events) == 6 + 10
    assert samm.subjects["006_1"] == "samm/006"
    assert events_of(samm, "006_1")[0] == (2, 5, 11, "macro")  # an onset of 2.4
    assert [frame.number for frame in samm.frames["006_2"]] == list(range(1, 41))  # of five digits, others of four


def test_casme_squared_ends_at_the_apex_where_no_offset_is_coded(read):
    squared = read("casme_squared")
    without = notes_of(squared, "no offset")
    assert len(without) == 45 and len(notes_of(squared, "apex outside")) == 3
    assert squared.subjects["s15/15_0101disgustingteeth"] == "casme_squared/s15"
    first = squared.events["s15/15_0101disgustingteeth"][0]
    assert (first["onset"], first["apex"], first["offset"], first["kind"]) == (3, 7, 7, "micro")
    assert first["emotion"] == "negative" and first["action_units"] == "4+7"


def test_casme3_knows_frames_by_their_numbers_and_has_blinks(read):
    third = read("casme3")
    assert len(notes_of(third, "gaps")) == 956
    numbers = [frame.number for frame in third.frames["spNO.1/a"]]
    assert numbers == [*range(100, 106), *range(109, 115)]
    assert events_of(third, "spNO.1/a")[0] == (100, 102, 105, "micro")
    assert third.blinks["spNO.1/a"][0]["kind"] == "blink" and third.blinks["spNO.1/a"][0]["offset"] == 105
    assert "spNo.10/a" in third.events and third.subjects["spNo.10/a"] == "casme3/spNO.10"


def test_smic_e_has_no_apex_and_text_below_its_rows(read):
    smic = read("smic-e")
    assert smic.subjects["s01/s1_ne_01"] == "smic/s01"
    assert events_of(smic, "s01/s1_ne_01") == [(308008, None, 308020, "micro")]
    assert notes_of(smic, "rows of text") == ["1 rows of the sheet are text, and code nothing"]


def test_the_rows_of_the_dataset(copies):
    dataset = mer_hf.load_recordings("smic-e", data_dir=copies("smic-e"))
    assert dataset.column_names == ["recording_id", "corpus", "subject", "frames", "numbers", "fps", "events", "blinks"]
    row = dataset[0]
    assert row["recording_id"] == "smic-e/s01/s1_ne_01" and row["subject"] == "smic/s01" and row["fps"] == 100.0
    assert len(row["frames"]) == len(row["numbers"]) == 30 and row["frames"][8]["path"].endswith("image308008.jpg")
    event = {"onset": 308008, "apex": None, "offset": 308020, "kind": "micro", "action_units": None}
    assert row["events"] == [event | {"emotion": "negative"}] and row["blinks"] == []
    with pytest.raises(LicenceError):
        check_publishable(dataset)
    assert load_recordings("smic-e", copies("smic-e"), fps=25.0)[0]["fps"] == 25.0


def test_the_people_are_those_of_the_corpus_of_clips(read):
    for name, subject in (("samm-lv", "samm/006"), ("casme3", "casme3/spNO.1"), ("casme_squared", "casme_squared/s15")):
        corpus = CORPORA[subject.split("/")[0]]
        assert subject in read(name).subjects.values() and RECORDINGS[name].clips is corpus


def changed(copies, tmp_path, change):
    """A copy of SMIC-E's replica with a changed sheet."""
    copy = tmp_path / "copy"
    shutil.copytree(copies("smic-e"), copy, copy_function=lambda source, target: shutil.copyfile(source, target))
    sheet = next(copy.rglob("*.xlsx"))
    book = load_workbook(sheet)
    change(book["Sheet1"])
    book.save(sheet)
    return copy


def test_rows_that_do_not_fit_the_frames_are_named_all_at_once(copies, tmp_path):
    def change(page):
        page["D2"], page["E2"] = 308020, 308008  # the onset after the offset
        page["D3"], page["E3"] = 9, 20  # before the first frame
        page["B4"] = "s3_sur_77"  # no such recording
        page["D5"] = "3o8158"  # no number

    copy = changed(copies, tmp_path, change)
    with pytest.raises(AnnotationError, match="4 problems") as refusal:
        load_recordings("smic-e", copy)
    for text in ("is no time", "outside the frames on disk", "0 folders s03/s3_sur_77", "is no frame number"):
        assert text in str(refusal.value)


def test_a_copy_without_frames_sheet_or_folder_says_what_is_expected(copies, tmp_path):
    with pytest.raises(CorpusNotFoundError, match="pass data_dir="):
        load_recordings("samm-lv")
    with pytest.raises(CorpusNotFoundError, match="no coding sheet"):
        load_recordings("samm-lv", tmp_path)
    sheet = next(copies("smic-e").rglob("*.xlsx"))
    shutil.copyfile(sheet, tmp_path / sheet.name)
    with pytest.raises(CorpusNotFoundError, match="no folder with the recordings"):
        load_recordings("smic-e", tmp_path)
    with pytest.raises(MerHfError, match="there are no recordings 'fer'; there are samm-lv"):
        load_recordings("fer", tmp_path)


def test_corpora_check_reports_recordings(copies, tmp_path, capsys):
    assert main(["corpora", "check", "samm-lv", "--data-dir", str(copies("samm-lv"))]) == 0
    said = capsys.readouterr().out
    assert "recordings: 147, 147 expected" in said and "note (fraction, 143)" in said and "nothing is wrong" in said
    shutil.rmtree(next(changed(copies, tmp_path, lambda page: None).rglob("s3_sur_01")))
    given = ["corpora", "check", "smic-e", "--recordings", "--data-dir", str(tmp_path / "copy"), "--json"]
    assert main(given) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["recordings"] == 156 and {"missing folder", "counts"} == {each["kind"] for each in report["problems"]}
