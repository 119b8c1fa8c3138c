import numpy as np
import pytest

from mer_hf.action_units import (
    ACTION_UNITS,
    UNIT_SHARES,
    UNITS_IN_LONG_VIDEO,
    Bump,
    damaged_table,
    displacement,
)


def naive_displacement(point, intensities, side_gain=(1.0, 1.0), spread=1.0):
    """One point at a time, bump by bump, straight from the table's description."""
    total_x = total_y = 0.0
    for number, intensity in intensities.items():
        for bump in ACTION_UNITS[number].bumps:
            for side in ("left", "right"):
                sign = -1 if side == "left" else 1
                centre = 0.0 if bump.mid else sign * bump.x
                across = (point[0] - centre) / (spread * bump.sx)
                down = (point[1] - bump.y) / (spread * bump.sy)
                gain = side_gain[0] if side == "left" else side_gain[1]
                weight = intensity * gain * np.exp(-0.5 * across**2) * np.exp(-0.5 * down**2)
                if bump.mid:  # both halves of the muscle pull at the same place
                    weight /= 2
                total_x += weight * sign * bump.dx
                total_y += weight * bump.dy
    return total_x, total_y


def test_shares_of_every_class_sum_to_one_and_name_known_units():
    assert set(UNIT_SHARES) == {"negative", "positive", "surprise"}
    for shares in UNIT_SHARES.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert all(unit in ACTION_UNITS for units in shares for unit in units)
        assert all(list(units) == sorted(set(units)) for units in shares)


def test_every_unit_is_in_the_set_of_some_class():
    assert {unit for shares in UNIT_SHARES.values() for units in shares for unit in units} == set(ACTION_UNITS)


def test_bumps_stand_on_the_face():
    for number, unit in ACTION_UNITS.items():
        assert unit.number == number
        for bump in unit.bumps:
            assert 0 <= bump.x < 1 and -0.5 < bump.y < 1.5
            assert bump.mid == (bump.x == 0)
            assert not bump.mid or bump.dx == 0
            assert 0 < np.hypot(bump.dx, bump.dy) < 1.2
            assert 0.05 < bump.sx < 0.4 and 0.05 < bump.sy < 0.4


def test_the_table_as_published():
    assert ACTION_UNITS[12].bumps == (
        Bump(0.37, 0.94, 0.60, -0.80, 0.13, 0.13),
        Bump(0.50, 0.71, 0.45, -0.85, 0.16, 0.16),
        Bump(0.65, 0.44, 0.55, -0.20, 0.19, 0.16),
    )
    assert UNIT_SHARES["positive"] == {(6, 12): 0.50, (12,): 0.40, (12, 25): 0.10}


def test_displacement_agrees_with_a_naive_twin():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.5, 1.5, (7, 5, 2))
    for _ in range(10):
        units = rng.choice(list(ACTION_UNITS), 3, replace=False)
        intensities = {int(unit): float(rng.uniform(0, 1)) for unit in units}
        gains, spread = tuple(rng.uniform(0, 2, 2)), rng.uniform(0.5, 2)
        moved = displacement(points, intensities, gains, spread)
        expected = [[naive_displacement(point, intensities, gains, spread) for point in row] for row in points]
        np.testing.assert_allclose(moved, expected, atol=1e-12)


