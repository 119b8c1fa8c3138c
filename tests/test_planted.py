"""Planting expressions into real video: skin moves as the table says, and counts have the right intervals."""

import importlib.util
import itertools
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import stats

from mer_hf.action_units import UNITS_IN_LONG_VIDEO, displacement


@pytest.fixture(scope="module")
def planted():
    spec = importlib.util.spec_from_file_location("planted", Path(__file__).parents[1] / "scripts" / "planted.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["planted"]


@pytest.mark.parametrize("count", [0, 1, 4, 30])
def test_poisson_intervals_are_the_exact_ones(planted, count):
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    assert planted.poisson_interval(count) == pytest.approx((low, stats.chi2.ppf(0.975, 2 * count + 2) / 2), abs=1e-6)


def test_expressions_are_within_the_video_and_apart(planted):
    plants = planted.schedule(30.0, "all", np.random.default_rng(0))
    assert len(plants) > 6 and all(0 < plant.onset < plant.apex < plant.offset < 30 for plant in plants)
    assert all(after.onset - before.offset > 0.4 for before, after in itertools.pairwise(plants))
    assert all(set(plant.units) & {1, 2, 4} for plant in planted.schedule(30.0, "brows", np.random.default_rng(0)))


def test_an_expression_is_there_from_onset_to_offset_and_most_at_its_apex(planted):
    plant = planted.Planted(1.0, 1.2, 2.0, {4: 1.0}, (1.0, 1.0), 0.03)
    levels = [planted.level(plant, seconds) for seconds in (0.9, 1.0, 1.1, 1.2, 1.6, 2.0, 2.5)]
    assert levels == pytest.approx([0, 0, 0.5, 1, 0.5, 0, 0], abs=1e-9)


def test_skin_moves_as_the_table_says(planted):
    rng = np.random.default_rng(0)
    frame = np.clip(128 + 250 * cv2.GaussianBlur(rng.normal(0, 1, (240, 240)), (0, 0), 2.5), 0, 255).astype(np.uint8)
    place = np.array([[80.0, 0, 120], [0, 80.0, 80]])
    plant = planted.Planted(1.0, 1.2, 2.0, {1: 1.0}, (1.0, 1.0), 0.04)
    moved = planted.move_skin(frame, place, plant, 1.0, UNITS_IN_LONG_VIDEO)
    flow = cv2.calcOpticalFlowFarneback(frame, moved, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    x, y = (0.2, -0.2)
    found = flow[round(80 * y + 80), round(80 * x + 120)] / 80
    expected = displacement(np.array([[x, y]]), {1: 1.0})[0]
    assert found[1] == pytest.approx(0.04 * expected[1] / np.abs(expected).max(), abs=0.008)
    assert np.abs(flow[200:, :]).max() < 0.3, "the chin rests"
