"""Micro-expressions over their whole course, onset to offset, drawn: sequences of flow, from the first frame to each.

    class -> units; lids, gaze, head: the displacement of each, as in `fields` -> its course, a level at each time
      -> displacement since the first frame: (level at a time - level at the first) x displacement
      -> what flow makes of it

The times of an expression are those of `expression`, and what surrounds it in a rendered clip surrounds it here. All
that optical flow does to a motion but its noise is linear in it, so a sequence costs little more than a field.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from mer_hf.drawn.bumps import Draws, both_sides, sum_of_bumps
from mer_hf.drawn.fields import (
    CENTRE,
    IRIS,
    LID,
    RELIEF,
    DrawingSettings,
    draw_expressions,
    edge_texture,
    face_coordinates,
    face_oval,
    measured_motion,
    smooth_noise,
    stray_flow,
    unit_motion,
)
from mer_hf.errors import MerHfError


@dataclass(frozen=True)
class CourseSettings(DrawingSettings):
    """How courses are drawn: in space as fields, in time as rendered clips. Times are seconds.

    Attributes:
        coding_error: deviations of the first frame from the onset, and of the last from the offset, where they were
            annotated with care.
        careless: probability that both are off by as much as `coding_reach` instead, either way.
        coding_reach: at most.
        blink_seconds: length of a blink, least and most; it shuts in a third of it.
        glance_seconds: an eye's jump takes so long.
        drift_periods: of the head's slow waves.
        drift: amplitude of these against the displacement that the head has in a field.
        quick: probability of a quick movement of the head, which goes three times as far, in 0.15 to 0.5 s.
        shared_noise: part of the power of flow's noise that is the first frame's, and so the same throughout.
    """

    coding_error: tuple[float, float] = (0.010, 0.020)
    careless: float = 0.9
    coding_reach: float = 0.1
    blink_seconds: tuple[float, float] = (0.15, 0.40)
    glance_seconds: float = 0.05
    drift_periods: tuple[float, ...] = (0.35, 0.8, 1.7)
    drift: float = 1.5
    quick: float = 0.25
    shared_noise: float = 0.5


class DrawnCourses(NamedTuple):
    """Drawn sequences of flow.

    Attributes:
        flow: (B, T, 2, H, W) float32, motion from the first frame to each, to the right and downwards, in eye
            distances; the first is 0.
        label, units: (B,) and (B, U), as of `fields.Drawn`.
    """

    flow: Tensor
    label: Tensor
    units: Tensor


def draw_courses(
    count: int,
    frames: int,
    size: tuple[int, int],
    generator: torch.Generator,
    settings: CourseSettings | None = None,
    device: torch.device | str = "cpu",
) -> DrawnCourses:
    """Draw sequences of flow, each class as likely as the others.

    Args:
        count: B, the number of sequences.
        frames: T, evenly from the first frame of a clip to its last.
        size: (H, W) in pixels.
        generator: on the CPU, so that a seed gives the same sequences, up to rounding, on every device.
        settings: how they are drawn; None is the default.
        device: where the sequences are wanted.

    Raises:
        MerHfError: for a count or a size below 1, fewer than 2 frames, or a generator that is not on the CPU.
    """
    if min(count, frames - 1, *size) < 1:
        raise MerHfError(
            f"there is nothing to draw: {count} sequences of {frames} frames, {size[0]} x {size[1]} pixels"
        )
    settings = settings or CourseSettings()
    draws = Draws(count, generator, torch.device(device))
    label, units = draw_expressions(draws, settings)
    across, down = face_coordinates(draws, size, settings)
    levels = draw_levels(draws, frames, settings)
    motion = draw_motions(draws, units, across, down, settings)
    seen = torch.where(draws.chance(settings.oval, 1, 1, 1, 1), face_oval(across, down)[:, None], 1)
    texture = edge_texture(draws, across, down, settings)
    found = measured_motion(draws, (motion * seen).flatten(1, 2), texture, across, down, settings)
    half = replace(settings, outliers=settings.outliers / 2)
    lasting, fleeting = (stray_flow(draws, across, down, half) for _ in range(2))
    times = torch.linspace(0, 1, frames, device=draws.device)
    when = (-((times - draws.uniform(0, 1, 1)) / draws.uniform(0.05, 0.3, 1)).square()).exp()
    levels = torch.cat([levels, torch.ones_like(when)[..., None], when[..., None]], 2)
    patterns = torch.cat([found.unflatten(1, (-1, 2)), lasting[:, None], fleeting[:, None]], 1)
    flow = (levels @ patterns.flatten(2)).unflatten(2, patterns.shape[2:])
    flow = flow + _noise_over_time(draws, frames, size, settings, settings.noise, settings.noise_exponent)
    flow = flow + texture[:, None] * _noise_over_time(draws, frames, size, settings, settings.edge_noise, (0.6, 1.2))
    flow[:, 0] = 0
    return DrawnCourses(flow, label, units)


# --- when it happens ---


def ease(part: Tensor) -> Tensor:
    """Half a cosine from 0 at 0 to 1 at 1, constant outside."""
    return 0.5 - 0.5 * (math.pi * part.clamp(0, 1)).cos()


def draw_levels(draws: Draws, frames: int, settings: CourseSettings) -> Tensor:
    """The level of each of `draw_motions` at each frame of a clip, less that at the first: (B, T, K)."""
    duration = draws.uniform(*settings.duration, 1)
    off = draws.uniform(-settings.coding_reach, settings.coding_reach, 2)
    careful = draws.normal(1, 2) * torch.tensor(settings.coding_error, device=draws.device)
    off = torch.where(draws.chance(settings.careless, 1), off, careful)
    first = off[:, :1]
    last = torch.maximum(duration + off[:, 1:], first + duration / 2)
    times = first + (last - first) * torch.linspace(0, 1, frames, device=draws.device)

    rise = draws.uniform(*settings.rise, 1) * duration
    exponent, left = draws.uniform(*settings.time_exponent, 1), draws.uniform(*settings.remainder, 1)
    down = left + (1 - left) * ease((duration - times) / (duration - rise)) ** exponent
    expression = torch.where(times <= rise, ease(times / rise) ** exponent, down)
    expression = expression * (1 - ease((times - duration) / duration))

    along = (times - draws.uniform(-0.2, 0.48, 1)) / draws.uniform(*settings.blink_seconds, 1)
    blink = ease(along / 0.35) - ease((along - 0.35) / 0.65)
    glance = ease((times - draws.uniform(-0.05, 0.48, 1)) / settings.glance_seconds)

    periods = torch.tensor(settings.drift_periods, device=draws.device)
    shares = draws.heavy((1.0, 1.0), HEAD_MOTIONS, len(periods))
    angle = 2 * math.pi * (times[:, :, None, None] / periods + draws.uniform(0, 1, 1, HEAD_MOTIONS, len(periods)))
    waves = settings.drift * (angle.sin() * (shares / shares.sum(2, keepdim=True))[:, None]).sum(3)
    step = ease((times - draws.uniform(-0.2, 0.4, 1)) / draws.uniform(0.15, 0.5, 1))[..., None]
    head = waves + 3 * draws.chance(settings.quick, 1, 1) * draws.normal(1, 1, HEAD_MOTIONS) * step
    levels = torch.cat([torch.stack([expression, blink, glance], 2), head], 2)
    return levels - levels[:, :1]


def _noise_over_time(
    draws: Draws,
    frames: int,
    size: tuple[int, int],
    settings: CourseSettings,
    rms: tuple[float, float],
    exponents: tuple[float, float],
) -> Tensor:
    """Noise of flow, (B, T, 2, H, W): what is wrong with the first frame is in all flows from it."""
    noise = smooth_noise(draws, size, rms, exponents, 2 * (frames + 1)).unflatten(1, (-1, 2))
    common = settings.shared_noise
    return math.sqrt(common) * noise[:, :1] + math.sqrt(1 - common) * noise[:, 1:]


# --- what moves ---

HEAD_MOTIONS = 6


def draw_motions(draws: Draws, units: Tensor, across: Tensor, down: Tensor, settings: DrawingSettings) -> Tensor:
    """What moves, as in `fields` but apart, (B, K, 2, H, W): the units; lids; gaze; six motions of the head."""
    expression = unit_motion(draws, units, across, down, settings)
    lid_x, lid_y, _, _, lid_sx, lid_sy, _ = both_sides((LID,)).to(draws.device).T
    iris_x, iris_y, _, _, iris_sx, iris_sy, _ = both_sides((IRIS,)).to(draws.device).T
    mid_x, mid_y, _, _, mid_sx, mid_sy, _ = both_sides((RELIEF,)).to(draws.device).T
    closing = draws.chance(settings.blink, 1) * draws.heavy(settings.blink_reach, 1) * draws.normal(0.15, 2).exp()
    lids = sum_of_bumps(across, down, lid_x, lid_y, 0 * closing, closing, lid_sx, lid_sy)
    shift = draws.chance(settings.gaze, 1) * draws.sign(1) * draws.heavy(settings.gaze_shift, 1)
    angle = draws.normal(0.3, 1)  # eyes glance to the side more than up
    dx, dy = ((shift * part).expand(-1, 2) for part in (angle.cos(), angle.sin()))
    gaze = sum_of_bumps(across, down, iris_x, iris_y, dx, dy, iris_sx, iris_sy)

    x, y = across[:, None, :], down[:, :, None] - CENTRE
    still = torch.zeros_like(x * y)
    depth = sum_of_bumps(across, down, mid_x, mid_y, torch.ones_like(shift), torch.ones_like(shift), mid_sx, mid_sy)
    modes = [
        (still + 1, still),
        (still, still + 1),
        (still - y, still + x),
        (still + x, still + y),
        (depth[:, 0], still),
        (still, depth[:, 0]),
    ]
    lengths = (settings.head_shift, settings.head_shift, settings.head_turn, settings.head_growth)
    lengths += (settings.head_relief, settings.head_relief)
    head = [draws.heavy(length, 1, 1, 1) * torch.stack(mode, 1) for length, mode in zip(lengths, modes, strict=True)]
    return torch.stack([expression, lids, gaze, *head], 1)


__all__ = ["CourseSettings", "DrawnCourses", "draw_courses"]
