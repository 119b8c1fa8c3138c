"""Onset -> apex motion drawn from the facial action units: flow fields as tensors, training data without a face.

    class -> units and their intensities -> bumps of displacement (`mer_hf.action_units`)
      -> what else moves: lids, gaze, head -> what optical flow makes of it: smoothing, outliers, noise -> Drawn

Places are face coordinates (unit: the eye distance; origin: midway between the eyes; y down), and a field is sampled
where the pixels of a crop lie: a seed gives the same fields at any size. A Gaussian bump is a row times a column, so
the sum of many is one matrix product, and a core draws thousands of fields a second.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mer_hf.action_units import ACTION_UNITS, UNIT_SHARES, ActionUnit, Bump, damaged_table
from mer_hf.drawn.bumps import Draws, both_sides, sum_of_bumps, unit_table, vary
from mer_hf.drawn.expression import ExpressionStatistics
from mer_hf.errors import MerHfError


@dataclass(frozen=True)
class CropGeometry:
    """Where on a face a crop lies.

    Attributes:
        eyes: the midpoint between the eyes, as parts of the width and of the height of the crop.
        width: of the crop, in eye distances.
        height: of the crop, in eye distances.
    """

    eyes: tuple[float, float]
    width: float
    height: float


def aligned_crop(margin: float = 0.1) -> CropGeometry:
    """The front end's aligned square: from the brows to the chin, and `margin` of that side more on each side."""
    side = 1.85 * (1 + 2 * margin)
    return CropGeometry((0.5, (0.23 + margin) / (1 + 2 * margin)), side, side)


PUBLISHED_CROP = CropGeometry((0.48, 0.23), 1 / 0.54, 1 / 0.54)
"""The crop of published flow pictures: eyes at .21 and .75 of its width and .23 of its height, the mouth at .77."""

# Where a face has edges: dx and dy are how well they show a motion across and one down, for an edge hides what runs
# along it (the aperture effect). Places as in the table of units, strengths by eye.
EDGES = (
    Bump(0.45, -0.22, 0.4, 1.0, 0.25, 0.07),  # brow
    Bump(0.50, 0.00, 0.6, 1.0, 0.20, 0.08),  # lids
    Bump(0.15, 0.62, 0.6, 0.8, 0.12, 0.07),  # nostril
    Bump(0.20, 1.00, 0.4, 1.0, 0.18, 0.08),  # lips
    Bump(0.37, 1.00, 0.8, 0.8, 0.08, 0.08),  # corner of the mouth
    Bump(1.02, 0.50, 1.0, 0.2, 0.08, 0.60),  # side of the face
    Bump(0.40, 1.55, 0.4, 1.0, 0.35, 0.10),  # jaw
)
# What moves beside the units: an upper lid, an iris, and the middle of the face against its rim when the head turns
LID, IRIS = Bump(0.50, -0.06, 0.0, 1.0, 0.17, 0.06), Bump(0.50, 0.01, 1.0, 1.0, 0.09, 0.06)
RELIEF = Bump(0.00, 0.45, 0.0, 1.0, 0.60, 0.70, mid=True)
CENTRE, OVAL, RIM = 0.25, (1.03, 1.35), 0.06  # of the face: y of its centre, half axes, softness of the edge
MOST_OUTLIERS = 12  # in a field
WAVES = 16  # half waves of noise across a crop; flow that is averaged over regions has none finer


