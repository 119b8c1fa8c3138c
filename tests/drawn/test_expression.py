from dataclasses import fields, replace

import numpy as np

from mer_hf.drawn import rendering
from mer_hf.drawn.expression import ExpressionStatistics
from mer_hf.drawn.fields import DrawingSettings


def test_fields_and_faces_have_the_same_statistics():
    ours = ExpressionStatistics()
    settings = DrawingSettings()
    for each in fields(ExpressionStatistics):
        assert getattr(settings, each.name) == getattr(rendering.EXPRESSION, each.name) == getattr(ours, each.name)


def test_a_face_follows_each_number_of_its_expression(monkeypatch):
    def drawn(**changes):
        monkeypatch.setattr(rendering, "EXPRESSION", replace(ExpressionStatistics(), **changes))
        return [rendering._draw_expression(np.random.default_rng(seed), "surprise") for seed in range(200)]

    as_set = drawn()
    assert all(0.20 <= each.duration <= 0.48 and 0.28 <= each.rise <= 0.55 for each in as_set)
    assert {each.spatial_exponent for each in as_set} == {0.8, 1.0, 1.5}
    assert all(len(each.intensities) == len(each.unit_set) + 1 for each in drawn(extra_unit=1.0))
    assert all(0.0 in each.side_gain for each in drawn(one_sided=1.0))
    assert all(set(each.intensities.values()) == {0.7} for each in drawn(extra_unit=0.0, unit_gain=(0.7, 0.7)))
    assert all(not each.shift.any() and each.turn == 0 for each in drawn(place_jitter=0.0, direction_jitter=0.0))
    assert all(
        each.duration == 0.3 and each.remainder == 0 for each in drawn(duration=(0.3, 0.3), remainder=(0.0, 0.0))
    )
