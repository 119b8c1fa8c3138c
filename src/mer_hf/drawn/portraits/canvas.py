"""The grid a subject is drawn on, and the small operations that all painters share."""

import cv2
import numpy as np

from mer_hf.drawn.portraits.sitters import EYE, MARGIN, Sitter, canonical, lid_edges


class Canvas:
    """Pixels (width, width) with their canonical face coordinates `x`, `y`, and `across` = |x|; `unit` pixels are 1."""

    def __init__(self, sitter: Sitter, width: int) -> None:
        """Lay out a canvas of `width` x `width` pixels, the margin around the frame included."""
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(width)), axis=-1).astype(np.float32)
        self.sitter = sitter
        self.width = width
        self.points = canonical(sitter, pixels, width)
        self.x, self.y = self.points[..., 0], self.points[..., 1]
        self.across = np.abs(self.x)
        self.unit = np.float32(sitter.eye_distance * width / (1 + 2 * MARGIN))

    def bump(self, x: float, y: float, sx: float, sy: float) -> np.ndarray:
        """Gaussian of height 1 on both sides of the midline."""
        return np.exp(-(((self.across - x) / sx) ** 2 + ((self.y - y) / sy) ** 2) / 2)

    def edge(self, signed: np.ndarray, soft: float = 0.012) -> np.ndarray:
        """Opacity of the region where a signed distance, in eye distances, is positive."""
        return np.clip(signed / soft + 0.5, 0, 1)

    def blur(self, image: np.ndarray, sigma: float) -> np.ndarray:
        """Gaussian blur with sigma in eye distances; wide ones are computed on a reduced image."""
        pixels = float(sigma * self.unit)
        factor = max(1, int(pixels / 4))
        if factor == 1:
            return cv2.GaussianBlur(image, (0, 0), pixels)
        small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), pixels / factor)
        return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def outline(self) -> np.ndarray:
        """How deep inside the outline of the head a point lies: 1 on the midline at the eyes, 0 on the edge."""
        half, chin, across, down = self.sitter.jaw
        below = np.maximum(self.y, 0) / chin
        above = np.minimum(self.y, 0) / 1.62
        return 1 - (self.across / half) ** np.where(self.y > 0, across, 2.2) - below**down - np.abs(above) ** 2.4

    def opening(self) -> np.ndarray:
        """Opacity of what shows between the lids."""
        top, bottom = lid_edges(self.sitter, self.across)
        inside = np.abs(self.across - EYE) < self.sitter.eye[0]
        return (self.edge(np.minimum(self.y - top, bottom - self.y), 0.014) * inside).astype(np.float32)


def fractal(rng: np.random.Generator, width: int, cells: int, octaves: int) -> np.ndarray:
    """Smooth noise (width, width) of mean 0 and deviation 1; `cells` across in the coarsest of the octaves."""
    total = np.zeros((width, width), np.float32)
    for octave in range(octaves):
        count = min(cells * 2**octave, width)
        noise = rng.standard_normal((count, count), np.float32)
        total += 0.6**octave * cv2.resize(noise, (width, width), interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / total.std()


def smooth_step(t: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at t = 0 to 1 at t = 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def over(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Lay `above` over `below`."""
    return below + (above - below) * opacity[..., None]


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear 0..1 -> display values 0..1, with a soft shoulder instead of clipped highlights."""
    value = np.maximum(linear, 0) ** (1 / 2.2)
    return np.where(value > 0.85, 0.85 + 0.15 * np.tanh((value - 0.85) / 0.15), value)