@dataclass(frozen=True)
class DrawingSettings(ExpressionStatistics):
    """How fields are drawn: an expression, what else moves, and what optical flow makes of it.

    Lengths are eye distances; a pair of a length is its (median, deviation of the log). Lengths of motion beside the
    units are usual ones for seated subjects and fixed cameras. What flow makes of it was set by the look and the
    spectrum of DIS flow on rendered clips and on a real talking face. A field shows onset -> apex, so the times of an
    expression change nothing in it.

    Attributes:
        action_units, unit_shares: the table.
        crops: from which each field has one.
        rest: fraction of fields in which no unit moves, beside everything else that does.
        amplitude: how far an intensity of 1 moves the skin.
        face_shift: deviation of the place of a face's features in its crop: proportions, alignment and the pattern of
            motion at once. `rendering` has less of the last alone: its portraits bring their proportions.
        face_scale: deviation of the log size of a face in its crop, across and down; likewise.
        blink_reach: how far a lid moves.
        head_shift, head_turn, head_growth, head_relief: motion of the head: translation; rotation in the picture, in
            radians; relative growth; what a turn out of the picture moves the middle of the face more than its rim.
        oval: probability that the wall behind the face is in the picture, and still.
        smoothing: deviation of the Gaussian over which flow averages, least and most.
        skin: how well plain skin shows a motion, beside the edges (median, deviation of the log).
        shrinkage: square of the texture at which half of a motion is found (median, deviation of the log).
        outliers: mean number of places where flow goes astray, mostly at edges.
        outlier_size: deviation of an outlier's Gaussian, least and most.
        outlier_shift: how far astray.
        noise: root mean square of smooth noise, in u and in v.
        noise_exponent: power of frequency with which the amplitude of that noise falls, least and most.
        edge_noise: root mean square of a finer noise where there are edges.

    Raises:
        MerHfError: for a set of units that the table lacks, or no crop.
    """

    action_units: Mapping[int, ActionUnit] = field(default_factory=lambda: ACTION_UNITS)
    unit_shares: Mapping[str, Mapping[tuple[int, ...], float]] = field(default_factory=lambda: UNIT_SHARES)
    crops: tuple[CropGeometry, ...] = (PUBLISHED_CROP, aligned_crop())
    rest: float = 0.0
    amplitude: float = 0.05
    face_shift: float = 0.05
    face_scale: float = 0.07
    blink_reach: tuple[float, float] = (0.015, 0.8)
    head_shift: tuple[float, float] = (0.010, 0.8)
    head_turn: tuple[float, float] = (0.005, 0.8)
    head_growth: tuple[float, float] = (0.003, 0.8)
    head_relief: tuple[float, float] = (0.003, 0.8)
    oval: float = 0.5
    smoothing: tuple[float, float] = (0.04, 0.14)
    skin: tuple[float, float] = (0.15, 0.6)
    shrinkage: tuple[float, float] = (0.02, 0.6)
    outliers: float = 4.0
    outlier_size: tuple[float, float] = (0.05, 0.15)
    outlier_shift: tuple[float, float] = (0.012, 0.8)
    noise: tuple[float, float] = (0.0025, 0.7)
    noise_exponent: tuple[float, float] = (1.0, 1.8)
    edge_noise: tuple[float, float] = (0.002, 0.7)

    def __post_init__(self) -> None:
        """Refuse settings from which no field can be drawn."""
        used = {unit for shares in self.unit_shares.values() for units in shares for unit in units}
        if not used <= set(self.action_units):
            unknown = sorted(used - set(self.action_units))
            raise MerHfError(f"unit_shares names units {unknown}; action_units has {sorted(self.action_units)}")
        if not self.crops:
            raise MerHfError("crops is empty; a field needs a crop, such as aligned_crop()")


def held_back_settings(trained: DrawingSettings | None = None) -> dict[str, DrawingSettings]:
    """Versions of the generator to judge a network by that was trained on another, by what is shifted in them.

    `table` has every number of the table off (see `damaged_table`), and `all` has all of the shifts at once.

    Args:
        trained: what it was trained on, of any kind of settings that has those of fields; None is the default.
    """
    units, shares = damaged_table(np.random.default_rng(0))
    shifts = {
        "noise": {
            "noise": (0.0035, 0.7),
            "noise_exponent": (0.8, 1.4),
            "outliers": 6.0,
            "outlier_shift": (0.015, 0.8),
            "edge_noise": (0.003, 0.7),
        },
        "crop": {
            "crops": (aligned_crop(0.0), aligned_crop(0.2), CropGeometry((0.52, 0.26), 2.0, 2.2)),
            "face_scale": 0.09,
        },
        "around": {
            "extra_unit": 0.35,
            "blink": 0.8,
            "gaze": 0.5,
            "head_shift": (0.015, 0.8),
            "head_relief": (0.005, 0.8),
            "oval": 0.8,
        },
        "table": {"action_units": units, "unit_shares": shares},
    }
    shifts["all"] = {name: value for shift in shifts.values() for name, value in shift.items()}
    return {name: replace(trained or DrawingSettings(), **shift) for name, shift in shifts.items()}


