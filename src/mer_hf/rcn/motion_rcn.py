"""From face crops to motion: apex, doubts, magnification, flow, the flow picture, and the mask of moving pixels.

Frames are NumPy arrays on the CPU, where OpenCV works; flow pictures are finished as tensors, on any device.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from .errors_rcn import MerHfError
from .faces_rcn import compose, warp
from .temporal_rcn import band_pass_operator

APEX_SPAN = (0.2, 0.7)  # part of a clip in which the authors' rule looks for the apex; authors' code
APEX_THUMBNAIL = (8, 10)  # width and height at which it does; authors' code

CURVE_SIDE = 64  # pixels; a subtle motion stays below one, where a picture changes in proportion to its motion
CURVE_BLUR = 1.5  # of those pixels; differences of neighbours are gradients only on a smooth picture
CURVE_WINDOW = 0.25  # deviation of the window over the face, of the side
CURVE_SMOOTHING = 1 / 16  # deviation over time, of the length of the clip
CURVE_LENGTH = (
    512  # frames that are looked at one by one; in longer clips, so many stretches: a thirtieth of a deviation
)
UNMOVED = 1e-3  # grey levels of the curve, which is rounding

# What one expression looks like: of 860 micro-expressions of CAS(ME)^3, 95 % are shorter than 2.4 s (median .73), 99 %
# rise within .27 s or are over in .5 s; the weakest move by .0125 eye distances, of which a crop has 2.2
LONGEST_EXPRESSION = 2.0  # seconds
LONGEST_RISE = 1.0  # seconds from rest to the apex
STILL = (
    0.0028  # of the side of a crop; a still face with a camera's noise stays below, a faint expression moves by .006
)
JUMP = (
    12.0  # grey levels, the mean from frame to frame: a man who talks in a car stays below, cuts and damage are above
)
STILL_BLUR = 3 / 128  # deviation over which motion is averaged, of the side of a crop

FLOW_METHODS = ("dis", "farneback", "tvl1")
SMALLEST_FLOW = 12  # pixels; DIS refuses smaller pictures


def motion_curve(frames: np.ndarray) -> np.ndarray:
    """How far the face of each frame is from rest: the curve whose maximum is the apex.

    At rest are the first and the last frame. What differs from the first frame is reduced in two steps:

    - What a moving head and flickering light do to every pixel alike is fitted and taken off: an affine motion, through
      the gradients of the picture halfway between the two frames, which makes the fit exact to second order; a gain and
      an offset. The fit and all that follows see the face through a window, which is to fill the crop.
    - An expression returns, a drift goes on: the straight line from the first to the last frame is taken off.

    The root mean square of the rest is the curve. It is 0 at both ends: of no use in a clip that ends at its apex.
    Time grows with the clip, memory does not: more than `CURVE_LENGTH` frames are averaged to as many stretches.

    Args:
        frames: (T, H, W) uint8 grey face crops from onset to offset, T >= 1, unaligned or aligned by one transform.

    Returns:
        (T,) float32, in grey levels.

    Raises:
        ValueError: for frames of another shape.
    """
    _check_grey(frames)
    edges = np.linspace(0, len(frames), min(len(frames), CURVE_LENGTH) + 1).round().astype(int)
    curve = _curve_of(_smooth_thumbnails(frames, edges))
    if len(curve) == len(frames):
        return curve
    return np.interp(np.arange(len(frames)), (edges[1:] + edges[:-1] - 1) / 2, curve).astype(np.float32)


def _curve_of(pictures: np.ndarray) -> np.ndarray:
    """The motion curve of smooth thumbnails, (T, CURVE_SIDE, CURVE_SIDE) -> (T,)."""
    # every second pixel, and its neighbours; the pixels between repeat them after the blur
    level = pictures[:, 1:-1:2, 1:-1:2]
    right = (pictures[:, 1:-1:2, 2::2] - pictures[:, 1:-1:2, :-2:2]) / 2
    down = (pictures[:, 2::2, 1:-1:2] - pictures[:, :-2:2, 1:-1:2]) / 2
    halfway, right, down = ((part + part[0])[:, None] / 2 for part in (level, right, down))
    y, x = np.indices(level.shape[1:], np.float32) / (level.shape[1] - 1) - 0.5
    window = np.exp(-(x**2 + y**2) / (4 * CURVE_WINDOW**2))  # the root of the weights
    places = window * np.stack([np.ones_like(x), x, y])
    offset = np.broadcast_to(window, halfway.shape)
    nuisances = np.concatenate([places * right, places * down, window * halfway, offset], 1)
    count = len(pictures)
    changes = _residuals(nuisances.reshape(count, 8, -1), (window * (level - level[0])).reshape(count, -1))
    changes -= np.linspace(0, 1, count, dtype=np.float32)[:, None] * changes[-1]
    return np.sqrt((changes**2).sum(1) / (window**2).sum())


def _check_grey(frames: np.ndarray) -> None:
    if frames.ndim != 3 or not len(frames):
        raise MerHfError(f"expected at least one grey frame, (T, H, W), got the shape {frames.shape}")


def _smooth_thumbnails(frames: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 -> (stretches, CURVE_SIDE, CURVE_SIDE) float32, smoothed over space and time.

    A stretch goes from one of the edges to the next, and is the mean of its frames.
    """
    side, count = (CURVE_SIDE, CURVE_SIDE), len(edges) - 1
    blurred = np.empty((count, *side), np.float32)
    for index, (first, after) in enumerate(pairwise(edges)):
        small = [cv2.resize(frame, side, interpolation=cv2.INTER_AREA) for frame in frames[first:after]]
        mean = small[0].astype(np.float32) if len(small) == 1 else np.mean(small, 0, np.float32)
        blurred[index] = cv2.GaussianBlur(mean, (0, 0), CURVE_BLUR)
    deviation = CURVE_SMOOTHING * count
    reach = (1, 2 * int(np.ceil(3 * deviation)) + 1)  # a row is a frame, a column a pixel
    flat = cv2.GaussianBlur(blurred.reshape(count, -1), reach, 1, None, deviation, cv2.BORDER_REFLECT)
    return flat.reshape(blurred.shape)


