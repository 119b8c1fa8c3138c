"""Who is drawn: how a subject looks, and where the features of that subject lie.

A subject's own proportions bend the face coordinates before anything is drawn, so a feature drawn at its canonical
place, and a bump of an action unit, land together on that subject's anatomy. Lengths are near adult means (Farkas,
Anthropometry of the Head and Face, 1994) over a mean eye distance of 63 mm; their spread was chosen by eye.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MARGIN = 1 / 16
"""How far the canvas reaches beyond the frame on every side, in frame widths: room for head motion."""

EYE = 0.505
"""Distance of the middle of the drawn lids from the midline; a face mesh finds it about 0.03 further in."""

# Skin from light to dark and hair, as sRGB under frontal light; chosen by eye.
_SKIN = ((228, 194, 172), (220, 178, 150), (208, 160, 126), (178, 128, 94), (140, 94, 66), (98, 64, 47))
_HAIR = ((28, 23, 22), (44, 31, 25), (70, 47, 33), (104, 72, 46), (156, 118, 76), (118, 60, 34), (128, 122, 116))
_IRIS = ((62, 40, 26), (84, 56, 32), (104, 84, 46), (96, 108, 76), (98, 122, 140), (112, 126, 134))
_CLOTH = ((46, 54, 72), (116, 44, 46), (60, 84, 70), (196, 190, 180), (84, 84, 88), (38, 38, 42), (148, 124, 88))
_WALL = ((150, 156, 160), (170, 162, 148), (128, 142, 150), (178, 178, 174), (140, 146, 132), (112, 120, 136))


@dataclass(frozen=True)
class Hairstyle:
    """How hair is worn. Lengths in eye distances."""

    lift: float  # of its outline over the skull
    hairline: float  # y on the midline
    length: float  # of a hair, as far as it is seen
    flow: Literal["back", "parting", "crown"]  # where it runs: back from the face, off a parting, over the forehead
    end: float | None  # y down to which it falls beside the face; None: above the ears


_SHORT_STYLES = (
    Hairstyle(lift=0.20, hairline=-1.06, length=0.22, flow="back", end=None),
    Hairstyle(lift=0.26, hairline=-1.02, length=0.26, flow="parting", end=None),
    Hairstyle(lift=0.03, hairline=-1.10, length=0.04, flow="back", end=None),
)
_OTHER_STYLES = (
    Hairstyle(lift=0.26, hairline=-1.08, length=0.70, flow="parting", end=3.0),
    Hairstyle(lift=0.10, hairline=-1.10, length=0.50, flow="back", end=None),
    Hairstyle(lift=0.30, hairline=-0.82, length=0.34, flow="crown", end=1.25),
)


@dataclass(frozen=True)
class Sitter:
    """How one subject looks and is lit. Lengths in eye distances, angles in radians, colours linear RGB in 0..1."""

    eye_distance: float  # in frame widths
    centre: tuple[float, float]  # midpoint between the eyes, in frame widths
    roll: float
    yaw: float
    proportions: tuple[tuple[float, float, float], ...]  # (y, shift, width): see `canonical`
    jaw: tuple[float, float, float, float]  # half width, chin, and the two exponents of the outline
    nose: tuple[float, float, float]  # bridge height, width, tip height
    eye: tuple[float, float, float, float]  # half width, upper opening, lower opening, tilt
    crease: float
    brow: tuple[float, float, float, float]  # height, arch, thickness, density
    mouth: tuple[float, float, float]  # half width, upper lip, lower lip
    age: float  # 0 smooth .. 1 lined
    masculinity: float  # 0..1
    skin: np.ndarray
    redness: float
    freckles: int
    hair: np.ndarray
    style: Hairstyle
    parting: float
    iris: np.ndarray
    cloth: np.ndarray
    collar: float
    wall: np.ndarray
    light: tuple[float, float, float]  # unit vector towards the lamp: right, down, to the viewer
    lamp: np.ndarray  # colour of the lamp
    ambient: float


def draw_sitter(subject: int, rng: np.random.Generator) -> Sitter:
    """Draw how a subject looks. Skin runs evenly over the tones by number; all else is drawn from `rng`."""

    def around(mean: float, sd: float) -> float:
        return float(mean + sd * np.clip(rng.standard_normal(), -2, 2))

    tone = (0.15 + 0.618034 * subject + rng.uniform(0, 0.1)) % 1  # golden ratio: any few subjects spread over it
    masculinity = float((0.5 * subject + rng.uniform(0.05, 0.45)) % 1)
    age = float(rng.beta(1.5, 2.5))
    hair = 6 if age > 0.65 else int(rng.integers(2 if tone > 0.7 else 4 if tone > 0.4 else 6))  # grey; dark; any
    iris = rng.integers(0, 2) if tone > 0.4 else rng.integers(0, len(_IRIS))
    styles = _SHORT_STYLES if masculinity > 0.5 else _OTHER_STYLES
    azimuth, elevation = rng.choice((-1, 1)) * rng.uniform(0.2, 0.75), rng.uniform(0.3, 0.75)
    light = (np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    warmth = rng.uniform(-0.06, 0.1)
    return Sitter(
        eye_distance=float(rng.uniform(0.280, 0.312)),
        centre=(around(0.5, 0.008), around(0.435, 0.01)),
        roll=around(0, 0.025),
        yaw=around(0, 0.02),
        proportions=tuple(
            (y, around(0, sd), width)
            for y, sd, width in ((-0.28, 0.012, 0.16), (0.60, 0.015, 0.25), (1.02, 0.015, 0.20), (1.50, 0.03, 0.22))
        ),
        jaw=(
            around(1.035 + 0.05 * masculinity, 0.02),
            around(1.60 + 0.04 * masculinity, 0.03),
            around(1.78 + 0.2 * masculinity, 0.06),
            around(2.05 + 0.35 * masculinity, 0.15),
        ),
        nose=(around(1.0, 0.15), around(1.0 + 0.1 * masculinity, 0.09), around(1.0, 0.12)),
        eye=(
            around(0.228, 0.008),
            around(0.084 - 0.010 * masculinity, 0.008),
            around(0.066, 0.006),
            around(0.012, 0.012),
        ),
        crease=float(rng.uniform(0.35, 1)),
        brow=(
            around(0.0, 0.012),
            around(0.05 - 0.025 * masculinity, 0.012),
            around(0.034 + 0.014 * masculinity, 0.005),
            around(0.75 + 0.25 * masculinity, 0.12),
        ),
        mouth=(
            around(0.37, 0.012),
            around(0.082 - 0.015 * masculinity, 0.012),
            around(0.118 - 0.015 * masculinity, 0.014),
        ),
        age=age,
        masculinity=masculinity,
        skin=_palette(_SKIN, tone),
        redness=float(rng.uniform(0.4, 1.0)),
        freckles=int(rng.choice((0, 0, 60, 260)) * (tone < 0.5)) + int(rng.integers(4, 14)),
        hair=_linear(_HAIR[hair]) * rng.uniform(0.85, 1.15),
        style=styles[rng.integers(len(styles))],
        parting=float(rng.choice((-1, 1)) * rng.uniform(0.15, 0.4)),
        iris=_linear(_IRIS[iris]),
        cloth=_linear(_CLOTH[rng.integers(len(_CLOTH))]),
        collar=float(rng.uniform(0, 1)),
        wall=_linear(_WALL[rng.integers(len(_WALL))]),
        light=(float(light[0]), float(light[1]), float(light[2])),
        lamp=np.array([1 + warmth, 1.0, 1 - warmth], np.float32),
        ambient=float(rng.uniform(0.38, 0.6)),
    )


def canonical(sitter: Sitter, pixels: np.ndarray, width: int) -> np.ndarray:
    """Return the canonical face coordinates of canvas pixels.

    Args:
        sitter: whose face.
        pixels: (..., 2) positions (x, y) on the canvas.
        width: of the canvas in pixels; it spans 1 + 2 * MARGIN frame widths.

    Returns:
        (..., 2) float32. Frame -> centred, upright, in eye distances; then the subject's proportions shift heights
        smoothly, and a slight turn of the head shifts what lies in front.
    """
    unit = sitter.eye_distance * width / (1 + 2 * MARGIN)
    centre = (np.asarray(sitter.centre) + MARGIN) * width / (1 + 2 * MARGIN) - 0.5
    offset = (pixels - centre.astype(np.float32)) / np.float32(unit)
    cos, sin = np.cos(sitter.roll), np.sin(sitter.roll)
    x = cos * offset[..., 0] + sin * offset[..., 1]
    y = cos * offset[..., 1] - sin * offset[..., 0]
    x = x - sitter.yaw * (1 - np.minimum((x / 1.2) ** 2, 1) + 0.3 * np.exp(-((x / 0.25) ** 2) - ((y - 0.5) / 0.3) ** 2))
    y = y + sum(shift * np.exp(-(((y - at) / spread) ** 2) / 2) for at, shift, spread in sitter.proportions)
    return np.stack([x, y], axis=-1).astype(np.float32)


def on_canvas(sitter: Sitter, points: np.ndarray, width: int) -> np.ndarray:
    """Return the canvas pixels (..., 2) of canonical face coordinates (..., 2): the inverse of `canonical`."""
    unit = sitter.eye_distance * width / (1 + 2 * MARGIN)
    points = np.asarray(points, np.float32)
    cos, sin = np.cos(sitter.roll), np.sin(sitter.roll)
    rotation = np.array([[cos, sin], [-sin, cos]], np.float32)  # applied from the right: face axes -> image axes
    centre = (np.asarray(sitter.centre, np.float32) + MARGIN) * width / (1 + 2 * MARGIN) - 0.5
    pixels = centre + unit * points @ rotation
    for _ in range(4):  # the bending is gentle: a fixed point within 1e-3 pixels
        pixels = pixels + unit * (points - canonical(sitter, pixels, width)) @ rotation
    return pixels


def lid_edges(sitter: Sitter, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the heights y of the upper and the lower lid's edge at distances |x| from the midline."""
    half, upper, lower, tilt = sitter.eye
    u = np.clip((across - EYE) / half, -1, 1)
    line = -tilt * u
    top = line - upper * (1 - np.abs(u + 0.12 * (1 - u * u)) ** 2.1)
    bottom = line + lower * (1 - np.abs(u - 0.15 * (1 - u * u)) ** 2.3)
    return top, bottom


def mouth_lines(sitter: Sitter, across: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the heights y of the upper lip's rim, the parting of the lips and the lower rim at distances |x|."""
    half, upper, lower = sitter.mouth
    t = np.clip(across / half, 0, 1)
    parting = 1.0 + 0.012 * np.exp(-((t / 0.22) ** 2)) - 0.022 * t**2
    bow = 1 + 0.2 * np.exp(-(((t - 0.2) / 0.14) ** 2)) - 0.16 * np.exp(-((t / 0.1) ** 2))
    return parting - upper * (1 - t**1.8) ** 0.9 * bow, parting, parting + lower * (1 - t**2.4) ** 0.85


def _palette(colours: Sequence[tuple[int, int, int]], place: float) -> np.ndarray:
    """Linear colour at `place` in 0..1 along a list of sRGB colours."""
    stops = np.linspace(0, 1, len(colours))
    return _linear([np.interp(place, stops, channel) for channel in zip(*colours, strict=True)])


def _linear(srgb: Sequence[float]) -> np.ndarray:
    """SRGB 0..255 -> linear 0..1."""
    return ((np.asarray(srgb, np.float32) / 255) ** 2.2).astype(np.float32)
