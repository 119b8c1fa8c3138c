"""Image sequences of micro-expressions, drawn on the fly: still faces, moved over the course of an expression.

    still faces, once: `drawn_faces`, or crops of one's own -> (N, 2 H, 2 W) on the device
      -> per sequence: a face, perhaps mirrored; its displacement and courses, as in `courses`
      -> sampled anew for every frame -> light, softness, sensor noise -> (B, T, 1, H, W)

A rendered clip takes seconds, for it is drawn at the size of a recording, aligned and cut out. Here that was done once
for each face, and a frame is one sampling at twice the size of a model input.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import datasets.config
import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor

from mer_hf.drawn import portraits
from mer_hf.drawn.bumps import Draws
from mer_hf.drawn.courses import CourseSettings, draw_levels, draw_motions
from mer_hf.drawn.fields import CropGeometry, aligned_crop, coordinates_in, draw_expressions
from mer_hf.drawn.portraits import draw_portrait, draw_sitter
from mer_hf.drawn.rendering import random_stream
from mer_hf.errors import MerHfError

FINER = 2
"""Pixels of a still face per pixel of a model input, along each side."""
FACE_STREAM, FACE_SEED = 90, 15
"""Random numbers of the drawn faces; no corpus has them."""


def face_crop(height: int, width: int, margin: float = 0.1) -> CropGeometry:
    """Where on a face the front end's crop of a size lies: its larger side spans the square of `aligned_crop`."""
    square, longest = aligned_crop(margin), max(height, width)
    eyes_down = 0.5 + (square.eyes[1] - 0.5) * longest / height
    return CropGeometry((0.5, eyes_down), square.width * width / longest, square.height * height / longest)


@dataclass(frozen=True)
class ImageSettings(CourseSettings):
    """How image sequences are drawn: motion as in `CourseSettings`, and what a camera makes of it.

    Grey levels are those of 255; a pair of them is (median, deviation of the log).

    Attributes:
        face_shift, face_scale: of the pattern of motion on the face, whose proportions the picture brings.
        crop_shift, crop_scale, crop_turn: deviations of how a face lies in its crop.
        light: amplitude of the slow gain of the light.
        contrast: deviation of the log contrast of a picture.
        softness: of the lens and the coder, deviation of a Gaussian in pixels of the input, least and most.
        sensor: noise of a pixel of the input.
    """

    face_shift: float = 0.03
    face_scale: float = 0.05
    crop_shift: float = 0.02
    crop_scale: float = 0.03
    crop_turn: float = 0.02
    light: float = 0.015
    contrast: float = 0.2
    softness: tuple[float, float] = (0.3, 0.7)
    sensor: tuple[float, float] = (2.5, 0.5)


class DrawnImages(NamedTuple):
    """Drawn image sequences.

    Attributes:
        frames: (B, T, 1, H, W) float32, grey from 0 to 255.
        motion: (B, T, 2, H, W) float32, displacement since the first frame, as of `fields.Drawn`, that of skin, lids,
            eyes and head, whether it can be seen or not.
        label, units: (B,) and (B, U), likewise.
    """

    frames: Tensor
    motion: Tensor
    label: Tensor
    units: Tensor