def _residuals(nuisances: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What a least-squares fit of nuisances leaves of each target: (B, K, N) and (B, N) -> (B, N)."""
    gram = nuisances @ nuisances.transpose(0, 2, 1)
    gram += np.eye(gram.shape[1], dtype=np.float32) * (1e-4 * gram + 1e-6)  # a picture without texture has no gradients
    weights = np.linalg.solve(gram, nuisances @ targets[..., None])
    return targets - (weights.transpose(0, 2, 1) @ nuisances)[:, 0]


def spot_apex(frames: np.ndarray, rule: str = "motion") -> int:
    """Index of the apex of a clip from onset to offset; a middle frame where nothing moves.

    Args:
        frames: (T, H, W) uint8 grey face crops, T >= 1.
        rule: `"motion"`, the maximum of `motion_curve`; or `"authors"`, the rule of the STRCN release: of the frames
            in the middle part of the clip (.2 to .7 of its length), the one whose difference from the first frame
            varies most over a thumbnail of 10 rows and 8 columns. It takes drift of the head for motion, but not the
            end of the clip for rest: better where a clip is cut off at its apex, else worse (scripts/apex.py).

    Raises:
        ValueError: for another rule, or frames of another shape.
    """
    if rule not in ("motion", "authors"):
        raise MerHfError(f"rule must be 'motion' or 'authors', got {rule!r}")
    return apex_of(motion_curve(frames) if rule == "motion" else _authors_curve(frames))


def apex_of(curve: np.ndarray) -> int:
    """Index of the maximum of a curve; a middle frame where nothing moves."""
    apex = int(np.argmax(curve))
    return apex if curve[apex] > UNMOVED else len(curve) // 2


def _authors_curve(frames: np.ndarray) -> np.ndarray:
    _check_grey(frames)
    first, last = (round(part * len(frames)) for part in APEX_SPAN)
    thumbnails = [cv2.resize(frame, APEX_THUMBNAIL, interpolation=cv2.INTER_AREA) for frame in frames[: last + 1]]
    curve = np.zeros(len(frames))
    curve[first : last + 1] = [np.std(thumbnail.astype(np.float32) - thumbnails[0]) for thumbnail in thumbnails[first:]]
    return curve


def doubts(frames: np.ndarray, fps: float, apex: int, curve: np.ndarray | None = None) -> list[str]:
    """Why a clip may not show one expression, in words; nothing where it looks like one.

    Args:
        frames: (T, H, W) uint8 grey face crops, T >= 1.
        fps: frames per second.
        apex: index of the apex.
        curve: its `motion_curve`, where the apex was spotted by it.
    """
    found, seconds = [], (len(frames) - 1) / fps
    if seconds > LONGEST_EXPRESSION:
        found.append(
            f"the clip lasts {seconds:.1f} s, an expression at most about {LONGEST_EXPRESSION:g}: what moves most in "
            "it is classified, a blink or a word as well; cut it, or pass start= and end= in seconds"
        )
    jumps = _steps(frames)
    if jumps.max(initial=0) > JUMP:
        after = int(jumps.argmax()) + 1
        found.append(
            f"the picture jumps at {after / fps:.2f} s (frame {after}): a cut, damage, or a movement too fast for the "
            "camera; what changes there may not be the face"
        )
    if not _moves(frames[0], frames[apex]):
        found.append("nothing moves: the face at its apex is as it was at the beginning, and the scores mean nothing")
    elif curve is not None:
        below = np.flatnonzero(curve[: apex + 1] < curve[apex] / 2)
        rise = 2 * (apex - int(below[-1] if len(below) else 0)) / fps  # half of the way takes half of the time
        if rise > LONGEST_RISE:
            found.append(
                f"the motion takes {rise:.1f} s to its apex at {apex / fps:.2f} s; an expression rises in less than "
                f"{LONGEST_RISE:g} s: it may be the head, or several movements"
            )
    return found


def _steps(frames: np.ndarray) -> np.ndarray:
    """By how many grey levels each frame differs from the one before, but for its light: (T, H, W) -> (T - 1,)."""
    side = (CURVE_SIDE, CURVE_SIDE)
    steps, before = [], None
    for frame in frames:
        small = cv2.resize(frame, side, interpolation=cv2.INTER_AREA).astype(np.float32)
        small -= small.mean()
        steps += [] if before is None else [float(np.abs(small - before).mean())]
        before = small
    return np.array(steps)


def _moves(rest: np.ndarray, apex: np.ndarray) -> bool:
    """Whether anything in a face crop moves against the rest of it, (H, W) uint8 both."""
    side = min(rest.shape)
    if side < SMALLEST_FLOW:
        return not np.array_equal(rest, apex)
    flow = np.moveaxis(optical_flow(rest, apex), 0, 2)
    blurred = cv2.GaussianBlur(flow - np.median(flow, axis=(0, 1)), (0, 0), STILL_BLUR * side)
    return np.percentile(np.linalg.norm(blurred, axis=2), 99) > STILL * side


def magnify(frames: np.ndarray, fps: float, alpha: float, band: Sequence[float], wavelength: float) -> np.ndarray:
    """Motion made larger: Eulerian video magnification (Wu et al., SIGGRAPH 2012) on a Laplacian pyramid.

    What changes within a band of temporal frequencies is added alpha times, so that a motion d becomes (1 + alpha) d.
    That holds for structures whose spatial wavelength exceeds 8 (1 + alpha) d (Eq. 14 there). `wavelength` is the
    cut-off above which it is taken to hold; below, 1 + alpha falls in proportion to the wavelength, down to 1. What is
    coarser than about half the picture, below the pyramid, is left alone: its changes are those of the light.

    Args:
        frames: (T, H, W) or (T, H, W, 3) uint8, evenly spaced in time.
        fps: frames per second.
        alpha: amplification beyond the motion itself, >= 0; 0 changes nothing. Noise in the band grows with it.
        band: lowest and highest temporal frequency, in Hz, as `band_pass_operator` takes them.
        wavelength: spatial cut-off in pixels, > 0; a motion of at most wavelength / (8 (1 + alpha)) is magnified whole.

    Returns:
        the shape of `frames`, uint8.

    Raises:
        ValueError: for an option out of range, or a clip too short for the band.
    """
    if not (0 <= alpha < np.inf and wavelength > 0):
        raise MerHfError(f"expected alpha >= 0 and wavelength > 0, got alpha {alpha} and wavelength {wavelength}")
    low, high = band
    operator = band_pass_operator(torch.tensor([len(frames)]), fps, low, high)[0].numpy()
    # filtering in time and splitting in space are both linear: filtered first, one clip is filtered, not each level
    changes = (operator @ frames.reshape(len(frames), -1).astype(np.float32)).reshape(frames.shape)
    levels = max(1, int(np.log2(min(frames.shape[1:3]))) - 3)
    # neighbouring levels share a wavelength of 8 pixels evenly, 16, ...: the middle of the octave from 4, 8, ... pixels
    limits = [(1 + alpha) * 2 ** (level + 2.5) / wavelength - 1 for level in range(levels)]
    gains = np.clip(limits, 0, alpha)
    amplified = np.stack([_weigh_levels(change, gains) for change in changes])
    return np.clip(np.rint(frames + amplified), 0, 255).astype(np.uint8)


def _weigh_levels(picture: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Each level of a picture's Laplacian pyramid, finest first, times its gain, put together again."""
    if not len(gains):
        return np.zeros_like(picture)
    size = picture.shape[1::-1]
    coarse = cv2.pyrDown(picture)
    detail = picture - cv2.pyrUp(coarse, dstsize=size)
    return gains[0] * detail + cv2.pyrUp(_weigh_levels(coarse, gains[1:]), dstsize=size)


def optical_flow(first: np.ndarray, second: np.ndarray, method: str = "dis") -> np.ndarray:
    """Dense motion from one grey picture to another.

    Args:
        first, second: (H, W) uint8, at least 12 pixels a side.
        method: `"dis"` (Kroeger et al., ECCV 2016) with the settings that were the most accurate on a known sub-pixel
            warp of a real face: all scales, and five iterations of variational refinement, which also holds under a
            change of brightness; `"farneback"` (SCIA 2003), half the time; `"tvl1"` (Zach et al., DAGM 2007) of
            scikit-image, what many papers use, some twenty times slower. TV-L1 takes brightness for motion, so the
            second picture is first given the mean and spread of the first.

    Returns:
        (2, H, W) float32, the motion to the right (u) and downwards (v) of each pixel of `first`, in pixels.

    Raises:
        ValueError: for pictures that do not match, or another method.
        ImportError: for `"tvl1"` without scikit-image.
    """
    matching = first.shape == second.shape and first.dtype == second.dtype == np.uint8
    if not matching or first.ndim != 2 or min(first.shape) < SMALLEST_FLOW:
        raise MerHfError(
            f"flow needs two grey uint8 pictures of one size, at least {SMALLEST_FLOW} pixels a side, "
            f"got {first.dtype} {first.shape} and {second.dtype} {second.shape}"
        )
    if method == "dis":
        return np.moveaxis(_dis_flow(first, second), 2, 0)
    if method == "farneback":
        flow = cv2.calcOpticalFlowFarneback(
            first, second, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
        )
        return np.moveaxis(flow, 2, 0)
    if method == "tvl1":
        return _tvl1_flow(first, second)
    raise MerHfError(f"flow method must be one of {', '.join(FLOW_METHODS)}, got {method!r}")


def _dis_flow(first: np.ndarray, second: np.ndarray, stride: int = 3, refinements: int = 5) -> np.ndarray:
    """(H, W, 2) by DIS, from patches so many pixels apart."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    estimator.setPatchStride(stride)
    estimator.setVariationalRefinementIterations(refinements)
    return estimator.calc(first, second, None)


def _tvl1_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    try:
        from skimage.registration import optical_flow_tvl1
    except ImportError as error:
        raise ImportError(
            "TV-L1 flow is scikit-image's, which is not installed: pip install mer_hf[tvl1], or choose another method"
        ) from error
    first, second = (picture.astype(np.float32) / 255 for picture in (first, second))
    gain = first.std() / max(float(second.std()), 1e-6)
    down, right = optical_flow_tvl1(first, gain * (second - second.mean()) + first.mean())
    return np.stack([right, down])


def optical_strain(flow: Tensor) -> Tensor:
    """Magnitude of the optical strain, sqrt(ux^2 + vy^2 + (uy + vx)^2 / 2), (..., 2, H, W) -> (..., 1, H, W).

    Source: Shreve et al., FG 2011; central differences, one-sided at the border.
    """
    (uy, ux), (vy, vx) = (torch.gradient(flow[..., channel, :, :], dim=(-2, -1)) for channel in (0, 1))
    return (ux**2 + vy**2 + (uy + vx) ** 2 / 2).sqrt().unsqueeze(-3)


def flow_picture(flow: Tensor, channels: int) -> Tensor:
    """A flow field as the network sees it: re-zeroed by its median, its strain beside it, on a scale of its own.

    Subtracting the median of u and of v removes the translation of the head. Micro-expressions differ in strength by
    more than an order of magnitude, so the field is divided by the root mean square of its vectors; so is the strain,
    by its own. Published flow pictures, each channel stretched to 0..255, come out alike but for the ratio of u to v.

    Args:
        flow: (..., 2, H, W), u and v in any unit; or (..., 3, H, W) with a strain that is at hand.
        channels: 2 for (u, v), 3 for (u, v, strain).

    Returns:
        (..., channels, H, W) of unit root mean square; 0 where nothing moves.
    """
    motion, strain = flow.split((2, flow.shape[-3] - 2), -3)
    motion = motion - motion.flatten(-2).median(-1).values[..., None, None]
    if channels == 2:
        return _unit_scale(motion)
    strain = strain - strain.amin((-2, -1), keepdim=True) if strain.shape[-3] else optical_strain(motion)
    return torch.cat([_unit_scale(motion), _unit_scale(strain)], -3)


def flow_sequence(flow: Tensor) -> Tensor:
    """Flow from an onset to each of T frames as the network sees it: each re-zeroed by its median, all on one scale.

    What `flow_picture` does, but for the scale, which is that of the sequence: how strong the motion is at a time
    against the others is what the sequence tells.

    Args:
        flow: (..., T, 2, H, W), u and v in any unit.

    Returns:
        (..., T, 2, H, W) of unit root mean square; 0 where nothing moves.
    """
    flow = flow - flow.flatten(-2).median(-1).values[..., None, None]
    return flow / flow.square().mean((-4, -3, -2, -1), keepdim=True).sqrt().clamp(min=1e-6)


def _unit_scale(part: Tensor) -> Tensor:
    return part / part.square().mean((-3, -2, -1), keepdim=True).sqrt().clamp(min=1e-6)


def motion_energy(frames: np.ndarray, interval: int | None = None) -> np.ndarray:
    """How much each pixel of a clip changes, summed over time, at most 1: the two forms of STRCN-A.

    Args:
        frames: (T, H, W) grey, any scale.
        interval: None compares every frame with the first, |I_t - I_1|; k with the k-th after it, |I_t - I_{t+k}|; the
            release takes 10. A clip of k frames or fewer has no such pair (and no energy in the release): it is
            compared over the longest interval that it has, first frame with last.

    Returns:
        (H, W) float32 in [0, 1]; all 0 for a still clip.

    Raises:
        ValueError: for an interval below 1.
    """
    frames = frames.astype(np.float32)
    if interval is None:
        changes = frames - frames[0]
    elif interval >= 1:
        interval = min(interval, len(frames) - 1)
        changes = frames[interval:] - frames[: len(frames) - interval]
    else:
        raise MerHfError(f"interval must be None or at least 1 frame, got {interval}")
    energy = np.abs(changes).sum(0)
    return energy / max(float(energy.max()), 1e-6)


def moving_pixels(energies: np.ndarray) -> np.ndarray:
    """The mask of moving pixels of STRCN-A: where the mean energy of the clips is in its upper quarter, opened.

    To be fitted on the training side of a fold only; the authors' release fits it on all clips, which leaks.

    Args:
        energies: (clips, H, W), as `motion_energy` gives them.

    Returns:
        (H, W) bool. Where opening by the disk of the release (radius 1 under 100 rows, 3 under 200, else 5) leaves
        nothing, the mask is not opened; where nothing moves at all, every pixel is in it.
    """
    mean = energies.mean(0)
    mask = mean > np.percentile(mean, 75)
    if not mask.any():
        return np.ones_like(mask)
    radius = 1 if len(mean) < 100 else 3 if len(mean) < 200 else 5
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk).astype(bool)
    return opened if opened.any() else mask


# --- the motion of a pair of frames, in a face that is watched ---

PAIR_SECONDS = 0.2
"""Between the two frames of a pair: about the rise of a micro-expression (medians .16 to .20 s in three corpora)."""
GRID = (16, 9)
"""Rows and columns of a residual field."""
CELL = (0.125, 0.2)  # eye distances down and across; lids and brows lie in rows of their own
GRID_LEFT, GRID_TOP = -0.9, -0.55  # face coordinates of the grid's corner: it reaches from the forehead to the chin
EYE_PIXELS = 60
"""Of an eye distance where flow is measured; a subtle motion of .0125 is three quarters of one then. What was planted
in a quiet video stood out by a quarter more than with 40, and with 80 by no more."""
FACE_CENTRE, FACE_AXES = 0.42, (0.88, 1.02)  # of the oval in which skin is seen: its y, half axes
FIT_STEPS = 4  # of reweighting
FIT_SCALE = 0.003  # eye distances; residuals below are noise to the fit


@lru_cache(maxsize=8)
def grid_places(device: torch.device | None = None) -> Tensor:
    """Face coordinates of the cells' centres: (2, rows, columns), x and y."""
    y = GRID_TOP + CELL[0] * (torch.arange(GRID[0], device=device) + 0.5)
    x = GRID_LEFT + CELL[1] * (torch.arange(GRID[1], device=device) + 0.5)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))


