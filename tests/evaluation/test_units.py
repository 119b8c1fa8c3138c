"""Action units: what coders write, and F1 of what was predicted of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from mer_hf.evaluation.predictions import read_predictions
from mer_hf.evaluation.summary import ensemble
from mer_hf.evaluation.units import coded_units, unit_lines, unit_scores

CODES = ["4+L10", "12", "", "", "AU4", "R12 or 99", "4", "12", "1", "0"]
UNITS = [1, 4, 12, 26]


@pytest.fixture
def table():
    moves = np.random.default_rng(3).uniform(0, 1, (10, 4))
    rows = pd.DataFrame(moves, columns=[f"unit_AU{unit}" for unit in UNITS])
    rows["clip_id"] = [f"c{row}" for row in range(10)]
    rows["subject"] = [f"s{row % 3}" for row in range(10)]
    rows["seed"], rows["label"], rows["predicted"], rows["score_expression"] = 0, "expression", "expression", 1.0
    rows["action_units"] = CODES
    return rows


@pytest.mark.parametrize(
    ("text", "units"),
    [("4+L10", {4, 10}), ("AU4", {4}), ("R12 or 99", {12, 99}), ("0", set()), ("", None), (None, None), ("none", None)],
)
def test_a_code_names_units_or_none_or_is_no_code(text, units):
    assert coded_units(text) == units


def test_units_are_scored_on_coded_clips_by_the_units_that_some_clip_shows(table, tmp_path):
    table.to_csv(tmp_path / "predictions.csv", index=False)
    found = unit_scores(read_predictions(tmp_path))
    rows = [0, 1, 4, 5, 6, 7, 8, 9]
    moved = {1: [0, 0, 0, 0, 0, 0, 1, 0], 4: [1, 0, 1, 0, 1, 0, 0, 0], 12: [0, 1, 0, 1, 0, 1, 0, 0]}
    expected = {
        f"AU{unit}": f1_score(coded, table[f"unit_AU{unit}"][rows] > 0.5, zero_division=0)
        for unit, coded in moved.items()
    }
    assert {name: scored["f1"] for name, scored in found["per_unit"].items()} == pytest.approx(expected)
    assert {name: scored["clips"] for name, scored in found["per_unit"].items()} == {"AU1": 1, "AU4": 3, "AU12": 3}
    assert found["macro_f1"] == pytest.approx(np.mean(list(expected.values())))
    assert found["clips"] == 8
    low, high = found["interval"]
    assert low <= found["macro_f1"] <= high
    assert found["not_shown"] == ["AU26"]
    assert found["macro_f1_of_all"] == pytest.approx(sum(expected.values()) / 4)
    assert any("no clip shows AU26" in line for line in unit_lines(found))


def test_seeds_are_pooled_and_a_clip_counts_once(table):
    again = unit_scores(pd.concat([table, table.assign(seed=1)], ignore_index=True))
    once = unit_scores(table)
    assert again["macro_f1"] == pytest.approx(once["macro_f1"])
    assert (again["clips"], again["per_unit"]["AU4"]["clips"]) == (8, 3)


def test_the_mean_prediction_of_seeds_averages_units_too(table):
    other = table.assign(seed=1, unit_AU4=1 - table.unit_AU4)
    mean = ensemble(pd.concat([table, other], ignore_index=True), ["expression"])
    np.testing.assert_allclose(mean.unit_AU4, 0.5)
    np.testing.assert_allclose(mean.unit_AU12, table.unit_AU12)


def test_without_codes_or_units_or_a_clip_that_shows_one_nothing_is_scored(table):
    assert unit_scores(table.drop(columns="action_units")) is None
    assert unit_scores(table[["clip_id", "subject", "action_units"]]) is None
    assert unit_scores(table.assign(action_units="99")) is None
    assert unit_scores(table.assign(action_units="")) is None
