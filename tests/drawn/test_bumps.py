"""Bumps of displacement: their sum is that of a loop, and they vary as the statistics say."""

import dataclasses
import math

import pytest
import torch

from mer_hf.action_units import ACTION_UNITS, Bump
from mer_hf.drawn.bumps import Bumps, Draws, both_sides, sum_of_bumps, unit_table, vary
from mer_hf.drawn.expression import ExpressionStatistics

EXACT = dataclasses.replace(
    ExpressionStatistics(), asymmetry=0.0, one_sided=0.0, direction_jitter=0.0, bump_size=(1.0, 1.0), place_jitter=0.0
)


def draws(count, seed=0):
    return Draws(count, torch.Generator().manual_seed(seed), torch.device("cpu"))


def test_a_sum_of_bumps_is_that_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    bumps = Bumps(*torch.randn(4, 2, 3, 5, generator=generator), *(0.2 + torch.rand(2, 2, 3, 5, generator=generator)))
    across, down = torch.linspace(-1, 1, 6).expand(2, 1, -1), torch.linspace(-0.5, 1.5, 7).expand(2, 1, -1)
    found = sum_of_bumps(across, down, *bumps)
    assert found.shape == (2, 3, 2, 7, 6)
    for face, pattern, row, column in ((0, 0, 0, 0), (1, 2, 6, 5), (0, 1, 3, 2)):
        expected = [0.0, 0.0]
        for x, y, dx, dy, sx, sy in zip(*(part[face, pattern].tolist() for part in bumps), strict=True):
            away = ((across[face, 0, column] - x) / sx) ** 2 + ((down[face, 0, row] - y) / sy) ** 2
            height = math.exp(-away / 2)
            expected = [expected[0] + dx * height, expected[1] + dy * height]
        assert found[face, pattern, :, row, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_both_sides_mirror_each_other_and_the_middle_stands_once():
    table = both_sides((Bump(0.4, 0.1, 0.3, -0.5, 0.2, 0.1), Bump(0.0, 1.0, 0.0, 1.0, 0.2, 0.1, mid=True)))
    assert table[:, [0, 2, 6]].tolist() == torch.tensor([[-0.4, -0.3, -1], [0.4, 0.3, 1], [0, 0, 0]]).tolist()


def test_what_a_table_is_filled_with_does_not_move():
    table = unit_table(ACTION_UNITS)
    assert len(table) == len(ACTION_UNITS) + 1 and (table[..., 4:6] > 0).all()
    assert not table[-1, :, 2:4].any()
    for row, unit in zip(table, ACTION_UNITS.values(), strict=False):
        number = sum(1 if bump.mid else 2 for bump in unit.bumps)
        assert not row[number:, 2:4].any() and row[:number, 2:4].any(1).all()


def test_without_spread_bumps_stay_as_they_are_but_for_their_gain():
    bumps = both_sides(ACTION_UNITS[12].bumps).expand(3, -1, -1)
    gain = torch.full(bumps.shape[:2], 0.5)
    varied = vary(draws(3), bumps, gain, EXACT)
    expected = bumps[..., :6] * torch.tensor([1, 1, 0.5, 0.5, 1, 1])
    torch.testing.assert_close(torch.stack(varied, -1), expected)


def test_one_side_may_stay_still_and_the_middle_then_moves_by_half():
    table = both_sides((Bump(0.4, 0.1, 0.0, 1.0, 0.2, 0.1), Bump(0.0, 1.0, 0.0, 1.0, 0.2, 0.1, mid=True)))
    bumps = table.expand(400, -1, -1)
    statistics = dataclasses.replace(EXACT, one_sided=1.0)
    left, right, middle = vary(draws(400), bumps, torch.ones(400, 3), statistics).dy.T
    assert torch.equal(left == 0, right == 1) and 100 < (left == 0).sum() < 300
    assert (middle == 0.5).all()