class Drawn(NamedTuple):
    """Drawn fields.

    Attributes:
        flow: (B, 2, H, W) float32, motion to the right (u) and downwards (v), in eye distances.
        label: (B,) int64, index of the class in the settings' `unit_shares`; -1 where no unit moves.
        units: (B, U) float32, intensity of each unit, in the order of the settings' `action_units`; 0 where it rests.
    """

    flow: Tensor
    label: Tensor
    units: Tensor


def draw_fields(
    count: int,
    size: tuple[int, int],
    generator: torch.Generator,
    settings: DrawingSettings | None = None,
    device: torch.device | str = "cpu",
) -> Drawn:
    """Draw flow fields of micro-expressions, each class as likely as the others.

    Args:
        count: B, the number of fields.
        size: (H, W) in pixels; it changes the sampling, not what is drawn.
        generator: on the CPU, so that a seed gives the same fields, up to rounding, on every device.
        settings: how they are drawn; None is the default.
        device: where the fields are wanted.

    Raises:
        ValueError: for a count or a size below 1, or a generator that is not on the CPU.
    """
    if min(count, *size) < 1:
        raise MerHfError(f"there is nothing to draw: {count} fields of {size[0]} x {size[1]} pixels")
    settings = settings or DrawingSettings()
    draws = Draws(count, generator, torch.device(device))
    label, units = draw_expressions(draws, settings)
    across, down = face_coordinates(draws, size, settings)
    motion = unit_motion(draws, units, across, down, settings) + _other_motion(draws, across, down, settings)
    seen = torch.where(draws.chance(settings.oval, 1, 1, 1), face_oval(across, down), 1)
    texture = edge_texture(draws, across, down, settings)
    flow = measured_motion(draws, motion * seen, texture, across, down, settings)
    flow = flow + stray_flow(draws, across, down, settings)
    flow = flow + smooth_noise(draws, size, settings.noise, settings.noise_exponent)
    flow = flow + texture * smooth_noise(draws, size, settings.edge_noise, (0.6, 1.2))
    return Drawn(flow, label, units)


def as_published_picture(channels: Tensor) -> Tensor:
    """Flow, and its strain, as published flow pictures hold them: each channel on a scale and about a zero of its own.

    Args:
        channels: (..., C, H, W) of any scale.

    Returns:
        (..., C, H, W) float32 of whole numbers: the least of a picture's channel is 0, its most 255. Where a channel is
        constant, 0.
    """
    least, most = channels.amin((-2, -1), keepdim=True), channels.amax((-2, -1), keepdim=True)
    span = most - least
    return (255 * (channels - least) / torch.where(span > 0, span, 1)).round()


# --- what moves ---


def draw_expressions(draws: Draws, settings: DrawingSettings) -> tuple[Tensor, Tensor]:
    """The class (B,) of each field, -1 at rest, and the intensity of each unit (B, U)."""
    numbers = list(settings.action_units)
    label = draws.choice([1.0] * len(settings.unit_shares))
    moves = torch.zeros(draws.count, len(numbers), dtype=torch.bool, device=draws.device)
    for index, shares in enumerate(settings.unit_shares.values()):
        members = torch.tensor([[number in units for number in numbers] for units in shares], device=draws.device)
        moves = torch.where((label == index)[:, None], members[draws.choice(list(shares.values()))], moves)
    rank = draws.uniform(0, 1, len(numbers)).masked_fill(moves, -1)
    joins = (rank == rank.amax(1, keepdim=True)) & draws.chance(settings.extra_unit, 1)
    gain = moves * draws.uniform(*settings.unit_gain, len(numbers)) + joins * draws.uniform(
        *settings.extra_unit_gain, 1
    )
    rests = draws.chance(settings.rest)
    intensity = draws.uniform(*settings.intensity, 1).masked_fill(rests[:, None], 0)
    return label.masked_fill(rests, -1), gain * intensity


def face_coordinates(draws: Draws, size: tuple[int, int], settings: DrawingSettings) -> tuple[Tensor, Tensor]:
    """Face coordinates x of the columns of each crop, (B, W), and y of its rows, (B, H)."""
    crops = torch.tensor([(*crop.eyes, crop.width, crop.height) for crop in settings.crops], device=draws.device)
    return coordinates_in(draws, size, *crops[draws.choice([1.0] * len(crops))].split(2, 1), settings)


