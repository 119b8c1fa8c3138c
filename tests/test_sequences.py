"""The script that says what sequences, recurrence, jitter and drawn motion bring: from clips to differences."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def sequences():
    spec = importlib.util.spec_from_file_location("sequences", Path(__file__).parents[1] / "scripts" / "sequences.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sequences"] = module  # what is cached by a class looks its module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["sequences"]


def test_every_way_has_a_plan_and_every_difference_two_ways(sequences, make_clips, tmp_path):
    make_clips("frames").save_to_disk(tmp_path / "corpus-0")
    assert all(first in sequences.WAYS and second in sequences.WAYS for first, second in sequences.PAIRS)
    for way in sequences.WAYS:
        if "start" not in sequences.WAYS[way][1]:  # a model that is in no package, or that takes minutes to make
            plan = sequences.plan_of(tmp_path, way, 0)
            assert plan.recipe.jitter == (not way.endswith(sequences.PLAIN))


def test_a_finished_training_is_kept_and_differences_are_told(sequences, make_clips, tmp_path, monkeypatch):
    people = [f"s{number}" for number in range(4)]
    make_clips("frames", people).save_to_disk(tmp_path / "corpus-0")
    monkeypatch.setattr(sequences, "POOL", 2)
    ways = ("flow picture, no jitter", "flow picture")
    for way in ways:
        recipe, options = sequences.WAYS[way]
        monkeypatch.setitem(sequences.WAYS, way, (recipe, {**options, "num_train_epochs": 1}))
        sequences.carry_out(sequences.Task(tmp_path, way, 0, 2, 0))
    tables = {way: pd.read_csv(sequences.Task(tmp_path, way, 0, 2, 0).path) for way in ways}
    assert all(sorted(set(table["subject"])) == ["0/s2", "0/s3"] for table in tables.values())
    (line,) = sequences.differences(tables)
    assert line.startswith("flow picture, no jitter ") and " -> flow picture " in line