@lru_cache(maxsize=8)
def face_oval(device: torch.device | None = None) -> Tensor:
    """1 in cells that lie on the face, 0 off it: (rows, columns)."""
    x, y = grid_places(device)
    return ((x / FACE_AXES[0]) ** 2 + ((y - FACE_CENTRE) / FACE_AXES[1]) ** 2 <= 1).float()


def pair_field(first: np.ndarray, second: np.ndarray, face_to_frame: np.ndarray) -> np.ndarray:
    """Motion between two frames, cell by cell of a face, both seen through one transform.

    What jitters in the transform is common to both, and cancels.

    Args:
        first, second: (H, W) grey uint8 frames of one size, `PAIR_SECONDS` apart.
        face_to_frame: (2, 3), face coordinates -> pixels, the mean over the time between them.

    Returns:
        (2, rows, columns) float32, motion to the right and downwards, in eye distances; the head's is in it.
    """
    rows, columns = GRID
    height, width = round(EYE_PIXELS * CELL[0] * rows), round(EYE_PIXELS * CELL[1] * columns)
    to_crop = np.array([[EYE_PIXELS, 0, -EYE_PIXELS * GRID_LEFT - 0.5], [0, EYE_PIXELS, -EYE_PIXELS * GRID_TOP - 0.5]])
    matrix = compose(to_crop, cv2.invertAffineTransform(face_to_frame))
    before, after = (warp(frame, matrix, height, width) for frame in (first, second))
    # for two thirds of the time of `optical_flow`, means of cells have a fiftieth more noise
    flow = _dis_flow(before, after, stride=4, refinements=3)
    return np.moveaxis(cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA), 2, 0) / np.float32(EYE_PIXELS)


