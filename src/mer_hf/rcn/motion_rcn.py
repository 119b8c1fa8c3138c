"""From grey face crops to motion: apex, optical flow, the flow picture, and the mask of moving pixels.

Frames are NumPy arrays on the CPU, where OpenCV works; flow pictures are finished as tensors, on any device.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

APEX_SPAN = (0.2, 0.7)  # part of a clip in which the apex is looked for; authors' code
APEX_THUMBNAIL = (8, 10)  # width and height at which it is looked for; authors' code


def spot_apex(frames: np.ndarray) -> int:
    """Index of the apex by the authors' rule (STRCN release).

    It is the frame in the middle part of the clip (.2 to .7 of its length) whose difference from the first frame varies
    most over a thumbnail of 10 rows and 8 columns; the middle frame where that part is empty or nothing differs.

    Args:
        frames: (T, H, W) uint8 grey, T >= 1.
    """
    first, last = (round(part * len(frames)) for part in APEX_SPAN)
    thumbnails = [cv2.resize(frame, APEX_THUMBNAIL, interpolation=cv2.INTER_AREA) for frame in frames[: last + 1]]
    spread = [np.std(thumbnail.astype(np.float32) - thumbnails[0]) for thumbnail in thumbnails[first:]]
    if not spread or max(spread) == 0:
        return len(frames) // 2
    return first + int(np.argmax(spread))


def optical_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dense motion from one grey picture to another by DIS (Kroeger et al., ECCV 2016).

    The settings are the most accurate of those compared on a known sub-pixel warp of a real face: all scales, and five
    iterations of variational refinement, which also holds under a change of brightness.

    Args:
        first, second: (H, W) uint8.

    Returns:
        (2, H, W) float32, the motion to the right (u) and downwards (v) of each pixel of `first`, in pixels.
    """
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    estimator.setVariationalRefinementIterations(5)
    return np.moveaxis(estimator.calc(first, second, None), 2, 0)


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


def _unit_scale(part: Tensor) -> Tensor:
    return part / part.square().mean((-3, -2, -1), keepdim=True).sqrt().clamp(min=1e-6)


def motion_energy(frames: np.ndarray) -> np.ndarray:
    """How much each pixel of a clip differs from the first frame, summed over time, at most 1 (STRCN-A, first form).

    Args:
        frames: (T, H, W) grey, any scale.

    Returns:
        (H, W) float32 in [0, 1]; all 0 for a still clip.
    """
    frames = frames.astype(np.float32)
    energy = np.abs(frames - frames[0]).sum(0)
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
