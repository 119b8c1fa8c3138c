import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from hypothesis import given
from hypothesis import strategies as st

from mer_hf.errors import MerHfError
from mer_hf.subjects import subject_name


@pytest.mark.parametrize(
    "value",
    [1, 1.0, "1", "1.0", "01", "001", " 1 ", "1.", "1.000", np.int64(1), np.uint8(1), np.float32(1), np.str_("1")],
)
def test_one_person_has_one_spelling(value):
    assert subject_name(value) == "1"
    assert type(subject_name(value)) is str


@pytest.mark.parametrize(
    "name",
    ["sub01", "casme2/sub01", "samm/006", "S 7", "0", "10", "1.5", "1e3", "-1", "s1.0", "spNO.1", "Müller", "1,0"],
)
def test_other_names_stay_as_they_are(name):
    assert subject_name(name) == name
    assert subject_name(f"  {name} ") == name


def test_zero_is_a_name_and_large_numbers_stay_whole():
    assert [subject_name(value) for value in (0, 0.0, "00", -3, 10**20, 1e20)] == [
        *("0", "0", "0", "-3", "100000000000000000000", "100000000000000000000")
    ]


def test_composed_and_decomposed_letters_are_one_name():
    assert subject_name("Mu\u0308ller") == subject_name("M\u00fcller")


def test_classes_of_a_class_label_are_named_by_their_names():
    feature = ClassLabel(names=["s2", "01"])
    people = Dataset.from_dict({"subject": [1, 0]}).cast_column("subject", feature)
    assert [subject_name(feature.int2str(value)) for value in people["subject"]] == ["1", "s2"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        math.nan,
        math.inf,
        -math.inf,
        1.5,
        True,
        b"1",
        [1],
        {"a": 1},
        "a\nb",
        "a\x00",
        "a\u2028b",
        "a\tb",
        "a\u202eb",
        1j,
    ],
)
def test_what_is_no_name_is_refused(value):
    with pytest.raises(MerHfError, match=r"is no name: expected|has a line break or a control character"):
        subject_name(value)


@given(st.text() | st.integers() | st.floats())
def test_a_name_is_its_own_name_or_there_is_none(value):
    try:
        name = subject_name(value)
    except MerHfError:
        return
    assert name and name == name.strip() and subject_name(name) == name
