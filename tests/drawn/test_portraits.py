import numpy as np
import pytest

from mer_hf.drawn.portraits import (
    MARGIN,
    STORED_SCALE,
    canonical,
    draw_portrait,
    draw_sitter,
    lid_edges,
    mouth_lines,
    on_canvas,
)


def sitter_of(subject):
    return draw_sitter(subject, np.random.default_rng((5, subject)))


@pytest.fixture(scope="module")
def portrait():
    return draw_portrait(sitter_of(0), 96, np.random.default_rng(0))


def test_points_on_the_canvas_and_back():
    points = np.random.default_rng(0).uniform([-1, -1], [1, 1.6], (200, 2)).astype(np.float32)
    for subject in range(5):
        sitter = sitter_of(subject)
        np.testing.assert_allclose(canonical(sitter, on_canvas(sitter, points, 500), 500), points, atol=1e-3)


def test_features_lie_where_the_action_units_move_them():
    for subject in range(20):
        sitter = sitter_of(subject)
        top, bottom = lid_edges(sitter, np.array([0.5]))
        assert top < 0 < bottom and abs(top + bottom) / 2 < 0.04
        assert sitter.mouth[0] == pytest.approx(0.37, abs=0.04)
        upper, parting, lower = mouth_lines(sitter, np.array([0.0, sitter.mouth[0]]))
        assert upper[0] < parting[0] < lower[0]
        np.testing.assert_allclose([upper[1], lower[1]], parting[1], atol=1e-6)
        assert parting[1] == pytest.approx(0.97, abs=0.02)


def test_features_agree_with_the_subject_in_the_frame():
    for subject in range(20):
        sitter = sitter_of(subject)
        left, right = on_canvas(sitter, np.array([[-0.5, 0], [0.5, 0]]), 1000) * (1 + 2 * MARGIN) / 1000
        assert np.linalg.norm(right - left) == pytest.approx(0.30, abs=0.025)
        assert (left + right) / 2 - MARGIN == pytest.approx([0.5, 0.43], abs=0.05)


def test_layers_have_the_stated_shapes_and_ranges(portrait):
    side = round(STORED_SCALE * (1 + 2 * MARGIN) * 96)
    assert portrait.skin.shape == (side, side, 4) and portrait.eyes.shape == (side, side, 3)
    assert portrait.points.shape == (side, side, 2)
    assert portrait.skin.dtype == portrait.eyes.dtype == portrait.points.dtype == np.float32
    colour, opacity = portrait.skin[..., :3], portrait.skin[..., 3:]
    assert 0 <= opacity.min() < 0.01 and opacity.max() == 1
    assert colour.min() >= 0 and (colour <= 255 * opacity + 1e-3).all()


def test_only_the_eyes_are_open(portrait):
    x, y = portrait.points[..., 0], portrait.points[..., 1]
    clear = portrait.skin[..., 3] < 0.5
    assert clear.any()
    assert (np.abs(np.abs(x[clear]) - 0.5) < 0.26).all() and (np.abs(y[clear]) < 0.13).all()


def test_subjects_differ_and_a_subject_stays_the_same(portrait):
    again = draw_portrait(sitter_of(0), 96, np.random.default_rng(0))
    np.testing.assert_array_equal(again.skin, portrait.skin)
    np.testing.assert_array_equal(again.eyes, portrait.eyes)
    other = draw_portrait(sitter_of(1), 96, np.random.default_rng(0))
    assert np.abs(other.skin[..., :3] - portrait.skin[..., :3]).mean() > 10
