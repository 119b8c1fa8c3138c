import shutil
from collections import Counter

import pytest

from mer_hf.corpora import CorpusNotFoundError, composite, load_corpus


def test_the_composite_has_the_clips_and_classes_of_the_challenge(replica, load):
    clips = load("megc2019", replica("megc2019", "raw"), label_set="3class")
    assert Counter(clips.features["label"].int2str(clips["label"][:])) == {
        "negative": 250,
        "positive": 109,
        "surprise": 83,
    }
    own = {
        corpus: Counter(row["label"] for row in clips if row["corpus"] == corpus)
        for corpus in ("smic", "casme2", "samm")
    }
    assert own["smic"] == {0: 70, 1: 51, 2: 43}
    assert own["casme2"] == {0: 88, 1: 32, 2: 25}
    assert own["samm"] == {0: 92, 1: 26, 2: 15}
    subjects = {
        corpus: {row["subject"] for row in clips if row["corpus"] == corpus} for corpus in ("smic", "casme2", "samm")
    }
    assert {corpus: len(people) for corpus, people in subjects.items()} == {"smic": 16, "casme2": 24, "samm": 28}
    assert all(subject.startswith(f"{corpus}/") for corpus, people in subjects.items() for subject in people)
    emotions = Counter(row["emotion"] for row in clips if row["corpus"] == "casme2")
    assert emotions == {"disgust": 61, "repression": 27, "happiness": 32, "surprise": 25}


def test_the_composite_is_the_same_with_either_sheet_of_casme2(replica, load, tmp_path):
    folders = {name: replica("megc2019", "raw") for name in composite.MEMBERS}
    new = load("megc2019", folders, label_set="3class")
    old = load("megc2019", {**folders, "casme2": replica("casme2", "2014-raw")}, label_set="3class")
    assert new["clip_id"][:] == old["clip_id"][:]
    assert new["label"][:] == old["label"][:]


def test_every_clip_of_the_composite_has_the_frame_rate_of_its_corpus(replica, load):
    clips = load("megc2019", replica("megc2019", "raw"), label_set="3class")
    rates = set(zip(clips["corpus"], clips["fps"], strict=True))
    assert rates == {("smic", 100.0), ("casme2", 200.0), ("samm", 200.0)}


def test_the_clips_that_the_challenge_left_out_are_told_by_name(replica, load):
    description = load("megc2019", replica("megc2019", "raw"), label_set="3class").info.description
    for left_out in (
        *("CASME II others 99", "CASME II sadness 4", "CASME II fear 2", "SAMM other 26"),
        *("sub04/EP12_01f", "sub05/EP09_05f", "sub24/EP07_01", "sub24/EP07_04f", "sub24/EP10_03"),
    ):
        assert left_out in description


def test_the_three_folders_may_be_given_one_by_one(replica, load):
    folders = {
        "smic": replica("smic", "cropped"),
        "casme2": replica("casme2", "2019-cropped"),
        "samm": replica("samm", "raw"),
    }
    clips = load("megc2019", folders, label_set="3class")
    assert clips.num_rows == 442
    text = ",".join(f"{name}={folder}" for name, folder in folders.items())
    assert load("megc2019", text, label_set="3class")["clip_id"][:] == clips["clip_id"][:]


@pytest.mark.parametrize("given", [{}, {"smic": "a", "casme2": "b"}, "smic=a,samm=b", "smic=a,casme2=b,samm=c,casme=d"])
def test_other_than_three_folders_are_refused(given):
    with pytest.raises(CorpusNotFoundError, match="expected one for each of smic, casme2, samm"):
        load_corpus("megc2019", given)


def test_a_missing_member_is_named(small, load):
    data_dir = small("megc2019", "raw")
    shutil.rmtree(data_dir / "SAMM")
    with pytest.raises(CorpusNotFoundError, match="SAMM: no coding sheet"):
        load("megc2019", data_dir, label_set="3class")