def coordinates_in(
    draws: Draws, size: tuple[int, int], eyes: Tensor, sides: Tensor, settings: DrawingSettings
) -> tuple[Tensor, Tensor]:
    """As `face_coordinates`, of crops that are chosen already.

    Args:
        draws: for B faces.
        size: (H, W) in pixels.
        eyes: (B or 1, 2), `CropGeometry.eyes`.
        sides: (B or 1, 2), width and height of a crop in eye distances.
        settings: how the faces lie in their crops.
    """
    shift, scale = draws.normal(settings.face_shift, 2), draws.normal(settings.face_scale, 2).exp()

    def along(axis: int, pixels: int) -> Tensor:
        part = (torch.arange(pixels, device=draws.device) + 0.5) / pixels
        place = (part - eyes[:, axis, None]) * sides[:, axis, None]
        return (place - shift[:, axis, None]) / scale[:, axis, None]

    return along(0, size[1]), along(1, size[0])


def unit_motion(draws: Draws, units: Tensor, across: Tensor, down: Tensor, settings: DrawingSettings) -> Tensor:
    """What the units (B, U) move, (B, 2, H, W)."""
    # a field needs the bumps of the few units that move in it
    most = 1 + max(len(members) for shares in settings.unit_shares.values() for members in shares)
    intensity, moving = units.topk(min(most, units.shape[1]))
    bumps = unit_table(settings.action_units).to(draws.device)[moving]  # (B, units, bumps, 7)
    strength = intensity[:, :1].clamp(min=1e-6)
    gain = (intensity / strength).repeat_interleave(bumps.shape[2], 1)
    motion = sum_of_bumps(across, down, *vary(draws, bumps.flatten(1, 2), gain, settings))

    exponents = torch.tensor(settings.spatial_exponents, device=draws.device)
    exponent = exponents[draws.choice([1.0] * len(exponents), 1, 1, 1)]
    squared = motion.square().sum(1, keepdim=True).clamp(min=1e-8)
    return settings.amplitude * strength[..., None, None] * motion * squared ** ((exponent - 1) / 2)


def _other_motion(draws: Draws, across: Tensor, down: Tensor, settings: DrawingSettings) -> Tensor:
    """What lids, eyes and the head move, (B, 2, H, W)."""
    x, y, _, _, sx, sy, _ = both_sides((LID, IRIS, RELIEF)).to(draws.device).T
    lids = draws.chance(settings.blink, 1) * draws.sign(1) * draws.heavy(settings.blink_reach, 1)
    gaze = draws.chance(settings.gaze, 1) * draws.sign(1) * draws.heavy(settings.gaze_shift, 1)
    angle = draws.normal(0.3, 1)  # eyes glance to the side more than up
    relief = (draws.sign(2) * draws.heavy(settings.head_relief, 2)).split(1, 1)
    dx = torch.cat([0 * lids, 0 * lids, gaze * angle.cos(), gaze * angle.cos(), relief[0]], 1)
    dy = torch.cat([lids * draws.normal(0.15, 2).exp(), gaze * angle.sin(), gaze * angle.sin(), relief[1]], 1)
    motion = sum_of_bumps(across, down, x, y, dx, dy, sx, sy)

    right, below, turn, growth = (
        draws.sign(1, 1) * draws.heavy(length, 1, 1)
        for length in (settings.head_shift, settings.head_shift, settings.head_turn, settings.head_growth)
    )
    x, y = across[:, None, :], down[:, :, None] - CENTRE
    return motion + torch.stack([right + growth * x - turn * y, below + growth * y + turn * x], 1)


def face_oval(across: Tensor, down: Tensor) -> Tensor:
    """1 on the face, 0 off it, (B, 1, H, W)."""
    x, y = across / OVAL[0], (down - CENTRE) / OVAL[1]
    return torch.sigmoid((1 - (x**2)[:, None, :] - (y**2)[:, :, None]) / RIM)[:, None]


# --- what optical flow makes of it ---