class ResidualMotion(NamedTuple):
    """What moves in a face beside the head.

    Attributes:
        field: (..., 2, rows, columns), in eye distances; 0 off the face.
        head: (...,), root mean square over the face of what was taken off, in eye distances.
        fit: (...,), part of the face that moves as the head does, from 0 to 1.
    """

    field: Tensor
    head: Tensor
    fit: Tensor


def residual_motion(fields: Tensor) -> ResidualMotion:
    """Take the head off motion fields: an affine motion, fitted to the face by reweighted least squares.

    Weights are those of Cauchy, whose scale follows the residuals: what moves otherwise than the most of the face
    has little say in what the head does. Unlike the motion of a nose tip, the fit takes no wrinkling nose for a head.

    Args:
        fields: (..., 2, rows, columns), as `pair_field` gives them.
    """
    oval = face_oval(fields.device).flatten()
    terms = torch.cat([torch.ones(1, len(oval), device=fields.device), grid_places(fields.device).flatten(1)])
    products = (terms[:, None] * terms[None]).flatten(0, 1)  # (9, cells)
    motion = fields.reshape(-1, 2, len(oval))
    weights = oval.expand(len(motion), -1)
    for _ in range(FIT_STEPS):
        gram = (weights @ products.T).unflatten(-1, (3, 3)) + 1e-6 * torch.eye(3, device=fields.device)
        affine = torch.linalg.solve(gram, terms @ (weights[:, None] * motion).mT)  # (B, 3, 2)
        residual = motion - affine.mT @ terms
        squared = residual.square().sum(1)
        scale = (weights * squared).sum(1) / weights.sum(1)
        weights = oval / (1 + squared / scale.clamp(min=FIT_SCALE**2)[:, None])
    head = ((motion - residual).square().sum(1) @ oval / oval.sum()).sqrt()
    shape = fields.shape[:-3]
    return ResidualMotion(
        (residual * oval).reshape(fields.shape), head.reshape(shape), (weights.sum(1) / oval.sum()).reshape(shape)
    )
