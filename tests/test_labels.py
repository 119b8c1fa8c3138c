import subprocess
import sys

import pytest

from mer_hf.labels import (
    CASME2_5CLASS,
    CASME_4CLASS,
    MEGC2019_3CLASS,
    SAMM_5CLASS,
    native_label_set,
    normalize_emotion,
)

LABEL_SETS = (MEGC2019_3CLASS, CASME2_5CLASS, SAMM_5CLASS, CASME_4CLASS, native_label_set(("tense", "disgust")))


@pytest.mark.parametrize(
    ("emotion", "expected"),
    [
        ("repression", "negative"),
        ("anger", "negative"),
        ("contempt", "negative"),
        ("disgust", "negative"),
        ("fear", "negative"),
        ("sadness", "negative"),
        ("happiness", "positive"),
        ("surprise", "surprise"),
        ("others", None),
        ("tense", None),
        ("negative", "negative"),
        ("positive", "positive"),
        ("positive+surprise", None),
    ],
)
def test_3class_follows_the_rule_of_megc_2019(emotion, expected):
    assert MEGC2019_3CLASS.class_of(emotion) == expected


def test_class_numbers_follow_the_declared_order():
    assert MEGC2019_3CLASS.class_names == ["negative", "positive", "surprise"]
    assert CASME2_5CLASS.class_names == ["happiness", "disgust", "repression", "surprise", "others"]


def test_5class_of_casme2_leaves_out_the_two_rare_emotions():
    assert CASME2_5CLASS.class_of("sadness") is None
    assert CASME2_5CLASS.class_of("fear") is None
    assert CASME2_5CLASS.class_of("others") == "others"


def test_5class_of_samm_and_4class_of_casme_keep_the_emotions_of_ten_clips_or_more():
    assert SAMM_5CLASS.class_names == ["anger", "other", "happiness", "surprise", "contempt"]
    assert CASME_4CLASS.class_names == ["disgust", "surprise", "repression", "tense"]
    assert [SAMM_5CLASS.class_of(emotion) for emotion in ("disgust", "fear", "sadness")] == [None] * 3
    assert [CASME_4CLASS.class_of(emotion) for emotion in ("happiness", "contempt")] == [None] * 2


def test_native_makes_every_emotion_a_class_of_its_own():
    labels = native_label_set(("tense", "disgust"))
    assert labels.name == "native"
    assert [labels.class_of(emotion) for emotion in ("tense", "disgust", "surprise")] == ["tense", "disgust", None]


@pytest.mark.parametrize("labels", LABEL_SETS, ids=lambda labels: labels.name)
def test_no_emotion_belongs_to_two_classes_and_all_are_spelt_normally(labels):
    emotions = [emotion for _, members in labels.classes for emotion in members]
    assert len(set(emotions)) == len(emotions)
    assert [normalize_emotion(emotion) for emotion in emotions] == emotions


@pytest.mark.parametrize("released", ["Disgust", " disgust ", "DISGUST\n"])
def test_spelling_accidents_of_an_emotion_are_removed(released):
    assert normalize_emotion(released) == "disgust"


def test_labels_and_protocols_need_nothing_but_the_standard_library():
    code = (
        "import sys, mer_hf.labels, mer_hf.protocols\n"
        "heavy = {'numpy', 'datasets', 'torch', 'transformers', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
