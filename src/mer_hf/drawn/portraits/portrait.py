"""The whole picture of a subject, in the two layers that a clip moves."""

from dataclasses import dataclass

import cv2
import numpy as np

from mer_hf.drawn.portraits.canvas import Canvas, over, to_srgb
from mer_hf.drawn.portraits.flesh import clothe, eyeballs, lit_skin, wall
from mer_hf.drawn.portraits.hairs import (
    draw_brows,
    draw_hair,
    draw_lashes,
    hair_behind,
    hair_colour,
    hair_in_front,
)
from mer_hf.drawn.portraits.sitters import MARGIN, Sitter

STORED_SCALE = 2
"""Stored pixels per frame pixel: frames are sampled from twice the resolution, so sub-pixel motion does not blur."""

_DRAWN_SCALE = 1.5  # drawn pixels per stored pixel; the reduction smooths every edge
_DRAWN_MIN = 768  # frame width below which hairs would be thicker than a drawn pixel


@dataclass(frozen=True)
class Portrait:
    """A drawn subject, ready to be moved.

    Attributes:
        skin: (C, C, 4) float32, sRGB 0..255 multiplied by opacity, and opacity in 0..1; the eye openings are clear.
        eyes: (C, C, 3) float32, sRGB 0..255, the eyeballs behind the openings.
        points: (C, C, 2) float32, the canonical face coordinates of every stored pixel.
        pixels_per_unit: stored pixels per eye distance.
        sitter: how the subject looks.
    C = STORED_SCALE * (1 + 2 * MARGIN) * size.
    """

    skin: np.ndarray
    eyes: np.ndarray
    points: np.ndarray
    pixels_per_unit: float
    sitter: Sitter


def draw_portrait(sitter: Sitter, size: int, rng: np.random.Generator) -> Portrait:
    """Draw a subject for frames of `size` x `size` pixels; `rng` places pores, freckles and single hairs."""
    stored = round(STORED_SCALE * (1 + 2 * MARGIN) * size)
    drawn = round(max(_DRAWN_SCALE * STORED_SCALE * size, _DRAWN_MIN) * (1 + 2 * MARGIN))
    canvas = Canvas(sitter, drawn)

    opening = canvas.opening()
    picture = wall(canvas, rng)
    picture = over(picture, hair_colour(canvas, 0.35), hair_behind(canvas))
    hair = hair_in_front(canvas)
    flesh, body = lit_skin(canvas, hair, rng)
    picture = over(picture, flesh, body)
    picture = clothe(picture, canvas, body, rng)
    picture = over(picture, hair_colour(canvas, 0.4), 0.9 * hair)
    picture = np.round(255 * to_srgb(picture)).astype(np.uint8)
    draw_brows(picture, canvas, rng)
    draw_lashes(picture, canvas, rng)
    draw_hair(picture, canvas, rng)

    eyes = 255 * to_srgb(eyeballs(canvas, rng))
    opacity = (1 - opening)[..., None]
    skin = np.concatenate([picture * opacity, opacity], axis=-1).astype(np.float32)
    return Portrait(
        skin=_reduced(skin, stored),
        eyes=_reduced(eyes, stored),
        points=Canvas(sitter, stored).points,
        pixels_per_unit=sitter.eye_distance * stored / (1 + 2 * MARGIN),
        sitter=sitter,
    )


def _reduced(layer: np.ndarray, width: int) -> np.ndarray:
    """A layer at its stored size, smoothed so that sampling it once per frame pixel neither shimmers nor blurs more."""
    layer = cv2.resize(layer.astype(np.float32), (width, width), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(layer, (0, 0), 0.42 * STORED_SCALE)
