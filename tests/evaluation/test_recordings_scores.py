"""Scores of long recordings, held against counts by hand."""

import numpy as np
import pandas as pd
import pytest

from mer_hf.evaluation.recordings import recording_score_lines, score_recordings

COLUMNS = ("video", "onset", "apex", "offset", "type", "score", "predicted")
FOUND = pd.DataFrame(
    [
        ("a", 12, 16, 20, "micro", 0.9, "negative"),  # 2 frames late
        ("a", 100, 105, 120, "micro", 0.8, "positive"),  # false
        ("b", 31, 50, 90, "macro", 0.95, "positive"),
        ("b", 200, 205, 210, "micro", 0.4, "negative"),  # right, but below the threshold
        ("c", 5, 7, 9, "micro", 0.85, "surprise"),  # nothing is coded there
    ],
    columns=COLUMNS,
)
TRUTH = pd.DataFrame(
    [
        ("a", 10, 15, 20, "micro", "negative"),
        ("b", 30, None, 90, "macro", "negative"),
        ("b", 201, 205, 210, "micro", "negative"),
        ("c", None, None, None, "", ""),
    ],
    columns=("video", "onset", "apex", "offset", "type", "label"),
)
RECORDINGS = pd.DataFrame(
    {"video": ["a", "b", "c"], "subject": ["s1", "s2", "s2"], "fps": [10.0, 10.0, 10.0], "seconds": [60.0, 30.0, 30.0]}
)


@pytest.fixture(scope="module")
def scored():
    return score_recordings(FOUND, TRUTH, RECORDINGS, 0.5)


def test_counts_are_pooled_over_all_recordings_and_types_kept_apart(scored):
    parts = scored["spotted"]["per_type"]
    assert {name: (part["tp"], part["fp"], part["fn"]) for name, part in parts.items()} == {
        "micro": (1, 2, 1),
        "macro": (1, 0, 0),
        "all": (2, 2, 1),
    }
    assert (scored["recordings"], scored["subjects"], scored["events"], scored["minutes"]) == (3, 2, 3, 2.0)


def test_false_finds_are_told_a_minute(scored):
    assert scored["false_a_minute"] == 1.0


def test_the_recall_at_one_a_minute_may_have_another_threshold(scored):
    assert scored["recall_at_one"] == 1.0  # at a score of .4, two finds are false in two minutes


def test_errors_are_medians_in_seconds_of_what_was_matched(scored):
    assert scored["errors"] == {"onset": pytest.approx(0.15), "apex": pytest.approx(0.1), "offset": 0.0}


def test_strs_is_the_product_of_its_factors(scored):
    both = scored["spotted"]["strs"]
    assert both["strs"] == pytest.approx(both["spotting_f1"] * both["recognition_uf1"])
    assert both["spotting_f1"] == pytest.approx(2 * 2 / (4 + 3))


def test_intervals_are_those_of_a_naive_resampling_of_subjects(scored):
    counts = {"s1": np.array([1, 2, 1]), "s2": np.array([1, 2, 2])}  # matches, finds, truths of both types
    values = []
    for first in counts.values():
        for second in counts.values():
            tp, finds, truths = first + second
            values.append(2 * tp / (finds + truths))
    low, high = scored["intervals"]["all"]
    assert low == pytest.approx(min(values), abs=1e-6) and high == pytest.approx(max(values), abs=1e-6)


def test_a_reader_is_told_all_of_it(scored):
    text = "\n".join(recording_score_lines(scored))
    for said in (
        "3 recordings of 2 subjects, 2.0 minutes, 3 events",
        "false finds a minute: 1.00",
        "STRS",
        "onset 0.150 s",
    ):
        assert said in text


def test_without_a_find_everything_is_zero():
    scored = score_recordings(FOUND.iloc[:0], TRUTH, RECORDINGS, 0.5)
    assert scored["spotted"]["per_type"]["all"]["f1"] == 0.0 and scored["recall_at_one"] == 0.0
    assert scored["errors"] == {"onset": None, "apex": None, "offset": None}