def draw_images(
    count: int,
    frames: int,
    faces: Tensor,
    generator: torch.Generator,
    settings: ImageSettings | None = None,
) -> DrawnImages:
    """Draw image sequences, each class as likely as the others.

    Args:
        count: B, the number of sequences.
        frames: T, evenly from the first frame of a clip to its last.
        faces: (N, 2 H, 2 W) uint8, still faces as `align_clip` crops them, twice the size of a model input.
        generator: on the CPU, so that a seed gives the same sequences, up to rounding, on every device.
        settings: how they are drawn; None is the default.

    Raises:
        MerHfError: for a count below 1, fewer than 2 frames, faces of another shape, or a generator that is not on the
            CPU.
    """
    if faces.ndim != 3 or not len(faces) or faces.dtype != torch.uint8 or faces.shape[1] % 2 or faces.shape[2] % 2:
        raise MerHfError(f"faces must be (N, 2 H, 2 W) uint8 of even sides, got {faces.dtype} {tuple(faces.shape)}")
    if min(count, frames - 1) < 1:
        raise MerHfError(f"there is nothing to draw: {count} sequences of {frames} frames")
    settings = settings or ImageSettings()
    draws, (height, width) = Draws(count, generator, faces.device), (side // FINER for side in faces.shape[1:])
    label, units = draw_expressions(draws, settings)
    crop = face_crop(height, width)
    eyes, sides = torch.tensor((crop.eyes, (crop.width, crop.height)), device=faces.device)[:, None]
    across, down = coordinates_in(draws, (height, width), eyes, sides, settings)
    motion = draw_motions(draws, units, across, down, settings)
    levels = draw_levels(draws, frames, settings)
    moved = (levels @ motion.flatten(2)).unflatten(2, motion.shape[2:])
    places = _resting_places(draws, crop, height, width, settings)[:, None] - moved / _half_sides(crop, faces.device)
    sampled = _sampled(_chosen_faces(draws, faces, settings), places)
    return DrawnImages(_recorded(draws, sampled, settings), moved, label, units)


def _centres(pixels: int, device: torch.device) -> Tensor:
    return (torch.arange(pixels, device=device) + 0.5) / pixels


def _half_sides(crop: CropGeometry, device: torch.device) -> Tensor:
    """Eye distances in the unit of `grid_sample`, half a side: (2, 1, 1)."""
    return torch.tensor((crop.width / 2, crop.height / 2), device=device)[:, None, None]


def _resting_places(draws: Draws, crop: CropGeometry, height: int, width: int, settings: ImageSettings) -> Tensor:
    """Where in a still face the pixels of an input lie while nothing moves, (B, 2, H, W) from -1 to 1."""
    x = (2 * _centres(width, draws.device) - 1) * crop.width / 2
    y = (2 * _centres(height, draws.device) - 1) * crop.height / 2
    y, x = torch.meshgrid(y, x, indexing="ij")
    turn, grow = draws.normal(settings.crop_turn, 1, 1), draws.normal(settings.crop_scale, 1, 1).exp()
    right, below = (draws.normal(settings.crop_shift, 1, 1) for _ in "xy")
    places = torch.stack([grow * (x - turn * y) + right, grow * (y + turn * x) + below], 1)
    return places / _half_sides(crop, draws.device)


def _chosen_faces(draws: Draws, faces: Tensor, settings: ImageSettings) -> Tensor:
    """A face for each sequence, half of them mirrored, some softer than others: (B, 1, 2 H, 2 W)."""
    chosen = faces[draws.choice([1.0] * len(faces))].float()[:, None]
    chosen = torch.where(draws.chance(0.5, 1, 1, 1), chosen.flip(-1), chosen)
    deviation = FINER * draws.uniform(*settings.softness, 1)
    taps = torch.arange(-3, 4, device=faces.device)
    kernel = torch.softmax(-(taps / deviation).square() / 2, 1)
    padded = F.pad(chosen, (3, 3, 3, 3), mode="replicate").transpose(0, 1)
    rows, columns = kernel[:, None, :, None], kernel[:, None, None]
    return F.conv2d(F.conv2d(padded, rows, groups=draws.count), columns, groups=draws.count).transpose(0, 1)


def _sampled(faces: Tensor, places: Tensor) -> Tensor:
    """Faces (B, 1, 2 H, 2 W) at places (B, T, 2, H, W) -> (B, T, 1, H, W): all frames of a sequence in one sampling."""
    grid = places.movedim(2, -1).flatten(1, 2)
    sampled = F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.unflatten(2, (places.shape[1], -1)).transpose(1, 2)


def _recorded(draws: Draws, pictures: Tensor, settings: ImageSettings) -> Tensor:
    """What a camera makes of pictures (B, T, 1, H, W): contrast, slow light, noise that grows with the light."""
    frames = pictures.shape[1]
    contrast, mean = draws.normal(settings.contrast, 1, 1, 1, 1).exp(), pictures.mean((1, 2, 3, 4), keepdim=True)
    phase, turns = draws.uniform(0, 2 * math.pi, 1), draws.uniform(0.2, 1.5, 1)
    wave = (2 * math.pi * turns * torch.linspace(0, 1, frames, device=draws.device) + phase).sin()
    light = 1 + settings.light * draws.normal(1, 1) * wave
    pictures = (mean + contrast * (pictures - mean)).clamp(0, 255) * light[:, :, None, None, None]
    noise = draws.normal(1, *pictures.shape[1:])
    deviation = draws.heavy(settings.sensor, 1, 1, 1, 1) * (0.4 + 0.6 / 128 * pictures).sqrt()
    return (pictures + deviation * noise).clamp(0, 255).round()


# --- the faces ---


def drawn_faces(height: int, width: int, count: int = 60) -> Tensor:
    """Still faces of drawn portraits, as the front end would crop them, made on the first call and kept on disk.

    Args:
        height, width: of a model input; the faces are twice as large.
        count: N, the number of identities; each takes about two seconds.

    Returns:
        (N, 2 height, 2 width) uint8.
    """
    sources = [*sorted(Path(portraits.__file__).parent.glob("*.py")), Path(__file__)]
    key = hashlib.sha256(repr((height, width, count)).encode())
    for source in sources:
        key.update(source.read_bytes())
    folder = Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "mer_hf-faces"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key.hexdigest()[:16]}.npy"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            faces = np.stack([still_face(number, FINER * height, FINER * width) for number in range(count)])
            unfinished = path.with_suffix(".unfinished.npy")
            np.save(unfinished, faces)
            unfinished.rename(path)
    return torch.from_numpy(np.load(path))


def still_face(number: int, height: int, width: int) -> np.ndarray:
    """The drawn portrait of an identity that no corpus has, cut out as the front end does: (height, width) uint8."""
    rng = random_stream(FACE_SEED, FACE_STREAM, number)
    crop = face_crop(height, width)
    portrait = draw_portrait(draw_sitter(number, rng), round(0.8 * max(height, width)), rng)
    picture = portrait.skin[..., :3] + portrait.eyes * (1 - portrait.skin[..., 3:])
    rows, columns = picture.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    points = np.column_stack([portrait.points.reshape(-1, 2), np.ones(len(pixels))])
    to_pixels = (np.linalg.pinv(points) @ pixels).T  # the face is turned a little, so this is nearly so
    x = ((np.arange(width) + 0.5) / width - crop.eyes[0]) * crop.width
    y = ((np.arange(height) + 0.5) / height - crop.eyes[1]) * crop.height
    places = np.stack(np.meshgrid(x, y), -1) @ to_pixels[:, :2].T + to_pixels[:, 2]
    face = cv2.remap(picture, places.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(face @ np.array((0.299, 0.587, 0.114), np.float32)), 0, 255).astype(np.uint8)


__all__ = ["DrawnImages", "ImageSettings", "draw_images", "drawn_faces", "still_face"]