@pytest.mark.parametrize("number", ACTION_UNITS)
def test_both_sides_of_the_face_mirror_each_other(number):
    points = np.random.default_rng(1).uniform(-1.5, 1.5, (50, 2))
    moved = displacement(points, {number: 1.0})
    mirrored = displacement(points * [-1, 1], {number: 1.0})
    np.testing.assert_allclose(mirrored, moved * [-1, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("number", "place", "right", "down"),
    [
        (1, (0.2, -0.2), None, -1),  # inner brow up
        (2, (0.6, -0.2), None, -1),  # outer brow up
        (4, (0.2, -0.17), -1, 1),  # brow down and together
        (12, (0.37, 0.97), 1, -1),  # mouth corner out and up
        (15, (0.37, 1.05), None, 1),  # mouth corner down
        (17, (0.0, 1.27), None, -1),  # chin up
        (26, (0.0, 1.27), None, 1),  # jaw down
    ],
)
def test_units_move_their_landmark_the_right_way(number, place, right, down):
    moved = displacement(np.array(place), {number: 1.0})
    assert right is None or np.sign(moved[0]) == right
    assert np.sign(moved[1]) == down
    assert 0.5 < np.linalg.norm(moved) < 1.6


def test_a_still_side_stays_still():
    moved = displacement(np.array([[-0.37, 0.97], [0.37, 0.97]]), {12: 1.0}, side_gain=(0.0, 1.0))
    assert np.linalg.norm(moved[0]) < 0.01 < 0.9 < np.linalg.norm(moved[1])


def test_displacement_keeps_single_precision_and_takes_integers():
    assert displacement(np.zeros((2, 2), np.float32), {1: np.float32(1)}).dtype == np.float32
    assert displacement(np.zeros((2, 2), int), {1: 1.0}).dtype == np.float64


def test_a_damaged_table_is_off_in_every_number_and_within_its_limits():
    units, shares = damaged_table(np.random.default_rng(0))
    assert list(units) == list(ACTION_UNITS)
    for number, unit in units.items():
        assert (unit.number, unit.name) == (number, ACTION_UNITS[number].name)
        for bump, whole in zip(unit.bumps, ACTION_UNITS[number].bumps, strict=True):
            assert (bump.sx, bump.sy, bump.mid) == (whole.sx, whole.sy, whole.mid)
            assert 0 < abs(bump.y - whole.y) <= 0.08
            gain = np.hypot(bump.dx, bump.dy) / np.hypot(whole.dx, whole.dy)
            assert 0.6 <= gain <= 1.4 and gain != 1
            if bump.mid:
                assert bump.x == bump.dx == 0
            else:
                assert 0 < abs(bump.x - whole.x) <= 0.08
                turn = np.angle(complex(bump.dx, bump.dy) / complex(whole.dx, whole.dy), deg=True)
                assert 0 < abs(turn) <= 15
    for name, sets in shares.items():
        assert list(sets) == list(UNIT_SHARES[name])
        assert sum(sets.values()) == pytest.approx(1)
        odds = np.array(list(sets.values())) / np.array(list(UNIT_SHARES[name].values()))
        assert 1 < odds.max() / odds.min() <= 1.7 / 0.3


def test_a_seed_damages_the_table_in_one_way():
    first, second, other = (damaged_table(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == second != other


def test_errors_name_what_was_given():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        displacement(np.zeros(3), {1: 1.0})
    with pytest.raises(ValueError, match=r"\[3, 99\]"):
        displacement(np.zeros(2), {99: 1.0, 3: 1.0, 1: 1.0})


def test_long_video_has_three_units_more_and_the_table_of_classification_has_not():
    more = {number: unit for number, unit in UNITS_IN_LONG_VIDEO.items() if number not in ACTION_UNITS}
    assert sorted(more) == [16, 18, 38] and UNITS_IN_LONG_VIDEO.items() >= ACTION_UNITS.items()
    assert all(unit.number == number and unit.bumps for number, unit in more.items())
    nostril = displacement(np.array([[-0.19, 0.6], [0.19, 0.6]]), {38: 1.0}, table=UNITS_IN_LONG_VIDEO)
    assert nostril[0, 0] < -0.5 < 0.5 < nostril[1, 0]
    with pytest.raises(ValueError, match=r"\[38\] are not in the table"):
        displacement(np.zeros((1, 2)), {38: 1.0})


def test_a_damaged_table_has_the_units_of_the_table_that_it_was_made_of():
    damaged, _ = damaged_table(np.random.default_rng(0), table=UNITS_IN_LONG_VIDEO)
    assert damaged.keys() == UNITS_IN_LONG_VIDEO.keys() and damaged[38] != UNITS_IN_LONG_VIDEO[38]
