"""What drawn motion is made of: bumps of displacement, varied from face to face, and random numbers.

A Gaussian bump is a row times a column, so the sum of many is one matrix product.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mer_hf.action_units import ActionUnit, Bump
from mer_hf.drawn.expression import ExpressionStatistics
from mer_hf.errors import MerHfError


class Draws:
    """Random numbers (B, *shape) for B fields or sequences, on their device.

    Args:
        count: B.
        generator: on the CPU, so that a seed gives the same numbers for every device.
        device: where the numbers are wanted.

    Raises:
        MerHfError: for a generator that is not on the CPU.
    """

    def __init__(self, count: int, generator: torch.Generator, device: torch.device) -> None:
        if generator.device.type != "cpu":
            raise MerHfError(f"the generator is on {generator.device}; a CPU generator draws the same everywhere")
        self.count = count
        self.generator = generator
        self.device = device

    def uniform(self, least: float, most: float, *shape: int) -> Tensor:
        """Even from least to most."""
        return least + (most - least) * torch.rand(self.count, *shape, generator=self.generator).to(self.device)

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """About 0."""
        return deviation * torch.randn(self.count, *shape, generator=self.generator).to(self.device)

    def heavy(self, median_and_deviation: tuple[float, float], *shape: int) -> Tensor:
        """Log-normal numbers."""
        median, deviation = median_and_deviation
        return median * self.normal(deviation, *shape).exp()

    def log_uniform(self, least: float, most: float, *shape: int) -> Tensor:
        """Whose logarithms are even."""
        return self.uniform(math.log(least), math.log(most), *shape).exp()

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True as often as a probability says."""
        return self.uniform(0, 1, *shape) < probability

    def sign(self, *shape: int) -> Tensor:
        """-1 or 1."""
        return 1 - 2 * self.chance(0.5, *shape).float()

    def choice(self, shares: Sequence[float], *shape: int) -> Tensor:
        """Indices of shares, each as likely as its share of their sum."""
        bounds = torch.tensor(shares, device=self.device).cumsum(0)
        return torch.bucketize(bounds[-1] * self.uniform(0, 1, *shape), bounds[:-1], right=True)

    def first(self, mean: float, most: int) -> Tensor:
        """Whether each of `most` exists, where their number is a Poisson one."""
        number = torch.poisson(torch.full((self.count, 1), mean), generator=self.generator).to(self.device)
        return torch.arange(most, device=self.device) < number


class Bumps(NamedTuple):
    """Bumps of displacement: places, directions times lengths, and widths, one tensor each, all of one shape."""

    x: Tensor
    y: Tensor
    dx: Tensor
    dy: Tensor
    sx: Tensor
    sy: Tensor


def both_sides(bumps: Sequence[Bump]) -> Tensor:
    """Bumps -> (K, 7): x, y, dx, dy, sx, sy in image directions, and the side: -1 left, 0 midline, 1 right."""
    return torch.tensor(
        [
            (side * bump.x, bump.y, side * bump.dx, bump.dy, bump.sx, bump.sy, side)
            for bump in bumps
            for side in ((0,) if bump.mid else (-1, 1))
        ],
        dtype=torch.float32,
    )


def unit_table(units: Mapping[int, ActionUnit]) -> Tensor:
    """(units + 1, bumps, 7), as `both_sides` has them; units with fewer bumps, and the last, are filled with none."""
    table = torch.nn.utils.rnn.pad_sequence(
        [*(both_sides(unit.bumps) for unit in units.values()), torch.zeros(1, 7)], True
    )
    table[..., 4:6].masked_fill_(table[..., 4:6] == 0, 1)  # the width of what is not there
    return table


def vary(draws: Draws, bumps: Tensor, gain: Tensor, statistics: ExpressionStatistics) -> Bumps:
    """Bumps as one face has them: stronger on one side, turned, wider or narrower, out of place.

    Args:
        draws: for B faces.
        bumps: (B, ..., K, 7), as `both_sides` has them; those of one K belong to one expression.
        gain: (B, ..., K), how strong each is.
        statistics: how far they vary.
    """
    x, y, dx, dy, sx, sy, side = bumps.unbind(-1)
    shape = x.shape[1:-1]
    lean = draws.normal(statistics.asymmetry / 2, *shape, 1)
    still = draws.chance(statistics.one_sided, *shape, 1) * draws.sign(*shape, 1)
    left, right = lean.exp() * (still != -1), (-lean).exp() * (still != 1)
    gain = gain * torch.cat([left, (left + right) / 2, right], -1).gather(-1, side.long() + 1)
    turn = draws.normal(statistics.direction_jitter, *x.shape[1:])
    cos, sin = gain * turn.cos(), gain * turn.sin()
    size = draws.uniform(*statistics.bump_size, *shape, 1)
    x, y = (axis + draws.normal(statistics.place_jitter, *x.shape[1:]) for axis in (x, y))
    return Bumps(x, y, cos * dx - sin * dy, sin * dx + cos * dy, size * sx, size * sy)


def sum_of_bumps(
    across: Tensor, down: Tensor, x: Tensor, y: Tensor, dx: Tensor, dy: Tensor, sx: Tensor, sy: Tensor
) -> Tensor:
    """The fields (..., 2, H, W) of bumps, (..., K) each, over columns (..., W) and rows (..., H)."""
    columns, rows = _gaussians(across, x, sx), _gaussians(down, y, sy)
    rows = torch.cat([rows * dx[..., None], rows * dy[..., None]], -1)
    return (rows.mT @ columns).unflatten(-2, (2, -1))


def _gaussians(places: Tensor, centre: Tensor, deviation: Tensor) -> Tensor:
    """Gaussians (..., K, N) of height 1 at places (..., N)."""
    precision = math.sqrt(0.5) / deviation[..., None]
    offset = torch.addcmul(-centre[..., None] * precision, places[..., None, :], precision)
    return offset.square_().neg_().exp_()
