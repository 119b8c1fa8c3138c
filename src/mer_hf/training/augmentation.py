"""What is drawn anew for a clip in every training step, as batched tensors on the device of the clips.

    pixel_values_videos -> mirrored -> turned, scaled, shifted -> noise -> mixed with another clip

Motion has a direction: where a picture of flow is mirrored or turned, so are its vectors. How strong it is does not
matter, since `flow_picture` brings every field to unit root mean square: a magnification factor drawn between 5 and 12
(Xia et al., TMM 2020) would change nothing, and a field that is made larger keeps its vectors' lengths.

Numbers are drawn on the CPU, so that a seed gives the same ones on every device.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mer_hf.errors import MerHfError
from mer_hf.rcn.modeling_rcn import mirrored


def mirror_at_random(pixels: Tensor, generator: torch.Generator, connectivity: str) -> Tensor:
    """Mirror each clip of a batch (B, T, C, H, W) left to right with probability 1/2."""
    chosen = torch.rand(len(pixels), generator=generator).to(pixels.device) < 0.5
    return torch.where(chosen[:, None, None, None, None], mirrored(pixels, connectivity), pixels)


def transform(pixels: Tensor, angles: Tensor, scales: Tensor, shifts: Tensor, connectivity: str) -> Tensor:
    """Turn, scale and shift each clip about the middle of its picture; the vectors of flow turn with it.

    Args:
        pixels: (B, T, C, H, W). What comes in from outside the picture repeats its border.
        angles: (B,) radians; a positive one turns right to down.
        scales: (B,) factors, above 1 for a larger face.
        shifts: (B, 2), right and down, as parts of the width and of the height.
        connectivity: as `RcnConfig.connectivity`; the first two channels of `"geometric"` are vectors. The strain
            beside them is the same in every direction, so it is only carried along.

    Returns:
        (B, T, C, H, W).
    """
    height, width = pixels.shape[-2:]
    cosines, sines = angles.cos(), angles.sin()
    # grid_sample asks where a pixel comes from, in units of half the width and half the height
    inverse = torch.stack([cosines, sines * height / width, -sines * width / height, cosines], 1).view(-1, 2, 2)
    inverse = inverse / scales[:, None, None]
    theta = torch.cat([inverse, -inverse @ (2 * shifts)[:, :, None]], 2).to(pixels)
    pictures = pixels.flatten(1, 2)
    grid = F.affine_grid(theta, pictures.shape, align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False).unflatten(1, pixels.shape[1:3])
    if connectivity == "geometric":
        turn = torch.stack([cosines, -sines, sines, cosines], 1).view(-1, 1, 2, 2).to(pixels)
        moved[:, :, :2] = (turn @ moved[:, :, :2].flatten(3)).unflatten(3, (height, width))
    return moved


def mix(pixels: Tensor, order: Tensor, share: float) -> Tensor:
    """Mixup (Zhang et al., ICLR 2018): `share` of each clip, and the rest of the clip at its place in `order`."""
    return share * pixels + (1 - share) * pixels[order]


@dataclass(frozen=True)
class Augmentation:
    """What is drawn beside jitter. On real micro-expressions the mirror helped, and none of the others measurably.

    Attributes:
        mirror: left and right are exchanged in half of the clips.
        rotation: largest angle in degrees, drawn evenly to either side.
        scale: largest change of size, .1 for 10 %.
        shift: largest shift, as a part of the width and of the height.
        noise: standard deviation of the noise of each value; flow has a root mean square of 1, grey goes from 0 to 1.
        mixup: alpha of the Beta distribution that a batch's share is drawn from; 0 mixes nothing.

    Raises:
        ValueError: for a number out of range.
    """

    mirror: bool = False
    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    noise: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name, most in (("rotation", 180), ("scale", 0.9), ("shift", 1), ("noise", math.inf), ("mixup", math.inf)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= most:
                raise MerHfError(f"{name} must be a number from 0 to {most}, got {value!r}")

    def __call__(self, pixels: Tensor, generator: torch.Generator, connectivity: str) -> Tensor:
        """A batch (B, T, C, H, W) -> another one, not yet mixed; `generator` is one of the CPU."""
        if self.mirror:
            pixels = mirror_at_random(pixels, generator, connectivity)
        if self.rotation or self.scale or self.shift:
            drawn = 2 * torch.rand(4, len(pixels), generator=generator) - 1
            angles, scales = drawn[0] * math.radians(self.rotation), 1 + drawn[1] * self.scale
            pixels = transform(pixels, angles, scales, self.shift * drawn[2:].T, connectivity)
        if self.noise:
            pixels = pixels + self.noise * torch.randn(pixels.shape, generator=generator).to(pixels.device)
        return pixels

    def draw_mix(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, float]:
        """Draw with which other clip each is mixed, (B,) indices, and what share of it remains."""
        order = torch.randperm(batch_size, generator=generator)
        seed = int(torch.randint(2**62, (), generator=generator))  # torch's own Beta takes no generator
        return order, float(np.random.default_rng(seed).beta(self.mixup, self.mixup))


__all__ = ["Augmentation", "mirror_at_random", "mix", "transform"]