def edge_texture(draws: Draws, across: Tensor, down: Tensor, settings: DrawingSettings) -> Tensor:
    """How well each place shows a motion across and one down, (B, 2, H, W): its edges."""
    x, y, dx, dy, sx, sy, _ = both_sides(EDGES).to(draws.device).T
    strength = draws.heavy((1.0, 0.5), len(x))
    return sum_of_bumps(across, down, x, y, strength * dx.abs(), strength * dy, sx, sy)


def measured_motion(
    draws: Draws, motion: Tensor, texture: Tensor, across: Tensor, down: Tensor, settings: DrawingSettings
) -> Tensor:
    """What flow finds of a motion: a mean over the surroundings, weighted by the square of texture as in least squares.

    Where there is little texture it stays near the mean of the picture, which the coarsest scale of flow has found. All
    of it is linear in the motion, of which there may be several, (B, 2 K, H, W), that are seen in the same way.
    """
    deviation = draws.uniform(*settings.smoothing, 1, 1)
    columns = torch.softmax(((across[:, :, None] - across[:, None]) / deviation).square() / -2, 1)[:, None]
    rows = torch.softmax(((down[:, :, None] - down[:, None]) / deviation).square() / -2, 2)[:, None]
    weight = (texture + draws.heavy(settings.skin, 2, 1, 1)).square().repeat(1, motion.shape[1] // 2, 1, 1)
    coarse = motion.mean((2, 3), keepdim=True)
    found = rows @ (weight * (motion - coarse)) @ columns
    return coarse + found / (rows @ weight @ columns + draws.heavy(settings.shrinkage, 1, 1, 1))


def stray_flow(draws: Draws, across: Tensor, down: Tensor, settings: DrawingSettings) -> Tensor:
    """Where flow goes astray, (B, 2, H, W)."""
    edge_x, edge_y, _, _, edge_sx, edge_sy, _ = both_sides(EDGES).to(draws.device).T
    edge = draws.choice([1.0] * len(edge_x), MOST_OUTLIERS)
    at_edge = draws.chance(0.7, MOST_OUTLIERS)
    x = edge_x[edge] + edge_sx[edge] * draws.normal(1, MOST_OUTLIERS)
    y = edge_y[edge] + edge_sy[edge] * draws.normal(1, MOST_OUTLIERS)
    x = torch.where(at_edge, x, draws.uniform(-1.1, 1.1, MOST_OUTLIERS))
    y = torch.where(at_edge, y, draws.uniform(-0.6, 1.6, MOST_OUTLIERS))
    shift = draws.heavy(settings.outlier_shift, MOST_OUTLIERS) * draws.first(settings.outliers, MOST_OUTLIERS)
    angle = draws.uniform(-math.pi, math.pi, MOST_OUTLIERS)
    sx, sy = (draws.uniform(*settings.outlier_size, MOST_OUTLIERS) for _ in range(2))
    return sum_of_bumps(across, down, x, y, shift * angle.cos(), shift * angle.sin(), sx, sy)


def smooth_noise(
    draws: Draws,
    size: tuple[int, int],
    rms: tuple[float, float],
    exponents: tuple[float, float],
    channels: int = 2,
) -> Tensor:
    """Noise (B, channels, H, W) whose amplitude falls with a power of frequency: cosines of random amplitudes."""
    waves = torch.arange(WAVES, device=draws.device)
    frequency = torch.hypot(waves[:, None].float(), waves.float())
    frequency[0, 0] = torch.inf  # no mean
    spectrum = frequency ** -draws.uniform(*exponents, 1, 1)
    spectrum = spectrum * draws.heavy(rms, 1, 1) / spectrum.square().sum((1, 2), keepdim=True).sqrt()
    down, across = (
        torch.cos(math.pi / pixels * (torch.arange(pixels, device=draws.device)[:, None] + 0.5) * waves)
        * torch.where(waves > 0, math.sqrt(2), 1.0)
        for pixels in size
    )
    return down @ (spectrum[:, None] * draws.normal(1, channels, WAVES, WAVES)) @ across.T


__all__ = [
    "PUBLISHED_CROP",
    "CropGeometry",
    "DrawingSettings",
    "Drawn",
    "aligned_crop",
    "as_published_picture",
    "draw_fields",
    "held_back_settings",
]
